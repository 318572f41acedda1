/* SPDX-License-Identifier: Apache-2.0
 *
 * Linear attention with a gated delta rule: the short convolution before it, its decay, and one step of its recurrence. The inner
 * loops run over independent columns, so a compiler may do several at once without changing a bit.
 */
#include "kern/math.h"
#include "kern/ref/ref_priv.h"
#include "kern/shape_priv.h"

void REF(conv_step)(const struct kern_conv *c) {
    const size_t n = c->channels;
    for (size_t i = 0; i < n; i++) {
        const float *w = c->w + i * c->taps;
        const float x = c->x[i];
        float sum = 0;
        for (size_t t = 0; t + 1 < c->taps; t++) {
            sum = fmaf(w[t], c->history[t * n + i], sum);
        }
        sum = fmaf(w[c->taps - 1], x, sum);
        for (size_t t = 0; t + 2 < c->taps; t++) {
            c->history[t * n + i] = c->history[(t + 1) * n + i];
        }
        c->history[(c->taps - 2) * n + i] = x;
        c->out[i] = shape_act(sum, KERN_ACT_SILU);
    }
}

void REF(delta_step)(const struct kern_delta *d) {
    const size_t n = d->v_dim;
    float u[KERN_DELTA_DIM] = {0};
    float *out = d->out;
    for (size_t i = 0; i < d->k_dim; i++) {
        float *row = d->state + i * n;
        const float g = d->decay[i], k = d->k[i];
        for (size_t j = 0; j < n; j++) {
            row[j] *= g;
            u[j] = fmaf(k, row[j], u[j]);
        }
    }
    for (size_t j = 0; j < n; j++) {
        u[j] = d->beta * (d->v[j] - u[j]);
        out[j] = 0;
    }
    for (size_t i = 0; i < d->k_dim; i++) {
        float *row = d->state + i * n;
        const float q = d->q[i], k = d->k[i];
        for (size_t j = 0; j < n; j++) {
            row[j] = fmaf(k, u[j], row[j]);
            out[j] = fmaf(q, row[j], out[j]);
        }
    }
}

void REF(delta_decay)(float *out, const float *x, const float *bias, size_t n, float rate) {
    const double speed = kern_exp((double)rate);
    for (size_t i = 0; i < n; i++) {
        const double z = (double)x[i] + (double)bias[i];
        const double soft = z > 40.0 ? z : kern_log(1.0 + kern_exp(z < -700.0 ? -700.0 : z));
        const double power = -speed * soft;
        out[i] = (float)kern_exp(power < -700.0 ? -700.0 : power);
    }
}
