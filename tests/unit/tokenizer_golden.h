/* SPDX-License-Identifier: Apache-2.0
 * Reads the golden files of other programs and compares: llama.cpp, kitoken, tokenizers.js, swift-transformers. A test
 * calls check_... for each file and then finish(), which fails when anything differed or too little was compared.
 * Include after cmocka.h. */
#ifndef TOKENIZER_GOLDEN_H
#define TOKENIZER_GOLDEN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "golden_files.h"
#include "text/tokenizer.h"

/* --- comparing --- */

static struct {
    int checked;
    int wrong;
} tally;

static inline void check_ids(const struct text_tokenizer *t, struct span text, unsigned flags,
                             const struct text_ids *want, const char *what) {
    struct text_ids got = {0};
    struct lamina_error err = {0};
    assert_int_equal(text_encode(t, text, flags, &got, &err), 0);
    tally.checked++;
    if (got.count != want->count ||
        (want->count > 0 && memcmp(got.ids, want->ids, got.count * sizeof(*got.ids)) != 0)) {
        tally.wrong++;
        print_message("%s: '%.*s': %zu ids, expected %zu\n", what, (int)(text.len < 120 ? text.len : 120),
                      (const char *)text.ptr, got.count, want->count);
        for (size_t i = 0; i < got.count && i < 24; i++) {
            print_message(" %u/%u", got.ids[i], i < want->count ? want->ids[i] : 0);
        }
        print_message("\n");
    }
    text_ids_drop(&got);
}

/* The vectors come from transformers, which takes spaces before punctuation away where the config says
 * clean_up_tokenization_spaces; the decoder itself does not, and neither do servers that stream. */
static inline void clean_up(struct str *text) {
    static const char *const pairs[][2] = {{" .", "."},     {" ?", "?"},     {" !", "!"},   {" ,", ","},
                                           {" ' ", "'"},    {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"},
                                           {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        substitute(text, pairs[i][0], pairs[i][1]);
    }
}

static inline void check_decoded(const struct text_tokenizer *t, const struct text_ids *ids, bool skip,
                                 struct span want, const char *what) {
    struct str got = {0};
    struct str streamed = {0};
    struct text_stream s = {0};
    struct lamina_error err = {0};
    assert_int_equal(text_decode(t, ids->ids, ids->count, skip, &got, &err), 0);
    tally.checked++;
    struct str tidy = {0};
    str_add_span(&tidy, str_span(&got));
    clean_up(&tidy);
    if (!span_equal(str_span(&got), want) && !span_equal(str_span(&tidy), want)) {
        tally.wrong++;
        print_message("%s: decoded '%s', expected '%.*s'\n", what, str_text(&got), (int)want.len,
                      (const char *)want.ptr);
    }
    for (size_t i = 0; i < ids->count; i++) {
        assert_int_equal(text_stream_add(t, &s, ids->ids[i], skip, &streamed, &err), 0);
    }
    assert_int_equal(text_stream_finish(t, &s, skip, &streamed, &err), 0);
    assert_true(span_equal(str_span(&streamed), str_span(&got)));
    str_drop(&streamed);
    str_drop(&tidy);
    str_drop(&got);
}

/* Closes the tokenizer; `least` guards against a golden file that silently holds nothing. */
static inline void finish(struct text_tokenizer *t, int least) {
    text_tokenizer_close(&t);
    int checked = tally.checked;
    int wrong = tally.wrong;
    tally.checked = 0;
    tally.wrong = 0;
    print_message("%d comparisons, %d wrong\n", checked, wrong);
    assert_int_equal(wrong, 0);
    assert_true(checked >= least);
}

static inline void push(struct text_ids *ids, uint32_t id) {
    ids->ids = realloc(ids->ids, (ids->count + 1) * sizeof(*ids->ids));
    assert_non_null(ids->ids);
    ids->ids[ids->count++] = id;
}

/* Numbers separated by anything. */
static inline void parse_ids(struct span line, struct text_ids *ids) {
    ids->count = 0;
    for (size_t i = 0; i < line.len;) {
        uint32_t id = 0;
        size_t begin = i;
        while (i < line.len && line.ptr[i] >= '0' && line.ptr[i] <= '9') {
            id = id * 10 + (uint32_t)(line.ptr[i++] - '0');
        }
        if (i > begin) {
            push(ids, id);
        } else {
            i++;
        }
    }
}

static inline bool next_part(struct span *rest, const char *separator, struct span *part) {
    if (rest->ptr == NULL) {
        return false;
    }
    const uint8_t *at = memmem(rest->ptr, rest->len, separator, strlen(separator));
    size_t len = at == NULL ? rest->len : (size_t)(at - rest->ptr);
    *part = span_of(rest->ptr, len);
    *rest = at == NULL ? span_of(NULL, 0) : span_sub(*rest, len + strlen(separator), rest->len);
    return true;
}

/* --- llama.cpp: texts between marker lines, ids per line, no BOS --- */

static inline void check_llama_cpp(const struct text_tokenizer *t, const char *name) {
    char path[256];
    struct str texts = {0};
    struct str ids = {0};
    (void)snprintf(path, sizeof(path), "%s.inp", name);
    need(path, &texts);
    (void)snprintf(path, sizeof(path), "%s.out", name);
    need(path, &ids);
    struct span rest = str_span(&texts);
    struct span lines = str_span(&ids);
    struct span text;
    struct span line;
    struct text_ids want = {0};
    while (next_part(&rest, "\n__ggml_vocab_test__\n", &text) && next_part(&lines, "\n", &line)) {
        parse_ids(line, &want);
        check_ids(t, text, 0, &want, name);
    }
    text_ids_drop(&want);
    str_drop(&texts);
    str_drop(&ids);
}

/* --- kitoken: one text per line (\n and \s escaped in the small set), one file as a whole --- */

static inline void check_kitoken_lines(const struct text_tokenizer *t, const char *set, const char *folder,
                                       const char *vocabulary, unsigned flags) {
    char path[256];
    struct str texts = {0};
    struct str ids = {0};
    (void)snprintf(path, sizeof(path), "goldens/kitoken/%s_input.txt", set);
    need(path, &texts);
    (void)snprintf(path, sizeof(path), "goldens/kitoken/%s/%s_tokens_%s.txt", folder, set, vocabulary);
    need(path, &ids);
    struct span rest = str_span(&texts);
    struct span lines = str_span(&ids);
    struct span text;
    struct span line;
    struct text_ids want = {0};
    bool whole = strcmp(set, "utf8") == 0;
    while (next_part(&rest, whole ? "\1" : "\n", &text) && next_part(&lines, "\n", &line)) {
        struct str one = {0};
        str_add_span(&one, text);
        if (strcmp(set, "small") == 0) {
            substitute(&one, "\\n", "\n");
            substitute(&one, "\\s", " ");
        }
        parse_ids(line, &want);
        check_ids(t, str_span(&one), flags, &want, vocabulary);
        str_drop(&one);
    }
    text_ids_drop(&want);
    str_drop(&texts);
    str_drop(&ids);
}

static inline void check_kitoken_flags(const struct text_tokenizer *t, const char *folder, const char *vocabulary,
                                       unsigned flags) {
    check_kitoken_lines(t, "small", folder, vocabulary, flags);
    check_kitoken_lines(t, "mixed", folder, vocabulary, flags);
    check_kitoken_lines(t, "utf8", folder, vocabulary, flags);
}

static inline void check_kitoken_from(const struct text_tokenizer *t, const char *folder, const char *vocabulary) {
    check_kitoken_flags(t, folder, vocabulary, TEXT_PARSE_SPECIAL);
}

/* --- JSON vectors: objects with a text, ids and decoded text under various names --- */

struct vector {
    struct str text;
    struct str decoded;
    struct str bare;
    struct text_ids ids;
    bool has_decoded;
    bool has_bare;
};

static inline void vector_drop(struct vector *v) {
    str_drop(&v->text);
    str_drop(&v->decoded);
    str_drop(&v->bare);
    text_ids_drop(&v->ids);
}

static inline void read_ids(struct json_reader *r, struct text_ids *ids) {
    json_enter_array(r);
    while (json_next_item(r)) {
        uint64_t id = 0;
        if (json_u64(r, &id)) {
            push(ids, (uint32_t)id);
        }
    }
}

static inline void read_vector(struct json_reader *r, struct vector *v) {
    struct span key;
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        if (span_is(key, "text") || span_is(key, "input")) {
            json_string(r, &v->text);
        } else if (span_is(key, "ids") || span_is(key, "token_ids") || span_is(key, "input_ids")) {
            read_ids(r, &v->ids);
        } else if (span_is(key, "decoded") || span_is(key, "decoded_text") || span_is(key, "decoded_with_special")) {
            v->has_decoded = json_string(r, &v->decoded);
        } else if (span_is(key, "decoded_without_special")) {
            v->has_bare = json_string(r, &v->bare);
        } else if (span_is(key, "encoded")) {
            read_vector(r, v);
        } else {
            json_skip(r);
        }
    }
}

static inline void check_vector(const struct text_tokenizer *t, struct json_reader *r, const char *what, bool decode) {
    struct vector v = {0};
    read_vector(r, &v);
    check_ids(t, str_span(&v.text), TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL, &v.ids, what);
    if (v.has_decoded && decode) {
        check_decoded(t, &v.ids, false, str_span(&v.decoded), what);
    }
    if (v.has_bare && decode) {
        check_decoded(t, &v.ids, true, str_span(&v.bare), what);
    }
    vector_drop(&v);
}

/* {"model": {"CASE": vector, ...}} or {"model": [vector, ...]}. */
static inline void check_model_of(const struct text_tokenizer *t, const char *file, const char *model, bool decode) {
    struct str json = {0};
    struct str scratch = {0};
    struct json_reader r;
    struct lamina_error err = {0};
    struct span key;
    need(file, &json);
    json_init(&r, str_span(&json), file, &scratch, &err);
    json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        if (!span_is(key, model)) {
            json_skip(&r);
        } else if (json_peek(&r) == JSON_ARRAY) {
            json_enter_array(&r);
            while (json_next_item(&r)) {
                check_vector(t, &r, model, decode);
            }
        } else {
            json_enter_object(&r);
            while (json_next_key(&r, &key)) {
                check_vector(t, &r, model, decode);
            }
        }
    }
    if (json_finish(&r) < 0) {
        fail_msg("%s", err.message);
    }
    str_drop(&json);
    str_drop(&scratch);
}

static inline void check_single(const struct text_tokenizer *t, const char *file) {
    struct str json = {0};
    struct str scratch = {0};
    struct json_reader r;
    need(file, &json);
    json_init(&r, str_span(&json), file, &scratch, NULL);
    check_vector(t, &r, file, false);
    assert_int_equal(json_finish(&r), 0);
    str_drop(&json);
    str_drop(&scratch);
}

#define JS(name)    "goldens/tokenizer-ids/tokenizers.js-" name ".json"
#define SWIFT(name) "goldens/tokenizer-ids/swift-transformers-" name ".json"

#endif
