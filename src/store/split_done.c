/* SPDX-License-Identifier: Apache-2.0
 *
 * What need not be done again, and what may go. Nothing is believed for having been written once: a file that the
 * journal calls done is read and hashed again on resume; a source file is removed only after everything made from it was
 * read back from the drive, its digests are in the journal, and it is still the file that was opened. Stores that are
 * complete already: split_already.c. */
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
    bool fits = o->packed ? d->size <= o->size : d->size == o->size;
    lamina_status status = fits ? store_check_weights(path, o->name, d->size, d->hash, c, &why) : LAMINA_DAMAGED;
    if (status == LAMINA_OK) {
        o->done = true;
        split_output_made(o, d->size);
        o->hash = d->hash;
        job->done_bytes = before + o->likely;
        job->resumed_bytes += o->likely;
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

lamina_status split_still_the_same(struct split_job *job, const struct source_file *f) {
    struct sys_stat now;
    LAMINA_TRY(sys_stat(f->path, &now, &job->err));
    if (now.size != f->stat.size || now.mtime_ns != f->stat.mtime_ns || now.inode != f->stat.inode) {
        return base_fail(&job->err, LAMINA_DAMAGED, "%s changed while it was split; run the command again", f->path);
    }
    return LAMINA_OK;
}

/* The name, and what it leads to when it is a link into a cache (checked when it was opened). */
lamina_status split_remove_source(struct split_job *job, const struct source_file *f) {
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

/* The name of a file that is gone is a link into a cache where a run was stopped between the two removals. */
lamina_status split_remove_remains(struct split_job *job, const struct source_file *f) {
    return f->gone ? sys_remove(f->path, &job->err) : LAMINA_OK;
}

static lamina_status wait_for_digests(struct split_job *job, uint32_t file) {
    while (!split_sha_file_done(job->sha, file)) {
        if (split_tick(job)) {
            return base_fail(&job->err, LAMINA_INTERRUPTED,
                             "interrupted; what is finished is kept, the same command goes on from there");
        }
        sys_sleep_ns(2000000);
    }
    return split_tick(job) ? base_fail(&job->err, LAMINA_INTERRUPTED, "interrupted; what is finished is kept")
                           : LAMINA_OK;
}

static lamina_status free_one(struct split_job *job, uint32_t file) {
    struct source_file *f = &job->checkpoint->files[file];
    struct str line = {0};
    LAMINA_TRY(wait_for_digests(job, file));
    LAMINA_TRY(split_still_the_same(job, f));
    journal_line(&line, "freed %u", file);
    lamina_status status = split_journal_add(job, &line, true);
    str_drop(&line);
    LAMINA_TRY(status);
    LAMINA_TRY(split_remove_source(job, f));
    sys_file_close(&f->file);
    f->gone = true;
    log_say(job->o->log, LOG_NOTE, "%s is in the store and was removed", f->path);
    return LAMINA_OK;
}

bool split_frees_early(const struct split_job *job) {
    return job->o->delete_original && job->checkpoint != NULL && job->checkpoint->gguf_file[0] == 0;
}

lamina_status split_free_sources(struct split_job *job, uint32_t output) {
    for (uint32_t i = 0; i < job->checkpoint->file_count; i++) {
        uint32_t last = job->file_last[i];
        bool due = last == UINT32_MAX ? output + 1 == job->plan.output_count : last <= output;
        if (due && !job->checkpoint->files[i].gone) {
            LAMINA_TRY(free_one(job, i));
        }
    }
    for (uint32_t i = 0; output + 1 == job->plan.output_count && i < job->checkpoint->file_count; i++) {
        LAMINA_TRY(split_remove_remains(job, &job->checkpoint->files[i]));
    }
    return LAMINA_OK;
}
