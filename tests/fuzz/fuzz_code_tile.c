/* SPDX-License-Identifier: Apache-2.0
 * Packed tiles of codes at every level of the machine. Any bytes as a tile, of any coding and shape that can be packed: nothing
 * beside it is read, nothing beside the rooms written (all end at unreadable pages, since vector code is not instrumented), and all
 * levels say the same. Any records: they come back; and their tile, damaged, is a tile of any bytes. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/span.h"
#include "codec/code_tile.h"
#include "codec/coding.h"
#include "fuzz_bytes.h"
#include "sys/cpu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAGE = 4096, ROOM = 512 * PAGE, BLOCK = KERN_BLOCK_PANELS * KERN_PANEL_ROWS * KERN_BLOCK_COLS };
enum part { TILE, RECORDS, REST, CODES, WANT, GOT, PARTS };
enum what { ANY_TILE, SOUND_TILE, DAMAGED_TILE, WHATS };

static uint8_t *end_of(enum part part) {
    static uint8_t *rooms[PARTS];
    return guarded(&rooms[part], ROOM);
}

static bool same(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (memcmp(a + i, b + i, sizeof(*a)) != 0 && !(isnan(a[i]) && isnan(b[i]))) {
            return false;
        }
    }
    return true;
}

static bool decode(const struct coding_table *table, const struct code_tile *c, uint32_t group, uint32_t block, float *out) {
    struct code_block b;
    uint8_t *rest = end_of(REST) - CODE_TILE_ROOM;
    uint8_t *codes = end_of(CODES) - CODE_TILE_BLOCK;
    if (!code_tile_group(c, table->decode_planes, group, rest, &b) ||
        !code_tile_block(c, table->decode_planes, group, block, codes, &b)) {
        return false;
    }
    table->decode_packed(c->s, &b, group, block, out);
    return true;
}

/* `records`: the tile as it is, or NULL where it is not known. */
static void decode_all(const struct panel_shape *s, const uint8_t *tile, size_t len, const uint8_t *records) {
    static const uint32_t levels[] = {0, SYS_CPU_AVX2, SYS_CPU_AVX2 | SYS_CPU_AVX512 | SYS_CPU_AVX512_VBMI2, SYS_CPU_NEON};
    struct panel_tile t;
    struct code_tile c;
    panel_tile_at(s, 0, &t);
    const bool sound = code_tile_open(&c, s, &t, tile, len);
    require(sound || records == NULL);
    for (uint32_t g = t.group; g < t.group + t.groups && sound; g++) {
        for (uint32_t b = 0; b < s->col_blocks; b++) {
            const size_t count = (size_t)panel_group_panels(s, g) * KERN_PANEL_ROWS * panel_block_cols(s, b);
            float *want = (float *)(void *)end_of(WANT) - count;
            float *got = (float *)(void *)end_of(GOT) - count;
            bool fine = false;
            for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
                struct coding_table table;
                coding_table_init(&table, sys_cpu_flags() & levels[l]);
                const bool now = decode(&table, &c, g, b, l == 0 ? want : got);
                require(l == 0 || now == fine);
                fine = now;
                require(l == 0 || !fine || same(want, got, count));
                if (records != NULL) {
                    table.decode_block(s, &t, records, g, b, got);
                    require(fine && same(want, got, count));
                }
            }
        }
    }
}

/* A head that says something, then what is given. */
static void any_tile(struct bytes *b, const struct panel_shape *s) {
    const size_t len = CODE_TILE_HEAD + 64 * (size_t)next(b, 2000);
    const uint32_t codes = next(b, (uint32_t)(len / 64) + 2);
    uint8_t *tile = end_of(TILE) - len;
    memset(tile, 0, CODE_TILE_HEAD);
    tile[0] = (uint8_t)next(b, CODES_FORMS + 1);
    tile[1] = (uint8_t)next(b, REST_FORMS + 1);
    store_le32(tile + 4, next(b, 300));
    store_le32(tile + 8, codes);
    const size_t left = (size_t)(b->end - b->at);
    for (size_t i = CODE_TILE_HEAD; i < len; i++) {
        tile[i] = left > 0 ? b->at[(i - CODE_TILE_HEAD) % left] : 0;
    }
    decode_all(s, tile, len, NULL);
}

static void encoded_tile(struct bytes *b, const struct panel_shape *s, bool damage) {
    static struct planes_scratch scratch;
    static uint8_t room[CODE_TILE_CODES], out[ROOM], back[ROOM];
    uint8_t change[4][3];
    struct panel_tile t;
    struct code_parts p;
    panel_tile_at(s, 0, &t);
    require(t.bytes <= ROOM && code_tile_bound(s, &t) <= ROOM && code_parts_of(s, &p));
    uint8_t *records = end_of(RECORDS) - t.bytes;
    for (size_t i = 0; damage && i < sizeof(change); i++) {
        change[i / 3][i % 3] = (uint8_t)next(b, 256);
    }
    const size_t left = (size_t)(b->end - b->at);
    for (uint64_t i = 0; i < t.bytes; i++) { /* what is given, again and again */
        records[i] = left > 0 ? b->at[i % left] : 0;
    }
    for (uint8_t *at = records + s->lead_bytes; s->cols * p.bits % 8 != 0 && at < records + t.bytes; at += s->row_bytes) {
        at[p.code_bytes - 1] &= (uint8_t)((1u << s->cols * p.bits % 8) - 1);
    }
    const struct code_source from = {.lead = records, .records = records + s->lead_bytes, .stride = s->row_bytes};
    const size_t len = code_tile_encode(s, &t, &from, room, &scratch, out);
    require(len <= code_tile_bound(s, &t) && len % 64 == 0);
    uint8_t *tile = end_of(TILE) - len;
    memcpy(tile, out, len);
    for (size_t i = 0; damage && len > 0 && i < ARRAY_LEN(change); i++) {
        const size_t at = (size_t)change[i][0] << 8 | change[i][1];
        tile[(i % 2 == 0 ? at % 192 : at * 5) % len] ^= change[i][2];
    }
    if (len > 0) {
        decode_all(s, tile, len, damage ? NULL : records);
        const bool fine = code_tile_unpack(s, &t, tile, len, back);
        require(damage || (fine && memcmp(back, records, t.bytes) == 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes b = {data, data + size};
    enum what what = (enum what)next(&b, WHATS);
    const uint32_t kind = next(&b, 3) != 0 ? PANEL_GROUPS : PANEL_Q4_0 + next(&b, PANEL_CODINGS - PANEL_Q4_0);
    enum panel_coding coding = (enum panel_coding)kind;
    struct groups g = {.bits = (uint8_t)(3 + next(&b, 6)), .code = (uint8_t)next(&b, GROUPS_CODES),
                       .scale = (uint8_t)next(&b, GROUPS_SCALES), .shift = (uint8_t)next(&b, GROUPS_SHIFTS),
                       .ordered = next(&b, 4) == 0, .phased = next(&b, 4) == 0};
    uint64_t cols = 150 + next(&b, 500);
    cols = coding != PANEL_GROUPS ? (cols + 255) / 256 * 256 : cols;
    g.group = 1 + next(&b, 200);
    g.nested = g.scale == GROUPS_NESTED ? g.group * (1 + next(&b, 20)) : 0;
    g.bits = g.code == GROUPS_UINT ? g.bits : g.code < GROUPS_E2M1 ? 8 : 4;
    const uint64_t rows = 1 + next(&b, 100);
    struct panel_shape s;
    if (!panel_shape_init_coded(&s, rows, cols, coding, &g, PANEL_BLOCKS) || !code_tile_able(&s)) {
        return 0;
    }
    if (what == ANY_TILE) {
        any_tile(&b, &s);
    } else {
        encoded_tile(&b, &s, what == DAMAGED_TILE);
    }
    return 0;
}
