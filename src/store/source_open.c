/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a checkpoint: a directory (HF layout: config.json, and the weights in one of the forms of source_find.c, in one file or
 * in shards with an index), or GGUF files (source_gguf.c). Everything that can be wrong with it is said here, before the first
 * byte of a store is written: the file by name, what was expected, what was found.
 *
 * Invariant of an opened checkpoint: every tensor lies in a file that is open, of the size its header demands, inside
 * the directory (or inside the cache that the directory is a snapshot of). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "store/store_priv.h"

enum { INDEX_MAX = 64 << 20, HEADER_MEMORY = 1 << 20 };

static lamina_status no_memory(struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "no memory for the tables of the checkpoint");
}

/* ---- one file ---- */

static lamina_status open_file(struct checkpoint *c, uint32_t index, struct lamina_error *err) {
    struct source_file *f = &c->files[index];
    if (!sys_exists(f->path)) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s is missing%s; download it again", f->path,
                         c->form->sharded ? ": the index names it" : "");
    }
    LAMINA_TRY(checkpoint_stays_inside(c->dir, f->path, err));
    LAMINA_TRY(sys_file_open_read(&f->file, f->path, SYS_OPEN_DIRECT, err));
    LAMINA_TRY(sys_stat(f->path, &f->stat, err));
    f->stat.size = f->file.size;
    return source_read_header(c, index, err);
}

/* The tensors of a file as the journal has them. */
static lamina_status recall_tensors(struct checkpoint *c, uint32_t index, const struct journal *j, uint32_t source,
                                    struct lamina_error *err) {
    for (uint32_t i = 0; i < j->tensor_count; i++) {
        const struct journal_tensor *t = &j->tensors[i];
        if (t->file != source) {
            continue;
        }
        struct source_tensor *to = source_more_tensors(c, 1);
        if (to == NULL) {
            return no_memory(err);
        }
        *to = (struct source_tensor){.rank = t->rank, .file = index, .offset = t->offset, .bytes = t->bytes};
        to->name = arena_copy_text(&c->arena, span_of_text(t->name));
        memcpy(to->dtype, t->dtype, sizeof(to->dtype));
        memcpy(to->shape, t->shape, sizeof(to->shape));
        if (to->name == NULL) {
            return no_memory(err);
        }
    }
    return LAMINA_OK;
}

/* A file that an earlier run freed: its facts come from the journal. */
static lamina_status recall_file(struct checkpoint *c, uint32_t index, const struct journal *j, uint32_t source,
                                 struct lamina_error *err) {
    struct source_file *f = &c->files[index];
    const struct journal_source *s = &j->sources[source];
    f->gone = true;
    f->stat = (struct sys_stat){.size = s->size, .inode = s->inode, .mtime_ns = s->mtime_ns, .is_regular = true};
    return recall_tensors(c, index, j, source, err);
}

/* A file that is on its way. What it is stands in the place of inode and time; its header may be in the journal. */
static lamina_status open_arriving(struct checkpoint *c, uint32_t index, const struct journal *j, struct lamina_error *err) {
    struct source_file *f = &c->files[index];
    const struct lamina_arriving *a = c->arriving;
    for (f->arriving = 0; f->arriving < a->file_count && strcmp(a->files[f->arriving].name, f->name) != 0;) {
        f->arriving++;
    }
    if (f->arriving == a->file_count) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s is named by the index, but is none of the files that arrive", f->name);
    }
    const struct lamina_arriving_file *from = &a->files[f->arriving];
    struct hash128 is = hash_xxh3_128(from->identity, strlen(from->identity));
    f->gone = true;
    f->stat = (struct sys_stat){.size = from->size, .inode = is.low, .mtime_ns = (int64_t)(is.high >> 1), .is_regular = true};
    for (uint32_t i = 0; j != NULL && i < j->source_count; i++) {
        const struct journal_source *s = &j->sources[i];
        if (strcmp(s->name, f->name) == 0 && s->size == f->stat.size && s->inode == f->stat.inode &&
            s->mtime_ns == f->stat.mtime_ns) {
            return recall_tensors(c, index, j, i, err);
        }
    }
    return source_read_header(c, index, err);
}

static lamina_status add_file(struct checkpoint *c, const char *name, const struct journal *j,
                              struct lamina_error *err) {
    char path[STORE_PATH_LEN];
    struct source_file *f = &c->files[c->file_count++];
    *f = (struct source_file){.file = {.fd = -1}};
    f->name = arena_copy_text(&c->arena, span_of_text(name));
    if (!store_join(path, sizeof(path), c->dir, name)) {
        return base_fail(err, LAMINA_USAGE, "the path of %s is too long", name);
    }
    f->path = arena_copy_text(&c->arena, span_of_text(path));
    if (f->name == NULL || f->path == NULL) {
        return no_memory(err);
    }
    if (c->arriving != NULL) {
        return open_arriving(c, c->file_count - 1, j, err);
    }
    for (uint32_t i = 0; j != NULL && i < j->source_count; i++) {
        if (j->sources[i].freed && strcmp(j->sources[i].name, name) == 0 && !sys_exists(path)) {
            return recall_file(c, c->file_count - 1, j, i, err);
        }
    }
    return open_file(c, c->file_count - 1, err);
}

/* ---- all files ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct source_tensor *)a)->name, ((const struct source_tensor *)b)->name);
}

static void sort_tensors(struct checkpoint *c) {
    if (c->tensor_count > 0) {
        qsort(c->tensors, c->tensor_count, sizeof(*c->tensors), by_name);
    }
}

static lamina_status refuse_twins(const struct checkpoint *c, struct lamina_error *err) {
    for (uint32_t i = 1; i < c->tensor_count; i++) {
        if (strcmp(c->tensors[i - 1].name, c->tensors[i].name) == 0) {
            return base_fail(err, LAMINA_DAMAGED, "%s: tensor \"%s\" is in %s and in %s", c->dir, c->tensors[i].name,
                             c->files[c->tensors[i - 1].file].name, c->files[c->tensors[i].file].name);
        }
    }
    return LAMINA_OK;
}

/* Every tensor that the index names is in that file. Nothing else is there, except with torch: its loaders take each
 * shard as a whole, so an index that names less was never noticed. */
static lamina_status cross_check(const struct checkpoint *c, const struct safetensors_index *x,
                                 struct lamina_error *err) {
    bool *named = calloc((size_t)c->tensor_count + 1, sizeof(*named));
    lamina_status status = named == NULL ? no_memory(err) : LAMINA_OK;
    for (uint32_t i = 0; status == LAMINA_OK && i < x->tensor_count; i++) {
        struct source_tensor key = {.name = x->entries[i].tensor};
        const struct source_tensor *t =
            c->tensor_count > 0 ? bsearch(&key, c->tensors, c->tensor_count, sizeof(key), by_name) : NULL;
        if (t == NULL || t->file != x->entries[i].file) {
            status = base_fail(err, LAMINA_DAMAGED, "%s: the index says that tensor \"%s\" is in %s, but it is %s%s",
                               c->dir, key.name, x->files[x->entries[i].file], t == NULL ? "nowhere" : "in ",
                               t == NULL ? "" : c->files[t->file].name);
        } else {
            named[t - c->tensors] = true;
        }
    }
    for (uint32_t i = 0; status == LAMINA_OK && !c->form->torch && i < c->tensor_count; i++) {
        if (!named[i]) {
            status = base_fail(err, LAMINA_DAMAGED, "%s: %s holds tensor \"%s\", which the index does not name", c->dir,
                               c->files[c->tensors[i].file].name, c->tensors[i].name);
        }
    }
    free(named);
    return status;
}

static lamina_status open_sharded(struct checkpoint *c, const char *index_path, const struct journal *j,
                                  struct lamina_error *err) {
    struct span json;
    struct arena arena = {0};
    struct safetensors_index x = {0};
    LAMINA_TRY(checkpoint_stays_inside(c->dir, index_path, err));
    LAMINA_TRY(sys_load(index_path, INDEX_MAX, &json, err));
    arena.limit_bytes = json.len * 8 + HEADER_MEMORY;
    lamina_status status = c->form->torch ? torch_index_parse(json, index_path, &arena, &x, err)
                                          : safetensors_index_parse(json, index_path, &arena, &x, err);
    if (status == LAMINA_OK && x.file_count == 0) {
        status = base_fail(err, LAMINA_DAMAGED, "%s names no files", index_path);
    }
    if (status == LAMINA_OK) {
        c->files = arena_take_array(&c->arena, x.file_count, sizeof(*c->files));
        status = c->files == NULL ? no_memory(err) : LAMINA_OK;
    }
    for (uint32_t i = 0; status == LAMINA_OK && i < x.file_count; i++) {
        status = add_file(c, x.files[i], j, err);
    }
    if (status == LAMINA_OK) {
        sort_tensors(c);
        status = refuse_twins(c, err);
    }
    if (status == LAMINA_OK) {
        status = cross_check(c, &x, err);
    }
    arena_drop(&arena);
    sys_unload(&json);
    return status;
}

static lamina_status open_gguf(struct checkpoint *c, const struct journal *j, struct lamina_error *err) {
    uint32_t parts = source_gguf_parts(c->gguf_file);
    c->form = &source_gguf_form;
    c->files = arena_take_array(&c->arena, parts, sizeof(*c->files));
    if (c->files == NULL) {
        return no_memory(err);
    }
    for (uint32_t i = 0; i < parts; i++) {
        char name[sizeof(((struct source_path *)0)->file)];
        if (!source_gguf_part_name(c->gguf_file, i, name, sizeof(name))) {
            return base_fail(err, LAMINA_USAGE, "the name %s is too long", c->gguf_file);
        }
        LAMINA_TRY(add_file(c, name, j, err));
    }
    sort_tensors(c);
    LAMINA_TRY(refuse_twins(c, err));
    return source_gguf_check(c, err);
}

static lamina_status open_weights(struct checkpoint *c, const struct journal *j, struct lamina_error *err) {
    char path[STORE_PATH_LEN];
    c->form = c->arriving != NULL ? source_form_arriving(c->arriving) : source_form_of(c->dir, j);
    if (c->form == NULL && c->arriving != NULL) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: only safetensors files can be split while they arrive", c->dir);
    }
    if (c->form == NULL) {
        return source_no_weights(c->dir, err);
    }
    if (!store_join(path, sizeof(path), c->dir, c->form->file)) {
        return base_fail(err, LAMINA_USAGE, "the path %.200s... is too long", c->dir);
    }
    if (c->form->sharded) {
        return open_sharded(c, path, j, err);
    }
    c->files = arena_take_array(&c->arena, 1, sizeof(*c->files));
    if (c->files == NULL) {
        return no_memory(err);
    }
    LAMINA_TRY(add_file(c, c->form->file, j, err));
    sort_tensors(c);
    return refuse_twins(c, err);
}

static lamina_status no_config(const char *dir, struct lamina_error *err) {
    return base_fail(err, LAMINA_NOT_FOUND, "%s holds no config.json; a checkpoint directory in the HF layout, or a GGUF file, is "
                     "expected", dir);
}

static lamina_status open_path(struct checkpoint *c, const struct source_path *where, const struct journal *j,
                               struct lamina_error *err) {
    char config[STORE_PATH_LEN];
    c->dir = arena_copy_text(&c->arena, span_of_text(where->dir));
    c->gguf_file = arena_copy_text(&c->arena, span_of_text(where->file));
    if (c->dir == NULL || c->gguf_file == NULL) {
        c->gguf_file = "";
        return no_memory(err);
    }
    if (where->file[0] != 0 && c->arriving == NULL) {
        return open_gguf(c, j, err);
    }
    if (!store_join(config, sizeof(config), where->dir, "config.json") || !sys_exists(config)) {
        return no_config(where->dir, err);
    }
    LAMINA_TRY(checkpoint_stays_inside(where->dir, config, err));
    return open_weights(c, j, err);
}

static lamina_status find_path(const char *path, const struct journal *j, bool arriving, struct source_path *where,
                               struct lamina_error *err) {
    if (!arriving) {
        return source_path_find(path, j, where, err);
    }
    *where = (struct source_path){.file = ""};
    int n = snprintf(where->dir, sizeof(where->dir), "%s", path);
    return n < (int)sizeof(where->dir) ? LAMINA_OK : base_fail(err, LAMINA_USAGE, "the path %.200s... is too long", path);
}

lamina_status checkpoint_open(struct checkpoint **out, const char *path, const struct journal *j,
                              const struct lamina_arriving *arriving, struct lamina_error *err) {
    struct checkpoint *c = NULL;
    struct source_path where;
    struct sys_stat st;
    LAMINA_TRY(find_path(path, j, arriving != NULL, &where, err));
    LAMINA_TRY(sys_stat(where.dir, &st, err));
    if (!st.is_dir) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s is neither a directory nor a GGUF file; a checkpoint is expected", path);
    }
    LAMINA_TRY(checkpoint_alloc(&c, err));
    c->arriving = arriving;
    c->looking = true; /* until the plan is made */
    lamina_status status = open_path(c, &where, j, err);
    if (status < 0) {
        checkpoint_close(&c);
        return status;
    }
    c->base.tensor_count = c->tensor_count;
    *out = c;
    return LAMINA_OK;
}
