/* SPDX-License-Identifier: Apache-2.0
 *
 * config.json of the small model: read, checked for being a plain Llama, and written again with the large shape. Keys
 * that are not about the shape keep their place and text, so RoPE settings, token ids and whatever else the
 * checkpoint says come through. The presets are the published shapes of Llama 3; "1b" is 2.0 GB of bf16. */
#include <stddef.h>

#include "app/tools/inflate_priv.h"
#include "base/compiler.h"
#include "base/json.h"

enum { MOST_HEAD_ROWS = 1 << 24 };

static const struct {
    const char *name;
    struct inflate_shape shape;
} presets[] = {
    {"1b", {2048, 16, 16, 4, 128, 7168, 32768, false}},
    {"8b", {4096, 32, 32, 8, 128, 14336, 128256, false}},
    {"70b", {8192, 80, 64, 8, 128, 28672, 128256, false}},
    {"405b", {16384, 126, 128, 8, 128, 53248, 128256, false}},
};

bool inflate_preset(const char *name, struct inflate_shape *shape) {
    for (size_t i = 0; i < ARRAY_LEN(presets); i++) {
        if (strcmp(presets[i].name, name) == 0) {
            *shape = presets[i].shape;
            return true;
        }
    }
    return false;
}

/* The numbers of a shape: key, place, largest value believed. */
static const struct {
    const char *key;
    size_t offset;
    uint32_t most;
} numbers[] = {
    {"hidden_size", offsetof(struct inflate_shape, hidden), 1u << 20},
    {"num_hidden_layers", offsetof(struct inflate_shape, layers), 4096},
    {"num_attention_heads", offsetof(struct inflate_shape, heads), 1u << 16},
    {"num_key_value_heads", offsetof(struct inflate_shape, kv_heads), 1u << 16},
    {"head_dim", offsetof(struct inflate_shape, head_dim), 1u << 16},
    {"intermediate_size", offsetof(struct inflate_shape, ffn), 1u << 22},
    {"vocab_size", offsetof(struct inflate_shape, vocab), 1u << 24},
};

static uint32_t *number_of(struct inflate_shape *shape, size_t which) {
    return (uint32_t *)(void *)((char *)shape + numbers[which].offset);
}

struct reading {
    struct json_reader r;
    struct inflate_config *out;
    struct str architecture, act;
    bool saw_architecture;
};

static void refuse_feature(struct reading *d, const char *key, const char *why) {
    (void)json_refuse(&d->r, LAMINA_UNSUPPORTED, "\"%s\": %s; only a plain Llama can be inflated", key, why);
}

static void read_number(struct reading *d, size_t which) {
    uint64_t value = 0;
    if (json_null(&d->r) || !json_u64(&d->r, &value)) {
        return;
    }
    if (value == 0 || value > numbers[which].most) {
        (void)json_refuse(&d->r, LAMINA_DAMAGED, "\"%s\" is %llu, expected 1 to %u", numbers[which].key,
                          (unsigned long long)value, numbers[which].most);
        return;
    }
    *number_of(&d->out->shape, which) = (uint32_t)value;
}

static void read_architectures(struct reading *d) {
    if (json_null(&d->r) || !json_enter_array(&d->r)) {
        return;
    }
    while (json_next_item(&d->r)) {
        if (d->saw_architecture) {
            (void)json_skip(&d->r);
        } else {
            d->saw_architecture = json_string(&d->r, &d->architecture);
        }
    }
}

/* rope_scaling {type | rope_type, ...} or the newer rope_parameters {rope_type, partial_rotary_factor, ...}. */
static void read_rope(struct reading *d) {
    struct str kind = {0};
    struct span key;
    if (json_null(&d->r) || !json_enter_object(&d->r)) {
        return;
    }
    while (json_next_key(&d->r, &key)) {
        double part = 1;
        if ((span_is(key, "rope_type") || span_is(key, "type")) && json_peek(&d->r) == JSON_STRING) {
            str_clear(&kind);
            (void)json_string(&d->r, &kind);
        } else if (span_is(key, "partial_rotary_factor") && json_peek(&d->r) == JSON_NUMBER) {
            d->out->partial_rotary |= json_double(&d->r, &part) && part < 1;
        } else {
            (void)json_skip(&d->r);
        }
    }
    if (kind.len > 0) {
        size_t len = kind.len < sizeof(d->out->rope) ? kind.len : sizeof(d->out->rope) - 1;
        memcpy(d->out->rope, kind.ptr, len);
        d->out->rope[len] = 0;
    }
    str_drop(&kind);
}

static void read_key(struct reading *d, struct span key) {
    struct json_reader *r = &d->r;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (span_is(key, numbers[i].key)) {
            read_number(d, i);
            return;
        }
    }
    double part = 1;
    if (span_is(key, "architectures")) {
        read_architectures(d);
    } else if (span_is(key, "hidden_act") && json_peek(r) == JSON_STRING) {
        (void)json_string(r, &d->act);
    } else if (span_is(key, "tie_word_embeddings") && json_peek(r) == JSON_BOOL) {
        (void)json_bool(r, &d->out->shape.tied);
    } else if (span_is(key, "rms_norm_eps") && json_peek(r) == JSON_NUMBER) {
        (void)json_double(r, &d->out->eps);
    } else if (span_is(key, "partial_rotary_factor") && json_peek(r) == JSON_NUMBER) {
        d->out->partial_rotary |= json_double(r, &part) && part < 1;
    } else if (span_is(key, "rope_scaling") || span_is(key, "rope_parameters")) {
        read_rope(d);
    } else if (span_is(key, "quantization_config") && json_peek(r) == JSON_OBJECT) {
        refuse_feature(d, "quantization_config", "the weights are quantised");
    } else {
        (void)json_skip(r);
    }
}

static lamina_status check_small(struct reading *d, struct lamina_error *err) {
    struct inflate_shape *s = &d->out->shape;
    if (!d->saw_architecture || !span_is(str_span(&d->architecture), "LlamaForCausalLM")) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "config.json: the architecture is \"%s\"; only LlamaForCausalLM can be "
                         "inflated",
                         d->saw_architecture ? str_text(&d->architecture) : "");
    }
    if (d->act.len > 0 && !span_is(str_span(&d->act), "silu") && !span_is(str_span(&d->act), "swish")) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "config.json: \"hidden_act\" is \"%s\"; only \"silu\" can be inflated", str_text(&d->act));
    }
    if (s->kv_heads == 0) {
        s->kv_heads = s->heads;
    }
    if (s->head_dim == 0 && s->heads != 0 && s->hidden % s->heads == 0) {
        s->head_dim = s->hidden / s->heads;
    }
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (*number_of(s, i) == 0) {
            return base_fail(err, LAMINA_DAMAGED, "config.json: \"%s\" is missing", numbers[i].key);
        }
    }
    if (s->heads % s->kv_heads != 0 || s->head_dim % 2 != 0) {
        return base_fail(err, LAMINA_DAMAGED,
                         "config.json: %u heads with %u KV heads of %u dimensions: expected a whole "
                         "number of heads per KV head and an even dimension",
                         s->heads, s->kv_heads, s->head_dim);
    }
    if (!(d->out->eps > 0 && d->out->eps < 1)) {
        return base_fail(err, LAMINA_DAMAGED, "config.json: \"rms_norm_eps\" is %g, expected between 0 and 1",
                         d->out->eps);
    }
    return LAMINA_OK;
}

lamina_status inflate_config_read(struct span json, struct inflate_config *out, struct lamina_error *err) {
    *out = (struct inflate_config){.eps = 1e-6, .rope = "default"};
    struct reading d = {.out = out};
    struct str scratch = {0};
    struct span key;
    json_init(&d.r, json, "config.json", &scratch, err);
    if (json_enter_object(&d.r)) {
        while (json_next_key(&d.r, &key)) {
            read_key(&d, key);
        }
    }
    lamina_status status = json_finish(&d.r);
    if (status == LAMINA_OK) {
        status = check_small(&d, err);
    }
    str_drop(&scratch);
    str_drop(&d.architecture);
    str_drop(&d.act);
    return status;
}

/* The values that change, each with what config.json shall say. */
enum { CHANGES = ARRAY_LEN(numbers) + 2 };

static const char *change_key(size_t which) {
    return which < ARRAY_LEN(numbers)    ? numbers[which].key
           : which == ARRAY_LEN(numbers) ? "rms_norm_eps"
                                         : "tie_word_embeddings";
}

static void write_change(struct str *out, size_t which, const struct inflate_config *small,
                         const struct inflate_shape *big) {
    struct inflate_shape shape = *big;
    if (which < ARRAY_LEN(numbers)) {
        str_printf(out, "%u", *number_of(&shape, which));
    } else if (which == ARRAY_LEN(numbers)) {
        json_write_double(out, small->eps * small->shape.hidden / big->hidden);
    } else {
        str_add_text(out, big->tied ? "true" : "false");
    }
}

static void write_member(struct str *out, struct span key) {
    str_add_text(out, out->len > 1 ? ",\n  " : "\n  ");
    json_write_string(out, key);
    str_add_text(out, ": ");
}

lamina_status inflate_config_write(struct span json, const struct inflate_config *small,
                                   const struct inflate_shape *big, struct str *out, struct lamina_error *err) {
    struct json_reader r;
    struct str scratch = {0};
    struct span key;
    struct span raw = {0};
    bool written[CHANGES] = {false};
    json_init(&r, json, "config.json", &scratch, err);
    str_clear(out);
    str_add_byte(out, '{');
    if (json_enter_object(&r)) {
        while (json_next_key(&r, &key)) {
            size_t change = 0;
            while (change < CHANGES && !span_is(key, change_key(change))) {
                change++;
            }
            write_member(out, key);
            (void)json_skip_raw(&r, &raw);
            if (change < CHANGES) {
                write_change(out, change, small, big);
                written[change] = true;
            } else {
                str_add_span(out, raw);
            }
        }
    }
    for (size_t i = 0; i < CHANGES; i++) {
        if (!written[i]) {
            write_member(out, span_of_text(change_key(i)));
            write_change(out, i, small, big);
        }
    }
    str_add_text(out, "\n}\n");
    lamina_status status = json_finish(&r);
    if (status == LAMINA_OK && out->failed) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory for config.json");
    }
    str_drop(&scratch);
    return status;
}

int inflate_head_power(uint32_t small_dim, uint32_t big_dim) {
    uint64_t dim = small_dim;
    for (int k = 0; dim <= big_dim; k++, dim *= 4) {
        if (dim == big_dim) {
            return k;
        }
    }
    return -1;
}

static lamina_status check_heads(const struct inflate_config *c, const struct inflate_shape *b,
                                 struct lamina_error *err) {
    const struct inflate_shape *s = &c->shape;
    int power = inflate_head_power(s->head_dim, b->head_dim);
    if (power < 0) {
        return base_fail(err, LAMINA_USAGE,
                         "--head-dim %u is not %u times a power of 4, so scores could not be scaled "
                         "exactly: choose %u, %u or %u",
                         b->head_dim, s->head_dim, s->head_dim, s->head_dim * 4, s->head_dim * 16);
    }
    bool by_frequency =
        strcmp(c->rope, "default") == 0 || strcmp(c->rope, "linear") == 0 || strcmp(c->rope, "llama3") == 0;
    if (power > 0 && (!by_frequency || c->partial_rotary)) {
        return base_fail(err, LAMINA_USAGE,
                         "--head-dim %u: RoPE %s depends on the number of rotated dimensions, so it "
                         "would not stay the same: keep --head-dim %u",
                         b->head_dim, by_frequency ? "with a partial_rotary_factor" : c->rope, s->head_dim);
    }
    if (b->kv_heads == 0 || b->heads % b->kv_heads != 0) {
        return base_fail(err, LAMINA_USAGE, "--heads %u is no multiple of --kv-heads %u", b->heads, b->kv_heads);
    }
    uint32_t small_group = s->heads / s->kv_heads;
    uint32_t group = b->heads / b->kv_heads;
    uint64_t copies = (small_group + group - 1) / group;
    if (copies * s->kv_heads > b->kv_heads) {
        return base_fail(err, LAMINA_USAGE,
                         "%u heads in groups of %u cannot keep the KV heads of %u heads in groups of "
                         "%u: at least %llu KV heads are needed (--kv-heads), or wider groups (--heads)",
                         b->heads, group, s->heads, small_group, (unsigned long long)(copies * s->kv_heads));
    }
    return LAMINA_OK;
}

lamina_status inflate_shape_check(const struct inflate_config *c, const struct inflate_shape *b,
                                  struct lamina_error *err) {
    struct inflate_shape small = c->shape;
    struct inflate_shape big = *b;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uint32_t had = *number_of(&small, i);
        uint32_t wanted = *number_of(&big, i);
        if (wanted > numbers[i].most) {
            return base_fail(err, LAMINA_USAGE, "%s %u is beyond %u", numbers[i].key, wanted, numbers[i].most);
        }
        /* KV heads have their own rule. */
        if (wanted < had && numbers[i].offset != offsetof(struct inflate_shape, kv_heads)) {
            return base_fail(err, LAMINA_USAGE, "%s %u is less than the %u of the small model: it can only grow",
                             numbers[i].key, wanted, had);
        }
    }
    if ((uint64_t)big.heads * big.head_dim > MOST_HEAD_ROWS) {
        return base_fail(err, LAMINA_USAGE, "%u heads of %u dimensions are more than %u rows", big.heads, big.head_dim,
                         (unsigned)MOST_HEAD_ROWS);
    }
    LAMINA_TRY(check_heads(c, b, err));
    if (big.tied && !small.tied) {
        return base_fail(err, LAMINA_USAGE,
                         "the small model has an output matrix of its own, which a tied model could "
                         "not hold: use --untied");
    }
    if (big.vocab > small.vocab && big.hidden == small.hidden) {
        return base_fail(err, LAMINA_USAGE,
                         "a vocabulary padded from %u to %u ids needs one hidden dimension more to keep "
                         "the new ids out: choose --hidden above %u, or --vocab %u",
                         small.vocab, big.vocab, small.hidden, small.vocab);
    }
    return LAMINA_OK;
}
