/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading matrices of codes. The rows that are asked for are read as one window of the source, as long as they lie near each
 * other and it fits beside the records; then each becomes a record. Methods that have rows as columns of the file give a
 * window as pieces of all its lines, which FP8 turns here. A transposed matrix cannot keep its codes (u_k, of latent attention): it
 * is decoded.
 *
 *   slot memory:   [lead][records ...]  |  codes, scales, zero points, order of the window */
#include <inttypes.h>
#include <string.h>

#include "codec/coding.h"
#include "store/split_quant_priv.h"

enum { HALF = SPLIT_ROWS / 2, WINDOW_ROOM = SPLIT_ROWS - HALF, LONG_PIECE = 256 << 10 };

/* What of the source is in memory: rows first to first + rows. */
struct window {
    const struct split_part *part;
    uint64_t first, rows;
    struct quant_matrix m;      /* all methods but bitsandbytes' 4 bit */
    struct split_bnb4 bnb4;     /* that one */
};

struct room {
    const struct split_quant *of;
    uint8_t *at, *end;
};

const struct groups *split_groups_of(const struct split_part *part) {
    return &part->quant->groups;
}

/* ---- pieces of tensors ---- */

/* Bytes [from, from + bytes) of each of `lines` lines; NULL in *to: no room. */
static lamina_status read_piece(struct split_job *job, const struct split_side *side, uint64_t line, uint64_t lines, uint64_t from,
                                uint64_t bytes, struct room *room, uint8_t **to) {
    const struct lamina_source *src = job->source;
    const struct split_quant *q = room->of;
    const enum split_strip_use use = side == &q->codes   ? SPLIT_STRIP_CODES
                                     : side == &q->zeros ? SPLIT_STRIP_ZEROS
                                                         : SPLIT_STRIP_SCALES;
    *to = NULL;
    if (lines * bytes > (uint64_t)(room->end - room->at)) {
        return LAMINA_OK;
    }
    uint8_t *at = room->at;
    room->at += round_up(lines * bytes, sizeof(uint64_t));
    room->at = room->at > room->end ? room->end : room->at;
    *to = at;
    if (bytes == side->line_bytes) {
        return src->read(src->user, side->tensor, line * bytes, at, (size_t)(lines * bytes), &job->err);
    }
    const struct split_columns c = {.tensor = side->tensor, .line = line, .lines = lines, .line_bytes = side->line_bytes,
                                    .at = from, .bytes = bytes};
    const uint8_t *columns = NULL;
    uint64_t pitch = 0;
    if (bytes < LONG_PIECE) {
        LAMINA_TRY(split_strip_take(job, use, &c, &columns, &pitch));
    }
    for (uint64_t i = 0; columns != NULL && i < lines; i++) {
        memcpy(at + i * bytes, columns + i * pitch, (size_t)bytes);
    }
    for (uint64_t i = 0; columns == NULL && i < lines; i++) {
        uint64_t offset = (line + i) * side->line_bytes + from;
        LAMINA_TRY(src->read(src->user, side->tensor, offset, at + i * bytes, (size_t)bytes, &job->err));
    }
    return LAMINA_OK;
}

struct piece {
    const struct split_side *side;
    uint64_t line, lines, from, bytes; /* of each line */
    uint64_t shape[2];
};

static lamina_status take_piece(struct split_job *job, const struct piece *p, struct room *room, struct quant_tensor *t,
                                bool *fits) {
    uint8_t *bytes = NULL;
    if (t->dtype == NULL || !*fits) {
        return LAMINA_OK;
    }
    LAMINA_TRY(read_piece(job, p->side, p->line, p->lines, p->from, p->bytes, room, &bytes));
    *fits = bytes != NULL;
    t->bytes = span_of(bytes, (size_t)(p->lines * p->bytes));
    t->shape[0] = p->shape[0];
    t->shape[1] = p->shape[1];
    return LAMINA_OK;
}

static struct piece whole(const struct split_side *side) {
    return (struct piece){side, 0, side->lines, 0, side->line_bytes, {side->lines, side->items}};
}

/* Lines, each of `rows_each` rows. */
static struct piece lines_of(const struct split_side *side, uint64_t first, uint64_t rows, uint64_t rows_each) {
    uint64_t line = first / rows_each;
    uint64_t lines = div_up(first + rows, rows_each) - line;
    return (struct piece){side, line, lines, 0, side->line_bytes, {lines, side->items}};
}

/* The same columns of every line, in words of 4 bytes that hold `bits` for every row. */
static struct piece words_of(const struct split_side *side, uint64_t first, uint64_t rows, uint64_t bits) {
    uint64_t word = first * bits / 32;
    uint64_t words = div_up((first + rows) * bits, 32) - word;
    return (struct piece){side, 0, side->lines, word * 4, words * 4, {side->lines, words}};
}

static struct piece scales_of(const struct split_quant *q, const struct split_side *side, uint64_t first, uint64_t rows) {
    uint64_t size = side->line_bytes / side->items;
    if (split_quant_transposed(q)) {
        return (struct piece){side, 0, side->lines, first * size, rows * size, {side->lines, rows}};
    }
    if (side->lines == 1 && side->items == 1) {
        return whole(side);
    }
    return lines_of(side, first, rows, q->method == QUANT_FP8 && q->block != 0 ? q->block : 1);
}

static struct piece zeros_of(const struct split_quant *q, uint64_t first, uint64_t rows) {
    if (q->zeros.dtype[0] == 0) {
        return whole(&q->zeros); /* nothing */
    }
    if (q->method == QUANT_MLX) {
        return scales_of(q, &q->zeros, first, rows);
    }
    if (q->method == QUANT_PACKED) { /* words along the rows, line after line */
        uint64_t line = first * q->bits / 32;
        uint64_t lines = div_up((first + rows) * q->bits, 32) - line;
        return (struct piece){&q->zeros, line, lines, 0, q->zeros.line_bytes, {lines, q->zeros.items}};
    }
    return words_of(&q->zeros, first, rows, q->bits);
}

/* ---- windows ---- */

/* Where windows may begin: pieces of a matrix are matrices only there. */
static uint64_t step_of(const struct split_quant *q) {
    return q->bnb4 || q->by_plane                                                              ? 1 /* no window has two planes */
           : q->method == QUANT_FP8 && q->block != 0                                           ? q->block
           : split_quant_transposed(q) || (q->method == QUANT_PACKED && q->zeros.dtype[0] != 0) ? 32
                                                                                               : 1;
}

static lamina_status load_matrix(struct split_job *job, struct window *w, struct room room, bool *fits) {
    const struct split_quant *q = w->part->quant;
    struct quant_source src = split_quant_source(q, job->what);
    struct piece codes = lines_of(&q->codes, w->first, w->rows, 1);
    if (split_quant_transposed(q)) {
        codes = words_of(&q->codes, w->first, w->rows, q->method == QUANT_GPTQ ? 32 : 4);
    }
    struct piece scales = scales_of(q, &q->scales, w->first, w->rows);
    struct piece zeros = zeros_of(q, w->first, w->rows);
    struct piece order = whole(&q->order);
    struct piece global = whole(&q->global);
    LAMINA_TRY(take_piece(job, &codes, &room, &src.codes, fits));
    LAMINA_TRY(take_piece(job, &scales, &room, &src.scales, fits));
    LAMINA_TRY(take_piece(job, &zeros, &room, &src.zeros, fits));
    LAMINA_TRY(take_piece(job, &order, &room, &src.order, fits));
    LAMINA_TRY(take_piece(job, &global, &room, &src.global, fits));
    if (!*fits) {
        return LAMINA_OK;
    }
    src.order.rank = src.order.dtype != NULL ? 1 : src.order.rank;
    src.plus_known = true;
    return quant_matrix_open(&src, &w->m, &job->err);
}

/* FP8 [in, out]: rows of one of the stacked matrices are columns of its lines. */
static lamina_status load_turned(struct split_job *job, struct window *w, struct room room, bool *fits) {
    const struct split_quant *q = w->part->quant;
    const uint64_t plane = w->first / q->turned;
    const uint64_t row = w->first % q->turned;
    const size_t size = (size_t)(q->scales.line_bytes / q->scales.items);
    struct quant_source src = split_quant_source(q, job->what);
    split_quant_turn(q, w->rows, &src);
    const uint64_t codes = round_up(src.codes.bytes.len, sizeof(uint64_t));
    const uint64_t scales = round_up(src.scales.bytes.len, sizeof(uint64_t));
    *fits = codes + scales <= (uint64_t)(room.end - room.at);
    if (!*fits) {
        return LAMINA_OK;
    }
    uint8_t *code = room.at;
    uint8_t *scale = code + codes;
    room.at = scale + scales;
    const struct split_columns columns = {.tensor = q->codes.tensor, .line = plane * q->cols, .lines = q->cols,
                                          .line_bytes = q->codes.line_bytes, .at = row, .bytes = w->rows};
    struct split_turn t = {.step = 1, .lines = q->cols, .items = w->rows, .to = code, .stride = q->cols};
    LAMINA_TRY(split_strip_take(job, SPLIT_STRIP_CODES, &columns, &t.from, &t.pitch));
    if (t.from == NULL) {
        *fits = false;
        return LAMINA_OK;
    }
    split_turn(&t, 1);
    if (q->block != 0) {
        t = (struct split_turn){.step = 1, .lines = src.scales.shape[1], .items = src.scales.shape[0], .to = scale,
                                .stride = src.scales.shape[1] * size, .pitch = src.scales.shape[0] * size};
        uint8_t *piece = NULL;
        LAMINA_TRY(read_piece(job, &q->scales, plane * t.lines, t.lines, row / q->block * size, t.pitch, &room, &piece));
        if (piece == NULL) {
            *fits = false;
            return LAMINA_OK;
        }
        t.from = piece;
        split_turn(&t, size);
    } else {
        const uint64_t first = q->by_plane ? plane : q->scales.lines * q->scales.items == 1 ? 0 : w->first;
        const struct lamina_source *from = job->source;
        LAMINA_TRY(from->read(from->user, q->scales.tensor, first * size, scale, src.scales.bytes.len, &job->err));
    }
    src.codes.bytes.ptr = code;
    src.scales.bytes.ptr = scale;
    return quant_matrix_open(&src, &w->m, &job->err);
}

/* A run of items of a tensor without rows. */
static lamina_status take_items(struct split_job *job, const struct split_side *side, uint64_t first, uint64_t count,
                                struct room *room, const uint8_t **to) {
    uint64_t size = side->line_bytes / side->items;
    struct split_side flat = {.tensor = side->tensor, .lines = side->lines * side->items, .items = 1, .line_bytes = size};
    uint8_t *bytes = NULL;
    count = min_u64(count, flat.lines - first);
    LAMINA_TRY(read_piece(job, &flat, first, count, 0, size, room, &bytes));
    *to = bytes;
    return LAMINA_OK;
}

static lamina_status load_bnb4(struct split_job *job, struct window *w, struct room room, bool *fits) {
    const struct split_quant *q = w->part->quant;
    uint64_t first = w->first * q->cols;
    uint64_t end = first + w->rows * q->cols;
    w->bnb4.first = w->first;
    LAMINA_TRY(take_items(job, &q->codes, first / 2, div_up(end, 2) - first / 2, &room, &w->bnb4.codes));
    uint64_t scale = first / q->groups.group;
    LAMINA_TRY(take_items(job, &q->scales, scale, div_up(end, q->groups.group) - scale, &room, &w->bnb4.scales));
    *fits = w->bnb4.codes != NULL && w->bnb4.scales != NULL;
    if (q->groups.scale == GROUPS_NESTED) {
        uint64_t run = first / q->groups.nested;
        LAMINA_TRY(take_items(job, &q->nested_scales, run, div_up(end, q->groups.nested) - run, &room, &w->bnb4.nested));
        *fits = *fits && w->bnb4.nested != NULL;
    }
    return LAMINA_OK;
}

/* The window over source rows low to high, rounded out; *fits false: too large. */
static lamina_status load(struct split_job *job, struct split_slot *s, uint64_t low, uint64_t high, struct window *w, bool *fits) {
    const struct split_quant *q = s->part->quant;
    uint64_t step = step_of(q);
    struct room room = {q, s->memory + HALF, s->memory + HALF + WINDOW_ROOM};
    uint64_t base = q->turned != 0 ? low / q->turned * q->turned : 0; /* of the matrix at hand */
    uint64_t end = q->turned != 0 ? base + q->turned : q->rows;
    *w = (struct window){.part = s->part, .first = base + (low - base) / step * step};
    w->rows = min_u64(base + div_up(high + 1 - base, step) * step, end) - w->first;
    *fits = true;
    if (q->bnb4) {
        return load_bnb4(job, w, room, fits);
    }
    return q->turned != 0 ? load_turned(job, w, room, fits) : load_matrix(job, w, room, fits);
}

/* ---- records ---- */

static void record_of(const struct window *w, uint64_t row, uint8_t *record) {
    if (w->part->quant->bnb4) {
        split_quant_bnb4_record(w->part->quant, &w->bnb4, row, record);
    } else {
        split_quant_record(&w->m, &w->part->quant->groups, row - w->first, record);
    }
}

/* Source row of canonical row `row`, planes counted; false: zeros. */
static bool source_row(const struct split_part *part, uint64_t row, uint64_t *out) {
    uint64_t from = model_source_row(&part->from, row);
    *out = part->from.plane / part->source_cols + from;
    return from != MODEL_ZERO_ROW;
}

/* Rows [row, row + count) into `to`. Halves what does not lie in one window. */
static lamina_status read_records(struct split_job *job, struct split_slot *s, uint64_t row, uint64_t count, uint8_t *to) {
    const struct split_part *part = s->part;
    uint64_t row_bytes = part->shape.row_bytes;
    uint64_t low = UINT64_MAX;
    uint64_t high = 0;
    uint64_t at = 0;
    struct window w;
    bool fits = false;
    for (uint64_t i = 0; i < count; i++) {
        if (source_row(part, row + i, &at)) {
            low = min_u64(low, at);
            high = max_u64(high, at);
        }
    }
    if (low > high) {
        memset(to, 0, count * row_bytes);
        return LAMINA_OK;
    }
    uint64_t spread = max_u64(4 * count, 2 * step_of(part->quant)); /* what lies far apart is read apart */
    if (high - low < spread || count == 1) {
        LAMINA_TRY(load(job, s, low, high, &w, &fits));
    }
    if (!fits && count == 1) {
        return base_fail(&job->err, LAMINA_UNSUPPORTED, "%s: rows of %" PRIu64 " bytes of codes are too long to split",
                         s->output->name, row_bytes);
    }
    if (!fits) {
        LAMINA_TRY(read_records(job, s, row, count / 2, to));
        return read_records(job, s, row + count / 2, count - count / 2, to + count / 2 * row_bytes);
    }
    for (uint64_t i = 0; i < count; i++) {
        if (source_row(part, row + i, &at)) {
            record_of(&w, at, to + i * row_bytes);
        } else {
            memset(to + i * row_bytes, 0, row_bytes);
        }
    }
    return LAMINA_OK;
}

/* ---- what the records of a matrix have in common ---- */

static lamina_status read_all(struct split_job *job, const struct split_side *side, uint8_t *to) {
    const struct lamina_source *src = job->source;
    return src->read(src->user, side->tensor, 0, to, (size_t)(side->lines * side->line_bytes), &job->err);
}

static lamina_status read_lead(struct split_job *job, const struct split_slot *s, uint8_t *lead) {
    const struct split_quant *q = s->part->quant;
    const struct groups_places p = groups_places_of(&q->groups, q->cols);
    memset(lead, 0, groups_lead_bytes(&q->groups, q->cols));
    if (q->groups.ordered) {
        uint8_t *words = s->memory + HALF;
        if (q->cols * sizeof(uint32_t) > WINDOW_ROOM) {
            return base_fail(&job->err, LAMINA_UNSUPPORTED, "%s: %" PRIu64 " columns in an order of their own are too many",
                             s->output->name, q->cols);
        }
        LAMINA_TRY(read_all(job, &q->order, words));
        for (uint64_t i = 0; i < q->cols; i++) {
            lead[2 * i] = words[4 * i];
            lead[2 * i + 1] = words[4 * i + 1];
        }
    }
    if (q->groups.code == GROUPS_TABLE) {
        LAMINA_TRY(read_all(job, &q->table, lead + p.table));
    }
    if (q->groups.shift == GROUPS_TIMES_GLOBAL || q->groups.shift == GROUPS_BY_GLOBAL) {
        LAMINA_TRY(read_all(job, &q->global, lead + p.global));
    }
    if (q->groups.scale == GROUPS_NESTED) {
        uint32_t bits = 0;
        memcpy(&bits, &q->nested_offset, sizeof(bits));
        LAMINA_TRY(read_all(job, &q->nested_table, lead + p.nested));
        store_le32(lead + p.nested + GROUPS_NESTED_LEN * sizeof(float), bits);
    }
    return LAMINA_OK;
}

lamina_status split_read_coded(struct split_job *job, struct split_slot *s, uint64_t row, uint64_t count) {
    const struct panel_shape *shape = &s->part->shape;
    s->rows = s->memory + shape->lead_bytes;
    s->rows_len = (size_t)(count * shape->row_bytes);
    LAMINA_TRY(read_lead(job, s, s->memory));
    return read_records(job, s, row, count, s->rows);
}

/* ---- decoded ---- */

/* Element c of canonical rows [row, row + n), which lie beside each other in one row of the source. */
struct turned {
    uint64_t row, n;
};

static lamina_status decode_head(struct split_job *job, struct split_slot *s, uint64_t base, struct turned t) {
    enum { AT_ONCE = 256 };
    const struct split_part *part = s->part;
    const struct split_quant *q = part->quant;
    uint64_t from = model_source_row(&part->from, t.row);
    uint64_t record_bytes = groups_row_bytes(&q->groups, q->cols);
    uint8_t *lead = s->memory + HALF / 2;
    uint8_t *record = lead + groups_lead_bytes(&q->groups, q->cols);
    float values[AT_ONCE];
    struct coding_table portable;
    struct window w;
    coding_table_init(&portable, 0);
    LAMINA_TRY(read_lead(job, s, lead));
    for (uint64_t c = 0; c < part->shape.cols;) {
        uint64_t many = part->shape.cols - c; /* rows of the source in one window */
        bool fits = false;
        for (; !fits; many = fits ? many : many / 2) {
            uint64_t first = from / q->cols + c;
            if (many == 0) {
                return base_fail(&job->err, LAMINA_UNSUPPORTED, "%s: rows of codes are too long to be decoded", s->output->name);
            }
            LAMINA_TRY(load(job, s, first, first + many - 1, &w, &fits));
        }
        for (uint64_t end = c + many; c < end; c++) {
            memset(record, 0, record_bytes);
            record_of(&w, from / q->cols + c, record);
            for (uint64_t i = 0; i < t.n; i += AT_ONCE) {
                uint32_t n = (uint32_t)min_u64(AT_ONCE, t.n - i);
                portable.decode_groups(&q->groups, lead, record, q->cols, from % q->cols + i, n, values);
                for (uint32_t k = 0; k < n; k++) {
                    memcpy(s->rows + (t.row - base + i + k) * s->stride + c * sizeof(float), &values[k], sizeof(float));
                }
            }
        }
    }
    return LAMINA_OK;
}

lamina_status split_read_decoded(struct split_job *job, struct split_slot *s, uint64_t row, uint64_t count) {
    const struct split_part *part = s->part;
    const struct split_quant *q = part->quant;
    uint64_t room = groups_lead_bytes(&q->groups, q->cols) + groups_row_bytes(&q->groups, q->cols);
    s->rows = s->memory;
    s->rows_len = (size_t)(count * s->stride);
    if (count * s->stride > HALF / 2 || room > HALF / 2 || split_step(&part->from) != 1) {
        return base_fail(&job->err, LAMINA_UNSUPPORTED, "%s: a transposed matrix of codes this large cannot be split",
                         s->output->name);
    }
    memset(s->rows, 0, s->rows_len);
    for (uint64_t done = 0; done < count;) {
        uint64_t first = model_source_row(&part->from, row + done);
        uint64_t n = split_in_step(&part->from, row + done, count - done);
        if (first != MODEL_ZERO_ROW) {
            n = min_u64(n, q->cols - first % q->cols);
            LAMINA_TRY(decode_head(job, s, row, (struct turned){row + done, n}));
        }
        done += n;
    }
    return LAMINA_OK;
}
