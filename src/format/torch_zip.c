/* SPDX-License-Identifier: Apache-2.0
 * Reads the directory of a zip file and proves it against the local headers. Readers of zip files that disagree about
 * one file are an old way to hide things, so whatever two places say, they must say alike.
 *
 * Invariant of what is returned: every entry's header and data lie before the directory and overlap no other entry. */
#include "format/torch_zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/str.h"

enum { END_LEN = 22, END64_LEN = 56, LOCATOR_LEN = 20, CENTRAL_LEN = 46, LOCAL_LEN = 30, TAIL_LEN = END_LEN + 65535 };
enum { SIG_LOCAL = 0x04034b50, SIG_CENTRAL = 0x02014b50, SIG_END = 0x06054b50, SIG_END64 = 0x06064b50 };
enum { SIG_LOCATOR = 0x07064b50, EXTRA_ZIP64 = 1 };
enum { FLAG_DESCRIPTOR = 1 << 3, FLAGS_ENCRYPTED = 1 | 1 << 6 | 1 << 13, FLAG_PATCHED = 1 << 5 };
#define ALL32 UINT32_C(0xffffffff)

struct walk {
    const struct torch_input *in;
    struct lamina_error *err;
    uint64_t dir_offset, dir_bytes, count;
    struct torch_zip_entry *entries;
};

static lamina_status unsound(const struct walk *w, const char *what) {
    return base_fail(w->err, LAMINA_DAMAGED, "%s: not a sound zip file: %s; download it again", w->in->name, what);
}

/* ---- the end, which says where the directory is ---- */

/* The 32-bit fields of the old end must repeat the 64-bit ones or say "see there". */
static bool agrees(uint64_t small, uint64_t limit, uint64_t large) {
    return small == limit || small == large;
}

static lamina_status read_end64(struct walk *w, uint64_t end_at, const uint8_t *end, const uint8_t *locator) {
    uint8_t r[END64_LEN];
    uint64_t at = load_le64(locator + 8);
    if (load_le32(locator + 4) != 0 || load_le32(locator + 16) > 1) {
        return base_fail(w->err, LAMINA_UNSUPPORTED, "%s: a zip file in several volumes", w->in->name);
    }
    if (at > end_at - LOCATOR_LEN || end_at - LOCATOR_LEN - at < END64_LEN) {
        return unsound(w, "its zip64 end lies outside");
    }
    LAMINA_TRY(w->in->read(w->in->user, at, r, END64_LEN, w->err));
    if (load_le32(r) != SIG_END64 || load_le64(r + 4) != end_at - LOCATOR_LEN - at - 12) {
        return unsound(w, "its zip64 end is not where it should be");
    }
    w->count = load_le64(r + 32);
    w->dir_bytes = load_le64(r + 40);
    w->dir_offset = load_le64(r + 48);
    if (load_le32(r + 16) != 0 || load_le32(r + 20) != 0 || load_le64(r + 24) != w->count) {
        return base_fail(w->err, LAMINA_UNSUPPORTED, "%s: a zip file in several volumes", w->in->name);
    }
    if (!agrees(load_le16(end + 10), UINT16_MAX, w->count) || !agrees(load_le32(end + 12), ALL32, w->dir_bytes) ||
        !agrees(load_le32(end + 16), ALL32, w->dir_offset)) {
        return unsound(w, "its two ends contradict each other");
    }
    return w->dir_offset <= at && w->dir_bytes == at - w->dir_offset
               ? LAMINA_OK
               : unsound(w, "its directory does not reach to its end");
}

static lamina_status read_end(struct walk *w, uint64_t end_at, const uint8_t *end) {
    uint8_t locator[LOCATOR_LEN] = {0};
    if (load_le16(end + 4) != 0 || load_le16(end + 6) != 0 || load_le16(end + 8) != load_le16(end + 10)) {
        return base_fail(w->err, LAMINA_UNSUPPORTED, "%s: a zip file in several volumes", w->in->name);
    }
    if (end_at >= LOCATOR_LEN) {
        LAMINA_TRY(w->in->read(w->in->user, end_at - LOCATOR_LEN, locator, LOCATOR_LEN, w->err));
    }
    if (load_le32(locator) == SIG_LOCATOR) {
        return read_end64(w, end_at, end, locator);
    }
    w->count = load_le16(end + 10);
    w->dir_bytes = load_le32(end + 12);
    w->dir_offset = load_le32(end + 16);
    return w->dir_offset <= end_at && w->dir_bytes == end_at - w->dir_offset
               ? LAMINA_OK
               : unsound(w, "its directory does not reach to its end");
}

static lamina_status find_end(struct walk *w) {
    size_t len = (size_t)min_u64(w->in->size, TAIL_LEN);
    uint64_t begin = w->in->size - len;
    uint8_t *tail = malloc(len + 1);
    if (tail == NULL) {
        return base_fail(w->err, LAMINA_NO_FIT, "%s: out of memory", w->in->name);
    }
    lamina_status status = w->in->read(w->in->user, begin, tail, len, w->err);
    if (status == LAMINA_OK) {
        size_t at = len < END_LEN ? SIZE_MAX : len - END_LEN;
        while (at != SIZE_MAX && load_le32(tail + at) != SIG_END) {
            at = at == 0 ? SIZE_MAX : at - 1;
        }
        if (at == SIZE_MAX) {
            status = unsound(w, "its directory is missing, so it is cut short");
        } else if (load_le16(tail + at + 20) != len - at - END_LEN) {
            status = unsound(w, "something follows its directory");
        } else {
            status = read_end(w, begin + at, tail + at);
        }
    }
    free(tail);
    return status;
}

/* ---- the directory ---- */

static bool name_ok(struct span name) {
    bool part_begins = true;
    if (name.len == 0 || name.len > TORCH_ZIP_MAX_NAME || name.ptr[0] == '/' || !utf8_valid(name)) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        struct span rest = span_sub(name, i, name.len);
        if (name.ptr[i] < 0x20 || name.ptr[i] == 0x7f || name.ptr[i] == '\\' ||
            (part_begins && (span_is(rest, "..") || span_starts_with(rest, "../")))) {
            return false;
        }
        part_begins = name.ptr[i] == '/';
    }
    return true;
}

/* The 64-bit values stand in this order, each only where the 32-bit field says "see there". */
static bool read_extra(struct span extra, uint64_t *const wide[3], const bool wanted[3]) {
    bool found = false;
    while (extra.len >= 4) {
        uint16_t id = load_le16(extra.ptr);
        size_t len = load_le16(extra.ptr + 2);
        if (len > extra.len - 4) {
            return false;
        }
        struct span body = span_sub(extra, 4, len);
        for (unsigned i = 0; id == EXTRA_ZIP64 && i < 3; i++) {
            if (!wanted[i]) {
                continue;
            }
            if (found || body.len < 8) {
                return false;
            }
            *wide[i] = load_le64(body.ptr);
            body = span_sub(body, 8, body.len);
        }
        found = found || id == EXTRA_ZIP64;
        extra = span_sub(extra, 4 + len, extra.len);
    }
    return extra.len == 0 && (found || !(wanted[0] || wanted[1] || wanted[2]));
}

/* One record of the directory. *len: how long it is. */
static lamina_status read_central(struct walk *w, struct span rest, struct arena *arena, size_t *len) {
    if (rest.len < CENTRAL_LEN || load_le32(rest.ptr) != SIG_CENTRAL) {
        return unsound(w, "its directory has fewer entries than it says");
    }
    const uint8_t *r = rest.ptr;
    size_t name_len = load_le16(r + 28);
    size_t extra_len = load_le16(r + 30);
    *len = CENTRAL_LEN + name_len + extra_len + load_le16(r + 32);
    if (*len > rest.len) {
        return unsound(w, "its directory is cut short");
    }
    struct span name = span_sub(rest, CENTRAL_LEN, name_len);
    if (!name_ok(name)) {
        return unsound(w, "an entry has a name that leads elsewhere or is none");
    }
    uint64_t full = load_le32(r + 24);
    struct torch_zip_entry e = {.bytes = load_le32(r + 20), .header = load_le32(r + 42), .packed = load_le16(r + 10) != 0};
    bool wanted[3] = {full == ALL32, e.bytes == ALL32, e.header == ALL32};
    uint64_t *wide[3] = {&full, &e.bytes, &e.header};
    if (!read_extra(span_sub(rest, CENTRAL_LEN + name_len, extra_len), wide, wanted)) {
        return unsound(w, "an entry's extra field is wrong");
    }
    if ((load_le16(r + 8) & (FLAGS_ENCRYPTED | FLAG_PATCHED)) != 0) {
        return base_fail(w->err, LAMINA_UNSUPPORTED, "%s: the zip file is encrypted", w->in->name);
    }
    if (load_le16(r + 34) != 0) {
        return base_fail(w->err, LAMINA_UNSUPPORTED, "%s: a zip file in several volumes", w->in->name);
    }
    if (!e.packed && e.bytes != full) {
        return unsound(w, "an entry that is not compressed has two sizes");
    }
    e.name = arena_copy_text(arena, name);
    w->entries[w->count++] = e;
    return e.name != NULL ? LAMINA_OK : base_fail(w->err, LAMINA_NO_FIT, "%s: out of memory", w->in->name);
}

static lamina_status read_directory(struct walk *w, struct arena *arena) {
    uint64_t count = w->count;
    if (count > TORCH_ZIP_MAX_ENTRIES || w->dir_bytes > TORCH_ZIP_MAX_DIRECTORY ||
        count > w->dir_bytes / CENTRAL_LEN) {
        return base_fail(w->err, LAMINA_DAMAGED,
                         "%s: not a sound zip file: a directory of %" PRIu64 " entries in %" PRIu64 " bytes", w->in->name,
                         count, w->dir_bytes);
    }
    uint8_t *bytes = malloc((size_t)w->dir_bytes + 1);
    w->entries = arena_take_array(arena, (size_t)count, sizeof(*w->entries));
    if (bytes == NULL || w->entries == NULL) {
        free(bytes);
        return base_fail(w->err, LAMINA_NO_FIT, "%s: out of memory", w->in->name);
    }
    struct span rest = span_of(bytes, (size_t)w->dir_bytes);
    lamina_status status = w->in->read(w->in->user, w->dir_offset, bytes, rest.len, w->err);
    w->count = 0;
    while (status == LAMINA_OK && w->count < count) {
        size_t len = 0;
        status = read_central(w, rest, arena, &len);
        rest = span_sub(rest, len, rest.len);
    }
    if (status == LAMINA_OK && rest.len != 0) {
        status = unsound(w, "its directory has more entries than it says");
    }
    free(bytes);
    return status;
}

/* ---- local headers ---- */

/* A size may stand there, be left for the descriptor behind the data, or for the extra field. */
static bool size_agrees(uint32_t local, uint64_t central, uint16_t flags) {
    return local == central || local == ALL32 || (local == 0 && (flags & FLAG_DESCRIPTOR) != 0);
}

static lamina_status check_local(struct walk *w, struct torch_zip_entry *e) {
    uint8_t r[LOCAL_LEN + TORCH_ZIP_MAX_NAME];
    size_t name_len = strlen(e->name);
    uint64_t room = w->dir_offset;
    if (e->header > room || room - e->header < LOCAL_LEN + name_len) {
        return unsound(w, "an entry lies outside the file");
    }
    LAMINA_TRY(w->in->read(w->in->user, e->header, r, LOCAL_LEN + name_len, w->err));
    uint16_t flags = load_le16(r + 6);
    bool same = load_le32(r) == SIG_LOCAL && (flags & FLAGS_ENCRYPTED) == 0 && (load_le16(r + 8) != 0) == e->packed &&
                load_le16(r + 26) == name_len && memcmp(r + LOCAL_LEN, e->name, name_len) == 0 &&
                size_agrees(load_le32(r + 18), e->bytes, flags) &&
                (e->packed || size_agrees(load_le32(r + 22), e->bytes, flags));
    if (!same) {
        return base_fail(w->err, LAMINA_DAMAGED,
                         "%s: not a sound zip file: the header at byte %" PRIu64 " is not that of \"%s\", as the "
                         "directory has it; download it again",
                         w->in->name, e->header, e->name);
    }
    e->offset = e->header + LOCAL_LEN + name_len + load_le16(r + 28);
    if (e->offset > room || e->bytes > room - e->offset) {
        return base_fail(w->err, LAMINA_DAMAGED,
                         "%s: not a sound zip file: \"%s\" has %" PRIu64 " bytes, more than are there", w->in->name, e->name,
                         e->bytes);
    }
    return LAMINA_OK;
}

static int by_header(const void *a, const void *b) {
    const struct torch_zip_entry *x = a;
    const struct torch_zip_entry *y = b;
    return x->header < y->header ? -1 : x->header > y->header;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct torch_zip_entry *)a)->name, ((const struct torch_zip_entry *)b)->name);
}

static lamina_status check_entries(struct walk *w) {
    size_t n = (size_t)w->count;
    qsort(w->entries, n, sizeof(*w->entries), by_header);
    for (size_t i = 0; i < n; i++) {
        struct torch_zip_entry *e = &w->entries[i];
        if (i > 0 && e->header < w->entries[i - 1].offset + w->entries[i - 1].bytes) {
            return base_fail(w->err, LAMINA_DAMAGED, "%s: not a sound zip file: \"%s\" and \"%s\" overlap", w->in->name,
                             w->entries[i - 1].name, e->name);
        }
        LAMINA_TRY(check_local(w, e));
    }
    qsort(w->entries, n, sizeof(*w->entries), by_name);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(w->entries[i - 1].name, w->entries[i].name) == 0) {
            return base_fail(w->err, LAMINA_DAMAGED, "%s: not a sound zip file: \"%s\" is in it twice", w->in->name,
                             w->entries[i].name);
        }
    }
    return LAMINA_OK;
}

lamina_status torch_zip_read(const struct torch_input *in, struct arena *arena, struct torch_zip *out,
                             struct lamina_error *err) {
    struct walk w = {.in = in, .err = err};
    LAMINA_TRY(find_end(&w));
    LAMINA_TRY(read_directory(&w, arena));
    if (w.count > 0) {
        LAMINA_TRY(check_entries(&w));
    }
    *out = (struct torch_zip){.count = (uint32_t)w.count, .entries = w.entries};
    return LAMINA_OK;
}

const struct torch_zip_entry *torch_zip_find(const struct torch_zip *z, const char *name) {
    struct torch_zip_entry key = {.name = name};
    return z->count == 0 ? NULL : bsearch(&key, z->entries, z->count, sizeof(key), by_name);
}
