/* SPDX-License-Identifier: Apache-2.0
 *
 * The hub's answer to GET /api/models/ID/revision/REV?blobs=true: the commit, and of each file its path, size and the name of its
 * blob. Of a big file (LFS) that is the SHA-256 of its bytes, of a small one git's SHA-1. A parser that owns nothing but its
 * arena; the answer may be anything. */
#include <string.h>

#include "base/json.h"
#include "hub/hub_priv.h"

enum { MOST_FILES = 1 << 17, LISTING_MEMORY = 1 << 20 };
static const uint64_t most_file_bytes = (uint64_t)1 << 44;

/* The files so far; they move into one array when it grows. */
struct reading {
    struct json_reader r;
    struct hub_listing *out;
    uint32_t cap;
    struct str text;
};

static struct hub_file *one_more(struct reading *g) {
    struct hub_listing *l = g->out;
    if (l->count == g->cap) {
        uint32_t cap = g->cap > 0 ? g->cap * 2 : 64;
        struct hub_file *files = cap <= MOST_FILES ? arena_take_array(&l->arena, cap, sizeof(*files)) : NULL;
        if (files == NULL) {
            (void)json_refuse(&g->r, LAMINA_DAMAGED, "more files than a model can have");
            return NULL;
        }
        if (l->count > 0) {
            memcpy(files, l->files, l->count * sizeof(*files));
        }
        l->files = files;
        g->cap = cap;
    }
    return &l->files[l->count++];
}

static bool string_value(struct reading *g) {
    str_clear(&g->text);
    return json_string(&g->r, &g->text);
}

static void read_etag_value(struct reading *g, size_t digits, char out[HUB_ETAG_MAX + 1]) {
    if (json_null(&g->r) || !string_value(g)) {
        return;
    }
    if (g->text.len != digits || !hub_is_etag(str_span(&g->text))) {
        (void)json_refuse(&g->r, LAMINA_DAMAGED, "a checksum of %zu hex digits was expected", digits);
        return;
    }
    memcpy(out, g->text.ptr, digits + 1);
}

static void read_lfs(struct reading *g, char sha256[HUB_ETAG_MAX + 1], uint64_t *size) {
    struct span key;
    if (json_null(&g->r) || !json_enter_object(&g->r)) {
        return;
    }
    while (json_next_key(&g->r, &key)) {
        if (span_is(key, "sha256") || span_is(key, "oid")) {
            read_etag_value(g, 64, sha256);
        } else if (span_is(key, "size")) {
            (void)json_u64(&g->r, size);
        } else {
            (void)json_skip(&g->r);
        }
    }
}

static void read_sibling(struct reading *g) {
    struct hub_file file = {.path = NULL};
    char sha256[HUB_ETAG_MAX + 1] = "";
    uint64_t lfs_size = UINT64_MAX;
    struct span key;
    (void)json_enter_object(&g->r);
    while (json_next_key(&g->r, &key)) {
        if (span_is(key, "rfilename")) {
            if (string_value(g)) {
                if (!hub_path_safe(str_span(&g->text))) {
                    (void)json_refuse(&g->r, LAMINA_DAMAGED, "\"%.200s\" is no path inside a repository", str_text(&g->text));
                    return;
                }
                file.path = arena_copy_text(&g->out->arena, str_span(&g->text));
            }
        } else if (span_is(key, "size") && json_peek(&g->r) == JSON_NUMBER) {
            (void)json_u64(&g->r, &file.size);
        } else if (span_is(key, "blobId")) {
            read_etag_value(g, 40, file.etag);
        } else if (span_is(key, "lfs")) {
            read_lfs(g, sha256, &lfs_size);
        } else {
            (void)json_skip(&g->r);
        }
    }
    if (g->r.failed < 0) {
        return;
    }
    if (sha256[0] != 0) {
        memcpy(file.etag, sha256, sizeof(sha256));
        file.size = lfs_size != UINT64_MAX ? lfs_size : file.size;
    }
    if (file.path == NULL || file.size > most_file_bytes) {
        (void)json_refuse(&g->r, LAMINA_DAMAGED, file.path == NULL ? "a file has no name" : "%s has no possible size", file.path);
        return;
    }
    struct hub_file *to = one_more(g);
    if (to != NULL) {
        *to = file;
    }
}

lamina_status hub_listing_parse(struct span json, const char *name, struct hub_listing *out, struct lamina_error *err) {
    struct str scratch = {0};
    struct reading g = {.out = out, .text = {.limit = 1 << 16}};
    struct span key;
    *out = (struct hub_listing){.arena = {.limit_bytes = json.len * 16 + LISTING_MEMORY}};
    json_init(&g.r, json, name, &scratch, err);
    (void)json_enter_object(&g.r);
    while (json_next_key(&g.r, &key)) {
        if (span_is(key, "sha")) {
            if (string_value(&g) && g.text.len == HUB_COMMIT_LEN && hub_is_etag(str_span(&g.text))) {
                memcpy(out->commit, g.text.ptr, HUB_COMMIT_LEN + 1);
            }
        } else if (span_is(key, "siblings") && json_enter_array(&g.r)) {
            while (json_next_item(&g.r)) {
                read_sibling(&g);
            }
        } else {
            (void)json_skip(&g.r);
        }
    }
    lamina_status status = json_finish(&g.r);
    if (status == LAMINA_OK && out->commit[0] == 0) {
        status = base_fail(err, LAMINA_DAMAGED, "%s: the hub's answer names no commit; is HF_ENDPOINT the address of a hub?", name);
    }
    str_drop(&scratch);
    str_drop(&g.text);
    return status;
}

void hub_listing_drop(struct hub_listing *listing) {
    arena_drop(&listing->arena);
    *listing = (struct hub_listing){0};
}
