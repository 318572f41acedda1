/* SPDX-License-Identifier: Apache-2.0
 * The inflate tool's core over a small checkpoint made in memory: which bytes go where, that any slice is the same
 * bytes as the whole, that shapes which cannot be exact are refused with a reason, and that files do not depend on
 * threads. That the text stays the same is proved with logits by tools/inflate_check.py. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/tools/inflate_priv.h"
#include "base/compiler.h"

/* ---- a small checkpoint ---- */

static const char CONFIG[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 24, \"num_hidden_layers\": 2,\n"
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 8,\n"
    "\"intermediate_size\": 20, \"vocab_size\": 40, \"rms_norm_eps\": 1e-05,\n"
    "\"rope_theta\": 10000.0, \"my_key\": {\"a\": [1, 2]}, \"tie_word_embeddings\": true";

enum { SMALL_TENSORS = 24 };

struct small {
    struct lamina_source source;
    const char *dtype;
    char config[1024];
    char names[SMALL_TENSORS][80];
    struct lamina_source_tensor tensors[SMALL_TENSORS];
    uint64_t bytes_read;
};

static uint32_t weight_bits(const char *dtype, uint64_t tensor, uint64_t at) {
    uint64_t x = (tensor + 1) * UINT64_C(0x9E3779B97F4A7C15) + at * UINT64_C(0xD1B54A32D192ED03);
    x ^= x >> 29;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 32;
    float value = ((float)(x & 0xFFFF) - 32767.5f) * 0x1p-19f; /* +-1/16, never 0 */
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    if (strcmp(dtype, "F32") == 0) {
        return bits;
    }
    return strcmp(dtype, "BF16") == 0 ? bits >> 16 : ((x & 1) << 15 | 0x2400 | (x >> 8 & 0x3FF)) & 0xFFFF;
}

static lamina_status small_tensor(void *user, uint32_t index, struct lamina_source_tensor *out,
                                  struct lamina_error *err) {
    (void)err;
    *out = ((const struct small *)user)->tensors[index];
    return LAMINA_OK;
}

static lamina_status small_read(void *user, uint32_t index, uint64_t offset, void *dst, size_t len,
                                struct lamina_error *err) {
    struct small *s = (struct small *)user;
    (void)err;
    s->bytes_read += len;
    uint32_t size = strcmp(s->tensors[index].dtype, "F32") == 0 ? 4 : 2;
    for (size_t i = 0; i < len; i++) {
        uint32_t bits = weight_bits(s->tensors[index].dtype, index, (offset + i) / size);
        ((uint8_t *)dst)[i] = (uint8_t)(bits >> 8 * ((offset + i) % size));
    }
    return LAMINA_OK;
}

static lamina_status small_file(void *user, const char *name, char **bytes, size_t *len, struct lamina_error *err) {
    const struct small *s = (const struct small *)user;
    const char *text = strcmp(name, "config.json") == 0 ? s->config : strcmp(name, "tokenizer.json") == 0 ? "{}" : NULL;
    if (text == NULL) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s: not there", name);
    }
    *bytes = strdup(text);
    *len = strlen(text);
    return LAMINA_OK;
}

static void add(struct small *s, const char *name, uint64_t rows, uint64_t cols) {
    uint32_t i = s->source.tensor_count++;
    (void)snprintf(s->names[i], sizeof(s->names[i]), "%s", name);
    s->tensors[i] = (struct lamina_source_tensor){
        .name = s->names[i], .dtype = s->dtype, .rank = cols > 0 ? 2 : 1, .shape = {rows, cols}};
}

static void add_layer(struct small *s, unsigned layer) {
    static const struct {
        const char *name;
        uint64_t rows, cols;
    } of_layer[] = {{"input_layernorm", 24, 0},   {"self_attn.q_proj", 32, 24}, {"self_attn.k_proj", 16, 24},
                    {"self_attn.v_proj", 16, 24}, {"self_attn.o_proj", 24, 32}, {"post_attention_layernorm", 24, 0},
                    {"mlp.gate_proj", 20, 24},    {"mlp.up_proj", 20, 24},      {"mlp.down_proj", 24, 20}};
    for (size_t i = 0; i < ARRAY_LEN(of_layer); i++) {
        char name[80];
        (void)snprintf(name, sizeof(name), "model.layers.%u.%s.weight", layer, of_layer[i].name);
        add(s, name, of_layer[i].rows, of_layer[i].cols);
    }
}

static void small_init(struct small *s, const char *dtype, const char *more_config) {
    *s = (struct small){.dtype = dtype};
    s->source = (struct lamina_source){
        .size = sizeof(s->source), .user = s, .tensor = small_tensor, .read = small_read, .file = small_file};
    (void)snprintf(s->config, sizeof(s->config), "%s%s}", CONFIG, more_config);
    add(s, "model.embed_tokens.weight", 40, 24);
    add_layer(s, 0);
    add_layer(s, 1);
    add(s, "model.norm.weight", 24, 0);
}

static const struct inflate_shape BIG = {48, 4, 12, 3, 32, 50, 64, false};

static struct inflate *open_big(struct small *s, const struct inflate_shape *shape, uint64_t seed) {
    struct inflate *inf = NULL;
    struct lamina_error err = {0};
    lamina_status status = inflate_open(&inf, &s->source, shape, seed, &err);
    if (status != LAMINA_OK) {
        fail_msg("%s", err.message);
    }
    return inf;
}

static uint8_t *whole(struct inflate *inf, uint32_t tensor) {
    struct lamina_error err = {0};
    uint8_t *bytes = (uint8_t *)malloc(inf->tensors[tensor].bytes);
    assert_non_null(bytes);
    assert_int_equal(inflate_fill(inf, tensor, 0, bytes, inf->tensors[tensor].bytes, &err), 0);
    return bytes;
}

static uint32_t find(const struct inflate *inf, const char *name) {
    for (uint32_t i = 0; i < inf->tensor_count; i++) {
        if (strcmp(inf->tensors[i].name, name) == 0) {
            return i;
        }
    }
    fail_msg("no tensor %s", name);
    return 0;
}

/* ---- formats and draws ---- */

static void test_formats(void **state) {
    (void)state;
    const struct inflate_format *bf16 = inflate_format_find("BF16");
    const struct inflate_format *f16 = inflate_format_find("F16");
    const struct inflate_format *f32 = inflate_format_find("F32");
    assert_null(inflate_format_find("F8_E4M3"));
    const uint16_t halves[] = {0x3C00, 0xC000, 0x0001, 0x7BFF, 0x8000};
    const double values[] = {1, -2, 0x1p-24, 65504, 0};
    for (size_t i = 0; i < ARRAY_LEN(halves); i++) {
        assert_true(inflate_number(f16, &halves[i]) == values[i]);
    }
    for (int e = -24; e <= 15; e++) { /* subnormals included */
        uint16_t bits = (uint16_t)inflate_power_bits(f16, e, e % 2 != 0);
        assert_true(inflate_number(f16, &bits) == ldexp(e % 2 != 0 ? -1 : 1, e));
        uint32_t doubled = bits;
        bool fits = inflate_scale(f16, &doubled, 2);
        assert_int_equal(fits, e + 2 <= 15);
        assert_true(!fits || doubled == inflate_power_bits(f16, e + 2, e % 2 != 0));
    }
    assert_int_equal(inflate_power_bits(f16, -25, false), 0);
    uint32_t bits = inflate_power_bits(f32, -140, true);
    float value = 0;
    memcpy(&value, &bits, 4);
    assert_true(value == -0x1p-140f);
    bits = inflate_tiny(bf16, 0xBD93);
    uint16_t tiny = (uint16_t)bits;
    const uint16_t natural = 0xBD93;
    assert_true(inflate_number(bf16, &tiny) == ldexp(inflate_number(bf16, &natural), -40));
    assert_int_equal(inflate_tiny(bf16, 0x8000), 0x8000);
    assert_int_equal(inflate_tiny(f16, 0xBD93), 0x8000);
}

static void test_draws_are_uniform_and_sliceable(void **state) {
    (void)state;
    enum { N = 300, COUNT = 60000 };
    static uint16_t table[N], all[COUNT], part[COUNT];
    static uint32_t seen[N];
    const struct inflate_format *f = inflate_format_find("BF16");
    for (uint16_t i = 0; i < N; i++) {
        table[i] = i;
        seen[i] = 0;
    }
    uint64_t key = inflate_row_key(inflate_key(3, "x"), 9);
    inflate_draw(f, all, table, N, key, 0, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(all[i] < N);
        seen[all[i]]++;
    }
    for (size_t i = 0; i < N; i++) { /* 200 expected, deviation 14 */
        assert_in_range(seen[i], 120, 290);
    }
    for (size_t first = 0; first < 1100; first += first < 20 ? 1 : 271) {
        for (size_t count = 1; count < 3000; count = count * 3 + 1) {
            inflate_draw(f, part, table, N, key, first, count);
            assert_memory_equal(part, all + first, 2 * count);
        }
    }
    inflate_draw(f, part, table, N, inflate_row_key(inflate_key(4, "x"), 9), 0, COUNT);
    assert_memory_not_equal(part, all, sizeof(all));
}

/* ---- rules ---- */

/* Every small row is copied to its place (and its copies), and nothing else is copied. */
static void check_rows(const struct inflate_pair *p, enum inflate_role role, uint64_t copies) {
    enum inflate_axis axis = inflate_role_info(role)->rows;
    uint64_t small = inflate_axis_len(&p->small, axis);
    uint64_t big = inflate_axis_len(&p->big, axis);
    uint64_t copied = 0;
    uint64_t last = 0;
    for (uint64_t i = 0; i < small; i++) {
        uint64_t place = inflate_place(p, axis, i);
        assert_true(place < big && (i == 0 || place > last)); /* sums keep their order */
        assert_int_equal(inflate_row_rule(p, role, false, place).source, i);
        last = place;
    }
    for (uint64_t i = 0; i < big; i++) {
        struct inflate_row_rule rule = inflate_row_rule(p, role, false, i);
        copied += rule.real == INFLATE_COPY;
        assert_int_equal(rule.real == INFLATE_COPY, rule.source >= 0);
        assert_true(inflate_row_rule(p, role, true, i).source < 0);
    }
    assert_int_equal(copied, small * copies);
}

static void test_rows_have_their_places(void **state) {
    (void)state;
    static const struct inflate_shape small = {24, 2, 6, 2, 8, 20, 40, true};
    static const struct {
        struct inflate_shape big;
        uint64_t copies;
    } cases[] = {
        {{48, 4, 12, 4, 8, 50, 64, true}, 1},   {{48, 4, 12, 3, 32, 50, 64, true}, 1},
        {{24, 2, 12, 4, 128, 20, 40, true}, 1}, {{48, 4, 8, 8, 32, 50, 64, true}, 3},
        {{48, 4, 10, 5, 32, 50, 64, true}, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct inflate_pair p;
        inflate_pair_init(&p, &small, &cases[i].big);
        assert_int_equal(p.kv_copies, cases[i].copies);
        check_rows(&p, INFLATE_Q, 1);
        check_rows(&p, INFLATE_K, cases[i].copies);
        check_rows(&p, INFLATE_V_BIAS, cases[i].copies);
        check_rows(&p, INFLATE_GATE, 1);
        check_rows(&p, INFLATE_O, 1);
    }
}

static void test_what_reaches_the_stream_is_tiny(void **state) {
    (void)state;
    struct small s;
    small_init(&s, "BF16", "");
    struct inflate *inf = open_big(&s, &BIG, 1);
    const struct inflate_format *f = inflate_format_find("BF16");
    for (uint32_t t = 0; t < inf->tensor_count; t++) {
        const struct inflate_tensor *tensor = &inf->tensors[t];
        if (tensor->role != INFLATE_O && tensor->role != INFLATE_DOWN) {
            continue;
        }
        uint8_t *bytes = whole(inf, t);
        uint64_t natural = 0;
        for (uint64_t i = 0; i < tensor->rows * tensor->cols; i++) {
            double value = fabs(inflate_number(f, bytes + 2 * i));
            natural += value > 1e-10;
            assert_int_equal(value == 0, i / tensor->cols == 24); /* the reserved dimension is never written */
        }
        assert_int_equal(natural, tensor->extra_layer ? 0 : tensor->from->rows * tensor->from->cols);
        free(bytes);
    }
    inflate_close(&inf);
}

static void test_queries_are_scaled_and_norms_rescaled(void **state) {
    (void)state;
    struct small s;
    small_init(&s, "F16", "");
    struct inflate *inf = open_big(&s, &BIG, 1);
    const struct inflate_format *f = inflate_format_find("F16");
    uint8_t *q = whole(inf, find(inf, "model.layers.0.self_attn.q_proj.weight"));
    for (uint64_t row = 0; row < 32; row++) {
        uint64_t place = inflate_place(&inf->pair, INFLATE_AXIS_Q, row);
        for (uint64_t col = 0; col < 24; col++) {
            uint16_t bits = (uint16_t)weight_bits("F16", 2, row * 24 + col);
            assert_true(inflate_number(f, q + 2 * (place * 48 + col)) == 2 * inflate_number(f, &bits));
        }
    }
    uint8_t *norm = whole(inf, find(inf, "model.norm.weight"));
    for (uint64_t i = 0; i < 24; i++) {
        uint16_t bits = (uint16_t)weight_bits("F16", 19, i);
        float gain = 0;
        memcpy(&gain, norm + 4 * i, 4);
        assert_true(gain == (float)(inflate_number(f, &bits) * sqrt(0.5)));
    }
    free(q);
    free(norm);
    inflate_close(&inf);
}

static void test_padded_ids_are_barred(void **state) {
    (void)state;
    struct small s;
    for (int tied = 0; tied < 2; tied++) {
        small_init(&s, "BF16", "");
        struct inflate_shape shape = BIG;
        shape.tied = tied != 0;
        struct inflate *inf = open_big(&s, &shape, 1);
        const struct inflate_format *f = inflate_format_find("BF16");
        uint8_t *embed = whole(inf, 0);
        uint8_t *head = shape.tied ? embed : whole(inf, find(inf, "lm_head.weight"));
        double carried = inflate_number(f, embed + 2 * 24);
        assert_true(carried > 0 && carried < 1e-3);
        for (uint64_t id = 0; id < 64; id++) {
            double barrier = inflate_number(f, head + 2 * (id * 48 + 24));
            assert_true(id < 40 ? barrier == (shape.tied ? carried : 0) : barrier == -0x1p40);
            assert_true(id >= 40 || inflate_number(f, embed + 2 * (id * 48 + 24)) == carried);
        }
        /* A residual as large as the largest embedding could make it (layers only raise the bound). */
        double lowered = 0x1p40 * carried * (double)inf->guard.final_gain * sqrt(2) / 0.0625;
        assert_true(lowered > 1024 && lowered < 1e30);
        if (!shape.tied) {
            free(head);
        }
        free(embed);
        inflate_close(&inf);
    }
}

/* ---- slices ---- */

static void test_any_slice_is_the_same_bytes(void **state) {
    (void)state;
    static const char *const dtypes[] = {"BF16", "F16", "F32"};
    static const size_t lengths[] = {1, 2, 3, 7, 97, 1000, 4099};
    for (size_t d = 0; d < ARRAY_LEN(dtypes); d++) {
        struct small s;
        struct lamina_error err = {0};
        small_init(&s, dtypes[d], "");
        struct inflate *inf = open_big(&s, &BIG, 5);
        for (uint32_t t = 0; t < inf->tensor_count; t++) {
            uint64_t size = inf->tensors[t].bytes;
            uint8_t *all = whole(inf, t);
            uint8_t part[4099];
            size_t k = t;
            for (uint64_t at = 0; at < size; k++) {
                size_t len = lengths[k % ARRAY_LEN(lengths)];
                len = len < size - at ? len : (size_t)(size - at);
                assert_int_equal(inflate_fill(inf, t, at, part, len, &err), 0);
                assert_memory_equal(part, all + at, len);
                at += len;
            }
            assert_int_not_equal(inflate_fill(inf, t, size - 1, part, 2, &err), 0);
            err = (struct lamina_error){0};
            free(all);
        }
        inflate_close(&inf);
    }
}

static void test_seed_changes_noise_only(void **state) {
    (void)state;
    struct small s;
    small_init(&s, "BF16", "");
    struct inflate *one = open_big(&s, &BIG, 1);
    struct inflate *same = open_big(&s, &BIG, 1);
    struct inflate *other = open_big(&s, &BIG, 2);
    uint32_t t = find(one, "model.layers.1.mlp.up_proj.weight");
    uint8_t *a = whole(one, t);
    uint8_t *b = whole(same, t);
    uint8_t *c = whole(other, t);
    assert_memory_equal(a, b, one->tensors[t].bytes);
    for (uint64_t row = 0; row < 50; row++) {
        assert_int_equal(memcmp(a + row * 96, c + row * 96, 48) == 0, row < 20);
        assert_int_not_equal(memcmp(a + row * 96 + 48, c + row * 96 + 48, 48), 0);
    }
    uint32_t layer2 = find(one, "model.layers.2.mlp.up_proj.weight");
    uint32_t layer3 = find(one, "model.layers.3.mlp.up_proj.weight");
    uint8_t *e = whole(one, layer2);
    uint8_t *f = whole(one, layer3);
    assert_memory_not_equal(e, f, one->tensors[layer2].bytes);
    free(a);
    free(b);
    free(c);
    free(e);
    free(f);
    inflate_close(&one);
    inflate_close(&same);
    inflate_close(&other);
}

/* A tensor larger than what is held of it: copied rows come from the source, drawn ones from the sample. */
static void test_large_tensors_are_sampled(void **state) {
    (void)state;
    struct small s;
    small_init(&s, "F32", ", \"vocab_size\": 300000");
    s.tensors[0].shape[0] = 300000; /* 28.8 MB */
    struct inflate_shape shape = BIG;
    shape.vocab = 300000;
    struct inflate *inf = open_big(&s, &shape, 1);
    const uint64_t rows[] = {0, 1, 2, 149999, 200001, 299999};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct lamina_error err = {0};
        uint32_t row[48];
        assert_int_equal(inflate_fill(inf, 0, rows[i] * sizeof(row), row, sizeof(row), &err), 0);
        for (uint64_t c = 0; c < 24; c++) {
            assert_int_equal(row[c], weight_bits("F32", 0, rows[i] * 24 + c));
        }
    }
    assert_true(s.bytes_read < 17u << 20);
    inflate_close(&inf);
}

/* ---- configuration and refusals ---- */

static void test_config_is_rewritten(void **state) {
    (void)state;
    struct small s;
    small_init(&s, "BF16", ", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0}");
    struct inflate *inf = open_big(&s, &BIG, 1);
    const char *json = str_text(&inf->config_json);
    static const char *const expected[] = {"\"hidden_size\": 48,",
                                           "\"num_hidden_layers\": 4,",
                                           "\"num_attention_heads\": 12,",
                                           "\"num_key_value_heads\": 3,",
                                           "\"head_dim\": 32,",
                                           "\"intermediate_size\": 50,",
                                           "\"vocab_size\": 64,",
                                           "\"rms_norm_eps\": 5e-06,",
                                           "\"tie_word_embeddings\": false",
                                           "\"my_key\": {\"a\": [1, 2]},",
                                           "\"rope_theta\": 10000.0,",
                                           "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0}"};
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        if (strstr(json, expected[i]) == NULL) {
            fail_msg("%s is not in %s", expected[i], json);
        }
    }
    struct inflate_config again;
    struct lamina_error err = {0};
    assert_int_equal(inflate_config_read(str_span(&inf->config_json), &again, &err), 0);
    assert_int_equal(again.shape.head_dim, 32);
    inflate_close(&inf);
}

static void expect_refusal(const char *more_config, const struct inflate_shape *shape, lamina_status code,
                           const char *words) {
    struct small s;
    struct inflate *inf = NULL;
    struct lamina_error err = {0};
    small_init(&s, "BF16", more_config);
    assert_int_equal(inflate_open(&inf, &s.source, shape, 0, &err), code);
    assert_null(inf);
    if (strstr(err.message, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    }
}

static void test_inexact_shapes_are_refused(void **state) {
    (void)state;
    struct inflate_shape b = BIG;
    b.head_dim = 16;
    expect_refusal("", &b, LAMINA_USAGE, "choose 8, 32 or 128");
    b = BIG;
    b.hidden = 24;
    expect_refusal("", &b, LAMINA_USAGE, "one hidden dimension more");
    b = BIG;
    b.ffn = 19;
    expect_refusal("", &b, LAMINA_USAGE, "intermediate_size 19 is less than the 20");
    b = BIG;
    b.kv_heads = 5;
    expect_refusal("", &b, LAMINA_USAGE, "no multiple");
    b = BIG;
    b.kv_heads = 1;
    expect_refusal("", &b, LAMINA_USAGE, "at least 2 KV heads");
    b = BIG;
    b.tied = true;
    expect_refusal(", \"tie_word_embeddings\": false", &b, LAMINA_USAGE, "--untied");
    expect_refusal(", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4}", &BIG, LAMINA_USAGE, "RoPE yarn");
    expect_refusal(", \"rope_parameters\": {\"rope_type\": \"dynamic\"}", &BIG, LAMINA_USAGE, "keep --head-dim 8");
    expect_refusal(", \"partial_rotary_factor\": 0.5", &BIG, LAMINA_USAGE, "partial_rotary_factor");
}

static void test_yarn_is_exact_with_the_same_head(void **state) {
    (void)state;
    struct small s;
    small_init(&s, "BF16", ", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4}");
    struct inflate_shape b = BIG;
    b.head_dim = 8;
    struct inflate *inf = open_big(&s, &b, 0);
    inflate_close(&inf);
}

static void test_other_models_are_refused(void **state) {
    (void)state;
    expect_refusal(", \"hidden_act\": \"gelu\"", &BIG, LAMINA_UNSUPPORTED, "hidden_act");
    expect_refusal(", \"quantization_config\": {}", &BIG, LAMINA_UNSUPPORTED, "quantised");
    expect_refusal(", \"intermediate_size\": 21", &BIG, LAMINA_DAMAGED, "expected 21 x 24");
    expect_refusal(", \"num_hidden_layers\": 1", &BIG, LAMINA_UNSUPPORTED, "no tensor of a plain Llama");
    expect_refusal(", \"num_hidden_layers\": 3", &BIG, LAMINA_DAMAGED,
                   "model.layers.2.input_layernorm.weight is missing");
    expect_refusal(", \"num_attention_heads\": 3", &BIG, LAMINA_DAMAGED, "whole number");
    expect_refusal(", \"rms_norm_eps\": 0", &BIG, LAMINA_DAMAGED, "rms_norm_eps");
    expect_refusal(", ", &BIG, LAMINA_DAMAGED, "config.json");
}

static void test_repeated_layers_must_be_noise(void **state) {
    (void)state;
    struct small s;
    struct lamina_error err = {0};
    const struct lamina_source *source = NULL;
    small_init(&s, "BF16", "");
    struct inflate *inf = open_big(&s, &BIG, 0);
    assert_int_equal(inflate_as_source(inf, 2, &source, &err), LAMINA_USAGE);
    assert_int_equal(inflate_as_source(inf, 3, &source, NULL), LAMINA_OK);
    assert_int_equal(source->distinct_layers, 3);
    assert_int_equal(source->first_repeated, 2);
    assert_true(inflate_bytes(inf, 3) < inflate_bytes(inf, 0));
    assert_int_equal(inflate_as_source(inf, 4, &source, NULL), LAMINA_OK);
    assert_int_equal(source->distinct_layers, 0);
    struct lamina_source_tensor t = {0};
    assert_int_equal(source->tensor(source->user, 1, &t, &err), LAMINA_OK);
    assert_string_equal(t.name, "model.layers.0.input_layernorm.weight");
    assert_string_equal(t.dtype, "F32");
    assert_int_equal(t.rank, 1);
    inflate_close(&inf);
}

/* ---- files ---- */

static char *read_file(const char *directory, const char *name, size_t *len) {
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    int fd = open(path, O_RDONLY);
    char *bytes = (char *)malloc(1 << 20);
    ssize_t n = fd >= 0 ? read(fd, bytes, 1 << 20) : -1;
    if (fd >= 0) {
        (void)close(fd);
    }
    *len = n >= 0 ? (size_t)n : SIZE_MAX;
    return bytes;
}

static bool stop_at_once(void *user, const struct lamina_progress *p) {
    (void)user;
    (void)p;
    return true;
}

static void remove_files(const char *directory) {
    static const char *const names[] = {"config.json",
                                        "tokenizer.json",
                                        "model.safetensors.index.json",
                                        "model-00001-of-00003.safetensors",
                                        "model-00002-of-00003.safetensors",
                                        "model-00003-of-00003.safetensors"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[256];
        (void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(directory), 0);
}

static void test_files_do_not_depend_on_threads(void **state) {
    (void)state;
    char one[] = "/tmp/lamina-inflate-XXXXXX";
    char two[] = "/tmp/lamina-inflate-XXXXXX";
    struct small s;
    struct lamina_error err = {0};
    small_init(&s, "BF16", "");
    assert_non_null(mkdtemp(one));
    assert_non_null(mkdtemp(two));
    struct inflate *inf = open_big(&s, &BIG, 0);
    struct inflate_write_options o = {.directory = one, .shard_bytes = inflate_bytes(inf, 0) / 3 + 20000, .threads = 1};
    struct lamina_callbacks stop = {.progress = stop_at_once};
    o.callbacks = &stop;
    assert_int_equal(inflate_write(inf, &o, &err), LAMINA_INTERRUPTED);
    assert_int_equal(rmdir(one), 0); /* nothing was left */
    o.callbacks = NULL;
    assert_int_equal(inflate_write(inf, &o, NULL), LAMINA_OK);
    assert_int_equal(inflate_write(inf, &o, NULL), LAMINA_USAGE); /* it holds a checkpoint now */
    o.directory = two;
    o.threads = 5;
    assert_int_equal(inflate_write(inf, &o, NULL), LAMINA_OK);
    static const char *const names[] = {"model-00002-of-00003.safetensors", "model.safetensors.index.json",
                                        "config.json", "tokenizer.json"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t a_len = 0;
        size_t b_len = 0;
        char *a = read_file(one, names[i], &a_len);
        char *b = read_file(two, names[i], &b_len);
        assert_int_equal(a_len, b_len);
        assert_true(a_len != SIZE_MAX && memcmp(a, b, a_len) == 0);
        free(a);
        free(b);
    }
    remove_files(one);
    remove_files(two);
    inflate_close(&inf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_draws_are_uniform_and_sliceable),
        cmocka_unit_test(test_rows_have_their_places),
        cmocka_unit_test(test_what_reaches_the_stream_is_tiny),
        cmocka_unit_test(test_queries_are_scaled_and_norms_rescaled),
        cmocka_unit_test(test_padded_ids_are_barred),
        cmocka_unit_test(test_any_slice_is_the_same_bytes),
        cmocka_unit_test(test_seed_changes_noise_only),
        cmocka_unit_test(test_large_tensors_are_sampled),
        cmocka_unit_test(test_config_is_rewritten),
        cmocka_unit_test(test_inexact_shapes_are_refused),
        cmocka_unit_test(test_yarn_is_exact_with_the_same_head),
        cmocka_unit_test(test_other_models_are_refused),
        cmocka_unit_test(test_repeated_layers_must_be_noise),
        cmocka_unit_test(test_files_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests_name("inflate", tests, NULL, NULL);
}
