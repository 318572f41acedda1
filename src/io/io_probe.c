/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds the geometry with which this drive reads fastest. "The drive's limit" elsewhere means this figure. Knows nothing of
 * what the file holds. The invariant: a rate is measured only while all of the geometry's requests are in flight, so
 * neither filling nor draining the queue lowers it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/compiler.h"
#include "io/io_priv.h"
#include "sys/thread.h"

/* Small rings suffice, and larger ones were slower on the drives measured (docs/SPEED.md): 2 to 32 MiB in flight. */
static const uint32_t request_sizes[] = {1 << 20, 2 << 20, 4 << 20};
static const uint32_t depths[] = {2, 4, 8};
static const enum io_engine engines[] = {IO_ENGINE_URING, IO_ENGINE_THREADS};
enum { MOST_GEOMETRIES = 18, FINALISTS = 3, MOST_FLIGHT = 8 };

struct geometry {
    struct io_probe_result result; /* bytes_per_s: total / time over all rounds */
    uint64_t bytes;
    uint64_t ns;
};

struct probe {
    struct sys_file *file;
    const char *path;
    char *memory;
    size_t memory_len;
    uint64_t offset;   /* where the next request begins */
    uint64_t deadline; /* of the whole measurement */
};

static struct io_read next_read(struct probe *p, uint32_t request, uint32_t place) {
    if (p->offset + request > p->file->size) {
        p->offset = 0;
    }
    struct io_read read = {
        .file = p->file,
        .path = p->path,
        .offset = p->offset,
        .dst = p->memory + (size_t)place * request,
        .len = request,
        .tag = place,
    };
    p->offset += request;
    return read;
}

/* What one run has seen. Completions count from the first one on, while every slot is refilled. */
struct tally {
    uint64_t begun, first, last;
    uint64_t bytes; /* that came after `first` */
    uint64_t total;
};

static void count(struct tally *t, uint64_t at, uint64_t bytes, bool open) {
    t->total += bytes;
    if (open || t->bytes == 0) { /* a slow drive may finish nothing within the window: then the first that came counts */
        t->bytes += t->first != 0 ? bytes : 0;
        t->first = t->first != 0 ? t->first : at;
        t->last = at;
    }
}

static lamina_status submit_one(struct probe *p, struct io_queue *q, uint32_t request, uint32_t place,
                                struct lamina_error *err) {
    struct io_read read = next_read(p, request, place);
    int taken = io_submit(q, &read, 1, err);
    return taken < 0 ? (lamina_status)taken : LAMINA_OK;
}

/* Keeps the geometry's reads in flight for about `window_ns`. */
static lamina_status run(struct probe *p, struct io_queue *q, struct geometry *g, uint64_t window_ns, struct lamina_error *err) {
    uint32_t request = g->result.request_bytes;
    struct io_done done[MOST_FLIGHT];
    struct tally t = {.begun = sys_now_ns()};
    lamina_status status = LAMINA_OK;
    for (uint32_t i = 0; i < g->result.depth && status == LAMINA_OK; i++) {
        status = submit_one(p, q, request, i, err);
    }
    while (io_in_flight(q) > 0) {
        uint32_t n = io_wait(q, done, ARRAY_LEN(done), UINT64_MAX, err);
        uint64_t at = sys_now_ns();
        bool open = at < t.begun + window_ns && at < p->deadline;
        count(&t, at, (uint64_t)n * request, open);
        for (uint32_t i = 0; i < n; i++) {
            status = status < 0 ? status : done[i].status;
            if (status == LAMINA_OK && open) {
                status = submit_one(p, q, request, (uint32_t)done[i].tag, err);
            }
        }
    }
    bool steady = t.bytes > 0 && t.last > t.first;
    g->bytes += steady ? t.bytes : t.total;
    g->ns += steady ? t.last - t.first : t.last - t.begun;
    g->result.bytes_per_s = g->ns > 0 ? (double)g->bytes * 1e9 / (double)g->ns : 0;
    return status;
}

/* A missing engine measures as 0 and is no failure: the other one is there. */
static lamina_status measure(struct probe *p, struct geometry *g, uint64_t window_ns, struct lamina_error *err) {
    struct io_options o = {
        .engine = g->result.engine,
        .depth = g->result.depth,
        .registered = p->memory,
        .registered_len = p->memory_len,
    };
    struct lamina_error reason = {0};
    struct io_queue *q = NULL;
    lamina_status status = io_open(&q, &o, &reason);
    if (status == LAMINA_UNSUPPORTED) {
        return LAMINA_OK;
    }
    if (status < 0) {
        return base_fail(err, status, "%s", reason.message);
    }
    if (!p->file->direct) {
        sys_file_drop_cache(p->file, 0, p->file->size); /* the drive is asked for, not the page cache */
    }
    status = run(p, q, g, window_ns, err);
    io_close(&q);
    return status;
}

/* A pool of threads spends about twice the processor time of io_uring per byte (measured: 0.012-0.027 s/GB against
 * 0.004-0.010), so it has to be faster by more than 2 % to be chosen. */
static double merit(const struct geometry *g) {
    return g->result.bytes_per_s * (g->result.engine == IO_ENGINE_THREADS ? 0.98 : 1.0);
}

static int by_merit(const void *a, const void *b) {
    double x = merit(a);
    double y = merit(b);
    return (x < y) - (x > y);
}

static size_t list_geometries(const struct probe *p, struct geometry *out) {
    size_t n = 0;
    for (size_t e = 0; e < ARRAY_LEN(engines); e++) {
        for (size_t r = 0; r < ARRAY_LEN(request_sizes); r++) {
            for (size_t d = 0; d < ARRAY_LEN(depths); d++) {
                if ((uint64_t)request_sizes[r] * depths[d] <= p->memory_len && request_sizes[r] <= p->file->size) {
                    out[n++] = (struct geometry){.result = {.request_bytes = request_sizes[r], .depth = depths[d],
                                                            .engine = engines[e]}};
                }
            }
        }
    }
    return n;
}

/* Three fifths of the time for all, two fifths for the best few, whose order one short window does not settle. They take
 * turns, so that a passing disturbance meets all of them. */
static lamina_status tournament(struct probe *p, struct geometry *g, size_t n, uint64_t budget_ns, struct lamina_error *err) {
    for (size_t i = 0; i < n; i++) {
        LAMINA_TRY(measure(p, &g[i], budget_ns * 3 / 5 / n, err));
    }
    qsort(g, n, sizeof(*g), by_merit);
    size_t finalists = n < FINALISTS ? n : FINALISTS;
    for (size_t turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < finalists && sys_now_ns() < p->deadline; i++) {
            LAMINA_TRY(measure(p, &g[i], budget_ns / 5 / finalists, err));
        }
    }
    qsort(g, finalists, sizeof(*g), by_merit);
    return LAMINA_OK;
}

lamina_status io_probe(struct sys_file *file, const char *path, void *memory, size_t memory_len, uint64_t budget_ns,
                       struct io_probe_result *result, struct lamina_error *err) {
    *result = (struct io_probe_result){0};
    struct probe p = {.file = file, .path = path, .memory = memory, .memory_len = memory_len};
    p.deadline = sys_now_ns() + budget_ns;
    struct geometry g[MOST_GEOMETRIES];
    size_t n = list_geometries(&p, g);
    if (n == 0) {
        return base_fail(err, LAMINA_USAGE, "%s (%" PRIu64 " bytes) with %zu bytes of memory is too small to measure reading",
                         path, file->size, memory_len);
    }
    LAMINA_TRY(tournament(&p, g, n, budget_ns, err));
    if (g[0].result.bytes_per_s <= 0) {
        return base_fail(err, LAMINA_IO, "no read of %s came to an end within the time for measuring", path);
    }
    *result = g[0].result;
    result->alignment = sys_file_is_direct(file) ? file->alignment : 0;
    for (size_t i = 1; i < n && i < FINALISTS; i++) {
        if (g[i].result.bytes_per_s > result->bytes_per_s) {
            result->bytes_per_s = g[i].result.bytes_per_s; /* the drive's limit, even where its geometry costs too much */
        }
    }
    return LAMINA_OK;
}
