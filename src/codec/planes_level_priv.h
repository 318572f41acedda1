/* SPDX-License-Identifier: Apache-2.0
 *
 * Template of a decoder of planes: levels are decoded from the last one up, symbols of a level are expanded into the escapes of
 * the one above, and the first is joined with the raw planes at once. A level's .c file defines PLANES_DECODE, the function's
 * name, and what pieces of 64 bytes can do, then includes this (alone the header is empty):
 *     piece                      64 bytes
 *     piece_table                16 bytes to look up
 *     piece_load, piece_store    at any address
 *     piece_up, piece_down       shift 16 bit lanes: bits cross from byte to byte, and are masked off later
 *     piece_and                  with a byte
 *     piece_merge                bits of the first where the mask has ones, else of the second
 *     piece_pairs                stores bytes of the first and the second in turns
 *     piece_wholes               the same, each pair of bytes a number, of which `middle` is taken; stores the BF16 of what is left
 *     piece_expand               codes, `shift` bits up in the bytes of a unit and at most `last`, to symbols; escapes take bytes
 *                                from *next, which moves on
 *
 * Damaged tiles: a level takes at most as many bytes from the next as it has codes, so reads stay inside the scratch whatever
 * the codes are; what the next level really had is compared afterwards. */
#ifndef CODEC_PLANES_LEVEL_PRIV_H
#define CODEC_PLANES_LEVEL_PRIV_H

#include <string.h>

#include "base/compiler.h"
#include "codec/planes.h"

#ifdef PLANES_DECODE

#if defined(__clang__)
#define PLANES_UNROLL _Pragma("unroll")
#define PLANES_ROLLED _Pragma("nounroll")
#else
#define PLANES_UNROLL _Pragma("GCC unroll 8")
#define PLANES_ROLLED _Pragma("GCC unroll 1")
#endif

/* What one level is decoded from and to. */
struct planes_run {
    const struct planes_block *b;
    uint32_t level;
    const uint8_t *next;    /* symbols of the level below; readable for 64 bytes more than this level has codes */
    uint8_t *out;           /* symbols, or values */
    const uint8_t *ahead;   /* bytes needed soon: the next block's */
    const uint8_t *end;     /* of the tile */
};

/* Raw bits of 64 values from `at` on, moved to bit `to`; bits beside them are anything. `number`: of the piece, counted from a
 * multiple of 512 values, so that compilers know how far to shift. */
static ALWAYS_INLINE piece planes_field(const uint8_t *plane, size_t at, unsigned number, unsigned width, unsigned to) {
    const unsigned fields = 8 / width;
    const unsigned from = number % fields * width;
    const piece unit = piece_load(plane + at / ((size_t)PLANES_UNIT * fields) * PLANES_UNIT);
    return from > to ? piece_down(unit, from - to) : piece_up(unit, to - from);
}

/* The low byte of symbols above `bits` raw bits, of which those of wider planes stand above those of narrower ones: of whole
 * numbers, how far they are above the least that has this kind. No loop: compilers would not take it apart. */
static ALWAYS_INLINE piece planes_low(const uint8_t *const *raw, unsigned bits, piece symbols, size_t at, unsigned number) {
    piece low = piece_up(symbols, bits);
    if ((bits & 1) != 0) {
        low = piece_merge(1, planes_field(*raw++, at, number, 1, 0), low);
    }
    if ((bits & 2) != 0) {
        low = piece_merge((uint8_t)(3u << (bits & 1)), planes_field(*raw++, at, number, 2, bits & 1), low);
    }
    if ((bits & 4) != 0) {
        low = piece_merge((uint8_t)(15u << (bits & 3)), planes_field(*raw, at, number, 4, bits & 3), low);
    }
    return low;
}

static ALWAYS_INLINE piece planes_whole_high(unsigned bits, piece symbols) {
    return piece_and(piece_down(symbols, 8 - bits), (uint8_t)((1u << bits) - 1));
}

/* Joins 64 symbols with the raw bits of the values from `at` on. */
static ALWAYS_INLINE void planes_join(const struct planes_run *r, enum planes_kind kind, piece symbols, size_t at,
                                      unsigned number) {
    const uint8_t *const *raw = r->b->raw;
    if (kind == PLANES_BF16) {
        const piece bits = piece_load(raw[0] + at);
        const piece low = piece_merge(0x7f, bits, piece_up(symbols, 7));
        const piece high = piece_merge(0x80, bits, piece_down(symbols, 1));
        piece_pairs(r->out + 2 * at, low, high);
    } else if (kind == PLANES_F16) {
        const piece top = piece_merge(0x03, planes_field(raw[1], at, number, 2, 0), piece_up(symbols, 2));
        const piece high = piece_merge(0x80, planes_field(raw[2], at, number, 1, 7), top);
        piece_pairs(r->out + 2 * at, piece_load(raw[0] + at), high);
    } else if (kind == PLANES_E4M3) {
        const piece rest = piece_merge(0x07, planes_field(raw[0], at, number, 4, 0), planes_field(raw[0], at, number, 4, 4));
        piece_store(r->out + at, piece_merge(0x78, piece_up(symbols, 3), rest));
    } else if (kind == PLANES_E5M2) {
        const piece rest = piece_merge(0x03, planes_field(raw[0], at, number, 2, 0), planes_field(raw[1], at, number, 1, 7));
        piece_store(r->out + at, piece_merge(0x7c, piece_up(symbols, 2), rest));
    } else if (kind >= PLANES_BYTE_0) {
        piece_store(r->out + at, planes_low(raw, (unsigned)kind - PLANES_BYTE_0, symbols, at, number));
    } else {
        const unsigned bits = (unsigned)kind - PLANES_WHOLE_0;
        const piece low = planes_low(raw, bits, symbols, at, number);
        piece_wholes(r->out + 2 * at, low, planes_whole_high(bits, symbols), 128 << bits);
    }
}

/* kind: PLANES_KINDS for symbols as bytes. */
static ALWAYS_INLINE void planes_emit(const struct planes_run *r, enum planes_kind kind, piece symbols, size_t at,
                                      unsigned number) {
    if (kind == PLANES_KINDS) {
        piece_store(r->out + at, symbols);
    } else {
        planes_join(r, kind, symbols, at, number);
    }
}

/* Pieces after which the places of all fields repeat: as many as its narrowest plane has fields in a unit. */
static ALWAYS_INLINE unsigned planes_pieces(enum planes_kind kind, unsigned width) {
    const bool whole = kind >= PLANES_WHOLE_0 && kind < PLANES_BYTE_0;
    const bool byte = kind >= PLANES_BYTE_0 && kind < PLANES_KINDS;
    const unsigned bits = (unsigned)kind - (whole ? PLANES_WHOLE_0 : byte ? PLANES_BYTE_0 : (unsigned)kind);
    const bool single = kind == PLANES_F16 || kind == PLANES_E5M2 || (bits & 1) != 0;
    return single ? 8 : width == 2 || (bits & 2) != 0 ? 4 : 2;
}

/* The block after this one is decoded next, as a rule: while 64 values are made here, as many bytes as they took are asked for
 * there. Half a dozen short streams are too many for the processor to foresee. */
static ALWAYS_INLINE const uint8_t *planes_foresee(const uint8_t *ahead, const uint8_t *end, size_t bytes) {
    if ((size_t)(end - ahead) < bytes) {
        return end;
    }
    PLANES_UNROLL
    for (size_t i = 0; i < bytes; i += PLANES_UNIT) {
        __builtin_prefetch(ahead + i, 0, 2);
    }
    return ahead + bytes;
}

/* The symbols of a level; the code of escapes has 0. */
static ALWAYS_INLINE piece_table planes_table(const uint8_t *symbol, uint8_t last) {
    uint8_t symbols[16] = {0};
    memcpy(symbols, symbol, last);
    return piece_table_load(symbols);
}

/* Decodes a level; returns how many escapes it has. */
static ALWAYS_INLINE size_t planes_level(const struct planes_run *r, unsigned width, enum planes_kind kind) {
    const unsigned fields = 8 / width;
    const unsigned pieces = planes_pieces(kind, width);
    const uint8_t last = (uint8_t)((1u << width) - 1);
    const size_t count = r->b->values[r->level];
    const uint8_t *plane = r->b->level[r->level];
    const uint8_t *next = r->next;
    const uint8_t *ahead = r->ahead;
    const size_t per_piece = kind == PLANES_BF16 || kind == PLANES_F16 ? 96 : 48; /* bytes, about */
    const piece_table table = planes_table(r->b->symbol[r->level], last);
    size_t at = 0;
    for (; at + (size_t)PLANES_UNIT * pieces <= count; at += (size_t)PLANES_UNIT * pieces) {
        PLANES_UNROLL
        for (unsigned k = 0; k < pieces; k++) {
            const piece unit = piece_load(plane + (size_t)(k / fields) * PLANES_UNIT);
            const piece symbols = piece_expand(table, unit, k % fields * width, last, UINT64_MAX, &next);
            planes_emit(r, kind, symbols, at + (size_t)k * PLANES_UNIT, k);
        }
        plane += (size_t)(pieces / fields) * PLANES_UNIT;
        if (kind != PLANES_KINDS) {
            ahead = planes_foresee(ahead, r->end, per_piece * pieces);
        }
    }
    PLANES_ROLLED
    for (unsigned k = 0; at < count; k++, at += PLANES_UNIT) {
        const size_t left = count - at;
        const uint64_t live = left >= PLANES_UNIT ? UINT64_MAX : (UINT64_C(1) << left) - 1;
        const piece unit = piece_load(plane + (size_t)(k / fields) * PLANES_UNIT);
        planes_emit(r, kind, piece_expand(table, unit, k % fields * width, last, live, &next), at, k);
    }
    return (size_t)(next - r->next);
}

static size_t planes_to_symbols(const struct planes_run *r) {
    return r->b->width[r->level] == 2 ? planes_level(r, 2, PLANES_KINDS) : planes_level(r, 4, PLANES_KINDS);
}

/* The first level: NAME joins symbols with raw bits of KIND. */
#define PLANES_TO(NAME, KIND)                                                                      \
    static size_t NAME(const struct planes_run *r) {                                               \
        return r->b->width[0] == 2 ? planes_level(r, 2, KIND) : planes_level(r, 4, KIND);          \
    }
PLANES_TO(planes_to_bf16, PLANES_BF16)
PLANES_TO(planes_to_f16, PLANES_F16)
PLANES_TO(planes_to_e4m3, PLANES_E4M3)
PLANES_TO(planes_to_e5m2, PLANES_E5M2)
PLANES_TO(planes_to_whole_0, PLANES_WHOLE_0)
PLANES_TO(planes_to_whole_1, PLANES_WHOLE_1)
PLANES_TO(planes_to_whole_2, PLANES_WHOLE_2)
PLANES_TO(planes_to_whole_3, PLANES_WHOLE_3)
PLANES_TO(planes_to_whole_4, PLANES_WHOLE_4)
PLANES_TO(planes_to_whole_5, PLANES_WHOLE_5)
PLANES_TO(planes_to_whole_6, PLANES_WHOLE_6)
PLANES_TO(planes_to_whole_7, PLANES_WHOLE_7)
PLANES_TO(planes_to_byte_0, PLANES_BYTE_0)
PLANES_TO(planes_to_byte_1, PLANES_BYTE_1)
PLANES_TO(planes_to_byte_2, PLANES_BYTE_2)
PLANES_TO(planes_to_byte_3, PLANES_BYTE_3)
PLANES_TO(planes_to_byte_4, PLANES_BYTE_4)
PLANES_TO(planes_to_byte_5, PLANES_BYTE_5)

/* All levels but the first; afterwards r->next is what the first takes its escapes from. */
static ALWAYS_INLINE bool planes_upper_levels(struct planes_run *r, const struct planes_block *b, const uint8_t *tile_end,
                                              uint8_t scratch[2][PLANES_BLOCK + PLANES_UNIT]) {
    const uint8_t *end = b->level[b->levels] + (b->values[b->levels] + PLANES_UNIT - 1) / PLANES_UNIT * PLANES_UNIT;
    *r = (struct planes_run){.b = b, .next = scratch[b->levels & 1], .ahead = end, .end = tile_end};
    memcpy(scratch[b->levels & 1], b->level[b->levels], b->values[b->levels]);
    for (r->level = b->levels - 1; r->level > 0; r->level--) {
        r->out = scratch[r->level & 1];
        if (planes_to_symbols(r) != b->values[r->level + 1]) {
            return false;
        }
        r->next = r->out;
    }
    return true;
}

bool PLANES_DECODE(const uint8_t *tile, size_t len, uint32_t block, uint32_t count, void *out) {
    static size_t (*const to_values[PLANES_KINDS])(const struct planes_run *r) = {
        planes_to_bf16,    planes_to_f16,     planes_to_e4m3,    planes_to_e5m2,    planes_to_whole_0, planes_to_whole_1,
        planes_to_whole_2, planes_to_whole_3, planes_to_whole_4, planes_to_whole_5, planes_to_whole_6, planes_to_whole_7,
        planes_to_byte_0,  planes_to_byte_1,  planes_to_byte_2,  planes_to_byte_3,  planes_to_byte_4,  planes_to_byte_5,
    };
    uint8_t scratch[2][PLANES_BLOCK + PLANES_UNIT] ALIGNED(64);
    struct planes_block b;
    if (!planes_find(&b, tile, len, block, count)) {
        return false;
    }
    if (b.whole != NULL) {
        memcpy(out, b.whole, (size_t)count * b.form->bytes);
        return true;
    }
    struct planes_run r;
    if (!planes_upper_levels(&r, &b, tile + len, scratch)) {
        return false;
    }
    r.out = (uint8_t *)out;
    return to_values[b.form - PLANES_FORM](&r) == b.values[1];
}

#endif
#endif
