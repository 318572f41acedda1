/* SPDX-License-Identifier: Apache-2.0
 *
 * Mixtures of experts: the rows of a pass choose, then each chosen expert runs once over the rows that chose it, those that are
 * in memory first. A row's sum is taken at the end in order of expert numbers; so it depends neither on the rows beside it nor
 * on what was in memory.
 */
#include <string.h>

#include "dev/cpu_priv.h"

void cpu_route(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass) {
    uint8_t used[KERN_MAX_EXPERTS] = {0};
    const float *bias = op->vector2 >= 0 ? pass->vectors[op->vector2] : NULL;
    (void)d;
    for (uint32_t t = 0; t < pass->rows; t++) {
        struct kern_choice *c = &pass->choices[t];
        kern_route(c, pass->reg[op->src] + t * pass->stride[op->src], bias, op->experts, &op->routing);
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

/* down(act(gate M) * up M) of one expert into Y; `pass` holds its rows alone. */
static lamina_status run_expert(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass,
                                struct lamina_error *err) {
    struct kern_op both[2] = {part_of(op, 0, KERN_G, KERN_M, op->expert_ffn), part_of(op, 1, KERN_U, KERN_M, op->expert_ffn)};
    struct kern_op down = part_of(op, 2, KERN_Y, KERN_G, op->width);
    struct kern_op act = part_of(op, 0, KERN_G, op->gated ? KERN_G : KERN_U, op->expert_ffn);
    struct kern_op mul = part_of(op, 0, KERN_G, KERN_U, op->expert_ffn);
    bool at_once = op->act == KERN_ACT_CLAMPED;
    act.kind = at_once ? KERN_OP_CLAMPED_GLU : KERN_OP_ACT;
    act.src2 = KERN_U;
    act.scale = op->scale;
    mul.kind = KERN_OP_MUL;
    LAMINA_TRY(cpu_matmuls(d, op->gated ? both : both + 1, op->gated ? 2 : 1, pass, err));
    cpu_rows(d, &act, pass);
    if (op->gated && !at_once) {
        cpu_rows(d, &mul, pass);
    }
    return cpu_matmuls(d, &down, 1, pass, err);
}

/* Those in memory first, while the others are being read. */
lamina_status cpu_experts(struct dev_cpu *d, const struct kern_op *op, const struct dev_pass *pass, struct lamina_error *err) {
    uint8_t left[KERN_MAX_EXPERTS] = {0};
    for (uint32_t t = 0; t < pass->rows; t++) {
        for (uint32_t k = 0; k < op->routing.top_k; k++) {
            left[pass->choices[t].expert[k]] = 1;
        }
    }
    for (int turn = 0; turn < 2; turn++) {
        for (uint32_t e = 0; e < op->experts; e++) {
            if (left[e] == 0 || (turn == 0 && !pass->resident(pass->user, e))) {
                continue;
            }
            struct dev_pass one = *pass;
            one.rows = gather(d, op, pass, e);
            one.expert = e;
            LAMINA_TRY(run_expert(d, op, &one, err));
            keep(op, pass, e);
            left[e] = 0;
        }
    }
    for (uint32_t t = 0; t < pass->rows; t++) {
        combine(d, op, pass, t);
    }
    return LAMINA_OK;
}
