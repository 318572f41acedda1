/* SPDX-License-Identifier: Apache-2.0
 *
 * Model families as data: config.json + a row of the family table -> a resolved description; the description -> tensor
 * names and shapes, op records, RoPE factors. Pure: text in, tables out. Nothing outside this room knows a family name.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "base/str.h"
#include "kern/op.h"

/* Matrices first (streamed), then vectors (resident, fp32). EMBED and HEAD are matrices outside the layers. */
enum model_role {
    MODEL_Q, MODEL_K, MODEL_V, MODEL_O, MODEL_GATE, MODEL_UP, MODEL_DOWN,
    MODEL_EMBED, MODEL_HEAD,
    MODEL_MATRICES,
    MODEL_ATTN_NORM = MODEL_MATRICES, MODEL_MLP_NORM, MODEL_Q_BIAS, MODEL_K_BIAS, MODEL_V_BIAS, MODEL_O_BIAS,
    MODEL_GATE_BIAS, MODEL_UP_BIAS, MODEL_DOWN_BIAS,
    MODEL_FINAL_NORM,
    MODEL_ROLES
};
const char *model_role_name(enum model_role role); /* "q", "attn_norm", ...: as written in stores */
bool model_role_of_name(struct span name, enum model_role *role);

enum model_rope_kind {
    MODEL_ROPE_NONE_SCALING, MODEL_ROPE_LINEAR, MODEL_ROPE_DYNAMIC, MODEL_ROPE_LLAMA3, MODEL_ROPE_YARN
};

struct model_rope {
    uint32_t kind;            /* enum model_rope_kind */
    uint32_t dim;             /* rotated dimensions of a head */
    double theta;
    double factor;
    double low_freq_factor, high_freq_factor;      /* llama3 */
    double beta_fast, beta_slow;                   /* yarn */
    double attention_factor;                       /* yarn: explicit multiplier of cos and sin, 0: derived */
    double mscale, mscale_all_dim;                 /* yarn */
    bool truncate;                                 /* yarn: floor/ceil of the correction range */
    uint32_t original_max_positions;               /* llama3, yarn */
};

struct model_desc {
    char family[32];          /* row of the table */
    char architecture[64];    /* as config.json says */
    uint32_t hidden, layers, heads, kv_heads, head_dim, ffn, vocab, max_positions;
    float norm_eps;
    bool tied;
    bool bias_qkv, bias_o, bias_mlp;
    struct model_rope rope;
    int64_t bos_id;           /* -1: none */
    uint32_t eos_count;
    uint32_t eos_ids[16];     /* of config.json; generation_config.json may add */
};

/* config.json (whole text) -> description. UNSUPPORTED (exit 9) names the architecture, the nearest supported one and
 * the missing feature; DAMAGED names the key whose value is out of range. Ranges: reference/reliability.md 5.2. */
lamina_status model_resolve(struct span config_json, struct model_desc *desc, struct lamina_error *err);

/* The description as a JSON object (in a store's manifest) and back. */
void model_desc_write(const struct model_desc *desc, struct str *out);
lamina_status model_desc_read(struct span json, struct model_desc *desc, struct lamina_error *err);

/* One canonical tensor: where it comes from and what shape it has. */
struct model_tensor {
    enum model_role role;
    int32_t layer;            /* -1: outside the layers */
    char source[160];         /* its name in the checkpoint */
    uint64_t rows, cols;      /* matrices [rows = out, cols = in]; vectors: rows = 1 */
    bool optional;            /* may be absent from the checkpoint (a tied head) */
};
/* Canonical tensors in store order: EMBED, HEAD (unless tied), then each layer's matrices and vectors in role order, then
 * FINAL_NORM. */
uint32_t model_tensor_count(const struct model_desc *desc);
void model_tensor_at(const struct model_desc *desc, uint32_t index, struct model_tensor *out);
/* Tensors of a checkpoint that this family does not use and that are dropped without a word (inv_freq buffers, ...). */
bool model_tensor_ignored(const struct model_desc *desc, struct span source_name);

/* Matrix shape by role; false where the model has no such matrix (HEAD when tied: use EMBED). */
bool model_matrix_shape(const struct model_desc *desc, enum model_role role, uint64_t *rows, uint64_t *cols);
/* Vector length by role, 0 where the model has none. */
uint64_t model_vector_len(const struct model_desc *desc, enum model_role role);

/* Op records of one layer, and of the head (final norm, head matrix into KERN_L). Return the count, at most max. */
enum { MODEL_MAX_OPS = 32 };
uint32_t model_layer_ops(const struct model_desc *desc, struct kern_op *ops, uint32_t max);
uint32_t model_head_ops(const struct model_desc *desc, struct kern_op *ops, uint32_t max);
/* Width of an activation register in floats, 0 when unused. */
uint32_t model_reg_width(const struct model_desc *desc, enum kern_reg reg);

/* RoPE frequencies for a sequence whose prompt is `length` tokens: inv_freq[rope.dim/2] and the multiplier of cos and
 * sin. Follows reference/models.md 1.3; computed in fp64, rounded to fp32 as the reference framework holds them. */
void model_rope_frequencies(const struct model_desc *desc, uint32_t length, float *inv_freq, float *attention_factor);

uint64_t model_weight_count(const struct model_desc *desc); /* padding excluded, a tied head counted once */
uint64_t model_flops_per_row(const struct model_desc *desc); /* of the matrix products, 2 per weight used */

/* "LlamaForCausalLM, 16 layers, hidden 2048, 16 heads (4 KV) of 128, FFN 8192, vocabulary 32768" */
void model_describe(const struct model_desc *desc, char *out, size_t len);
/* Calls each(user, family name, architectures text) per row, for the programs' lists. */
void model_families(void (*each)(void *user, const char *family, const char *architectures), void *user);

/* generation_config.json: sampling defaults and end tokens. Absent keys keep what is in *g. */
struct model_generation {
    bool do_sample, has_do_sample;
    double temperature, top_p, min_p, repetition_penalty;
    uint32_t top_k;
    uint32_t eos_count;
    uint32_t eos_ids[16];
    int64_t bos_id;
};
lamina_status model_generation_read(struct span json, struct model_generation *g, struct lamina_error *err);

#endif
