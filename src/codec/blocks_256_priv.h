/* SPDX-License-Identifier: Apache-2.0
 * GGUF's super-blocks: 256 weights in groups of 16 or 32, each group with a scale (and minimum) of 4 to 8 bits that is
 * itself multiplied by a float16 of the block. Layouts, in bytes:
 *
 *     Q2_K   scales:16  low:64  d dmin            Q4_K   d dmin  scales:12  low:128
 *     Q3_K   high:32  low:64  scales:12  d        Q5_K   d dmin  scales:12  high:32  low:128
 *     Q6_K   low:128  high:64  scales:16  d       IQ4_XS d  scales_high:2  scales_low:4  codes:128
 *     TQ2_0  low:64  d                            TQ1_0  threes:48  rest:4  d         (one scale, weights -1, 0 and 1)
 *
 * Weights are numbered so that one load serves many lanes: byte l of 32 holds the same bits of weights 32 apart. As
 * blocks_32_priv.h otherwise. */
#ifndef CODEC_BLOCKS_256_PRIV_H
#define CODEC_BLOCKS_256_PRIV_H

#include "codec/blocks_32_priv.h"

enum { BLOCK_256 = 256 };

/* Two bits each, from 64 bytes: 128 weights to 32 bytes, weight 32k + l in bits 2k of byte l. */
static inline void take_two_bits(const uint8_t *low, uint8_t codes[BLOCK_256]) {
    for (unsigned half = 0; half < 2; half++) {
        for (unsigned k = 0; k < 4; k++) {
            bits_16(low + 32 * half, 2 * k, 3, codes + 128 * half + 32 * k);
            bits_16(low + 32 * half + 16, 2 * k, 3, codes + 128 * half + 32 * k + 16);
        }
    }
}

/* scale * (code - zero) of 16 weights that share a scale */
static inline void scale_16(const uint8_t codes[16], int zero, float scale, float *out) {
    widen_16(codes, zero, out);
    for (unsigned i = 0; i < 16; i++) {
        out[i] = scale * out[i];
    }
}

/* scale * code - least */
static inline void scale_less_16(const uint8_t codes[16], float scale, float least, float *out) {
    widen_16(codes, 0, out);
    for (unsigned i = 0; i < 16; i++) {
        float product = scale * out[i];
        out[i] = product - least;
    }
}

static inline void block_q2_k(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 84) {
        uint8_t codes[BLOCK_256];
        float d = float_of_f16(in + 80);
        float dmin = float_of_f16(in + 82);
        take_two_bits(in + 16, codes);
        for (unsigned g = 0; g < 16; g++, out += 16) {
            float scale = d * (float)(in[g] & 15);
            float least = dmin * (float)(in[g] >> 4);
            scale_less_16(codes + 16 * g, scale, least, out);
        }
    }
}

/* Scale g of 16: its low four bits are a nibble of the first eight bytes, its high two stand in the last four. */
static inline int six_bit_scale(const uint8_t *s, unsigned g) {
    unsigned low = (unsigned)s[g % 8] >> (4 * (g / 8)) & 15u;
    unsigned high = (unsigned)s[8 + g % 4] >> (2 * (g / 4)) & 3u;
    return (int)(low | high << 4) - 32;
}

static inline void block_q3_k(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 110) {
        uint8_t codes[BLOCK_256];
        float d = float_of_f16(in + 108);
        take_two_bits(in + 32, codes);
        for (unsigned k = 0; k < 8; k++) {
            add_bits_16(in, k, 1, 2, codes + 32 * k);
            add_bits_16(in + 16, k, 1, 2, codes + 32 * k + 16);
        }
        for (unsigned g = 0; g < 16; g++, out += 16) {
            scale_16(codes + 16 * g, 4, d * (float)six_bit_scale(in + 96, g), out);
        }
    }
}

/* Eight scales and eight minima of six bits in twelve bytes: the first four of each in the low bits of their byte, the
 * others in the nibbles of the last four bytes and the top bits that were left over. */
static inline void eight_pairs(const uint8_t *s, unsigned g, unsigned *scale, unsigned *least) {
    if (g < 4) {
        *scale = s[g] & 63u;
        *least = s[g + 4] & 63u;
    } else {
        *scale = (s[g + 4] & 15u) | (unsigned)(s[g - 4] >> 6) << 4;
        *least = (unsigned)(s[g + 4] >> 4) | (unsigned)(s[g] >> 6) << 4;
    }
}

/* Q4_K and Q5_K: codes of eight groups of 32. */
static inline void eight_groups(const uint8_t *in, const uint8_t codes[BLOCK_256], float *out) {
    float d = float_of_f16(in);
    float dmin = float_of_f16(in + 2);
    for (unsigned g = 0; g < 8; g++, out += 32) {
        unsigned scale_code = 0;
        unsigned least_code = 0;
        eight_pairs(in + 4, g, &scale_code, &least_code);
        float scale = d * (float)scale_code;
        float least = dmin * (float)least_code;
        scale_less_16(codes + 32 * g, scale, least, out);
        scale_less_16(codes + 32 * g + 16, scale, least, out + 16);
    }
}

/* The nibbles of groups 2p and 2p + 1 share 32 bytes. */
static inline void take_group_nibbles(const uint8_t *low, uint8_t codes[BLOCK_256]) {
    for (unsigned p = 0; p < 4; p++) {
        for (unsigned l = 0; l < 32; l += 16) {
            bits_16(low + 32 * p + l, 0, 15, codes + 64 * p + l);
            bits_16(low + 32 * p + l, 4, 15, codes + 64 * p + 32 + l);
        }
    }
}

static inline void block_q4_k(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 144, out += BLOCK_256) {
        uint8_t codes[BLOCK_256];
        take_group_nibbles(in + 16, codes);
        eight_groups(in, codes, out);
    }
}

/* A fifth bit for each weight, that of group g in bit g. */
static inline void block_q5_k(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 176, out += BLOCK_256) {
        uint8_t codes[BLOCK_256];
        take_group_nibbles(in + 48, codes);
        for (unsigned g = 0; g < 8; g++) {
            add_bits_16(in + 16, g, 1, 4, codes + 32 * g);
            add_bits_16(in + 32, g, 1, 4, codes + 32 * g + 16);
        }
        eight_groups(in, codes, out);
    }
}

/* Four bits of each weight: 128 weights to 64 bytes, the first 64 of them in the low nibbles; two more from 64 bytes. */
static inline void block_q6_k(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 210) {
        uint8_t codes[BLOCK_256];
        float d = float_of_f16(in + 208);
        for (unsigned half = 0; half < 2; half++) {
            uint8_t *to = codes + 128 * half;
            for (unsigned l = 0; l < 64; l += 16) {
                bits_16(in + 64 * half + l, 0, 15, to + l);
                bits_16(in + 64 * half + l, 4, 15, to + 64 + l);
            }
            for (unsigned k = 0; k < 4; k++) {
                add_bits_16(in + 128 + 32 * half, 2 * k, 3, 4, to + 32 * k);
                add_bits_16(in + 128 + 32 * half + 16, 2 * k, 3, 4, to + 32 * k + 16);
            }
        }
        for (unsigned g = 0; g < 16; g++, out += 16) {
            scale_16(codes + 16 * g, 32, d * (float)(int8_t)in[192 + g], out);
        }
    }
}

/* As those of blocks_32_priv.h: scales, and codes as bytes. */
static inline void iq4_xs_values(const uint8_t *in, const uint8_t *codes, float *out) {
    const float d = float_of_f16(in);
    for (unsigned g = 0; g < 8; g++) {
        float values[16];
        const unsigned low = (unsigned)in[4 + g / 2] >> (4 * (g % 2)) & 15u;
        const unsigned high = (unsigned)load_le16(in + 2) >> (2 * g) & 3u;
        table_times(IQ4_VALUES, d * (float)((int)(low | high << 4) - 32), values);
        lookup_16(values, codes + (size_t)BLOCK_32 * g, BLOCK_32, out + (size_t)BLOCK_32 * g);
    }
}

static inline void block_iq4_xs(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 136, out += BLOCK_256) {
        uint8_t codes[BLOCK_256];
        for (unsigned g = 0; g < 8; g++) {
            take_nibbles(in + 8 + (size_t)16 * g, codes + (size_t)BLOCK_32 * g);
        }
        iq4_xs_values(in, codes, out);
    }
}

static inline void block_tq2_0(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 66, out += BLOCK_256) {
        uint8_t codes[BLOCK_256];
        float d = float_of_f16(in + 64);
        take_two_bits(in, codes);
        for (unsigned g = 0; g < BLOCK_256; g += 16) {
            scale_16(codes + g, 1, d, out + g);
        }
    }
}

/* Digit n of a byte that is a fraction of 256 in base three. */
static inline int ternary_digit(uint8_t byte, unsigned n) {
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    unsigned rest = ((unsigned)byte * powers[n]) & 255u;
    return (int)(rest * 3 >> 8);
}

/* Five digits a byte: of 32 bytes, then of 16; the last four bytes have four. Digit n of all bytes, then digit n + 1. */
static inline void block_tq1_0(const uint8_t *in, size_t blocks, float *out) {
    static const struct {
        uint8_t at, bytes, digits;
    } runs[] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};
    for (; blocks > 0; blocks--, in += 54) {
        float d = float_of_f16(in + 52);
        for (unsigned r = 0; r < 3; r++) {
            for (unsigned n = 0; n < runs[r].digits; n++) {
                for (unsigned i = 0; i < runs[r].bytes; i++, out++) {
                    *out = (float)(ternary_digit(in[runs[r].at + i], n) - 1) * d;
                }
            }
        }
    }
}

#endif
