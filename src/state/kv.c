/* SPDX-License-Identifier: Apache-2.0
 * Pages and sequences: a stack of free page numbers and lists of taken ones. */
#include "state/kv.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

uint64_t kv_layer_bytes(const struct kv_layer *l, enum kern_dtype dtype) {
    size_t elem = kern_dtype_bytes(dtype);
    return (kern_kv_k_bytes(l->k_dim, elem) + kern_kv_v_bytes(l->v_dim, elem)) * l->kv_heads;
}

/* Slots begin on cache lines and layers inside them too. */
enum { LINE = 64 };

uint64_t kv_slot_bytes(const struct kv_layer *layers, uint32_t count) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += round_up(layers[i].fixed_floats * sizeof(float), LINE);
    }
    return sum;
}

static void place_layers(struct kv_cache *c, const struct kv_shape *shape) {
    size_t elem = kern_dtype_bytes(shape->dtype);
    for (uint32_t i = 0; i < shape->layers; i++) {
        const struct kv_layer *l = &shape->layer[i];
        c->place[i] = (struct kv_place){.shape = *l,
                                        .offset = c->page_bytes,
                                        .k_bytes = kern_kv_k_bytes(l->k_dim, elem),
                                        .v_bytes = kern_kv_v_bytes(l->v_dim, elem)};
        c->place[i].fixed_offset = c->slot_bytes;
        c->page_bytes += kv_layer_bytes(l, shape->dtype);
        c->slot_bytes += round_up(l->fixed_floats * sizeof(float), LINE);
    }
}

static lamina_status take_slots(struct kv_cache *c, uint32_t slots, uint64_t *memory_bytes, struct lamina_error *err) {
    uint64_t bytes = slots * c->slot_bytes;
    if (bytes == 0) {
        return LAMINA_OK;
    }
    c->free_slots = (uint32_t *)malloc(slots * sizeof(uint32_t));
    if (bytes > *memory_bytes || c->free_slots == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "no room for %u states of %llu bytes", slots, (unsigned long long)c->slot_bytes);
    }
    c->slot_base = c->base;
    c->base += bytes;
    *memory_bytes -= bytes;
    c->slot_count = slots;
    for (uint32_t i = 0; i < slots; i++) {
        c->free_slots[c->free_slot_count++] = slots - 1 - i;
    }
    return LAMINA_OK;
}

lamina_status kv_slot_take(struct kv_cache *c, uint32_t *slot, struct lamina_error *err) {
    if (c->free_slot_count == 0) {
        return base_fail(err, LAMINA_NO_FIT, "all %u states of sequences are in use", c->slot_count);
    }
    *slot = c->free_slots[--c->free_slot_count];
    return LAMINA_OK;
}

void kv_slot_give(struct kv_cache *c, uint32_t slot) {
    c->free_slots[c->free_slot_count++] = slot;
}

void kv_slot_copy(struct kv_cache *c, uint32_t to, uint32_t from) {
    memcpy(kv_slot_at(c, to), kv_slot_at(c, from), c->slot_bytes);
}

static lamina_status take_pages(struct kv_cache *c, uint64_t memory_bytes, struct lamina_error *err) {
    uint64_t pages = c->page_bytes != 0 ? memory_bytes / c->page_bytes : 0;
    if (pages == 0 || pages > UINT32_MAX) {
        return base_fail(err, LAMINA_NO_FIT, "the KV cache of %llu bytes does not hold one page of %llu bytes",
                         (unsigned long long)memory_bytes, (unsigned long long)c->page_bytes);
    }
    c->page_count = (uint32_t)pages;
    c->free_pages = (uint32_t *)malloc(pages * sizeof(uint32_t));
    if (c->free_pages == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the list of KV pages");
    }
    for (uint32_t i = 0; i < c->page_count; i++) {
        c->free_pages[i] = c->page_count - 1 - i;
    }
    c->free_count = c->page_count;
    return LAMINA_OK;
}

lamina_status kv_cache_init(struct kv_cache *c, const struct kv_shape *shape, void *memory, uint64_t memory_bytes,
                            struct lamina_error *err) {
    *c = (struct kv_cache){.dtype = shape->dtype, .layers = shape->layers, .base = (uint8_t *)memory};
    c->place = (struct kv_place *)calloc(shape->layers + 1u, sizeof(*c->place));
    if (c->place == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the KV layout");
    }
    place_layers(c, shape);
    lamina_status status = take_slots(c, shape->slots, &memory_bytes, err);
    if (status == LAMINA_OK) {
        status = take_pages(c, memory_bytes, err);
    }
    if (status != LAMINA_OK) {
        kv_cache_drop(c);
    }
    return status;
}

void kv_cache_drop(struct kv_cache *c) {
    free(c->free_slots);
    free(c->free_pages);
    free(c->place);
    *c = (struct kv_cache){0};
}

lamina_status kv_sequence_init(struct kv_sequence *s, uint32_t max_positions, struct lamina_error *err) {
    *s = (struct kv_sequence){.max_blocks = (uint32_t)div_up(max_positions, KERN_KV_BLOCK), .slot = KV_NO_SLOT};
    s->pages = (uint32_t *)malloc((size_t)s->max_blocks * sizeof(uint32_t) + sizeof(uint32_t));
    return s->pages != NULL ? LAMINA_OK : base_fail(err, LAMINA_NO_FIT, "out of memory for a sequence's page list");
}

void kv_sequence_cut(struct kv_cache *c, struct kv_sequence *s, uint32_t positions) {
    uint32_t keep = (uint32_t)div_up(positions, KERN_KV_BLOCK);
    while (s->blocks > keep) {
        c->free_pages[c->free_count++] = s->pages[--s->blocks];
    }
}

void kv_sequence_drop(struct kv_cache *c, struct kv_sequence *s) {
    kv_sequence_cut(c, s, 0);
    if (s->pages != NULL && s->slot != KV_NO_SLOT) {
        kv_slot_give(c, s->slot);
    }
    free(s->pages);
    *s = (struct kv_sequence){0};
}

lamina_status kv_sequence_grow(struct kv_cache *c, struct kv_sequence *s, uint32_t positions, struct lamina_error *err) {
    uint32_t need = (uint32_t)div_up(positions, KERN_KV_BLOCK);
    if (need > s->max_blocks || (need > s->blocks && need - s->blocks > c->free_count)) {
        return base_fail(err, LAMINA_NO_FIT, "the KV cache has no room for %u positions (%u of %u pages are free)",
                         positions, c->free_count, c->page_count);
    }
    if (c->slot_bytes != 0 && s->slot == KV_NO_SLOT) {
        LAMINA_TRY(kv_slot_take(c, &s->slot, err));
    }
    while (s->blocks < need) {
        s->pages[s->blocks++] = c->free_pages[--c->free_count];
    }
    return LAMINA_OK;
}
