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

/* Matrices first (streamed), then vectors (resident, fp32): those of a layer, then those outside. EMBED and HEAD are
 * matrices outside the layers. Bias roles follow the order of the matrices they belong to. */
enum model_role {
    MODEL_QA, MODEL_KV_A,                      /* to the latents of queries, and of keys and values */
    MODEL_UK, MODEL_UV,                        /* heads of [latent][key], [value][latent]: the latent taken apart */
    MODEL_ZA, MODEL_Z,                         /* gate of what attention gives, through a latent or not */
    MODEL_DECAY_A, MODEL_DECAY, MODEL_BETA,    /* linear attention: decays, through a latent or not; write strengths */
    MODEL_Q, MODEL_K, MODEL_V, MODEL_O, MODEL_GATE, MODEL_UP, MODEL_DOWN,
    MODEL_ROUTER, MODEL_SHARED_ROUTER,         /* scores of experts; of the shared one */
    MODEL_SHARED_GATE, MODEL_SHARED_UP, MODEL_SHARED_DOWN,
    MODEL_INPUT_GATE, MODEL_INPUT_OUT,         /* of the layer's own input by token: gate on it, and back */
    MODEL_EXPERT_GATE, MODEL_EXPERT_UP, MODEL_EXPERT_DOWN, /* one of each per expert */
    MODEL_EMBED, MODEL_HEAD,
    MODEL_INPUT_EMBED, MODEL_INPUT_PROJ,       /* inputs of all layers side by side: by token, and from the embedding */
    MODEL_MATRICES,
    MODEL_ATTN_NORM = MODEL_MATRICES, MODEL_MLP_NORM, MODEL_Q_BIAS, MODEL_K_BIAS, MODEL_V_BIAS, MODEL_O_BIAS,
    MODEL_GATE_BIAS, MODEL_UP_BIAS, MODEL_DOWN_BIAS,
    MODEL_ATTN_NORM_BIAS, MODEL_MLP_NORM_BIAS,
    MODEL_ATTN_POST_NORM, MODEL_MLP_POST_NORM, /* on what attention and MLP add to the residual stream */
    MODEL_Q_NORM, MODEL_K_NORM,
    MODEL_QA_NORM, MODEL_KV_A_NORM,            /* of the latents */
    MODEL_CONV_Q, MODEL_CONV_K, MODEL_CONV_V,  /* [channels][taps] */
    MODEL_DECAY_RATE, MODEL_DECAY_BIAS, MODEL_DELTA_NORM,
    MODEL_INPUT_POST_NORM,                     /* on what the layer's own input adds */
    MODEL_LAYER_SCALE,                         /* [1] multiplies what a layer gives */
    MODEL_SINKS,                               /* [heads] scores without a value */
    MODEL_ROUTER_BIAS,                         /* [experts] added to the scores */
    MODEL_CHOICE_BIAS,                         /* [experts] added to the scores for choosing only */
    MODEL_EXPERT_GATE_BIAS, MODEL_EXPERT_UP_BIAS, MODEL_EXPERT_DOWN_BIAS, /* [experts][rows] */
    MODEL_ROUTER_NORM,                         /* of what the router reads */
    MODEL_EXPERT_SCALE,                        /* [experts] multiplies the weights */
    MODEL_DENSE_POST_NORM, MODEL_EXPERT_NORM, MODEL_EXPERT_POST_NORM, /* of the MLP and the experts beside it */
    MODEL_FINAL_NORM, MODEL_FINAL_NORM_BIAS, MODEL_HEAD_BIAS,
    MODEL_HEAD_SCALE,                          /* [vocab] multiplies the logits (heads with rows of unit length) */
    MODEL_INPUT_NORM,                          /* on what the embedding adds to the inputs of layers */
    MODEL_POSITIONS,                           /* [max_positions][hidden] learned positions */
    MODEL_EMBED_NORM, MODEL_EMBED_NORM_BIAS,   /* on what the embedding gives */
    MODEL_ROLES
};
const char *model_role_name(enum model_role role); /* "q", "attn_norm", ...: as written in stores */
bool model_role_of_name(struct span name, enum model_role *role);
bool model_role_in_layers(enum model_role role);

enum model_rope_kind {
    MODEL_ROPE_NONE_SCALING, MODEL_ROPE_LINEAR, MODEL_ROPE_DYNAMIC, MODEL_ROPE_LLAMA3, MODEL_ROPE_YARN,
    MODEL_ROPE_QWEN_NTK,      /* theta grows in powers of two with the prompt, `factor` unused */
    MODEL_ROPE_PARTIAL,       /* dim is the whole head, but only the first `turning` pairs turn */
    MODEL_ROPE_LONG,          /* each frequency divided by a factor of its own: short or long list by length */
    MODEL_ROPE_KINDS
};
enum { MODEL_ROPES = KERN_ROPES, MODEL_NO_ROPE = 255, MODEL_LONG_PAIRS = 256 };

struct model_rope {
    uint32_t kind;            /* enum model_rope_kind */
    uint32_t dim;             /* rotated dimensions of a head, its first ones */
    double theta;
    double factor;
    double low_freq_factor, high_freq_factor;      /* llama3 */
    double beta_fast, beta_slow;                   /* yarn */
    double attention_factor;                       /* yarn, long: explicit multiplier of cos and sin, 0: derived */
    double mscale, mscale_all_dim;                 /* yarn */
    uint32_t turning;                              /* MODEL_ROPE_PARTIAL */
    bool half;                                     /* frequencies are rounded to fp16 */
    bool truncate;                                 /* yarn: floor/ceil of the correction range */
    uint32_t original_max_positions;               /* llama3, yarn, long; Qwen: the length from which theta grows */
};

enum model_norm { MODEL_NORM_RMS, MODEL_NORM_LAYER, MODEL_NORM_BARE, MODEL_NORMS }; /* BARE: LAYER without weights */

/* N1, N2: norms before attention and MLP; P1, P2: after them.
 *   PRE        h = x + Attn(N1 x); y = h + MLP(N2 h)
 *   SANDWICH   h = x + P1 Attn(N1 x); y = h + P2 MLP(N2 h)
 *   POST       h = x + P1 Attn(x); y = h + P2 MLP(h)
 *   PARALLEL   y = x + Attn(N1 x) + MLP(N1 x)
 *   PARALLEL2  y = x + Attn(N1 x) + MLP(N2 x)
 *   ALPHA      n = N1 x; h = alpha n + Attn(n); m = N2 h; y = alpha m + MLP(m)
 * Where layers with experts have the MLP as well (dense_beside), in place of MLP(N2 h) stands D MLP(N2 h) + F Experts(E h),
 * each with norms of its own, and the router reads RMS(h) * ROUTER_NORM / sqrt(hidden). */
enum model_wiring { MODEL_PRE, MODEL_SANDWICH, MODEL_POST, MODEL_PARALLEL, MODEL_PARALLEL2, MODEL_ALPHA, MODEL_WIRINGS };

/* Norms of queries and keys: HEAD and FULL before RoPE by RMS over a head or the whole width; HEAD_LAYER by mean and
 * variance, each head with weights of its own; UNIT after RoPE, without weights, in layers that rotate; HEAD_AFTER as HEAD, but
 * after RoPE. */
enum model_qk_norm {
    MODEL_QK_NONE, MODEL_QK_HEAD, MODEL_QK_FULL, MODEL_QK_HEAD_LAYER, MODEL_QK_UNIT, MODEL_QK_HEAD_AFTER, MODEL_QK_NORMS
};

/* Factors on queries by position p: LOGN ln(p + 1) / ln(length) beyond length; STEPS 1 + beta ln(1 + floor((p + offset) /
 * length)). */
enum model_query_rule { MODEL_QUERY_PLAIN, MODEL_QUERY_LOGN, MODEL_QUERY_STEPS, MODEL_QUERY_RULES };

/* How a layer mixes positions. ATTENTION: keys and values of each head are kept. LATENT: one latent vector per position, from
 * which a head's keys and values would be products (MODEL_UK, MODEL_UV); queries are multiplied into the latent's space
 * instead, so that the latent, with the part of the key that rotates, is all that is kept. DELTA: linear attention by a gated
 * delta rule: a state of fixed size per head, and the last inputs of a short convolution. */
enum model_mixer { MODEL_ATTENTION, MODEL_LATENT, MODEL_DELTA, MODEL_MIXERS };

/* One kind of layer; a model has a few. */
struct model_kind {
    uint32_t mixer;           /* enum model_mixer */
    uint32_t q_latent, kv_latent; /* LATENT: widths; no latent of queries: 0 */
    uint32_t plain_dim;       /* LATENT: of a head, the part that does not rotate */
    uint32_t value_dim;       /* values of a head; ATTENTION: 0 means as many as a key has */
    uint32_t taps;            /* DELTA: of the convolution; heads: of values, kv_heads: of queries and keys */
    uint32_t decay_latent, gate_latent; /* DELTA: widths, 0: straight from the input */
    bool wide_decay;          /* DELTA: a decay per dimension of a key */
    bool silu_gate;           /* DELTA: the gate is silu(z), not sigmoid(z) */
    bool shared_kv;           /* ATTENTION: reads what the nearest earlier layer of the same form keeps, keeps nothing itself */
    bool value_is_key;        /* ATTENTION: no matrix of values, the product for keys serves */
    bool gated_out;           /* ATTENTION: what it gives is multiplied by sigmoid(z) */
    uint32_t heads, kv_heads, head_dim, ffn;
    uint32_t experts;         /* 0: one MLP of width ffn */
    uint32_t expert_ffn, shared_ffn; /* widths of an expert and of the shared one (0: none) */
    uint32_t window;          /* positions a query sees, itself included; 0: all */
    uint32_t chunk;           /* attention stays inside chunks of so many positions; 0: no chunks */
    uint32_t rope;            /* index into rope[], or MODEL_NO_ROPE */
    bool query_scaled;        /* the query rule applies */
};
enum { MODEL_KINDS = 8, MODEL_MAX_LAYERS = 1024, MODEL_MAX_LEFT_OUT = 256 };

/* Experts as the family's first form has them; all of a layer in one tensor, gate and up together, rows as the product uses them;
 * or one tensor for each of gate, up and down, under names of MLX. */
enum model_stacked { MODEL_AS_NAMED, MODEL_STACKED, MODEL_SWITCHED };

struct model_desc {
    char family[32];          /* row of the table */
    char architecture[64];    /* as config.json says */
    uint32_t hidden, layers, vocab, max_positions;
    uint32_t norm;            /* enum model_norm */
    uint32_t wiring;          /* enum model_wiring */
    uint32_t qk_norm;         /* enum model_qk_norm */
    uint32_t act;             /* enum kern_act */
    float norm_eps, latent_eps;
    float act_limit;          /* of KERN_ACT_CLAMPED */
    bool norm_bias;
    bool gated;               /* MLP: down(act(gate x) * up x), else down(act(up x)) */
    bool tied;
    bool bias_qkv, bias_o, bias_mlp, bias_head;
    bool head_scaled;         /* logits times HEAD_SCALE */
    bool positions;           /* learned positions are added to the embedding */
    bool embed_norm;          /* what the embedding gives is normed */
    float qkv_clip;           /* queries, keys and values are kept in [-clip, clip], before RoPE; 0: as they are */
    bool value_norm;          /* values are normed by head, without weights */
    uint32_t input_dim;       /* of each layer's own input by token, 0: layers have none */
    uint32_t input_vocab;
    bool layer_scaled;
    bool tiled_values;        /* DELTA: head v of values is on head v % kv_heads of keys, else on v / (heads / kv_heads) */
    uint32_t indexed;         /* an indexer chooses this many keys for each query: all of them, up to so many positions; 0: none */
    bool alibi;
    bool sinks;
    bool sinks_windowed;      /* in layers with a window only */
    float value_scale;        /* of ATTENTION's values; 0: as they are */
    bool raw_keys;            /* keys are kept unrotated, since the base follows the length: each row rotates all it sees */
    /* Prefix models: all of a prompt sees the prompt up to its end mark (prefix_end, the first such token), which counts as
     * generated. rope[0] turns the first half of a head by the place in the prompt, which stays at that of the mask token from
     * the end mark on; rope[1] turns the second half by the number of tokens since, 0 in the prompt. */
    bool prefix;
    uint32_t prefix_end, prefix_masks[2];
    float alibi_scale;        /* of the slopes: 1, or the scale of scores where those are scaled after adding */
    float score_scale;        /* of attention scores */
    bool score_by_layer;      /* divided by the number of the layer, counted from 1 */
    float score_cap;          /* 0: none */
    float embed_scale, residual_scale, logit_scale;
    float logit_cap;          /* 0: none */
    uint32_t query_rule;      /* enum model_query_rule */
    uint32_t query_length, query_offset;
    double query_beta;
    struct kern_routing routing; /* of layers with experts */
    bool router_bias, choice_bias, shared_gated, bias_expert;
    bool expert_scaled;       /* weights times EXPERT_SCALE */
    bool dense_beside;        /* see enum model_wiring */
    struct model_rope rope[MODEL_ROPES];
    float rope_short[MODEL_LONG_PAIRS], rope_long[MODEL_LONG_PAIRS]; /* MODEL_ROPE_LONG, of rope[0] */
    uint32_t kind_count;
    struct model_kind kinds[MODEL_KINDS];
    uint8_t layer_kind[MODEL_MAX_LAYERS];
    uint32_t stacked;         /* enum model_stacked: the form of experts in the source, where a family has several */
    bool gguf;                /* the source is a GGUF file: its names, and rows as it stores them */
    uint32_t left_out_count;  /* layers of the source that text alone passes by, ascending; they have no number here */
    uint16_t left_out[MODEL_MAX_LEFT_OUT];
    uint32_t names;           /* which of the family's spellings of tensor names the source has; of GGUF: which forms */
    int64_t bos_id;           /* -1: none */
    uint32_t eos_count;
    uint32_t eos_ids[16];     /* of config.json; generation_config.json may add */
};

/* Positions that a sequence can have at most, UINT32_MAX: as many as its context holds. */
uint32_t model_most_positions(const struct model_desc *desc);

/* What a layer keeps per position; heads 0: nothing. */
struct model_kept {
    uint32_t heads, k_dim, v_dim;
    uint64_t fixed_floats;    /* per sequence */
};
/* The layer whose keys and values a layer reads: itself, or an earlier one. */
uint32_t model_kv_layer(const struct model_desc *desc, uint32_t layer);
bool model_has_state(const struct model_desc *d); /* some layer keeps a state of fixed size */
/* Rows that a head takes in a matrix of heads (MODEL_UK, MODEL_UV): whole groups of panels. */
uint32_t model_head_rows(uint32_t rows);
struct model_kept model_kept_of(const struct model_kind *k);
/* Values of a head in layers of kind ATTENTION. */
static inline uint32_t model_value_dim(const struct model_kind *k) {
    return k->value_dim != 0 ? k->value_dim : k->head_dim;
}

static inline const struct model_kind *model_kind_of(const struct model_desc *d, uint32_t layer) {
    return &d->kinds[d->layer_kind[layer]];
}

/* The first kind of layer with attention (there is one: model_resolve checks): the numbers that a model is told by. */
const struct model_kind *model_attending(const struct model_desc *d);

/* config.json (whole text) -> description. UNSUPPORTED (exit 9) names the architecture, the nearest supported one and
 * the missing feature; DAMAGED names the key whose value is out of range. Ranges: reference/reliability.md 5.2. */
lamina_status model_resolve(struct span config_json, struct model_desc *desc, struct lamina_error *err);

/* A GGUF checkpoint as this room sees it: metadata by key, tensors by name. Callbacks return false where there is none, or
 * where it is of another kind. */
struct model_gguf {
    void *user;
    bool (*number)(void *user, const char *key, double *out); /* integers, floats and booleans */
    bool (*number_at)(void *user, const char *key, uint64_t index, double *out); /* of an array of such */
    bool (*text)(void *user, const char *key, struct span *out);
    bool (*shape)(void *user, const char *tensor, uint32_t *rank, uint64_t shape[4]); /* slowest dimension first */
    bool (*floats)(void *user, const char *tensor, float *out, uint32_t max, uint32_t *count); /* a small F32 tensor */
};
/* Appends the config.json that the checkpoint would have in its family's own format: what model_resolve takes. UNSUPPORTED
 * names the architecture, the nearest supported one and what is missing; DAMAGED names the key. Ranges are not checked here,
 * model_resolve does that. */
lamina_status model_gguf_config(const struct model_gguf *g, struct str *config_json, struct lamina_error *err);

/* The description as a JSON object (in a store's manifest) and back. */
void model_desc_write(const struct model_desc *desc, struct str *out);
lamina_status model_desc_read(struct span json, struct model_desc *desc, struct lamina_error *err);

/* Which rows of a source tensor make a canonical one. Row r first moves inside its head (heads of `head` rows, of which
 * rope_dim rows from rope_first on hold rotary pairs side by side and are taken apart into halves; rope_dim 0: no move),
 * then lies at first + r / run * step + r % run * stride. */
struct model_rows {
    uint64_t plane;           /* elements of the source tensor before the matrix at hand (stacked experts) */
    uint64_t planes;          /* matrices stacked in the source tensor, 0: not stacked */
    uint64_t total;           /* rows of the source tensor, or of each matrix stacked in it */
    uint64_t first, run, step, stride;
    uint32_t group, real;     /* of each `group` rows the first `real` come from the source, the others are zero; 0: all do */
    uint32_t head, rope_first, rope_dim;
};
uint64_t model_source_row(const struct model_rows *m, uint64_t row);
#define MODEL_ZERO_ROW UINT64_MAX

/* One canonical tensor: where it comes from and what shape it has. */
struct model_tensor {
    enum model_role role;
    int32_t layer;            /* -1: outside the layers */
    uint32_t expert;
    char source[160];         /* its name in the checkpoint */
    uint64_t rows, cols;      /* matrices [rows = out, cols = in]; vectors: rows = 1 */
    struct model_rows from;   /* matrices: rows; vectors: elements */
    bool transposed;          /* the source is stored [in, out] */
    bool row_norms;           /* a vector: 1 / length of each row of the matrix `source`, which has source_cols columns */
    uint64_t source_rows, source_cols; /* of the source tensor, where from.total and cols do not say */
    float plus;               /* added to each element of a vector, in fp32 */
    bool exponentiated;       /* a vector: the source holds -exp(x), x = log(-source) is wanted, in fp64 and rounded */
    uint32_t pieces;          /* a vector: it lies in so many tensors of one length, one after another; 0: in `source` */
};
/* Canonical tensors: EMBED, HEAD (unless tied), INPUT_EMBED and INPUT_PROJ (of models with inputs by layer), then each layer's
 * matrices and vectors in role order, then
 * the vectors outside the layers. */
uint32_t model_tensor_count(const struct model_desc *desc);
void model_tensor_at(const struct model_desc *desc, uint32_t index, struct model_tensor *out);
/* Those of a layer, in the same order; layer -1: those outside. */
uint32_t model_layer_tensor_count(const struct model_desc *desc, int32_t layer);
void model_layer_tensor_at(const struct model_desc *desc, int32_t layer, uint32_t index, struct model_tensor *out);
/* Of a vector in pieces; piece 0 is `source`. */
void model_tensor_piece(const struct model_desc *desc, const struct model_tensor *t, uint32_t piece, char name[160]);
float model_taken_log(float source); /* of an exponentiated one */
/* Tensors of a checkpoint that this family does not use and that are dropped without a word (inv_freq buffers, ...). */
bool model_tensor_ignored(const struct model_desc *desc, struct span source_name);
/* The part of a multimodal checkpoint that a tensor belongs to, as its names begin ("model.visual.") or in words; NULL: the text
 * model. One address for each part. */
const char *model_tensor_tower(const struct model_desc *desc, struct span source_name);
/* Is there such a tensor? And its last two dimensions, where it has two (shape not NULL). */
typedef bool model_has_fn(void *user, const char *name, uint64_t shape[2]);
/* Checkpoints of one family spell the roots of names differently ("model.", "model.language_model."): takes the first
 * spelling under which has() finds the embedding; stays as it is when none does. The same for experts, one by one or stacked. */
void model_choose_names(struct model_desc *desc, model_has_fn *has, void *user);

/* Shape by role in a layer (-1: outside the layers); false where there is no such matrix (HEAD when tied: use EMBED). */
bool model_matrix_shape(const struct model_desc *desc, int32_t layer, enum model_role role, uint64_t *rows, uint64_t *cols);
/* Vector length by role, 0 where there is none. */
uint64_t model_vector_len(const struct model_desc *desc, int32_t layer, enum model_role role);
/* The roles that a layer (-1: outside) has, in order: matrices or vectors. Returns how many. */
uint32_t model_roles(const struct model_desc *desc, int32_t layer, bool matrices, enum model_role roles[MODEL_ROLES]);
/* The matrices of a layer in store order: those of the layer in role order, then those of each expert. */
struct model_slot {
    enum model_role role;
    uint32_t expert;          /* 0 outside experts */
};
uint32_t model_slot_count(const struct model_desc *desc, int32_t layer);
struct model_slot model_slot_at(const struct model_desc *desc, int32_t layer, uint32_t index);
bool model_role_of_expert(enum model_role role);

/* Op records. Of the rows of an embedding before the first layer (may be none), of a kind of layer, and of the head (final
 * norm, head matrix into KERN_L). Return the count, at most max; 0 for a layer means that max was too small. */
enum { MODEL_MAX_OPS = 64, MODEL_MAX_EXPERTS = KERN_MAX_EXPERTS };
uint32_t model_front_ops(const struct model_desc *desc, struct kern_op *ops, uint32_t max);
uint32_t model_layer_ops(const struct model_desc *desc, uint32_t kind, struct kern_op *ops, uint32_t max);
uint32_t model_head_ops(const struct model_desc *desc, struct kern_op *ops, uint32_t max);
/* Width of an activation register in floats, 0 when unused. */
uint32_t model_reg_width(const struct model_desc *desc, enum kern_reg reg);

/* The length that length-dependent RoPE goes by for a row, and the frequencies for that length: inv_freq[rope.dim/2] and
 * the multiplier of cos and sin. Follows reference/models.md 1.3; computed in fp64, rounded to fp32 as the reference
 * framework holds them. */
uint32_t model_rope_length(const struct model_desc *desc, uint32_t prompt_length, uint32_t position);
void model_rope_frequencies(const struct model_desc *desc, uint32_t rope, uint32_t length, float *inv_freq,
                            float *attention_factor);
uint32_t model_rope_dim(const struct model_desc *desc, uint32_t rope); /* 0: no layer uses this set */
/* Of a prompt of a prefix model: how many positions all rows see, and the place of the mask. False: no end mark in it. */
bool model_prefix(const struct model_desc *desc, const uint32_t *ids, uint32_t count, uint32_t *prefix, uint32_t *mask_at);
/* The factor on queries at a position (layers that say query_scaled). */
float model_query_factor(const struct model_desc *desc, uint32_t position);
/* ALiBi slopes of the heads, times alibi_scale. slopes[heads of kind 0]. */
void model_alibi_slopes(const struct model_desc *desc, float *slopes);

uint64_t model_weight_count(const struct model_desc *desc); /* padding excluded, a tied head counted once */
uint64_t model_flops_per_row(const struct model_desc *desc); /* of the matrix products, 2 per weight used */

/* "LlamaForCausalLM, 16 layers, hidden 2048, 16 heads (4 KV) of 128, FFN 8192, vocabulary 32768" */
void model_describe(const struct model_desc *desc, char *out, size_t len);

/* The family table in words, for the programs' lists. A trait is something a row may have, told from the row's data alone;
 * `aspect` says which part of a model it is about ("attention"), traits of one aspect follow each other. */
struct model_trait {
    const char *aspect, *words;
};
enum { MODEL_MAX_TRAITS = 128, MODEL_ROW_NAMES = 8 };
const struct model_trait *model_traits(unsigned *count);
struct model_row {
    const char *name;
    const char *architectures[MODEL_ROW_NAMES], *model_types[MODEL_ROW_NAMES]; /* 0-ended */
    bool has[MODEL_MAX_TRAITS];
};
/* Row `index` of the table, false past its end. Pointers are static. */
bool model_row_at(unsigned index, struct model_row *row);

/* What config.json says about quantised weights (quantization_config; MLX: quantization), where tensors do not say it. */
struct model_quant {
    bool given;
    char method[40], format[40], version[40]; /* "gptq"; "pack-quantized"; "gemm" */
    uint32_t bits, group;                     /* 0: not said, or all columns */
    uint32_t block_rows, block_cols;          /* FP8, 0: not said */
    bool zeros_whole;                         /* GPTQ: zero points are not stored less one */
};
lamina_status model_quant_read(struct span config_json, struct model_quant *q, struct lamina_error *err);

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
