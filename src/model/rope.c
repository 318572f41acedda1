/* SPDX-License-Identifier: Apache-2.0
 *
 * Rotary position factors (reference/models.md 1.3). All in fp64 with our own pow and log; each frequency is rounded once
 * to fp32, as the reference framework holds its table, because at position 4,000 one fp32 step of a frequency is visible.
 */
#include <math.h>

#include "kern/math.h"
#include "model/model.h"

static const double TWO_PI = 6.283185307179586476925286766559;

static double base_frequency(double theta, uint32_t i, uint32_t dim) {
    return 1.0 / kern_pow(theta, 2.0 * (double)i / (double)dim);
}

/* theta' = theta * (factor * n / M - (factor - 1)) ^ (d / (d - 2)), n = max(length, M) */
static double dynamic_theta(const struct model_desc *desc, const struct model_rope *r, uint32_t length) {
    double most = (double)desc->max_positions;
    double n = (double)length > most ? (double)length : most;
    double grow = r->factor * n / most - (r->factor - 1.0);
    if (r->dim <= 2 || grow == 1.0) {
        return r->theta;
    }
    return r->theta * kern_pow(grow, (double)r->dim / (double)(r->dim - 2));
}

static double llama3_frequency(const struct model_rope *r, double f) {
    double wave = TWO_PI / f;
    double original = (double)r->original_max_positions;
    if (wave < original / r->high_freq_factor) {
        return f;
    }
    if (wave > original / r->low_freq_factor) {
        return f / r->factor;
    }
    double t = (original / wave - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
    return f * ((1.0 - t) / r->factor + t);
}

/* The pair index at which a full turn count of `rotations` fits the original context. */
static double yarn_correction(const struct model_rope *r, double rotations) {
    double ratio = (double)r->original_max_positions / (rotations * TWO_PI);
    return (double)r->dim * kern_log(ratio) / (2.0 * kern_log(r->theta));
}

struct yarn_range {
    double low;
    double high;
};

static struct yarn_range yarn_range(const struct model_rope *r) {
    struct yarn_range range = {yarn_correction(r, r->beta_fast), yarn_correction(r, r->beta_slow)};
    if (r->truncate) {
        range.low = floor(range.low);
        range.high = ceil(range.high);
    }
    if (range.low < 0.0) {
        range.low = 0.0;
    }
    if (range.high > (double)(r->dim - 1)) {
        range.high = (double)(r->dim - 1);
    }
    if (range.low == range.high) {
        range.high += 0.001;
    }
    return range;
}

static double yarn_frequency(const struct model_rope *r, struct yarn_range range, uint32_t i, double f) {
    double ramp = ((double)i - range.low) / (range.high - range.low);
    ramp = ramp < 0.0 ? 0.0 : ramp > 1.0 ? 1.0 : ramp;
    return f / r->factor * ramp + f * (1.0 - ramp);
}

static double yarn_mscale(double factor, double coefficient) {
    return factor > 1.0 ? 0.1 * coefficient * kern_log(factor) + 1.0 : 1.0;
}

static double yarn_attention_factor(const struct model_rope *r) {
    if (r->attention_factor > 0.0) {
        return r->attention_factor;
    }
    if (r->mscale != 0.0 && r->mscale_all_dim != 0.0) {
        return yarn_mscale(r->factor, r->mscale) / yarn_mscale(r->factor, r->mscale_all_dim);
    }
    return yarn_mscale(r->factor, 1.0);
}

/* alpha = max(1, 2^ceil(log2(n / S) + 1) - 1), theta' = theta * alpha^(d / (d - 2)) */
static double qwen_theta(const struct model_rope *r, uint32_t length) {
    double alpha = 1.0;
    double reach = (double)r->original_max_positions;
    /* Doubling until S * 2^k holds the length counts ceil(log2(n / S)) without a logarithm's rounding. */
    double grown = 1.0;
    while (reach * grown < (double)length) {
        grown *= 2.0;
    }
    if ((double)length > reach) {
        alpha = 2.0 * grown - 1.0;
    }
    return alpha == 1.0 || r->dim <= 2 ? r->theta : r->theta * kern_pow(alpha, (double)r->dim / (double)(r->dim - 2));
}

/* sqrt(1 + ln s / ln C), s = how many times longer than trained */
static double long_attention_factor(const struct model_rope *r) {
    if (r->attention_factor > 0.0) {
        return r->attention_factor;
    }
    return r->factor <= 1.0 ? 1.0 : sqrt(1.0 + kern_log(r->factor) / kern_log((double)r->original_max_positions));
}

/* To the nearest fp16, ties to even. */
static float rounded_to_half(float f) {
    int exponent = 0;
    (void)frexpf(f, &exponent);
    float step = ldexpf(1.0f, exponent - 11 > -24 ? exponent - 11 : -24);
    return rintf(f / step) * step;
}

bool model_prefix(const struct model_desc *desc, const uint32_t *ids, uint32_t count, uint32_t *prefix, uint32_t *mask_at) {
    uint32_t end = 0;
    while (end < count && ids[end] != desc->prefix_end) {
        end++;
    }
    *prefix = end;
    *mask_at = end > 0 ? end - 1 : 0;
    for (unsigned kind = 0; kind < 2; kind++) {
        for (uint32_t i = 0; i < count; i++) {
            if (ids[i] == desc->prefix_masks[kind]) {
                *mask_at = i;
                return end < count;
            }
        }
    }
    return end < count;
}

uint32_t model_rope_dim(const struct model_desc *desc, uint32_t rope) {
    for (uint32_t i = 0; i < desc->kind_count; i++) {
        if (desc->kinds[i].rope == rope || (desc->prefix && rope < MODEL_ROPES)) {
            return desc->rope[rope].dim;
        }
    }
    return 0;
}

/* Factors fixed by the prompt stay for the whole sequence, so that all its keys agree. */
uint32_t model_rope_length(const struct model_desc *desc, uint32_t prompt_length, uint32_t position) {
    bool fixed = desc->rope[0].kind == MODEL_ROPE_QWEN_NTK || desc->rope[0].kind == MODEL_ROPE_LONG;
    return fixed || position < prompt_length ? prompt_length : position + 1;
}

void model_rope_frequencies(const struct model_desc *desc, uint32_t rope, uint32_t length, float *inv_freq,
                            float *attention_factor) {
    const struct model_rope *r = &desc->rope[rope];
    double theta = r->kind == MODEL_ROPE_DYNAMIC    ? dynamic_theta(desc, r, length)
                   : r->kind == MODEL_ROPE_QWEN_NTK ? qwen_theta(r, length)
                                                    : r->theta;
    const float *factors = length > r->original_max_positions ? desc->rope_long : desc->rope_short;
    struct yarn_range range = {0};
    *attention_factor = 1.0f;
    if (r->kind == MODEL_ROPE_YARN) {
        range = yarn_range(r);
        *attention_factor = (float)yarn_attention_factor(r);
    } else if (r->kind == MODEL_ROPE_LONG) {
        *attention_factor = (float)long_attention_factor(r);
    }
    for (uint32_t i = 0; i < r->dim / 2; i++) {
        double f = base_frequency(theta, i, r->dim);
        switch (r->kind) {
        case MODEL_ROPE_PARTIAL:
            f = i < r->turning ? f : 0.0;
            break;
        case MODEL_ROPE_LINEAR:
            f /= r->factor;
            break;
        case MODEL_ROPE_LLAMA3:
            f = llama3_frequency(r, f);
            break;
        case MODEL_ROPE_YARN:
            f = yarn_frequency(r, range, i, f);
            break;
        case MODEL_ROPE_LONG:
            f /= (double)factors[i];
            break;
        default:
            break;
        }
        inv_freq[i] = r->half ? rounded_to_half((float)f) : (float)f;
    }
}

float model_query_factor(const struct model_desc *desc, uint32_t position) {
    double length = (double)desc->query_length;
    if (desc->query_rule == MODEL_QUERY_LOGN) {
        return position >= desc->query_length ? (float)(kern_log((double)position + 1.0) / kern_log(length)) : 1.0f;
    }
    if (desc->query_rule == MODEL_QUERY_STEPS) {
        double steps = floor((double)(position + desc->query_offset) / length);
        return (float)(1.0 + desc->query_beta * kern_log(1.0 + steps));
    }
    return 1.0f;
}

/* m_h = 2^(-8h / n), h = 1..n, for a power of two n; else p of those for the power p below, and the odd steps of the
 * series for 2p (Press, Smith, Lewis: Train Short, Test Long, 2021; the rule for other counts is its authors' code). */
void model_alibi_slopes(const struct model_desc *desc, float *slopes) {
    uint32_t heads = desc->kinds[0].heads;
    uint32_t power = 1;
    while (power * 2 <= heads) {
        power *= 2;
    }
    for (uint32_t h = 0; h < heads; h++) {
        double exponent = h < power ? 8.0 * (h + 1) / power : 8.0 * (2 * (h - power) + 1) / (2.0 * power);
        slopes[h] = (float)(kern_pow(2.0, -exponent) * (double)desc->alibi_scale);
    }
}
