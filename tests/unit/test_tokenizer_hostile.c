/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokenizer files that are broken or made to hurt: each is refused with words, or costs no more than its size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "text/tokcharsmap_priv.h"
#include "text/tokenizer.h"
#include "tokenizer_bytes.h"

#define COUNT(list) (sizeof(list) / sizeof(list[0]))
/* Far above what linear work takes under a sanitizer, far below what quadratic work takes. */
enum { SECONDS = 30 };

static double cpu_s(void) {
    return (double)clock() / CLOCKS_PER_SEC;
}

static void expect_refused(const struct text_files *files, lamina_status code, const char *words) {
    struct text_tokenizer *t = NULL;
    struct lamina_error err = {0};
    lamina_status status = text_tokenizer_open(&t, files, &err);
    assert_null(t);
    if (status != code || strstr(err.message, words) == NULL) {
        fail_msg("status %d '%s', expected %d with '%s'", status, err.message, code, words);
    }
}

static void expect_model_refused(const struct str *model, lamina_status code, const char *words) {
    expect_refused(&(struct text_files){.tokenizer_model = str_span(model)}, code, words);
}

static struct text_tokenizer *open_files(const struct text_files *files) {
    struct text_tokenizer *t = NULL;
    struct lamina_error err = {0};
    if (text_tokenizer_open(&t, files, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return t;
}

static struct text_tokenizer *open_model(struct str *model) {
    struct text_tokenizer *t = open_files(&(struct text_files){.tokenizer_model = str_span(model)});
    str_drop(model);
    return t;
}

static void encode(const struct text_tokenizer *t, struct span text, struct text_ids *ids) {
    struct lamina_error err = {0};
    ids->count = 0;
    if (text_encode(t, text, TEXT_PARSE_SPECIAL, ids, &err) < 0) {
        fail_msg("%s", err.message);
    }
}

static void expect_ids(const struct text_tokenizer *t, const char *text, const char *want) {
    struct text_ids ids = {0};
    struct str got = {0};
    encode(t, span_of_text(text), &ids);
    for (size_t i = 0; i < ids.count; i++) {
        str_printf(&got, "%s%u", i > 0 ? " " : "", ids.ids[i]);
    }
    assert_string_equal(str_text(&got), want);
    str_drop(&got);
    text_ids_drop(&ids);
}

/* --- SentencePiece files --- */

static void small_model(struct str *out, uint64_t algorithm) {
    add_piece(out, span_of_text("<unk>"), 0, UNKNOWN);
    add_piece(out, span_of_text("a"), -1, NORMAL);
    add_piece(out, span_of_text("b"), -2, NORMAL);
    add_piece(out, span_of_text("ab"), -1.5f, NORMAL);
    add_specs(out, &(struct model_ends){.algorithm = algorithm});
}

static void test_model_cut_short(void **state) {
    (void)state;
    struct str model = {0};
    small_model(&model, BPE);
    for (size_t len = 0; len < model.len; len++) {
        uint8_t *exact = malloc(len + 1); /* so that a sanitizer sees a byte too many */
        assert_non_null(exact);
        uint8_t *at = exact + 1;
        memcpy(at, model.ptr, len);
        struct text_files files = {.tokenizer_model = span_of(at, len)};
        struct text_tokenizer *t = NULL;
        struct lamina_error err = {0};
        lamina_status status = text_tokenizer_open(&t, &files, &err);
        assert_true((status == LAMINA_OK) == (t != NULL));
        assert_true(status == LAMINA_OK || err.message[0] != 0);
        text_tokenizer_close(&t);
        free(exact);
    }
    struct text_tokenizer *t = open_model(&model);
    expect_ids(t, "abba", "3 2 1");
    text_tokenizer_close(&t);
}

static void refuse_pieces(void (*pieces)(struct str *), const struct model_ends *ends, lamina_status code,
                          const char *words) {
    struct str model = {0};
    pieces(&model);
    add_specs(&model, ends);
    expect_model_refused(&model, code, words);
    str_drop(&model);
}

static void no_unknown(struct str *m) {
    add_piece(m, span_of_text("a"), 0, NORMAL);
}
static void two_unknown(struct str *m) {
    add_piece(m, span_of_text("a"), 0, UNKNOWN);
    add_piece(m, span_of_text("b"), 0, UNKNOWN);
}
static void one_unknown(struct str *m) {
    add_piece(m, span_of_text("<unk>"), 0, UNKNOWN);
}
static void repeated(struct str *m) {
    add_piece(m, span_of_text("a"), 0, UNKNOWN);
    add_piece(m, span_of_text("a"), 0, NORMAL);
}
static void empty_piece(struct str *m) {
    add_piece(m, span_of_text("a"), 0, UNKNOWN);
    add_piece(m, span_of_text(""), 0, NORMAL);
}
static void not_text(struct str *m) {
    add_piece(m, span_of_text("\xe2\x96"), 0, UNKNOWN);
}
static void not_finite(struct str *m) {
    static const uint8_t piece[] = {0x0a, 1, 'a', 0x15, 0, 0, 0x80, 0x7f}; /* score: infinity */
    add_bytes_field(m, 1, span_of(piece, sizeof(piece)));
}
static void long_piece(struct str *m) {
    struct str text = {0};
    for (int i = 0; i < 5000; i++) {
        str_add_byte(&text, 'a');
    }
    add_piece(m, str_span(&text), 0, UNKNOWN);
    str_drop(&text);
}
static void odd_byte(struct str *m) {
    add_piece(m, span_of_text("<unk>"), 0, UNKNOWN);
    add_piece(m, span_of_text("<0xfg>"), 0, BYTE);
}
static void broken_piece(struct str *m) {
    one_unknown(m);
    add_bytes_field(m, 1, span_of_text("\x0a\x7f"));
}

static void test_model_refusals(void **state) {
    (void)state;
    static const struct model_ends ends = {.algorithm = BPE};
    static const struct model_ends bytes = {.algorithm = BPE, .byte_fallback = true};
    static const struct model_ends words = {.algorithm = 3};
    static const struct model_ends map = {.algorithm = UNIGRAM, .charsmap = {(const uint8_t *)"\x08\0\0\0abcd", 8}};
    refuse_pieces(no_unknown, &ends, LAMINA_DAMAGED, "0 pieces for what is unknown");
    refuse_pieces(two_unknown, &ends, LAMINA_DAMAGED, "2 pieces for what is unknown");
    refuse_pieces(repeated, &ends, LAMINA_DAMAGED, "pieces 0 and 1 are both \"a\"");
    refuse_pieces(empty_piece, &ends, LAMINA_DAMAGED, "piece 1 is empty");
    refuse_pieces(not_text, &ends, LAMINA_DAMAGED, "not UTF-8");
    refuse_pieces(not_finite, &ends, LAMINA_DAMAGED, "finite score");
    refuse_pieces(long_piece, &ends, LAMINA_DAMAGED, "longer than 4096 bytes");
    refuse_pieces(odd_byte, &ends, LAMINA_DAMAGED, "not named <0x00>");
    refuse_pieces(one_unknown, &bytes, LAMINA_DAMAGED, "0 byte pieces, expected 256");
    refuse_pieces(one_unknown, &words, LAMINA_UNSUPPORTED, "type 3 is not supported");
    refuse_pieces(one_unknown, &map, LAMINA_DAMAGED, "the trie it announces");
    refuse_pieces(broken_piece, &ends, LAMINA_DAMAGED, "description of a piece is cut short");
    struct str model = {0};
    str_add_text(&model, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 499723\n");
    expect_model_refused(&model, LAMINA_DAMAGED, "git-lfs");
    str_drop(&model);
}

/* A class is refused by name rather than taken for another. */
static void test_unknown_class(void **state) {
    (void)state;
    struct str model = {0};
    small_model(&model, BPE);
    struct text_files files = {.tokenizer_model = str_span(&model),
                               .tokenizer_config = span_of_text("{\"tokenizer_class\":\"OddTokenizer\"}")};
    expect_refused(&files, LAMINA_UNSUPPORTED, "OddTokenizer");
    files.tokenizer_config = span_of_text("{\"tokenizer_class\":\"ChatGLMTokenizer\",\"do_lower_case\":true}");
    expect_refused(&files, LAMINA_UNSUPPORTED, "do_lower_case");
    files.tokenizer_config = span_of_text("{\"tokenizer_class\":\"LlamaTokenizer\",\"add_eos_token\":true,\"eos_token\":\"\"}");
    struct text_tokenizer *t = open_files(&files); /* the class's own </s> gets an id */
    text_tokenizer_close(&t);
    str_drop(&model);
}

/* Ids far apart and special tokens over byte pieces: a config may say both. */
static void test_config_over_pieces(void **state) {
    (void)state;
    struct str model = {0};
    struct lamina_error err = {0};
    struct text_ids ids = {0};
    struct str text = {0};
    add_piece(&model, span_of_text("<unk>"), 0, UNKNOWN);
    add_piece(&model, span_of_text("<n>"), 0, USER);
    add_piece(&model, span_of_text("[gMASK]"), 0, CONTROL);
    add_piece(&model, span_of_text("<sop>"), 0, CONTROL);
    add_piece(&model, span_of_text("<|blank_2|>"), 0, USER);
    add_bytes_as_pieces(&model);
    add_specs(&model, &(struct model_ends){.algorithm = UNIGRAM, .byte_fallback = true});
    struct text_files files = {
        .tokenizer_model = str_span(&model),
        .tokenizer_config = span_of_text("{\"tokenizer_class\":\"ChatGLMTokenizer\",\"num_image_tokens\":10,"
                                         "\"added_tokens_decoder\":{"
                                         "\"20\":{\"content\":\"x\",\"special\":true},\"21\":{\"content\":\"y\"},"
                                         "\"4000000\":{\"content\":\"far\"}}}")};
    struct text_tokenizer *t = open_files(&files);
    assert_int_equal(text_vocab_size(t), 4000003); /* <eop> and <pad>, which are no pieces, come last */
    encode(t, span_of_text("xyfar"), &ids);
    assert_int_equal(ids.count, 3);
    assert_int_equal(text_decode(t, ids.ids, ids.count, false, &text, &err), 0);
    assert_string_equal(str_text(&text), "x y far"); /* added tokens stand apart */
    text_tokenizer_close(&t);
    files.tokenizer_config =
        span_of_text("{\"tokenizer_class\":\"ChatGLMTokenizer\",\"added_tokens_decoder\":{\"4194304\":{\"content\":\"x\"}}}");
    expect_refused(&files, LAMINA_DAMAGED, "4194304");
    files.tokenizer_config = span_of_text("{\"tokenizer_class\":\"ChatGLMTokenizer\",\"num_image_tokens\":4194304}");
    expect_refused(&files, LAMINA_DAMAGED, "num_image_tokens");
    text_ids_drop(&ids);
    str_drop(&text);
    str_drop(&model);
}

/* --- character maps --- */

static void write_map(struct map_bytes *m, struct str *out) {
    map_write(m, out);
    str_drop(&m->text);
}

static void test_map_lookup(void **state) {
    (void)state;
    struct map_bytes m = {0};
    struct str blob = {0};
    struct tok_charsmap map = {0};
    struct lamina_error err = {0};
    struct span to = {0};
    map_put(&m, "a", "x");
    map_put(&m, "abc", "yy");
    map_put(&m, "\xc3", "z"); /* half a character: no key for text */
    map_put(&m, "\xc3\xa9", "e");
    write_map(&m, &blob);
    assert_int_equal(tok_charsmap_open(&map, str_span(&blob), &err), 0);
    assert_int_equal(tok_charsmap_longest(&map, span_of_text("abcd"), &to), 3);
    assert_true(span_is(to, "yy"));
    assert_int_equal(tok_charsmap_longest(&map, span_of_text("abd"), &to), 1);
    assert_true(span_is(to, "x"));
    assert_true(tok_charsmap_first(&map, span_of_text("abc"), &to) && span_is(to, "x"));
    assert_int_equal(tok_charsmap_longest(&map, span_of_text("\xc3\xa9"), &to), 2);
    assert_true(tok_charsmap_first(&map, span_of_text("\xc3\xa9"), &to) && span_is(to, "e"));
    assert_int_equal(tok_charsmap_longest(&map, span_of_text("\xc3\xa8"), &to), 0);
    assert_int_equal(tok_charsmap_longest(&map, span_of_text("b"), &to), 0);
    tok_charsmap_drop(&map);
    for (size_t len = 1; len < blob.len; len += len < 64 || len + 8 > blob.len ? 1 : 61) { /* never whole: refused or harmless */
        lamina_status status = tok_charsmap_open(&map, span_of(blob.ptr, len), &err);
        assert_true(status == LAMINA_OK || status == LAMINA_DAMAGED);
        tok_charsmap_drop(&map);
    }
    str_drop(&blob);
}

static void test_map_refusals(void **state) {
    (void)state;
    struct tok_charsmap map = {0};
    struct lamina_error err = {0};
    for (int kind = 0; kind < 3; kind++) {
        struct map_bytes m = {0};
        struct str blob = {0};
        map_put(&m, "a", kind == 0 ? "\xe2\x96" : "\xe2\x96\x81"); /* not UTF-8 */
        uint32_t value = map_children(&m, map_children(&m, 0) ^ 'a');
        m.units[value] = 0x80000000u | (kind == 1 ? 1u : kind == 2 ? 1000u : 0u); /* inside a character; outside */
        write_map(&m, &blob);
        assert_int_equal(tok_charsmap_open(&map, str_span(&blob), &err), LAMINA_DAMAGED);
        assert_non_null(strstr(err.message, "not UTF-8"));
        memset(&err, 0, sizeof(err));
        str_drop(&blob);
    }
}

/* A node that is its own child: every place of a text would walk to the text's end. */
static void test_map_circle(void **state) {
    (void)state;
    struct map_bytes m = {0};
    struct str blob = {0};
    struct str model = {0};
    struct str text = {0};
    struct text_ids ids = {0};
    uint32_t node = map_children(&m, 0) ^ 'a';
    m.units[node] = 'a' | (node ^ 256u) << 10;
    str_add_byte(&m.text, 0);
    write_map(&m, &blob);
    add_piece(&model, span_of_text("<unk>"), 0, UNKNOWN);
    add_piece(&model, span_of_text("a"), 0, NORMAL);
    add_specs(&model, &(struct model_ends){.algorithm = UNIGRAM, .charsmap = str_span(&blob)});
    for (int i = 0; i < 300000; i++) {
        str_add_byte(&text, 'a');
    }
    struct text_tokenizer *t = open_model(&model);
    double start = cpu_s();
    encode(t, str_span(&text), &ids);
    assert_true(cpu_s() - start < SECONDS);
    assert_int_equal(ids.count, 300000);
    text_tokenizer_close(&t);
    text_ids_drop(&ids);
    str_drop(&text);
    str_drop(&blob);
}

/* --- rank files --- */

static void expect_ranks_refused(struct str *ranks, lamina_status code, const char *words) {
    expect_refused(&(struct text_files){.tiktoken = str_span(ranks)}, code, words);
    str_drop(ranks);
}

static void test_rank_refusals(void **state) {
    (void)state;
    static const char *const lines[][2] = {
        {"YQ 1\n", "line 257 is not a token in base64"}, /* padding is missing */
        {"YR== 1\n", "line 257 is not"},                 /* bits that stand for nothing */
        {"YWI=1\n", "line 257 is not"},
        {"YWI= \n", "line 257 is not"},
        {"YWI= -1\n", "line 257 is not"},
        {"YWI= 999999999\n", "line 257 is not"},
        {"YWI= 4194304\n", "rank 4194304"},
        {"YWI= 7\n", "gives rank 7 a second time"},
        {"YQ== 256\n", "repeats the token of rank 97"},
    };
    struct str ranks = {0};
    for (size_t i = 0; i < COUNT(lines); i++) {
        add_byte_ranks(&ranks);
        str_add_text(&ranks, lines[i][0]);
        expect_ranks_refused(&ranks, LAMINA_DAMAGED, lines[i][1]);
    }
    add_byte_ranks(&ranks);
    expect_ranks_refused(&ranks, LAMINA_UNSUPPORTED, "256 tokens"); /* none of the known vocabularies */
    add_byte_ranks(&ranks);
    ranks.len -= 9; /* the last line */
    expect_ranks_refused(&ranks, LAMINA_DAMAGED, "no token for byte 255");
    str_add_text(&ranks, "hello world\n");
    expect_ranks_refused(&ranks, LAMINA_DAMAGED, "neither a SentencePiece model nor a tiktoken rank file");
}

/* Line ends of another system, empty lines and no last line end are all the same file; either name will do. */
static void test_rank_forms(void **state) {
    (void)state;
    static const char config[] = "{\"model_type\":\"kimi_linear\"}";
    struct str ranks = {0};
    add_byte_ranks(&ranks);
    str_add_text(&ranks, "\r\n\nYWI= 256\r\nYWJj 257");
    for (int i = 0; i < 2; i++) {
        struct text_files files = {.config = span_of_text(config)};
        *(i == 0 ? &files.tiktoken : &files.tokenizer_model) = str_span(&ranks);
        struct text_tokenizer *t = open_files(&files);
        expect_ids(t, "abcab", "257 256");
        expect_ids(t, "[EOS]", "259");
        assert_int_equal(text_vocab_size(t), 258 + 256);
        text_tokenizer_close(&t);
    }
    str_drop(&ranks);
}

/* --- files that make text grow --- */

static void expect_text_refused(const struct str *json, const char *text, const char *words) {
    struct text_tokenizer *t = open_files(&(struct text_files){.tokenizer_json = str_span(json)});
    struct text_ids ids = {0};
    struct lamina_error err = {0};
    assert_int_equal(text_encode(t, span_of_text(text), 0, &ids, &err), LAMINA_NO_FIT);
    assert_non_null(strstr(err.message, words));
    assert_int_equal(ids.count, 0);
    text_ids_drop(&ids);
    text_tokenizer_close(&t);
}

#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}"

static void add_repeated(struct str *out, const char *item, int times) {
    for (int i = 0; i < times; i++) {
        str_add_text(out, i == 0 ? "" : ",");
        str_add_text(out, item);
    }
}

static void test_growth_is_bounded(void **state) {
    (void)state;
    struct str json = {0};
    struct str item = {0};
    str_add_text(&item, "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"");
    for (int i = 0; i < 4000; i++) {
        str_add_byte(&item, 'a');
    }
    str_add_text(&item, "\"}");
    str_add_text(&json, "{\"version\":\"1.0\",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
    add_repeated(&json, str_text(&item), 3);
    str_add_text(&json, "]}," MODEL);
    expect_text_refused(&json, "aaaa", "normalising");
    str_clear(&json);
    str_add_text(&json, "{\"version\":\"1.0\",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
    add_repeated(&json, "{\"type\":\"ByteLevel\"}", 200); /* each doubles what is not ASCII */
    str_add_text(&json, "]}," MODEL);
    expect_text_refused(&json, "\xc3\xa9", "normalising");
    str_clear(&json);
    str_add_text(&json, "{\"version\":\"1.0\",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[");
    add_repeated(&json, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}", 200);
    str_add_text(&json, "]}," MODEL);
    expect_text_refused(&json, "\xc3\xa9", "splitting");
    str_clear(&json);
    str_add_text(&json, "{\"version\":\"1.0\",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],"
                        "\"end_of_word_suffix\":\"");
    add_repeated(&json, "aaaaaaaaa", 500);
    str_add_text(&json, "\"}}");
    expect_refused(&(struct text_files){.tokenizer_json = str_span(&json)}, LAMINA_UNSUPPORTED, "suffix of 4999 bytes");
    str_drop(&json);
    str_drop(&item);
}

/* --- files that would take long --- */

/* Every token of a run of spaces could look through the whole run, on both sides. */
static void test_space_tokens(void **state) {
    (void)state;
    static const char json[] = "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":1,\"content\":\" \",\"lstrip\":true,\"rstrip\":true,"
                               "\"single_word\":false,\"normalized\":false,\"special\":false}]," MODEL;
    struct str text = {0};
    struct text_ids ids = {0};
    for (int i = 0; i < 400000; i++) {
        str_add_byte(&text, ' ');
    }
    struct text_tokenizer *t = open_files(&(struct text_files){.tokenizer_json = span_of_text(json)});
    double start = cpu_s();
    encode(t, str_span(&text), &ids);
    assert_true(cpu_s() - start < SECONDS);
    assert_true(ids.count > 0);
    text_tokenizer_close(&t);
    text_ids_drop(&ids);
    str_drop(&text);
}

/* A word of half a megabyte, and a vocabulary that has it nearly: longest match by trying all lengths would not end. */
static void test_long_word_piece(void **state) {
    (void)state;
    struct str json = {0};
    struct str text = {0};
    struct text_ids ids = {0};
    str_add_text(&json, "{\"version\":\"1.0\",\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\","
                        "\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":1000000000,"
                        "\"vocab\":{\"[UNK]\":0,\"a\":1,\"##a\":2,\"##");
    for (int i = 0; i < 4000; i++) {
        str_add_byte(&json, 'b');
    }
    str_add_text(&json, "\":3}}}");
    for (int i = 0; i < 500000; i++) {
        str_add_byte(&text, 'a');
    }
    struct text_tokenizer *t = open_files(&(struct text_files){.tokenizer_json = str_span(&json)});
    double start = cpu_s();
    encode(t, str_span(&text), &ids);
    assert_true(cpu_s() - start < SECONDS);
    assert_int_equal(ids.count, 500000);
    assert_int_equal(ids.ids[0], 1);
    assert_int_equal(ids.ids[1], 2);
    str_add_byte(&text, 'b'); /* the last character fits nothing, so the word is unknown */
    encode(t, str_span(&text), &ids);
    assert_int_equal(ids.count, 1);
    text_tokenizer_close(&t);
    text_ids_drop(&ids);
    str_drop(&json);
    str_drop(&text);
}

/* A megabyte of one letter with tokens of every length: no boundary to cut at. */
static void test_one_long_run(void **state) {
    (void)state;
    for (uint64_t algorithm = UNIGRAM; algorithm <= BPE; algorithm++) {
        struct str model = {0};
        struct str piece = {0};
        struct str text = {0};
        struct text_ids ids = {0};
        add_piece(&model, span_of_text("<unk>"), 0, UNKNOWN);
        for (int i = 0; i < 64; i++) {
            str_add_byte(&piece, 'a');
            add_piece(&model, str_span(&piece), -(float)i, NORMAL);
        }
        add_specs(&model, &(struct model_ends){.algorithm = algorithm});
        for (int i = 0; i < 1000000; i++) {
            str_add_byte(&text, 'a');
        }
        struct text_tokenizer *t = open_model(&model);
        double start = cpu_s();
        encode(t, str_span(&text), &ids);
        assert_true(cpu_s() - start < SECONDS);
        assert_true(ids.count >= 1000000 / 64);
        text_tokenizer_close(&t);
        text_ids_drop(&ids);
        str_drop(&piece);
        str_drop(&text);
    }
}

/* An answer that is all bytes: none of it may come out before the run ends, and it must not be decoded again and again. */
static void test_stream_of_bytes(void **state) {
    (void)state;
    enum { TOKENS = 200000 };
    static const char json[] =
        "{\"version\":\"1.0\",\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\"_\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
        "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},\"model\":"
        "{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"<0x41>\":0,\"_a\":1},\"merges\":[]}}";
    struct text_tokenizer *t = open_files(&(struct text_files){.tokenizer_json = span_of_text(json)});
    for (uint32_t front = 0; front < 2; front++) {
        struct text_stream s = {0};
        struct str text = {0};
        struct lamina_error err = {0};
        double start = cpu_s();
        assert_int_equal(text_stream_add(t, &s, front, false, &text, &err), 0);
        for (int i = 0; i < TOKENS; i++) {
            assert_int_equal(text_stream_add(t, &s, 0, false, &text, &err), 0);
        }
        assert_int_equal(text.len, front);
        assert_int_equal(text_stream_add(t, &s, 1, false, &text, &err), 0);
        assert_int_equal(text.len, 1 + TOKENS + 2);
        assert_int_equal(text_stream_finish(t, &s, false, &text, &err), 0);
        assert_true(cpu_s() - start < SECONDS);
        assert_true(span_ends_with(str_span(&text), front == 1 ? "AAA a" : "AA a"));
        str_drop(&text);
    }
    text_tokenizer_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_cut_short),   cmocka_unit_test(test_model_refusals),
        cmocka_unit_test(test_unknown_class),     cmocka_unit_test(test_config_over_pieces),
        cmocka_unit_test(test_map_lookup),        cmocka_unit_test(test_map_refusals),
        cmocka_unit_test(test_map_circle),        cmocka_unit_test(test_rank_refusals),
        cmocka_unit_test(test_rank_forms),        cmocka_unit_test(test_growth_is_bounded),
        cmocka_unit_test(test_space_tokens),      cmocka_unit_test(test_long_word_piece),
        cmocka_unit_test(test_one_long_run),      cmocka_unit_test(test_stream_of_bytes),
    };
    return cmocka_run_group_tests_name("tokenizer_hostile", tests, NULL, NULL);
}
