/* SPDX-License-Identifier: Apache-2.0
 * Planes in plain C, for processors without a vector set of ours: a piece is 8 words, and escaped symbols find their places one by
 * one. */
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "codec/coding_priv.h"

enum { WORDS = PLANES_UNIT / 8 };

typedef struct {
    uint64_t word[WORDS];
} piece;
typedef struct {
    uint8_t symbol[16];
} piece_table;

static ALWAYS_INLINE piece piece_load(const uint8_t *p) {
    piece a;
    memcpy(&a, p, sizeof(a));
    return a;
}

static ALWAYS_INLINE void piece_store(uint8_t *p, piece a) {
    memcpy(p, &a, sizeof(a));
}

static ALWAYS_INLINE piece_table piece_table_load(const uint8_t *p) {
    piece_table t;
    memcpy(&t, p, sizeof(t));
    return t;
}

/* A word of 8 times the byte. */
static ALWAYS_INLINE uint64_t everywhere(uint8_t byte) {
    return byte * UINT64_C(0x0101010101010101);
}

static ALWAYS_INLINE piece piece_up(piece a, unsigned bits) {
    for (size_t i = 0; i < WORDS; i++) {
        a.word[i] <<= bits;
    }
    return a;
}

static ALWAYS_INLINE piece piece_down(piece a, unsigned bits) {
    for (size_t i = 0; i < WORDS; i++) {
        a.word[i] >>= bits;
    }
    return a;
}

static ALWAYS_INLINE piece piece_and(piece a, uint8_t mask) {
    for (size_t i = 0; i < WORDS; i++) {
        a.word[i] &= everywhere(mask);
    }
    return a;
}

static ALWAYS_INLINE piece piece_merge(uint8_t mask, piece a, piece b) {
    for (size_t i = 0; i < WORDS; i++) {
        a.word[i] = (a.word[i] & everywhere(mask)) | (b.word[i] & ~everywhere(mask));
    }
    return a;
}

static ALWAYS_INLINE void piece_pairs(uint8_t *p, piece a, piece b) {
    uint8_t first[PLANES_UNIT];
    uint8_t second[PLANES_UNIT];
    piece_store(first, a);
    piece_store(second, b);
    for (size_t i = 0; i < PLANES_UNIT; i++) {
        p[2 * i] = first[i];
        p[2 * i + 1] = second[i];
    }
}

static ALWAYS_INLINE void piece_wholes(uint8_t *p, piece a, piece b, int middle) {
    uint8_t first[PLANES_UNIT];
    uint8_t second[PLANES_UNIT];
    piece_store(first, a);
    piece_store(second, b);
    for (size_t i = 0; i < PLANES_UNIT; i++) {
        const float whole = (float)((int)first[i] + ((int)second[i] << 8) - middle);
        uint32_t bits;
        memcpy(&bits, &whole, sizeof(bits));
        p[2 * i] = (uint8_t)(bits >> 16);
        p[2 * i + 1] = (uint8_t)(bits >> 24);
    }
}

/* Without a branch, since nobody foresees which values escape; the table has 0 for those that do. */
static ALWAYS_INLINE piece piece_expand(piece_table table, piece unit, unsigned shift, uint8_t last, uint64_t live,
                                        const uint8_t **next) {
    const piece codes = piece_and(piece_down(unit, shift), last);
    const size_t count = live == UINT64_MAX ? PLANES_UNIT : (size_t)__builtin_ctzll(~live);
    const uint8_t *from = *next;
    uint8_t code[PLANES_UNIT];
    uint8_t out[PLANES_UNIT] = {0};
    piece_store(code, codes);
    for (size_t i = 0; i < count; i++) {
        const unsigned escapes = code[i] == last;
        out[i] = (uint8_t)(table.symbol[code[i]] | (*from & (0 - escapes)));
        from += escapes;
    }
    *next = from;
    return piece_load(out);
}

#define PLANES_DECODE planes_decode_plain
#include "codec/planes_level_priv.h"
