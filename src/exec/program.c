/* SPDX-License-Identifier: Apache-2.0
 * Builds the span list from the op records, so that reading order and computing order are one order. */
#include "exec/program.h"

#include <stdlib.h>

static lamina_status add_span(struct program *p, struct store_file *file, enum model_role role, struct lamina_error *err) {
    const struct store_matrix *m = store_matrix_find(file, role);
    if (m == NULL) {
        return base_fail(err, LAMINA_DAMAGED, "%s holds no matrix \"%s\"; split the checkpoint again", file->path,
                         model_role_name(role));
    }
    p->spans[p->span_count++] = (struct stream_span){.file = file, .matrix = m, .first = p->positions};
    p->positions += m->shape.tiles;
    return LAMINA_OK;
}

static uint32_t count_matmuls(const struct kern_op *ops, uint32_t count) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        n += ops[i].kind == KERN_OP_MATMUL;
    }
    return n;
}

static lamina_status add_layers(struct program *p, struct lamina_error *err) {
    for (uint32_t layer = 0; layer < p->store->desc.layers; layer++) {
        for (uint32_t i = 0; i < p->layer_op_count; i++) {
            if (p->layer_ops[i].kind == KERN_OP_MATMUL) {
                LAMINA_TRY(add_span(p, p->store->layers[layer], (enum model_role)p->layer_ops[i].matrix, err));
            }
        }
    }
    p->body_positions = p->positions;
    return LAMINA_OK;
}

static lamina_status add_head(struct program *p, struct lamina_error *err) {
    bool tied = p->store->head == NULL;
    p->tied_head_first = tied ? p->positions : PROGRAM_NONE;
    return add_span(p, tied ? p->store->embed : p->store->head, tied ? MODEL_EMBED : MODEL_HEAD, err);
}

static void index_vectors(struct program *p) {
    for (uint32_t i = 0; i < p->store->vector_count; i++) {
        const struct store_vector *v = &p->store->vectors[i];
        uint32_t layer = v->layer < 0 ? p->store->desc.layers : (uint32_t)v->layer;
        p->vectors[(size_t)layer * MODEL_ROLES + v->role] = v;
    }
}

lamina_status program_init(struct program *p, const struct store *store, struct lamina_error *err) {
    *p = (struct program){.store = store};
    p->layer_op_count = model_layer_ops(&store->desc, p->layer_ops, MODEL_MAX_OPS);
    p->head_op_count = model_head_ops(&store->desc, p->head_ops, MODEL_MAX_OPS);
    p->spans_per_layer = count_matmuls(p->layer_ops, p->layer_op_count);
    size_t spans = (size_t)store->desc.layers * p->spans_per_layer + 1;
    p->spans = (struct stream_span *)calloc(spans, sizeof(*p->spans));
    p->vectors = (const struct store_vector **)calloc(((size_t)store->desc.layers + 1) * MODEL_ROLES, sizeof(void *));
    if (p->spans == NULL || p->vectors == NULL) {
        program_drop(p);
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the pass program");
    }
    index_vectors(p);
    lamina_status status = add_layers(p, err);
    if (status == LAMINA_OK) {
        status = add_head(p, err);
    }
    if (status != LAMINA_OK) {
        program_drop(p);
    }
    return status;
}

void program_drop(struct program *p) {
    free(p->spans);
    free((void *)p->vectors);
    p->spans = NULL;
    p->vectors = NULL;
}

uint32_t program_span_end(const struct program *p, uint32_t i) {
    return i + 1 < p->span_count ? p->spans[i + 1].first : p->positions;
}

const struct store_vector *program_vector(const struct program *p, int32_t layer, enum model_role role) {
    uint32_t index = layer < 0 ? p->store->desc.layers : (uint32_t)layer;
    return p->vectors[(size_t)index * MODEL_ROLES + role];
}

uint64_t program_embed_panel_bytes(const struct store *store) {
    const struct store_matrix *m = store_matrix_find(store->embed, MODEL_EMBED);
    return m != NULL ? (uint64_t)store->embed->tiles[m->first_tile].pages * PANEL_TILE_ALIGN : PANEL_TILE_ALIGN;
}

/* ---- the planner's view ---- */

static const struct stream_span *span_at(const struct program *p, uint32_t position) {
    uint32_t low = 0;
    uint32_t high = p->span_count - 1;
    while (low < high) {
        uint32_t middle = (low + high + 1) / 2;
        if (p->spans[middle].first <= position) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return &p->spans[low];
}

static uint32_t tile_pages(const void *user, uint32_t index) {
    const struct stream_span *s = span_at((const struct program *)user, index);
    return s->file->tiles[s->matrix->first_tile + (index - s->first)].pages;
}

static bool tile_adjacent(const void *user, uint32_t index) {
    return span_at((const struct program *)user, index)->first != index;
}

void program_plan_store(const struct program *p, struct plan_store *out) {
    *out = (struct plan_store){
        .tile_count = p->positions,
        .tile_pages = tile_pages,
        .tile_adjacent = tile_adjacent,
        .user = p,
        .embed_panel_bytes = program_embed_panel_bytes(p->store),
        .small_bytes = p->store->small_floats * sizeof(float),
    };
    for (uint32_t i = 0; i < p->positions; i++) {
        uint32_t bytes = tile_pages(p, i) * PANEL_TILE_ALIGN;
        out->pass_bytes += bytes;
        out->largest_tile_bytes = bytes > out->largest_tile_bytes ? bytes : out->largest_tile_bytes;
    }
    out->model_bytes = p->store->weight_bytes;
}
