/* SPDX-License-Identifier: Apache-2.0
 *
 * Protocol buffers, the wire format alone (protobuf.dev/programming-guides/encoding): a message is a row of fields, each
 * a number with a value of one of four shapes. Reads from a span, owns nothing, knows no message type. Groups, which the
 * format gave up long ago, count as damage. */
#ifndef TEXT_TOKPROTO_PRIV_H
#define TEXT_TOKPROTO_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum tok_proto_shape { TOK_PROTO_VARINT = 0, TOK_PROTO_FIXED64 = 1, TOK_PROTO_BYTES = 2, TOK_PROTO_FIXED32 = 5 };

struct tok_proto_field {
    uint32_t number;
    enum tok_proto_shape shape;
    uint64_t value;    /* of a varint or fixed field */
    struct span bytes; /* of the third shape: text, bytes or a message */
};

struct tok_proto {
    struct span message;
    size_t at;    /* the next field, or the place of the damage */
    bool damaged; /* sticky */
};

/* True with the next field; false at the end of the message or at damage. */
bool tok_proto_next(struct tok_proto *p, struct tok_proto_field *f);

/* A field of the wrong shape has no value of that type, as if it were absent. */
static inline bool tok_proto_is_bytes(const struct tok_proto_field *f, uint32_t number) {
    return f->number == number && f->shape == TOK_PROTO_BYTES;
}
static inline bool tok_proto_is_varint(const struct tok_proto_field *f, uint32_t number) {
    return f->number == number && f->shape == TOK_PROTO_VARINT;
}

#endif
