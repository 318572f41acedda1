/* SPDX-License-Identifier: Apache-2.0
 * Small facts about the process and its host. */
#ifndef SYS_HOST_H
#define SYS_HOST_H

#include <stddef.h>
#include <stdint.h>

long sys_process_id(void);
int64_t sys_unix_time_s(void);                     /* wall clock, for templates that ask for the date */
void sys_kernel_text(char *out, size_t len);       /* "Linux 6.1.0-18-amd64" */

#endif
