/* SPDX-License-Identifier: Apache-2.0
 *
 * The pass program is a list of spans (matrices in reading order) made once from the model's op records; a pass walks the
 * op records layer by layer and lets the device pull tiles. The order of the spans and the order of the MATMUL ops is the
 * same by construction, which is what lets the reader run ahead without asking.
 */
#include "exec/exec.h"

#include <stdlib.h>
#include <string.h>

#include "exec/exec_priv.h"

static const void *tile_acquire(void *user, uint32_t position, size_t *len) {
    return stream_acquire((struct stream *)user, position, len);
}

static void tile_release(void *user, uint32_t position) {
    stream_release((struct stream *)user, position);
}

static bool tile_ready(void *user, uint32_t position) {
    return stream_ready((const struct stream *)user, position);
}

static bool find_matrix(void *user, int role, uint32_t expert, struct dev_matrix *out) {
    struct exec *e = (struct exec *)user;
    for (uint32_t i = e->first_span; i < e->first_span + e->span_count; i++) {
        const struct stream_span *span = &e->program->spans[i];
        if ((int)span->matrix->role == role && span->matrix->expert == expert) {
            *out = (struct dev_matrix){
                .shape = &span->matrix->shape,
                .tiles = {.user = e->stream,
                          .first = span->first,
                          .count = span->matrix->shape.tiles,
                          .acquire = tile_acquire,
                          .release = tile_release,
                          .ready = tile_ready},
                .row_scale = role == MODEL_HEAD || role == MODEL_EMBED ? e->vectors[MODEL_HEAD_SCALE] : NULL,
            };
            return true;
        }
    }
    return false;
}

static void fill_pass(const struct exec *e, struct dev_pass *p, uint32_t layer) {
    const struct kv_place *kv = &e->kv.place[model_kv_layer(e->desc, layer)];
    *p = (struct dev_pass){
        .rows = e->row_count,
        .room = e->o.plan->prompt_rows,
        .layer = layer,
        .vectors = e->vectors,
        .matrix = find_matrix,
        .chosen = exec_experts_chosen,
        .resident = exec_expert_resident,
        .choices = e->choices,
        .user = (void *)(uintptr_t)e,
        .query_factor = e->query_factor,
        .slopes = e->slopes,
        .kv = {.base = e->kv.base,
               .page_bytes = e->kv.page_bytes,
               .layer_offset = kv->offset,
               .fixed_offset = kv->fixed_offset,
               .k_bytes = kv->k_bytes,
               .v_bytes = kv->v_bytes,
               .dtype = e->kv.dtype,
               .kv_heads = kv->shape.kv_heads,
               .k_dim = kv->shape.k_dim,
               .v_dim = kv->shape.v_dim,
               .rows = e->kv_rows},
    };
    for (uint32_t i = 0; i < MODEL_ROPES; i++) {
        p->rope[i] = (struct dev_rope){e->rope[i].cos, e->rope[i].sin, 2 * e->rope[i].half};
    }
    if (e->desc->raw_keys) {
        p->key_rope = (struct dev_key_rope){.cos = e->keys.cos, .sin = e->keys.sin, .dim = 2 * e->rope[0].half,
                                            .slot_floats = (size_t)e->keys.positions * e->rope[0].half,
                                            .scratch = e->keys.scratch, .scratch_bytes = e->keys.scratch_bytes};
    }
    memcpy(p->reg, e->reg, sizeof(p->reg));
    memcpy(p->stride, e->stride, sizeof(p->stride));
}

/* The resident vectors of a layer, or of the model for layer -1, by role. */
static void set_vectors(struct exec *e, int32_t layer) {
    for (unsigned r = MODEL_MATRICES; r < MODEL_ROLES; r++) {
        const struct store_vector *v = program_vector(e->program, layer, (enum model_role)r);
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

/* Embedding rows to the input of the first layer. */
static lamina_status run_front(struct exec *e, struct lamina_error *err) {
    set_vectors(e, -1);
    e->first_span = 0;
    e->span_count = e->program->front_spans;
    if (!e->o.read_ahead && e->span_count > 0) {
        stream_allow(e->stream, program_span_end(e->program, e->span_count - 1));
    }
    return e->program->front_op_count > 0 ? run_ops(e, e->program->front_ops, e->program->front_op_count, 0, err) : LAMINA_OK;
}

static lamina_status run_layers(struct exec *e, struct lamina_error *err) {
    for (uint32_t layer = 0; layer < e->desc->layers; layer++) {
        uint32_t kind = e->desc->layer_kind[layer];
        e->first_span = e->program->layer_span[layer];
        e->span_count = e->program->layer_span[layer + 1] - e->first_span;
        e->layer = layer;
        if (e->o.layer_begins != NULL) {
            e->o.layer_begins(e->o.user, layer);
        }
        if (!e->o.read_ahead) {
            uint32_t gate = e->program->expert_span[layer];
            stream_allow(e->stream, gate != PROGRAM_NONE ? e->program->spans[gate].first
                                                         : program_span_end(e->program, e->first_span + e->span_count - 1));
        }
        set_vectors(e, (int32_t)layer);
        LAMINA_TRY(run_ops(e, e->program->layer_ops[kind], e->program->layer_op_count[kind], layer, err));
        exec_times_end(e, 1 + layer);
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
    e->first_span = e->program->span_count - 1;
    e->span_count = 1;
    if (!e->o.read_ahead) {
        stream_allow(e->stream, e->program->positions);
    }
    set_vectors(e, -1);
    return run_ops(e, e->program->head_ops, e->program->head_op_count, 0, err);
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
    lamina_status status = stream_status(e->stream, err); /* of what was read ahead */
    if (status != LAMINA_OK) {
        stream_drop_pass(e->stream);
        return status;
    }
    uint64_t begin = sys_now_ns();
    uint64_t idle = stream_idle_ns(e->stream);
    e->rows = rows;
    e->row_count = count;
    e->with_head = wanting > 0;
    e->more = more;
    bool gated = program_gate(e->program, 0) != PROGRAM_NONE;
    stream_begin_pass(e->stream, wanting > 0, !e->o.read_ahead || gated ? STREAM_ASKED : more ? STREAM_BEYOND : STREAM_PASS);
    if (e->o.read_ahead && gated) {
        exec_open_gate(e, 0);
    }
    exec_times_begin(e);
    status = exec_prepare_rows(e, err);
    if (status == LAMINA_OK) {
        status = exec_gather(e, err);
    }
    if (status == LAMINA_OK) {
        status = run_front(e, err);
    }
    exec_times_end(e, 0);
    if (status == LAMINA_OK) {
        status = run_layers(e, err);
    }
    if (status == LAMINA_OK && wanting > 0) {
        status = run_head(e, wanting, err);
        exec_times_end(e, 1 + e->desc->layers);
    }
    if (status != LAMINA_OK) {
        stream_drop_pass(e->stream);
    }
    e->passes++;
    e->rows_done += count;
    e->idle_ns += stream_idle_ns(e->stream) - idle;
    e->pass_ns += sys_now_ns() - begin;
    return status;
}

const float *exec_logits(const struct exec *e, uint32_t i) {
    return e->logits + i * e->stride[KERN_L];
}

const float *exec_hidden(const struct exec *e, uint32_t i) {
    return e->reg[KERN_H] + i * e->stride[KERN_H];
}

uint64_t exec_passes(const struct exec *e) {
    return e->passes;
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
    *s = (struct exec_stats){.passes = e->passes, .rows = e->rows_done, .pass_ns = e->pass_ns, .idle_ns = e->idle_ns};
    s->expert_bytes_chosen = e->chosen_pages * 4096;
    s->expert_bytes_cached = e->cached_pages * 4096;
    stream_statistics(e->stream, &s->stream);
    e->o.dev->table->times(e->o.dev, &times);
    e->o.dev->table->caps(e->o.dev, &caps);
    s->compute_ns = times.compute_ns;
    s->read_wait_ns = s->stream.wait_ns / caps.workers;
    s->verify_ns = s->stream.verify_ns / caps.workers;
}

static lamina_status start_stream(struct exec *e, struct lamina_error *err) {
    struct plan_store ps;
    program_plan_store(e->program, &ps);
    (void)plan_pins(&ps, e->o.plan->pinned_limit, e->o.plan->request_bytes, e->pin_place);
    struct stream_options so = {
        .spans = e->program->spans,
        .span_count = e->program->span_count,
        .positions = e->program->positions,
        .body_positions = e->program->body_positions,
        .longest_gap = program_longest_gap(e->program),
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
    e->program = o->program;
    lamina_status status = exec_take_tables(e, err);
    if (status == LAMINA_OK) {
        status = exec_take_arena(e, err);
    }
    if (status == LAMINA_OK) {
        status = exec_carve(e, err);
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
    exec_drop_memory(e);
    free(e);
    *exec = NULL;
}
