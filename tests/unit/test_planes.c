/* SPDX-License-Identifier: Apache-2.0
 * Planes: what goes in comes out at every level of the machine, in as many bytes as promised; damaged tiles are refused or decode
 * to the same bytes everywhere. Tiles and outputs are of exactly their sizes, so that a sanitizer sees a step beyond. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "codec/coding.h"
#include "random_weights.h"
#include "sys/cpu.h"

static const uint32_t MASKS[] = {0, SYS_CPU_AVX2, SYS_CPU_AVX2 | SYS_CPU_AVX512,
                                 SYS_CPU_AVX2 | SYS_CPU_AVX512 | SYS_CPU_AVX512_VBMI2, SYS_CPU_NEON};
enum { LEVELS = ARRAY_LEN(MASKS) + 1 };
static planes_decode_fn *decoders[LEVELS]; /* the first is the definition */
static struct planes_scratch scratch;

static uint16_t bf16_of(double v) {
    const float f = (float)v;
    uint32_t bits = 0;
    memcpy(&bits, &f, sizeof(bits));
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static int find_decoders(void **state) {
    (void)state;
    decoders[0] = planes_decode_portable;
    for (size_t i = 0; i < ARRAY_LEN(MASKS); i++) {
        struct coding_table t;
        coding_table_init(&t, sys_cpu_flags() & MASKS[i]);
        decoders[i + 1] = t.decode_planes;
    }
    return 0;
}

/* ---- tiles ---- */

struct tile {
    enum planes_kind kind;
    uint32_t blocks;
    const uint32_t *count;
    uint8_t *bytes;
    size_t len;
};

static uint8_t *copy_of(const void *bytes, size_t len) {
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    return copy;
}

static struct tile encode(enum planes_kind kind, const void *values, const uint32_t *count, uint32_t blocks) {
    struct tile t = {.kind = kind, .blocks = blocks, .count = count};
    uint64_t all = 0;
    for (uint32_t b = 0; b < blocks; b++) {
        all += count[b];
    }
    const size_t bound = planes_bound(kind, all, blocks);
    const uint8_t *in = copy_of(values, (size_t)all * PLANES_FORM[kind].bytes);
    uint8_t *out = malloc(bound);
    assert_non_null(out);
    memset(out, 0xee, bound);
    t.len = planes_encode(kind, in, count, blocks, &scratch, out);
    assert_true(t.len <= bound && t.len % PLANES_UNIT == 0);
    t.bytes = copy_of(out, t.len);
    free(out);
    free((void *)(uintptr_t)in);
    return t;
}

/* Decodes at one level into memory of exactly the size promised; NULL when refused. */
static uint8_t *decode(size_t level, enum planes_kind kind, const uint8_t *tile, size_t len, uint32_t block, uint32_t count) {
    const size_t room = ((size_t)count + PLANES_UNIT - 1) / PLANES_UNIT * PLANES_UNIT * PLANES_FORM[kind].bytes;
    uint8_t *out = malloc(room > 0 ? room : 1);
    assert_non_null(out);
    memset(out, 0x55, room);
    if (!decoders[level](tile, len, block, count, out)) {
        free(out);
        return NULL;
    }
    return out;
}

static bool refused(const uint8_t *tile, size_t len, uint32_t block, uint32_t count) {
    size_t refusals = 0;
    uint8_t *exact = copy_of(tile, len);
    for (size_t l = 0; l < LEVELS; l++) {
        static uint8_t out[2 * (PLANES_BLOCK + PLANES_UNIT)];
        refusals += !decoders[l](exact, len, block, count, out);
    }
    free(exact);
    assert_true(refusals == 0 || refusals == LEVELS);
    return refusals != 0;
}

static size_t round_trip(enum planes_kind kind, const void *values, const uint32_t *count, uint32_t blocks) {
    struct tile t = encode(kind, values, count, blocks);
    for (size_t l = 0; l < LEVELS; l++) {
        const uint8_t *want = values;
        for (uint32_t b = 0; b < blocks; b++) {
            uint8_t *got = decode(l, kind, t.bytes, t.len, b, count[b]);
            const size_t bytes = (size_t)count[b] * PLANES_FORM[kind].bytes;
            assert_non_null(got);
            assert_memory_equal(got, want, bytes);
            want += bytes;
            free(got);
        }
    }
    free(t.bytes);
    return t.len;
}

/* Any number of values, in whole blocks and a short one. */
static size_t round_trip_all(enum planes_kind kind, const void *values, size_t all) {
    uint32_t count[128];
    uint32_t blocks = 0;
    for (; all > 0; blocks++) {
        assert_true(blocks < ARRAY_LEN(count));
        count[blocks] = all < PLANES_BLOCK ? (uint32_t)all : PLANES_BLOCK;
        all -= count[blocks];
    }
    return round_trip(kind, values, count, blocks);
}

/* ---- values ---- */

enum look { GAUSSIAN, CONSTANT, NOISE, EXPONENTS, FEW, LOOKS };

/* GAUSSIAN: weights; EXPONENTS: all of them in turn; FEW: mostly one, then all others more and more rarely. */
static void fill(enum planes_kind kind, enum look look, uint8_t *out, size_t n) {
    const struct planes_form *f = &PLANES_FORM[kind];
    const uint32_t constant = draw();
    for (size_t i = 0; i < n; i++) {
        const uint32_t low = draw() & ((UINT32_C(1) << f->fraction) - 1);
        const uint32_t sign = (draw() & 1) << (f->fraction + f->exponent);
        const uint32_t top = (UINT32_C(1) << f->exponent) - 1;
        uint32_t v = draw();
        if (look == GAUSSIAN) {
            const double size = fabs(draw_normal()) + 1e-9;
            const int e = (int)(top / 2) + (int)floor(log2(size)) - 3;
            v = low | sign | (uint32_t)(e < 0 ? 0 : e) << f->fraction;
        } else if (look == CONSTANT) {
            v = constant;
        } else if (look == EXPONENTS) {
            v = low | sign | ((uint32_t)i & top) << f->fraction;
        } else if (look == FEW) {
            uint32_t e = 0;
            for (uint32_t bits = draw(); e < 32 && (bits >> e & 1) != 0;) {
                e++;
            }
            v = low | sign | (e * 5 & top) << f->fraction;
        }
        if (planes_is_whole(kind)) {
            const int32_t range = 128 << f->fraction;
            const double near = draw_normal() * range / 8;
            const int32_t k = look == GAUSSIAN ? (int32_t)(near < -range ? -range : near > range - 1 ? range - 1 : near)
                                               : (int32_t)(v % (2 * (uint32_t)range)) - range;
            const float whole = (float)k;
            uint32_t bits = 0;
            memcpy(&bits, &whole, sizeof(bits));
            v = bits >> 16;
        }
        out[i * f->bytes] = (uint8_t)v;
        if (f->bytes == 2) {
            out[2 * i + 1] = (uint8_t)(v >> 8);
        }
    }
}

static void every_pattern_comes_back(void **state) {
    (void)state;
    static uint8_t all[2 * 65536];
    for (size_t i = 0; i < 65536; i++) {
        all[2 * i] = (uint8_t)i;
        all[2 * i + 1] = (uint8_t)(i >> 8);
    }
    round_trip_all(PLANES_BF16, all, 65536);
    round_trip_all(PLANES_F16, all, 65536);
    for (size_t i = 0; i < 65536; i++) { /* in another order, so that no block is of few exponents */
        const size_t at = (i * 40503) & 0xffff;
        all[2 * at] = (uint8_t)i;
        all[2 * at + 1] = (uint8_t)(i >> 8);
    }
    round_trip_all(PLANES_BF16, all, 65536);
    round_trip_all(PLANES_F16, all, 65536);
    for (size_t i = 0; i < 65536; i++) {
        all[i] = (uint8_t)(i % 256);
    }
    for (size_t n = 256; n <= 65536; n *= 16) {
        round_trip_all(PLANES_E4M3, all, n);
        round_trip_all(PLANES_E5M2, all, n);
        for (unsigned raw = 0; raw <= 5; raw++) {
            round_trip_all((enum planes_kind)(PLANES_BYTE_0 + raw), all, n);
        }
    }
}

static void values_of_every_look_come_back(void **state) {
    (void)state;
    static uint8_t values[2 * (3 * PLANES_BLOCK + 77)];
    for (int kind = 0; kind < PLANES_KINDS; kind++) {
        for (int look = 0; look < LOOKS; look++) {
            const size_t n = 3 * PLANES_BLOCK + 77;
            fill((enum planes_kind)kind, (enum look)look, values, n);
            const size_t len = round_trip_all((enum planes_kind)kind, values, n);
            const size_t plain = n * PLANES_FORM[kind].bytes;
            /* A sign and a fraction are left of what is constant; noise stays as it is. */
            assert_true(look != CONSTANT || len < plain);
            assert_true(look != NOISE || planes_is_whole((enum planes_kind)kind) || len >= plain * 99 / 100);
        }
    }
}

static void noise_is_stored_whole(void **state) {
    (void)state;
    static uint8_t values[2 * PLANES_BLOCK];
    const uint32_t count[] = {PLANES_BLOCK};
    fill(PLANES_BF16, NOISE, values, PLANES_BLOCK);
    struct tile t = encode(PLANES_BF16, values, count, 1);
    struct planes_block b;
    assert_true(planes_find(&b, t.bytes, t.len, 0, PLANES_BLOCK));
    assert_non_null(b.whole);
    assert_int_equal(t.bytes[PLANES_HEAD + 4] | t.bytes[PLANES_HEAD + 5] << 8, PLANES_PLAIN);
    assert_memory_equal(b.whole, values, sizeof(values));
    free(t.bytes);
}

static void short_blocks_come_back(void **state) {
    (void)state;
    static uint8_t values[2 * PLANES_BLOCK];
    for (uint32_t n = 1; n <= 304; n++) {
        const uint32_t count[] = {n <= 300 ? n : (const uint32_t[]){16383, 16384, 16321, 8193}[n - 301]};
        for (int kind = 0; kind < PLANES_KINDS; kind++) {
            for (int look = 0; look < LOOKS; look++) {
                fill((enum planes_kind)kind, (enum look)look, values, count[0]);
                round_trip((enum planes_kind)kind, values, count, 1);
            }
        }
    }
}

static void blocks_of_a_tile_differ_in_length(void **state) {
    (void)state;
    static const uint32_t count[] = {1, 16384, 255, 256, 257, 5000, 64, 16383, 65, 512, 3};
    static uint8_t values[2 * 40000];
    uint32_t all = 0;
    for (size_t i = 0; i < ARRAY_LEN(count); i++) {
        all += count[i];
    }
    assert_true(all <= 40000);
    for (int kind = 0; kind < PLANES_KINDS; kind++) {
        for (int look = 0; look < LOOKS; look++) {
            fill((enum planes_kind)kind, (enum look)look, values, all);
            round_trip((enum planes_kind)kind, values, count, ARRAY_LEN(count));
        }
    }
}

/* Some blocks whole, others not. */
static void noise_beside_weights_comes_back(void **state) {
    (void)state;
    static const uint32_t count[] = {16384, 16384, 1000, 16384, 100};
    static uint8_t values[2 * 50252];
    for (int kind = 0; kind < PLANES_KINDS; kind++) {
        uint8_t *at = values;
        for (size_t i = 0; i < ARRAY_LEN(count); i++) {
            fill((enum planes_kind)kind, i % 2 == 0 ? GAUSSIAN : NOISE, at, count[i]);
            at += (size_t)count[i] * PLANES_FORM[kind].bytes;
        }
        round_trip((enum planes_kind)kind, values, count, ARRAY_LEN(count));
    }
}

/* Rows of normal weights whose scales are log-normal: near the entropy of their exponents. */
static void weights_shrink_as_promised(void **state) {
    (void)state;
    enum { ROWS = 256, COLS = 4096, ALL = ROWS * COLS };
    uint16_t *w = malloc(ALL * sizeof(*w));
    double found[256] = {0};
    double entropy = 0;
    assert_non_null(w);
    for (size_t r = 0; r < ROWS; r++) {
        const double scale = 0.02 * exp(0.25 * draw_normal());
        for (size_t c = 0; c < COLS; c++) {
            w[r * COLS + c] = bf16_of(scale * draw_normal());
            found[w[r * COLS + c] >> 7 & 255] += 1;
        }
    }
    for (size_t i = 0; i < 256; i++) {
        entropy -= found[i] > 0 ? found[i] / ALL * log2(found[i] / ALL) : 0;
    }
    const double bits = 8.0 * (double)round_trip_all(PLANES_BF16, w, ALL) / ALL;
    print_message("%.3f bits per weight, entropy of the exponents %.3f + 8\n", bits, entropy);
    assert_true(bits <= 1.03 * (8 + entropy));
    assert_true(bits <= 10.95);
    free(w);
}

/* ---- damage ---- */

static struct tile small_tile(enum planes_kind kind, enum look look, const uint32_t *count, uint32_t blocks) {
    static uint8_t values[2 * 4096];
    uint32_t all = 0;
    for (uint32_t b = 0; b < blocks; b++) {
        all += count[b];
    }
    assert_true(all <= 4096);
    fill(kind, look, values, all);
    return encode(kind, values, count, blocks);
}

static void cut_tiles_are_refused(void **state) {
    (void)state;
    static const uint32_t count[] = {70, 300};
    for (int kind = 0; kind < PLANES_KINDS; kind++) {
        for (int look = 0; look < LOOKS; look++) {
            struct tile t = small_tile((enum planes_kind)kind, (enum look)look, count, 2);
            assert_false(refused(t.bytes, t.len, 1, count[1]));
            for (size_t len = 0; len < t.len; len++) {
                assert_true(refused(t.bytes, len, 1, count[1]));
            }
            free(t.bytes);
        }
    }
}

static void numbers_that_do_not_fit_are_refused(void **state) {
    (void)state;
    static uint8_t values[2 * 1000];
    const uint32_t count[] = {600, 400};
    fill(PLANES_BF16, GAUSSIAN, values, 999);
    for (size_t i = 0; i < 60; i++) { /* more exponents than tables hold: the last value is beyond all levels */
        values[2 * i + 1] = (uint8_t)(70 + i / 2);
        values[2 * i] = (uint8_t)(i % 2 << 7);
    }
    values[2 * 999] = 0xff;
    values[2 * 999 + 1] = 0x7f;
    struct tile t = encode(PLANES_BF16, values, count, 2);
    assert_false(refused(t.bytes, t.len, 0, 600));
    assert_false(refused(t.bytes, t.len, 1, 400));
    assert_true(refused(t.bytes, t.len, 1, 399));
    assert_true(refused(t.bytes, t.len, 1, 0));
    assert_true(refused(t.bytes, t.len, 1, PLANES_BLOCK + 1));
    assert_true(refused(t.bytes, t.len, 1, UINT32_MAX));
    assert_true(refused(t.bytes, t.len, 1, PLANES_BLOCK));
    assert_true(refused(t.bytes, t.len, 2, 400));
    assert_true(refused(t.bytes, t.len, UINT32_MAX, 400));
    free(t.bytes);
}

static void refuse_with(const struct tile *t, size_t at, uint8_t byte) {
    const uint8_t old = t->bytes[at];
    t->bytes[at] = byte;
    assert_true(refused(t->bytes, t->len, t->blocks - 1, t->count[t->blocks - 1]));
    t->bytes[at] = old;
}

static void bad_heads_are_refused(void **state) {
    (void)state;
    const uint32_t count[] = {500, 2000};
    struct tile t = small_tile(PLANES_BF16, GAUSSIAN, count, 2);
    const size_t entry = PLANES_HEAD + PLANES_ENTRY;
    assert_true(t.bytes[1] >= 2);
    assert_false(refused(t.bytes, t.len, 1, count[1]));
    refuse_with(&t, 0, PLANES_KINDS);
    refuse_with(&t, 0, 255);
    refuse_with(&t, 1, 0);
    refuse_with(&t, 1, PLANES_LEVELS + 1);
    refuse_with(&t, 2, 0);
    refuse_with(&t, 2, 3);
    refuse_with(&t, 3, 8);
    refuse_with(&t, 6, 1); /* blocks */
    refuse_with(&t, 7, 255);
    refuse_with(&t, entry + 2, 1); /* where the block begins */
    refuse_with(&t, entry + 3, 255);
    /* Numbers of values in levels: more than the level above has, more or less than it has codes for. */
    refuse_with(&t, entry + 5, 8);
    for (size_t l = 0; l < t.bytes[1]; l++) {
        refuse_with(&t, entry + 4 + 2 * l, (uint8_t)(t.bytes[entry + 4 + 2 * l] + 1));
        refuse_with(&t, entry + 4 + 2 * l, (uint8_t)(t.bytes[entry + 4 + 2 * l] - 1));
    }
    memset(t.bytes + 1, 4, 5); /* 4 levels of 15 symbols */
    assert_true(refused(t.bytes, t.len, 1, count[1]));
    free(t.bytes);
}

/* All levels say the same of the bytes, of any length. */
static void compare_levels(enum planes_kind kind, const uint8_t *bytes, size_t len, uint32_t block, uint32_t count) {
    uint8_t *tile = copy_of(bytes, len);
    uint8_t *want = decode(0, kind, tile, len, block, count);
    for (size_t l = 1; l < LEVELS; l++) {
        uint8_t *got = decode(l, kind, tile, len, block, count);
        assert_true((got == NULL) == (want == NULL));
        if (got != NULL) {
            assert_memory_equal(got, want, (size_t)count * PLANES_FORM[kind].bytes);
        }
        free(got);
    }
    free(want);
    free(tile);
}

static void garbage_is_read_within_its_length(void **state) {
    (void)state;
    enum { ROOM = 48 * 1024, RUNS = 4000 };
    uint8_t *bytes = malloc(ROOM);
    assert_non_null(bytes);
    for (size_t run = 0; run < RUNS; run++) {
        const size_t len = draw() % (draw() % 2 == 0 ? ROOM : 2048);
        const enum planes_kind kind = (enum planes_kind)(draw() % PLANES_KINDS);
        const uint32_t ones = draw() % 3 == 0 ? draw() : 0; /* many escapes */
        for (size_t i = 0; i < ROOM; i++) {
            bytes[i] = (uint8_t)(draw() | ones);
        }
        uint32_t count = 1 + draw() % PLANES_BLOCK;
        bytes[0] = (uint8_t)kind;
        bytes[1] = (uint8_t)(1 + draw() % 3);
        for (size_t l = 0; l < 3; l++) {
            bytes[2 + l] = draw() % 2 == 0 ? 2 : 4;
        }
        bytes[6] = 1;
        bytes[7] = 0;
        memset(bytes + PLANES_HEAD + 1, 0, 3);
        bytes[PLANES_HEAD] = (uint8_t)(draw() % 8);
        count = draw() % 4 == 0 ? 1 + count % 600 : count;
        uint32_t left = count;
        for (size_t l = 0; l < PLANES_LEVELS; l++) {
            left = draw() % (left + 1);
            bytes[PLANES_HEAD + 4 + 2 * l] = (uint8_t)left;
            bytes[PLANES_HEAD + 5 + 2 * l] = (uint8_t)(left >> 8);
        }
        compare_levels(kind, bytes, len, 0, count);
    }
    free(bytes);
}

static void damaged_tiles_decode_alike(void **state) {
    (void)state;
    static const uint32_t count[] = {900, 1, 2000};
    for (size_t run = 0; run < 3000; run++) {
        const enum planes_kind kind = (enum planes_kind)(run % PLANES_KINDS);
        struct tile t = small_tile(kind, (enum look)(run % LOOKS), count, 3);
        for (uint32_t n = draw() % 4; n < 4; n++) {
            const size_t at = draw() % 4 == 0 ? 1 + draw() % 140 : 1 + draw() % (t.len - 1); /* the kind says how large out is */
            t.bytes[at] = (uint8_t)(draw() % 2 == 0 ? draw() : t.bytes[at] ^ 1u << draw() % 8);
        }
        for (uint32_t b = 0; b < 3; b++) {
            compare_levels(kind, t.bytes, t.len, b, count[b]);
        }
        free(t.bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pattern_comes_back),
        cmocka_unit_test(values_of_every_look_come_back),
        cmocka_unit_test(noise_is_stored_whole),
        cmocka_unit_test(short_blocks_come_back),
        cmocka_unit_test(blocks_of_a_tile_differ_in_length),
        cmocka_unit_test(noise_beside_weights_comes_back),
        cmocka_unit_test(weights_shrink_as_promised),
        cmocka_unit_test(cut_tiles_are_refused),
        cmocka_unit_test(numbers_that_do_not_fit_are_refused),
        cmocka_unit_test(bad_heads_are_refused),
        cmocka_unit_test(garbage_is_read_within_its_length),
        cmocka_unit_test(damaged_tiles_decode_alike),
    };
    return cmocka_run_group_tests(tests, find_decoders, NULL);
}
