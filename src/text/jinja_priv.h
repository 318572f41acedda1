/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the template language share: tokens, the flat node array, values, and one render's state.
 *
 *     source --jinja_lex--> tokens --jinja_parse*--> nodes --jinja_exec/jinja_eval--> text
 *
 * Semantics follow Python's jinja2 (version 3.1): where the two could differ, the Python result is right. Values live
 * in one arena per render and are never freed singly; strings are (pointer, length) views, and appending to the newest
 * string extends it in place, so building text in a loop costs linear, not quadratic memory. Every recursive function
 * counts its nesting, so that the C stack stays below 200 KiB whatever a template does.
 */
#ifndef TEXT_JINJA_PRIV_H
#define TEXT_JINJA_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/span.h"
#include "base/status.h"
#include "base/str.h"
#include "text/jinja.h"

enum {
    JINJA_SOURCE_MAX = 256 * 1024,
    JINJA_PARSE_DEPTH = 64,
    JINJA_NEST_MAX = 640,   /* eval, exec and filter levels together; at most ~250 bytes of C stack each */
    JINJA_VALUE_DEPTH = 90, /* of lists in lists, when they are printed or compared */
    JINJA_STACK_VALUES = 4096,
};

/* ---- tokens and nodes -------------------------------------------------------------------------------------------- */

enum jinja_token_type {
    TOK_END, TOK_DATA, TOK_VAR_BEGIN, TOK_VAR_END, TOK_BLOCK_BEGIN, TOK_BLOCK_END, TOK_NAME, TOK_STRING, TOK_INT,
    TOK_FLOAT, TOK_POW, TOK_FLOORDIV, TOK_EQ, TOK_NE, TOK_LE, TOK_GE, TOK_ADD, TOK_SUB, TOK_MUL, TOK_DIV, TOK_MOD,
    TOK_TILDE, TOK_LT, TOK_GT, TOK_ASSIGN, TOK_DOT, TOK_COLON, TOK_PIPE, TOK_COMMA, TOK_SEMICOLON, TOK_LPAREN,
    TOK_RPAREN, TOK_LBRACKET, TOK_RBRACKET, TOK_LBRACE, TOK_RBRACE
};

struct jinja_token {
    uint32_t type;
    uint32_t pos;
    uint32_t len;
};

struct jinja_tokens {
    struct jinja_token *item;
    size_t count;
    size_t cap;
};

/* Node kinds with the use of a, b, c. Lists are linked through `next`; node 0 means "none". */
enum jinja_node_kind {
    NODE_NONE,
    /* statements */
    NODE_DATA,       /* a: offset in the source, b: length */
    NODE_OUTPUT,     /* a: expression */
    NODE_IF,         /* a: test, b: body, c: else body; an elif is an else body of one NODE_IF with flag 1 */
    NODE_FOR,        /* a: target, b: iterable, c: NODE_FOR_REST */
    NODE_FOR_REST,   /* a: filter expression, b: body, c: else body */
    NODE_SET,        /* a: target, b: expression */
    NODE_SET_BLOCK,  /* a: target, b: filters, c: body */
    NODE_MACRO,      /* a: name, b: NODE_PARAM list, c: body; flag: enum jinja_macro_flag */
    NODE_PARAM,      /* a: name, b: default expression; flag 1: has one */
    NODE_CALL_BLOCK, /* a: call expression, b: NODE_PARAM list, c: body */
    NODE_FILTER_BLOCK, /* a: filters, b: body */
    NODE_SCOPE,      /* a: NODE_SET list, b: body (with, generation) */
    NODE_BREAK,
    NODE_CONTINUE,
    /* assignment targets */
    NODE_TARGET,       /* a: name */
    NODE_TARGET_ATTR,  /* a: name of the namespace, b: name of the attribute */
    NODE_TARGET_TUPLE, /* a: targets, b: count */
    /* expressions */
    NODE_NAME,    /* a: name */
    NODE_STRING,  /* a: offset in the pool, b: length */
    NODE_INT,     /* a, b: low and high half of the value */
    NODE_FLOAT,   /* a, b: low and high half of the bits */
    NODE_CONST,   /* op: 0 none, 1 false, 2 true */
    NODE_LIST,    /* a: items, b: count */
    NODE_TUPLE,   /* a: items, b: count */
    NODE_DICT,    /* a: NODE_PAIR list */
    NODE_PAIR,    /* a: key, b: value */
    NODE_COND,    /* a: test, b: then, c: else or 0 */
    NODE_OR,      /* a: operands */
    NODE_AND,     /* a: operands */
    NODE_NOT,     /* a: operand */
    NODE_NEG,     /* a: operand */
    NODE_PLUS,    /* a: operand */
    NODE_COMPARE, /* a: first operand, b: NODE_STEP list */
    NODE_ARITH,   /* a: first operand, b: NODE_STEP list */
    NODE_STEP,    /* op: enum jinja_op, a: operand */
    NODE_CONCAT,  /* a: operands */
    NODE_POSTFIX, /* a: primary, b: list of the links below */
    NODE_ATTR,    /* a: name */
    NODE_ITEM,    /* a: subscript expression */
    NODE_SLICE,   /* a, b, c: begin, end, step expressions or 0 */
    NODE_CALL,    /* a: arguments */
    NODE_FILTER,  /* a: index in the filter table or UINT32_MAX, b: arguments, c: name */
    NODE_TEST,    /* a: index in the test table or UINT32_MAX, b: arguments, c: name; flag 1: "is not" */
    /* arguments of calls, filters and tests */
    NODE_ARG,     /* a: expression */
    NODE_KWARG,   /* a: expression, b: name */
    NODE_STAR,    /* a: expression */
    NODE_STARSTAR /* a: expression */
};

enum jinja_op {
    OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD, OP_POW,
    OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_IN, OP_NOT_IN
};

enum jinja_macro_flag { MACRO_VARARGS = 1, MACRO_KWARGS = 2, MACRO_CALLER = 4 };

struct jinja_node {
    uint8_t kind;
    uint8_t op;
    uint16_t flag;
    uint32_t pos; /* in the source, for messages */
    uint32_t a, b, c, next;
};

struct jinja_name {
    uint32_t offset; /* in the pool */
    uint32_t len;
};

struct jinja_template {
    struct str source; /* line ends are \n, the last one is gone */
    struct str pool;   /* decoded string constants and names */
    struct jinja_node *nodes;
    size_t node_count, node_cap;
    struct jinja_name *names;
    size_t name_count, name_cap;
    uint32_t root; /* first statement */
};

struct jinja_parser {
    struct jinja_template *t;
    struct jinja_tokens tokens;
    size_t at;
    struct lamina_error *err;
    lamina_status failed;
    unsigned depth;
    unsigned macro_flags; /* gathered while a macro body is read */
    bool in_loop;
    bool soft; /* inside an if an unknown filter fails when it runs, not when it is read */
    uint32_t unknown; /* the first unknown filter or test that is not excused that way */
    uint32_t *name_index; /* hash table of name number + 1 */
    size_t name_index_cap;
};

/* jinja_lex.c */
lamina_status jinja_lex(struct span source, struct jinja_tokens *tokens, struct lamina_error *err);
void jinja_place(struct span source, size_t pos, unsigned *line, unsigned *column);

/* jinja_parse.c: statements, and what both parser files use. A failure is sticky: the cursor then stays at the end. */
void jinja_parse_template(struct jinja_parser *p);
uint32_t jinja_parse_error(struct jinja_parser *p, size_t pos, lamina_status code, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
uint32_t jinja_node_new(struct jinja_parser *p, enum jinja_node_kind kind, uint32_t pos);
uint32_t jinja_name_intern(struct jinja_parser *p, struct span text);
bool jinja_parse_deeper(struct jinja_parser *p);
const struct jinja_token *jinja_tok(const struct jinja_parser *p, size_t ahead);
struct span jinja_tok_text(const struct jinja_parser *p, size_t ahead);
bool jinja_tok_is_name(const struct jinja_parser *p, size_t ahead, const char *word);
bool jinja_tok_skip(struct jinja_parser *p, enum jinja_token_type type);
bool jinja_tok_skip_name(struct jinja_parser *p, const char *word);
bool jinja_tok_expect(struct jinja_parser *p, enum jinja_token_type type);

/* jinja_parse_expr.c */
enum jinja_tuple_mode { TUPLE_PLAIN, TUPLE_NO_COND, TUPLE_PARENS };
uint32_t jinja_parse_tuple(struct jinja_parser *p, enum jinja_tuple_mode mode);
uint32_t jinja_parse_expression(struct jinja_parser *p);
uint32_t jinja_parse_filters(struct jinja_parser *p, bool start_inline); /* a list of NODE_FILTER, or 0 */

/* ---- values ------------------------------------------------------------------------------------------------------ */

enum jinja_type {
    JV_ABSENT, /* an argument that was not given; never visible to a template */
    JV_UNDEFINED, JV_NONE, JV_BOOL, JV_INT, JV_FLOAT, JV_STRING, JV_LIST, JV_TUPLE, JV_DICT, JV_RANGE, JV_VIEW,
    JV_ITERATOR, JV_NAMESPACE, JV_LOOP, JV_MACRO, JV_FUNCTION, JV_METHOD
};

enum jinja_value_flag {
    JVF_GROWS = 1,  /* string: starts a jinja_growing buffer */
    JVF_MARKUP = 2, /* string: passed through safe or escape */
    JVF_GROUP = 1,  /* tuple: made by groupby, has .grouper and .list */
    JVF_KEYS = 1, JVF_VALUES = 2, JVF_ITEMS = 3 /* view */
};

struct jinja_value {
    uint8_t type;
    uint8_t flag;
    uint16_t owner; /* undefined: enum jinja_type of what was asked, JV_ABSENT for a variable */
    uint32_t len;   /* string bytes; bytes of the name of an undefined */
    union {
        int64_t i;
        double d;
        const char *s; /* string bytes; name of an undefined or NULL */
        struct jinja_list *list;
        struct jinja_dict *dict; /* also views and namespaces */
        struct jinja_range *range;
        struct jinja_iterator *iterator;
        struct jinja_frame *loop;
        struct jinja_macro *macro;
        struct jinja_bound *bound;
    } u;
};

struct jinja_growing { /* stands right before the bytes of a growing string */
    uint32_t used;
    uint32_t cap;
    uint64_t padding;
};

struct jinja_list {
    struct jinja_value *item;
    uint32_t count, cap;
};

struct jinja_pair {
    struct jinja_value key, value;
};

struct jinja_dict {
    struct jinja_pair *pair; /* in order of insertion */
    uint32_t count, cap;
    uint32_t *index; /* hash table of pair number + 1, once there are more than 8 */
    uint32_t index_cap;
};

struct jinja_range {
    int64_t begin, step, end; /* end as written, for printing */
    uint64_t count;
};

struct jinja_iterator { /* what Python's generators are to a template: items that can be walked once */
    struct jinja_list list;
    uint32_t at;
    const char *type_name;
};

struct jinja_bound {
    struct jinja_value self;
    uint32_t method;
};

struct jinja_macro {
    uint32_t node;
    struct jinja_frame *frame; /* where it was defined: its free names are looked up there */
};

/* Walks any iterable; `length` is known for all of them. */
struct jinja_walk {
    struct jinja_value over;
    uint64_t at, length;
};

struct jinja_binding {
    uint32_t name;
    struct jinja_value value;
};

/* A scope, and at the same time the `loop` object of a for. Frames are reused unless a macro was defined inside. */
struct jinja_frame {
    struct jinja_frame *parent;
    struct jinja_binding *var;
    uint32_t count, cap;
    bool kept;
    struct jinja_walk walk;
    struct jinja_value previous, current, upcoming, changed; /* changed: what loop.changed() was last given */
    bool has_upcoming;
    uint64_t index0;
};

struct jinja_run {
    const struct jinja_template *t;
    struct jinja_limits limits;
    struct arena arena;
    struct str out;     /* output; a macro's text is its tail */
    struct str scratch; /* strings under construction, used as a stack */
    uint64_t steps;
    unsigned nest, calls;
    struct jinja_value *stack; /* arguments of calls */
    size_t stack_top;
    struct jinja_frame *frame, *free_frames;
    struct jinja_value *context; /* by name: variables of the caller and globals */
    uint32_t loop_name;          /* the name "loop", or UINT32_MAX where the template has none */
    uint32_t caller_link;        /* the call node of the call block being entered, and what it passes on */
    struct jinja_value caller;
    int64_t now_unix_s;
    uint32_t pos; /* of the node at work */
    struct lamina_error *err;
    lamina_status failed;
};

/* Arguments of a call: count values, then named * (name, value). */
struct jinja_args {
    struct jinja_value *v;
    uint32_t count;
    uint32_t named;
};

typedef bool (*jinja_function)(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out);
typedef bool (*jinja_function_any)(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out);

/* A row of the filter, test, method and global tables. `params` names the parameters, separated by spaces; a leading
 * '/' forbids giving them by name. Missing ones arrive as JV_ABSENT. `any` is for variable argument lists. */
struct jinja_callable {
    const char *name;
    const char *params;
    unsigned required;
    jinja_function fn;
    jinja_function_any any;
};

/* ---- jinja_value.c: memory, strings, lists, dicts; all return false after setting the run's error ---------------- */

bool jinja_fail(struct jinja_run *r, lamina_status code, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool jinja_fail_undefined(struct jinja_run *r, const struct jinja_value *v);
void *jinja_take(struct jinja_run *r, size_t count, size_t size);
bool jinja_step(struct jinja_run *r, uint64_t count);
const char *jinja_type_name(const struct jinja_value *v);

static inline struct jinja_value jv_none(void) {
    return (struct jinja_value){.type = JV_NONE};
}
static inline struct jinja_value jv_bool(bool b) {
    return (struct jinja_value){.type = JV_BOOL, .u.i = b};
}
static inline struct jinja_value jv_int(int64_t i) {
    return (struct jinja_value){.type = JV_INT, .u.i = i};
}
static inline struct jinja_value jv_float(double d) {
    return (struct jinja_value){.type = JV_FLOAT, .u.d = d};
}
static inline struct jinja_value jv_view(struct span text) { /* text that outlives the render; < 4 GiB */
    return (struct jinja_value){.type = JV_STRING, .len = (uint32_t)text.len, .u.s = (const char *)text.ptr};
}
static inline struct jinja_value jv_text(const char *text) {
    return jv_view(span_of_text(text));
}
static inline struct jinja_value jv_undefined(struct span name, enum jinja_type owner) {
    return (struct jinja_value){
        .type = JV_UNDEFINED, .owner = (uint16_t)owner, .len = (uint32_t)name.len, .u.s = (const char *)name.ptr};
}
static inline struct span jv_span(const struct jinja_value *v) {
    return span_of(v->u.s, v->len);
}
static inline bool jv_is(const struct jinja_value *v, enum jinja_type type) {
    return v->type == (uint8_t)type;
}

bool jinja_string_copy(struct jinja_run *r, struct span text, struct jinja_value *out);
bool jinja_string_append(struct jinja_run *r, const struct jinja_value *a, struct span b, struct jinja_value *out);
/* Strings under construction: mark, add to r->scratch, end. Nests. */
bool jinja_build_end(struct jinja_run *r, size_t mark, struct jinja_value *out);

bool jinja_list_new(struct jinja_run *r, enum jinja_type type, size_t room, struct jinja_value *out);
bool jinja_list_add(struct jinja_run *r, struct jinja_list *l, struct jinja_value v);
bool jinja_tuple2(struct jinja_run *r, struct jinja_value a, struct jinja_value b, struct jinja_value *out);
/* An empty iterator; items are added to out->u.iterator->list. */
bool jinja_iterator_new(struct jinja_run *r, const char *type_name, struct jinja_value *out);

bool jinja_dict_new(struct jinja_run *r, enum jinja_type type, struct jinja_value *out);
/* NULL when the key is not there (or cannot be hashed, which *hashable tells when asked). */
struct jinja_value *jinja_dict_get(const struct jinja_dict *d, const struct jinja_value *key, bool *hashable);
struct jinja_value *jinja_dict_get_text(const struct jinja_dict *d, struct span key);
bool jinja_dict_set(struct jinja_run *r, struct jinja_dict *d, struct jinja_value key, struct jinja_value value);
bool jinja_dict_remove(struct jinja_dict *d, const struct jinja_value *key);

bool jinja_walk_begin(struct jinja_run *r, const struct jinja_value *v, struct jinja_walk *w);
bool jinja_walk_next(struct jinja_run *r, struct jinja_walk *w, struct jinja_value *out); /* false: end, never an error */
bool jinja_length(const struct jinja_value *v, uint64_t *length); /* false: it has none */
bool jinja_to_list(struct jinja_run *r, const struct jinja_value *v, struct jinja_value *out);

/* ---- jinja_compare.c --------------------------------------------------------------------------------------------- */

bool jinja_truth(const struct jinja_value *v);
uint64_t jinja_hash(const struct jinja_value *v, bool *hashable);
bool jinja_key_equal(const struct jinja_value *a, const struct jinja_value *b); /* hashable values only */
bool jinja_equal(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b, bool *equal);
bool jinja_compare(struct jinja_run *r, enum jinja_op op, const struct jinja_value *a, const struct jinja_value *b,
                   bool *result); /* every comparing operator, `in` included */
bool jinja_sort(struct jinja_run *r, struct jinja_pair *key_value, size_t count, bool reverse);

/* ---- jinja_print.c: values as text ------------------------------------------------------------------------------- */

struct jinja_json_style {
    bool ensure_ascii, sort_keys;
    struct span indent; /* ptr NULL: on one line */
    struct span item_separator, key_separator;
};
bool jinja_print(struct jinja_run *r, struct str *out, const struct jinja_value *v); /* Python's str() */
bool jinja_print_repr(struct jinja_run *r, struct str *out, const struct jinja_value *v);
bool jinja_print_json(struct jinja_run *r, struct str *out, const struct jinja_value *v,
                      const struct jinja_json_style *style);
void jinja_print_float(struct str *out, double d);
bool jinja_to_string(struct jinja_run *r, const struct jinja_value *v, struct jinja_value *out); /* str(), Markup kept */
/* printf-like % and str.format */
bool jinja_format_percent(struct jinja_run *r, struct span format, const struct jinja_value *arg,
                          struct jinja_value *out);
bool jinja_format_braces(struct jinja_run *r, struct span format, const struct jinja_args *a, struct jinja_value *out);

/* ---- jinja_chars.c: code points ---------------------------------------------------------------------------------- */

enum jinja_case { CASE_LOWER, CASE_UPPER, CASE_TITLE, CASE_CAPITAL, CASE_SWAP, CASE_TITLE_FILTER };
bool jinja_is_space(uint32_t code_point);
bool jinja_is_word(uint32_t code_point); /* Python's \w */
bool jinja_is_printable(uint32_t code_point);
uint32_t jinja_next_char(struct span text, size_t *at);     /* invalid bytes count as one character each */
uint32_t jinja_previous_char(struct span text, size_t *at); /* *at moves back */
uint64_t jinja_char_count(struct span text);
size_t jinja_char_offset(struct span text, uint64_t index); /* byte offset of a character */
struct span jinja_strip(struct span text, bool left, bool right, const struct jinja_value *chars);
void jinja_add_cased(struct str *out, struct span text, enum jinja_case how);
void jinja_add_folded(struct str *out, struct span text); /* str.casefold */
enum jinja_class { CLASS_ALPHA, CLASS_ALNUM, CLASS_DIGIT, CLASS_SPACE, CLASS_LOWER, CLASS_UPPER, CLASS_ASCII,
                   CLASS_TITLE, CLASS_DECIMAL };
bool jinja_all_in_class(struct span text, enum jinja_class which);

/* ---- jinja_ops.c ------------------------------------------------------------------------------------------------- */

bool jinja_arith(struct jinja_run *r, enum jinja_op op, const struct jinja_value *a, const struct jinja_value *b,
                 struct jinja_value *out);
bool jinja_negate(struct jinja_run *r, bool minus, struct jinja_value *v);
bool jinja_get_attr(struct jinja_run *r, const struct jinja_value *v, struct span name, struct jinja_value *out);
bool jinja_get_item(struct jinja_run *r, const struct jinja_value *v, const struct jinja_value *key,
                    struct jinja_value *out);
bool jinja_get_slice(struct jinja_run *r, const struct jinja_value *v, const struct jinja_value part[3],
                     struct jinja_value *out);
/* A dotted path or a number, as filters take it in attribute=. */
bool jinja_get_path(struct jinja_run *r, const struct jinja_value *v, const struct jinja_value *path,
                    struct jinja_value *out);
bool jinja_need_int(struct jinja_run *r, const struct jinja_value *v, int64_t fallback, int64_t *out);
bool jinja_need_string(struct jinja_run *r, const struct jinja_value *v, const char *what, struct span *out);

/* ---- jinja_eval.c, jinja_call.c, jinja_exec.c -------------------------------------------------------------------- */

bool jinja_eval(struct jinja_run *r, uint32_t node, struct jinja_value *out);
bool jinja_eval_filters(struct jinja_run *r, uint32_t filters, struct jinja_value *v);
bool jinja_lookup(struct jinja_run *r, uint32_t name, struct jinja_value *out);
bool jinja_bind_name(struct jinja_run *r, struct jinja_frame *f, uint32_t name, struct jinja_value v);
struct jinja_frame *jinja_frame_push(struct jinja_run *r, struct jinja_frame *parent);
void jinja_frame_pop(struct jinja_run *r, struct jinja_frame *f, struct jinja_frame *back_to);

bool jinja_push(struct jinja_run *r, struct jinja_value v);
bool jinja_eval_args(struct jinja_run *r, uint32_t list, struct jinja_args *a); /* onto the stack, after what is there */
bool jinja_call_row(struct jinja_run *r, const struct jinja_callable *row, const struct jinja_args *a,
                    struct jinja_value *out);
bool jinja_call_value(struct jinja_run *r, const struct jinja_value *callee, const struct jinja_args *a,
                      struct jinja_value *out);
bool jinja_macro_new(struct jinja_run *r, uint32_t node, struct jinja_value *out);

enum jinja_flow { FLOW_ERROR, FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };
enum jinja_flow jinja_exec(struct jinja_run *r, uint32_t list);
bool jinja_exec_captured(struct jinja_run *r, uint32_t list, struct jinja_value *text);

/* ---- tables ------------------------------------------------------------------------------------------------------ */

uint32_t jinja_filter_find(struct span name); /* UINT32_MAX: no such filter */
bool jinja_filter_call(struct jinja_run *r, uint32_t index, const struct jinja_args *a, struct jinja_value *out);
uint32_t jinja_test_find(struct span name);
bool jinja_test_call(struct jinja_run *r, uint32_t index, const struct jinja_args *a, bool *result);
uint32_t jinja_method_find(const struct jinja_value *self, struct span name); /* UINT32_MAX: no such method */
bool jinja_method_call(struct jinja_run *r, uint32_t method, const struct jinja_value *self,
                       const struct jinja_args *a, struct jinja_value *out);
const struct jinja_callable *jinja_filters_text(size_t *count); /* jinja_filter_text.c */
const struct jinja_callable *jinja_filters_list(size_t *count); /* jinja_filter_list.c */
const struct jinja_callable *jinja_filters_pick(size_t *count); /* jinja_filter_pick.c */
const struct jinja_callable *jinja_methods_text(size_t *count); /* jinja_method_text.c */
bool jinja_global_find(struct span name, struct jinja_value *out);
bool jinja_global_call(struct jinja_run *r, uint32_t index, const struct jinja_args *a, struct jinja_value *out);
bool jinja_strftime(struct jinja_run *r, struct span format, int64_t unix_s, struct str *out); /* jinja_time.c */
/* String pieces that filters and methods share. count < 0: all. */
void jinja_add_replaced(struct str *out, struct span text, struct span old, struct span with, int64_t count);
size_t jinja_find(struct span text, struct span what, size_t from); /* SIZE_MAX: not there */
enum jinja_number { NUMBER_NONE, NUMBER_READ, NUMBER_LARGE }; /* large: a number, but of more than 63 bits */
enum jinja_number jinja_read_int(struct span text, unsigned base, int64_t *out);
bool jinja_parse_int(struct span text, unsigned base, int64_t *out);
bool jinja_parse_float(struct span text, double *out);
bool jinja_split_lines(struct jinja_run *r, struct span text, bool keep_ends, struct jinja_list *l);

#endif
