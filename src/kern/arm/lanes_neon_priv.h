/* SPDX-License-Identifier: Apache-2.0
 *
 * One vector of the NEON level (AArch64 base) and what the kernel templates ask of it; the same list of names stands in
 * lanes_avx2_priv.h and lanes_avx512_priv.h. No kernel logic here.
 */
#ifndef KERN_ARM_LANES_NEON_PRIV_H
#define KERN_ARM_LANES_NEON_PRIV_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "kern/expf_priv.h"

typedef float32x4_t vf;
enum { VF_LANES = 4 };
#define VF_LEVEL neon
/* Register tiles for 32 registers: rows and panels through the scratch; panels straight from the store by number of rows. */
enum { TILE_PANELS = 1, TILE_ROWS = 6 };
#define PRODUCT_TWELVE_ROWS 0
#define FUSED_PANELS(rows) ((rows) == 1 ? 4 : (rows) == 2 ? 2 : 1)

static ALWAYS_INLINE vf vf_load(const float *p) { return vld1q_f32(p); }
static ALWAYS_INLINE void vf_store(float *p, vf a) { vst1q_f32(p, a); }
static ALWAYS_INLINE vf vf_set1(float f) { return vdupq_n_f32(f); }
static ALWAYS_INLINE vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
static ALWAYS_INLINE vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
static ALWAYS_INLINE vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
static ALWAYS_INLINE vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }
static ALWAYS_INLINE vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static ALWAYS_INLINE vf vf_neg(vf a) { return vnegq_f32(a); }
/* Not fmax and fmin: those differ from x86 on NaN. */
static ALWAYS_INLINE vf vf_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
static ALWAYS_INLINE vf vf_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
static ALWAYS_INLINE bool vf_any_equal(vf a, vf b) { return vmaxvq_u32(vceqq_f32(a, b)) != 0; }

static ALWAYS_INLINE vf vf_load_f16(const uint16_t *p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

static ALWAYS_INLINE void vf_store_f16(uint16_t *p, vf a) {
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a)));
}

/* The two halves of 2^n for the rounded exponent in t (kern/expf_priv.h). */
static ALWAYS_INLINE void vf_exp_scales(vf t, vf *low, vf *high) {
    const int32x4_t n = vsubq_s32(vreinterpretq_s32_f32(t), vdupq_n_s32(EXPF_MAGIC_BITS));
    const int32x4_t half = vshrq_n_s32(n, 1), bias = vdupq_n_s32(127);
    *low = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
    *high = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vsubq_s32(n, half), bias), 23));
}

/* One pair of columns of a panel, 16 rows: k0 gets the even column, k1 the odd one. */
static ALWAYS_INLINE void vf_pair_bf16(const void *p, vf *k0, vf *k1) {
    for (int i = 0; i < 4; i++) {
        const uint32x4_t pair = vreinterpretq_u32_u8(vld1q_u8((const uint8_t *)p + 16 * i));
        k0[i] = vreinterpretq_f32_u32(vshlq_n_u32(pair, 16));
        k1[i] = vreinterpretq_f32_u32(vandq_u32(pair, vdupq_n_u32(0xffff0000)));
    }
}

static ALWAYS_INLINE void vf_pair_f32(const void *p, vf *k0, vf *k1) {
    for (int i = 0; i < 4; i++) {
        const float32x4x2_t pair = vld2q_f32((const float *)p + 8 * i);
        k0[i] = pair.val[0];
        k1[i] = pair.val[1];
    }
}

static ALWAYS_INLINE void vf_pair_f16(const void *p, vf *k0, vf *k1) {
    for (int i = 0; i < 4; i++) {
        const uint16x4x2_t pair = vld2_u16((const uint16_t *)p + 8 * i);
        k0[i] = vcvt_f32_f16(vreinterpret_f16_u16(pair.val[0]));
        k1[i] = vcvt_f32_f16(vreinterpret_f16_u16(pair.val[1]));
    }
}

/* Rows of the panel into the lane order that the pair loaders above leave, and back: here the same order. */
static ALWAYS_INLINE void vf_rows_to_lanes(vf *v, bool is_bf16) { (void)v, (void)is_bf16; }
static ALWAYS_INLINE void vf_lanes_to_rows(vf *v, bool is_bf16) { (void)v, (void)is_bf16; }

#endif
