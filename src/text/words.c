/* SPDX-License-Identifier: Apache-2.0
 *
 * Characters come one by one from utf8proc, already folded and composed; what stays is decided with one character of context
 * on either side, so the text is decoded to code points once. */
#include <stdlib.h>

#include <utf8proc.h>

#include "text/tokunicode_priv.h"
#include "text/words.h"

bool text_is_blank(uint32_t c) {
    return tok_is_space(c) || (c >= 0x1c && c <= 0x1f);
}

static bool is_letter(uint32_t c) {
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return true;
    default:
        return tok_is_mark(c) || tok_is_numeric(c);
    }
}

static bool is_digit(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND;
}

static bool is_minus(uint32_t c) {
    return c == '-' || c == 0x2212;
}

/* Text of ids and of JSON is UTF-8; bytes that are not are dropped here, because utf8proc refuses all of such a text. */
static void add_valid(struct span text, struct str *out) {
    while (text.len > 0) {
        uint32_t c = 0;
        size_t n = utf8_decode(text, &c);
        str_add(out, text.ptr, n);
        text = span_sub(text, n > 0 ? n : 1, text.len);
    }
}

/* `folded` holds whole code points. */
static void keep_words(struct span folded, struct str *out) {
    uint32_t before = ' ';
    bool gap = false;
    size_t begin = out->len;
    while (folded.len > 0) {
        uint32_t c = 0;
        uint32_t next = 0;
        size_t n = utf8_decode(folded, &c);
        if (n == 0) { /* not from utf8proc */
            return;
        }
        folded = span_sub(folded, n, folded.len);
        next = folded.len > 0 && utf8_decode(folded, &next) > 0 ? next : 0;
        bool of_number = is_digit(next) && (is_digit(before) ? !text_is_blank(c) : is_minus(c) && text_is_blank(before));
        if (is_letter(c) || of_number) {
            if (gap && out->len > begin) {
                str_add_byte(out, ' ');
            }
            gap = false;
            str_add_utf8(out, is_minus(c) ? '-' : c);
        }
        gap = gap || text_is_blank(c);
        before = c;
    }
}

void text_words(struct span text, struct str *out) {
    struct str valid = {0};
    utf8proc_uint8_t *folded = NULL;
    add_valid(text, &valid);
    if (valid.failed) {
        out->failed = true;
    } else if (valid.len > 0) {
        utf8proc_ssize_t len = utf8proc_map((const utf8proc_uint8_t *)valid.ptr, (utf8proc_ssize_t)valid.len, &folded,
                                            (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_CASEFOLD | UTF8PROC_COMPOSE));
        out->failed = out->failed || len < 0; /* valid text fails for memory alone */
        if (len > 0) {
            keep_words(span_of(folded, (size_t)len), out);
        }
    }
    free(folded);
    str_drop(&valid);
}
