/* SPDX-License-Identifier: Apache-2.0
 *
 * One request at a time, into memory: listings, indexes, headers. libcurl does transport, TLS and proxies; redirects are followed
 * by hand, because the token goes to the endpoint's own address and nowhere else. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/hub_curl.h"
#include "hub/hub_priv.h"
#include "sys/thread.h"

#define USER_AGENT "lamina/0.1"
enum { LEAST_BYTES_PER_S = 1024, FIRST_WAIT_MS = 500, LONGEST_WAIT_S = 8, LONGEST_PATIENCE_S = 600, SILENT_WAIT_S = 5 };

struct hub_http {
    struct hub_curl curl;
    CURL *easy;
    const struct hub_env *env;
    const struct hub_watch *watch;
    struct hub_headers *headers; /* of the request at hand */
    struct str *body;
    bool too_long;
};

bool hub_stopped(const struct hub_watch *watch, const struct hub_progress *p) {
    static const struct hub_progress nothing = {.what = NULL};
    return watch->progress != NULL && watch->progress(watch->user, p != NULL ? p : &nothing);
}

/* What the server asks for; Retry-After is meant for this answer, RateLimit for whoever comes. */
static bool asked_wait(const struct hub_headers *h, uint32_t *s) {
    if (h == NULL || (h->status != 429 && h->status != 503) || (!h->has_retry_after && h->limit_reset_s == 0)) {
        return false;
    }
    *s = h->has_retry_after ? h->retry_after_s : h->limit_reset_s;
    *s = *s < LONGEST_PATIENCE_S ? *s : LONGEST_PATIENCE_S;
    return true;
}

uint64_t hub_backoff_ns(unsigned failures, const struct hub_headers *h) {
    uint64_t ms = (uint64_t)FIRST_WAIT_MS << (failures > 1 ? (failures - 1 < 8 ? failures - 1 : 8) : 0);
    uint32_t s = 0;
    ms = ms < LONGEST_WAIT_S * 1000 ? ms : LONGEST_WAIT_S * 1000;
    ms = asked_wait(h, &s) ? (uint64_t)s * 1000 : ms;
    return ms * 1000000;
}

bool hub_say_wait(const struct hub_watch *watch, uint64_t ns, const struct hub_headers *h) {
    char text[96];
    uint32_t asked = 0;
    const unsigned s = (unsigned)(ns / 1000000000);
    if (watch->log == NULL || s < SILENT_WAIT_S) {
        return false;
    }
    if (asked_wait(h, &asked)) {
        (void)snprintf(text, sizeof(text), "the hub asks to wait %u s (it answered %u); waiting", s, h->status);
    } else {
        (void)snprintf(text, sizeof(text), "the hub does not answer as it should; asking again in %u s", s);
    }
    watch->log(watch->user, LOG_WARNING, text);
    return true;
}

lamina_status hub_http_prepare(const struct hub_curl *curl, void *handle, const struct hub_env *env, struct lamina_error *err) {
    CURL *easy = handle;
    bool good = curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
                curl->easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
                curl->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
                curl->easy_setopt(easy, CURLOPT_USERAGENT, USER_AGENT) == CURLE_OK &&
                curl->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)env->connect_s) == CURLE_OK &&
                /* Per connection, and several share a line: a limit in tens of KiB would cut off whoever has a slow one. */
                curl->easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)LEAST_BYTES_PER_S) == CURLE_OK &&
                curl->easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)env->stall_s) == CURLE_OK &&
                curl->easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L << 10) == CURLE_OK &&
                /* Ranges want connections of their own; in one HTTP/2 connection they would share one window. */
                curl->easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK;
    if (good && env->ca_file.len > 0) {
        good = curl->easy_setopt(easy, CURLOPT_CAINFO, str_text(&env->ca_file)) == CURLE_OK;
    }
    return good ? LAMINA_OK
                : base_fail(err, LAMINA_UNEXPECTED, "libcurl %s does not take the settings of a download", LIBCURL_VERSION);
}

void *hub_http_send_headers(const struct hub_curl *curl, const struct hub_env *env, const char *url) {
    struct str line = {0};
    /* Encoded answers have no ranges and other checksums. */
    struct curl_slist *list = curl->slist_append(NULL, "Accept-Encoding: identity");
    if (list != NULL && env->token.len > 0 && hub_same_origin(url, str_text(&env->endpoint))) {
        str_printf(&line, "Authorization: Bearer %s", str_text(&env->token));
        struct curl_slist *more = line.failed ? NULL : curl->slist_append(list, str_text(&line));
        if (more == NULL) {
            curl->slist_free_all(list);
        }
        list = more;
    }
    str_drop(&line);
    return list;
}

lamina_status hub_http_may_follow(const char *from, const char *to, struct lamina_error *err) {
    bool secure = strncmp(from, "https://", 8) == 0;
    if (strncmp(to, "https://", 8) == 0 || (!secure && strncmp(to, "http://", 7) == 0)) {
        return LAMINA_OK;
    }
    return base_fail(err, LAMINA_NETWORK, "the server redirects to an address that is not followed (no https): %.200s", to);
}

static size_t on_header(char *bytes, size_t size, size_t count, void *user) {
    struct hub_http *http = user;
    return hub_headers_line(http->headers, span_of(bytes, size * count)) ? size * count : 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *user) {
    struct hub_http *http = user;
    if (http->body == NULL || http->headers->status >= 300) {
        return size * count; /* words about a refusal: the headers say it */
    }
    str_add(http->body, bytes, size * count);
    http->too_long = http->body->failed;
    return http->too_long ? 0 : size * count;
}

static int on_tick(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    const struct hub_http *http = user;
    (void)a, (void)b, (void)c, (void)d;
    return hub_stopped(http->watch, NULL) ? 1 : 0;
}

lamina_status hub_http_open(struct hub_http **out, const struct hub_env *env, const struct hub_watch *watch,
                            struct lamina_error *err) {
    struct hub_http *http = calloc(1, sizeof(*http));
    if (http == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "no memory for a connection");
    }
    *http = (struct hub_http){.env = env, .watch = watch};
    lamina_status status = hub_curl_open(&http->curl, err);
    if (status == LAMINA_OK) {
        http->easy = http->curl.easy_init();
        status = http->easy != NULL ? hub_http_prepare(&http->curl, http->easy, env, err)
                                    : base_fail(err, LAMINA_NO_FIT, "no memory for a connection");
    }
    if (status == LAMINA_OK) {
        bool good = http->curl.easy_setopt(http->easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
                    http->curl.easy_setopt(http->easy, CURLOPT_HEADERDATA, http) == CURLE_OK &&
                    http->curl.easy_setopt(http->easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
                    http->curl.easy_setopt(http->easy, CURLOPT_WRITEDATA, http) == CURLE_OK &&
                    http->curl.easy_setopt(http->easy, CURLOPT_XFERINFOFUNCTION, on_tick) == CURLE_OK &&
                    http->curl.easy_setopt(http->easy, CURLOPT_XFERINFODATA, http) == CURLE_OK &&
                    http->curl.easy_setopt(http->easy, CURLOPT_NOPROGRESS, 0L) == CURLE_OK;
        status = good ? LAMINA_OK : base_fail(err, LAMINA_UNEXPECTED, "libcurl does not take the settings of a request");
    }
    *out = http;
    if (status < 0) {
        hub_http_close(out);
    }
    return status;
}

const struct hub_curl *hub_http_curl(const struct hub_http *http) {
    return &http->curl;
}

void hub_http_close(struct hub_http **http) {
    if (*http != NULL) {
        if ((*http)->easy != NULL) {
            (*http)->curl.easy_cleanup((*http)->easy);
        }
        hub_curl_close(&(*http)->curl);
        free(*http);
        *http = NULL;
    }
}

/* One request, no redirect, no second try. *code is libcurl's. */
static lamina_status request(struct hub_http *http, const char *url, struct str *body, struct hub_headers *headers, CURLcode *code,
                             struct lamina_error *err) {
    struct curl_slist *send = hub_http_send_headers(&http->curl, http->env, url);
    *headers = (struct hub_headers){0};
    http->headers = headers;
    http->body = body;
    http->too_long = false;
    bool good = send != NULL && http->curl.easy_setopt(http->easy, CURLOPT_URL, url) == CURLE_OK &&
                http->curl.easy_setopt(http->easy, CURLOPT_HTTPHEADER, send) == CURLE_OK &&
                http->curl.easy_setopt(http->easy, CURLOPT_NOBODY, body == NULL ? 1L : 0L) == CURLE_OK;
    if (body != NULL && good) {
        str_clear(body);
        good = http->curl.easy_setopt(http->easy, CURLOPT_HTTPGET, 1L) == CURLE_OK;
    }
    *code = good ? http->curl.easy_perform(http->easy) : CURLE_OUT_OF_MEMORY;
    (void)http->curl.easy_setopt(http->easy, CURLOPT_HTTPHEADER, NULL);
    http->curl.slist_free_all(send);
    if (http->too_long) {
        return base_fail(err, LAMINA_DAMAGED, "%.300s: the answer is longer than it can be (or there is no memory for it)", url);
    }
    return *code == CURLE_ABORTED_BY_CALLBACK ? base_fail(err, LAMINA_INTERRUPTED, "interrupted while asking %.300s", url)
                                              : LAMINA_OK;
}

static lamina_status wait_for(const struct hub_watch *watch, uint64_t ns, struct lamina_error *err) {
    const uint64_t until = sys_now_ns() + ns;
    while (sys_now_ns() < until) {
        if (hub_stopped(watch, NULL)) {
            return base_fail(err, LAMINA_INTERRUPTED, "interrupted while waiting for the hub");
        }
        sys_sleep_ns(50 * 1000 * 1000);
    }
    return LAMINA_OK;
}

/* Until there is an answer that is not a passing weakness. */
static lamina_status request_patiently(struct hub_http *http, const char *url, struct str *body, struct hub_headers *headers,
                                       struct lamina_error *err) {
    for (unsigned tries = 1;; tries++) {
        CURLcode code = CURLE_OK;
        LAMINA_TRY(request(http, url, body, headers, &code, err));
        bool answered = code == CURLE_OK && headers->status != 0;
        if (answered && !hub_status_worth_retrying(headers->status)) {
            return LAMINA_OK;
        }
        bool hopeless = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
                        code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT;
        if (tries >= HUB_TRIES || hopeless) {
            return answered ? LAMINA_OK
                            : base_fail(err, LAMINA_NETWORK,
                                        "%.300s cannot be reached: %s; check the network, proxies and HF_ENDPOINT", url,
                                        http->curl.easy_strerror(code));
        }
        const uint64_t ns = hub_backoff_ns(tries, answered ? headers : NULL);
        (void)hub_say_wait(http->watch, ns, answered ? headers : NULL);
        LAMINA_TRY(wait_for(http->watch, ns, err));
    }
}

lamina_status hub_http_fetch(struct hub_http *http, const char *url, uint64_t limit, struct str *body, struct hub_headers *headers,
                             struct lamina_error *err) {
    struct str at = {0};
    lamina_status status = LAMINA_OK;
    str_add_text(&at, url);
    if (body != NULL) {
        body->limit = (size_t)limit;
    }
    for (unsigned redirects = 0;; redirects++) {
        char *to = NULL;
        status = at.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory")
                           : request_patiently(http, str_text(&at), body, headers, err);
        if (status < 0 || headers->status < 300 || headers->status >= 400 || !headers->has_location ||
            http->curl.easy_getinfo(http->easy, CURLINFO_REDIRECT_URL, &to) != CURLE_OK || to == NULL ||
            (body == NULL && !hub_same_origin(to, str_text(&http->env->endpoint)))) {
            break;
        }
        status = redirects < HUB_REDIRECTS ? hub_http_may_follow(str_text(&at), to, err)
                                           : base_fail(err, LAMINA_NETWORK, "%.300s redirects in a circle", url);
        if (status < 0) {
            break;
        }
        struct str next = {0};
        str_add_text(&next, to);
        str_drop(&at);
        at = next;
    }
    str_drop(&at);
    return status;
}
