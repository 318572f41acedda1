/* SPDX-License-Identifier: Apache-2.0
 * Shared by tensors.c, which says what canonical tensors there are, and tensors_source.c, which says where they come from. */
#ifndef MODEL_TENSORS_PRIV_H
#define MODEL_TENSORS_PRIV_H

#include "model/family_priv.h"

/* A bias belongs to the matrix whose rows it has; false for other roles, and where there is none. */
bool tensor_bias_matrix(const struct model_desc *desc, enum model_role role, enum model_role *matrix);
/* Fills the source of a tensor whose role, layer, expert and shape are set. */
void tensor_find_source(const struct model_desc *desc, struct model_tensor *t);

#endif
