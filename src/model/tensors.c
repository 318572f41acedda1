/* SPDX-License-Identifier: Apache-2.0
 *
 * The canonical tensors of a description: names in the checkpoint, shapes, order in a store. One switch decides each
 * shape; everything else derives from it.
 */
#include <stdio.h>
#include <string.h>

#include "model/family_priv.h"

static const char *const ROLE_NAMES[MODEL_ROLES] = {
    [MODEL_Q] = "q",
    [MODEL_K] = "k",
    [MODEL_V] = "v",
    [MODEL_O] = "o",
    [MODEL_GATE] = "gate",
    [MODEL_UP] = "up",
    [MODEL_DOWN] = "down",
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
    [MODEL_FINAL_NORM] = "final_norm",
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

bool model_matrix_shape(const struct model_desc *desc, enum model_role role, uint64_t *rows, uint64_t *cols) {
    uint64_t q_width = (uint64_t)desc->heads * desc->head_dim;
    uint64_t kv_width = (uint64_t)desc->kv_heads * desc->head_dim;
    switch (role) {
    case MODEL_Q:
        *rows = q_width;
        *cols = desc->hidden;
        return true;
    case MODEL_K:
    case MODEL_V:
        *rows = kv_width;
        *cols = desc->hidden;
        return true;
    case MODEL_O:
        *rows = desc->hidden;
        *cols = q_width;
        return true;
    case MODEL_GATE:
    case MODEL_UP:
        *rows = desc->ffn;
        *cols = desc->hidden;
        return true;
    case MODEL_DOWN:
        *rows = desc->hidden;
        *cols = desc->ffn;
        return true;
    case MODEL_HEAD:
        if (desc->tied) {
            return false;
        }
        *rows = desc->vocab;
        *cols = desc->hidden;
        return true;
    case MODEL_EMBED:
        *rows = desc->vocab;
        *cols = desc->hidden;
        return true;
    default:
        return false;
    }
}

/* A bias belongs to the matrix whose rows it has. */
static bool bias_matrix(const struct model_desc *desc, enum model_role role, enum model_role *matrix) {
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
        return desc->bias_mlp;
    default:
        return false;
    }
}

uint64_t model_vector_len(const struct model_desc *desc, enum model_role role) {
    enum model_role matrix = MODEL_Q;
    uint64_t rows = 0;
    uint64_t cols = 0;
    if (role == MODEL_ATTN_NORM || role == MODEL_MLP_NORM || role == MODEL_FINAL_NORM) {
        return desc->hidden;
    }
    return bias_matrix(desc, role, &matrix) && model_matrix_shape(desc, matrix, &rows, &cols) ? rows : 0;
}

static bool in_layers(enum model_role role) {
    return role != MODEL_EMBED && role != MODEL_HEAD && role != MODEL_FINAL_NORM;
}

static bool has_role(const struct model_desc *desc, enum model_role role) {
    uint64_t rows = 0;
    uint64_t cols = 0;
    return role < MODEL_MATRICES ? model_matrix_shape(desc, role, &rows, &cols) : model_vector_len(desc, role) > 0;
}

static uint32_t roles_per_layer(const struct model_desc *desc) {
    uint32_t n = 0;
    for (unsigned r = 0; r < MODEL_ROLES; r++) {
        n += in_layers((enum model_role)r) && has_role(desc, (enum model_role)r);
    }
    return n;
}

uint32_t model_tensor_count(const struct model_desc *desc) {
    return (desc->tied ? 1u : 2u) + desc->layers * roles_per_layer(desc) + 1u;
}

/* The n-th role that a layer of this model has. */
static enum model_role layer_role(const struct model_desc *desc, uint32_t n) {
    unsigned r = 0;
    for (; r < MODEL_ROLES; r++) {
        if (in_layers((enum model_role)r) && has_role(desc, (enum model_role)r) && n-- == 0) {
            break;
        }
    }
    return (enum model_role)r;
}

static void source_name(const char *pattern, int32_t layer, char *out, size_t len) {
    const char *hole = strstr(pattern, "%d");
    if (hole == NULL) {
        (void)snprintf(out, len, "%s", pattern);
    } else {
        (void)snprintf(out, len, "%.*s%d%s", (int)(hole - pattern), pattern, (int)layer, hole + 2);
    }
}

void model_tensor_at(const struct model_desc *desc, uint32_t index, struct model_tensor *out) {
    uint32_t outside = desc->tied ? 1 : 2;
    uint32_t per_layer = roles_per_layer(desc);
    *out = (struct model_tensor){.layer = -1, .rows = 1};
    if (index < outside) {
        out->role = index == 0 ? MODEL_EMBED : MODEL_HEAD;
    } else if (index < outside + desc->layers * per_layer) {
        out->layer = (int32_t)((index - outside) / per_layer);
        out->role = layer_role(desc, (index - outside) % per_layer);
    } else {
        out->role = MODEL_FINAL_NORM;
    }
    if (!model_matrix_shape(desc, out->role, &out->rows, &out->cols)) {
        out->cols = model_vector_len(desc, out->role);
    }
    const struct model_family *family = model_family_of_name(span_of_text(desc->family));
    if (family != NULL && family->tensor[out->role] != NULL) {
        source_name(family->tensor[out->role], out->layer, out->source, sizeof(out->source));
    }
}

bool model_tensor_ignored(const struct model_desc *desc, struct span source) {
    const struct model_family *family = model_family_of_name(span_of_text(desc->family));
    if (family == NULL) {
        return false;
    }
    for (unsigned i = 0; i < ARRAY_LEN(family->ignored) && family->ignored[i] != NULL; i++) {
        if (span_ends_with(source, family->ignored[i])) {
            return true;
        }
    }
    /* A tied model may still ship its head; the embedding is used. The splitter asks after it saw both. */
    return desc->tied && family->tensor[MODEL_HEAD] != NULL && span_is(source, family->tensor[MODEL_HEAD]);
}

uint64_t model_weight_count(const struct model_desc *desc) {
    uint64_t sum = 0;
    for (unsigned r = 0; r < MODEL_ROLES; r++) {
        enum model_role role = (enum model_role)r;
        uint64_t rows = 1;
        uint64_t cols = 0;
        if (!model_matrix_shape(desc, role, &rows, &cols)) {
            cols = model_vector_len(desc, role);
            rows = 1;
        }
        sum += rows * cols * (in_layers(role) ? desc->layers : 1);
    }
    return sum;
}

uint64_t model_flops_per_row(const struct model_desc *desc) {
    uint64_t sum = 0;
    for (unsigned r = 0; r < MODEL_EMBED; r++) {
        uint64_t rows = 0;
        uint64_t cols = 0;
        if (model_matrix_shape(desc, (enum model_role)r, &rows, &cols)) {
            sum += 2 * rows * cols * desc->layers;
        }
    }
    return sum + 2 * (uint64_t)desc->vocab * desc->hidden;
}

void model_describe(const struct model_desc *desc, char *out, size_t len) {
    (void)snprintf(out, len, "%s, %u layers, hidden %u, %u heads (%u KV) of %u, FFN %u, vocabulary %u%s",
                   desc->architecture, desc->layers, desc->hidden, desc->heads, desc->kv_heads, desc->head_dim,
                   desc->ffn, desc->vocab, desc->tied ? ", tied head" : "");
}
