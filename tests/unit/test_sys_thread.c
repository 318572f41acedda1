/* SPDX-License-Identifier: Apache-2.0
 * sys/thread.h: exclusion, waking, time limits, stack size. Meant to run under ThreadSanitizer as well. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sys/thread.h"

enum { THREADS = 4, ROUNDS = 20000 };

struct counter {
    struct sys_mutex lock;
    uint64_t plain; /* guarded by lock, not atomic: a broken lock shows as a wrong sum (and to the sanitizer) */
};

static void count(void *arg) {
    struct counter *c = arg;
    for (int i = 0; i < ROUNDS; i++) {
        sys_mutex_lock(&c->lock);
        c->plain++;
        sys_mutex_unlock(&c->lock);
    }
}

static void excludes(void **state) {
    (void)state;
    struct counter c = {0};
    struct sys_thread *t[THREADS];
    struct lamina_error err = {0};
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(sys_thread_start(&t[i], "counter-with-a-long-name", count, &c, &err), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        sys_thread_join(&t[i]);
        assert_null(t[i]);
        sys_thread_join(&t[i]);
    }
    assert_int_equal(c.plain, (uint64_t)THREADS * ROUNDS);
}

/* Two threads hand a value to and fro: a lost wake-up would hang here. */
struct ball {
    _Atomic uint32_t turn;
    uint64_t value;
};

static void return_ball(void *arg) {
    struct ball *b = arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        while (atomic_load(&b->turn) != 1) {
            sys_wait(&b->turn, 0, UINT64_MAX);
        }
        b->value++;
        atomic_store(&b->turn, 0);
        sys_wake_all(&b->turn);
    }
}

static void wakes(void **state) {
    (void)state;
    struct ball b = {0};
    struct sys_thread *t = NULL;
    struct lamina_error err = {0};
    assert_int_equal(sys_thread_start(&t, "ball", return_ball, &b, &err), 0);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        b.value++;
        atomic_store(&b.turn, 1);
        sys_wake_all(&b.turn);
        while (atomic_load(&b.turn) != 0) {
            sys_wait(&b.turn, 1, UINT64_MAX);
        }
    }
    sys_thread_join(&t);
    assert_int_equal(b.value, 2 * ROUNDS);
}

static void limits_waiting(void **state) {
    (void)state;
    _Atomic uint32_t word = 5;
    uint64_t start = sys_now_ns();
    sys_wait(&word, 4, UINT64_MAX); /* not the expected value: returns at once */
    uint64_t slept = 0;
    while (slept < 20000000) { /* spurious wake-ups are allowed */
        sys_wait(&word, 5, 20000000 - slept);
        slept = sys_now_ns() - start;
    }
    sys_sleep_ns(5000000);
    uint64_t total = sys_now_ns() - start;
    assert_true(total >= 25000000 && total < UINT64_C(20000000000));
}

struct seen {
    size_t stack;
    bool interruptible;
    char name[32];
};

static void look(void *arg) {
    struct seen *s = arg;
    sigset_t set;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &set);
    s->interruptible = !sigismember(&set, SIGINT);
#if defined(__linux__)
    pthread_attr_t attr;
    (void)pthread_getattr_np(pthread_self(), &attr);
    (void)pthread_attr_getstacksize(&attr, &s->stack);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_getname_np(pthread_self(), s->name, sizeof(s->name));
#endif
}

static void keeps_stacks_small(void **state) {
    (void)state;
    struct seen s = {0};
    struct sys_thread *t = NULL;
    struct lamina_error err = {0};
    assert_int_equal(sys_thread_start(&t, "a-name-of-more-than-15-bytes", look, &s, &err), 0);
    sys_thread_join(&t);
    assert_false(s.interruptible);
#if defined(__linux__)
    assert_true(s.stack <= 2 * (size_t)SYS_THREAD_STACK);
    assert_string_equal(s.name, "a-name-of-more-");
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(excludes),
        cmocka_unit_test(wakes),
        cmocka_unit_test(limits_waiting),
        cmocka_unit_test(keeps_stacks_small),
    };
    return cmocka_run_group_tests_name("sys_thread", tests, NULL, NULL);
}
