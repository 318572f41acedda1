/* SPDX-License-Identifier: Apache-2.0
 * Shared by split_plan.c, which says what a split will write, and split_quant_plan.c, which finds the tensors that a quantised
 * matrix is spread over. */
#ifndef STORE_SPLIT_PLAN_PRIV_H
#define STORE_SPLIT_PLAN_PRIV_H

#include "store/store_priv.h"

struct split_known {
    const char *name;
    uint32_t index;
};

struct split_planner {
    const struct lamina_source *s;
    struct arena *arena;
    struct split_plan *p;
    struct split_known *names; /* of the source, sorted */
    bool *used, *empty;        /* per source tensor; empty: zeros that may be left out if nobody uses them */
    struct model_quant quant;  /* what config.json says */
    uint32_t layers;           /* distinct ones */
    struct lamina_error *err;
};

bool split_plan_find(const struct split_planner *w, const char *name, uint32_t *index);
/* The tensor belongs to output number `output`. */
void split_plan_use(struct split_planner *w, uint32_t index, uint32_t output);
lamina_status split_plan_no_memory(struct lamina_error *err);
/* Rows (of all planes together) and columns that a matrix has in the source, if it lies there as [out, in]. */
void split_plan_wanted(const struct model_tensor *m, uint64_t wanted[2]);

/* Is this a matrix of codes? Then *found, and *part says all about it but its shape; its tensors belong to `output`. */
lamina_status split_quant_find(struct split_planner *w, const struct model_tensor *m, uint32_t output, struct split_part *part,
                               bool *found);

/* Is there a matrix of codes in place of a tensor that is missing? */
bool split_quant_there(const struct split_planner *w, const struct model_tensor *m);

#endif
