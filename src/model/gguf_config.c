/* SPDX-License-Identifier: Apache-2.0
 *
 * From a GGUF file's metadata to the config.json that its model would have in the family's own format, so that one reader, one
 * table and one set of checks serve both. The metadata says less than config.json does: what is missing is told from the tensors
 * that are there, from their shapes, and from the table of architectures. Numbers pass as they are, model_resolve checks them;
 * only what this file itself counts with is checked here. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/config_priv.h"
#include "model/gguf_model_priv.h"

/* ---- which row ---- */

static lamina_status refuse_architecture(struct gguf_writer *w) {
    const char *best = "none";
    unsigned best_distance = UINT32_MAX;
    bool known = false;
    for (unsigned i = 0; i < gguf_arch_count; i++) {
        unsigned d = family_name_distance(w->prefix, gguf_archs[i].name);
        known = known || strcmp(w->prefix, gguf_archs[i].name) == 0;
        if (d < best_distance) {
            best_distance = d;
            best = gguf_archs[i].name;
        }
    }
    if (known) {
        return base_fail(w->err, LAMINA_UNSUPPORTED,
                         "GGUF architecture %s: this file is of a kind that is not supported; missing: keys of the metadata that "
                         "newer converters write; convert the model again",
                         w->prefix);
    }
    return base_fail(w->err, LAMINA_UNSUPPORTED,
                     "GGUF architecture %s is not supported; the nearest supported one is %s; missing: a row for it in the table "
                     "of architectures",
                     w->prefix, best);
}

static bool fits(struct gguf_writer *w, const struct gguf_arch *a) {
    uint64_t shape[4];
    if (strcmp(a->name, w->prefix) != 0) {
        return false;
    }
    return (a->needs_key == NULL || gguf_number_or(w, a->needs_key, 0) > 0.0) &&
           (a->needs_tensor == NULL || gguf_layer_with(w, a->needs_tensor, shape) >= 0) &&
           (a->needs_layers == 0 || a->needs_layers == w->layers) && (a->needs_vocab == 0 || a->needs_vocab == w->vocab);
}

static lamina_status find_row(struct gguf_writer *w) {
    for (unsigned i = 0; i < gguf_arch_count; i++) {
        if (fits(w, &gguf_archs[i])) {
            w->arch = &gguf_archs[i];
            w->f = model_family_of_name(span_of_text(w->arch->family));
            (void)gguf_number_needed(w, "block_count");
            return w->failed;
        }
    }
    return w->failed != LAMINA_OK ? w->failed : refuse_architecture(w);
}

/* What rows are chosen by. */
static lamina_status take_size(struct gguf_writer *w) {
    uint64_t shape[4] = {0};
    uint32_t rank = 0;
    double blocks = 0;
    if (!gguf_number(w, "block_count", &blocks)) { /* unknown architectures are refused by name */
        return w->failed;
    }
    double layers = blocks - gguf_number_or(w, "nextn_predict_layers", 0);
    if (!(layers >= 1 && layers <= MODEL_MAX_LAYERS) || layers != floor(layers)) {
        gguf_fail(w, LAMINA_DAMAGED, "GGUF metadata: \"%s.block_count\" is %g, expected a whole number from 1 to %d", w->prefix,
                  blocks, (int)MODEL_MAX_LAYERS);
        return w->failed;
    }
    w->layers = (uint32_t)layers;
    if (w->g->shape(w->g->user, "token_embd.weight", &rank, shape) && rank == 2) {
        w->vocab = (double)shape[0];
    }
    return w->failed;
}

/* ---- members ---- */

/* Embeddings per layer. */
static void put_layer_inputs(struct gguf_writer *w) {
    uint64_t shape[4] = {0};
    uint32_t rank = 0;
    double width = gguf_number_or(w, "embedding_length_per_layer_input", 0);
    if (width != 0.0) {
        gguf_put_number(w, "hidden_size_per_layer_input", width);
    }
    if (width != 0.0 && w->g->shape(w->g->user, "per_layer_token_embd.weight", &rank, shape) && rank == 2) {
        gguf_put_number(w, "vocab_size_per_layer_input", (double)shape[0]);
    }
}

static void put_head(struct gguf_writer *w) {
    str_printf(w->out, "{\"architectures\": [\"%s\"], \"lamina_gguf\": true%s", w->f->architectures[0],
               w->arch->extra != NULL ? w->arch->extra : "");
    gguf_put_number(w, "num_hidden_layers", w->layers);
    w->hidden = gguf_number_needed(w, "embedding_length");
    gguf_put_number(w, "hidden_size", w->hidden);
    if (w->vocab == 0.0) {
        gguf_fail(w, LAMINA_DAMAGED, "there is no tensor \"token_embd.weight\" of two dimensions");
    }
    gguf_put_number(w, "vocab_size", w->vocab);
    gguf_put_flag(w, "tie_word_embeddings", !gguf_has(w, "output.weight"));
    put_layer_inputs(w);
}

static void put_positions(struct gguf_writer *w) {
    uint64_t shape[4] = {0};
    uint32_t rank = 0;
    double most = 0;
    bool learned = w->f->positions && w->g->shape(w->g->user, "position_embd.weight", &rank, shape) && rank == 2;
    if (learned) {
        gguf_put_number(w, "max_position_embeddings", (double)shape[0]);
    } else if (gguf_number(w, "context_length", &most)) {
        /* Rows with a position bias of one architecture with others are told from them by this key. */
        gguf_put_number(w, w->f->alibi ? "model_max_length" : "max_position_embeddings", most);
    }
}

static void put_norm(struct gguf_writer *w) {
    const char *keys[2] = {"attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"};
    bool mean = w->f->norm != MODEL_NORM_RMS;
    double eps = 0;
    if (!gguf_number(w, keys[mean], &eps)) {
        eps = gguf_number_or(w, keys[!mean], -1.0);
    }
    if (eps < 0.0) {
        gguf_fail(w, LAMINA_DAMAGED, "GGUF metadata: \"%s.%s\" is missing", w->prefix, keys[mean]);
    }
    gguf_put_number(w, "rms_norm_eps", eps);
}

static void put_if_given(struct gguf_writer *w, const char *key, const char *member) {
    double number = 0;
    if (gguf_number(w, key, &number)) {
        gguf_put_number(w, member, number);
    }
}

static void put_scales(struct gguf_writer *w) {
    bool scaled = (w->f->features & FEATURE_SCALES) != 0;
    bool wide = w->arch->wide_scalar_layers != 0 && w->arch->wide_scalar_layers == w->layers;
    double scale = 0;
    put_if_given(w, "attn_logit_softcapping", "attn_logit_softcapping");
    put_if_given(w, "final_logit_softcapping", "final_logit_softcapping");
    put_if_given(w, "attention.clamp_kqv", "clip_qkv");
    put_if_given(w, "attention.indexer.top_k", "index_topk");
    put_if_given(w, "embedding_scale", "embedding_multiplier");
    put_if_given(w, "residual_scale", "residual_multiplier");
    put_if_given(w, "logit_scale", (w->arch->traits & GGUF_LOGIT_DIVISOR) != 0 ? "logits_scaling" : "logit_scale");
    if (gguf_number(w, "attention.scale", &scale) && scale > 0.0) {
        gguf_put_number(w, scaled ? "attention_multiplier" : "query_pre_attn_scalar", scaled ? scale : 1.0 / (scale * scale));
    } else if (w->arch->wide_scalar_layers != 0) {
        gguf_put_number(w, "query_pre_attn_scalar", wide ? floor(w->hidden / w->heads) : w->head_dim);
    }
}

/* What is there, config.json's switches say. */
static void put_switches(struct gguf_writer *w) {
    uint64_t shape[4];
    bool fused_bias = gguf_layer_with(w, "attn_qkv.bias", shape) >= 0;
    bool mlp_norm = gguf_layer_with(w, "ffn_norm.weight", shape) >= 0;
    bool in_metadata = w->f->parallel == MODEL_PARALLEL2 && gguf_number_or(w, "use_parallel_residual", 1.0) != 0.0;
    gguf_put_flag(w, "qkv_bias", fused_bias || gguf_layer_with(w, "attn_q.bias", shape) >= 0);
    gguf_put_flag(w, "bias", gguf_layer_with(w, "attn_output.bias", shape) >= 0);
    gguf_put_flag(w, "mlp_bias", gguf_layer_with(w, "ffn_down.bias", shape) >= 0);
    if (w->f->qk_norm == MODEL_QK_UNIT) { /* without weights; the largest model of the family has none */
        gguf_put_flag(w, "use_qk_norm", gguf_number_or(w, "expert_count", 0) < 128.0);
    } else if (w->f->qk_norm == MODEL_QK_NONE || w->f->qk_norm_by_key) {
        gguf_put_flag(w, "use_qk_norm", gguf_layer_with(w, "attn_q_norm.weight", shape) >= 0);
    }
    if (w->f->parallel != 0) {
        gguf_put_flag(w, "use_parallel_residual", !mlp_norm || in_metadata);
    }
    put_if_given(w, "attention.temperature_length", "floor_scale");
    if (w->f->nope_by_list) {
        put_if_given(w, "attention.temperature_scale", "attn_scale");
    }
}

/* ---- experts ---- */

static void put_dense_layers(struct gguf_writer *w) {
    uint32_t leading = 0;
    const char *between = "";
    while (leading < w->layers && !gguf_layer_has(w, leading, "ffn_gate_inp.weight")) {
        leading++;
    }
    if (w->f->experts_in == EXPERTS_AFTER_DENSE) {
        gguf_put_number(w, "first_k_dense_replace", gguf_number_or(w, "leading_dense_block_count", leading));
    }
    if (w->f->experts_in == EXPERTS_BETWEEN) {
        uint32_t last = w->layers - 1;
        while (last > 0 && !gguf_layer_has(w, last, "ffn_gate_inp.weight")) {
            last--;
        }
        gguf_put_number(w, "moe_layer_start_index", gguf_number_or(w, "leading_dense_block_count", leading));
        gguf_put_number(w, "moe_layer_end_index", last);
        put_if_given(w, "interleave_moe_layer_step", "moe_layer_interval");
    }
    if (w->f->experts_in != EXPERTS_BY_STEP) {
        return;
    }
    str_add_text(w->out, ", \"mlp_only_layers\": [");
    for (uint32_t i = 0; i < w->layers; i++) {
        if (!gguf_layer_has(w, i, "ffn_gate_inp.weight")) {
            str_printf(w->out, "%s%u", between, i);
            between = ", ";
        }
    }
    str_add_text(w->out, "]");
}

/* How wide an expert is: by key, else by shape. */
static double expert_width(struct gguf_writer *w) {
    uint64_t shape[4] = {0};
    double width = 0;
    if (gguf_number(w, "expert_feed_forward_length", &width) && width > 0.0) {
        return width;
    }
    if (gguf_layer_with(w, "ffn_up_exps.weight", shape) >= 0) {
        return (double)shape[1];
    }
    return gguf_layer_with(w, "ffn_gate_up_exps.weight", shape) >= 0 ? (double)(shape[1] / 2) : 0.0;
}

static void put_shared(struct gguf_writer *w, double width) {
    uint64_t shape[4] = {0};
    double number = 0;
    double found = gguf_layer_with(w, "ffn_up_shexp.weight", shape) >= 0 ? (double)shape[0] : 0.0;
    if (w->f->shared_as_expert) {
        return;
    }
    if (w->f->shared_by_count) {
        gguf_put_number(w, "n_shared_experts",
                        gguf_number(w, "expert_shared_count", &number) ? number : width > 0.0 ? found / width : 0.0);
        return;
    }
    gguf_put_number(w, "shared_expert_intermediate_size",
                    gguf_number(w, "expert_shared_feed_forward_length", &number) && number > 0.0 ? number : found);
}

static void put_choice(struct gguf_writer *w) {
    static const char *const scores[] = {"", "softmax", "sigmoid"};
    double number = 0;
    bool chosen = w->f->routing.score == KERN_SCORE_CHOSEN; /* its own function, whatever is written */
    if (!chosen && gguf_number(w, "expert_gating_func", &number) && number != 0.0) {
        if (number != 1.0 && number != 2.0) {
            gguf_fail(w, LAMINA_UNSUPPORTED, "GGUF architecture %s: experts chosen by function %g are not supported", w->prefix,
                      number);
            return;
        }
        gguf_put_text(w, "scoring_func", scores[(unsigned)number]);
    }
    if (gguf_number(w, "expert_weights_norm", &number)) {
        gguf_put_flag(w, "norm_topk_prob", number != 0.0);
    }
    if (gguf_number(w, "expert_weights_scale", &number) && number != 0.0) {
        gguf_put_number(w, "routed_scaling_factor", number);
    }
}

static void put_groups(struct gguf_writer *w, double experts) {
    double groups = 0;
    if (gguf_number(w, "expert_group_count", &groups)) {
        if (groups > 1.0) {
            gguf_put_number(w, "n_group", groups);
            gguf_put_number(w, "topk_group", gguf_number_or(w, "expert_group_used_count", groups));
        }
        return;
    }
    for (const struct gguf_groups *k = gguf_known_groups; k->experts != 0; k++) {
        if (strcmp(k->arch, w->prefix) == 0 && k->experts == experts && k->layers == w->layers) {
            gguf_put_number(w, "n_group", k->groups);
            gguf_put_number(w, "topk_group", k->kept);
        }
    }
}

/* Of layers without experts. Layers that read another's keys and values may have twice the width. */
static bool mlp_width(struct gguf_writer *w, double *ffn) {
    double last = 0;
    if ((w->f->features & FEATURE_SHARED_KV) == 0) {
        return gguf_number_of_all(w, "feed_forward_length", ffn) && *ffn != 0.0;
    }
    bool given = gguf_number_of_layer(w, "feed_forward_length", 0, ffn) &&
                 gguf_number_of_layer(w, "feed_forward_length", w->layers - 1, &last);
    gguf_put_flag(w, "use_double_wide_mlp", given && last == 2.0 * *ffn);
    return given;
}

static void put_mlp(struct gguf_writer *w) {
    double ffn = 0;
    double experts = gguf_number_or(w, "expert_count", 0);
    bool given = mlp_width(w, &ffn);
    if (experts == 0.0 || !(w->f->features & FEATURE_MOE)) {
        if (given) {
            gguf_put_number(w, "intermediate_size", ffn);
        }
        if (experts > 0.0) { /* asks for what the row lacks */
            gguf_put_number(w, "num_experts", experts);
        }
        return;
    }
    double width = expert_width(w);
    if (w->f->expert_ffn_is_ffn) {
        gguf_put_number(w, "intermediate_size", width);
    } else {
        gguf_put_number(w, "moe_intermediate_size", width);
    }
    if (given) {
        gguf_put_number(w, w->f->expert_ffn_is_ffn ? "intermediate_size_mlp" : "intermediate_size", ffn);
    }
    if (gguf_layer_has(w, 0, "ffn_gate.0.weight") || gguf_layer_has(w, w->layers - 1, "ffn_gate.0.weight")) {
        gguf_fail(w, LAMINA_UNSUPPORTED,
                  "GGUF architecture %s: this file has a tensor for each expert, as files before April 2024 had; convert the "
                  "model again",
                  w->prefix);
    }
    gguf_put_number(w, "num_experts", experts);
    gguf_put_flag(w, "enable_moe_block", true);
    put_if_given(w, "expert_used_count", "num_experts_per_tok");
    put_dense_layers(w);
    put_shared(w, width);
    put_choice(w);
    put_groups(w, experts);
}

/* ---- linear attention ---- */

/* Layers that keep no keys have linear attention. */
static void put_delta_by_heads(struct gguf_writer *w) {
    double kept = 0;
    const char *between = "";
    str_add_text(w->out, ", \"linear_attn_config\": {\"num_heads\": ");
    str_printf(w->out, "%.0f", w->heads);
    gguf_put_number(w, "head_dim", gguf_number_needed(w, "kda.head_dim"));
    gguf_put_number(w, "short_conv_kernel_size", gguf_number_needed(w, "ssm.conv_kernel"));
    str_add_text(w->out, ", \"kda_layers\": [");
    for (uint32_t i = 0; i < w->layers; i++) {
        if (gguf_number_of_layer(w, "attention.head_count_kv", i, &kept) && kept == 0.0) {
            str_printf(w->out, "%s%u", between, i + 1);
            between = ", ";
        }
    }
    str_add_text(w->out, "]}");
}

static void put_delta(struct gguf_writer *w) {
    if ((w->f->features & FEATURE_LINEAR) == 0) {
        return;
    }
    if (w->f->delta_fused == DELTA_APART) {
        put_delta_by_heads(w);
        return;
    }
    double heads = gguf_number_needed(w, "ssm.time_step_rank");
    double key_heads = gguf_number_needed(w, "ssm.group_count");
    double inner = gguf_number_needed(w, "ssm.inner_size");
    gguf_put_number(w, "linear_conv_kernel_dim", gguf_number_needed(w, "ssm.conv_kernel"));
    gguf_put_number(w, "linear_key_head_dim", gguf_number_needed(w, "ssm.state_size"));
    gguf_put_number(w, "linear_num_key_heads", key_heads);
    gguf_put_number(w, "linear_num_value_heads", heads);
    gguf_put_number(w, "linear_value_head_dim", heads >= 1.0 ? inner / heads : 0.0);
    gguf_put_number(w, "full_attention_interval", gguf_number_or(w, "full_attention_interval", 4.0));
}

/* ---- the rest ---- */

/* Ids beyond the vocabulary (some files say -1 for none) are left out. */
static void put_ids(struct gguf_writer *w) {
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    double seen[ARRAY_LEN(ends)] = {-1, -1, -1};
    const char *between = "";
    double id = 0;
    if (gguf_number(w, "tokenizer.ggml.bos_token_id", &id) && id >= 0.0 && id < w->vocab && id == floor(id)) {
        str_printf(w->out, ", \"bos_token_id\": %.0f", id);
    }
    str_add_text(w->out, ", \"eos_token_id\": [");
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        if (gguf_number(w, ends[i], &id) && id >= 0.0 && id < w->vocab && id == floor(id) && id != seen[0] && id != seen[1]) {
            str_printf(w->out, "%s%.0f", between, id);
            between = ", ";
            seen[i] = id;
        }
    }
    str_add_text(w->out, "]");
}

/* Keys that change the computation in ways that the row at hand has not. */
static void refuse_features(struct gguf_writer *w) {
    static const struct {
        const char *key;
        double off;
        const char *words;
    } keys[] = {{"attention.clamp_kqv", 0, "clipped queries, keys and values"},
                {"router_logit_softcapping", 0, "soft caps on the scores of experts"},
                {"attention.causal", 1, "attention that sees later positions"},
                {"rope.scaling.finetuned", 1, "layers without rotary positions"},
                {"attention.temperature_scale", 0, "factors on queries by position"},
                {"attention.max_alibi_bias", 0, "ALiBi position bias"}};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        double number = gguf_number_or(w, keys[i].key, keys[i].off);
        bool known = (i == 0 && (w->f->features & FEATURE_CLIP) != 0) ||
                     (i == 3 && (w->f->features & FEATURE_SCALES) == 0) || /* a switch in that architecture alone */
                     (i == 4 && (w->f->query_steps || w->f->nope_by_list)) || (i == 5 && w->f->alibi && number == 8.0);
        if (number != keys[i].off && !known) {
            gguf_fail(w, LAMINA_UNSUPPORTED, "GGUF architecture %s: this file needs %s (%s.%s), which is not supported", w->prefix,
                      keys[i].words, w->prefix, keys[i].key);
        }
    }
}

lamina_status model_gguf_config(const struct model_gguf *g, struct str *config_json, struct lamina_error *err) {
    char prefix[64];
    struct span name = {0};
    struct gguf_writer w = {.g = g, .prefix = prefix, .out = config_json, .err = err};
    if (!g->text(g->user, "general.architecture", &name) || name.len == 0 || name.len >= sizeof(prefix) ||
        memchr(name.ptr, 0, name.len) != NULL) {
        return base_fail(err, LAMINA_DAMAGED, "GGUF metadata: \"general.architecture\" is missing or no name");
    }
    (void)snprintf(prefix, sizeof(prefix), "%.*s", (int)name.len, (const char *)name.ptr);
    LAMINA_TRY(take_size(&w));
    LAMINA_TRY(find_row(&w));
    put_head(&w);
    put_positions(&w);
    put_norm(&w);
    gguf_put_heads(&w);
    gguf_put_rope(&w);
    gguf_put_window(&w);
    put_scales(&w);
    put_switches(&w);
    put_mlp(&w);
    put_delta(&w);
    put_ids(&w);
    refuse_features(&w);
    str_add_text(config_json, "}");
    if (w.failed == LAMINA_OK && config_json->failed) {
        return base_fail(err, LAMINA_NO_FIT, "no memory for the metadata of a GGUF file");
    }
    return w.failed;
}
