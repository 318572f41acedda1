/* SPDX-License-Identifier: Apache-2.0
 *
 * The promise "output never depends on the budget", through the public API: logits are compared bit for bit over budgets,
 * threads, read-ahead, engines, prompt chunks and instruction sets, on odd shapes; and faults never become answers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lamina/lamina.h"
#include "tiny_checkpoint.h"

enum { PROMPT = 75, STEPS = 4, MIB = 1 << 20 };

static const struct tiny_shape SHAPES[] = {
    {.hidden = 64, .layers = 3, .heads = 4, .kv_heads = 2, .head_dim = 16, .ffn = 96, .vocab = 331, .dtype = "BF16", .seed = 1},
    {.hidden = 48, .layers = 2, .heads = 3, .kv_heads = 1, .head_dim = 20, .ffn = 71, .vocab = 281, .tied = true,
     .bias = true, .dtype = "F32", .seed = 2},
    {.hidden = 300, .layers = 2, .heads = 6, .kv_heads = 6, .head_dim = 50, .ffn = 777, .vocab = 1000, .dtype = "F16",
     .seed = 3, .extra = ", \"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}, \"max_position_embeddings\": 70"},
    /* 640 rows of 2048: several tiles per matrix, several groups per tile. */
    {.hidden = 2048, .layers = 2, .heads = 10, .kv_heads = 2, .head_dim = 64, .ffn = 640, .vocab = 512, .tied = true,
     .dtype = "BF16", .seed = 4},
};

/* A sanitizer's own memory counts as the program's and grows from run to run, so a smallest budget holds for one run only. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1, SLACK_MIB = 256 };
#else
enum { SANITIZED = 0, SLACK_MIB = 0 };
#endif

struct fixture {
    char home[256];
    char model[ARRAY_LEN(SHAPES)][256];
};
static struct fixture fixture;

static int setup(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(fixture.home, sizeof(fixture.home), "%s/lamina-home-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(fixture.home) == NULL) {
        return -1;
    }
    for (size_t i = 0; i < ARRAY_LEN(SHAPES); i++) {
        if (!tiny_checkpoint_make(&SHAPES[i], fixture.model[i])) {
            return -1;
        }
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tiny_remove(fixture.home);
    for (size_t i = 0; i < ARRAY_LEN(SHAPES); i++) {
        tiny_remove(fixture.model[i]);
    }
    return 0;
}

static struct lamina_settings settings(void) {
    struct lamina_settings s;
    lamina_settings_defaults(&s);
    s.home = fixture.home;
    s.context_tokens = PROMPT + STEPS;
    s.memory_bytes = UINT64_MAX;
    s.threads = 2;
    return s;
}

/* Prompt, then STEPS greedy tokens; `out` gets the logits after the prompt and after the last token. */
static lamina_status run(size_t shape, const struct lamina_settings *s, float *out, struct lamina_error *err) {
    struct lamina_model *m = NULL;
    struct lamina_session *q = NULL;
    uint32_t ids[PROMPT];
    uint32_t vocab = SHAPES[shape].vocab;
    for (uint32_t i = 0; i < PROMPT; i++) {
        ids[i] = (i * 37 + 11) % vocab;
    }
    lamina_status status = lamina_model_open(&m, fixture.model[shape], s, err);
    if (status == LAMINA_OK) {
        status = lamina_session_open(&q, m, err);
    }
    if (status == LAMINA_OK) {
        status = lamina_session_feed(q, ids, PROMPT, NULL, err);
    }
    if (status == LAMINA_OK) {
        memcpy(out, lamina_session_logits(q), vocab * sizeof(float));
    }
    for (int i = 0; status == LAMINA_OK && i < STEPS; i++) {
        uint32_t id = 0;
        status = lamina_session_sample(q, &id, err);
        if (status == LAMINA_OK) {
            status = lamina_session_feed(q, &id, 1, NULL, err);
        }
    }
    if (status == LAMINA_OK) {
        memcpy(out + vocab, lamina_session_logits(q), vocab * sizeof(float));
    }
    lamina_session_close(&q);
    lamina_model_close(&m);
    return status;
}

static void expect_same(size_t shape, const struct lamina_settings *s, const float *want, const char *what) {
    float *got = (float *)calloc((size_t)SHAPES[shape].vocab * 2, sizeof(float));
    struct lamina_error err = {0};
    lamina_status status = run(shape, s, got, &err);
    if (status != LAMINA_OK) {
        fail_msg("shape %zu, %s: %s", shape, what, err.message);
    }
    if (memcmp(got, want, (size_t)SHAPES[shape].vocab * 2 * sizeof(float)) != 0) {
        fail_msg("shape %zu: logits differ with %s", shape, what);
    }
    free(got);
}

static float *reference(size_t shape) {
    float *want = (float *)calloc((size_t)SHAPES[shape].vocab * 2, sizeof(float));
    struct lamina_settings s = settings();
    struct lamina_error err = {0};
    s.isa = "scalar";
    s.threads = 1;
    if (run(shape, &s, want, &err) != LAMINA_OK) {
        fail_msg("shape %zu: %s", shape, err.message);
    }
    return want;
}

static uint64_t smallest(size_t shape, struct lamina_settings s) {
    struct lamina_plan p;
    struct lamina_error err = {0};
    s.memory_bytes = MIB;
    assert_int_equal(lamina_plan_make(fixture.model[shape], &s, &p, &err), LAMINA_OK);
    assert_false(p.fits);
    return p.smallest_budget_bytes;
}

static void logits_do_not_depend_on_isa_and_threads(void **state) {
    (void)state;
    static const char *const levels[] = {"scalar", "avx2", "avx512", "neon"};
    for (size_t shape = 0; shape < ARRAY_LEN(SHAPES); shape++) {
        float *want = reference(shape);
        for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
            for (uint32_t threads = 1; threads <= 4; threads *= 2) {
                struct lamina_settings s = settings();
                s.isa = levels[l];
                s.threads = threads;
                expect_same(shape, &s, want, levels[l]);
            }
        }
        free(want);
    }
}

static void logits_do_not_depend_on_the_budget(void **state) {
    (void)state;
    for (size_t shape = 0; shape < ARRAY_LEN(SHAPES); shape++) {
        float *want = reference(shape);
        struct lamina_settings s = settings();
        uint64_t least = smallest(shape, s);
        for (uint64_t more = 0; more <= 12; more += 3) {
            s.memory_bytes = least + (more + SLACK_MIB) * MIB;
            expect_same(shape, &s, want, "a small budget");
        }
        free(want);
    }
}

static void logits_do_not_depend_on_reading(void **state) {
    (void)state;
    for (size_t shape = 0; shape < ARRAY_LEN(SHAPES); shape++) {
        float *want = reference(shape);
        for (int engine = LAMINA_IO_AUTO; engine <= LAMINA_IO_SIM; engine++) {
            for (int ahead = 0; ahead < 2; ahead++) {
                for (int pin = 0; pin < 2; pin++) {
                    struct lamina_settings s = settings();
                    s.io = (enum lamina_io_engine)engine;
                    s.read_ahead = ahead != 0;
                    s.pin = pin != 0;
                    s.sim = "latency_us=50,jitter_us=300,reorder=1,short=200,seed=5";
                    struct lamina_error err = {0};
                    float *probe = (float *)calloc((size_t)SHAPES[shape].vocab * 2, sizeof(float));
                    if (engine == LAMINA_IO_URING && run(shape, &s, probe, &err) == LAMINA_UNSUPPORTED) {
                        free(probe);
                        continue; /* this kernel has no io_uring; AUTO took threads */
                    }
                    free(probe);
                    expect_same(shape, &s, want, "another engine");
                }
            }
        }
        free(want);
    }
}

static void logits_do_not_depend_on_prompt_chunks(void **state) {
    (void)state;
    static const uint32_t rows[] = {1, 7, 32, PROMPT};
    for (size_t shape = 0; shape < ARRAY_LEN(SHAPES); shape++) {
        float *want = reference(shape);
        for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
            struct lamina_settings s = settings();
            s.prompt_rows = rows[r];
            expect_same(shape, &s, want, "other chunks");
        }
        free(want);
    }
}

static void one_mebibyte_less_names_the_smallest_budget(void **state) {
    (void)state;
    if (SANITIZED) {
        print_message("skipped: under a sanitizer the size of the program is not steady\n");
        skip();
    }
    struct lamina_settings s = settings();
    float out[2 * 331];
    char words[64];
    struct lamina_error err = {0};
    uint64_t least = smallest(0, s);
    s.memory_bytes = least - MIB;
    assert_int_equal(run(0, &s, out, &err), LAMINA_NO_FIT);
    (void)snprintf(words, sizeof(words), "%lluMiB", (unsigned long long)(least / MIB));
    assert_non_null(strstr(err.message, words));
}

static void read_errors_become_errors_not_answers(void **state) {
    (void)state;
    for (size_t shape = 0; shape < 2; shape++) {
        struct lamina_settings s = settings();
        float *out = (float *)calloc((size_t)SHAPES[shape].vocab * 2, sizeof(float));
        struct lamina_error err = {0};
        s.io = LAMINA_IO_SIM;
        s.sim = "eio=1000,seed=3";
        assert_int_equal(run(shape, &s, out, &err), LAMINA_IO);
        assert_non_null(strstr(err.message, "layers/"));
        free(out);
    }
}

static void wrong_calls_are_refused(void **state) {
    (void)state;
    struct lamina_settings s = settings();
    struct lamina_model *m = NULL;
    struct lamina_session *q = NULL;
    struct lamina_session *second = NULL;
    struct lamina_error err = {0};
    uint32_t ids[2] = {1, 331};
    uint32_t many[PROMPT + STEPS + 1] = {0};
    uint32_t id = 0;
    assert_int_equal(lamina_model_open(&m, "/nonexistent/model", &s, &err), LAMINA_NOT_FOUND);
    err = (struct lamina_error){0};
    s.isa = "sse9";
    assert_int_equal(lamina_model_open(&m, fixture.model[0], &s, &err), LAMINA_USAGE);
    s.isa = NULL;
    err = (struct lamina_error){0};
    assert_int_equal(lamina_model_open(&m, fixture.model[0], &s, &err), LAMINA_OK);
    assert_int_equal(lamina_session_open(&q, m, &err), LAMINA_OK);
    assert_int_equal(lamina_session_open(&second, m, &err), LAMINA_USAGE);
    err = (struct lamina_error){0};
    assert_int_equal(lamina_session_sample(q, &id, &err), LAMINA_USAGE);
    err = (struct lamina_error){0};
    assert_int_equal(lamina_session_feed(q, ids, 2, NULL, &err), LAMINA_USAGE);
    assert_non_null(strstr(err.message, "vocabulary"));
    err = (struct lamina_error){0};
    assert_int_equal(lamina_session_feed(q, many, ARRAY_LEN(many), NULL, &err), LAMINA_USAGE);
    assert_non_null(strstr(err.message, "-c 80"));
    err = (struct lamina_error){0};
    assert_int_equal(lamina_session_feed(q, ids, 0, NULL, &err), LAMINA_USAGE);
    lamina_session_close(&q);
    lamina_model_close(&m);
}

static void scores_and_truncation_agree_with_plain_feeding(void **state) {
    (void)state;
    struct lamina_settings s = settings();
    struct lamina_model *m = NULL;
    struct lamina_session *q = NULL;
    struct lamina_error err = {0};
    uint32_t ids[PROMPT];
    uint32_t argmax[PROMPT];
    float logprob[PROMPT];
    float last[331];
    struct lamina_scores scores = {argmax, logprob};
    for (uint32_t i = 0; i < PROMPT; i++) {
        ids[i] = (i * 37 + 11) % 331;
    }
    s.logit_rows = 9;
    assert_int_equal(lamina_model_open(&m, fixture.model[0], &s, &err), LAMINA_OK);
    assert_int_equal(lamina_session_open(&q, m, &err), LAMINA_OK);
    assert_int_equal(lamina_session_feed(q, ids, PROMPT, &scores, &err), LAMINA_OK);
    memcpy(last, lamina_session_logits(q), sizeof(last));
    assert_int_equal(lamina_session_truncate(q, 40, &err), LAMINA_OK);
    assert_null(lamina_session_logits(q));
    assert_int_equal(lamina_session_feed(q, ids + 40, PROMPT - 40, NULL, &err), LAMINA_OK);
    assert_memory_equal(last, lamina_session_logits(q), sizeof(last));
    assert_int_equal(lamina_session_truncate(q, 0, &err), LAMINA_OK);
    for (uint32_t i = 0; i < PROMPT; i++) {
        uint32_t id = 0;
        assert_int_equal(lamina_session_feed(q, &ids[i], 1, NULL, &err), LAMINA_OK);
        assert_int_equal(lamina_session_sample(q, &id, &err), LAMINA_OK);
        assert_int_equal(id, argmax[i]);
        assert_true(i + 1 == PROMPT || logprob[i] <= 0.0f);
    }
    assert_memory_equal(last, lamina_session_logits(q), sizeof(last));
    lamina_session_close(&q);
    lamina_model_close(&m);
}

/* ---- several sequences ---- */

enum { TRIO = 3 };
static const uint32_t TRIO_PROMPT[TRIO] = {9, 1, 30}; /* lengths */

static struct lamina_settings trio_settings(void) {
    struct lamina_settings s = settings();
    s.sequences = TRIO;
    s.logit_rows = TRIO;
    s.context_tokens = 40;
    return s;
}

static void feed_prompt(struct lamina_session *q, uint32_t number, uint32_t vocab) {
    struct lamina_error err = {0};
    uint32_t ids[64];
    for (uint32_t i = 0; i < TRIO_PROMPT[number]; i++) {
        ids[i] = (i * 37 + 11 + 5 * number) % vocab;
    }
    assert_int_equal(lamina_session_feed(q, ids, TRIO_PROMPT[number], NULL, &err), LAMINA_OK);
}

static void open_trio(struct lamina_model *m, struct lamina_session **q, uint32_t *next, uint32_t vocab) {
    struct lamina_error err = {0};
    for (uint32_t i = 0; i < TRIO; i++) {
        assert_int_equal(lamina_session_open(&q[i], m, &err), LAMINA_OK);
        feed_prompt(q[i], i, vocab);
        assert_int_equal(lamina_session_sample(q[i], &next[i], &err), LAMINA_OK);
    }
}

static void close_trio(struct lamina_model **m, struct lamina_session **q) {
    for (uint32_t i = 0; i < TRIO; i++) {
        lamina_session_close(&q[i]);
    }
    lamina_model_close(m);
}

/* Prompts of different lengths grow together, in another order each time; then each grows alone. */
static void a_batch_gives_what_each_sequence_gives_alone(void **state) {
    (void)state;
    for (size_t shape = 0; shape < ARRAY_LEN(SHAPES); shape++) {
        struct lamina_settings s = trio_settings();
        struct lamina_error err = {0};
        struct lamina_model *m = NULL;
        struct lamina_session *q[TRIO] = {NULL};
        uint32_t next[TRIO] = {0};
        uint32_t fed[TRIO][STEPS];
        uint32_t vocab = SHAPES[shape].vocab;
        float *want = (float *)calloc((size_t)TRIO * vocab, sizeof(float));
        float hidden[TRIO];
        assert_int_equal(lamina_model_open(&m, fixture.model[shape], &s, &err), LAMINA_OK);
        open_trio(m, q, next, vocab);
        for (uint32_t step = 0; step < STEPS; step++) {
            struct lamina_session *turned[TRIO];
            uint32_t ids[TRIO];
            for (uint32_t i = 0; i < TRIO; i++) {
                turned[i] = q[(i + step) % TRIO];
                ids[i] = next[(i + step) % TRIO];
                fed[i][step] = next[i];
            }
            assert_int_equal(lamina_batch_feed(turned, ids, TRIO, &err), LAMINA_OK);
            for (uint32_t i = 0; i < TRIO; i++) {
                assert_int_equal(lamina_session_sample(q[i], &next[i], &err), LAMINA_OK);
            }
        }
        for (uint32_t i = 0; i < TRIO; i++) {
            memcpy(want + (size_t)i * vocab, lamina_session_logits(q[i]), vocab * sizeof(float));
            hidden[i] = lamina_session_hidden(q[i])[SHAPES[shape].hidden - 1];
        }
        for (uint32_t i = 0; i < TRIO; i++) {
            assert_int_equal(lamina_session_length(q[i]), TRIO_PROMPT[i] + STEPS);
            assert_int_equal(lamina_session_truncate(q[i], 0, &err), LAMINA_OK);
            feed_prompt(q[i], i, vocab);
            for (uint32_t step = 0; step < STEPS; step++) {
                assert_int_equal(lamina_session_feed(q[i], &fed[i][step], 1, NULL, &err), LAMINA_OK);
            }
            assert_memory_equal(want + (size_t)i * vocab, lamina_session_logits(q[i]), vocab * sizeof(float));
            assert_memory_equal(&hidden[i], lamina_session_hidden(q[i]) + SHAPES[shape].hidden - 1, sizeof(float));
        }
        close_trio(&m, q);
        free(want);
    }
}

static void refuse_batch(struct lamina_session *const *q, const uint32_t *ids, uint32_t count, const char *words) {
    struct lamina_error err = {0};
    assert_int_equal(lamina_batch_feed(q, ids, count, &err), LAMINA_USAGE);
    if (strstr(err.message, words) == NULL) {
        fail_msg("\"%s\" was expected in: %s", words, err.message);
    }
}

static void wrong_batches_are_refused_and_change_nothing(void **state) {
    (void)state;
    struct lamina_settings s = trio_settings();
    struct lamina_error err = {0};
    struct lamina_model *m = NULL;
    struct lamina_model *other = NULL;
    struct lamina_session *q[TRIO] = {NULL};
    struct lamina_session *stranger = NULL;
    uint32_t next[TRIO] = {0};
    uint32_t many[40] = {0};
    assert_int_equal(lamina_model_open(&m, fixture.model[0], &s, &err), LAMINA_OK);
    assert_int_equal(lamina_model_open(&other, fixture.model[0], &s, &err), LAMINA_OK);
    assert_int_equal(lamina_session_open(&stranger, other, &err), LAMINA_OK);
    open_trio(m, q, next, 331);
    refuse_batch(q, next, 0, "no sequence");
    refuse_batch((struct lamina_session *[]){q[0], q[1], q[2], q[0]}, many, 4, "opened for 3");
    refuse_batch((struct lamina_session *[]){q[0], q[2], q[0]}, many, 3, "1 and 3");
    refuse_batch((struct lamina_session *[]){q[0], stranger}, many, 2, "sequence 2 of the batch belongs to another model");
    refuse_batch(q, (uint32_t[]){1, 331, 2}, 3, "sequence 2 of the batch: token id 331");
    assert_int_equal(lamina_session_feed(q[2], many, 10, NULL, &err), LAMINA_OK);
    refuse_batch(q, next, 3, "sequence 3 of the batch");
    refuse_batch(q, next, 3, "-c 41");
    for (uint32_t i = 0; i < TRIO; i++) {
        assert_int_equal(lamina_session_length(q[i]), TRIO_PROMPT[i] + (i == 2 ? 10 : 0));
    }
    assert_int_equal(lamina_batch_feed(q, next, 2, &err), LAMINA_OK); /* the others go on */
    lamina_session_close(&stranger);
    lamina_model_close(&other);
    close_trio(&m, q);
}

static void a_batch_needs_logits_for_all(void **state) {
    (void)state;
    for (int few_rows = 0; few_rows < 2; few_rows++) {
        struct lamina_settings s = trio_settings();
        struct lamina_error err = {0};
        struct lamina_model *m = NULL;
        struct lamina_session *q[TRIO] = {NULL};
        uint32_t next[TRIO] = {0};
        s.prompt_rows = few_rows ? 2 : 0;
        s.logit_rows = few_rows ? TRIO : 2;
        assert_int_equal(lamina_model_open(&m, fixture.model[0], &s, &err), LAMINA_OK);
        open_trio(m, q, next, 331);
        if (few_rows) { /* the plan has a row for each sequence, whatever prompt_rows says */
            assert_int_equal(lamina_batch_feed(q, next, 3, &err), LAMINA_OK);
        } else {
            refuse_batch(q, next, 3, "settings.logit_rows");
            assert_int_equal(lamina_batch_feed(q, next, 2, &err), LAMINA_OK);
        }
        close_trio(&m, q);
    }
}

/* Results lie where the next pass, of whatever sequence, puts its own. */
static void results_of_a_sequence_end_with_the_next_pass(void **state) {
    (void)state;
    struct lamina_settings s = trio_settings();
    struct lamina_error err = {0};
    struct lamina_model *m = NULL;
    struct lamina_session *q[TRIO] = {NULL};
    uint32_t next[TRIO] = {0};
    uint32_t id = 0;
    assert_int_equal(lamina_model_open(&m, fixture.model[0], &s, &err), LAMINA_OK);
    assert_int_equal(lamina_session_open(&q[0], m, &err), LAMINA_OK);
    assert_null(lamina_session_hidden(q[0]));
    lamina_session_close(&q[0]);
    open_trio(m, q, next, 331);
    assert_null(lamina_session_logits(q[0]));
    assert_null(lamina_session_hidden(q[1]));
    assert_non_null(lamina_session_hidden(q[2]));
    assert_int_equal(lamina_session_sample(q[0], &id, &err), LAMINA_USAGE);
    assert_non_null(strstr(err.message, "another was computed"));
    close_trio(&m, q);
}

/* Turns all bytes of the file with embeddings over, so that no token can be looked up; doing it twice heals it. */
static void turn_embeddings_over(const char *store) {
    char path[512];
    uint8_t bytes[4096];
    size_t n = 0;
    (void)snprintf(path, sizeof(path), "%s/embed.bin", store);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    for (long at = 0; (n = fread(bytes, 1, sizeof(bytes), f)) > 0; at += (long)n) {
        for (size_t i = 0; i < n; i++) {
            bytes[i] ^= 0xff;
        }
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        assert_int_equal(fwrite(bytes, 1, n, f), n);
        assert_int_equal(fseek(f, at + (long)n, SEEK_SET), 0);
    }
    assert_int_equal(fclose(f), 0);
}

static void a_failed_batch_leaves_every_length(void **state) {
    (void)state;
    struct lamina_settings s = trio_settings();
    struct lamina_error err = {0};
    struct lamina_model *m = NULL;
    struct lamina_session *q[TRIO] = {NULL};
    struct lamina_info info = {.size = sizeof(info)};
    uint32_t next[TRIO] = {0};
    assert_int_equal(lamina_model_open(&m, fixture.model[0], &s, &err), LAMINA_OK);
    lamina_model_info(m, &info);
    open_trio(m, q, next, 331);
    turn_embeddings_over(info.store_path);
    assert_int_equal(lamina_batch_feed(q, next, TRIO, &err), LAMINA_DAMAGED);
    turn_embeddings_over(info.store_path);
    for (uint32_t i = 0; i < TRIO; i++) {
        assert_int_equal(lamina_session_length(q[i]), TRIO_PROMPT[i]);
        assert_null(lamina_session_logits(q[i]));
    }
    close_trio(&m, q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_do_not_depend_on_isa_and_threads),
        cmocka_unit_test(logits_do_not_depend_on_the_budget),
        cmocka_unit_test(logits_do_not_depend_on_reading),
        cmocka_unit_test(logits_do_not_depend_on_prompt_chunks),
        cmocka_unit_test(one_mebibyte_less_names_the_smallest_budget),
        cmocka_unit_test(read_errors_become_errors_not_answers),
        cmocka_unit_test(wrong_calls_are_refused),
        cmocka_unit_test(scores_and_truncation_agree_with_plain_feeding),
        cmocka_unit_test(a_batch_gives_what_each_sequence_gives_alone),
        cmocka_unit_test(wrong_batches_are_refused_and_change_nothing),
        cmocka_unit_test(a_batch_needs_logits_for_all),
        cmocka_unit_test(results_of_a_sequence_end_with_the_next_pass),
        cmocka_unit_test(a_failed_batch_leaves_every_length),
    };
    return cmocka_run_group_tests_name("engine", tests, setup, teardown);
}
