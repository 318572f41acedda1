/* SPDX-License-Identifier: Apache-2.0
 *
 * A file that has not come whole yet. Two files stand for it in blobs/, with names that the cache's cleaning tools take for
 * leftovers of a download, which they are:
 *
 *     <etag>.lamina.incomplete          the bytes, each at its place, holes in between
 *     <etag>.lamina-pieces.incomplete   text: "lamina-pieces 1 SIZE PIECE ETAG", then a line "INDEX XXH3-128" per finished piece
 *
 * Nothing is synced while pieces come. A journal's line is worth what its checksum says: an earlier run's pieces are read again,
 * and one that does not hold (a power cut kept the line and lost the bytes) is fetched again. The file's digest, the name of the
 * blob, is computed in file order behind the pieces, and the rename to blobs/<etag> is the only way a file becomes visible. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "hub/hub_priv.h"

enum { BUFFER = 1 << 20, LINE_MAX_BYTES = 160, MOST_PIECES = 1 << 22 };

static lamina_status no_memory(struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "out of memory for the tables of a download");
}

uint64_t hub_part_begin(const struct hub_part *part, uint32_t piece) {
    return (uint64_t)piece * part->piece_bytes;
}

uint64_t hub_part_end(const struct hub_part *part, uint32_t piece) {
    return min_u64(hub_part_begin(part, piece) + part->piece_bytes, part->size);
}

lamina_status hub_part_names(struct hub_part *part, const struct hub_env *env, const char *id, bool stream,
                             struct lamina_error *err) {
    char name[128];
    LAMINA_TRY(hub_cache_path(env, id, "blobs", part->etag, part->blob, err));
    (void)snprintf(name, sizeof(name), "%s.lamina%s.incomplete", part->etag, stream ? "-stream" : "");
    LAMINA_TRY(hub_cache_path(env, id, "blobs", name, part->data, err));
    (void)snprintf(name, sizeof(name), "%s.lamina%s-pieces.incomplete", part->etag, stream ? "-stream" : "");
    return hub_cache_path(env, id, "blobs", name, part->journal, err);
}

uint64_t hub_part_need(const struct hub_env *env, const char *id, const struct hub_file *file) {
    struct hub_part part = {.file = {.fd = -1}};
    struct sys_stat st = {0};
    struct lamina_error none = {0};
    memcpy(part.etag, file->etag, sizeof(part.etag));
    bool there = hub_part_names(&part, env, id, false, &none) == LAMINA_OK && sys_exists(part.data) &&
                 sys_stat(part.data, &st, &none) == LAMINA_OK;
    return there && st.allocated_bytes < file->size ? file->size - st.allocated_bytes : there ? 0 : file->size;
}

void hub_part_forget(const struct hub_env *env, const char *id, const struct hub_file *file) {
    struct hub_part part = {.file = {.fd = -1}};
    struct lamina_error none = {0};
    memcpy(part.etag, file->etag, sizeof(part.etag));
    if (hub_part_names(&part, env, id, false, &none) == LAMINA_OK) {
        (void)sys_remove(part.data, &none);
        (void)sys_remove(part.journal, &none);
    }
}

/* ---- the digest in file order ---- */

static lamina_status digest_failed(const struct hub_part *part, struct lamina_error *err) {
    return base_fail(err, LAMINA_UNEXPECTED, "the checksum of %s cannot be computed: libcrypto refuses", part->data);
}

static lamina_status digest_start(struct hub_part *part, struct lamina_error *err) {
    char head[48];
    bool sha1 = strlen(part->etag) == 40;
    part->hashed_bytes = 0;
    sha256_close(&part->digest);
    part->digest = sha1 ? sha1_open() : sha256_open();
    if (part->digest == NULL) {
        return digest_failed(part, err);
    }
    int n = snprintf(head, sizeof(head), "blob %" PRIu64, part->size); /* and the 0 behind it, as git has it */
    return !sha1 || sha256_add(part->digest, head, (size_t)n + 1) ? LAMINA_OK : digest_failed(part, err);
}

/* Reading back what an earlier run left can take minutes. */
static lamina_status go_on(const struct hub_part *part, struct lamina_error *err) {
    return hub_stopped(part->watch, NULL)
               ? base_fail(err, LAMINA_INTERRUPTED, "interrupted; finished parts are kept, the same command goes on from there")
               : LAMINA_OK;
}

/* Adds the finished pieces that follow what the digest has seen. */
static lamina_status digest_more(struct hub_part *part, struct lamina_error *err) {
    while (part->hashed_bytes < part->size &&
           part->state[part->hashed_bytes / part->piece_bytes] == HUB_PIECE_DONE) {
        uint64_t end = hub_part_end(part, (uint32_t)(part->hashed_bytes / part->piece_bytes));
        while (part->hashed_bytes < end) {
            size_t n = (size_t)min_u64(end - part->hashed_bytes, BUFFER);
            LAMINA_TRY(go_on(part, err));
            LAMINA_TRY(sys_file_read_at(&part->file, part->data, part->hashed_bytes, part->buffer, n, err));
            if (!sha256_add(part->digest, part->buffer, n)) {
                return digest_failed(part, err);
            }
            part->hashed_bytes += n;
        }
    }
    return LAMINA_OK;
}

/* ---- the journal ---- */

static int head_line(const struct hub_part *part, char out[LINE_MAX_BYTES]) {
    return snprintf(out, LINE_MAX_BYTES, "lamina-pieces 1 %" PRIu64 " %" PRIu64 " %s\n", part->size, part->piece_bytes, part->etag);
}

static int piece_line(uint32_t piece, struct hash128 sum, char out[LINE_MAX_BYTES]) {
    char hex[33];
    hash128_to_hex(sum, hex);
    return snprintf(out, LINE_MAX_BYTES, "%u %s\n", piece, hex);
}

/* The head of a journal of this file; *piece_bytes is the one it was made with. */
static bool head_fits(struct hub_part *part, struct span line) {
    char text[LINE_MAX_BYTES];
    char expected[LINE_MAX_BYTES];
    uint64_t size = 0;
    uint64_t piece = 0;
    if (line.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, line.ptr, line.len);
    text[line.len] = 0;
    if (sscanf(text, "lamina-pieces 1 %" SCNu64 " %" SCNu64, &size, &piece) != 2 || size != part->size || piece == 0 ||
        (size + piece - 1) / piece > MOST_PIECES || piece > (uint64_t)1 << 40) {
        return false;
    }
    uint64_t asked = part->piece_bytes;
    part->piece_bytes = piece;
    int n = head_line(part, expected);
    bool same = (size_t)n == line.len && memcmp(expected, text, line.len) == 0;
    part->piece_bytes = same ? piece : asked;
    return same;
}

static bool read_piece_line(struct span line, uint32_t *piece, struct hash128 *sum) {
    uint64_t value = 0;
    size_t i = 0;
    for (; i < line.len && i < 9 && line.ptr[i] >= '0' && line.ptr[i] <= '9'; i++) {
        value = value * 10 + (uint64_t)(line.ptr[i] - '0');
    }
    *piece = (uint32_t)value;
    return i > 0 && line.len == i + 34 && line.ptr[i] == ' ' && line.ptr[line.len - 1] == '\n' &&
           hash128_from_hex(span_sub(line, i + 1, 32), sum);
}

/* Is what the journal says still on the drive? */
static lamina_status piece_holds(struct hub_part *part, uint32_t piece, struct hash128 sum, bool *holds, struct lamina_error *err) {
    struct hash_stream *hash = hash_stream_open();
    lamina_status status = hash == NULL ? no_memory(err) : LAMINA_OK;
    uint64_t end = hub_part_end(part, piece);
    for (uint64_t at = hub_part_begin(part, piece); status == LAMINA_OK && at < end;) {
        size_t n = (size_t)min_u64(end - at, BUFFER);
        status = go_on(part, err);
        if (status == LAMINA_OK) {
            status = sys_file_read_at(&part->file, part->data, at, part->buffer, n, err);
        }
        if (status == LAMINA_OK) {
            hash_stream_add(hash, part->buffer, n);
        }
        at += n;
    }
    if (status == LAMINA_OK) {
        struct hash128 found = hash_stream_value(hash);
        *holds = found.low == sum.low && found.high == sum.high;
    }
    hash_stream_close(&hash);
    return status;
}

static lamina_status recall_pieces(struct hub_part *part, struct span text, struct str *kept, struct lamina_error *err) {
    while (text.len > 0) {
        const uint8_t *nl = memchr(text.ptr, '\n', text.len);
        struct span line = span_sub(text, 0, nl != NULL ? (size_t)(nl - text.ptr) + 1 : text.len);
        uint32_t piece = 0;
        struct hash128 sum;
        bool holds = false;
        text = span_sub(text, line.len, text.len);
        if (!read_piece_line(line, &piece, &sum) || piece >= part->pieces || part->state[piece] == HUB_PIECE_DONE ||
            hub_part_end(part, piece) > part->file.size) {
            continue; /* torn, or of a piece that was written before its line could be */
        }
        LAMINA_TRY(piece_holds(part, piece, sum, &holds, err));
        if (holds) {
            part->state[piece] = HUB_PIECE_DONE;
            part->done++;
            part->done_bytes += hub_part_end(part, piece) - hub_part_begin(part, piece);
            str_add_span(kept, line);
        }
    }
    part->resumed_bytes = part->done_bytes;
    return LAMINA_OK;
}

/* A journal that was being written anew when its writer was killed. We hold the lock: nobody else is at it. */
static bool sweep_name(void *user, const char *name) {
    const struct hub_part *part = user;
    const char *own = strrchr(part->journal, '/') + 1;
    char path[HUB_PATH_LEN];
    struct lamina_error none = {0};
    int n = snprintf(path, sizeof(path), "%.*s%s", (int)(own - part->journal), part->journal, name);
    if (strncmp(name, own, strlen(own)) == 0 && sys_is_temp_name(name) && n < (int)sizeof(path)) {
        (void)sys_remove(path, &none);
    }
    return true;
}

lamina_status hub_part_sweep(struct hub_part *part, struct lamina_error *err) {
    char dir[HUB_PATH_LEN];
    (void)snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(part->journal, '/') - part->journal), part->journal);
    return sys_list_dir(dir, sweep_name, part, err);
}

/* Reads the journal of an earlier run and writes it anew with the lines that hold, so that the next line begins on its own. */
static lamina_status recall(struct hub_part *part, struct lamina_error *err) {
    struct str text = {0};
    struct str kept = {0};
    char head[LINE_MAX_BYTES];
    lamina_status status = LAMINA_OK;
    if (sys_exists(part->journal)) {
        status = sys_read_whole(part->journal, (uint64_t)MOST_PIECES * LINE_MAX_BYTES, &text, err);
    }
    const char *nl = text.len > 0 ? memchr(text.ptr, '\n', text.len) : NULL;
    struct span first = span_sub(str_span(&text), 0, nl != NULL ? (size_t)(nl - text.ptr) + 1 : 0);
    bool fits = status == LAMINA_OK && first.len > 0 && head_fits(part, first);
    part->pieces = (uint32_t)((part->size + part->piece_bytes - 1) / part->piece_bytes);
    part->state = calloc((size_t)part->pieces + 1, 1);
    part->buffer = malloc(BUFFER);
    if (status == LAMINA_OK && (part->state == NULL || part->buffer == NULL)) {
        status = no_memory(err);
    }
    str_add(&kept, head, (size_t)head_line(part, head));
    if (status == LAMINA_OK && fits) {
        status = recall_pieces(part, span_sub(str_span(&text), first.len, text.len), &kept, err);
    }
    if (status == LAMINA_OK) {
        status = kept.failed ? no_memory(err) : sys_write_whole_durable(part->journal, str_span(&kept), err);
    }
    str_drop(&text);
    str_drop(&kept);
    return status;
}

lamina_status hub_part_lock(struct hub_part *part, const struct hub_env *env, const char *id, struct lamina_error *err) {
    char path[HUB_PATH_LEN];
    char folder[HUB_ID_MAX + 16];
    hub_folder_name(id, folder);
    int n = snprintf(path, sizeof(path), "%s/.locks/%s/%s.lock", str_text(&env->cache), folder, part->etag);
    return n < (int)sizeof(path) ? sys_lock_take(&part->lock, path, false, err)
                                 : base_fail(err, LAMINA_USAGE, "the cache's path is too long");
}

lamina_status hub_part_take(struct hub_part *part, const struct hub_env *env, const char *id, const struct hub_file *file,
                            uint64_t piece_bytes, struct lamina_error *err) {
    *part = (struct hub_part){
        .file = {.fd = -1}, .log = {.fd = -1}, .lock = {.fd = -1}, .size = file->size, .piece_bytes = piece_bytes};
    memcpy(part->etag, file->etag, sizeof(part->etag));
    if ((file->size + piece_bytes - 1) / piece_bytes > MOST_PIECES) {
        return base_fail(err, LAMINA_USAGE, "%s has %" PRIu64 " bytes: too many pieces; ask for larger ones", file->path,
                         file->size);
    }
    LAMINA_TRY(hub_part_names(part, env, id, false, err));
    return hub_part_lock(part, env, id, err);
}

lamina_status hub_part_open(struct hub_part *part, const struct hub_watch *watch, struct lamina_error *err) {
    part->watch = watch;
    lamina_status status = sys_file_open_update(&part->file, part->data, err);
    if (status == LAMINA_OK && part->file.size > part->size) { /* not of ours: a longer file would keep its tail */
        status = sys_file_truncate(&part->file, part->data, 0, err);
        part->file.size = 0;
    }
    if (status == LAMINA_OK) {
        status = hub_part_sweep(part, err);
    }
    if (status == LAMINA_OK) {
        status = recall(part, err);
    }
    if (status == LAMINA_OK) {
        status = sys_file_open_append(&part->log, part->journal, err);
    }
    if (status == LAMINA_OK) {
        status = sys_file_reserve(&part->file, part->data, part->size, err);
    }
    if (status == LAMINA_OK) {
        status = digest_start(part, err);
    }
    if (status < 0) {
        hub_part_close(part);
    }
    return status;
}

lamina_status hub_part_piece_done(struct hub_part *part, uint32_t piece, struct hash128 sum, struct lamina_error *err) {
    char line[LINE_MAX_BYTES];
    int n = piece_line(piece, sum, line);
    LAMINA_TRY(sys_file_append(&part->log, part->journal, line, (size_t)n, err));
    part->state[piece] = HUB_PIECE_DONE;
    part->done++;
    part->done_bytes += hub_part_end(part, piece) - hub_part_begin(part, piece);
    return digest_more(part, err);
}

static lamina_status wrong_bytes(struct hub_part *part, const char *name, const char *found, struct lamina_error *err) {
    struct lamina_error none = {0};
    (void)sys_remove(part->journal, &none);
    (void)sys_remove(part->data, &none);
    return base_fail(
        err, LAMINA_DAMAGED,
        "%s: the bytes that came are not those that the hub announced (%s %s, expected %s); they were thrown away, pull again",
        name, strlen(part->etag) == 40 ? "git SHA-1" : "SHA-256", found, part->etag);
}

lamina_status hub_part_finish(struct hub_part *part, const char *name, struct lamina_error *err) {
    uint8_t digest[32];
    char hex[65];
    LAMINA_TRY(digest_more(part, err));
    if (!sha256_finish(part->digest, digest)) {
        return digest_failed(part, err);
    }
    bytes_to_hex(digest, strlen(part->etag) / 2, hex);
    if (strcmp(hex, part->etag) != 0) {
        return wrong_bytes(part, name, hex, err);
    }
    LAMINA_TRY(sys_file_truncate(&part->file, part->data, part->size, err)); /* gives back what was reserved beyond */
    LAMINA_TRY(sys_file_sync(&part->file, part->data, err));
    LAMINA_TRY(sys_rename_durable(part->data, part->blob, err));
    return sys_remove(part->journal, err);
}

void hub_part_close(struct hub_part *part) {
    sys_file_close(&part->file);
    sys_file_close(&part->log);
    sha256_close(&part->digest);
    free(part->state);
    free(part->buffer);
    part->state = NULL;
    part->buffer = NULL;
    sys_lock_drop(&part->lock);
}
