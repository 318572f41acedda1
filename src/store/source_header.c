/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of tensors of one weight file: a safetensors header or torch's pickle, read by the room `format`, becomes
 * rows of the checkpoint's own table. Nothing of the weights themselves is read here. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "format/torch_file.h"
#include "store/store_priv.h"

static const char LFS[] = "version https://git-lfs";
enum { HEADER_MEMORY = 1 << 20, FIRST_BYTES = 64 };

static lamina_status no_memory(struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "no memory for the tables of the checkpoint");
}

struct source_tensor *source_more_tensors(struct checkpoint *c, uint32_t count) {
    uint64_t need = (uint64_t)c->tensor_count + count;
    if (need > c->tensor_room) {
        uint64_t room = max_u64(need, (uint64_t)c->tensor_room * 2);
        struct source_tensor *wider = room <= UINT32_MAX ? realloc(c->tensors, room * sizeof(*wider)) : NULL;
        if (wider == NULL) {
            return NULL;
        }
        c->tensors = wider;
        c->tensor_room = (uint32_t)room;
    }
    struct source_tensor *first = c->tensors + c->tensor_count;
    c->tensor_count += count;
    return first;
}

/* ---- safetensors ---- */

static lamina_status take_safetensors(struct checkpoint *c, uint32_t file, const struct safetensors_header *h,
                                      struct lamina_error *err) {
    struct source_tensor *t = source_more_tensors(c, h->count);
    for (uint32_t i = 0; t != NULL && i < h->count; i++, t++) {
        const struct safetensors_entry *e = &h->entries[i];
        *t = (struct source_tensor){.rank = e->rank, .file = file, .offset = e->offset, .bytes = e->bytes};
        t->name = arena_copy_text(&c->arena, span_of_text(e->name));
        memcpy(t->dtype, e->dtype, sizeof(t->dtype));
        memcpy(t->shape, e->shape, sizeof(t->shape));
        if (t->name == NULL) {
            return no_memory(err);
        }
    }
    return t == NULL && h->count > 0 ? no_memory(err) : LAMINA_OK;
}

static lamina_status read_safetensors(struct checkpoint *c, uint32_t file, const uint8_t *first, struct arena *arena,
                                      struct lamina_error *err) {
    const struct source_file *f = &c->files[file];
    struct safetensors_header h = {0};
    uint64_t json_len = 0;
    LAMINA_TRY(safetensors_header_len(first, f->stat.size, f->path, &json_len, err));
    uint8_t *json = malloc(json_len + 1);
    if (json == NULL) {
        return no_memory(err);
    }
    arena->limit_bytes = json_len * 8 + HEADER_MEMORY;
    lamina_status status = source_look(c, file, 8, json, json_len, err);
    if (status == LAMINA_OK) {
        status = safetensors_parse(span_of(json, json_len), f->stat.size, f->path, arena, &h, err);
    }
    free(json);
    return status == LAMINA_OK ? take_safetensors(c, file, &h, err) : status;
}

/* ---- torch ---- */

struct torch_reader {
    struct checkpoint *c;
    const struct source_file *f;
};

static lamina_status read_part(void *user, uint64_t offset, void *dst, size_t len, struct lamina_error *err) {
    const struct torch_reader *r = user;
    return sys_file_read_any(&r->f->file, r->f->path, offset, dst, len, r->c->bounce, SOURCE_BOUNCE, err);
}

static bool take_strides(struct checkpoint *c, const struct torch_tensor *from, struct source_tensor *to) {
    uint64_t *strides = arena_take_array(&c->arena, from->rank, sizeof(*strides));
    if (c->window == NULL) {
        c->window = malloc(SOURCE_WINDOW);
    }
    if (strides == NULL || c->window == NULL) {
        return false;
    }
    memcpy(strides, from->strides, from->rank * sizeof(*strides));
    to->strides = strides;
    return true;
}

static lamina_status take_torch(struct checkpoint *c, uint32_t file, const struct torch_tensors *h,
                                struct lamina_error *err) {
    struct source_tensor *t = source_more_tensors(c, h->count);
    for (uint32_t i = 0; t != NULL && i < h->count; i++, t++) {
        const struct torch_tensor *e = &h->list[i];
        *t = (struct source_tensor){.rank = e->rank, .file = file, .offset = e->offset, .bytes = e->bytes};
        t->name = arena_copy_text(&c->arena, span_of_text(e->name));
        memcpy(t->dtype, e->dtype, sizeof(t->dtype));
        memcpy(t->shape, e->shape, sizeof(t->shape));
        if (t->name == NULL || (!e->contiguous && !take_strides(c, e, t))) {
            return no_memory(err);
        }
    }
    return t == NULL && h->count > 0 ? no_memory(err) : LAMINA_OK;
}

static lamina_status read_torch(struct checkpoint *c, uint32_t file, struct arena *arena, struct lamina_error *err) {
    const struct source_file *f = &c->files[file];
    struct torch_reader reader = {.c = c, .f = f};
    struct torch_input in = {.read = read_part, .user = &reader, .size = f->stat.size, .name = f->path};
    struct torch_tensors h = {0};
    LAMINA_TRY(torch_file_read(&in, arena, &h, err));
    return take_torch(c, file, &h, err);
}

/* ---- both ---- */

static lamina_status refuse_pointer(const struct source_file *f, const uint8_t first[FIRST_BYTES], size_t len,
                                    struct lamina_error *err) {
    if (len >= sizeof(LFS) - 1 && memcmp(first, LFS, sizeof(LFS) - 1) == 0) {
        return base_fail(err, LAMINA_DAMAGED,
                         "%s is a Git LFS pointer of %" PRIu64
                         " bytes, not the weights themselves; fetch them with 'git lfs pull'",
                         f->path, f->stat.size);
    }
    return LAMINA_OK;
}

lamina_status source_read_header(struct checkpoint *c, uint32_t file, struct lamina_error *err) {
    const struct source_file *f = &c->files[file];
    struct arena arena = {0};
    uint8_t first[FIRST_BYTES] = {0};
    size_t have = (size_t)min_u64(sizeof(first), f->stat.size);
    LAMINA_TRY(source_look(c, file, 0, first, have, err));
    LAMINA_TRY(refuse_pointer(f, first, have, err));
    lamina_status status = c->form->gguf    ? source_gguf_read(c, file, err)
                           : c->form->torch ? read_torch(c, file, &arena, err)
                                            : read_safetensors(c, file, first, &arena, err);
    arena_drop(&arena);
    return status;
}
