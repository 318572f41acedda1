/* SPDX-License-Identifier: Apache-2.0
 * torch files for tests, in memory: pickles operation by operation, and the two containers around them. Writes what
 * torch.save writes where nothing else is asked; what is asked may be nonsense. */
#ifndef TORCH_MAKER_H
#define TORCH_MAKER_H

#include <stdint.h>
#include <string.h>

#include "base/span.h"
#include "base/str.h"

/* ---- pickles, protocol 2 ---- */

static inline void pk_text(struct str *p, const char *text) {
    uint8_t len[4];
    store_le32(len, (uint32_t)strlen(text));
    str_add_byte(p, 'X');
    str_add(p, len, 4);
    str_add_text(p, text);
}

static inline void pk_number(struct str *p, uint64_t v) {
    uint8_t b[9] = {8};
    if (v < 256) {
        str_add_byte(p, 'K');
        str_add_byte(p, (uint8_t)v);
    } else { /* any length is a lawful LONG1 */
        store_le64(b + 1, v);
        str_add_byte(p, 0x8a);
        str_add(p, b, 9);
    }
}

static inline void pk_global(struct str *p, const char *module, const char *name) {
    str_printf(p, "c%s\n%s\n", module, name);
}

static inline void pk_begin(struct str *p) {
    str_add(p, "\x80\x02", 2);
    pk_global(p, "collections", "OrderedDict");
    str_add_text(p, ")R(");
}

static inline void pk_end(struct str *p) {
    str_add_text(p, "u.");
}

struct pk_tensor {
    const char *name, *type, *key; /* type: "FloatStorage" */
    uint64_t elements;             /* of the storage */
    uint64_t offset;
    unsigned rank;
    uint64_t shape[4], strides[4];
    bool legacy; /* a sixth part in the storage's name */
};

static inline void pk_numbers(struct str *p, const uint64_t *v, unsigned count) {
    str_add_byte(p, '(');
    for (unsigned i = 0; i < count; i++) {
        pk_number(p, v[i]);
    }
    str_add_byte(p, 't');
}

static inline void pk_storage(struct str *p, const struct pk_tensor *t) {
    str_add_byte(p, '(');
    pk_text(p, "storage");
    pk_global(p, "torch", t->type);
    pk_text(p, t->key);
    pk_text(p, "cpu");
    pk_number(p, t->elements);
    if (t->legacy) {
        str_add_byte(p, 'N');
    }
    str_add_text(p, "tQ");
}

/* The value alone. */
static inline void pk_value(struct str *p, const struct pk_tensor *t) {
    pk_global(p, "torch._utils", "_rebuild_tensor_v2");
    str_add_byte(p, '(');
    pk_storage(p, t);
    pk_number(p, t->offset);
    pk_numbers(p, t->shape, t->rank);
    pk_numbers(p, t->strides, t->rank);
    str_add_byte(p, 0x89);
    pk_global(p, "collections", "OrderedDict");
    str_add_text(p, ")RtR");
}

static inline void pk_add(struct str *p, const struct pk_tensor *t) {
    pk_text(p, t->name);
    pk_value(p, t);
}

/* ---- zip ---- */

struct zip_maker {
    struct str file, dir;
    unsigned count;
    size_t last; /* where the last entry's record begins in dir */
    size_t last_header, last_data;
};

static inline void zip_16(struct str *s, unsigned v) {
    str_add_byte(s, (uint8_t)v);
    str_add_byte(s, (uint8_t)(v >> 8));
}

static inline void zip_32(struct str *s, uint32_t v) {
    zip_16(s, v & 0xffff);
    zip_16(s, v >> 16);
}

static inline void zip_64(struct str *s, uint64_t v) {
    zip_32(s, (uint32_t)v);
    zip_32(s, (uint32_t)(v >> 32));
}

/* Data begins at a multiple of 64, padded in the local extra field; sizes stand behind the data, as torch does it. */
static inline void zip_add(struct zip_maker *z, const char *name, const void *bytes, size_t len) {
    size_t name_len = strlen(name);
    size_t pad = (64 - (z->file.len + 30 + name_len + 4) % 64) % 64;
    z->last_header = z->file.len;
    str_add_text(&z->file, "PK\3\4");
    zip_16(&z->file, 0);
    zip_16(&z->file, 0x808);
    for (unsigned i = 0; i < 18; i++) {
        str_add_byte(&z->file, 0);
    }
    zip_16(&z->file, (unsigned)name_len);
    zip_16(&z->file, (unsigned)(4 + pad));
    str_add_text(&z->file, name);
    str_add_text(&z->file, "FB");
    zip_16(&z->file, (unsigned)pad);
    for (size_t i = 0; i < pad; i++) {
        str_add_byte(&z->file, 'Z');
    }
    z->last_data = z->file.len;
    str_add(&z->file, bytes, len);
    str_add_text(&z->file, "PK\7\10");
    zip_32(&z->file, 0);
    zip_32(&z->file, (uint32_t)len);
    zip_32(&z->file, (uint32_t)len);

    z->last = z->dir.len;
    str_add_text(&z->dir, "PK\1\2");
    zip_16(&z->dir, 0);
    zip_16(&z->dir, 0);
    zip_16(&z->dir, 0x808);
    zip_16(&z->dir, 0); /* stored */
    zip_32(&z->dir, 0); /* time */
    zip_32(&z->dir, 0); /* CRC */
    zip_32(&z->dir, (uint32_t)len);
    zip_32(&z->dir, (uint32_t)len);
    zip_16(&z->dir, (unsigned)name_len);
    zip_16(&z->dir, 0);
    zip_16(&z->dir, 0);
    zip_16(&z->dir, 0);
    zip_16(&z->dir, 0);
    zip_32(&z->dir, 0);
    zip_32(&z->dir, (uint32_t)z->last_header);
    str_add_text(&z->dir, name);
    z->count++;
}

/* Appends the directory and its end, with or without the 64-bit one; the file is then in z->file. */
static inline void zip_end(struct zip_maker *z, bool wide) {
    size_t at = z->file.len;
    str_add_span(&z->file, str_span(&z->dir));
    if (wide) {
        size_t end = z->file.len;
        str_add_text(&z->file, "PK\6\6");
        zip_64(&z->file, 44);
        zip_16(&z->file, 45);
        zip_16(&z->file, 45);
        zip_32(&z->file, 0);
        zip_32(&z->file, 0);
        zip_64(&z->file, z->count);
        zip_64(&z->file, z->count);
        zip_64(&z->file, z->dir.len);
        zip_64(&z->file, at);
        str_add_text(&z->file, "PK\6\7");
        zip_32(&z->file, 0);
        zip_64(&z->file, end);
        zip_32(&z->file, 1);
    }
    str_add_text(&z->file, "PK\5\6");
    zip_32(&z->file, 0);
    zip_16(&z->file, wide ? 0xffff : z->count);
    zip_16(&z->file, wide ? 0xffff : z->count);
    zip_32(&z->file, wide ? 0xffffffff : (uint32_t)z->dir.len);
    zip_32(&z->file, wide ? 0xffffffff : (uint32_t)at);
    zip_16(&z->file, 0);
}

static inline void zip_drop(struct zip_maker *z) {
    str_drop(&z->file);
    str_drop(&z->dir);
    *z = (struct zip_maker){0};
}

/* ---- the legacy container ---- */

/* What stands before the pickle of the object. */
static inline void legacy_front(struct str *f) {
    static const char magic[] = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.";
    str_add(f, magic, sizeof(magic) - 1);
    str_add(f, "\x80\x02M\xe9\x03.", 6);
    str_add(f, "\x80\x02}(", 4);
    pk_text(f, "protocol_version");
    str_add(f, "M\xe9\x03", 3);
    pk_text(f, "little_endian");
    str_add(f, "\x88u.", 3);
}

static inline void legacy_keys(struct str *f, const char *const *keys, unsigned count) {
    str_add(f, "\x80\x02](", 4);
    for (unsigned i = 0; i < count; i++) {
        pk_text(f, keys[i]);
    }
    str_add_text(f, "e.");
}

static inline void legacy_storage(struct str *f, uint64_t elements, const void *bytes, size_t len) {
    zip_64(f, elements);
    str_add(f, bytes, len);
}

#endif
