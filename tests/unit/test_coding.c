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
#include "base/floats.h"
#include "codec/coding.h"
#include "sys/cpu.h"
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
            assert_true(isnan(float_of_e4m3((uint8_t)code)));
        } else {
            assert_true((double)float_of_e4m3((uint8_t)code) == value);
            assert_int_equal(signbit(float_of_e4m3((uint8_t)code)) != 0, code >> 7);
        }
    }
}

/* Kinds of groups, as checkpoints have them. */
static const struct groups KINDS[] = {
    {.bits = 8, .code = GROUPS_E4M3, .scale = GROUPS_F32, .group = 128},                           /* FP8 */
    {.bits = 4, .code = GROUPS_E2M1, .scale = GROUPS_E8M0, .group = 32},                           /* MXFP4 */
    {.bits = 4, .code = GROUPS_UINT, .scale = GROUPS_F16, .shift = GROUPS_ZERO, .group = 32},      /* GPTQ, AWQ */
    {.bits = 3, .code = GROUPS_UINT, .scale = GROUPS_F16, .shift = GROUPS_ZERO, .group = 32, .ordered = true},
    {.bits = 5, .code = GROUPS_UINT, .scale = GROUPS_BF16, .shift = GROUPS_MIDDLE, .group = 64},   /* compressed-tensors */
    {.bits = 6, .code = GROUPS_UINT, .scale = GROUPS_F32, .shift = GROUPS_MINIMUM, .group = 32},   /* MLX */
    {.bits = 8, .code = GROUPS_INT8, .scale = GROUPS_F32, .shift = GROUPS_OVER_127, .group = 32},  /* bitsandbytes, 8 bit */
    {.bits = 4, .code = GROUPS_E2M1, .scale = GROUPS_SCALE_E4M3, .shift = GROUPS_BY_GLOBAL, .group = 16}, /* NVFP4 */
    {.bits = 4, .code = GROUPS_TABLE, .scale = GROUPS_NESTED, .group = 64, .nested = 256, .phased = true}, /* bitsandbytes */
    {.bits = 4, .code = GROUPS_TABLE, .scale = GROUPS_F32, .group = 32},
    {.bits = 8, .code = GROUPS_E4M3, .scale = GROUPS_NESTED, .group = 32, .nested = 96}, /* FP8, each row with its place */
};
static const struct groups *kind;
static struct coding_table level;

static float number_from(const uint8_t *at) {
    float f = 0;
    memcpy(&f, at, sizeof(f));
    return f;
}

static unsigned bits_from(const uint8_t *stream, uint64_t index, unsigned bits) {
    unsigned v = 0;
    for (unsigned k = 0; k < bits; k++) {
        uint64_t bit = index * bits + k;
        v |= (unsigned)(stream[bit / 8] >> (bit % 8) & 1) << k;
    }
    return v;
}

/* By the definition in codec/groups.h, one weight at a time. */
static float group_value(const struct panel_shape *s, const uint8_t *tile, const uint8_t *record, uint64_t c) {
    const struct groups *g = &s->coded;
    uint64_t codes = (s->cols * g->bits + 7) / 8;
    uint64_t size = g->scale == GROUPS_F32 ? 4 : g->scale == GROUPS_F16 || g->scale == GROUPS_BF16 ? 2 : 1;
    const uint8_t *after = record + codes + groups_count(g, s->cols) * size;
    uint64_t runs = g->nested != 0 ? (s->cols + g->nested - 2) / g->nested + 1 : 0;
    uint64_t place = g->nested != 0 || g->phased ? load_le32(after + 4 * runs) : 0;
    const uint8_t *zeros = after + 4 * runs + (g->nested != 0 || g->phased ? 4 : 0);
    const uint8_t *table = tile + (g->ordered ? (s->cols * 2 + 3) / 4 * 4 : 0);
    const uint8_t *global = table + (g->code == GROUPS_TABLE ? 64 : 0);
    uint64_t group = g->ordered ? load_le16(tile + 2 * c) : (place % g->group + c) / g->group;
    const uint8_t *at = record + codes + group * size;
    float scale = g->scale == GROUPS_F32    ? number_from(at)
                  : g->scale == GROUPS_F16  ? float_of_f16(at)
                  : g->scale == GROUPS_BF16 ? float_of_bf16(at)
                  : g->scale == GROUPS_E8M0 ? ldexpf(1.0f, *at - 127)
                                            : float_of_e4m3(*at);
    if (g->scale == GROUPS_NESTED) {
        float product = number_from(global + 4 * (size_t)*at) * number_from(after + 4 * ((place + c) / g->nested));
        scale = product + number_from(global + 1024);
    }
    unsigned code = bits_from(record, c, g->bits);
    float worth = g->code == GROUPS_INT8   ? (float)(int8_t)code
                  : g->code == GROUPS_E4M3 ? float_of_e4m3((uint8_t)code)
                  : g->code == GROUPS_E2M1 ? float_of_e2m1((uint8_t)code)
                  : g->code == GROUPS_TABLE ? number_from(table + 4 * (size_t)code)
                                            : (float)code;
    float product = worth * scale;
    switch (g->shift) {
    case GROUPS_ZERO:
        return ((float)code - (float)bits_from(zeros, group, g->bits)) * scale;
    case GROUPS_MIDDLE:
        return ((float)code - (float)(1 << (g->bits - 1))) * scale;
    case GROUPS_MINIMUM:
        return product + number_from(zeros + 4 * group);
    case GROUPS_OVER_127:
        return product * (1.0f / 127.0f);
    case GROUPS_BY_GLOBAL:
        scale = scale / number_from(global);
        return worth * scale;
    default:
        return product;
    }
}

/* By decoding all of the row (test_quant.c says what a block holds). */
static float block_value(enum panel_coding coding, const uint8_t *record, uint64_t cols, uint64_t c) {
    static float row[1024];
    assert_true(cols <= ARRAY_LEN(row));
    struct coding_table portable;
    coding_table_init(&portable, 0);
    portable.decode_blocks(coding, record, cols / coding_block_len(coding), row);
    return row[c];
}

static void put_number(uint8_t *at) {
    float f = draw_float();
    memcpy(at, &f, sizeof(f));
}

/* Random codes, finite scales. */
static void fill_record(const struct panel_shape *s, uint8_t *record) {
    for (uint64_t i = 0; i < s->row_bytes; i++) {
        record[i] = (uint8_t)(draw() % 60); /* no NaN as a float16, whichever bytes are one */
    }
    if (s->coding != PANEL_GROUPS) {
        return;
    }
    const struct groups *g = &s->coded;
    struct groups_places p = groups_places_of(g, s->cols);
    for (uint64_t i = 0; g->scale == GROUPS_F32 && i < groups_count(g, s->cols); i++) {
        put_number(record + p.scales + 4 * i);
        if (g->shift == GROUPS_MINIMUM) {
            put_number(record + p.zeros + 4 * i);
        }
    }
    for (uint64_t i = 0; i < p.run_count; i++) {
        put_number(record + p.runs + 4 * i);
    }
    if (p.zeros != p.place) {
        const uint32_t place = (uint32_t)(draw() % (g->nested != 0 ? g->nested : g->group));
        store_le32(record + p.place, g->phased ? place : place / g->group * g->group);
    }
}

static void fill_lead(const struct panel_shape *s, uint8_t *lead) {
    for (uint64_t i = 0; i + 4 <= s->lead_bytes; i += 4) {
        put_number(lead + i);
    }
    for (uint64_t c = 0; s->coding == PANEL_GROUPS && s->coded.ordered && c < s->cols; c++) {
        lead[2 * c] = (uint8_t)(draw() % groups_count(&s->coded, s->cols));
        lead[2 * c + 1] = 0;
    }
}

static void check_block(enum panel_coding coding, const struct panel_shape *s, const struct panel_tile *t, const uint8_t *tile,
                        uint32_t group, uint32_t block) {
    static float out[KERN_BLOCK_PANELS * KERN_PANEL_ROWS * KERN_BLOCK_COLS];
    uint32_t cols = panel_block_cols(s, block);
    memset(out, 0xff, sizeof(out));
    level.decode_block(s, t, tile, group, block, out);
    for (uint32_t r = 0; r < panel_group_panels(s, group) * KERN_PANEL_ROWS; r++) {
        for (uint32_t c = 0; c < cols; c++) {
            uint64_t row = panel_group_row(s, group) + r;
            uint64_t col = (uint64_t)block * KERN_BLOCK_COLS + c;
            float got = out[(size_t)(r / 16) * cols * 16 + (size_t)(c / 2) * 32 + 2 * (size_t)(r % 16) + c % 2];
            const uint8_t *record = tile + s->lead_bytes + (row - t->row) * s->row_bytes;
            float want = row >= s->rows || col >= s->cols ? 0.0f
                         : coding == PANEL_GROUPS         ? group_value(s, tile, record, col)
                                                          : block_value(coding, record, s->cols, col);
            assert_true(got == want);
        }
    }
}

static void check_shape(const struct panel_shape *s) {
    uint8_t *rows = malloc(s->rows * s->row_bytes);
    uint64_t covered = 0;
    for (uint64_t r = 0; r < s->rows; r++) {
        fill_record(s, rows + r * s->row_bytes);
    }
    for (uint32_t tile = 0; tile < s->tiles; tile++) {
        struct panel_tile t;
        panel_tile_at(s, tile, &t);
        assert_int_equal((t.bytes - s->lead_bytes) % s->row_bytes, 0);
        covered += t.bytes - s->lead_bytes;
        uint8_t *packed = malloc(t.bytes);
        fill_lead(s, packed);
        panel_pack_tile(s, &t, rows + t.row * s->row_bytes, s->row_bytes, packed);
        for (uint32_t g = t.group; g < t.group + t.groups; g++) {
            for (uint32_t b = 0; b < s->col_blocks; b++) {
                check_block((enum panel_coding)s->coding, s, &t, packed, g, b);
            }
        }
        free(packed);
    }
    assert_int_equal(covered, s->rows * s->row_bytes);
    free(rows);
}

/* At every level that this machine has; without one it is the portable level again. */
static void check_levels(void) {
    static const uint64_t shapes[][2] = {{1, 32}, {64, 256}, {65, 320}, {200, 96}, {130, 544}, {70, 768}, {20, 133}};
    unsigned seen = 0;
    for (unsigned n = 2 * PANEL_GROUPS; n < 2 * (PANEL_CODINGS + ARRAY_LEN(KINDS)); n++) {
        enum panel_coding coding = n / 2 < PANEL_CODINGS ? (enum panel_coding)(n / 2) : PANEL_GROUPS;
        kind = &KINDS[n / 2 < PANEL_CODINGS ? 0 : n / 2 - PANEL_CODINGS];
        for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
            struct panel_shape s;
            uint64_t cols = shapes[i][1];
            if (panel_shape_init_coded(&s, shapes[i][0], cols, coding, kind, (enum panel_layout)(n % 2))) {
                check_shape(&s);
                seen++;
            } else {
                assert_true(coding == PANEL_GROUPS ? kind->group > cols : coding_block_row_bytes(coding, cols) == 0);
            }
        }
    }
    assert_true(seen > 200);
}

static void blocks_hold_the_values_of_their_records(void **state) {
    (void)state;
    static const uint32_t masks[] = {0, SYS_CPU_AVX2, SYS_CPU_AVX2 | SYS_CPU_AVX512};
    for (size_t i = 0; i < ARRAY_LEN(masks); i++) {
        coding_table_init(&level, sys_cpu_flags() & masks[i]);
        check_levels();
    }
}

static void groups_of_other_kinds_are_refused(void **state) {
    (void)state;
    struct groups g = KINDS[0];
    assert_true(groups_valid(&g, 128));
    g.bits = 7; /* of e4m3 */
    assert_false(groups_valid(&g, 128));
    g = KINDS[0];
    g.group = 0;
    assert_false(groups_valid(&g, 128));
    g = KINDS[2];
    g.code = GROUPS_INT8; /* with zero points */
    assert_false(groups_valid(&g, 128));
    g = KINDS[8];
    g.nested = 100; /* not whole groups */
    assert_false(groups_valid(&g, 128));
    g = KINDS[7];
    g.scale = GROUPS_F32; /* and a global one */
    assert_false(groups_valid(&g, 128));
}

static void types_have_names_and_back(void **state) {
    (void)state;
    struct panel_type type;
    struct panel_shape s;
    assert_true(panel_shape_init_coded(&s, 64, 64, PANEL_Q8_0, NULL, PANEL_BLOCKS));
    assert_string_equal(panel_type_name(&s), "Q8_0");
    assert_true(panel_type_of_name("BF16", 4, &type));
    assert_int_equal(type.coding, PANEL_PLAIN);
    assert_int_equal(type.packing, PANEL_AS_IS);
    assert_int_equal(type.dtype, KERN_BF16);
    assert_false(panel_type_of_name("", 0, &type));
    for (unsigned c = PANEL_GROUPS; c < PANEL_CODINGS; c++) {
        const char *name = coding_name((enum panel_coding)c);
        assert_true(strlen(name) > 0 && strlen(name) <= 8); /* a field of a store's file */
        assert_true(panel_type_of_name(name, strlen(name), &type));
        assert_int_equal(type.coding, c);
        assert_int_equal(type.packing, PANEL_AS_IS);
    }
    assert_false(panel_type_of_name("Q9_0", 4, &type));
    static const char *const packed[] = {"F32", "F16_PL", "BF16_PL"};
    static const enum kern_dtype of[] = {KERN_F32, KERN_F16, KERN_BF16};
    for (size_t i = 0; i < ARRAY_LEN(of); i++) { /* of 16 bits, in BLOCKS, and not too small */
        assert_true(panel_shape_init(&s, 128, 128, of[i], PANEL_BLOCKS));
        panel_shape_pack(&s);
        assert_string_equal(panel_type_name(&s), packed[i]);
        assert_true(panel_type_of_name(packed[i], strlen(packed[i]), &type));
        assert_int_equal(type.dtype, of[i]);
        assert_int_equal(type.packing, i > 0 ? PANEL_PLANES : PANEL_AS_IS);
        assert_true(panel_shape_init(&s, 128, 127, of[i], PANEL_BLOCKS));
        panel_shape_pack(&s);
        assert_int_equal(s.packing, PANEL_AS_IS);
        assert_true(panel_shape_init(&s, 128, 128, of[i], PANEL_GATHERED));
        panel_shape_pack(&s);
        assert_int_equal(s.packing, PANEL_AS_IS);
    }
    assert_false(panel_shape_init_coded(&s, 64, 64, PANEL_PLAIN, NULL, PANEL_BLOCKS));
    assert_false(panel_shape_init_coded(&s, 64, 64, PANEL_GROUPS, NULL, PANEL_BLOCKS));
    assert_false(panel_shape_init_coded(&s, 64, 1, PANEL_Q8_0, NULL, PANEL_BLOCKS)); /* whole blocks only */
    assert_false(panel_shape_init_coded(&s, 64, 128, PANEL_Q4_K, NULL, PANEL_BLOCKS));
    assert_false(panel_shape_init_coded(&s, 64, UINT64_C(1) << 20, PANEL_Q8_0, NULL, PANEL_BLOCKS)); /* 64 rows are no tile */
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
        cmocka_unit_test(groups_of_other_kinds_are_refused), cmocka_unit_test(types_have_names_and_back),
        cmocka_unit_test(the_recurrence_follows_its_definition),
        cmocka_unit_test(the_convolution_remembers_its_last_inputs),
        cmocka_unit_test(decays_stay_between_0_and_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
