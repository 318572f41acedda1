/* SPDX-License-Identifier: Apache-2.0
 *
 * The canonical tensors of a description: names in the checkpoint, shapes, order in a store. One switch decides each
 * shape; everything else derives from it.
 */
#include <stdio.h>
#include <string.h>

#include "kern/kern.h"
#include "model/tensors_priv.h"

static const char *const ROLE_NAMES[MODEL_ROLES] = {
    [MODEL_QA] = "q_a",
    [MODEL_KV_A] = "kv_a",
    [MODEL_UK] = "u_k",
    [MODEL_UV] = "u_v",
    [MODEL_ZA] = "z_a",
    [MODEL_Z] = "z",
    [MODEL_DECAY_A] = "decay_a",
    [MODEL_DECAY] = "decay",
    [MODEL_BETA] = "beta",
    [MODEL_Q] = "q",
    [MODEL_K] = "k",
    [MODEL_V] = "v",
    [MODEL_O] = "o",
    [MODEL_GATE] = "gate",
    [MODEL_UP] = "up",
    [MODEL_DOWN] = "down",
    [MODEL_ROUTER] = "router",
    [MODEL_SHARED_ROUTER] = "shared_router",
    [MODEL_SHARED_GATE] = "shared_gate",
    [MODEL_SHARED_UP] = "shared_up",
    [MODEL_SHARED_DOWN] = "shared_down",
    [MODEL_EXPERT_GATE] = "expert_gate",
    [MODEL_EXPERT_UP] = "expert_up",
    [MODEL_EXPERT_DOWN] = "expert_down",
    [MODEL_INPUT_GATE] = "input_gate",
    [MODEL_INPUT_OUT] = "input_out",
    [MODEL_INPUT_EMBED] = "input_embed",
    [MODEL_INPUT_PROJ] = "input_proj",
    [MODEL_EMBED] = "embed",
    [MODEL_HEAD] = "head",
    [MODEL_ATTN_NORM] = "attn_norm",
    [MODEL_MLP_NORM] = "mlp_norm",
    [MODEL_Q_BIAS] = "q_bias",
    [MODEL_K_BIAS] = "k_bias",
    [MODEL_V_BIAS] = "v_bias",
    [MODEL_O_BIAS] = "o_bias",
    [MODEL_GATE_BIAS] = "gate_bias",
    [MODEL_UP_BIAS] = "up_bias",
    [MODEL_DOWN_BIAS] = "down_bias",
    [MODEL_ATTN_NORM_BIAS] = "attn_norm_bias",
    [MODEL_MLP_NORM_BIAS] = "mlp_norm_bias",
    [MODEL_ATTN_POST_NORM] = "attn_post_norm",
    [MODEL_MLP_POST_NORM] = "mlp_post_norm",
    [MODEL_Q_NORM] = "q_norm",
    [MODEL_K_NORM] = "k_norm",
    [MODEL_QA_NORM] = "q_a_norm",
    [MODEL_KV_A_NORM] = "kv_a_norm",
    [MODEL_CONV_Q] = "conv_q",
    [MODEL_CONV_K] = "conv_k",
    [MODEL_CONV_V] = "conv_v",
    [MODEL_DECAY_RATE] = "decay_rate",
    [MODEL_DECAY_BIAS] = "decay_bias",
    [MODEL_DELTA_NORM] = "delta_norm",
    [MODEL_INPUT_POST_NORM] = "in_post_norm",
    [MODEL_LAYER_SCALE] = "layer_scale",
    [MODEL_INPUT_NORM] = "input_norm",
    [MODEL_SINKS] = "sinks",
    [MODEL_ROUTER_BIAS] = "router_bias",
    [MODEL_CHOICE_BIAS] = "choice_bias",
    [MODEL_EXPERT_GATE_BIAS] = "exp_gate_bias",
    [MODEL_EXPERT_UP_BIAS] = "exp_up_bias",
    [MODEL_EXPERT_DOWN_BIAS] = "exp_down_bias",
    [MODEL_ROUTER_NORM] = "router_norm",
    [MODEL_EXPERT_SCALE] = "expert_scale",
    [MODEL_DENSE_POST_NORM] = "dense_post_norm",
    [MODEL_EXPERT_NORM] = "expert_norm",
    [MODEL_EXPERT_POST_NORM] = "exp_post_norm",
    [MODEL_FINAL_NORM] = "final_norm",
    [MODEL_FINAL_NORM_BIAS] = "final_norm_bias",
    [MODEL_HEAD_BIAS] = "head_bias",
    [MODEL_HEAD_SCALE] = "head_scale",
    [MODEL_POSITIONS] = "positions",
    [MODEL_EMBED_NORM] = "embed_norm",
    [MODEL_EMBED_NORM_BIAS] = "embed_norm_bias",
};

const char *model_role_name(enum model_role role) {
    return role < MODEL_ROLES ? ROLE_NAMES[role] : "?";
}

bool model_role_of_name(struct span name, enum model_role *role) {
    for (unsigned i = 0; i < MODEL_ROLES; i++) {
        if (span_is(name, ROLE_NAMES[i])) {
            *role = (enum model_role)i;
            return true;
        }
    }
    return false;
}

bool model_role_in_layers(enum model_role role) {
    return (role < MODEL_EMBED || role >= MODEL_MATRICES) && role < MODEL_FINAL_NORM;
}

/* ---- shapes ---- */

static bool matrix_of_experts(const struct model_desc *desc, const struct model_kind *k, enum model_role role, uint64_t *rows,
                              uint64_t *cols) {
    bool shared = role == MODEL_SHARED_GATE || role == MODEL_SHARED_UP || role == MODEL_SHARED_DOWN;
    uint32_t width = shared ? k->shared_ffn : k->expert_ffn;
    if (k->experts == 0) {
        return false;
    }
    *rows = width;
    *cols = desc->hidden;
    switch (role) {
    case MODEL_ROUTER:
        *rows = k->experts;
        return true;
    case MODEL_SHARED_ROUTER:
        *rows = 1;
        return desc->shared_gated && k->shared_ffn != 0;
    case MODEL_SHARED_GATE:
    case MODEL_EXPERT_GATE:
        return width != 0 && desc->gated;
    case MODEL_SHARED_UP:
    case MODEL_EXPERT_UP:
        return width != 0;
    case MODEL_SHARED_DOWN:
    case MODEL_EXPERT_DOWN:
        *rows = desc->hidden;
        *cols = width;
        return width != 0;
    default:
        return false;
    }
}

uint32_t model_head_rows(uint32_t rows) {
    enum { GROUP = KERN_PANEL_ROWS * KERN_BLOCK_PANELS };
    return (rows + GROUP - 1) / GROUP * GROUP;
}

static bool matrix_of_latent(const struct model_desc *desc, const struct model_kind *k, enum model_role role, uint64_t *rows,
                             uint64_t *cols) {
    *cols = desc->hidden;
    switch (role) {
    case MODEL_QA:
        *rows = k->q_latent;
        return k->q_latent != 0;
    case MODEL_Q:
        *rows = (uint64_t)k->heads * k->head_dim;
        *cols = k->q_latent != 0 ? k->q_latent : desc->hidden;
        return true;
    case MODEL_KV_A:
        *rows = k->kv_latent + k->head_dim - k->plain_dim;
        return true;
    case MODEL_UK:
        *rows = (uint64_t)k->heads * model_head_rows(k->kv_latent);
        *cols = k->plain_dim;
        return true;
    case MODEL_UV:
        *rows = (uint64_t)k->heads * model_head_rows(k->value_dim);
        *cols = k->kv_latent;
        return true;
    case MODEL_O:
        *rows = desc->hidden;
        *cols = (uint64_t)k->heads * k->value_dim;
        return true;
    default:
        return false;
    }
}

static bool matrix_of_delta(const struct model_desc *desc, const struct model_kind *k, enum model_role role, uint64_t *rows,
                            uint64_t *cols) {
    uint64_t keys = (uint64_t)k->kv_heads * k->head_dim;
    uint64_t values = (uint64_t)k->heads * k->value_dim;
    *cols = desc->hidden;
    switch (role) {
    case MODEL_ZA:
        *rows = k->gate_latent;
        return k->gate_latent != 0;
    case MODEL_Z:
        *rows = values;
        *cols = k->gate_latent != 0 ? k->gate_latent : desc->hidden;
        return true;
    case MODEL_DECAY_A:
        *rows = k->decay_latent;
        return k->decay_latent != 0;
    case MODEL_DECAY:
        *rows = k->wide_decay ? (uint64_t)k->heads * k->head_dim : k->heads;
        *cols = k->decay_latent != 0 ? k->decay_latent : desc->hidden;
        return true;
    case MODEL_BETA:
        *rows = k->heads;
        return true;
    case MODEL_Q:
    case MODEL_K:
        *rows = keys;
        return true;
    case MODEL_V:
        *rows = values;
        return true;
    case MODEL_O:
        *rows = desc->hidden;
        *cols = values;
        return true;
    default:
        return false;
    }
}

static bool matrix_of_layer(const struct model_desc *desc, const struct model_kind *k, enum model_role role, uint64_t *rows,
                            uint64_t *cols) {
    uint64_t q_width = (uint64_t)k->heads * k->head_dim;
    if (role <= MODEL_O && k->mixer == MODEL_LATENT) {
        return matrix_of_latent(desc, k, role, rows, cols);
    }
    if (role <= MODEL_O && k->mixer == MODEL_DELTA) {
        return matrix_of_delta(desc, k, role, rows, cols);
    }
    switch (role) {
    case MODEL_QA:
    case MODEL_KV_A:
    case MODEL_UK:
    case MODEL_UV:
    case MODEL_ZA:
    case MODEL_DECAY_A:
    case MODEL_DECAY:
    case MODEL_BETA:
        return false;
    case MODEL_Z:
        *rows = q_width;
        *cols = desc->hidden;
        return k->gated_out;
    case MODEL_Q:
        *rows = q_width;
        *cols = desc->hidden;
        return true;
    case MODEL_K:
    case MODEL_V:
        *rows = (uint64_t)k->kv_heads * (role == MODEL_K ? k->head_dim : model_value_dim(k));
        *cols = desc->hidden;
        return !k->shared_kv && (role == MODEL_K || !k->value_is_key);
    case MODEL_O:
        *rows = desc->hidden;
        *cols = (uint64_t)k->heads * model_value_dim(k);
        return true;
    case MODEL_GATE:
    case MODEL_UP:
        *rows = k->ffn;
        *cols = desc->hidden;
        return (k->experts == 0 || desc->dense_beside) && (role == MODEL_UP || desc->gated);
    case MODEL_DOWN:
        *rows = desc->hidden;
        *cols = k->ffn;
        return k->experts == 0 || desc->dense_beside;
    default:
        return matrix_of_experts(desc, k, role, rows, cols);
    }
}

bool model_matrix_shape(const struct model_desc *desc, int32_t layer, enum model_role role, uint64_t *rows, uint64_t *cols) {
    if (layer >= 0 && (role == MODEL_INPUT_GATE || role == MODEL_INPUT_OUT)) {
        *rows = role == MODEL_INPUT_GATE ? desc->input_dim : desc->hidden;
        *cols = role == MODEL_INPUT_GATE ? desc->hidden : desc->input_dim;
        return desc->input_dim != 0;
    }
    if (layer >= 0) {
        return matrix_of_layer(desc, model_kind_of(desc, (uint32_t)layer), role, rows, cols);
    }
    if (role == MODEL_INPUT_EMBED || role == MODEL_INPUT_PROJ) {
        uint64_t all = (uint64_t)desc->layers * desc->input_dim;
        *rows = role == MODEL_INPUT_EMBED ? desc->input_vocab : all;
        *cols = role == MODEL_INPUT_EMBED ? all : desc->hidden;
        return desc->input_dim != 0;
    }
    *rows = desc->vocab;
    *cols = desc->hidden;
    return role == MODEL_EMBED || (role == MODEL_HEAD && !desc->tied);
}


bool tensor_bias_matrix(const struct model_desc *desc, enum model_role role, enum model_role *matrix) {
    switch (role) {
    case MODEL_Q_BIAS:
    case MODEL_K_BIAS:
    case MODEL_V_BIAS:
        *matrix = (enum model_role)(MODEL_Q + (role - MODEL_Q_BIAS));
        return desc->bias_qkv;
    case MODEL_O_BIAS:
        *matrix = MODEL_O;
        return desc->bias_o;
    case MODEL_GATE_BIAS:
    case MODEL_UP_BIAS:
    case MODEL_DOWN_BIAS:
        *matrix = (enum model_role)(MODEL_GATE + (role - MODEL_GATE_BIAS));
        return desc->bias_mlp; /* false for layers with experts: they have no such matrix */
    default:
        return false;
    }
}

/* Vectors of linear attention. */
static uint64_t vector_of_delta(const struct model_kind *k, enum model_role role) {
    switch (role) {
    case MODEL_CONV_Q:
    case MODEL_CONV_K:
        return (uint64_t)k->kv_heads * k->head_dim * k->taps;
    case MODEL_CONV_V:
        return (uint64_t)k->heads * k->value_dim * k->taps;
    case MODEL_DECAY_RATE:
        return k->heads;
    case MODEL_DECAY_BIAS:
        return (uint64_t)k->heads * (k->wide_decay ? k->head_dim : 1);
    default:
        return k->value_dim; /* MODEL_DELTA_NORM */
    }
}

/* Roles that only layers with plain attention have. */
static bool of_attention(enum model_role role) {
    return role == MODEL_Q_NORM || role == MODEL_K_NORM || role == MODEL_SINKS || (role >= MODEL_Q_BIAS && role <= MODEL_O_BIAS);
}

static uint64_t vector_of_layer(const struct model_desc *desc, const struct model_kind *k, enum model_role role) {
    enum model_role matrix = MODEL_Q;
    uint64_t rows = 0;
    uint64_t cols = 0;
    bool weighted = desc->norm != MODEL_NORM_BARE;
    bool before = desc->wiring != MODEL_POST && weighted;
    bool after = (desc->wiring == MODEL_SANDWICH || desc->wiring == MODEL_POST) && weighted;
    uint64_t heads = role == MODEL_Q_NORM ? k->heads : k->kv_heads;
    if (of_attention(role) && k->mixer != MODEL_ATTENTION) {
        return 0;
    }
    if (role >= MODEL_CONV_Q && role <= MODEL_DELTA_NORM) {
        return k->mixer == MODEL_DELTA ? vector_of_delta(k, role) : 0;
    }
    switch (role) {
    case MODEL_ATTN_NORM:
        return before ? desc->hidden : 0;
    case MODEL_MLP_NORM:
        return before && desc->wiring != MODEL_PARALLEL ? desc->hidden : 0;
    case MODEL_ATTN_NORM_BIAS:
    case MODEL_MLP_NORM_BIAS:
        return desc->norm_bias ? vector_of_layer(desc, k, role == MODEL_ATTN_NORM_BIAS ? MODEL_ATTN_NORM : MODEL_MLP_NORM) : 0;
    case MODEL_ATTN_POST_NORM:
    case MODEL_MLP_POST_NORM:
        return after ? desc->hidden : 0;
    case MODEL_INPUT_POST_NORM:
        return desc->input_dim != 0 ? desc->hidden : 0;
    case MODEL_LAYER_SCALE:
        return desc->layer_scaled ? 1 : 0;
    case MODEL_Q_NORM:
    case MODEL_K_NORM:
        return (role == MODEL_K_NORM && k->shared_kv) ? 0 : desc->qk_norm == MODEL_QK_NONE || desc->qk_norm == MODEL_QK_UNIT ? 0
               : desc->qk_norm == MODEL_QK_HEAD || desc->qk_norm == MODEL_QK_HEAD_AFTER ? k->head_dim
                                                                                        : heads * k->head_dim;
    case MODEL_QA_NORM:
        return k->q_latent;
    case MODEL_KV_A_NORM:
        return k->kv_latent;
    case MODEL_SINKS:
        return desc->sinks && (k->window != 0 || !desc->sinks_windowed) ? k->heads : 0;
    case MODEL_ROUTER_BIAS:
        return desc->router_bias ? k->experts : 0;
    case MODEL_CHOICE_BIAS:
        return desc->choice_bias ? k->experts : 0;
    case MODEL_EXPERT_SCALE:
        return desc->expert_scaled ? k->experts : 0;
    case MODEL_ROUTER_NORM:
    case MODEL_DENSE_POST_NORM:
    case MODEL_EXPERT_NORM:
    case MODEL_EXPERT_POST_NORM:
        return desc->dense_beside && k->experts != 0 ? desc->hidden : 0;
    case MODEL_EXPERT_GATE_BIAS:
    case MODEL_EXPERT_UP_BIAS:
        return desc->bias_expert ? (uint64_t)k->experts * k->expert_ffn : 0;
    case MODEL_EXPERT_DOWN_BIAS:
        return desc->bias_expert ? (uint64_t)k->experts * desc->hidden : 0;
    default:
        return tensor_bias_matrix(desc, role, &matrix) && matrix_of_layer(desc, k, matrix, &rows, &cols) ? rows : 0;
    }
}

struct model_kept model_kept_of(const struct model_kind *k) {
    if (k->mixer == MODEL_LATENT) {
        return (struct model_kept){1, k->kv_latent + k->head_dim - k->plain_dim, k->kv_latent, 0};
    }
    if (k->mixer == MODEL_DELTA) {
        uint64_t channels = 2 * (uint64_t)k->kv_heads * k->head_dim + (uint64_t)k->heads * k->value_dim;
        return (struct model_kept){.fixed_floats = channels * (k->taps - 1) + (uint64_t)k->heads * k->head_dim * k->value_dim};
    }
    return (struct model_kept){k->shared_kv ? 0 : k->kv_heads, k->head_dim, model_value_dim(k), 0};
}

uint32_t model_kv_layer(const struct model_desc *desc, uint32_t layer) {
    const struct model_kind *k = model_kind_of(desc, layer);
    uint32_t from = layer;
    while (k->shared_kv && from > 0) {
        const struct model_kind *other = model_kind_of(desc, --from);
        if (!other->shared_kv && other->mixer == k->mixer && (other->window != 0) == (k->window != 0)) {
            return from;
        }
    }
    return layer;
}

bool model_has_state(const struct model_desc *d) {
    bool has = false;
    for (uint32_t i = 0; i < d->kind_count; i++) {
        has = has || model_kept_of(&d->kinds[i]).fixed_floats != 0;
    }
    return has;
}

uint32_t model_most_positions(const struct model_desc *desc) {
    const uint32_t learned = desc->positions ? desc->max_positions : UINT32_MAX;
    return desc->indexed != 0 && desc->indexed < learned ? desc->indexed : learned;
}

uint64_t model_vector_len(const struct model_desc *desc, int32_t layer, enum model_role role) {
    if (layer >= 0) {
        return model_role_in_layers(role) ? vector_of_layer(desc, model_kind_of(desc, (uint32_t)layer), role) : 0;
    }
    switch (role) {
    case MODEL_FINAL_NORM:
        return desc->norm != MODEL_NORM_BARE ? desc->hidden : 0;
    case MODEL_FINAL_NORM_BIAS:
        return desc->norm_bias ? desc->hidden : 0;
    case MODEL_INPUT_NORM:
        return desc->input_dim;
    case MODEL_HEAD_BIAS:
        return desc->bias_head ? desc->vocab : 0;
    case MODEL_HEAD_SCALE:
        return desc->head_scaled ? desc->vocab : 0;
    case MODEL_POSITIONS:
        return desc->positions ? (uint64_t)desc->max_positions * desc->hidden : 0;
    case MODEL_EMBED_NORM:
        return desc->embed_norm ? desc->hidden : 0;
    case MODEL_EMBED_NORM_BIAS:
        return desc->embed_norm && desc->norm_bias ? desc->hidden : 0;
    default:
        return 0;
    }
}

uint32_t model_roles(const struct model_desc *desc, int32_t layer, bool matrices, enum model_role roles[MODEL_ROLES]) {
    uint32_t n = 0;
    uint64_t rows = 0;
    uint64_t cols = 0;
    for (unsigned r = matrices ? 0 : MODEL_MATRICES; r < (matrices ? MODEL_MATRICES : MODEL_ROLES); r++) {
        enum model_role role = (enum model_role)r;
        bool has = matrices ? model_matrix_shape(desc, layer, role, &rows, &cols) : model_vector_len(desc, layer, role) > 0;
        if (has) {
            roles[n++] = role;
        }
    }
    return n;
}

bool model_role_of_expert(enum model_role role) {
    return role == MODEL_EXPERT_GATE || role == MODEL_EXPERT_UP || role == MODEL_EXPERT_DOWN;
}

/* Expert roles come last among those of a layer, so they are the tail of its list, repeated. */
uint32_t model_slot_count(const struct model_desc *desc, int32_t layer) {
    enum model_role roles[MODEL_ROLES];
    uint32_t count = model_roles(desc, layer, true, roles);
    uint32_t repeated = 0;
    while (repeated < count && model_role_of_expert(roles[count - 1 - repeated])) {
        repeated++;
    }
    uint32_t experts = layer >= 0 ? model_kind_of(desc, (uint32_t)layer)->experts : 0;
    return count - repeated + repeated * experts;
}

struct model_slot model_slot_at(const struct model_desc *desc, int32_t layer, uint32_t index) {
    enum model_role roles[MODEL_ROLES];
    uint32_t count = model_roles(desc, layer, true, roles);
    uint32_t plain = 0;
    while (plain < count && !model_role_of_expert(roles[plain])) {
        plain++;
    }
    if (index < plain) {
        return (struct model_slot){roles[index], 0};
    }
    uint32_t each = count - plain;
    return (struct model_slot){roles[plain + (index - plain) % each], (index - plain) / each};
}

static uint32_t roles_in(const struct model_desc *desc, int32_t layer) {
    enum model_role roles[MODEL_ROLES];
    return model_slot_count(desc, layer) + model_roles(desc, layer, false, roles);
}

static uint32_t outside_vectors(const struct model_desc *desc) {
    enum model_role roles[MODEL_ROLES];
    return model_roles(desc, -1, false, roles);
}

static uint32_t outside_matrices(const struct model_desc *desc) {
    return (desc->tied ? 1u : 2u) + (desc->input_dim != 0 ? 2u : 0u);
}

uint32_t model_tensor_count(const struct model_desc *desc) {
    uint32_t count = outside_matrices(desc) + outside_vectors(desc);
    for (uint32_t i = 0; i < desc->layers; i++) {
        count += roles_in(desc, (int32_t)i);
    }
    return count;
}

/* The n-th role of a layer (-1: outside it, vectors only), matrices first. */
static void nth_role(const struct model_desc *desc, uint32_t n, struct model_tensor *out) {
    enum model_role roles[MODEL_ROLES];
    uint32_t matrices = out->layer >= 0 ? model_slot_count(desc, out->layer) : 0;
    if (n < matrices) {
        struct model_slot slot = model_slot_at(desc, out->layer, n);
        out->role = slot.role;
        out->expert = slot.expert;
        return;
    }
    (void)model_roles(desc, out->layer, false, roles);
    out->role = roles[n - matrices];
}

void model_tensor_at(const struct model_desc *desc, uint32_t index, struct model_tensor *out) {
    uint32_t fixed = outside_matrices(desc);
    int32_t layer = 0;
    if (index < fixed) {
        model_layer_tensor_at(desc, -1, index, out);
        return;
    }
    index -= fixed;
    while ((uint32_t)layer < desc->layers && index >= roles_in(desc, layer)) {
        index -= roles_in(desc, layer++);
    }
    if ((uint32_t)layer < desc->layers) {
        model_layer_tensor_at(desc, layer, index, out);
    } else {
        model_layer_tensor_at(desc, -1, fixed + index, out);
    }
}

uint32_t model_layer_tensor_count(const struct model_desc *desc, int32_t layer) {
    return layer >= 0 ? roles_in(desc, layer) : outside_matrices(desc) + outside_vectors(desc);
}

void model_layer_tensor_at(const struct model_desc *desc, int32_t layer, uint32_t index, struct model_tensor *out) {
    uint32_t fixed = outside_matrices(desc);
    uint32_t ends = desc->tied ? 1 : 2;
    *out = (struct model_tensor){.layer = layer, .rows = 1};
    if (layer >= 0) {
        nth_role(desc, index, out);
    } else if (index >= fixed) {
        nth_role(desc, index - fixed, out);
    } else {
        out->role = index == 0     ? MODEL_EMBED
                    : index < ends ? MODEL_HEAD
                                   : (enum model_role)(MODEL_INPUT_EMBED + (index - ends));
    }
    if (!model_matrix_shape(desc, out->layer, out->role, &out->rows, &out->cols)) {
        out->rows = 1;
        out->cols = model_vector_len(desc, out->layer, out->role);
    }
    tensor_find_source(desc, out);
}

/* ---- sums ---- */

static uint64_t weights_in(const struct model_desc *desc, int32_t layer, bool matrices) {
    enum model_role roles[MODEL_ROLES];
    uint32_t count = model_roles(desc, layer, matrices, roles);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t rows = 1;
        uint64_t cols = 0;
        if (!matrices || !model_matrix_shape(desc, layer, roles[i], &rows, &cols)) {
            rows = 1;
            cols = model_vector_len(desc, layer, roles[i]);
        }
        uint64_t times = model_role_of_expert(roles[i]) ? model_kind_of(desc, (uint32_t)layer)->experts : 1;
        sum += rows * cols * times;
    }
    return sum;
}

uint64_t model_weight_count(const struct model_desc *desc) {
    uint64_t sum = weights_in(desc, -1, true) + weights_in(desc, -1, false);
    for (uint32_t i = 0; i < desc->layers; i++) {
        sum += weights_in(desc, (int32_t)i, true) + weights_in(desc, (int32_t)i, false);
    }
    return sum;
}

/* Weights of the experts of a layer that no row of one token uses. */
static uint64_t idle_weights(const struct model_desc *desc, uint32_t layer) {
    const struct model_kind *k = model_kind_of(desc, layer);
    uint64_t one = (uint64_t)k->expert_ffn * desc->hidden * (desc->gated ? 3 : 2);
    return k->experts > desc->routing.top_k ? one * (k->experts - desc->routing.top_k) : 0;
}

uint64_t model_flops_per_row(const struct model_desc *desc) {
    uint64_t sum = (uint64_t)desc->vocab * desc->hidden;
    for (uint32_t i = 0; i < desc->layers; i++) {
        sum += weights_in(desc, (int32_t)i, true) - idle_weights(desc, i);
    }
    return 2 * sum;
}

void model_describe(const struct model_desc *desc, char *out, size_t len) {
    const struct model_kind *k = model_attending(desc);
    (void)snprintf(out, len, "%s, %u layers, hidden %u, %u heads (%u KV) of %u, FFN %u, vocabulary %u%s",
                   desc->architecture, desc->layers, desc->hidden, k->heads, k->kv_heads, k->head_dim,
                   k->ffn, desc->vocab, desc->tied ? ", tied head" : "");
}
