/* SPDX-License-Identifier: Apache-2.0
 *
 * The ceilings that control groups put on this process, in both generations of the interface, at every level up to the
 * root of the mount. Sources: Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst, proc(5).
 * The invariant: a file that is missing or says "max" limits nothing.
 *
 *     /proc/self/cgroup      ID:CONTROLLERS:PATH      generation 2 has no controllers in its line
 *     /proc/self/mountinfo   id parent dev ROOT POINT options [optional...] - TYPE source SUPEROPTIONS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "sys/sys_priv.h"

enum { LINE_LEN = 4096, TEXT_LEN = 64 << 10 };

struct group {
    char dir[SYS_PATH_LEN];   /* where the process's group is */
    size_t root;              /* length of the mount point: the walk up ends there */
};

/* Copies the next line of *text without its end; false at the end of the text. Lines too long for us are skipped. */
static bool next_line(const char **text, char *line, size_t len) {
    while (**text != 0) {
        const char *end = strchr(*text, '\n');
        size_t n = end != NULL ? (size_t)(end - *text) : strlen(*text);
        const char *from = *text;
        *text += n + (end != NULL);
        if (n < len) {
            memcpy(line, from, n);
            line[n] = 0;
            return true;
        }
    }
    return false;
}

static bool word_in_list(const char *list, const char *word) {
    size_t len = strlen(word);
    for (const char *p = list; p != NULL; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, word, len) == 0 && (p[len] == ',' || p[len] == 0)) {
            return true;
        }
    }
    return false;
}

/* The path of this process in the hierarchy of `controller`, or in generation 2 when that is NULL. */
static bool find_membership(const char *text, const char *controller, char *path) {
    char line[LINE_LEN];
    while (next_line(&text, line, sizeof(line))) {
        char *list = strchr(line, ':');
        char *at = list != NULL ? strchr(list + 1, ':') : NULL;
        if (at == NULL) {
            continue;
        }
        *at = 0;
        if (controller == NULL ? list[1] == 0 : word_in_list(list + 1, controller)) {
            memmove(path, at + 1, strlen(at + 1) + 1);
            return true;
        }
    }
    return false;
}

/* mountinfo writes blanks, tabs, newlines and backslashes as \ooo. In place. */
static void unescape(char *text) {
    char *to = text;
    for (const char *p = text; *p != 0; to++) {
        if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' && p[3] >= '0' && p[3] <= '7') {
            *to = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
            p += 4;
        } else {
            *to = *p++;
        }
    }
    *to = 0;
}

/* Splits off the next blank-separated word, in place. */
static char *next_word(char **rest) {
    char *word = *rest;
    if (word == NULL) {
        return NULL;
    }
    char *blank = strchr(word, ' ');
    *rest = blank != NULL ? blank + 1 : NULL;
    if (blank != NULL) {
        *blank = 0;
    }
    return word;
}

/* Is this mountinfo line the wanted hierarchy? Then its root and mount point. */
static bool match_mount(char *line, const char *controller, char **root, char **point) {
    char *type = strstr(line, " - ");
    if (type == NULL) {
        return false;
    }
    *type = 0;
    char *tail = type + 3;
    const char *fs = next_word(&tail);
    (void)next_word(&tail);
    if (strcmp(fs, controller == NULL ? "cgroup2" : "cgroup") != 0 ||
        (controller != NULL && (tail == NULL || !word_in_list(tail, controller)))) {
        return false;
    }
    char *rest = line;
    for (int i = 0; i < 3; i++) {
        (void)next_word(&rest);
    }
    *root = next_word(&rest);
    *point = next_word(&rest);
    if (*root == NULL || *point == NULL) {
        return false;
    }
    unescape(*root);
    unescape(*point);
    return true;
}

/* In a container the mount often shows only the group itself (root = path), or a namespace hides the prefix; whatever of
 * the path is not below the mount's root leaves the mount point itself as the best answer. */
static bool find_group(const char *membership, const char *mounts, const char *controller, struct group *out) {
    char path[LINE_LEN];
    char line[LINE_LEN];
    if (!find_membership(membership, controller, path)) {
        return false;
    }
    while (next_line(&mounts, line, sizeof(line))) {
        char *root = NULL;
        char *point = NULL;
        if (!match_mount(line, controller, &root, &point)) {
            continue;
        }
        size_t skip = strcmp(root, "/") == 0 ? 0 : strlen(root);
        const char *below = strncmp(path, root, skip) == 0 && (path[skip] == '/' || path[skip] == 0) ? path + skip : "";
        if (strstr(below, "/..") != NULL) {
            below = "";
        }
        out->root = strlen(point);
        int n = snprintf(out->dir, sizeof(out->dir), "%s%s", point, below);
        return n > 0 && (size_t)n < sizeof(out->dir);
    }
    return false;
}

/* Cuts the last part off; false when the mount point has been visited. */
static bool go_up(struct group *g) {
    size_t len = strlen(g->dir);
    while (len > g->root && g->dir[len - 1] == '/') {
        len--;
    }
    if (len <= g->root) {
        return false;
    }
    while (len > g->root && g->dir[len - 1] != '/') {
        len--;
    }
    while (len > g->root && g->dir[len - 1] == '/') {
        len--;
    }
    g->dir[len] = 0;
    return true;
}

static size_t read_in(const struct group *g, const char *name, char *text, size_t len) {
    char path[SYS_PATH_LEN + 64];
    (void)snprintf(path, sizeof(path), "%s/%s", g->dir, name);
    return sys_slurp(path, text, len);
}

/* "max", absence and generation 1's huge default all mean no limit. */
static uint64_t read_number(const struct group *g, const char *name) {
    char text[64];
    if (read_in(g, name, text, sizeof(text)) == 0 || text[0] < '0' || text[0] > '9') {
        return UINT64_MAX;
    }
    uint64_t value = strtoull(text, NULL, 10);
    return value >= UINT64_C(1) << 62 ? UINT64_MAX : value;
}

/* A line "name value" of memory.stat. */
static uint64_t read_stat(const struct group *g, const char *name, uint64_t absent) {
    char text[8192];
    char line[256];
    (void)read_in(g, "memory.stat", text, sizeof(text));
    const char *at = text;
    size_t len = strlen(name);
    while (next_line(&at, line, sizeof(line))) {
        if (strncmp(line, name, len) == 0 && line[len] == ' ') {
            return strtoull(line + len + 1, NULL, 10);
        }
    }
    return absent;
}

/* Cached file pages on the inactive list give way before the ceiling bites, so they are not counted as used. */
static void apply_ceiling(const struct group *g, uint64_t limit, const char *usage, const char *cache,
                          struct sys_cgroup_limits *out) {
    if (limit == UINT64_MAX) {
        return;
    }
    uint64_t used = read_number(g, usage);
    used = used == UINT64_MAX ? 0 : used;
    uint64_t reclaimable = min_u64(read_stat(g, cache, 0), used);
    used -= reclaimable;
    out->memory_bytes = min_u64(out->memory_bytes, limit);
    out->left_bytes = min_u64(out->left_bytes, limit > used ? limit - used : 0);
}

static void apply_quota(uint64_t quota, uint64_t period, struct sys_cgroup_limits *out) {
    if (quota != UINT64_MAX && quota > 0 && period != UINT64_MAX && period > 0) {
        uint64_t cpus = div_up(quota, period);
        out->cpus = cpus < out->cpus ? (uint32_t)cpus : out->cpus;
    }
}

static void walk_memory_v1(struct group *g, struct sys_cgroup_limits *out) {
    /* This line also covers levels above the mount's root, which a container cannot see. */
    uint64_t whole = read_stat(g, "hierarchical_memory_limit", UINT64_MAX);
    if (whole < UINT64_C(1) << 62) {
        apply_ceiling(g, whole, "memory.usage_in_bytes", "total_inactive_file", out);
    }
    do {
        apply_ceiling(g, read_number(g, "memory.limit_in_bytes"), "memory.usage_in_bytes", "total_inactive_file", out);
    } while (go_up(g));
}

static void walk_cpu_v1(struct group *g, struct sys_cgroup_limits *out) {
    do {
        apply_quota(read_number(g, "cpu.cfs_quota_us"), read_number(g, "cpu.cfs_period_us"), out);
    } while (go_up(g));
}

/* memory.high does not kill but throttles hard, which for us is as good as a ceiling. */
static void walk_v2(struct group *g, struct sys_cgroup_limits *out) {
    do {
        uint64_t limit = min_u64(read_number(g, "memory.max"), read_number(g, "memory.high"));
        apply_ceiling(g, limit, "memory.current", "inactive_file", out);
        char text[64];
        if (read_in(g, "cpu.max", text, sizeof(text)) > 0 && text[0] != 'm') {
            char *rest = NULL;
            uint64_t quota = strtoull(text, &rest, 10);
            apply_quota(quota, strtoull(rest, NULL, 10), out);
        }
    } while (go_up(g));
}

void sys_cgroup_read(const char *membership, const char *mounts, struct sys_cgroup_limits *out) {
    *out = (struct sys_cgroup_limits){.memory_bytes = UINT64_MAX, .left_bytes = UINT64_MAX, .cpus = UINT32_MAX};
    struct group g;
    if (find_group(membership, mounts, "memory", &g)) {
        walk_memory_v1(&g, out);
    }
    if (find_group(membership, mounts, "cpu", &g)) {
        walk_cpu_v1(&g, out);
    }
    if (find_group(membership, mounts, NULL, &g)) {
        walk_v2(&g, out);
    }
}

void sys_cgroup_of_self(struct sys_cgroup_limits *out) {
    char membership[LINE_LEN];
    char *mounts = malloc(TEXT_LEN); /* a machine with many containers has many mounts; ours come early */
    (void)sys_slurp("/proc/self/cgroup", membership, sizeof(membership));
    if (mounts != NULL) {
        (void)sys_slurp("/proc/self/mountinfo", mounts, TEXT_LEN);
    }
    sys_cgroup_read(membership, mounts != NULL ? mounts : "", out);
    free(mounts);
}
