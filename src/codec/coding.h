/* SPDX-License-Identifier: Apache-2.0
 *
 * Records of coded rows: the source's codes and scales, side by side, and the float32 values that they stand for, by the
 * operations of the format's reference, each rounded once.
 *
 *   FP8     codes [cols] e4m3, then scales [ceil(cols / 128)] float32, little-endian: value = e4m3(code) * scale
 *   MXFP4   codes [cols / 2], low nibble first, then [cols / 32] exponents: value = e2m1(code) * 2^(exponent - 127)
 */
#ifndef CODEC_CODING_H
#define CODEC_CODING_H

#include "codec/panel.h"

enum { CODING_FP8_COLS = 128, CODING_MXFP4_COLS = 32 };

/* Bytes of a record; 0 for plain matrices and for widths that the coding does not have. */
uint64_t coding_row_bytes(enum panel_coding coding, uint64_t cols);

/* `count` values from column `col` on, which is a multiple of 256. */
void coding_decode(enum panel_coding coding, const uint8_t *record, uint64_t cols, uint64_t col, uint32_t count, float *out);

/* A column block of a group of a coded tile as kern_matmul wants it, float32: panel after panel of
 * panel_block_cols(block) * 16; padding rows and columns are zero. `out` has KERN_BLOCK_PANELS * 16 * 256 floats. */
void coding_decode_block(const struct panel_shape *s, const struct panel_tile *t, const uint8_t *tile, uint32_t group,
                         uint32_t block, float *out);

/* One weight by itself. */
float coding_fp8(uint8_t code);

#endif
