/* SPDX-License-Identifier: Apache-2.0
 *
 * Templates of attention over KV pages and of the store into them (kern/ref/attention_ref.c is the definition). Scores:
 * lanes are positions; values: lanes are dimensions; so neither needs a sum across lanes. Up to HEADS_AT_ONCE query heads
 * share each widened K and V vector. Invariant: slots that are not visible may hold anything and reach no result.
 */
#ifndef KERN_ATTEND_PRIV_H
#define KERN_ATTEND_PRIV_H

#include "kern/shape_priv.h"
#include "kern/wide_priv.h"

#ifdef VF_LEVEL

enum { HEADS_AT_ONCE = 4, HEADS_OF_STATE = 16, STRIPS = KERN_KV_BLOCK / KERN_KV_STRIP };

static inline void wide_kv_store(const struct kern_kv_store *s) {
    const size_t dim = s->head_dim, v_dim = s->v_dim, v_stride = (v_dim + 15) & ~(size_t)15;
    const size_t base = s->slot / KERN_KV_STRIP * dim * KERN_KV_STRIP + s->slot % KERN_KV_STRIP;
    for (size_t d = 0; d < dim; d += LANES) {
        const size_t n = dim - d < LANES ? dim - d : LANES;
        const v16 k = n < LANES ? v16_load_some(s->k + d, n, 0.0f) : v16_load(s->k + d);
        float lane[LANES];
        uint16_t half[LANES];
        if (s->kv_dtype == KERN_F32) {
            v16_store(lane, k);
        } else {
            v16_store_f16(half, k);
        }
        for (size_t i = 0; i < n; i++) {
            if (s->kv_dtype == KERN_F32) {
                ((float *)s->page_k)[base + (d + i) * KERN_KV_STRIP] = lane[i];
            } else {
                ((uint16_t *)s->page_k)[base + (d + i) * KERN_KV_STRIP] = half[i];
            }
        }
    }
    for (size_t d = 0; d < v_stride; d += LANES) {
        const size_t n = v_dim - d < LANES ? v_dim - d : LANES;
        const v16 v = n < LANES ? v16_load_some(s->v + d, n, 0.0f) : v16_load(s->v + d);
        if (s->kv_dtype == KERN_F32) {
            v16_store((float *)s->page_v + s->slot * v_stride + d, v);
        } else {
            v16_store_f16((uint16_t *)s->page_v + s->slot * v_stride + d, v);
        }
    }
}

static ALWAYS_INLINE v16 attend_load(const void *page, size_t index, enum kern_dtype t) {
    return t == KERN_F32 ? v16_load((const float *)page + index) : v16_load_f16((const uint16_t *)page + index);
}

/* What one block contributes for one head. */
struct attend_head {
    float p[KERN_KV_BLOCK]; /* scores, then probabilities */
    float m, l, c;
};

/* One block: its pages and the positions that count. */
struct attend_block {
    const void *k, *v;
    uint64_t visible;
    uint32_t start;
    uint32_t listed;
    uint8_t list[KERN_KV_BLOCK]; /* the visible positions, ascending */
};

/* Scores of `heads` (a constant) heads for the strips that have a visible position. */
static ALWAYS_INLINE void attend_scores(const struct kern_attention *a, const struct attend_block *b, uint32_t first,
                                        struct attend_head *head, const int heads, enum kern_dtype t) {
    const size_t dim = a->head_dim;
    const float *q = a->q + first * a->q_stride;
    const bool shaped = attend_shaped(a);
    for (uint32_t strip = 0; strip < STRIPS; strip++) {
        const uint32_t bits = (uint32_t)(b->visible >> (strip * KERN_KV_STRIP)) & 0xffff;
        v16 sum[HEADS_AT_ONCE];
        UNROLL for (int h = 0; h < heads; h++) { sum[h] = v16_set1(bits ? 0.0f : -INFINITY); }
        for (size_t d = 0; d < dim && bits; d++) {
            const v16 k = attend_load(b->k, (strip * dim + d) * KERN_KV_STRIP, t);
            UNROLL for (int h = 0; h < heads; h++) {
                sum[h] = v16_fma(v16_set1(q[(size_t)h * a->q_stride + d]), k, sum[h]);
            }
        }
        const v16 scale = v16_set1(a->scale);
        UNROLL for (int h = 0; h < heads; h++) {
            float *p = head[h].p + strip * KERN_KV_STRIP;
            v16_store(p, bits ? v16_mul(scale, sum[h]) : sum[h]);
            for (uint32_t j = 0; j < KERN_KV_STRIP && shaped && bits; j++) {
                p[j] = attend_shape(a, first + (uint32_t)h, (int64_t)b->start + strip * KERN_KV_STRIP + j, p[j]);
            }
            for (uint32_t j = 0; j < KERN_KV_STRIP && bits != 0xffff; j++) {
                p[j] = bits >> j & 1 ? p[j] : -INFINITY;
            }
        }
    }
}

/* Scores to probabilities; the running maximum and sum of the head move on. -infinity becomes 0 exactly. */
static ALWAYS_INLINE void attend_softmax(struct attend_head *head) {
    v16 largest = v16_set1(head->m), sum = v16_set1(0.0f);
    for (int j = 0; j < KERN_KV_BLOCK; j += LANES) {
        largest = v16_max(v16_load(head->p + j), largest);
    }
    const float m = v16_fold_max(largest);
    head->c = expf_exact(head->m - m);
    head->m = m;
    for (int j = 0; j < KERN_KV_BLOCK; j += LANES) {
        const v16 p = v16_exp(v16_sub(v16_load(head->p + j), v16_set1(m)));
        v16_store(head->p + j, p);
        sum = v16_add(sum, p);
    }
    head->l = head->l * head->c + v16_fold_add(sum);
}

static ALWAYS_INLINE void attend_values(const struct kern_attention *a, const struct attend_block *b, float *out,
                                        const struct attend_head *head, const int heads, enum kern_dtype t) {
    const size_t dim = a->v_dim, v_stride = (dim + 15) & ~(size_t)15;
    for (size_t d = 0; d < dim; d += LANES) {
        const size_t n = dim - d < LANES ? dim - d : LANES;
        v16 sum[HEADS_AT_ONCE];
        UNROLL for (int h = 0; h < heads; h++) {
            const float *o = out + (size_t)h * a->out_stride + d;
            sum[h] = v16_mul(n < LANES ? v16_load_some(o, n, 0.0f) : v16_load(o), v16_set1(head[h].c));
        }
        for (uint32_t i = 0; i < b->listed; i++) {
            const v16 v = attend_load(b->v, b->list[i] * v_stride + d, t);
            UNROLL for (int h = 0; h < heads; h++) { sum[h] = v16_fma(v16_set1(head[h].p[b->list[i]]), v, sum[h]); }
        }
        UNROLL for (int h = 0; h < heads; h++) {
            float *o = out + (size_t)h * a->out_stride + d;
            if (n < LANES) {
                v16_store_some(o, sum[h], n);
            } else {
                v16_store(o, sum[h]);
            }
        }
    }
}

/* `state` carries m and l of the heads; their p and c are scratch of this call. */
static ALWAYS_INLINE void attend_heads(const struct kern_attention *a, const struct attend_block *b, uint32_t first,
                                       struct attend_head *state, const int heads, enum kern_dtype t) {
    attend_scores(a, b, first, state, heads, t);
    for (int h = 0; h < heads; h++) {
        attend_softmax(state + h);
    }
    attend_values(a, b, a->out + first * a->out_stride, state, heads, t);
}

static ALWAYS_INLINE void attend_block_of(const struct kern_attention *a, uint32_t index, struct attend_block *b) {
    const uint32_t start = index * KERN_KV_BLOCK;
    uint64_t visible = a->allow ? a->allow[index] : ~UINT64_C(0);
    if (a->first > start) {
        visible &= ~UINT64_C(0) << (a->first - start);
    }
    if (a->count - start < KERN_KV_BLOCK) {
        visible &= (UINT64_C(1) << (a->count - start)) - 1;
    }
    b->start = start;
    b->k = a->k[index];
    b->v = a->v[index];
    b->visible = visible;
    b->listed = 0;
    for (; visible; visible &= visible - 1) {
        b->list[b->listed++] = (uint8_t)__builtin_ctzll(visible);
    }
}

/* Heads first .. first + heads - 1 (at most HEADS_OF_STATE) over all blocks; each block is read once for all of them. */
static ALWAYS_INLINE void attend_group(const struct kern_attention *a, uint32_t first, uint32_t heads,
                                       enum kern_dtype t) {
    struct attend_head state[HEADS_OF_STATE];
    for (uint32_t h = 0; h < heads; h++) {
        state[h].m = a->sinks ? a->sinks[first + h] : -INFINITY;
        state[h].l = a->sinks ? 1.0f : 0.0f;
        memset(a->out + (first + h) * a->out_stride, 0, a->v_dim * sizeof(float));
    }
    for (uint32_t index = a->first / KERN_KV_BLOCK; index * KERN_KV_BLOCK < a->count; index++) {
        struct attend_block b;
        attend_block_of(a, index, &b);
        uint32_t h = b.visible ? 0 : heads;
        for (; h + HEADS_AT_ONCE <= heads; h += HEADS_AT_ONCE) {
            attend_heads(a, &b, first + h, state + h, HEADS_AT_ONCE, t);
        }
        for (; h + 2 <= heads; h += 2) {
            attend_heads(a, &b, first + h, state + h, 2, t);
        }
        if (h < heads) {
            attend_heads(a, &b, first + h, state + h, 1, t);
        }
    }
    for (uint32_t h = 0; h < heads; h++) {
        float *out = a->out + (first + h) * a->out_stride;
        for (uint32_t d = 0; d < a->v_dim; d++) {
            out[d] /= state[h].l;
        }
    }
}

static ALWAYS_INLINE void wide_attention(const struct kern_attention *a) {
    for (uint32_t h = 0; h < a->heads; h += HEADS_OF_STATE) {
        const uint32_t heads = a->heads - h < HEADS_OF_STATE ? a->heads - h : HEADS_OF_STATE;
        if (a->kv_dtype == KERN_F32) {
            attend_group(a, h, heads, KERN_F32);
        } else {
            attend_group(a, h, heads, KERN_F16);
        }
    }
}

#endif
#endif
