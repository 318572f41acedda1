/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a tile of a coded matrix, of any coding and shape that there is, decoded at every level of the machine: nothing
 * beside the tile is read (it ends at an unreadable page, since vector code is not instrumented), and all levels agree. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec/coding.h"
#include "fuzz_bytes.h"
#include "sys/cpu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAGE = 4096, ROOM = 64 * PAGE, BLOCK = KERN_BLOCK_PANELS * KERN_PANEL_ROWS * KERN_BLOCK_COLS };

static bool same(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (memcmp(a + i, b + i, sizeof(*a)) != 0 && !(isnan(a[i]) && isnan(b[i]))) {
            return false;
        }
    }
    return true;
}

static void decode(const struct panel_shape *s, const uint8_t *tile) {
    static float want[BLOCK];
    static float got[BLOCK];
    static const uint32_t levels[] = {0, SYS_CPU_AVX2, SYS_CPU_AVX2 | SYS_CPU_AVX512, SYS_CPU_NEON};
    struct panel_tile t;
    panel_tile_at(s, 0, &t);
    for (uint32_t g = t.group; g < t.group + t.groups; g++) {
        for (uint32_t b = 0; b < s->col_blocks; b++) {
            size_t count = (size_t)panel_group_panels(s, g) * KERN_PANEL_ROWS * panel_block_cols(s, b);
            for (size_t l = 0; l < sizeof(levels) / sizeof(levels[0]); l++) {
                struct coding_table table;
                coding_table_init(&table, sys_cpu_flags() & levels[l]);
                memset(got, 0xaa, count * sizeof(float));
                table.decode_block(s, &t, tile, g, b, l == 0 ? want : got);
                require(l == 0 || same(want, got, count));
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes b = {data, data + size};
    enum panel_coding coding = (enum panel_coding)(PANEL_GROUPS + next(&b, PANEL_CODINGS - PANEL_GROUPS));
    struct groups g = {.bits = (uint8_t)next(&b, 10), .code = (uint8_t)next(&b, GROUPS_CODES + 1),
                       .scale = (uint8_t)next(&b, GROUPS_SCALES + 1), .shift = (uint8_t)next(&b, GROUPS_SHIFTS + 1),
                       .ordered = next(&b, 4) == 0, .phased = next(&b, 4) == 0};
    uint64_t cols = 1 + next(&b, 700);
    cols = coding != PANEL_GROUPS && next(&b, 8) != 0 ? (cols + 255) / 256 * 256 : cols;
    g.group = next(&b, 300);
    g.nested = g.group * next(&b, 20);
    enum panel_layout layout = next(&b, 2) == 0 ? PANEL_BLOCKS : PANEL_GATHERED;
    uint64_t rows = 1 + next(&b, 70);
    struct panel_shape s;
    struct panel_tile t;
    if (!panel_shape_init_coded(&s, rows, cols, coding, &g, layout)) {
        return 0;
    }
    panel_tile_at(&s, 0, &t);
    if (t.bytes > ROOM) {
        return 0;
    }
    static uint8_t *room;
    uint8_t *tile = guarded(&room, ROOM) - t.bytes;
    size_t left = (size_t)(b.end - b.at);
    for (uint64_t i = 0; i < t.bytes; i++) { /* what is given, again and again */
        tile[i] = left > 0 ? b.at[i % left] : 0;
    }
    decode(&s, tile);
    return 0;
}
