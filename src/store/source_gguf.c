/* SPDX-License-Identifier: Apache-2.0
 *
 * GGUF files as a checkpoint: a file, or the parts of one model, that say by themselves what other checkpoints say in config.json
 * and the files of a tokenizer. Those are made from the metadata (model_gguf_config, gguf_side_file), so that everything behind
 * the source works as for any other; tensors keep their names, and their types of blocks.
 *
 * A directory with one model in it is that model; where there are several (one model in several sizes is usual), the file has to
 * be named. Headers stay in memory while the checkpoint is open. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/floats.h"
#include "format/gguf.h"
#include "format/gguf_tokenizer.h"
#include "store/store_priv.h"

enum { PARSE_MEMORY = 1 << 20, SMALL_TENSOR = 1 << 16 };

struct source_gguf {
    uint32_t count; /* parts opened so far */
    struct gguf *files;
    uint8_t **headers;
};

const struct source_form source_gguf_form = {.ending = ".gguf", .gguf = true};

/* ---- which file ---- */

static bool is_gguf(const char *name) {
    struct span n = span_of_text(name);
    return n.len > 5 && span_ends_with(n, ".gguf");
}

/* Image encoders lie beside the models that they belong to. */
static bool is_model(const char *name) {
    return is_gguf(name) && strstr(name, "mmproj") == NULL;
}

struct choice {
    char file[256];
    uint32_t models;
    char names[512];
    bool too_long;
};

static bool note_model(void *user, const char *name) {
    struct choice *c = user;
    struct gguf_split split;
    if (!is_model(name) || (gguf_split_of(name, &split) && split.no != 0)) {
        return true;
    }
    size_t at = strlen(c->names);
    c->models++;
    c->too_long = c->too_long || strlen(name) >= sizeof(c->file);
    (void)snprintf(c->file, sizeof(c->file), "%s", name);
    if (at + strlen(name) + 8 < sizeof(c->names)) {
        (void)snprintf(c->names + at, sizeof(c->names) - at, "%s%s", at == 0 ? "" : ", ", name);
    } else if (at + 5 < sizeof(c->names) && c->names[at - 1] != '.') {
        (void)snprintf(c->names + at, sizeof(c->names) - at, " ...");
    }
    return true;
}

static lamina_status choose(const char *dir, char *file, size_t len, struct lamina_error *err) {
    struct choice c = {.models = 0};
    LAMINA_TRY(sys_list_dir(dir, note_model, &c, err));
    if (c.models > 1) {
        return base_fail(err, LAMINA_USAGE, "%s holds %u GGUF models; give the path of one of them: %s", dir, c.models, c.names);
    }
    if (c.too_long) {
        return base_fail(err, LAMINA_USAGE, "%s: the name of its GGUF file is too long", dir);
    }
    (void)snprintf(file, len, "%s", c.file);
    return LAMINA_OK;
}

/* A part of a model stands for all of it. */
static lamina_status name_first_part(struct source_path *p, struct lamina_error *err) {
    struct gguf_split split;
    char first[sizeof(p->file)];
    if (gguf_split_of(p->file, &split)) {
        if (!gguf_split_name(&split, 0, first, sizeof(first))) {
            return base_fail(err, LAMINA_USAGE, "the name %s is too long", p->file);
        }
        memcpy(p->file, first, sizeof(first));
    }
    return LAMINA_OK;
}

lamina_status source_path_find(const char *path, const struct journal *j, struct source_path *out, struct lamina_error *err) {
    struct sys_stat st = {0};
    struct lamina_error ignored = {0};
    *out = (struct source_path){.file = ""};
    bool there = sys_exists(path) && sys_stat(path, &st, &ignored) == LAMINA_OK;
    if (strlen(path) >= sizeof(out->dir)) {
        return base_fail(err, LAMINA_USAGE, "the path %.200s... is too long", path);
    }
    (void)snprintf(out->dir, sizeof(out->dir), "%s", path);
    if (is_gguf(path) && !st.is_dir) { /* there or not: it may have been freed into its store */
        char *slash = strrchr(out->dir, '/');
        const char *name = slash != NULL ? slash + 1 : path;
        if (strlen(name) >= sizeof(out->file)) {
            return base_fail(err, LAMINA_USAGE, "the name %s is too long", name);
        }
        (void)snprintf(out->file, sizeof(out->file), "%s", name);
        (void)snprintf(slash != NULL ? slash + (slash == out->dir) : out->dir, 2, "%s", slash != NULL ? "" : ".");
        return name_first_part(out, err);
    }
    char config[STORE_PATH_LEN];
    bool usual = store_join(config, sizeof(config), path, "config.json") && sys_exists(config) && source_form_of(path, j) != NULL;
    return there && st.is_dir && !usual ? choose(path, out->file, sizeof(out->file), err) : LAMINA_OK;
}

lamina_status store_find_gguf(const char *path, bool *found, struct lamina_error *err) {
    struct source_path where;
    char file[STORE_PATH_LEN];
    LAMINA_TRY(source_path_find(path, NULL, &where, err));
    *found = where.file[0] != 0 && store_join(file, sizeof(file), where.dir, where.file) && sys_exists(file);
    return LAMINA_OK;
}

bool source_gguf_belongs(const char *file, const char *name) {
    struct gguf_split ours;
    struct gguf_split other;
    if (!gguf_split_of(file, &ours)) {
        return strcmp(file, name) == 0;
    }
    return gguf_split_of(name, &other) && other.count == ours.count && other.stem.len == ours.stem.len &&
           memcmp(other.stem.ptr, ours.stem.ptr, ours.stem.len) == 0;
}

/* ---- headers ---- */

static lamina_status no_memory(struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "no memory for the tables of the checkpoint");
}

uint32_t source_gguf_parts(const char *file) {
    struct gguf_split split;
    return gguf_split_of(file, &split) ? split.count : 1;
}

bool source_gguf_part_name(const char *file, uint32_t part, char *out, size_t len) {
    struct gguf_split split;
    if (gguf_split_of(file, &split)) {
        return gguf_split_name(&split, part, out, len);
    }
    (void)snprintf(out, len, "%s", file);
    return strlen(file) < len;
}

/* The header as far as it goes, read with ever longer tries. */
static lamina_status load_header(struct checkpoint *c, const struct source_file *f, uint8_t **bytes, uint64_t *len,
                                 struct lamina_error *err) {
    uint64_t have = 0;
    *len = min_u64(GGUF_FIRST_READ, f->stat.size);
    *bytes = NULL;
    for (;;) {
        uint8_t *longer = realloc(*bytes, *len + 1);
        if (longer == NULL) {
            return no_memory(err);
        }
        *bytes = longer;
        LAMINA_TRY(sys_file_read_any(&f->file, f->path, have, longer + have, (size_t)(*len - have), c->bounce, SOURCE_BOUNCE, err));
        have = *len;
        LAMINA_TRY(gguf_measure(span_of(longer, (size_t)have), f->stat.size, f->path, len, err));
        if (*len <= have) {
            return LAMINA_OK;
        }
    }
}

static lamina_status add_tensors(struct checkpoint *c, uint32_t file, const struct gguf *g, struct lamina_error *err) {
    struct source_tensor *to = source_more_tensors(c, g->count);
    if (to == NULL && g->count > 0) {
        return no_memory(err);
    }
    for (uint32_t i = 0; i < g->count; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        to[i] = (struct source_tensor){.name = t->name, .rank = t->rank, .file = file, .offset = t->offset, .bytes = t->bytes};
        (void)snprintf(to[i].dtype, sizeof(to[i].dtype), "%s", t->type->name);
        memcpy(to[i].shape, t->shape, sizeof(t->shape));
    }
    c->files[file].tensor_bytes = c->files[file].stat.size - g->data_begin;
    return LAMINA_OK;
}

lamina_status source_gguf_read(struct checkpoint *c, uint32_t file, struct lamina_error *err) {
    const struct source_file *f = &c->files[file];
    uint64_t len = 0;
    if (c->gguf == NULL) {
        uint32_t room = source_gguf_parts(c->gguf_file);
        c->gguf = arena_take(&c->arena, sizeof(*c->gguf));
        if (c->gguf == NULL) {
            return no_memory(err);
        }
        c->gguf->files = arena_take_array(&c->arena, room, sizeof(*c->gguf->files));
        c->gguf->headers = arena_take_array(&c->arena, room, sizeof(*c->gguf->headers));
        if (c->gguf->files == NULL || c->gguf->headers == NULL) {
            c->gguf = NULL;
            return no_memory(err);
        }
    }
    c->gguf->count = file + 1;
    LAMINA_TRY(load_header(c, f, &c->gguf->headers[file], &len, err));
    struct span header = span_of(c->gguf->headers[file], (size_t)len);
    LAMINA_TRY(gguf_parse(header, f->stat.size, f->path, &c->arena, &c->gguf->files[file], err));
    return add_tensors(c, file, &c->gguf->files[file], err);
}

lamina_status source_gguf_check(struct checkpoint *c, struct lamina_error *err) {
    struct arena arena = {0};
    struct gguf_set set;
    struct gguf_part *parts = arena_take_array(&arena, c->gguf->count, sizeof(*parts));
    lamina_status status = parts == NULL ? no_memory(err) : LAMINA_OK;
    for (uint32_t i = 0; status == LAMINA_OK && i < c->gguf->count; i++) {
        parts[i] = (struct gguf_part){.name = c->files[i].path, .file = &c->gguf->files[i]};
    }
    if (status == LAMINA_OK) {
        status = gguf_join(parts, c->gguf->count, &arena, &set, err);
    }
    arena_drop(&arena);
    return status;
}

void source_gguf_close(struct checkpoint *c) {
    for (uint32_t i = 0; c->gguf != NULL && i < c->gguf->count; i++) {
        free(c->gguf->headers[i]);
    }
    c->gguf = NULL;
}

/* ---- what the model room asks ---- */

struct metadata {
    struct checkpoint *c;
    const struct gguf *first;
    struct lamina_error *err;
};

static const struct gguf_value *value_of(const void *user, const char *key) {
    const struct metadata *m = user;
    return gguf_find(m->first, key);
}

static bool as_number(const struct gguf_value *v, double *out) {
    bool flag = false;
    if (gguf_as_bool(v, &flag)) {
        *out = flag ? 1 : 0;
        return true;
    }
    return gguf_as_f64(v, out);
}

static bool number(void *user, const char *key, double *out) {
    return as_number(value_of(user, key), out);
}

static bool number_at(void *user, const char *key, uint64_t index, double *out) {
    struct gguf_items it;
    struct gguf_value item;
    const struct gguf_value *v = value_of(user, key);
    if (v == NULL || index >= v->count || !gguf_items_of(v, &it)) {
        return false;
    }
    for (uint64_t i = 0; gguf_next(&it, &item); i++) {
        if (i == index) {
            return as_number(&item, out);
        }
    }
    return false;
}

static bool text(void *user, const char *key, struct span *out) {
    return gguf_as_text(value_of(user, key), out);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct source_tensor *)a)->name, ((const struct source_tensor *)b)->name);
}

static const struct source_tensor *tensor_of(const struct metadata *m, const char *name) {
    struct source_tensor key = {.name = name};
    return m->c->tensor_count > 0 ? bsearch(&key, m->c->tensors, m->c->tensor_count, sizeof(key), by_name) : NULL;
}

static bool shape(void *user, const char *name, uint32_t *rank, uint64_t out[4]) {
    const struct source_tensor *t = tensor_of(user, name);
    if (t == NULL) {
        return false;
    }
    *rank = t->rank;
    memcpy(out, t->shape, GGUF_MAX_RANK * sizeof(*out));
    return true;
}

static bool floats(void *user, const char *name, float *out, uint32_t max, uint32_t *count) {
    struct metadata *m = user;
    const struct source_tensor *t = tensor_of(m, name);
    uint8_t *bytes = NULL;
    bool ok = t != NULL && strcmp(t->dtype, "F32") == 0 && t->bytes <= SMALL_TENSOR && t->bytes / sizeof(float) <= max;
    if (ok) {
        bytes = malloc(SMALL_TENSOR);
        ok = bytes != NULL && checkpoint_read(m->c, (uint32_t)(t - m->c->tensors), 0, bytes, (size_t)t->bytes, m->err) == LAMINA_OK;
    }
    for (uint32_t i = 0; ok && i < t->bytes / sizeof(float); i++) {
        out[i] = float_of_f32(bytes + i * sizeof(float));
        *count = i + 1;
    }
    free(bytes);
    return ok;
}

/* ---- small files ---- */

lamina_status source_gguf_file(struct checkpoint *c, const char *name, char **bytes, size_t *len, struct lamina_error *err) {
    struct metadata m = {.c = c, .err = err};
    struct model_gguf g = {.user = &m, .number = number, .number_at = number_at, .text = text, .shape = shape, .floats = floats};
    struct str out = {0};
    lamina_status status = LAMINA_OK;
    if (c->gguf == NULL) { /* only known from a journal or a manifest: its files are gone */
        return base_fail(err, LAMINA_NOT_FOUND, "%s has no %s", c->dir, name);
    }
    m.first = &c->gguf->files[0];
    if (strcmp(name, "config.json") == 0) {
        status = model_gguf_config(&g, &out, err);
        if (status < 0) {
            base_error_prefix(err, "%s: ", c->files[0].path);
        }
    } else {
        status = gguf_side_file(m.first, name, c->files[0].path, &out, err);
    }
    if (status == LAMINA_OK && (out.failed || out.ptr == NULL)) {
        status = base_fail(err, LAMINA_NO_FIT, "no memory for the %s of %s", name, c->files[0].path);
    }
    if (status < 0) {
        str_drop(&out);
        return status;
    }
    *bytes = out.ptr;
    *len = out.len;
    return LAMINA_OK;
}
