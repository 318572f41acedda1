/* SPDX-License-Identifier: Apache-2.0
 * Numbers of config.json with their ranges checked, before anybody computes a size with them. */
#include <math.h>

#include "model/config_priv.h"

lamina_status config_take_u32(const struct config_number *n, struct config_range range, uint32_t *out,
                              struct lamina_error *err) {
    double value = n->given ? n->value : range.fallback;
    if (!n->given && range.fallback < 0) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: \"%s\" is missing", range.key);
    }
    if (!(value >= range.low && value <= range.high) || value != floor(value)) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: \"%s\" is %g, expected a whole number from %g to %g",
                         range.key, value, range.low, range.high);
    }
    *out = (uint32_t)value;
    return LAMINA_OK;
}

uint32_t config_step(const struct config_number *n, uint32_t otherwise) {
    if (!n->given || !(n->value >= 1)) {
        return otherwise;
    }
    return n->value < MODEL_MAX_LAYERS + 1 ? (uint32_t)n->value : MODEL_MAX_LAYERS + 1;
}

double config_otherwise(const struct config_number *n, double missing, double none) {
    return n->null ? none : missing;
}

lamina_status config_take_double(const struct config_number *n, struct config_range range, double *out,
                                 struct lamina_error *err) {
    double value = n->given ? n->value : range.fallback;
    if (!n->given && range.fallback < 0) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: \"%s\" is missing", range.key);
    }
    if (!(value >= range.low && value <= range.high)) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: \"%s\" is %g, expected %g to %g", range.key, value, range.low,
                         range.high);
    }
    *out = value;
    return LAMINA_OK;
}
