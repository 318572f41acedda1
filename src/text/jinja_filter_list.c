/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters over sequences: order, shape, aggregates. What jinja2 makes a generator is an iterator here too: it can be
 * walked once and has no length. Items are computed at once, which a template can only notice by an error coming early.
 */
#include "text/jinja_priv.h"

static bool given(const struct jinja_value *v) {
    return v->type != JV_ABSENT && v->type != JV_NONE;
}

static bool is_true(const struct jinja_value *v) {
    return v->type != JV_ABSENT && jinja_truth(v);
}

/* Strings compare without case unless the filter was told otherwise. */
static bool fold_case(struct jinja_run *r, bool case_sensitive, struct jinja_value *v) {
    if (case_sensitive || v->type != JV_STRING) {
        return true;
    }
    size_t mark = r->scratch.len;
    jinja_add_cased(&r->scratch, jv_span(v), CASE_LOWER);
    return jinja_step(r, v->len / 64) && jinja_build_end(r, mark, v);
}

static bool key_of(struct jinja_run *r, const struct jinja_value *item, const struct jinja_value *attribute,
                   bool case_sensitive, struct jinja_value *key) {
    *key = *item;
    return (!given(attribute) || jinja_get_path(r, item, attribute, key)) && fold_case(r, case_sensitive, key);
}

static bool f_first(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_walk w;
    if (!jinja_walk_begin(r, &a[0], &w)) {
        return false;
    }
    if (!jinja_walk_next(r, &w, out)) {
        *out = jv_undefined(span_of_text("the first item of an empty sequence"), JV_ABSENT);
    }
    return r->failed == LAMINA_OK;
}

static bool f_last(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_value list;
    if (a[0].type == JV_ITERATOR) {
        return jinja_fail(r, LAMINA_DAMAGED, "'%s' object is not reversible", jinja_type_name(&a[0]));
    }
    if (a[0].type == JV_STRING && a[0].len != 0) {
        size_t begin = a[0].len;
        (void)jinja_previous_char(jv_span(&a[0]), &begin);
        *out = jv_view(span_sub(jv_span(&a[0]), begin, a[0].len));
        return true;
    }
    if (!jinja_to_list(r, &a[0], &list)) {
        return false;
    }
    const struct jinja_list *l = list.u.list;
    *out = l->count != 0 ? l->item[l->count - 1]
                         : jv_undefined(span_of_text("the last item of an empty sequence"), JV_ABSENT);
    return true;
}

static bool f_length(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    uint64_t length = 0;
    if (a[0].type == JV_NAMESPACE || !jinja_length(&a[0], &length)) {
        if (a[0].type == JV_LOOP) {
            *out = jv_int((int64_t)a[0].u.loop->walk.length);
            return true;
        }
        return jinja_fail(r, LAMINA_DAMAGED, "object of type '%s' has no len()", jinja_type_name(&a[0]));
    }
    *out = jv_int((int64_t)length);
    return jinja_step(r, a[0].type == JV_STRING ? length / 64 : 0);
}

static bool f_list(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return jinja_to_list(r, &a[0], out);
}

static bool f_join(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_value separator = jv_text("");
    struct jinja_value item;
    struct jinja_walk w;
    if ((a[1].type != JV_ABSENT && !jinja_to_string(r, &a[1], &separator)) || !jinja_walk_begin(r, &a[0], &w)) {
        return false;
    }
    size_t mark = r->scratch.len;
    for (bool first = true; jinja_walk_next(r, &w, &item); first = false) {
        struct jinja_value part = item;
        if (!jinja_step(r, 1) || (given(&a[2]) && !jinja_get_path(r, &item, &a[2], &part))) {
            return false;
        }
        if (!first) {
            str_add_span(&r->scratch, jv_span(&separator));
        }
        if (!jinja_print(r, &r->scratch, &part)) {
            return false;
        }
    }
    return r->failed == LAMINA_OK && jinja_build_end(r, mark, out);
}

static bool reverse_text(struct jinja_run *r, struct span text, struct jinja_value *out) {
    size_t mark = r->scratch.len;
    for (size_t end = text.len; end > 0;) {
        size_t begin = end;
        (void)jinja_previous_char(text, &begin);
        str_add(&r->scratch, text.ptr + begin, end - begin);
        end = begin;
    }
    return jinja_step(r, text.len / 64) && jinja_build_end(r, mark, out);
}

static bool f_reverse(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_value list;
    if (a[0].type == JV_STRING) {
        return reverse_text(r, jv_span(&a[0]), out);
    }
    if (!jinja_to_list(r, &a[0], &list)) {
        return false;
    }
    struct jinja_list *l = list.u.list;
    for (uint32_t i = 0; i < l->count / 2; i++) {
        struct jinja_value swap = l->item[i];
        l->item[i] = l->item[l->count - 1 - i];
        l->item[l->count - 1 - i] = swap;
    }
    if (a[0].type == JV_ITERATOR || a[0].type == JV_UNDEFINED) { /* what reversed() refuses becomes a list */
        *out = list;
        return true;
    }
    if (!jinja_iterator_new(r, "list_reverseiterator", out)) {
        return false;
    }
    out->u.iterator->list = *l;
    return true;
}

/* ---- sorting ----------------------------------------------------------------------------------------------------- */

/* A sort key as jinja2 makes it: a list of one or several attributes ("age,name"). That it is a list matters: items of
 * lists are compared for equality first, so values without an order may still be sorted where they are equal. */
static bool sort_key(struct jinja_run *r, const struct jinja_value *item, const struct jinja_value *attribute,
                     bool case_sensitive, struct jinja_value *key) {
    struct jinja_value part;
    if (!jinja_list_new(r, JV_LIST, 1, key)) {
        return false;
    }
    if (attribute->type != JV_STRING) {
        return key_of(r, item, attribute, case_sensitive, &part) && jinja_list_add(r, key->u.list, part);
    }
    struct span rest = jv_span(attribute);
    for (bool more = true; more;) {
        size_t comma = jinja_find(rest, span_of_text(","), 0);
        more = comma != SIZE_MAX;
        struct jinja_value one = jv_view(span_sub(rest, 0, more ? comma : rest.len));
        rest = span_sub(rest, more ? comma + 1 : rest.len, rest.len);
        if (!key_of(r, item, &one, case_sensitive, &part) || !jinja_list_add(r, key->u.list, part)) {
            return false;
        }
    }
    return true;
}

struct order {
    bool case_sensitive, reverse, as_list; /* as_list: keys by sort_key, else by key_of */
};

/* Pairs of (key, item) for every item of v, sorted. */
static bool sorted_pairs(struct jinja_run *r, const struct jinja_value *v, const struct jinja_value *attribute,
                         struct order how, struct jinja_pair **pairs, uint32_t *count) {
    struct jinja_value list;
    if (!jinja_to_list(r, v, &list)) {
        return false;
    }
    *count = list.u.list->count;
    *pairs = (struct jinja_pair *)jinja_take(r, *count, sizeof(**pairs));
    if (*pairs == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < *count; i++) {
        (*pairs)[i].value = list.u.list->item[i];
        const struct jinja_value *item = &list.u.list->item[i];
        struct jinja_value *key = &(*pairs)[i].key;
        if (!(how.as_list ? sort_key(r, item, attribute, how.case_sensitive, key)
                          : key_of(r, item, attribute, how.case_sensitive, key))) {
            return false;
        }
    }
    return jinja_sort(r, *pairs, *count, how.reverse);
}

static bool values_of(struct jinja_run *r, const struct jinja_pair *pairs, uint32_t count, struct jinja_value *out) {
    if (!jinja_list_new(r, JV_LIST, count, out)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        out->u.list->item[i] = pairs[i].value;
    }
    out->u.list->count = count;
    return true;
}

static bool f_sort(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct order how = {.case_sensitive = is_true(&a[2]), .reverse = is_true(&a[1]), .as_list = true};
    struct jinja_pair *pairs = NULL;
    uint32_t count = 0;
    return sorted_pairs(r, &a[0], &a[3], how, &pairs, &count) && values_of(r, pairs, count, out);
}

static bool f_dictsort(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct order how = {.case_sensitive = is_true(&a[1]), .reverse = is_true(&a[3])};
    bool by_value = a[2].type == JV_STRING && span_is(jv_span(&a[2]), "value");
    if (a[2].type != JV_ABSENT && !by_value && (a[2].type != JV_STRING || !span_is(jv_span(&a[2]), "key"))) {
        return jinja_fail(r, LAMINA_DAMAGED, "dictsort can only sort by either \"key\" or \"value\"");
    }
    if (a[0].type != JV_DICT) {
        return a[0].type == JV_UNDEFINED
                   ? jinja_fail_undefined(r, &a[0])
                   : jinja_fail(r, LAMINA_DAMAGED, "'%s' object has no attribute 'items'", jinja_type_name(&a[0]));
    }
    struct jinja_value items = a[0];
    struct jinja_value place = jv_int(by_value);
    struct jinja_pair *pairs = NULL;
    uint32_t count = 0;
    items.type = JV_VIEW;
    items.flag = JVF_ITEMS;
    return sorted_pairs(r, &items, &place, how, &pairs, &count) && values_of(r, pairs, count, out);
}

static bool f_groupby(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct order how = {.case_sensitive = is_true(&a[3])};
    struct jinja_pair *pairs = NULL;
    uint32_t count = 0;
    if (a[2].type != JV_ABSENT) {
        return jinja_fail(r, LAMINA_UNSUPPORTED, "groupby with a default is not supported");
    }
    if (!sorted_pairs(r, &a[0], &a[1], how, &pairs, &count) || !jinja_list_new(r, JV_LIST, 0, out)) {
        return false;
    }
    for (uint32_t i = 0; i < count;) {
        struct jinja_value group;
        struct jinja_value list;
        struct jinja_value key;
        bool same = true;
        if (!key_of(r, &pairs[i].value, &a[1], true, &key) || !jinja_list_new(r, JV_LIST, 0, &list) ||
            !jinja_tuple2(r, key, list, &group)) {
            return false;
        }
        group.flag = JVF_GROUP;
        for (uint32_t first = i; i < count && same;) {
            if (!jinja_list_add(r, list.u.list, pairs[i++].value) ||
                (i < count && !jinja_equal(r, &pairs[first].key, &pairs[i].key, &same))) {
                return false;
            }
        }
        if (!jinja_list_add(r, out->u.list, group)) {
            return false;
        }
    }
    return true;
}

static bool f_unique(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_walk w;
    struct jinja_value item;
    struct jinja_value key;
    struct jinja_value seen;
    if (!jinja_walk_begin(r, &a[0], &w) || !jinja_dict_new(r, JV_DICT, &seen) ||
        !jinja_iterator_new(r, "generator", out)) {
        return false;
    }
    while (jinja_walk_next(r, &w, &item)) {
        if (!jinja_step(r, 1) || !key_of(r, &item, &a[2], is_true(&a[1]), &key)) {
            return false;
        }
        if (jinja_dict_get(seen.u.dict, &key, NULL) == NULL &&
            (!jinja_dict_set(r, seen.u.dict, key, jv_none()) ||
             !jinja_list_add(r, &out->u.iterator->list, item))) {
            return false;
        }
    }
    return r->failed == LAMINA_OK;
}

static bool min_or_max(struct jinja_run *r, struct jinja_value *a, enum jinja_op op, struct jinja_value *out) {
    struct jinja_walk w;
    struct jinja_value item;
    struct jinja_value key;
    struct jinja_value best;
    if (!jinja_walk_begin(r, &a[0], &w)) {
        return false;
    }
    *out = jv_undefined(span_of_text("an aggregate of an empty sequence"), JV_ABSENT);
    for (bool better = true; jinja_walk_next(r, &w, &item);) {
        bool first = out->type == JV_UNDEFINED && better;
        if (!key_of(r, &item, &a[2], is_true(&a[1]), &key) ||
            (!first && !jinja_compare(r, op, &key, &best, &better))) {
            return false;
        }
        if (better) {
            *out = item;
            best = key;
        }
        better = false;
    }
    return r->failed == LAMINA_OK;
}

static bool f_min(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return min_or_max(r, a, OP_LT, out);
}

static bool f_max(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return min_or_max(r, a, OP_GT, out);
}

static bool f_sum(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_walk w;
    struct jinja_value item;
    struct jinja_value sum = a[2].type == JV_ABSENT ? jv_int(0) : a[2];
    if (!jinja_walk_begin(r, &a[0], &w)) {
        return false;
    }
    if (sum.type == JV_STRING) {
        return jinja_fail(r, LAMINA_DAMAGED, "sum() can't sum strings [use ''.join(seq) instead]");
    }
    while (jinja_walk_next(r, &w, &item)) {
        struct jinja_value part = item;
        if (!jinja_step(r, 1) || (given(&a[1]) && !jinja_get_path(r, &item, &a[1], &part)) ||
            !jinja_arith(r, OP_ADD, &sum, &part, out)) {
            return false;
        }
        sum = *out;
    }
    *out = sum;
    return r->failed == LAMINA_OK;
}

/* ---- shape ------------------------------------------------------------------------------------------------------- */

static bool fill(struct jinja_run *r, struct jinja_list *l, int64_t until, const struct jinja_value *with) {
    while (given(with) && l->count < until) {
        if (!jinja_step(r, 1) || !jinja_list_add(r, l, *with)) {
            return false;
        }
    }
    return true;
}

static bool f_batch(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    int64_t size = 0;
    struct jinja_walk w;
    struct jinja_value item;
    struct jinja_value row = {.type = JV_ABSENT};
    if (!jinja_need_int(r, &a[1], 0, &size) || !jinja_walk_begin(r, &a[0], &w) ||
        !jinja_iterator_new(r, "generator", out)) {
        return false;
    }
    while (jinja_walk_next(r, &w, &item)) {
        bool full = row.type != JV_ABSENT && row.u.list->count == size;
        if (full && !jinja_list_add(r, &out->u.iterator->list, row)) {
            return false;
        }
        if (((full || row.type == JV_ABSENT) && !jinja_list_new(r, JV_LIST, 0, &row)) ||
            !jinja_list_add(r, row.u.list, item)) {
            return false;
        }
    }
    if (row.type == JV_ABSENT) {
        return r->failed == LAMINA_OK;
    }
    return r->failed == LAMINA_OK && fill(r, row.u.list, size, &a[2]) &&
           jinja_list_add(r, &out->u.iterator->list, row);
}

static bool f_slice(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    int64_t slices = 0;
    struct jinja_value all;
    if (!jinja_need_int(r, &a[1], 0, &slices) || !jinja_to_list(r, &a[0], &all) ||
        !jinja_iterator_new(r, "generator", out)) {
        return false;
    }
    if (slices == 0) {
        return jinja_fail(r, LAMINA_DAMAGED, "integer division or modulo by zero");
    }
    int64_t count = all.u.list->count;
    int64_t at = 0;
    for (int64_t i = 0; i < slices; i++) {
        struct jinja_value row;
        int64_t size = count / slices + (i < count % slices);
        if (!jinja_step(r, 1) || !jinja_list_new(r, JV_LIST, (size_t)size, &row)) {
            return false;
        }
        for (int64_t k = 0; k < size; k++) {
            row.u.list->item[row.u.list->count++] = all.u.list->item[at++];
        }
        if ((i >= count % slices && !fill(r, row.u.list, size + 1, &a[2])) ||
            !jinja_list_add(r, &out->u.iterator->list, row)) {
            return false;
        }
    }
    return true;
}

static bool f_items(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_value pair;
    if (a[0].type != JV_DICT && a[0].type != JV_UNDEFINED) {
        return jinja_fail(r, LAMINA_DAMAGED, "Can only get item pairs from a mapping.");
    }
    if (!jinja_iterator_new(r, "generator", out)) {
        return false;
    }
    for (uint32_t i = 0; a[0].type == JV_DICT && i < a[0].u.dict->count; i++) {
        const struct jinja_pair *p = &a[0].u.dict->pair[i];
        if (!jinja_tuple2(r, p->key, p->value, &pair) || !jinja_list_add(r, &out->u.iterator->list, pair)) {
            return false;
        }
    }
    return true;
}

static const struct jinja_callable rows[] = {
    {"first", "seq", 1, f_first, NULL},
    {"last", "seq", 1, f_last, NULL},
    {"length", "/obj", 1, f_length, NULL},
    {"count", "/obj", 1, f_length, NULL},
    {"list", "value", 1, f_list, NULL},
    {"join", "value d attribute", 1, f_join, NULL},
    {"reverse", "value", 1, f_reverse, NULL},
    {"sort", "value reverse case_sensitive attribute", 1, f_sort, NULL},
    {"dictsort", "value case_sensitive by reverse", 1, f_dictsort, NULL},
    {"groupby", "value attribute default case_sensitive", 2, f_groupby, NULL},
    {"unique", "value case_sensitive attribute", 1, f_unique, NULL},
    {"min", "value case_sensitive attribute", 1, f_min, NULL},
    {"max", "value case_sensitive attribute", 1, f_max, NULL},
    {"sum", "iterable attribute start", 1, f_sum, NULL},
    {"batch", "value linecount fill_with", 2, f_batch, NULL},
    {"slice", "value slices fill_with", 2, f_slice, NULL},
    {"items", "value", 1, f_items, NULL},
};

const struct jinja_callable *jinja_filters_list(size_t *count) {
    *count = ARRAY_LEN(rows);
    return rows;
}
