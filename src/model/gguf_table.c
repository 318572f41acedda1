/* SPDX-License-Identifier: Apache-2.0
 *
 * THE TABLE, third part: architectures of GGUF files and the rows of the family table that they stand for. Nothing but data.
 * An architecture says less than config.json does: what it implies instead is `.extra`, what its converters do to tensors is in
 * the traits. Rotary pairs lie side by side where the inference program that GGUF comes from turns neighbours: converters bring
 * the rows of families that turn halves into that order, others are published so. */
#include "base/compiler.h"
#include "model/gguf_model_priv.h"

#define POST_ATTENTION_NORM {MODEL_MLP_NORM, "blk.%d.post_attention_norm.weight"}

const struct gguf_arch gguf_archs[] = {
    {.name = "llama", .family = "mixtral", .needs_key = "expert_count", .traits = GGUF_PAIRS},
    {.name = "llama", .family = "mistral", .needs_key = "attention.sliding_window", .traits = GGUF_PAIRS},
    {.name = "llama", .family = "llama", .traits = GGUF_PAIRS},
    {.name = "mistral3", .family = "ministral3", .traits = GGUF_PAIRS, .log_multiplier = 1.0},
    {.name = "llama4", .family = "llama4", .traits = GGUF_PAIRS},
    {.name = "qwen",
     .family = "qwen1",
     .extra = ", \"use_dynamic_ntk\": false, \"use_logn_attn\": false"}, /* neither is in the metadata */
    {.name = "qwen2", .family = "qwen2"},
    {.name = "qwen2vl", .family = "qwen2"}, /* text rotates all sections of a head by one position */
    {.name = "qwen2moe", .family = "qwen2-moe", .extra = ", \"norm_topk_prob\": false"},
    {.name = "qwen3", .family = "qwen3"},
    {.name = "qwen3vl", .family = "qwen3"},
    {.name = "qwen3moe", .family = "qwen3-moe", .extra = ", \"norm_topk_prob\": true"},
    {.name = "qwen3vlmoe", .family = "qwen3-moe", .extra = ", \"norm_topk_prob\": true"},
    {.name = "qwen3next", .family = "qwen3-next", .named = {POST_ATTENTION_NORM}},
    {.name = "qwen35", .family = "qwen35", .traits = GGUF_TILED_VALUES | GGUF_COUNTS_FURTHER, .named = {POST_ATTENTION_NORM}},
    {.name = "qwen35moe",
     .family = "qwen35-moe",
     .traits = GGUF_TILED_VALUES | GGUF_COUNTS_FURTHER,
     .named = {POST_ATTENTION_NORM}},
    {.name = "gemma", .family = "gemma"},
    {.name = "gemma2", .family = "gemma2", .wide_scalar_layers = 46},
    {.name = "gemma3", .family = "gemma3", .wide_scalar_layers = 62},
    {.name = "gemma4", .family = "gemma4"},
    {.name = "phi2", .family = "phi"},
    {.name = "phi3", .family = "phi3"},
    {.name = "starcoder2", .family = "starcoder2"},
    {.name = "gpt2", .family = "gpt2"},
    {.name = "gptneox", .family = "gpt-neox"},
    {.name = "starcoder", .family = "gpt-bigcode"},
    {.name = "nemotron", .family = "nemotron"},
    {.name = "bloom", .family = "bloom"},
    {.name = "mpt", .family = "mpt"},
    {.name = "falcon",
     .family = "falcon-40b",
     .needs_tensor = "attn_norm_2.weight",
     .extra = ", \"new_decoder_architecture\": true",
     .named = {{MODEL_ATTN_NORM, "blk.%d.attn_norm_2.weight"},
               {MODEL_ATTN_NORM_BIAS, "blk.%d.attn_norm_2.bias"},
               {MODEL_MLP_NORM, "blk.%d.attn_norm.weight"},
               {MODEL_MLP_NORM_BIAS, "blk.%d.attn_norm.bias"}}},
    {.name = "falcon", .family = "falcon", .extra = ", \"parallel_attn\": true"},
    {.name = "stablelm", .family = "stablelm"},
    {.name = "command-r", .family = "cohere", .traits = GGUF_PAIRS},
    {.name = "cohere2", .family = "cohere2", .traits = GGUF_PAIRS},
    {.name = "olmo2", .family = "olmo3", .needs_key = "attention.sliding_window"},
    {.name = "olmo2", .family = "olmo2"},
    {.name = "olmo", .family = "olmo", .traits = GGUF_PAIRS},
    {.name = "olmoe", .family = "olmoe"},
    {.name = "smollm3", .family = "smollm3", .traits = GGUF_PAIRS},
    {.name = "seed_oss", .family = "seedoss", .named = {POST_ATTENTION_NORM}},
    {.name = "arcee", .family = "arcee", .traits = GGUF_PAIRS},
    {.name = "exaone4", .family = "exaone4"},
    {.name = "hunyuan-dense", .family = "hunyuan"}, /* the raised base is in the metadata */
    {.name = "hunyuan-moe", .family = "hunyuan-moe"},
    {.name = "dots1", .family = "dotsllm"},
    {.name = "granitemoe", .family = "granite-moe", .traits = GGUF_PAIRS | GGUF_LOGIT_DIVISOR},
    {.name = "granite", .family = "granite", .traits = GGUF_PAIRS | GGUF_LOGIT_DIVISOR},
    /* The same computation, its factors under the same keys since there are any. */
    {.name = "minicpm", .family = "granite", .needs_key = "embedding_scale", .traits = GGUF_PAIRS | GGUF_LOGIT_DIVISOR},
    {.name = "ernie4_5", .family = "ernie45", .traits = GGUF_PAIRS},
    {.name = "ernie4_5-moe", .family = "ernie45-moe", .traits = GGUF_PAIRS},
    {.name = "baichuan", .family = "baichuan-13b", .needs_key = "attention.max_alibi_bias", .traits = GGUF_PAIRS},
    {.name = "baichuan", .family = "baichuan-13b", .needs_layers = 40, .traits = GGUF_PAIRS},
    {.name = "baichuan",
     .family = "baichuan2-7b", /* its head is normed, which changes nothing where the converter did it */
     .needs_vocab = 125696,
     .traits = GGUF_PAIRS},
    {.name = "baichuan", .family = "baichuan-7b", .traits = GGUF_PAIRS},
    {.name = "chatglm", .family = "chatglm2", .traits = GGUF_PAIRS},
    {.name = "glm4", .family = "glm4", .traits = GGUF_PAIRS},
    {.name = "glm4moe", .family = "glm4-moe", .traits = GGUF_COUNTS_FURTHER, .named = {POST_ATTENTION_NORM}},
    {.name = "internlm2", .family = "internlm2", .traits = GGUF_PAIRS},
    {.name = "deepseek2",
     .family = "deepseek-v3",
     .needs_tensor = "exp_probs_b.bias",
     .extra = ", \"norm_topk_prob\": false",
     .traits = GGUF_PAIRS,
     .log_multiplier = 0.1},
    {.name = "deepseek2",
     .family = "deepseek-v2",
     .extra = ", \"norm_topk_prob\": false",
     .traits = GGUF_PAIRS,
     .log_multiplier = 0.1},
    {.name = "minimax-m2", .family = "minimax-m2"},
    {.name = "kimi-linear", .family = "kimi-linear"},
    {.name = "gpt-oss", .family = "gpt-oss", .traits = GGUF_YARN_EXACT, .named = {POST_ATTENTION_NORM}},
};

const unsigned gguf_arch_count = ARRAY_LEN(gguf_archs);

const struct gguf_groups gguf_known_groups[] = {
    {"deepseek2", 256, 61, 8, 4},
    {"deepseek2", 160, 60, 8, 3},
    {NULL, 0, 0, 0, 0},
};
