/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers against references (answers.h). Tokens are kept as one text with a space after each, so an n-gram is a stretch of that
 * text, and counting n-grams is sorting stretches: exact, without a hash.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/answers.h"
#include "text/words.h"

static lamina_status no_memory(struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "out of memory for comparing an answer");
}

/* ---- tokens of a text ---- */

/* Spans of a text of tokens. */
struct tokens {
    struct str text;
    struct span *token; /* malloc'ed */
    size_t count;
};

static void drop_tokens(struct tokens *t) {
    str_drop(&t->text);
    free(t->token);
    *t = (struct tokens){0};
}

/* Finds the tokens in t->text, where a space stands after each. */
static lamina_status find_tokens(struct tokens *t, struct lamina_error *err) {
    size_t spaces = 0;
    const char *text = str_text(&t->text);
    for (size_t i = 0; i < t->text.len; i++) {
        spaces += text[i] == ' ';
    }
    t->token = (struct span *)calloc(spaces + 1, sizeof(*t->token));
    if (t->token == NULL || t->text.failed) {
        return no_memory(err);
    }
    for (size_t i = 0, begin = 0; i < t->text.len; i++) {
        if (text[i] == ' ') {
            t->token[t->count++] = span_of(text + begin, i - begin);
            begin = i + 1;
        }
    }
    return LAMINA_OK;
}

/* ---- ROUGE-L ---- */

/* The byte of a-z and 0-9 that the character's lower case begins with, 0 when it is none. Two letters outside ASCII have such a
 * lower case: the Kelvin sign, and I with a dot, whose dot then parts words like any other mark. */
static char rouge_letter(uint32_t c) {
    if (c >= 'A' && c <= 'Z') {
        return (char)(c - 'A' + 'a');
    }
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
        return (char)c;
    }
    return c == 0x212a ? 'k' : c == 0x130 ? 'i' : '\0';
}

static void rouge_text(struct span rest, struct str *out) {
    bool inside = false;
    while (rest.len > 0) {
        uint32_t c = 0;
        size_t n = utf8_decode(rest, &c);
        char letter = n > 0 ? rouge_letter(c) : '\0';
        if (letter != '\0') {
            str_add_byte(out, (uint8_t)letter);
        } else if (inside) {
            str_add_byte(out, ' ');
        }
        inside = letter != '\0';
        if (c == 0x130) {
            str_add_byte(out, ' ');
            inside = false;
        }
        rest = span_sub(rest, n > 0 ? n : 1, rest.len);
    }
    if (inside) {
        str_add_byte(out, ' ');
    }
}

/* Length of the longest common subsequence; `row` has b->count + 1 zeros. */
static uint32_t common_length(const struct tokens *a, const struct tokens *b, uint32_t *row) {
    for (size_t i = 0; i < a->count; i++) {
        uint32_t corner = 0; /* of the row before, one to the left */
        for (size_t k = 0; k < b->count; k++) {
            uint32_t above = row[k + 1];
            uint32_t best = above > row[k] ? above : row[k];
            row[k + 1] = span_equal(a->token[i], b->token[k]) ? corner + 1 : best;
            corner = above;
        }
    }
    return row[b->count];
}

static lamina_status rouge_of(struct tokens *a, struct tokens *b, double *f1, struct lamina_error *err) {
    LAMINA_TRY(find_tokens(a, err));
    LAMINA_TRY(find_tokens(b, err));
    uint32_t *row = (uint32_t *)calloc(b->count + 1, sizeof(*row));
    if (row == NULL) {
        return no_memory(err);
    }
    double common = (double)common_length(a, b, row);
    free(row);
    double precision = a->count > 0 ? common / (double)a->count : 0.0;
    double recall = b->count > 0 ? common / (double)b->count : 0.0;
    *f1 = common > 0.0 ? 2.0 * precision * recall / (precision + recall) : 0.0;
    return LAMINA_OK;
}

lamina_status answer_rouge_l(struct span answer, struct span reference, double *f1, struct lamina_error *err) {
    struct tokens a = {0};
    struct tokens b = {0};
    rouge_text(answer, &a.text);
    rouge_text(reference, &b.text);
    lamina_status status = rouge_of(&a, &b, f1, err);
    drop_tokens(&a);
    drop_tokens(&b);
    return status;
}

/* ---- 13a tokens ---- */

/* The tokenizer is a row of substitutions over the whole text, each from left to right and without overlap. They look at ASCII
 * alone, and bytes of longer characters are "no digit" to them as the characters are, so they work on bytes. */

static void strip_end(struct span *text) {
    size_t end = 0;
    struct span rest = *text;
    while (rest.len > 0) {
        uint32_t c = 0;
        size_t n = utf8_decode(rest, &c);
        rest = span_sub(rest, n > 0 ? n : 1, rest.len);
        end = n > 0 && text_is_blank(c) ? end : text->len - rest.len;
    }
    *text = span_sub(*text, 0, end);
}

static void replace(struct str *text, const char *what, const char *with) {
    struct str out = {0};
    size_t len = strlen(what);
    for (struct span rest = str_span(text); rest.len > 0;) {
        bool here = span_starts_with(rest, what);
        if (here) {
            str_add_text(&out, with);
        } else {
            str_add_byte(&out, rest.ptr[0]);
        }
        rest = span_sub(rest, here ? len : 1, rest.len);
    }
    out.failed = out.failed || text->failed;
    str_drop(text);
    *text = out;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_point(char c) {
    return c == '.' || c == ',';
}

static bool is_symbol(char c) {
    return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') || (c >= '(' && c <= '+') ||
           (c >= ':' && c <= '@') || c == '/';
}

static void part_symbols(struct str *text) {
    struct str out = {.failed = text->failed};
    for (size_t i = 0; i < text->len; i++) {
        char c = text->ptr[i];
        bool symbol = is_symbol(c);
        str_add_text(&out, symbol ? " " : "");
        str_add_byte(&out, (uint8_t)c);
        str_add_text(&out, symbol ? " " : "");
    }
    str_drop(text);
    *text = out;
}

enum pair { AFTER_NO_DIGIT, BEFORE_NO_DIGIT, DASH_AFTER_DIGIT };

static bool is_pair(enum pair kind, char a, char b) {
    return kind == AFTER_NO_DIGIT    ? !is_digit(a) && is_point(b)
           : kind == BEFORE_NO_DIGIT ? is_point(a) && !is_digit(b)
                                     : is_digit(a) && b == '-';
}

/* Two characters that make such a pair are set apart: "a b " after, " a b" before. */
static void part_pairs(struct str *text, enum pair kind) {
    struct str out = {.failed = text->failed};
    for (size_t i = 0; i < text->len; i++) {
        bool here = i + 1 < text->len && is_pair(kind, text->ptr[i], text->ptr[i + 1]);
        str_add_text(&out, here && kind == BEFORE_NO_DIGIT ? " " : "");
        str_add_byte(&out, (uint8_t)text->ptr[i]);
        if (here) {
            str_add_byte(&out, ' ');
            str_add_byte(&out, (uint8_t)text->ptr[++i]);
            str_add_text(&out, kind == BEFORE_NO_DIGIT ? "" : " ");
        }
    }
    str_drop(text);
    *text = out;
}

static void split_words(struct span rest, struct str *out) {
    bool inside = false;
    while (rest.len > 0) {
        uint32_t c = 0;
        size_t n = utf8_decode(rest, &c);
        bool blank = n > 0 && text_is_blank(c);
        if (!blank) {
            str_add(out, rest.ptr, n > 0 ? n : 1);
        } else if (inside) {
            str_add_byte(out, ' ');
        }
        inside = !blank;
        rest = span_sub(rest, n > 0 ? n : 1, rest.len);
    }
    if (inside) {
        str_add_byte(out, ' ');
    }
}

void answer_tokens_13a(struct span text, struct str *out) {
    static const char *const substitutions[][2] = {
        {"<skipped>", ""}, {"-\n", ""}, {"\n", " "}, {"&quot;", "\""}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}};
    struct str s = {0};
    struct str spaced = {0};
    strip_end(&text);
    str_add_span(&s, text);
    for (size_t i = 0; i < ARRAY_LEN(substitutions); i++) {
        replace(&s, substitutions[i][0], substitutions[i][1]);
    }
    spaced.failed = s.failed;
    str_printf(&spaced, " ");
    str_add_span(&spaced, str_span(&s));
    str_add_byte(&spaced, ' ');
    part_symbols(&spaced);
    part_pairs(&spaced, AFTER_NO_DIGIT);
    part_pairs(&spaced, BEFORE_NO_DIGIT);
    part_pairs(&spaced, DASH_AFTER_DIGIT);
    split_words(str_span(&spaced), out);
    out->failed = out->failed || spaced.failed;
    str_drop(&s);
    str_drop(&spaced);
}

/* ---- BLEU ---- */

struct grams {
    struct span *gram; /* malloc'ed, sorted */
    size_t count;
};

static int compare_grams(const void *x, const void *y) {
    const struct span *a = (const struct span *)x;
    const struct span *b = (const struct span *)y;
    int order = memcmp(a->ptr, b->ptr, a->len < b->len ? a->len : b->len);
    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

/* All stretches of `order` tokens. */
static lamina_status make_grams(const struct tokens *t, size_t order, struct grams *g, struct lamina_error *err) {
    g->count = t->count >= order ? t->count - order + 1 : 0;
    g->gram = (struct span *)calloc(g->count + 1, sizeof(*g->gram));
    if (g->gram == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < g->count; i++) {
        struct span last = t->token[i + order - 1];
        g->gram[i] = span_of(t->token[i].ptr, (size_t)(last.ptr + last.len - t->token[i].ptr));
    }
    qsort(g->gram, g->count, sizeof(*g->gram), compare_grams);
    return LAMINA_OK;
}

static size_t run_length(const struct grams *g, size_t at) {
    size_t n = 1;
    while (at + n < g->count && span_equal(g->gram[at], g->gram[at + n])) {
        n++;
    }
    return n;
}

static size_t count_of(const struct grams *g, const struct span *wanted) {
    size_t low = 0;
    size_t high = g->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_grams(&g->gram[middle], wanted) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < g->count && span_equal(g->gram[low], *wanted) ? run_length(g, low) : 0;
}

/* Each n-gram of the answer counts as often as the reference that has it most often. */
static uint64_t count_matches(const struct grams *answer, const struct grams *reference, uint32_t references) {
    uint64_t sum = 0;
    for (size_t i = 0; i < answer->count;) {
        size_t here = run_length(answer, i);
        size_t most = 0;
        for (uint32_t k = 0; k < references; k++) {
            size_t there = count_of(&reference[k], &answer->gram[i]);
            most = there > most ? there : most;
        }
        sum += here < most ? here : most;
        i += here;
    }
    return sum;
}

/* What one answer adds. of_reference, grams: [references + 1], the last of grams is the answer's. */
struct bleu {
    struct tokens answer;
    struct tokens *of_reference;
    struct grams *grams;
    uint32_t references;
};

static lamina_status add_order(const struct bleu *b, size_t order, struct answers *a, struct lamina_error *err) {
    lamina_status status = make_grams(&b->answer, order, &b->grams[b->references], err);
    for (uint32_t k = 0; k < b->references && status == LAMINA_OK; k++) {
        status = make_grams(&b->of_reference[k], order, &b->grams[k], err);
    }
    if (status == LAMINA_OK) {
        a->matched[order - 1] += count_matches(&b->grams[b->references], b->grams, b->references);
        a->total[order - 1] += b->grams[b->references].count;
    }
    for (uint32_t k = 0; k <= b->references; k++) {
        free(b->grams[k].gram);
        b->grams[k] = (struct grams){0};
    }
    return status;
}

/* The length nearest to the answer's, of two as near the smaller one. */
static size_t nearest_length(const struct bleu *b) {
    size_t best = b->of_reference[0].count;
    for (uint32_t k = 1; k < b->references; k++) {
        size_t n = b->of_reference[k].count;
        size_t far = n > b->answer.count ? n - b->answer.count : b->answer.count - n;
        size_t so_far = best > b->answer.count ? best - b->answer.count : b->answer.count - best;
        best = far < so_far || (far == so_far && n < best) ? n : best;
    }
    return best;
}

static lamina_status add_tokens(struct bleu *b, struct span answer, const struct span *reference, struct answers *a,
                                struct lamina_error *err) {
    answer_tokens_13a(answer, &b->answer.text);
    LAMINA_TRY(find_tokens(&b->answer, err));
    for (uint32_t k = 0; k < b->references; k++) {
        answer_tokens_13a(reference[k], &b->of_reference[k].text);
        LAMINA_TRY(find_tokens(&b->of_reference[k], err));
    }
    for (size_t order = 1; order <= ANSWER_ORDERS; order++) {
        LAMINA_TRY(add_order(b, order, a, err));
    }
    a->answer_tokens += b->answer.count;
    a->reference_tokens += nearest_length(b);
    return LAMINA_OK;
}

static lamina_status add_bleu(struct answers *a, struct span answer, const struct span *reference, uint32_t count,
                              struct lamina_error *err) {
    struct bleu b = {.references = count};
    b.of_reference = (struct tokens *)calloc(count, sizeof(*b.of_reference));
    b.grams = (struct grams *)calloc((size_t)count + 1, sizeof(*b.grams));
    lamina_status status = b.of_reference != NULL && b.grams != NULL ? add_tokens(&b, answer, reference, a, err)
                                                                     : no_memory(err);
    for (uint32_t k = 0; b.of_reference != NULL && k < count; k++) {
        drop_tokens(&b.of_reference[k]);
    }
    drop_tokens(&b.answer);
    free(b.of_reference);
    free(b.grams);
    return status;
}

double answers_bleu(const struct answers *a) {
    double halved = 1.0;
    double sum = 0.0;
    uint64_t matched = 0;
    for (int i = 0; i < ANSWER_ORDERS; i++) {
        matched += a->matched[i];
    }
    if (matched == 0 || a->total[ANSWER_ORDERS - 1] == 0) { /* no answer has four tokens: an order without precision is 0 */
        return 0.0;
    }
    for (int i = 0; i < ANSWER_ORDERS; i++) {
        double share = (double)a->matched[i];
        if (a->matched[i] == 0) {
            halved *= 2.0;
            share = 1.0 / halved;
        }
        sum += log(100.0 * share / (double)a->total[i]);
    }
    double penalty = a->answer_tokens < a->reference_tokens
                         ? exp(1.0 - (double)a->reference_tokens / (double)a->answer_tokens) : 1.0;
    return penalty * exp(sum / ANSWER_ORDERS);
}

/* ---- all of it ---- */

static struct span strip(struct span text) {
    uint32_t c = 0;
    size_t n = 0;
    strip_end(&text);
    while ((n = utf8_decode(text, &c)) > 0 && text_is_blank(c)) {
        text = span_sub(text, n, text.len);
    }
    return text;
}

lamina_status answer_is_right(struct span answer, struct span reference, bool *right, struct lamina_error *err) {
    struct str a = {0};
    struct str b = {0};
    text_words(answer, &a);
    text_words(reference, &b);
    bool failed = a.failed || b.failed;
    *right = b.len > 0 ? span_equal(str_span(&a), str_span(&b)) : span_equal(strip(answer), strip(reference));
    str_drop(&a);
    str_drop(&b);
    return failed ? no_memory(err) : LAMINA_OK;
}

lamina_status answers_add(struct answers *a, struct span answer, const struct span *reference, uint32_t count,
                          struct lamina_error *err) {
    struct answers sums = *a;
    bool right = false;
    double best = 0.0;
    for (uint32_t k = 0; k < count; k++) {
        bool same = false;
        double f1 = 0.0;
        LAMINA_TRY(answer_is_right(answer, reference[k], &same, err));
        LAMINA_TRY(answer_rouge_l(answer, reference[k], &f1, err));
        right = right || same;
        best = fmax(best, f1);
    }
    LAMINA_TRY(add_bleu(&sums, answer, reference, count, err));
    sums.count++;
    sums.right += right;
    sums.rouge_l += best;
    *a = sums;
    return LAMINA_OK;
}
