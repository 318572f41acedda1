/* SPDX-License-Identifier: Apache-2.0
 *
 * What a split will write: from config.json and the source's tensor list to the output files, their parts and their
 * exact sizes. Refuses, by tensor name, whatever does not agree, so that nothing is written for a checkpoint that
 * cannot be finished. Reads no weights, except to compare a head with its embedding where both are there although the
 * configuration ties them. Of the parts of outputs only one is kept at a time: a model of many experts has a hundred thousand.
 *
 * Order of outputs: small.bin first, because norms sit in every shard and --delete-original can free none before. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "codec/coding.h"
#include "format/safetensors.h"
#include "store/split_plan_priv.h"

lamina_status split_plan_no_memory(struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "no memory to plan the split");
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct split_known *)a)->name, ((const struct split_known *)b)->name);
}

static lamina_status list_names(struct split_planner *w) {
    uint32_t count = w->s->tensor_count;
    w->names = arena_take_array(w->arena, count, sizeof(*w->names));
    w->used = arena_take_array(w->arena, count, sizeof(*w->used));
    w->empty = arena_take_array(w->arena, count, sizeof(*w->empty));
    w->p->last_use = arena_take_array(w->arena, count, sizeof(*w->p->last_use));
    w->p->use = arena_take_array(w->arena, count, sizeof(*w->p->use));
    if (w->names == NULL || w->used == NULL || w->empty == NULL || w->p->last_use == NULL || w->p->use == NULL) {
        return split_plan_no_memory(w->err);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct lamina_source_tensor t = {0};
        LAMINA_TRY(w->s->tensor(w->s->user, i, &t, w->err));
        w->names[i] = (struct split_known){.name = arena_copy_text(w->arena, span_of_text(t.name)), .index = i};
        w->p->last_use[i] = UINT32_MAX;
        w->p->use[i] = (struct split_use){.first = UINT32_MAX, .last = UINT32_MAX};
        if (w->names[i].name == NULL) {
            return split_plan_no_memory(w->err);
        }
    }
    if (count > 0) {
        qsort(w->names, count, sizeof(*w->names), by_name);
    }
    return LAMINA_OK;
}

bool split_plan_find(const struct split_planner *w, const char *name, uint32_t *index) {
    struct split_known key = {.name = name};
    const struct split_known *k =
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
    bool plain = strcmp(dtype, "F32") == 0 || strcmp(dtype, "F16") == 0 || strcmp(dtype, "BF16") == 0;
    *same = plain && strcmp(dtype, tb.dtype) == 0 && same_form(&ta, &tb, &left) && !checked_mul(left, size, &left);
    uint8_t *buffer = *same ? aligned_alloc(STORE_PAGE, (size_t)2 * STEP) : NULL;
    lamina_status status = *same && buffer == NULL ? split_plan_no_memory(err) : LAMINA_OK;
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

static bool has_name(void *user, const char *name, uint64_t shape[2]) {
    const struct split_planner *w = user;
    struct lamina_source_tensor t = {0};
    struct lamina_error unused;
    uint32_t index = 0;
    if (!split_plan_find(w, name, &index)) {
        return false;
    }
    if (shape != NULL && w->s->tensor(w->s->user, index, &t, &unused) == LAMINA_OK && t.rank >= 2 && t.rank <= 8) {
        shape[0] = t.shape[t.rank - 2];
        shape[1] = t.shape[t.rank - 1];
    }
    return true;
}

/* A head tensor in the checkpoint wins over the configuration's word, its absence means tied. A copy of the embedding
 * under the head's name is not kept twice. */
static lamina_status resolve_tied(struct split_planner *w, int tied) {
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
    } else if (!split_plan_find(w, head.source, &h)) {
        d->tied = !split_quant_there(w, &head);
    } else if (said && split_plan_find(w, embed.source, &e)) {
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

void split_plan_wanted(const struct model_tensor *m, uint64_t wanted[2]) {
    wanted[0] = (m->source_rows != 0 ? m->source_rows : m->from.total) * (m->from.planes != 0 ? m->from.planes : 1);
    wanted[1] = m->source_cols != 0 ? m->source_cols : m->cols;
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
    if (matrix && m->from.planes == 0 && (t->rank == 3 || (t->rank == 1 && wanted[0] == 1))) { /* rows by heads; one row */
        return t->shape[t->rank - 1] == wanted[1] && elements == wanted[0] * wanted[1];
    }
    if (m->pieces != 0) {
        wanted[1] = m->from.total / m->pieces;
        return t->rank >= 1 && elements == wanted[1];
    }
    return matrix ? stacked && last[0] == wanted[0] && last[1] == wanted[1] : t->rank >= 1 && elements == m->from.total;
}

/* ---- blocks ---- */

/* Blocks of codes with their scales, row after row. */
static lamina_status check_blocks(struct split_planner *w, const struct model_tensor *m, uint32_t index, const uint64_t wanted[2],
                                  enum panel_coding coding, struct split_part *part) {
    if ((m->role >= MODEL_MATRICES && !m->row_norms) || m->transposed) {
        return base_fail(w->err, LAMINA_UNSUPPORTED, "tensor \"%s\" is %s, which only matrices stored row by row may be",
                         m->source, coding_name(coding));
    }
    *part = (struct split_part){.tensor = index, .role = m->role, .layer = m->layer, .dtype = KERN_F32, .from = m->from,
                                .len = m->row_norms ? m->cols : 0, .row_norms = m->row_norms, .source_cols = wanted[1],
                                .coding = coding};
    if (coding_block_row_bytes(coding, wanted[1]) == 0) {
        return base_fail(w->err, LAMINA_DAMAGED, "tensor \"%s\": rows of %" PRIu64 " do not hold whole blocks of %s", m->source,
                         wanted[1], coding_name(coding));
    }
    return LAMINA_OK;
}

static lamina_status check_tensor(struct split_planner *w, const struct model_tensor *m, uint32_t index,
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
    enum panel_coding coding = PANEL_PLAIN;
    if (coding_of_blocks(t.dtype, &coding)) {
        return check_blocks(w, m, index, wanted, coding, part);
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
                                        .plus = m->plus,
                                        .exponentiated = m->exponentiated};
            return LAMINA_OK;
        }
    }
    return base_fail(w->err, LAMINA_UNSUPPORTED,
                     "tensor \"%s\" is %s; BF16, F16 and F32 weights can be split, GGUF's blocks but for IQ1 to IQ3, and matrices "
                     "of codes with their scales (docs/FORMAT.md)",
                     m->source, t.dtype);
}

/* Routers and the rates of linear attention are small, and what they say counts: they stay as they are. */
static bool may_be_rounded(enum model_role role) {
    return role != MODEL_ROUTER && role != MODEL_SHARED_ROUTER && role != MODEL_DECAY_A && role != MODEL_DECAY &&
           role != MODEL_BETA;
}

static void choose_packing(const struct split_planner *w, struct split_part *part, const struct model_tensor *m) {
    const struct split_codec *codec = &w->p->codec;
    if (codec->steps && part->coding == PANEL_PLAIN && m->layer >= 0 && may_be_rounded((enum model_role)m->role)) {
        struct panel_shape shape;
        struct panel_tile t;
        uint64_t room = part->transposed ? SPLIT_ROWS / 2 : SPLIT_ROWS_MAX;
        if (panel_shape_init(&shape, m->rows, m->cols, KERN_BF16, (enum panel_layout)part->shape.layout)) {
            panel_shape_steps(&shape);
            panel_tile_at(&shape, 0, &t);
            /* A row is rounded as a whole. */
            bool fits = t.rows * m->cols * kern_dtype_bytes((enum kern_dtype)part->dtype) <= room;
            part->shape = shape.packing == PANEL_STEPS && fits ? shape : part->shape;
            part->finer = split_finer(&w->p->desc, m->role, m->layer);
        }
    }
    if (codec->planes && part->shape.packing == PANEL_AS_IS) {
        panel_shape_pack(&part->shape);
    }
}

static lamina_status place_matrix(struct split_planner *w, struct split_output *o, struct split_part *part,
                                  const struct model_tensor *m) {
    bool gathered = m->role == MODEL_EMBED || m->role == MODEL_INPUT_EMBED;
    struct store_matrix *to = &o->head.matrices[o->part_count];
    struct panel_tile t;
    bool coded = part->coding != PANEL_PLAIN && !part->transposed;
    const struct groups *groups = part->quant != NULL ? split_groups_of(part) : NULL;
    enum panel_layout layout = gathered ? PANEL_GATHERED : PANEL_BLOCKS;
    bool fits = coded ? panel_shape_init_coded(&part->shape, m->rows, m->cols, (enum panel_coding)part->coding, groups, layout)
                      : panel_shape_init(&part->shape, m->rows, m->cols, (enum kern_dtype)part->dtype, layout);
    if (!fits) {
        return base_fail(w->err, LAMINA_UNSUPPORTED, "tensor \"%s\" is too large: %" PRIu64 " x %" PRIu64, m->source,
                         m->rows, m->cols);
    }
    choose_packing(w, part, m);
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

static lamina_status place_vector(struct split_planner *w, struct split_output *o, const struct split_part *part,
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

void split_plan_use(struct split_planner *w, uint32_t index, uint32_t output) {
    struct split_use *u = &w->p->use[index];
    w->used[index] = true;
    if (!w->p->counted && output == 0) {
        u->small = true;
    } else if (!w->p->counted) {
        u->first = u->count == 0 || output < u->first ? output : u->first;
        u->last = u->count == 0 || output > u->last ? output : u->last;
        u->count++;
    }
    if (w->p->last_use[index] == UINT32_MAX || w->p->last_use[index] < output) {
        w->p->last_use[index] = output;
    }
}

static uint32_t output_of(const struct split_planner *w, const struct model_tensor *m) {
    if (m->role >= MODEL_MATRICES) {
        return 0;
    }
    if (m->layer >= 0) {
        return (w->p->desc.tied ? 2u : 3u) + (uint32_t)m->layer;
    }
    return m->role == MODEL_HEAD ? 2 : 1;
}

static lamina_status absent(struct split_planner *w, const char *name) {
    return base_fail(w->err, LAMINA_DAMAGED, "the checkpoint has no tensor \"%s\", which config.json asks for", name);
}

/* The other tensors of a vector in pieces: of the first one's shape and type. */
static lamina_status take_pieces(struct split_planner *w, const struct model_tensor *m, uint32_t at, struct split_part *part) {
    struct model_tensor one = *m;
    struct split_part other;
    uint32_t *piece = arena_take_array(&w->p->parts, m->pieces, sizeof(*piece));
    if (piece == NULL) {
        return split_plan_no_memory(w->err);
    }
    piece[0] = part->tensor;
    for (uint32_t i = 1; i < m->pieces; i++) {
        model_tensor_piece(&w->p->desc, m, i, one.source);
        if (!split_plan_find(w, one.source, &piece[i])) {
            return absent(w, one.source);
        }
        split_plan_use(w, piece[i], at);
        LAMINA_TRY(check_tensor(w, &one, piece[i], &other));
        if (other.dtype != part->dtype || other.coding != part->coding) {
            return base_fail(w->err, LAMINA_DAMAGED, "tensor \"%s\" is of another type than \"%s\"", one.source, m->source);
        }
    }
    part->pieces = m->pieces;
    part->piece = piece;
    return LAMINA_OK;
}

static lamina_status place(struct split_planner *w, const struct model_tensor *m) {
    uint32_t index = 0;
    bool coded = false;
    bool there = split_plan_find(w, m->source, &index);
    uint32_t at = output_of(w, m);
    struct split_output *o = &w->p->outputs[at];
    struct split_part *part = &o->parts[o->part_count];
    LAMINA_TRY(split_quant_find(w, m, at, part, &coded));
    if (coded && split_arrives(w->s)) { /* codes are looked at out of turn while planning */
        return base_fail(w->err, LAMINA_UNSUPPORTED,
                         "tensor \"%s\" is quantised, and such checkpoints cannot be split while they arrive; fetch it whole, then "
                         "split it",
                         m->source);
    }
    if (!coded && !there) {
        return absent(w, m->source);
    }
    if (!coded) {
        split_plan_use(w, index, at);
        LAMINA_TRY(check_tensor(w, m, index, part));
        LAMINA_TRY(m->pieces != 0 ? take_pieces(w, m, at, part) : LAMINA_OK);
    }
    LAMINA_TRY(at == 0 ? place_vector(w, o, part, m) : place_matrix(w, o, part, m));
    if (!coded && at != 0) {
        w->p->use[index].in_rows = part->coding == PANEL_PLAIN && split_part_is_plain(part);
    }
    o->part_count++;
    return LAMINA_OK;
}

static uint64_t source_bytes(const struct split_planner *w, uint32_t index) {
    struct lamina_source_tensor t = {0};
    struct lamina_error unused;
    if (w->s->tensor(w->s->user, index, &t, &unused) < 0) {
        return 0;
    }
    uint64_t bits = safetensors_dtype_bits(span_of_text(t.dtype));
    for (uint32_t i = 0; i < t.rank && i < 8; i++) {
        if (checked_mul(bits, t.shape[i], &bits)) {
            return 0;
        }
    }
    return bits / 8;
}

/* Says in words which parts beside the text model there are, in the order of the first name of each. */
static void note_towers(struct split_planner *w) {
    enum { MOST = 32 };
    struct {
        const char *name;
        uint32_t count;
        uint64_t bytes;
    } part[MOST];
    uint32_t parts = 0;
    size_t used = 0;
    for (uint32_t i = 0; i < w->s->tensor_count; i++) {
        const char *at = model_tensor_tower(&w->p->desc, span_of_text(w->names[i].name));
        uint32_t p = 0;
        while (p < parts && part[p].name != at) {
            p++;
        }
        if (at == NULL || p == MOST) {
            continue;
        }
        if (p == parts) {
            part[parts].name = at;
            part[parts].count = 0;
            part[parts++].bytes = 0;
        }
        part[p].count++;
        part[p].bytes += source_bytes(w, w->names[i].index);
    }
    for (uint32_t p = 0; p < parts && used < sizeof(w->p->left_out); p++) {
        char size[32];
        used += (size_t)snprintf(w->p->left_out + used, sizeof(w->p->left_out) - used, "%s%s (%u tensors, %s)", p > 0 ? ", " : "",
                                 part[p].name, part[p].count, format_bytes(size, part[p].bytes));
    }
}

static lamina_status refuse_leftovers(struct split_planner *w) {
    uint32_t count = 0;
    const char *first = NULL;
    for (uint32_t i = 0; i < w->s->tensor_count; i++) {
        const struct split_known *k = &w->names[i];
        if (!w->used[k->index] && !w->empty[k->index] && !model_tensor_ignored(&w->p->desc, span_of_text(k->name))) {
            first = first == NULL ? k->name : first;
            count++;
        }
    }
    if (count == 0) {
        note_towers(w);
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

static lamina_status make_parts(struct split_planner *w, uint32_t i) {
    const struct model_desc *d = &w->p->desc;
    struct split_output *o = &w->p->outputs[i];
    uint32_t fixed = d->tied ? 2 : 3;
    uint64_t parts = i == 0      ? vectors_of(d, w->layers)
                     : i < fixed ? (i == 1 && d->input_dim != 0 ? 3u : 1u)
                                 : model_slot_count(d, (int32_t)(i - fixed));
    o->head = (struct store_head){.kind = i == 0 ? STORE_SMALL : STORE_WEIGHTS};
    o->part_count = 0;
    o->parts = arena_take_array(&w->p->parts, parts, sizeof(*o->parts));
    o->head.vectors = i == 0 ? arena_take_array(&w->p->parts, parts, sizeof(*o->head.vectors)) : NULL;
    o->head.matrices = i == 0 ? NULL : arena_take_array(&w->p->parts, parts, sizeof(*o->head.matrices));
    return o->parts == NULL || (o->head.vectors == NULL && o->head.matrices == NULL) ? split_plan_no_memory(w->err) : LAMINA_OK;
}

static lamina_status make_outputs(struct split_planner *w) {
    struct split_plan *p = w->p;
    uint32_t fixed = p->desc.tied ? 2 : 3;
    static const char *const names[] = {"small.bin", "embed.bin", "head.bin"};
    w->layers = w->s->distinct_layers != 0 ? w->s->distinct_layers : p->desc.layers;
    p->output_count = fixed + w->layers;
    p->outputs = arena_take_array(w->arena, p->output_count, sizeof(*p->outputs));
    p->layer_output = arena_take_array(w->arena, p->desc.layers, sizeof(*p->layer_output));
    if (p->outputs == NULL || p->layer_output == NULL) {
        return split_plan_no_memory(w->err);
    }
    for (uint32_t i = 0; i < p->output_count; i++) {
        if (i < fixed) {
            (void)snprintf(p->outputs[i].name, sizeof(p->outputs[i].name), "%s", names[i]);
        } else {
            (void)snprintf(p->outputs[i].name, sizeof(p->outputs[i].name), "layers/%05u.bin", i - fixed);
        }
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

static lamina_status measure(struct split_planner *w, struct split_output *o) {
    uint64_t pages = 0;
    if (o->head.kind == STORE_SMALL) {
        o->head.tile_count = (uint32_t)div_up(o->head.floats * sizeof(float), STORE_SMALL_TILE);
    }
    store_head_size(&o->head);
    for (uint32_t t = 0; t < o->head.tile_count; t++) {
        pages += div_up(store_tile_most(&o->head, t), STORE_PAGE);
    }
    pages += o->head.head_pages + o->head.tail_pages;
    if (pages > UINT32_MAX || o->head.tail_pages > SPLIT_BUFFER / STORE_PAGE || o->head.head_pages > STORE_MAX_HEAD_PAGES) {
        return base_fail(w->err, LAMINA_UNSUPPORTED, "%s would be too large", o->name);
    }
    o->size = pages * STORE_PAGE;
    o->likely = o->size;
    o->weights = o->bits = o->rounded = 0;
    for (uint32_t i = 0; i < o->head.matrix_count; i++) {
        const struct panel_shape *shape = &o->parts[i].shape;
        uint64_t bytes = panel_weight_bits(shape) / 8;
        o->weights += shape->rows * shape->cols;
        o->bits += panel_weight_bits(shape);
        o->likely -= min_u64(o->likely, bytes - split_likely(&w->p->codec, shape, bytes));
        o->packed = o->packed || shape->packing != PANEL_AS_IS;
        o->rounded += shape->packing == PANEL_STEPS ? shape->rows * shape->cols : 0;
    }
    return LAMINA_OK;
}

bool split_codec_of_name(const char *name, struct split_codec *codec) {
    *codec = (struct split_codec){0};
    codec->steps = steps_of_codec(name, &codec->dial);
    codec->planes = codec->steps || strcmp(name, "planes") == 0;
    return codec->planes || strcmp(name, "raw") == 0;
}

uint64_t split_likely(const struct split_codec *codec, const struct panel_shape *shape, uint64_t decoded) {
    if (shape->packing == PANEL_STEPS) {
        return decoded / 16 * (uint64_t)(steps_likely_bits(&codec->dial) * 100) / 100;
    }
    if (shape->packing == PANEL_CODES) { /* FP8: 6.6 to 6.9 of 8 bits; of other codes it depends on much */
        bool floats = shape->coding == PANEL_GROUPS && (shape->coded.code == GROUPS_E4M3 || shape->coded.code == GROUPS_E5M2);
        return floats ? decoded / 8 * 7 : decoded;
    }
    return shape->packing == PANEL_AS_IS ? decoded : decoded / 16 * 11; /* bf16 as trained: 10.7 to 11 of 16 bits */
}

void split_output_made(struct split_output *o, uint64_t size) {
    o->size = size;
    if (o->packed) {
        o->bits = (size - ((uint64_t)o->head.head_pages + o->head.tail_pages) * STORE_PAGE) * 8;
    }
}

/* The tensors of a layer (-1: those outside) that belong to an output. */
static lamina_status place_layer(struct split_planner *w, int32_t layer, uint32_t output) {
    uint32_t count = model_layer_tensor_count(&w->p->desc, layer);
    for (uint32_t i = 0; i < count; i++) {
        struct model_tensor m;
        model_layer_tensor_at(&w->p->desc, layer, i, &m);
        if (output_of(w, &m) == output) {
            LAMINA_TRY(place(w, &m));
        }
    }
    return LAMINA_OK;
}

lamina_status split_plan_parts(struct split_plan *p, uint32_t output) {
    struct split_planner *w = p->planner;
    uint32_t fixed = p->desc.tied ? 2 : 3;
    if (p->filled < p->output_count) { /* one at a time */
        p->outputs[p->filled].parts = NULL;
    }
    arena_drop(&p->parts);
    p->filled = output;
    LAMINA_TRY(make_parts(w, output));
    if (output >= fixed) {
        LAMINA_TRY(place_layer(w, (int32_t)(output - fixed), output));
    }
    for (uint32_t i = 0; output == 0 && i < w->layers; i++) {
        LAMINA_TRY(place_layer(w, (int32_t)i, 0));
    }
    if (output < fixed) {
        LAMINA_TRY(place_layer(w, -1, output));
    }
    return measure(w, &p->outputs[output]);
}

/* Layers that repeat earlier ones have tensors too, which nobody reads. */
static void pass_over_repeats(struct split_planner *w) {
    for (uint32_t layer = w->layers; layer < w->p->desc.layers; layer++) {
        uint32_t count = model_layer_tensor_count(&w->p->desc, (int32_t)layer);
        for (uint32_t i = 0; i < count; i++) {
            struct model_tensor m;
            uint32_t index = 0;
            model_layer_tensor_at(&w->p->desc, (int32_t)layer, i, &m);
            for (uint32_t piece = 0; piece == 0 || piece < m.pieces; piece++) {
                if (piece != 0) {
                    model_tensor_piece(&w->p->desc, &m, piece, m.source);
                }
                if (split_plan_find(w, m.source, &index)) {
                    w->used[index] = true;
                }
            }
        }
    }
}

static lamina_status check_repeats(const struct split_planner *w) {
    uint32_t n = w->s->distinct_layers;
    if (n != 0 && (n > w->p->desc.layers || w->s->first_repeated >= n)) {
        return base_fail(w->err, LAMINA_USAGE,
                         "a source with %u distinct layers cannot repeat from layer %u in a model of %u", n,
                         w->s->first_repeated, w->p->desc.layers);
    }
    return LAMINA_OK;
}

static lamina_status resolve(struct split_planner *w) {
    char *config = NULL;
    size_t len = 0;
    LAMINA_TRY(w->s->file(w->s->user, "config.json", &config, &len, w->err));
    lamina_status status = model_resolve(span_of(config, len), &w->p->desc, w->err);
    if (status == LAMINA_OK) {
        status = model_quant_read(span_of(config, len), &w->quant, w->err);
    }
    free(config);
    return status;
}

static double sum_finer(const struct split_output *o) {
    double sum = 0;
    for (uint32_t i = 0; i < o->head.matrix_count; i++) {
        const struct panel_shape *shape = &o->parts[i].shape;
        sum += shape->packing == PANEL_STEPS ? o->parts[i].finer * (double)(shape->rows * shape->cols) : 0;
    }
    return sum;
}

lamina_status split_plan_make(const struct lamina_source *s, int tied, const struct split_codec *codec, struct arena *arena,
                              struct split_plan *p, struct lamina_error *err) {
    struct split_planner *w = arena_take(arena, sizeof(*w));
    if (w == NULL) {
        return split_plan_no_memory(err);
    }
    *w = (struct split_planner){.s = s, .arena = arena, .p = p, .err = err};
    *p = (struct split_plan){.planner = w, .codec = *codec, .filled = UINT32_MAX};
    LAMINA_TRY(resolve(w));
    LAMINA_TRY(check_repeats(w));
    LAMINA_TRY(list_names(w));
    LAMINA_TRY(resolve_tied(w, tied));
    LAMINA_TRY(make_outputs(w));
    uint64_t rounded = 0;
    double finer = 0;
    for (uint32_t i = 0; i < p->output_count; i++) {
        LAMINA_TRY(split_plan_parts(p, i));
        p->total_bytes += p->outputs[i].likely;
        rounded += p->outputs[i].rounded;
        finer += sum_finer(&p->outputs[i]);
    }
    p->counted = true;
    p->codec.finer_mean = rounded != 0 ? finer / (double)rounded : 0;
    pass_over_repeats(w);
    return refuse_leftovers(w);
}

void split_plan_drop(struct split_plan *p) {
    arena_drop(&p->parts);
}
