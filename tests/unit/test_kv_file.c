/* SPDX-License-Identifier: Apache-2.0
 * A sequence as bytes: what comes back is what was there, and no other bytes are taken for it: every byte changed, every length
 * cut, other stores, precisions and layouts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/span.h"
#include "base/str.h"
#include "state/kv_file.h"

enum { PAGES = 4, LENGTH = 70, MOST = 200, VOCAB = 1000 };
/* Layers differ, one keeps nothing, one a state. */
static const struct kv_layer LAYERS[] = {{2, 4, 4, 0}, {0, 0, 0, 0}, {1, 6, 0, 0}, {0, 0, 0, 21}};
static const struct hash128 STORE = {.low = 11, .high = 22};

struct place {
    struct kv_cache cache;
    struct kv_sequence sequence;
    void *memory;
};

static void open_place(struct place *p, const struct kv_layer *layers, uint32_t count, enum kern_dtype dtype) {
    struct kv_shape shape = {.layers = count, .layer = layers, .slots = 1, .dtype = dtype};
    struct lamina_error err = {0};
    uint64_t bytes = kv_slot_bytes(layers, count);
    for (uint32_t i = 0; i < count; i++) {
        bytes += kv_layer_bytes(&layers[i], dtype) * PAGES;
    }
    p->memory = aligned_alloc(64, (bytes + 63) & ~(uint64_t)63);
    memset(p->memory, 0xA5, bytes);
    assert_int_equal(kv_cache_init(&p->cache, &shape, p->memory, bytes, &err), LAMINA_OK);
    assert_int_equal(kv_sequence_init(&p->sequence, MOST, &err), LAMINA_OK);
}

static void close_place(struct place *p) {
    kv_sequence_drop(&p->cache, &p->sequence);
    kv_cache_drop(&p->cache);
    free(p->memory);
}

static lamina_status to_str(void *user, const void *bytes, size_t len, struct lamina_error *err) {
    (void)err;
    str_add((struct str *)user, bytes, len);
    return LAMINA_OK;
}

static lamina_status from_span(void *user, void *bytes, size_t len, struct lamina_error *err) {
    struct span *rest = (struct span *)user;
    if (len > rest->len) {
        return base_fail(err, LAMINA_DAMAGED, "ends early");
    }
    memcpy(bytes, rest->ptr, len);
    *rest = span_sub(*rest, len, rest->len);
    return LAMINA_OK;
}

static struct kv_record record(uint32_t *ids) {
    return (struct kv_record){.store = STORE, .vocab = VOCAB, .length = LENGTH, .has_state = true, .prompt_length = 9, .ids = ids};
}

/* The bytes of a sequence whose pages hold numbers of their own. */
static void write_one(struct str *out) {
    struct place p;
    uint32_t ids[LENGTH];
    struct lamina_error err = {0};
    open_place(&p, LAYERS, ARRAY_LEN(LAYERS), KERN_F16);
    assert_int_equal(kv_sequence_grow(&p.cache, &p.sequence, LENGTH, &err), LAMINA_OK);
    for (uint32_t i = 0; i < LENGTH; i++) {
        ids[i] = (i * 37) % VOCAB;
    }
    for (uint64_t i = 0; i < 2 * p.cache.page_bytes; i++) {
        p.cache.base[p.sequence.pages[i / p.cache.page_bytes] * p.cache.page_bytes + i % p.cache.page_bytes] = (uint8_t)(i * 7 + 1);
    }
    memset(kv_slot_at(&p.cache, p.sequence.slot), 0x5A, p.cache.slot_bytes);
    struct kv_record r = record(ids);
    struct kv_writer w = {.user = out, .write = to_str};
    assert_int_equal(kv_file_write(&p.cache, &p.sequence, &r, &w, &err), LAMINA_OK);
    assert_int_equal(out->len, KV_FILE_HEAD + LENGTH * 4 + 2 * p.cache.page_bytes + p.cache.slot_bytes + KV_FILE_END);
    close_place(&p);
}

static lamina_status read_into(struct place *p, struct span bytes, uint32_t most, struct kv_record *r, uint32_t *ids,
                               struct lamina_error *err) {
    struct span rest = bytes;
    struct kv_reader in = {.user = &rest, .bytes = bytes.len, .read = from_span};
    *err = (struct lamina_error){0};
    *r = (struct kv_record){.store = STORE, .vocab = VOCAB, .ids = ids};
    return kv_file_read(&p->cache, &p->sequence, r, most, &in, err);
}

static void what_was_written_is_read(void **state) {
    (void)state;
    struct str bytes = {0};
    struct str again = {0};
    struct place p;
    struct kv_record r;
    uint32_t ids[MOST];
    struct lamina_error err = {0};
    write_one(&bytes);
    open_place(&p, LAYERS, ARRAY_LEN(LAYERS), KERN_F16);
    assert_int_equal(read_into(&p, str_span(&bytes), MOST, &r, ids, &err), LAMINA_OK);
    assert_int_equal(r.length, LENGTH);
    assert_true(r.has_state);
    assert_int_equal(r.prompt_length, 9);
    assert_int_equal(ids[LENGTH - 1], (LENGTH - 1) * 37 % VOCAB);
    assert_int_equal(p.sequence.blocks, 2);
    struct kv_writer w = {.user = &again, .write = to_str};
    assert_int_equal(kv_file_write(&p.cache, &p.sequence, &r, &w, &err), LAMINA_OK);
    assert_true(span_equal(str_span(&bytes), str_span(&again)));
    close_place(&p);
    str_drop(&bytes);
    str_drop(&again);
}

static void unused_positions_are_zero_and_used_ones_stay(void **state) {
    (void)state;
    struct str bytes = {0};
    struct place p;
    struct kv_record r;
    uint32_t ids[MOST];
    struct lamina_error err = {0};
    write_one(&bytes);
    open_place(&p, LAYERS, ARRAY_LEN(LAYERS), KERN_F16);
    assert_int_equal(read_into(&p, str_span(&bytes), MOST, &r, ids, &err), LAMINA_OK);
    for (uint32_t layer = 0; layer < ARRAY_LEN(LAYERS); layer++) {
        for (uint32_t head = 0; head < LAYERS[layer].kv_heads; head++) {
            const uint8_t *page = p.cache.base + p.sequence.pages[1] * p.cache.page_bytes;
            const uint16_t *k = (const uint16_t *)kv_k(&p.cache, p.sequence.pages[1], layer, head);
            const uint16_t *v = (const uint16_t *)kv_v(&p.cache, p.sequence.pages[1], layer, head);
            for (uint32_t at = 0; at < KERN_KV_BLOCK; at++) {
                for (uint32_t d = 0; d < LAYERS[layer].k_dim; d++) {
                    const uint16_t *one = k + (at / 16 * LAYERS[layer].k_dim + d) * 16 + at % 16;
                    uint64_t i = (uint64_t)((const uint8_t *)one - page) + p.cache.page_bytes;
                    uint16_t was = (uint16_t)((uint8_t)(i * 7 + 1) | (uint8_t)((i + 1) * 7 + 1) << 8);
                    assert_int_equal(*one, at < LENGTH - KERN_KV_BLOCK ? was : 0);
                }
                for (uint32_t d = 0; d < LAYERS[layer].v_dim; d++) {
                    const uint16_t *one = v + at * 16 + d;
                    uint64_t i = (uint64_t)((const uint8_t *)one - page) + p.cache.page_bytes;
                    uint16_t was = (uint16_t)((uint8_t)(i * 7 + 1) | (uint8_t)((i + 1) * 7 + 1) << 8);
                    assert_int_equal(*one, at < LENGTH - KERN_KV_BLOCK ? was : 0);
                }
            }
        }
    }
    close_place(&p);
    str_drop(&bytes);
}

static void expect_refused(struct place *p, struct span bytes, const char *what, size_t at) {
    struct kv_record r;
    uint32_t ids[MOST];
    struct lamina_error err = {0};
    lamina_status status = read_into(p, bytes, MOST, &r, ids, &err);
    if ((status != LAMINA_DAMAGED && status != LAMINA_UNSUPPORTED) || err.code != status || p->sequence.blocks != 0 ||
        p->cache.free_count != PAGES || r.length != 0) {
        fail_msg("%s at %zu: status %d, %u blocks: %s", what, at, status, p->sequence.blocks, err.message);
    }
}

static void every_changed_byte_is_found(void **state) {
    (void)state;
    struct str bytes = {0};
    struct place p;
    write_one(&bytes);
    open_place(&p, LAYERS, ARRAY_LEN(LAYERS), KERN_F16);
    for (size_t i = 0; i < bytes.len; i++) {
        bytes.ptr[i] = (char)(bytes.ptr[i] ^ 0x10);
        expect_refused(&p, str_span(&bytes), "a changed byte", i);
        bytes.ptr[i] = (char)(bytes.ptr[i] ^ 0x10);
    }
    for (size_t i = 0; i < bytes.len; i++) {
        expect_refused(&p, span_of(bytes.ptr, i), "cut", i);
    }
    str_add_byte(&bytes, 0);
    expect_refused(&p, str_span(&bytes), "a byte more", bytes.len);
    close_place(&p);
    str_drop(&bytes);
}

/* A head that says something else under a right checksum: anybody can compute one. */
static void signed_head(struct str *bytes, size_t at, uint32_t value) {
    store_le32(bytes->ptr + at, value);
    struct hash128 sum = hash_xxh3_128(bytes->ptr, KV_FILE_HEAD - 16);
    store_le64(bytes->ptr + KV_FILE_HEAD - 16, sum.low);
    store_le64(bytes->ptr + KV_FILE_HEAD - 8, sum.high);
}

static void heads_that_do_not_fit_are_refused(void **state) {
    (void)state;
    static const struct {
        size_t at;
        uint32_t value;
        lamina_status want;
    } cases[] = {
        {8, 2, LAMINA_UNSUPPORTED},            {12, 2, LAMINA_UNSUPPORTED},  {16, 12, LAMINA_UNSUPPORTED},
        {32, 3, LAMINA_UNSUPPORTED},           {36, 32, LAMINA_UNSUPPORTED}, {40, 64, LAMINA_UNSUPPORTED},
        {56, 1, LAMINA_UNSUPPORTED},           {72, 999, LAMINA_UNSUPPORTED}, {76, 0, LAMINA_DAMAGED},
        {76, LENGTH + 1, LAMINA_DAMAGED},      {76, UINT32_MAX, LAMINA_DAMAGED}, {80, 0, LAMINA_DAMAGED},
        {80, 3, LAMINA_DAMAGED},               {84, 0, LAMINA_DAMAGED},      {88, 1, LAMINA_DAMAGED},
        {92, 1, LAMINA_DAMAGED},               {96, 1, LAMINA_DAMAGED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str bytes = {0};
        struct place p;
        struct kv_record r;
        uint32_t ids[MOST];
        struct lamina_error err = {0};
        write_one(&bytes);
        open_place(&p, LAYERS, ARRAY_LEN(LAYERS), KERN_F16);
        signed_head(&bytes, cases[i].at, cases[i].value);
        lamina_status status = read_into(&p, str_span(&bytes), MOST, &r, ids, &err);
        if (status != cases[i].want || p.sequence.blocks != 0) {
            fail_msg("%u at %zu: status %d: %s", cases[i].value, cases[i].at, status, err.message);
        }
        close_place(&p);
        str_drop(&bytes);
    }
}

static void other_caches_and_contexts_refuse(void **state) {
    (void)state;
    static const struct kv_layer other[] = {{2, 4, 4, 0}, {0, 0, 0, 0}, {1, 5, 0, 0}, {0, 0, 0, 21}};
    struct str bytes = {0};
    struct place p;
    struct kv_record r;
    uint32_t ids[MOST];
    struct lamina_error err = {0};
    write_one(&bytes);
    open_place(&p, LAYERS, ARRAY_LEN(LAYERS), KERN_F32);
    assert_int_equal(read_into(&p, str_span(&bytes), MOST, &r, ids, &err), LAMINA_UNSUPPORTED);
    assert_non_null(strstr(err.message, "f16"));
    close_place(&p);
    open_place(&p, other, ARRAY_LEN(other), KERN_F16);
    assert_int_equal(read_into(&p, str_span(&bytes), MOST, &r, ids, &err), LAMINA_UNSUPPORTED);
    close_place(&p);
    open_place(&p, LAYERS, ARRAY_LEN(LAYERS), KERN_F16);
    assert_int_equal(read_into(&p, str_span(&bytes), LENGTH - 1, &r, ids, &err), LAMINA_USAGE);
    assert_non_null(strstr(err.message, "70 tokens and the context holds 69"));
    close_place(&p);
    str_drop(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(unused_positions_are_zero_and_used_ones_stay),
        cmocka_unit_test(every_changed_byte_is_found),
        cmocka_unit_test(heads_that_do_not_fit_are_refused),
        cmocka_unit_test(other_caches_and_contexts_refuse),
    };
    return cmocka_run_group_tests_name("kv_file", tests, NULL, NULL);
}
