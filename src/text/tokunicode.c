/* SPDX-License-Identifier: Apache-2.0
 *
 * Character classes and byte alphabet of the tokenizers. The classes follow the Rust standard library and regex crate,
 * because that is what the reference splits with; categories come from utf8proc. */
#include "text/tokunicode_priv.h"

#include <utf8proc.h>

size_t tok_char_at(struct span text, size_t at, uint32_t *code_point) {
    const uint8_t *p = text.ptr + at;
    if (*p < 0x80) {
        *code_point = *p;
        return 1;
    }
    size_t n = tok_char_len(*p);
    uint32_t c = (uint32_t)*p & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        c = c << 6 | (uint32_t)(p[i] & 0x3f);
    }
    *code_point = c;
    return n;
}

size_t tok_char_before(struct span text, size_t end, uint32_t *code_point) {
    size_t at = end - 1;
    while (at > 0 && (text.ptr[at] & 0xc0) == 0x80) {
        at--;
    }
    tok_char_at(text, at, code_point);
    return at;
}

bool tok_is_space(uint32_t c) {
    if (c < 0x80) {
        return c == ' ' || (c >= 9 && c <= 13);
    }
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

static utf8proc_category_t category(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c);
}

bool tok_is_numeric(uint32_t c) {
    if (c < 0x80) {
        return c >= '0' && c <= '9';
    }
    utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool tok_is_mark(uint32_t c) {
    utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME;
}

/* Letters that have a symbol category: circled and squared Latin letters (Other_Alphabetic in PropList.txt). */
static bool is_enclosed_letter(uint32_t c) {
    return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
           (c >= 0x1f170 && c <= 0x1f189);
}

bool tok_is_word(uint32_t c) {
    if (c < 0x80) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    }
    switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return c == 0x200c || c == 0x200d || is_enclosed_letter(c);
    }
}

/* Punctuation that came after Unicode 8, whose categories the reference still uses here (measured over all code
 * points). */
static const uint32_t late_punct[][2] = {
    {0x61d, 0x61d},     {0x9fd, 0x9fd},     {0xa76, 0xa76},     {0xc77, 0xc77},     {0xc84, 0xc84},
    {0x1b7d, 0x1b7e},   {0x2e43, 0x2e4f},   {0x2e52, 0x2e5d},   {0x10ead, 0x10ead}, {0x10f55, 0x10f59},
    {0x10f86, 0x10f89}, {0x111c9, 0x111c9}, {0x1144b, 0x1144f}, {0x1145a, 0x1145b}, {0x1145d, 0x1145d},
    {0x11660, 0x1166c}, {0x116b9, 0x116b9}, {0x1183b, 0x1183b}, {0x11944, 0x11946}, {0x119e2, 0x119e2},
    {0x11a3f, 0x11a46}, {0x11a9a, 0x11a9c}, {0x11a9e, 0x11aa2}, {0x11b00, 0x11b09}, {0x11c41, 0x11c45},
    {0x11c70, 0x11c71}, {0x11ef7, 0x11ef8}, {0x11f43, 0x11f4f}, {0x11fff, 0x11fff}, {0x12ff1, 0x12ff2},
    {0x16e97, 0x16e9a}, {0x16fe2, 0x16fe2}, {0x1e95e, 0x1e95f},
};

bool tok_is_punct(uint32_t c) {
    if (c < 0x80) {
        return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
    }
    utf8proc_category_t k = category(c);
    bool now = k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
    for (size_t i = 0; now && i < sizeof(late_punct) / sizeof(late_punct[0]); i++) {
        now = c < late_punct[i][0] || c > late_punct[i][1];
    }
    return now || c == 0x166d; /* punctuation then, a symbol now */
}

/* Bytes that print in Latin-1 stand for themselves; the other 68 are numbered from U+0100 in byte order. */
uint32_t tok_byte_to_char(uint8_t byte) {
    if (byte <= 32) {
        return 256u + byte;
    }
    if (byte >= 127 && byte <= 160) {
        return 256u + 33u + (byte - 127u);
    }
    return byte == 173 ? 256u + 33u + 34u : byte;
}

bool tok_char_to_byte(uint32_t c, uint8_t *byte) {
    if (c < 256) {
        *byte = (uint8_t)c;
        return tok_byte_to_char(*byte) == c;
    }
    if (c <= 256 + 32) {
        *byte = (uint8_t)(c - 256);
    } else if (c < 256 + 33 + 34) {
        *byte = (uint8_t)(c - 256 - 33 + 127);
    } else {
        *byte = 173;
        return c == 256 + 33 + 34;
    }
    return true;
}

void tok_bytes_as_chars(struct span bytes, struct str *out) {
    if (!str_reserve(out, out->len + 2 * bytes.len)) {
        return;
    }
    for (size_t i = 0; i < bytes.len; i++) {
        uint32_t c = tok_byte_to_char(bytes.ptr[i]);
        if (c < 0x80) {
            out->ptr[out->len++] = (char)c;
        } else {
            out->ptr[out->len++] = (char)(0xc0 | c >> 6);
            out->ptr[out->len++] = (char)(0x80 | (c & 0x3f));
        }
    }
    out->ptr[out->len] = 0;
}

/* Length of the longest prefix of a well-formed sequence that stands at the front of invalid bytes (at least 1). */
static size_t invalid_part(struct span b) {
    uint8_t lead = b.ptr[0];
    if (lead < 0xc2 || lead > 0xf4) {
        return 1;
    }
    size_t need = tok_char_len(lead);
    size_t n = 1;
    while (n < need && n < b.len) {
        uint8_t low = n == 1 && lead == 0xe0 ? 0xa0 : n == 1 && lead == 0xf0 ? 0x90 : 0x80;
        uint8_t high = n == 1 && lead == 0xed ? 0x9f : n == 1 && lead == 0xf4 ? 0x8f : 0xbf;
        if (b.ptr[n] < low || b.ptr[n] > high) {
            break;
        }
        n++;
    }
    return n;
}

void tok_utf8_repair(struct span bytes, bool each_byte, struct str *out) {
    size_t good = 0;
    size_t at = 0;
    while (at < bytes.len) {
        uint32_t c = 0;
        size_t n = utf8_decode(span_of(bytes.ptr + at, bytes.len - at), &c);
        if (n > 0) {
            at += n;
            continue;
        }
        str_add(out, bytes.ptr + good, at - good);
        str_add(out, "\xef\xbf\xbd", 3);
        at += each_byte ? 1 : invalid_part(span_of(bytes.ptr + at, bytes.len - at));
        good = at;
    }
    str_add(out, bytes.ptr + good, at - good);
}

/* --- base64 --- */

static int base64_value(uint8_t c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Bits that stand for nothing must be zero. */
bool tok_base64_read(struct span text, struct str *out) {
    if (text.len < 4 || text.len % 4 != 0) {
        return false;
    }
    size_t pad = text.ptr[text.len - 1] != '=' ? 0 : text.ptr[text.len - 2] == '=' ? 2 : 1;
    uint32_t bits = 0;
    for (size_t i = 0; i < text.len; i++) {
        int value = i < text.len - pad ? base64_value(text.ptr[i]) : 0;
        if (value < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 != 3) {
            continue;
        }
        size_t n = i + 1 == text.len ? 3 - pad : 3;
        if ((bits & (0xffffffu >> (8 * n))) != 0) {
            return false;
        }
        for (size_t k = 0; k < n; k++) {
            str_add_byte(out, (uint8_t)(bits >> (16 - 8 * k)));
        }
        bits = 0;
    }
    return true;
}
