/* SPDX-License-Identifier: Apache-2.0
 *
 * A control group whose processes read from one block device no faster than they may: a slow drive made of a fast one. Both
 * generations of the interface: blkio.throttle.read_bps_device (Documentation/admin-guide/cgroup-v1/blkio-controller.rst) and
 * io.max (cgroup-v2.rst). Each group is named after the process that made it, so that one left behind by a kill is found.
 * One thread.
 */
#ifndef CLI_THROTTLE_H
#define CLI_THROTTLE_H

#include <stdint.h>

#include "lamina/status.h"

struct throttle {
    char group[256]; /* its directory, "": none */
};

/* Removes groups that a kill has left behind: those of processes that are gone. */
void throttle_sweep(void);
/* Makes the group for the device under `path`. UNSUPPORTED says why there can be none: the file system has no block device of its
 * own, there is no such controller, or this process may not use it. */
lamina_status throttle_open(struct throttle *t, const char *path, uint64_t bytes_per_s, struct lamina_error *err);
/* Moves this process, all its threads and what it starts into the group of another process. */
lamina_status throttle_join(const char *group, struct lamina_error *err);
/* Removes the group, which must be empty by now: ended processes may take a moment to leave it. Fine on {0}. */
void throttle_close(struct throttle *t);

#endif
