/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening, reading and writing single files. Knows nothing of what is in them. The invariant: a call moves all bytes or
 * fails with a sentence that names the path and the offset; nobody above sees EINTR, a short transfer, or a file system
 * that accepts O_DIRECT when opening and refuses it when reading (FUSE does).
 */
#include "sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "sys/sys_priv.h"

/* One system call moves at most 0x7ffff000 bytes on Linux, and macOS refuses 2 GiB and more. */
enum { MOST_PER_CALL = 1 << 30 };
/* Direct transfers that stop at an odd byte are repeated from the last aligned one; so often without any progress. */
enum { MOST_STALLS = 8 };
enum { DEFAULT_DIRECT_ALIGNMENT = 4096 };

int sys_open_fd(const char *path, int flags) {
    int fd = -1;
    do {
        fd = open(path, flags | O_CLOEXEC, 0644);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

#if defined(__APPLE__)

static int open_direct(const char *path, int flags) {
    int fd = sys_open_fd(path, flags);
    if (fd >= 0) {
        (void)fcntl(fd, F_NOCACHE, 1);
    }
    return fd;
}

bool sys_file_is_direct(const struct sys_file *f) {
    return f->direct; /* F_NOCACHE cannot be asked for, and no read fails because of it */
}

static uint32_t direct_alignment(int fd) {
    (void)fd;
    return DEFAULT_DIRECT_ALIGNMENT;
}

lamina_status sys_file_make_buffered(const struct sys_file *f, const char *path, struct lamina_error *err) {
    (void)path;
    (void)err;
    (void)fcntl(f->fd, F_NOCACHE, 0);
    return LAMINA_OK;
}

#else

static int open_direct(const char *path, int flags) {
    return sys_open_fd(path, flags | O_DIRECT);
}

bool sys_file_is_direct(const struct sys_file *f) {
    int flags = fcntl(f->fd, F_GETFL);
    return flags >= 0 && (flags & O_DIRECT) != 0;
}

/* What statx(2) says since Linux 6.1. The two fields stand at fixed offsets of a structure whose size never changes, so
 * C libraries whose headers are older than the kernel serve as well. 0: direct reads are impossible on this file. */
static uint32_t direct_alignment(int fd) {
    enum { DIOALIGN = 0x2000, MEM_ALIGN_AT = 0x98, OFFSET_ALIGN_AT = 0x9c };
    struct statx info;
    _Static_assert(sizeof(info) == 256, "struct statx is a kernel interface");
    memset(&info, 0, sizeof(info));
    if (statx(fd, "", AT_EMPTY_PATH, DIOALIGN, &info) != 0 || (info.stx_mask & DIOALIGN) == 0) {
        return DEFAULT_DIRECT_ALIGNMENT;
    }
    uint32_t memory = 0;
    uint32_t offset = 0;
    memcpy(&memory, (const char *)&info + MEM_ALIGN_AT, sizeof(memory));
    memcpy(&offset, (const char *)&info + OFFSET_ALIGN_AT, sizeof(offset));
    if (memory == 0 || offset == 0) {
        return 0;
    }
    return memory > offset ? memory : offset;
}

/* Another descriptor of the same file without O_DIRECT. Clearing the flag with fcntl would not do: a FUSE server may hold
 * the file open with the flags that it saw at open. */
static int reopen_buffered(const struct sys_file *f, const char *path, int mode) {
    char self[64];
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
    int fd = sys_open_fd(self, mode);
    if (fd >= 0) {
        return fd;
    }
    fd = sys_open_fd(path, mode);
    struct stat a;
    struct stat b;
    if (fd >= 0 && (fstat(fd, &a) != 0 || fstat(f->fd, &b) != 0 || a.st_ino != b.st_ino || a.st_dev != b.st_dev)) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

/* dup3 replaces the descriptor under its old number in one step, so other threads and requests in flight keep a valid one. */
lamina_status sys_file_make_buffered(const struct sys_file *f, const char *path, struct lamina_error *err) {
    int flags = fcntl(f->fd, F_GETFL);
    if (flags < 0) {
        return base_fail_errno(err, errno, "cannot read the flags of %s", path);
    }
    if ((flags & O_DIRECT) == 0) {
        return LAMINA_OK;
    }
    int fd = reopen_buffered(f, path, flags & (O_ACCMODE | O_APPEND));
    bool swapped = fd >= 0 && dup3(fd, f->fd, O_CLOEXEC) == f->fd;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (!swapped && fcntl(f->fd, F_SETFL, flags & ~O_DIRECT) != 0) {
        return base_fail_errno(err, errno, "cannot turn direct reads off for %s", path);
    }
    return LAMINA_OK;
}

#endif

/* Fills size, direct and alignment of an open descriptor. Regular files only: a pipe or a device in the place of a shard
 * would block or never end. */
static lamina_status describe(struct sys_file *f, const char *path, struct lamina_error *err) {
    struct stat st;
    if (fstat(f->fd, &st) != 0) {
        return base_fail_errno(err, errno, "cannot look at %s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s is %s, a regular file was expected", path,
                         S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
    }
    f->size = (uint64_t)st.st_size;
    f->alignment = f->direct ? direct_alignment(f->fd) : 1;
    if (f->alignment == 0) {
        f->direct = false;
        f->alignment = 1;
        return sys_file_make_buffered(f, path, err);
    }
    return LAMINA_OK;
}

/* O_NONBLOCK keeps open() from waiting for the other end of a pipe. It must not stay: io_uring answers reads of such a
 * descriptor with EAGAIN where it would otherwise wait. */
static void clear_nonblock(int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK) != 0) {
        (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    }
}

static lamina_status finish_open(struct sys_file *f, const char *path, struct lamina_error *err) {
    lamina_status status = describe(f, path, err);
    if (status < 0) {
        sys_file_close(f);
    }
    return status;
}

lamina_status sys_file_open_read(struct sys_file *f, const char *path, enum sys_open how, struct lamina_error *err) {
    *f = (struct sys_file){.fd = -1, .alignment = 1};
    if (how == SYS_OPEN_DIRECT) {
        f->fd = open_direct(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        f->direct = f->fd >= 0;
    }
    if (f->fd < 0) {
        f->fd = sys_open_fd(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    }
    if (f->fd < 0) {
        return base_fail_errno(err, errno, "cannot open %s", path);
    }
    clear_nonblock(f->fd);
    return finish_open(f, path, err);
}

/* The name is made by a buffered open first: where O_DIRECT is refused, open() has already created the file when it fails,
 * and a second O_EXCL would find it. */
lamina_status sys_file_create(struct sys_file *f, const char *path, enum sys_open how, struct lamina_error *err) {
    *f = (struct sys_file){.fd = sys_open_fd(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW), .alignment = 1};
    if (f->fd < 0) {
        return base_fail_errno(err, errno, "cannot create %s", path);
    }
    if (how == SYS_OPEN_DIRECT) {
        int fd = open_direct(path, O_RDWR | O_NOFOLLOW);
        if (fd >= 0) {
            (void)close(f->fd);
            f->fd = fd;
            f->direct = true;
        }
    }
    return finish_open(f, path, err);
}

lamina_status sys_file_create_private(struct sys_file *f, const char *path, struct lamina_error *err) {
    *f = (struct sys_file){.fd = -1, .alignment = 1};
    do {
        f->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    } while (f->fd < 0 && errno == EINTR);
    return f->fd < 0 ? base_fail_errno(err, errno, "cannot create %s", path) : finish_open(f, path, err);
}

lamina_status sys_file_open_update(struct sys_file *f, const char *path, struct lamina_error *err) {
    *f = (struct sys_file){.fd = sys_open_fd(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK), .alignment = 1};
    if (f->fd < 0) {
        return base_fail_errno(err, errno, "cannot open %s for writing", path);
    }
    clear_nonblock(f->fd);
    return finish_open(f, path, err);
}

lamina_status sys_file_open_append(struct sys_file *f, const char *path, struct lamina_error *err) {
    *f = (struct sys_file){.fd = sys_open_fd(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK), .alignment = 1};
    if (f->fd < 0) {
        return base_fail_errno(err, errno, "cannot open %s for appending", path);
    }
    clear_nonblock(f->fd);
    return finish_open(f, path, err);
}

void sys_file_close(struct sys_file *f) {
    if (f->fd >= 0) {
        (void)close(f->fd);
    }
    *f = (struct sys_file){.fd = -1};
}

struct piece {
    uint64_t offset;
    char *ptr;
    size_t len;
    size_t need; /* the first so many bytes must come; the rest may lie behind the end of the file */
};

static bool past_end(const struct sys_file *f, uint64_t at) {
    struct stat st;
    return fstat(f->fd, &st) == 0 && (uint64_t)st.st_size <= at;
}

static bool refuses_direct(const struct sys_file *f, int error) {
    return error == EINVAL && f->direct && sys_file_is_direct(f);
}

/* A direct read across the end of the file is short and not a multiple of the alignment; going on from there would be
 * refused. So progress is counted in whole units, and an odd count is looked into. */
static lamina_status read_piece(const struct sys_file *f, const char *path, struct piece p, struct lamina_error *err) {
    size_t done = 0;
    int stalls = 0;
    while (done < p.need) {
        size_t want = p.len - done < MOST_PER_CALL ? p.len - done : MOST_PER_CALL;
        ssize_t n = pread(f->fd, p.ptr + done, want, (off_t)(p.offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && refuses_direct(f, errno)) {
            LAMINA_TRY(sys_file_make_buffered(f, path, err));
            continue;
        }
        if (n < 0) {
            return base_fail_errno(err, errno, "cannot read %zu bytes at offset %" PRIu64 " of %s", want, p.offset + done,
                                   path);
        }
        size_t got = (size_t)n;
        uint64_t end = p.offset + done + got;
        if (done + got >= p.need) {
            break;
        }
        if (got == 0 || (got % f->alignment != 0 && past_end(f, end))) {
            return base_fail(err, LAMINA_DAMAGED, "%s ends at byte %" PRIu64 ", but %zu bytes at offset %" PRIu64
                             " are needed: the file is cut short", path, end, p.need, p.offset);
        }
        size_t whole = got - got % f->alignment;
        done += whole;
        stalls = whole == 0 ? stalls + 1 : 0;
        if (stalls > MOST_STALLS) {
            return base_fail(err, LAMINA_IO, "reading %s stands still at offset %" PRIu64, path, p.offset + done);
        }
    }
    return LAMINA_OK;
}

static lamina_status check_range(const char *path, uint64_t offset, size_t len, struct lamina_error *err) {
    uint64_t end = 0;
    if (checked_add(offset, len, &end) || end > INT64_MAX) {
        return base_fail(err, LAMINA_DAMAGED, "%zu bytes at offset %" PRIu64 " of %s lie beyond what a file can hold", len,
                         offset, path);
    }
    return LAMINA_OK;
}

lamina_status sys_file_read_at(const struct sys_file *f, const char *path, uint64_t offset, void *dst, size_t len,
                               struct lamina_error *err) {
    LAMINA_TRY(check_range(path, offset, len, err));
    return read_piece(f, path, (struct piece){.offset = offset, .ptr = dst, .len = len, .need = len}, err);
}

lamina_status sys_file_read_any(const struct sys_file *f, const char *path, uint64_t offset, void *dst, size_t len,
                                void *bounce, size_t bounce_len, struct lamina_error *err) {
    if (!f->direct) {
        return sys_file_read_at(f, path, offset, dst, len, err);
    }
    LAMINA_TRY(check_range(path, offset, len, err));
    size_t unit = f->alignment;
    if (bounce == NULL || bounce_len < unit || bounce_len % unit != 0 || (uintptr_t)bounce % unit != 0) {
        return base_fail(err, LAMINA_UNEXPECTED, "the buffer for direct reads of %s must be aligned to %zu bytes", path, unit);
    }
    char *to = dst;
    while (len > 0) {
        size_t skip = (size_t)(offset % unit);
        size_t n = len - len % unit;
        struct piece p = {.offset = offset, .ptr = to, .len = n, .need = n};
        bool straight = skip == 0 && n > 0 && (uintptr_t)to % unit == 0;
        if (!straight) {
            /* Where the destination lines up behind the odd head, only that first unit is copied. */
            bool lines_up = skip != 0 && (uintptr_t)to % unit == skip;
            size_t most = lines_up ? unit : bounce_len;
            n = most - skip < len ? most - skip : len;
            p = (struct piece){.offset = offset - skip, .ptr = bounce, .need = skip + n};
            p.len = (size_t)round_up(p.need, unit);
        }
        LAMINA_TRY(read_piece(f, path, p, err));
        if (!straight) {
            memcpy(to, (const char *)bounce + skip, n);
        }
        to += n;
        offset += n;
        len -= n;
    }
    return LAMINA_OK;
}

lamina_status sys_file_write_at(const struct sys_file *f, const char *path, uint64_t offset, const void *src, size_t len,
                                struct lamina_error *err) {
    LAMINA_TRY(check_range(path, offset, len, err));
    size_t done = 0;
    int stalls = 0;
    while (done < len) {
        size_t want = len - done < MOST_PER_CALL ? len - done : MOST_PER_CALL;
        ssize_t n = pwrite(f->fd, (const char *)src + done, want, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && refuses_direct(f, errno)) {
            LAMINA_TRY(sys_file_make_buffered(f, path, err));
            continue;
        }
        if (n < 0) {
            return base_fail_errno(err, errno, "cannot write %zu bytes at offset %" PRIu64 " of %s", want, offset + done,
                                   path);
        }
        /* A direct write cut at an odd byte (disk full) is repeated from the last whole unit. */
        size_t whole = done + (size_t)n >= len ? (size_t)n : (size_t)n - (size_t)n % f->alignment;
        done += whole;
        stalls = whole == 0 ? stalls + 1 : 0;
        if (stalls > MOST_STALLS) {
            return base_fail(err, LAMINA_IO, "writing %s stands still at offset %" PRIu64, path, offset + done);
        }
    }
    return LAMINA_OK;
}

lamina_status sys_file_append(const struct sys_file *f, const char *path, const void *src, size_t len,
                              struct lamina_error *err) {
    size_t done = 0;
    while (done < len) {
        ssize_t n = write(f->fd, (const char *)src + done, len - done < MOST_PER_CALL ? len - done : MOST_PER_CALL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return base_fail_errno(err, errno, "cannot append %zu bytes to %s", len - done, path);
        }
        done += (size_t)n;
    }
    return LAMINA_OK;
}

lamina_status sys_file_truncate(const struct sys_file *f, const char *path, uint64_t len, struct lamina_error *err) {
    LAMINA_TRY(check_range(path, len, 0, err));
    int rc = 0;
    do {
        rc = ftruncate(f->fd, (off_t)len);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 ? LAMINA_OK : base_fail_errno(err, errno, "cannot set the length of %s to %" PRIu64, path, len);
}

/* Reserving is a way to meet a full disk early. A file system that cannot do it is no error: the writes will tell. */
lamina_status sys_file_reserve(const struct sys_file *f, const char *path, uint64_t len, struct lamina_error *err) {
    LAMINA_TRY(check_range(path, len, 0, err));
    if (len == 0) {
        return LAMINA_OK;
    }
    int rc = 0;
    do {
#if defined(__APPLE__)
        fstore_t store = {.fst_flags = F_ALLOCATEALL, .fst_posmode = F_PEOFPOSMODE, .fst_length = (off_t)len};
        rc = fcntl(f->fd, F_PREALLOCATE, &store);
#else
        rc = fallocate(f->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)len);
#endif
    } while (rc != 0 && errno == EINTR);
    if (rc == 0 || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) {
        return LAMINA_OK;
    }
    return base_fail_errno(err, errno, "cannot reserve %" PRIu64 " bytes for %s", len, path);
}

lamina_status sys_file_punch(const struct sys_file *f, const char *path, uint64_t begin, uint64_t end, struct lamina_error *err) {
    int rc = 0;
    do {
#if defined(__APPLE__)
        fpunchhole_t hole = {.fp_offset = (off_t)begin, .fp_length = (off_t)(end - begin)};
        rc = fcntl(f->fd, F_PUNCHHOLE, &hole);
#else
        rc = fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)begin, (off_t)(end - begin));
#endif
    } while (rc != 0 && errno == EINTR);
    if (rc == 0) {
        return LAMINA_OK;
    }
    if (errno == EOPNOTSUPP || errno == ENOSYS) {
        return base_fail(err, LAMINA_UNSUPPORTED, "the file system of %s cannot free parts of a file", path);
    }
    return base_fail_errno(err, errno, "cannot free a part of %s", path);
}

/* Never repeated after a failure: the kernel reports a lost page once and then forgets it. */
lamina_status sys_file_sync(const struct sys_file *f, const char *path, struct lamina_error *err) {
#if defined(__APPLE__)
    int rc = fcntl(f->fd, F_FULLFSYNC);
    if (rc != 0) {
        rc = fsync(f->fd);
    }
#else
    int rc = fsync(f->fd);
#endif
    return rc == 0 ? LAMINA_OK : base_fail_errno(err, errno, "cannot make %s durable", path);
}

void sys_file_drop_cache(const struct sys_file *f, uint64_t offset, uint64_t len) {
#if defined(__linux__)
    if (offset <= INT64_MAX && len <= INT64_MAX) {
        (void)posix_fadvise(f->fd, (off_t)offset, (off_t)len, POSIX_FADV_DONTNEED);
    }
#else
    (void)f;
    (void)offset;
    (void)len;
#endif
}

size_t sys_slurp(const char *path, char *buf, size_t len) {
    size_t got = 0;
    int fd = sys_open_fd(path, O_RDONLY);
    while (fd >= 0 && got + 1 < len) {
        ssize_t n = read(fd, buf + got, len - 1 - got);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        got += (size_t)n;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    buf[got] = 0;
    return got;
}
