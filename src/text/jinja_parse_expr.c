/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens to nodes: expressions, by precedence climbing. From loosest to tightest, as in jinja2:
 *     ternary | or | and | not | comparisons, in | + - | ~ | * / // % | ** | unary - + | .a [i] (args) | filter, is test
 * Chains of equal precedence become one node with a list, so neither parsing nor evaluating them takes depth.
 */
#include <errno.h>
#include <stdlib.h>

#include "text/jinja_priv.h"

enum level { LEVEL_OR, LEVEL_AND, LEVEL_NOT, LEVEL_COMPARE, LEVEL_SUM, LEVEL_CONCAT, LEVEL_PRODUCT, LEVEL_POWER,
             LEVEL_UNARY };

static uint32_t parse_level(struct jinja_parser *p, enum level level);
static uint32_t parse_unary(struct jinja_parser *p, bool with_filters);
static uint32_t parse_primary(struct jinja_parser *p);
static uint32_t parse_links(struct jinja_parser *p, uint32_t node, bool with_filters);

static void append(struct jinja_parser *p, uint32_t *first, uint32_t *last, uint32_t node) {
    if (*last != 0) {
        p->t->nodes[*last].next = node;
    } else {
        *first = node;
    }
    *last = node;
}

/* The operator at the cursor if it belongs to `level`; skips its tokens. */
static bool skip_operator(struct jinja_parser *p, enum level level, uint8_t *op) {
    static const struct {
        uint8_t token, level, op;
    } table[] = {{TOK_EQ, LEVEL_COMPARE, OP_EQ}, {TOK_NE, LEVEL_COMPARE, OP_NE}, {TOK_LT, LEVEL_COMPARE, OP_LT},
                 {TOK_LE, LEVEL_COMPARE, OP_LE}, {TOK_GT, LEVEL_COMPARE, OP_GT}, {TOK_GE, LEVEL_COMPARE, OP_GE},
                 {TOK_ADD, LEVEL_SUM, OP_ADD}, {TOK_SUB, LEVEL_SUM, OP_SUB}, {TOK_TILDE, LEVEL_CONCAT, 0},
                 {TOK_MUL, LEVEL_PRODUCT, OP_MUL}, {TOK_DIV, LEVEL_PRODUCT, OP_DIV},
                 {TOK_FLOORDIV, LEVEL_PRODUCT, OP_FLOORDIV}, {TOK_MOD, LEVEL_PRODUCT, OP_MOD},
                 {TOK_POW, LEVEL_POWER, OP_POW}};
    if (level == LEVEL_OR || level == LEVEL_AND) {
        return jinja_tok_skip_name(p, level == LEVEL_OR ? "or" : "and");
    }
    if (level == LEVEL_COMPARE && jinja_tok_skip_name(p, "in")) {
        *op = OP_IN;
        return true;
    }
    if (level == LEVEL_COMPARE && jinja_tok_is_name(p, 0, "not") && jinja_tok_is_name(p, 1, "in")) {
        p->at += 2;
        *op = OP_NOT_IN;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].level == (uint8_t)level && jinja_tok_skip(p, (enum jinja_token_type)table[i].token)) {
            *op = table[i].op;
            return true;
        }
    }
    return false;
}

static uint32_t parse_not(struct jinja_parser *p) {
    uint32_t pos = jinja_tok(p, 0)->pos;
    if (!jinja_tok_skip_name(p, "not")) {
        return parse_level(p, LEVEL_COMPARE);
    }
    if (!jinja_parse_deeper(p)) {
        return 0;
    }
    uint32_t operand = parse_not(p);
    p->depth--;
    uint32_t node = jinja_node_new(p, NODE_NOT, pos);
    p->t->nodes[node].a = operand;
    return node;
}

static uint32_t parse_level(struct jinja_parser *p, enum level level) {
    static const uint8_t kinds[] = {[LEVEL_OR] = NODE_OR, [LEVEL_AND] = NODE_AND, [LEVEL_COMPARE] = NODE_COMPARE,
                                    [LEVEL_SUM] = NODE_ARITH, [LEVEL_CONCAT] = NODE_CONCAT,
                                    [LEVEL_PRODUCT] = NODE_ARITH, [LEVEL_POWER] = NODE_ARITH};
    if (level == LEVEL_NOT) {
        return parse_not(p);
    }
    if (level == LEVEL_UNARY) {
        return parse_unary(p, true);
    }
    enum level tighter = (enum level)(level + 1);
    uint32_t pos = jinja_tok(p, 0)->pos;
    uint32_t left = parse_level(p, tighter);
    uint8_t op = 0;
    if (!skip_operator(p, level, &op)) {
        return left;
    }
    bool plain = kinds[level] == NODE_OR || kinds[level] == NODE_AND || kinds[level] == NODE_CONCAT;
    uint32_t node = jinja_node_new(p, (enum jinja_node_kind)kinds[level], pos);
    uint32_t first = plain ? left : 0;
    uint32_t last = first;
    do {
        uint32_t operand_pos = jinja_tok(p, 0)->pos;
        uint32_t operand = parse_level(p, tighter);
        if (!plain) {
            uint32_t step = jinja_node_new(p, NODE_STEP, operand_pos);
            p->t->nodes[step].op = op;
            p->t->nodes[step].a = operand;
            operand = step;
        }
        append(p, &first, &last, operand);
    } while (p->failed == LAMINA_OK && skip_operator(p, level, &op));
    p->t->nodes[node].a = plain ? first : left;
    p->t->nodes[node].b = plain ? 0 : first;
    return node;
}

/* Inside a ternary jinja2 lets an unknown filter fail only when it runs, so those met here are forgotten again. */
static uint32_t parse_ternary(struct jinja_parser *p) {
    uint32_t pos = jinja_tok(p, 0)->pos;
    uint32_t unknown = p->unknown;
    uint32_t value = parse_level(p, LEVEL_OR);
    while (jinja_tok_skip_name(p, "if")) {
        uint32_t test = parse_level(p, LEVEL_OR);
        uint32_t other = 0;
        if (jinja_tok_skip_name(p, "else") && jinja_parse_deeper(p)) {
            other = parse_ternary(p);
            p->depth--;
        }
        uint32_t node = jinja_node_new(p, NODE_COND, pos);
        struct jinja_node *n = &p->t->nodes[node];
        n->a = test;
        n->b = value;
        n->c = other;
        value = node;
        p->unknown = unknown;
    }
    return value;
}

uint32_t jinja_parse_expression(struct jinja_parser *p) {
    if (!jinja_parse_deeper(p)) {
        return 0;
    }
    uint32_t node = parse_ternary(p);
    p->depth--;
    return node;
}

/* The expression of a tuple element: `for` and `if` heads take none with a ternary of its own. */
static uint32_t parse_element(struct jinja_parser *p, enum jinja_tuple_mode mode) {
    if (mode != TUPLE_NO_COND) {
        return jinja_parse_expression(p);
    }
    if (!jinja_parse_deeper(p)) {
        return 0;
    }
    uint32_t node = parse_level(p, LEVEL_OR);
    p->depth--;
    return node;
}

static bool at_tuple_end(const struct jinja_parser *p, enum jinja_tuple_mode mode) {
    enum jinja_token_type type = (enum jinja_token_type)jinja_tok(p, 0)->type;
    return type == TOK_VAR_END || type == TOK_BLOCK_END || type == TOK_RPAREN || type == TOK_END ||
           (mode == TUPLE_NO_COND && jinja_tok_is_name(p, 0, "recursive"));
}

uint32_t jinja_parse_tuple(struct jinja_parser *p, enum jinja_tuple_mode mode) {
    uint32_t pos = jinja_tok(p, 0)->pos;
    uint32_t first = 0;
    uint32_t last = 0;
    uint32_t count = 0;
    bool is_tuple = false;
    while (p->failed == LAMINA_OK && !at_tuple_end(p, mode)) {
        append(p, &first, &last, parse_element(p, mode));
        count++;
        if (!jinja_tok_skip(p, TOK_COMMA)) {
            break;
        }
        is_tuple = true;
    }
    if (!is_tuple && first != 0) {
        return first;
    }
    if (!is_tuple && mode != TUPLE_PARENS) {
        return jinja_parse_error(p, pos, LAMINA_DAMAGED, "expected an expression");
    }
    uint32_t node = jinja_node_new(p, NODE_TUPLE, pos);
    p->t->nodes[node].a = first;
    p->t->nodes[node].b = count;
    return node;
}

/* ---- literals ---------------------------------------------------------------------------------------------------- */

static void set_bits(struct jinja_parser *p, uint32_t node, uint64_t bits) {
    p->t->nodes[node].a = (uint32_t)bits;
    p->t->nodes[node].b = (uint32_t)(bits >> 32);
}

static uint32_t parse_number(struct jinja_parser *p) {
    struct span text = jinja_tok_text(p, 0);
    bool is_float = jinja_tok(p, 0)->type == TOK_FLOAT;
    uint32_t pos = jinja_tok(p, 0)->pos;
    uint32_t node = jinja_node_new(p, is_float ? NODE_FLOAT : NODE_INT, pos);
    p->at++;
    if (is_float) {
        double d = 0;
        uint64_t bits = 0;
        if (!jinja_parse_float(text, &d)) {
            return jinja_parse_error(p, pos, LAMINA_DAMAGED, "a number that cannot be read");
        }
        memcpy(&bits, &d, sizeof(bits));
        set_bits(p, node, bits);
        return node;
    }
    int64_t i = 0;
    if (!jinja_parse_int(text, 0, &i)) {
        return jinja_parse_error(p, pos, LAMINA_UNSUPPORTED, "a whole number of more than 63 bits");
    }
    set_bits(p, node, (uint64_t)i);
    return node;
}

static uint32_t hex_value(struct span text, size_t at, size_t digits) {
    uint32_t v = 0;
    for (size_t i = 0; i < digits; i++) {
        uint8_t c = at + i < text.len ? text.ptr[at + i] : 0;
        uint32_t d = c >= '0' && c <= '9' ? c - (uint32_t)'0' : (c | 32u) - (uint32_t)'a' + 10;
        if (d > 15) {
            return UINT32_MAX;
        }
        v = v << 4 | d;
    }
    return v;
}

/* \x.., \u...., \U........ at text[at] (the letter); the bytes used, 0 when wrong. Two escaped surrogates that belong
 * together make one character; a lone one has no UTF-8 and is refused. */
static size_t decode_hex(struct span text, size_t at, struct str *out) {
    size_t digits = text.ptr[at] == 'x' ? 2 : text.ptr[at] == 'u' ? 4 : 8;
    uint32_t v = hex_value(text, at + 1, digits);
    size_t used = 1 + digits;
    if (v >= 0xD800 && v < 0xDC00 && at + used + 1 < text.len && text.ptr[at + used] == '\\' &&
        text.ptr[at + used + 1] == 'u') {
        uint32_t low = hex_value(text, at + used + 2, 4);
        if (low >= 0xDC00 && low < 0xE000) {
            v = 0x10000 + ((v - 0xD800) << 10) + (low - 0xDC00);
            used += 6;
        }
    }
    if (v > 0x10FFFF || (v >= 0xD800 && v < 0xE000)) {
        return 0;
    }
    str_add_utf8(out, v);
    return used;
}

/* One escape, after its backslash, as Python reads them: unknown ones stay as they are. */
static size_t decode_escape(struct span text, size_t at, struct str *out) {
    static const char from[] = "\\'\"abfnrtv";
    static const char to[] = "\\'\"\a\b\f\n\r\t\v";
    uint8_t c = text.ptr[at];
    const char *simple = c != 0 ? strchr(from, (char)c) : NULL;
    if (simple != NULL) {
        str_add_byte(out, (uint8_t)to[simple - from]);
        return 1;
    }
    if (c == '\n') {
        return 1;
    }
    if (c == 'x' || c == 'u' || c == 'U') {
        return decode_hex(text, at, out);
    }
    if (c >= '0' && c <= '7') {
        uint32_t v = 0;
        size_t n = 0;
        for (; n < 3 && at + n < text.len && text.ptr[at + n] >= '0' && text.ptr[at + n] <= '7'; n++) {
            v = v * 8 + (text.ptr[at + n] - (uint32_t)'0');
        }
        str_add_utf8(out, v);
        return n;
    }
    if (c == 'N') {
        return 0;
    }
    str_add_byte(out, '\\');
    str_add_byte(out, c);
    return 1;
}

static uint32_t parse_string(struct jinja_parser *p) {
    struct str *pool = &p->t->pool;
    uint32_t node = jinja_node_new(p, NODE_STRING, jinja_tok(p, 0)->pos);
    size_t begin = pool->len;
    while (jinja_tok(p, 0)->type == TOK_STRING) { /* neighbours join */
        struct span body = jinja_tok_text(p, 0);
        body = span_sub(body, 1, body.len - 2);
        for (size_t i = 0; i < body.len;) {
            if (body.ptr[i] != '\\') {
                str_add_byte(pool, body.ptr[i++]);
                continue;
            }
            size_t used = decode_escape(body, i + 1, pool);
            if (used == 0) {
                return jinja_parse_error(p, jinja_tok(p, 0)->pos + i, LAMINA_DAMAGED, "a wrong escape in a string");
            }
            i += 1 + used;
        }
        p->at++;
    }
    p->t->nodes[node].a = (uint32_t)begin;
    p->t->nodes[node].b = (uint32_t)(pool->len - begin);
    return node;
}

static uint32_t parse_list(struct jinja_parser *p) {
    uint32_t node = jinja_node_new(p, NODE_LIST, jinja_tok(p, 0)->pos);
    uint32_t first = 0;
    uint32_t last = 0;
    uint32_t count = 0;
    p->at++;
    while (p->failed == LAMINA_OK && jinja_tok(p, 0)->type != TOK_RBRACKET) {
        if (first != 0 && !jinja_tok_expect(p, TOK_COMMA)) {
            return 0;
        }
        if (jinja_tok(p, 0)->type == TOK_RBRACKET) {
            break;
        }
        append(p, &first, &last, jinja_parse_expression(p));
        count++;
    }
    (void)jinja_tok_expect(p, TOK_RBRACKET);
    p->t->nodes[node].a = first;
    p->t->nodes[node].b = count;
    return node;
}

static uint32_t parse_dict(struct jinja_parser *p) {
    uint32_t node = jinja_node_new(p, NODE_DICT, jinja_tok(p, 0)->pos);
    uint32_t first = 0;
    uint32_t last = 0;
    p->at++;
    while (p->failed == LAMINA_OK && jinja_tok(p, 0)->type != TOK_RBRACE) {
        if (first != 0 && !jinja_tok_expect(p, TOK_COMMA)) {
            return 0;
        }
        if (jinja_tok(p, 0)->type == TOK_RBRACE) {
            break;
        }
        uint32_t pos = jinja_tok(p, 0)->pos;
        uint32_t key = jinja_parse_expression(p);
        (void)jinja_tok_expect(p, TOK_COLON);
        uint32_t value = jinja_parse_expression(p);
        uint32_t pair = jinja_node_new(p, NODE_PAIR, pos);
        p->t->nodes[pair].a = key;
        p->t->nodes[pair].b = value;
        append(p, &first, &last, pair);
    }
    (void)jinja_tok_expect(p, TOK_RBRACE);
    p->t->nodes[node].a = first;
    return node;
}

static uint32_t parse_name(struct jinja_parser *p) {
    static const char *const consts[] = {"none", "None", "false", "False", "true", "True"};
    struct span text = jinja_tok_text(p, 0);
    uint32_t pos = jinja_tok(p, 0)->pos;
    p->at++;
    for (size_t i = 0; i < ARRAY_LEN(consts); i++) {
        if (span_is(text, consts[i])) {
            uint32_t node = jinja_node_new(p, NODE_CONST, pos);
            p->t->nodes[node].op = (uint8_t)(i / 2);
            return node;
        }
    }
    p->macro_flags |= span_is(text, "varargs")  ? (unsigned)MACRO_VARARGS
                      : span_is(text, "kwargs") ? (unsigned)MACRO_KWARGS
                      : span_is(text, "caller") ? (unsigned)MACRO_CALLER
                                                : 0u;
    uint32_t node = jinja_node_new(p, NODE_NAME, pos);
    uint32_t name = jinja_name_intern(p, text);
    p->t->nodes[node].a = name;
    return node;
}

static uint32_t parse_primary(struct jinja_parser *p) {
    struct span text = jinja_tok_text(p, 0);
    switch ((enum jinja_token_type)jinja_tok(p, 0)->type) {
    case TOK_NAME:
        return parse_name(p);
    case TOK_STRING:
        return parse_string(p);
    case TOK_INT:
    case TOK_FLOAT:
        return parse_number(p);
    case TOK_LBRACKET:
        return parse_list(p);
    case TOK_LBRACE:
        return parse_dict(p);
    case TOK_LPAREN: {
        p->at++;
        uint32_t inner = jinja_parse_tuple(p, TUPLE_PARENS);
        return jinja_tok_expect(p, TOK_RPAREN) ? inner : 0;
    }
    default:
        return jinja_parse_error(p, jinja_tok(p, 0)->pos, LAMINA_DAMAGED, "expected an expression, found '%.*s'",
                                 (int)(text.len < 40 ? text.len : 40), (const char *)text.ptr);
    }
}

static uint32_t parse_unary(struct jinja_parser *p, bool with_filters) {
    enum jinja_token_type type = (enum jinja_token_type)jinja_tok(p, 0)->type;
    uint32_t pos = jinja_tok(p, 0)->pos;
    uint32_t node = 0;
    if (type == TOK_SUB || type == TOK_ADD) {
        if (!jinja_parse_deeper(p)) {
            return 0;
        }
        p->at++;
        uint32_t operand = parse_unary(p, false);
        p->depth--;
        node = jinja_node_new(p, type == TOK_SUB ? NODE_NEG : NODE_PLUS, pos);
        p->t->nodes[node].a = operand;
    } else {
        node = parse_primary(p);
    }
    return parse_links(p, node, with_filters);
}

/* ---- what follows a primary -------------------------------------------------------------------------------------- */

static uint32_t parse_argument(struct jinja_parser *p, bool *after_named, bool *after_star) {
    uint32_t pos = jinja_tok(p, 0)->pos;
    enum jinja_node_kind kind = NODE_ARG;
    uint32_t name = 0;
    if (jinja_tok_skip(p, TOK_MUL)) {
        kind = NODE_STAR;
    } else if (jinja_tok_skip(p, TOK_POW)) {
        kind = NODE_STARSTAR;
    } else if (jinja_tok(p, 0)->type == TOK_NAME && jinja_tok(p, 1)->type == TOK_ASSIGN) {
        kind = NODE_KWARG;
        name = jinja_name_intern(p, jinja_tok_text(p, 0));
        p->at += 2;
    }
    bool misplaced = *after_star ? kind != NODE_STARSTAR && kind != NODE_KWARG : kind == NODE_ARG && *after_named;
    if (misplaced) {
        return jinja_parse_error(p, pos, LAMINA_DAMAGED, "a positional argument after named ones");
    }
    *after_named = *after_named || kind == NODE_KWARG || kind == NODE_STARSTAR;
    *after_star = *after_star || kind == NODE_STAR;
    uint32_t value = jinja_parse_expression(p);
    uint32_t node = jinja_node_new(p, kind, pos);
    p->t->nodes[node].a = value;
    p->t->nodes[node].b = name;
    return node;
}

static uint32_t parse_arguments(struct jinja_parser *p) {
    uint32_t first = 0;
    uint32_t last = 0;
    bool after_named = false;
    bool after_star = false;
    (void)jinja_tok_expect(p, TOK_LPAREN);
    while (p->failed == LAMINA_OK && jinja_tok(p, 0)->type != TOK_RPAREN) {
        if (first != 0 && !jinja_tok_expect(p, TOK_COMMA)) {
            return 0;
        }
        if (jinja_tok(p, 0)->type == TOK_RPAREN) {
            break;
        }
        append(p, &first, &last, parse_argument(p, &after_named, &after_star));
    }
    (void)jinja_tok_expect(p, TOK_RPAREN);
    return first;
}

/* A filter or test by its possibly dotted name. */
static uint32_t parse_named_link(struct jinja_parser *p, enum jinja_node_kind kind) {
    uint32_t pos = jinja_tok(p, 0)->pos;
    struct span name = jinja_tok_text(p, 0);
    if (!jinja_tok_expect(p, TOK_NAME)) {
        return 0;
    }
    while (jinja_tok_skip(p, TOK_DOT)) { /* such names exist in no table; they are read to be refused by name */
        const struct jinja_token *part = jinja_tok(p, 0);
        name.len = part->pos + part->len - pos;
        if (!jinja_tok_expect(p, TOK_NAME)) {
            return 0;
        }
    }
    uint32_t node = jinja_node_new(p, kind, pos);
    uint32_t id = jinja_name_intern(p, name);
    p->t->nodes[node].a = kind == NODE_FILTER ? jinja_filter_find(name) : jinja_test_find(name);
    p->t->nodes[node].c = id;
    if (p->t->nodes[node].a == UINT32_MAX && !p->soft && p->unknown == 0) {
        p->unknown = node;
    }
    return node;
}

uint32_t jinja_parse_filters(struct jinja_parser *p, bool start_inline) {
    uint32_t first = 0;
    uint32_t last = 0;
    while (p->failed == LAMINA_OK && (start_inline || jinja_tok_skip(p, TOK_PIPE))) {
        start_inline = false;
        uint32_t node = parse_named_link(p, NODE_FILTER);
        uint32_t args = jinja_tok(p, 0)->type == TOK_LPAREN ? parse_arguments(p) : 0;
        p->t->nodes[node].b = args;
        append(p, &first, &last, node);
    }
    return first;
}

static uint32_t parse_test(struct jinja_parser *p) {
    bool negated = jinja_tok_skip_name(p, "not");
    uint32_t node = parse_named_link(p, NODE_TEST);
    uint32_t args = 0;
    enum jinja_token_type type = (enum jinja_token_type)jinja_tok(p, 0)->type;
    if (type == TOK_LPAREN) {
        args = parse_arguments(p);
    } else if ((type == TOK_NAME || type == TOK_STRING || type == TOK_INT || type == TOK_FLOAT ||
                type == TOK_LBRACKET || type == TOK_LBRACE) &&
               !jinja_tok_is_name(p, 0, "else") && !jinja_tok_is_name(p, 0, "or") && !jinja_tok_is_name(p, 0, "and")) {
        if (jinja_tok_is_name(p, 0, "is")) {
            return jinja_parse_error(p, jinja_tok(p, 0)->pos, LAMINA_DAMAGED, "tests cannot be chained with 'is'");
        }
        if (!jinja_parse_deeper(p)) {
            return 0;
        }
        args = jinja_node_new(p, NODE_ARG, jinja_tok(p, 0)->pos);
        uint32_t value = parse_links(p, parse_primary(p), false);
        p->t->nodes[args].a = value;
        p->depth--;
    }
    p->t->nodes[node].b = args;
    p->t->nodes[node].flag = negated;
    return node;
}

/* One element of [...]: an expression or a slice. */
static uint32_t parse_subscript(struct jinja_parser *p) {
    uint32_t pos = jinja_tok(p, 0)->pos;
    uint32_t part[3] = {0, 0, 0};
    bool is_slice = false;
    for (size_t i = 0; i < 3; i++) {
        enum jinja_token_type type = (enum jinja_token_type)jinja_tok(p, 0)->type;
        if (type != TOK_COLON && type != TOK_RBRACKET && type != TOK_COMMA) {
            part[i] = jinja_parse_expression(p);
        }
        if (i == 2 || !jinja_tok_skip(p, TOK_COLON)) {
            break;
        }
        is_slice = true;
    }
    if (!is_slice) {
        return part[0] != 0 ? part[0] : jinja_parse_error(p, pos, LAMINA_DAMAGED, "expected a subscript");
    }
    uint32_t node = jinja_node_new(p, NODE_SLICE, pos);
    struct jinja_node *n = &p->t->nodes[node];
    n->a = part[0];
    n->b = part[1];
    n->c = part[2];
    return node;
}

static uint32_t parse_brackets(struct jinja_parser *p) {
    uint32_t pos = jinja_tok(p, 0)->pos;
    uint32_t first = 0;
    uint32_t last = 0;
    uint32_t count = 0;
    p->at++;
    while (p->failed == LAMINA_OK && jinja_tok(p, 0)->type != TOK_RBRACKET) {
        if (first != 0 && !jinja_tok_expect(p, TOK_COMMA)) {
            return 0;
        }
        append(p, &first, &last, parse_subscript(p));
        count++;
    }
    (void)jinja_tok_expect(p, TOK_RBRACKET);
    if (count != 1) {
        uint32_t tuple = jinja_node_new(p, NODE_TUPLE, pos);
        p->t->nodes[tuple].a = first;
        p->t->nodes[tuple].b = count;
        first = tuple;
    }
    if (p->t->nodes[first].kind == NODE_SLICE) {
        return first;
    }
    uint32_t node = jinja_node_new(p, NODE_ITEM, pos);
    p->t->nodes[node].a = first;
    return node;
}

static uint32_t parse_dot(struct jinja_parser *p) {
    uint32_t pos = jinja_tok(p, 0)->pos;
    p->at++;
    if (jinja_tok(p, 0)->type == TOK_INT) {
        uint32_t number = parse_number(p);
        uint32_t node = jinja_node_new(p, NODE_ITEM, pos);
        p->t->nodes[node].a = number;
        return node;
    }
    struct span name = jinja_tok_text(p, 0);
    if (!jinja_tok_expect(p, TOK_NAME)) {
        return 0;
    }
    uint32_t node = jinja_node_new(p, NODE_ATTR, pos);
    uint32_t id = jinja_name_intern(p, name);
    p->t->nodes[node].a = id;
    return node;
}

static uint32_t parse_call(struct jinja_parser *p) {
    uint32_t pos = jinja_tok(p, 0)->pos;
    uint32_t args = parse_arguments(p);
    uint32_t node = jinja_node_new(p, NODE_CALL, pos);
    p->t->nodes[node].a = args;
    return node;
}

/* Attributes, subscripts and calls; then filters, tests and calls, after which no dot or bracket may follow. */
static uint32_t parse_links(struct jinja_parser *p, uint32_t node, bool with_filters) {
    uint32_t first = 0;
    uint32_t last = 0;
    bool filtered = false;
    while (p->failed == LAMINA_OK) {
        enum jinja_token_type type = (enum jinja_token_type)jinja_tok(p, 0)->type;
        uint32_t link = 0;
        if (!filtered && type == TOK_DOT) {
            link = parse_dot(p);
        } else if (!filtered && type == TOK_LBRACKET) {
            link = parse_brackets(p);
        } else if (type == TOK_LPAREN) {
            link = parse_call(p);
        } else if (with_filters && type == TOK_PIPE) {
            link = jinja_parse_filters(p, false);
            filtered = true;
        } else if (with_filters && jinja_tok_skip_name(p, "is")) {
            link = parse_test(p);
            filtered = true;
        } else {
            break;
        }
        append(p, &first, &last, link);
        while (p->t->nodes[last].next != 0) {
            last = p->t->nodes[last].next;
        }
    }
    if (first == 0 || p->failed != LAMINA_OK) {
        return node;
    }
    uint32_t postfix = jinja_node_new(p, NODE_POSTFIX, p->t->nodes[node].pos);
    p->t->nodes[postfix].a = node;
    p->t->nodes[postfix].b = first;
    return postfix;
}
