/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in device: a team of threads and the kernel table of the best instruction set allowed. Ops run one after the
 * other; inside an op, rows or tiles are shared among the workers.
 */
#include "dev/cpu_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kern/math.h"
#include "sys/cpu.h"
#include "sys/thread.h"

/* Below this many floats one thread is faster than waking others. */
enum { SHARE_FLOATS = 64 * 1024 };

struct rows_job {
    struct dev_cpu *dev;
    const struct kern_op *op;
    const struct dev_pass *pass;
    _Atomic uint32_t next;
};

static void norm_row(const struct kern_table *k, const struct kern_op *op, const struct dev_pass *p, float *dst,
                     const float *src) {
    uint32_t group = op->group != 0 ? op->group : op->width;
    const float *w = op->vector >= 0 ? p->vectors[op->vector] : NULL;
    const float *b = op->vector2 >= 0 ? p->vectors[op->vector2] : NULL;
    for (uint32_t at = 0; at < op->width; at += group) {
        uint32_t place = op->whole_weight ? at : 0;
        if (op->kind == KERN_OP_RMSNORM) {
            k->rmsnorm(dst + at, src + at, w + place, group, op->eps);
        } else if (op->kind == KERN_OP_UNITNORM) {
            k->unit_norm(dst + at, src + at, group, op->eps);
        } else {
            struct kern_affine a = {w != NULL ? w + place : NULL, b != NULL ? b + place : NULL};
            k->layernorm(dst + at, src + at, &a, group, op->eps);
        }
    }
}

static void one_row(const struct rows_job *j, uint32_t t) {
    const struct kern_op *op = j->op;
    const struct dev_pass *p = j->pass;
    const struct kern_table *k = &j->dev->base.kern;
    float *dst = p->reg[op->dst] + t * p->stride[op->dst];
    const float *src = p->reg[op->src] + t * p->stride[op->src];
    const struct dev_rope *rope = &p->rope[op->rope];
    size_t half = rope->dim / 2;
    switch (op->kind) {
    case KERN_OP_RMSNORM:
    case KERN_OP_LAYERNORM:
    case KERN_OP_UNITNORM:
        norm_row(k, op, p, dst, src);
        break;
    case KERN_OP_ROPE:
        k->rope(dst + op->dst_first, rope->cos + t * half, rope->sin + t * half, op->heads, op->head_dim, rope->dim);
        break;
    case KERN_OP_COPY_HEADS:
        for (uint32_t h = 0; h < op->heads; h++) {
            memcpy(dst + op->dst_first + (size_t)h * op->dst_step, src + op->src_first + (size_t)h * op->src_step,
                   op->head_dim * sizeof(float));
        }
        break;
    case KERN_OP_QUERY_SCALE:
        k->scale(dst, dst, op->width, p->query_factor[t]);
        break;
    case KERN_OP_CLAMPED_GLU:
        k->clamped_glu(dst, src, p->reg[op->src2] + t * p->stride[op->src2], op->width, op->scale);
        break;
    case KERN_OP_SILU_MUL:
        k->silu_mul(dst, src, p->reg[op->src2] + t * p->stride[op->src2], op->width);
        break;
    case KERN_OP_ACT:
        k->activate(dst, src, op->width, (enum kern_act)op->act);
        break;
    case KERN_OP_MUL:
        k->mul(dst, src + (op->by_layer ? (size_t)p->layer * op->width : 0), op->width);
        break;
    case KERN_OP_SIGMOID_MUL:
        k->sigmoid_mul(dst, src, op->width);
        break;
    case KERN_OP_ADD:
        k->add(dst, src, op->width);
        break;
    case KERN_OP_ADD_SCALED:
        k->add_scaled(dst, src, op->width, op->scale);
        break;
    case KERN_OP_SCALE:
        k->scale(dst, src, op->width, op->scale);
        break;
    case KERN_OP_SCALE_BY:
        k->scale(dst, dst, op->width, p->vectors[op->vector][0]);
        break;
    case KERN_OP_SOFT_CAP:
        k->soft_cap(dst, op->width, op->scale);
        break;
    case KERN_OP_CLAMP:
        k->clamp(dst, op->width, op->scale);
        break;
    case KERN_OP_SIGMOID_SCALE:
        k->scale(dst, dst, op->width, 1.0f / (1.0f + kern_expf(-src[0])));
        break;
    case KERN_OP_ADD_POSITION:
        k->add(dst, p->vectors[op->vector] + (size_t)p->kv.rows[t].position * op->width, op->width);
        break;
    default:
        break;
    }
}

static void rows_worker(void *arg, uint32_t worker) {
    struct rows_job *j = (struct rows_job *)arg;
    (void)worker;
    for (uint32_t t = atomic_fetch_add(&j->next, 1); t < j->pass->rows; t = atomic_fetch_add(&j->next, 1)) {
        one_row(j, t);
    }
}

void cpu_rows_alone(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass) {
    struct rows_job j = {.dev = d, .op = op, .pass = pass};
    rows_worker(&j, 0);
}

void cpu_rows(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass) {
    struct rows_job j = {.dev = d, .op = op, .pass = pass};
    if ((uint64_t)pass->rows * op->width < SHARE_FLOATS) {
        rows_worker(&j, 0);
    } else {
        team_run(d->team, rows_worker, &j);
    }
}

static lamina_status cpu_run(struct dev *dev, const struct kern_op *ops, uint32_t count, const struct dev_pass *pass,
                             struct lamina_error *err) {
    struct dev_cpu *d = (struct dev_cpu *)dev;
    lamina_status status = LAMINA_OK;
    /* The calling thread is worker 0 for the time of the run, and the embedding program's before and after. */
    uint64_t float_control = sys_cpu_flush_denormals();
    for (uint32_t i = 0; status == LAMINA_OK && i < count; i++) {
        switch (ops[i].kind) {
        case KERN_OP_MATMUL:
        case KERN_OP_MATMUL_HEADS:
            status = cpu_matmuls(d, &ops[i], 1, pass, err);
            break;
        case KERN_OP_DELTA:
            status = cpu_delta(d, &ops[i], pass, err);
            break;
        case KERN_OP_ROUTE:
            cpu_route(d, &ops[i], pass);
            break;
        case KERN_OP_EXPERTS:
            status = cpu_experts(d, &ops[i], pass, err);
            break;
        case KERN_OP_ATTENTION:
            cpu_attention(d, &ops[i], pass);
            break;
        case KERN_OP_KV_STORE:
            cpu_kv_store(d, &ops[i], pass);
            break;
        default:
            cpu_rows(d, &ops[i], pass);
            break;
        }
    }
    sys_cpu_restore_float_control(float_control);
    return status;
}

static void cpu_close(struct dev *dev) {
    struct dev_cpu *d = (struct dev_cpu *)dev;
    team_close(&d->team);
    free(d->unpacked);
    free(d->decoded);
    free(d->kv_pointers);
    free(d);
}

static void cpu_caps(const struct dev *dev, struct dev_caps *caps) {
    const struct dev_cpu *d = (const struct dev_cpu *)dev;
    *caps = (struct dev_caps){.workers = team_size(d->team), .unified_memory = true};
    (void)snprintf(caps->name, sizeof(caps->name), "cpu");
    (void)snprintf(caps->isa, sizeof(caps->isa), "%s", dev->kern.isa);
}

static void cpu_on_workers(struct dev *dev, void (*fn)(void *arg, uint32_t worker), void *arg) {
    team_run(((struct dev_cpu *)dev)->team, fn, arg);
}

static void cpu_times(const struct dev *dev, struct dev_times *t) {
    const struct dev_cpu *d = (const struct dev_cpu *)dev;
    t->compute_ns = atomic_load(&d->compute_ns) / team_size(d->team);
}

/* A product of one block with 24 rows, repeated in cache for 4 ms. */
enum { MEASURE_ROWS = 24, MEASURE_NS = 4000000 };
struct measure_job {
    struct dev_cpu *dev;
    _Atomic uint64_t flops;
};

static void measure_worker(void *arg, uint32_t worker) {
    struct measure_job *j = (struct measure_job *)arg;
    enum { COLS = KERN_BLOCK_COLS, PANEL = COLS * KERN_PANEL_ROWS, STRIDE = COLS + 16, OUT = 64 };
    float *memory = (float *)calloc(PANEL * 2 + MEASURE_ROWS * (STRIDE + OUT), sizeof(float));
    (void)worker;
    if (memory == NULL) {
        return;
    }
    struct kern_matmul m = {
        .w = memory, .panel_stride = PANEL * 2, .x = memory + PANEL * 2, .ldx = STRIDE,
        .y = memory + PANEL * 2 + MEASURE_ROWS * STRIDE, .ldy = OUT, .rows = MEASURE_ROWS,
        .panels = KERN_BLOCK_PANELS, .cols = COLS,
    };
    uint64_t begin = sys_now_ns();
    uint64_t rounds = 0;
    uint64_t ns = 0;
    for (; ns < MEASURE_NS; ns = sys_now_ns() - begin, rounds++) {
        j->dev->base.kern.matmul[KERN_BF16](&m);
    }
    uint64_t flops = rounds * 2 * MEASURE_ROWS * COLS * KERN_PANEL_ROWS * KERN_BLOCK_PANELS;
    atomic_fetch_add(&j->flops, (uint64_t)((double)flops * 1e9 / (double)ns));
    free(memory);
}

static double cpu_measure_flops(struct dev *dev) {
    struct measure_job j = {.dev = (struct dev_cpu *)dev};
    team_run(j.dev->team, measure_worker, &j);
    return (double)atomic_load(&j.flops);
}

static const struct dev_table CPU_TABLE = {
    .close = cpu_close,
    .caps = cpu_caps,
    .run = cpu_run,
    .on_workers = cpu_on_workers,
    .times = cpu_times,
    .measure_flops = cpu_measure_flops,
};

lamina_status dev_cpu_open(struct dev **out, const struct dev_cpu_options *o, struct lamina_error *err) {
    struct dev_cpu *d = (struct dev_cpu *)calloc(1, sizeof(*d));
    if (d == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the CPU device");
    }
    d->base.table = &CPU_TABLE;
    d->cpu_flags = o->cpu_flags;
    d->kv_blocks = o->kv_blocks;
    kern_table_init(&d->base.kern, o->cpu_flags);
    coding_table_init(&d->coding, o->cpu_flags);
    d->kv_pointers = (const void **)calloc((size_t)o->threads * 2 * o->kv_blocks + 1, sizeof(void *));
    d->decoded = (float *)aligned_alloc(64, (size_t)o->threads * CPU_DECODED * sizeof(float));
    d->unpacked = (uint8_t *)aligned_alloc(64, (size_t)o->threads * CPU_UNPACKED);
    lamina_status status = d->kv_pointers != NULL && d->decoded != NULL && d->unpacked != NULL
                               ? team_open(&d->team, o->threads, err)
                               : base_fail(err, LAMINA_NO_FIT, "out of memory for the CPU device");
    if (status != LAMINA_OK) {
        free(d->unpacked);
        free(d->decoded);
        free(d->kv_pointers);
        free(d);
        return status;
    }
    *out = &d->base;
    return LAMINA_OK;
}

void dev_close(struct dev **d) {
    if (*d != NULL) {
        (*d)->table->close(*d);
        *d = NULL;
    }
}
