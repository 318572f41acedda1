/* SPDX-License-Identifier: Apache-2.0
 *
 * "..." % values and "...".format(values): the parts of both that templates use. A conversion outside them is refused
 * by name. Widths are bounded by the memory limit like every other string.
 */
#include <math.h>
#include <stdio.h>

#include "text/jinja_priv.h"

struct spec {
    bool left, zero, plus, blank, alternate;
    int64_t width, precision; /* precision -1: none */
    char conversion;
};

/* Adds text padded to the width of the spec; numbers put their sign before zeros. */
static bool add_padded(struct jinja_run *r, struct span text, const struct spec *s, bool number) {
    struct str *out = &r->scratch;
    int64_t length = (int64_t)jinja_char_count(text);
    int64_t pad = s->width > length ? s->width - length : 0;
    if ((uint64_t)pad > r->limits.memory_bytes) {
        return jinja_fail(r, LAMINA_NO_FIT, "a formatted width is larger than the memory limit");
    }
    bool zeros = number && s->zero && !s->left;
    size_t sign = zeros && text.len != 0 && (text.ptr[0] == '-' || text.ptr[0] == '+' || text.ptr[0] == ' ');
    str_add(out, text.ptr, sign);
    for (int64_t i = 0; i < pad && !s->left && !out->failed; i++) {
        str_add_byte(out, zeros ? '0' : ' ');
    }
    str_add_span(out, span_sub(text, sign, text.len));
    for (int64_t i = 0; i < pad && s->left && !out->failed; i++) {
        str_add_byte(out, ' ');
    }
    return jinja_step(r, (uint64_t)pad / 64);
}

static bool add_text(struct jinja_run *r, const struct jinja_value *v, const struct spec *s) {
    size_t mark = r->scratch.len;
    struct jinja_value text;
    bool ok = s->conversion == 's' ? jinja_print(r, &r->scratch, v) : jinja_print_repr(r, &r->scratch, v);
    if (!ok || !jinja_build_end(r, mark, &text)) {
        return false;
    }
    struct span t = jv_span(&text);
    if (s->precision >= 0) {
        t = span_sub(t, 0, jinja_char_offset(t, (uint64_t)s->precision));
    }
    return add_padded(r, t, s, false);
}

static bool add_whole(struct jinja_run *r, const struct jinja_value *v, const struct spec *s) {
    char text[80];
    int64_t i = v->u.i;
    bool decimal = s->conversion == 'd' || s->conversion == 'i' || s->conversion == 'u';
    if (v->type == JV_FLOAT && decimal && v->u.d >= -9.2e18 && v->u.d <= 9.2e18) {
        i = (int64_t)v->u.d;
    } else if (v->type != JV_INT && v->type != JV_BOOL) {
        return jinja_fail(r, LAMINA_DAMAGED, "%%%c format: a number is required, not %s", s->conversion,
                          jinja_type_name(v));
    }
    uint64_t size = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    const char *sign = i < 0 ? "-" : s->plus ? "+" : s->blank ? " " : "";
    switch (s->conversion) {
    case 'x':
        (void)snprintf(text, sizeof(text), "%s%s%llx", sign, s->alternate ? "0x" : "", (unsigned long long)size);
        break;
    case 'X':
        (void)snprintf(text, sizeof(text), "%s%s%llX", sign, s->alternate ? "0X" : "", (unsigned long long)size);
        break;
    case 'o':
        (void)snprintf(text, sizeof(text), "%s%s%llo", sign, s->alternate ? "0o" : "", (unsigned long long)size);
        break;
    default:
        (void)snprintf(text, sizeof(text), "%s%llu", sign, (unsigned long long)size);
        break;
    }
    return add_padded(r, span_of_text(text), s, true);
}

static bool add_real(struct jinja_run *r, const struct jinja_value *v, const struct spec *s) {
    char text[512];
    if (v->type != JV_FLOAT && v->type != JV_INT && v->type != JV_BOOL) {
        return jinja_fail(r, LAMINA_DAMAGED, "must be real number, not %s", jinja_type_name(v));
    }
    double d = v->type == JV_FLOAT ? v->u.d : (double)v->u.i;
    int precision = s->precision < 0 ? 6 : s->precision > 100 ? 101 : (int)s->precision;
    if (precision > 100) {
        return jinja_fail(r, LAMINA_UNSUPPORTED, "a format precision above 100");
    }
    const char *sign = signbit(d) != 0 ? "-" : s->plus ? "+" : s->blank ? " " : "";
    d = fabs(d);
    switch (s->conversion) {
    case 'e':
        (void)snprintf(text, sizeof(text), "%s%.*e", sign, precision, d);
        break;
    case 'E':
        (void)snprintf(text, sizeof(text), "%s%.*E", sign, precision, d);
        break;
    case 'g':
        (void)snprintf(text, sizeof(text), "%s%.*g", sign, precision, d);
        break;
    case 'G':
        (void)snprintf(text, sizeof(text), "%s%.*G", sign, precision, d);
        break;
    default:
        (void)snprintf(text, sizeof(text), "%s%.*f", sign, precision, d);
        break;
    }
    return add_padded(r, span_of_text(text), s, true);
}

static bool add_char(struct jinja_run *r, const struct jinja_value *v, const struct spec *s) {
    uint8_t bytes[4];
    size_t n = 0;
    if (v->type == JV_STRING && jinja_char_count(jv_span(v)) == 1) {
        return add_padded(r, jv_span(v), s, false);
    }
    if (v->type == JV_INT && v->u.i >= 0 && v->u.i <= 0x10FFFF) {
        n = utf8_encode((uint32_t)v->u.i, bytes);
    }
    return n != 0 ? add_padded(r, span_of(bytes, n), s, false)
                  : jinja_fail(r, LAMINA_DAMAGED, "%%c requires int or char");
}

static bool add_converted(struct jinja_run *r, const struct jinja_value *v, const struct spec *s) {
    switch (s->conversion) {
    case 's':
    case 'r':
        return add_text(r, v, s);
    case 'c':
        return add_char(r, v, s);
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
        return v->type == JV_UNDEFINED ? jinja_fail_undefined(r, v) : add_whole(r, v, s);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        return v->type == JV_UNDEFINED ? jinja_fail_undefined(r, v) : add_real(r, v, s);
    default:
        return jinja_fail(r, LAMINA_UNSUPPORTED, "unsupported format character '%c'", s->conversion);
    }
}

struct percent {
    struct span format;
    size_t at;
    const struct jinja_value *arg;
    uint32_t used; /* positional values taken */
    bool by_name;
};

static bool next_value(struct jinja_run *r, struct percent *p, struct jinja_value *v) {
    bool tuple = p->arg->type == JV_TUPLE;
    if (p->used >= (tuple ? p->arg->u.list->count : 1)) {
        return jinja_fail(r, LAMINA_DAMAGED, "not enough arguments for format string");
    }
    *v = tuple ? p->arg->u.list->item[p->used] : *p->arg;
    p->used++;
    return true;
}

static bool read_count(struct jinja_run *r, struct percent *p, int64_t *count) {
    struct jinja_value v;
    if (p->arg != NULL && p->at < p->format.len && p->format.ptr[p->at] == '*') { /* of percents alone */
        p->at++;
        return next_value(r, p, &v) && jinja_need_int(r, &v, 0, count);
    }
    *count = 0;
    for (; p->at < p->format.len && p->format.ptr[p->at] >= '0' && p->format.ptr[p->at] <= '9'; p->at++) {
        *count = *count < 1000000000 ? *count * 10 + (p->format.ptr[p->at] - '0') : *count;
    }
    return true;
}

/* The "(name)" of a conversion: its value, from a mapping. */
static bool read_name(struct jinja_run *r, struct percent *p, struct jinja_value *v) {
    size_t end = jinja_find(p->format, span_of_text(")"), p->at);
    if (end == SIZE_MAX || p->arg->type != JV_DICT) {
        return jinja_fail(r, LAMINA_DAMAGED, end == SIZE_MAX ? "incomplete format key" : "format requires a mapping");
    }
    const struct jinja_value *hit = jinja_dict_get_text(p->arg->u.dict, span_sub(p->format, p->at, end - p->at));
    if (hit == NULL) {
        return jinja_fail(r, LAMINA_DAMAGED, "KeyError in a format string");
    }
    *v = *hit;
    p->at = end + 1;
    p->by_name = true;
    return true;
}

static bool format_one(struct jinja_run *r, struct percent *p) {
    struct spec s = {.precision = -1};
    struct jinja_value v = {.type = JV_ABSENT};
    if (p->at < p->format.len && p->format.ptr[p->at] == '(') {
        p->at++;
        if (!read_name(r, p, &v)) {
            return false;
        }
    }
    for (; p->at < p->format.len && strchr("-0+ #", p->format.ptr[p->at]) != NULL && p->format.ptr[p->at] != 0;
         p->at++) {
        uint8_t c = p->format.ptr[p->at];
        s.left = s.left || c == '-';
        s.zero = s.zero || c == '0';
        s.plus = s.plus || c == '+';
        s.blank = s.blank || c == ' ';
        s.alternate = s.alternate || c == '#';
    }
    if (!read_count(r, p, &s.width)) {
        return false;
    }
    if (p->at < p->format.len && p->format.ptr[p->at] == '.') {
        p->at++;
        if (!read_count(r, p, &s.precision)) {
            return false;
        }
    }
    if (p->at >= p->format.len) {
        return jinja_fail(r, LAMINA_DAMAGED, "incomplete format");
    }
    if (s.width < 0) { /* a negative '*' width means left */
        s.left = true;
        s.width = s.width == INT64_MIN ? INT64_MAX : -s.width;
    }
    s.conversion = (char)p->format.ptr[p->at++];
    if (s.conversion == '%') {
        str_add_byte(&r->scratch, '%');
        return true;
    }
    return (v.type != JV_ABSENT || next_value(r, p, &v)) && add_converted(r, &v, &s);
}

/* What could serve "%(name)s" may stay unused: Python asks for __getitem__. */
static bool has_items(const struct jinja_value *v) {
    return v->type == JV_DICT || v->type == JV_LIST || v->type == JV_RANGE || v->type == JV_UNDEFINED;
}

bool jinja_format_percent(struct jinja_run *r, struct span format, const struct jinja_value *arg,
                          struct jinja_value *out) {
    struct percent p = {.format = format, .arg = arg};
    size_t mark = r->scratch.len;
    while (p.at < format.len) {
        uint8_t c = format.ptr[p.at++];
        if (c != '%') {
            str_add_byte(&r->scratch, c);
        } else if (!jinja_step(r, 1) || !format_one(r, &p)) {
            return false;
        }
    }
    bool tuple = arg->type == JV_TUPLE;
    bool unused = tuple ? p.used < arg->u.list->count : p.used == 0 && !has_items(arg);
    if (unused && !p.by_name) {
        return jinja_fail(r, LAMINA_DAMAGED, "not all arguments converted during string formatting");
    }
    return jinja_build_end(r, mark, out);
}

/* ---- str.format -------------------------------------------------------------------------------------------------- */

/* The value of "0", "name", "" (the next one), followed by any ".attribute" or "[item]". */
static bool field_value(struct jinja_run *r, struct span field, const struct jinja_args *a, uint32_t *next,
                        struct jinja_value *v) {
    size_t end = 0;
    int64_t number = 0;
    while (end < field.len && field.ptr[end] != '.' && field.ptr[end] != '[') {
        end++;
    }
    struct span name = span_sub(field, 0, end);
    bool found = false;
    if (name.len == 0 || jinja_parse_int(name, 10, &number)) {
        number = name.len == 0 ? (*next)++ : number;
        found = number >= 0 && number < a->count;
        if (found) {
            *v = a->v[number];
        }
    }
    for (uint32_t i = 0; !found && i < a->named; i++) {
        const struct jinja_value *key = &a->v[a->count + 2 * i];
        found = span_equal(jv_span(key), name);
        *v = found ? key[1] : *v;
    }
    if (!found) {
        return jinja_fail(r, LAMINA_DAMAGED, "format: there is no argument '%.*s'",
                          (int)(name.len < 60 ? name.len : 60), (const char *)name.ptr);
    }
    if (end < field.len) {
        return jinja_fail(r, LAMINA_UNSUPPORTED, "format: attributes and items in a field are not supported");
    }
    return true;
}

/* [[fill]align][sign][#][0][width][.precision][type] with the plain subset: align, sign, 0, width, precision, type. */
static bool field_spec(struct jinja_run *r, struct span text, const struct jinja_value *v, struct spec *s) {
    struct percent p = {.format = text};
    bool number = v->type == JV_INT || v->type == JV_FLOAT;
    s->left = !number;
    s->precision = -1;
    if (text.len != 0 && (text.ptr[0] == '<' || text.ptr[0] == '>')) {
        s->left = text.ptr[0] == '<';
        p.at = 1;
    }
    if (p.at < text.len && text.ptr[p.at] == '+') {
        s->plus = true;
        p.at++;
    }
    if (p.at < text.len && text.ptr[p.at] == '0') {
        s->zero = true;
        s->left = false;
        p.at++;
    }
    if (!read_count(r, &p, &s->width)) {
        return false;
    }
    if (p.at < text.len && text.ptr[p.at] == '.') {
        p.at++;
        if (!read_count(r, &p, &s->precision)) {
            return false;
        }
    }
    s->conversion = v->type == JV_INT ? 'd' : v->type == JV_FLOAT && s->precision >= 0 ? 'g' : 's';
    if (p.at < text.len) {
        s->conversion = (char)text.ptr[p.at++];
    }
    if (p.at != text.len || strchr("sdxXoeEfFgGc", s->conversion) == NULL) {
        return jinja_fail(r, LAMINA_UNSUPPORTED, "format: the specification '%.*s' is not supported",
                          (int)(text.len < 60 ? text.len : 60), (const char *)text.ptr);
    }
    return true;
}

static bool format_field(struct jinja_run *r, struct span field, const struct jinja_args *a, uint32_t *next) {
    struct jinja_value v = {.type = JV_ABSENT};
    struct spec s = {0};
    size_t colon = jinja_find(field, span_of_text(":"), 0);
    struct span spec = colon == SIZE_MAX ? span_of(NULL, 0) : span_sub(field, colon + 1, field.len);
    struct span name = span_sub(field, 0, colon == SIZE_MAX ? field.len : colon);
    bool repr = span_ends_with(name, "!r");
    name.len -= repr || span_ends_with(name, "!s") ? 2 : 0;
    if (!field_value(r, name, a, next, &v) || !jinja_step(r, 1)) {
        return false;
    }
    if (spec.len == 0) {
        return repr ? jinja_print_repr(r, &r->scratch, &v) : jinja_print(r, &r->scratch, &v);
    }
    if (repr) {
        return jinja_fail(r, LAMINA_UNSUPPORTED, "format: a specification after !r is not supported");
    }
    return field_spec(r, spec, &v, &s) && add_converted(r, &v, &s);
}

bool jinja_format_braces(struct jinja_run *r, struct span format, const struct jinja_args *a,
                         struct jinja_value *out) {
    size_t mark = r->scratch.len;
    uint32_t next = 0;
    for (size_t at = 0; at < format.len; at++) {
        uint8_t c = format.ptr[at];
        bool twice = at + 1 < format.len && format.ptr[at + 1] == c;
        if ((c != '{' && c != '}') || twice) {
            str_add_byte(&r->scratch, c);
            at += (c == '{' || c == '}') && twice;
            continue;
        }
        size_t end = c == '{' ? jinja_find(format, span_of_text("}"), at) : SIZE_MAX;
        if (end == SIZE_MAX) {
            return jinja_fail(r, LAMINA_DAMAGED, "single '%c' encountered in format string", c);
        }
        if (!format_field(r, span_sub(format, at + 1, end - at - 1), a, &next)) {
            return false;
        }
        at = end;
    }
    return jinja_build_end(r, mark, out);
}
