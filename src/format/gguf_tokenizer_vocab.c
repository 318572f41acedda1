/* SPDX-License-Identifier: Apache-2.0
 *
 * The vocabulary in a GGUF file's metadata: arrays of texts, scores and types side by side, and ids of single tokens. Read
 * once, checked against each other, and nothing copied but the places of the texts.
 *
 * Invariant of what was read: every text is UTF-8 and of a bearable length, every id is below the count or GGUF_NO_ID. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf_tokenizer_priv.h"

#define MARK "\xe2\x96\x81"

static const char TOKENS[] = "tokenizer.ggml.tokens", SCORES[] = "tokenizer.ggml.scores",
                  TYPES[] = "tokenizer.ggml.token_type", UNKNOWN[] = "tokenizer.ggml.unknown_token_id",
                  PADDING[] = "tokenizer.ggml.padding_token_id";

lamina_status gguf_bad_key(const struct gguf_vocab *v, const char *key, const char *what, struct lamina_error *err) {
    return base_fail(err, LAMINA_DAMAGED, "%s: in its GGUF header, %s: %s", v->name, key, what);
}

/* ---- kind ---- */

static lamina_status read_pre(struct gguf_vocab *v, struct lamina_error *err) {
    const struct gguf_value *value = gguf_find(v->file, "tokenizer.ggml.pre");
    struct span name = span_of_text(v->pipeline == GGUF_MARKS ? v->kind->model : "default");
    if (v->pipeline == GGUF_BYTES && value != NULL && !gguf_as_text(value, &name)) {
        return gguf_bad_key(v, "tokenizer.ggml.pre", "no text", err);
    }
    v->pre = gguf_pre_of(name.len > 0 ? name : span_of_text("default"));
    if (v->pre == NULL) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "%s: pre-tokenizer \"%.*s\" (tokenizer.ggml.pre) is not known; add the model's own tokenizer.json",
                         v->name, (int)(name.len < 100 ? name.len : 100), (const char *)name.ptr);
    }
    v->pipeline = v->pre->marks ? GGUF_MARKS : v->pipeline;
    return LAMINA_OK;
}

static lamina_status read_kind(struct gguf_vocab *v, struct lamina_error *err) {
    static const char key[] = "tokenizer.ggml.model";
    const struct gguf_value *value = gguf_find(v->file, key);
    struct span model = {0};
    if (value == NULL) {
        return v->whole ? LAMINA_OK : base_fail(err, LAMINA_NOT_FOUND, "%s has no tokenizer in it", v->name);
    }
    if (!gguf_as_text(value, &model)) {
        return gguf_bad_key(v, key, "no text", err);
    }
    v->kind = gguf_kind_of(model);
    if (v->kind == NULL) {
        return v->whole ? LAMINA_OK
                        : base_fail(err, LAMINA_UNSUPPORTED,
                                    "%s: a tokenizer of the kind \"%.*s\" (%s) is not supported; add the model's own "
                                    "tokenizer.json",
                                    v->name, (int)(model.len < 100 ? model.len : 100), (const char *)model.ptr, key);
    }
    v->pipeline = v->kind->pipeline;
    bool cuts = v->pipeline == GGUF_BYTES || v->pipeline == GGUF_MARKS;
    return cuts && !v->whole ? read_pre(v, err) : LAMINA_OK;
}

/* ---- the arrays ---- */

static lamina_status bad_token(const struct gguf_vocab *v, const char *key, uint32_t id, const char *what,
                               struct lamina_error *err) {
    return base_fail(err, LAMINA_DAMAGED, "%s: in its GGUF header, %s: token %" PRIu32 " %s", v->name, key, id, what);
}

static lamina_status read_tokens(struct gguf_vocab *v, struct lamina_error *err) {
    const struct gguf_value *value = gguf_find(v->file, TOKENS);
    struct gguf_items it = {0};
    struct gguf_value item;
    if (value == NULL && v->whole) {
        return LAMINA_OK;
    }
    if (!gguf_items_of(value, &it) || it.type != GGUF_TEXT || it.left == 0) {
        return gguf_bad_key(v, TOKENS, value == NULL ? "it is missing" : "no list of texts", err);
    }
    if (it.left > GGUF_MAX_TOKENS) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: %s: %" PRIu64 " tokens, the limit is %d", v->name, TOKENS, it.left,
                         (int)GGUF_MAX_TOKENS);
    }
    v->tokens = calloc((size_t)it.left, sizeof(*v->tokens));
    if (v->tokens == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    for (; gguf_next(&it, &item); v->count++) {
        v->tokens[v->count] = (struct gguf_token){.text = item.body, .type = GGUF_TOKEN_PLAIN};
        if (!utf8_valid(item.body)) {
            return bad_token(v, TOKENS, v->count, "is not UTF-8", err);
        }
        if (item.body.len > GGUF_MAX_TOKEN_BYTES) {
            return base_fail(err, LAMINA_UNSUPPORTED, "%s: %s: token %" PRIu32 " has %zu bytes, the limit is %d", v->name,
                             TOKENS, v->count, item.body.len, (int)GGUF_MAX_TOKEN_BYTES);
        }
    }
    return LAMINA_OK;
}

/* Numbers, one for every token. *it stays empty when the key is not there. */
static lamina_status open_numbers(const struct gguf_vocab *v, const char *key, struct gguf_items *it,
                                  struct lamina_error *err) {
    const struct gguf_value *value = gguf_find(v->file, key);
    *it = (struct gguf_items){0};
    if (value == NULL || v->count == 0) {
        return LAMINA_OK;
    }
    if (!gguf_items_of(value, it) || it->type == GGUF_TEXT || it->type == GGUF_ARRAY || it->type == GGUF_BOOL) {
        return gguf_bad_key(v, key, "no list of numbers", err);
    }
    if (it->left != v->count) {
        return base_fail(err, LAMINA_DAMAGED,
                         "%s: in its GGUF header, %s: %" PRIu64 " numbers for the %" PRIu32 " tokens of %s", v->name, key,
                         it->left, v->count, TOKENS);
    }
    return LAMINA_OK;
}

static lamina_status read_scores(struct gguf_vocab *v, struct lamina_error *err) {
    struct gguf_items it;
    struct gguf_value item;
    LAMINA_TRY(open_numbers(v, SCORES, &it, err));
    for (uint32_t id = 0; gguf_next(&it, &item); id++) {
        double score = 0;
        (void)gguf_as_f64(&item, &score);
        v->tokens[id].score = (float)score;
        if (!isfinite(v->tokens[id].score)) {
            return bad_token(v, SCORES, id, "has no finite score", err);
        }
    }
    return LAMINA_OK;
}

static lamina_status read_types(struct gguf_vocab *v, bool *told, struct lamina_error *err) {
    struct gguf_items it;
    struct gguf_value item;
    LAMINA_TRY(open_numbers(v, TYPES, &it, err));
    *told = it.left > 0;
    for (uint32_t id = 0; gguf_next(&it, &item); id++) {
        int64_t type = 0;
        if (!gguf_as_i64(&item, &type)) {
            return bad_token(v, TYPES, id, "has no whole number for a type", err);
        }
        v->tokens[id].type = (uint8_t)(type >= GGUF_TOKEN_PLAIN && type <= GGUF_TOKEN_BYTE ? type : GGUF_TOKEN_PLAIN);
    }
    return LAMINA_OK;
}

/* ---- ids ---- */

/* What holds where the file does not say is old custom, and counts only for a token that is no text. */
static lamina_status read_id(const struct gguf_vocab *v, const char *key, int32_t usual, bool told, uint32_t *id,
                             struct lamina_error *err) {
    const struct gguf_value *value = gguf_find(v->file, key);
    int64_t number = -1;
    *id = GGUF_NO_ID;
    if (value == NULL) {
        bool fits = usual >= 0 && (uint32_t)usual < v->count;
        uint8_t type = fits && told ? v->tokens[usual].type : (uint8_t)GGUF_TOKEN_CONTROL;
        *id = fits && type != GGUF_TOKEN_PLAIN && type != GGUF_TOKEN_BYTE ? (uint32_t)usual : GGUF_NO_ID;
        return LAMINA_OK;
    }
    if (!gguf_as_i64(value, &number)) {
        return gguf_bad_key(v, key, "no whole number", err);
    }
    if (number == -1 || number == (int64_t)UINT32_MAX || (v->whole && v->count == 0)) {
        return LAMINA_OK; /* how some writers say that there is none */
    }
    if (number >= 0 && number < (int64_t)v->count) {
        *id = (uint32_t)number;
        return LAMINA_OK;
    }
    /* Padding is for training; files with an id that was added there and never shipped are common. */
    return strcmp(key, PADDING) == 0 ? LAMINA_OK
                                     : base_fail(err, LAMINA_DAMAGED,
                                                 "%s: in its GGUF header, %s: id %" PRId64 ", and there are %" PRIu32 " tokens",
                                                 v->name, key, number, v->count);
}

static lamina_status read_ids(struct gguf_vocab *v, bool told, struct lamina_error *err) {
    static const struct gguf_kind none = {.bos = -1, .eos = -1, .unk = -1, .pad = -1, .sep = -1};
    static const char first[] = "tokenizer.ggml.cls_token_id"; /* what older files of one kind call it */
    const struct gguf_kind *k = v->kind != NULL ? v->kind : &none;
    bool older = v->kind != NULL && v->pipeline == GGUF_WORDS && gguf_find(v->file, first) != NULL;
    const struct {
        const char *key;
        int32_t usual;
        uint32_t *id;
    } list[] = {
        {older ? first : "tokenizer.ggml.bos_token_id", k->bos, &v->bos},
        {"tokenizer.ggml.eos_token_id", k->eos, &v->eos},
        {"tokenizer.ggml.eot_token_id", -1, &v->eot},
        {"tokenizer.ggml.eom_token_id", -1, &v->eom},
        {UNKNOWN, k->unk, &v->unk},
        {PADDING, k->pad, &v->pad},
        {"tokenizer.ggml.seperator_token_id", k->sep, &v->sep}, /* spelt so */
        {"tokenizer.ggml.mask_token_id", -1, &v->mask},
    };
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        LAMINA_TRY(read_id(v, list[i].key, list[i].usual, told, list[i].id, err));
    }
    return LAMINA_OK;
}

static bool is_byte_name(struct span text) {
    return text.len == 6 && span_starts_with(text, "<0x") && text.ptr[5] == '>';
}

/* Files from before there were types. */
static void guess_types(struct gguf_vocab *v) {
    const uint32_t special[] = {v->bos, v->eos, v->eot, v->eom, v->pad, v->sep, v->mask};
    bool bytes = v->pipeline == GGUF_PIECES || v->pipeline == GGUF_UNIGRAM || v->pipeline == GGUF_MARKS;
    for (uint32_t id = 0; bytes && id < v->count; id++) {
        v->tokens[id].type = is_byte_name(v->tokens[id].text) ? GGUF_TOKEN_BYTE : GGUF_TOKEN_PLAIN;
    }
    for (size_t i = 0; i < ARRAY_LEN(special); i++) {
        if (special[i] != GGUF_NO_ID) {
            v->tokens[special[i]].type = GGUF_TOKEN_CONTROL;
        }
    }
    if (v->unk != GGUF_NO_ID) {
        v->tokens[v->unk].type = GGUF_TOKEN_UNKNOWN;
    }
}

/* SentencePiece has exactly one unknown piece. Others of that type are fillers, and no text either. */
static lamina_status settle_unknown(struct gguf_vocab *v, struct lamina_error *err) {
    for (uint32_t id = 0; id < v->count && v->unk == GGUF_NO_ID; id++) {
        v->unk = v->tokens[id].type == GGUF_TOKEN_UNKNOWN ? id : v->unk;
    }
    if (v->unk == GGUF_NO_ID) {
        return gguf_bad_key(v, UNKNOWN, "no token stands for what is unknown", err);
    }
    for (uint32_t id = 0; id < v->count; id++) {
        uint8_t *type = &v->tokens[id].type;
        *type = id == v->unk ? GGUF_TOKEN_UNKNOWN : *type == GGUF_TOKEN_UNKNOWN ? GGUF_TOKEN_CONTROL : *type;
    }
    return LAMINA_OK;
}

/* ---- ends ---- */

lamina_status gguf_take_flag(const struct gguf_vocab *v, const char *key, bool *out, struct lamina_error *err) {
    const struct gguf_value *value = gguf_find(v->file, key);
    return value == NULL || gguf_as_bool(value, out) ? LAMINA_OK : gguf_bad_key(v, key, "neither true nor false", err);
}

/* An end that is asked for by name must be there. */
static lamina_status read_end(const struct gguf_vocab *v, const char *key, bool usual, uint32_t id, bool *add,
                              struct lamina_error *err) {
    *add = usual;
    LAMINA_TRY(gguf_take_flag(v, key, add, err));
    if (*add && id == GGUF_NO_ID && gguf_find(v->file, key) != NULL && !v->whole) {
        return gguf_bad_key(v, key, "true, and there is no such token", err);
    }
    *add = *add && id != GGUF_NO_ID;
    return LAMINA_OK;
}

static lamina_status read_ends(struct gguf_vocab *v, struct lamina_error *err) {
    bool bos = v->kind != NULL && (v->kind->add_bos || (v->pre != NULL && v->pre->add_bos));
    bool eos = v->kind != NULL && v->kind->add_eos;
    uint32_t end = v->kind != NULL && v->pipeline == GGUF_WORDS ? v->sep : v->eos;
    LAMINA_TRY(read_end(v, "tokenizer.ggml.add_bos_token", bos, v->bos, &v->add_bos, err));
    return read_end(v, "tokenizer.ggml.add_eos_token", eos, end, &v->add_eos, err);
}

lamina_status gguf_vocab_read(struct gguf_vocab *v, struct lamina_error *err) {
    bool told = false;
    LAMINA_TRY(read_kind(v, err));
    LAMINA_TRY(read_tokens(v, err));
    LAMINA_TRY(read_scores(v, err));
    LAMINA_TRY(read_types(v, &told, err));
    LAMINA_TRY(read_ids(v, told, err));
    if (!told && v->kind != NULL) {
        guess_types(v);
    }
    bool pieces = v->kind != NULL && (v->pipeline == GGUF_PIECES || v->pipeline == GGUF_UNIGRAM);
    if (pieces && v->count > 0) {
        LAMINA_TRY(settle_unknown(v, err));
    }
    return read_ends(v, err);
}

void gguf_vocab_drop(struct gguf_vocab *v) {
    free(v->tokens);
    v->tokens = NULL;
    v->count = 0;
}

/* ---- texts that stand twice ---- */

struct entry {
    struct span text;
    uint32_t id;
};

static int by_text(const void *left, const void *right) {
    const struct entry *a = left;
    const struct entry *b = right;
    int order = memcmp(a->text.ptr, b->text.ptr, a->text.len < b->text.len ? a->text.len : b->text.len);
    return order != 0                   ? order
           : a->text.len != b->text.len ? (a->text.len < b->text.len ? -1 : 1)
                                        : (a->id < b->id ? -1 : a->id > b->id);
}

lamina_status gguf_vocab_check_single(const struct gguf_vocab *v, struct lamina_error *err) {
    struct entry *list = malloc((size_t)v->count * sizeof(*list) + 1);
    lamina_status status = LAMINA_OK;
    size_t n = 0;
    if (list == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    for (uint32_t id = 0; id < v->count; id++) {
        if (v->tokens[id].text.len > 0) {
            list[n++] = (struct entry){.text = v->tokens[id].text, .id = id};
        }
    }
    if (n > 1) {
        qsort(list, n, sizeof(*list), by_text);
    }
    for (size_t i = 1; i < n && status == LAMINA_OK; i++) {
        if (span_equal(list[i - 1].text, list[i].text)) {
            status = base_fail(err, LAMINA_DAMAGED,
                               "%s: in its GGUF header, %s: tokens %" PRIu32 " and %" PRIu32 " are both \"%.*s\"", v->name,
                               TOKENS, list[i - 1].id, list[i].id, (int)(list[i].text.len < 100 ? list[i].text.len : 100),
                               (const char *)list[i].text.ptr);
        }
    }
    free(list);
    return status;
}

/* ---- how tokens stand in the files ---- */

static void write_marked(struct span text, struct str *out) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == ' ') {
            str_add_text(out, MARK);
        } else {
            str_add_byte(out, text.ptr[i]);
        }
    }
}

/* A mark before what begins a word, nothing before what continues one: the other way round than in the model's own file. */
static void write_word(const struct gguf_token *t, struct str *out) {
    bool bracketed = span_starts_with(t->text, "[") && span_ends_with(t->text, "]");
    bool begins = span_starts_with(t->text, MARK);
    str_add_text(out, t->type != GGUF_TOKEN_PLAIN || begins || bracketed ? "" : "##");
    str_add_span(out, t->type == GGUF_TOKEN_PLAIN && begins ? span_sub(t->text, strlen(MARK), t->text.len) : t->text);
}

void gguf_token_write(const struct gguf_vocab *v, uint32_t id, struct str *out) {
    const struct gguf_token *t = &v->tokens[id];
    if (t->text.len == 0) {
        str_printf(out, "[EMPTY_%" PRIu32 "]", id);
    } else if (v->pipeline == GGUF_WORDS) {
        write_word(t, out);
    } else if (t->type == GGUF_TOKEN_USER && v->pipeline != GGUF_BYTES) {
        write_marked(t->text, out);
    } else {
        str_add_span(out, t->text);
    }
}

static bool is_blank(struct span text) {
    while (text.len > 0) {
        size_t n = span_starts_with(text, MARK) ? strlen(MARK) : 1;
        if (n == 1 && text.ptr[0] != ' ' && text.ptr[0] != '\t' && text.ptr[0] != '\n' && text.ptr[0] != '\r') {
            return false;
        }
        text = span_sub(text, n, text.len);
    }
    return true;
}

bool gguf_token_is_special(const struct gguf_vocab *v, uint32_t id) {
    const struct gguf_token *t = &v->tokens[id];
    return t->text.len > 0 && (t->type == GGUF_TOKEN_CONTROL || t->type == GGUF_TOKEN_UNKNOWN);
}

/* Blanks are pieces of a text where spaces are marks: were they added tokens, what follows would get a mark in front. */
bool gguf_token_is_added(const struct gguf_vocab *v, uint32_t id) {
    const struct gguf_token *t = &v->tokens[id];
    bool user = t->type == GGUF_TOKEN_USER && t->text.len > 0 && (v->pipeline == GGUF_BYTES || !is_blank(t->text));
    return user || gguf_token_is_special(v, id);
}

struct span gguf_token_text(const struct gguf_vocab *v, uint32_t id) {
    return id < v->count ? v->tokens[id].text : (struct span){0};
}
