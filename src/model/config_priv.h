/* SPDX-License-Identifier: Apache-2.0
 * config.json as values: every key that any row of the table understands, read by one table, before any family has a say.
 * Private to the model room. */
#ifndef MODEL_CONFIG_PRIV_H
#define MODEL_CONFIG_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "model/family_priv.h"

/* A number that may be absent, or there as null: that says "none", while a missing one takes the class's default. */
struct config_number {
    double value;
    bool given, null;
};

struct config_flag {
    bool value;
    bool given;
};

struct config_text {
    char value[64];
    bool given;
};

struct config_list {
    bool given;
    uint32_t count;
    float value[MODEL_LONG_PAIRS];
};

struct config_rope {
    struct config_text type;
    struct config_number theta, factor, low_freq_factor, high_freq_factor, original_max, beta_fast, beta_slow,
        attention_factor, mscale, mscale_all_dim, partial, query_beta, alpha, short_mscale,
        long_mscale;
    struct config_flag truncate;
    struct config_list short_factor, long_factor;
};

enum config_layer_type { LAYER_UNSAID, LAYER_FULL, LAYER_WINDOWED, LAYER_CHUNKED, LAYER_LINEAR, LAYER_INDEXED, LAYER_OTHER };

/* What "per_layer_config" says of a layer in the place of the keys for all. */
struct config_form {
    struct config_number head_dim, kv_heads;
};

struct config_values {
    struct config_text inner_architecture; /* of the text model inside a multimodal one */
    struct config_text architecture, model_type, activation, quant_method, quant_format, framework, scoring, choosing;
    struct config_number hidden, layers, heads, kv_heads, head_dim, ffn, vocab, padded_vocab, max_positions, sequence_length,
        other_max, norm_eps, rope_theta, rotary_base, partial_rotary, rotary_dim, window, late_layers, window_period,
        query_pre_scalar, score_cap, logit_cap, embed_multiplier, residual_multiplier, score_multiplier, logits_divisor,
        logit_multiplier, local_theta, rope_ratio, original_max, experts, top_k, expert_ffn, shared_ffn, shared_count,
        first_dense, last_sparse, sparse_step, groups, kept_groups, route_factor, dense_ffn, chunk, nope_step,
        query_scale, query_floor,
        swiglu_limit, q_latent, kv_latent, plain_dim, rotary_part, value_dim, delta_taps, delta_k_dim, delta_v_dim,
        delta_k_heads, delta_heads, delta_period, full_head_dim, full_kv_heads, shared_layers, input_dim, input_vocab,
        qkv_clip, embed_width, jitter, indexed, window_before, windowed_kv_heads, windowed_heads, windowed_head_dim,
        windowed_value_dim, value_scale;
    struct config_flag double_wide, keys_as_values, experts_on;
    struct config_flag tied, attention_bias, qkv_bias, plain_bias, mlp_bias, out_bias, head_bias, use_window, multi_query,
        grouped_query, parallel_residual, new_decoder, parallel_attention, qk_norm, dynamic_ntk, logn, alibi, renorm, query_tuned,
        scores_scaled, scores_by_layer, embed_rooted, post_norms;
    struct config_rope rope, window_rope;  /* of full layers or all; of layers with a window, where told apart */
    bool rope_by_layer;
    bool lettered_windows;               /* sliding_window_pattern is a string, which layer_types have to say in full */
    bool late_rotary;                    /* the key "rotary": keys are kept unrotated */
    struct config_number mask_id, gmask_id;
    struct config_flag gguf;             /* written from the metadata of a GGUF file */
    uint32_t layer_type_count;
    uint8_t layer_type[MODEL_MAX_LAYERS];
    struct config_form form[MODEL_MAX_LAYERS];
    uint32_t mlp_type_count;
    bool mlp_sparse[MODEL_MAX_LAYERS];   /* mlp_layer_types: has the layer experts? */
    struct config_list delta_layers;     /* numbers from 1 of layers with linear attention, where listed */
    struct config_list dense_layers;     /* mlp_only_layers */
    struct config_list cross_layers;     /* numbers from 0 of layers that attend to images */
    struct config_list rope_layers;      /* no_rope_layers: 1 rotates, 0 does not */
    struct config_number bos;
    uint32_t eos_count;
    uint32_t eos_ids[16];
    char refused[128];                   /* in words: a switch whose value no row has */
    uint32_t asked;                      /* enum model_feature: what the keys ask for */
    char asked_by[FEATURE_COUNT][40];    /* the key that asked first */
};

lamina_status config_read(struct span json, struct config_values *v, struct lamina_error *err);
/* Does the top level hold this key with a value other than null, false, 0 and nothing? "key=value": with this one, as written. */
bool config_has(struct span json, const char *condition);

/* The row that fits; UNSUPPORTED in words when none does or when a key asks for a feature that the row lacks. */
lamina_status family_detect(const struct config_values *v, struct span json, const struct model_family **family,
                            struct lamina_error *err);

/* How many letters differ: for the nearest name in a refusal. */
unsigned family_name_distance(const char *a, const char *b);

/* Takes a number in [low, high]; a missing one takes `fallback`, unless that is negative: then it is required. */
struct config_range {
    const char *key;
    double low, high, fallback;
};
lamina_status config_take_u32(const struct config_number *n, struct config_range range, uint32_t *out,
                              struct lamina_error *err); /* a whole one */
/* Every how many layers: from 1 on, and no more than any model has; `otherwise` where it is missing or below 1. */
uint32_t config_step(const struct config_number *n, uint32_t otherwise);
/* What stands in for a number that is not given: `none` where the key is there and null. */
double config_otherwise(const struct config_number *n, double missing, double none);
lamina_status config_take_double(const struct config_number *n, struct config_range range, double *out,
                                 struct lamina_error *err);

/* Can the numbers of a description be computed with? What a store says must be so, and what config.json is resolved to. */
bool model_plausible(const struct model_desc *d);

/* Fills rope[] and gives each kind of layer its set. */
lamina_status resolve_rope(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                           struct lamina_error *err);

/* What YaRN multiplies scores by where a family keeps it out of cos and sin. */
double resolve_stretch(const struct model_rope *r);

/* Has this layer experts? And the numbers of such layers, into *k and d->routing. */
bool resolve_is_sparse(const struct config_values *v, const struct model_family *f, uint32_t layer);
lamina_status resolve_experts(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                              struct model_kind *k, struct lamina_error *err);

/* Is this the key of the text model inside a multimodal one? */
bool config_is_tower(struct span key);

/* Token ids as a number, a list of numbers, or null. */
struct json_reader;
bool config_read_ids(struct json_reader *r, uint32_t *ids, uint32_t *count, uint32_t max);

#endif
