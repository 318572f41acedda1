/* SPDX-License-Identifier: Apache-2.0
 *
 * One file of a download that is not kept: pieces come, are hashed in the order of the file, are read, and go. Two files in blobs/:
 *
 *     <etag>.lamina-stream.incomplete         the bytes that are here, each at its place, holes elsewhere
 *     <etag>.lamina-stream-pieces.incomplete  "lamina-stream 1 SIZE PIECE NONCE ETAG", then per hashed piece, in order,
 *                                             "INDEX CHAIN BLOCK CHECK"
 *
 * CHAIN is the state of the file's SHA-256 behind the piece (behind the last one: the digest), BLOCK that of its 64 MiB (at their
 * end: the digest), CHECK the XXH3-64 of the line before it. So the digest of a file goes on after a kill without the bytes before;
 * and a piece that is needed again, from the drive or from the hub, is what it was when the chain from the piece before leads to
 * its own. Nothing else is trusted: what lies in the data file is looked at, not believed. NONCE tells one beginning from another:
 * what was made of bytes whose journal is lost was never proved. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "hub/hub_stream_priv.h"
#include "sys/thread.h"

enum { LINE = 192, MOST_PIECES = 1 << 22 };

static lamina_status no_memory(struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "out of memory for the tables of a download");
}

/* ---- hashing ---- */

lamina_status hub_stream_hash(const struct hub_stream_file *f, uint32_t piece, void *buffer, struct hub_stream_mark *mark,
                              struct lamina_error *err) {
    const struct hub_part *part = &f->part;
    const uint64_t begin = hub_part_begin(part, piece);
    const uint64_t end = hub_part_end(part, piece);
    struct sha256_state chain;
    struct sha256_state block;
    bool good = true;
    sha256_state_start(&chain);
    sha256_state_start(&block);
    if (begin > 0) {
        memcpy(chain.value, f->marks[piece - 1].chain, sizeof(chain.value));
        chain.bytes = begin;
    }
    if (begin % HUB_STREAM_BLOCK != 0) {
        memcpy(block.value, f->marks[piece - 1].block, sizeof(block.value));
        block.bytes = begin % HUB_STREAM_BLOCK;
    }
    for (uint64_t at = begin; at < end && good;) {
        size_t n = (size_t)min_u64(end - at, HUB_STREAM_BUFFER);
        size_t whole = at + n == part->size ? n - n % 64 : n;
        LAMINA_TRY(sys_file_read_at(&part->file, part->data, at, buffer, n, err));
        good = sha256_state_add(&chain, buffer, whole) && sha256_state_add(&block, buffer, whole);
        if (good && at + n == part->size) {
            const uint8_t *rest = (const uint8_t *)buffer + whole;
            good = sha256_state_finish(&chain, rest, n - whole, mark->chain) &&
                   sha256_state_finish(&block, rest, n - whole, mark->block);
        }
        at += n;
    }
    if (good && end != part->size) {
        memcpy(mark->chain, chain.value, sizeof(mark->chain));
        memcpy(mark->block, block.value, sizeof(mark->block));
        good = end % HUB_STREAM_BLOCK != 0 || sha256_state_finish(&block, NULL, 0, mark->block);
    }
    return good ? LAMINA_OK
                : base_fail(err, LAMINA_UNEXPECTED, "the checksum of %s cannot be computed: libcrypto refuses", part->data);
}

lamina_status hub_stream_holds(const struct hub_stream_file *f, uint32_t piece, void *buffer, bool *holds,
                               struct lamina_error *err) {
    struct hub_stream_mark found;
    struct sys_stat now;
    *holds = false;
    LAMINA_TRY(sys_stat(f->part.data, &now, err));
    if (hub_part_end(&f->part, piece) > now.size) {
        return LAMINA_OK;
    }
    LAMINA_TRY(hub_stream_hash(f, piece, buffer, &found, err));
    *holds = memcmp(found.chain, f->marks[piece].chain, sizeof(found.chain)) == 0;
    return LAMINA_OK;
}

bool hub_stream_is_right(const struct hub_stream_file *f) {
    char hex[65];
    if (f->hashed < f->part.pieces) {
        return false;
    }
    if (f->part.pieces == 0) {
        return true; /* an empty file has nothing that could be wrong */
    }
    bytes_to_hex(f->marks[f->part.pieces - 1].chain, 32, hex);
    return strcmp(hex, f->part.etag) == 0;
}

/* ---- the journal ---- */

static int head_line(const struct hub_stream_file *f, char out[LINE]) {
    return snprintf(out, LINE, "lamina-stream 1 %" PRIu64 " %" PRIu64 " %016" PRIx64 " %s\n", f->part.size, f->part.piece_bytes,
                    f->nonce, f->part.etag);
}

static int mark_line(uint32_t piece, const struct hub_stream_mark *m, char out[LINE]) {
    char chain[65];
    char block[65];
    bytes_to_hex(m->chain, 32, chain);
    bytes_to_hex(m->block, 32, block);
    int n = snprintf(out, LINE, "%u %s %s ", piece, chain, block);
    return n + snprintf(out + n, (size_t)(LINE - n), "%016" PRIx64 "\n", hash_xxh3_64(out, (size_t)n));
}

lamina_status hub_stream_note(struct hub_stream_file *f, uint32_t piece, const struct hub_stream_mark *m,
                              struct lamina_error *err) {
    char line[LINE];
    int n = mark_line(piece, m, line);
    return sys_file_append(&f->part.log, f->part.journal, line, (size_t)n, err);
}

static bool read_mark(const char *text, size_t len, uint32_t piece, struct hub_stream_mark *m) {
    char again[LINE];
    char number[16];
    int n = snprintf(number, sizeof(number), "%u ", piece);
    size_t at = (size_t)n;
    if (len < at + 130 || strncmp(text, number, at) != 0 || !bytes_from_hex(span_of(text + at, 64), m->chain, 32) ||
        !bytes_from_hex(span_of(text + at + 65, 64), m->block, 32)) {
        return false;
    }
    n = mark_line(piece, m, again);
    return (size_t)n == len && memcmp(again, text, len) == 0;
}

/* The head of a journal of this file; it says how long pieces are. */
static bool read_head(struct hub_stream_file *f, const char *text, size_t len) {
    char again[LINE];
    uint64_t size = 0;
    uint64_t piece = 0;
    uint64_t asked = f->part.piece_bytes;
    if (sscanf(text, "lamina-stream 1 %" SCNu64 " %" SCNu64 " %" SCNx64, &size, &piece, &f->nonce) != 3 || size != f->part.size ||
        !hub_stream_piece_fits(piece)) {
        return false;
    }
    f->part.piece_bytes = piece;
    int n = head_line(f, again);
    bool same = (size_t)n == len && memcmp(again, text, len) == 0;
    f->part.piece_bytes = same ? piece : asked;
    return same;
}

/* Lines that follow each other from the first on; *kept gets them. */
static void read_marks(struct hub_stream_file *f, const char *text, struct str *kept) {
    for (const char *nl = strchr(text, '\n'); nl != NULL && f->hashed < f->part.pieces; nl = strchr(text, '\n')) {
        size_t len = (size_t)(nl - text) + 1;
        if (!read_mark(text, len, f->hashed, &f->marks[f->hashed])) {
            break;
        }
        f->part.state[f->hashed++] = HUB_PIECE_PAST;
        str_add(kept, text, len);
        text += len;
    }
}

static lamina_status take_tables(struct hub_stream_file *f, struct lamina_error *err) {
    struct hub_part *part = &f->part;
    uint64_t pieces = (part->size + part->piece_bytes - 1) / part->piece_bytes;
    if (pieces > MOST_PIECES) {
        return base_fail(err, LAMINA_USAGE, "%s has too many pieces; ask for larger ones", part->data);
    }
    part->pieces = (uint32_t)pieces;
    part->state = calloc((size_t)pieces + 1, 1);
    f->marks = calloc((size_t)pieces + 1, sizeof(*f->marks));
    f->left = calloc((size_t)pieces + 1, sizeof(*f->left));
    if (part->state == NULL || f->marks == NULL || f->left == NULL) {
        return no_memory(err);
    }
    for (uint32_t i = 0; i < part->pieces; i++) {
        f->left[i] = (uint32_t)(hub_part_end(part, i) - hub_part_begin(part, i));
    }
    return LAMINA_OK;
}

/* A beginning that has not been before: the clock's time and number of a new file, and now. */
static lamina_status begin_anew(struct hub_stream_file *f, struct lamina_error *err) {
    struct sys_stat st;
    LAMINA_TRY(sys_file_truncate(&f->part.file, f->part.data, 0, err));
    LAMINA_TRY(sys_stat(f->part.data, &st, err));
    const uint64_t facts[3] = {(uint64_t)st.mtime_ns, st.inode, sys_now_ns()};
    f->nonce = hash_xxh3_64(facts, sizeof(facts));
    return LAMINA_OK;
}

static lamina_status recall(struct hub_stream_file *f, struct lamina_error *err) {
    struct hub_part *part = &f->part;
    struct str text = {0};
    struct str kept = {0};
    char head[LINE];
    lamina_status status = LAMINA_OK;
    if (sys_exists(part->journal)) {
        status = sys_read_whole(part->journal, (uint64_t)MOST_PIECES * LINE, &text, err);
    }
    const char *nl = text.len > 0 ? strchr(str_text(&text), '\n') : NULL;
    size_t first = nl != NULL ? (size_t)(nl - str_text(&text)) + 1 : 0;
    bool fits = status == LAMINA_OK && first > 0 && read_head(f, str_text(&text), first);
    if (status == LAMINA_OK && !fits) {
        status = begin_anew(f, err);
    }
    if (status == LAMINA_OK) {
        status = take_tables(f, err);
    }
    str_add(&kept, head, (size_t)head_line(f, head));
    if (status == LAMINA_OK && fits) {
        read_marks(f, str_text(&text) + first, &kept);
    }
    if (status == LAMINA_OK) {
        status = kept.failed ? no_memory(err) : sys_write_whole_durable(part->journal, str_span(&kept), err);
    }
    str_drop(&text);
    str_drop(&kept);
    return status;
}

lamina_status hub_stream_file_open(struct hub_stream_file *f, const struct hub_env *env, const char *id,
                                   const struct hub_file *file, uint64_t piece_bytes, struct lamina_error *err) {
    struct hub_part *part = &f->part;
    *f = (struct hub_stream_file){
        .part = {.file = {.fd = -1}, .log = {.fd = -1}, .lock = {.fd = -1}, .size = file->size, .piece_bytes = piece_bytes}};
    memcpy(part->etag, file->etag, sizeof(part->etag));
    LAMINA_TRY(hub_part_names(part, env, id, true, err));
    LAMINA_TRY(hub_part_lock(part, env, id, err));
    lamina_status status = sys_file_open_update(&part->file, part->data, err);
    if (status == LAMINA_OK) {
        status = hub_part_sweep(part, err);
    }
    if (status == LAMINA_OK) {
        status = recall(f, err);
    }
    if (status == LAMINA_OK) {
        status = sys_file_open_append(&part->log, part->journal, err);
    }
    if (status < 0) {
        hub_stream_file_close(f);
    }
    return status;
}

void hub_stream_file_remove(struct hub_stream_file *f) {
    struct lamina_error none = {0};
    (void)sys_remove(f->part.data, &none); /* first: bytes without a journal are worth nothing, a journal without bytes neither */
    (void)sys_remove(f->part.journal, &none);
}

void hub_stream_file_close(struct hub_stream_file *f) {
    hub_part_close(&f->part);
    free(f->marks);
    free(f->left);
    f->marks = NULL;
    f->left = NULL;
}
