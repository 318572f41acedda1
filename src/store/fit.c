/* SPDX-License-Identifier: Apache-2.0
 * Which codec makes a store of a given size: what is not rounded is known before, the weights that are share the rest. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/store_priv.h"

static const double LEAST_BITS = 2.1, MOST_BITS = 8.0; /* narrow rows, with their scales, do not reach 2.0 */

struct sizes {
    uint64_t total;   /* likely */
    uint64_t rounded; /* weights */
};

/* Files beside the weights: the tokenizer's as they are, the manifest, with its checksums, by its usual size. */
static lamina_status add_texts(const struct lamina_source *source, uint32_t outputs, struct sizes *out, struct lamina_error *err) {
    enum { MANIFEST = 8192, OF_AN_OUTPUT = 512 };
    out->total += MANIFEST + (uint64_t)outputs * OF_AN_OUTPUT;
    for (unsigned i = 0; store_tokenizer_files[i] != NULL; i++) {
        struct lamina_error why = {0};
        char *bytes = NULL;
        size_t len = 0;
        const lamina_status status = source->file(source->user, store_tokenizer_files[i], &bytes, &len, &why);
        if (status < 0 && status != LAMINA_NOT_FOUND) {
            return base_fail(err, status, "%s", why.message);
        }
        out->total += status == LAMINA_OK ? len : 0;
        free(bytes);
    }
    return LAMINA_OK;
}

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
    if (status == LAMINA_OK) {
        status = add_texts(source, plan.output_count, out, err);
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
        return base_fail(err, LAMINA_NO_FIT, "the store does not fit %" PRIu64 " bytes: the smallest takes %.0f", bytes,
                         exact + (double)s.rounded * LEAST_BITS / 8 + 1);
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
