/* SPDX-License-Identifier: Apache-2.0
 * Looking rows of the family table up. */
#include "model/family_priv.h"

const struct model_family *model_family_at(unsigned index) {
    if (index < model_families_dense_count) {
        return &model_families_dense[index];
    }
    index -= model_families_dense_count;
    return index < model_families_sparse_count ? &model_families_sparse[index] : NULL;
}

const struct model_family *model_family_of_name(struct span name) {
    const struct model_family *f = NULL;
    for (unsigned i = 0; (f = model_family_at(i)) != NULL; i++) {
        if (span_is(name, f->name)) {
            return f;
        }
    }
    return NULL;
}
