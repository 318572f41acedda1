/* SPDX-License-Identifier: Apache-2.0
 *
 * config.json + table row -> description, every number checked before anybody computes a size with it
 * (ranges: reference/reliability.md 5.2). A refusal names the architecture, the nearest row and the missing feature.
 */
#include <math.h>
#include <stdio.h>

#include "model/config_priv.h"
#include "model/family_priv.h"

static unsigned edit_distance(const char *a, const char *b) {
    enum { MOST = 63 };
    unsigned row[MOST + 1];
    size_t n = strnlen(b, MOST);
    for (size_t j = 0; j <= n; j++) {
        row[j] = (unsigned)j;
    }
    for (size_t i = 0; a[i] != 0 && i < MOST; i++) {
        unsigned corner = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < n; j++) {
            unsigned change = corner + (a[i] != b[j]);
            unsigned gap = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            corner = row[j + 1];
            row[j + 1] = change < gap ? change : gap;
        }
    }
    return row[n];
}

static const char *nearest_architecture(const char *name) {
    const char *best = "none";
    unsigned best_distance = UINT32_MAX;
    const struct model_family *f = NULL;
    for (unsigned i = 0; (f = model_family_at(i)) != NULL; i++) {
        for (unsigned a = 0; a < ARRAY_LEN(f->architectures) && f->architectures[a] != NULL; a++) {
            unsigned d = edit_distance(name, f->architectures[a]);
            if (d < best_distance) {
                best_distance = d;
                best = f->architectures[a];
            }
        }
    }
    return best;
}

static bool text_in(const char *text, const char *const *list, size_t count) {
    for (size_t i = 0; i < count && list[i] != NULL; i++) {
        if (strcmp(text, list[i]) == 0) {
            return true;
        }
    }
    return false;
}

static const struct model_family *find_family(const struct config_values *v) {
    const struct model_family *f = NULL;
    for (unsigned i = 0; (f = model_family_at(i)) != NULL; i++) {
        if (v->architecture.given ? text_in(v->architecture.value, f->architectures, ARRAY_LEN(f->architectures))
                                  : text_in(v->model_type.value, f->model_types, ARRAY_LEN(f->model_types))) {
            return f;
        }
    }
    return NULL;
}

static lamina_status refuse_family(const struct config_values *v, struct lamina_error *err) {
    const char *name = v->architecture.given ? v->architecture.value : v->model_type.value;
    if (name[0] == 0) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "config.json names no architecture (keys \"architectures\" and \"model_type\" are missing)");
    }
    return base_fail(err, LAMINA_UNSUPPORTED, "architecture %s is not supported; the nearest supported one is %s; missing: %s",
                     name, nearest_architecture(name),
                     v->foreign[0] != 0 ? v->foreign : "a row for it in the family table");
}

/* Takes a whole number in [low, high]; a missing one takes `fallback`, unless that is negative: then it is required. */
struct range {
    const char *key;
    double low, high, fallback;
};

static lamina_status take_u32(const struct config_number *n, struct range range, uint32_t *out, struct lamina_error *err) {
    double value = n->given ? n->value : range.fallback;
    if (!n->given && range.fallback < 0) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: \"%s\" is missing", range.key);
    }
    if (!(value >= range.low && value <= range.high) || value != floor(value)) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: \"%s\" is %g, expected a whole number from %g to %g",
                         range.key, value, range.low, range.high);
    }
    *out = (uint32_t)value;
    return LAMINA_OK;
}

static lamina_status take_double(const struct config_number *n, struct range range, double *out,
                                 struct lamina_error *err) {
    double value = n->given ? n->value : range.fallback;
    if (!n->given && range.fallback < 0) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: \"%s\" is missing", range.key);
    }
    if (!(value >= range.low && value <= range.high)) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: \"%s\" is %g, expected %g to %g", range.key, value, range.low,
                         range.high);
    }
    *out = value;
    return LAMINA_OK;
}

static lamina_status take_shape(const struct config_values *v, struct model_desc *d, struct lamina_error *err) {
    LAMINA_TRY(take_u32(&v->hidden, (struct range){"hidden_size", 1, 1 << 20, -1}, &d->hidden, err));
    LAMINA_TRY(take_u32(&v->layers, (struct range){"num_hidden_layers", 1, 4096, -1}, &d->layers, err));
    LAMINA_TRY(take_u32(&v->heads, (struct range){"num_attention_heads", 1, 1 << 16, -1}, &d->heads, err));
    LAMINA_TRY(take_u32(&v->kv_heads, (struct range){"num_key_value_heads", 1, 1 << 16, d->heads}, &d->kv_heads, err));
    LAMINA_TRY(take_u32(&v->ffn, (struct range){"intermediate_size", 1, 1 << 22, -1}, &d->ffn, err));
    LAMINA_TRY(take_u32(&v->vocab, (struct range){"vocab_size", 1, 1 << 24, -1}, &d->vocab, err));
    LAMINA_TRY(take_u32(&v->max_positions, (struct range){"max_position_embeddings", 1, 1 << 30, 2048},
                        &d->max_positions, err));
    if (!v->head_dim.given && d->hidden % d->heads != 0) {
        return base_fail(err, LAMINA_DAMAGED,
                         "config.json: hidden_size %u is not a multiple of num_attention_heads %u and head_dim is missing",
                         d->hidden, d->heads);
    }
    LAMINA_TRY(take_u32(&v->head_dim, (struct range){"head_dim", 2, 4096, d->hidden / d->heads}, &d->head_dim, err));
    if (d->heads % d->kv_heads != 0) {
        return base_fail(err, LAMINA_DAMAGED,
                         "config.json: num_attention_heads %u is not a multiple of num_key_value_heads %u", d->heads,
                         d->kv_heads);
    }
    if (d->head_dim % 2 != 0) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: head_dim %u is odd, rotary positions need pairs", d->head_dim);
    }
    if ((uint64_t)d->heads * d->head_dim > (1 << 22)) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: %u heads of %u are too wide", d->heads, d->head_dim);
    }
    return LAMINA_OK;
}

static lamina_status rope_kind(const struct config_text *type, uint32_t *kind, struct lamina_error *err) {
    static const struct {
        const char *name;
        uint32_t kind;
    } kinds[] = {{"default", MODEL_ROPE_NONE_SCALING}, {"linear", MODEL_ROPE_LINEAR}, {"dynamic", MODEL_ROPE_DYNAMIC},
                 {"llama3", MODEL_ROPE_LLAMA3},        {"yarn", MODEL_ROPE_YARN}};
    if (!type->given) {
        *kind = MODEL_ROPE_NONE_SCALING;
        return LAMINA_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(type->value, kinds[i].name) == 0) {
            *kind = kinds[i].kind;
            return LAMINA_OK;
        }
    }
    return base_fail(err, LAMINA_UNSUPPORTED,
                     "config.json: rotary scaling \"%s\" is not supported (supported: default, linear, dynamic, llama3, yarn)",
                     type->value);
}

static lamina_status take_yarn(const struct config_rope *c, const struct model_desc *d, struct model_rope *r,
                               struct lamina_error *err) {
    LAMINA_TRY(take_u32(&c->original_max, (struct range){"original_max_position_embeddings", 1, 1 << 30, d->max_positions},
                        &r->original_max_positions, err));
    /* Without an explicit factor the ratio of the two lengths is meant. */
    double ratio = (double)d->max_positions / (double)r->original_max_positions;
    LAMINA_TRY(take_double(&c->factor, (struct range){"factor", 1e-3, 1e6, ratio}, &r->factor, err));
    LAMINA_TRY(take_double(&c->beta_fast, (struct range){"beta_fast", 1e-6, 1e6, 32}, &r->beta_fast, err));
    LAMINA_TRY(take_double(&c->beta_slow, (struct range){"beta_slow", 1e-6, 1e6, 1}, &r->beta_slow, err));
    LAMINA_TRY(take_double(&c->attention_factor, (struct range){"attention_factor", 0, 1e6, 0}, &r->attention_factor, err));
    LAMINA_TRY(take_double(&c->mscale, (struct range){"mscale", 0, 1e6, 0}, &r->mscale, err));
    LAMINA_TRY(take_double(&c->mscale_all_dim, (struct range){"mscale_all_dim", 0, 1e6, 0}, &r->mscale_all_dim, err));
    r->truncate = !c->truncate.given || c->truncate.value;
    return LAMINA_OK;
}

static lamina_status take_rope(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                               struct lamina_error *err) {
    const struct config_rope *c = &v->rope;
    struct model_rope *r = &d->rope;
    const struct config_number *theta = c->theta.given ? &c->theta : &v->rope_theta;
    const struct config_number *partial = c->partial.given ? &c->partial : &v->partial_rotary;
    if (partial->given && partial->value != 1.0) {
        return base_fail(err, LAMINA_UNSUPPORTED, "config.json: partial_rotary_factor %g is not supported for %s",
                         partial->value, d->architecture);
    }
    r->dim = d->head_dim;
    LAMINA_TRY(take_double(theta, (struct range){"rope_theta", 1.0 + 1e-9, 1e15, f->rope_theta}, &r->theta, err));
    LAMINA_TRY(rope_kind(&c->type, &r->kind, err));
    r->factor = 1.0;
    switch (r->kind) {
    case MODEL_ROPE_LINEAR:
    case MODEL_ROPE_DYNAMIC:
        return take_double(&c->factor, (struct range){"factor", 1e-3, 1e6, -1}, &r->factor, err);
    case MODEL_ROPE_LLAMA3:
        LAMINA_TRY(take_double(&c->factor, (struct range){"factor", 1e-3, 1e6, -1}, &r->factor, err));
        LAMINA_TRY(take_double(&c->low_freq_factor, (struct range){"low_freq_factor", 1e-6, 1e6, -1}, &r->low_freq_factor, err));
        LAMINA_TRY(take_double(&c->high_freq_factor, (struct range){"high_freq_factor", 1e-6, 1e6, -1}, &r->high_freq_factor, err));
        if (r->low_freq_factor == r->high_freq_factor) {
            return base_fail(err, LAMINA_DAMAGED, "config.json: low_freq_factor equals high_freq_factor (%g)", r->low_freq_factor);
        }
        return take_u32(&c->original_max, (struct range){"original_max_position_embeddings", 1, 1 << 30, -1},
                        &r->original_max_positions, err);
    case MODEL_ROPE_YARN:
        return take_yarn(c, d, r, err);
    default:
        return LAMINA_OK;
    }
}

static lamina_status take_ids(const struct config_values *v, struct model_desc *d, struct lamina_error *err) {
    d->bos_id = v->bos.given ? (int64_t)v->bos.value : -1;
    d->eos_count = v->eos_count;
    memcpy(d->eos_ids, v->eos_ids, sizeof(d->eos_ids));
    for (uint32_t i = 0; i < d->eos_count; i++) {
        if (d->eos_ids[i] >= (1u << 24)) {
            return base_fail(err, LAMINA_DAMAGED, "config.json: \"eos_token_id\" holds %u, beyond any vocabulary", d->eos_ids[i]);
        }
    }
    return LAMINA_OK;
}

lamina_status model_resolve(struct span config_json, struct model_desc *desc, struct lamina_error *err) {
    struct config_values v;
    LAMINA_TRY(config_read(config_json, &v, err));
    const struct model_family *f = find_family(&v);
    if (f == NULL) {
        return refuse_family(&v, err);
    }
    struct model_desc d = {.tied = v.tied.given ? v.tied.value : f->tied};
    (void)snprintf(d.family, sizeof(d.family), "%s", f->name);
    (void)snprintf(d.architecture, sizeof(d.architecture), "%s",
                   v.architecture.given ? v.architecture.value : f->architectures[0]);
    if (v.foreign[0] != 0) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: this checkpoint needs %s, which is not supported yet",
                         d.architecture, v.foreign);
    }
    if (v.quant_method.given) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "%s: weights quantised by \"%s\" are not supported yet; use the bf16, f16 or f32 checkpoint",
                         d.architecture, v.quant_method.value);
    }
    if (v.activation.given && strcmp(v.activation.value, "silu") != 0 && strcmp(v.activation.value, "swish") != 0) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: activation \"%s\" is not supported (supported: silu)",
                         d.architecture, v.activation.value);
    }
    bool attention_bias = v.attention_bias.given ? v.attention_bias.value : f->attention_bias;
    d.bias_qkv = attention_bias;
    d.bias_o = attention_bias;
    d.bias_mlp = v.mlp_bias.given ? v.mlp_bias.value : f->mlp_bias;
    LAMINA_TRY(take_shape(&v, &d, err));
    double eps = 0;
    LAMINA_TRY(take_double(&v.norm_eps, (struct range){"rms_norm_eps", 0, 1, f->norm_eps}, &eps, err));
    d.norm_eps = (float)eps;
    LAMINA_TRY(take_rope(&v, f, &d, err));
    LAMINA_TRY(take_ids(&v, &d, err));
    *desc = d;
    return LAMINA_OK;
}
