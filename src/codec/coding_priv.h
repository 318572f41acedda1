/* SPDX-License-Identifier: Apache-2.0
 * Shared by coding.c and the levels. */
#ifndef CODEC_CODING_PRIV_H
#define CODEC_CODING_PRIV_H

#include "codec/coding.h"

/* Bits of cpu_flags, those of the rooms kern and sys. */
enum { CODING_CPU_AVX2 = 1 << 0, CODING_CPU_AVX512 = 1 << 1, CODING_CPU_AVX512_VBMI2 = 1 << 2, CODING_CPU_NEON = 1 << 5 };

struct coding_block {
    uint16_t len, bytes; /* weights, bytes; 0: no type of blocks */
};
struct coding_block coding_block_of(enum panel_coding coding);

void coding_level_portable(struct coding_table *t);
void coding_level_avx2(struct coding_table *t);
void coding_level_avx512(struct coding_table *t);

planes_decode_fn planes_decode_plain;
planes_decode_fn planes_decode_avx2;
planes_decode_fn planes_decode_avx512; /* with VBMI2 */
planes_multiply_fn planes_multiply_avx512;
planes_decode_fn planes_decode_neon;

#endif
