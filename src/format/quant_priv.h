/* SPDX-License-Identifier: Apache-2.0
 * The numbers that quantised weights are made of, widened exactly to float32, and the decoders of GGUF's blocks. Every
 * conversion is done on bits, so neither a flush-to-zero mode nor the host's byte order changes a result. */
#ifndef FORMAT_QUANT_PRIV_H
#define FORMAT_QUANT_PRIV_H

#include <stdint.h>
#include <string.h>

#include "base/span.h"

static inline float float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static inline float float_of_f32(const uint8_t *p) {
    return float_of_bits(load_le32(p));
}

static inline float float_of_bf16(const uint8_t *p) {
    return float_of_bits((uint32_t)load_le16(p) << 16);
}

/* A small floating-point format without infinities of its own: sign, exponent of `wide` bits with `bias`, mantissa.
 * Its denormal numbers are normal ones of float32, so their value is a small integer times a power of two. */
static inline float float_of_small(uint32_t sign, uint32_t exponent, uint32_t mantissa, uint32_t digits, uint32_t bias) {
    if (exponent == 0) {
        float unit = float_of_bits((128 - bias - digits) << 23);
        float value = (float)mantissa * unit;
        return sign != 0 ? -value : value;
    }
    return float_of_bits(sign << 31 | (exponent + 127 - bias) << 23 | mantissa << (23 - digits));
}

static inline float float_of_f16(const uint8_t *p) {
    uint32_t h = load_le16(p);
    uint32_t exponent = h >> 10 & 31;
    if (exponent == 31) {
        return float_of_bits((h & 0x8000) << 16 | UINT32_C(0x7f800000) | (h & 0x3ff) << 13);
    }
    return float_of_small(h >> 15, exponent, h & 0x3ff, 10, 15);
}

/* OCP FP8: e4m3fn has one NaN and no infinity, e5m2 is the upper half of an f16. */
static inline float float_of_e4m3(uint8_t b) {
    if ((b & 0x7f) == 0x7f) {
        return float_of_bits((uint32_t)(b >> 7) << 31 | UINT32_C(0x7fc00000));
    }
    return float_of_small(b >> 7, b >> 3 & 15, b & 7, 3, 7);
}

static inline float float_of_e5m2(uint8_t b) {
    const uint8_t half[2] = {0, b};
    return float_of_f16(half);
}

/* A power of two: 2^(b - 127); 255 is NaN (OCP Microscaling 1.0, 5.4.1). */
static inline float float_of_e8m0(uint8_t b) {
    return float_of_bits(b == 255 ? UINT32_C(0x7fc00000) : b == 0 ? UINT32_C(0x00400000) : (uint32_t)b << 23);
}

/* Where the 32 weights of a block are nibbles, weight j is the low one of byte j, weight j + 16 the high one. */
static inline unsigned split_nibble(const uint8_t *codes, unsigned j) {
    return j < 16 ? codes[j] & 15u : codes[j - 16] >> 4;
}

/* quant_blocks.c: blocks of 32 (NVFP4: 64) weights, a scale each. */
void quant_q4_0(const uint8_t *in, size_t blocks, float *out);
void quant_q4_1(const uint8_t *in, size_t blocks, float *out);
void quant_q5_0(const uint8_t *in, size_t blocks, float *out);
void quant_q5_1(const uint8_t *in, size_t blocks, float *out);
void quant_q8_0(const uint8_t *in, size_t blocks, float *out);
void quant_iq4_nl(const uint8_t *in, size_t blocks, float *out);
void quant_mxfp4(const uint8_t *in, size_t blocks, float *out);
void quant_nvfp4(const uint8_t *in, size_t blocks, float *out);
/* quant_super.c: blocks of 256 weights, whose groups have scales of a few bits. */
void quant_q2_k(const uint8_t *in, size_t blocks, float *out);
void quant_q3_k(const uint8_t *in, size_t blocks, float *out);
void quant_q4_k(const uint8_t *in, size_t blocks, float *out);
void quant_q5_k(const uint8_t *in, size_t blocks, float *out);
void quant_q6_k(const uint8_t *in, size_t blocks, float *out);
void quant_iq4_xs(const uint8_t *in, size_t blocks, float *out);
void quant_tq1_0(const uint8_t *in, size_t blocks, float *out);
void quant_tq2_0(const uint8_t *in, size_t blocks, float *out);

extern const int8_t quant_iq4_values[16];

#endif
