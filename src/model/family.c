/* SPDX-License-Identifier: Apache-2.0
 *
 * THE TABLE. A family is a row here and nothing anywhere else; the walk-through is docs/ADD-A-FAMILY.md, the facts are
 * in the configuration classes of the reference framework (reference/models.md sections 2, 6 and 7).
 */
#include "model/family_priv.h"

static const struct model_family FAMILIES[] = {
    {
        .name = "llama",
        .architectures = {"LlamaForCausalLM", "LLaMAForCausalLM"},
        .model_types = {"llama"},
        .tensor =
            {
                [MODEL_Q] = "model.layers.%d.self_attn.q_proj.weight",
                [MODEL_K] = "model.layers.%d.self_attn.k_proj.weight",
                [MODEL_V] = "model.layers.%d.self_attn.v_proj.weight",
                [MODEL_O] = "model.layers.%d.self_attn.o_proj.weight",
                [MODEL_GATE] = "model.layers.%d.mlp.gate_proj.weight",
                [MODEL_UP] = "model.layers.%d.mlp.up_proj.weight",
                [MODEL_DOWN] = "model.layers.%d.mlp.down_proj.weight",
                [MODEL_EMBED] = "model.embed_tokens.weight",
                [MODEL_HEAD] = "lm_head.weight",
                [MODEL_ATTN_NORM] = "model.layers.%d.input_layernorm.weight",
                [MODEL_MLP_NORM] = "model.layers.%d.post_attention_layernorm.weight",
                [MODEL_Q_BIAS] = "model.layers.%d.self_attn.q_proj.bias",
                [MODEL_K_BIAS] = "model.layers.%d.self_attn.k_proj.bias",
                [MODEL_V_BIAS] = "model.layers.%d.self_attn.v_proj.bias",
                [MODEL_O_BIAS] = "model.layers.%d.self_attn.o_proj.bias",
                [MODEL_GATE_BIAS] = "model.layers.%d.mlp.gate_proj.bias",
                [MODEL_UP_BIAS] = "model.layers.%d.mlp.up_proj.bias",
                [MODEL_DOWN_BIAS] = "model.layers.%d.mlp.down_proj.bias",
                [MODEL_FINAL_NORM] = "model.norm.weight",
            },
        /* Old exports saved the rotary table as a buffer of each layer; it is recomputed. */
        .ignored = {"rotary_emb.inv_freq"},
        .rope_theta = 10000.0,
        .norm_eps = 1e-6,
    },
};

const struct model_family *model_family_at(unsigned index) {
    return index < ARRAY_LEN(FAMILIES) ? &FAMILIES[index] : NULL;
}

const struct model_family *model_family_of_name(struct span name) {
    const struct model_family *f = NULL;
    for (unsigned i = 0; (f = model_family_at(i)) != NULL; i++) {
        if (span_is(name, f->name)) {
            return f;
        }
    }
    return NULL;
}

void model_families(void (*each)(void *user, const char *family, const char *architectures), void *user) {
    const struct model_family *f = NULL;
    for (unsigned i = 0; (f = model_family_at(i)) != NULL; i++) {
        struct str names = {0};
        for (unsigned a = 0; a < ARRAY_LEN(f->architectures) && f->architectures[a] != NULL; a++) {
            str_printf(&names, "%s%s", a == 0 ? "" : ", ", f->architectures[a]);
        }
        each(user, f->name, str_text(&names));
        str_drop(&names);
    }
}
