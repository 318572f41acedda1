/* SPDX-License-Identifier: Apache-2.0
 * The arithmetic of perplexity and divergence against a direct computation in long double, and where it ends: infinite logits,
 * huge ones, ties, rows of the same bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gen/score.h"

enum { VOCAB = 1003, ROWS = 200 };

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Logits of about +-size. */
static void fill(float *row, uint64_t seed, float size) {
    uint64_t state = seed * 2 + 1;
    for (int i = 0; i < 10; i++) {
        (void)next_random(&state);
    }
    for (uint32_t i = 0; i < VOCAB; i++) {
        row[i] = size * ((float)(next_random(&state) >> 40) * 0x1p-23f - 1.0f);
    }
}

static long double direct_lse(const float *row) {
    long double most = -INFINITY;
    long double sum = 0;
    for (uint32_t i = 0; i < VOCAB; i++) {
        most = (long double)row[i] > most ? (long double)row[i] : most;
    }
    for (uint32_t i = 0; i < VOCAB; i++) {
        sum += expl((long double)row[i] - most);
    }
    return most + logl(sum);
}

static long double direct_kl(const float *p, const float *q) {
    long double of_p = direct_lse(p);
    long double of_q = direct_lse(q);
    long double sum = 0;
    for (uint32_t i = 0; i < VOCAB; i++) {
        long double a = (long double)p[i] - of_p;
        sum += expl(a) * (a - ((long double)q[i] - of_q));
    }
    return sum;
}

static void expect_close(double got, long double want, double tolerance) {
    if (!(fabs((double)(got - want)) <= tolerance * (1.0 + fabs((double)want)))) {
        fail_msg("%.17g, expected %.17g", got, (double)want);
    }
}

static void rows_agree_with_a_direct_computation(void **state) {
    (void)state;
    static const float sizes[] = {0.0f, 1e-3f, 1.0f, 20.0f, 500.0f};
    float p[VOCAB];
    float q[VOCAB];
    struct lamina_error err = {0};
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct score_pair pair;
        double logprob = 0;
        uint32_t id = (uint32_t)(seed * 97 % VOCAB);
        fill(p, seed, sizes[seed % 5]);
        fill(q, seed + 1000, sizes[seed / 5 % 5]);
        assert_int_equal(score_row(q, VOCAB, id, &logprob, &err), LAMINA_OK);
        assert_int_equal(score_rows(p, q, VOCAB, id, &pair, &err), LAMINA_OK);
        expect_close(logprob, (long double)q[id] - direct_lse(q), 1e-14);
        assert_memory_equal(&pair.model, &logprob, sizeof(logprob));
        expect_close(pair.reference, (long double)p[id] - direct_lse(p), 1e-14);
        expect_close(pair.kl, direct_kl(p, q), 1e-13);
        assert_true(pair.kl >= 0.0);
    }
}

static void rows_of_the_same_bits_are_exactly_0_apart(void **state) {
    (void)state;
    float p[VOCAB];
    struct lamina_error err = {0};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct score_pair pair;
        fill(p, seed, (float)seed * 3.0f);
        p[seed] = -INFINITY;
        assert_int_equal(score_rows(p, p, VOCAB, 7, &pair, &err), LAMINA_OK);
        assert_true(pair.kl == 0.0 && pair.same_top && pair.model == pair.reference);
    }
}

/* A constant added to every logit changes nothing but the rounding of the logits themselves. */
static void a_shift_changes_nothing(void **state) {
    (void)state;
    float p[VOCAB];
    float q[VOCAB];
    struct score_pair pair;
    struct lamina_error err = {0};
    for (uint32_t i = 0; i < VOCAB; i++) {
        p[i] = (float)(i % 37) * 0.25f;
        q[i] = p[i] + 1024.0f;
    }
    assert_int_equal(score_rows(p, q, VOCAB, 3, &pair, &err), LAMINA_OK);
    assert_true(pair.kl == 0.0 && pair.model == pair.reference);
}

static void huge_and_infinite_logits_have_an_answer(void **state) {
    (void)state;
    float p[4] = {3e38f, -3e38f, 0.0f, -INFINITY};
    float q[4] = {3e38f, -INFINITY, -3e38f, 1.0f};
    struct score_pair pair;
    double logprob = 1;
    struct lamina_error err = {0};
    assert_int_equal(score_row(p, 4, 0, &logprob, &err), LAMINA_OK);
    assert_true(logprob == 0.0);
    assert_int_equal(score_row(p, 4, 1, &logprob, &err), LAMINA_OK);
    assert_true(logprob < -1e38 && isfinite(logprob));
    assert_int_equal(score_row(p, 4, 3, &logprob, &err), LAMINA_OK);
    assert_true(isinf(logprob) && logprob < 0);
    assert_int_equal(score_rows(p, q, 4, 0, &pair, &err), LAMINA_OK); /* what q rules out has no weight in p */
    assert_true(pair.kl == 0.0 && pair.same_top);
    float even[2] = {0.0f, 0.0f};
    float ruled_out[2] = {0.0f, -INFINITY};
    assert_int_equal(score_rows(even, ruled_out, 2, 0, &pair, &err), LAMINA_OK);
    assert_true(isinf(pair.kl) && pair.kl > 0);
    assert_int_equal(score_rows(ruled_out, even, 2, 0, &pair, &err), LAMINA_OK);
    expect_close(pair.kl, 0.693147180559945309417L, 1e-15);
}

static void ties_take_the_lowest_id(void **state) {
    (void)state;
    float p[3] = {1.0f, 2.0f, 2.0f};
    float q[3] = {0.0f, 5.0f, 5.0f};
    float r[3] = {0.0f, 4.0f, 5.0f};
    struct score_pair pair;
    struct lamina_error err = {0};
    assert_int_equal(score_rows(p, q, 3, 0, &pair, &err), LAMINA_OK);
    assert_true(pair.same_top);
    assert_int_equal(score_rows(p, r, 3, 0, &pair, &err), LAMINA_OK);
    assert_false(pair.same_top);
}

static void rows_without_an_answer_are_refused(void **state) {
    (void)state;
    const float bad[][2] = {{NAN, 1.0f}, {1.0f, NAN}, {INFINITY, 1.0f}, {-INFINITY, -INFINITY}};
    const float good[2] = {1.0f, 2.0f};
    double logprob = 5;
    struct score_pair pair;
    for (size_t i = 0; i < 4; i++) {
        struct lamina_error err = {0};
        assert_int_equal(score_row(bad[i], 2, 0, &logprob, &err), LAMINA_DAMAGED);
        assert_int_equal(score_rows(bad[i], good, 2, 0, &pair, &err), LAMINA_DAMAGED);
        assert_int_equal(score_rows(good, bad[i], 2, 0, &pair, &err), LAMINA_DAMAGED);
    }
    struct lamina_error err = {0};
    assert_int_equal(score_row(good, 2, 2, &logprob, &err), LAMINA_USAGE);
    assert_true(logprob == 5);
}

/* Every figure of a tally from the rows by the textbook's formulas. */
static void a_tally_agrees_with_a_direct_computation(void **state) {
    (void)state;
    static float p[ROWS][VOCAB];
    static float q[ROWS][VOCAB];
    struct score_tally t;
    struct lamina_error err = {0};
    struct lamina_tally_result r;
    long double nll = 0, nll2 = 0, of_p = 0, d = 0, d2 = 0, kl = 0, kl2 = 0, diff2 = 0, most = 0;
    uint32_t same = 0;
    assert_int_equal(score_tally_init(&t, ROWS, &err), LAMINA_OK);
    for (uint32_t i = 0; i < ROWS; i++) {
        uint32_t id = i * 31 % VOCAB;
        fill(p[i], i + 1, 4.0f);
        memcpy(q[i], p[i], sizeof(q[i]));
        for (uint32_t k = i % 5; k < VOCAB; k += 5) {
            q[i][k] += 0.5f;
        }
        long double a = direct_lse(q[i]) - (long double)q[i][id];
        long double b = direct_lse(p[i]) - (long double)p[i][id];
        long double one = direct_kl(p[i], q[i]);
        uint32_t top_p = 0, top_q = 0;
        for (uint32_t k = 1; k < VOCAB; k++) {
            top_p = p[i][k] > p[i][top_p] ? k : top_p;
            top_q = q[i][k] > q[i][top_q] ? k : top_q;
        }
        same += top_p == top_q;
        nll += a;
        nll2 += a * a;
        of_p += b;
        d += a - b;
        d2 += (a - b) * (a - b);
        kl += one;
        kl2 += one * one;
        most = one > most ? one : most;
        diff2 += (expl(-a) - expl(-b)) * (expl(-a) - expl(-b));
        assert_int_equal(score_tally_compare(&t, p[i], q[i], VOCAB, id, &err), LAMINA_OK);
    }
    score_tally_result(&t, &r);
    const long double n = ROWS;
    assert_int_equal(r.tokens, ROWS);
    expect_close(r.ppl, expl(nll / n), 1e-12);
    expect_close(r.ppl_error, expl(nll / n) * sqrtl((nll2 / n - nll / n * (nll / n)) / (n - 1)), 1e-9);
    expect_close(r.reference_ppl, expl(of_p / n), 1e-12);
    expect_close(r.ratio, r.ppl / r.reference_ppl, 1e-12);
    expect_close(r.ratio_error, expl(d / n) * sqrtl((d2 / n - d / n * (d / n)) / (n - 1)), 1e-9);
    expect_close(r.mean_kl, kl / n, 1e-12);
    expect_close(r.mean_kl_error, sqrtl((kl2 / n - kl / n * (kl / n)) / (n - 1)), 1e-9);
    expect_close(r.same_top, (long double)same / n, 1e-15);
    assert_true(same > 0 && same < ROWS);
    expect_close(r.same_top_error, sqrtl((long double)same / n * (1 - (long double)same / n) / (n - 1)), 1e-12);
    expect_close(r.rms_p_diff, sqrtl(diff2 / n), 1e-12);
    assert_true(r.rms_p_diff_error > 0);
    expect_close(score_tally_percentile(&t, 100), most, 1e-12);
    assert_int_equal(score_tally_compare(&t, p[0], q[0], VOCAB, 0, &err), LAMINA_USAGE); /* opened for no more rows */
    struct lamina_tally_result again;
    score_tally_result(&t, &again);
    assert_memory_equal(&r, &again, sizeof(r));
    score_tally_drop(&t);
}

static void one_row_and_no_row(void **state) {
    (void)state;
    const float row[3] = {0.0f, 0.0f, 0.0f};
    struct score_tally t;
    struct lamina_error err = {0};
    struct lamina_tally_result r;
    assert_int_equal(score_tally_init(&t, 0, &err), LAMINA_OK);
    score_tally_result(&t, &r);
    assert_true(r.tokens == 0 && r.ppl == 0.0 && r.ppl_error == 0.0 && score_tally_percentile(&t, 50) == 0.0);
    assert_int_equal(score_tally_add(&t, row, 3, 1, &err), LAMINA_OK);
    score_tally_result(&t, &r);
    expect_close(r.ppl, 3.0L, 1e-15);
    assert_true(r.tokens == 1 && r.ppl_error == 0.0 && r.mean_kl == 0.0 && r.reference_ppl == 0.0);
    score_tally_drop(&t);
}

static void an_impossible_token_makes_it_infinite_for_good(void **state) {
    (void)state;
    const float row[2] = {0.0f, -INFINITY};
    struct score_tally t;
    struct lamina_error err = {0};
    struct lamina_tally_result r;
    assert_int_equal(score_tally_init(&t, 0, &err), LAMINA_OK);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(score_tally_add(&t, row, 2, i == 2, &err), LAMINA_OK);
    }
    score_tally_result(&t, &r);
    assert_true(r.tokens == 5 && isinf(r.ppl) && isinf(r.ppl_error));
    score_tally_drop(&t);
}

static void percentiles_lie_between_neighbours(void **state) {
    (void)state;
    const double five[5] = {1, 2, 4, 8, 16};
    const double last[3] = {0, 1, INFINITY};
    expect_close(score_percentile(five, 5, 0), 1, 0);
    expect_close(score_percentile(five, 5, 50), 4, 0);
    expect_close(score_percentile(five, 5, 100), 16, 0);
    expect_close(score_percentile(five, 5, 90), 8 + 0.6L * 8, 1e-15);
    expect_close(score_percentile(five, 4, 50), 3, 1e-15); /* the median of an even number is their mean */
    expect_close(score_percentile(five, 1, 99.9), 1, 0);
    expect_close(score_percentile(last, 3, 50), 1, 0);
    assert_true(isinf(score_percentile(last, 3, 51)) && isinf(score_percentile(last, 3, 100)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_agree_with_a_direct_computation),
        cmocka_unit_test(rows_of_the_same_bits_are_exactly_0_apart),
        cmocka_unit_test(a_shift_changes_nothing),
        cmocka_unit_test(huge_and_infinite_logits_have_an_answer),
        cmocka_unit_test(ties_take_the_lowest_id),
        cmocka_unit_test(rows_without_an_answer_are_refused),
        cmocka_unit_test(a_tally_agrees_with_a_direct_computation),
        cmocka_unit_test(one_row_and_no_row),
        cmocka_unit_test(an_impossible_token_makes_it_infinite_for_good),
        cmocka_unit_test(percentiles_lie_between_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
