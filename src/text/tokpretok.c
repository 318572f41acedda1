/* SPDX-License-Identifier: Apache-2.0
 *
 * Pre-tokenizers of tokenizer.json: steps that cut pieces into smaller ones, or rewrite them (byte alphabet, meta
 * space). Pieces are ranges of one text; a cutting step keeps the text, a rewriting step makes a new one. */
#include <stdlib.h>
#include <string.h>

#include "text/tokstep_priv.h"
#include "text/tokunicode_priv.h"

enum pretok_kind {
    PRE_SPLIT,
    PRE_BYTES,     /* to the byte alphabet; flag_a: a space in front */
    PRE_BYTES_CUT, /* the GPT-2 pattern that ByteLevel brings along; flag_a as above */
    PRE_METASPACE, /* start: scheme, flag_a: cut */
    PRE_DIGITS,    /* flag_a: each alone */
    PRE_PUNCTUATION,
    PRE_WHITESPACE,
    PRE_WHITESPACE_SPLIT,
    PRE_DELIMITER,
    PRE_FIXED,
    PRE_BERT,
};

enum behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };
enum scheme { SCHEME_ALWAYS, SCHEME_FIRST, SCHEME_NEVER };

static const char *const behavior_names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                             "Contiguous"};
static const char *const scheme_names[] = {"always", "first", "never"};

/* GPT-2, encoder.py: contractions, then words, numbers and the rest with one leading space, then spaces. */
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static const struct {
    const char *name;
    enum pretok_kind kind;
} pretok_names[] = {
    {"Split", PRE_SPLIT},
    {"ByteLevel", PRE_BYTES_CUT},
    {"Metaspace", PRE_METASPACE},
    {"Digits", PRE_DIGITS},
    {"Punctuation", PRE_PUNCTUATION},
    {"Whitespace", PRE_WHITESPACE},
    {"WhitespaceSplit", PRE_WHITESPACE_SPLIT},
    {"CharDelimiterSplit", PRE_DELIMITER},
    {"Delimiter", PRE_DELIMITER},
    {"FixedLength", PRE_FIXED},
    {"BertPreTokenizer", PRE_BERT},
};

/* --- reading --- */

/* An option by name; an unknown one is refused rather than taken for a default. */
static bool read_choice(struct json_reader *r, const char *const *names, size_t count, int *choice) {
    struct str text = {0};
    if (tok_json_text(r, &text)) {
        size_t i = 0;
        while (i < count && strcmp(names[i], str_text(&text)) != 0) {
            i++;
        }
        *choice = (int)i;
        if (i == count) {
            json_refuse(r, LAMINA_UNSUPPORTED, "pre_tokenizer option \"%s\" is not known", str_text(&text));
        }
    }
    str_drop(&text);
    return r->failed == LAMINA_OK;
}

/* What a reader has seen, to know afterwards what is missing. */
struct seen {
    bool behavior;
    bool prefix_space;
    bool add_prefix_space;
    bool replacement;
    bool use_regex;
};

static void read_member(struct tok_step *step, struct span key, struct seen *seen, struct json_reader *r) {
    switch ((enum pretok_kind)step->kind) {
    case PRE_SPLIT:
    case PRE_PUNCTUATION:
        if (span_is(key, "pattern") && step->kind == PRE_SPLIT) {
            tok_json_pattern(r, &step->re);
            return;
        }
        if (span_is(key, "behavior")) {
            seen->behavior = read_choice(r, behavior_names, 5, &step->behavior);
            return;
        }
        if (span_is(key, "invert") && step->kind == PRE_SPLIT) {
            json_bool(r, &step->invert);
            return;
        }
        break;
    case PRE_BYTES:
    case PRE_BYTES_CUT:
        if (span_is(key, "add_prefix_space")) {
            seen->prefix_space = json_bool(r, &step->flag_a);
            return;
        }
        if (span_is(key, "use_regex")) {
            json_bool(r, &seen->use_regex);
            return;
        }
        break; /* trim_offsets changes offsets, not ids */
    case PRE_METASPACE:
        if (span_is(key, "replacement")) {
            seen->replacement = tok_json_character(r, &step->character);
            return;
        }
        if (span_is(key, "prepend_scheme")) {
            read_choice(r, scheme_names, 3, &step->behavior);
            return;
        }
        if (span_is(key, "add_prefix_space") && json_peek(r) == JSON_BOOL) {
            seen->prefix_space = json_bool(r, &seen->add_prefix_space);
            return;
        }
        if (span_is(key, "split") && json_peek(r) == JSON_BOOL) {
            json_bool(r, &step->flag_a);
            return;
        }
        break;
    case PRE_DIGITS:
        if (span_is(key, "individual_digits")) {
            json_bool(r, &step->flag_a);
            return;
        }
        break;
    case PRE_DELIMITER:
        if (span_is(key, "delimiter")) {
            seen->replacement = tok_json_character(r, &step->character);
            return;
        }
        break;
    case PRE_FIXED:
        if (span_is(key, "length")) {
            tok_json_size(r, &step->start);
            return;
        }
        break;
    case PRE_WHITESPACE:
    case PRE_WHITESPACE_SPLIT:
    case PRE_BERT:
        break;
    }
    json_skip(r);
}

/* Legacy files say add_prefix_space instead of prepend_scheme; false with another scheme than "never" is refused by the
 * reference as well (its "never" must then be written out). */
static bool finish_metaspace(struct tok_step *step, const struct seen *seen, bool scheme_given, struct json_reader *r) {
    if (!seen->replacement) {
        return json_refuse(r, LAMINA_DAMAGED, "Metaspace without \"replacement\"");
    }
    if (seen->prefix_space && !seen->add_prefix_space) {
        if (scheme_given && step->behavior != SCHEME_NEVER) {
            return json_refuse(r, LAMINA_DAMAGED, "Metaspace: add_prefix_space does not match prepend_scheme");
        }
        step->behavior = SCHEME_NEVER;
    }
    str_add_utf8(&step->text, step->character);
    return !step->text.failed || tok_json_no_memory(r);
}

static bool finish_step(struct tok_steps *s, struct tok_step *step, const struct seen *seen, struct json_reader *r) {
    switch ((enum pretok_kind)step->kind) {
    case PRE_SPLIT:
        return (step->re != NULL && seen->behavior) ||
               json_refuse(r, LAMINA_DAMAGED, "Split without pattern or behavior");
    case PRE_BYTES_CUT: {
        if (!seen->prefix_space) {
            return json_refuse(r, LAMINA_DAMAGED, "ByteLevel without \"add_prefix_space\"");
        }
        if (!seen->use_regex) {
            step->kind = PRE_BYTES;
            return true;
        }
        struct lamina_error why = {0};
        if (tok_regex_open(&step->re, span_of_text(gpt2_pattern), true, &why) < 0) {
            return json_refuse(r, why.code, "%s", why.message);
        }
        return tok_steps_add(s, r, PRE_BYTES) != NULL;
    }
    case PRE_DELIMITER:
        return seen->replacement || json_refuse(r, LAMINA_DAMAGED, "CharDelimiterSplit without \"delimiter\"");
    case PRE_FIXED:
        return step->start > 0 || json_refuse(r, LAMINA_DAMAGED, "FixedLength of 0");
    default:
        return true;
    }
}

bool tok_pretok_read(struct tok_steps *s, struct json_reader *r) {
    char type[64];
    if (json_null(r)) {
        return true;
    }
    if (!tok_json_type(r, type)) {
        return false;
    }
    if (strcmp(type, "Sequence") == 0) {
        return tok_json_sequence(r, "pretokenizers", tok_pretok_read, s);
    }
    struct tok_step *step = NULL;
    for (size_t i = 0; i < sizeof(pretok_names) / sizeof(pretok_names[0]); i++) {
        if (strcmp(type, pretok_names[i].name) == 0) {
            step = tok_steps_add(s, r, (int)pretok_names[i].kind);
            if (step == NULL) {
                return false;
            }
        }
    }
    if (step == NULL) {
        return json_refuse(r, LAMINA_UNSUPPORTED, "pre_tokenizer \"%s\" is not supported", type);
    }
    struct seen seen = {.use_regex = true};
    bool scheme_given = false;
    struct span key;
    step->flag_a = step->kind == PRE_METASPACE; /* "split" is true where absent */
    step->behavior = step->kind == PRE_PUNCTUATION ? ISOLATED : step->kind == PRE_METASPACE ? SCHEME_ALWAYS : REMOVED;
    step->start = 5; /* FixedLength */
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        scheme_given = scheme_given || span_is(key, "prepend_scheme");
        read_member(step, key, &seen, r);
    }
    if (r->failed != LAMINA_OK) {
        return false;
    }
    return step->kind == PRE_METASPACE ? finish_metaspace(step, &seen, scheme_given, r)
                                       : finish_step(s, step, &seen, r);
}

bool tok_pretok_is_bytes(const struct tok_steps *s) {
    return tok_steps_has(s, PRE_BYTES);
}

/* --- cutting --- */

static void pieces_drop(struct tok_pieces *p) {
    str_drop(&p->text);
    free(p->list);
}

void tok_pretok_work_drop(struct tok_pretok_work *w) {
    pieces_drop(&w->a);
    pieces_drop(&w->b);
    tok_matches_drop(&w->matches);
}

static bool put(struct tok_pieces *out, size_t begin, size_t len, bool first) {
    if (len == 0) {
        return true;
    }
    if (out->count == out->cap) {
        size_t cap = out->cap == 0 ? 64 : out->cap * 2;
        struct tok_piece *grown = reallocarray(out->list, cap, sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        out->list = grown;
        out->cap = cap;
    }
    out->list[out->count++] = (struct tok_piece){.begin = begin, .len = len, .first = first};
    return true;
}

/* Turns matches and gaps into parts, in place; `hit` then means "drop". The rules for runs of matches are those of the
 * reference's SplitDelimiterBehavior: only the first match of a run joins its neighbour. */
static void apply_behavior(struct tok_matches *m, int behavior) {
    size_t n = 0;
    bool previous = false;
    if (behavior == REMOVED) {
        return;
    }
    if (behavior == MERGED_WITH_NEXT) { /* from the back, then closed up */
        size_t at = m->count;
        for (size_t i = m->count; i-- > 0;) {
            struct tok_match x = m->list[i];
            if (x.hit && !previous && at < m->count) {
                m->list[at].begin = x.begin;
            } else {
                m->list[--at] = (struct tok_match){.begin = x.begin, .end = x.end};
            }
            previous = x.hit;
        }
        memmove(m->list, m->list + at, (m->count - at) * sizeof(*m->list));
        m->count -= at;
        return;
    }
    for (size_t i = 0; i < m->count; i++) {
        struct tok_match x = m->list[i];
        bool join = n > 0 && ((behavior == CONTIGUOUS && x.hit == previous) ||
                              (behavior == MERGED_WITH_PREVIOUS && x.hit && !previous));
        if (join) {
            m->list[n - 1].end = x.end;
        } else {
            m->list[n++] = (struct tok_match){.begin = x.begin, .end = x.end};
        }
        previous = x.hit;
    }
    m->count = n;
}

typedef bool class_test(uint32_t c, uint32_t argument);

static bool test_numeric(uint32_t c, uint32_t argument) {
    (void)argument;
    return tok_is_numeric(c);
}
static bool test_punct(uint32_t c, uint32_t argument) {
    (void)argument;
    return tok_is_punct(c);
}
static bool test_space(uint32_t c, uint32_t argument) {
    (void)argument;
    return tok_is_space(c);
}
static bool test_equal(uint32_t c, uint32_t argument) {
    return c == argument;
}

/* Every character of the class is a match of its own. */
static bool find_class(struct span text, class_test *test, uint32_t argument, struct tok_matches *out) {
    size_t prev = 0;
    for (size_t at = 0; at < text.len;) {
        uint32_t c = 0;
        size_t n = tok_char_at(text, at, &c);
        if (test(c, argument)) {
            if ((at > prev && !tok_matches_add(out, prev, at, false)) || !tok_matches_add(out, at, at + n, true)) {
                return false;
            }
            prev = at + n;
        }
        at += n;
    }
    return prev == text.len || tok_matches_add(out, prev, text.len, false);
}

/* \w+|[^\w\s]+ : gaps (white space) are what the caller drops, so they are the hits here. */
static bool find_words(struct span text, struct tok_matches *out) {
    size_t begin = 0;
    int run = -1;
    for (size_t at = 0; at <= text.len;) {
        uint32_t c = 0;
        size_t n = at < text.len ? tok_char_at(text, at, &c) : 1;
        int kind = at == text.len ? -1 : tok_is_word(c) ? 1 : tok_is_space(c) ? 0 : 2;
        if (kind != run) {
            if (at > begin && !tok_matches_add(out, begin, at, run == 0)) {
                return false;
            }
            begin = at;
            run = kind;
        }
        at += n;
    }
    return true;
}

/* Runs of `length` characters, the last one shorter. */
static bool find_fixed(struct span text, size_t length, struct tok_matches *out) {
    size_t begin = 0;
    size_t count = 0;
    for (size_t at = 0; at < text.len;) {
        at += tok_char_len(text.ptr[at]);
        if (++count == length || at >= text.len) {
            if (!tok_matches_add(out, begin, at, false)) {
                return false;
            }
            begin = at;
            count = 0;
        }
    }
    return true;
}

/* Fills w->matches with the parts of one piece. */
static lamina_status cut_piece(const struct tok_step *step, struct span text, struct tok_matches *m,
                               struct lamina_error *err) {
    int behavior = step->behavior;
    bool fits = true;
    switch ((enum pretok_kind)step->kind) {
    case PRE_SPLIT:
    case PRE_BYTES_CUT:
        LAMINA_TRY(tok_regex_find(step->re, text, m, err));
        for (size_t i = 0; step->invert && i < m->count; i++) {
            m->list[i].hit = !m->list[i].hit;
        }
        behavior = step->kind == PRE_BYTES_CUT ? ISOLATED : behavior;
        break;
    case PRE_METASPACE:
        fits = find_class(text, test_equal, step->character, m);
        behavior = MERGED_WITH_NEXT;
        break;
    case PRE_DIGITS:
        fits = find_class(text, test_numeric, 0, m);
        behavior = step->flag_a ? ISOLATED : CONTIGUOUS;
        break;
    case PRE_PUNCTUATION:
        fits = find_class(text, test_punct, 0, m);
        break;
    case PRE_BERT: /* after white space is gone */
        fits = find_class(text, test_punct, 0, m);
        behavior = ISOLATED;
        break;
    case PRE_WHITESPACE:
        fits = find_words(text, m);
        break;
    case PRE_WHITESPACE_SPLIT:
        fits = find_class(text, test_space, 0, m);
        break;
    case PRE_DELIMITER:
        fits = find_class(text, test_equal, step->character, m);
        break;
    case PRE_FIXED:
        fits = find_fixed(text, step->start, m);
        behavior = ISOLATED;
        break;
    case PRE_BYTES:
        return LAMINA_OK; /* rewrites */
    }
    if (!fits) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory while splitting text");
    }
    apply_behavior(m, behavior);
    return LAMINA_OK;
}

/* Every piece is cut alone: a pattern never sees across a border, and its anchors mean the piece's ends. */
static lamina_status cut(const struct tok_step *step, struct span base, const struct tok_pieces *in,
                         struct tok_pieces *out, struct tok_matches *m, struct lamina_error *err) {
    for (size_t i = 0; i < in->count; i++) {
        const struct tok_piece *p = &in->list[i];
        m->count = 0;
        LAMINA_TRY(cut_piece(step, span_of(base.ptr + p->begin, p->len), m, err));
        for (size_t k = 0; k < m->count; k++) {
            const struct tok_match *part = &m->list[k];
            if (!part->hit &&
                !put(out, p->begin + part->begin, part->end - part->begin, p->first && part->begin == 0)) {
                return base_fail(err, LAMINA_NO_FIT, "out of memory while splitting text");
            }
        }
    }
    return LAMINA_OK;
}

/* --- rewriting --- */

static void rewrite_metaspace(const struct tok_step *step, struct span text, bool first, struct str *out) {
    struct span mark = str_span(&step->text);
    bool has_mark = text.ptr[0] == ' ' || (text.len >= mark.len && memcmp(text.ptr, mark.ptr, mark.len) == 0);
    if (!has_mark && (step->behavior == SCHEME_ALWAYS || (step->behavior == SCHEME_FIRST && first))) {
        str_add_span(out, mark);
    }
    size_t done = 0;
    while (done < text.len) {
        const uint8_t *space = memchr(text.ptr + done, ' ', text.len - done);
        size_t at = space == NULL ? text.len : (size_t)(space - text.ptr);
        str_add(out, text.ptr + done, at - done);
        if (space != NULL) {
            str_add_span(out, mark);
            at++;
        }
        done = at;
    }
}

/* New text for all pieces, back to back; the borders are kept. */
static bool rewrite(const struct tok_step *step, struct span base, const struct tok_pieces *in,
                    struct tok_pieces *out) {
    for (size_t i = 0; i < in->count; i++) {
        const struct tok_piece *p = &in->list[i];
        struct span text = span_of(base.ptr + p->begin, p->len);
        size_t begin = out->text.len;
        bool space = step->flag_a && text.ptr[0] != ' ';
        switch ((enum pretok_kind)step->kind) {
        case PRE_METASPACE:
            rewrite_metaspace(step, text, p->first, &out->text);
            break;
        case PRE_BYTES:
            if (space) {
                tok_bytes_as_chars(span_of(" ", 1), &out->text);
            }
            tok_bytes_as_chars(text, &out->text);
            break;
        default: /* ByteLevel with its pattern: the space comes before the pattern is applied */
            if (space) {
                str_add_byte(&out->text, ' ');
            }
            str_add_span(&out->text, text);
            break;
        }
        if (out->text.failed || !put(out, begin, out->text.len - begin, p->first)) {
            return false;
        }
    }
    return true;
}

static bool rewrites(const struct tok_step *step) {
    return step->kind == PRE_BYTES || step->kind == PRE_METASPACE || (step->kind == PRE_BYTES_CUT && step->flag_a);
}

static bool cuts(const struct tok_step *step) {
    return step->kind != PRE_BYTES && (step->kind != PRE_METASPACE || step->flag_a);
}

struct state {
    struct span base;
    struct tok_pieces *in;
    struct tok_pieces *out;
};

static void swap(struct state *s) {
    struct tok_pieces *t = s->in;
    s->in = s->out;
    s->out = t;
    s->out->count = 0;
}

/* The text stays where it is while the lists change places, so it is handed over: base always lies in s->in (or
 * outside). */
static lamina_status cut_all(const struct tok_step *step, struct state *s, struct tok_matches *m,
                             struct lamina_error *err) {
    LAMINA_TRY(cut(step, s->base, s->in, s->out, m, err));
    struct str text = s->in->text;
    s->in->text = s->out->text;
    s->out->text = text;
    swap(s);
    return LAMINA_OK;
}

static lamina_status run_step(const struct tok_step *step, struct state *s, struct tok_matches *m,
                              struct lamina_error *err) {
    if (rewrites(step)) {
        str_clear(&s->out->text);
        if (!rewrite(step, s->base, s->in, s->out)) {
            return base_fail(err, LAMINA_NO_FIT, "out of memory while splitting text");
        }
        s->base = str_span(&s->out->text);
        swap(s);
    }
    if (step->kind == PRE_BERT) {
        struct tok_step spaces = {.kind = PRE_WHITESPACE_SPLIT, .behavior = REMOVED};
        LAMINA_TRY(cut_all(&spaces, s, m, err));
    }
    return cuts(step) ? cut_all(step, s, m, err) : LAMINA_OK;
}

lamina_status tok_pretok_run(const struct tok_steps *s, struct span text, bool first, struct tok_pretok_work *w,
                             const struct tok_pieces **result, struct span *base, struct lamina_error *err) {
    struct state state = {.base = text, .in = &w->a, .out = &w->b};
    w->a.count = 0;
    w->b.count = 0;
    w->a.text.limit = tok_text_limit(text.len);
    w->b.text.limit = w->a.text.limit;
    if (!put(state.in, 0, text.len, first)) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory while splitting text");
    }
    for (size_t i = 0; i < s->count; i++) {
        LAMINA_TRY(run_step(&s->list[i], &state, &w->matches, err));
    }
    *result = state.in;
    *base = state.base;
    return LAMINA_OK;
}
