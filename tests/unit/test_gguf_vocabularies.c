/* SPDX-License-Identifier: Apache-2.0
 * Tokenizers out of the GGUF files of real vocabularies: through the ordinary loader they must give the ids of llama.cpp's
 * test vectors, and those of the same vocabularies in other forms, on texts that try to tell them apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gguf_side_files.h"
#include "text/tokproto_priv.h"
#include "tokenizer_golden.h"

/* ---- comparing ---- */

static void check_back(const struct text_tokenizer *t, struct span text, unsigned flags) {
    struct text_ids ids = {0};
    struct str back = {0};
    struct lamina_error err = {0};
    encode(t, text, flags, &ids);
    assert_int_equal(text_decode(t, ids.ids, ids.count, (flags & TEXT_ADD_SPECIAL) != 0, &back, &err), 0);
    tally.checked++;
    if (!span_equal(str_span(&back), text)) {
        tally.wrong++;
        print_message("'%.*s' came back as '%s'\n", (int)text.len, (const char *)text.ptr, str_text(&back));
    }
    text_ids_drop(&ids);
    str_drop(&back);
}

/* Every text of the vectors comes back from its ids, with and without what is put around it. */
static void check_texts_back(const struct text_tokenizer *t, const char *name) {
    char path[512];
    struct str texts = {0};
    struct span text;
    (void)snprintf(path, sizeof(path), "%s.inp", name);
    need(path, &texts);
    struct span rest = str_span(&texts);
    while (next_part(&rest, "\n__ggml_vocab_test__\n", &text)) {
        check_back(t, text, 0);
        check_back(t, text, TEXT_ADD_SPECIAL);
    }
    str_drop(&texts);
}

static void check_same(const struct text_tokenizer *a, const struct text_tokenizer *b, struct span text, unsigned flags,
                       const char *what) {
    struct text_ids want = {0};
    encode(a, text, flags, &want);
    check_ids(b, text, flags, &want, what);
    text_ids_drop(&want);
}

/* Texts out of parts that meet in every way, always the same ones. */
struct texts {
    uint64_t random;
    const char *const *more; /* up to a NULL: parts of the test's own */
};

static uint32_t pick(struct texts *t, uint32_t below) {
    t->random = t->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((t->random >> 33) % below);
}

static void make_text(struct texts *t, struct str *out) {
    static const char *const parts[] = {
        " ",     "  ",      "   ",  "\n",    "\n\n",    "\t",     "\r\n",    ".",          ",",       "!?",
        "'s",    "'LL",     "the",  " the",  "Hello",   "WORLD",  "don't",   "(x+y)",      "3",       "12",
        "123",   "1234567", "0.5",  "a",     "é",       "ö",      "ß",       "Ω",          "привет",  " Мир",
        "你好",  "世界。",  "日本", "ひら",  "カタ",    "한국어", "ไทย",     "ន",          "🚀",      "👩\xe2\x80\x8d👩\xe2\x80\x8d👧",
        "e\xcc\x81", "\xc2\xa0", "\xe3\x80\x80", "\xe2\x96\x81", "<", ">", "|", "_", "-->", "http://a.b/c?d=1&e",
        "def f(x):\n    return x", "\x01", "\xf0\x9f\x98\xb6\xe2\x80\x8d\xf0\x9f\x8c\xab", "½", "Ⅻ", "٣", "x²"};
    unsigned more = 0;
    while (t->more != NULL && t->more[more] != NULL) {
        more++;
    }
    str_clear(out);
    for (uint32_t n = 1 + pick(t, 12); n > 0; n--) {
        uint32_t i = pick(t, (uint32_t)ARRAY_LEN(parts) + 4 * more);
        str_add_text(out, i < ARRAY_LEN(parts) ? parts[i] : t->more[(i - ARRAY_LEN(parts)) % more]);
    }
}

static void check_many(const struct text_tokenizer *a, const struct text_tokenizer *b, unsigned count, unsigned flags,
                       const char *const *more, const char *what) {
    struct texts t = {.random = 1, .more = more};
    struct str text = {0};
    for (unsigned i = 0; i < count; i++) {
        make_text(&t, &text);
        check_same(a, b, str_span(&text), flags, what);
    }
    str_drop(&text);
}

/* ---- test vectors ---- */

static void check_vectors(const char *name) {
    struct text_tokenizer *t = load_gguf(name);
    check_llama_cpp(t, name);
    check_texts_back(t, name);
    finish(t, 138);
}

static void test_llama_spm(void **state) {
    (void)state;
    check_vectors("llama2/ggml-vocab-llama-spm.gguf");
}
static void test_phi3(void **state) {
    (void)state;
    check_vectors("phi3/ggml-vocab-phi-3.gguf");
}
static void test_deepseek_llm(void **state) {
    (void)state;
    check_vectors("deepseek/ggml-vocab-deepseek-llm.gguf");
}
static void test_deepseek_coder(void **state) {
    (void)state;
    check_vectors("deepseek/ggml-vocab-deepseek-coder.gguf");
}

/* The only vectors there are for this vocabulary. */
static void test_baichuan(void **state) {
    (void)state;
    static const char text[] = "我是百川大模型，是由百川智能的工程师们创造的大语言模型，我可以和人类进行自然交流、解答问题、"
                               "协助创作，帮助大众轻松、普惠的获得世界知识和专业服务。如果你有任何问题，可以随时向我提问";
    uint32_t short_ids[] = {9875, 21797};
    uint32_t long_ids[] = {6323,  31161, 31745, 32213, 31175, 14830, 72,    16347, 31745, 32213, 6358,  31135,
                           14823, 31212, 8823,  5114,  7234,  14830, 72,    31182, 1231,  31188, 8627,  1696,
                           3823,  5536,  76,    17133, 1766,  76,    16345, 11769, 72,    4090,  13169, 8385,
                           76,    31840, 32195, 31135, 4137,  2781,  3317,  31188, 2285,  1910,  73,    6011,
                           31169, 4315,  1766,  72,    1231,  11533, 31490, 31182, 21934};
    struct text_ids short_want = {.ids = short_ids, .count = ARRAY_LEN(short_ids)};
    struct text_ids long_want = {.ids = long_ids, .count = ARRAY_LEN(long_ids)};
    struct text_tokenizer *t = load_gguf("baichuan/ggml-vocab-baichuan.gguf");
    check_ids(t, span_of_text("你是谁"), 0, &short_want, "Baichuan13B");
    check_ids(t, span_of_text(text), 0, &long_want, "Baichuan13B");
    check_back(t, span_of_text(text), TEXT_ADD_SPECIAL);
    finish(t, 3);
}

/* ---- the same vocabulary in other forms ---- */

static struct text_tokenizer *load_other(const char *json, const char *model, const char *config) {
    struct sides s = {0};
    if (json != NULL) {
        need(json, &s.json);
        (void)substitute(&s.json, "\"normalized\": true", "\"normalized\": false"); /* as later revisions of it */
    }
    if (model != NULL) {
        need(model, &s.model);
    }
    str_add_text(&s.config, config);
    struct text_tokenizer *t = load_sides(&s);
    drop_sides(&s);
    return t;
}

static void test_same_as_others(void **state) {
    (void)state;
    static const char config[] = "{\"tokenizer_class\":\"LlamaTokenizer\",\"bos_token\":\"<s>\",\"eos_token\":\"</s>\","
                                 "\"unk_token\":\"<unk>\",\"legacy\":true}";
    static const char *const specials[] = {"<s>", "</s>", "<unk>", NULL};
    struct text_tokenizer *json = load_other("llama2/tokenizer.json", NULL, config);
    struct text_tokenizer *model = load_other(NULL, "llama2/tokenizer.model", config);
    struct text_tokenizer *t = load_gguf("llama2/ggml-vocab-llama-spm.gguf");
    check_many(json, t, 4000, 0, NULL, "tokenizer.json");
    check_many(json, t, 4000, TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL, specials, "tokenizer.json");
    check_many(model, t, 4000, 0, specials, "tokenizer.model");
    check_many(model, t, 4000, TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL, specials, "tokenizer.model");
    assert_int_equal(text_vocab_size(t), 32000);
    text_tokenizer_close(&json);
    text_tokenizer_close(&model);
    finish(t, 16000);
}

/* Its tokens take the blanks behind them, which the GGUF file does not say. */
static void test_same_with_specials(void **state) {
    (void)state;
    static const char *const specials[] = {"<|user|>",      "<|end|>\n",      "<|assistant|>\n ", "</s>", "<s>",
                                           "<|endoftext|>", "<|system|>  \n", "<unk>",            NULL};
    struct text_tokenizer *json = load_other("phi3/tokenizer.json", NULL, "{}");
    struct text_tokenizer *t = load_gguf("phi3/ggml-vocab-phi-3.gguf");
    check_many(json, t, 8000, TEXT_PARSE_SPECIAL, specials, "tokenizer.json");
    text_tokenizer_close(&json);
    finish(t, 8000);
}

/* ---- files made out of other files ---- */

/* Texts by id, as they come. */
struct listing {
    struct str *texts;
    uint32_t count, cap;
};

static void listing_put(struct listing *l, uint64_t id, struct span text) {
    if (id >= l->cap) {
        uint32_t cap = (uint32_t)id * 2 + 1024;
        l->texts = realloc(l->texts, cap * sizeof(*l->texts));
        assert_non_null(l->texts);
        memset(l->texts + l->cap, 0, (cap - l->cap) * sizeof(*l->texts));
        l->cap = cap;
    }
    l->count = id >= l->count ? (uint32_t)id + 1 : l->count;
    str_clear(&l->texts[id]);
    str_add_span(&l->texts[id], text);
}

static void listing_write(struct listing *l, struct making *m, const char *key) {
    put_array(m, key, GGUF_TEXT, l->count);
    for (uint32_t i = 0; i < l->count; i++) {
        gg_64(&m->pairs, l->texts[i].len);
        str_add_span(&m->pairs, str_span(&l->texts[i]));
        str_drop(&l->texts[i]);
    }
    free(l->texts);
    *l = (struct listing){0};
}

static void read_vocab(const char *name, struct listing *l) {
    struct str text = {0};
    struct str scratch = {0};
    struct json_reader r;
    struct span key;
    need(name, &text);
    json_init(&r, str_span(&text), name, &scratch, &last);
    json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        struct str copy = {0};
        uint64_t id = 0;
        str_add_span(&copy, key);
        assert_true(json_u64(&r, &id) && id < 1000000);
        listing_put(l, id, str_span(&copy));
        str_drop(&copy);
    }
    assert_int_equal(json_finish(&r), 0);
    str_drop(&scratch);
    str_drop(&text);
}

static void read_merges(const char *name, struct listing *l) {
    struct str text = {0};
    struct span line;
    need(name, &text);
    struct span rest = str_span(&text);
    while (next_part(&rest, "\n", &line)) {
        if (line.len > 0 && !span_starts_with(line, "#version")) {
            listing_put(l, l->count, line);
        }
    }
    str_drop(&text);
}

/* Three more tokens behind the vocabulary, as converters write them. */
static struct text_tokenizer *load_merged(const char *vocab, const char *merges, const char *pre, const char *missing) {
    static const char *const more[] = {"<|begin|>", "<|end|>", "<tool>"};
    struct making m = {0};
    struct opened o = {0};
    struct listing l = {0};
    read_vocab(vocab, &l);
    if (missing != NULL) {
        listing_put(&l, l.count - 1, span_of_text(missing));
    }
    uint32_t plain = l.count;
    for (size_t i = 0; i < ARRAY_LEN(more); i++) {
        listing_put(&l, l.count, span_of_text(more[i]));
    }
    listing_write(&l, &m, "tokenizer.ggml.tokens");
    put_array(&m, "tokenizer.ggml.token_type", GGUF_I32, plain + ARRAY_LEN(more));
    for (uint32_t id = 0; id < plain + ARRAY_LEN(more); id++) {
        gg_32(&m.pairs, id < plain ? 1 : id < plain + 2 ? 3 : 4);
    }
    read_merges(merges, &l);
    listing_write(&l, &m, "tokenizer.ggml.merges");
    put_text(&m, "tokenizer.ggml.model", "gpt2");
    put_text(&m, "tokenizer.ggml.pre", pre);
    put_u32(&m, "tokenizer.ggml.bos_token_id", plain);
    put_u32(&m, "tokenizer.ggml.eos_token_id", plain + 1);
    made_file(&m, &o);
    struct text_tokenizer *t = load_opened(&o);
    close_gguf(&o);
    return t;
}

static void check_ends(const struct text_tokenizer *t, bool bos) {
    struct text_ids ids = {0};
    uint32_t begin = 0;
    uint32_t tool = 0;
    assert_true(text_token_id(t, span_of_text("<|begin|>"), &begin) && text_is_special(t, begin));
    assert_true(text_token_id(t, span_of_text("<tool>"), &tool) && !text_is_special(t, tool));
    encode(t, span_of_text("a<tool><|begin|>"), TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL, &ids);
    assert_int_equal(ids.count, bos ? 4 : 3);
    assert_int_equal(ids.ids[ids.count - 1], begin);
    assert_int_equal(ids.ids[ids.count - 2], tool);
    assert_true(!bos || ids.ids[0] == begin);
    text_ids_drop(&ids);
}

static void test_qwen2(void **state) {
    (void)state;
    struct text_tokenizer *t = load_merged("qwen2/vocab.json", "qwen2/merges.txt", "qwen2", NULL);
    check_llama_cpp(t, "qwen2/ggml-vocab-qwen2.gguf");
    check_llama_cpp(t, "deepseek/ggml-vocab-deepseek-r1-qwen.gguf");
    check_texts_back(t, "qwen2/ggml-vocab-qwen2.gguf");
    check_ends(t, false);
    finish(t, 184);
}

static void test_llama3(void **state) {
    (void)state;
    struct text_tokenizer *t = load_merged("llama3/vocab.json.gz", "llama3/merges.txt.gz", "llama-bpe", NULL);
    check_llama_cpp(t, "llama3/ggml-vocab-llama-bpe.gguf");
    check_texts_back(t, "llama3/ggml-vocab-llama-bpe.gguf");
    check_ends(t, true);
    finish(t, 138);
}

/* The vocabulary there lacks its last token. */
static void test_gpt2(void **state) {
    (void)state;
    struct text_tokenizer *t = load_merged("gpt2/vocab.json", "gpt2/merges.txt", "gpt-2", "\xc4\xa0gazed");
    check_llama_cpp(t, "gpt2/ggml-vocab-gpt-2.gguf");
    check_texts_back(t, "gpt2/ggml-vocab-gpt-2.gguf");
    check_ends(t, false);
    finish(t, 138);
}

/* Pieces of a SentencePiece model, score and type side by side. */
struct pieces {
    struct listing texts;
    struct str scores, types;
};

static void read_piece(struct span message, struct pieces *p) {
    struct tok_proto proto = {.message = message};
    struct tok_proto_field f;
    struct span text = {0};
    uint32_t score = 0;
    uint32_t type = 1;
    while (tok_proto_next(&proto, &f)) {
        text = tok_proto_is_bytes(&f, 1) ? f.bytes : text;
        score = f.number == 2 ? (uint32_t)f.value : score;
        type = f.number == 3 ? (uint32_t)f.value : type;
    }
    assert_false(proto.damaged);
    listing_put(&p->texts, p->texts.count, text);
    gg_32(&p->scores, score);
    gg_32(&p->types, type);
}

static void read_normalizer(struct span message, struct making *m) {
    struct tok_proto proto = {.message = message};
    struct tok_proto_field f;
    while (tok_proto_next(&proto, &f)) {
        if (f.number == 3 || f.number == 4) {
            put_bool(m, f.number == 3 ? "tokenizer.ggml.add_space_prefix" : "tokenizer.ggml.remove_extra_whitespaces",
                     f.value != 0);
        }
    }
}

static struct text_tokenizer *load_pieces(const struct str *model) {
    struct making m = {0};
    struct opened o = {0};
    struct pieces p = {0};
    struct tok_proto proto = {.message = str_span(model)};
    struct tok_proto_field f;
    while (tok_proto_next(&proto, &f)) {
        if (tok_proto_is_bytes(&f, 1)) {
            read_piece(f.bytes, &p);
        } else if (tok_proto_is_bytes(&f, 3)) {
            read_normalizer(f.bytes, &m);
        }
    }
    assert_false(proto.damaged);
    put_array(&m, "tokenizer.ggml.scores", GGUF_F32, p.texts.count);
    str_add_span(&m.pairs, str_span(&p.scores));
    put_array(&m, "tokenizer.ggml.token_type", GGUF_I32, p.texts.count);
    str_add_span(&m.pairs, str_span(&p.types));
    listing_write(&p.texts, &m, "tokenizer.ggml.tokens");
    put_text(&m, "tokenizer.ggml.model", "llama");
    str_drop(&p.scores);
    str_drop(&p.types);
    made_file(&m, &o);
    struct text_tokenizer *t = load_opened(&o);
    close_gguf(&o);
    return t;
}

/* Out of a model's file into a GGUF file and back: nothing of it may be lost. */
static void test_pieces(void **state) {
    (void)state;
    static const char *const names[] = {"internlm/tokenizer_internlm.model", "internlm/tokenizer_internlm2.model",
                                        "baichuan/tokenizer.baichuan2.model", "yi/tokenizer.model",
                                        "mistral/tokenizer.model.v3"};
    static const char *const more[] = {"<|im_start|>", "[INST]", "<reserved_106>", "<s>", "     ", "<unk>", NULL};
    struct text_tokenizer *model = NULL;
    struct text_tokenizer *t = NULL;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct sides s = {0};
        need(names[i], &s.model);
        text_tokenizer_close(&t);
        model = load_sides(&s);
        t = load_pieces(&s.model);
        check_many(model, t, 2000, 0, more, names[i]);
        assert_int_equal(text_vocab_size(model), text_vocab_size(t));
        text_tokenizer_close(&model);
        drop_sides(&s);
    }
    finish(t, 10000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_spm),
        cmocka_unit_test(test_phi3),
        cmocka_unit_test(test_deepseek_llm),
        cmocka_unit_test(test_deepseek_coder),
        cmocka_unit_test(test_baichuan),
        cmocka_unit_test(test_same_as_others),
        cmocka_unit_test(test_same_with_specials),
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
