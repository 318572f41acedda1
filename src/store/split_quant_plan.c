/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrices of codes: which tensors of a checkpoint make one, told by their names and types, and whether they belong together
 * (format/quant_matrix.h proves it, by their shapes). config.json is asked only for what tensors cannot say. What decides the
 * form of a record is read here too: zero points, the order of columns, states of a few bytes; codes and scales are not. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "store/split_plan_priv.h"
#include "store/split_quant_priv.h"

enum { LOOK_MAX = 64 << 20, STATE_MAX = 4096 };

struct search {
    struct split_planner *w;
    const struct model_tensor *m;
    struct split_quant *q;
    uint32_t output;
    char base[160]; /* the source name without ".weight" */
};

/* ---- tensors by name ---- */

static bool named(const struct search *s, const char *stem, const char *ending, uint32_t *index, struct lamina_source_tensor *t) {
    char name[224];
    int n = snprintf(name, sizeof(name), "%s%s", stem, ending);
    return n > 0 && (size_t)n < sizeof(name) && split_plan_find(s->w, name, index) &&
           s->w->s->tensor(s->w->s->user, *index, t, s->w->err) == LAMINA_OK;
}

/* Takes a tensor into its place; false where there is none. */
static bool take(const struct search *s, const char *stem, const char *ending, struct split_side *side) {
    struct lamina_source_tensor t = {0};
    uint32_t index = 0;
    if (!named(s, stem, ending, &index, &t) || t.rank > 8) {
        return false;
    }
    uint64_t lines = 1;
    bool over = false;
    for (uint32_t i = 0; i + 1 < t.rank; i++) {
        over = over || checked_mul(lines, t.shape[i], &lines);
    }
    *side = (struct split_side){.tensor = index, .lines = lines, .items = t.rank > 0 ? t.shape[t.rank - 1] : 1};
    if (t.rank == 1) { /* one item a line */
        side->lines = side->items;
        side->items = 1;
    }
    (void)snprintf(side->dtype, sizeof(side->dtype), "%s", t.dtype);
    over = over || checked_mul(side->items, safetensors_dtype_bits(span_of_text(t.dtype)) / 8, &side->line_bytes);
    if (over) {
        side->dtype[0] = 0;
        return false;
    }
    split_plan_use(s->w, index, s->output);
    return true;
}

/* What says nothing that is needed. */
static void drop(const struct search *s, const char *stem, const char *ending) {
    struct split_side ignored;
    (void)take(s, stem, ending, &ignored);
}

static bool is(const struct split_side *side, const char *dtype) {
    return strcmp(side->dtype, dtype) == 0;
}

static lamina_status missing(const struct search *s, const char *what, const char *stem, const char *ending) {
    return base_fail(s->w->err, LAMINA_DAMAGED, "the checkpoint has no %s for \"%s\" (%s%s)", what, s->m->source, stem, ending);
}

/* Columns of the codes, whatever becomes of them in the store (u_k is turned). */
static uint64_t source_cols(const struct search *s) {
    uint64_t wanted[2];
    split_plan_wanted(s->m, wanted);
    return wanted[1];
}

/* ---- which method ---- */

/* Stacked matrices that lie [in, out]: their scales are blocks that lie so too, one for each row, for each matrix, or for all. */
static lamina_status take_turned(struct search *s, uint32_t block_rows, uint32_t block_cols) {
    struct split_quant *q = s->q;
    const uint64_t planes = s->m->from.planes;
    const uint64_t in = q->codes.lines / planes;
    const uint64_t out = q->codes.items;
    const struct split_side *scales = &q->scales;
    const bool single = scales->items == 1 && (scales->lines == 1 || scales->lines == planes);
    const bool by_row =
        (scales->lines == planes && scales->items == out) || (scales->lines == planes * out && scales->items == 1);
    const bool grid = scales->lines == planes * div_up(in, block_rows) && scales->items == div_up(out, block_cols);
    if (in == 0 || out == 0 || q->codes.lines % planes != 0 || !(single || by_row || grid)) {
        return base_fail(s->w->err, LAMINA_DAMAGED,
                         "tensor \"%s\": [%" PRIu64 ", %" PRIu64 "] scales do not belong to %" PRIu64 " matrices of [%" PRIu64
                         ", %" PRIu64 "] codes", s->m->source, scales->lines, scales->items, planes, in, out);
    }
    if (grid && !single && !by_row) {
        if (block_rows != block_cols) {
            return base_fail(s->w->err, LAMINA_UNSUPPORTED, "tensor \"%s\": blocks of %u x %u weights that lie [in, out] are not "
                             "supported; squares are", s->m->source, block_rows, block_cols);
        }
        q->block = q->group = block_rows;
    }
    q->turned = out;
    q->by_plane = single && scales->lines == planes;
    return LAMINA_OK;
}

static lamina_status take_fp8(struct search *s) {
    struct split_quant *q = s->q;
    const struct model_quant *c = &s->w->quant;
    q->method = QUANT_FP8;
    if (!take(s, s->m->source, "_scale_inv", &q->scales) && !take(s, s->m->source, "_scale", &q->scales)) {
        return missing(s, "scales", s->m->source, "_scale_inv");
    }
    uint32_t rows = c->block_rows != 0 ? c->block_rows : 128;
    uint32_t cols = c->block_cols != 0 ? c->block_cols : 128;
    if (s->m->from.planes != 0 && s->m->transposed) { /* as without codes under this name */
        return take_turned(s, rows, cols);
    }
    bool grid = q->scales.lines == div_up(q->codes.lines, rows) && q->scales.items == div_up(q->codes.items, cols);
    bool single = q->scales.lines == 1 && q->scales.items == 1;
    q->block = grid && !single ? rows : 0; /* one block of a small matrix is one scale for all */
    q->group = grid && !single ? cols : 0;
    const uint64_t planes = s->m->from.planes;
    q->by_plane = planes > 1 && q->scales.lines == planes && q->scales.items == 1 && q->codes.lines % planes == 0 &&
                  q->codes.lines / planes <= UINT32_MAX && q->codes.items <= UINT32_MAX;
    if (q->by_plane) {
        q->block = (uint32_t)(q->codes.lines / planes);
        q->group = (uint32_t)q->codes.items;
    }
    return LAMINA_OK;
}

static lamina_status take_int8(struct search *s) {
    struct split_quant *q = s->q;
    q->method = QUANT_INT8;
    if (s->m->from.planes != 0 && s->m->transposed) { /* a square would not tell which way they lie */
        return base_fail(s->w->err, LAMINA_UNSUPPORTED, "tensor \"%s\": int8 codes of stacked experts that lie [in, out] are not "
                         "supported; supported: [out, in], or a tensor for each expert", s->m->source);
    }
    if (take(s, s->base, ".SCB", &q->scales)) {
        q->method = QUANT_BNB8;
        drop(s, s->base, ".weight_format");
        return LAMINA_OK;
    }
    return take(s, s->m->source, "_scale", &q->scales) ? LAMINA_OK : missing(s, "scales", s->m->source, "_scale");
}

static lamina_status take_words(struct search *s) { /* MLX */
    struct split_quant *q = s->q;
    q->method = QUANT_MLX;
    if (!take(s, s->base, ".scales", &q->scales)) {
        return missing(s, "scales", s->base, ".scales");
    }
    if (take(s, s->base, ".biases", &q->zeros)) {
        q->bits = (uint32_t)(q->codes.items * 32 / source_cols(s));
        return LAMINA_OK;
    }
    q->method = QUANT_MXFP4;
    return is(&q->scales, "U8") ? LAMINA_OK : missing(s, "minima", s->base, ".biases");
}

static lamina_status take_gptq_or_awq(struct search *s) {
    struct split_quant *q = s->q;
    uint64_t cols = source_cols(s);
    if (!take(s, s->base, ".scales", &q->scales) || !take(s, s->base, ".qzeros", &q->zeros)) {
        return missing(s, "scales and zero points", s->base, ".scales, .qzeros");
    }
    (void)take(s, s->base, ".g_idx", &q->order);
    bool said_awq = strcmp(s->w->quant.method, "awq") == 0;
    if (said_awq && s->w->quant.version[0] != 0 && strcmp(s->w->quant.version, "gemm") != 0 &&
        strcmp(s->w->quant.version, "GEMM") != 0) {
        return base_fail(s->w->err, LAMINA_UNSUPPORTED, "AWQ weights in the layout \"%s\" are not read; \"gemm\" is",
                         s->w->quant.version);
    }
    q->method = q->codes.lines == cols && (said_awq || q->codes.items * 8 == q->scales.items) ? QUANT_AWQ : QUANT_GPTQ;
    if (q->method == QUANT_AWQ) {
        q->bits = 4;
    } else {
        q->bits = cols != 0 ? (uint32_t)(q->codes.lines * 32 / cols) : 0;
        q->group = s->w->quant.group <= cols ? s->w->quant.group : 0;
        q->plus_one = !s->w->quant.zeros_whole;
    }
    return LAMINA_OK;
}

static lamina_status take_packed(struct search *s) {
    struct split_quant *q = s->q;
    if (!take(s, s->base, ".weight_scale", &q->scales)) {
        return missing(s, "scales", s->base, ".weight_scale");
    }
    drop(s, s->base, ".weight_shape");
    drop(s, s->base, ".input_global_scale");
    if (is(&q->codes, "U8")) {
        q->method = take(s, s->base, ".weight_global_scale", &q->global) ? QUANT_NVFP4 : QUANT_MXFP4;
        q->divide = true;
        return LAMINA_OK;
    }
    q->method = QUANT_PACKED;
    (void)take(s, s->base, ".weight_zero_point", &q->zeros);
    (void)take(s, s->base, ".weight_g_idx", &q->order);
    q->group = s->w->quant.group <= source_cols(s) ? s->w->quant.group : 0;
    q->bits = source_cols(s) != 0 ? (uint32_t)(q->codes.items * 32 / source_cols(s)) : 0;
    for (uint32_t bits = 2; bits <= 8; bits++) { /* the last word may have room for more than its columns */
        if (div_up(source_cols(s) * bits, 32) == q->codes.items && (s->w->quant.bits == 0 || s->w->quant.bits == bits)) {
            q->bits = bits;
        }
    }
    return LAMINA_OK;
}

/* ---- bitsandbytes, 4 bit ---- */

static lamina_status read_small(const struct search *s, const struct split_side *side, uint64_t most, uint8_t **bytes) {
    const struct lamina_source *src = s->w->s;
    uint64_t len = 0;
    *bytes = NULL;
    if (checked_mul(side->lines, side->line_bytes, &len) || len > most) {
        return base_fail(s->w->err, LAMINA_UNSUPPORTED, "\"%s\": a part of it of %" PRIu64 " lines is too large", s->m->source,
                         side->lines);
    }
    *bytes = malloc(len > 0 ? len : 1);
    return *bytes == NULL ? split_plan_no_memory(s->w->err)
                          : src->read(src->user, side->tensor, 0, *bytes, (size_t)len, s->w->err);
}

static struct quant_tensor shape_of(const struct split_side *side) {
    struct quant_tensor t = {.rank = 2, .shape = {side->lines, side->items}};
    t.dtype = side->dtype[0] != 0 ? side->dtype : NULL;
    t.bytes.len = side->lines * side->line_bytes;
    return t;
}

static lamina_status settle_bnb4(const struct search *s, const struct quant_bnb4 *b) {
    struct split_quant *q = s->q;
    if (!split_quant_bnb4_groups(b, &q->groups)) {
        return base_fail(s->w->err, LAMINA_UNSUPPORTED,
                         "tensor \"%s\": blocks of %" PRIu64 " weights over rows of %" PRIu64 " columns are not split",
                         s->m->source, b->block, b->cols);
    }
    q->rows = b->rows;
    q->cols = b->cols;
    q->nested_offset = b->nested_offset;
    return LAMINA_OK;
}

static lamina_status take_bnb4(struct search *s, const struct split_side *state) {
    struct split_quant *q = s->q;
    uint8_t *text = NULL;
    struct quant_bnb4 b = {0};
    q->bnb4 = true;
    (void)take(s, s->m->source, ".absmax", &q->scales);
    (void)take(s, s->m->source, ".quant_map", &q->table);
    (void)take(s, s->m->source, ".nested_absmax", &q->nested_scales);
    (void)take(s, s->m->source, ".nested_quant_map", &q->nested_table);
    lamina_status status = read_small(s, state, STATE_MAX, &text);
    if (status == LAMINA_OK) {
        struct quant_bnb4_source src = {.name = s->m->source,
                                        .state = span_of(text, (size_t)(state->lines * state->line_bytes)),
                                        .codes = shape_of(&q->codes),
                                        .scales = shape_of(&q->scales),
                                        .table = shape_of(&q->table),
                                        .nested_scales = shape_of(&q->nested_scales),
                                        .nested_table = shape_of(&q->nested_table)};
        status = quant_bnb4_open(&src, &b, s->w->err);
    }
    free(text);
    return status < 0 ? status : settle_bnb4(s, &b);
}

/* ---- all methods but that ---- */

struct quant_source split_quant_source(const struct split_quant *q, const char *name) {
    return (struct quant_source){.name = name,
                                 .method = (enum quant_method)q->method,
                                 .bits = q->bits,
                                 .group = q->method == QUANT_FP8 ? 0 : q->group,
                                 .block_rows = q->block,
                                 .block_cols = q->method == QUANT_FP8 ? q->group : 0,
                                 .plus_one = q->plus_one,
                                 .divide = q->divide,
                                 .cols = q->method == QUANT_PACKED ? q->cols : 0,
                                 .codes = shape_of(&q->codes),
                                 .scales = shape_of(&q->scales),
                                 .zeros = shape_of(&q->zeros),
                                 .order = shape_of(&q->order),
                                 .global = shape_of(&q->global)};
}

void split_quant_turn(const struct split_quant *q, uint64_t rows, struct quant_source *src) {
    const bool grid = q->block != 0;
    const bool single = q->by_plane || q->scales.lines * q->scales.items == 1;
    src->codes.shape[0] = rows;
    src->codes.shape[1] = q->cols;
    src->codes.bytes.len = (size_t)(rows * q->cols);
    src->scales.shape[0] = grid ? div_up(rows, q->block) : single ? 1 : rows;
    src->scales.shape[1] = grid ? div_up(q->cols, q->block) : 1;
    src->scales.bytes.len = (size_t)(src->scales.shape[0] * src->scales.shape[1] * (q->scales.line_bytes / q->scales.items));
}

bool split_quant_transposed(const struct split_quant *q) {
    return !q->bnb4 && (q->method == QUANT_GPTQ || q->method == QUANT_AWQ);
}

/* Zero points that are all in the middle of the range need not be kept. */
static bool all_middle(const struct quant_matrix *m) {
    for (uint64_t g = 0; g < m->groups; g++) {
        for (uint64_t r = 0; r < m->rows; r++) {
            if (quant_matrix_zero(m, r, g) != 1u << (m->bits - 1)) {
                return false;
            }
        }
    }
    return true;
}

static lamina_status open_all(const struct search *s, struct quant_source *src, struct quant_matrix *m) {
    struct split_quant *q = s->q;
    uint8_t *small[3] = {NULL, NULL, NULL};
    const struct split_side *sides[3] = {&q->zeros, &q->order, &q->global};
    struct quant_tensor *tensors[3] = {&src->zeros, &src->order, &src->global};
    lamina_status status = LAMINA_OK;
    for (int i = 0; status == LAMINA_OK && i < 3; i++) {
        bool needed = sides[i]->dtype[0] != 0 && (i != 0 || q->method != QUANT_MLX); /* minima are not looked at */
        status = needed ? read_small(s, sides[i], LOOK_MAX, &small[i]) : LAMINA_OK;
        tensors[i]->bytes.ptr = small[i];
    }
    if (src->order.dtype != NULL) {
        src->order.rank = 1;
    }
    if (status == LAMINA_OK) {
        status = quant_matrix_open(src, m, s->w->err);
    }
    if (status == LAMINA_OK) {
        bool middle = m->zeros != NULL && q->method != QUANT_MLX && all_middle(m);
        q->plus_one = m->zero_plus != 0;
        if (!split_quant_groups(m, middle, &q->groups)) {
            status = base_fail(s->w->err, LAMINA_UNSUPPORTED, "tensor \"%s\": groups of %" PRIu64 " columns are not split",
                               s->m->source, m->group);
        }
    }
    for (int i = 0; i < 3; i++) {
        free(small[i]);
    }
    return status;
}

static lamina_status settle(const struct search *s) {
    struct split_quant *q = s->q;
    struct quant_source src = split_quant_source(q, s->m->source);
    struct quant_matrix m = {0};
    uint64_t planes = 1;
    if (q->method == QUANT_PACKED) {
        q->cols = src.cols = source_cols(s);
    }
    if (q->turned != 0) { /* one of them, as it will be read */
        planes = s->m->from.planes;
        q->cols = q->codes.lines / planes;
        split_quant_turn(q, q->turned, &src);
    }
    LAMINA_TRY(open_all(s, &src, &m));
    q->rows = m.rows * planes;
    q->cols = m.cols;
    if (m.order == NULL) {
        q->order.dtype[0] = 0;
    }
    return LAMINA_OK;
}

/* Exporters of some methods write a bias beside every matrix, all zeros where the model has none. */
static lamina_status drop_empty_bias(const struct search *s) {
    struct lamina_source_tensor t = {0};
    struct split_side side;
    uint32_t index = 0;
    uint8_t *bytes = NULL;
    bool zero = true;
    if (!named(s, s->base, ".bias", &index, &t) || s->w->used[index] || t.rank != 1) {
        return LAMINA_OK;
    }
    side = (struct split_side){.tensor = index, .lines = t.shape[0],
                               .line_bytes = safetensors_dtype_bits(span_of_text(t.dtype)) / 8};
    LAMINA_TRY(read_small(s, &side, LOOK_MAX, &bytes));
    for (uint64_t i = 0; i < side.lines * side.line_bytes; i++) {
        zero = zero && bytes[i] == 0;
    }
    free(bytes);
    if (zero) {
        s->w->empty[index] = true;
    }
    return LAMINA_OK;
}

/* Blocks [.., rows, groups, 16] with scales [.., rows, groups]: a line is a row. */
static lamina_status settle_blocks(const struct search *s) {
    enum { BLOCK_BYTES = 16 };
    struct split_quant *q = s->q;
    q->method = QUANT_MXFP4;
    if (q->codes.items != BLOCK_BYTES || q->scales.items == 0 || q->codes.lines / q->scales.items != q->scales.lines ||
        q->codes.lines % q->scales.items != 0) {
        return base_fail(s->w->err, LAMINA_DAMAGED, "tensor \"%s_blocks\" and its scales do not belong together", s->m->source);
    }
    q->codes.lines = q->scales.lines;
    q->codes.items = q->scales.items * BLOCK_BYTES;
    q->codes.line_bytes = q->codes.items;
    return LAMINA_OK;
}

/* ---- the search ---- */

/* The codes, and the method that their name and type stand for; *found false: no codes. */
static lamina_status recognise(struct search *s, bool *found) {
    static const char *const states[] = {".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"};
    struct split_quant *q = s->q;
    struct split_side state;
    struct lamina_source_tensor t = {0};
    uint32_t index = 0;
    *found = true;
    if (named(s, s->m->source, "", &index, &t)) {
        bool plain = strcmp(t.dtype, "BF16") == 0 || strcmp(t.dtype, "F16") == 0 || strcmp(t.dtype, "F32") == 0;
        bool fp8 = strncmp(t.dtype, "F8_E", 4) == 0;
        bool words = strcmp(t.dtype, "U32") == 0 || strcmp(t.dtype, "I32") == 0;
        bool known = fp8 || words || strcmp(t.dtype, "I8") == 0 || strcmp(t.dtype, "U8") == 0;
        if (plain || !known || !take(s, s->m->source, "", &q->codes)) {
            *found = false;
            return LAMINA_OK;
        }
        if (fp8) {
            return take_fp8(s);
        }
        if (words) {
            return take_words(s);
        }
        if (is(&q->codes, "I8")) {
            return take_int8(s);
        }
        if (take(s, s->m->source, states[0], &state) || take(s, s->m->source, states[1], &state)) {
            return take_bnb4(s, &state);
        }
        q->method = QUANT_NVFP4;
        if (take(s, s->m->source, "_scale_2", &q->global) && take(s, s->m->source, "_scale", &q->scales)) {
            return LAMINA_OK;
        }
        return missing(s, "scales", s->m->source, "_scale");
    }
    if (take(s, s->base, ".qweight", &q->codes)) {
        return take_gptq_or_awq(s);
    }
    if (take(s, s->base, ".weight_packed", &q->codes)) {
        return take_packed(s);
    }
    if (take(s, s->m->source, "_blocks", &q->codes)) {
        return take(s, s->m->source, "_scales", &q->scales) ? settle_blocks(s) : missing(s, "scales", s->m->source, "_scales");
    }
    *found = false;
    return LAMINA_OK;
}

/* "X.weight" is "X". */
static void base_of(const struct model_tensor *m, char *out, size_t len) {
    struct span name = span_of_text(m->source);
    size_t stem = span_ends_with(name, ".weight") ? name.len - strlen(".weight") : name.len;
    (void)snprintf(out, len, "%.*s", (int)stem, m->source);
}

bool split_quant_there(const struct split_planner *w, const struct model_tensor *m) {
    char base[160];
    char name[192];
    uint32_t index = 0;
    bool there = false;
    base_of(m, base, sizeof(base));
    (void)snprintf(name, sizeof(name), "%s.qweight", base);
    there = split_plan_find(w, name, &index);
    (void)snprintf(name, sizeof(name), "%s.weight_packed", base);
    return there || split_plan_find(w, name, &index);
}

lamina_status split_quant_find(struct split_planner *w, const struct model_tensor *m, uint32_t output, struct split_part *part,
                               bool *found) {
    struct search s = {.w = w, .m = m, .output = output};
    uint64_t wanted[2];
    *found = false;
    if (m->role >= MODEL_MATRICES) {
        return LAMINA_OK;
    }
    base_of(m, s.base, sizeof(s.base));
    s.q = arena_take(&w->p->parts, sizeof(*s.q));
    if (s.q == NULL) {
        return split_plan_no_memory(w->err);
    }
    LAMINA_TRY(recognise(&s, found));
    if (!*found) {
        return LAMINA_OK;
    }
    if (!s.q->bnb4) {
        LAMINA_TRY(settle(&s));
    }
    split_plan_wanted(m, wanted);
    if (s.q->rows != wanted[0] || s.q->cols != wanted[1]) {
        return base_fail(w->err, LAMINA_DAMAGED,
                         "tensor \"%s\": its codes are those of %" PRIu64 " x %" PRIu64
                         " weights, but config.json asks for %" PRIu64 " x %" PRIu64,
                         m->source, s.q->rows, s.q->cols, wanted[0], wanted[1]);
    }
    bool turned = m->role == MODEL_UK; /* codes lie as [out, in] whatever the form of plain checkpoints */
    *part = (struct split_part){.tensor = s.q->codes.tensor, .role = m->role, .layer = m->layer, .dtype = KERN_F32,
                                .from = m->from, .source_cols = wanted[1], .transposed = turned, .coding = PANEL_GROUPS,
                                .quant = s.q};
    return drop_empty_bias(&s);
}
