/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool of threads that each make one pread at a time: for systems without io_uring (containers with seccomp, macOS). Two
 * rings of `depth` entries under one leaf lock; threads sleep on two counters. The invariant: a transfer is in the todo
 * ring, with one worker, or in the done ring, and the rings are as large as the most that can be under way.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "io/io_priv.h"
#include "sys/thread.h"

enum { MOST_WORKERS = 8 };

struct pool {
    struct sys_mutex lock; /* guards the rings, heads and counts */
    uint32_t depth;
    uint32_t todo_head, todo_count;
    uint32_t done_head, done_count;
    _Atomic uint32_t work;     /* changes whenever something is put into todo, or at the end */
    _Atomic uint32_t finished; /* changes whenever something is put into done */
    _Atomic bool stop;
    uint32_t workers;
    struct sys_thread *threads[MOST_WORKERS];
    struct io_transfer todo[IO_MOST_DEPTH];
    struct io_raw done[IO_MOST_DEPTH];
};

static bool take(struct pool *p, struct io_transfer *t) {
    sys_mutex_lock(&p->lock);
    bool found = p->todo_count > 0;
    if (found) {
        *t = p->todo[p->todo_head];
        p->todo_head = (p->todo_head + 1) % p->depth;
        p->todo_count--;
    }
    sys_mutex_unlock(&p->lock);
    return found;
}

static void report(struct pool *p, struct io_raw raw) {
    sys_mutex_lock(&p->lock);
    p->done[(p->done_head + p->done_count) % p->depth] = raw;
    p->done_count++;
    sys_mutex_unlock(&p->lock);
    atomic_fetch_add(&p->finished, 1);
    sys_wake_all(&p->finished);
}

static void work(void *arg) {
    struct pool *p = arg;
    while (!atomic_load(&p->stop)) {
        uint32_t seen = atomic_load(&p->work); /* before looking, so that what comes after is not slept through */
        struct io_transfer t;
        if (take(p, &t)) {
            report(p, (struct io_raw){.slot = t.slot, .result = io_pread_raw(&t)});
        } else if (!atomic_load(&p->stop)) {
            sys_wait(&p->work, seen, UINT64_MAX);
        }
    }
}

static void pool_start(void *self, const struct io_transfer *t) {
    struct pool *p = self;
    sys_mutex_lock(&p->lock);
    p->todo[(p->todo_head + p->todo_count) % p->depth] = *t;
    p->todo_count++;
    sys_mutex_unlock(&p->lock);
    atomic_fetch_add(&p->work, 1);
    sys_wake_all(&p->work);
}

static void pool_flush(void *self) {
    (void)self; /* start() has woken a worker already: the first read begins while the second is being queued */
}

static uint32_t pop_done(struct pool *p, struct io_raw *out, uint32_t max) {
    sys_mutex_lock(&p->lock);
    uint32_t n = p->done_count < max ? p->done_count : max;
    for (uint32_t i = 0; i < n; i++) {
        out[i] = p->done[p->done_head];
        p->done_head = (p->done_head + 1) % p->depth;
    }
    p->done_count -= n;
    sys_mutex_unlock(&p->lock);
    return n;
}

static uint32_t pool_collect(void *self, struct io_raw *out, uint32_t max, uint64_t timeout_ns) {
    struct pool *p = self;
    uint32_t seen = atomic_load(&p->finished);
    uint32_t n = pop_done(p, out, max);
    if (n == 0 && timeout_ns > 0) {
        sys_wait(&p->finished, seen, timeout_ns);
        n = pop_done(p, out, max);
    }
    return n;
}

static void pool_close(void *self) {
    struct pool *p = self;
    atomic_store(&p->stop, true);
    atomic_fetch_add(&p->work, 1);
    sys_wake_all(&p->work);
    for (uint32_t i = 0; i < p->workers; i++) {
        sys_thread_join(&p->threads[i]);
    }
    free(p);
}

static const char *pool_name(const void *self) {
    (void)self;
    return "threads";
}

static uint64_t pool_now(void *self) {
    (void)self;
    return sys_now_ns();
}

lamina_status io_threads_backend(struct io_backend *out, const struct io_options *o, struct lamina_error *err) {
    static const struct io_engine_ops ops = {
        .start = pool_start,
        .flush = pool_flush,
        .collect = pool_collect,
        .close = pool_close,
        .name = pool_name,
        .now = pool_now,
    };
    struct pool *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the reading threads");
    }
    p->depth = o->depth;
    uint32_t wanted = o->depth < MOST_WORKERS ? o->depth : MOST_WORKERS;
    struct lamina_error reason = {0};
    while (p->workers < wanted && sys_thread_start(&p->threads[p->workers], "lamina-read", work, p, &reason) == LAMINA_OK) {
        p->workers++;
    }
    if (p->workers == 0) {
        pool_close(p);
        return base_fail(err, reason.code, "%s", reason.message);
    }
    if (p->workers < wanted) {
        log_say(o->log, LOG_WARNING, "only %u of %u reading threads started: %s", p->workers, wanted, reason.message);
    }
    *out = (struct io_backend){.ops = &ops, .self = p};
    return LAMINA_OK;
}
