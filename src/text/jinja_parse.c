/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens to nodes: the statements, and the helpers both parser files use. The grammar is jinja2's, so what jinja2
 * refuses is refused here. Must not know values or rendering. The first mistake is sticky and moves the cursor to the
 * end, so callers read straight on and every loop ends; nesting is counted, never trusted to the C stack.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/jinja_priv.h"

uint32_t jinja_parse_error(struct jinja_parser *p, size_t pos, lamina_status code, const char *fmt, ...) {
    if (p->failed == LAMINA_OK) {
        char text[256];
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        unsigned line = 0;
        unsigned column = 0;
        jinja_place(str_span(&p->t->source), pos, &line, &column);
        p->failed = base_fail(p->err, code, "chat template: line %u, column %u: %s", line, column, text);
    }
    p->at = p->tokens.count - 1;
    return 0;
}

bool jinja_parse_deeper(struct jinja_parser *p) {
    if (p->depth >= JINJA_PARSE_DEPTH) {
        (void)jinja_parse_error(p, jinja_tok(p, 0)->pos, LAMINA_NO_FIT, "nested more than %d levels deep",
                                (int)JINJA_PARSE_DEPTH);
        return false;
    }
    p->depth++;
    return true;
}

uint32_t jinja_node_new(struct jinja_parser *p, enum jinja_node_kind kind, uint32_t pos) {
    struct jinja_template *t = p->t;
    if (t->node_count == t->node_cap) {
        size_t cap = t->node_cap == 0 ? 256 : t->node_cap * 2;
        struct jinja_node *grown = (struct jinja_node *)realloc(t->nodes, cap * sizeof(*grown));
        if (grown == NULL) {
            return jinja_parse_error(p, pos, LAMINA_NO_FIT, "no memory for the parsed template");
        }
        t->nodes = grown;
        t->node_cap = cap;
    }
    t->nodes[t->node_count] = (struct jinja_node){.kind = (uint8_t)kind, .pos = pos};
    return (uint32_t)t->node_count++;
}

static uint64_t hash_text(struct span text) {
    uint64_t h = 14695981039346656037u; /* FNV-1a; the number of names is bounded by the source size */
    for (size_t i = 0; i < text.len; i++) {
        h = (h ^ text.ptr[i]) * 1099511628211u;
    }
    return h ^ h >> 29;
}

static struct span name_text(const struct jinja_template *t, size_t name) {
    return span_sub(str_span(&t->pool), t->names[name].offset, t->names[name].len);
}

static bool grow_names(struct jinja_parser *p) {
    struct jinja_template *t = p->t;
    size_t cap = t->name_cap == 0 ? 64 : t->name_cap * 2;
    struct jinja_name *names = (struct jinja_name *)realloc(t->names, cap * sizeof(*names));
    if (names == NULL) {
        return false;
    }
    t->names = names;
    t->name_cap = cap;
    free(p->name_index);
    p->name_index_cap = cap * 2;
    p->name_index = (uint32_t *)calloc(p->name_index_cap, sizeof(uint32_t));
    if (p->name_index == NULL) {
        return false;
    }
    for (size_t i = 0; i < t->name_count; i++) {
        size_t slot = hash_text(name_text(t, i)) & (p->name_index_cap - 1);
        while (p->name_index[slot] != 0) {
            slot = (slot + 1) & (p->name_index_cap - 1);
        }
        p->name_index[slot] = (uint32_t)i + 1;
    }
    return true;
}

uint32_t jinja_name_intern(struct jinja_parser *p, struct span text) {
    struct jinja_template *t = p->t;
    if (t->name_count == t->name_cap && !grow_names(p)) {
        return jinja_parse_error(p, 0, LAMINA_NO_FIT, "no memory for the names of the template");
    }
    size_t slot = hash_text(text) & (p->name_index_cap - 1);
    for (; p->name_index[slot] != 0; slot = (slot + 1) & (p->name_index_cap - 1)) {
        uint32_t found = p->name_index[slot] - 1;
        if (span_equal(name_text(t, found), text)) {
            return found;
        }
    }
    t->names[t->name_count] = (struct jinja_name){.offset = (uint32_t)t->pool.len, .len = (uint32_t)text.len};
    str_add_span(&t->pool, text);
    p->name_index[slot] = (uint32_t)t->name_count + 1;
    return (uint32_t)t->name_count++;
}

const struct jinja_token *jinja_tok(const struct jinja_parser *p, size_t ahead) {
    size_t at = p->at + ahead;
    return &p->tokens.item[at < p->tokens.count ? at : p->tokens.count - 1];
}

struct span jinja_tok_text(const struct jinja_parser *p, size_t ahead) {
    const struct jinja_token *t = jinja_tok(p, ahead);
    return span_sub(str_span(&p->t->source), t->pos, t->len);
}

bool jinja_tok_is_name(const struct jinja_parser *p, size_t ahead, const char *word) {
    return jinja_tok(p, ahead)->type == TOK_NAME && span_is(jinja_tok_text(p, ahead), word);
}

bool jinja_tok_skip(struct jinja_parser *p, enum jinja_token_type type) {
    if (jinja_tok(p, 0)->type != (uint32_t)type) {
        return false;
    }
    p->at += type != TOK_END;
    return true;
}

bool jinja_tok_skip_name(struct jinja_parser *p, const char *word) {
    bool is = jinja_tok_is_name(p, 0, word);
    p->at += is;
    return is;
}

bool jinja_tok_expect(struct jinja_parser *p, enum jinja_token_type type) {
    static const char *const names[] = {
        [TOK_END] = "the end of the template", [TOK_VAR_END] = "'}}'", [TOK_BLOCK_END] = "'%}'", [TOK_NAME] = "a name",
        [TOK_ASSIGN] = "'='", [TOK_COLON] = "':'", [TOK_COMMA] = "','", [TOK_LPAREN] = "'('", [TOK_RPAREN] = "')'",
        [TOK_RBRACKET] = "']'", [TOK_RBRACE] = "'}'"};
    if (jinja_tok_skip(p, type)) {
        return true;
    }
    struct span found = jinja_tok_text(p, 0);
    const char *wanted = (size_t)type < ARRAY_LEN(names) && names[type] != NULL ? names[type] : "something else";
    if (found.len == 0) {
        (void)jinja_parse_error(p, jinja_tok(p, 0)->pos, LAMINA_DAMAGED, "expected %s, but the template ends", wanted);
    } else {
        (void)jinja_parse_error(p, jinja_tok(p, 0)->pos, LAMINA_DAMAGED, "expected %s, found '%.*s'", wanted,
                                (int)(found.len < 40 ? found.len : 40), (const char *)found.ptr);
    }
    return false;
}

/* ---- targets and signatures -------------------------------------------------------------------------------------- */

static bool is_reserved(struct span name) {
    static const char *const reserved[] = {"true", "false", "none", "True", "False", "None"};
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (span_is(name, reserved[i])) {
            return true;
        }
    }
    return false;
}

static uint32_t parse_target_name(struct jinja_parser *p, enum jinja_node_kind kind) {
    uint32_t pos = jinja_tok(p, 0)->pos;
    struct span name = jinja_tok_text(p, 0);
    if (!jinja_tok_expect(p, TOK_NAME)) {
        return 0;
    }
    if (is_reserved(name)) {
        return jinja_parse_error(p, pos, LAMINA_DAMAGED, "cannot assign to '%.*s'", (int)name.len,
                                 (const char *)name.ptr);
    }
    uint32_t node = jinja_node_new(p, kind, pos);
    uint32_t id = jinja_name_intern(p, name);
    p->t->nodes[node].a = id;
    return node;
}

static uint32_t parse_target_list(struct jinja_parser *p, bool with_attr);

static uint32_t parse_target_one(struct jinja_parser *p, bool with_attr) {
    if (jinja_tok(p, 0)->type == TOK_LPAREN) {
        if (!jinja_parse_deeper(p)) {
            return 0;
        }
        p->at++;
        uint32_t inner = parse_target_list(p, false);
        p->depth--;
        return jinja_tok_expect(p, TOK_RPAREN) ? inner : 0;
    }
    bool attr = with_attr && jinja_tok(p, 1)->type == TOK_DOT;
    uint32_t node = parse_target_name(p, attr ? NODE_TARGET_ATTR : NODE_TARGET);
    if (attr && node != 0) {
        p->at++;
        struct span name = jinja_tok_text(p, 0);
        if (!jinja_tok_expect(p, TOK_NAME)) {
            return 0;
        }
        uint32_t id = jinja_name_intern(p, name);
        p->t->nodes[node].b = id;
    }
    return node;
}

/* "a", "a, b", "(a, b), c": ends before "in", "=" or whatever is no name. */
static uint32_t parse_target_list(struct jinja_parser *p, bool with_attr) {
    uint32_t pos = jinja_tok(p, 0)->pos;
    uint32_t first = parse_target_one(p, with_attr);
    if (jinja_tok(p, 0)->type != TOK_COMMA || first == 0) {
        return first;
    }
    uint32_t tuple = jinja_node_new(p, NODE_TARGET_TUPLE, pos);
    uint32_t last = first;
    uint32_t count = 1;
    while (jinja_tok_skip(p, TOK_COMMA)) {
        enum jinja_token_type next = (enum jinja_token_type)jinja_tok(p, 0)->type;
        if ((next != TOK_NAME && next != TOK_LPAREN) || jinja_tok_is_name(p, 0, "in")) {
            break;
        }
        uint32_t one = parse_target_one(p, with_attr);
        p->t->nodes[last].next = one;
        last = one;
        count++;
    }
    p->t->nodes[tuple].a = first;
    p->t->nodes[tuple].b = count;
    return tuple;
}

static uint32_t parse_signature(struct jinja_parser *p) {
    uint32_t first = 0;
    uint32_t last = 0;
    bool defaults = false;
    (void)jinja_tok_expect(p, TOK_LPAREN);
    while (p->failed == LAMINA_OK && jinja_tok(p, 0)->type != TOK_RPAREN) {
        if (first != 0 && !jinja_tok_expect(p, TOK_COMMA)) {
            return 0;
        }
        uint32_t pos = jinja_tok(p, 0)->pos;
        uint32_t node = parse_target_name(p, NODE_PARAM);
        if (jinja_tok_skip(p, TOK_ASSIGN)) {
            uint32_t value = jinja_parse_expression(p);
            p->t->nodes[node].b = value;
            p->t->nodes[node].flag = 1;
            defaults = true;
        } else if (defaults) {
            return jinja_parse_error(p, pos, LAMINA_DAMAGED, "a parameter without default follows one with a default");
        }
        if (last != 0) {
            p->t->nodes[last].next = node;
        } else {
            first = node;
        }
        last = node;
    }
    (void)jinja_tok_expect(p, TOK_RPAREN);
    return first;
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

static uint32_t parse_body(struct jinja_parser *p, const char *end, const char *end2, const char *end3);

/* A body that starts a scope of its own, where jinja2's leniency about unknown filters ends. */
static uint32_t parse_scope_body(struct jinja_parser *p, const char *end, const char *end2) {
    bool soft = p->soft;
    p->soft = false;
    uint32_t body = parse_body(p, end, end2, NULL);
    p->soft = soft;
    return body;
}

/* A body whose text becomes a value: break and continue may not leave it half made. */
static uint32_t parse_text_body(struct jinja_parser *p, const char *end) {
    bool in_loop = p->in_loop;
    p->in_loop = false;
    uint32_t body = parse_scope_body(p, end, NULL);
    p->in_loop = in_loop;
    (void)jinja_tok_skip_name(p, end);
    return body;
}

static void close_tag(struct jinja_parser *p) {
    (void)jinja_tok_expect(p, TOK_BLOCK_END);
}

/* An elif is a NODE_IF alone in the else branch of the one before; read in a loop, so long chains need no depth. */
static uint32_t parse_if(struct jinja_parser *p, uint32_t pos) {
    uint32_t top = jinja_node_new(p, NODE_IF, pos);
    uint32_t node = top;
    bool soft = p->soft;
    p->soft = true;
    while (p->failed == LAMINA_OK) {
        uint32_t test = jinja_parse_tuple(p, TUPLE_NO_COND);
        close_tag(p);
        uint32_t body = parse_body(p, "elif", "else", "endif");
        p->t->nodes[node].a = test;
        p->t->nodes[node].b = body;
        if (jinja_tok_skip_name(p, "elif")) {
            uint32_t next = jinja_node_new(p, NODE_IF, jinja_tok(p, 0)->pos);
            p->t->nodes[node].c = next;
            p->t->nodes[next].flag = 1;
            node = next;
            continue;
        }
        if (jinja_tok_skip_name(p, "else")) {
            close_tag(p);
            uint32_t other = parse_body(p, "endif", NULL, NULL);
            p->t->nodes[node].c = other;
        }
        (void)jinja_tok_skip_name(p, "endif");
        break;
    }
    p->soft = soft;
    return top;
}

static uint32_t parse_for(struct jinja_parser *p, uint32_t pos) {
    uint32_t node = jinja_node_new(p, NODE_FOR, pos);
    uint32_t rest = jinja_node_new(p, NODE_FOR_REST, pos);
    uint32_t target = parse_target_list(p, false);
    if (!jinja_tok_skip_name(p, "in")) {
        return jinja_parse_error(p, jinja_tok(p, 0)->pos, LAMINA_DAMAGED, "expected 'in'");
    }
    uint32_t over = jinja_parse_tuple(p, TUPLE_NO_COND);
    uint32_t filter = jinja_tok_skip_name(p, "if") ? jinja_parse_expression(p) : 0;
    if (jinja_tok_is_name(p, 0, "recursive")) {
        return jinja_parse_error(p, pos, LAMINA_UNSUPPORTED, "recursive loops are not supported");
    }
    close_tag(p);
    bool in_loop = p->in_loop;
    p->in_loop = true;
    uint32_t body = parse_scope_body(p, "endfor", "else");
    p->in_loop = in_loop;
    uint32_t other = 0;
    if (jinja_tok_skip_name(p, "else")) {
        close_tag(p);
        other = parse_scope_body(p, "endfor", NULL);
    }
    (void)jinja_tok_skip_name(p, "endfor");
    struct jinja_node *n = p->t->nodes;
    n[node].a = target;
    n[node].b = over;
    n[node].c = rest;
    n[rest].a = filter;
    n[rest].b = body;
    n[rest].c = other;
    return node;
}

static uint32_t parse_set(struct jinja_parser *p, uint32_t pos) {
    uint32_t target = parse_target_list(p, true);
    if (jinja_tok_skip(p, TOK_ASSIGN)) {
        uint32_t value = jinja_parse_tuple(p, TUPLE_PLAIN);
        uint32_t node = jinja_node_new(p, NODE_SET, pos);
        p->t->nodes[node].a = target;
        p->t->nodes[node].b = value;
        return node;
    }
    uint32_t filters = jinja_parse_filters(p, false);
    close_tag(p);
    uint32_t body = parse_text_body(p, "endset");
    uint32_t node = jinja_node_new(p, NODE_SET_BLOCK, pos);
    p->t->nodes[node].a = target;
    p->t->nodes[node].b = filters;
    p->t->nodes[node].c = body;
    return node;
}

/* The body of a macro or call block: loops outside do not reach into it. */
static uint32_t parse_macro_body(struct jinja_parser *p, const char *end, uint16_t *flags) {
    unsigned outer_flags = p->macro_flags;
    bool in_loop = p->in_loop;
    p->macro_flags = 0;
    p->in_loop = false;
    close_tag(p);
    uint32_t body = parse_scope_body(p, end, NULL);
    (void)jinja_tok_skip_name(p, end);
    *flags = (uint16_t)p->macro_flags;
    p->macro_flags |= outer_flags; /* what an inner body uses, the outer one is taken to use, as in jinja2 */
    p->in_loop = in_loop;
    return body;
}

static uint32_t parse_macro(struct jinja_parser *p, uint32_t pos) {
    uint32_t name = parse_target_name(p, NODE_MACRO);
    uint32_t params = parse_signature(p);
    uint16_t flags = 0;
    uint32_t body = parse_macro_body(p, "endmacro", &flags);
    struct jinja_node *n = &p->t->nodes[name];
    n->pos = pos;
    n->b = params;
    n->c = body;
    n->flag = flags;
    return name;
}

static uint32_t parse_call_block(struct jinja_parser *p, uint32_t pos) {
    uint32_t params = jinja_tok(p, 0)->type == TOK_LPAREN ? parse_signature(p) : 0;
    uint32_t call = jinja_parse_expression(p);
    uint32_t link = p->t->nodes[call].kind == NODE_POSTFIX ? p->t->nodes[call].b : 0;
    while (link != 0 && p->t->nodes[link].next != 0) {
        link = p->t->nodes[link].next;
    }
    if (p->failed == LAMINA_OK && p->t->nodes[link].kind != NODE_CALL) {
        return jinja_parse_error(p, pos, LAMINA_DAMAGED, "expected a call after 'call'");
    }
    uint16_t flags = 0;
    uint32_t body = parse_macro_body(p, "endcall", &flags);
    uint32_t node = jinja_node_new(p, NODE_CALL_BLOCK, pos);
    struct jinja_node *n = &p->t->nodes[node];
    n->a = call;
    n->b = params;
    n->c = body;
    n->flag = flags;
    return node;
}

static uint32_t parse_filter_block(struct jinja_parser *p, uint32_t pos) {
    uint32_t filters = jinja_parse_filters(p, true);
    close_tag(p);
    uint32_t body = parse_text_body(p, "endfilter");
    uint32_t node = jinja_node_new(p, NODE_FILTER_BLOCK, pos);
    p->t->nodes[node].a = filters;
    p->t->nodes[node].b = body;
    return node;
}

static uint32_t parse_scope(struct jinja_parser *p, uint32_t pos, bool with) {
    uint32_t first = 0;
    uint32_t last = 0;
    while (with && p->failed == LAMINA_OK && jinja_tok(p, 0)->type != TOK_BLOCK_END) {
        if (first != 0 && !jinja_tok_expect(p, TOK_COMMA)) {
            return 0;
        }
        uint32_t target = parse_target_one(p, false);
        (void)jinja_tok_expect(p, TOK_ASSIGN);
        uint32_t value = jinja_parse_expression(p);
        uint32_t set = jinja_node_new(p, NODE_SET, pos);
        p->t->nodes[set].a = target;
        p->t->nodes[set].b = value;
        if (last != 0) {
            p->t->nodes[last].next = set;
        } else {
            first = set;
        }
        last = set;
    }
    close_tag(p);
    const char *end = with ? "endwith" : "endgeneration";
    uint32_t body = parse_scope_body(p, end, NULL);
    (void)jinja_tok_skip_name(p, end);
    uint32_t node = jinja_node_new(p, NODE_SCOPE, pos);
    p->t->nodes[node].a = first;
    p->t->nodes[node].b = body;
    return node;
}

static uint32_t parse_loop_control(struct jinja_parser *p, uint32_t pos, bool is_break) {
    if (!p->in_loop) {
        return jinja_parse_error(p, pos, LAMINA_DAMAGED, "'%s' outside a loop", is_break ? "break" : "continue");
    }
    return jinja_node_new(p, is_break ? NODE_BREAK : NODE_CONTINUE, pos);
}

static uint32_t refuse_statement(struct jinja_parser *p, uint32_t pos, struct span word) {
    static const char *const known[] = {"include", "import", "from", "extends", "block", "autoescape", "do", "trans",
                                        "debug", "pluralize", "endblock"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (span_is(word, known[i])) {
            return jinja_parse_error(p, pos, LAMINA_UNSUPPORTED,
                                     "the statement '%s' is not part of what chat templates may use", known[i]);
        }
    }
    return jinja_parse_error(p, pos, LAMINA_DAMAGED, "unknown statement '%.*s', or one that closes nothing",
                             (int)(word.len < 60 ? word.len : 60), (const char *)word.ptr);
}

static uint32_t parse_statement(struct jinja_parser *p) {
    uint32_t pos = jinja_tok(p, 0)->pos;
    struct span word = jinja_tok_text(p, 0);
    if (!jinja_tok_expect(p, TOK_NAME) || !jinja_parse_deeper(p)) {
        return 0;
    }
    uint32_t node = 0;
    if (span_is(word, "if")) {
        node = parse_if(p, pos);
    } else if (span_is(word, "for")) {
        node = parse_for(p, pos);
    } else if (span_is(word, "set")) {
        node = parse_set(p, pos);
    } else if (span_is(word, "macro")) {
        node = parse_macro(p, pos);
    } else if (span_is(word, "call")) {
        node = parse_call_block(p, pos);
    } else if (span_is(word, "filter")) {
        node = parse_filter_block(p, pos);
    } else if (span_is(word, "with") || span_is(word, "generation")) {
        node = parse_scope(p, pos, span_is(word, "with"));
    } else if (span_is(word, "print")) {
        node = jinja_node_new(p, NODE_OUTPUT, pos);
        uint32_t value = jinja_parse_tuple(p, TUPLE_PLAIN);
        p->t->nodes[node].a = value;
    } else if (span_is(word, "break") || span_is(word, "continue")) {
        node = parse_loop_control(p, pos, span_is(word, "break"));
    } else {
        node = refuse_statement(p, pos, word);
    }
    p->depth--;
    close_tag(p);
    return node;
}

static uint32_t parse_data(struct jinja_parser *p) {
    const struct jinja_token *tok = jinja_tok(p, 0);
    uint32_t node = jinja_node_new(p, NODE_DATA, tok->pos);
    p->t->nodes[node].a = tok->pos;
    p->t->nodes[node].b = tok->len;
    p->at++;
    return node;
}

static uint32_t parse_output(struct jinja_parser *p) {
    uint32_t node = jinja_node_new(p, NODE_OUTPUT, jinja_tok(p, 0)->pos);
    p->at++;
    uint32_t value = jinja_parse_tuple(p, TUPLE_PLAIN);
    p->t->nodes[node].a = value;
    (void)jinja_tok_expect(p, TOK_VAR_END);
    return node;
}

static bool at_end_word(const struct jinja_parser *p, const char *end) {
    return end != NULL && jinja_tok_is_name(p, 1, end);
}

/* Statements up to one of the end words, whose name is then the next token; without end words up to the end. */
static uint32_t parse_body(struct jinja_parser *p, const char *end, const char *end2, const char *end3) {
    uint32_t first = 0;
    uint32_t last = 0;
    while (p->failed == LAMINA_OK) {
        uint32_t node = 0;
        enum jinja_token_type type = (enum jinja_token_type)jinja_tok(p, 0)->type;
        if (type == TOK_END) {
            if (end != NULL) {
                return jinja_parse_error(p, jinja_tok(p, 0)->pos, LAMINA_DAMAGED,
                                         "the template ends, but '%s' is missing", end3 != NULL ? end3 : end);
            }
            break;
        }
        if (type == TOK_BLOCK_BEGIN) {
            if (at_end_word(p, end) || at_end_word(p, end2) || at_end_word(p, end3)) {
                p->at++;
                break;
            }
            p->at++;
            node = parse_statement(p);
        } else {
            node = type == TOK_DATA ? parse_data(p) : parse_output(p);
        }
        if (last != 0) {
            p->t->nodes[last].next = node;
        } else {
            first = node;
        }
        last = node;
    }
    return first;
}

void jinja_parse_template(struct jinja_parser *p) {
    (void)jinja_node_new(p, NODE_NONE, 0);
    uint32_t root = parse_body(p, NULL, NULL, NULL);
    p->t->root = root;
    if (p->failed == LAMINA_OK && p->unknown != 0) {
        const struct jinja_node *n = &p->t->nodes[p->unknown];
        struct span name = name_text(p->t, n->c);
        (void)jinja_parse_error(p, n->pos, LAMINA_UNSUPPORTED, "there is no %s named '%.*s'",
                                n->kind == NODE_FILTER ? "filter" : "test", (int)(name.len < 60 ? name.len : 60),
                                (const char *)name.ptr);
    }
    if (p->failed == LAMINA_OK && (p->t->pool.failed || p->t->source.failed)) {
        (void)jinja_parse_error(p, 0, LAMINA_NO_FIT, "no memory for the parsed template");
    }
}
