/* SPDX-License-Identifier: Apache-2.0
 * Quantised matrices of several tensors: each layout is packed here bit by bit from random codes and must come out as the
 * formula says, bit for bit; shapes that do not belong together are refused. tools/store_values.py compares stores
 * with the libraries that write these formats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <math.h>

#include <cmocka.h>

#include "quant_values.h"

enum { ROWS = 64, COLS = 96, GROUP = 32, GROUPS = COLS / GROUP };

static struct lamina_error last;

/* Everything that a test may give a tensor, freed by test_end. */
static void *blocks[64];
static unsigned block_count;

static uint8_t *take(size_t len) {
    assert_true(block_count < 64);
    blocks[block_count] = calloc(1, len > 0 ? len : 1);
    assert_non_null(blocks[block_count]);
    return blocks[block_count++];
}

static int test_end(void **state) {
    (void)state;
    while (block_count > 0) {
        free(blocks[--block_count]);
    }
    return 0;
}

static struct quant_tensor tensor(const char *dtype, unsigned item_bytes, uint64_t a, uint64_t b) {
    struct quant_tensor t = {.dtype = dtype, .rank = b > 0 ? 2 : 1, .shape = {a, b}};
    size_t len = (size_t)(a * (b > 0 ? b : 1) * item_bytes);
    t.bytes = span_of(take(len), len);
    return t;
}

static uint8_t *bytes_of(const struct quant_tensor *t) {
    return (uint8_t *)(uintptr_t)t->bytes.ptr;
}

static uint32_t seed;

static uint32_t next_random(void) {
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

/* Code `index` of a stream of words that stand `stride` bytes apart, one bit after the other. */
static void put_code(uint8_t *base, size_t stride, size_t index, unsigned bits, unsigned code) {
    for (unsigned k = 0; k < bits; k++) {
        size_t bit = index * bits + k;
        base[bit / 32 * stride + bit % 32 / 8] |= (uint8_t)((code >> k & 1) << (bit % 8));
    }
}

/* Scales are small integers times 2^-5: exact in every data type. */
static float put_scale(struct quant_tensor *t, size_t index) {
    float f = (float)(1 + next_random() % 15) / 32.0f;
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    if (strcmp(t->dtype, "F32") == 0) {
        store_le32(bytes_of(t) + 4 * index, bits);
        return f;
    }
    uint32_t half = strcmp(t->dtype, "BF16") == 0 ? bits >> 16 : (bits >> 13 & 0x3ff) | ((bits >> 23) - 112) << 10;
    bytes_of(t)[2 * index] = (uint8_t)half;
    bytes_of(t)[2 * index + 1] = (uint8_t)(half >> 8);
    return f;
}

struct model {
    struct quant_source s;
    float expected[ROWS][COLS];
    unsigned codes[ROWS][COLS];
};

static struct model model;

static lamina_status open_matrix(struct quant_matrix *m) {
    last = (struct lamina_error){0};
    return quant_matrix_open(&model.s, m, &last);
}

static void expect_equal(void) {
    struct quant_matrix m;
    if (open_matrix(&m) != LAMINA_OK) {
        print_error("%s\n", last.message);
        fail();
    }
    assert_int_equal(m.rows, ROWS);
    assert_int_equal(m.cols, COLS);
    float *out = malloc(sizeof(model.expected));
    assert_non_null(out);
    assert_true(quant_values(&m, 0, ROWS, out));
    assert_memory_equal(out, model.expected, sizeof(model.expected));
    assert_true(quant_values(&m, 17, 3, out)); /* a part */
    assert_memory_equal(out, model.expected[17], 3 * sizeof(model.expected[0]));
    free(out);
}

static void expect_refused(lamina_status wanted, const char *words) {
    struct quant_matrix m;
    lamina_status got = open_matrix(&m);
    if (got != wanted || strstr(last.message, words) == NULL || strncmp(last.message, "w: ", 3) != 0) {
        print_error("status %d, \"%s\"; expected %d, \"%s\"\n", got, last.message, wanted, words);
        fail();
    }
}

static void begin(enum quant_method method, unsigned bits) {
    (void)test_end(NULL);
    seed = 1 + (uint32_t)method * 100 + bits;
    model.s = (struct quant_source){.name = "w", .method = method, .bits = bits};
    for (unsigned r = 0; r < ROWS; r++) {
        for (unsigned c = 0; c < COLS; c++) {
            model.codes[r][c] = next_random() % (1u << bits);
        }
    }
}

/* ---- integers in words ---- */

static size_t awq_nibble(size_t row) {
    static const unsigned order[8] = {0, 2, 4, 6, 1, 3, 5, 7}; /* nibble i is row order[i] of the eight */
    for (size_t i = 0; i < 8; i++) {
        if (order[i] == row % 8) {
            return row / 8 * 8 + i;
        }
    }
    return 0;
}

/* GPTQ and AWQ. stored_less: what is taken off a zero point when it is stored; fixed: -1, or every zero point. */
static void make_transposed(enum quant_method method, unsigned bits, const uint32_t *group_of, unsigned stored_less, int fixed) {
    bool awq = method == QUANT_AWQ;
    begin(method, bits);
    struct quant_source *s = &model.s;
    s->codes = awq ? tensor("I32", 4, COLS, ROWS / 8) : tensor("I32", 4, COLS * bits / 32, ROWS);
    s->scales = tensor("F16", 2, GROUPS, ROWS);
    s->zeros = tensor("I32", 4, GROUPS, ROWS * bits / 32);
    for (unsigned r = 0; r < ROWS; r++) {
        float scales[GROUPS];
        unsigned zeros[GROUPS];
        for (unsigned g = 0; g < GROUPS; g++) {
            scales[g] = put_scale(&s->scales, g * ROWS + r);
            zeros[g] = fixed >= 0 ? (unsigned)fixed : next_random() % (1u << bits);
            put_code(bytes_of(&s->zeros) + (size_t)g * ROWS * bits / 8, 4, awq ? awq_nibble(r) : r, bits, zeros[g] - stored_less);
        }
        for (unsigned c = 0; c < COLS; c++) {
            unsigned g = group_of != NULL ? group_of[c] : c / GROUP;
            model.expected[r][c] = (float)((int)model.codes[r][c] - (int)zeros[g]) * scales[g];
            if (awq) {
                put_code(bytes_of(&s->codes) + (size_t)c * ROWS / 2, 4, awq_nibble(r), 4, model.codes[r][c]);
            } else {
                put_code(bytes_of(&s->codes) + 4 * (size_t)r, 4 * (size_t)ROWS, c, bits, model.codes[r][c]);
            }
        }
    }
    if (group_of != NULL) {
        s->order = tensor("I32", 4, COLS, 0);
        for (unsigned c = 0; c < COLS; c++) {
            store_le32(bytes_of(&s->order) + 4 * (size_t)c, group_of[c]);
        }
    }
}

static void test_gptq(void **state) {
    (void)state;
    static const unsigned widths[] = {2, 3, 4, 8};
    uint32_t mixed[COLS];
    uint32_t plain[COLS];
    for (unsigned c = 0; c < COLS; c++) {
        mixed[c] = c * 7 % GROUPS;
        plain[c] = c / GROUP;
    }
    for (unsigned i = 0; i < 4; i++) {
        const uint32_t *const orders[] = {NULL, mixed, plain};
        for (unsigned k = 0; k < 3; k++) {
            make_transposed(QUANT_GPTQ, widths[i], orders[k], 1, -1);
            model.s.plus_one = true;
            expect_equal();
            make_transposed(QUANT_GPTQ, widths[i], orders[k], 0, -1);
            expect_equal();
        }
        /* Symmetric ones say with their values how zero points are stored, whatever the config says. */
        for (unsigned less = 0; less < 2; less++) {
            make_transposed(QUANT_GPTQ, widths[i], NULL, less, 1 << (widths[i] - 1));
            model.s.plus_one = less == 0;
            expect_equal();
        }
    }
}

static void test_awq(void **state) {
    (void)state;
    make_transposed(QUANT_AWQ, 4, NULL, 0, -1);
    expect_equal();
    model.s.group = GROUP;
    expect_equal();
    model.s.bits = 0; /* nothing else is known of AWQ */
    expect_equal();
    model.s.bits = 8;
    expect_refused(LAMINA_UNSUPPORTED, "codes of 8 bits");
}

/* PACKED and MLX: rows are streams. */
static void make_rows(enum quant_method method, unsigned bits, bool zeros, const char *dtype) {
    begin(method, bits);
    struct quant_source *s = &model.s;
    bool mlx = method == QUANT_MLX;
    s->codes = tensor(mlx ? "U32" : "I32", 4, ROWS, COLS * bits / 32);
    s->scales = tensor(dtype, strcmp(dtype, "F32") == 0 ? 4 : 2, ROWS, GROUPS);
    if (zeros) {
        s->zeros = mlx ? tensor(dtype, strcmp(dtype, "F32") == 0 ? 4 : 2, ROWS, GROUPS)
                       : tensor("I32", 4, ROWS * bits / 32, GROUPS);
    }
    for (unsigned r = 0; r < ROWS; r++) {
        for (unsigned g = 0; g < GROUPS; g++) {
            float scale = put_scale(&s->scales, r * GROUPS + g);
            float minimum = mlx ? put_scale(&s->zeros, r * GROUPS + g) : 0;
            unsigned zero = zeros ? next_random() % (1u << bits) : 1u << (bits - 1);
            if (zeros && !mlx) {
                put_code(bytes_of(&s->zeros) + 4 * (size_t)g, 4 * GROUPS, r, bits, zero);
            }
            for (unsigned c = g * GROUP; c < (g + 1) * GROUP; c++) {
                float product = (float)model.codes[r][c] * scale;
                model.expected[r][c] = mlx ? product + minimum : (float)((int)model.codes[r][c] - (int)zero) * scale;
                put_code(bytes_of(&s->codes) + (size_t)r * COLS * bits / 8, 4, c, bits, model.codes[r][c]);
            }
        }
    }
}

static void test_rows(void **state) {
    (void)state;
    static const char *const dtypes[] = {"F16", "BF16", "F32"};
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (unsigned k = 0; k < 3; k++) {
            make_rows(QUANT_PACKED, bits, false, dtypes[k]);
            expect_equal();
            make_rows(QUANT_PACKED, bits, true, dtypes[k]);
            expect_equal();
            if (bits != 7) {
                make_rows(QUANT_MLX, bits, true, dtypes[k]);
                expect_equal();
            }
        }
    }
    /* Columns that do not fill the last word, and groups that do not fill the last one. */
    make_rows(QUANT_PACKED, 4, false, "F32");
    model.s.cols = COLS - 5;
    model.s.group = GROUP;
    struct quant_matrix m;
    float row[COLS];
    assert_int_equal(open_matrix(&m), LAMINA_OK);
    assert_int_equal(m.cols, COLS - 5);
    assert_true(quant_values(&m, ROWS - 1, 1, row));
    assert_memory_equal(row, model.expected[ROWS - 1], (COLS - 5) * sizeof(float));
    /* An order that says nothing. */
    make_rows(QUANT_PACKED, 4, false, "F32");
    model.s.order = tensor("I32", 4, COLS, 0);
    memset(bytes_of(&model.s.order), 0xff, 4 * (size_t)COLS);
    expect_equal();
}

/* ---- floating-point codes ---- */

/* The value of e4m3fn and e5m2 from their definition. */
static float small_float(unsigned code, int digits, int bias) {
    int exponent = (int)(code & 0x7f) >> digits;
    int mantissa = (int)code & ((1 << digits) - 1);
    float f = exponent == 0 ? ldexpf((float)mantissa, 1 - bias - digits)
                            : ldexpf((float)(mantissa + (1 << digits)), exponent - bias - digits);
    return (code & 0x80) != 0 ? -f : f;
}

static void make_fp8(bool wide, unsigned block_rows, unsigned block_cols) {
    begin(QUANT_FP8, 8);
    struct quant_source *s = &model.s;
    uint64_t across = (COLS + block_cols - 1) / block_cols;
    float scales[ROWS * COLS];
    s->codes = tensor(wide ? "F8_E5M2" : "F8_E4M3", 1, ROWS, COLS);
    s->scales = tensor("F32", 4, (ROWS + block_rows - 1) / block_rows, across);
    s->block_rows = block_rows;
    s->block_cols = block_cols;
    for (size_t i = 0; i < s->scales.shape[0] * across; i++) {
        scales[i] = put_scale(&s->scales, i);
    }
    for (unsigned r = 0; r < ROWS; r++) {
        for (unsigned c = 0; c < COLS; c++) {
            unsigned code = model.codes[r][c] % 0x7c | (c & 1) << 7; /* without infinities and NaN */
            bytes_of(&s->codes)[r * COLS + c] = (uint8_t)code;
            model.expected[r][c] = small_float(code, wide ? 2 : 3, wide ? 15 : 7) * scales[r / block_rows * across + c / block_cols];
        }
    }
}

static void test_fp8(void **state) {
    (void)state;
    for (unsigned wide = 0; wide < 2; wide++) {
        make_fp8(wide, 48, 40); /* partial blocks at both ends */
        expect_equal();
        make_fp8(wide, 1, COLS);
        expect_equal();
        model.s.block_rows = model.s.block_cols = 0; /* [rows, 1]: a scale a row */
        expect_equal();
        model.s.scales.rank = 1;
        expect_equal();
        make_fp8(wide, ROWS, COLS);
        model.s.block_rows = 0;
        expect_equal();
        model.s.scales.rank = 0; /* a scalar */
        expect_equal();
    }
    /* What has no finite value. */
    struct quant_matrix m;
    float row[COLS];
    make_fp8(false, ROWS, COLS);
    memset(bytes_of(&model.s.codes), 0x7f, COLS);
    assert_int_equal(open_matrix(&m), LAMINA_OK);
    assert_true(quant_values(&m, 0, 1, row));
    assert_true(isnan(row[0]) && isnan(row[COLS - 1]));
    model.s.codes.dtype = "F8_E5M2";
    memset(bytes_of(&model.s.codes), 0xfc, COLS);
    assert_int_equal(open_matrix(&m), LAMINA_OK);
    assert_true(quant_values(&m, 0, 1, row));
    assert_true(isinf(row[0]) && row[0] < 0);
}

static const float e2m1[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

static void make_fp4(enum quant_method method, unsigned group) {
    begin(method, 4);
    struct quant_source *s = &model.s;
    s->codes = tensor("U8", 1, ROWS, COLS / 2);
    s->scales = tensor(method == QUANT_MXFP4 ? "U8" : "F8_E4M3", 1, ROWS, COLS / group);
    for (unsigned r = 0; r < ROWS; r++) {
        for (unsigned c = 0; c < COLS; c++) {
            uint8_t *scale = bytes_of(&s->scales) + (size_t)r * (COLS / group) + c / group;
            if (c % group == 0) {
                *scale = (uint8_t)(method == QUANT_MXFP4 ? next_random() % 250 : next_random() % 0x7f);
            }
            float value = (model.codes[r][c] & 8) != 0 ? -e2m1[model.codes[r][c] & 7] : e2m1[model.codes[r][c]];
            model.expected[r][c] = method == QUANT_MXFP4 ? ldexpf(value, *scale - 127) : value * (small_float(*scale, 3, 7) * 0.3f);
            put_code(bytes_of(&s->codes) + (size_t)r * COLS / 2, 4, c, 4, model.codes[r][c]);
        }
    }
}

static void test_fp4(void **state) {
    (void)state;
    make_fp4(QUANT_MXFP4, 32);
    expect_equal();
    model.s.scales.dtype = "F8_E8M0";
    expect_equal();
    /* The same as blocks of experts. */
    model.s.codes.rank = 4;
    uint64_t shape[4] = {2, ROWS / 2, COLS / 32, 16};
    memcpy(model.s.codes.shape, shape, sizeof(shape));
    model.s.scales.rank = 3;
    memcpy(model.s.scales.shape, shape, 3 * sizeof(shape[0]));
    expect_equal();
    model.s.codes.shape[3] = 8;
    model.s.codes.shape[2] = COLS / 16;
    expect_refused(LAMINA_DAMAGED, "16 bytes in each");
    /* 255 is no number. */
    struct quant_matrix m;
    float row[COLS];
    make_fp4(QUANT_MXFP4, 32);
    bytes_of(&model.s.scales)[0] = 255;
    assert_int_equal(open_matrix(&m), LAMINA_OK);
    assert_true(quant_values(&m, 0, 1, row));
    assert_true(isnan(row[0]) && isnan(row[31]) && !isnan(row[32]));

    make_fp4(QUANT_NVFP4, 16);
    expect_refused(LAMINA_DAMAGED, "global scales are missing");
    model.s.global = tensor("F32", 4, 1, 0);
    store_le32(bytes_of(&model.s.global), 0x3e99999a); /* 0.3 */
    expect_equal();
    model.s.divide = true;
    store_le32(bytes_of(&model.s.global), 0x3f000000);
    for (unsigned r = 0; r < ROWS; r++) {
        for (unsigned c = 0; c < COLS; c++) {
            float value = (model.codes[r][c] & 8) != 0 ? -e2m1[model.codes[r][c] & 7] : e2m1[model.codes[r][c]];
            float scale = small_float(model.s.scales.bytes.ptr[r * (COLS / 16) + c / 16], 3, 7);
            model.expected[r][c] = value * (scale / 0.5f);
        }
    }
    expect_equal();
}

static void test_int8(void **state) {
    (void)state;
    for (unsigned k = 0; k < 4; k++) {
        begin(k == 3 ? QUANT_BNB8 : QUANT_INT8, 8);
        struct quant_source *s = &model.s;
        s->codes = tensor("I8", 1, ROWS, COLS);
        s->scales = k == 0 ? tensor("F32", 4, ROWS, GROUPS) : k == 1 ? tensor("BF16", 2, 1, 0) : tensor("F32", 4, ROWS, 0);
        float scale = k == 1 ? put_scale(&s->scales, 0) : 0;
        for (unsigned r = 0; r < ROWS; r++) {
            for (unsigned c = 0; c < COLS; c++) {
                if (k == 0 && c % GROUP == 0) {
                    scale = put_scale(&s->scales, r * GROUPS + c / GROUP);
                } else if (k > 1 && c == 0) {
                    scale = put_scale(&s->scales, r);
                }
                bytes_of(&s->codes)[r * COLS + c] = (uint8_t)model.codes[r][c];
                float product = (float)(int8_t)model.codes[r][c] * scale;
                model.expected[r][c] = k == 3 ? product * 7.874015718698502e-3f : product;
            }
        }
        expect_equal();
    }
}

/* ---- what does not belong together ---- */

static void test_refusals(void **state) {
    (void)state;
    struct quant_source good;
    make_transposed(QUANT_GPTQ, 4, NULL, 0, -1);
    good = model.s;
#define REFUSE(change, status, words)                                                                                  \
    do {                                                                                                               \
        model.s = good;                                                                                                \
        change;                                                                                                        \
        expect_refused(status, words);                                                                                 \
    } while (0)
    REFUSE(model.s.bits = 5, LAMINA_UNSUPPORTED, "codes of 5 bits");
    REFUSE(model.s.bits = 0, LAMINA_UNSUPPORTED, "codes of 0 bits");
    REFUSE(model.s.bits = 8, LAMINA_DAMAGED, "zero points are I32 [3, 8]");
    REFUSE(model.s.group = 31, LAMINA_DAMAGED, "groups of 31");
    REFUSE(model.s.codes.dtype = "F32", LAMINA_DAMAGED, "codes are F32 [12, 64]; expected I32 U32");
    REFUSE(model.s.codes.dtype = NULL, LAMINA_DAMAGED, "codes are missing");
    REFUSE(model.s.codes.shape[0]++, LAMINA_DAMAGED, "bytes");
    REFUSE(model.s.codes.bytes.len--, LAMINA_DAMAGED, "bytes");
    REFUSE(model.s.codes.shape[0] = UINT64_MAX, LAMINA_DAMAGED, "bytes");
    REFUSE(model.s.codes.rank = 9, LAMINA_DAMAGED, "bytes");
    REFUSE((model.s.codes.shape[0] = 0, model.s.codes.bytes.len = 0), LAMINA_DAMAGED, "no dimension 0");
    REFUSE((model.s.codes.rank = 1, model.s.codes.shape[0] = 12 * ROWS), LAMINA_DAMAGED, "two dimensions");
    REFUSE((model.s.scales.shape[0] = ROWS, model.s.scales.shape[1] = GROUPS), LAMINA_DAMAGED, "scales are F16 [64, 3]");
    REFUSE(model.s.scales.dtype = "F8_E4M3", LAMINA_DAMAGED, "scales are F8_E4M3");
    REFUSE(model.s.zeros.dtype = NULL, LAMINA_DAMAGED, "zero points are missing");
    REFUSE(model.s.global = model.s.scales, LAMINA_UNSUPPORTED, "gptq is not read with");
    REFUSE(model.s.order = tensor("I32", 4, COLS - 1, 0), LAMINA_DAMAGED, "one a column");
    struct quant_tensor order = tensor("I32", 4, COLS, 0);
    store_le32(bytes_of(&order) + 8, GROUPS);
    REFUSE(model.s.order = order, LAMINA_DAMAGED, "column 2 is in group 3, there are 3");
    store_le32(bytes_of(&order) + 8, UINT32_MAX);
    REFUSE(model.s.order = order, LAMINA_DAMAGED, "column 2 is in group -1");
    struct quant_tensor odd = tensor("I32", 4, COLS, 0);
    struct quant_tensor scales = tensor("F16", 2, 5, ROWS);
    struct quant_tensor zeros = tensor("I32", 4, 5, ROWS / 8);
    memset(bytes_of(&odd), 0xff, 4 * (size_t)COLS); /* five groups of 96 columns, and nothing says which is whose */
    REFUSE((model.s.order = odd, model.s.scales = scales, model.s.zeros = zeros), LAMINA_DAMAGED, "5 groups");
    memset(bytes_of(&order), 0xff, 4 * (size_t)(COLS - 1)); /* all columns or none */
    REFUSE(model.s.order = order, LAMINA_DAMAGED, "column 95 is in group 0");

    make_rows(QUANT_PACKED, 4, true, "F16");
    good = model.s;
    REFUSE(model.s.cols = COLS + 1, LAMINA_DAMAGED, "97 columns of 4 bits");
    REFUSE(model.s.cols = COLS - 8, LAMINA_DAMAGED, "88 columns of 4 bits");
    REFUSE(model.s.cols = UINT64_MAX, LAMINA_DAMAGED, "columns of 4 bits");
    REFUSE((model.s.zeros.shape[0] = 3, model.s.zeros.shape[1] = 8), LAMINA_DAMAGED, "expected [8, 3]");
    REFUSE(model.s.cols = COLS - 1, LAMINA_DAMAGED, "do not make the 3 groups");
    REFUSE(model.s.group = COLS, LAMINA_DAMAGED, "do not make the 3 groups");

    make_rows(QUANT_MLX, 4, true, "F16");
    good = model.s;
    REFUSE(model.s.bits = 7, LAMINA_UNSUPPORTED, "codes of 7 bits");
    REFUSE(model.s.zeros.dtype = "BF16", LAMINA_DAMAGED, "minima are BF16");
    REFUSE(model.s.zeros.dtype = NULL, LAMINA_DAMAGED, "minima are missing");
    REFUSE((model.s.scales.rank = 1, model.s.scales.shape[0] = ROWS * GROUPS), LAMINA_DAMAGED, "scales are F16 [192]");

    make_fp8(false, 48, 40);
    good = model.s;
    REFUSE(model.s.block_rows = 128, LAMINA_DAMAGED, "expected [1, 3]");
    REFUSE(model.s.block_rows = 0, LAMINA_DAMAGED, "one for every row and group");
    REFUSE(model.s.zeros = model.s.scales, LAMINA_UNSUPPORTED, "fp8 is not read with");
    make_fp4(QUANT_MXFP4, 32);
    model.s.scales.shape[0] = GROUPS;
    model.s.scales.shape[1] = ROWS;
    expect_refused(LAMINA_DAMAGED, "expected 3 for each of 64 rows");
#undef REFUSE
}

/* ---- bitsandbytes 4 bit ---- */

enum { WEIGHTS = 7 * 23, BLOCK = 64, BNB_BLOCKS = (WEIGHTS + BLOCK - 1) / BLOCK };

static const char plain_state[] = "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"bfloat16\", \"shape\": [7, 23]}";
static const char nested_state[] = "{\"quant_type\": \"fp4\", \"blocksize\": 64, \"dtype\": \"float16\", \"shape\": [7, 23], "
                                   "\"nested_blocksize\": 2, \"nested_dtype\": \"float32\", \"nested_offset\": 0.125}";

static struct quant_bnb4_source make_bnb4(bool nested, float *expected) {
    struct quant_bnb4_source s = {.name = "w", .state = span_of_text(nested ? nested_state : plain_state)};
    float table[16];
    float nested_table[256];
    float outer[2];
    seed = 77;
    s.codes = tensor("U8", 1, (WEIGHTS + 1) / 2, 1);
    s.scales = nested ? tensor("U8", 1, BNB_BLOCKS, 0) : tensor("F32", 4, BNB_BLOCKS, 0);
    s.table = tensor("F32", 4, 16, 0);
    for (unsigned i = 0; i < 16; i++) {
        table[i] = put_scale(&s.table, i);
    }
    if (nested) {
        s.nested_table = tensor("F32", 4, 256, 0);
        s.nested_scales = tensor("F32", 4, 2, 0);
        for (unsigned i = 0; i < 256; i++) {
            nested_table[i] = put_scale(&s.nested_table, i);
        }
        outer[0] = put_scale(&s.nested_scales, 0);
        outer[1] = put_scale(&s.nested_scales, 1);
    }
    float scale = 0;
    for (unsigned i = 0; i < WEIGHTS; i++) {
        unsigned code = next_random() % 16;
        if (i % BLOCK == 0 && nested) {
            bytes_of(&s.scales)[i / BLOCK] = (uint8_t)next_random();
            float product = nested_table[s.scales.bytes.ptr[i / BLOCK]] * outer[i / BLOCK / 2];
            scale = product + 0.125f;
        } else if (i % BLOCK == 0) {
            scale = put_scale(&s.scales, i / BLOCK);
        }
        bytes_of(&s.codes)[i / 2] |= (uint8_t)(i % 2 == 0 ? code << 4 : code);
        expected[i] = table[code] * scale;
    }
    return s;
}

static void expect_bnb4(struct quant_bnb4_source *s, lamina_status wanted, const char *words) {
    struct quant_bnb4 m;
    last = (struct lamina_error){0};
    lamina_status got = quant_bnb4_open(s, &m, &last);
    if (got != wanted || strstr(last.message, words) == NULL) {
        print_error("status %d, \"%s\"; expected %d, \"%s\"\n", got, last.message, wanted, words);
        fail();
    }
}

static void test_bnb4(void **state) {
    (void)state;
    float expected[WEIGHTS];
    float out[WEIGHTS];
    struct quant_bnb4 m;
    for (unsigned nested = 0; nested < 2; nested++) {
        struct quant_bnb4_source s = make_bnb4(nested, expected);
        assert_int_equal(quant_bnb4_open(&s, &m, &last), LAMINA_OK);
        assert_true(m.rows == 7 && m.cols == 23);
        assert_true(quant_bnb4_values(&m, &s, out));
        assert_memory_equal(out, expected, sizeof(out));
    }
    static const struct {
        const char *state, *words;
        lamina_status status;
    } states[] = {
        {"", "", LAMINA_DAMAGED},
        {"{}", "no blocksize", LAMINA_DAMAGED},
        {"{\"blocksize\": 64}", "no shape", LAMINA_DAMAGED},
        {"{\"blocksize\": 0, \"shape\": [7, 23]}", "no blocksize", LAMINA_DAMAGED},
        {"{\"blocksize\": 64, \"shape\": []}", "without dimensions", LAMINA_DAMAGED},
        {"{\"blocksize\": 64, \"shape\": [7, 0]}", "dimension is 0", LAMINA_DAMAGED},
        {"{\"blocksize\": 64, \"shape\": [7, 25]}", "expected 88 in all", LAMINA_DAMAGED},
        {"{\"blocksize\": 32, \"shape\": [7, 23]}", "expected 6 in all", LAMINA_DAMAGED},
        {"{\"blocksize\": 64, \"shape\": [9000000000000000000, 9000000000000000000]}", "64 bits", LAMINA_DAMAGED},
        {"{\"blocksize\": 64, \"shape\": [9000000000000000000, 9, 9]}", "64 bits", LAMINA_DAMAGED},
        {"{\"blocksize\": 64, \"shape\": [7, 23], \"nested_offset\": 1e99}", "no float32", LAMINA_DAMAGED},
    };
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        struct quant_bnb4_source s = make_bnb4(false, expected);
        s.state = span_of_text(states[i].state);
        expect_bnb4(&s, states[i].status, states[i].words);
    }
    struct quant_bnb4_source s = make_bnb4(true, expected);
    s.nested_table.shape[0] = 255;
    s.nested_table.bytes.len = 255 * 4;
    expect_bnb4(&s, LAMINA_DAMAGED, "expected 256 in all");
    s = make_bnb4(true, expected);
    s.nested_table.dtype = NULL;
    expect_bnb4(&s, LAMINA_DAMAGED, "nested values are missing");
    s = make_bnb4(true, expected);
    s.nested_scales.dtype = NULL;
    expect_bnb4(&s, LAMINA_DAMAGED, "scales are U8 [3]; expected F32");
    s = make_bnb4(true, expected);
    s.state = span_of_text(plain_state);
    expect_bnb4(&s, LAMINA_DAMAGED, "no nested_blocksize");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_gptq, test_end),     cmocka_unit_test_teardown(test_awq, test_end),
        cmocka_unit_test_teardown(test_rows, test_end),     cmocka_unit_test_teardown(test_fp8, test_end),
        cmocka_unit_test_teardown(test_fp4, test_end),      cmocka_unit_test_teardown(test_int8, test_end),
        cmocka_unit_test_teardown(test_refusals, test_end), cmocka_unit_test_teardown(test_bnb4, test_end),
    };
    return cmocka_run_group_tests_name("quant_matrix", tests, NULL, NULL);
}
