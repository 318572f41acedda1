/* SPDX-License-Identifier: Apache-2.0
 *
 * One vector of the AVX-512 level (F, BW, DQ, VL) and what the kernel templates ask of it; the same list of names stands
 * in lanes_avx2_priv.h and lanes_neon_priv.h. No kernel logic here.
 */
#ifndef KERN_X86_LANES_AVX512_PRIV_H
#define KERN_X86_LANES_AVX512_PRIV_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "kern/expf_priv.h"

typedef __m512 vf;
enum { VF_LANES = 16 };
#define VF_LEVEL avx512
/* Register tiles for 32 registers: rows and panels through the scratch; panels straight from the store by number of rows. */
enum { TILE_PANELS = 2, TILE_ROWS = 12 };
#define PRODUCT_TWELVE_ROWS 1
#define FUSED_PANELS(rows) ((rows) <= 6 ? 4 : 2)

static ALWAYS_INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
static ALWAYS_INLINE void vf_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
static ALWAYS_INLINE vf vf_set1(float f) { return _mm512_set1_ps(f); }
static ALWAYS_INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static ALWAYS_INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static ALWAYS_INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static ALWAYS_INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static ALWAYS_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static ALWAYS_INLINE vf vf_neg(vf a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
static ALWAYS_INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); } /* a > b ? a : b */
static ALWAYS_INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); } /* a < b ? a : b */
static ALWAYS_INLINE bool vf_any_equal(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ) != 0; }

static ALWAYS_INLINE vf vf_load_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static ALWAYS_INLINE void vf_store_f16(uint16_t *p, vf a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

/* The two halves of 2^n for the rounded exponent in t (kern/expf_priv.h). */
static ALWAYS_INLINE void vf_exp_scales(vf t, vf *low, vf *high) {
    const __m512i n = _mm512_sub_epi32(_mm512_castps_si512(t), _mm512_set1_epi32(EXPF_MAGIC_BITS));
    const __m512i half = _mm512_srai_epi32(n, 1), bias = _mm512_set1_epi32(127);
    *low = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(half, bias), 23));
    *high = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_sub_epi32(n, half), bias), 23));
}

/* One pair of columns of a panel, 16 rows: k0 gets the even column, k1 the odd one. */
static ALWAYS_INLINE void vf_pair_bf16(const void *p, vf *k0, vf *k1) {
    const __m512i pair = _mm512_loadu_si512(p);
    k0[0] = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
    k1[0] = _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000)));
}

static ALWAYS_INLINE void vf_deinterleave(__m512 a, __m512 b, vf *k0, vf *k1) {
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    k0[0] = _mm512_permutex2var_ps(a, even, b);
    k1[0] = _mm512_permutex2var_ps(a, odd, b);
}

static ALWAYS_INLINE void vf_pair_f32(const void *p, vf *k0, vf *k1) {
    vf_deinterleave(_mm512_loadu_ps(p), _mm512_loadu_ps((const float *)p + 16), k0, k1);
}

static ALWAYS_INLINE void vf_pair_f16(const void *p, vf *k0, vf *k1) {
    vf_deinterleave(vf_load_f16(p), vf_load_f16((const uint16_t *)p + 16), k0, k1);
}

/* Rows of the panel into the lane order that the pair loaders above leave, and back: here the same order. */
static ALWAYS_INLINE void vf_rows_to_lanes(vf *v, bool is_bf16) { (void)v, (void)is_bf16; }
static ALWAYS_INLINE void vf_lanes_to_rows(vf *v, bool is_bf16) { (void)v, (void)is_bf16; }

#endif
