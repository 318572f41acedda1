/* SPDX-License-Identifier: Apache-2.0
 *
 * Rotary parameters: from rope_scaling or rope_parameters (whole, or by kind of layer) and the row's rule to the sets of
 * the description. Set 0 belongs to layers that see everything, set 1 to layers with a window where those differ.
 */
#include <math.h>
#include <string.h>

#include "kern/math.h"
#include "model/config_priv.h"

static lamina_status rope_kind(const struct config_text *type, uint32_t *kind, struct lamina_error *err) {
    static const struct {
        const char *name;
        uint32_t kind;
    } kinds[] = {{"default", MODEL_ROPE_NONE_SCALING},
                 {"origin", MODEL_ROPE_NONE_SCALING},
                 {"mrope", MODEL_ROPE_NONE_SCALING},
                 {"linear", MODEL_ROPE_LINEAR},
                 {"dynamic", MODEL_ROPE_DYNAMIC},
                 {"llama3", MODEL_ROPE_LLAMA3},
                 {"yarn", MODEL_ROPE_YARN},
                 {"longrope", MODEL_ROPE_LONG},
                 {"proportional", MODEL_ROPE_PARTIAL},
                 {"su", MODEL_ROPE_LONG}};
    *kind = MODEL_ROPE_NONE_SCALING;
    if (!type->given) {
        return LAMINA_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(type->value, kinds[i].name) == 0) {
            *kind = kinds[i].kind;
            return LAMINA_OK;
        }
    }
    return base_fail(err, LAMINA_UNSUPPORTED,
                     "config.json: rotary scaling \"%s\" is not supported (supported: default, linear, dynamic, llama3, yarn, "
                     "longrope)",
                     type->value);
}

static lamina_status take_yarn(const struct config_rope *c, const struct model_desc *d, struct model_rope *r,
                               struct lamina_error *err) {
    LAMINA_TRY(config_take_u32(&c->original_max,
                               (struct config_range){"original_max_position_embeddings", 1, 1 << 30, d->max_positions},
                               &r->original_max_positions, err));
    /* Without an explicit factor the ratio of the two lengths is meant. */
    double ratio = (double)d->max_positions / (double)r->original_max_positions;
    LAMINA_TRY(config_take_double(&c->factor, (struct config_range){"factor", 1e-3, 1e6, ratio}, &r->factor, err));
    LAMINA_TRY(config_take_double(&c->beta_fast, (struct config_range){"beta_fast", 1e-6, 1e6, 32}, &r->beta_fast, err));
    LAMINA_TRY(config_take_double(&c->beta_slow, (struct config_range){"beta_slow", 1e-6, 1e6, 1}, &r->beta_slow, err));
    LAMINA_TRY(config_take_double(&c->attention_factor, (struct config_range){"attention_factor", 0, 1e6, 0},
                                  &r->attention_factor, err));
    LAMINA_TRY(config_take_double(&c->mscale, (struct config_range){"mscale", 0, 1e6, 0}, &r->mscale, err));
    LAMINA_TRY(config_take_double(&c->mscale_all_dim, (struct config_range){"mscale_all_dim", 0, 1e6, 0},
                                  &r->mscale_all_dim, err));
    r->truncate = !c->truncate.given || c->truncate.value;
    return LAMINA_OK;
}

double resolve_stretch(const struct model_rope *r) {
    bool stretched = r->kind == MODEL_ROPE_YARN && r->mscale_all_dim != 0.0 && r->factor > 1.0;
    double m = stretched ? 0.1 * r->mscale_all_dim * log(r->factor) + 1.0 : 1.0;
    return m * m;
}

static lamina_status take_llama3(const struct config_rope *c, struct model_rope *r, struct lamina_error *err) {
    LAMINA_TRY(config_take_double(&c->factor, (struct config_range){"factor", 1e-3, 1e6, -1}, &r->factor, err));
    LAMINA_TRY(config_take_double(&c->low_freq_factor, (struct config_range){"low_freq_factor", 1e-6, 1e6, -1},
                                  &r->low_freq_factor, err));
    LAMINA_TRY(config_take_double(&c->high_freq_factor, (struct config_range){"high_freq_factor", 1e-6, 1e6, -1},
                                  &r->high_freq_factor, err));
    if (r->low_freq_factor == r->high_freq_factor) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: low_freq_factor equals high_freq_factor (%g)", r->low_freq_factor);
    }
    return config_take_u32(&c->original_max, (struct config_range){"original_max_position_embeddings", 1, 1 << 30, -1},
                           &r->original_max_positions, err);
}

static lamina_status take_long(const struct config_values *v, const struct config_rope *c, struct model_desc *d,
                               struct model_rope *r, struct lamina_error *err) {
    const struct config_number *original = v->original_max.given ? &v->original_max : &c->original_max;
    LAMINA_TRY(config_take_u32(original, (struct config_range){"original_max_position_embeddings", 1, 1 << 30, d->max_positions},
                               &r->original_max_positions, err));
    double ratio = (double)d->max_positions / (double)r->original_max_positions;
    LAMINA_TRY(config_take_double(&c->factor, (struct config_range){"factor", 1e-3, 1e6, ratio}, &r->factor, err));
    LAMINA_TRY(config_take_double(&c->attention_factor, (struct config_range){"attention_factor", 0, 1e6, 0},
                                  &r->attention_factor, err));
    if (c->short_mscale.given && c->long_mscale.given) { /* the multiplier itself, under another name */
        if (c->short_mscale.value != c->long_mscale.value) {
            return base_fail(err, LAMINA_UNSUPPORTED,
                             "config.json: short_mscale %g and long_mscale %g: multipliers of cos and sin that differ by length "
                             "are not supported", c->short_mscale.value, c->long_mscale.value);
        }
        LAMINA_TRY(config_take_double(&c->short_mscale, (struct config_range){"short_mscale", 1e-3, 1e3, 1.0}, &r->attention_factor,
                                      err));
    }
    if (c->short_factor.count != r->dim / 2 || c->long_factor.count != r->dim / 2) {
        return base_fail(err, LAMINA_DAMAGED,
                         "config.json: short_factor and long_factor hold %u and %u numbers, expected %u, one per rotary pair",
                         c->short_factor.count, c->long_factor.count, r->dim / 2);
    }
    for (uint32_t i = 0; i < r->dim / 2; i++) {
        d->rope_short[i] = c->short_factor.value[i];
        d->rope_long[i] = c->long_factor.value[i];
        if (!(d->rope_short[i] > 0.0f) || !(d->rope_long[i] > 0.0f)) {
            return base_fail(err, LAMINA_DAMAGED, "config.json: rotary factor %u is not above 0", i);
        }
    }
    return LAMINA_OK;
}

static lamina_status rotated_dimensions(const struct config_values *v, const struct config_rope *c,
                                        const struct model_family *f, uint32_t head_dim, struct model_rope *r,
                                        struct lamina_error *err) {
    const struct config_number *partial = c->partial.given ? &c->partial : &v->partial_rotary;
    double otherwise = f->partial_rope > 0 ? f->partial_rope : 1.0;
    double share = 1.0;
    LAMINA_TRY(config_take_double(partial, (struct config_range){"partial_rotary_factor", 1e-3, 1.0, otherwise}, &share, err));
    r->dim = (uint32_t)(share * (double)head_dim);
    if (v->rotary_dim.given && !partial->given) {
        LAMINA_TRY(config_take_u32(&v->rotary_dim, (struct config_range){"rotary_dim", 2, head_dim, -1}, &r->dim, err));
    } else if (!v->rotary_dim.null && !partial->given && f->rotary_default != 0) {
        r->dim = f->rotary_default < head_dim ? f->rotary_default : head_dim;
    }
    if (r->dim != head_dim && (f->features & FEATURE_PARTIAL_ROPE) == 0) {
        return base_fail(err, LAMINA_UNSUPPORTED, "config.json: partial_rotary_factor %g is not supported for %s", share,
                         v->architecture.given ? v->architecture.value : f->name);
    }
    if (r->dim < 2 || r->dim % 2 != 0 || r->dim / 2 > MODEL_LONG_PAIRS) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: %u of %u dimensions of a head would be rotated", r->dim, head_dim);
    }
    return LAMINA_OK;
}

static lamina_status take_theta(const struct config_values *v, const struct config_rope *c, const struct model_family *f,
                                struct model_rope *r, struct lamina_error *err) {
    const struct config_number *theta = v->rotary_base.given ? &v->rotary_base : c->theta.given ? &c->theta : &v->rope_theta;
    double ratio = 1.0;
    LAMINA_TRY(config_take_double(theta, (struct config_range){"rope_theta", 1.0 + 1e-9, 1e15, f->rope_theta}, &r->theta, err));
    LAMINA_TRY(config_take_double(&v->rope_ratio, (struct config_range){"rope_ratio", 1e-3, 1e6, 1.0}, &ratio, err));
    r->theta *= f->rope_ratio_multiplies ? ratio : 1.0;
    if (f->rope_ratio_divides && ratio != 1.0) {
        r->kind = MODEL_ROPE_LINEAR;
        r->factor = ratio;
    }
    return LAMINA_OK;
}

/* Heads of layers with a window may differ from the others. */
static uint32_t head_of_set(const struct model_desc *d, bool windowed) {
    for (uint32_t i = 0; i < d->kind_count; i++) {
        if (d->kinds[i].mixer != MODEL_DELTA && (d->kinds[i].window != 0) == windowed) {
            return d->kinds[i].head_dim;
        }
    }
    return model_attending(d)->head_dim;
}

/* One set from one place of config.json. */
static lamina_status take_set(const struct config_values *v, const struct config_rope *c, const struct model_family *f,
                              struct model_desc *d, struct model_rope *r, struct lamina_error *err) {
    r->factor = 1.0;
    LAMINA_TRY(rope_kind(&c->type, &r->kind, err));
    uint32_t head_dim = head_of_set(d, r == &d->rope[1]);
    if (f->latent) {
        r->dim = model_attending(d)->head_dim - model_attending(d)->plain_dim;
    } else {
        LAMINA_TRY(rotated_dimensions(v, c, f, head_dim, r, err));
    }
    if (r->kind == MODEL_ROPE_PARTIAL) { /* the whole head, most of it by an angle of 0 */
        r->turning = r->dim / 2;
        r->dim = head_dim;
    }
    LAMINA_TRY(take_theta(v, c, f, r, err));
    if (f->rope_alpha && r->kind == MODEL_ROPE_DYNAMIC && c->alpha.given && c->alpha.value != 0) {
        double alpha = 1.0;
        LAMINA_TRY(config_take_double(&c->alpha, (struct config_range){"alpha", 1e-3, 1e9, 1.0}, &alpha, err));
        r->theta *= r->dim > 2 ? kern_pow(alpha, (double)r->dim / (double)(r->dim - 2)) : 1.0;
        r->kind = MODEL_ROPE_NONE_SCALING;
    }
    switch (c->type.given ? r->kind : MODEL_ROPE_NONE_SCALING) {
    case MODEL_ROPE_LINEAR:
    case MODEL_ROPE_DYNAMIC:
        return config_take_double(
            &c->factor, (struct config_range){"factor", 1e-3, 1e6, f->rope_factor_default > 0 ? f->rope_factor_default : -1},
            &r->factor, err);
    case MODEL_ROPE_LLAMA3:
        return take_llama3(c, r, err);
    case MODEL_ROPE_YARN:
        return take_yarn(c, d, r, err);
    case MODEL_ROPE_LONG:
        return take_long(v, c, d, r, err);
    default:
        return LAMINA_OK;
    }
}

static lamina_status qwen_growth(const struct config_values *v, const struct model_family *f, struct model_rope *r,
                                 struct lamina_error *err) {
    if (v->dynamic_ntk.given ? v->dynamic_ntk.value : f->qwen_ntk_default) {
        r->kind = MODEL_ROPE_QWEN_NTK;
        return config_take_u32(&v->sequence_length, (struct config_range){"seq_length", 1, 1 << 30, -1},
                               &r->original_max_positions, err);
    }
    return LAMINA_OK;
}

/* The set of layers with a window, where it is one of its own. */
static lamina_status take_window_set(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                                     struct lamina_error *err) {
    struct model_rope *r = &d->rope[1];
    struct config_rope plain = {.theta = v->rope_by_layer ? v->window_rope.theta : v->local_theta};
    if (f->rope == ROPE_WINDOWED_PLAIN) {
        plain.theta = v->rope.theta;
    }
    const struct config_rope *c = v->rope_by_layer ? &v->window_rope : &plain;
    if (f->rope == ROPE_WINDOWED_THETA && !c->theta.given) {
        plain.theta = (struct config_number){.value = 10000.0, .given = true};
        c = &plain;
    }
    return take_set(v, c, f, d, r, err);
}

lamina_status resolve_rope(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                           struct lamina_error *err) {
    bool second = v->rope_by_layer || f->rope == ROPE_WINDOWED_PLAIN || f->rope == ROPE_WINDOWED_THETA;
    if (f->rope == ROPE_NEVER) {
        for (uint32_t i = 0; i < d->kind_count; i++) {
            d->kinds[i].rope = MODEL_NO_ROPE;
        }
        return LAMINA_OK;
    }
    if (v->rope_by_layer && f->rope != ROPE_WINDOWED_PLAIN && f->rope != ROPE_WINDOWED_THETA) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: this checkpoint needs %s (rope_parameters), which is not supported yet",
                         d->architecture, model_feature_words(FEATURE_LAYER_ROPE));
    }
    LAMINA_TRY(take_set(v, &v->rope, f, d, &d->rope[0], err));
    if (v->late_rotary && !v->rope.type.given) { /* that class says nothing and means this */
        d->rope[0].kind = MODEL_ROPE_DYNAMIC;
        d->rope[0].factor = 1.0;
    }
    d->raw_keys = v->late_rotary && d->rope[0].kind == MODEL_ROPE_DYNAMIC;
    if (f->prefix) { /* two coordinates, half of each head for each */
        if (d->rope[0].dim % 4 != 0) {
            return base_fail(err, LAMINA_DAMAGED, "config.json: %u dimensions of a head are no two halves of rotary pairs",
                             d->rope[0].dim);
        }
        d->rope[0].dim /= 2;
        d->rope[0].half = true;
        d->rope[1] = d->rope[0];
    }
    if (f->qwen_ntk) {
        LAMINA_TRY(qwen_growth(v, f, &d->rope[0], err));
    }
    bool any_window = v->window.given || (!v->window.null && f->window_default > 0);
    bool windowed_only = f->rope == ROPE_WINDOWED_ONLY || (f->rope == ROPE_WINDOWED_IF_ANY && any_window);
    for (uint32_t i = 0; i < d->kind_count; i++) {
        struct model_kind *k = &d->kinds[i];
        if (k->mixer == MODEL_DELTA || f->nope_by_list) {
            continue;
        }
        k->rope = k->window == 0 && k->chunk == 0 ? (windowed_only ? MODEL_NO_ROPE : 0u) : (second ? 1u : 0u);
    }
    return second ? take_window_set(v, f, d, err) : LAMINA_OK;
}
