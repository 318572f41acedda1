/* SPDX-License-Identifier: Apache-2.0
 * bitsandbytes' 4-bit weights. The sixteen values are a table in the file (NF4 and FP4 differ in nothing else), blocks run
 * over the flattened matrix, and the scales may be coded themselves ("double quantisation": 8-bit codes of a table of 256
 * values, blocks of their own, the mean added). What ties it together is a small JSON text, kept as a tensor of bytes. */
#include <float.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/checked.h"
#include "base/json.h"
#include "format/quant_matrix_priv.h"

enum { STATE_MAX = 4096, TABLE_LEN = 16, NESTED_TABLE_LEN = 256 };

struct state {
    uint64_t block, nested_block, rows, cols;
    double nested_offset;
};

static bool read_shape(struct json_reader *r, struct state *s) {
    uint64_t dim = 0;
    unsigned rank = 0;
    s->rows = s->cols = 1;
    if (!json_enter_array(r)) {
        return false;
    }
    for (; json_next_item(r) && json_u64(r, &dim); rank++) {
        if (dim == 0 || checked_mul(s->rows, s->cols, &s->rows)) {
            return json_refuse(r, LAMINA_DAMAGED, "a dimension is 0, or they multiply beyond 64 bits");
        }
        s->cols = dim;
    }
    return r->failed == LAMINA_OK && (rank > 0 || json_refuse(r, LAMINA_DAMAGED, "a shape without dimensions"));
}

static bool read_fields(struct json_reader *r, struct state *s) {
    struct span key;
    if (!json_enter_object(r)) {
        return false;
    }
    while (json_next_key(r, &key)) {
        bool ok = span_is(key, "blocksize")          ? json_u64(r, &s->block)
                  : span_is(key, "nested_blocksize") ? json_u64(r, &s->nested_block)
                  : span_is(key, "nested_offset")    ? json_double(r, &s->nested_offset)
                  : span_is(key, "shape")            ? read_shape(r, s)
                                                     : json_skip(r);
        if (!ok) {
            return false;
        }
    }
    return r->failed == LAMINA_OK;
}

static lamina_status read_state(const struct quant_bnb4_source *src, struct state *s, struct lamina_error *err) {
    struct json_reader r;
    struct str key = {0};
    if (src->state.len > STATE_MAX) {
        return base_fail(err, LAMINA_DAMAGED, "%s: its quant_state has %zu bytes, at most %d are possible", src->name,
                         src->state.len, (int)STATE_MAX);
    }
    json_init(&r, src->state, src->name, &key, err);
    (void)read_fields(&r, s);
    lamina_status status = json_finish(&r);
    str_drop(&key);
    if (status == LAMINA_OK && (s->block == 0 || s->rows == 0)) {
        return base_fail(err, LAMINA_DAMAGED, "%s: its quant_state has no blocksize or no shape", src->name);
    }
    if (status == LAMINA_OK && !(s->nested_offset >= -(double)FLT_MAX && s->nested_offset <= (double)FLT_MAX)) {
        return base_fail(err, LAMINA_DAMAGED, "%s: the nested_offset of its quant_state is no float32", src->name);
    }
    return status;
}

/* A tensor of `count` items, whatever its shape. */
static lamina_status expect_count(const struct quant_bnb4_source *s, const char *what, const struct quant_tensor *t,
                                  const char *dtype, uint64_t count, struct lamina_error *err) {
    char expected[64];
    uint64_t items = 1;
    LAMINA_TRY(quant_tensor_check(s->name, what, t, dtype, err));
    for (uint32_t i = 0; i < t->rank; i++) {
        items *= t->shape[i];
    }
    if (items == count) {
        return LAMINA_OK;
    }
    (void)snprintf(expected, sizeof(expected), "%" PRIu64 " in all", count);
    return quant_unfit(s->name, what, t, expected, err);
}

lamina_status quant_bnb4_open(const struct quant_bnb4_source *s, struct quant_bnb4 *m, struct lamina_error *err) {
    struct state state = {0};
    uint64_t weights = 0;
    LAMINA_TRY(read_state(s, &state, err));
    if (checked_mul(state.rows, state.cols, &weights)) {
        return base_fail(err, LAMINA_DAMAGED, "%s: its dimensions multiply beyond 64 bits", s->name);
    }
    uint64_t blocks = div_up(weights, state.block);
    bool nested = s->nested_scales.dtype != NULL;
    LAMINA_TRY(expect_count(s, "codes", &s->codes, "U8", div_up(weights, 2), err));
    LAMINA_TRY(expect_count(s, "scales", &s->scales, nested ? "U8" : "F32", blocks, err));
    LAMINA_TRY(expect_count(s, "values", &s->table, "F32", TABLE_LEN, err));
    if (nested) {
        if (state.nested_block == 0) {
            return base_fail(err, LAMINA_DAMAGED, "%s: its quant_state has no nested_blocksize", s->name);
        }
        LAMINA_TRY(expect_count(s, "nested scales", &s->nested_scales, "F32", div_up(blocks, state.nested_block), err));
        LAMINA_TRY(expect_count(s, "nested values", &s->nested_table, "F32", NESTED_TABLE_LEN, err));
    }
    *m = (struct quant_bnb4){.rows = state.rows,
                             .cols = state.cols,
                             .block = state.block,
                             .nested_block = nested ? state.nested_block : 0,
                             .nested_offset = (float)state.nested_offset};
    return LAMINA_OK;
}
