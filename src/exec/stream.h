/* SPDX-License-Identifier: Apache-2.0
 *
 * The stream of tiles: one reader thread keeps the drive busy, compute workers take tiles in pass order. Positions count
 * the tiles of a pass; tickets count tiles over all passes, so that "the next pass's first layer" is just a larger
 * number. Pinned tiles have their own place, are read once, and are skipped by the reader from then on; all others go
 * through a byte ring whose space is freed in reading order.
 *
 *     tickets:   ... consumed | acquired | ready | in flight | not asked for ...
 *                     ^ ring tail (freed)                ^ reader
 *
 * Threads: the reader thread owns the io queue. acquire and release may come from any number of workers. begin_pass,
 * allow and the open/close pair come from the one thread that runs passes.
 */
#ifndef EXEC_STREAM_H
#define EXEC_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/status.h"
#include "io/io.h"
#include "store/store.h"

/* The tiles of one matrix in the pass. */
struct stream_span {
    struct store_file *file;
    const struct store_matrix *matrix;
    uint32_t first;              /* position of its first tile */
};

struct stream_options {
    const struct stream_span *spans; /* in pass order; borrowed */
    uint32_t span_count;
    uint32_t positions;          /* tiles in a whole pass */
    uint32_t body_positions;     /* tiles before the head */
    uint32_t longest_gap;        /* most tiles in a row that may be left out */
    uint32_t *pin_place;         /* [positions] page in `pinned`, or PLAN_STREAMED; borrowed, changed by stream_place */
    uint8_t *pinned;
    uint8_t *ring;
    uint64_t ring_bytes;         /* multiple of 4096 */
    uint64_t request_bytes;
    uint32_t depth;
    enum io_engine engine;
    const char *sim;
    const struct log_sink *log;
};

struct stream_stats {
    uint64_t bytes_read, tiles_read, tiles_verified, requests;
    uint64_t verify_ns;          /* summed over workers */
    uint64_t wait_ns;            /* summed over workers: waiting for bytes */
};

struct stream;
/* Heap that a stream of so many tiles takes, for the plan. */
uint64_t stream_heap_bytes(uint32_t positions, uint32_t longest_gap);
lamina_status stream_open(struct stream **s, const struct stream_options *o, struct lamina_error *err);
void stream_close(struct stream **s); /* waits for reads in flight */
const char *stream_engine(const struct stream *s);

/* How far the reader may go on its own. */
enum stream_ahead {
    STREAM_ASKED,   /* only as far as stream_allow says */
    STREAM_PASS,    /* to the end of the pass: no other is expected */
    STREAM_BEYOND,  /* into the body of the pass after it */
};
/* Starts a pass over the body, and the head too if asked. */
void stream_begin_pass(struct stream *s, bool with_head, enum stream_ahead ahead);
/* Ends a pass that failed: waits for what is being read, and forgets it, what was read and not released, and the failure. The
 * next pass reads anew, so what failed once may succeed then. Nobody holds a tile. */
void stream_drop_pass(struct stream *s);
/* Tiles from `first` on that the current pass leaves out, or takes after all. Only beyond where the reader may go. */
void stream_leave_out(struct stream *s, uint32_t first, uint32_t count, bool out);
/* Gives a tile another place: a page in `pinned`, or PLAN_STREAMED. It is read again when next wanted. Only beyond where the
 * reader may go, and for tiles that nobody holds. */
void stream_place(struct stream *s, uint32_t position, uint32_t page);
/* Lets the reader go up to (not including) this position of the pass. */
void stream_allow(struct stream *s, uint32_t position);

/* The *len bytes of the tile at `position` of the current pass, verified; NULL after a failure (stream_status tells). */
const void *stream_acquire(struct stream *s, uint32_t position, size_t *len);
void stream_release(struct stream *s, uint32_t position);
/* Would stream_acquire return a tile without waiting? Any thread. */
bool stream_ready(const struct stream *s, uint32_t position);
/* A pinned tile that is already loaded and verified, else NULL. Any thread. */
const void *stream_resident(const struct stream *s, uint32_t position);

lamina_status stream_status(const struct stream *s, struct lamina_error *err);
void stream_statistics(const struct stream *s, struct stream_stats *stats);
/* Time since stream_open in which the drive was asked for nothing. */
uint64_t stream_idle_ns(const struct stream *s);

#endif
