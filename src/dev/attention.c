/* SPDX-License-Identifier: Apache-2.0
 *
 * KV store and attention of the rows of a pass. The unit of work is one row and one KV head, or some of the query heads on it,
 * so results do not depend on
 * how many workers share the units or how rows were grouped into passes.
 */
#include <math.h>
#include <string.h>

#include "dev/cpu_priv.h"
#include "sys/thread.h"

enum { SHARE_HEADS = 8 };

struct job {
    struct dev_cpu *dev;
    const struct kern_op *op;
    const struct dev_pass *pass;
    uint32_t shares;             /* of the query heads of a KV head, so that one row can keep several workers busy */
    _Atomic uint32_t next;
};

static uint8_t *head_page(const struct dev_kv *kv, const struct dev_kv_row *row, uint32_t block, uint32_t head) {
    return kv->base + row->pages[block] * kv->page_bytes + kv->layer_offset + head * (kv->k_bytes + kv->v_bytes);
}

/* The first position that the row's query sees: windows count the query itself, chunks are closed on the left. */
static uint32_t first_visible(const struct kern_op *op, uint32_t position) {
    uint32_t first = op->chunk != 0 ? position / op->chunk * op->chunk : 0;
    if (op->window != 0 && position + 1 > op->window && position + 1 - op->window > first) {
        first = position + 1 - op->window;
    }
    return first;
}

/* A page of keys, fp32, turned by the positions of its slots. */
static void rotate_page(const struct dev_key_rope *r, uint32_t slot, uint32_t block, uint32_t k_dim, const float *from, float *to) {
    const uint32_t half = r->dim / 2;
    memcpy(to, from, kern_kv_k_bytes(k_dim, sizeof(float)));
    for (uint32_t strip = 0; strip < KERN_KV_BLOCK / KERN_KV_STRIP; strip++) {
        float *page = to + (size_t)strip * k_dim * KERN_KV_STRIP;
        for (uint32_t lane = 0; lane < KERN_KV_STRIP; lane++) {
            size_t at = slot * r->slot_floats + (size_t)(block * KERN_KV_BLOCK + strip * KERN_KV_STRIP + lane) * half;
            for (uint32_t i = 0; i < half; i++) {
                float *a = page + (size_t)i * KERN_KV_STRIP + lane;
                float *b = page + (size_t)(i + half) * KERN_KV_STRIP + lane;
                float x = *a;
                float y = *b;
                *a = fmaf(x, r->cos[at + i], -(y * r->sin[at + i]));
                *b = fmaf(y, r->cos[at + i], x * r->sin[at + i]);
            }
        }
    }
}

static void attend(struct job *j, uint32_t worker, uint32_t row_index, uint32_t kv_head, uint32_t share) {
    const struct dev_pass *pass = j->pass;
    const struct dev_kv *kv = &pass->kv;
    const struct dev_kv_row *row = &kv->rows[row_index];
    const struct kern_op *op = j->op;
    uint32_t heads = op->heads / kv->kv_heads;
    uint32_t skipped = heads * share / j->shares;
    uint32_t first = first_visible(op, row->position);
    uint32_t blocks = (row->visible + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
    const void **k = j->dev->kv_pointers + (size_t)worker * 2 * j->dev->kv_blocks;
    const void **v = k + j->dev->kv_blocks;
    for (uint32_t b = first / KERN_KV_BLOCK; b < blocks; b++) {
        k[b] = head_page(kv, row, b, kv_head);
        v[b] = (const uint8_t *)k[b] + kv->k_bytes;
        if (op->raw_keys) {
            float *turned = (float *)(void *)(pass->key_rope.scratch + worker * pass->key_rope.scratch_bytes + b * kv->k_bytes);
            rotate_page(&pass->key_rope, row->key_slot, b, kv->k_dim, (const float *)k[b], turned);
            k[b] = turned;
        }
    }
    uint32_t head = kv_head * heads + skipped;
    struct kern_attention a = {
        .q = pass->reg[op->src] + row_index * pass->stride[op->src] + (size_t)head * kv->k_dim,
        .out = pass->reg[op->dst] + row_index * pass->stride[op->dst] + (size_t)head * kv->v_dim,
        .q_stride = kv->k_dim,
        .out_stride = kv->v_dim,
        .heads = heads * (share + 1) / j->shares - skipped,
        .head_dim = kv->k_dim,
        .v_dim = kv->v_dim,
        .k = k,
        .v = v,
        .kv_dtype = kv->dtype,
        .first = first,
        .count = row->visible,
        .allow = row->allow,
        .scale = op->by_layer ? op->scale / (float)(pass->layer + 1) : op->scale,
        .cap = op->cap,
        .slopes = op->alibi ? pass->slopes + head : NULL,
        .sinks = op->vector >= 0 ? pass->vectors[op->vector] + head : NULL,
    };
    j->dev->base.kern.attention(&a);
}

static void attention_worker(void *arg, uint32_t worker) {
    struct job *j = (struct job *)arg;
    uint32_t kv_heads = j->pass->kv.kv_heads;
    uint32_t each = kv_heads * j->shares;
    uint32_t units = j->pass->rows * each;
    uint64_t begin = sys_now_ns();
    for (uint32_t u = atomic_fetch_add(&j->next, 1); u < units; u = atomic_fetch_add(&j->next, 1)) {
        attend(j, worker, u / each, u % each / j->shares, u % j->shares);
    }
    atomic_fetch_add(&j->dev->compute_ns, sys_now_ns() - begin);
}

void cpu_attention(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass) {
    uint32_t heads = op->heads / pass->kv.kv_heads;
    struct job j = {.dev = d, .op = op, .pass = pass, .shares = heads > SHARE_HEADS ? heads / SHARE_HEADS : 1};
    team_run(d->team, attention_worker, &j);
}

void cpu_kv_store(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass) {
    const struct dev_kv *kv = &pass->kv;
    for (uint32_t t = 0; t < pass->rows; t++) {
        const struct dev_kv_row *row = &kv->rows[t];
        for (uint32_t h = 0; h < kv->kv_heads; h++) {
            uint8_t *page = head_page(kv, row, row->position / KERN_KV_BLOCK, h);
            struct kern_kv_store s = {
                .k = pass->reg[op->src] + t * pass->stride[op->src] + (size_t)h * kv->k_dim,
                .v = pass->reg[op->src2] + t * pass->stride[op->src2] + (size_t)h * kv->v_dim,
                .page_k = page,
                .page_v = page + kv->k_bytes,
                .head_dim = kv->k_dim,
                .v_dim = kv->v_dim,
                .slot = row->position % KERN_KV_BLOCK,
                .kv_dtype = kv->dtype,
            };
            d->base.kern.kv_store(&s);
        }
    }
}
