/* SPDX-License-Identifier: Apache-2.0
 * Samplers: the counter-based generator, filters against a plain count of probabilities, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "gen/sample.h"

static struct kern_table kern;

static uint32_t choose(struct sampler *s, const float *logits, uint32_t position) {
    uint32_t id = UINT32_MAX;
    struct lamina_error err = {0};
    assert_int_equal(sampler_choose(s, &kern, logits, position, &id, &err), LAMINA_OK);
    return id;
}

static void setting(struct sampler *s, struct lamina_sampling p) {
    struct lamina_error err = {0};
    p.size = sizeof(p);
    assert_int_equal(sampler_set(s, &p, &err), LAMINA_OK);
}

static void the_generator_is_even_and_keyed(void **state) {
    (void)state;
    enum { N = 100000, BINS = 20 };
    unsigned bins[BINS] = {0};
    for (uint64_t i = 0; i < N; i++) {
        double u = gen_uniform(7, i % 3, i);
        assert_true(u >= 0 && u < 1);
        bins[(unsigned)(u * BINS)]++;
    }
    double chi = 0;
    for (unsigned b = 0; b < BINS; b++) {
        double d = bins[b] - (double)N / BINS;
        chi += d * d / ((double)N / BINS);
    }
    assert_true(chi < 60); /* 19 degrees of freedom: 1e-6 beyond 60 */
    assert_true(gen_uniform(1, 2, 3) == gen_uniform(1, 2, 3));
    assert_true(gen_uniform(1, 2, 3) != gen_uniform(1, 3, 2) && gen_uniform(1, 2, 3) != gen_uniform(2, 1, 3));
}

static void greedy_takes_the_lowest_id_on_ties(void **state) {
    (void)state;
    struct sampler s;
    struct lamina_error err = {0};
    const float logits[5] = {1, 3, 2, 3, 3};
    assert_int_equal(sampler_init(&s, 5, 100, &err), LAMINA_OK);
    assert_int_equal(choose(&s, logits, 0), 1);
    sampler_drop(&s);
}

static void frequencies_follow_the_softmax(void **state) {
    (void)state;
    enum { N = 40000 };
    struct sampler s;
    struct lamina_error err = {0};
    const float logits[4] = {0.0f, 1.0f, 2.0f, -1.0f};
    unsigned count[4] = {0};
    assert_int_equal(sampler_init(&s, 4, 100, &err), LAMINA_OK);
    setting(&s, (struct lamina_sampling){.temperature = 1.5f, .top_p = 1, .repetition_penalty = 1, .seed = 3});
    for (uint32_t i = 0; i < N; i++) {
        count[choose(&s, logits, i)]++;
    }
    double mass = 0;
    for (unsigned i = 0; i < 4; i++) {
        mass += exp((double)logits[i] / 1.5);
    }
    for (unsigned i = 0; i < 4; i++) {
        double p = exp((double)logits[i] / 1.5) / mass;
        assert_true(fabs(count[i] / (double)N - p) < 5 * sqrt(p * (1 - p) / N));
    }
    sampler_drop(&s);
}

static void filters_keep_what_they_say(void **state) {
    (void)state;
    struct sampler s;
    struct lamina_error err = {0};
    const float logits[6] = {5, 4, 3, 2, 1, 0};
    const struct {
        struct lamina_sampling p;
        uint32_t kept;
    } cases[] = {
        {{.temperature = 1, .top_p = 1, .repetition_penalty = 1, .top_k = 2}, 2},
        {{.temperature = 1, .top_p = 0.6f, .repetition_penalty = 1}, 1},
        {{.temperature = 1, .top_p = 0.7f, .repetition_penalty = 1}, 2},
        {{.temperature = 1, .top_p = 1, .min_p = 0.1f, .repetition_penalty = 1}, 3},
        {{.temperature = 1, .top_p = 1, .repetition_penalty = 1}, 6},
    };
    assert_int_equal(sampler_init(&s, 6, 100, &err), LAMINA_OK);
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        uint32_t largest = 0;
        setting(&s, cases[c].p);
        for (uint32_t i = 0; i < 20000; i++) {
            uint32_t id = choose(&s, logits, i);
            largest = id > largest ? id : largest;
        }
        assert_int_equal(largest, cases[c].kept - 1);
    }
    sampler_drop(&s);
}

static void the_penalty_pushes_seen_tokens_down(void **state) {
    (void)state;
    struct sampler s;
    struct lamina_error err = {0};
    const float logits[3] = {2.0f, 1.9f, -3.0f};
    assert_int_equal(sampler_init(&s, 3, 100, &err), LAMINA_OK);
    setting(&s, (struct lamina_sampling){.top_p = 1, .repetition_penalty = 1.2f});
    assert_int_equal(choose(&s, logits, 0), 0);
    sampler_saw(&s, 0);
    assert_int_equal(choose(&s, logits, 1), 1);
    sampler_drop(&s);
}

static void wrong_values_are_refused(void **state) {
    (void)state;
    struct sampler s;
    struct lamina_error err = {0};
    uint32_t id = 0;
    const float bad[3] = {1.0f, NAN, 2.0f};
    const float infinite[3] = {1.0f, INFINITY, 2.0f};
    assert_int_equal(sampler_init(&s, 3, 100, &err), LAMINA_OK);
    assert_int_equal(sampler_choose(&s, &kern, bad, 9, &id, &err), LAMINA_DAMAGED);
    assert_non_null(strstr(err.message, "position 9"));
    err = (struct lamina_error){0};
    assert_int_equal(sampler_choose(&s, &kern, infinite, 9, &id, &err), LAMINA_DAMAGED);
    const struct lamina_sampling wrong[] = {
        {.temperature = -1, .top_p = 1, .repetition_penalty = 1}, {.temperature = NAN, .top_p = 1, .repetition_penalty = 1},
        {.top_p = 0, .repetition_penalty = 1}, {.top_p = 1.5f, .repetition_penalty = 1},
        {.top_p = 1, .min_p = 2, .repetition_penalty = 1}, {.top_p = 1, .repetition_penalty = 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        err = (struct lamina_error){0};
        assert_int_equal(sampler_set(&s, &wrong[i], &err), LAMINA_USAGE);
        assert_true(err.message[0] != 0);
    }
    sampler_drop(&s);
}

static int setup(void **state) {
    (void)state;
    kern_table_init(&kern, 0);
    return 0;
}

static void penalties_count_what_was_made(void **state) {
    (void)state;
    struct sampler s;
    struct lamina_error err = {0};
    const float logits[4] = {4.0f, 3.5f, 3.0f, 0.0f};
    assert_int_equal(sampler_init(&s, 4, 100, &err), LAMINA_OK);
    setting(&s, (struct lamina_sampling){.top_p = 1, .repetition_penalty = 1, .presence_penalty = 0.6f});
    sampler_saw(&s, 0); /* of the prompt: no penalty */
    assert_int_equal(choose(&s, logits, 0), 0);
    sampler_made(&s, 0);
    assert_int_equal(choose(&s, logits, 1), 1);
    sampler_made(&s, 1);
    assert_int_equal(choose(&s, logits, 2), 0); /* 3.4 against 2.9 and 3.0 */
    sampler_made(&s, 0);
    assert_int_equal(choose(&s, logits, 3), 0); /* presence counts once */
    setting(&s, (struct lamina_sampling){.top_p = 1, .repetition_penalty = 1, .frequency_penalty = 0.6f});
    assert_int_equal(choose(&s, logits, 4), 2); /* 2.8, 2.9, 3.0 */
    sampler_forget(&s);
    assert_int_equal(choose(&s, logits, 5), 0);
    sampler_drop(&s);
}

static void bias_is_added_before_anything_else(void **state) {
    (void)state;
    struct sampler s;
    struct lamina_error err = {0};
    const float logits[4] = {4.0f, 3.0f, 2.0f, 1.0f};
    const struct lamina_bias ban[2] = {{.id = 0, .value = -100}, {.id = 3, .value = 2.5f}};
    const struct lamina_bias outside = {.id = 4, .value = 1};
    const struct lamina_bias large = {.id = 1, .value = 101};
    assert_int_equal(sampler_init(&s, 4, 100, &err), LAMINA_OK);
    setting(&s, (struct lamina_sampling){.top_p = 1, .repetition_penalty = 1, .bias = ban, .bias_count = 2});
    assert_int_equal(choose(&s, logits, 0), 3);
    setting(&s, (struct lamina_sampling){.temperature = 1, .top_p = 1, .repetition_penalty = 1, .bias = ban, .bias_count = 2});
    for (uint32_t i = 0; i < 2000; i++) {
        assert_int_not_equal(choose(&s, logits, i), 0);
    }
    setting(&s, (struct lamina_sampling){.top_p = 1, .repetition_penalty = 1, .bias = ban, .bias_count = 1});
    assert_int_equal(choose(&s, logits, 0), 1); /* the one of before is forgotten */
    setting(&s, (struct lamina_sampling){.top_p = 1, .repetition_penalty = 1});
    assert_int_equal(choose(&s, logits, 0), 0);
    struct lamina_sampling p = {.top_p = 1, .repetition_penalty = 1, .bias = &outside, .bias_count = 1};
    assert_int_equal(sampler_set(&s, &p, &err), LAMINA_USAGE);
    p.bias = &large;
    assert_int_equal(sampler_set(&s, &p, &err), LAMINA_USAGE);
    p = (struct lamina_sampling){.top_p = 1, .repetition_penalty = 1, .presence_penalty = 2.5f};
    assert_int_equal(sampler_set(&s, &p, &err), LAMINA_USAGE);
    sampler_drop(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_generator_is_even_and_keyed),
        cmocka_unit_test(penalties_count_what_was_made),
        cmocka_unit_test(bias_is_added_before_anything_else),
        cmocka_unit_test(greedy_takes_the_lowest_id_on_ties),
        cmocka_unit_test(frequencies_follow_the_softmax),
        cmocka_unit_test(filters_keep_what_they_say),
        cmocka_unit_test(the_penalty_pushes_seen_tokens_down),
        cmocka_unit_test(wrong_values_are_refused),
    };
    return cmocka_run_group_tests_name("sample", tests, setup, NULL);
}
