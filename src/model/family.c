/* SPDX-License-Identifier: Apache-2.0
 * Looking rows of the family table up. */
#include "model/family_priv.h"

const struct model_family *model_family_at(unsigned index) {
    const struct {
        const struct model_family *rows;
        unsigned count;
    } parts[] = {{model_families_dense, model_families_dense_count},
                 {model_families_early, model_families_early_count},
                 {model_families_sparse, model_families_sparse_count},
                 {model_families_mixed, model_families_mixed_count}};
    for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
        if (index < parts[i].count) {
            return &parts[i].rows[index];
        }
        index -= parts[i].count;
    }
    return NULL;
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
