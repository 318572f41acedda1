/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls: arguments onto the value stack, binding them to the parameters of table rows and macros, and the frames macros
 * run in. A macro sees the names of the place where it was defined, not of the place that calls it.
 */
#include <stdio.h>

#include "text/jinja_priv.h"

bool jinja_push(struct jinja_run *r, struct jinja_value v) {
    if (r->stack_top >= JINJA_STACK_VALUES) {
        return jinja_fail(r, LAMINA_NO_FIT, "more than %d arguments in calls at once", (int)JINJA_STACK_VALUES);
    }
    r->stack[r->stack_top++] = v;
    return true;
}

static bool push_star(struct jinja_run *r, const struct jinja_value *v, struct jinja_args *a) {
    struct jinja_walk w;
    struct jinja_value item;
    if (!jinja_walk_begin(r, v, &w)) {
        return false;
    }
    while (jinja_walk_next(r, &w, &item)) {
        if (!jinja_push(r, item)) {
            return false;
        }
        a->count++;
    }
    return r->failed == LAMINA_OK;
}

static bool push_star_star(struct jinja_run *r, const struct jinja_value *v, struct jinja_args *a) {
    if (v->type != JV_DICT) {
        return jinja_fail(r, LAMINA_DAMAGED, "argument after ** must be a mapping, not %s", jinja_type_name(v));
    }
    for (uint32_t i = 0; i < v->u.dict->count; i++) {
        const struct jinja_pair *p = &v->u.dict->pair[i];
        if (p->key.type != JV_STRING) {
            return jinja_fail(r, LAMINA_DAMAGED, "keywords must be strings");
        }
        if (!jinja_push(r, p->key) || !jinja_push(r, p->value)) {
            return false;
        }
        a->named++;
    }
    return true;
}

bool jinja_eval_args(struct jinja_run *r, uint32_t list, struct jinja_args *a) {
    struct jinja_value v;
    for (int pass = 0; pass < 2; pass++) { /* values first, then the named ones */
        for (uint32_t i = list; i != 0; i = r->t->nodes[i].next) {
            const struct jinja_node *n = &r->t->nodes[i];
            bool named = n->kind == NODE_KWARG || n->kind == NODE_STARSTAR;
            if (named != (pass == 1)) {
                continue;
            }
            if (!jinja_eval(r, n->a, &v)) {
                return false;
            }
            bool ok = true;
            if (n->kind == NODE_ARG) {
                ok = jinja_push(r, v);
                a->count++;
            } else if (n->kind == NODE_KWARG) {
                const struct jinja_name *name = &r->t->names[n->b];
                struct jinja_value key = jv_view(span_sub(str_span(&r->t->pool), name->offset, name->len));
                ok = jinja_push(r, key) && jinja_push(r, v);
                a->named++;
            } else {
                ok = n->kind == NODE_STAR ? push_star(r, &v, a) : push_star_star(r, &v, a);
            }
            if (!ok) {
                return false;
            }
        }
    }
    return true;
}

/* ---- table rows -------------------------------------------------------------------------------------------------- */

/* The number of a parameter in "a b c", or -1; with an empty name, how many there are. */
static int param_number(const char *params, struct span name) {
    int number = 0;
    for (const char *p = params; *p != 0; number++) {
        size_t len = strcspn(p, " ");
        if (name.len != 0 && span_equal(name, span_of(p, len))) {
            return number;
        }
        p += len;
        p += *p == ' ';
    }
    return name.len != 0 ? -1 : number;
}

static bool bind_named(struct jinja_run *r, const struct jinja_callable *row, const struct jinja_args *a,
                       struct jinja_value *slots) {
    for (uint32_t i = 0; i < a->named; i++) {
        const struct jinja_value *key = &a->v[a->count + 2 * i];
        int number = row->params[0] == '/' ? -1 : param_number(row->params, jv_span(key));
        if (number < 0) {
            return jinja_fail(r, LAMINA_DAMAGED, "%s() takes no keyword argument '%.*s'", row->name,
                              (int)(key->len < 60 ? key->len : 60), key->u.s);
        }
        if (slots[number].type != JV_ABSENT) {
            return jinja_fail(r, LAMINA_DAMAGED, "%s() got several values for argument '%.*s'", row->name,
                              (int)key->len, key->u.s);
        }
        slots[number] = key[1];
    }
    return true;
}

bool jinja_call_row(struct jinja_run *r, const struct jinja_callable *row, const struct jinja_args *a,
                    struct jinja_value *out) {
    if (row->any != NULL) {
        return row->any(r, a, out);
    }
    size_t top = r->stack_top;
    struct jinja_value *slots = r->stack + top;
    int count = param_number(row->params + (row->params[0] == '/'), span_of(NULL, 0));
    if (a->count > (uint32_t)count) {
        return jinja_fail(r, LAMINA_DAMAGED, "%s() takes at most %d arguments (%u given)", row->name, count,
                          (unsigned)a->count);
    }
    for (int i = 0; i < count; i++) {
        if (!jinja_push(r, (uint32_t)i < a->count ? a->v[i] : (struct jinja_value){.type = JV_ABSENT})) {
            return false;
        }
    }
    if (!bind_named(r, row, a, slots)) {
        return false;
    }
    for (unsigned i = 0; i < row->required; i++) {
        if (slots[i].type == JV_ABSENT) {
            return jinja_fail(r, LAMINA_DAMAGED, "%s() misses its argument number %u", row->name, i + 1);
        }
    }
    bool ok = row->fn(r, slots, out);
    r->stack_top = top;
    return ok;
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

struct jinja_frame *jinja_frame_push(struct jinja_run *r, struct jinja_frame *parent) {
    struct jinja_frame *f = r->free_frames;
    if (f != NULL) {
        r->free_frames = f->parent;
        *f = (struct jinja_frame){.var = f->var, .cap = f->cap};
    } else {
        f = (struct jinja_frame *)jinja_take(r, 1, sizeof(*f));
        if (f == NULL) {
            return NULL;
        }
    }
    f->parent = parent;
    r->frame = f;
    return f;
}

void jinja_frame_pop(struct jinja_run *r, struct jinja_frame *f, struct jinja_frame *back_to) {
    r->frame = back_to;
    if (!f->kept) {
        f->parent = r->free_frames;
        f->count = 0;
        r->free_frames = f;
    }
}

bool jinja_bind_name(struct jinja_run *r, struct jinja_frame *f, uint32_t name, struct jinja_value v) {
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->var[i].name == name) {
            f->var[i].value = v;
            return true;
        }
    }
    if (f->count == f->cap) {
        uint32_t cap = f->cap == 0 ? 4 : f->cap * 2;
        struct jinja_binding *grown = (struct jinja_binding *)jinja_take(r, cap, sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        if (f->count != 0) {
            memcpy(grown, f->var, f->count * sizeof(*grown));
        }
        f->var = grown;
        f->cap = cap;
    }
    f->var[f->count++] = (struct jinja_binding){.name = name, .value = v};
    return true;
}

/* ---- macros ------------------------------------------------------------------------------------------------------ */

bool jinja_macro_new(struct jinja_run *r, uint32_t node, struct jinja_value *out) {
    struct jinja_macro *m = (struct jinja_macro *)jinja_take(r, 1, sizeof(*m));
    if (m == NULL) {
        return false;
    }
    *m = (struct jinja_macro){.node = node, .frame = r->frame};
    for (struct jinja_frame *f = r->frame; f != NULL && !f->kept; f = f->parent) {
        f->kept = true;
    }
    *out = (struct jinja_value){.type = JV_MACRO, .u.macro = m};
    return true;
}

static struct span name_of(const struct jinja_run *r, uint32_t name) {
    return span_sub(str_span(&r->t->pool), r->t->names[name].offset, r->t->names[name].len);
}

static bool bind_word(struct jinja_run *r, const char *word, struct jinja_value v) {
    for (uint32_t i = 0; i < r->t->name_count; i++) {
        if (span_is(name_of(r, i), word)) {
            return jinja_bind_name(r, r->frame, i, v);
        }
    }
    return true;
}

/* The named argument for a parameter is marked as used by an absent key. */
static bool take_named(const struct jinja_args *a, struct span name, struct jinja_value *out) {
    for (uint32_t i = 0; i < a->named; i++) {
        struct jinja_value *key = &a->v[a->count + 2 * i];
        if (key->type == JV_STRING && span_equal(jv_span(key), name)) {
            *out = key[1];
            key->type = JV_ABSENT;
            return true;
        }
    }
    return false;
}

static NO_INLINE bool bind_params(struct jinja_run *r, const struct jinja_node *m, const struct jinja_args *a,
                                  uint32_t *bound) {
    for (uint32_t i = m->b; i != 0; i = r->t->nodes[i].next) {
        const struct jinja_node *param = &r->t->nodes[i];
        struct jinja_value v;
        if (*bound < a->count) {
            v = a->v[(*bound)++];
        } else if (!take_named(a, name_of(r, param->a), &v)) {
            v = jv_undefined(name_of(r, param->a), JV_ABSENT);
            if (param->flag != 0 && !jinja_eval(r, param->b, &v)) {
                return false;
            }
        }
        if (!jinja_bind_name(r, r->frame, param->a, v)) {
            return false;
        }
    }
    return true;
}

static NO_INLINE bool bind_rest(struct jinja_run *r, const struct jinja_node *m, const struct jinja_args *a,
                                uint32_t bound) {
    struct jinja_value rest;
    struct jinja_value caller;
    if ((m->flag & MACRO_CALLER) != 0) {
        if (!take_named(a, span_of_text("caller"), &caller)) {
            caller = jv_undefined(span_of_text("caller"), JV_ABSENT);
        }
        if (!bind_word(r, "caller", caller)) {
            return false;
        }
    }
    if ((m->flag & MACRO_VARARGS) != 0) {
        if (!jinja_list_new(r, JV_TUPLE, a->count - bound, &rest)) {
            return false;
        }
        for (; bound < a->count; bound++) {
            rest.u.list->item[rest.u.list->count++] = a->v[bound];
        }
        if (!bind_word(r, "varargs", rest)) {
            return false;
        }
    }
    if (bound < a->count) {
        return jinja_fail(r, LAMINA_DAMAGED, "the macro takes not more than %u argument(s)", (unsigned)bound);
    }
    bool collect = (m->flag & MACRO_KWARGS) != 0;
    if (collect && (!jinja_dict_new(r, JV_DICT, &rest) || !bind_word(r, "kwargs", rest))) {
        return false;
    }
    for (uint32_t i = 0; i < a->named; i++) {
        const struct jinja_value *key = &a->v[a->count + 2 * i];
        if (key->type == JV_ABSENT) {
            continue;
        }
        if (!collect) {
            return jinja_fail(r, LAMINA_DAMAGED, "the macro takes no keyword argument '%.*s'",
                              (int)(key->len < 60 ? key->len : 60), key->u.s);
        }
        if (!jinja_dict_set(r, rest.u.dict, key[0], key[1])) {
            return false;
        }
    }
    return true;
}

static NO_INLINE bool call_macro(struct jinja_run *r, const struct jinja_macro *macro, const struct jinja_args *a,
                                 struct jinja_value *out) {
    const struct jinja_node *m = &r->t->nodes[macro->node];
    struct jinja_frame *back_to = r->frame;
    uint32_t bound = 0;
    if (r->calls >= r->limits.depth) {
        return jinja_fail(r, LAMINA_NO_FIT, "macros call each other more than %u levels deep",
                          (unsigned)r->limits.depth);
    }
    struct jinja_frame *f = jinja_frame_push(r, macro->frame);
    if (f == NULL) {
        return false;
    }
    r->calls++;
    bool ok = bind_params(r, m, a, &bound) && bind_rest(r, m, a, bound) && jinja_exec_captured(r, m->c, out);
    r->calls--;
    jinja_frame_pop(r, f, back_to);
    return ok;
}

bool jinja_call_value(struct jinja_run *r, const struct jinja_value *callee, const struct jinja_args *a,
                      struct jinja_value *out) {
    switch ((enum jinja_type)callee->type) {
    case JV_FUNCTION:
        return jinja_global_call(r, (uint32_t)callee->u.i, a, out);
    case JV_METHOD:
        return jinja_method_call(r, callee->u.bound->method, &callee->u.bound->self, a, out);
    case JV_MACRO:
        return call_macro(r, callee->u.macro, a, out);
    case JV_UNDEFINED:
        return jinja_fail_undefined(r, callee);
    default:
        return jinja_fail(r, LAMINA_DAMAGED, "'%s' object is not callable", jinja_type_name(callee));
    }
}
