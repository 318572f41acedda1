/* SPDX-License-Identifier: Apache-2.0
 *
 * Source text to tokens, with jinja2's whitespace rules under trim_blocks and lstrip_blocks: a newline right after a
 * block or comment is dropped, blanks between the start of a line and a block or comment are dropped, '-' strips all
 * white space on its side, '+' switches the automatic rule off. Knows nothing of the grammar. Every token is a range of
 * the source, so memory stays proportional to it.
 */
#include <stdlib.h>

#include "text/jinja_priv.h"

struct lexer {
    struct span src;
    size_t at;
    struct jinja_tokens *tokens;
    struct lamina_error *err;
    lamina_status failed;
};

void jinja_place(struct span source, size_t pos, unsigned *line, unsigned *column) {
    *line = 1;
    *column = 1;
    for (size_t i = 0; i < pos && i < source.len; i++) {
        uint8_t c = source.ptr[i];
        if (c == '\n') {
            (*line)++;
            *column = 1;
        } else if ((c & 0xC0) != 0x80) {
            (*column)++;
        }
    }
}

static bool lex_fail(struct lexer *l, size_t pos, const char *what) {
    unsigned line = 0;
    unsigned column = 0;
    jinja_place(l->src, pos, &line, &column);
    l->failed = base_fail(l->err, LAMINA_DAMAGED, "chat template: line %u, column %u: %s", line, column, what);
    return false;
}

static bool emit(struct lexer *l, enum jinja_token_type type, size_t pos, size_t len) {
    struct jinja_tokens *t = l->tokens;
    if (t->count == t->cap) {
        size_t cap = t->cap == 0 ? 256 : t->cap * 2;
        struct jinja_token *grown = (struct jinja_token *)realloc(t->item, cap * sizeof(*grown));
        if (grown == NULL) {
            l->failed = base_fail(l->err, LAMINA_NO_FIT, "chat template: no memory for its tokens");
            return false;
        }
        t->item = grown;
        t->cap = cap;
    }
    t->item[t->count++] = (struct jinja_token){.type = (uint32_t)type, .pos = (uint32_t)pos, .len = (uint32_t)len};
    return true;
}

static bool looking_at(const struct lexer *l, size_t pos, const char *text) {
    return span_starts_with(span_sub(l->src, pos, l->src.len), text);
}

static uint8_t byte_at(const struct lexer *l, size_t pos) {
    return pos < l->src.len ? l->src.ptr[pos] : 0;
}

static size_t skip_space(const struct lexer *l, size_t pos) {
    while (pos < l->src.len) {
        size_t next = pos;
        if (!jinja_is_space(jinja_next_char(l->src, &next))) {
            break;
        }
        pos = next;
    }
    return pos;
}

/* The end mark of a block or comment ("%}" or "#}") at pos, with its sign and the white space it takes: the position
 * behind it, or 0. */
static size_t match_close(const struct lexer *l, size_t pos, const char *mark) {
    if (looking_at(l, pos, mark)) {
        return pos + 2 + (byte_at(l, pos + 2) == '\n');
    }
    if (byte_at(l, pos) == '+' && looking_at(l, pos + 1, mark)) {
        return pos + 3;
    }
    if (byte_at(l, pos) == '-' && looking_at(l, pos + 1, mark)) {
        return skip_space(l, pos + 3);
    }
    return 0;
}

/* Emits the text before a mark. `sign` is the character after the mark; automatic stripping is for non-variables. */
static bool emit_data(struct lexer *l, size_t begin, size_t end, uint8_t sign, bool strip_line) {
    struct span text = span_sub(l->src, begin, end - begin);
    if (sign == '-') {
        text = jinja_strip(text, false, true, NULL);
    } else if (sign != '+' && strip_line) {
        size_t line = end;
        while (line > begin && l->src.ptr[line - 1] != '\n') {
            line--;
        }
        bool starts_line = line > begin || begin == 0 || l->src.ptr[begin - 1] == '\n';
        if (starts_line && skip_space(l, line) >= end) {
            text.len = line - begin;
        }
    }
    return text.len == 0 || emit(l, TOK_DATA, begin, text.len);
}

/* "{% raw %}" at pos: the position behind it, or 0. */
static size_t match_raw(const struct lexer *l, size_t pos, const char *word, bool is_end) {
    size_t at = pos + 2;
    if (byte_at(l, at) == '-' || byte_at(l, at) == '+') {
        at++;
    }
    at = skip_space(l, at);
    if (!looking_at(l, at, word)) {
        return 0;
    }
    at = skip_space(l, at + strlen(word));
    if (is_end) {
        return match_close(l, at, "%}");
    }
    if (looking_at(l, at, "%}")) {
        return at + 2;
    }
    return byte_at(l, at) == '-' && looking_at(l, at + 1, "%}") ? skip_space(l, at + 3) : 0;
}

static bool lex_raw(struct lexer *l, size_t begin, size_t open) {
    for (size_t i = begin; i + 1 < l->src.len; i++) {
        size_t end = looking_at(l, i, "{%") ? match_raw(l, i, "endraw", true) : 0;
        if (end != 0) {
            l->at = end;
            return emit_data(l, begin, i, byte_at(l, i + 2), true);
        }
    }
    return lex_fail(l, open, "missing end of raw block");
}

static bool lex_comment(struct lexer *l, size_t begin, size_t open) {
    for (size_t i = begin; i < l->src.len; i++) {
        size_t end = match_close(l, i, "#}");
        if (end != 0) {
            l->at = end;
            return true;
        }
    }
    return lex_fail(l, open, "missing end of comment");
}

static bool lex_string(struct lexer *l, size_t pos) {
    uint8_t quote = l->src.ptr[pos];
    for (size_t i = pos + 1; i < l->src.len; i++) {
        if (l->src.ptr[i] == '\\') {
            i++;
        } else if (l->src.ptr[i] == quote) {
            l->at = i + 1;
            return emit(l, TOK_STRING, pos, i + 1 - pos);
        }
    }
    return lex_fail(l, pos, "a string without its closing quote");
}

static bool is_digit(uint8_t c, unsigned base) {
    unsigned low = c | 32u;
    unsigned v = c >= '0' && c <= '9' ? c - (unsigned)'0' : low >= 'a' && low <= 'f' ? low - (unsigned)'a' + 10 : 99;
    return v < base;
}

/* Digits with single underscores between them; the position behind, or pos when there are none. */
static size_t digits(const struct lexer *l, size_t pos, unsigned base) {
    while (is_digit(byte_at(l, pos), base) || (byte_at(l, pos) == '_' && is_digit(byte_at(l, pos + 1), base))) {
        pos++;
    }
    return pos;
}

static bool lex_number(struct lexer *l, size_t pos) {
    size_t end = digits(l, pos, 10);
    bool is_float = false;
    if (pos == 0 || l->src.ptr[pos - 1] != '.') { /* in "a.0.1" the digits are subscripts */
        size_t after = end;
        if (byte_at(l, after) == '.' && is_digit(byte_at(l, after + 1), 10)) {
            after = digits(l, after + 1, 10);
            is_float = true;
        }
        if ((byte_at(l, after) | 32) == 'e') {
            size_t exponent = after + 1 + (byte_at(l, after + 1) == '+' || byte_at(l, after + 1) == '-');
            if (is_digit(byte_at(l, exponent), 10)) {
                after = digits(l, exponent, 10);
                is_float = true;
            }
        }
        end = after;
    }
    if (!is_float && l->src.ptr[pos] == '0') {
        uint8_t kind = byte_at(l, pos + 1) | 32;
        unsigned base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
        size_t based = base != 0 ? digits(l, pos + 2, base) : 0;
        end = based > pos + 2 ? based : digits(l, pos, 1);
    }
    l->at = end;
    return emit(l, is_float ? TOK_FLOAT : TOK_INT, pos, end - pos);
}

static bool is_name_byte(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80 || (c >= '0' && c <= '9');
}

static enum jinja_token_type operator_at(const struct lexer *l, size_t pos, size_t *len) {
    static const struct {
        char text[3];
        uint8_t type;
    } table[] = {{"**", TOK_POW}, {"//", TOK_FLOORDIV}, {"==", TOK_EQ}, {"!=", TOK_NE}, {"<=", TOK_LE},
                 {">=", TOK_GE}, {"+", TOK_ADD}, {"-", TOK_SUB}, {"*", TOK_MUL}, {"/", TOK_DIV}, {"%", TOK_MOD},
                 {"~", TOK_TILDE}, {"<", TOK_LT}, {">", TOK_GT}, {"=", TOK_ASSIGN}, {".", TOK_DOT}, {":", TOK_COLON},
                 {"|", TOK_PIPE}, {",", TOK_COMMA}, {";", TOK_SEMICOLON}, {"(", TOK_LPAREN}, {")", TOK_RPAREN},
                 {"[", TOK_LBRACKET}, {"]", TOK_RBRACKET}, {"{", TOK_LBRACE}, {"}", TOK_RBRACE}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (looking_at(l, pos, table[i].text)) {
            *len = strlen(table[i].text);
            return (enum jinja_token_type)table[i].type;
        }
    }
    return TOK_END;
}

/* One token inside {{ }} or {% %}; brackets are counted so that "}}" inside a dict does not end the tag. */
static bool lex_inside(struct lexer *l, size_t *open_brackets) {
    size_t pos = l->at;
    uint8_t c = l->src.ptr[pos];
    if (c == '\'' || c == '"') {
        return lex_string(l, pos);
    }
    if (c >= '0' && c <= '9') {
        return lex_number(l, pos);
    }
    if (is_name_byte(c)) {
        while (is_name_byte(byte_at(l, l->at))) {
            l->at++;
        }
        return emit(l, TOK_NAME, pos, l->at - pos);
    }
    size_t len = 0;
    enum jinja_token_type type = operator_at(l, pos, &len);
    if (type == TOK_END) {
        return lex_fail(l, pos, "a character that has no meaning here");
    }
    if (type == TOK_LPAREN || type == TOK_LBRACKET || type == TOK_LBRACE) {
        (*open_brackets)++;
    } else if (type == TOK_RPAREN || type == TOK_RBRACKET || type == TOK_RBRACE) {
        if (*open_brackets == 0) {
            return lex_fail(l, pos, "a closing bracket that was never opened");
        }
        (*open_brackets)--;
    }
    l->at = pos + len;
    return emit(l, type, pos, len);
}

/* The end of the tag at l->at, or 0. Variables know no '+' and take no newline. */
static size_t match_tag_end(const struct lexer *l, bool variable) {
    if (!variable) {
        return match_close(l, l->at, "%}");
    }
    if (looking_at(l, l->at, "}}")) {
        return l->at + 2;
    }
    return looking_at(l, l->at, "-}}") ? skip_space(l, l->at + 3) : 0;
}

static bool lex_tag(struct lexer *l, size_t open, bool variable) {
    size_t open_brackets = 0;
    if (!emit(l, variable ? TOK_VAR_BEGIN : TOK_BLOCK_BEGIN, open, 2)) {
        return false;
    }
    while ((l->at = skip_space(l, l->at)) < l->src.len) {
        size_t end = open_brackets == 0 ? match_tag_end(l, variable) : 0;
        if (end != 0) {
            bool ok = emit(l, variable ? TOK_VAR_END : TOK_BLOCK_END, l->at, 2);
            l->at = end;
            return ok;
        }
        if (!lex_inside(l, &open_brackets)) {
            return false;
        }
    }
    return lex_fail(l, open, variable ? "this '{{' is never closed" : "this '{%' is never closed");
}

static size_t find_mark(const struct lexer *l, size_t pos) {
    for (; pos + 1 < l->src.len; pos++) {
        uint8_t second = l->src.ptr[pos + 1];
        if (l->src.ptr[pos] == '{' && (second == '%' || second == '{' || second == '#')) {
            return pos;
        }
    }
    return l->src.len;
}

static bool lex_piece(struct lexer *l) {
    size_t begin = l->at;
    size_t hit = find_mark(l, begin);
    if (hit == l->src.len) {
        l->at = hit;
        return emit_data(l, begin, hit, '+', false);
    }
    uint8_t kind = l->src.ptr[hit + 1];
    uint8_t sign = byte_at(l, hit + 2);
    if (!emit_data(l, begin, hit, sign, kind != '{')) {
        return false;
    }
    size_t raw = kind == '%' ? match_raw(l, hit, "raw", false) : 0;
    if (raw != 0) {
        return lex_raw(l, raw, hit);
    }
    l->at = hit + 2 + (sign == '-' || sign == '+');
    return kind == '#' ? lex_comment(l, l->at, hit) : lex_tag(l, hit, kind == '{');
}

lamina_status jinja_lex(struct span source, struct jinja_tokens *tokens, struct lamina_error *err) {
    struct lexer l = {.src = source, .tokens = tokens, .err = err};
    while (l.failed == LAMINA_OK && l.at < source.len) {
        (void)lex_piece(&l);
    }
    if (l.failed == LAMINA_OK) {
        (void)emit(&l, TOK_END, source.len, 0);
    }
    return l.failed;
}
