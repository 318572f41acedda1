/* SPDX-License-Identifier: Apache-2.0
 * A view of bytes owned by somebody else, and little-endian loads and stores that never assume alignment. */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *ptr;
    size_t len;
};

static inline struct span span_of(const void *ptr, size_t len) {
    return (struct span){.ptr = (const uint8_t *)ptr, .len = len};
}

static inline struct span span_of_text(const char *text) {
    return span_of(text, strlen(text));
}

static inline bool span_equal(struct span a, struct span b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool span_is(struct span a, const char *text) {
    return span_equal(a, span_of_text(text));
}

static inline bool span_starts_with(struct span a, const char *prefix) {
    size_t n = strlen(prefix);
    return a.len >= n && memcmp(a.ptr, prefix, n) == 0;
}

static inline bool span_ends_with(struct span a, const char *suffix) {
    size_t n = strlen(suffix);
    return a.len >= n && memcmp(a.ptr + (a.len - n), suffix, n) == 0;
}

/* The part [begin, begin + len), clipped to the span. */
static inline struct span span_sub(struct span a, size_t begin, size_t len) {
    if (begin > a.len) {
        begin = a.len;
    }
    if (len > a.len - begin) {
        len = a.len - begin;
    }
    return span_of(a.ptr + begin, len);
}

static inline uint16_t load_le16(const void *p) {
    const uint8_t *b = (const uint8_t *)p;
    return (uint16_t)(b[0] | (uint16_t)(b[1] << 8));
}

static inline uint32_t load_le32(const void *p) {
    const uint8_t *b = (const uint8_t *)p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t load_le64(const void *p) {
    const uint8_t *b = (const uint8_t *)p;
    return (uint64_t)load_le32(b) | (uint64_t)load_le32(b + 4) << 32;
}

static inline void store_le32(void *p, uint32_t v) {
    uint8_t *b = (uint8_t *)p;
    for (int i = 0; i < 4; i++) {
        b[i] = (uint8_t)(v >> (8 * i));
    }
}

static inline void store_le64(void *p, uint64_t v) {
    store_le32(p, (uint32_t)v);
    store_le32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

#endif
