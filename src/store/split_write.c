/* SPDX-License-Identifier: Apache-2.0
 *
 * One output file, written front to back once: head, tiles, tail, hashed on the way, under a temporary name that
 * becomes the real one only after the bytes are synced. Large aligned direct writes where the file system allows them,
 * else buffered ones that are synced and dropped as they go, so that a split does not fill the page cache.
 *
 * The drive works while the next buffer is packed and hashed: two buffers, one of them with a thread that only writes.
 * Errors of that thread come out of the next call that needs it to be done.
 *
 * Invariant: the buffer begins at a page of the file; everything before the open tile is whole pages. */
#include <stdio.h>
#include <string.h>

#include "store/store_priv.h"

enum { MINE = 0, THEIRS = 1, DROP_STEP = 32 << 20 };
#define WAIT_NS UINT64_C(100000000)

/* ---- the writing thread ---- */

static lamina_status write_out(struct split_writer *w) {
    struct split_drain *d = &w->drain;
    LAMINA_TRY(sys_file_write_at(&w->file, w->temp, d->at, d->bytes, d->len, &d->err));
    d->undropped += d->len;
    if (!w->file.direct && d->undropped >= DROP_STEP) {
        LAMINA_TRY(sys_file_sync(&w->file, w->temp, &d->err));
        sys_file_drop_cache(&w->file, 0, d->at + d->len);
        d->undropped = 0;
    }
    return LAMINA_OK;
}

static void run(void *arg) {
    struct split_writer *w = arg;
    struct split_drain *d = &w->drain;
    for (;;) {
        while (atomic_load_explicit(&d->state, memory_order_acquire) != THEIRS) {
            sys_wait(&d->state, MINE, WAIT_NS);
        }
        if (d->stop) {
            return;
        }
        d->status = write_out(w);
        atomic_store_explicit(&d->state, MINE, memory_order_release);
        sys_wake_all(&d->state);
    }
}

static void give(struct split_drain *d) {
    atomic_store_explicit(&d->state, THEIRS, memory_order_release);
    sys_wake_all(&d->state);
}

/* Until everything given is written. */
static lamina_status settle(struct split_writer *w, struct lamina_error *err) {
    struct split_drain *d = &w->drain;
    while (d->thread != NULL && atomic_load_explicit(&d->state, memory_order_acquire) != MINE) {
        sys_wait(&d->state, THEIRS, WAIT_NS);
    }
    return d->status < 0 ? base_fail(err, d->status, "%s", d->err.message) : LAMINA_OK;
}

lamina_status split_writer_start(struct split_writer *w, struct lamina_error *err) {
    return sys_thread_start(&w->drain.thread, "lamina-write", run, w, err);
}

void split_writer_stop(struct split_writer *w) {
    (void)settle(w, NULL);
    if (w->drain.thread != NULL) {
        w->drain.stop = true;
        give(&w->drain);
        sys_thread_join(&w->drain.thread);
    }
    hash_stream_close(&w->stream);
    if (w->output != NULL) {
        sys_file_close(&w->file);
        (void)sys_remove(w->temp, NULL);
        w->output = NULL;
    }
}

/* ---- the filling side ---- */

static lamina_status open_temp(struct split_writer *w, struct lamina_error *err) {
    LAMINA_TRY(sys_remove(w->temp, err));
    LAMINA_TRY(sys_file_create(&w->file, w->temp, SYS_OPEN_DIRECT, err));
    if (w->file.direct && STORE_PAGE % w->file.alignment != 0) {
        sys_file_close(&w->file); /* pages of this file system are larger than ours */
        LAMINA_TRY(sys_remove(w->temp, err));
        LAMINA_TRY(sys_file_create(&w->file, w->temp, SYS_OPEN_BUFFERED, err));
    }
    return w->as_it_grows ? LAMINA_OK : sys_file_reserve(&w->file, w->temp, w->output->likely, err);
}

/* The first `len` bytes go to the thread; what follows them moves to the front of the other buffer. */
static lamina_status flush(struct split_writer *w, size_t len, struct lamina_error *err) {
    if (len == 0) {
        return LAMINA_OK;
    }
    hash_stream_add(w->stream, w->buffer, len);
    LAMINA_TRY(settle(w, err));
    uint8_t *full = w->buffer;
    w->drain.bytes = full;
    w->drain.len = len;
    w->drain.at = w->at;
    w->buffer = w->spare;
    w->spare = full;
    give(&w->drain);
    memcpy(w->buffer, full + len, w->fill - len);
    w->at += len;
    w->fill -= len;
    w->tile_begin -= len;
    return LAMINA_OK;
}

lamina_status split_writer_begin(struct split_writer *w, struct split_output *output, struct lamina_error *err) {
    char temp[STORE_NAME_LEN + 8];
    w->output = output;
    (void)snprintf(temp, sizeof(temp), "%s.tmp", output->name);
    if (!store_join(w->path, sizeof(w->path), w->dir, output->name) ||
        !store_join(w->temp, sizeof(w->temp), w->dir, temp)) {
        return base_fail(err, LAMINA_USAGE, "the path of the store is too long: %.200s", w->dir);
    }
    w->at = 0;
    w->drain.undropped = 0;
    w->tile = 0;
    w->stream = hash_stream_open();
    if (w->stream == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "no memory to hash %s", output->name);
    }
    LAMINA_TRY(open_temp(w, err));
    store_head_write(&output->head, w->buffer);
    w->fill = (size_t)output->head.head_pages * STORE_PAGE;
    w->tile_begin = w->fill;
    return LAMINA_OK;
}

lamina_status split_writer_take(struct split_writer *w, size_t len, uint8_t **place, struct lamina_error *err) {
    if (w->fill + round_up(len, STORE_PAGE) > SPLIT_BUFFER) {
        LAMINA_TRY(flush(w, w->tile_begin, err));
    }
    if (w->fill + round_up(len, STORE_PAGE) > SPLIT_BUFFER) {
        return base_fail(err, LAMINA_UNEXPECTED, "%s: a tile does not fit the write buffer", w->output->name);
    }
    *place = w->buffer + w->fill;
    w->fill += len;
    return LAMINA_OK;
}

void split_writer_give_back(struct split_writer *w, size_t len) {
    w->fill -= len;
}

lamina_status split_writer_end_tile(struct split_writer *w, struct lamina_error *err) {
    size_t padded = (size_t)round_up(w->fill, STORE_PAGE);
    if (w->tile >= w->output->head.tile_count || padded > SPLIT_BUFFER) {
        return base_fail(err, LAMINA_UNEXPECTED, "%s: more tiles than planned", w->output->name);
    }
    memset(w->buffer + w->fill, 0, padded - w->fill);
    w->fill = padded;
    w->tiles[w->tile++] = (struct store_tile){
        .hash = hash_xxh3_64(w->buffer + w->tile_begin, padded - w->tile_begin),
        .offset_pages = (uint32_t)((w->at + w->tile_begin) / STORE_PAGE),
        .pages = (uint32_t)((padded - w->tile_begin) / STORE_PAGE),
    };
    w->tile_begin = padded;
    return LAMINA_OK;
}

lamina_status split_writer_finish(struct split_writer *w, struct lamina_error *err) {
    struct split_output *o = w->output;
    if (w->fill > w->tile_begin) { /* the last tile of small.bin */
        LAMINA_TRY(split_writer_end_tile(w, err));
    }
    LAMINA_TRY(flush(w, w->fill, err));
    store_tail_write(&o->head, w->tiles, w->buffer);
    w->fill = (size_t)o->head.tail_pages * STORE_PAGE;
    w->tile_begin = w->fill;
    LAMINA_TRY(flush(w, w->fill, err));
    LAMINA_TRY(settle(w, err));
    if (w->tile != o->head.tile_count || w->at > o->size || (w->at != o->size && !o->packed)) {
        return base_fail(err, LAMINA_UNEXPECTED, "%s did not become as large as planned", o->name);
    }
    if (o->packed) {
        LAMINA_TRY(sys_file_truncate(&w->file, w->temp, w->at, err)); /* what was reserved beyond the end */
    }
    split_output_made(o, w->at);
    LAMINA_TRY(sys_file_sync(&w->file, w->temp, err));
    sys_file_drop_cache(&w->file, 0, w->at);
    o->hash = hash_stream_value(w->stream);
    hash_stream_close(&w->stream);
    sys_file_close(&w->file);
    LAMINA_TRY(sys_rename_durable(w->temp, w->path, err));
    w->output = NULL;
    return LAMINA_OK;
}
