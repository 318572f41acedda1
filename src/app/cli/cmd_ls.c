/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina ls and lamina rm: what lies on the drive, models in the hub's cache and stores in the home, and taking it away.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli/cli.h"
#include "app/cli/hub_words.h"
#include "app/cli/streamed.h"
#include "base/json.h"
#include "base/status.h"

struct ls_view {
    struct str out;
    const struct hub_env *env;
    const char *home;
    bool json, names; /* names: nothing but what a command takes as MODEL */
    uint32_t count;
};

/* Does a store stand for what is not here? */
static bool is_streamed(const struct ls_view *v, const struct hub_cached *r) {
    bool found = false;
    for (const char *p = r->revisions; !found && *p != 0;) {
        const int len = (int)strcspn(p, ",");
        struct str text = {0};
        struct str store = {0};
        struct hub_name name;
        struct lamina_error none = {0};
        str_printf(&text, "%s@%.*s", r->id, len, p);
        found = !text.failed && hub_name_parse(str_text(&text), &name, &none) == LAMINA_OK &&
                cli_stream_find(v->home, v->env, &name, &store) == LAMINA_OK;
        str_drop(&text);
        str_drop(&store);
        p += len;
        p += *p == ',';
    }
    return found;
}

static bool show_cached(void *user, const struct hub_cached *r) {
    struct ls_view *v = user;
    char bytes[32];
    const bool streamed = !v->names && !r->complete && is_streamed(v, r);
    if (v->names) {
        str_printf(&v->out, "%s\n", r->id);
    } else if (v->json) {
        str_add_text(&v->out, v->count > 0 ? ", {\"model\": " : "{\"model\": ");
        json_write_string(&v->out, span_of_text(r->id));
        str_add_text(&v->out, ", \"revisions\": ");
        json_write_string(&v->out, span_of_text(r->revisions));
        str_add_text(&v->out, ", \"path\": ");
        json_write_string(&v->out, span_of_text(r->folder));
        str_printf(&v->out, ", \"bytes\": %llu, \"partial_bytes\": %llu, \"snapshots\": %u, \"complete\": %s, \"streamed\": %s}",
                   (unsigned long long)r->bytes, (unsigned long long)r->partial_bytes, r->snapshots,
                   r->complete ? "true" : "false", streamed ? "true" : "false");
    } else {
        str_printf(&v->out, "%12s  %s%s%s  %s\n", format_bytes(bytes, r->bytes), r->id, r->revisions[0] != 0 ? "@" : "",
                   r->revisions, r->complete ? "" : streamed ? "(streamed)" : "(not complete)");
        while (v->out.len > 1 && v->out.ptr[v->out.len - 2] == ' ') {
            v->out.ptr[v->out.len - 2] = '\n';
            v->out.ptr[--v->out.len] = 0;
        }
    }
    v->count++;
    return true;
}

/* ---- trees ---- */

/* Bytes of all files below; links count as nothing, and of files with several names each has its share. */
static uint64_t tree_bytes(int parent, const char *name) {
    struct stat st;
    uint64_t bytes = 0;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return 0;
    }
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            continue;
        }
        if (S_ISDIR(st.st_mode)) {
            bytes += tree_bytes(fd, e->d_name);
            continue;
        }
        bytes += S_ISREG(st.st_mode) ? (uint64_t)st.st_size / (st.st_nlink > 0 ? (uint64_t)st.st_nlink : 1) : 0;
    }
    (void)closedir(dir);
    return bytes;
}

uint64_t cli_tree_bytes(const char *path) {
    return tree_bytes(AT_FDCWD, path);
}

static bool has_manifest(const char *home, const char *name) {
    struct str path = {0};
    str_printf(&path, "%s/%s/lamina.json", home, name);
    bool there = !path.failed && access(str_text(&path), F_OK) == 0;
    str_drop(&path);
    return there;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void show_store(struct ls_view *v, const char *home, const char *name) {
    struct str path = {0};
    struct str model = {0};
    char text[32];
    str_printf(&path, "%s/%s", home, name);
    uint64_t bytes = v->names ? 0 : tree_bytes(AT_FDCWD, str_text(&path));
    bool of_hub = cli_stream_model(home, name, &model);
    if (v->names) {
        str_printf(&v->out, "%s\n", str_text(&path));
    } else if (v->json) {
        str_add_text(&v->out, v->count > 0 ? ", {\"store\": " : "{\"store\": ");
        json_write_string(&v->out, span_of_text(name));
        str_add_text(&v->out, ", \"path\": ");
        json_write_string(&v->out, str_span(&path));
        if (of_hub) {
            str_add_text(&v->out, ", \"model\": ");
            json_write_string(&v->out, str_span(&model));
        }
        str_printf(&v->out, ", \"bytes\": %llu}", (unsigned long long)bytes);
    } else {
        str_printf(&v->out, "%12s  %s%s%s\n", format_bytes(text, bytes), str_text(&path), of_hub ? "  of " : "",
                   of_hub ? str_text(&model) : "");
    }
    v->count++;
    str_drop(&path);
    str_drop(&model);
}

static void show_stores(struct ls_view *v, const char *home) {
    struct dirent **names = NULL;
    int count = home != NULL ? scandir(home, &names, NULL, by_name) : 0;
    for (int i = 0; i < count; i++) {
        if (names[i]->d_name[0] != '.' && has_manifest(home, names[i]->d_name)) {
            show_store(v, home, names[i]->d_name);
        }
        free(names[i]);
    }
    free(names);
}

lamina_status cmd_ls(struct cli_options *o, struct lamina_error *err) {
    struct hub_env env = {.offline = false};
    struct ls_view v = {.env = &env, .home = o->home, .json = o->json, .names = o->quiet && !o->json};
    lamina_status status = hub_env_read(&env, err);
    if (status == LAMINA_OK) {
        str_add_text(&v.out, o->json ? "{\"models\": [" : "");
        status = hub_cache_list(&env, show_cached, &v, err);
    }
    if (status == LAMINA_OK) {
        v.count = 0;
        str_add_text(&v.out, o->json ? "], \"stores\": [" : "");
        show_stores(&v, o->home);
        str_add_text(&v.out, o->json ? "]}\n" : "");
        struct str safe = {0};
        cli_safe_text(&safe, str_text(&v.out), v.out.len);
        safe.failed = safe.failed || v.out.failed;
        status = cli_out_str(&safe, err);
        str_drop(&safe);
    }
    str_drop(&v.out);
    hub_env_drop(&env);
    return status;
}

/* ---- rm ---- */

/* The stores that were made of a model while it came. */
static lamina_status remove_streamed(const struct cli_options *o, const char *id, uint64_t *freed, uint32_t *count,
                                     struct lamina_error *err) {
    struct dirent **names = NULL;
    int found = o->home != NULL ? scandir(o->home, &names, NULL, by_name) : 0;
    lamina_status status = LAMINA_OK;
    for (int i = 0; i < found; i++) {
        struct str model = {0};
        struct str path = {0};
        str_printf(&path, "%s/%s", o->home, names[i]->d_name);
        if (status == LAMINA_OK && cli_stream_model(o->home, names[i]->d_name, &model) && strcmp(str_text(&model), id) == 0 &&
            has_manifest(str_text(&path), ".")) {
            *freed += tree_bytes(AT_FDCWD, str_text(&path));
            *count += 1;
            status = o->dry_run ? LAMINA_OK : lamina_store_remove(str_text(&path), err);
            if (status == LAMINA_OK && !o->dry_run) {
                cli_stream_forget(o->home, names[i]->d_name);
            }
        }
        str_drop(&model);
        str_drop(&path);
        free(names[i]);
    }
    free(names);
    return status;
}

static lamina_status remove_model(const struct cli_options *o, uint64_t *freed, struct lamina_error *err) {
    struct hub_env env = {.offline = false};
    struct hub_name name;
    LAMINA_TRY(hub_name_parse(o->args[0], &name, err));
    if (strchr(o->args[0], '@') != NULL) {
        return base_fail(err, LAMINA_USAGE, "revisions share their files; rm removes all of %s: leave out the @%s", name.id,
                         name.revision);
    }
    uint64_t stores = 0;
    uint32_t count = 0;
    struct lamina_error why = {0};
    lamina_status status = hub_env_read(&env, err);
    if (status == LAMINA_OK) { /* first whether somebody is at it: then nothing goes */
        status = hub_cache_remove(&env, &name, true, freed, &why);
    }
    const bool cached = status == LAMINA_OK;
    if (cached || status == LAMINA_NOT_FOUND) {
        status = remove_streamed(o, name.id, &stores, &count, err);
        if (status == LAMINA_OK && cached && !o->dry_run) {
            status = hub_cache_remove(&env, &name, false, freed, err);
        } else if (status == LAMINA_OK && !cached && count == 0) { /* else the store was all there was */
            status = base_fail(err, LAMINA_NOT_FOUND, "%s", why.message);
        }
    } else {
        status = base_fail(err, status, "%s", why.message); /* what hub_env_read said stays */
    }
    *freed += stores;
    hub_env_drop(&env);
    return status;
}

lamina_status cmd_rm(struct cli_options *o, struct lamina_error *err) {
    struct str path = {0};
    struct str out = {0};
    char bytes[32];
    uint64_t freed = 0;
    size_t len = strlen(o->args[0]);
    lamina_status status = LAMINA_OK;
    str_add(&path, o->args[0], len > 1 && o->args[0][len - 1] == '/' ? len - 1 : len);
    if (!has_manifest(str_text(&path), ".") && o->home != NULL && strchr(o->args[0], '/') == NULL) {
        str_clear(&path);
        str_printf(&path, "%s/%s", o->home, o->args[0]);
    }
    if (has_manifest(str_text(&path), ".")) {
        freed = tree_bytes(AT_FDCWD, str_text(&path));
        status = o->dry_run ? LAMINA_OK : lamina_store_remove(str_text(&path), err);
        if (status == LAMINA_OK && !o->dry_run) {
            str_add_text(&path, ".hub");
            (void)unlink(str_text(&path));
        }
    } else if (access(o->args[0], F_OK) == 0) {
        status =
            base_fail(err, LAMINA_USAGE,
                      "%s is neither a store (no lamina.json) nor a model of the hub; rm removes nothing else", o->args[0]);
    } else {
        status = remove_model(o, &freed, err);
    }
    if (status == LAMINA_OK && o->json) {
        str_printf(&out, "{\"freed_bytes\": %llu, \"dry_run\": %s}\n", (unsigned long long)freed, o->dry_run ? "true" : "false");
        status = cli_out_str(&out, err);
    } else if (status == LAMINA_OK && !o->quiet) {
        cli_say(1, "%s: %s %s", o->args[0], format_bytes(bytes, freed), o->dry_run ? "would be freed" : "freed");
    }
    str_drop(&path);
    str_drop(&out);
    return status;
}
