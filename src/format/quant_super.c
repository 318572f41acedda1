/* SPDX-License-Identifier: Apache-2.0
 * GGUF's super-blocks: 256 weights in groups of 16 or 32, each group with a scale (and minimum) of 4 to 8 bits that is
 * itself multiplied by a float16 of the block. Layouts, in bytes:
 *
 *     Q2_K   scales:16  low:64  d dmin            Q4_K   d dmin  scales:12  low:128
 *     Q3_K   high:32  low:64  scales:12  d        Q5_K   d dmin  scales:12  high:32  low:128
 *     Q6_K   low:128  high:64  scales:16  d       IQ4_XS d  scales_high:2  scales_low:4  codes:128
 *     TQ2_0  low:64  d                            TQ1_0  threes:48  rest:4  d         (one scale, weights -1, 0 and 1)
 *
 * Weights are numbered so that one load serves many lanes: byte l of 32 holds the same bits of weights 32 apart. */
#include "format/quant_priv.h"

enum { LEN = 256 };

/* Two bits of weight i, from 64 bytes: 128 weights to 32 bytes, weight 32k + l in bits 2k of byte l. */
static unsigned two_bits(const uint8_t *low, unsigned i) {
    return (unsigned)low[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32)) & 3u;
}

void quant_q2_k(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 84, out += LEN) {
        float d = float_of_f16(in + 80);
        float dmin = float_of_f16(in + 82);
        for (unsigned g = 0; g < 16; g++) {
            float scale = d * (float)(in[g] & 15);
            float least = dmin * (float)(in[g] >> 4);
            for (unsigned i = 16 * g; i < 16 * (g + 1); i++) {
                out[i] = scale * (float)two_bits(in + 16, i) - least;
            }
        }
    }
}

/* Scale g of 16: its low four bits are a nibble of the first eight bytes, its high two stand in the last four. */
static int six_bit_scale(const uint8_t *s, unsigned g) {
    unsigned low = (unsigned)s[g % 8] >> (4 * (g / 8)) & 15u;
    unsigned high = (unsigned)s[8 + g % 4] >> (2 * (g / 4)) & 3u;
    return (int)(low | high << 4) - 32;
}

void quant_q3_k(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 110, out += LEN) {
        float d = float_of_f16(in + 108);
        for (unsigned g = 0; g < 16; g++) {
            float scale = d * (float)six_bit_scale(in + 96, g);
            for (unsigned i = 16 * g; i < 16 * (g + 1); i++) {
                int below = (in[i % 32] >> (i / 32) & 1) != 0 ? 0 : 4;
                out[i] = scale * (float)((int)two_bits(in + 32, i) - below);
            }
        }
    }
}

/* Eight scales and eight minima of six bits in twelve bytes: the first four of each in the low bits of their byte, the
 * others in the nibbles of the last four bytes and the top bits that were left over. */
static void eight_pairs(const uint8_t *s, unsigned g, unsigned *scale, unsigned *least) {
    if (g < 4) {
        *scale = s[g] & 63u;
        *least = s[g + 4] & 63u;
    } else {
        *scale = (s[g + 4] & 15u) | (unsigned)(s[g - 4] >> 6) << 4;
        *least = (unsigned)(s[g + 4] >> 4) | (unsigned)(s[g] >> 6) << 4;
    }
}

/* Q4_K and Q5_K: groups of 32; the nibbles of groups 2p and 2p + 1 share 32 bytes. high: NULL, or a fifth bit for each
 * weight, that of group g in bit g. */
static void nibble_groups(const uint8_t *in, const uint8_t *high, const uint8_t *low, float *out) {
    float d = float_of_f16(in);
    float dmin = float_of_f16(in + 2);
    for (unsigned g = 0; g < 8; g++, out += 32) {
        unsigned scale_code = 0;
        unsigned least_code = 0;
        eight_pairs(in + 4, g, &scale_code, &least_code);
        float scale = d * (float)scale_code;
        float least = dmin * (float)least_code;
        for (unsigned l = 0; l < 32; l++) {
            unsigned code = (unsigned)low[32 * (g / 2) + l] >> (4 * (g % 2)) & 15u;
            code |= high != NULL ? (high[l] >> g & 1u) << 4 : 0;
            out[l] = scale * (float)code - least;
        }
    }
}

void quant_q4_k(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 144, out += LEN) {
        nibble_groups(in, NULL, in + 16, out);
    }
}

void quant_q5_k(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 176, out += LEN) {
        nibble_groups(in, in + 16, in + 48, out);
    }
}

/* Four bits of weight i from 128 bytes: 128 weights to 64 bytes, the first 64 of them in the low nibbles. */
static unsigned four_bits(const uint8_t *low, unsigned i) {
    return (unsigned)low[64 * (i / 128) + i % 64] >> (4 * (i % 128 / 64)) & 15u;
}

void quant_q6_k(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 210, out += LEN) {
        float d = float_of_f16(in + 208);
        for (unsigned g = 0; g < 16; g++) {
            float scale = d * (float)(int8_t)in[192 + g];
            for (unsigned i = 16 * g; i < 16 * (g + 1); i++) {
                int code = (int)(four_bits(in, i) | two_bits(in + 128, i) << 4) - 32;
                out[i] = scale * (float)code;
            }
        }
    }
}

void quant_iq4_xs(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 136) {
        float d = float_of_f16(in);
        for (unsigned g = 0; g < 8; g++, out += 32) {
            unsigned low = (unsigned)in[4 + g / 2] >> (4 * (g % 2)) & 15u;
            unsigned high = (unsigned)load_le16(in + 2) >> (2 * g) & 3u;
            float scale = d * (float)((int)(low | high << 4) - 32);
            for (unsigned j = 0; j < 32; j++) {
                out[j] = scale * (float)quant_iq4_values[split_nibble(in + 8 + 16 * g, j)];
            }
        }
    }
}

void quant_tq2_0(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 66, out += LEN) {
        float d = float_of_f16(in + 64);
        for (unsigned i = 0; i < LEN; i++) {
            out[i] = (float)((int)two_bits(in, i) - 1) * d;
        }
    }
}

/* Digit n of a byte that is a fraction of 256 in base three. */
static int ternary_digit(uint8_t byte, unsigned n) {
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    unsigned rest = ((unsigned)byte * powers[n]) & 255u;
    return (int)(rest * 3 >> 8);
}

/* Five digits a byte: of 32 bytes, then of 16; the last four bytes have four. Digit n of all bytes, then digit n + 1. */
void quant_tq1_0(const uint8_t *in, size_t blocks, float *out) {
    static const struct {
        uint8_t at, bytes, digits;
    } runs[] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};
    for (; blocks > 0; blocks--, in += 54) {
        float d = float_of_f16(in + 52);
        for (unsigned r = 0; r < 3; r++) {
            for (unsigned i = 0; i < (unsigned)runs[r].bytes * runs[r].digits; i++, out++) {
                int digit = ternary_digit(in[runs[r].at + i % runs[r].bytes], i / runs[r].bytes);
                *out = (float)(digit - 1) * d;
            }
        }
    }
}
