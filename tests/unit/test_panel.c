/* SPDX-License-Identifier: Apache-2.0
 * Store geometry: over random and awkward shapes the tiles cover the padded matrix exactly once, keep their size limits,
 * and pack and unpack are inverses; every element lies where the layout says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/panel.h"

static uint64_t seed = 3;

static uint32_t below(uint32_t n) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed >> 32) * n >> 32);
}

/* Tiles in order: rows, blocks, bytes and offsets follow on without a gap, and add up to the padded matrix. */
static void check_cover(const struct panel_shape *s) {
    const uint64_t elem = kern_dtype_bytes((enum kern_dtype)s->dtype);
    struct panel_tile before = {0};
    uint64_t total = 0;
    for (uint32_t i = 0; i < s->tiles; i++) {
        struct panel_tile t;
        panel_tile_at(s, i, &t);
        assert_true(t.groups > 0 && t.blocks > 0 && t.rows > 0 && t.rows % KERN_PANEL_ROWS == 0);
        assert_int_equal(t.continues, t.block != 0);
        if (i == 0) {
            assert_true(t.group == 0 && t.block == 0 && t.row == 0);
        } else if (t.continues) {
            assert_true(t.group == before.group && t.block == before.block + before.blocks && t.row == before.row);
            assert_true(t.groups == 1 && before.groups == 1);
        } else {
            assert_int_equal(before.block + before.blocks, s->col_blocks);
            assert_true(t.group == before.group + before.groups && t.row == before.row + before.rows);
        }
        uint64_t at = 0;
        for (uint32_t g = t.group; g < t.group + t.groups; g++) {
            for (uint32_t b = t.block; b < t.block + t.blocks; b++) {
                assert_int_equal(panel_block_offset(s, &t, g, b), at);
                at += (uint64_t)panel_group_panels(s, g) * KERN_PANEL_ROWS * panel_block_cols(s, b) * elem;
            }
        }
        assert_int_equal(at, t.bytes);
        total += at;
        before = t;
    }
    assert_int_equal(before.group + before.groups, s->groups);
    assert_int_equal(before.block + before.blocks, s->col_blocks);
    assert_int_equal(before.row + before.rows, s->rows16);
    assert_int_equal(total, s->rows16 * s->cols2 * elem);
}

static void check_sizes(const struct panel_shape *s) {
    struct panel_tile t;
    for (uint32_t i = 0; i < s->tiles; i++) {
        panel_tile_at(s, i, &t);
        if (s->layout == PANEL_GATHERED) {
            assert_true(t.rows == KERN_PANEL_ROWS && t.blocks == s->col_blocks);
            continue;
        }
        assert_true(t.bytes <= PANEL_TILE_MAX);
        const bool last = t.group + t.groups == s->groups;
        if (!last && s->parts_per_group == 1) {
            assert_true(t.bytes >= PANEL_TILE_TARGET);
        }
    }
}

static void random_shapes(void **state) {
    (void)state;
    for (int i = 0; i < 3000; i++) {
        struct panel_shape s;
        const uint32_t wide = below(3), rows = 1 + below(wide == 0 ? 300 : 20000), cols = 1 + below(wide == 1 ? 300 : 70000);
        const enum kern_dtype d = (enum kern_dtype)below(3);
        assert_true(panel_shape_init(&s, rows, cols, d, (enum panel_layout)below(2)));
        assert_true(s.rows16 >= rows && s.rows16 < (uint64_t)rows + 16 && s.cols2 >= cols && s.cols2 <= (uint64_t)cols + 1);
        check_sizes(&s);
        if (s.tiles < 4000) {
            check_cover(&s);
        }
    }
}

/* Row counts of one to four panels too: a single short group has another block size. */
static void giant_groups_in_parts(void **state) {
    (void)state;
    static const uint32_t rows[] = {3, 20, 48, 64, 150};
    static const uint32_t cols[] = {16384, 16386, 32768, 32770, 33024, 33026, 53248, 65535, 131072, 1000001, 1 << 24};
    for (size_t i = 0; i < ARRAY_LEN(cols); i++) {
        for (int d = 0; d < KERN_DTYPES; d++) {
            for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
                struct panel_shape s;
                assert_true(panel_shape_init(&s, rows[r], cols[i], (enum kern_dtype)d, PANEL_BLOCKS));
                const uint64_t group_rows = s.rows16 < 64 ? s.rows16 : 64;
                const uint64_t group = group_rows * s.cols2 * kern_dtype_bytes((enum kern_dtype)d);
                assert_int_equal(s.parts_per_group > 1, group > PANEL_TILE_MAX);
                check_sizes(&s);
                check_cover(&s);
            }
        }
    }
}

static void refuses_and_accepts_limits(void **state) {
    (void)state;
    struct panel_shape s;
    assert_false(panel_shape_init(&s, 0, 5, KERN_F32, PANEL_BLOCKS));
    assert_false(panel_shape_init(&s, 5, 0, KERN_F32, PANEL_BLOCKS));
    assert_false(panel_shape_init(&s, (UINT64_C(1) << 31) + 1, 5, KERN_F32, PANEL_BLOCKS));
    assert_false(panel_shape_init(&s, 5, (UINT64_C(1) << 24) + 1, KERN_F32, PANEL_BLOCKS));
    assert_false(panel_shape_init(&s, UINT64_MAX, UINT64_MAX, KERN_F32, PANEL_GATHERED));
    assert_false(panel_shape_init(&s, 5, 5, KERN_DTYPES, PANEL_BLOCKS));
    assert_false(panel_shape_init(&s, UINT64_C(1) << 31, UINT64_C(1) << 24, KERN_F32, PANEL_BLOCKS)); /* 2^35 tiles */
    assert_true(panel_shape_init(&s, UINT64_C(1) << 31, 2, KERN_F32, PANEL_GATHERED));
    struct panel_tile t;
    panel_tile_at(&s, s.tiles - 1, &t);
    assert_int_equal(t.row + t.rows, UINT64_C(1) << 31);
    assert_true(panel_shape_init(&s, 128256, 16384, KERN_F32, PANEL_BLOCKS));
    assert_true(panel_shape_init(&s, 1, 1, KERN_BF16, PANEL_BLOCKS));
    assert_true(s.tiles == 1 && s.rows16 == 16 && s.cols2 == 2);
}

/* Every element of a matrix carries its own number; each must appear once, at its place, with zeros around. */
static void check_elements(uint32_t rows, uint32_t cols, enum kern_dtype d, enum panel_layout layout) {
    struct panel_shape s;
    assert_true(panel_shape_init(&s, rows, cols, d, layout));
    const uint64_t elem = kern_dtype_bytes(d), stride = cols * elem + 6 * (elem / 2);
    unsigned char *src = malloc(rows * stride), *back = malloc(rows * stride), *tile = malloc(s.rows16 * s.cols2 * elem);
    assert_true(src && back && tile);
    memset(back, 0x77, rows * stride);
    for (uint64_t i = 0; i < rows * stride; i++) {
        src[i] = (unsigned char)(below(255) + 1);
    }
    uint64_t seen = 0;
    for (uint32_t i = 0; i < s.tiles; i++) {
        struct panel_tile t;
        panel_tile_at(&s, i, &t);
        memset(tile, 0xee, s.rows16 * s.cols2 * elem);
        panel_pack_tile(&s, &t, src + t.row * stride, stride, tile);
        panel_unpack_tile(&s, &t, tile, back + t.row * stride, stride);
        for (uint64_t r = t.row; r < t.row + t.rows; r++) {
            for (uint32_t b = t.block; b < t.block + t.blocks; b++) {
                const uint32_t group_rows = layout == PANEL_BLOCKS ? 64 : 16, g = (uint32_t)(r / group_rows);
                const unsigned char *panel = tile + panel_block_offset(&s, &t, g, b) +
                                             r % group_rows / 16 * 16 * panel_block_cols(&s, b) * elem;
                for (uint32_t c = 0; c < panel_block_cols(&s, b); c++) {
                    static const unsigned char zero[4];
                    const uint64_t col = b * 256u + c;
                    const unsigned char *want = r < rows && col < cols ? src + r * stride + col * elem : zero;
                    assert_memory_equal(panel + (c / 2 * 32 + 2 * (r % 16) + c % 2) * elem, want, elem);
                    seen++;
                }
            }
        }
    }
    assert_int_equal(seen, s.rows16 * s.cols2);
    for (uint32_t r = 0; r < rows; r++) {
        assert_memory_equal(back + r * stride, src + r * stride, cols * elem);
        assert_int_equal(back[r * stride + cols * elem], 0x77); /* nothing written between rows */
    }
    free(src);
    free(back);
    free(tile);
}

static void every_element_once(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        const uint32_t rows = 1 + below(200), cols = 1 + below(700);
        const enum kern_dtype d = (enum kern_dtype)below(3);
        check_elements(rows, cols, d, (enum panel_layout)below(2));
    }
    check_elements(281, 48, KERN_BF16, PANEL_BLOCKS);
    check_elements(1, 1, KERN_F32, PANEL_GATHERED);
    check_elements(70, 33025, KERN_BF16, PANEL_BLOCKS);
    check_elements(17, 16500, KERN_F32, PANEL_BLOCKS);
    check_elements(2100, 300, KERN_F32, PANEL_BLOCKS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(giant_groups_in_parts),
        cmocka_unit_test(refuses_and_accepts_limits),
        cmocka_unit_test(every_element_once),
    };
    return cmocka_run_group_tests_name("panel", tests, NULL, NULL);
}
