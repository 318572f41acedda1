/* SPDX-License-Identifier: Apache-2.0
 *
 * SentencePiece models and rank files against ids that other programs computed, with the vocabularies in
 * LAMINA_TESTDATA (skipped where that is absent). Each test names its golden file. Two vocabularies exist there only
 * inside GGUF files; they are written out in the format this project reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "golden_files.h"
#include "text/tokenizer.h"
#include "tokenizer_bytes.h"
#include "tokenizer_golden.h"

/* --- vocabularies --- */

static struct text_tokenizer *open_files(const struct text_files *files) {
    struct text_tokenizer *t = NULL;
    struct lamina_error err = {0};
    if (text_tokenizer_open(&t, files, &err) < 0) {
        fail_msg("%s", err.message);
    }
    return t;
}

/* `config` is a file's name, or tokenizer_config.json itself where it begins with a brace, or NULL. */
static struct text_tokenizer *open_model(const char *model, const char *config) {
    struct str vocabulary = {0};
    struct str beside = {0};
    need(model, &vocabulary);
    if (config != NULL && config[0] == '{') {
        str_add_text(&beside, config);
    } else if (config != NULL) {
        need(config, &beside);
    }
    struct text_tokenizer *t = open_files(
        &(struct text_files){.tokenizer_model = str_span(&vocabulary), .tokenizer_config = str_span(&beside)});
    str_drop(&vocabulary);
    str_drop(&beside);
    return t;
}

/* --- SentencePiece, the file alone --- */

static void test_llama2_alone(void **state) {
    (void)state;
    struct text_tokenizer *t = open_model("llama2/tokenizer.model", NULL);
    assert_string_equal(text_tokenizer_kind(t), "SentencePiece BPE");
    check_kitoken_from(t, "sentencepiece", "llama2");
    check_llama_cpp(t, "llama2/ggml-vocab-llama-spm.gguf");
    finish(t, 141 + 46);
}

static void test_mistral_alone(void **state) {
    (void)state;
    struct text_tokenizer *t = open_model("mistral/tokenizer.model.v1", NULL);
    check_kitoken_from(t, "sentencepiece", "mistral01");
    finish(t, 141);
    t = open_model("mistral/tokenizer.model.v3", NULL);
    check_kitoken_from(t, "sentencepiece", "mistral03");
    finish(t, 141);
}

/* The same vocabulary in both formats: tokenizer.json of Llama-2 gives what its model file gives with the class. */
static void test_llama2_class(void **state) {
    (void)state;
    struct text_tokenizer *t = open_model("llama2/tokenizer.model", "llama2/tokenizer_config.json");
    check_llama_cpp(t, "llama2/ggml-vocab-llama-spm.gguf");
    check_model_of(t, JS("llama"), "Xenova/llama-tokenizer", false);
    finish(t, 46 + 37);
}

static void test_stories_model(void **state) {
    (void)state;
    static uint32_t prompt[] = {1, 403, 407, 261, 378};
    struct text_tokenizer *t = open_model("stories260k/hf/tokenizer.model", "stories260k/hf/tokenizer_config.json");
    struct text_ids want = {.ids = prompt, .count = 5};
    check_ids(t, span_of_text("Once upon a time"), TEXT_ADD_SPECIAL, &want, "stories260k");
    check_decoded(t, &want, true, span_of_text("Once upon a time"), "stories260k");
    finish(t, 2);
}

/* --- chatglm.cpp-cases.json: {MODEL: {"encode": [{"text", "ids", "skip_decode"}], "chat": [{"messages", "ids"}]}} --- */

#define CASES "goldens/tokenizer-ids/chatglm.cpp-cases.json"

struct chat_shape {
    const char *front;
    const char *between; /* role and content */
};

/* The oldest model's normaliser makes full-width punctuation half-width, and its program turns it back at the end. */
static void half_width(struct str *text) {
    static const char *const pairs[][2] = {{"\xef\xbc\x9a", ":"}, {"\xef\xbc\x8c", ","}, {"\xef\xbc\x81", "!"}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        substitute(text, pairs[i][0], pairs[i][1]);
    }
}

static void read_encode(const struct text_tokenizer *t, struct json_reader *r, const char *model) {
    struct span key;
    struct str text = {0};
    struct text_ids ids = {0};
    bool skip = true;
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        if (span_is(key, "text")) {
            json_string(r, &text);
        } else if (span_is(key, "ids")) {
            read_ids(r, &ids);
        } else if (span_is(key, "skip_decode")) {
            json_bool(r, &skip);
        } else {
            json_skip(r);
        }
    }
    check_ids(t, str_span(&text), TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL, &ids, model);
    if (strcmp(model, "ChatGLM") == 0) {
        half_width(&text);
    }
    if (!skip) {
        check_decoded(t, &ids, true, str_span(&text), model);
    }
    str_drop(&text);
    text_ids_drop(&ids);
}

static void read_message(struct json_reader *r, const struct chat_shape *shape, struct str *text) {
    struct span key;
    struct str role = {0};
    struct str content = {0};
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        if (span_is(key, "role")) {
            json_string(r, &role);
        } else if (span_is(key, "content")) {
            json_string(r, &content);
        } else {
            json_skip(r);
        }
    }
    str_printf(text, "<|%s|>%s%s", str_text(&role), shape->between, str_text(&content));
    str_drop(&role);
    str_drop(&content);
}

/* The conversation as the family's template writes it: parsing that text must give the ids put together by hand. */
static void read_chat(const struct text_tokenizer *t, struct json_reader *r, const struct chat_shape *shape,
                      const char *model) {
    struct span key;
    struct str text = {0};
    struct text_ids ids = {0};
    str_add_text(&text, shape->front);
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        if (span_is(key, "ids")) {
            read_ids(r, &ids);
        } else if (span_is(key, "messages")) {
            json_enter_array(r);
            while (json_next_item(r)) {
                read_message(r, shape, &text);
            }
        } else {
            json_skip(r);
        }
    }
    str_add_text(&text, "<|assistant|>");
    check_ids(t, str_span(&text), TEXT_PARSE_SPECIAL, &ids, model);
    str_drop(&text);
    text_ids_drop(&ids);
}

static void check_cases(const struct text_tokenizer *t, const char *model, const struct chat_shape *shape) {
    struct str json = {0};
    struct str scratch = {0};
    struct json_reader r;
    struct lamina_error err = {0};
    struct span key;
    need(CASES, &json);
    json_init(&r, str_span(&json), CASES, &scratch, &err);
    json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        if (!span_is(key, model)) {
            json_skip(&r);
            continue;
        }
        json_enter_object(&r);
        while (json_next_key(&r, &key)) {
            bool chat = span_is(key, "chat");
            json_enter_array(&r);
            while (json_next_item(&r)) {
                if (chat) {
                    assert_non_null(shape);
                    read_chat(t, &r, shape, model);
                } else {
                    read_encode(t, &r, model);
                }
            }
        }
    }
    if (json_finish(&r) < 0) {
        fail_msg("%s", err.message);
    }
    str_drop(&json);
    str_drop(&scratch);
}

static void test_cases_chatglm(void **state) {
    (void)state;
    static const char config[] = "{\"tokenizer_class\":\"ChatGLMTokenizer\",\"num_image_tokens\":0}";
    struct text_tokenizer *t = open_model("chatglm/ice_text.model", config);
    check_cases(t, "ChatGLM", NULL);
    finish(t, 3 + 3);
}

static void test_cases_chatglm2(void **state) {
    (void)state;
    struct text_tokenizer *t = open_model("chatglm/tokenizer.chatglm2.model", "chatglm/tokenizer_config.chatglm2.json");
    check_cases(t, "ChatGLM2", NULL);
    finish(t, 4 + 4);
}

/* The same vocabulary in a file whose normaliser puts no space in front: a later member of a message wins. */
static void test_cases_codegeex2(void **state) {
    (void)state;
    static const uint8_t no_prefix[] = {3 << 3 | 2, 2, 3 << 3, 0};
    struct str model = {0};
    struct str config = {0};
    need("chatglm/tokenizer.chatglm2.model", &model);
    need("chatglm/tokenizer_config.chatglm2.json", &config);
    str_add(&model, no_prefix, sizeof(no_prefix));
    struct text_tokenizer *t =
        open_files(&(struct text_files){.tokenizer_model = str_span(&model), .tokenizer_config = str_span(&config)});
    str_drop(&model);
    str_drop(&config);
    check_cases(t, "CodeGeeX2", NULL);
    finish(t, 2);
}

static void test_cases_chatglm3(void **state) {
    (void)state;
    static const struct chat_shape shape = {.front = "[gMASK]sop", .between = "\n "};
    struct text_tokenizer *t = open_model("chatglm/tokenizer.chatglm3.model", "chatglm/tokenizer_config.chatglm3.json");
    check_cases(t, "ChatGLM3", &shape);
    finish(t, 2);
}

static void test_cases_chatglm4(void **state) {
    (void)state;
    static const struct chat_shape shape = {.front = "[gMASK]<sop>", .between = "\n"};
    struct text_tokenizer *t = open_model("glm4/tokenizer.model", "glm4/tokenizer_config.json");
    check_cases(t, "ChatGLM4", &shape);
    finish(t, 3);
}

#define BAICHUAN "{\"tokenizer_class\":\"BaichuanTokenizer\",\"add_bos_token\":false,\"add_eos_token\":false}"

static void test_cases_baichuan2(void **state) {
    (void)state;
    struct text_tokenizer *t = open_model("baichuan/tokenizer.baichuan2.model", BAICHUAN);
    check_cases(t, "Baichuan2_7B", NULL);
    check_cases(t, "Baichuan2_13B", NULL);
    finish(t, 8);
}

static void test_cases_internlm(void **state) {
    (void)state;
    struct text_tokenizer *t =
        open_model("internlm/tokenizer_internlm.model", "{\"tokenizer_class\":\"InternLMTokenizer\"}");
    check_cases(t, "InternLM", NULL);
    finish(t, 3);
}

/* --- rank files --- */

static void test_llama3_ranks(void **state) {
    (void)state;
    struct text_tokenizer *t = open_model("llama3/tokenizer.model", NULL);
    assert_string_equal(text_tokenizer_kind(t), "byte-level BPE by rank");
    check_llama_cpp(t, "llama3/ggml-vocab-llama-bpe.gguf");
    check_kitoken_from(t, "tokenizers", "llama32");
    check_model_of(t, JS("llama"), "Xenova/llama3-tokenizer", true); /* a file alone adds no BOS */
    finish(t, 46 + 141 + 74);
    t = open_model("llama3/tokenizer.model", "llama3/tokenizer_config.llama3.x.json");
    check_model_of(t, JS("llama"), "Xenova/llama3-tokenizer-new", true);
    finish(t, 74);
}

static void test_llama4_ranks(void **state) {
    (void)state;
    struct text_tokenizer *t = open_model("llama4/tokenizer.model.gz", NULL);
    check_kitoken_from(t, "tiktoken", "llama4");
    finish(t, 141);
}

/* Made with the ranks alone, without special tokens. */
static void test_kimi_ranks(void **state) {
    (void)state;
    struct text_tokenizer *t = open_model("kimi-k2/tiktoken.model.gz", "kimi-k2/tokenizer_config.json");
    check_kitoken_flags(t, "tiktoken", "kimi_k2", 0);
    finish(t, 141);
    t = open_model("kimi-k2/tiktoken.model.gz", NULL); /* told by the number of its ranks */
    check_kitoken_flags(t, "tiktoken", "kimi_k2", 0);
    finish(t, 141);
}

static void test_o200k_ranks(void **state) {
    (void)state;
    struct text_tokenizer *t = open_model("gpt-oss/o200k_base.tiktoken.gz", NULL);
    check_kitoken_from(t, "tiktoken", "o200k_base");
    check_model_of(t, JS("gpt2"), "Xenova/gpt-4o", true);
    finish(t, 141 + 30);
    t = open_model("gpt-oss/o200k_base.tiktoken.gz", "gpt-oss/tokenizer_config.json");
    check_kitoken_from(t, "tokenizers", "gpt_oss");
    finish(t, 141);
}

static void test_glm4_ranks(void **state) {
    (void)state;
    struct text_tokenizer *t = open_model("glm4/tokenizer.model", "glm4/tokenizer_config.glm4.5.json");
    check_kitoken_from(t, "tokenizers", "glm46");
    finish(t, 141);
}

static void test_qwen1_ranks(void **state) {
    (void)state;
    struct text_tokenizer *t = open_model("qwen1/qwen.tiktoken", "qwen1/tokenizer_config.json");
    check_llama_cpp(t, "qwen2/ggml-vocab-qwen2.gguf");
    check_llama_cpp(t, "deepseek/ggml-vocab-deepseek-r1-qwen.gguf");
    check_model_of(t, JS("qwen2"), "Xenova/Qwen1.5-0.5B-Chat", true);
    finish(t, 92 + 50);
}

/* --- vocabularies inside GGUF: magic, u32 version, u64 tensors, u64 members, then members: text key, u32 type, value --- */

struct gguf_list {
    struct span items; /* from the first one on */
    uint64_t count;
};

struct gguf {
    struct str file;
    struct gguf_list tokens;
    struct gguf_list merges;
    struct gguf_list scores;
    struct gguf_list types;
};

static struct span take(struct span *rest, uint64_t len) {
    assert_true(len <= rest->len);
    struct span taken = span_of(rest->ptr, (size_t)len);
    *rest = span_sub(*rest, (size_t)len, rest->len);
    return taken;
}

static struct span take_text(struct span *rest) {
    return take(rest, load_le64(take(rest, 8).ptr));
}

static void skip_value(struct span *rest, uint32_t type, struct gguf_list *list) {
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == 9) {
        uint32_t inner = load_le32(take(rest, 4).ptr);
        list->count = load_le64(take(rest, 8).ptr);
        list->items = *rest;
        for (uint64_t i = 0; i < list->count; i++) {
            struct gguf_list none;
            assert_true(inner != 9);
            skip_value(rest, inner, &none);
        }
    } else if (type == 8) {
        (void)take_text(rest);
    } else {
        assert_true(type < sizeof(sizes));
        (void)take(rest, sizes[type]);
    }
}

static void open_gguf(struct gguf *g, const char *name) {
    memset(g, 0, sizeof(*g));
    need(name, &g->file);
    struct span rest = str_span(&g->file);
    assert_true(span_starts_with(rest, "GGUF"));
    (void)take(&rest, 16);
    uint64_t members = load_le64(take(&rest, 8).ptr);
    for (uint64_t i = 0; i < members; i++) {
        struct gguf_list list = {0};
        struct span key = take_text(&rest);
        skip_value(&rest, load_le32(take(&rest, 4).ptr), &list);
        struct gguf_list *wanted = span_is(key, "tokenizer.ggml.tokens")       ? &g->tokens
                                   : span_is(key, "tokenizer.ggml.merges")     ? &g->merges
                                   : span_is(key, "tokenizer.ggml.scores")     ? &g->scores
                                   : span_is(key, "tokenizer.ggml.token_type") ? &g->types
                                                                               : NULL;
        if (wanted != NULL) {
            *wanted = list;
        }
    }
    assert_true(g->tokens.count > 0 && g->types.count == g->tokens.count);
}

static uint32_t type_of(const struct gguf *g, uint64_t id) {
    return load_le32(g->types.items.ptr + 4 * id);
}

/* As its own tokenizer.model would be: BPE, bytes as fallback, a space in front, nothing normalised. */
static void write_sentencepiece(const struct gguf *g, struct str *out) {
    struct span tokens = g->tokens.items;
    for (uint64_t id = 0; id < g->tokens.count; id++) {
        uint32_t bits = load_le32(g->scores.items.ptr + 4 * id);
        float score = 0;
        memcpy(&score, &bits, sizeof(score));
        add_piece(out, take_text(&tokens), score, type_of(g, id));
    }
    add_specs(out, &(struct model_ends){.algorithm = BPE, .byte_fallback = true, .dummy_prefix = true});
}

static void test_cases_baichuan1(void **state) {
    (void)state;
    struct gguf g;
    struct str model = {0};
    open_gguf(&g, "baichuan/ggml-vocab-baichuan.gguf");
    write_sentencepiece(&g, &model);
    struct text_tokenizer *t = open_files(
        &(struct text_files){.tokenizer_model = str_span(&model), .tokenizer_config = span_of_text(BAICHUAN)});
    str_drop(&g.file);
    str_drop(&model);
    check_cases(t, "Baichuan13B", NULL);
    finish(t, 4);
}

/* A tokenizer.json with these pre-tokenizer steps in front of ByteLevel. */
static void write_json(const struct gguf *g, const char *steps, const char *post, struct str *out) {
    struct span tokens = g->tokens.items;
    struct span merges = g->merges.items;
    struct str added = {0};
    str_printf(out, "{\"version\":\"1.0\",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[%s{\"type\":"
                    "\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},\"decoder\":{\"type\":\"ByteLevel\"},"
                    "%s\"model\":{\"type\":\"BPE\",\"vocab\":{",
               steps, post);
    for (uint64_t id = 0; id < g->tokens.count; id++) {
        struct span text = take_text(&tokens);
        str_add_text(out, id == 0 ? "" : ",");
        json_write_string(out, text);
        str_printf(out, ":%u", (unsigned)id);
        if (type_of(g, id) != 1) {
            str_add_text(&added, added.len == 0 ? "{\"content\":" : ",{\"content\":");
            json_write_string(&added, text);
            str_printf(&added, ",\"id\":%u,\"special\":%s,\"normalized\":false}", (unsigned)id,
                       type_of(g, id) == 3 ? "true" : "false");
        }
    }
    str_add_text(out, "},\"merges\":[");
    for (uint64_t i = 0; i < g->merges.count; i++) {
        str_add_text(out, i == 0 ? "" : ",");
        json_write_string(out, take_text(&merges));
    }
    str_printf(out, "]},\"added_tokens\":[%s]}", str_text(&added));
    assert_false(out->failed);
    str_drop(&added);
}

static struct text_tokenizer *open_from_gguf(const char *name, const char *steps, const char *post) {
    struct gguf g;
    struct str json = {0};
    open_gguf(&g, name);
    write_json(&g, steps, post, &json);
    struct text_tokenizer *t = open_files(&(struct text_files){.tokenizer_json = str_span(&json)});
    str_drop(&g.file);
    str_drop(&json);
    return t;
}

/* A pattern of splitRegexPatterns.json as a step; these two vocabularies are where it comes from. */
static void add_split(struct str *out, const char *id) {
    struct str file = {0};
    struct str scratch = {0};
    struct str found = {0};
    struct json_reader r;
    struct span key;
    need("goldens/tokenizer-ids/splitRegexPatterns.json", &file);
    json_init(&r, str_span(&file), "splitRegexPatterns.json", &scratch, NULL);
    json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        if (!span_is(key, "patterns")) {
            json_skip(&r);
            continue;
        }
        json_enter_array(&r);
        while (json_next_item(&r)) {
            struct str name = {0};
            struct str pattern = {0};
            json_enter_object(&r);
            while (json_next_key(&r, &key)) {
                if (span_is(key, "id")) {
                    json_string(&r, &name);
                } else if (span_is(key, "pattern")) {
                    json_string(&r, &pattern);
                } else {
                    json_skip(&r);
                }
            }
            if (strcmp(str_text(&name), id) == 0) {
                str_add_span(&found, str_span(&pattern));
            }
            str_drop(&name);
            str_drop(&pattern);
        }
    }
    assert_true(found.len > 0);
    str_add_text(out, "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
    json_write_string(out, str_span(&found));
    str_add_text(out, "},\"behavior\":\"Isolated\",\"invert\":false},");
    str_drop(&file);
    str_drop(&scratch);
    str_drop(&found);
}

#define SPLIT(pattern) "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern "\"},\"behavior\":\"Isolated\",\"invert\":false},"
#define DIGITS         "{\"type\":\"Digits\",\"individual_digits\":true},"
#define BOS_32013                                                                                                      \
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"b\",\"type_id\":0}}," \
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{\"b\":{\"id\":\"b\",\"ids\":[32013]}}},"

static void test_deepseek_coder(void **state) {
    (void)state;
    struct str steps = {0};
    add_split(&steps, "hub-008");
    str_add_text(&steps, SPLIT("\\\\s?\\\\p{L}+"));
    add_split(&steps, "hub-040");
    add_split(&steps, "hub-021");
    str_add_text(&steps, DIGITS);
    struct text_tokenizer *t = open_from_gguf("deepseek/ggml-vocab-deepseek-coder.gguf", str_text(&steps), BOS_32013);
    check_llama_cpp(t, "deepseek/ggml-vocab-deepseek-coder.gguf");
    check_model_of(t, JS("llama"), "Xenova/deepseek-coder-1.3b-instruct", true);
    str_drop(&steps);
    finish(t, 46 + 74);
}

static void test_deepseek_llm(void **state) {
    (void)state;
    struct str steps = {0};
    add_split(&steps, "hub-008");
    add_split(&steps, "hub-035");
    str_add_text(&steps, SPLIT("\\\\s?[!-/:-~\xef\xbc\x81-\xef\xbc\x8f\xef\xbc\x9a-\xef\xbd\x9e"
                               "\xe2\x80\x98-\xe2\x80\x9f\xe3\x80\x80-\xe3\x80\x82]+"));
    str_add_text(&steps, SPLIT("\\\\s+$"));
    add_split(&steps, "hub-021");
    str_add_text(&steps, DIGITS);
    struct text_tokenizer *t = open_from_gguf("deepseek/ggml-vocab-deepseek-llm.gguf", str_text(&steps), "");
    check_llama_cpp(t, "deepseek/ggml-vocab-deepseek-llm.gguf");
    str_drop(&steps);
    finish(t, 46);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama2_alone),    cmocka_unit_test(test_mistral_alone),
        cmocka_unit_test(test_llama2_class),    cmocka_unit_test(test_stories_model),
        cmocka_unit_test(test_cases_chatglm),   cmocka_unit_test(test_cases_chatglm2),
        cmocka_unit_test(test_cases_codegeex2), cmocka_unit_test(test_cases_chatglm3),  cmocka_unit_test(test_cases_chatglm4),
        cmocka_unit_test(test_cases_baichuan1), cmocka_unit_test(test_cases_baichuan2),
        cmocka_unit_test(test_cases_internlm),  cmocka_unit_test(test_llama3_ranks),
        cmocka_unit_test(test_llama4_ranks),    cmocka_unit_test(test_kimi_ranks),
        cmocka_unit_test(test_o200k_ranks),     cmocka_unit_test(test_glm4_ranks),
        cmocka_unit_test(test_qwen1_ranks),     cmocka_unit_test(test_deepseek_coder),
        cmocka_unit_test(test_deepseek_llm),
    };
    return cmocka_run_group_tests_name("tokenizer_models", tests, NULL, NULL);
}
