/* SPDX-License-Identifier: Apache-2.0
 * The container from before torch 1.6: five pickles one after another, then the storages, each led by its length. How
 * long the pickles are stands nowhere, so the beginning of the file is read, and four times as much when that was not
 * enough; the storages are only measured.
 *
 * Invariant: every byte of the file belongs to a pickle, a length or a storage. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "format/torch_priv.h"

enum { FIRST_READ = 1 << 20, PROTOCOL = 1001 };

/* torch/serialization.py: MAGIC_NUMBER = 0x1950a86a20f9469cfc6c, as protocols 2 to 5 and as 0 and 1 write it. */
static const uint8_t MAGIC[10] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
static const char MAGIC_DIGITS[] = "119547037146038801333356";

struct legacy_storage {
    struct torch_storage s;
    uint64_t offset;
    bool placed;
};

struct legacy {
    const struct torch_input *in;
    struct torch_machine object, list; /* list: also for the pickles before the object */
    struct legacy_storage *storages;   /* sorted by key */
    size_t count;
};

/* ---- the pickles ---- */

static bool small_pickle(struct legacy *l, torch_ref *root, size_t *at) {
    bool ok = torch_machine_begin(&l->list, l->list.text, *at) && torch_machine_run(&l->list, root);
    *at = l->list.at;
    return ok;
}

static bool is_magic(const struct torch_machine *m, torch_ref ref) {
    struct torch_value v = torch_value_of(m, ref);
    struct span s = v.kind == KIND_BIG ? span_sub(m->text, (size_t)v.b, v.a) : span_of(NULL, 0);
    return span_equal(s, span_of(MAGIC, sizeof(MAGIC))) || span_is(s, MAGIC_DIGITS);
}

static bool check_system(struct torch_machine *m, torch_ref root) {
    struct torch_value v = torch_value_of(m, root);
    uint32_t link = (uint32_t)v.b;
    for (uint32_t i = 0; v.kind == KIND_DICT && i < v.a; i++) {
        struct span key;
        if (torch_text_of(m, m->links[link].key, &key) && span_is(key, "little_endian")) {
            return m->links[link].value == TORCH_TRUE ||
                   torch_refuse(m, LAMINA_UNSUPPORTED, "the file is big-endian; save it on a little-endian machine");
        }
        link = m->links[link].next;
    }
    return torch_refuse(m, LAMINA_DAMAGED, "it does not say in which byte order it was written");
}

static bool read_front(struct legacy *l, size_t *at) {
    struct torch_machine *m = &l->list;
    torch_ref root = 0;
    uint64_t protocol = 0;
    if (!small_pickle(l, &root, at)) {
        return false;
    }
    if (!is_magic(m, root)) {
        return torch_refuse(m, LAMINA_UNSUPPORTED, "it does not begin with torch's magic number, so it is no checkpoint");
    }
    if (!small_pickle(l, &root, at)) {
        return false;
    }
    if (!torch_count_of(m, root, &protocol) || protocol != PROTOCOL) {
        return torch_refuse(m, LAMINA_UNSUPPORTED, "the container's version is not %d", (int)PROTOCOL);
    }
    return small_pickle(l, &root, at) && check_system(m, root);
}

/* ---- storages ---- */

static int by_key(const void *a, const void *b) {
    struct span x = ((const struct legacy_storage *)a)->s.key;
    struct span y = ((const struct legacy_storage *)b)->s.key;
    int order = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    return order != 0 ? order : x.len < y.len ? -1 : x.len > y.len;
}

/* Every storage that the object pickle names, once. */
static bool gather(struct legacy *l) {
    struct torch_machine *m = &l->object;
    size_t n = 0;
    for (uint32_t i = TORCH_FIRST_FREE; i < m->value_count; i++) {
        n += m->values[i].kind == KIND_STORAGE;
    }
    l->storages = calloc(n + 1, sizeof(*l->storages));
    if (l->storages == NULL) {
        return torch_refuse(m, LAMINA_NO_FIT, "out of memory");
    }
    for (uint32_t i = TORCH_FIRST_FREE; i < m->value_count; i++) {
        if (m->values[i].kind == KIND_STORAGE && !torch_storage_of(m, i, &l->storages[l->count++].s)) {
            return false;
        }
    }
    qsort(l->storages, l->count, sizeof(*l->storages), by_key);
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        const struct torch_storage *s = &l->storages[i].s;
        const struct torch_storage *before = kept > 0 ? &l->storages[kept - 1].s : NULL;
        if (before != NULL && span_equal(before->key, s->key)) {
            if (before->elements != s->elements || torch_types[before->type].bytes != torch_types[s->type].bytes) {
                char shown[TORCH_SHOWN_MAX];
                return torch_refuse(m, LAMINA_DAMAGED, "storage \"%s\" is said to have two sizes",
                                    torch_shown(s->key, shown));
            }
        } else {
            l->storages[kept++] = l->storages[i];
        }
    }
    l->count = kept;
    return true;
}

static struct legacy_storage *find_key(const struct legacy *l, struct span key) {
    struct legacy_storage wanted = {.s = {.key = key}};
    return l->count == 0 ? NULL : bsearch(&wanted, l->storages, l->count, sizeof(wanted), by_key);
}

/* One storage: its length, then its bytes. *at moves behind them. */
static bool measure(struct legacy *l, struct span key, uint64_t *at) {
    struct torch_machine *m = &l->list;
    struct legacy_storage *s = key.len <= TORCH_KEY_MAX ? find_key(l, key) : NULL;
    uint8_t len[8];
    uint64_t bytes = 0;
    char shown[TORCH_SHOWN_MAX];
    (void)torch_shown(key, shown);
    if (s == NULL || s->placed) {
        return torch_refuse(m, LAMINA_DAMAGED, "storage \"%s\" is listed %s", shown,
                            s == NULL ? "but no tensor has it" : "twice");
    }
    if (l->in->size - *at < sizeof(len)) {
        return torch_refuse(m, LAMINA_DAMAGED, "the file is cut short before storage \"%s\"; download it again", shown);
    }
    lamina_status status = l->in->read(l->in->user, *at, len, sizeof(len), m->err);
    if (status < 0) {
        m->failed = status;
        return false;
    }
    *at += sizeof(len);
    if (load_le64(len) != s->s.elements || checked_mul(s->s.elements, torch_types[s->s.type].bytes, &bytes)) {
        return torch_refuse(m, LAMINA_DAMAGED,
                            "storage \"%s\" has %" PRIu64 " elements, its tensors expect %" PRIu64, shown,
                            load_le64(len), s->s.elements);
    }
    if (bytes > l->in->size - *at) {
        return torch_refuse(m, LAMINA_DAMAGED, "the file is cut short in storage \"%s\"; download it again", shown);
    }
    s->offset = *at;
    s->placed = true;
    *at += bytes;
    return true;
}

static bool measure_all(struct legacy *l, torch_ref keys, uint64_t at) {
    struct torch_machine *m = &l->list;
    struct torch_value v = torch_value_of(m, keys);
    uint32_t link = (uint32_t)v.b;
    if (v.kind != KIND_LIST) {
        return torch_refuse(m, LAMINA_DAMAGED, "the list of storages is missing");
    }
    for (uint32_t i = 0; i < v.a; i++) {
        struct span key;
        if (!torch_text_of(m, m->links[link].value, &key)) {
            return torch_refuse(m, LAMINA_DAMAGED, "the list of storages holds something that is no key");
        }
        link = m->links[link].next;
        if (!measure(l, key, &at)) {
            return false;
        }
    }
    return at == l->in->size || torch_refuse(m, LAMINA_DAMAGED, "%" PRIu64 " bytes follow the last storage",
                                             l->in->size - at);
}

static bool find_storage(const struct torch_space *space, struct torch_machine *m, const struct torch_storage *s,
                         uint64_t *offset) {
    const struct legacy_storage *found = find_key(space->where, s->key);
    if (found == NULL || !found->placed) {
        char shown[TORCH_SHOWN_MAX];
        return torch_refuse(m, LAMINA_DAMAGED, "storage \"%s\" is not in the file", torch_shown(s->key, shown));
    }
    *offset = found->offset;
    return true;
}

/* ---- all of it ---- */

static bool read_text(struct legacy *l, struct arena *arena, struct torch_tensors *out) {
    size_t at = 0;
    torch_ref root = 0;
    torch_ref keys = 0;
    struct torch_space space = {.find = find_storage, .where = l};
    if (!read_front(l, &at) || !torch_machine_begin(&l->object, l->object.text, at) ||
        !torch_machine_run(&l->object, &root)) {
        return false;
    }
    at = l->object.at;
    return small_pickle(l, &keys, &at) && gather(l) && measure_all(l, keys, at) &&
           torch_collect(&l->object, root, &space, arena, out);
}

/* *short_of: the text ends before the pickles do. */
static lamina_status try_text(const struct torch_input *in, struct span text, struct arena *arena,
                              struct torch_tensors *out, bool *short_of, struct lamina_error *err) {
    struct legacy l = {.in = in,
                       .object = {.text = text, .name = in->name, .err = err},
                       .list = {.text = text, .name = in->name, .err = err}};
    bool ok = read_text(&l, arena, out);
    lamina_status status = ok ? LAMINA_OK : l.list.failed < 0 ? l.list.failed : l.object.failed;
    *short_of = l.list.starved || l.object.starved;
    torch_machine_drop(&l.list);
    torch_machine_drop(&l.object);
    free(l.storages);
    return status;
}

lamina_status torch_legacy_read(const struct torch_input *in, struct arena *arena, struct torch_tensors *out,
                                struct lamina_error *err) {
    uint64_t most = min_u64(in->size, TORCH_MAX_PICKLE);
    for (uint64_t len = min_u64(most, FIRST_READ);; len = min_u64(most, len * 4)) {
        struct lamina_error why = {0};
        bool short_of = false;
        uint8_t *bytes = malloc((size_t)len + 1);
        if (bytes == NULL) {
            return base_fail(err, LAMINA_NO_FIT, "%s: out of memory", in->name);
        }
        lamina_status status = in->read(in->user, 0, bytes, (size_t)len, &why);
        arena->limit_bytes = arena->taken_bytes + TORCH_ARENA_BASE + (size_t)len * TORCH_ARENA_PER_BYTE;
        if (status == LAMINA_OK) {
            status = try_text(in, span_of(bytes, (size_t)len), arena, out, &short_of, &why);
        }
        free(bytes);
        if (status == LAMINA_OK) {
            return LAMINA_OK;
        }
        if (!short_of || len == in->size) {
            return base_fail(err, status, "%s", why.message);
        }
        if (len == most) {
            return base_fail(err, LAMINA_UNSUPPORTED, "%s: its pickles are longer than %d bytes", in->name,
                             (int)TORCH_MAX_PICKLE);
        }
    }
}
