/* SPDX-License-Identifier: Apache-2.0
 *
 * The cache's layout, the one that huggingface_hub documents:
 *
 *     CACHEDIR.TAG                          backup programs leave the folder out
 *     .locks/models--ORG--NAME/<etag>.lock  who fetches a blob holds it
 *     .locks/removed--models--ORG--NAME     on its way out (hub_manage.c)
 *     models--ORG--NAME/blobs/<etag>        the bytes; <etag>.*.incomplete: not all of them yet
 *     models--ORG--NAME/refs/<revision>     the commit, 40 hex digits and nothing else
 *     models--ORG--NAME/snapshots/<commit>/<path>  a relative link to the blob; where the file system has no links, the
 *                                           bytes themselves, and no blob
 *
 * A ref of ours is written last, when its snapshot is whole; so an update that was stopped leaves the revision of before. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "hub/hub_priv.h"

enum { INDEX_MAX = 64 << 20, DEEPEST = 8 };

void hub_folder_name(const char *id, char out[HUB_ID_MAX + 16]) {
    const char *slash = strchr(id, '/');
    int owner = slash != NULL ? (int)(slash - id) : 0;
    (void)snprintf(out, HUB_ID_MAX + 16, "models--%.*s%s%s", owner, id, slash != NULL ? "--" : "", slash != NULL ? slash + 1 : id);
}

lamina_status hub_cache_path(const struct hub_env *env, const char *id, const char *part, const char *name,
                             char out[HUB_PATH_LEN], struct lamina_error *err) {
    char folder[HUB_ID_MAX + 16];
    hub_folder_name(id, folder);
    int n = snprintf(out, HUB_PATH_LEN, "%s/%s%s%s%s%s", str_text(&env->cache), folder, part != NULL ? "/" : "",
                     part != NULL ? part : "", name != NULL ? "/" : "", name != NULL ? name : "");
    /* Room for the endings of temporaries. */
    return n > 0 && n < HUB_PATH_LEN - 64
               ? LAMINA_OK
               : base_fail(err, LAMINA_USAGE, "the cache's path is too long: %.200s", str_text(&env->cache));
}

lamina_status hub_cache_prepare(const struct hub_env *env, const char *id, struct lamina_error *err) {
    static const char tag[] =
        "Signature: 8a477f597d28d172789f06886806bc55\n# Models fetched from a hub; they can be fetched again.\n";
    static const char *const parts[] = {"blobs", "refs", "snapshots"};
    char path[HUB_PATH_LEN];
    char folder[HUB_ID_MAX + 16];
    struct lamina_error none = {0};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        LAMINA_TRY(hub_cache_path(env, id, parts[i], NULL, path, err));
        LAMINA_TRY(sys_make_dirs(path, err));
    }
    hub_folder_name(id, folder);
    (void)snprintf(path, sizeof(path), "%s/.locks/%s", str_text(&env->cache), folder);
    LAMINA_TRY(sys_make_dirs(path, err));
    (void)hub_cache_sweep(env, false, &none);
    (void)snprintf(path, sizeof(path), "%s/CACHEDIR.TAG", str_text(&env->cache));
    return sys_exists(path) ? LAMINA_OK : sys_write_whole_durable(path, span_of(tag, sizeof(tag) - 1), err);
}

lamina_status hub_ref_read(const struct hub_env *env, const struct hub_name *name, char commit[HUB_COMMIT_LEN + 1],
                           struct lamina_error *err) {
    char path[HUB_PATH_LEN];
    struct str text = {0};
    if (hub_is_commit(name->revision)) {
        memcpy(commit, name->revision, HUB_COMMIT_LEN + 1);
        return LAMINA_OK;
    }
    LAMINA_TRY(hub_cache_path(env, name->id, "refs", name->revision, path, err));
    if (!sys_exists(path)) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s (revision %s) is not in the cache %s", name->id, name->revision,
                         str_text(&env->cache));
    }
    lamina_status status = sys_read_whole(path, 256, &text, err);
    while (text.len > 0 && text.ptr[text.len - 1] <= ' ') {
        text.ptr[--text.len] = 0;
    }
    if (status == LAMINA_OK && !hub_is_commit(str_text(&text))) {
        status = base_fail(err, LAMINA_DAMAGED, "%s holds no commit; remove it and pull again", path);
    } else if (status == LAMINA_OK) {
        memcpy(commit, text.ptr, HUB_COMMIT_LEN + 1);
    }
    str_drop(&text);
    return status;
}

static lamina_status make_parent(const char *path, struct lamina_error *err) {
    char dir[HUB_PATH_LEN];
    const char *slash = strrchr(path, '/');
    (void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
    return sys_exists(dir) ? LAMINA_OK : sys_make_dirs(dir, err);
}

lamina_status hub_ref_write(const struct hub_env *env, const struct hub_name *name, const char *commit, struct lamina_error *err) {
    char path[HUB_PATH_LEN];
    char before[HUB_COMMIT_LEN + 1];
    struct lamina_error none = {0};
    if (hub_is_commit(name->revision) || (hub_ref_read(env, name, before, &none) == LAMINA_OK && strcmp(before, commit) == 0)) {
        return LAMINA_OK;
    }
    LAMINA_TRY(hub_cache_path(env, name->id, "refs", name->revision, path, err));
    LAMINA_TRY(make_parent(path, err));
    return sys_write_whole_durable(path, span_of_text(commit), err);
}

static lamina_status snapshot_path(const struct hub_env *env, const char *id, const char *commit, const char *file,
                                   char out[HUB_PATH_LEN], struct lamina_error *err) {
    char part[64];
    (void)snprintf(part, sizeof(part), "snapshots/%s", commit);
    return hub_cache_path(env, id, part, file, out, err);
}

static bool same_file(const char *a, const char *b) {
    struct sys_stat x;
    struct sys_stat y;
    struct lamina_error none = {0};
    return sys_exists(a) && sys_exists(b) && sys_stat(a, &x, &none) == LAMINA_OK && sys_stat(b, &y, &none) == LAMINA_OK &&
           x.inode == y.inode && x.device == y.device;
}

static bool is_file(const char *path, uint64_t size) {
    struct sys_stat st;
    struct lamina_error none = {0};
    return sys_exists(path) && sys_stat(path, &st, &none) == LAMINA_OK && st.is_regular && st.size == size;
}

bool hub_file_there(const struct hub_env *env, const char *id, const char *commit, const struct hub_file *file,
                    char out[HUB_PATH_LEN]) {
    struct lamina_error none = {0};
    return (hub_cache_path(env, id, "blobs", file->etag, out, &none) == LAMINA_OK && is_file(out, file->size)) ||
           (snapshot_path(env, id, commit, file->path, out, &none) == LAMINA_OK && !sys_is_link(out) && is_file(out, file->size));
}

static lamina_status link_to_blob(const struct hub_file *file, const char *path, struct lamina_error *err) {
    struct str target = {0};
    str_add_text(&target, "../../");
    for (const char *p = file->path; *p != 0; p++) {
        str_add_text(&target, *p == '/' ? "../" : "");
    }
    str_printf(&target, "blobs/%s", file->etag);
    lamina_status status = target.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory")
                                         : sys_symlink_durable(str_text(&target), path, err);
    str_drop(&target);
    return status;
}

lamina_status hub_snapshot_link(const struct hub_env *env, const char *id, const char *commit, const struct hub_file *file,
                                bool last, struct lamina_error *err) {
    char path[HUB_PATH_LEN];
    char blob[HUB_PATH_LEN];
    struct lamina_error why = {0};
    LAMINA_TRY(snapshot_path(env, id, commit, file->path, path, err));
    LAMINA_TRY(hub_cache_path(env, id, "blobs", file->etag, blob, err));
    LAMINA_TRY(make_parent(path, err));
    if (same_file(path, blob) || (!sys_exists(blob) && !sys_is_link(path) && is_file(path, file->size))) {
        return LAMINA_OK;
    }
    lamina_status status = env->no_links ? LAMINA_UNSUPPORTED : link_to_blob(file, path, &why);
    if (status != LAMINA_UNSUPPORTED) {
        return status < 0 ? base_fail(err, status, "%s", why.message) : LAMINA_OK;
    }
    return last ? sys_rename_durable(blob, path, err) : sys_copy_durable(blob, path, err);
}

/* ---- files below a folder ---- */

struct walk {
    const char *dir, *below; /* the folder at hand is dir/below */
    unsigned depth;
    bool (*each)(void *user, const char *path);
    void *user;
    bool on;
    lamina_status status;
    struct lamina_error *err;
};

static bool walk_name(void *user, const char *name) {
    struct walk *w = user;
    char inside[HUB_PATH_LEN];
    char path[2 * HUB_PATH_LEN];
    struct sys_stat st;
    struct lamina_error none = {0};
    int n = snprintf(inside, sizeof(inside), "%s%s%s", w->below, w->below[0] != 0 ? "/" : "", name);
    (void)snprintf(path, sizeof(path), "%s/%s", w->dir, inside);
    if (n >= (int)sizeof(inside) || strlen(path) >= HUB_PATH_LEN) {
        return true; /* nothing of a hub's */
    }
    if (w->depth < DEEPEST && sys_exists(path) && sys_stat(path, &st, &none) == LAMINA_OK && st.is_dir) {
        struct walk inner = *w;
        inner.below = inside;
        inner.depth++;
        w->status = sys_list_dir(path, walk_name, &inner, w->err);
        w->status = w->status < 0 ? w->status : inner.status;
        w->on = inner.on;
    } else {
        w->on = w->each(w->user, inside);
    }
    return w->on && w->status == LAMINA_OK;
}

lamina_status hub_walk(const char *dir, bool (*each)(void *user, const char *path), void *user, struct lamina_error *err) {
    struct walk w = {.dir = dir, .below = "", .each = each, .user = user, .on = true, .status = LAMINA_OK, .err = err};
    LAMINA_TRY(sys_list_dir(dir, walk_name, &w, err));
    return w.status;
}

/* ---- is a snapshot whole? ---- */

struct names {
    struct arena arena;
    struct hub_listing listing; /* the files of the snapshot, as a repository would list them */
    uint32_t cap;
    bool failed;
};

static bool add_name(void *user, const char *name) {
    struct names *n = user;
    if (n->listing.count == n->cap) {
        uint32_t cap = n->cap > 0 ? 2 * n->cap : 64;
        struct hub_file *files = arena_take_array(&n->arena, cap, sizeof(*files));
        if (files == NULL) {
            n->failed = true;
            return false;
        }
        if (n->listing.count > 0) {
            memcpy(files, n->listing.files, n->listing.count * sizeof(*files));
        }
        n->listing.files = files;
        n->cap = cap;
    }
    const char *copy = arena_copy_text(&n->arena, span_of_text(name));
    n->failed = n->failed || copy == NULL;
    if (copy != NULL) {
        n->listing.files[n->listing.count++] = (struct hub_file){.path = copy};
    }
    return !n->failed;
}

/* Any of the forms in which checkpoints bring a tokenizer. */
static bool has_tokenizer(const struct names *n) {
    bool vocab = false;
    bool merges = false;
    for (uint32_t i = 0; i < n->listing.count; i++) {
        const char *path = n->listing.files[i].path;
        const struct span text = span_of_text(path);
        vocab = vocab || strcmp(path, "vocab.json") == 0;
        merges = merges || strcmp(path, "merges.txt") == 0;
        if (strchr(path, '/') == NULL && (strcmp(path, "tokenizer.json") == 0 || span_ends_with(text, ".model") ||
                                          span_ends_with(text, ".tiktoken"))) {
            return true;
        }
    }
    return vocab && merges;
}

/* Chosen files that are links to nothing are missing: their blob was removed, or never came. *but_text: there is all of it but a
 * tokenizer. */
static lamina_status all_there(const struct names *n, const char *dir, const char *id, bool *but_text, struct lamina_error *err) {
    char path[HUB_PATH_LEN];
    bool config = false;
    bool gguf = false;
    for (uint32_t i = 0; i < n->listing.count; i++) {
        const struct hub_file *f = &n->listing.files[i];
        config = config || strcmp(f->path, "config.json") == 0;
        gguf = gguf || (f->chosen && span_ends_with(span_of_text(f->path), ".gguf"));
        int len = snprintf(path, sizeof(path), "%s/%s", dir, f->path);
        if (f->chosen && (len >= (int)sizeof(path) || !sys_exists(path))) {
            return base_fail(err, LAMINA_NOT_FOUND, "%s is in the cache, but not its %s", id, f->path);
        }
    }
    if (!config && !gguf) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s is in the cache, but not its config.json", id);
    }
    *but_text = !gguf && !has_tokenizer(n);
    return *but_text ? base_fail(err, LAMINA_NOT_FOUND, "%s is in the cache, but no tokenizer of it", id) : LAMINA_OK;
}

/* Several GGUF models: whoever opens the folder says so, unless they all lie deeper than anybody looks. */
static lamina_status several(const struct names *n, const char *dir, const char *id, struct lamina_error *err) {
    for (uint32_t i = 0; i < n->listing.count; i++) {
        const char *path = n->listing.files[i].path;
        if (strchr(path, '/') == NULL && span_ends_with(span_of_text(path), ".gguf")) {
            return LAMINA_OK;
        }
    }
    return base_fail(err, LAMINA_USAGE,
                     "%s is in the cache with several GGUF models in folders; give the path of one of them, below %s", id, dir);
}

/* *inner: within the snapshot, the GGUF file that is the model; empty when the snapshot itself is. */
static lamina_status snapshot_whole(const char *dir, const char *id, struct str *inner, bool *but_text, struct lamina_error *err) {
    static const struct hub_patterns all = {.include = NULL};
    struct names n = {.arena = {.limit_bytes = 64 << 20}};
    struct str index = {0};
    struct lamina_error why = {0};
    char path[HUB_PATH_LEN];
    lamina_status status = hub_walk(dir, add_name, &n, err);
    n.listing.arena.limit_bytes = 1 << 20;
    const char *name = status == LAMINA_OK ? hub_select_index(&n.listing) : NULL;
    if (n.failed) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory while listing %s", dir);
    } else if (name != NULL) {
        int len = snprintf(path, sizeof(path), "%s/%s", dir, name);
        status = len < (int)sizeof(path) && sys_exists(path)
                     ? sys_read_whole(path, INDEX_MAX, &index, err)
                     : base_fail(err, LAMINA_NOT_FOUND, "%s is in the cache, but not its %s", id, name);
    }
    if (status == LAMINA_OK && hub_select(&n.listing, &all, str_span(&index), id, &why) < 0) {
        status = why.code == LAMINA_USAGE
                     ? several(&n, dir, id, err)
                     : base_fail(err, LAMINA_NOT_FOUND, "%s is in the cache, but not all of it: %s", id, why.message);
    } else if (status == LAMINA_OK && hub_select_inner(&n.listing) != NULL) {
        str_add_text(inner, hub_select_inner(&n.listing));
    }
    if (status == LAMINA_OK) {
        status = all_there(&n, dir, id, but_text, err);
    }
    str_drop(&index);
    arena_drop(&n.arena);
    arena_drop(&n.listing.arena);
    return status;
}

lamina_status hub_find(const struct hub_env *env, const struct hub_name *name, struct str *model, struct lamina_error *err) {
    char commit[HUB_COMMIT_LEN + 1];
    char dir[HUB_PATH_LEN];
    struct str inner = {0};
    LAMINA_TRY(hub_ref_read(env, name, commit, err));
    LAMINA_TRY(snapshot_path(env, name->id, commit, NULL, dir, err));
    if (!sys_exists(dir)) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s (revision %s) is not in the cache %s", name->id, name->revision,
                         str_text(&env->cache));
    }
    bool but_text = false;
    lamina_status status = snapshot_whole(dir, name->id, &inner, &but_text, err);
    if (status == LAMINA_OK || but_text) {
        str_printf(model, "%s%s%s", dir, inner.len > 0 ? "/" : "", str_text(&inner));
        status = model->failed || inner.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory") : status;
    }
    str_drop(&inner);
    return status;
}
