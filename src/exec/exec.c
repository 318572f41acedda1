/* SPDX-License-Identifier: Apache-2.0
 *
 * The pass program is a list of spans (matrices in reading order) made once from the model's op records; a pass walks the
 * op records layer by layer and lets the device pull tiles. The order of the spans and the order of the MATMUL ops is the
 * same by construction, which is what lets the reader run ahead without asking.
 */
#include "exec/exec.h"

#include <stdlib.h>

#include "base/checked.h"
#include "exec/expert_cache.h"
#include "exec/program.h"
#include "kern/math.h"
#include "sys/mem.h"
#include "sys/thread.h"

/* One set of rotary factors: of the rows of a pass (from the arena), and what they were made from. */
struct rope_set {
    float *cos, *sin;            /* [rows][half] */
    uint32_t half;
    float *inv_freq;             /* heap: [half] */
    uint32_t length;             /* that inv_freq belongs to */
    float attention_factor;
};

/* Factors of all positions for keys kept unrotated, by the length that the base goes by. */
struct key_slots {
    float *cos, *sin;            /* [slots][positions][half] */
    uint32_t *length;            /* heap: [slots] that a slot was made for, 0: none */
    bool *used;                  /* heap: [slots] by the pass at hand */
    uint32_t slots, positions;
    uint8_t *scratch;
    size_t scratch_bytes;
};

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
    float *query_factor;
    struct kern_choice *choices; /* [rows], models with experts */
    struct dev_kv_row *kv_rows;
    uint8_t *ring, *pinned;      /* pinned: tiles of every pass, then the slots of the cache */
    struct expert_cache cache;

    /* Heap, small. */
    const float *vectors[MODEL_ROLES];
    float *slopes;
    struct rope_set rope[MODEL_ROPES];
    struct key_slots keys;

    /* The pass at hand. */
    const struct exec_row *rows;
    uint32_t row_count;
    uint32_t first_span;         /* of the layer at hand */
    uint32_t span_count;
    struct matrix_handle {
        struct exec *exec;
        uint32_t first;          /* position of its first tile */
    } handles[4];                /* of the matrices a device holds at once, at most two */
    uint32_t next_handle;
    uint32_t layer;
    bool with_head, more;        /* as exec_pass was told */
    _Atomic uint32_t next_row;
    struct sys_mutex gather_lock;
    struct lamina_error gather_error;

    uint64_t passes, rows_done, pass_ns;
    uint64_t chosen_pages, cached_pages; /* of experts that rows chose; of these, what was in memory already */
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

static lamina_status init_kv(struct exec *e, void *memory, uint64_t bytes, struct lamina_error *err) {
    const struct model_desc *d = e->desc;
    struct kv_layer *layers = (struct kv_layer *)calloc(d->layers, sizeof(*layers));
    if (layers == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the KV layout");
    }
    for (uint32_t i = 0; i < d->layers; i++) {
        struct model_kept k = model_kept_of(model_kind_of(d, i));
        layers[i] = (struct kv_layer){k.heads, k.k_dim, k.v_dim, k.fixed_floats};
    }
    struct kv_shape shape = {.layers = d->layers, .layer = layers, .slots = e->o.sequences, .dtype = e->o.kv_dtype};
    lamina_status status = kv_cache_init(&e->kv, &shape, memory, bytes, err);
    free(layers);
    return status;
}

static uint32_t count_gates(const struct program *p) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->store->desc.layers; i++) {
        n += p->expert_span[i] != PROGRAM_NONE;
    }
    return n;
}

static lamina_status carve_all(struct exec *e, struct lamina_error *err) {
    const struct plan *p = e->o.plan;
    const struct model_desc *d = e->desc;
    struct carver c = {e->arena, e->arena + e->arena_bytes};
    struct dev_caps caps;
    e->o.dev->table->caps(e->o.dev, &caps);
    /* The ring first: it is registered with the kernel and wants whole huge pages. */
    e->ring = (uint8_t *)carve(&c, p->ring_bytes);
    e->pinned = (uint8_t *)carve(&c, p->pinned_limit + (uint64_t)p->cache.slots * p->cache.slot_pages * 4096);
    e->cache = (struct expert_cache){.experts = e->program.expert_base[d->layers],
                                     .turns = count_gates(&e->program),
                                     .parts = p->cache.parts,
                                     .slots = p->cache.slots};
    void *tables = carve(&c, plan_cache_table_bytes(e->cache.experts, e->cache.parts, e->cache.slots));
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
    for (uint32_t i = 0; i < MODEL_ROPES; i++) {
        struct rope_set *set = &e->rope[i];
        set->half = model_rope_dim(d, i) / 2;
        uint64_t floats = (uint64_t)p->prompt_rows * set->half;
        set->cos = (float *)carve(&c, 2 * floats * sizeof(float));
        set->sin = set->cos + floats;
    }
    if (d->raw_keys) {
        struct key_slots *k = &e->keys;
        k->slots = e->o.sequences;
        k->positions = (uint32_t)round_up(e->o.context_tokens, KERN_KV_BLOCK);
        uint64_t floats = (uint64_t)k->slots * k->positions * e->rope[0].half;
        k->cos = (float *)carve(&c, 2 * floats * sizeof(float));
        k->sin = k->cos + floats;
        k->scratch_bytes = (size_t)k->positions * model_kept_of(&d->kinds[0]).k_dim * sizeof(float);
        k->scratch = (uint8_t *)carve(&c, k->scratch_bytes * caps.workers);
    }
    e->query_factor = (float *)carve(&c, (uint64_t)p->prompt_rows * sizeof(float));
    if (model_reg_width(d, KERN_R) != 0) {
        e->choices = (struct kern_choice *)carve(&c, (uint64_t)p->prompt_rows * sizeof(struct kern_choice));
    }
    e->kv_rows = (struct dev_kv_row *)carve(&c, (uint64_t)p->prompt_rows * sizeof(struct dev_kv_row));
    if (e->kv_rows == NULL) {
        return base_fail(err, LAMINA_UNEXPECTED, "the plan's arena of %llu bytes is too small for its own parts",
                         (unsigned long long)e->arena_bytes);
    }
    expert_cache_init(&e->cache, tables);
    return init_kv(e, kv, kv_bytes, err);
}

/* ---- embedding rows ---- */

/* A row of a table by token into a register. */
static lamina_status gather_from(struct exec *e, uint32_t worker, enum model_role table, uint32_t t, float *x,
                                 struct lamina_error *err) {
    struct store_file *f = e->o.store->embed;
    const struct store_matrix *m = store_matrix_find(f, table, 0);
    uint32_t token = e->rows[t].token;
    if (token >= m->shape.rows) { /* tables of inputs by layer may be shorter than the vocabulary */
        memset(x, 0, m->shape.cols2 * sizeof(float));
        return LAMINA_OK;
    }
    uint32_t panel = token / KERN_PANEL_ROWS;
    uint32_t tile = m->first_tile + panel;
    const struct store_tile *st = &f->tiles[tile];
    /* A tied head streams the same panels; one that is pinned need not be read again. */
    const void *bytes = NULL;
    if (table == MODEL_EMBED && e->program.tied_head_first != PROGRAM_NONE) {
        bytes = stream_resident(e->stream, e->program.tied_head_first + panel);
    }
    if (bytes == NULL) {
        uint8_t *own = e->gather + worker * e->gather_bytes;
        LAMINA_TRY(sys_file_read_at(&f->file, f->path, (uint64_t)st->offset_pages * 4096, own, (size_t)st->pages * 4096, err));
        LAMINA_TRY(store_tile_check(f, tile, own, err));
        bytes = own;
    }
    /* An odd width brings one padding column, a zero, into the row's own padding. */
    e->o.dev->kern.unpack_row[m->shape.dtype](x, bytes, token % KERN_PANEL_ROWS, (uint32_t)m->shape.cols2);
    return LAMINA_OK;
}

static lamina_status gather_row(struct exec *e, uint32_t worker, uint32_t t, struct lamina_error *err) {
    LAMINA_TRY(gather_from(e, worker, MODEL_EMBED, t, e->reg[KERN_X] + t * e->stride[KERN_X], err));
    if (e->desc->input_dim == 0) {
        return LAMINA_OK;
    }
    return gather_from(e, worker, MODEL_INPUT_EMBED, t, e->reg[KERN_N] + t * e->stride[KERN_N], err);
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

/* cos and sin of one row for one set. */
static void turn_row(struct rope_set *set, uint32_t t, uint32_t position) {
    for (uint32_t i = 0; i < set->half; i++) {
        double sin_x = 0;
        double cos_x = 0;
        /* The angle is rounded to fp32 first, as the reference framework computes it. */
        kern_sincos((double)((float)position * set->inv_freq[i]), &sin_x, &cos_x);
        set->cos[(size_t)t * set->half + i] = (float)cos_x * set->attention_factor;
        set->sin[(size_t)t * set->half + i] = (float)sin_x * set->attention_factor;
    }
}

/* The slot of a length; made where it is new. False: more lengths in one pass than slots. */
static bool find_key_slot(struct exec *e, uint32_t length, uint32_t *slot) {
    struct key_slots *k = &e->keys;
    struct rope_set *set = &e->rope[0];
    uint32_t most = e->desc->max_positions; /* below it the base does not depend on the length */
    uint32_t key = length > most ? length : most;
    uint32_t i = 0;
    while (i < k->slots && k->length[i] != key) {
        i++;
    }
    for (uint32_t s = 0; i == k->slots && s < k->slots; s++) {
        i = k->used[s] ? k->slots : s;
    }
    if (i == k->slots) {
        return false;
    }
    *slot = i;
    k->used[i] = true;
    if (k->length[i] != key) {
        struct rope_set all = *set;
        all.cos = k->cos + (size_t)i * k->positions * set->half;
        all.sin = k->sin + (size_t)i * k->positions * set->half;
        model_rope_frequencies(e->desc, 0, key, set->inv_freq, &set->attention_factor);
        set->length = key;
        all.attention_factor = set->attention_factor;
        for (uint32_t p = 0; p < k->positions; p++) {
            turn_row(&all, p, p);
        }
        k->length[i] = key;
    }
    return true;
}

/* Rotary coordinates of a row. */
static uint32_t coordinate(const struct exec *e, const struct exec_row *row, uint32_t set) {
    if (!e->desc->prefix || row->position < row->prefix) {
        return e->desc->prefix && set == 1 ? 0 : row->position;
    }
    return set == 0 ? row->mask_at : row->position - row->prefix + 1;
}

static lamina_status prepare_row(struct exec *e, uint32_t t, struct lamina_error *err) {
    const struct exec_row *row = &e->rows[t];
    uint32_t slot = 0;
    uint32_t length = model_rope_length(e->desc, row->prompt_length, row->position);
    for (uint32_t i = 0; i < MODEL_ROPES; i++) {
        struct rope_set *set = &e->rope[i];
        if (set->half != 0 && length != set->length) {
            model_rope_frequencies(e->desc, i, length, set->inv_freq, &set->attention_factor);
            set->length = length;
        }
        turn_row(set, t, coordinate(e, row, i));
    }
    if (e->desc->raw_keys && !find_key_slot(e, length, &slot)) {
        return base_fail(err, LAMINA_UNSUPPORTED, "rows of more than %u lengths in one pass, where keys turn with the length",
                         e->keys.slots);
    }
    e->query_factor[t] = model_query_factor(e->desc, row->position);
    e->kv_rows[t] = (struct dev_kv_row){.pages = row->sequence->pages, .allow = row->allow, .position = row->position,
                                        .visible = row->position < row->prefix ? row->prefix : row->position + 1,
                                        .key_slot = slot};
    if (e->kv.slot_bytes != 0) {
        e->kv_rows[t].fixed = kv_slot_at(&e->kv, row->sequence->slot);
    }
    return LAMINA_OK;
}

/* ---- layers ---- */

static const void *tile_acquire(void *user, uint32_t index) {
    const struct matrix_handle *h = (const struct matrix_handle *)user;
    return stream_acquire(h->exec->stream, h->first + index);
}

static void tile_release(void *user, uint32_t index) {
    const struct matrix_handle *h = (const struct matrix_handle *)user;
    stream_release(h->exec->stream, h->first + index);
}

static bool is_resident(void *user, uint32_t expert) {
    struct exec *e = (struct exec *)user;
    const struct program *p = &e->program;
    uint32_t first = p->spans[program_expert_span(p, e->layer, expert)].first;
    uint32_t end = program_span_end(p, program_expert_span(p, e->layer, expert + 1) - 1);
    for (uint32_t i = first; i < end; i++) {
        if (stream_resident(e->stream, i) == NULL) {
            return false;
        }
    }
    return true;
}

static bool find_matrix(void *user, int role, uint32_t expert, struct dev_matrix *out) {
    struct exec *e = (struct exec *)user;
    for (uint32_t i = e->first_span; i < e->first_span + e->span_count; i++) {
        const struct stream_span *span = &e->program.spans[i];
        if ((int)span->matrix->role == role && span->matrix->expert == expert) {
            struct matrix_handle *h = &e->handles[e->next_handle++ % ARRAY_LEN(e->handles)];
            *h = (struct matrix_handle){e, span->first};
            *out = (struct dev_matrix){
                .shape = &span->matrix->shape,
                .tiles = {.user = h, .count = span->matrix->shape.tiles, .acquire = tile_acquire, .release = tile_release},
                .row_scale = role == MODEL_HEAD || role == MODEL_EMBED ? e->vectors[MODEL_HEAD_SCALE] : NULL,
            };
            return true;
        }
    }
    return false;
}

/* How far reading may go while the rows of `layer` and later ones have not chosen: to the next layer with experts, or
 * through the end and, where another pass follows, to the first such layer of that. */
static void open_gate(struct exec *e, uint32_t layer) {
    uint32_t gate = program_gate(&e->program, layer);
    uint32_t end = e->with_head ? e->program.positions : e->program.body_positions;
    if (gate != PROGRAM_NONE) {
        stream_allow(e->stream, gate);
    } else if (e->o.read_ahead) {
        stream_allow(e->stream, end + (e->more ? program_gate(&e->program, 0) : 0));
    }
}

/* A walk over the tiles of an expert, with the part of it that each belongs to. */
struct expert_walk {
    const struct program *p;
    uint64_t pages, before;      /* of the whole expert, before this tile */
    uint32_t span, end_span, tile;
    uint32_t parts;
    uint32_t position, part, tile_pages; /* of the tile at hand */
};

static struct expert_walk walk_begin(const struct exec *e, uint32_t layer, uint32_t expert) {
    const struct program *p = &e->program;
    return (struct expert_walk){.p = p, .pages = program_expert_pages(p, layer, expert), .parts = e->cache.parts,
                                .span = program_expert_span(p, layer, expert),
                                .end_span = program_expert_span(p, layer, expert + 1)};
}

static bool walk_next(struct expert_walk *w) {
    while (w->span < w->end_span && w->tile == w->p->spans[w->span].matrix->shape.tiles) {
        w->span++;
        w->tile = 0;
    }
    if (w->span == w->end_span) {
        return false;
    }
    const struct stream_span *s = &w->p->spans[w->span];
    w->position = s->first + w->tile;
    w->tile_pages = s->file->tiles[s->matrix->first_tile + w->tile].pages;
    w->part = w->parts != 0 ? plan_part_of(w->pages, w->parts, w->before) : 0;
    w->before += w->tile_pages;
    w->tile++;
    return true;
}

/* A part of an expert got a slot or lost it. */
static void place_part(void *user, uint32_t expert, uint32_t part, uint32_t slot) {
    struct exec *e = (struct exec *)user;
    uint32_t layer = program_expert_layer(&e->program, expert);
    uint32_t page = (uint32_t)(e->o.plan->pinned_limit / 4096) + slot * e->o.plan->cache.slot_pages;
    struct expert_walk w = walk_begin(e, layer, expert - e->program.expert_base[layer]);
    while (walk_next(&w)) {
        if (w.part == part) {
            stream_place(e->stream, w.position, slot == EXPERT_NO_SLOT ? PLAN_STREAMED : page);
            page += w.tile_pages;
        }
    }
}

/* Before anything is placed anew: what the chosen experts have in memory. */
static void count_hits(struct exec *e, const uint8_t *used, uint32_t experts) {
    for (uint32_t i = 0; i < experts; i++) {
        struct expert_walk w = walk_begin(e, e->layer, i);
        e->chosen_pages += used[i] != 0 ? w.pages : 0;
        while (used[i] != 0 && e->cache.slots != 0 && walk_next(&w)) {
            uint32_t slot = expert_cache_slot(&e->cache, e->program.expert_base[e->layer] + i, w.part);
            e->cached_pages += slot != EXPERT_NO_SLOT ? w.tile_pages : 0;
        }
    }
}

/* The rows of the layer at hand have chosen: the experts among them are read where the cache lacks them, the others are
 * left out. */
static void experts_chosen(void *user, const uint8_t *used, uint32_t experts) {
    struct exec *e = (struct exec *)user;
    const struct program *p = &e->program;
    for (uint32_t i = 0; i < experts; i++) {
        uint32_t begin = p->spans[program_expert_span(p, e->layer, i)].first;
        uint32_t end = program_span_end(p, program_expert_span(p, e->layer, i + 1) - 1);
        stream_leave_out(e->stream, begin, end - begin, used[i] == 0);
    }
    count_hits(e, used, experts);
    expert_cache_choose(&e->cache, p->expert_base[e->layer], used, experts, place_part, e);
    if (e->o.chosen != NULL) {
        e->o.chosen(e->o.chosen_user, e->layer, used, experts);
    }
    if (e->o.read_ahead) {
        open_gate(e, e->layer + 1);
    } else {
        stream_allow(e->stream, program_span_end(p, p->layer_span[e->layer + 1] - 1));
    }
}

static void fill_pass(const struct exec *e, struct dev_pass *p, uint32_t layer) {
    const struct kv_place *kv = &e->kv.place[model_kv_layer(e->desc, layer)];
    *p = (struct dev_pass){
        .rows = e->row_count,
        .layer = layer,
        .vectors = e->vectors,
        .matrix = find_matrix,
        .chosen = experts_chosen,
        .resident = is_resident,
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

/* Embedding rows to the input of the first layer. */
static lamina_status run_front(struct exec *e, struct lamina_error *err) {
    set_vectors(e, -1);
    e->first_span = 0;
    e->span_count = e->program.front_spans;
    if (!e->o.read_ahead && e->span_count > 0) {
        stream_allow(e->stream, program_span_end(&e->program, e->span_count - 1));
    }
    return e->program.front_op_count > 0 ? run_ops(e, e->program.front_ops, e->program.front_op_count, 0, err) : LAMINA_OK;
}

static lamina_status run_layers(struct exec *e, struct lamina_error *err) {
    for (uint32_t layer = 0; layer < e->desc->layers; layer++) {
        uint32_t kind = e->desc->layer_kind[layer];
        e->first_span = e->program.layer_span[layer];
        e->span_count = e->program.layer_span[layer + 1] - e->first_span;
        e->layer = layer;
        if (!e->o.read_ahead) {
            uint32_t gate = e->program.expert_span[layer];
            stream_allow(e->stream, gate != PROGRAM_NONE ? e->program.spans[gate].first
                                                         : program_span_end(&e->program, e->first_span + e->span_count - 1));
        }
        set_vectors(e, (int32_t)layer);
        LAMINA_TRY(run_ops(e, e->program.layer_ops[kind], e->program.layer_op_count[kind], layer, err));
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
    e->with_head = wanting > 0;
    e->more = more;
    bool gated = program_gate(&e->program, 0) != PROGRAM_NONE;
    stream_begin_pass(e->stream, wanting > 0, !e->o.read_ahead || gated ? STREAM_ASKED : more ? STREAM_BEYOND : STREAM_PASS);
    if (e->o.read_ahead && gated) {
        open_gate(e, 0);
    }
    lamina_status status = LAMINA_OK;
    if (e->keys.used != NULL) {
        memset(e->keys.used, 0, e->keys.slots * sizeof(bool));
    }
    for (uint32_t t = 0; status == LAMINA_OK && t < count; t++) {
        status = prepare_row(e, t, err);
    }
    if (status == LAMINA_OK) {
        status = gather(e, err);
    }
    if (status == LAMINA_OK) {
        status = run_front(e, err);
    }
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
    *s = (struct exec_stats){.passes = e->passes, .rows = e->rows_done, .pass_ns = e->pass_ns};
    s->expert_bytes_chosen = e->chosen_pages * 4096;
    s->expert_bytes_cached = e->cached_pages * 4096;
    stream_statistics(e->stream, &s->stream);
    e->o.dev->table->times(e->o.dev, &times);
    e->o.dev->table->caps(e->o.dev, &caps);
    s->compute_ns = times.compute_ns;
    s->read_wait_ns = s->stream.wait_ns / caps.workers;
    s->verify_ns = s->stream.verify_ns / caps.workers;
}

/* The most tiles that experts of one layer have. */
static uint32_t longest_gap(const struct program *p) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < p->store->desc.layers; i++) {
        if (p->expert_span[i] != PROGRAM_NONE) {
            uint32_t tiles = program_span_end(p, p->layer_span[i + 1] - 1) - p->spans[p->expert_span[i]].first;
            most = tiles > most ? tiles : most;
        }
    }
    return most;
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
        .longest_gap = longest_gap(&e->program),
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

/* Small tables that depend on the model alone. */
static bool take_tables(struct exec *e) {
    bool fine = true;
    for (uint32_t i = 0; i < MODEL_ROPES; i++) {
        e->rope[i].inv_freq = (float *)calloc(model_rope_dim(e->desc, i) / 2 + 1u, sizeof(float));
        fine = fine && e->rope[i].inv_freq != NULL;
    }
    e->slopes = e->desc->alibi ? (float *)calloc(e->desc->kinds[0].heads, sizeof(float)) : NULL;
    if (e->slopes != NULL) {
        model_alibi_slopes(e->desc, e->slopes);
    }
    if (e->desc->raw_keys) {
        e->keys.length = (uint32_t *)calloc(e->o.sequences, sizeof(uint32_t));
        e->keys.used = (bool *)calloc(e->o.sequences, sizeof(bool));
        fine = fine && e->keys.length != NULL && e->keys.used != NULL;
    }
    return fine && (e->slopes != NULL || !e->desc->alibi);
}

lamina_status exec_open(struct exec **out, const struct exec_options *o, struct lamina_error *err) {
    struct exec *e = (struct exec *)calloc(1, sizeof(*e));
    if (e == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the executor");
    }
    e->o = *o;
    e->desc = &o->store->desc;
    lamina_status status = take_tables(e) ? program_init(&e->program, o->store, err)
                                          : base_fail(err, LAMINA_NO_FIT, "out of memory");
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
    for (uint32_t i = 0; i < MODEL_ROPES; i++) {
        free(e->rope[i].inv_freq);
    }
    free(e->slopes);
    free(e->keys.length);
    free(e->keys.used);
    free(e);
    *exec = NULL;
}
