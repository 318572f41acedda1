/* SPDX-License-Identifier: Apache-2.0
 * GGUF checkpoints: the table of architectures, and what becomes of a family's row when its checkpoint is a GGUF file.
 * Private to the model room. */
#ifndef MODEL_GGUF_MODEL_PRIV_H
#define MODEL_GGUF_MODEL_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "model/family_priv.h"

enum gguf_trait {
    GGUF_PAIRS = 1 << 0,         /* rows of queries and keys hold rotary pairs side by side */
    GGUF_LOGIT_DIVISOR = 1 << 1, /* logit_scale divides the logits */
    GGUF_YARN_EXACT = 1 << 2,    /* yarn without rounding the range of its ramp */
    GGUF_TILED_VALUES = 1 << 3,  /* linear attention: the heads of values on one head of keys lie a stride apart */
    GGUF_COUNTS_FURTHER = 1 << 4, /* block_count counts the layers that predict further tokens */
};

struct gguf_name {
    enum model_role role;
    const char *name;
};

/* A row: which row of the family table a checkpoint belongs to, and what GGUF says otherwise than most. */
struct gguf_arch {
    const char *name;            /* general.architecture */
    const char *family;
    /* Rows of one architecture are told apart by these; the first row that fits is taken. */
    const char *needs_key;       /* a number above 0, its name without the architecture */
    const char *needs_tensor;    /* in some layer, its name without "blk.N." */
    uint32_t needs_layers, needs_vocab; /* 0: any */
    const char *extra;           /* members of config.json that the metadata does not say; what it does say wins */
    uint32_t traits;             /* enum gguf_trait */
    double log_multiplier;       /* yarn_log_multiplier per mscale_all_dim, 0: no such key */
    uint32_t wide_scalar_layers; /* with so many layers queries are scaled by hidden / heads, not by the width of a head */
    struct gguf_name named[4];   /* tensors that are not called as usual; ended by a NULL name */
};

extern const struct gguf_arch gguf_archs[];
extern const unsigned gguf_arch_count;

/* Groups of experts that converters did not write for a while, by model: experts 0 ends the list. */
struct gguf_groups {
    const char *arch;
    uint32_t experts, layers, groups, kept;
};
extern const struct gguf_groups gguf_known_groups[];

/* Forms that tensors of one architecture may have: bits of model_desc.names. */
enum gguf_form {
    GGUF_QKV_FUSED = 1 << 0,     /* attn_qkv: all Q, all K, all V */
    GGUF_FFN_FUSED = 1 << 1,     /* ffn_up: gate rows, then up rows */
    GGUF_EXPERTS_FUSED = 1 << 2, /* ffn_gate_up_exps, likewise */
    GGUF_LATENT_WHOLE = 1 << 3,  /* attn_kv_b: keys and values of a latent not taken apart */
    GGUF_DELTA_WHOLE = 1 << 4,   /* ssm_in: inputs of linear attention head by head, as families publish them */
};
uint32_t gguf_forms(const struct model_desc *desc, model_has_fn *has, void *user);

/* `row` as it is when the checkpoint is a GGUF file: its names, one spelling, and switches as GGUF stores things. */
void gguf_family(const struct model_family *row, uint32_t forms, struct model_family *out);

/* Writing config.json from metadata: what it is written from, and what several parts need. The first failure stays, and
 * whatever is written after it is of no use; so a caller asks `failed` once, at the end. */
struct gguf_writer {
    const struct model_gguf *g;
    const char *prefix;             /* of keys: the architecture as the file says */
    const struct gguf_arch *arch;
    const struct model_family *f;
    struct str *out;
    struct lamina_error *err;
    lamina_status failed;
    uint32_t layers;                /* without those that predict further tokens */
    double hidden, heads, vocab;
    double head_dim;                /* of layers with plain attention */
    bool two_forms;                 /* layers that see everything have heads of another width: */
    double full_head_dim;
};

void gguf_fail(struct gguf_writer *w, lamina_status code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* A number by its key without the architecture. False: there is none; a number that is not finite is a failure. */
bool gguf_number(struct gguf_writer *w, const char *key, double *out);
double gguf_number_or(struct gguf_writer *w, const char *key, double otherwise);
double gguf_number_needed(struct gguf_writer *w, const char *key);
/* One that may be a list by layer. False: no such item. */
bool gguf_number_of_layer(struct gguf_writer *w, const char *key, uint32_t layer, double *out);
/* The same in all layers, or a failure; items of 0 do not count. False: there is none. */
bool gguf_number_of_all(struct gguf_writer *w, const char *key, double *out);
bool gguf_text_is(struct gguf_writer *w, const char *key, const char *value);
bool gguf_has(struct gguf_writer *w, const char *tensor);
/* The first layer that has the tensor blk.N.`name`, and its shape; -1: none. */
int32_t gguf_layer_with(struct gguf_writer *w, const char *name, uint64_t shape[4]);
bool gguf_layer_has(struct gguf_writer *w, uint32_t layer, const char *name);

void gguf_put_number(struct gguf_writer *w, const char *key, double value);
void gguf_put_flag(struct gguf_writer *w, const char *key, bool value);
void gguf_put_text(struct gguf_writer *w, const char *key, const char *value);

/* Members of config.json about heads, latents included; windows; rope_parameters and rotary_dim. Heads go first. */
void gguf_put_heads(struct gguf_writer *w);
void gguf_put_window(struct gguf_writer *w);
void gguf_put_rope(struct gguf_writer *w);

#endif
