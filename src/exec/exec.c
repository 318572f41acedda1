/* SPDX-License-Identifier: Apache-2.0
 *
 * The pass program is a list of spans (matrices in reading order) made once from the model's op records; a pass walks the
 * op records layer by layer and lets the device pull tiles. The order of the spans and the order of the MATMUL ops is the
 * same by construction, which is what lets the reader run ahead without asking.
 */
#include "exec/exec.h"

#include <stdlib.h>

#include "base/checked.h"
#include "exec/program.h"
#include "kern/math.h"
#include "sys/mem.h"
#include "sys/thread.h"

struct exec {
    struct exec_options o;
    const struct model_desc *desc;
    struct program program;
    struct stream *stream;
    struct kv_cache kv;
    uint8_t *arena;
    uint64_t arena_bytes;

    /* Carved from the arena, in the plan's order. */
    uint32_t *pin_place;
    float *small;
    float *reg[KERN_REGS];
    size_t stride[KERN_REGS];
    float *logits;
    uint8_t *gather;             /* one embedding panel per worker */
    uint64_t gather_bytes;
    float *rope_cos, *rope_sin;
    struct dev_kv_row *kv_rows;
    uint8_t *ring, *pinned;

    /* Heap, small. */
    const float *vectors[MODEL_ROLES];
    float *inv_freq;
    uint32_t rope_length;        /* that inv_freq belongs to */
    float attention_factor;

    /* The pass at hand. */
    const struct exec_row *rows;
    uint32_t row_count;
    uint32_t first_span;         /* of the layer at hand */
    uint32_t span_count;
    uint32_t matrix_first;       /* position of the matrix at hand */
    _Atomic uint32_t next_row;
    struct sys_mutex gather_lock;
    struct lamina_error gather_error;

    uint64_t passes, rows_done, pass_ns;
};

/* ---- memory ---- */

struct carver {
    uint8_t *at;
    uint8_t *end;
};

static void *carve(struct carver *c, uint64_t bytes) {
    uint64_t rounded = round_up(bytes, 4096);
    if (rounded > (uint64_t)(c->end - c->at)) {
        return NULL;
    }
    void *p = c->at;
    c->at += rounded;
    return p;
}

/* Touching costs more than computing on fresh memory, so all workers do it, each its own stretch of huge pages. */
struct touch_job {
    uint8_t *base;
    uint64_t bytes;
    _Atomic uint64_t next;
};

static void touch_worker(void *arg, uint32_t worker) {
    struct touch_job *j = (struct touch_job *)arg;
    enum { STRETCH = 4 * SYS_HUGE_PAGE };
    (void)worker;
    for (;;) {
        uint64_t at = atomic_fetch_add(&j->next, STRETCH);
        if (at >= j->bytes) {
            return;
        }
        sys_mem_touch(j->base + at, (size_t)min_u64(STRETCH, j->bytes - at));
    }
}

static lamina_status take_arena(struct exec *e, struct lamina_error *err) {
    const struct plan *p = e->o.plan;
    void *base = NULL;
    LAMINA_TRY(sys_mem_map(&base, (size_t)p->arena_bytes, err));
    e->arena = (uint8_t *)base;
    e->arena_bytes = p->arena_bytes;
    struct touch_job j = {.base = e->arena, .bytes = p->arena_bytes};
    e->o.dev->table->on_workers(e->o.dev, touch_worker, &j);
    return LAMINA_OK;
}

static lamina_status carve_all(struct exec *e, struct lamina_error *err) {
    const struct plan *p = e->o.plan;
    const struct model_desc *d = e->desc;
    struct carver c = {e->arena, e->arena + e->arena_bytes};
    struct dev_caps caps;
    e->o.dev->table->caps(e->o.dev, &caps);
    /* The ring first: it is registered with the kernel and wants whole huge pages. */
    e->ring = (uint8_t *)carve(&c, p->ring_bytes);
    e->pinned = (uint8_t *)carve(&c, p->pinned_limit);
    e->pin_place = (uint32_t *)carve(&c, (uint64_t)e->program.positions * sizeof(uint32_t));
    e->small = (float *)carve(&c, e->o.store->small_floats * sizeof(float));
    uint64_t kv_bytes =
        plan_kv_bytes(d, (uint32_t)kern_dtype_bytes(e->o.kv_dtype), e->o.context_tokens, e->o.sequences);
    void *kv = carve(&c, kv_bytes);
    for (unsigned r = 0; r < KERN_REGS; r++) {
        uint32_t width = model_reg_width(d, (enum kern_reg)r);
        e->stride[r] = kern_row_stride(width);
        if (r != KERN_L && width != 0) {
            e->reg[r] = (float *)carve(&c, (uint64_t)p->prompt_rows * e->stride[r] * sizeof(float));
        }
    }
    uint32_t logit_rows = e->o.logit_rows < p->prompt_rows ? e->o.logit_rows : p->prompt_rows;
    e->logits = (float *)carve(&c, (uint64_t)logit_rows * e->stride[KERN_L] * sizeof(float));
    e->reg[KERN_L] = e->logits;
    e->gather_bytes = round_up(program_embed_panel_bytes(e->o.store), 4096);
    e->gather = (uint8_t *)carve(&c, e->gather_bytes * caps.workers);
    uint64_t rope = (uint64_t)p->prompt_rows * (d->rope.dim / 2) * sizeof(float);
    e->rope_cos = (float *)carve(&c, 2 * rope);
    e->rope_sin = e->rope_cos + (uint64_t)p->prompt_rows * (d->rope.dim / 2);
    e->kv_rows = (struct dev_kv_row *)carve(&c, (uint64_t)p->prompt_rows * sizeof(struct dev_kv_row));
    if (e->kv_rows == NULL) {
        return base_fail(err, LAMINA_UNEXPECTED, "the plan's arena of %llu bytes is too small for its own parts",
                         (unsigned long long)e->arena_bytes);
    }
    struct kv_shape shape = {d->layers, d->kv_heads, d->head_dim, e->o.kv_dtype};
    return kv_cache_init(&e->kv, &shape, kv, kv_bytes, err);
}

/* ---- embedding rows ---- */

static lamina_status gather_row(struct exec *e, uint32_t worker, uint32_t t, struct lamina_error *err) {
    struct store_file *f = e->o.store->embed;
    const struct store_matrix *m = store_matrix_find(f, MODEL_EMBED);
    uint32_t token = e->rows[t].token;
    uint32_t panel = token / KERN_PANEL_ROWS;
    uint32_t tile = m->first_tile + panel;
    const struct store_tile *st = &f->tiles[tile];
    /* A tied head streams the same panels; one that is pinned need not be read again. */
    const void *bytes = NULL;
    if (e->program.tied_head_first != PROGRAM_NONE) {
        bytes = stream_resident(e->stream, e->program.tied_head_first + panel);
    }
    if (bytes == NULL) {
        uint8_t *own = e->gather + worker * e->gather_bytes;
        LAMINA_TRY(sys_file_read_at(&f->file, f->path, (uint64_t)st->offset_pages * 4096, own, (size_t)st->pages * 4096, err));
        LAMINA_TRY(store_tile_check(f, tile, own, err));
        bytes = own;
    }
    float *x = e->reg[KERN_X] + t * e->stride[KERN_X];
    /* An odd width brings one padding column, a zero, into the row's own padding. */
    e->o.dev->kern.unpack_row[m->shape.dtype](x, bytes, token % KERN_PANEL_ROWS, (uint32_t)m->shape.cols2);
    return LAMINA_OK;
}

static void gather_worker(void *arg, uint32_t worker) {
    struct exec *e = (struct exec *)arg;
    for (;;) {
        uint32_t t = atomic_fetch_add(&e->next_row, 1);
        if (t >= e->row_count) {
            return;
        }
        struct lamina_error err = {0};
        if (gather_row(e, worker, t, &err) != LAMINA_OK) {
            sys_mutex_lock(&e->gather_lock);
            if (e->gather_error.code == LAMINA_OK) {
                e->gather_error = err;
            }
            sys_mutex_unlock(&e->gather_lock);
            return;
        }
    }
}

static lamina_status gather(struct exec *e, struct lamina_error *err) {
    atomic_store(&e->next_row, 0);
    e->gather_error = (struct lamina_error){0};
    if (e->row_count == 1) {
        gather_worker(e, 0);
    } else {
        e->o.dev->table->on_workers(e->o.dev, gather_worker, e);
    }
    if (e->gather_error.code != LAMINA_OK && err != NULL) {
        *err = e->gather_error;
    }
    return e->gather_error.code;
}

/* ---- positions ---- */

static void prepare_row(struct exec *e, uint32_t t) {
    const struct exec_row *row = &e->rows[t];
    uint32_t half = e->desc->rope.dim / 2;
    if (row->rope_length != e->rope_length) {
        model_rope_frequencies(e->desc, row->rope_length, e->inv_freq, &e->attention_factor);
        e->rope_length = row->rope_length;
    }
    for (uint32_t i = 0; i < half; i++) {
        double sin_x = 0;
        double cos_x = 0;
        /* The angle is rounded to fp32 first, as the reference framework computes it. */
        kern_sincos((double)((float)row->position * e->inv_freq[i]), &sin_x, &cos_x);
        e->rope_cos[(size_t)t * half + i] = (float)cos_x * e->attention_factor;
        e->rope_sin[(size_t)t * half + i] = (float)sin_x * e->attention_factor;
    }
    e->kv_rows[t] = (struct dev_kv_row){
        .pages = row->sequence->pages, .allow = row->allow, .position = row->position, .first = 0};
}

/* ---- layers ---- */

static const void *tile_acquire(void *user, uint32_t index) {
    struct exec *e = (struct exec *)user;
    return stream_acquire(e->stream, e->matrix_first + index);
}

static void tile_release(void *user, uint32_t index) {
    struct exec *e = (struct exec *)user;
    stream_release(e->stream, e->matrix_first + index);
}

static bool find_matrix(void *user, int role, struct dev_matrix *out) {
    struct exec *e = (struct exec *)user;
    for (uint32_t i = e->first_span; i < e->first_span + e->span_count; i++) {
        const struct stream_span *span = &e->program.spans[i];
        if ((int)span->matrix->role == role) {
            e->matrix_first = span->first;
            *out = (struct dev_matrix){
                .shape = &span->matrix->shape,
                .tiles = {.user = e, .count = span->matrix->shape.tiles, .acquire = tile_acquire, .release = tile_release},
            };
            return true;
        }
    }
    return false;
}

static void fill_pass(const struct exec *e, struct dev_pass *p, uint32_t layer) {
    *p = (struct dev_pass){
        .rows = e->row_count,
        .vectors = e->vectors,
        .matrix = find_matrix,
        .user = (void *)(uintptr_t)e,
        .rope_cos = e->rope_cos,
        .rope_sin = e->rope_sin,
        .rope_dim = e->desc->rope.dim,
        .head_dim = e->desc->head_dim,
        .kv = {.base = e->kv.base,
               .page_bytes = e->kv.page_bytes,
               .layer_bytes = e->kv.layer_bytes,
               .k_bytes = e->kv.k_bytes,
               .v_bytes = e->kv.v_bytes,
               .dtype = e->kv.shape.dtype,
               .layer = layer,
               .kv_heads = e->kv.shape.kv_heads,
               .head_dim = e->kv.shape.head_dim,
               .rows = e->kv_rows},
    };
    memcpy(p->reg, e->reg, sizeof(p->reg));
    memcpy(p->stride, e->stride, sizeof(p->stride));
}

/* The resident vectors of a layer, or of the model for layer -1, by role. */
static void set_vectors(struct exec *e, int32_t layer) {
    for (unsigned r = MODEL_MATRICES; r < MODEL_ROLES; r++) {
        const struct store_vector *v = program_vector(&e->program, layer, (enum model_role)r);
        e->vectors[r] = v != NULL ? e->small + v->offset : NULL;
    }
}

static lamina_status run_ops(struct exec *e, const struct kern_op *ops, uint32_t count, uint32_t layer,
                             struct lamina_error *err) {
    struct dev_pass pass;
    struct lamina_error first = {0};
    fill_pass(e, &pass, layer);
    lamina_status status = e->o.dev->table->run(e->o.dev, ops, count, &pass, &first);
    if (status != LAMINA_OK) {
        lamina_status cause = stream_status(e->stream, err);
        if (cause == LAMINA_OK && err != NULL) {
            *err = first;
        }
        status = cause != LAMINA_OK ? cause : status;
    }
    return status;
}

static lamina_status run_layers(struct exec *e, struct lamina_error *err) {
    for (uint32_t layer = 0; layer < e->desc->layers; layer++) {
        e->first_span = layer * e->program.spans_per_layer;
        e->span_count = e->program.spans_per_layer;
        if (!e->o.read_ahead) {
            stream_allow(e->stream, program_span_end(&e->program, e->first_span + e->span_count - 1));
        }
        set_vectors(e, (int32_t)layer);
        LAMINA_TRY(run_ops(e, e->program.layer_ops, e->program.layer_op_count, layer, err));
    }
    return LAMINA_OK;
}

/* Moves the rows that want logits to the front of X, then runs norm and head on them alone. */
static lamina_status run_head(struct exec *e, uint32_t wanting, struct lamina_error *err) {
    uint32_t kept = 0;
    for (uint32_t t = 0; t < e->row_count; t++) {
        if (e->rows[t].wants_logits) {
            memmove(e->reg[KERN_X] + kept * e->stride[KERN_X], e->reg[KERN_X] + t * e->stride[KERN_X],
                    e->stride[KERN_X] * sizeof(float));
            kept++;
        }
    }
    e->row_count = wanting;
    e->first_span = e->program.span_count - 1;
    e->span_count = 1;
    if (!e->o.read_ahead) {
        stream_allow(e->stream, e->program.positions);
    }
    set_vectors(e, -1);
    return run_ops(e, e->program.head_ops, e->program.head_op_count, 0, err);
}

lamina_status exec_pass(struct exec *e, const struct exec_row *rows, uint32_t count, bool more,
                        struct lamina_error *err) {
    uint32_t wanting = 0;
    for (uint32_t t = 0; t < count; t++) {
        wanting += rows[t].wants_logits;
    }
    if (count == 0 || count > e->o.plan->prompt_rows || wanting > e->o.logit_rows) {
        return base_fail(err, LAMINA_USAGE, "a pass of %u rows (%u with logits) does not fit the plan of %u (%u)", count,
                         wanting, e->o.plan->prompt_rows, e->o.logit_rows);
    }
    LAMINA_TRY(stream_status(e->stream, err));
    uint64_t begin = sys_now_ns();
    e->rows = rows;
    e->row_count = count;
    stream_begin_pass(e->stream, wanting > 0, !e->o.read_ahead ? STREAM_ASKED : more ? STREAM_BEYOND : STREAM_PASS);
    for (uint32_t t = 0; t < count; t++) {
        prepare_row(e, t);
    }
    lamina_status status = gather(e, err);
    if (status == LAMINA_OK) {
        status = run_layers(e, err);
    }
    if (status == LAMINA_OK && wanting > 0) {
        status = run_head(e, wanting, err);
    }
    e->passes++;
    e->rows_done += count;
    e->pass_ns += sys_now_ns() - begin;
    return status;
}

const float *exec_logits(const struct exec *e, uint32_t i) {
    return e->logits + i * e->stride[KERN_L];
}

struct kv_cache *exec_kv(struct exec *e) {
    return &e->kv;
}

const char *exec_io_engine(const struct exec *e) {
    return stream_engine(e->stream);
}

void exec_statistics(const struct exec *e, struct exec_stats *s) {
    struct dev_times times = {0};
    struct dev_caps caps;
    *s = (struct exec_stats){.passes = e->passes, .rows = e->rows_done, .pass_ns = e->pass_ns};
    stream_statistics(e->stream, &s->stream);
    e->o.dev->table->times(e->o.dev, &times);
    e->o.dev->table->caps(e->o.dev, &caps);
    s->compute_ns = times.compute_ns;
    s->read_wait_ns = s->stream.wait_ns / caps.workers;
    s->verify_ns = s->stream.verify_ns / caps.workers;
}

static lamina_status start_stream(struct exec *e, struct lamina_error *err) {
    struct plan_store ps;
    program_plan_store(&e->program, &ps);
    (void)plan_pins(&ps, e->o.plan->pinned_limit, e->o.plan->request_bytes, e->pin_place);
    struct stream_options so = {
        .spans = e->program.spans,
        .span_count = e->program.span_count,
        .positions = e->program.positions,
        .body_positions = e->program.body_positions,
        .pin_place = e->pin_place,
        .pinned = e->pinned,
        .ring = e->ring,
        .ring_bytes = e->o.plan->ring_bytes,
        .request_bytes = e->o.plan->request_bytes,
        .depth = e->o.plan->depth,
        .engine = e->o.engine,
        .sim = e->o.sim,
        .log = e->o.log,
    };
    return stream_open(&e->stream, &so, err);
}

lamina_status exec_open(struct exec **out, const struct exec_options *o, struct lamina_error *err) {
    struct exec *e = (struct exec *)calloc(1, sizeof(*e));
    if (e == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the executor");
    }
    e->o = *o;
    e->desc = &o->store->desc;
    e->inv_freq = (float *)calloc(e->desc->rope.dim / 2 + 1u, sizeof(float));
    lamina_status status =
        e->inv_freq != NULL ? program_init(&e->program, o->store, err) : base_fail(err, LAMINA_NO_FIT, "out of memory");
    if (status == LAMINA_OK) {
        status = take_arena(e, err);
    }
    if (status == LAMINA_OK) {
        status = carve_all(e, err);
    }
    if (status == LAMINA_OK) {
        status = store_read_small(o->store, e->small, err);
    }
    if (status == LAMINA_OK) {
        status = start_stream(e, err);
    }
    if (status != LAMINA_OK) {
        exec_close(&e);
        return status;
    }
    *out = e;
    return LAMINA_OK;
}

void exec_close(struct exec **exec) {
    struct exec *e = *exec;
    if (e == NULL) {
        return;
    }
    stream_close(&e->stream);
    kv_cache_drop(&e->kv);
    program_drop(&e->program);
    if (e->arena != NULL) {
        sys_mem_unmap(e->arena, (size_t)e->arena_bytes);
    }
    free(e->inv_freq);
    free(e);
    *exec = NULL;
}
