/* SPDX-License-Identifier: Apache-2.0
 *
 * Linear attention of the rows of a pass. The unit of work is one head of keys with the heads of values that share it: it takes
 * the rows in order, since a row's state is what the row before it of the same sequence left. State of a head of keys:
 *     [taps - 1][k_dim] of Q, the same of K, [taps - 1][shared * v_dim] of V, then [shared][k_dim][v_dim].
 * Where heads of values are tiled, those on one head of keys lie kv_heads apart, so they are convolved one by one and the part of V
 * is [shared][taps - 1][v_dim].
 */
#include <math.h>
#include <string.h>

#include "dev/cpu_priv.h"
#include "sys/thread.h"

enum { MOST_VALUES = 8192 };

struct job {
    struct dev_cpu *dev;
    const struct kern_op *op;
    const struct dev_pass *pass;
    _Atomic uint32_t next;
};

/* One head at work. */
struct unit {
    const struct kern_op *op;
    const struct dev_pass *pass;
    const struct kern_table *kern;
    uint32_t head, shared;       /* of keys; heads of values on it */
    float *state;
    float q[KERN_DELTA_DIM], k[KERN_DELTA_DIM], decay[KERN_DELTA_DIM];
    float v[MOST_VALUES];
};

static size_t head_floats(const struct kern_op *op, uint32_t shared) {
    return (size_t)(op->taps - 1) * (2 * op->head_dim + shared * op->value_dim) + (size_t)shared * op->head_dim * op->value_dim;
}

static const float *input(const struct unit *u, enum kern_reg reg, uint32_t t) {
    return u->pass->reg[reg] + t * u->pass->stride[reg];
}

/* The number of head s of values on the head of keys at work. */
static uint32_t value_head(const struct unit *u, uint32_t s) {
    return u->op->tiled ? s * u->op->kv_heads + u->head : u->head * u->shared + s;
}

static void convolve(struct unit *u, uint32_t t) {
    const struct kern_op *op = u->op;
    const size_t k_dim = op->head_dim;
    const uint32_t together = op->tiled ? 1 : u->shared;
    const size_t past = op->taps - 1;
    struct kern_conv c = {.taps = op->taps, .channels = k_dim, .out = u->q, .history = u->state};
    c.x = input(u, KERN_Q, t) + u->head * k_dim;
    c.w = u->pass->vectors[op->vector] + u->head * k_dim * op->taps;
    u->kern->conv_step(&c);
    c.out = u->k;
    c.history += past * k_dim;
    c.x = input(u, KERN_K, t) + u->head * k_dim;
    c.w = u->pass->vectors[op->vector + 1] + u->head * k_dim * op->taps;
    u->kern->conv_step(&c);
    c.out = u->v;
    c.history += past * k_dim;
    c.channels = (size_t)together * op->value_dim;
    for (uint32_t s = 0; s < u->shared; s += together) {
        const size_t first = (size_t)value_head(u, s) * op->value_dim;
        c.x = input(u, KERN_V, t) + first;
        c.w = u->pass->vectors[op->vector + 2] + first * op->taps;
        u->kern->conv_step(&c);
        c.out += c.channels;
        c.history += past * c.channels;
    }
}

/* Unit length by x / sqrt(sum x^2 + 1e-6), and queries scaled by k_dim^-1/2 besides. */
static void normalise(struct unit *u) {
    uint32_t n = u->op->head_dim;
    float root = 1.0f / sqrtf((float)n);
    u->kern->unit_norm(u->q, u->q, n, 1e-6f / (float)n);
    u->kern->scale(u->q, u->q, n, 1.0f / (float)n);
    u->kern->unit_norm(u->k, u->k, n, 1e-6f / (float)n);
    u->kern->scale(u->k, u->k, n, root);
}

static void take_decay(struct unit *u, uint32_t t, uint32_t head) {
    const struct kern_op *op = u->op;
    const float *rates = u->pass->vectors[op->vector2];
    const float *biases = u->pass->vectors[op->vector2 + 1];
    uint32_t n = op->head_dim;
    if (op->wide_decay) {
        u->kern->delta_decay(u->decay, input(u, KERN_D, t) + (size_t)head * n, biases + (size_t)head * n, n, rates[head]);
        return;
    }
    u->kern->delta_decay(u->decay, input(u, KERN_D, t) + head, biases + head, 1, rates[head]);
    for (uint32_t i = 1; i < n; i++) {
        u->decay[i] = u->decay[0];
    }
}

static void one_row(struct unit *u, uint32_t t) {
    const struct kern_op *op = u->op;
    const struct dev_pass *pass = u->pass;
    const struct dev_kv_row *row = &pass->kv.rows[t];
    size_t floats = head_floats(op, u->shared);
    u->state = (float *)(void *)(row->fixed + pass->kv.fixed_offset) + u->head * floats;
    if (row->position == 0) {
        memset(u->state, 0, floats * sizeof(float));
    }
    convolve(u, t);
    normalise(u);
    float *states = u->state + (size_t)(op->taps - 1) * (2 * op->head_dim + u->shared * op->value_dim);
    for (uint32_t s = 0; s < u->shared; s++) {
        uint32_t head = value_head(u, s);
        float beta = 1.0f;
        u->kern->sigmoid_mul(&beta, input(u, KERN_E, t) + head, 1);
        take_decay(u, t, head);
        struct kern_delta d = {
            .state = states + (size_t)s * op->head_dim * op->value_dim,
            .q = u->q,
            .k = u->k,
            .decay = u->decay,
            .v = u->v + (size_t)s * op->value_dim,
            .out = pass->reg[op->dst] + t * pass->stride[op->dst] + (size_t)head * op->value_dim,
            .beta = beta,
            .k_dim = op->head_dim,
            .v_dim = op->value_dim,
        };
        u->kern->delta_step(&d);
    }
}

static void delta_worker(void *arg, uint32_t worker) {
    struct job *j = (struct job *)arg;
    struct unit u = {.op = j->op, .pass = j->pass, .kern = &j->dev->base.kern, .shared = j->op->heads / j->op->kv_heads};
    uint64_t begin = sys_now_ns();
    (void)worker;
    for (u.head = atomic_fetch_add(&j->next, 1); u.head < j->op->kv_heads; u.head = atomic_fetch_add(&j->next, 1)) {
        for (uint32_t t = 0; t < j->pass->rows; t++) {
            one_row(&u, t);
        }
    }
    atomic_fetch_add(&j->dev->compute_ns, sys_now_ns() - begin);
}

lamina_status cpu_delta(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass, struct lamina_error *err) {
    struct job j = {.dev = d, .op = op, .pass = pass};
    if (op->heads / op->kv_heads * op->value_dim > MOST_VALUES || op->head_dim > KERN_DELTA_DIM || op->value_dim > KERN_DELTA_DIM) {
        return base_fail(err, LAMINA_UNSUPPORTED, "linear attention with heads of %u by %u is too wide", op->head_dim,
                         op->value_dim);
    }
    team_run(d->team, delta_worker, &j);
    return LAMINA_OK;
}
