/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and writing at the same time: the caller fills one of two slots with source rows while a thread packs, hashes
 * and writes the other. The slots go to and fro by their `state` word; whoever owns a slot may touch it, nobody else.
 * What is written depends on the order of slots only, never on timing.
 *
 * After a failure the thread goes on taking slots without doing anything, so the caller never hangs. */
#include <math.h>
#include <string.h>

#include "store/store_priv.h"
#include "sys/mem.h"

enum { MINE = 0, THEIRS = 1 };
#define WAIT_NS UINT64_C(100000000)

/* ---- the thread's work ---- */

/* Does any element have an exponent of all ones (infinity or NaN)? Kept simple so that compilers vectorise it. */
static bool unusual16(const uint8_t *bytes, size_t len, uint16_t mask) {
    unsigned any = 0;
    for (size_t i = 0; i + 2 <= len; i += 2) {
        uint16_t v = 0;
        memcpy(&v, bytes + i, 2);
        any |= (v & mask) == mask;
    }
    return any != 0;
}

static bool unusual32(const uint8_t *bytes, size_t len) {
    unsigned any = 0;
    for (size_t i = 0; i + 4 <= len; i += 4) {
        uint32_t v = 0;
        memcpy(&v, bytes + i, 4);
        any |= (v & 0x7f800000u) == 0x7f800000u;
    }
    return any != 0;
}

static bool unusual(const struct split_slot *s) {
    switch (s->part->dtype) {
    case KERN_F32:
        return unusual32(s->rows, s->rows_len);
    case KERN_F16:
        return unusual16(s->rows, s->rows_len, 0x7c00);
    default:
        return unusual16(s->rows, s->rows_len, 0x7f80);
    }
}

/* A tile that is a run of column blocks of one group is the only tile of the matrix made of just these columns. */
static lamina_status pack_part(struct split_pipe *p, const struct split_slot *s, const struct panel_tile *t,
                               uint8_t *to) {
    const struct panel_shape *shape = &s->part->shape;
    struct panel_shape sub;
    struct panel_tile only;
    uint64_t col = (uint64_t)t->block * KERN_BLOCK_COLS;
    uint64_t cols = min_u64(shape->cols - col, (uint64_t)t->blocks * KERN_BLOCK_COLS);
    uint64_t rows = min_u64(shape->rows - t->row, t->rows);
    if (!panel_shape_init(&sub, rows, cols, (enum kern_dtype)shape->dtype, PANEL_BLOCKS) || sub.tiles != 1) {
        return base_fail(&p->err, LAMINA_UNEXPECTED, "%s: a tile of a cut group does not stand alone", s->output->name);
    }
    panel_tile_at(&sub, 0, &only);
    if (only.bytes != t->bytes) {
        return base_fail(&p->err, LAMINA_UNEXPECTED, "%s: a tile of a cut group has another size", s->output->name);
    }
    uint64_t skip = (col - (uint64_t)s->block * KERN_BLOCK_COLS) * kern_dtype_bytes((enum kern_dtype)shape->dtype);
    panel_pack_tile(&sub, &only, s->rows + skip, s->stride, to);
    return LAMINA_OK;
}

static lamina_status pack_rows(struct split_pipe *p, const struct split_slot *s) {
    const struct panel_shape *shape = &s->part->shape;
    struct panel_tile first;
    panel_tile_at(shape, s->tile, &first);
    for (uint32_t i = 0; i < s->tiles; i++) {
        struct panel_tile t;
        uint8_t *to = NULL;
        panel_tile_at(shape, s->tile + i, &t);
        LAMINA_TRY(split_writer_take(&p->writer, (size_t)t.bytes, &to, &p->err));
        if (shape->layout == PANEL_BLOCKS && t.blocks != shape->col_blocks) {
            LAMINA_TRY(pack_part(p, s, &t, to));
        } else {
            panel_pack_tile(shape, &t, s->rows + (t.row - first.row) * s->stride, s->stride, to);
        }
        LAMINA_TRY(split_writer_end_tile(&p->writer, &p->err));
    }
    return LAMINA_OK;
}

/* Exact widening by moving bits, so that NaN payloads survive too. */
static uint32_t widen_f16(uint16_t v) {
    uint32_t sign = (uint32_t)(v & 0x8000u) << 16;
    uint32_t exponent = (v >> 10) & 31u;
    uint32_t fraction = v & 0x3ffu;
    if (exponent == 31) {
        return sign | 0x7f800000u | fraction << 13;
    }
    if (exponent == 0) {
        float f = (float)fraction * 0x1p-24f; /* at most 10 bits: exact */
        uint32_t bits = 0;
        memcpy(&bits, &f, sizeof(bits));
        return sign | bits;
    }
    return sign | (exponent + 112) << 23 | fraction << 13;
}

static uint32_t widen(const uint8_t *at, uint32_t dtype) {
    return dtype == KERN_F32   ? load_le32(at)
           : dtype == KERN_F16 ? widen_f16(load_le16(at))
                               : (uint32_t)load_le16(at) << 16;
}

static lamina_status add_vector(struct split_pipe *p, const struct split_slot *s) {
    uint64_t padded = round_up(s->part->len, STORE_VECTOR_ALIGN);
    size_t size = kern_dtype_bytes((enum kern_dtype)s->part->dtype);
    for (uint64_t i = 0; i < padded;) {
        struct split_writer *w = &p->writer;
        uint64_t room = (STORE_SMALL_TILE - (w->fill - w->tile_begin)) / sizeof(float);
        uint64_t n = min_u64(room, padded - i);
        uint8_t *to = NULL;
        LAMINA_TRY(split_writer_take(w, (size_t)n * sizeof(float), &to, &p->err));
        for (uint64_t k = 0; k < n; k++) {
            store_le32(to + k * 4, i + k < s->part->len ? widen(s->rows + (i + k) * size, s->part->dtype) : 0);
        }
        if (n == room) {
            LAMINA_TRY(split_writer_end_tile(w, &p->err));
        }
        i += n;
    }
    return LAMINA_OK;
}

static lamina_status work(struct split_pipe *p, struct split_slot *s) {
    switch (s->what) {
    case SLOT_BEGIN:
        return split_writer_begin(&p->writer, s->output, &p->err);
    case SLOT_ROWS:
        s->unusual = unusual(s);
        return pack_rows(p, s);
    case SLOT_VECTOR:
        s->unusual = unusual(s);
        return add_vector(p, s);
    case SLOT_FINISH:
        return split_writer_finish(&p->writer, &p->err);
    case SLOT_STOP:
        break;
    }
    return LAMINA_OK;
}

static void run(void *arg) {
    struct split_pipe *p = arg;
    for (uint32_t turn = 0;; turn ^= 1) {
        struct split_slot *s = &p->slot[turn];
        while (atomic_load_explicit(&s->state, memory_order_acquire) != THEIRS) {
            sys_wait(&s->state, MINE, WAIT_NS);
        }
        bool stop = s->what == SLOT_STOP;
        if (atomic_load_explicit(&p->failed, memory_order_relaxed) == 0 && work(p, s) < 0) {
            atomic_store_explicit(&p->failed, 1, memory_order_release);
        }
        atomic_store_explicit(&s->state, MINE, memory_order_release);
        sys_wake_all(&s->state);
        if (stop) {
            return;
        }
    }
}

/* ---- the caller's side ---- */

lamina_status split_pipe_start(struct split_pipe *p, const char *dir, struct store_tile *tiles,
                               struct lamina_error *err) {
    size_t len = (size_t)2 * SPLIT_ROWS + SPLIT_BUFFER;
    LAMINA_TRY(sys_mem_map(&p->memory, len, err));
    p->slot[0].memory = p->memory;
    p->slot[1].memory = p->slot[0].memory + SPLIT_ROWS;
    p->writer.buffer = p->slot[1].memory + SPLIT_ROWS;
    p->writer.dir = dir;
    p->writer.tiles = tiles;
    p->writer.file.fd = -1;
    lamina_status status = sys_thread_start(&p->thread, "lamina-split", run, p, err);
    if (status < 0) {
        sys_mem_unmap(p->memory, len);
        p->memory = NULL;
    }
    return status;
}

static lamina_status failure(const struct split_pipe *p, struct lamina_error *err) {
    if (atomic_load_explicit(&p->failed, memory_order_acquire) != 0) {
        return base_fail(err, p->err.code, "%s", p->err.message);
    }
    return LAMINA_OK;
}

static lamina_status wait_for(struct split_pipe *p, struct split_slot *s, struct lamina_error *err) {
    for (;;) {
        if (p->tick(p->user)) {
            return base_fail(err, LAMINA_INTERRUPTED,
                             "interrupted; what is finished is kept, the same command goes on from there");
        }
        if (atomic_load_explicit(&s->state, memory_order_acquire) == MINE) {
            return failure(p, err);
        }
        sys_wait(&s->state, THEIRS, WAIT_NS);
    }
}

lamina_status split_pipe_take(struct split_pipe *p, struct split_slot **slot, struct lamina_error *err) {
    LAMINA_TRY(wait_for(p, &p->slot[p->next], err));
    *slot = &p->slot[p->next];
    return LAMINA_OK;
}

void split_pipe_give(struct split_pipe *p, struct split_slot *slot) {
    p->next ^= 1;
    atomic_store_explicit(&slot->state, THEIRS, memory_order_release);
    sys_wake_all(&slot->state);
}

lamina_status split_pipe_drain(struct split_pipe *p, struct lamina_error *err) {
    LAMINA_TRY(wait_for(p, &p->slot[p->next], err));
    return wait_for(p, &p->slot[p->next ^ 1], err);
}

static bool never(void *user) {
    (void)user;
    return false;
}

void split_pipe_stop(struct split_pipe *p) {
    if (p->thread != NULL) {
        struct lamina_error ignored = {0};
        p->tick = never; /* whoever stops has been asked already */
        (void)wait_for(p, &p->slot[p->next], &ignored);
        p->slot[p->next].what = SLOT_STOP;
        split_pipe_give(p, &p->slot[p->next]);
        sys_thread_join(&p->thread);
        split_writer_abandon(&p->writer);
    }
    if (p->memory != NULL) {
        sys_mem_unmap(p->memory, (size_t)2 * SPLIT_ROWS + SPLIT_BUFFER);
        p->memory = NULL;
    }
}
