/* SPDX-License-Identifier: Apache-2.0
 *
 * String work that filters, methods and the parser share: finding, replacing, line splitting, and reading numbers the
 * way Python's int() and float() do. Linear in the text; must not know nodes or tables.
 */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "text/jinja_priv.h"

size_t jinja_find(struct span text, struct span what, size_t from) {
    if (from > text.len || what.len > text.len - from) {
        return SIZE_MAX;
    }
    if (what.len == 0) {
        return from;
    }
    const uint8_t *hit = (const uint8_t *)memmem(text.ptr + from, text.len - from, what.ptr, what.len);
    return hit != NULL ? (size_t)(hit - text.ptr) : SIZE_MAX;
}

/* str.replace with an empty `old`: `with` before every character and at the end. */
static void add_interleaved(struct str *out, struct span text, struct span with, int64_t count) {
    size_t at = 0;
    while (count != 0) {
        str_add_span(out, with);
        count--;
        if (at >= text.len) {
            return;
        }
        size_t begin = at;
        (void)jinja_next_char(text, &at);
        str_add(out, text.ptr + begin, at - begin);
    }
    str_add_span(out, span_sub(text, at, text.len));
}

void jinja_add_replaced(struct str *out, struct span text, struct span old, struct span with, int64_t count) {
    if (old.len == 0) {
        add_interleaved(out, text, with, count);
        return;
    }
    size_t at = 0;
    while (count != 0 && !out->failed) {
        size_t hit = jinja_find(text, old, at);
        if (hit == SIZE_MAX) {
            break;
        }
        str_add(out, text.ptr + at, hit - at);
        str_add_span(out, with);
        at = hit + old.len;
        count--;
    }
    str_add_span(out, span_sub(text, at, text.len));
}

/* The line ends of str.splitlines. */
static bool is_line_end(uint32_t c) {
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool jinja_split_lines(struct jinja_run *r, struct span text, bool keep_ends, struct jinja_list *l) {
    size_t line = 0;
    for (size_t at = 0; at < text.len;) {
        size_t begin = at;
        uint32_t c = jinja_next_char(text, &at);
        if (!is_line_end(c) && at < text.len) {
            continue;
        }
        bool ends = is_line_end(c);
        if (c == '\r' && at < text.len && text.ptr[at] == '\n') {
            at++;
        }
        size_t end = ends && !keep_ends ? begin : at;
        if (!jinja_list_add(r, l, jv_view(span_sub(text, line, end - line)))) {
            return false;
        }
        line = at;
    }
    return true;
}

static unsigned digit_value(uint8_t c) {
    unsigned low = c | 32u;
    return c >= '0' && c <= '9' ? c - (unsigned)'0' : low >= 'a' && low <= 'z' ? low - (unsigned)'a' + 10 : 99;
}

/* Skips "0x", "0o", "0b" where the base allows it; base 0 learns its base from it. */
static size_t skip_prefix(struct span text, size_t at, unsigned *base) {
    unsigned second = at + 1 < text.len && text.ptr[at] == '0' ? text.ptr[at + 1] | 32u : 0;
    unsigned named = second == 'x' ? 16 : second == 'o' ? 8 : second == 'b' ? 2 : 0;
    if (named != 0 && (*base == 0 || *base == named)) {
        *base = named;
        at += 2;
        return at < text.len && text.ptr[at] == '_' ? at + 1 : at;
    }
    *base = *base == 0 ? 10 : *base;
    return at;
}

/* int(text, base) for ASCII digits: white space around, a sign, single underscores between digits. */
enum jinja_number jinja_read_int(struct span text, unsigned base, int64_t *out) {
    text = jinja_strip(text, true, true, NULL);
    size_t at = text.len != 0 && (text.ptr[0] == '-' || text.ptr[0] == '+');
    bool minus = at == 1 && text.ptr[0] == '-';
    at = skip_prefix(text, at, &base);
    int64_t v = 0;
    bool digit = false;
    bool large = false;
    for (; at < text.len; at++) {
        if (text.ptr[at] == '_' && digit && at + 1 < text.len) {
            digit = false;
            continue;
        }
        unsigned d = digit_value(text.ptr[at]);
        if (d >= base) {
            return NUMBER_NONE;
        }
        large = large || __builtin_mul_overflow(v, (int64_t)base, &v) ||
                __builtin_add_overflow(v, minus ? -(int64_t)d : (int64_t)d, &v);
        digit = true;
    }
    *out = v;
    return !digit ? NUMBER_NONE : large ? NUMBER_LARGE : NUMBER_READ;
}

bool jinja_parse_int(struct span text, unsigned base, int64_t *out) {
    return jinja_read_int(text, base, out) == NUMBER_READ;
}

/* float(text): decimal only, "inf", "infinity", "nan" in any case, single underscores between digits. */
bool jinja_parse_float(struct span text, double *out) {
    char copy[400];
    text = jinja_strip(text, true, true, NULL);
    size_t n = 0;
    bool word = false;
    bool digit = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        bool is_digit = c >= '0' && c <= '9';
        if (c == '_' && digit && i + 1 < text.len && text.ptr[i + 1] >= '0' && text.ptr[i + 1] <= '9') {
            continue;
        }
        digit = is_digit;
        word = word || ((c | 32) >= 'a' && (c | 32) <= 'z' && (c | 32) != 'e');
        if (n + 1 >= sizeof(copy) || (!is_digit && strchr("+-.eEinfatyINFATY", c) == NULL) || c == 0) {
            return false;
        }
        copy[n++] = (char)c;
    }
    copy[n] = 0;
    const char *bare = copy + (copy[0] == '-' || copy[0] == '+');
    if (word && strcasecmp(bare, "inf") != 0 && strcasecmp(bare, "infinity") != 0 && strcasecmp(bare, "nan") != 0) {
        return false;
    }
    char *end = NULL;
    *out = strtod(copy, &end);
    return n != 0 && end == copy + n;
}
