/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening, finding the route, reading the body, and the orderly end: no request is taken any more, those that run have a time of
 * grace, then they end with an error, and everybody gets what was written for them.
 */
#include "app/server/server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "app/server/batches.h"
#include "app/server/server_priv.h"
#include "base/hash.h"
#include "base/status.h"

enum { BACKLOG = 256, CONNECTION_MEMORY = 32 << 10, PER_ADDRESS = 128,
       THREAD_STACK = 2 << 20 /* address space; templates nest */ };

/* ---- requests ---- */

static bool path_fits(const struct route *r, const char *url, const char **rest) {
    size_t n = strlen(r->path);
    if (n > 1 && r->path[n - 1] == '/') {
        *rest = url + n;
        return strncmp(url, r->path, n) == 0 && url[n] != '\0';
    }
    return strcmp(url, r->path) == 0;
}

static void find_route(struct exchange *x, bool *known) {
    const char *method = strcmp(x->method, "HEAD") == 0 ? "GET" : x->method;
    for (size_t i = 0; i < server_route_count && x->route == NULL; i++) {
        const char *rest = NULL;
        if (path_fits(&server_routes[i], x->url, &rest)) {
            *known = true;
            if (strcmp(server_routes[i].method, method) == 0) {
                x->route = &server_routes[i];
                x->rest = rest;
            }
        }
    }
}

static enum MHD_Result begin(struct exchange *x) {
    struct refusal why = {0};
    struct str empty = {0};
    bool known = false;
    find_route(x, &known);
    if (!guard_check(x, &why)) {
        x->refused = true;
        exchange_refuse(x, &why);
        return x->queued;
    }
    if (known && strcmp(x->method, "OPTIONS") == 0) {
        exchange_text(x, 204, "text/plain", &empty);
        return x->queued;
    }
    if (x->route == NULL) {
        (void)(known ? refuse(&why, 405, "invalid_request_error", NULL, "%s is not what %s answers to", x->method, x->url)
                     : refuse(&why, 404, "invalid_request_error", "unknown_url", "there is nothing at %s", x->url));
        x->refused = true;
        exchange_refuse(x, &why);
        return x->queued;
    }
    if (x->server->ending && !x->route->open) {
        (void)refuse(&why, 503, "server_error", "shutting_down", "the server is ending: it takes no more requests");
        x->refused = true;
        exchange_refuse(x, &why);
        return x->queued;
    }
    return MHD_YES;
}

/* The next bytes of a body. Past a limit they are dropped, and the reply says so; far past it the connection ends. */
static enum MHD_Result take_body(struct exchange *x, const char *bytes, size_t len) {
    struct server *s = x->server;
    if (!x->refused && x->route->form) {
        return upload_take(x, bytes, len);
    }
    if (!x->refused) {
        x->counted += len;
        uint64_t all = atomic_fetch_add(&s->body_bytes, len) + len;
        bool large = x->body.len + len > SERVER_BODY_LIMIT;
        x->crowded = !large && all > SERVER_BODIES_LIMIT;
        x->refused = large || x->crowded;
    }
    if (x->refused) {
        exchange_body_drop(x, 0);
        x->dropped += len;
        return x->dropped > 4 * SERVER_BODY_LIMIT ? MHD_NO : MHD_YES;
    }
    str_add(&x->body, bytes, len);
    return x->body.failed ? MHD_NO : MHD_YES;
}

static enum MHD_Result finish_body(struct exchange *x) {
    struct refusal why = {0};
    if (x->refused) {
        (void)(x->crowded ? refuse(&why, 429, "rate_limit_error", "bodies_full",
                                   "%d MiB of other requests are being read or wait for their answers; try again later",
                                   SERVER_BODIES_LIMIT >> 20)
                          : refuse(&why, 413, "invalid_request_error", NULL, "the body is larger than %d bytes",
                                   SERVER_BODY_LIMIT));
        exchange_refuse(x, &why);
    } else {
        x->route->handle(x);
    }
    return x->queued;
}

static struct exchange *exchange_new(struct server *s, struct MHD_Connection *connection, const char *url, const char *method) {
    struct exchange *x = (struct exchange *)calloc(1, sizeof(*x));
    if (x != NULL) {
        const union MHD_ConnectionInfo *info = s->http.get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        x->server = s;
        x->connection = connection;
        x->fd = info != NULL ? info->connect_fd : -1;
        x->method = method;
        (void)snprintf(x->url, sizeof(x->url), "%s", strlen(url) < sizeof(x->url) ? url : "(a long path)");
        answer_random_id(x->id, sizeof(x->id), "req_");
        atomic_fetch_add(&s->active, 1);
        atomic_fetch_add(&s->requests, 1);
    }
    return x;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *bytes, size_t *len, void **state) {
    struct exchange *x = (struct exchange *)*state;
    (void)version;
    if (x == NULL) {
        *state = x = exchange_new((struct server *)user, connection, url, method);
        return x != NULL ? begin(x) : MHD_NO;
    }
    if (*len > 0) {
        enum MHD_Result result = take_body(x, bytes, *len);
        *len = 0;
        return result;
    }
    return finish_body(x);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode code) {
    struct exchange *x = (struct exchange *)*state;
    (void)user;
    (void)code;
    if (x != NULL) {
        struct server *s = x->server;
        /* A stream took the limit away; the connection may be idle from now on. */
        (void)s->http.set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)SERVER_IDLE_S);
        exchange_drop(x);
        free(x);
        *state = NULL;
        atomic_fetch_sub(&s->active, 1);
    }
}

/* ---- listening ---- */

static lamina_status listen_unix(struct server *s, int *fd, struct lamina_error *err) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *path = s->o.uds;
    struct stat there;
    if (strlen(path) >= sizeof(at.sun_path)) {
        return base_fail(err, LAMINA_USAGE, "--uds %s: a socket's path has at most %zu bytes", path, sizeof(at.sun_path) - 1);
    }
    memcpy(at.sun_path, path, strlen(path) + 1);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0) {
        return base_fail_errno(err, errno, "cannot make a socket");
    }
    if (lstat(path, &there) == 0) {
        if (!S_ISSOCK(there.st_mode)) {
            return base_fail(err, LAMINA_USAGE, "--uds %s: something else is there", path);
        }
        if (connect(*fd, (struct sockaddr *)&at, sizeof(at)) == 0) {
            return base_fail(err, LAMINA_BUSY, "--uds %s: another server listens there", path);
        }
        (void)unlink(path); /* of one that ended without a word */
    }
    mode_t before = umask(0177);
    int bound = bind(*fd, (struct sockaddr *)&at, sizeof(at));
    umask(before);
    if (bound < 0 || listen(*fd, BACKLOG) < 0) {
        return base_fail_errno(err, errno, "cannot listen at %s", path);
    }
    (void)snprintf(s->bound, sizeof(s->bound), "%s", path);
    s->loopback = true;
    return LAMINA_OK;
}

/* Notes where the socket is bound: the port, the address in digits, whether other machines reach it. */
static lamina_status note_bound(struct server *s, int fd, struct lamina_error *err) {
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof(at);
    char port[NI_MAXSERV];
    int failed = getsockname(fd, (struct sockaddr *)&at, &len) < 0
        ? EAI_SYSTEM
        : getnameinfo((struct sockaddr *)&at, len, s->address, sizeof(s->address), port, sizeof(port),
                      NI_NUMERICHOST | NI_NUMERICSERV);
    if (failed != 0) {
        return base_fail(err, LAMINA_UNEXPECTED, "--host %s: the address of the socket is not told: %s", s->o.host,
                         gai_strerror(failed));
    }
    bool v6 = at.ss_family == AF_INET6;
    s->loopback = v6 ? IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)&at)->sin6_addr) != 0
                     : ntohl(((const struct sockaddr_in *)(const void *)&at)->sin_addr.s_addr) >> 24 == 127;
    s->port = (uint32_t)strtoul(port, NULL, 10);
    (void)snprintf(s->bound, sizeof(s->bound), v6 ? "[%s]:%u" : "%s:%u", s->address, s->port);
    return LAMINA_OK;
}

/* A socket that listens there, or -1 with errno. */
static int listen_at(const struct addrinfo *at) {
    int one = 1;
    int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
                    bind(fd, at->ai_addr, at->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)) {
        int why = errno;
        (void)close(fd);
        errno = why;
        fd = -1;
    }
    return fd;
}

/* At the first address of the host where that is possible. */
static lamina_status listen_tcp(struct server *s, int *fd, struct lamina_error *err) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char service[12];
    int why = 0;
    (void)snprintf(service, sizeof(service), "%u", s->o.port);
    int failed = getaddrinfo(s->o.host, service, &hints, &found);
    if (failed != 0) {
        return base_fail(err, LAMINA_USAGE, "--host %s: %s", s->o.host, gai_strerror(failed));
    }
    for (const struct addrinfo *at = found; at != NULL && *fd < 0; at = at->ai_next) {
        *fd = listen_at(at);
        why = *fd < 0 && why == 0 ? errno : why;
    }
    freeaddrinfo(found);
    if (*fd < 0) {
        return base_fail_errno(err, why, "cannot listen at %s port %u", s->o.host, s->o.port);
    }
    return note_bound(s, *fd, err);
}

static lamina_status start_listening(struct server *s, int *fd, struct lamina_error *err) {
    LAMINA_TRY(s->o.uds != NULL ? listen_unix(s, fd, err) : listen_tcp(s, fd, err));
    if (!s->loopback && s->o.api_key == NULL) {
        s->o.say(0, "%s can be reached from other machines and asks for no key; --api-key (or LAMINA_API_KEY) sets one", s->bound);
    }
    s->daemon = s->http.start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC, 0, NULL, NULL, on_request, s,
        MHD_OPTION_LISTEN_SOCKET, (MHD_socket)*fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)s->o.connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT, s->loopback ? 0u : (unsigned)PER_ADDRESS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SERVER_IDLE_S,
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)THREAD_STACK, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    return s->daemon != NULL ? LAMINA_OK : base_fail(err, LAMINA_UNEXPECTED, "libmicrohttpd cannot serve %s", s->bound);
}

/* ---- life ---- */

static void sleep_ms(long ms) {
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

/* Waits until nothing runs, at most `ms`. */
static bool wait_idle(struct server *s, long ms) {
    for (; ms > 0 && !engine_idle(s->engine); ms -= 20) {
        sleep_ms(20);
    }
    return engine_idle(s->engine);
}

static void end_orderly(struct server *s) {
    s->ending = true;
    engine_refuse(s->engine);
    s->o.say(1, "ending: no more requests are taken, those at work have %u s", s->o.grace_s);
    if (!wait_idle(s, (long)s->o.grace_s * 1000)) {
        engine_cut(s->engine, "the server ended before the answer did");
        while (!wait_idle(s, 1000)) { /* a pass at hand is computed to its end */
        }
    }
    batches_end(s->batches); /* what its last answers brought is on disk then; requests find it closed */
    for (int i = 0; i < 100 && atomic_load(&s->active) > 0; i++) { /* what was written is sent */
        sleep_ms(20);
    }
}

static void place_init(struct server *s) {
    const struct lamina_plan *plan = lamina_model_plan(s->o.model);
    struct lamina_info info;
    char text[256];
    lamina_model_info(s->o.model, &info);
    s->place = (struct answer_place){.engine = s->engine, .model = s->o.model, .text = lamina_model_text(s->o.model),
                                     .name = s->o.name,
                                     .context_tokens = s->o.context_tokens, .vocab = plan->vocab,
                                         .most_positions = plan->most_positions};
    lamina_sampling_of_model(s->o.model, &s->place.sampling);
    answer_place_init(&s->place);
    int n = snprintf(text, sizeof(text), "%s %s %s %llu", lamina_version(), info.architecture, info.codec,
                     (unsigned long long)info.store_bytes);
    (void)snprintf(s->place.fingerprint, sizeof(s->place.fingerprint), "fp_%016llx",
                   (unsigned long long)hash_xxh3_64(text, (size_t)n));
}

lamina_status server_run(const struct server_options *o, struct lamina_error *err) {
    struct server s = {.o = *o, .created = (int64_t)time(NULL)};
    struct engine_options eo = {.model = o->model, .parallel = o->parallel, .queue = o->queue, .logit_rows = o->logit_rows,
                                .context_tokens = o->context_tokens};
    int fd = -1;
    lamina_status status = httpd_open(&s.http, err);
    (void)signal(SIGPIPE, SIG_IGN);
#ifdef __GLIBC__
    (void)mallopt(M_ARENA_MAX, 2); /* a heap for each of many short threads would keep what they freed */
#endif
    if (status == LAMINA_OK) {
        status = engine_start(&s.engine, &eo, err);
    }
    if (status == LAMINA_OK) {
        atomic_store(&o->watch->engine, s.engine);
        place_init(&s);
        status = batches_open(&s.batches, &s, err);
    }
    if (status == LAMINA_OK) {
        status = start_listening(&s, &fd, err);
    }
    if (status == LAMINA_OK) {
        if (o->uds == NULL) {
            o->listening(o->listening_user, s.port);
        }
        o->say(1, "serving %s at %s%s", o->name, o->uds != NULL ? "" : "http://", s.bound);
        while (!o->stop()) {
            sleep_ms(50);
        }
        (void)s.http.quiesce_daemon(s.daemon);
        end_orderly(&s);
        s.http.stop_daemon(s.daemon);
    }
    batches_free(&s.batches);
    atomic_store(&o->watch->engine, NULL);
    engine_stop(&s.engine);
    if (fd >= 0) {
        (void)close(fd);
    }
    if (o->uds != NULL && s.bound[0] != '\0') {
        (void)unlink(o->uds);
    }
    return status;
}
