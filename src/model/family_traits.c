/* SPDX-License-Identifier: Apache-2.0
 *
 * The family table in words: a list of traits, each a sentence fragment and the condition on a row under which it holds. A
 * row's description and the count of rows per trait both come from this list, so a field that a new row sets is told as soon
 * as the field has a line here. Knows no family: conditions look at fields, never at names. What only config.json decides (the
 * number of KV heads, the scaling of RoPE) is no trait of a row.
 */
#include <string.h>

#include "model/family_priv.h"

#define HAS(feature) ((f->features & (FEATURE_##feature)) != 0)
#define NAMED(role) (f->tensor[role] != NULL)
#define SAYS(text) (f->act != NULL && strcmp(f->act, text) == 0)
#define APART(role) (NAMED(role) && strstr(f->tensor[role], ".experts.%e.") != NULL)
#define BY_KEY(rule) ((rule).from > BIAS_YES)

/* X(aspect, words, condition on the row f) */
#define TRAITS(X)                                                                                                          \
    X("norm", "RMS norm", f->norm == MODEL_NORM_RMS)                                                                       \
    X("norm", "layer norm (mean and variance)", f->norm == MODEL_NORM_LAYER)                                               \
    X("norm", "layer norm without weights", f->norm == MODEL_NORM_BARE)                                                    \
    X("norm", "biases of norms", f->norm_bias)                                                                             \
    X("norm", "weights stored less one", f->norms_plus_one)                                                                \
    X("layer", "norms before attention and MLP", f->wiring == MODEL_PRE)                                                   \
    X("layer", "norms before and after attention and MLP", f->wiring == MODEL_SANDWICH)                                    \
    X("layer", "no norms after them where a key says so", f->post_norms_by_key)                                            \
    X("layer", "norms after attention and MLP", f->wiring == MODEL_POST)                                                   \
    X("layer", "attention and MLP side by side, one norm", f->wiring == MODEL_PARALLEL)                                    \
    X("layer", "attention and MLP side by side, two norms", f->wiring == MODEL_PARALLEL2)                                  \
    X("layer", "attention and MLP side by side where a key says so", f->parallel != 0)                                     \
    X("layer", "the normed input is what is added to, times a constant", f->wiring == MODEL_ALPHA)                         \
    X("layer", "inputs of each layer by token", HAS(LAYER_INPUTS))                                                         \
    X("layer", "a factor on what a layer gives", f->layer_scaled)                                                          \
    X("attention", "keys and values by head (MHA, GQA or MQA by config)", !f->latent)                                      \
    X("attention", "latents of keys and values (MLA)", f->latent)                                                          \
    X("attention", "an indexer for long contexts: no longer than it would choose all keys", HAS(INDEXER))                  \
    X("attention", "linear attention by a gated delta rule in some layers", HAS(LINEAR))                                   \
    X("attention", "linear attention with a decay per dimension", f->delta_wide)                                           \
    X("attention", "gated output", f->gated_out)                                                                           \
    X("attention", "query, key and value biases", f->bias_qkv.from == BIAS_YES)                                            \
    X("attention", "query, key and value biases by key", BY_KEY(f->bias_qkv))                                              \
    X("attention", "output bias", f->bias_o.from == BIAS_YES)                                                              \
    X("attention", "output bias by key", BY_KEY(f->bias_o))                                                                \
    X("attention", "query and key norms by head", f->qk_norm == MODEL_QK_HEAD)                                             \
    X("attention", "query and key norms over all heads", f->qk_norm == MODEL_QK_FULL)                                      \
    X("attention", "query and key layer norms by head", f->qk_norm == MODEL_QK_HEAD_LAYER)                                 \
    X("attention", "query and key norms behind RoPE", f->qk_norm == MODEL_QK_UNIT)                                         \
    X("attention", "query and key norms by head behind RoPE", f->qk_norm == MODEL_QK_HEAD_AFTER)                           \
    X("attention", "clipped queries, keys and values where a key says so", HAS(CLIP))                                      \
    X("attention", "query and key norms only where a key says so", f->qk_norm_by_key)                                      \
    X("attention", "value norms", f->value_norm)                                                                           \
    X("attention", "window in all layers", f->window == WINDOW_ALL)                                                        \
    X("attention", "window in late layers where a key says so", f->window == WINDOW_SWITCH_LATE)                           \
    X("attention", "window in every other layer at first where a key says so", f->window == WINDOW_SWITCH_EARLY)           \
    X("attention", "window in all layers where a key says so", f->window == WINDOW_SWITCH_ALL)                             \
    X("attention", "window in late layers", f->window == WINDOW_LATE)                                                      \
    X("attention", "window in all but every n-th layer", f->window == WINDOW_PERIOD || f->window == WINDOW_INNER || \
      f->window == WINDOW_AFTER_FIRST)                                                                                     \
    X("attention", "window in layers by a list", f->window == WINDOW_LISTED)                                               \
    X("attention", "window in every other layer", f->window == WINDOW_EVEN || f->window == WINDOW_ODD)                     \
    X("attention", "chunks", HAS(CHUNK))                                                                                   \
    X("attention", "layers that read keys and values of earlier ones", HAS(SHARED_KV))                                     \
    X("attention", "the whole prompt sees itself", f->prefix)                                                              \
    X("attention", "cap on scores", f->score_cap != 0.0)                                                                   \
    X("attention", "scale of scores by a number of its own", f->query_pre_scalar != 0.0 || f->score_multiplier != 0.0)     \
    X("attention", "scores scaled, and by layer, where a key says so", f->score_switches)                                 \
    X("attention", "sinks", f->sinks && !f->sinks_windowed)                                                                \
    X("attention", "sinks in layers with a window", f->sinks_windowed)                                                     \
    X("attention", "more KV heads in layers with a window", f->windowed_kv_twice)                                          \
    X("attention", "values of another width than keys, times a factor", f->value_dim != 0)                                 \
    X("attention", "queries scaled by log of the position where a key says so", f->qwen_ntk)                               \
    X("attention", "queries scaled by steps of the position", f->query_steps || HAS(CHUNK))                                \
    X("attention", "layers that attend to images are left out", HAS(CROSS_LAYERS))                                          \
    X("positions", "RoPE", f->rope != ROPE_NEVER)                                                                          \
    X("positions", "RoPE on a part of a head", HAS(PARTIAL_ROPE))                                                          \
    X("positions", "RoPE in layers with a window only", f->rope == ROPE_WINDOWED_ONLY || f->rope == ROPE_WINDOWED_IF_ANY)  \
    X("positions", "RoPE unscaled in layers with a window", f->rope == ROPE_WINDOWED_PLAIN)                                \
    X("positions", "RoPE with a base of its own in layers with a window", f->rope == ROPE_WINDOWED_THETA)                  \
    X("positions", "RoPE not in every layer, by a list", f->nope_by_list)                                                  \
    X("positions", "RoPE whose base grows with the prompt where a key says so", f->qwen_ntk)                               \
    X("positions", "RoPE with a base raised once", f->rope_alpha)                                                          \
    X("positions", "RoPE with a ratio for long contexts", f->rope_ratio_divides || f->rope_ratio_multiplies)               \
    X("positions", "RoPE of two places, in the prompt and since", f->prefix)                                               \
    X("positions", "ALiBi", f->alibi)                                                                                      \
    X("positions", "learned positions", f->positions)                                                                      \
    X("positions", "none", f->rope == ROPE_NEVER && !f->alibi && !f->positions)                                            \
    X("MLP", "gate and up", !f->plain_mlp)                                                                                 \
    X("MLP", "up only", f->plain_mlp)                                                                                      \
    X("MLP", "SiLU", f->act == NULL && f->act_limit == 0.0)                                                                \
    X("MLP", "SiLU with limits", f->act_limit != 0.0)                                                                      \
    X("MLP", "GELU by tanh", SAYS("gelu_new") || SAYS("gelu_pytorch_tanh"))                                                \
    X("MLP", "GELU by erf", SAYS("gelu"))                                                                                  \
    X("MLP", "MLP biases", f->bias_mlp.from == BIAS_YES)                                                                   \
    X("MLP", "MLP biases by key", BY_KEY(f->bias_mlp))                                                                     \
    X("experts", "experts in every layer", HAS(MOE) && f->experts_in == EXPERTS_ALL && !f->experts_by_key)                 \
    X("experts", "experts in every layer where a key says so", f->experts_by_key)                                          \
    X("experts", "experts after some dense layers", HAS(MOE) && f->experts_in == EXPERTS_AFTER_DENSE)                      \
    X("experts", "experts in every n-th layer", HAS(MOE) && f->experts_in == EXPERTS_BY_STEP)                              \
    X("experts", "experts from one layer to another", HAS(MOE) && f->experts_in == EXPERTS_BETWEEN)                        \
    X("experts", "softmax over all experts", HAS(MOE) && f->routing.score == KERN_SCORE_SOFTMAX)                           \
    X("experts", "softmax over the chosen experts", HAS(MOE) && f->routing.score == KERN_SCORE_CHOSEN)                     \
    X("experts", "shares among the experts near each choice (SparseMixer)", HAS(MOE) && f->routing.score == KERN_SCORE_NEAR) \
    X("experts", "sigmoid of scores", HAS(MOE) && f->routing.score == KERN_SCORE_SIGMOID)                                  \
    X("experts", "a bias for choosing", f->choice_bias)                                                                    \
    X("experts", "factors by expert on the weights", f->expert_scaled)                                                     \
    X("experts", "an MLP beside the experts, norms for each and the router", f->dense_beside)                                 \
    X("experts", "groups judged by their two best", f->routing.group_by_two)                                               \
    X("experts", "weights on what an expert reads", f->routing.weigh_input)                                                \
    X("experts", "a shared expert", NAMED(MODEL_SHARED_UP))                                                                \
    X("experts", "a gate on the shared expert", f->shared_gated)                                                           \
    X("experts", "biases of router and experts", f->router_bias || f->bias_expert)                                         \
    X("ends", "tied unless the config says otherwise", f->tied)                                                            \
    X("ends", "embedding times the root of the width", f->embed == EMBED_SQRT_HIDDEN)                                      \
    X("ends", "embedding times the root of the width where a key says so", f->embed == EMBED_BY_KEY)                       \
    X("ends", "logits multiplied where others divide", f->logits_multiplied)                                               \
    X("ends", "a norm on the embedding", f->embed_norm)                                                                    \
    X("ends", "multipliers from the config", HAS(SCALES))                                                                  \
    X("ends", "cap on logits", f->logit_cap != 0.0)                                                                        \
    X("ends", "head with rows of unit length", f->head_normed || f->normed_vocab != 0)                                     \
    X("ends", "head bias by key", f->bias_head_by_key)                                                                     \
    X("ends", "head bias", f->bias_head)                                                                                   \
    X("source", "told from its namesakes by config keys", f->needs[0] != NULL || f->lacks[0] != NULL || f->framework != NULL) \
    X("source", "also inside a multimodal checkpoint", HAS(TEXT_TOWER))                                                    \
    X("source", "several roots of tensor names", f->spellings[1].body != NULL)                                             \
    X("source", "query, key, value in one matrix, one after another", f->qkv == QKV_CAT)                                   \
    X("source", "query, key, value in one matrix, by head", f->qkv == QKV_HEAD)                                            \
    X("source", "query, key, value in one matrix, by KV head", f->qkv == QKV_GROUP)                                        \
    X("source", "the gate of attention in a matrix of its own", f->gate_apart)                                             \
    X("source", "gate and up in one matrix", f->gate_up_fused)                                                             \
    X("source", "gate and up of the shared expert in one matrix", f->shared_fused)                                         \
    X("source", "rotary pairs side by side", f->rope_pairs)                                                                \
    X("source", "matrices stored [in, out]", f->transposed)                                                                \
    X("source", "linear attention's inputs fused", f->delta_fused != DELTA_APART)                                          \
    X("source", "experts of a layer in one tensor", f->experts_stacked)                                                    \
    X("source", "experts apart, or of a layer in one tensor", APART(MODEL_EXPERT_GATE))                                    \
    X("source", "experts of a layer in one tensor, transposed or not", f->experts_either)                                  \
    X("source", "gate and up of an expert row by row in turn", f->expert_fused == EXPERT_IN_TURN)                          \
    X("source", "embeddings past the vocabulary are left out", f->embed_spare != 0)                                        \
    X("source", "layers for predicting further tokens are left out", f->extra_layers)

#define TRAIT_ENTRY(aspect, words, condition) {aspect, words},
static const struct model_trait traits[] = {TRAITS(TRAIT_ENTRY)};
_Static_assert(ARRAY_LEN(traits) <= MODEL_MAX_TRAITS, "struct model_row has too little room");
_Static_assert(ARRAY_LEN(((struct model_family *)0)->architectures) < MODEL_ROW_NAMES, "a row's names need a 0 behind them");
_Static_assert(ARRAY_LEN(((struct model_family *)0)->model_types) < MODEL_ROW_NAMES, "a row's names need a 0 behind them");

const struct model_trait *model_traits(unsigned *count) {
    *count = ARRAY_LEN(traits);
    return traits;
}

bool model_row_at(unsigned index, struct model_row *row) {
    const struct model_family *f = model_family_at(index);
    unsigned at = 0;
    if (f == NULL) {
        return false;
    }
    *row = (struct model_row){.name = f->name};
    memcpy(row->architectures, f->architectures, sizeof(f->architectures));
    memcpy(row->model_types, f->model_types, sizeof(f->model_types));
#define TRAIT_HOLDS(aspect, words, condition) row->has[at++] = (condition);
    TRAITS(TRAIT_HOLDS)
#undef TRAIT_HOLDS
    return true;
}
