/* SPDX-License-Identifier: Apache-2.0
 * generation_config.json: sampling defaults and end tokens. */
#include "base/json.h"
#include "model/config_priv.h"

lamina_status model_generation_read(struct span json, struct model_generation *g, struct lamina_error *err) {
    struct str scratch = {.limit = JSON_MAX_KEY + 64};
    struct json_reader r;
    struct span key;
    json_init(&r, json, "generation_config.json", &scratch, err);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        double number = 0;
        if (json_peek(&r) == JSON_NULL) {
            (void)json_null(&r);
        } else if (span_is(key, "do_sample")) {
            g->has_do_sample = json_bool(&r, &g->do_sample);
        } else if (span_is(key, "temperature")) {
            (void)json_double(&r, &g->temperature);
        } else if (span_is(key, "top_p")) {
            (void)json_double(&r, &g->top_p);
        } else if (span_is(key, "min_p")) {
            (void)json_double(&r, &g->min_p);
        } else if (span_is(key, "repetition_penalty")) {
            (void)json_double(&r, &g->repetition_penalty);
        } else if (span_is(key, "top_k")) {
            if (json_double(&r, &number)) {
                g->top_k = number > 0 && number < 4e9 ? (uint32_t)number : 0;
            }
        } else if (span_is(key, "eos_token_id")) {
            (void)config_read_ids(&r, g->eos_ids, &g->eos_count, ARRAY_LEN(g->eos_ids));
        } else if (span_is(key, "bos_token_id")) {
            uint32_t ids[16];
            uint32_t count = 0;
            (void)config_read_ids(&r, ids, &count, ARRAY_LEN(ids));
            g->bos_id = count > 0 ? (int64_t)ids[0] : g->bos_id;
        } else {
            (void)json_skip(&r);
        }
    }
    lamina_status status = json_finish(&r);
    str_drop(&scratch);
    return status;
}
