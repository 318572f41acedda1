/* SPDX-License-Identifier: Apache-2.0
 *
 * The template language: several hundred templates against what Python's jinja2 made of them (jinja_cases.h), every
 * limit, error texts with their lines, refusals, and hostile nesting on a small stack. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "jinja_cases.h"
#include "text/jinja.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static const int64_t july_2025 = 1752148800; /* 2025-07-10T12:00:00 */

static lamina_status render(const char *source, const char *variables, const struct jinja_limits *limits,
                            struct str *out, struct lamina_error *err) {
    struct jinja_template *t = NULL;
    struct jinja_input in = {
        .variables = span_of_text(variables), .now_unix_s = july_2025, .limits = limits};
    lamina_status status = jinja_parse(&t, span_of_text(source), err);
    if (status == LAMINA_OK) {
        status = jinja_render(t, &in, out, err);
    }
    jinja_close(&t);
    assert_null(t);
    return status;
}

static void expect(const char *source, const char *variables, const char *output) {
    struct str out = {0};
    struct lamina_error err = {0};
    lamina_status status = render(source, variables, NULL, &out, &err);
    if (status != LAMINA_OK || strcmp(str_text(&out), output) != 0) {
        fail_msg("%s\n  expected: %s\n  found: %s %s", source, output, str_text(&out), err.message);
    }
    str_drop(&out);
}

static void refuse_with(const char *source, const char *variables, const struct jinja_limits *limits,
                        lamina_status code, const char *message) {
    struct str out = {0};
    struct lamina_error err = {0};
    lamina_status status = render(source, variables, limits, &out, &err);
    if (status != code || strstr(err.message, message) == NULL) {
        fail_msg("%.200s\n  expected: %d %s\n  found: %d %s", source, code, message, status, err.message);
    }
    assert_int_equal(out.len, 0); /* a failed rendering appends nothing */
    assert_int_equal(err.code, code);
    str_drop(&out);
}

static void refuse(const char *source, lamina_status code, const char *message) {
    refuse_with(source, "{}", NULL, code, message);
}

/* ---- against jinja2 ---------------------------------------------------------------------------------------------- */

static void test_cases(void **state) {
    (void)state;
    size_t failed = 0;
    size_t count = sizeof(jinja_cases) / sizeof(jinja_cases[0]);
    for (size_t i = 0; i < count; i++) {
        struct str out = {0};
        struct lamina_error err = {0};
        lamina_status status = render(jinja_cases[i].source, jinja_case_variables, NULL, &out, &err);
        bool right = jinja_cases[i].output == NULL
                         ? status < 0 && err.message[0] != 0
                         : status == LAMINA_OK && strcmp(str_text(&out), jinja_cases[i].output) == 0;
        if (!right) {
            print_error("%s\n  expected: %s\n  found: %s %s\n", jinja_cases[i].source,
                        jinja_cases[i].output != NULL ? jinja_cases[i].output : "an error", str_text(&out),
                        err.message);
            failed++;
        }
        str_drop(&out);
    }
    print_message("%zu templates, %zu wrong\n", count, failed);
    assert_int_equal(failed, 0);
    assert_true(count > 200);
}

/* ---- variables --------------------------------------------------------------------------------------------------- */

static void test_variables(void **state) {
    (void)state;
    expect("{{ a }}|{{ b }}|{{ c }}|{{ d }}|{{ e }}|{{ f }}",
           "{\"a\": 1, \"b\": 1.0, \"c\": null, \"d\": true, \"e\": \"x\\n\\u00e9\", \"f\": [1, {\"k\": []}]}",
           "1|1.0|None|True|x\n\xc3\xa9|[1, {'k': []}]");
    expect("{{ a }}", "{\"a\": 1, \"a\": 2}", "2");
    expect("{{ a|tojson }}", "{\"a\": {\"z\": 1, \"y\": 2, \"x\\n\": 3}}", "{\"z\": 1, \"y\": 2, \"x\\n\": 3}");
    expect("{{ a }} {{ b }}", "{\"a\": 9223372036854775807, \"b\": -9223372036854775808}",
           "9223372036854775807 -9223372036854775808");
    expect("{{ a }} {{ b }} {{ c }}", "{\"a\": 1e3, \"b\": 1E-7, \"c\": -0.0}", "1000.0 1e-07 -0.0");
    refuse_with("{{ a }}", "{\"a\": 9223372036854775808}", NULL, LAMINA_UNSUPPORTED, "63 bits");
    refuse_with("x", "[1]", NULL, LAMINA_DAMAGED, "template variables");
    refuse_with("x", "{\"a\": }", NULL, LAMINA_DAMAGED, "line 1, column 7");
    refuse_with("x", "{} 1", NULL, LAMINA_DAMAGED, "something follows");
    refuse_with("x", "", NULL, LAMINA_DAMAGED, "object");
    /* Globals can be hidden by variables, and a dict with 1,000 keys keeps order and finds all. */
    expect("{{ range }}", "{\"range\": 5}", "5");
    struct str many = {0};
    str_add_text(&many, "{\"d\": {");
    for (int i = 0; i < 1000; i++) {
        str_printf(&many, "%s\"k%d\": %d", i != 0 ? ", " : "", i, i);
    }
    str_add_text(&many, "}}");
    expect("{{ d|length }} {{ d.k0 }} {{ d.k999 }} {{ d.pop('k500') }} {{ 'k500' in d }} {{ d.k501 }} "
           "{{ (d.keys()|list)[499:501] }}",
           str_text(&many), "1000 0 999 500 False 501 ['k499', 'k501']");
    str_drop(&many);
}

static void test_template_serves_many_renders(void **state) {
    (void)state;
    struct jinja_template *t = NULL;
    struct lamina_error err = {0};
    struct str out = {0};
    assert_int_equal(jinja_parse(&t, span_of_text("{% set x = x + 1 %}{{ x }},"), &err), LAMINA_OK);
    for (int i = 0; i < 3; i++) {
        struct jinja_input in = {.variables = span_of_text("{\"x\": 1}")};
        assert_int_equal(jinja_render(t, &in, &out, &err), LAMINA_OK);
    }
    assert_string_equal(str_text(&out), "2,2,2,"); /* output is appended, nothing else is kept */
    jinja_close(&t);
    jinja_close(&t);
    str_drop(&out);
}

static void test_time(void **state) {
    (void)state;
    static const struct {
        int64_t unix_s;
        const char *format, *text;
    } rows[] = {{0, "%Y-%m-%d %H:%M:%S %a %j", "1970-01-01 00:00:00 Thu 001"},
                {951782399, "%F %T %A %j", "2000-02-28 23:59:59 Monday 059"},
                {951782400, "%d %b %Y", "29 Feb 2000"},
                {4107542400, "%d %B %Y", "01 March 2100"},
                {-1, "%F %T", "1969-12-31 23:59:59"},
                {1104537600, "%G-W%V-%u %U %W", "2004-W53-6 00 00"},
                {1230768000, "%G-W%V-%u", "2009-W01-4"},
                {1230595200, "%G-W%V-%u", "2009-W01-2"},
                {1752148800, "%-d/%-m/%y %I:%M %p", "10/7/25 12:00 PM"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct jinja_template *t = NULL;
        struct lamina_error err = {0};
        struct str out = {0};
        struct str source = {0};
        str_printf(&source, "{{ strftime_now('%s') }}", rows[i].format);
        struct jinja_input in = {.variables = span_of_text("{}"), .now_unix_s = rows[i].unix_s};
        assert_int_equal(jinja_parse(&t, str_span(&source), &err), LAMINA_OK);
        assert_int_equal(jinja_render(t, &in, &out, &err), LAMINA_OK);
        assert_string_equal(str_text(&out), rows[i].text);
        jinja_close(&t);
        str_drop(&out);
        str_drop(&source);
    }
    refuse("{{ strftime_now('%Q') }}", LAMINA_UNSUPPORTED, "'%Q'");
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static void test_raise(void **state) {
    (void)state;
    struct str out = {0};
    struct lamina_error err = {0};
    assert_int_equal(render("a\n{{ raise_exception('No ' + 'way: ' ~ 5) }}", "{}", NULL, &out, &err), LAMINA_USAGE);
    assert_string_equal(err.message, "No way: 5");
    str_drop(&out);
}

static void test_syntax_errors_name_their_place(void **state) {
    (void)state;
    refuse("a\nb {{ x y }}", LAMINA_DAMAGED, "line 2, column 8: expected '}}', found 'y'");
    refuse("{% if x %}\nabc", LAMINA_DAMAGED, "line 2, column 4: the template ends, but 'endif' is missing");
    refuse("\n\n{% endfor %}", LAMINA_DAMAGED, "line 3, column 4: unknown statement 'endfor'");
    refuse("{% frob %}", LAMINA_DAMAGED, "unknown statement 'frob'");
    refuse("\xc3\xa9{{ 'abc }}", LAMINA_DAMAGED, "line 1, column 5: a string without its closing quote");
    refuse("x {# y", LAMINA_DAMAGED, "line 1, column 3: missing end of comment");
    refuse("x {% raw %} y", LAMINA_DAMAGED, "missing end of raw");
    refuse("{{ a ! b }}", LAMINA_DAMAGED, "line 1, column 6: a character that has no meaning here");
    refuse("{{ (a }}", LAMINA_DAMAGED, "line 1");
    refuse("{{ a) }}", LAMINA_DAMAGED, "closing bracket");
    refuse("{{", LAMINA_DAMAGED, "never closed");
    refuse("{% break %}", LAMINA_DAMAGED, "'break' outside a loop");
    refuse("{% for x in y %}{% macro m() %}{% continue %}{% endmacro %}{% endfor %}", LAMINA_DAMAGED, "'continue'");
    refuse("{% set none = 1 %}", LAMINA_DAMAGED, "cannot assign to 'none'");
    refuse("{{ '\\ud800' }}", LAMINA_DAMAGED, "escape");
    refuse("{{ f(a=1, 2) }}", LAMINA_DAMAGED, "positional argument after named");
    refuse("{{ 99999999999999999999 }}", LAMINA_UNSUPPORTED, "63 bits");
    refuse("\xff", LAMINA_DAMAGED, "UTF-8");
}

static void test_outside_the_subset(void **state) {
    (void)state;
    static const char *const statements[] = {"include 'x'", "import 'x' as y", "from 'x' import y", "extends 'x'",
                                             "block b", "autoescape true", "do x"};
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        struct str source = {0};
        char word[32];
        str_printf(&source, "\n{%% %s %%}", statements[i]);
        (void)snprintf(word, sizeof(word), "'%.*s'", (int)strcspn(statements[i], " "), statements[i]);
        refuse(str_text(&source), LAMINA_UNSUPPORTED, word);
        refuse(str_text(&source), LAMINA_UNSUPPORTED, "line 2");
        str_drop(&source);
    }
    refuse("{% for x in y recursive %}{% endfor %}", LAMINA_UNSUPPORTED, "recursive");
    refuse("a{{ x|frobnicate }}", LAMINA_UNSUPPORTED, "line 1, column 7: there is no filter named 'frobnicate'");
    refuse("{{ x is frobbed }}", LAMINA_UNSUPPORTED, "there is no test named 'frobbed'");
    expect("{% if false %}{{ x|frobnicate }}{% endif %}a{{ 1|frob if false }}", "{}", "a"); /* as in jinja2 */
    refuse("{% if true %}\n{{ x|frobnicate }}{% endif %}", LAMINA_UNSUPPORTED, "line 2: there is no filter");
    refuse("{{ [1]|map('frob')|list }}", LAMINA_UNSUPPORTED, "'frob'");
    refuse("{{ [1]|select('frob')|list }}", LAMINA_UNSUPPORTED, "'frob'");
    refuse("{{ 'a'.encode() }}", LAMINA_UNSUPPORTED, "method");
    refuse("{{ ''.__class__.__mro__ }}", LAMINA_DAMAGED, "'str object' has no attribute '__class__'");
    refuse("{{ range.__globals__.x }}", LAMINA_DAMAGED, "has no attribute '__globals__'");
}

static void test_runtime_errors_name_their_line(void **state) {
    (void)state;
    refuse("a\n\n{{ x.y }}", LAMINA_DAMAGED, "line 3: 'x' is undefined");
    refuse_with("{{ x.y.z }}", "{\"x\": {}}", NULL, LAMINA_DAMAGED, "'dict object' has no attribute 'y'");
    refuse("{{ 'a' + 1 }}", LAMINA_DAMAGED, "can only concatenate str (not \"int\") to str");
    refuse("{{ 1 + 'a' }}", LAMINA_DAMAGED, "unsupported operand type(s) for +: 'int' and 'str'");
    refuse("\n{{ 1 / 0 }}", LAMINA_DAMAGED, "line 2: division by zero");
    refuse("{{ 1 % 0 }}", LAMINA_DAMAGED, "division by zero");
    refuse("{{ 1.0 // 0.0 }}", LAMINA_DAMAGED, "division by zero");
    refuse("{{ 1 < 'a' }}", LAMINA_DAMAGED, "'<' not supported between instances of 'int' and 'str'");
    refuse("{% for x in 5 %}{% endfor %}", LAMINA_DAMAGED, "'int' object is not iterable");
    refuse("{% for x in none %}{% endfor %}", LAMINA_DAMAGED, "'NoneType' object is not iterable");
    refuse("{{ 1 in 'a' }}", LAMINA_DAMAGED, "requires string as left operand, not int");
    refuse("{{ 5() }}", LAMINA_DAMAGED, "'int' object is not callable");
    refuse("{{ nothing() }}", LAMINA_DAMAGED, "'nothing' is undefined");
    refuse("{{ {[]: 1} }}", LAMINA_DAMAGED, "unhashable type: 'list'");
    refuse("{{ ([1]|map('string'))|length }}", LAMINA_DAMAGED, "object of type 'generator' has no len()");
    refuse("{{ x|tojson }}", LAMINA_DAMAGED, "Object of type Undefined is not JSON serializable");
    refuse("{% set a, b = [1] %}", LAMINA_DAMAGED, "not enough values to unpack (expected 2, got 1)");
    refuse("{% set x = {} %}{% set x.y = 1 %}", LAMINA_DAMAGED, "no namespace");
    refuse("{{ 9223372036854775807 + 1 }}", LAMINA_UNSUPPORTED, "63 bits");
    refuse("{{ -9223372036854775807 - 2 }}", LAMINA_UNSUPPORTED, "63 bits");
    refuse("{{ 3037000500 * 3037000500 }}", LAMINA_UNSUPPORTED, "63 bits");
    refuse("{{ 2 ** 63 }}", LAMINA_UNSUPPORTED, "63 bits");
    expect("{{ 2 ** 62 }} {{ (-9223372036854775807 - 1) % -1 }}", "{}", "4611686018427387904 0");
    refuse("{{ (-9223372036854775807 - 1) // -1 }}", LAMINA_UNSUPPORTED, "63 bits");
    refuse("{{ '99999999999999999999'|int }}", LAMINA_UNSUPPORTED, "63 bits");
    refuse("{{ '1e30'|int }}", LAMINA_UNSUPPORTED, "63 bits");
    refuse("{{ 1e30|int }}", LAMINA_UNSUPPORTED, "63 bits");
    refuse("{{ 1e999|int }}", LAMINA_DAMAGED, "infinity");
    expect("{{ 'inf'|int(5) }} {{ 'ffffffffffffffff'|int(5, 10) }} {{ '7fffffffffffffff'|int(5, 16) }}", "{}",
           "5 5 9223372036854775807");
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

static void test_limit_source(void **state) {
    (void)state;
    struct jinja_template *t = NULL;
    struct lamina_error err = {0};
    char *source = malloc(256 * 1024 + 1);
    assert_non_null(source);
    memset(source, 'a', 256 * 1024 + 1);
    assert_int_equal(jinja_parse(&t, span_of(source, 256 * 1024), &err), LAMINA_OK);
    jinja_close(&t);
    assert_int_equal(jinja_parse(&t, span_of(source, 256 * 1024 + 1), &err), LAMINA_NO_FIT);
    assert_non_null(strstr(err.message, "limit is 262144"));
    free(source);
}

static char *repeated(const char *front, const char *unit, int count, const char *middle, const char *back_unit) {
    struct str s = {0};
    str_add_text(&s, front);
    for (int i = 0; i < count; i++) {
        str_add_text(&s, unit);
    }
    str_add_text(&s, middle);
    for (int i = 0; i < count; i++) {
        str_add_text(&s, back_unit);
    }
    assert_false(s.failed);
    return s.ptr;
}

static void test_limit_parse_depth(void **state) {
    (void)state;
    static const struct {
        const char *front, *unit, *middle, *back_unit, *end;
    } rows[] = {{"{{ ", "(", "1", ")", "}}"},          {"{{ ", "[", "1", "]", "}}"},
                {"{{ ", "not ", "1", "", "}}"},        {"{{ ", "-", "1", "", "}}"},
                {"{{ ", "{1: ", "1", "}", "}}"},       {"{{ ", "x[", "1", "]", "}}"},
                {"{{ ", "f(", "1", ")", "}}"},         {"{{ ", "1 if 1 else ", "1", "", "}}"},
                {"{{ ", "1|default(", "1", ")", "}}"}, {"{% set ", "(", "x", ")", " = 1 %}"},
                {"{{ ", "1 is in(", "1", ")", "}}"},   {"", "{% if 1 %}", "x", "{% endif %}", ""}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int deep = 0; deep < 2; deep++) {
            char *text = repeated(rows[i].front, rows[i].unit, deep ? 5000 : 30, rows[i].middle, rows[i].back_unit);
            struct lamina_error err = {0};
            struct jinja_template *t = NULL;
            struct str source = {0};
            str_printf(&source, "%s%s", text, rows[i].end);
            lamina_status status = jinja_parse(&t, str_span(&source), &err);
            if (status != (deep ? LAMINA_NO_FIT : LAMINA_OK) ||
                (deep && strstr(err.message, "nested more than 64 levels deep") == NULL)) {
                fail_msg("%.80s: %d %s", str_text(&source), status, err.message);
            }
            jinja_close(&t);
            str_drop(&source);
            free(text);
        }
    }
    /* Long chains are not deep. */
    char *chain = repeated("{{ 0", " + 1", 5000, " }}", "");
    expect(chain, "{}", "5000");
    free(chain);
    chain = repeated("{{ 0", " or 0", 5000, " }}", "");
    expect(chain, "{}", "0");
    free(chain);
    chain = repeated("{{ 'a'", "|upper", 5000, " }}", "");
    expect(chain, "{}", "A");
    free(chain);
    chain = repeated("{% if 0 %}", "{% elif 0 %}", 5000, "{% else %}x{% endif %}", "");
    expect(chain, "{}", "x");
    free(chain);
}

static void test_limit_calls(void **state) {
    (void)state;
    const char *source = "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{% else %}end{% endif %}{% endmacro %}{{ f(k) }}";
    refuse_with(source, "{\"k\": 32}", NULL, LAMINA_NO_FIT, "macros call each other more than 32 levels deep");
    expect(source, "{\"k\": 31}", "end");
    refuse("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", LAMINA_NO_FIT, "32 levels");
    refuse("{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}", LAMINA_NO_FIT,
           "32 levels");
}

static void test_limit_steps(void **state) {
    (void)state;
    refuse("{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}{% endfor %}{% endfor %}"
           "{% endfor %}",
           LAMINA_NO_FIT, "its limit of 1000000 steps");
    refuse("{% set l = range(100000)|list %}{% for i in range(1000) %}{% set x = l|sort %}{% endfor %}",
           LAMINA_NO_FIT, "steps");
    /* Work that a step hides is counted too: searching and comparing long texts, printing shared lists. */
    refuse("{% set s = 'ab' * 1000000 %}{% for i in range(100000) %}{% set x = 'ba' * 3 ~ 'c' in s %}{% endfor %}",
           LAMINA_NO_FIT, "steps");
    refuse("{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}"
           "{{ ns.l == ns.l|list }}",
           LAMINA_NO_FIT, "steps");
    refuse("{% set ns = namespace(l=['']) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}"
           "{{ ns.l|string|length }}",
           LAMINA_NO_FIT, "steps");
    struct jinja_limits l;
    jinja_limits_defaults(&l);
    l.steps = 100;
    refuse_with("{% for a in range(1000) %}{% endfor %}", "{}", &l, LAMINA_NO_FIT, "100 steps");
    refuse_with("{% for c in x %}{% endfor %}", "{\"x\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,"
                "23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,"
                "56,57,58,59,60,61,62,63,64,65,66,67,68,69,70,71,72,73,74,75,76,77,78,79,80,81,82,83,84,85,86,87,88,"
                "89,90,91,92,93,94,95,96,97,98,99,100,101]}", &l, LAMINA_NO_FIT, "steps");
}

static void test_limit_memory(void **state) {
    (void)state;
    refuse("{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
           LAMINA_NO_FIT, "memory limit of 67108864 bytes");
    refuse("{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
           LAMINA_NO_FIT, "memory limit");
    refuse("{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
           LAMINA_NO_FIT, "limit");
    refuse("{{ 'x' * 1000000000000 }}", LAMINA_NO_FIT, "memory limit");
    refuse("{{ ('x' * 60000000)|upper }}", LAMINA_NO_FIT, "memory limit");
    refuse("{{ 'x'.center(9000000000000000000) }}", LAMINA_NO_FIT, "memory limit");
    refuse("{{ 'x'|center(9000000000000000000) }}", LAMINA_NO_FIT, "memory limit");
    refuse("{{ '%1000000000d' % 5 }}", LAMINA_NO_FIT, "memory limit");
    refuse("{{ [1] * 1000000000 }}", LAMINA_NO_FIT, "long");
    refuse("{{ ('ab' * 10000000).replace('', 'xxxxxxxx') }}", LAMINA_NO_FIT, "memory limit");
    /* Text that grows piece by piece costs what it is long, not the square of it. */
    expect("{% set ns = namespace(s='') %}{% for i in range(30000) %}{% set ns.s = ns.s + '0123456789' %}{% endfor %}"
           "{{ ns.s|length }}",
           "{}", "300000");
    struct jinja_limits l;
    jinja_limits_defaults(&l);
    l.memory_bytes = 200000;
    refuse_with("{% set x = 'y' * 150000 %}{% set x = 'y' * 150000 %}", "{}", &l, LAMINA_NO_FIT, "200000 bytes");
}

static void test_limit_output(void **state) {
    (void)state;
    refuse("{% set s = 'x' * 1000000 %}{% for i in range(100) %}{{ s }}{% endfor %}", LAMINA_NO_FIT,
           "the output is larger than its limit of 16777216 bytes");
    struct jinja_limits l;
    jinja_limits_defaults(&l);
    l.output_bytes = 10;
    refuse_with("01234567890", "{}", &l, LAMINA_NO_FIT, "limit of 10 bytes");
    refuse_with("{% set x %}01234567890{% endset %}", "{}", &l, LAMINA_NO_FIT, "limit of 10 bytes");
}

static void test_limit_range(void **state) {
    (void)state;
    expect("{{ range(100000)|length }}", "{}", "100000");
    refuse("{{ range(100001) }}", LAMINA_NO_FIT, "range() of 100001 items; the limit is 100000");
    refuse("{{ range(-9223372036854775807, 9223372036854775807) }}", LAMINA_NO_FIT, "range()");
    expect("{{ range(9223372036854775800, 9223372036854775807, 5)|list }}", "{}",
           "[9223372036854775800, 9223372036854775805]");
    expect("{{ range(9223372036854775806, 9223372036854775807, 5)[1:]|list }}", "{}", "[]");
}

static void test_limit_value_depth(void **state) {
    (void)state;
    const char *build = "{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = [ns.l] %}{% endfor %}";
    static const char *const uses[] = {"{{ ns.l }}", "{{ ns.l|tojson }}", "{% set m = ns.l|list %}{{ m == [m] }}",
                                       "{{ [ns.l, [ns.l]]|sort }}"};
    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
        struct str source = {0};
        str_add_text(&source, build);
        str_add_text(&source, uses[i]);
        refuse(str_text(&source), LAMINA_NO_FIT, "nested too deeply");
        str_drop(&source);
    }
    refuse("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", LAMINA_NO_FIT, "nested too deeply");
    refuse("{% set l = [] %}{% set _ = l.append(l) %}{% set m = [] %}{% set _ = m.append(m) %}{{ l == m }}",
           LAMINA_NO_FIT, "nested too deeply");
    refuse("{% set l = [] %}{% set _ = l.append(l) %}{{ l|tojson }}", LAMINA_NO_FIT, "nested too deeply");
}

/* ---- a small stack ----------------------------------------------------------------------------------------------- */

struct errand {
    const char *source;
    const char *variables;
    lamina_status status;
};

static void *run_errand(void *argument) {
    struct errand *e = argument;
    struct str out = {0};
    struct lamina_error err = {0};
    e->status = render(e->source, e->variables, NULL, &out, &err);
    str_drop(&out);
    return NULL;
}

/* As deep as the JSON reader lets it. */
static const char deep_variables[] =
    "{\"a\": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{\"b\": 1}"
    "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}";

static lamina_status on_small_stack(const char *source) {
    struct errand e = {.source = source, .variables = deep_variables, .status = 1};
    pthread_attr_t attr;
    pthread_t thread;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, (size_t)256 * 1024 * (SANITIZED ? 16 : 1)), 0);
    assert_int_equal(pthread_create(&thread, &attr, run_errand, &e), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(pthread_attr_destroy(&attr), 0);
    return e.status;
}

static void test_small_stack(void **state) {
    (void)state;
    /* One level of brackets that passes through every precedence, as deep as the parser lets it. */
    static const char level[] = "0 or 1 and not 0 == 0 + '' ~ 1 * 1 ** -[";
    static const char shut[] = "][0]";
    for (int depth = 10; depth <= 70; depth += 3) {
        char *inner = repeated("", level, depth, "1", shut);
        struct str source = {0};
        str_printf(&source, "{{ %s }}", inner);
        (void)on_small_stack(str_text(&source));
        /* The same inside a macro that calls itself, from inside loops, ifs and filters. */
        str_clear(&source);
        str_printf(&source,
                   "{%% macro m(n) %%}{%% for x in [1] %%}{%% if x %%}{%% filter upper %%}{%% set y %%}"
                   "{{ (((((m(n + 1)|upper)|lower)|string)|trim)|default((m(n + 2)))) }}{{ %s }}"
                   "{%% endset %%}{{ y }}{%% endfilter %%}{%% endif %%}{%% endfor %%}{%% endmacro %%}{{ m(0) }}",
                   inner);
        (void)on_small_stack(str_text(&source));
        str_drop(&source);
        free(inner);
    }
    char *blocks = repeated("{% macro m() %}", "{% for x in [1] %}{% if x %}{% with a=1 %}", 20, "{{ m() }}",
                            "{% endwith %}{% endif %}{% endfor %}");
    struct str source = {0};
    str_printf(&source, "%s{%% endmacro %%}{{ m() }}", blocks);
    assert_int_equal(on_small_stack(str_text(&source)), LAMINA_NO_FIT);
    str_drop(&source);
    free(blocks);
    char *calls = repeated("{% macro m() %}{{ caller() }}{% endmacro %}", "{% call m() %}", 60, "x", "{% endcall %}");
    assert_int_equal(on_small_stack(calls), LAMINA_NO_FIT);
    free(calls);
    /* map that names map, over a list that holds itself; repr, compare, sort and hash at their depth limit. */
    char *maps = repeated("{% set l = [] %}{% set _ = l.append(l) %}{{ l|map(", "'map', ", 80, "'list')|list }}", "");
    (void)on_small_stack(maps);
    free(maps);
    assert_int_equal(on_small_stack("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}"), LAMINA_NO_FIT);
    (void)on_small_stack("{% set ns = namespace(t=(1,)) %}{% for i in range(500) %}{% set ns.t = (ns.t,) %}"
                         "{% endfor %}{{ {ns.t: 1} }}");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_template_serves_many_renders),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_raise),
        cmocka_unit_test(test_syntax_errors_name_their_place),
        cmocka_unit_test(test_outside_the_subset),
        cmocka_unit_test(test_runtime_errors_name_their_line),
        cmocka_unit_test(test_limit_source),
        cmocka_unit_test(test_limit_parse_depth),
        cmocka_unit_test(test_limit_calls),
        cmocka_unit_test(test_limit_steps),
        cmocka_unit_test(test_limit_memory),
        cmocka_unit_test(test_limit_output),
        cmocka_unit_test(test_limit_range),
        cmocka_unit_test(test_limit_value_depth),
        cmocka_unit_test(test_small_stack),
    };
    return cmocka_run_group_tests_name("jinja", tests, NULL, NULL);
}
