/* SPDX-License-Identifier: Apache-2.0
 *
 * Which experts stay in memory. Every expert is cut into equal parts, every slot of the cache holds one part. Experts are
 * ranked by how often passes chose them, with old passes counting less (least frequently used, with ageing); a part comes in
 * when a slot is free or holds one of a lower rank, else it is read past the cache. Pure bookkeeping: bytes are moved by
 * whoever asks. Nothing here changes a result, only what is read.
 *
 * Called from the thread that runs passes, when a layer's rows have chosen and before its experts are read; so no tile of
 * another layer is in use, and those of the chosen experts are never given up.
 */
#ifndef EXEC_EXPERT_CACHE_H
#define EXEC_EXPERT_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#define EXPERT_NO_SLOT UINT32_MAX

struct expert_cache {
    uint32_t experts;            /* of all layers, numbered through */
    uint32_t turns;              /* layers that choose in a pass */
    uint32_t parts, slots;
    double *rank;                /* [experts] */
    uint32_t *slot_of;           /* [experts * parts] or EXPERT_NO_SLOT */
    uint32_t *owner;             /* [slots] index into slot_of */
    uint32_t *order;             /* [used_slots] slots, lowest rank first */
    uint32_t used_slots;
    double weight;               /* of a choice made now */
};

/* Told for each part that leaves its slot (EXPERT_NO_SLOT) or gets one; leaving comes before another's coming. */
typedef void expert_place_fn(void *user, uint32_t expert, uint32_t part, uint32_t slot);

/* `memory` holds plan_cache_table_bytes(experts, parts, slots) bytes, aligned to 8. slots 0: nothing is kept. The counts
 * (experts, turns, parts, slots) are the caller's to
 * set before. */
void expert_cache_init(struct expert_cache *c, void *memory);

/* A layer whose experts are numbered first .. first + count has chosen those with used[i] nonzero. */
void expert_cache_choose(struct expert_cache *c, uint32_t first, const uint8_t *used, uint32_t count, expert_place_fn *place,
                         void *user);

/* The slot of a part, EXPERT_NO_SLOT when it has none. */
uint32_t expert_cache_slot(const struct expert_cache *c, uint32_t expert, uint32_t part);

#endif
