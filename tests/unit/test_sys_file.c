/* SPDX-License-Identifier: Apache-2.0
 * sys/file.h against the real file system: whole transfers at odd places, refusals with words, durable names, locks. Runs
 * in a directory of its own below TMPDIR and leaves nothing behind; O_DIRECT is used where that file system has it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "sys/file.h"
#include "sys/mem.h"

enum { BIG = (1 << 20) + 777 };

struct fixture {
    char dir[256];
    char path[512];
    uint8_t *content;
};

static uint8_t byte_at(uint64_t i) {
    return (uint8_t)((i * 2654435761u) >> 13);
}

static const char *in_dir(struct fixture *x, const char *name) {
    (void)snprintf(x->path, sizeof(x->path), "%s/%s", x->dir, name);
    return x->path;
}

static int set_up(void **state) {
    struct fixture *x = calloc(1, sizeof(*x));
    const char *base = getenv("TMPDIR");
    (void)snprintf(x->dir, sizeof(x->dir), "%s/lamina-sys-file-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(x->dir) == NULL) {
        free(x);
        return -1;
    }
    x->content = malloc(BIG);
    for (size_t i = 0; i < BIG; i++) {
        x->content[i] = byte_at(i);
    }
    *state = x;
    return 0;
}

static bool remove_each(void *user, const char *name) {
    struct fixture *x = user;
    (void)unlink(in_dir(x, name));
    (void)rmdir(x->path);
    return true;
}

static int tear_down(void **state) {
    struct fixture *x = *state;
    struct lamina_error err = {0};
    (void)sys_list_dir(x->dir, remove_each, x, &err);
    int rc = rmdir(x->dir);
    free(x->content);
    free(x);
    return rc;
}

static void write_big(struct fixture *x, const char *name) {
    struct lamina_error err = {0};
    struct span bytes = span_of(x->content, BIG);
    assert_int_equal(sys_write_whole_durable(in_dir(x, name), bytes, &err), 0);
}

static void reads_any_range(void **state) {
    struct fixture *x = *state;
    write_big(x, "big");
    struct lamina_error err = {0};
    for (int how = SYS_OPEN_BUFFERED; how <= SYS_OPEN_DIRECT; how++) {
        struct sys_file f;
        assert_int_equal(sys_file_open_read(&f, x->path, (enum sys_open)how, &err), 0);
        assert_int_equal(f.size, BIG);
        assert_true(f.alignment >= 1 && (f.alignment & (f.alignment - 1)) == 0);
        void *base = NULL;
        assert_int_equal(sys_mem_map(&base, 4 << 20, &err), 0);
        uint8_t *bounce = base;
        uint8_t *to = bounce + (1 << 20);
        static const size_t bounces[] = {4096, 8192, 1 << 20};
        uint32_t seed = 1;
        for (int i = 0; i < 300; i++) {
            seed = seed * 1664525 + 1013904223;
            uint64_t offset = i % 3 == 0 ? (seed >> 8) % 256 * 4096 : (seed >> 4) % BIG;
            seed = seed * 1664525 + 1013904223;
            size_t len = (seed >> 5) % (BIG - offset + 1);
            size_t shift = i % 2 == 0 ? offset % 4096 : seed % 4096;
            memset(to, 0xee, len + shift + 1);
            assert_int_equal(sys_file_read_any(&f, x->path, offset, to + shift, len, bounce, bounces[i % 3], &err), 0);
            assert_memory_equal(to + shift, x->content + offset, len);
            assert_int_equal(to[shift + len], 0xee);
        }
        assert_int_equal(sys_file_read_any(&f, x->path, BIG - 10, to, 11, bounce, 4096, &err), LAMINA_DAMAGED);
        assert_non_null(strstr(err.message, "ends at byte 1049353"));
        assert_non_null(strstr(err.message, x->path));
        err = (struct lamina_error){0};
        assert_int_equal(sys_file_read_any(&f, x->path, BIG + 100000, to, 1, bounce, 4096, &err), LAMINA_DAMAGED);
        err = (struct lamina_error){0};
        assert_int_equal(sys_file_read_at(&f, x->path, UINT64_MAX - 4095, to, 8192, &err), LAMINA_DAMAGED);
        err = (struct lamina_error){0};
        if (f.direct) {
            assert_int_equal(sys_file_read_any(&f, x->path, 1, to, 1, bounce + 1, 4096, &err), LAMINA_UNEXPECTED);
            err = (struct lamina_error){0};
        }
        sys_mem_unmap(base, 4 << 20);
        sys_file_close(&f);
        assert_int_equal(f.fd, -1);
    }
}

/* An unaligned direct read is refused with EINVAL by most file systems, as FUSE refuses every one: the descriptor becomes
 * buffered without a word and the read succeeds. */
static void falls_back_from_direct(void **state) {
    struct fixture *x = *state;
    write_big(x, "big");
    struct lamina_error err = {0};
    struct sys_file f;
    assert_int_equal(sys_file_open_read(&f, x->path, SYS_OPEN_DIRECT, &err), 0);
    uint8_t *to = malloc(BIG);
    assert_int_equal(sys_file_read_at(&f, x->path, 1, to + 1, 100001, &err), 0);
    assert_memory_equal(to + 1, x->content + 1, 100001);
    assert_int_equal(sys_file_make_buffered(&f, x->path, &err), 0);
    assert_false(sys_file_is_direct(&f));
    assert_int_equal(fcntl(f.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    uint8_t *bounce = aligned_alloc(4096, 4096);
    assert_int_equal(sys_file_read_any(&f, x->path, 5, to, BIG - 5, bounce, 4096, &err), 0);
    assert_memory_equal(to, x->content + 5, BIG - 5);
    free(bounce);
    free(to);
    sys_file_close(&f);
}

static void refuses_what_is_no_file(void **state) {
    struct fixture *x = *state;
    struct sys_file f;
    struct lamina_error err = {0};
    assert_int_equal(sys_file_open_read(&f, in_dir(x, "absent"), SYS_OPEN_DIRECT, &err), LAMINA_NOT_FOUND);
    assert_non_null(strstr(err.message, "absent"));
    assert_int_equal(f.fd, -1);
    err = (struct lamina_error){0};
    assert_int_equal(sys_file_open_read(&f, x->dir, SYS_OPEN_BUFFERED, &err), LAMINA_UNSUPPORTED);
    assert_non_null(strstr(err.message, "directory"));
    err = (struct lamina_error){0};
    assert_int_equal(mkfifo(in_dir(x, "pipe"), 0600), 0);
    assert_int_equal(sys_file_open_read(&f, x->path, SYS_OPEN_DIRECT, &err), LAMINA_UNSUPPORTED);
    err = (struct lamina_error){0};
    assert_int_equal(sys_file_open_append(&f, x->path, &err), LAMINA_UNSUPPORTED);
    assert_int_equal(f.fd, -1);
}

static void creates_once(void **state) {
    struct fixture *x = *state;
    struct sys_file f;
    struct lamina_error err = {0};
    assert_int_equal(sys_file_create(&f, in_dir(x, "new"), SYS_OPEN_DIRECT, &err), 0);
    uint8_t *block = aligned_alloc(4096, 8192);
    uint8_t *back = aligned_alloc(4096, 8192);
    memcpy(block, x->content, 8192);
    assert_int_equal(sys_file_reserve(&f, x->path, 1 << 20, &err), 0);
    assert_int_equal(sys_file_write_at(&f, x->path, 4096, block, 8192, &err), 0);
    assert_int_equal(sys_file_sync(&f, x->path, &err), 0);
    assert_int_equal(sys_file_read_at(&f, x->path, 4096, back, 8192, &err), 0);
    assert_memory_equal(back, block, 8192);
    struct sys_stat st;
    assert_int_equal(sys_stat(x->path, &st, &err), 0);
    assert_int_equal(st.size, 12288);
    assert_true(st.is_regular && !st.is_dir && st.links == 1 && !st.writable_by_others && st.mtime_ns > 0);
    assert_int_equal(sys_file_truncate(&f, x->path, 5000, &err), 0);
    assert_int_equal(sys_stat(x->path, &st, &err), 0);
    assert_int_equal(st.size, 5000);
    sys_file_close(&f);
    assert_int_equal(sys_file_create(&f, x->path, SYS_OPEN_BUFFERED, &err), LAMINA_IO);
    assert_non_null(strstr(err.message, "exists"));
    err = (struct lamina_error){0};
    assert_int_equal(sys_file_create(&f, in_dir(x, "no/dir/here"), SYS_OPEN_BUFFERED, &err), LAMINA_NOT_FOUND);
    free(block);
    free(back);
}

static void appends(void **state) {
    struct fixture *x = *state;
    struct sys_file f;
    struct lamina_error err = {0};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sys_file_open_append(&f, in_dir(x, "journal"), &err), 0);
        assert_int_equal(f.size, (uint64_t)i * 4);
        assert_int_equal(sys_file_append(&f, x->path, "abc\n", 4, &err), 0);
        sys_file_close(&f);
    }
    struct str text = {0};
    assert_int_equal(sys_read_whole(x->path, 12, &text, &err), 0);
    assert_string_equal(str_text(&text), "abc\nabc\nabc\n");
    assert_int_equal(sys_read_whole(x->path, 12, &text, &err), 0);
    assert_int_equal(text.len, 24);
    assert_int_equal(sys_read_whole(x->path, 11, &text, &err), LAMINA_DAMAGED);
    err = (struct lamina_error){0};
    str_clear(&text);
    assert_int_equal(sys_read_whole("/proc/self/status", 1 << 20, &text, &err), 0);
    assert_true(text.len > 100);
    str_drop(&text);
}

static void reports_a_full_disk(void **state) {
    (void)state;
    struct sys_file f = {.fd = open("/dev/full", O_WRONLY | O_CLOEXEC), .alignment = 1};
    if (f.fd < 0) {
        skip();
    }
    struct lamina_error err = {0};
    assert_int_equal(sys_file_append(&f, "/dev/full", "x", 1, &err), LAMINA_NO_SPACE);
    err = (struct lamina_error){0};
    assert_int_equal(sys_file_write_at(&f, "/dev/full", 0, "x", 1, &err), LAMINA_NO_SPACE);
    assert_non_null(strstr(err.message, "/dev/full"));
    sys_file_close(&f);
}

/* Nobody else may read it, at no moment and whatever the umask says. */
static void private_from_the_start(void **state) {
    struct fixture *x = *state;
    struct lamina_error err = {0};
    struct sys_file f;
    struct stat st;
    const mode_t mask = umask(0);
    assert_int_equal(sys_file_create_private(&f, in_dir(x, "private"), &err), 0);
    (void)umask(mask);
    assert_int_equal(fstat(f.fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    sys_file_close(&f);
    assert_true(sys_file_create_private(&f, in_dir(x, "private"), &err) < 0);
    assert_int_equal(unlink(in_dir(x, "private")), 0);
}

static bool count_names(void *user, const char *name) {
    struct str *all = user;
    str_printf(all, "%s;", name);
    return all->len < 60;
}

static void handles_names(void **state) {
    struct fixture *x = *state;
    struct lamina_error err = {0};
    char a[512];
    char b[512];
    char deep[512];
    write_big(x, "a");
    memcpy(a, x->path, sizeof(a));
    memcpy(b, in_dir(x, "b"), sizeof(b));
    assert_int_equal(sys_link_durable(a, b, &err), 0);
    assert_int_equal(sys_link_durable(a, b, &err), 0); /* again: replaces itself, leaves no spare name */
    struct sys_stat st;
    assert_int_equal(sys_stat(b, &st, &err), 0);
    assert_int_equal(st.links, 2);
    memcpy(deep, in_dir(x, "d1"), sizeof(deep));
    (void)snprintf(deep + strlen(deep), 64, "//d2/d3/");
    assert_int_equal(sys_make_dirs(deep, &err), 0);
    assert_int_equal(sys_make_dirs(deep, &err), 0);
    assert_true(sys_exists(deep));
    assert_int_equal(sys_remove_dir(deep, &err), 0);
    assert_int_equal(sys_remove_dir(deep, &err), 0);
    assert_int_equal(sys_remove_dir(in_dir(x, "d1"), &err), LAMINA_IO); /* not empty */
    err = (struct lamina_error){0};
    assert_int_equal(sys_remove_dir(in_dir(x, "d1/d2"), &err), 0);
    assert_int_equal(sys_make_dirs(in_dir(x, "a/below-a-file"), &err), LAMINA_NOT_FOUND);
    err = (struct lamina_error){0};
    assert_int_equal(sys_make_dirs("", &err), LAMINA_USAGE);
    err = (struct lamina_error){0};
    assert_int_equal(sys_rename_durable(b, in_dir(x, "d1/c"), &err), 0);
    assert_false(sys_exists(b));
    struct str names = {0};
    assert_int_equal(sys_list_dir(x->dir, count_names, &names, &err), 0);
    assert_string_equal(str_text(&names), "a;d1;");
    assert_int_equal(sys_list_dir(b, count_names, &names, &err), LAMINA_NOT_FOUND);
    err = (struct lamina_error){0};
    assert_int_equal(sys_remove(in_dir(x, "d1/c"), &err), 0);
    assert_int_equal(sys_remove(x->path, &err), 0);
    uint64_t bytes = 0;
    assert_int_equal(sys_disk_free(x->dir, &bytes, &err), 0);
    assert_true(bytes > 0);
    str_clear(&names);
    assert_int_equal(sys_real_path(in_dir(x, "d1/../a"), &names, &err), 0);
    assert_non_null(strstr(str_text(&names), "/a"));
    assert_null(strstr(str_text(&names), ".."));
    str_drop(&names);
    assert_int_equal(chmod(a, 0666), 0);
    assert_int_equal(sys_stat(a, &st, &err), 0);
    assert_true(st.writable_by_others);
}

static void knows_its_temporaries(void **state) {
    (void)state;
    assert_true(sys_is_temp_name("lamina.json.tmp-123-9fe"));
    assert_true(sys_is_temp_name("x.tmp-a.tmp-1-0"));
    assert_false(sys_is_temp_name("lamina.json"));
    assert_false(sys_is_temp_name("x.tmp-"));
    assert_false(sys_is_temp_name("x.tmp-12-"));
    assert_false(sys_is_temp_name("x.tmp-12-0.json"));
}

static void replaces_durably(void **state) {
    struct fixture *x = *state;
    struct lamina_error err = {0};
    for (int i = 0; i < 3; i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "version %d", i);
        assert_int_equal(sys_write_whole_durable(in_dir(x, "m.json"), span_of_text(text), &err), 0);
        struct str back = {0};
        assert_int_equal(sys_read_whole(x->path, 100, &back, &err), 0);
        assert_string_equal(str_text(&back), text);
        str_drop(&back);
    }
    struct str names = {0};
    assert_int_equal(sys_list_dir(x->dir, count_names, &names, &err), 0);
    assert_string_equal(str_text(&names), "m.json;");
    str_drop(&names);
}

static void loads_into_memory(void **state) {
    struct fixture *x = *state;
    write_big(x, "big");
    struct lamina_error err = {0};
    struct span bytes = {0};
    assert_int_equal(sys_load(x->path, BIG, &bytes, &err), 0);
    assert_int_equal(bytes.len, BIG);
    assert_memory_equal(bytes.ptr, x->content, BIG);
    sys_unload(&bytes);
    assert_null(bytes.ptr);
    assert_int_equal(sys_load(x->path, BIG - 1, &bytes, &err), LAMINA_DAMAGED);
    err = (struct lamina_error){0};
    assert_int_equal(sys_write_whole_durable(in_dir(x, "empty"), (struct span){0}, &err), 0);
    assert_int_equal(sys_load(x->path, 10, &bytes, &err), 0);
    assert_int_equal(bytes.len, 0);
    sys_unload(&bytes);
}

static void locks_between_processes(void **state) {
    struct fixture *x = *state;
    struct lamina_error err = {0};
    struct sys_lock lock;
    struct sys_lock other;
    assert_int_equal(sys_lock_take(&lock, in_dir(x, "lock"), false, &err), 0);
    assert_int_equal(sys_lock_take(&other, x->path, false, &err), LAMINA_BUSY);
    char pid[32];
    (void)snprintf(pid, sizeof(pid), "process %ld;", (long)getpid());
    assert_non_null(strstr(err.message, pid));
    assert_int_equal(other.fd, -1);
    pid_t child = fork();
    if (child == 0) {
        struct lamina_error e = {0};
        struct sys_lock mine;
        sys_lock_drop(&lock); /* the inherited copy of the descriptor, or the lock would outlive the parent's drop */
        int rc = sys_lock_take(&mine, x->path, true, &e);
        _exit(rc == 0 ? 42 : 1);
    }
    (void)usleep(100000);
    /* A holder that finishes removes the file: the waiter must not be content with a lock on the removed one. */
    assert_int_equal(sys_remove(x->path, &err), 0);
    sys_lock_drop(&lock);
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(WEXITSTATUS(result), 42);
    assert_true(sys_exists(x->path));
    err = (struct lamina_error){0};
    assert_int_equal(sys_lock_take(&other, x->path, false, &err), 0); /* the child's death freed it */
    sys_lock_drop(&other);
    sys_lock_drop(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_any_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(falls_back_from_direct, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_what_is_no_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(creates_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(appends, set_up, tear_down),
        cmocka_unit_test(reports_a_full_disk),
        cmocka_unit_test_setup_teardown(private_from_the_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(handles_names, set_up, tear_down),
        cmocka_unit_test(knows_its_temporaries),
        cmocka_unit_test_setup_teardown(replaces_durably, set_up, tear_down),
        cmocka_unit_test_setup_teardown(loads_into_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(locks_between_processes, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("sys_file", tests, NULL, NULL);
}
