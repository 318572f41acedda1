/* SPDX-License-Identifier: Apache-2.0
 *
 * The definition of the fp32 exp: its constants and its sequence of operations, stated once. The scalar kernels inline
 * the function below; kern/wide_priv.h does the same steps on 16 lanes. Nothing else may compute an fp32 exp.
 *
 * exp(x) = 2^n * exp(r), n = x / ln 2 rounded to nearest, |r| <= ln 2 / 2. The rounding comes from adding 1.5 * 2^23, so
 * that the low bits of the sum hold n. The polynomial is a weighted minimax fit of (exp(r) - 1 - r) / r^2, found by a
 * Remez exchange in 200-bit arithmetic; its own relative error is 3.1e-9 (a twentieth of an ulp). 2^n is applied in two
 * halves, so that neither factor leaves the range of normal numbers and overflow and underflow come out by themselves.
 */
#ifndef KERN_EXPF_PRIV_H
#define KERN_EXPF_PRIV_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

#define EXPF_MAX 89.0f             /* 2^128.4: infinity */
#define EXPF_MIN (-104.0f)         /* 2^-150.04: zero, also without flushing of denormals */
#define EXPF_LOG2E 0x1.715476p+0f
#define EXPF_MAGIC 0x1.8p+23f
#define EXPF_MAGIC_BITS 0x4b400000
#define EXPF_LN2_HI 0x1.62e4p-1f   /* 15 bits: n * LN2_HI is exact */
#define EXPF_LN2_LO 0x1.7f7d1cp-20f
#define EXPF_C2 0x1.fffffcp-2f
#define EXPF_C3 0x1.555492p-3f
#define EXPF_C4 0x1.5558f2p-5f
#define EXPF_C5 0x1.123a2p-7f
#define EXPF_C6 0x1.6a23dp-10f

/* 2^n for -126 <= n <= 127; any other n gives some number, which only a NaN can meet. */
static ALWAYS_INLINE float expf_power_of_two(uint32_t n) {
    uint32_t bits = (n + 127u) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static ALWAYS_INLINE float expf_exact(float x) {
    /* Written so that a NaN passes both clamps; it then survives every product below whatever n becomes. */
    x = EXPF_MAX < x ? EXPF_MAX : x;
    x = EXPF_MIN > x ? EXPF_MIN : x;
    float t = fmaf(x, EXPF_LOG2E, EXPF_MAGIC);
    float nf = t - EXPF_MAGIC;
    float r = fmaf(nf, -EXPF_LN2_HI, x);
    r = fmaf(nf, -EXPF_LN2_LO, r);
    float p = fmaf(EXPF_C6, r, EXPF_C5);
    p = fmaf(p, r, EXPF_C4);
    p = fmaf(p, r, EXPF_C3);
    p = fmaf(p, r, EXPF_C2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    int32_t bits;
    memcpy(&bits, &t, sizeof bits);
    int32_t n = (int32_t)((uint32_t)bits - EXPF_MAGIC_BITS);
    int32_t half = n >> 1;
    return (p * expf_power_of_two((uint32_t)half)) * expf_power_of_two((uint32_t)n - (uint32_t)half);
}

#endif
