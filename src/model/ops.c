/* SPDX-License-Identifier: Apache-2.0
 *
 * From a description to op records: what one layer does to the rows of a pass, in order. Pre-norm wiring:
 *     h = x + O(attention(rope(Q n1), rope(K n1), V n1)),  n1 = norm1 x
 *     y = h + Down(silu(Gate n2) * Up n2),                 n2 = norm2 h
 */
#include <math.h>

#include "model/model.h"

struct op_list {
    struct kern_op *ops;
    uint32_t count;
    uint32_t max;
};

static void add(struct op_list *l, struct kern_op op) {
    if (l->count < l->max) {
        l->ops[l->count] = op;
    }
    l->count++;
}

static void add_norm(struct op_list *l, const struct model_desc *d, enum model_role weight) {
    add(l, (struct kern_op){.kind = KERN_OP_RMSNORM, .dst = KERN_H, .src = KERN_X, .matrix = -1,
                            .vector = (int16_t)weight, .width = d->hidden, .eps = d->norm_eps});
}

static void add_matmul(struct op_list *l, const struct model_desc *d, enum model_role matrix, enum kern_reg dst,
                       enum kern_reg src) {
    /* Bias roles follow the order of the matrices they belong to. */
    int bias = matrix <= MODEL_DOWN ? MODEL_Q_BIAS + (int)matrix - MODEL_Q : -1;
    uint64_t rows = 0;
    uint64_t cols = 0;
    (void)model_matrix_shape(d, matrix, &rows, &cols);
    bool has_bias = bias >= 0 && model_vector_len(d, (enum model_role)bias) > 0;
    add(l, (struct kern_op){.kind = KERN_OP_MATMUL, .dst = (uint8_t)dst, .src = (uint8_t)src, .matrix = (int16_t)matrix,
                            .vector = (int16_t)(has_bias ? bias : -1), .width = (uint32_t)rows});
}

static void add_rope(struct op_list *l, const struct model_desc *d, enum kern_reg reg, uint32_t heads) {
    add(l, (struct kern_op){.kind = KERN_OP_ROPE, .dst = (uint8_t)reg, .matrix = -1, .vector = -1,
                            .width = heads * d->head_dim, .heads = heads});
}

static void add_plain(struct op_list *l, enum kern_op_kind kind, enum kern_reg dst, enum kern_reg src,
                      enum kern_reg src2, uint32_t width) {
    add(l, (struct kern_op){.kind = (uint8_t)kind, .dst = (uint8_t)dst, .src = (uint8_t)src, .src2 = (uint8_t)src2,
                            .matrix = -1, .vector = -1, .width = width});
}

uint32_t model_layer_ops(const struct model_desc *d, struct kern_op *ops, uint32_t max) {
    struct op_list l = {.ops = ops, .max = max};
    uint32_t q_width = d->heads * d->head_dim;
    add_norm(&l, d, MODEL_ATTN_NORM);
    add_matmul(&l, d, MODEL_Q, KERN_Q, KERN_H);
    add_matmul(&l, d, MODEL_K, KERN_K, KERN_H);
    add_matmul(&l, d, MODEL_V, KERN_V, KERN_H);
    add_rope(&l, d, KERN_Q, d->heads);
    add_rope(&l, d, KERN_K, d->kv_heads);
    add_plain(&l, KERN_OP_KV_STORE, KERN_K, KERN_K, KERN_V, d->kv_heads * d->head_dim);
    add(&l, (struct kern_op){.kind = KERN_OP_ATTENTION, .dst = KERN_A, .src = KERN_Q, .matrix = -1, .vector = -1,
                             .width = q_width, .heads = d->heads,
                             .scale = (float)(1.0 / sqrt((double)d->head_dim))});
    add_matmul(&l, d, MODEL_O, KERN_T, KERN_A);
    add_plain(&l, KERN_OP_ADD, KERN_X, KERN_T, KERN_T, d->hidden);
    add_norm(&l, d, MODEL_MLP_NORM);
    add_matmul(&l, d, MODEL_GATE, KERN_G, KERN_H);
    add_matmul(&l, d, MODEL_UP, KERN_U, KERN_H);
    add_plain(&l, KERN_OP_SILU_MUL, KERN_G, KERN_G, KERN_U, d->ffn);
    add_matmul(&l, d, MODEL_DOWN, KERN_T, KERN_G);
    add_plain(&l, KERN_OP_ADD, KERN_X, KERN_T, KERN_T, d->hidden);
    return l.count <= max ? l.count : 0;
}

uint32_t model_head_ops(const struct model_desc *d, struct kern_op *ops, uint32_t max) {
    struct op_list l = {.ops = ops, .max = max};
    add_norm(&l, d, MODEL_FINAL_NORM);
    add(&l, (struct kern_op){.kind = KERN_OP_MATMUL, .dst = KERN_L, .src = KERN_H,
                             .matrix = (int16_t)(d->tied ? MODEL_EMBED : MODEL_HEAD), .vector = -1, .width = d->vocab});
    return l.count <= max ? l.count : 0;
}

uint32_t model_reg_width(const struct model_desc *d, enum kern_reg reg) {
    switch (reg) {
    case KERN_X:
    case KERN_H:
    case KERN_T:
        return d->hidden;
    case KERN_Q:
    case KERN_A:
        return d->heads * d->head_dim;
    case KERN_K:
    case KERN_V:
        return d->kv_heads * d->head_dim;
    case KERN_G:
    case KERN_U:
        return d->ffn;
    case KERN_L:
        return d->vocab;
    default:
        return 0;
    }
}
