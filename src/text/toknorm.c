/* SPDX-License-Identifier: Apache-2.0
 *
 * Normalizers of tokenizer.json, one step per component, text in and text out. Unicode forms and case come from
 * utf8proc; the meaning of every step is the reference tokenizer's. Knows nothing of tokens. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/tokchars_priv.h"
#include "text/tokmodel_priv.h"
#include "text/toksp_priv.h"
#include "text/tokunicode_priv.h"

enum norm_kind {
    NORM_FORM,
    NORM_LOWERCASE,
    NORM_PREPEND,
    NORM_REPLACE,
    NORM_STRIP,
    NORM_STRIP_ACCENTS,
    NORM_BYTES,
    NORM_NMT,
    NORM_PRECOMPILED,
    NORM_BERT_CLEAN, /* a BertNormalizer is up to five steps */
    NORM_BERT_HAN,
    NORM_BERT_ACCENTS,
    NORM_BLANKS,
    NORM_SP,
};

static const struct {
    const char *name;
    enum norm_kind kind;
    int form; /* utf8proc options */
} norm_names[] = {
    {"NFC", NORM_FORM, UTF8PROC_STABLE | UTF8PROC_COMPOSE},
    {"NFD", NORM_FORM, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
    {"NFKC", NORM_FORM, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
    {"NFKD", NORM_FORM, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
    {"Lowercase", NORM_LOWERCASE, 0},
    {"Prepend", NORM_PREPEND, 0},
    {"Replace", NORM_REPLACE, 0},
    {"Strip", NORM_STRIP, 0},
    {"StripAccents", NORM_STRIP_ACCENTS, 0},
    {"ByteLevel", NORM_BYTES, 0},
    {"Nmt", NORM_NMT, 0},
    {"Precompiled", NORM_PRECOMPILED, 0},
};

/* A character map in base64. */
static bool read_map(struct tok_step *step, struct json_reader *r) {
    struct str text = {0};
    struct str blob = {0};
    struct lamina_error why = {0};
    step->map = calloc(1, sizeof(*step->map));
    if (step->map == NULL) {
        return tok_json_no_memory(r);
    }
    if (tok_json_text(r, &text) && text.len > 0 && !tok_base64_read(str_span(&text), &blob)) {
        json_refuse(r, LAMINA_DAMAGED, "\"precompiled_charsmap\" is not base64");
    }
    if (r->failed == LAMINA_OK && blob.failed) {
        tok_json_no_memory(r);
    }
    if (r->failed == LAMINA_OK && tok_charsmap_open(step->map, str_span(&blob), &why) < 0) {
        json_refuse(r, why.code, "%s", why.message);
    }
    str_drop(&text);
    str_drop(&blob);
    return r->failed == LAMINA_OK;
}

static bool read_members(struct tok_step *step, struct json_reader *r) {
    struct span key;
    bool has_text = step->kind != NORM_PREPEND && step->kind != NORM_REPLACE && step->kind != NORM_PRECOMPILED;
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        if (step->kind == NORM_PREPEND && span_is(key, "prepend")) {
            has_text = tok_json_text(r, &step->text);
        } else if (step->kind == NORM_REPLACE && span_is(key, "content")) {
            has_text = tok_json_text(r, &step->text);
        } else if (step->kind == NORM_REPLACE && span_is(key, "pattern")) {
            tok_json_pattern(r, &step->re);
        } else if (step->kind == NORM_PRECOMPILED && span_is(key, "precompiled_charsmap") && step->map == NULL) {
            has_text = read_map(step, r);
        } else if (step->kind == NORM_STRIP && span_is(key, "strip_left")) {
            json_bool(r, &step->flag_a);
        } else if (step->kind == NORM_STRIP && span_is(key, "strip_right")) {
            json_bool(r, &step->flag_b);
        } else {
            json_skip(r);
        }
    }
    if (r->failed == LAMINA_OK && (!has_text || (step->kind == NORM_REPLACE && step->re == NULL))) {
        json_refuse(r, LAMINA_DAMAGED, "normalizer without its \"pattern\", \"content\", \"prepend\" or \"precompiled_charsmap\"");
    }
    return r->failed == LAMINA_OK;
}

/* Clean, space out Han characters, take accents off (a decomposition without its marks), lower the case: in this order.
 * Accents follow the case where the file does not say. */
static bool read_bert(struct tok_steps *s, struct json_reader *r) {
    struct span key;
    bool clean = true;
    bool han = true;
    bool lower = true;
    bool accents = false;
    bool said = false;
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        bool *flag = span_is(key, "clean_text")             ? &clean
                     : span_is(key, "handle_chinese_chars") ? &han
                     : span_is(key, "lowercase")            ? &lower
                     : span_is(key, "strip_accents")        ? &accents
                                                            : NULL;
        if (flag == NULL) {
            json_skip(r);
        } else if (flag != &accents) {
            json_bool(r, flag);
        } else if (!json_null(r)) {
            said = json_bool(r, flag);
        }
    }
    bool strip = said ? accents : lower;
    const struct {
        bool wanted;
        enum norm_kind kind;
    } steps[] = {{clean, NORM_BERT_CLEAN}, {han, NORM_BERT_HAN},  {strip, NORM_FORM},
                 {strip, NORM_BERT_ACCENTS}, {lower, NORM_LOWERCASE}};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && r->failed == LAMINA_OK; i++) {
        struct tok_step *step = steps[i].wanted ? tok_steps_add(s, r, (int)steps[i].kind) : NULL;
        if (step != NULL) {
            step->behavior = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE; /* of NORM_FORM */
        }
    }
    return r->failed == LAMINA_OK;
}

bool tok_norm_add_sp(struct tok_steps *s, struct tok_sp_norm *sp, bool blanks) {
    struct lamina_error ignored = {0};
    struct json_reader r = {.name = "tokenizer", .err = &ignored};
    if (blanks && tok_steps_add(s, &r, NORM_BLANKS) == NULL) {
        tok_sp_norm_close(&sp);
        return false;
    }
    struct tok_step *step = tok_steps_add(s, &r, NORM_SP);
    if (step == NULL) {
        tok_sp_norm_close(&sp);
        return false;
    }
    step->sp = sp;
    return true;
}

bool tok_norm_read(struct tok_steps *s, struct json_reader *r) {
    char type[64];
    if (json_null(r)) {
        return true;
    }
    if (!tok_json_type(r, type)) {
        return false;
    }
    if (strcmp(type, "Sequence") == 0) {
        return tok_json_sequence(r, "normalizers", tok_norm_read, s);
    }
    if (strcmp(type, "BertNormalizer") == 0) {
        return read_bert(s, r);
    }
    for (size_t i = 0; i < sizeof(norm_names) / sizeof(norm_names[0]); i++) {
        if (strcmp(type, norm_names[i].name) == 0) {
            struct tok_step *step = tok_steps_add(s, r, (int)norm_names[i].kind);
            if (step == NULL) {
                return false;
            }
            step->behavior = norm_names[i].form;
            return read_members(step, r);
        }
    }
    return json_refuse(r, LAMINA_UNSUPPORTED, "normalizer \"%s\" is not supported", type);
}

void tok_norm_work_drop(struct tok_norm_work *w) {
    str_drop(&w->a);
    str_drop(&w->b);
    tok_matches_drop(&w->matches);
}

/* --- the steps --- */

/* Text below U+0300 is its own NFC, ASCII is its own everything. */
static bool is_settled(struct span text, int form) {
    uint8_t limit = (form & UTF8PROC_COMPOSE) != 0 && (form & UTF8PROC_COMPAT) == 0 ? 0xcc : 0x80;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] >= limit) {
            return false;
        }
    }
    return true;
}

/* Characters that got a combining class or a decomposition after Unicode 9, the version of the reference's tables:
 * to it they are plain letters that nothing moves across. (Measured over all code points against tokenizers
 * 0.22.2.) */
static const uint32_t late[][2] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},
    {0x32ff, 0x32ff},   {0xa7f2, 0xa7f4},   {0xa82c, 0xa82c},   {0xab69, 0xab69},   {0x10781, 0x10785},
    {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e},
    {0x11839, 0x1183a}, {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0},
    {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45},
    {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e030, 0x1e06d}, {0x1e08f, 0x1e08f},
    {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1f16c, 0x1f16c},
    {0x1fbf0, 0x1fbf9},
};

static bool is_late(uint32_t c) {
    size_t low = 0;
    size_t high = sizeof(late) / sizeof(late[0]);
    while (c >= late[0][0] && low < high) {
        size_t mid = (low + high) / 2;
        if (c > late[mid][1]) {
            low = mid + 1;
        } else if (c < late[mid][0]) {
            high = mid;
        } else {
            return true;
        }
    }
    return false;
}

/* Code points in the making. */
struct points {
    int32_t *list;
    size_t count;
    size_t cap;
};

static bool decompose(struct span text, int form, struct points *p) {
    for (size_t at = 0; at < text.len;) {
        uint32_t c = 0;
        int boundary = 0;
        at += tok_char_at(text, at, &c);
        if (p->cap - p->count < 32) { /* the longest decomposition has 18 */
            size_t cap = p->cap * 2 + text.len - at + 64;
            int32_t *grown = reallocarray(p->list, cap, sizeof(*grown));
            if (grown == NULL) {
                return false;
            }
            p->list = grown;
            p->cap = cap;
        }
        utf8proc_ssize_t n =
            utf8proc_decompose_char((utf8proc_int32_t)c, p->list + p->count, 32, (utf8proc_option_t)form, &boundary);
        if (n < 0 || n > 32) {
            return false;
        }
        p->count += (size_t)n;
    }
    return true;
}

static uint64_t combining_class(int32_t c) {
    return (uint64_t)utf8proc_get_property(c)->combining_class;
}

static int compare_keys(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Canonical ordering (Unicode 3.11, D109): a stable sort of every run of combining marks by class. utf8proc's own
 * exchanges neighbours, which takes hours for a megabyte of marks, so class, position and character are sorted as
 * one key. */
static bool put_in_order(struct points *p) {
    uint64_t *keys = NULL;
    size_t cap = 0;
    for (size_t begin = 0; begin < p->count;) {
        size_t end = begin;
        bool sorted = true;
        uint64_t last = 0;
        for (uint64_t class = 0; end < p->count && (class = combining_class(p->list[end])) != 0; end++) {
            sorted = sorted && class >= last;
            last = class;
        }
        if (!sorted) {
            size_t n = end - begin;
            void *block = keys;
            if (!tok_scratch_need(&block, &cap, n * sizeof(*keys))) {
                free(keys);
                return false;
            }
            keys = block;
            for (size_t i = 0; i < n; i++) {
                int32_t c = p->list[begin + i];
                keys[i] = combining_class(c) << 56 | (uint64_t)i << 21 | (uint64_t)c;
            }
            qsort(keys, n, sizeof(*keys), compare_keys);
            for (size_t i = 0; i < n; i++) {
                p->list[begin + i] = (int32_t)(keys[i] & 0x1fffff);
            }
        }
        begin = end > begin ? end : begin + 1;
    }
    free(keys);
    return true;
}

static lamina_status form_part(struct span text, int form, struct str *out, struct lamina_error *err) {
    struct points p = {0};
    if (is_settled(text, form)) {
        str_add_span(out, text);
        return LAMINA_OK;
    }
    lamina_status status = LAMINA_OK;
    if (!decompose(text, form, &p) || !put_in_order(&p)) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory while normalising a text of %zu bytes", text.len);
    } else {
        utf8proc_ssize_t n = (utf8proc_ssize_t)p.count;
        if ((form & UTF8PROC_COMPOSE) != 0) {
            n = utf8proc_normalize_utf32(p.list, n, (utf8proc_option_t)form);
        }
        for (utf8proc_ssize_t i = 0; i < n; i++) {
            str_add_utf8(out, (uint32_t)p.list[i]);
        }
    }
    free(p.list);
    return status;
}

static lamina_status to_form(struct span text, int form, struct str *out, struct lamina_error *err) {
    size_t begin = 0;
    for (size_t at = 0; at < text.len;) {
        uint32_t c = 0;
        size_t n = tok_char_at(text, at, &c);
        if (is_late(c)) {
            LAMINA_TRY(form_part(span_of(text.ptr + begin, at - begin), form, out, err));
            str_add(out, text.ptr + at, n);
            begin = at + n;
        }
        at += n;
    }
    return form_part(span_of(text.ptr + begin, text.len - begin), form, out, err);
}

static void lowercase(struct span text, struct str *out) {
    for (size_t at = 0; at < text.len;) {
        uint32_t c = 0;
        at += tok_char_at(text, at, &c);
        if (c < 0x80) {
            str_add_byte(out, (uint8_t)(c >= 'A' && c <= 'Z' ? c + 32 : c));
        } else if (c == 0x130) { /* the only character whose full lower case is two (SpecialCasing.txt) */
            str_add_text(out, "i\xcc\x87");
        } else {
            str_add_utf8(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
        }
    }
}

static lamina_status replace(const struct tok_step *step, struct span text, struct tok_norm_work *w, struct str *out,
                             struct lamina_error *err) {
    w->matches.count = 0;
    LAMINA_TRY(tok_regex_find(step->re, text, &w->matches, err));
    for (size_t i = 0; i < w->matches.count; i++) {
        const struct tok_match *m = &w->matches.list[i];
        str_add_span(out, m->hit ? str_span(&step->text) : span_of(text.ptr + m->begin, m->end - m->begin));
        w->cut = w->cut || (m->hit && m->begin == 0 && m->end > 0 && step->text.len == 0);
    }
    return LAMINA_OK;
}

static void strip(const struct tok_step *step, struct span text, struct tok_norm_work *w, struct str *out) {
    uint32_t c = 0;
    size_t begin = 0;
    size_t end = text.len;
    while (step->flag_a && begin < end) {
        size_t n = tok_char_at(text, begin, &c);
        if (!tok_is_space(c)) {
            break;
        }
        begin += n;
    }
    while (step->flag_b && end > begin) {
        size_t at = tok_char_before(text, end, &c);
        if (!tok_is_space(c)) {
            break;
        }
        end = at;
    }
    w->cut = w->cut || begin > 0;
    str_add(out, text.ptr + begin, end - begin);
}

static void strip_accents(struct span text, struct tok_norm_work *w, struct str *out) {
    for (size_t at = 0; at < text.len;) {
        uint32_t c = 0;
        size_t n = tok_char_at(text, at, &c);
        if (c < 0x300 || !tok_is_mark(c)) {
            str_add(out, text.ptr + at, n);
        } else {
            w->cut = w->cut || at == 0;
        }
        at += n;
    }
}

static lamina_status run_step(const struct tok_step *step, struct span text, struct tok_norm_work *w, struct str *out,
                              struct lamina_error *err) {
    switch ((enum norm_kind)step->kind) {
    case NORM_FORM:
        return to_form(text, step->behavior, out, err);
    case NORM_LOWERCASE:
        lowercase(text, out);
        break;
    case NORM_PREPEND:
        if (text.len > 0) {
            str_add_span(out, str_span(&step->text));
            str_add_span(out, text);
        }
        break;
    case NORM_REPLACE:
        return replace(step, text, w, out, err);
    case NORM_STRIP:
        strip(step, text, w, out);
        break;
    case NORM_STRIP_ACCENTS:
        strip_accents(text, w, out);
        break;
    case NORM_BYTES:
        tok_bytes_as_chars(text, out);
        break;
    case NORM_NMT:
        w->cut = tok_chars_nmt(text, out) || w->cut;
        break;
    case NORM_PRECOMPILED:
        tok_chars_precompiled(step->map, text, out);
        break;
    case NORM_BERT_CLEAN:
        w->cut = tok_chars_bert_clean(text, out) || w->cut;
        break;
    case NORM_BERT_HAN:
        tok_chars_bert_han(text, out);
        break;
    case NORM_BERT_ACCENTS:
        w->cut = tok_chars_drop_nonspacing(text, out) || w->cut;
        break;
    case NORM_BLANKS:
        tok_chars_blanks(text, out);
        break;
    case NORM_SP:
        tok_sp_norm_run(step->sp, text, out);
        break;
    }
    return LAMINA_OK;
}

lamina_status tok_norm_run(const struct tok_steps *s, struct span text, struct tok_norm_work *w, struct span *result,
                           struct lamina_error *err) {
    struct str *out = &w->a;
    w->cut = false;
    w->a.limit = tok_text_limit(text.len);
    w->b.limit = w->a.limit;
    for (size_t i = 0; i < s->count; i++) {
        str_clear(out);
        LAMINA_TRY(run_step(&s->list[i], text, w, out, err));
        if (out->failed) {
            return base_fail(err, LAMINA_NO_FIT, "normalising a text made it too large for memory or above %zu bytes",
                             w->a.limit);
        }
        text = str_span(out);
        out = out == &w->a ? &w->b : &w->a;
    }
    *result = text;
    return LAMINA_OK;
}
