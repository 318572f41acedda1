/* SPDX-License-Identifier: Apache-2.0
 *
 * The template language's two doors. Parsing: the source's line ends are made uniform and its last one dropped, as
 * jinja2 does, then lexed and parsed. Rendering: the caller's JSON becomes variables, the statements run, and whatever
 * was taken is given back at once.
 *
 * The subset. Statements: if, for (with else, if, tuple targets, break, continue), set, macro, call, filter, with,
 * generation, raw, print. Refused: include, import, from, extends, block, autoescape, do, recursive loops. Filters,
 * tests, methods and functions stand as tables in jinja_filter_*.c, jinja_test.c, jinja_method*.c and jinja_global.c.
 * Differences to Python: whole numbers have 63 bits and more is an error; what generators compute is computed at once;
 * lists and dicts may be changed by their methods; `x is sameas y` is about values where Python has shared objects;
 * a loop, macro or block that reads a name before the block around it sets that name sees the caller's variable, where
 * jinja2's compiled code has it undefined already.
 */
#include "text/jinja.h"

#include <stdlib.h>

#include "base/json.h"
#include "text/jinja_priv.h"

static void normalise(struct span source, struct str *out) {
    str_reserve(out, source.len);
    for (size_t i = 0; i < source.len; i++) {
        uint8_t c = source.ptr[i];
        if (c == '\r') {
            i += i + 1 < source.len && source.ptr[i + 1] == '\n';
            c = '\n';
        }
        str_add_byte(out, c);
    }
    if (out->len != 0 && out->ptr[out->len - 1] == '\n') {
        out->ptr[--out->len] = 0;
    }
}

lamina_status jinja_parse(struct jinja_template **t, struct span source, struct lamina_error *err) {
    if (source.len > JINJA_SOURCE_MAX) {
        return base_fail(err, LAMINA_NO_FIT, "chat template: %zu bytes; the limit is %d", source.len,
                         (int)JINJA_SOURCE_MAX);
    }
    if (!utf8_valid(source)) {
        return base_fail(err, LAMINA_DAMAGED, "chat template: not valid UTF-8");
    }
    struct jinja_template *made = (struct jinja_template *)calloc(1, sizeof(*made));
    if (made == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "chat template: no memory");
    }
    struct jinja_parser p = {.t = made, .err = err};
    normalise(source, &made->source);
    p.failed = jinja_lex(str_span(&made->source), &p.tokens, err);
    if (p.failed == LAMINA_OK) {
        jinja_parse_template(&p);
    }
    free(p.tokens.item);
    free(p.name_index);
    if (p.failed != LAMINA_OK) {
        jinja_close(&made);
        return p.failed;
    }
    *t = made;
    return LAMINA_OK;
}

void jinja_close(struct jinja_template **t) {
    if (*t != NULL) {
        str_drop(&(*t)->source);
        str_drop(&(*t)->pool);
        free((*t)->nodes);
        free((*t)->names);
        free(*t);
        *t = NULL;
    }
}

void jinja_limits_defaults(struct jinja_limits *l) {
    *l = (struct jinja_limits){.steps = 1000000,
                               .memory_bytes = UINT64_C(64) << 20,
                               .output_bytes = UINT64_C(16) << 20,
                               .depth = 32,
                               .range_items = 100000};
}

/* ---- variables --------------------------------------------------------------------------------------------------- */

static bool read_value(struct jinja_run *r, struct json_reader *j, struct jinja_value *out);

/* Strings without escapes stay where they are in the caller's text. */
static bool read_string(struct jinja_run *r, struct json_reader *j, struct jinja_value *out) {
    struct json_reader mark = *j;
    struct span body;
    bool escaped = false;
    if (!json_raw_string(j, &body, &escaped)) {
        return false;
    }
    if (!escaped) {
        *out = jv_view(body);
        return body.len < UINT32_MAX / 2 || jinja_fail(r, LAMINA_NO_FIT, "a string of the variables is too long");
    }
    size_t at = r->scratch.len;
    return json_string(&mark, &r->scratch) && jinja_build_end(r, at, out);
}

static bool read_number(struct jinja_run *r, struct json_reader *j, struct jinja_value *out) {
    struct json_reader mark = *j;
    struct span digits;
    double d = 0;
    int64_t i = 0;
    if (!json_raw_number(j, &digits)) {
        return false;
    }
    bool whole = memchr(digits.ptr, '.', digits.len) == NULL && memchr(digits.ptr, 'e', digits.len) == NULL &&
                 memchr(digits.ptr, 'E', digits.len) == NULL;
    if (!whole) {
        *out = json_double(&mark, &d) ? jv_float(d) : jv_none();
        return mark.failed == LAMINA_OK;
    }
    if (!jinja_parse_int(digits, 10, &i)) {
        return jinja_fail(r, LAMINA_UNSUPPORTED, "the variables hold a whole number of more than 63 bits: %.*s",
                          (int)(digits.len < 40 ? digits.len : 40), (const char *)digits.ptr);
    }
    *out = jv_int(i);
    return true;
}

static bool read_array(struct jinja_run *r, struct json_reader *j, struct jinja_value *out) {
    struct jinja_value item;
    if (!json_enter_array(j) || !jinja_list_new(r, JV_LIST, 0, out)) {
        return false;
    }
    while (json_next_item(j)) {
        if (!read_value(r, j, &item) || !jinja_list_add(r, out->u.list, item)) {
            return false;
        }
    }
    return j->failed == LAMINA_OK;
}

static bool read_object(struct jinja_run *r, struct json_reader *j, struct jinja_value *out) {
    struct jinja_value key;
    struct jinja_value value;
    struct span name;
    if (!json_enter_object(j) || !jinja_dict_new(r, JV_DICT, out)) {
        return false;
    }
    while (json_next_key(j, &name)) {
        bool in_place = name.ptr >= j->text.ptr && name.ptr < j->text.ptr + j->text.len;
        key = jv_view(name);
        if ((!in_place && !jinja_string_copy(r, name, &key)) || !read_value(r, j, &value) ||
            !jinja_dict_set(r, out->u.dict, key, value)) {
            return false;
        }
    }
    return j->failed == LAMINA_OK;
}

static bool read_value(struct jinja_run *r, struct json_reader *j, struct jinja_value *out) {
    bool truth = false;
    switch (json_peek(j)) {
    case JSON_OBJECT:
        return read_object(r, j, out);
    case JSON_ARRAY:
        return read_array(r, j, out);
    case JSON_STRING:
        return read_string(r, j, out);
    case JSON_NUMBER:
        return read_number(r, j, out);
    case JSON_BOOL:
        (void)json_bool(j, &truth);
        *out = jv_bool(truth);
        return j->failed == LAMINA_OK;
    default:
        *out = jv_none();
        return json_null(j) || json_refuse(j, LAMINA_DAMAGED, "expected a value");
    }
}

static lamina_status read_variables(struct jinja_run *r, struct span text, struct jinja_value *out) {
    struct str key = {0};
    struct json_reader j;
    json_init(&j, text, "template variables", &key, r->err);
    bool ok = read_object(r, &j, out);
    if (r->failed == LAMINA_OK) {
        lamina_status status = json_finish(&j);
        r->failed = status != LAMINA_OK || ok ? status
                                              : base_fail(r->err, LAMINA_NO_FIT, "template variables: too large");
    }
    str_drop(&key);
    return r->failed;
}

/* Every name of the template gets its variable or global once, so that looking one up later costs an index. */
static void bind_context(struct jinja_run *r, const struct jinja_dict *variables) {
    for (uint32_t i = 0; i < r->t->name_count; i++) {
        struct span name = span_sub(str_span(&r->t->pool), r->t->names[i].offset, r->t->names[i].len);
        const struct jinja_value *v = jinja_dict_get_text(variables, name);
        if (v != NULL) {
            r->context[i] = *v;
        } else if (!jinja_global_find(name, &r->context[i])) {
            r->context[i].type = JV_ABSENT;
        }
        if (span_is(name, "loop")) {
            r->loop_name = i;
        }
    }
}

static lamina_status run(struct jinja_run *r, struct span variables) {
    struct jinja_value dict;
    r->stack = (struct jinja_value *)jinja_take(r, JINJA_STACK_VALUES, sizeof(*r->stack));
    r->context = (struct jinja_value *)jinja_take(r, r->t->name_count + 1, sizeof(*r->context));
    if (r->failed != LAMINA_OK || read_variables(r, variables, &dict) != LAMINA_OK ||
        jinja_frame_push(r, NULL) == NULL) {
        return r->failed;
    }
    bind_context(r, dict.u.dict);
    return jinja_exec(r, r->t->root) == FLOW_ERROR ? r->failed : LAMINA_OK;
}

lamina_status jinja_render(const struct jinja_template *t, const struct jinja_input *in, struct str *out,
                           struct lamina_error *err) {
    struct jinja_run r = {.t = t, .now_unix_s = in->now_unix_s, .err = err, .loop_name = UINT32_MAX};
    if (in->limits != NULL) {
        r.limits = *in->limits;
    } else {
        jinja_limits_defaults(&r.limits);
    }
    r.arena.limit_bytes = (size_t)r.limits.memory_bytes;
    r.scratch.limit = (size_t)r.limits.memory_bytes;
    r.out.limit = (size_t)r.limits.output_bytes;
    lamina_status status = run(&r, in->variables);
    if (status == LAMINA_OK) {
        str_add_span(out, str_span(&r.out));
        if (out->failed) {
            status = base_fail(err, LAMINA_NO_FIT, "chat template: no memory for the output");
        }
    }
    arena_drop(&r.arena);
    str_drop(&r.out);
    str_drop(&r.scratch);
    return status;
}
