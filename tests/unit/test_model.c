/* SPDX-License-Identifier: Apache-2.0
 * Descriptions from config.json: what is read, what is refused and in which words, and that nothing is lost in a store. */
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

static const char BASE[] = "\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 64, \"num_hidden_layers\": 2, "
                           "\"num_attention_heads\": 4, \"intermediate_size\": 96, \"vocab_size\": 320";

/* Resolves BASE plus `more` ("" or ", \"key\": value"). */
static lamina_status resolve(const char *more, struct model_desc *d, struct lamina_error *err) {
    char json[2048];
    (void)snprintf(json, sizeof(json), "{%s%s}", BASE, more);
    *err = (struct lamina_error){0};
    return model_resolve(span_of_text(json), d, err);
}

static void expect_refusal(const char *json, lamina_status code, const char *words) {
    struct model_desc d;
    struct lamina_error err = {0};
    assert_int_equal(model_resolve(span_of_text(json), &d, &err), code);
    if (strstr(err.message, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    }
}

static void expect_refused_key(const char *more, lamina_status code, const char *words) {
    char json[2048];
    (void)snprintf(json, sizeof(json), "{%s%s}", BASE, more);
    expect_refusal(json, code, words);
}

static void defaults_are_those_of_the_reference_class(void **state) {
    (void)state;
    struct model_desc d;
    struct lamina_error err;
    assert_int_equal(resolve("", &d, &err), LAMINA_OK);
    assert_int_equal(d.kinds[0].kv_heads, 4);
    assert_int_equal(d.kinds[0].head_dim, 16);
    assert_false(d.tied || d.bias_qkv || d.bias_o || d.bias_mlp);
    assert_true(d.norm_eps == 1e-6f && d.rope[0].theta == 10000.0 && d.rope[0].kind == MODEL_ROPE_NONE_SCALING);
    assert_int_equal(d.bos_id, -1);
    assert_int_equal(d.max_positions, 2048);
}

static void explicit_keys_win(void **state) {
    (void)state;
    struct model_desc d;
    struct lamina_error err;
    assert_int_equal(resolve(", \"head_dim\": 20, \"num_key_value_heads\": 2, \"tie_word_embeddings\": true, "
                             "\"attention_bias\": true, \"mlp_bias\": true, \"eos_token_id\": [2, 7], \"bos_token_id\": 1, "
                             "\"rope_theta\": 500000.0, \"rms_norm_eps\": 1e-5",
                             &d, &err), LAMINA_OK);
    uint64_t rows = 0;
    uint64_t cols = 0;
    assert_true(model_matrix_shape(&d, 0, MODEL_Q, &rows, &cols) && rows == 80 && cols == 64);
    assert_true(model_matrix_shape(&d, 0, MODEL_O, &rows, &cols) && rows == 64 && cols == 80);
    assert_true(model_matrix_shape(&d, 0, MODEL_K, &rows, &cols) && rows == 40);
    assert_false(model_matrix_shape(&d, -1, MODEL_HEAD, &rows, &cols));
    assert_true(model_vector_len(&d, 0, MODEL_K_BIAS) == 40 && model_vector_len(&d, 1, MODEL_DOWN_BIAS) == 64);
    assert_int_equal(d.eos_count, 2);
    assert_int_equal(d.eos_ids[1], 7);
}

/* Missing: the default of the class. Null: none. */
static void null_is_not_missing(void **state) {
    (void)state;
    static const char head[] = "\"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 16, "
                               "\"intermediate_size\": 96, \"vocab_size\": 320";
    static const struct {
        const char *architecture, *more;
        uint32_t kv_heads;
        bool capped;
    } cases[] = {{"MixtralForCausalLM", "", 8, false},
                 {"MixtralForCausalLM", ", \"num_key_value_heads\": null", 16, false},
                 {"Gemma2ForCausalLM", "", 4, true},
                 {"Gemma2ForCausalLM", ", \"attn_logit_softcapping\": null, \"final_logit_softcapping\": null", 4, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char json[1024];
        struct model_desc d;
        struct lamina_error err = {0};
        (void)snprintf(json, sizeof(json), "{\"architectures\": [\"%s\"], %s, \"num_local_experts\": %s%s}", cases[i].architecture,
                       head, cases[i].capped || cases[i].kv_heads == 4 ? "0" : "4", cases[i].more);
        assert_int_equal(model_resolve(span_of_text(json), &d, &err), LAMINA_OK);
        assert_int_equal(d.kinds[0].kv_heads, cases[i].kv_heads);
        assert_int_equal(d.score_cap > 0, cases[i].capped);
        assert_int_equal(d.logit_cap > 0, cases[i].capped);
    }
}

static void layers_may_have_forms_of_their_own(void **state) {
    (void)state;
    struct model_desc d;
    struct lamina_error err;
    assert_int_equal(resolve(", \"per_layer_config\": {\"01\": {\"head_dim\": 32, \"num_key_value_heads\": 1}}", &d, &err), LAMINA_OK);
    assert_int_equal(d.kind_count, 2);
    uint64_t rows = 0;
    uint64_t cols = 0;
    assert_true(model_matrix_shape(&d, 0, MODEL_K, &rows, &cols) && rows == 64);
    assert_true(model_matrix_shape(&d, 1, MODEL_K, &rows, &cols) && rows == 32);
    assert_true(model_matrix_shape(&d, 1, MODEL_Q, &rows, &cols) && rows == 128);
    assert_int_equal(resolve(", \"hidden_act\": \"relu\"", &d, &err), LAMINA_OK);
    assert_int_equal(d.act, KERN_ACT_RELU);
}

static void greedy_choice_knows_no_groups(void **state) {
    (void)state;
    static const char head[] = "{\"architectures\": [\"DeepseekV2ForCausalLM\"], \"hidden_size\": 64, \"num_hidden_layers\": 2, "
                               "\"num_attention_heads\": 4, \"intermediate_size\": 96, \"vocab_size\": 320, \"kv_lora_rank\": 16, "
                               "\"qk_nope_head_dim\": 16, \"qk_rope_head_dim\": 8, \"v_head_dim\": 16, "
                               "\"moe_intermediate_size\": 32, \"n_routed_experts\": 8, \"num_experts_per_tok\": 2, \"n_group\": 4, "
                               "\"topk_group\": 1, \"topk_method\": ";
    static const struct {
        const char *method;
        uint32_t groups;
    } cases[] = {{"greedy", 0}, {"group_limited_greedy", 4}, {"noaux_tc", 4}};
    char json[1024];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct model_desc d;
        struct lamina_error err = {0};
        (void)snprintf(json, sizeof(json), "%s\"%s\"}", head, cases[i].method);
        assert_int_equal(model_resolve(span_of_text(json), &d, &err), LAMINA_OK);
        assert_int_equal(d.routing.groups, cases[i].groups);
    }
    (void)snprintf(json, sizeof(json), "%s\"dice\"}", head);
    expect_refusal(json, LAMINA_UNSUPPORTED, "dice");
}

static void a_description_survives_a_store(void **state) {
    (void)state;
    static const char *const more[] = {
        "", ", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.5}",
        ", \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 512}",
        (", \"rope_parameters\": {\"rope_type\": \"llama3\", \"rope_theta\": 123456.789, \"factor\": 8, "
         "\"low_freq_factor\": 1, \"high_freq_factor\": 4, \"original_max_position_embeddings\": 8192}"),
    };
    for (size_t i = 0; i < ARRAY_LEN(more); i++) {
        struct model_desc a;
        struct model_desc b;
        struct lamina_error err;
        struct str first = {0};
        struct str second = {0};
        assert_int_equal(resolve(more[i], &a, &err), LAMINA_OK);
        model_desc_write(&a, &first);
        assert_int_equal(model_desc_read(str_span(&first), &b, &err), LAMINA_OK);
        model_desc_write(&b, &second);
        assert_string_equal(str_text(&first), str_text(&second));
        str_drop(&first);
        str_drop(&second);
    }
}

static void refusals_say_what_and_why(void **state) {
    (void)state;
    expect_refusal("{\"architectures\": [\"JambaForCausalLM\"], \"num_local_experts\": 8}", LAMINA_UNSUPPORTED,
                   "mixture of experts");
    expect_refusal("{\"architectures\": [\"LamaForCausalLM\"]}", LAMINA_UNSUPPORTED, "nearest supported one is Llama");
    expect_refusal("{}", LAMINA_UNSUPPORTED, "names no architecture");
    expect_refusal("{\"architectures\": [\"FalconForCausalLM\"], \"parallel_attn\": false}", LAMINA_UNSUPPORTED,
                   "falcon needs \"parallel_attn\"");
    expect_refusal("{\"architectures\"", LAMINA_DAMAGED, "line 1");
    expect_refused_key(", \"hidden_act\": \"mish\"", LAMINA_UNSUPPORTED, "mish");
    expect_refused_key(", \"sliding_window\": 4096", LAMINA_UNSUPPORTED, "sliding-window");
    expect_refused_key(", \"quantization_config\": {\"quant_method\": \"hqq\"}", LAMINA_UNSUPPORTED, "hqq");
    expect_refused_key(", \"scale_attn_weights\": false", LAMINA_UNSUPPORTED, "scale_attn_weights");
    expect_refused_key(", \"scale_attn_by_inverse_layer_idx\": true", LAMINA_UNSUPPORTED, "scale_attn_by_inverse_layer_idx");
    expect_refused_key(", \"rope_scaling\": {\"type\": \"wavy\"}", LAMINA_UNSUPPORTED, "wavy");
    expect_refused_key(", \"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1.0]}", LAMINA_DAMAGED, "short_factor");
    expect_refused_key(", \"rope_scaling\": {\"type\": \"linear\"}", LAMINA_DAMAGED, "\"factor\" is missing");
    expect_refused_key(", \"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8}", LAMINA_DAMAGED, "low_freq_factor");
    expect_refused_key(", \"num_key_value_heads\": 3", LAMINA_DAMAGED, "multiple");
    expect_refused_key(", \"head_dim\": 15", LAMINA_DAMAGED, "odd");
    expect_refused_key(", \"rms_norm_eps\": -1", LAMINA_DAMAGED, "rms_norm_eps");
    expect_refused_key(", \"partial_rotary_factor\": 0.5", LAMINA_UNSUPPORTED, "partial_rotary_factor");
    expect_refused_key(", \"hidden_size\": 1e9", LAMINA_DAMAGED, "hidden_size");
    expect_refused_key(", \"num_hidden_layers\": 1.5", LAMINA_DAMAGED, "num_hidden_layers");
    expect_refused_key(", \"mlp_layer_types\": [\"dense\"]", LAMINA_DAMAGED, "mlp_layer_types lists 1");
    expect_refused_key(", \"mlp_layer_types\": [\"dense\", \"hashed\"]", LAMINA_UNSUPPORTED, "hashed");
    expect_refused_key(", \"per_layer_config\": {\"1\": {\"head_dim\": 15}}", LAMINA_DAMAGED, "heads");
    expect_refused_key(", \"per_layer_config\": {\"1\": {\"rope_theta\": 5.0}}", LAMINA_UNSUPPORTED, "per_layer_config of layer 1");
    expect_refused_key(", \"per_layer_config\": {\"1x\": {}}", LAMINA_DAMAGED, "no layer");
    expect_refused_key(", \"per_layer_config\": {\"99999999999\": {}}", LAMINA_DAMAGED, "no layer");
    expect_refusal("{\"architectures\": [\"Qwen3_5ForCausalLM\"], \"hidden_size\": 64, \"num_hidden_layers\": 4, "
                   "\"num_attention_heads\": 4, \"intermediate_size\": 96, \"vocab_size\": 320, \"linear_num_value_heads\": 2, "
                   "\"linear_num_key_heads\": 2, \"linear_key_head_dim\": 16, \"linear_value_head_dim\": 16, "
                   "\"hidden_act\": \"gelu\"}", LAMINA_UNSUPPORTED, "another activation");
}

/* A model of another architecture with the shape of BASE. */
#define OF(architecture, more)                                                                                             \
    "{\"architectures\": [\"" architecture "\"], \"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "  \
    "\"intermediate_size\": 96, \"vocab_size\": 320" more "}"

static void forms_that_no_row_has_are_refused_by_name(void **state) {
    (void)state;
    expect_refused_key(", \"clip_qkv\": 8.0", LAMINA_UNSUPPORTED, "clipped queries, keys and values");
    expect_refused_key(", \"attn_config\": {\"clip_qkv\": 6}", LAMINA_UNSUPPORTED, "clipped queries, keys and values");
    expect_refused_key(", \"moe_topk\": [2, 3]", LAMINA_UNSUPPORTED, "differs between layers");
    expect_refusal(OF("OPTForCausalLM", ", \"do_layer_norm_before\": false"), LAMINA_UNSUPPORTED, "do_layer_norm_before");
    expect_refusal(OF("OPTForCausalLM", ", \"word_embed_proj_dim\": 32"), LAMINA_UNSUPPORTED, "word_embed_proj_dim 32");
    expect_refusal(OF("PhimoeForCausalLM", ", \"num_local_experts\": 8, \"num_experts_per_tok\": 3, \"num_key_value_heads\": 4"),
                   LAMINA_UNSUPPORTED, "3 experts per token");
    expect_refusal(OF("MPTForCausalLM", ", \"attn_config\": {\"alibi\": false}"), LAMINA_UNSUPPORTED, "alibi false");
    expect_refusal(OF("Exaone4ForCausalLM", ", \"sliding_window_pattern\": \"LLLG\", \"num_key_value_heads\": 4"),
                   LAMINA_UNSUPPORTED, "letters");
    expect_refusal(OF("GPTNeoForCausalLM", ", \"attention_types\": [[[\"global\", \"local\"], 2]]"), LAMINA_DAMAGED, "lists 4");
    char many[64 + 65 * 9] = "{\"architectures\": [\"GPTNeoForCausalLM\"], \"attention_types\": [[[\"local\"";
    for (int i = 0; i < 64; i++) {
        (void)strcat(many, ",\"local\"");
    }
    expect_refusal(strcat(many, "], 1]]}"), LAMINA_UNSUPPORTED, "a pattern of more than 64 layers");
    expect_refusal(OF("GPTNeoForCausalLM", ", \"attention_types\": [[[\"local\"], 4000000000000000000]]"), LAMINA_UNSUPPORTED,
                   "more than 1024 layers");
}

/* What classes mean by keys that are absent, where the framework writes them always and people do not. */
static void silence_of_single_families(void **state) {
    (void)state;
    struct model_desc d;
    struct lamina_error err = {0};
    assert_int_equal(model_resolve(span_of_text(OF("FalconForCausalLM", ", \"parallel_attn\": true")), &d, &err), LAMINA_OK);
    assert_int_equal(d.kinds[0].kv_heads, 1);
    assert_int_equal(model_resolve(span_of_text(OF("GPTBigCodeForCausalLM", "")), &d, &err), LAMINA_OK);
    assert_int_equal(d.kinds[0].kv_heads, 1);
    assert_int_equal(model_resolve(span_of_text(OF("GraniteForCausalLM", "")), &d, &err), LAMINA_OK);
    assert_true(d.score_scale == 1.0f);
    assert_int_equal(model_resolve(span_of_text(OF("GPTNeoForCausalLM", "")), &d, &err), LAMINA_OK);
    assert_true(d.score_scale == 1.0f && d.kinds[d.layer_kind[0]].window == 0 && d.kinds[d.layer_kind[1]].window == 256);
    assert_int_equal(model_resolve(span_of_text(OF("GPTJForCausalLM", ", \"head_dim\": 128")), &d, &err), LAMINA_OK);
    assert_int_equal(d.rope[0].dim, 64);
    assert_int_equal(model_resolve(span_of_text(OF("GPTJForCausalLM", ", \"rotary_dim\": null")), &d, &err), LAMINA_OK);
    assert_int_equal(d.rope[0].dim, 16);
    assert_int_equal(model_resolve(span_of_text(OF("Exaone4ForCausalLM", ", \"sliding_window\": null, \"num_key_value_heads\": 2")),
                                   &d, &err), LAMINA_OK);
    assert_true(d.kind_count == 1 && d.kinds[0].window == 0 && d.kinds[0].rope == 0);
}

/* As published files have them. */
static void odd_members_of_published_files(void **state) {
    (void)state;
    struct model_desc d;
    struct lamina_error err = {0};
    assert_int_equal(model_resolve(span_of_text(OF("GPTJForCausalLM", ", \"rotary\": true, \"rotary_dim\": 8")), &d, &err), LAMINA_OK);
    assert_int_equal(d.rope[0].dim, 8);
    assert_int_equal(model_resolve(span_of_text(OF("HunYuanDenseV1ForCausalLM", ", \"num_experts\": 1, \"use_cla\": false, "
                                                   "\"kv_lora_rank\": false, \"n_group\": false, \"routed_scaling_factor\": false")),
                                   &d, &err), LAMINA_OK);
    assert_int_equal(d.kinds[0].experts, 0);
    assert_int_equal(model_resolve(span_of_text(OF("Dots1ForCausalLM", ", \"num_key_value_heads\": 4, \"n_routed_experts\": 8, "
                                                   "\"num_experts_per_tok\": 2, \"moe_intermediate_size\": 32, "
                                                   "\"scoring_func\": \"noaux_tc\"")),
                                   &d, &err), LAMINA_OK);
    assert_int_equal(d.routing.score, KERN_SCORE_SIGMOID);
    expect_refused_key(", \"n_group\": true", LAMINA_DAMAGED, "expected a number");
    expect_refusal(OF("HunYuanDenseV1ForCausalLM", ", \"use_cla\": true"), LAMINA_UNSUPPORTED, "use_cla");
}

/* Published files of multimodal models say of their text model what its class has not anyway. */
static void multimodal_models_are_told_by_their_text_model(void **state) {
    (void)state;
    static const struct {
        const char *json, *family, *architecture;
        uint32_t hidden, layers, heads, kv_heads, ffn, vocab;
    } cases[] = {
        {"{\"architectures\": [\"LlavaForConditionalGeneration\"], \"model_type\": \"llava\", \"text_config\": {\"architectures\": "
         "[\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": 32064}, \"vision_config\": {\"hidden_size\": 8}}",
         "llama", "LlavaForConditionalGeneration", 4096, 32, 32, 32, 11008, 32064},
        {"{\"architectures\": [\"LlavaNextForConditionalGeneration\"], \"text_config\": {\"model_type\": \"mistral\", "
         "\"sliding_window\": null, \"rope_theta\": 1000000.0}}",
         "mistral", "LlavaNextForConditionalGeneration", 4096, 32, 32, 8, 14336, 32000},
        {"{\"architectures\": [\"LlavaOnevisionForConditionalGeneration\"], \"text_config\": {\"model_type\": \"qwen2\", "
         "\"hidden_size\": 896, \"num_hidden_layers\": 24, \"num_attention_heads\": 14, \"num_key_value_heads\": 2, "
         "\"intermediate_size\": 4864}}",
         "qwen2", "LlavaOnevisionForConditionalGeneration", 896, 24, 14, 2, 4864, 151936},
        {"{\"architectures\": [\"InternVLChatModel\"], \"llm_config\": {\"architectures\": [\"InternLM2ForCausalLM\"], "
         "\"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
         "\"intermediate_size\": 96, \"vocab_size\": 320}}",
         "internlm2", "InternVLChatModel", 64, 2, 4, 2, 96, 320},
        {"{\"architectures\": [\"KimiK25ForConditionalGeneration\"], \"model_type\": \"kimi_k25\", \"text_config\": {\"architectures\": "
         "[\"DeepseekV3ForCausalLM\"], \"model_type\": \"kimi_k2\", \"hidden_size\": 64, \"num_hidden_layers\": 2, "
         "\"num_attention_heads\": 4, \"intermediate_size\": 96, \"vocab_size\": 320, \"kv_lora_rank\": 16, \"qk_nope_head_dim\": 8, "
         "\"qk_rope_head_dim\": 8, \"v_head_dim\": 8, \"n_routed_experts\": 4, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": "
         "32, \"first_k_dense_replace\": 1}}",
         "deepseek-v3", "KimiK25ForConditionalGeneration", 64, 2, 4, 4, 96, 320},
        {"{\"architectures\": [\"MultiModalityCausalLM\"], \"model_type\": \"multi_modality\", \"aligner_config\": {\"cls\": "
         "\"MlpProjector\"}, \"language_config\": {\"model_type\": \"llama\", \"hidden_size\": 64, \"num_hidden_layers\": 2, "
         "\"num_attention_heads\": 4, \"intermediate_size\": 96, \"vocab_size\": 320}}",
         "llama", "MultiModalityCausalLM", 64, 2, 4, 4, 96, 320},
        {"{\"architectures\": [\"Qwen2_5_VLForConditionalGeneration\"], \"hidden_size\": 64, \"num_hidden_layers\": 2, "
         "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"intermediate_size\": 96, \"vocab_size\": 320, \"rope_scaling\": "
         "{\"type\": \"mrope\", \"mrope_section\": [2, 3, 3]}, \"vision_config\": {\"depth\": 32}}",
         "qwen2", "Qwen2_5_VLForConditionalGeneration", 64, 2, 4, 2, 96, 320},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct model_desc d;
        struct lamina_error err = {0};
        if (model_resolve(span_of_text(cases[i].json), &d, &err) != LAMINA_OK) {
            fail_msg("%s: %s", cases[i].architecture, err.message);
        }
        assert_string_equal(d.family, cases[i].family);
        assert_string_equal(d.architecture, cases[i].architecture);
        assert_true(d.hidden == cases[i].hidden && d.layers == cases[i].layers && d.vocab == cases[i].vocab);
        assert_true(d.kinds[0].heads == cases[i].heads && d.kinds[0].kv_heads == cases[i].kv_heads);
        assert_int_equal(d.kinds[0].ffn, cases[i].ffn);
        assert_true(model_tensor_ignored(&d, span_of_text("vision_tower.x.weight")));
        assert_false(model_tensor_ignored(&d, span_of_text("model.layers.0.another.weight")));
    }
    expect_refusal("{\"architectures\": [\"LlavaForConditionalGeneration\"], \"text_config\": {\"model_type\": \"blip\"}}",
                   LAMINA_UNSUPPORTED, "architecture blip inside LlavaForConditionalGeneration is not supported");
    expect_refusal("{\"architectures\": [\"LlavaForConditionalGeneration\"], \"text_config\": {\"architectures\": "
                   "[\"BloomForCausalLM\"]}}",
                   LAMINA_UNSUPPORTED, "a text tower inside a multimodal model (text_config)");
}

/* Which keys it would choose matters only where it would not choose them all. */
static void an_indexer_bounds_the_positions(void **state) {
    (void)state;
#define INDEXED(more)                                                                                                                \
    "{\"architectures\": [\"DeepseekV32ForCausalLM\"], \"hidden_size\": 64, \"num_hidden_layers\": 4, \"num_attention_heads\": 4, "    \
    "\"intermediate_size\": 96, \"vocab_size\": 320, \"kv_lora_rank\": 16, \"qk_nope_head_dim\": 8, \"qk_rope_head_dim\": 8, "         \
    "\"v_head_dim\": 8, \"n_routed_experts\": 4, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 32, "                        \
    "\"max_position_embeddings\": 8192" more "}"
    struct model_desc d;
    struct lamina_error err = {0};
    assert_int_equal(model_resolve(span_of_text(INDEXED("")), &d, &err), LAMINA_OK);
    assert_true(d.indexed == 2048 && model_most_positions(&d) == 2048 && d.max_positions == 8192);
    assert_true(d.kinds[d.layer_kind[2]].experts == 0 && d.kinds[d.layer_kind[3]].experts == 4);
    assert_int_equal(model_resolve(span_of_text(INDEXED(", \"index_topk\": 100, \"layer_types\": [\"indexed_attention\", "
                                                        "\"indexed_attention\", \"indexed_attention\", \"indexed_attention\"]")),
                                   &d, &err),
                     LAMINA_OK);
    assert_int_equal(model_most_positions(&d), 100);
    assert_true(model_tensor_ignored(&d, span_of_text("model.layers.0.self_attn.indexer.wq_b.weight_scale_inv")));
    expect_refusal(INDEXED(", \"index_topk\": 0"), LAMINA_DAMAGED, "index_topk");
    expect_refusal(INDEXED(", \"rope_interleave\": false"), LAMINA_UNSUPPORTED, "rope_interleave");
    expect_refused_key(", \"index_topk\": 64", LAMINA_UNSUPPORTED, "keys chosen by an indexer (index_topk)");
    assert_int_equal(resolve("", &d, &err), LAMINA_OK);
    assert_int_equal(model_most_positions(&d), UINT32_MAX);
}

/* Text alone passes them by: the others move up, and find their tensors under the numbers that they have in the checkpoint. */
static void layers_that_attend_to_images_are_left_out(void **state) {
    (void)state;
#define SEEING(more)                                                                                                                 \
    "{\"architectures\": [\"MllamaForConditionalGeneration\"], \"text_config\": {\"hidden_size\": 64, \"num_attention_heads\": 4, "      \
    "\"num_key_value_heads\": 2, \"intermediate_size\": 96, \"vocab_size\": 320, \"num_hidden_layers\": 10" more "}}"
    struct model_desc d;
    struct model_tensor t;
    struct lamina_error err = {0};
    assert_int_equal(model_resolve(span_of_text(SEEING(", \"cross_attention_layers\": [9, 0, 4, 4, 12]")), &d, &err), LAMINA_OK);
    assert_int_equal(d.layers, 7);
    static const int numbers[] = {1, 2, 3, 5, 6, 7, 8};
    for (int32_t i = 0; i < 7; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "model.layers.%d.self_attn.q_proj.weight", numbers[i]);
        model_layer_tensor_at(&d, i, 0, &t);
        assert_string_equal(t.source, name);
        assert_null(model_tensor_tower(&d, span_of_text(name)));
        assert_false(model_tensor_ignored(&d, span_of_text(name)));
    }
    assert_string_equal(model_tensor_tower(&d, span_of_text("model.layers.4.cross_attn_mlp_gate")), "layers of cross-attention");
    assert_true(model_tensor_ignored(&d, span_of_text("model.layers.9.mlp.up_proj.weight")));
    assert_false(model_tensor_ignored(&d, span_of_text("model.layers.10.mlp.up_proj.weight")));
    model_tensor_at(&d, 0, &t);
    assert_true(t.role == MODEL_EMBED && t.rows == 320 && t.from.total == 328);
    assert_int_equal(model_resolve(span_of_text(SEEING("")), &d, &err), LAMINA_OK);
    assert_true(d.layers == 8 && d.left_out[0] == 3 && d.left_out[1] == 8);
    assert_int_equal(model_resolve(span_of_text(SEEING(", \"cross_attention_layers\": []")), &d, &err), LAMINA_OK);
    assert_true(d.layers == 10 && d.left_out_count == 0);
    expect_refusal(SEEING(", \"cross_attention_layers\": [1.5]"), LAMINA_DAMAGED, "cross_attention_layers names layer 1.5");
    expect_refusal(SEEING(", \"cross_attention_layers\": [-1]"), LAMINA_DAMAGED, "cross_attention_layers names layer -1");
    expect_refusal(SEEING(", \"cross_attention_layers\": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"), LAMINA_UNSUPPORTED,
                   "every layer attends to images");
    expect_refused_key(", \"cross_attention_layers\": [1]", LAMINA_UNSUPPORTED,
                       "layers that attend to images (cross_attention_layers)");
}

static void values_may_be_narrower_than_keys(void **state) {
    (void)state;
#define NARROW(more)                                                                                                                 \
    "{\"architectures\": [\"MiMoV2FlashForCausalLM\"], \"hidden_size\": 64, \"num_hidden_layers\": 4, \"num_attention_heads\": 4, "      \
    "\"num_key_value_heads\": 1, \"head_dim\": 24, \"v_head_dim\": 12, \"intermediate_size\": 96, \"vocab_size\": 320, "            \
    "\"n_routed_experts\": 4, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 32" more "}"
    struct model_desc d, e;
    struct lamina_error err = {0};
    assert_int_equal(model_resolve(span_of_text(NARROW(", \"hybrid_layer_pattern\": [0, 1, 1, 0], \"moe_layer_freq\": [0, 1, 0, 1], "
                                                       "\"sliding_window_size\": 7")),
                                   &d, &err),
                     LAMINA_OK);
    const struct model_kind *full = &d.kinds[d.layer_kind[0]], *windowed = &d.kinds[d.layer_kind[1]];
    assert_true(full->window == 0 && full->kv_heads == 1 && full->experts == 0 && model_value_dim(full) == 12);
    assert_true(windowed->window == 8 && windowed->kv_heads == 2 && windowed->experts == 4);
    assert_true(d.kinds[d.layer_kind[2]].experts == 0 && d.kinds[d.layer_kind[3]].window == 0);
    assert_true(model_vector_len(&d, 0, MODEL_SINKS) == 0 && model_vector_len(&d, 1, MODEL_SINKS) == 4);
    assert_true(model_kept_of(windowed).k_dim == 24 && model_kept_of(windowed).v_dim == 12);
    assert_float_equal(d.value_scale, 0.707f, 0);
    struct str json = {0};
    model_desc_write(&d, &json);
    assert_int_equal(model_desc_read(str_span(&json), &e, &err), LAMINA_OK);
    assert_true(e.sinks_windowed && e.value_scale == d.value_scale && e.kinds[d.layer_kind[1]].value_dim == 12);
    str_drop(&json);
    assert_int_equal(resolve(", \"sliding_window_size\": 7", &d, &err), LAMINA_OK); /* another family's word for something else */
    assert_int_equal(d.kinds[0].window, 0);
    assert_int_equal(model_resolve(span_of_text(NARROW("")), &d, &err), LAMINA_OK); /* the first layer, and every sixth */
    assert_true(d.kinds[d.layer_kind[0]].window == 0 && d.kinds[d.layer_kind[3]].window == 129);
    expect_refusal(NARROW(", \"swa_head_dim\": 32"), LAMINA_UNSUPPORTED, "swa_head_dim 32 is not supported (supported: 24");
    expect_refusal(NARROW(", \"num_attention_heads\": 2048, \"v_head_dim\": 4096"), LAMINA_DAMAGED, "numbers do not fit together");
    expect_refusal(NARROW(", \"attention_value_scale\": 0"), LAMINA_DAMAGED, "attention_value_scale");
    expect_refusal(NARROW(", \"swa_num_key_value_heads\": 3"), LAMINA_DAMAGED, "4 heads (3 KV)");
    expect_refusal(NARROW(", \"add_full_attention_sink_bias\": true"), LAMINA_UNSUPPORTED, "add_full_attention_sink_bias");
    expect_refusal(NARROW(", \"hybrid_layer_pattern\": [0, 1]"), LAMINA_DAMAGED, "lists 2 layers");
    expect_refusal(NARROW(", \"moe_layer_freq\": [0, -1, 1, 1]"), LAMINA_DAMAGED, "config.json");
}

static void what_a_head_is_divided_by_is_told_apart(void **state) {
    (void)state;
#define BAILING(more)                                                                                                                \
    "{\"architectures\": [\"BailingMoeForCausalLM\"], \"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "       \
    "\"num_key_value_heads\": 2, \"intermediate_size\": 96, \"vocab_size\": 320, \"num_experts\": 4, \"moe_intermediate_size\": 32" more "}"
    struct model_desc d;
    struct lamina_error err = {0};
    assert_int_equal(model_resolve(span_of_text(BAILING(", \"norm_head\": false")), &d, &err), LAMINA_OK);
    assert_true(d.bias_o && !d.bias_qkv && !d.head_scaled && d.routing.score == KERN_SCORE_SOFTMAX && d.routing.renormed);
    assert_int_equal(model_resolve(span_of_text(BAILING(", \"num_experts_per_tok\": 1")), &d, &err), LAMINA_OK);
    assert_false(d.routing.renormed);
    expect_refusal(BAILING(", \"norm_head\": true"), LAMINA_UNSUPPORTED, "a head with columns of unit length (norm_head)");
}

static void quantisation_may_stand_with_the_text_model(void **state) {
    (void)state;
    static const struct {
        const char *json, *method;
        uint32_t bits, group;
    } cases[] = {
        {"{\"text_config\": {\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\", "
         "\"config_groups\": {\"group_0\": {\"weights\": {\"num_bits\": 4, \"group_size\": 32}}}}}, \"vocab_size\": 3}",
         "compressed-tensors", 0, 32},
        {"{\"text_config\": {\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 8, \"group_size\": 64}}, "
         "\"quantization_config\": {\"quant_method\": \"awq\", \"bits\": 4}}",
         "awq", 4, 0},
        {"{\"quantization_config\": {\"quant_method\": \"awq\", \"bits\": 4}, \"text_config\": {\"quantization_config\": "
         "{\"quant_method\": \"gptq\", \"bits\": 8}}}",
         "awq", 4, 0},
        {"{\"compression_config\": {\"config_groups\": {\"group_0\": {\"weights\": {\"group_size\": 128}}}}}", "compressed-tensors", 0, 128},
        {"{\"vision_config\": {\"quantization_config\": {\"quant_method\": \"gptq\"}}}", "", 0, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct model_quant q;
        struct lamina_error err = {0};
        assert_int_equal(model_quant_read(span_of_text(cases[i].json), &q, &err), LAMINA_OK);
        assert_string_equal(q.method, cases[i].method);
        assert_true(q.bits == cases[i].bits && q.group == cases[i].group && q.given == (cases[i].method[0] != 0));
    }
}

static void switched_off_features_are_no_reason_to_refuse(void **state) {
    (void)state;
    struct model_desc d;
    struct lamina_error err;
    assert_int_equal(resolve(", \"sliding_window\": null, \"num_local_experts\": 0, \"use_qk_norm\": false, "
                             "\"rope_scaling\": null, \"head_dim\": null",
                             &d, &err), LAMINA_OK);
}

static void every_tensor_has_a_name_and_a_shape(void **state) {
    (void)state;
    struct model_desc d;
    struct lamina_error err;
    assert_int_equal(resolve(", \"attention_bias\": true", &d, &err), LAMINA_OK);
    uint32_t count = model_tensor_count(&d);
    uint64_t weights = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct model_tensor t;
        model_tensor_at(&d, i, &t);
        assert_true(t.source[0] != 0 && strchr(t.source, '%') == NULL && t.rows > 0 && t.cols > 0);
        weights += t.rows * t.cols;
    }
    assert_true(weights == model_weight_count(&d));
    struct model_tensor last;
    model_tensor_at(&d, count - 1, &last);
    assert_string_equal(last.source, "model.norm.weight");
    assert_true(model_tensor_ignored(&d, span_of_text("model.layers.0.self_attn.rotary_emb.inv_freq")));
    assert_false(model_tensor_ignored(&d, span_of_text("model.layers.0.self_attn.q_norm.weight")));
}

/* Values of the published formulas worked out apart from this code, at fp32 precision. */
/* A text model inside a multimodal one, its experts stacked or a tensor each. */
#define BESIDE(more)                                                                                                           \
    "{\"architectures\": [\"Gemma4ForConditionalGeneration\"], \"text_config\": {\"hidden_size\": 48, \"num_hidden_layers\": 6, " \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"intermediate_size\": 40, \"vocab_size\": 280, \"head_dim\": 16, "   \
    "\"num_experts\": 6, \"top_k_experts\": 3, \"moe_intermediate_size\": 20" more "}}"

static bool has_name(void *user, const char *name, uint64_t shape[2]) {
    (void)shape;
    const char *const *names = user;
    while (*names != NULL && strcmp(*names, name) != 0) {
        names++;
    }
    return *names != NULL;
}

static const char *source_of(const struct model_desc *d, enum model_role role, struct model_tensor *t) {
    uint32_t i = 0;
    do {
        assert_true(i < model_layer_tensor_count(d, 1));
        model_layer_tensor_at(d, 1, i++, t);
    } while (t->role != role || (model_role_of_expert(role) && t->expert != 2));
    return t->source;
}

static void experts_stand_beside_the_mlp(void **state) {
    (void)state;
    static const char *const stacked[] = {"model.language_model.embed_tokens.weight",
                                          "model.language_model.layers.0.experts.gate_up_proj", NULL};
    static const char *const apart[] = {"model.language_model.embed_tokens.weight", NULL};
    struct model_desc d;
    struct model_tensor t;
    struct lamina_error err = {0};
    assert_int_equal(model_resolve(span_of_text(BESIDE(", \"enable_moe_block\": true")), &d, &err), LAMINA_OK);
    assert_true(d.dense_beside && d.expert_scaled);
    assert_true(d.kinds[0].experts == 6 && d.kinds[0].ffn == 40 && d.kinds[0].expert_ffn == 20);
    assert_true(d.routing.top_k == 3 && d.routing.score == KERN_SCORE_CHOSEN);
    model_choose_names(&d, has_name, (void *)(uintptr_t)stacked);
    assert_string_equal(source_of(&d, MODEL_EXPERT_UP, &t), "model.language_model.layers.1.experts.gate_up_proj");
    assert_true(t.from.plane == 2 * 40 * 48 && t.from.first == 20 && t.rows == 20 && !t.transposed);
    assert_string_equal(source_of(&d, MODEL_GATE, &t), "model.language_model.layers.1.mlp.gate_proj.weight");
    assert_string_equal(source_of(&d, MODEL_ROUTER_NORM, &t), "model.language_model.layers.1.router.scale");
    assert_string_equal(source_of(&d, MODEL_EXPERT_SCALE, &t), "model.language_model.layers.1.router.per_expert_scale");
    assert_int_equal(t.cols, 6);
    model_choose_names(&d, has_name, (void *)(uintptr_t)apart);
    assert_string_equal(source_of(&d, MODEL_EXPERT_UP, &t), "model.language_model.layers.1.experts.2.up_proj.weight");
    assert_int_equal(model_resolve(span_of_text(BESIDE(", \"enable_moe_block\": false")), &d, &err), LAMINA_OK);
    assert_true(d.kinds[0].experts == 0 && !d.dense_beside && model_vector_len(&d, 0, MODEL_ROUTER_NORM) == 0);
    assert_true(model_tensor_ignored(&d, span_of_text("model.embed_vision.embedding_projection.weight")));
    assert_false(model_tensor_ignored(&d, span_of_text("model.embed_other.weight")));
    expect_refusal(BESIDE(", \"use_bidirectional_attention\": \"all\""), LAMINA_UNSUPPORTED, "use_bidirectional_attention");
    assert_int_equal(model_resolve(span_of_text(BESIDE(", \"use_bidirectional_attention\": \"vision\"")), &d, &err), LAMINA_OK);
}

/* Every second layer from the second to the sixth of eight; tensors that predict further tokens are left out. */
static void experts_from_one_layer_to_another(void **state) {
    (void)state;
    struct model_desc d;
    struct lamina_error err = {0};
    const char *json = "{\"architectures\": [\"Ernie4_5_MoeForCausalLM\"], \"hidden_size\": 64, \"intermediate_size\": 96, "
                       "\"num_hidden_layers\": 8, \"num_attention_heads\": 4, \"vocab_size\": 97, \"moe_num_experts\": 8, "
                       "\"moe_intermediate_size\": 16, \"max_position_embeddings\": 64, \"moe_layer_start_index\": 1, "
                       "\"moe_layer_end_index\": 5, \"moe_layer_interval\": 2}";
    assert_int_equal(model_resolve(span_of_text(json), &d, &err), LAMINA_OK);
    for (uint32_t i = 0; i < d.layers; i++) {
        assert_int_equal(model_kind_of(&d, i)->experts, i == 1 || i == 3 || i == 5 ? 8 : 0);
        assert_int_equal(model_kind_of(&d, i)->shared_ffn, i == 1 || i == 3 || i == 5 ? 32 : 0);
    }
    assert_true(d.routing.top_k == 6 && d.routing.renormed && d.choice_bias && d.tied);
    assert_true(model_tensor_ignored(&d, span_of_text("model.mtp_block.0.self_attn.q_proj.weight")));
    assert_false(model_tensor_ignored(&d, span_of_text("model.other_block.0.self_attn.q_proj.weight")));
}

static void rope_factors_follow_the_formulas(void **state) {
    (void)state;
    struct model_desc d;
    struct lamina_error err;
    float f[8];
    float scale = 0;
    assert_int_equal(resolve("", &d, &err), LAMINA_OK);
    model_rope_frequencies(&d, 0, 10, f, &scale);
    for (unsigned i = 0; i < 8; i++) {
        assert_true(fabs((double)f[i] / pow(10000.0, -(double)i / 8) - 1) < 1e-7);
    }
    assert_true(scale == 1.0f);
    assert_int_equal(resolve(", \"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}, \"max_position_embeddings\": 28",
                             &d, &err), LAMINA_OK);
    model_rope_frequencies(&d, 0, 28, f, &scale);
    assert_true(fabs((double)f[7] / pow(10000.0, -7.0 / 8) - 1) < 1e-7);
    model_rope_frequencies(&d, 0, 56, f, &scale);
    double theta = 10000.0 * pow(2.0 * 56 / 28 - 1, 16.0 / 14);
    assert_true(fabs((double)f[7] / pow(theta, -7.0 / 8) - 1) < 1e-7);
    assert_int_equal(resolve(", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0, "
                             "\"original_max_position_embeddings\": 64}", &d, &err), LAMINA_OK);
    model_rope_frequencies(&d, 0, 10, f, &scale);
    assert_true(fabs((double)scale - (0.1 * log(4.0) + 1)) < 1e-7);
    assert_true(fabs((double)f[7] / (pow(10000.0, -7.0 / 8) / 4) - 1) < 1e-7);
}

static void generation_defaults_are_read(void **state) {
    (void)state;
    struct model_generation g = {.temperature = 1, .top_p = 1, .repetition_penalty = 1, .bos_id = -1};
    struct lamina_error err = {0};
    const char *json = "{\"do_sample\": true, \"temperature\": 0.6, \"top_p\": 0.9, \"top_k\": 20, \"eos_token_id\": [128001, "
                       "128009], \"bos_token_id\": 128000, \"transformers_version\": \"4.40.0\", \"min_p\": null}";
    assert_int_equal(model_generation_read(span_of_text(json), &g, &err), LAMINA_OK);
    assert_true(g.do_sample && g.temperature == 0.6 && g.top_k == 20 && g.eos_count == 2 && g.eos_ids[1] == 128009);
    assert_int_equal(model_generation_read(span_of_text("{\"temperature\": \"hot\"}"), &g, &err), LAMINA_DAMAGED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_reference_class),
        cmocka_unit_test(explicit_keys_win),
        cmocka_unit_test(null_is_not_missing),
        cmocka_unit_test(layers_may_have_forms_of_their_own),
        cmocka_unit_test(greedy_choice_knows_no_groups),
        cmocka_unit_test(a_description_survives_a_store),
        cmocka_unit_test(refusals_say_what_and_why),
        cmocka_unit_test(forms_that_no_row_has_are_refused_by_name),
        cmocka_unit_test(silence_of_single_families),
        cmocka_unit_test(odd_members_of_published_files),
        cmocka_unit_test(multimodal_models_are_told_by_their_text_model),
        cmocka_unit_test(an_indexer_bounds_the_positions),
        cmocka_unit_test(layers_that_attend_to_images_are_left_out),
        cmocka_unit_test(values_may_be_narrower_than_keys),
        cmocka_unit_test(what_a_head_is_divided_by_is_told_apart),
        cmocka_unit_test(quantisation_may_stand_with_the_text_model),
        cmocka_unit_test(switched_off_features_are_no_reason_to_refuse),
        cmocka_unit_test(every_tensor_has_a_name_and_a_shape),
        cmocka_unit_test(experts_stand_beside_the_mlp),
        cmocka_unit_test(experts_from_one_layer_to_another),
        cmocka_unit_test(rope_factors_follow_the_formulas),
        cmocka_unit_test(generation_defaults_are_read),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
