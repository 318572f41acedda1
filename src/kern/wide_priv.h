/* SPDX-License-Identifier: Apache-2.0
 *
 * Templates of the vector kernels, written once over 16 lanes; a level's .c file includes its lanes header first (alone
 * this header is empty). Invariant: operation for operation what src/kern/ref does, so lane l of a v16 is virtual lane l.
 */
#ifndef KERN_WIDE_PRIV_H
#define KERN_WIDE_PRIV_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "kern/expf_priv.h"
#include "kern/kern.h"
#include "kern/math.h"

#ifdef VF_LEVEL

#define LEVEL_JOIN_(a, b) a##_##b
#define LEVEL_JOIN(a, b) LEVEL_JOIN_(a, b)
#define LEVEL(name) LEVEL_JOIN(kern_##name, VF_LEVEL)

enum { LANES = 16, V16_PARTS = LANES / VF_LANES };

typedef struct {
    vf part[V16_PARTS];
} v16;

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define EACH_PART UNROLL for (int i = 0; i < V16_PARTS; i++)

static ALWAYS_INLINE v16 v16_set1(float f) {
    v16 r;
    EACH_PART { r.part[i] = vf_set1(f); }
    return r;
}

static ALWAYS_INLINE v16 v16_load(const float *p) {
    v16 r;
    EACH_PART { r.part[i] = vf_load(p + i * VF_LANES); }
    return r;
}

static ALWAYS_INLINE void v16_store(float *p, v16 a) {
    EACH_PART { vf_store(p + i * VF_LANES, a.part[i]); }
}

static ALWAYS_INLINE v16 v16_load_f16(const uint16_t *p) {
    v16 r;
    EACH_PART { r.part[i] = vf_load_f16(p + i * VF_LANES); }
    return r;
}

static ALWAYS_INLINE void v16_store_f16(uint16_t *p, v16 a) {
    EACH_PART { vf_store_f16(p + i * VF_LANES, a.part[i]); }
}

#define V16_BINARY(name)                                                                                               \
    static ALWAYS_INLINE v16 v16_##name(v16 a, v16 b) {                                                                \
        EACH_PART { a.part[i] = vf_##name(a.part[i], b.part[i]); }                                                     \
        return a;                                                                                                      \
    }
V16_BINARY(add)
V16_BINARY(sub)
V16_BINARY(mul)
V16_BINARY(div)
V16_BINARY(max)
V16_BINARY(min)
#undef V16_BINARY

static ALWAYS_INLINE v16 v16_fma(v16 a, v16 b, v16 c) {
    EACH_PART { c.part[i] = vf_fma(a.part[i], b.part[i], c.part[i]); }
    return c;
}

static ALWAYS_INLINE v16 v16_neg(v16 a) {
    EACH_PART { a.part[i] = vf_neg(a.part[i]); }
    return a;
}

static ALWAYS_INLINE bool v16_any_equal(v16 a, v16 b) {
    bool any = false;
    EACH_PART { any |= vf_any_equal(a.part[i], b.part[i]); }
    return any;
}

/* The first n (below 16) floats; the other lanes get `fill`. Never touches memory beyond. */
static ALWAYS_INLINE v16 v16_load_some(const float *p, size_t n, float fill) {
    float tmp[LANES];
    v16_store(tmp, v16_set1(fill));
    memcpy(tmp, p, n * sizeof *p);
    return v16_load(tmp);
}

static ALWAYS_INLINE void v16_store_some(float *p, v16 a, size_t n) {
    float tmp[LANES];
    v16_store(tmp, a);
    memcpy(p, tmp, n * sizeof *p);
}

/* 16 -> 8 -> 4 -> 2 -> 1, lane i with lane i + half, as ref_fold_add. */
static ALWAYS_INLINE float v16_fold_add(v16 a) {
    float lane[LANES];
    v16_store(lane, a);
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            lane[i] += lane[i + half];
        }
    }
    return lane[0];
}

/* Any order gives the same value, but for the sign of a zero, which no result depends on. */
static ALWAYS_INLINE float v16_fold_max(v16 a) {
    float lane[LANES];
    v16_store(lane, a);
    for (int i = 1; i < LANES; i++) {
        lane[0] = lane[i] > lane[0] ? lane[i] : lane[0];
    }
    return lane[0];
}

/* The sequence of expf_exact on 16 lanes. */
static ALWAYS_INLINE v16 v16_exp(v16 x) {
    x = v16_min(v16_set1(EXPF_MAX), x);
    x = v16_max(v16_set1(EXPF_MIN), x);
    const v16 t = v16_fma(x, v16_set1(EXPF_LOG2E), v16_set1(EXPF_MAGIC));
    const v16 n = v16_sub(t, v16_set1(EXPF_MAGIC));
    v16 r = v16_fma(n, v16_set1(-EXPF_LN2_HI), x);
    r = v16_fma(n, v16_set1(-EXPF_LN2_LO), r);
    v16 p = v16_fma(v16_set1(EXPF_C6), r, v16_set1(EXPF_C5));
    p = v16_fma(p, r, v16_set1(EXPF_C4));
    p = v16_fma(p, r, v16_set1(EXPF_C3));
    p = v16_fma(p, r, v16_set1(EXPF_C2));
    p = v16_fma(p, r, v16_set1(1.0f));
    p = v16_fma(p, r, v16_set1(1.0f));
    v16 low, high;
    EACH_PART { vf_exp_scales(t.part[i], &low.part[i], &high.part[i]); }
    return v16_mul(v16_mul(p, low), high);
}

static inline void wide_rmsnorm(float *out, const float *x, const float *w, size_t n, float eps) {
    const size_t whole = n - n % LANES, left = n % LANES;
    v16 sum = v16_set1(0.0f);
    for (size_t i = 0; i < whole; i += LANES) {
        const v16 a = v16_load(x + i);
        sum = v16_fma(a, a, sum);
    }
    if (left) {
        const v16 a = v16_load_some(x + whole, left, 0.0f);
        sum = v16_fma(a, a, sum); /* sums are not negative, so adding zero changes nothing */
    }
    const v16 r = v16_set1(1.0f / sqrtf(v16_fold_add(sum) / (float)n + eps));
    for (size_t i = 0; i < whole; i += LANES) {
        v16_store(out + i, v16_mul(v16_mul(v16_load(x + i), r), v16_load(w + i)));
    }
    if (left) {
        const v16 a = v16_mul(v16_load_some(x + whole, left, 0.0f), r);
        v16_store_some(out + whole, v16_mul(a, v16_load_some(w + whole, left, 0.0f)), left);
    }
}

static ALWAYS_INLINE void wide_rotate(v16 *a, v16 *b, v16 cos, v16 sin) {
    const v16 first = v16_fma(*a, cos, v16_neg(v16_mul(*b, sin)));
    *b = v16_fma(*b, cos, v16_mul(*a, sin));
    *a = first;
}

static inline void wide_rope(float *v, const float *cos, const float *sin, uint32_t heads, uint32_t head_dim,
                             uint32_t rope_dim) {
    const size_t half = rope_dim / 2, whole = half - half % LANES, left = half % LANES;
    for (uint32_t h = 0; h < heads; h++, v += head_dim) {
        for (size_t i = 0; i < whole; i += LANES) {
            v16 a = v16_load(v + i), b = v16_load(v + half + i);
            wide_rotate(&a, &b, v16_load(cos + i), v16_load(sin + i));
            v16_store(v + i, a);
            v16_store(v + half + i, b);
        }
        if (left) {
            v16 a = v16_load_some(v + whole, left, 0.0f), b = v16_load_some(v + half + whole, left, 0.0f);
            wide_rotate(&a, &b, v16_load_some(cos + whole, left, 0.0f), v16_load_some(sin + whole, left, 0.0f));
            v16_store_some(v + whole, a, left);
            v16_store_some(v + half + whole, b, left);
        }
    }
}

static ALWAYS_INLINE v16 wide_silu_mul_16(v16 gate, v16 up) {
    return v16_mul(v16_div(gate, v16_add(v16_set1(1.0f), v16_exp(v16_neg(gate)))), up);
}

static inline void wide_silu_mul(float *out, const float *gate, const float *up, size_t n) {
    const size_t whole = n - n % LANES, left = n % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        v16_store(out + i, wide_silu_mul_16(v16_load(gate + i), v16_load(up + i)));
    }
    if (left) {
        const v16 g = v16_load_some(gate + whole, left, 0.0f), u = v16_load_some(up + whole, left, 0.0f);
        v16_store_some(out + whole, wide_silu_mul_16(g, u), left);
    }
}

static inline void wide_add(float *x, const float *y, size_t n) {
    const size_t whole = n - n % LANES, left = n % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        v16_store(x + i, v16_add(v16_load(x + i), v16_load(y + i)));
    }
    if (left) {
        const v16 a = v16_load_some(x + whole, left, 0.0f), b = v16_load_some(y + whole, left, 0.0f);
        v16_store_some(x + whole, v16_add(a, b), left);
    }
}

/* Largest of n values and -infinity; a NaN is passed over. *poison collects x * 0: NaN once any x is not finite. */
static ALWAYS_INLINE float wide_max(const float *x, size_t n, v16 *poison) {
    const size_t whole = n - n % LANES, left = n % LANES;
    const v16 zero = v16_set1(0.0f);
    v16 largest = v16_set1(-INFINITY), bad = zero;
    for (size_t i = 0; i < whole; i += LANES) {
        const v16 a = v16_load(x + i);
        largest = v16_max(a, largest);
        bad = v16_fma(a, zero, bad);
    }
    if (left) {
        largest = v16_max(v16_load_some(x + whole, left, -INFINITY), largest);
        bad = v16_fma(v16_load_some(x + whole, left, 0.0f), zero, bad);
    }
    *poison = bad;
    return v16_fold_max(largest);
}

/* Two passes: the value, then its first place. Cheaper than carrying indices, and ties need no care. */
static inline uint32_t wide_argmax(const float *x, size_t n, bool *finite) {
    v16 poison;
    const float largest = wide_max(x, n, &poison), check = v16_fold_add(poison);
    *finite = check == check;
    if (largest == -INFINITY) {
        return 0; /* nothing but -infinity and NaN, which count the same */
    }
    const v16 wanted = v16_set1(largest);
    size_t i = 0;
    while (i + LANES <= n && !v16_any_equal(v16_load(x + i), wanted)) {
        i += LANES;
    }
    while (x[i] != largest) {
        i++;
    }
    return (uint32_t)i;
}

static inline float wide_logsumexp(const float *x, size_t n) {
    const size_t whole = n - n % LANES, left = n % LANES;
    v16 unused, sum = v16_set1(0.0f);
    const float largest = wide_max(x, n, &unused);
    const v16 m = v16_set1(largest);
    for (size_t i = 0; i < whole; i += LANES) {
        sum = v16_add(sum, v16_exp(v16_sub(v16_load(x + i), m)));
    }
    if (left) {
        /* -infinity in the lanes beyond: exp gives 0 exactly, and adding it changes nothing */
        sum = v16_add(sum, v16_exp(v16_sub(v16_load_some(x + whole, left, -INFINITY), m)));
    }
    return kern_logf(v16_fold_add(sum)) + largest;
}

#endif
#endif
