/* SPDX-License-Identifier: Apache-2.0
 *
 * What becomes of a family's row when its checkpoint is a GGUF file: the names of tensors, which are the same in all
 * architectures but for a few, and the switches that say how the source lies. Converters undo most of what families do:
 * matrices are [out, in], norms that mean 1 + w hold 1 + w, what is fused is all Q, all K, all V, and experts are stacked,
 * gate and up apart. Which tensors are fused differs between files of one architecture, so it is looked up in the file. */
#include <stdio.h>
#include <string.h>

#include "base/span.h"
#include "model/gguf_model_priv.h"

static const char *const NAMES[MODEL_ROLES] = {
    [MODEL_QA] = "blk.%d.attn_q_a.weight",
    [MODEL_KV_A] = "blk.%d.attn_kv_a_mqa.weight",
    [MODEL_UK] = "blk.%d.attn_k_b.weight",
    [MODEL_UV] = "blk.%d.attn_v_b.weight",
    [MODEL_ZA] = "blk.%d.ssm_g_a.weight",
    [MODEL_Z] = "blk.%d.attn_q.weight", /* of gated attention: with the queries, head by head */
    [MODEL_DECAY_A] = "blk.%d.ssm_f_a.weight",
    [MODEL_DECAY] = "blk.%d.ssm_f_b.weight",
    [MODEL_BETA] = "blk.%d.ssm_beta.weight",
    [MODEL_Q] = "blk.%d.attn_q.weight",
    [MODEL_K] = "blk.%d.attn_k.weight",
    [MODEL_V] = "blk.%d.attn_v.weight",
    [MODEL_O] = "blk.%d.attn_output.weight",
    [MODEL_GATE] = "blk.%d.ffn_gate.weight",
    [MODEL_UP] = "blk.%d.ffn_up.weight",
    [MODEL_DOWN] = "blk.%d.ffn_down.weight",
    [MODEL_ROUTER] = "blk.%d.ffn_gate_inp.weight",
    [MODEL_SHARED_ROUTER] = "blk.%d.ffn_gate_inp_shexp.weight",
    [MODEL_SHARED_GATE] = "blk.%d.ffn_gate_shexp.weight",
    [MODEL_SHARED_UP] = "blk.%d.ffn_up_shexp.weight",
    [MODEL_SHARED_DOWN] = "blk.%d.ffn_down_shexp.weight",
    [MODEL_EXPERT_GATE] = "blk.%d.ffn_gate_exps.weight",
    [MODEL_EXPERT_UP] = "blk.%d.ffn_up_exps.weight",
    [MODEL_EXPERT_DOWN] = "blk.%d.ffn_down_exps.weight",
    [MODEL_INPUT_GATE] = "blk.%d.inp_gate.weight",
    [MODEL_INPUT_OUT] = "blk.%d.proj.weight",
    [MODEL_EMBED] = "token_embd.weight",
    [MODEL_HEAD] = "output.weight",
    [MODEL_INPUT_EMBED] = "per_layer_token_embd.weight",
    [MODEL_INPUT_PROJ] = "per_layer_model_proj.weight",
    [MODEL_ATTN_NORM] = "blk.%d.attn_norm.weight",
    [MODEL_MLP_NORM] = "blk.%d.ffn_norm.weight",
    [MODEL_Q_BIAS] = "blk.%d.attn_q.bias",
    [MODEL_K_BIAS] = "blk.%d.attn_k.bias",
    [MODEL_V_BIAS] = "blk.%d.attn_v.bias",
    [MODEL_O_BIAS] = "blk.%d.attn_output.bias",
    [MODEL_GATE_BIAS] = "blk.%d.ffn_gate.bias",
    [MODEL_UP_BIAS] = "blk.%d.ffn_up.bias",
    [MODEL_DOWN_BIAS] = "blk.%d.ffn_down.bias",
    [MODEL_ATTN_NORM_BIAS] = "blk.%d.attn_norm.bias",
    [MODEL_MLP_NORM_BIAS] = "blk.%d.ffn_norm.bias",
    [MODEL_ATTN_POST_NORM] = "blk.%d.post_attention_norm.weight",
    [MODEL_MLP_POST_NORM] = "blk.%d.post_ffw_norm.weight",
    [MODEL_Q_NORM] = "blk.%d.attn_q_norm.weight",
    [MODEL_K_NORM] = "blk.%d.attn_k_norm.weight",
    [MODEL_QA_NORM] = "blk.%d.attn_q_a_norm.weight",
    [MODEL_KV_A_NORM] = "blk.%d.attn_kv_a_norm.weight",
    [MODEL_CONV_Q] = "blk.%d.ssm_conv1d_q.weight",
    [MODEL_CONV_K] = "blk.%d.ssm_conv1d_k.weight",
    [MODEL_CONV_V] = "blk.%d.ssm_conv1d_v.weight",
    [MODEL_DECAY_RATE] = "blk.%d.ssm_a",
    [MODEL_DECAY_BIAS] = "blk.%d.ssm_dt.bias",
    [MODEL_DELTA_NORM] = "blk.%d.ssm_norm.weight",
    [MODEL_INPUT_POST_NORM] = "blk.%d.post_norm.weight",
    [MODEL_LAYER_SCALE] = "blk.%d.layer_output_scale.weight",
    [MODEL_SINKS] = "blk.%d.attn_sinks.weight",
    [MODEL_ROUTER_BIAS] = "blk.%d.ffn_gate_inp.bias",
    [MODEL_CHOICE_BIAS] = "blk.%d.exp_probs_b.bias",
    [MODEL_EXPERT_GATE_BIAS] = "blk.%d.ffn_gate_exps.bias",
    [MODEL_EXPERT_UP_BIAS] = "blk.%d.ffn_up_exps.bias",
    [MODEL_EXPERT_DOWN_BIAS] = "blk.%d.ffn_down_exps.bias",
    [MODEL_ROUTER_NORM] = "blk.%d.ffn_gate_inp.scale",
    [MODEL_EXPERT_SCALE] = "blk.%d.ffn_down_exps.scale",
    [MODEL_DENSE_POST_NORM] = "blk.%d.post_ffw_norm_1.weight",
    [MODEL_EXPERT_NORM] = "blk.%d.pre_ffw_norm_2.weight",
    [MODEL_EXPERT_POST_NORM] = "blk.%d.post_ffw_norm_2.weight",
    [MODEL_FINAL_NORM] = "output_norm.weight",
    [MODEL_FINAL_NORM_BIAS] = "output_norm.bias",
    [MODEL_HEAD_BIAS] = "output.bias",
    [MODEL_INPUT_NORM] = "per_layer_proj_norm.weight",
    [MODEL_POSITIONS] = "position_embd.weight",
    [MODEL_EMBED_NORM] = "token_embd_norm.weight",
    [MODEL_EMBED_NORM_BIAS] = "token_embd_norm.bias",
};

/* Frequencies and what they are divided by: recomputed, or taken into config.json. */
static const char *const IGNORED[] = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight",
                                      "attn_rot_embd.weight"};

static const char FUSED_QKV[] = "blk.%d.attn_qkv.weight";
static const char FUSED_QKV_BIAS[] = "blk.%d.attn_qkv.bias";
static const char FUSED_EXPERTS[] = "blk.%d.ffn_gate_up_exps.weight";
static const char WHOLE_LATENT[] = "blk.%d.attn_kv_b.weight";
static const char WHOLE_DELTA[] = "blk.%d.ssm_in.weight";

static void set_roles(const char **names, enum model_role first, enum model_role last, const char *name) {
    for (unsigned r = (unsigned)first; r <= (unsigned)last; r++) {
        names[r] = name;
    }
}

/* Linear attention whose queries, keys and values share a tensor, and so does the convolution on them. */
static void name_delta(uint32_t forms, struct model_family *f) {
    bool whole = (forms & GGUF_DELTA_WHOLE) != 0;
    bool by_head = f->delta_fused == DELTA_BY_HEAD;
    const char **names = f->delta_tensor;
    if (f->delta_fused == DELTA_APART) {
        names[MODEL_Q] = NAMES[MODEL_Q];
        names[MODEL_Z] = "blk.%d.ssm_g_b.weight";
        return;
    }
    set_roles(names, MODEL_Q, MODEL_V, whole ? WHOLE_DELTA : FUSED_QKV);
    set_roles(names, MODEL_CONV_Q, MODEL_CONV_V, "blk.%d.ssm_conv1d.weight");
    names[MODEL_Z] = whole ? WHOLE_DELTA : "blk.%d.attn_gate.weight";
    names[MODEL_O] = "blk.%d.ssm_out.weight";
    names[MODEL_BETA] = by_head ? "blk.%d.ssm_ba.weight" : "blk.%d.ssm_beta.weight";
    names[MODEL_DECAY] = by_head ? "blk.%d.ssm_ba.weight" : "blk.%d.ssm_alpha.weight";
    f->delta_fused = by_head && !whole ? DELTA_CAT_BY_HEAD : f->delta_fused;
}

static void name_fused(uint32_t forms, struct model_family *f) {
    if ((forms & GGUF_QKV_FUSED) != 0) {
        set_roles(f->tensor, MODEL_Q, MODEL_V, FUSED_QKV);
        set_roles(f->tensor, MODEL_Q_BIAS, MODEL_V_BIAS, FUSED_QKV_BIAS);
    }
    if ((forms & GGUF_FFN_FUSED) != 0) {
        f->tensor[MODEL_GATE] = f->tensor[MODEL_UP];
        f->tensor[MODEL_GATE_BIAS] = f->tensor[MODEL_UP_BIAS];
    }
    if ((forms & GGUF_EXPERTS_FUSED) != 0) {
        set_roles(f->tensor, MODEL_EXPERT_GATE, MODEL_EXPERT_UP, FUSED_EXPERTS);
    }
    if (f->latent) {
        f->q_plain_name = NAMES[MODEL_Q];
        f->tensor[MODEL_Q] = "blk.%d.attn_q_b.weight";
    }
    if ((forms & GGUF_LATENT_WHOLE) != 0) {
        set_roles(f->tensor, MODEL_UK, MODEL_UV, WHOLE_LATENT);
    }
}

static const struct gguf_arch *arch_of_family(const char *family) {
    for (unsigned i = 0; i < gguf_arch_count; i++) {
        if (strcmp(gguf_archs[i].family, family) == 0) {
            return &gguf_archs[i];
        }
    }
    return NULL;
}

void gguf_family(const struct model_family *row, uint32_t forms, struct model_family *out) {
    const struct gguf_arch *arch = arch_of_family(row->name);
    *out = *row;
    memcpy(out->tensor, NAMES, sizeof(out->tensor));
    memset(out->delta_tensor, 0, sizeof(out->delta_tensor));
    memset(out->spellings, 0, sizeof(out->spellings));
    memset(out->ignored, 0, sizeof(out->ignored));
    memcpy(out->ignored, IGNORED, sizeof(IGNORED));
    out->spellings[0] = (struct model_spelling){"", ""};
    for (unsigned i = 0; arch != NULL && i < ARRAY_LEN(arch->named) && arch->named[i].name != NULL; i++) {
        out->tensor[arch->named[i].role] = arch->named[i].name;
    }
    name_fused(forms, out);
    if ((row->features & FEATURE_LINEAR) != 0) {
        name_delta(forms, out);
    }
    /* What config.json would say of biases, the tensors say: the writer of the metadata's config.json looks which are there. */
    out->bias_qkv = (struct model_bias_rule){BIAS_QKV_KEY, false};
    out->bias_o = (struct model_bias_rule){BIAS_PLAIN_KEY, false};
    out->bias_mlp = (struct model_bias_rule){BIAS_MLP_KEY, false};
    out->extra_layers = row->extra_layers || (arch != NULL && (arch->traits & GGUF_COUNTS_FURTHER) != 0);
    out->rope_pairs = arch != NULL && (arch->traits & GGUF_PAIRS) != 0;
    out->qkv = (forms & GGUF_QKV_FUSED) != 0 ? QKV_CAT : QKV_SEP;
    out->multi_query_default = false; /* heads are counted */
    out->score_multiplier = 0;        /* a scale that is missing is that by the width of a head */
    out->gate_up_fused = (forms & GGUF_FFN_FUSED) != 0;
    out->shared_fused = false;
    out->position_offset = 0;
    out->norms_plus_one = false;
    out->transposed = false;
    out->experts_stacked = true;
    out->experts_transposed = false;
    out->expert_fused = (forms & GGUF_EXPERTS_FUSED) != 0 ? EXPERT_HALVES : EXPERT_APART;
    out->latent_apart = (forms & GGUF_LATENT_WHOLE) == 0;
    out->decay_exponentiated = true;
    out->delta_tiled = arch != NULL && (arch->traits & GGUF_TILED_VALUES) != 0;
}

/* Has a layer of this kind the tensor? */
static bool in_layers(const struct model_desc *desc, bool linear, const char *pattern,
                      model_has_fn *has, void *user) {
    char name[64];
    for (uint32_t i = 0; i < desc->layers; i++) {
        (void)snprintf(name, sizeof(name), "blk.%u.%s", i, pattern);
        if ((model_kind_of(desc, i)->mixer == MODEL_DELTA) == linear && has(user, name, NULL)) {
            return true;
        }
    }
    return false;
}

uint32_t gguf_forms(const struct model_desc *desc, model_has_fn *has, void *user) {
    uint32_t forms = 0;
    forms |= in_layers(desc, false, "attn_qkv.weight", has, user) ? GGUF_QKV_FUSED : 0u;
    forms |= desc->gated && in_layers(desc, false, "ffn_up.weight", has, user) &&
                     !in_layers(desc, false, "ffn_gate.weight", has, user)
                 ? GGUF_FFN_FUSED
                 : 0u;
    forms |= in_layers(desc, false, "ffn_gate_up_exps.weight", has, user) ? GGUF_EXPERTS_FUSED : 0u;
    forms |= in_layers(desc, false, "attn_kv_b.weight", has, user) ? GGUF_LATENT_WHOLE : 0u;
    forms |= in_layers(desc, true, "ssm_in.weight", has, user) ? GGUF_DELTA_WHOLE : 0u;
    return forms;
}
