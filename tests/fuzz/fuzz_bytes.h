/* SPDX-License-Identifier: Apache-2.0
 * What fuzz targets of codecs share: small numbers drawn from the fuzzer's bytes, zeros when these are used up. */
#ifndef FUZZ_BYTES_H
#define FUZZ_BYTES_H

#include <stdint.h>
#include <stdlib.h>

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

#endif
