/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests ("x is defined"): jinja2's table, operator names included, for `is` and for select and its relatives.
 */
#include <math.h>

#include "text/jinja_priv.h"

typedef bool (*test_function)(struct jinja_run *r, const struct jinja_value *a, bool *yes);

static bool t_defined(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type != JV_UNDEFINED;
    return true;
}

static bool t_undefined(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_UNDEFINED;
    return true;
}

static bool t_none(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_NONE;
    return true;
}

static bool t_boolean(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_BOOL;
    return true;
}

static bool t_true(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_BOOL && a->u.i != 0;
    return true;
}

static bool t_false(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_BOOL && a->u.i == 0;
    return true;
}

static bool t_integer(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_INT;
    return true;
}

static bool t_float(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_FLOAT;
    return true;
}

static bool t_number(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_INT || a->type == JV_FLOAT || a->type == JV_BOOL;
    return true;
}

static bool t_string(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_STRING;
    return true;
}

static bool t_mapping(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_DICT;
    return true;
}

static bool t_sequence(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_STRING || a->type == JV_LIST || a->type == JV_TUPLE || a->type == JV_DICT ||
           a->type == JV_RANGE || a->type == JV_UNDEFINED;
    return true;
}

static bool t_iterable(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)t_sequence(r, a, yes);
    *yes = *yes || a->type == JV_VIEW || a->type == JV_ITERATOR || a->type == JV_LOOP;
    return true;
}

static bool t_callable(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_MACRO || a->type == JV_FUNCTION || a->type == JV_METHOD || a->type == JV_UNDEFINED ||
           a->type == JV_LOOP;
    return true;
}

static bool t_escaped(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_STRING && (a->flag & JVF_MARKUP) != 0;
    return true;
}

static bool cased(struct jinja_run *r, const struct jinja_value *a, enum jinja_class which, bool *yes) {
    struct jinja_value text;
    if (!jinja_to_string(r, a, &text) || !jinja_step(r, text.len / 64)) {
        return false;
    }
    *yes = jinja_all_in_class(jv_span(&text), which);
    return true;
}

static bool t_lower(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    return cased(r, a, CLASS_LOWER, yes);
}

static bool t_upper(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    return cased(r, a, CLASS_UPPER, yes);
}

static bool rest_is_zero(struct jinja_run *r, const struct jinja_value *a, struct jinja_value by, int64_t rest,
                         bool *yes) {
    struct jinja_value m;
    struct jinja_value want = jv_int(rest);
    if (a->type == JV_STRING) {
        return jinja_fail(r, LAMINA_DAMAGED, "not all arguments converted during string formatting");
    }
    return jinja_arith(r, OP_MOD, a, &by, &m) && jinja_equal(r, &m, &want, yes);
}

static bool t_odd(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    return rest_is_zero(r, a, jv_int(2), 1, yes);
}

static bool t_even(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    return rest_is_zero(r, a, jv_int(2), 0, yes);
}

static bool t_divisibleby(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    return rest_is_zero(r, a, a[1], 0, yes);
}

static bool t_in(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    return jinja_compare(r, OP_IN, &a[0], &a[1], yes);
}

static bool t_eq(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    return jinja_compare(r, OP_EQ, &a[0], &a[1], yes);
}

static bool t_ne(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    return jinja_compare(r, OP_NE, &a[0], &a[1], yes);
}

static bool t_lt(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    return jinja_compare(r, OP_LT, &a[0], &a[1], yes);
}

static bool t_le(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    return jinja_compare(r, OP_LE, &a[0], &a[1], yes);
}

static bool t_gt(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    return jinja_compare(r, OP_GT, &a[0], &a[1], yes);
}

static bool t_ge(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    return jinja_compare(r, OP_GE, &a[0], &a[1], yes);
}

/* Python's "is": one object for None and the booleans, otherwise the same container. */
static bool t_sameas(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    if (a[0].type == JV_LIST || a[0].type == JV_TUPLE || a[0].type == JV_DICT || a[0].type == JV_NAMESPACE) {
        *yes = a[0].type == a[1].type && a[0].u.s == a[1].u.s;
        return true;
    }
    *yes = false;
    return a[0].type != a[1].type || jinja_equal(r, &a[0], &a[1], yes);
}

static bool t_filter(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_STRING && jinja_filter_find(jv_span(a)) != UINT32_MAX;
    return true;
}

static bool t_test(struct jinja_run *r, const struct jinja_value *a, bool *yes) {
    (void)r;
    *yes = a->type == JV_STRING && jinja_test_find(jv_span(a)) != UINT32_MAX;
    return true;
}

static const struct {
    const char *name;
    unsigned arguments; /* the tested value included */
    test_function fn;
} rows[] = {
    {"defined", 1, t_defined}, {"undefined", 1, t_undefined}, {"none", 1, t_none}, {"boolean", 1, t_boolean},
    {"true", 1, t_true}, {"false", 1, t_false}, {"integer", 1, t_integer}, {"float", 1, t_float},
    {"number", 1, t_number}, {"string", 1, t_string}, {"mapping", 1, t_mapping}, {"sequence", 1, t_sequence},
    {"iterable", 1, t_iterable}, {"callable", 1, t_callable}, {"escaped", 1, t_escaped}, {"lower", 1, t_lower},
    {"upper", 1, t_upper}, {"odd", 1, t_odd}, {"even", 1, t_even}, {"divisibleby", 2, t_divisibleby},
    {"in", 2, t_in}, {"sameas", 2, t_sameas}, {"filter", 1, t_filter}, {"test", 1, t_test},
    {"eq", 2, t_eq}, {"==", 2, t_eq}, {"equalto", 2, t_eq}, {"ne", 2, t_ne}, {"!=", 2, t_ne},
    {"lt", 2, t_lt}, {"<", 2, t_lt}, {"lessthan", 2, t_lt}, {"le", 2, t_le}, {"<=", 2, t_le},
    {"gt", 2, t_gt}, {">", 2, t_gt}, {"greaterthan", 2, t_gt}, {"ge", 2, t_ge}, {">=", 2, t_ge},
};

uint32_t jinja_test_find(struct span name) {
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (span_is(name, rows[i].name)) {
            return i;
        }
    }
    return UINT32_MAX;
}

bool jinja_test_call(struct jinja_run *r, uint32_t index, const struct jinja_args *a, bool *result) {
    if (a->count != rows[index].arguments || a->named != 0) {
        return jinja_fail(r, LAMINA_DAMAGED, "the test '%s' takes %u argument(s)", rows[index].name,
                          rows[index].arguments - 1);
    }
    return rows[index].fn(r, a->v, result);
}
