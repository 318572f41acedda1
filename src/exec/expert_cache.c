/* SPDX-License-Identifier: Apache-2.0
 *
 * Ageing costs nothing per expert: instead of shrinking all ranks, each layer's turn makes the next choices weigh more; when the
 * weight grows large, everything is scaled back once. The order of slots changes little between two calls, so it is kept
 * and put right by insertion.
 */
#include "exec/expert_cache.h"

#include <string.h>

/* A choice of HALF_LIFE passes ago counts half. bench/expert_policy.py compares lives on recorded choices. */
static const double HALF_LIFE = 32.0;
/* Who comes in must lead by this share of a choice: else a cache smaller than what a pass chooses would only churn. */
static const double LEAD = 0.5;
static const double LN2 = 0.6931471805599453;
static const double MOST_WEIGHT = 1e100;

void expert_cache_init(struct expert_cache *c, void *memory) {
    size_t entries = (size_t)c->experts * c->parts;
    c->rank = (double *)memory;
    c->slot_of = (uint32_t *)(c->rank + c->experts);
    c->owner = c->slot_of + entries;
    c->order = c->owner + c->slots;
    c->used_slots = 0;
    c->weight = 1.0;
    memset(c->rank, 0, c->experts * sizeof(*c->rank));
    memset(c->slot_of, 0xff, entries * sizeof(*c->slot_of));
}

uint32_t expert_cache_slot(const struct expert_cache *c, uint32_t expert, uint32_t part) {
    return c->slots != 0 ? c->slot_of[(size_t)expert * c->parts + part] : EXPERT_NO_SLOT;
}

static void age(struct expert_cache *c) {
    c->weight *= 1.0 + LN2 / (HALF_LIFE * (double)c->turns);
    if (c->weight > MOST_WEIGHT) {
        for (uint32_t i = 0; i < c->experts; i++) {
            c->rank[i] /= c->weight;
        }
        c->weight = 1.0;
    }
}

static double rank_of_slot(const struct expert_cache *c, uint32_t slot) {
    return c->rank[c->owner[slot] / c->parts];
}

static void put_in_order(struct expert_cache *c) {
    for (uint32_t i = 1; i < c->used_slots; i++) {
        uint32_t slot = c->order[i];
        double rank = rank_of_slot(c, slot);
        uint32_t k = i;
        for (; k > 0 && rank_of_slot(c, c->order[k - 1]) > rank; k--) {
            c->order[k] = c->order[k - 1];
        }
        c->order[k] = slot;
    }
}

struct choosing {
    struct expert_cache *c;
    const uint8_t *used;
    uint32_t first, count;
    uint32_t next_victim;        /* in order */
    expert_place_fn *place;
    void *user;
};

static bool is_in_use(const struct choosing *h, uint32_t slot) {
    uint32_t expert = h->c->owner[slot] / h->c->parts;
    return expert >= h->first && expert - h->first < h->count && h->used[expert - h->first] != 0;
}

/* A slot for a part of this rank: a free one, or that of the lowest rank below it. */
static uint32_t take_slot(struct choosing *h, double rank) {
    struct expert_cache *c = h->c;
    if (c->used_slots < c->slots) {
        c->order[c->used_slots] = c->used_slots;
        return c->used_slots++;
    }
    while (h->next_victim < c->used_slots && is_in_use(h, c->order[h->next_victim])) {
        h->next_victim++;
    }
    if (h->next_victim == c->used_slots || rank_of_slot(c, c->order[h->next_victim]) + LEAD * c->weight >= rank) {
        return EXPERT_NO_SLOT;
    }
    uint32_t slot = c->order[h->next_victim++];
    uint32_t loser = c->owner[slot];
    c->slot_of[loser] = EXPERT_NO_SLOT;
    h->place(h->user, loser / c->parts, loser % c->parts, EXPERT_NO_SLOT);
    return slot;
}

static void bring_in(struct choosing *h, uint32_t expert) {
    struct expert_cache *c = h->c;
    for (uint32_t part = 0; part < c->parts; part++) {
        size_t entry = (size_t)expert * c->parts + part;
        uint32_t slot = c->slot_of[entry] == EXPERT_NO_SLOT ? take_slot(h, c->rank[expert]) : EXPERT_NO_SLOT;
        if (slot != EXPERT_NO_SLOT) {
            c->slot_of[entry] = slot;
            c->owner[slot] = (uint32_t)entry;
            h->place(h->user, expert, part, slot);
        }
    }
}

void expert_cache_choose(struct expert_cache *c, uint32_t first, const uint8_t *used, uint32_t count, expert_place_fn *place,
                         void *user) {
    if (c->slots == 0) {
        return;
    }
    struct choosing h = {.c = c, .used = used, .first = first, .count = count, .place = place, .user = user};
    age(c);
    for (uint32_t i = 0; i < count; i++) {
        c->rank[first + i] += used[i] != 0 ? c->weight : 0.0;
    }
    put_in_order(c);
    for (uint32_t i = 0; i < count; i++) {
        if (used[i] != 0) {
            bring_in(&h, first + i);
        }
    }
}
