/* SPDX-License-Identifier: Apache-2.0
 *
 * Methods by type, and those of lists, tuples, dicts and loop. Only what stands in these tables can be called: there is
 * no way from a value to anything else. Methods that change a list or dict work, as some vendors' templates need them.
 */
#include "text/jinja_priv.h"

static struct jinja_value *list_at(struct jinja_list *l, int64_t index) {
    index = index < 0 ? index + l->count : index;
    return index < 0 || index >= l->count ? NULL : &l->item[index];
}

static void list_drop(struct jinja_list *l, size_t at) {
    memmove(&l->item[at], &l->item[at + 1], (l->count - at - 1) * sizeof(*l->item));
    l->count--;
}

static bool m_append(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_list *l = a[0].u.list;
    *out = jv_none();
    return jinja_list_add(r, l, a[1]);
}

static bool m_extend(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_value more;
    struct jinja_list *l = a[0].u.list;
    if (!jinja_to_list(r, &a[1], &more)) {
        return false;
    }
    for (uint32_t i = 0; i < more.u.list->count; i++) {
        if (!jinja_list_add(r, l, more.u.list->item[i])) {
            return false;
        }
    }
    *out = jv_none();
    return true;
}

static bool m_insert(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_list *l = a[0].u.list;
    int64_t at = 0;
    if (!jinja_need_int(r, &a[1], 0, &at) || !jinja_step(r, l->count / 64) || !jinja_list_add(r, l, a[2])) {
        return false;
    }
    int64_t last = (int64_t)l->count - 1;
    at = at < 0 ? (at + last < 0 ? 0 : at + last) : at > last ? last : at;
    memmove(&l->item[at + 1], &l->item[at], (size_t)(last - at) * sizeof(*l->item));
    l->item[at] = a[2];
    *out = jv_none();
    return true;
}

static bool m_list_pop(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_list *l = a[0].u.list;
    int64_t at = -1;
    if (!jinja_need_int(r, &a[1], -1, &at) || !jinja_step(r, l->count / 64)) {
        return false;
    }
    struct jinja_value *hit = list_at(l, at);
    if (hit == NULL) {
        return jinja_fail(r, LAMINA_DAMAGED, l->count == 0 ? "pop from empty list" : "pop index out of range");
    }
    *out = *hit;
    list_drop(l, (size_t)(hit - l->item));
    return true;
}

/* The place of the first item equal to a[1], or UINT32_MAX. */
static bool list_find(struct jinja_run *r, const struct jinja_value *a, uint32_t *at) {
    const struct jinja_list *l = a[0].u.list;
    bool same = false;
    for (*at = 0; *at < l->count; (*at)++) {
        if (!jinja_equal(r, &l->item[*at], &a[1], &same)) {
            return false;
        }
        if (same) {
            return true;
        }
    }
    *at = UINT32_MAX;
    return true;
}

static bool m_list_index(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    uint32_t at = 0;
    if (!list_find(r, a, &at)) {
        return false;
    }
    *out = jv_int(at);
    return at != UINT32_MAX || jinja_fail(r, LAMINA_DAMAGED, "the value is not in the list");
}

static bool m_list_count(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    const struct jinja_list *l = a[0].u.list;
    int64_t count = 0;
    bool same = false;
    for (uint32_t i = 0; i < l->count; i++) {
        if (!jinja_equal(r, &l->item[i], &a[1], &same)) {
            return false;
        }
        count += same;
    }
    *out = jv_int(count);
    return true;
}

static bool m_remove(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    uint32_t at = 0;
    struct jinja_list *l = a[0].u.list;
    if (!list_find(r, a, &at)) {
        return false;
    }
    if (at == UINT32_MAX) {
        return jinja_fail(r, LAMINA_DAMAGED, "list.remove(x): x not in list");
    }
    list_drop(l, at);
    *out = jv_none();
    return true;
}

static bool m_list_reverse(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_list *l = a[0].u.list;
    for (uint32_t i = 0; i < l->count / 2; i++) {
        struct jinja_value swap = l->item[i];
        l->item[i] = l->item[l->count - 1 - i];
        l->item[l->count - 1 - i] = swap;
    }
    *out = jv_none();
    return jinja_step(r, l->count / 16);
}

static bool m_list_copy(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return jinja_to_list(r, &a[0], out);
}

static bool m_list_clear(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    a[0].u.list->count = 0;
    *out = jv_none();
    return jinja_step(r, 1);
}

/* ---- dicts ------------------------------------------------------------------------------------------------------- */

static bool need_key(struct jinja_run *r, const struct jinja_value *key) {
    bool hashable = true;
    (void)jinja_hash(key, &hashable);
    return hashable || jinja_fail(r, LAMINA_DAMAGED, "unhashable type: '%s'", jinja_type_name(key));
}

static bool m_get(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    if (!need_key(r, &a[1])) {
        return false;
    }
    const struct jinja_value *hit = jinja_dict_get(a[0].u.dict, &a[1], NULL);
    *out = hit != NULL ? *hit : a[2].type != JV_ABSENT ? a[2] : jv_none();
    return true;
}

static bool m_setdefault(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_dict *d = a[0].u.dict;
    if (!m_get(r, a, out)) {
        return false;
    }
    return jinja_dict_get(d, &a[1], NULL) != NULL || jinja_dict_set(r, d, a[1], *out);
}

static bool m_dict_pop(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_dict *d = a[0].u.dict;
    if (!need_key(r, &a[1]) || !jinja_step(r, d->count / 16)) {
        return false;
    }
    const struct jinja_value *hit = jinja_dict_get(d, &a[1], NULL);
    if (hit == NULL && a[2].type == JV_ABSENT) {
        struct jinja_value key;
        return jinja_to_string(r, &a[1], &key) &&
               jinja_fail(r, LAMINA_DAMAGED, "KeyError: '%.*s'", (int)(key.len < 80 ? key.len : 80), key.u.s);
    }
    *out = hit != NULL ? *hit : a[2];
    if (hit != NULL) {
        (void)jinja_dict_remove(d, &a[1]);
    }
    return true;
}

static bool m_popitem(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_dict *d = a[0].u.dict;
    if (d->count == 0) {
        return jinja_fail(r, LAMINA_DAMAGED, "popitem(): dictionary is empty");
    }
    struct jinja_pair last = d->pair[d->count - 1];
    (void)jinja_dict_remove(d, &last.key);
    return jinja_step(r, d->count / 16) && jinja_tuple2(r, last.key, last.value, out);
}

static bool view(const struct jinja_value *self, uint8_t flag, struct jinja_value *out) {
    *out = (struct jinja_value){.type = JV_VIEW, .flag = flag, .u.dict = self->u.dict};
    return true;
}

static bool m_items(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    (void)r;
    return view(a, JVF_ITEMS, out);
}

static bool m_keys(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    (void)r;
    return view(a, JVF_KEYS, out);
}

static bool m_values(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    (void)r;
    return view(a, JVF_VALUES, out);
}

static bool merge(struct jinja_run *r, struct jinja_dict *into, const struct jinja_dict *from) {
    for (uint32_t i = 0; i < from->count; i++) {
        if (!jinja_step(r, 1) || !jinja_dict_set(r, into, from->pair[i].key, from->pair[i].value)) {
            return false;
        }
    }
    return true;
}

static bool m_dict_copy(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    const struct jinja_dict *from = a[0].u.dict;
    return jinja_dict_new(r, JV_DICT, out) && merge(r, out->u.dict, from);
}

static bool m_update(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out) {
    struct jinja_dict *d = a->v[0].u.dict;
    if (a->count > 1 && a->v[1].type != JV_DICT) {
        return jinja_fail(r, LAMINA_DAMAGED, "update takes a dict, not %s", jinja_type_name(&a->v[1]));
    }
    if (a->count > 1 && a->v[1].u.dict != d && !merge(r, d, a->v[1].u.dict)) {
        return false;
    }
    for (uint32_t i = 0; i < a->named; i++) {
        const struct jinja_value *key = &a->v[a->count + 2 * i];
        if (!jinja_dict_set(r, d, key[0], key[1])) {
            return false;
        }
    }
    *out = jv_none();
    return true;
}

static bool m_dict_clear(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_dict *d = a[0].u.dict;
    d->count = 0;
    if (d->index_cap != 0) {
        memset(d->index, 0, d->index_cap * sizeof(*d->index));
    }
    *out = jv_none();
    return jinja_step(r, 1 + d->index_cap / 64);
}

/* ---- loop -------------------------------------------------------------------------------------------------------- */

static bool m_cycle(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out) {
    uint32_t choices = a->count - 1;
    if (choices == 0) {
        return jinja_fail(r, LAMINA_DAMAGED, "no items for cycling given");
    }
    *out = a->v[1 + a->v[0].u.loop->index0 % choices];
    return true;
}

static bool m_changed(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out) {
    struct jinja_frame *f = a->v[0].u.loop;
    struct jinja_value now;
    bool same = false;
    if (!jinja_list_new(r, JV_TUPLE, a->count, &now)) {
        return false;
    }
    for (uint32_t i = 1; i < a->count; i++) {
        now.u.list->item[now.u.list->count++] = a->v[i];
    }
    if (f->changed.type != JV_ABSENT && !jinja_equal(r, &now, &f->changed, &same)) {
        return false;
    }
    f->changed = now;
    *out = jv_bool(!same);
    return true;
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static const struct jinja_callable list_rows[] = {
    {"append", "/self object", 2, m_append, NULL}, {"extend", "/self iterable", 2, m_extend, NULL},
    {"insert", "/self index object", 3, m_insert, NULL}, {"pop", "/self index", 1, m_list_pop, NULL},
    {"remove", "/self value", 2, m_remove, NULL}, {"reverse", "/self", 1, m_list_reverse, NULL},
    {"copy", "/self", 1, m_list_copy, NULL}, {"clear", "/self", 1, m_list_clear, NULL},
    {"index", "/self value", 2, m_list_index, NULL}, {"count", "/self value", 2, m_list_count, NULL},
};

static const struct jinja_callable dict_rows[] = {
    {"get", "/self key default", 2, m_get, NULL}, {"items", "/self", 1, m_items, NULL},
    {"keys", "/self", 1, m_keys, NULL}, {"values", "/self", 1, m_values, NULL},
    {"pop", "/self key default", 2, m_dict_pop, NULL}, {"popitem", "/self", 1, m_popitem, NULL},
    {"setdefault", "/self key default", 2, m_setdefault, NULL}, {"copy", "/self", 1, m_dict_copy, NULL},
    {"clear", "/self", 1, m_dict_clear, NULL}, {"update", "", 1, NULL, m_update},
};

static const struct jinja_callable loop_rows[] = {
    {"cycle", "", 1, NULL, m_cycle},
    {"changed", "", 1, NULL, m_changed},
};

enum { TABLE_SHIFT = 8, TUPLE_FIRST = 8 }; /* a method number is its table * 256 + its row; tuples have the last two */

static const struct jinja_callable *table_of(uint32_t which, size_t *count) {
    switch (which) {
    case 0:
        return jinja_methods_text(count);
    case 1:
        *count = ARRAY_LEN(list_rows);
        return list_rows;
    case 2:
        *count = ARRAY_LEN(dict_rows);
        return dict_rows;
    default:
        *count = ARRAY_LEN(loop_rows);
        return loop_rows;
    }
}

uint32_t jinja_method_find(const struct jinja_value *self, struct span name) {
    uint32_t which = self->type == JV_STRING                             ? 0
                     : self->type == JV_LIST || self->type == JV_TUPLE ? 1
                     : self->type == JV_DICT                             ? 2
                     : self->type == JV_LOOP                             ? 3
                                                                         : UINT32_MAX;
    if (which == UINT32_MAX) {
        return UINT32_MAX;
    }
    size_t count = 0;
    const struct jinja_callable *table = table_of(which, &count);
    for (uint32_t i = self->type == JV_TUPLE ? (uint32_t)TUPLE_FIRST : 0; i < count; i++) {
        if (span_is(name, table[i].name)) {
            return which << TABLE_SHIFT | i;
        }
    }
    return UINT32_MAX;
}

bool jinja_method_call(struct jinja_run *r, uint32_t method, const struct jinja_value *self,
                       const struct jinja_args *a, struct jinja_value *out) {
    size_t count = 0;
    size_t top = r->stack_top;
    struct jinja_args full = {.v = r->stack + top, .count = a->count + 1, .named = a->named};
    if (!jinja_push(r, *self)) {
        return false;
    }
    for (uint32_t i = 0; i < a->count + 2 * a->named; i++) {
        if (!jinja_push(r, a->v[i])) {
            return false;
        }
    }
    bool ok = jinja_call_row(r, &table_of(method >> TABLE_SHIFT, &count)[method & 255u], &full, out);
    r->stack_top = top;
    return ok;
}
