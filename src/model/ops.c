/* SPDX-License-Identifier: Apache-2.0
 *
 * From a description to op records: what one layer does to the rows of a pass, in order. The wirings are drawn in
 * model/model.h; everything that a family does differently is a field of the description, asked here once.
 */
#include <math.h>

#include "model/model.h"

struct op_list {
    const struct model_desc *d;
    const struct model_kind *k;
    struct kern_op *ops;
    uint32_t count;
    uint32_t max;
};

static struct kern_op blank(enum kern_op_kind kind, enum kern_reg dst, enum kern_reg src, uint32_t width) {
    return (struct kern_op){.kind = (uint8_t)kind, .dst = (uint8_t)dst, .src = (uint8_t)src, .matrix = -1, .vector = -1,
                            .vector2 = -1, .width = width};
}

static void add(struct op_list *l, struct kern_op op) {
    if (l->count < l->max) {
        l->ops[l->count] = op;
    }
    l->count++;
}

static void add_plain(struct op_list *l, enum kern_op_kind kind, enum kern_reg dst, enum kern_reg src, uint32_t width) {
    add(l, blank(kind, dst, src, width));
}

static void add_scaled(struct op_list *l, enum kern_op_kind kind, enum kern_reg dst, enum kern_reg src, float scale) {
    struct kern_op op = blank(kind, dst, src, l->d->hidden);
    op.scale = scale;
    add(l, op);
}

static enum kern_op_kind norm_kind(const struct model_desc *d) {
    return d->norm == MODEL_NORM_RMS ? KERN_OP_RMSNORM : KERN_OP_LAYERNORM;
}

static void add_norm(struct op_list *l, enum kern_reg dst, enum kern_reg src, enum model_role weight) {
    static const struct {
        uint8_t weight, bias;
    } biases[] = {{MODEL_ATTN_NORM, MODEL_ATTN_NORM_BIAS},
                  {MODEL_MLP_NORM, MODEL_MLP_NORM_BIAS},
                  {MODEL_FINAL_NORM, MODEL_FINAL_NORM_BIAS},
                  {MODEL_EMBED_NORM, MODEL_EMBED_NORM_BIAS}};
    struct kern_op op = blank(norm_kind(l->d), dst, src, l->d->hidden);
    op.vector = (int16_t)(l->d->norm == MODEL_NORM_BARE ? -1 : (int)weight);
    op.eps = l->d->norm_eps;
    for (unsigned i = 0; l->d->norm_bias && i < ARRAY_LEN(biases); i++) {
        op.vector2 = biases[i].weight == weight ? (int16_t)biases[i].bias : op.vector2;
    }
    add(l, op);
}

/* A matrix of the layer, with its bias where it has one. */
static void add_matmul(struct op_list *l, enum model_role matrix, enum kern_reg dst, enum kern_reg src, uint32_t rows) {
    const struct model_desc *d = l->d;
    bool plain = matrix >= MODEL_Q && (l->k->mixer == MODEL_ATTENTION || matrix > MODEL_O);
    bool biased = !plain ? false : matrix <= MODEL_V ? d->bias_qkv : matrix == MODEL_O ? d->bias_o : d->bias_mlp;
    struct kern_op op = blank(KERN_OP_MATMUL, dst, src, rows);
    op.matrix = (int16_t)matrix;
    op.vector = (int16_t)(biased ? MODEL_Q_BIAS + (int)matrix - MODEL_Q : -1);
    add(l, op);
}

/* ---- attention ---- */

static void add_qk_norm(struct op_list *l, enum kern_reg reg, enum model_role weight, uint32_t heads) {
    const struct model_desc *d = l->d;
    bool unit = d->qk_norm == MODEL_QK_UNIT;
    struct kern_op op = blank(unit                                    ? KERN_OP_UNITNORM
                              : d->qk_norm == MODEL_QK_HEAD_LAYER ? KERN_OP_LAYERNORM
                                                                      : KERN_OP_RMSNORM,
                              reg, reg, heads * l->k->head_dim);
    op.vector = (int16_t)(unit ? -1 : (int)weight);
    op.eps = d->norm_eps;
    op.group = d->qk_norm == MODEL_QK_FULL ? 0 : l->k->head_dim;
    op.whole_weight = d->qk_norm == MODEL_QK_HEAD_LAYER;
    add(l, op);
}

static void add_rope(struct op_list *l, enum kern_reg reg, uint32_t heads) {
    struct kern_op op = blank(KERN_OP_ROPE, reg, reg, heads * l->k->head_dim);
    op.heads = heads;
    op.head_dim = l->k->head_dim;
    op.rope = (uint8_t)l->k->rope;
    add(l, op);
    if (l->d->prefix) { /* the second coordinate turns the second half */
        op.dst_first = l->k->head_dim / 2;
        op.rope = 1;
        add(l, op);
    }
}

static void add_clip(struct op_list *l, enum kern_reg reg, uint32_t width) {
    struct kern_op op = blank(KERN_OP_CLAMP, reg, reg, width);
    op.scale = l->d->qkv_clip;
    add(l, op);
}

static void add_query_scale(struct op_list *l) {
    if (l->k->query_scaled) {
        add_plain(l, KERN_OP_QUERY_SCALE, KERN_Q, KERN_Q, l->k->heads * l->k->head_dim);
    }
}

static void add_positions(struct op_list *l) {
    const struct model_desc *d = l->d;
    bool rotates = l->k->rope != MODEL_NO_ROPE;
    bool after = d->qk_norm == MODEL_QK_HEAD_AFTER || (d->qk_norm == MODEL_QK_UNIT && rotates);
    bool normed = d->qk_norm != MODEL_QK_NONE && d->qk_norm != MODEL_QK_UNIT && !after;
    bool keys = !l->k->shared_kv;
    if (normed) {
        add_qk_norm(l, KERN_Q, MODEL_Q_NORM, l->k->heads);
    }
    if (normed && keys) {
        add_qk_norm(l, KERN_K, MODEL_K_NORM, l->k->kv_heads);
    }
    if (d->qkv_clip != 0.0f) {
        add_clip(l, KERN_Q, l->k->heads * l->k->head_dim);
        add_clip(l, KERN_K, l->k->kv_heads * l->k->head_dim);
        add_clip(l, KERN_V, l->k->kv_heads * model_value_dim(l->k));
    }
    if (rotates) {
        add_rope(l, KERN_Q, l->k->heads);
        if (!d->raw_keys && keys) {
            add_rope(l, KERN_K, l->k->kv_heads);
        }
    }
    if (after) {
        add_qk_norm(l, KERN_Q, MODEL_Q_NORM, l->k->heads);
        add_qk_norm(l, KERN_K, MODEL_K_NORM, l->k->kv_heads);
    }
    add_query_scale(l);
}

static void add_keys_and_values(struct op_list *l, enum kern_reg in) {
    uint32_t keys = l->k->kv_heads * l->k->head_dim;
    uint32_t values = l->k->kv_heads * model_value_dim(l->k);
    add_matmul(l, MODEL_K, KERN_K, in, keys);
    if (l->k->value_is_key) {
        struct kern_op copy = blank(KERN_OP_COPY_HEADS, KERN_V, KERN_K, keys);
        copy.heads = 1;
        copy.head_dim = keys;
        add(l, copy);
    } else {
        add_matmul(l, MODEL_V, KERN_V, in, values);
    }
    if (l->d->value_norm) {
        struct kern_op norm = blank(KERN_OP_UNITNORM, KERN_V, KERN_V, values);
        norm.group = model_value_dim(l->k);
        norm.eps = l->d->norm_eps;
        add(l, norm);
    }
    if (l->d->value_scale != 0.0f) {
        struct kern_op scale = blank(KERN_OP_SCALE, KERN_V, KERN_V, values);
        scale.scale = l->d->value_scale;
        add(l, scale);
    }
}

/* From `in` to KERN_T. */
static void add_attention(struct op_list *l, enum kern_reg in) {
    const struct model_desc *d = l->d;
    uint32_t q_width = l->k->heads * l->k->head_dim;
    uint32_t out_width = l->k->heads * model_value_dim(l->k);
    add_matmul(l, MODEL_Q, KERN_Q, in, q_width);
    if (!l->k->shared_kv) {
        add_keys_and_values(l, in);
    }
    if (l->k->gated_out) {
        add_matmul(l, MODEL_Z, KERN_Z, in, q_width);
    }
    add_positions(l);
    if (!l->k->shared_kv) {
        struct kern_op store = blank(KERN_OP_KV_STORE, KERN_K, KERN_K, l->k->kv_heads * l->k->head_dim);
        store.src2 = KERN_V;
        add(l, store);
    }
    struct kern_op op = blank(KERN_OP_ATTENTION, KERN_A, KERN_Q, out_width);
    op.vector = (int16_t)(d->sinks && (l->k->window != 0 || !d->sinks_windowed) ? MODEL_SINKS : -1);
    op.heads = l->k->heads;
    op.head_dim = l->k->head_dim;
    op.window = l->k->window;
    op.chunk = l->k->chunk;
    op.scale = d->score_scale;
    op.by_layer = d->score_by_layer;
    op.cap = d->score_cap;
    op.alibi = d->alibi;
    op.raw_keys = d->raw_keys;
    op.rope = (uint8_t)(d->raw_keys ? l->k->rope : 0);
    add(l, op);
    if (l->k->gated_out) {
        add_plain(l, KERN_OP_SIGMOID_MUL, KERN_A, KERN_Z, out_width);
    }
    add_matmul(l, MODEL_O, KERN_T, KERN_A, d->hidden);
}

/* For each head a matrix of its own. */
static void add_heads_matmul(struct op_list *l, enum model_role matrix, enum kern_reg dst, enum kern_reg src, uint32_t rows) {
    struct kern_op op = blank(KERN_OP_MATMUL_HEADS, dst, src, l->k->heads * rows);
    op.matrix = (int16_t)matrix;
    op.heads = l->k->heads;
    op.head_dim = rows;
    op.group = model_head_rows(rows);
    op.src_step = matrix == MODEL_UK ? l->k->head_dim : l->k->kv_latent;
    op.dst_step = matrix == MODEL_UK ? l->k->kv_latent + l->k->head_dim - l->k->plain_dim : rows;
    add(l, op);
}

static void add_latent_norm(struct op_list *l, enum kern_reg reg, enum model_role weight, uint32_t width) {
    struct kern_op op = blank(KERN_OP_RMSNORM, reg, reg, width);
    op.vector = (int16_t)weight;
    op.eps = l->d->latent_eps;
    add(l, op);
}

static void add_rope_behind(struct op_list *l, enum kern_reg reg, uint32_t heads, uint32_t head_dim, uint32_t first) {
    struct kern_op op = blank(KERN_OP_ROPE, reg, reg, heads * head_dim);
    op.heads = heads;
    op.head_dim = head_dim;
    op.dst_first = first;
    op.rope = (uint8_t)l->k->rope;
    add(l, op);
}

/* Queries against the latent: q = [U_k^T q_plain | q_rotary], k = [latent | k_rotary], v = latent, out = U_v (sum p v).
 * From `in` to KERN_T. */
static void add_latent(struct op_list *l, enum kern_reg in) {
    const struct model_kind *k = l->k;
    uint32_t rotary = k->head_dim - k->plain_dim;
    uint32_t key = k->kv_latent + rotary;
    if (k->q_latent != 0) {
        add_matmul(l, MODEL_QA, KERN_C, in, k->q_latent);
        add_latent_norm(l, KERN_C, MODEL_QA_NORM, k->q_latent);
    }
    add_matmul(l, MODEL_Q, KERN_Q, k->q_latent != 0 ? KERN_C : in, k->heads * k->head_dim);
    add_matmul(l, MODEL_KV_A, KERN_K, in, key);
    add_latent_norm(l, KERN_K, MODEL_KV_A_NORM, k->kv_latent);
    if (k->rope != MODEL_NO_ROPE) {
        add_rope_behind(l, KERN_Q, k->heads, k->head_dim, k->plain_dim);
        add_rope_behind(l, KERN_K, 1, key, k->kv_latent);
    }
    add_query_scale(l);
    add_heads_matmul(l, MODEL_UK, KERN_P, KERN_Q, k->kv_latent);
    struct kern_op copy = blank(KERN_OP_COPY_HEADS, KERN_P, KERN_Q, k->heads * key);
    copy.heads = k->heads;
    copy.head_dim = rotary;
    copy.src_first = k->plain_dim;
    copy.src_step = k->head_dim;
    copy.dst_first = k->kv_latent;
    copy.dst_step = key;
    add(l, copy);
    struct kern_op store = blank(KERN_OP_KV_STORE, KERN_K, KERN_K, key);
    store.src2 = KERN_K; /* the latent comes first in it */
    add(l, store);
    struct kern_op op = blank(KERN_OP_ATTENTION, KERN_A, KERN_P, k->heads * k->kv_latent);
    op.heads = k->heads;
    op.head_dim = key;
    op.scale = l->d->score_scale;
    add(l, op);
    add_heads_matmul(l, MODEL_UV, KERN_Q, KERN_A, k->value_dim);
    add_matmul(l, MODEL_O, KERN_T, KERN_Q, l->d->hidden);
}

/* [dst] gate z of what attention gives, straight from `in` or through a latent. */
static void add_through(struct op_list *l, enum model_role matrix, uint32_t latent, enum kern_reg dst, enum kern_reg in,
                        uint32_t rows) {
    if (latent != 0) {
        add_matmul(l, (enum model_role)(matrix - 1), KERN_C, in, latent); /* the way into the latent stands before */
    }
    add_matmul(l, matrix, dst, latent != 0 ? KERN_C : in, rows);
}

/* Linear attention. From `in` to KERN_T. */
static void add_delta(struct op_list *l, enum kern_reg in) {
    const struct model_kind *k = l->k;
    uint32_t values = k->heads * k->value_dim;
    add_matmul(l, MODEL_Q, KERN_Q, in, k->kv_heads * k->head_dim);
    add_matmul(l, MODEL_K, KERN_K, in, k->kv_heads * k->head_dim);
    add_matmul(l, MODEL_V, KERN_V, in, values);
    add_through(l, MODEL_DECAY, k->decay_latent, KERN_D, in, k->wide_decay ? k->heads * k->head_dim : k->heads);
    add_matmul(l, MODEL_BETA, KERN_E, in, k->heads);
    add_through(l, MODEL_Z, k->gate_latent, KERN_Z, in, values);
    struct kern_op op = blank(KERN_OP_DELTA, KERN_A, KERN_Q, values);
    op.vector = MODEL_CONV_Q;
    op.vector2 = MODEL_DECAY_RATE;
    op.heads = k->heads;
    op.kv_heads = k->kv_heads;
    op.head_dim = k->head_dim;
    op.value_dim = k->value_dim;
    op.taps = k->taps;
    op.wide_decay = k->wide_decay;
    op.tiled = l->d->tiled_values;
    add(l, op);
    struct kern_op norm = blank(KERN_OP_RMSNORM, KERN_A, KERN_A, values);
    norm.vector = MODEL_DELTA_NORM;
    norm.group = k->value_dim;
    norm.eps = l->d->norm_eps;
    add(l, norm);
    if (k->silu_gate) {
        struct kern_op act = blank(KERN_OP_ACT, KERN_Z, KERN_Z, values);
        act.act = KERN_ACT_SILU;
        add(l, act);
    }
    add_plain(l, k->silu_gate ? KERN_OP_MUL : KERN_OP_SIGMOID_MUL, KERN_A, KERN_Z, values);
    add_matmul(l, MODEL_O, KERN_T, KERN_A, l->d->hidden);
}

static void add_mixer(struct op_list *l, enum kern_reg in) {
    if (l->k->mixer == MODEL_LATENT) {
        add_latent(l, in);
    } else if (l->k->mixer == MODEL_DELTA) {
        add_delta(l, in);
    } else {
        add_attention(l, in);
    }
}

/* ---- MLP ---- */

/* From `in` to KERN_T. */
static void add_mlp(struct op_list *l, enum kern_reg in) {
    const struct model_desc *d = l->d;
    uint32_t ffn = l->k->ffn;
    if (d->gated) {
        add_matmul(l, MODEL_GATE, KERN_G, in, ffn);
    }
    add_matmul(l, MODEL_UP, KERN_U, in, ffn);
    if (d->gated && d->act == KERN_ACT_SILU) {
        struct kern_op op = blank(KERN_OP_SILU_MUL, KERN_G, KERN_G, ffn);
        op.src2 = KERN_U;
        add(l, op);
    } else {
        struct kern_op op = blank(KERN_OP_ACT, KERN_G, d->gated ? KERN_G : KERN_U, ffn);
        op.act = (uint8_t)d->act;
        add(l, op);
        if (d->gated) {
            add_plain(l, KERN_OP_MUL, KERN_G, KERN_U, ffn);
        }
    }
    add_matmul(l, MODEL_DOWN, KERN_T, KERN_G, d->hidden);
}

/* ---- experts ---- */

static struct kern_op expert_op(const struct op_list *l, enum kern_op_kind kind, enum kern_reg dst, enum kern_reg src,
                                uint32_t width) {
    struct kern_op op = blank(kind, dst, src, width);
    op.experts = l->k->experts;
    op.expert_ffn = l->k->expert_ffn;
    op.routing = l->d->routing;
    return op;
}

/* The shared expert is an MLP of its own, always computed. From `in` to KERN_T. */
static void add_shared(struct op_list *l, enum kern_reg in) {
    const struct model_desc *d = l->d;
    uint32_t ffn = l->k->shared_ffn;
    struct kern_op up = blank(KERN_OP_MATMUL, KERN_U, in, ffn);
    struct kern_op down = blank(KERN_OP_MATMUL, KERN_T, KERN_G, d->hidden);
    struct kern_op act = blank(KERN_OP_ACT, KERN_G, d->gated ? KERN_G : KERN_U, ffn);
    up.matrix = MODEL_SHARED_UP;
    down.matrix = MODEL_SHARED_DOWN;
    act.act = (uint8_t)d->act;
    if (d->gated) {
        struct kern_op gate = blank(KERN_OP_MATMUL, KERN_G, in, ffn);
        gate.matrix = MODEL_SHARED_GATE;
        add(l, gate);
    }
    add(l, up);
    add(l, act);
    if (d->gated) {
        add_plain(l, KERN_OP_MUL, KERN_G, KERN_U, ffn);
    }
    add(l, down);
    if (d->shared_gated) {
        struct kern_op score = blank(KERN_OP_MATMUL, KERN_S, in, 1);
        score.matrix = MODEL_SHARED_ROUTER;
        add(l, score);
        add_plain(l, KERN_OP_SIGMOID_SCALE, KERN_T, KERN_S, d->hidden);
    }
}

static void add_router(struct op_list *l, enum kern_reg in) {
    const struct model_desc *d = l->d;
    struct kern_op scores = blank(KERN_OP_MATMUL, KERN_R, in, l->k->experts);
    scores.matrix = MODEL_ROUTER;
    scores.vector = (int16_t)(d->router_bias ? MODEL_ROUTER_BIAS : -1);
    add(l, scores);
    struct kern_op route = expert_op(l, KERN_OP_ROUTE, KERN_R, KERN_R, l->k->experts);
    route.vector2 = (int16_t)(d->choice_bias ? MODEL_CHOICE_BIAS : -1);
    route.vector = (int16_t)(d->expert_scaled ? MODEL_EXPERT_SCALE : -1);
    add(l, route);
}

/* The experts that were chosen, and the shared one. From `in` to KERN_T. */
static void add_chosen(struct op_list *l, enum kern_reg in) {
    const struct model_desc *d = l->d;
    if (l->k->shared_ffn != 0) {
        add_shared(l, in);
    }
    struct kern_op experts = expert_op(l, KERN_OP_EXPERTS, KERN_T, in, d->hidden);
    experts.adds = l->k->shared_ffn != 0;
    experts.gated = d->gated;
    experts.act = (uint8_t)d->act;
    experts.scale = d->act_limit;
    experts.matrix = MODEL_EXPERT_GATE;
    experts.vector = (int16_t)(d->bias_expert ? MODEL_EXPERT_GATE_BIAS : -1);
    add(l, experts);
}

/* Router first, then what all rows pass, the shared expert or the MLP: its reading hides the choice. From `in` to KERN_T. */
static void add_experts(struct op_list *l, enum kern_reg in) {
    add_router(l, in);
    add_chosen(l, in);
}

/* From KERN_X to KERN_T. */
static void add_beside(struct op_list *l) {
    const struct model_desc *d = l->d;
    add_norm(l, KERN_H, KERN_X, MODEL_ROUTER_NORM);
    add_scaled(l, KERN_OP_SCALE, KERN_H, KERN_H, (float)(1.0 / sqrt((double)d->hidden)));
    add_router(l, KERN_H);
    add_norm(l, KERN_H, KERN_X, MODEL_MLP_NORM);
    add_mlp(l, KERN_H);
    add_norm(l, KERN_C, KERN_T, MODEL_DENSE_POST_NORM);
    add_norm(l, KERN_H, KERN_X, MODEL_EXPERT_NORM);
    add_chosen(l, KERN_H);
    add_norm(l, KERN_T, KERN_T, MODEL_EXPERT_POST_NORM);
    add_plain(l, KERN_OP_ADD, KERN_T, KERN_C, d->hidden);
}

/* ---- a layer ---- */

static void add_residual(struct op_list *l) {
    if (l->d->residual_scale == 1.0f) {
        add_plain(l, KERN_OP_ADD, KERN_X, KERN_T, l->d->hidden);
    } else {
        add_scaled(l, KERN_OP_ADD_SCALED, KERN_X, KERN_T, l->d->residual_scale);
    }
}

/* The layer's own input: x += P(out(act(gate x) * input)). */
static void add_layer_input(struct op_list *l) {
    const struct model_desc *d = l->d;
    struct kern_op gate = blank(KERN_OP_MATMUL, KERN_C, KERN_X, d->input_dim);
    struct kern_op act = blank(KERN_OP_ACT, KERN_C, KERN_C, d->input_dim);
    struct kern_op mul = blank(KERN_OP_MUL, KERN_C, KERN_N, d->input_dim);
    struct kern_op out = blank(KERN_OP_MATMUL, KERN_T, KERN_C, d->hidden);
    gate.matrix = MODEL_INPUT_GATE;
    act.act = (uint8_t)d->act;
    mul.by_layer = true;
    out.matrix = MODEL_INPUT_OUT;
    add(l, gate);
    add(l, act);
    add(l, mul);
    add(l, out);
    add_norm(l, KERN_T, KERN_T, MODEL_INPUT_POST_NORM);
    add_plain(l, KERN_OP_ADD, KERN_X, KERN_T, d->hidden);
}

static void add_serial(struct op_list *l) {
    bool before = l->d->wiring != MODEL_POST;
    bool after = l->d->wiring != MODEL_PRE;
    enum kern_reg in = before ? KERN_H : KERN_X;
    for (int half = 0; half < 2; half++) {
        bool beside = half == 1 && l->k->experts != 0 && l->d->dense_beside;
        if (before && !beside) {
            add_norm(l, KERN_H, KERN_X, half == 0 ? MODEL_ATTN_NORM : MODEL_MLP_NORM);
        }
        if (half == 0) {
            add_mixer(l, in);
        } else if (beside) {
            add_beside(l);
        } else if (l->k->experts != 0) {
            add_experts(l, in);
        } else {
            add_mlp(l, in);
        }
        if (after) {
            add_norm(l, KERN_T, KERN_T, half == 0 ? MODEL_ATTN_POST_NORM : MODEL_MLP_POST_NORM);
        }
        add_residual(l);
    }
    if (l->d->input_dim != 0) {
        add_layer_input(l);
    }
    if (l->d->layer_scaled) {
        struct kern_op scale = blank(KERN_OP_SCALE_BY, KERN_X, KERN_X, l->d->hidden);
        scale.vector = MODEL_LAYER_SCALE;
        add(l, scale);
    }
}

/* The MLP reads the layer's input too; with two norms, the second one before the input changes. */
static void add_parallel(struct op_list *l) {
    add_norm(l, KERN_H, KERN_X, MODEL_ATTN_NORM);
    add_mixer(l, KERN_H);
    if (l->d->wiring == MODEL_PARALLEL2) {
        add_norm(l, KERN_H, KERN_X, MODEL_MLP_NORM);
    }
    add_residual(l);
    add_mlp(l, KERN_H);
    add_residual(l);
}

/* The normed input, enlarged, takes the place of the residual stream. */
static void add_alpha(struct op_list *l) {
    for (int half = 0; half < 2; half++) {
        add_norm(l, KERN_H, KERN_X, half == 0 ? MODEL_ATTN_NORM : MODEL_MLP_NORM);
        if (half == 0) {
            add_mixer(l, KERN_H);
        } else {
            add_mlp(l, KERN_H);
        }
        add_scaled(l, KERN_OP_SCALE, KERN_X, KERN_H, l->d->residual_scale);
        add_plain(l, KERN_OP_ADD, KERN_X, KERN_T, l->d->hidden);
    }
}

uint32_t model_layer_ops(const struct model_desc *d, uint32_t kind, struct kern_op *ops, uint32_t max) {
    struct op_list l = {.d = d, .k = &d->kinds[kind], .ops = ops, .max = max};
    if (d->wiring == MODEL_PARALLEL || d->wiring == MODEL_PARALLEL2) {
        add_parallel(&l);
    } else if (d->wiring == MODEL_ALPHA) {
        add_alpha(&l);
    } else {
        add_serial(&l);
    }
    return l.count <= max ? l.count : 0;
}

/* Inputs of all layers: (sqrt(dim) * rows of the table + norm(proj x / sqrt(hidden))) / sqrt 2. */
static void add_inputs(struct op_list *l) {
    const struct model_desc *d = l->d;
    uint32_t all = d->layers * d->input_dim;
    struct kern_op proj = blank(KERN_OP_MATMUL, KERN_W, KERN_X, all);
    struct kern_op shrink = blank(KERN_OP_SCALE, KERN_W, KERN_W, all);
    struct kern_op norm = blank(KERN_OP_RMSNORM, KERN_W, KERN_W, all);
    struct kern_op grow = blank(KERN_OP_SCALE, KERN_N, KERN_N, all);
    struct kern_op halve = blank(KERN_OP_SCALE, KERN_N, KERN_N, all);
    proj.matrix = MODEL_INPUT_PROJ;
    shrink.scale = (float)(1.0 / sqrt((double)d->hidden));
    norm.vector = MODEL_INPUT_NORM;
    norm.group = d->input_dim;
    norm.eps = d->norm_eps;
    grow.scale = (float)sqrt((double)d->input_dim);
    halve.scale = (float)sqrt(0.5);
    add(l, proj);
    add(l, shrink);
    add(l, norm);
    add(l, grow);
    add_plain(l, KERN_OP_ADD, KERN_N, KERN_W, all);
    add(l, halve);
}

uint32_t model_front_ops(const struct model_desc *d, struct kern_op *ops, uint32_t max) {
    struct op_list l = {.d = d, .ops = ops, .max = max};
    if (d->embed_scale != 1.0f) {
        add_scaled(&l, KERN_OP_SCALE, KERN_X, KERN_X, d->embed_scale);
    }
    if (d->input_dim != 0) {
        add_inputs(&l);
    }
    if (d->positions) {
        struct kern_op op = blank(KERN_OP_ADD_POSITION, KERN_X, KERN_X, d->hidden);
        op.vector = MODEL_POSITIONS;
        add(&l, op);
    }
    if (d->embed_norm) {
        add_norm(&l, KERN_X, KERN_X, MODEL_EMBED_NORM);
    }
    return l.count <= max ? l.count : 0;
}

uint32_t model_head_ops(const struct model_desc *d, struct kern_op *ops, uint32_t max) {
    struct op_list l = {.d = d, .ops = ops, .max = max};
    add_norm(&l, KERN_H, KERN_X, MODEL_FINAL_NORM);
    struct kern_op head = blank(KERN_OP_MATMUL, KERN_L, KERN_H, d->vocab);
    head.matrix = (int16_t)(d->tied ? MODEL_EMBED : MODEL_HEAD);
    head.vector = (int16_t)(d->bias_head ? MODEL_HEAD_BIAS : -1);
    add(&l, head);
    if (d->logit_scale != 1.0f) {
        struct kern_op op = blank(KERN_OP_SCALE, KERN_L, KERN_L, d->vocab);
        op.scale = d->logit_scale;
        add(&l, op);
    }
    if (d->logit_cap != 0.0f) {
        struct kern_op op = blank(KERN_OP_SOFT_CAP, KERN_L, KERN_L, d->vocab);
        op.scale = d->logit_cap;
        add(&l, op);
    }
    return l.count <= max ? l.count : 0;
}

/* The widest of the kinds of layers. */
static uint32_t widest(const struct model_desc *d, uint32_t (*width)(const struct model_kind *k)) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < d->kind_count; i++) {
        uint32_t w = width(&d->kinds[i]);
        most = w > most ? w : most;
    }
    return most;
}

static uint32_t q_width(const struct model_kind *k) {
    if (k->mixer == MODEL_DELTA) {
        return k->kv_heads * k->head_dim;
    }
    return k->heads * (k->value_dim > k->head_dim ? k->value_dim : k->head_dim);
}

static uint32_t k_width(const struct model_kind *k) {
    if (k->mixer == MODEL_DELTA) {
        return k->kv_heads * k->head_dim;
    }
    struct model_kept kept = model_kept_of(k);
    return kept.heads * kept.k_dim;
}

static uint32_t v_width(const struct model_kind *k) {
    return k->mixer == MODEL_DELTA ? k->heads * k->value_dim : k->mixer == MODEL_ATTENTION ? k->kv_heads * model_value_dim(k) : 0;
}

/* What attention gives: a latent per head, or a value. */
static uint32_t a_width(const struct model_kind *k) {
    return k->heads * (k->mixer == MODEL_LATENT ? k->kv_latent : model_value_dim(k));
}

static uint32_t c_width(const struct model_kind *k) {
    uint32_t linear = k->decay_latent > k->gate_latent ? k->decay_latent : k->gate_latent;
    return k->q_latent > linear ? k->q_latent : linear;
}

static uint32_t d_width(const struct model_kind *k) {
    return k->mixer != MODEL_DELTA ? 0 : k->wide_decay ? k->heads * k->head_dim : k->heads;
}

static uint32_t e_width(const struct model_kind *k) {
    return k->mixer == MODEL_DELTA ? k->heads : 0;
}

static uint32_t z_width(const struct model_kind *k) {
    return k->mixer == MODEL_DELTA ? k->heads * k->value_dim : k->gated_out ? k->heads * k->head_dim : 0;
}

static uint32_t p_width(const struct model_kind *k) {
    return k->mixer == MODEL_LATENT ? k->heads * (k->kv_latent + k->head_dim - k->plain_dim) : 0;
}

static uint32_t ffn_width(const struct model_kind *k) {
    uint32_t experts = k->expert_ffn > k->shared_ffn ? k->expert_ffn : k->shared_ffn;
    return k->experts == 0 ? k->ffn : experts;
}

static uint32_t dense_width(const struct model_kind *k) {
    return k->ffn;
}

static uint32_t expert_count(const struct model_kind *k) {
    return k->experts;
}

static uint32_t larger(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

uint32_t model_reg_width(const struct model_desc *d, enum kern_reg reg) {
    switch (reg) {
    case KERN_X:
    case KERN_H:
    case KERN_T:
        return d->hidden;
    case KERN_Q:
        return widest(d, q_width);
    case KERN_A:
        return widest(d, a_width);
    case KERN_K:
        return widest(d, k_width);
    case KERN_V:
        return widest(d, v_width);
    case KERN_N:
    case KERN_W:
        return d->layers * d->input_dim;
    case KERN_C:
        return larger(widest(d, c_width), d->dense_beside && d->hidden > d->input_dim ? d->hidden : d->input_dim);
    case KERN_P:
        return widest(d, p_width);
    case KERN_D:
        return widest(d, d_width);
    case KERN_E:
        return widest(d, e_width);
    case KERN_Z:
        return widest(d, z_width);
    case KERN_G:
    case KERN_U:
        return larger(widest(d, ffn_width), d->dense_beside ? widest(d, dense_width) : 0);
    case KERN_L:
        return d->vocab;
    case KERN_R:
        return widest(d, expert_count);
    case KERN_B:
        return widest(d, expert_count) != 0 ? d->hidden * d->routing.top_k : 0;
    case KERN_M:
    case KERN_Y:
        return widest(d, expert_count) != 0 ? d->hidden : 0;
    case KERN_S:
        return widest(d, expert_count) != 0 && d->shared_gated ? 1 : 0;
    default:
        return 0;
    }
}
