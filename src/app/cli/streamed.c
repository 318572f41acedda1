/* SPDX-License-Identifier: Apache-2.0
 *
 * --stream: the checkpoint is split while it comes and never lies on the drive as a whole. The hub's room fetches and proves the
 * bytes, the library splits them; here the one is handed to the other, the room on the drive is looked at before anything of size
 * comes, and what came of it gets the name by which later runs find it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "app/cli/hub_words.h"
#include "app/cli/streamed.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/status.h"

enum { LEAST_PIECE = 64 << 10, MOST_WEIGHT_FILES = 4096 };

struct streaming {
    const struct cli_options *o;
    const struct hub_env *env;
    struct hub_pull pull;
    struct hub_pulled pulled;
    struct hub_file **weights;
    struct lamina_arriving_file *files;
    uint32_t count;
    struct hub_stream *stream;
    struct lamina_arriving arriving;
    const char *codec;
    struct str store;
    struct cli_progress progress;
    struct lamina_callbacks callbacks;
};

/* ---- names ---- */

static void store_path(const char *home, const struct hub_name *name, const char *commit, const char *codec, struct str *out) {
    struct str text = {0};
    const char *slash = strrchr(name->id, '/');
    str_printf(&text, "hub\n%s\n%s\n%s\n", name->id, commit, codec);
    str_printf(out, "%s/%s-%016llx", home, slash != NULL ? slash + 1 : name->id,
               (unsigned long long)hash_xxh3_64(str_text(&text), text.len));
    out->failed = out->failed || text.failed;
    str_drop(&text);
}

static bool is_store(const char *path) {
    struct str manifest = {0};
    str_printf(&manifest, "%s/lamina.json", path);
    bool there = !manifest.failed && access(str_text(&manifest), F_OK) == 0;
    str_drop(&manifest);
    return there;
}

lamina_status cli_stream_find(const char *home, const struct hub_env *env, const struct hub_name *name, struct str *store) {
    static const char *const first[] = {"planes", "raw", "q8", "q4"};
    char commit[HUB_COMMIT_LEN + 1];
    struct lamina_error none = {0};
    if (home == NULL || hub_revision_get(env, name, commit, &none) < 0) {
        return LAMINA_NOT_FOUND;
    }
    for (unsigned i = 0; i < ARRAY_LEN(first) + 601; i++) {
        char codec[16];
        struct str path = {0};
        const unsigned bits = 800 - (i - (unsigned)ARRAY_LEN(first));
        if (i < ARRAY_LEN(first)) {
            (void)snprintf(codec, sizeof(codec), "%s", first[i]);
        } else {
            (void)snprintf(codec, sizeof(codec), "q%u.%02u", bits / 100, bits % 100);
        }
        store_path(home, name, commit, codec, &path);
        if (!path.failed && is_store(str_text(&path))) {
            str_add_span(store, str_span(&path));
            str_drop(&path);
            return LAMINA_OK;
        }
        str_drop(&path);
    }
    return LAMINA_NOT_FOUND;
}

bool cli_stream_model(const char *home, const char *store, struct str *model) {
    struct str path = {0};
    struct str text = {0};
    struct str scratch = {0};
    struct json_reader r;
    struct span key;
    struct lamina_error none = {0};
    str_printf(&path, "%s/%s.hub", home, store);
    if (path.failed || access(str_text(&path), R_OK) != 0 || cli_read_file(str_text(&path), &text, &none) < 0) {
        str_drop(&path);
        str_drop(&text);
        return false;
    }
    json_init(&r, str_span(&text), str_text(&path), &scratch, &none);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        if (span_is(key, "model")) {
            (void)json_string(&r, model);
        } else {
            (void)json_skip(&r);
        }
    }
    bool good = json_finish(&r) == LAMINA_OK && model->len > 0 && !model->failed;
    str_drop(&path);
    str_drop(&text);
    str_drop(&scratch);
    return good;
}

void cli_stream_forget(const char *home, const char *store) {
    struct str path = {0};
    str_printf(&path, "%s/%s.hub", home, store);
    if (!path.failed) {
        (void)unlink(str_text(&path));
    }
    str_drop(&path);
}

/* ---- between the library and the hub's room ---- */

static lamina_status on_read(void *user, uint32_t file, uint64_t offset, void *dst, size_t len, bool look,
                             struct lamina_error *err) {
    const struct streaming *s = user;
    return hub_stream_read(s->stream, file, offset, dst, len, look, err);
}

static lamina_status on_release(void *user, uint32_t file, uint64_t begin, uint64_t end, struct lamina_error *err) {
    const struct streaming *s = user;
    return hub_stream_release(s->stream, file, begin, end, err);
}

static lamina_status on_sync(void *user, struct lamina_error *err) {
    const struct streaming *s = user;
    return hub_stream_sync(s->stream, err);
}

static lamina_status on_digest(void *user, uint32_t file, uint32_t piece, uint8_t sha256[32], struct lamina_error *err) {
    const struct streaming *s = user;
    return hub_stream_digest(s->stream, file, piece, sha256, err);
}

static bool free_bytes(const char *path, dev_t *device, uint64_t *bytes) {
    struct str at = {0};
    struct stat st;
    struct statvfs v;
    cli_nearest_folder(&at, path);
    bool good = !at.failed && stat(str_text(&at), &st) == 0 && statvfs(str_text(&at), &v) == 0;
    if (good) {
        *device = st.st_dev;
        *bytes = (uint64_t)v.f_bavail * v.f_frsize;
    }
    str_drop(&at);
    return good;
}

static lamina_status on_planned(void *user, uint64_t most, uint64_t store, struct lamina_error *err) {
    const struct streaming *s = user;
    char a[32];
    char b[32];
    dev_t cache_device = 0;
    dev_t home_device = 0;
    uint64_t cache_free = 0;
    uint64_t home_free = 0;
    if (!s->o->quiet) {
        cli_say(1, "%s takes at most %s on the drive while it comes, its store about %s", s->pull.name.id, format_bytes(a, most),
                format_bytes(b, store));
    }
    if (!free_bytes(s->o->home, &home_device, &home_free) || !free_bytes(str_text(&s->env->cache), &cache_device, &cache_free)) {
        return LAMINA_OK; /* whoever writes there says what is wrong */
    }
    home_free += cli_tree_bytes(str_text(&s->store));
    cache_free += hub_stream_allocated(s->stream);
    uint64_t source = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        source += s->weights[i]->size;
    }
    const bool one = home_device == cache_device;
    const uint64_t coming = source < s->arriving.window_bytes ? source : s->arriving.window_bytes; /* at the beginning */
    const uint64_t in_cache = coming > most - store ? coming : most - store;
    const uint64_t need = one ? most : store;
    const uint64_t have = one ? home_free + hub_stream_allocated(s->stream) : home_free;
    if (have < need) {
        return base_fail(err, LAMINA_NO_SPACE,
                         "%s needs %s on the drive of %s, %s are free; make room, or set LAMINA_HOME to another drive",
                         s->pull.name.id, format_bytes(a, need), s->o->home, format_bytes(b, have));
    }
    if (!one && cache_free < in_cache) {
        return base_fail(err, LAMINA_NO_SPACE,
                         "%s needs %s on the drive of %s while it comes, %s are free; make room, or set HF_HUB_CACHE to another "
                         "drive",
                         s->pull.name.id, format_bytes(a, in_cache), str_text(&s->env->cache), format_bytes(b, cache_free));
    }
    return LAMINA_OK;
}

/* ---- one pull ---- */

static lamina_status take_weights(struct streaming *s, bool *all_cached, struct lamina_error *err) {
    const struct hub_listing *l = &s->pulled.listing;
    s->weights = calloc((size_t)l->count + 1, sizeof(struct hub_file *));
    s->files = calloc((size_t)l->count + 1, sizeof(*s->files));
    *all_cached = true;
    if (s->weights == NULL || s->files == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory");
    }
    for (uint32_t i = 0; i < l->count; i++) {
        struct hub_file *f = &l->files[i];
        if (!f->chosen || !hub_is_weights(f->path)) {
            continue;
        }
        if (!span_ends_with(span_of_text(f->path), ".safetensors")) {
            return base_fail(err, LAMINA_UNSUPPORTED, "%s: --stream splits safetensors files only, %s is none; pull it without",
                             s->pull.name.id, f->path);
        }
        *all_cached = *all_cached && f->cached;
        s->weights[s->count++] = f;
    }
    return s->count > 0 ? LAMINA_OK : base_fail(err, LAMINA_NOT_FOUND, "%s holds no weights to split", s->pull.name.id);
}

/* Small models get small pieces, so that what is on its way stays a small part of them. */
static void choose_window(struct streaming *s, uint64_t *window) {
    uint64_t total = 0;
    uint64_t piece = LEAST_PIECE;
    for (uint32_t i = 0; i < s->count; i++) {
        total += s->weights[i]->size;
    }
    while (piece < s->pull.piece_bytes && piece < total / 1024) {
        piece *= 2;
    }
    s->pull.piece_bytes = s->o->piece != 0 && s->o->piece < piece ? s->o->piece : piece;
    *window = (uint64_t)(s->pull.connections > 0 ? s->pull.connections : 1) * s->pull.piece_bytes;
}

static lamina_status open_stream(struct streaming *s, struct lamina_error *err) {
    struct hub_stream_options options = {
        .pull = &s->pull, .commit = s->pulled.listing.commit, .files = s->weights, .count = s->count};
    choose_window(s, &options.window_bytes);
    LAMINA_TRY(hub_stream_open(&s->stream, &options, err));
    for (uint32_t i = 0; i < s->count; i++) {
        s->files[i] = (struct lamina_arriving_file){
            .name = s->weights[i]->path, .identity = hub_stream_identity(s->stream, i), .size = s->weights[i]->size};
    }
    s->arriving = (struct lamina_arriving){
        .size = sizeof(s->arriving), .user = s, .files = s->files, .file_count = s->count,
        .window_bytes = options.window_bytes + (s->count + 2) * s->pull.piece_bytes,
        .read = on_read, .release = on_release, .sync = on_sync, .planned = on_planned, .digest = on_digest};
    return LAMINA_OK;
}

static lamina_status write_name(const struct streaming *s, struct lamina_error *err) {
    struct str text = {0};
    struct str path = {0};
    str_add_text(&text, "{\"model\": ");
    json_write_string(&text, span_of_text(s->pull.name.id));
    str_add_text(&text, ", \"revision\": ");
    json_write_string(&text, span_of_text(s->pull.name.revision));
    str_printf(&text, ", \"commit\": \"%s\", \"codec\": \"%s\", \"files\": [", s->pulled.listing.commit, s->codec);
    for (uint32_t i = 0; i < s->count; i++) {
        str_add_text(&text, i > 0 ? ", {\"path\": " : "{\"path\": ");
        json_write_string(&text, span_of_text(s->weights[i]->path));
        str_printf(&text, ", \"bytes\": %llu, \"sha256\": \"%s\"}", (unsigned long long)s->weights[i]->size, s->weights[i]->etag);
    }
    str_add_text(&text, "]}\n");
    str_printf(&path, "%s.hub", str_text(&s->store));
    lamina_status status = path.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory")
                                       : cli_put_file(str_text(&path), &text, 0644, err);
    str_drop(&text);
    str_drop(&path);
    return status;
}

static lamina_status split(struct streaming *s, struct lamina_error *err) {
    struct lamina_split_options options;
    LAMINA_TRY(open_stream(s, err));
    lamina_split_defaults(&options);
    options.checkpoint = str_text(&s->pulled.snapshot);
    options.arriving = &s->arriving;
    options.output = str_text(&s->store);
    options.home = s->o->home;
    options.codec = s->codec;
    options.callbacks = s->callbacks;
    lamina_status status = lamina_split(&options, NULL, err);
    cli_progress_clear(&s->progress);
    if (status == LAMINA_DAMAGED) { /* the split has thrown away what was made of it; now the bytes */
        hub_stream_close(&s->stream, true);
    }
    return status;
}

/* What is in the cache as a whole is kept there, and split where every later command looks for its store. */
static lamina_status split_cached(struct streaming *s, struct str *out, struct lamina_error *err) {
    struct lamina_split_options options;
    char *store = NULL;
    for (uint32_t i = 0; i < s->count; i++) {
        hub_stream_forget(s->env, s->pull.name.id, s->weights[i]);
    }
    s->count = 0;
    s->pull.without_weights = false;
    hub_pulled_drop(&s->pulled);
    LAMINA_TRY(hub_pull(&s->pull, &s->pulled, err));
    if (!s->o->quiet) {
        cli_say(1, "%s is in the cache as a whole; nothing is left to stream, it is split from there", s->pull.name.id);
    }
    lamina_split_defaults(&options);
    options.checkpoint = str_text(&s->pulled.model);
    options.home = s->o->home;
    options.codec = s->codec;
    options.callbacks = s->callbacks;
    LAMINA_TRY(lamina_split(&options, &store, err));
    str_add_text(out, store);
    lamina_free(store);
    return out->failed ? base_fail(err, LAMINA_NO_FIT, "out of memory") : LAMINA_OK;
}

static lamina_status pull(struct streaming *s, struct str *out, struct lamina_error *err) {
    bool all_cached = false;
    LAMINA_TRY(hub_pull(&s->pull, &s->pulled, err));
    cli_progress_clear(&s->progress);
    LAMINA_TRY(take_weights(s, &all_cached, err));
    store_path(s->o->home, &s->pull.name, s->pulled.listing.commit, s->codec, &s->store);
    if (s->store.failed) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory");
    }
    if (all_cached && !is_store(str_text(&s->store))) {
        return split_cached(s, out, err);
    }
    if (!is_store(str_text(&s->store))) {
        LAMINA_TRY(split(s, err));
    }
    LAMINA_TRY(write_name(s, err));
    LAMINA_TRY(hub_revision_set(s->env, &s->pull.name, s->pulled.listing.commit, err));
    hub_stream_close(&s->stream, true);
    for (uint32_t i = 0; i < s->count; i++) { /* of a run that was killed when all was done but this */
        hub_stream_forget(s->env, s->pull.name.id, s->weights[i]);
    }
    str_add_span(out, str_span(&s->store));
    return out->failed ? base_fail(err, LAMINA_NO_FIT, "out of memory") : LAMINA_OK;
}

lamina_status cli_stream_pull(const struct cli_options *o, const struct hub_env *env, const struct hub_name *name,
                              const char *codec, struct str *store, struct lamina_error *err) {
    if (o->home == NULL) {
        return base_fail(err, LAMINA_USAGE, "there is no place for stores; set LAMINA_HOME");
    }
    struct streaming *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory");
    }
    s->o = o;
    s->env = env;
    s->codec = codec;
    cli_progress_init(&s->progress, o, &s->callbacks);
    s->pull = (struct hub_pull){.env = env, .name = *name, .connections = o->connections, .without_weights = true,
                                .piece_bytes = HUB_PIECE_BYTES,
                                .watch = {.log = s->callbacks.log, .progress = cli_hub_progress, .user = &s->progress}};
    lamina_status status = pull(s, store, err);
    hub_stream_close(&s->stream, false);
    cli_progress_clear(&s->progress);
    hub_pulled_drop(&s->pulled);
    str_drop(&s->store);
    free(s->weights);
    free(s->files);
    free(s);
    return status;
}
