/* SPDX-License-Identifier: Apache-2.0
 *
 * store_split: one splitter per store (lock), then journal, plan, free space, small files, weights, hashes of the
 * source, and last the manifest, by which the directory becomes a store. Kill it anywhere: the same command goes on.
 *
 * Memory: two slots of 8 MiB for rows, twice 8 MiB to write from, 4 MiB for hashing the source, the tables of the model; a
 * small file (tokenizer.json) at a time, before those are taken. Under 64 MiB in all, whatever the model. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"

static lamina_status no_memory(struct split_job *job) {
    return base_fail(&job->err, LAMINA_NO_FIT, "no memory for the tables of the split");
}

/* ---- preparing ---- */

static lamina_status open_source(struct split_job *job) {
    if (job->o->source != NULL) {
        job->source = job->o->source;
        job->checkpoint = checkpoint_of(job->source);
        return LAMINA_OK;
    }
    if (job->o->checkpoint == NULL) {
        return base_fail(&job->err, LAMINA_USAGE, "a split needs a checkpoint or a source");
    }
    LAMINA_TRY(checkpoint_open(&job->owned, job->o->checkpoint, job->journal.present ? &job->journal : NULL, job->o->arriving,
                               &job->err));
    job->checkpoint = job->owned;
    job->source = &job->owned->base;
    return LAMINA_OK;
}

/* For each source file the last output made from it, and the files in that order. */
static lamina_status order_files(struct split_job *job) {
    const struct checkpoint *c = job->checkpoint;
    job->warned = arena_take_array(&job->arena, job->source->tensor_count, sizeof(*job->warned));
    if (job->warned == NULL) {
        return no_memory(job);
    }
    if (c == NULL) {
        return LAMINA_OK;
    }
    job->file_last = arena_take_array(&job->arena, c->file_count, sizeof(*job->file_last));
    job->file_order = arena_take_array(&job->arena, c->file_count, sizeof(*job->file_order));
    if (job->file_last == NULL || job->file_order == NULL) {
        return no_memory(job);
    }
    for (uint32_t i = 0; i < c->file_count; i++) {
        job->file_last[i] = UINT32_MAX;
        job->total_bytes += c->arriving == NULL ? c->files[i].stat.size : 0; /* hashed by whoever fetches them */
    }
    for (uint32_t i = 0; i < c->tensor_count; i++) {
        uint32_t last = job->plan.last_use[i];
        uint32_t *of_file = &job->file_last[c->tensors[i].file];
        if (last != UINT32_MAX && (*of_file == UINT32_MAX || *of_file < last)) {
            *of_file = last;
        }
    }
    for (uint32_t i = 0; i < c->file_count; i++) { /* insertion sort: some hundred files at most */
        uint32_t at = i;
        while (at > 0 && job->file_last[job->file_order[at - 1]] > job->file_last[i]) {
            job->file_order[at] = job->file_order[at - 1];
            at--;
        }
        job->file_order[at] = i;
    }
    return LAMINA_OK;
}

/* The journal of another source or recipe is worth nothing, unless parts of its source exist nowhere else any more. */
static lamina_status settle_journal(struct split_job *job) {
    struct journal *j = &job->journal;
    bool same = j->present && j->identity.low == job->identity.low && j->identity.high == job->identity.high;
    if (same) {
        return split_directory_clean(job, true);
    }
    for (uint32_t i = 0; i < j->source_count; i++) {
        if (j->sources[i].freed) {
            return base_fail(
                &job->err, LAMINA_USAGE,
                "%s is the unfinished store of another source, of which %s was already freed; finish that one or "
                "choose another directory",
                job->o->output, j->sources[i].name);
        }
    }
    if (j->present) {
        log_say(job->o->log, LOG_NOTE, "the source or the options changed since this split began; it starts over");
    }
    journal_drop(j);
    return sys_exists(job->o->output) ? split_directory_clean(job, false) : LAMINA_OK;
}

/* Most bytes that will be missing at any moment: with --delete-original, files that are freed on the way count. */
static uint64_t space_needed(const struct split_job *job) {
    uint64_t most = 0;
    uint64_t written = 0;
    uint64_t freed = 0;
    for (uint32_t i = 0; i < job->plan.output_count; i++) {
        if (!job->plan.outputs[i].done) {
            written += job->plan.outputs[i].likely;
        }
        most = max_u64(most, written - min_u64(written, freed));
        for (uint32_t f = 0; split_frees_early(job) && f < job->checkpoint->file_count; f++) {
            const struct source_file *file = &job->checkpoint->files[f];
            freed += job->file_last[f] == i && !file->gone && file->stat.links <= 1 ? file->stat.size : 0;
        }
    }
    return most;
}

static void existing_parent(const char *path, char *out, size_t len) {
    (void)snprintf(out, len, "%s", path);
    while (!sys_exists(out)) {
        char *slash = strrchr(out, '/');
        if (slash == NULL || slash == out) {
            (void)snprintf(out, len, "%s", slash == out ? "/" : ".");
            return;
        }
        *slash = 0;
    }
}

static lamina_status check_space(struct split_job *job) {
    enum { MANIFEST_ROOM = 2 << 20 };
    char where[STORE_PATH_LEN];
    char need_text[32];
    char have_text[32];
    uint64_t have = 0;
    uint64_t need = space_needed(job);
    existing_parent(job->o->output, where, sizeof(where));
    LAMINA_TRY(sys_disk_free(where, &have, &job->err));
    need += need > 0 ? MANIFEST_ROOM : 0;
    if (need > have) {
        return base_fail(&job->err, LAMINA_NO_SPACE,
                         "the store %s needs %s more, %s are free; free %" PRIu64 " bytes, or choose "
                         "another drive%s",
                         job->o->output, format_bytes(need_text, need), format_bytes(have_text, have), need - have,
                         job->o->delete_original || job->checkpoint == NULL
                             ? ""
                             : ", or let --delete-original free the source on the way");
    }
    return LAMINA_OK;
}

/* ---- small files ---- */

static lamina_status copy_text(struct split_job *job, const char *name) {
    char relative[STORE_NAME_LEN];
    char path[STORE_PATH_LEN];
    char *bytes = NULL;
    size_t len = 0;
    struct lamina_error ignored = {0};
    lamina_status status = job->source->file(job->source->user, name, &bytes, &len, &ignored);
    if (status == LAMINA_NOT_FOUND) {
        return LAMINA_OK;
    }
    if (status < 0) {
        return base_fail(&job->err, status, "%s", ignored.message);
    }
    (void)snprintf(relative, sizeof(relative), "tokenizer/%s", name);
    if (!store_join(path, sizeof(path), job->o->output, relative)) {
        status = base_fail(&job->err, LAMINA_USAGE, "the path of %s is too long", relative);
        goto done;
    }
    if (strchr(name, '/') != NULL) {
        char dir[STORE_PATH_LEN];
        (void)snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(path, '/') - path), path);
        status = sys_make_dirs(dir, &job->err);
        if (status != LAMINA_OK) {
            goto done;
        }
    }
    job->tokenizer[job->tokenizer_count++] =
        (struct manifest_file){.name = name, .size = len, .hash = hash_xxh3_128(bytes, len)};
    status = sys_write_whole_durable(path, span_of(bytes, len), &job->err);
done:
    free(bytes);
    return status;
}

static lamina_status copy_texts(struct split_job *job) {
    char path[STORE_PATH_LEN];
    static const char *const dirs[] = {"layers", "tokenizer"};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        if (!store_join(path, sizeof(path), job->o->output, dirs[i])) {
            return base_fail(&job->err, LAMINA_USAGE, "the path of the store is too long");
        }
        LAMINA_TRY(sys_make_dirs(path, &job->err));
    }
    for (unsigned i = 0; store_tokenizer_files[i] != NULL; i++) {
        LAMINA_TRY(copy_text(job, store_tokenizer_files[i]));
    }
    return LAMINA_OK;
}

/* ---- the manifest ---- */

static double bits_of(const struct split_plan *p, uint32_t first, uint32_t count) {
    uint64_t weights = 0;
    uint64_t bits = 0;
    for (uint32_t i = first; i < first + count; i++) {
        weights += p->outputs[i].weights;
        bits += p->outputs[i].bits;
    }
    return weights == 0 ? 0 : (double)bits / (double)weights;
}

static lamina_status source_of_manifest(struct split_job *job, struct manifest *m) {
    const struct checkpoint *c = job->checkpoint;
    m->synthetic = c == NULL;
    m->distinct_layers = job->source->distinct_layers;
    m->first_repeated = job->source->first_repeated;
    m->sample = job->sample;
    m->source_count = c != NULL ? c->file_count : 0;
    m->sources = arena_take_array(&job->arena, m->source_count, sizeof(*m->sources));
    if (m->sources == NULL) {
        return no_memory(job);
    }
    for (uint32_t i = 0; i < m->source_count; i++) {
        struct manifest_source_file *f = &m->sources[i];
        *f = (struct manifest_source_file){.name = c->files[i].name, .size = c->files[i].stat.size};
        f->pieces = c->arriving != NULL ? (uint32_t)div_up(f->size, STORE_PIECE) : split_sha_pieces(job->sha, i);
        f->sha256 = arena_take_array(&job->arena, f->pieces, sizeof(*f->sha256));
        if (f->sha256 == NULL) {
            return no_memory(job);
        }
        for (uint32_t k = 0; k < f->pieces; k++) {
            if (c->arriving != NULL) {
                LAMINA_TRY(split_stream_digest(job, i, k, f->sha256[k]));
            } else {
                memcpy(f->sha256[k], split_sha_digest(job->sha, i, k), 32);
            }
        }
    }
    return LAMINA_OK;
}

static lamina_status commit(struct split_job *job) {
    const struct split_plan *p = &job->plan;
    uint32_t fixed = p->desc.tied ? 2 : 3;
    struct manifest m = {.desc = p->desc,
                         .file_count = p->output_count,
                         .layer_file = p->layer_output,
                         .tokenizer_count = job->tokenizer_count,
                         .tokenizer = job->tokenizer};
    struct manifest again;
    struct str text = {0};
    char path[STORE_PATH_LEN];
    uint64_t bytes = 0;
    (void)snprintf(m.codec, sizeof(m.codec), "%s", job->o->codec);
    m.bits_embed = bits_of(p, 1, 1);
    m.bits_head = bits_of(p, 2, fixed - 2);
    m.bits_layers = bits_of(p, fixed, p->output_count - fixed);
    m.files = arena_take_array(&job->arena, m.file_count, sizeof(*m.files));
    if (m.files == NULL) {
        return no_memory(job);
    }
    for (uint32_t i = 0; i < m.file_count; i++) {
        m.files[i] =
            (struct manifest_file){.name = p->outputs[i].name, .size = p->outputs[i].size, .hash = p->outputs[i].hash};
    }
    LAMINA_TRY(source_of_manifest(job, &m));
    manifest_write(&m, &text);
    lamina_status status = text.failed ? no_memory(job) : LAMINA_OK;
    /* What is about to be promised is read the way everybody will read it. */
    if (status == LAMINA_OK) {
        status = manifest_parse(str_span(&text), "lamina.json", false, &job->arena, &again, &job->err);
    }
    if (status == LAMINA_OK && !store_join(path, sizeof(path), job->o->output, "lamina.json")) {
        status = base_fail(&job->err, LAMINA_USAGE, "the path of the store is too long");
    }
    if (status == LAMINA_OK) {
        status = sys_write_whole_durable(path, str_span(&text), &job->err);
    }
    str_drop(&text);
    return status < 0 ? status : store_manifest_load(job->o->output, false, &job->arena, &again, &bytes, &job->err);
}

/* ---- the run ---- */

static lamina_status source_unchanged(struct split_job *job) {
    for (uint32_t i = 0; job->checkpoint != NULL && i < job->checkpoint->file_count; i++) {
        const struct source_file *f = &job->checkpoint->files[i];
        struct sys_stat now;
        if (f->gone) {
            continue;
        }
        LAMINA_TRY(sys_stat(f->path, &now, &job->err));
        if (now.size != f->stat.size || now.mtime_ns != f->stat.mtime_ns || now.inode != f->stat.inode) {
            return base_fail(&job->err, LAMINA_DAMAGED, "%s changed while it was split; run the command again",
                             f->path);
        }
    }
    return LAMINA_OK;
}

static lamina_status wait_for_digests(struct split_job *job) {
    job->what = "hashing the source";
    while (job->sha != NULL && !job->sha_done) {
        if (split_tick(job)) {
            return base_fail(&job->err, LAMINA_INTERRUPTED,
                             "interrupted; what is finished is kept, the same command goes on from there");
        }
        sys_sleep_ns(job->sha_done ? 0 : 2000000);
    }
    return LAMINA_OK;
}

static lamina_status start_threads(struct split_job *job, struct store_tile **tiles) {
    uint32_t most = 1;
    for (uint32_t i = 0; i < job->plan.output_count; i++) {
        most = job->plan.outputs[i].head.tile_count > most ? job->plan.outputs[i].head.tile_count : most;
    }
    *tiles = calloc(most, sizeof(**tiles));
    if (*tiles == NULL) {
        return no_memory(job);
    }
    job->pipe.tick = split_tick;
    job->pipe.user = job;
    job->pipe.writer.as_it_grows = job->o->arriving != NULL;
    LAMINA_TRY(split_pipe_start(&job->pipe, job->o->output, *tiles, &job->plan.codec, &job->err));
    if (job->checkpoint == NULL || job->o->arriving != NULL) {
        return LAMINA_OK;
    }
    struct split_sha_job sha = {.source = job->checkpoint, .known = &job->journal, .order = job->file_order};
    return split_sha_start(&job->sha, &sha, &job->err);
}

static lamina_status produce(struct split_job *job) {
    struct store_tile *tiles = NULL;
    lamina_status status = start_threads(job, &tiles);
    if (status == LAMINA_OK) {
        status = split_stream_made(job); /* by an earlier run */
    }
    if (status == LAMINA_OK) {
        status = split_outputs(job);
    }
    split_pipe_stop(&job->pipe);
    split_strip_drop(job);
    if (status == LAMINA_OK) {
        status = wait_for_digests(job);
    }
    if (status == LAMINA_OK) {
        status = source_unchanged(job);
    }
    if (status == LAMINA_OK) {
        status = commit(job);
    }
    split_sha_stop(&job->sha);
    free(tiles);
    return status;
}

static lamina_status finish_directory(struct split_job *job) {
    LAMINA_TRY(sys_remove(job->journal_path, &job->err));
    LAMINA_TRY(split_directory_clean(job, true));
    return sys_dir_sync(job->o->output, &job->err);
}

static lamina_status split_new(struct split_job *job) {
    struct split_codec codec;
    (void)split_codec_of_name(job->o->codec, &codec); /* known: check_options */
    LAMINA_TRY(split_directory_check(job));
    LAMINA_TRY(split_plan_make(job->source, job->journal.present ? job->journal.tied : -1,
                               &codec, &job->arena, &job->plan, &job->err));
    if (job->plan.left_out[0] != 0) {
        log_say(job->o->log, LOG_WARNING, "%s: only the text model is kept; left out: %s", job->plan.desc.architecture,
                job->plan.left_out);
    }
    LAMINA_TRY(split_identity(job));
    LAMINA_TRY(settle_journal(job));
    job->total_bytes += job->plan.total_bytes;
    LAMINA_TRY(order_files(job));
    LAMINA_TRY(split_resume(job));
    LAMINA_TRY(job->o->arriving != NULL ? split_stream_begin(job) : check_space(job));
    LAMINA_TRY(sys_make_dirs(job->o->output, &job->err));
    LAMINA_TRY(split_journal_begin(job));
    LAMINA_TRY(copy_texts(job));
    LAMINA_TRY(produce(job));
    return job->o->delete_original && !split_frees_early(job) ? split_free_complete(job) : LAMINA_OK;
}

/* What arrived was not what it should be: nothing made of it may be gone on from. */
static void throw_away(struct split_job *job) {
    struct lamina_error why = job->err;
    (void)sys_remove(job->journal_path, &job->err);
    (void)split_directory_clean(job, false);
    job->err = why;
}

static lamina_status split_locked(struct split_job *job) {
    if (!store_join(job->journal_path, sizeof(job->journal_path), job->o->output, "journal")) {
        return base_fail(&job->err, LAMINA_USAGE, "the path of the store is too long");
    }
    LAMINA_TRY(journal_load(job->journal_path, &job->journal, &job->err));
    lamina_status status = open_source(job);
    if (store_is_store(job->o->output) && job->o->arriving != NULL) {
        status = LAMINA_OK; /* another process was faster; the place is named by what the files hold */
    } else if (store_is_store(job->o->output)) {
        status = split_already(job, status);
    } else if (status == LAMINA_OK) {
        status = split_new(job);
    }
    if (status == LAMINA_DAMAGED && job->o->arriving != NULL && !store_is_store(job->o->output)) {
        throw_away(job);
    }
    return status < 0 ? status : finish_directory(job);
}

/* Waiting is done by asking again and again, so that the caller can be told and can give up. */
static lamina_status take_lock(const struct store_split_options *o, const char *path, struct sys_lock *lock,
                               struct lamina_error *err) {
    uint64_t began = sys_now_ns();
    for (;;) {
        struct lamina_error busy = {0};
        lamina_status status = sys_lock_take(lock, path, false, &busy);
        if (status != LAMINA_BUSY || !o->wait_for_lock) {
            return status < 0 ? base_fail(err, status, "%s", busy.message) : LAMINA_OK;
        }
        struct lamina_progress p = {.kind = LAMINA_PROGRESS_SPLIT,
                                    .elapsed_ns = sys_now_ns() - began,
                                    .what = "waiting for another process that splits the same model"};
        if (o->callbacks != NULL && o->callbacks->progress != NULL && o->callbacks->progress(o->callbacks->user, &p)) {
            return base_fail(err, LAMINA_INTERRUPTED, "interrupted while waiting for %s", path);
        }
        sys_sleep_ns(200000000);
    }
}

static lamina_status make_parent(const char *path, struct lamina_error *err) {
    char parent[STORE_PATH_LEN];
    (void)snprintf(parent, sizeof(parent), "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash == NULL || slash == parent) {
        return LAMINA_OK;
    }
    *slash = 0;
    return sys_make_dirs(parent, err);
}

static lamina_status check_options(const struct store_split_options *o, struct lamina_error *err) {
    if (o->codec == NULL || !store_codec_known(o->codec)) {
        return base_fail(err, LAMINA_UNSUPPORTED, "the codec \"%.40s\" is not known to this program (" STORE_CODECS " are)",
                         o->codec != NULL ? o->codec : "");
    }
    if (o->output == NULL || o->output[0] == 0 || strlen(o->output) > STORE_PATH_LEN - 2 * STORE_NAME_LEN) {
        return base_fail(err, LAMINA_USAGE, "a split needs an output directory with a shorter path");
    }
    return LAMINA_OK;
}

lamina_status store_split(const struct store_split_options *options, struct lamina_error *err) {
    struct store_split_options o = *options;
    char output[STORE_PATH_LEN];
    char lock_path[STORE_PATH_LEN];
    struct sys_lock lock = {.fd = -1};
    LAMINA_TRY(check_options(&o, err));
    (void)snprintf(output, sizeof(output), "%s", o.output);
    for (size_t n = strlen(output); n > 1 && output[n - 1] == '/'; n--) {
        output[n - 1] = 0;
    }
    o.output = output;
    LAMINA_TRY(make_parent(output, err));
    (void)snprintf(lock_path, sizeof(lock_path), "%.*s.lock", STORE_PATH_LEN - 8, output);
    LAMINA_TRY(take_lock(&o, lock_path, &lock, err));
    struct split_job *job = calloc(1, sizeof(*job));
    lamina_status status = LAMINA_NO_FIT;
    if (job == NULL) {
        (void)base_fail(err, LAMINA_NO_FIT, "no memory to split");
    } else {
        *job =
            (struct split_job){.o = &o, .journal_file = {.fd = -1}, .began_ns = sys_now_ns(), .journal = {.tied = -1}};
        status = split_locked(job);
        if (status < 0) { /* the first failure counts: a thread's, rather than the stop that followed */
            status = base_fail(err, job->err.code < 0 ? job->err.code : status, "%s", job->err.message);
        }
        sys_file_close(&job->journal_file);
        journal_drop(&job->journal);
        checkpoint_close(&job->owned);
        split_plan_drop(&job->plan);
        arena_drop(&job->arena);
        free(job);
    }
    (void)sys_remove(lock_path, NULL); /* while it is held, so nobody waits on a name that is gone */
    sys_lock_drop(&lock);
    return status;
}
