/* SPDX-License-Identifier: Apache-2.0
 *
 * What a split will write: from config.json and the source's tensor list to the output files, their parts and their
 * exact sizes. Refuses, by tensor name, whatever does not agree, so that nothing is written for a checkpoint that
 * cannot be finished. Reads no weights, except to compare a head with its embedding where both are there although the
 * configuration ties them.
 *
 * Order of outputs: small.bin first, because norms sit in every shard and --delete-original can free none before. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/coding.h"
#include "store/store_priv.h"

struct known {
    const char *name;
    uint32_t index;
};

struct planner {
    const struct lamina_source *s;
    struct arena *arena;
    struct split_plan *p;
    struct known *names; /* of the source, sorted */
    bool *used;          /* per source tensor */
    struct lamina_error *err;
};

static lamina_status no_memory(struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "no memory to plan the split");
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct known *)a)->name, ((const struct known *)b)->name);
}

static lamina_status list_names(struct planner *w) {
    uint32_t count = w->s->tensor_count;
    w->names = arena_take_array(w->arena, count, sizeof(*w->names));
    w->used = arena_take_array(w->arena, count, sizeof(*w->used));
    w->p->last_use = arena_take_array(w->arena, count, sizeof(*w->p->last_use));
    if (w->names == NULL || w->used == NULL || w->p->last_use == NULL) {
        return no_memory(w->err);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct lamina_source_tensor t = {0};
        LAMINA_TRY(w->s->tensor(w->s->user, i, &t, w->err));
        w->names[i] = (struct known){.name = arena_copy_text(w->arena, span_of_text(t.name)), .index = i};
        w->p->last_use[i] = UINT32_MAX;
        if (w->names[i].name == NULL) {
            return no_memory(w->err);
        }
    }
    if (count > 0) {
        qsort(w->names, count, sizeof(*w->names), by_name);
    }
    return LAMINA_OK;
}

static bool find(const struct planner *w, const char *name, uint32_t *index) {
    struct known key = {.name = name};
    const struct known *k =
        w->s->tensor_count > 0 ? bsearch(&key, w->names, w->s->tensor_count, sizeof(key), by_name) : NULL;
    if (k != NULL) {
        *index = k->index;
    }
    return k != NULL;
}

/* ---- tied or not ---- */

static bool same_form(const struct lamina_source_tensor *a, const struct lamina_source_tensor *b, uint64_t *elements) {
    *elements = 1;
    if (a->rank != b->rank) {
        return false;
    }
    for (uint32_t i = 0; i < a->rank; i++) {
        if (a->shape[i] != b->shape[i] || checked_mul(*elements, a->shape[i], elements)) {
            return false;
        }
    }
    return true;
}

static lamina_status same_bytes(const struct lamina_source *s, uint32_t a, uint32_t b, bool *same,
                                struct lamina_error *err) {
    enum { STEP = 1 << 20 };
    struct lamina_source_tensor ta = {0};
    struct lamina_source_tensor tb = {0};
    uint64_t left = 0;
    char dtype[16];
    LAMINA_TRY(s->tensor(s->user, a, &ta, err));
    (void)snprintf(dtype, sizeof(dtype), "%s", ta.dtype);
    LAMINA_TRY(s->tensor(s->user, b, &tb, err));
    uint64_t size = strcmp(dtype, "F32") == 0 ? 4 : 2;
    *same = strcmp(dtype, tb.dtype) == 0 && same_form(&ta, &tb, &left) && !checked_mul(left, size, &left);
    uint8_t *buffer = *same ? aligned_alloc(STORE_PAGE, (size_t)2 * STEP) : NULL;
    lamina_status status = *same && buffer == NULL ? no_memory(err) : LAMINA_OK;
    for (uint64_t at = 0; *same && status == LAMINA_OK && at < left; at += STEP) {
        size_t n = (size_t)min_u64(STEP, left - at);
        status = s->read(s->user, a, at, buffer, n, err);
        if (status == LAMINA_OK) {
            status = s->read(s->user, b, at, buffer + STEP, n, err);
        }
        *same = status == LAMINA_OK && memcmp(buffer, buffer + STEP, n) == 0;
    }
    free(buffer);
    return status;
}

static bool has_name(void *user, const char *name) {
    uint32_t index = 0;
    return find(user, name, &index);
}

/* A head tensor in the checkpoint wins over the configuration's word, its absence means tied. A copy of the embedding
 * under the head's name is not kept twice. */
static lamina_status resolve_tied(struct planner *w, int tied) {
    struct model_desc *d = &w->p->desc;
    struct model_tensor embed;
    struct model_tensor head;
    uint32_t e = 0;
    uint32_t h = 0;
    bool said = d->tied;
    model_choose_names(d, has_name, w);
    d->tied = false;
    model_tensor_at(d, 0, &embed);
    model_tensor_at(d, 1, &head);
    if (tied >= 0) {
        d->tied = tied != 0;
    } else if (!find(w, head.source, &h)) {
        d->tied = true;
    } else if (said && find(w, embed.source, &e)) {
        bool same = false;
        LAMINA_TRY(same_bytes(w->s, e, h, &same, w->err));
        d->tied = same;
    }
    return LAMINA_OK;
}

/* ---- tensors ---- */

static void shape_text(const uint64_t *shape, uint32_t rank, char *out, size_t len) {
    size_t at = (size_t)snprintf(out, len, "[");
    for (uint32_t i = 0; i < rank && at < len; i++) {
        at += (size_t)snprintf(out + at, len - at, "%s%" PRIu64, i == 0 ? "" : ", ", shape[i]);
    }
    if (at < len) {
        (void)snprintf(out + at, len - at, "]");
    }
}

/* Matrices agree by rows and columns as stored; vectors by their number of elements, whatever the axes. */
static bool shape_fits(const struct lamina_source_tensor *t, const struct model_tensor *m, uint64_t wanted[2]) {
    bool matrix = m->role < MODEL_MATRICES || m->row_norms;
    uint64_t cols = m->row_norms ? m->source_cols : m->cols;
    uint64_t elements = 1;
    wanted[0] = m->source_rows != 0 ? m->source_rows : m->transposed ? cols : m->from.total;
    wanted[1] = m->source_rows != 0 ? m->source_cols : m->transposed ? m->from.total : cols;
    for (uint32_t i = 0; i < t->rank && i < 8; i++) {
        if (checked_mul(elements, t->shape[i], &elements)) {
            return false;
        }
    }
    const uint64_t *last = t->shape + t->rank - (t->rank >= 2 ? 2 : 0);
    bool stacked = m->from.planes != 0 ? t->rank == 3 && t->shape[0] == m->from.planes : t->rank == 2;
    return matrix ? stacked && last[0] == wanted[0] && last[1] == wanted[1] : t->rank >= 1 && elements == m->from.total;
}

/* ---- codes ---- */

/* The scales of a matrix of FP8 codes: one per 128 x 128 weights, per row, or for all. */
static lamina_status find_fp8_scales(struct planner *w, const struct model_tensor *m, const uint64_t shape[2],
                                     struct split_scales *g) {
    static const char *const endings[] = {"_scale_inv", "_scale"};
    char name[192];
    struct lamina_source_tensor t = {0};
    bool found = false;
    for (unsigned i = 0; i < ARRAY_LEN(endings) && !found; i++) {
        (void)snprintf(name, sizeof(name), "%s%s", m->source, endings[i]);
        found = find(w, name, &g->tensor);
    }
    if (!found) {
        return base_fail(w->err, LAMINA_DAMAGED, "the checkpoint has no scales for \"%s\" (%s_scale_inv)", m->source, m->source);
    }
    LAMINA_TRY(w->s->tensor(w->s->user, g->tensor, &t, w->err));
    uint64_t rows = t.rank >= 1 ? t.shape[0] : 1;
    uint64_t cols = t.rank >= 2 ? t.shape[1] : 1;
    bool known = strcmp(t.dtype, "F32") == 0 || strcmp(t.dtype, "BF16") == 0 || strcmp(t.dtype, "F16") == 0;
    bool blocks = rows == div_up(shape[0], CODING_FP8_COLS) && cols == div_up(shape[1], CODING_FP8_COLS);
    bool by_row = rows == shape[0] && cols == 1;
    bool single = rows == 1 && cols == 1;
    if (!known || t.rank > 2 || (!blocks && !by_row && !single)) {
        return base_fail(w->err, LAMINA_UNSUPPORTED,
                         "tensor \"%s\": scales of type %s, %" PRIu64 " x %" PRIu64 ", for %" PRIu64 " x %" PRIu64
                         " weights: one per 128 x 128 block, per row or for all can be split",
                         m->source, t.dtype, rows, cols, shape[0], shape[1]);
    }
    g->dtype = strcmp(t.dtype, "F32") == 0 ? KERN_F32 : strcmp(t.dtype, "BF16") == 0 ? KERN_BF16 : KERN_F16;
    g->rows = rows;
    g->cols = cols;
    g->rows_each = single ? UINT32_MAX : by_row ? 1 : CODING_FP8_COLS;
    g->cols_each = blocks ? CODING_FP8_COLS : UINT32_MAX;
    return LAMINA_OK;
}

/* Codes [.., rows, cols / 32, 16] with one exponent each 32: the matrix is not transposed, whatever its plain form is. */
static lamina_status check_mxfp4(struct planner *w, const struct model_tensor *m, uint32_t index, struct split_part *part) {
    char name[192];
    struct lamina_source_tensor t = {0};
    struct lamina_source_tensor g = {0};
    (void)snprintf(name, sizeof(name), "%s_scales", m->source);
    if (!find(w, name, &part->scales.tensor)) {
        return base_fail(w->err, LAMINA_DAMAGED, "the checkpoint has no tensor \"%s\"", name);
    }
    LAMINA_TRY(w->s->tensor(w->s->user, index, &t, w->err));
    uint64_t groups = m->cols / CODING_MXFP4_COLS;
    uint64_t planes = m->from.planes != 0 ? m->from.planes : 1;
    uint64_t wanted[4] = {planes, m->from.total, groups, CODING_MXFP4_COLS / 2};
    bool fits = t.rank == 4 && memcmp(t.shape, wanted, sizeof(wanted)) == 0 && strcmp(t.dtype, "U8") == 0;
    LAMINA_TRY(w->s->tensor(w->s->user, part->scales.tensor, &g, w->err));
    fits = fits && g.rank == 3 && memcmp(g.shape, wanted, 3 * sizeof(wanted[0])) == 0 && strcmp(g.dtype, "U8") == 0;
    if (!fits || m->cols % CODING_MXFP4_COLS != 0) {
        return base_fail(w->err, LAMINA_DAMAGED,
                         "tensor \"%s_blocks\" and its scales have not the shapes that config.json asks for", m->source);
    }
    uint32_t scales = part->scales.tensor;
    *part = (struct split_part){.tensor = index, .role = m->role, .layer = m->layer, .dtype = KERN_F32, .from = m->from,
                                .source_cols = m->cols, .coding = PANEL_MXFP4};
    part->scales = (struct split_scales){.tensor = scales, .dtype = KERN_DTYPES, .rows = m->from.total, .cols = groups,
                                         .rows_each = 1, .cols_each = CODING_MXFP4_COLS};
    return LAMINA_OK;
}

static lamina_status check_fp8(struct planner *w, const struct model_tensor *m, uint32_t index, const uint64_t wanted[2],
                               struct split_part *part) {
    if (m->role >= MODEL_MATRICES || m->role == MODEL_EMBED || m->role == MODEL_INPUT_EMBED || m->from.planes != 0) {
        return base_fail(w->err, LAMINA_UNSUPPORTED,
                         "tensor \"%s\" is F8_E4M3, which only matrices of the layers and the head may be", m->source);
    }
    *part = (struct split_part){.tensor = index, .role = m->role, .layer = m->layer, .dtype = KERN_F32, .from = m->from,
                                .source_cols = wanted[1], .transposed = m->transposed, .coding = PANEL_FP8};
    return find_fp8_scales(w, m, wanted, &part->scales);
}

static lamina_status check_tensor(struct planner *w, const struct model_tensor *m, uint32_t index,
                                  struct split_part *part) {
    struct lamina_source_tensor t = {0};
    uint64_t wanted[2];
    LAMINA_TRY(w->s->tensor(w->s->user, index, &t, w->err));
    bool matrix = m->role < MODEL_MATRICES;
    if (!shape_fits(&t, m, wanted)) {
        char expected[64];
        char found[192];
        shape_text(wanted, matrix || m->row_norms ? 2 : 1, expected, sizeof(expected));
        shape_text(t.shape, t.rank <= 8 ? t.rank : 8, found, sizeof(found));
        return base_fail(w->err, LAMINA_DAMAGED, "tensor \"%s\" has the shape %s, but config.json asks for %s",
                         m->source, found, expected);
    }
    if (strcmp(t.dtype, "F8_E4M3") == 0) {
        return check_fp8(w, m, index, wanted, part);
    }
    for (unsigned d = 0; d < KERN_DTYPES; d++) {
        if (strcmp(t.dtype, kern_dtype_name((enum kern_dtype)d)) == 0) {
            *part = (struct split_part){.tensor = index,
                                        .role = m->role,
                                        .layer = m->layer,
                                        .dtype = d,
                                        .len = matrix ? 0 : m->cols,
                                        .from = m->from,
                                        .source_cols = wanted[1],
                                        .transposed = m->transposed,
                                        .row_norms = m->row_norms,
                                        .plus = m->plus};
            return LAMINA_OK;
        }
    }
    return base_fail(w->err, LAMINA_UNSUPPORTED, "tensor \"%s\" is %s; BF16, F16, F32 and F8_E4M3 weights can be split",
                     m->source, t.dtype);
}

static lamina_status place_matrix(struct planner *w, struct split_output *o, struct split_part *part,
                                  const struct model_tensor *m) {
    bool gathered = m->role == MODEL_EMBED || m->role == MODEL_INPUT_EMBED;
    struct store_matrix *to = &o->head.matrices[o->part_count];
    struct panel_tile t;
    bool coded = part->coding != PANEL_PLAIN && !part->transposed;
    bool fits = coded ? panel_shape_init_coded(&part->shape, m->rows, m->cols, (enum panel_coding)part->coding)
                      : panel_shape_init(&part->shape, m->rows, m->cols, (enum kern_dtype)part->dtype,
                                         gathered ? PANEL_GATHERED : PANEL_BLOCKS);
    if (!fits) {
        return base_fail(w->err, LAMINA_UNSUPPORTED, "tensor \"%s\" is too large: %" PRIu64 " x %" PRIu64, m->source,
                         m->rows, m->cols);
    }
    panel_tile_at(&part->shape, 0, &t);
    if (t.bytes > PANEL_TILE_MAX) {
        return base_fail(w->err, LAMINA_UNSUPPORTED, "tensor \"%s\": 16 rows of it exceed a tile of %d bytes",
                         m->source, (int)PANEL_TILE_MAX);
    }
    *to = (struct store_matrix){.role = m->role, .expert = m->expert, .shape = part->shape, .first_tile = o->head.tile_count};
    o->head.matrix_count++;
    o->head.tile_count += part->shape.tiles;
    return LAMINA_OK;
}

static lamina_status place_vector(struct planner *w, struct split_output *o, const struct split_part *part,
                                  const struct model_tensor *m) {
    if (part->len * sizeof(float) > SPLIT_ROWS) {
        return base_fail(w->err, LAMINA_UNSUPPORTED, "tensor \"%s\" is too long: %" PRIu64, m->source, part->len);
    }
    o->head.vectors[o->part_count] = (struct store_vector){
        .layer = part->layer, .role = part->role, .len = (uint32_t)part->len, .offset = o->head.floats};
    o->head.vector_count++;
    o->head.floats += round_up(part->len, STORE_VECTOR_ALIGN);
    return LAMINA_OK;
}

static bool find_mxfp4(const struct planner *w, const struct model_tensor *m, uint32_t *index) {
    char name[192];
    (void)snprintf(name, sizeof(name), "%s_blocks", m->source);
    return m->role < MODEL_MATRICES && find(w, name, index);
}

static void note_use(struct planner *w, uint32_t index, uint32_t output) {
    w->used[index] = true;
    if (w->p->last_use[index] == UINT32_MAX || w->p->last_use[index] < output) {
        w->p->last_use[index] = output;
    }
}

static lamina_status place(struct planner *w, const struct model_tensor *m) {
    uint32_t distinct = w->s->distinct_layers;
    uint32_t index = 0;
    bool found = find(w, m->source, &index);
    bool mxfp4 = !found && find_mxfp4(w, m, &index);
    if (found || mxfp4) {
        w->used[index] = true;
    }
    if (distinct != 0 && m->layer >= 0 && (uint32_t)m->layer >= distinct) {
        return LAMINA_OK; /* repeats an earlier layer */
    }
    if (!found && !mxfp4) {
        return base_fail(w->err, LAMINA_DAMAGED, "the checkpoint has no tensor \"%s\", which config.json asks for",
                         m->source);
    }
    uint32_t at = m->role >= MODEL_MATRICES ? 0u
                  : m->role == MODEL_EMBED  ? 1u
                  : m->role == MODEL_INPUT_EMBED || m->role == MODEL_INPUT_PROJ ? 1u
                  : m->role == MODEL_HEAD   ? 2u
                                            : (w->p->desc.tied ? 2u : 3u) + (uint32_t)m->layer;
    struct split_output *o = &w->p->outputs[at];
    struct split_part *part = &o->parts[o->part_count];
    LAMINA_TRY(mxfp4 ? check_mxfp4(w, m, index, part) : check_tensor(w, m, index, part));
    if (part->coding != PANEL_PLAIN) {
        note_use(w, part->scales.tensor, at);
    }
    LAMINA_TRY(at == 0 ? place_vector(w, o, part, m) : place_matrix(w, o, part, m));
    o->part_count++;
    if (w->p->last_use[index] == UINT32_MAX || w->p->last_use[index] < at) {
        w->p->last_use[index] = at;
    }
    return LAMINA_OK;
}

static lamina_status refuse_leftovers(struct planner *w) {
    uint32_t count = 0;
    const char *first = NULL;
    for (uint32_t i = 0; i < w->s->tensor_count; i++) {
        const struct known *k = &w->names[i];
        if (!w->used[k->index] && !model_tensor_ignored(&w->p->desc, span_of_text(k->name))) {
            first = first == NULL ? k->name : first;
            count++;
        }
    }
    if (count == 0) {
        return LAMINA_OK;
    }
    return base_fail(
        w->err, LAMINA_UNSUPPORTED,
        "tensor \"%s\"%s is not part of a %s model as this program knows it: the checkpoint has a feature that would "
        "be lost silently",
        first, count > 1 ? " (and others)" : "", w->p->desc.architecture);
}

/* ---- outputs ---- */

static uint64_t vectors_of(const struct model_desc *desc, uint32_t layers) {
    enum model_role roles[MODEL_ROLES];
    uint64_t sum = model_roles(desc, -1, false, roles);
    for (uint32_t i = 0; i < layers; i++) {
        sum += model_roles(desc, (int32_t)i, false, roles);
    }
    return sum;
}

static lamina_status make_output(struct planner *w, uint32_t i, uint64_t parts) {
    struct split_output *o = &w->p->outputs[i];
    uint32_t fixed = w->p->desc.tied ? 2 : 3;
    static const char *const names[] = {"small.bin", "embed.bin", "head.bin"};
    if (i < fixed) {
        (void)snprintf(o->name, sizeof(o->name), "%s", names[i]);
    } else {
        (void)snprintf(o->name, sizeof(o->name), "layers/%05u.bin", i - fixed);
    }
    o->head.kind = i == 0 ? STORE_SMALL : STORE_WEIGHTS;
    o->parts = arena_take_array(w->arena, parts, sizeof(*o->parts));
    o->head.vectors = i == 0 ? arena_take_array(w->arena, parts, sizeof(*o->head.vectors)) : NULL;
    o->head.matrices = i == 0 ? NULL : arena_take_array(w->arena, parts, sizeof(*o->head.matrices));
    return o->parts == NULL || (o->head.vectors == NULL && o->head.matrices == NULL) ? no_memory(w->err) : LAMINA_OK;
}

static lamina_status make_outputs(struct planner *w) {
    struct split_plan *p = w->p;
    uint32_t fixed = p->desc.tied ? 2 : 3;
    uint32_t layers = w->s->distinct_layers != 0 ? w->s->distinct_layers : p->desc.layers;
    p->output_count = fixed + layers;
    p->outputs = arena_take_array(w->arena, p->output_count, sizeof(*p->outputs));
    p->layer_output = arena_take_array(w->arena, p->desc.layers, sizeof(*p->layer_output));
    if (p->outputs == NULL || p->layer_output == NULL) {
        return no_memory(w->err);
    }
    for (uint32_t i = 0; i < p->output_count; i++) {
        uint64_t parts = i == 0      ? vectors_of(&p->desc, layers)
                         : i < fixed ? (i == 1 && p->desc.input_dim != 0 ? 3u : 1u)
                                     : model_slot_count(&p->desc, (int32_t)(i - fixed));
        LAMINA_TRY(make_output(w, i, parts));
    }
    for (uint32_t i = 0; i < p->desc.layers; i++) {
        p->layer_output[i] = fixed + split_layer_of(w->s, i);
        if (p->desc.layer_kind[i] != p->desc.layer_kind[split_layer_of(w->s, i)]) {
            return base_fail(w->err, LAMINA_USAGE, "layer %u cannot repeat layer %u, which is of another kind", i,
                             split_layer_of(w->s, i));
        }
    }
    return LAMINA_OK;
}

uint32_t split_layer_of(const struct lamina_source *s, uint32_t layer) {
    if (s->distinct_layers == 0 || layer < s->distinct_layers) {
        return layer;
    }
    return s->first_repeated + (layer - s->first_repeated) % (s->distinct_layers - s->first_repeated);
}

static lamina_status measure(struct planner *w) {
    for (uint32_t i = 0; i < w->p->output_count; i++) {
        struct split_output *o = &w->p->outputs[i];
        uint64_t pages = 0;
        if (o->head.kind == STORE_SMALL) {
            o->head.tile_count = (uint32_t)div_up(o->head.floats * sizeof(float), STORE_SMALL_TILE);
        }
        store_head_size(&o->head);
        for (uint32_t t = 0; t < o->head.tile_count; t++) {
            pages += div_up(store_tile_bytes(&o->head, t), STORE_PAGE);
        }
        pages += o->head.head_pages + o->head.tail_pages;
        if (pages > UINT32_MAX || o->head.tail_pages > SPLIT_BUFFER / STORE_PAGE ||
            o->head.head_pages > STORE_MAX_HEAD_PAGES) {
            return base_fail(w->err, LAMINA_UNSUPPORTED, "%s would be too large", o->name);
        }
        o->size = pages * STORE_PAGE;
        w->p->total_bytes += o->size;
    }
    return LAMINA_OK;
}

static lamina_status check_repeats(const struct planner *w) {
    uint32_t n = w->s->distinct_layers;
    if (n != 0 && (n > w->p->desc.layers || w->s->first_repeated >= n)) {
        return base_fail(w->err, LAMINA_USAGE,
                         "a source with %u distinct layers cannot repeat from layer %u in a model of %u", n,
                         w->s->first_repeated, w->p->desc.layers);
    }
    return LAMINA_OK;
}

static lamina_status resolve(struct planner *w) {
    char *config = NULL;
    size_t len = 0;
    LAMINA_TRY(w->s->file(w->s->user, "config.json", &config, &len, w->err));
    lamina_status status = model_resolve(span_of(config, len), &w->p->desc, w->err);
    free(config);
    return status;
}

lamina_status split_plan_make(const struct lamina_source *s, int tied, struct arena *arena, struct split_plan *p,
                              struct lamina_error *err) {
    struct planner w = {.s = s, .arena = arena, .p = p, .err = err};
    *p = (struct split_plan){0};
    LAMINA_TRY(resolve(&w));
    LAMINA_TRY(check_repeats(&w));
    LAMINA_TRY(list_names(&w));
    LAMINA_TRY(resolve_tied(&w, tied));
    LAMINA_TRY(make_outputs(&w));
    uint32_t count = model_tensor_count(&p->desc);
    for (uint32_t i = 0; i < count; i++) {
        struct model_tensor m;
        model_tensor_at(&p->desc, i, &m);
        LAMINA_TRY(place(&w, &m));
    }
    LAMINA_TRY(refuse_leftovers(&w));
    return measure(&w);
}
