/* SPDX-License-Identifier: Apache-2.0
 * What the files of this room share: reading small kernel files without the heap, opening by descriptor, and the walk over
 * control groups. Nothing here is for other rooms. */
#ifndef SYS_SYS_PRIV_H
#define SYS_SYS_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__APPLE__)
/* The system's header of the same name, for flock(): ours stands before it in the search path. */
#include_next <sys/file.h>
#endif

#include "sys/file.h"

/* Reads at most len-1 bytes of a /proc or /sys file and ends them with 0. Returns the count; 0 when unreadable. */
size_t sys_slurp(const char *path, char *buf, size_t len);

/* open() that survives EINTR and is close-on-exec; mode 0644 under the umask. */
int sys_open_fd(const char *path, int flags);

/* The directory part of a path into `out`: "." for a bare name. False when it does not fit. */
bool sys_dir_of(const char *path, char *out, size_t len);

struct sys_cgroup_limits {
    uint64_t memory_bytes; /* tightest ceiling; UINT64_MAX: none */
    uint64_t left_bytes;   /* least of (ceiling - use that cannot be reclaimed) over the levels; UINT64_MAX: no ceiling */
    uint32_t cpus;         /* processors' worth of run time, rounded up; UINT32_MAX: no quota */
};

/* `membership` is the text of /proc/self/cgroup, `mounts` that of /proc/self/mountinfo; both hierarchies are walked from
 * the process's group up to the mount's root. The texts are arguments so that tests can point them at a tree of theirs. */
void sys_cgroup_read(const char *membership, const char *mounts, struct sys_cgroup_limits *out);

/* The same for this process. */
void sys_cgroup_of_self(struct sys_cgroup_limits *out);

#endif
