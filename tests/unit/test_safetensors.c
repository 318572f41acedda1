/* SPDX-License-Identifier: Apache-2.0
 * The safetensors header and index readers: each rule has a file that breaks exactly it, beside its lawful
 * neighbour. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "format/safetensors.h"

static struct lamina_error last;

static lamina_status parse(const char *json, size_t len, uint64_t data, struct arena *arena,
                           struct safetensors_header *h) {
    last = (struct lamina_error){0};
    return safetensors_parse(span_of(json, len), 8 + len + data, "x.safetensors", arena, h, &last);
}

static void expect(lamina_status wanted, const char *json, uint64_t data) {
    struct arena arena = {0};
    struct safetensors_header h = {0};
    lamina_status got = parse(json, strlen(json), data, &arena, &h);
    if (got != wanted || (got < 0 && (last.code != got || strstr(last.message, "x.safetensors") == NULL))) {
        print_error("%s\n-> %d (%s), expected %d\n", json, got, last.message, wanted);
        fail();
    }
    arena_drop(&arena);
}

#define GOOD(json, data) expect(LAMINA_OK, json, data)
#define BAD(json, data)  expect(LAMINA_DAMAGED, json, data)

static void test_layout(void **state) {
    (void)state;
    static const char json[] = "{\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                               "\"__metadata__\":{\"format\":\"pt\"},"
                               "\"a\\u00e9\":{\"data_offsets\":[0,8],\"shape\":[2],\"dtype\":\"F32\"},"
                               "\"e\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[8,8]}}  \n";
    struct arena arena = {0};
    struct safetensors_header h = {0};
    assert_int_equal(parse(json, strlen(json), 20, &arena, &h), LAMINA_OK);
    assert_int_equal(h.count, 3);
    uint64_t data = 8 + strlen(json);
    assert_string_equal(h.entries[0].name, "a\xc3\xa9");
    assert_int_equal(h.entries[0].offset, data);
    assert_string_equal(h.entries[1].name, "e");
    assert_int_equal(h.entries[1].bytes, 0);
    assert_string_equal(h.entries[2].name, "b");
    assert_string_equal(h.entries[2].dtype, "BF16");
    assert_int_equal(h.entries[2].rank, 2);
    assert_int_equal(h.entries[2].shape[1], 3);
    assert_int_equal(h.entries[2].elements, 6);
    assert_int_equal(h.entries[2].offset, data + 8);
    assert_int_equal(h.entries[2].bytes, 12);
    arena_drop(&arena);
}

static void test_rules(void **state) {
    (void)state;
    GOOD("{}", 0);
    BAD("{}", 1);
    BAD("", 0);
    BAD("[]", 0);
    BAD("{} {}", 0);
    BAD("{}x", 0);
    GOOD(" \n{}", 0);
    GOOD("{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 2);  /* a tail */
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 0);  /* cut short */
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2); /* a hole at the front */
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}", 1);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]}}", 1);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1);
    BAD("{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    BAD("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[1e0],\"data_offsets\":[0,1]}}", 1);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[01],\"data_offsets\":[0,1]}}", 1);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[-0],\"data_offsets\":[0,0]}}", 0);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[9007199254740992,0],\"data_offsets\":[0,0]}}", 0);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0);
    GOOD("{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1);
    GOOD("{\"a\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1);
    BAD("{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1);
    expect(LAMINA_UNSUPPORTED, "{\"a\":{\"dtype\":\"F12\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    expect(LAMINA_UNSUPPORTED, "{\"a\":{\"dtype\":\"bf16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2);
    BAD("{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    BAD("{\"a\":7}", 0);
    BAD("{\"a\":{\"dtype\":\"U8\",\"shape\":[[1]],\"data_offsets\":[0,1]}}", 1);
    BAD("{\"__metadata__\":{\"a\":1}}", 0);
    BAD("{\"__metadata__\":{\"a\":{}}}", 0);
    BAD("{\"__metadata__\":{},\"__metadata__\":{}}", 0);
    BAD("{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    BAD("{\"\x80\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
}

static void test_pairs(void **state) {
    (void)state;
#define TWO(n1, b1, e1, n2, b2, e2)                                                                                    \
    "{\"" n1 "\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[" #b1 "," #e1 "]},\"" n2                            \
    "\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[" #b2 "," #e2 "]}}"
    GOOD(TWO("a", 0, 2, "b", 2, 4), 4);
    GOOD(TWO("a", 2, 4, "b", 0, 2), 4);
    BAD(TWO("a", 0, 2, "b", 3, 5), 5);
    BAD(TWO("a", 0, 2, "b", 1, 3), 3);
    BAD(TWO("a", 0, 2, "b", 0, 2), 2);
    BAD(TWO("a", 0, 2, "a", 2, 4), 4);
    BAD(TWO("a", 0, 2, "\\u0061", 2, 4), 4); /* the same name in other spelling */
}

static void test_limits(void **state) {
    (void)state;
    struct str json = {0};
    struct arena arena = {0};
    struct safetensors_header h = {0};
    for (int over = 0; over < 2; over++) { /* names of 512 and 513 bytes */
        str_clear(&json);
        str_add_text(&json, "{\"");
        for (int i = 0; i < 512 + over; i++) {
            str_add_byte(&json, 'n');
        }
        str_add_text(&json, "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}");
        assert_int_equal(parse(json.ptr, json.len, 1, &arena, &h), over ? LAMINA_DAMAGED : LAMINA_OK);
    }
    for (int over = 0; over < 2; over++) { /* 64 KiB of blanks before the brace */
        str_clear(&json);
        for (int i = 0; i < (64 << 10) + over; i++) {
            str_add_byte(&json, ' ');
        }
        str_add_text(&json, "{}");
        assert_int_equal(parse(json.ptr, json.len, 0, &arena, &h), over ? LAMINA_DAMAGED : LAMINA_OK);
    }
    arena_drop(&arena);
    /* Many tensors: memory stays within 8 times the header and 1 MiB. */
    str_clear(&json);
    str_add_byte(&json, '{');
    enum { MANY = 200000 };
    for (unsigned i = 0; i < MANY; i++) {
        str_printf(&json, "%s\"%u\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[%u,%u]}", i ? "," : "", i, i,
                   i + 1);
    }
    str_add_byte(&json, '}');
    arena.limit_bytes = json.len * 8 + (1 << 20);
    assert_int_equal(parse(json.ptr, json.len, MANY, &arena, &h), LAMINA_OK);
    assert_int_equal(h.count, MANY);
    arena_drop(&arena);
    arena.limit_bytes = json.len / 2;
    assert_int_equal(parse(json.ptr, json.len, MANY, &arena, &h), LAMINA_NO_FIT);
    arena_drop(&arena);
    /* Every truncation of a lawful header is refused. */
    static const char small[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
    for (size_t n = 0; n + 1 < sizeof(small); n++) {
        assert_int_equal(parse(small, n, 1, &arena, &h), LAMINA_DAMAGED);
    }
    arena_drop(&arena);
    str_drop(&json);
}

static lamina_status whole_file(const uint8_t *bytes, size_t size, struct arena *arena, struct safetensors_header *h) {
    uint64_t len = 0;
    uint8_t first8[8] = {0};
    last = (struct lamina_error){0};
    memcpy(first8, bytes, size < 8 ? size : 8);
    lamina_status status = safetensors_header_len(first8, size, "x.safetensors", &len, &last);
    return status < 0 ? status : safetensors_parse(span_of(bytes + 8, len), size, "x.safetensors", arena, h, &last);
}

static void test_header_len(void **state) {
    (void)state;
    uint64_t len = 99;
    uint8_t first8[8] = {2};
    assert_int_equal(safetensors_header_len(first8, 10, "x", &len, &last), LAMINA_OK);
    assert_int_equal(len, 2);
    assert_int_equal(safetensors_header_len(first8, 9, "x", &len, NULL), LAMINA_DAMAGED);
    assert_int_equal(safetensors_header_len(first8, 7, "x", &len, NULL), LAMINA_DAMAGED);
    memset(first8, 0xff, 8);
    assert_int_equal(safetensors_header_len(first8, UINT64_MAX, "x", &len, NULL), LAMINA_DAMAGED);
    store_le64(first8, 100000001);
    assert_int_equal(safetensors_header_len(first8, UINT64_MAX, "x", &len, NULL), LAMINA_DAMAGED);
    store_le64(first8, 100000000);
    assert_int_equal(safetensors_header_len(first8, UINT64_MAX, "x", &len, NULL), LAMINA_OK);
}

static bool load(const char *path, struct str *out) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return false;
    }
    char buf[65536];
    size_t n = 0;
    str_clear(out);
    str_reserve(out, 1);
    while ((n = fread(buf, 1, sizeof(buf), f)) > 0) {
        str_add(out, buf, n);
    }
    (void)fclose(f);
    return true;
}

static const char *testdata(void) {
    const char *dir = getenv("LAMINA_TESTDATA");
    return dir != NULL ? dir : "../shared/testdata";
}

static void test_conformance(void **state) {
    (void)state;
    char path[1024];
    struct str list = {0};
    struct str bytes = {0};
    struct str key = {0};
    struct lamina_error err = {0};
    struct json_reader r;
    unsigned files = 0;
    (void)snprintf(path, sizeof(path), "%s/goldens/safetensors/conformance/expect.json", testdata());
    if (!load(path, &list)) {
        skip();
    }
    json_init(&r, str_span(&list), "expect.json", &key, &err);
    assert_true(json_enter_array(&r));
    while (json_next_item(&r)) {
        struct str file = {0};
        struct str want = {0};
        struct span k;
        struct arena arena = {0};
        struct safetensors_header h = {0};
        assert_true(json_enter_object(&r));
        while (json_next_key(&r, &k)) {
            (void)(span_is(k, "file")     ? json_string(&r, &file)
                   : span_is(k, "expect") ? json_string(&r, &want)
                                          : json_skip(&r));
        }
        (void)snprintf(path, sizeof(path), "%s/goldens/safetensors/conformance/%s", testdata(), str_text(&file));
        assert_true(load(path, &bytes));
        lamina_status got = whole_file((const uint8_t *)bytes.ptr, bytes.len, &arena, &h);
        /* Leading blanks are lawful (the reference implementation pads with them on purpose). */
        bool valid =
            strcmp(str_text(&want), "ok") == 0 || strcmp(str_text(&file), "bad_leading_space.safetensors") == 0;
        if (strcmp(str_text(&file), "ok_unicode_escape_name.safetensors") == 0) {
            valid = false; /* its name holds a line feed: lawful for the format, refused by our stricter rule */
        }
        if ((got == LAMINA_OK) != valid) {
            print_error("%s: expected %s, got %d %s\n", str_text(&file), str_text(&want), got, last.message);
            fail();
        }
        files++;
        arena_drop(&arena);
        str_drop(&file);
        str_drop(&want);
    }
    assert_int_equal(json_finish(&r), LAMINA_OK);
    assert_true(files >= 38);
    str_drop(&list);
    str_drop(&bytes);
    str_drop(&key);
}

static lamina_status index_of(const char *json, struct arena *arena, struct safetensors_index *x) {
    last = (struct lamina_error){0};
    return safetensors_index_parse(span_of_text(json), "index.json", arena, x, &last);
}

static void test_index(void **state) {
    (void)state;
    struct arena arena = {0};
    struct safetensors_index x = {0};
    assert_int_equal(index_of("{\"metadata\":{\"total_size\":1.5e3},\"weight_map\":{\"t1\":\"b.safetensors\","
                              "\"t2\":\"a.safetensors\",\"t3\":\"b.safetensors\",\"t4\":\"a.safetensors\"}}",
                              &arena, &x),
                     0);
    assert_int_equal(x.tensor_count, 4);
    assert_int_equal(x.file_count, 2);
    assert_string_equal(x.files[0], "b.safetensors");
    assert_string_equal(x.files[1], "a.safetensors");
    assert_string_equal(x.entries[2].tensor, "t3");
    assert_int_equal(x.entries[2].file, 0);
    assert_int_equal(x.entries[3].file, 1);
    static const char *const bad_names[] = {
        "../a.safetensors",
        "/a.safetensors",
        "a/b.safetensors",
        ".safetensors",
        "-a.safetensors",
        "a.bin",
        "",
        "a\\u0000.safetensors",
        "a\\\\b.safetensors",
        "a.safetensors ",
        "\xc3\xa4.safetensors",
        "a.safetensors\\u0000",
    };
    for (size_t i = 0; i < sizeof(bad_names) / sizeof(bad_names[0]); i++) {
        char json[256];
        (void)snprintf(json, sizeof(json), "{\"weight_map\":{\"t\":\"%s\"}}", bad_names[i]);
        assert_int_equal(index_of(json, &arena, &x), LAMINA_DAMAGED);
    }
    static const char *const bad[] = {
        "{}",
        "[]",
        "{\"weight_map\":[]}",
        "{\"weight_map\":{\"t\":1}}",
        "{\"weight_map\":{},\"weight_map\":{}}",
        "{\"weight_map\":{\"t\":\"a.safetensors\",\"t\":\"b.safetensors\"}}",
        "{\"weight_map\":{\"t\":\"a.safetensors\",\"u\":\"a.safetensors\",\"\\u0074\":\"a.safetensors\"}}",
        "{\"weight_map\":{\"t\":\"a.safetensors\"}",
        "{\"weight_map\":{\"t\\u0001\":\"a.safetensors\"}}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (index_of(bad[i], &arena, &x) != LAMINA_DAMAGED || last.code != LAMINA_DAMAGED) {
            print_error("%s\n", bad[i]);
            fail();
        }
    }
    assert_int_equal(index_of("{\"weight_map\":{}}", &arena, &x), LAMINA_OK);
    assert_int_equal(x.tensor_count, 0);
    arena_drop(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout), cmocka_unit_test(test_rules),      cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_header_len), cmocka_unit_test(test_conformance),
        cmocka_unit_test(test_index),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
