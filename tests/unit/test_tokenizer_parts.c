/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts that tokenizers are made of: wire format, trie, heap, the decoder of SentencePiece pieces; and the two models
 * of SentencePiece against slow ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/tokenizer.h"
#include "text/tokheap_priv.h"
#include "text/tokproto_priv.h"
#include "text/toktrie_priv.h"
#include "tokenizer_bytes.h"

#define COUNT(list) (sizeof(list) / sizeof(list[0]))

static struct text_tokenizer *open_model(struct str *model) {
    struct text_files files = {.tokenizer_model = str_span(model)};
    struct text_tokenizer *t = NULL;
    struct lamina_error err = {0};
    if (text_tokenizer_open(&t, &files, &err) < 0) {
        fail_msg("%s", err.message);
    }
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

/* --- the wire format --- */

static void test_proto_fields(void **state) {
    (void)state;
    static const uint8_t bytes[] = {0x08, 0x96, 0x01, 0x12, 0x02, 'h', 'i', 0x1d, 1, 0, 0, 0, 0x21, 1, 2, 0, 0, 0, 0, 0, 0};
    struct tok_proto p = {.message = span_of(bytes, sizeof(bytes))};
    struct tok_proto_field f;
    assert_true(tok_proto_next(&p, &f) && tok_proto_is_varint(&f, 1) && f.value == 150);
    assert_true(tok_proto_next(&p, &f) && tok_proto_is_bytes(&f, 2) && span_is(f.bytes, "hi"));
    assert_true(tok_proto_next(&p, &f) && f.number == 3 && f.shape == TOK_PROTO_FIXED32 && f.value == 1);
    assert_true(tok_proto_next(&p, &f) && f.number == 4 && f.shape == TOK_PROTO_FIXED64 && f.value == 513);
    assert_false(tok_proto_next(&p, &f));
    assert_false(p.damaged);
}

static void test_proto_damage(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"\x08", 1},                                             /* no value */
        {"\x08\x80", 2},                                         /* a number that goes on */
        {"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12}, /* eleven bytes of it */
        {"\x0a\x05hi", 4},                                       /* longer than what is left */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},     /* 2^64 - 1 bytes */
        {"\x0d\x01\x02\x03", 4},                                 /* half a number */
        {"\x09\x01\x02\x03\x04\x05\x06\x07", 8},
        {"\x02\x00", 2},                                         /* member 0 */
        {"\x0b\x0c", 2},                                         /* a group */
        {"\x0e\x01", 2},                                         /* shapes 6 and 7 */
        {"\x0f\x01", 2},
        {"\xfa\xff\xff\xff\x7f\x00", 6},                         /* member above 2^29 - 1 */
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct tok_proto p = {.message = span_of(rows[i].bytes, rows[i].len)};
        struct tok_proto_field f;
        assert_false(tok_proto_next(&p, &f));
        assert_true(p.damaged);
        assert_false(tok_proto_next(&p, &f)); /* and stays so */
    }
}

/* --- heap and trie --- */

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u; /* Numerical Recipes' constants */
    return *state >> 8;
}

static void test_heap_order(void **state) {
    (void)state;
    struct tok_candidate items[500];
    uint32_t seed = 1;
    for (size_t n = 0; n < COUNT(items); n += 1 + n / 3) {
        struct tok_heap made = {.items = items};
        for (size_t i = 0; i < n; i++) {
            items[made.count++] = (struct tok_candidate){.order = next_random(&seed) % 100};
        }
        tok_heap_make(&made);
        if (n > 0) {
            struct tok_candidate top = tok_heap_pop(&made);
            top.order += 7;
            tok_heap_push(&made, top);
        }
        uint64_t last = 0;
        for (size_t i = 0; i < n; i++) {
            struct tok_candidate top = tok_heap_pop(&made);
            assert_true(top.order >= last);
            last = top.order;
        }
        assert_int_equal(made.count, 0);
    }
}

static void test_trie_holds_all(void **state) {
    (void)state;
    static const char *const tokens[] = {"a", "ab", "abc", "b", "\xe2\x96\x81", "\xe2\x96\x81\x61", "zzzzzzzzzz", "\xff"};
    struct tok_vocab v = {0};
    struct tok_trie trie = {0};
    struct lamina_error err = {0};
    for (uint32_t i = 0; i < COUNT(tokens); i++) {
        assert_int_equal(tok_vocab_add(&v, span_of_text(tokens[i]), i), TOK_VOCAB_OK);
    }
    assert_int_equal(tok_trie_open(&trie, &v, NULL, &err), 0);
    for (uint32_t i = 0; i < COUNT(tokens); i++) {
        uint32_t node = 0;
        for (const char *c = tokens[i]; *c != 0; c++) {
            node = tok_trie_step(&trie, node, (uint8_t)*c);
            assert_int_not_equal(node, 0);
        }
        assert_int_equal(trie.nodes[node].id, i);
        assert_int_equal(tok_trie_step(&trie, node, 'q'), 0);
    }
    tok_trie_drop(&trie);
    static const uint8_t wanted[COUNT(tokens)] = {1};
    assert_int_equal(tok_trie_open(&trie, &v, wanted, &err), 0);
    assert_int_equal(trie.count, 2);
    tok_trie_drop(&trie);
    tok_vocab_drop(&v);
    assert_int_equal(tok_trie_open(&trie, &v, NULL, &err), 0); /* no tokens at all */
    assert_int_equal(tok_trie_step(&trie, 0, 'a'), 0);
    tok_trie_drop(&trie);
}

/* --- what tokenizer classes make of pieces and special tokens --- */

/* 0 <unk>, 1 <s>, 2 </s>, 3 to 258 bytes, 259 "_a", 260 "b", 261 "_", 262 "__", 263 "c", where _ marks a space. */
static void style_model(struct str *model) {
    static const char *const pieces[] = {"\xe2\x96\x81\x61", "b", "\xe2\x96\x81", "\xe2\x96\x81\xe2\x96\x81", "c"};
    add_piece(model, span_of_text("<unk>"), 0, UNKNOWN);
    add_piece(model, span_of_text("<s>"), 0, CONTROL);
    add_piece(model, span_of_text("</s>"), 0, CONTROL);
    add_bytes_as_pieces(model);
    for (size_t i = 0; i < COUNT(pieces); i++) {
        add_piece(model, span_of_text(pieces[i]), -(float)i, NORMAL);
    }
    add_specs(model, &(struct model_ends){.algorithm = BPE, .byte_fallback = true, .dummy_prefix = true});
}

enum { IDS = 12, TEXTS = 6 };
static const struct {
    uint32_t list[4];
    size_t count;
} style_ids[IDS] = {
    {{1, 259, 260}, 3}, {{259, 260, 2, 259}, 4}, {{1, 260, 2, 260}, 4}, {{1, 2, 259}, 3},
    {{260, 264, 261, 259}, 4}, {{259, 264, 260}, 3}, {{198, 172, 259}, 3}, {{1, 198}, 2},
    {{262, 260}, 2}, {{261, 2}, 2}, {{0, 260}, 2}, {{2, 259, 1}, 3},
};
static const char *const style_texts[TEXTS] = {"a", "ab c", "<s>a", "a </s> b", " a", "[X]a"};

/* Expected: what the classes of transformers 4.57 (and those that checkpoints bring along) say. */
static const struct {
    const char *class;
    const char *decoded[IDS];
    const char *encoded[TEXTS];
} styles[] = {
    {"\"LlamaTokenizer\",\"legacy\":true",
     {"<s>ab", " ab</s>a", "<s>  b</s>b", "<s></s>a", "b [X] a", "a [X] b", "\xc3\xa9 a",
      "<s> \xef\xbf\xbd", "b", " </s>", "<unk> b", "</s> a<s>"},
     {"1 259", "1 259 260 261 263", "1 1 259", "1 259 261 2 262 260", "1 261 259", "1 264 259"}},
    {"\"LlamaTokenizer\",\"legacy\":false",
     {"<s> ab", "ab</s> a", "<s> b</s>b", "<s></s> a", "b [X]  a", "a [X] b", "\xc3\xa9 a",
      "<s> \xef\xbf\xbd", " b", "</s>", "<unk> b", "</s> a<s>"},
     {"1 259", "1 259 260 261 263", "1 1 100", "1 259 261 2 261 260", "1 261 259", "1 261 264 100"}},
    {"\"BaichuanTokenizer\"",
     {"<s>ab", " ab</s>a", "<s> b</s>b", "<s></s>a", "b [X]  a", "a [X] b", "\xc3\xa9 a",
      "<s>\xef\xbf\xbd", " b", " </s>", "<unk>b", "</s> a<s>"},
     {"1 259", "1 259 260 261 263", "1 1 259", "1 259 261 2 262 260", "1 261 259", "1 264 259"}},
    {"\"InternLMTokenizer\"",
     {" <s>ab", " ab</s>a", " <s> b</s>b", " <s></s>a", "b [X]  a", "a [X] b", "\xc3\xa9 a",
      " <s>\xef\xbf\xbd", " b", " </s>", " <unk>b", " </s> a<s>"},
     {"1 259", "1 259 260 261 263", "1 1 259", "1 259 261 2 262 260", "1 261 259", "1 264 259"}},
    {"\"InternLM3Tokenizer\"",
     {"<s>ab", "ab</s>a", "<s>b</s>b", "<s></s>a", "b [X] a", "a [X] b", "\xc3\xa9 a",
      "<s>\xef\xbf\xbd", "b", "</s>", "<unk>b", "</s>a<s>"},
     {"1 259", "1 259 260 261 263", "1 1 259", "1 259 261 2 262 260", "1 261 259", "1 264 259"}},
    {"\"Ernie4_5_Tokenizer\"",
     {"<s>ab", "ab</s>a", "<s>b</s>b", "<s></s>a", "b[X] a", "a[X]b", "\xc3\xa9 a",
      "<s>\xef\xbf\xbd", " b", "</s>", "<unk>b", "</s>a<s>"},
     {"259", "259 260 261 263", "1 259", "259 261 2 262 260", "261 259", "264 259"}},
    {"\"GemmaTokenizer\"",
     {"<s>ab", "ab</s>a", "<s>b</s>b", "<s></s>a", "b[X] a", "a[X]b", "\xc3\xa9 a",
      "<s>\xef\xbf\xbd", " b", "</s>", "<unk>b", "</s>a<s>"},
     {"1 259", "1 259 260 261 263", "1 1 259", "1 259 261 2 262 260", "1 261 259", "1 264 259"}},
};

static void check_style(const struct text_tokenizer *t, size_t row) {
    for (size_t i = 0; i < IDS; i++) {
        struct str text = {0};
        struct str streamed = {0};
        struct text_stream s = {0};
        struct lamina_error err = {0};
        assert_int_equal(text_decode(t, style_ids[i].list, style_ids[i].count, false, &text, &err), 0);
        assert_string_equal(str_text(&text), styles[row].decoded[i]);
        for (size_t k = 0; k < style_ids[i].count; k++) {
            assert_int_equal(text_stream_add(t, &s, style_ids[i].list[k], false, &streamed, &err), 0);
        }
        assert_int_equal(text_stream_finish(t, &s, false, &streamed, &err), 0);
        assert_string_equal(str_text(&streamed), styles[row].decoded[i]);
        str_drop(&text);
        str_drop(&streamed);
    }
    for (size_t i = 0; i < TEXTS; i++) {
        struct text_ids ids = {0};
        struct str got = {0};
        struct lamina_error err = {0};
        unsigned flags = TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL;
        assert_int_equal(text_encode(t, span_of_text(style_texts[i]), flags, &ids, &err), 0);
        for (size_t k = 0; k < ids.count; k++) {
            str_printf(&got, "%s%u", k > 0 ? " " : "", ids.ids[k]);
        }
        assert_string_equal(str_text(&got), styles[row].encoded[i]);
        str_drop(&got);
        text_ids_drop(&ids);
    }
}

static void test_class_styles(void **state) {
    (void)state;
    struct str model = {0};
    style_model(&model);
    for (size_t i = 0; i < COUNT(styles); i++) {
        struct str config = {0};
        struct text_tokenizer *t = NULL;
        struct lamina_error err = {0};
        str_printf(&config,
                   "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"unk_token\":\"<unk>\",\"pad_token\":\"<unk>\","
                   "\"added_tokens_decoder\":{\"264\":{\"content\":\"[X]\",\"normalized\":false}},\"tokenizer_class\":%s}",
                   styles[i].class);
        struct text_files files = {.tokenizer_model = str_span(&model), .tokenizer_config = str_span(&config)};
        if (text_tokenizer_open(&t, &files, &err) < 0) {
            fail_msg("%s", err.message);
        }
        check_style(t, i);
        text_tokenizer_close(&t);
        str_drop(&config);
    }
    str_drop(&model);
}

/* --- the models against slow ones --- */

enum { LETTERS = 3, PIECES = 60, LONGEST = 6 };

struct slow_model {
    char text[PIECES][LONGEST + 1];
    float score[PIECES];
    int count;
};

static int slow_find(const struct slow_model *m, const char *text, size_t len) {
    for (int i = 0; i < m->count; i++) {
        if (strlen(m->text[i]) == len && memcmp(m->text[i], text, len) == 0) {
            return i;
        }
    }
    return -1;
}

/* Piece 0 is the unknown one; the letters come next, so that all text can be written. */
static void make_slow(struct slow_model *m, uint32_t *seed, struct str *model, uint64_t algorithm) {
    m->count = 0;
    strcpy(m->text[m->count++], "?");
    for (int i = 0; i < LETTERS; i++) {
        m->text[m->count][0] = (char)('a' + i);
        m->text[m->count++][1] = 0;
    }
    while (m->count < PIECES) {
        char text[LONGEST + 1] = {0};
        size_t len = 2 + next_random(seed) % (LONGEST - 1);
        for (size_t i = 0; i < len; i++) {
            text[i] = (char)('a' + next_random(seed) % LETTERS);
        }
        if (slow_find(m, text, len) < 0) {
            memcpy(m->text[m->count++], text, sizeof(text));
        }
    }
    for (int i = 0; i < m->count; i++) {
        m->score[i] = -(float)(next_random(seed) % 24); /* with ties */
        add_piece(model, span_of_text(m->text[i]), m->score[i], i == 0 ? UNKNOWN : NORMAL);
    }
    add_specs(model, &(struct model_ends){.algorithm = algorithm});
}

static size_t random_text(char *text, size_t most, uint32_t *seed) {
    size_t len = 1 + next_random(seed) % most;
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)('a' + next_random(seed) % LETTERS);
    }
    text[len] = 0;
    return len;
}

/* Best pair first, leftmost first among equals, until none is left. */
static size_t slow_merge(const struct slow_model *m, const char *text, size_t len, uint32_t *ids) {
    size_t ends[301];
    size_t n = len;
    for (size_t i = 0; i <= len; i++) {
        ends[i] = i;
    }
    for (;;) {
        size_t best = n;
        float score = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            int id = slow_find(m, text + ends[i], ends[i + 2] - ends[i]);
            if (id >= 0 && (best == n || m->score[id] > score)) {
                best = i;
                score = m->score[id];
            }
        }
        if (best == n) {
            break;
        }
        memmove(ends + best + 1, ends + best + 2, (n - best - 1) * sizeof(*ends));
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        ids[i] = (uint32_t)slow_find(m, text + ends[i], ends[i + 1] - ends[i]);
    }
    return n;
}

static void test_merges_against_slow(void **state) {
    (void)state;
    uint32_t seed = 7;
    struct text_ids ids = {0};
    for (int round = 0; round < 40; round++) {
        struct slow_model m;
        struct str model = {0};
        make_slow(&m, &seed, &model, BPE);
        struct text_tokenizer *t = open_model(&model);
        for (int i = 0; i < 40; i++) {
            char text[301];
            uint32_t want[300];
            size_t len = random_text(text, i % 2 == 0 ? 40 : 300, &seed);
            size_t n = slow_merge(&m, text, len, want);
            encode(t, span_of(text, len), &ids);
            assert_int_equal(ids.count, n);
            assert_memory_equal(ids.ids, want, n * sizeof(*want));
        }
        text_tokenizer_close(&t);
    }
    text_ids_drop(&ids);
}

/* The best score of all ways to cut a text, one after the other. */
static float slow_best(const struct slow_model *m, const char *text, size_t len) {
    float best = -1e9f;
    for (size_t n = 1; n <= len && n <= LONGEST; n++) {
        int id = slow_find(m, text, n);
        if (id > 0) {
            float rest = len == n ? 0 : slow_best(m, text + n, len - n);
            best = m->score[id] + rest > best ? m->score[id] + rest : best;
        }
    }
    return best;
}

static void test_unigram_against_slow(void **state) {
    (void)state;
    uint32_t seed = 11;
    struct text_ids ids = {0};
    for (int round = 0; round < 40; round++) {
        struct slow_model m;
        struct str model = {0};
        make_slow(&m, &seed, &model, UNIGRAM);
        struct text_tokenizer *t = open_model(&model);
        for (int i = 0; i < 40; i++) {
            char text[17];
            size_t len = random_text(text, 16, &seed);
            float sum = 0;
            size_t at = 0;
            encode(t, span_of(text, len), &ids);
            for (size_t k = 0; k < ids.count; k++) {
                size_t n = strlen(m.text[ids.ids[k]]);
                assert_memory_equal(text + at, m.text[ids.ids[k]], n);
                sum += m.score[ids.ids[k]];
                at += n;
            }
            assert_int_equal(at, len);
            assert_true(sum == slow_best(&m, text, len)); /* whole numbers: exact */
        }
        text_tokenizer_close(&t);
    }
    text_ids_drop(&ids);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proto_fields),         cmocka_unit_test(test_proto_damage),
        cmocka_unit_test(test_heap_order),           cmocka_unit_test(test_trie_holds_all),
        cmocka_unit_test(test_class_styles),         cmocka_unit_test(test_merges_against_slow),
        cmocka_unit_test(test_unigram_against_slow),
    };
    return cmocka_run_group_tests_name("tokenizer_parts", tests, NULL, NULL);
}
