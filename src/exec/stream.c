/* SPDX-License-Identifier: Apache-2.0
 *
 * Reader and ring. Shared state is guarded by one leaf lock, held for some tens of instructions; workers wait on an event
 * counter that rises with every batch of completions. A tile is verified by the worker that is about to compute it,
 * while it is in that core's cache, once after each read; a tile that fails is read once more (a flip on the way) before
 * the run is stopped with DAMAGED.
 */
#include "exec/stream.h"

#include <stdlib.h>

#include "base/checked.h"
#include "plan/plan.h"
#include "sys/thread.h"

enum {
    PAGE = 4096,
    WINDOW = 2048,      /* least tickets between the oldest unreleased tile and the reader, a power of two */
    RUNS = 512,         /* requests between ring tail and reader, a power of two */
};

enum pin_state { PIN_ABSENT, PIN_ASKED, PIN_VERIFIED };

struct slot {
    _Atomic uint32_t ready; /* low bits of ticket + 1 */
    uint32_t run;           /* index of the request it belongs to */
    uint8_t *bytes;
};

/* One request: adjacent tiles, one destination. */
struct run {
    uint64_t ticket;
    uint32_t tiles;
    uint32_t unreleased;
    uint64_t ring_used;     /* bytes of the ring it holds, wrap gap included; 0 for pinned */
    uint32_t bytes;
};

struct stream {
    struct stream_options o;
    struct io_queue *queue;
    struct sys_thread *reader;
    _Atomic uint8_t *pin_state; /* [positions], enum pin_state */
    uint8_t *left_out;          /* [positions], under the lock */

    struct sys_mutex lock;  /* guards the fields down to `failed` */
    uint64_t pass_ticket, pass_length; /* the current pass */
    uint64_t next;          /* reader's next ticket */
    uint64_t limit;         /* reader stays below */
    uint64_t ring_head, ring_tail; /* bytes ever taken and freed */
    uint64_t first_run, next_run;  /* requests ever finished and started */
    uint32_t in_flight;     /* requests that the drive has not answered */
    uint64_t idle_ns, idle_since; /* time without any, and where the last such stretch begins */
    struct run runs[RUNS];
    bool stop;
    lamina_status failed;
    struct lamina_error error;

    struct slot *slots;         /* [window] heap; by ticket modulo window */
    uint64_t window;            /* a power of two */
    _Alignas(CACHE_LINE) _Atomic uint32_t event;  /* rises when tiles became ready or the stream failed */
    _Atomic uint32_t waiters;
    _Alignas(CACHE_LINE) _Atomic uint32_t doorbell; /* rises when the reader may find work */
    _Atomic uint32_t reader_asleep;
    _Atomic uint64_t bytes_read, tiles_read, tiles_verified, requests, verify_ns, wait_ns;
};

/* ---- positions ---- */

/* Position of a ticket in its pass: the current one or the one after. */
static uint32_t position_of(const struct stream *s, uint64_t ticket) {
    uint64_t p = ticket - s->pass_ticket;
    return (uint32_t)(p < s->pass_length ? p : p - s->pass_length);
}

static uint32_t span_of_position(const struct stream *s, uint32_t position) {
    uint32_t low = 0;
    uint32_t high = s->o.span_count; /* the span is in low .. high - 1 */
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        *(s->o.spans[mid].first <= position ? &low : &high) = mid;
    }
    return low;
}

static const struct store_tile *tile_at(const struct stream_span *span, uint32_t position) {
    return &span->file->tiles[span->matrix->first_tile + (position - span->first)];
}

/* ---- reader ---- */

static void fail_locked(struct stream *s, lamina_status status, const struct lamina_error *err) {
    if (s->failed == LAMINA_OK) {
        s->failed = status;
        s->error = *err;
    }
    atomic_fetch_add(&s->event, 1);
    sys_wake_all(&s->event);
}

/* Ring bytes for `need`: the offset, or false. A piece never wraps; the gap before the wrap counts as used. */
static bool ring_take(struct stream *s, uint64_t need, uint64_t *offset, uint64_t *used) {
    uint64_t at = s->ring_head % s->o.ring_bytes;
    uint64_t gap = at + need > s->o.ring_bytes ? s->o.ring_bytes - at : 0;
    if (s->ring_head - s->ring_tail + gap + need > s->o.ring_bytes) {
        return false;
    }
    *offset = gap != 0 ? 0 : at;
    *used = gap + need;
    s->ring_head += gap + need;
    return true;
}

struct piece {
    const struct stream_span *span;
    uint32_t position;
    uint32_t tiles;
    uint64_t bytes;
    bool pinned;
};

static bool is_wanted(const struct stream *s, uint32_t position) {
    return s->pin_state[position] == PIN_ABSENT && s->left_out[position] == 0;
}

static bool skip_resident(struct stream *s) {
    while (s->next < s->limit && !is_wanted(s, position_of(s, s->next))) {
        s->next++;
    }
    return s->next < s->limit;
}

/* The next tiles that one read can bring: same file, adjacent on disk, adjacent where they go. */
static bool next_piece(struct stream *s, struct piece *p) {
    if (s->failed != LAMINA_OK || s->next_run - s->first_run == RUNS || !skip_resident(s)) {
        return false;
    }
    uint32_t position = position_of(s, s->next);
    uint32_t nth = span_of_position(s, position);
    const struct stream_span *span = &s->o.spans[nth];
    uint32_t place = s->o.pin_place[position];
    *p = (struct piece){.span = span, .position = position, .pinned = place != PLAN_STREAMED};
    uint32_t last = nth + 1 < s->o.span_count ? s->o.spans[nth + 1].first : s->o.positions;
    uint64_t pages = 0;
    for (uint32_t q = position; q < last && s->next + p->tiles < s->limit; q++) {
        const struct store_tile *t = tile_at(span, q);
        bool fits = p->bytes + (uint64_t)t->pages * PAGE <= s->o.request_bytes || p->tiles == 0;
        bool together = is_wanted(s, q) && (s->o.pin_place[q] != PLAN_STREAMED) == p->pinned &&
                        (!p->pinned || s->o.pin_place[q] == place + pages);
        if (!fits || !together) {
            break;
        }
        pages += t->pages;
        p->bytes = pages * PAGE;
        p->tiles++;
    }
    return true;
}

/* The oldest ticket that may still be in use: slots are reused `window` tickets later. */
static bool window_open(const struct stream *s, uint32_t tiles) {
    uint64_t oldest = s->first_run < s->next_run ? s->runs[s->first_run % RUNS].ticket : s->next;
    return s->next + tiles - oldest <= s->window;
}

static void place_tiles(struct stream *s, const struct piece *p, uint32_t run, uint8_t *dst) {
    for (uint32_t i = 0; i < p->tiles; i++) {
        struct slot *slot = &s->slots[(s->next + i) % s->window];
        slot->run = run;
        slot->bytes = dst;
        dst += (uint64_t)tile_at(p->span, p->position + i)->pages * PAGE;
        if (p->pinned) {
            s->pin_state[p->position + i] = PIN_ASKED;
        }
    }
}

/* Prepares the next read; false when there is nothing to read or no room for it. */
static bool prepare(struct stream *s, struct io_read *read) {
    struct piece p;
    uint64_t offset = 0;
    uint64_t used = 0;
    if (!next_piece(s, &p) || !window_open(s, p.tiles)) {
        return false;
    }
    if (!p.pinned && !ring_take(s, p.bytes, &offset, &used)) {
        return false;
    }
    uint32_t run = (uint32_t)(s->next_run++ % RUNS);
    uint8_t *dst = p.pinned ? s->o.pinned + (uint64_t)s->o.pin_place[p.position] * PAGE : s->o.ring + offset;
    s->runs[run] = (struct run){.ticket = s->next, .tiles = p.tiles, .unreleased = p.tiles, .ring_used = used,
                                .bytes = (uint32_t)p.bytes};
    place_tiles(s, &p, run, dst);
    *read = (struct io_read){
        .file = &p.span->file->file,
        .path = p.span->file->path,
        .offset = (uint64_t)tile_at(p.span, p.position)->offset_pages * PAGE,
        .dst = dst,
        .len = (uint32_t)p.bytes,
        .tag = run,
    };
    s->next += p.tiles;
    s->idle_ns += s->in_flight == 0 ? sys_now_ns() - s->idle_since : 0;
    s->in_flight++;
    return true;
}

/* A request came back, or was not taken after all. */
static void answered(struct stream *s) {
    if (--s->in_flight == 0) {
        s->idle_since = sys_now_ns();
    }
}

static void submit_all(struct stream *s) {
    struct lamina_error err = {0};
    for (;;) {
        struct io_read read;
        sys_mutex_lock(&s->lock);
        bool more = io_in_flight(s->queue) < s->o.depth && prepare(s, &read);
        sys_mutex_unlock(&s->lock);
        if (!more) {
            return;
        }
        int taken = io_submit(s->queue, &read, 1, &err);
        if (taken != 1) {
            (void)base_fail(&err, LAMINA_IO, "the read queue takes no more requests");
            sys_mutex_lock(&s->lock);
            answered(s);
            fail_locked(s, taken < 0 ? taken : LAMINA_IO, &err);
            sys_mutex_unlock(&s->lock);
            return;
        }
        atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed);
    }
}

static void complete(struct stream *s, const struct io_done *done, const struct lamina_error *err) {
    struct run *run = &s->runs[done->tag];
    /* After the last store below a worker may release the run and the slot may be reused: count first. */
    uint32_t tiles = done->status == LAMINA_OK ? run->tiles : 0;
    uint64_t ticket = run->ticket;
    if (tiles > 0) {
        atomic_fetch_add_explicit(&s->bytes_read, run->bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&s->tiles_read, tiles, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < tiles; i++) {
        struct slot *slot = &s->slots[(ticket + i) % s->window];
        atomic_store_explicit(&slot->ready, (uint32_t)(ticket + i + 1), memory_order_release);
    }
    sys_mutex_lock(&s->lock);
    answered(s);
    if (done->status != LAMINA_OK) {
        fail_locked(s, done->status, err);
    }
    sys_mutex_unlock(&s->lock);
}

static void reader_loop(void *arg) {
    struct stream *s = (struct stream *)arg;
    struct io_done done[64];
    for (;;) {
        uint32_t bell = atomic_load(&s->doorbell);
        submit_all(s);
        sys_mutex_lock(&s->lock);
        bool stop = s->stop;
        sys_mutex_unlock(&s->lock);
        if (io_in_flight(s->queue) > 0) {
            struct lamina_error err = {0};
            uint32_t n = io_wait(s->queue, done, ARRAY_LEN(done), UINT64_MAX, &err);
            for (uint32_t i = 0; i < n; i++) {
                complete(s, &done[i], &err);
            }
            atomic_fetch_add(&s->event, 1);
            if (atomic_load(&s->waiters) > 0) {
                sys_wake_all(&s->event);
            }
        } else if (stop) {
            return;
        } else {
            atomic_store(&s->reader_asleep, 1);
            sys_wait(&s->doorbell, bell, UINT64_MAX);
            atomic_store(&s->reader_asleep, 0);
        }
    }
}

static void ring_doorbell(struct stream *s) {
    atomic_fetch_add(&s->doorbell, 1);
    if (atomic_load(&s->reader_asleep) != 0) {
        sys_wake_all(&s->doorbell);
    }
}

/* ---- workers ---- */

/* Waits until the ticket's bytes are in memory. False after a failure. */
static bool wait_ready(struct stream *s, uint64_t ticket) {
    struct slot *slot = &s->slots[ticket % s->window];
    uint32_t want = (uint32_t)(ticket + 1);
    if (atomic_load_explicit(&slot->ready, memory_order_acquire) == want) {
        return true;
    }
    uint64_t begin = sys_now_ns();
    bool fine = true;
    for (;;) {
        uint32_t event = atomic_load(&s->event);
        if (atomic_load_explicit(&slot->ready, memory_order_acquire) == want) {
            break;
        }
        sys_mutex_lock(&s->lock);
        fine = s->failed == LAMINA_OK;
        sys_mutex_unlock(&s->lock);
        if (!fine) {
            break;
        }
        atomic_fetch_add(&s->waiters, 1);
        if (atomic_load(&s->event) == event) {
            sys_wait(&s->event, event, UINT64_MAX);
        }
        atomic_fetch_sub(&s->waiters, 1);
    }
    atomic_fetch_add_explicit(&s->wait_ns, sys_now_ns() - begin, memory_order_relaxed);
    return fine;
}

static lamina_status verify(struct stream *s, const struct stream_span *span, uint32_t position, uint8_t *bytes,
                            struct lamina_error *err) {
    uint32_t tile = span->matrix->first_tile + (position - span->first);
    const struct store_tile *t = &span->file->tiles[tile];
    uint64_t begin = sys_now_ns();
    lamina_status status = store_tile_check(span->file, tile, bytes, err);
    atomic_fetch_add_explicit(&s->verify_ns, sys_now_ns() - begin, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->tiles_verified, 1, memory_order_relaxed);
    if (status == LAMINA_DAMAGED) {
        struct lamina_error again = {0};
        status = sys_file_read_at(&span->file->file, span->file->path, (uint64_t)t->offset_pages * PAGE, bytes,
                                  (size_t)t->pages * PAGE, &again);
        status = status == LAMINA_OK ? store_tile_check(span->file, tile, bytes, &again) : LAMINA_DAMAGED;
        if (status == LAMINA_OK) {
            *err = (struct lamina_error){0};
            log_say(s->o.log, LOG_WARNING, "%s: tile %u was damaged on the way from the drive and read again",
                    span->file->path, tile);
        }
    }
    return status;
}

const void *stream_acquire(struct stream *s, uint32_t position, size_t *len) {
    const struct stream_span *span = &s->o.spans[span_of_position(s, position)];
    *len = (size_t)tile_at(span, position)->pages * PAGE;
    if (s->pin_state[position] == PIN_VERIFIED) {
        return s->o.pinned + (uint64_t)s->o.pin_place[position] * PAGE;
    }
    uint64_t ticket = s->pass_ticket + position;
    if (!wait_ready(s, ticket)) {
        return NULL;
    }
    uint8_t *bytes = s->slots[ticket % s->window].bytes;
    struct lamina_error err = {0};
    lamina_status status = verify(s, span, position, bytes, &err);
    if (status != LAMINA_OK) {
        sys_mutex_lock(&s->lock);
        fail_locked(s, status, &err);
        sys_mutex_unlock(&s->lock);
        return NULL;
    }
    return bytes;
}

bool stream_ready(const struct stream *s, uint32_t position) {
    uint64_t ticket = s->pass_ticket + position;
    uint32_t ready = atomic_load_explicit(&s->slots[ticket % s->window].ready, memory_order_acquire);
    return s->pin_state[position] == PIN_VERIFIED || ready == (uint32_t)(ticket + 1);
}

void stream_release(struct stream *s, uint32_t position) {
    if (s->pin_state[position] == PIN_VERIFIED) {
        return;
    }
    uint64_t ticket = s->pass_ticket + position;
    sys_mutex_lock(&s->lock);
    struct run *run = &s->runs[s->slots[ticket % s->window].run];
    run->unreleased--;
    while (s->first_run < s->next_run && s->runs[s->first_run % RUNS].unreleased == 0) {
        s->ring_tail += s->runs[s->first_run % RUNS].ring_used;
        s->first_run++;
    }
    if (s->o.pin_place[position] != PLAN_STREAMED) {
        s->pin_state[position] = PIN_VERIFIED;
    }
    sys_mutex_unlock(&s->lock);
    ring_doorbell(s);
}

const void *stream_resident(const struct stream *s, uint32_t position) {
    return s->pin_state[position] == PIN_VERIFIED ? s->o.pinned + (uint64_t)s->o.pin_place[position] * PAGE : NULL;
}

/* ---- control ---- */

void stream_begin_pass(struct stream *s, bool with_head, enum stream_ahead ahead) {
    sys_mutex_lock(&s->lock);
    s->pass_ticket += s->pass_length;
    s->pass_length = with_head ? s->o.positions : s->o.body_positions;
    s->next = max_u64(s->next, s->pass_ticket);
    uint64_t reach = ahead == STREAM_ASKED ? 0 : s->pass_length;
    reach += ahead == STREAM_BEYOND ? s->o.body_positions : 0;
    s->limit = max_u64(s->next, s->pass_ticket + reach);
    sys_mutex_unlock(&s->lock);
    ring_doorbell(s);
}

void stream_drop_pass(struct stream *s) {
    for (;;) {
        uint32_t event = atomic_load(&s->event);
        sys_mutex_lock(&s->lock);
        s->limit = s->next;
        bool quiet = s->in_flight == 0;
        sys_mutex_unlock(&s->lock);
        if (quiet) {
            break;
        }
        atomic_fetch_add(&s->waiters, 1);
        if (atomic_load(&s->event) == event) {
            sys_wait(&s->event, event, UINT64_MAX);
        }
        atomic_fetch_sub(&s->waiters, 1);
    }
    sys_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->o.positions; i++) {
        s->pin_state[i] = s->pin_state[i] == PIN_VERIFIED ? PIN_VERIFIED : PIN_ABSENT;
    }
    s->first_run = s->next_run;
    s->ring_tail = s->ring_head;
    s->pass_ticket = s->next; /* what was read of the pass after this one has tickets that no pass will have */
    s->pass_length = 0;
    s->limit = s->next;
    s->failed = LAMINA_OK;
    s->error = (struct lamina_error){0};
    sys_mutex_unlock(&s->lock);
}

void stream_leave_out(struct stream *s, uint32_t first, uint32_t count, bool out) {
    sys_mutex_lock(&s->lock);
    memset(s->left_out + first, out ? 1 : 0, count);
    sys_mutex_unlock(&s->lock);
}

void stream_place(struct stream *s, uint32_t position, uint32_t page) {
    sys_mutex_lock(&s->lock);
    s->o.pin_place[position] = page;
    s->pin_state[position] = PIN_ABSENT;
    sys_mutex_unlock(&s->lock);
}

void stream_allow(struct stream *s, uint32_t position) {
    sys_mutex_lock(&s->lock);
    s->limit = max_u64(s->limit, s->pass_ticket + position);
    sys_mutex_unlock(&s->lock);
    ring_doorbell(s);
}

lamina_status stream_status(const struct stream *stream, struct lamina_error *err) {
    struct stream *s = (struct stream *)(uintptr_t)stream;
    sys_mutex_lock(&s->lock);
    lamina_status status = s->failed;
    if (status != LAMINA_OK && err != NULL) {
        *err = s->error;
    }
    sys_mutex_unlock(&s->lock);
    return status;
}

uint64_t stream_idle_ns(const struct stream *stream) {
    struct stream *s = (struct stream *)(uintptr_t)stream;
    sys_mutex_lock(&s->lock);
    uint64_t ns = s->idle_ns + (s->in_flight == 0 ? sys_now_ns() - s->idle_since : 0);
    sys_mutex_unlock(&s->lock);
    return ns;
}

void stream_statistics(const struct stream *s, struct stream_stats *stats) {
    *stats = (struct stream_stats){
        .bytes_read = atomic_load(&s->bytes_read),
        .tiles_read = atomic_load(&s->tiles_read),
        .tiles_verified = atomic_load(&s->tiles_verified),
        .requests = atomic_load(&s->requests),
        .verify_ns = atomic_load(&s->verify_ns),
        .wait_ns = atomic_load(&s->wait_ns),
    };
}

const char *stream_engine(const struct stream *s) {
    return io_engine_name(s->queue);
}

static void drop_tables(struct stream *s) {
    io_close(&s->queue);
    free((void *)s->pin_state);
    free(s->left_out);
    free(s->slots);
    free(s);
}

/* Tiles on both sides of a gap are in use together, so the window spans the longest. */
static uint64_t window_for(uint32_t longest_gap) {
    uint64_t window = WINDOW;
    while (window < (uint64_t)longest_gap + WINDOW) {
        window *= 2;
    }
    return window;
}

uint64_t stream_heap_bytes(uint32_t positions, uint32_t longest_gap) {
    return 2 * ((uint64_t)positions + 1) + window_for(longest_gap) * sizeof(struct slot) + sizeof(struct stream);
}

lamina_status stream_open(struct stream **out, const struct stream_options *o, struct lamina_error *err) {
    size_t bytes = (sizeof(struct stream) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    struct stream *s = (struct stream *)aligned_alloc(CACHE_LINE, bytes);
    if (s == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the stream of tiles");
    }
    memset(s, 0, bytes);
    s->o = *o;
    s->idle_since = sys_now_ns();
    s->pin_state = (_Atomic uint8_t *)calloc(o->positions + 1u, 1);
    s->left_out = (uint8_t *)calloc(o->positions + 1u, 1);
    s->window = window_for(o->longest_gap);
    s->slots = (struct slot *)calloc(s->window, sizeof(*s->slots));
    /* A request larger than half the ring might never find room beside the gap at the ring's end. */
    s->o.request_bytes = min_u64(o->request_bytes, o->ring_bytes / 2);
    bool tables = s->pin_state != NULL && s->left_out != NULL && s->slots != NULL;
    lamina_status status = tables ? LAMINA_OK : base_fail(err, LAMINA_NO_FIT, "out of memory for pin states");
    struct io_options io = {
        .engine = o->engine,
        .depth = o->depth,
        .registered = o->ring,
        .registered_len = o->ring_bytes,
        .sim = o->sim,
        .log = o->log,
    };
    if (status == LAMINA_OK) {
        status = io_open(&s->queue, &io, err);
    }
    if (status == LAMINA_OK) {
        status = sys_thread_start(&s->reader, "lamina-reader", reader_loop, s, err);
    }
    if (status != LAMINA_OK) {
        drop_tables(s);
        return status;
    }
    *out = s;
    return LAMINA_OK;
}

void stream_close(struct stream **stream) {
    struct stream *s = *stream;
    if (s == NULL) {
        return;
    }
    sys_mutex_lock(&s->lock);
    s->stop = true;
    s->limit = s->next;
    sys_mutex_unlock(&s->lock);
    atomic_fetch_add(&s->doorbell, 1);
    sys_wake_all(&s->doorbell);
    sys_thread_join(&s->reader);
    drop_tables(s);
    *stream = NULL;
}
