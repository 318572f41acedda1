/* SPDX-License-Identifier: Apache-2.0
 * The family table: one row per model family, nothing but data. See docs/ADD-A-FAMILY.md. */
#ifndef MODEL_FAMILY_PRIV_H
#define MODEL_FAMILY_PRIV_H

#include <stdbool.h>

#include "model/model.h"

struct model_family {
    const char *name;
    const char *architectures[8]; /* config.json "architectures"[0], 0-ended */
    const char *model_types[4];   /* config.json "model_type", used where architectures is missing */
    /* Source tensor names; %d stands for the layer number. NULL: the family has no such tensor. */
    const char *tensor[MODEL_ROLES];
    const char *ignored[8];       /* suffixes of checkpoint tensors to drop without a word */
    /* What config.json means when it is silent: class defaults of the reference framework. */
    double rope_theta;
    double norm_eps;
    bool tied;
    bool attention_bias;
    bool mlp_bias;
};

/* Rows in table order; NULL past the end. */
const struct model_family *model_family_at(unsigned index);
const struct model_family *model_family_of_name(struct span name);

#endif
