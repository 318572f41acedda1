/* SPDX-License-Identifier: Apache-2.0
 *
 * Expression nodes to values. Each kind has a small function of its own that is kept out of line, so that the one that
 * recurses has a small frame; the run counts levels and refuses to go deeper than JINJA_NEST_MAX.
 */
#include "text/jinja_priv.h"

static const struct jinja_node *node_at(const struct jinja_run *r, uint32_t node) {
    return &r->t->nodes[node];
}

static struct span name_at(const struct jinja_run *r, uint32_t name) {
    return span_sub(str_span(&r->t->pool), r->t->names[name].offset, r->t->names[name].len);
}

bool jinja_lookup(struct jinja_run *r, uint32_t name, struct jinja_value *out) {
    for (const struct jinja_frame *f = r->frame; f != NULL; f = f->parent) {
        for (uint32_t i = 0; i < f->count; i++) {
            if (f->var[i].name == name) {
                *out = f->var[i].value;
                return true;
            }
        }
    }
    *out = r->context[name];
    if (out->type == JV_ABSENT) {
        *out = jv_undefined(name_at(r, name), JV_ABSENT);
    }
    return true;
}

static NO_INLINE bool eval_list(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *out) {
    struct jinja_value item;
    struct jinja_value list;
    if (!jinja_list_new(r, n->kind == NODE_LIST ? JV_LIST : JV_TUPLE, n->b, &list)) {
        return false;
    }
    for (uint32_t i = n->a; i != 0; i = node_at(r, i)->next) {
        if (!jinja_eval(r, i, &item) || !jinja_list_add(r, list.u.list, item)) {
            return false;
        }
    }
    *out = list;
    return true;
}

static NO_INLINE bool eval_dict(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *out) {
    struct jinja_value dict;
    struct jinja_pair p;
    if (!jinja_dict_new(r, JV_DICT, &dict)) {
        return false;
    }
    for (uint32_t i = n->a; i != 0; i = node_at(r, i)->next) {
        const struct jinja_node *pair = node_at(r, i);
        if (!jinja_eval(r, pair->a, &p.key) || !jinja_eval(r, pair->b, &p.value) ||
            !jinja_dict_set(r, dict.u.dict, p.key, p.value)) {
            return false;
        }
    }
    *out = dict;
    return true;
}

static NO_INLINE bool eval_cond(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *out) {
    if (!jinja_eval(r, n->a, out)) {
        return false;
    }
    if (jinja_truth(out)) {
        return jinja_eval(r, n->b, out);
    }
    if (n->c != 0) {
        return jinja_eval(r, n->c, out);
    }
    *out = jv_undefined(span_of_text("the ternary without else"), JV_ABSENT);
    return true;
}

static NO_INLINE bool eval_logic(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *out) {
    for (uint32_t i = n->a; i != 0; i = node_at(r, i)->next) {
        if (!jinja_eval(r, i, out)) {
            return false;
        }
        if (jinja_truth(out) == (n->kind == NODE_OR)) {
            break;
        }
    }
    return true;
}

static NO_INLINE bool eval_unary(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *out) {
    if (!jinja_eval(r, n->a, out)) {
        return false;
    }
    if (n->kind == NODE_NOT) {
        *out = jv_bool(!jinja_truth(out));
        return true;
    }
    r->pos = n->pos;
    return jinja_negate(r, n->kind == NODE_NEG, out);
}

/* a < b < c is (a < b) and (b < c), each operand evaluated once. */
static NO_INLINE bool eval_compare(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *out) {
    struct jinja_value left;
    bool result = true;
    if (!jinja_eval(r, n->a, &left)) {
        return false;
    }
    for (uint32_t i = n->b; i != 0 && result; i = node_at(r, i)->next) {
        const struct jinja_node *step = node_at(r, i);
        struct jinja_value right;
        if (!jinja_eval(r, step->a, &right)) {
            return false;
        }
        r->pos = step->pos;
        if (!jinja_compare(r, (enum jinja_op)step->op, &left, &right, &result)) {
            return false;
        }
        left = right;
    }
    *out = jv_bool(result);
    return true;
}

static NO_INLINE bool eval_arith(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *out) {
    struct jinja_value left;
    struct jinja_value right;
    if (!jinja_eval(r, n->a, &left)) {
        return false;
    }
    for (uint32_t i = n->b; i != 0; i = node_at(r, i)->next) {
        const struct jinja_node *step = node_at(r, i);
        if (!jinja_eval(r, step->a, &right)) {
            return false;
        }
        r->pos = step->pos;
        if (!jinja_arith(r, (enum jinja_op)step->op, &left, &right, out)) {
            return false;
        }
        left = *out;
    }
    *out = left;
    return true;
}

static NO_INLINE bool eval_concat(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *out) {
    struct jinja_value sum = jv_text("");
    struct jinja_value part;
    for (uint32_t i = n->a; i != 0; i = node_at(r, i)->next) {
        if (!jinja_eval(r, i, &part) || !jinja_to_string(r, &part, &part) || !jinja_step(r, part.len / 256)) {
            return false;
        }
        if (i == n->a) {
            sum = part;
            sum.flag &= (uint8_t)~JVF_MARKUP;
        } else if (!jinja_string_append(r, &sum, jv_span(&part), &sum)) {
            return false;
        }
    }
    *out = sum;
    return true;
}

/* ---- links of a postfix chain; each turns *v into the next value ------------------------------------------------- */

static NO_INLINE bool link_item(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *v) {
    struct jinja_value key;
    struct jinja_value from = *v;
    if (!jinja_eval(r, n->a, &key)) {
        return false;
    }
    r->pos = n->pos;
    return jinja_get_item(r, &from, &key, v);
}

static NO_INLINE bool link_slice(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *v) {
    struct jinja_value part[3] = {{.type = JV_ABSENT}, {.type = JV_ABSENT}, {.type = JV_ABSENT}};
    struct jinja_value from = *v;
    if ((n->a != 0 && !jinja_eval(r, n->a, &part[0])) || (n->b != 0 && !jinja_eval(r, n->b, &part[1])) ||
        (n->c != 0 && !jinja_eval(r, n->c, &part[2]))) {
        return false;
    }
    r->pos = n->pos;
    return jinja_get_slice(r, &from, part, v);
}

static bool pass_caller(struct jinja_run *r, const struct jinja_value *caller, struct jinja_args *a) {
    a->named++;
    return jinja_push(r, jv_text("caller")) && jinja_push(r, *caller);
}

/* Calls of *v; `method` is set when the link before named a method, whose self *v then still is. */
static NO_INLINE bool link_call(struct jinja_run *r, const struct jinja_node *n, uint32_t method,
                                struct jinja_value *v) {
    struct jinja_args a = {.v = r->stack + r->stack_top};
    size_t top = r->stack_top;
    struct jinja_value callee = *v;
    bool from_block = n == node_at(r, r->caller_link) && r->caller_link != 0;
    r->caller_link = from_block ? 0 : r->caller_link;
    struct jinja_value caller = r->caller;
    if (!jinja_eval_args(r, n->a, &a) || (from_block && !pass_caller(r, &caller, &a))) {
        return false;
    }
    r->pos = n->pos;
    bool ok = method != UINT32_MAX ? jinja_method_call(r, method, &callee, &a, v)
                                   : jinja_call_value(r, &callee, &a, v);
    r->stack_top = top;
    return ok;
}

/* The value a filter or test works on is its first argument. */
static NO_INLINE bool link_named(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *v) {
    struct jinja_args a = {.v = r->stack + r->stack_top, .count = 1};
    size_t top = r->stack_top;
    bool filter = n->kind == NODE_FILTER;
    if (n->a == UINT32_MAX) {
        struct span name = name_at(r, n->c);
        r->pos = n->pos;
        return jinja_fail(r, LAMINA_UNSUPPORTED, "there is no %s named '%.*s'", filter ? "filter" : "test",
                          (int)(name.len < 60 ? name.len : 60), (const char *)name.ptr);
    }
    if (!jinja_push(r, *v) || !jinja_eval_args(r, n->b, &a)) {
        return false;
    }
    r->pos = n->pos;
    bool yes = false;
    bool ok = filter ? jinja_filter_call(r, n->a, &a, v) : jinja_test_call(r, n->a, &a, &yes);
    if (!filter) {
        *v = jv_bool(yes != (n->flag == 1));
    }
    r->stack_top = top;
    return ok;
}

static NO_INLINE bool link_attr(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *v) {
    struct jinja_value from = *v;
    r->pos = n->pos;
    return jinja_get_attr(r, &from, name_at(r, n->a), v);
}

static NO_INLINE bool eval_postfix(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *out) {
    uint32_t method = UINT32_MAX;
    if (!jinja_eval(r, n->a, out)) {
        return false;
    }
    for (uint32_t i = n->b; i != 0; i = node_at(r, i)->next) {
        const struct jinja_node *link = node_at(r, i);
        bool ok = jinja_step(r, 1);
        if (ok && link->kind == NODE_ATTR) {
            bool called = link->next != 0 && node_at(r, link->next)->kind == NODE_CALL;
            method = called ? jinja_method_find(out, name_at(r, link->a)) : UINT32_MAX;
            ok = method != UINT32_MAX || link_attr(r, link, out);
        } else if (ok && link->kind == NODE_CALL) {
            ok = link_call(r, link, method, out);
            method = UINT32_MAX;
        } else if (ok) {
            ok = link->kind == NODE_ITEM    ? link_item(r, link, out)
                 : link->kind == NODE_SLICE ? link_slice(r, link, out)
                                            : link_named(r, link, out);
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool jinja_eval_filters(struct jinja_run *r, uint32_t filters, struct jinja_value *v) {
    for (uint32_t i = filters; i != 0; i = node_at(r, i)->next) {
        if (!link_named(r, node_at(r, i), v)) {
            return false;
        }
    }
    return true;
}

/* ---- the switch -------------------------------------------------------------------------------------------------- */

static bool eval_constant(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *out) {
    uint64_t bits = (uint64_t)n->b << 32 | n->a;
    switch ((enum jinja_node_kind)n->kind) {
    case NODE_STRING:
        *out = jv_view(span_sub(str_span(&r->t->pool), n->a, n->b));
        return true;
    case NODE_INT:
        *out = jv_int((int64_t)bits);
        return true;
    case NODE_FLOAT:
        *out = jv_float(0);
        memcpy(&out->u.d, &bits, sizeof(bits));
        return true;
    default:
        *out = n->op == 0 ? jv_none() : jv_bool(n->op == 2);
        return true;
    }
}

static bool eval_kind(struct jinja_run *r, const struct jinja_node *n, struct jinja_value *out) {
    switch ((enum jinja_node_kind)n->kind) {
    case NODE_LIST:
    case NODE_TUPLE:
        return eval_list(r, n, out);
    case NODE_DICT:
        return eval_dict(r, n, out);
    case NODE_COND:
        return eval_cond(r, n, out);
    case NODE_OR:
    case NODE_AND:
        return eval_logic(r, n, out);
    case NODE_NOT:
    case NODE_NEG:
    case NODE_PLUS:
        return eval_unary(r, n, out);
    case NODE_COMPARE:
        return eval_compare(r, n, out);
    case NODE_ARITH:
        return eval_arith(r, n, out);
    case NODE_CONCAT:
        return eval_concat(r, n, out);
    case NODE_POSTFIX:
        return eval_postfix(r, n, out);
    case NODE_SLICE: /* alone only inside a tuple subscript, which no value of ours takes */
        return jinja_fail(r, LAMINA_DAMAGED, "a slice inside a tuple subscript");
    default:
        return eval_constant(r, n, out);
    }
}

bool jinja_eval(struct jinja_run *r, uint32_t node, struct jinja_value *out) {
    const struct jinja_node *n = node_at(r, node);
    if (!jinja_step(r, 1)) {
        return false;
    }
    if (n->kind == NODE_NAME) {
        return jinja_lookup(r, n->a, out);
    }
    if (r->nest >= JINJA_NEST_MAX) {
        r->pos = n->pos;
        return jinja_fail(r, LAMINA_NO_FIT, "the template nests calls and expressions too deeply");
    }
    r->nest++;
    bool ok = eval_kind(r, n, out);
    r->nest--;
    return ok;
}
