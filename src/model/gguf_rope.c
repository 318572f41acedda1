/* SPDX-License-Identifier: Apache-2.0
 * Rotary positions of a GGUF checkpoint: keys of the metadata, and tensors of factors that frequencies are divided by. Files with
 * such tensors become config.json's "longrope" with lists, whatever rule the factors came from. */
#include <stdio.h>

#include "base/json.h"
#include "model/gguf_model_priv.h"

static void put_factors(struct gguf_writer *w, const char *key, const float *values, uint32_t count, double times) {
    str_printf(w->out, ", \"%s\": [", key);
    for (uint32_t i = 0; i < count; i++) {
        str_add_text(w->out, i == 0 ? "" : ", ");
        json_write_double(w->out, (double)values[i] * times);
    }
    str_add_text(w->out, "]");
}

static uint32_t read_list(struct gguf_writer *w, const char *tensor, float values[MODEL_LONG_PAIRS]) {
    uint32_t count = 0;
    if (!w->g->floats(w->g->user, tensor, values, MODEL_LONG_PAIRS, &count) || count > MODEL_LONG_PAIRS) {
        gguf_fail(w, LAMINA_DAMAGED, "tensor \"%s\" is not a list of at most %d numbers in F32", tensor, (int)MODEL_LONG_PAIRS);
        return 0;
    }
    return count;
}

static uint32_t read_factors(struct gguf_writer *w, const char *tensor, float values[MODEL_LONG_PAIRS]) {
    uint32_t count = read_list(w, tensor, values);
    for (uint32_t i = 0; i < count; i++) {
        if (!(values[i] > 0.0f && values[i] < 1e30f)) {
            gguf_fail(w, LAMINA_DAMAGED, "tensor \"%s\": number %u is not a factor above 0", tensor, i);
        }
    }
    return count;
}

/* Factors by length, or one list for all lengths. The scaling that some files have beside it multiplies them. */
static void put_longrope(struct gguf_writer *w, bool by_length, double times) {
    float values[MODEL_LONG_PAIRS];
    double number = 0;
    gguf_put_text(w, "rope_type", "longrope");
    uint32_t count = read_factors(w, by_length ? "rope_factors_short.weight" : "rope_freqs.weight", values);
    put_factors(w, "short_factor", values, count, times);
    if (by_length) {
        count = read_factors(w, "rope_factors_long.weight", values);
    }
    put_factors(w, "long_factor", values, count, times);
    if (!by_length) {
        gguf_put_number(w, "factor", 1.0);
        gguf_put_number(w, "attention_factor", 1.0);
        return;
    }
    if (gguf_number(w, "rope.scaling.original_context_length", &number)) {
        gguf_put_number(w, "original_max_position_embeddings", number);
    }
    if (gguf_number(w, "rope.scaling.attn_factor", &number) && number > 0.0) {
        gguf_put_number(w, "attention_factor", number);
    }
}

/* One list for the layers that see everything: pairs that turn, then pairs whose frequency is divided by what makes it 0. */
static void put_turning(struct gguf_writer *w) {
    float values[MODEL_LONG_PAIRS];
    uint32_t count = read_list(w, "rope_freqs.weight", values);
    uint32_t turning = 0;
    while (turning < count && values[turning] == 1.0f) {
        turning++;
    }
    for (uint32_t i = turning; i < count; i++) {
        if (!(values[i] > 1e20f)) {
            gguf_fail(w, LAMINA_UNSUPPORTED, "tensor \"rope_freqs.weight\": number %u is %g, expected 1, and 1e30 after those", i,
                      (double)values[i]);
        }
    }
    if (turning < count) {
        gguf_put_text(w, "rope_type", "proportional"); /* half a pair more, so that the product is not below the number */
        gguf_put_number(w, "partial_rotary_factor", (2.0 * turning + 0.5) / w->full_head_dim);
    }
}

static void put_yarn(struct gguf_writer *w) {
    static const struct {
        const char *key, *member;
    } keys[] = {{"rope.scaling.factor", "factor"},
                {"rope.scaling.original_context_length", "original_max_position_embeddings"},
                {"rope.scaling.yarn_beta_fast", "beta_fast"},
                {"rope.scaling.yarn_beta_slow", "beta_slow"},
                {"rope.scaling.attn_factor", "attention_factor"},
                {"rope.scaling.yarn_attn_factor", "attention_factor"}};
    double number = 0;
    gguf_put_text(w, "rope_type", "yarn");
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (gguf_number(w, keys[i].key, &number)) {
            gguf_put_number(w, keys[i].member, number);
        }
    }
    /* Every family with this key has one number for both. */
    if (w->arch->log_multiplier > 0.0 && gguf_number(w, "rope.scaling.yarn_log_multiplier", &number) && number > 0.0) {
        gguf_put_number(w, "mscale", number / w->arch->log_multiplier);
        gguf_put_number(w, "mscale_all_dim", number / w->arch->log_multiplier);
    }
    if ((w->arch->traits & GGUF_YARN_EXACT) != 0) {
        gguf_put_flag(w, "truncate", false);
    }
}

static bool known_type(struct gguf_writer *w) {
    return gguf_text_is(w, "rope.scaling.type", "none") || gguf_text_is(w, "rope.scaling.type", "linear") ||
           gguf_text_is(w, "rope.scaling.type", "yarn") || gguf_text_is(w, "rope.scaling.type", "longrope");
}

static void put_scaling(struct gguf_writer *w) {
    char key[160];
    struct span type = {0};
    bool by_length = gguf_has(w, "rope_factors_long.weight");
    bool yarn = gguf_text_is(w, "rope.scaling.type", "yarn");
    bool plain = gguf_text_is(w, "rope.scaling.type", "none");
    double linear = yarn || plain ? 1.0 : gguf_number_or(w, "rope.scaling.factor", gguf_number_or(w, "rope.scale_linear", 1.0));
    double beta = 0;
    (void)snprintf(key, sizeof(key), "%s.rope.scaling.type", w->prefix);
    if (w->g->text(w->g->user, key, &type) && !known_type(w)) {
        gguf_fail(w, LAMINA_UNSUPPORTED, "GGUF architecture %s: rotary scaling \"%.*s\" is not supported", w->prefix,
                  (int)(type.len < 64 ? type.len : 64), (const char *)type.ptr);
    }
    if (gguf_text_is(w, "rope.scaling.type", "longrope") && !by_length) {
        gguf_fail(w, LAMINA_DAMAGED, "GGUF metadata: \"%s\" is longrope, but there is no tensor \"rope_factors_long.weight\"", key);
    }
    str_add_text(w->out, ", \"rope_parameters\": {\"rope_theta\": ");
    json_write_double(w->out, gguf_number_or(w, "rope.freq_base", 10000.0));
    if (w->two_forms && gguf_has(w, "rope_freqs.weight")) {
        put_turning(w);
    } else if (by_length || gguf_has(w, "rope_freqs.weight")) {
        put_longrope(w, by_length, linear > 0.0 ? linear : 1.0);
    } else if (yarn) {
        put_yarn(w);
    } else if (linear != 1.0 && linear != 0.0) {
        gguf_put_text(w, "rope_type", "linear");
        gguf_put_number(w, "factor", linear);
    }
    if (w->f->query_steps && gguf_number(w, "attention.temperature_scale", &beta) && beta != 0.0) {
        gguf_put_number(w, "llama_4_scaling_beta", beta);
    }
    str_add_text(w->out, "}");
}

void gguf_put_rope(struct gguf_writer *w) {
    double rotated = gguf_number_or(w, "rope.dimension_count", w->head_dim);
    if (w->f->rope == ROPE_NEVER) {
        return;
    }
    if (w->f->rope == ROPE_WINDOWED_THETA) {
        gguf_put_number(w, "rope_local_base_freq", gguf_number_or(w, "rope.freq_base_swa", 10000.0));
    }
    if (!w->f->latent && !w->two_forms && (rotated != w->head_dim || w->f->partial_rope > 0.0)) {
        gguf_put_number(w, "rotary_dim", rotated);
    }
    put_scaling(w);
}
