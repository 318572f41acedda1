/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading and packing at the same time: the caller fills one of two slots with source rows while a thread packs and hashes
 * the other (and a further one writes, split_write.c). The slots go to and fro by their `state` word; whoever owns a slot may
 * touch it, nobody else.
 * What is written depends on the order of slots only, never on timing.
 *
 * After a failure the thread goes on taking slots without doing anything, so the caller never hangs. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/floats.h"
#include "store/store_priv.h"
#include "sys/mem.h"

enum { MINE = 0, THEIRS = 1, SCRATCH = (sizeof(struct planes_scratch) + STORE_PAGE - 1) / STORE_PAGE * STORE_PAGE };
enum { SCALES = SPLIT_ROWS / PANEL_STEPS_COLS };
enum { PIPE_MEMORY = 2 * SPLIT_ROWS + 2 * SPLIT_BUFFER + PANEL_TILE_MAX + SCRATCH + SCALES };
#define WAIT_NS UINT64_C(100000000)

/* ---- the thread's work ---- */

/* Does any element have an exponent of all ones (infinity or NaN)? Eight bytes at a time: in `~v & mask` such an element is
 * 0, and adding 0x7f..f to a lane sets its high bit unless it was 0 (never more, so lanes do not meet). */
static bool any_unusual(const uint8_t *bytes, size_t len, uint64_t mask, unsigned lane_bits) {
    enum { STEP = 32 };
    uint64_t high = lane_bits == 16 ? UINT64_C(0x8000800080008000) : UINT64_C(0x8000000080000000);
    uint64_t add = high - (high >> (lane_bits - 1));
    uint64_t usual[4] = {high, high, high, high};
    uint8_t last[STEP] = {0};
    size_t whole = len - len % STEP;
    memcpy(last, bytes + whole, len - whole);
    for (size_t i = 0; i <= whole; i += STEP) {
        const uint8_t *at = i < whole ? bytes + i : last;
        for (unsigned k = 0; k < 4; k++) {
            uint64_t v = 0;
            memcpy(&v, at + (size_t)8 * k, 8);
            usual[k] &= (~v & mask) + add;
        }
    }
    return ((usual[0] & usual[1] & usual[2] & usual[3]) & high) != high;
}

static bool unusual(const struct split_slot *s) {
    switch (s->dtype) {
    case KERN_F32:
        return any_unusual(s->rows, s->rows_len, UINT64_C(0x7f8000007f800000), 32);
    case KERN_F16:
        return any_unusual(s->rows, s->rows_len, UINT64_C(0x7c007c007c007c00), 16);
    default:
        return any_unusual(s->rows, s->rows_len, UINT64_C(0x7f807f807f807f80), 16);
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

/* A tile of a packed matrix, from its decoded form. scale: of its rows, in steps. */
static lamina_status encode(struct split_pipe *p, const struct panel_shape *shape, const struct panel_tile *t,
                            const uint16_t *scale) {
    uint64_t most = panel_tile_most(shape, t);
    uint8_t *to = NULL;
    LAMINA_TRY(split_writer_take(&p->writer, (size_t)most, &to, &p->err));
    uint64_t made = panel_encode_tile(shape, t, p->decoded, scale, p->scratch, to);
    split_writer_give_back(&p->writer, (size_t)(most - made));
    if (shape->packing == PANEL_STEPS) {
        uint64_t weights = min_u64(t->rows, shape->rows - t->row) * (t->bytes / t->rows / 2);
        p->spare += p->bits * (double)weights - 8.0 * (double)made;
    }
    return LAMINA_OK;
}

/* The rows at hand in whole steps. What earlier tiles of the file took too much or too little is made up for here. */
static lamina_status round_rows(struct split_pipe *p, struct split_slot *s) {
    const struct split_part *part = s->part;
    struct panel_tile first;
    panel_tile_at(&part->shape, s->tile, &first);
    struct steps_rows r = {.rows = s->rows, .stride = s->stride, .count = s->rows_len / s->stride, .cols = part->shape.cols,
                           .dtype = (enum kern_dtype)s->dtype};
    double spare = p->spare / (double)(r.count * r.cols);
    spare = spare > 0.25 ? 0.25 : spare < -0.25 ? -0.25 : spare;
    const double more = part->finer - p->codec->finer_mean; /* half the step is a bit */
    const struct steps_dial dial = {.bits = p->codec->dial.bits + more, .step = p->codec->dial.step * exp2(-more)};
    p->bits = dial.bits;
    double step = steps_choose(&dial, &r, spare, p->scratch);
    if (!steps_round(&r, step, p->scale)) {
        return base_fail(&p->err, LAMINA_UNSUPPORTED, "%s: rows from %" PRIu64 " on of matrix \"%s\" hold NaN or infinite values, "
                         "which cannot be rounded to steps; split with codec planes or raw", s->output->name, first.row,
                         model_role_name((enum model_role)part->role));
    }
    s->stride = r.stride;
    s->dtype = r.dtype;
    return LAMINA_OK;
}

/* A tile of codes: packed where that saves pages. */
static lamina_status pack_codes(struct split_pipe *p, const struct split_slot *s, const struct panel_tile *t,
                                const uint8_t *records) {
    const struct panel_shape *shape = &s->part->shape;
    const struct code_source from = {.lead = s->rows - shape->lead_bytes, .records = records, .stride = s->stride};
    const uint64_t most = max_u64(code_tile_bound(shape, t), t->bytes);
    uint8_t *to = NULL;
    LAMINA_TRY(split_writer_take(&p->writer, (size_t)most, &to, &p->err));
    uint64_t made = code_tile_encode(shape, t, &from, p->decoded, p->scratch, to);
    if (made == 0) {
        made = t->bytes;
        memcpy(to, from.lead, (size_t)shape->lead_bytes);
        panel_pack_tile(shape, t, records, s->stride, to);
    }
    split_writer_give_back(&p->writer, (size_t)(most - made));
    return LAMINA_OK;
}

static lamina_status pack_rows(struct split_pipe *p, struct split_slot *s) {
    const struct panel_shape *shape = &s->part->shape;
    if (shape->packing == PANEL_STEPS) {
        LAMINA_TRY(round_rows(p, s));
    }
    bool packed = shape->packing == PANEL_PLANES || shape->packing == PANEL_STEPS;
    struct panel_tile first;
    panel_tile_at(shape, s->tile, &first);
    for (uint32_t i = 0; i < s->tiles; i++) {
        struct panel_tile t;
        uint8_t *to = p->decoded;
        panel_tile_at(shape, s->tile + i, &t);
        const uint8_t *rows = s->rows + (t.row - first.row) * s->stride;
        if (shape->packing == PANEL_CODES) {
            LAMINA_TRY(pack_codes(p, s, &t, rows));
            LAMINA_TRY(split_writer_end_tile(&p->writer, &p->err));
            continue;
        }
        if (!packed) {
            LAMINA_TRY(split_writer_take(&p->writer, (size_t)t.bytes, &to, &p->err));
        }
        if (shape->layout == PANEL_BLOCKS && t.blocks != shape->col_blocks) {
            LAMINA_TRY(pack_part(p, s, &t, to));
        } else {
            memcpy(to, s->rows - shape->lead_bytes, (size_t)shape->lead_bytes);
            panel_pack_tile(shape, &t, rows, s->stride, to);
        }
        if (packed) {
            LAMINA_TRY(encode(p, shape, &t, p->scale + (t.row - first.row)));
        }
        LAMINA_TRY(split_writer_end_tile(&p->writer, &p->err));
    }
    return LAMINA_OK;
}

/* Exact widening by moving bits, so that NaN payloads survive too. */
uint32_t split_widen(const uint8_t *at, uint32_t dtype) {
    float f = dtype == KERN_F32 ? float_of_f32(at) : dtype == KERN_F16 ? float_of_f16(at) : float_of_bf16(at);
    uint32_t bits = 0;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static lamina_status add_vector(struct split_pipe *p, const struct split_slot *s) {
    uint64_t padded = round_up(s->part->len, STORE_VECTOR_ALIGN);
    size_t size = kern_dtype_bytes((enum kern_dtype)s->dtype);
    for (uint64_t i = 0; i < padded;) {
        struct split_writer *w = &p->writer;
        uint64_t room = (STORE_SMALL_TILE - (w->fill - w->tile_begin)) / sizeof(float);
        uint64_t n = min_u64(room, padded - i);
        uint8_t *to = NULL;
        LAMINA_TRY(split_writer_take(w, (size_t)n * sizeof(float), &to, &p->err));
        for (uint64_t k = 0; k < n; k++) {
            store_le32(to + k * 4, i + k < s->part->len ? split_widen(s->rows + (i + k) * size, s->dtype) : 0);
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
        p->spare = 0;
        return split_writer_begin(&p->writer, s->output, &p->err);
    case SLOT_ROWS:
        s->unusual = s->part->shape.coding == PANEL_PLAIN && s->part->shape.packing != PANEL_STEPS && unusual(s);
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

lamina_status split_pipe_start(struct split_pipe *p, const char *dir, struct store_tile *tiles, const struct split_codec *codec,
                               struct lamina_error *err) {
    LAMINA_TRY(sys_mem_map(&p->memory, PIPE_MEMORY, err));
    p->slot[0].memory = p->memory;
    p->slot[1].memory = p->slot[0].memory + SPLIT_ROWS;
    p->writer.buffer = p->slot[1].memory + SPLIT_ROWS;
    p->writer.spare = p->writer.buffer + SPLIT_BUFFER;
    p->decoded = p->writer.spare + SPLIT_BUFFER;
    p->scratch = (struct planes_scratch *)(void *)(p->decoded + PANEL_TILE_MAX);
    p->scale = (uint16_t *)(void *)((uint8_t *)p->scratch + SCRATCH);
    p->codec = codec;
    p->writer.dir = dir;
    p->writer.tiles = tiles;
    p->writer.file.fd = -1;
    LAMINA_TRY(split_writer_start(&p->writer, err)); /* whoever fails here calls split_pipe_stop */
    return sys_thread_start(&p->thread, "lamina-split", run, p, err);
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
    }
    split_writer_stop(&p->writer);
    if (p->memory != NULL) {
        sys_mem_unmap(p->memory, PIPE_MEMORY);
        p->memory = NULL;
    }
}
