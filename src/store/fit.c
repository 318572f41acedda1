/* SPDX-License-Identifier: Apache-2.0
 * Which codec makes a store of a given size: what is not rounded is known before, the weights that are share the rest. */
#include <inttypes.h>
#include <stdio.h>

#include "store/store_priv.h"

static const double LEAST_BITS = 2.0, MOST_BITS = 8.0;

struct sizes {
    uint64_t total;   /* likely */
    uint64_t rounded; /* weights */
};

static lamina_status sizes_with(const struct lamina_source *source, const char *codec, struct sizes *out,
                                struct lamina_error *err) {
    struct arena arena = {0};
    struct split_plan plan = {0};
    struct split_codec c;
    (void)split_codec_of_name(codec, &c);
    lamina_status status = split_plan_make(source, -1, &c, &arena, &plan, err);
    *out = (struct sizes){.total = plan.total_bytes};
    for (uint32_t i = 0; status == LAMINA_OK && i < plan.output_count; i++) {
        out->rounded += plan.outputs[i].rounded;
    }
    split_plan_drop(&plan);
    arena_drop(&arena);
    return status;
}

static lamina_status choose(const struct lamina_source *source, uint64_t bytes, char codec[16], struct lamina_error *err) {
    struct sizes s;
    LAMINA_TRY(sizes_with(source, "planes", &s, err));
    if (s.total <= bytes) {
        (void)snprintf(codec, 16, "planes");
        return LAMINA_OK;
    }
    LAMINA_TRY(sizes_with(source, "q4.00", &s, err));
    const double exact = (double)s.total - (double)s.rounded * 4.0 / 8;
    const double room = (double)bytes - exact;
    const double bits = s.rounded != 0 ? room * 8 / (double)s.rounded : 0;
    if (bits < LEAST_BITS) {
        const double least = (exact + (double)s.rounded * LEAST_BITS / 8) / (1 << 20) + 1;
        return base_fail(err, LAMINA_NO_FIT, "the store does not fit %" PRIu64 " bytes: the smallest takes %.0f MiB", bytes, least);
    }
    const unsigned hundredths = (unsigned)((bits > MOST_BITS ? MOST_BITS : bits) * 100);
    (void)snprintf(codec, 16, "q%u.%02u", hundredths / 100, hundredths % 100);
    return LAMINA_OK;
}

lamina_status store_codec_that_fits(const char *checkpoint, const struct lamina_source *source, uint64_t bytes, char codec[16],
                                    struct lamina_error *err) {
    struct lamina_source *opened = NULL;
    if (source == NULL) {
        LAMINA_TRY(store_source_open(&opened, checkpoint, err));
    }
    lamina_status status = choose(opened != NULL ? opened : source, bytes, codec, err);
    if (opened != NULL) {
        store_source_close(&opened);
    }
    return status;
}
