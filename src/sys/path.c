/* SPDX-License-Identifier: Apache-2.0
 *
 * Names: renaming, linking, removing, directories, facts about a path. The invariant behind every "_durable": the content
 * was synced before, the name changes in one step, and the directory is synced after it, so a power cut leaves either the
 * old name or the new one, never a name without its bytes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "sys/file.h"
#include "sys/sys_priv.h"
#include "sys/thread.h"

static const char temp_mark[] = ".tmp-";

bool sys_dir_of(const char *path, char *out, size_t len) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return (size_t)snprintf(out, len, ".") < len;
    }
    size_t n = slash == path ? 1 : (size_t)(slash - path);
    return (size_t)snprintf(out, len, "%.*s", (int)n, path) < len;
}

bool sys_temp_name(const char *path, char *out, size_t len) {
    int n = snprintf(out, len, "%s%s%ld-%" PRIx64, path, temp_mark, (long)getpid(), sys_now_ns());
    return n > 0 && (size_t)n < len;
}

bool sys_is_temp_name(const char *name) {
    const char *mark = NULL;
    for (const char *p = strstr(name, temp_mark); p != NULL; p = strstr(p + 1, temp_mark)) {
        mark = p;
    }
    if (mark == NULL) {
        return false;
    }
    const char *rest = mark + sizeof(temp_mark) - 1;
    size_t digits = strspn(rest, "0123456789");
    size_t hex = rest[digits] == '-' ? strspn(rest + digits + 1, "0123456789abcdef") : 0;
    return digits > 0 && hex > 0 && rest[digits + 1 + hex] == 0;
}

lamina_status sys_dir_sync(const char *dir, struct lamina_error *err) {
    int fd = sys_open_fd(dir, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return base_fail_errno(err, errno, "cannot open the directory %s", dir);
    }
    lamina_status status = LAMINA_OK;
    /* EINVAL: a file system that has no notion of syncing a directory (some network and FUSE ones). */
    if (fsync(fd) != 0 && errno != EINVAL) {
        status = base_fail_errno(err, errno, "cannot make the directory %s durable", dir);
    }
    (void)close(fd);
    return status;
}

static lamina_status sync_parent(const char *path, struct lamina_error *err) {
    char dir[SYS_PATH_LEN];
    if (!sys_dir_of(path, dir, sizeof(dir))) {
        return base_fail(err, LAMINA_USAGE, "the path %.200s... is too long", path);
    }
    return sys_dir_sync(dir, err);
}

static bool same_parent(const char *a, const char *b) {
    const char *slash_a = strrchr(a, '/');
    const char *slash_b = strrchr(b, '/');
    size_t len_a = slash_a != NULL ? (size_t)(slash_a - a) + 1 : 0;
    size_t len_b = slash_b != NULL ? (size_t)(slash_b - b) + 1 : 0;
    return len_a == len_b && memcmp(a, b, len_a) == 0;
}

lamina_status sys_rename_durable(const char *from, const char *to, struct lamina_error *err) {
    if (rename(from, to) != 0) {
        return base_fail_errno(err, errno, "cannot rename %s to %s", from, to);
    }
    LAMINA_TRY(sync_parent(to, err));
    return same_parent(from, to) ? LAMINA_OK : sync_parent(from, err);
}

/* link() and symlink() never replace, so the name is made as a spare one and renamed. When both names are already the same
 * file, rename() does nothing and leaves the spare name behind, hence the unlink. */
static lamina_status name_durable(int (*make)(const char *from, const char *to), const char *from, const char *to,
                                  struct lamina_error *err) {
    char temp[SYS_PATH_LEN];
    if (!sys_temp_name(to, temp, sizeof(temp))) {
        return base_fail(err, LAMINA_USAGE, "the path %.200s... is too long", to);
    }
    if (make(from, temp) != 0) {
        const bool never = errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS;
        return never ? base_fail(err, LAMINA_UNSUPPORTED, "cannot link %s to %s: the file system has no links", to, from)
                     : base_fail_errno(err, errno, "cannot link %s to %s", to, from);
    }
    lamina_status status = LAMINA_OK;
    if (rename(temp, to) != 0) {
        status = base_fail_errno(err, errno, "cannot rename %s to %s", temp, to);
    }
    (void)unlink(temp);
    return status < 0 ? status : sync_parent(to, err);
}

lamina_status sys_link_durable(const char *from, const char *to, struct lamina_error *err) {
    return name_durable(link, from, to, err);
}

lamina_status sys_symlink_durable(const char *target, const char *path, struct lamina_error *err) {
    return name_durable(symlink, target, path, err);
}

bool sys_is_link(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

lamina_status sys_remove(const char *path, struct lamina_error *err) {
    if (unlink(path) != 0 && errno != ENOENT) {
        return base_fail_errno(err, errno, "cannot remove %s", path);
    }
    return LAMINA_OK;
}

lamina_status sys_remove_dir(const char *path, struct lamina_error *err) {
    if (rmdir(path) != 0 && errno != ENOENT) {
        return base_fail_errno(err, errno, "cannot remove the directory %s", path);
    }
    return LAMINA_OK;
}

/* A directory that is there already may be the work of a run that was stopped before it could sync the name. Only where a
 * name can be made, though: elsewhere it was none of ours, and syncing may be forbidden. */
static lamina_status sync_existing(const char *path, struct lamina_error *err) {
    char dir[SYS_PATH_LEN];
    if (!sys_dir_of(path, dir, sizeof(dir)) || access(dir, R_OK | W_OK) != 0) {
        return LAMINA_OK;
    }
    return sys_dir_sync(dir, err);
}

static lamina_status make_one_dir(const char *path, struct lamina_error *err) {
    if (mkdir(path, 0755) == 0) {
        return sync_parent(path, err);
    }
    int error = errno;
    struct stat st;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode)) {
            return sync_existing(path, err);
        }
        error = ENOTDIR;
    }
    return base_fail_errno(err, error, "cannot make the directory %s", path);
}

lamina_status sys_make_dirs(const char *path, struct lamina_error *err) {
    char part[SYS_PATH_LEN];
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    if (len == 0 || len >= sizeof(part)) {
        return base_fail(err, LAMINA_USAGE, "%s", len == 0 ? "a directory name is empty" : "a directory name is too long");
    }
    memcpy(part, path, len);
    part[len] = 0;
    for (size_t i = 1; i < len; i++) {
        if (part[i] == '/' && part[i - 1] != '/') {
            part[i] = 0;
            lamina_status status = make_one_dir(part, err);
            part[i] = '/';
            LAMINA_TRY(status);
        }
    }
    return make_one_dir(part, err);
}

lamina_status sys_stat(const char *path, struct sys_stat *out, struct lamina_error *err) {
    struct stat st;
    *out = (struct sys_stat){0};
    if (stat(path, &st) != 0) {
        return base_fail_errno(err, errno, "cannot look at %s", path);
    }
#if defined(__APPLE__)
    struct timespec mtime = st.st_mtimespec;
#else
    struct timespec mtime = st.st_mtim;
#endif
    *out = (struct sys_stat){
        .size = (uint64_t)st.st_size,
        .inode = (uint64_t)st.st_ino,
        .device = (uint64_t)st.st_dev,
        .allocated_bytes = (uint64_t)st.st_blocks * 512,
        .mtime_ns = (int64_t)mtime.tv_sec * 1000000000 + (int64_t)mtime.tv_nsec,
        .links = (uint32_t)st.st_nlink,
        .owner = (uint32_t)st.st_uid,
        .is_dir = S_ISDIR(st.st_mode),
        .is_regular = S_ISREG(st.st_mode),
        .writable_by_others = (st.st_mode & S_IWOTH) != 0,
    };
    return LAMINA_OK;
}

bool sys_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

lamina_status sys_real_path(const char *path, struct str *out, struct lamina_error *err) {
    char *real = realpath(path, NULL);
    if (real == NULL) {
        return base_fail_errno(err, errno, "cannot resolve %s", path);
    }
    str_add_text(out, real);
    free(real);
    return out->failed ? base_fail(err, LAMINA_NO_FIT, "out of memory while resolving %s", path) : LAMINA_OK;
}

lamina_status sys_disk_free(const char *path, uint64_t *bytes, struct lamina_error *err) {
    struct statvfs vfs;
    if (statvfs(path, &vfs) != 0) {
        return base_fail_errno(err, errno, "cannot ask for the free space at %s", path);
    }
    /* ramfs and some FUSE servers keep no account at all; that is not a full disk. */
    *bytes = vfs.f_blocks == 0 ? UINT64_MAX : (uint64_t)vfs.f_bavail * (uint64_t)vfs.f_frsize;
    return LAMINA_OK;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All names, each ended by a 0, and how many. */
static lamina_status collect_names(const char *dir, struct str *names, size_t *count, struct lamina_error *err) {
    DIR *d = opendir(dir);
    if (d == NULL) {
        return base_fail_errno(err, errno, "cannot list the directory %s", dir);
    }
    lamina_status status = LAMINA_OK;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (entry == NULL) {
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            str_add(names, entry->d_name, strlen(entry->d_name) + 1);
            (*count)++;
        }
    }
    if (errno != 0) {
        status = base_fail_errno(err, errno, "cannot list the directory %s", dir);
    } else if (names->failed) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory while listing %s", dir);
    }
    (void)closedir(d);
    return status;
}

lamina_status sys_list_dir(const char *dir, bool (*each)(void *user, const char *name), void *user,
                           struct lamina_error *err) {
    struct str names = {0};
    size_t count = 0;
    const char **order = NULL;
    lamina_status status = collect_names(dir, &names, &count, err);
    if (status < 0 || count == 0) {
        goto done;
    }
    order = calloc(count, sizeof(*order));
    if (order == NULL) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory while listing %s", dir);
        goto done;
    }
    const char *name = names.ptr;
    for (size_t i = 0; i < count; i++, name += strlen(name) + 1) {
        order[i] = name;
    }
    qsort(order, count, sizeof(*order), by_bytes);
    for (size_t i = 0; i < count && each(user, order[i]); i++) {
    }
done:
    free(order);
    str_drop(&names);
    return status;
}

struct tree_removal {
    const char *dir;
    lamina_status status;
    struct lamina_error *err;
};

static bool remove_below(void *user, const char *name) {
    struct tree_removal *r = user;
    char path[SYS_PATH_LEN];
    int n = snprintf(path, sizeof(path), "%s/%s", r->dir, name);
    r->status = n > 0 && (size_t)n < sizeof(path) ? sys_remove_tree(path, r->err)
                                                  : base_fail(r->err, LAMINA_USAGE, "the path of %s is too long", name);
    return r->status == LAMINA_OK;
}

lamina_status sys_remove_tree(const char *path, struct lamina_error *err) {
    struct stat st;
    if (lstat(path, &st) != 0) {
        return errno == ENOENT ? LAMINA_OK : base_fail_errno(err, errno, "cannot look at %s", path);
    }
    if (!S_ISDIR(st.st_mode)) {
        return sys_remove(path, err);
    }
    struct tree_removal r = {.dir = path, .status = LAMINA_OK, .err = err};
    LAMINA_TRY(sys_list_dir(path, remove_below, &r, err));
    LAMINA_TRY(r.status);
    return sys_remove_dir(path, err);
}

const char *sys_env(const char *name) {
    return getenv(name);
}
