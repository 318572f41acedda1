/* SPDX-License-Identifier: Apache-2.0
 *
 * Source rows that do not lie as the store wants them: fused with others, in another order, or as columns of a transposed
 * matrix; and vectors that are picked from a longer one, shifted, or computed from a matrix. The map is the model room's
 * (struct model_rows); this file only follows it. */
#include <math.h>
#include <string.h>

#include "codec/coding.h"
#include "store/store_priv.h"

/* Source pieces are read into the second half of the slot and put together in the first. */
enum { HALF = SPLIT_ROWS / 2 };

bool split_part_is_plain(const struct split_part *part) {
    const struct model_rows *m = &part->from;
    return !part->transposed && part->pieces == 0 && m->rope_dim == 0 && m->group == 0 && m->stride == 1 &&
           m->run >= (part->len != 0 ? part->len : part->shape.rows);
}

static lamina_status read_at(struct split_job *job, const struct split_part *part, uint64_t element, uint64_t count,
                             uint8_t *to) {
    const struct lamina_source *src = job->source;
    uint64_t size = kern_dtype_bytes((enum kern_dtype)part->dtype);
    return src->read(src->user, part->tensor, (part->from.plane + element) * size, to, (size_t)(count * size), &job->err);
}

/* How many rows from `row` on lie together in the source. */
static uint64_t together(const struct model_rows *m, uint64_t row, uint64_t most) {
    uint64_t first = model_source_row(m, row);
    uint64_t n = 1;
    while (first != MODEL_ZERO_ROW && n < most && model_source_row(m, row + n) == first + n) {
        n++;
    }
    return n;
}

/* Rows that lie beside each other in another order, pairs of a rotary head for example: one read, put in order in memory. *done
 * false: they lie apart, or there is no room for what lies between them. */
static lamina_status read_near(struct split_job *job, const struct split_slot *s, uint64_t row, uint64_t count, uint8_t *to,
                               bool *done) {
    const struct split_part *part = s->part;
    uint64_t low = UINT64_MAX;
    uint64_t high = 0;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t from = model_source_row(&part->from, row + i);
        low = min_u64(low, from);
        high = from != MODEL_ZERO_ROW && from > high ? from : high;
    }
    *done = false;
    if (low > high || high - low >= 2 * count) {
        return LAMINA_OK;
    }
    const struct split_columns c = {.tensor = part->tensor, .line = part->from.plane / part->source_cols + low,
                                    .lines = high - low + 1, .line_bytes = s->stride, .bytes = s->stride};
    const uint8_t *rows = NULL;
    uint64_t pitch = 0;
    LAMINA_TRY(split_strip_take(job, SPLIT_STRIP_CODES, &c, &rows, &pitch));
    for (uint64_t i = 0; rows != NULL && i < count; i++) {
        const uint64_t from = model_source_row(&part->from, row + i);
        if (from == MODEL_ZERO_ROW) {
            memset(to + i * s->stride, 0, s->stride);
        } else {
            memcpy(to + i * s->stride, rows + (from - low) * pitch, s->stride);
        }
    }
    *done = rows != NULL;
    return LAMINA_OK;
}

static lamina_status read_picked(struct split_job *job, const struct split_slot *s, uint64_t row, uint64_t count, uint8_t *to) {
    enum { LONG_RUN = 256 << 10, AT_ONCE = 4 << 20 };
    const struct split_part *part = s->part;
    const struct lamina_source *src = job->source;
    const uint64_t before = part->from.plane / part->source_cols;
    for (uint64_t done = 0; done < count;) {
        const uint64_t left = count - done;
        uint64_t n = together(&part->from, row + done, left);
        const uint64_t from = model_source_row(&part->from, row + done);
        const uint64_t many = min_u64(left, AT_ONCE / s->stride + 1);
        bool near = false;
        if (n < left && n * s->stride < LONG_RUN) {
            LAMINA_TRY(read_near(job, s, row + done, many, to + done * s->stride, &near));
        }
        if (near) {
            n = many;
        } else if (from == MODEL_ZERO_ROW) {
            memset(to + done * s->stride, 0, n * s->stride);
        } else {
            LAMINA_TRY(src->read(src->user, part->tensor, (before + from) * s->stride, to + done * s->stride,
                                 (size_t)(n * s->stride), &job->err));
        }
        done += n;
    }
    return LAMINA_OK;
}

uint64_t split_step(const struct model_rows *m) {
    return m->rope_dim != 0 || m->group != 0 ? 1 : m->stride;
}

uint64_t split_in_step(const struct model_rows *m, uint64_t row, uint64_t most) {
    uint64_t first = model_source_row(m, row);
    uint64_t n = 1;
    while (first != MODEL_ZERO_ROW && n < most && model_source_row(m, row + n) == first + n * split_step(m)) {
        n++;
    }
    return n;
}

/* Element c of canonical row r stands in row c of the source: columns of it become rows. */
static lamina_status read_transposed(struct split_job *job, const struct split_slot *s, uint64_t row, uint64_t count) {
    const struct split_part *part = s->part;
    const size_t size = kern_dtype_bytes((enum kern_dtype)part->dtype);
    const uint64_t step = split_step(&part->from);
    for (uint64_t done = 0; done < count;) {
        uint64_t n = split_in_step(&part->from, row + done, count - done);
        const uint64_t from = model_source_row(&part->from, row + done);
        uint8_t *to = s->rows + done * s->stride;
        if (from == MODEL_ZERO_ROW) {
            memset(to, 0, n * s->stride);
            done += n;
            continue;
        }
        const uint64_t at = part->from.plane + from;
        const uint64_t line = at / part->source_cols;
        const uint64_t column = at % part->source_cols;
        n = min_u64(n, div_up(part->source_cols - column, step));
        const struct split_columns c = {.tensor = part->tensor, .line = line, .lines = part->shape.cols,
                                        .line_bytes = part->source_cols * size, .at = column * size,
                                        .bytes = ((n - 1) * step + 1) * size};
        struct split_turn t = {.step = step, .lines = c.lines, .items = n, .to = to, .stride = s->stride};
        LAMINA_TRY(split_strip_take(job, SPLIT_STRIP_CODES, &c, &t.from, &t.pitch));
        if (t.from == NULL) {
            return base_fail(&job->err, LAMINA_UNSUPPORTED, "%s: a transposed matrix this large cannot be split", s->output->name);
        }
        split_turn(&t, size);
        done += n;
    }
    return LAMINA_OK;
}

lamina_status split_read_rows(struct split_job *job, struct split_slot *s, uint64_t row, uint64_t count) {
    s->rows = s->memory;
    s->rows_len = (size_t)(count * s->stride);
    return s->part->transposed ? read_transposed(job, s, row, count) : read_picked(job, s, row, count, s->rows);
}

/* ---- vectors ---- */

static float element(const uint8_t *at, uint32_t dtype) {
    uint32_t bits = split_widen(at, dtype);
    float f = 0;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static void put(uint8_t *at, float f) {
    uint32_t bits = 0;
    memcpy(&bits, &f, sizeof(bits));
    store_le32(at, bits);
}

/* 1 / max(length of the row, 1e-12), the length summed in fp64. */
static float inverse_length(const struct split_part *part, const uint8_t *row) {
    enum { AT_ONCE = 256 }; /* a multiple of every block */
    size_t size = kern_dtype_bytes((enum kern_dtype)part->dtype);
    enum panel_coding coding = (enum panel_coding)part->coding;
    struct coding_table portable;
    float values[AT_ONCE];
    coding_table_init(&portable, 0);
    double sum = 0;
    for (uint64_t c = 0; c < part->source_cols; c++) {
        if (c % AT_ONCE == 0 && part->coding != PANEL_PLAIN) {
            uint32_t n = (uint32_t)min_u64(AT_ONCE, part->source_cols - c);
            portable.decode_blocks(coding, row + coding_block_row_bytes(coding, c), n / coding_block_len(coding), values);
        }
        double v = (double)(part->coding != PANEL_PLAIN ? values[c % AT_ONCE] : element(row + c * size, part->dtype));
        sum += v * v;
    }
    double length = sqrt(sum);
    return (float)(1.0 / (length > 1e-12 ? length : 1e-12));
}

static lamina_status compute_lengths(struct split_job *job, const struct split_slot *s) {
    const struct split_part *part = s->part;
    const struct lamina_source *src = job->source;
    uint64_t row_bytes = part->coding != PANEL_PLAIN ? coding_block_row_bytes((enum panel_coding)part->coding, part->source_cols)
                                                     : part->source_cols * kern_dtype_bytes((enum kern_dtype)part->dtype);
    uint64_t most = HALF / row_bytes;
    if (most == 0) {
        return base_fail(&job->err, LAMINA_UNSUPPORTED, "%s: rows of %llu bytes are too long", s->output->name,
                         (unsigned long long)row_bytes);
    }
    for (uint64_t row = 0; row < part->len;) {
        uint64_t n = min_u64(most, part->len - row);
        LAMINA_TRY(src->read(src->user, part->tensor, row * row_bytes, s->memory + HALF, (size_t)(n * row_bytes), &job->err));
        for (uint64_t i = 0; i < n; i++) {
            put(s->memory + (row + i) * sizeof(float), inverse_length(part, s->memory + HALF + i * row_bytes));
        }
        row += n;
    }
    return LAMINA_OK;
}

static lamina_status read_pieces(struct split_job *job, const struct split_part *part, size_t size, uint8_t *to) {
    const struct lamina_source *src = job->source;
    const size_t each = (size_t)(part->from.total / part->pieces) * size;
    for (uint32_t i = 0; i < part->pieces; i++) {
        LAMINA_TRY(src->read(src->user, part->piece[i], 0, to + i * each, each, &job->err));
    }
    return LAMINA_OK;
}

static lamina_status pick(struct split_job *job, const struct split_slot *s) {
    const struct split_part *part = s->part;
    size_t size = kern_dtype_bytes((enum kern_dtype)part->dtype);
    if (part->from.total * size > HALF) {
        return base_fail(&job->err, LAMINA_UNSUPPORTED, "%s: a vector of %llu elements is too long", s->output->name,
                         (unsigned long long)part->from.total);
    }
    LAMINA_TRY(part->pieces != 0 ? read_pieces(job, part, size, s->memory + HALF)
                                 : read_at(job, part, 0, part->from.total, s->memory + HALF));
    for (uint64_t i = 0; i < part->len; i++) {
        float f = element(s->memory + HALF + model_source_row(&part->from, i) * size, part->dtype);
        float value = part->exponentiated ? model_taken_log(f) : f + part->plus;
        if (part->exponentiated && !(f < 0)) {
            return base_fail(&job->err, LAMINA_DAMAGED, "%s: a rate of decay is %g, and must be negative", s->output->name,
                             (double)f);
        }
        put(s->memory + i * sizeof(float), value);
    }
    return LAMINA_OK;
}

lamina_status split_read_vector(struct split_job *job, struct split_slot *s) {
    if (s->part->len * sizeof(float) > HALF) {
        return base_fail(&job->err, LAMINA_UNSUPPORTED, "%s: a vector of %llu elements is too long", s->output->name,
                         (unsigned long long)s->part->len);
    }
    s->rows = s->memory;
    s->rows_len = (size_t)(s->part->len * sizeof(float));
    s->dtype = KERN_F32;
    return s->part->row_norms ? compute_lengths(job, s) : pick(job, s);
}
