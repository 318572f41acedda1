/* SPDX-License-Identifier: Apache-2.0
 *
 * A download that is read while it comes and is not kept. A thread fetches (hub_transfer.c), the caller reads; between them a
 * window: no range is begun that ends further than `window_bytes` behind the furthest byte read, all files one after the other,
 * unless the caller waits for it. The caller is given only bytes that the file's SHA-256 has seen; what it releases is given back
 * to the file system piece by piece.
 *
 *     piece: missing -> taken -> done -> (hashed) -> past        past: freed, or of an earlier run and not looked at
 *            past -> done      wanted, and the drive still has it as it was hashed
 *            past -> missing   wanted, and it has not
 *
 * The lock guards states, `left`, `hashed`, the demand and the window; nothing is called out under it. */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "hub/hub_stream_priv.h"
#include "sys/thread.h"

enum { WAIT_MS = 50 };

struct hub_stream {
    struct hub_pull pull; /* its watch is the thread's: it asks whether to stop */
    struct hub_watch watch;
    char commit[HUB_COMMIT_LEN + 1];
    struct hub_http *http;
    struct hub_file **listed;
    struct hub_stream_file *files;
    char (*identity)[HUB_ETAG_MAX + 20];
    uint32_t count, opened;
    uint64_t total, window;
    struct sys_mutex mutex;
    uint64_t reach;       /* the furthest byte read in turn */
    uint32_t demand_file; /* what the caller waits for: a file up to here */
    uint64_t demand_end;
    _Atomic uint32_t event, stop, failed;
    struct lamina_error err; /* the thread's, valid once failed */
    char said[160];          /* what the thread has to say, guarded by the mutex; the caller's thread passes it on */
    int said_level;
    struct sys_thread *thread;
    void *buffer, *own_buffer; /* the thread's and the caller's */
};

static void tell(struct hub_stream *s) {
    (void)atomic_fetch_add_explicit(&s->event, 1, memory_order_release);
    sys_wake_all(&s->event);
}

/* ---- the fetching thread ---- */

struct hub_part *hub_stream_part(struct hub_stream *s, uint32_t file) {
    return &s->files[file].part;
}

bool hub_stream_take(struct hub_stream *s, uint32_t file, uint32_t *piece) {
    struct hub_part *part = &s->files[file].part;
    bool found = false;
    sys_mutex_lock(&s->mutex);
    const uint64_t end = min_u64(s->total, s->reach + s->window);
    for (uint32_t i = 0; i < part->pieces && !found; i++) {
        bool wanted = s->demand_file == file && hub_part_begin(part, i) < s->demand_end;
        if (!wanted && s->files[file].base + hub_part_end(part, i) > end) {
            break; /* and all behind it */
        }
        if (part->state[i] == HUB_PIECE_MISSING) {
            part->state[i] = HUB_PIECE_TAKEN;
            *piece = i;
            found = true;
        }
    }
    sys_mutex_unlock(&s->mutex);
    return found;
}

void hub_stream_give_back(struct hub_stream *s, uint32_t file, uint32_t piece) {
    uint8_t *state = &s->files[file].part.state[piece];
    sys_mutex_lock(&s->mutex);
    *state = *state == HUB_PIECE_TAKEN ? HUB_PIECE_MISSING : *state;
    sys_mutex_unlock(&s->mutex);
}

static lamina_status punch(const struct hub_part *part, uint32_t first, uint32_t count, struct lamina_error *err) {
    const uint64_t end = round_up(hub_part_end(part, first + count - 1), 4096);
    return sys_file_punch(&part->file, part->data, hub_part_begin(part, first), end, err);
}

/* Goes on with the digest as far as there are pieces. */
static lamina_status hash_more(struct hub_stream *s, struct hub_stream_file *f, struct lamina_error *err) {
    struct hub_part *part = &f->part;
    while (f->hashed < part->pieces && part->state[f->hashed] == HUB_PIECE_DONE) {
        const uint32_t i = f->hashed;
        LAMINA_TRY(hub_stream_hash(f, i, s->buffer, &f->marks[i], err));
        LAMINA_TRY(hub_stream_note(f, i, &f->marks[i], err));
        sys_mutex_lock(&s->mutex);
        f->hashed++;
        bool unwanted = f->left[i] == 0;
        part->state[i] = unwanted ? HUB_PIECE_PAST : part->state[i];
        sys_mutex_unlock(&s->mutex);
        if (unwanted) {
            LAMINA_TRY(punch(part, i, 1, err));
        }
    }
    return LAMINA_OK;
}

static lamina_status wrong(const struct hub_stream *s, const struct hub_stream_file *f, struct lamina_error *err) {
    return base_fail(err, LAMINA_DAMAGED,
                     "%s: the bytes that came are not those that the hub announced (SHA-256, expected %s); what was made of them "
                     "is thrown away, pull again",
                     s->listed[f - s->files]->path, f->part.etag);
}

lamina_status hub_stream_piece_done(struct hub_stream *s, uint32_t file, uint32_t piece, struct lamina_error *err) {
    struct hub_stream_file *f = &s->files[file];
    if (piece < f->hashed) {
        bool same = false;
        LAMINA_TRY(hub_stream_holds(f, piece, s->buffer, &same, err));
        if (!same) {
            return base_fail(err, LAMINA_DAMAGED, "%s: bytes that were fetched again are others than before; pull again",
                             s->listed[file]->path);
        }
    }
    sys_mutex_lock(&s->mutex);
    f->part.state[piece] = HUB_PIECE_DONE;
    sys_mutex_unlock(&s->mutex);
    lamina_status status = hash_more(s, f, err);
    if (status == LAMINA_OK && f->hashed == f->part.pieces && !hub_stream_is_right(f)) {
        status = wrong(s, f, err);
    }
    tell(s);
    return status;
}

static bool thread_stops(void *user, const struct hub_progress *p) {
    struct hub_stream *s = user;
    (void)p;
    return atomic_load_explicit(&s->stop, memory_order_relaxed) != 0;
}

static void thread_says(void *user, int level, const char *text) {
    struct hub_stream *s = user;
    sys_mutex_lock(&s->mutex);
    (void)snprintf(s->said, sizeof(s->said), "%s", text);
    s->said_level = level;
    sys_mutex_unlock(&s->mutex);
}

static void fetch(void *user) {
    struct hub_stream *s = user;
    struct lamina_error err = {0};
    struct hub_transfer_job job = {
        .http = s->http, .pull = &s->pull, .commit = s->commit, .files = s->listed, .count = s->count, .stream = s};
    lamina_status status = hub_transfer(&job, &err);
    if (status < 0 && atomic_load_explicit(&s->stop, memory_order_relaxed) == 0) {
        s->err = err;
        atomic_store_explicit(&s->failed, 1, memory_order_release);
    }
    tell(s);
}

/* ---- opening ---- */

/* Files that were found wrong by an earlier run stay until what was made of them is gone. */
static lamina_status open_files(struct hub_stream *s, struct lamina_error *err) {
    for (uint32_t i = 0; i < s->count; i++) {
        struct hub_stream_file *f = &s->files[i];
        if (strlen(s->listed[i]->etag) != 64) {
            return base_fail(err, LAMINA_UNSUPPORTED,
                             "%s: the hub tells no SHA-256 of it, which splitting while it comes rests on; pull it whole",
                             s->listed[i]->path);
        }
        LAMINA_TRY(hub_stream_file_open(f, s->pull.env, s->pull.name.id, s->listed[i], s->pull.piece_bytes, err));
        s->opened++;
        f->base = s->total;
        f->synced = f->hashed;
        s->total += f->part.size;
        (void)snprintf(s->identity[i], sizeof(s->identity[i]), "%s %016" PRIx64, f->part.etag, f->nonce);
    }
    return LAMINA_OK;
}

lamina_status hub_stream_open(struct hub_stream **out, const struct hub_stream_options *o, struct lamina_error *err) {
    if (!hub_stream_piece_fits(o->pull->piece_bytes)) {
        return base_fail(err, LAMINA_USAGE,
                         "pieces of %" PRIu64 " bytes do not do for a stream; take a power of two from 4KiB to 64MiB",
                         o->pull->piece_bytes);
    }
    struct hub_stream *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory");
    }
    *s = (struct hub_stream){.pull = *o->pull, .watch = o->pull->watch, .count = o->count, .window = o->window_bytes,
                             .demand_file = UINT32_MAX};
    s->pull.watch = (struct hub_watch){.log = thread_says, .progress = thread_stops, .user = s};
    (void)snprintf(s->commit, sizeof(s->commit), "%s", o->commit);
    s->listed = calloc((size_t)o->count + 1, sizeof(struct hub_file *));
    s->files = calloc((size_t)o->count + 1, sizeof(*s->files));
    s->identity = calloc((size_t)o->count + 1, sizeof(*s->identity));
    s->buffer = malloc(HUB_STREAM_BUFFER);
    s->own_buffer = malloc(HUB_STREAM_BUFFER);
    lamina_status status = LAMINA_OK;
    if (s->listed == NULL || s->files == NULL || s->identity == NULL || s->buffer == NULL || s->own_buffer == NULL) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory for the tables of a download");
    }
    for (uint32_t i = 0; status == LAMINA_OK && i < o->count; i++) {
        s->listed[i] = o->files[i];
    }
    if (status == LAMINA_OK) {
        status = open_files(s, err);
    }
    if (status == LAMINA_OK) {
        status = hub_http_open(&s->http, s->pull.env, &s->watch, err);
    }
    if (status == LAMINA_OK) {
        status = sys_thread_start(&s->thread, "lamina-fetch", fetch, s, err);
    }
    *out = s;
    if (status < 0) {
        hub_stream_close(out, false);
    }
    return status;
}

void hub_stream_close(struct hub_stream **stream, bool forget) {
    struct hub_stream *s = *stream;
    if (s == NULL) {
        return;
    }
    atomic_store_explicit(&s->stop, 1, memory_order_relaxed);
    if (s->thread != NULL) {
        sys_thread_join(&s->thread);
    }
    for (uint32_t i = 0; i < s->opened; i++) {
        if (forget) {
            hub_stream_file_remove(&s->files[i]);
        }
        hub_stream_file_close(&s->files[i]);
    }
    hub_http_close(&s->http);
    free(s->listed);
    free(s->files);
    free(s->identity);
    free(s->buffer);
    free(s->own_buffer);
    free(s);
    *stream = NULL;
}

const char *hub_stream_identity(const struct hub_stream *s, uint32_t file) {
    return s->identity[file];
}

/* ---- the reading thread ---- */

static void pass_on(struct hub_stream *s) {
    char text[sizeof(s->said)];
    sys_mutex_lock(&s->mutex);
    const int level = s->said_level;
    memcpy(text, s->said, sizeof(text));
    s->said[0] = 0;
    sys_mutex_unlock(&s->mutex);
    if (text[0] != 0 && s->watch.log != NULL) {
        s->watch.log(s->watch.user, level, text);
    }
}

static lamina_status failure(struct hub_stream *s, struct lamina_error *err) {
    pass_on(s);
    if (atomic_load_explicit(&s->failed, memory_order_acquire) != 0) {
        return base_fail(err, s->err.code < 0 ? s->err.code : LAMINA_UNEXPECTED, "%s", s->err.message);
    }
    return hub_stopped(&s->watch, NULL)
               ? base_fail(err, LAMINA_INTERRUPTED, "interrupted; what is finished is kept, the same command goes on from there")
               : LAMINA_OK;
}

/* The first piece from `first` to `last` that is not both hashed and here; one that nobody has looked at yet is looked at. */
static lamina_status settle(struct hub_stream *s, struct hub_stream_file *f, uint32_t first, uint32_t last, bool *here,
                            struct lamina_error *err) {
    *here = true;
    for (uint32_t i = first; i <= last; i++) {
        sys_mutex_lock(&s->mutex);
        uint8_t state = f->part.state[i];
        bool hashed = i < f->hashed;
        sys_mutex_unlock(&s->mutex);
        if (hashed && state == HUB_PIECE_PAST) {
            bool holds = false;
            LAMINA_TRY(hub_stream_holds(f, i, s->own_buffer, &holds, err));
            state = holds ? HUB_PIECE_DONE : HUB_PIECE_MISSING;
            sys_mutex_lock(&s->mutex);
            f->part.state[i] = state;
            sys_mutex_unlock(&s->mutex);
        }
        *here = *here && hashed && state == HUB_PIECE_DONE;
    }
    return LAMINA_OK;
}

/* A file that was found wrong is no longer read from, also by the run after the one that found it. */
static lamina_status check_whole(const struct hub_stream *s, const struct hub_stream_file *f, struct lamina_error *err) {
    return f->synced == f->part.pieces && !hub_stream_is_right(f) ? wrong(s, f, err) : LAMINA_OK;
}

static lamina_status await(struct hub_stream *s, uint32_t file, uint64_t begin, uint64_t end, bool look, struct lamina_error *err) {
    struct hub_stream_file *f = &s->files[file];
    const uint32_t first = (uint32_t)(begin / f->part.piece_bytes);
    const uint32_t last = (uint32_t)((end - 1) / f->part.piece_bytes);
    LAMINA_TRY(check_whole(s, f, err));
    sys_mutex_lock(&s->mutex);
    s->demand_file = file;
    s->demand_end = end;
    s->reach = look ? s->reach : max_u64(s->reach, f->base + end);
    sys_mutex_unlock(&s->mutex);
    for (;;) {
        bool here = false;
        uint32_t seen = atomic_load_explicit(&s->event, memory_order_acquire);
        LAMINA_TRY(settle(s, f, first, last, &here, err));
        if (here) {
            break;
        }
        LAMINA_TRY(failure(s, err));
        sys_wait(&s->event, seen, (uint64_t)WAIT_MS * 1000000);
    }
    sys_mutex_lock(&s->mutex);
    s->demand_file = UINT32_MAX;
    sys_mutex_unlock(&s->mutex);
    return LAMINA_OK;
}

lamina_status hub_stream_read(struct hub_stream *s, uint32_t file, uint64_t offset, void *dst, size_t len, bool look,
                              struct lamina_error *err) {
    const struct hub_part *part = &s->files[file].part;
    if (len == 0) {
        return LAMINA_OK;
    }
    if (offset > part->size || len > part->size - offset) {
        return base_fail(err, LAMINA_DAMAGED, "%s ends at byte %" PRIu64 ", bytes behind it are asked for", s->listed[file]->path,
                         part->size);
    }
    LAMINA_TRY(await(s, file, offset, offset + len, look, err));
    return sys_file_read_at(&part->file, part->data, offset, dst, len, err);
}

lamina_status hub_stream_release(struct hub_stream *s, uint32_t file, uint64_t begin, uint64_t end, struct lamina_error *err) {
    struct hub_stream_file *f = &s->files[file];
    struct hub_part *part = &f->part;
    uint32_t run = 0; /* pieces before `i` to be freed at once */
    uint32_t i = (uint32_t)(begin / part->piece_bytes);
    for (uint64_t at = begin; at < end; i++) {
        uint64_t stop = min_u64(end, hub_part_end(part, i));
        sys_mutex_lock(&s->mutex);
        f->left[i] -= (uint32_t)min_u64(f->left[i], stop - at);
        bool unwanted = f->left[i] == 0 && i < f->hashed && part->state[i] != HUB_PIECE_TAKEN;
        part->state[i] = unwanted ? HUB_PIECE_PAST : part->state[i];
        sys_mutex_unlock(&s->mutex);
        if (!unwanted && run > 0) {
            LAMINA_TRY(punch(part, i - run, run, err));
        }
        run = unwanted ? run + 1 : 0;
        at = stop;
    }
    return run > 0 ? punch(part, i - run, run, err) : LAMINA_OK;
}

lamina_status hub_stream_sync(struct hub_stream *s, struct lamina_error *err) {
    for (uint32_t i = 0; i < s->count; i++) {
        struct hub_stream_file *f = &s->files[i];
        sys_mutex_lock(&s->mutex);
        uint32_t hashed = f->hashed;
        sys_mutex_unlock(&s->mutex);
        if (hashed > f->synced) {
            LAMINA_TRY(sys_file_sync(&f->part.log, f->part.journal, err));
            f->synced = hashed;
        }
    }
    return LAMINA_OK;
}

lamina_status hub_stream_digest(struct hub_stream *s, uint32_t file, uint32_t block, uint8_t digest[32], struct lamina_error *err) {
    struct hub_stream_file *f = &s->files[file];
    const uint32_t per_block = (uint32_t)(HUB_STREAM_BLOCK / f->part.piece_bytes);
    sys_mutex_lock(&s->mutex);
    s->reach = s->total;
    s->demand_file = UINT32_MAX;
    sys_mutex_unlock(&s->mutex);
    for (;;) {
        uint32_t seen = atomic_load_explicit(&s->event, memory_order_acquire);
        sys_mutex_lock(&s->mutex);
        uint32_t hashed = f->hashed;
        sys_mutex_unlock(&s->mutex);
        if (hashed == f->part.pieces) {
            break;
        }
        LAMINA_TRY(failure(s, err));
        sys_wait(&s->event, seen, (uint64_t)WAIT_MS * 1000000);
    }
    if (!hub_stream_is_right(f)) {
        return wrong(s, f, err);
    }
    memcpy(digest, f->marks[min_u64((uint64_t)(block + 1) * per_block, f->part.pieces) - 1].block, 32);
    return LAMINA_OK;
}

uint64_t hub_stream_allocated(const struct hub_stream *s) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < s->opened; i++) {
        struct sys_stat st;
        struct lamina_error none = {0};
        bytes += sys_stat(s->files[i].part.data, &st, &none) == LAMINA_OK ? st.allocated_bytes : 0;
    }
    return bytes;
}

void hub_stream_forget(const struct hub_env *env, const char *id, const struct hub_file *file) {
    struct hub_stream_file f = {.part = {.file = {.fd = -1}, .log = {.fd = -1}, .lock = {.fd = -1}}};
    struct lamina_error none = {0};
    memcpy(f.part.etag, file->etag, sizeof(f.part.etag));
    if (hub_part_names(&f.part, env, id, true, &none) == LAMINA_OK && (sys_exists(f.part.data) || sys_exists(f.part.journal)) &&
        hub_part_lock(&f.part, env, id, &none) == LAMINA_OK) {
        hub_stream_file_remove(&f);
    }
    hub_stream_file_close(&f);
}
