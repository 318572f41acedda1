/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine on io_uring, the only file that knows liburing. Buffers of the registered region are pinned once, so a read
 * costs no page walk; reads elsewhere work too. Sources: io_uring_setup(2), io_uring_register(2), liburing 2.3. The
 * invariant: an entry is in `queued` until the kernel has taken it, and is reported by one completion, the kernel's or,
 * when the kernel will not take it, ours.
 */
#include "io/io_priv.h"

#if defined(LAMINA_HAVE_LIBURING)

#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/str.h"
#include "sys/mem.h"
#include "sys/thread.h"

/* The kernel takes at most 1 GiB per registered buffer. */
enum { BUFFER_BYTES = 1 << 30, IGNORED_SLOT = UINT16_MAX };

struct uring {
    struct io_uring ring;
    char *base; /* registered region; NULL: none */
    size_t len;
    uint32_t depth;
    uint32_t queued_count;
    struct {
        struct io_uring_sqe *sqe;
        uint32_t slot;
    } queued[IO_MOST_DEPTH];
    uint32_t failed_count;
    struct io_raw failed[IO_MOST_DEPTH];
    char name[160];
};

/* Newer flags spare the reader interruptions by its own completions; a kernel that lacks one answers EINVAL. SINGLE_ISSUER
 * and DEFER_TASKRUN are left out: they bind the ring to the thread that opened it, but a queue may be handed on. */
static int set_up_ring(struct io_uring *ring, uint32_t depth) {
    static const unsigned flags[] = {
        IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_CLAMP,
        0,
    };
    int rc = -EINVAL;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]) && rc == -EINVAL; i++) {
        struct io_uring_params params = {.flags = flags[i]};
        rc = io_uring_queue_init_params(depth, ring, &params);
        if (rc == 0 && ((params.features & IORING_FEAT_NODROP) == 0 || (params.features & IORING_FEAT_EXT_ARG) == 0)) {
            io_uring_queue_exit(ring);
            rc = -ENOSYS; /* before Linux 5.11: waiting with a time limit would need helper entries */
        }
    }
    return rc;
}

static lamina_status fail_setup(int error, struct lamina_error *err) {
    if (error == ENOSYS) {
        return base_fail(err, LAMINA_UNSUPPORTED, "this kernel has no io_uring, or one older than Linux 5.11");
    }
    if (error == EPERM || error == EACCES) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "io_uring is forbidden here (a container's seccomp profile, or kernel.io_uring_disabled)");
    }
    if (error == ENOMEM) {
        return base_fail(err, LAMINA_UNSUPPORTED, "the kernel has no memory for an io_uring (raise the memlock limit)");
    }
    return base_fail(err, LAMINA_UNSUPPORTED, "io_uring cannot be set up: %s", strerror(error));
}

/* One read of bytes known beforehand, through a ring of its own: setting up may be allowed and reading not. */
lamina_status io_uring_probe(struct lamina_error *err) {
    static const char text[] = "trial";
    char back[sizeof(text)] = {0};
    struct io_uring ring;
    int rc = set_up_ring(&ring, 4);
    if (rc < 0) {
        return fail_setup(-rc, err);
    }
    lamina_status status = LAMINA_OK;
    struct io_uring_cqe *cqe = NULL;
    int fd = memfd_create("lamina-trial", MFD_CLOEXEC);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (fd < 0 || sqe == NULL || write(fd, text, sizeof(text)) != (ssize_t)sizeof(text)) {
        status = base_fail(err, LAMINA_UNSUPPORTED, "no file for a trial read with io_uring could be made");
        goto done;
    }
    io_uring_prep_read(sqe, fd, back, sizeof(back), 0);
    do {
        rc = io_uring_submit_and_wait(&ring, 1);
    } while (rc == -EINTR || rc == -EAGAIN);
    rc = rc < 0 ? rc : io_uring_wait_cqe(&ring, &cqe);
    rc = rc < 0 ? rc : cqe->res;
    if (rc != (int)sizeof(text) || memcmp(text, back, sizeof(text)) != 0) {
        status = base_fail(err, LAMINA_UNSUPPORTED, "a trial read with io_uring failed: %s",
                           rc < 0 ? strerror(-rc) : "wrong bytes came back");
    }
done:
    if (fd >= 0) {
        (void)close(fd);
    }
    io_uring_queue_exit(&ring);
    return status;
}

/* Which registered buffer holds all of [dst, dst+len)? -1: none. */
static int buffer_of(const struct uring *u, const char *dst, uint32_t len) {
    if (u->base == NULL || dst < u->base || dst >= u->base + u->len) {
        return -1;
    }
    size_t at = (size_t)(dst - u->base);
    if (len > u->len - at || at / BUFFER_BYTES != (at + len - 1) / BUFFER_BYTES) {
        return -1;
    }
    return (int)(at / BUFFER_BYTES);
}

static void add_failed(struct uring *u, uint32_t slot, int error) {
    u->failed[u->failed_count++] = (struct io_raw){.slot = slot, .result = -error};
}

/* A fatal error of the submission itself. The entries stay in the ring, which cannot be taken back; made into no-ops they
 * do no harm when a later call does submit them. */
static void give_up_queued(struct uring *u, int error) {
    for (uint32_t i = 0; i < u->queued_count; i++) {
        io_uring_prep_nop(u->queued[i].sqe);
        u->queued[i].sqe->user_data = IGNORED_SLOT;
        add_failed(u, u->queued[i].slot, error);
    }
    u->queued_count = 0;
}

static void note_submitted(struct uring *u, uint32_t n) {
    n = n < u->queued_count ? n : u->queued_count;
    u->queued_count -= n;
    memmove(u->queued, u->queued + n, u->queued_count * sizeof(u->queued[0]));
}

static void uring_flush(void *self) {
    struct uring *u = self;
    int rc = 0;
    while (u->queued_count > 0 && rc >= 0) {
        rc = io_uring_submit(&u->ring);
        if (rc > 0) {
            note_submitted(u, (uint32_t)rc);
        } else if (rc == -EINTR) {
            rc = 0;
        } else if (rc == 0) {
            return; /* nothing taken: collect() comes back to it */
        } else if (rc != -EAGAIN && rc != -EBUSY && rc != -ENOMEM) {
            give_up_queued(u, -rc);
        }
    }
}

static void uring_start(void *self, const struct io_transfer *t) {
    struct uring *u = self;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe == NULL) {
        uring_flush(u);
        sqe = io_uring_get_sqe(&u->ring);
    }
    if (sqe == NULL) {
        add_failed(u, t->slot, EAGAIN);
        return;
    }
    int buffer = buffer_of(u, t->dst, t->len);
    if (buffer >= 0) {
        io_uring_prep_read_fixed(sqe, t->file->fd, t->dst, t->len, t->offset, buffer);
    } else {
        io_uring_prep_read(sqe, t->file->fd, t->dst, t->len, t->offset);
    }
    sqe->user_data = t->slot;
    u->queued[u->queued_count].sqe = sqe;
    u->queued[u->queued_count++].slot = t->slot;
}

static uint32_t pop_failed(struct uring *u, struct io_raw *out, uint32_t max) {
    uint32_t n = u->failed_count < max ? u->failed_count : max;
    memcpy(out, u->failed + (u->failed_count - n), n * sizeof(out[0]));
    u->failed_count -= n;
    return n;
}

static uint32_t pop_completed(struct uring *u, struct io_raw *out, uint32_t max) {
    uint32_t n = 0;
    struct io_uring_cqe *cqe = NULL;
    while (n < max && io_uring_peek_cqe(&u->ring, &cqe) == 0 && cqe != NULL) {
        if (cqe->user_data < u->depth) {
            out[n++] = (struct io_raw){.slot = (uint32_t)cqe->user_data, .result = cqe->res};
        }
        io_uring_cqe_seen(&u->ring, cqe);
    }
    return n;
}

static uint32_t uring_collect(void *self, struct io_raw *out, uint32_t max, uint64_t timeout_ns) {
    struct uring *u = self;
    uring_flush(u);
    uint32_t n = pop_failed(u, out, max);
    n += pop_completed(u, out + n, max - n);
    if (n > 0 || timeout_ns == 0) {
        return n;
    }
    /* What the kernel refuses for the moment (EAGAIN, EBUSY) is tried again at the latest after this pause. */
    uint64_t pause = u->queued_count > 0 ? min_u64(timeout_ns, 1000000) : timeout_ns;
    struct __kernel_timespec limit = {.tv_sec = (long long)(pause / 1000000000), .tv_nsec = (long long)(pause % 1000000000)};
    struct io_uring_cqe *cqe = NULL;
    int rc = io_uring_wait_cqes(&u->ring, &cqe, 1, pause == UINT64_MAX ? NULL : &limit, NULL);
    if (rc < 0 && rc != -ETIME && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY) {
        sys_sleep_ns(min_u64(pause, 1000000)); /* never spin on an error that does not go away */
    }
    return pop_completed(u, out, max);
}

static void uring_close(void *self) {
    struct uring *u = self;
    if (u->base != NULL) {
        (void)io_uring_unregister_buffers(&u->ring); /* now: the end of a ring unpins them some time later */
    }
    io_uring_queue_exit(&u->ring);
    free(u);
}

static const char *uring_name(const void *self) {
    const struct uring *u = self;
    return u->name;
}

static uint64_t uring_now(void *self) {
    (void)self;
    return sys_now_ns();
}

static int register_region(struct uring *u, const struct io_options *o) {
    uint64_t count = div_up(o->registered_len, BUFFER_BYTES);
    struct iovec *vectors = calloc(count, sizeof(*vectors));
    if (vectors == NULL) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < count; i++) {
        size_t at = (size_t)i * BUFFER_BYTES;
        vectors[i].iov_base = (char *)o->registered + at;
        vectors[i].iov_len = (size_t)min_u64(o->registered_len - at, BUFFER_BYTES);
    }
    int rc = io_uring_register_buffers(&u->ring, vectors, (unsigned)count);
    free(vectors);
    return rc;
}

/* Not being allowed to pin the region costs some processor time per read and nothing else, so it is said, not refused. */
static void take_region(struct uring *u, const struct io_options *o) {
    if (o->registered == NULL || o->registered_len == 0) {
        (void)snprintf(u->name, sizeof(u->name), "io_uring, no registered buffers");
        return;
    }
    int rc = register_region(u, o);
    if (rc == 0) {
        u->base = o->registered;
        u->len = o->registered_len;
        (void)snprintf(u->name, sizeof(u->name), "io_uring, registered buffers");
        return;
    }
    char size[32] = "";
    struct sys_mem_limits limits;
    sys_mem_limits(&limits);
    if ((rc == -ENOMEM || rc == -EPERM) && limits.memlock_bytes < o->registered_len) {
        (void)snprintf(u->name, sizeof(u->name), "io_uring, buffers not registered (memlock limit %s)",
                       format_bytes(size, limits.memlock_bytes));
    } else {
        (void)snprintf(u->name, sizeof(u->name), "io_uring, buffers not registered (%s)", strerror(-rc));
    }
    log_say(o->log, LOG_NOTE, "%s", u->name);
}

lamina_status io_uring_backend(struct io_backend *out, const struct io_options *o, struct lamina_error *err) {
    static const struct io_engine_ops ops = {
        .start = uring_start,
        .flush = uring_flush,
        .collect = uring_collect,
        .close = uring_close,
        .name = uring_name,
        .now = uring_now,
    };
    struct uring *u = calloc(1, sizeof(*u));
    if (u == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the read ring");
    }
    u->depth = o->depth;
    int rc = set_up_ring(&u->ring, o->depth);
    if (rc < 0) {
        free(u);
        return fail_setup(-rc, err);
    }
    take_region(u, o);
    *out = (struct io_backend){.ops = &ops, .self = u};
    return LAMINA_OK;
}

#else

lamina_status io_uring_probe(struct lamina_error *err) {
    return base_fail(err, LAMINA_UNSUPPORTED, "this program was built without liburing");
}

lamina_status io_uring_backend(struct io_backend *out, const struct io_options *o, struct lamina_error *err) {
    (void)o;
    *out = (struct io_backend){0};
    return io_uring_probe(err);
}

#endif
