/* SPDX-License-Identifier: Apache-2.0
 *
 * One level of decoding: everything below is compiled once per instruction set, by a file that defines CODING_LEVEL(name).
 * Levels differ in speed only: each number is made by the same float32 operations, each rounded once. */
#ifndef CODEC_DECODE_LEVEL_PRIV_H
#define CODEC_DECODE_LEVEL_PRIV_H

#include "codec/blocks_256_priv.h"
#include "codec/code_tile.h"
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

/* Scales and codes of blocks that are not side by side: codes a byte each, in the order of weights; scales `step` bytes a block. */
static void level_wide_blocks(enum panel_coding coding, const uint8_t *scales, size_t step, const uint8_t *codes, uint32_t count,
                              float *out) {
    const uint32_t each = coding_block_of(coding).len;
    const uint8_t *end = codes + count;
    for (; codes < end; codes += each, out += each, scales += step) {
        switch (coding) {
        case PANEL_Q4_0:
            q4_0_values(scales, codes, out);
            break;
        case PANEL_Q4_1:
            q4_1_values(scales, codes, out);
            break;
        case PANEL_Q8_0:
            q8_0_values(scales, codes, out);
            break;
        case PANEL_Q4_K:
            eight_groups(scales, codes, out);
            break;
        case PANEL_IQ4_NL:
            iq4_nl_values(scales, codes, out);
            break;
        case PANEL_IQ4_XS:
            iq4_xs_values(scales, codes, out);
            break;
        case PANEL_MXFP4_BLOCKS:
            mxfp4_values(scales, codes, out);
            break;
        default: /* NVFP4_B; there is no other */
            nvfp4_values(scales, codes, out);
            break;
        }
    }
}

/* The blocks of a row that a block of a packed tile has, put together again where codes are as they were. */
static void level_blocks_of(const struct panel_shape *s, const struct code_block *from, uint32_t row, uint64_t col, uint32_t count,
                            float *out) {
    enum { MOST = 320 }; /* bytes that 256 weights take: Q8_0, 272 */
    const struct coding_block b = coding_block_of((enum panel_coding)s->coding);
    const size_t each = s->coding == PANEL_Q8_0 ? b.len : b.len / 2u; /* bytes of codes, behind the scales */
    const size_t before = b.bytes - each;
    const size_t first = (size_t)(col / b.len);
    const uint8_t *rest = from->rest[row] + first * before;
    if (from->wide) {
        level_wide_blocks((enum panel_coding)s->coding, rest, before, from->codes + row * from->stride, count, out);
        return;
    }
    const uint8_t *codes = from->codes + row * from->stride + first * each;
    uint8_t bytes[MOST];
    uint8_t *at = bytes;
    for (size_t i = 0; i < count / b.len; i++, rest += before, codes += each) {
        memcpy(at, rest, before);
        memcpy(at + before, codes, each);
        at += b.bytes;
    }
    level_blocks((enum panel_coding)s->coding, bytes, count / b.len, out);
}

/* What the rows of a block are decoded from: records, or a block of a packed tile. */
struct level_from {
    const uint8_t *lead, *records;
    const struct code_block *packed;
};

#if LOOKUP_PANELS_OF_FP8
/* FP8 in whole runs of 16 columns and 16 rows: codes are turned before they are widened, since they are a quarter as long.
 * False: not of this kind. `row` is for all of the matrix; `first` counts from the group's first row. */
static bool level_fp8_panel(const struct panel_shape *s, const struct level_from *from, struct groups_row *row, uint32_t first,
                            uint64_t col, uint32_t cols, float *out) {
    const struct groups *g = &s->coded;
    const uint8_t *rows[KERN_PANEL_ROWS], *rest[KERN_PANEL_ROWS];
    float scales[2 * KERN_PANEL_ROWS];
    if (s->coding != PANEL_GROUPS || (g->code != GROUPS_E4M3 && g->code != GROUPS_E5M2) || g->shift != GROUPS_NONE || g->ordered ||
        g->group % 16 != 0 || cols % 16 != 0 || (from->packed != NULL && !from->packed->wide)) {
        return false;
    }
    if (g->phased || g->scale == GROUPS_NESTED) { /* each row has its own place */
        return false;
    }
    for (uint32_t r = 0; r < KERN_PANEL_ROWS; r++) {
        const uint8_t *record = from->records + (first + r) * s->row_bytes;
        rows[r] = from->packed != NULL ? from->packed->codes + (first + r) * from->packed->stride : record + col;
        rest[r] = from->packed != NULL ? from->packed->rest[first + r] : record + row->p.scales;
    }
    for (uint32_t c = 0; c < cols; c += 16, out += (size_t)16 * KERN_PANEL_ROWS) {
        for (uint32_t r = 0; r < KERN_PANEL_ROWS && (c == 0 || (col + c) % g->group == 0); r++) {
            row->rest = rest[r];
            scales[2 * r] = scales[2 * r + 1] = groups_common_of(row, (col + c) / g->group).scale;
        }
        if (g->code == GROUPS_E4M3) {
            fp8_to_panel(FP8_E4M3, rows, c, scales, out);
        } else {
            fp8_to_panel(FP8_E5M2, rows, c, scales, out);
        }
    }
    return true;
}
#endif

static void level_decode(const struct panel_shape *s, const struct level_from *from, uint32_t group, uint32_t block, float *out) {
    const uint32_t cols = panel_block_cols(s, block);
    const uint64_t col = (uint64_t)block * KERN_BLOCK_COLS;
    const uint32_t real = (uint32_t)(s->cols - col < cols ? s->cols - col : cols);
    float rows[KERN_PANEL_ROWS][KERN_BLOCK_COLS];
    struct groups_row row = {.g = NULL};
    if (s->coding == PANEL_GROUPS) {
        row = groups_rows(&s->coded, from->lead, s->cols);
        row.wide = from->packed != NULL && from->packed->wide;
    }
    for (uint32_t p = 0; p < panel_group_panels(s, group); p++) {
#if LOOKUP_PANELS_OF_FP8
        const bool whole = real == cols && panel_group_row(s, group) + (uint64_t)(p + 1) * KERN_PANEL_ROWS <= s->rows;
        if (whole && level_fp8_panel(s, from, &row, p * KERN_PANEL_ROWS, col, cols, out + (size_t)p * cols * KERN_PANEL_ROWS)) {
            continue;
        }
#endif
        for (uint32_t r = 0; r < KERN_PANEL_ROWS; r++) {
            const uint32_t at = p * KERN_PANEL_ROWS + r;
            if (panel_group_row(s, group) + at >= s->rows) {
                memset(rows[r], 0, cols * sizeof(float));
            } else if (s->coding == PANEL_GROUPS && from->packed != NULL) {
                groups_row_of(&row, from->packed->codes + at * from->packed->stride, from->packed->rest[at]);
                groups_piece(&row, col, real, rows[r]);
            } else if (s->coding == PANEL_GROUPS) {
                groups_row_at(&row, from->records + at * s->row_bytes);
                groups_piece(&row, col, real, rows[r]);
            } else if (from->packed != NULL) {
                level_blocks_of(s, from->packed, at, col, real, rows[r]);
            } else {
                level_row(s, from->records, at, col, real, rows[r]);
            }
            rows[r][cols - 1] = real < cols ? 0 : rows[r][cols - 1];
        }
        rows_to_panel(rows[0], KERN_BLOCK_COLS, cols, out + (size_t)p * cols * KERN_PANEL_ROWS);
    }
}

static void level_block(const struct panel_shape *s, const struct panel_tile *t, const uint8_t *tile, uint32_t group,
                        uint32_t block, float *out) {
    const uint64_t first = panel_group_row(s, group) - t->row;
    const struct level_from from = {.lead = tile, .records = tile + s->lead_bytes + first * s->row_bytes};
    level_decode(s, &from, group, block, out);
}

static void level_packed(const struct panel_shape *s, const struct code_block *packed, uint32_t group, uint32_t block, float *out) {
    const struct level_from from = {.lead = packed->lead, .packed = packed};
    level_decode(s, &from, group, block, out);
}

void CODING_LEVEL(coding_level)(struct coding_table *t) {
    t->isa = CODING_ISA;
    t->decode_blocks = level_blocks;
    t->decode_groups = groups_values;
    t->decode_row = level_row;
    t->decode_block = level_block;
    t->decode_packed = level_packed;
}

#endif
#endif
