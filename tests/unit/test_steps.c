/* SPDX-License-Identifier: Apache-2.0
 * Whole steps: names of codecs, rates that come out as asked, rows of every type rounded in place to the nearest that their scale
 * allows, and the kind of planes that takes the fewest bytes. Rows are of exactly their sizes, so that a sanitizer sees a step
 * beyond. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/floats.h"
#include "codec/steps.h"
#include "random_weights.h"

static struct planes_scratch scratch;

/* Student's t of 5 degrees of freedom, of variance 1: tails as heavy as trained rows have them. */
static double draw_t5(void) {
    double chi = 0;
    for (int i = 0; i < 5; i++) {
        const double x = draw_normal();
        chi += x * x;
    }
    return draw_normal() / sqrt(chi / 5) * sqrt(3.0 / 5.0);
}

static void *take(size_t bytes) {
    void *p = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(p);
    return p;
}

static uint16_t bf16_of(float f) {
    uint32_t bits = 0;
    memcpy(&bits, &f, sizeof(bits));
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* The nearest F16 of a number, found by trying: the test has no other use for one. */
static uint16_t f16_of(double v) {
    uint16_t low = 0;
    uint16_t high = 0x7bff;
    while (high - low > 1) {
        const uint16_t middle = (uint16_t)((low + high) / 2);
        const uint8_t at[2] = {(uint8_t)middle, (uint8_t)(middle >> 8)};
        if ((double)float_of_f16(at) <= fabs(v)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return (uint16_t)(low | (v < 0 ? 0x8000 : 0));
}

static void put(uint8_t *at, enum kern_dtype t, double v) {
    const float f = (float)v;
    uint32_t bits = 0;
    memcpy(&bits, &f, sizeof(bits));
    bits = t == KERN_BF16 ? bf16_of(f) : t == KERN_F16 ? f16_of(v) : bits;
    for (size_t i = 0; i < kern_dtype_bytes(t); i++) {
        at[i] = (uint8_t)(bits >> 8 * i);
    }
}

static double get(const uint8_t *at, enum kern_dtype t) {
    return (double)(t == KERN_F32 ? float_of_f32(at) : t == KERN_F16 ? float_of_f16(at) : float_of_bf16(at));
}

/* ---- codecs ---- */

static void test_codecs(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double bits;
    } rates[] = {{"q2.00", 2}, {"q2.01", 2.01}, {"q3.50", 3.5}, {"q7.99", 7.99}, {"q8.00", 8}};
    static const char *const none[] = {"",      "q",     "q1.99", "q8.01",  "q9.00", "q0.00", "q3.5",  "q4.000", "q5",    "q16", "Q4",
                                       "q4 ",   " q4",   "q+3.5", "q-3.50", "q3,50", "q3.5x", "qx.50", "q2.0 ",  "3.50",  "raw",
                                       "planes", "q8.0", "q80.0", "p3.50",  "q3.:0"};
    struct steps_dial d;
    assert_true(steps_of_codec("q8", &d) && d.bits <= 0 && d.step > 0);
    const double fine = d.step;
    assert_float_equal(steps_likely_bits(&d), 7.3, 1e-9);
    assert_true(steps_of_codec("q4", &d) && d.bits <= 0 && d.step > fine);
    assert_float_equal(steps_likely_bits(&d), 4.2, 1e-9);
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        assert_true(steps_of_codec(rates[i].name, &d) && d.step <= 0);
        assert_float_equal(d.bits, rates[i].bits, 1e-9);
        assert_float_equal(steps_likely_bits(&d), rates[i].bits, 1e-9);
    }
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        if (steps_of_codec(none[i], &d)) {
            fail_msg("\"%s\" is taken for a codec of steps", none[i]);
        }
    }
}

/* ---- rates ---- */

enum { RATE_ROWS = 256, RATE_COLS = 2048 };

/* Bits a weight of a tile of these rows, coded in blocks as the store's are large. */
static double bits_of(uint8_t *rows, enum kern_dtype t, double step) {
    enum { BLOCKS = RATE_ROWS * RATE_COLS / PLANES_BLOCK };
    static uint16_t scale[RATE_ROWS];
    uint32_t count[BLOCKS];
    uint64_t likely = 0;
    struct steps_rows r = {.rows = rows, .stride = RATE_COLS * kern_dtype_bytes(t), .count = RATE_ROWS, .cols = RATE_COLS, .dtype = t};
    assert_true(steps_round(&r, step, scale));
    for (size_t i = 0; i < BLOCKS; i++) {
        count[i] = PLANES_BLOCK;
    }
    const enum planes_kind kind = planes_best_whole(rows, RATE_ROWS * RATE_COLS, &scratch, &likely);
    uint8_t *out = take(planes_bound(kind, RATE_ROWS * RATE_COLS, BLOCKS));
    const size_t bytes = planes_encode(kind, rows, count, BLOCKS, &scratch, out) + sizeof(scale);
    free(out);
    return 8.0 * (double)bytes / (RATE_ROWS * RATE_COLS);
}

/* least: the first level has two bits for every value, whatever the step; this and what goes on is where rates end. */
static void check_rates(double (*spread)(void), enum kern_dtype t, double least) {
    const size_t bytes = (size_t)RATE_ROWS * RATE_COLS * kern_dtype_bytes(t);
    uint8_t *source = take(bytes);
    uint8_t *rows = take(bytes);
    for (size_t i = 0; i < (size_t)RATE_ROWS * RATE_COLS; i++) {
        put(source + i * kern_dtype_bytes(t), t, spread() * 0.02 * (1.0 + (double)(i / RATE_COLS % 7)));
    }
    struct steps_rows r = {.rows = source, .stride = RATE_COLS * kern_dtype_bytes(t), .count = RATE_ROWS, .cols = RATE_COLS, .dtype = t};
    double before = 3;
    for (int hundredths = 200; hundredths <= 800; hundredths += 50) {
        const struct steps_dial d = {.bits = hundredths / 100.0};
        const double step = steps_choose(&d, &r, 0, &scratch);
        memcpy(rows, source, bytes);
        const double bits = bits_of(rows, t, step);
        if (bits < d.bits * 0.98 || bits > fmax(d.bits * 1.02, least) || step >= before) {
            fail_msg("%.3f bits for %.2f, steps of %.4f after %.4f", bits, d.bits, step, before);
        }
        before = step;
    }
    /* What is left over may be spent, and what is missing saved. */
    const struct steps_dial d = {.bits = 4};
    const double usual = steps_choose(&d, &r, 0, &scratch);
    assert_true(steps_choose(&d, &r, 0.25, &scratch) < usual && steps_choose(&d, &r, -0.25, &scratch) > usual);
    free(rows);
    free(source);
}

static void test_rates(void **state) {
    (void)state;
    check_rates(draw_normal, KERN_BF16, 2.05);
    check_rates(draw_normal, KERN_F32, 2.05);
    check_rates(draw_t5, KERN_BF16, 2.12);
    check_rates(draw_t5, KERN_F16, 2.12);
}

static void test_presets(void **state) {
    (void)state;
    uint8_t row[64] = {0};
    struct steps_rows r = {.rows = row, .stride = 64, .count = 1, .cols = 32, .dtype = KERN_BF16};
    static const char *const codecs[] = {"q8", "q4"};
    static const double most[] = {7.3, 4.2};
    for (size_t c = 0; c < ARRAY_LEN(codecs); c++) {
        struct steps_dial d;
        assert_true(steps_of_codec(codecs[c], &d));
        assert_true(fabs(steps_choose(&d, &r, 0.2, &scratch) - d.step) <= 0); /* whatever the rows are */
        uint8_t *rows = take((size_t)RATE_ROWS * RATE_COLS * 2);
        for (size_t i = 0; i < (size_t)RATE_ROWS * RATE_COLS; i++) {
            put(rows + 2 * i, KERN_BF16, draw_normal());
        }
        const double bits = bits_of(rows, KERN_BF16, d.step);
        free(rows);
        assert_true(bits <= most[c] && bits >= most[c] - 0.3);
    }
    memset(row, 0, sizeof(row)); /* rows of nothing have a step, too */
    assert_true(isfinite(steps_choose(&(struct steps_dial){.bits = 3}, &r, 0, &scratch)));
}

/* ---- rounding ---- */

/* Most that a number of steps may be from what it was rounded from: half, and half a unit of the last of 8 bits. */
static double slack(double steps) {
    double unit = 1;
    while (fabs(steps) >= 256 * unit) {
        unit *= 2;
    }
    return 0.5 + (unit > 1 ? unit / 2 : 0) + fabs(steps) * 0x1p-21 + 0x1p-20;
}

static void check_row(const double *want, const uint8_t *got, uint64_t cols, uint16_t scale, double step) {
    const double unit = (double)float_of_bits((uint32_t)scale << 16);
    double sum = 0;
    double most = 0;
    for (uint64_t c = 0; c < cols; c++) {
        sum += want[c] * want[c];
        most = fabs(want[c]) > most ? fabs(want[c]) : most;
    }
    const double wanted = fmax(step * sqrt(sum / (double)cols), most / 16256);
    assert_true(scale == 0 ? wanted < 1.01e-36 : isfinite(unit) && (fabs(unit / wanted - 1) < 0x1p-8 || wanted > 3.3e38));
    for (uint64_t c = 0; c < cols; c++) {
        const double k = (double)float_of_bf16(got + 2 * c);
        assert_true(fabs(k) <= PLANES_MOST_WHOLE - 1 && fabs(k - nearbyint(k)) <= 0);
        assert_false(got[2 * c] == 0 && got[2 * c + 1] == 0x80); /* no minus zero */
        if (scale == 0) {
            assert_true(fabs(k) <= 0);
        } else if (fabs(want[c] / unit - k) > slack(k)) {
            fail_msg("%g is not %g times %g", want[c], k, unit);
        }
    }
}

enum look { USUAL, OUTLIERS, ZEROS, TINY, HUGE_ONES, LOOKS };

static double value_of(enum look look, enum kern_dtype t, uint64_t c) {
    const double least = t == KERN_F16 ? 0x1p-24 : t == KERN_BF16 ? 0x1p-133 : 0x1p-149;
    const double largest = t == KERN_F16 ? 60000 : 3.3e38;
    switch (look) {
    case OUTLIERS:
        return c == 3 ? -500 * 0.03 : draw_normal() * 0.03;
    case ZEROS:
        return c % 2 != 0 ? -0.0 : 0.0;
    case TINY:
        return least * ((double)(c % 5) - 2);
    case HUGE_ONES:
        return largest * (c % 3 != 0 ? -1 : 1);
    default:
        return draw_normal() * 0.03;
    }
}

/* Rows of one look after the other, `more` bytes further apart than they are long. */
static void round_rows(enum kern_dtype t, uint64_t cols, uint64_t more, double step) {
    const size_t size = kern_dtype_bytes(t);
    const uint64_t stride = cols * size + more;
    const uint64_t count = LOOKS;
    uint8_t *rows = take((size_t)((count - 1) * stride + cols * size));
    double *want = take((size_t)(count * cols) * sizeof(*want));
    uint16_t *scale = take((size_t)count * sizeof(*scale));
    memset(rows, 0xff, (size_t)((count - 1) * stride + cols * size)); /* between rows there is NaN */
    for (uint64_t i = 0; i < count * cols; i++) {
        uint8_t *at = rows + i / cols * stride + i % cols * size;
        put(at, t, value_of((enum look)(i / cols), t, i % cols));
        want[i] = get(at, t);
    }
    struct steps_rows r = {.rows = rows, .stride = stride, .count = count, .cols = cols, .dtype = t};
    assert_true(steps_round(&r, step, scale));
    assert_true(r.rows == rows && r.stride == 2 * cols && r.dtype == KERN_BF16 && r.count == count && r.cols == cols);
    for (uint64_t i = 0; i < count; i++) {
        check_row(want + i * cols, rows + i * 2 * cols, cols, scale[i], step);
    }
    assert_int_equal(scale[ZEROS], 0);
    assert_true((scale[TINY] != 0) == (t == KERN_F16));
    free(scale);
    free(want);
    free(rows);
}

static void test_rounding(void **state) {
    (void)state;
    static const enum kern_dtype types[] = {KERN_BF16, KERN_F16, KERN_F32};
    static const uint64_t cols[] = {32, 33, 257, 1000, 70001};
    static const uint64_t more[] = {0, 1, 3, 8, 4097};
    static const double steps[] = {0.015, 0.0315, 0.27, 1.3, 2};
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        for (size_t i = 0; i < ARRAY_LEN(cols); i++) {
            for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
                round_rows(types[t], cols[i], more[(i + k) % ARRAY_LEN(more)], steps[k]);
            }
        }
    }
}

/* One value so much larger than all others that steps of its row are as many as there can be. */
static void test_largest(void **state) {
    (void)state;
    enum { COLS = 400000 };
    float *row = take(COLS * sizeof(*row));
    uint16_t scale = 0;
    for (size_t c = 0; c < COLS; c++) {
        row[c] = c == 77 ? -1.0f : c == 399999 ? 0.5f : 0.0f;
    }
    struct steps_rows r = {.rows = (uint8_t *)row, .stride = COLS * sizeof(*row), .count = 1, .cols = COLS, .dtype = KERN_F32};
    assert_true(steps_round(&r, 0.015, &scale));
    const double unit = (double)float_of_bits((uint32_t)scale << 16);
    const double k = (double)float_of_bf16(r.rows + (size_t)2 * 77);
    const double half = (double)float_of_bf16(r.rows + (size_t)2 * 399999);
    assert_true(k <= -16000 && k >= -PLANES_MOST_WHOLE);
    assert_true(fabs(k * unit + 1) < 0x1p-8 && fabs(half * unit - 0.5) < 0x1p-8);
    free(row);
}

static void test_not_finite(void **state) {
    (void)state;
    enum { COLS = 100, ROWS = 3 };
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < (size_t)3 * ARRAY_LEN(bad) * COLS; i++) {
        const enum kern_dtype t = (enum kern_dtype)(i % 3);
        const float value = bad[i / 3 % ARRAY_LEN(bad)];
        const size_t size = kern_dtype_bytes(t);
        const size_t where = (size_t)draw() % (ROWS * COLS);
        uint8_t rows[ROWS * COLS * 4] = {0};
        uint16_t scale[ROWS];
        uint32_t bits = 0;
        memcpy(&bits, &value, sizeof(bits));
        bits = t == KERN_F32 ? bits : t == KERN_BF16 ? bits >> 16 : (bits >> 16 & 0x8000) | (isnan(value) ? 0x7e00 : 0x7c00);
        for (size_t b = 0; b < size; b++) {
            rows[where * size + b] = (uint8_t)(bits >> 8 * b);
        }
        struct steps_rows r = {.rows = rows, .stride = COLS * size, .count = ROWS, .cols = COLS, .dtype = t};
        assert_true(steps_choose(&(struct steps_dial){.bits = 4}, &r, 0, &scratch) > 0); /* says nothing of them */
        assert_false(steps_round(&r, 0.1, scale));
    }
}

/* ---- kinds ---- */

static bool fits(const uint16_t *values, uint32_t count, uint32_t raw) {
    for (uint32_t i = 0; i < count; i++) {
        const double k = (double)float_of_bits((uint32_t)values[i] << 16);
        const double symbol = floor(k / (double)(1U << raw)) + 128;
        if (symbol < 0 || symbol > 255) {
            return false;
        }
    }
    return true;
}

/* The kind told codes them in no more bytes than any other, and decodes. */
static void check_kind(const uint16_t *values, uint32_t count) {
    uint64_t bits = 0;
    const enum planes_kind told = planes_best_whole(values, count, &scratch, &bits);
    uint8_t *out = take(planes_bound(PLANES_WHOLE_7, count, 1));
    uint8_t *back = take((size_t)(count + PLANES_UNIT) / PLANES_UNIT * PLANES_UNIT * 2);
    size_t least = SIZE_MAX;
    size_t of_told = 0;
    assert_true(told >= PLANES_WHOLE_0 && told <= PLANES_WHOLE_7 && fits(values, count, (uint32_t)(told - PLANES_WHOLE_0)));
    for (uint32_t raw = 0; raw <= 7; raw++) {
        if (!fits(values, count, raw)) {
            continue;
        }
        const enum planes_kind kind = (enum planes_kind)(PLANES_WHOLE_0 + raw);
        const size_t bytes = planes_encode(kind, values, &count, 1, &scratch, out);
        assert_true(planes_decode_portable(out, bytes, 0, count, back));
        assert_memory_equal(back, values, (size_t)count * 2);
        least = bytes < least ? bytes : least;
        of_told = kind == told ? bytes : of_told;
    }
    /* Units that are not full are not counted: one for each plane and level. Nor is that a block may keep its values as they are. */
    const bool coded = of_told < (size_t)count * 2;
    if (of_told > least + (size_t)4 * PLANES_UNIT || (coded && (double)bits > 8.0 * (double)of_told)) {
        fail_msg("%u values: kind %d has %zu bytes (%.0f told), the best has %zu", count, (int)told, of_told, (double)bits / 8, least);
    }
    free(back);
    free(out);
}

static void test_kinds(void **state) {
    (void)state;
    static const double spreads[] = {0.2, 0.7, 1.5, 4, 11, 30, 70, 200, 900, 4000};
    static uint16_t values[PLANES_BLOCK];
    bool seen[8] = {false};
    for (size_t s = 0; s < ARRAY_LEN(spreads); s++) {
        for (unsigned tails = 0; tails < 2; tails++) {
            for (size_t i = 0; i < PLANES_BLOCK; i++) {
                double k = nearbyint((tails != 0 ? draw_t5() : draw_normal()) * spreads[s]);
                k = k > 16256 ? 16256 : k < -16384 ? -16384 : k;
                values[i] = bf16_of((float)k == 0.0f ? 0.0f : (float)k);
            }
            check_kind(values, PLANES_BLOCK);
            check_kind(values, 1000 + draw() % 5000);
            uint64_t bits = 0;
            seen[planes_best_whole(values, PLANES_BLOCK, &scratch, &bits) - PLANES_WHOLE_0] = true;
        }
    }
    size_t kinds = 0;
    for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
        kinds += seen[i];
    }
    assert_true(kinds >= 6); /* two bits at once, or four and two, seldom pay */
}

/* The ends of what each kind has room for, one beyond them, and values all alike. */
static void test_ends(void **state) {
    (void)state;
    enum { COUNT = 640 };
    uint16_t values[COUNT];
    for (uint32_t raw = 0; raw <= 7; raw++) {
        const double low = -128.0 * (1U << raw);
        for (unsigned beyond = 0; beyond < (raw < 7 ? 2 : 1); beyond++) {
            const double top = 127.0 * (1U << raw); /* a number of 7 bits: BF16 has it */
            for (size_t i = 0; i < COUNT; i++) {
                const double k = i == 5 ? low : i == 600 ? top : i == 300 && beyond != 0 ? 2 * top : (double)(draw() % 3) - 1;
                values[i] = bf16_of((float)k);
            }
            assert_true(fits(values, COUNT, raw) == (beyond == 0));
            check_kind(values, COUNT);
        }
    }
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = bf16_of(-16384.0f);
    }
    check_kind(values, COUNT);
    memset(values, 0, sizeof(values));
    check_kind(values, COUNT);
    check_kind(values, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codecs),  cmocka_unit_test(test_rates),      cmocka_unit_test(test_presets),
        cmocka_unit_test(test_rounding), cmocka_unit_test(test_largest),   cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_kinds),   cmocka_unit_test(test_ends),
    };
    return cmocka_run_group_tests_name("steps", tests, NULL, NULL);
}
