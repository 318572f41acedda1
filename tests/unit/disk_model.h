/* SPDX-License-Identifier: Apache-2.0
 * What a drive may hold after the power fails: replays the calls that sys_calls.h recorded and builds, after any of
 * them, directories as a file system would be allowed to leave them.
 *
 *     bytes    of a file are safe from the fsync of that file on; of later ones any 512 may be there, old, or zero
 *     names    are safe from the fsync of their directory on; any later change of a name may be there or not, in any
 *              order, except that a rename is one change
 *     a failed fsync has lost its pages: they count as written, and no later fsync brings them (what Linux does)
 *
 * That is more than ext4, xfs or btrfs would do. Files that were there before the first call are hard links into a pool
 * beside the directory, so that they keep inode and time. One directory level below the root's directories is enough. */
#ifndef DISK_MODEL_H
#define DISK_MODEL_H

#include <dirent.h>

#include "base/hash.h"
#include "base/str.h"
#include "sys_calls.h"

enum { DISK_PAGE = 4096, DISK_SECTOR = 512, DISK_NODES = 4096, DISK_CHANGES = 64, DISK_NAMES = 64 };

struct disk_name {
    char name[64];
    int node; /* -1: not there */
};
struct disk_change { /* of one or two names of a directory, at once */
    struct disk_name name[2];
    unsigned names;
};
struct disk_node {
    bool is_dir, is_link;    /* is_link: an old file; `pool` says where it lies */
    char pool[1200];
    struct str now, safe;    /* a file's bytes, as seen and as on the drive */
    uint8_t *dirty;          /* per page of `now` */
    size_t dirty_room;
    struct disk_name seen[DISK_NAMES], kept[DISK_NAMES]; /* a directory's names, as seen and as on the drive */
    unsigned seen_count, kept_count;
    struct disk_change change[DISK_CHANGES];
    unsigned change_count;
};
struct disk {
    int count;
    struct disk_node *node[DISK_NODES];
    int fd[CALLS_FDS]; /* the node an open file is, or -1 */
};

enum disk_bytes { BYTES_LOST, BYTES_KEPT, BYTES_ZERO, BYTES_TORN };
enum disk_names { NAMES_LOST, NAMES_KEPT, NAMES_REMOVED /* removals kept, the rest lost */, NAMES_MIXED };
struct disk_cut {
    enum disk_bytes bytes;
    enum disk_names names;
    uint64_t random; /* state of the generator for TORN and MIXED */
};

static inline uint64_t disk_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

static inline void *disk_room(size_t count, size_t size) {
    void *p = calloc(count, size);
    if (p == NULL) {
        abort();
    }
    return p;
}

static inline int disk_add(struct disk *d, bool is_dir) {
    if (d->count == DISK_NODES) {
        abort();
    }
    d->node[d->count] = disk_room(1, sizeof(struct disk_node));
    d->node[d->count]->is_dir = is_dir;
    return d->count++;
}

static inline void disk_drop(struct disk *d) {
    for (int i = 0; i < d->count; i++) {
        str_drop(&d->node[i]->now);
        str_drop(&d->node[i]->safe);
        free(d->node[i]->dirty);
        free(d->node[i]);
    }
    d->count = 0;
}

/* ---- names ---- */

static inline struct disk_name *disk_find(struct disk_name *list, unsigned count, const char *name) {
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(list[i].name, name) == 0) {
            return &list[i];
        }
    }
    return NULL;
}

static inline void disk_set(struct disk_name *list, unsigned *count, const char *name, int node) {
    struct disk_name *n = disk_find(list, *count, name);
    if (n == NULL) {
        if (*count == DISK_NAMES || strlen(name) >= sizeof(n->name)) {
            abort();
        }
        n = &list[(*count)++];
        calls_name_to(n->name, sizeof(n->name), "%s", name);
    }
    n->node = node;
    if (node < 0) {
        *n = list[--*count];
    }
}

/* The directory of a path, and the last part of it. */
static inline struct disk_node *disk_parent(struct disk *d, const char *path, const char **last) {
    struct disk_node *dir = d->node[0];
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(path, '/')) {
        char part[64];
        calls_name_to(part, sizeof(part), "%.*s", (int)(slash - path), path);
        struct disk_name *n = disk_find(dir->seen, dir->seen_count, part);
        if (n == NULL) {
            abort();
        }
        dir = d->node[n->node];
        path = slash + 1;
    }
    *last = path;
    return dir;
}

static inline int disk_lookup(struct disk *d, const char *path) {
    const char *last = NULL;
    if (path[0] == 0) {
        return 0;
    }
    struct disk_node *dir = disk_parent(d, path, &last);
    struct disk_name *n = disk_find(dir->seen, dir->seen_count, last);
    return n != NULL ? n->node : -1;
}

static inline struct disk_change *disk_changes(struct disk *d, const char *path, int node) {
    const char *last = NULL;
    struct disk_node *dir = disk_parent(d, path, &last);
    if (dir->change_count == DISK_CHANGES) {
        abort();
    }
    struct disk_change *c = &dir->change[dir->change_count++];
    c->names = 1;
    c->name[0].node = node;
    calls_name_to(c->name[0].name, sizeof(c->name[0].name), "%s", last);
    disk_set(dir->seen, &dir->seen_count, last, node);
    return c;
}

static inline void disk_apply_change(struct disk_name *list, unsigned *count, const struct disk_change *c) {
    for (unsigned i = 0; i < c->names; i++) {
        if (c->name[i].node >= 0 || disk_find(list, *count, c->name[i].name) != NULL) {
            disk_set(list, count, c->name[i].name, c->name[i].node);
        }
    }
}

/* ---- bytes ---- */

static inline void disk_resize(struct disk_node *n, size_t len) {
    size_t pages = len / DISK_PAGE + 1;
    if (pages > n->dirty_room) {
        uint8_t *wider = disk_room(pages * 2, 1);
        if (n->dirty != NULL) {
            memcpy(wider, n->dirty, n->dirty_room);
        }
        free(n->dirty);
        n->dirty = wider;
        n->dirty_room = pages * 2;
    }
    if (!str_reserve(&n->now, len + 1)) {
        abort();
    }
    if (len > n->now.len) {
        memset(n->now.ptr + n->now.len, 0, len - n->now.len);
    }
    n->now.len = len;
}

static inline void disk_write(struct disk_node *n, const struct call *c) {
    size_t end = (size_t)(c->at + c->len);
    disk_resize(n, end > n->now.len ? end : n->now.len);
    memcpy(n->now.ptr + c->at, c->bytes, (size_t)c->len);
    for (size_t p = (size_t)c->at / DISK_PAGE; p * DISK_PAGE < end; p++) {
        n->dirty[p] = 1;
    }
}

static inline void disk_sync(struct disk_node *n, bool failed) {
    if (n->is_dir) {
        for (unsigned i = 0; !failed && i < n->change_count; i++) {
            disk_apply_change(n->kept, &n->kept_count, &n->change[i]);
        }
        n->change_count = failed ? n->change_count : 0;
        return;
    }
    if (!failed && !n->is_link) {
        size_t len = n->now.len;
        if (!str_reserve(&n->safe, len + 1)) {
            abort();
        }
        if (len > n->safe.len) {
            memset(n->safe.ptr + n->safe.len, 0, len - n->safe.len);
        }
        n->safe.len = len;
        for (size_t at = 0; at < len; at += DISK_PAGE) {
            size_t part = len - at < DISK_PAGE ? len - at : DISK_PAGE;
            if (n->dirty[at / DISK_PAGE] != 0) {
                memcpy(n->safe.ptr + at, n->now.ptr + at, part);
            }
        }
    }
    if (n->dirty != NULL) {
        memset(n->dirty, 0, n->dirty_room);
    }
}

/* ---- replay ---- */

static inline void disk_apply(struct disk *d, const struct call *c) {
    const char *last = NULL;
    if (c->failed && c->kind != CALL_SYNC) {
        return;
    }
    switch (c->kind) {
    case CALL_OPEN:
        if (c->made) {
            (void)disk_changes(d, c->a, disk_add(d, false));
        }
        d->fd[c->fd] = disk_lookup(d, c->a);
        break;
    case CALL_WRITE:
        disk_write(d->node[d->fd[c->fd]], c);
        break;
    case CALL_TRUNCATE:
        disk_resize(d->node[d->fd[c->fd]], (size_t)c->at);
        break;
    case CALL_SYNC:
        disk_sync(d->node[d->fd[c->fd]], c->failed);
        break;
    case CALL_RENAME: {
        int node = disk_lookup(d, c->a);
        struct disk_node *dir = disk_parent(d, c->a, &last);
        struct disk_change *change = disk_changes(d, c->b, node);
        change->names = 2;
        change->name[1].node = -1;
        calls_name_to(change->name[1].name, sizeof(change->name[1].name), "%s", last);
        disk_set(dir->seen, &dir->seen_count, last, -1);
        break;
    }
    case CALL_LINK:
        (void)disk_changes(d, c->b, disk_lookup(d, c->a));
        break;
    case CALL_MKDIR:
        (void)disk_changes(d, c->a, disk_add(d, true));
        break;
    case CALL_UNLINK:
    case CALL_RMDIR:
        (void)disk_changes(d, c->a, -1);
        break;
    default:
        break;
    }
}

/* ---- the state before the first call ---- */

static inline void disk_scan(struct disk *d, struct disk_node *dir, const char *path) {
    DIR *list = opendir(path);
    for (const struct dirent *e = list != NULL ? readdir(list) : NULL; e != NULL; e = readdir(list)) {
        char full[1200];
        struct stat st;
        calls_name_to(full, sizeof(full), "%s/%s", path, e->d_name);
        if (e->d_name[0] == '.' || stat(full, &st) != 0) {
            continue;
        }
        int node = disk_add(d, S_ISDIR(st.st_mode));
        disk_set(dir->seen, &dir->seen_count, e->d_name, node);
        disk_set(dir->kept, &dir->kept_count, e->d_name, node);
        d->node[node]->is_link = !S_ISDIR(st.st_mode);
        calls_name_to(d->node[node]->pool, sizeof(d->node[node]->pool), "%s", full);
        if (S_ISDIR(st.st_mode)) {
            disk_scan(d, d->node[node], full);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
}

/* `pool` holds, under the same names, what the watched directory holds before the first call. */
static inline void disk_init(struct disk *d, const char *pool) {
    d->count = 0;
    (void)disk_add(d, true);
    disk_scan(d, d->node[0], pool);
    for (int i = 0; i < CALLS_FDS; i++) {
        d->fd[i] = -1;
    }
}

/* ---- building what is left ---- */

static inline void disk_remove_tree(const char *path) {
    DIR *list = opendir(path);
    for (const struct dirent *e = list != NULL ? readdir(list) : NULL; e != NULL; e = readdir(list)) {
        char full[1400];
        calls_name_to(full, sizeof(full), "%s/%s", path, e->d_name);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(full) != 0) {
            disk_remove_tree(full);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    (void)rmdir(path);
}

/* The bytes of a file as `cut` leaves them. */
static inline void disk_left(const struct disk_node *n, struct disk_cut *cut, struct str *out) {
    str_clear(out);
    if (cut->bytes == BYTES_LOST || cut->bytes == BYTES_KEPT) {
        str_add_span(out, str_span(cut->bytes == BYTES_LOST ? &n->safe : &n->now));
        return;
    }
    size_t len = n->now.len;
    if (cut->bytes == BYTES_TORN && disk_random(&cut->random) % 2 == 0) {
        size_t low = n->safe.len < len ? n->safe.len : len;
        len = low + (size_t)(disk_random(&cut->random) % (len - low + 1));
    }
    for (size_t at = 0; at < len; at += DISK_SECTOR) {
        static const uint8_t zero[DISK_SECTOR];
        size_t part = len - at < DISK_SECTOR ? len - at : DISK_SECTOR;
        bool dirty = n->dirty[at / DISK_PAGE] != 0;
        bool arrived = dirty && cut->bytes == BYTES_TORN && disk_random(&cut->random) % 2 == 0;
        size_t old = n->safe.len > at ? n->safe.len - at : 0;
        old = old < part ? old : part;
        if (arrived) {
            str_add(out, n->now.ptr + at, part);
        } else {
            str_add(out, n->safe.ptr + at, old);
            str_add(out, zero, part - old);
        }
    }
}

/* `print`: of all names and bytes built. */
static inline void disk_build(struct disk *d, int node, const char *path, struct disk_cut *cut, struct hash_stream *print) {
    const struct disk_node *n = d->node[node];
    struct disk_name names[DISK_NAMES];
    unsigned count = n->kept_count;
    hash_stream_add(print, path, strlen(path) + 1);
    if (n->is_link) {
        if (linkat(AT_FDCWD, n->pool, AT_FDCWD, path, 0) != 0) {
            abort();
        }
        return;
    }
    if (!n->is_dir) {
        struct str left = {0};
        disk_left(n, cut, &left);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
        if (left.failed || fd < 0 || write(fd, left.ptr, left.len) != (ssize_t)left.len) {
            abort();
        }
        (void)close(fd);
        hash_stream_add(print, left.ptr, left.len);
        str_drop(&left);
        return;
    }
    (void)mkdir(path, 0755);
    memcpy(names, n->kept, sizeof(names));
    for (unsigned i = 0; i < n->change_count; i++) {
        bool removes = n->change[i].names == 1 && n->change[i].name[0].node < 0;
        if (cut->names == NAMES_KEPT || (cut->names == NAMES_REMOVED && removes) ||
            (cut->names == NAMES_MIXED && disk_random(&cut->random) % 2 == 0)) {
            disk_apply_change(names, &count, &n->change[i]);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        char full[1300];
        calls_name_to(full, sizeof(full), "%s/%s", path, names[i].name);
        disk_build(d, names[i].node, full, cut, print);
    }
}

/* Replaces the directory `path` by what the drive holds. Equal values: equal directories, made in the same order. */
static inline uint64_t disk_restore(struct disk *d, const char *path, struct disk_cut cut) {
    struct hash_stream *print = hash_stream_open();
    if (print == NULL) {
        abort();
    }
    disk_remove_tree(path);
    disk_build(d, 0, path, &cut, print);
    uint64_t value = hash_stream_value(print).low;
    hash_stream_close(&print);
    return value;
}

#endif
