/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups lie directly below the root of the mount, /sys/fs/cgroup/blkio or /sys/fs/cgroup: the one place where generation 2 lets a
 * process have groups beside it. Their limits then do not add to those of the group this process is in, which the drive's own
 * measurement has already felt.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "app/cli/drive.h"
#include "app/cli/throttle.h"
#include "base/compiler.h"
#include "base/status.h"

static const char PREFIX[] = "lamina-bench-";
enum { LEAVE_TRIES = 200, LEAVE_WAIT_NS = 10 * 1000 * 1000 };

/* Both generations. `controllers`: a file that must name the controller, NULL: the limit's file alone tells. */
static const struct generation {
    const char *root, *limit, *controllers;
} generations[] = {
    {"/sys/fs/cgroup/blkio", "blkio.throttle.read_bps_device", NULL},
    {"/sys/fs/cgroup", "io.max", "cgroup.controllers"},
};

/* 0, or why not. */
static int write_text(const char *dir, const char *name, const char *text) {
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    int reason = write(fd, text, strlen(text)) < 0 ? errno : 0;
    close(fd);
    return reason;
}

/* ---- the group ---- */

static bool names(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *p = strstr(list, word); p != NULL; p = strstr(p + 1, word)) {
        if ((p == list || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\n' || p[len] == '\0')) {
            return true;
        }
    }
    return false;
}

static const struct generation *find_generation(void) {
    char path[512];
    char text[512];
    for (size_t i = 0; i < ARRAY_LEN(generations); i++) {
        const struct generation *g = &generations[i];
        (void)snprintf(path, sizeof(path), "%s/%s", g->root, g->limit);
        if (g->controllers == NULL ? access(path, F_OK) == 0
                                   : drive_read_text(g->root, g->controllers, text, sizeof(text)) && names(text, "io")) {
            return g;
        }
    }
    return NULL;
}

/* A group that still has processes refuses to go. */
static void remove_stale(const char *root) {
    DIR *dir = opendir(root);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;
        if (strncmp(name, PREFIX, strlen(PREFIX)) == 0) {
            long pid = strtol(name + strlen(PREFIX), NULL, 10);
            if (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH) {
                (void)unlinkat(dirfd(dir), name, AT_REMOVEDIR);
            }
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

void throttle_sweep(void) {
    for (size_t i = 0; i < ARRAY_LEN(generations); i++) {
        remove_stale(generations[i].root);
    }
}

static lamina_status refuse(const char *doing, const char *what, int reason, struct lamina_error *err) {
    return base_fail(err, LAMINA_UNSUPPORTED, "reads cannot be slowed down: %s %s: %s; it takes root, outside of a container or in "
                     "one that may write there", doing, what, strerror(reason));
}

lamina_status throttle_open(struct throttle *t, const char *path, uint64_t bytes_per_s, struct lamina_error *err) {
    unsigned high = 0;
    unsigned low = 0;
    char line[96];
    *t = (struct throttle){0};
    LAMINA_TRY(drive_find(path, &high, &low, err));
    const struct generation *g = find_generation();
    if (g == NULL) {
        return base_fail(err, LAMINA_UNSUPPORTED, "reads cannot be slowed down: there is neither %s/%s nor a controller \"io\" in "
                         "%s/%s; the kernel or the container has none", generations[0].root, generations[0].limit,
                         generations[1].root, generations[1].controllers);
    }
    int reason = g->controllers != NULL ? write_text(g->root, "cgroup.subtree_control", "+io") : 0;
    if (reason != 0) {
        return refuse("cannot write", "/sys/fs/cgroup/cgroup.subtree_control", reason, err);
    }
    (void)snprintf(t->group, sizeof(t->group), "%s/%s%ld", g->root, PREFIX, (long)getpid());
    if (mkdir(t->group, 0755) != 0) {
        reason = errno;
        lamina_status status = refuse("cannot make", t->group, reason, err);
        t->group[0] = '\0';
        return status;
    }
    (void)snprintf(line, sizeof(line), g->controllers == NULL ? "%u:%u %llu" : "%u:%u rbps=%llu", high, low,
                   (unsigned long long)bytes_per_s);
    reason = write_text(t->group, g->limit, line);
    if (reason != 0) {
        lamina_status status = refuse("cannot set the limit of", t->group, reason, err);
        throttle_close(t);
        return status;
    }
    return LAMINA_OK;
}

lamina_status throttle_join(const char *group, struct lamina_error *err) {
    int reason = write_text(group, "cgroup.procs", "0");
    return reason == 0 ? LAMINA_OK : refuse("cannot join", group, reason, err);
}

void throttle_close(struct throttle *t) {
    const struct timespec moment = {.tv_nsec = LEAVE_WAIT_NS};
    for (int i = 0; t->group[0] != '\0' && i < LEAVE_TRIES && rmdir(t->group) != 0 && errno == EBUSY; i++) {
        (void)nanosleep(&moment, NULL);
    }
    t->group[0] = '\0';
}
