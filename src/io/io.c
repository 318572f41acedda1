/* SPDX-License-Identifier: Apache-2.0
 *
 * The front of all engines: checks requests, repeats what deserves repeating, and turns raw results into completions. Knows
 * nothing of rings, threads or faults; knows the rules of the contract in io.h. The invariant: a slot is free, with the
 * engine, or waiting for its next try, and leaves the last two only through one completion.
 */
#include "io/io.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "io/io_priv.h"
#include "sys/thread.h"

enum { DEVICE_TRIES = 3, MOST_STALLS = 64, MOST_AGAIN = 2000, QUICK_AGAIN = 8 };
static const uint64_t device_delay_ns[DEVICE_TRIES] = {10000000, 100000000, 1000000000};
static const uint64_t again_delay_ns = 1000000;

enum slot_state { SLOT_FREE, SLOT_ENGINE, SLOT_DELAYED };

struct slot {
    struct io_read read;
    enum slot_state state;
    uint64_t begun_ns;
    uint64_t due_ns;      /* DELAYED: when to try again */
    uint32_t got;         /* bytes that are in dst for good, whole units */
    uint32_t stalls;      /* short results in a row without a whole unit */
    uint32_t again;       /* EAGAIN and its kind in a row */
    uint32_t device_errors;
    bool buffered;        /* has asked for a buffered descriptor already */
};

struct io_queue {
    struct io_backend engine;
    const struct log_sink *log;
    uint32_t depth;
    uint32_t in_flight;   /* slots not free */
    uint32_t with_engine;
    uint32_t delayed;
    struct slot slots[];
};

int32_t io_pread_raw(const struct io_transfer *t) {
    ssize_t n = 0;
    do {
        n = pread(t->file->fd, t->dst, t->len < INT32_MAX ? t->len : (uint32_t)1 << 30, (off_t)t->offset);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -(int32_t)errno : (int32_t)n;
}

static lamina_status open_auto(struct io_backend *engine, const struct io_options *o, struct lamina_error *err) {
    struct lamina_error reason = {0};
    if (io_uring_probe(&reason) == LAMINA_OK && io_uring_backend(engine, o, &reason) == LAMINA_OK) {
        return LAMINA_OK;
    }
    log_say(o->log, LOG_NOTE, "reading with a pool of threads instead of io_uring: %s", reason.message);
    return io_threads_backend(engine, o, err);
}

lamina_status io_open(struct io_queue **out, const struct io_options *o, struct lamina_error *err) {
    *out = NULL;
    if (o->depth < 1 || o->depth > IO_MOST_DEPTH) {
        return base_fail(err, LAMINA_USAGE, "a queue holds 1 to %d reads, not %u", IO_MOST_DEPTH, o->depth);
    }
    struct io_queue *q = calloc(1, sizeof(*q) + o->depth * sizeof(q->slots[0]));
    if (q == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a queue of %u reads", o->depth);
    }
    q->depth = o->depth;
    q->log = o->log;
    lamina_status status = LAMINA_OK;
    switch (o->engine) {
    case IO_ENGINE_AUTO:
        status = open_auto(&q->engine, o, err);
        break;
    case IO_ENGINE_URING:
        status = io_uring_probe(err);
        status = status < 0 ? status : io_uring_backend(&q->engine, o, err);
        break;
    case IO_ENGINE_THREADS:
        status = io_threads_backend(&q->engine, o, err);
        break;
    case IO_ENGINE_SIM:
        status = io_sim_backend(&q->engine, o, err);
        break;
    default:
        status = base_fail(err, LAMINA_USAGE, "there is no read engine number %d", (int)o->engine);
    }
    if (status < 0) {
        free(q);
        return status;
    }
    *out = q;
    return LAMINA_OK;
}

/* What waits for another try is dropped; what the engine holds writes into memory that the caller frees next. */
void io_close(struct io_queue **queue) {
    struct io_queue *q = *queue;
    if (q == NULL) {
        return;
    }
    while (q->with_engine > 0) {
        struct io_raw raw[16];
        q->with_engine -= q->engine.ops->collect(q->engine.self, raw, 16, UINT64_MAX);
    }
    q->engine.ops->close(q->engine.self);
    free(q);
    *queue = NULL;
}

const char *io_engine_name(const struct io_queue *q) {
    return q->engine.ops->name(q->engine.self);
}

uint32_t io_in_flight(const struct io_queue *q) {
    return q->in_flight;
}

static uint64_t now(struct io_queue *q) {
    return q->engine.ops->now(q->engine.self);
}

static lamina_status check_read(const struct io_read *r, struct lamina_error *err) {
    uint64_t end = 0;
    if (r->file == NULL || r->file->fd < 0 || r->dst == NULL || r->path == NULL) {
        return base_fail(err, LAMINA_USAGE, "a read of %s names no open file or no memory",
                         r->path != NULL ? r->path : "an unnamed file");
    }
    if (r->len == 0) {
        return base_fail(err, LAMINA_USAGE, "a read of no bytes at offset %" PRIu64 " of %s", r->offset, r->path);
    }
    if (checked_add(r->offset, r->len, &end) || end > INT64_MAX) {
        return base_fail(err, LAMINA_DAMAGED, "%u bytes at offset %" PRIu64 " of %s lie beyond what a file can hold", r->len,
                         r->offset, r->path);
    }
    uint32_t unit = r->file->alignment;
    if (unit > 1 && (r->offset % unit != 0 || r->len % unit != 0 || (uintptr_t)r->dst % unit != 0)) {
        return base_fail(err, LAMINA_USAGE, "a direct read of %u bytes at offset %" PRIu64 " of %s is not aligned to %u", r->len,
                         r->offset, r->path, unit);
    }
    return LAMINA_OK;
}

static void start(struct io_queue *q, struct slot *s) {
    struct io_transfer t = {
        .slot = (uint32_t)(s - q->slots),
        .file = s->read.file,
        .offset = s->read.offset + s->got,
        .dst = (char *)s->read.dst + s->got,
        .len = s->read.len - s->got,
    };
    s->state = SLOT_ENGINE;
    q->with_engine++;
    q->engine.ops->start(q->engine.self, &t);
}

static void delay(struct io_queue *q, struct slot *s, uint64_t ns) {
    s->state = SLOT_DELAYED;
    s->due_ns = now(q) + ns;
    q->delayed++;
}

int io_submit(struct io_queue *q, const struct io_read *reads, uint32_t count, struct lamina_error *err) {
    uint32_t room = q->depth - q->in_flight;
    count = count < room ? count : room;
    for (uint32_t i = 0; i < count; i++) {
        LAMINA_TRY(check_read(&reads[i], err));
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++, at++) {
        while (q->slots[at].state != SLOT_FREE) {
            at++;
        }
        q->slots[at] = (struct slot){.read = reads[i], .begun_ns = now(q)};
        q->in_flight++;
        start(q, &q->slots[at]);
    }
    if (count > 0) {
        q->engine.ops->flush(q->engine.self);
    }
    return (int)count;
}

/* EIO and its relatives of the block layer (blk_errors in block/blk-core.c): the same request may succeed a moment later. */
static bool device_trouble(int error) {
    switch (error) {
    case EIO:
    case ETIMEDOUT:
#if defined(__linux__)
    case ENODATA:
    case ENOLINK:
    case EREMOTEIO:
    case EILSEQ:
#endif
        return true;
    default:
        return false;
    }
}

static lamina_status fail_read(const struct slot *s, int error, struct lamina_error *err) {
    const struct io_read *r = &s->read;
    if (s->device_errors > DEVICE_TRIES) {
        return base_fail(err, LAMINA_IO, "cannot read %u bytes at offset %" PRIu64 " of %s, tried %d times: %s; check the drive",
                         r->len, r->offset, r->path, DEVICE_TRIES + 1, strerror(error));
    }
    return base_fail(err, LAMINA_IO, "cannot read %u bytes at offset %" PRIu64 " of %s: %s", r->len, r->offset, r->path,
                     strerror(error));
}

/* A file system that accepts O_DIRECT at open and refuses it at the read. Reads of the same file that were already under
 * way fail too; they find the descriptor changed and are only repeated. */
static bool try_buffered(struct io_queue *q, struct slot *s) {
    const struct io_read *r = &s->read;
    if (s->buffered || !r->file->direct) {
        return false;
    }
    s->buffered = true;
    if (sys_file_is_direct(r->file)) {
        struct lamina_error reason = {0};
        if (sys_file_make_buffered(r->file, r->path, &reason) < 0) {
            return false;
        }
        log_say(q->log, LOG_NOTE, "%s lies on a file system without direct reads; it is read through the page cache", r->path);
    }
    return true;
}

/* 1: another try is under way or scheduled; else the final status. */
static int after_error(struct io_queue *q, struct slot *s, int error, struct lamina_error *err) {
    if (error == EAGAIN || error == EINTR || error == ENOMEM || error == EBUSY || error == ENOBUFS) {
        /* Part of the data may have moved before EAGAIN; the whole rest is asked for again. */
        if (s->again++ < MOST_AGAIN) {
            if (s->again <= QUICK_AGAIN) {
                start(q, s);
            } else {
                delay(q, s, again_delay_ns);
            }
            return 1;
        }
    } else if (device_trouble(error)) {
        if (s->device_errors++ < DEVICE_TRIES) {
            log_say(q->log, LOG_WARNING, "reading %s at offset %" PRIu64 ": %s; trying again", s->read.path, s->read.offset,
                    strerror(error));
            delay(q, s, device_delay_ns[s->device_errors - 1]);
            return 1;
        }
    } else if (error == EINVAL && try_buffered(q, s)) {
        start(q, s);
        return 1;
    }
    return fail_read(s, error, err);
}

static bool past_end(const struct slot *s, uint64_t at, uint64_t *size) {
    struct stat st;
    if (fstat(s->read.file->fd, &st) != 0) {
        return false;
    }
    *size = (uint64_t)st.st_size;
    return *size <= at;
}

/* Progress counts in whole units, so that the rest can be asked for at an aligned place. */
static int after_short(struct io_queue *q, struct slot *s, uint32_t n, struct lamina_error *err) {
    uint32_t whole = n - n % s->read.file->alignment;
    uint64_t end = s->read.offset + s->got + n;
    uint64_t size = end;
    if ((n == 0 || whole != n) && past_end(s, end, &size)) {
        return base_fail(err, LAMINA_DAMAGED, "%s ends at byte %" PRIu64 ", but %u bytes at offset %" PRIu64
                         " are needed: the file is cut short", s->read.path, size, s->read.len, s->read.offset);
    }
    s->got += whole;
    s->again = 0;
    s->stalls = whole == 0 ? s->stalls + 1 : 0;
    if (s->stalls > MOST_STALLS) {
        return base_fail(err, LAMINA_IO, "reading %s stands still at offset %" PRIu64, s->read.path, s->read.offset + s->got);
    }
    start(q, s);
    return 1;
}

/* Pages read through the cache would be charged to this process's group; the budget has no place for them. */
static void drop_pages(const struct io_read *r) {
    if (!r->file->direct || !sys_file_is_direct(r->file)) {
        sys_file_drop_cache(r->file, r->offset, r->len);
    }
}

/* True when the slot is done and *done filled. */
static bool resolve(struct io_queue *q, struct io_raw raw, struct io_done *done, struct lamina_error *err) {
    struct slot *s = &q->slots[raw.slot];
    q->with_engine--;
    int status = LAMINA_OK;
    if (raw.result < 0) {
        status = after_error(q, s, -raw.result, err);
    } else if ((uint32_t)raw.result < s->read.len - s->got) {
        status = after_short(q, s, (uint32_t)raw.result, err);
    }
    if (status == 1) {
        return false;
    }
    drop_pages(&s->read);
    *done = (struct io_done){.tag = s->read.tag, .status = status, .latency_ns = now(q) - s->begun_ns};
    s->state = SLOT_FREE;
    q->in_flight--;
    return true;
}

/* Starts the delayed slots that are due; returns the time until the next one, UINT64_MAX without any. */
static uint64_t wake_delayed(struct io_queue *q) {
    uint64_t next = UINT64_MAX;
    uint64_t at = q->delayed > 0 ? now(q) : 0;
    for (uint32_t i = 0; i < q->depth && q->delayed > 0; i++) {
        struct slot *s = &q->slots[i];
        if (s->state != SLOT_DELAYED) {
            continue;
        }
        if (s->due_ns <= at) {
            q->delayed--;
            start(q, s);
        } else {
            next = min_u64(next, s->due_ns - at);
        }
    }
    return next;
}

uint32_t io_wait(struct io_queue *q, struct io_done *done, uint32_t max, uint64_t timeout_ns, struct lamina_error *err) {
    uint64_t begun = now(q);
    uint32_t count = 0;
    while (count == 0 && max > 0 && q->in_flight > 0) {
        struct io_raw raw[64];
        uint64_t pause = wake_delayed(q);
        uint64_t passed = now(q) - begun;
        uint64_t left = timeout_ns == UINT64_MAX ? UINT64_MAX : timeout_ns > passed ? timeout_ns - passed : 0;
        pause = min_u64(pause, left);
        uint32_t n = q->engine.ops->collect(q->engine.self, raw, max < 64 ? max : 64, pause);
        for (uint32_t i = 0; i < n; i++) {
            count += resolve(q, raw[i], &done[count], err) ? 1 : 0;
        }
        if (n > 0) {
            q->engine.ops->flush(q->engine.self); /* further tries */
        } else if (left == 0) {
            break;
        }
    }
    return count;
}
