/* SPDX-License-Identifier: Apache-2.0
 * Strict reader of safetensors headers: every rule of docs/FORMAT.md "Sources" is checked here, each with a sentence
 * that names the file and the tensor. Knows nothing of models or of what the bytes mean.
 *
 * Invariant: a header that parses describes tensors that lie one after the other, without hole or overlap, from the
 * end of the JSON to the last byte of the file. Memory: at most about five times the JSON, all of it in the caller's
 * arena; time n log n whatever the names are (duplicates are found by sorting, so no hash can be flooded). */
#include "format/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/compiler.h"
#include "base/json.h"

enum { LEADING_BLANKS_MAX = 64 << 10, NAME_MAX_BYTES = 512, METADATA_MAX = 1 << 20 };
#define NUMBER_LIMIT (UINT64_C(1) << 53)

uint32_t safetensors_dtype_bits(struct span dtype) {
    static const struct {
        const char *name;
        uint32_t bits;
    } table[] = {
        {"BF16", 16},   {"F16", 16},        {"F32", 32},        {"F64", 64},    {"F8_E4M3", 8}, {"F8_E5M2", 8},
        {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4},
        {"BOOL", 8},    {"U8", 8},          {"I8", 8},          {"U16", 16},    {"I16", 16},    {"U32", 32},
        {"I32", 32},    {"U64", 64},        {"I64", 64},        {"C64", 64},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (span_is(dtype, table[i].name)) {
            return table[i].bits;
        }
    }
    return 0;
}

lamina_status safetensors_header_len(const uint8_t first8[8], uint64_t file_size, const char *name, uint64_t *json_len,
                                     struct lamina_error *err) {
    if (file_size < 8) {
        return base_fail(err, LAMINA_DAMAGED,
                         "%s: not a safetensors file: it has %" PRIu64 " bytes, at least 8 expected", name, file_size);
    }
    uint64_t len = load_le64(first8);
    if (len > SAFETENSORS_MAX_HEADER) {
        return base_fail(err, LAMINA_DAMAGED,
                         "%s: not a safetensors file, or damaged: its first 8 bytes announce a header of %" PRIu64
                         " bytes, at most %d are possible",
                         name, len, (int)SAFETENSORS_MAX_HEADER);
    }
    if (len > file_size - 8) {
        return base_fail(err, LAMINA_DAMAGED,
                         "%s: the file is cut short: its header needs %" PRIu64 " bytes, the file has %" PRIu64
                         "; download it again",
                         name, len + 8, file_size);
    }
    *json_len = len;
    return LAMINA_OK;
}

/* One walk's state. `file` is for messages. */
struct parse {
    struct json_reader r;
    const char *file;
    uint64_t data_size;  /* bytes after the JSON */
    uint64_t data_begin; /* of them, from the start of the file */
    struct arena *arena;
    struct str text; /* scratch for short strings */
    struct lamina_error *err;
};

static bool name_ok(struct json_reader *r, struct span name) {
    if (name.len > NAME_MAX_BYTES) {
        return json_refuse(r, LAMINA_DAMAGED, "a tensor name of %zu bytes; at most %d are allowed", name.len,
                           (int)NAME_MAX_BYTES);
    }
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] < 0x20 || name.ptr[i] == 0x7f) {
            return json_refuse(r, LAMINA_DAMAGED, "a control character in a tensor name");
        }
    }
    return true;
}

static bool small_number(struct json_reader *r, uint64_t *value) {
    if (!json_u64(r, value)) {
        return false;
    }
    return *value < NUMBER_LIMIT || json_refuse(r, LAMINA_DAMAGED, "a number of 2^53 or more");
}

static bool read_metadata(struct parse *p) {
    size_t begin = p->r.pos;
    struct span key;
    if (!json_enter_object(&p->r)) {
        return false;
    }
    while (json_next_key(&p->r, &key)) {
        if (json_peek(&p->r) != JSON_STRING) {
            return json_refuse(&p->r, LAMINA_DAMAGED, "__metadata__ may only hold strings");
        }
        (void)json_skip(&p->r);
    }
    if (p->r.failed == LAMINA_OK && p->r.pos - begin > METADATA_MAX) {
        return json_refuse(&p->r, LAMINA_DAMAGED, "__metadata__ of more than %d bytes", (int)METADATA_MAX);
    }
    return p->r.failed == LAMINA_OK;
}

static bool read_dtype(struct parse *p, struct safetensors_entry *e, uint32_t *bits) {
    str_clear(&p->text);
    if (!json_string(&p->r, &p->text)) {
        return false;
    }
    *bits = safetensors_dtype_bits(str_span(&p->text));
    if (*bits == 0) {
        return json_refuse(&p->r, LAMINA_UNSUPPORTED, "tensor \"%s\" has the unknown data type \"%.40s\"", e->name,
                           str_text(&p->text));
    }
    (void)snprintf(e->dtype, sizeof(e->dtype), "%s", str_text(&p->text));
    return true;
}

static bool read_shape(struct parse *p, struct safetensors_entry *e) {
    e->elements = 1;
    if (!json_enter_array(&p->r)) {
        return false;
    }
    while (json_next_item(&p->r)) {
        uint64_t dim = 0;
        if (!small_number(&p->r, &dim)) {
            return false;
        }
        if (e->rank == SAFETENSORS_MAX_RANK) {
            return json_refuse(&p->r, LAMINA_DAMAGED, "tensor \"%s\" has more than %d dimensions", e->name,
                               (int)SAFETENSORS_MAX_RANK);
        }
        if (checked_mul(e->elements, dim, &e->elements)) {
            return json_refuse(&p->r, LAMINA_DAMAGED, "tensor \"%s\": its dimensions multiply beyond 64 bits", e->name);
        }
        e->shape[e->rank++] = dim;
    }
    return p->r.failed == LAMINA_OK;
}

static bool read_offsets(struct parse *p, struct safetensors_entry *e) {
    uint64_t v[2] = {0, 0};
    unsigned n = 0;
    if (!json_enter_array(&p->r)) {
        return false;
    }
    while (json_next_item(&p->r)) {
        if (n == 2) {
            return json_refuse(&p->r, LAMINA_DAMAGED, "tensor \"%s\" has more than two data_offsets", e->name);
        }
        if (!small_number(&p->r, &v[n++])) {
            return false;
        }
    }
    if (p->r.failed != LAMINA_OK) {
        return false;
    }
    if (n != 2 || v[0] > v[1]) {
        return json_refuse(&p->r, LAMINA_DAMAGED, "tensor \"%s\": data_offsets must be [begin, end]", e->name);
    }
    if (v[1] > p->data_size) {
        return json_refuse(&p->r, LAMINA_DAMAGED,
                           "tensor \"%s\" ends at byte %" PRIu64 ", but the file has %" PRIu64 " bytes (%" PRIu64
                           " expected at least): it is cut short, download it again",
                           e->name, p->data_begin + v[1], p->data_begin + p->data_size, p->data_begin + v[1]);
    }
    e->offset = v[0]; /* of the data section until the order is checked */
    e->bytes = v[1] - v[0];
    return true;
}

static bool size_agrees(struct parse *p, const struct safetensors_entry *e, uint32_t bits) {
    uint64_t total = 0;
    if (checked_mul(e->elements, bits, &total)) {
        return json_refuse(&p->r, LAMINA_DAMAGED, "tensor \"%s\": its size exceeds 64 bits", e->name);
    }
    if (total % 8 != 0) {
        return json_refuse(&p->r, LAMINA_DAMAGED, "tensor \"%s\": %" PRIu64 " elements of %s do not fill whole bytes",
                           e->name, e->elements, e->dtype);
    }
    if (total / 8 != e->bytes) {
        return json_refuse(&p->r, LAMINA_DAMAGED,
                           "tensor \"%s\": %" PRIu64 " elements of %s need %" PRIu64
                           " bytes, data_offsets give %" PRIu64,
                           e->name, e->elements, e->dtype, total / 8, e->bytes);
    }
    return true;
}

static bool read_entry(struct parse *p, struct safetensors_entry *e) {
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4 };
    unsigned seen = 0;
    uint32_t bits = 0;
    struct span key;
    if (!json_enter_object(&p->r)) {
        return false;
    }
    while (json_next_key(&p->r, &key)) {
        unsigned field = span_is(key, "dtype")          ? DTYPE
                         : span_is(key, "shape")        ? SHAPE
                         : span_is(key, "data_offsets") ? OFFSETS
                                                        : 0;
        if (field == 0) {
            return json_refuse(&p->r, LAMINA_DAMAGED, "tensor \"%s\" has an unknown field \"%.*s\"", e->name,
                               (int)min_u64(key.len, 40), (const char *)key.ptr);
        }
        if ((seen & field) != 0) {
            return json_refuse(&p->r, LAMINA_DAMAGED, "tensor \"%s\" has a field twice", e->name);
        }
        seen |= field;
        if (!(field == DTYPE ? read_dtype(p, e, &bits) : field == SHAPE ? read_shape(p, e) : read_offsets(p, e))) {
            return false;
        }
    }
    if (p->r.failed != LAMINA_OK) {
        return false;
    }
    if (seen != (DTYPE | SHAPE | OFFSETS)) {
        return json_refuse(&p->r, LAMINA_DAMAGED, "tensor \"%s\" lacks dtype, shape or data_offsets", e->name);
    }
    return size_agrees(p, e, bits);
}

/* Counts the members first, so that the table is taken once and its size is bounded by the text. */
static bool count_members(struct parse *p, uint32_t *count) {
    struct json_reader r = p->r;
    struct span key;
    uint32_t n = 0;
    if (json_enter_object(&r)) {
        while (json_next_key(&r, &key)) {
            if (n++ == SAFETENSORS_MAX_TENSORS + 1) {
                (void)json_refuse(&r, LAMINA_DAMAGED, "more than %d tensors", (int)SAFETENSORS_MAX_TENSORS);
            }
            (void)json_skip(&r);
        }
    }
    p->r.failed = r.failed;
    *count = n;
    return r.failed == LAMINA_OK;
}

static bool out_of_memory(struct parse *p) {
    return json_refuse(&p->r, LAMINA_NO_FIT, "the header needs more memory than is allowed for it");
}

static bool read_members(struct parse *p, struct safetensors_header *out) {
    uint32_t capacity = 0;
    struct span key;
    bool metadata = false;
    if (!count_members(p, &capacity)) {
        return false;
    }
    out->entries = arena_take_array(p->arena, capacity, sizeof(*out->entries));
    if (out->entries == NULL) {
        return out_of_memory(p);
    }
    if (!json_enter_object(&p->r)) {
        return false;
    }
    while (json_next_key(&p->r, &key)) {
        if (span_is(key, "__metadata__")) {
            if (metadata) {
                return json_refuse(&p->r, LAMINA_DAMAGED, "__metadata__ appears twice");
            }
            metadata = true;
            /* Some writers say null where there is none; the reference reader takes that. */
            if (!json_null(&p->r) && !read_metadata(p)) {
                return false;
            }
            continue;
        }
        struct safetensors_entry *e = &out->entries[out->count++];
        if (!name_ok(&p->r, key)) {
            return false;
        }
        e->name = arena_copy_text(p->arena, key);
        if (e->name == NULL) {
            return out_of_memory(p);
        }
        if (!read_entry(p, e)) {
            return false;
        }
    }
    return p->r.failed == LAMINA_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct safetensors_entry *)a)->name, ((const struct safetensors_entry *)b)->name);
}

/* Empty tensors come before the one that begins at the same place. */
static int by_offset(const void *a, const void *b) {
    const struct safetensors_entry *x = (const struct safetensors_entry *)a;
    const struct safetensors_entry *y = (const struct safetensors_entry *)b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    if ((x->bytes == 0) != (y->bytes == 0)) {
        return x->bytes == 0 ? -1 : 1;
    }
    return strcmp(x->name, y->name);
}

static lamina_status check_order(struct parse *p, struct safetensors_header *h) {
    qsort(h->entries, h->count, sizeof(*h->entries), by_name);
    for (uint32_t i = 1; i < h->count; i++) {
        if (strcmp(h->entries[i - 1].name, h->entries[i].name) == 0) {
            return base_fail(p->err, LAMINA_DAMAGED, "%s: tensor \"%s\" appears twice in the header", p->file,
                             h->entries[i].name);
        }
    }
    qsort(h->entries, h->count, sizeof(*h->entries), by_offset);
    uint64_t at = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        struct safetensors_entry *e = &h->entries[i];
        if (e->offset != at) {
            return base_fail(p->err, LAMINA_DAMAGED,
                             "%s: tensor \"%s\" begins at data byte %" PRIu64 ", expected %" PRIu64 " (%s)", p->file,
                             e->name, e->offset, at, e->offset > at ? "a hole" : "an overlap");
        }
        at += e->bytes;
        e->offset += p->data_begin;
    }
    if (at != p->data_size) {
        return base_fail(p->err, LAMINA_DAMAGED,
                         "%s: the tensors end at byte %" PRIu64 ", but the file has %" PRIu64 " bytes", p->file,
                         p->data_begin + at, p->data_begin + p->data_size);
    }
    return LAMINA_OK;
}

static bool leading_blanks_ok(struct span json) {
    size_t n = 0;
    while (n < json.len && n <= LEADING_BLANKS_MAX && json.ptr[n] != '{') {
        n++;
    }
    return n <= LEADING_BLANKS_MAX;
}

lamina_status safetensors_parse(struct span json, uint64_t file_size, const char *name, struct arena *arena,
                                struct safetensors_header *out, struct lamina_error *err) {
    struct safetensors_header h = {0};
    struct str key = {0};
    struct parse p = {.file = name, .arena = arena, .err = err};
    lamina_status status = LAMINA_OK;
    if (json.len > SAFETENSORS_MAX_HEADER || checked_add(json.len, 8, &p.data_begin) || p.data_begin > file_size) {
        return base_fail(err, LAMINA_DAMAGED, "%s: the header does not fit into the file", name);
    }
    if (!leading_blanks_ok(json)) {
        return base_fail(err, LAMINA_DAMAGED, "%s: the header does not begin with '{'", name);
    }
    p.data_size = file_size - p.data_begin;
    json_init(&p.r, json, name, &key, err);
    (void)read_members(&p, &h);
    status = json_finish(&p.r);
    if (status == LAMINA_OK) {
        status = check_order(&p, &h);
    }
    if (status == LAMINA_OK) {
        *out = h;
    }
    str_drop(&key);
    str_drop(&p.text);
    return status;
}
