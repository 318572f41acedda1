/* SPDX-License-Identifier: Apache-2.0
 * Walks the header of a GGUF file, twice: to find its end, and to make the tables. Readers of this format have been broken
 * by every number in it (lengths, counts, dimensions, offsets: reference/reliability.md 1), so each is bounded by the bytes
 * of the file before it is used, and by checked arithmetic after.
 *
 * Invariant of what parses: the tensors lie one after the other in the order of the header, each at the next multiple of
 * the alignment, as ggml demands it too, and the file ends with the last one or its padding. */
#include "format/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/str.h"
#include "format/gguf_priv.h"

enum { NAME_MAX_BYTES = 512, KEY_MAX_BYTES = 65535, ALIGNMENT = 32, ALIGNMENT_MAX = 1 << 20 };
enum { PAIR_LEAST = 8 + 1 + 4 + 1, TENSOR_LEAST = 8 + 1 + 4 + 4 + 8 }; /* bytes in the header */
#define NUMBER_LIMIT (UINT64_C(1) << 53)

struct front {
    uint32_t version;
    uint64_t tensors, pairs;
};

/* A tensor as the header has it. */
struct listing {
    struct span name;
    uint32_t rank, type;
    uint64_t dims[GGUF_MAX_RANK]; /* fastest first */
    uint64_t offset;              /* from the data's beginning */
};

/* ---- the walk ---- */

static bool check_version(struct gguf_cursor *c, uint32_t version) {
    if (version == 2 || version == 3) {
        return true;
    }
    if (version != 0 && (version & 0xffff) == 0) {
        return gguf_refuse(c, LAMINA_UNSUPPORTED, "it is a big-endian file; take the little-endian one");
    }
    return gguf_refuse(c, LAMINA_UNSUPPORTED, "version %" PRIu32 " of the format; 2 and 3 are known%s", version,
                       version < 2 ? ", so convert the model again" : "");
}

static bool take_front(struct gguf_cursor *c, struct front *f) {
    struct span magic;
    if (!gguf_take(c, 4, &magic)) {
        return false;
    }
    if (memcmp(magic.ptr, "GGUF", 4) != 0) {
        c->at = 0;
        return gguf_refuse(c, LAMINA_DAMAGED, "it does not begin with \"GGUF\", so it is no such file");
    }
    if (!gguf_take_u32(c, &f->version) || !check_version(c, f->version) || !gguf_take_u64(c, &f->tensors) ||
        !gguf_take_u64(c, &f->pairs)) {
        return false;
    }
    if (f->tensors > GGUF_MAX_TENSORS || f->pairs > GGUF_MAX_PAIRS || f->tensors > c->file_size / TENSOR_LEAST ||
        f->pairs > c->file_size / PAIR_LEAST) {
        return gguf_refuse(c, LAMINA_DAMAGED,
                           "%" PRIu64 " tensors and %" PRIu64 " keys are announced, more than a file of %" PRIu64
                           " bytes can hold or any model needs; it is cut short or damaged",
                           f->tensors, f->pairs, c->file_size);
    }
    return true;
}

static bool name_ok(struct gguf_cursor *c, struct span name, size_t most, const char *what) {
    if (name.len == 0 || name.len > most) {
        return gguf_refuse(c, LAMINA_DAMAGED, "%s of %zu bytes; 1 to %zu are allowed", what, name.len, most);
    }
    bool plain = utf8_valid(name);
    for (size_t i = 0; i < name.len; i++) {
        plain = plain && name.ptr[i] >= 0x20 && name.ptr[i] != 0x7f;
    }
    return plain || gguf_refuse(c, LAMINA_DAMAGED, "%s that is not plain text", what);
}

static bool take_pair(struct gguf_cursor *c, struct gguf_pair *p) {
    uint32_t type = 0;
    return gguf_take_text(c, &p->key) && name_ok(c, p->key, KEY_MAX_BYTES, "a key") && gguf_take_u32(c, &type) &&
           gguf_take_value(c, type, 0, &p->value);
}

static bool take_listing(struct gguf_cursor *c, struct listing *l) {
    if (!gguf_take_text(c, &l->name) || !name_ok(c, l->name, NAME_MAX_BYTES, "a tensor name") ||
        !gguf_take_u32(c, &l->rank)) {
        return false;
    }
    if (l->rank > GGUF_MAX_RANK) {
        return gguf_refuse(c, LAMINA_DAMAGED, "tensor \"%.*s\" has %" PRIu32 " dimensions, at most %d are possible",
                           (int)min_u64(l->name.len, 80), (const char *)l->name.ptr, l->rank, (int)GGUF_MAX_RANK);
    }
    for (uint32_t i = 0; i < l->rank; i++) {
        if (!gguf_take_u64(c, &l->dims[i])) {
            return false;
        }
    }
    return gguf_take_u32(c, &l->type) && gguf_take_u64(c, &l->offset);
}

lamina_status gguf_measure(struct span front, uint64_t file_size, const char *name, uint64_t *len,
                           struct lamina_error *err) {
    struct lamina_error why = {0};
    struct gguf_cursor c = {.text = front, .file_size = file_size, .name = name, .err = &why};
    struct front f = {0};
    struct gguf_pair pair;
    struct listing listing;
    bool ok = take_front(&c, &f);
    for (uint64_t i = 0; ok && i < f.pairs; i++) {
        ok = take_pair(&c, &pair);
    }
    for (uint64_t i = 0; ok && i < f.tensors; i++) {
        ok = take_listing(&c, &listing);
    }
    if (ok) {
        *len = c.at;
        return LAMINA_OK;
    }
    if (c.wanted == 0) {
        return base_fail(err, c.failed, "%s", why.message);
    }
    uint64_t most = min_u64(file_size, GGUF_MAX_HEADER);
    *len = min_u64(most, max_u64(c.wanted, max_u64(GGUF_FIRST_READ, (uint64_t)front.len * 2)));
    return LAMINA_OK;
}

/* ---- tables ---- */

static bool no_memory(struct gguf_cursor *c) {
    return gguf_refuse(c, LAMINA_NO_FIT, "the header needs more memory than is allowed for it");
}

static int by_key(const void *a, const void *b) {
    struct span x = ((const struct gguf_pair *)a)->key;
    struct span y = ((const struct gguf_pair *)b)->key;
    int order = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    return order != 0 ? order : x.len < y.len ? -1 : x.len > y.len;
}

static bool read_pairs(struct gguf_cursor *c, struct arena *arena, uint64_t count, struct gguf *out) {
    out->pairs = arena_take_array(arena, (size_t)count, sizeof(*out->pairs));
    if (out->pairs == NULL) {
        return no_memory(c);
    }
    for (; out->pair_count < count; out->pair_count++) {
        if (!take_pair(c, &out->pairs[out->pair_count])) {
            return false;
        }
    }
    qsort(out->pairs, out->pair_count, sizeof(*out->pairs), by_key);
    for (uint32_t i = 1; i < out->pair_count; i++) {
        struct span key = out->pairs[i].key;
        if (span_equal(key, out->pairs[i - 1].key)) {
            return gguf_refuse(c, LAMINA_DAMAGED, "the key \"%.*s\" appears twice", (int)min_u64(key.len, 80),
                               (const char *)key.ptr);
        }
    }
    return true;
}

static bool read_alignment(struct gguf_cursor *c, struct gguf *out) {
    const struct gguf_value *v = gguf_find(out, "general.alignment");
    uint64_t align = ALIGNMENT;
    if (v != NULL && (v->type != GGUF_U32 || !gguf_as_u64(v, &align) || align == 0 || (align & (align - 1)) != 0 ||
                      align > ALIGNMENT_MAX)) {
        return gguf_refuse(c, LAMINA_DAMAGED, "general.alignment is no power of two up to %d", (int)ALIGNMENT_MAX);
    }
    out->alignment = (uint32_t)align;
    return true;
}

/* Shape, elements and bytes. */
static bool measure_tensor(struct gguf_cursor *c, const struct listing *l, struct gguf_tensor *t) {
    uint64_t row = l->rank > 0 ? l->dims[0] : 1;
    t->rank = l->rank;
    t->elements = 1;
    for (uint32_t i = 0; i < l->rank; i++) {
        t->shape[l->rank - 1 - i] = l->dims[i];
        if (l->dims[i] >= NUMBER_LIMIT || checked_mul(t->elements, l->dims[i], &t->elements)) {
            return gguf_refuse(c, LAMINA_DAMAGED, "tensor \"%s\": its dimensions multiply beyond 64 bits", t->name);
        }
    }
    t->type = quant_of_ggml(l->type);
    if (t->type == NULL) {
        return gguf_refuse(c, LAMINA_UNSUPPORTED, "tensor \"%s\" is of type %" PRIu32 ": %s", t->name, l->type,
                           quant_ggml_hint(l->type));
    }
    if (row % t->type->block_len != 0) {
        return gguf_refuse(c, LAMINA_DAMAGED, "tensor \"%s\": rows of %" PRIu64 " are not whole blocks of %s, which are %u long",
                           t->name, row, t->type->name, t->type->block_len);
    }
    if (checked_mul(t->elements / t->type->block_len, t->type->block_bytes, &t->bytes) || t->bytes >= NUMBER_LIMIT) {
        return gguf_refuse(c, LAMINA_DAMAGED, "tensor \"%s\" is larger than 2^53 bytes", t->name);
    }
    return true;
}

/* One tensor; *end: where the one before ended, counted from the data's beginning. */
static bool read_tensor(struct gguf_cursor *c, struct arena *arena, uint32_t alignment, struct gguf_tensor *t,
                        uint64_t *end) {
    struct listing l = {0};
    uint64_t expected = 0;
    if (!take_listing(c, &l)) {
        return false;
    }
    t->name = arena_copy_text(arena, l.name);
    if (t->name == NULL) {
        return no_memory(c);
    }
    if (!measure_tensor(c, &l, t)) {
        return false;
    }
    if (checked_round_up(*end, alignment, &expected) || l.offset != expected) {
        return gguf_refuse(c, LAMINA_DAMAGED,
                           "tensor \"%s\" begins at data byte %" PRIu64 ", expected %" PRIu64 " (%s)", t->name, l.offset,
                           expected, l.offset > expected ? "a hole" : "an overlap");
    }
    t->offset = l.offset;
    if (checked_add(l.offset, t->bytes, end)) {
        return gguf_refuse(c, LAMINA_DAMAGED, "tensor \"%s\": its end exceeds 64 bits", t->name);
    }
    return true;
}

/* `end`: of the last tensor, counted from the data's beginning. */
static bool check_end(struct gguf_cursor *c, struct gguf *out, uint64_t end) {
    uint64_t last = 0;
    uint64_t padded = 0;
    if (checked_round_up(c->at, out->alignment, &out->data_begin) || checked_add(out->data_begin, end, &last) ||
        checked_round_up(last, out->alignment, &padded)) {
        return gguf_refuse(c, LAMINA_DAMAGED, "the tensors' end exceeds 64 bits");
    }
    if (out->count == 0) {
        last = c->at; /* a file of metadata alone may end with it */
    }
    if (c->file_size < last) {
        return gguf_refuse(c, LAMINA_DAMAGED,
                           "the tensors end at byte %" PRIu64 ", but the file has %" PRIu64
                           " bytes: it is cut short, download it again",
                           last, c->file_size);
    }
    return c->file_size <= padded ||
           gguf_refuse(c, LAMINA_DAMAGED, "the tensors end at byte %" PRIu64 ", but the file has %" PRIu64 " bytes", last,
                       c->file_size);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct gguf_tensor *)a)->name, ((const struct gguf_tensor *)b)->name);
}

static bool read_tensors(struct gguf_cursor *c, struct arena *arena, uint64_t count, struct gguf *out) {
    uint64_t end = 0;
    out->tensors = arena_take_array(arena, (size_t)count, sizeof(*out->tensors));
    if (out->tensors == NULL) {
        return no_memory(c);
    }
    for (; out->count < count; out->count++) {
        if (!read_tensor(c, arena, out->alignment, &out->tensors[out->count], &end)) {
            return false;
        }
    }
    if (!check_end(c, out, end)) {
        return false;
    }
    qsort(out->tensors, out->count, sizeof(*out->tensors), by_name);
    for (uint32_t i = 0; i < out->count; i++) {
        out->tensors[i].offset += out->data_begin;
        if (i > 0 && strcmp(out->tensors[i - 1].name, out->tensors[i].name) == 0) {
            return gguf_refuse(c, LAMINA_DAMAGED, "tensor \"%s\" appears twice", out->tensors[i].name);
        }
    }
    return true;
}

lamina_status gguf_parse(struct span header, uint64_t file_size, const char *name, struct arena *arena, struct gguf *out,
                         struct lamina_error *err) {
    struct gguf_cursor c = {.text = header, .file_size = file_size, .name = name, .err = err};
    struct front f = {0};
    struct gguf g = {0};
    if (header.len > GGUF_MAX_HEADER || header.len > file_size) {
        return base_fail(err, LAMINA_DAMAGED, "%s: the header does not fit into the file", name);
    }
    bool ok = take_front(&c, &f) && read_pairs(&c, arena, f.pairs, &g) && read_alignment(&c, &g) &&
              read_tensors(&c, arena, f.tensors, &g);
    if (ok && c.at != header.len) {
        ok = gguf_refuse(&c, LAMINA_DAMAGED, "it ends here, %zu bytes before what was taken for its end",
                         header.len - c.at);
    }
    g.version = f.version;
    if (ok) {
        *out = g;
    }
    return ok ? LAMINA_OK : c.failed;
}
