/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads, waiting on a word, and the monotonic clock. Knows nothing of what runs on them. The invariant: a waiter that saw
 * the expected value cannot miss a wake-up that follows a change of the word, because the value is compared again under
 * the same lock (the kernel's, or the slot's) that the waker takes.
 */
#include "sys/thread.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* SYS_THREAD_PORTABLE forces the fallback on Linux too, so that its test runs here. */
#if defined(__linux__) && !defined(SYS_THREAD_PORTABLE)
#define HAVE_FUTEX 1
#include <linux/futex.h>
#include <sys/syscall.h>
#else
#define HAVE_FUTEX 0
#endif

struct sys_thread {
    pthread_t id;
    void (*run)(void *arg);
    void *arg;
    char name[16];
};

static void *enter(void *arg) {
    struct sys_thread *t = arg;
#if defined(__APPLE__)
    (void)pthread_setname_np(t->name);
#else
    (void)pthread_setname_np(pthread_self(), t->name);
#endif
    t->run(t->arg);
    return NULL;
}

/* Signals meant for the process (Ctrl-C, alarms) are for the threads of the embedding program; ours keep only those that
 * a fault or a profiler sends to the thread itself. */
static void block_signals(sigset_t *old) {
    static const int kept[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF};
    sigset_t set;
    (void)sigfillset(&set);
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        (void)sigdelset(&set, kept[i]);
    }
    (void)pthread_sigmask(SIG_SETMASK, &set, old);
}

lamina_status sys_thread_start(struct sys_thread **out, const char *name, void (*run)(void *arg), void *arg,
                               struct lamina_error *err) {
    *out = NULL;
    struct sys_thread *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory while starting the thread %s", name);
    }
    t->run = run;
    t->arg = arg;
    (void)snprintf(t->name, sizeof(t->name), "%s", name);
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc == 0) {
        rc = pthread_attr_setstacksize(&attr, SYS_THREAD_STACK);
        sigset_t old;
        block_signals(&old);
        rc = rc != 0 ? rc : pthread_create(&t->id, &attr, enter, t);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        (void)pthread_attr_destroy(&attr);
    }
    if (rc != 0) {
        free(t);
        return base_fail_errno(err, rc, "cannot start the thread %s", name);
    }
    *out = t;
    return LAMINA_OK;
}

void sys_thread_join(struct sys_thread **t) {
    if (*t != NULL) {
        (void)pthread_join((*t)->id, NULL);
        free(*t);
        *t = NULL;
    }
}

#if HAVE_FUTEX

_Static_assert(sizeof(_Atomic uint32_t) == 4, "a futex is four bytes");

void sys_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
    struct timespec limit = {.tv_sec = (time_t)(timeout_ns / 1000000000), .tv_nsec = (long)(timeout_ns % 1000000000)};
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, timeout_ns == UINT64_MAX ? NULL : &limit, NULL, 0);
}

void sys_wake_all(_Atomic uint32_t *word) {
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#else

/* A parking lot: addresses share a few slots, and a wake-up of one address may wake the waiters of another, which look at
 * their word again. The only mutable globals of the library; a futex is one too, inside the kernel. */
enum { SLOTS = 32 };
struct slot {
    pthread_mutex_t lock;
    pthread_cond_t changed;
};
#define SLOT {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER}
#define SLOT8 SLOT, SLOT, SLOT, SLOT, SLOT, SLOT, SLOT, SLOT
static struct slot slots[SLOTS] = {SLOT8, SLOT8, SLOT8, SLOT8};

static struct slot *slot_of(const void *word) {
    return &slots[((uintptr_t)word >> 6 ^ (uintptr_t)word >> 2) % SLOTS];
}

void sys_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
    struct slot *s = slot_of(word);
    (void)pthread_mutex_lock(&s->lock);
    if (atomic_load(word) == expected) {
        if (timeout_ns == UINT64_MAX) {
            (void)pthread_cond_wait(&s->changed, &s->lock);
        } else {
            struct timespec until;
            (void)clock_gettime(CLOCK_REALTIME, &until);
            uint64_t ns = (uint64_t)until.tv_nsec + timeout_ns % 1000000000;
            until.tv_sec += (time_t)(timeout_ns / 1000000000 + ns / 1000000000);
            until.tv_nsec = (long)(ns % 1000000000);
            (void)pthread_cond_timedwait(&s->changed, &s->lock, &until);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
}

void sys_wake_all(_Atomic uint32_t *word) {
    struct slot *s = slot_of(word);
    (void)pthread_mutex_lock(&s->lock);
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

#endif

/* 0 free, 1 held, 2 held and somebody may sleep (U. Drepper, "Futexes Are Tricky", mutex2). */
void sys_mutex_lock(struct sys_mutex *m) {
    uint32_t seen = 0;
    for (int spin = 0; spin < 64; spin++) {
        seen = 0;
        if (atomic_compare_exchange_weak_explicit(&m->state, &seen, 1, memory_order_acquire, memory_order_relaxed)) {
            return;
        }
        sys_cpu_relax();
    }
    while (atomic_exchange_explicit(&m->state, 2, memory_order_acquire) != 0) {
        sys_wait(&m->state, 2, UINT64_MAX);
    }
}

void sys_mutex_unlock(struct sys_mutex *m) {
    if (atomic_exchange_explicit(&m->state, 0, memory_order_release) == 2) {
        sys_wake_all(&m->state);
    }
}

uint64_t sys_now_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void sys_sleep_ns(uint64_t ns) {
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {
    }
}
