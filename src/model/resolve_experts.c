/* SPDX-License-Identifier: Apache-2.0
 * Mixtures of experts: how many, how wide, in which layers, and how a row chooses (reference/models.md section 3). */
#include <string.h>

#include "model/config_priv.h"

bool resolve_is_sparse(const struct config_values *v, const struct model_family *f, uint32_t layer) {
    uint32_t step = config_step(&v->sparse_step, 1);
    bool switched_off = f->experts_by_key && !(v->experts_on.given && v->experts_on.value);
    if ((f->features & FEATURE_MOE) == 0 || !v->experts.given || v->experts.value < 1 || switched_off) {
        return false;
    }
    if (layer < v->mlp_type_count) {
        return v->mlp_sparse[layer];
    }
    switch (f->experts_in) {
    case EXPERTS_AFTER_DENSE:
        return (double)layer >= (v->first_dense.given ? v->first_dense.value : f->first_dense) && layer % step == 0;
    case EXPERTS_BY_STEP:
        for (uint32_t i = 0; i < v->dense_layers.count; i++) {
            if (v->dense_layers.value[i] == (float)layer) {
                return false;
            }
        }
        return (layer + 1) % step == 0;
    case EXPERTS_BETWEEN:
        return (double)layer >= (v->first_dense.given ? v->first_dense.value : 1.0) && (layer + 1) % step == 0 &&
               (!v->last_sparse.given || v->last_sparse.value < 0 || (double)layer <= v->last_sparse.value);
    default:
        return true;
    }
}

static lamina_status take_score(const struct config_values *v, struct kern_routing *r, struct lamina_error *err) {
    if (!v->scoring.given) {
        return LAMINA_OK;
    }
    if (strcmp(v->scoring.value, "sigmoid") == 0 || strcmp(v->scoring.value, "noaux_tc") == 0) {
        r->score = KERN_SCORE_SIGMOID;
    } else if (strcmp(v->scoring.value, "softmax") == 0) {
        r->score = r->score == KERN_SCORE_SIGMOID ? (uint32_t)KERN_SCORE_SOFTMAX : r->score;
    } else {
        return base_fail(err, LAMINA_UNSUPPORTED, "config.json: experts chosen by \"%s\" are not supported (supported: softmax, "
                         "sigmoid)", v->scoring.value);
    }
    return LAMINA_OK;
}

static lamina_status take_groups(const struct config_values *v, uint32_t experts, struct kern_routing *r,
                                 struct lamina_error *err) {
    static const char *const by_groups[] = {"group_limited_greedy", "noaux_tc"};
    const char *method = v->choosing.given ? v->choosing.value : by_groups[0];
    if (strcmp(method, "greedy") == 0) {
        return LAMINA_OK;
    }
    if (strcmp(method, by_groups[0]) != 0 && strcmp(method, by_groups[1]) != 0) {
        return base_fail(err, LAMINA_UNSUPPORTED, "config.json: topk_method \"%s\" is not supported (supported: greedy, %s, %s)",
                         method, by_groups[0], by_groups[1]);
    }
    LAMINA_TRY(config_take_u32(&v->groups, (struct config_range){"n_group", 1, experts, 1}, &r->groups, err));
    LAMINA_TRY(
        config_take_u32(&v->kept_groups, (struct config_range){"topk_group", 1, r->groups, r->groups}, &r->kept_groups, err));
    if (experts % r->groups != 0 || r->top_k > experts / r->groups * r->kept_groups) {
        return base_fail(err, LAMINA_DAMAGED,
                         "config.json: %u experts in %u groups, of which %u are kept, do not allow %u per token", experts,
                         r->groups, r->kept_groups, r->top_k);
    }
    if (r->kept_groups == r->groups) {
        r->groups = 0;
        r->kept_groups = 0;
    }
    return LAMINA_OK;
}

static lamina_status take_widths(const struct config_values *v, const struct model_family *f, struct model_kind *k,
                                 struct lamina_error *err) {
    const struct config_number *width = f->expert_ffn_is_ffn ? &v->ffn : &v->expert_ffn;
    uint32_t shared = 0;
    LAMINA_TRY(config_take_u32(width, (struct config_range){"moe_intermediate_size", 1, 1 << 22, -1}, &k->expert_ffn, err));
    if (f->shared_as_expert) {
        k->shared_ffn = k->expert_ffn;
        return LAMINA_OK;
    }
    if (f->shared_by_count) {
        LAMINA_TRY(config_take_u32(&v->shared_count, (struct config_range){"n_shared_experts", 0, 64, f->shared_default},
                                   &shared, err));
        k->shared_ffn = shared * k->expert_ffn;
        return LAMINA_OK;
    }
    return config_take_u32(&v->shared_ffn, (struct config_range){"shared_expert_intermediate_size", 0, 1 << 22, 0},
                           &k->shared_ffn, err);
}

lamina_status resolve_experts(const struct config_values *v, const struct model_family *f, struct model_desc *d,
                              struct model_kind *k, struct lamina_error *err) {
    struct kern_routing *r = &d->routing;
    const double silent = f->route_factor != 0 ? f->route_factor : 1.0;
    double factor = 1.0;
    *r = f->routing;
    LAMINA_TRY(config_take_u32(&v->experts, (struct config_range){"num_experts", 1, MODEL_MAX_EXPERTS, -1}, &k->experts, err));
    double usual = f->routing.top_k != 0 ? f->routing.top_k : -1.0;
    double most = k->experts < KERN_MAX_TOP_K ? k->experts : (double)KERN_MAX_TOP_K;
    LAMINA_TRY(config_take_u32(&v->top_k, (struct config_range){"num_experts_per_tok", 1, most, usual}, &r->top_k, err));
    LAMINA_TRY(take_widths(v, f, k, err));
    LAMINA_TRY(take_score(v, r, err));
    LAMINA_TRY(take_groups(v, k->experts, r, err));
    LAMINA_TRY(
        config_take_double(&v->route_factor, (struct config_range){"routed_scaling_factor", 1e-6, 1e6, silent}, &factor, err));
    r->factor = (float)factor;
    if (r->score == KERN_SCORE_NEAR) {
        double jitter = 0;
        if (r->top_k != 2) {
            return base_fail(err, LAMINA_UNSUPPORTED,
                             "%s: %u experts per token are not supported (supported: 2, as the family's own code has)",
                             d->architecture, r->top_k);
        }
        LAMINA_TRY(config_take_double(&v->jitter, (struct config_range){"router_jitter_noise", 0, 1e3, 0.01}, &jitter, err));
        r->jitter = (float)jitter;
    }
    const bool said = !f->renorm_fixed && v->renorm.given ? v->renorm.value : f->renorm_default;
    r->renormed = said && !(f->renorm_several && r->top_k == 1);
    d->router_bias = f->router_bias;
    d->choice_bias = f->choice_bias;
    d->shared_gated = f->shared_gated;
    d->bias_expert = f->bias_expert;
    d->expert_scaled = f->expert_scaled;
    d->dense_beside = f->dense_beside;
    return LAMINA_OK;
}
