/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks of attention and of the store into KV pages. Pages end at an unreadable page; slots that nothing was stored to,
 * and positions that are not visible, hold NaN; blocks without a visible position have no page at all.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kcheck.h"

enum { MAX_BLOCKS = 20 };

struct cache {
    struct kc_buffer k_page[MAX_BLOCKS], v_page[MAX_BLOCKS];
    const void *k[MAX_BLOCKS], *v[MAX_BLOCKS];
    uint64_t allow[MAX_BLOCKS];
    uint32_t blocks;
};

struct shape {
    uint32_t heads, head_dim, v_dim, first, count;
    bool capped, sloped, sunk;
    enum kern_dtype t;
    enum kc_kind kind;
    bool masked;
};

static bool visible(const struct shape *s, const struct cache *c, uint32_t position) {
    return position >= s->first && position < s->count &&
           (!s->masked || (c->allow[position / KERN_KV_BLOCK] >> position % KERN_KV_BLOCK & 1));
}

static void choose_mask(struct kc *k, const struct shape *s, struct cache *c) {
    for (uint32_t b = 0; b < c->blocks; b++) {
        const uint32_t what = kc_below(k, 4);
        c->allow[b] = what == 0 ? 0 : what == 1 ? ~UINT64_C(0) : kc_random(k) & (what == 2 ? kc_random(k) : ~UINT64_C(0));
    }
    const uint32_t sure = s->first + kc_below(k, s->count - s->first);
    c->allow[sure / KERN_KV_BLOCK] |= UINT64_C(1) << sure % KERN_KV_BLOCK;
}

static void fill_nan(struct kc_buffer *b, enum kern_dtype t) {
    memset(b->p, t == KERN_F32 ? 0xff : 0x7e, b->bytes); /* ffffffff and 7e7e are NaN */
}

/* Builds the pages by the reference's kv_store and compares the level's kv_store on the way. */
static void build(struct kc *k, const struct shape *s, struct cache *c) {
    const size_t elem = kern_dtype_bytes(s->t), k_bytes = kern_kv_k_bytes(s->head_dim, elem);
    const size_t v_bytes = kern_kv_v_bytes(s->v_dim, elem), row = s->head_dim * sizeof(float);
    struct kc_buffer k2 = kc_alloc(k_bytes), v2 = kc_alloc(v_bytes), kr = kc_alloc(row);
    struct kc_buffer vr = kc_alloc(s->v_dim * sizeof(float));
    for (uint32_t b = 0; b < c->blocks; b++) {
        bool any = false;
        c->k_page[b] = kc_alloc(k_bytes);
        c->v_page[b] = kc_alloc(v_bytes);
        fill_nan(&c->k_page[b], s->t);
        fill_nan(&c->v_page[b], s->t);
        fill_nan(&k2, s->t);
        fill_nan(&v2, s->t);
        for (uint32_t j = 0; j < KERN_KV_BLOCK; j++) {
            if (visible(s, c, b * KERN_KV_BLOCK + j)) {
                any = true;
                kc_fill(k, kr.p, s->head_dim, s->kind);
                kc_fill(k, vr.p, s->v_dim, s->kind);
                struct kern_kv_store store = {kr.p, vr.p, c->k_page[b].p, c->v_page[b].p, s->head_dim, s->v_dim, j, s->t};
                k->reference.kv_store(&store);
                store.page_k = k2.p;
                store.page_v = v2.p;
                k->table.kv_store(&store);
            }
        }
        if (s->kind != KC_SPECIAL) { /* NaN payloads are the processor's choice */
            kc_same_bytes(k, c->k_page[b].p, k2.p, k_bytes, "kv_store K %s head_dim %u", kern_dtype_name(s->t), s->head_dim);
            kc_same_bytes(k, c->v_page[b].p, v2.p, v_bytes, "kv_store V %s head_dim %u", kern_dtype_name(s->t), s->head_dim);
        }
        c->k[b] = any ? c->k_page[b].p : NULL;
        c->v[b] = any ? c->v_page[b].p : NULL;
    }
    kc_free(&k2);
    kc_free(&v2);
    kc_free(&kr);
    kc_free(&vr);
}

static void check_shape(struct kc *k, const struct shape *s) {
    struct cache c = {.blocks = (s->count + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK};
    const size_t stride = s->head_dim + kc_below(k, 2) * 5, floats = (s->heads - 1) * stride + s->head_dim;
    struct kc_buffer q = kc_alloc(floats * sizeof(float));
    const size_t out_stride = s->v_dim + kc_below(k, 2) * 3, out_floats = (s->heads - 1) * out_stride + s->v_dim;
    struct kc_buffer want = kc_alloc(out_floats * sizeof(float)), got = kc_alloc(out_floats * sizeof(float));
    float slopes[20], sinks[20];
    kc_fill(k, sinks, ARRAY_LEN(sinks), KC_PLAIN);
    for (uint32_t h = 0; h < ARRAY_LEN(slopes); h++) {
        slopes[h] = 1.0f / (float)(2 + h);
    }
    choose_mask(k, s, &c);
    build(k, s, &c);
    kc_fill(k, q.p, floats, s->kind);
    memset(want.p, 0, want.bytes);
    memset(got.p, 0, got.bytes);
    struct kern_attention a = {
        .q = q.p, .out = want.p, .q_stride = stride, .out_stride = out_stride, .heads = s->heads, .head_dim = s->head_dim,
        .v_dim = s->v_dim, .k = c.k, .v = c.v, .cap = s->capped ? 3.0f : 0.0f, .slopes = s->sloped ? slopes : NULL,
        .sinks = s->sunk ? sinks : NULL,
        .kv_dtype = s->t, .first = s->first, .count = s->count, .allow = s->masked ? c.allow : NULL,
        .scale = 1.0f / sqrtf((float)s->head_dim),
    };
    k->reference.attention(&a);
    a.out = got.p;
    k->table.attention(&a);
    kc_same_floats(k, want.p, got.p, out_floats, "attention %s heads %u head_dim %u first %u count %u mask %d kind %d v_dim %u "
                   "cap %d slopes %d sinks %d",
                   kern_dtype_name(s->t), s->heads, s->head_dim, s->first, s->count, s->masked, s->kind, s->v_dim, s->capped,
                   s->sloped, s->sunk);
    if (s->kind == KC_PLAIN) {
        bool finite = true;
        for (uint32_t h = 0; h < s->heads; h++) {
            for (uint32_t d = 0; d < s->v_dim; d++) {
                finite = finite && isfinite(((const float *)got.p)[h * out_stride + d]);
            }
        }
        kc_expect(k, finite, "attention result finite although unseen slots hold NaN");
    }
    for (uint32_t b = 0; b < c.blocks; b++) {
        kc_free(&c.k_page[b]);
        kc_free(&c.v_page[b]);
    }
    kc_free(&q);
    kc_free(&want);
    kc_free(&got);
}

void kc_check_attention(struct kc *k) {
    static const uint32_t dims[] = {1, 2, 8, 15, 16, 17, 20, 24, 32, 48, 64, 80, 96, 100, 128, 192, 256};
    static const uint32_t counts[] = {1, 2, 15, 16, 17, 48, 63, 64, 65, 100, 127, 128, 129, 200, 500};
    for (size_t d = 0; d < ARRAY_LEN(dims); d++) {
        for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
            struct shape s = {.head_dim = dims[d], .count = counts[i]};
            s.heads = 1 + kc_below(k, kc_below(k, 4) ? 9 : 20);
            s.first = kc_below(k, 2) ? 0 : kc_below(k, counts[i]);
            s.t = kc_below(k, 3) ? KERN_F16 : KERN_F32;
            s.kind = i % 3 == 2 ? (enum kc_kind)kc_below(k, 3) : KC_PLAIN;
            s.masked = kc_below(k, 2);
            s.v_dim = kc_below(k, 2) ? s.head_dim : dims[kc_below(k, ARRAY_LEN(dims))];
            s.capped = kc_below(k, 3) == 0;
            s.sloped = kc_below(k, 3) == 0;
            s.sunk = kc_below(k, 3) == 0;
            check_shape(k, &s);
        }
    }
}
