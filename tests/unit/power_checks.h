/* SPDX-License-Identifier: Apache-2.0
 * What the tests of broken runs share: a checkpoint whose files keep their inodes however often it is put back, the store
 * that an undisturbed split makes of it, and the judgement of what a run left: no manifest without a right store, and
 * the same command finishes with equal bytes.
 *
 *     base/whole          the undisturbed store
 *     base/pool/source    the checkpoint; base/live/source are hard links to it
 *     base/done/...       the same and base/done/out: a complete store
 *     base/live           where everything happens; what sys_calls.h watches */
#ifndef POWER_CHECKS_H
#define POWER_CHECKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/prctl.h>

#include <cmocka.h>

#include "checkpoint_maker.h"
#include "disk_model.h"
#include "store/store.h"

struct kept_file {
    char name[160];
    struct str bytes;
};

static char base[1000], live[1100], pool[1100], done[1100], out[1200], source[1200];
static struct kept_file whole[32];
static unsigned whole_count;
static struct disk disk;
static char doing[200]; /* said when something fails */

#define REQUIRE(what)                                                                                                  \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            print_error("%s: %s\n", doing, #what);                                                                     \
            fail();                                                                                                    \
        }                                                                                                              \
    } while (0)

static inline lamina_status power_split_to(const char *checkpoint, const char *to, bool delete_original,
                                           struct lamina_error *err) {
    struct store_split_options o = {
        .checkpoint = checkpoint, .output = to, .codec = "raw", .delete_original = delete_original};
    *err = (struct lamina_error){0};
    return store_split(&o, err);
}

static inline lamina_status power_split(bool delete_original, struct lamina_error *err) {
    return power_split_to(source, out, delete_original, err);
}

static inline bool power_read(const char *path, struct str *bytes) {
    char buf[16384];
    FILE *f = fopen(path, "rb");
    str_clear(bytes);
    for (size_t n = 1; f != NULL && n > 0; str_add(bytes, buf, n)) {
        n = fread(buf, 1, sizeof(buf), f);
    }
    return f != NULL && fclose(f) == 0 && !bytes->failed;
}

static inline void power_collect(const char *dir, const char *below) {
    DIR *list = opendir(dir);
    assert_non_null(list);
    for (const struct dirent *e = readdir(list); e != NULL; e = readdir(list)) {
        char full[1500], name[300];
        struct stat st;
        calls_name_to(full, sizeof(full), "%s/%s", dir, e->d_name);
        calls_name_to(name, sizeof(name), "%s%s", below, e->d_name);
        if (e->d_name[0] == '.' || stat(full, &st) != 0) {
            continue;
        }
        if (S_ISDIR(st.st_mode)) {
            calls_name_to(name + strlen(name), 8, "/");
            power_collect(full, name);
            continue;
        }
        assert_true(whole_count < 32 && strlen(name) < 160);
        struct kept_file *f = &whole[whole_count++];
        memcpy(f->name, name, strlen(name) + 1);
        assert_true(power_read(full, &f->bytes));
    }
    (void)closedir(list);
}

static inline unsigned power_files(const char *dir) {
    unsigned n = 0;
    DIR *list = opendir(dir);
    for (const struct dirent *e = list != NULL ? readdir(list) : NULL; e != NULL; e = readdir(list)) {
        char full[1500];
        struct stat st;
        calls_name_to(full, sizeof(full), "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.' && stat(full, &st) == 0) {
            n += S_ISDIR(st.st_mode) ? power_files(full) : 1;
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return n;
}

/* Every file of the undisturbed store with its bytes, and no other. */
static inline bool power_equal(const char *store) {
    struct str bytes = {0};
    bool same = power_files(store) == whole_count;
    for (unsigned i = 0; same && i < whole_count; i++) {
        char path[1500];
        calls_name_to(path, sizeof(path), "%s/%s", store, whole[i].name);
        same = power_read(path, &bytes) && bytes.len == whole[i].bytes.len &&
               (bytes.len == 0 || memcmp(bytes.ptr, whole[i].bytes.ptr, bytes.len) == 0);
    }
    str_drop(&bytes);
    return same;
}

static inline bool power_has(const char *path, const char *name) {
    char full[1500];
    calls_name_to(full, sizeof(full), "%s/%s", path, name);
    return access(full, F_OK) == 0;
}

static inline int power_prepare(void **state) {
    /* Four layers: the records that follow the journal's tensors cross a page, so a lost one can be in their middle. */
    struct made_model m = {.hidden = 32, .layers = 4, .heads = 2, .kv_heads = 1, .head_dim = 16, .ffn = 48, .vocab = 40,
                           .dtype = 2, .shards = 3, .tokenizer = true, .seed = 6};
    struct lamina_error err = {0};
    char path[4000];
    (void)state;
    /* A split's buffers of 8 MiB hold some KiB here: clearing huge pages was most of the time of thousands of splits. */
    (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    calls_name_to(base, sizeof(base), "%s/lamina-test-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(base));
    calls_name_to(pool, sizeof(pool), "%s/pool", base);
    calls_name_to(done, sizeof(done), "%s/done", base);
    assert_int_equal(mkdir(pool, 0755) | mkdir(done, 0755), 0);
    calls_name_to(live, sizeof(live), "%s/live", base);
    calls_name_to(source, sizeof(source), "%s/source", pool);
    calls_name_to(out, sizeof(out), "%s/whole", base);
    maker_make(&m, source);
    assert_int_equal(power_split(false, &err), LAMINA_OK);
    power_collect(out, "");
    calls_name_to(path, sizeof(path), "cp -rl '%s/source' '%s' && cp -r '%s/whole' '%s/out'", pool, done, base, done);
    assert_int_equal(system(path), 0);
    calls_name_to(out, sizeof(out), "%s/out", live);
    calls_name_to(source, sizeof(source), "%s/source", live);
    maker_drop(&m);
    return 0;
}

static inline int power_finish(void **state) {
    (void)state;
    calls_forget();
    disk_drop(&disk);
    maker_remove(base);
    return 0;
}

/* The live directory as `from` (pool or done) has it; nothing recorded yet. */
static inline void power_fresh(const char *from) {
    calls_pass();
    calls_forget();
    disk_drop(&disk);
    disk_init(&disk, from);
    (void)disk_restore(&disk, live, (struct disk_cut){.names = NAMES_KEPT});
}

/* What holds after whatever happened: a manifest stands for a store that is right; a source that is not to be deleted is
 * all there; the same command finishes. */
static inline void power_judge(bool delete_original) {
    struct lamina_verify_result r = {.size = sizeof(r)};
    struct lamina_error err = {0};
    if (store_is_store(out)) {
        REQUIRE(store_verify(out, NULL, NULL, &r, &err) == LAMINA_OK);
        for (unsigned i = 0; i < whole_count; i++) {
            REQUIRE(power_has(out, whole[i].name));
        }
    }
    if (!delete_original) {
        REQUIRE(power_files(source) == 8);
    }
    err = (struct lamina_error){0};
    if (power_split(delete_original, &err) != LAMINA_OK) {
        print_error("%s: the same command ends with %d: %s\n", doing, err.code, err.message);
        fail();
    }
    REQUIRE(power_equal(out));
    REQUIRE(!power_has(live, "out.lock"));
    REQUIRE(power_files(source) == (delete_original ? 5 : 8));
}

#endif
