/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading torch tensors whose rows do not follow each other in the file: transposed, sliced or expanded views. The
 * caller sees the tensor row by row, as it would be written contiguously. Slower than plain reading, which nearly every
 * checkpoint needs alone; a transposed matrix is read in runs along its columns, so that a request for many rows costs
 * one read a column, not one an element. */
#include <string.h>

#include "format/safetensors.h"
#include "store/store_priv.h"

enum { FAR_BYTES = 4096 }; /* elements this far apart are fetched one by one */

struct gather {
    const struct checkpoint *c;
    const struct source_tensor *t;
    uint32_t item;
    uint64_t window_at, window_len; /* what c->window holds, from the tensor's first element on */
    struct lamina_error *err;
};

static lamina_status read_file(const struct gather *g, uint64_t at, void *dst, size_t len) {
    const struct source_file *f = &g->c->files[g->t->file];
    uint64_t offset = g->t->offset + at;
    LAMINA_TRY(sys_file_read_any(&f->file, f->path, offset, dst, len, g->c->bounce, SOURCE_BOUNCE, g->err));
    if (!f->file.direct) {
        sys_file_drop_cache(&f->file, offset, len);
    }
    return LAMINA_OK;
}

/* `count` elements from element `first` on, `step` apart in the file and `dst_step` apart in memory. */
static lamina_status run(struct gather *g, uint64_t first, uint64_t step, uint64_t count, uint8_t *dst,
                         uint64_t dst_step) {
    if (step == 1 && dst_step == 1) {
        return read_file(g, first * g->item, dst, (size_t)(count * g->item));
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = (first + i * step) * g->item;
        if (at < g->window_at || at + g->item > g->window_at + g->window_len) {
            uint64_t rest = (count - 1 - i) * step * g->item + g->item;
            g->window_len = 0;
            g->window_at = at;
            uint64_t len = step * g->item >= FAR_BYTES ? g->item : min_u64(rest, SOURCE_WINDOW);
            LAMINA_TRY(read_file(g, at, g->c->window, (size_t)len));
            g->window_len = len;
        }
        memcpy(dst + i * dst_step * g->item, g->c->window + (at - g->window_at), g->item);
    }
    return LAMINA_OK;
}

/* Element number of the first element of a row, all dimensions but the last counted together. */
static uint64_t row_begin(const struct source_tensor *t, uint64_t row) {
    uint64_t at = 0;
    for (uint32_t d = t->rank - 1; d-- > 0;) {
        at += row % t->shape[d] * t->strides[d];
        row /= t->shape[d];
    }
    return at;
}

static lamina_status rows(struct gather *g, uint64_t row, uint64_t count, uint8_t *dst) {
    const struct source_tensor *t = g->t;
    uint64_t cols = t->shape[t->rank - 1];
    uint64_t step = t->strides[t->rank - 1];
    if (t->rank == 2 && t->strides[0] < step) {
        for (uint64_t c = 0; c < cols; c++) {
            LAMINA_TRY(run(g, row_begin(t, row) + c * step, t->strides[0], count, dst + c * g->item, cols));
        }
        return LAMINA_OK;
    }
    for (uint64_t r = 0; r < count; r++) {
        LAMINA_TRY(run(g, row_begin(t, row + r), step, cols, dst + r * cols * g->item, 1));
    }
    return LAMINA_OK;
}

lamina_status source_read_strided(const struct checkpoint *c, const struct source_tensor *t, uint64_t offset, void *dst,
                                  size_t len, struct lamina_error *err) {
    uint32_t item = safetensors_dtype_bits(span_of_text(t->dtype)) / 8;
    struct gather g = {.c = c, .t = t, .item = item, .err = err};
    uint64_t cols = t->shape[t->rank - 1];
    uint8_t *to = dst;
    if (item == 0 || offset % item != 0 || len % item != 0) {
        return base_fail(err, LAMINA_USAGE, "%s: a read that cuts through an element", c->dir);
    }
    for (uint64_t at = offset / item, end = at + len / item; at < end;) {
        uint64_t row = at / cols;
        uint64_t col = at % cols;
        uint64_t n = end - at;
        if (col == 0 && n >= cols) {
            n -= n % cols;
            LAMINA_TRY(rows(&g, row, n / cols, to));
        } else { /* a part of one row */
            n = min_u64(n, cols - col);
            uint64_t step = t->strides[t->rank - 1];
            LAMINA_TRY(run(&g, row_begin(t, row) + col * step, step, n, to, 1));
        }
        at += n;
        to += n * item;
    }
    return LAMINA_OK;
}
