/* SPDX-License-Identifier: Apache-2.0
 *
 * Statement nodes: output, if, for, set, macros and blocks. Text goes to the run's output; a macro's or block's text is
 * the tail written since it began, cut off and made a value. A for loop's names live in a frame that every turn empties;
 * an if has none, so what it sets stays set.
 */
#include "text/jinja_priv.h"

static const struct jinja_node *node_at(const struct jinja_run *r, uint32_t node) {
    return &r->t->nodes[node];
}

static bool check_output(struct jinja_run *r) {
    return !r->out.failed || jinja_fail(r, LAMINA_NO_FIT, "the output is larger than its limit of %llu bytes",
                                        (unsigned long long)r->limits.output_bytes);
}

static NO_INLINE bool exec_output(struct jinja_run *r, const struct jinja_node *n) {
    struct jinja_value v;
    if (n->kind == NODE_DATA) {
        str_add_span(&r->out, span_sub(str_span(&r->t->source), n->a, n->b));
        return jinja_step(r, 1 + n->b / 1024) && check_output(r);
    }
    if (!jinja_eval(r, n->a, &v)) {
        return false;
    }
    r->pos = n->pos;
    return jinja_print(r, &r->out, &v) && check_output(r) && jinja_step(r, v.type == JV_STRING ? v.len / 1024 : 0);
}

/* ---- assignment -------------------------------------------------------------------------------------------------- */

static bool assign(struct jinja_run *r, uint32_t target, const struct jinja_value *v);

static NO_INLINE bool assign_tuple(struct jinja_run *r, const struct jinja_node *n, const struct jinja_value *v) {
    struct jinja_value list;
    struct jinja_value copy = *v;
    if (!jinja_to_list(r, &copy, &list)) {
        return false;
    }
    if (list.u.list->count != n->b) {
        return jinja_fail(r, LAMINA_DAMAGED, "%s values to unpack (expected %u, got %u)",
                          list.u.list->count < n->b ? "not enough" : "too many", (unsigned)n->b,
                          (unsigned)list.u.list->count);
    }
    uint32_t k = 0;
    for (uint32_t i = n->a; i != 0; i = node_at(r, i)->next) {
        if (!assign(r, i, &list.u.list->item[k++])) {
            return false;
        }
    }
    return true;
}

static NO_INLINE bool assign_attr(struct jinja_run *r, const struct jinja_node *n, const struct jinja_value *v) {
    struct jinja_value space;
    if (!jinja_lookup(r, n->a, &space)) {
        return false;
    }
    if (space.type != JV_NAMESPACE) {
        return jinja_fail(r, LAMINA_DAMAGED, "cannot assign an attribute of '%s', which is no namespace",
                          jinja_type_name(&space));
    }
    struct span key = span_sub(str_span(&r->t->pool), r->t->names[n->b].offset, r->t->names[n->b].len);
    return jinja_dict_set(r, space.u.dict, jv_view(key), *v);
}

static bool assign(struct jinja_run *r, uint32_t target, const struct jinja_value *v) {
    const struct jinja_node *n = node_at(r, target);
    r->pos = n->pos;
    if (n->kind == NODE_TARGET) {
        return jinja_bind_name(r, r->frame, n->a, *v);
    }
    return n->kind == NODE_TARGET_TUPLE ? assign_tuple(r, n, v) : assign_attr(r, n, v);
}

static NO_INLINE bool exec_set(struct jinja_run *r, const struct jinja_node *n) {
    struct jinja_value v;
    return jinja_eval(r, n->b, &v) && assign(r, n->a, &v);
}

/* ---- blocks that become values ----------------------------------------------------------------------------------- */

bool jinja_exec_captured(struct jinja_run *r, uint32_t list, struct jinja_value *text) {
    size_t mark = r->out.len;
    if (jinja_exec(r, list) == FLOW_ERROR) {
        return false;
    }
    bool ok = jinja_string_copy(r, span_sub(str_span(&r->out), mark, r->out.len), text);
    r->out.len = mark;
    return ok;
}

static bool capture_scope(struct jinja_run *r, uint32_t body, struct jinja_value *text) {
    struct jinja_frame *back_to = r->frame;
    struct jinja_frame *f = jinja_frame_push(r, back_to);
    if (f == NULL) {
        return false;
    }
    bool ok = jinja_exec_captured(r, body, text);
    jinja_frame_pop(r, f, back_to);
    return ok;
}

static NO_INLINE bool exec_set_block(struct jinja_run *r, const struct jinja_node *n) {
    struct jinja_value text;
    return capture_scope(r, n->c, &text) && jinja_eval_filters(r, n->b, &text) && assign(r, n->a, &text);
}

static NO_INLINE bool exec_filter_block(struct jinja_run *r, const struct jinja_node *n) {
    struct jinja_value text;
    return capture_scope(r, n->b, &text) && jinja_eval_filters(r, n->a, &text) &&
           jinja_print(r, &r->out, &text) && check_output(r);
}

static NO_INLINE bool exec_macro(struct jinja_run *r, const struct jinja_node *n) {
    struct jinja_value macro;
    return jinja_macro_new(r, (uint32_t)(n - r->t->nodes), &macro) && jinja_bind_name(r, r->frame, n->a, macro);
}

/* The last link of the expression is a call; it finds the caller in the run and passes it on. */
static NO_INLINE bool exec_call_block(struct jinja_run *r, const struct jinja_node *n) {
    struct jinja_value v;
    uint32_t outer_link = r->caller_link;
    struct jinja_value outer = r->caller;
    uint32_t link = node_at(r, n->a)->b;
    while (node_at(r, link)->next != 0) {
        link = node_at(r, link)->next;
    }
    if (!jinja_macro_new(r, (uint32_t)(n - r->t->nodes), &r->caller)) {
        return false;
    }
    r->caller_link = link;
    bool ok = jinja_eval(r, n->a, &v) && jinja_print(r, &r->out, &v) && check_output(r);
    r->caller_link = outer_link;
    r->caller = outer;
    return ok;
}

static NO_INLINE enum jinja_flow exec_scope(struct jinja_run *r, const struct jinja_node *n) {
    struct jinja_frame *back_to = r->frame;
    struct jinja_frame *f = jinja_frame_push(r, back_to);
    struct jinja_value v;
    if (f == NULL) {
        return FLOW_ERROR;
    }
    for (uint32_t i = n->a; i != 0; i = node_at(r, i)->next) {
        r->frame = back_to; /* the values of `with` do not see each other */
        if (!jinja_eval(r, node_at(r, i)->b, &v)) {
            return FLOW_ERROR;
        }
        r->frame = f;
        if (!assign(r, node_at(r, i)->a, &v)) {
            return FLOW_ERROR;
        }
    }
    enum jinja_flow flow = jinja_exec(r, n->b);
    jinja_frame_pop(r, f, back_to);
    return flow;
}

/* ---- if and for -------------------------------------------------------------------------------------------------- */

static NO_INLINE enum jinja_flow exec_if(struct jinja_run *r, const struct jinja_node *n) {
    struct jinja_value v;
    for (;;) {
        if (!jinja_eval(r, n->a, &v)) {
            return FLOW_ERROR;
        }
        if (jinja_truth(&v)) {
            return jinja_exec(r, n->b);
        }
        if (n->c == 0 || node_at(r, n->c)->kind != NODE_IF || node_at(r, n->c)->flag != 1) {
            return jinja_exec(r, n->c);
        }
        n = node_at(r, n->c);
    }
}

/* Replaces *over by the list of its items that pass the loop's own "if". */
static NO_INLINE bool filter_items(struct jinja_run *r, const struct jinja_node *n, const struct jinja_node *rest,
                                   struct jinja_value *over) {
    struct jinja_frame *back_to = r->frame;
    struct jinja_frame *f = jinja_frame_push(r, back_to);
    struct jinja_walk w;
    struct jinja_value item;
    struct jinja_value passed;
    struct jinja_value test;
    if (f == NULL || !jinja_walk_begin(r, over, &w) || !jinja_list_new(r, JV_LIST, 0, &passed)) {
        return false;
    }
    while (jinja_walk_next(r, &w, &item)) {
        f->count = 0;
        if (!jinja_step(r, 1) || !assign(r, n->a, &item) || !jinja_eval(r, rest->a, &test)) {
            return false;
        }
        if (jinja_truth(&test) && !jinja_list_add(r, passed.u.list, item)) {
            return false;
        }
    }
    jinja_frame_pop(r, f, back_to);
    *over = passed;
    return r->failed == LAMINA_OK;
}

static bool begin_turn(struct jinja_run *r, const struct jinja_node *n, struct jinja_frame *f) {
    f->count = 0;
    f->current = f->upcoming;
    f->has_upcoming = jinja_walk_next(r, &f->walk, &f->upcoming);
    struct jinja_value loop = {.type = JV_LOOP, .u.loop = f};
    return r->failed == LAMINA_OK && jinja_step(r, 1) &&
           (r->loop_name == UINT32_MAX || jinja_bind_name(r, f, r->loop_name, loop)) && assign(r, n->a, &f->current);
}

/* *whole: some turn came to the end of the body. */
static enum jinja_flow run_turns(struct jinja_run *r, const struct jinja_node *n, struct jinja_frame *f,
                                 uint32_t body, bool *whole) {
    f->has_upcoming = jinja_walk_next(r, &f->walk, &f->upcoming);
    f->previous = jv_undefined(span_of_text("there is no previous item"), JV_LOOP);
    for (; f->has_upcoming; f->index0++) {
        if (!begin_turn(r, n, f)) {
            return FLOW_ERROR;
        }
        enum jinja_flow flow = jinja_exec(r, body);
        if (flow == FLOW_ERROR) {
            return FLOW_ERROR;
        }
        if (flow == FLOW_BREAK) {
            break;
        }
        *whole = *whole || flow == FLOW_ON;
        f->previous = f->current;
    }
    return r->failed == LAMINA_OK ? FLOW_ON : FLOW_ERROR;
}

static NO_INLINE enum jinja_flow exec_for(struct jinja_run *r, const struct jinja_node *n) {
    const struct jinja_node *rest = node_at(r, n->c);
    struct jinja_frame *back_to = r->frame;
    struct jinja_value over;
    if (!jinja_eval(r, n->b, &over)) {
        return FLOW_ERROR;
    }
    r->pos = n->pos;
    if (rest->a != 0 && !filter_items(r, n, rest, &over)) {
        return FLOW_ERROR;
    }
    struct jinja_frame *f = jinja_frame_push(r, back_to);
    if (f == NULL || !jinja_walk_begin(r, &over, &f->walk)) {
        return FLOW_ERROR;
    }
    bool whole = false;
    enum jinja_flow flow = run_turns(r, n, f, rest->b, &whole);
    if (flow == FLOW_ON && !whole) { /* jinja2's else: also where every turn ended in break or continue */
        f->count = 0;
        flow = jinja_exec(r, rest->c);
    }
    jinja_frame_pop(r, f, back_to);
    return flow;
}

/* ---- the switch -------------------------------------------------------------------------------------------------- */

static enum jinja_flow flow_of(bool ok) {
    return ok ? FLOW_ON : FLOW_ERROR;
}

static enum jinja_flow exec_one(struct jinja_run *r, const struct jinja_node *n) {
    switch ((enum jinja_node_kind)n->kind) {
    case NODE_DATA:
    case NODE_OUTPUT:
        return flow_of(exec_output(r, n));
    case NODE_IF:
        return exec_if(r, n);
    case NODE_FOR:
        return exec_for(r, n);
    case NODE_SET:
        return flow_of(exec_set(r, n));
    case NODE_SET_BLOCK:
        return flow_of(exec_set_block(r, n));
    case NODE_MACRO:
        return flow_of(exec_macro(r, n));
    case NODE_CALL_BLOCK:
        return flow_of(exec_call_block(r, n));
    case NODE_FILTER_BLOCK:
        return flow_of(exec_filter_block(r, n));
    case NODE_SCOPE:
        return exec_scope(r, n);
    case NODE_BREAK:
        return FLOW_BREAK;
    case NODE_CONTINUE:
        return FLOW_CONTINUE;
    default:
        return flow_of(jinja_fail(r, LAMINA_UNEXPECTED, "not a statement"));
    }
}

enum jinja_flow jinja_exec(struct jinja_run *r, uint32_t list) {
    enum jinja_flow flow = FLOW_ON;
    if (r->nest >= JINJA_NEST_MAX) {
        return flow_of(jinja_fail(r, LAMINA_NO_FIT, "the template nests calls and expressions too deeply"));
    }
    r->nest++;
    for (uint32_t i = list; i != 0 && flow == FLOW_ON; i = node_at(r, i)->next) {
        flow = jinja_step(r, 1) ? exec_one(r, node_at(r, i)) : FLOW_ERROR;
    }
    r->nest--;
    return flow;
}
