/* SPDX-License-Identifier: Apache-2.0
 * The table of GGUF's types: number, name, size of a block. All are here, whether their values are read or not (codec/coding.h),
 * because the place of every tensor in a file follows from the sizes of all others.
 * Sizes: reference/codec-and-kernels.md 3.1, and the GGUF specification. */
#include "format/quant.h"

#include <string.h>

#include "base/compiler.h"

static const struct quant_type types[] = {
    {"F32", 0, 1, 4},
    {"F16", 1, 1, 2},
    {"Q4_0", 2, 32, 18},
    {"Q4_1", 3, 32, 20},
    {"Q5_0", 6, 32, 22},
    {"Q5_1", 7, 32, 24},
    {"Q8_0", 8, 32, 34},
    {"Q2_K", 10, 256, 84},
    {"Q3_K", 11, 256, 110},
    {"Q4_K", 12, 256, 144},
    {"Q5_K", 13, 256, 176},
    {"Q6_K", 14, 256, 210},
    {"IQ2_XXS", 16, 256, 66},
    {"IQ2_XS", 17, 256, 74},
    {"IQ3_XXS", 18, 256, 98},
    {"IQ1_S", 19, 256, 50},
    {"IQ4_NL", 20, 32, 18},
    {"IQ3_S", 21, 256, 110},
    {"IQ2_S", 22, 256, 82},
    {"IQ4_XS", 23, 256, 136},
    {"I8", 24, 1, 1},
    {"I16", 25, 1, 2},
    {"I32", 26, 1, 4},
    {"I64", 27, 1, 8},
    {"F64", 28, 1, 8},
    {"IQ1_M", 29, 256, 56},
    {"BF16", 30, 1, 2},
    {"TQ1_0", 34, 256, 54},
    {"TQ2_0", 35, 256, 66},
    {"MXFP4", 39, 32, 17},
    {"NVFP4", 40, 64, 36},
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
