/* SPDX-License-Identifier: Apache-2.0
 *
 * What the readers of tokenizer.json components share. Every refusal goes through the JSON reader, so a message always
 * carries file, line and column. */
#include <stdlib.h>
#include <string.h>

#include "text/toksp_priv.h"

bool tok_json_no_memory(struct json_reader *r) {
    return json_refuse(r, LAMINA_NO_FIT, "out of memory");
}

struct tok_step *tok_steps_add(struct tok_steps *s, struct json_reader *r, int kind) {
    if (s->count == TOK_STEP_LIMIT) {
        json_refuse(r, LAMINA_UNSUPPORTED, "more than %d steps in one component", TOK_STEP_LIMIT);
        return NULL;
    }
    struct tok_step *list = reallocarray(s->list, s->count + 1, sizeof(*list));
    if (list == NULL) {
        tok_json_no_memory(r);
        return NULL;
    }
    s->list = list;
    s->list[s->count] = (struct tok_step){.kind = kind};
    return &s->list[s->count++];
}

void tok_steps_drop(struct tok_steps *s) {
    for (size_t i = 0; i < s->count; i++) {
        tok_regex_close(&s->list[i].re);
        tok_sp_norm_close(&s->list[i].sp);
        if (s->list[i].map != NULL) {
            tok_charsmap_drop(s->list[i].map);
            free(s->list[i].map);
        }
        str_drop(&s->list[i].text);
        str_drop(&s->list[i].other);
    }
    free(s->list);
    *s = (struct tok_steps){0};
}

size_t tok_steps_bytes(const struct tok_steps *s) {
    size_t bytes = s->count * sizeof(*s->list);
    for (size_t i = 0; i < s->count; i++) {
        bytes += s->list[i].text.cap + s->list[i].other.cap + tok_regex_bytes(s->list[i].re) + tok_sp_norm_bytes(s->list[i].sp) +
                 (s->list[i].map == NULL ? 0 : tok_charsmap_bytes(s->list[i].map));
    }
    return bytes;
}

bool tok_steps_has(const struct tok_steps *s, int kind) {
    for (size_t i = 0; i < s->count; i++) {
        if (s->list[i].kind == kind) {
            return true;
        }
    }
    return false;
}

/* Reading past the limit of *out counts as lack of memory, so callers check one thing. */
bool tok_json_text(struct json_reader *r, struct str *out) {
    str_clear(out);
    if (!json_string(r, out)) {
        return false;
    }
    return !out->failed || tok_json_no_memory(r);
}

/* A copy of the reader looks ahead, because "type" may stand behind the members it explains. */
bool tok_json_type(struct json_reader *r, char type[64]) {
    struct json_reader look = *r;
    struct str value = {.limit = 1024};
    struct span key;
    bool found = false;
    json_enter_object(&look);
    while (json_next_key(&look, &key)) {
        if (span_is(key, "type") && !found) {
            found = tok_json_text(&look, &value);
        } else {
            json_skip(&look);
        }
    }
    r->failed = look.failed;
    if (r->failed == LAMINA_OK && (!found || value.len >= 64)) {
        json_refuse(r, LAMINA_UNSUPPORTED, "a tokenizer component without a known \"type\"");
    }
    if (r->failed == LAMINA_OK) {
        memcpy(type, str_text(&value), value.len);
        type[value.len] = 0;
    }
    str_drop(&value);
    return r->failed == LAMINA_OK;
}

/* Both forms go through one object: literals are searched with memmem, which is ten times as fast as a regex. */
bool tok_json_pattern(struct json_reader *r, struct tok_regex **re) {
    struct str text = {0};
    struct span key;
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        bool is_regex = span_is(key, "Regex");
        if (!is_regex && !span_is(key, "String")) {
            json_refuse(r, LAMINA_UNSUPPORTED, "a pattern must be a \"String\" or a \"Regex\"");
            break;
        }
        struct lamina_error why = {0};
        if (tok_json_text(r, &text)) {
            tok_regex_close(re);
            if (tok_regex_open(re, str_span(&text), is_regex, &why) < 0) {
                json_refuse(r, why.code, "%s", why.message);
            }
        }
    }
    str_drop(&text);
    if (r->failed == LAMINA_OK && *re == NULL) {
        json_refuse(r, LAMINA_DAMAGED, "an empty pattern object");
    }
    return r->failed == LAMINA_OK;
}

bool tok_json_character(struct json_reader *r, uint32_t *c) {
    struct str text = {0};
    if (tok_json_text(r, &text) && (text.len == 0 || utf8_decode(str_span(&text), c) != text.len)) {
        json_refuse(r, LAMINA_DAMAGED, "expected a string of one character");
    }
    str_drop(&text);
    return r->failed == LAMINA_OK;
}

bool tok_json_size(struct json_reader *r, size_t *n) {
    uint64_t value = 0;
    if (!json_u64(r, &value)) {
        return false;
    }
    if (value > UINT32_MAX) {
        return json_refuse(r, LAMINA_DAMAGED, "a count of %llu is too large", (unsigned long long)value);
    }
    *n = (size_t)value;
    return true;
}

bool tok_json_sequence(struct json_reader *r, const char *name, bool (*read)(struct tok_steps *, struct json_reader *),
                       struct tok_steps *steps) {
    struct span key;
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        if (!span_is(key, name)) {
            json_skip(r);
            continue;
        }
        json_enter_array(r);
        while (json_next_item(r)) {
            if (json_peek(r) != JSON_OBJECT) {
                json_refuse(r, LAMINA_DAMAGED, "an item of a Sequence must be an object");
            } else {
                read(steps, r);
            }
        }
    }
    return r->failed == LAMINA_OK;
}
