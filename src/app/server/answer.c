/* SPDX-License-Identifier: Apache-2.0 */
#include "app/server/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/status.h"

void answer_random_id(char *out, size_t size, const char *prefix) {
    uint8_t bytes[12] = {0};
    char hex[25];
    if (getrandom(bytes, sizeof(bytes), 0) < 0) {
        store_le64(bytes, engine_now_ns());
    }
    bytes_to_hex(bytes, sizeof(bytes), hex);
    (void)snprintf(out, size, "%s%s", prefix, hex);
}

void json_member_text(struct str *out, const char *name, struct span value) {
    str_printf(out, ",\"%s\":", name);
    json_write_string(out, value);
}

void json_member_u64(struct str *out, const char *name, uint64_t value) {
    str_printf(out, ",\"%s\":%llu", name, (unsigned long long)value);
}

const struct answer_form *answer_form_of(enum request_api api) {
    static const struct answer_form *const forms[REQUEST_APIS] = {
        [REQUEST_CHAT] = &form_chat, [REQUEST_COMPLETION] = &form_completion, [REQUEST_OLLAMA_CHAT] = &form_ollama,
        [REQUEST_OLLAMA_GENERATE] = &form_ollama, [REQUEST_ANTHROPIC] = &form_anthropic, [REQUEST_COUNT] = &form_anthropic,
    };
    return forms[api];
}

void refuse_status(struct refusal *why, lamina_status status, const char *message) {
    switch (status) {
    case LAMINA_USAGE:
        (void)refuse(why, 400, "invalid_request_error", NULL, "%s", message);
        break;
    case LAMINA_BUSY:
        (void)refuse(why, 429, "rate_limit_error", "queue_full", "%s", message);
        break;
    case LAMINA_INTERRUPTED:
        (void)refuse(why, 503, "server_error", "shutting_down", "%s", message);
        break;
    default:
        (void)refuse(why, 500, "server_error", NULL, "%s", message);
        break;
    }
}

/* ---- tokens as text ---- */

/* Some decoders drop a space at the front of a text, so a token is decoded behind another one. */
void answer_place_init(struct answer_place *p) {
    uint32_t *ids = NULL;
    size_t count = 0;
    char *bytes = NULL;
    size_t len = 0;
    struct lamina_error err = {0};
    p->anchor = UINT32_MAX;
    if (p->text != NULL && lamina_tokenize(p->text, "a", 1, false, &ids, &count, &err) == LAMINA_OK && count > 0 &&
        lamina_detokenize(p->text, &ids[count - 1], 1, false, &bytes, &len, &err) == LAMINA_OK) {
        p->anchor = ids[count - 1];
        p->anchor_len = (uint32_t)len;
    }
    lamina_free(ids);
    lamina_free(bytes);
}

void answer_token_text(const struct answer_place *p, uint32_t id, struct str *out) {
    const uint32_t pair[2] = {p->anchor, id};
    struct lamina_error err = {0};
    char *bytes = NULL;
    size_t len = 0;
    bool anchored = p->anchor != UINT32_MAX;
    if (p->text != NULL && lamina_detokenize(p->text, anchored ? pair : &id, anchored ? 2 : 1, false, &bytes, &len,
                                             &err) == LAMINA_OK) {
        size_t skip = anchored && len >= p->anchor_len ? p->anchor_len : 0;
        str_add(out, bytes + skip, len - skip);
    }
    lamina_free(bytes);
}

/* The library recognises special tokens only together with adding what the tokenizer adds. So that is taken off again where it is
 * not wanted: `add` is false, or the text begins with it, as evaluation tools write their BOS, which then counts once. */
lamina_status answer_text_ids(const struct answer_place *p, struct span text, bool add, uint32_t **ids, size_t *count,
                              struct lamina_error *err) {
    uint32_t front[8];
    uint32_t n = 0;
    uint32_t *nothing = NULL; /* of an empty text: what is added in front and behind */
    size_t both = 0;
    lamina_status status = lamina_text_front(p->text, front, sizeof(front) / sizeof(front[0]), &n, err);
    status = status == LAMINA_OK ? lamina_tokenize(p->text, "", 0, true, &nothing, &both, err) : status;
    status = status == LAMINA_OK ? lamina_tokenize(p->text, (const char *)text.ptr, text.len, true, ids, count, err) : status;
    lamina_free(nothing);
    if (status != LAMINA_OK) {
        return status;
    }
    bool twice = n > 0 && *count >= both + n && memcmp(*ids + n, front, n * sizeof(front[0])) == 0;
    if (n > 0 && (!add || twice)) {
        *count -= n;
        memmove(*ids, *ids + n, *count * sizeof(**ids));
    }
    *count -= add ? 0 : both - n;
    return LAMINA_OK;
}

/* ---- reading ---- */

bool answer_is_model(const struct answer_place *p, struct span name) {
    const char *slash = strrchr(p->name, '/');
    if (name.len == 0 || span_is(name, p->name) || (slash != NULL && span_is(name, slash + 1))) {
        return true;
    }
    return span_ends_with(name, ":latest") && answer_is_model(p, span_sub(name, 0, name.len - strlen(":latest")));
}

bool answer_read(struct answer *a, const struct answer_place *place, enum request_api api, struct span body, struct refusal *why) {
    *a = (struct answer){.place = place, .form = answer_form_of(api), .created = (int64_t)time(NULL),
                         .begin_ns = engine_now_ns()};
    a->in = (struct answer_input *)calloc(1, sizeof(*a->in));
    if (a->in == NULL) {
        return refuse(why, 500, "server_error", NULL, "out of memory for the request");
    }
    if (!request_parse(&a->in->request, api, body, why)) {
        return false;
    }
    answer_random_id(a->id, sizeof(a->id), api == REQUEST_CHAT ? "chatcmpl-" : api == REQUEST_COMPLETION ? "cmpl-" : "msg_");
    a->streaming = a->in->request.stream;
    if (!answer_is_model(place, str_span(&a->in->request.model))) {
        (void)snprintf(why->param, sizeof(why->param), "model");
        return refuse(why, 404, "invalid_request_error", "model_not_found",
                      "the model \"%.200s\" is not here; this server has \"%.200s\"",
                      str_text(&a->in->request.model), place->name);
    }
    return true;
}

/* The chat template's text as ids. */
static bool chat_ids(struct answer *a, struct engine_prompt *p, struct refusal *why) {
    const struct request *q = &a->in->request;
    struct lamina_error err = {0};
    char *prompt = NULL;
    size_t len = 0;
    size_t count = 0;
    uint32_t *ids = NULL;
    lamina_status status = lamina_template(a->place->text, str_text(&q->messages), q->tools.len > 0 ? str_text(&q->tools) : NULL,
                                           q->kwargs.len > 0 ? str_text(&q->kwargs) : NULL, !q->no_generation_prompt, &prompt, &len,
                                           &err);
    if (status == LAMINA_OK) {
        status = lamina_tokenize_prompt(a->place->text, prompt, len, &ids, &count, &err);
    }
    lamina_free(prompt);
    if (status < 0) {
        /* What the template refuses is in the messages. */
        refuse_status(why, status == LAMINA_NO_FIT || status == LAMINA_NOT_FOUND ? status : LAMINA_USAGE, err.message);
        return false;
    }
    *p = (struct engine_prompt){.ids = ids, .count = (uint32_t)count};
    return true;
}

static bool plain_ids(struct answer *a, struct request_prompt *given, struct engine_prompt *p, struct refusal *why) {
    struct lamina_error err = {0};
    uint32_t *ids = NULL;
    size_t count = 0;
    if (given->ids != NULL) {
        *p = (struct engine_prompt){.ids = given->ids, .count = given->count};
        given->ids = NULL;
        return true;
    }
    if (a->place->text == NULL) {
        return refuse(why, 400, "invalid_request_error", NULL, "this model came without a tokenizer: give the prompt as token ids");
    }
    lamina_status status = answer_text_ids(a->place, str_span(&given->text), true, &ids, &count, &err);
    if (status < 0) {
        refuse_status(why, status, err.message);
        return false;
    }
    *p = (struct engine_prompt){.ids = ids, .count = (uint32_t)count};
    return true;
}

static bool check_ids(const struct answer *a, const struct engine_prompt *p, struct refusal *why) {
    const struct answer_place *at = a->place;
    uint32_t most = at->most_positions < at->context_tokens ? at->most_positions : at->context_tokens;
    uint32_t room = a->in->request.max_tokens_given && a->in->request.max_tokens == 0 ? 0 : 1;
    if (p->count == 0) {
        return refuse(why, 400, "invalid_request_error", NULL, "the prompt is empty: there is nothing to continue");
    }
    if (p->count + room > most && !a->in->request.counting) {
        return refuse(why, 400, "invalid_request_error", "context_length_exceeded",
                      "the prompt has %u tokens, the context %u; shorten it, or start the server with a larger --ctx-size",
                          p->count, most);
    }
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->ids[i] >= at->vocab) {
            return refuse(why, 400, "invalid_request_error", NULL, "token id %u is outside the vocabulary of %u", p->ids[i],
                          at->vocab);
        }
    }
    return true;
}

/* What was made into tokens; the text of a prompt stays where the answer repeats it. */
static void drop_sources(struct request *q) {
    str_drop(&q->messages);
    str_drop(&q->tools);
    str_drop(&q->kwargs);
    str_drop(&q->system);
    for (uint32_t i = 0; !q->echo && i < q->prompt_count; i++) {
        str_drop(&q->prompts[i].text);
    }
}

bool answer_tokens(struct answer *a, struct refusal *why) {
    struct request *q = &a->in->request;
    bool templated = q->messages.len > 0;
    bool can = a->place->text != NULL && lamina_text_has_template(a->place->text);
    if (templated && !can && q->api != REQUEST_OLLAMA_GENERATE) {
        return refuse(why, 400, "invalid_request_error", NULL,
                      "this model has no chat template; use /v1/completions, or start the server with --chat-template");
    }
    templated = templated && can;
    a->in->prompt_count = templated ? 1 : q->prompt_count;
    a->in->prompts = (struct engine_prompt *)calloc(a->in->prompt_count + 1, sizeof(*a->in->prompts));
    a->choice_count = a->in->prompt_count * q->n;
    a->choices = (struct answer_choice *)calloc(a->choice_count + 1, sizeof(*a->choices));
    if (a->in->prompts == NULL || a->choices == NULL) {
        return refuse(why, 500, "server_error", NULL, "out of memory for the request");
    }
    for (uint32_t i = 0; i < a->in->prompt_count; i++) {
        if (!(templated ? chat_ids(a, &a->in->prompts[i], why) : plain_ids(a, &q->prompts[i], &a->in->prompts[i], why)) ||
            !check_ids(a, &a->in->prompts[i], why)) {
            if (why->param[0] == '\0') {
                (void)snprintf(why->param, sizeof(why->param), "%s", templated ? "messages" : "prompt");
            }
            return false;
        }
        a->prompt_tokens += a->in->prompts[i].count;
    }
    drop_sources(q);
    return true;
}

uint64_t answer_input_bytes(const struct answer *a) {
    uint64_t sum = a->prompt_tokens * sizeof(*a->in->prompts->ids);
    for (uint32_t i = 0; i < a->in->request.prompt_count; i++) {
        sum += a->in->request.prompts[i].text.len;
    }
    return sum;
}

/* ---- to the engine ---- */

static void set_sampling(struct answer *a, struct lamina_sampling *s) {
    const struct request *q = &a->in->request;
    *s = a->place->sampling;
    s->temperature = q->temperature_given ? (float)q->temperature : s->temperature;
    s->top_p = q->top_p_given ? (float)q->top_p : s->top_p;
    s->min_p = q->min_p_given ? (float)q->min_p : s->min_p;
    s->top_k = q->top_k_given ? q->top_k : s->top_k;
    s->repetition_penalty = q->repetition_penalty_given ? (float)q->repetition_penalty : s->repetition_penalty;
    s->presence_penalty = (float)q->presence_penalty;
    s->frequency_penalty = (float)q->frequency_penalty;
    s->bias = q->bias;
    s->bias_count = q->bias_count;
    if (q->seed_given) {
        s->seed = q->seed;
    } else if (getrandom(&s->seed, sizeof(s->seed), 0) < 0) {
        s->seed = engine_now_ns();
    }
}

static bool check_bias(const struct answer *a, struct refusal *why) {
    for (uint32_t i = 0; i < a->in->request.bias_count; i++) {
        if (a->in->request.bias[i].id >= a->place->vocab) {
            (void)snprintf(why->param, sizeof(why->param), "logit_bias");
            return refuse(why, 400, "invalid_request_error", NULL, "token id %u is outside the vocabulary of %u",
                          a->in->request.bias[i].id,
                          a->place->vocab);
        }
    }
    return true;
}

static void input_drop(void *user) {
    struct answer_input *in = (struct answer_input *)user;
    for (uint32_t i = 0; in->prompts != NULL && i < in->prompt_count; i++) {
        lamina_free(in->prompts[i].ids);
    }
    free(in->prompts);
    request_drop(&in->request);
    free(in);
}

bool answer_submit(struct answer *a, struct refusal *why) {
    const struct request *q = &a->in->request;
    struct lamina_error err = {0};
    uint32_t most = q->max_tokens_given ? q->max_tokens : q->api == REQUEST_COMPLETION ? 16 : UINT32_MAX;
    struct engine_ask ask = {.prompts = a->in->prompts, .prompt_count = a->in->prompt_count, .n = q->n, .max_tokens = most,
                             .stops = a->in->stops, .stop_count = q->stop_count, .top = q->logprobs ? q->top_logprobs : 0,
                             .logprobs = q->logprobs, .prompt_logprobs = q->echo && q->logprobs, .ignore_eos = q->ignore_eos,
                             .background = a->background,
                             .owned = a->in, .drop = input_drop};
    if (!check_bias(a, why)) {
        return false;
    }
    for (uint32_t i = 0; i < q->stop_count; i++) {
        a->in->stops[i] = str_text(&q->stop[i]);
    }
    set_sampling(a, &ask.sampling);
    lamina_status status = engine_submit(a->place->engine, &ask, &a->job, &err);
    if (status < 0) {
        refuse_status(why, status, err.message);
        return false;
    }
    if (a->streaming) {
        engine_limit_pending(a->job);
    }
    return true;
}

uint64_t answer_completion_tokens(const struct answer *a) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < a->choice_count; i++) {
        sum += a->choices[i].tokens;
    }
    return sum;
}

/* Keeps a piece for later: its text is joined, and the piece itself stays where log-probabilities are wanted. */
static void keep(struct answer *a, struct engine_piece *p) {
    struct answer_choice *c = &a->choices[p->choice];
    str_add(&c->text, p->text, p->text_len);
    if (p->has_logprob) {
        *(c->last != NULL ? &c->last->next : &c->first) = p;
        c->last = p;
    } else {
        free(p);
    }
}

bool answer_pump(struct answer *a, unsigned wait_ms, struct str *out) {
    struct engine_piece *p = a->ended ? NULL : engine_take(a->job, wait_ms, &a->ended);
    while (p != NULL) {
        struct engine_piece *next = p->next;
        struct answer_choice *c = &a->choices[p->choice];
        p->next = NULL;
        if (!p->prompt) {
            c->tokens += p->id != ENGINE_NO_TOKEN;
            a->first_ns = a->first_ns == 0 ? engine_now_ns() : a->first_ns;
        }
        if (p->finish != FINISH_NONE) {
            c->finish = p->finish;
            c->stop = p->stop;
        }
        if (a->streaming) {
            a->form->piece(a, p, out);
        } else {
            keep(a, p);
        }
        p = next;
    }
    return a->ended;
}

bool answer_failed(struct answer *a, struct refusal *why) {
    struct lamina_error err = {0};
    if (engine_job_error(a->job, &err) == 0) {
        return false;
    }
    refuse_status(why, err.code, err.message);
    return true;
}

void answer_close(struct answer *a) {
    for (uint32_t i = 0; a->choices != NULL && i < a->choice_count; i++) {
        str_drop(&a->choices[i].text);
        while (a->choices[i].first != NULL) {
            struct engine_piece *p = a->choices[i].first;
            a->choices[i].first = p->next;
            free(p);
        }
    }
    free(a->choices);
    if (a->job != NULL) {
        engine_release(&a->job); /* the engine may read the input a little longer, and drops it */
    } else if (a->in != NULL) {
        input_drop(a->in);
    }
    *a = (struct answer){0};
}
