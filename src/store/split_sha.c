/* SPDX-License-Identifier: Apache-2.0
 *
 * SHA-256 of the source files by pieces of 64 MiB, in a thread of its own beside the splitting, with its own reads and
 * its own open files. The thread writes a digest, then raises the count of finished pieces; the caller reads only below
 * that count. Pieces that a journal already knows are not hashed again. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"
#include "sys/mem.h"

enum { SHA_STEP = 2 << 20 };

struct sha_file {
    uint32_t pieces;
    uint32_t first;            /* of its pieces, in `digest` and `known` */
    _Atomic uint32_t finished; /* pieces finished by the thread or known before */
};

struct split_sha {
    const struct checkpoint *source;
    const uint32_t *order;
    struct sha_file *files;
    uint32_t piece_count;
    uint8_t (*digest)[32];
    bool *known;                      /* per piece: from the journal; not changed after the start */
    uint32_t *todo_file, *todo_piece; /* in the order of hashing */
    uint32_t todo_count;
    _Atomic uint32_t ready; /* of todo: finished */
    uint32_t collected;     /* the caller's */
    _Atomic uint32_t stop, failed;
    _Atomic uint64_t bytes;
    struct lamina_error err;
    struct sys_thread *thread;
    void *buffer;
};

static lamina_status hash_piece(struct split_sha *s, struct sha256 *sha, const struct sys_file *f, const char *path,
                                uint64_t begin, uint64_t len, uint8_t digest[32]) {
    for (uint64_t at = 0; at < len; at += SHA_STEP) {
        size_t n = (size_t)min_u64(SHA_STEP, len - at);
        if (atomic_load_explicit(&s->stop, memory_order_relaxed) != 0) {
            return LAMINA_INTERRUPTED;
        }
        /* Every piece begins at a multiple of 64 MiB, so only the last read of a file is odd; a direct read of whole
         * pages that ends early at the end of the file is what read_any makes of it. */
        LAMINA_TRY(
            sys_file_read_any(f, path, begin + at, s->buffer, n, (uint8_t *)s->buffer + SHA_STEP, SHA_STEP, &s->err));
        if (!f->direct) {
            sys_file_drop_cache(f, begin + at, n);
        }
        if (!sha256_add(sha, s->buffer, n)) {
            return base_fail(&s->err, LAMINA_UNEXPECTED, "SHA-256 of %s failed", path);
        }
        (void)atomic_fetch_add_explicit(&s->bytes, n, memory_order_relaxed);
    }
    return sha256_finish(sha, digest) ? LAMINA_OK : base_fail(&s->err, LAMINA_UNEXPECTED, "SHA-256 of %s failed", path);
}

static lamina_status hash_all(struct split_sha *s, struct sha256 *sha) {
    struct sys_file f = {.fd = -1};
    uint32_t open = UINT32_MAX;
    lamina_status status = LAMINA_OK;
    for (uint32_t i = 0; i < s->todo_count && status == LAMINA_OK; i++) {
        uint32_t file = s->todo_file[i];
        uint32_t piece = s->todo_piece[i];
        const struct source_file *from = &s->source->files[file];
        if (open != file) {
            sys_file_close(&f);
            open = file;
            status = sys_file_open_read(&f, from->path, SYS_OPEN_DIRECT, &s->err);
        }
        uint64_t begin = (uint64_t)piece * STORE_PIECE;
        if (status == LAMINA_OK) {
            status = hash_piece(s, sha, &f, from->path, begin, min_u64(STORE_PIECE, from->stat.size - begin),
                                s->digest[s->files[file].first + piece]);
        }
        if (status == LAMINA_OK) {
            (void)atomic_fetch_add_explicit(&s->files[file].finished, 1, memory_order_release);
            atomic_store_explicit(&s->ready, i + 1, memory_order_release);
        }
    }
    sys_file_close(&f);
    return status;
}

static void run(void *arg) {
    struct split_sha *s = arg;
    struct sha256 *sha = sha256_open();
    lamina_status status = sha == NULL ? base_fail(&s->err, LAMINA_UNEXPECTED, "no SHA-256 here") : hash_all(s, sha);
    sha256_close(&sha);
    if (status < 0) {
        atomic_store_explicit(&s->failed, 1, memory_order_release);
    }
}

static void take_known(struct split_sha *s, const struct journal *known) {
    for (uint32_t i = 0; known != NULL && i < known->piece_count; i++) {
        const struct journal_piece *p = &known->pieces[i];
        if (p->file < s->source->file_count && p->piece < s->files[p->file].pieces) {
            uint32_t at = s->files[p->file].first + p->piece;
            if (!s->known[at]) {
                s->known[at] = true;
                (void)atomic_fetch_add_explicit(&s->files[p->file].finished, 1, memory_order_relaxed);
            }
            memcpy(s->digest[at], p->sha256, 32);
        }
    }
}

static void list_todo(struct split_sha *s) {
    for (uint32_t i = 0; i < s->source->file_count; i++) {
        uint32_t file = s->order[i];
        for (uint32_t p = 0; p < s->files[file].pieces; p++) {
            if (!s->known[s->files[file].first + p]) {
                s->todo_file[s->todo_count] = file;
                s->todo_piece[s->todo_count++] = p;
            }
        }
    }
}

static bool take_memory(struct split_sha *s) {
    uint32_t files = s->source->file_count;
    s->files = calloc((size_t)files + 1, sizeof(*s->files));
    if (s->files == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < files; i++) {
        s->files[i].first = s->piece_count;
        s->files[i].pieces = (uint32_t)div_up(s->source->files[i].stat.size, STORE_PIECE);
        s->piece_count += s->files[i].pieces;
    }
    size_t n = (size_t)s->piece_count + 1;
    s->digest = calloc(n, sizeof(*s->digest));
    s->known = calloc(n, sizeof(*s->known));
    s->todo_file = calloc(n, sizeof(*s->todo_file));
    s->todo_piece = calloc(n, sizeof(*s->todo_piece));
    return s->digest != NULL && s->known != NULL && s->todo_file != NULL && s->todo_piece != NULL;
}

lamina_status split_sha_start(struct split_sha **out, const struct split_sha_job *job, struct lamina_error *err) {
    struct split_sha *s = calloc(1, sizeof(*s));
    lamina_status status = LAMINA_OK;
    if (s != NULL) {
        s->source = job->source;
        s->order = job->order;
    }
    if (s == NULL || !take_memory(s)) {
        status = base_fail(err, LAMINA_NO_FIT, "no memory for the hashes of the source");
        goto fail;
    }
    take_known(s, job->known);
    list_todo(s);
    status = sys_mem_map(&s->buffer, (size_t)2 * SHA_STEP, err);
    if (status == LAMINA_OK) {
        status = sys_thread_start(&s->thread, "lamina-sha", run, s, err);
    }
    if (status == LAMINA_OK) {
        *out = s;
        return LAMINA_OK;
    }
fail:
    split_sha_stop(&s);
    return status;
}

lamina_status split_sha_collect(struct split_sha *s, struct str *lines, bool *all_done, struct lamina_error *err) {
    uint32_t ready = atomic_load_explicit(&s->ready, memory_order_acquire);
    for (; s->collected < ready; s->collected++) {
        uint32_t file = s->todo_file[s->collected];
        uint32_t piece = s->todo_piece[s->collected];
        char hex[65];
        bytes_to_hex(s->digest[s->files[file].first + piece], 32, hex);
        journal_line(lines, "piece %u %u %s", file, piece, hex);
    }
    *all_done = ready == s->todo_count;
    if (atomic_load_explicit(&s->failed, memory_order_acquire) != 0) {
        return base_fail(err, s->err.code < 0 ? s->err.code : LAMINA_UNEXPECTED, "%s", s->err.message);
    }
    return LAMINA_OK;
}

bool split_sha_file_done(const struct split_sha *s, uint32_t file) {
    return atomic_load_explicit(&s->files[file].finished, memory_order_acquire) == s->files[file].pieces;
}

const uint8_t *split_sha_digest(const struct split_sha *s, uint32_t file, uint32_t piece) {
    return s->digest[s->files[file].first + piece];
}

uint32_t split_sha_pieces(const struct split_sha *s, uint32_t file) {
    return s->files[file].pieces;
}

uint64_t split_sha_bytes(const struct split_sha *s) {
    return atomic_load_explicit(&s->bytes, memory_order_relaxed);
}

void split_sha_stop(struct split_sha **sha) {
    struct split_sha *s = *sha;
    if (s == NULL) {
        return;
    }
    atomic_store_explicit(&s->stop, 1, memory_order_relaxed);
    if (s->thread != NULL) {
        sys_thread_join(&s->thread);
    }
    if (s->buffer != NULL) {
        sys_mem_unmap(s->buffer, (size_t)2 * SHA_STEP);
    }
    free(s->files);
    free(s->digest);
    free(s->known);
    free(s->todo_file);
    free(s->todo_piece);
    free(s);
    *sha = NULL;
}
