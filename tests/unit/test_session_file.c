/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina_session_save and _load: files that do not fit are refused in words and leave an empty session that works, a save that fails
 * leaves the old file, and the repetition penalty goes by the tokens that are there. That all families go on with the same bits is
 * tests/oracle/run_kept.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "lamina/lamina.h"
#include "tiny_checkpoint.h"

enum { PROMPT = 75, VOCAB = 331 };

static const struct tiny_shape SHAPES[] = {
    {.hidden = 64, .layers = 3, .heads = 4, .kv_heads = 2, .head_dim = 16, .ffn = 96, .vocab = VOCAB, .dtype = "BF16", .seed = 1},
    {.hidden = 64, .layers = 3, .heads = 4, .kv_heads = 2, .head_dim = 16, .ffn = 96, .vocab = VOCAB, .dtype = "BF16", .seed = 2},
};

struct fixture {
    char home[256];
    char model[2][256];
    char file[300];
    uint32_t ids[PROMPT];
};
static struct fixture fixture;

static int setup(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(fixture.home, sizeof(fixture.home), "%s/lamina-home-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(fixture.home) == NULL || !tiny_checkpoint_make(&SHAPES[0], fixture.model[0]) ||
        !tiny_checkpoint_make(&SHAPES[1], fixture.model[1])) {
        return -1;
    }
    (void)snprintf(fixture.file, sizeof(fixture.file), "%s/session.kv", fixture.home);
    for (uint32_t i = 0; i < PROMPT; i++) {
        fixture.ids[i] = (i * 37 + 11) % VOCAB;
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tiny_remove(fixture.home);
    tiny_remove(fixture.model[0]);
    tiny_remove(fixture.model[1]);
    return 0;
}

struct opened {
    struct lamina_model *m;
    struct lamina_session *s;
    struct lamina_error err;
};

static void open_watched(struct opened *o, int model, uint32_t context, enum lamina_kv_type kv,
                         struct lamina_callbacks callbacks) {
    struct lamina_settings s;
    *o = (struct opened){0};
    lamina_settings_defaults(&s);
    s.home = fixture.home;
    s.context_tokens = context;
    s.memory_bytes = UINT64_MAX;
    s.threads = 1;
    s.kv = kv;
    s.callbacks = callbacks;
    if (lamina_model_open(&o->m, fixture.model[model], &s, &o->err) != LAMINA_OK ||
        lamina_session_open(&o->s, o->m, &o->err) != LAMINA_OK) {
        fail_msg("%s", o->err.message);
    }
}

static void open_one(struct opened *o, int model, uint32_t context, enum lamina_kv_type kv) {
    open_watched(o, model, context, kv, (struct lamina_callbacks){0});
}

static void close_one(struct opened *o) {
    lamina_session_close(&o->s);
    lamina_model_close(&o->m);
}

static void save_one(void) {
    struct opened o;
    open_one(&o, 0, 100, LAMINA_KV_F16);
    assert_int_equal(lamina_session_feed(o.s, fixture.ids, PROMPT - 1, NULL, &o.err), LAMINA_OK);
    assert_int_equal(lamina_session_save(o.s, fixture.file, &o.err), LAMINA_OK);
    close_one(&o);
}

static void the_file_is_private_and_goes_on(void **state) {
    (void)state;
    struct opened o;
    struct stat st;
    float *want = (float *)calloc(VOCAB, sizeof(float));
    save_one();
    assert_int_equal(stat(fixture.file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    open_one(&o, 0, 100, LAMINA_KV_F16);
    assert_int_equal(lamina_session_feed(o.s, fixture.ids, PROMPT, NULL, &o.err), LAMINA_OK);
    memcpy(want, lamina_session_logits(o.s), VOCAB * sizeof(float));
    assert_int_equal(lamina_session_load(o.s, fixture.file, &o.err), LAMINA_OK);
    assert_int_equal(lamina_session_length(o.s), PROMPT - 1);
    assert_memory_equal(lamina_session_tokens(o.s), fixture.ids, (PROMPT - 1) * sizeof(uint32_t));
    assert_null(lamina_session_logits(o.s));
    assert_int_equal(lamina_session_feed(o.s, fixture.ids + PROMPT - 1, 1, NULL, &o.err), LAMINA_OK);
    assert_memory_equal(lamina_session_logits(o.s), want, VOCAB * sizeof(float));
    close_one(&o);
    free(want);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    static const struct {
        int model;
        uint32_t context;
        enum lamina_kv_type kv;
        lamina_status want;
        const char *words;
    } cases[] = {{1, 100, LAMINA_KV_F16, LAMINA_UNSUPPORTED, "another model"},
                 {0, 100, LAMINA_KV_F32, LAMINA_UNSUPPORTED, "--kv"},
                 {0, PROMPT - 2, LAMINA_KV_F16, LAMINA_USAGE, "larger context"}};
    save_one();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct opened o;
        open_one(&o, cases[i].model, cases[i].context, cases[i].kv);
        assert_int_equal(lamina_session_feed(o.s, fixture.ids, 5, NULL, &o.err), LAMINA_OK);
        assert_int_equal(lamina_session_load(o.s, fixture.file, &o.err), cases[i].want);
        assert_non_null(strstr(o.err.message, cases[i].words));
        assert_non_null(strstr(o.err.message, fixture.file));
        assert_int_equal(lamina_session_length(o.s), 0);
        o.err = (struct lamina_error){0};
        assert_int_equal(lamina_session_feed(o.s, fixture.ids, 5, NULL, &o.err), LAMINA_OK);
        close_one(&o);
    }
}

static void damage_is_refused_and_the_session_works(void **state) {
    (void)state;
    struct opened o;
    struct stat st;
    char none[320];
    save_one();
    assert_int_equal(stat(fixture.file, &st), 0);
    open_one(&o, 0, 100, LAMINA_KV_F16);
    for (long at = 200; at < st.st_size; at += st.st_size / 5) {
        save_one();
        FILE *f = fopen(fixture.file, "r+b");
        (void)fseek(f, at, SEEK_SET);
        int was = fgetc(f);
        (void)fseek(f, at, SEEK_SET);
        (void)fputc(was ^ 1, f);
        (void)fclose(f);
        assert_int_equal(lamina_session_load(o.s, fixture.file, &o.err), LAMINA_DAMAGED);
        o.err = (struct lamina_error){0};
        assert_int_equal(lamina_session_length(o.s), 0);
        assert_int_equal(truncate(fixture.file, at), 0);
        assert_int_equal(lamina_session_load(o.s, fixture.file, &o.err), LAMINA_DAMAGED);
        o.err = (struct lamina_error){0};
    }
    (void)snprintf(none, sizeof(none), "%s/none.kv", fixture.home);
    assert_int_equal(lamina_session_load(o.s, none, &o.err), LAMINA_NOT_FOUND);
    o.err = (struct lamina_error){0};
    assert_int_not_equal(lamina_session_load(o.s, fixture.home, &o.err), LAMINA_OK);
    o.err = (struct lamina_error){0};
    assert_int_equal(lamina_session_feed(o.s, fixture.ids, PROMPT, NULL, &o.err), LAMINA_OK);
    close_one(&o);
}

static void a_save_that_fails_leaves_the_old_file(void **state) {
    (void)state;
    struct opened o;
    char deep[340];
    save_one();
    open_one(&o, 0, 100, LAMINA_KV_F16);
    assert_int_equal(lamina_session_save(o.s, fixture.file, &o.err), LAMINA_USAGE); /* nothing computed */
    o.err = (struct lamina_error){0};
    assert_int_equal(lamina_session_load(o.s, fixture.file, &o.err), LAMINA_OK);
    (void)snprintf(deep, sizeof(deep), "%s/none/session.kv", fixture.home);
    assert_int_equal(lamina_session_save(o.s, deep, &o.err), LAMINA_NOT_FOUND);
    close_one(&o);
}

/* After a cut, and after loading, the penalty knows the tokens of the sequence alone. */
static void the_penalty_goes_by_the_tokens_there(void **state) {
    (void)state;
    struct opened o;
    struct lamina_sampling sampling;
    uint32_t want = 0;
    uint32_t got = 0;
    uint32_t every[100];
    lamina_sampling_defaults(&sampling);
    sampling.repetition_penalty = 50.0f;
    for (uint32_t i = 0; i < 100; i++) {
        every[i] = i * 3 % VOCAB;
    }
    open_one(&o, 0, 200, LAMINA_KV_F16);
    assert_int_equal(lamina_session_sampling(o.s, &sampling, &o.err), LAMINA_OK);
    assert_int_equal(lamina_session_feed(o.s, fixture.ids, 4, NULL, &o.err), LAMINA_OK);
    assert_int_equal(lamina_session_sample(o.s, &want, &o.err), LAMINA_OK);
    every[50] = want;
    assert_int_equal(lamina_session_truncate(o.s, 3, &o.err), LAMINA_OK);
    assert_int_equal(lamina_session_save(o.s, fixture.file, &o.err), LAMINA_OK);
    for (int loaded = 0; loaded < 2; loaded++) {
        assert_int_equal(lamina_session_feed(o.s, every, 100, NULL, &o.err), LAMINA_OK);
        assert_int_equal(loaded ? lamina_session_load(o.s, fixture.file, &o.err) : lamina_session_truncate(o.s, 3, &o.err), LAMINA_OK);
        assert_int_equal(lamina_session_feed(o.s, fixture.ids + 3, 1, NULL, &o.err), LAMINA_OK);
        assert_int_equal(lamina_session_sample(o.s, &got, &o.err), LAMINA_OK);
        assert_int_equal(got, want);
        assert_int_equal(lamina_session_truncate(o.s, 3, &o.err), LAMINA_OK);
    }
    close_one(&o);
}

static void watch(void *user, uint32_t layer) {
    uint32_t *calls = (uint32_t *)user;
    assert_int_equal(layer, *calls % 3);
    ++*calls;
}

static void a_model_is_watched_and_chooses_its_context(void **state) {
    (void)state;
    struct opened o;
    uint32_t calls = 0;
    open_watched(&o, 0, 0, LAMINA_KV_F16, (struct lamina_callbacks){.layer = watch, .user = &calls});
    assert_int_equal(lamina_model_plan(o.m)->context_tokens, 4096);
    assert_int_equal(lamina_session_feed(o.s, fixture.ids, 5, NULL, &o.err), LAMINA_OK);
    assert_int_equal(lamina_session_feed(o.s, fixture.ids, 1, NULL, &o.err), LAMINA_OK);
    assert_int_equal(calls, 6);
    close_one(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_is_private_and_goes_on),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(damage_is_refused_and_the_session_works),
        cmocka_unit_test(a_save_that_fails_leaves_the_old_file),
        cmocka_unit_test(the_penalty_goes_by_the_tokens_there),
        cmocka_unit_test(a_model_is_watched_and_chooses_its_context),
    };
    return cmocka_run_group_tests_name("session_file", tests, setup, teardown);
}
