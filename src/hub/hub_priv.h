/* SPDX-License-Identifier: Apache-2.0
 * What the files of this room share: names and paths, one HTTP request, a partial file. Only hub_http.c, hub_transfer.c
 * and hub_curl.c see libcurl. One thread. */
#ifndef HUB_HUB_PRIV_H
#define HUB_HUB_PRIV_H

#include "base/hash.h"
#include "base/log.h"
#include "hub/hub.h"
#include "sys/file.h"

/* ---- names (hub_names.c), pure ---- */

bool hub_is_commit(const char *text);               /* 40 lower-case hex digits */
bool hub_is_etag(struct span text);                 /* 40 or 64 of them */
bool hub_path_safe(struct span path);
void hub_url_add(struct str *url, const char *text, bool keep_slash); /* percent-encoded */
/* The hub's address of a file of a commit, appended. NO_FIT when out of memory. */
lamina_status hub_resolve_url(const struct hub_env *env, const char *id, const char *commit, const char *path, struct str *url,
                              struct lamina_error *err);
struct hub_file *hub_listing_find(const struct hub_listing *listing, const char *path); /* NULL: not listed */
/* Do two addresses have one scheme, host and port? */
bool hub_same_origin(const char *a, const char *b);

/* ---- the cache's layout (hub_cache.c) ---- */

/* "models--ORG--NAME" */
void hub_folder_name(const char *id, char out[HUB_ID_MAX + 16]);
/* cache/folder/part/name into `out`; USAGE when that is too long. `part` and `name` may be NULL. */
lamina_status hub_cache_path(const struct hub_env *env, const char *id, const char *part, const char *name,
                             char out[HUB_PATH_LEN], struct lamina_error *err);
lamina_status hub_ref_read(const struct hub_env *env, const struct hub_name *name, char commit[HUB_COMMIT_LEN + 1],
                           struct lamina_error *err);
lamina_status hub_ref_write(const struct hub_env *env, const struct hub_name *name, const char *commit, struct lamina_error *err);
/* snapshots/<commit>/<path> -> blobs/<etag>. Where there are no links the blob moves there, or unless it is the `last` file of the
 * snapshot that wants it, is copied. */
lamina_status hub_snapshot_link(const struct hub_env *env, const char *id, const char *commit, const struct hub_file *file,
                                bool last, struct lamina_error *err);
/* Finishes removals that were killed. `wait` false: BUSY while another process does. */
lamina_status hub_cache_sweep(const struct hub_env *env, bool wait, struct lamina_error *err);
/* Makes the folders and the tag that backup programs know. */
lamina_status hub_cache_prepare(const struct hub_env *env, const char *id, struct lamina_error *err);
/* Every file below `dir`, by its path from there, folder after folder sorted bytewise. `each` returns false to stop. */
lamina_status hub_walk(const char *dir, bool (*each)(void *user, const char *path), void *user, struct lamina_error *err);
/* Is the file whole in the cache, as a blob or in the snapshot itself? `out`: where. */
bool hub_file_there(const struct hub_env *env, const char *id, const char *commit, const struct hub_file *file,
                    char out[HUB_PATH_LEN]);

/* ---- headers of an answer (hub_headers.c), pure ---- */

struct hub_headers {
    uint32_t status;
    char etag[HUB_ETAG_MAX + 1];  /* the linked one where there is one; "" when none or not of the known form */
    char commit[HUB_COMMIT_LEN + 1];
    char error_code[64], error_message[256];
    uint64_t size;                /* the linked size, else the content's length */
    bool has_size, has_linked_size;
    uint64_t range_begin, range_end, range_total; /* of Content-Range: begin to end, end excluded */
    bool has_range, encoded, has_location;
    uint32_t retry_after_s;
    bool has_retry_after;
    uint32_t limit_reset_s;       /* of RateLimit, when a limit is used up: until there are new requests; 0: none is */
    uint32_t bytes;               /* of all headers, those of earlier answers included */
};
/* One line as it came, with or without its line end. False when there is more of them than any server has reason to send. */
bool hub_headers_line(struct hub_headers *h, struct span line);
/* What a refusal means and what to do about it, as an error. `what`: the repository or the file. */
lamina_status hub_headers_refuse(const struct hub_headers *h, const struct hub_env *env, const char *id, const char *revision,
                                 const char *what, struct lamina_error *err);
bool hub_status_worth_retrying(uint32_t status);

/* ---- requests (hub_http.c) ---- */

enum { HUB_TRIES = 5, HUB_REDIRECTS = 5 };

struct hub_curl; /* hub_curl.h */
struct hub_http; /* opaque, heap */
lamina_status hub_http_open(struct hub_http **http, const struct hub_env *env, const struct hub_watch *watch,
                            struct lamina_error *err);
const struct hub_curl *hub_http_curl(const struct hub_http *http); /* valid until it is closed */
void hub_http_close(struct hub_http **http);
/* GET into memory (body NULL: HEAD), at most `limit` bytes; redirects followed, the token only to the endpoint's own address;
 * repeated where that may help. After HEAD the headers are those of the endpoint's own answer, a redirect elsewhere not followed.
 * *headers is filled for any answer; statuses from 400 on are OK here: the caller knows what they mean. */
lamina_status hub_http_fetch(struct hub_http *http, const char *url, uint64_t limit, struct str *body, struct hub_headers *headers,
                             struct lamina_error *err);
/* The settings that every request has. `easy` is a CURL *. */
lamina_status hub_http_prepare(const struct hub_curl *curl, void *easy, const struct hub_env *env, struct lamina_error *err);
/* Header lines to send to `url` as a curl_slist: the token only where it belongs. NULL when out of memory. */
void *hub_http_send_headers(const struct hub_curl *curl, const struct hub_env *env, const char *url);
/* A redirect from `from` to `to` that may be followed? */
lamina_status hub_http_may_follow(const char *from, const char *to, struct lamina_error *err);
uint64_t hub_backoff_ns(unsigned failures, const struct hub_headers *h);
/* Says so when that is long enough to wonder about; false: it is not. */
bool hub_say_wait(const struct hub_watch *watch, uint64_t ns, const struct hub_headers *h);
bool hub_stopped(const struct hub_watch *watch, const struct hub_progress *p);

/* ---- a partial file (hub_part.c) ---- */

struct hub_part {
    char blob[HUB_PATH_LEN], data[HUB_PATH_LEN], journal[HUB_PATH_LEN];
    struct sys_file file, log;
    struct sys_lock lock;
    const struct hub_watch *watch; /* asked while bytes are read back */
    struct sha256 *digest;
    uint64_t size, piece_bytes;
    uint64_t hashed_bytes; /* prefix that the digest has seen */
    uint64_t done_bytes, resumed_bytes;
    uint32_t pieces, done;
    uint8_t *state;        /* [pieces] */
    void *buffer;          /* for reading back */
    char etag[HUB_ETAG_MAX + 1];
};
enum hub_piece_state { HUB_PIECE_MISSING, HUB_PIECE_TAKEN, HUB_PIECE_DONE, HUB_PIECE_PAST /* of a stream */ };
/* Names of its files: those of a file to be kept, or of one of a stream; then its lock (BUSY at once), and a sweep of what a killed
 * writer of the journal left. */
lamina_status hub_part_names(struct hub_part *part, const struct hub_env *env, const char *id, bool stream,
                             struct lamina_error *err);
lamina_status hub_part_lock(struct hub_part *part, const struct hub_env *env, const char *id, struct lamina_error *err);
lamina_status hub_part_sweep(struct hub_part *part, struct lamina_error *err);
/* Takes the lock, BUSY at once when somebody has it. Who gets it looks whether there is a blob by now before anything is opened. */
lamina_status hub_part_take(struct hub_part *part, const struct hub_env *env, const char *id, const struct hub_file *file,
                            uint64_t piece_bytes, struct lamina_error *err);
/* Opens what was taken, asks for its room, and finds out what an earlier run finished: each piece of the journal is read again and
 * counts only when its checksum holds. Closed after a failure. */
lamina_status hub_part_open(struct hub_part *part, const struct hub_watch *watch, struct lamina_error *err);
uint64_t hub_part_begin(const struct hub_part *part, uint32_t piece);
uint64_t hub_part_end(const struct hub_part *part, uint32_t piece);
/* All bytes of the piece are written; `sum` is their checksum. */
lamina_status hub_part_piece_done(struct hub_part *part, uint32_t piece, struct hash128 sum, struct lamina_error *err);
/* All pieces are there: checks the digest and makes the file the blob. DAMAGED removes what there is. */
lamina_status hub_part_finish(struct hub_part *part, const char *name, struct lamina_error *err);
void hub_part_close(struct hub_part *part);
/* Removes what a pull that was killed left beside a file that is a blob already. */
void hub_part_forget(const struct hub_env *env, const char *id, const struct hub_file *file);
/* Bytes of the drive that fetching the rest of a file will take. */
uint64_t hub_part_need(const struct hub_env *env, const char *id, const struct hub_file *file);

/* ---- many transfers at once (hub_transfer.c) ---- */

struct hub_transfer_job {
    const struct hub_http *http; /* whose libcurl is used */
    const struct hub_pull *pull;
    const char *commit;
    struct hub_file *const *files;
    uint32_t count;
    struct hub_stream *stream; /* NULL, or who says which pieces are wanted, and ends it through the watch of `pull` */
};
/* Of a stream, for the thread that fetches: a file's part; a piece to fetch; one that did not come; one that did. */
struct hub_part *hub_stream_part(struct hub_stream *s, uint32_t file);
bool hub_stream_take(struct hub_stream *s, uint32_t file, uint32_t *piece);
void hub_stream_give_back(struct hub_stream *s, uint32_t file, uint32_t piece);
lamina_status hub_stream_piece_done(struct hub_stream *s, uint32_t file, uint32_t piece, struct lamina_error *err);
lamina_status hub_transfer(const struct hub_transfer_job *job, struct lamina_error *err);

#endif
