/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory of the executor: small tables on the heap, everything else from one arena whose size and parts are the plan's. Nothing is
 * taken after this. */
#include <stdlib.h>

#include "base/checked.h"
#include "exec/exec_priv.h"
#include "sys/mem.h"

/* Small tables that depend on the model alone. */
lamina_status exec_take_tables(struct exec *e, struct lamina_error *err) {
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
    e->parts = (struct exec_part *)calloc((size_t)e->desc->layers + 2, sizeof(*e->parts));
    fine = fine && e->parts != NULL && (e->slopes != NULL || !e->desc->alibi);
    return fine ? LAMINA_OK : base_fail(err, LAMINA_NO_FIT, "out of memory for the executor's tables");
}

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

lamina_status exec_take_arena(struct exec *e, struct lamina_error *err) {
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

lamina_status exec_carve(struct exec *e, struct lamina_error *err) {
    const struct plan *p = e->o.plan;
    const struct model_desc *d = e->desc;
    struct carver c = {e->arena, e->arena + e->arena_bytes};
    struct dev_caps caps;
    e->o.dev->table->caps(e->o.dev, &caps);
    /* The ring first: it is registered with the kernel and wants whole huge pages. */
    e->ring = (uint8_t *)carve(&c, p->ring_bytes);
    e->pinned = (uint8_t *)carve(&c, p->pinned_limit + (uint64_t)p->cache.slots * p->cache.slot_pages * 4096);
    e->cache = (struct expert_cache){.experts = e->program->expert_base[d->layers],
                                     .turns = count_gates(e->program),
                                     .parts = p->cache.parts,
                                     .slots = p->cache.slots};
    void *tables = carve(&c, plan_cache_table_bytes(e->cache.experts, e->cache.parts, e->cache.slots));
    e->pin_place = (uint32_t *)carve(&c, (uint64_t)e->program->positions * sizeof(uint32_t));
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

void exec_drop_memory(struct exec *e) {
    kv_cache_drop(&e->kv);
    if (e->arena != NULL) {
        sys_mem_unmap(e->arena, (size_t)e->arena_bytes);
    }
    for (uint32_t i = 0; i < MODEL_ROPES; i++) {
        free(e->rope[i].inv_freq);
    }
    free(e->slopes);
    free(e->parts);
    free(e->keys.length);
    free(e->keys.used);
}
