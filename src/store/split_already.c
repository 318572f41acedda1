/* SPDX-License-Identifier: Apache-2.0
 *
 * A split whose store is complete: is it the store of this source, and may the source go? The source is compared by the
 * SHA-256 of the manifest. Weight files that are missing are no obstacle, since an earlier --delete-original may have been
 * stopped on its way: those that are left must be what the store was made from, then they are freed as well. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"
#include "sys/mem.h"

enum { CHECK_BUFFER = 8 << 20 };

/* ---- the source by its digests ---- */

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

/* ---- freeing what a complete store was made from ---- */

static lamina_status sync_one(struct split_job *job, const char *dir, const char *name) {
    char relative[STORE_NAME_LEN];
    char path[STORE_PATH_LEN];
    struct sys_file f;
    (void)snprintf(relative, sizeof(relative), "%s%s", dir, name);
    if (!store_join(path, sizeof(path), job->o->output, relative)) {
        return base_fail(&job->err, LAMINA_USAGE, "the path of %s is too long", relative);
    }
    LAMINA_TRY(sys_file_open_read(&f, path, SYS_OPEN_BUFFERED, &job->err));
    lamina_status status = sys_file_sync(&f, path, &job->err);
    sys_file_close(&f);
    return status;
}

/* Whoever made this store may have been stopped before the last sync, or it is a plain copy that nobody ever synced. */
static lamina_status sync_store(struct split_job *job, const struct manifest *m) {
    static const char *const dirs[] = {"layers", ("tokenizer/" STORE_TEMPLATES_DIR), "tokenizer"};
    for (uint32_t i = 0; i < m->file_count; i++) {
        LAMINA_TRY(sync_one(job, "", m->files[i].name));
    }
    for (uint32_t i = 0; i < m->tokenizer_count; i++) {
        LAMINA_TRY(sync_one(job, "tokenizer/", m->tokenizer[i].name));
    }
    LAMINA_TRY(sync_one(job, "", "lamina.json"));
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        char path[STORE_PATH_LEN];
        if (store_join(path, sizeof(path), job->o->output, dirs[i]) && sys_exists(path)) {
            LAMINA_TRY(sys_dir_sync(path, &job->err));
        }
    }
    LAMINA_TRY(sys_dir_sync(job->o->output, &job->err));
    return sys_make_dirs(job->o->output, &job->err); /* its name, and those of the directories above */
}

/* Synced and proved first, then the same rule as while splitting. */
static lamina_status free_all(struct split_job *job, const struct manifest *m) {
    struct lamina_verify_result r = {.size = sizeof(r)};
    bool proved = false;
    for (uint32_t i = 0; i < job->checkpoint->file_count; i++) {
        const struct source_file *f = &job->checkpoint->files[i];
        if (!f->gone && !proved) {
            LAMINA_TRY(sync_store(job, m));
            LAMINA_TRY(store_verify(job->o->output, NULL, job->o->callbacks, &r, &job->err));
            proved = true;
        }
        if (f->gone) {
            LAMINA_TRY(split_remove_remains(job, f));
            continue;
        }
        LAMINA_TRY(split_still_the_same(job, f));
        LAMINA_TRY(split_remove_source(job, f));
        log_say(job->o->log, LOG_NOTE, "%s is in the store and was removed", f->path);
    }
    return LAMINA_OK;
}

lamina_status split_free_complete(struct split_job *job) {
    struct arena arena = {0};
    struct manifest m;
    uint64_t bytes = 0;
    if (job->checkpoint == NULL) {
        return LAMINA_OK;
    }
    lamina_status status = store_manifest_load(job->o->output, true, &arena, &m, &bytes, &job->err);
    if (status == LAMINA_OK) {
        status = free_all(job, &m);
    }
    arena_drop(&arena);
    return status;
}

/* ---- a source of which files are missing ---- */

static lamina_status open_remaining(struct checkpoint *c, const struct manifest_source_file *m, struct lamina_error *err) {
    char path[STORE_PATH_LEN];
    struct source_file *f = &c->files[c->file_count++];
    *f = (struct source_file){.file = {.fd = -1}};
    f->name = arena_copy_text(&c->arena, span_of_text(m->name));
    if (!store_join(path, sizeof(path), c->dir, m->name)) {
        return base_fail(err, LAMINA_USAGE, "the path of %s is too long", m->name);
    }
    f->path = arena_copy_text(&c->arena, span_of_text(path));
    if (f->name == NULL || f->path == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "no memory for the tables of the checkpoint");
    }
    if (!sys_exists(path)) {
        f->gone = true;
        f->stat = (struct sys_stat){.size = m->size, .is_regular = true};
        return LAMINA_OK;
    }
    LAMINA_TRY(checkpoint_stays_inside(c->dir, path, err));
    LAMINA_TRY(sys_file_open_read(&f->file, path, SYS_OPEN_DIRECT, err));
    LAMINA_TRY(sys_stat(path, &f->stat, err));
    f->stat.size = f->file.size;
    return LAMINA_OK;
}

static bool some_missing(const struct split_job *job, const struct manifest *m) {
    char path[STORE_PATH_LEN];
    bool missing = false;
    struct source_path where;
    struct lamina_error ignored = {0};
    if (job->o->checkpoint == NULL || m->synthetic || source_path_find(job->o->checkpoint, NULL, &where, &ignored) < 0 ||
        !store_join(path, sizeof(path), where.dir, "config.json") || (where.file[0] == 0 && !sys_exists(path))) {
        return false;
    }
    for (uint32_t i = 0; i < m->source_count && !missing; i++) {
        missing = store_join(path, sizeof(path), where.dir, m->sources[i].name) && !sys_exists(path);
    }
    return missing;
}

/* The checkpoint as the manifest knows it. */
static lamina_status open_remains(struct split_job *job, const struct manifest *m) {
    LAMINA_TRY(checkpoint_alloc(&job->owned, &job->err));
    struct checkpoint *c = job->owned;
    struct source_path where;
    LAMINA_TRY(source_path_find(job->o->checkpoint, NULL, &where, &job->err));
    c->dir = arena_copy_text(&c->arena, span_of_text(where.dir));
    c->gguf_file = arena_copy_text(&c->arena, span_of_text(where.file));
    if (c->dir == NULL || c->gguf_file == NULL) {
        c->gguf_file = "";
        return base_fail(&job->err, LAMINA_NO_FIT, "no memory for the tables of the checkpoint");
    }
    c->files = arena_take_array(&c->arena, m->source_count, sizeof(*c->files));
    if (c->files == NULL) {
        return base_fail(&job->err, LAMINA_NO_FIT, "no memory for the tables of the checkpoint");
    }
    for (uint32_t i = 0; i < m->source_count; i++) {
        LAMINA_TRY(open_remaining(c, &m->sources[i], &job->err));
    }
    job->checkpoint = c;
    job->source = &c->base;
    return LAMINA_OK;
}

lamina_status split_already(struct split_job *job, lamina_status opened) {
    struct arena arena = {0};
    struct manifest m;
    uint64_t bytes = 0;
    struct lamina_error kept = job->err;
    job->err = (struct lamina_error){0};
    lamina_status status = store_manifest_load(job->o->output, true, &arena, &m, &bytes, &job->err);
    if (status == LAMINA_OK && opened < 0) {
        if (!some_missing(job, &m)) { /* all is there, but does not open: say what */
            job->err = kept;
            status = opened;
            goto done;
        }
        status = open_remains(job, &m);
    }
    if (status == LAMINA_OK && strcmp(m.codec, job->o->codec) != 0) {
        status = other_store(job, "another codec");
    }
    bool no_texts = job->checkpoint != NULL && job->checkpoint->gguf_file[0] != 0 && job->checkpoint->gguf == NULL;
    if (status == LAMINA_OK && !no_texts) { /* a GGUF file that is gone took them with it */
        status = same_texts(job, &m, job->source);
    }
    if (status == LAMINA_OK) {
        status = same_weights(job, &m);
    }
    if (status == LAMINA_OK && job->o->delete_original && job->checkpoint != NULL) {
        status = free_all(job, &m);
    }
done:
    arena_drop(&arena);
    return status;
}
