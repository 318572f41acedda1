/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes the large model as a Hugging Face checkpoint: one safetensors file, or shards with an index. A shard is a
 * byte stream (header, then tensors) cut into chunks; every worker makes a chunk and writes it where it belongs,
 * past the page cache where the file system allows. Chunks depend on nothing but their offset, so files do not
 * depend on the threads. Every file has a temporary name until all are synced; config.json, which makes a directory
 * a checkpoint, comes last. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "app/tools/inflate_priv.h"
#include "base/checked.h"
#include "base/compiler.h"
#include "base/json.h"

enum { CHUNK = 4 << 20, PAGE = 4096, MOST_THREADS = 16, SPARE_BYTES = 1 << 20 };
#define PARTIAL ".partial"

/* Copied as they are where the source has them. */
static const char *const side_files[] = {
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "spiece.model",
    "ice_text.model",
    "tiktoken.model",
    "qwen.tiktoken",
    "o200k_base.tiktoken",
    "cl100k_base.tiktoken",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
};

struct shard {
    char name[64];
    uint32_t first, count; /* in `order` */
    struct str header;
    uint64_t bytes; /* of the file */
};

struct writing {
    struct inflate *inf;
    const struct inflate_write_options *o;
    uint32_t shard_count;
    struct shard *shards;
    uint32_t *order;  /* tensors in file order */
    uint64_t *begin;  /* of each of them, in its file's data */
    struct str index; /* empty with one shard */
    uint64_t total_bytes;
    uint64_t written_before; /* shards already complete */
    struct timespec start;
};

/* ---- layout ---- */

/* In a file, tensors of wider elements come first, so that all are aligned. */
static void order_shard(struct writing *w, const struct shard *s) {
    uint32_t at = s->first;
    uint64_t begin = 0;
    for (uint32_t bytes = 4; bytes >= 2; bytes -= 2) {
        for (uint32_t i = 0; i < s->count; i++) {
            const struct inflate_tensor *t = &w->inf->tensors[s->first + i];
            if (t->format->bytes == bytes) {
                w->order[at] = s->first + i;
                w->begin[at++] = begin;
                begin += t->bytes;
            }
        }
    }
}

static void write_header(struct writing *w, struct shard *s) {
    struct str *h = &s->header;
    uint64_t data = 0;
    str_add(h, "\0\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\"}", 8 + 31);
    for (uint32_t i = s->first; i < s->first + s->count; i++) {
        const struct inflate_tensor *t = &w->inf->tensors[w->order[i]];
        str_printf(h, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%llu", t->name, t->format->name,
                   (unsigned long long)t->rows);
        if (!t->vector) {
            str_printf(h, ",%llu", (unsigned long long)t->cols);
        }
        str_printf(h, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)w->begin[i],
                   (unsigned long long)(w->begin[i] + t->bytes));
        data += t->bytes;
    }
    str_add_byte(h, '}');
    while (h->len % 8 != 0 && !h->failed) {
        str_add_byte(h, ' ');
    }
    if (!h->failed) {
        store_le64(h->ptr, h->len - 8);
    }
    s->bytes = h->len + data;
}

static void write_index(struct writing *w) {
    str_printf(&w->index, "{\n  \"metadata\": {\"total_size\": %llu},\n  \"weight_map\": {",
               (unsigned long long)inflate_bytes(w->inf, 0));
    for (uint32_t s = 0; s < w->shard_count; s++) {
        for (uint32_t i = 0; i < w->shards[s].count; i++) {
            str_printf(&w->index, "%s\n    \"%s\": \"%s\"", s + i > 0 ? "," : "",
                       w->inf->tensors[w->shards[s].first + i].name, w->shards[s].name);
        }
    }
    str_add_text(&w->index, "\n  }\n}\n");
}

static lamina_status lay_out(struct writing *w, struct lamina_error *err) {
    uint32_t tensors = w->inf->tensor_count;
    w->order = (uint32_t *)calloc(tensors, sizeof(*w->order));
    w->begin = (uint64_t *)calloc(tensors, sizeof(*w->begin));
    w->shards = (struct shard *)calloc(tensors, sizeof(*w->shards)); /* a shard holds at least one */
    if (w->order == NULL || w->begin == NULL || w->shards == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the layout of the checkpoint");
    }
    uint64_t filled = 0;
    for (uint32_t i = 0; i < tensors; i++) {
        uint64_t bytes = w->inf->tensors[i].bytes;
        if (i == 0 || filled + bytes > w->o->shard_bytes) {
            w->shards[w->shard_count++] = (struct shard){.first = i};
            filled = 0;
        }
        w->shards[w->shard_count - 1].count++;
        filled += bytes;
    }
    bool failed = false;
    for (uint32_t i = 0; i < w->shard_count; i++) {
        struct shard *s = &w->shards[i];
        if (w->shard_count == 1) {
            (void)snprintf(s->name, sizeof(s->name), "model.safetensors");
        } else {
            (void)snprintf(s->name, sizeof(s->name), "model-%05u-of-%05u.safetensors", i + 1, w->shard_count);
        }
        order_shard(w, s);
        write_header(w, s);
        failed |= s->header.failed;
        w->total_bytes += s->bytes;
    }
    if (w->shard_count > 1) {
        write_index(w);
    }
    return failed || w->index.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory for the checkpoint's headers")
                                     : LAMINA_OK;
}

static void drop_layout(struct writing *w) {
    for (uint32_t i = 0; w->shards != NULL && i < w->shard_count; i++) {
        str_drop(&w->shards[i].header);
    }
    str_drop(&w->index);
    free(w->shards);
    free(w->order);
    free(w->begin);
}

/* ---- one shard ---- */

struct shard_job {
    struct writing *w;
    const struct shard *shard;
    int fd;
    bool direct;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t moved;
    uint64_t next, done; /* bytes handed out, bytes written */
    uint32_t working;
    bool stop;
    struct lamina_error err;
};

/* Bytes [offset, offset + len) of the shard's file. */
static lamina_status make_bytes(const struct shard_job *j, uint64_t offset, uint8_t *dst, uint64_t len,
                                struct lamina_error *err) {
    const struct shard *s = j->shard;
    if (offset < s->header.len) {
        uint64_t now = min_u64(len, s->header.len - offset);
        memcpy(dst, s->header.ptr + offset, (size_t)now);
        offset += now;
        dst += now;
        len -= now;
    }
    for (uint32_t i = s->first; i < s->first + s->count && len > 0; i++) {
        uint64_t begin = s->header.len + j->w->begin[i];
        uint64_t end = begin + j->w->inf->tensors[j->w->order[i]].bytes;
        if (offset >= begin && offset < end) {
            uint64_t now = min_u64(len, end - offset);
            LAMINA_TRY(inflate_fill(j->w->inf, j->w->order[i], offset - begin, dst, (size_t)now, err));
            offset += now;
            dst += now;
            len -= now;
        }
    }
    return LAMINA_OK;
}

static lamina_status put(const struct shard_job *j, uint64_t offset, const uint8_t *bytes, uint64_t len,
                         struct lamina_error *err) {
    uint64_t done = 0;
    while (done < len) {
        ssize_t n = pwrite(j->fd, bytes + done, (size_t)(len - done), (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return base_fail_errno(err, n == 0 ? ENOSPC : errno, "%s: writing at %llu", j->shard->name,
                                   (unsigned long long)(offset + done));
        }
        done += (uint64_t)n;
    }
#ifdef SYNC_FILE_RANGE_WRITE
    if (!j->direct) { /* keep dirty pages few, so that the cap on memory holds for the page cache as well */
        (void)sync_file_range(j->fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
        if (offset >= 8 * (uint64_t)CHUNK) {
            off_t old = (off_t)(offset - 8 * (uint64_t)CHUNK);
            (void)sync_file_range(j->fd, old, CHUNK,
                                  SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
            (void)posix_fadvise(j->fd, old, CHUNK, POSIX_FADV_DONTNEED);
        }
    }
#endif
    return LAMINA_OK;
}

static void *work(void *arg) {
    struct shard_job *j = (struct shard_job *)arg;
    struct lamina_error err = {0};
    void *memory = NULL;
    lamina_status status = posix_memalign(&memory, PAGE, CHUNK) == 0
                               ? LAMINA_OK
                               : base_fail(&err, LAMINA_NO_FIT, "out of memory for a write buffer");
    uint8_t *buffer = (uint8_t *)memory;
    (void)pthread_mutex_lock(&j->lock);
    while (status == LAMINA_OK && !j->stop && j->next < j->shard->bytes) {
        uint64_t offset = j->next;
        uint64_t len = min_u64(CHUNK, j->shard->bytes - offset);
        j->next += len;
        (void)pthread_mutex_unlock(&j->lock);
        status = make_bytes(j, offset, buffer, len, &err);
        uint64_t whole = j->direct ? round_up(len, PAGE) : len;
        if (status == LAMINA_OK) {
            memset(buffer + len, 0, (size_t)(whole - len));
            status = put(j, offset, buffer, whole, &err);
        }
        (void)pthread_mutex_lock(&j->lock);
        j->done += status == LAMINA_OK ? len : 0;
        (void)pthread_cond_signal(&j->moved);
    }
    if (status != LAMINA_OK && j->err.code == LAMINA_OK) {
        j->err = err;
    }
    j->stop |= status != LAMINA_OK;
    j->working--;
    (void)pthread_cond_signal(&j->moved);
    (void)pthread_mutex_unlock(&j->lock);
    free(memory);
    return NULL;
}

static uint64_t elapsed_ns(const struct timespec *start) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)((int64_t)(now.tv_sec - start->tv_sec) * 1000000000 + (now.tv_nsec - start->tv_nsec));
}

/* Called with the lock held: tells how far it is, and waits for news, at most a fifth of a second. */
static void report_and_wait(struct shard_job *j) {
    const struct lamina_callbacks *cb = j->w->o->callbacks;
    if (cb != NULL && cb->progress != NULL && !j->stop) {
        struct lamina_progress p = {.kind = LAMINA_PROGRESS_SPLIT,
                                    .done_bytes = j->w->written_before + j->done,
                                    .total_bytes = j->w->total_bytes,
                                    .elapsed_ns = elapsed_ns(&j->w->start),
                                    .what = j->shard->name};
        if (cb->progress(cb->user, &p)) {
            j->stop = true;
            (void)base_fail(&j->err, LAMINA_INTERRUPTED, "interrupted; nothing of the checkpoint is kept");
        }
    }
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 200000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(&j->moved, &j->lock, &until);
}

static uint32_t thread_count(const struct writing *w) {
    if (w->o->threads > 0) {
        return w->o->threads < MOST_THREADS ? w->o->threads : MOST_THREADS;
    }
    /* Two more than cores: some wait for the disk while others make bytes. */
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 3 : cores + 2 > MOST_THREADS ? MOST_THREADS : (uint32_t)cores + 2;
}

static lamina_status run_workers(struct shard_job *j, struct lamina_error *err) {
    pthread_t threads[MOST_THREADS];
    uint32_t wanted = thread_count(j->w);
    uint32_t started = 0;
    (void)pthread_mutex_lock(&j->lock);
    for (; started < wanted; started++) {
        if (pthread_create(&threads[started], NULL, work, j) != 0) {
            break;
        }
        j->working++;
    }
    while (j->working > 0) {
        report_and_wait(j);
    }
    (void)pthread_mutex_unlock(&j->lock);
    for (uint32_t i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    if (started == 0) {
        return base_fail(err, LAMINA_NO_FIT, "no thread could be started");
    }
    return j->err.code == LAMINA_OK ? LAMINA_OK : base_fail(err, j->err.code, "%s", j->err.message);
}

static int open_shard(const char *path, bool *direct) {
    int fd = -1;
#ifdef O_DIRECT
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_DIRECT, 0666);
#endif
    *direct = fd >= 0;
    return fd >= 0 ? fd : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
}

/* Some file systems accept O_DIRECT at open and refuse it at the first write. */
static void probe_direct(struct shard_job *j) {
#ifdef O_DIRECT
    void *page = NULL;
    if (!j->direct || posix_memalign(&page, PAGE, PAGE) != 0) {
        return;
    }
    memset(page, 0, PAGE);
    if (pwrite(j->fd, page, PAGE, 0) != PAGE) {
        int flags = fcntl(j->fd, F_GETFL);
        j->direct = fcntl(j->fd, F_SETFL, flags & ~O_DIRECT) != 0;
    }
    free(page);
#else
    (void)j;
#endif
}

static lamina_status write_shard(struct writing *w, const struct shard *s, const char *path, struct lamina_error *err) {
    struct shard_job j = {.w = w, .shard = s, .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};
    j.fd = open_shard(path, &j.direct);
    if (j.fd < 0) {
        return base_fail_errno(err, errno, "%s: cannot be made", path);
    }
    lamina_status status = LAMINA_OK;
#ifdef __linux__
    /* Blocks first: a full disk shows at once, and direct writes into allocated blocks need no common lock. */
    if (fallocate(j.fd, 0, 0, (off_t)s->bytes) != 0 && (errno == ENOSPC || errno == EDQUOT)) {
        status = base_fail_errno(err, errno, "%s: %llu bytes", path, (unsigned long long)s->bytes);
    }
#endif
    if (status == LAMINA_OK) {
        probe_direct(&j);
        status = run_workers(&j, err);
    }
    if (status == LAMINA_OK && (ftruncate(j.fd, (off_t)s->bytes) != 0 || fsync(j.fd) != 0)) {
        status = base_fail_errno(err, errno, "%s: syncing", path);
    }
    if (close(j.fd) != 0 && status == LAMINA_OK) {
        status = base_fail_errno(err, errno, "%s: closing", path);
    }
    (void)pthread_mutex_destroy(&j.lock);
    (void)pthread_cond_destroy(&j.moved);
    w->written_before += s->bytes;
    return status;
}

/* ---- the directory ---- */

static void path_of(struct str *out, const struct writing *w, const char *name, bool partial) {
    str_clear(out);
    str_printf(out, "%s/%s%s", w->o->directory, name, partial ? PARTIAL : "");
}

static lamina_status write_small(const struct writing *w, const char *name, struct span bytes,
                                 struct lamina_error *err) {
    struct str path = {0};
    path_of(&path, w, name, true);
    lamina_status status = LAMINA_OK;
    int fd = open(str_text(&path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    for (size_t done = 0; fd >= 0 && done < bytes.len;) {
        ssize_t n = write(fd, bytes.ptr + done, bytes.len - done);
        if (n < 0 && errno != EINTR) {
            status = base_fail_errno(err, errno, "%s: writing", str_text(&path));
            break;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    if (fd < 0 || (status == LAMINA_OK && fsync(fd) != 0)) {
        status = base_fail_errno(err, errno, "%s", str_text(&path));
    }
    if (fd >= 0 && close(fd) != 0 && status == LAMINA_OK) {
        status = base_fail_errno(err, errno, "%s: closing", str_text(&path));
    }
    str_drop(&path);
    return status;
}

static lamina_status copy_side_files(struct writing *w, struct lamina_error *err) {
    const struct lamina_source *source = w->inf->source;
    lamina_status status = LAMINA_OK;
    for (size_t i = 0; i < ARRAY_LEN(side_files) && status == LAMINA_OK; i++) {
        char *bytes = NULL;
        size_t len = 0;
        struct lamina_error why = {0};
        status = source->file(source->user, side_files[i], &bytes, &len, &why);
        if (status == LAMINA_NOT_FOUND) {
            status = LAMINA_OK;
            continue;
        }
        status = status == LAMINA_OK ? write_small(w, side_files[i], span_of(bytes, len), err)
                                     : base_fail(err, status, "%s", why.message);
        free(bytes);
    }
    if (status == LAMINA_OK && w->index.len > 0) {
        status = write_small(w, "model.safetensors.index.json", str_span(&w->index), err);
    }
    return status == LAMINA_OK ? write_small(w, "config.json", str_span(&w->inf->config_json), err) : status;
}

static bool ends_with_partial(const char *name) {
    return span_ends_with(span_of_text(name), PARTIAL);
}

/* What an earlier run left goes; anything else there is somebody's and stops us. */
static lamina_status clear_directory(const char *directory, struct lamina_error *err) {
    DIR *d = opendir(directory);
    if (d == NULL) {
        return base_fail_errno(err, errno, "%s: cannot be opened as a directory", directory);
    }
    lamina_status status = LAMINA_OK;
    struct dirent *e = NULL;
    while (status == LAMINA_OK && (e = readdir(d)) != NULL) {
        bool self = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
        if (!self && !ends_with_partial(e->d_name)) {
            status = base_fail(err, LAMINA_USAGE, "%s is not empty (it holds %s): choose a new directory", directory,
                               e->d_name);
        }
    }
    rewinddir(d);
    while (status == LAMINA_OK && (e = readdir(d)) != NULL) {
        if (ends_with_partial(e->d_name)) {
            (void)unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    (void)closedir(d);
    return status;
}

static lamina_status check_space(const struct writing *w, struct lamina_error *err) {
    struct statvfs v;
    if (statvfs(w->o->directory, &v) != 0) {
        return base_fail_errno(err, errno, "%s: free space", w->o->directory);
    }
    uint64_t free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    uint64_t needed = w->total_bytes + SPARE_BYTES + (uint64_t)w->shard_count * PAGE;
    if (needed > free_bytes) {
        return base_fail(err, LAMINA_NO_SPACE,
                         "%s: the checkpoint needs %llu bytes, %llu are free: choose another disk, a "
                         "smaller shape, or --store with --distinct-layers",
                         w->o->directory, (unsigned long long)needed, (unsigned long long)free_bytes);
    }
    return LAMINA_OK;
}

/* Gives every file its name, config.json at the end. Names are those of the partial files present. */
static lamina_status publish(const struct writing *w, struct lamina_error *err) {
    lamina_status status = LAMINA_OK;
    struct str from = {0};
    struct str to = {0};
    size_t names = w->shard_count + ARRAY_LEN(side_files) + 2;
    for (size_t i = 0; i < names && status == LAMINA_OK; i++) {
        size_t side = i - w->shard_count;
        const char *name = i < w->shard_count              ? w->shards[i].name
                           : side < ARRAY_LEN(side_files)  ? side_files[side]
                           : side == ARRAY_LEN(side_files) ? "model.safetensors.index.json"
                                                           : "config.json";
        path_of(&from, w, name, true);
        path_of(&to, w, name, false);
        bool optional = i >= w->shard_count && i + 1 < names;
        if (rename(str_text(&from), str_text(&to)) != 0 && !(optional && errno == ENOENT)) {
            status = base_fail_errno(err, errno, "%s: renaming", str_text(&from));
        }
    }
    int fd = open(w->o->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
    str_drop(&from);
    str_drop(&to);
    return status;
}

static lamina_status write_all(struct writing *w, struct lamina_error *err) {
    LAMINA_TRY(clear_directory(w->o->directory, err));
    LAMINA_TRY(check_space(w, err));
    lamina_status status = LAMINA_OK;
    struct str path = {0};
    for (uint32_t i = 0; i < w->shard_count && status == LAMINA_OK; i++) {
        path_of(&path, w, w->shards[i].name, true);
        status = path.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory")
                             : write_shard(w, &w->shards[i], str_text(&path), err);
    }
    str_drop(&path);
    if (status == LAMINA_OK) {
        status = copy_side_files(w, err);
    }
    if (status == LAMINA_OK) {
        status = publish(w, err);
    }
    if (status != LAMINA_OK) {
        (void)clear_directory(w->o->directory, NULL);
    }
    return status;
}

lamina_status inflate_write(struct inflate *inf, const struct inflate_write_options *o, struct lamina_error *err) {
    struct writing w = {.inf = inf, .o = o};
    (void)clock_gettime(CLOCK_MONOTONIC, &w.start);
    lamina_status status = lay_out(&w, err);
    bool made = false;
    if (status == LAMINA_OK) {
        made = mkdir(o->directory, 0777) == 0;
        if (!made && errno != EEXIST) {
            status = base_fail_errno(err, errno, "%s: cannot be made", o->directory);
        }
    }
    if (status == LAMINA_OK) {
        status = write_all(&w, err);
    }
    if (status != LAMINA_OK && made) {
        (void)rmdir(o->directory);
    }
    drop_layout(&w);
    return status;
}

lamina_status inflate_write_size(struct inflate *inf, const struct inflate_write_options *o, uint64_t *bytes,
                                 struct lamina_error *err) {
    struct writing w = {.inf = inf, .o = o};
    lamina_status status = lay_out(&w, err);
    if (status == LAMINA_OK) {
        *bytes = w.total_bytes;
    }
    drop_layout(&w);
    return status;
}
