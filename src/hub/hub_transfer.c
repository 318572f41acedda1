/* SPDX-License-Identifier: Apache-2.0
 *
 * Fetching many files at once: a number of connections, each carrying one piece of some file, driven by one thread through
 * libcurl's multi interface. Where a file lies is asked of the hub once (it redirects to a signed address elsewhere, which is
 * then asked for ranges without the token) and again when that address has expired.
 *
 *     file:       waiting -> open (locked) -> whole -> blob          files are opened in order, as connections fall idle
 *     connection: idle -> ready (has a piece, may have to wait) -> active -> idle, or ready again after a failure
 *
 * A dropped connection goes on where it ended; a server that ignores ranges is read in one stream from the start. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "hub/hub_curl.h"
#include "hub/hub_priv.h"
#include "sys/thread.h"

enum { MOST_CONNECTIONS = 64, LOCK_RETRY_MS = 300, POLL_MS = 50, TICK_MS = 100 };

enum file_phase { FILE_WAITING, FILE_OPEN, FILE_READY };

struct fetch {
    struct hub_file *file;
    uint32_t number;          /* of the job's files */
    enum file_phase phase;
    struct hub_part own, *part; /* part: of the stream, else own */
    struct str source;        /* the hub's address of the file, after redirects on the hub itself */
    struct str target;        /* where the bytes are; empty: not known */
    struct connection *asker; /* who finds that out now */
    bool no_ranges, noted;
    unsigned redirects, expired;
    uint32_t addresses;       /* how many the hub has given: which of them a request went to */
    uint64_t retry_ns;        /* when the lock may be tried again */
};

struct connection {
    struct engine *engine;
    CURL *easy;
    struct curl_slist *send;
    struct fetch *fetch;      /* NULL: idle */
    struct hash_stream *hash; /* of the piece at hand, up to `at` */
    struct hub_headers headers;
    uint64_t at, end, not_before_ns;
    unsigned failures;
    uint32_t address; /* that the request went to */
    bool active, asking, ranged, checked, restart;
    lamina_status failed;     /* of storing what came */
};

struct engine {
    const struct hub_curl *curl;
    const struct hub_transfer_job *job;
    const struct hub_env *env;
    CURLM *multi;
    struct connection *connections;
    uint32_t connection_count;
    struct fetch *files;
    uint32_t whole;            /* files that are blobs now */
    uint64_t total_bytes, finished_bytes, finished_resumed_bytes;
    uint64_t began_ns, ticked_ns, told_ns; /* told: until when a wait has been announced */
    struct lamina_error *err;
};

static void note(const struct engine *e, const char *words, const char *path) {
    struct str text = {0};
    str_printf(&text, "%s%s", words, path);
    if (e->job->pull->watch.log != NULL) {
        e->job->pull->watch.log(e->job->pull->watch.user, LOG_NOTE, str_text(&text));
    }
    str_drop(&text);
}

/* ---- bytes that come ---- */

static lamina_status restart_hash(struct connection *c) {
    hash_stream_close(&c->hash);
    c->hash = hash_stream_open();
    return c->hash != NULL ? LAMINA_OK : base_fail(c->engine->err, LAMINA_NO_FIT, "out of memory for a checksum");
}

/* Is this the answer to what was asked? Said once per answer, before its first byte is kept. */
static lamina_status check_answer(struct connection *c) {
    struct fetch *f = c->fetch;
    const struct hub_headers *h = &c->headers;
    c->checked = true;
    if (h->encoded) {
        return base_fail(c->engine->err, LAMINA_NETWORK,
                         "%s comes compressed, though that was not asked for; is a proxy in between?", f->file->path);
    }
    if (h->status == 206) {
        bool fits = h->has_range && h->range_begin == c->at && h->range_end == c->end && h->range_total == f->file->size;
        return fits ? LAMINA_OK
                    : base_fail(c->engine->err, LAMINA_DAMAGED,
                                "%s: the server sends other bytes than were asked for (%" PRIu64 " to %" PRIu64 " of %" PRIu64
                                ", asked: %" PRIu64 " to %" PRIu64 " of %" PRIu64 ")",
                                f->file->path, h->range_begin, h->range_end, h->range_total, c->at, c->end, f->file->size);
    }
    if (c->ranged && c->engine->job->stream != NULL) {
        return base_fail(c->engine->err, LAMINA_UNSUPPORTED,
                         "%s: the server gives no ranges, which splitting while it comes cannot do without; pull it whole",
                         f->file->path);
    }
    if (c->ranged) { /* 200: the whole file, whatever was asked */
        c->restart = true;
        return LAMINA_NETWORK;
    }
    return !h->has_size || h->size == f->file->size
               ? LAMINA_OK
               : base_fail(c->engine->err, LAMINA_DAMAGED, "%s: the server sends %" PRIu64 " bytes, the hub announced %" PRIu64,
                           f->file->path, h->size, f->file->size);
}

static lamina_status store(struct connection *c, const uint8_t *bytes, size_t len) {
    struct fetch *f = c->fetch;
    struct hub_part *part = f->part;
    while (len > 0) {
        uint32_t piece = (uint32_t)(c->at / part->piece_bytes);
        size_t n = (size_t)min_u64(len, hub_part_end(part, piece) - c->at);
        if (part->state[piece] != HUB_PIECE_DONE) {
            if (c->at == hub_part_begin(part, piece)) {
                LAMINA_TRY(restart_hash(c));
            }
            LAMINA_TRY(sys_file_write_at(&part->file, part->data, c->at, bytes, n, c->engine->err));
            hash_stream_add(c->hash, bytes, n);
            if (c->at + n == hub_part_end(part, piece)) {
                LAMINA_TRY(c->engine->job->stream != NULL
                               ? hub_stream_piece_done(c->engine->job->stream, f->number, piece, c->engine->err)
                               : hub_part_piece_done(part, piece, hash_stream_value(c->hash), c->engine->err));
            }
        }
        c->at += n;
        bytes += n;
        len -= n;
    }
    return LAMINA_OK;
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *user) {
    struct connection *c = user;
    size_t len = size * count;
    if (c->headers.status != 200 && c->headers.status != 206) {
        return len; /* words about a refusal or a redirect */
    }
    if (!c->checked) {
        c->failed = check_answer(c);
        if (c->failed == LAMINA_OK && c->asking) { /* the hub itself has the bytes */
            str_clear(&c->fetch->target);
            str_add_text(&c->fetch->target, str_text(&c->fetch->source));
            c->fetch->asker = NULL;
            c->asking = false;
        }
    }
    if (c->failed == LAMINA_OK && len > c->end - c->at) {
        c->failed = base_fail(c->engine->err, LAMINA_DAMAGED, "%s: more bytes come than were asked for", c->fetch->file->path);
    }
    if (c->failed == LAMINA_OK) {
        c->failed = store(c, (const uint8_t *)bytes, len);
        c->failures = c->fetch->no_ranges ? c->failures : 0; /* from the start each time: bytes are no progress */
        c->fetch->expired = 0;
    }
    return c->failed == LAMINA_OK ? len : 0;
}

static size_t on_header_line(char *bytes, size_t size, size_t count, void *user) {
    struct connection *c = user;
    return hub_headers_line(&c->headers, span_of(bytes, size * count)) ? size * count : 0;
}

/* ---- asking ---- */

static lamina_status issue(struct connection *c) {
    struct engine *e = c->engine;
    struct fetch *f = c->fetch;
    char range[64];
    c->asking = f->target.len == 0;
    c->address = f->addresses;
    const char *url = str_text(c->asking ? &f->source : &f->target);
    c->headers = (struct hub_headers){0};
    c->checked = c->restart = false;
    c->failed = LAMINA_OK;
    c->ranged = !f->no_ranges && (c->at > 0 || c->end < f->file->size);
    (void)snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, c->at, c->end - 1);
    e->curl->slist_free_all(c->send);
    c->send = hub_http_send_headers(e->curl, e->env, url);
    bool good = c->send != NULL && e->curl->easy_setopt(c->easy, CURLOPT_URL, url) == CURLE_OK &&
                e->curl->easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->send) == CURLE_OK &&
                e->curl->easy_setopt(c->easy, CURLOPT_RANGE, c->ranged ? range : NULL) == CURLE_OK &&
                e->curl->multi_add_handle(e->multi, c->easy) == CURLM_OK;
    if (!good) {
        return base_fail(e->err, LAMINA_NO_FIT, "no memory for a request");
    }
    f->asker = c->asking ? c : f->asker;
    c->active = true;
    return LAMINA_OK;
}

static void make_idle(struct connection *c) {
    struct fetch *f = c->fetch;
    if (c->active) {
        (void)c->engine->curl->multi_remove_handle(c->engine->multi, c->easy);
        c->active = false;
    }
    if (f != NULL) {
        const uint32_t piece = (uint32_t)((c->end - 1) / f->part->piece_bytes); /* the one that the connection has */
        if (c->engine->job->stream != NULL) {
            hub_stream_give_back(c->engine->job->stream, f->number, piece); /* whose states have a lock */
        } else if (f->part->state != NULL && f->part->state[piece] == HUB_PIECE_TAKEN) {
            f->part->state[piece] = HUB_PIECE_MISSING;
        }
        f->asker = f->asker == c ? NULL : f->asker;
    }
    c->fetch = NULL;
    c->failures = 0;
}

/* The server has no ranges: one connection reads it all, the others leave the file. */
static void read_in_one(struct connection *c) {
    struct engine *e = c->engine;
    struct fetch *f = c->fetch;
    for (uint32_t i = 0; i < e->connection_count; i++) {
        struct connection *other = &e->connections[i];
        if (other != c && other->fetch == f) {
            make_idle(other);
        }
    }
    f->no_ranges = true;
    c->at = 0;
    c->end = f->file->size;
    note(e, "the server gives no ranges; reading in one stream: ", f->file->path);
}

static lamina_status refused(struct connection *c) {
    return hub_headers_refuse(&c->headers, c->engine->env, c->engine->job->pull->name.id, c->engine->job->commit,
                              c->fetch->file->path, c->engine->err);
}

/* A passing weakness: the same again, later. */
static lamina_status again(struct connection *c, CURLcode code) {
    struct engine *e = c->engine;
    const struct hub_headers *answer = code == CURLE_OK ? &c->headers : NULL;
    const uint64_t now = sys_now_ns();
    const uint64_t wait = hub_backoff_ns(++c->failures, answer);
    c->not_before_ns = now + wait;
    if (c->fetch->no_ranges) {
        c->at = 0;
    }
    if (c->failures <= HUB_TRIES) {
        if (now >= e->told_ns && hub_say_wait(&e->job->pull->watch, wait, answer)) {
            e->told_ns = c->not_before_ns; /* once for all connections */
        }
        return LAMINA_OK;
    }
    if (code == CURLE_OK && c->headers.status >= 400) {
        return refused(c);
    }
    return base_fail(e->err, LAMINA_NETWORK,
                     "%s: the connection failed %u times in a row (%s); finished parts are kept, pull again",
                     c->fetch->file->path, c->failures, code == CURLE_OK ? "it ended early" : e->curl->easy_strerror(code));
}

/* The hub's answer about where a file lies. It must be the file that was listed. */
static lamina_status redirected(struct connection *c) {
    struct engine *e = c->engine;
    struct fetch *f = c->fetch;
    const struct hub_headers *h = &c->headers;
    char *to = NULL;
    if (e->curl->easy_getinfo(c->easy, CURLINFO_REDIRECT_URL, &to) != CURLE_OK || to == NULL) {
        return base_fail(e->err, LAMINA_NETWORK, "%s: the server redirects to nowhere", f->file->path);
    }
    if (++f->redirects > HUB_REDIRECTS + e->connection_count) { /* each of them may meet the same one */
        return base_fail(e->err, LAMINA_NETWORK, "%s: the server redirects in a circle", f->file->path);
    }
    LAMINA_TRY(hub_http_may_follow(str_text(c->asking ? &f->source : &f->target), to, e->err));
    if (c->asking && ((h->etag[0] != 0 && strlen(h->etag) == strlen(f->file->etag) && strcmp(h->etag, f->file->etag) != 0) ||
                      (h->has_linked_size && h->size != f->file->size))) {
        return base_fail(e->err, LAMINA_DAMAGED,
                         "%s is not the file that the hub listed (its checksum or size changed); pull again", f->file->path);
    }
    struct str *place = c->asking && hub_same_origin(to, str_text(&e->env->endpoint)) ? &f->source : &f->target;
    struct str copy = {0};
    str_add_text(&copy, to);
    str_drop(place);
    *place = copy;
    f->addresses++;
    return place->failed ? base_fail(e->err, LAMINA_NO_FIT, "out of memory") : LAMINA_OK;
}

/* The signed address is no longer good: the hub gives a new one. */
static lamina_status expired(struct connection *c) {
    struct fetch *f = c->fetch;
    if (c->address != f->addresses || f->target.len == 0) {
        return LAMINA_OK; /* another connection has said so before: there is a new one, or will be */
    }
    if (++f->expired > HUB_TRIES) {
        return base_fail(c->engine->err, LAMINA_NETWORK,
                         "%s: the address that the hub gives for it answers %u every time; try again later", f->file->path,
                         c->headers.status);
    }
    str_clear(&f->target);
    f->redirects = 0;
    c->not_before_ns = sys_now_ns() + (f->expired > 2 ? hub_backoff_ns(f->expired, NULL) : 0);
    return LAMINA_OK;
}

static lamina_status ended(struct connection *c, CURLcode code) {
    struct fetch *f = c->fetch;
    const uint32_t status = c->headers.status;
    const bool asked_hub = c->asking;
    (void)c->engine->curl->multi_remove_handle(c->engine->multi, c->easy);
    c->active = false;
    f->asker = f->asker == c ? NULL : f->asker;
    if (c->restart) {
        read_in_one(c);
        return LAMINA_OK;
    }
    if (c->failed < 0) {
        return c->failed;
    }
    if (status == 200 || status == 206) {
        if (c->at == c->end && c->checked) {
            f->redirects = 0;
            make_idle(c);
            return LAMINA_OK;
        }
        return again(c, code);
    }
    if (code != CURLE_OK || status == 0 || hub_status_worth_retrying(status)) {
        return again(c, code);
    }
    if (status >= 300 && status < 400) {
        return redirected(c);
    }
    if (!asked_hub && !hub_same_origin(str_text(&f->target), str_text(&c->engine->env->endpoint)) &&
        (status == 401 || status == 403 || status == 404 || status == 410)) {
        return expired(c);
    }
    if (status == 416) {
        return base_fail(c->engine->err, LAMINA_DAMAGED,
                         "%s: the server's file is shorter than the %" PRIu64 " bytes that the hub announced", f->file->path,
                         f->file->size);
    }
    return refused(c);
}

/* ---- files and pieces ---- */

static lamina_status finish_file(struct engine *e, struct fetch *f) {
    lamina_status status = hub_part_finish(f->part, f->file->path, e->err);
    e->finished_resumed_bytes += f->part->resumed_bytes;
    hub_part_close(f->part);
    f->phase = FILE_READY;
    e->finished_bytes += f->file->size;
    e->whole++;
    return status;
}

/* Locks the file and looks what is there. Somebody else may have it, or may have had it: then it is a blob already. */
static lamina_status open_file(struct engine *e, struct fetch *f) {
    struct lamina_error why = {0};
    char place[HUB_PATH_LEN];
    const struct hub_pull *p = e->job->pull;
    if (e->job->stream != NULL) { /* its files are open and locked */
        f->part = hub_stream_part(e->job->stream, f->number);
        f->phase = FILE_OPEN;
        return hub_resolve_url(e->env, p->name.id, e->job->commit, f->file->path, &f->source, e->err);
    }
    lamina_status status = hub_part_take(f->part, e->env, p->name.id, f->file, p->piece_bytes, &why);
    if (status == LAMINA_BUSY) {
        if (!f->noted) {
            note(e, "another process fetches it, waiting: ", f->file->path);
        }
        f->noted = true;
        f->retry_ns = sys_now_ns() + (uint64_t)LOCK_RETRY_MS * 1000000;
        return LAMINA_OK;
    }
    if (status < 0) {
        return base_fail(e->err, status, "%s", why.message);
    }
    if (hub_file_there(e->env, p->name.id, e->job->commit, f->file, place)) {
        hub_part_close(f->part);
        f->phase = FILE_READY;
        e->finished_bytes += f->file->size;
        e->finished_resumed_bytes += f->file->size;
        e->whole++;
        return LAMINA_OK;
    }
    LAMINA_TRY(hub_part_open(f->part, &p->watch, e->err));
    f->phase = FILE_OPEN;
    LAMINA_TRY(hub_resolve_url(e->env, p->name.id, e->job->commit, f->file->path, &f->source, e->err));
    return f->part->done == f->part->pieces ? finish_file(e, f) : LAMINA_OK;
}

static void begin_piece(struct connection *c, struct fetch *f, uint32_t piece) {
    c->fetch = f;
    c->at = hub_part_begin(f->part, piece);
    c->end = hub_part_end(f->part, piece);
    c->not_before_ns = 0;
    c->failures = 0;
}

static bool take_piece(struct connection *c, struct fetch *f) {
    struct hub_stream *stream = c->engine->job->stream;
    uint32_t piece = 0;
    if (f->target.len == 0 && f->asker != NULL) {
        return false; /* soon */
    }
    if (f->no_ranges) {
        return false; /* one connection reads it */
    }
    if (stream != NULL) {
        bool wanted = hub_stream_take(stream, f->number, &piece);
        if (wanted) {
            begin_piece(c, f, piece);
        }
        return wanted;
    }
    for (uint32_t i = 0; i < f->part->pieces; i++) {
        if (f->part->state[i] == HUB_PIECE_MISSING) {
            f->part->state[i] = HUB_PIECE_TAKEN;
            begin_piece(c, f, i);
            return true;
        }
    }
    return false;
}

/* Work for an idle connection: a piece of an open file, else the next file is opened. */
static lamina_status find_work(struct engine *e, struct connection *c) {
    uint32_t open = 0;
    for (uint32_t i = 0; i < e->job->count; i++) {
        struct fetch *f = &e->files[i];
        if (f->phase == FILE_WAITING && (open < e->connection_count || e->job->stream != NULL) && sys_now_ns() >= f->retry_ns) {
            LAMINA_TRY(open_file(e, f));
        }
        open += f->phase == FILE_OPEN;
        if (f->phase == FILE_OPEN && take_piece(c, f)) {
            /* Who asks where the file lies has the file to itself until that is known. */
            f->asker = f->target.len == 0 ? c : f->asker;
            return LAMINA_OK;
        }
    }
    return LAMINA_OK;
}

static lamina_status start_ready(struct engine *e) {
    for (uint32_t i = 0; i < e->connection_count; i++) {
        struct connection *c = &e->connections[i];
        if (c->fetch == NULL) {
            LAMINA_TRY(find_work(e, c));
        }
        if (c->fetch == NULL || c->active || sys_now_ns() < c->not_before_ns) {
            continue;
        }
        struct fetch *f = c->fetch;
        if (f->target.len == 0 && f->asker != NULL && f->asker != c) {
            continue;
        }
        LAMINA_TRY(issue(c));
    }
    return LAMINA_OK;
}

static lamina_status take_ended(struct engine *e) {
    int left = 0;
    for (const CURLMsg *m = e->curl->multi_info_read(e->multi, &left); m != NULL; m = e->curl->multi_info_read(e->multi, &left)) {
        CURL *easy = m->easy_handle;
        CURLcode code = m->data.result;
        for (uint32_t i = 0; m->msg == CURLMSG_DONE && i < e->connection_count; i++) {
            struct connection *c = &e->connections[i];
            if (c->easy != easy || !c->active) {
                continue;
            }
            struct fetch *f = c->fetch;
            LAMINA_TRY(ended(c, code));
            if (e->job->stream == NULL && f->phase == FILE_OPEN && f->part->done == f->part->pieces) {
                if (c->fetch == f) {
                    make_idle(c);
                }
                LAMINA_TRY(finish_file(e, f));
            }
            break;
        }
    }
    return LAMINA_OK;
}

static lamina_status tick(struct engine *e) {
    const uint64_t now = sys_now_ns();
    if (now - e->ticked_ns < (uint64_t)TICK_MS * 1000000) {
        return LAMINA_OK;
    }
    struct hub_progress p = {.done_bytes = e->finished_bytes, .total_bytes = e->total_bytes, .elapsed_ns = now - e->began_ns,
                             .resumed_bytes = e->finished_resumed_bytes};
    e->ticked_ns = now;
    for (uint32_t i = 0; i < e->job->count; i++) {
        const struct fetch *f = &e->files[i];
        if (f->phase == FILE_OPEN) {
            p.done_bytes += f->part->done_bytes;
            p.resumed_bytes += f->part->resumed_bytes;
            p.what = f->file->path;
        }
    }
    for (uint32_t i = 0; i < e->connection_count; i++) {
        const struct connection *c = &e->connections[i];
        p.done_bytes += c->fetch != NULL && !c->fetch->no_ranges ? c->at % c->fetch->part->piece_bytes : 0;
    }
    return hub_stopped(&e->job->pull->watch, &p)
               ? base_fail(e->err, LAMINA_INTERRUPTED, "interrupted; finished parts are kept, the same command goes on from there")
               : LAMINA_OK;
}

static lamina_status run(struct engine *e) {
    int running = 0;
    while (e->whole < e->job->count) {
        LAMINA_TRY(start_ready(e));
        if (e->curl->multi_perform(e->multi, &running) != CURLM_OK) {
            return base_fail(e->err, LAMINA_UNEXPECTED, "libcurl fails to drive the transfers");
        }
        LAMINA_TRY(take_ended(e));
        LAMINA_TRY(tick(e));
        const int patience = running > 0 ? POLL_MS : POLL_MS / 5;
        if (e->whole < e->job->count && e->curl->multi_poll(e->multi, NULL, 0, patience, NULL) != CURLM_OK) {
            return base_fail(e->err, LAMINA_UNEXPECTED, "libcurl fails to wait for the transfers");
        }
    }
    return LAMINA_OK;
}

/* ---- begin and end ---- */

static lamina_status open_connection(struct engine *e, struct connection *c) {
    *c = (struct connection){.engine = e, .easy = e->curl->easy_init()};
    if (c->easy == NULL) {
        return base_fail(e->err, LAMINA_NO_FIT, "no memory for a connection");
    }
    LAMINA_TRY(hub_http_prepare(e->curl, c->easy, e->env, e->err));
    bool good = e->curl->easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, on_header_line) == CURLE_OK &&
                e->curl->easy_setopt(c->easy, CURLOPT_HEADERDATA, c) == CURLE_OK &&
                e->curl->easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_bytes) == CURLE_OK &&
                e->curl->easy_setopt(c->easy, CURLOPT_WRITEDATA, c) == CURLE_OK;
    return good ? LAMINA_OK : base_fail(e->err, LAMINA_UNEXPECTED, "libcurl does not take the settings of a transfer");
}

static void close_all(struct engine *e) {
    for (uint32_t i = 0; e->connections != NULL && i < e->connection_count; i++) {
        struct connection *c = &e->connections[i];
        make_idle(c);
        e->curl->easy_cleanup(c->easy);
        e->curl->slist_free_all(c->send);
        hash_stream_close(&c->hash);
    }
    for (uint32_t i = 0; e->files != NULL && i < e->job->count; i++) {
        struct fetch *f = &e->files[i];
        if (f->phase == FILE_OPEN && e->job->stream == NULL) {
            hub_part_close(f->part);
        }
        str_drop(&f->source);
        str_drop(&f->target);
    }
    (void)e->curl->multi_cleanup(e->multi);
    free(e->connections);
    free(e->files);
}

lamina_status hub_transfer(const struct hub_transfer_job *job, struct lamina_error *err) {
    struct engine e = {.curl = hub_http_curl(job->http), .job = job, .env = job->pull->env, .began_ns = sys_now_ns(), .err = err};
    uint32_t wanted = job->pull->connections < MOST_CONNECTIONS ? job->pull->connections : MOST_CONNECTIONS;
    lamina_status status = LAMINA_OK;
    e.connection_count = wanted > 0 ? wanted : 1;
    e.files = calloc((size_t)job->count + 1, sizeof(*e.files));
    e.connections = calloc(e.connection_count, sizeof(*e.connections));
    e.multi = e.curl->multi_init();
    if (e.files == NULL || e.connections == NULL || e.multi == NULL) {
        status = base_fail(err, LAMINA_NO_FIT, "no memory for the transfers");
    }
    for (uint32_t i = 0; status == LAMINA_OK && i < job->count; i++) {
        e.files[i].file = job->files[i];
        e.files[i].number = i;
        e.files[i].part = &e.files[i].own;
        e.total_bytes += job->files[i]->size;
    }
    for (uint32_t i = 0; status == LAMINA_OK && i < e.connection_count; i++) {
        status = open_connection(&e, &e.connections[i]);
    }
    if (status == LAMINA_OK) {
        status = run(&e);
    }
    close_all(&e);
    return status;
}
