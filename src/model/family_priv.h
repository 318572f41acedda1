/* SPDX-License-Identifier: Apache-2.0
 * The family table: one row per model family, nothing but data. See docs/ADD-A-FAMILY.md. */
#ifndef MODEL_FAMILY_PRIV_H
#define MODEL_FAMILY_PRIV_H

#include <stdbool.h>

#include "model/model.h"

/* What a config key may ask for. A row lists the features its family has; a key that asks for another one is refused by
 * name. */
enum model_feature {
    FEATURE_WINDOW = 1 << 0,
    FEATURE_SCORE_CAP = 1 << 1,
    FEATURE_SCALES = 1 << 2,       /* multipliers of embeddings, residuals, scores, logits */
    FEATURE_QK_NORM = 1 << 3,
    FEATURE_NO_ROPE_LAYERS = 1 << 4,
    FEATURE_ALIBI = 1 << 5,
    FEATURE_PARTIAL_ROPE = 1 << 6,
    FEATURE_MOE = 1 << 7,
    FEATURE_LATENT = 1 << 8,
    FEATURE_LINEAR = 1 << 9,
    FEATURE_LAYER_ROPE = 1 << 10,  /* rotary parameters that differ between layers */
    FEATURE_TEXT_TOWER = 1 << 11,  /* a text model inside a multimodal one */
    FEATURE_CHUNK = 1 << 12,
    FEATURE_SHARED_KV = 1 << 13,
    FEATURE_LAYER_INPUTS = 1 << 14, /* embeddings per layer */
    FEATURE_CLIP = 1 << 15,
    FEATURE_INDEXER = 1 << 16,      /* beyond index_topk positions an indexer chooses the keys; that far and no further */
    FEATURE_CROSS_LAYERS = 1 << 17, /* layers that attend to images: text alone passes them by */
    FEATURE_COUNT = 18,
};
const char *model_feature_words(uint32_t feature);

/* How fused query/key/value rows lie in the source: SEP not fused; CAT all Q, all K, all V; HEAD q k v of each head; GROUP
 * the q's, k and v of each KV head. */
enum model_qkv { QKV_SEP, QKV_CAT, QKV_HEAD, QKV_GROUP };
/* Where a bias comes from: never, always, or a config key (its default in the row). */
enum model_bias { BIAS_NO, BIAS_YES, BIAS_ATTENTION_KEY, BIAS_QKV_KEY, BIAS_PLAIN_KEY, BIAS_MLP_KEY, BIAS_OUT_KEY };
struct model_bias_rule {
    uint8_t from;   /* enum model_bias */
    bool otherwise; /* when the key is silent */
};
/* Which layers have a window: none; all, where the key is set; where use_sliding_window says so those from max_window_layers on,
 * even ones before it, or all; those from max_window_layers on without a switch; every layer whose (number + 1) is not a multiple
 * of the period; even layers; odd layers; as by the period, but the first; every layer whose number is not a multiple of the
 * period; those of layer_types alone, which wins in all others too where it is given. */
enum model_window {
    WINDOW_NONE, WINDOW_ALL, WINDOW_SWITCH_LATE, WINDOW_SWITCH_EARLY, WINDOW_SWITCH_ALL, WINDOW_LATE, WINDOW_PERIOD, WINDOW_EVEN,
    WINDOW_ODD, WINDOW_INNER, WINDOW_AFTER_FIRST, WINDOW_LISTED
};
/* Sets of rotary factors: one for all; none for layers without a window, or only where the model has a window at all; the plain
 * one for layers with a window and the scaled one for the others; a theta of their own for layers with a window. */
enum model_rope_rule {
    ROPE_ALL, ROPE_WINDOWED_ONLY, ROPE_WINDOWED_IF_ANY, ROPE_WINDOWED_PLAIN, ROPE_WINDOWED_THETA, ROPE_NEVER
};
/* How gate and up of an expert share a source tensor: not; gate rows, then up rows; row by row in turn. */
enum model_expert_fusion { EXPERT_APART, EXPERT_HALVES, EXPERT_IN_TURN };
/* Which layers have experts: all; from first_k_dense_replace on, every moe_layer_freq-th; every decoder_sparse_step-th but for
 * those of mlp_only_layers; every interleave_moe_layer_step-th; every moe_layer_interval-th from moe_layer_start_index to
 * moe_layer_end_index. */
enum model_expert_rule { EXPERTS_ALL, EXPERTS_AFTER_DENSE, EXPERTS_BY_STEP, EXPERTS_BETWEEN };
/* How inputs of linear attention share source tensors: not; queries, keys, values in one; by head of keys: queries, keys, values
 * and gates in one, write strengths and decays in another; queries, keys, values as in the second, the others as in the third.
 * All but the first share the convolution as well. */
enum model_delta_fusion { DELTA_APART, DELTA_CAT, DELTA_BY_HEAD, DELTA_CAT_BY_HEAD };
/* Factor of the embedding where embedding_multiplier is absent: none; the root of the width; that where mup_enabled says so. */
enum model_embed_rule { EMBED_PLAIN, EMBED_SQRT_HIDDEN, EMBED_BY_KEY };

struct model_spelling {
    const char *body; /* stands for '~' in a tensor name */
    const char *head; /* stands for '^' */
};

struct model_family {
    const char *name;
    const char *architectures[6]; /* config.json "architectures"[0], 0-ended */
    const char *model_types[4];   /* config.json "model_type", used where architectures is missing */
    /* Rows with the same architecture are told apart by top-level keys of config.json ("key" or
     * "key=value", config_has); the first row that fits is taken. */
    const char *needs[3], *lacks[3];
    const char *framework;        /* how "transformers_version" begins; NULL: any */
    struct model_spelling spellings[4];
    /* Source tensor names; %d stands for the layer number. NULL: the family has no such tensor. */
    const char *tensor[MODEL_ROLES];
    const char *delta_tensor[MODEL_ROLES]; /* of layers with linear attention, where they differ */
    const char *ignored[8];       /* suffixes of checkpoint tensors to drop without a word */
    uint32_t features;            /* enum model_feature */
    /* What config.json means when it is silent: class defaults of the reference framework. */
    double rope_theta, norm_eps, partial_rope;
    double rope_factor_default;   /* of linear and dynamic scaling; 0: the key is required */
    double query_pre_scalar;
    double score_multiplier;      /* of scores, where attention_multiplier is absent; 0: by the width of a head */
    double score_cap, logit_cap, logit_scale; /* logit_scale 0: 1 */
    double window_default;        /* where the key is absent; 0: none */
    struct {
        uint32_t hidden, layers, heads, ffn, vocab; /* 0: the key is required */
    } sizes;                      /* multimodal models leave out what their text model's class has anyway */
    uint32_t kv_heads_default;    /* 0: as many as heads */
    uint32_t head_dim_default;    /* 0: hidden / heads */
    uint32_t window_period;
    uint32_t late_layers;         /* max_window_layers; 0: 28 */
    uint32_t rotary_default;      /* rotary_dim; 0: by partial_rope */
    bool multi_query_default;     /* one KV head where multi_query is absent */
    const char *act;              /* as the key would spell it; NULL: silu */
    double act_limit;             /* KERN_ACT_CLAMPED, where swiglu_limit is absent; 0: another activation */
    bool act_fixed;               /* the key says something else than the class does */
    bool tied;
    /* What the family is. */
    uint8_t norm, wiring, qk_norm, qkv, window, rope, embed;
    uint8_t parallel;             /* the wiring where use_parallel_residual is true; 0: the key means nothing */
    bool parallel_default;
    struct model_bias_rule bias_qkv, bias_o, bias_mlp;
    bool norm_bias;
    bool qk_norm_by_key;          /* only where use_qk_norm or qk_layernorm says so */
    bool plain_mlp;               /* no gate */
    bool gate_up_fused;           /* GATE and UP name one tensor: gate rows, then up rows */
    bool rope_pairs;              /* source rows hold rotary pairs side by side (2i, 2i + 1) */
    bool post_norms_by_key;       /* no norms behind attention and MLP where use_post_norm says so */
    bool logits_multiplied;       /* logits_scaling is a factor, not a divisor */
    bool norms_plus_one;          /* norms multiply by 1 + w */
    bool transposed;              /* matrices of the layers are stored [in, out] */
    bool alibi, alibi_before_scale;
    bool value_norm, layer_scaled; /* see struct model_desc */
    bool positions, bias_head;
    bool bias_head_by_key;        /* where lm_head_bias says so */
    uint32_t embed_spare;         /* rows of the embedding past the vocabulary: places of images */
    uint32_t cross_first, cross_period; /* cross_attention_layers where absent: this one and every so many after it; 0: none */
    uint32_t position_offset;     /* rows of the table of positions before that of position 0 */
    bool embed_norm;              /* see struct model_desc */
    bool prefix;                  /* see struct model_desc */
    double alpha;                 /* of MODEL_ALPHA */
    const char *q_plain_name;     /* of MODEL_Q in layers without a latent of queries, where it differs */
    uint8_t delta_fused;          /* enum model_delta_fusion */
    uint32_t
        delta_period; /* layers that are not a multiple of it have linear attention, where layer_types is silent; 0: none */
    bool delta_wide, delta_latents; /* a decay per dimension of a key; decays and gates through latents as wide as a head */
    bool delta_silu;
    bool delta_tiled;             /* heads of values lie as struct model_desc says of tiled_values */
    bool gated_out;
    bool gate_apart;              /* the gate has a matrix of its own, beside that of queries */
    bool latent;                  /* attention through latents (MODEL_LATENT) */
    bool latent_apart;            /* UK and UV are tensors of their own, and UK multiplies queries as it is */
    bool decay_exponentiated;     /* the source of DECAY_RATE holds -exp of it */
    /* Experts. */
    struct kern_routing routing;  /* what the keys do not say; top_k is the default */
    uint8_t experts_in, expert_fused;
    bool experts_stacked, experts_transposed;
    bool experts_either;          /* stacked as the product uses them or transposed, under one name: the shape tells */
    bool router_bias, choice_bias, shared_gated, bias_expert;
    bool expert_scaled, dense_beside; /* see struct model_desc */
    bool experts_by_key;          /* only where enable_moe_block says so */
    bool renorm_default;          /* norm_topk_prob where absent */
    bool renorm_fixed;            /* whatever the key says */
    bool renorm_several;          /* but the weight of a single expert stays as it is */
    uint32_t shared_default;
    uint32_t first_dense;         /* first_k_dense_replace where absent */
    double route_factor;          /* routed_scaling_factor where absent; 0: 1 */
    bool extra_layers;            /* the checkpoint may hold layers beyond the last, for predicting further tokens */
    bool shared_by_count;         /* the shared width is a number of experts */
    bool shared_as_expert;        /* the shared expert is as wide as the others */
    bool shared_fused;            /* SHARED_GATE and SHARED_UP name one tensor: gate rows, then up rows */
    bool nope_by_list; /* no_rope_layers (1: rotates), else every fourth layer does not rotate; with FEATURE_CHUNK those that do see
                        * chunks, and queries of the others are scaled by their position */
    bool sinks;
    bool sinks_windowed;          /* see struct model_desc */
    bool window_before;           /* sliding_window_size counts the positions before a query's own */
    bool windowed_kv_twice;       /* layers with a window have twice the KV heads where swa_num_key_value_heads is absent */
    uint32_t value_dim;           /* v_head_dim where absent; 0: values are as wide as keys */
    double value_scale;           /* attention_value_scale where absent; 0: values are as they are */
    bool expert_ffn_is_ffn;       /* intermediate_size is the width of an expert */
    /* A head whose rows are scaled to unit length: always; or by vocabulary size, or else by a key that is there. */
    bool head_normed;
    uint32_t normed_vocab, plain_vocab;
    const char *normed_key;
    bool ffn_halved;              /* the key counts gate and up together */
    bool qwen_ntk, qwen_ntk_default;
    bool rope_ratio_divides, rope_ratio_multiplies;
    bool rope_alpha;              /* dynamic scaling with "alpha" is a theta that is larger once and for all */
    bool score_switches;          /* scores are scaled where, and by layer where, a key says so */
    bool query_steps;             /* MODEL_QUERY_STEPS by llama_4_scaling_beta */
};

/* The table, in four files. */
extern const struct model_family model_families_dense[], model_families_early[], model_families_sparse[],
    model_families_mixed[];
extern const unsigned model_families_dense_count, model_families_early_count, model_families_sparse_count,
    model_families_mixed_count;

/* Multimodal models around a text model of one family or another (rows with FEATURE_TEXT_TOWER): what is inside says which. Text
 * alone goes through each of them as through the text model by itself. 0-ended. */
extern const char *const model_wrappers[];

/* Rows in table order; NULL past the end. */
const struct model_family *model_family_at(unsigned index);
const struct model_family *model_family_of_name(struct span name);

#endif
