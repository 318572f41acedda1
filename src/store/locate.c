/* SPDX-License-Identifier: Apache-2.0
 *
 * From what a user calls a model to the directory of its store. A checkpoint's store lies in the home directory under
 * the checkpoint's name and a hash of (its real path, the recipe, and size, mtime and inode of its files): a changed
 * checkpoint therefore has another store, and a half-made one is never taken for it. A small side file tells which of
 * them is current; the one before is removed after the new one is complete.
 *
 *     home/<name>-<16 hex>/         a store
 *     home/<name>-<16 hex>.lock     while somebody splits
 *     home/<name>.<16 hex>.current  side file: the name of the current store of that path and recipe */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"

struct place {
    char name[160]; /* of the store's directory in home */
    char store[STORE_PATH_LEN];
    char side[STORE_PATH_LEN];
};

lamina_status store_default_home(struct str *home, struct lamina_error *err) {
    const char *hub = sys_env("HF_HOME");
    const char *cache = sys_env("XDG_CACHE_HOME");
    const char *user = sys_env("HOME");
    if (hub != NULL && hub[0] != 0) {
        str_printf(home, "%s/lamina", hub);
    } else if (cache != NULL && cache[0] == '/') {
        str_printf(home, "%s/huggingface/lamina", cache);
    } else if (user != NULL && user[0] != 0) {
        str_printf(home, "%s/.cache/huggingface/lamina", user);
    } else {
        return base_fail(err, LAMINA_USAGE,
                         "neither HOME nor HF_HOME is set; set LAMINA_HOME to a directory for stores");
    }
    return home->failed ? base_fail(err, LAMINA_NO_FIT, "out of memory") : LAMINA_OK;
}

/* The last part of the path, reduced to plain bytes. In a hub cache the model's name stands two levels up. */
static void short_name(const char *real, char *out, size_t len) {
    char path[STORE_PATH_LEN];
    (void)snprintf(path, sizeof(path), "%s", real);
    char *slash = strrchr(path, '/');
    if (slash != NULL && slash != path) {
        *slash = 0;
        char *parent = strrchr(path, '/');
        if (parent != NULL && parent != path && strcmp(parent, "/snapshots") == 0) {
            *parent = 0;
        } else {
            *slash = '/';
        }
    }
    slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    size_t n = 0;
    for (; base[n] != 0 && n + 1 < len && n < 80; n++) {
        char c = base[n];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '_' || (c == '.' && n > 0);
        out[n] = plain ? c : '_';
    }
    out[n] = 0;
    if (n == 0) {
        (void)snprintf(out, len, "model");
    }
}

static lamina_status make_place(const char *home, const char *real, const char *codec, const struct str *stats, struct place *p,
                                struct lamina_error *err) {
    struct str text = {0};
    char name[96];
    char side[160];
    short_name(real, name, sizeof(name));
    str_printf(&text, "%s\n%s\n%d\n", real, codec, (int)STORE_VERSION);
    (void)snprintf(side, sizeof(side), "%s.%016" PRIx64 ".current", name, hash_xxh3_64(str_text(&text), text.len));
    str_add_span(&text, str_span(stats));
    (void)snprintf(p->name, sizeof(p->name), "%s-%016" PRIx64, name, hash_xxh3_64(str_text(&text), text.len));
    bool ok = !text.failed && store_join(p->store, sizeof(p->store), home, p->name) &&
              store_join(p->side, sizeof(p->side), home, side);
    str_drop(&text);
    return ok ? LAMINA_OK : base_fail(err, LAMINA_USAGE, "the path of the home directory is too long: %.200s", home);
}

/* The store named by the side file, "" when there is none or its content is not a plain name. */
static void current_store(const struct place *p, char *out, size_t len) {
    struct str text = {0};
    struct lamina_error ignored = {0};
    out[0] = 0;
    if (sys_exists(p->side) && sys_read_whole(p->side, 256, &text, &ignored) == LAMINA_OK && text.len > 1 &&
        text.ptr[text.len - 1] == '\n' && text.ptr[0] != '.' && memchr(text.ptr, '/', text.len) == NULL &&
        memchr(text.ptr, 0, text.len) == NULL) {
        (void)snprintf(out, len, "%.*s", (int)(text.len - 1), text.ptr);
    }
    str_drop(&text);
}

/* ---- removing the store of a checkpoint as it was before ---- */

struct removal {
    char dir[STORE_PATH_LEN];
    lamina_status status;
};

static bool remove_name(void *user, const char *name) {
    struct removal *r = user;
    char path[STORE_PATH_LEN];
    struct lamina_error ignored = {0};
    if (store_join(path, sizeof(path), r->dir, name)) {
        (void)sys_remove(path, &ignored); /* a directory stays for store_remove */
    }
    return true;
}

/* The manifest first: from then on it is no store. */
lamina_status store_remove(const char *store, struct lamina_error *err) {
    static const char *const parts[] = {"lamina.json", "layers", ("tokenizer/" STORE_TEMPLATES_DIR), "tokenizer", ""};
    struct sys_lock lock = {.fd = -1};
    char lock_path[STORE_PATH_LEN];
    lamina_status status = LAMINA_OK;
    if (strlen(store) + 8 > sizeof(lock_path)) {
        return base_fail(err, LAMINA_USAGE, "the path %.200s... is too long", store);
    }
    if (!store_is_store(store)) {
        return base_fail(err, LAMINA_NOT_FOUND, "%s is no store (no lamina.json)", store);
    }
    (void)snprintf(lock_path, sizeof(lock_path), "%.*s.lock", STORE_PATH_LEN - 8, store);
    LAMINA_TRY(sys_lock_take(&lock, lock_path, false, err));
    for (size_t i = 0; status == LAMINA_OK && i < ARRAY_LEN(parts); i++) {
        struct removal r = {.status = LAMINA_OK};
        if (!store_join(r.dir, sizeof(r.dir), store, parts[i]) || !sys_exists(r.dir)) {
            continue;
        }
        if (i == 0) {
            status = sys_remove(r.dir, err);
            if (status == LAMINA_OK) {
                status = sys_dir_sync(store, err);
            }
            continue;
        }
        status = sys_list_dir(r.dir, remove_name, &r, err);
        if (status == LAMINA_OK) {
            status = sys_remove_dir(r.dir, err);
        }
    }
    struct lamina_error ignored = {0};
    (void)sys_remove(lock_path, &ignored);
    sys_lock_drop(&lock);
    return status;
}

/* Whatever of an old store cannot be removed is left; it is only space. */
static void remove_before(const char *home, const char *name) {
    struct lamina_error ignored = {0};
    char store[STORE_PATH_LEN];
    if (store_join(store, sizeof(store), home, name)) {
        (void)store_remove(store, &ignored);
    }
}

static lamina_status make_current(const char *home, const struct place *p, struct lamina_error *err) {
    char before[256];
    char line[200];
    current_store(p, before, sizeof(before));
    if (strcmp(before, p->name) == 0) {
        return LAMINA_OK;
    }
    int n = snprintf(line, sizeof(line), "%s\n", p->name);
    LAMINA_TRY(sys_write_whole_durable(p->side, span_of(line, (size_t)n), err));
    if (before[0] != 0) {
        remove_before(home, before);
    }
    return LAMINA_OK;
}

/* ---- locate ---- */

struct forward {
    const struct lamina_callbacks *callbacks;
};

static void say(void *user, int level, const char *text) {
    const struct forward *f = user;
    if (f->callbacks != NULL && f->callbacks->log != NULL) {
        f->callbacks->log(f->callbacks->user, level, text);
    }
}

static lamina_status split_here(const char *checkpoint, const struct place *p, const char *codec,
                                const struct lamina_callbacks *callbacks, struct lamina_error *err) {
    struct forward forward = {.callbacks = callbacks};
    struct log_sink log = {.say = say, .user = &forward};
    struct store_split_options o = {.checkpoint = checkpoint,
                                    .output = p->store,
                                    .codec = codec,
                                    .wait_for_lock = true,
                                    .callbacks = callbacks,
                                    .log = &log};
    return store_split(&o, err);
}

static lamina_status answer(const char *path, struct str *out, struct lamina_error *err) {
    str_add_text(out, path);
    return out->failed ? base_fail(err, LAMINA_NO_FIT, "out of memory") : LAMINA_OK;
}

/* A checkpoint whose weights were freed into its store: the side file still knows. */
static lamina_status without_weights(const char *home, const char *real, const char *codec, struct str *out,
                                     struct lamina_error *err) {
    struct str none = {0};
    struct place p;
    char name[256];
    char store[STORE_PATH_LEN];
    LAMINA_TRY(make_place(home, real, codec, &none, &p, err));
    current_store(&p, name, sizeof(name));
    if (name[0] != 0 && store_join(store, sizeof(store), home, name) && store_is_store(store)) {
        return answer(store, out, err);
    }
    return LAMINA_NOT_FOUND;
}

/* The path that a checkpoint has whoever asks: that of its directory without links, and the name of a GGUF file in it as it is,
 * since what a cache links it to has no name. */
static lamina_status true_path(const struct source_path *where, struct str *real, struct lamina_error *err) {
    LAMINA_TRY(sys_real_path(where->dir, real, err));
    if (where->file[0] != 0) {
        str_printf(real, "/%s", where->file);
    }
    return real->failed ? base_fail(err, LAMINA_NO_FIT, "out of memory") : LAMINA_OK;
}

/* The codecs that a store may have for a caller who named `codec`, or none: then any exact one, the default first. */
static size_t codecs_for(const char *codec, const char *list[2]) {
    list[0] = codec != NULL ? codec : STORE_CODEC_DEFAULT;
    list[1] = "raw";
    return codec != NULL ? 1 : 2;
}

/* The finished store of the checkpoint as it is now; NOT_FOUND: none. *p is the place for a new one. */
static lamina_status find_store(const char *home, const char *real, const char *codec, const struct str *stats, struct place *p,
                                struct str *out, struct lamina_error *err) {
    const char *codecs[2];
    size_t count = codecs_for(codec, codecs);
    for (size_t i = 0; i < count; i++) {
        struct place other;
        LAMINA_TRY(make_place(home, real, codecs[i], stats, &other, err));
        if (store_is_store(other.store)) {
            return answer(other.store, out, err);
        }
    }
    LAMINA_TRY(make_place(home, real, codecs[0], stats, p, err));
    return LAMINA_NOT_FOUND;
}

static lamina_status of_checkpoint(const char *model, const struct source_path *where, const char *home, const char *codec,
                                   bool split_if_needed, const struct lamina_callbacks *callbacks, struct str *out,
                                   struct lamina_error *err) {
    struct str real = {0};
    struct str stats = {0};
    struct place p;
    struct lamina_error why = {0};
    lamina_status status = true_path(where, &real, err);
    if (status < 0) {
        goto done;
    }
    status = checkpoint_stat_text(where, &stats, &why);
    if (status < 0) {
        const char *codecs[2];
        size_t count = codecs_for(codec, codecs);
        lamina_status found = LAMINA_NOT_FOUND;
        for (size_t i = 0; i < count && found != LAMINA_OK; i++) {
            found = without_weights(home, str_text(&real), codecs[i], out, err);
        }
        status = found == LAMINA_OK ? LAMINA_OK : base_fail(err, status, "%s", why.message);
        goto done;
    }
    status = find_store(home, str_text(&real), codec, &stats, &p, out, err);
    if (status == LAMINA_NOT_FOUND && !split_if_needed) {
        status = base_fail(err, LAMINA_NOT_FOUND, "%s has not been split yet (its store would be %s)", model, p.store);
    } else if (status == LAMINA_NOT_FOUND) {
        status = split_here(str_text(&real), &p, codec != NULL ? codec : STORE_CODEC_DEFAULT, callbacks, err);
        if (status == LAMINA_OK) {
            status = make_current(home, &p, err);
        }
        if (status == LAMINA_OK) {
            status = answer(p.store, out, err);
        }
    }
done:
    str_drop(&real);
    str_drop(&stats);
    return status;
}

lamina_status store_locate(const char *model, const char *home, const char *codec, bool split_if_needed,
                           const struct lamina_callbacks *callbacks, struct str *store_path, struct lamina_error *err) {
    char config[STORE_PATH_LEN];
    struct source_path where;
    if (store_is_store(model)) {
        return answer(model, store_path, err);
    }
    LAMINA_TRY(source_path_find(model, NULL, &where, err));
    if (!sys_exists(where.dir) || (where.file[0] == 0 && !sys_exists(model))) {
        return base_fail(err, LAMINA_NOT_FOUND,
                         "%s does not exist: a store, a checkpoint directory (config.json and weights) or a GGUF file is expected",
                         model);
    }
    if (where.file[0] == 0 && (!store_join(config, sizeof(config), model, "config.json") || !sys_exists(config))) {
        return base_fail(err, LAMINA_NOT_FOUND,
                         "%s is neither a store (no lamina.json) nor a checkpoint (no config.json, no GGUF file)", model);
    }
    return of_checkpoint(model, &where, home, codec, split_if_needed, callbacks, store_path, err);
}
