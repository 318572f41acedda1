/* SPDX-License-Identifier: Apache-2.0
 *
 * The plain loops over one vector that no level writes again: norms with a mean or without weights, activations, caps,
 * scaled sums. Sums run in 16 virtual lanes.
 */
#include "kern/shape_priv.h"

#include "kern/ref/ref_priv.h"

static float lane_sum(const float *x, size_t n) {
    float lane[LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        lane[i % LANES] += x[i];
    }
    return ref_fold_add(lane);
}

/* Sum of (x - mean)^2. */
static float lane_squares(const float *x, size_t n, float mean) {
    float lane[LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        const float d = x[i] - mean;
        lane[i % LANES] = fmaf(d, d, lane[i % LANES]);
    }
    return ref_fold_add(lane);
}

void REF(layernorm)(float *out, const float *x, const struct kern_affine *a, size_t n, float eps) {
    const float mean = lane_sum(x, n) / (float)n;
    const float r = 1.0f / sqrtf(lane_squares(x, n, mean) / (float)n + eps);
    for (size_t i = 0; i < n; i++) {
        const float unit = (x[i] - mean) * r;
        const float w = a->w != NULL ? a->w[i] : 1.0f;
        out[i] = a->b != NULL ? fmaf(unit, w, a->b[i]) : unit * w;
    }
}

void REF(unit_norm)(float *out, const float *x, size_t n, float eps) {
    const float r = 1.0f / sqrtf(lane_squares(x, n, 0.0f) / (float)n + eps);
    for (size_t i = 0; i < n; i++) {
        out[i] = x[i] * r;
    }
}

void REF(activate)(float *out, const float *x, size_t n, enum kern_act act) {
    for (size_t i = 0; i < n; i++) {
        out[i] = shape_act(x[i], act);
    }
}

void REF(clamped_glu)(float *out, const float *gate, const float *up, size_t n, float limit) {
    for (size_t i = 0; i < n; i++) {
        const float g = gate[i] > limit ? limit : gate[i];
        const float u = up[i] > limit ? limit : up[i] < -limit ? -limit : up[i];
        out[i] = g / (1.0f + expf_exact(-1.702f * g)) * (u + 1.0f);
    }
}

void REF(mul)(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        x[i] *= y[i];
    }
}

void REF(sigmoid_mul)(float *x, const float *gate, size_t n) {
    for (size_t i = 0; i < n; i++) {
        x[i] *= shape_sigmoid(gate[i]);
    }
}

void REF(scale)(float *out, const float *x, size_t n, float factor) {
    for (size_t i = 0; i < n; i++) {
        out[i] = x[i] * factor;
    }
}

void REF(add_scaled)(float *x, const float *y, size_t n, float factor) {
    for (size_t i = 0; i < n; i++) {
        x[i] = fmaf(y[i], factor, x[i]);
    }
}

void REF(soft_cap)(float *x, size_t n, float cap) {
    for (size_t i = 0; i < n; i++) {
        x[i] = cap * shape_tanhf(x[i] / cap);
    }
}

void REF(clamp)(float *x, size_t n, float limit) {
    for (size_t i = 0; i < n; i++) {
        x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
    }
}
