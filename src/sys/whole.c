/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole files in one call, and the lock file. Knows nothing of formats. The invariants: a durable write leaves the old
 * file or the new one, never a mixture; a lock counts only while the locked file is still the one under its name, because
 * a finished writer removes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "sys/file.h"
#include "sys/sys_priv.h"

static lamina_status too_large(const char *path, uint64_t size, uint64_t limit, struct lamina_error *err) {
    return base_fail(err, LAMINA_DAMAGED, "%s has %" PRIu64 " bytes, at most %" PRIu64 " are expected", path, size, limit);
}

/* Read to the end, not to the size: files of /proc claim to be empty, and a file may grow meanwhile. */
lamina_status sys_read_whole(const char *path, uint64_t limit, struct str *out, struct lamina_error *err) {
    struct sys_file f;
    LAMINA_TRY(sys_file_open_read(&f, path, SYS_OPEN_BUFFERED, err));
    lamina_status status = LAMINA_OK;
    if (f.size > limit) {
        status = too_large(path, f.size, limit, err);
        goto done;
    }
    uint64_t total = 0;
    for (;;) {
        size_t step = f.size > total ? (size_t)(f.size - total) + 1 : 4096;
        if (!str_reserve(out, out->len + step)) {
            status = base_fail(err, LAMINA_NO_FIT, "out of memory while reading %s", path);
            goto done;
        }
        ssize_t n = pread(f.fd, out->ptr + out->len, step, (off_t)total);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            status = base_fail_errno(err, errno, "cannot read %s", path);
            goto done;
        }
        if (n == 0) {
            break;
        }
        out->len += (size_t)n;
        total += (uint64_t)n;
        if (total > limit) {
            status = too_large(path, total, limit, err);
            goto done;
        }
    }
    out->ptr[out->len] = 0;
done:
    sys_file_close(&f);
    return status;
}

lamina_status sys_write_whole_durable(const char *path, struct span bytes, struct lamina_error *err) {
    char temp[SYS_PATH_LEN];
    if (!sys_temp_name(path, temp, sizeof(temp))) {
        return base_fail(err, LAMINA_USAGE, "the path %.200s... is too long", path);
    }
    struct sys_file f;
    LAMINA_TRY(sys_file_create(&f, temp, SYS_OPEN_BUFFERED, err));
    lamina_status status = sys_file_write_at(&f, temp, 0, bytes.ptr, bytes.len, err);
    if (status == LAMINA_OK) {
        status = sys_file_sync(&f, temp, err);
    }
    sys_file_close(&f);
    if (status == LAMINA_OK) {
        status = sys_rename_durable(temp, path, err);
    }
    if (status < 0) {
        (void)unlink(temp);
    }
    return status;
}

lamina_status sys_copy_durable(const char *from, const char *to, struct lamina_error *err) {
    enum { BUFFER = 1 << 20 };
    char temp[SYS_PATH_LEN];
    struct sys_file in = {.fd = -1};
    struct sys_file out = {.fd = -1};
    void *buffer = malloc(BUFFER);
    lamina_status status = buffer == NULL ? base_fail(err, LAMINA_NO_FIT, "no memory to copy %s", from) : LAMINA_OK;
    if (status == LAMINA_OK && !sys_temp_name(to, temp, sizeof(temp))) {
        status = base_fail(err, LAMINA_USAGE, "the path %.200s... is too long", to);
    }
    if (status == LAMINA_OK) {
        status = sys_file_open_read(&in, from, SYS_OPEN_BUFFERED, err);
    }
    if (status == LAMINA_OK) {
        status = sys_file_create(&out, temp, SYS_OPEN_BUFFERED, err);
    }
    const bool made = status == LAMINA_OK;
    for (uint64_t at = 0; status == LAMINA_OK && at < in.size; at += BUFFER) {
        const size_t n = in.size - at < BUFFER ? (size_t)(in.size - at) : BUFFER;
        status = sys_file_read_at(&in, from, at, buffer, n, err);
        if (status == LAMINA_OK) {
            status = sys_file_write_at(&out, temp, at, buffer, n, err);
        }
    }
    if (status == LAMINA_OK) {
        status = sys_file_sync(&out, temp, err);
    }
    sys_file_close(&in);
    sys_file_close(&out);
    if (status == LAMINA_OK) {
        status = sys_rename_durable(temp, to, err);
    }
    if (made && status < 0) {
        (void)unlink(temp);
    }
    free(buffer);
    return status;
}

lamina_status sys_load(const char *path, uint64_t limit, struct span *bytes, struct lamina_error *err) {
    *bytes = (struct span){0};
    struct sys_file f;
    LAMINA_TRY(sys_file_open_read(&f, path, SYS_OPEN_BUFFERED, err));
    lamina_status status = LAMINA_OK;
    void *memory = MAP_FAILED;
    size_t len = (size_t)f.size;
    if (f.size > limit || f.size > SIZE_MAX / 2) {
        status = too_large(path, f.size, limit, err);
        goto done;
    }
    if (len == 0) {
        goto done;
    }
    memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        status = base_fail_errno(err, errno, "no memory for the %zu bytes of %s", len, path);
        goto done;
    }
    status = sys_file_read_at(&f, path, 0, memory, len, err);
    if (status < 0) {
        (void)munmap(memory, len);
        goto done;
    }
    *bytes = span_of(memory, len);
    sys_file_drop_cache(&f, 0, f.size); /* two copies would count twice against the budget */
done:
    sys_file_close(&f);
    return status;
}

void sys_unload(struct span *bytes) {
    if (bytes->ptr != NULL) {
        (void)munmap((void *)(uintptr_t)bytes->ptr, bytes->len);
    }
    *bytes = (struct span){0};
}

static lamina_status name_holder(int fd, const char *path, struct lamina_error *err) {
    char text[32] = {0};
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    if (pid > 0) {
        return base_fail(err, LAMINA_BUSY, "%s is locked by process %ld; wait for it to end and try again", path, pid);
    }
    return base_fail(err, LAMINA_BUSY, "%s is locked by another process; wait for it to end and try again", path);
}

static bool still_named(int fd, const char *path) {
    struct stat a;
    struct stat b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static lamina_status lock_descriptor(int fd, const char *path, bool wait, struct lamina_error *err) {
    if (flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB) == 0) {
        return LAMINA_OK;
    }
    if (errno == EWOULDBLOCK) {
        return name_holder(fd, path, err);
    }
    if (errno == EINTR) {
        return base_fail(err, LAMINA_INTERRUPTED, "interrupted while waiting for the lock %s", path);
    }
    return base_fail_errno(err, errno, "cannot lock %s (does the file system support flock?)", path);
}

lamina_status sys_lock_take(struct sys_lock *lock, const char *path, bool wait, struct lamina_error *err) {
    lock->fd = -1;
    for (;;) {
        int fd = sys_open_fd(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0) {
            return base_fail_errno(err, errno, "cannot open the lock file %s", path);
        }
        lamina_status status = lock_descriptor(fd, path, wait, err);
        if (status < 0) {
            (void)close(fd);
            return status;
        }
        if (still_named(fd, path)) {
            lock->fd = fd;
            break;
        }
        (void)close(fd); /* the previous holder removed the file while we waited: take the new one */
    }
    /* The pid is a courtesy for the message of others; the lock holds without it, so a full disk is no failure here. */
    char text[32];
    int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    bool written = ftruncate(lock->fd, 0) == 0 && pwrite(lock->fd, text, (size_t)n, 0) == n;
    (void)written;
    return LAMINA_OK;
}

void sys_lock_drop(struct sys_lock *lock) {
    if (lock->fd >= 0) {
        (void)close(lock->fd);
    }
    lock->fd = -1;
}
