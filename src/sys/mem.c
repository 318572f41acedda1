/* SPDX-License-Identifier: Apache-2.0
 *
 * Large regions, what this process uses, and what the system lets it use. Knows no plan: it reports, others decide.
 * The invariant: a figure that the system does not tell is 0 (use) or UINT64_MAX (limit), never a guess.
 */
#include "sys/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#if defined(__APPLE__)
#include <mach/mach.h>
#include <sys/sysctl.h>
#endif

#include "base/checked.h"
#include "sys/sys_priv.h"

/* Mapped one huge page too large, then trimmed to the aligned part: mmap itself promises only small pages. */
lamina_status sys_mem_map(void **base, size_t len, struct lamina_error *err) {
    *base = NULL;
    if (len == 0 || len > SIZE_MAX / 2) {
        return base_fail(err, LAMINA_NO_FIT, "cannot map %zu bytes of memory", len);
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    len = (size_t)round_up(len, page);
    size_t all = len + SYS_HUGE_PAGE;
    char *at = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        return base_fail_errno(err, errno, "cannot map %zu bytes of memory", len);
    }
    size_t head = (size_t)(round_up((uintptr_t)at, SYS_HUGE_PAGE) - (uintptr_t)at);
    if (head > 0) {
        (void)munmap(at, head);
    }
    if (all - head > len) {
        (void)munmap(at + head + len, all - head - len);
    }
    *base = at + head;
#if defined(MADV_HUGEPAGE)
    (void)madvise(*base, len, MADV_HUGEPAGE); /* a wish: where it is refused, the region works with small pages */
#endif
    return LAMINA_OK;
}

void sys_mem_unmap(void *base, size_t len) {
    if (base != NULL) {
        (void)munmap(base, (size_t)round_up(len, (size_t)sysconf(_SC_PAGESIZE)));
    }
}

#if defined(__linux__)
enum { ADVICE_POPULATE_WRITE = 23 /* Linux 5.14 */, ADVICE_COLLAPSE = 25 /* Linux 6.1 */ };
#endif

/* Keeps what is there. Populating in the kernel takes one call instead of a fault per page; collapsing afterwards makes
 * huge pages where the fault found none free, and costs next to nothing where they are huge already. */
void sys_mem_touch(void *base, size_t len) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)base & ~(uintptr_t)(page - 1);
    uintptr_t end = (uintptr_t)round_up((uintptr_t)base + len, page);
    bool there = false;
    if (len == 0) {
        return;
    }
#if defined(__linux__)
    there = madvise((void *)first, end - first, ADVICE_POPULATE_WRITE) == 0;
#endif
    for (uintptr_t at = first; !there && at < end; at += page) {
        volatile char *p = (volatile char *)(at < (uintptr_t)base ? (uintptr_t)base : at);
        *p = *p;
    }
#if defined(__linux__)
    uintptr_t huge = (uintptr_t)round_up(first, SYS_HUGE_PAGE);
    if (end > huge && end - huge >= SYS_HUGE_PAGE) {
        (void)madvise((void *)huge, (end - huge) & ~(uintptr_t)(SYS_HUGE_PAGE - 1), ADVICE_COLLAPSE);
    }
#endif
}

void sys_mem_trim(void) {
#if defined(__GLIBC__)
    (void)malloc_trim(0);
#endif
}

/* In-use bytes of all arenas of malloc and of its separate mappings. */
static uint64_t heap_in_use(void) {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
    struct mallinfo2 info = mallinfo2();
    return (uint64_t)info.uordblks + info.hblkhd;
#else
    return 0;
#endif
}

/* Lines of /proc/self/maps: "first-end perms offset device inode path"; inode 0 is memory without a file. */
static uint64_t mapped_from_files(void) {
    uint64_t sum = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    bool fresh = true; /* at the start of a line: paths may be longer than the buffer */
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        char *at = line;
        uint64_t first = strtoull(at, &at, 16);
        uint64_t end = *at == '-' ? strtoull(at + 1, &at, 16) : 0;
        unsigned long inode = 0;
        if (fresh && end > first && strncmp(at, " ---", 4) != 0 && sscanf(at, " %*s %*x %*s %lu", &inode) == 1 && inode != 0) {
            sum += end - first;
        }
        fresh = strchr(line, '\n') != NULL;
    }
    if (maps != NULL) {
        (void)fclose(maps);
    }
    return sum;
}

void sys_mem_made(struct sys_mem_made *made) {
    *made = (struct sys_mem_made){.file_bytes = mapped_from_files(), .heap_bytes = heap_in_use()};
}

/* The number behind "Name:" in a /proc text, times 1024; 0 when absent. */
static uint64_t kib_field(const char *text, const char *name) {
    size_t len = strlen(name);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && line[len] == ':') {
            return strtoull(line + len + 1, NULL, 10) * 1024;
        }
    }
    return 0;
}

#if defined(__APPLE__)

void sys_mem_use(struct sys_mem_use *use) {
    *use = (struct sys_mem_use){0};
    struct rusage self;
    if (getrusage(RUSAGE_SELF, &self) == 0) {
        use->peak_resident_bytes = (uint64_t)self.ru_maxrss; /* bytes here, unlike on Linux */
    }
    struct mach_task_basic_info info;
    mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
    if (task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)&info, &count) == KERN_SUCCESS) {
        use->resident_bytes = info.resident_size;
    }
}

static void physical(struct sys_mem_limits *limits) {
    uint64_t total = 0;
    size_t len = sizeof(total);
    (void)sysctlbyname("hw.memsize", &total, &len, NULL, 0);
    vm_statistics64_data_t vm;
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    uint64_t pages = 0;
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&vm, &count) == KERN_SUCCESS) {
        pages = (uint64_t)vm.free_count + vm.inactive_count + vm.purgeable_count;
    }
    limits->total_bytes = total;
    limits->available_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    limits->huge_pages = false;
}

#else

void sys_mem_use(struct sys_mem_use *use) {
    char text[8192];
    (void)sys_slurp("/proc/self/status", text, sizeof(text));
    *use = (struct sys_mem_use){
        .resident_bytes = kib_field(text, "VmRSS"),
        .peak_resident_bytes = kib_field(text, "VmHWM"),
        .page_table_bytes = kib_field(text, "VmPTE"),
        .hugetlb_bytes = kib_field(text, "HugetlbPages"),
    };
}

/* Linux 6.8 added a switch per size; where it says "inherit", or is missing, the old common one decides. */
static bool huge_pages_on(void) {
    char text[256];
    if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) > 0) {
        return false;
    }
    size_t n = sys_slurp("/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/enabled", text, sizeof(text));
    if (n == 0 || strstr(text, "[inherit]") != NULL) {
        (void)sys_slurp("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text));
    }
    return strstr(text, "[always]") != NULL || strstr(text, "[madvise]") != NULL;
}

static void physical(struct sys_mem_limits *limits) {
    char text[8192];
    (void)sys_slurp("/proc/meminfo", text, sizeof(text));
    limits->total_bytes = kib_field(text, "MemTotal");
    limits->available_bytes = kib_field(text, "MemAvailable");
    limits->huge_pages = huge_pages_on();
}

#endif

static void narrow(struct sys_mem_limits *limits, uint64_t limit, uint64_t left) {
    limits->limit_bytes = min_u64(limits->limit_bytes, limit);
    limits->available_bytes = min_u64(limits->available_bytes, left);
}

static uint64_t soft_limit(int resource) {
    struct rlimit r;
    /* The type of `resource` is an enum in glibc under _GNU_SOURCE and an int elsewhere; both convert. */
    if (getrlimit((unsigned)resource, &r) != 0 || r.rlim_cur == RLIM_INFINITY) {
        return UINT64_MAX;
    }
    return (uint64_t)r.rlim_cur;
}

static void narrow_by_rlimit(struct sys_mem_limits *limits, int resource, uint64_t used) {
    uint64_t limit = soft_limit(resource);
    if (limit != UINT64_MAX) {
        narrow(limits, limit, limit > used ? limit - used : 0);
    }
}

void sys_mem_limits(struct sys_mem_limits *limits) {
    *limits = (struct sys_mem_limits){.limit_bytes = UINT64_MAX};
    physical(limits);
    struct sys_cgroup_limits group;
    sys_cgroup_of_self(&group);
    narrow(limits, group.memory_bytes, group.left_bytes);
    char text[8192];
    (void)sys_slurp("/proc/self/status", text, sizeof(text));
    narrow_by_rlimit(limits, RLIMIT_AS, kib_field(text, "VmSize"));
    narrow_by_rlimit(limits, RLIMIT_DATA, kib_field(text, "VmData"));
    limits->memlock_bytes = soft_limit(RLIMIT_MEMLOCK);
}
