/* SPDX-License-Identifier: Apache-2.0
 *
 * The headers of a server's answer, line by line, and what a refusal means in words. Pure: bytes in, facts out; any bytes may
 * come. The hub tells apart what HTTP's status does not by X-Error-Code; for a missing and for a private repository it answers
 * the same on purpose. */
#include <string.h>

#include "hub/hub_priv.h"

enum { MOST_HEADER_BYTES = 256 << 10 };

static uint8_t lower(uint8_t c) {
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

/* The value after "name:", without blanks around it. */
static bool value_of(struct span line, const char *name, struct span *value) {
    size_t n = strlen(name);
    if (line.len <= n || line.ptr[n] != ':') {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (lower(line.ptr[i]) != (uint8_t)name[i]) {
            return false;
        }
    }
    struct span v = span_sub(line, n + 1, line.len);
    while (v.len > 0 && (v.ptr[0] == ' ' || v.ptr[0] == '\t')) {
        v = span_sub(v, 1, v.len);
    }
    while (v.len > 0 && v.ptr[v.len - 1] <= ' ') {
        v.len--;
    }
    *value = v;
    return true;
}

/* Digits at the front of *text, which moves behind them. */
static bool take_number(struct span *text, uint64_t *out) {
    uint64_t value = 0;
    size_t i = 0;
    for (; i < text->len && text->ptr[i] >= '0' && text->ptr[i] <= '9'; i++) {
        if (value > (UINT64_MAX >> 2) / 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(text->ptr[i] - '0');
    }
    *text = span_sub(*text, i, text->len);
    *out = value;
    return i > 0;
}

static bool whole_number(struct span text, uint64_t *out) {
    return take_number(&text, out) && text.len == 0;
}

static bool take_text(struct span *text, const char *word) {
    if (!span_starts_with(*text, word)) {
        return false;
    }
    *text = span_sub(*text, strlen(word), text->len);
    return true;
}

/* W/"..." or "...", or bare. Only what can name a blob is kept. */
static void read_etag(struct hub_headers *h, struct span v) {
    (void)take_text(&v, "W/");
    if (v.len >= 2 && v.ptr[0] == '"' && v.ptr[v.len - 1] == '"') {
        v = span_sub(v, 1, v.len - 2);
    }
    if (hub_is_etag(v)) {
        memcpy(h->etag, v.ptr, v.len);
        h->etag[v.len] = 0;
    }
}

/* "bytes 0-99/1234" */
static void read_range(struct hub_headers *h, struct span v) {
    uint64_t last = 0;
    h->has_range = take_text(&v, "bytes ") && take_number(&v, &h->range_begin) && take_text(&v, "-") && take_number(&v, &last) &&
                   take_text(&v, "/") && whole_number(v, &h->range_total) && last >= h->range_begin;
    h->range_end = last + 1;
}

/* The value of ";name=" in one limit. */
static bool parameter(struct span limit, const char *name, uint64_t *out) {
    for (size_t i = 0; i < limit.len; i++) {
        struct span rest = span_sub(limit, i, limit.len);
        if (take_text(&rest, name)) {
            return take_number(&rest, out);
        }
    }
    return false;
}

/* "resolvers";r=0;t=55: none are left, new ones come in 55 s. There may be several, with commas between: the longest wait for one
 * that is used up counts; for any when the answer is that there were too many requests and none says to be the one. */
static void read_rate_limit(struct hub_headers *h, struct span v) {
    uint64_t used_up = 0;
    uint64_t any = 0;
    while (v.len > 0) {
        const uint8_t *comma = memchr(v.ptr, ',', v.len);
        const struct span limit = span_sub(v, 0, comma != NULL ? (size_t)(comma - v.ptr) : v.len);
        uint64_t left = 1;
        uint64_t s = 0;
        v = span_sub(v, limit.len + (comma != NULL), v.len);
        if (parameter(limit, ";t=", &s) && s < 3600) {
            used_up = parameter(limit, ";r=", &left) && left == 0 && s + 1 > used_up ? s + 1 : used_up;
            any = s + 1 > any ? s + 1 : any;
        }
    }
    h->limit_reset_s = (uint32_t)(used_up > 0 ? used_up : h->status == 429 ? any : 0);
}

static void copy_words(char *out, size_t len, struct span v) {
    size_t n = 0;
    for (size_t i = 0; i < v.len && n + 1 < len; i++) {
        out[n++] = v.ptr[i] >= 0x20 && v.ptr[i] < 0x7f ? (char)v.ptr[i] : '?';
    }
    out[n] = 0;
}

static void read_field(struct hub_headers *h, struct span line) {
    struct span v;
    uint64_t n = 0;
    if (value_of(line, "x-linked-etag", &v)) {
        h->etag[0] = 0;
        read_etag(h, v);
    } else if (value_of(line, "etag", &v)) {
        if (h->etag[0] == 0) {
            read_etag(h, v);
        }
    } else if (value_of(line, "x-repo-commit", &v)) {
        if (v.len == HUB_COMMIT_LEN && hub_is_etag(v)) {
            memcpy(h->commit, v.ptr, v.len);
            h->commit[v.len] = 0;
        }
    } else if (value_of(line, "x-linked-size", &v)) {
        h->has_linked_size = whole_number(v, &h->size);
        h->has_size = h->has_size || h->has_linked_size;
    } else if (value_of(line, "content-length", &v)) {
        if (!h->has_linked_size && whole_number(v, &n)) {
            h->size = n;
            h->has_size = true;
        }
    } else if (value_of(line, "content-range", &v)) {
        read_range(h, v);
    } else if (value_of(line, "content-encoding", &v)) {
        h->encoded = v.len > 0 && !span_is(v, "identity");
    } else if (value_of(line, "location", &v)) {
        h->has_location = v.len > 0;
    } else if (value_of(line, "retry-after", &v)) {
        if (!h->has_retry_after && whole_number(v, &n) && n < 3600) {
            h->retry_after_s = (uint32_t)n;
            h->has_retry_after = true;
        }
    } else if (value_of(line, "ratelimit", &v)) {
        read_rate_limit(h, v);
    } else if (value_of(line, "x-error-code", &v)) {
        copy_words(h->error_code, sizeof(h->error_code), v);
    } else if (value_of(line, "x-error-message", &v)) {
        copy_words(h->error_message, sizeof(h->error_message), v);
    }
}

bool hub_headers_line(struct hub_headers *h, struct span line) {
    uint32_t bytes = h->bytes;
    if (line.len > MOST_HEADER_BYTES || bytes + line.len > MOST_HEADER_BYTES) {
        return false;
    }
    bytes += (uint32_t)line.len;
    if (span_starts_with(line, "HTTP/")) { /* a new answer: of a proxy, or after "100 Continue" */
        const uint8_t *blank = memchr(line.ptr, ' ', line.len);
        uint64_t status = 0;
        *h = (struct hub_headers){0};
        if (blank != NULL) {
            struct span rest = span_sub(line, (size_t)(blank - line.ptr) + 1, line.len);
            h->status = take_number(&rest, &status) && status < 1000 ? (uint32_t)status : 0;
        }
    } else {
        read_field(h, line);
    }
    h->bytes = bytes;
    return true;
}

bool hub_status_worth_retrying(uint32_t status) {
    return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

static lamina_status refuse_gated(const struct hub_headers *h, const struct hub_env *env, const char *id,
                                  struct lamina_error *err) {
    const char *at = str_text(&env->endpoint);
    if (h->status == 401 || env->token.len == 0) {
        return base_fail(err, LAMINA_AUTH,
                         "%s is gated: accept its terms on %s/%s, then set HF_TOKEN to a token from %s/settings/tokens, or put it "
                         "into the token file with `hf auth login`",
                         id, at, id, at);
    }
    return base_fail(
        err, LAMINA_AUTH,
        "%s is gated and this token's account is not on its list: ask for access on %s/%s and wait until it is granted", id, at,
        id);
}

lamina_status hub_headers_refuse(const struct hub_headers *h, const struct hub_env *env, const char *id, const char *revision,
                                 const char *what, struct lamina_error *err) {
    const char *at = str_text(&env->endpoint);
    const bool token = env->token.len > 0;
    if (strcmp(h->error_code, "GatedRepo") == 0) {
        return refuse_gated(h, env, id, err);
    }
    if (strstr(h->error_message, "Invalid credentials") != NULL || strstr(h->error_message, "Invalid username") != NULL) {
        return base_fail(err, LAMINA_AUTH,
                         "the hub does not know the token it was given (%s): make a new one at %s/settings/tokens",
                         "HF_TOKEN, or the token file", at);
    }
    if (strcmp(h->error_code, "RevisionNotFound") == 0) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s has no revision \"%s\"; its branches are listed at %s/%s/tree/main", id,
                         revision, at, id);
    }
    if (strcmp(h->error_code, "EntryNotFound") == 0) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s has no file %s at revision %s", id, what, revision);
    }
    if (h->status == 404 || h->status == 401) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s is not on %s, or it is private: check the name; for a private one %s", id, at,
                         token ? "the token must belong to somebody who may read it" : "set HF_TOKEN");
    }
    if (h->status == 403) {
        return base_fail(err, LAMINA_AUTH, "the hub refuses access to %s%s%s: %s", id,
                         h->error_message[0] != 0 ? ", in its words: " : "", h->error_message,
                         token ? "the token may lack the right to read it (see its scopes)" : "set HF_TOKEN");
    }
    if (h->status == 429) {
        return base_fail(err, LAMINA_NETWORK, "%s answers too many requests (429) again and again: wait some minutes%s", at,
                         token ? "" : ", or set HF_TOKEN, which raises the limit");
    }
    return base_fail(err, LAMINA_NETWORK, "%s answered %u for %s%s%s; try again later, finished parts are kept", at, h->status,
                     what, h->error_message[0] != 0 ? ": " : "", h->error_message);
}
