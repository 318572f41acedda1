/* SPDX-License-Identifier: Apache-2.0
 * The calls by which this program changes files, standing before those of the C library: counted, recorded in their
 * order, and failed at will. Only names below `watch` count; everything else passes. Include it in one file of a
 * program. Nothing is really synced while a run is watched: what a drive would hold is the business of disk_model.h. */
#ifndef SYS_CALLS_H
#define SYS_CALLS_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum call_kind {
    CALL_OPEN,
    CALL_WRITE,
    CALL_SYNC,
    CALL_RENAME,
    CALL_LINK,
    CALL_UNLINK,
    CALL_MKDIR,
    CALL_RMDIR,
    CALL_TRUNCATE,
    CALL_RESERVE,
    CALL_CLOSE,
    CALL_KINDS
};

struct call {
    enum call_kind kind;
    bool failed;
    bool made; /* OPEN, MKDIR: the name is new */
    int fd;
    uint64_t at, len; /* WRITE; TRUNCATE: the new length in `at` */
    uint8_t *bytes;
    char a[160], b[160]; /* names below the watched directory */
};

enum { CALLS_FDS = 1024 };

static struct {
    pthread_mutex_t lock;
    char watch[1100]; /* "": nothing */
    bool fds[CALLS_FDS];
    uint32_t seen;    /* watched calls since calls_watch */
    uint32_t fail_at; /* this one fails, counted from 0; UINT32_MAX: none */
    int fail_errno;
    bool fail_on; /* and all that follow */
    struct call *list;
    uint32_t count, room;
} calls = {.lock = PTHREAD_MUTEX_INITIALIZER, .fail_at = UINT32_MAX};

static const char *const call_names[CALL_KINDS] = {"open",  "write", "fsync",     "rename",    "link", "unlink",
                                                   "mkdir", "rmdir", "ftruncate", "fallocate", "close"};

/* snprintf for names: too long a one ends the test. */
__attribute__((format(printf, 3, 4))) static inline void calls_name_to(char *out, size_t len, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out, len, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= len) {
        abort();
    }
}

static inline void calls_forget(void) {
    for (uint32_t i = 0; i < calls.count; i++) {
        free(calls.list[i].bytes);
    }
    calls.count = 0;
}

/* From here on; the list goes on where it was. */
static inline void calls_watch(const char *dir, uint32_t fail_at, int fail_errno, bool fail_on) {
    calls_name_to(calls.watch, sizeof(calls.watch), "%s", dir);
    calls.seen = 0;
    calls.fail_at = fail_at;
    calls.fail_errno = fail_errno;
    calls.fail_on = fail_on;
}

static inline void calls_pass(void) {
    calls.watch[0] = 0;
    calls.fail_at = UINT32_MAX;
    memset(calls.fds, 0, sizeof(calls.fds));
}

/* The name below the watched directory, "" itself; NULL elsewhere. */
static const char *calls_below(const char *path) {
    size_t n = strlen(calls.watch);
    if (n == 0 || strncmp(path, calls.watch, n) != 0 || (path[n] != '/' && path[n] != 0)) {
        return NULL;
    }
    return path[n] == '/' ? path + n + 1 : "";
}

/* Under the lock: the record of a call that is about to happen, failed already where it has to be. */
static struct call *calls_add(enum call_kind kind, int fd, const char *a, const char *b) {
    if (calls.count == calls.room) {
        calls.room = calls.room == 0 ? 256 : calls.room * 2;
        calls.list = realloc(calls.list, calls.room * sizeof(*calls.list));
        if (calls.list == NULL) {
            abort();
        }
    }
    struct call *c = &calls.list[calls.count++];
    *c = (struct call){.kind = kind, .fd = fd};
    calls_name_to(c->a, sizeof(c->a), "%s", a != NULL ? a : "");
    calls_name_to(c->b, sizeof(c->b), "%s", b != NULL ? b : "");
    c->failed = calls.seen == calls.fail_at || (calls.fail_on && calls.seen > calls.fail_at);
    calls.seen++;
    return c;
}

static bool calls_fd(int fd) {
    return fd >= 0 && fd < CALLS_FDS && calls.watch[0] != 0 && calls.fds[fd];
}

/* The end of a watched call: its result, which takes its record along. */
static long calls_end(struct call *c, long result) {
    int error = c->failed ? calls.fail_errno : errno;
    if (!c->failed && result < 0) {
        calls.count--; /* failed by itself: nothing happened */
        free(c->bytes);
    }
    result = c->failed ? -1 : result;
    (void)pthread_mutex_unlock(&calls.lock);
    errno = error;
    return result;
}

/* ---- in the place of the C library's ---- */

int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    unsigned mode = (flags & O_CREAT) != 0 ? va_arg(args, unsigned) : 0;
    va_end(args);
    (void)pthread_mutex_lock(&calls.lock);
    const char *name = calls_below(path);
    if (name == NULL) {
        (void)pthread_mutex_unlock(&calls.lock);
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    }
    struct call *c = calls_add(CALL_OPEN, -1, name, NULL);
    struct stat st;
    c->made = (flags & O_CREAT) != 0 && lstat(path, &st) != 0;
    if (!c->failed) {
        c->fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
        if (c->fd >= CALLS_FDS) {
            abort();
        }
        if (c->fd >= 0) {
            calls.fds[c->fd] = true;
        }
    }
    return (int)calls_end(c, c->fd);
}

int close(int fd) {
    (void)pthread_mutex_lock(&calls.lock);
    if (!calls_fd(fd)) {
        (void)pthread_mutex_unlock(&calls.lock);
        return (int)syscall(SYS_close, fd);
    }
    struct call *c = calls_add(CALL_CLOSE, fd, NULL, NULL);
    calls.fds[fd] = false;
    return (int)calls_end(c, syscall(SYS_close, fd)); /* a failed close has closed all the same */
}

static ssize_t calls_write(int fd, const void *bytes, size_t len, off_t at) {
    struct stat st;
    (void)pthread_mutex_lock(&calls.lock);
    if (!calls_fd(fd)) {
        (void)pthread_mutex_unlock(&calls.lock);
        return at < 0 ? syscall(SYS_write, fd, bytes, len) : syscall(SYS_pwrite64, fd, bytes, len, at);
    }
    struct call *c = calls_add(CALL_WRITE, fd, NULL, NULL);
    c->at = at >= 0 ? (uint64_t)at : fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0; /* only appending files use write */
    c->len = len;
    c->bytes = malloc(len + 1);
    if (c->bytes == NULL) {
        abort();
    }
    memcpy(c->bytes, bytes, len);
    long n = c->failed ? -1 : at < 0 ? syscall(SYS_write, fd, bytes, len) : syscall(SYS_pwrite64, fd, bytes, len, at);
    c->len = n >= 0 ? (uint64_t)n : 0;
    return calls_end(c, n);
}

ssize_t write(int fd, const void *bytes, size_t len) {
    return calls_write(fd, bytes, len, -1);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    return calls_write(fd, bytes, len, at);
}

int fsync(int fd) {
    (void)pthread_mutex_lock(&calls.lock);
    if (!calls_fd(fd)) {
        (void)pthread_mutex_unlock(&calls.lock);
        return (int)syscall(SYS_fsync, fd);
    }
    return (int)calls_end(calls_add(CALL_SYNC, fd, NULL, NULL), 0);
}

int ftruncate(int fd, off_t len) {
    (void)pthread_mutex_lock(&calls.lock);
    if (!calls_fd(fd)) {
        (void)pthread_mutex_unlock(&calls.lock);
        return (int)syscall(SYS_ftruncate, fd, len);
    }
    struct call *c = calls_add(CALL_TRUNCATE, fd, NULL, NULL);
    c->at = (uint64_t)len;
    return (int)calls_end(c, c->failed ? -1 : syscall(SYS_ftruncate, fd, len));
}

int fallocate(int fd, int mode, off_t at, off_t len) {
    (void)pthread_mutex_lock(&calls.lock);
    if (!calls_fd(fd)) {
        (void)pthread_mutex_unlock(&calls.lock);
        return (int)syscall(SYS_fallocate, fd, mode, at, len);
    }
    struct call *c = calls_add(CALL_RESERVE, fd, NULL, NULL);
    return (int)calls_end(c, c->failed ? -1 : syscall(SYS_fallocate, fd, mode, at, len));
}

/* Calls on names: one or two of them. */
static int calls_name(enum call_kind kind, long number, const char *a, const char *b, long mode) {
    (void)pthread_mutex_lock(&calls.lock);
    const char *one = calls_below(a);
    const char *two = b != NULL ? calls_below(b) : NULL;
    struct call *c = one != NULL ? calls_add(kind, -1, one, two) : NULL;
    struct stat st;
    long rc = -1;
    if (c != NULL && kind == CALL_MKDIR) {
        c->made = lstat(a, &st) != 0;
    }
    if (c == NULL || !c->failed) {
        switch (number) {
        case SYS_renameat2:
            rc = syscall(number, AT_FDCWD, a, AT_FDCWD, b, 0);
            break;
        case SYS_linkat:
            rc = syscall(number, AT_FDCWD, a, AT_FDCWD, b, 0);
            break;
        default:
            rc = syscall(number, AT_FDCWD, a, mode);
        }
    }
    if (c != NULL) {
        return (int)calls_end(c, rc);
    }
    (void)pthread_mutex_unlock(&calls.lock);
    return (int)rc;
}

int rename(const char *from, const char *to) {
    return calls_name(CALL_RENAME, SYS_renameat2, from, to, 0);
}

int link(const char *from, const char *to) {
    return calls_name(CALL_LINK, SYS_linkat, from, to, 0);
}

int unlink(const char *path) {
    return calls_name(CALL_UNLINK, SYS_unlinkat, path, NULL, 0);
}

int rmdir(const char *path) {
    return calls_name(CALL_RMDIR, SYS_unlinkat, path, NULL, AT_REMOVEDIR);
}

int mkdir(const char *path, mode_t mode) {
    return calls_name(CALL_MKDIR, SYS_mkdirat, path, NULL, (long)mode);
}

#endif
