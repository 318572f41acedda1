/* SPDX-License-Identifier: Apache-2.0
 *
 * Real chat templates against what Python's jinja2 rendered (goldens in LAMINA_TESTDATA, skipped where absent): 78
 * templates times 7 conversations, and the template tests of huggingface.js, llama.cpp and ollama. Where a file holds
 * another engine's answer beside jinja2's, jinja2's counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "text/jinja.h"

struct golden {
    struct str source, name, bos, eos, output, raised, error;
    struct span variables; /* raw JSON, empty: conversation and tokens */
    bool has_output, has_raised, has_error;
};

struct tally {
    size_t right, wrong;
};

static struct str key_scratch;

static void need(const char *name, struct str *out) {
    const char *dir = getenv("LAMINA_TESTDATA");
    char path[2048];
    (void)snprintf(path, sizeof(path), "%s/goldens/chat-templates/%s",
                   dir != NULL && dir[0] != 0 ? dir : "../shared/testdata", name);
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        print_message("skipped: %s is not there\n", path);
        skip();
    }
    char block[65536];
    size_t n = 0;
    while ((n = fread(block, 1, sizeof(block), f)) > 0) {
        str_add(out, block, n);
    }
    assert_int_equal(fclose(f), 0);
    assert_false(out->failed);
}

static void drop(struct golden *g) {
    struct str *all[] = {&g->source, &g->name, &g->bos, &g->eos, &g->output, &g->raised, &g->error};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        str_drop(all[i]);
    }
}

/* Reads a text member into *out; a null leaves it alone and returns false. */
static bool text_member(struct json_reader *j, struct str *out) {
    str_clear(out);
    return !json_null(j) && json_string(j, out);
}

static void judge(struct tally *t, const struct golden *g, struct span variables) {
    struct jinja_template *parsed = NULL;
    struct str out = {0};
    struct lamina_error err = {0};
    struct jinja_input in = {.variables = variables, .now_unix_s = 1752148800}; /* 2025-07-10T12:00 */
    lamina_status status = jinja_parse(&parsed, str_span(&g->source), &err);
    if (status == LAMINA_OK) {
        status = jinja_render(parsed, &in, &out, &err);
    }
    bool right = false;
    if (g->has_output) {
        right = status == LAMINA_OK && span_equal(str_span(&out), str_span(&g->output));
    } else if (g->has_raised) {
        right = status == LAMINA_USAGE && span_is(str_span(&g->raised), err.message);
    } else {
        right = status < 0 && err.message[0] != 0;
    }
    if (!right) {
        print_error("%s: status %d %s\n  found: %.300s\n  expected: %.300s\n", str_text(&g->name), status, err.message,
                    str_text(&out), g->has_output ? str_text(&g->output) : str_text(&g->error));
    }
    t->right += right;
    t->wrong += !right;
    jinja_close(&parsed);
    str_drop(&out);
}

static void report(const char *what, const struct tally *t, size_t expected) {
    print_message("%s: %zu as jinja2, %zu different\n", what, t->right, t->wrong);
    assert_int_equal(t->wrong, 0);
    assert_int_equal(t->right, expected);
}

/* A conversation's members, and what transformers adds: tokens, and None for tools and documents not given. */
static void with_tokens(struct str *out, struct span conversation, const struct golden *g) {
    struct span inside = span_sub(conversation, 1, conversation.len);
    str_clear(out);
    str_add_text(out, "{\"tools\": null, \"documents\": null, \"bos_token\": ");
    json_write_string(out, str_span(&g->bos));
    str_add_text(out, ", \"eos_token\": ");
    json_write_string(out, str_span(&g->eos));
    str_add_text(out, ", ");
    str_add_span(out, inside);
}

/* ---- jinja2-oracle.json ------------------------------------------------------------------------------------------ */

enum { CONVERSATIONS = 7 };

struct conversations {
    char name[CONVERSATIONS][64];
    struct span json[CONVERSATIONS];
    size_t count;
};

static void read_conversations(struct json_reader *j, struct conversations *c) {
    struct span key;
    assert_true(json_enter_object(j));
    while (json_next_key(j, &key)) {
        assert_true(c->count < CONVERSATIONS && key.len < 64);
        memcpy(c->name[c->count], key.ptr, key.len);
        c->name[c->count][key.len] = 0;
        assert_true(json_skip_raw(j, &c->json[c->count++]));
    }
}

static void oracle_result(struct json_reader *j, struct golden *g) {
    struct span key;
    g->has_output = false;
    g->has_raised = false;
    g->has_error = false;
    assert_true(json_enter_object(j));
    while (json_next_key(j, &key)) {
        if (span_is(key, "output")) {
            g->has_output = text_member(j, &g->output);
        } else if (span_is(key, "raise_exception")) {
            g->has_raised = text_member(j, &g->raised);
        } else {
            g->has_error = text_member(j, &g->error);
        }
    }
}

static void oracle_results(struct json_reader *j, struct golden *g, const struct conversations *c, struct tally *t,
                           struct tally *appending) {
    struct span key;
    struct str variables = {0};
    assert_true(json_enter_object(j));
    while (json_next_key(j, &key)) {
        size_t which = 0;
        while (which < c->count && !span_is(key, c->name[which])) {
            which++;
        }
        assert_true(which < c->count);
        oracle_result(j, g);
        with_tokens(&variables, c->json[which], g);
        /* The sandbox of transformers refuses list.append, which these templates need; we allow it, so they render. */
        bool sandbox = g->has_error && strstr(str_text(&g->error), "SecurityError") != NULL;
        if (sandbox) {
            struct golden lenient = *g;
            struct tally ours = {0};
            struct jinja_template *parsed = NULL;
            struct str out = {0};
            struct lamina_error err = {0};
            struct jinja_input in = {.variables = str_span(&variables), .now_unix_s = 1752148800};
            assert_int_equal(jinja_parse(&parsed, str_span(&lenient.source), &err), LAMINA_OK);
            ours.right = jinja_render(parsed, &in, &out, &err) == LAMINA_OK && out.len > 100;
            appending->right += ours.right;
            appending->wrong += !ours.right;
            jinja_close(&parsed);
            str_drop(&out);
        } else {
            judge(t, g, str_span(&variables));
        }
    }
    str_drop(&variables);
}

static void oracle_template(struct json_reader *j, const struct conversations *c, struct tally *t,
                            struct tally *appending) {
    struct golden g = {0};
    struct span key;
    struct json_reader results = {0};
    assert_true(json_enter_object(j));
    while (json_next_key(j, &key)) {
        struct str *member = span_is(key, "source")      ? &g.name
                             : span_is(key, "bos_token") ? &g.bos
                             : span_is(key, "eos_token") ? &g.eos
                             : span_is(key, "template")  ? &g.source
                                                         : NULL;
        if (member != NULL) {
            (void)text_member(j, member);
        } else {
            results = *j;
            assert_true(json_skip(j));
        }
    }
    oracle_results(&results, &g, c, t, appending);
    drop(&g);
}

static void test_oracle(void **state) {
    (void)state;
    struct str text = {0};
    struct lamina_error err = {0};
    struct json_reader j;
    struct span key;
    struct conversations c = {0};
    struct tally t = {0};
    struct tally appending = {0};
    size_t templates = 0;
    need("jinja2-oracle.json", &text);
    json_init(&j, str_span(&text), "jinja2-oracle.json", &key_scratch, &err);
    assert_true(json_enter_object(&j));
    while (json_next_key(&j, &key)) {
        if (span_is(key, "conversations")) {
            read_conversations(&j, &c);
        } else if (span_is(key, "templates")) {
            assert_true(json_enter_array(&j));
            for (; json_next_item(&j); templates++) {
                oracle_template(&j, &c, &t, &appending);
            }
        } else {
            assert_true(json_skip(&j));
        }
    }
    assert_int_equal(json_finish(&j), LAMINA_OK);
    print_message("%zu templates x %zu conversations\n", templates, c.count);
    report("jinja2-oracle.json", &t, 544);
    report("jinja2-oracle.json, templates that append", &appending, 2);
    str_drop(&text);
}

/* ---- lists of single cases --------------------------------------------------------------------------------------- */

/* huggingface.js: {name, template, context or data, expected, jinja2_output, ...}. `fallback`: where jinja2 was run
 * without the generation tag and failed for that, the expected text of the source stands. */
static void run_list(const char *file, bool fallback, struct tally *t) {
    struct str text = {0};
    struct lamina_error err = {0};
    struct json_reader j;
    struct span key;
    need(file, &text);
    json_init(&j, str_span(&text), file, &key_scratch, &err);
    assert_true(json_enter_array(&j));
    while (json_next_item(&j)) {
        struct golden g = {0};
        struct str expected = {0};
        assert_true(json_enter_object(&j));
        while (json_next_key(&j, &key)) {
            if (span_is(key, "name")) {
                (void)text_member(&j, &g.name);
            } else if (span_is(key, "template")) {
                (void)text_member(&j, &g.source);
            } else if (span_is(key, "context") || span_is(key, "data")) {
                assert_true(json_skip_raw(&j, &g.variables));
            } else if (span_is(key, "jinja2_output")) {
                g.has_output = text_member(&j, &g.output);
            } else if (span_is(key, "jinja2_error")) {
                g.has_error = text_member(&j, &g.error);
            } else if (span_is(key, "expected")) {
                (void)text_member(&j, &expected);
            } else {
                assert_true(json_skip(&j));
            }
        }
        if (!g.has_output && fallback && strstr(str_text(&g.error), "'generation'") != NULL) {
            g.has_output = true;
            str_add_span(&g.output, str_span(&expected));
        }
        judge(t, &g, g.variables);
        drop(&g);
        str_drop(&expected);
    }
    assert_int_equal(json_finish(&j), LAMINA_OK);
    str_drop(&text);
}

static void test_huggingface_js(void **state) {
    (void)state;
    struct tally unit = {0};
    struct tally e2e = {0};
    run_list("huggingface.js-jinja-unit.json", false, &unit);
    report("huggingface.js-jinja-unit.json", &unit, 161);
    run_list("huggingface.js-jinja-e2e.json", true, &e2e);
    report("huggingface.js-jinja-e2e.json", &e2e, 53);
}

static void llama_case(struct json_reader *j, struct span conversation, struct tally *t) {
    struct golden g = {0};
    struct str variables = {0};
    struct span key;
    assert_true(json_enter_object(j));
    while (json_next_key(j, &key)) {
        struct str *member = span_is(key, "name")            ? &g.name
                             : span_is(key, "bos_token")     ? &g.bos
                             : span_is(key, "eos_token")     ? &g.eos
                             : span_is(key, "template_str")  ? &g.source
                             : span_is(key, "jinja2_output") ? &g.output
                                                             : NULL;
        if (member != NULL) {
            (void)text_member(j, member);
        } else {
            assert_true(json_skip(j));
        }
    }
    if (g.source.len != 0) { /* some name a template that llama.cpp has built in */
        g.has_raised = span_starts_with(str_span(&g.output), "EXC ");
        g.has_output = !g.has_raised;
        str_add_text(&g.raised, g.has_raised ? str_text(&g.output) + 4 : "");
        bool undefined = strstr(str_text(&g.raised), "is undefined") != NULL;
        g.has_raised = g.has_raised && !undefined; /* an error rather than a raised exception */
        str_add_text(&variables, "{\"add_generation_prompt\": true, \"bos_token\": ");
        json_write_string(&variables, str_span(&g.bos));
        str_add_text(&variables, ", \"eos_token\": ");
        json_write_string(&variables, str_span(&g.eos));
        str_add_text(&variables, ", \"messages\": ");
        str_add_span(&variables, conversation);
        str_add_byte(&variables, '}');
        judge(t, &g, str_span(&variables));
    }
    str_drop(&variables);
    drop(&g);
}

static void test_llama_cpp(void **state) {
    (void)state;
    struct str text = {0};
    struct lamina_error err = {0};
    struct json_reader j;
    struct span key;
    struct span conversation = {0};
    struct tally t = {0};
    need("llama.cpp-test-chat-template.json", &text);
    json_init(&j, str_span(&text), "llama.cpp-test-chat-template.json", &key_scratch, &err);
    assert_true(json_enter_object(&j));
    while (json_next_key(&j, &key)) {
        if (span_is(key, "conversation")) {
            assert_true(json_skip_raw(&j, &conversation));
        } else if (span_is(key, "cases")) {
            assert_true(json_enter_array(&j));
            while (json_next_item(&j)) {
                llama_case(&j, conversation, &t);
            }
        } else {
            assert_true(json_skip(&j));
        }
    }
    assert_int_equal(json_finish(&j), LAMINA_OK);
    report("llama.cpp-test-chat-template.json", &t, 34);
    str_drop(&text);
}

static void test_ollama(void **state) {
    (void)state;
    struct str text = {0};
    struct lamina_error err = {0};
    size_t count = 0;
    need("ollama-templates.jsonl", &text);
    struct span rest = str_span(&text);
    while (rest.len > 0) {
        const uint8_t *end = memchr(rest.ptr, '\n', rest.len);
        size_t len = end != NULL ? (size_t)(end - rest.ptr) : rest.len;
        struct json_reader j;
        struct span key;
        json_init(&j, span_sub(rest, 0, len), "ollama-templates.jsonl", &key_scratch, &err);
        rest = span_sub(rest, len + 1, rest.len);
        if (len == 0) {
            continue;
        }
        assert_true(json_enter_object(&j));
        while (json_next_key(&j, &key)) {
            struct str source = {0};
            struct str out = {0};
            struct jinja_template *t = NULL;
            assert_true(json_string(&j, &source));
            lamina_status status = jinja_parse(&t, str_span(&source), &err);
            if (status != LAMINA_OK) {
                fail_msg("%s", err.message);
            }
            struct jinja_input in = {.variables = span_of_text(
                "{\"messages\": [{\"role\": \"user\", \"content\": \"Tell me of Gr\\u00fcn\"}], \"bos_token\": \"<s>\", "
                "\"eos_token\": \"</s>\", \"add_generation_prompt\": true}")};
            assert_int_equal(jinja_render(t, &in, &out, &err), LAMINA_OK);
            assert_non_null(strstr(str_text(&out), "Tell me of Gr\xc3\xbcn"));
            count++;
            jinja_close(&t);
            str_drop(&source);
            str_drop(&out);
        }
        assert_int_equal(json_finish(&j), LAMINA_OK);
    }
    print_message("ollama-templates.jsonl: %zu templates parse and render\n", count);
    assert_int_equal(count, 35);
    str_drop(&text);
}

static int drop_scratch(void **state) {
    (void)state;
    str_drop(&key_scratch);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_huggingface_js),
        cmocka_unit_test(test_llama_cpp),
        cmocka_unit_test(test_ollama),
    };
    return cmocka_run_group_tests_name("jinja goldens", tests, NULL, drop_scratch);
}
