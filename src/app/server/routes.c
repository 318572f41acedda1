/* SPDX-License-Identifier: Apache-2.0
 * The one table of what the server answers. */
#include "app/server/server_priv.h"

#define HANDLER(name, api)                     \
    static void name(struct exchange *x) {     \
        exchange_generate(x, api);             \
    }
HANDLER(chat, REQUEST_CHAT)
HANDLER(completion, REQUEST_COMPLETION)
HANDLER(ollama_chat, REQUEST_OLLAMA_CHAT)
HANDLER(ollama_generate, REQUEST_OLLAMA_GENERATE)
HANDLER(anthropic, REQUEST_ANTHROPIC)
#undef HANDLER

/* The page is one file: what it runs and how it looks stands in it. */
void handle_page(struct exchange *x) {
    const struct httpd *h = &x->server->http;
    struct MHD_Response *r = h->create_response_from_buffer(server_page_len, (void *)(uintptr_t)server_page,
                                                            MHD_RESPMEM_PERSISTENT);
    if (r != NULL) {
        (void)h->add_response_header(r, "Content-Security-Policy",
                                     "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
                                     "img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'");
        (void)h->add_response_header(r, "Referrer-Policy", "no-referrer");
    }
    exchange_send(x, 200, r, "text/html; charset=utf-8");
}

const struct route server_routes[] = {
    {"GET", "/", ROUTE_OPENAI, true, false, handle_page},
    {"GET", "/health", ROUTE_OPENAI, true, false, handle_health},
    {"GET", "/metrics", ROUTE_OPENAI, false, false, handle_metrics},
    {"GET", "/lamina/v1/events", ROUTE_OPENAI, false, false, handle_events},
    {"GET", "/v1/models", ROUTE_OPENAI, false, false, handle_models},
    {"GET", "/v1/models/", ROUTE_OPENAI, false, false, handle_model},
    {"POST", "/v1/chat/completions", ROUTE_OPENAI, false, false, chat},
    {"POST", "/v1/completions", ROUTE_OPENAI, false, false, completion},
    {"POST", "/v1/files", ROUTE_OPENAI, false, true, handle_upload},
    {"GET", "/v1/files", ROUTE_OPENAI, false, false, handle_files},
    {"GET", "/v1/files/", ROUTE_OPENAI, false, false, handle_file},
    {"DELETE", "/v1/files/", ROUTE_OPENAI, false, false, handle_file_delete},
    {"POST", "/v1/batches", ROUTE_OPENAI, false, false, handle_batch_create},
    {"GET", "/v1/batches", ROUTE_OPENAI, false, false, handle_batches},
    {"GET", "/v1/batches/", ROUTE_OPENAI, false, false, handle_batch},
    {"POST", "/v1/batches/", ROUTE_OPENAI, false, false, handle_batch_cancel},
    {"POST", "/tokenize", ROUTE_OPENAI, false, false, handle_tokenize},
    {"POST", "/v1/tokenize", ROUTE_OPENAI, false, false, handle_tokenize},
    {"POST", "/detokenize", ROUTE_OPENAI, false, false, handle_detokenize},
    {"POST", "/v1/detokenize", ROUTE_OPENAI, false, false, handle_detokenize},
    {"GET", "/tokenizer_info", ROUTE_OPENAI, false, false, handle_tokenizer_info},
    {"GET", "/v1/tokenizer_info", ROUTE_OPENAI, false, false, handle_tokenizer_info},
    {"POST", "/apply-template", ROUTE_OPENAI, false, false, handle_template},
    {"GET", "/api/version", ROUTE_OLLAMA, false, false, handle_ollama_version},
    {"GET", "/api/tags", ROUTE_OLLAMA, false, false, handle_ollama_tags},
    {"GET", "/api/ps", ROUTE_OLLAMA, false, false, handle_ollama_ps},
    {"POST", "/api/show", ROUTE_OLLAMA, false, false, handle_ollama_show},
    {"POST", "/api/chat", ROUTE_OLLAMA, false, false, ollama_chat},
    {"POST", "/api/generate", ROUTE_OLLAMA, false, false, ollama_generate},
    {"POST", "/v1/messages", ROUTE_ANTHROPIC, false, false, anthropic},
    {"POST", "/v1/messages/count_tokens", ROUTE_ANTHROPIC, false, false, handle_count_tokens},
};
const size_t server_route_count = ARRAY_LEN(server_routes);
