/* SPDX-License-Identifier: Apache-2.0
 *
 * The description as JSON and back. One table per struct serves writing and reading, so that a field cannot be written and
 * forgotten. What a store says is checked again as if it were a stranger's config.json.
 */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "kern/kern.h"
#include "model/config_priv.h"
#include "model/family_priv.h"

enum kind { U32, FLOAT, DOUBLE, BOOL };

struct field {
    const char *name;
    uint16_t offset;
    uint8_t kind;
};

#define OF_DESC(member, kind) {#member, (uint16_t)offsetof(struct model_desc, member), kind}
#define OF_ROPE(member, kind) {#member, (uint16_t)offsetof(struct model_rope, member), kind}
#define OF_KIND(member, kind) {#member, (uint16_t)offsetof(struct model_kind, member), kind}

static const struct field DESC_FIELDS[] = {
    OF_DESC(hidden, U32),        OF_DESC(layers, U32),        OF_DESC(vocab, U32),           OF_DESC(max_positions, U32),
    OF_DESC(norm, U32),          OF_DESC(wiring, U32),        OF_DESC(qk_norm, U32),         OF_DESC(act, U32),
    OF_DESC(norm_eps, FLOAT),    OF_DESC(latent_eps, FLOAT),  OF_DESC(act_limit, FLOAT),     OF_DESC(value_norm, BOOL),
    OF_DESC(input_dim, U32),     OF_DESC(input_vocab, U32),   OF_DESC(layer_scaled, BOOL),   OF_DESC(raw_keys, BOOL),
    OF_DESC(prefix, BOOL),       OF_DESC(prefix_end, U32),    OF_DESC(prefix_masks[0], U32), OF_DESC(prefix_masks[1], U32),
    OF_DESC(norm_bias, BOOL),    OF_DESC(gated, BOOL),        OF_DESC(tied, BOOL),           OF_DESC(bias_qkv, BOOL),
    OF_DESC(bias_o, BOOL),       OF_DESC(bias_mlp, BOOL),     OF_DESC(bias_head, BOOL),      OF_DESC(head_scaled, BOOL),
    OF_DESC(positions, BOOL),    OF_DESC(alibi, BOOL),        OF_DESC(sinks, BOOL),          OF_DESC(alibi_scale, FLOAT),
    OF_DESC(score_scale, FLOAT), OF_DESC(score_cap, FLOAT),   OF_DESC(embed_scale, FLOAT),   OF_DESC(residual_scale, FLOAT),
    OF_DESC(logit_scale, FLOAT), OF_DESC(logit_cap, FLOAT),   OF_DESC(query_rule, U32),      OF_DESC(router_bias, BOOL),
    OF_DESC(choice_bias, BOOL),  OF_DESC(shared_gated, BOOL), OF_DESC(bias_expert, BOOL),    OF_DESC(query_length, U32),
    OF_DESC(query_offset, U32),  OF_DESC(query_beta, DOUBLE),
};

/* What few have: written where it is so, or not 0. */
static const struct field RARE_FIELDS[] = {
    OF_DESC(gguf, BOOL), OF_DESC(tiled_values, BOOL), OF_DESC(expert_scaled, BOOL), OF_DESC(dense_beside, BOOL),
    OF_DESC(score_by_layer, BOOL), OF_DESC(embed_norm, BOOL), OF_DESC(qkv_clip, FLOAT),
    OF_DESC(indexed, U32), OF_DESC(sinks_windowed, BOOL), OF_DESC(value_scale, FLOAT), OF_DESC(routing.jitter, FLOAT),
};

static const struct field ROPE_FIELDS[] = {
    OF_ROPE(kind, U32),              OF_ROPE(dim, U32),
    OF_ROPE(theta, DOUBLE),          OF_ROPE(factor, DOUBLE),
    OF_ROPE(low_freq_factor, DOUBLE), OF_ROPE(high_freq_factor, DOUBLE),
    OF_ROPE(beta_fast, DOUBLE),      OF_ROPE(beta_slow, DOUBLE),
    OF_ROPE(attention_factor, DOUBLE), OF_ROPE(mscale, DOUBLE),
    OF_ROPE(mscale_all_dim, DOUBLE), OF_ROPE(truncate, BOOL), OF_ROPE(half, BOOL),  OF_ROPE(turning, U32),
    OF_ROPE(original_max_positions, U32),
};

static const struct field KIND_FIELDS[] = {
    OF_KIND(mixer, U32),  OF_KIND(q_latent, U32), OF_KIND(kv_latent, U32), OF_KIND(plain_dim, U32), OF_KIND(value_dim, U32),
    OF_KIND(taps, U32),   OF_KIND(decay_latent, U32), OF_KIND(gate_latent, U32), OF_KIND(wide_decay, BOOL),
    OF_KIND(silu_gate, BOOL), OF_KIND(gated_out, BOOL), OF_KIND(shared_kv, BOOL), OF_KIND(value_is_key, BOOL),
    OF_KIND(heads, U32),  OF_KIND(kv_heads, U32), OF_KIND(head_dim, U32), OF_KIND(ffn, U32),
    OF_KIND(experts, U32), OF_KIND(expert_ffn, U32), OF_KIND(shared_ffn, U32),
    OF_KIND(window, U32), OF_KIND(chunk, U32),    OF_KIND(rope, U32),     OF_KIND(query_scaled, BOOL),
};

#define OF_ROUTING(member, kind) {#member, (uint16_t)offsetof(struct kern_routing, member), kind}

static const struct field ROUTING_FIELDS[] = {
    OF_ROUTING(score, U32),         OF_ROUTING(top_k, U32),      OF_ROUTING(groups, U32),      OF_ROUTING(kept_groups, U32),
    OF_ROUTING(group_by_two, BOOL), OF_ROUTING(renormed, BOOL),  OF_ROUTING(weigh_input, BOOL), OF_ROUTING(factor, FLOAT),
};

/* ---- writing ---- */

static void write_field(const void *base, const struct field *f, struct str *out) {
    const char *place = (const char *)base + f->offset;
    str_printf(out, "\"%s\": ", f->name);
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

static void write_struct(const void *base, const struct field *fields, size_t count, struct str *out) {
    str_add_text(out, "{");
    for (size_t i = 0; i < count; i++) {
        str_add_text(out, i == 0 ? "" : ", ");
        write_field(base, &fields[i], out);
    }
    str_add_text(out, "}");
}

static void write_floats(const char *name, const float *values, uint32_t count, struct str *out) {
    str_printf(out, ", \"%s\": [", name);
    for (uint32_t i = 0; i < count; i++) {
        str_add_text(out, i == 0 ? "" : ", ");
        json_write_float(out, values[i]);
    }
    str_add_text(out, "]");
}

static bool is_set(const void *base, const struct field *f) {
    const void *place = (const char *)base + f->offset;
    return f->kind == BOOL ? *(const bool *)place : *(const float *)place != 0.0f;
}

void model_desc_write(const struct model_desc *desc, struct str *out) {
    uint32_t pairs = desc->rope[0].kind == MODEL_ROPE_LONG ? desc->rope[0].dim / 2 : 0;
    str_add_text(out, "{\"family\": ");
    json_write_string(out, span_of_text(desc->family));
    str_add_text(out, ", \"architecture\": ");
    json_write_string(out, span_of_text(desc->architecture));
    for (size_t i = 0; i < ARRAY_LEN(DESC_FIELDS); i++) {
        str_add_text(out, ", ");
        write_field(desc, &DESC_FIELDS[i], out);
    }
    for (size_t i = 0; i < ARRAY_LEN(RARE_FIELDS); i++) {
        if (is_set(desc, &RARE_FIELDS[i])) {
            str_add_text(out, ", ");
            write_field(desc, &RARE_FIELDS[i], out);
        }
    }
    str_add_text(out, ", \"routing\": ");
    write_struct(&desc->routing, ROUTING_FIELDS, ARRAY_LEN(ROUTING_FIELDS), out);
    str_add_text(out, ", \"rope\": [");
    for (uint32_t i = 0; i < MODEL_ROPES; i++) {
        str_add_text(out, i == 0 ? "" : ", ");
        write_struct(&desc->rope[i], ROPE_FIELDS, ARRAY_LEN(ROPE_FIELDS), out);
    }
    str_add_text(out, "]");
    write_floats("rope_short", desc->rope_short, pairs, out);
    write_floats("rope_long", desc->rope_long, pairs, out);
    str_add_text(out, ", \"kinds\": [");
    for (uint32_t i = 0; i < desc->kind_count; i++) {
        str_add_text(out, i == 0 ? "" : ", ");
        write_struct(&desc->kinds[i], KIND_FIELDS, ARRAY_LEN(KIND_FIELDS), out);
    }
    str_add_text(out, "], \"layer_kinds\": [");
    for (uint32_t i = 0; i < desc->layers; i++) {
        str_printf(out, "%s%u", i == 0 ? "" : ", ", desc->layer_kind[i]);
    }
    str_add_text(out, "]");
    if (desc->bos_id >= 0) {
        str_printf(out, ", \"bos_id\": %lld", (long long)desc->bos_id);
    }
    str_add_text(out, ", \"eos_ids\": [");
    for (uint32_t i = 0; i < desc->eos_count; i++) {
        str_printf(out, "%s%u", i == 0 ? "" : ", ", desc->eos_ids[i]);
    }
    str_add_text(out, "]}");
}

/* ---- reading ---- */

static bool read_field(struct json_reader *r, const struct field *f, void *base) {
    char *place = (char *)base + f->offset;
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

static size_t find_field(struct span key, const struct field *fields, size_t count) {
    size_t i = 0;
    while (i < count && !span_is(key, fields[i].name)) {
        i++;
    }
    return i;
}

static bool unknown_field(struct json_reader *r, struct span key) {
    return json_refuse(r, LAMINA_UNSUPPORTED, "unknown field \"%.*s\": made by a newer version?",
                       (int)(key.len < 64 ? key.len : 64), (const char *)key.ptr);
}

/* An object with exactly these fields. */
static void read_struct(struct json_reader *r, const struct field *fields, size_t count, void *base) {
    struct span key;
    uint64_t seen = 0;
    (void)json_enter_object(r);
    while (json_next_key(r, &key)) {
        size_t i = find_field(key, fields, count);
        if (i == count) {
            (void)unknown_field(r, key);
            return;
        }
        (void)read_field(r, &fields[i], base);
        seen |= UINT64_C(1) << i;
    }
    if (r->failed == LAMINA_OK && seen != (UINT64_C(1) << count) - 1) {
        (void)json_refuse(r, LAMINA_DAMAGED, "a field is missing");
    }
}

static void read_ropes(struct json_reader *r, struct model_desc *d) {
    uint32_t n = 0;
    (void)json_enter_array(r);
    while (json_next_item(r)) {
        if (n == MODEL_ROPES) {
            (void)json_refuse(r, LAMINA_UNSUPPORTED, "more than %d sets of rotary parameters", (int)MODEL_ROPES);
            return;
        }
        read_struct(r, ROPE_FIELDS, ARRAY_LEN(ROPE_FIELDS), &d->rope[n++]);
    }
    if (r->failed == LAMINA_OK && n != MODEL_ROPES) {
        (void)json_refuse(r, LAMINA_DAMAGED, "%u sets of rotary parameters, %d expected", n, (int)MODEL_ROPES);
    }
}

static void read_kinds(struct json_reader *r, struct model_desc *d) {
    (void)json_enter_array(r);
    while (json_next_item(r)) {
        if (d->kind_count == MODEL_KINDS) {
            (void)json_refuse(r, LAMINA_UNSUPPORTED, "more than %d kinds of layers", (int)MODEL_KINDS);
            return;
        }
        read_struct(r, KIND_FIELDS, ARRAY_LEN(KIND_FIELDS), &d->kinds[d->kind_count++]);
    }
}

static uint32_t read_layer_kinds(struct json_reader *r, struct model_desc *d) {
    uint32_t n = 0;
    (void)json_enter_array(r);
    while (json_next_item(r)) {
        uint64_t kind = 0;
        if (!json_u64(r, &kind) || n == MODEL_MAX_LAYERS || kind >= MODEL_KINDS) {
            (void)(r->failed != LAMINA_OK || json_refuse(r, LAMINA_DAMAGED, "layer %u is of no known kind", n));
            return n;
        }
        d->layer_kind[n++] = (uint8_t)kind;
    }
    return n;
}

static void read_floats(struct json_reader *r, float *values, uint32_t *count) {
    *count = 0;
    (void)json_enter_array(r);
    while (json_next_item(r)) {
        double value = 0;
        if (!json_double(r, &value) || *count == MODEL_LONG_PAIRS) {
            (void)(r->failed != LAMINA_OK || json_refuse(r, LAMINA_DAMAGED, "too many rotary factors"));
            return;
        }
        values[(*count)++] = (float)value;
    }
}

static void read_name(struct json_reader *r, char *out, size_t len) {
    struct str text = {.limit = 4096};
    if (json_string(r, &text)) {
        (void)snprintf(out, len, "%s", str_text(&text));
    }
    str_drop(&text);
}

struct reading {
    uint64_t seen;            /* fields of the description */
    uint32_t layer_kinds, short_count, long_count;
    bool routed;
};

static bool plausible_rope(const struct model_rope *r, const struct model_kind *k) {
    return r->kind < MODEL_ROPE_KINDS && r->dim >= 2 && r->dim % 2 == 0 && r->dim <= k->head_dim && r->theta > 1.0 &&
           r->factor > 0.0 && r->dim / 2 <= MODEL_LONG_PAIRS;
}

static bool plausible_mixer(const struct model_kind *k) {
    if (k->mixer == MODEL_ATTENTION) {
        return k->q_latent == 0 && k->kv_latent == 0 && k->plain_dim == 0 && k->taps == 0 &&
               (uint64_t)k->heads * k->value_dim <= 1 << 22 && !(k->value_dim != 0 && (k->value_is_key || k->gated_out));
    }
    if (k->mixer == MODEL_DELTA) {
        return k->taps >= 2 && k->taps <= 64 && k->head_dim <= KERN_DELTA_DIM && k->value_dim >= 1 &&
               k->value_dim <= KERN_DELTA_DIM && k->decay_latent <= 1 << 20 && k->gate_latent <= 1 << 20 &&
               k->rope == MODEL_NO_ROPE;
    }
    return k->mixer == MODEL_LATENT && k->kv_latent >= 1 && k->kv_latent <= 1 << 14 && k->q_latent <= 1 << 20 &&
           k->plain_dim >= 1 && k->plain_dim < k->head_dim && k->value_dim >= 1 && k->value_dim <= 4096 &&
           (uint64_t)k->heads * (k->kv_latent + k->head_dim) <= 1 << 24;
}

static bool plausible_kind(const struct model_desc *d, const struct model_kind *k) {
    const struct kern_routing *t = &d->routing;
    bool grouped = t->groups == 0 || (k->experts % t->groups == 0 && t->kept_groups >= 1 && t->kept_groups <= t->groups &&
                                      t->top_k <= k->experts / t->groups * t->kept_groups);
    bool routed =
        k->experts == 0 || (k->experts <= MODEL_MAX_EXPERTS && k->expert_ffn >= 1 && k->expert_ffn <= 1 << 22 &&
                            k->shared_ffn <= 1 << 22 && t->top_k >= 1 && t->top_k <= k->experts && t->top_k <= KERN_MAX_TOP_K &&
                            (uint64_t)t->top_k * d->hidden <= 1 << 24 && t->score < KERN_SCORES && grouped);
    bool shaped = routed && plausible_mixer(k) && k->kv_heads >= 1 && k->heads >= k->kv_heads && k->heads <= 1 << 16 &&
                  k->heads % k->kv_heads == 0 && k->head_dim >= 2 && k->head_dim <= 4096 && k->head_dim % 2 == 0 &&
                  (uint64_t)k->heads * k->head_dim <= 1 << 22 && k->ffn >= 1 && k->ffn <= 1 << 22;
    return shaped && (k->rope == MODEL_NO_ROPE || (k->rope < MODEL_ROPES && plausible_rope(&d->rope[k->rope], k)));
}

static bool plausible_layers(const struct model_desc *d) {
    bool fine = d->layers >= 1 && d->layers <= MODEL_MAX_LAYERS && d->kind_count >= 1;
    for (uint32_t i = 0; fine && i < d->kind_count; i++) {
        fine = plausible_kind(d, &d->kinds[i]) && (d->kinds[i].heads == d->kinds[0].heads || !d->alibi);
    }
    for (uint32_t i = 0; fine && i < d->layers; i++) {
        fine = d->layer_kind[i] < d->kind_count;
    }
    return fine;
}

/* All that the description of a store must have. */
static bool complete(const struct model_desc *d, const struct reading *w) {
    uint32_t pairs = d->rope[0].kind == MODEL_ROPE_LONG ? d->rope[0].dim / 2 : 0;
    return w->seen == (UINT64_C(1) << ARRAY_LEN(DESC_FIELDS)) - 1 && w->routed && w->layer_kinds == d->layers &&
           w->short_count == pairs && w->long_count == pairs;
}

bool model_plausible(const struct model_desc *d) {
    return plausible_layers(d) && d->hidden >= 1 && d->hidden <= 1 << 20 && d->vocab >= 1 &&
           d->vocab <= 1 << 24 && d->max_positions >= 1 && d->norm_eps >= 0 && d->norm < MODEL_NORMS &&
           d->wiring < MODEL_WIRINGS && (!d->dense_beside || d->wiring == MODEL_SANDWICH) && d->qk_norm < MODEL_QK_NORMS &&
           d->act < KERN_ACTS && d->qkv_clip >= 0.0f && d->value_scale >= 0.0f && d->routing.jitter >= 0.0f &&
           d->query_rule < MODEL_QUERY_RULES && (d->query_rule == MODEL_QUERY_PLAIN || d->query_length >= 1);
}

static void read_member(struct json_reader *r, struct span key, struct model_desc *d, struct reading *w) {
    size_t i = find_field(key, DESC_FIELDS, ARRAY_LEN(DESC_FIELDS));
    size_t rare = find_field(key, RARE_FIELDS, ARRAY_LEN(RARE_FIELDS));
    if (i < ARRAY_LEN(DESC_FIELDS)) {
        (void)read_field(r, &DESC_FIELDS[i], d);
        w->seen |= UINT64_C(1) << i;
    } else if (span_is(key, "family")) {
        read_name(r, d->family, sizeof(d->family));
    } else if (span_is(key, "architecture")) {
        read_name(r, d->architecture, sizeof(d->architecture));
    } else if (rare < ARRAY_LEN(RARE_FIELDS)) {
        (void)read_field(r, &RARE_FIELDS[rare], d);
    } else if (span_is(key, "routing")) {
        read_struct(r, ROUTING_FIELDS, ARRAY_LEN(ROUTING_FIELDS), &d->routing);
        w->routed = true;
    } else if (span_is(key, "rope")) {
        read_ropes(r, d);
    } else if (span_is(key, "rope_short")) {
        read_floats(r, d->rope_short, &w->short_count);
    } else if (span_is(key, "rope_long")) {
        read_floats(r, d->rope_long, &w->long_count);
    } else if (span_is(key, "kinds")) {
        read_kinds(r, d);
    } else if (span_is(key, "layer_kinds")) {
        w->layer_kinds = read_layer_kinds(r, d);
    } else if (span_is(key, "bos_id")) {
        (void)json_i64(r, &d->bos_id);
    } else if (span_is(key, "eos_ids")) {
        (void)config_read_ids(r, d->eos_ids, &d->eos_count, ARRAY_LEN(d->eos_ids));
    } else {
        (void)unknown_field(r, key);
    }
}

lamina_status model_desc_read(struct span json, struct model_desc *desc, struct lamina_error *err) {
    struct model_desc d = {.bos_id = -1};
    struct reading w = {.seen = 0};
    struct str scratch = {.limit = JSON_MAX_KEY + 64};
    struct json_reader r;
    struct span key;
    json_init(&r, json, "model description", &scratch, err);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        read_member(&r, key, &d, &w);
    }
    lamina_status status = json_finish(&r);
    str_drop(&scratch);
    if (status == LAMINA_OK && model_family_of_name(span_of_text(d.family)) == NULL) {
        status = base_fail(err, LAMINA_UNSUPPORTED, "model description: family \"%s\" is not known to this version", d.family);
    }
    if (status == LAMINA_OK && !(complete(&d, &w) && model_plausible(&d))) {
        status = base_fail(err, LAMINA_DAMAGED, "model description: a field is missing or out of range");
    }
    if (status == LAMINA_OK) {
        *desc = d;
    }
    return status;
}
