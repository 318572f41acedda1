/* SPDX-License-Identifier: Apache-2.0
 * The family table for programs: the rows and traits of the model room under their public names. Reads static tables only,
 * so any thread may call it. */
#include <stdio.h>

#include "lamina/lamina.h"
#include "model/model.h"

bool lamina_trait_at(uint32_t index, struct lamina_trait *trait) {
    unsigned count = 0;
    const struct model_trait *traits = model_traits(&count);
    if (index >= count) {
        return false;
    }
    *trait = (struct lamina_trait){.aspect = traits[index].aspect, .words = traits[index].words};
    return true;
}

void lamina_families(void (*each)(void *user, const struct lamina_family *family), void *user) {
    struct model_row row;
    for (unsigned i = 0; model_row_at(i, &row); i++) {
        const struct lamina_family family = {
            .name = row.name,
            .architectures = row.architectures,
            .model_types = row.model_types,
            .has = row.has,
        };
        each(user, &family);
    }
}

lamina_status lamina_family_of_config(const char *json, size_t len, char name[32], struct lamina_error *err) {
    struct model_desc desc;
    LAMINA_TRY(model_resolve(span_of(json, len), &desc, err));
    (void)snprintf(name, sizeof(desc.family), "%s", desc.family);
    return LAMINA_OK;
}
