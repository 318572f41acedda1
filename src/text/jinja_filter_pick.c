/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of all filters, and the filters that pick or transform items by another filter or test: map, select,
 * reject, selectattr, rejectattr; default and attr stand here too.
 */
#include "text/jinja_priv.h"

/* An empty or missing value gives an empty result before anything else is looked at, as jinja2's generators do. */
static bool begin(struct jinja_run *r, const struct jinja_value *v, struct jinja_walk *w, struct jinja_value *out,
                  bool *empty) {
    *empty = !jinja_truth(v);
    return jinja_iterator_new(r, "generator", out) && (*empty || jinja_walk_begin(r, v, w));
}

static bool named_argument(const struct jinja_args *a, const char *name, struct jinja_value *out) {
    for (uint32_t i = 0; i < a->named; i++) {
        if (span_is(jv_span(&a->v[a->count + 2 * i]), name)) {
            *out = a->v[a->count + 2 * i + 1];
            return true;
        }
    }
    return false;
}

/* Pushes `item` and the arguments after the first `skip` ones, for a filter or test to be called with. */
static bool push_inner(struct jinja_run *r, const struct jinja_args *a, uint32_t skip, const struct jinja_value *item,
                       struct jinja_args *inner) {
    *inner = (struct jinja_args){.v = r->stack + r->stack_top, .count = a->count - skip + 1, .named = a->named};
    if (!jinja_push(r, *item)) {
        return false;
    }
    for (uint32_t i = skip; i < a->count + 2 * a->named; i++) {
        if (!jinja_push(r, a->v[i])) {
            return false;
        }
    }
    return true;
}

static bool map_attribute(struct jinja_run *r, const struct jinja_args *a, const struct jinja_value *path,
                          struct jinja_value *item) {
    struct jinja_value from = *item;
    struct jinja_value fallback = jv_none();
    (void)named_argument(a, "default", &fallback);
    if (path->type == JV_NONE) {
        return true;
    }
    if (!jinja_get_path(r, &from, path, item)) {
        return false;
    }
    if (item->type == JV_UNDEFINED && fallback.type != JV_NONE) {
        *item = fallback;
    }
    return true;
}

static bool unknown_name(struct jinja_run *r, const char *what, const struct jinja_value *name) {
    if (name->type != JV_STRING) {
        return jinja_fail(r, LAMINA_DAMAGED, "a %s is named by text, not by %s", what, jinja_type_name(name));
    }
    return jinja_fail(r, LAMINA_UNSUPPORTED, "there is no %s named '%.*s'", what,
                      (int)(name->len < 60 ? name->len : 60), name->u.s);
}

static bool f_map(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out) {
    struct jinja_walk w;
    struct jinja_value item;
    struct jinja_value path;
    struct jinja_args inner;
    bool empty = false;
    bool by_attribute = a->count == 1 && named_argument(a, "attribute", &path);
    if (!begin(r, &a->v[0], &w, out, &empty) || empty) {
        return r->failed == LAMINA_OK;
    }
    uint32_t filter = UINT32_MAX;
    if (!by_attribute) {
        if (a->count < 2) {
            return jinja_fail(r, LAMINA_DAMAGED, "map requires a filter argument");
        }
        filter = a->v[1].type == JV_STRING ? jinja_filter_find(jv_span(&a->v[1])) : UINT32_MAX;
        if (filter == UINT32_MAX) {
            return unknown_name(r, "filter", &a->v[1]);
        }
    }
    size_t top = r->stack_top;
    while (jinja_walk_next(r, &w, &item)) {
        struct jinja_value result = item;
        bool ok = jinja_step(r, 1);
        if (ok && by_attribute) {
            ok = map_attribute(r, a, &path, &result);
        } else if (ok) {
            ok = push_inner(r, a, 2, &item, &inner) && jinja_filter_call(r, filter, &inner, &result);
        }
        r->stack_top = top;
        if (!ok || !jinja_list_add(r, &out->u.iterator->list, result)) {
            return false;
        }
    }
    return r->failed == LAMINA_OK;
}

/* One item of select and friends: whether it passes the named test, or is true where none is named. */
static bool passes(struct jinja_run *r, const struct jinja_args *a, uint32_t skip, const struct jinja_value *item,
                   bool *yes) {
    struct jinja_value v = *item;
    struct jinja_args inner;
    uint32_t first = skip + 1;
    if (skip == 1 && !jinja_get_path(r, item, &a->v[1], &v)) {
        return false;
    }
    if (a->count <= first) {
        *yes = jinja_truth(&v);
        return true;
    }
    uint32_t test = a->v[first].type == JV_STRING ? jinja_test_find(jv_span(&a->v[first])) : UINT32_MAX;
    if (test == UINT32_MAX) {
        return unknown_name(r, "test", &a->v[first]);
    }
    size_t top = r->stack_top;
    bool ok = push_inner(r, a, first + 1, &v, &inner) && jinja_test_call(r, test, &inner, yes);
    r->stack_top = top;
    return ok;
}

static bool select_items(struct jinja_run *r, const struct jinja_args *a, bool by_attribute, bool keep,
                         struct jinja_value *out) {
    struct jinja_walk w;
    struct jinja_value item;
    bool empty = false;
    if (!begin(r, &a->v[0], &w, out, &empty) || empty) {
        return r->failed == LAMINA_OK;
    }
    if (by_attribute && a->count < 2) {
        return jinja_fail(r, LAMINA_DAMAGED, "missing parameter for attribute name");
    }
    while (jinja_walk_next(r, &w, &item)) {
        bool yes = false;
        if (!jinja_step(r, 1) || !passes(r, a, by_attribute, &item, &yes)) {
            return false;
        }
        if (yes == keep && !jinja_list_add(r, &out->u.iterator->list, item)) {
            return false;
        }
    }
    return r->failed == LAMINA_OK;
}

static bool f_select(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out) {
    return select_items(r, a, false, true, out);
}

static bool f_reject(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out) {
    return select_items(r, a, false, false, out);
}

static bool f_selectattr(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out) {
    return select_items(r, a, true, true, out);
}

static bool f_rejectattr(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out) {
    return select_items(r, a, true, false, out);
}

static bool f_default(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    (void)r;
    bool replace = a[0].type == JV_UNDEFINED || (a[2].type != JV_ABSENT && jinja_truth(&a[2]) && !jinja_truth(&a[0]));
    *out = !replace ? a[0] : a[1].type == JV_ABSENT ? jv_text("") : a[1];
    return true;
}

/* Attributes only, never items: for a dict that is its methods. */
static bool f_attr(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct span name;
    if (!jinja_need_string(r, &a[1], "attribute name", &name)) {
        return false;
    }
    if (a[0].type == JV_DICT && jinja_method_find(&a[0], name) == UINT32_MAX) {
        *out = jv_undefined(name, JV_DICT);
        return true;
    }
    return jinja_get_attr(r, &a[0], name, out);
}

static const struct jinja_callable rows[] = {
    {"map", "", 0, NULL, f_map},
    {"select", "", 0, NULL, f_select},
    {"reject", "", 0, NULL, f_reject},
    {"selectattr", "", 0, NULL, f_selectattr},
    {"rejectattr", "", 0, NULL, f_rejectattr},
    {"default", "value default_value boolean", 1, f_default, NULL},
    {"d", "value default_value boolean", 1, f_default, NULL},
    {"attr", "obj name", 2, f_attr, NULL},
};

const struct jinja_callable *jinja_filters_pick(size_t *count) {
    *count = ARRAY_LEN(rows);
    return rows;
}

/* ---- the table of all -------------------------------------------------------------------------------------------- */

static const struct jinja_callable *filter_row(uint32_t index) {
    const struct jinja_callable *(*const tables[])(size_t *) = {jinja_filters_text, jinja_filters_list,
                                                                jinja_filters_pick};
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        size_t count = 0;
        const struct jinja_callable *table = tables[t](&count);
        if (index < count) {
            return &table[index];
        }
        index -= (uint32_t)count;
    }
    return NULL;
}

uint32_t jinja_filter_find(struct span name) {
    const struct jinja_callable *row = NULL;
    for (uint32_t i = 0; (row = filter_row(i)) != NULL; i++) {
        if (span_is(name, row->name)) {
            return i;
        }
    }
    return UINT32_MAX;
}

bool jinja_filter_call(struct jinja_run *r, uint32_t index, const struct jinja_args *a, struct jinja_value *out) {
    if (r->nest >= JINJA_NEST_MAX) { /* map can name map */
        return jinja_fail(r, LAMINA_NO_FIT, "the template nests filters too deeply");
    }
    r->nest++;
    bool ok = jinja_call_row(r, filter_row(index), a, out);
    r->nest--;
    return ok;
}
