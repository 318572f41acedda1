/* SPDX-License-Identifier: Apache-2.0
 *
 * A team of workers that run one function together: the calling thread is worker 0. Workers spin for some tens of
 * microseconds after a job, since the next one usually follows at once, then sleep on a futex.
 */
#ifndef DEV_TEAM_H
#define DEV_TEAM_H

#include <stdint.h>

#include "base/status.h"

struct team;

/* threads >= 1. Every worker flushes denormals, as numerics class `exact` demands. */
lamina_status team_open(struct team **t, uint32_t threads, struct lamina_error *err);
void team_close(struct team **t);
uint32_t team_size(const struct team *t);
/* Runs fn(arg, worker) on all workers and returns when all are done. Called by one thread, not from inside fn. */
void team_run(struct team *t, void (*fn)(void *arg, uint32_t worker), void *arg);

#endif
