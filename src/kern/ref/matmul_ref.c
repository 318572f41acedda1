/* SPDX-License-Identifier: Apache-2.0
 *
 * Scalar matrix product and row look-up. Invariant: one fmaf chain per output element over ascending k.
 */
#include "kern/ref/ref_priv.h"

/* Element `index` of a panel, widened exactly. */
static ALWAYS_INLINE float weight_at(const void *panel, size_t index, enum kern_dtype t) {
    if (t == KERN_F32) {
        return ((const float *)panel)[index];
    }
    const uint16_t h = ((const uint16_t *)panel)[index];
    return t == KERN_F16 ? ref_from_f16(h) : ref_from_bf16(h);
}

static ALWAYS_INLINE void matmul(const struct kern_matmul *m, enum kern_dtype t) {
    for (uint32_t row = 0; row < m->rows; row++) {
        const float *x = m->x + row * m->ldx;
        for (uint32_t p = 0; p < m->panels; p++) {
            const void *panel = (const unsigned char *)m->w + p * m->panel_stride;
            float *y = m->y + row * m->ldy + (size_t)p * LANES;
            float sum[LANES] = {0};
            if (m->accumulate) {
                memcpy(sum, y, sizeof sum);
            }
            for (uint32_t k = 0; k < m->cols; k++) {
                for (size_t r = 0; r < LANES; r++) {
                    sum[r] = fmaf(weight_at(panel, (size_t)(k / 2) * 32 + 2 * r + k % 2, t), x[k], sum[r]);
                }
            }
            memcpy(y, sum, sizeof sum);
        }
    }
}

static ALWAYS_INLINE void unpack_row(float *out, const void *panel, uint32_t row, uint32_t cols, enum kern_dtype t) {
    for (uint32_t k = 0; k < cols; k++) {
        out[k] = weight_at(panel, (size_t)(k / 2) * 32 + 2 * (size_t)row + k % 2, t);
    }
}

void REF(matmul_f32)(const struct kern_matmul *m) {
    matmul(m, KERN_F32);
}

void REF(matmul_f16)(const struct kern_matmul *m) {
    matmul(m, KERN_F16);
}

void REF(matmul_bf16)(const struct kern_matmul *m) {
    matmul(m, KERN_BF16);
}

void REF(unpack_row_f32)(float *out, const void *panel, uint32_t row, uint32_t cols) {
    unpack_row(out, panel, row, cols, KERN_F32);
}

void REF(unpack_row_f16)(float *out, const void *panel, uint32_t row, uint32_t cols) {
    unpack_row(out, panel, row, cols, KERN_F16);
}

void REF(unpack_row_bf16)(float *out, const void *panel, uint32_t row, uint32_t cols) {
    unpack_row(out, panel, row, cols, KERN_BF16);
}
