/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of /v1/chat/completions and /v1/completions, streamed and whole. Fields and order as OpenAI documents them; a choice's
 * log-probabilities stand beside its text.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "app/server/answer.h"
#include "base/json.h"

static const char *finish_word(enum engine_finish f) {
    return f == FINISH_LENGTH ? "\"length\"" : f == FINISH_NONE ? "null" : "\"stop\"";
}

static void head(struct answer *a, const char *object, struct str *out) {
    str_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%" PRId64 ",\"model\":", a->id, object, a->created);
    json_write_string(out, span_of_text(a->place->name));
    str_printf(out, ",\"system_fingerprint\":\"%s\"", a->place->fingerprint);
}

static void usage(const struct answer *a, struct str *out) {
    uint64_t made = answer_completion_tokens(a);
    str_printf(out,
               ",\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu,"
               "\"prompt_tokens_details\":{\"cached_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0}}",
               (unsigned long long)a->prompt_tokens, (unsigned long long)made, (unsigned long long)(a->prompt_tokens + made));
}

/* What every chunk but the last has where the usage is asked for. */
static void usage_of_chunk(const struct answer *a, struct str *out) {
    const struct request *q = &a->in->request;
    if (q->continuous_usage) {
        usage(a, out);
    } else if (q->include_usage) {
        str_add_text(out, ",\"usage\":null");
    }
}

static size_t characters(struct span text) {
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        n += (text.ptr[i] & 0xC0) != 0x80;
    }
    return n;
}

/* ---- log-probabilities ---- */

static void token_bytes(struct span text, struct str *out) {
    str_add_text(out, ",\"bytes\":[");
    for (size_t i = 0; i < text.len; i++) {
        str_printf(out, "%s%u", i > 0 ? "," : "", text.ptr[i]);
    }
    str_add_text(out, "]");
}

static void chat_token(const struct answer *a, uint32_t id, float logprob, struct str *out) {
    struct str text = {0};
    answer_token_text(a->place, id, &text);
    str_add_text(out, "{\"token\":");
    json_write_string(out, str_span(&text));
    str_add_text(out, ",\"logprob\":");
    json_write_float(out, logprob);
    token_bytes(str_span(&text), out);
    str_drop(&text);
}

/* "logprobs" of a chat choice, from a list of pieces. */
static void chat_logprobs(const struct answer *a, const struct engine_piece *p, struct str *out) {
    if (!a->in->request.logprobs) {
        str_add_text(out, ",\"logprobs\":null");
        return;
    }
    str_add_text(out, ",\"logprobs\":{\"content\":[");
    for (bool first = true; p != NULL; p = p->next) {
        if (!p->has_logprob) {
            continue;
        }
        str_add_text(out, first ? "" : ",");
        first = false;
        chat_token(a, p->id, p->logprob, out);
        str_add_text(out, ",\"top_logprobs\":[");
        for (uint32_t i = 0; i < p->top_count; i++) {
            str_add_text(out, i > 0 ? "," : "");
            chat_token(a, p->top[i].id, p->top[i].logprob, out);
            str_add_text(out, "}");
        }
        str_add_text(out, "]}");
    }
    str_add_text(out, "],\"refusal\":null}");
}

/* {"text": value} of one token: the alternatives, and the token itself where it is none of them. Parts of a character are no text
 * and look alike; a reader sees the last of two members, so the likelier one alone is written. */
static void top_object(const struct answer *a, const struct engine_piece *p, struct str *out) {
    struct str names[REQUEST_MAX_TOP + 1] = {0};
    uint32_t count = 0;
    bool failed = false;
    str_add_text(out, "{");
    for (uint32_t i = 0; i <= p->top_count; i++) { /* the likeliest first, the token itself last */
        bool own = i == p->top_count;
        struct str text = {0};
        struct str *name = &names[count];
        uint32_t same = 0;
        answer_token_text(a->place, own ? p->id : p->top[i].id, &text);
        str_clear(name);
        json_write_string(name, str_span(&text));
        failed = failed || text.failed || name->failed;
        str_drop(&text);
        while (same < count && !span_equal(str_span(&names[same]), str_span(name))) {
            same++;
        }
        if (same < count) {
            continue;
        }
        str_add_text(out, count > 0 ? "," : "");
        str_add_span(out, str_span(name));
        str_add_text(out, ":");
        json_write_float(out, own ? p->logprob : p->top[i].logprob);
        count++;
    }
    str_add_text(out, "}");
    out->failed = out->failed || failed;
    for (uint32_t i = 0; i <= REQUEST_MAX_TOP; i++) {
        str_drop(&names[i]);
    }
}

/* "logprobs" of a completion's choice: four lists of one length. Under echo the prompt's first token has no probability. */
static void completion_logprobs(const struct answer *a, struct answer_choice *c, const struct engine_prompt *front,
                                const struct engine_piece *list, struct str *out) {
    struct str tokens = {0}, values = {0}, tops = {0}, offsets = {0}, text = {0};
    bool first = true;
    if (!a->in->request.logprobs) {
        str_add_text(out, ",\"logprobs\":null");
        return;
    }
    if (front != NULL && front->count > 0) {
        answer_token_text(a->place, front->ids[0], &text);
        json_write_string(&tokens, str_span(&text));
        str_add_text(&values, "null");
        str_add_text(&tops, "null");
        str_printf(&offsets, "%llu", (unsigned long long)c->offset);
        c->offset += characters(str_span(&text));
        first = false;
    }
    for (const struct engine_piece *p = list; p != NULL; p = p->next) {
        if (!p->has_logprob) {
            continue;
        }
        const char *comma = first ? "" : ",";
        first = false;
        str_clear(&text);
        answer_token_text(a->place, p->id, &text);
        str_add_text(&tokens, comma);
        json_write_string(&tokens, str_span(&text));
        str_add_text(&values, comma);
        json_write_float(&values, p->logprob);
        str_add_text(&tops, comma);
        top_object(a, p, &tops);
        str_printf(&offsets, "%s%llu", comma, (unsigned long long)c->offset);
        c->offset += characters(str_span(&text));
    }
    str_printf(out, ",\"logprobs\":{\"text_offset\":[%s],\"token_logprobs\":[%s],\"tokens\":[%s],\"top_logprobs\":[%s]}",
               str_text(&offsets), str_text(&values), str_text(&tokens), str_text(&tops));
    out->failed = out->failed || tokens.failed || values.failed || tops.failed || offsets.failed;
    str_drop(&tokens);
    str_drop(&values);
    str_drop(&tops);
    str_drop(&offsets);
    str_drop(&text);
}

/* ---- chat ---- */

static void chat_chunk(struct answer *a, uint32_t index, const char *role, struct span text, const struct engine_piece *p,
                       enum engine_finish finish, struct str *out) {
    str_add_text(out, "data: ");
    head(a, "chat.completion.chunk", out);
    str_printf(out, ",\"choices\":[{\"index\":%u,\"delta\":{", index);
    if (role != NULL) {
        str_printf(out, "\"role\":\"%s\",\"content\":\"\",\"refusal\":null", role);
    } else if (text.len > 0 || p != NULL) {
        str_add_text(out, "\"content\":");
        json_write_string(out, text);
    }
    str_add_text(out, "}");
    if (p != NULL) {
        chat_logprobs(a, p, out);
    } else {
        str_add_text(out, ",\"logprobs\":null");
    }
    str_printf(out, ",\"finish_reason\":%s}]", finish_word(finish));
    usage_of_chunk(a, out);
    str_add_text(out, "}\n\n");
}

static void chat_begin(struct answer *a, struct str *out) {
    for (uint32_t i = 0; i < a->choice_count; i++) {
        chat_chunk(a, i, "assistant", (struct span){0}, NULL, FINISH_NONE, out);
    }
}

static void chat_piece(struct answer *a, struct engine_piece *p, struct str *out) {
    if (p->finish == FINISH_ERROR) {
        free(p);
        return;
    }
    if (p->text_len > 0 || p->has_logprob) {
        chat_chunk(a, p->choice, NULL, span_of(p->text, p->text_len), p->has_logprob ? p : NULL, FINISH_NONE, out);
    }
    if (p->finish != FINISH_NONE) {
        chat_chunk(a, p->choice, NULL, (struct span){0}, NULL, p->finish, out);
    }
    free(p);
}

static void stream_end(struct answer *a, const char *object, struct str *out) {
    if (a->in->request.include_usage) {
        str_add_text(out, "data: ");
        head(a, object, out);
        str_add_text(out, ",\"choices\":[]");
        usage(a, out);
        str_add_text(out, "}\n\n");
    }
    str_add_text(out, "data: [DONE]\n\n");
}

static void chat_end(struct answer *a, struct str *out) {
    stream_end(a, "chat.completion.chunk", out);
}

static void chat_whole(struct answer *a, struct str *out) {
    head(a, "chat.completion", out);
    str_add_text(out, ",\"choices\":[");
    for (uint32_t i = 0; i < a->choice_count; i++) {
        struct answer_choice *c = &a->choices[i];
        str_printf(out, "%s{\"index\":%u,\"message\":{\"role\":\"assistant\",\"content\":", i > 0 ? "," : "", i);
        json_write_string(out, str_span(&c->text));
        str_add_text(out, ",\"refusal\":null}");
        chat_logprobs(a, c->first, out);
        str_printf(out, ",\"finish_reason\":%s}", finish_word(c->finish));
    }
    str_add_text(out, "]");
    usage(a, out);
    str_add_text(out, "}");
}

/* ---- completions ---- */

/* Of choice `index`: the prompt that echo puts in front; NULL: none. */
static const struct engine_prompt *echoed(const struct answer *a, uint32_t index) {
    return a->in->request.echo ? &a->in->prompts[index / a->in->request.n] : NULL;
}

static void echo_text(const struct answer *a, uint32_t index, struct str *out) {
    const struct engine_prompt *p = echoed(a, index);
    const struct str *given = p != NULL && a->in->request.prompts != NULL
        ? &a->in->request.prompts[index / a->in->request.n].text : NULL;
    struct lamina_error err = {0};
    char *bytes = NULL;
    size_t len = 0;
    if (given != NULL && given->len > 0) {
        str_add_span(out, str_span(given));
    } else if (p != NULL && a->place->text != NULL &&
               lamina_detokenize(a->place->text, p->ids, p->count, false, &bytes, &len, &err) == LAMINA_OK) {
        str_add(out, bytes, len);
    }
    lamina_free(bytes);
}

static void completion_chunk(struct answer *a, uint32_t index, struct span text, const struct engine_prompt *front,
                             const struct engine_piece *list, enum engine_finish finish, struct str *out) {
    str_add_text(out, "data: ");
    head(a, "text_completion", out);
    str_printf(out, ",\"choices\":[{\"index\":%u,\"text\":", index);
    json_write_string(out, text);
    if (list != NULL || front != NULL) {
        completion_logprobs(a, &a->choices[index], front, list, out);
    } else {
        str_add_text(out, ",\"logprobs\":null");
    }
    str_printf(out, ",\"finish_reason\":%s}]", finish_word(finish));
    usage_of_chunk(a, out);
    str_add_text(out, "}\n\n");
}

/* The echo goes out when the first token that is none of the prompt has come. */
static void begin_choice(struct answer *a, uint32_t index, struct str *out) {
    struct answer_choice *c = &a->choices[index];
    struct str text = {0};
    if (c->begun || !a->in->request.echo) {
        c->begun = true;
        return;
    }
    c->begun = true;
    echo_text(a, index, &text);
    completion_chunk(a, index, str_span(&text), echoed(a, index), c->first, FINISH_NONE, out);
    str_drop(&text);
    while (c->first != NULL) {
        struct engine_piece *p = c->first;
        c->first = p->next;
        free(p);
    }
    c->last = NULL;
}

static void completion_piece(struct answer *a, struct engine_piece *p, struct str *out) {
    struct answer_choice *c = &a->choices[p->choice];
    if (p->prompt) {
        *(c->last != NULL ? &c->last->next : &c->first) = p;
        c->last = p;
        return;
    }
    if (p->finish != FINISH_ERROR) {
        begin_choice(a, p->choice, out);
        if (p->text_len > 0 || p->has_logprob) {
            completion_chunk(a, p->choice, span_of(p->text, p->text_len), NULL, p->has_logprob ? p : NULL, FINISH_NONE, out);
        }
        if (p->finish != FINISH_NONE) {
            completion_chunk(a, p->choice, (struct span){0}, NULL, NULL, p->finish, out);
        }
    }
    free(p);
}

static void completion_begin(struct answer *a, struct str *out) {
    (void)a;
    (void)out;
}

static void completion_end(struct answer *a, struct str *out) {
    stream_end(a, "text_completion", out);
}

static void completion_whole(struct answer *a, struct str *out) {
    head(a, "text_completion", out);
    str_add_text(out, ",\"choices\":[");
    for (uint32_t i = 0; i < a->choice_count; i++) {
        struct answer_choice *c = &a->choices[i];
        struct str text = {0};
        echo_text(a, i, &text);
        str_add_span(&text, str_span(&c->text));
        str_printf(out, "%s{\"index\":%u,\"text\":", i > 0 ? "," : "", i);
        json_write_string(out, str_span(&text));
        str_drop(&text);
        completion_logprobs(a, c, echoed(a, i), c->first, out);
        str_printf(out, ",\"finish_reason\":%s}", finish_word(c->finish));
    }
    str_add_text(out, "]");
    usage(a, out);
    str_add_text(out, "}");
}

/* ---- errors and signs of life ---- */

static void openai_error(const struct refusal *why, struct str *out) {
    str_add_text(out, "{\"error\":{\"message\":");
    json_write_string(out, span_of_text(why->message));
    str_printf(out, ",\"type\":\"%s\",\"param\":", why->type);
    if (why->param[0] != '\0') {
        json_write_string(out, span_of_text(why->param));
    } else {
        str_add_text(out, "null");
    }
    if (why->code != NULL) {
        str_printf(out, ",\"code\":\"%s\"}}", why->code);
    } else {
        str_add_text(out, ",\"code\":null}}");
    }
}

static void openai_broken(const struct refusal *why, struct str *out) {
    str_add_text(out, "data: ");
    openai_error(why, out);
    str_add_text(out, "\n\n");
}

/* ": lamina ...": a comment of the event stream, which clients drop. */
static void openai_alive(struct answer *a, struct str *out) {
    struct engine_figures f;
    engine_figures(a->place->engine, &f);
    const struct lamina_plan *plan = lamina_model_plan(a->place->model);
    str_printf(out, ": lamina layer %u/%u", f.in_pass ? f.layer + 1 : 0, plan->layers);
    if (f.prompt_total > 0) {
        str_printf(out, " prompt %llu/%llu", (unsigned long long)f.prompt_done, (unsigned long long)f.prompt_total);
    }
    str_printf(out, " tokens %llu, %u running, %u waiting\n\n", (unsigned long long)answer_completion_tokens(a), f.running,
               f.queued);
}

const struct answer_form form_chat = {
    .stream_type = "text/event-stream", .begin = chat_begin, .piece = chat_piece, .end = chat_end, .whole = chat_whole,
    .alive = openai_alive, .broken = openai_broken, .error = openai_error,
};
const struct answer_form form_completion = {
    .stream_type = "text/event-stream", .begin = completion_begin, .piece = completion_piece, .end = completion_end,
    .whole = completion_whole, .alive = openai_alive, .broken = openai_broken, .error = openai_error,
};
