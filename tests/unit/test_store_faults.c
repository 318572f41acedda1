/* SPDX-License-Identifier: Apache-2.0
 * What happens to a split when things go wrong, to a plain and to a packed store: killed at any moment (320 times; 64 under a
 * sanitizer), no space left, file size limits, a source that changes under it, several splits at once, and its memory. After
 * every fault the same rule: no manifest or a store that verifies; the same command then finishes, with the bytes of an
 * undisturbed run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "checkpoint_maker.h"
#include "store/store.h"
#include "sys/mem.h"
#include "sys/thread.h"

static char base[1024], source[1200], whole[1200], out[1200];
static const char *codec = "raw";
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLOW = 5 };               /* a killed split is found by any build; a sanitizer looks at the ways there */
#else
enum { SLOW = 1 };
#endif
static unsigned kills_wanted = 200 / SLOW;

static struct made_model model = {.hidden = 512,
                                  .layers = 8,
                                  .heads = 8,
                                  .kv_heads = 2,
                                  .head_dim = 64,
                                  .ffn = 1408,
                                  .vocab = 4000,
                                  .dtype = 2,
                                  .shards = 3,
                                  .tokenizer = true,
                                  .seed = 20};

static lamina_status split_with(const char *to, bool delete_original, const struct lamina_callbacks *c,
                                struct lamina_error *err) {
    struct store_split_options o = {.checkpoint = source,
                                    .output = to,
                                    .codec = codec,
                                    .wait_for_lock = true,
                                    .delete_original = delete_original,
                                    .callbacks = c};
    *err = (struct lamina_error){0};
    return store_split(&o, err);
}

static void must_split(const char *to) {
    struct lamina_error err = {0};
    if (split_with(to, false, NULL, &err) < 0) {
        print_error("%s\n", err.message);
        fail();
    }
}

static void must_delete(void) {
    struct lamina_error err = {0};
    if (split_with(out, true, NULL, &err) < 0) {
        print_error("%s\n", err.message);
        fail();
    }
}

static bool verifies(const char *store) {
    struct lamina_verify_result r = {.size = sizeof(r)};
    struct lamina_error err = {0};
    return store_verify(store, NULL, NULL, &r, &err) == LAMINA_OK && r.damaged == 0;
}

__attribute__((format(printf, 1, 2))) static int shell(const char *fmt, ...) {
    char command[4000];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(command, sizeof(command), fmt, args);
    va_end(args);
    return system(command);
}

static bool same(const char *a, const char *b) {
    return shell("diff -r '%s' '%s' >/dev/null", a, b) == 0;
}

/* In a process of its own, so that this one stays small. */
static void make_source(void) {
    pid_t pid = fork();
    if (pid == 0) {
        struct made_model m = model;
        maker_make(&m, source);
        _exit(0);
    }
    int state = 0;
    assert_int_equal(waitpid(pid, &state, 0), pid);
    assert_int_equal(state, 0);
}

static int prepare(void **state) {
    (void)state;
    maker_temp(base, sizeof(base));
    (void)snprintf(source, sizeof(source), "%s/source", base);
    (void)snprintf(whole, sizeof(whole), "%s/whole", base);
    (void)snprintf(out, sizeof(out), "%s/out", base);
    make_source();
    must_split(whole);
    return 0;
}

static int clean(void **state) {
    (void)state;
    return shell("rm -rf '%s' '%s.lock'", out, out);
}

static int finish(void **state) {
    (void)state;
    maker_remove(base);
    return 0;
}

/* A split in a child that is killed after `delay_ns`. Returns true when it had ended by itself, well. */
static bool split_and_kill(bool delete_original, uint64_t delay_ns) {
    pid_t pid = fork();
    if (pid == 0) {
        struct lamina_error err = {0};
        _exit(split_with(out, delete_original, NULL, &err) == LAMINA_OK ? 0 : 1);
    }
    int state = 0;
    sys_sleep_ns(delay_ns);
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &state, 0), pid);
    if (WIFEXITED(state)) {
        assert_int_equal(WEXITSTATUS(state), 0);
        return true;
    }
    return false;
}

/* How long an undisturbed split takes here and now. */
static uint64_t usual_time(void) {
    uint64_t began = sys_now_ns();
    must_split(out);
    uint64_t took = sys_now_ns() - began;
    (void)clean(NULL);
    return took;
}

static void test_kill(void **state) {
    (void)state;
    uint64_t random = 12345;
    uint64_t usual = usual_time();
    unsigned kills = 0;
    unsigned stores = 0;
    unsigned last = 0;
    while (kills < kills_wanted) {
        uint64_t range = usual / (1 + maker_random(&random) % 6) + 1;
        if (!split_and_kill(false, maker_random(&random) % range)) {
            kills++;
            if (access(out, F_OK) == 0 && store_is_store(out)) {
                assert_true(verifies(out));
            }
        }
        if (store_is_store(out) || kills - last > 12) {
            last = kills;
            must_split(out); /* finishes, or finds it finished and tidies up */
            assert_true(same(out, whole));
            stores++;
            (void)clean(NULL);
        }
    }
    must_split(out);
    assert_true(same(out, whole));
    print_message("%u kills, %u stores finished\n", kills, stores + 1);
}

/* Nothing is ever lost: source file or everything made from it. */
static void test_kill_while_deleting(void **state) {
    (void)state;
    enum { KILLS = 30 / SLOW };
    char kept[1200];
    uint64_t random = 777;
    uint64_t usual = usual_time();
    unsigned kills = 0;
    (void)snprintf(kept, sizeof(kept), "%s/kept", base);
    assert_int_equal(shell("cp -r '%s' '%s'", source, kept), 0);
    while (kills < KILLS) {
        kills += !split_and_kill(true, maker_random(&random) % (usual * 2));
        if (store_is_store(out)) {
            must_delete();
            assert_true(same(out, whole));
            assert_int_equal(shell("test -z \"$(ls '%s'/*.safetensors 2>/dev/null)\"", source), 0);
            (void)clean(NULL);
            assert_int_equal(shell("rm -rf '%s'", source), 0);
            assert_int_equal(shell("cp -r '%s' '%s'", kept, source), 0);
        }
    }
    must_delete();
    assert_true(same(out, whole));
    assert_int_equal(shell("rm -rf '%s'", source), 0);
    assert_int_equal(shell("mv '%s' '%s'", kept, source), 0);
}

static void test_many_at_once(void **state) {
    (void)state;
    enum { PROCESSES = 5 };
    pid_t pid[PROCESSES];
    for (unsigned i = 0; i < PROCESSES; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            struct lamina_error err = {0};
            _exit(split_with(out, false, NULL, &err) == LAMINA_OK ? 0 : 1);
        }
    }
    sys_sleep_ns(20000000);
    (void)kill(pid[0], SIGKILL); /* perhaps the one that works */
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status = 0;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        if (i > 0) {
            assert_int_equal(status, 0);
        }
    }
    assert_true(same(out, whole));
}

/* ---- space ---- */

struct filler {
    const char *path;
    bool done;
};

static bool fill_disk(void *user, const struct lamina_progress *p) {
    struct filler *f = user;
    char buf[65536] = {0};
    (void)p;
    int fd = f->done ? -1 : open(f->path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    while (fd >= 0 && write(fd, buf, sizeof(buf)) > 0) {
    }
    if (fd >= 0) {
        (void)close(fd);
        f->done = true;
    }
    return false;
}

static void test_full_disk(void **state) {
    (void)state;
    char disk[1200], store[1300], ballast[1300];
    struct lamina_error err = {0};
    (void)snprintf(disk, sizeof(disk), "%s/disk", base);
    (void)mkdir(disk, 0700);
    if (mount("lamina-test", disk, "tmpfs", 0, "size=4m") != 0) {
        print_message("skipped: only root may mount a small disk\n");
        skip();
    }
    (void)snprintf(store, sizeof(store), "%s/store", disk);
    lamina_status small = split_with(store, false, NULL, &err);
    bool told = strstr(err.message, "needs") != NULL && strstr(err.message, "free") != NULL;
    bool untouched = access(store, F_OK) != 0;
    (void)umount(disk);
    if (mount("lamina-test", disk, "tmpfs", 0, "size=80m") != 0) {
        print_message("skipped: only root may mount a small disk\n");
        skip();
    }
    (void)snprintf(ballast, sizeof(ballast), "%s/ballast", disk);
    struct filler filler = {.path = ballast};
    struct lamina_callbacks c = {.progress = fill_disk, .user = &filler};
    lamina_status mid = split_with(store, false, &c, &err);
    bool temporaries = shell("find '%s' -name '*.tmp*' | grep -q . ", store) == 0;
    bool manifest = store_is_store(store);
    (void)unlink(ballast);
    lamina_status again = split_with(store, false, NULL, &err);
    bool equal = same(store, whole);
    (void)umount(disk);
    assert_int_equal(small, LAMINA_NO_SPACE);
    assert_true(told);
    assert_true(untouched);
    assert_int_equal(mid, LAMINA_NO_SPACE);
    assert_false(temporaries);
    assert_false(manifest);
    assert_int_equal(again, LAMINA_OK);
    assert_true(equal);
}

static void test_file_size_limit(void **state) {
    (void)state;
    for (rlim_t limit = 4096; limit <= (rlim_t)4 << 20; limit *= 8) {
        pid_t pid = fork();
        if (pid == 0) {
            struct lamina_error err = {0};
            struct rlimit r = {.rlim_cur = limit, .rlim_max = limit};
            (void)signal(SIGXFSZ, SIG_IGN);
            (void)setrlimit(RLIMIT_FSIZE, &r);
            _exit(-split_with(out, false, NULL, &err));
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), -LAMINA_NO_SPACE);
        assert_false(store_is_store(out));
    }
    must_split(out);
    assert_true(same(out, whole));
}

/* ---- a source that changes ---- */

struct vandal {
    const char *command;
    bool done;
};

static bool vandalise(void *user, const struct lamina_progress *p) {
    struct vandal *v = user;
    (void)p;
    if (!v->done) {
        v->done = true;
        assert_int_equal(system(v->command), 0);
    }
    return false;
}

static void test_changing_source(void **state) {
    (void)state;
    static const char *const what[] = {
        "truncate -s -1000000 \"$f\"",
        "printf x | dd of=\"$f\" bs=1 seek=5000000 conv=notrunc 2>/dev/null",
    };
    for (unsigned i = 0; i < 2; i++) {
        char command[3000];
        struct lamina_error err = {0};
        (void)snprintf(command, sizeof(command), "f='%s/model-00003-of-00003.safetensors'; cp \"$f\" '%s.copy'; %s",
                       source, source, what[i]);
        struct vandal v = {.command = command};
        struct lamina_callbacks c = {.progress = vandalise, .user = &v};
        assert_int_equal(split_with(out, false, &c, &err), LAMINA_DAMAGED);
        assert_non_null(strstr(err.message, "model-00003"));
        assert_false(store_is_store(out));
        assert_int_equal(shell("mv '%s.copy' '%s/model-00003-of-00003.safetensors'", source, source), 0);
        must_split(out);
        assert_true(same(out, whole));
        (void)clean(NULL);
    }
}

/* ---- memory ---- */

static void test_memory(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: a sanitizer's own memory hides what split takes\n");
    skip();
#endif
    pid_t pid = fork();
    if (pid == 0) {
        struct lamina_error err = {0};
        struct sys_mem_use use;
        lamina_status status = split_with(out, false, NULL, &err);
        sys_mem_use(&use);
        _exit(status == LAMINA_OK && use.peak_resident_bytes + use.page_table_bytes < (uint64_t)64 << 20 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* The same source into a packed store, of which the files become as large as they come out. */
static int prepare_packed(void **state) {
    codec = "planes";
    model.layers = SLOW == 1 ? model.layers : 2;
    model.vocab = SLOW == 1 ? model.vocab : 600;
    kills_wanted = 60 / SLOW;
    return prepare(state);
}

#define CLEAN(test) cmocka_unit_test_setup(test, clean)

int main(void) {
    const struct CMUnitTest tests[] = {
        CLEAN(test_memory),          CLEAN(test_kill),      CLEAN(test_kill_while_deleting),
        CLEAN(test_many_at_once),    CLEAN(test_full_disk), CLEAN(test_file_size_limit),
        CLEAN(test_changing_source),
    };
    const struct CMUnitTest packed[] = {
        CLEAN(test_memory),
        CLEAN(test_kill),
        CLEAN(test_kill_while_deleting),
        CLEAN(test_full_disk),
        CLEAN(test_file_size_limit),
    };
    int failed = cmocka_run_group_tests_name("store_faults", tests, prepare, finish);
    return failed + cmocka_run_group_tests_name("store_faults_packed", packed, prepare_packed, finish);
}
