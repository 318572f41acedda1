/* SPDX-License-Identifier: Apache-2.0
 *
 * Paged KV memory. A page holds KERN_KV_BLOCK positions of one sequence for all layers and KV heads; a sequence is a list
 * of page numbers, so sequences grow, shrink and (later) share prefixes without moving bytes.
 *
 *     page:  [layer][kv head][ K: 4 strips of [head_dim][16] | V: [64][v_stride] ]
 *
 * Memory comes from the caller and is never allocated here. One thread changes a cache at a time; a running pass reads
 * and writes page contents from many threads, each position by one of them.
 */
#ifndef STATE_KV_H
#define STATE_KV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "kern/kern.h"

struct kv_shape {
    uint32_t layers, kv_heads, head_dim;
    enum kern_dtype dtype; /* F32 or F16 */
};

struct kv_cache {
    struct kv_shape shape;
    uint64_t k_bytes, v_bytes;  /* of one head in one page */
    uint64_t layer_bytes;       /* of one layer in one page */
    uint64_t page_bytes;
    uint8_t *base;
    uint32_t page_count;
    uint32_t free_count;
    uint32_t *free_pages;       /* stack, heap */
};

/* A sequence: page numbers in order of position. */
struct kv_sequence {
    uint32_t *pages;            /* heap, room for the most blocks */
    uint32_t blocks, max_blocks;
};

/* `memory` holds page_count pages of kv_page_bytes(shape). NO_FIT when out of heap. */
lamina_status kv_cache_init(struct kv_cache *c, const struct kv_shape *shape, void *memory, uint64_t memory_bytes,
                            struct lamina_error *err);
void kv_cache_drop(struct kv_cache *c);
uint64_t kv_page_bytes(const struct kv_shape *shape);

lamina_status kv_sequence_init(struct kv_sequence *s, uint32_t max_positions, struct lamina_error *err);
/* Gives its pages back. */
void kv_sequence_drop(struct kv_cache *c, struct kv_sequence *s);
/* Makes room for `positions` in all. NO_FIT when no page is left (the sequence is unchanged). */
lamina_status kv_sequence_grow(struct kv_cache *c, struct kv_sequence *s, uint32_t positions, struct lamina_error *err);
/* Forgets positions from `positions` on; whole pages go back. */
void kv_sequence_cut(struct kv_cache *c, struct kv_sequence *s, uint32_t positions);

/* K or V of one head in one block. */
static inline void *kv_k(const struct kv_cache *c, uint32_t page, uint32_t layer, uint32_t head) {
    return c->base + page * c->page_bytes + layer * c->layer_bytes + head * (c->k_bytes + c->v_bytes);
}
static inline void *kv_v(const struct kv_cache *c, uint32_t page, uint32_t layer, uint32_t head) {
    return (uint8_t *)kv_k(c, page, layer, head) + c->k_bytes;
}

#endif
