/* SPDX-License-Identifier: Apache-2.0
 *
 * Truth, equality, order, membership and sorting, as Python defines them: numbers compare across int, float and bool,
 * strings by code point (which for UTF-8 is byte order), sequences item by item, and everything else refuses to be
 * ordered. Nesting is bounded; every compared item counts as a step, for shared lists can be exponentially wide.
 */
#include <math.h>

#include "text/jinja_priv.h"

bool jinja_truth(const struct jinja_value *v) {
    uint64_t length = 0;
    switch ((enum jinja_type)v->type) {
    case JV_NONE:
    case JV_UNDEFINED:
    case JV_ABSENT:
        return false;
    case JV_BOOL:
    case JV_INT:
        return v->u.i != 0;
    case JV_FLOAT:
        return v->u.d != 0; /* NaN is true, as in Python */
    case JV_STRING:
        return v->len != 0;
    default:
        return !jinja_length(v, &length) || length != 0;
    }
}

static bool is_number(const struct jinja_value *v) {
    return v->type == JV_BOOL || v->type == JV_INT || v->type == JV_FLOAT;
}

/* -1, 0, 1, or 2 when a NaN is involved. Exact also where the int has no double. */
static int compare_int_double(int64_t i, double d) {
    if (isnan(d)) {
        return 2;
    }
    if (d >= 9223372036854775808.0) {
        return -1;
    }
    if (d < -9223372036854775808.0) {
        return 1;
    }
    int64_t whole = (int64_t)d;
    if (i != whole) {
        return i < whole ? -1 : 1;
    }
    double rest = d - (double)whole;
    return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

static int compare_numbers(const struct jinja_value *a, const struct jinja_value *b) {
    if (a->type == JV_FLOAT && b->type == JV_FLOAT) {
        return isnan(a->u.d) || isnan(b->u.d) ? 2 : (a->u.d > b->u.d) - (a->u.d < b->u.d);
    }
    if (a->type == JV_FLOAT) {
        int c = compare_int_double(b->u.i, a->u.d);
        return c == 2 ? 2 : -c;
    }
    if (b->type == JV_FLOAT) {
        return compare_int_double(a->u.i, b->u.d);
    }
    return (a->u.i > b->u.i) - (a->u.i < b->u.i);
}

static int compare_text(const struct jinja_value *a, const struct jinja_value *b) {
    uint32_t n = a->len < b->len ? a->len : b->len;
    int c = n != 0 ? memcmp(a->u.s, b->u.s, n) : 0;
    return c != 0 ? (c > 0) - (c < 0) : (a->len > b->len) - (a->len < b->len);
}

static uint64_t mix(uint64_t h) {
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return h ^ h >> 32;
}

/* Keys come from clients, so equal hashes must not be computable from outside: the place of this object, which address
 * space randomisation moves, is mixed in. No result depends on it, for dicts keep the order of insertion. */
static const char hash_salt = 0;

static uint64_t hash_at(const struct jinja_value *v, bool *hashable, unsigned depth) {
    uint64_t h = 0;
    switch ((enum jinja_type)v->type) {
    case JV_STRING:
        h = 0xCBF29CE484222325u ^ mix((uint64_t)(uintptr_t)&hash_salt);
        for (uint32_t i = 0; i < v->len; i++) {
            h = (h ^ (uint8_t)v->u.s[i]) * 0x100000001B3u;
        }
        return mix(h);
    case JV_FLOAT:
        if (v->u.d >= -9.2e18 && v->u.d <= 9.2e18 && (double)(int64_t)v->u.d == v->u.d) {
            return mix((uint64_t)(int64_t)v->u.d);
        }
        memcpy(&h, &v->u.d, sizeof(h));
        return mix(h);
    case JV_BOOL:
    case JV_INT:
        return mix((uint64_t)v->u.i);
    case JV_TUPLE:
        for (uint32_t i = 0; depth < JINJA_VALUE_DEPTH && *hashable && i < v->u.list->count; i++) {
            h = mix(h * 31 + hash_at(&v->u.list->item[i], hashable, depth + 1));
        }
        *hashable = *hashable && depth < JINJA_VALUE_DEPTH;
        return h;
    case JV_LIST:
    case JV_DICT:
        *hashable = false;
        return 0;
    case JV_VIEW:
        *hashable = v->flag == JVF_VALUES;
        return mix((uint64_t)(uintptr_t)v->u.s);
    case JV_UNDEFINED:
    case JV_NONE:
        return v->type;
    default:
        return mix((uint64_t)(uintptr_t)v->u.s);
    }
}

uint64_t jinja_hash(const struct jinja_value *v, bool *hashable) {
    return hash_at(v, hashable, 0);
}

static bool key_equal_at(const struct jinja_value *a, const struct jinja_value *b, unsigned depth) {
    if (is_number(a) && is_number(b)) {
        return compare_numbers(a, b) == 0;
    }
    if (a->type != b->type) {
        return false;
    }
    if (a->type == JV_STRING) {
        return span_equal(jv_span(a), jv_span(b));
    }
    if (a->type == JV_TUPLE) {
        bool same = a->u.list->count == b->u.list->count && depth < JINJA_VALUE_DEPTH;
        for (uint32_t i = 0; same && i < a->u.list->count; i++) {
            same = key_equal_at(&a->u.list->item[i], &b->u.list->item[i], depth + 1);
        }
        return same;
    }
    return a->type == JV_NONE || a->type == JV_UNDEFINED || a->u.s == b->u.s;
}

bool jinja_key_equal(const struct jinja_value *a, const struct jinja_value *b) {
    return key_equal_at(a, b, 0);
}

static bool equal_at(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b, unsigned depth,
                     bool *equal);

static bool equal_dicts(struct jinja_run *r, const struct jinja_dict *a, const struct jinja_dict *b, unsigned depth,
                        bool *equal) {
    *equal = a->count == b->count;
    for (uint32_t i = 0; *equal && i < a->count; i++) {
        const struct jinja_value *other = jinja_dict_get(b, &a->pair[i].key, NULL);
        if (other == NULL) {
            *equal = false;
        } else if (!equal_at(r, &a->pair[i].value, other, depth + 1, equal)) {
            return false;
        }
    }
    return true;
}

static bool equal_lists(struct jinja_run *r, const struct jinja_list *a, const struct jinja_list *b, unsigned depth,
                        bool *equal) {
    *equal = a->count == b->count;
    for (uint32_t i = 0; *equal && i < a->count; i++) {
        if (!equal_at(r, &a->item[i], &b->item[i], depth + 1, equal)) {
            return false;
        }
    }
    return true;
}

static bool equal_at(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b, unsigned depth,
                     bool *equal) {
    if (depth > JINJA_VALUE_DEPTH) {
        return jinja_fail(r, LAMINA_NO_FIT, "values nested too deeply to be compared");
    }
    if (!jinja_step(r, 1)) {
        return false;
    }
    if (is_number(a) && is_number(b)) {
        *equal = compare_numbers(a, b) == 0;
        return true;
    }
    if (a->type != b->type) {
        *equal = false;
        return true;
    }
    switch ((enum jinja_type)a->type) {
    case JV_STRING:
        *equal = a->len == b->len && compare_text(a, b) == 0;
        return jinja_step(r, a->len / 64);
    case JV_LIST:
    case JV_TUPLE:
        return equal_lists(r, a->u.list, b->u.list, depth, equal);
    case JV_DICT:
        return equal_dicts(r, a->u.dict, b->u.dict, depth, equal);
    case JV_RANGE:
        *equal = a->u.range->count == b->u.range->count &&
                 (a->u.range->count == 0 || (a->u.range->begin == b->u.range->begin &&
                                             (a->u.range->count == 1 || a->u.range->step == b->u.range->step)));
        return true;
    case JV_NONE:
    case JV_UNDEFINED:
        *equal = true;
        return true;
    default:
        *equal = a->u.s == b->u.s;
        return true;
    }
}

bool jinja_equal(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b, bool *equal) {
    return equal_at(r, a, b, 0, equal);
}

/* Sets *order to -1, 0, 1 or 2 (unordered, a NaN). */
static bool order_at(struct jinja_run *r, const struct jinja_value *a, const struct jinja_value *b, const char *sign,
                     unsigned depth, int *order) {
    if (!jinja_step(r, 1) || depth > JINJA_VALUE_DEPTH) {
        return jinja_fail(r, LAMINA_NO_FIT, "values nested too deeply to be compared");
    }
    if (is_number(a) && is_number(b)) {
        *order = compare_numbers(a, b);
        return true;
    }
    if (a->type == JV_STRING && b->type == JV_STRING) {
        *order = compare_text(a, b);
        return jinja_step(r, (a->len < b->len ? a->len : b->len) / 64);
    }
    if ((a->type == JV_LIST || a->type == JV_TUPLE) && a->type == b->type) {
        const struct jinja_list *x = a->u.list;
        const struct jinja_list *y = b->u.list;
        for (uint32_t i = 0; i < x->count && i < y->count; i++) {
            bool same = false;
            if (!equal_at(r, &x->item[i], &y->item[i], depth, &same)) {
                return false;
            }
            if (!same) {
                return order_at(r, &x->item[i], &y->item[i], sign, depth + 1, order);
            }
        }
        *order = (x->count > y->count) - (x->count < y->count);
        return true;
    }
    if (a->type == JV_UNDEFINED || b->type == JV_UNDEFINED) {
        return jinja_fail_undefined(r, a->type == JV_UNDEFINED ? a : b);
    }
    return jinja_fail(r, LAMINA_DAMAGED, "'%s' not supported between instances of '%s' and '%s'", sign,
                      jinja_type_name(a), jinja_type_name(b));
}

static bool contains(struct jinja_run *r, const struct jinja_value *item, const struct jinja_value *in, bool *found) {
    *found = false;
    if (in->type == JV_STRING) {
        if (item->type != JV_STRING) {
            return jinja_fail(r, LAMINA_DAMAGED, "'in <string>' requires string as left operand, not %s",
                              jinja_type_name(item));
        }
        *found = jinja_find(jv_span(in), jv_span(item), 0) != SIZE_MAX;
        return jinja_step(r, in->len / 64);
    }
    if (in->type == JV_DICT || (in->type == JV_VIEW && in->flag == JVF_KEYS)) {
        bool hashable = true;
        *found = jinja_dict_get(in->u.dict, item, &hashable) != NULL;
        return hashable || jinja_fail(r, LAMINA_DAMAGED, "unhashable type: '%s'", jinja_type_name(item));
    }
    struct jinja_walk w;
    struct jinja_value one;
    if (!jinja_walk_begin(r, in, &w)) {
        return false;
    }
    while (!*found && jinja_walk_next(r, &w, &one)) {
        if (!jinja_equal(r, item, &one, found)) {
            return false;
        }
    }
    return r->failed == LAMINA_OK;
}

bool jinja_compare(struct jinja_run *r, enum jinja_op op, const struct jinja_value *a, const struct jinja_value *b,
                   bool *result) {
    static const char *const signs[] = {[OP_LT] = "<", [OP_LE] = "<=", [OP_GT] = ">", [OP_GE] = ">="};
    int order = 0;
    bool yes = false;
    switch (op) {
    case OP_EQ:
    case OP_NE:
        if (!jinja_equal(r, a, b, &yes)) {
            return false;
        }
        *result = yes == (op == OP_EQ);
        return true;
    case OP_IN:
    case OP_NOT_IN:
        if (!contains(r, a, b, &yes)) {
            return false;
        }
        *result = yes == (op == OP_IN);
        return true;
    case OP_LT:
    case OP_LE:
    case OP_GT:
    case OP_GE:
        if (!order_at(r, a, b, signs[op], 0, &order)) {
            return false;
        }
        *result = op == OP_LT   ? order == -1
                  : op == OP_LE ? order == -1 || order == 0
                  : op == OP_GT ? order == 1
                                : order == 1 || order == 0;
        return true;
    default:
        return jinja_fail(r, LAMINA_UNEXPECTED, "not a comparison");
    }
}

/* One merge of the bottom-up merge sort; stable, and reversed order keeps equal items in place as Python does. */
static bool merge(struct jinja_run *r, struct jinja_pair *from, struct jinja_pair *to, const size_t at[3],
                  bool reverse) {
    size_t i = at[0];
    size_t j = at[1];
    for (size_t k = at[0]; k < at[2]; k++) {
        bool take_right = i >= at[1];
        if (i < at[1] && j < at[2]) {
            const struct jinja_value *left = &from[i].key;
            const struct jinja_value *right = &from[j].key;
            if (!jinja_compare(r, OP_LT, reverse ? left : right, reverse ? right : left, &take_right)) {
                return false;
            }
        }
        to[k] = take_right ? from[j++] : from[i++];
    }
    return true;
}

bool jinja_sort(struct jinja_run *r, struct jinja_pair *key_value, size_t count, bool reverse) {
    struct jinja_pair *other = (struct jinja_pair *)jinja_take(r, count, sizeof(*other));
    struct jinja_pair *from = key_value;
    struct jinja_pair *to = other;
    if (other == NULL) {
        return false;
    }
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * width) {
            size_t at[3] = {begin, begin + width, begin + 2 * width};
            at[1] = at[1] < count ? at[1] : count;
            at[2] = at[2] < count ? at[2] : count;
            if (!merge(r, from, to, at, reverse)) {
                return false;
            }
        }
        struct jinja_pair *swap = from;
        from = to;
        to = swap;
    }
    if (from != key_value) {
        memcpy(key_value, from, count * sizeof(*from));
    }
    return true;
}
