/* SPDX-License-Identifier: Apache-2.0
 * Columns of source matrices (store/split_strip.c): the bytes asked for, whatever fits beside them, and how often they are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/compiler.h"
#include "store/store_priv.h"

/* A source whose byte at an offset is known; tensors differ. */
struct made {
    uint64_t bytes_read, reads;
    bool fails;
};

static uint8_t byte_at(uint32_t tensor, uint64_t offset) {
    return (uint8_t)((offset * UINT64_C(0x9e3779b97f4a7c15) + tensor * 77) >> 56);
}

static lamina_status read_made(void *user, uint32_t tensor, uint64_t offset, void *dst, size_t len, struct lamina_error *err) {
    struct made *m = user;
    m->bytes_read += len;
    m->reads++;
    if (m->fails) {
        return base_fail(err, LAMINA_IO, "made to fail");
    }
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)dst)[i] = byte_at(tensor, offset + i);
    }
    return LAMINA_OK;
}

static struct split_job *job_of(struct made *m, struct lamina_source *s) {
    static struct split_job job;
    memset(&job, 0, sizeof(job));
    *s = (struct lamina_source){.size = sizeof(*s), .user = m, .read = read_made};
    job.source = s;
    return &job;
}

static void expect_columns(struct split_job *job, enum split_strip_use use, const struct split_columns *c) {
    const uint8_t *columns = NULL;
    uint64_t pitch = 0;
    assert_int_equal(split_strip_take(job, use, c, &columns, &pitch), LAMINA_OK);
    assert_non_null(columns);
    for (uint64_t i = 0; i < c->lines; i++) {
        for (uint64_t k = 0; k < c->bytes; k += c->bytes > 64 ? 13 : 1) {
            assert_int_equal(columns[i * pitch + k], byte_at(c->tensor, (c->line + i) * c->line_bytes + c->at + k));
        }
        assert_int_equal(columns[i * pitch + c->bytes - 1],
                         byte_at(c->tensor, (c->line + i) * c->line_bytes + c->at + c->bytes - 1));
    }
}

/* Column after column, as a split asks: a matrix that fits is read once, a larger one as often as it is larger. */
static void columns_are_found_and_seldom_read(void **state) {
    (void)state;
    static const struct {
        uint64_t lines, line_bytes, step;
        uint64_t most_times; /* the whole matrix may be read */
    } cases[] = {
        {1, 100, 7, 1},           {64, 1000, 32, 1},      {512, 8192, 1024, 1},
        {2048, 6000, 512, 2},     {4096, 6144, 1024, 3},  {5000, 3 << 10, 999, 4},
        {3, 5 << 20, 1 << 20, 2}, {20, 1 << 20, 4096, 3}, /* lines longer than one read */
    };
    struct made m;
    struct lamina_source s;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        m = (struct made){.reads = 0};
        struct split_job *job = job_of(&m, &s);
        for (uint64_t at = 0; at < cases[i].line_bytes; at += cases[i].step) {
            const struct split_columns c = {.tensor = 5, .line = 3, .lines = cases[i].lines, .line_bytes = cases[i].line_bytes,
                                            .at = at, .bytes = min_u64(cases[i].step, cases[i].line_bytes - at)};
            expect_columns(job, SPLIT_STRIP_CODES, &c);
        }
        assert_true(m.bytes_read <= cases[i].most_times * cases[i].lines * cases[i].line_bytes);
        split_strip_drop(job);
    }
}

static void uses_do_not_disturb_each_other(void **state) {
    (void)state;
    struct made m = {.reads = 0};
    struct lamina_source s;
    struct split_job *job = job_of(&m, &s);
    for (int round = 0; round < 3; round++) {
        for (uint32_t use = 0; use < SPLIT_STRIPS; use++) {
            const struct split_columns c = {.tensor = use, .lines = 32, .line_bytes = 4096, .at = (uint64_t)round * 512, .bytes = 512};
            expect_columns(job, (enum split_strip_use)use, &c);
        }
    }
    assert_int_equal(m.reads, SPLIT_STRIPS);
    /* Another tensor, other lines of the same, or as many lines of another length are not what is in memory. */
    struct split_columns c = {.tensor = 9, .lines = 32, .line_bytes = 4096, .at = 64, .bytes = 512};
    expect_columns(job, SPLIT_STRIP_CODES, &c);
    c.line = 32;
    expect_columns(job, SPLIT_STRIP_CODES, &c);
    c.lines = 16;
    expect_columns(job, SPLIT_STRIP_CODES, &c);
    c.line_bytes = 8192;
    expect_columns(job, SPLIT_STRIP_CODES, &c);
    split_strip_drop(job);
}

static void what_does_not_fit_is_said_and_failures_leave_nothing(void **state) {
    (void)state;
    struct made m = {.reads = 0};
    struct lamina_source s;
    struct split_job *job = job_of(&m, &s);
    const uint8_t *columns = NULL;
    uint64_t pitch = 0;
    struct split_columns c = {.lines = 1 << 20, .line_bytes = 1 << 20, .bytes = 64};
    assert_int_equal(split_strip_take(job, SPLIT_STRIP_CODES, &c, &columns, &pitch), LAMINA_OK);
    assert_true(columns == NULL && m.reads == 0 && job->strip_memory == NULL);
    c.lines = UINT64_C(1) << 40; /* more lines than room */
    assert_int_equal(split_strip_take(job, SPLIT_STRIP_CODES, &c, &columns, &pitch), LAMINA_OK);
    assert_null(columns);
    c = (struct split_columns){.lines = 16, .line_bytes = 100, .bytes = 10};
    m.fails = true;
    assert_int_equal(split_strip_take(job, SPLIT_STRIP_CODES, &c, &columns, &pitch), LAMINA_IO);
    m.fails = false;
    expect_columns(job, SPLIT_STRIP_CODES, &c);
    split_strip_drop(job);
}

static void turning_is_what_two_loops_do(void **state) {
    (void)state;
    static uint8_t from[1 << 16], to[1 << 16], want[1 << 16];
    static const size_t sizes[] = {1, 2, 4, 8};
    uint64_t random = 1;
    for (size_t i = 0; i < sizeof(from); i++) {
        from[i] = byte_at(1, i);
    }
    for (int round = 0; round < 400; round++) {
        const size_t size = sizes[round % 4];
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        const uint64_t lines = 1 + (random >> 33) % 70, items = 1 + (random >> 43) % 20, step = 1 + (random >> 53) % 3;
        const struct split_turn t = {.from = from, .pitch = items * step * size + 3, .step = step, .lines = lines, .items = items,
                                     .to = to, .stride = lines * size + (random >> 60)};
        memset(to, 0, sizeof(to));
        memset(want, 0, sizeof(want));
        for (uint64_t k = 0; k < lines; k++) {
            for (uint64_t i = 0; i < items; i++) {
                memcpy(want + i * t.stride + k * size, from + k * t.pitch + i * step * size, size);
            }
        }
        split_turn(&t, size);
        assert_memory_equal(to, want, sizeof(to));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_found_and_seldom_read),
        cmocka_unit_test(uses_do_not_disturb_each_other),
        cmocka_unit_test(what_does_not_fit_is_said_and_failures_leave_nothing),
        cmocka_unit_test(turning_is_what_two_loops_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
