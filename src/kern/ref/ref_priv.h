/* SPDX-License-Identifier: Apache-2.0
 *
 * What the scalar kernels share: their names, the 16 virtual lanes, and the conversions between fp16, bf16 and fp32.
 * x86/scalar_avx2.c compiles the same sources again with another suffix. Plain loops only, in the order that kern/kern.h
 * fixes: these files are the definition of correct.
 */
#ifndef KERN_REF_REF_PRIV_H
#define KERN_REF_REF_PRIV_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "kern/expf_priv.h"
#include "kern/kern.h"

#define REF_JOIN_(a, b) a##_##b
#define REF_JOIN(a, b) REF_JOIN_(a, b)
#ifndef REF_SUFFIX
#define REF_SUFFIX scalar
#endif
#define REF(name) REF_JOIN(kern_##name, REF_SUFFIX)

enum { LANES = 16 };

void REF(matmul_f32)(const struct kern_matmul *m);
void REF(matmul_f16)(const struct kern_matmul *m);
void REF(matmul_bf16)(const struct kern_matmul *m);
void REF(unpack_row_f32)(float *out, const void *panel, uint32_t row, uint32_t cols);
void REF(unpack_row_f16)(float *out, const void *panel, uint32_t row, uint32_t cols);
void REF(unpack_row_bf16)(float *out, const void *panel, uint32_t row, uint32_t cols);
void REF(rmsnorm)(float *out, const float *x, const float *w, size_t n, float eps);
void REF(rope)(float *v, const float *cos, const float *sin, uint32_t heads, uint32_t head_dim, uint32_t rope_dim);
void REF(silu_mul)(float *out, const float *gate, const float *up, size_t n);
void REF(add)(float *x, const float *y, size_t n);
void REF(kv_store)(const struct kern_kv_store *s);
void REF(attention)(const struct kern_attention *a);
void REF(layernorm)(float *out, const float *x, const struct kern_affine *a, size_t n, float eps);
void REF(unit_norm)(float *out, const float *x, size_t n, float eps);
void REF(activate)(float *out, const float *x, size_t n, enum kern_act act);
void REF(clamped_glu)(float *out, const float *gate, const float *up, size_t n, float limit);
void REF(mul)(float *x, const float *y, size_t n);
void REF(sigmoid_mul)(float *x, const float *gate, size_t n);
void REF(scale)(float *out, const float *x, size_t n, float factor);
void REF(add_scaled)(float *x, const float *y, size_t n, float factor);
void REF(soft_cap)(float *x, size_t n, float cap);
void REF(clamp)(float *x, size_t n, float limit);
void REF(conv_step)(const struct kern_conv *c);
void REF(delta_step)(const struct kern_delta *d);
void REF(delta_decay)(float *out, const float *x, const float *bias, size_t n, float rate);
uint32_t REF(argmax)(const float *x, size_t n, bool *finite);
float REF(logsumexp)(const float *x, size_t n);

/* 16 -> 8 -> 4 -> 2 -> 1, lane i with lane i + half. */
static inline float ref_fold_add(float lane[LANES]) {
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            lane[i] += lane[i + half];
        }
    }
    return lane[0];
}

static inline float ref_float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t ref_bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float ref_from_bf16(uint16_t h) {
    return ref_float_of((uint32_t)h << 16);
}

/* Exact; denormal halves become normal floats, so no flushing touches them. */
static inline float ref_from_f16(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 31) {
        return ref_float_of(sign | 0x7f800000 | fraction << 13);
    }
    if (exponent == 0) {
        float magnitude = (float)fraction * 0x1p-24f;
        return ref_float_of(sign | ref_bits_of(magnitude));
    }
    return ref_float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

/* Nearest, ties to even; overflow to infinity; a NaN stays a (quiet) NaN. */
static inline uint16_t ref_to_f16(float f) {
    const uint32_t bits = ref_bits_of(f), magnitude = bits & 0x7fffffff;
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7f800000) {
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    }
    if (magnitude >= 0x477ff000) { /* from 65520 on */
        return sign | 0x7c00;
    }
    if (magnitude >= 0x38800000) { /* normal: 2^-14 and up */
        const uint32_t odd = magnitude >> 13 & 1;
        return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
    }
    if (magnitude < 0x33000000) { /* below half of the smallest denormal */
        return sign;
    }
    /* Denormal result, in units of 2^-24: shift the 24-bit significand down and round to even. */
    const uint32_t significand = (magnitude & 0x7fffff) | 0x800000, shift = 126 - (magnitude >> 23);
    const uint32_t kept = significand >> shift, rest = significand & ((1u << shift) - 1), half = 1u << (shift - 1);
    return (uint16_t)(sign | (kept + (rest > half || (rest == half && (kept & 1)))));
}

#endif
