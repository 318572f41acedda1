/* SPDX-License-Identifier: Apache-2.0
 *
 * Rates of decoding planes, and of multiplying one row with them: of every level, from memory (a stream far larger than caches,
 * read once) and in cache (a few blocks again and again), beside what one core reads and copies in the same run.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "codec/coding.h"
#include "kcheck.h"
#include "sys/cpu.h"

enum {
    BLOCKS = 4096, TILE_BLOCKS = 64, TILES = BLOCKS / TILE_BLOCKS,
    CACHED = 16,           /* blocks of up to 22 KiB: second cache */
    COLS = 256, PANELS = 4, /* of a block's product */
    RUNS = 7,
};

/* Weights of standard deviation 1, and what steps of whole numbers of theirs are as wide as. */
static const struct format {
    const char *name;
    float step; /* 0: BF16 */
} FORMATS[] = {{"bf16", 0}, {"q8", 0.03f}, {"q4", 0.3f}};

struct stream {
    struct kc_buffer values, tiles;
    size_t at[TILES + 1]; /* of the tiles */
    double bits;          /* a weight */
};

static uint16_t value_of(struct kc *k, const struct format *f, size_t i) {
    if (f->step == 0) {
        return kc_weight(k, 0.02f * (1.0f + (float)(i / 4096 % 3)));
    }
    float sum = 0;
    for (int n = 0; n < 12; n++) { /* nearly normal: twelve of variance 1/3, halved */
        sum += kc_uniform(k);
    }
    const float whole = rintf(sum / 2 / f->step);
    uint32_t bits;
    memcpy(&bits, &whole, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static void stream_make(struct stream *s, const struct format *f) {
    static struct planes_scratch scratch;
    static uint32_t count[TILE_BLOCKS];
    struct kc k = {.random = 1};
    const size_t tile_values = (size_t)TILE_BLOCKS * PLANES_BLOCK;
    enum planes_kind kind = PLANES_BF16;
    s->values = kc_alloc_huge((size_t)BLOCKS * PLANES_BLOCK * 2);
    s->tiles = kc_alloc_huge(TILES * planes_bound(PLANES_BF16, tile_values, TILE_BLOCKS));
    for (uint32_t b = 0; b < TILE_BLOCKS; b++) {
        count[b] = PLANES_BLOCK;
    }
    uint16_t *values = (uint16_t *)s->values.p;
    for (size_t i = 0; i < tile_values * 4; i++) {
        values[i] = value_of(&k, f, i);
    }
    for (size_t t = 4; t < TILES; t++) {
        memcpy(values + t * tile_values, values + t % 4 * tile_values, tile_values * 2);
    }
    if (f->step != 0) {
        uint64_t bits = 0;
        kind = planes_best_whole(values, tile_values, &scratch, &bits);
    }
    for (size_t t = 0; t < TILES; t++) {
        uint8_t *tile = (uint8_t *)s->tiles.p + s->at[t];
        s->at[t + 1] = s->at[t] + planes_encode(kind, values + t * tile_values, count, TILE_BLOCKS, &scratch, tile);
    }
    s->bits = 8.0 * (double)s->at[TILES] / ((double)BLOCKS * PLANES_BLOCK);
}

/* What is done with a block of the stream. False: it makes no sense. */
struct work {
    const struct stream *s;
    planes_decode_fn *decode;
    planes_multiply_fn *multiply;
    const float *row;
    uint8_t *out;
    uint32_t blocks; /* of the stream, or of the cache */
    bool cached;
};

static bool do_block(const struct work *w, uint32_t block) {
    const size_t tile = w->cached ? 0 : block / TILE_BLOCKS;
    const uint32_t inside = block % (w->cached ? CACHED : TILE_BLOCKS);
    const uint8_t *bytes = (const uint8_t *)w->s->tiles.p + w->s->at[tile];
    const size_t len = w->s->at[tile + 1] - w->s->at[tile];
    if (w->multiply == NULL) {
        return w->decode(bytes, len, inside, PLANES_BLOCK, w->out);
    }
    float y[PANELS * 16];
    const struct planes_product p = {.tile = bytes, .len = len, .block = inside, .panels = PANELS, .cols = COLS, .x = w->row,
                                     .y = y};
    return w->multiply(&p);
}

/* Gweights/s: the best of some runs, in processor time of this thread. */
static double rate_of(const struct work *w) {
    double best = 0;
    for (int run = 0; run < RUNS; run++) {
        const uint64_t start = kc_thread_ns();
        for (uint32_t b = 0; b < w->blocks; b++) {
            if (!do_block(w, b)) {
                return 0;
            }
        }
        const double rate = (double)w->blocks * PLANES_BLOCK / (double)(kc_thread_ns() - start);
        best = rate > best ? rate : best;
    }
    return best;
}

/* GB/s of values copied from memory into the first cache. */
static double copy_rate(const struct stream *s, uint8_t *out) {
    double best = 0;
    for (int run = 0; run < RUNS; run++) {
        const uint64_t start = kc_thread_ns();
        for (size_t b = 0; b < BLOCKS; b++) {
            memcpy(out, (const uint8_t *)s->values.p + b * PLANES_BLOCK * 2, (size_t)PLANES_BLOCK * 2);
            __asm__ volatile("" : : "r"(out) : "memory");
        }
        const double rate = (double)BLOCKS * PLANES_BLOCK * 2 / (double)(kc_thread_ns() - start);
        best = rate > best ? rate : best;
    }
    return best;
}

/* Lines that bench/kernel_rate.py reads. */
static void say(const char *level, const char *doing, const struct format *f, struct work *w, double read, double copy) {
    w->cached = false;
    const double memory = rate_of(w);
    w->cached = true;
    const double cache = rate_of(w);
    printf("%-7s planes %-4s %5.2f bits %-8s %6.2f Gweights/s from memory (%.2f of reading's %.2f GB/s, %.2f of memcpy's %.2f), "
           "%.2f in cache\n", level, f->name, w->s->bits, doing, memory, memory * w->s->bits / 8 / read, read, 2 * memory / copy,
           copy, cache);
    fflush(stdout);
}

void kc_bench_planes(uint32_t cpu_flags) {
    static const struct {
        const char *name;
        uint32_t needs;
        uint32_t part; /* of the stream: slow ones get less */
        bool defines;
    } levels[] = {
        {"walk", 0, 32, true},
        {"scalar", 0, 4, false},
        {"avx2", SYS_CPU_AVX2, 1, false},
        {"avx512", SYS_CPU_AVX2 | SYS_CPU_AVX512 | SYS_CPU_AVX512_VBMI2, 1, false},
        {"neon", SYS_CPU_NEON, 1, false},
    };
    struct kc_buffer out = kc_alloc_huge((size_t)PLANES_BLOCK * 2);
    struct kc_buffer row = kc_alloc(COLS * sizeof(float));
    struct kc k = {.random = 2};
    kc_fill(&k, row.p, COLS, KC_PLAIN);
    for (size_t f = 0; f < ARRAY_LEN(FORMATS); f++) {
        struct stream s = {0};
        stream_make(&s, &FORMATS[f]);
        for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
            if ((cpu_flags & levels[l].needs) != levels[l].needs) {
                continue;
            }
            struct coding_table t;
            coding_table_init(&t, levels[l].needs);
            struct work w = {.s = &s, .decode = levels[l].defines ? planes_decode_portable : t.decode_planes, .row = row.p,
                             .out = out.p, .blocks = BLOCKS / levels[l].part};
            const double read = kc_read_gbs(s.values.p, s.values.bytes);
            const double copy = copy_rate(&s, out.p);
            say(levels[l].name, "decoded", &FORMATS[f], &w, read, copy);
            if (t.multiply_planes != NULL && !levels[l].defines) {
                w.multiply = t.multiply_planes;
                say(levels[l].name, "one row", &FORMATS[f], &w, read, copy);
            }
        }
        kc_free(&s.values);
        kc_free(&s.tiles);
    }
    kc_free(&out);
    kc_free(&row);
}
