/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of embed.bin, head.bin, layers/NNNNN.bin and small.bin, written and read:
 *
 *     +--------+----------------------------------+--------+
 *     | head   | tiles, 4 KiB aligned and padded  | tail   |     all in pages of 4096 bytes
 *     +--------+----------------------------------+--------+
 *     head: what the file holds; known before the first tile. Its last 8 bytes: XXH3-64 of the rest of the head.
 *     tail: XXH3-64, place and length of every tile; then the head's checksum; then XXH3-64 of the rest of the tail.
 *
 * The hashes stand behind the tiles so that a file is written front to back once, and hashed while it is written.
 * Works on bytes in memory. Invariant: what store_head_read accepts, store_head_write reproduces byte for byte, so no
 * bit of a head is without meaning.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"

static const char MAGIC[9] = "LAMINAWF";

enum {
    HEAD_FIXED = 64,
    MATRIX_RECORD = 96,
    VECTOR_RECORD = 32,
    TILE_RECORD = 16,
    ROLE_LEN = 16,
    FLAG_ROW_SCALED = 1,
    FLAG_PACKED_CODES = 2,
};

static uint32_t record_count(const struct store_head *h) {
    return h->kind == STORE_SMALL ? h->vector_count : h->matrix_count;
}

static size_t record_bytes(const struct store_head *h) {
    return h->kind == STORE_SMALL ? VECTOR_RECORD : MATRIX_RECORD;
}

void store_head_size(struct store_head *h) {
    h->head_pages = (uint32_t)div_up(HEAD_FIXED + record_count(h) * (uint64_t)record_bytes(h) + 8, STORE_PAGE);
    h->tail_pages = (uint32_t)div_up((uint64_t)h->tile_count * TILE_RECORD + 16, STORE_PAGE);
}

static void write_matrix(const struct store_matrix *m, uint8_t *out) {
    const struct panel_shape *s = &m->shape;
    memcpy(out, model_role_name((enum model_role)m->role), strlen(model_role_name((enum model_role)m->role)));
    memcpy(out + 16, panel_type_name(s), strlen(panel_type_name(s)));
    store_le32(out + 24, s->layout == PANEL_GATHERED ? 1 : 0);
    store_le32(out + 28, (m->row_scaled ? FLAG_ROW_SCALED : 0u) | (s->packing == PANEL_CODES ? FLAG_PACKED_CODES : 0u));
    store_le64(out + 32, s->rows);
    store_le64(out + 40, s->cols);
    store_le32(out + 48, m->first_tile);
    store_le32(out + 52, s->tiles);
    store_le32(out + 56, s->groups_per_tile);
    store_le32(out + 60, s->parts_per_group);
    store_le32(out + 64, s->blocks_per_part);
    store_le32(out + 68, m->expert);
    if (s->coding == PANEL_GROUPS) {
        out[72] = s->coded.bits;
        out[73] = s->coded.code;
        out[74] = s->coded.scale;
        out[75] = s->coded.shift;
        out[76] = s->coded.ordered ? 1 : 0;
        out[77] = s->coded.phased ? 1 : 0;
        store_le32(out + 80, s->coded.group);
        store_le32(out + 84, s->coded.nested);
    }
}

static void write_vector(const struct store_vector *v, uint8_t *out) {
    memcpy(out, model_role_name((enum model_role)v->role), strlen(model_role_name((enum model_role)v->role)));
    store_le32(out + 16, (uint32_t)v->layer);
    store_le32(out + 20, v->len);
    store_le64(out + 24, v->offset);
}

/* All but the checksum. */
static void write_head(const struct store_head *h, uint8_t *out) {
    memset(out, 0, (size_t)h->head_pages * STORE_PAGE);
    memcpy(out, MAGIC, 8);
    store_le32(out + 8, STORE_VERSION);
    store_le32(out + 12, h->kind);
    store_le32(out + 16, h->head_pages);
    store_le32(out + 20, h->tail_pages);
    store_le32(out + 24, record_count(h));
    store_le32(out + 28, h->tile_count);
    store_le64(out + 32, h->floats);
    for (uint32_t i = 0; i < record_count(h); i++) {
        uint8_t *at = out + HEAD_FIXED + i * record_bytes(h);
        if (h->kind == STORE_SMALL) {
            write_vector(&h->vectors[i], at);
        } else {
            write_matrix(&h->matrices[i], at);
        }
    }
}

void store_head_write(struct store_head *h, uint8_t *out) {
    size_t len = (size_t)h->head_pages * STORE_PAGE;
    write_head(h, out);
    h->checksum = hash_xxh3_64(out, len - 8);
    store_le64(out + len - 8, h->checksum);
}

lamina_status store_head_peek(struct span first_page, const char *name, uint32_t *pages, struct lamina_error *err) {
    if (first_page.len < STORE_PAGE || memcmp(first_page.ptr, MAGIC, 8) != 0) {
        return base_fail(err, LAMINA_DAMAGED, "%s: not a weight file of a store (its first bytes are wrong)", name);
    }
    uint32_t count = load_le32(first_page.ptr + 16);
    if (count == 0 || count > STORE_MAX_HEAD_PAGES) {
        return base_fail(err, LAMINA_DAMAGED, "%s: its head claims %u pages, 1 to %d expected", name, count,
                         (int)STORE_MAX_HEAD_PAGES);
    }
    *pages = count;
    return LAMINA_OK;
}

static lamina_status head_damaged(const char *name, struct lamina_error *err) {
    return base_fail(err, LAMINA_DAMAGED, "%s: its head is damaged; restore or split again", name);
}

/* A role or type name in a fixed field, padded with zeros. */
static struct span fixed_text(const uint8_t *at, size_t len) {
    size_t n = 0;
    while (n < len && at[n] != 0) {
        n++;
    }
    return span_of(at, n);
}

static bool read_matrix(const uint8_t *at, struct store_matrix *m) {
    enum model_role role = MODEL_Q;
    struct panel_type type;
    struct span name = fixed_text(at + 16, 8);
    enum panel_layout layout = load_le32(at + 24) == 1 ? PANEL_GATHERED : PANEL_BLOCKS;
    if (!model_role_of_name(fixed_text(at, ROLE_LEN), &role) || role >= MODEL_MATRICES ||
        !panel_type_of_name((const char *)name.ptr, name.len, &type) || load_le32(at + 24) > 1 ||
        load_le32(at + 28) > (FLAG_ROW_SCALED | FLAG_PACKED_CODES)) {
        return false;
    }
    m->role = role;
    m->expert = load_le32(at + 68);
    m->row_scaled = (load_le32(at + 28) & FLAG_ROW_SCALED) != 0;
    bool packed = (load_le32(at + 28) & FLAG_PACKED_CODES) != 0;
    m->first_tile = load_le32(at + 48);
    if (type.coding != PANEL_PLAIN) {
        struct groups g = {.bits = at[72], .code = at[73], .scale = at[74], .shift = at[75], .group = load_le32(at + 80),
                           .nested = load_le32(at + 84), .ordered = at[76] != 0, .phased = at[77] != 0};
        if (!panel_shape_init_coded(&m->shape, load_le64(at + 32), load_le64(at + 40), type.coding, &g, layout)) {
            return false;
        }
        if (packed) {
            panel_shape_pack(&m->shape);
        }
        return packed == (m->shape.packing == PANEL_CODES);
    }
    if (packed || !panel_shape_init(&m->shape, load_le64(at + 32), load_le64(at + 40), type.dtype, layout)) {
        return false;
    }
    if (type.packing == PANEL_STEPS) {
        panel_shape_steps(&m->shape);
    } else if (type.packing != PANEL_AS_IS) {
        panel_shape_pack(&m->shape);
    }
    return m->shape.packing == (uint32_t)type.packing;
}

/* Roles ascend; then expert after expert, in each of which roles ascend again. */
static bool in_order(const struct store_head *h, uint32_t i) {
    const struct store_matrix *m = &h->matrices[i];
    bool expert = model_role_of_expert((enum model_role)m->role);
    if (m->expert >= MODEL_MAX_EXPERTS || (m->expert != 0 && !expert)) {
        return false;
    }
    const struct store_matrix *before = m - 1;
    return i == 0 || before->expert < m->expert || (before->expert == m->expert && before->role < m->role);
}

static lamina_status read_matrices(const uint8_t *records, const char *name, struct arena *arena, struct store_head *h,
                                   struct lamina_error *err) {
    uint64_t tiles = 0;
    h->matrices = arena_take_array(arena, h->matrix_count, sizeof(*h->matrices));
    if (h->matrices == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "%s: no memory for its tables", name);
    }
    for (uint32_t i = 0; i < h->matrix_count; i++) {
        struct store_matrix *m = &h->matrices[i];
        if (!read_matrix(records + (size_t)i * MATRIX_RECORD, m) || m->first_tile != tiles || !in_order(h, i)) {
            return base_fail(err, LAMINA_DAMAGED, "%s: entry %u of its matrix table makes no sense", name, i);
        }
        tiles += m->shape.tiles;
    }
    return tiles == h->tile_count ? LAMINA_OK : head_damaged(name, err);
}

static lamina_status read_vectors(const uint8_t *records, const char *name, struct arena *arena, struct store_head *h,
                                  struct lamina_error *err) {
    uint64_t floats = 0;
    h->vectors = arena_take_array(arena, h->vector_count, sizeof(*h->vectors));
    if (h->vectors == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "%s: no memory for its tables", name);
    }
    for (uint32_t i = 0; i < h->vector_count; i++) {
        const uint8_t *at = records + (size_t)i * VECTOR_RECORD;
        struct store_vector *v = &h->vectors[i];
        enum model_role role = MODEL_Q;
        uint32_t layer = load_le32(at + 16);
        v->len = load_le32(at + 20);
        v->offset = load_le64(at + 24);
        v->layer = (int32_t)layer;
        if (!model_role_of_name(fixed_text(at, ROLE_LEN), &role) || role < MODEL_MATRICES || v->offset != floats ||
            v->len == 0 || v->layer < -1) {
            return base_fail(err, LAMINA_DAMAGED, "%s: entry %u of its vector table makes no sense", name, i);
        }
        v->role = role;
        floats += round_up(v->len, STORE_VECTOR_ALIGN);
    }
    bool fits = floats == h->floats && div_up(floats * sizeof(float), STORE_SMALL_TILE) == h->tile_count;
    return fits ? LAMINA_OK : head_damaged(name, err);
}

lamina_status store_head_read(struct span bytes, const char *name, struct arena *arena, struct store_head *h,
                              struct lamina_error *err) {
    uint32_t pages = 0;
    *h = (struct store_head){0};
    LAMINA_TRY(store_head_peek(bytes, name, &pages, err));
    if (bytes.len != (size_t)pages * STORE_PAGE ||
        hash_xxh3_64(bytes.ptr, bytes.len - 8) != load_le64(bytes.ptr + bytes.len - 8)) {
        return head_damaged(name, err);
    }
    if (load_le32(bytes.ptr + 8) != STORE_VERSION) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: format version %u; this program reads version %d", name,
                         load_le32(bytes.ptr + 8), (int)STORE_VERSION);
    }
    uint32_t count = load_le32(bytes.ptr + 24);
    h->kind = load_le32(bytes.ptr + 12);
    h->tile_count = load_le32(bytes.ptr + 28);
    h->floats = load_le64(bytes.ptr + 32);
    h->checksum = load_le64(bytes.ptr + bytes.len - 8);
    if (h->kind > STORE_SMALL || (h->kind == STORE_WEIGHTS && (count == 0 || count > STORE_MAX_MATRICES))) {
        return head_damaged(name, err);
    }
    *(h->kind == STORE_SMALL ? &h->vector_count : &h->matrix_count) = count;
    store_head_size(h);
    if (h->head_pages != pages || h->tail_pages != load_le32(bytes.ptr + 20)) {
        return head_damaged(name, err);
    }
    const uint8_t *records = bytes.ptr + HEAD_FIXED;
    LAMINA_TRY(h->kind == STORE_SMALL ? read_vectors(records, name, arena, h, err)
                                      : read_matrices(records, name, arena, h, err));
    /* Whatever the fields above do not cover (padding, tile geometry) must be as we would write it. */
    uint8_t *again = malloc(bytes.len);
    if (again == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "%s: no memory to check its head", name);
    }
    write_head(h, again);
    bool same = memcmp(again, bytes.ptr, bytes.len - 8) == 0;
    free(again);
    return same ? LAMINA_OK
                : base_fail(err, LAMINA_DAMAGED,
                            "%s: its head has fields or a tile geometry that this version never writes", name);
}

static const struct store_matrix *matrix_of_tile(const struct store_head *h, uint32_t tile) {
    uint32_t m = h->matrix_count - 1;
    while (m > 0 && h->matrices[m].first_tile > tile) {
        m--;
    }
    return &h->matrices[m];
}

uint64_t store_tile_most(const struct store_head *h, uint32_t tile) {
    if (h->kind == STORE_SMALL) {
        uint64_t begin = (uint64_t)tile * STORE_SMALL_TILE;
        return min_u64(STORE_SMALL_TILE, h->floats * sizeof(float) - begin);
    }
    const struct store_matrix *m = matrix_of_tile(h, tile);
    struct panel_tile t;
    panel_tile_at(&m->shape, tile - m->first_tile, &t);
    return panel_tile_most(&m->shape, &t);
}

/* Tiles of packed matrices are as long as they came out, but never longer than they can be. */
static bool pages_fit(const struct store_head *h, uint32_t tile, uint32_t pages) {
    uint64_t most = div_up(store_tile_most(h, tile), STORE_PAGE);
    bool packed = h->kind != STORE_SMALL && matrix_of_tile(h, tile)->shape.packing != PANEL_AS_IS;
    return packed ? pages >= 1 && pages <= most : pages == most;
}

void store_tail_write(const struct store_head *h, const struct store_tile *tiles, uint8_t *out) {
    size_t len = (size_t)h->tail_pages * STORE_PAGE;
    memset(out, 0, len);
    for (uint32_t i = 0; i < h->tile_count; i++) {
        store_le64(out + (size_t)i * TILE_RECORD, tiles[i].hash);
        store_le32(out + (size_t)i * TILE_RECORD + 8, tiles[i].offset_pages);
        store_le32(out + (size_t)i * TILE_RECORD + 12, tiles[i].pages);
    }
    store_le64(out + len - 16, h->checksum);
    store_le64(out + len - 8, hash_xxh3_64(out, len - 8));
}

static bool all_zero(const uint8_t *p, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return true;
}

lamina_status store_tail_read(struct span bytes, const char *name, const struct store_head *h, uint64_t file_size,
                              struct arena *arena, struct store_tile **tiles, struct lamina_error *err) {
    size_t used = (size_t)h->tile_count * TILE_RECORD;
    if (bytes.len != (size_t)h->tail_pages * STORE_PAGE ||
        hash_xxh3_64(bytes.ptr, bytes.len - 8) != load_le64(bytes.ptr + bytes.len - 8) ||
        load_le64(bytes.ptr + bytes.len - 16) != h->checksum || !all_zero(bytes.ptr + used, bytes.len - 16 - used)) {
        return base_fail(err, LAMINA_DAMAGED, "%s: its tile table is damaged; restore or split again", name);
    }
    struct store_tile *list = arena_take_array(arena, h->tile_count, sizeof(*list));
    if (list == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "%s: no memory for its tile table", name);
    }
    uint64_t page = h->head_pages;
    for (uint32_t i = 0; i < h->tile_count; i++) {
        const uint8_t *at = bytes.ptr + (size_t)i * TILE_RECORD;
        list[i] =
            (struct store_tile){.hash = load_le64(at), .offset_pages = load_le32(at + 8), .pages = load_le32(at + 12)};
        if (list[i].offset_pages != page || !pages_fit(h, i, list[i].pages)) {
            return base_fail(err, LAMINA_DAMAGED,
                             "%s: tile %u is said to be %u pages at page %u, expected page %" PRIu64, name, i,
                             list[i].pages, list[i].offset_pages, page);
        }
        page += list[i].pages;
    }
    if ((page + h->tail_pages) * STORE_PAGE != file_size) {
        return base_fail(err, LAMINA_DAMAGED, "%s: the file has %" PRIu64 " bytes, %" PRIu64 " expected", name,
                         file_size, (page + h->tail_pages) * STORE_PAGE);
    }
    *tiles = list;
    return LAMINA_OK;
}
