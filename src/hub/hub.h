/* SPDX-License-Identifier: Apache-2.0
 *
 * Models of a Hugging Face hub: what a repository holds, which of it a model needs, fetching that into the cache that Python's
 * huggingface_hub uses too, and finding it there again. For programs; the library reads directories and knows no network.
 *
 * A download is trusted only whole: bytes go into blobs/<etag>.lamina.incomplete beside a journal of finished pieces, and become
 * blobs/<etag> after their SHA-256 (or git's SHA-1) is what the hub announced. One thread at a time uses these calls; several
 * processes may pull the same repository, file locks as the Python client takes them keep them from fetching a file twice.
 */
#ifndef HUB_HUB_H
#define HUB_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "base/status.h"
#include "base/str.h"

enum { HUB_ID_MAX = 96, HUB_REVISION_MAX = 255, HUB_ETAG_MAX = 64, HUB_COMMIT_LEN = 40, HUB_PATH_LEN = 4096 };

/* "ORG/NAME" or "NAME", with "@revision" behind it or not ("main" then). */
struct hub_name {
    char id[HUB_ID_MAX + 1];
    char revision[HUB_REVISION_MAX + 1];
    bool has_owner; /* there is an "ORG/" */
};
/* USAGE when `text` is no such name, saying what is wrong with it. */
lamina_status hub_name_parse(const char *text, struct hub_name *out, struct lamina_error *err);

/* Where things are, from the variables that huggingface_hub knows. */
struct hub_env {
    struct str cache;    /* HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache/... */
    struct str token;    /* HF_TOKEN, HUGGING_FACE_HUB_TOKEN, or the token file; empty: none */
    struct str endpoint; /* HF_ENDPOINT, else the public hub; no slash at its end */
    struct str ca_file;  /* SSL_CERT_FILE and its cousins; empty: the system's */
    bool offline;        /* HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE */
    bool no_links;       /* HF_HUB_DISABLE_SYMLINKS: files lie in snapshots themselves, as where links cannot be made */
    uint32_t connect_s;  /* HF_HUB_ETAG_TIMEOUT: until a server answers */
    uint32_t stall_s;    /* HF_HUB_DOWNLOAD_TIMEOUT: without bytes until a connection counts as dead */
};
/* Drop also after a failure. USAGE when there is no place for a cache or the endpoint is no http(s) address. */
lamina_status hub_env_read(struct hub_env *env, struct lamina_error *err);
void hub_env_drop(struct hub_env *env);

/* ---- what a repository holds ---- */

struct hub_file {
    const char *path;             /* relative, safe: no "..", no empty part, not absolute */
    uint64_t size;
    char etag[HUB_ETAG_MAX + 1];  /* 64 hex: SHA-256 of the bytes; 40 hex: git's blob SHA-1; "": the hub did not say */
    bool chosen, cached;          /* filled by hub_select and hub_pull */
};
struct hub_listing {
    char commit[HUB_COMMIT_LEN + 1];
    struct hub_file *files;
    uint32_t count;
    struct arena arena;
};
/* The hub's answer to "which files", JSON. Pure. DAMAGED when it is not one or names a file outside its folder. */
lamina_status hub_listing_parse(struct span json, const char *name, struct hub_listing *out, struct lamina_error *err);
void hub_listing_drop(struct hub_listing *listing);

struct hub_patterns {
    const char *const *include; /* shell patterns over whole paths, * matches / too; none: what a model needs */
    uint32_t include_count;
    const char *const *exclude;
    uint32_t exclude_count;
};
bool hub_pattern_matches(const char *pattern, const char *path);
/* Is a listed file the index of the weights that a model of this listing would be read from? Its path, or NULL. */
const char *hub_select_index(const struct hub_listing *listing);
/* Marks what to fetch. `index`: text of the file that hub_select_index named, or empty. NOT_FOUND when nothing is left,
 * USAGE when there are several GGUF models to choose from. */
lamina_status hub_select(struct hub_listing *listing, const struct hub_patterns *patterns, struct span index, const char *id,
                         struct lamina_error *err);
bool hub_is_weights(const char *path);
/* The path of a part of the one GGUF model among the chosen files, when it lies in a folder, where nobody looks who is given the
 * folder above; else NULL. */
const char *hub_select_inner(const struct hub_listing *listing);

/* ---- the cache ---- */

/* Where `name` is when everything that a model needs is in the cache, whoever put it there: its snapshot, or the GGUF file in a
 * folder of it. NOT_FOUND says what is missing; *model is filled all the same when that is the tokenizer alone, which some
 * repositories do not have. USAGE: there are several to choose from. */
lamina_status hub_find(const struct hub_env *env, const struct hub_name *name, struct str *model, struct lamina_error *err);

struct hub_cached {
    const char *id;        /* valid during the call */
    const char *folder;    /* of the repository */
    const char *revisions; /* names of refs that point to snapshots, comma separated */
    uint64_t bytes;        /* on the drive */
    uint64_t partial_bytes;/* of these, in files not finished */
    uint32_t snapshots;
    bool complete;         /* one of the revisions can be used; where there are none, one of the snapshots */
};
/* Every model repository of the cache, by name. `each` returns false to stop. A cache that is not there is empty. */
lamina_status hub_cache_list(const struct hub_env *env, bool (*each)(void *user, const struct hub_cached *repo), void *user,
                             struct lamina_error *err);
/* Removes a repository with all its revisions and partial files; *freed gets its bytes. NOT_FOUND when it is not there, BUSY while
 * a pull of it runs. */
lamina_status hub_cache_remove(const struct hub_env *env, const struct hub_name *name, bool dry_run, uint64_t *freed,
                               struct lamina_error *err);

/* ---- pull ---- */

struct hub_progress {
    uint64_t done_bytes, total_bytes, resumed_bytes; /* of the files to fetch */
    uint64_t elapsed_ns;
    const char *what; /* a file at hand */
};
struct hub_watch {
    void (*log)(void *user, int level, const char *text); /* levels as in base/log.h */
    bool (*progress)(void *user, const struct hub_progress *p); /* true: stop; called several times a second */
    void *user;
};

struct hub_pull {
    const struct hub_env *env;
    struct hub_name name;
    struct hub_patterns patterns;
    uint32_t connections; /* at once */
    uint64_t piece_bytes; /* of one request; what a kill can lose per connection */
    bool dry_run;         /* ask and reckon, write nothing */
    bool without_weights; /* weights are chosen and listed, not fetched; and no revision is set */
    const char *store_home; /* NULL, or where a store of the weights will be made: room for it is asked for too */
    struct hub_watch watch;
};
struct hub_pulled {
    struct hub_listing listing;
    struct str snapshot;   /* the directory of the revision */
    struct str model;      /* what to open: that, or a GGUF file in a folder of it */
    uint64_t chosen_bytes, cached_bytes, fetch_bytes, need_bytes, free_bytes, weight_bytes;
};
/* Errors: USAGE, NOT_FOUND, AUTH, NETWORK (after retries), NO_SPACE (before anything is fetched), DAMAGED (wrong bytes), IO,
 * INTERRUPTED (finished pieces are kept). Drop *out also after a failure. */
lamina_status hub_pull(const struct hub_pull *p, struct hub_pulled *out, struct lamina_error *err);
void hub_pulled_drop(struct hub_pulled *out);
/* Makes the commit that a revision is known by; what hub_pull does last, unless `without_weights` left that to the caller. */
lamina_status hub_revision_set(const struct hub_env *env, const struct hub_name *name, const char *commit,
                               struct lamina_error *err);
/* What the revision was when it was last pulled; NOT_FOUND. */
lamina_status hub_revision_get(const struct hub_env *env, const struct hub_name *name, char commit[HUB_COMMIT_LEN + 1],
                               struct lamina_error *err);

/* ---- a download that is read while it comes, and not kept (hub_stream.c) ---- */

struct hub_stream;
struct hub_stream_options {
    const struct hub_pull *pull; /* env, name, connections, piece_bytes (a power of two, 4 KiB to 64 MiB), watch */
    const char *commit;
    struct hub_file *const *files; /* of the listing, which outlives the stream; they come in this order */
    uint32_t count;
    uint64_t window_bytes;       /* no range is begun further than this behind what was read */
};
/* Takes the files' locks (BUSY: another process fetches them) and begins to fetch, in a thread of its own. Goes on where an earlier
 * stream of the same files ended. All calls below come from one thread. */
lamina_status hub_stream_open(struct hub_stream **stream, const struct hub_stream_options *o, struct lamina_error *err);
/* `forget`: what is on the drive is not needed any more, or is wrong. */
void hub_stream_close(struct hub_stream **stream, bool forget);
/* Removes what a stream of the file left on the drive, unless one is at work. */
void hub_stream_forget(const struct hub_env *env, const char *id, const struct hub_file *file);
/* Checksum and beginning of a file: another one when what an earlier run had read cannot be proved any more. */
const char *hub_stream_identity(const struct hub_stream *s, uint32_t file);
/* Waits for bytes; they are out of turn (`look`), or move the window. DAMAGED when a file turned out not to be what was
 * announced. */
lamina_status hub_stream_read(struct hub_stream *s, uint32_t file, uint64_t offset, void *dst, size_t len, bool look,
                              struct lamina_error *err);
/* Bytes that are not read again by this run; each is said once. What is read all the same is fetched again. */
lamina_status hub_stream_release(struct hub_stream *s, uint32_t file, uint64_t begin, uint64_t end, struct lamina_error *err);
/* What was read so far can be proved after a power cut: before anything made of it is called finished. */
lamina_status hub_stream_sync(struct hub_stream *s, struct lamina_error *err);
uint64_t hub_stream_allocated(const struct hub_stream *s); /* bytes on the drive */
/* SHA-256 of a block of 64 MiB, once all of its file came and is what was announced; else DAMAGED. */
lamina_status hub_stream_digest(struct hub_stream *s, uint32_t file, uint32_t block, uint8_t digest[32], struct lamina_error *err);

#endif
