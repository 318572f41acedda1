/* SPDX-License-Identifier: Apache-2.0
 *
 * Methods of strings: Python's, working on code points. a[0] is the string itself. Methods that exist in Python but not
 * here are known by name, so that a template is told which one it misses.
 */
#include "text/jinja_priv.h"

static bool done_view(const struct jinja_value *self, struct span text, struct jinja_value *out) {
    uint8_t flag = self->flag & JVF_MARKUP;
    *out = jv_view(text);
    out->flag = flag;
    return true;
}

static bool cased(struct jinja_run *r, struct jinja_value *a, enum jinja_case how, struct jinja_value *out) {
    size_t mark = r->scratch.len;
    uint8_t flag = a->flag & JVF_MARKUP;
    jinja_add_cased(&r->scratch, jv_span(a), how);
    bool ok = jinja_step(r, a->len / 64) && jinja_build_end(r, mark, out);
    out->flag = flag;
    return ok;
}

static bool m_upper(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return cased(r, a, CASE_UPPER, out);
}

static bool m_lower(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return cased(r, a, CASE_LOWER, out);
}

static bool m_title(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return cased(r, a, CASE_TITLE, out);
}

static bool m_capitalize(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return cased(r, a, CASE_CAPITAL, out);
}

static bool m_swapcase(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return cased(r, a, CASE_SWAP, out);
}

static bool m_casefold(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    size_t mark = r->scratch.len;
    jinja_add_folded(&r->scratch, jv_span(a));
    return jinja_step(r, a->len / 64) && jinja_build_end(r, mark, out);
}

static bool stripped(struct jinja_run *r, struct jinja_value *a, bool left, bool right, struct jinja_value *out) {
    struct span chars;
    bool given = a[1].type != JV_ABSENT && a[1].type != JV_NONE;
    if (given && !jinja_need_string(r, &a[1], "strip arg", &chars)) {
        return false;
    }
    return done_view(a, jinja_strip(jv_span(a), left, right, given ? &a[1] : NULL), out);
}

static bool m_strip(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return stripped(r, a, true, true, out);
}

static bool m_lstrip(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return stripped(r, a, true, false, out);
}

static bool m_rstrip(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return stripped(r, a, false, true, out);
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

/* The part of the text between the optional start and end of a[2], a[3]; *offset is its first character's index. */
static bool window(struct jinja_run *r, const struct jinja_value *a, struct span *text, int64_t *offset) {
    *text = jv_span(a);
    *offset = 0;
    if (a[2].type == JV_ABSENT && a[3].type == JV_ABSENT) {
        return jinja_step(r, a->len / 64);
    }
    int64_t length = (int64_t)jinja_char_count(*text);
    int64_t begin = 0;
    int64_t end = length;
    if ((a[2].type != JV_NONE && !jinja_need_int(r, &a[2], 0, &begin)) ||
        (a[3].type != JV_NONE && !jinja_need_int(r, &a[3], length, &end))) {
        return false;
    }
    begin = begin < 0 ? (begin + length < 0 ? 0 : begin + length) : begin;
    end = end < 0 ? (end + length < 0 ? 0 : end + length) : end > length ? length : end;
    if (begin > end) {
        *text = span_of(NULL, 0);
        *offset = -1; /* not even the empty string is found there */
        return true;
    }
    size_t from = jinja_char_offset(*text, (uint64_t)begin);
    size_t to = jinja_char_offset(*text, (uint64_t)end);
    *text = span_sub(*text, from, to - from);
    *offset = begin;
    return jinja_step(r, a->len / 64);
}

static void add_backwards(struct str *out, struct span text) {
    for (size_t i = text.len; i > 0; i--) {
        str_add_byte(out, text.ptr[i - 1]);
    }
}

/* Text and needle written backwards into the scratch string, where a forward search, which is linear however both
 * repeat, finds the last occurrence first. The caller cuts the scratch back to where it was. */
static bool turn_round(struct jinja_run *r, struct span text, struct span what, struct span *back_text,
                       struct span *back_what) {
    size_t mark = r->scratch.len;
    add_backwards(&r->scratch, text);
    add_backwards(&r->scratch, what);
    if (r->scratch.failed) {
        return jinja_fail(r, LAMINA_NO_FIT, "a string is too long to be searched from its end");
    }
    *back_text = span_sub(str_span(&r->scratch), mark, text.len);
    *back_what = span_sub(str_span(&r->scratch), mark + text.len, what.len);
    return jinja_step(r, text.len / 64);
}

/* Where `what` begins last, SIZE_MAX when it does not. */
static bool find_last(struct jinja_run *r, struct span text, struct span what, size_t *hit) {
    size_t mark = r->scratch.len;
    struct span back_text;
    struct span back_what;
    if (!turn_round(r, text, what, &back_text, &back_what)) {
        return false;
    }
    *hit = jinja_find(back_text, back_what, 0);
    *hit = *hit == SIZE_MAX ? SIZE_MAX : text.len - *hit - what.len;
    r->scratch.len = mark;
    return true;
}

static bool found_at(struct jinja_run *r, struct jinja_value *a, bool last, bool must, struct jinja_value *out) {
    struct span text;
    struct span what;
    int64_t offset = 0;
    if (!jinja_need_string(r, &a[1], "the text to find", &what) || !window(r, a, &text, &offset)) {
        return false;
    }
    size_t hit = offset < 0 ? SIZE_MAX : jinja_find(text, what, 0);
    if (last && hit != SIZE_MAX && !find_last(r, text, what, &hit)) {
        return false;
    }
    if (hit == SIZE_MAX && must) {
        return jinja_fail(r, LAMINA_DAMAGED, "substring not found");
    }
    *out = jv_int(hit == SIZE_MAX ? -1 : offset + (int64_t)jinja_char_count(span_sub(text, 0, hit)));
    return true;
}

static bool m_find(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return found_at(r, a, false, false, out);
}

static bool m_rfind(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return found_at(r, a, true, false, out);
}

static bool m_index(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return found_at(r, a, false, true, out);
}

static bool m_rindex(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return found_at(r, a, true, true, out);
}

static bool m_count(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct span text;
    struct span what;
    int64_t offset = 0;
    int64_t count = 0;
    if (!jinja_need_string(r, &a[1], "the text to count", &what) || !window(r, a, &text, &offset)) {
        return false;
    }
    if (what.len == 0) {
        *out = jv_int(offset < 0 ? 0 : (int64_t)jinja_char_count(text) + 1);
        return true;
    }
    for (size_t at = 0; (at = jinja_find(text, what, at)) != SIZE_MAX; at += what.len) {
        count++;
    }
    *out = jv_int(count);
    return true;
}

/* startswith and endswith also take a tuple of candidates. */
static bool has_end(struct jinja_run *r, struct jinja_value *a, bool front, struct jinja_value *out) {
    struct span text;
    struct span what;
    int64_t offset = 0;
    if (!window(r, a, &text, &offset)) {
        return false;
    }
    uint32_t count = a[1].type == JV_TUPLE ? a[1].u.list->count : 1;
    bool yes = false;
    for (uint32_t i = 0; i < count && !yes; i++) {
        const struct jinja_value *one = a[1].type == JV_TUPLE ? &a[1].u.list->item[i] : &a[1];
        if (!jinja_need_string(r, one, front ? "startswith first arg" : "endswith first arg", &what)) {
            return false;
        }
        yes = offset >= 0 && what.len <= text.len &&
              span_equal(span_sub(text, front ? 0 : text.len - what.len, what.len), what);
    }
    *out = jv_bool(yes);
    return true;
}

static bool m_startswith(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return has_end(r, a, true, out);
}

static bool m_endswith(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return has_end(r, a, false, out);
}

static bool without(struct jinja_run *r, struct jinja_value *a, bool front, struct jinja_value *out) {
    struct span what;
    struct span text = jv_span(a);
    if (!jinja_need_string(r, &a[1], "the text to remove", &what)) {
        return false;
    }
    if (what.len <= text.len && span_equal(span_sub(text, front ? 0 : text.len - what.len, what.len), what)) {
        text = span_sub(text, front ? what.len : 0, text.len - what.len);
    }
    return done_view(a, text, out);
}

static bool m_removeprefix(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return without(r, a, true, out);
}

static bool m_removesuffix(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return without(r, a, false, out);
}

static bool m_replace(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct span old;
    struct span with;
    int64_t count = -1;
    size_t mark = r->scratch.len;
    uint8_t flag = a->flag & JVF_MARKUP;
    if (!jinja_need_string(r, &a[1], "replace() argument 1", &old) ||
        !jinja_need_string(r, &a[2], "replace() argument 2", &with) || !jinja_need_int(r, &a[3], -1, &count) ||
        !jinja_step(r, a->len / 64)) {
        return false;
    }
    jinja_add_replaced(&r->scratch, jv_span(a), old, with, count);
    bool ok = jinja_build_end(r, mark, out);
    out->flag = flag;
    return ok;
}

/* ---- splitting --------------------------------------------------------------------------------------------------- */

static bool add_part(struct jinja_run *r, const struct jinja_value *self, struct jinja_list *l, struct span part) {
    struct jinja_value v;
    return done_view(self, part, &v) && jinja_list_add(r, l, v);
}

static size_t skip_space(struct span text, size_t at, bool space) {
    while (at < text.len) {
        size_t next = at;
        if (jinja_is_space(jinja_next_char(text, &next)) != space) {
            break;
        }
        at = next;
    }
    return at;
}

static size_t skip_space_back(struct span text, size_t at, bool space) {
    while (at > 0) {
        size_t before = at;
        if (jinja_is_space(jinja_previous_char(text, &before)) != space) {
            break;
        }
        at = before;
    }
    return at;
}

static bool split_space(struct jinja_run *r, const struct jinja_value *self, int64_t most, struct jinja_list *l) {
    struct span text = jv_span(self);
    size_t at = skip_space(text, 0, true);
    for (; at < text.len && most != 0; most--) {
        size_t end = skip_space(text, at, false);
        if (!add_part(r, self, l, span_sub(text, at, end - at))) {
            return false;
        }
        at = skip_space(text, end, true);
    }
    return at >= text.len || add_part(r, self, l, span_sub(text, at, text.len));
}

static bool split_space_back(struct jinja_run *r, const struct jinja_value *self, int64_t most, struct jinja_list *l) {
    struct span text = jv_span(self);
    size_t end = skip_space_back(text, text.len, true);
    for (; end > 0 && most != 0; most--) {
        size_t begin = skip_space_back(text, end, false);
        if (!add_part(r, self, l, span_sub(text, begin, end - begin))) {
            return false;
        }
        end = skip_space_back(text, begin, true);
    }
    return end == 0 || add_part(r, self, l, span_sub(text, 0, end));
}

static bool split_at(struct jinja_run *r, const struct jinja_value *self, struct span by, int64_t most,
                     struct jinja_list *l) {
    struct span text = jv_span(self);
    size_t at = 0;
    for (; most != 0; most--) {
        size_t hit = jinja_find(text, by, at);
        if (hit == SIZE_MAX) {
            break;
        }
        if (!add_part(r, self, l, span_sub(text, at, hit - at))) {
            return false;
        }
        at = hit + by.len;
    }
    return add_part(r, self, l, span_sub(text, at, text.len));
}

static bool split_at_back(struct jinja_run *r, const struct jinja_value *self, struct span by, int64_t most,
                          struct jinja_list *l) {
    struct span text = jv_span(self);
    struct span back_text;
    struct span back_by;
    size_t mark = r->scratch.len;
    size_t at = 0; /* in the text written backwards */
    if (!turn_round(r, text, by, &back_text, &back_by)) {
        return false;
    }
    for (; most != 0; most--) {
        size_t hit = jinja_find(back_text, back_by, at);
        if (hit == SIZE_MAX) {
            break;
        }
        if (!add_part(r, self, l, span_sub(text, text.len - hit, hit - at))) {
            return false;
        }
        at = hit + by.len;
    }
    r->scratch.len = mark;
    return add_part(r, self, l, span_sub(text, 0, text.len - at));
}

static bool split(struct jinja_run *r, struct jinja_value *a, bool back, struct jinja_value *out) {
    int64_t most = -1;
    struct span by = span_of(NULL, 0);
    bool at_space = a[1].type == JV_ABSENT || a[1].type == JV_NONE;
    if (!jinja_need_int(r, &a[2], -1, &most) || (!at_space && !jinja_need_string(r, &a[1], "separator", &by)) ||
        !jinja_list_new(r, JV_LIST, 0, out) || !jinja_step(r, a->len / 64)) {
        return false;
    }
    if (!at_space && by.len == 0) {
        return jinja_fail(r, LAMINA_DAMAGED, "empty separator");
    }
    struct jinja_list *l = out->u.list;
    if (!back) {
        return at_space ? split_space(r, a, most, l) : split_at(r, a, by, most, l);
    }
    bool ok = at_space ? split_space_back(r, a, most, l) : split_at_back(r, a, by, most, l);
    for (uint32_t i = 0; i < l->count / 2; i++) {
        struct jinja_value swap = l->item[i];
        l->item[i] = l->item[l->count - 1 - i];
        l->item[l->count - 1 - i] = swap;
    }
    return ok;
}

static bool m_split(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return split(r, a, false, out);
}

static bool m_rsplit(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return split(r, a, true, out);
}

static bool m_splitlines(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return jinja_list_new(r, JV_LIST, 0, out) && jinja_step(r, a->len / 16) &&
           jinja_split_lines(r, jv_span(a), a[1].type != JV_ABSENT && jinja_truth(&a[1]), out->u.list);
}

static bool partition(struct jinja_run *r, struct jinja_value *a, bool back, struct jinja_value *out) {
    struct span by;
    struct span text = jv_span(a);
    if (!jinja_need_string(r, &a[1], "separator", &by) || !jinja_list_new(r, JV_TUPLE, 3, out) ||
        !jinja_step(r, a->len / 64)) {
        return false;
    }
    if (by.len == 0) {
        return jinja_fail(r, LAMINA_DAMAGED, "empty separator");
    }
    size_t hit = jinja_find(text, by, 0);
    if (back && hit != SIZE_MAX && !find_last(r, text, by, &hit)) {
        return false;
    }
    bool found = hit != SIZE_MAX;
    struct span none = span_sub(text, 0, 0);
    struct span front = found ? span_sub(text, 0, hit) : back ? none : text;
    struct span rest = found ? span_sub(text, hit + by.len, text.len) : back ? text : none;
    return add_part(r, a, out->u.list, front) && add_part(r, a, out->u.list, found ? by : none) &&
           add_part(r, a, out->u.list, rest);
}

static bool m_partition(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return partition(r, a, false, out);
}

static bool m_rpartition(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return partition(r, a, true, out);
}

static bool m_join(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_walk w;
    struct jinja_value item;
    struct span part;
    if (!jinja_walk_begin(r, &a[1], &w)) {
        return false;
    }
    size_t mark = r->scratch.len;
    for (bool first = true; jinja_walk_next(r, &w, &item); first = false) {
        if (!jinja_step(r, 1) || !jinja_need_string(r, &item, "an item to join", &part)) {
            return false;
        }
        if (!first) {
            str_add_span(&r->scratch, jv_span(a));
        }
        str_add_span(&r->scratch, part);
    }
    return r->failed == LAMINA_OK && jinja_build_end(r, mark, out);
}

/* ---- padding ----------------------------------------------------------------------------------------------------- */

/* Pads to a width: `left` of 256 parts of the padding go in front (0, 128 for both sides, 256). */
static bool padded(struct jinja_run *r, struct jinja_value *a, unsigned left, struct jinja_value *out) {
    int64_t width = 0;
    struct span pad = span_of_text(" ");
    if (!jinja_need_int(r, &a[1], 0, &width) ||
        (a[2].type != JV_ABSENT && !jinja_need_string(r, &a[2], "the fill character", &pad)) ||
        !jinja_step(r, a->len / 64)) {
        return false;
    }
    if (jinja_char_count(pad) != 1) {
        return jinja_fail(r, LAMINA_DAMAGED, "The fill character must be exactly one character long");
    }
    int64_t length = (int64_t)jinja_char_count(jv_span(a));
    int64_t total = width > length ? width - length : 0;
    if ((uint64_t)total > r->limits.memory_bytes) {
        return jinja_fail(r, LAMINA_NO_FIT, "a padded string is larger than the memory limit");
    }
    int64_t front = left == 0 ? 0 : left == 256 ? total : total / 2 + (total & width & 1);
    size_t mark = r->scratch.len;
    for (int64_t i = 0; i <= total && !r->scratch.failed; i++) {
        if (i == front) {
            str_add_span(&r->scratch, jv_span(a));
        }
        if (i < total) {
            str_add_span(&r->scratch, pad);
        }
    }
    return jinja_step(r, (uint64_t)total / 64) && jinja_build_end(r, mark, out);
}

static bool m_ljust(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return padded(r, a, 0, out);
}

static bool m_rjust(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return padded(r, a, 256, out);
}

static bool m_center(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return padded(r, a, 128, out);
}

static bool m_zfill(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_value sign = jv_view(span_sub(jv_span(a), 0, 0));
    struct jinja_value args[3] = {a[0], a[1], jv_text("0")};
    int64_t width = 0;
    if (!jinja_need_int(r, &a[1], 0, &width)) {
        return false;
    }
    if (a->len != 0 && (a->u.s[0] == '-' || a->u.s[0] == '+')) {
        sign = jv_view(span_sub(jv_span(a), 0, 1));
        args[0] = jv_view(span_sub(jv_span(a), 1, a->len));
        args[1] = jv_int(width > INT64_MIN ? width - 1 : width);
    }
    struct jinja_value digits;
    return padded(r, args, 256, &digits) && jinja_string_append(r, &sign, jv_span(&digits), out);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static bool asks(struct jinja_run *r, struct jinja_value *a, enum jinja_class which, struct jinja_value *out) {
    bool yes = jinja_all_in_class(jv_span(a), which);
    uint64_t cost = a->len / 64;
    *out = jv_bool(yes);
    return jinja_step(r, cost);
}

static bool m_isalpha(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return asks(r, a, CLASS_ALPHA, out);
}

static bool m_isalnum(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return asks(r, a, CLASS_ALNUM, out);
}

static bool m_isdigit(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return asks(r, a, CLASS_DIGIT, out);
}

static bool m_isdecimal(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return asks(r, a, CLASS_DECIMAL, out);
}

static bool m_isspace(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return asks(r, a, CLASS_SPACE, out);
}

static bool m_islower(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return asks(r, a, CLASS_LOWER, out);
}

static bool m_isupper(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return asks(r, a, CLASS_UPPER, out);
}

static bool m_istitle(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return asks(r, a, CLASS_TITLE, out);
}

static bool m_isascii(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return asks(r, a, CLASS_ASCII, out);
}

static bool m_format(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out) {
    struct jinja_args rest = {.v = a->v + 1, .count = a->count - 1, .named = a->named};
    return jinja_format_braces(r, jv_span(&a->v[0]), &rest, out);
}

static bool m_missing(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out) {
    (void)a;
    (void)out;
    return jinja_fail(r, LAMINA_UNSUPPORTED, "this method of str is not part of what chat templates may use");
}

static const struct jinja_callable rows[] = {
    {"upper", "/self", 1, m_upper, NULL},
    {"lower", "/self", 1, m_lower, NULL},
    {"casefold", "/self", 1, m_casefold, NULL},
    {"title", "/self", 1, m_title, NULL},
    {"capitalize", "/self", 1, m_capitalize, NULL},
    {"swapcase", "/self", 1, m_swapcase, NULL},
    {"strip", "/self chars", 1, m_strip, NULL},
    {"lstrip", "/self chars", 1, m_lstrip, NULL},
    {"rstrip", "/self chars", 1, m_rstrip, NULL},
    {"find", "/self sub start end", 2, m_find, NULL},
    {"rfind", "/self sub start end", 2, m_rfind, NULL},
    {"index", "/self sub start end", 2, m_index, NULL},
    {"rindex", "/self sub start end", 2, m_rindex, NULL},
    {"count", "/self sub start end", 2, m_count, NULL},
    {"startswith", "/self prefix start end", 2, m_startswith, NULL},
    {"endswith", "/self suffix start end", 2, m_endswith, NULL},
    {"removeprefix", "/self prefix", 2, m_removeprefix, NULL},
    {"removesuffix", "/self suffix", 2, m_removesuffix, NULL},
    {"replace", "/self old new count", 3, m_replace, NULL},
    {"split", "self sep maxsplit", 1, m_split, NULL},
    {"rsplit", "self sep maxsplit", 1, m_rsplit, NULL},
    {"splitlines", "self keepends", 1, m_splitlines, NULL},
    {"partition", "/self sep", 2, m_partition, NULL},
    {"rpartition", "/self sep", 2, m_rpartition, NULL},
    {"join", "/self iterable", 2, m_join, NULL},
    {"ljust", "/self width fillchar", 2, m_ljust, NULL},
    {"rjust", "/self width fillchar", 2, m_rjust, NULL},
    {"center", "/self width fillchar", 2, m_center, NULL},
    {"zfill", "/self width", 2, m_zfill, NULL},
    {"isalpha", "/self", 1, m_isalpha, NULL},
    {"isalnum", "/self", 1, m_isalnum, NULL},
    {"isdigit", "/self", 1, m_isdigit, NULL},
    {"isdecimal", "/self", 1, m_isdecimal, NULL},
    {"isspace", "/self", 1, m_isspace, NULL},
    {"islower", "/self", 1, m_islower, NULL},
    {"isupper", "/self", 1, m_isupper, NULL},
    {"istitle", "/self", 1, m_istitle, NULL},
    {"isascii", "/self", 1, m_isascii, NULL},
    {"format", "", 1, NULL, m_format},
    {"encode", "", 1, NULL, m_missing},
    {"expandtabs", "", 1, NULL, m_missing},
    {"format_map", "", 1, NULL, m_missing},
    {"isidentifier", "", 1, NULL, m_missing},
    {"isnumeric", "", 1, NULL, m_missing},
    {"isprintable", "", 1, NULL, m_missing},
    {"maketrans", "", 1, NULL, m_missing},
    {"translate", "", 1, NULL, m_missing},
};

const struct jinja_callable *jinja_methods_text(size_t *count) {
    *count = ARRAY_LEN(rows);
    return rows;
}
