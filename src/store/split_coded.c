/* SPDX-License-Identifier: Apache-2.0
 *
 * Source matrices of codes: rows of codes in one tensor, a grid of scales in another. A row becomes one record of both
 * (codec/coding.h). Codes that lie transposed cannot keep their scales; the few such matrices are decoded to F32. */
#include <string.h>

#include "codec/coding.h"
#include "store/store_priv.h"

/* Records are made in the first half of the slot; codes are read into the next three eighths, scales into the last. */
enum { CODES_AT = SPLIT_ROWS / 2, SCALES_AT = SPLIT_ROWS / 8 * 7 };

static uint64_t code_bytes(const struct split_part *part, uint64_t cols) {
    return part->coding == PANEL_MXFP4 ? cols / 2 : cols;
}

static uint64_t scale_size(const struct split_scales *g) {
    return g->dtype < KERN_DTYPES ? kern_dtype_bytes((enum kern_dtype)g->dtype) : 1;
}

static void put_scale(const struct split_scales *g, const uint8_t *from, uint8_t *to) {
    if (g->dtype < KERN_DTYPES) {
        store_le32(to, split_widen(from, g->dtype));
    } else {
        *to = *from;
    }
}

/* Records of n rows, `first` in the source, whose codes and scale rows are in memory. */
static void make_records(const struct split_slot *s, uint64_t first, uint64_t n, uint8_t *to) {
    const struct split_part *part = s->part;
    const struct split_scales *g = &part->scales;
    uint64_t codes = code_bytes(part, part->shape.cols);
    uint64_t base = first / g->rows_each;
    uint64_t kept = g->dtype < KERN_DTYPES ? sizeof(float) : 1;
    uint64_t count = part->coding == PANEL_MXFP4 ? part->shape.cols / CODING_MXFP4_COLS
                                                 : (part->shape.cols + CODING_FP8_COLS - 1) / CODING_FP8_COLS;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t row = i * split_step(&part->from);
        uint8_t *record = to + i * part->shape.row_bytes;
        const uint8_t *scales = s->memory + SCALES_AT + ((first + row) / g->rows_each - base) * g->cols * scale_size(g);
        memcpy(record, s->memory + CODES_AT + row * codes, codes);
        for (uint64_t c = 0; c < count; c++) {
            uint64_t at = g->cols == 1 ? 0 : c; /* one scale for a whole row is written out for each group */
            put_scale(g, scales + at * scale_size(g), record + codes + c * kept);
        }
    }
}

static lamina_status read_codes(struct split_job *job, const struct split_slot *s, uint64_t first, uint64_t n) {
    const struct lamina_source *src = job->source;
    const struct split_part *part = s->part;
    const struct split_scales *g = &part->scales;
    uint64_t codes = code_bytes(part, part->shape.cols);
    uint64_t plane = part->from.plane / part->shape.cols; /* rows before this matrix */
    uint64_t rows = (n - 1) * split_step(&part->from) + 1;
    uint64_t scale_first = first / g->rows_each;
    uint64_t scale_rows = (first + rows - 1) / g->rows_each - scale_first + 1;
    uint64_t line = g->cols * scale_size(g);
    uint64_t scale_plane = plane / g->rows_each; /* stacked matrices have a scale row per row */
    if (rows * codes > SCALES_AT - CODES_AT || scale_rows * line > SPLIT_ROWS - SCALES_AT) {
        return base_fail(&job->err, LAMINA_UNSUPPORTED, "%s: rows of %llu codes are too long", s->output->name,
                         (unsigned long long)part->shape.cols);
    }
    LAMINA_TRY(
        src->read(src->user, part->tensor, (plane + first) * codes, s->memory + CODES_AT, (size_t)(rows * codes), &job->err));
    return src->read(src->user, g->tensor, (scale_plane + scale_first) * line, s->memory + SCALES_AT, (size_t)(scale_rows * line),
                     &job->err);
}

/* Rows that codes and scales have room for together. */
static uint64_t most_rows(const struct split_part *part) {
    uint64_t line = part->scales.cols * scale_size(&part->scales) + 1;
    uint64_t by_codes = (SCALES_AT - CODES_AT) / code_bytes(part, part->shape.cols);
    uint64_t by_scales = (SPLIT_ROWS - SCALES_AT) / line;
    uint64_t most = min_u64(by_codes, by_scales) / split_step(&part->from);
    return most > 1 ? most - 1 : 1;
}

lamina_status split_read_coded(struct split_job *job, struct split_slot *s, uint64_t row, uint64_t count) {
    const struct split_part *part = s->part;
    s->rows = s->memory;
    s->rows_len = (size_t)(count * part->shape.row_bytes);
    for (uint64_t done = 0; done < count;) {
        uint64_t first = model_source_row(&part->from, row + done);
        uint64_t n = split_in_step(&part->from, row + done, min_u64(count - done, most_rows(part)));
        uint8_t *to = s->rows + done * part->shape.row_bytes;
        if (first == MODEL_ZERO_ROW) {
            memset(to, 0, n * part->shape.row_bytes);
        } else {
            LAMINA_TRY(read_codes(job, s, first, n));
            make_records(s, first, n, to);
        }
        done += n;
    }
    return LAMINA_OK;
}

/* ---- decoded ---- */

static float scale_at(const struct split_slot *s, uint64_t element) {
    const struct split_part *part = s->part;
    const struct split_scales *g = &part->scales;
    uint64_t row = element / part->source_cols / g->rows_each;
    uint64_t col = element % part->source_cols / g->cols_each;
    uint32_t bits = split_widen(s->memory + SCALES_AT + (row * g->cols + (g->cols == 1 ? 0 : col)) * scale_size(g), g->dtype);
    float f = 0;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static void decode_piece(const struct split_slot *s, uint64_t element, uint64_t n, uint64_t row, uint64_t col) {
    for (uint64_t i = 0; i < n; i++) {
        float f = coding_fp8(s->memory[CODES_AT + i]) * scale_at(s, element + i);
        uint32_t bits = 0;
        memcpy(&bits, &f, sizeof(bits));
        store_le32(s->rows + (row + i) * s->stride + col * sizeof(float), bits);
    }
}

lamina_status split_read_decoded(struct split_job *job, struct split_slot *s, uint64_t row, uint64_t count) {
    const struct lamina_source *src = job->source;
    const struct split_part *part = s->part;
    const struct split_scales *g = &part->scales;
    uint64_t grid = g->rows * g->cols * scale_size(g);
    if (part->coding != PANEL_FP8 || grid > SPLIT_ROWS - SCALES_AT || count > SCALES_AT - CODES_AT ||
        split_step(&part->from) != 1) {
        return base_fail(&job->err, LAMINA_UNSUPPORTED, "%s: a transposed matrix of codes this large cannot be split",
                         s->output->name);
    }
    s->rows = s->memory;
    s->rows_len = (size_t)(count * s->stride);
    LAMINA_TRY(src->read(src->user, g->tensor, 0, s->memory + SCALES_AT, (size_t)grid, &job->err));
    for (uint64_t c = 0; c < part->shape.cols; c++) {
        for (uint64_t done = 0; done < count;) {
            uint64_t n = split_in_step(&part->from, row + done, count - done);
            uint64_t from = model_source_row(&part->from, row + done);
            if (from == MODEL_ZERO_ROW) {
                memset(s->rows + done * s->stride + c * sizeof(float), 0, sizeof(float));
                n = 1;
            } else {
                uint64_t element = part->from.plane + c * part->source_cols + from;
                LAMINA_TRY(src->read(src->user, part->tensor, element, s->memory + CODES_AT, (size_t)n, &job->err));
                decode_piece(s, element, n, done, c);
            }
            done += n;
        }
    }
    return LAMINA_OK;
}
