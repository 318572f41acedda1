/* SPDX-License-Identifier: Apache-2.0
 *
 * The pass program of a store: op records, and the matrices they pull in reading order. Made once per open; the planner
 * sees the same list as a plain table. Immutable after init.
 */
#ifndef EXEC_PROGRAM_H
#define EXEC_PROGRAM_H

#include "exec/stream.h"
#include "plan/plan.h"
#include "store/store.h"

#define PROGRAM_NONE UINT32_MAX

struct program {
    const struct store *store;
    struct kern_op layer_ops[MODEL_KINDS][MODEL_MAX_OPS]; /* by kind of layer */
    struct kern_op front_ops[MODEL_MAX_OPS];
    struct kern_op head_ops[MODEL_MAX_OPS];
    uint32_t layer_op_count[MODEL_KINDS], front_op_count, head_op_count;
    struct stream_span *spans;     /* heap: of the front, of layer after layer, of the head */
    uint32_t *layer_span;          /* heap: [layers + 1] the first span of a layer; the head's */
    uint32_t *expert_span;         /* heap: [layers] the first span of its experts, PROGRAM_NONE: it has none */
    uint32_t *expert_base;         /* heap: [layers + 1] experts of the layers before, numbered through the model */
    uint32_t span_count, front_spans; /* front: before the layers */
    uint32_t positions, body_positions;
    uint32_t tied_head_first;      /* position of the head's first panel when it is the embedding, else PROGRAM_NONE */
    const struct store_vector **vectors; /* heap: [(layers + 1) * roles], layer -1 last */
};

/* DAMAGED when the store lacks a matrix that the model needs. */
lamina_status program_init(struct program *p, const struct store *store, struct lamina_error *err);
void program_drop(struct program *p);

/* The layer of an expert numbered through the model. */
uint32_t program_expert_layer(const struct program *p, uint32_t expert);
/* Position after the last tile of span i. */
uint32_t program_span_end(const struct program *p, uint32_t i);
/* Position of the first expert's first tile in this layer or a later one, PROGRAM_NONE when there is none: reading may go
 * no further before the rows have chosen. */
uint32_t program_gate(const struct program *p, uint32_t layer);
/* The first span of an expert of a layer that has experts; of the number of experts: the one after the last. */
uint32_t program_expert_span(const struct program *p, uint32_t layer, uint32_t expert);
uint64_t program_expert_pages(const struct program *p, uint32_t layer, uint32_t expert);
/* The most tiles that experts of one layer have: so many may be left out in a row. */
uint32_t program_longest_gap(const struct program *p);
const struct store_vector *program_vector(const struct program *p, int32_t layer, enum model_role role);
uint64_t program_embed_panel_bytes(const struct store *store);
/* The tiles as the planner's table; borrows p. */
void program_plan_store(const struct program *p, struct plan_store *out);

#endif
