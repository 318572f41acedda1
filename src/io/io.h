/* SPDX-License-Identifier: Apache-2.0
 *
 * Asynchronous reads of blocks: submit, wait, in any order. Three engines, one contract:
 *     uring    io_uring, registered buffers where the memlock limit allows
 *     threads  a pool of preads
 *     sim      an in-process engine for tests: latency, reordering, short reads, errors, from a seed
 *
 * Contract. A queue belongs to one thread. A read completes exactly once, with all of its bytes or with an error. Inside
 * an engine: short reads are continued (re-issued whole where the tail would be unaligned), EINTR and EAGAIN are
 * re-issued, EIO is tried 3 more times after 10, 100 and 1000 ms; a file that ends early is an error. EINVAL on a direct
 * file (a file system that lies about O_DIRECT) falls back to a buffered descriptor of the same file, once, with a note
 * in the log. Destination memory must stay valid until the completion; closing a queue waits for all of them.
 */
#ifndef IO_IO_H
#define IO_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/status.h"
#include "sys/file.h"

enum io_engine { IO_ENGINE_AUTO, IO_ENGINE_URING, IO_ENGINE_THREADS, IO_ENGINE_SIM };

struct io_options {
    enum io_engine engine;
    uint32_t depth;          /* most reads in flight, 1..256 */
    void *registered;        /* memory that most reads land in; pinned by the kernel where possible, and thereby touched.
                                May be NULL */
    size_t registered_len;
    /* sim only: "latency_us=200,jitter_us=500,reorder=1,short=10,eio=5,eagain=5,flip=1,einval=1,eio_sticky=FILE_OFFSET,
     * seed=7"; numbers after short, eio, eagain and flip (one bit turned over in what is delivered): per mille of reads;
     * einval: direct reads are refused. Time is virtual: waiting takes none. NULL: no faults. */
    const char *sim;
    const struct log_sink *log;
};

struct io_read {
    struct sys_file *file; /* stays open until completion */
    const char *path;      /* for messages; stays valid until completion */
    uint64_t offset;       /* offset, len and dst aligned as file->alignment says */
    void *dst;
    uint32_t len;
    uint64_t tag;          /* the caller's, returned with the completion */
};

struct io_done {
    uint64_t tag;
    lamina_status status; /* 0: all bytes are in dst; else IO, DAMAGED (file ends early) */
    uint64_t latency_ns;
};

struct io_queue;

/* AUTO takes uring where a trial read works, else threads. Errors: IO, NO_FIT, UNSUPPORTED (engine asked for by name is
 * not available here; says why). */
lamina_status io_open(struct io_queue **q, const struct io_options *o, struct lamina_error *err);
void io_close(struct io_queue **q);
const char *io_engine_name(const struct io_queue *q); /* "io_uring, registered buffers", "threads", ... */
uint32_t io_in_flight(const struct io_queue *q);

/* Starts up to `count` reads; returns how many were taken (fewer when the queue is full). A request that cannot be right
 * (no bytes, closed file, not aligned) is a negative status, and none of the call's reads was started. */
int io_submit(struct io_queue *q, const struct io_read *reads, uint32_t count, struct lamina_error *err);

/* Waits until at least one read is done (or timeout_ns passed, or nothing is in flight) and returns up to `max`
 * completions. After a failed read `err` (the first failure's sentence) is filled. */
uint32_t io_wait(struct io_queue *q, struct io_done *done, uint32_t max, uint64_t timeout_ns, struct lamina_error *err);

/* Is io_uring usable here? 0 yes; else a negative status and the reason in `err`. */
lamina_status io_uring_probe(struct lamina_error *err);

/* Measures direct sequential reads of [offset, offset+len) of an open file into `memory` (huge pages, memory_len bytes)
 * over a few geometries, at most budget_ns in all. Sequential from start to end, wrapping, every geometry on fresh bytes
 * where the file is large enough. */
struct io_probe_result {
    double bytes_per_s; /* of the fastest geometry: the drive's limit */
    uint32_t alignment; /* of direct reads; 0: the file could only be read through the page cache */
    uint32_t request_bytes; /* the geometry to use: the fastest, or one on io_uring within 2 % of it */
    uint32_t depth;
    enum io_engine engine;
};
lamina_status io_probe(struct sys_file *file, const char *path, void *memory, size_t memory_len, uint64_t budget_ns,
                       struct io_probe_result *result, struct lamina_error *err);

#endif
