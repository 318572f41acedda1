/* SPDX-License-Identifier: Apache-2.0
 *
 * The only file that sees Oniguruma. It needs one process-wide initialisation, guarded by pthread_once and never
 * undone (its tables are static or live until exit); everything else is per pattern or per search.
 *
 * Step limit: Oniguruma counts backtracks but does not report them, so a search starts with a small allowance, and
 * only when it runs out is the allowance spent from the text's credit and multiplied. Work is thus bounded by the
 * credit plus a small constant per search, and ordinary patterns never pay for it. */
#include "text/tokregex_priv.h"

#include <oniguruma.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/str.h"
#include "text/tokunicode_priv.h"

enum {
    PATTERN_LIMIT = 64 << 10,
    STACK_LIMIT = 8 << 20, /* entries of 32-48 bytes: a run of 8 Mi spaces still matches, as in the reference */
    STEPS_FIRST = 1024,    /* backtracks that cost nothing */
    STEPS_GROWTH = 16,
};
static const uint64_t CREDIT_BASE = 64u << 20; /* a few seconds */
static const uint64_t CREDIT_PER_BYTE = 64;

struct tok_regex {
    regex_t *compiled; /* NULL: a literal */
    size_t literal_len;
    size_t pattern_len;
    uint8_t literal[];
};

static pthread_once_t onig_once = PTHREAD_ONCE_INIT;

static void onig_start(void) {
    OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
    onig_initialize(encodings, 1);
}

/* Oniguruma since 6.9.9 reads \p{Word} as \w, older ones leave the other numbers out of it; the reference carries a
 * newer one than Debian 12, so the pattern is written with \w. */
static void spell_word_class(struct span pattern, struct str *out) {
    static const char *const names[][2] = {
        {"\\p{Word}", "\\w"}, {"\\p{word}", "\\w"},  {"\\P{Word}", "\\W"},
        {"\\P{word}", "\\W"}, {"\\p{^Word}", "\\W"}, {"\\p{^word}", "\\W"},
    };
    for (size_t at = 0; at < pattern.len;) {
        struct span rest = span_sub(pattern, at, pattern.len);
        size_t len = rest.ptr[0] == '\\' && rest.len > 1 ? 2 : 1; /* an escaped backslash escapes nothing */
        const char *text = NULL;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && text == NULL; i++) {
            if (span_starts_with(rest, names[i][0])) {
                text = names[i][1];
                len = strlen(names[i][0]);
            }
        }
        str_add(out, text != NULL ? (const void *)text : rest.ptr, text != NULL ? strlen(text) : len);
        at += len;
    }
}

static lamina_status compile(struct tok_regex *re, struct span pattern, struct lamina_error *err) {
    struct str spelled = {0};
    OnigErrorInfo info = {0};
    pthread_once(&onig_once, onig_start);
    spell_word_class(pattern, &spelled);
    const OnigUChar *begin = (const OnigUChar *)str_text(&spelled);
    int rc = spelled.failed ? ONIGERR_MEMORY
                            : onig_new(&re->compiled, begin, begin + spelled.len, ONIG_OPTION_NONE, ONIG_ENCODING_UTF8,
                                       ONIG_SYNTAX_ONIGURUMA, &info);
    lamina_status status = LAMINA_OK;
    if (rc != ONIG_NORMAL) {
        OnigUChar words[ONIG_MAX_ERROR_MESSAGE_LEN + 1] = {0};
        onig_error_code_to_str(words, rc, &info);
        status =
            base_fail(err, rc == ONIGERR_MEMORY ? LAMINA_NO_FIT : LAMINA_DAMAGED,
                      "regular expression '%.*s' does not compile: %s", (int)(pattern.len < 200 ? pattern.len : 200),
                      (const char *)pattern.ptr, (const char *)words);
        re->compiled = NULL;
    }
    str_drop(&spelled);
    return status;
}

lamina_status tok_regex_open(struct tok_regex **re, struct span pattern, bool is_regex, struct lamina_error *err) {
    *re = NULL;
    if (pattern.len > PATTERN_LIMIT) {
        return base_fail(err, LAMINA_UNSUPPORTED, "pattern of %zu bytes, the limit is %d", pattern.len, PATTERN_LIMIT);
    }
    struct tok_regex *made = calloc(1, sizeof(*made) + pattern.len + 1);
    if (made == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a pattern");
    }
    made->pattern_len = pattern.len;
    if (!is_regex && pattern.len > 0) {
        memcpy(made->literal, pattern.ptr, pattern.len);
        made->literal_len = pattern.len;
        *re = made;
        return LAMINA_OK;
    }
    lamina_status status = compile(made, pattern, err);
    if (status < 0) {
        free(made);
        return status;
    }
    *re = made;
    return LAMINA_OK;
}

void tok_regex_close(struct tok_regex **re) {
    if (*re != NULL) {
        if ((*re)->compiled != NULL) {
            onig_free((*re)->compiled);
        }
        free(*re);
        *re = NULL;
    }
}

size_t tok_regex_bytes(const struct tok_regex *re) {
    return re == NULL ? 0 : sizeof(*re) + re->pattern_len + (re->compiled != NULL ? 8192 + 64 * re->pattern_len : 0);
}

void tok_matches_drop(struct tok_matches *m) {
    free(m->list);
    *m = (struct tok_matches){0};
}

bool tok_matches_add(struct tok_matches *m, size_t begin, size_t end, bool hit) {
    if (m->count == m->cap) {
        size_t cap = m->cap == 0 ? 64 : m->cap * 2;
        struct tok_match *grown = reallocarray(m->list, cap, sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        m->list = grown;
        m->cap = cap;
    }
    m->list[m->count++] = (struct tok_match){.begin = begin, .end = end, .hit = hit};
    return true;
}

static bool find_literal(const struct tok_regex *re, struct span text, struct tok_matches *out) {
    size_t prev = 0;
    while (prev < text.len) {
        const uint8_t *p = memmem(text.ptr + prev, text.len - prev, re->literal, re->literal_len);
        if (p == NULL) {
            break;
        }
        size_t begin = (size_t)(p - text.ptr);
        if ((begin > prev && !tok_matches_add(out, prev, begin, false)) ||
            !tok_matches_add(out, begin, begin + re->literal_len, true)) {
            return false;
        }
        prev = begin + re->literal_len;
    }
    return prev == text.len || tok_matches_add(out, prev, text.len, false);
}

struct search {
    const struct tok_regex *re;
    struct span text;
    OnigRegion *region;
    OnigMatchParam *param;
    uint64_t credit;
};

/* One search from `from`, with growing allowance. Returns what onig_search returns. */
static int search_from(struct search *s, size_t from) {
    const OnigUChar *begin = s->text.ptr;
    const OnigUChar *end = begin + s->text.len;
    unsigned long steps = STEPS_FIRST;
    for (;;) {
        onig_set_retry_limit_in_match_of_match_param(s->param, steps);
        onig_set_retry_limit_in_search_of_match_param(s->param, steps);
        int rc = onig_search_with_param(s->re->compiled, begin, end, begin + from, end, s->region, ONIG_OPTION_NONE,
                                        s->param);
        if (rc != ONIGERR_RETRY_LIMIT_IN_MATCH_OVER && rc != ONIGERR_RETRY_LIMIT_IN_SEARCH_OVER) {
            return rc;
        }
        if (s->credit < steps) {
            return rc;
        }
        s->credit -= steps;
        steps = s->credit < (uint64_t)steps * STEPS_GROWTH ? (unsigned long)s->credit + 1 : steps * STEPS_GROWTH;
    }
}

static lamina_status find_regex(struct search *s, struct tok_matches *out, struct lamina_error *err) {
    size_t prev = 0;      /* end of the text already reported */
    size_t from = 0;      /* where the next search starts */
    bool matched = false; /* `prev` is the end of a match */
    while (from <= s->text.len) {
        int rc = search_from(s, from);
        if (rc == ONIG_MISMATCH) {
            break;
        }
        if (rc < 0) {
            OnigUChar words[ONIG_MAX_ERROR_MESSAGE_LEN + 1] = {0};
            onig_error_code_to_str(words, rc);
            return base_fail(err, LAMINA_DAMAGED,
                             "a pattern of the tokenizer ran into its limit at byte %zu of the text: %s", from,
                             (const char *)words);
        }
        size_t begin = (size_t)s->region->beg[0];
        size_t end = (size_t)s->region->end[0];
        if (begin == end && matched && end == prev) {
            from += from < s->text.len ? tok_char_len(s->text.ptr[from]) : 1;
            continue;
        }
        if ((begin != prev && !tok_matches_add(out, prev, begin, false)) || !tok_matches_add(out, begin, end, true)) {
            return base_fail(err, LAMINA_NO_FIT, "out of memory while splitting text");
        }
        prev = end;
        from = end;
        matched = true;
    }
    if (prev != s->text.len && !tok_matches_add(out, prev, s->text.len, false)) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory while splitting text");
    }
    return LAMINA_OK;
}

lamina_status tok_regex_find(const struct tok_regex *re, struct span text, struct tok_matches *out,
                             struct lamina_error *err) {
    if (text.len == 0) {
        return tok_matches_add(out, 0, 0, false) ? LAMINA_OK
                                                 : base_fail(err, LAMINA_NO_FIT, "out of memory while splitting text");
    }
    if (re->compiled == NULL) {
        return find_literal(re, text, out) ? LAMINA_OK
                                           : base_fail(err, LAMINA_NO_FIT, "out of memory while splitting text");
    }
    if (text.len > INT32_MAX) { /* positions of Oniguruma are int */
        return base_fail(err, LAMINA_UNSUPPORTED, "text of %zu bytes is too long for a pattern", text.len);
    }
    lamina_status status = LAMINA_OK;
    struct search s = {.re = re, .text = text, .credit = CREDIT_BASE + CREDIT_PER_BYTE * text.len};
    s.region = onig_region_new();
    s.param = onig_new_match_param();
    if (s.region == NULL || s.param == NULL) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory while splitting text");
        goto done;
    }
    onig_initialize_match_param(s.param);
    onig_set_match_stack_limit_size_of_match_param(s.param, STACK_LIMIT);
    status = find_regex(&s, out, err);
done:
    if (s.region != NULL) {
        onig_region_free(s.region, 1);
    }
    if (s.param != NULL) {
        onig_free_match_param(s.param);
    }
    return status;
}
