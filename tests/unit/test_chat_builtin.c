/* SPDX-License-Identifier: Apache-2.0
 *
 * Formats of families that ship no template: which checkpoint gets which, the text they write, and with the vocabularies of
 * LAMINA_TESTDATA (skipped where absent) the ids, against those that chatglm.cpp's tests and the families' own programs
 * give. Then directories on disk: every place of a template, and what ends an answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/api_priv.h"
#include "checkpoint_maker.h"
#include "golden_files.h"
#include "model/chat_formats.h"
#include "tokenizer_bytes.h"

#define ROLE(r, c) "{\"role\": \"" r "\", \"content\": \"" c "\"}"
#define SYSTEM(c) ROLE("system", c) ", "
#define USER(c) ROLE("user", c)
#define ASSISTANT(c) ", " ROLE("assistant", c) ", "

/* ---- text -------------------------------------------------------------------------------------------------------- */

static const char role_tokens[] = "{\"user_token\": \"<reserved_106>\", \"assistant_token\": \"<reserved_107>\"}";

static void render_with(const char *format, const char *messages, const char *tools, bool prompt, struct str *out) {
    const struct model_chat_format *f = model_chat_format_of_name(format);
    struct chat_template *t = NULL;
    struct lamina_error err = {0};
    assert_non_null(f);
    struct chat_files files = {
        .builtin = span_of_text(f->jinja),
        .builtin_tokens = span_of_text(role_tokens)};
    struct chat_request r = {.messages = span_of_text(messages), .tools = span_of_text(tools), .add_generation_prompt = prompt};
    if (chat_open(&t, &files, &err) != LAMINA_OK || chat_render(t, &r, out, &err) != LAMINA_OK) {
        fail_msg("%s: %s: %s", format, messages, err.message);
    }
    assert_true(chat_is_builtin(t));
    chat_close(&t);
}

static void expect(const char *format, const char *messages, const char *text) {
    struct str out = {0};
    render_with(format, messages, "", true, &out);
    if (strcmp(str_text(&out), text) != 0) {
        fail_msg("%s: %s\n  expected: %s\n  found:    %s", format, messages, text, str_text(&out));
    }
    str_drop(&out);
}

static const char one[] = "[" USER("Hi") "]";
static const char three[] = "[" USER("Hi") ASSISTANT("Yo") USER("Who?") "]";
static const char with_system[] = "[" SYSTEM("Be brief.") USER("Hi") ASSISTANT("Yo") USER("Who?") "]";

static void test_chatml(void **state) {
    (void)state;
    expect("chatml", one,
           "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
           "<|im_start|>assistant\n");
    expect("chatml", with_system,
           "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n"
           "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n");
}

static void test_baichuan(void **state) {
    (void)state;
    expect("baichuan2", one, "<reserved_106>Hi<reserved_107>");
    expect("baichuan2", with_system, "Be brief.<reserved_106>Hi<reserved_107>Yo<reserved_106>Who?<reserved_107>");
    expect("baichuan", three, "<reserved_106>Hi<reserved_107>Yo</s><reserved_106>Who?<reserved_107>");
    expect("baichuan", with_system,
           "<reserved_106>Be brief.\n\nHi<reserved_107>Yo</s><reserved_106>Who?<reserved_107>");
}

static void test_chatglm(void **state) {
    (void)state;
    expect("chatglm", one, "Hi");
    expect("chatglm", "[" SYSTEM("Be brief.") USER("Hi") "]", "Be brief.\n\nHi");
    expect("chatglm", three, "[Round 0]\n问：Hi\n答：Yo\n[Round 1]\n问：Who?\n答：");
    expect("chatglm2", one, "[Round 1]\n\n问：Hi\n\n答：");
    expect("chatglm2", with_system, "[Round 1]\n\n问：Be brief.\n\nHi\n\n答：Yo\n\n[Round 2]\n\n问：Who?\n\n答：");
    expect("chatglm3", with_system,
           "<|system|>\n Be brief.<|user|>\n Hi<|assistant|>\n Yo<|user|>\n Who?<|assistant|>");
}

static void test_chatglm3_tools(void **state) {
    (void)state;
    struct str out = {0};
    render_with("chatglm3",
                "[" USER("Weather?") ", {\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"1\", "
                "\"type\": \"function\", \"function\": {\"name\": \"look\", \"arguments\": \"{\\\"city\\\": \\\"Rome\\\", "
                "\\\"days\\\": 2}\"}}]}, {\"role\": \"tool\", \"tool_call_id\": \"1\", \"content\": \"sunny\"}]",
                "[{\"type\": \"function\", \"function\": {\"name\": \"look\"}}]", true, &out);
    assert_string_equal(str_text(&out),
                        "<|system|>\n Answer the following questions as best as you can. You have access to the following "
                        "tools:\n[\n    {\n        \"name\": \"look\"\n    }\n]<|user|>\n Weather?<|assistant|>look\n "
                        "```python\ntool_call(city='Rome', days=2)\n```<|observation|>\n sunny<|assistant|>");
    str_drop(&out);
}

static void test_internlm(void **state) {
    (void)state;
    expect("internlm", three, "<|User|>:Hi<eoh>\n<|Bot|>:Yo<eoa>\n<|User|>:Who?<eoh>\n<|Bot|>:");
    expect("internlm", "[" SYSTEM("Be brief.") USER("Hi") "]", "<|User|>:Be brief.\n\nHi<eoh>\n<|Bot|>:");
}

static void test_llama2(void **state) {
    (void)state;
    expect("llama2", one, "[INST] Hi [/INST]");
    expect("llama2", "[" USER(" Hi ") ASSISTANT(" Yo ") USER("Who?") "]", "[INST] Hi [/INST] Yo </s><s>[INST] Who? [/INST]");
    expect("llama2", with_system, "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Yo </s><s>[INST] Who? [/INST]");
}

/* Roles no format has are refused, not dropped. */
static void test_roles(void **state) {
    (void)state;
    static const char *const names[] = {"baichuan", "baichuan2", "chatglm", "chatglm2", "chatglm3", "internlm", "llama2"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct chat_template *t = NULL;
        struct lamina_error err = {0};
        struct str out = {0};
        struct chat_files files = {.builtin = span_of_text(model_chat_format_of_name(names[i])->jinja),
                                   .builtin_tokens = span_of_text(role_tokens)};
        struct chat_request r = {.messages = span_of_text("[" USER("a") ASSISTANT("b") ROLE("narrator", "c") "]")};
        assert_int_equal(chat_open(&t, &files, &err), LAMINA_OK);
        lamina_status status = chat_render(t, &r, &out, &err);
        if (status != LAMINA_USAGE || strstr(err.message, "no role narrator") == NULL || out.len != 0) {
            fail_msg("%s: %d %s %s", names[i], status, err.message, str_text(&out));
        }
        chat_close(&t);
        str_drop(&out);
    }
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

static void chosen(const char *config, const char *tokenizer, const char *generation, const char *names) {
    struct model_chat c;
    struct lamina_error err = {0};
    struct str found = {0};
    const struct model_chat_format *f = NULL;
    assert_int_equal(model_chat_read(&c, span_of_text(config), span_of_text(tokenizer), span_of_text(generation), &err), 0);
    for (unsigned row = 0; (f = model_chat_next(&c, &row)) != NULL;) {
        str_printf(&found, "%s ", f->name);
    }
    if (strcmp(str_text(&found), names) != 0) {
        fail_msg("%s: expected %s, found %s", config, names, str_text(&found));
    }
    str_drop(&found);
    model_chat_drop(&c);
}

static void test_choice(void **state) {
    (void)state;
    static const char ids[] = "{\"user_token_id\": 195, \"assistant_token_id\": 196}";
    chosen("", "", "", "");
    chosen("{\"architectures\": [\"QWenLMHeadModel\"]}", "", "{\"chat_format\": \"chatml\"}", "chatml ");
    chosen("{\"architectures\": [\"QWenLMHeadModel\"]}", "", "{\"chat_format\": \"raw\"}", "");
    chosen("{\"model_type\": \"qwen\"}", "", "", "chatml ");
    chosen("{\"architectures\": [\"BaichuanForCausalLM\"], \"vocab_size\": 64000}", "", ids, "baichuan baichuan2 ");
    chosen("{\"architectures\": [\"BaichuanForCausalLM\"], \"vocab_size\": 125696}", "", ids, "baichuan2 ");
    chosen("{\"architectures\": [\"BaichuanForCausalLM\"], \"vocab_size\": 125696}", "", "", "");
    chosen("{\"architectures\": [\"ChatGLMModel\"], \"inner_hidden_size\": 16384}", "", "", "chatglm ");
    chosen("{\"architectures\": [\"ChatGLMModel\"]}", "", "", "chatglm3 chatglm2 ");
    chosen("{\"architectures\": [\"ChatGLMModel\"], \"_name_or_path\": \"THUDM/chatglm3-6b-base\"}", "", "", "");
    chosen("{\"architectures\": [\"InternLMForCausalLM\"]}", "{\"name_or_path\": \"internlm/internlm-chat-7b\"}", "", "internlm ");
    chosen("{\"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 32000, \"_name_or_path\": "
           "\"meta-llama/Llama-2-7b-chat-hf\"}", "", "", "llama2 ");
    chosen("{\"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 32000, \"_name_or_path\": "
           "\"meta-llama/Llama-2-7b-hf\"}", "", "", "");
    chosen("{\"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 32000}", "", "", "");
}

/* ---- ids --------------------------------------------------------------------------------------------------------- */

static struct text_tokenizer *open_vocabulary(const char *file, const char *config, bool ranks) {
    struct text_tokenizer *t = NULL;
    struct lamina_error err = {0};
    struct str vocabulary = {0};
    need(file, &vocabulary);
    struct text_files files = {.tokenizer_config = span_of_text(config)};
    *(ranks ? &files.tiktoken : &files.tokenizer_model) = str_span(&vocabulary);
    if (text_tokenizer_open(&t, &files, &err) < 0) {
        fail_msg("%s: %s", file, err.message);
    }
    str_drop(&vocabulary);
    return t;
}

static void expect_ids(const struct text_tokenizer *t, const char *format, const char *messages, const uint32_t *want,
                       size_t count) {
    struct str out = {0};
    struct text_ids ids = {0};
    struct lamina_error err = {0};
    render_with(format, messages, "", true, &out);
    assert_int_equal(text_encode(t, str_span(&out), TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL, &ids, &err), 0);
    if (ids.count != count || memcmp(ids.ids, want, count * sizeof(*want)) != 0) {
        for (size_t i = 0; i < ids.count; i++) {
            print_message("%u/%u ", ids.ids[i], i < count ? want[i] : 0);
        }
        fail_msg("%s: %s: %zu ids, expected %zu", format, str_text(&out), ids.count, count);
    }
    text_ids_drop(&ids);
    str_drop(&out);
}

static void test_ids_chatml(void **state) {
    (void)state;
    static const uint32_t want[] = {151644, 8948, 198, 2610, 525, 264, 10950, 17847, 13, 151645, 198, 151644, 872, 198,
                                    9707, 151645, 198, 151644, 77091, 198};
    struct text_tokenizer *t = open_vocabulary("qwen1/qwen.tiktoken", "{\"tokenizer_class\": \"QWenTokenizer\"}", true);
    expect_ids(t, "chatml", "[" USER("Hello") "]", want, sizeof(want) / sizeof(want[0]));
    text_tokenizer_close(&t);
}

static void test_ids_baichuan(void **state) {
    (void)state;
    static const uint32_t want[] = {195, 92067, 196};
    struct text_tokenizer *t = open_vocabulary("baichuan/tokenizer.baichuan2.model",
                                               "{\"tokenizer_class\": \"BaichuanTokenizer\", \"add_bos_token\": false}", false);
    struct span text = {0};
    assert_true(text_token_text(t, 195, &text) && span_is(text, "<reserved_106>"));
    assert_true(text_token_text(t, 196, &text) && span_is(text, "<reserved_107>"));
    expect_ids(t, "baichuan2", "[" USER("你是谁") "]", want, 3);
    text_tokenizer_close(&t);
}

static void test_ids_chatglm2(void **state) {
    (void)state;
    static const uint32_t short_one[] = {64790, 64792, 790, 30951, 517, 30910, 30939, 30996, 13,
                                         13, 54761, 31211, 39701, 13, 13, 55437, 31211};
    static const uint32_t long_one[] = {
        64790, 64792, 790,   30951, 517,   30910, 30939, 30996, 13,    13,    54761, 31211, 39701, 13,    13,    55437,
        31211, 39701, 243,   162,   148,   142,   31404, 33030, 34797, 42481, 22011, 10461, 30944, 30943, 30941, 30978,
        30949, 31123, 48895, 35214, 54622, 31123, 32616, 39905, 31901, 31639, 31155, 13,    13,    30995, 30951, 517,
        30910, 30943, 30996, 13,    13,    54761, 31211, 32820, 54266, 31876, 35153, 13,    13,    55437, 31211};
    struct text_tokenizer *t =
        open_vocabulary("chatglm/tokenizer.chatglm2.model", "{\"tokenizer_class\": \"ChatGLMTokenizer\"}", false);
    expect_ids(t, "chatglm2", "[" USER("你好") "]", short_one, sizeof(short_one) / sizeof(short_one[0]));
    expect_ids(t, "chatglm2",
               "[" USER("你好") ASSISTANT("你好👋！我是人工智能助手 ChatGLM2-6B，很高兴见到你，欢迎问我任何问题。")
                   USER("晚上睡不着应该怎么办") "]",
               long_one, sizeof(long_one) / sizeof(long_one[0]));
    text_tokenizer_close(&t);
}

static void test_ids_chatglm3(void **state) {
    (void)state;
    static const uint32_t want[] = {64790, 64792, 64795, 30910, 13, 36474, 54591, 64796};
    struct text_tokenizer *t = open_vocabulary(
        "chatglm/tokenizer.chatglm3.model", "{\"tokenizer_class\": \"ChatGLMTokenizer\", \"name_or_path\": \"THUDM/chatglm3-6b\"}",
        false);
    expect_ids(t, "chatglm3", "[" USER("你好") "]", want, sizeof(want) / sizeof(want[0]));
    text_tokenizer_close(&t);
}

static void test_ids_internlm(void **state) {
    (void)state;
    static const uint32_t want[] = {1,     333,   352,   1621,   352,   27232, 76379, 103027, 364,   333,   352,
                                    23845, 352,   27232, 76379,  98899, 68408, 73159, 67566,  67513, 61056, 99050,
                                    103028, 364,  333,   352,    1621,  352,   27232, 67891,  76046, 67551, 68573,
                                    103027, 364,  333,   352,    23845, 352,   27232};
    struct text_tokenizer *t =
        open_vocabulary("internlm/tokenizer_internlm.model", "{\"tokenizer_class\": \"InternLMTokenizer\"}", false);
    expect_ids(t, "internlm", "[" USER("你好") ASSISTANT("你好，有什么我可以帮助你的吗？") USER("晚上睡不着应该怎么办") "]", want,
               sizeof(want) / sizeof(want[0]));
    text_tokenizer_close(&t);
}

/* A round is a text of its own between begin and end tokens; the answer keeps a blank behind it, as when it was trained. */
static void test_ids_llama2(void **state) {
    (void)state;
    static const uint32_t first[] = {1, 518, 25580, 29962, 6324, 518, 29914, 25580, 29962};
    static const uint32_t second[] = {1, 518, 25580, 29962, 6324, 518, 29914, 25580, 29962, 612, 29877, 29871, 2,
                                      1, 518, 25580, 29962, 6324, 518, 29914, 25580, 29962};
    struct text_tokenizer *t = open_vocabulary("llama2/tokenizer.model", "{\"tokenizer_class\": \"LlamaTokenizer\"}", false);
    expect_ids(t, "llama2", one, first, sizeof(first) / sizeof(first[0]));
    expect_ids(t, "llama2", "[" USER("Hi") ASSISTANT("Yo") USER("Hi") "]", second, sizeof(second) / sizeof(second[0]));
    text_tokenizer_close(&t);
}

/* The oldest model's vocabulary is not there: its text against the text that chatglm.cpp's test encodes. */
static void test_text_chatglm(void **state) {
    (void)state;
    expect("chatglm",
           "[" USER("你好") ASSISTANT("你好👋！我是人工智能助手 ChatGLM-6B，很高兴见到你，欢迎问我任何问题。")
               USER("晚上睡不着应该怎么办") "]",
           "[Round 0]\n问：你好\n答：你好👋！我是人工智能助手 ChatGLM-6B，很高兴见到你，欢迎问我任何问题。\n[Round 1]\n"
           "问：晚上睡不着应该怎么办\n答：");
}

/* A made vocabulary of that kind: a prompt ends in the two tokens that the model answers behind, and has them once. */
static void test_ends_chatglm(void **state) {
    (void)state;
    struct str model = {0};
    struct str out = {0};
    struct text_ids ids = {0};
    struct lamina_error err = {0};
    struct text_tokenizer *t = NULL;
    uint32_t mask = 0;
    uint32_t end = 0;
    uint32_t line = 0;
    unsigned lines = 0;
    add_piece(&model, span_of_text("<unk>"), 0, UNKNOWN);
    add_piece(&model, span_of_text("<n>"), 0, USER);
    add_piece(&model, span_of_text("[gMASK]"), 0, CONTROL);
    add_piece(&model, span_of_text("<sop>"), 0, CONTROL);
    add_piece(&model, span_of_text("<|blank_2|>"), 0, USER);
    add_bytes_as_pieces(&model);
    add_specs(&model, &(struct model_ends){.algorithm = UNIGRAM, .byte_fallback = true});
    struct text_files files = {
        .tokenizer_model = str_span(&model),
        .tokenizer_config = span_of_text("{\"tokenizer_class\": \"ChatGLMTokenizer\", \"num_image_tokens\": 0}")};
    assert_int_equal(text_tokenizer_open(&t, &files, &err), 0);
    assert_true(text_token_id(t, span_of_text("[gMASK]"), &mask) && text_token_id(t, span_of_text("<sop>"), &end) &&
                text_token_id(t, span_of_text("<n>"), &line));
    render_with("chatglm", three, "", true, &out);
    assert_int_equal(text_encode(t, str_span(&out), TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL, &ids, &err), 0);
    assert_true(ids.count > 2 && ids.ids[ids.count - 2] == mask && ids.ids[ids.count - 1] == end);
    for (size_t i = 0; i + 2 < ids.count; i++) {
        assert_true(ids.ids[i] != mask && ids.ids[i] != end);
        lines += ids.ids[i] == line;
    }
    assert_int_equal(lines, 5); /* of the text above */
    text_tokenizer_close(&t);
    text_ids_drop(&ids);
    str_drop(&out);
    str_drop(&model);
}

/* ---- directories ------------------------------------------------------------------------------------------------- */

static char dir[128];

static int make_dir(void **state) {
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/lamina_chat_XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static void path_of(const char *name, char out[256]) {
    (void)snprintf(out, 256, "%s/%s", dir, name);
}

static void put(const char *name, const char *text) {
    char path[256];
    path_of(name, path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static const char *const put_names[] = {
    "tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json", "chat_template.jinja",
    "chat_template.json", "processor_config.json", "additional_chat_templates/tool_use.jinja",
    "additional_chat_templates/notes.txt"};

static void clear_dir(void) {
    char path[256];
    for (size_t i = 0; i < sizeof(put_names) / sizeof(put_names[0]); i++) {
        path_of(put_names[i], path);
        (void)unlink(path);
    }
    path_of("additional_chat_templates", path);
    (void)rmdir(path);
}

static int remove_dir(void **state) {
    (void)state;
    clear_dir();
    return rmdir(dir);
}

/* Letters, and special tokens as chat models have them. */
static void put_tokenizer(void) {
    put("tokenizer.json",
        "{\"version\": \"1.0\", \"added_tokens\": ["
        "{\"id\": 8, \"content\": \"<|endoftext|>\", \"special\": true, \"single_word\": false, \"lstrip\": false, "
        "\"rstrip\": false, \"normalized\": false}, "
        "{\"id\": 9, \"content\": \"<|im_start|>\", \"special\": true, \"single_word\": false, \"lstrip\": false, "
        "\"rstrip\": false, \"normalized\": false}, "
        "{\"id\": 10, \"content\": \"<|im_end|>\", \"special\": true, \"single_word\": false, \"lstrip\": false, "
        "\"rstrip\": false, \"normalized\": false}], "
        "\"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
        "\"trim_offsets\": true, \"use_regex\": true}, \"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\", "
        "\"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true}, \"model\": {\"type\": \"BPE\", "
        "\"dropout\": null, \"unk_token\": null, \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, "
        "\"fuse_unk\": false, \"byte_fallback\": false, \"vocab\": {\"a\": 0, \"b\": 1, \"c\": 2, \"d\": 3, \"e\": 4, "
        "\"H\": 5, \"i\": 6, \"T\": 7}, \"merges\": []}}");
}

static void expect_prompt(const char *tools, const char *want) {
    struct lamina_text *t = NULL;
    struct lamina_error err = {0};
    char *prompt = NULL;
    size_t len = 0;
    if (lamina_text_open(&t, dir, &err) != LAMINA_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(lamina_text_has_template(t), want != NULL);
    lamina_status status = lamina_template(t, one, tools, NULL, true, &prompt, &len, &err);
    if (want == NULL) {
        assert_int_equal(status, LAMINA_NOT_FOUND);
    } else if (status != LAMINA_OK || strcmp(prompt, want) != 0) {
        fail_msg("expected: %s\n  found: %s %s", want, prompt != NULL ? prompt : "", err.message);
    }
    lamina_free(prompt);
    lamina_text_close(&t);
}

/* From the last place to the first: each new file wins over those before. */
static void test_places(void **state) {
    (void)state;
    static const char tools[] = "[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]";
    char path[256];
    put_tokenizer();
    expect_prompt(NULL, NULL);
    put("config.json", "{\"architectures\": [\"QWenLMHeadModel\"]}");
    expect_prompt(NULL, "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
                        "<|im_start|>assistant\n");
    put("processor_config.json", "{\"image_token\": \"<i>\", \"chat_template\": \"P{{ messages[0].content }}\"}");
    expect_prompt(NULL, "PHi");
    put("chat_template.json", "{\"chat_template\": \"J{{ messages[0].content }}\"}");
    expect_prompt(NULL, "JHi");
    put("tokenizer_config.json", "{\"chat_template\": \"C{{ messages[0].content }}\"}");
    expect_prompt(NULL, "CHi");
    path_of("additional_chat_templates", path);
    assert_int_equal(mkdir(path, 0700), 0);
    put("additional_chat_templates/tool_use.jinja", "T{{ tools[0].function.name }}{{ messages[0].content }}");
    put("additional_chat_templates/notes.txt", "{% no template %}");
    expect_prompt(NULL, "CHi");
    expect_prompt(tools, "TfHi");
    put("chat_template.jinja", "F{{ messages[0].content }}");
    expect_prompt(NULL, "FHi");
    expect_prompt(tools, "TfHi");
    clear_dir();
}

/* `given` may be NULL. */
static struct lamina_text *open_with(const char *given) {
    struct lamina_text *t = NULL;
    struct lamina_error err = {0};
    struct lamina_text_options o;
    lamina_text_defaults(&o);
    o.chat_template = given;
    if (lamina_text_open_with(&t, dir, &o, &err) != LAMINA_OK) {
        fail_msg("%s", err.message);
    }
    return t;
}

static void expect_given_stops(const char *given, const uint32_t *ids, uint32_t count, const char *texts) {
    struct lamina_text *t = open_with(given);
    struct str found = {0};
    assert_int_equal(t->stop_id_count, count);
    assert_true(count == 0 || memcmp(t->stop_ids, ids, count * sizeof(*ids)) == 0);
    for (uint32_t i = 0; i < t->stop_count; i++) {
        str_printf(&found, "%s|", t->stops[i]);
    }
    assert_string_equal(str_text(&found), texts);
    str_drop(&found);
    lamina_text_close(&t);
}

static void expect_stops(const uint32_t *ids, uint32_t count, const char *texts) {
    expect_given_stops(NULL, ids, count, texts);
}

static void expect_given(const char *given, const char *tools, const char *want) {
    struct lamina_text *t = open_with(given);
    struct lamina_error err = {0};
    char *prompt = NULL;
    size_t len = 0;
    if (lamina_template(t, one, tools, NULL, true, &prompt, &len, &err) != LAMINA_OK || strcmp(prompt, want) != 0) {
        fail_msg("expected: %s\n  found: %s %s", want, prompt != NULL ? prompt : "", err.message);
    }
    lamina_free(prompt);
    lamina_text_close(&t);
}

static void expect_no_given(const char *given, lamina_status code, const char *words) {
    struct lamina_text *t = NULL;
    struct lamina_error err = {0};
    struct lamina_text_options o;
    lamina_text_defaults(&o);
    o.chat_template = given;
    assert_int_equal(lamina_text_open_with(&t, dir, &o, &err), code);
    assert_null(t);
    bool blamed = strncmp(err.message, dir, strlen(dir)) == 0 && err.message[strlen(dir)] == ':';
    if (strstr(err.message, words) == NULL || blamed) {
        fail_msg("\"%s\" does not say \"%s\", or blames the model", err.message, words);
    }
}

/* One of the user's stands in place of all that the checkpoint has, and what ends an answer follows it. */
static void test_given(void **state) {
    (void)state;
    static const char tools[] = "[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]";
    char path[256];
    put_tokenizer();
    put("config.json", "{\"architectures\": [\"InternLMForCausalLM\"]}");
    put("tokenizer_config.json", "{\"eos_token\": \"<|endoftext|>\", \"chat_template\": ["
                                 "{\"name\": \"default\", \"template\": \"C{{ messages[0].content }}\"}, "
                                 "{\"name\": \"tool_use\", \"template\": \"T{{ messages[0].content }}\"}]}");
    path_of("mine.jinja", path);
    put("mine.jinja", "M{{ messages[0].content }}{{ eos_token }}");
    expect_given(NULL, tools, "THi");
    expect_given(path, NULL, "MHi<|endoftext|>");
    expect_given(path, tools, "MHi<|endoftext|>");
    expect_given("chatml", tools, "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
                                  "<|im_start|>assistant\n");
    expect_given_stops(path, (const uint32_t[]){8}, 1, "<eoa>|");
    expect_given_stops("chatml", (const uint32_t[]){10, 9, 8}, 3, "");
    put("mine.jinja", "{{ messages[0].content }}<|im_end|>");
    expect_given_stops(path, (const uint32_t[]){8, 10}, 2, "<eoa>|");
    put("mine.jinja", "a\n  {% for %}");
    expect_no_given(path, LAMINA_DAMAGED, "mine.jinja: chat template: line 2, column ");
    put("mine.jinja", "");
    expect_no_given(path, LAMINA_DAMAGED, "mine.jinja: the file is empty");
    expect_no_given("chatm", LAMINA_NOT_FOUND, "chatml, baichuan");
    expect_no_given("./chatml", LAMINA_NOT_FOUND, "no such file");
    expect_no_given("llama2", LAMINA_UNSUPPORTED, "no token </s>");
    expect_no_given("baichuan2", LAMINA_UNSUPPORTED, "user_token_id");
    put("generation_config.json", "{\"user_token_id\": 9, \"assistant_token_id\": 10}");
    expect_given("baichuan2", NULL, "<|im_start|>Hi<|im_end|>");
    struct lamina_text *t = NULL;
    struct lamina_error err = {0};
    assert_int_equal(lamina_text_open_with(&t, dir, &(struct lamina_text_options){.size = 1}, &err), LAMINA_USAGE);
    assert_int_equal(unlink(path), 0);
    clear_dir();
}

static void test_stops(void **state) {
    (void)state;
    put_tokenizer();
    expect_stops(NULL, 0, "");
    put("config.json", "{\"architectures\": [\"QWenLMHeadModel\"]}");
    expect_stops((const uint32_t[]){10, 9}, 2, "");
    put("config.json", "{\"architectures\": [\"InternLMForCausalLM\"]}");
    expect_stops(NULL, 0, "<eoa>|");
    put("config.json", "{}");
    put("chat_template.jinja", "{{ messages[0].content + '<|im_end|>' }}");
    expect_stops((const uint32_t[]){10}, 1, "");
    put("tokenizer_config.json", "{\"eos_token\": \"<|endoftext|>\"}");
    expect_stops((const uint32_t[]){8, 10}, 2, "");
    put("chat_template.jinja", "{{ messages[0].content }}");
    expect_stops((const uint32_t[]){8}, 1, "");
    put("generation_config.json", "{\"stop_strings\": [\"User:\", \"\", \"<|im_start|>\", \"a\"]}");
    expect_stops((const uint32_t[]){9, 8}, 2, "User:|a|");
    struct str many = {0};
    for (int i = 0; i < 17; i++) {
        str_printf(&many, "%s\"stop %d\"", i == 0 ? "{\"stop_strings\": [" : ", ", i);
    }
    str_add_text(&many, "]}");
    put("generation_config.json", str_text(&many));
    struct lamina_text *t = NULL;
    struct lamina_error err = {0};
    assert_int_equal(lamina_text_open(&t, dir, &err), LAMINA_UNSUPPORTED);
    assert_non_null(strstr(err.message, "more than 16 stop strings"));
    assert_null(t);
    str_drop(&many);
    put("generation_config.json", "{\"stop_strings\": \"END\", \"user_token_id\": null}");
    expect_stops((const uint32_t[]){8}, 1, "END|");
    clear_dir();
}

/* ---- stores ------------------------------------------------------------------------------------------------------ */

static void note(void *user, int level, const char *text) {
    (void)level;
    print_message("%s\n", text);
    ++*(int *)user;
}

static void make_checkpoint(struct made_model *m, const char *to) {
    *m = (struct made_model){.hidden = 32, .layers = 2, .heads = 2, .kv_heads = 1, .head_dim = 16, .ffn = 48, .vocab = 11,
                             .dtype = 2, .shards = 1, .seed = 5};
    maker_make(m, to);
    (void)snprintf(dir, sizeof(dir), "%s", to);
    put_tokenizer();
}

/* Named templates go into a store, are verified, found there, belong to it, and are the store's own when split again. */
static void test_store(void **state) {
    (void)state;
    static const char tools[] = "[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]";
    char root[64];
    char source[128];
    char out[128];
    char path[256];
    struct made_model m;
    struct lamina_error err = {0};
    struct lamina_verify_result r = {.size = sizeof(r)};
    int notes = 0;
    struct lamina_callbacks callbacks = {.log = note, .user = &notes};
    maker_temp(root, sizeof(root));
    (void)snprintf(source, sizeof(source), "%s/in", root);
    (void)snprintf(out, sizeof(out), "%s/out", root);
    make_checkpoint(&m, source);
    path_of("additional_chat_templates", path);
    assert_int_equal(mkdir(path, 0700), 0);
    put("additional_chat_templates/tool_use.jinja", "T{{ tools[0].function.name }}{{ messages[0].content }}");
    put("chat_template.json", "{\"chat_template\": \"J{{ messages[0].content }}\"}");
    struct store_split_options o = {.checkpoint = source, .output = out, .codec = "raw"};
    for (int again = 0; again < 2; again++) {
        if (store_split(&o, &err) < 0 || store_verify(out, source, &callbacks, &r, &err) < 0) {
            fail_msg("%s", err.message);
        }
    }
    assert_int_equal(r.damaged, 0);
    assert_int_equal(notes, 0);
    (void)snprintf(dir, sizeof(dir), "%s", out);
    expect_prompt(NULL, "JHi");
    expect_prompt(tools, "TfHi");
    (void)snprintf(dir, sizeof(dir), "%s", out);
    put("tokenizer/additional_chat_templates/tool_use.jinja", "T{{ tools[0].function.name }}{{ messages[0].contenT }}");
    assert_int_equal(store_verify(out, NULL, &callbacks, &r, &err), LAMINA_DAMAGED);
    assert_non_null(strstr(r.first_damage, "additional_chat_templates/tool_use.jinja"));
    put("tokenizer/additional_chat_templates/stranger.jinja", "x");
    (void)store_verify(out, NULL, &callbacks, &r, &err);
    assert_int_equal(notes, 1);
    maker_drop(&m);
    maker_remove(root);
}

/* ---- generating -------------------------------------------------------------------------------------------------- */

struct heard {
    struct str text;
    uint32_t first;
    uint32_t count;
};

static bool hear(void *user, const char *text, size_t len, uint32_t id) {
    struct heard *h = user;
    str_add(&h->text, text, len);
    h->first = h->count++ == 0 ? id : h->first;
    return false;
}

/* Splits the checkpoint of `dir` anew and continues `prompt` by at most 4 tokens. */
static struct lamina_generate generate(const char *home, uint32_t prompt, const char *const *stop, struct heard *h) {
    struct lamina_settings s;
    struct lamina_generate g;
    struct lamina_model *model = NULL;
    struct lamina_session *session = NULL;
    struct lamina_error err = {0};
    lamina_settings_defaults(&s);
    s.home = home;
    s.context_tokens = 16;
    s.memory_bytes = UINT64_MAX;
    s.threads = 1;
    lamina_generate_defaults(&g);
    g.max_tokens = 4;
    g.on_text = hear;
    g.user = h;
    g.stop = stop;
    g.stop_count = stop != NULL ? 1 : 0;
    if (lamina_model_open(&model, dir, &s, &err) < 0 || lamina_session_open(&session, model, &err) < 0 ||
        lamina_session_generate(session, &prompt, 1, &g, &err) < 0) {
        fail_msg("%s", err.message);
    }
    assert_ptr_equal(g.stop, stop);
    assert_int_equal(g.stop_count, stop != NULL ? 1 : 0);
    lamina_session_close(&session);
    lamina_model_close(&model);
    return g;
}

/* What the files name ends an answer, as a text and as a token, beside what the caller asks for. */
static void test_generation_stops(void **state) {
    (void)state;
    static const char *const letters[] = {"a", "b", "c", "d", "e", "H", "i", "T"};
    static const char *const never[] = {"zzz"};
    char root[64];
    char source[128];
    char json[128];
    struct made_model m;
    struct heard h = {.first = UINT32_MAX};
    uint32_t prompt = 0;
    maker_temp(root, sizeof(root));
    (void)snprintf(source, sizeof(source), "%s/in", root);
    make_checkpoint(&m, source);
    while (prompt < 8) {
        struct lamina_generate g = generate(root, prompt, NULL, &h);
        assert_int_equal(g.reason, LAMINA_STOP_LENGTH);
        assert_int_equal(g.new_tokens, 4);
        if (h.first < 8) {
            break;
        }
        str_drop(&h.text);
        h = (struct heard){0};
        prompt++;
    }
    assert_true(prompt < 8);
    uint32_t first = h.first;
    assert_true(h.text.len > 0);
    str_drop(&h.text);
    for (int with_own = 0; with_own < 2; with_own++) {
        h = (struct heard){0};
        (void)snprintf(json, sizeof(json), "{\"stop_strings\": [\"%s\"]}", letters[first]);
        put("generation_config.json", json);
        struct lamina_generate g = generate(root, prompt, with_own != 0 ? never : NULL, &h);
        assert_int_equal(g.reason, LAMINA_STOP_STRING);
        assert_int_equal(g.new_tokens, 1);
        assert_int_equal(h.text.len, 0);
        str_drop(&h.text);
    }
    h = (struct heard){0};
    put("generation_config.json", "{}");
    put("chat_template.jinja", "{{ messages[0].content }}");
    (void)snprintf(json, sizeof(json), "{\"eos_token\": \"%s\"}", letters[first]);
    put("tokenizer_config.json", json);
    struct lamina_generate g = generate(root, prompt, NULL, &h);
    assert_int_equal(g.reason, LAMINA_STOP_EOS);
    str_drop(&h.text);
    maker_drop(&m);
    maker_remove(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chatml),
        cmocka_unit_test(test_baichuan),
        cmocka_unit_test(test_chatglm),
        cmocka_unit_test(test_chatglm3_tools),
        cmocka_unit_test(test_internlm),
        cmocka_unit_test(test_llama2),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_ids_chatml),
        cmocka_unit_test(test_ids_baichuan),
        cmocka_unit_test(test_ids_chatglm2),
        cmocka_unit_test(test_ids_chatglm3),
        cmocka_unit_test(test_ids_internlm),
        cmocka_unit_test(test_ids_llama2),
        cmocka_unit_test(test_text_chatglm),
        cmocka_unit_test(test_ends_chatglm),
        cmocka_unit_test_setup_teardown(test_places, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_stops, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_given, make_dir, remove_dir),
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_generation_stops),
    };
    return cmocka_run_group_tests_name("chat_builtin", tests, NULL, NULL);
}
