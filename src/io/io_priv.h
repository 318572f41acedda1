/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the front (io.c: contract, retries, ends of files) and the engines (how one transfer is made). An engine moves
 * what one system call moves and reports it raw; it knows nothing of retries, paths or messages. The invariant: every
 * transfer that start() took is reported by collect() exactly once. All calls come from the queue's thread.
 */
#ifndef IO_IO_PRIV_H
#define IO_IO_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/io.h"

enum { IO_MOST_DEPTH = 256 };

struct io_transfer {
    uint32_t slot; /* 0..depth-1, free again when reported */
    const struct sys_file *file;
    uint64_t offset;
    void *dst;
    uint32_t len;
};

struct io_raw {
    uint32_t slot;
    int32_t result; /* bytes, 0 at the end of the file, or a negative errno */
};

struct io_engine_ops {
    /* Queues one transfer; at most `depth` are under way, so there is always room. */
    void (*start)(void *self, const struct io_transfer *t);
    /* Hands what was queued to whoever executes it. */
    void (*flush)(void *self);
    /* Up to `max` (>= 1) finished transfers; waits for the first one at most timeout_ns. May return 0 early. */
    uint32_t (*collect)(void *self, struct io_raw *out, uint32_t max, uint64_t timeout_ns);
    /* Nothing is under way any more. */
    void (*close)(void *self);
    const char *(*name)(const void *self);
    /* The clock that delays are measured with: the real one, or the simulation's. */
    uint64_t (*now)(void *self);
};

struct io_backend {
    const struct io_engine_ops *ops;
    void *self;
};

lamina_status io_uring_backend(struct io_backend *out, const struct io_options *o, struct lamina_error *err);
lamina_status io_threads_backend(struct io_backend *out, const struct io_options *o, struct lamina_error *err);
lamina_status io_sim_backend(struct io_backend *out, const struct io_options *o, struct lamina_error *err);

/* One pread as an engine reports it: bytes or negative errno, EINTR repeated. */
int32_t io_pread_raw(const struct io_transfer *t);

#endif
