/* SPDX-License-Identifier: Apache-2.0
 *
 * Op records: what a layer does to the rows of a pass, as plain data. The model room writes them, a device runs them.
 * Registers are the named activation buffers of a pass, fp32 [rows][width], row stride kern_row_stride(width).
 */
#ifndef KERN_OP_H
#define KERN_OP_H

#include <stddef.h>
#include <stdint.h>

/* X residual stream; H normed input; Q K V projections; A attention output; G U gate and up; T projection back; L logits. */
enum kern_reg { KERN_X, KERN_H, KERN_Q, KERN_K, KERN_V, KERN_A, KERN_G, KERN_U, KERN_T, KERN_L, KERN_REGS };

enum kern_op_kind {
    KERN_OP_RMSNORM,   /* dst = src * rsqrt(mean(src^2) + eps) * vector */
    KERN_OP_MATMUL,    /* dst = matrix src (+ vector as bias) */
    KERN_OP_ROPE,      /* dst rotated in place: heads of head_dim, HALF pairing over rope_dim, factors of the row's position */
    KERN_OP_KV_STORE,  /* K and V of the rows into the layer's KV pages */
    KERN_OP_ATTENTION, /* dst(A) = attention of src(Q) over the layer's KV pages */
    KERN_OP_SILU_MUL,  /* dst = silu(src) * src2 */
    KERN_OP_ADD,       /* dst += src */
    KERN_OP_KINDS
};

struct kern_op {
    uint8_t kind;
    uint8_t dst, src, src2;   /* enum kern_reg */
    int16_t matrix;           /* role of the matrix (enum model_role), -1: none */
    int16_t vector;           /* role of the norm weight or bias, -1: none */
    uint32_t width;           /* of dst: columns of the result, or heads * head_dim */
    uint32_t heads;           /* ROPE, ATTENTION: heads in dst */
    float eps;                /* RMSNORM */
    float scale;              /* ATTENTION: of the scores */
};

/* Floats between rows of a register: a multiple of 16 and never a multiple of 64 floats, so that a dozen rows do not
 * fall into the same cache sets. Padding floats are kept zero up to the next multiple of 16. */
static inline size_t kern_row_stride(size_t width) {
    size_t padded = (width + 15) & ~(size_t)15;
    return padded % 64 == 0 ? padded + 16 : padded;
}

#endif
