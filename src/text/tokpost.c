/* SPDX-License-Identifier: Apache-2.0
 *
 * Post-processors of tokenizer.json, reduced to what a single sequence needs: ids in front and ids behind. Pair
 * templates are not read; ByteLevel only moves offsets, so it is nothing here. */
#include <stdlib.h>
#include <string.h>

#include "text/tokstep_priv.h"

static bool insert(uint32_t **list, size_t *count, size_t at, uint32_t id) {
    uint32_t *grown = reallocarray(*list, *count + 1, sizeof(*grown));
    if (grown == NULL || *count >= TOK_STEP_LIMIT) {
        *list = grown != NULL ? grown : *list;
        return false;
    }
    memmove(grown + at + 1, grown + at, (*count - at) * sizeof(*grown));
    grown[at] = id;
    *list = grown;
    ++*count;
    return true;
}

bool tok_post_add(struct tok_post *p, bool in_front, uint32_t id) {
    p->present = true;
    return in_front ? insert(&p->before, &p->before_count, 0, id)
                    : insert(&p->after, &p->after_count, p->after_count, id);
}

void tok_post_drop(struct tok_post *p) {
    free(p->before);
    free(p->after);
    *p = (struct tok_post){0};
}

/* {"NAME": {"id": NAME, "ids": [..], "tokens": [..]}, ...}: appends the ids of `name` at `*at` of the list. */
static bool read_special_ids(struct json_reader special, struct span name, uint32_t **list, size_t *count, size_t *at,
                             struct json_reader *r) {
    struct span key;
    bool found = false;
    json_enter_object(&special);
    while (json_next_key(&special, &key)) {
        if (found || !span_equal(key, name)) {
            json_skip(&special);
            continue;
        }
        found = true;
        json_enter_object(&special);
        while (json_next_key(&special, &key)) {
            if (!span_is(key, "ids")) {
                json_skip(&special);
                continue;
            }
            json_enter_array(&special);
            while (json_next_item(&special)) {
                uint64_t id = 0;
                if (json_u64(&special, &id) && (id > UINT32_MAX || !insert(list, count, (*at)++, (uint32_t)id))) {
                    json_refuse(&special, LAMINA_DAMAGED, "unusable id in \"special_tokens\"");
                }
            }
        }
    }
    r->failed = special.failed;
    if (r->failed == LAMINA_OK && !found) {
        json_refuse(r, LAMINA_DAMAGED, "the template names the special token \"%.*s\", which \"special_tokens\" lacks",
                    (int)name.len, (const char *)name.ptr);
    }
    return r->failed == LAMINA_OK;
}

/* One piece of "single": {"SpecialToken": {"id": NAME}} or {"Sequence": {"id": "A"}}. */
/* type_id is for sentence pairs and is not read. */
static bool read_piece(struct json_reader *r, struct str *name, bool *is_sequence) {
    struct span key;
    struct span inner;
    json_enter_object(r);
    str_clear(name);
    while (json_next_key(r, &key)) {
        *is_sequence = span_is(key, "Sequence");
        if (!*is_sequence && !span_is(key, "SpecialToken")) {
            return json_refuse(r, LAMINA_UNSUPPORTED, "template piece \"%.*s\"", (int)key.len, (const char *)key.ptr);
        }
        json_enter_object(r);
        while (json_next_key(r, &inner)) {
            if (span_is(inner, "id")) {
                tok_json_text(r, name);
            } else {
                json_skip(r);
            }
        }
    }
    return r->failed == LAMINA_OK;
}

/* Ids before and behind the one sequence; a template that says it twice or not at all is not a language model's. */
static bool read_single(struct tok_post *p, struct json_reader *single, const struct json_reader *special) {
    struct str name = {0};
    bool seen = false;
    size_t front = 0;
    size_t back = p->after_count;
    size_t pieces = 0;
    json_enter_array(single);
    while (json_next_item(single)) {
        bool is_sequence = false;
        if (++pieces > TOK_STEP_LIMIT) {
            json_refuse(single, LAMINA_UNSUPPORTED, "a template of more than %d pieces", TOK_STEP_LIMIT);
            break;
        }
        if (!read_piece(single, &name, &is_sequence)) {
            break;
        }
        if (is_sequence) {
            if (seen || strcmp(str_text(&name), "A") != 0) {
                json_refuse(single, LAMINA_UNSUPPORTED, "a template that does not hold the sequence A exactly once");
            }
            seen = true;
        } else if (seen) {
            read_special_ids(*special, str_span(&name), &p->after, &p->after_count, &back, single);
        } else {
            read_special_ids(*special, str_span(&name), &p->before, &p->before_count, &front, single);
        }
    }
    str_drop(&name);
    if (single->failed == LAMINA_OK && !seen) {
        json_refuse(single, LAMINA_UNSUPPORTED, "a template that does not hold the sequence A exactly once");
    }
    return single->failed == LAMINA_OK;
}

/* "special_tokens" may stand behind "single", so both are bookmarked before either is read. */
static bool read_template(struct tok_post *p, struct json_reader *r) {
    struct json_reader single = {0};
    struct json_reader special = {0};
    struct span key;
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        if (span_is(key, "single")) {
            single = *r;
        } else if (span_is(key, "special_tokens")) {
            special = *r;
        }
        json_skip(r);
    }
    if (r->failed == LAMINA_OK && (single.name == NULL || special.name == NULL)) {
        return json_refuse(r, LAMINA_DAMAGED, "TemplateProcessing without \"single\" or \"special_tokens\"");
    }
    if (r->failed == LAMINA_OK) {
        read_single(p, &single, &special);
        r->failed = single.failed;
    }
    return r->failed == LAMINA_OK;
}

/* ["</s>", 2] */
static bool read_pair(struct json_reader *r, uint32_t *id) {
    uint64_t value = UINT64_MAX;
    json_enter_array(r);
    while (json_next_item(r)) {
        if (json_peek(r) == JSON_NUMBER) {
            json_u64(r, &value);
        } else {
            json_skip(r);
        }
    }
    *id = (uint32_t)value;
    return r->failed == LAMINA_OK && (value <= UINT32_MAX || json_refuse(r, LAMINA_DAMAGED, "expected [token, id]"));
}

static bool read_cls_sep(struct tok_post *p, struct json_reader *r) {
    uint32_t cls = 0;
    uint32_t sep = 0;
    int seen = 0;
    struct span key;
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        if (span_is(key, "cls")) {
            seen += read_pair(r, &cls);
        } else if (span_is(key, "sep")) {
            seen += read_pair(r, &sep);
        } else {
            json_skip(r);
        }
    }
    if (r->failed == LAMINA_OK && seen != 2) {
        return json_refuse(r, LAMINA_DAMAGED, "post_processor without \"cls\" or \"sep\"");
    }
    return r->failed == LAMINA_OK &&
           ((tok_post_add(p, true, cls) && tok_post_add(p, false, sep)) || tok_json_no_memory(r));
}

bool tok_post_read(struct tok_post *p, struct json_reader *r) {
    char type[64];
    if (json_null(r)) {
        return true;
    }
    if (!tok_json_type(r, type)) {
        return false;
    }
    p->present = true;
    if (strcmp(type, "Sequence") == 0) {
        struct span key;
        json_enter_object(r);
        while (json_next_key(r, &key)) {
            if (!span_is(key, "processors")) {
                json_skip(r);
                continue;
            }
            json_enter_array(r);
            while (json_next_item(r)) {
                tok_post_read(p, r); /* depth is bounded by the JSON reader's */
            }
        }
        return r->failed == LAMINA_OK;
    }
    if (strcmp(type, "TemplateProcessing") == 0) {
        return read_template(p, r);
    }
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        return read_cls_sep(p, r);
    }
    if (strcmp(type, "ByteLevel") == 0) {
        return json_skip(r);
    }
    return json_refuse(r, LAMINA_UNSUPPORTED, "post_processor \"%s\" is not supported", type);
}
