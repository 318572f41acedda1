/* SPDX-License-Identifier: Apache-2.0
 * sys/mem.h and sys/cpu.h: regions, figures about this process, ceilings (read from a made-up control group tree, so that
 * both generations are covered on any machine), processor flags and counts. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sys/cpu.h"
#include "sys/mem.h"
#include "sys/sys_priv.h"

static void maps_and_touches(void **state) {
    (void)state;
    struct lamina_error err = {0};
    size_t len = 32 << 20;
    void *base = NULL;
    assert_int_equal(sys_mem_map(&base, len, &err), 0);
    assert_int_equal((uintptr_t)base % SYS_HUGE_PAGE, 0);
    struct sys_mem_use before;
    struct sys_mem_use after;
    sys_mem_use(&before);
    ((char *)base)[4097] = 7;
    sys_mem_touch(base, len);
    sys_mem_use(&after);
    assert_int_equal(((char *)base)[4097], 7);
    assert_int_equal(((char *)base)[len - 1], 0);
#if defined(__linux__)
    assert_true(after.resident_bytes >= before.resident_bytes + len - (1 << 20));
    assert_true(after.peak_resident_bytes >= after.resident_bytes - (1 << 20));
    assert_true(after.page_table_bytes > 0);
#endif
    sys_mem_unmap(base, len);
    assert_int_equal(sys_mem_map(&base, SIZE_MAX - 4096, &err), LAMINA_NO_FIT);
    assert_null(base);
    err = (struct lamina_error){0};
    assert_int_equal(sys_mem_map(&base, SIZE_MAX / 4, &err), LAMINA_NO_FIT);
    assert_non_null(strstr(err.message, "map"));
    sys_mem_unmap(NULL, len);
    sys_mem_trim();
}

/* What the process is made of follows what it holds, and not what happens to be resident. */
static void tells_what_it_is_made_of(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: a sanitizer's heap is its own\n");
    skip();
#elif defined(__linux__) && defined(__GLIBC__)
    enum { BLOCK = 100 << 10, BLOCKS = 64 };
    char *block[BLOCKS];
    struct sys_mem_made before;
    struct sys_mem_made held;
    struct sys_mem_made after;
    sys_mem_made(&before);
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = (char *)malloc(BLOCK);
        assert_non_null(block[i]);
        block[i][0] = 1;
    }
    sys_mem_made(&held);
    for (int i = 0; i < BLOCKS; i++) {
        assert_int_equal(block[i][0], 1);
        free(block[i]);
    }
    sys_mem_made(&after);
    assert_true(before.heap_bytes > 0);
    assert_true(held.heap_bytes >= before.heap_bytes + BLOCK * BLOCKS);
    assert_true(held.heap_bytes <= before.heap_bytes + BLOCK * BLOCKS + BLOCKS * 64);
    assert_true(after.heap_bytes <= before.heap_bytes + 8192);
    /* This program, the C library and cmocka; the same whenever it is asked. */
    assert_true(before.file_bytes > (uint64_t)1 << 20);
    assert_true(before.file_bytes < (uint64_t)256 << 20);
    assert_int_equal(after.file_bytes, before.file_bytes);
    /* A file that is mapped counts, and no longer once it is not; what may not be touched does not. */
    int fd = open("/proc/self/exe", O_RDONLY);
    assert_true(fd >= 0);
    void *at = mmap(NULL, 65536, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_true(at != MAP_FAILED);
    sys_mem_made(&held);
    assert_int_equal(held.file_bytes, before.file_bytes + 65536);
    assert_int_equal(mprotect(at, 65536, PROT_NONE), 0);
    sys_mem_made(&held);
    assert_int_equal(held.file_bytes, before.file_bytes);
    assert_int_equal(munmap(at, 65536), 0);
    assert_int_equal(close(fd), 0);
#else
    skip(); /* such a system does not tell */
#endif
}

static void knows_this_machine(void **state) {
    (void)state;
    struct sys_mem_limits limits;
    sys_mem_limits(&limits);
    assert_true(limits.total_bytes > 64 << 20);
    assert_true(limits.available_bytes > 0);
    assert_true(limits.limit_bytes > 0);
}

/* Address space limits are those of the child only; sanitizers reserve terabytes, so the figure is only compared. */
static void sees_resource_limits(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit r = {.rlim_cur = UINT64_C(1) << 46, .rlim_max = RLIM_INFINITY};
        struct rlimit lock = {.rlim_cur = 65536, .rlim_max = 65536};
        struct sys_mem_limits limits;
        int bad = setrlimit(RLIMIT_DATA, &r) != 0 || setrlimit(RLIMIT_MEMLOCK, &lock) != 0;
        sys_mem_limits(&limits);
        bad |= limits.limit_bytes > UINT64_C(1) << 46 || limits.memlock_bytes != 65536;
        _exit(bad);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
}

struct tree {
    char root[256];
    struct str mounts;
};

static void put(const struct tree *t, const char *path, const char *text) {
    char full[1024];
    (void)snprintf(full, sizeof(full), "%s/%s", t->root, path);
    for (char *p = full + strlen(t->root) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = 0;
        (void)mkdir(full, 0755);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int plant(void **state) {
    struct tree *t = calloc(1, sizeof(*t));
    const char *base = getenv("TMPDIR");
    (void)snprintf(t->root, sizeof(t->root), "%s/lamina-cgroup-XXXXXX", base != NULL ? base : "/tmp");
    *state = t;
    return mkdtemp(t->root) != NULL ? 0 : -1;
}

static int fell(void **state) {
    struct tree *t = *state;
    char command[512];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", t->root);
    int rc = system(command);
    str_drop(&t->mounts);
    free(t);
    return rc;
}

static void reads_generation_2(void **state) {
    struct tree *t = *state;
    put(t, "v2/a/memory.max", "1000000\n");
    put(t, "v2/a/memory.current", "900000\n");
    put(t, "v2/a/memory.stat", "anon 5\nfile 500000\ninactive_file 300000\n");
    put(t, "v2/a/cpu.max", "150000 100000\n");
    put(t, "v2/a/b c/memory.max", "max\n");
    put(t, "v2/a/b c/memory.high", "2000000\n");
    put(t, "v2/a/b c/memory.current", "100\n");
    put(t, "v2/a/b c/cpu.max", "max 100000\n");
    str_printf(&t->mounts, "22 27 0:21 / /proc rw - proc proc rw\n");
    str_printf(&t->mounts, "41 31 0:38 / %s/v2 rw,nosuid shared:9 - cgroup2 cgroup2 rw\n", t->root);
    struct sys_cgroup_limits got;
    sys_cgroup_read("0::/a/b c\n", str_text(&t->mounts), &got);
    assert_int_equal(got.memory_bytes, 1000000);
    assert_int_equal(got.left_bytes, 400000);
    assert_int_equal(got.cpus, 2);
    /* Seen from inside a container: the mount shows the group as its root. */
    str_clear(&t->mounts);
    str_printf(&t->mounts, "41 31 0:38 /a/b\\040c %s/v2/a/b\\040c rw - cgroup2 cgroup2 rw\n", t->root);
    sys_cgroup_read("0::/a/b c\n", str_text(&t->mounts), &got);
    assert_int_equal(got.memory_bytes, 2000000);
    assert_int_equal(got.left_bytes, 2000000 - 100);
    assert_int_equal(got.cpus, UINT32_MAX);
    /* A namespace that hides where the group is. */
    sys_cgroup_read("0::/../other\n", str_text(&t->mounts), &got);
    assert_int_equal(got.memory_bytes, 2000000);
}

static void reads_generation_1(void **state) {
    struct tree *t = *state;
    put(t, "memory/memory.limit_in_bytes", "9223372036854771712\n");
    put(t, "memory/memory.stat", "cache 0\nhierarchical_memory_limit 9223372036854771712\n");
    put(t, "memory/x/memory.limit_in_bytes", "5000000\n");
    put(t, "memory/x/memory.usage_in_bytes", "4000000\n");
    put(t, "memory/x/memory.stat", "total_inactive_file 1000000\n");
    put(t, "memory/x/y/memory.limit_in_bytes", "8000000\n");
    put(t, "memory/x/y/memory.usage_in_bytes", "10\n");
    put(t, "memory/x/y/memory.stat", "hierarchical_memory_limit 4500000\n");
    put(t, "cpu/q/cpu.cfs_quota_us", "-1\n");
    put(t, "cpu/q/cpu.cfs_period_us", "100000\n");
    put(t, "cpu/cpu.cfs_quota_us", "300000\n");
    put(t, "cpu/cpu.cfs_period_us", "100000\n");
    str_printf(&t->mounts, "35 31 0:32 / %s/memory rw - cgroup cgroup rw,memory\n", t->root);
    str_printf(&t->mounts, "32 31 0:29 / %s/cpu rw - cgroup cgroup rw,cpu,cpuacct\n", t->root);
    struct sys_cgroup_limits got;
    sys_cgroup_read("4:memory:/x/y\n2:cpu,cpuacct:/q\n", str_text(&t->mounts), &got);
    assert_int_equal(got.memory_bytes, 4500000);
    assert_int_equal(got.left_bytes, 2000000);
    assert_int_equal(got.cpus, 3);
    sys_cgroup_read("4:memory:/\n", str_text(&t->mounts), &got);
    assert_true(got.memory_bytes == UINT64_MAX && got.left_bytes == UINT64_MAX && got.cpus == UINT32_MAX);
}

static void survives_nonsense(void **state) {
    (void)state;
    static const char *const texts[] = {"", "\n", ":", "::", "0::", "0::/\n4:memory", " - ", "- - -", "1 2 - cgroup2",
                                        "1 2 3 4 - cgroup2 x", "1 2 3 / /nowhere\\777 - cgroup2 c rw", "a\\04"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        for (size_t j = 0; j < sizeof(texts) / sizeof(texts[0]); j++) {
            struct sys_cgroup_limits got;
            sys_cgroup_read(texts[i], texts[j], &got);
            assert_true(got.memory_bytes == UINT64_MAX);
        }
    }
}

static void counts_processors(void **state) {
    (void)state;
    uint32_t threads = sys_cpu_threads();
    uint32_t cores = sys_cpu_physical_cores();
    assert_true(cores >= 1 && cores <= threads);
    char name[128];
    sys_cpu_name(name, sizeof(name));
    assert_true(strlen(name) > 0);
}

static void names_levels(void **state) {
    (void)state;
    uint32_t flags = sys_cpu_flags();
    char text[128];
    sys_cpu_flags_text(flags, text, sizeof(text));
    print_message("processor: %s; %u cores, %u threads\n", text, sys_cpu_physical_cores(), sys_cpu_threads());
    assert_true((flags & SYS_CPU_AVX512) == 0 || (flags & SYS_CPU_AVX2) != 0);
    assert_true((flags & SYS_CPU_AMX_BF16) == 0 || (flags & SYS_CPU_AVX512) != 0);
    uint32_t mask = 99;
    assert_true(sys_cpu_mask_of_level("scalar", &mask) && mask == 0);
    assert_true(sys_cpu_mask_of_level("avx2", &mask) && mask == SYS_CPU_AVX2);
    assert_true(sys_cpu_mask_of_level("avx512", &mask) && mask == (SYS_CPU_AVX2 | SYS_CPU_AVX512));
    assert_true(sys_cpu_mask_of_level("neon", &mask) && mask == SYS_CPU_NEON);
    assert_true(sys_cpu_mask_of_level("neon_bf16", &mask) && mask == (SYS_CPU_NEON | SYS_CPU_NEON_BF16));
    assert_true(sys_cpu_mask_of_level("all", &mask) && (flags & mask) == flags);
    assert_false(sys_cpu_mask_of_level("avx1024", &mask));
    sys_cpu_flags_text(SYS_CPU_AVX2 | SYS_CPU_AVX512, text, sizeof(text));
    assert_string_equal(text, "avx2 avx512");
    char small[6];
    sys_cpu_flags_text(SYS_CPU_AVX2 | SYS_CPU_AVX512, small, sizeof(small));
    assert_string_equal(small, "avx2 ");
}

static void flushes_denormals(void **state) {
    (void)state;
    pid_t child = fork(); /* the mode stays with the thread */
    if (child == 0) {
        volatile float tiny = 1e-39f;
        volatile float one = 1.0f;
        volatile float small = 1.2e-38f;
        volatile float before = tiny * one; /* volatile, or the product may be moved behind the call */
        (void)sys_cpu_flush_denormals();
        volatile float input = tiny * one;
        volatile float output = small * 0.5f;
        volatile float shown = output + 1.0f;
        uint32_t bits[3];
        float copy[3] = {before, input, output};
        memcpy(bits, copy, sizeof(bits));
        _exit(bits[0] != 0 && bits[1] == 0 && bits[2] == 0 && shown == 1.0f ? 0 : 1);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
#if defined(__x86_64__) || defined(__aarch64__)
    assert_int_equal(result, 0);
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_and_touches),
        cmocka_unit_test(tells_what_it_is_made_of),
        cmocka_unit_test(knows_this_machine),
        cmocka_unit_test(sees_resource_limits),
        cmocka_unit_test_setup_teardown(reads_generation_2, plant, fell),
        cmocka_unit_test_setup_teardown(reads_generation_1, plant, fell),
        cmocka_unit_test(survives_nonsense),
        cmocka_unit_test(counts_processors),
        cmocka_unit_test(names_levels),
        cmocka_unit_test(flushes_denormals),
    };
    return cmocka_run_group_tests_name("sys_mem", tests, NULL, NULL);
}
