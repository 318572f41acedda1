/* SPDX-License-Identifier: Apache-2.0
 *
 * Which files of a directory are the checkpoint's weights (GGUF: source_gguf.c). Hugging Face's layout knows four forms; the
 * first that is there counts, so torch's pickles are touched only where no safetensors are. Knows nothing of what is in the files.
 *
 * The identity of a checkpoint (size, mtime and inode of its files) covers every file with the ending of its form, so
 * that a changed shard of whatever name is noticed. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/store_priv.h"

static const struct source_form forms[] = {
    {.file = "model.safetensors", .ending = ".safetensors"},
    {.file = "model.safetensors.index.json", .ending = ".safetensors", .sharded = true},
    {.file = "pytorch_model.bin", .ending = ".bin", .torch = true},
    {.file = "pytorch_model.bin.index.json", .ending = ".bin", .torch = true, .sharded = true},
};

static bool ends_with(const char *name, const char *ending) {
    struct span n = span_of_text(name);
    return n.len > strlen(ending) && span_ends_with(n, ending);
}

/* Beside the weights, training programs leave pickles that are none. */
static bool is_weights(const struct source_form *form, const char *name) {
    static const char *const others[] = {"training_args.bin", "optimizer.bin", "scheduler.bin"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (strcmp(name, others[i]) == 0) {
            return false;
        }
    }
    return ends_with(name, form->ending);
}

/* ---- which form ---- */

struct search {
    const struct source_form *form;
    bool found;
};

static bool note_weights(void *user, const char *name) {
    struct search *s = user;
    s->found = is_weights(s->form, name);
    return !s->found;
}

static bool freed(const struct journal *j, const struct source_form *form) {
    for (uint32_t i = 0; j != NULL && i < j->source_count; i++) {
        const struct journal_source *s = &j->sources[i];
        if (s->freed && (form->sharded ? is_weights(form, s->name) : strcmp(s->name, form->file) == 0)) {
            return true;
        }
    }
    return false;
}

static bool in_dir(const char *dir, const char *name) {
    char path[STORE_PATH_LEN];
    return store_join(path, sizeof(path), dir, name) && sys_exists(path);
}

/* An index counts when at least one of its shards is there: downloads that leave out one kind of weights bring its
 * index all the same. */
static bool is_there(const char *dir, const struct journal *j, const struct source_form *form) {
    struct lamina_error ignored = {0};
    struct search s = {.form = form};
    if (!form->sharded) {
        return in_dir(dir, form->file) || freed(j, form);
    }
    if (!in_dir(dir, form->file)) {
        return false;
    }
    return freed(j, form) || (sys_list_dir(dir, note_weights, &s, &ignored) == LAMINA_OK && s.found);
}

const struct source_form *source_form_of(const char *dir, const struct journal *j) {
    const struct source_form *only_index = NULL;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (is_there(dir, j, &forms[i])) {
            return &forms[i];
        }
        if (only_index == NULL && in_dir(dir, forms[i].file)) {
            only_index = &forms[i];
        }
    }
    return only_index; /* whose opening says which shard is missing */
}

const struct source_form *source_form_arriving(const struct lamina_arriving *a) {
    for (uint32_t i = 0; i < a->file_count; i++) {
        if (!ends_with(a->files[i].name, forms[0].ending)) {
            return NULL;
        }
    }
    return a->file_count == 1 && strcmp(a->files[0].name, forms[0].file) == 0 ? &forms[0] : a->file_count > 0 ? &forms[1] : NULL;
}

bool store_is_checkpoint(const char *path) {
    struct source_path where;
    struct lamina_error ignored = {0};
    if (source_path_find(path, NULL, &where, &ignored) < 0) {
        return false;
    }
    return where.file[0] != 0 ? in_dir(where.dir, where.file) : in_dir(path, "config.json") && source_form_of(path, NULL) != NULL;
}

/* ---- what is there instead ---- */

struct survey {
    char pickle[128], other[128];
};

static bool note_name(void *user, const char *name) {
    struct survey *s = user;
    if (ends_with(name, ".pth") || ends_with(name, ".pt") || is_weights(&forms[ARRAY_LEN(forms) - 1], name)) {
        (void)snprintf(s->pickle, sizeof(s->pickle), "%s", name);
    } else if (ends_with(name, ".safetensors")) {
        (void)snprintf(s->other, sizeof(s->other), "%s", name);
    }
    return true;
}

lamina_status source_no_weights(const char *dir, struct lamina_error *err) {
    struct survey s = {{0}, {0}};
    LAMINA_TRY(sys_list_dir(dir, note_name, &s, err));
    if (s.other[0] != 0) {
        return base_fail(err, LAMINA_NOT_FOUND,
                         "%s holds %s, but neither %s nor %s; the index file is missing, download it too", dir, s.other,
                         forms[0].file, forms[1].file);
    }
    if (s.pickle[0] != 0) {
        return base_fail(err, LAMINA_NOT_FOUND,
                         "%s holds %s, but neither %s nor %s (or the safetensors of the same model); rename it, or "
                         "download the index file too",
                         dir, s.pickle, forms[2].file, forms[3].file);
    }
    return base_fail(err, LAMINA_NOT_FOUND, "%s holds no weights: %s or %s, or shards with an index, expected", dir,
                     forms[0].file, forms[2].file);
}

/* ---- identity by stat ---- */

struct stat_walk {
    const char *dir, *gguf;
    const struct source_form *form; /* NULL: there is none */
    struct str *out;
    bool weights;
    lamina_status status;
    struct lamina_error *err;
};

static bool part_of_checkpoint(const struct source_form *form, const char *name, bool *weights) {
    bool known = false;
    *weights = form != NULL && is_weights(form, name);
    for (size_t i = 0; form != NULL && i < ARRAY_LEN(forms); i++) {
        known = known || (forms[i].torch == form->torch && forms[i].sharded && strcmp(name, forms[i].file) == 0);
    }
    for (unsigned i = 0; !known && store_tokenizer_files[i] != NULL; i++) {
        known = strcmp(name, store_tokenizer_files[i]) == 0;
    }
    return known || *weights;
}

static bool add_stat(void *user, const char *name) {
    struct stat_walk *w = user;
    struct sys_stat st;
    char path[STORE_PATH_LEN];
    bool weights = false;
    if (w->gguf[0] != 0 ? !(weights = source_gguf_belongs(w->gguf, name)) : !part_of_checkpoint(w->form, name, &weights)) {
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

lamina_status checkpoint_stat_text(const struct source_path *where, struct str *out, struct lamina_error *err) {
    struct stat_walk w = {.dir = where->dir, .gguf = where->file, .out = out, .err = err};
    w.form = where->file[0] != 0 ? &source_gguf_form : source_form_of(where->dir, NULL);
    LAMINA_TRY(sys_list_dir(where->dir, add_stat, &w, err));
    LAMINA_TRY(w.status);
    if (!w.weights && where->file[0] != 0) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s holds no %s", where->dir, where->file);
    }
    return w.weights ? LAMINA_OK : source_no_weights(where->dir, err);
}
