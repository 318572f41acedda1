/* SPDX-License-Identifier: Apache-2.0
 *
 * The functions a template finds without anybody giving them: namespace, range, dict, raise_exception, strftime_now.
 */
#include "text/jinja_priv.h"

/* namespace(...) and dict(...): from a mapping or pairs, then named values. */
static bool g_dict(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out) {
    struct jinja_walk w;
    struct jinja_value pair;
    struct jinja_value from;
    if (!jinja_dict_new(r, JV_DICT, out)) {
        return false;
    }
    if (a->count > 1) {
        return jinja_fail(r, LAMINA_DAMAGED, "dict expected at most 1 argument, got %u", (unsigned)a->count);
    }
    if (a->count == 1) {
        from = a->v[0];
        if (from.type == JV_DICT) {
            from.type = JV_VIEW;
            from.flag = JVF_ITEMS;
        }
        if (!jinja_walk_begin(r, &from, &w)) {
            return false;
        }
        while (jinja_walk_next(r, &w, &pair)) {
            if ((pair.type != JV_TUPLE && pair.type != JV_LIST) || pair.u.list->count != 2) {
                return jinja_fail(r, LAMINA_DAMAGED, "dict takes a mapping or pairs");
            }
            if (!jinja_step(r, 1) ||
                !jinja_dict_set(r, out->u.dict, pair.u.list->item[0], pair.u.list->item[1])) {
                return false;
            }
        }
    }
    for (uint32_t i = 0; i < a->named; i++) {
        const struct jinja_value *key = &a->v[a->count + 2 * i];
        if (!jinja_dict_set(r, out->u.dict, key[0], key[1])) {
            return false;
        }
    }
    return r->failed == LAMINA_OK;
}

static bool g_namespace(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out) {
    bool ok = g_dict(r, a, out);
    out->type = JV_NAMESPACE;
    return ok;
}

static bool g_range(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    int64_t begin = 0;
    int64_t end = 0;
    int64_t step = 1;
    bool one = a[1].type == JV_ABSENT;
    if (!jinja_need_int(r, &a[0], 0, one ? &end : &begin) || (!one && !jinja_need_int(r, &a[1], 0, &end)) ||
        !jinja_need_int(r, &a[2], 1, &step)) {
        return false;
    }
    if (step == 0) {
        return jinja_fail(r, LAMINA_DAMAGED, "range() arg 3 must not be zero");
    }
    uint64_t distance = step > 0 ? (end > begin ? (uint64_t)end - (uint64_t)begin : 0)
                                 : (begin > end ? (uint64_t)begin - (uint64_t)end : 0);
    uint64_t stride = step > 0 ? (uint64_t)step : (uint64_t)-(step + 1) + 1;
    uint64_t count = distance == 0 ? 0 : (distance - 1) / stride + 1;
    if (count > r->limits.range_items) {
        return jinja_fail(r, LAMINA_NO_FIT, "range() of %llu items; the limit is %llu", (unsigned long long)count,
                          (unsigned long long)r->limits.range_items);
    }
    struct jinja_range *g = (struct jinja_range *)jinja_take(r, 1, sizeof(*g));
    if (g == NULL) {
        return false;
    }
    *g = (struct jinja_range){.begin = begin, .step = step, .end = end, .count = count};
    *out = (struct jinja_value){.type = JV_RANGE, .u.range = g};
    return true;
}

/* The template refuses its input: its own words are the whole message. */
static bool g_raise(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_value text;
    (void)out;
    if (!jinja_to_string(r, &a[0], &text)) {
        return false;
    }
    if (r->failed == LAMINA_OK) {
        r->failed = base_fail(r->err, LAMINA_USAGE, "%.*s", (int)(text.len < 1000 ? text.len : 1000), text.u.s);
    }
    return false;
}

static bool g_strftime_now(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct span format;
    size_t mark = r->scratch.len;
    return jinja_need_string(r, &a[0], "the time format", &format) && jinja_step(r, format.len / 16) &&
           jinja_strftime(r, format, r->now_unix_s, &r->scratch) && jinja_build_end(r, mark, out);
}

static const struct jinja_callable rows[] = {
    {"namespace", "", 0, NULL, g_namespace},
    {"dict", "", 0, NULL, g_dict},
    {"range", "/start stop step", 1, g_range, NULL},
    {"raise_exception", "message", 1, g_raise, NULL},
    {"strftime_now", "format", 1, g_strftime_now, NULL},
};

bool jinja_global_find(struct span name, struct jinja_value *out) {
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (span_is(name, rows[i].name)) {
            *out = (struct jinja_value){.type = JV_FUNCTION, .u.i = i};
            return true;
        }
    }
    return false;
}

bool jinja_global_call(struct jinja_run *r, uint32_t index, const struct jinja_args *a, struct jinja_value *out) {
    return jinja_call_row(r, &rows[index], a, out);
}
