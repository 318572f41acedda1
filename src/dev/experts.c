/* SPDX-License-Identifier: Apache-2.0
 *
 * Mixtures of experts: the rows of a pass choose, then each chosen expert runs once over the rows that chose it. Those that are
 * read run in order; those in memory are spare work for workers whose tile is still on its way, so that the drive never rests
 * while they are multiplied. A row's sum is taken at the end in order of expert numbers; so it depends neither on the rows
 * beside it nor on what was in memory.
 */
#include <string.h>

#include "dev/cpu_priv.h"
#include "sys/thread.h"

void cpu_route(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass) {
    uint8_t used[KERN_MAX_EXPERTS] = {0};
    const float *bias = op->vector2 >= 0 ? pass->vectors[op->vector2] : NULL;
    const float *factors = op->vector >= 0 ? pass->vectors[op->vector] : NULL;
    (void)d;
    for (uint32_t t = 0; t < pass->rows; t++) {
        struct kern_choice *c = &pass->choices[t];
        kern_route(c, pass->reg[op->src] + t * pass->stride[op->src], bias, factors, op->experts, &op->routing);
        for (uint32_t k = 0; k < op->routing.top_k; k++) {
            used[c->expert[k]] = 1;
        }
    }
    pass->chosen(pass->user, used, op->experts);
}

/* The place of an expert among a row's choices; top_k when it did not choose it. */
static uint32_t place_of(const struct kern_choice *c, uint32_t top_k, uint32_t expert) {
    uint32_t k = 0;
    while (k < top_k && c->expert[k] != expert) {
        k++;
    }
    return k;
}

static float *row_of(const struct dev_pass *p, enum kern_reg reg, uint32_t t) {
    return p->reg[reg] + t * p->stride[reg];
}

/* Copies the rows that chose the expert together into M; returns how many. */
static uint32_t gather(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass, uint32_t expert) {
    uint32_t n = 0;
    for (uint32_t t = 0; t < pass->rows; t++) {
        uint32_t k = place_of(&pass->choices[t], op->routing.top_k, expert);
        if (k < op->routing.top_k) {
            const float *from = row_of(pass, (enum kern_reg)op->src, t);
            if (op->routing.weigh_input) {
                d->base.kern.scale(row_of(pass, KERN_M, n), from, op->width, pass->choices[t].weight[k]);
            } else {
                memcpy(row_of(pass, KERN_M, n), from, op->width * sizeof(float));
            }
            n++;
        }
    }
    return n;
}

/* What the expert gave goes to each row's place for it. */
static void keep(const struct kern_op *op, const struct dev_pass *pass, uint32_t expert) {
    uint32_t n = 0;
    for (uint32_t t = 0; t < pass->rows; t++) {
        uint32_t k = place_of(&pass->choices[t], op->routing.top_k, expert);
        if (k < op->routing.top_k) {
            memcpy(row_of(pass, KERN_B, t) + (size_t)k * op->width, row_of(pass, KERN_Y, n++), op->width * sizeof(float));
        }
    }
}

/* The sum of a row, in order of expert numbers, whatever the order in which they were computed. */
static void combine(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass, uint32_t t) {
    const struct kern_choice *c = &pass->choices[t];
    float *dst = row_of(pass, (enum kern_reg)op->dst, t);
    if (!op->adds) {
        memset(dst, 0, op->width * sizeof(float));
    }
    for (uint32_t k = 0; k < op->routing.top_k; k++) {
        bool again = k > 0 && c->expert[k] == c->expert[k - 1]; /* scores that are no numbers may choose one twice */
        float factor = op->routing.weigh_input ? 1.0f : c->weight[k];
        if (!again) {
            d->base.kern.add_scaled(dst, row_of(pass, KERN_B, t) + (size_t)k * op->width, op->width, factor);
        }
    }
}

static struct kern_op part_of(const struct kern_op *op, unsigned part, enum kern_reg dst, enum kern_reg src, uint32_t width) {
    struct kern_op m = {.kind = KERN_OP_MATMUL, .dst = (uint8_t)dst, .src = (uint8_t)src, .vector = -1, .vector2 = -1,
                        .width = width, .act = op->act};
    m.matrix = (int16_t)(op->matrix + (int)part); /* gate, up and down follow each other */
    m.vector = (int16_t)(op->vector >= 0 ? op->vector + (int)part : -1);
    return m;
}

/* down(act(gate M) * up M) of one expert into Y, as op records. */
struct expert_ops {
    struct kern_op up[2], act, mul, down;
    uint32_t ups; /* gate and up, or up alone */
    bool multiplies;
};

static struct expert_ops ops_of(const struct kern_op *op) {
    bool at_once = op->act == KERN_ACT_CLAMPED;
    struct kern_op gate = part_of(op, 0, KERN_G, KERN_M, op->expert_ffn);
    struct kern_op up = part_of(op, 1, KERN_U, KERN_M, op->expert_ffn);
    struct expert_ops o = {
        .up = {op->gated ? gate : up, up},
        .ups = op->gated ? 2 : 1,
        .act = part_of(op, 0, KERN_G, op->gated ? KERN_G : KERN_U, op->expert_ffn),
        .mul = part_of(op, 0, KERN_G, KERN_U, op->expert_ffn),
        .multiplies = op->gated && !at_once,
        .down = part_of(op, 2, KERN_Y, KERN_G, op->width),
    };
    o.act.kind = at_once ? KERN_OP_CLAMPED_GLU : KERN_OP_ACT;
    o.act.src2 = KERN_U;
    o.act.scale = op->scale;
    o.mul.kind = KERN_OP_MUL;
    return o;
}

/* `pass` holds the rows of the expert alone. */
static lamina_status run_expert(struct dev_cpu *d, const struct expert_ops *o, const struct dev_pass *pass,
                                struct lamina_error *err) {
    LAMINA_TRY(cpu_matmuls(d, o->up, o->ups, pass, err));
    cpu_rows(d, &o->act, pass);
    if (o->multiplies) {
        cpu_rows(d, &o->mul, pass);
    }
    return cpu_matmuls(d, &o->down, 1, pass, err);
}

/* ---- spare work ---- */

enum spare_state {
    SPARE_MAKING, /* one worker is at the small work between products, without the lock */
    SPARE_TILES,  /* tiles may be taken */
    SPARE_OVER,   /* nothing is left, or something failed */
};

/* The chosen experts in memory, one after the other: gate and up, then down. They use the rows of the registers above those of
 * the pass. */
struct cpu_spare {
    struct dev_cpu *dev;
    const struct kern_op *op;
    const struct dev_pass *whole;
    struct expert_ops ops;
    struct dev_pass pass;        /* of the expert at hand */
    struct cpu_job job[2];
    bool at_down;
    const uint8_t *chosen;       /* [experts] */
    uint32_t expert;             /* at hand */

    struct sys_mutex lock;       /* guards what follows; what stands above changes in SPARE_MAKING alone */
    enum spare_state state;
    uint32_t next, done, total;  /* tiles of the product at hand */
    _Atomic int32_t failed;
    struct lamina_error error;   /* of finding a matrix */
};

static bool spare_failed(struct cpu_spare *s, lamina_status status) {
    if (status != LAMINA_OK) {
        atomic_store(&s->failed, status);
    }
    return status != LAMINA_OK;
}

static bool spare_product(struct cpu_spare *s, const struct kern_op *ops, uint32_t count) {
    s->total = 0;
    for (uint32_t i = 0; i < count; i++) {
        s->job[i] = (struct cpu_job){.dev = s->dev, .op = &ops[i], .pass = &s->pass, .failed = &s->failed};
        if (spare_failed(s, cpu_job_prepare(&s->job[i], &s->error))) {
            return false;
        }
        s->total += s->job[i].matrix.tiles.count;
    }
    return true;
}

/* The next expert from `expert` on; false when there is none. */
static bool spare_begin(struct cpu_spare *s, uint32_t expert) {
    while (expert < s->op->experts && s->chosen[expert] == 0) {
        expert++;
    }
    if (expert == s->op->experts) {
        return false;
    }
    s->expert = expert;
    s->at_down = false;
    s->pass.expert = expert;
    s->pass.rows = s->whole->rows;
    s->pass.rows = gather(s->dev, s->op, &s->pass, expert);
    return spare_product(s, s->ops.up, s->ops.ups);
}

/* What comes after a product; false: nothing is left. */
static bool spare_advance(struct cpu_spare *s) {
    if (s->at_down) {
        s->pass.rows = s->whole->rows;
        keep(s->op, &s->pass, s->expert);
        return spare_begin(s, s->expert + 1);
    }
    cpu_rows_alone(s->dev, &s->ops.act, &s->pass);
    if (s->ops.multiplies) {
        cpu_rows_alone(s->dev, &s->ops.mul, &s->pass);
    }
    s->at_down = true;
    return spare_product(s, &s->ops.down, 1);
}

static void spare_publish(struct cpu_spare *s, bool more) {
    sys_mutex_lock(&s->lock);
    s->next = 0;
    s->done = 0;
    s->state = more ? SPARE_TILES : SPARE_OVER;
    sys_mutex_unlock(&s->lock);
}

bool cpu_spare_tile(struct cpu_spare *s, uint32_t worker) {
    sys_mutex_lock(&s->lock);
    bool take = s->state == SPARE_TILES && s->next < s->total;
    uint32_t index = take ? s->next++ : 0;
    sys_mutex_unlock(&s->lock);
    if (!take) {
        return false;
    }
    struct cpu_job *j = &s->job[0];
    if (index >= j->matrix.tiles.count) {
        index -= j->matrix.tiles.count;
        j = &s->job[1];
    }
    bool fine = !spare_failed(s, cpu_job_tile(j, worker, index));
    sys_mutex_lock(&s->lock);
    bool last = ++s->done == s->total && s->state == SPARE_TILES;
    s->state = !fine ? SPARE_OVER : last ? SPARE_MAKING : s->state;
    sys_mutex_unlock(&s->lock);
    if (last && fine) {
        spare_publish(s, spare_advance(s));
    }
    return true;
}

static bool spare_is_over(struct cpu_spare *s) {
    sys_mutex_lock(&s->lock);
    bool over = s->state == SPARE_OVER;
    sys_mutex_unlock(&s->lock);
    return over;
}

/* All that is left of it, by all workers. */
static void spare_worker(void *arg, uint32_t worker) {
    struct cpu_spare *s = (struct cpu_spare *)arg;
    while (!spare_is_over(s)) {
        if (!cpu_spare_tile(s, worker)) {
            sys_cpu_relax();
        }
    }
}

/* Experts in memory can be spare work where the registers have room for a second set of rows and no product is cut along k
 * (its parts wait for each other). */
static bool spare_fits(const struct kern_op *op, const struct dev_pass *pass) {
    for (int part = op->gated ? 0 : 1; part < 3; part++) {
        struct dev_matrix m;
        if (!pass->matrix(pass->user, op->matrix + part, 0, &m) || m.shape->parts_per_group > 1) {
            return false;
        }
    }
    return pass->room / 2 >= pass->rows;
}

static void spare_init(struct cpu_spare *s, struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass) {
    static const enum kern_reg OWN[] = {KERN_M, KERN_G, KERN_U, KERN_Y};
    *s = (struct cpu_spare){.dev = d, .op = op, .whole = pass, .ops = ops_of(op), .pass = *pass};
    for (size_t i = 0; i < ARRAY_LEN(OWN); i++) {
        s->pass.reg[OWN[i]] += pass->rows * pass->stride[OWN[i]];
    }
}

/* ---- the op ---- */

static lamina_status run_all(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass, const uint8_t *chosen,
                             struct lamina_error *err) {
    struct expert_ops ops = ops_of(op);
    for (uint32_t e = 0; e < op->experts; e++) {
        if (chosen[e] != 0) {
            struct dev_pass one = *pass;
            one.rows = gather(d, op, pass, e);
            one.expert = e;
            LAMINA_TRY(run_expert(d, &ops, &one, err));
            keep(op, pass, e);
        }
    }
    return LAMINA_OK;
}

static lamina_status run_beside(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass, const uint8_t *here,
                                const uint8_t *read, struct lamina_error *err) {
    struct cpu_spare spare;
    spare_init(&spare, d, op, pass);
    spare.chosen = here;
    spare_publish(&spare, spare_begin(&spare, 0));
    d->spare = &spare;
    lamina_status status = run_all(d, op, pass, read, err);
    d->spare = NULL;
    if (status == LAMINA_OK) {
        team_run(d->team, spare_worker, &spare);
    }
    lamina_status failed = (lamina_status)atomic_load(&spare.failed);
    if (status != LAMINA_OK || failed == LAMINA_OK) {
        return status;
    }
    return spare.error.message[0] != 0 ? base_fail(err, failed, "%s", spare.error.message) : cpu_tile_failed(failed, err);
}

lamina_status cpu_experts(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass, struct lamina_error *err) {
    uint8_t here[KERN_MAX_EXPERTS] = {0};
    uint8_t read[KERN_MAX_EXPERTS] = {0};
    bool any_here = false;
    bool any_read = false;
    for (uint32_t t = 0; t < pass->rows; t++) {
        for (uint32_t k = 0; k < op->routing.top_k; k++) {
            uint32_t e = pass->choices[t].expert[k];
            bool resident = here[e] != 0 || (read[e] == 0 && pass->resident(pass->user, e));
            (resident ? here : read)[e] = 1;
            any_here = any_here || resident;
            any_read = any_read || !resident;
        }
    }
    if (any_here && any_read && spare_fits(op, pass)) {
        LAMINA_TRY(run_beside(d, op, pass, here, read, err));
    } else {
        LAMINA_TRY(run_all(d, op, pass, here, err));
        LAMINA_TRY(run_all(d, op, pass, read, err));
    }
    for (uint32_t t = 0; t < pass->rows; t++) {
        combine(d, op, pass, t);
    }
    return LAMINA_OK;
}
