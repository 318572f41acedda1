/* SPDX-License-Identifier: Apache-2.0
 * Every call by which a split changes files fails in turn: once, or from then on. Each time the failure is told with its
 * kind and a path, or it was one that does no harm and the store is right; the source stays, no manifest stands for less
 * than a right store, nothing is leaked, and the same command finishes. */
#include "power_checks.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STEP = 5 };
#else
enum { STEP = 1 };
#endif

struct trial {
    const char *from;
    bool deletes;
    int error;
    bool on; /* all that follow fail too */
};

static const struct call *first_failed(void) {
    for (uint32_t i = 0; i < calls.count; i++) {
        if (calls.list[i].failed) {
            return &calls.list[i];
        }
    }
    return NULL;
}

static unsigned open_files(void) {
    unsigned n = 0;
    DIR *list = opendir("/proc/self/fd");
    assert_non_null(list);
    while (readdir(list) != NULL) {
        n++;
    }
    (void)closedir(list);
    return n;
}

static bool temporaries(const char *dir) {
    bool found = false;
    DIR *list = opendir(dir);
    for (const struct dirent *e = list != NULL ? readdir(list) : NULL; e != NULL; e = readdir(list)) {
        char full[1500];
        struct stat st;
        calls_name_to(full, sizeof(full), "%s/%s", dir, e->d_name);
        found = found || strstr(e->d_name, ".tmp") != NULL;
        found = found || (e->d_name[0] != '.' && stat(full, &st) == 0 && S_ISDIR(st.st_mode) && temporaries(full));
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return found;
}

static int lock_descriptor(void) {
    for (uint32_t i = 0; i < calls.count; i++) {
        if (calls.list[i].kind == CALL_OPEN && strcmp(calls.list[i].a, "out.lock") == 0) {
            return calls.list[i].fd;
        }
    }
    return -1;
}

/* What may fail without harm: closing what was synced, opening for direct reads (buffered ones follow), making a directory
 * that is there, and the pid in the lock file and the removal of that file. */
static bool harmless(const struct call *c) {
    bool into_lock = (c->kind == CALL_WRITE || c->kind == CALL_TRUNCATE) && c->fd == lock_descriptor();
    return c->kind == CALL_CLOSE || c->kind == CALL_OPEN || into_lock || strcmp(c->a, "out.lock") == 0 ||
           (c->kind == CALL_MKDIR && !c->made);
}

/* False: there is no call `at`. */
static bool fails_at(const struct trial *t, uint32_t at) {
    struct lamina_error err = {0};
    power_fresh(t->from);
    calls_watch(live, at, t->error, t->on);
    lamina_status status = power_split(t->deletes, &err);
    calls_pass();
    const struct call *c = first_failed();
    if (c == NULL) {
        REQUIRE(status == LAMINA_OK);
        return false;
    }
    calls_name_to(doing, sizeof(doing), "call %u (%s %.70s) failing with %d%s: %d", at, call_names[c->kind], c->a, t->error,
                  t->on ? " and all after it" : "", status);
    if (status == LAMINA_OK) {
        REQUIRE(harmless(c) && power_equal(out));
    } else {
        REQUIRE(status == (t->error == ENOSPC ? LAMINA_NO_SPACE : LAMINA_IO));
        REQUIRE(strstr(err.message, live) != NULL);
        REQUIRE(t->on || c->kind == CALL_UNLINK || !temporaries(out));
    }
    if (power_has(live, "out.lock")) { /* where the failing call was its removal */
        char path[1300];
        calls_name_to(path, sizeof(path), "%s.lock", out);
        REQUIRE(t->on || (c->kind == CALL_UNLINK && unlink(path) == 0));
    }
    power_judge(t->deletes);
    return true;
}

static void run_trial(const struct trial *t) {
    unsigned before = open_files();
    uint32_t at = 0;
    while (fails_at(t, at)) {
        at += STEP;
    }
    assert_int_equal(open_files(), before);
    print_message("%u calls\n", at);
}

static void test_error(void **state) {
    (void)state;
    run_trial(&(struct trial){pool, false, EIO, false});
}

static void test_error_for_ever(void **state) {
    (void)state;
    run_trial(&(struct trial){pool, false, EIO, true});
}

static void test_error_while_deleting(void **state) {
    (void)state;
    run_trial(&(struct trial){pool, true, EIO, false});
    run_trial(&(struct trial){done, true, EIO, false});
}

static void test_no_space(void **state) {
    (void)state;
    run_trial(&(struct trial){pool, true, ENOSPC, false});
    run_trial(&(struct trial){pool, true, ENOSPC, true});
}

/* A signal's interruption is nobody's failure; of the calls that may be interrupted. */
static void test_interrupted(void **state) {
    (void)state;
    struct lamina_error err = {0};
    for (uint32_t at = 0;; at += STEP) {
        power_fresh(pool);
        calls_watch(live, at, EINTR, false);
        lamina_status status = power_split(false, &err);
        calls_pass();
        const struct call *c = first_failed();
        if (c == NULL) {
            break;
        }
        calls_name_to(doing, sizeof(doing), "call %u (%s %.70s) interrupted: %d", at, call_names[c->kind], c->a, status);
        bool repeated = c->kind == CALL_OPEN || c->kind == CALL_WRITE || c->kind == CALL_TRUNCATE || c->kind == CALL_RESERVE;
        REQUIRE(status == LAMINA_OK || !repeated);
        REQUIRE(status != LAMINA_OK || power_equal(out));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error),    cmocka_unit_test(test_error_for_ever), cmocka_unit_test(test_error_while_deleting),
        cmocka_unit_test(test_no_space), cmocka_unit_test(test_interrupted),
    };
    return cmocka_run_group_tests_name("store_calls", tests, power_prepare, power_finish);
}
