/* SPDX-License-Identifier: Apache-2.0
 *
 * Scalar kernels over one vector: norm, rotation, activation, sums, maxima. Sums run in 16 virtual lanes.
 */
#include "kern/math.h"
#include "kern/ref/ref_priv.h"

void REF(rmsnorm)(float *out, const float *x, const float *w, size_t n, float eps) {
    float lane[LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        lane[i % LANES] = fmaf(x[i], x[i], lane[i % LANES]);
    }
    const float r = 1.0f / sqrtf(ref_fold_add(lane) / (float)n + eps);
    for (size_t i = 0; i < n; i++) {
        out[i] = (x[i] * r) * w[i];
    }
}

void REF(rope)(float *v, const float *cos, const float *sin, uint32_t heads, uint32_t head_dim, uint32_t rope_dim) {
    const uint32_t half = rope_dim / 2;
    for (uint32_t h = 0; h < heads; h++, v += head_dim) {
        for (uint32_t i = 0; i < half; i++) {
            const float a = v[i], b = v[i + half];
            v[i] = fmaf(a, cos[i], -(b * sin[i]));
            v[i + half] = fmaf(b, cos[i], a * sin[i]);
        }
    }
}

void REF(silu_mul)(float *out, const float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) {
        out[i] = gate[i] / (1.0f + expf_exact(-gate[i])) * up[i];
    }
}

void REF(add)(float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        x[i] += y[i];
    }
}

uint32_t REF(argmax)(const float *x, size_t n, bool *finite) {
    uint32_t best = 0;
    float largest = -INFINITY; /* a NaN never exceeds it, so it counts as -infinity */
    bool all_finite = true;
    for (size_t i = 0; i < n; i++) {
        all_finite = all_finite && (ref_bits_of(x[i]) & 0x7f800000) != 0x7f800000;
        if (x[i] > largest) {
            largest = x[i];
            best = (uint32_t)i;
        }
    }
    *finite = all_finite;
    return best;
}

float REF(logsumexp)(const float *x, size_t n) {
    float largest = x[0], lane[LANES] = {0};
    for (size_t i = 1; i < n; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    for (size_t i = 0; i < n; i++) {
        lane[i % LANES] += expf_exact(x[i] - largest);
    }
    return kern_logf(ref_fold_add(lane)) + largest;
}
