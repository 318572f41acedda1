/* SPDX-License-Identifier: Apache-2.0
 * Growable bytes, UTF-8, and sizes for people. Knows nothing of files or locales. */
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

void str_drop(struct str *s) {
    free(s->ptr);
    *s = (struct str){0};
}

void str_clear(struct str *s) {
    s->len = 0;
    s->failed = false;
    if (s->ptr != NULL) {
        s->ptr[0] = 0;
    }
}

bool str_reserve(struct str *s, size_t len) {
    if (s->failed) {
        return false;
    }
    if (s->ptr != NULL && len < s->cap) {
        return true;
    }
    if (len > SIZE_MAX / 2 - 64 || (s->limit != 0 && len > s->limit)) {
        s->failed = true;
        return false;
    }
    size_t cap = s->cap * 2 > len + 1 ? s->cap * 2 : len + 1;
    if (cap < 64) {
        cap = 64;
    }
    char *grown = (char *)realloc(s->ptr, cap);
    if (grown == NULL) {
        s->failed = true;
        return false;
    }
    s->ptr = grown;
    s->cap = cap;
    s->ptr[s->len] = 0;
    return true;
}

void str_add(struct str *s, const void *bytes, size_t len) {
    if (len > SIZE_MAX / 2 - 64 - s->len || !str_reserve(s, s->len + len)) {
        s->failed = true;
        return;
    }
    if (len != 0) {
        memcpy(s->ptr + s->len, bytes, len);
    }
    s->len += len;
    s->ptr[s->len] = 0;
}

void str_add_span(struct str *s, struct span bytes) {
    str_add(s, bytes.ptr, bytes.len);
}

void str_add_text(struct str *s, const char *text) {
    str_add(s, text, strlen(text));
}

void str_add_byte(struct str *s, uint8_t byte) {
    str_add(s, &byte, 1);
}

void str_add_html(struct str *s, struct span text) {
    for (size_t i = 0; i < text.len; i++) {
        switch (text.ptr[i]) {
        case '&':
            str_add_text(s, "&amp;");
            break;
        case '<':
            str_add_text(s, "&lt;");
            break;
        case '>':
            str_add_text(s, "&gt;");
            break;
        case '"':
            str_add_text(s, "&#34;");
            break;
        case '\'':
            str_add_text(s, "&#39;");
            break;
        default:
            str_add_byte(s, text.ptr[i]);
            break;
        }
    }
}

void str_add_utf8(struct str *s, uint32_t code_point) {
    uint8_t bytes[4];
    size_t n = utf8_encode(code_point, bytes);
    if (n == 0) {
        n = utf8_encode(0xFFFD, bytes);
    }
    str_add(s, bytes, n);
}

void str_vprintf(struct str *s, const char *fmt, va_list args) {
    va_list again;
    va_copy(again, args);
    int need = vsnprintf(NULL, 0, fmt, args);
    if (need < 0 || !str_reserve(s, s->len + (size_t)need)) {
        s->failed = true;
    } else {
        (void)vsnprintf(s->ptr + s->len, (size_t)need + 1, fmt, again);
        s->len += (size_t)need;
    }
    va_end(again);
}

void str_printf(struct str *s, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    str_vprintf(s, fmt, args);
    va_end(args);
}

size_t utf8_decode(struct span bytes, uint32_t *code_point) {
    if (bytes.len == 0) {
        return 0;
    }
    uint8_t lead = bytes.ptr[0];
    if (lead < 0x80) {
        *code_point = lead;
        return 1;
    }
    size_t n = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || bytes.len < n) {
        return 0;
    }
    uint32_t value = lead & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((bytes.ptr[i] & 0xC0) != 0x80) {
            return 0;
        }
        value = value << 6 | (bytes.ptr[i] & 0x3Fu);
    }
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < smallest[n] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
        return 0;
    }
    *code_point = value;
    return n;
}

size_t utf8_encode(uint32_t code_point, uint8_t out[4]) {
    if (code_point < 0x80) {
        out[0] = (uint8_t)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (uint8_t)(0xC0 | code_point >> 6);
        out[1] = (uint8_t)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF)) {
        return 0;
    }
    if (code_point < 0x10000) {
        out[0] = (uint8_t)(0xE0 | code_point >> 12);
        out[1] = (uint8_t)(0x80 | (code_point >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (code_point & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | code_point >> 18);
    out[1] = (uint8_t)(0x80 | (code_point >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (code_point >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (code_point & 0x3F));
    return 4;
}

bool utf8_valid(struct span bytes) {
    while (bytes.len > 0) {
        uint32_t code_point = 0;
        size_t n = utf8_decode(bytes, &code_point);
        if (n == 0) {
            return false;
        }
        bytes = span_sub(bytes, n, bytes.len);
    }
    return true;
}

size_t utf8_incomplete_tail(struct span bytes) {
    size_t most = bytes.len < 3 ? bytes.len : 3;
    for (size_t back = 1; back <= most; back++) {
        uint8_t b = bytes.ptr[bytes.len - back];
        if (b < 0x80) {
            return 0;
        }
        if (b >= 0xC0) {
            size_t need = b >= 0xF5 ? 0 : b >= 0xF0 ? 4 : b >= 0xE0 ? 3 : b >= 0xC2 ? 2 : 0;
            if (need <= back) {
                return 0;
            }
            /* The second byte may already rule the sequence out (overlong, surrogate, too large). */
            uint8_t probe[4] = {0x80, 0xBF, 0xBF, 0xBF};
            uint8_t low[4] = {0x80, 0x80, 0x80, 0x80};
            memcpy(probe, bytes.ptr + (bytes.len - back), back);
            memcpy(low, bytes.ptr + (bytes.len - back), back);
            uint32_t code_point = 0;
            bool possible = utf8_decode(span_of(probe, need), &code_point) != 0 ||
                            utf8_decode(span_of(low, need), &code_point) != 0;
            return possible ? back : 0;
        }
    }
    return 0;
}

const char *format_bytes(char out[32], uint64_t bytes) {
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t u = 0;
    while (value >= 1023.95 && u + 1 < ARRAY_LEN(unit)) {
        value /= 1024;
        u++;
    }
    (void)snprintf(out, 32, u == 0 ? "%.0f %s" : value < 10 ? "%.2f %s" : "%.1f %s", value, unit[u]);
    return out;
}

bool parse_bytes(const char *text, uint64_t *bytes) {
    uint64_t whole = 0;
    uint64_t fraction = 0;
    uint64_t fraction_unit = 1;
    const char *p = text;
    bool digits = false;
    for (; *p >= '0' && *p <= '9'; p++, digits = true) {
        if (__builtin_mul_overflow(whole, 10u, &whole) || __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole)) {
            return false;
        }
    }
    if (*p == '.') {
        for (p++; *p >= '0' && *p <= '9'; p++, digits = true) {
            if (fraction_unit < 1000000000u) {
                fraction = fraction * 10 + (uint64_t)(*p - '0');
                fraction_unit *= 10;
            }
        }
    }
    if (!digits) {
        return false;
    }
    while (*p == ' ') {
        p++;
    }
    static const char letters[] = "KMGTP";
    uint64_t unit = 1;
    char upper = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
    const char *found = upper != 0 ? strchr(letters, upper) : NULL;
    if (found != NULL) {
        size_t power = (size_t)(found - letters) + 1;
        bool decimal = (p[1] == 'B' || p[1] == 'b') && p[2] == 0;
        for (size_t i = 0; i < power; i++) {
            unit *= decimal ? 1000u : 1024u;
        }
        p++;
        if (*p == 'i' || *p == 'I') {
            p++;
        }
    }
    if (*p == 'B' || *p == 'b') {
        p++;
    }
    uint64_t total = 0;
    if (*p != 0 || __builtin_mul_overflow(whole, unit, &total)) {
        return false;
    }
    total += (uint64_t)((double)fraction / (double)fraction_unit * (double)unit);
    if (total > (UINT64_C(1) << 62)) {
        return false;
    }
    *bytes = total;
    return true;
}
