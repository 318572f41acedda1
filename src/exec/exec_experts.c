/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading around a choice. The reader stops at the experts of a layer until its rows have chosen; then the cache says which
 * parts it keeps, and tiles get their places before the reader goes on. */
#include "exec/exec_priv.h"

void exec_open_gate(struct exec *e, uint32_t layer) {
    uint32_t gate = program_gate(e->program, layer);
    uint32_t end = e->with_head ? e->program->positions : e->program->body_positions;
    if (gate != PROGRAM_NONE) {
        stream_allow(e->stream, gate);
    } else if (e->o.read_ahead) {
        stream_allow(e->stream, end + (e->more ? program_gate(e->program, 0) : 0));
    }
}

/* A walk over the tiles of an expert, with the part of it that each belongs to. */
struct expert_walk {
    const struct program *p;
    uint64_t pages, before;      /* of the whole expert, before this tile */
    uint32_t span, end_span, tile;
    uint32_t parts;
    uint32_t position, part, tile_pages; /* of the tile at hand */
};

static struct expert_walk walk_begin(const struct exec *e, uint32_t layer, uint32_t expert) {
    const struct program *p = e->program;
    return (struct expert_walk){.p = p, .pages = program_expert_pages(p, layer, expert), .parts = e->cache.parts,
                                .span = program_expert_span(p, layer, expert),
                                .end_span = program_expert_span(p, layer, expert + 1)};
}

static bool walk_next(struct expert_walk *w) {
    while (w->span < w->end_span && w->tile == w->p->spans[w->span].matrix->shape.tiles) {
        w->span++;
        w->tile = 0;
    }
    if (w->span == w->end_span) {
        return false;
    }
    const struct stream_span *s = &w->p->spans[w->span];
    w->position = s->first + w->tile;
    w->tile_pages = s->file->tiles[s->matrix->first_tile + w->tile].pages;
    w->part = w->parts != 0 ? plan_part_of(w->pages, w->parts, w->before) : 0;
    w->before += w->tile_pages;
    w->tile++;
    return true;
}

/* A part of an expert got a slot or lost it. */
static void place_part(void *user, uint32_t expert, uint32_t part, uint32_t slot) {
    struct exec *e = (struct exec *)user;
    uint32_t layer = program_expert_layer(e->program, expert);
    uint32_t page = (uint32_t)(e->o.plan->pinned_limit / 4096) + slot * e->o.plan->cache.slot_pages;
    struct expert_walk w = walk_begin(e, layer, expert - e->program->expert_base[layer]);
    while (walk_next(&w)) {
        if (w.part == part) {
            stream_place(e->stream, w.position, slot == EXPERT_NO_SLOT ? PLAN_STREAMED : page);
            page += w.tile_pages;
        }
    }
}

/* Before anything is placed anew: what the chosen experts have in memory. */
static void count_hits(struct exec *e, const uint8_t *used, uint32_t experts) {
    for (uint32_t i = 0; i < experts; i++) {
        struct expert_walk w = walk_begin(e, e->layer, i);
        e->chosen_pages += used[i] != 0 ? w.pages : 0;
        while (used[i] != 0 && e->cache.slots != 0 && walk_next(&w)) {
            uint32_t slot = expert_cache_slot(&e->cache, e->program->expert_base[e->layer] + i, w.part);
            e->cached_pages += slot != EXPERT_NO_SLOT ? w.tile_pages : 0;
        }
    }
}

/* The rows of the layer at hand have chosen: the experts among them are read where the cache lacks them, the others are
 * left out. */
void exec_experts_chosen(void *user, const uint8_t *used, uint32_t experts) {
    struct exec *e = (struct exec *)user;
    const struct program *p = e->program;
    for (uint32_t i = 0; i < experts; i++) {
        uint32_t begin = p->spans[program_expert_span(p, e->layer, i)].first;
        uint32_t end = program_span_end(p, program_expert_span(p, e->layer, i + 1) - 1);
        stream_leave_out(e->stream, begin, end - begin, used[i] == 0);
    }
    count_hits(e, used, experts);
    expert_cache_choose(&e->cache, p->expert_base[e->layer], used, experts, place_part, e);
    if (e->o.chosen != NULL) {
        e->o.chosen(e->o.user, e->layer, used, experts);
    }
    if (e->o.read_ahead) {
        exec_open_gate(e, e->layer + 1);
    } else {
        stream_allow(e->stream, program_span_end(p, p->layer_span[e->layer + 1] - 1));
    }
}

bool exec_expert_resident(void *user, uint32_t expert) {
    struct exec *e = (struct exec *)user;
    const struct program *p = e->program;
    uint32_t first = p->spans[program_expert_span(p, e->layer, expert)].first;
    uint32_t end = program_span_end(p, program_expert_span(p, e->layer, expert + 1) - 1);
    for (uint32_t i = first; i < end; i++) {
        if (stream_resident(e->stream, i) == NULL) {
            return false;
        }
    }
    return true;
}
