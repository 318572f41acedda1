/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole prompts of several sequences in few passes: each wanted row's logits are those of its prompt alone, bit for bit,
 * however many rows, logits and sequences a pass holds, and under the smallest budget; order and number of the calls are as
 * promised; refusals and interruptions leave every length as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lamina/lamina.h"
#include "tiny_checkpoint.h"

enum { MIB = 1 << 20, MOST = 5, VOCAB = 331, LONGEST = 40 };

/* Dynamic RoPE: what a row gives depends on how long its whole prompt is. */
static const struct tiny_shape SHAPE = {
    .hidden = 64, .layers = 3, .heads = 4, .kv_heads = 2, .head_dim = 16, .ffn = 96, .vocab = VOCAB, .dtype = "BF16", .seed = 7,
    .extra = ", \"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}, \"max_position_embeddings\": 20"};

/* Lengths, and the rows whose logits are wanted. */
static const struct {
    uint32_t count, first, rows;
} PROMPTS[MOST] = {{17, 8, 8}, {40, 0, 40}, {1, 0, 1}, {23, 22, 1}, {30, 5, 0}};

struct fixture {
    char home[256];
    char model[256];
    uint32_t ids[MOST][LONGEST];
    float want[MOST][LONGEST][VOCAB]; /* each prompt alone, row by row */
};
static struct fixture fixture;

static struct lamina_settings settings(uint32_t sequences, uint32_t prompt_rows, uint32_t logit_rows) {
    struct lamina_settings s;
    lamina_settings_defaults(&s);
    s.home = fixture.home;
    s.context_tokens = LONGEST;
    s.memory_bytes = UINT64_MAX;
    s.threads = 2;
    s.sequences = sequences;
    s.prompt_rows = prompt_rows;
    s.logit_rows = logit_rows;
    return s;
}

static struct lamina_model *open_model(const struct lamina_settings *s) {
    struct lamina_model *m = NULL;
    struct lamina_error err = {0};
    if (lamina_model_open(&m, fixture.model, s, &err) != LAMINA_OK) {
        fail_msg("%s", err.message);
    }
    return m;
}

static struct lamina_session *open_session(struct lamina_model *m) {
    struct lamina_session *q = NULL;
    struct lamina_error err = {0};
    if (lamina_session_open(&q, m, &err) != LAMINA_OK) {
        fail_msg("%s", err.message);
    }
    return q;
}

static bool keep_row(void *user, uint32_t prompt, uint32_t row, const float *logits) {
    uint32_t number = *(const uint32_t *)user;
    (void)prompt;
    memcpy(fixture.want[number][row], logits, sizeof(fixture.want[number][row]));
    return false;
}

static int setup(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(fixture.home, sizeof(fixture.home), "%s/lamina-home-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(fixture.home) == NULL || !tiny_checkpoint_make(&SHAPE, fixture.model)) {
        return -1;
    }
    struct lamina_settings s = settings(1, LONGEST, LONGEST);
    struct lamina_model *m = open_model(&s);
    for (uint32_t i = 0; i < MOST; i++) {
        struct lamina_error err = {0};
        struct lamina_session *q = open_session(m);
        for (uint32_t k = 0; k < PROMPTS[i].count; k++) {
            fixture.ids[i][k] = (k * 37 + 11 + 5 * i) % VOCAB;
        }
        struct lamina_prompt one = {.session = q, .ids = fixture.ids[i], .count = PROMPTS[i].count, .row_count = PROMPTS[i].count};
        struct lamina_prompts p = {.prompt = &one, .count = 1, .on_row = keep_row, .user = &i};
        if (lamina_prompts_feed(&p, &err) != LAMINA_OK) {
            return -1;
        }
        lamina_session_close(&q);
    }
    lamina_model_close(&m);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tiny_remove(fixture.home);
    tiny_remove(fixture.model);
    return 0;
}

/* ---- */

struct seen {
    uint32_t prompt, row; /* expected next */
    uint32_t calls;
    uint32_t stop_at;     /* 0: never */
};

static bool check_row(void *user, uint32_t prompt, uint32_t row, const float *logits) {
    struct seen *s = (struct seen *)user;
    while (s->prompt < MOST && s->row == PROMPTS[s->prompt].first + PROMPTS[s->prompt].rows) {
        s->prompt++;
        s->row = s->prompt < MOST ? PROMPTS[s->prompt].first : 0;
    }
    assert_int_equal(prompt, s->prompt);
    assert_int_equal(row, s->row++);
    if (memcmp(logits, fixture.want[prompt][row], sizeof(fixture.want[prompt][row])) != 0) {
        fail_msg("row %u of prompt %u has other logits", row, prompt);
    }
    return ++s->calls == s->stop_at;
}

static uint32_t wanted_rows(void) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < MOST; i++) {
        n += PROMPTS[i].rows;
    }
    return n;
}

/* All prompts at once. */
static lamina_status feed_all(struct lamina_session **q, struct seen *seen, struct lamina_error *err) {
    struct lamina_prompt prompt[MOST];
    *seen = (struct seen){.row = PROMPTS[0].first, .stop_at = seen->stop_at};
    for (uint32_t i = 0; i < MOST; i++) {
        prompt[i] = (struct lamina_prompt){q[i], fixture.ids[i], PROMPTS[i].count, PROMPTS[i].first, PROMPTS[i].rows};
    }
    struct lamina_prompts p = {.prompt = prompt, .count = MOST, .on_row = check_row, .user = seen};
    return lamina_prompts_feed(&p, err);
}

static void open_all(struct lamina_model *m, struct lamina_session **q) {
    for (uint32_t i = 0; i < MOST; i++) {
        q[i] = open_session(m);
    }
}

static void close_all(struct lamina_model **m, struct lamina_session **q) {
    for (uint32_t i = 0; i < MOST; i++) {
        lamina_session_close(&q[i]);
    }
    lamina_model_close(m);
}

static void logits_alone_are_those_of_plain_feeding(void **state) {
    (void)state;
    struct lamina_settings s = settings(1, 7, 1);
    struct lamina_error err = {0};
    struct lamina_model *m = open_model(&s);
    for (uint32_t i = 0; i < MOST; i++) {
        struct lamina_session *q = open_session(m);
        uint32_t last = PROMPTS[i].count - 1;
        assert_int_equal(lamina_session_feed(q, fixture.ids[i], PROMPTS[i].count, NULL, &err), LAMINA_OK);
        assert_memory_equal(lamina_session_logits(q), fixture.want[i][last], sizeof(fixture.want[i][last]));
        lamina_session_close(&q);
    }
    lamina_model_close(&m);
}

static void logits_do_not_depend_on_passes(void **state) {
    (void)state;
    static const uint32_t rows[] = {5, 6, 13, 41, 64, 111, 200};
    static const uint32_t logits[] = {1, 3, 9, 200};
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        for (size_t l = 0; l < ARRAY_LEN(logits); l++) {
            struct lamina_settings s = settings(MOST, rows[r], logits[l]);
            struct lamina_session *q[MOST] = {NULL};
            struct lamina_error err = {0};
            struct seen seen = {0};
            s.threads = 1 + (uint32_t)l;
            s.pin = l % 2 == 0;
            struct lamina_model *m = open_model(&s);
            open_all(m, q);
            assert_int_equal(feed_all(q, &seen, &err), LAMINA_OK);
            assert_int_equal(seen.calls, wanted_rows());
            for (uint32_t i = 0; i < MOST; i++) {
                assert_int_equal(lamina_session_length(q[i]), PROMPTS[i].count);
            }
            close_all(&m, q);
        }
    }
}

static void one_pass_carries_all_that_fits(void **state) {
    (void)state;
    struct lamina_stats stats = {.size = sizeof(stats)};
    struct lamina_session *q[MOST] = {NULL};
    struct lamina_error err = {0};
    struct seen seen = {0};
    struct lamina_settings s = settings(MOST, 111, 50);
    struct lamina_model *m = open_model(&s);
    open_all(m, q);
    assert_int_equal(feed_all(q, &seen, &err), LAMINA_OK);
    lamina_model_stats(m, &stats);
    assert_int_equal(stats.passes, 1);
    assert_int_equal(stats.rows, 111);
    close_all(&m, q);
}

static void logits_do_not_depend_on_the_budget(void **state) {
    (void)state;
    struct lamina_settings s = settings(MOST, 23, 9);
    struct lamina_plan plan;
    struct lamina_error err = {0};
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    const uint64_t slack = 256;
#else
    const uint64_t slack = 0;
#endif
    s.memory_bytes = MIB;
    assert_int_equal(lamina_plan_make(fixture.model, &s, &plan, &err), LAMINA_OK);
    assert_false(plan.fits);
    assert_int_equal(plan.vocab, VOCAB);
    for (uint64_t more = 0; more < 3; more++) {
        struct lamina_session *q[MOST] = {NULL};
        struct seen seen = {0};
        s.memory_bytes = plan.smallest_budget_bytes + (more + slack) * MIB;
        struct lamina_model *m = open_model(&s);
        open_all(m, q);
        for (int again = 0; again < 3; again++) { /* sessions that were cut are as good as new ones */
            assert_int_equal(feed_all(q, &seen, &err), LAMINA_OK);
            for (uint32_t i = 0; i < MOST; i++) {
                assert_int_equal(lamina_session_truncate(q[i], 0, &err), LAMINA_OK);
            }
        }
        close_all(&m, q);
    }
}

/* A session goes on after its prompt as if fed alone; it has logits where its last row wanted them in the last pass. */
static void sessions_go_on_afterwards(void **state) {
    (void)state;
    struct lamina_settings s = settings(MOST, 200, 200);
    struct lamina_session *q[MOST] = {NULL};
    struct lamina_error err = {0};
    struct seen seen = {0};
    struct lamina_model *m = open_model(&s);
    uint32_t next = 42;
    open_all(m, q);
    assert_int_equal(feed_all(q, &seen, &err), LAMINA_OK);
    for (uint32_t i = 0; i < MOST; i++) {
        uint32_t last = PROMPTS[i].count - 1;
        bool has = PROMPTS[i].first + PROMPTS[i].rows == PROMPTS[i].count && PROMPTS[i].rows > 0;
        const float *logits = lamina_session_logits(q[i]);
        assert_int_equal(logits != NULL, has);
        if (has) {
            assert_memory_equal(logits, fixture.want[i][last], sizeof(fixture.want[i][last]));
        }
    }
    float alone[VOCAB];
    assert_int_equal(lamina_session_truncate(q[0], 0, &err), LAMINA_OK);
    assert_int_equal(lamina_session_feed(q[0], fixture.ids[3], PROMPTS[3].count, NULL, &err), LAMINA_OK);
    assert_int_equal(lamina_session_feed(q[0], &next, 1, NULL, &err), LAMINA_OK);
    memcpy(alone, lamina_session_logits(q[0]), sizeof(alone));
    assert_int_equal(lamina_session_feed(q[3], &next, 1, NULL, &err), LAMINA_OK);
    assert_memory_equal(alone, lamina_session_logits(q[3]), sizeof(alone));
    close_all(&m, q);
}

static void stopping_leaves_every_length(void **state) {
    (void)state;
    struct lamina_settings s = settings(MOST, 13, 9);
    struct lamina_session *q[MOST] = {NULL};
    struct lamina_model *m = open_model(&s);
    open_all(m, q);
    for (uint32_t at = 1; at <= wanted_rows(); at += 7) {
        struct lamina_error err = {0};
        struct seen seen = {.stop_at = at};
        assert_int_equal(feed_all(q, &seen, &err), LAMINA_INTERRUPTED);
        assert_int_equal(seen.calls, at);
        for (uint32_t i = 0; i < MOST; i++) {
            assert_int_equal(lamina_session_length(q[i]), 0);
            assert_null(lamina_session_logits(q[i]));
        }
    }
    struct lamina_error err = {0};
    struct seen seen = {0};
    assert_int_equal(feed_all(q, &seen, &err), LAMINA_OK);
    close_all(&m, q);
}

static void a_failed_pass_leaves_every_length(void **state) {
    (void)state;
    struct lamina_settings s = settings(MOST, 13, 9);
    struct lamina_session *q[MOST] = {NULL};
    struct lamina_error err = {0};
    struct seen seen = {0};
    s.io = LAMINA_IO_SIM;
    s.sim = "eio=1000,seed=3";
    s.pin = false;
    struct lamina_model *m = open_model(&s);
    open_all(m, q);
    assert_int_equal(feed_all(q, &seen, &err), LAMINA_IO);
    assert_int_equal(seen.calls, 0);
    for (uint32_t i = 0; i < MOST; i++) {
        assert_int_equal(lamina_session_length(q[i]), 0);
    }
    close_all(&m, q);
}

static bool say_stop(void *user, const struct lamina_progress *p) {
    uint32_t *calls = (uint32_t *)user;
    assert_int_equal(p->total_bytes, 111);
    return p->kind == LAMINA_PROGRESS_PROMPTS && ++*calls == 2;
}

static void progress_comes_after_each_pass_and_can_stop(void **state) {
    (void)state;
    struct lamina_settings s = settings(MOST, 13, 13);
    struct lamina_session *q[MOST] = {NULL};
    struct lamina_error err = {0};
    struct seen seen = {0};
    uint32_t calls = 0;
    s.callbacks = (struct lamina_callbacks){0};
    struct lamina_model *m = open_model(&s); /* splitting tells of its progress too */
    lamina_model_close(&m);
    s.callbacks = (struct lamina_callbacks){.progress = say_stop, .user = &calls};
    m = open_model(&s);
    open_all(m, q);
    assert_int_equal(feed_all(q, &seen, &err), LAMINA_INTERRUPTED);
    assert_int_equal(calls, 2);
    assert_int_equal(lamina_session_length(q[0]), 0);
    close_all(&m, q);
}

static void refuse(const struct lamina_prompt *prompt, uint32_t count, const char *words) {
    struct lamina_error err = {0};
    struct lamina_prompts p = {.prompt = prompt, .count = count};
    assert_int_equal(lamina_prompts_feed(&p, &err), LAMINA_USAGE);
    if (strstr(err.message, words) == NULL) {
        fail_msg("\"%s\" was expected in: %s", words, err.message);
    }
}

static void wrong_calls_are_refused(void **state) {
    (void)state;
    struct lamina_settings s = settings(2, 13, 9);
    struct lamina_model *m = open_model(&s);
    struct lamina_model *other = open_model(&s);
    struct lamina_session *a = open_session(m);
    struct lamina_session *b = open_session(m);
    struct lamina_session *stranger = open_session(other);
    const uint32_t *ids = fixture.ids[1];
    const uint32_t bad[2] = {1, VOCAB};
    const uint32_t many[LONGEST + 1] = {0};
    refuse(NULL, 0, "no prompt");
    refuse((struct lamina_prompt[]){{a, ids, 3, 0, 1}, {b, ids, 3, 0, 1}, {a, ids, 3, 0, 1}}, 3, "opened for 2 sequences");
    refuse((struct lamina_prompt[]){{a, ids, 3, 0, 1}, {a, ids, 3, 0, 1}}, 2, "same sequence");
    refuse((struct lamina_prompt[]){{a, ids, 3, 0, 1}, {stranger, ids, 3, 0, 1}}, 2, "another model");
    refuse((struct lamina_prompt[]){{a, ids, 3, 0, 1}, {b, bad, 2, 0, 1}}, 2, "prompt 2: token id 331");
    refuse((struct lamina_prompt[]){{a, ids, 0, 0, 0}}, 1, "no token");
    refuse((struct lamina_prompt[]){{a, many, LONGEST + 1, 0, 0}}, 1, "do not fit the context");
    refuse((struct lamina_prompt[]){{a, ids, 3, 1, 3}}, 1, "logits of rows 1 to 4");
    refuse((struct lamina_prompt[]){{a, ids, 3, UINT32_MAX, UINT32_MAX}}, 1, "logits of rows");
    assert_int_equal(lamina_session_length(a), 0);
    assert_int_equal(lamina_session_length(b), 0);
    lamina_session_close(&a);
    lamina_session_close(&b);
    lamina_session_close(&stranger);
    lamina_model_close(&m);
    lamina_model_close(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_alone_are_those_of_plain_feeding),
        cmocka_unit_test(logits_do_not_depend_on_passes),
        cmocka_unit_test(one_pass_carries_all_that_fits),
        cmocka_unit_test(logits_do_not_depend_on_the_budget),
        cmocka_unit_test(sessions_go_on_afterwards),
        cmocka_unit_test(stopping_leaves_every_length),
        cmocka_unit_test(a_failed_pass_leaves_every_length),
        cmocka_unit_test(progress_comes_after_each_pass_and_can_stop),
        cmocka_unit_test(wrong_calls_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
