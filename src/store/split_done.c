/* SPDX-License-Identifier: Apache-2.0
 *
 * What need not be done again, and what may go. Nothing is believed for having been written once: a file that the
 * journal calls done is read and hashed again on resume; a store that is already complete is compared with the source
 * by the source's own SHA-256; a source file is removed only after everything made from it was read back from the
 * drive, its digests are in the journal, and it is still the file that was opened. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"
#include "sys/mem.h"

enum { CHECK_BUFFER = 8 << 20 };

static struct split_output *output_named(struct split_plan *p, const char *name) {
    for (uint32_t i = 0; i < p->output_count; i++) {
        if (strcmp(p->outputs[i].name, name) == 0) {
            return &p->outputs[i];
        }
    }
    return NULL;
}

/* A damaged or missing file is made again; only an interruption or a failing drive stops here. */
static lamina_status recheck(struct split_job *job, struct split_output *o, const struct journal_done *d,
                             struct store_check *c) {
    char path[STORE_PATH_LEN];
    struct lamina_error why = {0};
    if (!store_join(path, sizeof(path), job->o->output, o->name)) {
        return base_fail(&job->err, LAMINA_USAGE, "the path of %s is too long", o->name);
    }
    job->what = o->name;
    uint64_t before = job->done_bytes;
    lamina_status status =
        d->size == o->size ? store_check_weights(path, o->name, o->size, d->hash, c, &why) : LAMINA_DAMAGED;
    if (status == LAMINA_OK) {
        o->done = true;
        o->hash = d->hash;
        job->done_bytes = before + o->size;
        job->resumed_bytes += o->size;
        return LAMINA_OK;
    }
    if (status == LAMINA_DAMAGED || status == LAMINA_NOT_FOUND || status == LAMINA_UNSUPPORTED) {
        log_say(job->o->log, LOG_WARNING, "made again: %s", why.message[0] != 0 ? why.message : o->name);
        job->done_bytes = before;
        return sys_remove(path, &job->err);
    }
    return base_fail(&job->err, status, "%s", why.message);
}

lamina_status split_resume(struct split_job *job) {
    struct store_check c = {.buffer_len = CHECK_BUFFER, .tick = split_tick_bytes, .user = job};
    lamina_status status = LAMINA_OK;
    if (job->journal.done_count == 0) {
        return LAMINA_OK;
    }
    LAMINA_TRY(sys_mem_map(&c.buffer, CHECK_BUFFER, &job->err));
    for (uint32_t i = 0; i < job->journal.done_count && status == LAMINA_OK; i++) {
        struct split_output *o = output_named(&job->plan, job->journal.done[i].name);
        if (o != NULL && !o->done) {
            status = recheck(job, o, &job->journal.done[i], &c);
        }
    }
    sys_mem_unmap(c.buffer, CHECK_BUFFER);
    return status;
}

/* ---- freeing source files ---- */

static lamina_status still_the_same(struct split_job *job, const struct source_file *f) {
    struct sys_stat now;
    LAMINA_TRY(sys_stat(f->path, &now, &job->err));
    if (now.size != f->stat.size || now.mtime_ns != f->stat.mtime_ns || now.inode != f->stat.inode) {
        return base_fail(&job->err, LAMINA_DAMAGED, "%s changed while it was split; run the command again", f->path);
    }
    return LAMINA_OK;
}

/* The name, and what it leads to when it is a link into a cache (checked when it was opened). */
static lamina_status remove_source(struct split_job *job, const struct source_file *f) {
    struct str real = {0};
    lamina_status status = sys_real_path(f->path, &real, &job->err);
    if (status == LAMINA_OK) {
        status = sys_remove(str_text(&real), &job->err);
    }
    if (status == LAMINA_OK) {
        status = sys_remove(f->path, &job->err);
    }
    str_drop(&real);
    return status == LAMINA_OK ? sys_dir_sync(job->checkpoint->dir, &job->err) : status;
}

static lamina_status wait_for_digests(struct split_job *job, uint32_t file) {
    while (!split_sha_file_done(job->sha, file)) {
        if (split_tick(job)) {
            return base_fail(&job->err, LAMINA_INTERRUPTED,
                             "interrupted; what is finished is kept, the same command goes on from there");
        }
        sys_sleep_ns(20000000);
    }
    return split_tick(job) ? base_fail(&job->err, LAMINA_INTERRUPTED, "interrupted; what is finished is kept")
                           : LAMINA_OK;
}

static lamina_status free_one(struct split_job *job, uint32_t file) {
    struct source_file *f = &job->checkpoint->files[file];
    struct str line = {0};
    LAMINA_TRY(wait_for_digests(job, file));
    LAMINA_TRY(still_the_same(job, f));
    journal_line(&line, "freed %u", file);
    lamina_status status = split_journal_add(job, &line, true);
    str_drop(&line);
    LAMINA_TRY(status);
    LAMINA_TRY(remove_source(job, f));
    sys_file_close(&f->file);
    f->gone = true;
    log_say(job->o->log, LOG_NOTE, "%s is in the store and was removed", f->path);
    return LAMINA_OK;
}

lamina_status split_free_sources(struct split_job *job, uint32_t output) {
    for (uint32_t i = 0; i < job->checkpoint->file_count; i++) {
        uint32_t last = job->file_last[i];
        bool due = last == UINT32_MAX ? output + 1 == job->plan.output_count : last <= output;
        if (due && !job->checkpoint->files[i].gone) {
            LAMINA_TRY(free_one(job, i));
        }
    }
    return LAMINA_OK;
}

/* ---- a store that is complete ---- */

struct piece_hash {
    const struct sys_file *f;
    const char *path;
    struct sha256 *sha;
    struct store_check *check;
};

static lamina_status hash_piece(const struct piece_hash *p, uint64_t begin, uint64_t len, uint8_t digest[32],
                                struct lamina_error *err) {
    size_t step = (size_t)round_up((p->check->buffer_len - SOURCE_BOUNCE) / 2, STORE_PAGE);
    uint8_t *bounce = (uint8_t *)p->check->buffer + p->check->buffer_len - SOURCE_BOUNCE;
    for (uint64_t at = 0; at < len; at += step) {
        size_t n = (size_t)min_u64(step, len - at);
        LAMINA_TRY(sys_file_read_any(p->f, p->path, begin + at, p->check->buffer, n, bounce, SOURCE_BOUNCE, err));
        if (!p->f->direct) {
            sys_file_drop_cache(p->f, begin + at, n);
        }
        if (!sha256_add(p->sha, p->check->buffer, n)) {
            return base_fail(err, LAMINA_UNEXPECTED, "SHA-256 of %s failed", p->path);
        }
        if (p->check->tick != NULL && p->check->tick(p->check->user, n)) {
            return base_fail(err, LAMINA_INTERRUPTED, "interrupted while hashing %s", p->path);
        }
    }
    return sha256_finish(p->sha, digest) ? LAMINA_OK
                                         : base_fail(err, LAMINA_UNEXPECTED, "SHA-256 of %s failed", p->path);
}

static lamina_status check_file(const struct source_file *f, const struct manifest_source_file *m, struct sha256 *sha,
                                struct store_check *check, struct lamina_error *err) {
    struct piece_hash p = {.f = &f->file, .path = f->path, .sha = sha, .check = check};
    if (f->stat.size != m->size) {
        return base_fail(err, LAMINA_DAMAGED, "%s has %" PRIu64 " bytes, the store was made from %" PRIu64, f->path,
                         f->stat.size, m->size);
    }
    if (f->gone) {
        return LAMINA_OK; /* freed by the run that made this store and was stopped before it removed its journal */
    }
    for (uint32_t i = 0; i < m->pieces; i++) {
        uint64_t begin = (uint64_t)i * STORE_PIECE;
        uint8_t digest[32];
        LAMINA_TRY(hash_piece(&p, begin, min_u64(STORE_PIECE, m->size - begin), digest, err));
        if (memcmp(digest, m->sha256[i], 32) != 0) {
            return base_fail(
                err, LAMINA_DAMAGED,
                "%s differs from the file that the store was made from, in the 64 MiB from offset %" PRIu64, f->path,
                begin);
        }
    }
    return LAMINA_OK;
}

lamina_status store_source_check(const struct checkpoint *c, const struct manifest *m, struct store_check *check,
                                 struct lamina_error *err) {
    if (m->synthetic) {
        return base_fail(err, LAMINA_USAGE,
                         "the store was made by a program, not from checkpoint files; there is nothing to compare");
    }
    if (c->file_count != m->source_count) {
        return base_fail(err, LAMINA_DAMAGED, "%s has %u weight files, the store was made from %u", c->dir,
                         c->file_count, m->source_count);
    }
    struct sha256 *sha = sha256_open();
    lamina_status status = sha == NULL ? base_fail(err, LAMINA_UNEXPECTED, "no SHA-256 here") : LAMINA_OK;
    for (uint32_t i = 0; i < m->source_count && status == LAMINA_OK; i++) {
        status = strcmp(c->files[i].name, m->sources[i].name) != 0
                     ? base_fail(err, LAMINA_DAMAGED, "%s holds %s where the store was made from %s", c->dir,
                                 c->files[i].name, m->sources[i].name)
                     : check_file(&c->files[i], &m->sources[i], sha, check, err);
    }
    sha256_close(&sha);
    return status;
}

static lamina_status other_store(struct split_job *job, const char *why) {
    return base_fail(&job->err, LAMINA_USAGE,
                     "%s already holds the complete store of something else (%s); choose another directory or "
                     "remove it first",
                     job->o->output, why);
}

/* The small files of the source are those of the store. */
static lamina_status same_texts(struct split_job *job, const struct manifest *m, const struct lamina_source *s) {
    for (unsigned i = 0; store_tokenizer_files[i] != NULL; i++) {
        const char *name = store_tokenizer_files[i];
        const struct manifest_file *have = NULL;
        struct lamina_error ignored = {0};
        char *bytes = NULL;
        size_t len = 0;
        for (uint32_t k = 0; k < m->tokenizer_count; k++) {
            have = strcmp(m->tokenizer[k].name, name) == 0 ? &m->tokenizer[k] : have;
        }
        lamina_status status = s->file(s->user, name, &bytes, &len, &ignored);
        if (status < 0 && status != LAMINA_NOT_FOUND) {
            return base_fail(&job->err, status, "%s", ignored.message);
        }
        struct hash128 hash = hash_xxh3_128(bytes, status == LAMINA_OK ? len : 0);
        free(bytes);
        if ((status == LAMINA_OK) != (have != NULL) ||
            (have != NULL && (have->size != len || have->hash.low != hash.low || have->hash.high != hash.high))) {
            return other_store(job, name);
        }
    }
    return LAMINA_OK;
}

static lamina_status same_weights(struct split_job *job, const struct manifest *m) {
    struct store_check c = {.buffer_len = CHECK_BUFFER, .tick = split_tick_bytes, .user = job};
    struct lamina_error why = {0};
    if (job->checkpoint == NULL) {
        LAMINA_TRY(split_identity(job));
        bool same = m->synthetic && m->sample.low == job->sample.low && m->sample.high == job->sample.high;
        return same ? LAMINA_OK : other_store(job, "made by a program from other weights");
    }
    for (uint32_t i = 0; i < job->checkpoint->file_count; i++) {
        job->total_bytes += job->checkpoint->files[i].stat.size;
    }
    job->what = "comparing the finished store with its source";
    LAMINA_TRY(sys_mem_map(&c.buffer, CHECK_BUFFER, &job->err));
    lamina_status status = store_source_check(job->checkpoint, m, &c, &why);
    sys_mem_unmap(c.buffer, CHECK_BUFFER);
    if (status == LAMINA_DAMAGED || status == LAMINA_USAGE) {
        return other_store(job, why.message);
    }
    return status < 0 ? base_fail(&job->err, status, "%s", why.message) : LAMINA_OK;
}

/* --delete-original asked of a store that is there already: proved first, then the same rule as while splitting. */
static lamina_status free_all(struct split_job *job) {
    struct lamina_verify_result r = {.size = sizeof(r)};
    bool verified = false;
    for (uint32_t i = 0; i < job->checkpoint->file_count; i++) {
        const struct source_file *f = &job->checkpoint->files[i];
        if (f->gone) {
            continue;
        }
        if (!verified) {
            LAMINA_TRY(store_verify(job->o->output, NULL, job->o->callbacks, &r, &job->err));
            verified = true;
        }
        LAMINA_TRY(still_the_same(job, f));
        LAMINA_TRY(remove_source(job, f));
    }
    return LAMINA_OK;
}

/* The weights of the checkpoint are gone (freed after an earlier split): its small files must still be the store's. */
static lamina_status same_without_weights(struct split_job *job, const struct manifest *m, lamina_status opened) {
    struct checkpoint *shell = NULL;
    char path[STORE_PATH_LEN];
    for (uint32_t i = 0; i < m->source_count; i++) {
        if (!store_join(path, sizeof(path), job->o->checkpoint, m->sources[i].name) || sys_exists(path)) {
            return opened; /* something is there, but does not open: say what */
        }
    }
    LAMINA_TRY(checkpoint_alloc(&shell, &job->err));
    shell->dir = job->o->checkpoint;
    struct lamina_error kept = job->err;
    job->err = (struct lamina_error){0};
    lamina_status status = m->synthetic ? opened : same_texts(job, m, &shell->base);
    if (status == opened) {
        job->err = kept;
    }
    checkpoint_close(&shell);
    return status;
}

lamina_status split_already(struct split_job *job, lamina_status opened) {
    struct arena arena = {0};
    struct manifest m;
    uint64_t bytes = 0;
    struct lamina_error kept = job->err;
    job->err = (struct lamina_error){0};
    lamina_status status = store_manifest_load(job->o->output, true, &arena, &m, &bytes, &job->err);
    if (status == LAMINA_OK && opened < 0) {
        job->err = kept;
        status = same_without_weights(job, &m, opened);
        goto done;
    }
    if (status == LAMINA_OK && strcmp(m.codec, job->o->codec) != 0) {
        status = other_store(job, "another codec");
    }
    if (status == LAMINA_OK) {
        status = same_texts(job, &m, job->source);
    }
    if (status == LAMINA_OK) {
        status = same_weights(job, &m);
    }
    if (status == LAMINA_OK && job->o->delete_original && job->checkpoint != NULL) {
        status = free_all(job);
    }
done:
    arena_drop(&arena);
    return status;
}
