/* SPDX-License-Identifier: Apache-2.0
 * Power cuts: one run is recorded call by call; then, for every call, everything is judged that a drive could hold when
 * the power fails right after it (disk_model.h). Also two runs of which the first met a failing call, since a failed
 * fsync leaves bytes in the cache that never reach the drive. */
#include "power_checks.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { RANDOM_CUTS = 2, PAIRS_STEP = 7 };
#else
enum { RANDOM_CUTS = 6, PAIRS_STEP = 1 };
#endif

static const struct disk_cut fixed_cuts[] = {
    {.bytes = BYTES_LOST, .names = NAMES_LOST},    {.bytes = BYTES_LOST, .names = NAMES_KEPT},
    {.bytes = BYTES_KEPT, .names = NAMES_LOST},    {.bytes = BYTES_KEPT, .names = NAMES_KEPT},
    {.bytes = BYTES_ZERO, .names = NAMES_KEPT},    {.bytes = BYTES_KEPT, .names = NAMES_REMOVED},
    {.bytes = BYTES_LOST, .names = NAMES_REMOVED},
};

enum { SEEN = 1 << 14 };
static uint64_t seen[SEEN]; /* the states judged since power_fresh, by their print; a table open at 0 */
static unsigned states, judged;

static bool is_new(uint64_t print) {
    size_t at = (size_t)(print % SEEN);
    print |= 1;
    while (seen[at] != 0 && seen[at] != print) {
        at = (at + 1) % SEEN;
    }
    bool new = seen[at] == 0;
    seen[at] = print;
    return new;
}

static void begin(void) {
    states = judged = 0;
    memset(seen, 0, sizeof(seen));
}

static void cut_here(bool delete_original, uint32_t call, struct disk_cut cut) {
    const struct call *c = &calls.list[call];
    calls_name_to(doing, sizeof(doing), "after call %u (%s %.60s %.60s), bytes %d, names %d", call, call_names[c->kind], c->a,
                   c->b, cut.bytes, cut.names);
    states++;
    if (is_new(disk_restore(&disk, live, cut))) {
        judged++;
        power_judge(delete_original);
    }
}

/* Every call of the list, every cut after it. */
static void cut_everywhere(bool delete_original) {
    uint64_t random = 99;
    for (uint32_t i = 0; i < calls.count; i++) {
        bool changes = calls.list[i].kind != CALL_CLOSE && calls.list[i].kind != CALL_RESERVE &&
                       (calls.list[i].kind != CALL_OPEN || calls.list[i].made);
        disk_apply(&disk, &calls.list[i]);
        for (size_t k = 0; changes && k < ARRAY_LEN(fixed_cuts); k++) {
            cut_here(delete_original, i, fixed_cuts[k]);
        }
        for (unsigned k = 0; changes && k < RANDOM_CUTS; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            cut_here(delete_original, i, (struct disk_cut){BYTES_TORN, NAMES_MIXED, random | 1});
        }
    }
}

static void record(bool delete_original) {
    struct lamina_error err = {0};
    calls_watch(live, UINT32_MAX, 0, false);
    lamina_status status = power_split(delete_original, &err);
    calls_pass();
    REQUIRE(status == LAMINA_OK);
}

static void one_run(const char *from, bool delete_original) {
    begin();
    power_fresh(from);
    record(delete_original);
    cut_everywhere(delete_original);
    (void)disk_restore(&disk, live, fixed_cuts[0]); /* the run has said that it is done: nothing of it may be lost */
    REQUIRE(power_equal(out));
    REQUIRE(power_files(source) == (delete_original ? 5 : 8));
    print_message("%u calls, %u states, %u of them different\n", calls.count, states, judged);
}

static void test_split(void **state) {
    (void)state;
    one_run(pool, false);
}

static void test_delete(void **state) {
    (void)state;
    one_run(pool, true);
}

/* Asked of a store that is complete. */
static void test_delete_later(void **state) {
    (void)state;
    one_run(done, true);
}

/* The moments that could lose something for ever: a source file's name is just gone. */
static bool dangerous(const struct call *c) {
    return !c->failed && c->kind == CALL_UNLINK && strncmp(c->a, "source/", 7) == 0;
}

/* A store that somebody copied here and never synced is complete to look at; before its source goes it is made so. */
static void test_delete_after_copy(void **state) {
    (void)state;
    char path[1500];
    struct lamina_error err = {0};
    uint32_t first = UINT32_MAX;
    power_fresh(pool);
    calls_watch(live, UINT32_MAX, 0, false);
    static const char *const dirs[] = {"", "/layers", "/tokenizer"};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        calls_name_to(path, sizeof(path), "%s%s", out, dirs[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    for (unsigned i = 0; i < whole_count; i++) {
        calls_name_to(path, sizeof(path), "%s/%s", out, whole[i].name);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
        assert_true(fd >= 0 && write(fd, whole[i].bytes.ptr, whole[i].bytes.len) == (ssize_t)whole[i].bytes.len);
        assert_int_equal(close(fd), 0);
    }
    lamina_status status = power_split(true, &err);
    calls_pass();
    REQUIRE(status == LAMINA_OK);
    for (uint32_t i = 0; i < calls.count; i++) {
        disk_apply(&disk, &calls.list[i]);
        first = first == UINT32_MAX && dangerous(&calls.list[i]) ? i : first;
        for (size_t k = 0; i >= first && k < ARRAY_LEN(fixed_cuts); k++) {
            cut_here(true, i, fixed_cuts[k]);
        }
    }
    assert_int_not_equal(first, UINT32_MAX);
}

/* ---- two runs, of which the first met a failure ---- */

struct pair {
    const char *from;
    bool first_deletes, second_deletes;
};

/* Records a run that fails at call `at` and one that does not. False: the first had fewer calls. */
static bool record_pair(const struct pair *p, uint32_t at) {
    struct lamina_error err = {0};
    power_fresh(p->from);
    calls_watch(live, at, EIO, false);
    (void)power_split(p->first_deletes, &err);
    bool met = calls.seen > at;
    calls_watch(live, UINT32_MAX, 0, false);
    lamina_status status = power_split(p->second_deletes, &err);
    calls_pass();
    calls_name_to(doing, sizeof(doing), "a failure at call %u, then a run without", at);
    REQUIRE(status == LAMINA_OK);
    return met;
}

static void judge_pair(const struct pair *p, uint64_t *random) {
    for (uint32_t i = 0; i < calls.count; i++) {
        disk_apply(&disk, &calls.list[i]);
        *random = *random * 6364136223846793005u + 1442695040888963407u;
        if (dangerous(&calls.list[i])) {
            cut_here(p->second_deletes, i, fixed_cuts[6]);
        } else if (p->second_deletes && (*random >> 33) % 256 == 0) {
            cut_here(true, i, (struct disk_cut){BYTES_TORN, NAMES_MIXED, *random | 1});
        }
    }
    /* The power fails after the second run said that all is done: then all is done. */
    bool new = is_new(disk_restore(&disk, live, fixed_cuts[0]));
    REQUIRE(store_is_store(out));
    if (new) {
        power_judge(p->second_deletes);
    }
}

static void pairs(const struct pair *p) {
    uint64_t random = 4;
    uint32_t at = 0;
    begin();
    for (; record_pair(p, at); at += PAIRS_STEP) {
        judge_pair(p, &random);
    }
    print_message("%u pairs of runs, %u states, %u of them different\n", at / PAIRS_STEP, states, judged);
}

static void test_failed_before(void **state) {
    (void)state;
    pairs(&(struct pair){pool, false, false});
}

static void test_failed_before_deleting(void **state) {
    (void)state;
    pairs(&(struct pair){pool, false, true});
}

static void test_failed_while_deleting(void **state) {
    (void)state;
    pairs(&(struct pair){pool, true, true});
}

static void test_failed_while_deleting_later(void **state) {
    (void)state;
    pairs(&(struct pair){done, true, true});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_delete_later),
        cmocka_unit_test(test_delete_after_copy),
        cmocka_unit_test(test_failed_before),
        cmocka_unit_test(test_failed_before_deleting),
        cmocka_unit_test(test_failed_while_deleting),
        cmocka_unit_test(test_failed_while_deleting_later),
    };
    return cmocka_run_group_tests_name("store_powercut", tests, power_prepare, power_finish);
}
