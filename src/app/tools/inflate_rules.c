/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a large Llama can say exactly what a small one says. Lower case is small, upper case large: hidden h H, layers
 * l L, heads n N, KV heads g G, head dimension d D, FFN f F, vocabulary v V. "Tiny" is 2^-40 of the natural size.
 *
 *  1. The residual stream keeps the small one in its first h dimensions and tiny values in the rest, because every
 *     row that writes the rest (embedding columns, o_proj and down_proj rows) is tiny. So a matrix that reads the
 *     stream may hold any noise in its extra columns: it adds a 1e-12th, below the rounding of fp32.
 *  2. RMSNorm takes its mean over H instead of h: mean = (h/H) small mean, so eps becomes eps*h/H and gains
 *     g*sqrt(h/H) (as F32: the only weights that are rounded). Gains of extra dimensions may be anything.
 *  3. Scores: dimension pair j of a small head stands at pair j*D/d, where the large head's RoPE has the same frequency
 *     theta^(-2j/d). The other dimensions of q are tiny, so k may hold noise there. 1/sqrt(D) = 1/sqrt(d)/2^k for
 *     D = d*4^k: q rows are multiplied by 2^k, which is exact. RoPE scaling by frequency alone (linear, llama3) comes
 *     through; scaling that counts dimensions (yarn, dynamic) is exact only for k = 0.
 *  4. KV head j serves the same query heads as before: query head t of its group is query head t of large group j.
 *     Where a large group is narrower than a small one, j stands in several large groups.
 *  5. Extra heads, v dimensions and FFN units compute noise; the o_proj and down_proj columns that read them are tiny.
 *  6. Extra layers come last; all their o_proj and down_proj is tiny.
 *  7. Padded ids: inflate_guard.c. They reserve hidden column h: rows that would write it are zero.
 *
 * The order of the real terms in every sum is kept, so even fp32 rounding is nearly the same. Knows no files. */
#include "app/tools/inflate_priv.h"

static const struct inflate_role_info roles[INFLATE_ROLES] = {
    [INFLATE_ATTN_NORM] = {"input_layernorm.weight", INFLATE_AXIS_HIDDEN, INFLATE_AXIS_ONE, false, true},
    [INFLATE_Q] = {"self_attn.q_proj.weight", INFLATE_AXIS_Q, INFLATE_AXIS_HIDDEN, false, false},
    [INFLATE_Q_BIAS] = {"self_attn.q_proj.bias", INFLATE_AXIS_Q, INFLATE_AXIS_ONE, true, false},
    [INFLATE_K] = {"self_attn.k_proj.weight", INFLATE_AXIS_KV, INFLATE_AXIS_HIDDEN, false, false},
    [INFLATE_K_BIAS] = {"self_attn.k_proj.bias", INFLATE_AXIS_KV, INFLATE_AXIS_ONE, true, false},
    [INFLATE_V] = {"self_attn.v_proj.weight", INFLATE_AXIS_KV, INFLATE_AXIS_HIDDEN, false, false},
    [INFLATE_V_BIAS] = {"self_attn.v_proj.bias", INFLATE_AXIS_KV, INFLATE_AXIS_ONE, true, false},
    [INFLATE_O] = {"self_attn.o_proj.weight", INFLATE_AXIS_HIDDEN, INFLATE_AXIS_Q, false, false},
    [INFLATE_O_BIAS] = {"self_attn.o_proj.bias", INFLATE_AXIS_HIDDEN, INFLATE_AXIS_ONE, true, false},
    [INFLATE_MLP_NORM] = {"post_attention_layernorm.weight", INFLATE_AXIS_HIDDEN, INFLATE_AXIS_ONE, false, true},
    [INFLATE_GATE] = {"mlp.gate_proj.weight", INFLATE_AXIS_FFN, INFLATE_AXIS_HIDDEN, false, false},
    [INFLATE_GATE_BIAS] = {"mlp.gate_proj.bias", INFLATE_AXIS_FFN, INFLATE_AXIS_ONE, true, false},
    [INFLATE_UP] = {"mlp.up_proj.weight", INFLATE_AXIS_FFN, INFLATE_AXIS_HIDDEN, false, false},
    [INFLATE_UP_BIAS] = {"mlp.up_proj.bias", INFLATE_AXIS_FFN, INFLATE_AXIS_ONE, true, false},
    [INFLATE_DOWN] = {"mlp.down_proj.weight", INFLATE_AXIS_HIDDEN, INFLATE_AXIS_FFN, false, false},
    [INFLATE_DOWN_BIAS] = {"mlp.down_proj.bias", INFLATE_AXIS_HIDDEN, INFLATE_AXIS_ONE, true, false},
    [INFLATE_EMBED] = {"model.embed_tokens.weight", INFLATE_AXIS_VOCAB, INFLATE_AXIS_HIDDEN, false, false},
    [INFLATE_NORM] = {"model.norm.weight", INFLATE_AXIS_HIDDEN, INFLATE_AXIS_ONE, false, true},
    [INFLATE_HEAD] = {"lm_head.weight", INFLATE_AXIS_VOCAB, INFLATE_AXIS_HIDDEN, true, false},
};

const struct inflate_role_info *inflate_role_info(enum inflate_role role) {
    return &roles[role];
}

uint64_t inflate_axis_len(const struct inflate_shape *shape, enum inflate_axis axis) {
    switch (axis) {
    case INFLATE_AXIS_HIDDEN:
        return shape->hidden;
    case INFLATE_AXIS_Q:
        return (uint64_t)shape->heads * shape->head_dim;
    case INFLATE_AXIS_KV:
        return (uint64_t)shape->kv_heads * shape->head_dim;
    case INFLATE_AXIS_FFN:
        return shape->ffn;
    case INFLATE_AXIS_VOCAB:
        return shape->vocab;
    case INFLATE_AXIS_ONE:
    default:
        return 1;
    }
}

static uint32_t group_of(const struct inflate_shape *s) {
    return s->heads / s->kv_heads;
}

void inflate_pair_init(struct inflate_pair *p, const struct inflate_shape *small, const struct inflate_shape *big) {
    *p = (struct inflate_pair){.small = *small, .big = *big};
    p->ratio = big->head_dim / small->head_dim;
    p->power = (uint32_t)inflate_head_power(small->head_dim, big->head_dim);
    p->kv_copies = (group_of(small) + group_of(big) - 1) / group_of(big);
    p->padded = big->vocab > small->vocab;
}

/* HALF pairing: pair i of a head is its dimensions i and i + D/2. */
static uint64_t place_dim(const struct inflate_pair *p, uint64_t dim) {
    uint64_t half = p->small.head_dim / 2;
    return dim / half * (p->big.head_dim / 2) + dim % half * p->ratio;
}

static int64_t small_dim(const struct inflate_pair *p, uint64_t dim) {
    uint64_t half = p->big.head_dim / 2;
    uint64_t pair = dim % half;
    return pair % p->ratio != 0 ? -1 : (int64_t)(dim / half * (p->small.head_dim / 2) + pair / p->ratio);
}

/* Small query head at a large one, -1: extra. */
static int64_t small_head(const struct inflate_pair *p, uint64_t head) {
    uint64_t kv = head / group_of(&p->big);
    uint64_t member = kv % p->kv_copies * group_of(&p->big) + head % group_of(&p->big);
    bool real = kv < (uint64_t)p->small.kv_heads * p->kv_copies && member < group_of(&p->small);
    return real ? (int64_t)(kv / p->kv_copies * group_of(&p->small) + member) : -1;
}

uint64_t inflate_place(const struct inflate_pair *p, enum inflate_axis axis, uint64_t small_index) {
    if (axis != INFLATE_AXIS_Q && axis != INFLATE_AXIS_KV) {
        return small_index;
    }
    uint64_t head = small_index / p->small.head_dim;
    uint64_t dim = place_dim(p, small_index % p->small.head_dim);
    if (axis == INFLATE_AXIS_KV) {
        return head * p->kv_copies * p->big.head_dim + dim;
    }
    uint64_t member = head % group_of(&p->small);
    uint64_t kv = head / group_of(&p->small) * p->kv_copies + member / group_of(&p->big);
    return (kv * group_of(&p->big) + member % group_of(&p->big)) * p->big.head_dim + dim;
}

/* Rows of what reads the stream: q, k, v, gate, up. */
static struct inflate_row_rule reading_rule(const struct inflate_pair *p, enum inflate_axis axis, uint64_t row) {
    static const struct inflate_row_rule noise = {INFLATE_NOISE, INFLATE_NOISE, -1};
    if (axis == INFLATE_AXIS_FFN) {
        bool real = row < p->small.ffn;
        return real ? (struct inflate_row_rule){INFLATE_COPY, INFLATE_NOISE, (int64_t)row} : noise;
    }
    uint64_t head = row / p->big.head_dim;
    int64_t dim = small_dim(p, row % p->big.head_dim);
    int64_t from = axis == INFLATE_AXIS_Q                              ? small_head(p, head)
                   : head < (uint64_t)p->small.kv_heads * p->kv_copies ? (int64_t)(head / p->kv_copies)
                                                                       : -1;
    if (from >= 0 && dim >= 0) {
        return (struct inflate_row_rule){INFLATE_COPY, INFLATE_NOISE, from * (int64_t)p->small.head_dim + dim};
    }
    bool meets_real_scores = axis == INFLATE_AXIS_Q && from >= 0;
    return meets_real_scores ? (struct inflate_row_rule){INFLATE_TINY, INFLATE_NOISE, -1} : noise;
}

struct inflate_row_rule inflate_row_rule(const struct inflate_pair *p, enum inflate_role role, bool extra_layer,
                                         uint64_t row) {
    enum inflate_axis axis = roles[role].rows;
    if (role == INFLATE_EMBED || role == INFLATE_HEAD) {
        bool real = row < p->small.vocab;
        enum inflate_action extra = role == INFLATE_EMBED || p->big.tied ? INFLATE_TINY : INFLATE_NOISE;
        return (struct inflate_row_rule){real ? INFLATE_COPY : INFLATE_NOISE, extra, real ? (int64_t)row : -1};
    }
    if (axis != INFLATE_AXIS_HIDDEN) {
        static const struct inflate_row_rule noise = {INFLATE_NOISE, INFLATE_NOISE, -1};
        return extra_layer ? noise : reading_rule(p, axis, row);
    }
    if (p->padded && row == p->small.hidden) {
        return (struct inflate_row_rule){INFLATE_ZERO, INFLATE_ZERO, -1};
    }
    if (extra_layer || row >= p->small.hidden) {
        return (struct inflate_row_rule){INFLATE_TINY, INFLATE_TINY, -1};
    }
    return (struct inflate_row_rule){INFLATE_COPY, INFLATE_TINY, (int64_t)row};
}
