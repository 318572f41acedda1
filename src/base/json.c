/* SPDX-License-Identifier: Apache-2.0
 * Strict pull reader and a small writer. No recursion: depth is a counter, and skipping walks containers in a loop
 * with one bit per level. Numbers are parsed from their own text with strtod in a bounded copy, independent of the
 * locale because only '.' ever reaches it when LC_NUMERIC is "C" (the library never calls setlocale). */
#include "base/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void json_init(struct json_reader *r, struct span text, const char *name, struct str *key, struct lamina_error *err) {
    *r = (struct json_reader){.text = text, .err = err, .name = name, .key = key};
}

static bool fail(struct json_reader *r, lamina_status code, const char *what) {
    if (r->failed == LAMINA_OK) {
        size_t line = 1;
        size_t column = 1;
        size_t end = r->pos < r->text.len ? r->pos : r->text.len;
        for (size_t i = 0; i < end; i++) {
            column = r->text.ptr[i] == '\n' ? 1 : column + 1;
            line += r->text.ptr[i] == '\n';
        }
        r->failed = base_fail(r->err, code, "%s: line %zu, column %zu: %s", r->name, line, column, what);
    }
    return false;
}

bool json_refuse(struct json_reader *r, lamina_status code, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return fail(r, code, text);
}

static bool syntax(struct json_reader *r, const char *what) {
    return fail(r, LAMINA_DAMAGED, what);
}

static int front(struct json_reader *r) {
    if (r->failed != LAMINA_OK) {
        return -1;
    }
    while (r->pos < r->text.len) {
        uint8_t c = r->text.ptr[r->pos];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
            return c;
        }
        r->pos++;
    }
    return -1;
}

enum json_type json_peek(struct json_reader *r) {
    int c = front(r);
    switch (c) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
    case 'f':
        return JSON_BOOL;
    case 'n':
        return JSON_NULL;
    default:
        return c == '-' || (c >= '0' && c <= '9') ? JSON_NUMBER : JSON_NONE;
    }
}

static bool enter(struct json_reader *r, char open, const char *what) {
    if (front(r) != open) {
        return syntax(r, what);
    }
    if (r->depth >= JSON_MAX_DEPTH) {
        return syntax(r, "nested too deeply");
    }
    r->pos++;
    r->depth++;
    r->first = true;
    return true;
}

bool json_enter_object(struct json_reader *r) {
    return enter(r, '{', "expected an object");
}

bool json_enter_array(struct json_reader *r) {
    return enter(r, '[', "expected an array");
}

/* Handles the comma or closing bracket before the next element; false at the end of the container or on error. */
static bool next_element(struct json_reader *r, char close) {
    int c = front(r);
    if (c == close) {
        r->pos++;
        r->depth--;
        r->first = false;
        return false;
    }
    if (!r->first) {
        if (c != ',') {
            return syntax(r, c < 0 ? "the text ends inside a container" : "expected ',' or the end of the container");
        }
        r->pos++;
        c = front(r);
        if (c == close) {
            return syntax(r, "a comma before the end of the container");
        }
    }
    if (c < 0) {
        return syntax(r, "the text ends inside a container");
    }
    r->first = false;
    return true;
}

bool json_next_item(struct json_reader *r) {
    return next_element(r, ']');
}

bool json_next_key(struct json_reader *r, struct span *key) {
    if (!next_element(r, '}')) {
        return false;
    }
    if (front(r) != '"') {
        return syntax(r, "expected a key in quotes");
    }
    bool escaped = false;
    struct span body;
    struct json_reader mark = *r;
    if (!json_raw_string(r, &body, &escaped)) {
        return false;
    }
    if (body.len > JSON_MAX_KEY) {
        return syntax(r, "a key is too long");
    }
    if (escaped) {
        str_clear(r->key);
        if (!json_string(&mark, r->key)) {
            r->failed = mark.failed;
            return false;
        }
        body = str_span(r->key);
    }
    if (front(r) != ':') {
        return syntax(r, "expected ':' after a key");
    }
    r->pos++;
    *key = body;
    return true;
}

static bool word(struct json_reader *r, const char *text) {
    if (front(r) < 0 || !span_starts_with(span_sub(r->text, r->pos, r->text.len), text)) {
        return false;
    }
    r->pos += strlen(text);
    return true;
}

bool json_null(struct json_reader *r) {
    return word(r, "null");
}

bool json_bool(struct json_reader *r, bool *value) {
    if (word(r, "true")) {
        *value = true;
        return true;
    }
    if (word(r, "false")) {
        *value = false;
        return true;
    }
    return syntax(r, "expected true or false");
}

static size_t digits_at(const struct json_reader *r, size_t pos) {
    size_t n = 0;
    while (pos + n < r->text.len && r->text.ptr[pos + n] >= '0' && r->text.ptr[pos + n] <= '9') {
        n++;
    }
    return n;
}

static bool char_at(const struct json_reader *r, size_t pos, const char *any_of) {
    return pos < r->text.len && r->text.ptr[pos] != 0 && strchr(any_of, r->text.ptr[pos]) != NULL;
}

bool json_raw_number(struct json_reader *r, struct span *digits) {
    if (json_peek(r) != JSON_NUMBER) {
        return syntax(r, "expected a number");
    }
    size_t end = r->pos + (char_at(r, r->pos, "-") ? 1u : 0u);
    size_t whole = digits_at(r, end);
    if (whole == 0 || (whole > 1 && r->text.ptr[end] == '0')) {
        return syntax(r, "a number is written wrongly");
    }
    end += whole;
    if (char_at(r, end, ".")) {
        size_t fraction = digits_at(r, end + 1);
        if (fraction == 0) {
            return syntax(r, "a number is written wrongly");
        }
        end += 1 + fraction;
    }
    if (char_at(r, end, "eE")) {
        size_t sign = char_at(r, end + 1, "+-") ? 1 : 0;
        size_t exponent = digits_at(r, end + 1 + sign);
        if (exponent == 0) {
            return syntax(r, "a number is written wrongly");
        }
        end += 1 + sign + exponent;
    }
    *digits = span_sub(r->text, r->pos, end - r->pos);
    r->pos = end;
    return true;
}

bool json_i64(struct json_reader *r, int64_t *value) {
    struct span digits;
    struct json_reader mark = *r;
    if (!json_raw_number(r, &digits)) {
        return false;
    }
    bool negative = digits.ptr[0] == '-';
    int64_t sum = 0;
    for (size_t i = negative; i < digits.len; i++) {
        int d = digits.ptr[i] - '0';
        if (d < 0 || d > 9 || __builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_add_overflow(sum, (int64_t)(negative ? -d : d), &sum)) {
            *r = mark;
            return syntax(r, "expected a whole number of at most 63 bits");
        }
    }
    *value = sum;
    return true;
}

bool json_u64(struct json_reader *r, uint64_t *value) {
    struct json_reader mark = *r;
    int64_t v = 0;
    if (!json_i64(r, &v)) {
        return false;
    }
    if (v < 0 || r->text.ptr[r->pos - 1] == '-' || (v == 0 && char_at(&mark, mark.pos, "-"))) {
        *r = mark;
        return syntax(r, "expected a number that is not negative");
    }
    *value = (uint64_t)v;
    return true;
}

bool json_double(struct json_reader *r, double *value) {
    struct span digits;
    struct json_reader mark = *r;
    if (!json_raw_number(r, &digits)) {
        return false;
    }
    char copy[512];
    if (digits.len >= sizeof(copy)) {
        *r = mark;
        return syntax(r, "a number has too many digits");
    }
    memcpy(copy, digits.ptr, digits.len);
    copy[digits.len] = 0;
    double v = strtod(copy, NULL);
    if (!isfinite(v)) {
        *r = mark;
        return syntax(r, "a number is out of range");
    }
    *value = v;
    return true;
}

bool json_raw_string(struct json_reader *r, struct span *body, bool *escaped) {
    if (front(r) != '"') {
        return syntax(r, "expected a string");
    }
    size_t begin = r->pos + 1;
    size_t end = begin;
    *escaped = false;
    for (;;) {
        if (end >= r->text.len) {
            return syntax(r, "the text ends inside a string");
        }
        uint8_t c = r->text.ptr[end];
        if (c == '"') {
            break;
        }
        if (c < 0x20) {
            r->pos = end;
            return syntax(r, "a control character inside a string");
        }
        if (c == '\\') {
            *escaped = true;
            end += 2;
            continue;
        }
        uint32_t code_point = 0;
        size_t n = c < 0x80 ? 1 : utf8_decode(span_sub(r->text, end, 4), &code_point);
        if (n == 0) {
            r->pos = end;
            return syntax(r, "invalid UTF-8 inside a string");
        }
        end += n;
    }
    *body = span_sub(r->text, begin, end - begin);
    r->pos = end + 1;
    return true;
}

static bool hex4(struct span body, size_t at, uint32_t *value) {
    if (at + 4 > body.len) {
        return false;
    }
    uint32_t v = 0;
    for (size_t i = 0; i < 4; i++) {
        uint8_t c = body.ptr[at + i];
        uint32_t d = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                     : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
                     : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
                                            : 16;
        if (d > 15) {
            return false;
        }
        v = v << 4 | d;
    }
    *value = v;
    return true;
}

/* Decodes the escape at body[at] (the backslash); returns the bytes used, 0 when it is wrong. out may be NULL. */
static size_t decode_escape(struct span body, size_t at, struct str *out) {
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (at + 1 >= body.len) {
        return 0;
    }
    char c = (char)body.ptr[at + 1];
    const char *simple = c != 0 ? strchr(from, c) : NULL;
    if (simple != NULL) {
        if (out != NULL) {
            str_add_byte(out, (uint8_t)to[simple - from]);
        }
        return 2;
    }
    uint32_t high = 0;
    if (c != 'u' || !hex4(body, at + 2, &high)) {
        return 0;
    }
    size_t used = 6;
    if (high >= 0xD800 && high <= 0xDFFF) {
        uint32_t low = 0;
        if (high >= 0xDC00 || at + 8 > body.len || body.ptr[at + 6] != '\\' || body.ptr[at + 7] != 'u' ||
            !hex4(body, at + 8, &low) || low < 0xDC00 || low > 0xDFFF) {
            return 0;
        }
        high = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        used = 12;
    }
    if (out != NULL) {
        str_add_utf8(out, high);
    }
    return used;
}

/* Walks the escapes of a raw string; with out == NULL it only checks them. */
static bool decode_body(struct json_reader *r, struct span body, struct str *out) {
    size_t i = 0;
    while (i < body.len) {
        const uint8_t *hit = (const uint8_t *)memchr(body.ptr + i, '\\', body.len - i);
        size_t plain = hit != NULL ? (size_t)(hit - (body.ptr + i)) : body.len - i;
        if (out != NULL) {
            str_add(out, body.ptr + i, plain);
        }
        i += plain;
        if (i < body.len) {
            size_t used = decode_escape(body, i, out);
            if (used == 0) {
                return syntax(r, "a wrong escape inside a string");
            }
            i += used;
        }
    }
    if (out != NULL && out->failed) {
        return fail(r, LAMINA_NO_FIT, "a string is too large to hold");
    }
    return true;
}

bool json_string(struct json_reader *r, struct str *out) {
    bool escaped = false;
    struct span body;
    return json_raw_string(r, &body, &escaped) && decode_body(r, body, out);
}

static bool skip_scalar(struct json_reader *r) {
    struct span body;
    bool escaped = false;
    bool truth = false;
    switch (json_peek(r)) {
    case JSON_NULL:
        return json_null(r) || syntax(r, "expected null");
    case JSON_BOOL:
        return json_bool(r, &truth);
    case JSON_NUMBER:
        return json_raw_number(r, &body);
    case JSON_STRING:
        return json_raw_string(r, &body, &escaped) && (!escaped || decode_body(r, body, NULL));
    default:
        return syntax(r, "expected a value");
    }
}

bool json_skip(struct json_reader *r) {
    uint64_t is_object = 0; /* one bit per open level of this skip, innermost lowest */
    unsigned levels = 0;
    do {
        struct span key;
        if (levels > 0) {
            bool more = (is_object & 1) != 0 ? json_next_key(r, &key) : json_next_item(r);
            if (r->failed != LAMINA_OK) {
                return false;
            }
            if (!more) {
                is_object >>= 1;
                levels--;
                continue;
            }
        }
        enum json_type type = json_peek(r);
        if (type == JSON_OBJECT || type == JSON_ARRAY) {
            if (!(type == JSON_OBJECT ? json_enter_object(r) : json_enter_array(r))) {
                return false;
            }
            is_object = is_object << 1 | (type == JSON_OBJECT);
            levels++;
        } else if (!skip_scalar(r)) {
            return false;
        }
    } while (levels > 0);
    return true;
}

bool json_skip_raw(struct json_reader *r, struct span *raw) {
    (void)front(r);
    size_t begin = r->pos;
    if (!json_skip(r)) {
        return false;
    }
    *raw = span_sub(r->text, begin, r->pos - begin);
    return true;
}

lamina_status json_finish(struct json_reader *r) {
    if (r->failed == LAMINA_OK && r->depth != 0) {
        (void)syntax(r, "the document is not complete");
    }
    if (r->failed == LAMINA_OK && front(r) >= 0) {
        (void)syntax(r, "something follows the end of the document");
    }
    return r->failed;
}

void json_write_string(struct str *out, struct span bytes) {
    str_add_byte(out, '"');
    while (bytes.len > 0) {
        uint32_t c = 0;
        size_t n = utf8_decode(bytes, &c);
        if (n == 0) {
            str_add_utf8(out, 0xFFFD);
            n = 1;
        } else if (c == '"' || c == '\\') {
            str_add_byte(out, '\\');
            str_add_byte(out, (uint8_t)c);
        } else if (c == '\n') {
            str_add_text(out, "\\n");
        } else if (c == '\t') {
            str_add_text(out, "\\t");
        } else if (c == '\r') {
            str_add_text(out, "\\r");
        } else if (c < 0x20 || c == 0x7F) {
            str_printf(out, "\\u%04x", (unsigned)c);
        } else {
            str_add(out, bytes.ptr, n);
        }
        bytes = span_sub(bytes, n, bytes.len);
    }
    str_add_byte(out, '"');
}

static void write_shortest(struct str *out, double value, bool single) {
    if (!isfinite(value)) {
        str_add_text(out, "null");
        return;
    }
    char text[40];
    for (int digits = single ? 6 : 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        double back = strtod(text, NULL);
        if (single ? (float)back == (float)value : back == value) {
            break;
        }
    }
    str_add_text(out, text);
}

void json_write_float(struct str *out, float value) {
    write_shortest(out, (double)value, true);
}

void json_write_double(struct str *out, double value) {
    write_shortest(out, value, false);
}
