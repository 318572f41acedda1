/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a store read-only: the manifest, then head and tail of every weight file, each held against what the model
 * description says must be there. No weight is read. Afterwards all files stay open, so a store that is replaced or
 * removed while a program runs on it does no harm.
 *
 * The handle is read-only after opening: any number of threads may use it, and read from its files. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"

enum { SCRATCH = 64 << 10 };

bool store_join(char *out, size_t len, const char *dir, const char *name) {
    int n = snprintf(out, len, "%s/%s", dir, name);
    return n > 0 && (size_t)n < len;
}

bool store_is_store(const char *path) {
    char name[STORE_PATH_LEN];
    return store_join(name, sizeof(name), path, "lamina.json") && sys_exists(name);
}

lamina_status store_manifest_load(const char *store, bool with_pieces, struct arena *arena, struct manifest *m,
                                  uint64_t *bytes, struct lamina_error *err) {
    char path[STORE_PATH_LEN];
    struct span text;
    if (!store_join(path, sizeof(path), store, "lamina.json")) {
        return base_fail(err, LAMINA_USAGE, "the path %.200s... is too long", store);
    }
    if (!sys_exists(path)) {
        return base_fail(err, LAMINA_NOT_FOUND,
                         "%s is not a store: it holds no lamina.json (an unfinished split has none; repeat it)", store);
    }
    LAMINA_TRY(sys_load(path, STORE_MANIFEST_MAX, &text, err));
    *bytes = text.len;
    lamina_status status = manifest_parse(text, path, with_pieces, arena, m, err);
    sys_unload(&text);
    return status;
}

/* Whole pages, through memory that is given back. */
static lamina_status read_pages(const struct sys_file *f, const char *path, uint64_t at, uint64_t len, uint8_t **out,
                                struct lamina_error *err) {
    uint8_t *bytes = aligned_alloc(SCRATCH, (size_t)round_up(len, SCRATCH) + SCRATCH);
    if (bytes == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "no memory to read the tables of %s", path);
    }
    lamina_status status = sys_file_read_any(f, path, at, bytes + SCRATCH, (size_t)len, bytes, SCRATCH, err);
    if (status < 0) {
        free(bytes);
        return status;
    }
    if (!f->direct) {
        sys_file_drop_cache(f, at, len);
    }
    *out = bytes;
    return LAMINA_OK;
}

static lamina_status read_head(const struct sys_file *f, const char *path, struct arena *arena, struct store_head *h,
                               struct lamina_error *err) {
    uint8_t *bytes = NULL;
    uint32_t pages = 0;
    if (f->size < 2 * STORE_PAGE || f->size % STORE_PAGE != 0) {
        return base_fail(err, LAMINA_DAMAGED, "%s has %" PRIu64 " bytes, which no weight file has", path, f->size);
    }
    LAMINA_TRY(read_pages(f, path, 0, STORE_PAGE, &bytes, err));
    lamina_status status = store_head_peek(span_of(bytes + SCRATCH, STORE_PAGE), path, &pages, err);
    if (status == LAMINA_OK && (uint64_t)pages * STORE_PAGE > f->size) {
        status = base_fail(err, LAMINA_DAMAGED, "%s is cut short: %" PRIu64 " bytes", path, f->size);
    }
    if (status == LAMINA_OK && pages > 1) {
        free(bytes);
        bytes = NULL;
        status = read_pages(f, path, 0, (uint64_t)pages * STORE_PAGE, &bytes, err);
    }
    if (status == LAMINA_OK) {
        status = store_head_read(span_of(bytes + SCRATCH, (size_t)pages * STORE_PAGE), path, arena, h, err);
    }
    free(bytes);
    return status;
}

lamina_status store_file_tables(const struct sys_file *f, const char *path, struct arena *arena,
                                struct store_part_file *out, struct lamina_error *err) {
    uint8_t *bytes = NULL;
    *out = (struct store_part_file){.tiles = NULL};
    LAMINA_TRY(read_head(f, path, arena, &out->head, err));
    uint64_t tail = (uint64_t)out->head.tail_pages * STORE_PAGE;
    if (tail + (uint64_t)out->head.head_pages * STORE_PAGE > f->size) {
        return base_fail(err, LAMINA_DAMAGED, "%s is cut short: %" PRIu64 " bytes", path, f->size);
    }
    LAMINA_TRY(read_pages(f, path, f->size - tail, tail, &bytes, err));
    lamina_status status =
        store_tail_read(span_of(bytes + SCRATCH, (size_t)tail), path, &out->head, f->size, arena, &out->tiles, err);
    free(bytes);
    return status;
}

/* ---- against the model ---- */

static lamina_status disagrees(const char *name, struct lamina_error *err) {
    return base_fail(err, LAMINA_DAMAGED, "%s does not hold what the manifest's model needs; restore or split again",
                     name);
}

static bool matrix_agrees(const struct store_matrix *m, int32_t layer, enum model_role role, const struct model_desc *desc) {
    uint64_t rows = 0;
    uint64_t cols = 0;
    uint32_t layout = role == MODEL_EMBED || role == MODEL_INPUT_EMBED ? PANEL_GATHERED : PANEL_BLOCKS;
    return m->role == role && model_matrix_shape(desc, layer, role, &rows, &cols) && m->shape.rows == rows &&
           m->shape.cols == cols && m->shape.layout == layout;
}

/* The first layer that uses file `index` of the manifest, -1 when none does (embed.bin, head.bin). */
static int32_t layer_of_file(const struct manifest *m, const char *name) {
    for (uint32_t i = 0; i < m->desc.layers; i++) {
        if (strcmp(m->files[m->layer_file[i]].name, name) == 0) {
            return (int32_t)i;
        }
    }
    return -1;
}

static lamina_status weights_agree(const struct store_head *h, const char *name, const struct manifest *m,
                                   struct lamina_error *err) {
    int32_t layer = layer_of_file(m, name);
    static const enum model_role first[] = {MODEL_EMBED, MODEL_INPUT_EMBED, MODEL_INPUT_PROJ};
    bool embed = strcmp(name, "embed.bin") == 0;
    uint32_t count = layer >= 0 ? model_slot_count(&m->desc, layer) : embed && m->desc.input_dim != 0 ? 3 : 1;
    if (h->matrix_count != count) {
        return disagrees(name, err);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct model_slot slot = {embed ? first[i] : MODEL_HEAD, 0};
        if (layer >= 0) {
            slot = model_slot_at(&m->desc, layer, i);
        }
        if (!matrix_agrees(&h->matrices[i], layer, slot.role, &m->desc) || h->matrices[i].expert != slot.expert) {
            return disagrees(name, err);
        }
    }
    return LAMINA_OK;
}

/* The vectors of one layer, or of -1, from *at on. */
static bool layer_vectors_agree(const struct store_head *h, int32_t said, int32_t layer, const struct model_desc *desc,
                                uint32_t *at) {
    enum model_role roles[MODEL_ROLES];
    uint32_t count = model_roles(desc, layer, false, roles);
    for (uint32_t i = 0; i < count; i++, (*at)++) {
        const struct store_vector *v = &h->vectors[*at];
        if (*at >= h->vector_count || v->role != roles[i] || v->layer != said ||
            v->len != model_vector_len(desc, layer, roles[i])) {
            return false;
        }
    }
    return true;
}

/* Distinct layers in order of their files, in role order, then what stands outside: and nothing else. */
static bool vectors_agree(const struct store_head *h, const struct manifest *m) {
    uint32_t fixed = m->desc.tied ? 2 : 3;
    uint32_t at = 0;
    for (uint32_t i = fixed; i < m->file_count; i++) {
        int32_t layer = layer_of_file(m, m->files[i].name);
        if (layer < 0 || !layer_vectors_agree(h, (int32_t)(i - fixed), layer, &m->desc, &at)) {
            return false;
        }
    }
    return layer_vectors_agree(h, -1, -1, &m->desc, &at) && at == h->vector_count;
}

lamina_status store_head_agrees(const struct store_head *h, const char *name, const struct manifest *m,
                                struct lamina_error *err) {
    bool small = strcmp(name, "small.bin") == 0;
    if ((h->kind == STORE_SMALL) != small) {
        return disagrees(name, err);
    }
    if (!small) {
        return weights_agree(h, name, m, err);
    }
    return vectors_agree(h, m) ? LAMINA_OK : disagrees(name, err);
}

/* ---- open ---- */

struct opening {
    struct store *s;
    struct manifest m;
    struct arena scratch;
    struct lamina_error *err;
};

static lamina_status no_memory(struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "no memory for the tables of the store");
}

static lamina_status file_path(struct opening *o, const char *name, const char **path) {
    char text[STORE_PATH_LEN];
    if (!store_join(text, sizeof(text), o->s->path, name)) {
        return base_fail(o->err, LAMINA_USAGE, "the path of %s is too long", name);
    }
    *path = arena_copy_text(&o->s->arena, span_of_text(text));
    return *path == NULL ? no_memory(o->err) : LAMINA_OK;
}

static lamina_status missing_or(lamina_status status, const char *path, struct lamina_error *err) {
    if (status == LAMINA_NOT_FOUND && err != NULL) {
        err->code = LAMINA_OK;
        return base_fail(err, LAMINA_DAMAGED, "%s is missing; restore it or split again", path);
    }
    return status;
}

static lamina_status open_checked(const char *path, const struct manifest_file *f, struct sys_file *file,
                                  struct lamina_error *err) {
    LAMINA_TRY(missing_or(sys_file_open_read(file, path, SYS_OPEN_DIRECT, err), path, err));
    if (file->size != f->size) {
        lamina_status status =
            base_fail(err, LAMINA_DAMAGED, "%s has %" PRIu64 " bytes, %" PRIu64 " expected", path, file->size, f->size);
        sys_file_close(file);
        return status;
    }
    return LAMINA_OK;
}

static lamina_status open_weights(struct opening *o, uint32_t index) {
    const struct manifest_file *from = &o->m.files[index];
    struct store_file *f = &o->s->files[o->s->file_count];
    struct store_part_file tables;
    *f = (struct store_file){.size = from->size, .hash = from->hash, .file = {.fd = -1}};
    f->name = arena_copy_text(&o->s->arena, span_of_text(from->name));
    if (f->name == NULL) {
        return no_memory(o->err);
    }
    LAMINA_TRY(file_path(o, from->name, &f->path));
    LAMINA_TRY(open_checked(f->path, from, &f->file, o->err));
    o->s->file_count++;
    LAMINA_TRY(store_file_tables(&f->file, f->path, &o->s->arena, &tables, o->err));
    LAMINA_TRY(store_head_agrees(&tables.head, f->name, &o->m, o->err));
    f->matrix_count = tables.head.matrix_count;
    f->matrices = tables.head.matrices;
    f->tile_count = tables.head.tile_count;
    f->tiles = tables.tiles;
    return LAMINA_OK;
}

/* The vectors of distinct layer `from` in the table of small.bin (-1: those outside the layers). */
static uint32_t first_vector(const struct store_head *h, int32_t from) {
    uint32_t i = 0;
    while (i < h->vector_count && h->vectors[i].layer != from) {
        i++;
    }
    return i;
}

static void copy_vectors(struct store *s, const struct store_head *h, int32_t from, int32_t layer) {
    for (uint32_t i = first_vector(h, from); i < h->vector_count && h->vectors[i].layer == from; i++) {
        s->vectors[s->vector_count] = h->vectors[i];
        s->vectors[s->vector_count++].layer = layer;
    }
}

/* The table of small.bin, repeated for layers that repeat others: a layer's vectors belong to its file. */
static lamina_status place_vectors(struct opening *o, const struct store_head *h) {
    struct store *s = o->s;
    enum model_role roles[MODEL_ROLES];
    uint32_t fixed = o->m.desc.tied ? 2 : 3;
    uint64_t count = model_roles(&s->desc, -1, false, roles);
    for (uint32_t i = 0; i < s->desc.layers; i++) {
        count += model_roles(&s->desc, (int32_t)i, false, roles);
    }
    s->vectors = arena_take_array(&s->arena, count, sizeof(*s->vectors));
    if (s->vectors == NULL) {
        return no_memory(o->err);
    }
    for (uint32_t layer = 0; layer < s->desc.layers; layer++) {
        copy_vectors(s, h, (int32_t)(o->m.layer_file[layer] - fixed), (int32_t)layer);
    }
    copy_vectors(s, h, -1, -1);
    s->small_floats = h->floats;
    s->small_offset = (uint64_t)h->head_pages * STORE_PAGE;
    return LAMINA_OK;
}

static lamina_status open_small(struct opening *o) {
    struct store_part_file tables;
    struct sys_file file;
    LAMINA_TRY(file_path(o, o->m.files[0].name, &o->s->small_path));
    LAMINA_TRY(open_checked(o->s->small_path, &o->m.files[0], &file, o->err));
    lamina_status status = store_file_tables(&file, o->s->small_path, &o->scratch, &tables, o->err);
    sys_file_close(&file);
    LAMINA_TRY(status);
    LAMINA_TRY(store_head_agrees(&tables.head, "small.bin", &o->m, o->err));
    return place_vectors(o, &tables.head);
}

static uint64_t tile_bytes(const struct store_file *f) {
    uint64_t pages = 0;
    for (uint32_t i = 0; i < f->tile_count; i++) {
        pages += f->tiles[i].pages;
    }
    return pages * STORE_PAGE;
}

static lamina_status open_files(struct opening *o) {
    struct store *s = o->s;
    uint32_t fixed = o->m.desc.tied ? 2 : 3;
    s->files = arena_take_array(&s->arena, o->m.file_count, sizeof(*s->files));
    s->layers = arena_take_array(&s->arena, s->desc.layers, sizeof(*s->layers));
    if (s->files == NULL || s->layers == NULL) {
        return no_memory(o->err);
    }
    LAMINA_TRY(open_small(o));
    for (uint32_t i = 1; i < o->m.file_count; i++) {
        LAMINA_TRY(open_weights(o, i));
    }
    s->embed = &s->files[0];
    s->head = s->desc.tied ? NULL : &s->files[1];
    s->weight_bytes = tile_bytes(s->head != NULL ? s->head : s->embed);
    for (uint32_t i = 0; i < s->desc.layers; i++) {
        s->layers[i] = &s->files[fixed - 1 + (o->m.layer_file[i] - fixed)];
        s->weight_bytes += tile_bytes(s->layers[i]);
    }
    return LAMINA_OK;
}

static lamina_status check_texts(struct opening *o) {
    for (uint32_t i = 0; i < o->m.tokenizer_count; i++) {
        const struct manifest_file *f = &o->m.tokenizer[i];
        struct sys_stat st;
        char name[STORE_NAME_LEN];
        char path[STORE_PATH_LEN];
        (void)snprintf(name, sizeof(name), "tokenizer/%s", f->name);
        if (!store_join(path, sizeof(path), o->s->path, name)) {
            return base_fail(o->err, LAMINA_USAGE, "the path of %s is too long", name);
        }
        LAMINA_TRY(missing_or(sys_stat(path, &st, o->err), path, o->err));
        if (st.size != f->size) {
            return base_fail(o->err, LAMINA_DAMAGED, "%s has %" PRIu64 " bytes, %" PRIu64 " expected", path, st.size,
                             f->size);
        }
        o->s->store_bytes += f->size;
        for (unsigned k = 0; k < STORE_TEXT_FILES; k++) {
            o->s->has_tokenizer = o->s->has_tokenizer || strcmp(f->name, store_tokenizer_files[k]) == 0;
        }
    }
    return LAMINA_OK;
}

static lamina_status open_all(struct opening *o, const char *path) {
    struct store *s = o->s;
    uint64_t manifest_bytes = 0;
    s->path = arena_copy_text(&s->arena, span_of_text(path));
    if (s->path == NULL) {
        return no_memory(o->err);
    }
    LAMINA_TRY(store_manifest_load(path, false, &o->scratch, &o->m, &manifest_bytes, o->err));
    s->desc = o->m.desc;
    s->identity = o->m.checksum;
    memcpy(s->codec, o->m.codec, sizeof(s->codec));
    s->synthetic = o->m.synthetic && o->m.distinct_layers != 0;
    s->store_bytes = manifest_bytes;
    for (uint32_t i = 0; i < o->m.file_count; i++) {
        s->store_bytes += o->m.files[i].size;
    }
    LAMINA_TRY(check_texts(o));
    return open_files(o);
}

lamina_status store_open(struct store **out, const char *path, const struct log_sink *log, struct lamina_error *err) {
    struct store *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return no_memory(err);
    }
    struct opening o = {.s = s, .err = err};
    lamina_status status = open_all(&o, path);
    arena_drop(&o.scratch);
    if (status < 0) {
        store_close(&s);
        return status;
    }
    if (!s->embed->file.direct) {
        log_say(log, LOG_NOTE, "%s: this file system has no direct reads, reading through the page cache", path);
    }
    s->table_bytes = sizeof(*s) + s->arena.taken_bytes;
    *out = s;
    return LAMINA_OK;
}

void store_close(struct store **store) {
    struct store *s = *store;
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; i < s->file_count; i++) {
        sys_file_close(&s->files[i].file);
    }
    arena_drop(&s->arena);
    free(s);
    *store = NULL;
}
