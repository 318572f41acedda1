/* SPDX-License-Identifier: Apache-2.0
 * The decoders of GGUF's blocks. The checksums are those of gguf-py's values (tools/store_values.py --checksums prints them):
 * of pseudo-random blocks, which hold every code and every kind of float16, and of blocks that llama.cpp made from known
 * weights; those must also come out near the weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <math.h>

#include <cmocka.h>

#include "base/floats.h"
#include "base/json.h"
#include "codec/coding.h"
#include "format/quant.h"
#include "sys/cpu.h"
#include "golden_files.h"

enum { BLOCKS = 64 };

static uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

/* FNV-1a over the bits, little-endian, every NaN counted as the same one. */
static uint64_t checksum(const float *values, size_t count) {
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = isnan(values[i]) ? UINT32_C(0x7fc00000) : bits_of(values[i]);
        for (unsigned k = 0; k < 4; k++) {
            h = (h ^ (bits >> (8 * k) & 0xff)) * UINT64_C(0x100000001b3);
        }
    }
    return h;
}

static uint32_t level; /* flags of the CPU that the decoders may use */

/* In memory of exactly the right size on both sides, so that the sanitizer sees what is touched. */
static float *decode(const struct quant_type *t, const uint8_t *bytes, size_t blocks) {
    uint8_t *in = malloc(blocks * t->block_bytes);
    float *out = malloc(blocks * t->block_len * sizeof(*out));
    assert_non_null(in);
    assert_non_null(out);
    memcpy(in, bytes, blocks * t->block_bytes);
    enum panel_coding coding = PANEL_PLAIN;
    uint64_t cols = blocks * t->block_len;
    assert_true(coding_of_blocks(t->name, &coding));
    assert_int_equal(coding_block_row_bytes(coding, cols), blocks * t->block_bytes); /* the two rooms agree on sizes */
    struct coding_table table;
    coding_table_init(&table, level);
    table.decode_blocks(coding, in, blocks, out);
    free(in);
    return out;
}

static void test_random_blocks(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t sum;
    } types[] = {
        {"Q4_0", UINT64_C(0xf0578c343661fa24)},
        {"Q4_1", UINT64_C(0xbf1983fad454ec96)},
        {"Q5_0", UINT64_C(0xd3338d5d3cdc89be)},
        {"Q5_1", UINT64_C(0xc5937c551e9c8864)},
        {"Q8_0", UINT64_C(0xbd33ee8125f4a202)},
        {"Q2_K", UINT64_C(0x60c9992f2d89d764)},
        {"Q3_K", UINT64_C(0xbdca013dedd31a3e)},
        {"Q4_K", UINT64_C(0xe733cdd4de7da261)},
        {"Q5_K", UINT64_C(0x9fed6b798f66e22e)},
        {"Q6_K", UINT64_C(0xdb6e56a0a8443e8a)},
        {"IQ4_NL", UINT64_C(0xb5b372ef73bd9e61)},
        {"IQ4_XS", UINT64_C(0x21ae6cbc7518a30c)},
        {"TQ1_0", UINT64_C(0x06b6f052a26641f7)},
        {"TQ2_0", UINT64_C(0x54abf92f016893d6)},
        {"MXFP4", UINT64_C(0x172926ff04d1b11e)},
        {"NVFP4", UINT64_C(0xd3dd393f0446e03c)},
    };
    static uint8_t data[BLOCKS * 300];
    uint32_t x = 12345;
    for (size_t i = 0; i < sizeof(data); i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (uint8_t)(x >> 24);
    }
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        const struct quant_type *t = quant_named(types[i].name);
        assert_non_null(t);
        float *out = decode(t, data, BLOCKS);
        if (checksum(out, (size_t)BLOCKS * t->block_len) != types[i].sum) {
            print_error("%s differs\n", types[i].name);
            fail();
        }
        free(out);
    }
}

/* llama.cpp's blocks and the weights that it made them of; `step`: how far a value may be off, in parts of the largest. */
static double step_of(const char *type) {
    static const struct {
        const char *type;
        double step;
    } steps[] = {{"Q8_0", 0.005}, {"Q6_K", 0.04}, {"Q5", 0.07}, {"Q4", 0.14}, {"IQ4", 0.14}, {"Q3", 0.3}, {"Q2", 0.55}};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (strncmp(type, steps[i].type, strlen(steps[i].type)) == 0) {
            return steps[i].step;
        }
    }
    fail();
    return 0;
}

static void golden(const char *name, const char *type, uint64_t sum) {
    char path[200];
    struct str blocks = {0};
    struct str weights = {0};
    const struct quant_type *t = quant_named(type);
    (void)snprintf(path, sizeof(path), "goldens/ggml-quants/%s_expected.bin", name);
    need(path, &blocks);
    (void)snprintf(path, sizeof(path), "goldens/ggml-quants/%s_input.bin", name);
    need(path, &weights);
    assert_non_null(t);
    size_t count = blocks.len / t->block_bytes;
    assert_int_equal(blocks.len % t->block_bytes, 0);
    assert_true(weights.len >= count * t->block_len * sizeof(float)); /* importances may follow */
    float *out = decode(t, (const uint8_t *)blocks.ptr, count);
    double worst = 0;
    for (size_t i = 0; i < count * t->block_len; i++) {
        float w;
        uint32_t bits = load_le32(weights.ptr + 4 * i);
        memcpy(&w, &bits, sizeof(w));
        worst = fmax(worst, fabs((double)w - (double)out[i]));
    }
    if (checksum(out, count * t->block_len) != sum || worst > step_of(type)) { /* the weights lie in [-1, 1] */
        print_error("%s: checksum %016llx, off by %g\n", name, (unsigned long long)checksum(out, count * t->block_len), worst);
        fail();
    }
    free(out);
    str_drop(&blocks);
    str_drop(&weights);
}

static void test_golden_blocks(void **state) {
    (void)state;
    static const struct {
        const char *name, *type;
        uint64_t sum;
    } files[] = {
        {"iq4_nl_64_im", "IQ4_NL", UINT64_C(0xf6520e63085fee45)},
        {"iq4_nl_64_noim", "IQ4_NL", UINT64_C(0xb37f949ed12415d1)},
        {"q2_k_512_im", "Q2_K", UINT64_C(0xd06fc1c048c5a3f1)},
        {"q2_k_512_noim", "Q2_K", UINT64_C(0x5b08ab54ab272c74)},
        {"q3_k_512_im", "Q3_K", UINT64_C(0x3f773b5c6e3b74eb)},
        {"q3_k_512_noim", "Q3_K", UINT64_C(0x0998c6c2684180bb)},
        {"q4_0_64_im", "Q4_0", UINT64_C(0x59cbbbefb45a5d85)},
        {"q4_0_64_noim", "Q4_0", UINT64_C(0x77c64f2f6a64a530)},
        {"q4_1_64_im", "Q4_1", UINT64_C(0xd7e248ef51dd0319)},
        {"q4_1_64_noim", "Q4_1", UINT64_C(0x2a5ea4e36f9f315f)},
        {"q4_k_512_im", "Q4_K", UINT64_C(0xa2b35df2cd46f39e)},
        {"q4_k_512_noim", "Q4_K", UINT64_C(0xa7a9364a265ff516)},
        {"q5_0_64_im", "Q5_0", UINT64_C(0x6201ced28bbaf9c2)},
        {"q5_0_64_noim", "Q5_0", UINT64_C(0xb612c4e57e670a45)},
        {"q5_1_64_im", "Q5_1", UINT64_C(0xe3f47c21aab0342d)},
        {"q5_1_64_noim", "Q5_1", UINT64_C(0xb6d87a977f926474)},
        {"q5_k_512_im", "Q5_K", UINT64_C(0x49878b2af10e2da2)},
        {"q5_k_512_noim", "Q5_K", UINT64_C(0xc8c54aabb23089f1)},
        {"q6_k_512_im", "Q6_K", UINT64_C(0xdeedc0e982bf2289)},
        {"q6_k_512_noim", "Q6_K", UINT64_C(0x72f931e036afda3d)},
        {"q8_0_64_im", "Q8_0", UINT64_C(0xb399aa6a62c0d659)},
        {"q8_0_64_noim", "Q8_0", UINT64_C(0xb399aa6a62c0d659)},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        golden(files[i].name, files[i].type, files[i].sum);
    }
}

/* ---- the blocks of a test of chatglm.cpp, from another quantiser ---- */

static void take_floats(struct json_reader *r, float *out, size_t *count) {
    double v = 0;
    for (bool rows = json_enter_array(r); rows && json_next_item(r);) {
        if (json_peek(r) == JSON_ARRAY) {
            take_floats(r, out, count);
        } else if (json_double(r, &v) && *count < 256) {
            out[(*count)++] = (float)v;
        }
    }
}

static void compare(struct json_reader *r, const char *type, const float *weights) {
    uint8_t bytes[8 * 34];
    size_t count = 0;
    int64_t v = 0;
    const struct quant_type *t = quant_named(type);
    assert_non_null(t);
    for (bool open = json_enter_array(r); open && json_next_item(r) && json_i64(r, &v);) {
        assert_true(count < sizeof(bytes));
        bytes[count++] = (uint8_t)v;
    }
    assert_int_equal(count, 8u * t->block_bytes);
    float *out = decode(t, bytes, 8);
    for (size_t i = 0; i < 256; i++) {
        assert_true(fabsf(out[i] - weights[i]) < 3.0f * (float)step_of(type));
    }
    free(out);
}

static void test_other_quantiser(void **state) {
    (void)state;
    struct str text = {0};
    struct str key_text = {0};
    struct json_reader r;
    struct lamina_error err = {0};
    struct span key;
    float weights[256];
    size_t count = 0;
    unsigned types = 0;
    need("goldens/ggml-quants/chatglm.cpp-quant-vectors.json", &text);
    json_init(&r, str_span(&text), "vectors", &key_text, &err);
    for (bool open = json_enter_object(&r); open && json_next_key(&r, &key);) {
        if (span_is(key, "weight")) {
            take_floats(&r, weights, &count);
        } else if (span_is(key, "blocks_int8")) {
            assert_int_equal(count, 256);
            for (open = json_enter_object(&r); open && json_next_key(&r, &key); types++) {
                char type[8] = "";
                for (size_t i = 0; i < key.len && i < 7; i++) {
                    type[i] = (char)(key.ptr[i] == 'q' ? 'Q' : key.ptr[i]);
                }
                compare(&r, type, weights);
            }
        } else {
            (void)json_skip(&r);
        }
    }
    assert_int_equal(json_finish(&r), LAMINA_OK);
    assert_int_equal(types, 5);
    str_drop(&key_text);
    str_drop(&text);
}

/* ---- the table ---- */

static void test_table(void **state) {
    (void)state;
    unsigned known = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        const struct quant_type *t = quant_of_ggml(i);
        assert_non_null(quant_ggml_hint(i));
        if (t != NULL) {
            assert_int_equal(t->ggml, i);
            assert_true(t->block_len > 0 && t->block_len <= QUANT_BLOCK_MAX && t->block_bytes > 0);
            assert_ptr_equal(quant_named(t->name), t);
            known++;
        }
    }
    assert_int_equal(known, 31);
    assert_null(quant_named("Q9_9"));
    assert_null(quant_of_ggml(UINT32_MAX));
    assert_non_null(strstr(quant_ggml_hint(9), "never store"));
}

/* Numbers that a checksum would not explain. */
static void test_small_floats(void **state) {
    (void)state;
    static const struct {
        const char *type;
        uint8_t bytes[2];
        uint32_t bits;
    } cases[] = {
        {"F16", {0x00, 0x3c}, 0x3f800000}, {"F16", {0x01, 0x00}, 0x33800000}, /* 2^-24 */
        {"F16", {0xff, 0x83}, 0xb87fc000},                                    /* the largest denormal number, negative */
        {"F16", {0x00, 0x80}, 0x80000000}, {"F16", {0xff, 0x7b}, 0x477fe000}, /* -0, 65504 */
        {"F16", {0x00, 0xfc}, 0xff800000}, {"F16", {0x00, 0x04}, 0x38800000}, /* -infinity, 2^-14 */
        {"BF16", {0x01, 0x00}, 0x00010000}, {"BF16", {0x80, 0xbf}, 0xbf800000},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        float f = 0;
        f = strcmp(cases[i].type, "F16") == 0 ? float_of_f16(cases[i].bytes) : float_of_bf16(cases[i].bytes);
        assert_int_equal(bits_of(f), cases[i].bits);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_blocks),   cmocka_unit_test(test_golden_blocks),
        cmocka_unit_test(test_other_quantiser), cmocka_unit_test(test_table),
        cmocka_unit_test(test_small_floats),
    };
    static const uint32_t levels[] = {0, SYS_CPU_AVX2, SYS_CPU_AVX2 | SYS_CPU_AVX512}; /* what is not there falls back */
    int failed = 0;
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        level = sys_cpu_flags() & levels[i];
        failed += cmocka_run_group_tests_name("quant", tests, NULL, NULL);
    }
    return failed;
}
