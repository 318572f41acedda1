/* SPDX-License-Identifier: Apache-2.0
 *
 * config.json + table row -> description, every number checked before anybody computes a size with it
 * (ranges: reference/reliability.md 5.2). The row says what silence means; no family is named here.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "kern/kern.h"
#include "model/config_priv.h"
#include "model/gguf_model_priv.h"

/* ---- shape ---- */

/* What config_take_* does where a key is missing: a row's number, if it has one. */
static double or_required(uint32_t otherwise) {
    return otherwise != 0 ? otherwise : -1.0;
}

/* Layers with a window have as many as the others. */
static lamina_status same_as_windowed(const struct config_number *n, const char *key, uint32_t others, struct lamina_error *err) {
    if (n->given && n->value != (double)others) {
        return base_fail(err, LAMINA_UNSUPPORTED, "config.json: %s %g is not supported (supported: %u, as in other layers)", key,
                         n->value, others);
    }
    return LAMINA_OK;
}

static lamina_status take_heads(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                                struct lamina_error *err) {
    struct model_kind *k = &d->kinds[0];
    LAMINA_TRY(config_take_u32(
        &v->heads, (struct config_range){"num_attention_heads", 1, 1 << 16, or_required(f->sizes.heads)},
        &k->heads, err));
    bool multi_query = v->multi_query.given ? v->multi_query.value : f->multi_query_default;
    bool one_head = multi_query && !(v->new_decoder.given && v->new_decoder.value);
    /* Some classes count KV heads only where a switch says that they are fewer. */
    bool counted = !(v->grouped_query.given && !v->grouped_query.value);
    struct config_number kv_heads = counted ? v->kv_heads : (struct config_number){.given = false};
    double silent = f->kv_heads_default != 0 ? f->kv_heads_default : k->heads;
    double otherwise = one_head ? 1 : config_otherwise(&kv_heads, silent, k->heads);
    kv_heads.given = kv_heads.given && !one_head;
    LAMINA_TRY(config_take_u32(&kv_heads, (struct config_range){"num_key_value_heads", 1, 1 << 16, otherwise}, &k->kv_heads, err));
    if (!v->head_dim.given && f->head_dim_default == 0 && d->hidden % k->heads != 0) {
        return base_fail(err, LAMINA_DAMAGED,
                         "config.json: hidden_size %u is not a multiple of num_attention_heads %u and head_dim is missing",
                         d->hidden, k->heads);
    }
    double usual = f->head_dim_default != 0 ? f->head_dim_default : d->hidden / k->heads;
    LAMINA_TRY(config_take_u32(&v->head_dim, (struct config_range){"head_dim", 2, 4096, usual}, &k->head_dim, err));
    if (f->value_dim != 0) {
        LAMINA_TRY(config_take_u32(&v->value_dim, (struct config_range){"v_head_dim", 1, 4096, f->value_dim}, &k->value_dim, err));
        LAMINA_TRY(same_as_windowed(&v->windowed_heads, "swa_num_attention_heads", k->heads, err));
        LAMINA_TRY(same_as_windowed(&v->windowed_head_dim, "swa_head_dim", k->head_dim, err));
        LAMINA_TRY(same_as_windowed(&v->windowed_value_dim, "swa_v_head_dim", k->value_dim, err));
    }
    if (k->heads % k->kv_heads != 0) {
        return base_fail(err, LAMINA_DAMAGED,
                         "config.json: num_attention_heads %u is not a multiple of num_key_value_heads %u", k->heads,
                         k->kv_heads);
    }
    if (k->head_dim % 2 != 0) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: head_dim %u is odd, rotary positions need pairs", k->head_dim);
    }
    if ((uint64_t)k->heads * k->head_dim > (1 << 22)) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: %u heads of %u are too wide", k->heads, k->head_dim);
    }
    return LAMINA_OK;
}

static lamina_status take_latents(const struct config_values *v, struct model_desc *d, struct model_kind *k,
                                  struct lamina_error *err) {
    uint32_t rotary = 0;
    k->mixer = MODEL_LATENT;
    LAMINA_TRY(config_take_u32(&v->heads, (struct config_range){"num_attention_heads", 1, 1 << 16, -1}, &k->heads, err));
    LAMINA_TRY(config_take_u32(&v->q_latent, (struct config_range){"q_lora_rank", 0, 1 << 20, 0}, &k->q_latent, err));
    LAMINA_TRY(config_take_u32(&v->kv_latent, (struct config_range){"kv_lora_rank", 1, 1 << 14, -1}, &k->kv_latent, err));
    LAMINA_TRY(config_take_u32(&v->plain_dim, (struct config_range){"qk_nope_head_dim", 1, 2048, -1}, &k->plain_dim, err));
    LAMINA_TRY(config_take_u32(&v->rotary_part, (struct config_range){"qk_rope_head_dim", 2, 2048, -1}, &rotary, err));
    LAMINA_TRY(config_take_u32(&v->value_dim, (struct config_range){"v_head_dim", 1, 4096, -1}, &k->value_dim, err));
    k->head_dim = k->plain_dim + rotary;
    k->kv_heads = k->heads;
    if (rotary % 2 != 0 || k->head_dim % 2 != 0 || k->head_dim > 4096 ||
        (uint64_t)k->heads * (k->kv_latent + k->head_dim) > 1 << 24) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: %u heads of %u + %u over a latent of %u make no sense", k->heads,
                         k->plain_dim, rotary, k->kv_latent);
    }
    d->latent_eps = 1e-6f;
    return LAMINA_OK;
}

static lamina_status refuse_ends(const struct config_values *v, const struct model_family *f, const struct model_desc *d,
                                 struct lamina_error *err) {
    if (v->embed_width.given && v->embed_width.value != (double)d->hidden) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "%s: embeddings of another width (word_embed_proj_dim %g) than the layers (%u) are not supported",
                         d->architecture, v->embed_width.value, d->hidden);
    }
    if (f->alibi && v->alibi.given && !v->alibi.value) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: another position bias than ALiBi (alibi false) is not supported",
                         d->architecture);
    }
    return LAMINA_OK;
}

/* Where text stands alone, layers that attend to images add nothing: what they would add is not computed. Numbers past the last
 * layer mean nothing. */
static lamina_status leave_out_layers(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                                      struct lamina_error *err) {
    bool out[MODEL_MAX_LAYERS] = {false};
    for (uint32_t i = 0; v->cross_layers.given && i < v->cross_layers.count; i++) {
        const float layer = v->cross_layers.value[i];
        if (!(layer >= 0.0f) || layer != floorf(layer)) {
            return base_fail(err, LAMINA_DAMAGED, "config.json: cross_attention_layers names layer %g", (double)layer);
        }
        if (layer < (float)d->layers) {
            out[(uint32_t)layer] = true;
        }
    }
    for (uint32_t i = f->cross_first; !v->cross_layers.given && f->cross_period != 0 && i < d->layers; i += f->cross_period) {
        out[i] = true;
    }
    for (uint32_t i = 0; i < d->layers; i++) {
        if (out[i] && d->left_out_count < MODEL_MAX_LEFT_OUT) {
            d->left_out[d->left_out_count++] = (uint16_t)i;
        }
    }
    d->layers -= d->left_out_count;
    if (d->layers == 0) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: every layer attends to images", d->architecture);
    }
    return LAMINA_OK;
}

static lamina_status take_shape(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                                struct lamina_error *err) {
    struct model_kind *k = &d->kinds[0];
    d->kind_count = 1;
    const struct config_range hidden = {"hidden_size", 1, 1 << 20, or_required(f->sizes.hidden)};
    const struct config_range layers = {"num_hidden_layers", 1, MODEL_MAX_LAYERS, or_required(f->sizes.layers)};
    LAMINA_TRY(config_take_u32(&v->hidden, hidden, &d->hidden, err));
    LAMINA_TRY(refuse_ends(v, f, d, err));
    LAMINA_TRY(config_take_u32(&v->layers, layers, &d->layers, err));
    LAMINA_TRY((f->features & FEATURE_CROSS_LAYERS) != 0 ? leave_out_layers(v, f, d, err) : LAMINA_OK);
    LAMINA_TRY(f->latent ? take_latents(v, d, k, err) : take_heads(v, f, d, err));
    k->gated_out = f->gated_out;
    /* A model whose layers all have experts may say nothing of the other width. */
    double ffn_default = f->plain_mlp                                   ? 4.0 * d->hidden
                         : v->expert_ffn.given && !f->expert_ffn_is_ffn ? v->expert_ffn.value
                                                                        : or_required(f->sizes.ffn);
    LAMINA_TRY(config_take_u32(&v->ffn, (struct config_range){"intermediate_size", 1, 1 << 22, ffn_default}, &k->ffn, err));
    if (v->dense_ffn.given && f->expert_ffn_is_ffn) {
        LAMINA_TRY(config_take_u32(&v->dense_ffn, (struct config_range){"intermediate_size_mlp", 1, 1 << 22, -1}, &k->ffn, err));
    }
    if (f->ffn_halved && (k->ffn /= 2) == 0) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: intermediate_size counts gate and up together, 1 is too small");
    }
    const struct config_number *vocab = v->padded_vocab.given ? &v->padded_vocab : &v->vocab;
    LAMINA_TRY(config_take_u32(vocab,
                               (struct config_range){"vocab_size", 1, 1 << 24, or_required(f->sizes.vocab)},
                               &d->vocab, err));
    if ((f->features & FEATURE_INDEXER) != 0) {
        LAMINA_TRY(config_take_u32(&v->indexed, (struct config_range){"index_topk", 1, 1 << 30, 2048}, &d->indexed, err));
    }
    const struct config_number *most = v->max_positions.given     ? &v->max_positions
                                       : v->sequence_length.given ? &v->sequence_length
                                                                  : &v->other_max;
    return config_take_u32(most, (struct config_range){"max_position_embeddings", 1, 1 << 30, 2048}, &d->max_positions, err);
}

/* ---- kinds of layers ---- */

static bool has_window(const struct config_values *v, const struct model_family *f, uint32_t layer) {
    const bool on = v->use_window.given && v->use_window.value;
    const double turn = v->late_layers.given ? v->late_layers.value : f->late_layers != 0 ? f->late_layers : 28.0;
    uint32_t period = config_step(&v->window_period, f->window_period);
    switch (layer < v->layer_type_count ? v->layer_type[layer] : LAYER_UNSAID) {
    case LAYER_FULL:
    case LAYER_INDEXED:
        return false;
    case LAYER_WINDOWED:
        return true;
    default:
        break;
    }
    switch (f->window) {
    case WINDOW_ALL:
        return true;
    case WINDOW_SWITCH_LATE:
        return on && (double)layer >= turn;
    case WINDOW_SWITCH_EARLY:
        return on && (double)layer < turn && layer % 2 == 0;
    case WINDOW_SWITCH_ALL:
        return on;
    case WINDOW_AFTER_FIRST:
        return period == 0 || layer % period != 0;
    case WINDOW_INNER:
        return layer != 0 && period != 0 && (layer + 1) % period != 0;
    case WINDOW_LATE:
        return (double)layer >= turn;
    case WINDOW_PERIOD:
        return period == 0 || (layer + 1) % period != 0;
    case WINDOW_EVEN:
    case WINDOW_ODD:
        return (layer % 2 == 0) == (f->window == WINDOW_EVEN);
    default:
        return false;
    }
}

static bool is_linear(const struct config_values *v, const struct model_family *f, uint32_t layer) {
    uint32_t period = config_step(&v->delta_period, f->delta_period);
    if ((f->features & FEATURE_LINEAR) == 0) {
        return false;
    }
    if (layer < v->layer_type_count) {
        return v->layer_type[layer] == LAYER_LINEAR;
    }
    for (uint32_t i = 0; i < v->delta_layers.count; i++) {
        if (v->delta_layers.value[i] == (float)(layer + 1)) {
            return true;
        }
    }
    return period != 0 && (layer + 1) % period != 0;
}

const struct model_kind *model_attending(const struct model_desc *d) {
    const struct model_kind *k = &d->kinds[0];
    for (uint32_t i = 0; i < d->kind_count && k->mixer == MODEL_DELTA; i++) {
        k = &d->kinds[i];
    }
    return k;
}

/* The numbers of a layer with linear attention in place of those of attention. */
static lamina_status take_delta(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                                struct model_kind *k, struct lamina_error *err) {
    struct model_kind base = *k;
    *k = (struct model_kind){.mixer = MODEL_DELTA, .ffn = base.ffn, .rope = MODEL_NO_ROPE, .silu_gate = f->delta_silu,
                             .wide_decay = f->delta_wide};
    LAMINA_TRY(config_take_u32(&v->delta_heads, (struct config_range){"linear_num_value_heads", 1, 4096, -1}, &k->heads, err));
    LAMINA_TRY(config_take_u32(&v->delta_k_heads, (struct config_range){"linear_num_key_heads", 1, 4096, k->heads},
                               &k->kv_heads, err));
    LAMINA_TRY(config_take_u32(&v->delta_k_dim, (struct config_range){"linear_key_head_dim", 2, KERN_DELTA_DIM, -1},
                               &k->head_dim, err));
    LAMINA_TRY(config_take_u32(&v->delta_v_dim, (struct config_range){"linear_value_head_dim", 1, KERN_DELTA_DIM, k->head_dim},
                               &k->value_dim, err));
    LAMINA_TRY(config_take_u32(&v->delta_taps, (struct config_range){"linear_conv_kernel_dim", 2, 64, 4}, &k->taps, err));
    if (!f->delta_wide && d->act != KERN_ACT_SILU) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: linear attention with another activation than silu is not supported yet",
                         d->architecture);
    }
    d->tiled_values = f->delta_tiled && k->heads != k->kv_heads;
    k->decay_latent = f->delta_latents ? k->head_dim : 0;
    k->gate_latent = f->delta_latents ? k->head_dim : 0;
    if (k->heads % k->kv_heads != 0 || k->head_dim % 2 != 0 || (uint64_t)k->heads / k->kv_heads * k->value_dim > 8192) {
        return base_fail(err, LAMINA_DAMAGED,
                         "config.json: %s: linear attention with %u heads of values on %u of %u of keys makes no sense",
                         d->architecture, k->heads, k->kv_heads, k->head_dim);
    }
    return LAMINA_OK;
}

/* The features by which layers of one model differ. */
struct layer_traits {
    bool windowed, sparse, linear, plain; /* plain: without rotary positions and chunks, where the others have them */
    bool shared;                          /* reads what an earlier layer keeps */
    struct config_form form;
};

static bool is_shared(const struct config_values *v, uint32_t layers, uint32_t layer) {
    return v->shared_layers.given && (double)layer >= (double)layers - v->shared_layers.value;
}

/* Layers that see everything may have other heads than those with a window, and single layers others again. */
static lamina_status take_form_of_heads(const struct config_values *v, const struct model_family *f, const struct layer_traits *t,
                                        struct model_kind *k, struct lamina_error *err) {
    const struct config_number twice = {.value = 2.0 * k->kv_heads, .given = true};
    const bool wide = !t->windowed && v->full_head_dim.given;
    const struct config_number *dim = wide && !t->form.head_dim.given ? &v->full_head_dim : &t->form.head_dim;
    const struct config_number *heads = wide && !t->form.kv_heads.given ? &v->full_kv_heads : &t->form.kv_heads;
    if (t->windowed && f->windowed_kv_twice && !t->form.kv_heads.given) {
        heads = v->windowed_kv_heads.given ? &v->windowed_kv_heads : &twice;
    }
    LAMINA_TRY(config_take_u32(dim, (struct config_range){"head_dim", 2, 4096, k->head_dim}, &k->head_dim, err));
    LAMINA_TRY(config_take_u32(heads, (struct config_range){"num_key_value_heads", 1, k->heads, k->kv_heads}, &k->kv_heads, err));
    k->value_is_key = !t->windowed && v->keys_as_values.given && v->keys_as_values.value;
    if (k->heads % k->kv_heads != 0 || k->head_dim % 2 != 0 || (uint64_t)k->heads * k->head_dim > 1 << 22) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: %u heads (%u KV) of %u make no sense", k->heads, k->kv_heads,
                         k->head_dim);
    }
    return LAMINA_OK;
}

/* Those of a layer's traits; layers that read another's keys and values may have a wider MLP. */
static lamina_status take_forms(const struct config_values *v, const struct model_family *f, const struct layer_traits *t,
                                struct model_kind *k, struct lamina_error *err) {
    if (k->mixer == MODEL_ATTENTION) {
        LAMINA_TRY(take_form_of_heads(v, f, t, k, err));
    } else if (t->form.head_dim.given || t->form.kv_heads.given) {
        return base_fail(err, LAMINA_UNSUPPORTED, "config.json: per_layer_config of layers with latents is not supported");
    }
    k->shared_kv = t->shared;
    if (t->shared && v->double_wide.given && v->double_wide.value) {
        k->ffn = k->ffn <= 1 << 21 ? 2 * k->ffn : k->ffn;
    }
    return LAMINA_OK;
}

static bool is_plain(const struct config_values *v, const struct model_family *f, uint32_t layer) {
    uint32_t step = config_step(&v->nope_step, 4);
    if (!f->nope_by_list) {
        return false;
    }
    return layer < v->rope_layers.count ? v->rope_layers.value[layer] == 0.0f : (layer + 1) % step == 0;
}

static bool same_number(const struct config_number *a, const struct config_number *b) {
    return a->given == b->given && (!a->given || a->value == b->value);
}

static bool same_traits(const struct layer_traits *a, const struct layer_traits *b) {
    return a->windowed == b->windowed && a->sparse == b->sparse && a->linear == b->linear && a->plain == b->plain &&
           a->shared == b->shared && same_number(&a->form.head_dim, &b->form.head_dim) &&
           same_number(&a->form.kv_heads, &b->form.kv_heads);
}

static lamina_status make_kind(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                               const struct model_kind *base, const struct layer_traits *t, struct lamina_error *err) {
    if (d->kind_count == MODEL_KINDS) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: more than %d kinds of layers", d->architecture, (int)MODEL_KINDS);
    }
    struct model_kind *k = &d->kinds[d->kind_count++];
    *k = *base;
    k->window = t->windowed ? base->window : 0;
    k->rope = t->plain ? MODEL_NO_ROPE : 0;
    if ((f->features & FEATURE_CHUNK) != 0 && !t->plain) {
        LAMINA_TRY(config_take_u32(&v->chunk, (struct config_range){"attention_chunk_size", 0, UINT32_MAX, 8192}, &k->chunk, err));
    }
    LAMINA_TRY(take_forms(v, f, t, k, err));
    if (t->linear) {
        LAMINA_TRY(take_delta(v, f, d, k, err));
    }
    return t->sparse ? resolve_experts(v, f, d, k, err) : LAMINA_OK;
}

static lamina_status check_count(const char *key, uint32_t count, uint32_t layers, struct lamina_error *err) {
    if (count != 0 && count != layers) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: %s lists %u layers, num_hidden_layers is %u", key, count, layers);
    }
    return LAMINA_OK;
}

static lamina_status take_kinds(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                                struct lamina_error *err) {
    struct layer_traits seen[MODEL_KINDS] = {{.windowed = false}};
    struct model_kind base = d->kinds[0];
    double otherwise = config_otherwise(&v->window, f->window_default, 0);
    LAMINA_TRY(config_take_u32(&v->window, (struct config_range){"sliding_window", 0, UINT32_MAX, otherwise}, &base.window, err));
    if (f->window_before && v->window_before.given) {
        LAMINA_TRY(
            config_take_u32(&v->window_before, (struct config_range){"sliding_window_size", 1, 1 << 30, -1}, &base.window, err));
        base.window++;
    }
    if (v->lettered_windows && v->layer_type_count == 0 && base.window != 0) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: a sliding_window_pattern of letters is not supported without layer_types",
                         d->architecture);
    }
    LAMINA_TRY(check_count("layer_types", v->layer_type_count, d->layers, err));
    LAMINA_TRY(check_count("mlp_layer_types", v->mlp_type_count, d->layers, err));
    d->kind_count = 0;
    for (uint32_t i = 0; i < d->layers; i++) {
        struct layer_traits t = {base.window != 0 && f->window != WINDOW_NONE && has_window(v, f, i), resolve_is_sparse(v, f, i),
                                 is_linear(v, f, i), is_plain(v, f, i), is_shared(v, d->layers, i), v->form[i]};
        uint32_t kind = 0;
        while (kind < d->kind_count && !same_traits(&seen[kind], &t)) {
            kind++;
        }
        if (kind == d->kind_count) {
            LAMINA_TRY(make_kind(v, f, d, &base, &t, err));
            seen[kind] = t;
        }
        d->layer_kind[i] = (uint8_t)kind;
    }
    for (uint32_t i = 0; i < d->layers; i++) {
        if (model_kind_of(d, i)->shared_kv && model_kv_layer(d, i) == i) {
            return base_fail(err, LAMINA_DAMAGED,
                             "config.json: layer %u shares keys and values, but no earlier layer of its form keeps any", i);
        }
    }
    if (model_attending(d)->mixer == MODEL_DELTA) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: all layers have linear attention", d->architecture);
    }
    return LAMINA_OK;
}

/* ---- the rest ---- */

static bool bias(struct model_bias_rule rule, const struct config_values *v) {
    const struct config_flag *keys[] = {
        [BIAS_NO] = NULL, [BIAS_YES] = NULL, [BIAS_ATTENTION_KEY] = &v->attention_bias, [BIAS_QKV_KEY] = &v->qkv_bias,
        [BIAS_PLAIN_KEY] = &v->plain_bias, [BIAS_MLP_KEY] = &v->mlp_bias,
        [BIAS_OUT_KEY] = &v->out_bias,
    };
    const struct config_flag *key = keys[rule.from];
    return key == NULL ? rule.from == BIAS_YES : key->given ? key->value : rule.otherwise;
}

static lamina_status take_activation(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                                     struct lamina_error *err) {
    static const struct {
        const char *name;
        uint8_t act;
    } acts[] = {{"silu", KERN_ACT_SILU},           {"swish", KERN_ACT_SILU},
                {"gelu", KERN_ACT_GELU_ERF},       {"gelu_new", KERN_ACT_GELU_TANH},
                {"gelu_pytorch_tanh", KERN_ACT_GELU_TANH}, {"gelu_fast", KERN_ACT_GELU_TANH},
                {"relu", KERN_ACT_RELU},           {"relu2", KERN_ACT_RELU2}};
    const char *name = f->act != NULL ? f->act : "silu";
    double limit = 0;
    if (f->act_limit > 0) {
        LAMINA_TRY(
            config_take_double(&v->swiglu_limit, (struct config_range){"swiglu_limit", 1e-3, 1e6, f->act_limit}, &limit, err));
        d->act = KERN_ACT_CLAMPED;
        d->act_limit = (float)limit;
        return LAMINA_OK;
    }
    if (v->activation.given && !f->act_fixed) {
        name = v->activation.value;
    }
    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        if (strcmp(name, acts[i].name) == 0) {
            d->act = acts[i].act;
            return LAMINA_OK;
        }
    }
    return base_fail(err, LAMINA_UNSUPPORTED,
                     "%s: activation \"%s\" is not supported (supported: silu, gelu, gelu_new, gelu_pytorch_tanh, relu, relu2)",
                     d->architecture, name);
}

static lamina_status take_factor(const struct config_number *n, const char *key, double otherwise, float *out,
                                 struct lamina_error *err) {
    double value = otherwise;
    LAMINA_TRY(config_take_double(n, (struct config_range){key, 1e-9, 1e9, otherwise}, &value, err));
    *out = (float)value;
    return LAMINA_OK;
}

/* Switches of some families that change how scores are scaled; no other may ask for it. */
static lamina_status take_score_switches(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                                         struct lamina_error *err) {
    bool unscaled = v->scores_scaled.given && !v->scores_scaled.value;
    d->score_by_layer = v->scores_by_layer.given && v->scores_by_layer.value;
    if ((unscaled || d->score_by_layer) && !f->score_switches) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: %s is not supported in this family", d->architecture,
                         unscaled ? "scale_attn_weights false" : "scale_attn_by_inverse_layer_idx");
    }
    d->score_scale = unscaled ? 1.0f : d->score_scale;
    return LAMINA_OK;
}

static bool embed_rooted(const struct config_values *v, const struct model_family *f) {
    return f->embed == EMBED_SQRT_HIDDEN || (f->embed == EMBED_BY_KEY && v->embed_rooted.given && v->embed_rooted.value);
}

static lamina_status take_scales(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                                 struct lamina_error *err) {
    double scalar = f->query_pre_scalar > 0 ? f->query_pre_scalar : model_attending(d)->head_dim;
    double divisor = 1.0;
    double cap = 0.0;
    double otherwise = 0.0;
    double clip = 0.0;
    double values = 0.0;
    double stretch = f->latent ? resolve_stretch(&d->rope[0]) : 1.0;
    LAMINA_TRY(config_take_double(&v->query_pre_scalar, (struct config_range){"query_pre_attn_scalar", 1e-3, 1e6, scalar},
                                  &scalar, err));
    LAMINA_TRY(take_factor(&v->score_multiplier, "attention_multiplier",
                           f->score_multiplier > 0 ? f->score_multiplier : stretch / sqrt(scalar), &d->score_scale, err));
    LAMINA_TRY(config_take_double(&v->qkv_clip, (struct config_range){"clip_qkv", 0, 1e6, 0}, &clip, err));
    d->qkv_clip = (float)clip;
    if (f->value_scale != 0) {
        otherwise = config_otherwise(&v->value_scale, f->value_scale, 1);
        const struct config_range range = {"attention_value_scale", 1e-6, 1e3, otherwise};
        LAMINA_TRY(config_take_double(&v->value_scale, range, &values, err));
        d->value_scale = values != 1.0 ? (float)values : 0.0f;
    }
    LAMINA_TRY(take_score_switches(v, f, d, err));
    LAMINA_TRY(take_factor(&v->embed_multiplier, "embedding_multiplier",
                           embed_rooted(v, f) ? sqrt((double)d->hidden) : 1.0, &d->embed_scale, err));
    LAMINA_TRY(take_factor(&v->residual_multiplier, "residual_multiplier", f->alpha > 0 ? f->alpha : 1.0, &d->residual_scale, err));
    LAMINA_TRY(config_take_double(&v->logits_divisor, (struct config_range){"logits_scaling", 1e-9, 1e9, 1.0}, &divisor, err));
    otherwise = f->logit_scale > 0 ? f->logit_scale : f->logits_multiplied ? divisor : 1.0 / divisor;
    LAMINA_TRY(take_factor(&v->logit_multiplier, "logit_scale", otherwise, &d->logit_scale, err));
    otherwise = config_otherwise(&v->score_cap, f->score_cap, 0);
    LAMINA_TRY(config_take_double(&v->score_cap, (struct config_range){"attn_logit_softcapping", 0, 1e6, otherwise}, &cap, err));
    d->score_cap = (float)cap;
    d->alibi_scale = f->alibi_before_scale ? d->score_scale : 1.0f;
    otherwise = config_otherwise(&v->logit_cap, f->logit_cap, 0);
    LAMINA_TRY(config_take_double(&v->logit_cap, (struct config_range){"final_logit_softcapping", 0, 1e6, otherwise}, &cap, err));
    d->logit_cap = (float)cap;
    return LAMINA_OK;
}

static lamina_status take_query_rule(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                                     struct lamina_error *err) {
    if (f->qwen_ntk && (v->logn.given ? v->logn.value : f->qwen_ntk_default)) {
        d->query_rule = MODEL_QUERY_LOGN;
        LAMINA_TRY(
            config_take_u32(&v->sequence_length, (struct config_range){"seq_length", 2, 1 << 30, -1}, &d->query_length, err));
    } else if (f->query_steps && v->rope.query_beta.given) {
        d->query_rule = MODEL_QUERY_STEPS;
        LAMINA_TRY(config_take_double(&v->rope.query_beta, (struct config_range){"llama_4_scaling_beta", 0, 1e3, -1},
                                      &d->query_beta, err));
        LAMINA_TRY(config_take_u32(&v->rope.original_max,
                                   (struct config_range){"original_max_position_embeddings", 1, 1 << 30, d->max_positions},
                                   &d->query_length, err));
    }
    if ((f->features & FEATURE_CHUNK) != 0 && (!v->query_tuned.given || v->query_tuned.value)) {
        d->query_rule = MODEL_QUERY_STEPS;
        d->query_offset = 1;
        LAMINA_TRY(config_take_double(&v->query_scale, (struct config_range){"attn_scale", 0, 1e3, 0.1}, &d->query_beta, err));
        LAMINA_TRY(config_take_u32(&v->query_floor, (struct config_range){"floor_scale", 1, 1 << 30, 8192}, &d->query_length, err));
    }
    for (uint32_t i = 0; i < d->kind_count; i++) {
        bool rotates = f->nope_by_list && d->kinds[i].rope != MODEL_NO_ROPE;
        d->kinds[i].query_scaled = d->query_rule != MODEL_QUERY_PLAIN && d->kinds[i].mixer != MODEL_DELTA && !rotates;
    }
    return LAMINA_OK;
}

static void take_form(const struct config_values *v, const struct model_family *f, struct model_desc *d) {
    d->tied = v->tied.given ? v->tied.value : f->tied;
    d->norm = f->norm;
    d->norm_bias = f->norm_bias;
    bool parallel = v->parallel_residual.given ? v->parallel_residual.value : f->parallel_default;
    d->wiring = parallel && f->parallel != 0 ? f->parallel : f->wiring;
    if (f->post_norms_by_key && v->post_norms.given && !v->post_norms.value) {
        d->wiring = MODEL_PRE;
    }
    d->gated = !f->plain_mlp;
    d->alibi = f->alibi;
    d->sinks = f->sinks;
    d->sinks_windowed = f->sinks_windowed;
    d->positions = f->positions;
    d->embed_norm = f->embed_norm;
    d->bias_head = f->bias_head || (f->bias_head_by_key && v->head_bias.given && v->head_bias.value);
    d->bias_qkv = bias(f->bias_qkv, v);
    d->bias_o = bias(f->bias_o, v);
    d->bias_mlp = bias(f->bias_mlp, v);
    bool optional = f->qk_norm_by_key;
    d->qk_norm = !optional || (v->qk_norm.given && v->qk_norm.value) ? f->qk_norm : (uint32_t)MODEL_QK_NONE;
}

static bool head_normed(const struct model_family *f, const struct model_desc *d, struct span json) {
    if (f->normed_vocab == 0) {
        return f->head_normed;
    }
    return d->vocab == f->normed_vocab || (d->vocab != f->plain_vocab && config_has(json, f->normed_key));
}

static lamina_status take_ids(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                              struct lamina_error *err) {
    d->bos_id = v->bos.given ? (int64_t)v->bos.value : -1;
    d->eos_count = v->eos_count;
    memcpy(d->eos_ids, v->eos_ids, sizeof(d->eos_ids));
    d->value_norm = f->value_norm;
    d->layer_scaled = f->layer_scaled;
    LAMINA_TRY(
        config_take_u32(&v->input_dim, (struct config_range){"hidden_size_per_layer_input", 0, 4096, 0}, &d->input_dim, err));
    if (d->input_dim != 0) {
        struct config_range vocab = {"vocab_size_per_layer_input", 1, 1 << 24, d->vocab};
        LAMINA_TRY(config_take_u32(&v->input_vocab, vocab, &d->input_vocab, err));
    }
    d->prefix = f->prefix;
    if (f->prefix) {
        struct config_range gmask = {"gmask_token_id", 0, 1 << 24, 130001};
        struct config_range mask = {"mask_token_id", 0, 1 << 24, 130000};
        struct config_range end = {"bos_token_id", 0, 1 << 24, 130004};
        LAMINA_TRY(config_take_u32(&v->gmask_id, gmask, &d->prefix_masks[0], err));
        LAMINA_TRY(config_take_u32(&v->mask_id, mask, &d->prefix_masks[1], err));
        LAMINA_TRY(config_take_u32(&v->bos, end, &d->prefix_end, err));
    }
    for (uint32_t i = 0; i < d->eos_count; i++) {
        if (d->eos_ids[i] >= (1u << 24)) {
            return base_fail(err, LAMINA_DAMAGED, "config.json: \"eos_token_id\" holds %u, beyond any vocabulary", d->eos_ids[i]);
        }
    }
    return LAMINA_OK;
}

/* Codes that a store keeps as they are. What the method says of activations is for speed on other machines and left alone. */
static bool codes_are_kept(const struct config_values *v) {
    static const char *const methods[] = {"fp8", "fbgemm_fp8", "mxfp4",    "gptq",         "compressed-tensors",
                                          "awq", "mlx",        "modelopt", "bitsandbytes", "unnamed"};
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        known = known || strcmp(v->quant_method.value, methods[i]) == 0;
    }
    return known;
}

lamina_status model_resolve(struct span config_json, struct model_desc *desc, struct lamina_error *err) {
    struct config_values v;
    const struct model_family *f = NULL;
    struct model_family stored; /* the row as a GGUF file has it */
    struct model_desc d = {.names = 0};
    double eps = 0;
    LAMINA_TRY(config_read(config_json, &v, err));
    LAMINA_TRY(family_detect(&v, config_json, &f, err));
    d.gguf = v.gguf.given && v.gguf.value;
    if (d.gguf) {
        gguf_family(f, 0, &stored);
        f = &stored;
    }
    (void)snprintf(d.family, sizeof(d.family), "%s", f->name);
    (void)snprintf(d.architecture, sizeof(d.architecture), "%s",
                   v.architecture.given ? v.architecture.value : f->architectures[0]);
    bool kept = codes_are_kept(&v);
    if (v.quant_method.given && !kept) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "%s: weights quantised by \"%s\" are not supported yet; use the bf16, f16 or f32 checkpoint",
                         d.architecture, v.quant_method.value);
    }
    take_form(&v, f, &d);
    LAMINA_TRY(take_activation(&v, f, &d, err));
    LAMINA_TRY(take_shape(&v, f, &d, err));
    LAMINA_TRY(config_take_double(&v.norm_eps, (struct config_range){"rms_norm_eps", 0, 1, f->norm_eps}, &eps, err));
    d.norm_eps = (float)eps;
    d.head_scaled = head_normed(f, &d, config_json);
    LAMINA_TRY(take_kinds(&v, f, &d, err));
    LAMINA_TRY(resolve_rope(&v, f, &d, err));
    LAMINA_TRY(take_scales(&v, f, &d, err));
    LAMINA_TRY(take_query_rule(&v, f, &d, err));
    LAMINA_TRY(take_ids(&v, f, &d, err));
    if (!model_plausible(&d)) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: %s: its numbers do not fit together", d.architecture);
    }
    *desc = d;
    return LAMINA_OK;
}
