/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters whose result is text or a number: jinja2's, by its names, parameters and defaults. A filter takes its
 * arguments bound to the row's parameters; missing ones are JV_ABSENT.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/jinja_priv.h"

/* str(v) unless it is a string already. */
static bool text_of(struct jinja_run *r, struct jinja_value *v) {
    return jinja_to_string(r, v, v) && jinja_step(r, v->len / 64);
}

static bool build_cased(struct jinja_run *r, struct jinja_value *a, enum jinja_case how, struct jinja_value *out) {
    size_t mark = r->scratch.len;
    if (!text_of(r, a)) {
        return false;
    }
    jinja_add_cased(&r->scratch, jv_span(a), how);
    bool ok = jinja_build_end(r, mark, out);
    out->flag = a->flag & JVF_MARKUP;
    return ok;
}

static bool f_upper(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return build_cased(r, a, CASE_UPPER, out);
}

static bool f_lower(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return build_cased(r, a, CASE_LOWER, out);
}

static bool f_title(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return build_cased(r, a, CASE_TITLE_FILTER, out);
}

static bool f_capitalize(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return build_cased(r, a, CASE_CAPITAL, out);
}

static bool f_string(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return jinja_to_string(r, &a[0], out);
}

static bool f_trim(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct span chars;
    bool given = a[1].type != JV_ABSENT && a[1].type != JV_NONE;
    if (!text_of(r, a) || (given && !jinja_need_string(r, &a[1], "strip arg", &chars))) {
        return false;
    }
    *out = jv_view(jinja_strip(jv_span(&a[0]), true, true, given ? &a[1] : NULL));
    out->flag = a[0].flag & JVF_MARKUP;
    return true;
}

static bool f_replace(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    int64_t count = -1;
    if ((a[3].type != JV_NONE && !jinja_need_int(r, &a[3], -1, &count)) || !text_of(r, &a[0]) || !text_of(r, &a[1]) ||
        !text_of(r, &a[2])) {
        return false;
    }
    size_t mark = r->scratch.len;
    jinja_add_replaced(&r->scratch, jv_span(&a[0]), jv_span(&a[1]), jv_span(&a[2]), count);
    return jinja_build_end(r, mark, out);
}

static bool mark_up(struct jinja_run *r, struct jinja_value *a, bool again, struct jinja_value *out) {
    size_t mark = r->scratch.len;
    if (!text_of(r, a)) {
        return false;
    }
    *out = a[0];
    bool ok = true;
    if (again || (a[0].flag & JVF_MARKUP) == 0) {
        str_add_html(&r->scratch, jv_span(a));
        ok = jinja_build_end(r, mark, out);
    }
    out->flag = JVF_MARKUP;
    return ok;
}

static bool f_escape(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return mark_up(r, a, false, out);
}

static bool f_forceescape(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    return mark_up(r, a, true, out);
}

static bool f_safe(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    if (!jinja_to_string(r, &a[0], out)) {
        return false;
    }
    out->flag = JVF_MARKUP;
    return true;
}

/* The text between lines of `indent`; blank lines get none unless asked for. */
static bool add_indented(struct jinja_run *r, struct span text, struct span pad, bool first, bool blank) {
    struct jinja_value lines;
    if (!jinja_list_new(r, JV_LIST, 0, &lines) || !jinja_split_lines(r, text, false, lines.u.list)) {
        return false;
    }
    for (uint32_t i = 0; i < lines.u.list->count && !r->scratch.failed; i++) {
        struct span line = jv_span(&lines.u.list->item[i]);
        str_add_text(&r->scratch, i != 0 ? "\n" : "");
        if (i == 0 ? first : blank || line.len != 0) {
            str_add_span(&r->scratch, pad);
        }
        str_add_span(&r->scratch, line);
    }
    return true;
}

static bool f_indent(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct span text;
    struct jinja_value pad = jv_text("    ");
    struct jinja_value line_end = jv_text("\n");
    struct jinja_value space = jv_text(" ");
    if (!jinja_need_string(r, &a[0], "the text to indent", &text)) {
        return false;
    }
    if (a[1].type == JV_STRING) {
        pad = a[1];
    } else if (a[1].type != JV_ABSENT && !jinja_arith(r, OP_MUL, &space, &a[1], &pad)) {
        return false;
    }
    size_t mark = r->scratch.len;
    /* jinja2 adds a line end first, so that a text that ends in one keeps it. */
    struct jinja_value closed;
    bool ok = jinja_string_append(r, &a[0], jv_span(&line_end), &closed) && jinja_step(r, text.len / 16) &&
              add_indented(r, jv_span(&closed), jv_span(&pad), a[2].type != JV_ABSENT && jinja_truth(&a[2]),
                           a[3].type != JV_ABSENT && jinja_truth(&a[3]));
    return ok && jinja_build_end(r, mark, out);
}

static bool f_truncate(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    int64_t length = 255;
    int64_t leeway = 5;
    struct span text;
    struct span end = span_of_text("...");
    uint64_t items = 0;
    if (!jinja_need_int(r, &a[1], 255, &length)) {
        return false;
    }
    if (a[0].type != JV_STRING && jinja_length(&a[0], &items) && (int64_t)items <= length) {
        *out = a[0]; /* whatever is short enough passes, text or not */
        return true;
    }
    if (!jinja_need_string(r, &a[0], "the text to truncate", &text) ||
        (a[3].type != JV_ABSENT && !jinja_need_string(r, &a[3], "end", &end)) ||
        (a[4].type != JV_NONE && !jinja_need_int(r, &a[4], 5, &leeway)) || !jinja_step(r, text.len / 64)) {
        return false;
    }
    int64_t end_length = (int64_t)jinja_char_count(end);
    if (length < end_length || leeway < 0) {
        return jinja_fail(r, LAMINA_DAMAGED, "truncate: the length is shorter than the end mark");
    }
    int64_t most = 0;
    if (__builtin_add_overflow(length, leeway, &most) || (int64_t)jinja_char_count(text) <= most) {
        *out = a[0];
        return true;
    }
    text = span_sub(text, 0, jinja_char_offset(text, (uint64_t)(length - end_length)));
    if (a[2].type == JV_ABSENT || !jinja_truth(&a[2])) {
        const uint8_t *space = text.len != 0 ? (const uint8_t *)memrchr(text.ptr, ' ', text.len) : NULL;
        text.len = space != NULL ? (size_t)(space - text.ptr) : text.len;
    }
    struct jinja_value cut = jv_view(text);
    return jinja_string_append(r, &cut, end, out);
}

static bool f_center(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    int64_t width = 0;
    if (!jinja_need_int(r, &a[1], 80, &width) || !text_of(r, a)) {
        return false;
    }
    int64_t length = (int64_t)jinja_char_count(jv_span(a));
    int64_t pad = width > length ? width - length : 0;
    int64_t left = pad / 2 + (pad & width & 1);
    if ((uint64_t)pad > r->limits.memory_bytes) {
        return jinja_fail(r, LAMINA_NO_FIT, "center: the width is larger than the memory limit");
    }
    size_t mark = r->scratch.len;
    for (int64_t i = 0; i < pad && !r->scratch.failed; i++) {
        if (i == left) {
            str_add_span(&r->scratch, jv_span(a));
        }
        str_add_byte(&r->scratch, ' ');
    }
    if (left == pad) {
        str_add_span(&r->scratch, jv_span(a));
    }
    return jinja_build_end(r, mark, out);
}

static bool f_wordcount(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    int64_t words = 0;
    bool inside = false;
    if (!text_of(r, a)) {
        return false;
    }
    for (size_t at = 0; at < a->len;) {
        bool word = jinja_is_word(jinja_next_char(jv_span(a), &at));
        words += word && !inside;
        inside = word;
    }
    *out = jv_int(words);
    return true;
}

static void add_quoted(struct str *out, struct span text, bool query) {
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
                     c == '.' || c == '-' || c == '~' || (c == '/' && !query);
        if (plain) {
            str_add_byte(out, c);
        } else if (c == ' ' && query) {
            str_add_byte(out, '+');
        } else {
            str_printf(out, "%%%02X", c);
        }
    }
}

/* Text is quoted; a dict, or pairs, become k=v&k=v. */
static bool f_urlencode(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    size_t mark = r->scratch.len;
    struct jinja_walk w;
    struct jinja_value pair;
    if (a->type == JV_DICT) {
        a->type = JV_VIEW;
        a->flag = JVF_ITEMS;
    } else if (a->type != JV_LIST && a->type != JV_TUPLE && a->type != JV_VIEW && a->type != JV_ITERATOR) {
        if (!text_of(r, a)) {
            return false;
        }
        add_quoted(&r->scratch, jv_span(a), false);
        return jinja_build_end(r, mark, out);
    }
    if (!jinja_walk_begin(r, a, &w)) {
        return false;
    }
    for (bool first = true; jinja_walk_next(r, &w, &pair); first = false) {
        if ((pair.type != JV_TUPLE && pair.type != JV_LIST) || pair.u.list->count != 2) {
            return jinja_fail(r, LAMINA_DAMAGED, "urlencode takes text, a dict or pairs");
        }
        struct jinja_value part[2] = {pair.u.list->item[0], pair.u.list->item[1]};
        str_add_text(&r->scratch, first ? "" : "&");
        for (int i = 0; i < 2; i++) {
            if (!text_of(r, &part[i])) {
                return false;
            }
            str_add_text(&r->scratch, i == 1 ? "=" : "");
            add_quoted(&r->scratch, jv_span(&part[i]), true);
        }
    }
    return r->failed == LAMINA_OK && jinja_build_end(r, mark, out);
}

static bool separators_of(struct jinja_run *r, const struct jinja_value *v, struct jinja_json_style *style) {
    if (v->type == JV_ABSENT || v->type == JV_NONE) {
        return true;
    }
    if ((v->type != JV_TUPLE && v->type != JV_LIST) || v->u.list->count != 2) {
        return jinja_fail(r, LAMINA_DAMAGED, "tojson: separators must be two strings");
    }
    return jinja_need_string(r, &v->u.list->item[0], "item separator", &style->item_separator) &&
           jinja_need_string(r, &v->u.list->item[1], "key separator", &style->key_separator);
}

static bool f_tojson(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    struct jinja_json_style style = {.item_separator = span_of_text(", "), .key_separator = span_of_text(": ")};
    struct jinja_value pad = jv_text("");
    struct jinja_value space = jv_text(" ");
    style.ensure_ascii = a[1].type != JV_ABSENT && jinja_truth(&a[1]);
    style.sort_keys = a[4].type != JV_ABSENT && jinja_truth(&a[4]);
    if (a[2].type != JV_ABSENT && a[2].type != JV_NONE) {
        if (a[2].type == JV_STRING) {
            pad = a[2];
        } else if (!jinja_arith(r, OP_MUL, &space, &a[2], &pad)) {
            return false;
        }
        style.indent = jv_span(&pad);
        style.item_separator = span_of_text(",");
    }
    size_t mark = r->scratch.len;
    return separators_of(r, &a[3], &style) && jinja_print_json(r, &r->scratch, &a[0], &style) &&
           jinja_build_end(r, mark, out);
}

static bool f_format(struct jinja_run *r, const struct jinja_args *a, struct jinja_value *out) {
    struct jinja_value with;
    struct jinja_value text = a->v[0];
    if (!text_of(r, &text)) {
        return false;
    }
    if (a->named != 0) {
        if (a->count > 1) {
            return jinja_fail(r, LAMINA_DAMAGED, "format takes either positional or named arguments");
        }
        if (!jinja_dict_new(r, JV_DICT, &with)) {
            return false;
        }
        for (uint32_t i = 0; i < a->named; i++) {
            const struct jinja_value *key = &a->v[a->count + 2 * i];
            if (!jinja_dict_set(r, with.u.dict, key[0], key[1])) {
                return false;
            }
        }
    } else {
        if (!jinja_list_new(r, JV_TUPLE, a->count, &with)) {
            return false;
        }
        for (uint32_t i = 1; i < a->count; i++) {
            with.u.list->item[with.u.list->count++] = a->v[i];
        }
    }
    return jinja_format_percent(r, jv_span(&text), &with, out);
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static bool f_abs(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    *out = a[0];
    if (a[0].type == JV_FLOAT) {
        out->u.d = fabs(a[0].u.d);
        return true;
    }
    if (a[0].type != JV_INT && a[0].type != JV_BOOL) {
        return jinja_fail(r, LAMINA_DAMAGED, "bad operand type for abs(): '%s'", jinja_type_name(&a[0]));
    }
    return jinja_negate(r, a[0].u.i < 0, out);
}

static bool int_of_double(double d, struct jinja_value *out) {
    if (!(d >= -9223372036854775808.0 && d < 9223372036854775808.0)) {
        return false;
    }
    *out = jv_int((int64_t)d);
    return true;
}

static bool fail_large(struct jinja_run *r) {
    return jinja_fail(r, LAMINA_UNSUPPORTED, "a whole number beyond 63 bits");
}

/* "42" by its base, else "42.7" by way of a float; the fallback where it is neither. */
static bool int_of_text(struct jinja_run *r, struct span text, int64_t base, const struct jinja_value *fallback,
                        struct jinja_value *out) {
    int64_t i = 0;
    double d = 0;
    bool base_ok = base == 0 || (base >= 2 && base <= 36);
    enum jinja_number found = base_ok ? jinja_read_int(text, (unsigned)base, &i) : NUMBER_NONE;
    if (found == NUMBER_LARGE) {
        return fail_large(r);
    }
    if (found == NUMBER_READ) {
        *out = jv_int(i);
        return true;
    }
    if (!jinja_parse_float(text, &d) || !isfinite(d)) {
        *out = *fallback;
        return true;
    }
    return int_of_double(d, out) || fail_large(r);
}

static bool f_int(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    int64_t base = 10;
    struct jinja_value fallback = a[1].type == JV_ABSENT ? jv_int(0) : a[1];
    if (a[0].type == JV_UNDEFINED) {
        return jinja_fail_undefined(r, &a[0]);
    }
    if (!jinja_need_int(r, &a[2], 10, &base)) {
        return false;
    }
    switch ((enum jinja_type)a[0].type) {
    case JV_INT:
    case JV_BOOL:
        *out = jv_int(a[0].u.i);
        return true;
    case JV_FLOAT:
        if (isinf(a[0].u.d)) {
            return jinja_fail(r, LAMINA_DAMAGED, "cannot convert float infinity to integer");
        }
        *out = fallback;
        return isnan(a[0].u.d) || int_of_double(a[0].u.d, out) || fail_large(r);
    case JV_STRING:
        return int_of_text(r, jv_span(&a[0]), base, &fallback, out);
    default:
        *out = fallback;
        return true;
    }
}

static bool f_float(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    double d = 0;
    if (a[0].type == JV_UNDEFINED) {
        return jinja_fail_undefined(r, &a[0]);
    }
    if (a[0].type == JV_FLOAT) {
        *out = a[0];
    } else if (a[0].type == JV_INT || a[0].type == JV_BOOL) {
        *out = jv_float((double)a[0].u.i);
    } else if (a[0].type == JV_STRING && jinja_parse_float(jv_span(&a[0]), &d)) {
        *out = jv_float(d);
    } else {
        *out = a[1].type == JV_ABSENT ? jv_float(0) : a[1];
    }
    return true;
}

/* Half to even on the exact decimal value, which is what the C library's printing does. */
static double round_decimal(double d, int64_t digits) {
    char text[400];
    if (!isfinite(d) || digits > 300) {
        return d;
    }
    if (digits >= 0) {
        (void)snprintf(text, sizeof(text), "%.*f", (int)digits, d);
        return strtod(text, NULL);
    }
    if (digits < -308) {
        return copysign(0.0, d);
    }
    double unit = pow(10.0, (double)-digits);
    return rint(d / unit) * unit;
}

static bool f_round(struct jinja_run *r, struct jinja_value *a, struct jinja_value *out) {
    int64_t digits = 0;
    struct span method = span_of_text("common");
    if (!jinja_need_int(r, &a[1], 0, &digits) ||
        (a[2].type != JV_ABSENT && !jinja_need_string(r, &a[2], "method", &method))) {
        return false;
    }
    bool whole = a[0].type == JV_INT || a[0].type == JV_BOOL;
    if (!whole && a[0].type != JV_FLOAT) {
        return a[0].type == JV_UNDEFINED ? jinja_fail_undefined(r, &a[0])
                                         : jinja_fail(r, LAMINA_DAMAGED, "type %s doesn't define __round__ method",
                                                      jinja_type_name(&a[0]));
    }
    double d = whole ? (double)a[0].u.i : a[0].u.d;
    if (span_is(method, "common")) {
        *out = whole && digits >= 0 ? jv_int(a[0].u.i) : jv_float(round_decimal(d, digits));
        return !whole || digits >= 0 || int_of_double(out->u.d, out) || fail_large(r);
    }
    if (!span_is(method, "ceil") && !span_is(method, "floor")) {
        return jinja_fail(r, LAMINA_DAMAGED, "method must be common, ceil or floor");
    }
    double unit = pow(10.0, (double)digits);
    *out = jv_float((span_is(method, "ceil") ? ceil(d * unit) : floor(d * unit)) / unit);
    return true;
}

static const struct jinja_callable rows[] = {
    {"upper", "s", 1, f_upper, NULL},
    {"lower", "s", 1, f_lower, NULL},
    {"title", "s", 1, f_title, NULL},
    {"capitalize", "s", 1, f_capitalize, NULL},
    {"string", "s", 1, f_string, NULL},
    {"trim", "value chars", 1, f_trim, NULL},
    {"replace", "s old new count", 3, f_replace, NULL},
    {"escape", "s", 1, f_escape, NULL},
    {"e", "s", 1, f_escape, NULL},
    {"forceescape", "value", 1, f_forceescape, NULL},
    {"safe", "value", 1, f_safe, NULL},
    {"indent", "s width first blank", 1, f_indent, NULL},
    {"truncate", "s length killwords end leeway", 1, f_truncate, NULL},
    {"center", "value width", 1, f_center, NULL},
    {"wordcount", "s", 1, f_wordcount, NULL},
    {"urlencode", "value", 1, f_urlencode, NULL},
    {"tojson", "value ensure_ascii indent separators sort_keys", 1, f_tojson, NULL},
    {"format", "", 0, NULL, f_format},
    {"abs", "x", 1, f_abs, NULL},
    {"int", "value default base", 1, f_int, NULL},
    {"float", "value default", 1, f_float, NULL},
    {"round", "value precision method", 1, f_round, NULL},
};

const struct jinja_callable *jinja_filters_text(size_t *count) {
    *count = ARRAY_LEN(rows);
    return rows;
}
