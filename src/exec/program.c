/* SPDX-License-Identifier: Apache-2.0
 * Builds the span list from the op records, so that reading order and computing order are one order. */
#include "exec/program.h"

#include <stdlib.h>

static lamina_status add_span(struct program *p, struct store_file *file, enum model_role role, uint32_t expert,
                              struct lamina_error *err) {
    const struct store_matrix *m = store_matrix_find(file, role, expert);
    if (m == NULL) {
        return base_fail(err, LAMINA_DAMAGED, "%s holds no matrix \"%s\"; split the checkpoint again", file->path,
                         model_role_name(role));
    }
    p->spans[p->span_count++] = (struct stream_span){.file = file, .matrix = m, .first = p->positions};
    p->positions += m->shape.tiles;
    return LAMINA_OK;
}

/* Matrices of one expert, from the first of their roles on: gate (where there is one), up, down. */
static uint32_t first_expert_role(const struct kern_op *op) {
    return op->gated ? 0 : 1;
}

static uint32_t count_matmuls(const struct kern_op *ops, uint32_t count) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        n += ops[i].kind == KERN_OP_MATMUL || ops[i].kind == KERN_OP_MATMUL_HEADS;
        n += ops[i].kind == KERN_OP_EXPERTS ? ops[i].experts * (3 - first_expert_role(&ops[i])) : 0;
    }
    return n;
}

static lamina_status add_experts(struct program *p, uint32_t layer, const struct kern_op *op, struct lamina_error *err) {
    p->expert_span[layer] = p->span_count;
    for (uint32_t e = 0; e < op->experts; e++) {
        for (uint32_t r = first_expert_role(op); r < 3; r++) {
            LAMINA_TRY(add_span(p, p->store->layers[layer], (enum model_role)((uint32_t)op->matrix + r), e, err));
        }
    }
    return LAMINA_OK;
}

static lamina_status add_layers(struct program *p, struct lamina_error *err) {
    const struct model_desc *d = &p->store->desc;
    for (uint32_t layer = 0; layer < d->layers; layer++) {
        uint32_t kind = d->layer_kind[layer];
        p->layer_span[layer] = p->span_count;
        p->expert_span[layer] = PROGRAM_NONE;
        p->expert_base[layer + 1] = p->expert_base[layer] + d->kinds[kind].experts;
        for (uint32_t i = 0; i < p->layer_op_count[kind]; i++) {
            const struct kern_op *op = &p->layer_ops[kind][i];
            if (op->kind == KERN_OP_MATMUL || op->kind == KERN_OP_MATMUL_HEADS) {
                LAMINA_TRY(add_span(p, p->store->layers[layer], (enum model_role)op->matrix, 0, err));
            } else if (op->kind == KERN_OP_EXPERTS) {
                LAMINA_TRY(add_experts(p, layer, op, err));
            }
        }
    }
    p->layer_span[d->layers] = p->span_count;
    p->body_positions = p->positions;
    return LAMINA_OK;
}

static lamina_status add_front(struct program *p, struct lamina_error *err) {
    for (uint32_t i = 0; i < p->front_op_count; i++) {
        if (p->front_ops[i].kind == KERN_OP_MATMUL) {
            LAMINA_TRY(add_span(p, p->store->embed, (enum model_role)p->front_ops[i].matrix, 0, err));
        }
    }
    p->front_spans = p->span_count;
    return LAMINA_OK;
}

static lamina_status add_head(struct program *p, struct lamina_error *err) {
    bool tied = p->store->head == NULL;
    p->tied_head_first = tied ? p->positions : PROGRAM_NONE;
    return add_span(p, tied ? p->store->embed : p->store->head, tied ? MODEL_EMBED : MODEL_HEAD, 0, err);
}

static void index_vectors(struct program *p) {
    for (uint32_t i = 0; i < p->store->vector_count; i++) {
        const struct store_vector *v = &p->store->vectors[i];
        uint32_t layer = v->layer < 0 ? p->store->desc.layers : (uint32_t)v->layer;
        p->vectors[(size_t)layer * MODEL_ROLES + v->role] = v;
    }
}

static void write_ops(struct program *p) {
    const struct model_desc *d = &p->store->desc;
    p->front_op_count = model_front_ops(d, p->front_ops, MODEL_MAX_OPS);
    p->head_op_count = model_head_ops(d, p->head_ops, MODEL_MAX_OPS);
    for (uint32_t k = 0; k < d->kind_count; k++) {
        p->layer_op_count[k] = model_layer_ops(d, k, p->layer_ops[k], MODEL_MAX_OPS);
    }
}

static size_t count_spans(const struct program *p) {
    const struct model_desc *d = &p->store->desc;
    size_t spans = 1 + count_matmuls(p->front_ops, p->front_op_count);
    for (uint32_t i = 0; i < d->layers; i++) {
        spans += count_matmuls(p->layer_ops[d->layer_kind[i]], p->layer_op_count[d->layer_kind[i]]);
    }
    return spans;
}

lamina_status program_init(struct program *p, const struct store *store, struct lamina_error *err) {
    *p = (struct program){.store = store};
    write_ops(p);
    p->spans = (struct stream_span *)calloc(count_spans(p), sizeof(*p->spans));
    p->layer_span = (uint32_t *)calloc((size_t)store->desc.layers + 1, sizeof(*p->layer_span));
    p->expert_span = (uint32_t *)calloc((size_t)store->desc.layers + 1, sizeof(*p->expert_span));
    p->expert_base = (uint32_t *)calloc((size_t)store->desc.layers + 1, sizeof(*p->expert_base));
    p->vectors = (const struct store_vector **)calloc(((size_t)store->desc.layers + 1) * MODEL_ROLES, sizeof(void *));
    if (p->spans == NULL || p->layer_span == NULL || p->expert_span == NULL || p->expert_base == NULL ||
        p->vectors == NULL) {
        program_drop(p);
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the pass program");
    }
    index_vectors(p);
    lamina_status status = add_front(p, err);
    if (status == LAMINA_OK) {
        status = add_layers(p, err);
    }
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
    free(p->layer_span);
    free(p->expert_span);
    free(p->expert_base);
    free((void *)p->vectors);
    p->spans = NULL;
    p->layer_span = NULL;
    p->expert_span = NULL;
    p->expert_base = NULL;
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
    uint64_t most = PANEL_TILE_ALIGN;
    for (int own = 0; own < 2; own++) {
        const struct store_matrix *m = store_matrix_find(store->embed, own != 0 ? MODEL_INPUT_EMBED : MODEL_EMBED, 0);
        uint64_t bytes = m != NULL ? (uint64_t)store->embed->tiles[m->first_tile].pages * PANEL_TILE_ALIGN : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
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

uint32_t program_gate(const struct program *p, uint32_t layer) {
    for (uint32_t i = layer; i < p->store->desc.layers; i++) {
        if (p->expert_span[i] != PROGRAM_NONE) {
            return p->spans[p->expert_span[i]].first;
        }
    }
    return PROGRAM_NONE;
}

static bool tile_routed(const void *user, uint32_t index) {
    return model_role_of_expert((enum model_role)span_at((const struct program *)user, index)->matrix->role);
}

uint64_t program_expert_pages(const struct program *p, uint32_t layer, uint32_t expert) {
    uint32_t first = program_expert_span(p, layer, expert);
    uint32_t end = program_expert_span(p, layer, expert + 1);
    uint64_t pages = 0;
    for (uint32_t i = first; i < end; i++) {
        const struct stream_span *s = &p->spans[i];
        for (uint32_t t = 0; t < s->matrix->shape.tiles; t++) {
            pages += s->file->tiles[s->matrix->first_tile + t].pages;
        }
    }
    return pages;
}

uint32_t program_expert_layer(const struct program *p, uint32_t expert) {
    uint32_t layer = 0;
    while (p->expert_base[layer + 1] <= expert) {
        layer++;
    }
    return layer;
}

uint32_t program_expert_span(const struct program *p, uint32_t layer, uint32_t expert) {
    uint32_t first = p->expert_span[layer];
    uint32_t each = (p->layer_span[layer + 1] - first) / model_kind_of(&p->store->desc, layer)->experts;
    return first + expert * each;
}

uint32_t program_longest_gap(const struct program *p) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < p->store->desc.layers; i++) {
        if (p->expert_span[i] != PROGRAM_NONE) {
            uint32_t tiles = program_span_end(p, p->layer_span[i + 1] - 1) - p->spans[p->expert_span[i]].first;
            most = tiles > most ? tiles : most;
        }
    }
    return most;
}

static void count_experts(const struct program *p, struct plan_store *out) {
    const struct model_desc *d = &p->store->desc;
    for (uint32_t layer = 0; layer < d->layers; layer++) {
        uint32_t experts = model_kind_of(d, layer)->experts;
        uint64_t bytes = 0;
        for (uint32_t e = 0; e < experts; e++) {
            uint64_t one = program_expert_pages(p, layer, e) * PANEL_TILE_ALIGN;
            out->largest_expert_bytes = one > out->largest_expert_bytes ? one : out->largest_expert_bytes;
            bytes += one;
        }
        out->expert_count += experts;
        out->expert_bytes += bytes;
        out->chosen_bytes += experts != 0 ? bytes / experts * d->routing.top_k : 0;
    }
}

/* The largest of `parts` parts of an expert. Packed experts of a layer are not equally large. */
static uint64_t largest_part(const struct program *p, uint32_t layer, uint32_t expert, uint32_t parts) {
    const uint64_t pages = program_expert_pages(p, layer, expert);
    uint64_t most = 0;
    uint64_t before = 0;
    uint64_t begin = 0; /* of the part at hand */
    for (uint32_t i = program_expert_span(p, layer, expert); i < program_expert_span(p, layer, expert + 1); i++) {
        const struct stream_span *s = &p->spans[i];
        for (uint32_t t = 0; t < s->matrix->shape.tiles; t++) {
            bool next = plan_part_of(pages, parts, before) != plan_part_of(pages, parts, begin);
            begin = next ? before : begin;
            before += s->file->tiles[s->matrix->first_tile + t].pages;
            most = before - begin > most ? before - begin : most;
        }
    }
    return most;
}

static uint32_t part_pages(const void *user, uint32_t parts) {
    const struct program *p = (const struct program *)user;
    uint64_t most = 1;
    for (uint32_t layer = 0; layer < p->store->desc.layers; layer++) {
        uint32_t experts = p->expert_span[layer] != PROGRAM_NONE ? model_kind_of(&p->store->desc, layer)->experts : 0;
        for (uint32_t i = 0; i < experts; i++) {
            uint64_t pages = largest_part(p, layer, i, parts);
            most = pages > most ? pages : most;
        }
    }
    return (uint32_t)most;
}

void program_plan_store(const struct program *p, struct plan_store *out) {
    *out = (struct plan_store){
        .tile_count = p->positions,
        .tile_pages = tile_pages,
        .tile_adjacent = tile_adjacent,
        .tile_routed = tile_routed,
        .part_pages = part_pages,
        .user = p,
        .embed_panel_bytes = program_embed_panel_bytes(p->store),
        .small_bytes = p->store->small_floats * sizeof(float),
        .heap_bytes = stream_heap_bytes(p->positions, program_longest_gap(p)),
        .model_bytes = p->store->weight_bytes,
    };
    for (uint32_t i = 0; i < p->span_count; i++) {
        const struct stream_span *s = &p->spans[i];
        const uint64_t unpacking = panel_unpacking_bytes(&s->matrix->shape);
        out->unpacking_bytes = unpacking > out->unpacking_bytes ? unpacking : out->unpacking_bytes;
        for (uint32_t t = 0; t < s->matrix->shape.tiles; t++) {
            uint32_t bytes = s->file->tiles[s->matrix->first_tile + t].pages * PANEL_TILE_ALIGN;
            out->dense_bytes += model_role_of_expert((enum model_role)s->matrix->role) ? 0 : bytes;
            out->largest_tile_bytes = bytes > out->largest_tile_bytes ? bytes : out->largest_tile_bytes;
        }
    }
    count_experts(p, out);
}
