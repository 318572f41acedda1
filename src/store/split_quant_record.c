/* SPDX-License-Identifier: Apache-2.0
 * Rows of an opened matrix of codes (format/quant_matrix.h) as records (codec/groups.h). Pure. */
#include <string.h>

#include "store/split_quant_priv.h"

bool split_quant_groups(const struct quant_matrix *m, bool middle, struct groups *g) {
    static const uint8_t codes[] = {[QUANT_CODE_UINT] = GROUPS_UINT,
                                    [QUANT_CODE_INT8] = GROUPS_INT8,
                                    [QUANT_CODE_E4M3] = GROUPS_E4M3,
                                    [QUANT_CODE_E5M2] = GROUPS_E5M2,
                                    [QUANT_CODE_E2M1] = GROUPS_E2M1};
    static const uint8_t scales[] = {[QUANT_F32] = GROUPS_F32,
                                     [QUANT_F16] = GROUPS_F16,
                                     [QUANT_BF16] = GROUPS_BF16,
                                     [QUANT_E8M0] = GROUPS_E8M0,
                                     [QUANT_E4M3] = GROUPS_SCALE_E4M3};
    uint8_t shift = GROUPS_NONE;
    uint64_t group = m->group;
    switch (m->method) {
    case QUANT_BNB8:
        shift = GROUPS_OVER_127;
        break;
    case QUANT_NVFP4:
        shift = m->divide ? GROUPS_BY_GLOBAL : GROUPS_TIMES_GLOBAL;
        break;
    case QUANT_GPTQ:
    case QUANT_AWQ:
        shift = middle ? GROUPS_MIDDLE : GROUPS_ZERO;
        break;
    case QUANT_PACKED:
        shift = m->zeros == NULL || middle ? GROUPS_MIDDLE : GROUPS_ZERO;
        break;
    case QUANT_MLX:
        shift = GROUPS_MINIMUM;
        break;
    default:
        break;
    }
    if (m->order != NULL && div_up(m->cols, group) != m->groups) { /* the order alone says which column is whose */
        group = div_up(m->cols, m->groups);
    }
    *g = (struct groups){.bits = m->bits, .code = codes[m->code], .scale = scales[m->scale], .shift = shift,
                         .ordered = m->order != NULL, .group = (uint32_t)min_u64(group, m->cols)};
    return group <= UINT32_MAX && groups_valid(g, m->cols) && groups_count(g, m->cols) == m->groups;
}

/* One stream of bits, low bits first: rows of words lie so already, and words along the columns (GPTQ) line by line. */
static void put_codes(const struct quant_matrix *m, uint64_t row, uint8_t *record) {
    uint64_t bytes = div_up(m->cols * m->bits, 8);
    if (m->method == QUANT_GPTQ) {
        for (uint64_t at = 0; at < bytes; at += 4) {
            memcpy(record + at, m->codes + 4 * row + at / 4 * m->code_stride, (size_t)min_u64(4, bytes - at));
        }
    } else if (m->method == QUANT_AWQ) {
        enum { AT_ONCE = 256 };
        uint8_t codes[AT_ONCE + 1];
        for (uint64_t col = 0; col < m->cols; col += AT_ONCE) {
            uint64_t n = min_u64(AT_ONCE, m->cols - col);
            quant_matrix_codes(m, row, col, (size_t)n, codes);
            codes[n] = 0;
            for (uint64_t i = 0; i < n; i += 2) {
                record[(col + i) / 2] = (uint8_t)(codes[i] | codes[i + 1] << 4);
            }
        }
    } else {
        memcpy(record, m->codes + row * m->code_stride, bytes);
    }
    uint64_t odd = m->cols * m->bits % 8;
    if (odd != 0) { /* a last word may hold more than its columns */
        record[bytes - 1] &= (uint8_t)((1u << odd) - 1);
    }
}

void split_quant_record(const struct quant_matrix *m, const struct groups *g, uint64_t row, uint8_t *record) {
    const struct groups_places p = groups_places_of(g, m->cols);
    memset(record, 0, groups_row_bytes(g, m->cols));
    put_codes(m, row, record);
    for (uint64_t group = 0; group < m->groups; group++) {
        memcpy(record + p.scales + group * p.scale_bytes, quant_matrix_scale(m, row, group), p.scale_bytes);
        if (g->shift == GROUPS_MINIMUM) {
            memcpy(record + p.zeros + group * p.scale_bytes, quant_matrix_minimum(m, row, group), p.scale_bytes);
        } else if (g->shift == GROUPS_ZERO) {
            groups_put(record + p.zeros, group, g->bits, quant_matrix_zero(m, row, group));
        }
    }
}

/* ---- bitsandbytes, 4 bit ---- */

bool split_quant_bnb4_groups(const struct quant_bnb4 *m, struct groups *g) {
    uint64_t nested = m->block * m->nested_block;
    *g = (struct groups){.bits = 4, .code = GROUPS_TABLE, .scale = nested != 0 ? GROUPS_NESTED : GROUPS_F32,
                         .phased = m->cols % m->block != 0, .group = (uint32_t)m->block, .nested = (uint32_t)nested};
    return m->block < UINT32_MAX && m->nested_block < UINT32_MAX && nested < UINT32_MAX && groups_valid(g, m->cols);
}

void split_quant_bnb4_record(const struct split_quant *q, const struct split_bnb4 *b, uint64_t row, uint8_t *record) {
    const struct groups *g = &q->groups;
    const struct groups_places p = groups_places_of(g, q->cols);
    uint64_t base = b->first * q->cols;
    uint64_t first = row * q->cols;
    memset(record, 0, groups_row_bytes(g, q->cols));
    for (uint64_t c = 0; c < q->cols; c++) { /* the first of two codes stands in the high half */
        uint8_t two = b->codes[(first + c) / 2 - base / 2];
        groups_put(record, c, 4, (first + c) % 2 == 0 ? two >> 4 : two & 15u);
    }
    uint64_t scale = first / g->group;
    uint64_t scales = (first + q->cols - 1) / g->group - scale + 1;
    memcpy(record + p.scales, b->scales + (scale - base / g->group) * p.scale_bytes, scales * p.scale_bytes);
    if (g->scale == GROUPS_NESTED) {
        uint64_t run = first / g->nested;
        uint64_t runs = (first + q->cols - 1) / g->nested - run + 1;
        memcpy(record + p.runs, b->nested + (run - base / g->nested) * sizeof(float), runs * sizeof(float));
        store_le32(record + p.place, (uint32_t)(first % g->nested));
    } else if (g->phased) {
        store_le32(record + p.place, (uint32_t)(first % g->group));
    }
}
