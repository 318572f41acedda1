/* SPDX-License-Identifier: Apache-2.0
 * Threads and waiting. Futex semantics where the system has them, a condition variable behind the same calls elsewhere. */
#ifndef SYS_THREAD_H
#define SYS_THREAD_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct sys_thread; /* opaque, heap */

/* Small fixed stack (256 KiB) so that stacks stay inside the plan. `name` shows in debuggers (15 bytes). */
lamina_status sys_thread_start(struct sys_thread **t, const char *name, void (*run)(void *arg), void *arg,
                               struct lamina_error *err);
void sys_thread_join(struct sys_thread **t);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SYS_THREAD_STACK = 2 << 20 }; /* sanitizers keep red zones and shadow frames on the stack */
#else
enum { SYS_THREAD_STACK = 256 << 10 };
#endif

/* Sleeps while *word == expected, at most timeout_ns (UINT64_MAX: no limit); spurious wake-ups happen. */
void sys_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);
void sys_wake_all(_Atomic uint32_t *word);

/* A leaf lock: never call out while holding one. Start from {0}. */
struct sys_mutex {
    _Atomic uint32_t state;
};
void sys_mutex_lock(struct sys_mutex *m);
void sys_mutex_unlock(struct sys_mutex *m);

static inline void sys_cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

uint64_t sys_now_ns(void);   /* monotonic */
void sys_sleep_ns(uint64_t ns);

#endif
