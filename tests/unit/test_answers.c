/* SPDX-License-Identifier: Apache-2.0
 * Answers against references: the figures of rouge_score and sacrebleu (answer_goldens.h, written by their own packages), what
 * counts as the same words, and texts that are no text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "answer_goldens.h"
#include "gen/answers.h"
#include "text/words.h"

static void expect_close(const struct answer_golden *g, const char *what, double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance)) {
        fail_msg("\"%s\": %s %.17g, expected %.17g", g->answer, what, got, want);
    }
}

static void add(struct answers *a, const struct answer_golden *g) {
    struct lamina_error err = {0};
    struct span reference[2] = {span_of_text(g->reference[0])};
    uint32_t count = 1;
    if (g->reference[1] != NULL) {
        reference[count++] = span_of_text(g->reference[1]);
    }
    assert_int_equal(answers_add(a, span_of_text(g->answer), reference, count, &err), LAMINA_OK);
}

static void figures_are_those_of_the_packages(void **state) {
    (void)state;
    struct answers all = {0};
    for (size_t i = 0; i < ARRAY_LEN(answer_goldens); i++) {
        const struct answer_golden *g = &answer_goldens[i];
        struct answers alone = {0};
        add(&alone, g);
        add(&all, g);
        expect_close(g, "ROUGE-L", alone.rouge_l, g->rouge_l, 1e-14);
        expect_close(g, "BLEU", answers_bleu(&alone), g->bleu, 1e-11);
        expect_close(g, "BLEU so far", answers_bleu(&all), g->bleu_so_far, 1e-11);
    }
    assert_int_equal(all.count, ARRAY_LEN(answer_goldens));
}

static void tokens_are_those_of_13a(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(answer_goldens); i++) {
        struct str got = {0};
        struct str want = {0};
        answer_tokens_13a(span_of_text(answer_goldens[i].answer), &got);
        str_add_text(&want, answer_goldens[i].tokens);
        str_add_text(&want, want.len > 0 ? " " : "");
        assert_string_equal(str_text(&got), str_text(&want));
        str_drop(&got);
        str_drop(&want);
    }
}

static void same_words_are_right(void **state) {
    (void)state;
    static const struct {
        const char *answer, *reference;
        bool right;
    } cases[] = {
        {"the capital is   PARIS", "The capital is Paris.", true},
        {"Paris", "The capital is Paris.", false},
        {"don't", "dont", true},
        {"3.5", "35", false},
        {"3.5.", "3.5", true},
        {"1,000", "1000", false},
        {"-5", "5", false},
        {"\xe2\x88\x92" "5", "-5", true},                  /* U+2212 */
        {"a-b", "ab", true},
        {"10:30", "1030", false},
        {"\xc3\x89" "COLE", "\xc3\xa9" "cole", true},           /* E acute */
        {"e\xcc\x81" "cole", "\xc3\xa9" "cole", true},          /* decomposed */
        {"ecole", "\xc3\xa9" "cole", false},
        {"STRASSE", "stra\xc3\x9f" "e", true},
        {"\xe6\x9d\xb1\xe4\xba\xac\xe3\x80\x82", "\xe6\x9d\xb1\xe4\xba\xac", true}, /* an ideographic full stop */
        {"a\xe3\x80\x80" "b", "a b", true},                /* an ideographic space */
        {"", "x", false},
        {"+", "-", false},                                 /* nothing but symbols: compared as they are */
        {" + \n", "+", true},
        {"x", "+", false},
        {"\xff\xfe" "a\xc3", "a", true},                   /* what is no UTF-8 is left out */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct lamina_error err = {0};
        bool right = !cases[i].right;
        assert_int_equal(answer_is_right(span_of_text(cases[i].answer), span_of_text(cases[i].reference), &right, &err), LAMINA_OK);
        if (right != cases[i].right) {
            fail_msg("\"%s\" for \"%s\"", cases[i].answer, cases[i].reference);
        }
    }
}

static void any_reference_makes_it_right(void **state) {
    (void)state;
    struct lamina_error err = {0};
    struct answers a = {0};
    const struct span both[2] = {span_of_text("Lima"), span_of_text("Lima, Peru")};
    assert_int_equal(answers_add(&a, span_of_text("lima peru"), both, 2, &err), LAMINA_OK);
    assert_int_equal(a.right, 1);
    assert_true(a.rouge_l == 1.0);
    assert_int_equal(answers_add(&a, span_of_text("Quito"), both, 2, &err), LAMINA_OK);
    assert_int_equal(a.right, 1);
    assert_int_equal(a.count, 2);
}

static void bytes_that_are_no_text_do_no_harm(void **state) {
    (void)state;
    struct lamina_error err = {0};
    uint64_t x = 0x9E3779B97F4A7C15u;
    for (int round = 0; round < 2000; round++) {
        uint8_t bytes[40];
        for (size_t i = 0; i < sizeof(bytes); i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            bytes[i] = (uint8_t)(x >> 33);
            bytes[i] = round % 2 == 0 ? bytes[i] : (uint8_t)"a. -,1\xc3\xa9"[bytes[i] % 8];
        }
        struct answers a = {0};
        size_t cut = (size_t)(x % sizeof(bytes));
        const struct span whole = span_of(bytes, sizeof(bytes));
        assert_int_equal(answers_add(&a, span_sub(whole, 0, cut), &whole, 1, &err), LAMINA_OK);
        assert_true(a.rouge_l >= 0.0 && a.rouge_l <= 1.0);
        assert_true(answers_bleu(&a) >= 0.0 && answers_bleu(&a) <= 100.0 + 1e-9);
        assert_int_equal(answers_add(&a, whole, &whole, 1, &err), LAMINA_OK);
        assert_true(a.right >= 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_the_packages),
        cmocka_unit_test(tokens_are_those_of_13a),
        cmocka_unit_test(same_words_are_right),
        cmocka_unit_test(any_reference_makes_it_right),
        cmocka_unit_test(bytes_that_are_no_text_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
