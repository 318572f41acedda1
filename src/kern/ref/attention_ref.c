/* SPDX-License-Identifier: Apache-2.0
 *
 * Scalar attention over KV pages and the store into them. Invariant: positions that are not visible are never read into
 * a result (their slots may hold anything, NaN included), and blocks count from position 0, whatever `first` is.
 */
#include "kern/ref/ref_priv.h"
#include "kern/shape_priv.h"

static float cached_at(const void *page, size_t index, enum kern_dtype t) {
    return t == KERN_F32 ? ((const float *)page)[index] : ref_from_f16(((const uint16_t *)page)[index]);
}

static void put(void *page, size_t index, float f, enum kern_dtype t) {
    if (t == KERN_F32) {
        ((float *)page)[index] = f;
    } else {
        ((uint16_t *)page)[index] = ref_to_f16(f);
    }
}

void REF(kv_store)(const struct kern_kv_store *s) {
    const size_t dim = s->head_dim, v_dim = s->v_dim, v_stride = (v_dim + 15) & ~(size_t)15;
    const size_t strip = s->slot / KERN_KV_STRIP, lane = s->slot % KERN_KV_STRIP;
    for (size_t d = 0; d < dim; d++) {
        put(s->page_k, (strip * dim + d) * KERN_KV_STRIP + lane, s->k[d], s->kv_dtype);
    }
    for (size_t d = 0; d < v_stride; d++) {
        put(s->page_v, s->slot * v_stride + d, d < v_dim ? s->v[d] : 0.0f, s->kv_dtype);
    }
}

static bool is_visible(const struct kern_attention *a, uint32_t position) {
    const uint32_t block = position / KERN_KV_BLOCK;
    return position >= a->first && position < a->count &&
           (!a->allow || (a->allow[block] >> position % KERN_KV_BLOCK & 1));
}

static float score_of(const struct kern_attention *a, uint32_t head, uint32_t block, uint32_t j) {
    const size_t dim = a->head_dim, at = j / KERN_KV_STRIP * dim * KERN_KV_STRIP + j % KERN_KV_STRIP;
    const float *q = a->q + head * a->q_stride;
    float sum = 0;
    for (size_t d = 0; d < dim; d++) {
        sum = fmaf(q[d], cached_at(a->k[block], at + d * KERN_KV_STRIP, a->kv_dtype), sum);
    }
    return attend_shape(a, head, (int64_t)block * KERN_KV_BLOCK + j, a->scale * sum);
}

static void attend(const struct kern_attention *a, uint32_t head) {
    const size_t dim = a->v_dim, v_stride = (dim + 15) & ~(size_t)15;
    float m = a->sinks ? a->sinks[head] : -INFINITY, l = a->sinks ? 1.0f : 0.0f;
    float *out = a->out + head * a->out_stride;
    memset(out, 0, dim * sizeof *out);
    for (uint32_t block = a->first / KERN_KV_BLOCK; block * KERN_KV_BLOCK < a->count; block++) {
        bool visible[KERN_KV_BLOCK], any = false;
        float p[KERN_KV_BLOCK] = {0}, lane[LANES] = {0}, largest = m;
        for (uint32_t j = 0; j < KERN_KV_BLOCK; j++) {
            visible[j] = is_visible(a, block * KERN_KV_BLOCK + j);
            if (visible[j]) {
                any = true;
                p[j] = score_of(a, head, block, j);
                largest = p[j] > largest ? p[j] : largest;
            }
        }
        if (!any) {
            continue;
        }
        const float c = expf_exact(m - largest);
        m = largest;
        for (uint32_t j = 0; j < KERN_KV_BLOCK; j++) {
            p[j] = visible[j] ? expf_exact(p[j] - m) : 0.0f;
            lane[j % LANES] += p[j];
        }
        l = l * c + ref_fold_add(lane);
        for (size_t d = 0; d < dim; d++) {
            float sum = out[d] * c;
            for (uint32_t j = 0; j < KERN_KV_BLOCK; j++) {
                if (visible[j]) {
                    sum = fmaf(p[j], cached_at(a->v[block], j * v_stride + d, a->kv_dtype), sum);
                }
            }
            out[d] = sum;
        }
    }
    for (size_t d = 0; d < dim; d++) {
        out[d] /= l;
    }
}

void REF(attention)(const struct kern_attention *a) {
    for (uint32_t h = 0; h < a->heads; h++) {
        attend(a, h);
    }
}
