/* SPDX-License-Identifier: Apache-2.0
 *
 * Values as text: Python's str() and repr(), and json.dumps as transformers calls it (no HTML escaping). Must not know
 * nodes. Nesting is bounded, and every item written counts as a step, because shared lists print exponentially often.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/jinja_priv.h"

/* The shortest decimal that reads back the same, in Python's notation: an exponent below 1e-4 and from 1e16 on. */
void jinja_print_float(struct str *out, double d) {
    if (isnan(d) || isinf(d)) {
        str_add_text(out, isnan(d) ? "nan" : d > 0 ? "inf" : "-inf");
        return;
    }
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*e", digits - 1, d);
        if (strtod(text, NULL) == d) {
            break;
        }
    }
    char digit[24];
    int count = 0;
    const char *p = text;
    if (*p == '-') {
        str_add_byte(out, '-');
        p++;
    }
    for (; *p != 0 && *p != 'e'; p++) {
        if (*p != '.') {
            digit[count++] = *p;
        }
    }
    int exponent = atoi(p + 1);
    while (count > 1 && digit[count - 1] == '0') {
        count--;
    }
    if (exponent < -4 || exponent >= 16) {
        str_add(out, digit, 1);
        if (count > 1) {
            str_add_byte(out, '.');
            str_add(out, digit + 1, (size_t)count - 1);
        }
        str_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) {
        str_add(out, "0.0000", (size_t)(1 - exponent));
    }
    for (int i = 0; i < count || i <= exponent; i++) {
        str_add_byte(out, (uint8_t)(i < count ? digit[i] : '0'));
        if (i == exponent) {
            str_add_byte(out, '.');
        }
    }
    if (exponent >= count - 1) {
        str_add_byte(out, '0');
    }
}

static void add_repr_char(struct str *out, uint32_t c, uint8_t quote, struct span bytes) {
    if (c == quote || c == '\\') {
        str_add_byte(out, '\\');
        str_add_byte(out, (uint8_t)c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
        str_add_text(out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    } else if (jinja_is_printable(c)) {
        str_add_span(out, bytes);
    } else {
        str_printf(out, c <= 0xFF ? "\\x%02x" : c <= 0xFFFF ? "\\u%04x" : "\\U%08x", (unsigned)c);
    }
}

static void add_repr_string(struct str *out, struct span text) {
    bool single = text.len != 0 && memchr(text.ptr, '\'', text.len) != NULL;
    bool twice = text.len != 0 && memchr(text.ptr, '"', text.len) != NULL;
    uint8_t quote = single && !twice ? '"' : '\'';
    str_add_byte(out, quote);
    for (size_t at = 0; at < text.len;) {
        size_t begin = at;
        uint32_t c = jinja_next_char(text, &at);
        add_repr_char(out, c, quote, span_sub(text, begin, at - begin));
    }
    str_add_byte(out, quote);
}

static bool repr_at(struct jinja_run *r, struct str *out, const struct jinja_value *v, unsigned depth);

static bool repr_sequence(struct jinja_run *r, struct str *out, const struct jinja_value *v, unsigned depth) {
    const struct jinja_list *l = v->u.list;
    str_add_byte(out, v->type == JV_LIST ? '[' : '(');
    for (uint32_t i = 0; i < l->count; i++) {
        if (i != 0) {
            str_add_text(out, ", ");
        }
        if (!repr_at(r, out, &l->item[i], depth + 1)) {
            return false;
        }
    }
    if (v->type == JV_TUPLE && l->count == 1) {
        str_add_byte(out, ',');
    }
    str_add_byte(out, v->type == JV_LIST ? ']' : ')');
    return true;
}

static bool repr_dict(struct jinja_run *r, struct str *out, const struct jinja_dict *d, unsigned depth) {
    str_add_byte(out, '{');
    for (uint32_t i = 0; i < d->count; i++) {
        if (i != 0) {
            str_add_text(out, ", ");
        }
        if (!repr_at(r, out, &d->pair[i].key, depth + 1)) {
            return false;
        }
        str_add_text(out, ": ");
        if (!repr_at(r, out, &d->pair[i].value, depth + 1)) {
            return false;
        }
    }
    str_add_byte(out, '}');
    return true;
}

static bool repr_view(struct jinja_run *r, struct str *out, const struct jinja_value *v, unsigned depth) {
    const struct jinja_dict *d = v->u.dict;
    str_printf(out, "%s([", jinja_type_name(v));
    for (uint32_t i = 0; i < d->count; i++) {
        str_add_text(out, i != 0 ? ", " : "");
        str_add_text(out, v->flag == JVF_ITEMS ? "(" : "");
        if ((v->flag & JVF_KEYS) != 0 && !repr_at(r, out, &d->pair[i].key, depth + 1)) {
            return false;
        }
        str_add_text(out, v->flag == JVF_ITEMS ? ", " : "");
        if ((v->flag & JVF_VALUES) != 0 && !repr_at(r, out, &d->pair[i].value, depth + 1)) {
            return false;
        }
        str_add_text(out, v->flag == JVF_ITEMS ? ")" : "");
    }
    str_add_text(out, "])");
    return true;
}

static void repr_range(struct str *out, const struct jinja_range *g) {
    str_printf(out, "range(%lld, %lld", (long long)g->begin, (long long)g->end);
    if (g->step != 1) {
        str_printf(out, ", %lld", (long long)g->step);
    }
    str_add_byte(out, ')');
}

static void repr_macro(struct jinja_run *r, struct str *out, const struct jinja_macro *m) {
    const struct jinja_node *n = &r->t->nodes[m->node];
    if (n->kind == NODE_CALL_BLOCK) {
        str_add_text(out, "<Macro anonymous>");
        return;
    }
    str_add_text(out, "<Macro ");
    add_repr_string(out, span_sub(str_span(&r->t->pool), r->t->names[n->a].offset, r->t->names[n->a].len));
    str_add_byte(out, '>');
}

static bool repr_namespace(struct jinja_run *r, struct str *out, const struct jinja_value *v, unsigned depth) {
    str_add_text(out, "<Namespace ");
    bool ok = repr_dict(r, out, v->u.dict, depth);
    str_add_byte(out, '>');
    return ok;
}

static bool repr_container(struct jinja_run *r, struct str *out, const struct jinja_value *v, unsigned depth) {
    switch ((enum jinja_type)v->type) {
    case JV_LIST:
    case JV_TUPLE:
        return repr_sequence(r, out, v, depth);
    case JV_DICT:
        return repr_dict(r, out, v->u.dict, depth);
    case JV_VIEW:
        return repr_view(r, out, v, depth);
    default:
        return repr_namespace(r, out, v, depth);
    }
}

static bool repr_at(struct jinja_run *r, struct str *out, const struct jinja_value *v, unsigned depth) {
    if (depth > JINJA_VALUE_DEPTH) {
        return jinja_fail(r, LAMINA_NO_FIT, "values nested too deeply to be printed");
    }
    if (out->failed || !jinja_step(r, 1)) {
        return out->failed || false;
    }
    switch ((enum jinja_type)v->type) {
    case JV_UNDEFINED:
        str_add_text(out, "Undefined");
        return true;
    case JV_NONE:
        str_add_text(out, "None");
        return true;
    case JV_BOOL:
        str_add_text(out, v->u.i != 0 ? "True" : "False");
        return true;
    case JV_INT:
        str_printf(out, "%lld", (long long)v->u.i);
        return true;
    case JV_FLOAT:
        jinja_print_float(out, v->u.d);
        return true;
    case JV_STRING:
        str_add_text(out, (v->flag & JVF_MARKUP) != 0 ? "Markup(" : "");
        add_repr_string(out, jv_span(v));
        str_add_text(out, (v->flag & JVF_MARKUP) != 0 ? ")" : "");
        return true;
    case JV_LIST:
    case JV_TUPLE:
    case JV_DICT:
    case JV_VIEW:
    case JV_NAMESPACE:
        return repr_container(r, out, v, depth);
    case JV_RANGE:
        repr_range(out, v->u.range);
        return true;
    case JV_MACRO:
        repr_macro(r, out, v->u.macro);
        return true;
    case JV_LOOP:
        str_printf(out, "<LoopContext %llu/%llu>", (unsigned long long)v->u.loop->index0 + 1,
                   (unsigned long long)v->u.loop->walk.length);
        return true;
    default:
        str_printf(out, "<%s object>", jinja_type_name(v));
        return true;
    }
}

bool jinja_print_repr(struct jinja_run *r, struct str *out, const struct jinja_value *v) {
    return repr_at(r, out, v, 0);
}

bool jinja_print(struct jinja_run *r, struct str *out, const struct jinja_value *v) {
    if (v->type == JV_STRING) {
        str_add_span(out, jv_span(v));
        return true;
    }
    return v->type == JV_UNDEFINED || repr_at(r, out, v, 0);
}

bool jinja_to_string(struct jinja_run *r, const struct jinja_value *v, struct jinja_value *out) {
    if (v->type == JV_STRING) {
        *out = *v;
        return true;
    }
    size_t mark = r->scratch.len;
    return jinja_print(r, &r->scratch, v) && jinja_build_end(r, mark, out);
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static void add_json_char(struct str *out, uint32_t c, struct span bytes, bool ensure_ascii) {
    static const char from[] = "\"\\\n\r\t\f\b";
    static const char to[] = "\"\\nrtfb";
    const char *simple = c != 0 && c < 0x80 ? strchr(from, (char)c) : NULL;
    if (simple != NULL) {
        str_add_byte(out, '\\');
        str_add_byte(out, (uint8_t)to[simple - from]);
    } else if (c < 0x20 || (ensure_ascii && c >= 0x7F && c <= 0xFFFF)) {
        str_printf(out, "\\u%04x", (unsigned)c);
    } else if (ensure_ascii && c > 0xFFFF) {
        str_printf(out, "\\u%04x\\u%04x", (unsigned)(0xD800 + ((c - 0x10000) >> 10)),
                   (unsigned)(0xDC00 + ((c - 0x10000) & 0x3FF)));
    } else {
        str_add_span(out, bytes);
    }
}

static void add_json_string(struct str *out, struct span text, bool ensure_ascii) {
    str_add_byte(out, '"');
    for (size_t at = 0; at < text.len;) {
        size_t begin = at;
        uint32_t c = jinja_next_char(text, &at);
        add_json_char(out, c, span_sub(text, begin, at - begin), ensure_ascii);
    }
    str_add_byte(out, '"');
}

static bool json_at(struct jinja_run *r, struct str *out, const struct jinja_value *v,
                    const struct jinja_json_style *style, unsigned depth);

static void json_line(struct str *out, const struct jinja_json_style *style, unsigned depth) {
    if (style->indent.ptr != NULL) {
        str_add_byte(out, '\n');
        for (unsigned i = 0; i < depth; i++) {
            str_add_span(out, style->indent);
        }
    }
}

static bool json_list(struct jinja_run *r, struct str *out, const struct jinja_list *l,
                      const struct jinja_json_style *style, unsigned depth) {
    str_add_byte(out, '[');
    for (uint32_t i = 0; i < l->count; i++) {
        if (i != 0) {
            str_add_span(out, style->item_separator);
        }
        json_line(out, style, depth + 1);
        if (!json_at(r, out, &l->item[i], style, depth + 1)) {
            return false;
        }
    }
    if (l->count != 0) {
        json_line(out, style, depth);
    }
    str_add_byte(out, ']');
    return true;
}

static void add_json_float(struct str *out, double d) {
    if (isnan(d) || isinf(d)) {
        str_add_text(out, isnan(d) ? "NaN" : d > 0 ? "Infinity" : "-Infinity");
    } else {
        jinja_print_float(out, d);
    }
}

static bool json_scalar(struct jinja_run *r, struct str *out, const struct jinja_value *v,
                        const struct jinja_json_style *style) {
    switch ((enum jinja_type)v->type) {
    case JV_NONE:
        str_add_text(out, "null");
        return true;
    case JV_BOOL:
        str_add_text(out, v->u.i != 0 ? "true" : "false");
        return true;
    case JV_INT:
        str_printf(out, "%lld", (long long)v->u.i);
        return true;
    case JV_FLOAT:
        add_json_float(out, v->u.d);
        return true;
    case JV_STRING:
        add_json_string(out, jv_span(v), style->ensure_ascii);
        return true;
    default:
        return jinja_fail(r, LAMINA_DAMAGED, "Object of type %s is not JSON serializable", jinja_type_name(v));
    }
}

static bool json_key(struct jinja_run *r, struct str *out, const struct jinja_value *key,
                     const struct jinja_json_style *style) {
    bool plain = key->type == JV_STRING;
    bool scalar = plain || key->type == JV_NONE || key->type == JV_BOOL || key->type == JV_INT ||
                  key->type == JV_FLOAT;
    if (!scalar) {
        return jinja_fail(r, LAMINA_DAMAGED, "keys must be str, int, float, bool or None, not %s",
                          jinja_type_name(key));
    }
    str_add_text(out, plain ? "" : "\"");
    bool ok = json_scalar(r, out, key, style);
    str_add_text(out, plain ? "" : "\"");
    return ok;
}

static bool json_dict(struct jinja_run *r, struct str *out, const struct jinja_dict *d,
                      const struct jinja_json_style *style, unsigned depth) {
    struct jinja_pair *pairs = d->pair;
    if (style->sort_keys && d->count > 1) {
        pairs = (struct jinja_pair *)jinja_take(r, d->count, sizeof(*pairs));
        if (pairs == NULL) {
            return false;
        }
        memcpy(pairs, d->pair, d->count * sizeof(*pairs));
        if (!jinja_sort(r, pairs, d->count, false)) {
            return false;
        }
    }
    str_add_byte(out, '{');
    for (uint32_t i = 0; i < d->count; i++) {
        if (i != 0) {
            str_add_span(out, style->item_separator);
        }
        json_line(out, style, depth + 1);
        if (!json_key(r, out, &pairs[i].key, style)) {
            return false;
        }
        str_add_span(out, style->key_separator);
        if (!json_at(r, out, &pairs[i].value, style, depth + 1)) {
            return false;
        }
    }
    if (d->count != 0) {
        json_line(out, style, depth);
    }
    str_add_byte(out, '}');
    return true;
}

static bool json_at(struct jinja_run *r, struct str *out, const struct jinja_value *v,
                    const struct jinja_json_style *style, unsigned depth) {
    if (depth > JINJA_VALUE_DEPTH) {
        return jinja_fail(r, LAMINA_NO_FIT, "values nested too deeply to be written as JSON");
    }
    if (out->failed || !jinja_step(r, 1)) {
        return out->failed || false;
    }
    if (v->type == JV_LIST || v->type == JV_TUPLE) {
        return json_list(r, out, v->u.list, style, depth);
    }
    return v->type == JV_DICT ? json_dict(r, out, v->u.dict, style, depth) : json_scalar(r, out, v, style);
}

bool jinja_print_json(struct jinja_run *r, struct str *out, const struct jinja_value *v,
                      const struct jinja_json_style *style) {
    return json_at(r, out, v, style, 0);
}
