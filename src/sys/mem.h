/* SPDX-License-Identifier: Apache-2.0
 * Large memory and the limits on it. */
#ifndef SYS_MEM_H
#define SYS_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { SYS_HUGE_PAGE = 2 << 20 };

/* A private anonymous region, 2 MiB aligned, asked to be made of huge pages, not touched yet. len is rounded up to 2 MiB
 * by the caller. */
lamina_status sys_mem_map(void **base, size_t len, struct lamina_error *err);
void sys_mem_unmap(void *base, size_t len);
/* Writes one byte per page of [base, base+len), so that the memory is there before it is used. */
void sys_mem_touch(void *base, size_t len);
/* Gives freed heap memory back to the system (malloc_trim where there is one). */
void sys_mem_trim(void);

struct sys_mem_use {
    uint64_t resident_bytes;      /* VmRSS */
    uint64_t peak_resident_bytes; /* VmHWM */
    uint64_t page_table_bytes;    /* VmPTE */
    uint64_t hugetlb_bytes;       /* HugetlbPages, not part of RSS */
};
/* peak of the whole process = peak_resident + hugetlb + page tables. Zeros where the system cannot tell. */
void sys_mem_use(struct sys_mem_use *use);

/* What the process is made of. Unlike its resident size, neither figure moves with what the page cache holds, with the
 * loader's luck or with memory that was freed and not yet given back. Zeros where the system cannot tell. */
struct sys_mem_made {
    uint64_t file_bytes; /* mapped from files and accessible: program, libraries and their data */
    uint64_t heap_bytes; /* allocated and not freed, in all arenas */
};
void sys_mem_made(struct sys_mem_made *made);

struct sys_mem_limits {
    uint64_t total_bytes;     /* physical */
    uint64_t available_bytes; /* MemAvailable, or what the tightest limit leaves, whichever is smaller */
    uint64_t limit_bytes;     /* tightest of cgroup v1, cgroup v2 (all levels up) and RLIMIT_AS/DATA; UINT64_MAX: none */
    uint64_t memlock_bytes;   /* RLIMIT_MEMLOCK soft; UINT64_MAX unlimited */
    bool huge_pages;          /* transparent huge pages: always or madvise */
};
void sys_mem_limits(struct sys_mem_limits *limits);

#endif
