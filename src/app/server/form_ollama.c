/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of Ollama's /api/chat and /api/generate: one JSON object per line, times in nanoseconds. There is no comment in such a
 * stream, so a sign of life is a line with empty text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "app/server/answer.h"
#include "base/json.h"

static void line(const struct answer *a, struct span text, struct str *out) {
    struct timespec now;
    struct tm utc;
    char when[32];
    bool chat = a->in->request.api == REQUEST_OLLAMA_CHAT;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &utc);
    str_add_text(out, "{\"model\":");
    json_write_string(out, a->in->request.model.len > 0 ? str_span(&a->in->request.model) : span_of_text(a->place->name));
    str_printf(out, ",\"created_at\":\"%s.%09ldZ\",", when, now.tv_nsec);
    str_add_text(out, chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"response\":");
    json_write_string(out, text);
    str_add_text(out, chat ? "}" : "");
}

static void last(const struct answer *a, struct str *out) {
    uint64_t now = engine_now_ns();
    uint64_t first = a->first_ns != 0 ? a->first_ns : now;
    bool full = a->choice_count > 0 && a->choices[0].finish == FINISH_LENGTH;
    if (a->in->request.load) {
        str_add_text(out, ",\"done\":true,\"done_reason\":\"load\"}\n");
        return;
    }
    str_printf(out, ",\"done\":true,\"done_reason\":\"%s\"", full ? "length" : "stop");
    json_member_u64(out, "total_duration", now - a->begin_ns);
    json_member_u64(out, "load_duration", 0);
    json_member_u64(out, "prompt_eval_count", a->prompt_tokens);
    json_member_u64(out, "prompt_eval_duration", first - a->begin_ns);
    json_member_u64(out, "eval_count", answer_completion_tokens(a));
    json_member_u64(out, "eval_duration", now - first);
    str_add_text(out, "}\n");
}

static void ollama_begin(struct answer *a, struct str *out) {
    (void)a;
    (void)out;
}

static void ollama_piece(struct answer *a, struct engine_piece *p, struct str *out) {
    if (p->text_len > 0) {
        line(a, span_of(p->text, p->text_len), out);
        str_add_text(out, ",\"done\":false}\n");
    }
    free(p);
}

static void ollama_end(struct answer *a, struct str *out) {
    line(a, (struct span){0}, out);
    last(a, out);
}

static void ollama_whole(struct answer *a, struct str *out) {
    line(a, a->choice_count > 0 ? str_span(&a->choices[0].text) : (struct span){0}, out);
    last(a, out);
}

static void ollama_alive(struct answer *a, struct str *out) {
    line(a, (struct span){0}, out);
    str_add_text(out, ",\"done\":false}\n");
}

static void ollama_error(const struct refusal *why, struct str *out) {
    str_add_text(out, "{\"error\":");
    json_write_string(out, span_of_text(why->message));
    str_add_text(out, "}");
}

static void ollama_broken(const struct refusal *why, struct str *out) {
    ollama_error(why, out);
    str_add_text(out, "\n");
}

const struct answer_form form_ollama = {
    .stream_type = "application/x-ndjson", .begin = ollama_begin, .piece = ollama_piece, .end = ollama_end, .whole = ollama_whole,
    .alive = ollama_alive, .broken = ollama_broken, .error = ollama_error,
};
