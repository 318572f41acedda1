/* SPDX-License-Identifier: Apache-2.0
 * Which experts a row chooses, and which of them stay in memory. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "exec/expert_cache.h"
#include "kern/kern.h"
#include "plan/plan.h"

static uint32_t random_state = 12345;

static uint32_t draw(uint32_t below) {
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)random_state * below) >> 32);
}

static float draw_score(void) {
    return (float)draw(4000) / 1000.0f - 2.0f;
}

/* ---- choosing ---- */

static double probability(const float *x, uint32_t n, uint32_t i, uint32_t score) {
    double sum = 0;
    for (uint32_t k = 0; k < n; k++) {
        sum += exp((double)x[k]);
    }
    return score == KERN_SCORE_SIGMOID ? 1.0 / (1.0 + exp(-(double)x[i])) : exp((double)x[i]) / sum;
}

/* Is an expert's group among the kept ones? Counted by how many groups are strictly better. */
static bool group_kept(const double *value, uint32_t n, uint32_t i, const struct kern_routing *r) {
    uint32_t size = r->groups != 0 ? n / r->groups : n;
    uint32_t better = 0;
    double score[64];
    for (uint32_t g = 0; g < (r->groups != 0 ? r->groups : 1); g++) {
        double first = -1e9;
        double second = -1e9;
        for (uint32_t k = g * size; k < (g + 1) * size; k++) {
            second = value[k] > first ? first : value[k] > second ? value[k] : second;
            first = value[k] > first ? value[k] : first;
        }
        score[g] = r->group_by_two ? first + second : first;
    }
    for (uint32_t g = 0; r->groups != 0 && g < r->groups; g++) {
        better += score[g] > score[i / size];
    }
    return r->groups == 0 || better < r->kept_groups;
}

static void check_choice(const float *x, const float *bias, uint32_t n, const struct kern_routing *r) {
    struct kern_choice c;
    double value[64];
    double sum = 0;
    kern_route(&c, x, bias, NULL, n, r);
    for (uint32_t i = 0; i < n; i++) {
        value[i] = probability(x, n, i, r->score) + (bias != NULL ? (double)bias[i] : 0.0);
    }
    for (uint32_t k = 0; k < r->top_k; k++) {
        uint32_t e = c.expert[k];
        assert_true(e < n);
        assert_true(k == 0 || c.expert[k - 1] < e);
        assert_true(group_kept(value, n, e, r));
        sum += probability(x, n, e, r->score);
        for (uint32_t i = 0; i < n; i++) { /* whoever was left out is not clearly better */
            bool chosen = false;
            for (uint32_t j = 0; j < r->top_k; j++) {
                chosen = chosen || c.expert[j] == i;
            }
            assert_true(chosen || !group_kept(value, n, i, r) || value[i] <= value[e] + 1e-5);
        }
    }
    for (uint32_t k = 0; k < r->top_k; k++) {
        double p = probability(x, n, c.expert[k], r->score);
        double want = (r->renormed || r->score == KERN_SCORE_CHOSEN ? p / sum : p) * (double)r->factor;
        assert_true(fabs(want - (double)c.weight[k]) < 1e-5);
    }
}

/* The published steps, in fp64: the best; what is further from it than the threshold leaves; softmax; without it, the same again. */
static void shares_of_those_near_each_choice(void **state) {
    (void)state;
    for (uint32_t round = 0; round < 400; round++) {
        const struct kern_routing r = {.score = KERN_SCORE_NEAR, .top_k = 1 + draw(3), .factor = 1.0f,
                                       .jitter = (float)draw(50) / 100.0f};
        const uint32_t n = 3 + draw(14);
        struct kern_choice c;
        float x[17];
        bool gone[17] = {false};
        for (uint32_t i = 0; i < n; i++) {
            x[i] = draw_score() - (round % 3 == 0 ? 2.5f : 0.0f); /* all below 0 as well */
        }
        kern_route(&c, x, NULL, NULL, n, &r);
        for (uint32_t k = 0; k < r.top_k; k++) {
            uint32_t best = n;
            double sum = 0;
            for (uint32_t i = 0; i < n; i++) {
                best = !gone[i] && (best == n || x[i] > x[best]) ? i : best;
            }
            for (uint32_t i = 0; i < n; i++) {
                const double gap = ((double)x[best] - (double)x[i]) / fmax(fabs((double)x[i]), (double)x[best]);
                sum += gone[i] || gap > 2.0 * (double)r.jitter ? 0.0 : exp((double)x[i] - (double)x[best]);
            }
            uint32_t at = 0;
            while (at < r.top_k && c.expert[at] != best) {
                at++;
            }
            assert_true(at < r.top_k && fabs((double)c.weight[at] - 1.0 / sum) < 1e-5);
            gone[best] = true;
        }
    }
}

static void rows_choose_the_best(void **state) {
    (void)state;
    static const struct kern_routing rules[] = {
        {.score = KERN_SCORE_SOFTMAX, .top_k = 2, .renormed = true, .factor = 1.0f},
        {.score = KERN_SCORE_SOFTMAX, .top_k = 5, .factor = 16.0f},
        {.score = KERN_SCORE_SIGMOID, .top_k = 6, .groups = 4, .kept_groups = 2, .group_by_two = true, .renormed = true, .factor = 2.5f},
        {.score = KERN_SCORE_SOFTMAX, .top_k = 3, .groups = 8, .kept_groups = 3, .factor = 1.0f},
        {.score = KERN_SCORE_CHOSEN, .top_k = 4, .factor = 1.0f},
        {.score = KERN_SCORE_SIGMOID, .top_k = 1, .factor = 1.0f},
    };
    for (size_t rule = 0; rule < ARRAY_LEN(rules); rule++) {
        for (uint32_t round = 0; round < 200; round++) {
            float x[32];
            float bias[32];
            for (uint32_t i = 0; i < 32; i++) {
                x[i] = draw_score();
                bias[i] = draw_score() * 0.2f;
            }
            bool biased = round % 2 == 1 && rules[rule].score == KERN_SCORE_SIGMOID;
            check_choice(x, biased ? bias : NULL, 32, &rules[rule]);
        }
    }
}

static void ties_take_the_lowest_number(void **state) {
    (void)state;
    const float x[8] = {1, 2, 2, 2, 0, 2, 1, 2};
    const struct kern_routing r = {.score = KERN_SCORE_SOFTMAX, .top_k = 3, .factor = 1.0f};
    struct kern_choice c;
    kern_route(&c, x, NULL, NULL, 8, &r);
    assert_int_equal(c.expert[0], 1);
    assert_int_equal(c.expert[1], 2);
    assert_int_equal(c.expert[2], 3);
}

/* Factors by expert come last: they neither steer the choice nor are they divided out. */
static void factors_multiply_weights(void **state) {
    (void)state;
    const float x[8] = {1, 2, 0, 2, 0, 2, 1, 1};
    const float factors[8] = {9, 0.5f, 9, 3, 9, -1, 9, 9};
    const struct kern_routing r = {.score = KERN_SCORE_CHOSEN, .top_k = 3, .factor = 2.0f};
    struct kern_choice c;
    kern_route(&c, x, NULL, factors, 8, &r);
    for (uint32_t k = 0; k < 3; k++) {
        assert_int_equal(c.expert[k], 2 * k + 1);
        assert_float_equal(c.weight[k], 2.0f / 3.0f * factors[2 * k + 1], 1e-6f);
    }
}

/* ---- staying ---- */

enum { LAYERS = 3, EXPERTS = 10, PARTS = 3, ALL = LAYERS * EXPERTS };

struct mirror {
    uint32_t slot[ALL * PARTS];
    uint32_t slots;
    uint32_t first;
    const uint8_t *used;
};

static void on_place(void *user, uint32_t expert, uint32_t part, uint32_t slot) {
    struct mirror *m = (struct mirror *)user;
    uint32_t entry = expert * PARTS + part;
    if (slot == EXPERT_NO_SLOT) {
        assert_true(m->slot[entry] != EXPERT_NO_SLOT);
        assert_false(expert >= m->first && expert < m->first + EXPERTS && m->used[expert - m->first]);
    } else {
        assert_true(slot < m->slots);
        for (uint32_t i = 0; i < ALL * PARTS; i++) {
            assert_true(m->slot[i] != slot);
        }
        assert_true(expert >= m->first && m->used[expert - m->first]);
    }
    m->slot[entry] = slot;
}

static void start(struct expert_cache *c, struct mirror *m, void *memory, uint32_t slots) {
    *c = (struct expert_cache){.experts = ALL, .turns = LAYERS, .parts = PARTS, .slots = slots};
    expert_cache_init(c, memory);
    *m = (struct mirror){.slots = slots};
    memset(m->slot, 0xff, sizeof(m->slot));
}

static void choose(struct expert_cache *c, struct mirror *m, uint32_t layer, const uint8_t *used) {
    m->first = layer * EXPERTS;
    m->used = used;
    expert_cache_choose(c, m->first, used, EXPERTS, on_place, m);
    for (uint32_t i = 0; i < ALL * PARTS; i++) {
        assert_int_equal(m->slot[i], expert_cache_slot(c, i / PARTS, i % PARTS));
    }
}

static void slots_are_never_shared_nor_taken_from_the_chosen(void **state) {
    (void)state;
    for (uint32_t slots = 0; slots <= ALL * PARTS + 5; slots += 7) {
        struct expert_cache c;
        struct mirror m;
        void *memory = malloc(plan_cache_table_bytes(ALL, PARTS, slots));
        start(&c, &m, memory, slots);
        for (uint32_t pass = 0; pass < 200; pass++) {
            for (uint32_t layer = 0; layer < LAYERS; layer++) {
                uint8_t used[EXPERTS] = {0};
                for (uint32_t k = 0; k < 1 + draw(4); k++) {
                    used[draw(EXPERTS)] = 1;
                }
                choose(&c, &m, layer, used);
            }
        }
        free(memory);
    }
}

/* With room for all, each expert is brought in once and stays. */
static void a_large_cache_keeps_all(void **state) {
    (void)state;
    struct expert_cache c;
    struct mirror m;
    uint8_t used[EXPERTS];
    void *memory = malloc(plan_cache_table_bytes(ALL, PARTS, ALL * PARTS));
    memset(used, 1, sizeof(used));
    start(&c, &m, memory, ALL * PARTS);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        choose(&c, &m, layer, used);
    }
    for (uint32_t i = 0; i < ALL * PARTS; i++) {
        assert_true(m.slot[i] < ALL * PARTS);
    }
    free(memory);
}

/* Experts chosen in every pass stay while others come and go; when habits change, the new ones replace them, also after so many
 * passes that ranks were scaled back. */
static void habits_stay_and_age(void **state) {
    (void)state;
    struct expert_cache c;
    struct mirror m;
    uint32_t slots = 2 * LAYERS * PARTS;
    void *memory = malloc(plan_cache_table_bytes(ALL, PARTS, slots));
    start(&c, &m, memory, slots);
    for (uint32_t habit = 0; habit < 2; habit++) {
        for (uint32_t pass = 0; pass < 12000; pass++) {
            for (uint32_t layer = 0; layer < LAYERS; layer++) {
                uint8_t used[EXPERTS] = {0};
                used[4 * habit] = 1;
                used[4 * habit + 1] = 1;
                used[8 + draw(2)] = pass % 3 == 0;
                choose(&c, &m, layer, used);
            }
        }
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
            for (uint32_t part = 0; part < PARTS; part++) {
                assert_true(expert_cache_slot(&c, layer * EXPERTS + 4 * habit, part) != EXPERT_NO_SLOT);
                assert_true(expert_cache_slot(&c, layer * EXPERTS + 4 * habit + 1, part) != EXPERT_NO_SLOT);
            }
        }
    }
    free(memory);
}

static void parts_cover_an_expert_in_order(void **state) {
    (void)state;
    for (uint64_t pages = 1; pages < 300; pages += 7) {
        for (uint32_t parts = 1; parts <= 32; parts++) {
            uint32_t last = 0;
            for (uint64_t before = 0; before < pages; before++) {
                uint32_t part = plan_part_of(pages, parts, before);
                assert_true(part < parts && part >= last && part <= last + 1);
                last = part;
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_of_those_near_each_choice),
        cmocka_unit_test(rows_choose_the_best),
        cmocka_unit_test(ties_take_the_lowest_number),
        cmocka_unit_test(factors_multiply_weights),
        cmocka_unit_test(slots_are_never_shared_nor_taken_from_the_chosen),
        cmocka_unit_test(a_large_cache_keeps_all),
        cmocka_unit_test(habits_stay_and_age),
        cmocka_unit_test(parts_cover_an_expert_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
