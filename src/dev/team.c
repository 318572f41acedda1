/* SPDX-License-Identifier: Apache-2.0
 *
 * The team's protocol: the caller publishes a job by raising `round`; each worker runs it and lowers `busy`. All fields
 * but the two counters are written by the caller before `round` is raised (release) and read by workers after they saw it
 * (acquire), so they need no lock.
 */
#include "dev/team.h"

#include <stdlib.h>

#include "sys/cpu.h"
#include "sys/thread.h"

enum { SPIN_NS = 40000 };

struct worker {
    struct team *team;
    struct sys_thread *thread;
    uint32_t index;
};

struct team {
    _Alignas(CACHE_LINE) _Atomic uint32_t round;
    _Alignas(CACHE_LINE) _Atomic uint32_t busy;
    _Alignas(CACHE_LINE) _Atomic uint32_t sleepers;
    void (*fn)(void *arg, uint32_t worker);
    void *arg;
    bool stop;
    uint32_t size;
    struct worker *workers; /* [size], worker 0 has no thread */
};

/* Waits until *word differs from `old`, spinning first. Counts itself as a sleeper while it may be asleep. */
static uint32_t wait_change(struct team *t, _Atomic uint32_t *word, uint32_t old) {
    uint64_t until = sys_now_ns() + SPIN_NS;
    for (;;) {
        for (int i = 0; i < 64; i++) {
            uint32_t now = atomic_load_explicit(word, memory_order_acquire);
            if (now != old) {
                return now;
            }
            sys_cpu_relax();
        }
        if (sys_now_ns() > until) {
            atomic_fetch_add(&t->sleepers, 1);
            uint32_t now = atomic_load(word);
            if (now == old) {
                sys_wait(word, old, UINT64_MAX);
            }
            atomic_fetch_sub(&t->sleepers, 1);
        }
    }
}

static void wake(struct team *t, _Atomic uint32_t *word) {
    if (atomic_load(&t->sleepers) > 0) {
        sys_wake_all(word);
    }
}

static void worker_loop(void *arg) {
    struct worker *w = (struct worker *)arg;
    struct team *t = w->team;
    uint32_t seen = 0;
    (void)sys_cpu_flush_denormals();
    for (;;) {
        seen = wait_change(t, &t->round, seen);
        if (t->stop) {
            return;
        }
        t->fn(t->arg, w->index);
        if (atomic_fetch_sub(&t->busy, 1) == 1) {
            wake(t, &t->busy);
        }
    }
}

void team_run(struct team *t, void (*fn)(void *arg, uint32_t worker), void *arg) {
    if (t->size == 1) {
        fn(arg, 0);
        return;
    }
    t->fn = fn;
    t->arg = arg;
    atomic_store(&t->busy, t->size - 1);
    atomic_fetch_add(&t->round, 1);
    wake(t, &t->round);
    fn(arg, 0);
    for (uint32_t left = atomic_load(&t->busy); left != 0;) {
        left = wait_change(t, &t->busy, left);
    }
}

lamina_status team_open(struct team **out, uint32_t threads, struct lamina_error *err) {
    lamina_status status = LAMINA_OK;
    struct team *t = (struct team *)aligned_alloc(CACHE_LINE, (sizeof(*t) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (t == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for %u compute threads", threads);
    }
    *t = (struct team){.size = 1};
    t->workers = (struct worker *)calloc(threads, sizeof(*t->workers));
    if (t->workers == NULL) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory for %u compute threads", threads);
    }
    while (status == LAMINA_OK && t->size < threads) {
        struct worker *w = &t->workers[t->size];
        *w = (struct worker){.team = t, .index = t->size};
        status = sys_thread_start(&w->thread, "lamina-compute", worker_loop, w, err);
        t->size += status == LAMINA_OK;
    }
    if (status != LAMINA_OK) {
        team_close(&t);
        return status;
    }
    *out = t;
    return LAMINA_OK;
}

void team_close(struct team **team) {
    struct team *t = *team;
    if (t == NULL) {
        return;
    }
    t->stop = true;
    atomic_fetch_add(&t->round, 1);
    sys_wake_all(&t->round);
    for (uint32_t i = 1; i < t->size; i++) {
        sys_thread_join(&t->workers[i].thread);
    }
    free(t->workers);
    free(t);
    *team = NULL;
}

uint32_t team_size(const struct team *t) {
    return t->size;
}
