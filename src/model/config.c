/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads config.json by a table of keys: name, aliases, kind, place. Knows no family. A key that stands for a feature the
 * engine lacks is remembered in words, so that a refusal can say which feature is missing instead of only a name.
 */
#include "model/config_priv.h"

#include <stddef.h>
#include <stdio.h>

#include "base/json.h"

enum kind { NUMBER, FLAG, TEXT };

struct key {
    const char *name;
    uint16_t offset;
    uint8_t kind;
};

#define AT(member) (uint16_t) offsetof(struct config_values, member)
#define ROPE_AT(member) (uint16_t) offsetof(struct config_rope, member)

/* Aliases: reference/models.md 6.2. */
static const struct key KEYS[] = {
    {"model_type", AT(model_type), TEXT},
    {"hidden_act", AT(activation), TEXT},
    {"hidden_activation", AT(activation), TEXT},
    {"hidden_size", AT(hidden), NUMBER},
    {"n_embd", AT(hidden), NUMBER},
    {"num_hidden_layers", AT(layers), NUMBER},
    {"n_layer", AT(layers), NUMBER},
    {"num_attention_heads", AT(heads), NUMBER},
    {"n_head", AT(heads), NUMBER},
    {"num_key_value_heads", AT(kv_heads), NUMBER},
    {"head_dim", AT(head_dim), NUMBER},
    {"intermediate_size", AT(ffn), NUMBER},
    {"vocab_size", AT(vocab), NUMBER},
    {"max_position_embeddings", AT(max_positions), NUMBER},
    {"rms_norm_eps", AT(norm_eps), NUMBER},
    {"rope_theta", AT(rope_theta), NUMBER},
    {"partial_rotary_factor", AT(partial_rotary), NUMBER},
    {"tie_word_embeddings", AT(tied), FLAG},
    {"attention_bias", AT(attention_bias), FLAG},
    {"mlp_bias", AT(mlp_bias), FLAG},
};

static const struct key ROPE_KEYS[] = {
    {"rope_type", ROPE_AT(type), TEXT},
    {"rope_theta", ROPE_AT(theta), NUMBER},
    {"factor", ROPE_AT(factor), NUMBER},
    {"low_freq_factor", ROPE_AT(low_freq_factor), NUMBER},
    {"high_freq_factor", ROPE_AT(high_freq_factor), NUMBER},
    {"original_max_position_embeddings", ROPE_AT(original_max), NUMBER},
    {"beta_fast", ROPE_AT(beta_fast), NUMBER},
    {"beta_slow", ROPE_AT(beta_slow), NUMBER},
    {"attention_factor", ROPE_AT(attention_factor), NUMBER},
    {"mscale", ROPE_AT(mscale), NUMBER},
    {"mscale_all_dim", ROPE_AT(mscale_all_dim), NUMBER},
    {"partial_rotary_factor", ROPE_AT(partial), NUMBER},
    {"truncate", ROPE_AT(truncate), FLAG},
};

/* Keys that, when set to something other than null, false or 0, ask for what no row of the table has yet. */
static const struct {
    const char *key;
    const char *feature;
} FOREIGN[] = {
    {"num_local_experts", "mixture of experts"},
    {"num_experts", "mixture of experts"},
    {"n_routed_experts", "mixture of experts"},
    {"kv_lora_rank", "multi-head latent attention"},
    {"q_lora_rank", "multi-head latent attention"},
    {"sliding_window", "sliding-window attention"},
    {"linear_num_value_heads", "linear attention layers"},
    {"alibi", "ALiBi position bias"},
    {"text_config", "a text tower inside a multimodal model"},
    {"llm_config", "a text tower inside a multimodal model"},
    {"language_config", "a text tower inside a multimodal model"},
    {"attn_logit_softcapping", "soft-capped attention scores"},
    {"final_logit_softcapping", "soft-capped logits"},
    {"logits_scaling", "scaled logits"},
    {"logit_scale", "scaled logits"},
    {"embedding_multiplier", "scaled embeddings"},
    {"residual_multiplier", "scaled residuals"},
    {"scale_emb", "scaled embeddings"},
    {"use_qk_norm", "norms on queries and keys"},
    {"qk_layernorm", "norms on queries and keys"},
    {"no_rope_layers", "layers without rotary positions"},
};

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

/* Reads the value at hand when `key` is in the table; null counts as absent. False: not in the table, nothing read. */
static bool read_known(struct json_reader *r, struct span key, const struct key *table, size_t count, void *base) {
    for (size_t i = 0; i < count; i++) {
        if (!span_is(key, table[i].name)) {
            continue;
        }
        void *place = (char *)base + table[i].offset;
        if (json_null(r)) {
            return true;
        }
        if (table[i].kind == NUMBER) {
            (void)read_number(r, (struct config_number *)place);
        } else if (table[i].kind == TEXT) {
            (void)read_text(r, (struct config_text *)place);
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

static void read_architectures(struct json_reader *r, struct config_values *v) {
    if (json_null(r) || !json_enter_array(r)) {
        return;
    }
    for (bool first = true; json_next_item(r); first = false) {
        if (first) {
            (void)read_text(r, &v->architecture);
        } else {
            (void)json_skip(r);
        }
    }
}

static void read_rope(struct json_reader *r, struct config_values *v) {
    if (json_null(r) || !json_enter_object(r)) {
        return;
    }
    struct span key;
    struct config_text old_type = {.given = false}; /* "rope_type" wins over the older "type", in any order */
    while (json_next_key(r, &key)) {
        if (span_is(key, "type")) {
            (void)(json_null(r) || read_text(r, &old_type));
        } else if (span_is(key, "full_attention") || span_is(key, "sliding_attention")) {
            (void)snprintf(v->foreign, sizeof(v->foreign), "rotary parameters that differ between layers");
            (void)json_skip(r);
        } else if (!read_known(r, key, ROPE_KEYS, ARRAY_LEN(ROPE_KEYS), &v->rope)) {
            (void)json_skip(r);
        }
    }
    if (!v->rope.type.given && old_type.given) {
        v->rope.type = old_type;
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
        } else {
            (void)json_skip(r);
        }
    }
}

/* Remembers the first foreign key whose value switches something on. Consumes the value. */
static void read_foreign(struct json_reader *r, struct span key, struct config_values *v) {
    struct span raw = {0};
    if (!json_skip_raw(r, &raw) || v->foreign[0] != 0) {
        return;
    }
    if (span_is(raw, "null") || span_is(raw, "false") || span_is(raw, "0") || span_is(raw, "[]") || span_is(raw, "{}")) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(FOREIGN); i++) {
        if (span_is(key, FOREIGN[i].key)) {
            (void)snprintf(v->foreign, sizeof(v->foreign), "%s (%s)", FOREIGN[i].feature, FOREIGN[i].key);
        }
    }
}

lamina_status config_read(struct span json, struct config_values *v, struct lamina_error *err) {
    *v = (struct config_values){0};
    struct str scratch = {.limit = JSON_MAX_KEY + 64};
    struct json_reader r;
    struct span key;
    json_init(&r, json, "config.json", &scratch, err);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        if (span_is(key, "architectures")) {
            read_architectures(&r, v);
        } else if (span_is(key, "rope_scaling") || span_is(key, "rope_parameters")) {
            read_rope(&r, v);
        } else if (span_is(key, "quantization_config")) {
            read_quantization(&r, v);
        } else if (span_is(key, "eos_token_id")) {
            (void)config_read_ids(&r, v->eos_ids, &v->eos_count, ARRAY_LEN(v->eos_ids));
        } else if (span_is(key, "bos_token_id")) {
            uint32_t ids[16];
            uint32_t count = 0;
            (void)config_read_ids(&r, ids, &count, ARRAY_LEN(ids));
            v->bos = (struct config_number){.value = count > 0 ? (double)ids[0] : 0.0, .given = count > 0};
        } else if (!read_known(&r, key, KEYS, ARRAY_LEN(KEYS), v)) {
            read_foreign(&r, key, v);
        }
    }
    lamina_status status = json_finish(&r);
    str_drop(&scratch);
    return status;
}
