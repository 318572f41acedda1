/* SPDX-License-Identifier: Apache-2.0
 *
 * The wire format of protocol buffers. Every length is checked against what is left of the message before it is used. */
#include "text/tokproto_priv.h"

/* Seven bits a byte, lowest first, at most ten bytes. */
static bool read_varint(struct tok_proto *p, uint64_t *value) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70 && p->at < p->message.len; shift += 7) {
        uint8_t byte = p->message.ptr[p->at++];
        v |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
        if (byte < 0x80) {
            *value = v;
            return true;
        }
    }
    return false;
}

static bool read_fixed(struct tok_proto *p, size_t size, uint64_t *value) {
    if (p->message.len - p->at < size) {
        return false;
    }
    *value = size == 4 ? load_le32(p->message.ptr + p->at) : load_le64(p->message.ptr + p->at);
    p->at += size;
    return true;
}

static bool read_value(struct tok_proto *p, struct tok_proto_field *f) {
    switch (f->shape) {
    case TOK_PROTO_VARINT:
        return read_varint(p, &f->value);
    case TOK_PROTO_FIXED64:
        return read_fixed(p, 8, &f->value);
    case TOK_PROTO_FIXED32:
        return read_fixed(p, 4, &f->value);
    case TOK_PROTO_BYTES:
        if (!read_varint(p, &f->value) || f->value > p->message.len - p->at) {
            return false;
        }
        f->bytes = span_of(p->message.ptr + p->at, (size_t)f->value);
        p->at += f->bytes.len;
        return true;
    }
    return false;
}

bool tok_proto_next(struct tok_proto *p, struct tok_proto_field *f) {
    uint64_t key = 0;
    if (p->damaged || p->at == p->message.len) {
        return false;
    }
    *f = (struct tok_proto_field){0};
    p->damaged = !read_varint(p, &key) || key >> 3 == 0 || key >> 3 > 0x1fffffff;
    if (!p->damaged) {
        f->number = (uint32_t)(key >> 3);
        f->shape = (enum tok_proto_shape)(key & 7);
        p->damaged = !read_value(p, f);
    }
    return !p->damaged;
}
