/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files that see connections share. A connection has a thread of its own, and an exchange per request on it: fields of an
 * exchange are that thread's. Fields of the server do not change while it serves, but those marked atomic.
 */
#ifndef SERVER_SERVER_PRIV_H
#define SERVER_SERVER_PRIV_H

#include <stdatomic.h>

#include "app/server/answer.h"
#include "app/server/httpd.h"
#include "app/server/server.h"

enum {
    SERVER_BODY_LIMIT = 8 << 20,
    SERVER_BODIES_LIMIT = 12 << 20, /* of all bodies together, and of what is kept of them until the answer ends */
    SERVER_FILE_LIMIT = 200 << 20,
    SERVER_POLL_MS = 100,           /* how soon a client that left is noticed */
    SERVER_IDLE_S = 60,             /* a connection between requests */
};

struct batches;
struct server {
    struct server_options o;
    struct httpd http;
    struct MHD_Daemon *daemon;
    struct engine *engine;
    struct answer_place place;
    struct batches *batches;
    int64_t created;
    bool loopback;
    char address[96];               /* "127.0.0.1": what it listens at, in digits; empty for a Unix socket */
    char bound[128];                /* "127.0.0.1:8765", or the socket's path */
    uint32_t port;
    atomic_bool ending;
    atomic_uint_fast64_t body_bytes, requests, active;
};

struct route;
struct exchange {
    struct server *server;
    struct MHD_Connection *connection;
    int fd;
    const char *method;             /* valid during a request */
    char url[256];
    const struct route *route;
    const char *rest;               /* of the path behind a route that ends in '/' */
    struct str body;
    uint64_t counted;               /* of server.body_bytes */
    uint64_t dropped;               /* of the body, since it was refused */
    struct MHD_PostProcessor *post;
    struct upload *upload;
    bool refused, crowded;          /* crowded: refused because of the other bodies */
    enum MHD_Result queued;
    struct answer answer;           /* of a handler that begins one */
    bool has_answer;
    struct str out;                 /* of a stream: what the connection has not taken yet */
    size_t out_at;
    bool stream_ended, stream_begun;
    uint64_t alive_ns;
    void (*more)(struct exchange *x); /* appends to out, or ends the stream; NULL: the answer does */
    char origin[128];               /* that may read the reply; empty: none asked */
    char id[32];
};

/* Which API's words an error takes. */
enum route_family { ROUTE_OPENAI, ROUTE_OLLAMA, ROUTE_ANTHROPIC };
struct route {
    const char *method, *path;      /* a path that ends in '/' takes what follows it */
    enum route_family family;
    bool open;                      /* no key is asked for */
    bool form;                      /* multipart/form-data */
    void (*handle)(struct exchange *x);
};

/* exchange.c: replies. Each handler makes exactly one. */
void exchange_json(struct exchange *x, unsigned status, struct str *body); /* takes the bytes */
void exchange_text(struct exchange *x, unsigned status, const char *type, struct str *body);
void exchange_refuse(struct exchange *x, const struct refusal *why);
void exchange_stream(struct exchange *x, const char *type);
struct MHD_Response *exchange_response(struct exchange *x, struct str *body);
void exchange_send(struct exchange *x, unsigned status, struct MHD_Response *response, const char *type);
bool exchange_client_left(const struct exchange *x);
/* The body goes; `kept` bytes made of it stay in the count of all bodies. */
void exchange_body_drop(struct exchange *x, uint64_t kept);
void exchange_drop(struct exchange *x);
/* Answers `api` from the body, streamed or whole. */
void exchange_generate(struct exchange *x, enum request_api api);

/* guard.c: what is checked before a request is read. */
bool guard_check(struct exchange *x, struct refusal *why);

/* routes.c */
extern const struct route server_routes[];
extern const size_t server_route_count;
void handle_page(struct exchange *x);
extern const unsigned char server_page[]; /* page.html, made by the build */
extern const size_t server_page_len;

/* upload.c: a form that brings a file. Takes the next bytes; what is wrong is kept for the handler. */
enum MHD_Result upload_take(struct exchange *x, const char *bytes, size_t len);
void upload_drop(struct exchange *x);
void handle_upload(struct exchange *x);
/* files.c, batches.c */
void handle_files(struct exchange *x);
void handle_file(struct exchange *x);
void handle_file_delete(struct exchange *x);
void handle_batch_create(struct exchange *x);
void handle_batches(struct exchange *x);
void handle_batch(struct exchange *x);
void handle_batch_cancel(struct exchange *x);

/* monitor.c */
void handle_metrics(struct exchange *x);
void handle_events(struct exchange *x);
/* models.c: what describes the model, in the words of each API. */
void handle_health(struct exchange *x);
void handle_models(struct exchange *x);
void handle_model(struct exchange *x);
void handle_tokenize(struct exchange *x);
void handle_detokenize(struct exchange *x);
void handle_tokenizer_info(struct exchange *x);
void handle_template(struct exchange *x);
void handle_count_tokens(struct exchange *x);
void handle_ollama_version(struct exchange *x);
void handle_ollama_tags(struct exchange *x);
void handle_ollama_ps(struct exchange *x);
void handle_ollama_show(struct exchange *x);

#endif
