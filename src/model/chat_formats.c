/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of chat formats for families whose programs, not files, say how to write a conversation, and the reader of the
 * keys that tell which one a checkpoint needs. A format without a place for a system message raises, so that whoever
 * prepares messages folds it into the user's first. A base model has no format: its name or its files say so.
 *
 * A blank in front of a text stands for the dummy prefix that SentencePiece gives a text encoded alone, as the families'
 * own programs do.
 */
#include "model/chat_formats.h"

#include <stddef.h>
#include <string.h>

#include "base/json.h"

#define NO_SYSTEM                                                                                                         \
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('this format has no system message') }}{% endif %}"
#define NO_OTHER "{% else %}{{ raise_exception('this format has no role ' + message['role']) }}{% endif %}"
/* A turn of the user ends in the answer's heading, so the prompt of an answer to come is written with the question. */
#define ROUNDS(first, open, question, answer)                                                                             \
    NO_SYSTEM "{% set ns = namespace(round=" first ") %}{% for message in messages %}"                                    \
              "{% if message['role'] == 'user' %}{{ '[Round ' + ns.round|string + ']" open question "' + message['content'] " \
              "+ '" answer "' }}{% set ns.round = ns.round + 1 %}"                                                         \
              "{% elif message['role'] == 'assistant' %}{{ message['content'] + '" open "' }}" NO_OTHER "{% endfor %}"

static const struct model_chat_format formats[] = {
    {.name = "chatml",
     .architectures = {"QWenLMHeadModel"},
     .model_type = "qwen",
     .token = "<|im_start|>",
     .stops = {"<|im_end|>", "<|im_start|>"},
     .jinja = "{% if messages[0]['role'] != 'system' %}"
              "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
              "{% for message in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}"
              "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}{% endfor %}"
              "{% if add_generation_prompt %}{{ '\n<|im_start|>assistant\n' }}{% endif %}"},
    {.name = "baichuan",
     .architectures = {"BaichuanForCausalLM", "BaiChuanForCausalLM"},
     .model_type = "baichuan",
     .vocab = 64000,
     .role_ids = true,
     .jinja = NO_SYSTEM "{% for message in messages %}{% if message['role'] == 'user' %}"
                        "{{ user_token + message['content'] }}{% elif message['role'] == 'assistant' %}"
                        "{{ assistant_token + message['content'] + '</s>' }}" NO_OTHER "{% endfor %}"
                        "{% if add_generation_prompt %}{{ assistant_token }}{% endif %}"},
    {.name = "baichuan2",
     .architectures = {"BaichuanForCausalLM"},
     .model_type = "baichuan",
     .role_ids = true,
     .jinja = "{% for message in messages %}{% if message['role'] == 'system' and loop.first %}{{ message['content'] }}"
              "{% elif message['role'] == 'user' %}{{ user_token + message['content'] }}"
              "{% elif message['role'] == 'assistant' %}{{ assistant_token + message['content'] }}" NO_OTHER "{% endfor %}"
              "{% if add_generation_prompt %}{{ assistant_token }}{% endif %}"},
    {.name = "chatglm",
     .architectures = {"ChatGLMModel", "ChatGLMForConditionalGeneration"},
     .model_type = "chatglm",
     .inner_hidden = true,
     .stops = {"<eop>"},
     .jinja = "{% if messages|length == 1 and messages[0]['role'] == 'user' %}{{ messages[0]['content'] }}{% else %}"
              ROUNDS("0", "\n", "问：", "\n答：") "{% endif %}"},
    {.name = "chatglm3",
     .architectures = {"ChatGLMModel", "ChatGLMForConditionalGeneration"},
     .model_type = "chatglm",
     .token = "<|user|>",
     .name_lacks = "base",
     .stops = {"<|user|>", "<|observation|>"},
     .jinja = "{% set ns = namespace(tools=none) %}"
              "{% if tools %}{% set ns.tools = [] %}{% for tool in tools %}"
              "{% set _ = ns.tools.append(tool.function if tool.function is defined else tool) %}{% endfor %}"
              "{% if messages[0]['role'] != 'system' %}{{ '<|system|>\n Answer the following questions as best as you can. "
              "You have access to the following tools:\n' + ns.tools|tojson(indent=4) }}{% endif %}{% endif %}"
              "{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\n ' + message['content'] }}"
              "{% if loop.first and ns.tools %}{{ '\n' + ns.tools|tojson(indent=4) }}{% endif %}"
              "{% elif message['role'] == 'user' %}{{ '<|user|>\n ' + message['content'] }}"
              "{% elif message['role'] in ['tool', 'observation'] %}{{ '<|observation|>\n ' + message['content'] }}"
              "{% elif message['role'] == 'assistant' %}"
              "{% if message['content'] or not message.tool_calls %}{{ '<|assistant|>\n ' + message['content'] }}{% endif %}"
              "{% for call in message.tool_calls or [] %}"
              "{{ '<|assistant|>' + call.function.name + '\n ```python\ntool_call(' }}"
              "{% for name, value in call.function.arguments.items() %}"
              "{{ (', ' if not loop.first else '') + name + '=' + ([value]|string)[1:-1] }}{% endfor %}"
              "{{ ')\n```' }}{% endfor %}" NO_OTHER "{% endfor %}"
              "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"},
    {.name = "chatglm2",
     .architectures = {"ChatGLMModel", "ChatGLMForConditionalGeneration"},
     .model_type = "chatglm",
     .name_lacks = "base",
     .jinja = ROUNDS("1", "\n\n", "问：", "\n\n答：")},
    {.name = "internlm",
     .architectures = {"InternLMForCausalLM"},
     .model_type = "internlm",
     .name_lacks = "base",
     .stops = {"<eoa>"},
     .jinja = NO_SYSTEM "{% for message in messages %}{% if message['role'] == 'user' %}"
                        "{{ '<|User|>:' + message['content'] + '<eoh>\n' }}{% elif message['role'] == 'assistant' %}"
                        "{{ '<|Bot|>:' + message['content'] + '<eoa>\n' }}" NO_OTHER "{% endfor %}"
                        "{% if add_generation_prompt %}{{ '<|Bot|>:' }}{% endif %}"},
    {.name = "llama2",
     .architectures = {"LlamaForCausalLM"},
     .model_type = "llama",
     .vocab = 32000,
     .name_has = {"llama-2", "chat"},
     .token = "</s>",
     .jinja = "{% set ns = namespace(system='', rounds=0) %}{% for message in messages %}"
              "{% if message['role'] == 'system' and loop.first %}"
              "{% set ns.system = '<<SYS>>\n' + message['content'] + '\n<</SYS>>\n\n' %}"
              "{% elif message['role'] == 'user' %}{{ ('<s>' if ns.rounds else '') + '[INST] ' + "
              "(ns.system + message['content']).strip() + ' [/INST]' }}"
              "{% set ns.system = '' %}{% set ns.rounds = ns.rounds + 1 %}"
              "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'].strip() + ' </s>' }}" NO_OTHER
              "{% endfor %}"},
};

static const char *const turn_ends[] = {"<|im_end|>", "<|eot_id|>", "<|eot|>", "<end_of_turn>"};

const char *model_turn_end(unsigned index) {
    return index < ARRAY_LEN(turn_ends) ? turn_ends[index] : NULL;
}

const struct model_chat_format *model_chat_format_of_name(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        if (strcmp(formats[i].name, name) == 0) {
            return &formats[i];
        }
    }
    return NULL;
}

const struct model_chat_format *model_chat_format_at(unsigned index) {
    return index < ARRAY_LEN(formats) ? &formats[index] : NULL;
}

/* ---- choosing ---- */

static bool has_word(const struct str *names, const char *word) {
    return names->len > 0 && memmem(names->ptr, names->len, word, strlen(word)) != NULL;
}

static bool fits(const struct model_chat_format *f, const struct model_chat *c) {
    bool architecture = c->architecture.len == 0 && span_is(str_span(&c->model_type), f->model_type);
    for (size_t i = 0; i < ARRAY_LEN(f->architectures) && f->architectures[i] != NULL; i++) {
        architecture = architecture || span_is(str_span(&c->architecture), f->architectures[i]);
    }
    return architecture && !span_is(str_span(&c->chat_format), "raw") && (f->vocab == 0 || f->vocab == c->vocab) &&
           (!f->role_ids || (c->user_id >= 0 && c->assistant_id >= 0)) && f->inner_hidden == c->inner_hidden &&
           (f->name_has[0] == NULL || (has_word(&c->names, f->name_has[0]) && has_word(&c->names, f->name_has[1]))) &&
           (f->name_lacks == NULL || !has_word(&c->names, f->name_lacks));
}

const struct model_chat_format *model_chat_next(const struct model_chat *c, unsigned *row) {
    while (*row < ARRAY_LEN(formats)) {
        const struct model_chat_format *f = &formats[(*row)++];
        if (fits(f, c)) {
            return f;
        }
    }
    return NULL;
}

/* ---- reading ---- */

static void text_value(struct json_reader *r, struct str *out) {
    if (json_peek(r) == JSON_STRING) {
        str_clear(out);
        (void)json_string(r, out);
    } else {
        (void)json_skip(r);
    }
}

/* Names are kept one after the other, so that a word in either is found. */
static void name_value(struct json_reader *r, struct str *names) {
    struct str one = {0};
    text_value(r, &one);
    for (size_t i = 0; i < one.len; i++) {
        uint8_t byte = (uint8_t)one.ptr[i];
        str_add_byte(names, byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte - 'A' + 'a') : byte);
    }
    str_add_byte(names, ' ');
    str_drop(&one);
}

static void first_value(struct json_reader *r, struct str *out) {
    if (json_peek(r) != JSON_ARRAY || !json_enter_array(r)) {
        (void)json_skip(r);
        return;
    }
    for (bool first = true; json_next_item(r); first = false) {
        if (first) {
            text_value(r, out);
        } else {
            (void)json_skip(r);
        }
    }
}

static void id_value(struct json_reader *r, int64_t *id) {
    uint64_t v = 0;
    if (json_peek(r) != JSON_NUMBER) {
        (void)json_skip(r);
    } else if (json_u64(r, &v)) {
        *id = v <= UINT32_MAX ? (int64_t)v : -1;
    }
}

/* An empty text would end every answer at once and says nothing. */
static void stop_value(struct json_reader *r, struct str *stops) {
    struct str one = {0};
    text_value(r, &one);
    if (one.len > 0 && memchr(one.ptr, 0, one.len) == NULL) {
        str_add_span(stops, str_span(&one));
        str_add_byte(stops, 0);
    }
    str_drop(&one);
}

static void stop_values(struct json_reader *r, struct str *stops) {
    if (json_peek(r) != JSON_ARRAY) {
        stop_value(r, stops);
    } else if (json_enter_array(r)) {
        while (json_next_item(r)) {
            stop_value(r, stops);
        }
    }
}

static void config_key(struct json_reader *r, struct span key, struct model_chat *c) {
    int64_t vocab = 0;
    if (span_is(key, "architectures")) {
        first_value(r, &c->architecture);
    } else if (span_is(key, "model_type")) {
        text_value(r, &c->model_type);
    } else if (span_is(key, "_name_or_path")) {
        name_value(r, &c->names);
    } else if (span_is(key, "vocab_size")) {
        id_value(r, &vocab);
        c->vocab = vocab > 0 ? (uint64_t)vocab : 0;
    } else {
        c->inner_hidden = c->inner_hidden || span_is(key, "inner_hidden_size");
        (void)json_skip(r);
    }
}

static void tokenizer_key(struct json_reader *r, struct span key, struct model_chat *c) {
    if (span_is(key, "name_or_path")) {
        name_value(r, &c->names);
    } else {
        (void)json_skip(r);
    }
}

static void generation_key(struct json_reader *r, struct span key, struct model_chat *c) {
    if (span_is(key, "user_token_id")) {
        id_value(r, &c->user_id);
    } else if (span_is(key, "assistant_token_id")) {
        id_value(r, &c->assistant_id);
    } else if (span_is(key, "chat_format")) {
        text_value(r, &c->chat_format);
    } else if (span_is(key, "stop_strings")) {
        stop_values(r, &c->stop_strings);
    } else {
        (void)json_skip(r);
    }
}

static lamina_status walk(struct model_chat *c, struct span json, const char *name,
                          void (*each)(struct json_reader *r, struct span key, struct model_chat *c),
                          struct lamina_error *err) {
    struct str scratch = {0};
    struct json_reader r;
    struct span key;
    if (json.len == 0) {
        return LAMINA_OK;
    }
    json_init(&r, json, name, &scratch, err);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        each(&r, key, c);
    }
    lamina_status status = json_finish(&r);
    str_drop(&scratch);
    return status;
}

lamina_status model_chat_read(struct model_chat *c, struct span config, struct span tokenizer_config, struct span generation,
                              struct lamina_error *err) {
    *c = (struct model_chat){.user_id = -1, .assistant_id = -1};
    LAMINA_TRY(walk(c, config, "config.json", config_key, err));
    LAMINA_TRY(walk(c, tokenizer_config, "tokenizer_config.json", tokenizer_key, err));
    LAMINA_TRY(walk(c, generation, "generation_config.json", generation_key, err));
    bool failed = c->architecture.failed || c->model_type.failed || c->names.failed || c->stop_strings.failed;
    return failed ? base_fail(err, LAMINA_NO_FIT, "no memory for what the files say about chatting") : LAMINA_OK;
}

void model_chat_drop(struct model_chat *c) {
    str_drop(&c->architecture);
    str_drop(&c->model_type);
    str_drop(&c->names);
    str_drop(&c->chat_format);
    str_drop(&c->stop_strings);
}
