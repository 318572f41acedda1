/* SPDX-License-Identifier: Apache-2.0
 * Values of GGUF metadata: how long each kind is, and reading one without copying it. Lengths are compared with what is
 * left of the file before anything is done with them, so an array that claims 2^60 items ends at once.
 *
 * Invariant: a value that was taken lies wholly in the header, and so do the items of its arrays. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "format/gguf_priv.h"

bool gguf_refuse(struct gguf_cursor *c, lamina_status code, const char *fmt, ...) {
    char why[400];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    if (c->failed == LAMINA_OK) {
        c->failed = base_fail(c->err, code, "%s: in its GGUF header, byte %zu: %s", c->name, c->at, why);
    }
    return false;
}

static bool ends_early(struct gguf_cursor *c, uint64_t len) {
    uint64_t end = 0;
    if (checked_add(c->at, len, &end) || end > c->file_size) {
        return gguf_refuse(c, LAMINA_DAMAGED,
                           "%" PRIu64 " bytes are announced, the file has %" PRIu64
                           " left; it is cut short or damaged, download it again",
                           len, c->file_size - c->at);
    }
    if (end > GGUF_MAX_HEADER) {
        return gguf_refuse(c, LAMINA_UNSUPPORTED, "the header is longer than %d bytes", (int)GGUF_MAX_HEADER);
    }
    c->wanted = end;
    return gguf_refuse(c, LAMINA_DAMAGED, "the header ends before it is complete");
}

bool gguf_take(struct gguf_cursor *c, uint64_t len, struct span *out) {
    if (len > c->text.len - c->at) {
        return ends_early(c, len);
    }
    *out = span_sub(c->text, c->at, (size_t)len);
    c->at += (size_t)len;
    return true;
}

bool gguf_take_u32(struct gguf_cursor *c, uint32_t *out) {
    struct span s;
    if (!gguf_take(c, 4, &s)) {
        return false;
    }
    *out = load_le32(s.ptr);
    return true;
}

bool gguf_take_u64(struct gguf_cursor *c, uint64_t *out) {
    struct span s;
    if (!gguf_take(c, 8, &s)) {
        return false;
    }
    *out = load_le64(s.ptr);
    return true;
}

bool gguf_take_text(struct gguf_cursor *c, struct span *out) {
    uint64_t len = 0;
    return gguf_take_u64(c, &len) && gguf_take(c, len, out);
}

/* Bytes of a number; 0: no number. */
static unsigned width_of(uint32_t type) {
    static const uint8_t widths[GGUF_TYPE_COUNT] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2,  [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_U64] = 8, [GGUF_BOOL] = 1, [GGUF_I64] = 8, [GGUF_F64] = 8,
    };
    return type < GGUF_TYPE_COUNT ? widths[type] : 0;
}

static bool are_bools(struct gguf_cursor *c, struct span bytes) {
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.ptr[i] > 1) {
            return gguf_refuse(c, LAMINA_DAMAGED, "%u where true or false should be", bytes.ptr[i]);
        }
    }
    return true;
}

static bool take_array(struct gguf_cursor *c, unsigned depth, struct gguf_value *out) {
    uint32_t type = 0;
    uint64_t bytes = 0;
    if (depth == GGUF_MAX_DEPTH) {
        return gguf_refuse(c, LAMINA_UNSUPPORTED, "arrays nested more than %d deep", (int)GGUF_MAX_DEPTH);
    }
    if (!gguf_take_u32(c, &type) || !gguf_take_u64(c, &out->count)) {
        return false;
    }
    if (type >= GGUF_TYPE_COUNT) {
        return gguf_refuse(c, LAMINA_DAMAGED, "an array of items of type %" PRIu32 "; there are %d types", type,
                           (int)GGUF_TYPE_COUNT);
    }
    out->item_type = (uint8_t)type;
    if (width_of(type) != 0) {
        bool over = checked_mul(out->count, width_of(type), &bytes);
        return gguf_take(c, over ? UINT64_MAX : bytes, &out->body) && (type != GGUF_BOOL || are_bools(c, out->body));
    }
    size_t begin = c->at;
    for (uint64_t i = 0; i < out->count; i++) {
        struct gguf_value item;
        if (!gguf_take_value(c, type, depth + 1, &item)) {
            return false;
        }
    }
    out->body = span_sub(c->text, begin, c->at - begin);
    return true;
}

bool gguf_take_value(struct gguf_cursor *c, uint32_t type, unsigned depth, struct gguf_value *out) {
    *out = (struct gguf_value){.type = (uint8_t)type, .count = 1};
    if (type >= GGUF_TYPE_COUNT) {
        return gguf_refuse(c, LAMINA_DAMAGED, "a value of type %" PRIu32 "; there are %d types", type,
                           (int)GGUF_TYPE_COUNT);
    }
    if (type == GGUF_TEXT) {
        return gguf_take_text(c, &out->body);
    }
    if (type == GGUF_ARRAY) {
        return take_array(c, depth, out);
    }
    return gguf_take(c, width_of(type), &out->body) && (type != GGUF_BOOL || are_bools(c, out->body));
}

/* ---- looking things up ---- */

static int by_key(const void *key, const void *pair) {
    const struct span *k = key;
    const struct gguf_pair *p = pair;
    int order = memcmp(k->ptr, p->key.ptr, k->len < p->key.len ? k->len : p->key.len);
    return order != 0 ? order : k->len < p->key.len ? -1 : k->len > p->key.len;
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key) {
    struct span k = span_of_text(key);
    const struct gguf_pair *p = g->pair_count == 0 ? NULL : bsearch(&k, g->pairs, g->pair_count, sizeof(*p), by_key);
    return p != NULL ? &p->value : NULL;
}

static int by_name(const void *name, const void *tensor) {
    return strcmp(name, ((const struct gguf_tensor *)tensor)->name);
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name) {
    return g->count == 0 ? NULL : bsearch(name, g->tensors, g->count, sizeof(*g->tensors), by_name);
}

/* ---- values ---- */

bool gguf_as_i64(const struct gguf_value *v, int64_t *out) {
    const uint8_t *p = v != NULL ? v->body.ptr : NULL;
    switch (v != NULL ? (enum gguf_type)v->type : GGUF_TYPE_COUNT) {
    case GGUF_U8:
        *out = p[0];
        return true;
    case GGUF_I8:
        *out = (int8_t)p[0];
        return true;
    case GGUF_U16:
        *out = load_le16(p);
        return true;
    case GGUF_I16:
        *out = (int16_t)load_le16(p);
        return true;
    case GGUF_U32:
        *out = load_le32(p);
        return true;
    case GGUF_I32:
        *out = (int32_t)load_le32(p);
        return true;
    case GGUF_I64:
        *out = (int64_t)load_le64(p);
        return true;
    case GGUF_U64:
        if (load_le64(p) > INT64_MAX) {
            return false;
        }
        *out = (int64_t)load_le64(p);
        return true;
    default:
        return false;
    }
}

bool gguf_as_u64(const struct gguf_value *v, uint64_t *out) {
    int64_t number = 0;
    if (v != NULL && v->type == GGUF_U64) {
        *out = load_le64(v->body.ptr);
        return true;
    }
    if (!gguf_as_i64(v, &number) || number < 0) {
        return false;
    }
    *out = (uint64_t)number;
    return true;
}

bool gguf_as_f64(const struct gguf_value *v, double *out) {
    uint64_t whole = 0;
    int64_t negative = 0;
    if (v != NULL && v->type == GGUF_F32) {
        uint32_t bits = load_le32(v->body.ptr);
        float f;
        memcpy(&f, &bits, sizeof(f));
        *out = (double)f;
        return true;
    }
    if (v != NULL && v->type == GGUF_F64) {
        uint64_t bits = load_le64(v->body.ptr);
        memcpy(out, &bits, sizeof(*out));
        return true;
    }
    if (gguf_as_u64(v, &whole)) {
        *out = (double)whole;
        return true;
    }
    if (gguf_as_i64(v, &negative)) {
        *out = (double)negative;
        return true;
    }
    return false;
}

bool gguf_as_bool(const struct gguf_value *v, bool *out) {
    if (v == NULL || v->type != GGUF_BOOL) {
        return false;
    }
    *out = v->body.ptr[0] != 0;
    return true;
}

bool gguf_as_text(const struct gguf_value *v, struct span *out) {
    if (v == NULL || v->type != GGUF_TEXT) {
        return false;
    }
    *out = v->body;
    return true;
}

bool gguf_items_of(const struct gguf_value *v, struct gguf_items *out) {
    if (v == NULL || v->type != GGUF_ARRAY) {
        return false;
    }
    *out = (struct gguf_items){.rest = v->body, .left = v->count, .type = v->item_type};
    return true;
}

bool gguf_next(struct gguf_items *it, struct gguf_value *item) {
    struct gguf_cursor c = {.text = it->rest, .file_size = it->rest.len, .name = ""};
    /* The array was walked when it was taken; its depth cannot be exceeded now. */
    if (it->left == 0 || !gguf_take_value(&c, it->type, 0, item)) {
        return false;
    }
    it->rest = span_sub(it->rest, c.at, it->rest.len);
    it->left--;
    return true;
}
