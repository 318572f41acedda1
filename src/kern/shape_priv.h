/* SPDX-License-Identifier: Apache-2.0
 *
 * fp32 functions that bend numbers: tanh, erf, the activations, and what happens to an attention score between product and
 * softmax. Scalar, in operations that IEEE fixes, so that every level that calls them gives the same bits. They run once
 * per activation or score, not once per weight.
 */
#ifndef KERN_SHAPE_PRIV_H
#define KERN_SHAPE_PRIV_H

#include <math.h>
#include <stdbool.h>

#include "base/compiler.h"
#include "kern/expf_priv.h"
#include "kern/kern.h"

/* tanh: below 0.5 the continued fraction x / (1 + x^2 / (3 + x^2 / (5 + x^2 / (7 + x^2 / 9)))), relative error below one
 * fp32 ulp there; above, 1 - 2 / (exp(2x) + 1). */
static inline float shape_tanhf(float x) {
    const float a = fabsf(x);
    if (!(a >= 0.5f)) {
        const float z = x * x;
        return x / (1.0f + z / (3.0f + z / (5.0f + z / (7.0f + z / 9.0f))));
    }
    const float t = 1.0f - 2.0f / (expf_exact(2.0f * a) + 1.0f);
    return x < 0 ? -t : t;
}

/* erf by its Maclaurin series 2 / sqrt(pi) * sum (-1)^n x^(2n+1) / (n! (2n+1)) in fp64, rounded once; 1 from 4 on, where
 * 1 - erf is below 2^-25. The largest term at 4 is about 2^20, so cancelling leaves more than fp32 needs. */
static inline float shape_erff(float f) {
    const double x = fabs((double)f);
    if (!(x < 4.0)) {
        return x != x ? f : f < 0 ? -1.0f : 1.0f;
    }
    const double z = x * x;
    double term = x, sum = x;
    for (int n = 1; n < 64; n++) {
        term = -term * z / n;
        sum = sum + term / (2 * n + 1);
    }
    const double r = sum * 0x1.20dd750429b6dp+0; /* 2 / sqrt(pi) */
    return (float)(f < 0 ? -r : r);
}

static inline float shape_sigmoid(float x) {
    return 1.0f / (1.0f + expf_exact(-x));
}

static inline float shape_act(float x, enum kern_act act) {
    switch (act) {
    case KERN_ACT_SILU:
        return x / (1.0f + expf_exact(-x));
    case KERN_ACT_GELU_TANH: {
        const float inner = 0x1.988454p-1f * fmaf(0x1.6e4e26p-5f * x, x * x, x); /* sqrt(2/pi), 0.044715 */
        return 0.5f * x * (1.0f + shape_tanhf(inner));
    }
    case KERN_ACT_GELU_ERF:
        return 0.5f * x * (1.0f + shape_erff(x * 0x1.6a09e6p-1f)); /* 1 / sqrt 2 */
    case KERN_ACT_RELU:
        return x < 0 ? 0.0f : x;
    case KERN_ACT_RELU2: {
        const float positive = x > 0 ? x : 0.0f;
        return positive * positive;
    }
    default:
        return x;
    }
}

static inline bool attend_shaped(const struct kern_attention *a) {
    return a->cap != 0.0f || a->slopes != NULL;
}

/* A scaled score of head `head` and the key at `position`. */
static inline float attend_shape(const struct kern_attention *a, uint32_t head, int64_t position, float score) {
    if (a->cap != 0.0f) {
        score = a->cap * shape_tanhf(score / a->cap);
    }
    if (a->slopes != NULL) {
        score = fmaf(a->slopes[head], (float)(position - ((int64_t)a->count - 1)), score);
    }
    return score;
}

#endif
