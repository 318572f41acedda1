/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client asks for, whichever API it speaks: the body of a request, read once into one struct. Knows no socket, no engine and
 * no tokenizer, so it is fuzzed. Limits are those of docs/SERVE.md; what is outside of them is refused with the field's name.
 */
#ifndef SERVER_REQUEST_H
#define SERVER_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "lamina/lamina.h"

enum request_api { REQUEST_CHAT, REQUEST_COMPLETION, REQUEST_OLLAMA_CHAT, REQUEST_OLLAMA_GENERATE, REQUEST_ANTHROPIC,
                   REQUEST_COUNT /* Anthropic's, to be counted only */, REQUEST_APIS };

enum {
    REQUEST_MAX_STOPS = 16,
    REQUEST_MAX_STOP_BYTES = 256,
    REQUEST_MAX_CHOICES = 16,
    REQUEST_MAX_PROMPTS = 256,
    REQUEST_MAX_BIAS = 1024,
    REQUEST_MAX_TOP = 20,
};

struct request_prompt {
    struct str text;  /* when ids is NULL */
    uint32_t *ids;    /* malloc'ed */
    uint32_t count;
};

struct request {
    enum request_api api;
    struct str model;      /* as asked for, may be empty */
    struct str messages;   /* a JSON list for the chat template; empty: prompts are plain */
    struct str tools;      /* a JSON list, or empty */
    struct str kwargs;     /* a JSON object, or empty */
    struct str system;     /* Anthropic's and Ollama's system text */
    struct request_prompt *prompts; /* heap */
    uint32_t prompt_count;
    uint32_t n, max_tokens, top_logprobs;
    struct str stop[REQUEST_MAX_STOPS];
    uint32_t stop_count;
    struct lamina_bias *bias; /* heap */
    uint32_t bias_count;
    double temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
    uint32_t top_k;
    uint64_t seed;
    bool temperature_given, top_p_given, min_p_given, repetition_penalty_given, top_k_given, seed_given, max_tokens_given;
    bool stream, include_usage, continuous_usage, echo, logprobs, ignore_eos, no_generation_prompt, raw, no_tools;
    bool counting;         /* REQUEST_COUNT: no answer follows */
    bool load;             /* Ollama's: nothing is asked, the model is to be there */
};

/* Why a request is refused; `http` is the status code. */
struct refusal {
    int http;
    const char *type;   /* static */
    const char *code;   /* static, may be NULL */
    char param[64];     /* may be empty */
    char message[640];
};
/* Always false. */
bool refuse(struct refusal *why, int http, const char *type, const char *code, const char *fmt, ...) PRINTF_LIKE(5, 6);

/* Reads a body. False fills *why. Drop after both. */
bool request_parse(struct request *q, enum request_api api, struct span body, struct refusal *why);
void request_drop(struct request *q);

/* The members of a body that only helpers need: /tokenize and its like. */
struct request_text {
    struct str text, model;       /* "prompt", "content" or "input" */
    struct str messages, tools, kwargs;
    uint32_t *ids;                /* "tokens", malloc'ed */
    uint32_t count;
    bool has_text, has_ids, add_special, no_generation_prompt;
    bool special_given;
};
bool request_text_parse(struct request_text *t, struct span body, struct refusal *why);
void request_text_drop(struct request_text *t);

#endif
