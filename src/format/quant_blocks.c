/* SPDX-License-Identifier: Apache-2.0
 * GGUF's simple blocks: 32 codes with one scale, some with a minimum (NVFP4: four groups of 16). Layouts, in bytes:
 *
 *     Q4_0   d:f16  codes:16                  (code - 8) * d          Q4_1   d:f16 m:f16 codes:16          code * d + m
 *     Q5_0   d:f16  fifth:32 bits  codes:16   (code - 16) * d         Q5_1   d:f16 m:f16 fifth codes:16    code * d + m
 *     Q8_0   d:f16  codes:32 (int8)           code * d                IQ4_NL d:f16 codes:16                table[code] * d
 *     MXFP4  e:u8   codes:16                  twice e2m1 * 2^(e-128)  NVFP4  e4m3:4 codes:4x8 */
#include "format/quant_priv.h"

/* ggml's table of non-linear 4-bit steps. */
const int8_t quant_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/* e2m1 numbers doubled, so that they are whole; ggml's minus zero is plus zero. */
static const int8_t e2m1_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void quant_q4_0(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 18, out += 32) {
        float d = float_of_f16(in);
        for (unsigned j = 0; j < 32; j++) {
            out[j] = (float)((int)split_nibble(in + 2, j) - 8) * d;
        }
    }
}

void quant_q4_1(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 20, out += 32) {
        float d = float_of_f16(in);
        float m = float_of_f16(in + 2);
        for (unsigned j = 0; j < 32; j++) {
            out[j] = (float)split_nibble(in + 4, j) * d + m;
        }
    }
}

/* The fifth bit of weight j is bit j of a 32-bit word before the nibbles. */
static unsigned five_bits(const uint8_t *in, unsigned j) {
    return split_nibble(in + 4, j) | (load_le32(in) >> j & 1) << 4;
}

void quant_q5_0(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 22, out += 32) {
        float d = float_of_f16(in);
        for (unsigned j = 0; j < 32; j++) {
            out[j] = (float)((int)five_bits(in + 2, j) - 16) * d;
        }
    }
}

void quant_q5_1(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 24, out += 32) {
        float d = float_of_f16(in);
        float m = float_of_f16(in + 2);
        for (unsigned j = 0; j < 32; j++) {
            out[j] = (float)five_bits(in + 4, j) * d + m;
        }
    }
}

void quant_q8_0(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 34, out += 32) {
        float d = float_of_f16(in);
        for (unsigned j = 0; j < 32; j++) {
            out[j] = (float)(int8_t)in[2 + j] * d;
        }
    }
}

void quant_iq4_nl(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 18, out += 32) {
        float d = float_of_f16(in);
        for (unsigned j = 0; j < 32; j++) {
            out[j] = (float)quant_iq4_values[split_nibble(in + 2, j)] * d;
        }
    }
}

/* Half the scale, since the table is doubled. ggml knows no NaN here: 255 is a power of two like the others. */
static float half_e8m0(uint8_t e) {
    return float_of_bits(e < 2 ? UINT32_C(0x00200000) << e : (uint32_t)(e - 1) << 23);
}

void quant_mxfp4(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 17, out += 32) {
        float d = half_e8m0(in[0]);
        for (unsigned j = 0; j < 32; j++) {
            out[j] = (float)e2m1_doubled[split_nibble(in + 1, j)] * d;
        }
    }
}

/* An e4m3 number halved, its sign not looked at; the code for NaN means 0. (0xff is no NaN to ggml, but 480.) */
static float half_ue4m3(uint8_t b) {
    return b == 0x7f ? 0.0f : float_of_small(0, b >> 3 & 15, b & 7, 3, 7) * 0.5f;
}

void quant_nvfp4(const uint8_t *in, size_t blocks, float *out) {
    for (; blocks > 0; blocks--, in += 36, out += 64) {
        for (unsigned j = 0; j < 64; j++) {
            uint8_t two = in[4 + 8 * (j / 16) + j % 8];
            unsigned code = j % 16 < 8 ? two & 15u : two >> 4;
            out[j] = (float)e2m1_doubled[code] * half_ue4m3(in[j / 16]);
        }
    }
}
