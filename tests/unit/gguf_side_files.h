/* SPDX-License-Identifier: Apache-2.0
 * Makes GGUF files with tokenizers, turns them into side files, and loads these. Include after cmocka.h. */
#ifndef GGUF_SIDE_FILES_H
#define GGUF_SIDE_FILES_H

#include "base/json.h"
#include "format/gguf_tokenizer.h"
#include "gguf_maker.h"
#include "golden_files.h"
#include "text/tokenizer.h"

static struct lamina_error last;

/* ---- files ---- */

struct opened {
    struct str file;
    struct arena arena;
    struct gguf gguf;
};

static inline void open_gguf(struct opened *o) {
    uint64_t len = 0;
    size_t front = 0;
    last = (struct lamina_error){0};
    while (len == 0 || len > front) {
        front = len == 0 ? 0 : (size_t)len;
        if (gguf_measure(span_sub(str_span(&o->file), 0, front), o->file.len, "x.gguf", &len, &last) < 0) {
            fail_msg("%s", last.message);
        }
    }
    if (gguf_parse(span_sub(str_span(&o->file), 0, (size_t)len), o->file.len, "x.gguf", &o->arena, &o->gguf, &last) < 0) {
        fail_msg("%s", last.message);
    }
}

static inline void close_gguf(struct opened *o) {
    arena_drop(&o->arena);
    str_drop(&o->file);
}

struct sides {
    struct str json, model, config, generation;
};

static inline void drop_sides(struct sides *s) {
    str_drop(&s->json);
    str_drop(&s->model);
    str_drop(&s->config);
    str_drop(&s->generation);
}

static inline lamina_status side(const struct opened *o, const char *name, struct str *out) {
    last = (struct lamina_error){0};
    str_clear(out);
    lamina_status status = gguf_side_file(&o->gguf, name, "x.gguf", out, &last);
    assert_int_equal(status, last.code);
    assert_true(status == LAMINA_OK || out->len == 0);
    return status;
}

static inline void check_json(const struct str *text) {
    struct str key = {0};
    struct json_reader r;
    struct lamina_error err = {0};
    json_init(&r, str_span(text), "side file", &key, &err);
    if (!json_skip(&r) || json_finish(&r) < 0) {
        fail_msg("%s", err.message);
    }
    str_drop(&key);
}

/* One of the two vocabularies must be there, never both. */
static inline void make_sides(const struct opened *o, struct sides *s) {
    lamina_status json = side(o, "tokenizer.json", &s->json);
    if (json < 0 && json != LAMINA_NOT_FOUND) {
        fail_msg("%s", last.message);
    }
    lamina_status model = side(o, "tokenizer.model", &s->model);
    assert_int_equal(model, json == LAMINA_OK ? LAMINA_NOT_FOUND : LAMINA_OK);
    if (side(o, "tokenizer_config.json", &s->config) < 0 || side(o, "generation_config.json", &s->generation) < 0) {
        fail_msg("%s", last.message);
    }
    check_json(&s->config);
    check_json(&s->generation);
    if (json == LAMINA_OK) {
        check_json(&s->json);
    }
}

static inline struct text_tokenizer *load_sides(const struct sides *s) {
    struct text_files files = {.tokenizer_json = str_span(&s->json),
                               .tokenizer_model = str_span(&s->model),
                               .tokenizer_config = str_span(&s->config)};
    struct text_tokenizer *t = NULL;
    last = (struct lamina_error){0};
    if (text_tokenizer_open(&t, &files, &last) < 0) {
        fail_msg("%s", last.message);
    }
    return t;
}

static inline struct text_tokenizer *load_opened(struct opened *o) {
    struct sides s = {0};
    open_gguf(o);
    make_sides(o, &s);
    struct text_tokenizer *t = load_sides(&s);
    drop_sides(&s);
    return t;
}

static inline struct text_tokenizer *load_gguf(const char *name) {
    struct opened o = {0};
    need(name, &o.file);
    struct text_tokenizer *t = load_opened(&o);
    close_gguf(&o);
    return t;
}

static inline void encode(const struct text_tokenizer *t, struct span text, unsigned flags, struct text_ids *ids) {
    struct lamina_error err = {0};
    ids->count = 0;
    if (text_encode(t, text, flags, ids, &err) < 0) {
        fail_msg("%s", err.message);
    }
}

/* ---- making files ---- */

struct making {
    struct str pairs;
    unsigned count;
};

static inline void put_text(struct making *m, const char *key, const char *value) {
    gg_pair_text(&m->pairs, key, value);
    m->count++;
}

static inline void put_u32(struct making *m, const char *key, uint32_t value) {
    gg_pair_u32(&m->pairs, key, value);
    m->count++;
}

static inline void put_bool(struct making *m, const char *key, bool value) {
    gg_key(&m->pairs, key, GGUF_BOOL);
    str_add_byte(&m->pairs, value);
    m->count++;
}

static inline void put_array(struct making *m, const char *key, enum gguf_type type, uint64_t count) {
    gg_key(&m->pairs, key, GGUF_ARRAY);
    gg_32(&m->pairs, (uint32_t)type);
    gg_64(&m->pairs, count);
    m->count++;
}

static inline void put_texts(struct making *m, const char *key, const char *const *texts, size_t count) {
    put_array(m, key, GGUF_TEXT, count);
    for (size_t i = 0; i < count; i++) {
        gg_text(&m->pairs, texts[i]);
    }
}

/* One digit, one type. */
static inline void put_types(struct making *m, const char *digits) {
    put_array(m, "tokenizer.ggml.token_type", GGUF_I32, strlen(digits));
    for (; *digits != 0; digits++) {
        gg_32(&m->pairs, (uint32_t)(*digits - '0'));
    }
}

static inline void put_scores(struct making *m, const float *scores, size_t count) {
    put_array(m, "tokenizer.ggml.scores", GGUF_F32, count);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = 0;
        memcpy(&bits, &scores[i], sizeof(bits));
        gg_32(&m->pairs, bits);
    }
}

static inline void made_file(struct making *m, struct opened *o) {
    gg_front(&o->file, 3, 0, m->count);
    str_add_span(&o->file, str_span(&m->pairs));
    str_drop(&m->pairs);
    *m = (struct making){0};
    open_gguf(o);
}

#endif
