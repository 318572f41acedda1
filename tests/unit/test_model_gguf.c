/* SPDX-License-Identifier: Apache-2.0
 * Metadata of GGUF files as descriptions: equal to those of the family's own config.json, with the file's names and row maps,
 * and refusals in words. Whole models are compared in tests/oracle/run_gguf.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

/* A file as a list: "key=number", "key=text", "key=[numbers]", or "tensor:rows,cols". */
struct listed {
    const char *const *items;
    const char *changed; /* a key whose number is `number` instead */
    double number;
    float factors[8];
};

/* What follows the name, NULL: not there. */
static const char *item(const struct listed *f, const char *name, char sign) {
    size_t len = strlen(name);
    for (size_t i = 0; f->items[i] != NULL; i++) {
        if (strncmp(f->items[i], name, len) == 0 && f->items[i][len] == sign) {
            return f->items[i] + len + 1;
        }
    }
    return NULL;
}

static bool number_of(void *user, const char *key, double *out) {
    const struct listed *f = user;
    const char *text = item(f, key, '=');
    if (text == NULL || strchr("-0123456789.", text[0]) == NULL) {
        return false;
    }
    *out = f->changed != NULL && strcmp(f->changed, key) == 0 ? f->number : atof(text);
    return true;
}

static bool number_at(void *user, const char *key, uint64_t index, double *out) {
    const char *text = item(user, key, '=');
    if (text == NULL || text[0] != '[') {
        return false;
    }
    for (text++; index > 0 && text != NULL; index--) {
        text = strchr(text, ' ');
        text = text != NULL ? text + 1 : NULL;
    }
    *out = text != NULL ? atof(text) : 0;
    return text != NULL;
}

static bool text_of(void *user, const char *key, struct span *out) {
    const char *text = item(user, key, '=');
    *out = span_of_text(text != NULL ? text : "");
    return text != NULL && strchr("-0123456789.[", text[0]) == NULL;
}

static bool shape_of(void *user, const char *tensor, uint32_t *rank, uint64_t shape[4]) {
    const char *text = item(user, tensor, ':');
    *rank = 0;
    while (text != NULL && *rank < 4) {
        shape[(*rank)++] = (uint64_t)atoll(text);
        const char *comma = strchr(text, ',');
        if (comma == NULL) {
            return true;
        }
        text = comma + 1;
    }
    return false;
}

static bool floats_of(void *user, const char *tensor, float *out, uint32_t max, uint32_t *count) {
    const struct listed *f = user;
    uint64_t shape[4];
    uint32_t rank = 0;
    if (!shape_of(user, tensor, &rank, shape) || shape[0] > max || shape[0] > ARRAY_LEN(f->factors)) {
        return false;
    }
    memcpy(out, f->factors, shape[0] * sizeof(float));
    *count = (uint32_t)shape[0];
    return true;
}

static bool has_tensor(void *user, const char *name, uint64_t shape[2]) {
    (void)shape;
    return item(user, name, ':') != NULL;
}

static lamina_status configure(struct listed *f, struct str *json, struct lamina_error *err) {
    struct model_gguf g = {f, number_of, number_at, text_of, shape_of, floats_of};
    *err = (struct lamina_error){0};
    return model_gguf_config(&g, json, err);
}

static lamina_status describe(struct listed *f, struct model_desc *d, struct lamina_error *err) {
    struct str json = {0};
    lamina_status status = configure(f, &json, err);
    if (status == LAMINA_OK) {
        status = model_resolve(str_span(&json), d, err);
    }
    if (status == LAMINA_OK) {
        model_choose_names(d, has_tensor, f);
    }
    str_drop(&json);
    return status;
}

static struct model_desc described(const char *const *items) {
    struct listed f = {.items = items, .factors = {1, 1, 2, 8, 8, 8, 8, 8}};
    struct model_desc d;
    struct lamina_error err;
    if (describe(&f, &d, &err) != LAMINA_OK) {
        fail_msg("%s", err.message);
    }
    return d;
}

/* The same numbers as config.json's, whatever the source. */
static void expect_like(struct model_desc d, const char *config) {
    struct model_desc like;
    struct lamina_error err = {0};
    struct str got = {0};
    struct str want = {0};
    if (model_resolve(span_of_text(config), &like, &err) != LAMINA_OK) {
        fail_msg("%s", err.message);
    }
    assert_true(d.gguf);
    d.gguf = false;
    model_desc_write(&d, &got);
    model_desc_write(&like, &want);
    assert_string_equal(str_text(&got), str_text(&want));
    str_drop(&got);
    str_drop(&want);
}

static struct model_tensor tensor_of(const struct model_desc *d, int32_t layer, enum model_role role) {
    struct model_tensor t;
    for (uint32_t i = 0; i < model_tensor_count(d); i++) {
        model_tensor_at(d, i, &t);
        if (t.layer == layer && t.role == role) {
            return t;
        }
    }
    fail_msg("no %s in layer %d", model_role_name(role), layer);
    return t;
}

static void expect_refusal(const char *const *items, const char *changed, double number, lamina_status code, const char *words) {
    struct listed f = {.items = items, .changed = changed, .number = number};
    struct model_desc d;
    struct lamina_error err;
    assert_int_equal(describe(&f, &d, &err), code);
    if (strstr(err.message, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    }
}

#define LLAMA_SIZES                                                                                                        \
    "llama.block_count=2", "llama.embedding_length=64", "llama.attention.head_count=4", "llama.attention.head_count_kv=2",     \
        "llama.feed_forward_length=96", "llama.context_length=256", "llama.attention.layer_norm_rms_epsilon=0.5",              \
        "llama.rope.dimension_count=16", "llama.rope.freq_base=500000", "token_embd.weight:320,64"
#define LLAMA_CONFIG                                                                                                       \
    "\"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "                  \
    "\"vocab_size\": 320, \"max_position_embeddings\": 256, \"rms_norm_eps\": 0.5, \"rope_theta\": 500000, "

static const char *const LLAMA[] = {"general.architecture=llama",
                                    LLAMA_SIZES,
                                    "tokenizer.ggml.bos_token_id=1",
                                    "tokenizer.ggml.eos_token_id=2",
                                    "tokenizer.ggml.eot_token_id=7",
                                    "tokenizer.ggml.eom_token_id=2",
                                    "blk.0.attn_q.weight:64,64",
                                    "blk.0.ffn_gate.weight:96,64",
                                    "blk.0.ffn_up.weight:96,64",
                                    NULL};

static void a_plain_model_is_what_its_config_would_say(void **state) {
    (void)state;
    struct model_desc d = described(LLAMA);
    expect_like(d, "{\"architectures\": [\"LlamaForCausalLM\"], " LLAMA_CONFIG
                   "\"intermediate_size\": 96, \"tie_word_embeddings\": true, \"bos_token_id\": 1, \"eos_token_id\": [2, 7]}");
    struct model_tensor q = tensor_of(&d, 1, MODEL_Q);
    assert_string_equal(q.source, "blk.1.attn_q.weight");
    /* Halves of a head from neighbours. */
    assert_true(model_source_row(&q.from, 16) == 16 && model_source_row(&q.from, 17) == 18 && model_source_row(&q.from, 24) == 17);
    assert_string_equal(tensor_of(&d, 0, MODEL_MLP_NORM).source, "blk.0.ffn_norm.weight");
    assert_string_equal(tensor_of(&d, -1, MODEL_EMBED).source, "token_embd.weight");
    assert_true(model_tensor_ignored(&d, span_of_text("rope_freqs.weight")));
    assert_true(model_tensor_ignored(&d, span_of_text("blk.0.attn_rot_embd.weight")));
    assert_false(model_tensor_ignored(&d, span_of_text("blk.2.attn_q.weight")));
    assert_false(model_tensor_ignored(&d, span_of_text("blk.0.attn_q_norm.weight")));
}

static void what_is_there_decides_on_heads_biases_and_ends(void **state) {
    (void)state;
    static const char *const items[] = {"general.architecture=llama", LLAMA_SIZES, "output.weight:320,64",
                                        "blk.1.attn_q.bias:64", "blk.0.ffn_down.bias:64",
                                        "tokenizer.ggml.eos_token_id=4294967295", NULL};
    struct model_desc d = described(items);
    assert_true(d.bias_qkv && !d.bias_o && d.bias_mlp && !d.tied);
    assert_int_equal(d.eos_count, 0); /* no such token */
}

static void a_description_of_gguf_survives_a_store(void **state) {
    (void)state;
    struct model_desc d = described(LLAMA);
    struct model_desc back;
    struct lamina_error err = {0};
    struct str text = {0};
    model_desc_write(&d, &text);
    assert_int_equal(model_desc_read(str_span(&text), &back, &err), LAMINA_OK);
    assert_true(back.gguf);
    assert_string_equal(tensor_of(&back, 0, MODEL_DOWN).source, "blk.0.ffn_down.weight");
    str_drop(&text);
}

static void factors_of_frequencies_are_those_of_the_rule(void **state) {
    (void)state;
    static const char *const items[] = {"general.architecture=llama", LLAMA_SIZES, "rope_freqs.weight:8", NULL};
    struct model_desc d = described(items);
    float plain[8];
    float divided[8];
    float factor = 0;
    struct model_desc without = described(LLAMA);
    model_rope_frequencies(&without, 0, 5, plain, &factor);
    for (uint32_t length = 5; length < 5000; length += 4000) {
        model_rope_frequencies(&d, 0, length, divided, &factor);
        assert_true(factor == 1.0f);
        assert_true(divided[1] == plain[1] && divided[2] == plain[2] / 2 && divided[7] == plain[7] / 8);
    }
    struct listed zero = {.items = items};
    struct lamina_error err;
    assert_int_equal(describe(&zero, &d, &err), LAMINA_DAMAGED);
    assert_non_null(strstr(err.message, "rope_freqs.weight"));
}

static void experts_make_another_family_of_the_same_architecture(void **state) {
    (void)state;
    static const char *const items[] = {"general.architecture=llama", LLAMA_SIZES, "llama.expert_count=4",
                                        "llama.expert_used_count=2", "output.weight:320,64",
                                        "blk.0.ffn_gate_inp.weight:4,64", "blk.1.ffn_gate_inp.weight:4,64",
                                        "blk.0.ffn_up_exps.weight:4,96,64", NULL};
    struct model_desc d = described(items);
    expect_like(d, "{\"architectures\": [\"MixtralForCausalLM\"], " LLAMA_CONFIG
                   "\"intermediate_size\": 96, \"num_local_experts\": 4, \"num_experts_per_tok\": 2, \"sliding_window\": null}");
    struct model_tensor up = tensor_of(&d, 0, MODEL_EXPERT_UP);
    assert_string_equal(up.source, "blk.0.ffn_up_exps.weight");
    assert_true(up.from.planes == 4 && up.from.total == 96 && !up.transposed);
    static const char *const old[] = {"general.architecture=llama", LLAMA_SIZES, "llama.expert_count=4",
                                      "llama.expert_used_count=2", "blk.0.ffn_gate.0.weight:96,64", NULL};
    expect_refusal(old, NULL, 0, LAMINA_UNSUPPORTED, "tensor for each expert");
}

static void norms_hold_what_they_multiply_by(void **state) {
    (void)state;
    static const char *const items[] = {"general.architecture=gemma2",
                                        "gemma2.block_count=2",
                                        "gemma2.embedding_length=64",
                                        "gemma2.attention.head_count=4",
                                        "gemma2.attention.head_count_kv=2",
                                        "gemma2.attention.key_length=24",
                                        "gemma2.attention.value_length=24",
                                        "gemma2.feed_forward_length=96",
                                        "gemma2.context_length=256",
                                        "gemma2.attention.layer_norm_rms_epsilon=0.5",
                                        "gemma2.attention.sliding_window=8",
                                        "gemma2.attn_logit_softcapping=50",
                                        "gemma2.final_logit_softcapping=30",
                                        "token_embd.weight:320,64",
                                        NULL};
    struct model_desc d = described(items);
    expect_like(d, "{\"architectures\": [\"Gemma2ForCausalLM\"], \"hidden_size\": 64, \"num_hidden_layers\": 2, "
                   "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 24, \"intermediate_size\": 96, "
                   "\"vocab_size\": 320, \"max_position_embeddings\": 256, \"rms_norm_eps\": 0.5, \"sliding_window\": 8, "
                   "\"attn_logit_softcapping\": 50, \"final_logit_softcapping\": 30, \"query_pre_attn_scalar\": 24}");
    struct model_tensor norm = tensor_of(&d, 0, MODEL_ATTN_POST_NORM);
    assert_string_equal(norm.source, "blk.0.post_attention_norm.weight");
    assert_true(norm.plus == 0.0f);
    assert_true(tensor_of(&d, 0, MODEL_Q).from.rope_dim == 0); /* halves as they are */
}

static const char *const PHI[] = {"general.architecture=phi3",
                                  "phi3.block_count=1",
                                  "phi3.embedding_length=64",
                                  "phi3.attention.head_count=4",
                                  "phi3.feed_forward_length=96",
                                  "phi3.context_length=256",
                                  "phi3.attention.layer_norm_rms_epsilon=0.5",
                                  "phi3.attention.sliding_window=0",
                                  "token_embd.weight:320,64",
                                  "blk.0.attn_qkv.weight:192,64",
                                  "blk.0.ffn_up.weight:192,64",
                                  NULL};

static void fused_tensors_are_told_by_their_names(void **state) {
    (void)state;
    struct model_desc d = described(PHI);
    struct model_tensor v = tensor_of(&d, 0, MODEL_V);
    struct model_tensor up = tensor_of(&d, 0, MODEL_UP);
    assert_string_equal(v.source, "blk.0.attn_qkv.weight");
    assert_true(v.from.total == 192 && model_source_row(&v.from, 3) == 131);
    assert_string_equal(up.source, tensor_of(&d, 0, MODEL_GATE).source);
    assert_true(model_source_row(&up.from, 0) == 96);
    static const char *items[ARRAY_LEN(PHI) + 2];
    memcpy(items, PHI, sizeof(PHI));
    items[ARRAY_LEN(PHI) - 3] = "blk.0.attn_q.weight:64,64";
    items[ARRAY_LEN(PHI) - 1] = "blk.0.ffn_gate.weight:96,64";
    d = described(items);
    v = tensor_of(&d, 0, MODEL_V);
    assert_string_equal(v.source, "blk.0.attn_v.weight");
    assert_true(v.from.total == 64 && model_source_row(&v.from, 3) == 3);
    assert_string_equal(tensor_of(&d, 0, MODEL_GATE).source, "blk.0.ffn_gate.weight");
}

#define DEEPSEEK                                                                                                           \
    "general.architecture=deepseek2", "deepseek2.block_count=61", "deepseek2.embedding_length=64",                             \
        "deepseek2.attention.head_count=4", "deepseek2.attention.head_count_kv=1", "deepseek2.feed_forward_length=80",         \
        "deepseek2.context_length=640", "deepseek2.attention.layer_norm_rms_epsilon=0.5", "deepseek2.rope.dimension_count=8",  \
        "deepseek2.attention.kv_lora_rank=32", "deepseek2.attention.key_length_mla=24",                                        \
        "deepseek2.attention.value_length_mla=20", "deepseek2.attention.key_length=40", "deepseek2.attention.value_length=32", \
        "deepseek2.expert_count=256", "deepseek2.expert_used_count=8", "deepseek2.expert_feed_forward_length=16",              \
        "deepseek2.leading_dense_block_count=1", "deepseek2.expert_shared_count=1", "deepseek2.expert_weights_norm=1",         \
        "deepseek2.expert_gating_func=2", "token_embd.weight:320,64", "blk.1.exp_probs_b.bias:256"

static void latents_come_apart_or_whole(void **state) {
    (void)state;
    static const char *const apart[] = {DEEPSEEK, NULL};
    static const char *const whole[] = {DEEPSEEK, "blk.0.attn_kv_b.weight:144,32", NULL};
    struct model_desc d = described(apart);
    struct model_tensor uk = tensor_of(&d, 0, MODEL_UK);
    assert_string_equal(uk.source, "blk.0.attn_k_b.weight");
    assert_true(!uk.transposed && uk.source_rows == 4 * 32 && uk.source_cols == 16 && uk.cols == 16);
    uint32_t each = model_head_rows(32);
    assert_true(model_source_row(&uk.from, each + 5) == 32 + 5 && model_source_row(&uk.from, each - 1) == MODEL_ZERO_ROW);
    struct model_tensor uv = tensor_of(&d, 0, MODEL_UV);
    assert_true(uv.source_rows == 4 * 20 && uv.source_cols == 32);
    /* Groups of experts from before there was a key for them. */
    assert_true(d.routing.groups == 8 && d.routing.kept_groups == 4 && d.routing.renormed && d.choice_bias);
    assert_string_equal(tensor_of(&d, 0, MODEL_Q).source, "blk.0.attn_q.weight");
    d = described(whole);
    uk = tensor_of(&d, 0, MODEL_UK);
    assert_string_equal(uk.source, "blk.0.attn_kv_b.weight");
    assert_true(uk.transposed && uk.source_rows == 4 * 36 && uk.source_cols == 32);
}

#define NEXT                                                                                                               \
    "general.architecture=qwen3next", "qwen3next.block_count=4", "qwen3next.embedding_length=64",                              \
        "qwen3next.attention.head_count=2", "qwen3next.attention.head_count_kv=1", "qwen3next.attention.key_length=32",        \
        "qwen3next.feed_forward_length=64", "qwen3next.context_length=512", "qwen3next.attention.layer_norm_rms_epsilon=0.5",  \
        "qwen3next.rope.dimension_count=8", "qwen3next.ssm.conv_kernel=4", "qwen3next.ssm.state_size=16",                      \
        "qwen3next.ssm.group_count=2", "qwen3next.ssm.time_step_rank=4", "qwen3next.ssm.inner_size=48",                        \
        "qwen3next.expert_count=4", "qwen3next.expert_used_count=2", "token_embd.weight:288,64",                               \
        "blk.0.ffn_gate_inp.weight:4,64", "blk.1.ffn_gate_inp.weight:4,64", "blk.2.ffn_gate_inp.weight:4,64",                  \
        "blk.3.ffn_gate_inp.weight:4,64", "blk.0.ffn_up_exps.weight:4,16,64", "blk.0.ffn_up_shexp.weight:20,64"

static void linear_attention_has_its_own_names(void **state) {
    (void)state;
    static const char *const items[] = {NEXT, NULL};
    static const char *const older[] = {NEXT, "blk.0.ssm_in.weight:160,64", NULL};
    struct model_desc d = described(items);
    assert_true(d.kinds[d.layer_kind[0]].mixer == MODEL_DELTA && d.kinds[d.layer_kind[3]].mixer == MODEL_ATTENTION);
    assert_int_equal(d.kinds[0].shared_ffn, 20);
    assert_int_equal(d.kinds[0].expert_ffn, 16);
    assert_true(tensor_of(&d, 0, MODEL_DECAY_RATE).exponentiated);
    assert_string_equal(tensor_of(&d, 0, MODEL_V).source, "blk.0.attn_qkv.weight");
    assert_string_equal(tensor_of(&d, 0, MODEL_Z).source, "blk.0.attn_gate.weight");
    struct model_tensor decay = tensor_of(&d, 0, MODEL_DECAY);
    assert_string_equal(decay.source, "blk.0.ssm_ba.weight");
    assert_true(model_source_row(&decay.from, 0) == 2 && model_source_row(&decay.from, 2) == 6);
    assert_string_equal(tensor_of(&d, 3, MODEL_Z).source, "blk.3.attn_q.weight");
    d = described(older);
    struct model_tensor k = tensor_of(&d, 0, MODEL_K);
    assert_string_equal(k.source, "blk.0.ssm_in.weight");
    assert_true(model_source_row(&k.from, 16) == 96); /* 16 + 16 queries and keys, 24 + 24 values and gates before it */
}

#define TILED(values)                                                                                                          \
    "general.architecture=qwen35", "qwen35.block_count=4", "qwen35.embedding_length=64", "qwen35.attention.head_count=2",       \
        "qwen35.feed_forward_length=64", "qwen35.context_length=512", "qwen35.attention.layer_norm_rms_epsilon=0.5",            \
        "qwen35.ssm.time_step_rank=" values, "qwen35.ssm.group_count=2", "qwen35.ssm.inner_size=48",                            \
        "qwen35.ssm.conv_kernel=4", "qwen35.ssm.state_size=16", "token_embd.weight:288,64"

/* Rows stay as they lie; it is the op that finds a head's keys. */
static void heads_of_values_may_be_tiled(void **state) {
    (void)state;
    static const char *const three[] = {TILED("6"), NULL};
    static const char *const one[] = {TILED("2"), NULL};
    static const char *const grouped[] = {NEXT, NULL};
    struct kern_op ops[MODEL_MAX_OPS];
    struct model_desc d = described(three);
    struct model_desc again;
    struct str json = {0};
    struct lamina_error err = {0};
    assert_true(d.tiled_values && d.kinds[0].heads == 6 && d.kinds[0].kv_heads == 2);
    struct model_tensor v = tensor_of(&d, 0, MODEL_V);
    assert_true(model_source_row(&v.from, 0) == 64 && model_source_row(&v.from, 47) == 111);
    uint32_t count = model_layer_ops(&d, 0, ops, MODEL_MAX_OPS);
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        found += ops[i].kind == KERN_OP_DELTA && ops[i].tiled;
    }
    assert_int_equal(found, 1);
    model_desc_write(&d, &json);
    assert_int_equal(model_desc_read(span_of(json.ptr, json.len), &again, &err), LAMINA_OK);
    assert_true(again.tiled_values);
    str_drop(&json);
    d = described(one);
    assert_false(d.tiled_values);
    d = described(grouped);
    assert_false(d.tiled_values);
}

static void refusals_name_what_is_missing(void **state) {
    (void)state;
    static const char *const unknown[] = {"general.architecture=lama2", "lama2.block_count=2", NULL};
    static const char *const nameless[] = {"llama.block_count=2", NULL};
    static const char *const early[] = {"general.architecture=minicpm", "minicpm.block_count=2", "token_embd.weight:8,8", NULL};
    static const char *const clipped[] = {"general.architecture=llama", LLAMA_SIZES, "llama.attention.clamp_kqv=8", NULL};
    static const char *const scaled[] = {"general.architecture=llama", LLAMA_SIZES, "llama.rope.scaling.type=wavy", NULL};
    static const char *const long_rope[] = {"general.architecture=llama", LLAMA_SIZES, "llama.rope.scaling.type=longrope", NULL};
    static const char *const uneven[] = {"general.architecture=llama", "llama.feed_forward_length=[96 80]", LLAMA_SIZES, NULL};
    static const char *const steep[] = {"general.architecture=mpt", "mpt.block_count=2", "mpt.embedding_length=64",
                                        "mpt.attention.head_count=4", "mpt.attention.layer_norm_epsilon=0.5",
                                        "mpt.attention.max_alibi_bias=16", "token_embd.weight:320,64", NULL};
    expect_refusal(steep, NULL, 0, LAMINA_UNSUPPORTED, "mpt.attention.max_alibi_bias");
    expect_refusal(unknown, NULL, 0, LAMINA_UNSUPPORTED, "lama2 is not supported; the nearest supported one is llama");
    static const char *const empty[] = {"general.architecture=llama", NULL};
    expect_refusal(empty, NULL, 0, LAMINA_DAMAGED, "\"llama.block_count\" is missing");
    expect_refusal(nameless, NULL, 0, LAMINA_DAMAGED, "general.architecture");
    expect_refusal(early, NULL, 0, LAMINA_UNSUPPORTED, "convert the model again");
    expect_refusal(clipped, NULL, 0, LAMINA_UNSUPPORTED, "clamp_kqv");
    expect_refusal(scaled, NULL, 0, LAMINA_UNSUPPORTED, "wavy");
    expect_refusal(long_rope, NULL, 0, LAMINA_DAMAGED, "rope_factors_long.weight");
    expect_refusal(uneven, NULL, 0, LAMINA_UNSUPPORTED, "layers that differ");
    expect_refusal(LLAMA, "llama.block_count", 0, LAMINA_DAMAGED, "llama.block_count");
    expect_refusal(LLAMA, "llama.block_count", 1e9, LAMINA_DAMAGED, "llama.block_count");
    expect_refusal(LLAMA, "llama.attention.head_count", 0, LAMINA_DAMAGED, "head_count");
    expect_refusal(LLAMA, "llama.embedding_length", 1e9, LAMINA_DAMAGED, "hidden_size");
}

/* Whatever a number is, the answer is a description or a sentence. */
static void no_number_does_harm(void **state) {
    (void)state;
    static const double numbers[] = {0, -1, 0.5, 1e-300, 1e300, 4294967296.0, (double)NAN, (double)INFINITY};
    static const char *const deepseek[] = {DEEPSEEK, "deepseek2.expert_group_count=8", NULL};
    static const char *const next[] = {NEXT, NULL};
    const char *const *const files[] = {LLAMA, deepseek, next, PHI};
    for (size_t file = 0; file < ARRAY_LEN(files); file++) {
        for (size_t i = 0; files[file][i] != NULL; i++) {
            const char *end = strchr(files[file][i], '=');
            char key[96];
            if (end == NULL) {
                continue;
            }
            (void)snprintf(key, sizeof(key), "%.*s", (int)(end - files[file][i]), files[file][i]);
            for (size_t n = 0; n < ARRAY_LEN(numbers); n++) {
                struct listed f = {.items = files[file], .changed = key, .number = numbers[n]};
                struct model_desc d;
                struct lamina_error err;
                lamina_status status = describe(&f, &d, &err);
                assert_true(status == LAMINA_OK || err.message[0] != 0);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_model_is_what_its_config_would_say),
        cmocka_unit_test(what_is_there_decides_on_heads_biases_and_ends),
        cmocka_unit_test(a_description_of_gguf_survives_a_store),
        cmocka_unit_test(factors_of_frequencies_are_those_of_the_rule),
        cmocka_unit_test(experts_make_another_family_of_the_same_architecture),
        cmocka_unit_test(norms_hold_what_they_multiply_by),
        cmocka_unit_test(fused_tensors_are_told_by_their_names),
        cmocka_unit_test(latents_come_apart_or_whole),
        cmocka_unit_test(linear_attention_has_its_own_names),
        cmocka_unit_test(heads_of_values_may_be_tiled),
        cmocka_unit_test(refusals_name_what_is_missing),
        cmocka_unit_test(no_number_does_harm),
    };
    return cmocka_run_group_tests_name("model_gguf", tests, NULL, NULL);
}
