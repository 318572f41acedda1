/* SPDX-License-Identifier: Apache-2.0
 *
 * Where canonical tensors come from: names in the checkpoint, and which rows or elements of a source tensor make them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_model_priv.h"
#include "kern/math.h"
#include "model/tensors_priv.h"

uint64_t model_source_row(const struct model_rows *m, uint64_t row) {
    if (m->group != 0) {
        uint64_t head = row / m->group;
        uint64_t i = row % m->group;
        if (i >= m->real) {
            return MODEL_ZERO_ROW;
        }
        row = head * m->real + i;
    }
    if (m->rope_dim != 0) {
        uint64_t head = row / m->head * m->head;
        uint64_t i = row % m->head;
        uint64_t half = m->rope_dim / 2;
        if (i >= m->rope_first && i < m->rope_first + m->rope_dim) {
            uint64_t k = i - m->rope_first;
            row = head + m->rope_first + (k < half ? 2 * k : 2 * (k - half) + 1);
        }
    }
    return m->first + row / m->run * m->step + row % m->run * m->stride;
}

float model_taken_log(float source) {
    return (float)kern_log(-(double)source);
}

static struct model_rows all_rows(uint64_t rows) {
    return (struct model_rows){.total = rows, .run = rows, .step = rows, .stride = 1};
}

/* Rows of Q (0), K (1) or V (2) in a fused tensor. */
static struct model_rows fused_rows(const struct model_kind *k, uint8_t layout, unsigned part) {
    uint64_t dim = k->head_dim;
    uint64_t q = k->heads * dim;
    uint64_t kv = k->kv_heads * dim;
    uint64_t group = k->heads / k->kv_heads * dim;
    uint64_t rows = part == 0 ? q : kv;
    struct model_rows m = all_rows(rows);
    m.total = q + 2 * kv;
    if (layout == QKV_CAT) {
        m.first = part == 0 ? 0 : part == 1 ? q : q + kv;
    } else { /* one head is a group of one */
        m.run = part == 0 ? group : dim;
        m.first = part == 0 ? 0 : group + (part - 1) * dim;
        m.step = group + 2 * dim;
    }
    return m;
}

static void add_rope_pairs(const struct model_desc *desc, const struct model_kind *k, struct model_rows *m) {
    if (k->rope != MODEL_NO_ROPE) {
        m->head = k->head_dim;
        m->rope_dim = desc->rope[k->rope].dim;
    }
}

/* Rows of a matrix of a layer, or elements of its bias. */
static struct model_rows rows_of(const struct model_desc *desc, const struct model_family *f, const struct model_kind *k,
                                 enum model_role matrix, uint64_t rows) {
    struct model_rows m = all_rows(rows);
    bool query_or_key = matrix == MODEL_Q || matrix == MODEL_K;
    if (f->qkv != QKV_SEP && (query_or_key || matrix == MODEL_V)) {
        m = fused_rows(k, f->qkv, (unsigned)matrix - MODEL_Q);
    } else if (f->gate_up_fused && (matrix == MODEL_GATE || matrix == MODEL_UP)) {
        m.total = 2 * rows;
        m.first = matrix == MODEL_GATE ? 0 : rows;
    } else if (f->shared_fused && (matrix == MODEL_SHARED_GATE || matrix == MODEL_SHARED_UP)) {
        m.total = 2 * rows;
        m.first = matrix == MODEL_SHARED_GATE ? 0 : rows;
    }
    if (f->rope_pairs && query_or_key) {
        add_rope_pairs(desc, k, &m);
    }
    return m;
}

static bool is_norm(enum model_role role) {
    return role == MODEL_ATTN_NORM || role == MODEL_MLP_NORM || role == MODEL_ATTN_POST_NORM || role == MODEL_MLP_POST_NORM ||
           role == MODEL_Q_NORM || role == MODEL_K_NORM || role == MODEL_DENSE_POST_NORM || role == MODEL_EXPERT_NORM ||
           role == MODEL_EXPERT_POST_NORM || role == MODEL_FINAL_NORM || role == MODEL_EMBED_NORM;
}

/* Matrices of experts: a tensor each, or all of a role stacked in one; gate and up in one tensor, one after the other or row
 * by row in turn; stored [in, out] or not. */
static bool find_expert(const struct model_desc *desc, const struct model_family *f, const struct model_kind *k,
                        struct model_tensor *t) {
    bool matrix = model_role_of_expert(t->role);
    bool bias = t->role == MODEL_EXPERT_GATE_BIAS || t->role == MODEL_EXPERT_UP_BIAS || t->role == MODEL_EXPERT_DOWN_BIAS;
    bool up = t->role == MODEL_EXPERT_UP || t->role == MODEL_EXPERT_UP_BIAS;
    bool switched = desc->stacked == MODEL_SWITCHED;
    uint8_t fusion = switched ? (uint8_t)EXPERT_APART : desc->stacked == MODEL_STACKED ? (uint8_t)EXPERT_HALVES : f->expert_fused;
    bool fused = fusion != EXPERT_APART && t->role != MODEL_EXPERT_DOWN && t->role != MODEL_EXPERT_DOWN_BIAS;
    uint64_t rows = bias ? t->cols / k->experts : t->rows;
    if (!matrix && !bias) {
        return false;
    }
    struct model_rows m = all_rows(rows);
    if (fused) {
        m.total = 2 * rows;
        m.first = up ? (fusion == EXPERT_IN_TURN ? 1 : rows) : 0;
        m.stride = fusion == EXPERT_IN_TURN ? 2 : 1;
    }
    if (bias) { /* all experts' biases are one canonical vector */
        m.step = m.total;
        m.total *= k->experts;
    } else if (f->experts_stacked || desc->stacked != MODEL_AS_NAMED) {
        m.planes = k->experts;
        m.plane = t->expert * m.total * t->cols;
    }
    t->from = m;
    t->transposed = matrix && f->experts_transposed && desc->stacked != MODEL_STACKED;
    return true;
}

/* Of layers with latents: rotary rows behind the plain ones; and the matrix of keys and values, head after head [keys | values]
 * of the latent's columns, whose keys are turned so that they multiply queries. */
static bool find_latent(const struct model_family *f, const struct model_kind *k, struct model_tensor *t) {
    uint64_t each = k->plain_dim + k->value_dim;
    if (k->mixer != MODEL_LATENT) {
        return false;
    }
    switch (t->role) {
    case MODEL_Q:
    case MODEL_KV_A:
        if (k->rope != MODEL_NO_ROPE && f->rope_pairs) {
            t->from.head = t->role == MODEL_Q ? k->head_dim : k->kv_latent + k->head_dim - k->plain_dim;
            t->from.rope_first = t->role == MODEL_Q ? k->plain_dim : k->kv_latent;
            t->from.rope_dim = k->head_dim - k->plain_dim;
        }
        return true;
    case MODEL_UK:
        t->from = (struct model_rows){.run = k->kv_latent, .step = each * k->kv_latent, .stride = 1};
        t->transposed = true;
        break;
    case MODEL_UV:
        t->from = (struct model_rows){.first = k->plain_dim, .run = k->value_dim, .step = each, .stride = 1};
        break;
    default:
        return false;
    }
    t->from.real = t->role == MODEL_UK ? k->kv_latent : k->value_dim;
    t->from.group = model_head_rows(t->from.real);
    t->source_rows = k->heads * each;
    t->source_cols = k->kv_latent;
    if (f->latent_apart) {
        uint32_t real = t->from.real;
        t->from = (struct model_rows){.run = real, .step = real, .stride = 1, .real = real, .group = t->from.group};
        t->transposed = false;
        t->source_rows = (uint64_t)k->heads * real;
        t->source_cols = t->cols;
    }
    return true;
}

static bool is_mixer_role(enum model_role role) {
    return role <= MODEL_O || (role >= MODEL_CONV_Q && role <= MODEL_DELTA_NORM);
}

/* Of layers with linear attention, and of gated attention: parts of fused matrices and of the convolution they share. */
static bool find_delta(const struct model_family *f, const struct model_kind *k, struct model_tensor *t) {
    uint64_t keys = (uint64_t)k->kv_heads * k->head_dim;
    uint64_t values = (uint64_t)k->heads * k->value_dim;
    uint64_t shared = k->mixer == MODEL_DELTA ? k->heads / k->kv_heads : 0;
    bool conv = t->role >= MODEL_CONV_Q && t->role <= MODEL_CONV_V;
    unsigned part = conv ? t->role - MODEL_CONV_Q : t->role - MODEL_Q;
    if (k->gated_out && !f->gate_apart && (t->role == MODEL_Q || t->role == MODEL_Z)) { /* head after head [query | gate] */
        t->from.run = k->head_dim;
        t->from.step = 2 * (uint64_t)k->head_dim;
        t->from.first = t->role == MODEL_Z ? k->head_dim : 0;
        t->from.total = 2 * t->rows;
        return true;
    }
    if (k->mixer != MODEL_DELTA || f->delta_fused == DELTA_APART) {
        return k->mixer == MODEL_DELTA;
    }
    bool input = t->role >= MODEL_Q && t->role <= MODEL_V;
    if (conv || (input && f->delta_fused != DELTA_BY_HEAD)) {
        uint64_t times = conv ? k->taps : 1;
        t->from.first = part * keys * times;
        t->from.total = (2 * keys + values) * times;
    } else if (input || t->role == MODEL_Z) { /* one head of keys after the other: [q | k | its values | their gates] */
        uint64_t run = shared * k->value_dim;
        bool key = t->role == MODEL_Q || t->role == MODEL_K;
        if (f->delta_fused == DELTA_BY_HEAD) {
            t->from.run = key ? k->head_dim : run;
            t->from.step = 2 * (uint64_t)k->head_dim + 2 * run;
            t->from.first = t->role == MODEL_Q   ? 0
                            : t->role == MODEL_K ? k->head_dim
                            : t->role == MODEL_V ? 2 * (uint64_t)k->head_dim
                                                 : 2 * (uint64_t)k->head_dim + run;
            t->from.total = k->kv_heads * t->from.step;
        }
    } else if (f->delta_fused != DELTA_CAT && (t->role == MODEL_BETA || t->role == MODEL_DECAY)) {
        t->from.run = shared;
        t->from.step = 2 * shared;
        t->from.first = t->role == MODEL_DECAY ? shared : 0;
        t->from.total = 2 * (uint64_t)k->heads;
    }
    return true;
}

static void find_source(const struct model_desc *desc, const struct model_family *f, struct model_tensor *t) {
    enum model_role matrix = t->role;
    bool matrix_role = t->role < MODEL_MATRICES;
    t->from = all_rows(matrix_role ? t->rows : t->cols);
    t->plus = is_norm(t->role) && f->norms_plus_one ? 1.0f : 0.0f;
    t->exponentiated = f->decay_exponentiated && t->role == MODEL_DECAY_RATE;
    if (t->role == MODEL_HEAD_SCALE) {
        t->row_norms = true;
        t->source_cols = desc->hidden;
    }
    if (t->role == MODEL_EMBED) {
        t->from.total += f->embed_spare;
    }
    if (t->role == MODEL_POSITIONS) {
        t->from.first = (uint64_t)f->position_offset * desc->hidden;
        t->from.total += t->from.first;
    }
    if (t->layer < 0) {
        return;
    }
    const struct model_kind *k = model_kind_of(desc, (uint32_t)t->layer);
    if (find_expert(desc, f, k, t) || find_latent(f, k, t) || (is_mixer_role(t->role) && find_delta(f, k, t))) {
        return;
    }
    if (matrix_role || tensor_bias_matrix(desc, t->role, &matrix)) {
        t->from = rows_of(desc, f, k, matrix, matrix_role ? t->rows : t->cols);
        t->transposed = matrix_role && f->transposed;
    } else if ((t->role == MODEL_Q_NORM || t->role == MODEL_K_NORM) && f->rope_pairs) {
        add_rope_pairs(desc, k, &t->from);
    }
}

/* The number that a layer has in the checkpoint. */
static int32_t source_layer(const struct model_desc *desc, int32_t layer) {
    for (uint32_t i = 0; i < desc->left_out_count && desc->left_out[i] <= layer; i++) {
        layer++;
    }
    return layer;
}

static bool is_left_out(const struct model_desc *desc, unsigned long source_number) {
    uint32_t i = 0;
    while (i < desc->left_out_count && desc->left_out[i] != source_number) {
        i++;
    }
    return i < desc->left_out_count;
}

/* The number that a hole (%d: layer, %e: expert) stands for; the text up to it is copied. Returns what follows the hole. */
static const char *fill_hole(const char *text, int32_t layer, uint32_t expert, struct str *out) {
    const char *hole = strchr(text, '%');
    if (hole == NULL) {
        str_add_text(out, text);
        return text + strlen(text);
    }
    str_add_span(out, span_of(text, (size_t)(hole - text)));
    str_printf(out, "%d", hole[1] == 'e' ? (int)expert : (int)layer);
    return hole + 2;
}

/* The row of the family table, or a copy of it as a GGUF file has it; NULL: none. */
static const struct model_family *row_of(const struct model_desc *desc, struct model_family *copy) {
    const struct model_family *f = model_family_of_name(span_of_text(desc->family));
    if (f != NULL && desc->gguf) {
        gguf_family(f, desc->names, copy);
        return copy;
    }
    return f;
}

static uint32_t spelling_of(const struct model_desc *desc) {
    return desc->gguf ? 0 : desc->names;
}

enum { NAME_LEN = 160 };

static void source_name(const struct model_family *f, uint32_t spelling, const char *pattern, int32_t layer, uint32_t expert,
                        char *out, size_t len) {
    const struct model_spelling *s = &f->spellings[spelling];
    struct str name = {0};
    str_add_text(&name, pattern[0] == '~' ? s->body : pattern[0] == '^' ? s->head : "");
    for (const char *rest = pattern[0] == '~' || pattern[0] == '^' ? pattern + 1 : pattern; *rest != 0;) {
        rest = fill_hole(rest, layer, expert, &name);
    }
    (void)snprintf(out, len, "%s", str_text(&name));
    str_drop(&name);
}

/* The first layer with experts, -1: none. */
static int32_t first_sparse(const struct model_desc *desc) {
    for (uint32_t i = 0; i < desc->layers; i++) {
        if (model_kind_of(desc, i)->experts != 0) {
            return (int32_t)i;
        }
    }
    return -1;
}

/* "~layers.%d.mlp.experts.%e.w1.weight" is "~layers.%d.mlp.switch_mlp.gate_proj.weight" to MLX. False: no such name. */
static bool switched_name(const struct model_family *f, enum model_role role, char *out, size_t len) {
    static const char *const matrices[] = {"gate_proj", "up_proj", "down_proj"};
    const char *pattern = f->tensor[role];
    const char *experts = pattern != NULL ? strstr(pattern, ".experts.%e.") : NULL;
    if (experts == NULL) {
        return false;
    }
    (void)snprintf(out, len, "%.*s.switch_mlp.%s.weight", (int)(experts - pattern), pattern, matrices[role - MODEL_EXPERT_GATE]);
    return true;
}

/* "~layers.%d.mlp.experts.%e.w1.weight" is "~layers.%d.mlp.experts.gate_up_proj" where a layer's experts are one tensor. */
static bool stacked_name(const struct model_family *f, enum model_role role, char *out, size_t len) {
    const char *pattern = f->tensor[role];
    const char *experts = pattern != NULL ? strstr(pattern, ".experts.%e.") : NULL;
    if (experts != NULL) {
        (void)snprintf(out, len, "%.*s.experts.%s", (int)(experts - pattern), pattern,
                       role == MODEL_EXPERT_DOWN ? "down_proj" : "gate_up_proj");
    } else if (f->experts_either) {
        (void)snprintf(out, len, "%s", pattern);
    }
    return experts != NULL || f->experts_either;
}

/* Has the checkpoint this matrix of all experts of a layer in one tensor? */
static bool has_stack(const struct model_desc *desc, const struct model_family *f, uint32_t layer, enum model_role role,
                      model_has_fn *has, void *user, uint64_t shape[2]) {
    char pattern[128];
    char name[NAME_LEN];
    shape[0] = shape[1] = 0;
    if (!stacked_name(f, role, pattern, sizeof(pattern))) {
        return false;
    }
    source_name(f, desc->names, pattern, source_layer(desc, (int32_t)layer), 0, name, sizeof(name));
    return has(user, name, shape);
}

/* Are they there as rows of the product? Where the row's first form has the same name, [hidden, 2 x width] for each expert, the
 * shape says which it is, or else, in a square, that of the other matrix. */
static bool is_stacked(const struct model_desc *desc, const struct model_family *f, uint32_t layer, model_has_fn *has, void *user) {
    const uint64_t width = model_kind_of(desc, layer)->expert_ffn;
    uint64_t shape[2];
    const bool there = has_stack(desc, f, layer, MODEL_EXPERT_GATE, has, user, shape);
    if (!there || !f->experts_either) {
        return there;
    }
    if (shape[0] != shape[1]) {
        return shape[0] == 2 * width && shape[1] == desc->hidden;
    }
    return has_stack(desc, f, layer, MODEL_EXPERT_DOWN, has, user, shape) && shape[0] == desc->hidden && shape[1] == width;
}

void model_choose_names(struct model_desc *desc, model_has_fn *has, void *user) {
    const struct model_family *f = model_family_of_name(span_of_text(desc->family));
    int32_t sparse = first_sparse(desc);
    char name[NAME_LEN];
    bool found = f == NULL;
    if (desc->gguf) {
        desc->names = gguf_forms(desc, has, user);
        return;
    }
    for (uint32_t i = 0; !found && i < ARRAY_LEN(f->spellings) && f->spellings[i].body != NULL; i++) {
        source_name(f, i, f->tensor[MODEL_EMBED], -1, 0, name, sizeof(name));
        found = has(user, name, NULL);
        desc->names = found ? i : desc->names;
    }
    if (f != NULL && sparse >= 0) {
        desc->stacked = is_stacked(desc, f, (uint32_t)sparse, has, user) ? MODEL_STACKED : MODEL_AS_NAMED;
    }
    char pattern[128];
    if (f != NULL && sparse >= 0 && switched_name(f, MODEL_EXPERT_DOWN, pattern, sizeof(pattern))) {
        source_name(f, desc->names, pattern, source_layer(desc, sparse), 0, name, sizeof(name));
        desc->stacked = has(user, name, NULL) ? MODEL_SWITCHED : desc->stacked;
    }
}

void tensor_find_source(const struct model_desc *desc, struct model_tensor *out) {
    struct model_family copy;
    const struct model_family *f = row_of(desc, &copy);
    /* A checkpoint without a head is tied: then the rows of the embedding are those that the scale belongs to. */
    enum model_role head = desc->tied ? MODEL_EMBED : MODEL_HEAD;
    enum model_role named = out->role == MODEL_HEAD_SCALE ? head : out->role;
    const char *name = f != NULL ? f->tensor[named] : NULL;
    bool linear = out->layer >= 0 && model_kind_of(desc, (uint32_t)out->layer)->mixer == MODEL_DELTA;
    char pattern[128];
    if (desc->stacked != MODEL_AS_NAMED && f != NULL && model_role_of_expert(out->role)) {
        bool stacked = desc->stacked == MODEL_STACKED;
        name = (stacked ? stacked_name : switched_name)(f, out->role, pattern, sizeof(pattern)) ? pattern : NULL;
    }
    if (linear && f != NULL && f->delta_tensor[named] != NULL) {
        name = f->delta_tensor[named];
    }
    if (out->role == MODEL_Q && f != NULL && f->q_plain_name != NULL && !linear &&
        model_kind_of(desc, (uint32_t)out->layer)->q_latent == 0) {
        name = f->q_plain_name;
    }
    if (name != NULL) {
        source_name(f, spelling_of(desc), name, source_layer(desc, out->layer), out->expert, out->source, sizeof(out->source));
        find_source(desc, f, out);
        if ((out->role == MODEL_Q_NORM || out->role == MODEL_K_NORM) && strstr(name, "%e") != NULL) { /* a tensor per head */
            out->pieces = (uint32_t)(out->cols / model_kind_of(desc, (uint32_t)out->layer)->head_dim);
        }
    }
}

void model_tensor_piece(const struct model_desc *desc, const struct model_tensor *t, uint32_t piece, char name[160]) {
    struct model_tensor one = *t;
    one.expert = piece;
    tensor_find_source(desc, &one);
    memcpy(name, one.source, sizeof(one.source));
}

/* Of quantised activations and caches: weights are all that is taken from such checkpoints. */
static const char *const ACTIVATION_SCALES[] = {".input_scale", ".activation_scale", "_activation_scale", ".input_scale_ub",
                                                 ".k_scale", ".v_scale"};

/* Parts of multimodal checkpoints beside the text model. */
static const char *const OTHER_TOWERS[] = {
    "model.visual.", "visual.", "vision_tower.", "model.vision_tower.", "vision_model.", "model.vision_model.", "vision_encoder.",
    "model.vision_encoder.", "model.vision_embed_tokens.", "model.embed_vision.", "audio_tower.", "model.audio_tower.",
    "model.embed_audio.", "multi_modal_projector.", "model.multi_modal_projector.", "mm_projector.", "model.mm_projector.",
    "model.connector.", "vision_projection.", "model.vision_projection.", "image_tower.", "model.image_tower.", "video_tower.",
    "model.video_tower.", "model.visual_embeddings_table.", "mlp1.", "image_newline", "model.image_newline",
    "aligner.", "model.aligner.", "model.projector.", "model.vision_projector.", "model.high_res_vision_",
    "gen_aligner.", "gen_embed.", "gen_head.", "gen_vision_model.", "model.generation_", "model.vqmodel."};
/* Layers for predicting more than one token. */
static const char *const FURTHER[] = {"mtp.", "model.mtp.", "model.mtp_"};

/* Its matrices: none is needed as long as it would choose all keys. */
static const char INDEXER[] = ".indexer.";

static const char CROSS_LAYERS[] = "layers of cross-attention";

/* "~layers.N.rest": N, and the rest in text; NULL for other names. */
static const char *after_layer(const struct model_desc *desc, const struct model_family *f, struct span source,
                               unsigned long *layer, char text[160]) {
    char root[96];
    int n = snprintf(root, sizeof(root), "%s%s", f->spellings[spelling_of(desc)].body, desc->gguf ? "blk." : "layers.");
    if (n < 0 || !span_starts_with(source, root) || source.len > 150) {
        return NULL;
    }
    memcpy(text, source.ptr, source.len);
    text[source.len] = 0;
    char *end = NULL;
    *layer = strtoul(text + n, &end, 10);
    return end != text + n && *end == '.' ? end + 1 : NULL;
}

/* Of a layer past the last one; or keys and values of a layer that reads another's, which converters to GGUF keep. */
static bool of_no_layer(const struct model_desc *desc, const struct model_family *f, struct span source) {
    static const char *const kept[] = {"attn_k.weight", "attn_v.weight", "attn_k_norm.weight"};
    unsigned long layer = 0;
    char text[160];
    const char *rest = after_layer(desc, f, source, &layer, text);
    if (rest == NULL || layer >= desc->layers + desc->left_out_count) {
        return rest != NULL && f->extra_layers;
    }
    for (unsigned i = 0; desc->gguf && model_kind_of(desc, (uint32_t)layer)->shared_kv && i < ARRAY_LEN(kept); i++) {
        if (strcmp(rest, kept[i]) == 0) {
            return true;
        }
    }
    return false;
}

const char *model_tensor_tower(const struct model_desc *desc, struct span source) {
    struct model_family copy;
    const struct model_family *f = row_of(desc, &copy);
    for (unsigned i = 0; f != NULL && (f->features & FEATURE_TEXT_TOWER) != 0 && i < ARRAY_LEN(OTHER_TOWERS); i++) {
        if (span_starts_with(source, OTHER_TOWERS[i])) {
            return OTHER_TOWERS[i];
        }
    }
    unsigned long layer = 0;
    char text[160];
    if (desc->left_out_count != 0 && f != NULL && after_layer(desc, f, source, &layer, text) != NULL && is_left_out(desc, layer)) {
        return CROSS_LAYERS;
    }
    return NULL;
}

bool model_tensor_ignored(const struct model_desc *desc, struct span source) {
    struct model_family copy;
    const struct model_family *f = row_of(desc, &copy);
    char head[160];
    if (f == NULL) {
        return false;
    }
    for (unsigned i = 0; i < ARRAY_LEN(f->ignored) && f->ignored[i] != NULL; i++) {
        if (span_ends_with(source, f->ignored[i])) {
            return true;
        }
    }
    for (unsigned i = 0; i < ARRAY_LEN(ACTIVATION_SCALES); i++) {
        if (span_ends_with(source, ACTIVATION_SCALES[i])) {
            return true;
        }
    }
    for (unsigned i = 0; (f->extra_layers || (f->features & FEATURE_TEXT_TOWER) != 0) && i < ARRAY_LEN(FURTHER); i++) {
        if (span_starts_with(source, FURTHER[i])) {
            return true;
        }
    }
    if (model_tensor_tower(desc, source) != NULL) {
        return true;
    }
    if ((f->features & FEATURE_INDEXER) != 0 && memmem(source.ptr, source.len, INDEXER, strlen(INDEXER)) != NULL) {
        return true;
    }
    if (of_no_layer(desc, f, source)) {
        return true;
    }
    if (!desc->tied || f->tensor[MODEL_HEAD] == NULL) {
        return false;
    }
    /* A tied model may still ship its head; the embedding is used. The splitter asks after it saw both. */
    source_name(f, spelling_of(desc), f->tensor[MODEL_HEAD], -1, 0, head, sizeof(head));
    return span_is(source, head);
}
