/* SPDX-License-Identifier: Apache-2.0
 *
 * Planes: every level's decoder against the portable one on random tiles, whole and damaged, between unreadable pages; and their
 * rates on a stream of weights that is decoded block by block into the same 32 KiB, beside memcpy's there.
 */
#include <stdio.h>
#include <string.h>

#include "codec/coding.h"
#include "kcheck.h"
#include "sys/cpu.h"

enum { MOST_BLOCKS = 4, ROUNDS = 96, RUNS = 7 };

/* Nearly normal, as weights are. */
uint16_t kc_weight(struct kc *k, float scale) {
    const float f = (kc_uniform(k) + kc_uniform(k) + kc_uniform(k) + kc_uniform(k)) * scale;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)(bits >> 16);
}

uint16_t kc_whole(struct kc *k, uint32_t raw, uint32_t look) {
    const int32_t range = 128 << raw;
    const float spread = look == 0 ? 1.0f : 0.1f;
    const float whole = (float)(int32_t)(kc_uniform(k) * spread * (float)(range - 1)); /* beyond 256 loses low bits below */
    uint32_t bits;
    memcpy(&bits, &whole, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static void fill_values(struct kc *k, enum planes_kind kind, uint8_t *values, size_t bytes) {
    const uint32_t look = kc_below(k, 4);
    const uint32_t mask = (uint32_t)kc_random(k);
    for (size_t i = 0; i + 2 <= bytes; i += 2) {
        const uint16_t v = planes_is_whole(kind) ? kc_whole(k, (uint32_t)(kind - PLANES_WHOLE_0), look)
                           : look == 0            ? (uint16_t)kc_random(k)
                                                  : kc_weight(k, look == 1 ? 0.02f : 1e-4f);
        values[i] = (uint8_t)v;
        values[i + 1] = (uint8_t)(v >> 8);
    }
    for (size_t i = 0; look == 3 && !planes_is_whole(kind) && i < bytes; i++) { /* bytes of few kinds, as FP8 has */
        values[i] = (uint8_t)((values[i] & mask) + 0x20);
    }
}

static void compare(struct kc *k, planes_decode_fn *decode, const struct kc_buffer *tile, uint32_t block, uint32_t count,
                    enum planes_kind kind, bool damaged) {
    const size_t bytes = PLANES_FORM[kind].bytes;
    struct kc_buffer want = kc_alloc((count + 63) / 64 * 64 * bytes);
    struct kc_buffer got = kc_alloc((count + 63) / 64 * 64 * bytes);
    const bool fine = planes_decode_portable(tile->p, tile->bytes, block, count, want.p);
    const bool ok = decode(tile->p, tile->bytes, block, count, got.p);
    kc_expect(k, ok == fine && (fine || damaged), "planes kind %d, block %u of %u values: %d, portable %d", (int)kind, block, count,
              ok, fine);
    if (ok && fine) {
        kc_same_bytes(k, want.p, got.p, count * bytes, "planes kind %d, block %u of %u values", (int)kind, block, count);
    }
    kc_free(&want);
    kc_free(&got);
}

void kc_check_planes(struct kc *k, uint32_t cpu_flags) {
    static struct planes_scratch scratch;
    struct coding_table t;
    struct coding_table plain;
    coding_table_init(&t, cpu_flags);
    coding_table_init(&plain, 0);
    kc_expect(k, (t.decode_planes == plain.decode_planes) == (cpu_flags == 0), "planes: a vector level has a decoder of its own");
    for (int round = 0; round < ROUNDS; round++) {
        const enum planes_kind kind = (enum planes_kind)(round % PLANES_KINDS);
        const uint32_t blocks = 1 + kc_below(k, MOST_BLOCKS);
        uint32_t count[MOST_BLOCKS];
        uint32_t all = 0;
        for (uint32_t b = 0; b < blocks; b++) {
            count[b] = 1 + kc_below(k, kc_below(k, 2) == 0 ? PLANES_BLOCK : 600);
            all += count[b];
        }
        struct kc_buffer values = kc_alloc((size_t)all * PLANES_FORM[kind].bytes);
        struct kc_buffer room = kc_alloc(planes_bound(kind, all, blocks));
        fill_values(k, kind, values.p, values.bytes);
        struct kc_buffer tile = kc_alloc(planes_encode(kind, values.p, count, blocks, &scratch, room.p));
        memcpy(tile.p, room.p, tile.bytes);
        for (uint32_t b = 0; b < blocks; b++) {
            compare(k, t.decode_planes, &tile, b, count[b], kind, false);
        }
        for (int damage = 0; damage < 4; damage++) { /* the first byte says how long values are */
            ((uint8_t *)tile.p)[1 + kc_below(k, (uint32_t)tile.bytes - 1)] ^= (uint8_t)(1 + kc_below(k, 255));
            const uint32_t b = kc_below(k, blocks);
            compare(k, t.decode_planes, &tile, b, count[b], kind, true);
        }
        kc_free(&values);
        kc_free(&room);
        kc_free(&tile);
    }
}

/* ---- rates ---- */

void kc_planes_stream_make(struct kc_planes_stream *s, struct kc *k) {
    static struct planes_scratch scratch;
    static uint32_t count[KC_STREAM_TILE];
    const size_t tile_values = (size_t)KC_STREAM_TILE * PLANES_BLOCK;
    s->values = kc_alloc((size_t)KC_STREAM_BLOCKS * PLANES_BLOCK * 2);
    s->tiles = kc_alloc(KC_STREAM_BLOCKS / KC_STREAM_TILE * planes_bound(PLANES_BF16, tile_values, KC_STREAM_TILE));
    for (uint32_t b = 0; b < KC_STREAM_TILE; b++) {
        count[b] = PLANES_BLOCK;
    }
    s->at[0] = 0;
    for (size_t tile = 0; tile < KC_STREAM_BLOCKS / KC_STREAM_TILE; tile++) {
        uint16_t *w = (uint16_t *)s->values.p + tile * tile_values;
        for (size_t i = 0; i < tile_values; i++) {
            w[i] = kc_weight(k, 0.02f * (1.0f + (float)(i / 4096 % 3)));
        }
        s->at[tile + 1] = s->at[tile] + planes_encode(PLANES_BF16, w, count, KC_STREAM_TILE, &scratch, (uint8_t *)s->tiles.p + s->at[tile]);
    }
}

void kc_planes_stream_free(struct kc_planes_stream *s) {
    kc_free(&s->values);
    kc_free(&s->tiles);
}

static double seconds_of_decoder(const struct kc_planes_stream *s, planes_decode_fn *decode, uint32_t blocks, uint8_t *out) {
    const uint64_t start = kc_thread_ns();
    for (uint32_t b = 0; b < blocks; b++) {
        const size_t tile = b / KC_STREAM_TILE;
        if (!decode((const uint8_t *)s->tiles.p + s->at[tile], s->at[tile + 1] - s->at[tile], b % KC_STREAM_TILE, PLANES_BLOCK, out)) {
            return 1e9;
        }
    }
    return (double)(kc_thread_ns() - start) * 1e-9;
}

static double seconds_of_memcpy(const struct kc_planes_stream *s, uint32_t blocks, uint8_t *out) {
    const uint64_t start = kc_thread_ns();
    for (uint32_t b = 0; b < blocks; b++) {
        memcpy(out, (const uint8_t *)s->values.p + (size_t)b * PLANES_BLOCK * 2, (size_t)PLANES_BLOCK * 2);
        __asm__ volatile("" : : "r"(out) : "memory");
    }
    return (double)(kc_thread_ns() - start) * 1e-9;
}

void kc_bench_planes(uint32_t cpu_flags) {
    static const struct {
        const char *name;
        uint32_t needs;
        bool defines; /* the portable decoder: far slower, so it gets a part of the stream */
    } levels[] = {
        {"walk", 0, true},
        {"scalar", 0, false},
        {"avx2", SYS_CPU_AVX2, false},
        {"avx512", SYS_CPU_AVX2 | SYS_CPU_AVX512 | SYS_CPU_AVX512_VBMI2, false},
        {"neon", SYS_CPU_NEON, false},
    };
    struct kc k = {.random = 1};
    struct kc_planes_stream s;
    struct kc_buffer out = kc_alloc((size_t)PLANES_BLOCK * 2);
    kc_planes_stream_make(&s, &k);
    const double bits = 8.0 * (double)s.at[KC_STREAM_BLOCKS / KC_STREAM_TILE] / ((double)KC_STREAM_BLOCKS * PLANES_BLOCK);
    for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
        if ((cpu_flags & levels[l].needs) != levels[l].needs) {
            continue;
        }
        const uint32_t blocks = levels[l].defines ? KC_STREAM_BLOCKS / 32 : KC_STREAM_BLOCKS;
        struct coding_table t;
        double best = 1e9;
        double copy = 1e9;
        coding_table_init(&t, levels[l].needs);
        planes_decode_fn *decode = levels[l].defines ? planes_decode_portable : t.decode_planes;
        for (int run = 0; run < RUNS; run++) {
            const double d = seconds_of_decoder(&s, decode, blocks, out.p);
            const double c = seconds_of_memcpy(&s, KC_STREAM_BLOCKS, out.p);
            best = d < best ? d : best;
            copy = c < copy ? c : copy;
        }
        const double gws = (double)blocks * PLANES_BLOCK / best * 1e-9;
        const double gbs = (double)KC_STREAM_BLOCKS * PLANES_BLOCK * 2 / copy * 1e-9;
        printf("%-7s planes BF16, %.2f bits %8.2f Gweights/s, %.2f GB/s read, %.2f GB/s made (%3.0f%% of memcpy's %.2f)\n", levels[l].name,
               bits, gws, gws * bits / 8, 2 * gws, 200 * gws / gbs, gbs);
        fflush(stdout);
    }
    kc_planes_stream_free(&s);
    kc_free(&out);
}
