/* SPDX-License-Identifier: Apache-2.0
 *
 * The description as JSON and back, and generation_config.json. One table serves writing and reading, so that a field
 * cannot be written and forgotten. What a store says is checked again as if it were a stranger's config.json.
 */
#include <stddef.h>
#include <stdio.h>

#include "base/json.h"
#include "model/config_priv.h"
#include "model/family_priv.h"

enum kind { U32, FLOAT, DOUBLE, BOOL };

struct field {
    const char *name;
    uint16_t offset;
    uint8_t kind;
};

#define AT(member) (uint16_t) offsetof(struct model_desc, member)

static const struct field FIELDS[] = {
    {"hidden", AT(hidden), U32},
    {"layers", AT(layers), U32},
    {"heads", AT(heads), U32},
    {"kv_heads", AT(kv_heads), U32},
    {"head_dim", AT(head_dim), U32},
    {"ffn", AT(ffn), U32},
    {"vocab", AT(vocab), U32},
    {"max_positions", AT(max_positions), U32},
    {"norm_eps", AT(norm_eps), FLOAT},
    {"tied", AT(tied), BOOL},
    {"bias_qkv", AT(bias_qkv), BOOL},
    {"bias_o", AT(bias_o), BOOL},
    {"bias_mlp", AT(bias_mlp), BOOL},
    {"rope_kind", AT(rope.kind), U32},
    {"rope_dim", AT(rope.dim), U32},
    {"rope_theta", AT(rope.theta), DOUBLE},
    {"rope_factor", AT(rope.factor), DOUBLE},
    {"rope_low_freq_factor", AT(rope.low_freq_factor), DOUBLE},
    {"rope_high_freq_factor", AT(rope.high_freq_factor), DOUBLE},
    {"rope_beta_fast", AT(rope.beta_fast), DOUBLE},
    {"rope_beta_slow", AT(rope.beta_slow), DOUBLE},
    {"rope_attention_factor", AT(rope.attention_factor), DOUBLE},
    {"rope_mscale", AT(rope.mscale), DOUBLE},
    {"rope_mscale_all_dim", AT(rope.mscale_all_dim), DOUBLE},
    {"rope_truncate", AT(rope.truncate), BOOL},
    {"rope_original_max_positions", AT(rope.original_max_positions), U32},
};

static void write_field(const struct model_desc *desc, const struct field *f, struct str *out) {
    const char *place = (const char *)desc + f->offset;
    str_printf(out, ", \"%s\": ", f->name);
    switch (f->kind) {
    case U32:
        str_printf(out, "%u", *(const uint32_t *)(const void *)place);
        break;
    case FLOAT:
        json_write_float(out, *(const float *)(const void *)place);
        break;
    case DOUBLE:
        json_write_double(out, *(const double *)(const void *)place);
        break;
    default:
        str_add_text(out, *(const bool *)place ? "true" : "false");
        break;
    }
}

void model_desc_write(const struct model_desc *desc, struct str *out) {
    str_add_text(out, "{\"family\": ");
    json_write_string(out, span_of_text(desc->family));
    str_add_text(out, ", \"architecture\": ");
    json_write_string(out, span_of_text(desc->architecture));
    for (size_t i = 0; i < ARRAY_LEN(FIELDS); i++) {
        write_field(desc, &FIELDS[i], out);
    }
    if (desc->bos_id >= 0) {
        str_printf(out, ", \"bos_id\": %lld", (long long)desc->bos_id);
    }
    str_add_text(out, ", \"eos_ids\": [");
    for (uint32_t i = 0; i < desc->eos_count; i++) {
        str_printf(out, "%s%u", i == 0 ? "" : ", ", desc->eos_ids[i]);
    }
    str_add_text(out, "]}");
}

static bool read_field(struct json_reader *r, const struct field *f, struct model_desc *d) {
    char *place = (char *)d + f->offset;
    uint64_t whole = 0;
    double real = 0;
    switch (f->kind) {
    case U32:
        if (json_u64(r, &whole) && whole > UINT32_MAX) {
            return json_refuse(r, LAMINA_DAMAGED, "\"%s\" is too large", f->name);
        }
        *(uint32_t *)(void *)place = (uint32_t)whole;
        break;
    case FLOAT:
        (void)json_double(r, &real);
        *(float *)(void *)place = (float)real;
        break;
    case DOUBLE:
        (void)json_double(r, (double *)(void *)place);
        break;
    default:
        (void)json_bool(r, (bool *)place);
        break;
    }
    return r->failed == LAMINA_OK;
}

static void read_name(struct json_reader *r, char *out, size_t len) {
    struct str text = {.limit = 4096};
    if (json_string(r, &text)) {
        (void)snprintf(out, len, "%s", str_text(&text));
    }
    str_drop(&text);
}

/* True when the numbers can be computed with: the ranges of model_resolve. */
static bool plausible(const struct model_desc *d) {
    return d->hidden >= 1 && d->hidden <= 1 << 20 && d->layers >= 1 && d->layers <= 4096 && d->kv_heads >= 1 &&
           d->heads >= d->kv_heads && d->heads <= 1 << 16 && d->heads % d->kv_heads == 0 && d->head_dim >= 2 &&
           d->head_dim <= 4096 && d->head_dim % 2 == 0 && (uint64_t)d->heads * d->head_dim <= 1 << 22 && d->ffn >= 1 &&
           d->ffn <= 1 << 22 && d->vocab >= 1 && d->vocab <= 1 << 24 && d->max_positions >= 1 && d->norm_eps >= 0 &&
           d->rope.kind <= MODEL_ROPE_YARN && d->rope.dim == d->head_dim && d->rope.theta > 1.0 && d->rope.factor > 0.0;
}

lamina_status model_desc_read(struct span json, struct model_desc *desc, struct lamina_error *err) {
    struct model_desc d = {.bos_id = -1};
    struct str scratch = {.limit = JSON_MAX_KEY + 64};
    struct json_reader r;
    struct span key;
    uint64_t seen = 0;
    json_init(&r, json, "model description", &scratch, err);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        size_t i = 0;
        while (i < ARRAY_LEN(FIELDS) && !span_is(key, FIELDS[i].name)) {
            i++;
        }
        if (i < ARRAY_LEN(FIELDS)) {
            (void)read_field(&r, &FIELDS[i], &d);
            seen |= UINT64_C(1) << i;
        } else if (span_is(key, "family")) {
            read_name(&r, d.family, sizeof(d.family));
        } else if (span_is(key, "architecture")) {
            read_name(&r, d.architecture, sizeof(d.architecture));
        } else if (span_is(key, "bos_id")) {
            (void)json_i64(&r, &d.bos_id);
        } else if (span_is(key, "eos_ids")) {
            (void)config_read_ids(&r, d.eos_ids, &d.eos_count, ARRAY_LEN(d.eos_ids));
        } else {
            (void)json_refuse(&r, LAMINA_UNSUPPORTED, "unknown field \"%.*s\": made by a newer version?",
                              (int)(key.len < 64 ? key.len : 64), (const char *)key.ptr);
        }
    }
    lamina_status status = json_finish(&r);
    str_drop(&scratch);
    if (status == LAMINA_OK && model_family_of_name(span_of_text(d.family)) == NULL) {
        status = base_fail(err, LAMINA_UNSUPPORTED, "model description: family \"%s\" is not known to this version", d.family);
    }
    if (status == LAMINA_OK && (seen != (UINT64_C(1) << ARRAY_LEN(FIELDS)) - 1 || !plausible(&d))) {
        status = base_fail(err, LAMINA_DAMAGED, "model description: a field is missing or out of range");
    }
    if (status == LAMINA_OK) {
        *desc = d;
    }
    return status;
}

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
