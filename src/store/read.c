/* SPDX-License-Identifier: Apache-2.0
 * Looking things up in an open store, proving a tile, and loading the resident vectors. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "codec/coding.h"
#include "store/store_priv.h"

const struct store_vector *store_vector_find(const struct store *s, int32_t layer, enum model_role role) {
    for (uint32_t i = 0; i < s->vector_count; i++) {
        if (s->vectors[i].role == (uint32_t)role && s->vectors[i].layer == layer) {
            return &s->vectors[i];
        }
    }
    return NULL;
}

const struct store_matrix *store_matrix_find(const struct store_file *f, enum model_role role, uint32_t expert) {
    for (uint32_t i = 0; i < f->matrix_count; i++) {
        if (f->matrices[i].role == (uint32_t)role && f->matrices[i].expert == expert) {
            return &f->matrices[i];
        }
    }
    return NULL;
}

void store_decode_row(const struct panel_shape *s, const void *tile, uint64_t row, float *out) {
    out[s->cols2 - 1] = 0;
    struct coding_table portable;
    coding_table_init(&portable, 0);
    portable.decode_row(s, tile, row, 0, (uint32_t)s->cols, out);
}

lamina_status store_tile_check(const struct store_file *f, uint32_t tile, const void *bytes, struct lamina_error *err) {
    const struct store_tile *t = &f->tiles[tile];
    if (LIKELY(hash_xxh3_64(bytes, (size_t)t->pages * STORE_PAGE) == t->hash)) {
        return LAMINA_OK;
    }
    uint32_t m = f->matrix_count - 1;
    while (m > 0 && f->matrices[m].first_tile > tile) {
        m--;
    }
    return base_fail(err, LAMINA_DAMAGED,
                     "%s: tile %u of matrix %s (offset %" PRIu64
                     ") is damaged: its bytes do not have the recorded checksum; run "
                     "'lamina verify', then restore the file or split again",
                     f->path, tile - f->matrices[m].first_tile, model_role_name((enum model_role)f->matrices[m].role),
                     (uint64_t)t->offset_pages * STORE_PAGE);
}

static lamina_status read_floats(const struct store *s, const struct sys_file *file,
                                 const struct store_part_file *tables, uint8_t *buffer, float *floats,
                                 struct lamina_error *err) {
    if (tables->head.kind != STORE_SMALL || tables->head.floats != s->small_floats) {
        return base_fail(err, LAMINA_DAMAGED, "%s is not the file that was opened", s->small_path);
    }
    for (uint32_t i = 0; i < tables->head.tile_count; i++) {
        const struct store_tile *t = &tables->tiles[i];
        uint64_t offset = (uint64_t)t->offset_pages * STORE_PAGE;
        size_t len = (size_t)t->pages * STORE_PAGE;
        LAMINA_TRY(
            sys_file_read_any(file, s->small_path, offset, buffer, len, buffer + STORE_SMALL_TILE, SOURCE_BOUNCE, err));
        if (hash_xxh3_64(buffer, len) != t->hash) {
            return base_fail(err, LAMINA_DAMAGED, "%s: tile %u at offset %" PRIu64 " is damaged", s->small_path, i,
                             offset);
        }
        float *to = floats + (uint64_t)i * (STORE_SMALL_TILE / sizeof(float));
        uint64_t count = store_tile_most(&tables->head, i) / sizeof(float);
        for (uint64_t k = 0; k < count; k++) {
            uint32_t bits = load_le32(buffer + k * 4);
            memcpy(&to[k], &bits, sizeof(bits));
        }
    }
    return LAMINA_OK;
}

lamina_status store_read_small(const struct store *s, float *floats, struct lamina_error *err) {
    struct sys_file file;
    struct arena arena = {0};
    struct store_part_file tables;
    uint8_t *buffer = NULL;
    LAMINA_TRY(sys_file_open_read(&file, s->small_path, SYS_OPEN_DIRECT, err));
    lamina_status status = store_file_tables(&file, s->small_path, &arena, &tables, err);
    if (status < 0) {
        goto done;
    }
    buffer = aligned_alloc(64 << 10, STORE_SMALL_TILE + SOURCE_BOUNCE);
    if (buffer == NULL) {
        status = base_fail(err, LAMINA_NO_FIT, "no memory to read %s", s->small_path);
        goto done;
    }
    status = read_floats(s, &file, &tables, buffer, floats, err);
done:
    free(buffer);
    arena_drop(&arena);
    sys_file_close(&file);
    return status;
}
