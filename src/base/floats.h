/* SPDX-License-Identifier: Apache-2.0
 * The numbers that weights and scales are stored as, widened exactly to float32. Every conversion is done on bits, so neither a
 * flush-to-zero mode nor the host's byte order changes a result. */
#ifndef BASE_FLOATS_H
#define BASE_FLOATS_H

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

/* OCP FP4, e2m1: the sign in the top bit of four. */
static inline float float_of_e2m1(uint8_t b) {
    static const float magnitudes[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    return (b & 8) != 0 ? -magnitudes[b & 7] : magnitudes[b & 7];
}

#endif
