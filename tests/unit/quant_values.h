/* SPDX-License-Identifier: Apache-2.0
 * What a matrix of codes stands for, by way of the records that a store keeps. */
#ifndef TESTS_QUANT_VALUES_H
#define TESTS_QUANT_VALUES_H

#include <stdlib.h>
#include <string.h>

#include "codec/coding.h"
#include "store/split_quant_priv.h"

/* Rows [first, first + count) as floats; false: the store has no records for such groups. */
static inline bool quant_values(const struct quant_matrix *m, uint64_t first, uint64_t count, float *out) {
    struct groups g;
    if (!split_quant_groups(m, false, &g)) {
        return false;
    }
    struct groups_places p = groups_places_of(&g, m->cols);
    struct coding_table portable;
    coding_table_init(&portable, 0);
    uint8_t *lead = calloc(1, groups_lead_bytes(&g, m->cols) + 1);
    uint8_t *record = malloc(groups_row_bytes(&g, m->cols)); /* of exactly this size, so that the sanitizer sees what is touched */
    bool ok = lead != NULL && record != NULL;
    for (uint64_t c = 0; ok && g.ordered && c < m->cols; c++) {
        uint64_t group = quant_matrix_group(m, c);
        lead[2 * c] = (uint8_t)group;
        lead[2 * c + 1] = (uint8_t)(group >> 8);
    }
    if (ok && (g.shift == GROUPS_TIMES_GLOBAL || g.shift == GROUPS_BY_GLOBAL)) {
        memcpy(lead + p.global, &m->global, sizeof(float));
    }
    for (uint64_t i = 0; ok && i < count; i++) {
        split_quant_record(m, &g, first + i, record);
        portable.decode_groups(&g, lead, record, m->cols, 0, (uint32_t)m->cols, out + i * m->cols);
    }
    free(lead);
    free(record);
    return ok;
}

/* The same of bitsandbytes' 4 bit, all rows. */
static inline bool quant_bnb4_values(const struct quant_bnb4 *m, const struct quant_bnb4_source *s, float *out) {
    struct split_quant q = {.bnb4 = true, .rows = m->rows, .cols = m->cols};
    if (!split_quant_bnb4_groups(m, &q.groups)) {
        return false;
    }
    struct split_bnb4 b = {.codes = s->codes.bytes.ptr, .scales = s->scales.bytes.ptr, .nested = s->nested_scales.bytes.ptr};
    struct groups_places p = groups_places_of(&q.groups, q.cols);
    struct coding_table portable;
    coding_table_init(&portable, 0);
    uint8_t *lead = calloc(1, groups_lead_bytes(&q.groups, q.cols) + 1);
    uint8_t *record = malloc(groups_row_bytes(&q.groups, q.cols));
    bool ok = lead != NULL && record != NULL;
    if (ok) {
        memcpy(lead + p.table, s->table.bytes.ptr, GROUPS_TABLE_LEN * sizeof(float));
    }
    if (ok && q.groups.scale == GROUPS_NESTED) {
        memcpy(lead + p.nested, s->nested_table.bytes.ptr, GROUPS_NESTED_LEN * sizeof(float));
        memcpy(lead + p.nested + GROUPS_NESTED_LEN * sizeof(float), &m->nested_offset, sizeof(float));
    }
    for (uint64_t r = 0; ok && r < m->rows; r++) {
        split_quant_bnb4_record(&q, &b, r, record);
        portable.decode_groups(&q.groups, lead, record, q.cols, 0, (uint32_t)q.cols, out + r * q.cols);
    }
    free(lead);
    free(record);
    return ok;
}

#endif
