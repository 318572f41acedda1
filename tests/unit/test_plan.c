/* SPDX-License-Identifier: Apache-2.0
 * The planner swept over budgets, shapes and machines: sums, monotony, the promise that what is printed works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "plan/plan.h"

enum { MIB = 1 << 20 };

static struct model_desc small_desc(void) {
    return (struct model_desc){.hidden = 2048, .layers = 16, .kind_count = 1,
                               .kinds = {{.heads = 16, .kv_heads = 4, .head_dim = 128, .ffn = 8192}},
                               .vocab = 32768, .max_positions = 2048, .norm_eps = 1e-5f,
                               .gated = true, .rope = {{.dim = 128, .theta = 1e4, .factor = 1}}};
}

/* A store of `count` tiles with sizes that vary, in files of 40 tiles. */
struct fake {
    uint32_t count;
    uint32_t pages;
};

static uint32_t fake_pages(const void *user, uint32_t i) {
    const struct fake *f = (const struct fake *)user;
    return f->pages - (i % 7 == 3 ? f->pages / 2 : 0);
}

static bool fake_adjacent(const void *user, uint32_t i) {
    (void)user;
    return i % 40 != 0;
}

static struct plan_store fake_store(const struct fake *f) {
    struct plan_store s = {.tile_count = f->count, .tile_pages = fake_pages, .tile_adjacent = fake_adjacent, .user = f,
                           .largest_tile_bytes = f->pages * 4096, .embed_panel_bytes = 65536, .small_bytes = 270336};
    for (uint32_t i = 0; i < f->count; i++) {
        s.dense_bytes += (uint64_t)fake_pages(f, i) * 4096;
    }
    s.model_bytes = s.dense_bytes;
    return s;
}

static const struct plan_machine MACHINE = {.process_bytes = 12 * MIB, .threads = 2, .disk_bytes_per_s = 3.5e9,
                                            .flops_per_s = 2e11, .request_bytes = 2 * MIB, .depth = 4};

static struct plan make(const struct plan_store *s, uint64_t budget, uint32_t context) {
    struct model_desc d = small_desc();
    struct plan_request q = {.budget_bytes = budget, .context_tokens = context, .sequences = 1, .logit_rows = 1,
                             .kv_elem_bytes = 2, .pin = true};
    struct plan p;
    struct lamina_error err = {0};
    assert_int_equal(plan_make(&d, s, &MACHINE, &q, &p, &err), LAMINA_OK);
    return p;
}

static uint64_t sum(const struct plan *p) {
    uint64_t total = 0;
    for (unsigned i = 0; i < PLAN_PARTS; i++) {
        total += p->bytes[i];
    }
    return total;
}

static void lines_sum_to_the_total(void **state) {
    (void)state;
    struct fake f = {2000, 256};
    struct plan_store s = fake_store(&f);
    for (uint64_t mib = 20; mib < 3000; mib += 7) {
        struct plan p = make(&s, mib * MIB, 512);
        assert_true(p.total_bytes == sum(&p));
        assert_true(!p.fits || p.total_bytes <= mib * MIB);
    }
}

static void the_smallest_budget_fits_and_one_less_does_not(void **state) {
    (void)state;
    struct fake f = {2000, 256};
    struct plan_store s = fake_store(&f);
    for (uint32_t context = 1; context < 5000; context += 257) {
        uint64_t smallest = make(&s, 0, context).smallest_bytes;
        assert_true(smallest % MIB == 0);
        assert_true(make(&s, smallest, context).fits);
        assert_false(make(&s, smallest - MIB, context).fits);
        assert_true(make(&s, smallest, context).smallest_bytes == smallest);
    }
}

static void threads_that_unpack_codes_have_memory_for_it(void **state) {
    (void)state;
    struct fake f = {2000, 256};
    struct plan_store s = fake_store(&f);
    const uint64_t before = make(&s, 1000 * MIB, 128).bytes[PLAN_KERNEL];
    s.unpacking_bytes = 80 << 10;
    const uint64_t more = make(&s, 1000 * MIB, 128).bytes[PLAN_KERNEL] - before;
    assert_true(more >= s.unpacking_bytes && more % s.unpacking_bytes == 0);
}

static void memory_is_used_not_left(void **state) {
    (void)state;
    struct fake f = {2000, 256};
    struct plan_store s = fake_store(&f);
    for (uint64_t mib = 96; mib * MIB < s.dense_bytes; mib += 13) {
        struct plan p = make(&s, mib * MIB, 128);
        assert_true(p.fits);
        uint32_t *place = (uint32_t *)calloc(s.tile_count, sizeof(uint32_t));
        uint64_t pinned = plan_pins(&s, p.pinned_limit, p.request_bytes, place);
        assert_true(pinned <= p.pinned_limit);
        double used = (double)(p.total_bytes - p.bytes[PLAN_PINNED] + pinned) / (double)(mib * MIB);
        assert_true(used > 0.92);
        free(place);
    }
}

static void everything_is_pinned_when_there_is_room(void **state) {
    (void)state;
    struct fake f = {300, 256};
    struct plan_store s = fake_store(&f);
    struct plan p = make(&s, UINT64_MAX, 512);
    uint32_t place[300];
    assert_true(p.fits);
    assert_true(plan_pins(&s, p.pinned_limit, p.request_bytes, place) == s.dense_bytes);
    assert_true(p.streamed_bytes == 0);
    uint64_t next = 0;
    for (uint32_t i = 0; i < 300; i++) {
        assert_true(place[i] == next);
        next += fake_pages(&f, i);
    }
}

static void pins_spread_evenly(void **state) {
    (void)state;
    struct fake f = {2000, 256};
    struct plan_store s = fake_store(&f);
    uint32_t *place = (uint32_t *)calloc(s.tile_count, sizeof(uint32_t));
    for (unsigned percent = 5; percent <= 95; percent += 15) {
        uint64_t limit = s.dense_bytes / 100 * percent;
        uint64_t pinned = plan_pins(&s, limit, 2 * MIB, place);
        assert_true(pinned <= limit && pinned + 8 * (uint64_t)MIB > limit);
        uint64_t passed = 0;
        uint64_t here = 0;
        for (uint32_t i = 0; i < s.tile_count; i++) {
            uint64_t bytes = (uint64_t)fake_pages(&f, i) * 4096;
            passed += bytes;
            here += place[i] != PLAN_STREAMED ? bytes : 0;
            double due = (double)passed * percent / 100;
            assert_true((double)here < due + 8.0 * MIB && (double)here > due - 8.0 * MIB);
        }
    }
    free(place);
}

static void prompt_rows_never_exceed_the_context(void **state) {
    (void)state;
    struct fake f = {2000, 256};
    struct plan_store s = fake_store(&f);
    for (uint32_t context = 1; context < 700; context += 11) {
        struct plan p = make(&s, UINT64_MAX, context);
        assert_true(p.prompt_rows >= 1 && p.prompt_rows <= context && p.prompt_rows <= 512);
    }
}

static void senseless_requests_are_refused(void **state) {
    (void)state;
    struct fake f = {10, 256};
    struct plan_store s = fake_store(&f);
    struct model_desc d = small_desc();
    struct plan_request q = {.budget_bytes = MIB, .context_tokens = 0, .sequences = 1, .logit_rows = 1, .kv_elem_bytes = 2};
    struct plan p;
    struct lamina_error err = {0};
    assert_int_equal(plan_make(&d, &s, &MACHINE, &q, &p, &err), LAMINA_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_sum_to_the_total),
        cmocka_unit_test(the_smallest_budget_fits_and_one_less_does_not),
        cmocka_unit_test(memory_is_used_not_left),
        cmocka_unit_test(threads_that_unpack_codes_have_memory_for_it),
        cmocka_unit_test(everything_is_pinned_when_there_is_room),
        cmocka_unit_test(pins_spread_evenly),
        cmocka_unit_test(prompt_rows_never_exceed_the_context),
        cmocka_unit_test(senseless_requests_are_refused),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
