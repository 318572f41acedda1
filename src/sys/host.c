/* SPDX-License-Identifier: Apache-2.0
 * Process id, wall clock and kernel name: one line each over POSIX. */
#include "sys/host.h"

#include <stdio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

long sys_process_id(void) {
    return (long)getpid();
}

int64_t sys_unix_time_s(void) {
    return (int64_t)time(NULL);
}

void sys_kernel_text(char *out, size_t len) {
    struct utsname u;
    if (uname(&u) == 0) {
        (void)snprintf(out, len, "%s %s", u.sysname, u.release);
    } else {
        (void)snprintf(out, len, "unknown");
    }
}
