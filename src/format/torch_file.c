/* SPDX-License-Identifier: Apache-2.0
 * Tells the containers of torch apart and reads the newer one: finds the one data.pkl of the archive, runs it, and
 * looks its storages up among the entries beside it. */
#include "format/torch_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "format/torch_priv.h"

enum { TAR_LEN = 512, TAR_MAGIC = 257 };

struct archive {
    const struct torch_input *in;
    struct torch_zip zip;
    char top[TORCH_ZIP_MAX_NAME + 2]; /* the folder that everything is in, with its slash; may be "" */
    struct lamina_error *err;
};

/* An entry below the top folder. */
static const struct torch_zip_entry *entry_of(const struct archive *a, const char *folder, struct span name) {
    char path[2 * TORCH_ZIP_MAX_NAME];
    int n = snprintf(path, sizeof(path), "%s%s%.*s", a->top, folder, (int)name.len, (const char *)name.ptr);
    return n > 0 && (size_t)n < sizeof(path) && memchr(name.ptr, 0, name.len) == NULL ? torch_zip_find(&a->zip, path)
                                                                                      : NULL;
}

static bool find_storage(const struct torch_space *space, struct torch_machine *m, const struct torch_storage *s,
                         uint64_t *offset) {
    const struct archive *a = space->where;
    const struct torch_zip_entry *e = entry_of(a, "data/", s->key);
    uint64_t bytes = 0;
    char shown[TORCH_SHOWN_MAX];
    const char *key = torch_shown(s->key, shown);
    if (e == NULL) {
        return torch_refuse(m, LAMINA_DAMAGED, "storage \"%s\" is not in the file", key);
    }
    if (e->packed) {
        return torch_refuse(m, LAMINA_UNSUPPORTED, "storage \"%s\" is compressed; torch itself never writes that", key);
    }
    if (checked_mul(s->elements, torch_types[s->type].bytes, &bytes) || bytes != e->bytes) {
        return torch_refuse(m, LAMINA_DAMAGED, "storage \"%s\" has %" PRIu64 " bytes, its tensors expect %" PRIu64
                            " elements of %u", key, e->bytes, s->elements, torch_types[s->type].bytes);
    }
    *offset = e->offset;
    return true;
}

/* The folder of the only data.pkl that is at most one folder deep. */
static lamina_status find_top(struct archive *a) {
    unsigned found = 0;
    for (uint32_t i = 0; i < a->zip.count; i++) {
        const char *name = a->zip.entries[i].name;
        const char *slash = strchr(name, '/');
        if (strcmp(slash != NULL ? slash + 1 : name, "data.pkl") == 0) {
            (void)snprintf(a->top, sizeof(a->top), "%.*s", slash != NULL ? (int)(slash + 1 - name) : 0, name);
            found++;
        }
    }
    return found == 1 ? LAMINA_OK
                      : base_fail(a->err, LAMINA_DAMAGED,
                                  "%s: a zip file, but no torch checkpoint: it holds %u data.pkl, 1 expected", a->in->name,
                                  found);
}

static lamina_status check_byte_order(const struct archive *a) {
    const struct torch_zip_entry *e = entry_of(a, "", span_of_text("byteorder"));
    char word[8] = "little";
    if (e == NULL) {
        return LAMINA_OK; /* torch before 2.1 */
    }
    if (e->packed || e->bytes >= sizeof(word)) {
        return base_fail(a->err, LAMINA_DAMAGED, "%s: its entry byteorder says neither little nor big", a->in->name);
    }
    memset(word, 0, sizeof(word));
    LAMINA_TRY(a->in->read(a->in->user, e->offset, word, (size_t)e->bytes, a->err));
    if (strcmp(word, "big") == 0) {
        return base_fail(a->err, LAMINA_UNSUPPORTED, "%s is big-endian; save it on a little-endian machine", a->in->name);
    }
    return strcmp(word, "little") == 0
               ? LAMINA_OK
               : base_fail(a->err, LAMINA_DAMAGED, "%s: its entry byteorder says neither little nor big", a->in->name);
}

static lamina_status run_pickle(const struct archive *a, struct span text, struct arena *arena,
                                struct torch_tensors *out) {
    struct torch_machine m = {.name = a->in->name, .err = a->err};
    struct torch_space space = {.find = find_storage, .where = a};
    torch_ref root = 0;
    bool ok = torch_machine_begin(&m, text, 0) && torch_machine_run(&m, &root);
    if (ok && m.at != text.len) {
        ok = torch_refuse(&m, LAMINA_DAMAGED, "%zu bytes follow its end", text.len - m.at);
    }
    ok = ok && torch_collect(&m, root, &space, arena, out);
    lamina_status status = ok ? LAMINA_OK : m.failed;
    torch_machine_drop(&m);
    return status;
}

static lamina_status read_archive(struct archive *a, struct arena *arena, struct torch_tensors *out) {
    LAMINA_TRY(find_top(a));
    LAMINA_TRY(check_byte_order(a));
    const struct torch_zip_entry *e = entry_of(a, "", span_of_text("data.pkl"));
    if (e->packed || e->bytes > TORCH_MAX_PICKLE) {
        return base_fail(a->err, LAMINA_UNSUPPORTED, "%s: its data.pkl is compressed or larger than %d bytes",
                         a->in->name, (int)TORCH_MAX_PICKLE);
    }
    uint8_t *text = malloc((size_t)e->bytes + 1);
    if (text == NULL) {
        return base_fail(a->err, LAMINA_NO_FIT, "%s: out of memory", a->in->name);
    }
    arena->limit_bytes = arena->taken_bytes + TORCH_ARENA_BASE + (size_t)e->bytes * TORCH_ARENA_PER_BYTE;
    lamina_status status = a->in->read(a->in->user, e->offset, text, (size_t)e->bytes, a->err);
    if (status == LAMINA_OK) {
        status = run_pickle(a, span_of(text, (size_t)e->bytes), arena, out);
    }
    free(text);
    return status;
}

static lamina_status read_zip(const struct torch_input *in, struct arena *arena, struct torch_tensors *out,
                              struct lamina_error *err) {
    struct archive *a = calloc(1, sizeof(*a));
    struct arena names = {0};
    if (a == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "%s: out of memory", in->name);
    }
    a->in = in;
    a->err = err;
    lamina_status status = torch_zip_read(in, &names, &a->zip, err);
    if (status == LAMINA_OK) {
        status = read_archive(a, arena, out);
    }
    arena_drop(&names);
    free(a);
    return status;
}

lamina_status torch_file_read(const struct torch_input *in, struct arena *arena, struct torch_tensors *out,
                              struct lamina_error *err) {
    uint8_t first[TAR_LEN] = {0};
    size_t len = (size_t)min_u64(in->size, sizeof(first));
    *out = (struct torch_tensors){0};
    if (len > 0) {
        LAMINA_TRY(in->read(in->user, 0, first, len, err));
    }
    if (len >= 4 && memcmp(first, "PK\3\4", 4) == 0) {
        return read_zip(in, arena, out, err);
    }
    if (len == TAR_LEN && memcmp(first + TAR_MAGIC, "ustar", 5) == 0) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "%s: a tar file, torch's oldest container; load it and save it again with any later torch",
                         in->name);
    }
    /* Pickles begin with their protocol, or with L, as torch's magic number does in protocols 0 and 1. What else is a
     * pickle is let through only to be refused with the name of what it refers to. */
    if (len == 0 || strchr("\x80Lc(}]", first[0]) == NULL || first[0] == 0) {
        return base_fail(err, LAMINA_DAMAGED, "%s is no torch checkpoint: neither a zip file nor a pickle", in->name);
    }
    return torch_legacy_read(in, arena, out, err);
}
