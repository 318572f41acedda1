/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products over streamed tiles. Each worker takes the next tile, waits for its bytes, multiplies all of it with
 * all rows of the pass, and gives it back: tiles cover different output rows, so workers never meet, except where one
 * group of 64 rows is cut into parts along k; then part i+1 waits for part i, because an output element is one fma
 * chain over ascending k (numerics class `exact`), carried in the output between parts.
 */
#include <string.h>

#include "base/floats.h"
#include "base/span.h"
#include "dev/cpu_priv.h"
#include "sys/thread.h"

/* One or two of them, their tiles one after the other. */
struct jobs {
    struct cpu_job job[2];
    uint32_t count;
    _Atomic uint32_t next;
    _Atomic int32_t failed;
};

/* What one worker multiplies at the moment. */
struct share {
    const struct panel_tile *tile;
    const uint8_t *bytes;
    size_t len;
    const uint8_t *scale;        /* BF16 of the tile's rows, of a matrix in steps; else NULL */
    float *decoded;              /* its room for a block of a coded or packed matrix */
    uint8_t *unpacked;           /* and for its codes and scales before that */
    const struct code_tile *packed; /* of a coded matrix, else NULL */
    struct code_block from;      /* of `packed`: the scales of the group at hand */
    bool sound;                  /* the bytes made sense so far */
};

/* Weights of a block of a group in the layout and type of the kernels. */
static void find_weights(const struct cpu_job *j, struct share *w, uint32_t group, uint32_t block, struct kern_matmul *m) {
    const struct panel_shape *s = j->matrix.shape;
    size_t elem = kern_dtype_bytes((enum kern_dtype)s->dtype);
    m->cols = panel_block_cols(s, block);
    m->panel_stride = (size_t)m->cols * KERN_PANEL_ROWS * elem;
    if (w->packed != NULL) {
        w->sound = code_tile_block(w->packed, j->dev->coding.decode_planes, group, block, w->unpacked, &w->from) && w->sound;
        j->dev->coding.decode_packed(s, &w->from, group, block, w->decoded);
        m->w = w->decoded;
    } else if (s->packing == PANEL_PLANES || s->packing == PANEL_STEPS) {
        uint32_t values = 0;
        uint32_t at = panel_planes_block(s, w->tile, group, block, &values);
        w->sound = j->dev->coding.decode_planes(w->bytes, w->len, at, values, w->decoded) && w->sound;
        m->w = w->decoded;
    } else if (s->coding != PANEL_PLAIN) {
        j->dev->coding.decode_block(s, w->tile, w->bytes, group, block, w->decoded);
        m->w = w->decoded;
    } else if (s->layout == PANEL_GATHERED) {
        m->w = w->bytes + (size_t)block * KERN_BLOCK_COLS * KERN_PANEL_ROWS * elem;
    } else {
        m->w = w->bytes + panel_block_offset(s, w->tile, group, block);
    }
}

/* The scales of a group of a packed tile, before its blocks. False: there are none. */
static bool find_scales(const struct cpu_job *j, struct share *w, uint32_t group) {
    if (w->packed != NULL) {
        uint8_t *room = w->unpacked + CODE_TILE_BLOCK;
        w->sound = code_tile_group(w->packed, j->dev->coding.decode_planes, group, room, &w->from) && w->sound;
    }
    return w->sound;
}

/* Sums of `count` rows from number `first` of the tile on, times the rows' scales. */
static void scale_rows(const struct share *w, float *sum, uint64_t first, uint64_t count) {
    for (uint64_t r = 0; w->scale != NULL && r < count; r++) {
        sum[r] *= float_of_bf16(w->scale + (first + r) * sizeof(uint16_t));
    }
}

/* Head after head has its own weights and its own part of the input. Rows of a head are padded to whole groups of panels,
 * results are not: they go by way of a small buffer. */
static void multiply_heads(const struct cpu_job *j, struct share *w, uint32_t group) {
    enum { GROUP = KERN_PANEL_ROWS * KERN_BLOCK_PANELS, AT_ONCE = 32 };
    const struct panel_shape *s = j->matrix.shape;
    const struct kern_op *op = j->op;
    const struct dev_pass *pass = j->pass;
    float out[AT_ONCE][GROUP];
    uint32_t head = group * GROUP / op->group;
    uint32_t first = group * GROUP % op->group;
    uint32_t real = first < op->head_dim ? op->head_dim - first : 0;
    real = real < GROUP ? real : GROUP;
    bool found = find_scales(j, w, group);
    for (uint32_t row = 0; row < pass->rows && real != 0 && found; row += AT_ONCE) {
        struct kern_matmul m = {.ldx = pass->stride[op->src], .y = out[0], .ldy = GROUP, .panels = panel_group_panels(s, group)};
        m.rows = pass->rows - row < AT_ONCE ? pass->rows - row : AT_ONCE;
        for (uint32_t b = 0; b < s->col_blocks; b++) {
            find_weights(j, w, group, b, &m);
            m.x = pass->reg[op->src] + row * m.ldx + (size_t)head * op->src_step + (size_t)b * KERN_BLOCK_COLS;
            m.accumulate = b > 0;
            j->dev->base.kern.matmul[s->dtype](&m);
        }
        for (uint32_t i = 0; i < m.rows; i++) {
            scale_rows(w, out[i], group * (uint64_t)GROUP - w->tile->row, real);
            float *dst = pass->reg[op->dst] + (row + i) * pass->stride[op->dst] + (size_t)head * op->dst_step + first;
            memcpy(dst, out[i], real * sizeof(float));
        }
    }
}

/* One row and a packed block, in one go where the level can. */
static bool multiply_packed(const struct cpu_job *j, struct share *w, uint32_t group, uint32_t block, const struct kern_matmul *m) {
    const struct panel_shape *s = j->matrix.shape;
    const uint32_t cols = panel_block_cols(s, block);
    planes_multiply_fn *multiply = j->dev->coding.multiply_planes;
    bool packed = (s->packing == PANEL_PLANES || s->packing == PANEL_STEPS) && s->dtype == KERN_BF16;
    if (!packed || multiply == NULL || m->rows != 1 || cols % PLANES_PRODUCT_COLS != 0) {
        return false;
    }
    uint32_t values = 0;
    struct planes_product p = {.tile = w->bytes, .len = w->len, .block = panel_planes_block(s, w->tile, group, block, &values),
                               .panels = m->panels, .cols = cols, .x = m->x, .y = m->y, .accumulate = m->accumulate};
    w->sound = multiply(&p) && w->sound;
    return true;
}

static void multiply_group(const struct cpu_job *j, struct share *w, uint32_t group) {
    const struct panel_shape *s = j->matrix.shape;
    const struct dev_pass *pass = j->pass;
    uint64_t rows = s->layout == PANEL_GATHERED ? KERN_PANEL_ROWS : KERN_PANEL_ROWS * KERN_BLOCK_PANELS;
    struct kern_matmul m = {
        .ldx = pass->stride[j->op->src],
        .y = pass->reg[j->op->dst] + group * rows,
        .ldy = pass->stride[j->op->dst],
        .rows = pass->rows,
        .panels = panel_group_panels(s, group),
    };
    bool found = find_scales(j, w, group);
    for (uint32_t b = w->tile->block; b < w->tile->block + w->tile->blocks && found; b++) {
        m.x = pass->reg[j->op->src] + (size_t)b * KERN_BLOCK_COLS;
        m.accumulate = b > 0;
        if (!multiply_packed(j, w, group, b, &m)) {
            find_weights(j, w, group, b, &m);
            j->dev->base.kern.matmul[s->dtype](&m);
        }
    }
}

/* After the last part of a group: scales of steps, row scale and bias, one rounding each. */
static void finish_rows(const struct cpu_job *j, const struct share *w) {
    uint64_t row = w->tile->row;
    uint64_t rows = w->tile->rows;
    uint64_t end = row + rows < j->matrix.shape->rows ? row + rows : j->matrix.shape->rows;
    for (uint32_t t = 0; t < j->pass->rows; t++) {
        float *y = j->pass->reg[j->op->dst] + t * j->pass->stride[j->op->dst];
        scale_rows(w, y + row, 0, end - row);
        for (uint64_t r = row; j->matrix.row_scale != NULL && r < end; r++) {
            y[r] *= j->matrix.row_scale[r];
        }
        for (uint64_t r = row; j->bias != NULL && r < end; r++) {
            y[r] += j->bias[r];
        }
    }
}

static void wait_for_part(struct cpu_job *j, uint32_t index) {
    _Atomic uint32_t *flag = &j->dev->part_done[index % CPU_PART_FLAGS];
    for (unsigned spins = 0;; spins++) {
        uint32_t seen = atomic_load_explicit(flag, memory_order_acquire);
        if (seen == index + 1 || atomic_load_explicit(j->failed, memory_order_relaxed) != 0) {
            return;
        }
        if (spins > 1000) {
            sys_wait(flag, seen, 1000000);
        }
        sys_cpu_relax();
    }
}

/* False: its bytes make no sense, although they are those that were written. */
static bool multiply_tile(struct cpu_job *j, uint32_t worker, uint32_t index, struct span bytes) {
    const struct panel_shape *s = j->matrix.shape;
    struct panel_tile t;
    panel_tile_at(s, index, &t);
    const uint64_t lead = panel_scale_bytes(s, &t);
    if (bytes.len < lead) {
        return false;
    }
    struct share w = {.tile = &t, .bytes = (const uint8_t *)bytes.ptr + lead, .len = bytes.len - lead,
                      .scale = lead != 0 ? (const uint8_t *)bytes.ptr : NULL,
                      .decoded = j->dev->decoded + (size_t)worker * CPU_DECODED,
                      .unpacked = j->dev->unpacked + (size_t)worker * CPU_UNPACKED, .sound = true};
    struct code_tile packed;
    if (panel_tile_packed(s, &t, bytes.len)) {
        w.packed = &packed;
        w.sound = code_tile_open(&packed, s, &t, w.bytes, w.len);
    }
    if (t.continues) {
        wait_for_part(j, index - 1);
    }
    for (uint32_t g = t.group; g < t.group + t.groups; g++) {
        if (j->op->kind == KERN_OP_MATMUL_HEADS) {
            multiply_heads(j, &w, g);
        } else {
            multiply_group(j, &w, g);
        }
    }
    bool heads = j->op->kind == KERN_OP_MATMUL_HEADS;
    if (t.block + t.blocks == s->col_blocks && !heads && (j->bias != NULL || j->matrix.row_scale != NULL || w.scale != NULL)) {
        finish_rows(j, &w);
    }
    return w.sound;
}

/* The product that tile `index` of all belongs to, and its number there. */
static struct cpu_job *job_of(struct jobs *all, uint32_t *index) {
    for (uint32_t i = 0; i < all->count; i++) {
        if (*index < all->job[i].matrix.tiles.count) {
            return &all->job[i];
        }
        *index -= all->job[i].matrix.tiles.count;
    }
    return NULL;
}

static void say_done(struct cpu_job *j, uint32_t index) {
    if (j->matrix.shape->parts_per_group > 1) {
        _Atomic uint32_t *flag = &j->dev->part_done[index % CPU_PART_FLAGS];
        atomic_store_explicit(flag, index + 1, memory_order_release);
        sys_wake_all(flag);
    }
}

lamina_status cpu_job_tile(struct cpu_job *j, uint32_t worker, uint32_t index) {
    const struct dev_tiles *tiles = &j->matrix.tiles;
    size_t len = 0;
    const void *bytes = tiles->acquire(tiles->user, tiles->first + index, &len);
    if (bytes == NULL) {
        return LAMINA_IO;
    }
    uint64_t begin = sys_now_ns();
    bool sound = multiply_tile(j, worker, index, span_of(bytes, len));
    atomic_fetch_add_explicit(&j->dev->compute_ns, sys_now_ns() - begin, memory_order_relaxed);
    tiles->release(tiles->user, tiles->first + index);
    say_done(j, index);
    return sound ? LAMINA_OK : LAMINA_DAMAGED;
}

/* Does spare work while the tile is being read. */
static void use_the_wait(const struct cpu_job *j, uint32_t worker, uint32_t index) {
    const struct dev_tiles *tiles = &j->matrix.tiles;
    struct cpu_spare *spare = j->dev->spare;
    while (spare != NULL && !tiles->ready(tiles->user, tiles->first + index)) {
        if (!cpu_spare_tile(spare, worker)) {
            return;
        }
    }
}

static void matmul_worker(void *arg, uint32_t worker) {
    struct jobs *all = (struct jobs *)arg;
    while (atomic_load_explicit(&all->failed, memory_order_relaxed) == 0) {
        uint32_t index = atomic_fetch_add(&all->next, 1);
        struct cpu_job *j = job_of(all, &index);
        if (j == NULL) {
            break;
        }
        use_the_wait(j, worker, index);
        lamina_status status = cpu_job_tile(j, worker, index);
        if (status != LAMINA_OK) {
            atomic_store(&all->failed, status);
        }
    }
}

lamina_status cpu_job_prepare(struct cpu_job *j, struct lamina_error *err) {
    const struct kern_op *op = j->op;
    const struct dev_pass *pass = j->pass;
    if (!pass->matrix(pass->user, op->matrix, pass->expert, &j->matrix)) {
        return base_fail(err, LAMINA_UNEXPECTED, "no matrix of role %d in this layer", op->matrix);
    }
    const struct panel_shape *s = j->matrix.shape;
    j->bias = op->vector >= 0 ? pass->vectors[op->vector] + (size_t)pass->expert * op->width : NULL;
    if (op->kind == KERN_OP_MATMUL_HEADS && (s->parts_per_group > 1 || s->layout != PANEL_BLOCKS)) {
        return base_fail(err, LAMINA_UNSUPPORTED, "heads of %u weights a row are too wide", (unsigned)s->cols);
    }
    return LAMINA_OK;
}

static lamina_status run_jobs(struct dev_cpu *d, struct jobs *all, struct lamina_error *err) {
    bool in_parts = false;
    for (uint32_t i = 0; i < all->count; i++) {
        in_parts = in_parts || all->job[i].matrix.shape->parts_per_group > 1;
    }
    for (uint32_t i = 0; in_parts && i < CPU_PART_FLAGS; i++) {
        atomic_store_explicit(&d->part_done[i], 0, memory_order_relaxed);
    }
    team_run(d->team, matmul_worker, all);
    lamina_status status = (lamina_status)atomic_load(&all->failed);
    return status != LAMINA_OK ? cpu_tile_failed(status, err) : LAMINA_OK;
}

lamina_status cpu_matmuls(struct dev_cpu *d, const struct kern_op *ops, uint32_t count, const struct dev_pass *pass,
                          struct lamina_error *err) {
    struct jobs all = {.count = count};
    bool in_parts = false;
    for (uint32_t i = 0; i < count; i++) {
        all.job[i] = (struct cpu_job){.dev = d, .op = &ops[i], .pass = pass, .failed = &all.failed};
        LAMINA_TRY(cpu_job_prepare(&all.job[i], err));
        in_parts = in_parts || all.job[i].matrix.shape->parts_per_group > 1;
    }
    /* Matrices cut along k signal by tile number: one at a time. */
    for (uint32_t i = 0; in_parts && count > 1 && i < count; i++) {
        struct jobs one = {.job = {all.job[i]}, .count = 1};
        one.job[0].failed = &one.failed;
        LAMINA_TRY(run_jobs(d, &one, err));
    }
    return in_parts && count > 1 ? LAMINA_OK : run_jobs(d, &all, err);
}
