/* SPDX-License-Identifier: Apache-2.0
 * The executor's own state and the parts that its files lend each other: exec_memory.c takes and carves memory, exec_rows.c makes
 * the rows of a pass ready, exec_experts.c steers reading where experts are chosen, exec_times.c keeps the time of each part,
 * exec.c runs passes. */
#ifndef EXEC_EXEC_PRIV_H
#define EXEC_EXEC_PRIV_H

#include "exec/exec.h"
#include "exec/expert_cache.h"
#include "exec/program.h"
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
    const struct program *program; /* the caller's */
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
    struct exec_part *parts;     /* [layers + 2] */

    /* The pass at hand. */
    const struct exec_row *rows;
    uint32_t row_count;
    uint32_t first_span;         /* of the layer at hand */
    uint32_t span_count;
    uint32_t layer;
    bool with_head, more;        /* as exec_pass was told */
    _Atomic uint32_t next_row;
    struct sys_mutex gather_lock;
    struct lamina_error gather_error;

    uint64_t passes, rows_done, pass_ns, idle_ns;
    struct exec_part mark;       /* totals when the part at hand began */
    uint64_t chosen_pages, cached_pages; /* of experts that rows chose; of these, what was in memory already */
};

/* exec_memory.c. Tables on the heap that depend on the model alone; then the arena, and its parts in the plan's order. */
lamina_status exec_take_tables(struct exec *e, struct lamina_error *err);
lamina_status exec_take_arena(struct exec *e, struct lamina_error *err);
lamina_status exec_carve(struct exec *e, struct lamina_error *err);
void exec_drop_memory(struct exec *e);

/* exec_rows.c. Positions, rotary factors and KV places of the rows at hand; their embeddings. */
lamina_status exec_prepare_rows(struct exec *e, struct lamina_error *err);
lamina_status exec_gather(struct exec *e, struct lamina_error *err);

/* exec_times.c. A part begins where the one before it ended: `begin` once per pass, `end` after each part. */
void exec_times_begin(struct exec *e);
void exec_times_end(struct exec *e, uint32_t part);

/* exec_experts.c. How far reading may go while the rows of `layer` and later ones have not chosen: to the next layer with
 * experts, or through the end and, where another pass follows, to the first such layer of that. */
void exec_open_gate(struct exec *e, uint32_t layer);
/* Callbacks of dev_pass (user: the executor): the rows of the layer at hand have chosen; is an expert of it in memory? */
void exec_experts_chosen(void *user, const uint8_t *used, uint32_t experts);
bool exec_expert_resident(void *user, uint32_t expert);

#endif
