/* SPDX-License-Identifier: Apache-2.0
 * The table of GGUF's types: number, name, size of a block, decoder. A type without a decoder is here because the place
 * of every tensor in a file follows from the sizes of all others; it is refused only when its values are needed.
 * Sizes: reference/codec-and-kernels.md 3.1, and the GGUF specification. */
#include "format/quant.h"

#include <string.h>

#include "base/compiler.h"
#include "format/quant_priv.h"

static void decode_f32(const uint8_t *in, size_t blocks, float *out) {
    for (size_t i = 0; i < blocks; i++) {
        out[i] = float_of_f32(in + 4 * i);
    }
}

static void decode_f16(const uint8_t *in, size_t blocks, float *out) {
    for (size_t i = 0; i < blocks; i++) {
        out[i] = float_of_f16(in + 2 * i);
    }
}

static void decode_bf16(const uint8_t *in, size_t blocks, float *out) {
    for (size_t i = 0; i < blocks; i++) {
        out[i] = float_of_bf16(in + 2 * i);
    }
}

static const struct quant_type types[] = {
    {"F32", 0, 1, 4, decode_f32},
    {"F16", 1, 1, 2, decode_f16},
    {"Q4_0", 2, 32, 18, quant_q4_0},
    {"Q4_1", 3, 32, 20, quant_q4_1},
    {"Q5_0", 6, 32, 22, quant_q5_0},
    {"Q5_1", 7, 32, 24, quant_q5_1},
    {"Q8_0", 8, 32, 34, quant_q8_0},
    {"Q2_K", 10, 256, 84, quant_q2_k},
    {"Q3_K", 11, 256, 110, quant_q3_k},
    {"Q4_K", 12, 256, 144, quant_q4_k},
    {"Q5_K", 13, 256, 176, quant_q5_k},
    {"Q6_K", 14, 256, 210, quant_q6_k},
    {"IQ2_XXS", 16, 256, 66, NULL},
    {"IQ2_XS", 17, 256, 74, NULL},
    {"IQ3_XXS", 18, 256, 98, NULL},
    {"IQ1_S", 19, 256, 50, NULL},
    {"IQ4_NL", 20, 32, 18, quant_iq4_nl},
    {"IQ3_S", 21, 256, 110, NULL},
    {"IQ2_S", 22, 256, 82, NULL},
    {"IQ4_XS", 23, 256, 136, quant_iq4_xs},
    {"I8", 24, 1, 1, NULL},
    {"I16", 25, 1, 2, NULL},
    {"I32", 26, 1, 4, NULL},
    {"I64", 27, 1, 8, NULL},
    {"F64", 28, 1, 8, NULL},
    {"IQ1_M", 29, 256, 56, NULL},
    {"BF16", 30, 1, 2, decode_bf16},
    {"TQ1_0", 34, 256, 54, quant_tq1_0},
    {"TQ2_0", 35, 256, 66, quant_tq2_0},
    {"MXFP4", 39, 32, 17, quant_mxfp4},
    {"NVFP4", 40, 64, 36, quant_nvfp4},
};

const struct quant_type *quant_of_ggml(uint32_t number) {
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (types[i].ggml == number) {
            return &types[i];
        }
    }
    return NULL;
}

const struct quant_type *quant_named(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(types[i].name, name) == 0) {
            return &types[i];
        }
    }
    return NULL;
}

const char *quant_ggml_hint(uint32_t number) {
    static const struct {
        uint32_t first, last;
        const char *hint;
    } hints[] = {
        {4, 5, "an early type that llama.cpp removed in 2023; quantise the model again"},
        {9, 9, "Q8_1, which programs compute with and never store; the file is damaged"},
        {15, 15, "Q8_K, which programs compute with and never store; the file is damaged"},
        {31, 33, "Q4_0 repacked for one kind of processor, which llama.cpp removed; take the Q4_0 file"},
        {36, 38, "IQ4_NL repacked for one kind of processor, which llama.cpp removed; take the IQ4_NL file"},
        {97, 399, "a type of ik_llama.cpp; take a file that llama.cpp itself can read"},
    };
    for (size_t i = 0; i < ARRAY_LEN(hints); i++) {
        if (number >= hints[i].first && number <= hints[i].last) {
            return hints[i].hint;
        }
    }
    return "a type newer than this program; take a file of an older type";
}
