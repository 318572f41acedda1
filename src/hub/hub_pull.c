/* SPDX-License-Identifier: Apache-2.0
 *
 * A pull from beginning to end: which commit a revision is, which files it holds, which of them are wanted, which are in the cache
 * already, whether the rest fits on the drive; then the transfers, the links of the snapshot, and last the ref that makes it
 * visible by its revision's name. What was not announced by the hub is not fetched, and what comes must be what was announced. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/hub_priv.h"

enum { LISTING_MAX = 64 << 20, INDEX_MAX = 64 << 20, LEAST_PIECE = 4096 };

struct pulling {
    const struct hub_pull *p;
    struct hub_pulled *out;
    struct hub_http *http;
    struct lamina_error *err;
};

static lamina_status file_url(const struct pulling *g, const char *path, struct str *url) {
    return hub_resolve_url(g->p->env, g->p->name.id, g->out->listing.commit, path, url, g->err);
}

static lamina_status fetch_listing(struct pulling *g) {
    struct str url = {0};
    struct str body = {0};
    struct hub_headers h;
    str_printf(&url, "%s/api/models/%s/revision/", str_text(&g->p->env->endpoint), g->p->name.id);
    hub_url_add(&url, g->p->name.revision, false);
    str_add_text(&url, "?blobs=true");
    lamina_status status = url.failed ? base_fail(g->err, LAMINA_NO_FIT, "out of memory")
                                      : hub_http_fetch(g->http, str_text(&url), LISTING_MAX, &body, &h, g->err);
    if (status == LAMINA_OK && h.status != 200) {
        status = hub_headers_refuse(&h, g->p->env, g->p->name.id, g->p->name.revision, g->p->name.id, g->err);
    }
    if (status == LAMINA_OK) {
        status = hub_listing_parse(str_span(&body), str_text(&url), &g->out->listing, g->err);
    }
    if (status == LAMINA_OK && hub_is_commit(g->p->name.revision) && strcmp(g->p->name.revision, g->out->listing.commit) != 0) {
        status = base_fail(g->err, LAMINA_DAMAGED, "%s: commit %s was asked for, the hub lists %s", g->p->name.id,
                           g->p->name.revision, g->out->listing.commit);
    }
    str_drop(&url);
    str_drop(&body);
    return status;
}

/* A hub that lists names alone tells checksum and size when it is asked for the file. */
static lamina_status ask_about(struct pulling *g, struct hub_file *f) {
    struct str url = {0};
    struct hub_headers h;
    lamina_status status = file_url(g, f->path, &url);
    if (status == LAMINA_OK) {
        status = hub_http_fetch(g->http, str_text(&url), 0, NULL, &h, g->err);
    }
    if (status == LAMINA_OK && h.status >= 400) {
        status = hub_headers_refuse(&h, g->p->env, g->p->name.id, g->out->listing.commit, f->path, g->err);
    } else if (status == LAMINA_OK && (h.etag[0] == 0 || !h.has_size)) {
        status = base_fail(g->err, LAMINA_DAMAGED,
                           "%s: the server names neither checksum nor size of %s; is HF_ENDPOINT the address of a hub?",
                           g->p->name.id, f->path);
    }
    if (status == LAMINA_OK) {
        memcpy(f->etag, h.etag, sizeof(f->etag));
        f->size = h.size;
    }
    str_drop(&url);
    return status;
}

/* The text of the weights' index, from the cache or from the hub: it says which shards there are. */
static lamina_status fetch_index(struct pulling *g, struct str *text) {
    const char *name = g->p->patterns.include_count == 0 ? hub_select_index(&g->out->listing) : NULL;
    struct hub_file *f = name != NULL ? hub_listing_find(&g->out->listing, name) : NULL;
    char place[HUB_PATH_LEN];
    struct str url = {0};
    struct hub_headers h;
    if (f == NULL) {
        return LAMINA_OK;
    }
    if (f->etag[0] != 0 && hub_file_there(g->p->env, g->p->name.id, g->out->listing.commit, f, place)) {
        return sys_read_whole(place, INDEX_MAX, text, g->err);
    }
    lamina_status status = file_url(g, name, &url);
    if (status == LAMINA_OK) {
        status = hub_http_fetch(g->http, str_text(&url), INDEX_MAX, text, &h, g->err);
    }
    if (status == LAMINA_OK && h.status != 200) {
        status = hub_headers_refuse(&h, g->p->env, g->p->name.id, g->out->listing.commit, name, g->err);
    }
    str_drop(&url);
    return status;
}

static lamina_status choose(struct pulling *g) {
    struct hub_listing *l = &g->out->listing;
    char place[HUB_PATH_LEN];
    struct str index = {0};
    lamina_status status = fetch_index(g, &index);
    if (status == LAMINA_OK) {
        status = hub_select(l, &g->p->patterns, str_span(&index), g->p->name.id, g->err);
    }
    str_drop(&index);
    for (uint32_t i = 0; status == LAMINA_OK && i < l->count; i++) {
        struct hub_file *f = &l->files[i];
        if (!f->chosen) {
            continue;
        }
        status = f->etag[0] == 0 ? ask_about(g, f) : LAMINA_OK;
        if (status < 0) {
            break;
        }
        f->cached = hub_file_there(g->p->env, g->p->name.id, l->commit, f, place);
        g->out->chosen_bytes += f->size;
        g->out->cached_bytes += f->cached ? f->size : 0;
        g->out->weight_bytes += hub_is_weights(f->path) ? f->size : 0;
        const bool comes = !f->cached && !(g->p->without_weights && hub_is_weights(f->path));
        g->out->need_bytes += comes ? hub_part_need(g->p->env, g->p->name.id, f) : 0;
    }
    g->out->fetch_bytes = g->out->chosen_bytes - g->out->cached_bytes;
    return status;
}

/* The nearest folder that exists, itself or above: where a path to be made will lie. */
static void existing(const char *path, char out[HUB_PATH_LEN]) {
    (void)snprintf(out, HUB_PATH_LEN, "%s", path);
    while (!sys_exists(out)) {
        char *slash = strrchr(out, '/');
        if (slash == NULL || slash == out) {
            (void)snprintf(out, HUB_PATH_LEN, "%s", slash == out ? "/" : ".");
            return;
        }
        *slash = 0;
    }
}

static lamina_status check_space(struct pulling *g) {
    char cache[HUB_PATH_LEN];
    char home[HUB_PATH_LEN];
    char need[32];
    char left[32];
    char store[64] = "";
    struct sys_stat a;
    struct sys_stat b;
    uint64_t store_bytes = 0;
    existing(str_text(&g->p->env->cache), cache);
    if (g->p->store_home != NULL) {
        existing(g->p->store_home, home);
        LAMINA_TRY(sys_stat(cache, &a, g->err));
        LAMINA_TRY(sys_stat(home, &b, g->err));
        store_bytes = a.device == b.device ? g->out->weight_bytes : 0; /* elsewhere the split looks for itself */
    }
    LAMINA_TRY(sys_disk_free(cache, &g->out->free_bytes, g->err));
    g->out->need_bytes += store_bytes;
    if (g->p->dry_run || g->out->free_bytes >= g->out->need_bytes) {
        return LAMINA_OK;
    }
    if (store_bytes > 0) {
        (void)snprintf(store, sizeof(store), " (of these %s for the store)", format_bytes(need, store_bytes));
    }
    return base_fail(g->err, LAMINA_NO_SPACE,
                     "%s needs %s%s on the drive of %s, %s are free; make room, or set HF_HUB_CACHE to another drive",
                     g->p->name.id, format_bytes(need, g->out->need_bytes), store, str_text(&g->p->env->cache),
                     format_bytes(left, g->out->free_bytes));
}

static bool same_blob_before(struct hub_file *const *files, uint32_t count, const struct hub_file *f) {
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(files[i]->etag, f->etag) == 0) {
            return true;
        }
    }
    return false;
}

/* Small files first: while the weights come, and if they never do, the model can be looked at. */
static lamina_status fetch_files(struct pulling *g) {
    struct hub_listing *l = &g->out->listing;
    struct hub_file **files = calloc((size_t)l->count + 1, sizeof(struct hub_file *));
    struct hub_transfer_job job = {.http = g->http, .pull = g->p, .commit = l->commit, .files = files};
    if (files == NULL) {
        return base_fail(g->err, LAMINA_NO_FIT, "out of memory");
    }
    for (int weights = 0; weights < (g->p->without_weights ? 1 : 2); weights++) {
        for (uint32_t i = 0; i < l->count; i++) {
            struct hub_file *f = &l->files[i];
            if (f->chosen && !f->cached && hub_is_weights(f->path) == (weights == 1) && !same_blob_before(files, job.count, f)) {
                files[job.count++] = f;
            }
        }
    }
    lamina_status status = job.count > 0 ? hub_transfer(&job, g->err) : LAMINA_OK;
    free(files);
    return status;
}

static bool is_published(const struct pulling *g, const struct hub_file *f) {
    return f->chosen && !(g->p->without_weights && hub_is_weights(f->path));
}

static bool same_blob_behind(const struct pulling *g, uint32_t file) {
    const struct hub_listing *l = &g->out->listing;
    for (uint32_t i = file + 1; i < l->count; i++) {
        if (is_published(g, &l->files[i]) && strcmp(l->files[i].etag, l->files[file].etag) == 0) {
            return true;
        }
    }
    return false;
}

static lamina_status publish(struct pulling *g) {
    const struct hub_listing *l = &g->out->listing;
    for (uint32_t i = 0; i < l->count; i++) {
        if (is_published(g, &l->files[i])) {
            hub_part_forget(g->p->env, g->p->name.id, &l->files[i]);
            LAMINA_TRY(hub_snapshot_link(g->p->env, g->p->name.id, l->commit, &l->files[i], !same_blob_behind(g, i), g->err));
        }
    }
    return g->p->without_weights ? LAMINA_OK : hub_ref_write(g->p->env, &g->p->name, l->commit, g->err);
}

lamina_status hub_revision_set(const struct hub_env *env, const struct hub_name *name, const char *commit,
                               struct lamina_error *err) {
    return hub_ref_write(env, name, commit, err);
}

lamina_status hub_revision_get(const struct hub_env *env, const struct hub_name *name, char commit[HUB_COMMIT_LEN + 1],
                               struct lamina_error *err) {
    return hub_ref_read(env, name, commit, err);
}

static lamina_status pull(struct pulling *g) {
    char part[64];
    char path[HUB_PATH_LEN];
    LAMINA_TRY(fetch_listing(g));
    LAMINA_TRY(choose(g));
    LAMINA_TRY(check_space(g));
    (void)snprintf(part, sizeof(part), "snapshots/%s", g->out->listing.commit);
    LAMINA_TRY(hub_cache_path(g->p->env, g->p->name.id, part, NULL, path, g->err));
    str_add_text(&g->out->snapshot, path);
    const char *inner = hub_select_inner(&g->out->listing);
    str_printf(&g->out->model, "%s%s%s", path, inner != NULL ? "/" : "", inner != NULL ? inner : "");
    if (g->out->snapshot.failed || g->out->model.failed) {
        return base_fail(g->err, LAMINA_NO_FIT, "out of memory");
    }
    if (g->p->dry_run) {
        return LAMINA_OK;
    }
    LAMINA_TRY(hub_cache_prepare(g->p->env, g->p->name.id, g->err));
    LAMINA_TRY(fetch_files(g));
    return publish(g);
}

lamina_status hub_pull(const struct hub_pull *p, struct hub_pulled *out, struct lamina_error *err) {
    struct pulling g = {.p = p, .out = out, .err = err};
    *out = (struct hub_pulled){.fetch_bytes = 0};
    if (p->env->offline) {
        return base_fail(err, LAMINA_NETWORK, "%s: HF_HUB_OFFLINE is set, so nothing is fetched; unset it to pull", p->name.id);
    }
    if (p->piece_bytes < LEAST_PIECE) {
        return base_fail(err, LAMINA_USAGE, "pieces of %" PRIu64 " bytes are too small; take %d or more", p->piece_bytes,
                         LEAST_PIECE);
    }
    LAMINA_TRY(hub_http_open(&g.http, p->env, &p->watch, err));
    lamina_status status = pull(&g);
    hub_http_close(&g.http);
    return status;
}

void hub_pulled_drop(struct hub_pulled *out) {
    hub_listing_drop(&out->listing);
    str_drop(&out->snapshot);
    str_drop(&out->model);
}
