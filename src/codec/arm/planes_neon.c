/* SPDX-License-Identifier: Apache-2.0
 * Planes with NEON, which every AArch64 processor has: a piece is four registers; escaped symbols find their places 8 lanes at a
 * time, by a byte shuffle from the table of all masks of 8 bits. */
#include <arm_neon.h>

#include "base/compiler.h"
#include "codec/coding_priv.h"
#include "codec/planes_places_priv.h"

typedef struct {
    uint8x16_t quarter[4];
} piece;
typedef uint8x16_t piece_table;

static ALWAYS_INLINE piece piece_load(const uint8_t *p) {
    return (piece){{vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}};
}

static ALWAYS_INLINE void piece_store(uint8_t *p, piece a) {
    vst1q_u8(p, a.quarter[0]);
    vst1q_u8(p + 16, a.quarter[1]);
    vst1q_u8(p + 32, a.quarter[2]);
    vst1q_u8(p + 48, a.quarter[3]);
}

static ALWAYS_INLINE piece_table piece_table_load(const uint8_t *p) {
    return vld1q_u8(p);
}

/* Up by a negative number is down. */
static ALWAYS_INLINE piece shift(piece a, int bits) {
    const int8x16_t by = vdupq_n_s8((int8_t)bits);
    return (piece){{vshlq_u8(a.quarter[0], by), vshlq_u8(a.quarter[1], by),
                    vshlq_u8(a.quarter[2], by), vshlq_u8(a.quarter[3], by)}};
}

static ALWAYS_INLINE piece piece_up(piece a, unsigned bits) {
    return shift(a, (int)bits);
}

static ALWAYS_INLINE piece piece_down(piece a, unsigned bits) {
    return shift(a, -(int)bits);
}

static ALWAYS_INLINE piece piece_and(piece a, uint8_t mask) {
    const uint8x16_t m = vdupq_n_u8(mask);
    return (piece){{vandq_u8(a.quarter[0], m), vandq_u8(a.quarter[1], m),
                    vandq_u8(a.quarter[2], m), vandq_u8(a.quarter[3], m)}};
}

static ALWAYS_INLINE piece piece_merge(uint8_t mask, piece a, piece b) {
    const uint8x16_t m = vdupq_n_u8(mask);
    return (piece){{vbslq_u8(m, a.quarter[0], b.quarter[0]), vbslq_u8(m, a.quarter[1], b.quarter[1]),
                    vbslq_u8(m, a.quarter[2], b.quarter[2]), vbslq_u8(m, a.quarter[3], b.quarter[3])}};
}

static ALWAYS_INLINE void pairs_16(uint8_t *p, uint8x16_t a, uint8x16_t b) {
    vst1q_u8(p, vzip1q_u8(a, b));
    vst1q_u8(p + 16, vzip2q_u8(a, b));
}

static ALWAYS_INLINE void piece_pairs(uint8_t *p, piece a, piece b) {
    pairs_16(p, a.quarter[0], b.quarter[0]);
    pairs_16(p + 32, a.quarter[1], b.quarter[1]);
    pairs_16(p + 64, a.quarter[2], b.quarter[2]);
    pairs_16(p + 96, a.quarter[3], b.quarter[3]);
}

/* 8 whole numbers as BF16: the upper halves of floats. */
static ALWAYS_INLINE void wholes_8(uint8_t *p, uint8x16_t pairs, int16x8_t middle) {
    const int16x8_t whole = vsubq_s16(vreinterpretq_s16_u8(pairs), middle);
    const float32x4_t low = vcvtq_f32_s32(vmovl_s16(vget_low_s16(whole)));
    const float32x4_t high = vcvtq_f32_s32(vmovl_s16(vget_high_s16(whole)));
    const uint16x4_t first = vshrn_n_u32(vreinterpretq_u32_f32(low), 16);
    const uint16x4_t second = vshrn_n_u32(vreinterpretq_u32_f32(high), 16);
    vst1q_u8(p, vreinterpretq_u8_u16(vcombine_u16(first, second)));
}

static ALWAYS_INLINE void piece_wholes(uint8_t *p, piece a, piece b, int middle) {
    const int16x8_t less = vdupq_n_s16((int16_t)middle);
    for (size_t i = 0; i < 4; i++) {
        wholes_8(p + 32 * i, vzip1q_u8(a.quarter[i], b.quarter[i]), less);
        wholes_8(p + 32 * i + 16, vzip2q_u8(a.quarter[i], b.quarter[i]), less);
    }
}

/* Bit i: lane i is `last`. Each lane keeps one bit, its place among 8, and sums of neighbours bring 8 lanes into a byte. */
static ALWAYS_INLINE uint64_t escapes_of(piece codes, uint8_t last) {
    const uint8x16_t places = vreinterpretq_u8_u64(vdupq_n_u64(UINT64_C(0x8040201008040201)));
    const uint8x16_t lasts = vdupq_n_u8(last);
    const uint8x16_t low = vpaddq_u8(vandq_u8(vceqq_u8(codes.quarter[0], lasts), places),
                                     vandq_u8(vceqq_u8(codes.quarter[1], lasts), places));
    const uint8x16_t high = vpaddq_u8(vandq_u8(vceqq_u8(codes.quarter[2], lasts), places),
                                      vandq_u8(vceqq_u8(codes.quarter[3], lasts), places));
    const uint8x16_t four = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(four, four)), 0);
}

/* Byte i: how many bits are set in bytes 0 to i. */
static ALWAYS_INLINE uint64_t counts_up_to(uint64_t bits) {
    return vget_lane_u64(vreinterpret_u64_u8(vcnt_u8(vcreate_u8(bits))), 0) * UINT64_C(0x0101010101010101);
}

/* Escaped symbols of 8 lanes; of the 16 bytes read at most 8 are taken. */
static ALWAYS_INLINE uint8x8_t escaped_8(const uint8_t *from, uint8_t escapes) {
    return vqtbl1_u8(vld1q_u8(from), vld1_u8(PLANES_PLACES[escapes]));
}

/* `escapes` and `before` begin with the byte of the first 8 lanes; the table has 0 for escapes. */
static ALWAYS_INLINE uint8x16_t expand_16(piece_table table, uint8x16_t codes, uint64_t escapes, uint64_t before,
                                          const uint8_t *from) {
    const uint8x8_t first = escaped_8(from + (uint8_t)before, (uint8_t)escapes);
    const uint8x8_t second = escaped_8(from + (uint8_t)(before >> 8), (uint8_t)(escapes >> 8));
    return vorrq_u8(vqtbl1q_u8(table, codes), vcombine_u8(first, second));
}

static ALWAYS_INLINE piece piece_expand(piece_table table, piece unit, unsigned shift, uint8_t last, uint64_t live,
                                        const uint8_t **next) {
    const piece codes = piece_and(piece_down(unit, shift), last);
    const uint64_t escapes = escapes_of(codes, last) & live;
    const uint64_t counts = counts_up_to(escapes);
    const uint64_t before = counts << 8; /* byte i: in the bytes before it */
    const uint8_t *from = *next;
    *next += counts >> 56;
    return (piece){{expand_16(table, codes.quarter[0], escapes, before, from),
                    expand_16(table, codes.quarter[1], escapes >> 16, before >> 16, from),
                    expand_16(table, codes.quarter[2], escapes >> 32, before >> 32, from),
                    expand_16(table, codes.quarter[3], escapes >> 48, before >> 48, from)}};
}

#define PLANES_DECODE planes_decode_neon
#include "codec/planes_level_priv.h"
