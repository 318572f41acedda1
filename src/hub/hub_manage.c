/* SPDX-License-Identifier: Apache-2.0
 *
 * What lies in the cache, and taking it away. Sizes are those of blobs, which revisions share, and of files in snapshots that are
 * no links to them. A folder is renamed before it is removed, so that nobody meets half of one. */
#include <stdio.h>
#include <string.h>

#include "hub/hub_priv.h"

struct folder {
    const char *path;
    const struct hub_env *env; /* these two: for who asks whether it is complete */
    const char *id;
    bool complete;
    uint64_t bytes, partial_bytes;
    uint32_t snapshots;
    struct str revisions;
};

static bool add_blob(void *user, const char *name) {
    struct folder *f = user;
    char path[HUB_PATH_LEN];
    struct sys_stat st;
    struct lamina_error none = {0};
    int n = snprintf(path, sizeof(path), "%s/blobs/%s", f->path, name);
    if (n < (int)sizeof(path) && sys_exists(path) && sys_stat(path, &st, &none) == LAMINA_OK && st.is_regular) {
        bool partial = span_ends_with(span_of_text(name), ".incomplete");
        f->bytes += partial ? st.allocated_bytes : st.size;
        f->partial_bytes += partial ? st.allocated_bytes : 0;
    }
    return true;
}

static void note_complete(struct folder *f, const char *revision) {
    struct str text = {0};
    struct str model = {0};
    struct hub_name name;
    struct lamina_error none = {0};
    str_printf(&text, "%s@%s", f->id, revision);
    if (!f->complete && !text.failed && hub_name_parse(str_text(&text), &name, &none) == LAMINA_OK) {
        f->complete = hub_find(f->env, &name, &model, &none) == LAMINA_OK || model.len > 0;
    }
    str_drop(&text);
    str_drop(&model);
}

/* What no name points to was asked for by its commit. Refs come first. */
static bool add_snapshot(void *user, const char *name) {
    struct folder *f = user;
    f->snapshots += hub_is_commit(name);
    if (f->revisions.len == 0) {
        note_complete(f, name);
    }
    return true;
}

/* Where there are no links, the bytes are here. */
static bool add_plain(void *user, const char *name) {
    struct folder *f = user;
    char path[HUB_PATH_LEN];
    struct sys_stat st;
    struct lamina_error none = {0};
    int n = snprintf(path, sizeof(path), "%s/snapshots/%s", f->path, name);
    if (n < (int)sizeof(path) && !sys_is_link(path) && sys_stat(path, &st, &none) == LAMINA_OK && st.is_regular) {
        f->bytes += st.size;
    }
    return true;
}

static bool add_revision(void *user, const char *name) {
    struct folder *f = user;
    str_printf(&f->revisions, "%s%s", f->revisions.len > 0 ? "," : "", name);
    note_complete(f, name);
    return true;
}

static void list_part(struct folder *f, const char *part, bool deep, bool (*each)(void *user, const char *name)) {
    char path[HUB_PATH_LEN];
    struct lamina_error none = {0};
    int n = snprintf(path, sizeof(path), "%s/%s", f->path, part);
    if (n < (int)sizeof(path) && sys_exists(path)) {
        (void)(deep ? hub_walk : sys_list_dir)(path, each, f, &none); /* what cannot be read counts as nothing */
    }
}

static void add_bytes(struct folder *f) {
    list_part(f, "blobs", false, add_blob);
    list_part(f, "snapshots", true, add_plain);
}

struct listing {
    const struct hub_env *env;
    bool (*each)(void *user, const struct hub_cached *repo);
    void *user;
};

/* "models--ORG--NAME" back to "ORG/NAME". */
static bool id_of(const char *folder, struct hub_name *name) {
    char id[HUB_ID_MAX + 2];
    struct lamina_error none = {0};
    if (strncmp(folder, "models--", 8) != 0 || strlen(folder + 8) > HUB_ID_MAX + 1) {
        return false;
    }
    const char *rest = folder + 8;
    const char *dashes = strstr(rest, "--");
    if (dashes != NULL) {
        (void)snprintf(id, sizeof(id), "%.*s/%s", (int)(dashes - rest), rest, dashes + 2);
    } else {
        (void)snprintf(id, sizeof(id), "%s", rest);
    }
    return hub_name_parse(id, name, &none) == LAMINA_OK;
}

static bool list_folder(void *user, const char *folder) {
    struct listing *l = user;
    struct hub_name name;
    char path[HUB_PATH_LEN];
    int n = snprintf(path, sizeof(path), "%s/%s", str_text(&l->env->cache), folder);
    if (n >= (int)sizeof(path) || !id_of(folder, &name)) {
        return true;
    }
    struct folder f = {.path = path, .env = l->env, .id = name.id};
    add_bytes(&f);
    list_part(&f, "refs", true, add_revision);
    list_part(&f, "snapshots", false, add_snapshot);
    struct hub_cached repo = {.id = name.id, .folder = path, .revisions = str_text(&f.revisions), .bytes = f.bytes,
                              .partial_bytes = f.partial_bytes, .snapshots = f.snapshots,
                              .complete = f.complete};
    bool on = l->each(l->user, &repo);
    str_drop(&f.revisions);
    return on;
}

lamina_status hub_cache_list(const struct hub_env *env, bool (*each)(void *user, const struct hub_cached *repo), void *user,
                             struct lamina_error *err) {
    struct listing l = {.env = env, .each = each, .user = user};
    return sys_exists(str_text(&env->cache)) ? sys_list_dir(str_text(&env->cache), list_folder, &l, err) : LAMINA_OK;
}

/* ---- removing ---- */

struct lock_check {
    const char *dir;
    lamina_status status;
    struct lamina_error *err;
};

static bool try_lock(void *user, const char *name) {
    struct lock_check *c = user;
    struct sys_lock lock = {.fd = -1};
    char path[HUB_PATH_LEN];
    int n = snprintf(path, sizeof(path), "%s/%s", c->dir, name);
    if (n < (int)sizeof(path)) {
        c->status = sys_lock_take(&lock, path, false, c->err);
        sys_lock_drop(&lock);
    }
    return c->status == LAMINA_OK;
}

/* What is to be removed lies here meanwhile: no model has such a name, and tools that look through the cache pass .locks over. */
static const char removed_prefix[] = ".locks/removed--";

struct sweep {
    const char *locks;
    lamina_status status;
    struct lamina_error *err;
};

static bool sweep_name(void *user, const char *name) {
    struct sweep *s = user;
    char path[HUB_PATH_LEN];
    int n = snprintf(path, sizeof(path), "%s/%s", s->locks, name);
    if (strncmp(name, removed_prefix + 7, strlen(removed_prefix + 7)) == 0 && n < (int)sizeof(path)) {
        s->status = sys_remove_tree(path, s->err);
    }
    return s->status == LAMINA_OK;
}

lamina_status hub_cache_sweep(const struct hub_env *env, bool wait, struct lamina_error *err) {
    char locks[HUB_PATH_LEN];
    char path[HUB_PATH_LEN + 32];
    struct sys_lock lock = {.fd = -1};
    struct lamina_error none = {0};
    struct sweep s = {.locks = locks, .status = LAMINA_OK, .err = err};
    int n = snprintf(locks, sizeof(locks), "%s/.locks", str_text(&env->cache));
    (void)snprintf(path, sizeof(path), "%s/removing.lock", locks);
    if (n >= (int)sizeof(locks) || !sys_exists(locks)) {
        return LAMINA_OK;
    }
    LAMINA_TRY(sys_lock_take(&lock, path, wait, err)); /* two that remove one tree would meet missing folders */
    lamina_status status = sys_list_dir(locks, sweep_name, &s, err);
    (void)sys_remove(path, &none);
    sys_lock_drop(&lock);
    return status < 0 ? status : s.status;
}

lamina_status hub_cache_remove(const struct hub_env *env, const struct hub_name *name, bool dry_run, uint64_t *freed,
                               struct lamina_error *err) {
    char path[HUB_PATH_LEN];
    char locks[HUB_PATH_LEN];
    char away[HUB_PATH_LEN + 32];
    char folder[HUB_ID_MAX + 16];
    LAMINA_TRY(hub_cache_path(env, name->id, NULL, NULL, path, err));
    hub_folder_name(name->id, folder);
    int n = snprintf(locks, sizeof(locks), "%s/.locks/%s", str_text(&env->cache), folder);
    (void)snprintf(away, sizeof(away), "%s/%s%s", str_text(&env->cache), removed_prefix, folder);
    const bool there = sys_exists(path);
    const bool stopped = sys_exists(away); /* a removal was killed */
    if ((!there && !stopped) || n >= (int)sizeof(locks)) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s is not in the cache %s; lamina ls shows what is", name->id,
                         str_text(&env->cache));
    }
    struct folder f = {.path = path};
    add_bytes(&f);
    f.path = away;
    add_bytes(&f);
    *freed = f.bytes;
    struct lock_check check = {.dir = locks, .status = LAMINA_OK, .err = err};
    if (sys_exists(locks)) {
        LAMINA_TRY(sys_list_dir(locks, try_lock, &check, err));
        LAMINA_TRY(check.status);
    }
    if (dry_run) {
        return LAMINA_OK;
    }
    if (stopped) {
        LAMINA_TRY(hub_cache_sweep(env, true, err));
    }
    if (there) {
        LAMINA_TRY(sys_make_dirs(locks, err));
        LAMINA_TRY(sys_rename_durable(path, away, err));
        LAMINA_TRY(hub_cache_sweep(env, true, err));
    }
    return sys_remove_tree(locks, err);
}
