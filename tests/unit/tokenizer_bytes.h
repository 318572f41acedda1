/* SPDX-License-Identifier: Apache-2.0
 * Writes the binary files that tokenizers are read from, whole or broken: SentencePiece models (protocol buffers), their
 * character maps, rank files. Include after cmocka.h. */
#ifndef TOKENIZER_BYTES_H
#define TOKENIZER_BYTES_H

#include <stdint.h>
#include <string.h>

#include "base/span.h"
#include "base/str.h"

/* --- protocol buffers --- */

static inline void add_varint(struct str *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) {
        str_add_byte(out, (uint8_t)(value | 0x80));
    }
    str_add_byte(out, (uint8_t)value);
}

static inline void add_number_field(struct str *out, uint32_t number, uint64_t value) {
    add_varint(out, (uint64_t)number << 3);
    add_varint(out, value);
}

static inline void add_float_field(struct str *out, uint32_t number, float value) {
    uint8_t bytes[4];
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    store_le32(bytes, bits);
    add_varint(out, (uint64_t)number << 3 | 5);
    str_add(out, bytes, sizeof(bytes));
}

static inline void add_bytes_field(struct str *out, uint32_t number, struct span bytes) {
    add_varint(out, (uint64_t)number << 3 | 2);
    add_varint(out, bytes.len);
    str_add_span(out, bytes);
}

/* --- SentencePiece --- */

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4, UNUSED = 5, BYTE = 6 };
enum { UNIGRAM = 1, BPE = 2 };

static inline void add_piece(struct str *out, struct span text, float score, uint64_t type) {
    struct str piece = {0};
    add_bytes_field(&piece, 1, text);
    add_float_field(&piece, 2, score);
    add_number_field(&piece, 3, type);
    add_bytes_field(out, 1, str_span(&piece));
    str_drop(&piece);
}

static inline void add_bytes_as_pieces(struct str *out) {
    for (unsigned i = 0; i < 256; i++) {
        struct str name = {0};
        str_printf(&name, "<0x%02X>", i);
        add_piece(out, str_span(&name), 0, BYTE);
        str_drop(&name);
    }
}

struct model_ends {
    uint64_t algorithm;
    bool byte_fallback;
    bool dummy_prefix;
    bool remove_extra;
    bool suffix;
    struct span charsmap;
};

/* Behind the pieces. */
static inline void add_specs(struct str *out, const struct model_ends *e) {
    struct str spec = {0};
    add_number_field(&spec, 3, e->algorithm);
    add_number_field(&spec, 24, e->suffix);
    add_number_field(&spec, 35, e->byte_fallback);
    add_bytes_field(out, 2, str_span(&spec));
    str_clear(&spec);
    add_bytes_field(&spec, 2, e->charsmap);
    add_number_field(&spec, 3, e->dummy_prefix);
    add_number_field(&spec, 4, e->remove_extra);
    add_number_field(&spec, 5, 1);
    add_bytes_field(out, 3, str_span(&spec));
    str_drop(&spec);
}

/* --- character maps --- */

enum { MAP_UNITS = 256 * 16 };

struct map_bytes {
    uint32_t units[MAP_UNITS];
    uint32_t blocks; /* of 256 units that are taken; the first is the root's own */
    struct str text;
};

/* Where the children of a node begin, in a block of their own. */
static inline uint32_t map_children(struct map_bytes *m, uint32_t node) {
    uint32_t offset = m->units[node] >> 10;
    if (offset == 0) {
        offset = node ^ (256 * ++m->blocks);
        m->units[node] |= offset << 10;
    }
    return node ^ offset;
}

static inline void map_put(struct map_bytes *m, const char *key, const char *to) {
    uint32_t node = 0;
    for (; *key != 0; key++) {
        uint32_t child = map_children(m, node) ^ (uint8_t)*key;
        m->units[child] |= (uint8_t)*key;
        node = child;
    }
    uint32_t value = map_children(m, node);
    m->units[node] |= 1u << 8;
    m->units[value] = 0x80000000u | (uint32_t)m->text.len;
    str_add(&m->text, to, strlen(to) + 1);
}

static inline void map_write(const struct map_bytes *m, struct str *out) {
    uint8_t word[4];
    uint32_t units = 256 * (m->blocks + 1);
    store_le32(word, 4 * units);
    str_add(out, word, 4);
    for (uint32_t i = 0; i < units; i++) {
        store_le32(word, m->units[i]);
        str_add(out, word, 4);
    }
    str_add_span(out, str_span(&m->text));
}

/* --- rank files --- */

static inline void add_rank(struct str *out, struct span token, unsigned rank) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < token.len; i += 3) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++) {
            bits = bits << 8 | (i + k < token.len ? token.ptr[i + k] : 0);
        }
        for (size_t k = 0; k < 4; k++) {
            bool pad = k > 1 && i + k > token.len;
            str_add_byte(out, pad ? '=' : (uint8_t)digits[bits >> (18 - 6 * k) & 63]);
        }
    }
    str_printf(out, " %u\n", rank);
}

static inline void add_byte_ranks(struct str *out) {
    for (unsigned i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        add_rank(out, span_of(&byte, 1), i);
    }
}

#endif
