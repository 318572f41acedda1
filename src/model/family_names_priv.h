/* SPDX-License-Identifier: Apache-2.0
 * Trees of tensor names that rows of the family table share. '~' and '^' stand for the spelling's roots of body and head, %d for
 * the layer, %e for the expert, or the head where each has a norm of its own. */
#ifndef MODEL_FAMILY_NAMES_PRIV_H
#define MODEL_FAMILY_NAMES_PRIV_H

#include "model/family_priv.h"

#define NAMES_LLAMA_QKV                                                                                                    \
    [MODEL_Q] = "~layers.%d.self_attn.q_proj.weight", [MODEL_K] = "~layers.%d.self_attn.k_proj.weight",                    \
    [MODEL_V] = "~layers.%d.self_attn.v_proj.weight", [MODEL_Q_BIAS] = "~layers.%d.self_attn.q_proj.bias",                 \
    [MODEL_K_BIAS] = "~layers.%d.self_attn.k_proj.bias", [MODEL_V_BIAS] = "~layers.%d.self_attn.v_proj.bias"
#define NAMES_LLAMA_ATTENTION                                                                                              \
    NAMES_LLAMA_QKV, [MODEL_O] = "~layers.%d.self_attn.o_proj.weight", [MODEL_O_BIAS] = "~layers.%d.self_attn.o_proj.bias"
#define NAMES_LLAMA_MLP                                                                                                    \
    [MODEL_GATE] = "~layers.%d.mlp.gate_proj.weight", [MODEL_UP] = "~layers.%d.mlp.up_proj.weight",                        \
    [MODEL_DOWN] = "~layers.%d.mlp.down_proj.weight", [MODEL_GATE_BIAS] = "~layers.%d.mlp.gate_proj.bias",                 \
    [MODEL_UP_BIAS] = "~layers.%d.mlp.up_proj.bias", [MODEL_DOWN_BIAS] = "~layers.%d.mlp.down_proj.bias"
#define NAMES_UP_MLP                                                                                                       \
    [MODEL_UP] = "~layers.%d.mlp.up_proj.weight", [MODEL_DOWN] = "~layers.%d.mlp.down_proj.weight",                        \
    [MODEL_UP_BIAS] = "~layers.%d.mlp.up_proj.bias", [MODEL_DOWN_BIAS] = "~layers.%d.mlp.down_proj.bias"
#define NAMES_GATE_UP_MLP                                                                                                  \
    [MODEL_GATE] = "~layers.%d.mlp.gate_up_proj.weight", [MODEL_UP] = "~layers.%d.mlp.gate_up_proj.weight",                \
    [MODEL_DOWN] = "~layers.%d.mlp.down_proj.weight"
#define NAMES_LLAMA_ENDS                                                                                                   \
    [MODEL_EMBED] = "~embed_tokens.weight", [MODEL_HEAD] = "^lm_head.weight", [MODEL_FINAL_NORM] = "~norm.weight"
#define NAMES_LLAMA_NORMS                                                                                                  \
    [MODEL_ATTN_NORM] = "~layers.%d.input_layernorm.weight",                                                               \
    [MODEL_MLP_NORM] = "~layers.%d.post_attention_layernorm.weight"
#define NAMES_LLAMA_NORM_BIASES                                                                                            \
    [MODEL_ATTN_NORM_BIAS] = "~layers.%d.input_layernorm.bias",                                                            \
    [MODEL_MLP_NORM_BIAS] = "~layers.%d.post_attention_layernorm.bias", [MODEL_FINAL_NORM_BIAS] = "~norm.bias"
#define NAMES_LLAMA NAMES_LLAMA_ATTENTION, NAMES_LLAMA_MLP, NAMES_LLAMA_ENDS, NAMES_LLAMA_NORMS
#define NAMES_QK_NORMS                                                                                                     \
    [MODEL_Q_NORM] = "~layers.%d.self_attn.q_norm.weight", [MODEL_K_NORM] = "~layers.%d.self_attn.k_norm.weight"
#define NAMES_HUNYUAN_NORMS                                                                                                \
    [MODEL_Q_NORM] = "~layers.%d.self_attn.query_layernorm.weight",                                                        \
    [MODEL_K_NORM] = "~layers.%d.self_attn.key_layernorm.weight"
#define NAMES_FUSED(path)                                                                                                  \
    [MODEL_Q] = path ".weight", [MODEL_K] = path ".weight", [MODEL_V] = path ".weight", [MODEL_Q_BIAS] = path ".bias",     \
    [MODEL_K_BIAS] = path ".bias", [MODEL_V_BIAS] = path ".bias"
#define NAMES_SANDWICH                                                                                                     \
    [MODEL_ATTN_NORM] = "~layers.%d.input_layernorm.weight",                                                               \
    [MODEL_ATTN_POST_NORM] = "~layers.%d.post_attention_layernorm.weight",                                                 \
    [MODEL_MLP_NORM] = "~layers.%d.pre_feedforward_layernorm.weight",                                                      \
    [MODEL_MLP_POST_NORM] = "~layers.%d.post_feedforward_layernorm.weight"
#define NAMES_POST_NORMS                                                                                                   \
    [MODEL_ATTN_POST_NORM] = "~layers.%d.post_attention_layernorm.weight",                                                 \
    [MODEL_MLP_POST_NORM] = "~layers.%d.post_feedforward_layernorm.weight"
#define NAMES_BAICHUAN                                                                                                     \
    NAMES_FUSED("~layers.%d.self_attn.W_pack"), [MODEL_O] = "~layers.%d.self_attn.o_proj.weight", NAMES_LLAMA_MLP,         \
        NAMES_LLAMA_ENDS, NAMES_LLAMA_NORMS
#define NAMES_CHATGLM                                                                                                      \
    NAMES_FUSED("~encoder.layers.%d.self_attention.query_key_value"),                                                      \
        [MODEL_O] = "~encoder.layers.%d.self_attention.dense.weight",                                                      \
        [MODEL_O_BIAS] = "~encoder.layers.%d.self_attention.dense.bias",                                                   \
        [MODEL_GATE] = "~encoder.layers.%d.mlp.dense_h_to_4h.weight",                                                      \
        [MODEL_UP] = "~encoder.layers.%d.mlp.dense_h_to_4h.weight",                                                        \
        [MODEL_DOWN] = "~encoder.layers.%d.mlp.dense_4h_to_h.weight",                                                      \
        [MODEL_ATTN_NORM] = "~encoder.layers.%d.input_layernorm.weight",                                                   \
        [MODEL_MLP_NORM] = "~encoder.layers.%d.post_attention_layernorm.weight",                                           \
        [MODEL_FINAL_NORM] = "~encoder.final_layernorm.weight", [MODEL_EMBED] = "~embedding.word_embeddings.weight",       \
        [MODEL_HEAD] = "~output_layer.weight"
#define NAMES_QWEN1                                                                                                        \
    NAMES_FUSED("~h.%d.attn.c_attn"), [MODEL_O] = "~h.%d.attn.c_proj.weight", [MODEL_GATE] = "~h.%d.mlp.w2.weight",        \
        [MODEL_UP] = "~h.%d.mlp.w1.weight", [MODEL_DOWN] = "~h.%d.mlp.c_proj.weight",                                      \
        [MODEL_ATTN_NORM] = "~h.%d.ln_1.weight", [MODEL_MLP_NORM] = "~h.%d.ln_2.weight",                                   \
        [MODEL_FINAL_NORM] = "~ln_f.weight", [MODEL_EMBED] = "~wte.weight", [MODEL_HEAD] = "lm_head.weight"
/* All but attention. */
#define NAMES_GPT2                                                                                                         \
    [MODEL_UP] = "~h.%d.mlp.c_fc.weight", [MODEL_UP_BIAS] = "~h.%d.mlp.c_fc.bias",                                         \
    [MODEL_DOWN] = "~h.%d.mlp.c_proj.weight", [MODEL_DOWN_BIAS] = "~h.%d.mlp.c_proj.bias",                                 \
    [MODEL_ATTN_NORM] = "~h.%d.ln_1.weight", [MODEL_ATTN_NORM_BIAS] = "~h.%d.ln_1.bias",                                   \
    [MODEL_MLP_NORM] = "~h.%d.ln_2.weight", [MODEL_MLP_NORM_BIAS] = "~h.%d.ln_2.bias",                                     \
    [MODEL_FINAL_NORM] = "~ln_f.weight", [MODEL_FINAL_NORM_BIAS] = "~ln_f.bias", [MODEL_EMBED] = "~wte.weight",            \
    [MODEL_HEAD] = "lm_head.weight", [MODEL_POSITIONS] = "~wpe.weight"
#define NAMES_FALCON                                                                                                       \
    NAMES_FUSED("~h.%d.self_attention.query_key_value"), [MODEL_O] = "~h.%d.self_attention.dense.weight",                  \
        [MODEL_O_BIAS] = "~h.%d.self_attention.dense.bias", [MODEL_UP] = "~h.%d.mlp.dense_h_to_4h.weight",                 \
        [MODEL_UP_BIAS] = "~h.%d.mlp.dense_h_to_4h.bias", [MODEL_DOWN] = "~h.%d.mlp.dense_4h_to_h.weight",                 \
        [MODEL_DOWN_BIAS] = "~h.%d.mlp.dense_4h_to_h.bias", [MODEL_FINAL_NORM] = "~ln_f.weight",                           \
        [MODEL_FINAL_NORM_BIAS] = "~ln_f.bias", [MODEL_EMBED] = "~word_embeddings.weight", [MODEL_HEAD] = "lm_head.weight"

#define NAMES_LATENT                                                                                                       \
    [MODEL_QA] = "~layers.%d.self_attn.q_a_proj.weight", [MODEL_KV_A] = "~layers.%d.self_attn.kv_a_proj_with_mqa.weight",  \
    [MODEL_UK] = "~layers.%d.self_attn.kv_b_proj.weight", [MODEL_UV] = "~layers.%d.self_attn.kv_b_proj.weight",            \
    [MODEL_QA_NORM] = "~layers.%d.self_attn.q_a_layernorm.weight",                                                         \
    [MODEL_KV_A_NORM] = "~layers.%d.self_attn.kv_a_layernorm.weight", [MODEL_O] = "~layers.%d.self_attn.o_proj.weight"
#define NAMES_SHARED_EXPERTS(path)                                                                                         \
    [MODEL_SHARED_GATE] = path ".gate_proj.weight", [MODEL_SHARED_UP] = path ".up_proj.weight",                            \
    [MODEL_SHARED_DOWN] = path ".down_proj.weight"
#define NAMES_EXPERTS(path)                                                                                                \
    [MODEL_EXPERT_GATE] = path ".gate_proj.weight", [MODEL_EXPERT_UP] = path ".up_proj.weight",                            \
    [MODEL_EXPERT_DOWN] = path ".down_proj.weight"
#define NAMES_W123_EXPERTS                                                                                                 \
    [MODEL_ROUTER] = "~layers.%d.block_sparse_moe.gate.weight",                                                            \
    [MODEL_EXPERT_GATE] = "~layers.%d.block_sparse_moe.experts.%e.w1.weight",                                              \
    [MODEL_EXPERT_UP] = "~layers.%d.block_sparse_moe.experts.%e.w3.weight",                                                \
    [MODEL_EXPERT_DOWN] = "~layers.%d.block_sparse_moe.experts.%e.w2.weight"
#define NAMES_ROUTER                                                                                                       \
    [MODEL_ROUTER] = "~layers.%d.mlp.gate.weight", NAMES_EXPERTS("~layers.%d.mlp.experts.%e")
#define NAMES_BAILING                                                                                                      \
    NAMES_FUSED("~layers.%d.attention.query_key_value"), [MODEL_O] = "~layers.%d.attention.dense.weight",                  \
        [MODEL_O_BIAS] = "~layers.%d.attention.dense.bias", NAMES_LLAMA_MLP, NAMES_LLAMA_NORMS, NAMES_ROUTER,              \
        NAMES_SHARED_EXPERTS("~layers.%d.mlp.shared_experts"), [MODEL_EMBED] = "~word_embeddings.weight",                  \
        [MODEL_HEAD] = "^lm_head.weight", [MODEL_FINAL_NORM] = "~norm.weight"
#define NAMES_GATED_SHARED                                                                                                 \
    NAMES_SHARED_EXPERTS("~layers.%d.mlp.shared_expert"), [MODEL_SHARED_ROUTER] = "~layers.%d.mlp.shared_expert_gate.weight"
#define NAMES_DELTA                                                                                                        \
    [MODEL_CONV_Q] = "~layers.%d.linear_attn.conv1d.weight", [MODEL_CONV_K] = "~layers.%d.linear_attn.conv1d.weight",      \
    [MODEL_CONV_V] = "~layers.%d.linear_attn.conv1d.weight", [MODEL_DECAY_RATE] = "~layers.%d.linear_attn.A_log",          \
    [MODEL_DECAY_BIAS] = "~layers.%d.linear_attn.dt_bias", [MODEL_DELTA_NORM] = "~layers.%d.linear_attn.norm.weight",      \
    [MODEL_O] = "~layers.%d.linear_attn.out_proj.weight"
#define NAMES_QWEN35_DELTA                                                                                                 \
    NAMES_DELTA, [MODEL_Q] = "~layers.%d.linear_attn.in_proj_qkv.weight",                                                  \
        [MODEL_K] = "~layers.%d.linear_attn.in_proj_qkv.weight", [MODEL_V] = "~layers.%d.linear_attn.in_proj_qkv.weight",  \
        [MODEL_Z] = "~layers.%d.linear_attn.in_proj_z.weight", [MODEL_BETA] = "~layers.%d.linear_attn.in_proj_b.weight",   \
        [MODEL_DECAY] = "~layers.%d.linear_attn.in_proj_a.weight"
/* Every row with latents so far has these names; some have no latent of queries. */
#define NAMES_DEEPSEEK                                                                                                     \
    NAMES_LATENT, NAMES_LLAMA_MLP, NAMES_LLAMA_ENDS, NAMES_LLAMA_NORMS, [MODEL_Q] = "~layers.%d.self_attn.q_b_proj.weight", \
        [MODEL_ROUTER] = "~layers.%d.mlp.gate.weight", NAMES_EXPERTS("~layers.%d.mlp.experts.%e"),                         \
        NAMES_SHARED_EXPERTS("~layers.%d.mlp.shared_experts"),                                                             \
        [MODEL_CHOICE_BIAS] = "~layers.%d.mlp.gate.e_score_correction_bias"

/* Linear attention with a decay per dimension, beside latents. */
#define NAMES_KIMI_LINEAR                                                                                                  \
    NAMES_LATENT, NAMES_LLAMA_ENDS, NAMES_LLAMA_NORMS, [MODEL_Q] = "~layers.%d.self_attn.q_proj.weight",                   \
    [MODEL_K] = "~layers.%d.self_attn.k_proj.weight", [MODEL_V] = "~layers.%d.self_attn.v_proj.weight",                    \
    [MODEL_CONV_Q] = "~layers.%d.self_attn.q_conv1d.weight", [MODEL_CONV_K] = "~layers.%d.self_attn.k_conv1d.weight",      \
    [MODEL_CONV_V] = "~layers.%d.self_attn.v_conv1d.weight", [MODEL_DECAY_A] = "~layers.%d.self_attn.f_a_proj.weight",     \
    [MODEL_DECAY] = "~layers.%d.self_attn.f_b_proj.weight", [MODEL_BETA] = "~layers.%d.self_attn.b_proj.weight",           \
    [MODEL_ZA] = "~layers.%d.self_attn.g_a_proj.weight", [MODEL_Z] = "~layers.%d.self_attn.g_b_proj.weight",               \
    [MODEL_DECAY_RATE] = "~layers.%d.self_attn.A_log", [MODEL_DECAY_BIAS] = "~layers.%d.self_attn.dt_bias",                \
    [MODEL_DELTA_NORM] = "~layers.%d.self_attn.o_norm.weight",                                                             \
    NAMES_W123_EXPERTS,                                                                                                    \
    NAMES_SHARED_EXPERTS("~layers.%d.block_sparse_moe.shared_experts"),                                                    \
    [MODEL_CHOICE_BIAS] = "~layers.%d.block_sparse_moe.gate.e_score_correction_bias"

#define SPELLINGS_LLAMA                                                                                                    \
    {{"model.", ""}, {"language_model.model.", "language_model."}, {"model.language_model.", ""}, {"model.text_model.", ""}}
/* Old exports saved the rotary table as a buffer of each layer; it is recomputed. */
#define IGNORED_ROTARY {"rotary_emb.inv_freq", "rotary_pos_emb.inv_freq"}

#endif
