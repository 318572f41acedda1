/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed tiles of codes: every level's way from a tile to float32 against the same codes as they are, between unreadable pages; and
 * the rates of both on a stream of tiles, block by block into the same memory.
 */
#include <stdio.h>
#include <string.h>

#include "base/floats.h"
#include "codec/code_tile.h"
#include "codec/coding.h"
#include "kcheck.h"
#include "sys/cpu.h"

enum { RUNS = 5, OUT = KERN_BLOCK_PANELS * KERN_PANEL_ROWS * KERN_BLOCK_COLS };

static const struct {
    const char *name;
    enum panel_coding coding;
    struct groups groups;
} KINDS[] = {
    {"FP8", PANEL_GROUPS, {.bits = 8, .code = GROUPS_E4M3, .scale = GROUPS_F32, .group = 128}},
    {"int8", PANEL_GROUPS, {.bits = 8, .code = GROUPS_INT8, .scale = GROUPS_F32, .group = 512}},
    {"int4", PANEL_GROUPS, {.bits = 4, .code = GROUPS_UINT, .scale = GROUPS_F16, .shift = GROUPS_MIDDLE, .group = 128}},
    {"MXFP4", PANEL_GROUPS, {.bits = 4, .code = GROUPS_E2M1, .scale = GROUPS_E8M0, .group = 32}},
    {"Q8_0", PANEL_Q8_0, {.bits = 0}},
    {"Q4_0", PANEL_Q4_0, {.bits = 0}},
    {"nf4", PANEL_GROUPS, {.bits = 4, .code = GROUPS_TABLE, .scale = GROUPS_F32, .group = 64}},
};

/* A byte of codes near the middle of their range, and few sizes of scales. */
static uint8_t some_code(struct kc *k, const struct panel_shape *s) {
    const float near = kc_uniform(k) + kc_uniform(k) + kc_uniform(k) + kc_uniform(k);
    if (s->coding == PANEL_GROUPS && s->coded.code == GROUPS_E4M3) {
        const float size = near < 0 ? -near : near;
        const uint32_t e = size > 1 ? 9 : size > 0.5f ? 8 : size > 0.25f ? 7 : size > 0.125f ? 6 : kc_below(k, 6);
        return (uint8_t)(e << 3 | (kc_random(k) & 0x87));
    }
    if (s->coding == PANEL_Q8_0 || s->coded.bits == 8) {
        return (uint8_t)(int8_t)(near * 12);
    }
    const int low = 8 + (int)(near * 2), high = 8 + (int)((kc_uniform(k) + kc_uniform(k)) * 3);
    return (uint8_t)(low | high << 4);
}

static void fill(struct kc *k, const struct panel_shape *s, uint64_t rows, uint8_t *tile) {
    struct code_parts p;
    (void)code_parts_of(s, &p);
    memset(tile, 0, s->lead_bytes);
    uint8_t *record = tile + s->lead_bytes;
    for (uint64_t r = 0; r < rows; r++, record += s->row_bytes) {
        for (uint64_t i = 0; i < s->row_bytes; i++) {
            record[i] = some_code(k, s);
        }
        for (uint64_t i = p.code_bytes; s->coding == PANEL_GROUPS && i < s->row_bytes; i++) {
            const bool as_before = p.rest_bytes % 4 == 0 && r % 64 != 0; /* rows of a block have equal scales */
            record[i] = as_before ? record[i - s->row_bytes] : (uint8_t)(0x38 + kc_below(k, 4));
        }
        for (uint64_t at = 0; s->coding != PANEL_GROUPS && at < s->row_bytes; at += p.block_rest + p.block_codes) {
            record[at] = (uint8_t)kc_random(k);
            record[at + 1] = (uint8_t)(0x20 + kc_below(k, 3));
        }
    }
}

/* Tile 0 of a matrix as it is and packed; false: not worth it. */
static bool make(struct kc *k, size_t kind, uint64_t rows, uint64_t cols, struct panel_shape *s, struct kc_buffer *tile,
                 struct kc_buffer *packed) {
    static struct planes_scratch scratch;
    static uint8_t room[CODE_TILE_CODES];
    struct panel_tile t;
    if (!panel_shape_init_coded(s, rows, cols, KINDS[kind].coding, &KINDS[kind].groups, PANEL_BLOCKS)) {
        return false;
    }
    panel_shape_pack(s);
    panel_tile_at(s, 0, &t);
    *tile = kc_alloc(t.bytes);
    fill(k, s, (t.bytes - s->lead_bytes) / s->row_bytes, tile->p);
    const struct code_source from = {.lead = tile->p, .records = (const uint8_t *)tile->p + s->lead_bytes, .stride = s->row_bytes};
    struct kc_buffer out = kc_alloc(code_tile_bound(s, &t));
    *packed = kc_alloc(s->packing == PANEL_CODES ? code_tile_encode(s, &t, &from, room, &scratch, out.p) : 0);
    memcpy(packed->p, out.p, packed->bytes);
    kc_free(&out);
    return packed->bytes > 0;
}

static bool decode(const struct coding_table *t, const struct code_tile *c, uint32_t group, uint32_t block, struct code_block *b,
                   uint8_t *codes, float *out) {
    if (!code_tile_block(c, t->decode_planes, group, block, codes, b)) {
        return false;
    }
    t->decode_packed(c->s, b, group, block, out);
    return true;
}

static void compare(struct kc *k, const struct coding_table *t, size_t kind, const struct panel_shape *s,
                    const struct kc_buffer *tile, const struct kc_buffer *packed) {
    static float want[OUT];
    struct coding_table plain;
    struct panel_tile first;
    struct code_tile c;
    struct code_block b;
    struct kc_buffer rest = kc_alloc(CODE_TILE_ROOM);
    struct kc_buffer codes = kc_alloc(CODE_TILE_BLOCK);
    coding_table_init(&plain, 0);
    panel_tile_at(s, 0, &first);
    const bool fine = code_tile_open(&c, s, &first, packed->p, packed->bytes);
    kc_expect(k, fine, "packed tile of %s", KINDS[kind].name);
    for (uint32_t g = 0; fine && g < first.groups; g++) {
        kc_expect(k, code_tile_group(&c, t->decode_planes, g, rest.p, &b), "scales of a packed tile of %s", KINDS[kind].name);
        for (uint32_t block = 0; block < s->col_blocks; block++) {
            const size_t n = (size_t)panel_group_panels(s, g) * KERN_PANEL_ROWS * panel_block_cols(s, block);
            struct kc_buffer got = kc_alloc(n * sizeof(float));
            plain.decode_block(s, &first, tile->p, g, block, want);
            if (kc_expect(k, decode(t, &c, g, block, &b, codes.p, got.p), "codes of a packed tile of %s", KINDS[kind].name)) {
                kc_same_floats(k, want, got.p, n, "packed %s, group %u, block %u", KINDS[kind].name, g, block);
            }
            kc_free(&got);
        }
    }
    kc_free(&rest);
    kc_free(&codes);
}

void kc_check_codes(struct kc *k, uint32_t cpu_flags) {
    static const uint64_t shapes[][2] = {{64, 1024}, {130, 1280}, {77, 1536}};
    struct coding_table t;
    coding_table_init(&t, cpu_flags);
    for (size_t kind = 0; kind < ARRAY_LEN(KINDS); kind++) {
        for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
            struct panel_shape s;
            struct kc_buffer tile, packed;
            if (kc_expect(k, make(k, kind, shapes[i][0], shapes[i][1], &s, &tile, &packed), "%s is not packed", KINDS[kind].name)) {
                compare(k, &t, kind, &s, &tile, &packed);
            }
            kc_free(&tile);
            kc_free(&packed);
        }
    }
}

/* ---- rates ---- */

/* Seconds for all blocks of a tile. */
static double seconds_of(const struct coding_table *t, const struct panel_shape *s, const struct kc_buffer *tile,
                         const struct kc_buffer *packed) {
    static uint8_t rest[CODE_TILE_ROOM], codes[CODE_TILE_BLOCK];
    static float out[OUT];
    struct panel_tile first;
    struct code_tile c;
    struct code_block b;
    panel_tile_at(s, 0, &first);
    const uint64_t start = kc_thread_ns();
    bool fine = packed == NULL || code_tile_open(&c, s, &first, packed->p, packed->bytes);
    for (uint32_t g = 0; fine && g < first.groups; g++) {
        fine = packed == NULL || code_tile_group(&c, t->decode_planes, g, rest, &b);
        for (uint32_t block = 0; fine && block < s->col_blocks; block++) {
            if (packed == NULL) {
                t->decode_block(s, &first, tile->p, g, block, out);
            } else {
                fine = decode(t, &c, g, block, &b, codes, out);
            }
        }
    }
    return fine ? (double)(kc_thread_ns() - start) * 1e-9 : 1e9;
}

void kc_bench_codes(uint32_t cpu_flags) {
    static const uint32_t levels[] = {0, SYS_CPU_AVX2, SYS_CPU_AVX2 | SYS_CPU_AVX512 | SYS_CPU_AVX512_VBMI2, SYS_CPU_NEON};
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
    struct kc k = {.random = 1};
    for (size_t kind = 0; kind < ARRAY_LEN(KINDS); kind++) {
        struct panel_shape s;
        struct kc_buffer tile, packed;
        if (!make(&k, kind, 1024, 4096, &s, &tile, &packed)) {
            continue;
        }
        const double weights = (double)((tile.bytes - s.lead_bytes) / s.row_bytes * s.cols);
        for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
            struct coding_table t;
            double plain = 1e9, best = 1e9;
            if ((cpu_flags & levels[l]) != levels[l]) {
                continue;
            }
            coding_table_init(&t, levels[l]);
            for (int run = 0; run < RUNS; run++) {
                const double a = seconds_of(&t, &s, &tile, NULL), b = seconds_of(&t, &s, &tile, &packed);
                plain = a < plain ? a : plain;
                best = b < best ? b : best;
            }
            const double before = (double)tile.bytes, after = (double)packed.bytes;
            printf("%-7s codes %-5s %.2f bits %6.2f Gweights/s, %.2f GB/s read; packed, %.2f bits %6.2f Gweights/s, %.2f GB/s read\n",
                   names[l], KINDS[kind].name, 8 * before / weights, weights / plain * 1e-9, before / plain * 1e-9,
                   8 * after / weights, weights / best * 1e-9, after / best * 1e-9);
            fflush(stdout);
        }
        kc_free(&tile);
        kc_free(&packed);
    }
}
