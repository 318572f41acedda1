/* SPDX-License-Identifier: Apache-2.0
 * Tokenizers out of small made GGUF files: what every key does, every kind and every name of a pre-tokenizer, and every
 * refusal by a file that is wrong in that one thing. Real vocabularies: test_gguf_vocabularies.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gguf_side_files.h"
#include "text/chat.h"
#include "tokenizer_bytes.h"
#include "tokenizer_golden.h"

/* A file that is as it should be but for one thing. */
enum wrong {
    NOTHING,
    NO_TOKENS,
    TOKENS_ARE_NUMBERS,
    BAD_UTF8,
    TWICE,
    LONG_TOKEN,
    FEW_SCORES,
    INFINITE_SCORE,
    SCORES_ARE_TEXTS,
    FEW_TYPES,
    BOS_TOO_LARGE,
    BOS_IS_TEXT,
    BOS_MISSING,
    PADDING_TOO_LARGE,
    FLAG_IS_TEXT,
    NO_MERGES,
    MERGE_OF_ONE,
    MERGE_BAD_UTF8,
    UNKNOWN_PRE,
    PRE_IS_NUMBER,
    TWO_PRES,
    UNKNOWN_MODEL,
    NO_VOCAB,
    OTHER_MODEL,
    NO_MODEL,
    BAD_TEMPLATE,
    BAD_LENGTH,
    NO_UNKNOWN,
    SOME_BYTES,
    BAD_MAP,
};

static void put_vocabulary(struct making *m, enum wrong w, bool pieces) {
    static const char *const texts[] = {"<unk>", "<s>", "</s>", "a", "b", "ab", "<|x|>", ""};
    static const float scores[] = {0, 0, 0, -1, -2, 0.5f, 0, 0};
    const char *list[ARRAY_LEN(texts)];
    char *large = calloc(1, 5001);
    assert_non_null(large);
    memset(large, 'x', 5000);
    memcpy(list, texts, sizeof(list));
    list[4] = w == BAD_UTF8 ? "\xc3" : w == TWICE ? "a" : w == LONG_TOKEN ? large : list[4];
    if (w == TOKENS_ARE_NUMBERS) {
        put_array(m, "tokenizer.ggml.tokens", GGUF_U32, 0);
    } else if (w != NO_TOKENS) {
        put_texts(m, "tokenizer.ggml.tokens", list, ARRAY_LEN(list));
    }
    free(large);
    float changed[ARRAY_LEN(scores)];
    memcpy(changed, scores, sizeof(changed));
    changed[3] = w == INFINITE_SCORE ? -HUGE_VALF : changed[3];
    if (w == SCORES_ARE_TEXTS) {
        put_texts(m, "tokenizer.ggml.scores", texts, ARRAY_LEN(texts));
    } else if (pieces) {
        put_scores(m, changed, ARRAY_LEN(scores) - (w == FEW_SCORES));
    }
    put_types(m, w == FEW_TYPES ? "2331114" : w == NO_UNKNOWN ? "13311141" : w == SOME_BYTES ? "23311145" : "23311141");
    if (w == SOME_BYTES) {
        m->pairs.ptr[m->pairs.len - 4] = 6;
    }
}

static void put_merges(struct making *m, enum wrong w) {
    const char *merges[] = {w == MERGE_OF_ONE ? "ab" : w == MERGE_BAD_UTF8 ? "a \xff" : "a b"};
    if (w != NO_MERGES) {
        put_texts(m, "tokenizer.ggml.merges", merges, 1);
    }
}

static void put_model(struct making *m, enum wrong w, bool pieces) {
    if (w != NO_MODEL) {
        put_text(m, "tokenizer.ggml.model",
                 w == UNKNOWN_MODEL ? "rwkv" : w == NO_VOCAB ? "none" : w == OTHER_MODEL ? "mystery" : pieces ? "llama" : "gpt2");
    }
    if (w == PRE_IS_NUMBER) {
        put_u32(m, "tokenizer.ggml.pre", 1);
    } else if (!pieces) {
        put_text(m, "tokenizer.ggml.pre", w == UNKNOWN_PRE ? "newest" : w == TWO_PRES ? "poro-chat bloom" : "gpt-2");
    }
}

static void make_wrong(enum wrong w, bool pieces, struct opened *o) {
    struct making m = {0};
    put_text(&m, "general.architecture", "arch");
    put_model(&m, w, pieces);
    put_vocabulary(&m, w, pieces);
    if (!pieces) {
        put_merges(&m, w);
    }
    if (w == BOS_IS_TEXT) {
        put_text(&m, "tokenizer.ggml.bos_token_id", "1");
    } else if (w != BOS_MISSING) {
        put_u32(&m, "tokenizer.ggml.bos_token_id", w == BOS_TOO_LARGE ? 8 : 1);
    } else {
        put_u32(&m, "tokenizer.ggml.bos_token_id", UINT32_MAX);
    }
    put_u32(&m, "tokenizer.ggml.eos_token_id", 2);
    if (w == PADDING_TOO_LARGE) {
        put_u32(&m, "tokenizer.ggml.padding_token_id", 8);
    }
    if (w == FLAG_IS_TEXT) {
        put_text(&m, "tokenizer.ggml.add_bos_token", "yes");
    } else {
        put_bool(&m, "tokenizer.ggml.add_bos_token", true);
    }
    put_text(&m, "tokenizer.chat_template", w == BAD_TEMPLATE ? "\xff" : "{{ bos_token }}");
    if (w == BAD_MAP) {
        put_text(&m, "tokenizer.ggml.precompiled_charsmap", "x");
    }
    if (w == BAD_LENGTH) {
        put_text(&m, "arch.context_length", "long");
    } else {
        put_u32(&m, "arch.context_length", 4096);
    }
    made_file(&m, o);
}

static void test_refusals(void **state) {
    (void)state;
    static const char json[] = "tokenizer.json", model[] = "tokenizer.model", config[] = "tokenizer_config.json",
                      generation[] = "generation_config.json";
    static const struct {
        enum wrong wrong;
        bool pieces;
        const char *name;
        lamina_status status;
        const char *words;
    } cases[] = {
        {NOTHING, false, json, LAMINA_OK, NULL},
        {NOTHING, true, model, LAMINA_OK, NULL},
        {NOTHING, true, json, LAMINA_NOT_FOUND, "has no tokenizer.json"},
        {NOTHING, false, model, LAMINA_NOT_FOUND, "has no tokenizer.model"},
        {NOTHING, false, "vocab.json", LAMINA_NOT_FOUND, "has no vocab.json"},
        {NO_MODEL, false, config, LAMINA_NOT_FOUND, "no tokenizer in it"},
        {NO_TOKENS, false, config, LAMINA_DAMAGED, "tokenizer.ggml.tokens: it is missing"},
        {TOKENS_ARE_NUMBERS, true, model, LAMINA_DAMAGED, "tokenizer.ggml.tokens: no list of texts"},
        {BAD_UTF8, false, json, LAMINA_DAMAGED, "tokenizer.ggml.tokens: token 4 is not UTF-8"},
        {BAD_UTF8, true, generation, LAMINA_DAMAGED, "token 4 is not UTF-8"},
        {TWICE, false, json, LAMINA_DAMAGED, "tokens 3 and 4 are both \"a\""},
        {TWICE, true, model, LAMINA_DAMAGED, "tokens 3 and 4 are both \"a\""},
        {LONG_TOKEN, true, model, LAMINA_UNSUPPORTED, "token 4 has 5000 bytes"},
        {FEW_SCORES, true, model, LAMINA_DAMAGED, "tokenizer.ggml.scores: 7 numbers for the 8 tokens"},
        {INFINITE_SCORE, true, model, LAMINA_DAMAGED, "token 3 has no finite score"},
        {SCORES_ARE_TEXTS, true, model, LAMINA_DAMAGED, "tokenizer.ggml.scores: no list of numbers"},
        {FEW_TYPES, false, json, LAMINA_DAMAGED, "tokenizer.ggml.token_type: 7 numbers for the 8 tokens"},
        {BOS_TOO_LARGE, false, json, LAMINA_DAMAGED, "tokenizer.ggml.bos_token_id: id 8, and there are 8 tokens"},
        {BOS_IS_TEXT, true, config, LAMINA_DAMAGED, "tokenizer.ggml.bos_token_id: no whole number"},
        {BOS_MISSING, true, config, LAMINA_DAMAGED, "tokenizer.ggml.add_bos_token: true, and there is no such token"},
        {PADDING_TOO_LARGE, true, config, LAMINA_OK, NULL},
        {FLAG_IS_TEXT, false, config, LAMINA_DAMAGED, "tokenizer.ggml.add_bos_token: neither true nor false"},
        {NO_MERGES, false, json, LAMINA_DAMAGED, "tokenizer.ggml.merges: it is missing"},
        {MERGE_OF_ONE, false, json, LAMINA_DAMAGED, "tokenizer.ggml.merges: merge 0 is not two tokens"},
        {MERGE_BAD_UTF8, false, json, LAMINA_DAMAGED, "tokenizer.ggml.merges: merge 0 is not two tokens"},
        {UNKNOWN_PRE, false, json, LAMINA_UNSUPPORTED, "pre-tokenizer \"newest\""},
        {UNKNOWN_PRE, false, config, LAMINA_UNSUPPORTED, "pre-tokenizer \"newest\""},
        {TWO_PRES, false, json, LAMINA_UNSUPPORTED, "pre-tokenizer \"poro-chat bloom\""},
        {PRE_IS_NUMBER, false, json, LAMINA_DAMAGED, "tokenizer.ggml.pre: no text"},
        {UNKNOWN_MODEL, false, json, LAMINA_UNSUPPORTED, "\"rwkv\""},
        {UNKNOWN_MODEL, false, model, LAMINA_UNSUPPORTED, "\"rwkv\""},
        {NO_VOCAB, false, generation, LAMINA_UNSUPPORTED, "\"none\""},
        {OTHER_MODEL, false, config, LAMINA_UNSUPPORTED, "\"mystery\""},
        {BAD_TEMPLATE, false, config, LAMINA_DAMAGED, "tokenizer.chat_template: no text in UTF-8"},
        {BAD_LENGTH, false, config, LAMINA_DAMAGED, "arch.context_length: no count"},
        {NO_UNKNOWN, true, model, LAMINA_DAMAGED, "tokenizer.ggml.unknown_token_id: no token stands for"},
        {SOME_BYTES, true, model, LAMINA_DAMAGED, "tokenizer.ggml.token_type: 1 tokens for bytes"},
        {BAD_MAP, true, model, LAMINA_DAMAGED, "tokenizer.ggml.precompiled_charsmap: no list of bytes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct opened o = {0};
        struct str out = {0};
        make_wrong(cases[i].wrong, cases[i].pieces, &o);
        lamina_status got = side(&o, cases[i].name, &out);
        bool names_file = got == LAMINA_OK || strstr(last.message, "x.gguf") != NULL;
        if (got != cases[i].status || !names_file || (cases[i].words != NULL && strstr(last.message, cases[i].words) == NULL)) {
            print_error("case %zu: status %d, \"%s\"; expected %d, \"%s\"\n", i, got, last.message, cases[i].status,
                        cases[i].words == NULL ? "" : cases[i].words);
            fail();
        }
        str_drop(&out);
        close_gguf(&o);
    }
}

/* What was there before a failure stays. */
static void test_appends(void **state) {
    (void)state;
    struct opened o = {0};
    struct str out = {0};
    struct lamina_error err = {0};
    make_wrong(NO_MERGES, false, &o);
    str_add_text(&out, "before");
    assert_int_equal(gguf_side_file(&o.gguf, "tokenizer.json", "x.gguf", &out, &err), LAMINA_DAMAGED);
    assert_string_equal(str_text(&out), "before");
    err = (struct lamina_error){0};
    assert_int_equal(gguf_side_file(&o.gguf, "generation_config.json", "x.gguf", &out, &err), LAMINA_OK);
    assert_string_equal(str_text(&out), "before{\n\"bos_token_id\": 1,\n\"eos_token_id\": [2]\n}\n");
    str_drop(&out);
    close_gguf(&o);
}

/* ---- what the keys do ---- */

static void expect_ids(const struct text_tokenizer *t, const char *text, unsigned flags, const char *ids) {
    struct text_ids got = {0};
    struct str words = {0};
    encode(t, span_of_text(text), flags, &got);
    for (size_t i = 0; i < got.count; i++) {
        str_printf(&words, "%s%u", i == 0 ? "" : " ", got.ids[i]);
    }
    if (strcmp(str_text(&words), ids) != 0) {
        fail_msg("'%s': ids %s, expected %s", text, str_text(&words), ids);
    }
    str_drop(&words);
    text_ids_drop(&got);
}

enum { PLAIN = 0, ADD = TEXT_ADD_SPECIAL, PARSE = TEXT_PARSE_SPECIAL };

/* Byte-level: a, b, ab and three tokens of the file's own. `flag`: a key set to `value`, or NULL. */
static struct text_tokenizer *small_bytes(const char *pre, const char *flag, bool value) {
    static const char *const texts[] = {"a", "b", "ab", "<|end|>", "<b>", "\xc4\xa0", "1", "<s>", "\"\\\n"};
    static const char *const merges[] = {"a b"};
    struct making m = {0};
    struct opened o = {0};
    put_text(&m, "tokenizer.ggml.model", "gpt2");
    if (pre != NULL) {
        put_text(&m, "tokenizer.ggml.pre", pre);
    }
    put_texts(&m, "tokenizer.ggml.tokens", texts, ARRAY_LEN(texts));
    put_types(&m, "111341134");
    put_texts(&m, "tokenizer.ggml.merges", merges, 1);
    put_u32(&m, "tokenizer.ggml.bos_token_id", 7);
    put_u32(&m, "tokenizer.ggml.eos_token_id", 3);
    if (flag != NULL) {
        put_bool(&m, flag, value);
    }
    made_file(&m, &o);
    struct sides s = {0};
    make_sides(&o, &s);
    struct text_tokenizer *t = load_sides(&s);
    drop_sides(&s);
    close_gguf(&o);
    return t;
}

static void test_bytes(void **state) {
    (void)state;
    struct text_tokenizer *t = small_bytes("gpt-2", NULL, false);
    expect_ids(t, "ab b<|end|>", PLAIN, "2 5 1"); /* nothing stands for the signs */
    expect_ids(t, "ab<|end|><b>\"\\\na", PARSE, "2 3 4 8 0");
    expect_ids(t, "<b>", PLAIN, "4"); /* added, not special */
    expect_ids(t, "a", ADD, "0");
    assert_true(text_is_special(t, 3) && text_is_special(t, 7) && !text_is_special(t, 4));
    text_tokenizer_close(&t);
    t = small_bytes("gpt-2", "tokenizer.ggml.add_bos_token", true);
    expect_ids(t, "a", ADD, "7 0");
    text_tokenizer_close(&t);
    t = small_bytes("llama-bpe", NULL, false);
    expect_ids(t, "a", ADD, "7 0");
    text_tokenizer_close(&t);
    t = small_bytes("llama-bpe", "tokenizer.ggml.add_bos_token", false);
    expect_ids(t, "a", ADD, "0");
    text_tokenizer_close(&t);
    t = small_bytes(NULL, "tokenizer.ggml.add_eos_token", true);
    expect_ids(t, "11a", ADD, "6 6 0 3");
    text_tokenizer_close(&t);
}

/* Every name has patterns that compile and cut a text without losing any of it. */
static void test_pre_names(void **state) {
    (void)state;
    static const char *const names[] = {
        "default", "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano",
        "deepseek-llm", "deepseek-coder", "deepseek-v3", "spark2_5", "youtu", "falcon", "mpt", "starcoder", "gpt-2", "phi-2",
        "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum", "modern-bert", "jais-2", "jina-v1-en",
        "jina-v2-code", "roberta-bpe", "refact", "command-r", "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "qwen35",
        "stablelm2", "olmo", "dbrx", "smaug-bpe", "poro-chat", "glm4", "chatglm-bpe", "viking", "jais", "tekken", "smollm",
        "codeshell", "bloom", "gpt3-finnish", "exaone", "exaone4", "exaone-moe", "chameleon", "minerva-7b", "megrez", "gpt-4o",
        "llama4", "kanana2", "talkie", "granite-embed-multi-97m", "tiny_aya", "cohere2moe", "superbpe", "trillion",
        "granite-docling", "bailingmoe", "bailingmoe2", "llada-moe", "seed-coder", "hunyuan", "hunyuan-dense", "hy_v4",
        "joyai-llm", "kimi-k2", "ufakzeka", "grok-2", "afmoe", "laguna", "minimax-m2", "solar-open", "mellum2", "minicpm5", ""};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct text_tokenizer *t = small_bytes(names[i], NULL, false);
        expect_ids(t, "a ab", PLAIN, "0 5 2");
        expect_ids(t, "ab111", PLAIN, "2 6 6 6");
        text_tokenizer_close(&t);
    }
}

/* What a pattern leaves together shows where all characters of a text are merged into one token. */
static void expect_cuts(const char *pre, const char *text, const char *cuts) {
    struct making m = {0};
    struct opened o = {0};
    struct str out = {0};
    struct sides s = {0};
    const char *tokens[] = {"x"};
    put_text(&m, "tokenizer.ggml.model", "gpt2");
    put_text(&m, "tokenizer.ggml.pre", pre);
    put_texts(&m, "tokenizer.ggml.tokens", tokens, 1);
    put_texts(&m, "tokenizer.ggml.merges", tokens, 0);
    made_file(&m, &o);
    make_sides(&o, &s);
    /* WordLevel takes each piece whole, so the vocabulary is the pieces expected, in their order. */
    (void)substitute(&s.json, "\"type\": \"BPE\"", "\"type\": \"WordLevel\"");
    (void)substitute(&s.json, "\"unk_token\": null", "\"unk_token\": \"?\"");
    str_add_text(&out, "\"vocab\": {\"?\": 0");
    struct span rest = span_of_text(cuts);
    struct span part;
    struct str want = {0};
    for (unsigned id = 1; next_part(&rest, "/", &part); id++) {
        str_printf(&out, ", \"%.*s\": %u", (int)part.len, (const char *)part.ptr, id);
        str_printf(&want, "%s%u", id == 1 ? "" : " ", id);
    }
    (void)substitute(&s.json, "\"vocab\": {\n\"x\": 0", str_text(&out));
    struct text_tokenizer *t = load_sides(&s);
    expect_ids(t, text, PLAIN, str_text(&want));
    text_tokenizer_close(&t);
    str_drop(&want);
    str_drop(&out);
    drop_sides(&s);
    close_gguf(&o);
}

#define G "\xc4\xa0" /* a space in the byte alphabet */
#define N "\xc4\x8a" /* a line feed */

static void test_cuts(void **state) {
    (void)state;
    expect_cuts("gpt-2", "it's 12345 x", "it/'s/" G "12345/" G "x");
    expect_cuts("llama-bpe", "it'S 12345 x", "it/'S/" G "/123/45/" G "x");
    expect_cuts("qwen2", "a 12 b", "a/" G "/1/2/" G "b");
    expect_cuts("qwen2", "e\xcc\x81", "Ã©"); /* composed first */
    expect_cuts("gpt-2", "e\xcc\x81", "e/Ìģ");
    expect_cuts("starcoder", "a 34 b", "a/" G "/3/4/" G "b");
    expect_cuts("falcon", "a, 12345", "a/,/" G "/123/45");
    expect_cuts("default", "a= 12", "a/=/" G "/12");
    expect_cuts("deepseek-llm", "ab cd. 12\n", "ab/" G "cd/./" G "/12/" N);
    expect_cuts("deepseek-v3", "ab cd. 12345\n", "ab/" G "cd/./" G "/123/45/" N);
    expect_cuts("gpt-4o", "helloWorld's1234", "hello/World's/123/4");
    expect_cuts("tekken", "helloWorld's12", "hello/World/'s/1/2");
    expect_cuts("superbpe", "a b 1234567 c", "a" G "b" G "/1/234/567/" G "c");
    expect_cuts("afmoe", "12345 b", "12/345/" G "b");
    expect_cuts("tiny_aya", "12345 b", "12/345/" G "b");
    expect_cuts("bloom", "a b, c", "a/" G "b/,/" G "c");
    expect_cuts("viking", "a 34", "a/" G "/3/4");
    expect_cuts("laguna", "ab\n\ncd", "ab/" N N "/cd");
    expect_cuts("ufakzeka", "ev'den", "ev/'den");
    expect_cuts("exaone-moe", "ab cd 1", "ab" G "cd/" G "/1");
    expect_cuts("bailingmoe", "a\n\nb", "a/" N N "/b");
}

/* ---- the other kinds ---- */

enum { SMALL_PIECES = 12 };
static const char *const small_texts[SMALL_PIECES] = {
    "<unk>", "<s>", "</s>", "▁", "a", "b", "▁a", "ab", "<x>", "  ", "", "[PAD]"};
static const float small_scores[SMALL_PIECES] = {0, 0, 0, -9, -9, -9, -1, -2, 0, 0, 0, 0};

/* SentencePiece; `key` is set to `value`, or NULL. */
static struct text_tokenizer *small_pieces(const char *key, bool value) {
    struct making m = {0};
    struct opened o = {0};
    put_text(&m, "tokenizer.ggml.model", "llama");
    put_text(&m, "tokenizer.ggml.pre", "anything"); /* this kind has none */
    put_texts(&m, "tokenizer.ggml.tokens", small_texts, SMALL_PIECES);
    put_scores(&m, small_scores, SMALL_PIECES);
    put_types(&m, "233111114452");
    if (key != NULL) {
        put_bool(&m, key, value);
    }
    made_file(&m, &o);
    struct text_tokenizer *t = load_opened(&o);
    close_gguf(&o);
    return t;
}

static void test_pieces(void **state) {
    (void)state;
    struct text_ids ids = {.ids = (uint32_t[]){1, 6, 8, 6, 10, 2}, .count = 6};
    struct text_tokenizer *t = small_pieces(NULL, false);
    expect_ids(t, "ab", PLAIN, "6 5");
    expect_ids(t, "a  b", PLAIN, "6 9 5");
    expect_ids(t, "<x>a<s>", PLAIN, "3 8 4 0");
    expect_ids(t, "<s>a<x>a</s>[PAD]", PARSE, "1 6 8 6 2 11"); /* what stands behind a token gets a space, as in llama.cpp */
    expect_ids(t, "a", ADD, "1 6");
    expect_ids(t, "zz", PLAIN, "3 0");
    assert_true(text_is_special(t, 0) && text_is_special(t, 2) && text_is_special(t, 11) && !text_is_special(t, 8));
    assert_int_equal(text_vocab_size(t), SMALL_PIECES);
    struct str text = {0};
    assert_int_equal(text_decode(t, ids.ids, ids.count, false, &text, NULL), 0);
    assert_string_equal(str_text(&text), "<s>a<x>a[EMPTY_10]</s>");
    str_drop(&text);
    text_tokenizer_close(&t);
    t = small_pieces("tokenizer.ggml.add_space_prefix", false);
    expect_ids(t, "ab", PLAIN, "7");
    expect_ids(t, "<s>ab", PARSE, "1 7");
    text_tokenizer_close(&t);
    t = small_pieces("tokenizer.ggml.remove_extra_whitespaces", true);
    expect_ids(t, " a   b ", PLAIN, "6 3 5");
    text_tokenizer_close(&t);
    t = small_pieces("tokenizer.ggml.add_bos_token", false);
    expect_ids(t, "a", ADD, "6");
    text_tokenizer_close(&t);
    t = small_pieces("tokenizer.ggml.add_eos_token", true);
    expect_ids(t, "a", ADD, "1 6 2");
    text_tokenizer_close(&t);
}

/* Before there were types, names told what is a byte. */
static void test_without_types(void **state) {
    (void)state;
    struct making m = {0};
    struct opened o = {0};
    char names[256][8];
    const char *texts[259] = {"<unk>", "<s>", "</s>"};
    for (unsigned i = 0; i < 256; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "<0x%02X>", i);
        texts[3 + i] = names[i];
    }
    put_text(&m, "tokenizer.ggml.model", "llama");
    put_texts(&m, "tokenizer.ggml.tokens", texts, ARRAY_LEN(texts));
    made_file(&m, &o);
    struct text_tokenizer *t = load_opened(&o);
    expect_ids(t, "z", ADD, "1 229 153 132 125");
    expect_ids(t, "</s>", PARSE, "2");
    text_tokenizer_close(&t);
    close_gguf(&o);
}

static void test_unigram(void **state) {
    (void)state;
    static const char *const texts[] = {"<pad>", "</s>", "<unk>", "▁", "a", "b", "▁ab", "abb", "bb"};
    static const float scores[] = {0, 0, 0, -3, -3, -3, -2, -1, -2.5f};
    struct making m = {0};
    struct opened o = {0};
    struct sides s = {0};
    struct str blob = {0};
    struct map_bytes *map = calloc(1, sizeof(*map));
    assert_non_null(map);
    map_put(map, "Q", "b");
    map_write(map, &blob);
    put_text(&m, "tokenizer.ggml.model", "t5");
    put_texts(&m, "tokenizer.ggml.tokens", texts, ARRAY_LEN(texts));
    put_scores(&m, scores, ARRAY_LEN(scores));
    put_types(&m, "332111111");
    put_bool(&m, "tokenizer.ggml.add_space_prefix", true);
    put_array(&m, "tokenizer.ggml.precompiled_charsmap", GGUF_U8, blob.len);
    str_add_span(&m.pairs, str_span(&blob));
    made_file(&m, &o);
    make_sides(&o, &s);
    struct text_tokenizer *t = load_sides(&s);
    assert_string_equal(text_tokenizer_kind(t), "SentencePiece Unigram");
    expect_ids(t, "aQb", PLAIN, "3 7"); /* the best sum, where merging would begin with the best pair */
    expect_ids(t, "aQb", ADD, "3 7 1");
    assert_int_equal(text_vocab_size(t), ARRAY_LEN(texts));
    assert_null(strstr(str_text(&s.config), "\n\"bos_token\""));
    text_tokenizer_close(&t);
    drop_sides(&s);
    close_gguf(&o);
    str_drop(&map->text);
    free(map);
    str_drop(&blob);
}

static void test_marks(void **state) {
    (void)state;
    const char *texts[11 + 256] = {"<pad>", "<eos>", "<bos>", "<unk>", "▁", "a", "b", "▁a", "\n", "\n\n",
                                   "<|turn>"};
    static const char *const merges[] = {"▁ a", "\n \n"};
    char names[256][8];
    char types[11 + 256 + 1] = "33321111143";
    struct making m = {0};
    struct opened o = {0};
    for (unsigned i = 0; i < 256; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "<0x%02X>", i);
        texts[11 + i] = names[i];
        types[11 + i] = '6';
    }
    put_text(&m, "tokenizer.ggml.model", "gemma4");
    put_texts(&m, "tokenizer.ggml.tokens", texts, ARRAY_LEN(texts));
    put_types(&m, types);
    put_texts(&m, "tokenizer.ggml.merges", merges, ARRAY_LEN(merges));
    put_u32(&m, "tokenizer.ggml.bos_token_id", 2);
    put_u32(&m, "tokenizer.ggml.eos_token_id", 1);
    put_u32(&m, "tokenizer.ggml.unknown_token_id", 3);
    made_file(&m, &o);
    struct text_tokenizer *t = load_opened(&o);
    expect_ids(t, "a a\n\nb", PLAIN, "5 7 9 6");
    expect_ids(t, "<|turn>a a", PARSE | ADD, "2 10 5 7");
    expect_ids(t, "z", PLAIN, "133"); /* 11 + 0x7a */
    struct text_ids ids = {.ids = (uint32_t[]){5, 7, 9, 133, 10}, .count = 5};
    struct str text = {0};
    assert_int_equal(text_decode(t, ids.ids, ids.count, true, &text, NULL), 0);
    assert_string_equal(str_text(&text), "a a\n\nz");
    str_drop(&text);
    text_tokenizer_close(&t);
    close_gguf(&o);
}

static struct text_tokenizer *small_words(bool lower) {
    static const char *const texts[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁hello", "▁wor",
                                        "ld",    "▁!", "[unused0]"};
    struct making m = {0};
    struct opened o = {0};
    put_text(&m, "tokenizer.ggml.model", "bert");
    put_texts(&m, "tokenizer.ggml.tokens", texts, ARRAY_LEN(texts));
    put_types(&m, "333311111");
    put_u32(&m, lower ? "tokenizer.ggml.cls_token_id" : "tokenizer.ggml.bos_token_id", 2);
    put_u32(&m, "tokenizer.ggml.seperator_token_id", 3);
    put_u32(&m, "tokenizer.ggml.unknown_token_id", 1);
    if (!lower) {
        put_bool(&m, "tokenizer.ggml.normalizer.lowercase", false);
    }
    made_file(&m, &o);
    struct text_tokenizer *t = load_opened(&o);
    close_gguf(&o);
    return t;
}

static void test_words(void **state) {
    (void)state;
    uint32_t id = 0;
    struct text_tokenizer *t = small_words(true);
    expect_ids(t, "H\xc3\xa9llo World! z", PLAIN, "4 5 6 7 1");
    expect_ids(t, "hello", ADD, "2 4 3");
    assert_true(text_token_id(t, span_of_text("##ld"), &id) && id == 6);
    assert_true(text_token_id(t, span_of_text("[unused0]"), &id) && id == 8);
    text_tokenizer_close(&t);
    t = small_words(false);
    expect_ids(t, "hello Hello", ADD, "2 4 1 3");
    text_tokenizer_close(&t);
}

/* ---- the two configs ---- */

static void expect_rendered(const struct sides *s, const char *name, const char *wanted) {
    struct chat_files files = {.tokenizer_config = str_span(&s->config)};
    struct chat_template *t = NULL;
    struct chat_request r = {.messages = span_of_text("[{\"role\": \"user\", \"content\": \"Hi\"}]"),
                             .template_name = span_of_text(name)};
    struct str out = {0};
    last = (struct lamina_error){0};
    if (chat_open(&t, &files, &last) < 0 || t == NULL || chat_render(t, &r, &out, &last) < 0) {
        fail_msg("%s", last.message);
    }
    assert_string_equal(str_text(&out), wanted);
    chat_close(&t);
    str_drop(&out);
}

static void make_templates(const char *usual, const char *named, struct sides *s) {
    struct making m = {0};
    struct opened o = {0};
    put_text(&m, "tokenizer.ggml.model", "llama");
    put_texts(&m, "tokenizer.ggml.tokens", small_texts, SMALL_PIECES);
    put_types(&m, "233111114452");
    put_text(&m, "general.architecture", "x.y");
    put_u32(&m, "x.y.context_length", 131072);
    if (usual != NULL) {
        put_text(&m, "tokenizer.chat_template", usual);
    }
    if (named != NULL) {
        const char *names[] = {"tool_use", "r\"ag"};
        put_texts(&m, "tokenizer.chat_templates", names, 2);
        put_text(&m, "tokenizer.chat_template.tool_use", named);
        put_text(&m, "tokenizer.chat_template.r\"ag", "rag");
    }
    made_file(&m, &o);
    make_sides(&o, s);
    close_gguf(&o);
}

static void test_templates(void **state) {
    (void)state;
    struct sides s = {0};
    make_templates("{{ bos_token }}\"\\\n\t\x01\xe2\x80\xa8{{ messages[0].content }}{{ eos_token }}", NULL, &s);
    expect_rendered(&s, "", "<s>\"\\\n\t\x01\xe2\x80\xa8Hi</s>");
    assert_non_null(strstr(str_text(&s.config), "\"model_max_length\": 131072"));
    drop_sides(&s);
    make_templates("usual", "tools", &s);
    expect_rendered(&s, "", "usual");
    expect_rendered(&s, "tool_use", "tools");
    expect_rendered(&s, "r\"ag", "rag");
    drop_sides(&s);
    make_templates(NULL, "tools", &s);
    expect_rendered(&s, "tool_use", "tools");
    drop_sides(&s);
    make_templates("", NULL, &s);
    assert_null(strstr(str_text(&s.config), "chat_template"));
    drop_sides(&s);
}

static void expect_ends(const char *const *texts, const char *types, uint32_t eos, uint32_t eot, const char *wanted) {
    struct making m = {0};
    struct opened o = {0};
    struct str out = {0};
    put_text(&m, "tokenizer.ggml.model", "gpt2");
    put_texts(&m, "tokenizer.ggml.tokens", texts, strlen(types));
    put_types(&m, types);
    put_u32(&m, "tokenizer.ggml.bos_token_id", UINT32_MAX);
    if (eos != UINT32_MAX) {
        put_u32(&m, "tokenizer.ggml.eos_token_id", eos);
        put_u32(&m, "tokenizer.ggml.eot_token_id", eot);
    }
    made_file(&m, &o);
    assert_int_equal(side(&o, "generation_config.json", &out), LAMINA_OK);
    assert_string_equal(str_text(&out), wanted);
    str_drop(&out);
    close_gguf(&o);
}

static void test_ends(void **state) {
    (void)state;
    const char *plain[] = {"a", "<|im_end|>", "<|eot_id|>", "</s>", "<|end|>"};
    expect_ends(plain, "11111", UINT32_MAX, 0, "{\n}\n"); /* text that looks so, and is text */
    expect_ends(plain, "13341", 3, 1, "{\n\"eos_token_id\": [3, 1, 2]\n}\n");
    expect_ends(plain, "13333", 0, 0, "{\n\"eos_token_id\": [0, 1, 2, 3, 4]\n}\n");
    const char *parts[] = {"<|return|>", "<|call|>", "<|end|>", "<|start|>"};
    expect_ends(parts, "3333", 0, UINT32_MAX, "{\n\"eos_token_id\": [0, 1]\n}\n");
    expect_ends(parts, "1333", 1, UINT32_MAX, "{\n\"eos_token_id\": [1, 2]\n}\n");
    const char *tools[] = {"<|tool_response>", "</s>", "<eos>"};
    expect_ends(tools, "333", 2, UINT32_MAX, "{\n\"eos_token_id\": [2, 0]\n}\n");
    const char *many[] = {"<|eot_id|>", "<|eom_id|>", "<|eot|>", "<|EOT|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<eos>",
                          "</s>", "[e~[", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>", "<end_of_turn>", "<turn|>", "<|end|>",
                          "x"};
    expect_ends(many, "333333333333333333", 17, UINT32_MAX,
                "{\n\"eos_token_id\": [17, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]\n}\n");
}

static void test_whole(void **state) {
    (void)state;
    static const char json[] = "{\"version\":\"1.0\",\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0},\"unk_token\":\"a\"}}";
    struct making m = {0};
    struct opened o = {0};
    struct sides s = {0};
    put_text(&m, "tokenizer.huggingface.json", json);
    put_text(&m, "tokenizer.ggml.model", "rwkv"); /* of no account then */
    made_file(&m, &o);
    make_sides(&o, &s);
    assert_string_equal(str_text(&s.json), json);
    struct text_tokenizer *t = load_sides(&s);
    expect_ids(t, "a", ADD, "0");
    text_tokenizer_close(&t);
    close_gguf(&o);
    put_text(&m, "tokenizer.huggingface.json", "\xff");
    made_file(&m, &o);
    assert_int_equal(side(&o, "tokenizer.json", &s.json), LAMINA_DAMAGED);
    assert_non_null(strstr(last.message, "tokenizer.huggingface.json"));
    close_gguf(&o);
    put_text(&m, "tokenizer.huggingface.json", ""); /* none */
    made_file(&m, &o);
    assert_int_equal(side(&o, "tokenizer.json", &s.json), LAMINA_NOT_FOUND);
    close_gguf(&o);
    drop_sides(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_pre_names),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_without_types),
        cmocka_unit_test(test_unigram),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
