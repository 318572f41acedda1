/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensor kernels of numerics class `exact` (docs/ARCHITECTURE.md, DESIGN section 6). Every function here has one result
 * bit pattern for given inputs, whatever the instruction set, provided denormals are flushed in the calling thread
 * (sys_cpu_flush_denormals) and rounding is to nearest. The scalar functions are the definition; the others are compared
 * with them bit for bit by tests/kcheck.
 *
 * Rules of the class:
 *   - a matrix product element is one fp32 fma chain over ascending k, starting from 0 (or from the value carried in y);
 *   - sums over a vector (norms, softmax) use 16 virtual lanes: lane l takes elements l, l+16, ... in order by fma or
 *     add, then lanes fold as ((l0+l8)+(l4+l12)) ... : fold 16->8->4->2->1, lane i with lane i + half;
 *   - attention walks absolute KV blocks of KERN_KV_BLOCK positions in order with a running maximum;
 *   - exp, log, sin, cos, pow are ours (kern/math.h), evaluated in the same operations everywhere.
 * Two things no rule can fix: which NaN comes out (sign and payload are the processor's choice; any NaN counts as equal),
 * and, when flushing, a result that rounds up to exactly 2^-126 (x86 looks after rounding and keeps it, ARM before and
 * flushes it).
 */
#ifndef KERN_KERN_H
#define KERN_KERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kern/op.h"

enum kern_dtype { KERN_F32, KERN_F16, KERN_BF16, KERN_DTYPES };
size_t kern_dtype_bytes(enum kern_dtype t);
const char *kern_dtype_name(enum kern_dtype t); /* "F32", "F16", "BF16" as in safetensors */

enum {
    KERN_PANEL_ROWS = 16,   /* rows of one panel = lanes */
    KERN_BLOCK_PANELS = 4,  /* panels of one block */
    KERN_BLOCK_COLS = 256,  /* columns of one block */
    KERN_KV_BLOCK = 64,     /* positions of one KV page */
    KERN_KV_STRIP = 16,     /* positions of one K strip = lanes */
    KERN_DELTA_DIM = 512,   /* most rows and columns of a state of kern_delta */
};

/* One block of weights times some rows of activations.
 * Weights of panel p start at w + p * panel_stride and hold cols/2 pairs: for each pair of columns (k, k+1), 16 rows x 2
 * values, element (row r, column k + j) at index (k/2)*32 + 2*r + j. cols is even (padded with zero columns).
 * y[t][p*16 + r] (row stride ldy floats) = chain over k of fma(w, x[t][k], acc), acc starting at y itself when
 * `accumulate`, else at 0. x rows have stride ldx and are readable for cols floats. All 16 rows of a panel are computed
 * and stored (padding rows give 0). panels is 1..4, rows any number >= 1. */
struct kern_matmul {
    const void *w;
    size_t panel_stride; /* bytes */
    const float *x;
    size_t ldx;          /* floats */
    float *y;
    size_t ldy;          /* floats */
    uint32_t rows;       /* activation rows t */
    uint32_t panels;
    uint32_t cols;
    bool accumulate;
};

/* One query row against the KV pages of one layer and one KV head, for `heads` query heads that share it.
 * A page holds KERN_KV_BLOCK positions: K as 4 strips [head_dim][16 positions], V as [64 positions][v_stride], both of
 * kv_dtype (F32 or F16), v_stride = v_dim rounded up to 16. k[b] and v[b] point at this head's part of block b.
 * Positions first .. count-1 are visible; where allow is not NULL bit j of allow[b] must also be set for position 64*b+j.
 * At least one position must be visible.
 * score_j = scale * (chain over d ascending of fma(q[d], k[j][d], .) from 0); where cap is not 0 it becomes
 * cap * tanh(score_j / cap); where slopes is not NULL it becomes fma(slopes[h], (float)(j - (count - 1)), score_j) (ALiBi).
 * Block by block, starting with m = -inf, l = 0, acc = 0, or where sinks is not NULL with m = sinks[h], l = 1:
 * m' = max(m, max over visible j of score_j), a NaN passed over; c = exp(m - m'); p_j = exp(score_j - m'),
 * 0 where not visible; l = l*c + fold16(s), two roundings, where lane i of s sums p_i, p_16+i, p_32+i, p_48+i in this
 * order by add; acc[d] = chain over the visible j, ascending, of fma(p_j, v[j][d], .) starting from acc[d]*c.
 * out = acc / l. Positions that are not visible are skipped, not weighted by 0: their slots may hold anything. Blocks
 * without a visible position are skipped and their pointers not followed. out must not overlap q. */
struct kern_attention {
    const float *q;      /* heads rows of head_dim floats, stride q_stride floats */
    float *out;          /* heads rows of v_dim floats, stride out_stride */
    size_t q_stride, out_stride;
    uint32_t heads;
    uint32_t head_dim;   /* of queries and keys */
    uint32_t v_dim;      /* of values */
    const void *const *k;
    const void *const *v;
    enum kern_dtype kv_dtype;
    uint32_t first;
    uint32_t count;
    const uint64_t *allow;
    float scale;
    float cap;           /* soft cap of the scores, 0: none */
    const float *slopes; /* [heads] ALiBi, or NULL */
    const float *sinks;  /* [heads] a score that takes part in the softmax and has no value, or NULL */
};

/* Writes one position of one KV head: k is head_dim, v is v_dim floats; page_k, page_v as in kern_attention, slot =
 * position modulo 64. F16 rounds to nearest even, overflow to infinity. Padding of V is written as zero. */
struct kern_kv_store {
    const float *k;
    const float *v;
    void *page_k;
    void *page_v;
    uint32_t head_dim, v_dim;
    uint32_t slot;
    enum kern_dtype kv_dtype;
};

/* Bytes of K or of V of one page of one head. */
static inline size_t kern_kv_k_bytes(uint32_t head_dim, size_t elem_bytes) {
    return (size_t)KERN_KV_BLOCK * head_dim * elem_bytes;
}
static inline size_t kern_kv_v_bytes(uint32_t head_dim, size_t elem_bytes) {
    return (size_t)KERN_KV_BLOCK * ((head_dim + 15u) & ~15u) * elem_bytes;
}

/* Weight and bias of a norm. */
struct kern_affine {
    const float *w, *b; /* w NULL: 1; b NULL: 0 */
};

/* One position of a causal convolution by channel, then silu: with h the last taps - 1 inputs of the channel, oldest first,
 * out[c] = silu(chain over t ascending of fma(w[c][t], (h, x)[t], .) from 0); then x joins the history and the oldest leaves.
 * history [taps - 1][channels], w [channels][taps]. out may be x. */
struct kern_conv {
    float *out;
    const float *x;
    float *history;
    const float *w;
    size_t channels;
    uint32_t taps;       /* 2 or more */
};

/* One position of the gated delta rule for one head, state [k_dim][v_dim]: every row i of the state times decay[i]; u = beta *
 * (v - chain over i ascending of fma(k[i], state[i], .)); state[i] = fma(k[i], u, state[i]); out = chain over i ascending of
 * fma(q[i], state[i], .). out must not overlap v. */
struct kern_delta {
    float *state;
    const float *q, *k, *decay; /* [k_dim] */
    const float *v;             /* [v_dim] */
    float *out;                 /* [v_dim] */
    float beta;
    uint32_t k_dim, v_dim;
};

struct kern_table {
    const char *isa; /* "scalar", "avx2", "avx512", "neon" */
    void (*matmul[KERN_DTYPES])(const struct kern_matmul *m);
    /* Row `row` (0..15) of a panel of `cols` (even) columns, widened exactly to fp32: out[0..cols). */
    void (*unpack_row[KERN_DTYPES])(float *out, const void *panel, uint32_t row, uint32_t cols);
    /* out[i] = (x[i] * r) * w[i], r = 1 / sqrt(sum(x^2)/n + eps); sum by 16 lanes. out may be x. */
    void (*rmsnorm)(float *out, const float *x, const float *w, size_t n, float eps);
    /* HALF pairing: for each head, for i < rope_dim/2: (a, b) = (v[i], v[i + rope_dim/2]) becomes
     * (a*cos[i] - b*sin[i], b*cos[i] + a*sin[i]), each as fma(a, cos, -(b*sin)) and fma(b, cos, a*sin). */
    void (*rope)(float *v, const float *cos, const float *sin, uint32_t heads, uint32_t head_dim, uint32_t rope_dim);
    /* (gate / (1 + exp(-gate))) * up. out may be gate or up. */
    void (*silu_mul)(float *out, const float *gate, const float *up, size_t n);
    void (*add)(float *x, const float *y, size_t n);                            /* x += y */

    /* The entries below are plain loops over one vector, written once (kern/ref/shape_ref.c); streaming a layer takes
     * hundreds of times longer. */
    /* out[i] = (x[i] - mean) * r * w[i] + b[i], r = 1 / sqrt(mean((x - mean)^2) + eps), sums by 16 lanes, the last step
     * fma((x[i] - mean) * r, w[i], b[i]); w or b NULL: without it. out may be x. */
    void (*layernorm)(float *out, const float *x, const struct kern_affine *a, size_t n, float eps);
    /* out[i] = x[i] * r, r as in rmsnorm. out may be x. */
    void (*unit_norm)(float *out, const float *x, size_t n, float eps);
    void (*activate)(float *out, const float *x, size_t n, enum kern_act act);     /* out may be x */
    /* g = min(gate, limit), u = min(max(up, -limit), limit): out = g / (1 + exp(-1.702 g)) * (u + 1). out may be gate or up. */
    void (*clamped_glu)(float *out, const float *gate, const float *up, size_t n, float limit);
    void (*mul)(float *x, const float *y, size_t n);                               /* x *= y */
    void (*sigmoid_mul)(float *x, const float *gate, size_t n);                    /* x *= 1 / (1 + exp(-gate)) */
    void (*scale)(float *out, const float *x, size_t n, float factor);             /* out may be x */
    void (*add_scaled)(float *x, const float *y, size_t n, float factor);          /* x = fma(y, factor, x) */
    void (*soft_cap)(float *x, size_t n, float cap);                               /* x = cap * tanh(x / cap) */
    void (*clamp)(float *x, size_t n, float limit);                                /* x = clamp(x, -limit, limit), NaN stays */
    void (*conv_step)(const struct kern_conv *c);
    void (*delta_step)(const struct kern_delta *d);
    /* out[i] = exp(-exp(rate) * log(1 + exp(x[i] + bias[i]))). out may be x. */
    void (*delta_decay)(float *out, const float *x, const float *bias, size_t n, float rate);
    void (*kv_store)(const struct kern_kv_store *s);
    void (*attention)(const struct kern_attention *a);
    /* Index of the largest value, the lowest index on ties; NaN counts as -infinity. *finite is false when any value is
     * NaN or infinite. n >= 1. */
    uint32_t (*argmax)(const float *x, size_t n, bool *finite);
    /* log(sum(exp(x - max x))) + max x by 16 lanes. n >= 1, finite values. */
    float (*logsumexp)(const float *x, size_t n);
};

/* What a row chose: expert numbers in ascending order, and their weights. */
struct kern_choice {
    uint16_t expert[KERN_MAX_TOP_K];
    float weight[KERN_MAX_TOP_K];
};

/* Chooses routing->top_k of `experts` (at most 1024) by their scores; ties take the lowest number. `bias` (may be NULL) is
 * added for choosing only, `factors` (may be NULL) multiply the weights by expert. One result for given scores on every machine. */
void kern_route(struct kern_choice *choice, const float *scores, const float *bias, const float *factors, uint32_t experts,
                const struct kern_routing *routing);

/* Fills the best table for the flags given (enum sys_cpu_flag bits; the caller masks them). Always succeeds: the scalar
 * table is complete on its own. Reference first, then each better level overwrites what it has. */
void kern_table_init(struct kern_table *t, uint32_t cpu_flags);

/* Row-major rows to panel layout, pure data movement (used by codec/panel and tests): src holds `rows` (1..16) rows of
 * `cols` columns at stride src_stride bytes; dst gets one panel of cols_padded (even) columns, missing rows and columns
 * zero. */
void kern_pack_panel(void *dst, const void *src, size_t src_stride, uint32_t rows, uint32_t cols, uint32_t cols_padded,
                     enum kern_dtype t);

#endif
