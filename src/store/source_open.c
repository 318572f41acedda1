/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a checkpoint directory (HF layout): model.safetensors, or model.safetensors.index.json and its shards, and
 * config.json. Everything that can be wrong with it is said here, before the first byte of a store is written: the file
 * by name, what was expected, what was found.
 *
 * Invariant of an opened checkpoint: every tensor lies in a file that is open, of the size its header demands, inside
 * the directory (or inside the cache that the directory is a snapshot of). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "store/store_priv.h"

static const char SINGLE[] = "model.safetensors";
static const char INDEX[] = "model.safetensors.index.json";
static const char LFS[] = "version https://git-lfs";
enum { INDEX_MAX = 64 << 20, HEADER_MEMORY = 1 << 20 };

static lamina_status no_memory(struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "no memory for the tables of the checkpoint");
}

/* ---- what is there instead ---- */

struct survey {
    char bin[128], gguf[128], other[128];
    uint32_t names;
};

static bool note_name(void *user, const char *name) {
    struct survey *s = user;
    size_t n = strlen(name);
    s->names++;
    if (n > 4 &&
        (strcmp(name + n - 4, ".bin") == 0 || strcmp(name + n - 4, ".pth") == 0 || strcmp(name + n - 3, ".pt") == 0)) {
        (void)snprintf(s->bin, sizeof(s->bin), "%s", name);
    } else if (n > 5 && strcmp(name + n - 5, ".gguf") == 0) {
        (void)snprintf(s->gguf, sizeof(s->gguf), "%s", name);
    } else if (n > 12 && strcmp(name + n - 12, ".safetensors") == 0) {
        (void)snprintf(s->other, sizeof(s->other), "%s", name);
    }
    return true;
}

static lamina_status no_weights(const char *dir, struct lamina_error *err) {
    struct survey s = {{0}, {0}, {0}, 0};
    LAMINA_TRY(sys_list_dir(dir, note_name, &s, err));
    if (s.other[0] != 0) {
        return base_fail(err, LAMINA_NOT_FOUND,
                         "%s holds %s, but neither %s nor %s; the index file is missing, download it too", dir, s.other,
                         SINGLE, INDEX);
    }
    if (s.bin[0] != 0 || s.gguf[0] != 0) {
        return base_fail(
            err, LAMINA_UNSUPPORTED,
            "%s holds its weights only as %s; safetensors files (%s, or shards with %s) are needed: look for a "
            "safetensors revision of the model, or convert it",
            dir, s.bin[0] != 0 ? s.bin : s.gguf, SINGLE, INDEX);
    }
    return base_fail(err, LAMINA_NOT_FOUND, "%s holds no weights: %s, or shards with %s, expected", dir, SINGLE, INDEX);
}

/* ---- links ---- */

/* The directory that links may lead into: the checkpoint itself, or, for <cache>/<model>/snapshots/<revision>,
 * <model>. */
static void link_root(const char *real_dir, char *out, size_t len) {
    (void)snprintf(out, len, "%s", real_dir);
    char *last = strrchr(out, '/');
    if (last != NULL && last != out) {
        *last = 0;
        char *parent = strrchr(out, '/');
        if (parent != NULL && parent != out && strcmp(parent, "/snapshots") == 0) {
            *parent = 0;
            return;
        }
        *last = '/';
    }
}

lamina_status checkpoint_stays_inside(const char *dir, const char *path, struct lamina_error *err) {
    struct str real_dir = {0};
    struct str real = {0};
    char root[STORE_PATH_LEN];
    lamina_status status = sys_real_path(dir, &real_dir, err);
    if (status == LAMINA_OK) {
        status = sys_real_path(path, &real, err);
    }
    if (status == LAMINA_OK) {
        link_root(str_text(&real_dir), root, sizeof(root));
        size_t n = strlen(root);
        if (strncmp(str_text(&real), root, n) != 0 || (n > 1 && str_text(&real)[n] != '/')) {
            status = base_fail(
                err, LAMINA_UNSUPPORTED,
                "%s is a link that leads out of the checkpoint (to %s); give the directory that holds the files", path,
                str_text(&real));
        }
    }
    str_drop(&real_dir);
    str_drop(&real);
    return status;
}

/* ---- one file ---- */

static lamina_status refuse_pointer(const struct source_file *f, const uint8_t first[64], size_t len,
                                    struct lamina_error *err) {
    if (len >= sizeof(LFS) - 1 && memcmp(first, LFS, sizeof(LFS) - 1) == 0) {
        return base_fail(err, LAMINA_DAMAGED,
                         "%s is a Git LFS pointer of %" PRIu64
                         " bytes, not the weights themselves; fetch them with 'git lfs pull'",
                         f->path, f->stat.size);
    }
    return LAMINA_OK;
}

static lamina_status read_header(struct checkpoint *c, struct source_file *f, struct arena *arena,
                                 struct safetensors_header *h, struct lamina_error *err) {
    uint8_t first[64] = {0};
    uint64_t json_len = 0;
    size_t have = (size_t)min_u64(sizeof(first), f->stat.size);
    LAMINA_TRY(sys_file_read_any(&f->file, f->path, 0, first, have, c->bounce, SOURCE_BOUNCE, err));
    LAMINA_TRY(refuse_pointer(f, first, have, err));
    LAMINA_TRY(safetensors_header_len(first, f->stat.size, f->path, &json_len, err));
    uint8_t *json = malloc(json_len + 1);
    if (json == NULL) {
        return no_memory(err);
    }
    arena->limit_bytes = json_len * 8 + HEADER_MEMORY;
    lamina_status status = sys_file_read_any(&f->file, f->path, 8, json, json_len, c->bounce, SOURCE_BOUNCE, err);
    if (status == LAMINA_OK) {
        status = safetensors_parse(span_of(json, json_len), f->stat.size, f->path, arena, h, err);
    }
    free(json);
    return status;
}

/* Room for `count` more tensors; the table lives in the heap because it grows with every file. */
static struct source_tensor *more_tensors(struct checkpoint *c, uint32_t count) {
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

static lamina_status take_tensors(struct checkpoint *c, uint32_t file, const struct safetensors_header *h,
                                  struct lamina_error *err) {
    struct source_tensor *t = more_tensors(c, h->count);
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

static lamina_status open_file(struct checkpoint *c, uint32_t index, struct lamina_error *err) {
    struct source_file *f = &c->files[index];
    struct arena scratch = {0};
    struct safetensors_header h = {0};
    if (!sys_exists(f->path)) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s is missing: the index names it; download it again", f->path);
    }
    LAMINA_TRY(checkpoint_stays_inside(c->dir, f->path, err));
    LAMINA_TRY(sys_file_open_read(&f->file, f->path, SYS_OPEN_DIRECT, err));
    LAMINA_TRY(sys_stat(f->path, &f->stat, err));
    f->stat.size = f->file.size;
    lamina_status status = read_header(c, f, &scratch, &h, err);
    if (status == LAMINA_OK) {
        status = take_tensors(c, index, &h, err);
    }
    arena_drop(&scratch);
    return status;
}

/* A file that an earlier run freed: its facts come from the journal. */
static lamina_status recall_file(struct checkpoint *c, uint32_t index, const struct journal *j, uint32_t source,
                                 struct lamina_error *err) {
    struct source_file *f = &c->files[index];
    const struct journal_source *s = &j->sources[source];
    f->gone = true;
    f->stat = (struct sys_stat){.size = s->size, .inode = s->inode, .mtime_ns = s->mtime_ns, .is_regular = true};
    for (uint32_t i = 0; i < j->tensor_count; i++) {
        const struct journal_tensor *t = &j->tensors[i];
        if (t->file != source) {
            continue;
        }
        struct source_tensor *to = more_tensors(c, 1);
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

/* Every tensor that the index names is in that file, and nothing else is there. */
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
    for (uint32_t i = 0; status == LAMINA_OK && i < c->tensor_count; i++) {
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
    lamina_status status = safetensors_index_parse(json, index_path, &arena, &x, err);
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

static bool freed_in_journal(const struct journal *j, const char *name) {
    for (uint32_t i = 0; j != NULL && i < j->source_count; i++) {
        if (j->sources[i].freed && strcmp(j->sources[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static lamina_status open_weights(struct checkpoint *c, const struct journal *j, struct lamina_error *err) {
    char single[STORE_PATH_LEN];
    char index[STORE_PATH_LEN];
    if (!store_join(single, sizeof(single), c->dir, SINGLE) || !store_join(index, sizeof(index), c->dir, INDEX)) {
        return base_fail(err, LAMINA_USAGE, "the path %.200s... is too long", c->dir);
    }
    if (sys_exists(single) || freed_in_journal(j, SINGLE)) {
        c->files = arena_take_array(&c->arena, 1, sizeof(*c->files));
        if (c->files == NULL) {
            return no_memory(err);
        }
        LAMINA_TRY(add_file(c, SINGLE, j, err));
        sort_tensors(c);
        return refuse_twins(c, err);
    }
    return sys_exists(index) ? open_sharded(c, index, j, err) : no_weights(c->dir, err);
}

lamina_status checkpoint_open(struct checkpoint **out, const char *dir, const struct journal *j,
                              struct lamina_error *err) {
    struct checkpoint *c = NULL;
    struct sys_stat st;
    char path[STORE_PATH_LEN];
    LAMINA_TRY(sys_stat(dir, &st, err));
    if (!st.is_dir) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s is not a directory; a checkpoint directory is expected", dir);
    }
    if (!store_join(path, sizeof(path), dir, "config.json") || !sys_exists(path)) {
        return base_fail(err, LAMINA_NOT_FOUND,
                         "%s holds no config.json; a checkpoint directory in the HF layout is expected", dir);
    }
    LAMINA_TRY(checkpoint_alloc(&c, err));
    c->dir = arena_copy_text(&c->arena, span_of_text(dir));
    lamina_status status = c->dir == NULL ? no_memory(err) : checkpoint_stays_inside(dir, path, err);
    if (status == LAMINA_OK) {
        status = open_weights(c, j, err);
    }
    if (status < 0) {
        checkpoint_close(&c);
        return status;
    }
    c->base.tensor_count = c->tensor_count;
    *out = c;
    return LAMINA_OK;
}

bool store_is_checkpoint(const char *path) {
    char name[STORE_PATH_LEN];
    bool config = store_join(name, sizeof(name), path, "config.json") && sys_exists(name);
    bool single = store_join(name, sizeof(name), path, SINGLE) && sys_exists(name);
    bool index = store_join(name, sizeof(name), path, INDEX) && sys_exists(name);
    return config && (single || index);
}

/* ---- identity by stat ---- */

struct stat_walk {
    const char *dir;
    struct str *out;
    bool weights;
    lamina_status status;
    struct lamina_error *err;
};

static bool part_of_checkpoint(const char *name, bool *weights) {
    size_t n = strlen(name);
    *weights = n > 12 && strcmp(name + n - 12, ".safetensors") == 0;
    bool known = *weights || strcmp(name, INDEX) == 0;
    for (unsigned i = 0; !known && store_tokenizer_files[i] != NULL; i++) {
        known = strcmp(name, store_tokenizer_files[i]) == 0;
    }
    return known;
}

static bool add_stat(void *user, const char *name) {
    struct stat_walk *w = user;
    struct sys_stat st;
    char path[STORE_PATH_LEN];
    bool weights = false;
    if (!part_of_checkpoint(name, &weights)) {
        return true;
    }
    if (!store_join(path, sizeof(path), w->dir, name)) {
        w->status = base_fail(w->err, LAMINA_USAGE, "the path of %s is too long", name);
        return false;
    }
    w->status = sys_stat(path, &st, w->err);
    w->weights = w->weights || weights;
    str_printf(w->out, "%s %" PRIu64 " %" PRId64 " %" PRIu64 "\n", name, st.size, st.mtime_ns, st.inode);
    return w->status == LAMINA_OK;
}

lamina_status checkpoint_stat_text(const char *dir, struct str *out, struct lamina_error *err) {
    struct stat_walk w = {.dir = dir, .out = out, .err = err};
    LAMINA_TRY(sys_list_dir(dir, add_stat, &w, err));
    LAMINA_TRY(w.status);
    return w.weights ? LAMINA_OK : no_weights(dir, err);
}
