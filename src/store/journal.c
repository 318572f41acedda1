/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal of an unfinished store: what is finished, so that a killed split goes on where it was. Text, one record a
 * line, each led by the XXH3-64 of the rest of the line:
 *
 *     0123456789abcdef done 20480 <xxh3_128> layers/00000.bin
 *
 * Lines are only appended. A torn or damaged line ends the journal: what stood before it is believed, nothing after.
 * The record kinds are in docs/FORMAT.md. The parser works on bytes; names in it are data, never paths.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"

enum { HASH_TEXT = 16, JOURNAL_MAX = 256 << 20 };

void journal_line(struct str *out, const char *fmt, ...) {
    struct str body = {0};
    va_list args;
    va_start(args, fmt);
    str_vprintf(&body, fmt, args);
    va_end(args);
    if (body.failed) {
        out->failed = true;
    } else {
        str_printf(out, "%016" PRIx64 " ", hash_xxh3_64(body.ptr, body.len));
        str_add_span(out, str_span(&body));
        str_add_byte(out, '\n');
    }
    str_drop(&body);
}

/* ---- words of a line ---- */

static bool word(struct span *line, struct span *out) {
    size_t n = 0;
    while (n < line->len && line->ptr[n] != ' ') {
        n++;
    }
    *out = span_sub(*line, 0, n);
    *line = span_sub(*line, n < line->len ? n + 1 : n, line->len);
    return n > 0;
}

static bool number(struct span *line, uint64_t *out) {
    struct span w;
    uint64_t v = 0;
    if (!word(line, &w) || w.len > 20) {
        return false;
    }
    for (size_t i = 0; i < w.len; i++) {
        if (w.ptr[i] < '0' || w.ptr[i] > '9' || checked_mul(v, 10, &v) ||
            checked_add(v, (uint64_t)(w.ptr[i] - '0'), &v)) {
            return false;
        }
    }
    *out = v;
    return true;
}

static bool number32(struct span *line, uint32_t *out) {
    uint64_t v = 0;
    bool ok = number(line, &v) && v <= UINT32_MAX;
    *out = (uint32_t)v;
    return ok;
}

static bool hash(struct span *line, struct hash128 *out) {
    struct span w;
    return word(line, &w) && hash128_from_hex(w, out);
}

/* Appends one zeroed element; capacity doubles at powers of two. NULL at the arena's end. */
static void *grow(struct arena *arena, void *list, uint32_t *count, size_t size) {
    uint8_t *at = list;
    if ((*count & (*count - 1)) == 0) {
        uint8_t *wider = arena_take_array(arena, *count == 0 ? 1 : (size_t)*count * 2, size);
        if (wider == NULL) {
            return NULL;
        }
        if (*count > 0) {
            memcpy(wider, at, *count * size);
        }
        at = wider;
    }
    (*count)++;
    return at;
}

#define GROW(j, list, count)                                                                                           \
    do {                                                                                                               \
        void *grown_ = grow(&(j)->arena, (j)->list, &(j)->count, sizeof(*(j)->list));                                  \
        if (grown_ == NULL) {                                                                                          \
            return false;                                                                                              \
        }                                                                                                              \
        (j)->list = grown_;                                                                                            \
    } while (0)

/* ---- records ---- */

static bool read_done(struct journal *j, struct span line) {
    struct journal_done d = {{0}, 0, {0, 0}};
    if (!number(&line, &d.size) || !hash(&line, &d.hash) || line.len == 0 || line.len >= sizeof(d.name)) {
        return false;
    }
    memcpy(d.name, line.ptr, line.len);
    GROW(j, done, done_count);
    j->done[j->done_count - 1] = d;
    return true;
}

static bool read_piece(struct journal *j, struct span line) {
    struct journal_piece p = {0};
    if (!number32(&line, &p.file) || !number32(&line, &p.piece) || !bytes_from_hex(line, p.sha256, sizeof(p.sha256))) {
        return false;
    }
    GROW(j, pieces, piece_count);
    j->pieces[j->piece_count - 1] = p;
    return true;
}

static bool read_kept(struct journal *j, struct span line) {
    struct journal_kept k = {0};
    if (!number32(&line, &k.tensor) || line.len % 2 != 0) {
        return false;
    }
    uint8_t *bytes = arena_take_array(&j->arena, line.len / 2 + 1, 1);
    if (bytes == NULL || !bytes_from_hex(line, bytes, line.len / 2)) {
        return false;
    }
    k.bytes = span_of(bytes, line.len / 2);
    GROW(j, kept, kept_count);
    j->kept[j->kept_count - 1] = k;
    return true;
}

static bool read_source(struct journal *j, struct span line) {
    struct journal_source s = {0};
    uint64_t mtime = 0;
    if (!number(&line, &s.size) || !number(&line, &mtime) || !number(&line, &s.inode) || line.len == 0) {
        return false;
    }
    s.mtime_ns = (int64_t)mtime;
    s.name = arena_copy_text(&j->arena, line);
    if (s.name == NULL) {
        return false;
    }
    GROW(j, sources, source_count);
    j->sources[j->source_count - 1] = s;
    return true;
}

static bool read_tensor(struct journal *j, struct span line) {
    struct journal_tensor t = {0};
    struct span dtype;
    if (!number32(&line, &t.file) || !number(&line, &t.offset) || !number(&line, &t.bytes) || !word(&line, &dtype) ||
        dtype.len >= sizeof(t.dtype) || !number32(&line, &t.rank) || t.rank > 8) {
        return false;
    }
    memcpy(t.dtype, dtype.ptr, dtype.len);
    for (uint32_t i = 0; i < t.rank; i++) {
        if (!number(&line, &t.shape[i])) {
            return false;
        }
    }
    t.name = arena_copy_text(&j->arena, line);
    if (t.name == NULL || t.file >= j->source_count) {
        return false;
    }
    GROW(j, tensors, tensor_count);
    j->tensors[j->tensor_count - 1] = t;
    return true;
}

static bool read_record(struct journal *j, struct span line) {
    struct span kind;
    uint64_t v = 0;
    if (!word(&line, &kind)) {
        return false;
    }
    if (span_is(kind, "begin")) {
        bool first = !j->present;
        j->present = true;
        return first && hash(&line, &j->identity) && number(&line, &v) && v <= 1 && (j->tied = (int)v, line.len == 0);
    }
    if (!j->present) {
        return false;
    }
    if (span_is(kind, "freed")) {
        bool ok = number(&line, &v) && v < j->source_count && line.len == 0;
        if (ok) {
            j->sources[v].freed = true;
        }
        return ok;
    }
    return span_is(kind, "done")     ? read_done(j, line)
           : span_is(kind, "piece")  ? read_piece(j, line)
           : span_is(kind, "kept")   ? read_kept(j, line)
           : span_is(kind, "source") ? read_source(j, line)
           : span_is(kind, "tensor") ? read_tensor(j, line)
                                     : false;
}

static bool line_sound(struct span line, struct span *body) {
    char expected[HASH_TEXT + 1];
    if (line.len < HASH_TEXT + 2 || line.ptr[HASH_TEXT] != ' ') {
        return false;
    }
    *body = span_sub(line, HASH_TEXT + 1, line.len);
    (void)snprintf(expected, sizeof(expected), "%016" PRIx64, hash_xxh3_64(body->ptr, body->len));
    return memcmp(expected, line.ptr, HASH_TEXT) == 0 && memchr(body->ptr, 0, body->len) == NULL;
}

void journal_parse(struct span text, struct journal *j) {
    size_t at = 0;
    j->tied = -1;
    while (at < text.len) {
        const uint8_t *end = memchr(text.ptr + at, '\n', text.len - at);
        struct span body;
        if (end == NULL) {
            break;
        }
        size_t len = (size_t)(end - (text.ptr + at));
        if (!line_sound(span_sub(text, at, len), &body) || !read_record(j, body)) {
            break;
        }
        at += len + 1;
    }
    j->valid_bytes = at;
}

lamina_status journal_load(const char *path, struct journal *j, struct lamina_error *err) {
    struct span text;
    *j = (struct journal){.tied = -1};
    if (!sys_exists(path)) {
        return LAMINA_OK;
    }
    LAMINA_TRY(sys_load(path, JOURNAL_MAX, &text, err));
    journal_parse(text, j);
    sys_unload(&text);
    if (!j->present || j->tied < 0) {
        journal_drop(j);
    }
    return LAMINA_OK;
}

void journal_drop(struct journal *j) {
    arena_drop(&j->arena);
    *j = (struct journal){.tied = -1};
}
