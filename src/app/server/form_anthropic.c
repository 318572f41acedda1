/* SPDX-License-Identifier: Apache-2.0
 * Answers of Anthropic's /v1/messages: one block of text, and events with names. Its own event `ping` is the sign of life. */
#include <stdlib.h>

#include "app/server/answer.h"
#include "base/json.h"

static void stop_members(const struct answer *a, struct str *out) {
    const struct answer_choice *c = &a->choices[0];
    bool stopped = c->finish == FINISH_STOP && c->stop < a->in->request.stop_count;
    str_printf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", c->finish == FINISH_LENGTH ? "max_tokens"
                                                                  : stopped ? "stop_sequence" : "end_turn");
    if (stopped) {
        json_write_string(out, str_span(&a->in->request.stop[c->stop]));
    } else {
        str_add_text(out, "null");
    }
}

static void head(const struct answer *a, struct str *out) {
    str_printf(out, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", a->id);
    json_write_string(out, span_of_text(a->place->name));
}

static void usage(const struct answer *a, struct str *out) {
    str_printf(out,
               ",\"usage\":{\"input_tokens\":%llu,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
               "\"output_tokens\":%llu}",
               (unsigned long long)a->prompt_tokens, (unsigned long long)answer_completion_tokens(a));
}

static void anthropic_begin(struct answer *a, struct str *out) {
    str_add_text(out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
    head(a, out);
    str_add_text(out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null");
    usage(a, out);
    str_add_text(out, "}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
                      "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n");
}

static void anthropic_piece(struct answer *a, struct engine_piece *p, struct str *out) {
    (void)a;
    if (p->text_len > 0) {
        str_add_text(out, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":"
                          "\"text_delta\",\"text\":");
        json_write_string(out, span_of(p->text, p->text_len));
        str_add_text(out, "}}\n\n");
    }
    free(p);
}

static void anthropic_end(struct answer *a, struct str *out) {
    str_add_text(out, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
                      "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{");
    stop_members(a, out);
    str_printf(out, "},\"usage\":{\"output_tokens\":%llu}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
               (unsigned long long)answer_completion_tokens(a));
}

static void anthropic_whole(struct answer *a, struct str *out) {
    head(a, out);
    str_add_text(out, ",\"content\":[{\"type\":\"text\",\"text\":");
    json_write_string(out, str_span(&a->choices[0].text));
    str_add_text(out, "}],");
    stop_members(a, out);
    usage(a, out);
    str_add_text(out, "}");
}

static void anthropic_alive(struct answer *a, struct str *out) {
    (void)a;
    str_add_text(out, "event: ping\ndata: {\"type\":\"ping\"}\n\n");
}

static void anthropic_error(const struct refusal *why, struct str *out) {
    const char *type = why->http == 401 ? "authentication_error" : why->http == 404 ? "not_found_error"
                       : why->http == 413 ? "request_too_large" : why->http == 429 ? "rate_limit_error"
                       : why->http == 503 ? "overloaded_error" : why->http >= 500 ? "api_error" : "invalid_request_error";
    str_printf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", type);
    json_write_string(out, span_of_text(why->message));
    str_add_text(out, "}}");
}

static void anthropic_broken(const struct refusal *why, struct str *out) {
    str_add_text(out, "event: error\ndata: ");
    anthropic_error(why, out);
    str_add_text(out, "\n\n");
}

const struct answer_form form_anthropic = {
    .stream_type = "text/event-stream", .begin = anthropic_begin, .piece = anthropic_piece, .end = anthropic_end,
    .whole = anthropic_whole, .alive = anthropic_alive, .broken = anthropic_broken, .error = anthropic_error,
};
