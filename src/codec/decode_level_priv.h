/* SPDX-License-Identifier: Apache-2.0
 *
 * One level of decoding: everything below is compiled once per instruction set, by a file that defines CODING_LEVEL(name).
 * Levels differ in speed only: each number is made by the same float32 operations, each rounded once. */
#ifndef CODEC_DECODE_LEVEL_PRIV_H
#define CODEC_DECODE_LEVEL_PRIV_H

#include "codec/blocks_256_priv.h"
#include "codec/coding_priv.h"
#include "codec/groups_values_priv.h"

#ifdef CODING_LEVEL

static void level_blocks(enum panel_coding coding, const uint8_t *in, size_t blocks, float *out) {
    switch (coding) {
    case PANEL_Q4_0:
        block_q4_0(in, blocks, out);
        break;
    case PANEL_Q4_1:
        block_q4_1(in, blocks, out);
        break;
    case PANEL_Q5_0:
        block_q5_0(in, blocks, out);
        break;
    case PANEL_Q5_1:
        block_q5_1(in, blocks, out);
        break;
    case PANEL_Q8_0:
        block_q8_0(in, blocks, out);
        break;
    case PANEL_Q2_K:
        block_q2_k(in, blocks, out);
        break;
    case PANEL_Q3_K:
        block_q3_k(in, blocks, out);
        break;
    case PANEL_Q4_K:
        block_q4_k(in, blocks, out);
        break;
    case PANEL_Q5_K:
        block_q5_k(in, blocks, out);
        break;
    case PANEL_Q6_K:
        block_q6_k(in, blocks, out);
        break;
    case PANEL_IQ4_NL:
        block_iq4_nl(in, blocks, out);
        break;
    case PANEL_IQ4_XS:
        block_iq4_xs(in, blocks, out);
        break;
    case PANEL_TQ1_0:
        block_tq1_0(in, blocks, out);
        break;
    case PANEL_TQ2_0:
        block_tq2_0(in, blocks, out);
        break;
    case PANEL_MXFP4_BLOCKS:
        block_mxfp4(in, blocks, out);
        break;
    case PANEL_NVFP4_BLOCKS:
        block_nvfp4(in, blocks, out);
        break;
    default:
        break;
    }
}

static void level_row(const struct panel_shape *s, const uint8_t *tile, uint64_t row, uint64_t col, uint32_t count, float *out) {
    const uint8_t *record = tile + s->lead_bytes + row * s->row_bytes;
    if (s->coding == PANEL_GROUPS) {
        groups_values(&s->coded, tile, record, s->cols, col, count, out);
    } else {
        struct coding_block b = coding_block_of((enum panel_coding)s->coding);
        level_blocks((enum panel_coding)s->coding, record + col / b.len * b.bytes, count / b.len, out);
    }
}

static void level_block(const struct panel_shape *s, const struct panel_tile *t, const uint8_t *tile, uint32_t group,
                        uint32_t block, float *out) {
    const uint32_t cols = panel_block_cols(s, block);
    const uint64_t col = (uint64_t)block * KERN_BLOCK_COLS;
    const uint32_t real = (uint32_t)(s->cols - col < cols ? s->cols - col : cols);
    float rows[KERN_PANEL_ROWS][KERN_BLOCK_COLS];
    struct groups_row row = {.g = NULL};
    if (s->coding == PANEL_GROUPS) {
        row = groups_rows(&s->coded, tile, s->cols);
    }
    for (uint32_t p = 0; p < panel_group_panels(s, group); p++) {
        const uint64_t first = panel_group_row(s, group) + (uint64_t)p * KERN_PANEL_ROWS;
        for (uint32_t r = 0; r < KERN_PANEL_ROWS; r++) {
            const uint64_t at = first + r - t->row;
            if (first + r >= s->rows) {
                memset(rows[r], 0, cols * sizeof(float));
            } else if (s->coding == PANEL_GROUPS) {
                groups_row_at(&row, tile + s->lead_bytes + at * s->row_bytes);
                groups_piece(&row, col, real, rows[r]);
            } else {
                level_row(s, tile, at, col, real, rows[r]);
            }
            rows[r][cols - 1] = real < cols ? 0 : rows[r][cols - 1];
        }
        rows_to_panel(rows[0], KERN_BLOCK_COLS, cols, out + (size_t)p * cols * KERN_PANEL_ROWS);
    }
}

void CODING_LEVEL(coding_level)(struct coding_table *t) {
    t->isa = CODING_ISA;
    t->decode_blocks = level_blocks;
    t->decode_groups = groups_values;
    t->decode_row = level_row;
    t->decode_block = level_block;
}

#endif
#endif
