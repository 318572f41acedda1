/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators on values: arithmetic, attributes, subscripts and slices, with Python's rules and jinja2's lookup order
 * (x.y: method, then item; x[y]: item, then method). Whole numbers have 63 bits and a sign: a result beyond that is an
 * error, never a wrapped number.
 */
#include <math.h>

#include "text/jinja_priv.h"

static bool is_number(const struct jinja_value *v) {
    return v->type == JV_BOOL || v->type == JV_INT || v->type == JV_FLOAT;
}

static double as_double(const struct jinja_value *v) {
    return v->type == JV_FLOAT ? v->u.d : (double)v->u.i;
}

static const char *op_sign(enum jinja_op op) {
    static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
    return signs[op];
}

static bool fail_operands(struct jinja_run *r, enum jinja_op op, const struct jinja_value *a,
                          const struct jinja_value *b) {
    if (a->type == JV_UNDEFINED || b->type == JV_UNDEFINED) {
        return jinja_fail_undefined(r, a->type == JV_UNDEFINED ? a : b);
    }
    if (op == OP_ADD && (a->type == JV_STRING || a->type == JV_LIST || a->type == JV_TUPLE)) {
        return jinja_fail(r, LAMINA_DAMAGED, "can only concatenate %s (not \"%s\") to %s", jinja_type_name(a),
                          jinja_type_name(b), jinja_type_name(a));
    }
    return jinja_fail(r, LAMINA_DAMAGED, "unsupported operand type(s) for %s: '%s' and '%s'", op_sign(op),
                      jinja_type_name(a), jinja_type_name(b));
}

static bool fail_overflow(struct jinja_run *r) {
    return jinja_fail(r, LAMINA_UNSUPPORTED, "a whole number beyond 63 bits");
}

static bool fail_zero(struct jinja_run *r) {
    return jinja_fail(r, LAMINA_DAMAGED, "division by zero");
}

static bool int_power(struct jinja_run *r, int64_t base, int64_t exponent, struct jinja_value *out) {
    if (exponent < 0) {
        *out = jv_float(pow((double)base, (double)exponent));
        return base != 0 || fail_zero(r);
    }
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) {
            return fail_overflow(r);
        }
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) {
            return fail_overflow(r);
        }
    }
    *out = jv_int(result);
    return true;
}

static bool int_arith(struct jinja_run *r, enum jinja_op op, int64_t a, int64_t b, struct jinja_value *out) {
    int64_t v = 0;
    bool over = false;
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0) {
        return fail_zero(r);
    }
    switch (op) {
    case OP_ADD:
        over = __builtin_add_overflow(a, b, &v);
        break;
    case OP_SUB:
        over = __builtin_sub_overflow(a, b, &v);
        break;
    case OP_MUL:
        over = __builtin_mul_overflow(a, b, &v);
        break;
    case OP_DIV:
        *out = jv_float((double)a / (double)b);
        return true;
    case OP_POW:
        return int_power(r, a, b, out);
    default:
        if (b == -1) { /* INT64_MIN / -1 traps in hardware */
            over = op == OP_FLOORDIV && __builtin_sub_overflow((int64_t)0, a, &v);
            break;
        }
        v = op == OP_FLOORDIV ? a / b : a % b;
        if (a % b != 0 && (a % b < 0) != (b < 0)) {
            v += op == OP_FLOORDIV ? -1 : b;
        }
        break;
    }
    *out = jv_int(v);
    return !over || fail_overflow(r);
}

/* Python's float // and %: the remainder takes the sign of the divisor, the quotient is its floor. */
static double float_floor_mod(double a, double b, bool quotient) {
    double m = fmod(a, b);
    double q = (a - m) / b;
    if (m != 0) {
        if ((b < 0) != (m < 0)) {
            m += b;
            q -= 1;
        }
    } else {
        m = copysign(0.0, b);
    }
    if (!quotient) {
        return m;
    }
    double whole = floor(q);
    return q != 0 ? (q - whole > 0.5 ? whole + 1 : whole) : copysign(0.0, a / b);
}

static bool float_arith(struct jinja_run *r, enum jinja_op op, double a, double b, struct jinja_value *out) {
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0) {
        return fail_zero(r);
    }
    double v = 0;
    switch (op) {
    case OP_ADD:
        v = a + b;
        break;
    case OP_SUB:
        v = a - b;
        break;
    case OP_MUL:
        v = a * b;
        break;
    case OP_DIV:
        v = a / b;
        break;
    case OP_POW:
        v = pow(a, b);
        if (isnan(v) && !isnan(a) && !isnan(b)) {
            return jinja_fail(r, LAMINA_UNSUPPORTED, "a power that is not a real number");
        }
        break;
    default:
        v = float_floor_mod(a, b, op == OP_FLOORDIV);
        break;
    }
    *out = jv_float(v);
    return true;
}

static bool repeat_string(struct jinja_run *r, const struct jinja_value *s, int64_t times, struct jinja_value *out) {
    uint64_t total = 0;
    if (times <= 0 || s->len == 0) {
        *out = jv_text("");
        return true;
    }
    if (__builtin_mul_overflow((uint64_t)times, (uint64_t)s->len, &total) || total > r->limits.memory_bytes) {
        return jinja_fail(r, LAMINA_NO_FIT, "a repeated string is larger than the memory limit of %llu bytes",
                          (unsigned long long)r->limits.memory_bytes);
    }
    char *p = (char *)jinja_take(r, (size_t)total, 1);
    if (p == NULL || total >= UINT32_MAX / 2 || !jinja_step(r, total / 4096)) {
        return jinja_fail(r, LAMINA_NO_FIT, "a repeated string is too long");
    }
    for (uint64_t at = 0; at < total; at += s->len) {
        memcpy(p + at, s->u.s, s->len);
    }
    *out = jv_view(span_of(p, (size_t)total));
    out->flag = s->flag & JVF_MARKUP;
    return true;
}

static bool repeat_list(struct jinja_run *r, const struct jinja_value *v, int64_t times, struct jinja_value *out) {
    uint64_t count = times > 0 ? v->u.list->count : 0;
    if (times > 0 && (__builtin_mul_overflow(count, (uint64_t)times, &count) || count > UINT32_MAX / 64)) {
        return jinja_fail(r, LAMINA_NO_FIT, "a repeated list is too long");
    }
    if (!jinja_step(r, count) || !jinja_list_new(r, (enum jinja_type)v->type, (size_t)count, out)) {
        return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        out->u.list->item[i] = v->u.list->item[i % v->u.list->count];
    }
    out->u.list->count = (uint32_t)count;
    return true;
}

static bool join_lists(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b,
                       struct jinja_value *out) {
    size_t total = (size_t)a->u.list->count + b->u.list->count;
    if (!jinja_step(r, total / 8) || !jinja_list_new(r, (enum jinja_type)a->type, total, out)) {
        return false;
    }
    struct jinja_list *l = out->u.list;
    if (a->u.list->count != 0) {
        memcpy(l->item, a->u.list->item, a->u.list->count * sizeof(*l->item));
    }
    if (b->u.list->count != 0) {
        memcpy(l->item + a->u.list->count, b->u.list->item, b->u.list->count * sizeof(*l->item));
    }
    l->count = (uint32_t)total;
    return true;
}

/* Markup + text escapes the text, as markupsafe does; plain strings just join. */
static bool join_strings(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b,
                         struct jinja_value *out) {
    bool markup_a = (a->flag & JVF_MARKUP) != 0;
    bool markup_b = (b->flag & JVF_MARKUP) != 0;
    if (!jinja_step(r, b->len / 256)) {
        return false;
    }
    if (markup_a == markup_b) {
        return jinja_string_append(r, a, jv_span(b), out);
    }
    size_t mark = r->scratch.len;
    for (int i = 0; i < 2; i++) {
        const struct jinja_value *v = i == 0 ? a : b;
        if ((v->flag & JVF_MARKUP) != 0) {
            str_add_span(&r->scratch, jv_span(v));
        } else {
            str_add_html(&r->scratch, jv_span(v));
        }
    }
    bool ok = jinja_build_end(r, mark, out);
    out->flag = JVF_MARKUP;
    return ok;
}

bool jinja_arith(struct jinja_run *r, enum jinja_op op, const struct jinja_value *a, const struct jinja_value *b,
                 struct jinja_value *out) {
    bool list_a = a->type == JV_LIST || a->type == JV_TUPLE;
    bool list_b = b->type == JV_LIST || b->type == JV_TUPLE;
    if (is_number(a) && is_number(b)) {
        if (a->type == JV_FLOAT || b->type == JV_FLOAT) {
            return float_arith(r, op, as_double(a), as_double(b), out);
        }
        return int_arith(r, op, a->u.i, b->u.i, out);
    }
    if (op == OP_ADD && a->type == JV_STRING && b->type == JV_STRING) {
        return join_strings(r, a, b, out);
    }
    if (op == OP_ADD && list_a && a->type == b->type) {
        return join_lists(r, a, b, out);
    }
    if (op == OP_MUL && (b->type == JV_INT || b->type == JV_BOOL) && (a->type == JV_STRING || list_a)) {
        return list_a ? repeat_list(r, a, b->u.i, out) : repeat_string(r, a, b->u.i, out);
    }
    if (op == OP_MUL && (a->type == JV_INT || a->type == JV_BOOL) && (b->type == JV_STRING || list_b)) {
        return list_b ? repeat_list(r, b, a->u.i, out) : repeat_string(r, b, a->u.i, out);
    }
    if (op == OP_MOD && a->type == JV_STRING) {
        return jinja_format_percent(r, jv_span(a), b, out);
    }
    return fail_operands(r, op, a, b);
}

bool jinja_negate(struct jinja_run *r, bool minus, struct jinja_value *v) {
    if (v->type == JV_UNDEFINED) {
        return jinja_fail_undefined(r, v);
    }
    if (!is_number(v)) {
        return jinja_fail(r, LAMINA_DAMAGED, "bad operand type for unary %c: '%s'", minus ? '-' : '+',
                          jinja_type_name(v));
    }
    if (v->type == JV_FLOAT) {
        v->u.d = minus ? -v->u.d : v->u.d;
        return true;
    }
    v->type = JV_INT;
    return !minus || !__builtin_sub_overflow((int64_t)0, v->u.i, &v->u.i) || fail_overflow(r);
}

/* ---- attributes and subscripts ----------------------------------------------------------------------------------- */

static bool loop_attr(struct jinja_run *r, const struct jinja_frame *f, struct span name, struct jinja_value *out) {
    uint64_t length = f->walk.length;
    if (span_is(name, "index") || span_is(name, "index0")) {
        *out = jv_int((int64_t)f->index0 + !span_is(name, "index0"));
    } else if (span_is(name, "revindex") || span_is(name, "revindex0")) {
        *out = jv_int((int64_t)length - (int64_t)f->index0 - span_is(name, "revindex0"));
    } else if (span_is(name, "first") || span_is(name, "last")) {
        *out = jv_bool(span_is(name, "first") ? f->index0 == 0 : !f->has_upcoming);
    } else if (span_is(name, "length")) {
        *out = jv_int((int64_t)length);
    } else if (span_is(name, "depth") || span_is(name, "depth0")) {
        *out = jv_int(!span_is(name, "depth0")); /* jinja2 counts recursive loops only, which are refused */
    } else if (span_is(name, "previtem")) {
        *out = f->previous;
    } else if (span_is(name, "nextitem")) {
        *out = f->has_upcoming ? f->upcoming : jv_undefined(span_of_text("there is no next item"), JV_LOOP);
    } else {
        (void)r;
        return false;
    }
    return true;
}

static bool group_attr(const struct jinja_value *v, struct span name, struct jinja_value *out) {
    bool group = v->type == JV_TUPLE && (v->flag & JVF_GROUP) != 0;
    if (group && (span_is(name, "grouper") || span_is(name, "list"))) {
        *out = v->u.list->item[span_is(name, "list")];
        return true;
    }
    return false;
}

/* Attributes that are not items: methods, and what loop, namespace and groups carry. */
static bool own_attr(struct jinja_run *r, const struct jinja_value *v, struct span name, struct jinja_value *out,
                     bool *found) {
    *found = true;
    if (v->type == JV_NAMESPACE) {
        const struct jinja_value *value = jinja_dict_get_text(v->u.dict, name);
        *found = value != NULL;
        *out = value != NULL ? *value : jv_none();
        return true;
    }
    if ((v->type == JV_LOOP && loop_attr(r, v->u.loop, name, out)) || group_attr(v, name, out)) {
        return true;
    }
    uint32_t method = jinja_method_find(v, name);
    *found = method != UINT32_MAX;
    if (!*found) {
        return true;
    }
    struct jinja_bound *bound = (struct jinja_bound *)jinja_take(r, 1, sizeof(*bound));
    if (bound == NULL) {
        return false;
    }
    *bound = (struct jinja_bound){.self = *v, .method = method};
    *out = (struct jinja_value){.type = JV_METHOD, .u.bound = bound};
    return true;
}

bool jinja_get_attr(struct jinja_run *r, const struct jinja_value *v, struct span name, struct jinja_value *out) {
    bool found = false;
    if (v->type == JV_UNDEFINED) {
        return jinja_fail_undefined(r, v);
    }
    if (!own_attr(r, v, name, out, &found)) {
        return false;
    }
    if (!found && v->type == JV_DICT) {
        const struct jinja_value *value = jinja_dict_get_text(v->u.dict, name);
        found = value != NULL;
        if (found) {
            *out = *value;
        }
    }
    if (!found) {
        *out = jv_undefined(name, (enum jinja_type)v->type);
    }
    return true;
}

/* The item at a Python index; false when there is none. */
static bool index_item(const struct jinja_value *v, int64_t index, struct jinja_value *out) {
    uint64_t length = 0;
    if (v->type == JV_DICT || v->type == JV_VIEW || !jinja_length(v, &length)) {
        return false;
    }
    if (index < 0) {
        index += (int64_t)length;
    }
    if (index < 0 || (uint64_t)index >= length) {
        return false;
    }
    if (v->type == JV_STRING) {
        struct span text = jv_span(v);
        size_t begin = length == v->len ? (size_t)index : jinja_char_offset(text, (uint64_t)index);
        size_t end = begin;
        (void)jinja_next_char(text, &end);
        *out = jv_view(span_sub(text, begin, end - begin));
        out->flag = v->flag & JVF_MARKUP;
    } else if (v->type == JV_RANGE) {
        *out = jv_int(v->u.range->begin + v->u.range->step * index);
    } else {
        *out = v->u.list->item[index];
    }
    return true;
}

bool jinja_get_item(struct jinja_run *r, const struct jinja_value *v, const struct jinja_value *key,
                    struct jinja_value *out) {
    bool found = false;
    if (v->type == JV_UNDEFINED) {
        return jinja_fail_undefined(r, v);
    }
    if (v->type == JV_DICT) {
        const struct jinja_value *value = jinja_dict_get(v->u.dict, key, NULL);
        if (value != NULL) {
            *out = *value;
            return true;
        }
    } else if (key->type == JV_INT || key->type == JV_BOOL) {
        if (v->type == JV_STRING && !jinja_step(r, v->len / 64)) {
            return false;
        }
        found = index_item(v, key->u.i, out);
    }
    if (!found && key->type == JV_STRING && !own_attr(r, v, jv_span(key), out, &found)) {
        return false;
    }
    if (found) {
        return true;
    }
    struct jinja_value name;
    if (!jinja_to_string(r, key, &name)) {
        return false;
    }
    *out = jv_undefined(jv_span(&name), (enum jinja_type)v->type);
    return true;
}

/* One bound of a slice, clipped as Python does: to [low, high], negatives counted from the end. */
static bool slice_bound(struct jinja_run *r, const struct jinja_value *v, int64_t length, int64_t fallback, bool back,
                        int64_t *out) {
    if (v->type == JV_ABSENT || v->type == JV_NONE) {
        *out = fallback;
        return true;
    }
    if (v->type == JV_UNDEFINED) {
        return jinja_fail_undefined(r, v);
    }
    if (v->type != JV_INT && v->type != JV_BOOL) {
        return jinja_fail(r, LAMINA_DAMAGED, "slice indices must be integers or None");
    }
    int64_t low = back ? -1 : 0;
    int64_t high = back ? length - 1 : length;
    int64_t i = v->u.i < 0 ? (v->u.i < -length ? low : v->u.i + length) : v->u.i;
    *out = i < low ? low : i > high ? high : i;
    return true;
}

static bool slice_string(struct jinja_run *r, struct span text, const int64_t at[4], struct jinja_value *out) {
    if (at[2] == 1) { /* a view, no copy */
        size_t begin = jinja_char_offset(text, (uint64_t)at[0]);
        struct span rest = span_sub(text, begin, text.len);
        *out = jv_view(span_sub(rest, 0, at[3] > 0 ? jinja_char_offset(rest, (uint64_t)at[3]) : 0));
        return true;
    }
    size_t mark = r->scratch.len;
    bool back = at[2] < 0;
    size_t byte = jinja_char_offset(text, (uint64_t)(back ? at[0] + 1 : at[0]));
    uint64_t stride = back ? (uint64_t)-(at[2] + 1) + 1 : (uint64_t)at[2];
    for (int64_t n = 0; n < at[3]; n++) {
        size_t begin = byte;
        if (back) {
            (void)jinja_previous_char(text, &begin);
            str_add(&r->scratch, text.ptr + begin, byte - begin);
            byte = begin;
        } else {
            (void)jinja_next_char(text, &byte);
            str_add(&r->scratch, text.ptr + begin, byte - begin);
        }
        for (uint64_t skip = 1; skip < stride && n + 1 < at[3]; skip++) {
            if (back) {
                (void)jinja_previous_char(text, &byte);
            } else {
                (void)jinja_next_char(text, &byte);
            }
        }
    }
    return jinja_build_end(r, mark, out);
}

/* begin, end, step, count of a slice over `length` items. */
static bool slice_bounds(struct jinja_run *r, const struct jinja_value part[3], int64_t length, int64_t at[4]) {
    at[2] = 1;
    if (part[2].type == JV_INT || part[2].type == JV_BOOL) {
        at[2] = part[2].u.i;
    } else if (part[2].type != JV_ABSENT && part[2].type != JV_NONE) {
        return jinja_fail(r, LAMINA_DAMAGED, "slice indices must be integers or None");
    }
    if (at[2] == 0) {
        return jinja_fail(r, LAMINA_DAMAGED, "slice step cannot be zero");
    }
    bool back = at[2] < 0;
    if (!slice_bound(r, &part[0], length, back ? length - 1 : 0, back, &at[0]) ||
        !slice_bound(r, &part[1], length, back ? -1 : length, back, &at[1])) {
        return false;
    }
    uint64_t stride = back ? (uint64_t)-(at[2] + 1) + 1 : (uint64_t)at[2];
    uint64_t span = back ? (at[0] > at[1] ? (uint64_t)(at[0] - at[1]) : 0)
                         : (at[1] > at[0] ? (uint64_t)(at[1] - at[0]) : 0);
    at[3] = span == 0 ? 0 : (int64_t)((span - 1) / stride + 1);
    return true;
}

/* One place behind a range's last item may lie beyond 63 bits; it is then never an item, so wrapping is harmless. */
static int64_t range_at(const struct jinja_range *g, int64_t index) {
    return (int64_t)((uint64_t)g->begin + (uint64_t)g->step * (uint64_t)index);
}

bool jinja_get_slice(struct jinja_run *r, const struct jinja_value *v, const struct jinja_value part[3],
                     struct jinja_value *out) {
    uint64_t length = 0;
    int64_t at[4];
    if (v->type == JV_UNDEFINED) {
        return jinja_fail_undefined(r, v);
    }
    if ((v->type != JV_STRING && v->type != JV_LIST && v->type != JV_TUPLE && v->type != JV_RANGE) ||
        !jinja_length(v, &length)) {
        return jinja_fail(r, LAMINA_DAMAGED, "'%s' object is not subscriptable", jinja_type_name(v));
    }
    if (!slice_bounds(r, part, (int64_t)length, at) || !jinja_step(r, length / 64)) {
        return false;
    }
    if (v->type == JV_STRING) {
        bool ok = slice_string(r, jv_span(v), at, out);
        out->flag = v->flag & JVF_MARKUP;
        return ok;
    }
    if (v->type == JV_RANGE) {
        struct jinja_range *g = (struct jinja_range *)jinja_take(r, 1, sizeof(*g));
        if (g == NULL) {
            return false;
        }
        const struct jinja_range *from = v->u.range;
        *g = (struct jinja_range){.begin = range_at(from, at[0]), .count = (uint64_t)at[3]};
        bool wild = __builtin_mul_overflow(from->step, at[2], &g->step); /* then no more than one item is left */
        g->step = wild ? 1 : g->step;
        g->end = range_at(from, at[1]);
        *out = (struct jinja_value){.type = JV_RANGE, .u.range = g};
        return true;
    }
    if (!jinja_step(r, (uint64_t)at[3] / 8) ||
        !jinja_list_new(r, (enum jinja_type)v->type, (size_t)at[3], out)) {
        return false;
    }
    for (int64_t n = 0, i = at[0]; n < at[3]; n++) {
        out->u.list->item[n] = v->u.list->item[i];
        i += n + 1 < at[3] ? at[2] : 0;
    }
    out->u.list->count = (uint32_t)at[3];
    return true;
}

bool jinja_get_path(struct jinja_run *r, const struct jinja_value *v, const struct jinja_value *path,
                    struct jinja_value *out) {
    *out = *v;
    if (path->type != JV_STRING) {
        return jinja_get_item(r, v, path, out);
    }
    struct span rest = jv_span(path);
    for (bool more = true; more;) {
        size_t dot = jinja_find(rest, span_of_text("."), 0);
        more = dot != SIZE_MAX;
        struct span part = span_sub(rest, 0, more ? dot : rest.len);
        rest = span_sub(rest, more ? dot + 1 : rest.len, rest.len);
        int64_t number = 0;
        struct jinja_value key = jv_view(part);
        if (part.len != 0 && part.ptr[0] >= '0' && part.ptr[0] <= '9' && jinja_parse_int(part, 10, &number)) {
            key = jv_int(number);
        }
        struct jinja_value from = *out;
        if (!jinja_get_item(r, &from, &key, out)) {
            return false;
        }
    }
    return true;
}

bool jinja_need_int(struct jinja_run *r, const struct jinja_value *v, int64_t fallback, int64_t *out) {
    if (v->type == JV_ABSENT) {
        *out = fallback;
        return true;
    }
    if (v->type == JV_UNDEFINED) {
        return jinja_fail_undefined(r, v);
    }
    if (v->type != JV_INT && v->type != JV_BOOL) {
        return jinja_fail(r, LAMINA_DAMAGED, "'%s' object cannot be interpreted as an integer", jinja_type_name(v));
    }
    *out = v->u.i;
    return true;
}

bool jinja_need_string(struct jinja_run *r, const struct jinja_value *v, const char *what, struct span *out) {
    if (v->type == JV_UNDEFINED) {
        return jinja_fail_undefined(r, v);
    }
    if (v->type != JV_STRING) {
        return jinja_fail(r, LAMINA_DAMAGED, "%s must be str, not %s", what, jinja_type_name(v));
    }
    *out = jv_span(v);
    return true;
}
