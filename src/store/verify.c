/* SPDX-License-Identifier: Apache-2.0
 *
 * Proving a store: every byte of every file against the manifest, every tile against its table, every table against the
 * model; on request the checkpoint against the digests taken when the store was made. Goes on after damage, so that one
 * run tells the whole extent; stops at once only when the drive or the caller says so. Memory: one buffer. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/store_priv.h"
#include "sys/mem.h"

enum { VERIFY_BUFFER = 8 << 20 };
#define TELL_NS UINT64_C(200000000)

struct verify {
    const char *path;
    const struct lamina_callbacks *callbacks;
    struct lamina_verify_result *result;
    struct lamina_error *err;
    struct manifest m;
    struct arena arena;
    struct store_check check;
    uint64_t done_bytes, total_bytes, began_ns, told_ns;
    const char *what;
};

static bool tick(void *user, uint64_t bytes) {
    struct verify *v = user;
    uint64_t now = sys_now_ns();
    v->done_bytes += bytes;
    if (v->callbacks == NULL || v->callbacks->progress == NULL || now - v->told_ns < TELL_NS) {
        return false;
    }
    v->told_ns = now;
    struct lamina_progress p = {.kind = LAMINA_PROGRESS_VERIFY,
                                .done_bytes = v->done_bytes,
                                .total_bytes = v->total_bytes,
                                .elapsed_ns = now - v->began_ns,
                                .what = v->what};
    return v->callbacks->progress(v->callbacks->user, &p);
}

static void note_damage(struct verify *v, const char *text) {
    if (v->result->damaged++ == 0) {
        (void)snprintf(v->result->first_damage, sizeof(v->result->first_damage), "%.500s", text);
    }
}

/* Damage is counted and the work goes on; anything else ends it. */
static lamina_status settle(struct verify *v, lamina_status status, const struct lamina_error *why) {
    if (status == LAMINA_DAMAGED || status == LAMINA_NOT_FOUND || status == LAMINA_UNSUPPORTED) {
        note_damage(v, why->message);
        return LAMINA_OK;
    }
    return status < 0 ? base_fail(v->err, status, "%s", why->message) : LAMINA_OK;
}

static lamina_status one_file(struct verify *v, const char *name, const struct manifest_file *f, bool has_tiles) {
    char path[STORE_PATH_LEN];
    struct lamina_error why = {0};
    if (!store_join(path, sizeof(path), v->path, name)) {
        return base_fail(v->err, LAMINA_USAGE, "the path of %s is too long", name);
    }
    v->what = name;
    lamina_status status = has_tiles ? store_check_weights(path, path, f->size, f->hash, &v->check, &why)
                                     : store_check_plain(path, path, f->size, f->hash, &v->check, &why);
    v->result->files++;
    v->result->bytes += f->size;
    return settle(v, status, &why);
}

static lamina_status all_files(struct verify *v) {
    for (uint32_t i = 0; i < v->m.file_count; i++) {
        LAMINA_TRY(one_file(v, v->m.files[i].name, &v->m.files[i], true));
    }
    for (uint32_t i = 0; i < v->m.tokenizer_count; i++) {
        char name[STORE_NAME_LEN];
        (void)snprintf(name, sizeof(name), "tokenizer/%s", v->m.tokenizer[i].name);
        LAMINA_TRY(one_file(v, name, &v->m.tokenizer[i], false));
    }
    return LAMINA_OK;
}

/* Tables against the model: what opening checks. */
static lamina_status tables(struct verify *v) {
    struct store *s = NULL;
    struct lamina_error why = {0};
    if (v->result->damaged > 0) {
        return LAMINA_OK;
    }
    lamina_status status = store_open(&s, v->path, NULL, &why);
    store_close(&s);
    return settle(v, status, &why);
}

/* ---- files that do not belong ---- */

struct stranger_walk {
    struct verify *v;
    const char *dir;
};

static bool is_directory_of(const char *file, const char *dir) {
    size_t len = strlen(dir);
    return strncmp(file, dir, len) == 0 && file[len] == '/';
}

static bool belongs(const struct manifest *m, const char *name) {
    for (uint32_t i = 0; i < m->file_count; i++) {
        if (strcmp(m->files[i].name, name) == 0) {
            return true;
        }
    }
    for (uint32_t i = 0; i < m->tokenizer_count; i++) {
        const char *known = m->tokenizer[i].name;
        if (strncmp(name, "tokenizer/", 10) == 0 && (strcmp(known, name + 10) == 0 || is_directory_of(known, name + 10))) {
            return true;
        }
    }
    return strcmp(name, "lamina.json") == 0 || strcmp(name, "layers") == 0 || strcmp(name, "tokenizer") == 0;
}

static bool look(void *user, const char *name) {
    struct stranger_walk *w = user;
    const struct lamina_callbacks *c = w->v->callbacks;
    char full[STORE_PATH_LEN];
    char text[STORE_PATH_LEN + 64];
    int n = snprintf(full, sizeof(full), "%s%s", w->dir, name);
    if (n > 0 && (size_t)n < sizeof(full) && !belongs(&w->v->m, full) && c != NULL && c->log != NULL) {
        (void)snprintf(text, sizeof(text), "%s does not belong to the store (left alone, never read)", full);
        c->log(c->user, LOG_NOTE, text);
    }
    return true;
}

static void strangers(struct verify *v) {
    static const char *const dirs[] = {"", "layers/", "tokenizer/", ("tokenizer/" STORE_TEMPLATES_DIR)};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        struct stranger_walk w = {.v = v, .dir = dirs[i]};
        char path[STORE_PATH_LEN];
        struct lamina_error ignored = {0};
        if (store_join(path, sizeof(path), v->path, dirs[i]) && sys_exists(path)) {
            (void)sys_list_dir(path, look, &w, &ignored);
        }
    }
}

static lamina_status source(struct verify *v, const char *checkpoint) {
    struct checkpoint *c = NULL;
    struct lamina_error why = {0};
    if (checkpoint == NULL) {
        return LAMINA_OK;
    }
    v->what = "the checkpoint";
    LAMINA_TRY(checkpoint_open(&c, checkpoint, NULL, NULL, v->err));
    lamina_status status = store_source_check(c, &v->m, &v->check, &why);
    checkpoint_close(&c);
    return settle(v, status, &why);
}

static lamina_status run(struct verify *v, const char *checkpoint) {
    struct lamina_error why = {0};
    uint64_t manifest_bytes = 0;
    lamina_status status = store_manifest_load(v->path, checkpoint != NULL, &v->arena, &v->m, &manifest_bytes, &why);
    if (status == LAMINA_NOT_FOUND || status == LAMINA_UNSUPPORTED) {
        return base_fail(v->err, status, "%s", why.message);
    }
    v->result->files = 1;
    v->result->bytes = manifest_bytes;
    LAMINA_TRY(settle(v, status, &why));
    if (status < 0) {
        return LAMINA_OK; /* nothing to compare with */
    }
    v->total_bytes = manifest_bytes;
    for (uint32_t i = 0; i < v->m.file_count; i++) {
        v->total_bytes += v->m.files[i].size;
    }
    for (uint32_t i = 0; checkpoint != NULL && i < v->m.source_count; i++) {
        v->total_bytes += v->m.sources[i].size;
    }
    LAMINA_TRY(all_files(v));
    LAMINA_TRY(tables(v));
    strangers(v);
    return source(v, checkpoint);
}

lamina_status store_verify(const char *path, const char *checkpoint, const struct lamina_callbacks *callbacks,
                           struct lamina_verify_result *result, struct lamina_error *err) {
    struct lamina_verify_result found = {.size = result->size};
    struct verify v = {.path = path, .callbacks = callbacks, .result = &found, .err = err, .began_ns = sys_now_ns()};
    v.check = (struct store_check){.buffer_len = VERIFY_BUFFER, .tick = tick, .user = &v};
    LAMINA_TRY(sys_mem_map(&v.check.buffer, VERIFY_BUFFER, err));
    lamina_status status = run(&v, checkpoint);
    sys_mem_unmap(v.check.buffer, VERIFY_BUFFER);
    arena_drop(&v.arena);
    found.tiles = v.check.tiles;
    *result = found;
    if (status == LAMINA_OK && found.damaged > 0) {
        status = base_fail(err, LAMINA_DAMAGED, "%" PRIu64 " of %" PRIu64 " files damaged; first: %s", found.damaged,
                           found.files, found.first_damage);
    }
    return status;
}
