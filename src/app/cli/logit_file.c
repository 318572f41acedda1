/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference's logits on disk, between the run of the reference and that of the model: so the two are never in memory at
 * once. They are kept as they are, fp32: log-probabilities follow from them by the arithmetic that the model's own go through,
 * and a model compared with itself is exactly 0 apart.
 *
 *     header    struct header below, 128 bytes, little-endian
 *     ids       [chunks * tokens] u32, the chunks as they were fed
 *     rows      [chunks * scored] x { [vocab] f32, u64 XXH3-64 of them }, in the order of the text
 *
 * A file that is kept (--save) has the name FILE.part until it is whole. One that is not has no name at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "app/cli/logit_file.h"
#include "base/checked.h"
#include "base/hash.h"
#include "base/status.h"

enum { SYNC_BYTES = 64 << 20 }; /* the page cache may be charged to this process's group, so no more than this stays in it */

static const char MAGIC[16] = "lamina logits 1";

struct header {
    char magic[16];
    uint32_t vocab, tokens, chunks, scored;
    uint64_t text_low, text_high; /* XXH3-128 of the text */
    uint64_t ids_low, ids_high;   /* XXH3-128 of the ids */
    char zero[56];
    uint64_t check;               /* XXH3-64 of what stands above */
};
_Static_assert(sizeof(struct header) == 128, "the header is written as it lies in memory");

static uint64_t header_check(const struct header *h) {
    return hash_xxh3_64(h, offsetof(struct header, check));
}

static size_t ids_bytes(const struct cli_chunks *c) {
    return (size_t)c->count * c->tokens * sizeof(uint32_t);
}

static size_t row_bytes(const struct logit_file *f) {
    return (size_t)f->vocab * sizeof(float);
}

/* Of the whole file; true when that is no number. */
static bool file_bytes(uint32_t vocab, const struct cli_chunks *c, uint64_t *bytes) {
    uint64_t rows = 0;
    return checked_mul((uint64_t)c->count * c->scored, (uint64_t)vocab * sizeof(float) + sizeof(uint64_t), &rows) ||
           checked_add(rows, sizeof(struct header) + (uint64_t)c->count * c->tokens * sizeof(uint32_t), bytes);
}

/* ---- bytes ---- */

static lamina_status write_all(struct logit_file *f, const void *bytes, size_t len, struct lamina_error *err) {
    const char *at = (const char *)bytes;
    while (len > 0) {
        ssize_t n = write(f->fd, at, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return base_fail_errno(err, errno, "cannot write the reference's logits to %s", str_text(&f->name));
        }
        at += n;
        len -= (size_t)n;
        f->at += (uint64_t)n;
    }
    return LAMINA_OK;
}

static lamina_status read_all(struct logit_file *f, void *bytes, size_t len, struct lamina_error *err) {
    char *at = (char *)bytes;
    while (len > 0) {
        ssize_t n = pread(f->fd, at, len, (off_t)f->at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return base_fail_errno(err, errno, "cannot read %s", str_text(&f->name));
        }
        if (n == 0) {
            return base_fail(err, LAMINA_DAMAGED, "%s ends at byte %llu, too early", str_text(&f->name), (unsigned long long)f->at);
        }
        at += n;
        len -= (size_t)n;
        f->at += (uint64_t)n;
    }
    return LAMINA_OK;
}

/* Lets the page cache go of what is behind; written pages must be on disk first. */
static lamina_status let_go(struct logit_file *f, bool written, struct lamina_error *err) {
    if (f->at - f->let_go < SYNC_BYTES) {
        return LAMINA_OK;
    }
    if (written && fdatasync(f->fd) != 0) {
        return base_fail_errno(err, errno, "cannot write the reference's logits to %s", str_text(&f->name));
    }
    (void)posix_fadvise(f->fd, (off_t)f->let_go, (off_t)(f->at - f->let_go), POSIX_FADV_DONTNEED);
    f->let_go = f->at;
    return LAMINA_OK;
}

/* ---- writing ---- */

static lamina_status check_space(const char *dir, uint64_t need, struct lamina_error *err) {
    struct statvfs s;
    char a[32];
    char b[32];
    if (statvfs(dir, &s) != 0) {
        return base_fail_errno(err, errno, "cannot ask for the free space of %s", dir);
    }
    uint64_t space = (uint64_t)s.f_bavail * s.f_frsize;
    if (space < need) {
        return base_fail(err, LAMINA_NO_SPACE,
                         "the reference's logits take %s, %s has %s free; give --save FILE on another drive, or fewer --chunks",
                         format_bytes(a, need), dir, format_bytes(b, space));
    }
    return LAMINA_OK;
}

static lamina_status make_dirs(const char *path, struct lamina_error *err) {
    struct str part = {0};
    lamina_status status = LAMINA_OK;
    for (const char *at = path; status == LAMINA_OK && *at != '\0';) {
        at += 1 + strcspn(at + 1, "/");
        str_clear(&part);
        str_add(&part, path, (size_t)(at - path));
        if (mkdir(str_text(&part), 0777) != 0 && errno != EEXIST) {
            status = base_fail_errno(err, errno, "cannot make the directory %s", str_text(&part));
        }
    }
    str_drop(&part);
    return status;
}

/* A file under the home that has a name for a moment only. */
static lamina_status open_nameless(struct logit_file *f, const char *home, uint64_t need, struct lamina_error *err) {
    if (home == NULL) {
        return base_fail(err, LAMINA_USAGE, "there is no place for the reference's logits; give --home DIR or --save FILE");
    }
    str_printf(&f->name, "%s/tmp", home);
    LAMINA_TRY(make_dirs(str_text(&f->name), err));
    LAMINA_TRY(check_space(str_text(&f->name), need, err));
    str_add_text(&f->name, "/logits-XXXXXX");
    if (f->name.failed) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a file name");
    }
    f->fd = mkostemp(f->name.ptr, O_CLOEXEC);
    if (f->fd < 0 || unlink(str_text(&f->name)) != 0) {
        return base_fail_errno(err, errno, "cannot make a file for the reference's logits, %s", str_text(&f->name));
    }
    return LAMINA_OK;
}

static lamina_status open_kept(struct logit_file *f, const char *path, uint64_t need, struct lamina_error *err) {
    struct str dir = {0};
    const char *slash = strrchr(path, '/');
    str_add(&dir, path, slash != NULL ? (size_t)(slash - path) + 1 : 0);
    lamina_status status = check_space(dir.len > 0 ? str_text(&dir) : ".", need, err);
    str_drop(&dir);
    LAMINA_TRY(status);
    if (access(path, F_OK) == 0) {
        return base_fail(err, LAMINA_USAGE, "--save: %s is there already; use it with --reference, or remove it", path);
    }
    str_printf(&f->name, "%s.part", path);
    f->final = path;
    f->fd = open(str_text(&f->name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return f->fd >= 0 ? LAMINA_OK : base_fail_errno(err, errno, "cannot make %s", str_text(&f->name));
}

lamina_status logit_file_create(struct logit_file *f, const struct cli_options *o, const struct cli_chunks *c, uint32_t vocab,
                                struct hash128 text, struct lamina_error *err) {
    uint64_t need = 0;
    if (file_bytes(vocab, c, &need)) {
        return base_fail(err, LAMINA_USAGE, "the logits of %u chunks are more than any file holds; limit them with --chunks",
                         c->count);
    }
    f->vocab = vocab;
    LAMINA_TRY(o->save != NULL ? open_kept(f, o->save, need, err) : open_nameless(f, o->home, need, err));
    struct hash128 ids = hash_xxh3_128(c->ids, ids_bytes(c));
    struct header h = {.vocab = vocab, .tokens = c->tokens, .chunks = c->count, .scored = c->scored, .text_low = text.low,
                       .text_high = text.high, .ids_low = ids.low, .ids_high = ids.high};
    memcpy(h.magic, MAGIC, sizeof(MAGIC));
    h.check = header_check(&h);
    LAMINA_TRY(write_all(f, &h, sizeof(h), err));
    return write_all(f, c->ids, ids_bytes(c), err);
}

lamina_status logit_file_add(struct logit_file *f, const float *logits, struct lamina_error *err) {
    uint64_t check = hash_xxh3_64(logits, row_bytes(f));
    LAMINA_TRY(write_all(f, logits, row_bytes(f), err));
    LAMINA_TRY(write_all(f, &check, sizeof(check), err));
    return let_go(f, true, err);
}

lamina_status logit_file_finish(struct logit_file *f, const struct cli_chunks *c, struct lamina_error *err) {
    if (f->final != NULL) {
        if (fsync(f->fd) != 0 || rename(str_text(&f->name), f->final) != 0) {
            return base_fail_errno(err, errno, "cannot finish %s", f->final);
        }
        str_clear(&f->name);
        str_add_text(&f->name, f->final);
        f->final = NULL;
    }
    f->at = sizeof(struct header) + ids_bytes(c);
    f->let_go = 0;
    return LAMINA_OK;
}

/* ---- reading ---- */

bool logit_file_is(const char *path) {
    char magic[sizeof(MAGIC)];
    struct stat s;
    if (stat(path, &s) != 0 || !S_ISREG(s.st_mode)) {
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is = fd >= 0 && pread(fd, magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) && memcmp(magic, MAGIC, sizeof(magic)) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return is;
}

static lamina_status check_header(const struct logit_file *f, const struct header *h, const struct cli_options *o,
                                  struct hash128 text, struct lamina_error *err) {
    const char *name = str_text(&f->name);
    if (h->check != header_check(h)) {
        return base_fail(err, LAMINA_DAMAGED, "%s: the header is damaged; make the file again with --save", name);
    }
    if (h->tokens != o->ctx_size) {
        return base_fail(err, LAMINA_USAGE, "%s was made with chunks of %u tokens, not %u; give -c %u", name, h->tokens,
                         o->ctx_size, h->tokens);
    }
    if (h->text_low != text.low || h->text_high != text.high) {
        return base_fail(err, LAMINA_USAGE, "%s was made from another text than %s", name, o->args[1]);
    }
    if (o->chunks > h->chunks) {
        return base_fail(err, LAMINA_USAGE, "%s holds %u chunks, --chunks asks for %u", name, h->chunks, o->chunks);
    }
    return LAMINA_OK;
}

static lamina_status read_ids(struct logit_file *f, const struct header *h, struct cli_chunks *c, struct lamina_error *err) {
    c->ids = (uint32_t *)malloc(ids_bytes(c));
    if (c->ids == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the tokens of %s", str_text(&f->name));
    }
    LAMINA_TRY(read_all(f, c->ids, ids_bytes(c), err));
    struct hash128 ids = hash_xxh3_128(c->ids, ids_bytes(c));
    if (ids.low != h->ids_low || ids.high != h->ids_high) {
        return base_fail(err, LAMINA_DAMAGED, "%s: its tokens are damaged; make the file again with --save", str_text(&f->name));
    }
    return LAMINA_OK;
}

lamina_status logit_file_open(struct logit_file *f, const char *path, const struct cli_options *o, struct hash128 text,
                              struct cli_chunks *c, struct lamina_error *err) {
    struct header h;
    struct stat s;
    uint64_t need = 0;
    str_add_text(&f->name, path);
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0 || fstat(f->fd, &s) != 0) {
        return base_fail_errno(err, errno, "cannot open %s", path);
    }
    LAMINA_TRY(read_all(f, &h, sizeof(h), err));
    LAMINA_TRY(check_header(f, &h, o, text, err));
    LAMINA_TRY(cli_chunks_shape(c, h.tokens, err));
    c->count = h.chunks;
    f->vocab = h.vocab;
    if (c->count == 0 || h.scored != c->scored || file_bytes(h.vocab, c, &need) || need != (uint64_t)s.st_size) {
        return base_fail(err, LAMINA_DAMAGED, "%s has %llu bytes, %llu expected; make the file again with --save", path,
                         (unsigned long long)s.st_size, (unsigned long long)need);
    }
    LAMINA_TRY(read_ids(f, &h, c, err));
    c->count = o->chunks != 0 ? o->chunks : c->count;
    return LAMINA_OK;
}

lamina_status logit_file_next(struct logit_file *f, float *row, struct lamina_error *err) {
    uint64_t check = 0;
    uint64_t begin = f->at;
    LAMINA_TRY(read_all(f, row, row_bytes(f), err));
    LAMINA_TRY(read_all(f, &check, sizeof(check), err));
    if (check != hash_xxh3_64(row, row_bytes(f))) {
        return base_fail(err, LAMINA_DAMAGED, "%s: the row at byte %llu is damaged; make the file again", str_text(&f->name),
                         (unsigned long long)begin);
    }
    return let_go(f, false, err);
}

void logit_file_drop(struct logit_file *f) {
    if (f->fd >= 0) {
        close(f->fd);
    }
    if (f->final != NULL) {
        (void)unlink(str_text(&f->name));
    }
    str_drop(&f->name);
    *f = (struct logit_file){.fd = -1};
}
