/* SPDX-License-Identifier: Apache-2.0
 *
 * The stores that cells run on. Those of the usual codec without a directory of their own are the home's, which every command uses;
 * others lie in `lamina-bench` on the cell's storage, or in --keep-stores, or under the home, named after model and codec. They
 * are kept. Beside each lies what its split took, so that a later cell on the same store still knows its cold start:
 *
 *     demo-1f2e3d4c5b6a7988-planes.store/    demo-1f2e3d4c5b6a7988-planes.split = {"model": IDENTITY, "split_s": 4.2}
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli/bench.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/status.h"

/* ---- identity ---- */

static uint64_t file_mark(const char *name, const struct stat *st) {
    struct str s = {0};
    str_printf(&s, "%s %llu %lld %ld", name, (unsigned long long)st->st_size, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
    uint64_t mark = hash_xxh3_64(str_text(&s), s.len);
    str_drop(&s);
    return mark;
}

/* A sum, because directories have no order. */
static lamina_status mark_directory(const char *path, uint64_t *sum, struct lamina_error *err) {
    DIR *dir = opendir(path);
    struct dirent *entry;
    if (dir == NULL) {
        return base_fail_errno(err, errno, "cannot read the directory %s", path);
    }
    while ((entry = readdir(dir)) != NULL) {
        struct stat st;
        if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode)) {
            *sum += file_mark(entry->d_name, &st);
        }
    }
    closedir(dir);
    return LAMINA_OK;
}

lamina_status bench_identity(const char *model, char out[33], struct lamina_error *err) {
    struct stat st;
    uint64_t sum = 0;
    char *real = realpath(model, NULL);
    if (real == NULL || stat(real, &st) != 0) {
        free(real);
        return base_fail_errno(err, errno, "cannot open the model %s", model);
    }
    lamina_status status = LAMINA_OK;
    if (S_ISDIR(st.st_mode)) {
        status = mark_directory(real, &sum, err);
    } else {
        sum = file_mark("", &st);
    }
    struct str text = {0};
    str_printf(&text, "%s %llx", real, (unsigned long long)sum);
    hash128_to_hex(hash_xxh3_128(str_text(&text), text.len), out);
    str_drop(&text);
    free(real);
    return status;
}

/* ---- names ---- */

static bool exists(const char *dir, const char *name) {
    struct str path = {0};
    struct stat st;
    str_printf(&path, "%s/%s", dir, name);
    bool there = stat(str_text(&path), &st) == 0;
    str_drop(&path);
    return there;
}

/* Makes the directory and those above it. */
static lamina_status make_dirs(struct str *path, struct lamina_error *err) {
    for (size_t i = 1; i <= path->len && !path->failed; i++) {
        if (i < path->len && path->ptr[i] != '/') {
            continue;
        }
        char kept = path->ptr[i];
        path->ptr[i] = '\0';
        bool made = mkdir(path->ptr, 0777) == 0 || errno == EEXIST;
        int reason = errno;
        if (!made) {
            return base_fail_errno(err, reason, "cannot make the directory %s", path->ptr);
        }
        path->ptr[i] = kept;
    }
    return path->failed ? base_fail(err, LAMINA_NO_FIT, "out of memory for a path") : LAMINA_OK;
}

lamina_status bench_home(const struct cli_options *o, struct str *dir, struct lamina_error *err) {
    if (o->home == NULL) {
        return base_fail(err, LAMINA_USAGE, "there is no home to keep stores and journals in; give --home DIR");
    }
    str_printf(dir, "%s/bench", o->home);
    return make_dirs(dir, err);
}

/* Of the axis storage, NULL: where stores lie anyway. */
static const char *dir_of(const struct bench_cell *cell) {
    struct bench_storage storage = {0};
    if (cell->value[BENCH_STORAGE] != NULL) {
        (void)bench_storage_read(cell->value[BENCH_STORAGE], &storage); /* it was checked */
    }
    return storage.dir;
}

/* The directory that the stores of a cell and the times of their splits lie in, made where it is missing. */
static lamina_status place_of(const struct cli_options *o, const struct bench_cell *cell, struct str *dir,
                              struct lamina_error *err) {
    const char *storage = dir_of(cell);
    if (storage != NULL) {
        str_printf(dir, "%s/lamina-bench", storage);
        return make_dirs(dir, err);
    }
    if (o->keep_stores != NULL) {
        str_add_text(dir, o->keep_stores);
        return make_dirs(dir, err);
    }
    return bench_home(o, dir, err);
}

/* The model's last path component as far as it makes a file name, and its identity: a model that changed gets another store. */
static void store_name(const char *model, const char *identity, const char *codec, struct str *out) {
    char *real = realpath(model, NULL);
    const char *path = real != NULL ? real : model;
    const char *base = strrchr(path, '/');
    base = base != NULL ? base + 1 : path;
    for (unsigned i = 0; base[i] != '\0' && i < 64; i++) {
        bool plain = (base[i] >= 'a' && base[i] <= 'z') || (base[i] >= 'A' && base[i] <= 'Z') ||
                     (base[i] >= '0' && base[i] <= '9') || base[i] == '-' || base[i] == '_' || (base[i] == '.' && i > 0);
        str_add_byte(out, (uint8_t)(plain ? base[i] : '_'));
    }
    str_printf(out, "-%.16s-%s", identity, codec);
    free(real);
}

/* ---- what a split took ---- */

/* True: a split of this very model is on record; *seconds is NaN when it was not measured. */
static bool recorded(const char *path, const char *identity, double *seconds) {
    struct str text = {0};
    struct str scratch = {0};
    struct str model = {0};
    struct lamina_error ignored = {0};
    struct json_reader r;
    struct span key;
    bool found = false;
    *seconds = NAN;
    if (cli_read_file(path, &text, &ignored) == LAMINA_OK) {
        json_init(&r, str_span(&text), path, &scratch, &ignored);
        (void)json_enter_object(&r);
        while (json_next_key(&r, &key)) {
            if (span_is(key, "model")) {
                (void)json_string(&r, &model);
            } else if (span_is(key, "split_s")) {
                (void)(json_null(&r) || json_double(&r, seconds));
            } else {
                (void)json_skip(&r);
            }
        }
        found = json_finish(&r) == LAMINA_OK && strcmp(str_text(&model), identity) == 0;
        *seconds = found ? *seconds : NAN;
    }
    str_drop(&text);
    str_drop(&scratch);
    str_drop(&model);
    return found;
}

static lamina_status record_time(const char *path, const char *identity, double seconds, struct lamina_error *err) {
    struct str text = {0};
    str_printf(&text, "{\"model\": \"%s\", \"split_s\": ", identity);
    json_write_double(&text, seconds);
    str_add_text(&text, "}\n");
    lamina_status status = cli_write_file(path, &text, err);
    str_drop(&text);
    return status;
}

/* ---- making ---- */

/* Beside the caller's progress: was anything split, and all of it now? */
struct watch {
    const struct lamina_callbacks *callbacks;
    bool splitting, resumed;
};

static bool on_progress(void *user, const struct lamina_progress *p) {
    struct watch *w = (struct watch *)user;
    w->splitting = w->splitting || p->kind == LAMINA_PROGRESS_SPLIT;
    w->resumed = w->resumed || p->resumed_bytes > 0;
    return w->callbacks->progress(w->callbacks->user, p);
}

static void on_log(void *user, int level, const char *text) {
    struct watch *w = (struct watch *)user;
    w->callbacks->log(w->callbacks->user, level, text);
}

/* Splits, or finds that it was done: `output` NULL means the home's store. */
static lamina_status split(const struct cli_options *o, const char *codec, const char *output, struct watch *w, char **store,
                           struct lamina_error *err) {
    struct lamina_split_options options;
    lamina_split_defaults(&options);
    options.checkpoint = o->args[0];
    options.output = output;
    options.home = o->home;
    options.codec = codec;
    options.callbacks = (struct lamina_callbacks){.log = on_log, .progress = on_progress, .user = w};
    return lamina_split(&options, store, err);
}

static void note(struct bench_row *row, const char *store, const char *how, double seconds) {
    (void)snprintf(row->store, sizeof(row->store), "%s", store);
    (void)snprintf(row->split, sizeof(row->split), "%s", how);
    row->split_s = seconds;
}

struct job {
    const struct cli_options *o;
    const char *codec, *identity;
    const char *output; /* NULL: the store is that of the home */
    const char *record; /* where the time of the split is kept */
};

static lamina_status make(const struct job *j, struct watch *w, struct bench_row *row, struct lamina_error *err) {
    double earlier = NAN;
    bool known = recorded(j->record, j->identity, &earlier);
    bool whole = j->output != NULL && exists(j->output, "lamina.json");
    const char *how = bench_known(earlier) ? "earlier" : "unknown";
    if (whole && known) { /* the splitter would compare it with all of its source once more */
        note(row, j->output, how, earlier);
        return LAMINA_OK;
    }
    char *store = NULL;
    double begin = cli_now_s();
    LAMINA_TRY(split(j->o, j->codec, j->output, w, &store, err));
    double seconds = cli_now_s() - begin;
    if (whole || !w->splitting || w->resumed) { /* made by another run, or in part */
        note(row, store, how, earlier);
    } else {
        note(row, store, "now", seconds);
    }
    lamina_free(store);
    return record_time(j->record, j->identity, row->split_s, err);
}

lamina_status bench_store_place(const struct cli_options *o, const struct bench_cell *cell, struct str *dir,
                                struct lamina_error *err) {
    if (exists(o->args[0], "lamina.json")) {
        str_add_text(dir, o->args[0]);
        return dir->failed ? base_fail(err, LAMINA_NO_FIT, "out of memory for the name of a store") : LAMINA_OK;
    }
    return place_of(o, cell, dir, err);
}

lamina_status bench_store_make(const struct cli_options *o, const struct bench_cell *cell, const char *identity,
                               const struct lamina_callbacks *callbacks, struct bench_row *row, struct lamina_error *err) {
    struct lamina_split_options usual;
    lamina_split_defaults(&usual);
    const char *codec = cell->value[BENCH_CODEC] != NULL ? cell->value[BENCH_CODEC] : usual.codec;
    struct watch w = {.callbacks = callbacks};
    struct str dir = {0};
    struct str path = {0};
    struct str record = {0};
    if (exists(o->args[0], "lamina.json")) {
        if (dir_of(cell) != NULL) {
            return base_fail(err, LAMINA_USAGE, "%s is a store and stays where it is; give its checkpoint to have stores made on "
                             "other storage, or \"default\" for where it is", o->args[0]);
        }
        note(row, o->args[0], "given", NAN);
        return LAMINA_OK;
    }
    bool of_home = dir_of(cell) == NULL && o->keep_stores == NULL && strcmp(codec, usual.codec) == 0;
    lamina_status status = place_of(o, cell, &dir, err);
    if (status == LAMINA_OK) {
        str_printf(&path, "%s/", str_text(&dir));
        store_name(o->args[0], identity, codec, &path);
        str_printf(&record, "%s.split", str_text(&path));
        str_add_text(&path, ".store");
        status = path.failed || record.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory for the name of a store") : LAMINA_OK;
    }
    if (status == LAMINA_OK) {
        struct job job = {o, codec, identity, of_home ? NULL : str_text(&path), str_text(&record)};
        status = make(&job, &w, row, err);
    }
    str_drop(&dir);
    str_drop(&path);
    str_drop(&record);
    return status;
}
