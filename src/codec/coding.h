/* SPDX-License-Identifier: Apache-2.0
 *
 * Records of coded rows: the source's codes and scales, side by side, and the float32 values that they stand for, by the
 * operations of the format's reference, each rounded once. GROUPS: codes that share scales in groups of columns (groups.h);
 * others: GGUF's blocks of 32, 64 or 256 columns, as they lie in the file (blocks_32.c, blocks_256.c). Call it from threads that
 * keep denormal numbers where these matter. */
#ifndef CODEC_CODING_H
#define CODEC_CODING_H

#include "codec/panel.h"
#include "codec/planes.h"

struct code_block; /* codec/code_tile.h */

const char *coding_name(enum panel_coding coding); /* as in files: "Q4_K"; "" for plain matrices */
/* GGUF's name of a type of block ("Q4_K", "MXFP4"); false: plain numbers, or a type whose values are not read here. */
bool coding_of_blocks(const char *type, enum panel_coding *coding);

uint32_t coding_block_len(enum panel_coding coding); /* weights in a block */
/* Bytes of a row of blocks; 0 for widths that are not whole blocks. */
uint64_t coding_block_row_bytes(enum panel_coding coding, uint64_t cols);

/* Decoders of one instruction set; all give the same bits. */
struct coding_table {
    const char *isa; /* "portable", "avx2", "avx512" */
    /* Whole blocks, one after the other; not for GROUPS. */
    void (*decode_blocks)(enum panel_coding coding, const uint8_t *in, size_t blocks, float *out);
    /* `count` values of a record of GROUPS from column `col` on. Whatever the bytes are, only lead and record are read. */
    void (*decode_groups)(const struct groups *g, const uint8_t *lead, const uint8_t *record, uint64_t cols, uint64_t col,
                          uint32_t count, float *out);
    /* `count` values of record `row` of a tile from column `col` on, which is a multiple of 256; of blocks, whole ones. */
    void (*decode_row)(const struct panel_shape *s, const uint8_t *tile, uint64_t row, uint64_t col, uint32_t count, float *out);
    /* A column block of a group of a coded tile as kern_matmul wants it, float32: panel after panel of
     * panel_block_cols(block) * 16; padding rows and columns are zero. `out` has KERN_BLOCK_PANELS * 16 * 256 floats. */
    void (*decode_block)(const struct panel_shape *s, const struct panel_tile *t, const uint8_t *tile, uint32_t group,
                         uint32_t block, float *out);
    /* The same of a packed tile, of which code_tile_group and code_tile_block have found the codes and the rest. */
    void (*decode_packed)(const struct panel_shape *s, const struct code_block *from, uint32_t group, uint32_t block, float *out);
    planes_decode_fn *decode_planes;     /* codec/planes.h */
    planes_multiply_fn *multiply_planes; /* NULL: decode and multiply */
};
/* The best table for the flags given, as kern_table_init; 0: portable. */
void coding_table_init(struct coding_table *t, uint32_t cpu_flags);

#endif
