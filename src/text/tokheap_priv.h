/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue of merge candidates: a 4-ary heap, least key first. Inline, because it is the inner loop of long pieces. */
#ifndef TEXT_TOKHEAP_PRIV_H
#define TEXT_TOKHEAP_PRIV_H

#include <stddef.h>
#include <stdint.h>

struct tok_candidate {
    uint64_t order; /* rank << 32 | position: the key */
    uint32_t tag;   /* what tells whether the candidate still describes its place */
};

struct tok_heap {
    struct tok_candidate *items; /* room is the owner's business */
    size_t count;
};

static inline void tok_heap_push(struct tok_heap *h, struct tok_candidate c) {
    size_t at = h->count++;
    while (at > 0) {
        size_t up = (at - 1) / 4;
        if (h->items[up].order <= c.order) {
            break;
        }
        h->items[at] = h->items[up];
        at = up;
    }
    h->items[at] = c;
}

static inline void tok_heap_sink(struct tok_heap *h, size_t at, struct tok_candidate c) {
    for (;;) {
        size_t child = at * 4 + 1;
        if (child >= h->count) {
            break;
        }
        size_t last = child + 4 < h->count ? child + 4 : h->count;
        size_t least = child;
        for (size_t i = child + 1; i < last; i++) {
            if (h->items[i].order < h->items[least].order) {
                least = i;
            }
        }
        if (h->items[least].order >= c.order) {
            break;
        }
        h->items[at] = h->items[least];
        at = least;
    }
    h->items[at] = c;
}

static inline struct tok_candidate tok_heap_pop(struct tok_heap *h) {
    struct tok_candidate top = h->items[0];
    struct tok_candidate last = h->items[--h->count];
    if (h->count > 0) {
        tok_heap_sink(h, 0, last);
    }
    return top;
}

/* Orders items that were put in as they came. */
static inline void tok_heap_make(struct tok_heap *h) {
    for (size_t i = h->count / 4 + 1; i-- > 0;) {
        if (i < h->count) {
            tok_heap_sink(h, i, h->items[i]);
        }
    }
}

#endif
