/* SPDX-License-Identifier: Apache-2.0
 *
 * Normalisers character by character. Their classes are those of the reference's own tables; where these are older than
 * utf8proc's, the exceptions are listed and were measured over all code points against tokenizers 0.22.2. */
#include "text/tokchars_priv.h"

#include <utf8proc.h>

#include "text/tokunicode_priv.h"

static bool in_ranges(uint32_t c, const uint32_t (*list)[2], size_t count) {
    for (size_t i = 0; i < count && c >= list[i][0]; i++) {
        if (c <= list[i][1]) {
            return true;
        }
    }
    return false;
}

/* --- BERT --- */

/* Control, format and private characters, except blanks and the format characters that came after Unicode 8. */
static bool is_bert_control(uint32_t c) {
    static const uint32_t late[][2] = {{0x890, 0x891}, {0x8e2, 0x8e2}, {0x110cd, 0x110cd}, {0x13430, 0x1343f}};
    if (c == '\t' || c == '\n' || c == '\r' || in_ranges(c, late, sizeof(late) / sizeof(late[0]))) {
        return false;
    }
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO;
}

bool tok_chars_bert_clean(struct span text, struct str *out) {
    bool cut = false;
    for (size_t at = 0; at < text.len;) {
        uint32_t c = 0;
        size_t n = tok_char_at(text, at, &c);
        if (c == 0 || c == 0xfffd || is_bert_control(c)) {
            cut = cut || at == 0;
        } else if (tok_is_space(c)) {
            str_add_byte(out, ' ');
        } else {
            str_add(out, text.ptr + at, n);
        }
        at += n;
    }
    return cut;
}

void tok_chars_bert_han(struct span text, struct str *out) {
    static const uint32_t han[][2] = {{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},   {0x20000, 0x2a6df},
                                      {0x2a700, 0x2b81f}, {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f}};
    for (size_t at = 0; at < text.len;) {
        uint32_t c = 0;
        size_t n = tok_char_at(text, at, &c);
        bool spaced = in_ranges(c, han, sizeof(han) / sizeof(han[0]));
        str_add_text(out, spaced ? " " : "");
        str_add(out, text.ptr + at, n);
        str_add_text(out, spaced ? " " : "");
        at += n;
    }
}

/* Nonspacing marks that came after Unicode 8; ranges span characters that are no marks. U+1734 was one then. */
static bool is_nonspacing(uint32_t c) {
    static const uint32_t late[][2] = {
        {0x7fd, 0x7fd},     {0x898, 0x8e1},     {0x9fe, 0x9fe},     {0xafa, 0xaff},     {0xb55, 0xb55},
        {0xc04, 0xc3c},     {0xd00, 0xd00},     {0xd3b, 0xd3c},     {0xd81, 0xd81},     {0xeba, 0xeba},
        {0xece, 0xece},     {0x180f, 0x1886},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfb},   {0xa82c, 0xa82c},
        {0xa8c5, 0xa8c5},   {0xa8ff, 0xa8ff},   {0xa9bd, 0xa9bd},   {0x10d24, 0x10f85}, {0x11070, 0x11074},
        {0x110c2, 0x110c2}, {0x111c9, 0x111c9}, {0x111cf, 0x111cf}, {0x1123e, 0x11241}, {0x1133b, 0x1133b},
        {0x11438, 0x1145e}, {0x1182f, 0x13455}, {0x16f4f, 0x16f4f}, {0x16fe4, 0x16fe4}, {0x1cf00, 0x1cf46},
        {0x1e000, 0x1e4ef}, {0x1e944, 0x1e94a}};
    return c == 0x1734 || (utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_MN &&
                           !in_ranges(c, late, sizeof(late) / sizeof(late[0])));
}

bool tok_chars_drop_nonspacing(struct span text, struct str *out) {
    bool cut = false;
    for (size_t at = 0; at < text.len;) {
        uint32_t c = 0;
        size_t n = tok_char_at(text, at, &c);
        if (c >= 0x300 && is_nonspacing(c)) {
            cut = cut || at == 0;
        } else {
            str_add(out, text.ptr + at, n);
        }
        at += n;
    }
    return cut;
}

/* --- NMT (sentencepiece's rule set of that name) --- */

bool tok_chars_nmt(struct span text, struct str *out) {
    static const uint32_t gone[][2] = {{0x1, 0x8},   {0xb, 0xb},   {0xe, 0x1f},
                                       {0x7f, 0x7f}, {0x8f, 0x8f}, {0x9f, 0x9f}};
    static const uint32_t blank[][2] = {{0x9, 0xa},       {0xc, 0xd},       {0x1680, 0x1680}, {0x200b, 0x200f},
                                        {0x2028, 0x2029}, {0x2581, 0x2581}, {0xfeff, 0xfeff}, {0xfffd, 0xfffd}};
    bool cut = false;
    for (size_t at = 0; at < text.len;) {
        uint32_t c = 0;
        size_t n = tok_char_at(text, at, &c);
        if (in_ranges(c, gone, sizeof(gone) / sizeof(gone[0]))) {
            cut = cut || at == 0;
        } else if (in_ranges(c, blank, sizeof(blank) / sizeof(blank[0]))) {
            str_add_byte(out, ' ');
        } else {
            str_add(out, text.ptr + at, n);
        }
        at += n;
    }
    return cut;
}

/* --- the character map --- */

static void map_characters(const struct tok_charsmap *m, struct span text, struct str *out) {
    for (size_t at = 0; at < text.len;) {
        struct span one = span_of(text.ptr + at, tok_char_len(text.ptr[at]));
        struct span to = {0};
        str_add_span(out, tok_charsmap_first(m, one, &to) ? to : one);
        at += one.len;
    }
}

/* The reference looks up grapheme clusters below six bytes as a whole, and takes the first key it meets. SentencePiece
 * itself takes the longest key wherever it ends; files made for this reader rely on this reader's way. */
void tok_chars_precompiled(const struct tok_charsmap *m, struct span text, struct str *out) {
    utf8proc_int32_t state = 0;
    uint32_t last = 0;
    size_t begin = 0;
    for (size_t at = 0; at <= text.len;) {
        uint32_t c = 0;
        size_t n = at < text.len ? tok_char_at(text, at, &c) : 1;
        bool ends = at == text.len || (at > 0 && utf8proc_grapheme_break_stateful((utf8proc_int32_t)last,
                                                                                  (utf8proc_int32_t)c, &state));
        if (ends && at > begin) {
            struct span cluster = span_of(text.ptr + begin, at - begin);
            struct span to = {0};
            if (cluster.len < 6 && tok_charsmap_first(m, cluster, &to)) {
                str_add_span(out, to);
            } else {
                map_characters(m, cluster, out);
            }
            begin = at;
        }
        last = c;
        at += n;
    }
}

/* --- blanks --- */

void tok_chars_blanks(struct span text, struct str *out) {
    size_t run = 0;
    for (size_t at = 0; at <= text.len; at++) {
        bool blank = at < text.len && text.ptr[at] == ' ';
        if (run > 0 && (!blank || run == 80)) {
            if (run == 1) {
                str_add_byte(out, ' ');
            } else {
                str_printf(out, "<|blank_%zu|>", run);
            }
            run = 0;
        }
        if (blank) {
            run++;
        } else if (at < text.len && text.ptr[at] == '\n') {
            str_add_text(out, "<n>");
        } else if (at < text.len && text.ptr[at] == '\t') {
            str_add_text(out, "<|tab|>");
        } else if (at < text.len) {
            str_add_byte(out, text.ptr[at]);
        }
    }
}
