/* SPDX-License-Identifier: Apache-2.0
 *
 * Paged KV memory. A page holds KERN_KV_BLOCK positions of one sequence for all layers and KV heads; a sequence is a list
 * of page numbers, so sequences grow, shrink and (later) share prefixes without moving bytes.
 *
 *     page:  [layer][kv head][ K: 4 strips of [k_dim][16] | V: [64][v_stride] ]
 *
 * Layers of linear attention keep a state of fixed size instead, in a slot per sequence:
 *
 *     slot:  [layer][ fixed floats, 64-byte aligned ]
 *
 * It cannot be cut: who shortens a sequence computes its positions again from 0, or goes back to a copy of the slot.
 *
 * Layers may differ in heads and dimensions, and some have none. Memory comes from the caller and is never allocated here.
 * One thread changes a cache at a time; a running pass reads and writes page contents from many threads, each position by
 * one of them.
 */
#ifndef STATE_KV_H
#define STATE_KV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "kern/kern.h"

/* What one layer keeps: per position (kv_heads 0: nothing), and per sequence. */
struct kv_layer {
    uint32_t kv_heads, k_dim, v_dim;
    uint64_t fixed_floats;
};

struct kv_shape {
    uint32_t layers;
    const struct kv_layer *layer; /* [layers], borrowed during kv_cache_init */
    uint32_t slots;             /* sequences and copies with a fixed state; unused where no layer has one */
    enum kern_dtype dtype;        /* F32 or F16 */
};

/* Where one layer's part lies in a page. */
struct kv_place {
    struct kv_layer shape;
    uint64_t offset;            /* from the start of the page */
    uint64_t k_bytes, v_bytes;  /* of one head */
    uint64_t fixed_offset;      /* from the start of a slot */
};

struct kv_cache {
    enum kern_dtype dtype;
    uint32_t layers;
    struct kv_place *place;     /* [layers], heap */
    uint64_t page_bytes;
    uint8_t *base;              /* pages */
    uint8_t *slot_base;
    uint64_t slot_bytes;        /* 0: no layer has a fixed state */
    uint32_t slot_count, free_slot_count;
    uint32_t *free_slots;       /* stack, heap */
    uint32_t page_count;
    uint32_t free_count;
    uint32_t *free_pages;       /* stack, heap */
};

/* A sequence: page numbers in order of position. */
struct kv_sequence {
    uint32_t *pages;            /* heap, room for the most blocks */
    uint32_t blocks, max_blocks;
    uint32_t slot;              /* KV_NO_SLOT: none taken yet */
};
#define KV_NO_SLOT UINT32_MAX

/* Bytes of one layer in one page. */
uint64_t kv_layer_bytes(const struct kv_layer *layer, enum kern_dtype dtype);

/* Bytes of a slot. */
uint64_t kv_slot_bytes(const struct kv_layer *layers, uint32_t count);

/* Takes a slot; NO_FIT when none is free. Its contents are anything. */
lamina_status kv_slot_take(struct kv_cache *c, uint32_t *slot, struct lamina_error *err);
void kv_slot_give(struct kv_cache *c, uint32_t slot);
/* A snapshot, or going back to one. */
void kv_slot_copy(struct kv_cache *c, uint32_t to, uint32_t from);
static inline uint8_t *kv_slot_at(const struct kv_cache *c, uint32_t slot) {
    return c->slot_base + slot * c->slot_bytes;
}

/* `memory` (aligned to 64) holds shape->slots slots, then as many pages as fit. NO_FIT when not one does, or out of heap. */
lamina_status kv_cache_init(struct kv_cache *c, const struct kv_shape *shape, void *memory, uint64_t memory_bytes,
                            struct lamina_error *err);
void kv_cache_drop(struct kv_cache *c);

lamina_status kv_sequence_init(struct kv_sequence *s, uint32_t max_positions, struct lamina_error *err);
/* Gives its pages back. */
void kv_sequence_drop(struct kv_cache *c, struct kv_sequence *s);
/* Makes room for `positions` in all, and takes the slot where layers need one. NO_FIT when no page or slot is left (the
 * sequence is unchanged). */
lamina_status kv_sequence_grow(struct kv_cache *c, struct kv_sequence *s, uint32_t positions, struct lamina_error *err);
/* Forgets positions from `positions` on; whole pages go back. */
void kv_sequence_cut(struct kv_cache *c, struct kv_sequence *s, uint32_t positions);

/* K or V of one head in one block. */
static inline void *kv_k(const struct kv_cache *c, uint32_t page, uint32_t layer, uint32_t head) {
    const struct kv_place *p = &c->place[layer];
    return c->base + page * c->page_bytes + p->offset + head * (p->k_bytes + p->v_bytes);
}
static inline void *kv_v(const struct kv_cache *c, uint32_t page, uint32_t layer, uint32_t head) {
    return (uint8_t *)kv_k(c, page, layer, head) + c->place[layer].k_bytes;
}

#endif
