/* SPDX-License-Identifier: Apache-2.0
 *
 * Characters: UTF-8 walking, character classes, case mapping and stripping, as Python's str has them. Bytes that are
 * not UTF-8 count as one character each (as U+FFFD), so nothing here can fail. Properties come from utf8proc; the few
 * case mappings that yield several characters, which utf8proc has no simple form of, stand in a table.
 */
#include <utf8proc.h>

#include "text/jinja_priv.h"

uint32_t jinja_next_char(struct span text, size_t *at) {
    uint8_t lead = text.ptr[*at];
    uint32_t c = lead;
    size_t n = lead < 0x80 ? 1 : utf8_decode(span_sub(text, *at, 4), &c);
    *at += n != 0 ? n : 1;
    return n != 0 ? c : 0xFFFD;
}

uint32_t jinja_previous_char(struct span text, size_t *at) {
    size_t end = *at;
    for (size_t back = 1; back <= 4 && back <= end; back++) {
        if ((text.ptr[end - back] & 0xC0) != 0x80) {
            uint32_t c = 0;
            if (utf8_decode(span_sub(text, end - back, back), &c) == back) {
                *at = end - back;
                return c;
            }
            break;
        }
    }
    *at = end - 1;
    return 0xFFFD;
}

uint64_t jinja_char_count(struct span text) {
    uint64_t count = 0;
    for (size_t at = 0; at < text.len; count++) {
        if (text.ptr[at] < 0x80) {
            at++;
        } else {
            (void)jinja_next_char(text, &at);
        }
    }
    return count;
}

size_t jinja_char_offset(struct span text, uint64_t index) {
    size_t at = 0;
    for (; index > 0 && at < text.len; index--) {
        (void)jinja_next_char(text, &at);
    }
    return at;
}

bool jinja_is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static bool is_letter(uint32_t c) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

static bool is_number_char(uint32_t c) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool jinja_is_word(uint32_t c) {
    return c == '_' || is_letter(c) || is_number_char(c);
}

bool jinja_is_printable(uint32_t c) {
    if (c < 0x7F) {
        return c >= 0x20;
    }
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

static bool is_upper(uint32_t c) {
    return c < 0x80 ? c >= 'A' && c <= 'Z' : utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LU;
}

static bool is_lower(uint32_t c) {
    return c < 0x80 ? c >= 'a' && c <= 'z'
                    : utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA;
}

static bool is_cased(uint32_t c) {
    return is_upper(c) || is_lower(c) || utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LT;
}

static bool in_set(uint32_t c, const struct jinja_value *chars) {
    if (chars == NULL) {
        return jinja_is_space(c);
    }
    struct span set = jv_span(chars);
    for (size_t at = 0; at < set.len;) {
        if (jinja_next_char(set, &at) == c) {
            return true;
        }
    }
    return false;
}

struct span jinja_strip(struct span text, bool left, bool right, const struct jinja_value *chars) {
    size_t begin = 0;
    size_t end = text.len;
    while (left && begin < end) {
        size_t next = begin;
        if (!in_set(jinja_next_char(text, &next), chars)) {
            break;
        }
        begin = next;
    }
    while (right && end > begin) {
        size_t before = end;
        if (!in_set(jinja_previous_char(text, &before), chars)) {
            break;
        }
        end = before;
    }
    return span_sub(text, begin, end - begin);
}

/* ---- case -------------------------------------------------------------------------------------------------------- */

/* Unicode SpecialCasing: capitals and titles of one character that are several. */
static const char *long_upper(uint32_t c, bool title) {
    static const struct {
        uint32_t c;
        const char *upper, *title;
    } table[] = {{0xDF, "SS", "Ss"}, {0x149, "\u02BCN", "\u02BCN"}, {0x1F0, "J\u030C", "J\u030C"},
                 {0x390, "\u0399\u0308\u0301", "\u0399\u0308\u0301"}, {0x3B0, "\u03A5\u0308\u0301",
                 "\u03A5\u0308\u0301"}, {0x587, "\u0535\u0552", "\u0535\u0582"}, {0x1E96, "H\u0331", "H\u0331"},
                 {0x1E97, "T\u0308", "T\u0308"}, {0x1E98, "W\u030A", "W\u030A"}, {0x1E99, "Y\u030A", "Y\u030A"},
                 {0x1E9A, "A\u02BE", "A\u02BE"}, {0xFB00, "FF", "Ff"}, {0xFB01, "FI", "Fi"}, {0xFB02, "FL", "Fl"},
                 {0xFB03, "FFI", "Ffi"}, {0xFB04, "FFL", "Ffl"}, {0xFB05, "ST", "St"}, {0xFB06, "ST", "St"}};
    for (size_t i = 0; c >= 0xDF && i < ARRAY_LEN(table); i++) {
        if (table[i].c == c) {
            return title ? table[i].title : table[i].upper;
        }
    }
    return NULL;
}

static void add_upper(struct str *out, uint32_t c, bool title) {
    const char *many = long_upper(c, title);
    if (c < 0x80) {
        str_add_byte(out, (uint8_t)(c >= 'a' && c <= 'z' ? c - 32 : c));
    } else if (many != NULL) {
        str_add_text(out, many);
    } else {
        str_add_utf8(out, (uint32_t)(title ? utf8proc_totitle((utf8proc_int32_t)c)
                                           : utf8proc_toupper((utf8proc_int32_t)c)));
    }
}

/* A capital sigma at the end of a word becomes the final small sigma. */
static bool is_final_sigma(struct span text, size_t begin, size_t end) {
    uint32_t before = begin > 0 ? jinja_previous_char(text, &begin) : 0;
    uint32_t after = end < text.len ? jinja_next_char(text, &end) : 0;
    return before != 0 && is_cased(before) && !(after != 0 && is_cased(after));
}

static void add_lower(struct str *out, uint32_t c, struct span text, size_t begin, size_t end) {
    if (c < 0x80) {
        str_add_byte(out, (uint8_t)(c >= 'A' && c <= 'Z' ? c + 32 : c));
    } else if (c == 0x130) {
        str_add_text(out, "i\u0307");
    } else if (c == 0x3A3) {
        str_add_utf8(out, is_final_sigma(text, begin, end) ? 0x3C2 : 0x3C3);
    } else {
        str_add_utf8(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
    }
}

/* The title filter, unlike str.title, starts a word only after these characters and white space. */
static bool starts_word_in_filter(uint32_t before) {
    return before == '-' || before == '(' || before == '{' || before == '[' || before == '<' ||
           jinja_is_space(before);
}

void jinja_add_cased(struct str *out, struct span text, enum jinja_case how) {
    uint32_t before = 0;
    for (size_t at = 0; at < text.len;) {
        size_t begin = at;
        uint32_t c = jinja_next_char(text, &at);
        bool first = how == CASE_CAPITAL ? begin == 0
                     : how == CASE_TITLE ? !is_cased(before)
                                         : begin == 0 || starts_word_in_filter(before);
        if (how == CASE_UPPER || (how == CASE_SWAP && is_lower(c))) {
            add_upper(out, c, false);
        } else if (how == CASE_LOWER || how == CASE_SWAP || !first) {
            if (how == CASE_SWAP && !is_upper(c)) {
                str_add(out, text.ptr + begin, at - begin);
            } else {
                add_lower(out, c, text, begin, at);
            }
        } else {
            add_upper(out, c, how != CASE_TITLE_FILTER);
        }
        before = c;
    }
}

void jinja_add_folded(struct str *out, struct span text) {
    for (size_t at = 0; at < text.len;) {
        utf8proc_int32_t folded[8];
        int boundary = 0;
        uint32_t c = jinja_next_char(text, &at);
        utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, folded, 8, UTF8PROC_CASEFOLD, &boundary);
        for (utf8proc_ssize_t i = 0; i < n && i < 8; i++) {
            str_add_utf8(out, (uint32_t)folded[i]);
        }
    }
}

static bool in_class(uint32_t c, enum jinja_class which) {
    switch (which) {
    case CLASS_ALPHA:
        return is_letter(c);
    case CLASS_ALNUM:
        return is_letter(c) || is_number_char(c);
    case CLASS_DIGIT:
    case CLASS_DECIMAL:
        return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND ||
               (which == CLASS_DIGIT && (c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0x2070 && c <= 0x2089)));
    case CLASS_SPACE:
        return jinja_is_space(c);
    default:
        return c < 0x80;
    }
}

static bool is_title(struct span text) {
    bool any = false;
    bool inside = false;
    for (size_t at = 0; at < text.len;) {
        uint32_t c = jinja_next_char(text, &at);
        bool cased = is_cased(c);
        if (cased && is_lower(c) != inside) {
            return false;
        }
        any = any || cased;
        inside = cased;
    }
    return any;
}

bool jinja_all_in_class(struct span text, enum jinja_class which) {
    if (which == CLASS_TITLE) {
        return is_title(text);
    }
    bool any = which == CLASS_ASCII;
    for (size_t at = 0; at < text.len;) {
        uint32_t c = jinja_next_char(text, &at);
        if (which == CLASS_LOWER || which == CLASS_UPPER) {
            if (is_cased(c) && (which == CLASS_LOWER ? !is_lower(c) : !is_upper(c))) {
                return false;
            }
            any = any || is_cased(c);
        } else if (!in_class(c, which)) {
            return false;
        } else {
            any = true;
        }
    }
    return any;
}
