/* SPDX-License-Identifier: Apache-2.0
 * Chunked bump arena. Chunks double from 4 KiB to 1 MiB; an object larger than half a chunk gets a chunk of its own. */
#include "base/arena.h"

#include <stdlib.h>

#include "base/checked.h"
#include "base/compiler.h"

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ONE_OBJECT_PER_CHUNK 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ONE_OBJECT_PER_CHUNK 1
#endif
#endif
#ifndef ARENA_ONE_OBJECT_PER_CHUNK
#define ARENA_ONE_OBJECT_PER_CHUNK 0
#endif

enum { ARENA_ALIGN = 16, ARENA_FIRST_CHUNK = 4096, ARENA_LARGEST_CHUNK = 1 << 20 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t cap;
    size_t used;
    size_t padding; /* keeps `bytes` 16-aligned after a 16-aligned malloc */
    uint8_t bytes[];
};

static struct arena_chunk *new_chunk(struct arena *a, size_t need) {
    size_t cap = a->chunks == NULL ? ARENA_FIRST_CHUNK : a->chunks->cap * 2;
    if (cap > ARENA_LARGEST_CHUNK) {
        cap = ARENA_LARGEST_CHUNK;
    }
    if (ARENA_ONE_OBJECT_PER_CHUNK || need > cap / 2) {
        cap = need;
    }
    size_t total = sizeof(struct arena_chunk) + cap;
    if (total < cap || (a->limit_bytes != 0 && total > a->limit_bytes - min_u64(a->limit_bytes, a->taken_bytes))) {
        return NULL;
    }
    struct arena_chunk *c = (struct arena_chunk *)calloc(1, total);
    if (c == NULL) {
        return NULL;
    }
    c->cap = cap;
    a->taken_bytes += total;
    /* An object with a chunk of its own goes behind the current one, which still has room. */
    if (a->chunks != NULL && cap == need) {
        c->next = a->chunks->next;
        a->chunks->next = c;
    } else {
        c->next = a->chunks;
        a->chunks = c;
    }
    return c;
}

void *arena_take(struct arena *a, size_t size) {
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    size_t need = ARENA_ONE_OBJECT_PER_CHUNK ? size : (size_t)round_up(size, ARENA_ALIGN);
    struct arena_chunk *c = a->chunks;
    if (ARENA_ONE_OBJECT_PER_CHUNK || c == NULL || c->cap - c->used < need) {
        c = new_chunk(a, need);
        if (c == NULL) {
            return NULL;
        }
    }
    void *p = c->bytes + c->used;
    c->used += need;
    a->used_bytes += need;
    return p;
}

void *arena_take_array(struct arena *a, size_t count, size_t size) {
    uint64_t total = 0;
    if (checked_mul(count, size, &total) || total > SIZE_MAX) {
        return NULL;
    }
    return arena_take(a, (size_t)total);
}

char *arena_copy_text(struct arena *a, struct span bytes) {
    char *copy = (char *)arena_take(a, bytes.len + 1);
    if (copy != NULL && bytes.len != 0) {
        memcpy(copy, bytes.ptr, bytes.len);
    }
    return copy;
}

void arena_drop(struct arena *a) {
    struct arena_chunk *c = a->chunks;
    while (c != NULL) {
        struct arena_chunk *next = c->next;
        free(c);
        c = next;
    }
    a->chunks = NULL;
    a->used_bytes = 0;
    a->taken_bytes = 0;
}
