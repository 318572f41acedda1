/* SPDX-License-Identifier: Apache-2.0
 * GGUF's simple blocks: 32 codes with one scale, some with a minimum (NVFP4: four groups of 16). Layouts, in bytes:
 *
 *     Q4_0   d:f16  codes:16                  (code - 8) * d          Q4_1   d:f16 m:f16 codes:16          code * d + m
 *     Q5_0   d:f16  fifth:32 bits  codes:16   (code - 16) * d         Q5_1   d:f16 m:f16 fifth codes:16    code * d + m
 *     Q8_0   d:f16  codes:32 (int8)           code * d                IQ4_NL d:f16 codes:16                table[code] * d
 *     MXFP4  e:u8   codes:16                  twice e2m1 * 2^(e-128)  NVFP4  e4m3:4 codes:4x8
 *
 * Whole blocks, one after the other, by the operations of ggml's dequantize_row_*, each rounded once (no contraction), so that
 * the values are equal bit for bit. Codes first, then numbers, both by the steps of lookup_priv.h, which are vectors. A
 * template: decode_*.c compile it once per instruction set. */
#ifndef CODEC_BLOCKS_32_PRIV_H
#define CODEC_BLOCKS_32_PRIV_H

#include "codec/lookup_priv.h"

enum { BLOCK_32 = 32 };

/* Where the 32 weights of a block are nibbles, weight j is the low one of byte j, weight j + 16 the high one. */
static inline void take_nibbles(const uint8_t *in, uint8_t codes[BLOCK_32]) {
    bits_16(in, 0, 15, codes);
    bits_16(in, 4, 15, codes + BLOCK_32 / 2);
}

/* The fifth bit of weight j is bit j of a 32-bit word before the nibbles. */
static inline void take_five_bits(const uint8_t *in, uint8_t codes[BLOCK_32]) {
    take_nibbles(in + 4, codes);
    for (unsigned j = 0; j < BLOCK_32; j += 8) {
        add_fifth_bits(in[j / 8], codes + j);
    }
}

/* (code - zero) * d */
static inline void scale_32(const uint8_t codes[BLOCK_32], int zero, float d, float *out) {
    widen_16(codes, zero, out);
    widen_16(codes + 16, zero, out + 16);
    for (unsigned j = 0; j < BLOCK_32; j++) {
        out[j] *= d;
    }
}

/* code * d + m */
static inline void scale_shift_32(const uint8_t codes[BLOCK_32], float d, float m, float *out) {
    widen_16(codes, 0, out);
    widen_16(codes + 16, 0, out + 16);
    for (unsigned j = 0; j < BLOCK_32; j++) {
        float product = out[j] * d;
        out[j] = product + m;
    }
}

/* Values of a block: `in` begins with its scales, codes are a byte each, in the order of weights. */
static inline void q4_0_values(const uint8_t *in, const uint8_t *codes, float *out) {
    scale_32(codes, 8, float_of_f16(in), out);
}

static inline void q4_1_values(const uint8_t *in, const uint8_t *codes, float *out) {
    scale_shift_32(codes, float_of_f16(in), float_of_f16(in + 2), out);
}

static inline void q8_0_values(const uint8_t *in, const uint8_t *codes, float *out) {
    float d = float_of_f16(in);
    for (unsigned j = 0; j < BLOCK_32; j++) {
        out[j] = (float)(int8_t)codes[j] * d;
    }
}

static inline void block_q4_0(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 18, out += BLOCK_32) {
        uint8_t codes[BLOCK_32];
        take_nibbles(in + 2, codes);
        q4_0_values(in, codes, out);
    }
}

static inline void block_q4_1(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 20, out += BLOCK_32) {
        uint8_t codes[BLOCK_32];
        take_nibbles(in + 4, codes);
        q4_1_values(in, codes, out);
    }
}

static inline void block_q5_0(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 22, out += BLOCK_32) {
        uint8_t codes[BLOCK_32];
        take_five_bits(in + 2, codes);
        scale_32(codes, 16, float_of_f16(in), out);
    }
}

static inline void block_q5_1(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 24, out += BLOCK_32) {
        uint8_t codes[BLOCK_32];
        take_five_bits(in + 4, codes);
        scale_shift_32(codes, float_of_f16(in), float_of_f16(in + 2), out);
    }
}

static inline void block_q8_0(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 34, out += BLOCK_32) {
        q8_0_values(in, in + 2, out);
    }
}

/* A small integer for each of 16 codes, times d. */
static inline void table_times(const int8_t table[16], float d, float values[16]) {
    for (unsigned i = 0; i < 16; i++) {
        values[i] = (float)table[i] * d;
    }
}

/* ggml's table of non-linear 4-bit steps. */
static const int8_t IQ4_VALUES[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/* e2m1 numbers doubled, so that they are whole; ggml's minus zero is plus zero. */
static const int8_t E2M1_DOUBLED[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static inline void iq4_nl_values(const uint8_t *in, const uint8_t *codes, float *out) {
    float values[16];
    table_times(IQ4_VALUES, float_of_f16(in), values);
    lookup_16(values, codes, BLOCK_32, out);
}

static inline void block_iq4_nl(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 18, out += BLOCK_32) {
        uint8_t codes[BLOCK_32];
        take_nibbles(in + 2, codes);
        iq4_nl_values(in, codes, out);
    }
}

/* Half the scale, since the table is doubled. ggml knows no NaN here: 255 is a power of two like the others. */
static inline float half_e8m0(uint8_t e) {
    return float_of_bits(e < 2 ? UINT32_C(0x00200000) << e : (uint32_t)(e - 1) << 23);
}

static inline void mxfp4_values(const uint8_t *in, const uint8_t *codes, float *out) {
    float values[16];
    table_times(E2M1_DOUBLED, half_e8m0(in[0]), values);
    lookup_16(values, codes, BLOCK_32, out);
}

static inline void block_mxfp4(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 17, out += BLOCK_32) {
        uint8_t codes[BLOCK_32];
        take_nibbles(in + 1, codes);
        mxfp4_values(in, codes, out);
    }
}

/* An e4m3 number halved, its sign not looked at; the code for NaN means 0. (0xff is no NaN to ggml, but 480.) */
static inline float half_ue4m3(uint8_t b) {
    return b == 0x7f ? 0.0f : float_of_small(0, b >> 3 & 15, b & 7, 3, 7) * 0.5f;
}

static inline void nvfp4_values(const uint8_t *in, const uint8_t *codes, float *out) {
    for (unsigned g = 0; g < 4; g++) {
        float values[16];
        table_times(E2M1_DOUBLED, half_ue4m3(in[g]), values);
        lookup_16(values, codes + (size_t)16 * g, 16, out + (size_t)16 * g);
    }
}

static inline void block_nvfp4(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 36, out += 64) {
        uint8_t codes[64];
        for (unsigned j = 0; j < 32; j++) {
            codes[j / 8 * 16 + j % 8] = in[4 + j] & 15;
            codes[j / 8 * 16 + j % 8 + 8] = in[4 + j] >> 4;
        }
        nvfp4_values(in, codes, out);
    }
}

#endif
