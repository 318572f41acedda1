/* SPDX-License-Identifier: Apache-2.0
 * The reader of GGUF headers: every type of value, every rule with a file that breaks exactly it, files that announce more
 * than they have, models in several files, and the vocabularies of real models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gguf_maker.h"
#include "golden_files.h"

static struct lamina_error last;

/* As a caller does it: a short front first, then as much as is asked for. */
static lamina_status parse(struct span file, struct arena *arena, struct gguf *g) {
    uint64_t len = 0;
    size_t front = 0;
    last = (struct lamina_error){0};
    for (unsigned tries = 0; tries < 20; tries++) {
        lamina_status status = gguf_measure(span_sub(file, 0, front), file.len, "x.gguf", &len, &last);
        if (status < 0) {
            return status;
        }
        if (len <= front) {
            return gguf_parse(span_sub(file, 0, (size_t)len), file.len, "x.gguf", arena, g, &last);
        }
        assert_true(len <= file.len);
        front = (size_t)len;
    }
    fail();
    return LAMINA_IO;
}

/* The status, and words that the message must have. */
static void expect(struct span file, lamina_status wanted, const char *words) {
    struct arena arena = {.limit_bytes = file.len * 8 + (1 << 20)};
    struct gguf g = {0};
    lamina_status got = parse(file, &arena, &g);
    if (got != wanted || last.code != wanted || (wanted < 0 && strstr(last.message, "x.gguf") == NULL) ||
        (words != NULL && strstr(last.message, words) == NULL)) {
        print_error("status %d, \"%s\"; expected %d, \"%s\"\n", got, last.message, wanted, words == NULL ? "" : words);
        fail();
    }
    arena_drop(&arena);
}

/* ---- a good file ---- */

static const uint64_t matrix_dims[] = {64, 3};
static const uint64_t norm_dims[] = {5};

static void good(struct str *s) {
    gg_front(s, 3, 3, 2);
    gg_pair_text(s, "general.architecture", "llama");
    gg_pair_u32(s, "general.alignment", 64);
    gg_tensor(s, "blk.0.w", 2, matrix_dims, 2, 0);     /* Q4_0: 6 blocks of 18 = 108 bytes */
    gg_tensor(s, "a.norm", 1, norm_dims, 0, 128);      /* F32: 20 bytes */
    gg_tensor(s, "scalar", 0, NULL, 30, 192);          /* BF16: 2 bytes */
}

static void test_layout(void **state) {
    (void)state;
    struct str s = {0};
    struct arena arena = {0};
    struct gguf g = {0};
    good(&s);
    size_t header = gg_data(&s, 64, 194);
    assert_int_equal(parse(str_span(&s), &arena, &g), LAMINA_OK);
    assert_int_equal(g.version, 3);
    assert_int_equal(g.alignment, 64);
    assert_int_equal(g.count, 3);
    assert_int_equal(g.pair_count, 2);
    uint64_t data = (header + 63) / 64 * 64;
    assert_int_equal(g.data_begin, data);
    const struct gguf_tensor *t = gguf_tensor_find(&g, "blk.0.w");
    assert_non_null(t);
    assert_string_equal(t->type->name, "Q4_0");
    assert_int_equal(t->rank, 2);
    assert_int_equal(t->shape[0], 3);
    assert_int_equal(t->shape[1], 64);
    assert_int_equal(t->elements, 192);
    assert_int_equal(t->bytes, 108);
    assert_int_equal(t->offset, data);
    t = gguf_tensor_find(&g, "a.norm");
    assert_true(t == &g.tensors[0] && t->offset == data + 128 && t->bytes == 20);
    t = gguf_tensor_find(&g, "scalar");
    assert_true(t->rank == 0 && t->elements == 1 && t->bytes == 2 && t->offset == data + 192);
    assert_null(gguf_tensor_find(&g, "b"));
    /* Padding behind the last tensor, up to the alignment, may be there. */
    for (unsigned i = 0; i < 62; i++) {
        str_add_byte(&s, 0);
    }
    expect(str_span(&s), LAMINA_OK, NULL);
    str_add_byte(&s, 0);
    expect(str_span(&s), LAMINA_DAMAGED, "the tensors end at byte");
    arena_drop(&arena);
    str_drop(&s);
}

/* Wherever a file ends too early, it says so. */
static void test_cut_short(void **state) {
    (void)state;
    struct str s = {0};
    good(&s);
    (void)gg_data(&s, 64, 194);
    for (size_t len = 0; len < s.len; len++) {
        uint8_t *copy = malloc(len + 1); /* of its own, so that reads beyond are seen */
        assert_non_null(copy);
        memcpy(copy, s.ptr, len);
        expect(span_of(copy, len), LAMINA_DAMAGED, "cut short");
        free(copy);
    }
    str_drop(&s);
}

/* ---- values ---- */

static void all_types(struct str *s) {
    gg_front(s, 2, 0, 15);
    gg_key(s, "u8", GGUF_U8);
    str_add_byte(s, 200);
    gg_key(s, "i8", GGUF_I8);
    str_add_byte(s, 200);
    gg_pair_u16(s, "u16", 60000);
    gg_key(s, "i16", GGUF_I16);
    str_add(s, "\x60\xea", 2);
    gg_pair_u32(s, "u32", 4000000000u);
    gg_key(s, "i32", GGUF_I32);
    gg_32(s, 0xfffffffe);
    gg_key(s, "f32", GGUF_F32);
    gg_32(s, 0x3fc00000); /* 1.5 */
    gg_key(s, "yes", GGUF_BOOL);
    str_add_byte(s, 1);
    gg_pair_text(s, "text", "h\xff\x01i");
    gg_key(s, "u64", GGUF_U64);
    gg_64(s, UINT64_MAX);
    gg_key(s, "i64", GGUF_I64);
    gg_64(s, (uint64_t)-7);
    gg_key(s, "f64", GGUF_F64);
    gg_64(s, UINT64_C(0xc004000000000000)); /* -2.5 */
    gg_key(s, "texts", GGUF_ARRAY);
    gg_32(s, GGUF_TEXT);
    gg_64(s, 3);
    gg_text(s, "a");
    gg_text(s, "");
    gg_text(s, "ccc");
    gg_key(s, "nested", GGUF_ARRAY);
    gg_32(s, GGUF_ARRAY);
    gg_64(s, 2);
    gg_32(s, GGUF_U16);
    gg_64(s, 2);
    gg_32(s, 5 | 6 << 16);
    gg_32(s, GGUF_TEXT);
    gg_64(s, 1);
    gg_text(s, "deep");
    gg_key(s, "none", GGUF_ARRAY);
    gg_32(s, GGUF_F64);
    gg_64(s, 0);
}

static void test_numbers(void **state) {
    (void)state;
    struct str s = {0};
    struct arena arena = {0};
    struct gguf g = {0};
    all_types(&s);
    assert_int_equal(parse(str_span(&s), &arena, &g), LAMINA_OK);
    static const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"u8", 200}, {"i8", -56}, {"u16", 60000}, {"i16", -5536}, {"u32", 4000000000}, {"i32", -2}, {"i64", -7}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        int64_t v = 0;
        uint64_t u = 1234;
        double d = 0;
        assert_true(gguf_as_i64(gguf_find(&g, numbers[i].key), &v) && v == numbers[i].value);
        assert_int_equal(gguf_as_u64(gguf_find(&g, numbers[i].key), &u), v >= 0);
        assert_true(u == (v >= 0 ? (uint64_t)v : 1234));
        assert_true(gguf_as_f64(gguf_find(&g, numbers[i].key), &d) && d == (double)v);
    }
    uint64_t u = 0;
    int64_t v = 0;
    double d = 0;
    bool b = false;
    struct span text = {0};
    assert_true(gguf_as_u64(gguf_find(&g, "u64"), &u) && u == UINT64_MAX);
    assert_false(gguf_as_i64(gguf_find(&g, "u64"), &v));
    assert_true(gguf_as_f64(gguf_find(&g, "u64"), &d) && d == 18446744073709551616.0);
    assert_true(gguf_as_f64(gguf_find(&g, "f32"), &d) && d == 1.5);
    assert_true(gguf_as_f64(gguf_find(&g, "f64"), &d) && d == -2.5);
    assert_true(gguf_as_bool(gguf_find(&g, "yes"), &b) && b);
    assert_true(gguf_as_text(gguf_find(&g, "text"), &text) && span_is(text, "h\xff\x01i"));
    assert_true(text.ptr >= (const uint8_t *)s.ptr && text.ptr < (const uint8_t *)s.ptr + s.len); /* not a copy */
    /* Other kinds, and keys that are not there. */
    assert_false(gguf_as_u64(gguf_find(&g, "f32"), &u) || gguf_as_u64(gguf_find(&g, "yes"), &u));
    assert_false(gguf_as_bool(gguf_find(&g, "u8"), &b) || gguf_as_text(gguf_find(&g, "texts"), &text));
    assert_false(gguf_as_f64(gguf_find(&g, "text"), &d) || gguf_as_u64(gguf_find(&g, "u"), &u));
    assert_null(gguf_find(&g, ""));
    arena_drop(&arena);
    str_drop(&s);
}

static void test_arrays(void **state) {
    (void)state;
    struct str s = {0};
    struct arena arena = {0};
    struct gguf g = {0};
    struct gguf_items it;
    struct gguf_items inner;
    struct gguf_value v;
    struct span text;
    uint64_t u = 0;
    all_types(&s);
    assert_int_equal(parse(str_span(&s), &arena, &g), LAMINA_OK);
    static const char *const texts[] = {"a", "", "ccc"};
    assert_true(gguf_items_of(gguf_find(&g, "texts"), &it) && it.left == 3 && it.type == GGUF_TEXT);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(gguf_next(&it, &v) && gguf_as_text(&v, &text) && span_is(text, texts[i]));
    }
    assert_false(gguf_next(&it, &v));
    assert_true(gguf_items_of(gguf_find(&g, "nested"), &it) && gguf_next(&it, &v) && gguf_items_of(&v, &inner));
    assert_true(gguf_next(&inner, &v) && gguf_as_u64(&v, &u) && u == 5);
    assert_true(gguf_next(&inner, &v) && gguf_as_u64(&v, &u) && u == 6 && !gguf_next(&inner, &v));
    assert_true(gguf_next(&it, &v) && gguf_items_of(&v, &inner) && gguf_next(&inner, &v));
    assert_true(gguf_as_text(&v, &text) && span_is(text, "deep") && !gguf_next(&it, &v));
    assert_true(gguf_items_of(gguf_find(&g, "none"), &it) && !gguf_next(&it, &v));
    assert_false(gguf_items_of(gguf_find(&g, "u8"), &it) || gguf_items_of(NULL, &it));
    arena_drop(&arena);
    str_drop(&s);
}

/* ---- one thing wrong ---- */

static void test_fronts(void **state) {
    (void)state;
    struct str s = {0};
    expect(span_of("GGJT\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24), LAMINA_DAMAGED, "does not begin with");
    expect(span_of("PK\3\4", 4), LAMINA_DAMAGED, "does not begin with");
    static const uint32_t versions[] = {0, 1, 4, 0x03000000, 0x02000000};
    for (unsigned i = 0; i < 5; i++) {
        gg_front(&s, versions[i], 0, 0);
        expect(str_span(&s), LAMINA_UNSUPPORTED, i < 3 ? "2 and 3 are known" : "big-endian");
    }
    gg_front(&s, 3, 0, 0);
    expect(str_span(&s), LAMINA_OK, NULL);
    /* A file of a few bytes that announces everything. */
    static const uint64_t counts[] = {1, 100, GGUF_MAX_TENSORS + 1, UINT64_MAX, UINT64_C(1) << 63};
    for (unsigned i = 0; i < 5; i++) {
        gg_front(&s, 3, counts[i], 0);
        expect(str_span(&s), LAMINA_DAMAGED, i == 0 ? NULL : "are announced");
        gg_front(&s, 3, 0, counts[i]);
        expect(str_span(&s), LAMINA_DAMAGED, i == 0 ? NULL : "are announced");
    }
    str_drop(&s);
}

static void test_pairs(void **state) {
    (void)state;
    struct str s = {0};
    gg_front(&s, 3, 0, 2);
    gg_pair_u32(&s, "twice", 1);
    gg_pair_text(&s, "twice", "b");
    expect(str_span(&s), LAMINA_DAMAGED, "\"twice\" appears twice");
    static const char *const names[] = {"", "a\nb", "\xff", "a\x7f"};
    for (unsigned i = 0; i < 4; i++) {
        gg_front(&s, 3, 0, 1);
        gg_pair_u32(&s, names[i], 1);
        expect(str_span(&s), LAMINA_DAMAGED, i == 0 ? "1 to 65535" : "plain text");
    }
    gg_front(&s, 3, 0, 1);
    gg_key(&s, "k", (enum gguf_type)13);
    gg_64(&s, 0);
    expect(str_span(&s), LAMINA_DAMAGED, "type 13");
    gg_front(&s, 3, 0, 1);
    gg_key(&s, "k", GGUF_ARRAY);
    gg_32(&s, 99);
    gg_64(&s, 0);
    expect(str_span(&s), LAMINA_DAMAGED, "items of type 99");
    gg_front(&s, 3, 0, 1);
    gg_key(&s, "k", GGUF_BOOL);
    str_add_byte(&s, 2);
    expect(str_span(&s), LAMINA_DAMAGED, "true or false");
    gg_front(&s, 3, 0, 1);
    gg_key(&s, "k", GGUF_ARRAY);
    gg_32(&s, GGUF_BOOL);
    gg_64(&s, 3);
    str_add(&s, "\0\1\xff", 3);
    expect(str_span(&s), LAMINA_DAMAGED, "255 where true");
    static const uint32_t wrong[] = {0, 3, 48, 1u << 21, 0x80000000};
    for (unsigned i = 0; i < 5; i++) {
        gg_front(&s, 3, 0, 1);
        gg_pair_u32(&s, "general.alignment", wrong[i]);
        expect(str_span(&s), LAMINA_DAMAGED, "power of two");
    }
    gg_front(&s, 3, 0, 1);
    gg_pair_text(&s, "general.alignment", "32");
    expect(str_span(&s), LAMINA_DAMAGED, "power of two");
    str_drop(&s);
}

/* Lengths that no file can have: each is compared with the file before anything is done with it. */
static void test_announced(void **state) {
    (void)state;
    struct str s = {0};
    static const uint64_t lengths[] = {100, UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 60, INT64_MAX};
    static const enum gguf_type items[] = {GGUF_U8, GGUF_F64, GGUF_TEXT, GGUF_ARRAY, GGUF_BOOL};
    for (unsigned i = 0; i < 5; i++) {
        gg_front(&s, 3, 0, 1);
        gg_64(&s, lengths[i]); /* a key */
        gg_64(&s, 0);
        expect(str_span(&s), LAMINA_DAMAGED, "announced");
        gg_front(&s, 3, 0, 1);
        gg_key(&s, "k", GGUF_TEXT);
        gg_64(&s, lengths[i]);
        gg_64(&s, 0);
        expect(str_span(&s), LAMINA_DAMAGED, "announced");
        for (unsigned k = 0; k < 5; k++) {
            gg_front(&s, 3, 0, 1);
            gg_key(&s, "k", GGUF_ARRAY);
            gg_32(&s, (uint32_t)items[k]);
            gg_64(&s, lengths[i]);
            gg_64(&s, 0);
            expect(str_span(&s), LAMINA_DAMAGED, "announced");
        }
    }
    /* Arrays in arrays, a few and many. */
    for (unsigned depth = 4; depth <= 100000; depth = depth == 4 ? 5 : depth * 20000) {
        gg_front(&s, 3, 0, 1);
        gg_key(&s, "k", GGUF_ARRAY);
        for (unsigned i = 1; i < depth; i++) {
            gg_32(&s, GGUF_ARRAY);
            gg_64(&s, 1);
        }
        gg_32(&s, GGUF_U8);
        gg_64(&s, 0);
        expect(str_span(&s), depth == 4 ? LAMINA_OK : LAMINA_UNSUPPORTED, depth == 4 ? NULL : "deep");
    }
    str_drop(&s);
}

static void tensor_case(uint32_t rank, const uint64_t *dims, uint32_t type, uint64_t offset, lamina_status wanted,
                        const char *words) {
    struct str s = {0};
    gg_front(&s, 3, 1, 0);
    gg_tensor(&s, "w", rank, dims, type, offset);
    (void)gg_data(&s, 32, 128);
    expect(str_span(&s), wanted, words);
    str_drop(&s);
}

#define DIMS(...) sizeof((uint64_t[]){__VA_ARGS__}) / 8, (uint64_t[]){__VA_ARGS__}

static void test_tensors(void **state) {
    (void)state;
    const uint64_t big = UINT64_C(1) << 40;
    tensor_case(DIMS(32), 0, 0, LAMINA_OK, NULL);
    tensor_case(DIMS(4, 2, 2, 2), 0, 0, LAMINA_OK, NULL);
    tensor_case(DIMS(2, 2, 2, 2, 2), 0, 0, LAMINA_DAMAGED, "5 dimensions");
    tensor_case(DIMS(31), 0, 0, LAMINA_OK, NULL); /* and its padding */
    tensor_case(DIMS(24), 0, 0, LAMINA_DAMAGED, "the tensors end");
    tensor_case(DIMS(33), 0, 0, LAMINA_DAMAGED, "cut short");
    tensor_case(DIMS(32), 0, 32, LAMINA_DAMAGED, "a hole");
    tensor_case(DIMS(32), 0, UINT64_MAX, LAMINA_DAMAGED, "a hole");
    tensor_case(DIMS(big, big), 0, 0, LAMINA_DAMAGED, "beyond 64 bits");
    tensor_case(DIMS(big, big, 0), 0, 0, LAMINA_DAMAGED, "beyond 64 bits");
    tensor_case(DIMS(UINT64_MAX), 0, 0, LAMINA_DAMAGED, "beyond 64 bits");
    tensor_case(DIMS(big, 1 << 12), 0, 0, LAMINA_DAMAGED, "2^53 bytes");
    tensor_case(DIMS(16, 8), 2, 0, LAMINA_DAMAGED, "whole blocks of Q4_0");
    tensor_case(DIMS(128, 2), 12, 0, LAMINA_DAMAGED, "whole blocks of Q4_K");
    tensor_case(DIMS(32), 4, 0, LAMINA_UNSUPPORTED, "removed in 2023");
    tensor_case(DIMS(32), 33, 0, LAMINA_UNSUPPORTED, "Q4_0 repacked");
    tensor_case(DIMS(32), 137, 0, LAMINA_UNSUPPORTED, "ik_llama.cpp");
    tensor_case(DIMS(32), 1000, 0, LAMINA_UNSUPPORTED, "newer");
    struct str s = {0};
    static const uint64_t dims[] = {8};
    for (unsigned i = 0; i < 4; i++) {
        static const uint64_t second[] = {32, 0, 31, 64};
        gg_front(&s, 3, 2, 0);
        gg_tensor(&s, "a", 1, dims, 0, 0);
        gg_tensor(&s, i == 0 ? "a" : "b", 1, dims, 0, second[i]);
        (void)gg_data(&s, 32, 64);
        expect(str_span(&s), LAMINA_DAMAGED, i == 0 ? "\"a\" appears twice" : i == 3 ? "a hole" : "an overlap");
    }
    char name[600];
    memset(name, 'n', sizeof(name));
    name[513] = 0;
    for (unsigned i = 0; i < 3; i++) {
        gg_front(&s, 3, 1, 0);
        gg_tensor(&s, i == 0 ? "" : i == 1 ? "t\x1b[2J" : name, 1, dims, 0, 0);
        (void)gg_data(&s, 32, 32);
        expect(str_span(&s), LAMINA_DAMAGED, i == 1 ? "plain text" : "1 to 512");
    }
    /* A tensor without elements takes no room. */
    static const uint64_t none[] = {0, 7};
    gg_front(&s, 3, 2, 0);
    gg_tensor(&s, "a", 2, none, 12, 0);
    gg_tensor(&s, "b", 1, dims, 0, 0);
    (void)gg_data(&s, 32, 32);
    expect(str_span(&s), LAMINA_OK, NULL);
    str_drop(&s);
}

/* A header that is not the one that was measured. */
static void test_other_header(void **state) {
    (void)state;
    struct str s = {0};
    struct arena arena = {0};
    struct gguf g = {0};
    good(&s);
    size_t header = gg_data(&s, 64, 194);
    last = (struct lamina_error){0};
    assert_int_equal(gguf_parse(span_of(s.ptr, header + 1), s.len, "x", &arena, &g, &last), LAMINA_DAMAGED);
    assert_non_null(strstr(last.message, "1 bytes before"));
    last = (struct lamina_error){0};
    assert_int_equal(gguf_parse(span_of(s.ptr, header - 1), s.len, "x", &arena, &g, &last), LAMINA_DAMAGED);
    assert_non_null(strstr(last.message, "before it is complete"));
    arena_drop(&arena);
    str_drop(&s);
}

/* A header of several MiB: asked for in few steps, never more than the file has. */
static void test_long_header(void **state) {
    (void)state;
    enum { WORDS = 300000 };
    struct str s = {0};
    struct arena arena = {0};
    struct gguf g = {0};
    struct gguf_items it;
    struct gguf_value v;
    struct span text;
    unsigned n = 0;
    gg_front(&s, 3, 0, 1);
    gg_key(&s, "tokenizer.ggml.tokens", GGUF_ARRAY);
    gg_32(&s, GGUF_TEXT);
    gg_64(&s, WORDS);
    for (unsigned i = 0; i < WORDS; i++) {
        char word[16];
        (void)snprintf(word, sizeof(word), "w%u", i);
        gg_text(&s, word);
    }
    assert_int_equal(parse(str_span(&s), &arena, &g), LAMINA_OK);
    assert_true(arena.taken_bytes < 1 << 20); /* items are not copied */
    assert_true(gguf_items_of(gguf_find(&g, "tokenizer.ggml.tokens"), &it));
    for (; gguf_next(&it, &v); n++) {
        char word[16];
        (void)snprintf(word, sizeof(word), "w%u", n);
        assert_true(gguf_as_text(&v, &text) && span_is(text, word));
    }
    assert_int_equal(n, WORDS);
    uint64_t len = 0;
    unsigned steps = 0;
    for (size_t front = 0; front < s.len; front = (size_t)len, steps++) {
        assert_int_equal(gguf_measure(span_of(s.ptr, front), s.len, "x", &len, &last), LAMINA_OK);
        assert_true(len > front && len <= s.len);
    }
    assert_true(steps < 6);
    /* In a file of terabytes the header may not go on for ever. */
    gg_front(&s, 3, 0, 1);
    gg_key(&s, "k", GGUF_TEXT);
    gg_64(&s, UINT64_C(1) << 30);
    last = (struct lamina_error){0};
    assert_int_equal(gguf_measure(str_span(&s), UINT64_C(1) << 42, "x", &len, &last), LAMINA_UNSUPPORTED);
    assert_non_null(strstr(last.message, "longer than"));
    arena_drop(&arena);
    str_drop(&s);
}

/* ---- several files ---- */

struct parts {
    struct str text[3];
    struct arena arena;
    struct gguf file[3];
    struct gguf_part part[3];
};

static void make_part(struct parts *p, unsigned at, unsigned no, unsigned count, const char *tensor, unsigned total) {
    static const char *const names[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"};
    static const uint64_t dims[] = {8};
    struct str *s = &p->text[at];
    gg_front(s, 3, tensor != NULL, count > 0 ? 3 : 0);
    if (count > 0) {
        gg_pair_u16(s, "split.no", (uint16_t)no);
        gg_pair_u16(s, "split.count", (uint16_t)count);
        gg_key(s, "split.tensors.count", GGUF_I32);
        gg_32(s, total);
    }
    if (tensor != NULL) {
        gg_tensor(s, tensor, 1, dims, 0, 0);
    }
    size_t header = gg_data(s, 32, tensor != NULL ? 32 : 0);
    last = (struct lamina_error){0};
    assert_int_equal(gguf_parse(span_of(s->ptr, header), s->len, names[at], &p->arena, &p->file[at], &last), LAMINA_OK);
    p->part[at] = (struct gguf_part){.name = names[at], .file = &p->file[at]};
}

static void expect_join(struct parts *p, unsigned count, lamina_status wanted, const char *words) {
    struct gguf_set set = {0};
    last = (struct lamina_error){0};
    lamina_status got = gguf_join(p->part, count, &p->arena, &set, &last);
    if (got != wanted || (words != NULL && strstr(last.message, words) == NULL)) {
        print_error("status %d, \"%s\"; expected %d, \"%s\"\n", got, last.message, wanted, words == NULL ? "" : words);
        fail();
    }
    if (got == LAMINA_OK && count == 3) {
        assert_int_equal(set.count, 2);
        assert_string_equal(set.list[0].tensor->name, "a");
        assert_int_equal(set.list[0].part, 2);
        assert_string_equal(set.list[1].tensor->name, "b");
        assert_int_equal(set.list[1].part, 1);
    }
}

static void test_join(void **state) {
    (void)state;
    struct parts p = {0};
    make_part(&p, 0, 0, 3, NULL, 2);
    make_part(&p, 1, 1, 3, "b", 2);
    make_part(&p, 2, 2, 3, "a", 2);
    expect_join(&p, 3, LAMINA_OK, NULL);
    expect_join(&p, 2, LAMINA_DAMAGED, "part 0 of 3, expected 0 of 2");
    expect_join(&p, 1, LAMINA_DAMAGED, "part 0 of 3, expected 0 of 1");
    expect_join(&p, 0, LAMINA_USAGE, NULL);
    make_part(&p, 2, 1, 3, "a", 2);
    expect_join(&p, 3, LAMINA_DAMAGED, "00003-of-00003.gguf says that it is part 1 of 3, expected 2");
    make_part(&p, 2, 2, 3, "b", 2);
    expect_join(&p, 3, LAMINA_DAMAGED, "tensor \"b\" is in m-0000");
    make_part(&p, 2, 2, 0, "a", 2);
    expect_join(&p, 3, LAMINA_DAMAGED, "does not say which part");
    make_part(&p, 2, 2, 3, NULL, 2);
    expect_join(&p, 3, LAMINA_DAMAGED, "hold 1 tensors, 2 expected");
    make_part(&p, 0, 0, 0, "a", 0); /* an ordinary model */
    expect_join(&p, 1, LAMINA_OK, NULL);
    make_part(&p, 0, 0, 1, "a", 1); /* one that was split into one */
    expect_join(&p, 1, LAMINA_OK, NULL);
    for (unsigned i = 0; i < 3; i++) {
        str_drop(&p.text[i]);
    }
    arena_drop(&p.arena);
}

static void test_split_names(void **state) {
    (void)state;
    struct gguf_split s = {0};
    char name[80];
    assert_true(gguf_split_of("m-q4-00002-of-00012.gguf", &s));
    assert_true(span_is(s.stem, "m-q4") && s.no == 1 && s.count == 12);
    assert_true(gguf_split_name(&s, 11, name, sizeof(name)));
    assert_string_equal(name, "m-q4-00012-of-00012.gguf");
    assert_false(gguf_split_name(&s, 11, name, 24));
    static const char *const others[] = {"m.gguf", "m-00000-of-00003.gguf", "m-00004-of-00003.gguf", "-00001-of-00003.gguf",
                                         "m-0001-of-00003.gguf", "m-00001-of-00003.ggu", "m-00001-of-0000x.gguf", "",
                                         "m_00001-of-00003.gguf", "m-00001-to-00003.gguf"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(gguf_split_of(others[i], &s));
    }
}

/* ---- real files ---- */

static void test_vocabularies(void **state) {
    (void)state;
    static const struct {
        const char *file, *architecture;
        unsigned tokens;
    } files[] = {{"llama2/ggml-vocab-llama-spm.gguf", "llama", 32000},
                 {"phi3/ggml-vocab-phi-3.gguf", "phi3", 32064},
                 {"deepseek/ggml-vocab-deepseek-llm.gguf", "llama", 102400},
                 {"deepseek/ggml-vocab-deepseek-coder.gguf", "llama", 32256},
                 {"baichuan/ggml-vocab-baichuan.gguf", "baichuan", 64000}};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct str s = {0};
        struct arena arena = {0};
        struct gguf g = {0};
        struct gguf_items it;
        struct gguf_value v;
        struct span text = {0};
        unsigned n = 0;
        need(files[i].file, &s);
        if (parse(str_span(&s), &arena, &g) != LAMINA_OK) {
            print_error("%s: %s\n", files[i].file, last.message);
            fail();
        }
        assert_true(gguf_as_text(gguf_find(&g, "general.architecture"), &text) && span_is(text, files[i].architecture));
        assert_true(gguf_items_of(gguf_find(&g, "tokenizer.ggml.tokens"), &it));
        while (gguf_next(&it, &v)) {
            assert_true(gguf_as_text(&v, &text));
            n++;
        }
        assert_int_equal(n, files[i].tokens);
        arena_drop(&arena);
        str_drop(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),      cmocka_unit_test(test_cut_short),    cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_arrays),      cmocka_unit_test(test_fronts),       cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_announced),   cmocka_unit_test(test_tensors),      cmocka_unit_test(test_other_header),
        cmocka_unit_test(test_long_header), cmocka_unit_test(test_join),         cmocka_unit_test(test_split_names),
        cmocka_unit_test(test_vocabularies),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
