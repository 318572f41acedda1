/* SPDX-License-Identifier: Apache-2.0
 * Decoding of coded rows, and their way into panels. */
#include <string.h>

#include "codec/coding_priv.h"

/* What a coding is called in files, and, where rows are GGUF's blocks, what a block is. */
static const struct {
    const char *name;
    struct coding_block block;
} CODINGS[PANEL_CODINGS] = {
    [PANEL_PLAIN] = {"", {0, 0}},          [PANEL_GROUPS] = {"GROUPS", {0, 0}},   [PANEL_Q4_0] = {"Q4_0", {32, 18}},
    [PANEL_Q4_1] = {"Q4_1", {32, 20}},     [PANEL_Q5_0] = {"Q5_0", {32, 22}},     [PANEL_Q5_1] = {"Q5_1", {32, 24}},
    [PANEL_Q8_0] = {"Q8_0", {32, 34}},     [PANEL_Q2_K] = {"Q2_K", {256, 84}},    [PANEL_Q3_K] = {"Q3_K", {256, 110}},
    [PANEL_Q4_K] = {"Q4_K", {256, 144}},   [PANEL_Q5_K] = {"Q5_K", {256, 176}},   [PANEL_Q6_K] = {"Q6_K", {256, 210}},
    [PANEL_IQ4_NL] = {"IQ4_NL", {32, 18}}, [PANEL_IQ4_XS] = {"IQ4_XS", {256, 136}}, [PANEL_TQ1_0] = {"TQ1_0", {256, 54}},
    [PANEL_TQ2_0] = {"TQ2_0", {256, 66}},  [PANEL_MXFP4_BLOCKS] = {"MXFP4_B", {32, 17}},
    [PANEL_NVFP4_BLOCKS] = {"NVFP4_B", {64, 36}},
};

struct coding_block coding_block_of(enum panel_coding coding) {
    return coding < PANEL_CODINGS ? CODINGS[coding].block : (struct coding_block){0, 0};
}

const char *coding_name(enum panel_coding coding) {
    return coding < PANEL_CODINGS ? CODINGS[coding].name : "?";
}

bool coding_of_blocks(const char *type, enum panel_coding *coding) {
    for (unsigned i = PANEL_GROUPS; i < PANEL_CODINGS; i++) {
        const char *name = i == PANEL_MXFP4_BLOCKS ? "MXFP4" : i == PANEL_NVFP4_BLOCKS ? "NVFP4" : CODINGS[i].name;
        if (CODINGS[i].block.len != 0 && strcmp(name, type) == 0) {
            *coding = (enum panel_coding)i;
            return true;
        }
    }
    return false;
}

uint32_t coding_block_len(enum panel_coding coding) {
    return coding_block_of(coding).len;
}

uint64_t coding_block_row_bytes(enum panel_coding coding, uint64_t cols) {
    struct coding_block b = coding_block_of(coding);
    return b.len == 0 || cols % b.len != 0 ? 0 : cols / b.len * b.bytes;
}

void coding_table_init(struct coding_table *t, uint32_t cpu_flags) {
    coding_level_portable(t);
    t->decode_planes = planes_decode_plain;
    t->multiply_planes = NULL;
#if defined(__x86_64__)
    if (cpu_flags & CODING_CPU_AVX2) {
        coding_level_avx2(t);
        t->decode_planes = planes_decode_avx2;
    }
    if (cpu_flags & CODING_CPU_AVX512) {
        coding_level_avx512(t);
    }
    if ((cpu_flags & CODING_CPU_AVX512) && (cpu_flags & CODING_CPU_AVX512_VBMI2)) {
        t->decode_planes = planes_decode_avx512;
        t->multiply_planes = planes_multiply_avx512;
    }
#elif defined(__aarch64__)
    if (cpu_flags & CODING_CPU_NEON) {
        t->decode_planes = planes_decode_neon;
    }
#else
    (void)cpu_flags;
#endif
}
