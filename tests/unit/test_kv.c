/* SPDX-License-Identifier: Apache-2.0
 * KV pages: taking, giving back, and that no two sequences ever share a page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "state/kv.h"

/* Layers differ, and one keeps nothing. */
static const struct kv_layer LAYERS[] = {{2, 20, 20, 0}, {0, 0, 0, 0}, {1, 36, 12, 0}, {3, 8, 24, 0}};
static const struct kv_shape SHAPE = {.layers = 4, .layer = LAYERS, .dtype = KERN_F16};

static uint64_t page_bytes(void) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < SHAPE.layers; i++) {
        sum += kv_layer_bytes(&LAYERS[i], SHAPE.dtype);
    }
    return sum;
}

static void addresses_do_not_overlap(void **state) {
    (void)state;
    enum { PAGES = 5 };
    struct kv_cache c;
    struct lamina_error err = {0};
    uint64_t bytes = page_bytes() * PAGES;
    uint8_t *memory = (uint8_t *)calloc(1, bytes);
    assert_int_equal(kv_cache_init(&c, &SHAPE, memory, bytes + 17, &err), LAMINA_OK);
    assert_int_equal(c.page_count, PAGES);
    for (uint32_t p = 0; p < PAGES; p++) {
        for (uint32_t l = 0; l < SHAPE.layers; l++) {
            for (uint32_t h = 0; h < LAYERS[l].kv_heads; h++) {
                uint8_t *k = (uint8_t *)kv_k(&c, p, l, h);
                uint8_t *v = (uint8_t *)kv_v(&c, p, l, h);
                for (uint64_t i = 0; i < c.place[l].k_bytes; i++) {
                    assert_int_equal(k[i]++, 0);
                }
                for (uint64_t i = 0; i < c.place[l].v_bytes; i++) {
                    assert_int_equal(v[i]++, 0);
                }
            }
        }
    }
    for (uint64_t i = 0; i < bytes; i++) {
        assert_int_equal(memory[i], 1);
    }
    kv_cache_drop(&c);
    free(memory);
}

static void sequences_grow_cut_and_run_out(void **state) {
    (void)state;
    enum { PAGES = 6 };
    struct kv_cache c;
    struct kv_sequence a;
    struct kv_sequence b;
    struct lamina_error err = {0};
    uint64_t bytes = page_bytes() * PAGES;
    void *memory = malloc(bytes);
    assert_int_equal(kv_cache_init(&c, &SHAPE, memory, bytes, &err), LAMINA_OK);
    assert_int_equal(kv_sequence_init(&a, 300, &err), LAMINA_OK);
    assert_int_equal(kv_sequence_init(&b, 300, &err), LAMINA_OK);
    assert_int_equal(kv_sequence_grow(&c, &a, 65, &err), LAMINA_OK);
    assert_int_equal(a.blocks, 2);
    assert_int_equal(kv_sequence_grow(&c, &b, 256, &err), LAMINA_OK);
    assert_int_equal(c.free_count, 0);
    for (uint32_t i = 0; i < a.blocks; i++) {
        for (uint32_t j = 0; j < b.blocks; j++) {
            assert_int_not_equal(a.pages[i], b.pages[j]);
        }
    }
    assert_int_equal(kv_sequence_grow(&c, &a, 129, &err), LAMINA_NO_FIT);
    assert_int_equal(a.blocks, 2);
    kv_sequence_cut(&c, &b, 64);
    assert_int_equal(b.blocks, 1);
    err = (struct lamina_error){0};
    assert_int_equal(kv_sequence_grow(&c, &a, 300, &err), LAMINA_OK);
    assert_int_equal(kv_sequence_grow(&c, &a, 321, &err), LAMINA_NO_FIT);
    kv_sequence_drop(&c, &a);
    kv_sequence_drop(&c, &b);
    assert_int_equal(c.free_count, PAGES);
    kv_cache_drop(&c);
    free(memory);
}

static void too_little_memory_is_an_error(void **state) {
    (void)state;
    struct kv_cache c;
    struct lamina_error err = {0};
    uint8_t byte = 0;
    assert_int_equal(kv_cache_init(&c, &SHAPE, &byte, 1, &err), LAMINA_NO_FIT);
}

/* States of fixed size: one slot per sequence, taken with its first position and given back with it. */
static void slots_are_apart_and_come_back(void **state) {
    (void)state;
    enum { SLOTS = 3 };
    static const struct kv_layer layers[] = {{0, 0, 0, 37}, {1, 8, 8, 0}, {0, 0, 0, 5}};
    const struct kv_shape shape = {.layers = 3, .layer = layers, .slots = SLOTS, .dtype = KERN_F32};
    struct lamina_error err = {0};
    struct kv_cache c;
    struct kv_sequence s[SLOTS + 1];
    uint64_t slot = kv_slot_bytes(layers, 3);
    assert_true(slot >= (37 + 5) * sizeof(float));
    assert_true(slot % 64 == 0);
    uint64_t bytes = SLOTS * slot + (SLOTS + 1) * kv_layer_bytes(&layers[1], KERN_F32);
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(memory);
    assert_int_equal(kv_cache_init(&c, &shape, memory, bytes, &err), LAMINA_OK);
    assert_true(c.place[2].fixed_offset >= 37 * sizeof(float));
    for (uint32_t i = 0; i <= SLOTS; i++) {
        assert_int_equal(kv_sequence_init(&s[i], 64, &err), LAMINA_OK);
        assert_int_equal(kv_sequence_grow(&c, &s[i], 1, &err), i < SLOTS ? LAMINA_OK : LAMINA_NO_FIT);
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
        memset(kv_slot_at(&c, s[i].slot), (int)i + 1, c.slot_bytes);
    }
    assert_int_equal(*kv_slot_at(&c, s[0].slot), 1);
    assert_int_equal(kv_slot_at(&c, s[1].slot)[c.slot_bytes - 1], 2);
    kv_slot_copy(&c, s[2].slot, s[0].slot);
    assert_memory_equal(kv_slot_at(&c, s[2].slot), kv_slot_at(&c, s[0].slot), c.slot_bytes);
    kv_sequence_drop(&c, &s[1]);
    assert_int_equal(kv_sequence_grow(&c, &s[SLOTS], 1, &err), LAMINA_OK);
    kv_sequence_drop(&c, &s[0]);
    kv_sequence_drop(&c, &s[2]);
    kv_sequence_drop(&c, &s[SLOTS]);
    assert_int_equal(c.free_slot_count, SLOTS);
    kv_cache_drop(&c);
    free(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_apart_and_come_back),
        cmocka_unit_test(addresses_do_not_overlap),
        cmocka_unit_test(sequences_grow_cut_and_run_out),
        cmocka_unit_test(too_little_memory_is_an_error),
    };
    return cmocka_run_group_tests_name("kv", tests, NULL, NULL);
}
