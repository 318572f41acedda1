/* SPDX-License-Identifier: Apache-2.0
 *
 * Bodies of requests. Fields stand in one table, with the APIs that know them; unknown ones are skipped, since clients send every
 * field their documents name. A field given twice is refused: two readers could see two values.
 */
#include "app/server/request.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/server/request_priv.h"
#include "base/json.h"

bool refuse(struct refusal *why, int http, const char *type, const char *code, const char *fmt, ...) {
    if (why->http == 0) {
        va_list args;
        va_start(args, fmt);
        why->http = http;
        why->type = type;
        why->code = code;
        (void)vsnprintf(why->message, sizeof(why->message), fmt, args);
        va_end(args);
    }
    return false;
}

/* ---- values ---- */

bool request_add_string(struct json_reader *r, struct str *out) {
    struct str one = {.limit = 16 << 20};
    bool good = json_string(r, &one);
    if (good) {
        str_add_span(out, str_span(&one));
    }
    str_drop(&one);
    return good;
}

static bool read_raw(struct json_reader *r, struct str *out, enum json_type type, const char *what) {
    struct span raw;
    if (json_peek(r) != type) {
        return json_refuse(r, LAMINA_USAGE, "must be %s", what);
    }
    if (!json_skip_raw(r, &raw)) {
        return false;
    }
    str_clear(out);
    str_add_span(out, raw);
    return true;
}

static bool read_stop_one(struct json_reader *r, struct request *q) {
    struct str *s = &q->stop[q->stop_count];
    if (q->stop_count == REQUEST_MAX_STOPS) {
        return json_refuse(r, LAMINA_USAGE, "more than %d stop strings", REQUEST_MAX_STOPS);
    }
    q->stop_count++;
    if (!json_string(r, s)) {
        return false;
    }
    if (s->len == 0 || s->len > REQUEST_MAX_STOP_BYTES || memchr(s->ptr, 0, s->len) != NULL) {
        return json_refuse(r, LAMINA_USAGE, "a stop string has 1 to %d bytes, none of them 0", REQUEST_MAX_STOP_BYTES);
    }
    return true;
}

static bool read_stop(struct json_reader *r, struct request *q) {
    if (json_peek(r) == JSON_STRING) {
        return read_stop_one(r, q);
    }
    if (!json_enter_array(r)) {
        return false;
    }
    while (json_next_item(r)) {
        if (!read_stop_one(r, q)) {
            return false;
        }
    }
    return true;
}

static bool read_bias(struct json_reader *r, struct request *q) {
    struct span key;
    if (!json_enter_object(r)) {
        return false;
    }
    q->bias = (struct lamina_bias *)calloc(REQUEST_MAX_BIAS, sizeof(*q->bias));
    if (q->bias == NULL) {
        return json_refuse(r, LAMINA_NO_FIT, "out of memory");
    }
    while (json_next_key(r, &key)) {
        uint64_t id = 0;
        double value = 0;
        for (size_t i = 0; i < key.len; i++) {
            if (key.ptr[i] < '0' || key.ptr[i] > '9' || key.len > 9) {
                return json_refuse(r, LAMINA_USAGE, "keys must be token ids");
            }
            id = id * 10 + (uint64_t)(key.ptr[i] - '0');
        }
        if (key.len == 0 || !json_double(r, &value)) {
            return key.len == 0 ? json_refuse(r, LAMINA_USAGE, "keys must be token ids") : false;
        }
        if (q->bias_count == REQUEST_MAX_BIAS || !(value >= -100 && value <= 100)) {
            return json_refuse(r, LAMINA_USAGE, "at most %d ids, each with -100 to 100", REQUEST_MAX_BIAS);
        }
        q->bias[q->bias_count++] = (struct lamina_bias){.id = (uint32_t)id, .value = (float)value};
    }
    return true;
}

bool request_ids(struct json_reader *r, uint32_t **ids, uint32_t *count) {
    size_t cap = 0;
    while (json_next_item(r)) {
        uint64_t id = 0;
        if (!json_u64(r, &id)) {
            return false;
        }
        if (id >= UINT32_MAX || *count == UINT32_MAX / 8) {
            return json_refuse(r, LAMINA_USAGE, "%llu is no token id", (unsigned long long)id);
        }
        if (*count == cap) {
            cap = cap == 0 ? 64 : 2 * cap;
            uint32_t *more = (uint32_t *)realloc(*ids, cap * sizeof(**ids));
            if (more == NULL) {
                return json_refuse(r, LAMINA_NO_FIT, "out of memory");
            }
            *ids = more;
        }
        (*ids)[(*count)++] = (uint32_t)id;
    }
    return r->failed == 0;
}

static struct request_prompt *add_prompt(struct json_reader *r, struct request *q) {
    if (q->prompts == NULL) {
        q->prompts = (struct request_prompt *)calloc(REQUEST_MAX_PROMPTS, sizeof(*q->prompts));
    }
    if (q->prompts == NULL || q->prompt_count == REQUEST_MAX_PROMPTS) {
        (void)json_refuse(r, LAMINA_USAGE, "more than %d prompts in one request", REQUEST_MAX_PROMPTS);
        return NULL;
    }
    return &q->prompts[q->prompt_count++];
}

static bool read_prompt_text(struct json_reader *r, struct request *q) {
    struct request_prompt *p = add_prompt(r, q);
    return p != NULL && json_string(r, &p->text);
}

/* A string, a list of strings, a list of ids, or a list of lists of ids. */
static bool read_prompt(struct json_reader *r, struct request *q) {
    if (json_peek(r) == JSON_STRING) {
        return read_prompt_text(r, q);
    }
    struct json_reader whole = *r;
    if (!json_enter_array(r) || !json_next_item(r)) {
        return r->failed != 0 ? false : json_refuse(r, LAMINA_USAGE, "holds no prompt");
    }
    if (json_peek(r) == JSON_NUMBER) { /* one prompt of ids: again from the front */
        struct request_prompt *p = add_prompt(r, q);
        *r = whole;
        return p != NULL && json_enter_array(r) && request_ids(r, &p->ids, &p->count);
    }
    do {
        struct request_prompt *p = NULL;
        if (json_peek(r) == JSON_STRING) {
            p = add_prompt(r, q);
            if (p == NULL || !json_string(r, &p->text)) {
                return false;
            }
        } else if (json_peek(r) == JSON_ARRAY) {
            p = add_prompt(r, q);
            if (p == NULL || !json_enter_array(r) || !request_ids(r, &p->ids, &p->count)) {
                return false;
            }
            if (p->count == 0) {
                return json_refuse(r, LAMINA_USAGE, "a prompt without tokens");
            }
        } else {
            return json_refuse(r, LAMINA_USAGE, "must be a string, a list of strings, token ids, or lists of them");
        }
    } while (json_next_item(r));
    return r->failed == 0;
}

static bool read_stream_options(struct json_reader *r, struct request *q) {
    struct span key;
    if (!json_enter_object(r)) {
        return false;
    }
    while (json_next_key(r, &key)) {
        bool *at = span_is(key, "include_usage") ? &q->include_usage
                   : span_is(key, "continuous_usage_stats") ? &q->continuous_usage : NULL;
        if (!(at != NULL && json_peek(r) == JSON_BOOL ? json_bool(r, at) : json_skip(r))) {
            return false;
        }
    }
    return r->failed == 0;
}

static bool read_format(struct json_reader *r, struct request *q) {
    struct span key;
    struct str type = {0};
    (void)q;
    if (!json_enter_object(r)) {
        return false;
    }
    bool good = true;
    while (good && json_next_key(r, &key)) {
        good = span_is(key, "type") ? json_string(r, &type) : json_skip(r);
    }
    if (good && r->failed == 0 && strcmp(str_text(&type), "text") != 0) {
        good = json_refuse(r, LAMINA_USAGE, "only {\"type\": \"text\"}: answers are not constrained to a grammar here");
    }
    str_drop(&type);
    return good && r->failed == 0;
}

/* true or false in chat, a number of alternatives in completions. */
static bool read_logprobs(struct json_reader *r, struct request *q) {
    uint64_t top = 0;
    if (json_peek(r) == JSON_BOOL) {
        return json_bool(r, &q->logprobs);
    }
    if (!json_u64(r, &top)) {
        return false;
    }
    if (top > REQUEST_MAX_TOP) {
        return json_refuse(r, LAMINA_USAGE, "at most %d alternatives", REQUEST_MAX_TOP);
    }
    q->logprobs = true;
    q->top_logprobs = (uint32_t)top;
    return true;
}

static bool read_seed(struct json_reader *r, struct request *q) {
    int64_t seed = 0;
    if (!json_i64(r, &seed)) {
        return false;
    }
    q->seed = (uint64_t)seed;
    q->seed_given = true;
    return true;
}

static bool read_max_tokens(struct json_reader *r, struct request *q) {
    int64_t most = 0;
    if (!json_i64(r, &most)) {
        return false;
    }
    bool endless = most < 0 && (q->api == REQUEST_OLLAMA_CHAT || q->api == REQUEST_OLLAMA_GENERATE);
    if (endless) {
        return true;
    }
    if (most < 0 || most > UINT32_MAX) {
        return json_refuse(r, LAMINA_USAGE, "must be 0 or more");
    }
    q->max_tokens = (uint32_t)most;
    q->max_tokens_given = true;
    return true;
}

static bool read_suffix(struct json_reader *r, struct request *q) {
    struct str s = {0};
    (void)q;
    bool good = json_string(r, &s);
    if (good && s.len > 0) {
        good = json_refuse(r, LAMINA_USAGE, "inserting before a suffix is not supported");
    }
    str_drop(&s);
    return good;
}

static bool read_tools(struct json_reader *r, struct request *q) {
    return read_raw(r, &q->tools, JSON_ARRAY, "a list");
}

static bool read_kwargs(struct json_reader *r, struct request *q) {
    return read_raw(r, &q->kwargs, JSON_OBJECT, "an object");
}

/* "none" takes the tools away; to force one would need a grammar. */
static bool read_tool_choice(struct json_reader *r, struct request *q) {
    struct str s = {0};
    (void)q;
    if (json_peek(r) != JSON_STRING) {
        return json_peek(r) == JSON_NONE ? false
                                         : json_refuse(r, LAMINA_USAGE, "a tool cannot be forced here; leave it out, or \"auto\"");
    }
    bool good = json_string(r, &s);
    if (good && strcmp(str_text(&s), "none") == 0) {
        q->no_tools = true;
    } else if (good && strcmp(str_text(&s), "auto") != 0) {
        good = json_refuse(r, LAMINA_USAGE, "a tool cannot be forced here; leave it out, or \"auto\"");
    }
    str_drop(&s);
    return good;
}

static bool read_ollama_format(struct json_reader *r, struct request *q) {
    struct span raw;
    (void)q;
    if (!json_skip_raw(r, &raw)) {
        return false;
    }
    return span_is(raw, "\"\"") || json_refuse(r, LAMINA_USAGE, "answers are not constrained to a format here; leave it out");
}

static bool read_add_generation_prompt(struct json_reader *r, struct request *q) {
    bool add = true;
    bool good = json_bool(r, &add);
    q->no_generation_prompt = !add;
    return good;
}

/* ---- the table ---- */

#define API(x) (1u << REQUEST_##x)
#define OPENAI (API(CHAT) | API(COMPLETION))
#define OLLAMA (API(OLLAMA_CHAT) | API(OLLAMA_GENERATE))
#define ALL (OPENAI | OLLAMA | API(ANTHROPIC))
#define OPTIONS (1u << 16) /* of Ollama's "options" */
#define AT(field) offsetof(struct request, field)
#define AT_GIVEN(field) offsetof(struct request, field), offsetof(struct request, field##_given)

enum field_type { F_BOOL, F_U32, F_REAL, F_TEXT, F_OWN };

struct request_field {
    const char *name;
    uint32_t apis;
    enum field_type type;
    size_t offset, given; /* given 0: nothing remembers it */
    double least, most;
    bool (*read)(struct json_reader *r, struct request *q);
};

static const struct request_field fields[] = {
    {"model", ALL, F_TEXT, AT(model), 0, 0, 512, NULL},
    {"messages", API(CHAT) | API(OLLAMA_CHAT) | API(ANTHROPIC), F_OWN, 0, 0, 0, 0, request_messages},
    {"prompt", API(COMPLETION), F_OWN, 0, 0, 0, 0, read_prompt},
    {"prompt", API(OLLAMA_GENERATE), F_OWN, 0, 0, 0, 0, read_prompt_text},
    {"system", API(ANTHROPIC) | API(OLLAMA_GENERATE), F_OWN, 0, 0, 0, 0, request_system},
    {"max_tokens", OPENAI | API(ANTHROPIC), F_OWN, 0, 0, 0, 0, read_max_tokens},
    {"max_completion_tokens", API(CHAT), F_OWN, 0, 0, 0, 0, read_max_tokens},
    {"num_predict", OPTIONS, F_OWN, 0, 0, 0, 0, read_max_tokens},
    {"n", OPENAI, F_U32, AT(n), 0, 1, REQUEST_MAX_CHOICES, NULL},
    {"stop", OPENAI | OPTIONS, F_OWN, 0, 0, 0, 0, read_stop},
    {"stop_sequences", API(ANTHROPIC), F_OWN, 0, 0, 0, 0, read_stop},
    {"stream", ALL, F_BOOL, AT(stream), 0, 0, 0, NULL},
    {"stream_options", OPENAI, F_OWN, 0, 0, 0, 0, read_stream_options},
    {"echo", API(COMPLETION), F_BOOL, AT(echo), 0, 0, 0, NULL},
    {"logprobs", OPENAI, F_OWN, 0, 0, 0, 0, read_logprobs},
    {"top_logprobs", API(CHAT), F_U32, AT(top_logprobs), 0, 0, REQUEST_MAX_TOP, NULL},
    {"logit_bias", OPENAI, F_OWN, 0, 0, 0, 0, read_bias},
    {"temperature", OPENAI | API(ANTHROPIC) | OPTIONS, F_REAL, AT_GIVEN(temperature), 0, 100, NULL},
    {"top_p", OPENAI | API(ANTHROPIC) | OPTIONS, F_REAL, AT_GIVEN(top_p), 1e-6, 1, NULL},
    {"min_p", OPENAI | OPTIONS, F_REAL, AT_GIVEN(min_p), 0, 1, NULL},
    {"top_k", OPENAI | API(ANTHROPIC) | OPTIONS, F_U32, AT_GIVEN(top_k), 0, 1 << 30, NULL},
    {"repetition_penalty", OPENAI, F_REAL, AT_GIVEN(repetition_penalty), 1e-3, 100, NULL},
    {"repeat_penalty", OPENAI | OPTIONS, F_REAL, AT_GIVEN(repetition_penalty), 1e-3, 100, NULL},
    {"presence_penalty", OPENAI | OPTIONS, F_REAL, AT(presence_penalty), 0, -2, 2, NULL},
    {"frequency_penalty", OPENAI | OPTIONS, F_REAL, AT(frequency_penalty), 0, -2, 2, NULL},
    {"seed", OPENAI | OPTIONS, F_OWN, 0, 0, 0, 0, read_seed},
    {"ignore_eos", OPENAI, F_BOOL, AT(ignore_eos), 0, 0, 0, NULL},
    {"raw", API(OLLAMA_GENERATE), F_BOOL, AT(raw), 0, 0, 0, NULL},
    {"suffix", API(COMPLETION) | API(OLLAMA_GENERATE), F_OWN, 0, 0, 0, 0, read_suffix},
    {"images", API(OLLAMA_GENERATE), F_OWN, 0, 0, 0, 0, request_images},
    {"tools", API(CHAT) | API(OLLAMA_CHAT), F_OWN, 0, 0, 0, 0, read_tools},
    {"tool_choice", API(CHAT), F_OWN, 0, 0, 0, 0, read_tool_choice},
    {"response_format", API(CHAT), F_OWN, 0, 0, 0, 0, read_format},
    {"chat_template_kwargs", API(CHAT), F_OWN, 0, 0, 0, 0, read_kwargs},
    {"add_generation_prompt", API(CHAT), F_OWN, 0, 0, 0, 0, read_add_generation_prompt},
    {"format", OLLAMA, F_OWN, 0, 0, 0, 0, read_ollama_format},
    {"options", OLLAMA, F_OWN, 0, 0, 0, 0, NULL},
};
enum { FIELDS = sizeof(fields) / sizeof(fields[0]) };
_Static_assert(FIELDS <= 64, "fields seen are bits of one word");

static bool read_number(struct json_reader *r, struct request *q, const struct request_field *f) {
    double value = 0;
    if (!json_double(r, &value)) {
        return false;
    }
    if (!(value >= f->least && value <= f->most) || (f->type == F_U32 && value != floor(value))) {
        return json_refuse(r, LAMINA_USAGE, "must be %s from %g to %g", f->type == F_U32 ? "a whole number" : "a number", f->least,
                           f->most);
    }
    if (f->type == F_U32) {
        *(uint32_t *)((char *)q + f->offset) = (uint32_t)value;
    } else {
        *(double *)((char *)q + f->offset) = value;
    }
    return true;
}

static bool read_field(struct json_reader *r, struct request *q, const struct request_field *f) {
    char *at = (char *)q + f->offset;
    bool good = false;
    if (json_null(r)) {
        return true; /* as if it were not there */
    }
    switch (f->type) {
    case F_BOOL:
        good = json_bool(r, (bool *)at);
        break;
    case F_U32:
    case F_REAL:
        good = read_number(r, q, f);
        break;
    case F_TEXT:
        good = json_string(r, (struct str *)at);
        if (good && (double)((struct str *)at)->len > f->most) {
            good = json_refuse(r, LAMINA_USAGE, "longer than %g bytes", f->most);
        }
        break;
    case F_OWN:
        good = f->read != NULL && f->read(r, q);
        break;
    }
    if (good && f->given != 0) {
        *(bool *)((char *)q + f->given) = true;
    }
    return good && r->failed == 0;
}

/* The members of the object at hand. */
static bool read_members(struct json_reader *r, struct request *q, uint32_t api, struct refusal *why) {
    uint64_t seen = 0;
    uint32_t members = 0;
    struct span key;
    if (!json_enter_object(r)) {
        return false;
    }
    while (json_next_key(r, &key)) {
        const struct request_field *f = NULL;
        for (size_t i = 0; i < FIELDS && f == NULL; i++) {
            f = (fields[i].apis & api) != 0 && span_is(key, fields[i].name) ? &fields[i] : NULL;
        }
        if (++members > JSON_MAX_KEY) {
            return json_refuse(r, LAMINA_USAGE, "more than %d members", JSON_MAX_KEY);
        }
        if (f == NULL) {
            if (!json_skip(r)) {
                return false;
            }
            continue;
        }
        uint64_t bit = UINT64_C(1) << (f - fields);
        if ((seen & bit) != 0) {
            (void)snprintf(why->param, sizeof(why->param), "%s", f->name);
            return json_refuse(r, LAMINA_USAGE, "\"%s\" is given twice", f->name);
        }
        seen |= bit;
        bool good = strcmp(f->name, "options") == 0 ? json_null(r) || read_members(r, q, OPTIONS, why) : read_field(r, q, f);
        if (!good) {
            if (why->param[0] == '\0') {
                (void)snprintf(why->param, sizeof(why->param), "%s", f->name);
            }
            return false;
        }
    }
    return r->failed == 0;
}

static bool lacks(struct refusal *why, const char *name) {
    (void)snprintf(why->param, sizeof(why->param), "%s", name);
    return refuse(why, 400, "invalid_request_error", "missing_required_parameter", "\"%s\" is missing", name);
}

/* What holds between fields. */
static bool check(struct request *q, struct refusal *why) {
    bool chat = q->api == REQUEST_CHAT || q->api == REQUEST_OLLAMA_CHAT || q->api == REQUEST_ANTHROPIC;
    if (q->no_tools) {
        str_clear(&q->tools);
        q->no_tools = false;
    }
    q->load = (q->api == REQUEST_OLLAMA_CHAT && q->messages.len == 0) ||
              (q->api == REQUEST_OLLAMA_GENERATE && (q->prompt_count == 0 || q->prompts[0].text.len == 0));
    if (chat && q->messages.len == 0 && !q->load) {
        return lacks(why, "messages");
    }
    if (!chat && q->prompt_count == 0 && q->api == REQUEST_COMPLETION) {
        return lacks(why, "prompt");
    }
    if (q->api == REQUEST_ANTHROPIC && !q->max_tokens_given && !q->counting) {
        return lacks(why, "max_tokens");
    }
    if (q->api == REQUEST_CHAT && q->top_logprobs > 0 && !q->logprobs) {
        (void)snprintf(why->param, sizeof(why->param), "top_logprobs");
        return refuse(why, 400, "invalid_request_error", NULL, "\"top_logprobs\" needs \"logprobs\": true");
    }
    if (q->prompt_count * (uint64_t)q->n > REQUEST_MAX_PROMPTS) {
        (void)snprintf(why->param, sizeof(why->param), "n");
        return refuse(why, 400, "invalid_request_error", NULL, "%u prompts times n %u are more than %d choices",
                      q->prompt_count, q->n,
                      REQUEST_MAX_PROMPTS);
    }
    for (uint32_t i = 0; i < q->prompt_count; i++) {
        if (q->prompts[i].text.failed) {
            return refuse(why, 500, "server_error", NULL, "out of memory for the prompt");
        }
    }
    if (q->messages.failed || q->system.failed || q->tools.failed || q->kwargs.failed) {
        return refuse(why, 500, "server_error", NULL, "out of memory for the request");
    }
    return true;
}

bool request_parse(struct request *q, enum request_api api, struct span body, struct refusal *why) {
    struct json_reader r;
    struct str key = {0};
    struct lamina_error err = {0};
    bool counting = api == REQUEST_COUNT;
    api = counting ? REQUEST_ANTHROPIC : api;
    *q = (struct request){.api = api, .n = 1, .counting = counting};
    q->stream = api == REQUEST_OLLAMA_CHAT || api == REQUEST_OLLAMA_GENERATE;
    json_init(&r, body, "the body", &key, &err);
    (void)read_members(&r, q, 1u << api, why);
    lamina_status status = json_finish(&r);
    str_drop(&key);
    if (status < 0) {
        return refuse(why, 400, "invalid_request_error", NULL, "%s%s%s", why->param, why->param[0] != '\0' ? ": " : "",
                      err.message);
    }
    if (api == REQUEST_OLLAMA_GENERATE && !request_generate_messages(q)) {
        return refuse(why, 500, "server_error", NULL, "out of memory for the request");
    }
    return check(q, why);
}

void request_drop(struct request *q) {
    str_drop(&q->model);
    str_drop(&q->messages);
    str_drop(&q->tools);
    str_drop(&q->kwargs);
    str_drop(&q->system);
    for (uint32_t i = 0; i < q->prompt_count; i++) {
        str_drop(&q->prompts[i].text);
        free(q->prompts[i].ids);
    }
    free(q->prompts);
    for (uint32_t i = 0; i < q->stop_count; i++) {
        str_drop(&q->stop[i]);
    }
    free(q->bias);
    *q = (struct request){0};
}
