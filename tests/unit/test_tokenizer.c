/* SPDX-License-Identifier: Apache-2.0
 *
 * The tokenizer's parts on small inputs: every component against the reference (tokenizer_cases.h), streams against
 * whole decoding, the heap against the rescan, refusals with their words, and limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "text/tokenizer.h"
#include "text/tokmodel_priv.h"
#include "text/tokstep_priv.h"
#include "text/tokunicode_priv.h"
#include "tokenizer_cases.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* --- helpers --- */

static struct text_tokenizer *open_json(const char *json) {
    struct text_files files = {.tokenizer_json = span_of_text(json)};
    struct text_tokenizer *t = NULL;
    struct lamina_error err = {0};
    if (text_tokenizer_open(&t, &files, &err) < 0) {
        fail_msg("%s\n%s", err.message, json);
    }
    return t;
}

static void expect_ids(const struct text_tokenizer *t, struct span text, unsigned flags, const char *want) {
    struct text_ids ids = {0};
    struct str got = {0};
    struct lamina_error err = {0};
    if (text_encode(t, text, flags, &ids, &err) < 0) {
        fail_msg("%s", err.message);
    }
    for (size_t i = 0; i < ids.count; i++) {
        str_printf(&got, "%s%u", i > 0 ? " " : "", ids.ids[i]);
    }
    if (strcmp(str_text(&got), want) != 0) {
        fail_msg("'%.*s': ids %s, expected %s", (int)text.len, (const char *)text.ptr, str_text(&got), want);
    }
    str_drop(&got);
    text_ids_drop(&ids);
}

/* Opening must fail with this code and these words in the message. */
static void expect_refused(const struct text_files *files, lamina_status code, const char *words) {
    struct text_tokenizer *t = NULL;
    struct lamina_error err = {0};
    lamina_status status = text_tokenizer_open(&t, files, &err);
    assert_null(t);
    if (status != code || strstr(err.message, words) == NULL) {
        fail_msg("status %d '%s', expected %d with '%s'", status, err.message, code, words);
    }
}

static void expect_json_refused(const char *json, lamina_status code, const char *words) {
    struct text_files files = {.tokenizer_json = span_of_text(json)};
    expect_refused(&files, code, words);
}

static bool read_component(const char *json, struct tok_steps *steps,
                           bool (*read)(struct tok_steps *, struct json_reader *)) {
    struct str scratch = {0};
    struct json_reader r;
    struct lamina_error err = {0};
    json_init(&r, span_of_text(json), "component", &scratch, &err);
    read(steps, &r);
    if (json_finish(&r) < 0) {
        fail_msg("%s", err.message);
    }
    str_drop(&scratch);
    return true;
}

/* --- components --- */

static void test_pretokenizers(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(pretok_rows); i++) {
        const struct row *row = &pretok_rows[i];
        struct tok_steps steps = {0};
        struct tok_pretok_work work = {0};
        const struct tok_pieces *pieces = NULL;
        struct span base;
        struct str got = {0};
        struct lamina_error err = {0};
        read_component(row->component, &steps, tok_pretok_read);
        assert_int_equal(tok_pretok_run(&steps, span_of_text(row->input), true, &work, &pieces, &base, &err), 0);
        for (size_t k = 0; k < pieces->count; k++) {
            str_add_text(&got, k > 0 ? "|" : "");
            str_add(&got, base.ptr + pieces->list[k].begin, pieces->list[k].len);
        }
        if (strcmp(str_text(&got), row->expected) != 0) {
            fail_msg("%s\n'%s' gave '%s', expected '%s'", row->component, row->input, str_text(&got), row->expected);
        }
        str_drop(&got);
        tok_pretok_work_drop(&work);
        tok_steps_drop(&steps);
    }
}

static void test_normalizers(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(norm_rows); i++) {
        const struct row *row = &norm_rows[i];
        struct tok_steps steps = {0};
        struct tok_norm_work work = {0};
        struct span got;
        struct lamina_error err = {0};
        read_component(row->component, &steps, tok_norm_read);
        assert_int_equal(tok_norm_run(&steps, span_of_text(row->input), &work, &got, &err), 0);
        if (!span_is(got, row->expected)) {
            fail_msg("%s\n'%s' gave '%.*s', expected '%s'", row->component, row->input, (int)got.len,
                     (const char *)got.ptr, row->expected);
        }
        tok_norm_work_drop(&work);
        tok_steps_drop(&steps);
    }
}

static bool next_token(const char **at, struct span *token) {
    if (*at == NULL) {
        return false;
    }
    size_t len = strcspn(*at, "|");
    *token = span_of(*at, len);
    *at = (*at)[len] == 0 ? NULL : *at + len + 1;
    return true;
}

/* A tokenizer whose vocabulary is the tokens of the row, and their ids in the row's order (a token may come twice). */
static struct text_tokenizer *decoder_tokenizer(const struct row *row, struct text_ids *ids) {
    struct str json = {0};
    struct span token;
    uint32_t id = 0;
    str_printf(&json, "{\"version\":\"1.0\",\"decoder\":%s,\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{",
               row->component);
    for (const char *at = row->input; next_token(&at, &token); id++) {
        str_add_text(&json, id > 0 ? "," : "");
        json_write_string(&json, token);
        str_printf(&json, ":%u", id);
    }
    str_add_text(&json, "}}}");
    struct text_tokenizer *t = open_json(str_text(&json));
    for (const char *at = row->input; next_token(&at, &token);) {
        assert_true(text_token_id(t, token, &id) && tok_ids_push(ids, id));
    }
    str_drop(&json);
    return t;
}

static void test_decoders(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(decoder_rows); i++) {
        const struct row *row = &decoder_rows[i];
        struct text_ids ids = {0};
        struct str whole = {0};
        struct lamina_error err = {0};
        struct text_tokenizer *t = decoder_tokenizer(row, &ids);
        assert_int_equal(text_decode(t, ids.ids, ids.count, false, &whole, &err), 0);
        if (strcmp(str_text(&whole), row->expected) != 0) {
            fail_msg("%s\n'%s' gave '%s', expected '%s'", row->component, row->input, str_text(&whole), row->expected);
        }
        /* Every order of the tokens, so that the stream meets every boundary. */
        for (uint32_t seed = 0; seed < 300; seed++) {
            struct text_stream s = {0};
            struct str streamed = {0};
            uint32_t list[12];
            uint32_t x = seed * 2654435761u + 1;
            for (size_t k = 0; k < 12; k++) {
                x = x * 1664525u + 1013904223u;
                list[k] = ids.ids[(x >> 16) % (uint32_t)ids.count];
            }
            str_clear(&whole);
            assert_int_equal(text_decode(t, list, 12, false, &whole, &err), 0);
            for (size_t k = 0; k < 12; k++) {
                assert_int_equal(text_stream_add(t, &s, list[k], false, &streamed, &err), 0);
                assert_true(utf8_valid(str_span(&streamed)));
            }
            assert_int_equal(text_stream_finish(t, &s, false, &streamed, &err), 0);
            if (!span_equal(str_span(&whole), str_span(&streamed))) {
                fail_msg("%s seed %u: streamed '%s', whole '%s'", row->component, seed, str_text(&streamed),
                         str_text(&whole));
            }
            str_drop(&streamed);
        }
        str_drop(&whole);
        text_ids_drop(&ids);
        text_tokenizer_close(&t);
    }
}

static void test_whole(void **state) {
    (void)state;
    struct text_tokenizer *t = NULL;
    for (size_t i = 0; i < COUNT(whole_rows); i++) {
        const struct whole_row *row = &whole_rows[i];
        if (row->json != NULL) {
            text_tokenizer_close(&t);
            t = open_json(row->json);
        }
        expect_ids(t, span_of_text(row->input), TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL, row->ids);
        expect_ids(t, span_of_text(row->input), 0, row->plain);
    }
    text_tokenizer_close(&t);
}

/* --- streams come early --- */

static void test_stream_is_early(void **state) {
    (void)state;
    static const struct row row = {
        "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"_\"},\"content\":\" \"},"
        "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" "
        "\",\"start\":1,\"stop\":0}]}",
        "_Hi|_you|<0xE2>|<0x82>|<0xAC>|!", ""};
    static const char *const after[] = {"Hi", "Hi you", "Hi you", "Hi you", "Hi you", "Hi you\xe2\x82\xac!"};
    struct text_ids ids = {0};
    struct text_stream s = {0};
    struct str out = {0};
    struct lamina_error err = {0};
    struct text_tokenizer *t = decoder_tokenizer(&row, &ids);
    for (size_t i = 0; i < ids.count; i++) {
        assert_int_equal(text_stream_add(t, &s, ids.ids[i], false, &out, &err), 0);
        assert_string_equal(str_text(&out), after[i]);
        assert_true(s.pending.count <= 3);
    }
    assert_int_equal(text_stream_add(t, &s, 77, false, &out, &err), LAMINA_USAGE);
    assert_non_null(strstr(err.message, "id 77"));
    text_stream_drop(&s);
    str_drop(&out);
    text_ids_drop(&ids);
    text_tokenizer_close(&t);
}

/* --- bytes that are not text --- */

static void test_invalid_utf8(void **state) {
    (void)state;
    struct text_tokenizer *t =
        open_json("{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\xef\xbf\xbd\":1,"
                  "\"\\u0000\":2},\"merges\":[]}}");
    expect_ids(t, span_of("a\xff\xe2\x82", 4), 0, "0 1 1");
    expect_ids(t, span_of("\xc0\x80\xed\xa0\x80\xf4\x90", 7), 0, "1 1 1 1 1 1 1");
    expect_ids(t, span_of("\0a\0", 3), 0, "2 0 2");
    expect_ids(t, span_of(NULL, 0), TEXT_ADD_SPECIAL, "");
    text_tokenizer_close(&t);
}

static void test_byte_alphabet(void **state) {
    (void)state;
    bool used[512] = {0};
    for (unsigned b = 0; b < 256; b++) {
        uint32_t c = tok_byte_to_char((uint8_t)b);
        uint8_t back = 0;
        assert_true(c < 512 && !used[c]);
        used[c] = true;
        assert_true(tok_char_to_byte(c, &back) && back == b);
    }
    uint8_t none = 0;
    assert_false(tok_char_to_byte(' ', &none));
    assert_false(tok_char_to_byte(0x144, &none));
    assert_int_equal(tok_byte_to_char(' '), 0x120);
    assert_int_equal(tok_byte_to_char('\n'), 0x10a);
}

/* --- heap and rescan agree: a long word is the same merges as its parts cut where no merge can cross --- */

static void test_long_equals_short(void **state) {
    (void)state;
    struct text_tokenizer *t = open_json("{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,"
                                         "\"c\":2,\"ab\":3,\"bc\":4,\"abc\":5,\"ca\":6,"
                                         "\"aa\":7,\"aaaa\":8,\"cab\":9,\"|\":10,\"bca\":11},\"merges\":[\"b c\",\"a "
                                         "b\",\"c a\",\"a a\",\"aa aa\",\"a bc\",\"ca b\",\"bc a\"]}}");
    struct str text = {0};
    struct text_ids parts = {0};
    struct text_ids all = {0};
    struct lamina_error err = {0};
    uint32_t x = 7;
    for (int word = 0; word < 400; word++) {
        size_t begin = text.len;
        x = x * 1664525u + 1013904223u;
        for (uint32_t i = 0, n = x >> 27; i < n; i++) {
            x = x * 1664525u + 1013904223u;
            str_add_byte(&text, (uint8_t)("abc"[(x >> 20) % 3]));
        }
        str_add_byte(&text, '|');
        assert_int_equal(text_encode(t, span_of(text.ptr + begin, text.len - begin), 0, &parts, &err), 0);
    }
    assert_int_equal(text_encode(t, str_span(&text), 0, &all, &err), 0);
    assert_int_equal(all.count, parts.count);
    assert_memory_equal(all.ids, parts.ids, all.count * sizeof(*all.ids));
    str_drop(&text);
    text_ids_drop(&parts);
    text_ids_drop(&all);
    text_tokenizer_close(&t);
}

/* --- questions --- */

static void test_questions(void **state) {
    (void)state;
    struct text_tokenizer *t = open_json("{\"version\":\"1.0\",\"added_tokens\":[{\"id\":9,\"content\":\"<s>\","
                                         "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                                         "\"normalized\":false,\"special\":true}],\"decoder\":{\"type\":\"Fuse\"},"
                                         "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":5},\"merges\":[]}}");
    uint32_t id = 0;
    struct span text;
    struct str out = {0};
    struct lamina_error err = {0};
    assert_true(text_token_id(t, span_of_text("b"), &id) && id == 5);
    assert_true(text_token_id(t, span_of_text("<s>"), &id) &&
                id == 2); /* numbered on from the vocabulary, as the reference */
    assert_false(text_token_id(t, span_of_text("c"), &id));
    assert_true(text_token_text(t, 2, &text) && span_is(text, "<s>"));
    assert_false(text_token_text(t, 1, &text));
    assert_true(text_is_special(t, 2));
    assert_false(text_is_special(t, 5));
    assert_int_equal(text_vocab_size(t), 6);
    assert_string_equal(text_tokenizer_kind(t), "BPE");
    assert_true(text_tokenizer_bytes(t) > 0);
    static const uint32_t ids[] = {2, 0, 5, 2};
    assert_int_equal(text_decode(t, ids, 4, true, &out, &err), 0);
    assert_string_equal(str_text(&out), "ab");
    static const uint32_t unknown[] = {0, 3};
    assert_int_equal(text_decode(t, unknown, 2, true, &out, &err), LAMINA_USAGE);
    assert_non_null(strstr(err.message, "id 3 has no token"));
    str_drop(&out);
    text_tokenizer_close(&t);
}

/* --- refusals --- */

#define MODEL(members) "{\"version\":\"1.0\",\"model\":{" members "}}"
#define WITH(part)     "{\"version\":\"1.0\"," part ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}"

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *json;
        lamina_status code;
        const char *words;
    } rows[] = {
        {"{", LAMINA_DAMAGED, "tokenizer.json: line 1"},
        {"{\"version\":\"2.0\"}", LAMINA_UNSUPPORTED, "version \"2.0\""},
        {"{\"version\":\"1.0\"}", LAMINA_DAMAGED, "no \"model\""},
        {MODEL("\"type\":\"Odd\",\"vocab\":[]"), LAMINA_UNSUPPORTED, "\"Odd\""},
        {MODEL("\"type\":\"Unigram\",\"vocab\":[[\"a\"]]"), LAMINA_DAMAGED, "entry 0"},
        {MODEL("\"type\":\"Unigram\",\"vocab\":[[\"a\",-1]],\"unk_id\":1"), LAMINA_DAMAGED, "unknown token's id 1"},
        {MODEL("\"type\":\"Unigram\",\"vocab\":{\"a\":0}"), LAMINA_UNSUPPORTED, "list of tokens with scores"},
        {MODEL("\"type\":\"WordPiece\",\"vocab\":[]"), LAMINA_UNSUPPORTED, "object of tokens and ids"},
        {MODEL("\"type\":\"WordLevel\""), LAMINA_DAMAGED, "\"vocab\""},
        {MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":0}"), LAMINA_DAMAGED, "\"merges\""},
        {MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]"), LAMINA_DAMAGED,
         "id 0 is given to two tokens"},
        {MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":5000000},\"merges\":[]"), LAMINA_DAMAGED, "above the limit"},
        {MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]"), LAMINA_DAMAGED, "\"a\" and \"b\""},
        {MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]"), LAMINA_DAMAGED, "one space"},
        {MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]"), LAMINA_DAMAGED, "fewer than two"},
        {MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1"), LAMINA_UNSUPPORTED, "dropout"},
        {WITH("\"normalizer\":{\"type\":\"Odd\"}"), LAMINA_UNSUPPORTED, "normalizer \"Odd\""},
        {WITH("\"normalizer\":{\"type\":\"Precompiled\"}"), LAMINA_DAMAGED, "\"precompiled_charsmap\""},
        {WITH("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"A\"}"), LAMINA_DAMAGED, "base64"},
        {WITH("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}"), LAMINA_DAMAGED,
         "the trie it announces"},
        {WITH("\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}"), LAMINA_UNSUPPORTED,
         "pre_tokenizer \"UnicodeScripts\""},
        {WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\","
              "\"invert\":false}"),
         LAMINA_DAMAGED, "regular expression '('"},
        {WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"x\"},\"behavior\":\"Odd\",\"invert\":"
              "false}"),
         LAMINA_UNSUPPORTED, "\"Odd\""},
        {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}"), LAMINA_DAMAGED, "one character"},
        {WITH("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":false,\"prepend_"
              "scheme\":\"always\"}"),
         LAMINA_DAMAGED, "does not match"},
        {WITH("\"decoder\":{\"type\":\"Odd\"}"), LAMINA_UNSUPPORTED, "decoder \"Odd\""},
        {WITH("\"decoder\":{\"type\":\"CTC\"}"), LAMINA_DAMAGED, "decoder \"CTC\" lacks"},
        {WITH("\"post_processor\":{\"type\":\"Odd\"}"), LAMINA_UNSUPPORTED, "post_processor \"Odd\""},
        {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"X\"}},"
              "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{}}"),
         LAMINA_DAMAGED, "\"X\""},
        {WITH("\"pre_tokenizer\":{\"split\":true}"), LAMINA_UNSUPPORTED, "\"type\""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        expect_json_refused(rows[i].json, rows[i].code, rows[i].words);
    }
    struct text_files none = {0};
    expect_refused(&none, LAMINA_NOT_FOUND, "tokenizer.json");
}

/* Old files name no type: their members tell. */
static void test_models_without_type(void **state) {
    (void)state;
    static const struct {
        const char *json;
        const char *kind;
        const char *ids; /* of "abab" */
    } rows[] = {
        {MODEL("\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]"), "BPE", "2 2"},
        {MODEL("\"vocab\":[[\"<unk>\",0],[\"a\",-1],[\"b\",-1],[\"ab\",-1.5]],\"unk_id\":0"), "Unigram", "3 3"},
        {MODEL("\"unk_token\":\"?\",\"max_input_chars_per_word\":9,\"vocab\":{\"?\":0,\"ab\":1,\"##ab\":2}"), "WordPiece",
         "1 2"},
        {MODEL("\"vocab\":{\"?\":0,\"abab\":1},\"unk_token\":\"?\""), "WordLevel", "1"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct text_tokenizer *t = open_json(rows[i].json);
        assert_string_equal(text_tokenizer_kind(t), rows[i].kind);
        expect_ids(t, span_of_text("abab"), 0, rows[i].ids);
        text_tokenizer_close(&t);
    }
    expect_json_refused(MODEL("\"vocab\":{\"a\":0}"), LAMINA_UNSUPPORTED, "without a type");
}

/* Two ways to cut one text, equally good as the reference reads the scores; as the nearest doubles they would differ by
 * one bit, and the other way would win. */
static void test_score_bits(void **state) {
    (void)state;
    struct text_tokenizer *t = open_json(MODEL("\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",-99],[\"a\",0],"
                                               "[\"b\",-10.149038443451316],[\"ab\",-10.149038443451317]]"));
    expect_ids(t, span_of_text("ab"), 0, "3");
    text_tokenizer_close(&t);
}

/* A pattern made to take for ever ends with an error. */
static void test_runaway_pattern(void **state) {
    (void)state;
    struct text_tokenizer *t =
        open_json("{\"version\":\"1.0\",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a|a|aa)+$\"},"
                  "\"behavior\":\"Isolated\","
                  "\"invert\":false},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}");
    struct text_ids ids = {0};
    struct lamina_error err = {0};
    assert_int_equal(text_encode(t, span_of_text("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"), 0, &ids, &err),
                     LAMINA_DAMAGED);
    assert_non_null(strstr(err.message, "limit"));
    assert_int_equal(ids.count, 0);
    text_ids_drop(&ids);
    text_tokenizer_close(&t);
}

/* --- vocab.json with merges.txt, and the files beside --- */

#define VOCAB                                                                                                          \
    "{\"l\":0,\"o\":1,\"lo\":2,\"\\u0120\":3,\"\\u0120lo\":4,\"w\":5,\"1\":6,\"2\":7,\"12\":8,\"3\":9,\"123\":10"

static void test_vocab_and_merges(void **state) {
    (void)state;
    struct text_files files = {
        .vocab_json = span_of_text(VOCAB ",\"<|endoftext|>\":11}"),
        .merges_txt = span_of_text("#version: 0.2\nl o\r\n\xc4\xa0 lo\n1 2\n12 3\n"),
    };
    struct text_tokenizer *t = NULL;
    struct lamina_error err = {0};
    assert_int_equal(text_tokenizer_open(&t, &files, &err), 0);
    assert_string_equal(text_tokenizer_kind(t), "byte-level BPE");
    expect_ids(t, span_of_text("lo low123<|endoftext|>"), TEXT_PARSE_SPECIAL | TEXT_ADD_SPECIAL, "2 4 5 10 11");
    assert_true(text_is_special(t, 11));
    text_tokenizer_close(&t);

    files.tokenizer_config =
        span_of_text("{\"tokenizer_class\":\"Qwen2Tokenizer\",\"added_tokens_decoder\":{\"12\":{\"content\":"
                     "\"<|im_end|>\",\"special\":true,\"normalized\":false}}}");
    assert_int_equal(text_tokenizer_open(&t, &files, &err), 0); /* single digits */
    expect_ids(t, span_of_text("lo 123<|im_end|>"), TEXT_PARSE_SPECIAL | TEXT_ADD_SPECIAL, "2 3 6 7 9 12");
    text_tokenizer_close(&t);

    files.vocab_json = span_of_text(VOCAB ",\"low\":11}");
    files.tokenizer_config =
        span_of_text("{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"added_tokens_decoder\":{\"128000\":"
                     "{\"content\":\"<|begin_of_text|>\",\"special\":true,\"normalized\":false}}}");
    assert_int_equal(text_tokenizer_open(&t, &files, &err), 0); /* digits in threes, whole words first, BOS */
    expect_ids(t, span_of_text("low12 31"), TEXT_ADD_SPECIAL, "128000 11 8 3 9 6");
    expect_ids(t, span_of_text("low12"), 0, "11 8");
    text_tokenizer_close(&t);

    files.tokenizer_config = span_of_text("{\"tokenizer_class\":\"OddTokenizer\"}");
    expect_refused(&files, LAMINA_UNSUPPORTED, "OddTokenizer");
    files.tokenizer_config = span_of_text("{\"tokenizer_class\":\"GPT2Tokenizer\"}");
    files.merges_txt = span_of_text("l o\nx y\n");
    expect_refused(&files, LAMINA_DAMAGED, "do not belong together");
    files.merges_txt = span_of_text("l o w\n");
    expect_refused(&files, LAMINA_DAMAGED, "line 1");
}

/* The Llama classes build BOS and EOS from the config; others keep what tokenizer.json says. */
static void test_config_ends(void **state) {
    (void)state;
    static const char json[] =
        "{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"<s>\":1,\"</s>\":2},\"merges\":[]}}";
    static const struct {
        const char *config;
        const char *ids;
    } rows[] = {
        {"{}", "0"},
        {"{\"tokenizer_class\":\"LlamaTokenizer\",\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"}}", "1 0"},
        {"{\"tokenizer_class\":\"LlamaTokenizerFast\",\"bos_token\":\"<s>\",\"eos_token\":\"</"
         "s>\",\"add_bos_token\":false,"
         "\"add_eos_token\":true}",
         "0 2"},
        {"{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"bos_token\":\"<s>\",\"add_bos_token\":true}", "0"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct text_files files = {.tokenizer_json = span_of_text(json),
                                   .tokenizer_config = span_of_text(rows[i].config)};
        struct text_tokenizer *t = NULL;
        struct lamina_error err = {0};
        assert_int_equal(text_tokenizer_open(&t, &files, &err), 0);
        expect_ids(t, span_of_text("a"), TEXT_ADD_SPECIAL, rows[i].ids);
        text_tokenizer_close(&t);
    }
    struct text_files files = {.tokenizer_json = span_of_text(json),
                               .tokenizer_config =
                                   span_of_text("{\"tokenizer_class\":\"LlamaTokenizer\",\"add_bos_token\":true}")};
    expect_refused(&files, LAMINA_DAMAGED, "add_bos_token");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pretokenizers),   cmocka_unit_test(test_normalizers),
        cmocka_unit_test(test_decoders),        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_stream_is_early), cmocka_unit_test(test_invalid_utf8),
        cmocka_unit_test(test_byte_alphabet),   cmocka_unit_test(test_long_equals_short),
        cmocka_unit_test(test_questions),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_runaway_pattern), cmocka_unit_test(test_vocab_and_merges),
        cmocka_unit_test(test_config_ends),     cmocka_unit_test(test_models_without_type),
        cmocka_unit_test(test_score_bits),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
