/* SPDX-License-Identifier: Apache-2.0
 *
 * Op records: what a layer does to the rows of a pass, as plain data. The model room writes them, a device runs them.
 * Registers are the named activation buffers of a pass, fp32 [rows][width], row stride kern_row_stride(width).
 */
#ifndef KERN_OP_H
#define KERN_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X residual stream; H normed input; Q K V projections; A attention output; G U gate and up; T projection back; L logits. */
/* C latent of queries; P queries against latent keys. D decays and E write strengths of linear attention; Z gate of what
 * attention gives. N inputs of all layers by token; W what the embedding adds to them. */
/* R scores of experts; M rows gathered for an expert; Y what it gives; B the same by row and choice, side by side; S score of
 * the shared expert. */
enum kern_reg {
    KERN_X, KERN_H, KERN_Q, KERN_K, KERN_V, KERN_A, KERN_G, KERN_U, KERN_T, KERN_L, KERN_R, KERN_M, KERN_Y, KERN_S,
    KERN_C, KERN_P, KERN_D, KERN_E, KERN_Z, KERN_N, KERN_W, KERN_B,
    KERN_REGS
};

enum { KERN_ROPES = 2 }; /* sets of rotary factors a pass may carry (layers with a window often have their own) */

enum kern_op_kind {
    KERN_OP_RMSNORM,    /* dst = src * rsqrt(mean(src^2) + eps) * vector, over `group` floats at a time */
    KERN_OP_LAYERNORM,  /* dst = (src - mean) * rsqrt(variance + eps) * vector + vector2, over `group` floats at a time; no vector:
                         * times 1 */
    KERN_OP_UNITNORM,   /* RMSNORM without a weight */
    KERN_OP_MATMUL,     /* dst = matrix src (+ vector as bias) */
    KERN_OP_MATMUL_HEADS, /* for each head h: dst[h * dst_step ..] = (rows of h) src[h * src_step ..], head_dim results each */
    KERN_OP_COPY_HEADS, /* for each head: head_dim floats from src[src_first + h * src_step] to dst[dst_first + h * dst_step] */
    KERN_OP_ROPE,       /* dst rotated in place: heads of head_dim, from dst_first on in each, HALF pairing, factors of the
                         * row's position, set `rope` */
    KERN_OP_QUERY_SCALE,/* dst *= the query factor of the row's position */
    KERN_OP_KV_STORE,   /* K and V of the rows into the layer's KV pages */
    KERN_OP_ATTENTION,  /* dst(A) = attention of src(Q) over the layer's KV pages */
    KERN_OP_DELTA,      /* dst(A) = gated delta rule over Q, K, V, D, E and the sequence's state: vector names the convolution of
                         * Q, those of K and V follow; vector2 the rates, their biases follow */
    KERN_OP_SILU_MUL,   /* dst = silu(src) * src2 */
    KERN_OP_CLAMPED_GLU,/* g = min(src, scale), u = clamp(src2, -scale, scale): dst = g * sigmoid(1.702 g) * (u + 1) */
    KERN_OP_ACT,        /* dst = act(src), kind of act in `act` */
    KERN_OP_MUL,        /* dst *= src */
    KERN_OP_SIGMOID_MUL,/* dst *= sigmoid(src) */
    KERN_OP_ADD,        /* dst += src */
    KERN_OP_ADD_SCALED, /* dst += src * scale */
    KERN_OP_SCALE,      /* dst = src * scale */
    KERN_OP_SCALE_BY,   /* dst *= vector[0] */
    KERN_OP_SOFT_CAP,   /* dst = scale * tanh(dst / scale) */
    KERN_OP_CLAMP,      /* dst = clamp(dst, -scale, scale) */
    KERN_OP_SIGMOID_SCALE,/* dst *= sigmoid(src[0]), one number per row */
    KERN_OP_ROUTE,      /* chooses the experts of each row from src(R); vector2 is added for choosing only, vector multiplies the
                         * weights by expert */
    KERN_OP_EXPERTS,    /* dst(T) = or += sum of weight * expert(src(H)) over the chosen ones, in order of their numbers */
    KERN_OP_ADD_POSITION, /* dst += row `position` of vector, a table [positions][width] */
    KERN_OP_KINDS
};

/* SILU x / (1 + exp(-x)); GELU_TANH x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))); GELU_ERF x/2 (1 + erf(x / sqrt 2));
 * RELU max(x, 0); RELU2 its square. CLAMPED is a gate and its product at once (KERN_OP_CLAMPED_GLU). Stores hold these numbers. */
enum kern_act {
    KERN_ACT_SILU, KERN_ACT_GELU_TANH, KERN_ACT_GELU_ERF, KERN_ACT_RELU2, KERN_ACT_CLAMPED, KERN_ACT_RELU, KERN_ACTS
};

/* How a row chooses experts from its scores (reference/models.md section 3). */
/* CHOSEN: softmax over these. NEAR: one after the other; the weight of each is the share that softmax gives it among those near it,
 * that is by at most 2 jitter of the larger of both scores, and not chosen before (SparseMixer, Liu and others, 2023, no noise). */
enum kern_score { KERN_SCORE_SOFTMAX, KERN_SCORE_SIGMOID, KERN_SCORE_CHOSEN, KERN_SCORE_NEAR, KERN_SCORES };
struct kern_routing {
    uint32_t score;           /* enum kern_score */
    uint32_t top_k;
    uint32_t groups, kept_groups; /* experts in groups of equal size, of which some are kept; 0: no groups */
    bool group_by_two;        /* a group counts by the sum of its two best, not by its best */
    bool renormed;            /* weights are divided by their sum */
    bool weigh_input;         /* weights multiply what an expert reads, not what it gives */
    float factor;             /* of the weights */
    float jitter;             /* of KERN_SCORE_NEAR */
};
enum { KERN_MAX_TOP_K = 32, KERN_MAX_EXPERTS = 1024 };

struct kern_op {
    uint8_t kind;
    uint8_t dst, src, src2;   /* enum kern_reg */
    int16_t matrix;           /* role of the matrix (enum model_role), -1: none */
    int16_t vector, vector2;  /* roles of norm weight or bias, -1: none; ATTENTION: vector holds the sinks */
    uint32_t width;           /* of dst: columns of the result, or heads * head_dim */
    uint32_t heads;           /* ROPE, ATTENTION: heads in dst */
    uint32_t head_dim;        /* ROPE, ATTENTION */
    uint32_t group;           /* norms: floats normed together; 0: width. MATMUL_HEADS: matrix rows of a head, in whole blocks */
    uint32_t src_first, src_step, dst_first, dst_step; /* ops on heads: floats */
    uint32_t window, chunk;   /* ATTENTION: positions a query sees, itself included; positions of a closed chunk; 0: all */
    uint32_t kv_heads, value_dim, taps; /* DELTA: heads of Q and K; columns of a state; of the convolution */
    bool wide_decay;          /* DELTA: one decay per key dimension, not per head */
    bool tiled;               /* DELTA: head v of values is on head v % kv_heads of keys, else on v / (heads / kv_heads) */
    float eps;                /* norms */
    float scale;              /* ATTENTION: of the scores; ADD_SCALED, SCALE, SOFT_CAP, CLAMP */
    float cap;                /* ATTENTION: soft cap of the scores, 0: none */
    uint8_t act;              /* enum kern_act */
    uint8_t rope;             /* below KERN_ROPES */
    bool by_layer;            /* MUL: src begins at layer * width; ATTENTION: scale is divided by layer + 1 */
    bool whole_weight;        /* norms: the weight has `width` floats, not `group` */
    bool alibi;               /* ATTENTION: the pass's slopes apply */
    bool raw_keys;            /* ATTENTION: cached keys are rotated anew for each row, by the pass's key_rope */
    bool adds;                /* EXPERTS: to what dst holds */
    uint32_t experts, expert_ffn; /* ROUTE, EXPERTS */
    bool gated;               /* EXPERTS: act(gate) * up; matrix and vector name the gate, up and down follow */
    struct kern_routing routing;  /* ROUTE, EXPERTS */
};

/* Floats between rows of a register: a multiple of 16 and never a multiple of 64 floats, so that a dozen rows do not
 * fall into the same cache sets. Padding floats are kept zero up to the next multiple of 16. */
static inline size_t kern_row_stride(size_t width) {
    size_t padded = (width + 15) & ~(size_t)15;
    return padded % 64 == 0 ? padded + 16 : padded;
}

#endif
