/* SPDX-License-Identifier: Apache-2.0
 * Heads, latents and windows of a GGUF checkpoint, as config.json says them. */
#include <math.h>
#include <stdio.h>

#include "model/gguf_model_priv.h"

/* The list that says which layers have a window: is there one? */
static bool has_pattern(struct gguf_writer *w) {
    char key[160];
    double item = 0;
    (void)snprintf(key, sizeof(key), "%s.attention.sliding_window_pattern", w->prefix);
    return w->g->number_at(w->g->user, key, 0, &item);
}

static bool is_windowed(struct gguf_writer *w, uint32_t layer) {
    double item = 0;
    if (!gguf_number_of_layer(w, "attention.sliding_window_pattern", layer, &item)) {
        gguf_fail(w, LAMINA_DAMAGED, "GGUF metadata: \"%s.attention.sliding_window_pattern\" has no item for layer %u", w->prefix,
                  layer);
    }
    return item != 0.0;
}

static void refuse_values(struct gguf_writer *w, const char *key, double keys) {
    double values = 0;
    if (gguf_number(w, key, &values) && values != keys) {
        gguf_fail(w, LAMINA_UNSUPPORTED, "GGUF architecture %s: heads with keys of %g and values of %g are not supported",
                  w->prefix, keys, values);
    }
}

/* Layers with a window and layers that see everything, each with heads of their own. The keys without "swa" are of the latter. */
static void put_two_forms(struct gguf_writer *w) {
    double full = gguf_number_needed(w, "attention.key_length");
    double kv_heads[2] = {0, 0};
    bool values_are_keys = false;
    w->two_forms = true;
    w->full_head_dim = full;
    gguf_put_number(w, "head_dim", w->head_dim);
    gguf_put_number(w, "global_head_dim", full);
    double shared = gguf_number_or(w, "attention.shared_kv_layers", 0);
    for (uint32_t i = 0; i < w->layers; i++) {
        bool windowed = is_windowed(w, i);
        bool keeps = (double)i < w->layers - shared;
        double heads = w->heads;
        (void)gguf_number_of_layer(w, "attention.head_count_kv", i, &heads);
        if (kv_heads[windowed] != 0.0 && kv_heads[windowed] != heads) {
            gguf_fail(w, LAMINA_UNSUPPORTED, "GGUF architecture %s: layers of one form that differ in KV heads are not supported",
                      w->prefix);
        }
        kv_heads[windowed] = heads;
        values_are_keys = values_are_keys || (!windowed && keeps && !gguf_layer_has(w, i, "attn_v.weight"));
    }
    gguf_put_number(w, "num_key_value_heads", kv_heads[1] != 0.0 ? kv_heads[1] : kv_heads[0]);
    if (kv_heads[0] != 0.0) {
        gguf_put_number(w, "num_global_key_value_heads", kv_heads[0]);
    }
    gguf_put_flag(w, "attention_k_eq_v", values_are_keys);
    if (shared != 0.0) {
        gguf_put_number(w, "num_kv_shared_layers", shared);
    }
    refuse_values(w, "attention.value_length_swa", w->head_dim);
}

/* Files from before there were separate widths for the two forms say those of the heads that are multiplied out. */
static void put_latents(struct gguf_writer *w) {
    double number = 0;
    double rotated = gguf_number_needed(w, "rope.dimension_count");
    bool apart = gguf_number(w, "attention.key_length_mla", &number);
    double keys = apart ? number : gguf_number_needed(w, "attention.key_length");
    gguf_put_number(w, "qk_rope_head_dim", rotated);
    gguf_put_number(w, "qk_nope_head_dim", keys - rotated);
    gguf_put_number(w, "v_head_dim", gguf_number_needed(w, apart ? "attention.value_length_mla" : "attention.value_length"));
    gguf_put_number(w, "kv_lora_rank", gguf_number_needed(w, "attention.kv_lora_rank"));
    if (gguf_number(w, "attention.q_lora_rank", &number) && number > 0.0) {
        gguf_put_number(w, "q_lora_rank", number);
    }
}

void gguf_put_heads(struct gguf_writer *w) {
    double number = 0;
    if (!gguf_number_of_all(w, "attention.head_count", &w->heads) || !(w->heads >= 1.0)) {
        gguf_fail(w, LAMINA_DAMAGED, "GGUF metadata: \"%s.attention.head_count\" is missing or not above 0", w->prefix);
        return;
    }
    gguf_put_number(w, "num_attention_heads", w->heads);
    if (w->f->latent) {
        put_latents(w);
        return;
    }
    w->head_dim = gguf_number_or(w, "attention.key_length", floor(w->hidden / w->heads));
    refuse_values(w, "attention.value_length", w->head_dim);
    if ((w->f->features & FEATURE_LAYER_ROPE) != 0 && gguf_number(w, "attention.key_length_swa", &w->head_dim)) {
        put_two_forms(w);
        return;
    }
    gguf_put_number(w, "num_key_value_heads", gguf_number_of_all(w, "attention.head_count_kv", &number) ? number : w->heads);
    gguf_put_number(w, "head_dim", w->head_dim);
}

/* Where some layers see chunks, the key is about those, and 0 means that all layers rotate and see everything. */
static void put_chunks(struct gguf_writer *w, bool given, double window) {
    if (given) {
        gguf_put_number(w, "attention_chunk_size", window);
    }
    if (given && window == 0.0) {
        gguf_put_number(w, "no_rope_layer_interval", w->layers + 1.0);
    }
}

/* Layers with a window by a list, by a period, or as the family has them. */
void gguf_put_window(struct gguf_writer *w) {
    double window = 0;
    double period = 0;
    bool given = gguf_number(w, "attention.sliding_window", &window);
    bool listed = has_pattern(w);
    bool by_switch = w->f->window >= WINDOW_SWITCH_LATE && w->f->window <= WINDOW_SWITCH_ALL;
    if (w->f->nope_by_list) {
        put_chunks(w, given, window);
        return;
    }
    bool by_default = w->f->window == WINDOW_EVEN || (w->f->window == WINDOW_PERIOD && w->f->rope != ROPE_WINDOWED_IF_ANY);
    if (!given && by_default) {
        return;
    }
    if (window == 0.0 || (by_switch && !listed)) {
        str_add_text(w->out, ", \"sliding_window\": null");
        return;
    }
    gguf_put_number(w, "sliding_window", window);
    if (!listed && w->f->window == WINDOW_PERIOD && gguf_number(w, "attention.sliding_window_pattern", &period)) {
        gguf_put_number(w, "sliding_window_pattern", period);
    }
    for (uint32_t i = 0; listed && i < w->layers; i++) {
        str_printf(w->out, "%s\"%s\"", i == 0 ? ", \"layer_types\": [" : ", ",
                   is_windowed(w, i) ? "sliding_attention" : "full_attention");
    }
    str_add_text(w->out, listed ? "]" : "");
}
