/* SPDX-License-Identifier: Apache-2.0
 * Coded matrices against their formats' definitions, and linear attention against a recurrence in fp64. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/span.h"
#include "codec/coding.h"
#include "kern/kern.h"

static uint32_t random_state = 99;

static uint32_t draw(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static float draw_float(void) {
    return (float)(draw() % 2001) / 1000.0f - 1.0f;
}

/* ---- codes ---- */

static void fp8_is_e4m3fn(void **state) {
    (void)state;
    for (unsigned code = 0; code < 256; code++) {
        unsigned exponent = code >> 3 & 15;
        unsigned fraction = code & 7;
        double value = exponent == 0 ? ldexp(fraction, -9) : ldexp(8 + fraction, (int)exponent - 10);
        value = code & 128 ? -value : value;
        if (exponent == 15 && fraction == 7) {
            assert_true(isnan(coding_fp8((uint8_t)code)));
        } else {
            assert_true((double)coding_fp8((uint8_t)code) == value);
            assert_int_equal(signbit(coding_fp8((uint8_t)code)) != 0, code >> 7);
        }
    }
}

static float mxfp4_value(const uint8_t *record, uint64_t cols, uint64_t c) {
    static const float values[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    unsigned code = record[c / 2] >> (c % 2 * 4) & 15;
    float f = ldexpf(values[code & 7], record[cols / 2 + c / 32] - 127);
    return code & 8 ? -f : f;
}

static float fp8_value(const uint8_t *record, uint64_t cols, uint64_t c) {
    uint32_t bits = load_le32(record + cols + c / 128 * 4);
    float scale = 0;
    memcpy(&scale, &bits, sizeof(scale));
    return coding_fp8(record[c]) * scale;
}

/* Random finite codes and scales. */
static void fill_record(enum panel_coding coding, uint8_t *record, uint64_t cols) {
    for (uint64_t i = 0; i < coding_row_bytes(coding, cols); i++) {
        record[i] = (uint8_t)(draw() % 120);
    }
    for (uint64_t g = 0; coding == PANEL_FP8 && g < (cols + 127) / 128; g++) {
        float scale = draw_float();
        uint32_t bits = 0;
        memcpy(&bits, &scale, sizeof(bits));
        store_le32(record + cols + g * 4, bits);
    }
}

static void check_block(enum panel_coding coding, const struct panel_shape *s, const struct panel_tile *t, const uint8_t *tile,
                        uint32_t group, uint32_t block) {
    static float out[KERN_BLOCK_PANELS * KERN_PANEL_ROWS * KERN_BLOCK_COLS];
    uint32_t cols = panel_block_cols(s, block);
    memset(out, 0xff, sizeof(out));
    coding_decode_block(s, t, tile, group, block, out);
    for (uint32_t r = 0; r < panel_group_panels(s, group) * KERN_PANEL_ROWS; r++) {
        for (uint32_t c = 0; c < cols; c++) {
            uint64_t row = (uint64_t)group * 64 + r;
            uint64_t col = (uint64_t)block * KERN_BLOCK_COLS + c;
            float got = out[(size_t)(r / 16) * cols * 16 + (size_t)(c / 2) * 32 + 2 * (size_t)(r % 16) + c % 2];
            const uint8_t *record = tile + (row - t->row) * s->row_bytes;
            float want = row >= s->rows || col >= s->cols ? 0.0f
                         : coding == PANEL_FP8            ? fp8_value(record, s->cols, col)
                                                          : mxfp4_value(record, s->cols, col);
            assert_true(got == want);
        }
    }
}

static void blocks_hold_the_values_of_their_records(void **state) {
    (void)state;
    static const uint64_t shapes[][2] = {{1, 32}, {64, 256}, {65, 320}, {200, 96}, {130, 544}};
    for (unsigned coding = PANEL_FP8; coding < PANEL_CODINGS; coding++) {
        for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
            struct panel_shape s;
            assert_true(panel_shape_init_coded(&s, shapes[i][0], shapes[i][1], (enum panel_coding)coding));
            uint8_t *rows = malloc(s.rows * s.row_bytes);
            for (uint64_t r = 0; r < s.rows; r++) {
                fill_record((enum panel_coding)coding, rows + r * s.row_bytes, s.cols);
            }
            uint64_t covered = 0;
            for (uint32_t tile = 0; tile < s.tiles; tile++) {
                struct panel_tile t;
                panel_tile_at(&s, tile, &t);
                assert_int_equal(t.bytes % s.row_bytes, 0);
                covered += t.bytes;
                uint8_t *packed = malloc(t.bytes);
                panel_pack_tile(&s, &t, rows + t.row * s.row_bytes, s.row_bytes, packed);
                for (uint32_t g = t.group; g < t.group + t.groups; g++) {
                    for (uint32_t b = 0; b < s.col_blocks; b++) {
                        check_block((enum panel_coding)coding, &s, &t, packed, g, b);
                    }
                }
                free(packed);
            }
            assert_int_equal(covered, s.rows * s.row_bytes);
            free(rows);
        }
    }
}

static void types_have_names_and_back(void **state) {
    (void)state;
    enum kern_dtype dtype = KERN_F32;
    enum panel_coding coding = PANEL_PLAIN;
    struct panel_shape s;
    assert_true(panel_shape_init_coded(&s, 64, 64, PANEL_MXFP4));
    assert_string_equal(panel_type_name(&s), "MXFP4");
    assert_true(panel_type_of_name("FP8", 3, &dtype, &coding));
    assert_int_equal(coding, PANEL_FP8);
    assert_true(panel_type_of_name("BF16", 4, &dtype, &coding));
    assert_int_equal(coding, PANEL_PLAIN);
    assert_int_equal(dtype, KERN_BF16);
    assert_false(panel_type_of_name("", 0, &dtype, &coding));
    assert_false(panel_type_of_name("FP9", 3, &dtype, &coding));
    assert_false(panel_shape_init_coded(&s, 64, 64, PANEL_PLAIN));
    assert_false(panel_shape_init_coded(&s, 64, 1, PANEL_MXFP4)); /* whole groups of 32 only */
    assert_false(panel_shape_init_coded(&s, 64, 48, PANEL_MXFP4));
    assert_false(panel_shape_init_coded(&s, 64, UINT64_C(1) << 20, PANEL_FP8)); /* 64 rows are no tile */
}

/* ---- linear attention ---- */

enum { K = 24, V = 20, TAPS = 4, STEPS = 50 };

static void the_recurrence_follows_its_definition(void **state) {
    (void)state;
    struct kern_table t;
    float s[K * V] = {0};
    double want[K][V] = {{0}};
    kern_table_init(&t, UINT32_MAX);
    for (int step = 0; step < STEPS; step++) {
        float q[K], k[K], decay[K], v[V], out[V];
        for (int i = 0; i < K; i++) {
            q[i] = draw_float();
            k[i] = draw_float() * 0.3f;
            decay[i] = 0.5f + (float)(draw() % 500) / 1000.0f;
        }
        for (int j = 0; j < V; j++) {
            v[j] = draw_float();
        }
        struct kern_delta d = {.state = s, .q = q, .k = k, .decay = decay, .v = v, .out = out, .beta = 0.7f, .k_dim = K, .v_dim = V};
        t.delta_step(&d);
        for (int j = 0; j < V; j++) {
            double kept = 0;
            double got = 0;
            for (int i = 0; i < K; i++) {
                want[i][j] *= (double)decay[i];
                kept += (double)k[i] * want[i][j];
            }
            for (int i = 0; i < K; i++) {
                want[i][j] += (double)k[i] * (double)d.beta * ((double)v[j] - kept);
                got += (double)q[i] * want[i][j];
            }
            assert_true(fabs(got - (double)out[j]) < 1e-4);
        }
    }
}

static void the_convolution_remembers_its_last_inputs(void **state) {
    (void)state;
    enum { N = 7 };
    struct kern_table t;
    float history[(TAPS - 1) * N] = {0};
    float w[N * TAPS], inputs[STEPS][N];
    kern_table_init(&t, UINT32_MAX);
    for (int i = 0; i < N * TAPS; i++) {
        w[i] = draw_float();
    }
    for (int step = 0; step < STEPS; step++) {
        float out[N];
        for (int i = 0; i < N; i++) {
            inputs[step][i] = draw_float();
        }
        struct kern_conv c = {.out = out, .x = inputs[step], .history = history, .w = w, .channels = N, .taps = TAPS};
        t.conv_step(&c);
        for (int i = 0; i < N; i++) {
            double sum = 0;
            for (int tap = 0; tap < TAPS; tap++) {
                int at = step - (TAPS - 1) + tap;
                sum += at >= 0 ? (double)w[i * TAPS + tap] * (double)inputs[at][i] : 0.0;
            }
            assert_true(fabs(sum / (1.0 + exp(-sum)) - (double)out[i]) < 1e-5);
        }
    }
}

static void decays_stay_between_0_and_1(void **state) {
    (void)state;
    static const float x[] = {-1e30f, -200.0f, -30.0f, -1.0f, 0.0f, 0.5f, 30.0f, 45.0f, 200.0f, 1e30f};
    const float bias[ARRAY_LEN(x)] = {0};
    float out[ARRAY_LEN(x)];
    struct kern_table t;
    kern_table_init(&t, UINT32_MAX);
    t.delta_decay(out, x, bias, ARRAY_LEN(x), 0.7f);
    for (size_t i = 0; i < ARRAY_LEN(x); i++) {
        double soft = (double)x[i] > 500 ? (double)x[i] : log1p(exp((double)x[i]));
        double want = exp(-exp((double)0.7f) * soft);
        assert_true(fabs(want - (double)out[i]) <= 1e-6 * want + 1e-30);
        assert_true(i == 0 || out[i] <= out[i - 1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fp8_is_e4m3fn),
        cmocka_unit_test(blocks_hold_the_values_of_their_records),
        cmocka_unit_test(types_have_names_and_back),
        cmocka_unit_test(the_recurrence_follows_its_definition),
        cmocka_unit_test(the_convolution_remembers_its_last_inputs),
        cmocka_unit_test(decays_stay_between_0_and_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
