/* SPDX-License-Identifier: Apache-2.0
 *
 * Making the outputs: reading source rows into the slots of the pipe, in the order in which tiles lie in the files, and
 * recording each file in the journal once it is durable. A read is a run of tiles whose rows lie together, up to 8 MiB;
 * only a group of rows too large for that is read in column strips. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/store_priv.h"

uint64_t split_skew(const struct split_job *job, uint32_t tensor, uint64_t offset) {
    if (job->checkpoint == NULL) {
        return 0;
    }
    const struct source_tensor *t = &job->checkpoint->tensors[tensor];
    uint64_t skew = (t->offset + offset) % SPLIT_SLACK;
    return skew % sizeof(uint64_t) == 0 ? skew : 0;
}

static void tell_unusual(struct split_job *job, struct split_slot *s) {
    if (!s->unusual) {
        return;
    }
    s->unusual = false;
    struct lamina_source_tensor t = {0};
    uint32_t tensor = s->part->tensor;
    if (!job->warned[tensor] && job->source->tensor(job->source->user, tensor, &t, NULL) == LAMINA_OK) {
        job->warned[tensor] = true;
        log_say(job->o->log, LOG_WARNING, "tensor \"%s\" holds NaN or infinite values; they are kept as they are",
                t.name);
    }
}

static lamina_status take(struct split_job *job, struct split_output *o, const struct split_part *part,
                          struct split_slot **s) {
    LAMINA_TRY(split_pipe_take(&job->pipe, s, &job->err));
    tell_unusual(job, *s);
    (*s)->output = o;
    (*s)->part = part;
    (*s)->dtype = part != NULL ? part->dtype : KERN_F32;
    return LAMINA_OK;
}

static lamina_status simple(struct split_job *job, struct split_output *o, int what) {
    struct split_slot *s = NULL;
    LAMINA_TRY(take(job, o, NULL, &s));
    s->what = what == SLOT_BEGIN ? SLOT_BEGIN : SLOT_FINISH;
    split_pipe_give(&job->pipe, s);
    return LAMINA_OK;
}

static lamina_status read_into(struct split_job *job, struct split_slot *s, uint64_t offset, size_t len) {
    const struct lamina_source *src = job->source;
    s->rows = s->memory + split_skew(job, s->part->tensor, offset);
    s->rows_len = len;
    return src->read(src->user, s->part->tensor, offset, s->rows, len, &job->err);
}

static lamina_status vector(struct split_job *job, struct split_output *o, const struct split_part *part) {
    struct split_slot *s = NULL;
    LAMINA_TRY(take(job, o, part, &s));
    bool changed = part->row_norms || part->plus != 0.0f || part->exponentiated;
    if (changed || part->from.total != part->len || !split_part_is_plain(part)) {
        LAMINA_TRY(split_read_vector(job, s));
    } else {
        LAMINA_TRY(read_into(job, s, 0, (size_t)(part->len * kern_dtype_bytes((enum kern_dtype)part->dtype))));
    }
    s->what = SLOT_VECTOR;
    split_pipe_give(&job->pipe, s);
    return LAMINA_OK;
}

/* How many tiles from `first` on have their rows in one read; 0: not even one. */
static uint32_t run_length(const struct split_part *part, uint32_t first, uint64_t row_bytes, uint64_t *rows) {
    const struct panel_shape *shape = &part->shape;
    uint64_t room = SPLIT_ROWS_MAX;
    if (part->transposed || part->quant != NULL) {
        /* The other half holds pieces of the source: rows with those between them; or one column of them at a time. */
        bool column = part->quant == NULL && shape->cols >= part->from.stride;
        room = (SPLIT_ROWS / 2 - shape->lead_bytes) / (column ? 1 : part->from.stride);
    }
    struct panel_tile t;
    panel_tile_at(shape, first, &t);
    uint64_t begin = t.row;
    uint32_t n = 0;
    *rows = 0;
    while (first + n < shape->tiles) {
        panel_tile_at(shape, first + n, &t);
        uint64_t end = min_u64(t.row + t.rows, shape->rows);
        if (end - begin > room / row_bytes) {
            break;
        }
        *rows = end - begin;
        n++;
    }
    return n;
}

/* One tile that is a run of column blocks of a group too large to be read whole. */
static lamina_status read_strip(struct split_job *job, struct split_slot *s, uint32_t tile) {
    const struct panel_shape *shape = &s->part->shape;
    const struct lamina_source *src = job->source;
    uint64_t size = kern_dtype_bytes((enum kern_dtype)shape->dtype);
    struct panel_tile t;
    panel_tile_at(shape, tile, &t);
    uint64_t col = (uint64_t)t.block * KERN_BLOCK_COLS;
    uint64_t cols = min_u64(shape->cols - col, (uint64_t)t.blocks * KERN_BLOCK_COLS);
    uint64_t rows = min_u64(shape->rows - t.row, t.rows);
    s->stride = cols * size;
    if (rows * s->stride > SPLIT_ROWS_MAX || shape->packing == PANEL_STEPS || s->part->transposed || shape->coding != PANEL_PLAIN) {
        return base_fail(&job->err, LAMINA_UNSUPPORTED, "%s: a tile of %" PRIu64 " x %" PRIu64 " does not fit",
                         s->output->name, rows, cols);
    }
    s->rows = s->memory;
    s->rows_len = (size_t)(rows * s->stride);
    s->block = t.block;
    for (uint64_t r = 0; r < rows; r++) {
        if (model_source_row(&s->part->from, t.row + r) == MODEL_ZERO_ROW) {
            memset(s->rows + r * s->stride, 0, (size_t)s->stride);
            continue;
        }
        uint64_t offset = (s->part->from.plane + model_source_row(&s->part->from, t.row + r) * shape->cols + col) * size;
        LAMINA_TRY(
            src->read(src->user, s->part->tensor, offset, s->rows + r * s->stride, (size_t)s->stride, &job->err));
    }
    return LAMINA_OK;
}

static lamina_status read_group(struct split_job *job, struct split_slot *s, uint64_t row, uint64_t rows) {
    if (s->part->quant != NULL) {
        return s->part->transposed ? split_read_decoded(job, s, row, rows) : split_read_coded(job, s, row, rows);
    }
    if (!split_part_is_plain(s->part)) {
        return split_read_rows(job, s, row, rows);
    }
    uint64_t before = s->part->from.plane / s->part->source_cols + s->part->from.first;
    return read_into(job, s, (before + row) * s->stride, (size_t)(rows * s->stride));
}

static uint64_t tiles_bytes(const struct split_codec *codec, const struct panel_shape *shape, uint32_t first, uint32_t count) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct panel_tile t;
        panel_tile_at(shape, first + i, &t);
        sum += round_up(split_likely(codec, shape, t.bytes), STORE_PAGE);
    }
    return sum;
}

static lamina_status matrix(struct split_job *job, struct split_output *o, const struct split_part *part) {
    const struct panel_shape *shape = &part->shape;
    uint64_t row_bytes =
        shape->coding != PANEL_PLAIN ? shape->row_bytes : shape->cols * kern_dtype_bytes((enum kern_dtype)part->dtype);
    for (uint32_t tile = 0; tile < shape->tiles;) {
        struct split_slot *s = NULL;
        struct panel_tile t;
        uint64_t rows = 0;
        LAMINA_TRY(take(job, o, part, &s));
        panel_tile_at(shape, tile, &t);
        uint32_t count = run_length(part, tile, row_bytes, &rows);
        if (count == 0) {
            count = 1;
            LAMINA_TRY(read_strip(job, s, tile));
        } else {
            s->stride = row_bytes;
            s->block = 0;
            LAMINA_TRY(read_group(job, s, t.row, rows));
        }
        s->what = SLOT_ROWS;
        s->tile = tile;
        s->tiles = count;
        split_pipe_give(&job->pipe, s);
        LAMINA_TRY(split_stream_read(job, part, t.row + rows));
        tile += count;
        job->done_bytes += tiles_bytes(&job->plan.codec, shape, tile - count, count);
    }
    return LAMINA_OK;
}

/* Re-reads what was written, from the drive: before anything that it was made from may go. */
static lamina_status prove(struct split_job *job, const struct split_output *o) {
    char path[STORE_PATH_LEN];
    struct store_check c = {.buffer = job->pipe.memory, .buffer_len = (size_t)2 * SPLIT_ROWS};
    if (!store_join(path, sizeof(path), job->o->output, o->name)) {
        return base_fail(&job->err, LAMINA_USAGE, "the path of %s is too long", o->name);
    }
    return store_check_weights(path, o->name, o->size, o->hash, &c, &job->err);
}

static lamina_status record(struct split_job *job, const struct split_output *o) {
    struct str line = {0};
    char hex[33];
    hash128_to_hex(o->hash, hex);
    journal_line(&line, "done %" PRIu64 " %s %s", o->size, hex, o->name);
    lamina_status status = split_journal_add(job, &line, true);
    str_drop(&line);
    return status;
}

static lamina_status make(struct split_job *job, struct split_output *o) {
    uint64_t before = job->done_bytes;
    job->what = o->name;
    LAMINA_TRY(split_plan_parts(&job->plan, (uint32_t)(o - job->plan.outputs)));
    LAMINA_TRY(simple(job, o, SLOT_BEGIN));
    for (uint32_t i = 0; i < o->part_count; i++) {
        LAMINA_TRY(o->head.kind == STORE_SMALL ? vector(job, o, &o->parts[i]) : matrix(job, o, &o->parts[i]));
    }
    LAMINA_TRY(simple(job, o, SLOT_FINISH));
    LAMINA_TRY(split_pipe_drain(&job->pipe, &job->err));
    tell_unusual(job, &job->pipe.slot[0]);
    tell_unusual(job, &job->pipe.slot[1]);
    if (job->o->delete_original) {
        LAMINA_TRY(prove(job, o));
    }
    const uint32_t index = (uint32_t)(o - job->plan.outputs);
    LAMINA_TRY(split_stream_keep(job, index));
    o->done = true;
    job->done_bytes = before + o->likely;
    LAMINA_TRY(record(job, o));
    return split_stream_made(job);
}

lamina_status split_outputs(struct split_job *job) {
    for (uint32_t i = 0; i < job->plan.output_count; i++) {
        struct split_output *o = &job->plan.outputs[job->order != NULL ? job->order[i] : i];
        if (!o->done) {
            LAMINA_TRY(make(job, o));
        }
        if (split_frees_early(job)) {
            LAMINA_TRY(split_free_sources(job, i));
        }
    }
    return LAMINA_OK;
}
