/* SPDX-License-Identifier: Apache-2.0
 *
 * Replies on a connection. A streamed answer sends its headers at once; the connection's thread then waits for pieces, gives a sign
 * of life when nothing came for a while, and notices a client that left. An answer that is not streamed waits a little for the
 * whole; after that it holds the connection open with white space, which JSON allows before a value.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "app/server/server_priv.h"

enum { STREAM_BLOCK = 16 << 10, HOLD_AFTER_S = 15, CORS_HEADERS_LIMIT = 1024 };

bool exchange_client_left(const struct exchange *x) {
    struct pollfd p = {.fd = x->fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

struct MHD_Response *exchange_response(struct exchange *x, struct str *body) {
    struct MHD_Response *r = NULL;
    if (!body->failed) {
        r = x->server->http.create_response_from_buffer(body->len, (void *)(uintptr_t)str_text(body), MHD_RESPMEM_MUST_COPY);
    }
    str_drop(body);
    return r;
}

/* What an allowed page may send: all that its browser asks for, where that is a list of names. */
static const char *allowed_headers(const struct exchange *x) {
    static const char names[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_, ";
    const char *asked = x->server->http.lookup_connection_value(x->connection, MHD_HEADER_KIND, "Access-Control-Request-Headers");
    size_t len = asked != NULL ? strlen(asked) : 0;
    return len > 0 && len <= CORS_HEADERS_LIMIT && strspn(asked, names) == len ? asked : "authorization, content-type, x-api-key";
}

void exchange_send(struct exchange *x, unsigned status, struct MHD_Response *r, const char *type) {
    const struct httpd *h = &x->server->http;
    if (r == NULL) {
        x->queued = MHD_NO; /* the connection is closed: memory is out */
        return;
    }
    (void)h->add_response_header(r, "Content-Type", type);
    (void)h->add_response_header(r, "x-request-id", x->id);
    (void)h->add_response_header(r, "X-Content-Type-Options", "nosniff");
    (void)h->add_response_header(r, "Cache-Control", "no-store");
    if (x->origin[0] != '\0') {
        (void)h->add_response_header(r, "Access-Control-Allow-Origin", x->origin);
        (void)h->add_response_header(r, "Access-Control-Allow-Headers", allowed_headers(x));
        (void)h->add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
        (void)h->add_response_header(r, "Access-Control-Expose-Headers", "x-request-id, retry-after");
        (void)h->add_response_header(r, "Vary", "Origin");
    }
    if (status == 401) {
        (void)h->add_response_header(r, "WWW-Authenticate", "Bearer realm=\"lamina\"");
    } else if (status == 429) {
        (void)h->add_response_header(r, "Retry-After", "30");
        (void)h->add_response_header(r, "x-should-retry", "true");
    } else if (status >= 400) {
        (void)h->add_response_header(r, "x-should-retry", "false"); /* another sweep would end the same way */
    }
    if (x->refused) {
        (void)h->add_response_header(r, "Connection", "close");
    }
    x->queued = h->queue_response(x->connection, status, r);
    h->destroy_response(r);
}

void exchange_text(struct exchange *x, unsigned status, const char *type, struct str *body) {
    exchange_send(x, status, exchange_response(x, body), type);
}

void exchange_json(struct exchange *x, unsigned status, struct str *body) {
    exchange_text(x, status, "application/json", body);
}

static const struct answer_form *form_of(const struct exchange *x) {
    enum route_family family = x->route != NULL ? x->route->family : ROUTE_OPENAI;
    return family == ROUTE_OLLAMA ? &form_ollama : family == ROUTE_ANTHROPIC ? &form_anthropic : &form_chat;
}

void exchange_refuse(struct exchange *x, const struct refusal *why) {
    struct str body = {0};
    form_of(x)->error(why, &body);
    exchange_json(x, (unsigned)why->http, &body);
}

/* ---- streams ---- */

static uint64_t quiet_ns(const struct exchange *x) {
    return (uint64_t)x->server->o.keep_alive_s * UINT64_C(1000000000);
}

/* The next bytes of an answer: waits for pieces at most a moment. */
static void answer_more(struct exchange *x) {
    struct answer *a = &x->answer;
    struct refusal why = {0};
    if (!a->streaming) { /* held open: white space, then the whole */
        if (answer_pump(a, SERVER_POLL_MS, &x->out)) {
            if (answer_failed(a, &why)) {
                a->form->error(&why, &x->out);
            } else {
                a->form->whole(a, &x->out);
            }
            x->stream_ended = true;
        } else if (engine_now_ns() - x->alive_ns > quiet_ns(x)) {
            str_add_text(&x->out, " ");
        }
        return;
    }
    if (!x->stream_begun) {
        x->stream_begun = true;
        a->form->begin(a, &x->out);
        if (x->out.len > 0) {
            return;
        }
    }
    if (answer_pump(a, SERVER_POLL_MS, &x->out)) {
        if (answer_failed(a, &why)) {
            a->form->broken(&why, &x->out);
        } else {
            a->form->end(a, &x->out);
        }
        x->stream_ended = true;
    } else if (x->out.len == 0 && engine_now_ns() - x->alive_ns > quiet_ns(x)) {
        a->form->alive(a, &x->out);
    }
}

static ssize_t read_stream(void *user, uint64_t pos, char *to, size_t most) {
    struct exchange *x = (struct exchange *)user;
    (void)pos;
    while (x->out_at == x->out.len) {
        if (x->stream_ended) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        str_clear(&x->out);
        x->out_at = 0;
        if (exchange_client_left(x)) {
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
        (x->more != NULL ? x->more : answer_more)(x);
        if (x->out.failed) {
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
    }
    size_t n = x->out.len - x->out_at < most ? x->out.len - x->out_at : most;
    memcpy(to, x->out.ptr + x->out_at, n);
    x->out_at += n;
    x->alive_ns = engine_now_ns();
    return (ssize_t)n;
}

void exchange_stream(struct exchange *x, const char *type) {
    const struct httpd *h = &x->server->http;
    x->alive_ns = engine_now_ns();
    /* A stream may be silent for longer than any idle connection. */
    (void)h->set_connection_option(x->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
    exchange_send(x, 200, h->create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, x, NULL), type);
}

/* Waits for the whole answer. False: it takes longer than a client may be left without a word. */
static bool wait_whole(struct exchange *x) {
    uint64_t begin = engine_now_ns();
    uint64_t most = (uint64_t)HOLD_AFTER_S * UINT64_C(1000000000);
    uint64_t patience = quiet_ns(x) < most / 3 * 2 ? quiet_ns(x) / 2 * 3 : most;
    while (!answer_pump(&x->answer, SERVER_POLL_MS, &x->out)) {
        if (exchange_client_left(x)) {
            return true;
        }
        if (x->server->o.hold_open && engine_now_ns() - begin > patience) {
            return false;
        }
    }
    return true;
}

void exchange_body_drop(struct exchange *x, uint64_t kept) {
    str_drop(&x->body);
    atomic_fetch_sub(&x->server->body_bytes, x->counted);
    atomic_fetch_add(&x->server->body_bytes, kept);
    x->counted = kept;
}

void exchange_generate(struct exchange *x, enum request_api api) {
    struct refusal why = {0};
    struct str body = {0};
    struct answer *a = &x->answer;
    x->has_answer = true;
    bool good = answer_read(a, &x->server->place, api, str_span(&x->body), &why);
    exchange_body_drop(x, x->counted); /* a copy of it is in the request now */
    if (good && a->in->request.load) { /* it is there: no work for the engine */
        a->form->whole(a, &body);
        exchange_json(x, 200, &body);
        return;
    }
    good = good && answer_tokens(a, &why);
    exchange_body_drop(x, good ? answer_input_bytes(a) : 0);
    if (!good || !answer_submit(a, &why)) {
        exchange_refuse(x, &why);
        return;
    }
    if (a->streaming) {
        exchange_stream(x, a->form->stream_type);
        return;
    }
    if (!wait_whole(x)) {
        exchange_stream(x, "application/json");
        return;
    }
    if (!a->ended) { /* nobody is there to hear it */
        x->queued = MHD_NO;
        return;
    }
    if (answer_failed(a, &why)) {
        exchange_refuse(x, &why);
        return;
    }
    a->form->whole(a, &body);
    exchange_json(x, 200, &body);
}

void exchange_drop(struct exchange *x) {
    if (x->has_answer) {
        answer_close(&x->answer);
    }
    upload_drop(x);
    exchange_body_drop(x, 0);
    str_drop(&x->out);
}
