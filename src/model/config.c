/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads config.json by a table of keys: name, aliases, kind, place. Knows no family. A key that stands for a feature the
 * engine lacks is remembered in words, so that a refusal can say which feature is missing instead of only a name.
 */
#include "model/config_priv.h"

#include <stddef.h>
#include <stdio.h>

#include "base/checked.h"
#include "base/json.h"

enum kind { NUMBER, EVEN, FLAG, TEXT, LIST }; /* EVEN: a number, or one for each layer, all the same */

struct key {
    const char *name;
    uint16_t offset;
    uint8_t kind;
};

#define AT(member) (uint16_t) offsetof(struct config_values, member)
#define ROPE_AT(member) (uint16_t) offsetof(struct config_rope, member)

/* Aliases: reference/models.md 6.2. A later key of one file overwrites an earlier alias; files do not use both. */
static const struct key KEYS[] = {
    {"model_type", AT(model_type), TEXT},
    {"transformers_version", AT(framework), TEXT},
    {"hidden_act", AT(activation), TEXT},
    {"hidden_activation", AT(activation), TEXT},
    {"activation_function", AT(activation), TEXT},
    {"hidden_size", AT(hidden), NUMBER},
    {"n_embd", AT(hidden), NUMBER},
    {"n_embed", AT(hidden), NUMBER},
    {"d_model", AT(hidden), NUMBER},
    {"num_hidden_layers", AT(layers), NUMBER},
    {"num_layers", AT(layers), NUMBER},
    {"n_layer", AT(layers), NUMBER},
    {"n_layers", AT(layers), NUMBER},
    {"num_attention_heads", AT(heads), NUMBER},
    {"n_head", AT(heads), NUMBER},
    {"n_heads", AT(heads), NUMBER},
    {"num_heads", AT(heads), NUMBER},
    {"num_key_value_heads", AT(kv_heads), NUMBER},
    {"multi_query_group_num", AT(kv_heads), NUMBER},
    {"num_kv_heads", AT(kv_heads), NUMBER},
    {"n_head_kv", AT(kv_heads), NUMBER},
    {"head_dim", AT(head_dim), NUMBER},
    {"kv_channels", AT(head_dim), NUMBER},
    {"intermediate_size", AT(ffn), NUMBER},
    {"ffn_hidden_size", AT(ffn), NUMBER},
    {"inner_hidden_size", AT(ffn), NUMBER},
    {"n_inner", AT(ffn), NUMBER},
    {"ffn_dim", AT(ffn), NUMBER},
    {"vocab_size", AT(vocab), NUMBER},
    {"padded_vocab_size", AT(padded_vocab), NUMBER},
    {"max_position_embeddings", AT(max_positions), NUMBER},
    {"seq_length", AT(sequence_length), NUMBER},
    {"max_sequence_length", AT(other_max), NUMBER},
    {"model_max_length", AT(other_max), NUMBER},
    {"n_positions", AT(other_max), NUMBER},
    {"max_seq_len", AT(other_max), NUMBER},
    {"word_embed_proj_dim", AT(embed_width), NUMBER},
    {"original_max_position_embeddings", AT(original_max), NUMBER},
    {"rms_norm_eps", AT(norm_eps), NUMBER},
    {"layer_norm_epsilon", AT(norm_eps), NUMBER},
    {"layernorm_epsilon", AT(norm_eps), NUMBER},
    {"layer_norm_eps", AT(norm_eps), NUMBER},
    {"norm_epsilon", AT(norm_eps), NUMBER},
    {"norm_eps", AT(norm_eps), NUMBER},
    {"rope_theta", AT(rope_theta), NUMBER},
    {"rotary_emb_base", AT(rotary_base), NUMBER},
    {"rope_ratio", AT(rope_ratio), NUMBER},
    {"rope_local_base_freq", AT(local_theta), NUMBER},
    {"partial_rotary_factor", AT(partial_rotary), NUMBER},
    {"rotary_pct", AT(partial_rotary), NUMBER},
    {"rotary_dim", AT(rotary_dim), NUMBER},
    {"sliding_window", AT(window), NUMBER},
    {"window_size", AT(window), NUMBER},
    {"max_window_layers", AT(late_layers), NUMBER},
    {"query_pre_attn_scalar", AT(query_pre_scalar), NUMBER},
    {"attn_logit_softcapping", AT(score_cap), NUMBER},
    {"final_logit_softcapping", AT(logit_cap), NUMBER},
    {"embedding_multiplier", AT(embed_multiplier), NUMBER},
    {"residual_multiplier", AT(residual_multiplier), NUMBER},
    {"attention_multiplier", AT(score_multiplier), NUMBER},
    {"clip_qkv", AT(qkv_clip), NUMBER},
    {"logits_scaling", AT(logits_divisor), NUMBER},
    {"logit_scale", AT(logit_multiplier), NUMBER},
    {"num_local_experts", AT(experts), NUMBER},
    {"num_experts", AT(experts), NUMBER},
    {"n_routed_experts", AT(experts), NUMBER},
    {"moe_num_experts", AT(experts), NUMBER},
    {"moe_k", AT(top_k), NUMBER},
    {"moe_topk", AT(top_k), EVEN},
    {"num_experts_per_tok", AT(top_k), NUMBER},
    {"num_experts_per_token", AT(top_k), NUMBER},
    {"experts_per_token", AT(top_k), NUMBER},
    {"top_k_experts", AT(top_k), NUMBER},
    {"moe_intermediate_size", AT(expert_ffn), EVEN},
    {"shared_expert_intermediate_size", AT(shared_ffn), NUMBER},
    {"shared_intermediate_size", AT(shared_ffn), NUMBER},
    {"n_shared_experts", AT(shared_count), NUMBER},
    {"num_shared_experts", AT(shared_count), NUMBER},
    {"moe_num_shared_experts", AT(shared_count), NUMBER},
    {"first_k_dense_replace", AT(first_dense), NUMBER},
    {"num_dense_layers", AT(first_dense), NUMBER},
    {"moe_layer_start_index", AT(first_dense), NUMBER},
    {"moe_layer_end_index", AT(last_sparse), NUMBER},
    {"moe_layer_interval", AT(sparse_step), NUMBER},
    {"moe_layer_freq", AT(sparse_step), NUMBER},
    {"decoder_sparse_step", AT(sparse_step), NUMBER},
    {"interleave_moe_layer_step", AT(sparse_step), NUMBER},
    {"intermediate_size_mlp", AT(dense_ffn), NUMBER},
    {"n_group", AT(groups), NUMBER},
    {"num_expert_group", AT(groups), NUMBER},
    {"topk_group", AT(kept_groups), NUMBER},
    {"routed_scaling_factor", AT(route_factor), NUMBER},
    {"router_scaling_factor", AT(route_factor), NUMBER},
    {"route_scale", AT(route_factor), NUMBER},
    {"global_attn_every_n_layers", AT(window_period), NUMBER},
    {"index_topk", AT(indexed), NUMBER},
    {"sliding_window_size", AT(window_before), NUMBER},
    {"swa_num_attention_heads", AT(windowed_heads), NUMBER},
    {"swa_num_key_value_heads", AT(windowed_kv_heads), NUMBER},
    {"swa_head_dim", AT(windowed_head_dim), NUMBER},
    {"swa_v_head_dim", AT(windowed_value_dim), NUMBER},
    {"swa_rope_theta", AT(local_theta), NUMBER},
    {"attention_value_scale", AT(value_scale), NUMBER},
    {"router_jitter_noise", AT(jitter), NUMBER},
    {"q_lora_rank", AT(q_latent), NUMBER},
    {"kv_lora_rank", AT(kv_latent), NUMBER},
    {"qk_nope_head_dim", AT(plain_dim), NUMBER},
    {"qk_rope_head_dim", AT(rotary_part), NUMBER},
    {"v_head_dim", AT(value_dim), NUMBER},
    {"mask_token_id", AT(mask_id), NUMBER},
    {"gmask_token_id", AT(gmask_id), NUMBER},
    {"global_head_dim", AT(full_head_dim), NUMBER},
    {"num_global_key_value_heads", AT(full_kv_heads), NUMBER},
    {"num_kv_shared_layers", AT(shared_layers), NUMBER},
    {"hidden_size_per_layer_input", AT(input_dim), NUMBER},
    {"vocab_size_per_layer_input", AT(input_vocab), NUMBER},
    {"use_double_wide_mlp", AT(double_wide), FLAG},
    {"attention_k_eq_v", AT(keys_as_values), FLAG},
    {"linear_conv_kernel_dim", AT(delta_taps), NUMBER},
    {"linear_key_head_dim", AT(delta_k_dim), NUMBER},
    {"linear_value_head_dim", AT(delta_v_dim), NUMBER},
    {"linear_num_key_heads", AT(delta_k_heads), NUMBER},
    {"linear_num_value_heads", AT(delta_heads), NUMBER},
    {"linear_num_heads", AT(delta_heads), NUMBER},
    {"linear_head_dim", AT(delta_k_dim), NUMBER},
    {"full_attention_interval", AT(delta_period), NUMBER},
    {"attention_chunk_size", AT(chunk), NUMBER},
    {"no_rope_layer_interval", AT(nope_step), NUMBER},
    {"attn_scale", AT(query_scale), NUMBER},
    {"floor_scale", AT(query_floor), NUMBER},
    {"swiglu_limit", AT(swiglu_limit), NUMBER},
    {"enable_moe_block", AT(experts_on), FLAG},
    {"norm_topk_prob", AT(renorm), FLAG},
    {"moe_renormalize", AT(renorm), FLAG},
    {"route_norm", AT(renorm), FLAG},
    {"mup_enabled", AT(embed_rooted), FLAG},
    {"use_post_norm", AT(post_norms), FLAG},
    {"attn_temperature_tuning", AT(query_tuned), FLAG},
    {"scoring_func", AT(scoring), TEXT},
    {"score_function", AT(scoring), TEXT},
    {"score_func", AT(scoring), TEXT},
    {"moe_router_activation_func", AT(scoring), TEXT},
    {"topk_method", AT(choosing), TEXT},
    {"mlp_only_layers", AT(dense_layers), LIST},
    {"no_rope_layers", AT(rope_layers), LIST},
    {"cross_attention_layers", AT(cross_layers), LIST},
    {"tie_word_embeddings", AT(tied), FLAG},
    {"attention_bias", AT(attention_bias), FLAG},
    {"attention_out_bias", AT(out_bias), FLAG},
    {"qkv_bias", AT(qkv_bias), FLAG},
    {"add_qkv_bias", AT(qkv_bias), FLAG},
    {"use_qkv_bias", AT(qkv_bias), FLAG},
    {"bias", AT(plain_bias), FLAG},
    {"use_bias", AT(plain_bias), FLAG},
    {"add_bias_linear", AT(plain_bias), FLAG},
    {"enable_bias", AT(plain_bias), FLAG},
    {"mlp_bias", AT(mlp_bias), FLAG},
    {"lm_head_bias", AT(head_bias), FLAG},
    {"use_sliding_window", AT(use_window), FLAG},
    {"multi_query", AT(multi_query), FLAG},
    {"multi_query_attention", AT(grouped_query), FLAG},
    {"use_parallel_residual", AT(parallel_residual), FLAG},
    {"new_decoder_architecture", AT(new_decoder), FLAG},
    {"parallel_attn", AT(parallel_attention), FLAG},
    {"use_qk_norm", AT(qk_norm), FLAG},
    {"qk_layernorm", AT(qk_norm), FLAG},
    {"use_dynamic_ntk", AT(dynamic_ntk), FLAG},
    {"use_logn_attn", AT(logn), FLAG},
    {"scale_attn_weights", AT(scores_scaled), FLAG},
    {"scale_attn_by_inverse_layer_idx", AT(scores_by_layer), FLAG},
    {"alibi", AT(alibi), FLAG},
    {"lamina_gguf", AT(gguf), FLAG},
};

static const struct key ROPE_KEYS[] = {
    {"rope_type", ROPE_AT(type), TEXT},
    {"rope_theta", ROPE_AT(theta), NUMBER},
    {"base", ROPE_AT(theta), NUMBER},
    {"factor", ROPE_AT(factor), NUMBER},
    {"alpha", ROPE_AT(alpha), NUMBER},
    {"scaling_factor", ROPE_AT(factor), NUMBER},
    {"low_freq_factor", ROPE_AT(low_freq_factor), NUMBER},
    {"high_freq_factor", ROPE_AT(high_freq_factor), NUMBER},
    {"original_max_position_embeddings", ROPE_AT(original_max), NUMBER},
    {"beta_fast", ROPE_AT(beta_fast), NUMBER},
    {"beta_slow", ROPE_AT(beta_slow), NUMBER},
    {"attention_factor", ROPE_AT(attention_factor), NUMBER},
    {"mscale", ROPE_AT(mscale), NUMBER},
    {"mscale_all_dim", ROPE_AT(mscale_all_dim), NUMBER},
    {"short_mscale", ROPE_AT(short_mscale), NUMBER},
    {"long_mscale", ROPE_AT(long_mscale), NUMBER},
    {"partial_rotary_factor", ROPE_AT(partial), NUMBER},
    {"llama_4_scaling_beta", ROPE_AT(query_beta), NUMBER},
    {"truncate", ROPE_AT(truncate), FLAG},
    {"short_factor", ROPE_AT(short_factor), LIST},
    {"long_factor", ROPE_AT(long_factor), LIST},
};

/* Members of "linear_attn_config". */
static const struct key LINEAR_KEYS[] = {
    {"head_dim", AT(delta_k_dim), NUMBER},
    {"num_heads", AT(delta_heads), NUMBER},
    {"short_conv_kernel_size", AT(delta_taps), NUMBER},
    {"kda_layers", AT(delta_layers), LIST},
};

/* Members of "attn_config". */
static const struct key ATTENTION_KEYS[] = {
    {"clip_qkv", AT(qkv_clip), NUMBER},
    {"softmax_scale", AT(score_multiplier), NUMBER},
    {"alibi", AT(alibi), FLAG},
};

/* Keys that, when set to something other than null, false, 0 or nothing, ask for a feature. */
static const struct {
    const char *key;
    uint32_t feature;
} ASKING[] = {
    {"num_local_experts", FEATURE_MOE},
    {"num_experts", FEATURE_MOE},
    {"n_routed_experts", FEATURE_MOE},
    {"moe_num_experts", FEATURE_MOE},
    {"enable_moe_block", FEATURE_MOE},
    {"kv_lora_rank", FEATURE_LATENT},
    {"q_lora_rank", FEATURE_LATENT},
    {"sliding_window", FEATURE_WINDOW},
    {"linear_num_value_heads", FEATURE_LINEAR},
    {"linear_num_heads", FEATURE_LINEAR},
    {"linear_attn_config", FEATURE_LINEAR},
    {"alibi", FEATURE_ALIBI},
    {"text_config", FEATURE_TEXT_TOWER},
    {"llm_config", FEATURE_TEXT_TOWER},
    {"language_config", FEATURE_TEXT_TOWER},
    {"attn_logit_softcapping", FEATURE_SCORE_CAP},
    {"final_logit_softcapping", FEATURE_SCORE_CAP},
    {"logits_scaling", FEATURE_SCALES},
    {"logit_scale", FEATURE_SCALES},
    {"embedding_multiplier", FEATURE_SCALES},
    {"residual_multiplier", FEATURE_SCALES},
    {"attention_multiplier", FEATURE_SCALES},
    {"clip_qkv", FEATURE_CLIP},
    {"scale_emb", FEATURE_SCALES},
    {"use_qk_norm", FEATURE_QK_NORM},
    {"qk_layernorm", FEATURE_QK_NORM},
    {"no_rope_layers", FEATURE_NO_ROPE_LAYERS},
    {"attention_chunk_size", FEATURE_CHUNK},
    {"num_kv_shared_layers", FEATURE_SHARED_KV},
    {"hidden_size_per_layer_input", FEATURE_LAYER_INPUTS},
    {"index_topk", FEATURE_INDEXER},
    {"cross_attention_layers", FEATURE_CROSS_LAYERS},
};

const char *model_feature_words(uint32_t feature) {
    static const char *const words[FEATURE_COUNT] = {
        "sliding-window attention", "soft caps on scores or logits", "multipliers of embeddings, residuals or logits",
        "norms on queries and keys", "layers without rotary positions", "ALiBi position bias",
        "rotary positions on a part of each head", "mixture of experts", "multi-head latent attention",
        "linear attention layers", "rotary parameters that differ between layers",
        "a text tower inside a multimodal model", "attention in chunks", "layers that share keys and values",
        "embeddings per layer", "clipped queries, keys and values", "keys chosen by an indexer",
        "layers that attend to images",
    };
    for (unsigned i = 0; i < FEATURE_COUNT; i++) {
        if (feature >> i & 1) {
            return words[i];
        }
    }
    return "nothing";
}

static void ask(struct config_values *v, uint32_t feature, struct span key) {
    for (unsigned i = 0; i < FEATURE_COUNT; i++) {
        if ((feature >> i & 1) && (v->asked >> i & 1) == 0) {
            (void)snprintf(v->asked_by[i], sizeof(v->asked_by[i]), "%.*s", (int)min_u64(key.len, 39), (const char *)key.ptr);
        }
    }
    v->asked |= feature;
}

static bool read_number(struct json_reader *r, struct config_number *out) {
    out->given = json_double(r, &out->value);
    return out->given;
}

static bool read_text(struct json_reader *r, struct config_text *out) {
    struct str text = {.limit = 4096};
    bool fine = json_string(r, &text);
    if (fine) {
        (void)snprintf(out->value, sizeof(out->value), "%s", str_text(&text));
        out->given = true;
    }
    str_drop(&text);
    return fine;
}

static bool read_even(struct json_reader *r, struct config_number *out) {
    struct config_number first = {.given = false};
    if (json_peek(r) != JSON_ARRAY) {
        return read_number(r, out);
    }
    (void)json_enter_array(r);
    while (json_next_item(r)) {
        struct config_number one = {.given = false};
        if (read_number(r, &one) && first.given && one.value != first.value) {
            return json_refuse(r, LAMINA_UNSUPPORTED, "a number that differs between layers (%g and %g)", first.value, one.value);
        }
        first = one;
    }
    *out = first;
    return r->failed == LAMINA_OK;
}

static void read_list(struct json_reader *r, struct config_list *list) {
    list->count = 0;
    list->given = json_enter_array(r);
    while (json_next_item(r)) {
        double value = 0;
        if (json_double(r, &value)) {
            if (list->count == ARRAY_LEN(list->value)) {
                (void)json_refuse(r, LAMINA_UNSUPPORTED, "a list of more than %u rotary factors", list->count);
                return;
            }
            list->value[list->count++] = (float)value;
        }
    }
}

/* Takes null, or the false that some files have for it; a true is no number and stays. */
static bool none(struct json_reader *r) {
    const bool off = json_peek(r) == JSON_BOOL && r->text.ptr[r->pos] == 'f';
    return off ? json_skip(r) : json_null(r);
}

/* Reads the value at hand when `key` is in the table; null is not given. False: not in the table, nothing read. */
static bool read_known(struct json_reader *r, struct span key, const struct key *table, size_t count, void *base) {
    for (size_t i = 0; i < count; i++) {
        if (!span_is(key, table[i].name)) {
            continue;
        }
        void *place = (char *)base + table[i].offset;
        const bool number = table[i].kind == NUMBER || table[i].kind == EVEN;
        if (number ? none(r) : json_null(r)) {
            if (number) {
                ((struct config_number *)place)->null = true;
            }
            return true;
        }
        if (table[i].kind == NUMBER) {
            (void)read_number(r, (struct config_number *)place);
        } else if (table[i].kind == EVEN) {
            (void)read_even(r, (struct config_number *)place);
        } else if (table[i].kind == TEXT) {
            (void)read_text(r, (struct config_text *)place);
        } else if (table[i].kind == LIST) {
            read_list(r, (struct config_list *)place);
        } else {
            struct config_flag *flag = (struct config_flag *)place;
            flag->given = json_bool(r, &flag->value);
        }
        return true;
    }
    return false;
}

bool config_read_ids(struct json_reader *r, uint32_t *ids, uint32_t *count, uint32_t max) {
    *count = 0;
    if (json_null(r)) {
        return true;
    }
    if (json_peek(r) != JSON_ARRAY) {
        int64_t id = 0;
        if (json_i64(r, &id) && id >= 0 && id <= UINT32_MAX) {
            ids[(*count)++] = (uint32_t)id;
        }
        return r->failed == LAMINA_OK;
    }
    (void)json_enter_array(r);
    while (json_next_item(r)) {
        uint64_t id = 0;
        if (json_u64(r, &id) && id <= UINT32_MAX) {
            if (*count == max) {
                return json_refuse(r, LAMINA_UNSUPPORTED, "more than %u end-of-text ids", max);
            }
            ids[(*count)++] = (uint32_t)id;
        }
    }
    return r->failed == LAMINA_OK;
}

bool config_is_tower(struct span key) {
    return span_is(key, "text_config") || span_is(key, "llm_config") || span_is(key, "language_config");
}

static void read_architectures(struct json_reader *r, struct config_text *out) {
    if (json_null(r) || !json_enter_array(r)) {
        return;
    }
    for (bool first = true; json_next_item(r); first = false) {
        if (first) {
            (void)read_text(r, out);
        } else {
            (void)json_skip(r);
        }
    }
}

/* One set of rotary parameters. Where they stand by kind of layer, the sets are one level deeper, and win over what is beside
 * them. */
static void read_rope_set(struct json_reader *r, struct config_values *v, struct config_rope *rope, bool top) {
    struct span key;
    struct config_text old_type = {.given = false}; /* "rope_type" wins over the older "type", in any order */
    struct config_rope of_full = {.type = {.given = false}};
    bool has_full = false;
    if (json_null(r) || !json_enter_object(r)) {
        return;
    }
    while (json_next_key(r, &key)) {
        bool full = span_is(key, "full_attention");
        if (span_is(key, "type")) {
            (void)(json_null(r) || read_text(r, &old_type));
        } else if (top && (full || span_is(key, "sliding_attention"))) {
            v->rope_by_layer = true;
            has_full = has_full || full;
            read_rope_set(r, v, full ? &of_full : &v->window_rope, false);
        } else if (!read_known(r, key, ROPE_KEYS, ARRAY_LEN(ROPE_KEYS), rope)) {
            (void)json_skip(r);
        }
    }
    if (!rope->type.given && old_type.given) {
        rope->type = old_type;
    }
    if (has_full) {
        *rope = of_full;
    }
}

/* An object of which the members in `table` count. */
static void read_members(struct json_reader *r, const struct key *table, size_t count, struct config_values *v) {
    struct span key;
    if (json_null(r) || !json_enter_object(r)) {
        return;
    }
    while (json_next_key(r, &key)) {
        if (!read_known(r, key, table, count, v)) {
            (void)json_skip(r);
        }
    }
}

static void add_layer_type(struct json_reader *r, struct config_values *v, uint8_t type) {
    if (v->layer_type_count == MODEL_MAX_LAYERS) {
        (void)json_refuse(r, LAMINA_UNSUPPORTED, "more than %d layers", (int)MODEL_MAX_LAYERS);
        return;
    }
    v->layer_type[v->layer_type_count++] = type;
}

enum { LONGEST_PATTERN = 64 };

/* ["global", "local"]: how many layers it is. */
static uint32_t read_pattern(struct json_reader *r, uint8_t pattern[LONGEST_PATTERN]) {
    uint32_t length = 0;
    (void)json_enter_array(r);
    while (json_next_item(r)) {
        struct config_text text = {.given = false};
        if (length == LONGEST_PATTERN) {
            (void)json_refuse(r, LAMINA_UNSUPPORTED, "a pattern of more than %u layers", length);
            return 0;
        }
        if (!read_text(r, &text)) {
            return 0;
        }
        pattern[length++] = strcmp(text.value, "local") == 0 ? LAYER_WINDOWED : LAYER_FULL;
    }
    return length;
}

/* [[["global", "local"], 12], ...]: patterns, and how often each. */
static void read_patterns(struct json_reader *r, struct config_values *v) {
    if (json_null(r) || !json_enter_array(r)) {
        return;
    }
    while (json_next_item(r)) {
        uint8_t pattern[LONGEST_PATTERN];
        uint32_t length = 0;
        uint64_t times = 0;
        (void)json_enter_array(r);
        for (unsigned part = 0; json_next_item(r); part++) {
            if (part == 0) {
                length = read_pattern(r, pattern);
            } else if (part == 1) {
                (void)json_u64(r, &times);
            } else {
                (void)json_skip(r);
            }
        }
        for (uint64_t t = 0; t < times && length != 0 && r->failed == LAMINA_OK; t++) {
            for (uint32_t i = 0; i < length && r->failed == LAMINA_OK; i++) {
                add_layer_type(r, v, pattern[i]);
            }
        }
    }
}

static void read_layer_types(struct json_reader *r, struct config_values *v) {
    static const struct {
        const char *name;
        uint8_t type;
    } types[] = {{"full_attention", LAYER_FULL}, {"sliding_attention", LAYER_WINDOWED}, {"chunked_attention", LAYER_CHUNKED},
                 {"linear_attention", LAYER_LINEAR}, {"indexed_attention", LAYER_INDEXED}};
    if (json_null(r) || !json_enter_array(r)) {
        return;
    }
    while (json_next_item(r)) {
        struct config_text text = {.given = false};
        uint8_t type = LAYER_OTHER;
        if (!read_text(r, &text)) {
            return;
        }
        for (size_t i = 0; i < ARRAY_LEN(types); i++) {
            type = strcmp(text.value, types[i].name) == 0 ? types[i].type : type;
        }
        if (type == LAYER_OTHER || type == LAYER_LINEAR) {
            ask(v, FEATURE_LINEAR, span_of_text("layer_types"));
        } else if (type == LAYER_INDEXED) {
            ask(v, FEATURE_INDEXER, span_of_text("layer_types"));
        }
        add_layer_type(r, v, type);
    }
}

static void read_mlp_types(struct json_reader *r, struct config_values *v) {
    if (json_null(r) || !json_enter_array(r)) {
        return;
    }
    while (json_next_item(r)) {
        struct config_text text = {.given = false};
        if (!read_text(r, &text)) {
            return;
        }
        const bool dense = strcmp(text.value, "dense") == 0;
        if (!dense && strcmp(text.value, "sparse") != 0) {
            (void)json_refuse(r, LAMINA_UNSUPPORTED, "mlp_layer_types has \"%s\" (supported: dense, sparse)", text.value);
            return;
        }
        if (v->mlp_type_count == MODEL_MAX_LAYERS) {
            (void)json_refuse(r, LAMINA_UNSUPPORTED, "more than %d layers", (int)MODEL_MAX_LAYERS);
            return;
        }
        v->mlp_sparse[v->mlp_type_count++] = !dense;
    }
}

/* A number for each layer: not 0 where it has experts, or else a window. */
static void read_layer_switches(struct json_reader *r, struct config_values *v, bool experts) {
    uint32_t count = 0;
    if (json_null(r) || !json_enter_array(r)) {
        return;
    }
    while (json_next_item(r)) {
        uint64_t on = 0;
        if (!json_u64(r, &on)) {
            return;
        }
        if (!experts) {
            add_layer_type(r, v, on != 0 ? LAYER_WINDOWED : LAYER_FULL);
        } else if (count == MODEL_MAX_LAYERS) {
            (void)json_refuse(r, LAMINA_UNSUPPORTED, "more than %d layers", (int)MODEL_MAX_LAYERS);
            return;
        } else {
            v->mlp_sparse[count++] = on != 0;
            v->mlp_type_count = count;
        }
    }
}

/* {"5": {"head_dim": 512}, ...}: keys of layers that differ. One that is not known here would be lost silently. */
static void read_forms(struct json_reader *r, struct config_values *v) {
    static const struct key keys[] = {
        {"head_dim", (uint16_t)offsetof(struct config_form, head_dim), NUMBER},
        {"num_key_value_heads", (uint16_t)offsetof(struct config_form, kv_heads), NUMBER},
    };
    struct span key;
    if (json_null(r) || !json_enter_object(r)) {
        return;
    }
    while (json_next_key(r, &key)) {
        uint32_t layer = 0;
        for (size_t i = 0; i < key.len && layer < MODEL_MAX_LAYERS; i++) {
            const uint32_t digit = (uint32_t)key.ptr[i] - '0';
            layer = digit <= 9 ? 10 * layer + digit : MODEL_MAX_LAYERS;
        }
        if (layer >= MODEL_MAX_LAYERS || key.len == 0) {
            (void)json_refuse(r, LAMINA_DAMAGED, "per_layer_config has a member that is no layer");
            return;
        }
        if (json_null(r) || !json_enter_object(r)) {
            continue;
        }
        while (json_next_key(r, &key)) {
            if (!read_known(r, key, keys, ARRAY_LEN(keys), &v->form[layer])) {
                (void)json_refuse(r, LAMINA_UNSUPPORTED, "per_layer_config of layer %u has a key that is not supported (supported: "
                                  "head_dim, num_key_value_heads)", layer);
                return;
            }
        }
    }
}

static void read_quantization(struct json_reader *r, struct config_values *v) {
    if (json_null(r) || !json_enter_object(r)) {
        return;
    }
    (void)snprintf(v->quant_method.value, sizeof(v->quant_method.value), "unnamed");
    v->quant_method.given = true;
    struct span key;
    while (json_next_key(r, &key)) {
        if (span_is(key, "quant_method") && json_peek(r) == JSON_STRING) {
            (void)read_text(r, &v->quant_method);
        } else if (span_is(key, "format") && json_peek(r) == JSON_STRING) {
            (void)read_text(r, &v->quant_format);
        } else {
            (void)json_skip(r);
        }
    }
}

/* Values of switches that change the computation in ways no row has. */
static const struct {
    const char *key, *value, *words;
} REFUSED[] = {
    {"rmsnorm", "false", "norms with a mean in this family"},
    {"post_layer_norm", "false", "no norm before the head"},
    {"apply_residual_connection_post_layernorm", "true", "residuals taken after the norm"},
    {"original_rope", "false", "another rotary layout"},
    {"rope_interleave", "false", "another rotary layout"},
    {"do_layer_norm_before", "false", "norms behind attention and MLP in this family"},
    {"_remove_final_layer_norm", "true", "no norm before the head"},
    {"layer_norm_elementwise_affine", "false", "norms without weights in this family"},
    {"add_full_attention_sink_bias", "true", "sinks in layers without a window"},
    {"add_swa_attention_sink_bias", "false", "layers with a window without sinks in this family"},
    {"norm_head", "true", "a head with columns of unit length"},
    {"use_cla", "true", "layers that share keys and values"},
    {"pre_seq_len", NULL, "a trained prefix of keys and values"},
    {"use_bidirectional_attention", "\"all\"", "attention that sees later positions"},
};

static bool switches_on(struct span raw) {
    return !(span_is(raw, "null") || span_is(raw, "false") || span_is(raw, "0") || span_is(raw, "[]") || span_is(raw, "{}"));
}

static void note_feature(struct span key, struct span raw, struct config_values *v) {
    for (size_t i = 0; i < ARRAY_LEN(REFUSED) && v->refused[0] == 0; i++) {
        if (span_is(key, REFUSED[i].key) && (REFUSED[i].value != NULL ? span_is(raw, REFUSED[i].value) : switches_on(raw))) {
            (void)snprintf(v->refused, sizeof(v->refused), "%s (%s)", REFUSED[i].words, REFUSED[i].key);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(ASKING); i++) {
        const bool dense = ASKING[i].feature == FEATURE_MOE && span_is(raw, "1"); /* dense models count one */
        if (span_is(key, ASKING[i].key) && switches_on(raw) && !dense) {
            ask(v, ASKING[i].feature, key);
        }
    }
}

static lamina_status read_object(struct span json, struct config_values *v, struct span *tower, struct lamina_error *err);

static void read_member(struct json_reader *r, struct span key, struct config_values *v, struct span *tower) {
    if (span_is(key, "architectures")) {
        read_architectures(r, v->architecture.given ? &v->inner_architecture : &v->architecture);
    } else if (span_is(key, "rotary") && json_peek(r) != JSON_OBJECT) {
        (void)json_skip(r); /* a switch that old files have and no class reads */
    } else if (span_is(key, "rope_scaling") || span_is(key, "rope_parameters") || span_is(key, "rotary")) {
        v->late_rotary = v->late_rotary || span_is(key, "rotary");
        read_rope_set(r, v, &v->rope, true);
    } else if (span_is(key, "linear_attn_config")) {
        read_members(r, LINEAR_KEYS, ARRAY_LEN(LINEAR_KEYS), v);
    } else if (span_is(key, "attn_config")) {
        read_members(r, ATTENTION_KEYS, ARRAY_LEN(ATTENTION_KEYS), v);
        if (v->qkv_clip.given && v->qkv_clip.value != 0) {
            ask(v, FEATURE_CLIP, span_of_text("attn_config.clip_qkv"));
        }
    } else if (span_is(key, "layer_types")) {
        read_layer_types(r, v);
    } else if (span_is(key, "attention_types")) {
        read_patterns(r, v);
    } else if (span_is(key, "sliding_window_pattern") && json_peek(r) == JSON_STRING) {
        v->lettered_windows = true;
        (void)json_skip(r);
    } else if (span_is(key, "sliding_window_pattern")) {
        (void)(json_null(r) || read_number(r, &v->window_period));
    } else if (span_is(key, "hybrid_layer_pattern")) {
        read_layer_switches(r, v, false);
    } else if (span_is(key, "moe_layer_freq") && json_peek(r) == JSON_ARRAY) {
        read_layer_switches(r, v, true);
    } else if (span_is(key, "mlp_layer_types")) {
        read_mlp_types(r, v);
    } else if (span_is(key, "per_layer_config")) {
        read_forms(r, v);
    } else if (span_is(key, "quantization_config")) {
        read_quantization(r, v);
    } else if (span_is(key, "eos_token_id")) {
        (void)config_read_ids(r, v->eos_ids, &v->eos_count, ARRAY_LEN(v->eos_ids));
    } else if (span_is(key, "bos_token_id")) {
        uint32_t ids[16];
        uint32_t count = 0;
        (void)config_read_ids(r, ids, &count, ARRAY_LEN(ids));
        v->bos = (struct config_number){.value = count > 0 ? (double)ids[0] : 0.0, .given = count > 0};
    } else if (config_is_tower(key)) {
        (void)(json_peek(r) == JSON_OBJECT ? json_skip_raw(r, tower) : json_skip(r));
    } else if (!read_known(r, key, KEYS, ARRAY_LEN(KEYS), v)) {
        (void)json_skip(r);
    }
}

/* Each member is looked at twice: raw, for what it asks, then by the table. */
static lamina_status read_object(struct span json, struct config_values *v, struct span *tower, struct lamina_error *err) {
    struct str scratch = {.limit = JSON_MAX_KEY + 64};
    struct str deeper = {.limit = JSON_MAX_KEY + 64};
    struct json_reader r;
    struct span key;
    json_init(&r, json, "config.json", &scratch, err);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        struct json_reader ahead = r;
        struct span raw = {0};
        ahead.key = &deeper;
        if (json_skip_raw(&ahead, &raw)) {
            note_feature(key, raw, v);
        }
        read_member(&r, key, v, tower);
    }
    lamina_status status = json_finish(&r);
    str_drop(&scratch);
    str_drop(&deeper);
    return status;
}

lamina_status config_read(struct span json, struct config_values *v, struct lamina_error *err) {
    struct span tower = {0};
    struct span deeper = {0};
    *v = (struct config_values){0};
    LAMINA_TRY(read_object(json, v, &tower, err));
    /* A multimodal model: the text model's own keys win over those around it. */
    return tower.len > 0 ? read_object(tower, v, &deeper, err) : LAMINA_OK;
}

bool config_has(struct span json, const char *condition) {
    const size_t length = strcspn(condition, "=");
    const char *value = condition[length] != 0 ? condition + length + 1 : NULL;
    const struct span name = span_of(condition, length);
    struct str scratch = {.limit = JSON_MAX_KEY + 64};
    struct lamina_error ignored = {0};
    struct json_reader r;
    struct span key;
    bool found = false;
    json_init(&r, json, "config.json", &scratch, &ignored);
    (void)json_enter_object(&r);
    while (!found && json_next_key(&r, &key)) {
        struct span raw = {0};
        bool named = span_equal(key, name);
        found = json_skip_raw(&r, &raw) && named && (value != NULL ? span_is(raw, value) : switches_on(raw));
    }
    str_drop(&scratch);
    return found;
}
