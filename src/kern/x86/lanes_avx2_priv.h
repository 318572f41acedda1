/* SPDX-License-Identifier: Apache-2.0
 *
 * One vector of the AVX2 level (AVX2, FMA, F16C) and what the kernel templates ask of it; the same list of names stands
 * in lanes_avx512_priv.h and lanes_neon_priv.h. No kernel logic here.
 */
#ifndef KERN_X86_LANES_AVX2_PRIV_H
#define KERN_X86_LANES_AVX2_PRIV_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "kern/expf_priv.h"

typedef __m256 vf;
enum { VF_LANES = 8 };
#define VF_LEVEL avx2
/* Register tiles for 16 registers: rows and panels through the scratch; panels straight from the store by number of rows. */
enum { TILE_PANELS = 1, TILE_ROWS = 6 };
#define PRODUCT_TWELVE_ROWS 0
#define FUSED_PANELS(rows) ((rows) == 1 ? 4 : (rows) <= 3 ? 2 : 1)

static ALWAYS_INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
static ALWAYS_INLINE void vf_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
static ALWAYS_INLINE vf vf_set1(float f) { return _mm256_set1_ps(f); }
static ALWAYS_INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static ALWAYS_INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static ALWAYS_INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static ALWAYS_INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static ALWAYS_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static ALWAYS_INLINE vf vf_neg(vf a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
static ALWAYS_INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); } /* a > b ? a : b */
static ALWAYS_INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); } /* a < b ? a : b */
static ALWAYS_INLINE bool vf_any_equal(vf a, vf b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)) != 0; }

static ALWAYS_INLINE vf vf_load_f16(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

static ALWAYS_INLINE void vf_store_f16(uint16_t *p, vf a) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

/* The two halves of 2^n for the rounded exponent in t (kern/expf_priv.h). */
static ALWAYS_INLINE void vf_exp_scales(vf t, vf *low, vf *high) {
    const __m256i n = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_set1_epi32(EXPF_MAGIC_BITS));
    const __m256i half = _mm256_srai_epi32(n, 1), bias = _mm256_set1_epi32(127);
    *low = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    *high = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias), 23));
}

/* One pair of columns of a panel, 16 rows: k0 gets the even column, k1 the odd one. */
static ALWAYS_INLINE void vf_pair_bf16(const void *p, vf *k0, vf *k1) {
    for (int i = 0; i < 2; i++) {
        const __m256i pair = _mm256_loadu_si256((const __m256i *)p + i);
        k0[i] = _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16));
        k1[i] = _mm256_castsi256_ps(_mm256_and_si256(pair, _mm256_set1_epi32((int)0xffff0000)));
    }
}

/* Leaves the rows in the order 0 1 4 5 2 3 6 7: one instruction less per vector than putting them right, which
 * vf_lanes_to_rows does once at the end of a chain. */
static ALWAYS_INLINE void vf_deinterleave(__m256 a, __m256 b, vf *k0, vf *k1) {
    *k0 = _mm256_shuffle_ps(a, b, 0x88);
    *k1 = _mm256_shuffle_ps(a, b, 0xdd);
}

static ALWAYS_INLINE void vf_pair_f32(const void *p, vf *k0, vf *k1) {
    const float *f = p;
    vf_deinterleave(_mm256_loadu_ps(f), _mm256_loadu_ps(f + 8), k0, k1);
    vf_deinterleave(_mm256_loadu_ps(f + 16), _mm256_loadu_ps(f + 24), k0 + 1, k1 + 1);
}

static ALWAYS_INLINE void vf_pair_f16(const void *p, vf *k0, vf *k1) {
    const uint16_t *h = p;
    vf_deinterleave(vf_load_f16(h), vf_load_f16(h + 8), k0, k1);
    vf_deinterleave(vf_load_f16(h + 16), vf_load_f16(h + 24), k0 + 1, k1 + 1);
}

/* Rows of the panel into the lane order that the pair loaders above leave, and back: the same exchange of the two
 * middle pairs. */
static ALWAYS_INLINE void vf_rows_to_lanes(vf *v, bool is_bf16) {
    for (int i = 0; i < 2 && !is_bf16; i++) {
        v[i] = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v[i]), 0xd8));
    }
}

static ALWAYS_INLINE void vf_lanes_to_rows(vf *v, bool is_bf16) {
    vf_rows_to_lanes(v, is_bf16);
}

#endif
