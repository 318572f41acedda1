/* SPDX-License-Identifier: Apache-2.0
 * The kernel table: levels and flags, data types, panel packing against the layout as kern/kern.h words it, and the
 * scalar product against sums worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kern/kern.h"
#include "kern/kern_priv.h"
#include "kern/op.h"
#include "sys/cpu.h"

static void flags_match_sys(void **state) {
    (void)state;
    assert_int_equal(KERN_CPU_AVX2, SYS_CPU_AVX2);
    assert_int_equal(KERN_CPU_AVX512, SYS_CPU_AVX512);
    assert_int_equal(KERN_CPU_NEON, SYS_CPU_NEON);
}

static void assert_complete(const struct kern_table *t) {
    for (int d = 0; d < KERN_DTYPES; d++) {
        assert_non_null(t->matmul[d]);
        assert_non_null(t->unpack_row[d]);
    }
    assert_true(t->rmsnorm && t->rope && t->silu_mul && t->add && t->kv_store && t->attention && t->argmax && t->logsumexp);
}

static void every_level_is_complete(void **state) {
    (void)state;
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        uint32_t mask;
        struct kern_table t;
        memset(&t, 0xa5, sizeof t);
        assert_true(sys_cpu_mask_of_level(names[i], &mask));
        kern_table_init(&t, mask);
        assert_complete(&t);
#if defined(__x86_64__)
        assert_string_equal(t.isa, i < 3 ? names[i] : "scalar");
#elif defined(__aarch64__)
        assert_string_equal(t.isa, i == 3 ? "neon" : "scalar");
#endif
    }
}

static void dtypes_have_names(void **state) {
    (void)state;
    assert_int_equal(kern_dtype_bytes(KERN_F32), 4);
    assert_int_equal(kern_dtype_bytes(KERN_F16), 2);
    assert_int_equal(kern_dtype_bytes(KERN_BF16), 2);
    assert_string_equal(kern_dtype_name(KERN_F32), "F32");
    assert_string_equal(kern_dtype_name(KERN_F16), "F16");
    assert_string_equal(kern_dtype_name(KERN_BF16), "BF16");
}

static void row_stride_avoids_sets(void **state) {
    (void)state;
    for (size_t width = 1; width < 3000; width++) {
        const size_t stride = kern_row_stride(width);
        assert_true(stride >= width && stride % 16 == 0 && stride % 64 != 0 && stride < width + 32);
    }
}

/* Element (r, c) carries its own place; the padding must come out as zero over a dirty destination. */
static void packing_is_the_layout(void **state) {
    (void)state;
    static uint32_t src32[16][131], dst32[16 * 132];
    static uint16_t src16[16][131], dst16[16 * 132];
    for (uint32_t rows = 1; rows <= 16; rows += 5) {
        for (uint32_t cols = 1; cols <= 130; cols++) {
            const uint32_t padded = (cols + 1) & ~1u;
            for (uint32_t r = 0; r < rows; r++) {
                for (uint32_t c = 0; c < cols; c++) {
                    src32[r][c] = 1 + r * 1000 + c;
                    src16[r][c] = (uint16_t)(1 + r * 1000 + c);
                }
            }
            memset(dst32, 0xee, sizeof dst32);
            memset(dst16, 0xee, sizeof dst16);
            kern_pack_panel(dst32, src32, sizeof src32[0], rows, cols, padded, KERN_F32);
            kern_pack_panel(dst16, src16, sizeof src16[0], rows, cols, padded, cols % 2 ? KERN_F16 : KERN_BF16);
            for (uint32_t r = 0; r < 16; r++) {
                for (uint32_t c = 0; c < padded; c++) {
                    const uint32_t want = r < rows && c < cols ? 1 + r * 1000 + c : 0, at = c / 2 * 32 + 2 * r + c % 2;
                    assert_int_equal(dst32[at], want);
                    assert_int_equal(dst16[at], want);
                }
            }
            assert_int_equal(dst16[padded * 16 < ARRAY_LEN(dst16) ? padded * 16 : 0] == 0xeeee, padded * 16 < ARRAY_LEN(dst16));
        }
    }
}

static void scalar_product_by_hand(void **state) {
    (void)state;
    /* 16 rows x 4 columns, w = r + c, x = 1, 2, 3, 4 and -1 everywhere: sums 10 r + 20 and -(4 r + 6). */
    float src[16][4], panel[64], x[2][4] = {{1, 2, 3, 4}, {-1, -1, -1, -1}}, y[2][16];
    for (int r = 0; r < 16; r++) {
        for (int c = 0; c < 4; c++) {
            src[r][c] = (float)(r + c);
        }
    }
    kern_pack_panel(panel, src, sizeof src[0], 16, 4, 4, KERN_F32);
    struct kern_table t;
    kern_table_init(&t, 0);
    struct kern_matmul m = {.w = panel, .x = x[0], .ldx = 4, .y = y[0], .ldy = 16, .rows = 2, .panels = 1, .cols = 4};
    for (int again = 0; again < 2; again++) {
        t.matmul[KERN_F32](&m);
        for (int r = 0; r < 16; r++) {
            assert_true(y[0][r] == (float)(10 * r + 20) * (float)(again + 1));
            assert_true(y[1][r] == (float)-(4 * r + 6) * (float)(again + 1));
        }
        m.accumulate = true;
    }
}

/* Every half widened by the scalar look-up against its value as the format defines it, and stored back by kv_store. */
static void halves_round_trip(void **state) {
    (void)state;
    struct kern_table t;
    kern_table_init(&t, 0);
    for (uint32_t h = 0; h < 65536; h += 2) {
        uint16_t panel[32] = {(uint16_t)h, (uint16_t)(h + 1)};
        float out[2];
        t.unpack_row[KERN_F16](out, panel, 0, 2);
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t bits = h + i, e = bits >> 10 & 31, f = bits & 1023;
            const double size = e == 31 ? (f ? (double)NAN : (double)INFINITY)
                                : e     ? ldexp(1024.0 + f, (int)e - 25)
                                        : ldexp((double)f, -24);
            const double want = bits & 0x8000 ? -size : size;
            assert_true(isnan(want) ? isnan(out[i]) : (double)out[i] == want && !signbit(out[i]) == !(bits & 0x8000));
        }
        static uint16_t k[64 * 2], v[64 * 16];
        const struct kern_kv_store s = {out, out, k, v, 2, 2, 17, KERN_F16};
        t.kv_store(&s);
        for (uint32_t i = 0; i < 2; i++) {
            const bool nan = (panel[i] & 0x7fff) > 0x7c00;
            assert_true(nan ? (k[(2 + i) * 16 + 1] & 0x7fff) > 0x7c00 : k[(2 + i) * 16 + 1] == panel[i]);
            assert_true(nan ? (v[17 * 16 + i] & 0x7fff) > 0x7c00 : v[17 * 16 + i] == panel[i]);
        }
    }
}

/* Between two neighbouring halves: below the middle down, above it up, at it to the even one. */
static void halves_round_to_even(void **state) {
    (void)state;
    struct kern_table t;
    kern_table_init(&t, 0);
    for (uint32_t h = 0; h < 0x7bff; h++) {
        uint16_t panel[32] = {(uint16_t)h, (uint16_t)(h + 1)}, k[64 * 3], v[64 * 16];
        float ends[2];
        t.unpack_row[KERN_F16](ends, panel, 0, 2);
        const float middle = ends[0] + (ends[1] - ends[0]) / 2; /* exact in fp32 */
        const float x[3] = {nextafterf(middle, 0.0f), middle, nextafterf(middle, 1e9f)};
        const struct kern_kv_store s = {x, x, k, v, 3, 3, 0, KERN_F16};
        t.kv_store(&s);
        assert_int_equal(v[0], h);
        assert_int_equal(v[1], h + (h & 1));
        assert_int_equal(v[2], h + 1);
        assert_int_equal(v[3], 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_match_sys),        cmocka_unit_test(every_level_is_complete),
        cmocka_unit_test(dtypes_have_names),      cmocka_unit_test(row_stride_avoids_sets),
        cmocka_unit_test(packing_is_the_layout),  cmocka_unit_test(scalar_product_by_hand),
        cmocka_unit_test(halves_round_trip),      cmocka_unit_test(halves_round_to_even),
    };
    return cmocka_run_group_tests_name("kern_table", tests, NULL, NULL);
}
