/* SPDX-License-Identifier: Apache-2.0
 * The hub's pure parts: names that are allowed, addresses that are the same, patterns, headers, refusals in words, which files of a
 * repository a model needs. Whole downloads are in tests/hub. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "hub/hub_priv.h"

#define HEX40 "0123456789abcdef0123456789abcdef01234567"
#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void names(void **state) {
    static const char *const good[] = {"org/name", "name", "org/Name-1.5B_x@main", "a/b@" HEX40, "a/b@refs/pr/1", "a/b@v1.0+x"};
    static const char *const bad[] = {"", "/", "a/", "/b", "a/b/c", "a--b/c", "a/b..c", "../b", "a/b.git", ".a/b", "a/b-", "a b/c",
                                      "a/b@", "a/b@../x", "a/b@/x", "a/b@x//y", "a/b@x:y", "a/b@x%2e"};
    struct hub_name n;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct lamina_error err = {0};
        assert_int_equal(hub_name_parse(good[i], &n, &err), LAMINA_OK);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct lamina_error err = {0};
        assert_int_equal(hub_name_parse(bad[i], &n, &err), LAMINA_USAGE);
    }
    struct lamina_error err = {0};
    char folder[HUB_ID_MAX + 16];
    assert_int_equal(hub_name_parse("Org/Na-me@v2", &n, &err), LAMINA_OK);
    assert_string_equal(n.id, "Org/Na-me");
    assert_string_equal(n.revision, "v2");
    hub_folder_name(n.id, folder);
    assert_string_equal(folder, "models--Org--Na-me");
    hub_folder_name("gpt", folder);
    assert_string_equal(folder, "models--gpt");
}

static void addresses(void **state) {
    static const struct {
        const char *a, *b;
        bool same;
    } pairs[] = {
        {"https://hub.example/a", "https://hub.example", true},
        {"https://hub.example/a", "HTTPS://Hub.Example/b?c", true},
        {"https://hub.example", "http://hub.example", false},
        {"https://hub.example", "https://hub.example:8443", false},
        {"https://hub.example", "https://hub.example.evil.example", false},
        {"https://hub.example", "https://hub.example@evil.example", false},
        {"https://user@hub.example", "https://user@hub.example", false},
        {"https://hub.example", "https://evil.example/https://hub.example", false},
        {"https://hub.example?x", "https://hub.example#y", true},
        {"hub.example", "hub.example", false},
    };
    struct str url = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        assert_int_equal(hub_same_origin(pairs[i].a, pairs[i].b), pairs[i].same);
        assert_int_equal(hub_same_origin(pairs[i].b, pairs[i].a), pairs[i].same);
    }
    hub_url_add(&url, "refs/pr/1 \xc3\xa4#?%", false);
    str_add_byte(&url, ' ');
    hub_url_add(&url, "a/b c.json", true);
    assert_string_equal(str_text(&url), "refs%2Fpr%2F1%20%C3%A4%23%3F%25 a/b%20c.json");
    str_drop(&url);
}

static void patterns(void **state) {
    static const struct {
        const char *pattern, *path;
        bool matches;
    } cases[] = {
        {"*.json", "config.json", true},    {"*.json", "a/b.json", true},  {"*.json", "a.json5", false}, {"a?c", "abc", true},
        {"a?c", "ac", false},               {"[a-c]x", "bx", true},        {"[!a-c]x", "bx", false},     {"[!a-c]x", "dx", true},
        {"*Q4_K_M*", "m-Q4_K_M.gguf", true}, {"", "", true},               {"", "a", false},             {"*", "", true},
        {"**a*b", "xxaxxb", true},          {"[", "[", true},              {"[]]", "]", true},           {"a[", "a[", true},
        {"*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (hub_pattern_matches(cases[i].pattern, cases[i].path) != cases[i].matches) {
            fail_msg("%s against %s", cases[i].pattern, cases[i].path);
        }
    }
}

static struct hub_headers read_all(const char *text) {
    struct hub_headers h = {0};
    while (*text != 0) {
        size_t n = strcspn(text, "\n") + 1;
        assert_true(hub_headers_line(&h, span_of(text, n)));
        text += n;
    }
    return h;
}

static void headers(void **state) {
    (void)state;
    struct hub_headers h = read_all("HTTP/1.1 302 Found\r\nETag: \"other\"\r\nx-linked-etag: \"" HEX64 "\"\r\nContent-Length: 77\r\n"
                                    "X-Linked-Size: 5000000000\r\nX-REPO-COMMIT: " HEX40 "\r\nLocation: /x\r\n");
    assert_int_equal(h.status, 302);
    assert_string_equal(h.etag, HEX64);
    assert_string_equal(h.commit, HEX40);
    assert_true(h.has_size && h.size == 5000000000u && h.has_location);
    h = read_all("HTTP/1.1 200 Connection established\r\nETag: \"" HEX40 "\"\r\n\r\nHTTP/2 206 \r\nContent-Range: bytes 5-9/10\r\n");
    assert_int_equal(h.status, 206);
    assert_true(h.etag[0] == 0 && h.has_range && h.range_begin == 5 && h.range_end == 10 && h.range_total == 10);
    h = read_all("HTTP/1.1 200 OK\nETag: W/\"" HEX40 "\"\nContent-Encoding: gzip\nContent-Length: 12x\n");
    assert_string_equal(h.etag, HEX40);
    assert_true(h.encoded && !h.has_size);
    h = read_all("HTTP/1.1 206 x\nContent-Range: bytes 9-5/10\n");
    assert_false(h.has_range);
    h = read_all("HTTP/1.1 206 x\nContent-Range: bytes 0-5/*\nETag: \"" HEX40 "/../x\"\n");
    assert_true(!h.has_range && h.etag[0] == 0);
    h = read_all("HTTP/1.1 429 x\nRateLimit: \"resolvers\";r=0;t=55\nRetry-After: 3\n");
    assert_true(h.limit_reset_s == 56 && hub_backoff_ns(1, &h) == 3ull * 1000000000); /* Retry-After wins */
    h = read_all("HTTP/1.1 503 x\nRetry-After: 3\nRateLimit: \"resolvers\";r=0;t=55\n");
    assert_true(hub_backoff_ns(1, &h) == 3ull * 1000000000);
    h = read_all("HTTP/1.1 429 x\nRateLimit: \"resolvers\";r=0;t=55\n");
    assert_true(hub_backoff_ns(1, &h) == 56ull * 1000000000);
    h = read_all("HTTP/1.1 429 x\nRateLimit: \"api\";r=7;t=290, \"pages\";r=0;t=5, \"resolvers\";r=0;t=55\n");
    assert_true(hub_backoff_ns(1, &h) == 56ull * 1000000000);
    h = read_all("HTTP/1.1 503 x\nRateLimit: \"resolvers\";r=2999;t=290\n"); /* plenty left: not why */
    assert_true(hub_backoff_ns(1, &h) == 500ull * 1000000);
    h = read_all("HTTP/1.1 429 x\nRateLimit: \"resolvers\";t=9\n");
    assert_true(hub_backoff_ns(1, &h) == 10ull * 1000000000);
    assert_true(hub_backoff_ns(1, NULL) == 500ull * 1000000 && hub_backoff_ns(5, NULL) == 8ull * 1000000000 &&
                hub_backoff_ns(4000000000u, NULL) == 8ull * 1000000000);
    char *line = calloc(1, 1 << 16);
    assert_non_null(line);
    h = (struct hub_headers){0};
    int lines = 0;
    while (lines < 100 && hub_headers_line(&h, span_of(line, 1 << 16))) {
        lines++;
    }
    assert_int_equal(lines, 4); /* an endless stream of headers ends */
    free(line);
}

static void refusals(void **state) {
    static const struct {
        const char *headers;
        const char *token;
        lamina_status status;
        const char *words;
    } cases[] = {
        {"HTTP/1.1 401 x\nX-Error-Code: GatedRepo\n", "", LAMINA_AUTH, "accept its terms on https://h/org/m"},
        {"HTTP/1.1 403 x\nX-Error-Code: GatedRepo\n", "t", LAMINA_AUTH, "ask for access"},
        {"HTTP/1.1 401 x\nX-Error-Message: Invalid credentials in Authorization header\n", "t", LAMINA_AUTH, "does not know the token"},
        {"HTTP/1.1 401 x\n", "", LAMINA_NOT_FOUND, "set HF_TOKEN"},
        {"HTTP/1.1 404 x\nX-Error-Code: RepoNotFound\n", "t", LAMINA_NOT_FOUND, "check the name"},
        {"HTTP/1.1 404 x\nX-Error-Code: RevisionNotFound\n", "", LAMINA_NOT_FOUND, "no revision \"r\""},
        {"HTTP/1.1 404 x\nX-Error-Code: EntryNotFound\n", "", LAMINA_NOT_FOUND, "no file f"},
        {"HTTP/1.1 403 x\nX-Error-Message: Access to this resource is disabled.\n", "", LAMINA_AUTH, "disabled"},
        {"HTTP/1.1 429 x\n", "", LAMINA_NETWORK, "HF_TOKEN"},
        {"HTTP/1.1 503 x\n", "t", LAMINA_NETWORK, "503"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct hub_env env = {.offline = false};
        struct lamina_error err = {0};
        struct hub_headers h = read_all(cases[i].headers);
        str_add_text(&env.endpoint, "https://h");
        str_add_text(&env.token, cases[i].token);
        assert_int_equal(hub_headers_refuse(&h, &env, "org/m", "r", "f", &err), cases[i].status);
        if (strstr(err.message, cases[i].words) == NULL) {
            fail_msg("%s lacks %s", err.message, cases[i].words);
        }
        hub_env_drop(&env);
    }
}

/* The paths in one string, "," between them; those chosen come back the same way. */
static void choose(const char *paths, const char *index, const char *expected) {
    static const struct hub_patterns all = {.include = NULL};
    struct hub_file files[16] = {{.path = NULL}};
    struct hub_listing l = {.files = files};
    struct lamina_error err = {0};
    char text[512];
    char got[512] = "";
    (void)snprintf(text, sizeof(text), "%s", paths);
    for (char *p = strtok(text, ","); p != NULL; p = strtok(NULL, ",")) {
        files[l.count++].path = p;
    }
    lamina_status status = hub_select(&l, &all, span_of_text(index), "org/m", &err);
    for (uint32_t i = 0; status == LAMINA_OK && i < l.count; i++) {
        if (files[i].chosen) {
            (void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", got[0] != 0 ? "," : "", files[i].path);
        }
    }
    arena_drop(&l.arena);
    assert_string_equal(status == LAMINA_OK ? got : lamina_status_text(status), expected);
}

static void choices(void **state) {
    (void)state;
    choose("README.md,config.json,model.safetensors,pytorch_model.bin,onnx/model.onnx,tokenizer.model", "",
           "config.json,model.safetensors,tokenizer.model");
    choose("config.json,model.safetensors.index.json,x-1.safetensors,x-2.safetensors,consolidated.safetensors",
           "{\"metadata\": {}, \"weight_map\": {\"a\": \"x-1.safetensors\", \"b\": \"x-2.safetensors\"}}",
           "config.json,model.safetensors.index.json,x-1.safetensors,x-2.safetensors");
    choose("config.json,model.safetensors.index.json,x-1.safetensors", "{\"weight_map\": {\"a\": \"y.safetensors\"}}",
           "model, revision or file not found");
    choose("config.json,pytorch_model.bin,training_args.bin,flax_model.msgpack", "", "config.json,pytorch_model.bin");
    /* A leftover index without shards is passed over. */
    choose("config.json,model.safetensors.index.json,pytorch_model.bin", "", "config.json,pytorch_model.bin");
    choose("m-00001-of-00002.gguf,m-00002-of-00002.gguf,mmproj-x.gguf", "", "m-00001-of-00002.gguf,m-00002-of-00002.gguf");
    choose("Q4/m-00001-of-00002.gguf,Q4/m-00002-of-00002.gguf,Q4/mmproj-x.gguf", "",
           "Q4/m-00001-of-00002.gguf,Q4/m-00002-of-00002.gguf");
    choose("a.gguf,b.gguf", "", "wrong usage");
    choose("config.json,tokenizer.json", "", "model, revision or file not found");
    choose("config.json,model.safetensors.index.json,x.safetensors", "{\"weight_map\": 3}", "checksum or format damage");
}

static void hex(void **state) {
    uint8_t bytes[3] = {0};
    struct hash128 sum;
    char text[33];
    (void)state;
    assert_true(bytes_from_hex(span_of_text("00a9ff"), bytes, 3) && bytes[0] == 0 && bytes[1] == 0xa9 && bytes[2] == 0xff);
    static const char *const bad[] = {"", "00a9f", "00a9ff0", "00a9ff00", "00A9ff", "00a9fg", "00a9f ", "0:a9ff"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(bytes_from_hex(span_of_text(bad[i]), bytes, 3));
    }
    assert_true(hash128_from_hex(span_of_text("0123456789abcdeffedcba9876543210"), &sum));
    assert_true(sum.high == 0x0123456789abcdef && sum.low == 0xfedcba9876543210);
    hash128_to_hex(sum, text);
    assert_string_equal(text, "0123456789abcdeffedcba9876543210");
}

/* SHA-256 by its written-down state is SHA-256, wherever it was put down and taken up again. */
static void digest_as_a_value(void **state) {
    (void)state;
    static uint8_t bytes[4096 + 37];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 131 + (i >> 8));
    }
    struct sha256 *whole = sha256_open();
    assert_non_null(whole);
    for (size_t len = 0; len <= sizeof(bytes); len += 61) {
        for (size_t step = 64; step <= 1024; step += 192) {
            uint8_t expected[32];
            uint8_t found[32];
            struct sha256_state s;
            size_t at = 0;
            assert_true(sha256_add(whole, bytes, len) && sha256_finish(whole, expected));
            sha256_state_start(&s);
            for (; at + step <= len; at += step) {
                struct sha256_state taken_up = s;
                assert_true(sha256_state_add(&taken_up, bytes + at, step));
                s = taken_up;
            }
            assert_true(sha256_state_finish(&s, bytes + at, len - at, found));
            assert_memory_equal(found, expected, 32);
        }
    }
    /* Counts of bits beyond 32 bits. */
    struct sha256_state far = {.bytes = UINT64_C(1) << 40};
    struct sha256_state near = {.bytes = 0};
    uint8_t a[32];
    uint8_t b[32];
    assert_true(sha256_state_finish(&far, bytes, 3, a) && sha256_state_finish(&near, bytes, 3, b));
    assert_memory_not_equal(a, b, 32);
    far.bytes++;
    assert_false(sha256_state_add(&far, bytes, 64));
    sha256_close(&whole);
}

/* Stands before the C library's: a file system that cannot do it. */
static bool links_fail;
int symlink(const char *target, const char *path) {
    if (links_fail) {
        errno = EPERM;
        return -1;
    }
    return symlinkat(target, AT_FDCWD, path);
}

/* Where there are no links, files lie in the snapshot itself and are found there. */
static void without_links(void **state) {
    char dir[] = "/tmp/lamina-hub.XXXXXX";
    const struct hub_file a = {.path = "config.json", .size = 3, .etag = HEX40};
    const struct hub_file b = {.path = "inner/same.json", .size = 3, .etag = HEX40};
    struct hub_env env = {.offline = false};
    struct lamina_error err = {0};
    char place[HUB_PATH_LEN];
    (void)state;
    assert_non_null(mkdtemp(dir));
    str_add_text(&env.cache, dir);
    for (int none = 0; none < 2; none++) {
        links_fail = none;
        const char *id = none ? "org/none" : "org/links";
        assert_int_equal(hub_cache_prepare(&env, id, &err), LAMINA_OK);
        assert_false(hub_file_there(&env, id, HEX40, &a, place));
        assert_int_equal(hub_cache_path(&env, id, "blobs", a.etag, place, &err), LAMINA_OK);
        assert_int_equal(sys_write_whole_durable(place, span_of_text("{ }"), &err), LAMINA_OK);
        for (int again = 0; again < 2; again++) {
            assert_int_equal(hub_snapshot_link(&env, id, HEX40, &a, false, &err), LAMINA_OK);
            assert_int_equal(hub_snapshot_link(&env, id, HEX40, &b, true, &err), LAMINA_OK);
        }
        assert_int_equal(sys_exists(place), !none); /* the last one that wants it takes the blob */
        assert_true(hub_file_there(&env, id, HEX40, &a, place) && hub_file_there(&env, id, HEX40, &b, place));
        assert_int_equal(hub_cache_path(&env, id, "snapshots/" HEX40, b.path, place, &err), LAMINA_OK);
        assert_int_equal(sys_is_link(place), !none);
    }
    links_fail = false;
    hub_env_drop(&env);
    assert_int_equal(sys_remove_tree(dir, &err), LAMINA_OK);
}

static bool stop_at_once(void *user, const struct hub_progress *p) {
    (void)user;
    (void)p;
    return true;
}

/* What an earlier run left is read back: whoever wants to stop is heard meanwhile. */
static void reading_back_stops(void **state) {
    char dir[] = "/tmp/lamina-hub.XXXXXX";
    const struct hub_watch watch = {.progress = stop_at_once};
    struct hub_file file = {.path = "model.safetensors", .size = 10, .etag = HEX64};
    struct hub_env env = {.offline = false};
    struct hub_part part;
    struct lamina_error err = {0};
    (void)state;
    assert_non_null(mkdtemp(dir));
    str_add_text(&env.cache, dir);
    assert_int_equal(hub_cache_prepare(&env, "org/m", &err), LAMINA_OK);
    assert_int_equal(hub_part_take(&part, &env, "org/m", &file, 4, &err), LAMINA_OK);
    assert_int_equal(sys_write_whole_durable(part.data, span_of_text("0123456789"), &err), LAMINA_OK);
    const struct span journal = span_of_text("lamina-pieces 1 10 4 " HEX64 "\n1 0123456789abcdef0123456789abcdef\n");
    assert_int_equal(sys_write_whole_durable(part.journal, journal, &err), LAMINA_OK);
    assert_int_equal(hub_part_open(&part, &watch, &err), LAMINA_INTERRUPTED);
    assert_true(sys_exists(part.data) && sys_exists(part.journal));
    hub_part_close(&part);
    hub_env_drop(&env);
    err = (struct lamina_error){0};
    assert_int_equal(sys_remove_tree(dir, &err), LAMINA_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hex),     cmocka_unit_test(digest_as_a_value), cmocka_unit_test(reading_back_stops),  cmocka_unit_test(without_links),
        cmocka_unit_test(names),   cmocka_unit_test(addresses), cmocka_unit_test(patterns),
        cmocka_unit_test(headers), cmocka_unit_test(refusals),  cmocka_unit_test(choices),
    };
    return cmocka_run_group_tests_name("hub", tests, NULL, NULL);
}
