/* SPDX-License-Identifier: Apache-2.0
 * Planes at every level of the machine. Any bytes as a tile: nothing beside it is read, nothing beside the output written (both
 * end at unreadable pages, since vector code is not instrumented), and all levels say the same. Any values: they come back; and
 * their tile, damaged, is a tile of any bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "codec/coding.h"
#include "fuzz_bytes.h"
#include "sys/cpu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAGE = 4096, ROOM = 64 * PAGE, MOST_BLOCKS = 4, OUT = 2 * (PLANES_BLOCK + PLANES_UNIT) };
enum part { TILE, VALUES, WANT, GOT, PARTS };
enum what { ANY_TILE, SOUND_TILE, DAMAGED_TILE, WHATS };

static uint8_t *end_of(enum part part) {
    static uint8_t *rooms[PARTS];
    return guarded(&rooms[part], ROOM);
}

static size_t out_bytes(enum planes_kind kind, uint32_t count) {
    return ((size_t)count + PLANES_UNIT - 1) / PLANES_UNIT * PLANES_UNIT * PLANES_FORM[kind].bytes;
}

/* A product makes the same of a tile's bytes as the decoder beside it. */
static void multiply(const struct coding_table *table, const uint8_t *tile, size_t len, uint32_t block, uint32_t count, bool fine) {
    static const float row[PLANES_BLOCK / 16];
    float sums[16];
    const struct planes_product p = {.tile = tile, .len = len, .block = block, .panels = 1, .cols = count / 16, .x = row, .y = sums};
    if (table->multiply_planes != NULL && count % (16 * PLANES_PRODUCT_COLS) == 0) {
        require(table->multiply_planes(&p) == (fine && (tile[0] == PLANES_BF16 || planes_is_whole((enum planes_kind)tile[0]))));
    }
}

/* All levels agree; returns the values, or NULL where the tile is refused. */
static const uint8_t *decode(const uint8_t *tile, size_t len, enum planes_kind kind, uint32_t block, uint32_t count) {
    static const uint32_t levels[] = {0, SYS_CPU_AVX2, SYS_CPU_AVX2 | SYS_CPU_AVX512 | SYS_CPU_AVX512_VBMI2, SYS_CPU_NEON};
    uint8_t *want = end_of(WANT) - out_bytes(kind, count);
    uint8_t *got = end_of(GOT) - out_bytes(kind, count);
    const bool fine = planes_decode_portable(tile, len, block, count, want);
    for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
        struct coding_table table;
        coding_table_init(&table, sys_cpu_flags() & levels[l]);
        memset(got, 0xaa, out_bytes(kind, count));
        require(table.decode_planes(tile, len, block, count, got) == fine);
        require(!fine || memcmp(want, got, (size_t)count * PLANES_FORM[kind].bytes) == 0);
        multiply(&table, tile, len, block, count, fine);
    }
    return fine ? want : NULL;
}

static void any_tile(struct bytes *b) {
    const uint32_t block = next(b, 8) == 0 ? next(b, 65536) : next(b, 4);
    const uint32_t count = 1 + next(b, next(b, 2) == 0 ? PLANES_BLOCK : 256);
    const size_t len = (size_t)(b->end - b->at) < ROOM ? (size_t)(b->end - b->at) : ROOM;
    uint8_t *tile = end_of(TILE) - len;
    memcpy(tile, b->at, len);
    /* Of a tile that is refused for its kind, no value is written. */
    decode(tile, len, len > 0 && tile[0] < PLANES_KINDS ? (enum planes_kind)tile[0] : PLANES_BF16, block, count);
}

/* Any bytes as whole numbers that a kind has. */
static void make_whole(uint8_t *values, size_t bytes, uint32_t raw) {
    for (size_t i = 0; i + 2 <= bytes; i += 2) {
        const int32_t range = 128 << raw;
        const float whole = (float)((values[i] | values[i + 1] << 8) % (2 * range) - range);
        uint32_t bits;
        memcpy(&bits, &whole, sizeof(bits));
        values[i] = (uint8_t)(bits >> 16);
        values[i + 1] = (uint8_t)(bits >> 24);
    }
}

static void encoded_tile(struct bytes *b, bool damage) {
    static struct planes_scratch scratch;
    static uint8_t copy[ROOM];
    const enum planes_kind kind = (enum planes_kind)next(b, PLANES_KINDS);
    const uint32_t blocks = 1 + next(b, MOST_BLOCKS);
    const uint32_t most = next(b, 16) == 15 ? PLANES_BLOCK : 400;
    uint8_t change[4][3];
    uint32_t count[MOST_BLOCKS];
    uint32_t all = 0;
    for (uint32_t i = 0; i < blocks; i++) {
        count[i] = 1 + next(b, most);
        count[i] = next(b, 2) == 0 ? count[i] : (count[i] + 255) / 256 * 256; /* whole panels of a product */
        all += count[i];
    }
    for (size_t i = 0; damage && i < sizeof(change); i++) {
        change[i / 3][i % 3] = (uint8_t)next(b, 256);
    }
    const size_t bytes = (size_t)all * PLANES_FORM[kind].bytes;
    const size_t bound = planes_bound(kind, all, blocks);
    require(bound <= ROOM && bytes <= ROOM);
    uint8_t *values = end_of(VALUES) - bytes;
    const size_t left = (size_t)(b->end - b->at);
    for (size_t i = 0; i < bytes; i++) { /* what is given, again and again */
        values[i] = left > 0 ? b->at[i % left] : 0;
    }
    if (planes_is_whole(kind)) {
        make_whole(values, bytes, (uint32_t)(kind - PLANES_WHOLE_0));
    }
    const size_t len = planes_encode(kind, values, count, blocks, &scratch, end_of(TILE) - bound);
    require(len <= bound && len % PLANES_UNIT == 0);
    memcpy(copy, end_of(TILE) - bound, len);
    uint8_t *tile = end_of(TILE) - len;
    memcpy(tile, copy, len);
    for (size_t i = 0; damage && i < ARRAY_LEN(change); i++) { /* the first byte says how long values are */
        const size_t at = (size_t)change[i][0] << 8 | change[i][1];
        tile[1 + (i % 2 == 0 ? at % 140 : at) % (len - 1)] ^= change[i][2];
    }
    for (uint32_t i = 0; i < blocks; i++) {
        const uint8_t *got = decode(tile, len, kind, i, count[i]);
        require(damage || (got != NULL && memcmp(got, values, (size_t)count[i] * PLANES_FORM[kind].bytes) == 0));
        values += (size_t)count[i] * PLANES_FORM[kind].bytes;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes b = {data, data + size};
    const enum what what = (enum what)next(&b, WHATS);
    if (what == ANY_TILE) {
        any_tile(&b);
    } else {
        encoded_tile(&b, what == DAMAGED_TILE);
    }
    return 0;
}
