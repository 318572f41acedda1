/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in source as the splitter uses it: reading tensors and small files of an opened checkpoint (source_open.c
 * opens it). Reads go around the page cache where the system allows, so that splitting 800 GB leaves no trace in the
 * memory of a machine or of a container. Never writes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"

static lamina_status tensor_at(void *user, uint32_t index, struct lamina_source_tensor *out, struct lamina_error *err) {
    const struct checkpoint *c = user;
    if (index >= c->tensor_count) {
        return base_fail(err, LAMINA_USAGE, "%s has %u tensors, number %u was asked for", c->dir, c->tensor_count,
                         index);
    }
    const struct source_tensor *t = &c->tensors[index];
    *out = (struct lamina_source_tensor){.name = t->name, .dtype = t->dtype, .rank = t->rank};
    memcpy(out->shape, t->shape, sizeof(out->shape));
    return LAMINA_OK;
}

lamina_status checkpoint_read(void *user, uint32_t index, uint64_t offset, void *dst, size_t len,
                              struct lamina_error *err) {
    struct checkpoint *c = user;
    if (index >= c->tensor_count || offset > c->tensors[index].bytes || len > c->tensors[index].bytes - offset) {
        return base_fail(err, LAMINA_USAGE, "%s: a read outside of tensor %u", c->dir, index);
    }
    const struct source_tensor *t = &c->tensors[index];
    const struct source_file *f = &c->files[t->file];
    if (c->kept != NULL && c->kept[index].ptr != NULL) {
        memcpy(dst, c->kept[index].ptr + offset, len);
        return LAMINA_OK;
    }
    if (c->arriving != NULL) {
        const struct lamina_arriving *a = c->arriving;
        return a->read(a->user, f->arriving, t->offset + offset, dst, len, c->looking, err);
    }
    if (f->gone) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s was freed by an earlier run, but its tensor \"%s\" is needed again",
                         f->path, t->name);
    }
    lamina_status status =
        t->strides != NULL
            ? source_read_strided(c, t, offset, dst, len, err)
            : sys_file_read_any(&f->file, f->path, t->offset + offset, dst, len, c->bounce, SOURCE_BOUNCE, err);
    if (status < 0) {
        base_error_prefix(err, "tensor \"%s\": ", t->name);
    } else if (!f->file.direct && t->strides == NULL) {
        sys_file_drop_cache(&f->file, t->offset + offset, len);
    }
    return status;
}

lamina_status source_look(const struct checkpoint *c, uint32_t file, uint64_t offset, void *dst, size_t len,
                          struct lamina_error *err) {
    const struct source_file *f = &c->files[file];
    const struct lamina_arriving *a = c->arriving;
    return a != NULL ? a->read(a->user, f->arriving, offset, dst, len, true, err)
                     : sys_file_read_any(&f->file, f->path, offset, dst, len, c->bounce, SOURCE_BOUNCE, err);
}

static lamina_status small_file(void *user, const char *name, char **bytes, size_t *len, struct lamina_error *err) {
    struct checkpoint *c = user;
    char path[STORE_PATH_LEN];
    if (c->gguf_file[0] != 0) {
        return source_gguf_file(c, name, bytes, len, err);
    }
    if (!store_join(path, sizeof(path), c->dir, name) || !sys_exists(path)) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s has no %s", c->dir, name);
    }
    struct str text = {0};
    LAMINA_TRY(checkpoint_stays_inside(c->dir, path, err));
    lamina_status status = sys_read_whole(path, STORE_SMALL_FILE_MAX, &text, err);
    if (status < 0) {
        str_drop(&text);
        return status;
    }
    if (text.ptr == NULL) { /* an empty file is there, and empty */
        text.ptr = calloc(1, 1);
    }
    if (text.ptr == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "no memory for %s", path);
    }
    *bytes = text.ptr;
    *len = text.len;
    return LAMINA_OK;
}

struct checkpoint *checkpoint_of(const struct lamina_source *s) {
    return s != NULL && s->tensor == tensor_at ? s->user : NULL;
}

lamina_status store_source_open(struct lamina_source **source, const char *path, struct lamina_error *err) {
    struct checkpoint *c = NULL;
    LAMINA_TRY(checkpoint_open(&c, path, NULL, NULL, err));
    *source = &c->base;
    return LAMINA_OK;
}

void store_source_close(struct lamina_source **source) {
    struct checkpoint *c = checkpoint_of(*source);
    checkpoint_close(&c);
    *source = NULL;
}

void checkpoint_close(struct checkpoint **checkpoint) {
    struct checkpoint *c = *checkpoint;
    if (c == NULL) {
        return;
    }
    for (uint32_t i = 0; i < c->file_count; i++) {
        sys_file_close(&c->files[i].file);
    }
    source_gguf_close(c);
    free(c->bounce);
    free(c->window);
    free(c->tensors);
    arena_drop(&c->arena);
    free(c);
    *checkpoint = NULL;
}

lamina_status checkpoint_alloc(struct checkpoint **out, struct lamina_error *err) {
    struct checkpoint *c = calloc(1, sizeof(*c));
    if (c != NULL) {
        c->bounce = aligned_alloc(64 << 10, SOURCE_BOUNCE);
    }
    if (c == NULL || c->bounce == NULL) {
        free(c);
        return base_fail(err, LAMINA_NO_FIT, "no memory to open a checkpoint");
    }
    c->base = (struct lamina_source){
        .size = sizeof(c->base), .user = c, .tensor = tensor_at, .read = checkpoint_read, .file = small_file};
    c->gguf_file = "";
    *out = c;
    return LAMINA_OK;
}
