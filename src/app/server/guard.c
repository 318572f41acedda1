/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may ask. A page in a browser can reach this machine's ports: so the Host must be a name of ours (a page whose name was bound
 * anew to 127.0.0.1 has another one), the Origin must be ours or allowed, and a body must be JSON, which no form can send. Keys are
 * compared in a time that does not depend on them.
 */
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "app/server/server_priv.h"

struct headers {
    unsigned host, length, encoding, count;
    bool bad_encoding, bad_length;
};

static enum MHD_Result count_header(void *user, enum MHD_ValueKind kind, const char *key, const char *value) {
    struct headers *h = (struct headers *)user;
    (void)kind;
    h->count++;
    if (strcasecmp(key, "Host") == 0) {
        h->host++;
    } else if (strcasecmp(key, "Content-Length") == 0) {
        h->length++;
        h->bad_length = h->bad_length || value == NULL || *value == '\0' || strspn(value, "0123456789") != strlen(value);
    } else if (strcasecmp(key, "Transfer-Encoding") == 0) {
        h->encoding++;
        h->bad_encoding = h->bad_encoding || value == NULL || strcasecmp(value, "chunked") != 0;
    }
    return MHD_YES;
}

/* What two servers in a row could read differently. */
static bool check_framing(struct exchange *x, struct refusal *why) {
    struct headers h = {0};
    (void)x->server->http.get_connection_values(x->connection, MHD_HEADER_KIND, count_header, &h);
    if (h.count > 100 || h.host > 1 || h.length > 1 || h.encoding > 1 || (h.length > 0 && h.encoding > 0) || h.bad_encoding ||
        h.bad_length) {
        return refuse(why, 400, "invalid_request_error", NULL,
                      "the headers frame the body in more than one way, or in none that is known");
    }
    return true;
}

static const char *header(const struct exchange *x, const char *name) {
    return x->server->http.lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

/* "name", "name:port", "[::1]:port": the name without brackets. False when it is none of these. */
static bool split_host(const char *host, char name[256]) {
    const char *end = host + strlen(host);
    const char *colon = strrchr(host, ':');
    if (host[0] == '[') {
        const char *close = strchr(host, ']');
        if (close == NULL || (close[1] != '\0' && close[1] != ':')) {
            return false;
        }
        end = close;
        colon = close[1] == ':' ? close + 1 : NULL;
        host++;
    } else if (colon != NULL) {
        end = colon;
    }
    size_t len = (size_t)(end - host);
    size_t digits = colon != NULL ? strspn(colon + 1, "0123456789") : 0;
    if (len == 0 || len > 255 || (colon != NULL && (digits == 0 || digits > 5 || colon[1 + digits] != '\0'))) {
        return false;
    }
    memcpy(name, host, len);
    name[len] = '\0';
    return true;
}

static bool is_loopback(const char *name) {
    struct in_addr v4;
    struct in6_addr v6;
    if (strcasecmp(name, "localhost") == 0) {
        return true;
    }
    if (inet_pton(AF_INET, name, &v4) == 1) {
        return ntohl(v4.s_addr) >> 24 == 127;
    }
    return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool is_address(const char *name) {
    struct in6_addr any;
    return inet_pton(AF_INET, name, &any) == 1 || inet_pton(AF_INET6, name, &any) == 1;
}

/* A name of ours, allowed with or without its port. Bound to every address, any address is: rebinding needs a name. The port is the
 * one the client connected to, which is not ours where it is forwarded (ssh -L, a container): it tells nothing about the client. */
static bool is_ours(const struct server *s, const char *host, const char *name) {
    const char *bound = s->o.host;
    bool any = strcmp(bound, "0.0.0.0") == 0 || strcmp(bound, "::") == 0;
    for (uint32_t i = 0; i < s->o.allowed_host_count; i++) {
        if (strcasecmp(s->o.allowed_hosts[i], name) == 0 || strcasecmp(s->o.allowed_hosts[i], host) == 0) {
            return true;
        }
    }
    return is_loopback(name) || strcasecmp(name, bound) == 0 || strcmp(name, s->address) == 0 || (any && is_address(name));
}

static bool check_host(struct exchange *x, struct refusal *why) {
    const struct server *s = x->server;
    const char *host = header(x, "Host");
    char name[256];
    if (s->o.uds != NULL) {
        return true; /* who reaches the socket is no page of a browser */
    }
    if (host == NULL || !split_host(host, name) || !is_ours(s, host, name)) {
        return refuse(why, 403, "invalid_request_error", "host_not_allowed",
                      "the Host \"%.100s\" is no name of this server; start it with --allowed-host to allow it",
                      host != NULL ? host : "");
    }
    return true;
}

static bool check_origin(struct exchange *x, struct refusal *why) {
    const struct server *s = x->server;
    const char *origin = header(x, "Origin");
    const char *host = header(x, "Host");
    if (origin == NULL) {
        return true;
    }
    for (uint32_t i = 0; i < s->o.cors_origin_count; i++) {
        if (strcmp(s->o.cors_origins[i], "*") == 0 || strcasecmp(s->o.cors_origins[i], origin) == 0) {
            (void)snprintf(x->origin, sizeof(x->origin), "%s", strlen(origin) < sizeof(x->origin) ? origin : "null");
            return true;
        }
    }
    if (host != NULL && strncmp(origin, "http://", 7) == 0 && strcasecmp(origin + 7, host) == 0) {
        return true;
    }
    return refuse(why, 403, "invalid_request_error", "origin_not_allowed",
                  "pages of \"%.100s\" may not use this server; start it with --cors-origin to allow them", origin);
}

/* Every byte of the given one is looked at, whatever the first difference. */
static bool same_key(const char *given, const char *key) {
    size_t n = strlen(given);
    size_t m = strlen(key);
    volatile unsigned char differs = n != m;
    for (size_t i = 0; i < n; i++) {
        differs = (unsigned char)(differs | ((unsigned char)given[i] ^ (unsigned char)key[m > 0 ? i % m : 0]));
    }
    return differs == 0;
}

static bool check_key(struct exchange *x, struct refusal *why) {
    const char *key = x->server->o.api_key;
    const char *bearer = header(x, "Authorization");
    const char *plain = header(x, "x-api-key");
    if (key == NULL || (x->route != NULL && x->route->open)) {
        return true;
    }
    if (bearer != NULL && strncasecmp(bearer, "Bearer ", 7) == 0 && same_key(bearer + 7, key)) {
        return true;
    }
    if (plain != NULL && same_key(plain, key)) {
        return true;
    }
    return refuse(why, 401, "authentication_error", "invalid_api_key",
                  bearer == NULL && plain == NULL ? "this server wants its key: Authorization: Bearer KEY"
                                                  : "the key is not this server's");
}

static bool check_body(struct exchange *x, struct refusal *why) {
    const char *type = header(x, "Content-Type");
    const char *length = header(x, "Content-Length");
    const char *wanted = x->route->form ? "multipart/form-data" : "application/json";
    unsigned long long limit = x->route->form ? SERVER_FILE_LIMIT : SERVER_BODY_LIMIT;
    unsigned long long bytes = 0;
    if (strcmp(x->method, "POST") != 0) {
        return true;
    }
    for (const char *p = length; p != NULL && *p != '\0'; p++) {
        bytes = bytes > limit ? bytes : bytes * 10 + (unsigned long long)(*p - '0');
    }
    if (bytes > limit) {
        return refuse(why, 413, "invalid_request_error", NULL, "the body is larger than %llu bytes", limit);
    }
    bool empty = bytes == 0 && header(x, "Transfer-Encoding") == NULL;
    if (!empty && (type == NULL || strncasecmp(type, wanted, strlen(wanted)) != 0)) {
        return refuse(why, 415, "invalid_request_error", NULL, "the body must be %s, and Content-Type say so", wanted);
    }
    return true;
}

bool guard_check(struct exchange *x, struct refusal *why) {
    bool preflight = strcmp(x->method, "OPTIONS") == 0;
    return check_framing(x, why) && check_host(x, why) && check_origin(x, why) && (preflight || check_key(x, why)) &&
           (x->route == NULL || check_body(x, why));
}
