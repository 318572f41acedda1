/* SPDX-License-Identifier: Apache-2.0
 *
 * What drive a path lies on, as the system tells it. One thread. */
#ifndef CLI_DRIVE_H
#define CLI_DRIVE_H

#include <stdbool.h>
#include <stddef.h>

#include "lamina/status.h"

/* "nvme0n1p2 (Samsung SSD 990 PRO 2TB), ext4", "overlay"; empty when there is no such path. */
void drive_words(const char *path, char *out, size_t size);
/* The numbers of the whole drive under `path`; limits are set for drives, not for partitions. UNSUPPORTED: the file system has no
 * device of its own. */
lamina_status drive_find(const char *path, unsigned *high, unsigned *low, struct lamina_error *err);
/* The beginning of a small file; false when it is empty or not there. */
bool drive_read_text(const char *dir, const char *name, char *text, size_t size);

#endif
