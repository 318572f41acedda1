/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of a render: memory, strings, lists, dicts, and walking over any of them. Must not know nodes. Everything is
 * taken from the run's arena and counted against its limit; work that takes long is counted as steps where it happens.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "text/jinja_priv.h"

bool jinja_fail(struct jinja_run *r, lamina_status code, const char *fmt, ...) {
    if (r->failed == LAMINA_OK) {
        char text[512];
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        unsigned line = 0;
        unsigned column = 0;
        jinja_place(str_span(&r->t->source), r->pos, &line, &column);
        r->failed = base_fail(r->err, code, "chat template: line %u: %s", line, text);
    }
    return false;
}

bool jinja_fail_undefined(struct jinja_run *r, const struct jinja_value *v) {
    int len = (int)(v->len < 100 ? v->len : 100);
    if (v->u.s == NULL) {
        return jinja_fail(r, LAMINA_DAMAGED, "an undefined value is used");
    }
    if (v->owner == JV_ABSENT) {
        return jinja_fail(r, LAMINA_DAMAGED, "'%.*s' is undefined", len, v->u.s);
    }
    struct jinja_value owner = {.type = (uint8_t)v->owner};
    return jinja_fail(r, LAMINA_DAMAGED, "'%s object' has no attribute '%.*s'", jinja_type_name(&owner), len, v->u.s);
}

void *jinja_take(struct jinja_run *r, size_t count, size_t size) {
    void *p = arena_take_array(&r->arena, count, size);
    if (p == NULL) {
        (void)jinja_fail(r, LAMINA_NO_FIT, "the values of the template need more than its memory limit of %llu bytes",
                         (unsigned long long)r->limits.memory_bytes);
    }
    return p;
}

bool jinja_step(struct jinja_run *r, uint64_t count) {
    if (count > r->limits.steps - r->steps) {
        return jinja_fail(r, LAMINA_NO_FIT, "the template takes more than its limit of %llu steps",
                          (unsigned long long)r->limits.steps);
    }
    r->steps += count;
    return true;
}

const char *jinja_type_name(const struct jinja_value *v) {
    static const char *const names[] = {
        [JV_ABSENT] = "nothing", [JV_UNDEFINED] = "Undefined", [JV_NONE] = "NoneType", [JV_BOOL] = "bool",
        [JV_INT] = "int", [JV_FLOAT] = "float", [JV_STRING] = "str", [JV_LIST] = "list", [JV_TUPLE] = "tuple",
        [JV_DICT] = "dict", [JV_RANGE] = "range", [JV_NAMESPACE] = "Namespace", [JV_LOOP] = "LoopContext",
        [JV_MACRO] = "Macro", [JV_FUNCTION] = "function", [JV_METHOD] = "builtin_function_or_method",
        [JV_ITERATOR] = "generator", [JV_VIEW] = "dict_keys"};
    if (v->type == JV_VIEW) {
        return v->flag == JVF_KEYS ? "dict_keys" : v->flag == JVF_VALUES ? "dict_values" : "dict_items";
    }
    if (v->type == JV_ITERATOR && v->u.iterator != NULL) {
        return v->u.iterator->type_name;
    }
    return names[v->type];
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

static bool fail_length(struct jinja_run *r) {
    return jinja_fail(r, LAMINA_NO_FIT, "a string of the template would be too long");
}

bool jinja_string_copy(struct jinja_run *r, struct span text, struct jinja_value *out) {
    if (text.len >= UINT32_MAX / 2) {
        return fail_length(r);
    }
    char *copy = (char *)jinja_take(r, text.len, 1);
    if (copy == NULL) {
        return false;
    }
    if (text.len != 0) {
        memcpy(copy, text.ptr, text.len);
    }
    *out = jv_view(span_of(copy, text.len));
    return true;
}

/* a + b. When `a` is the newest end of a growing buffer with room, b is written behind it and the result shares the
 * buffer: a itself still means its own first bytes, which never change. */
bool jinja_string_append(struct jinja_run *r, const struct jinja_value *a, struct span b, struct jinja_value *out) {
    uint64_t len = (uint64_t)a->len + b.len;
    if (len >= UINT32_MAX / 2) {
        return fail_length(r);
    }
    if (b.len == 0) {
        *out = *a;
        return true;
    }
    bool grows = (a->flag & JVF_GROWS) != 0;
    struct jinja_growing *g = NULL;
    if (grows) {
        g = (struct jinja_growing *)(uintptr_t)(a->u.s - sizeof(*g));
    }
    if (!grows || g->used != a->len || g->cap - g->used < b.len) {
        uint64_t cap = grows ? len * 2 : len + len / 4 + 16;
        g = (struct jinja_growing *)jinja_take(r, sizeof(*g) + (size_t)cap, 1);
        if (g == NULL) {
            return false;
        }
        g->cap = (uint32_t)cap;
        if (a->len != 0) {
            memcpy(g + 1, a->u.s, a->len);
        }
    }
    char *bytes = (char *)(g + 1);
    memcpy(bytes + a->len, b.ptr, b.len);
    g->used = (uint32_t)len;
    *out = jv_view(span_of(bytes, (size_t)len));
    out->flag = (uint8_t)(JVF_GROWS | (a->flag & JVF_MARKUP));
    return true;
}

bool jinja_build_end(struct jinja_run *r, size_t mark, struct jinja_value *out) {
    if (r->scratch.failed) {
        return jinja_fail(r, LAMINA_NO_FIT, "the values of the template need more than its memory limit of %llu bytes",
                          (unsigned long long)r->limits.memory_bytes);
    }
    bool ok = jinja_string_copy(r, span_sub(str_span(&r->scratch), mark, r->scratch.len), out);
    r->scratch.len = mark;
    return ok;
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

bool jinja_list_new(struct jinja_run *r, enum jinja_type type, size_t room, struct jinja_value *out) {
    struct jinja_list *l = (struct jinja_list *)jinja_take(r, 1, sizeof(*l));
    if (l == NULL) {
        return false;
    }
    if (room != 0) {
        l->item = (struct jinja_value *)jinja_take(r, room, sizeof(*l->item));
        if (l->item == NULL) {
            return false;
        }
        l->cap = (uint32_t)room;
    }
    *out = (struct jinja_value){.type = (uint8_t)type, .u.list = l};
    return true;
}

bool jinja_list_add(struct jinja_run *r, struct jinja_list *l, struct jinja_value v) {
    if (l->count == l->cap) {
        uint32_t cap = l->cap < 4 ? 4 : l->cap * 2;
        struct jinja_value *grown = (struct jinja_value *)jinja_take(r, cap, sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        if (l->count != 0) {
            memcpy(grown, l->item, l->count * sizeof(*grown));
        }
        l->item = grown;
        l->cap = cap;
    }
    l->item[l->count++] = v;
    return true;
}

bool jinja_tuple2(struct jinja_run *r, struct jinja_value a, struct jinja_value b, struct jinja_value *out) {
    return jinja_list_new(r, JV_TUPLE, 2, out) && jinja_list_add(r, out->u.list, a) &&
           jinja_list_add(r, out->u.list, b);
}

bool jinja_iterator_new(struct jinja_run *r, const char *type_name, struct jinja_value *out) {
    struct jinja_iterator *it = (struct jinja_iterator *)jinja_take(r, 1, sizeof(*it));
    if (it == NULL) {
        return false;
    }
    it->type_name = type_name;
    *out = (struct jinja_value){.type = JV_ITERATOR, .u.iterator = it};
    return true;
}

/* ---- dicts: pairs in order, and a hash table of their numbers ---------------------------------------------------- */

enum { DICT_LINEAR = 8 };

bool jinja_dict_new(struct jinja_run *r, enum jinja_type type, struct jinja_value *out) {
    struct jinja_dict *d = (struct jinja_dict *)jinja_take(r, 1, sizeof(*d));
    *out = (struct jinja_value){.type = (uint8_t)type, .u.dict = d};
    return d != NULL;
}

static void index_pair(struct jinja_dict *d, uint32_t pair) {
    bool hashable = true;
    uint32_t slot = (uint32_t)jinja_hash(&d->pair[pair].key, &hashable) & (d->index_cap - 1);
    while (d->index[slot] != 0) {
        slot = (slot + 1) & (d->index_cap - 1);
    }
    d->index[slot] = pair + 1;
}

static void index_all(struct jinja_dict *d) {
    if (d->index_cap == 0) {
        return;
    }
    memset(d->index, 0, d->index_cap * sizeof(*d->index));
    for (uint32_t i = 0; i < d->count; i++) {
        index_pair(d, i);
    }
}

static struct jinja_pair *dict_find(const struct jinja_dict *d, const struct jinja_value *key, bool *hashable) {
    *hashable = true;
    uint64_t h = jinja_hash(key, hashable);
    if (!*hashable) {
        return NULL;
    }
    if (d->index_cap == 0) {
        for (uint32_t i = 0; i < d->count; i++) {
            if (jinja_key_equal(&d->pair[i].key, key)) {
                return &d->pair[i];
            }
        }
        return NULL;
    }
    uint32_t slot = (uint32_t)h & (d->index_cap - 1);
    for (; d->index[slot] != 0; slot = (slot + 1) & (d->index_cap - 1)) {
        struct jinja_pair *p = &d->pair[d->index[slot] - 1];
        if (jinja_key_equal(&p->key, key)) {
            return p;
        }
    }
    return NULL;
}

struct jinja_value *jinja_dict_get(const struct jinja_dict *d, const struct jinja_value *key, bool *hashable) {
    bool ignored = true;
    struct jinja_pair *p = dict_find(d, key, hashable != NULL ? hashable : &ignored);
    return p != NULL ? &p->value : NULL;
}

struct jinja_value *jinja_dict_get_text(const struct jinja_dict *d, struct span key) {
    struct jinja_value v = jv_view(key);
    return jinja_dict_get(d, &v, NULL);
}

static bool dict_grow(struct jinja_run *r, struct jinja_dict *d) {
    uint32_t cap = d->cap < 4 ? 4 : d->cap * 2;
    struct jinja_pair *grown = (struct jinja_pair *)jinja_take(r, cap, sizeof(*grown));
    if (grown == NULL) {
        return false;
    }
    if (d->count != 0) {
        memcpy(grown, d->pair, d->count * sizeof(*grown));
    }
    d->pair = grown;
    d->cap = cap;
    if (cap > DICT_LINEAR) {
        uint32_t *index = (uint32_t *)jinja_take(r, cap * 2u, sizeof(*index));
        if (index == NULL) {
            return false;
        }
        d->index = index;
        d->index_cap = cap * 2u;
        index_all(d);
    }
    return true;
}

bool jinja_dict_set(struct jinja_run *r, struct jinja_dict *d, struct jinja_value key, struct jinja_value value) {
    bool hashable = true;
    struct jinja_pair *p = dict_find(d, &key, &hashable);
    if (!hashable) {
        return jinja_fail(r, LAMINA_DAMAGED, "unhashable type: '%s'", jinja_type_name(&key));
    }
    if (p != NULL) {
        p->value = value;
        return true;
    }
    if (d->count == d->cap && !dict_grow(r, d)) {
        return false;
    }
    d->pair[d->count++] = (struct jinja_pair){.key = key, .value = value};
    if (d->index_cap != 0) {
        index_pair(d, d->count - 1);
    }
    return true;
}

bool jinja_dict_remove(struct jinja_dict *d, const struct jinja_value *key) {
    bool hashable = true;
    struct jinja_pair *p = dict_find(d, key, &hashable);
    if (p == NULL) {
        return false;
    }
    size_t at = (size_t)(p - d->pair);
    memmove(p, p + 1, (d->count - at - 1) * sizeof(*p));
    d->count--;
    index_all(d);
    return true;
}

/* ---- walking ----------------------------------------------------------------------------------------------------- */

bool jinja_length(const struct jinja_value *v, uint64_t *length) {
    switch ((enum jinja_type)v->type) {
    case JV_UNDEFINED:
        *length = 0;
        return true;
    case JV_STRING:
        *length = jinja_char_count(jv_span(v));
        return true;
    case JV_LIST:
    case JV_TUPLE:
        *length = v->u.list->count;
        return true;
    case JV_DICT:
    case JV_VIEW:
        *length = v->u.dict->count;
        return true;
    case JV_RANGE:
        *length = v->u.range->count;
        return true;
    default:
        return false;
    }
}

bool jinja_walk_begin(struct jinja_run *r, const struct jinja_value *v, struct jinja_walk *w) {
    *w = (struct jinja_walk){.over = *v};
    if (v->type == JV_ITERATOR) {
        w->length = v->u.iterator->list.count - v->u.iterator->at;
        return true;
    }
    if (v->type == JV_STRING && !jinja_step(r, v->len / 64)) {
        return false;
    }
    if (!jinja_length(v, &w->length)) {
        return jinja_fail(r, LAMINA_DAMAGED, "'%s' object is not iterable", jinja_type_name(v));
    }
    return true;
}

static struct jinja_value string_char(struct jinja_walk *w) {
    struct span text = jv_span(&w->over);
    size_t begin = (size_t)w->at;
    size_t end = begin;
    (void)jinja_next_char(text, &end);
    w->at = end;
    return jv_view(span_sub(text, begin, end - begin));
}

/* A list or dict that changes while it is walked is walked by position, like Python's lists. */
bool jinja_walk_next(struct jinja_run *r, struct jinja_walk *w, struct jinja_value *out) {
    const struct jinja_value *v = &w->over;
    switch ((enum jinja_type)v->type) {
    case JV_STRING:
        if (w->at >= v->len) {
            return false;
        }
        *out = string_char(w);
        return true;
    case JV_LIST:
    case JV_TUPLE:
        if (w->at >= v->u.list->count) {
            return false;
        }
        *out = v->u.list->item[w->at++];
        return true;
    case JV_ITERATOR:
        if (v->u.iterator->at >= v->u.iterator->list.count) {
            return false;
        }
        *out = v->u.iterator->list.item[v->u.iterator->at++];
        return true;
    case JV_RANGE:
        if (w->at >= v->u.range->count) {
            return false;
        }
        *out = jv_int(v->u.range->begin + v->u.range->step * (int64_t)w->at++);
        return true;
    case JV_DICT:
    case JV_VIEW: {
        if (w->at >= v->u.dict->count) {
            return false;
        }
        const struct jinja_pair *p = &v->u.dict->pair[w->at++];
        if (v->type == JV_VIEW && v->flag == JVF_ITEMS) {
            return jinja_tuple2(r, p->key, p->value, out);
        }
        *out = v->type == JV_VIEW && v->flag == JVF_VALUES ? p->value : p->key;
        return true;
    }
    default:
        return false;
    }
}

bool jinja_to_list(struct jinja_run *r, const struct jinja_value *v, struct jinja_value *out) {
    struct jinja_walk w;
    struct jinja_value item;
    if (!jinja_walk_begin(r, v, &w) || !jinja_step(r, w.length) ||
        !jinja_list_new(r, JV_LIST, (size_t)w.length, out)) {
        return false;
    }
    while (jinja_walk_next(r, &w, &item)) {
        if (!jinja_list_add(r, out->u.list, item)) {
            return false;
        }
    }
    return r->failed == LAMINA_OK;
}
