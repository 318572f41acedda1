/* SPDX-License-Identifier: Apache-2.0
 * Makes GGUF files in memory, right or wrong, piece by piece. Include after cmocka.h. */
#ifndef GGUF_MAKER_H
#define GGUF_MAKER_H

#include "base/str.h"
#include "format/gguf.h"

static inline void gg_32(struct str *s, uint32_t v) {
    uint8_t b[4];
    store_le32(b, v);
    str_add(s, b, sizeof(b));
}

static inline void gg_64(struct str *s, uint64_t v) {
    uint8_t b[8];
    store_le64(b, v);
    str_add(s, b, sizeof(b));
}

static inline void gg_text(struct str *s, const char *text) {
    gg_64(s, strlen(text));
    str_add_text(s, text);
}

static inline void gg_front(struct str *s, uint32_t version, uint64_t tensors, uint64_t pairs) {
    str_clear(s);
    str_add_text(s, "GGUF");
    gg_32(s, version);
    gg_64(s, tensors);
    gg_64(s, pairs);
}

static inline void gg_key(struct str *s, const char *key, enum gguf_type type) {
    gg_text(s, key);
    gg_32(s, (uint32_t)type);
}

static inline void gg_pair_u32(struct str *s, const char *key, uint32_t v) {
    gg_key(s, key, GGUF_U32);
    gg_32(s, v);
}

static inline void gg_pair_u16(struct str *s, const char *key, uint16_t v) {
    gg_key(s, key, GGUF_U16);
    str_add_byte(s, (uint8_t)v);
    str_add_byte(s, (uint8_t)(v >> 8));
}

static inline void gg_pair_text(struct str *s, const char *key, const char *v) {
    gg_key(s, key, GGUF_TEXT);
    gg_text(s, v);
}

/* Fastest dimension first. */
static inline void gg_tensor(struct str *s, const char *name, uint32_t rank, const uint64_t *dims, uint32_t type,
                             uint64_t offset) {
    gg_text(s, name);
    gg_32(s, rank);
    for (uint32_t i = 0; i < rank; i++) {
        gg_64(s, dims[i]);
    }
    gg_32(s, type);
    gg_64(s, offset);
}

/* Zeros up to the alignment, then `bytes` of data. Returns the header's length. */
static inline size_t gg_data(struct str *s, size_t alignment, size_t bytes) {
    size_t len = s->len;
    while (s->len % alignment != 0) {
        str_add_byte(s, 0);
    }
    for (size_t i = 0; i < bytes; i++) {
        str_add_byte(s, (uint8_t)i);
    }
    return len;
}

#endif
