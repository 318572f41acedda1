/* SPDX-License-Identifier: Apache-2.0
 * What fuzz targets of codecs share: small numbers drawn from the fuzzer's bytes, zeros when these are used up. */
#ifndef FUZZ_BYTES_H
#define FUZZ_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

struct bytes {
    const uint8_t *at, *end;
};

static inline uint32_t next(struct bytes *b, uint32_t below) {
    uint32_t v = 0;
    for (int i = 0; i < 2 && b->at < b->end; i++) {
        v = v << 8 | *b->at++;
    }
    return v % below;
}

static inline void require(int ok) {
    if (!ok) {
        abort();
    }
}

/* The end of `size` bytes, whole pages: the page behind them cannot be touched. *room is NULL before the first call and kept. */
static inline uint8_t *guarded(uint8_t **room, size_t size) {
    enum { PAGE_BEHIND = 4096 };
    if (*room == NULL) {
        void *p = mmap(NULL, size + PAGE_BEHIND, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(p != MAP_FAILED && mprotect((uint8_t *)p + size, PAGE_BEHIND, PROT_NONE) == 0);
        *room = (uint8_t *)p;
    }
    return *room + size;
}

#endif
