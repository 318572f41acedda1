/* SPDX-License-Identifier: Apache-2.0
 * Bump allocation by lifetime: many small objects, one release. Grows in chunks up to `limit_bytes`, then fails
 * (NULL), so whoever parses untrusted input states how much memory that input may cost. One thread at a time.
 * Under AddressSanitizer every allocation is its own malloc, so overruns are still caught. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks;
    size_t used_bytes;  /* bytes handed out, rounding included */
    size_t taken_bytes; /* bytes asked of malloc, chunk headers included */
    size_t limit_bytes; /* 0: no limit */
};

/* Zeroed memory aligned to 16 bytes, or NULL at the limit or out of memory. size 0 gives a valid pointer. */
void *arena_take(struct arena *a, size_t size);
/* As arena_take for count * size bytes; NULL also when that overflows. */
void *arena_take_array(struct arena *a, size_t count, size_t size);
/* A copy with a terminating 0 that is not part of any length. */
char *arena_copy_text(struct arena *a, struct span bytes);
/* Frees everything; the arena may be used again. */
void arena_drop(struct arena *a);

#endif
