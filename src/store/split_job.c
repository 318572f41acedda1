/* SPDX-License-Identifier: Apache-2.0
 *
 * What a split needs around the weights: who the source is, the journal, the directory it may write to, and telling the
 * caller how far it is. The identity of a checkpoint is size, mtime and inode of its weight files and the content of
 * its small ones; of a caller's source, a sample of every tensor. It stands in the journal, never in the store, except
 * for the sample, which is a function of the source's bytes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "store/store_priv.h"

#define TELL_NS UINT64_C(200000000)
enum { SAMPLE_BYTES = 256 };

/* ---- progress ---- */

static bool tell(struct split_job *job) {
    uint64_t now = sys_now_ns();
    const struct lamina_callbacks *c = job->o->callbacks;
    if (c == NULL || c->progress == NULL || now - job->told_ns < TELL_NS) {
        return false;
    }
    job->told_ns = now;
    uint64_t done = job->done_bytes + (job->sha != NULL ? split_sha_bytes(job->sha) : 0);
    struct lamina_progress p = {.kind = LAMINA_PROGRESS_SPLIT,
                                .done_bytes = min_u64(done, job->total_bytes),
                                .total_bytes = job->total_bytes,
                                .elapsed_ns = now - job->began_ns,
                                .resumed_bytes = job->resumed_bytes,
                                .what = job->what};
    return c->progress(c->user, &p);
}

bool split_tick(void *user) {
    struct split_job *job = user;
    struct str lines = {0};
    bool stop = tell(job);
    if (job->sha != NULL && !stop) {
        lamina_status status = split_sha_collect(job->sha, &lines, &job->sha_done, &job->err);
        if (lines.len > 0) {
            status = status < 0 ? status : split_journal_add(job, &lines, false);
        }
        stop = status < 0;
    }
    str_drop(&lines);
    return stop;
}

bool split_tick_bytes(void *user, uint64_t bytes) {
    struct split_job *job = user;
    job->done_bytes += bytes;
    return split_tick(user);
}

/* ---- identity ---- */

static lamina_status hash_small_files(struct split_job *job, struct hash_stream *h) {
    for (unsigned i = 0; store_tokenizer_files[i] != NULL; i++) {
        struct lamina_error ignored = {0};
        char *bytes = NULL;
        size_t len = 0;
        lamina_status status = job->source->file(job->source->user, store_tokenizer_files[i], &bytes, &len, &ignored);
        if (status == LAMINA_NOT_FOUND) {
            continue;
        }
        if (status < 0) {
            return base_fail(&job->err, status, "%s", ignored.message);
        }
        hash_stream_add(h, store_tokenizer_files[i], strlen(store_tokenizer_files[i]) + 1);
        hash_stream_add(h, bytes, len);
        free(bytes);
    }
    return LAMINA_OK;
}

static uint64_t tensor_bytes(const struct lamina_source_tensor *t) {
    uint64_t bytes = safetensors_dtype_bits(span_of_text(t->dtype)) / 8;
    for (uint32_t i = 0; i < t->rank && i < 8; i++) {
        if (checked_mul(bytes, t->shape[i], &bytes)) {
            return 0;
        }
    }
    return bytes;
}

/* Names, types, shapes and the first bytes of every tensor. */
static lamina_status sample_tensors(struct split_job *job, struct hash_stream *h) {
    const struct lamina_source *s = job->source;
    for (uint32_t i = 0; i < s->tensor_count; i++) {
        struct lamina_source_tensor t = {0};
        uint8_t bytes[SAMPLE_BYTES];
        LAMINA_TRY(s->tensor(s->user, i, &t, &job->err));
        size_t n = (size_t)min_u64(SAMPLE_BYTES, tensor_bytes(&t));
        hash_stream_add(h, t.name, strlen(t.name) + 1);
        hash_stream_add(h, t.dtype, strlen(t.dtype) + 1);
        for (uint32_t d = 0; d < t.rank && d < 8; d++) {
            store_le64(bytes, t.shape[d]);
            hash_stream_add(h, bytes, 8);
        }
        LAMINA_TRY(s->read(s->user, i, 0, bytes, n, &job->err));
        hash_stream_add(h, bytes, n);
    }
    return LAMINA_OK;
}

static void add_stats(const struct checkpoint *c, struct hash_stream *h) {
    for (uint32_t i = 0; i < c->file_count; i++) {
        const struct source_file *f = &c->files[i];
        uint8_t facts[24];
        store_le64(facts, f->stat.size);
        store_le64(facts + 8, (uint64_t)f->stat.mtime_ns);
        store_le64(facts + 16, f->stat.inode);
        hash_stream_add(h, f->name, strlen(f->name) + 1);
        hash_stream_add(h, facts, sizeof(facts));
    }
}

lamina_status split_identity(struct split_job *job) {
    struct hash_stream *h = hash_stream_open();
    char recipe[96];
    if (h == NULL) {
        return base_fail(&job->err, LAMINA_NO_FIT, "no memory to identify the source");
    }
    (void)snprintf(recipe, sizeof(recipe), "store %d codec %s tile %d %d repeat %u %u", (int)STORE_VERSION,
                   job->o->codec, (int)PANEL_TILE_TARGET, (int)PANEL_TILE_MAX, job->source->distinct_layers,
                   job->source->first_repeated);
    hash_stream_add(h, recipe, strlen(recipe) + 1);
    lamina_status status = hash_small_files(job, h);
    if (status == LAMINA_OK && job->checkpoint == NULL) {
        status = sample_tensors(job, h);
        job->sample = hash_stream_value(h);
    } else if (status == LAMINA_OK) {
        add_stats(job->checkpoint, h);
    }
    job->identity = hash_stream_value(h);
    hash_stream_close(&h);
    return status;
}

/* ---- journal ---- */

static void describe_sources(const struct split_job *job, struct str *lines) {
    const struct checkpoint *c = job->checkpoint;
    for (uint32_t i = 0; i < c->file_count; i++) {
        const struct sys_stat *st = &c->files[i].stat;
        journal_line(lines, "source %" PRIu64 " %" PRIu64 " %" PRIu64 " %s", st->size, (uint64_t)st->mtime_ns,
                     st->inode, c->files[i].name);
    }
    for (uint32_t i = 0; i < c->tensor_count; i++) {
        const struct source_tensor *t = &c->tensors[i];
        char dims[200] = "";
        size_t at = 0;
        for (uint32_t d = 0; d < t->rank; d++) {
            at += (size_t)snprintf(dims + at, sizeof(dims) - at, " %" PRIu64, t->shape[d]);
        }
        journal_line(lines, "tensor %u %" PRIu64 " %" PRIu64 " %s %u%s %s", t->file, t->offset, t->bytes, t->dtype,
                     t->rank, dims, t->name);
    }
}

/* The believed part of an old journal moves into a file of its own. Its torn end goes; and if a sync of the old file failed
 * once, the cache still shows lines that the drive does not have and that no later sync of that file would bring. */
static lamina_status renew_journal(struct split_job *job) {
    struct span text;
    LAMINA_TRY(sys_load(job->journal_path, UINT64_MAX, &text, &job->err));
    struct span sound = span_sub(text, 0, (size_t)min_u64(job->journal.valid_bytes, text.len));
    lamina_status status = sys_write_whole_durable(job->journal_path, sound, &job->err);
    sys_unload(&text);
    return status;
}

/* A fresh journal appears whole. With --delete-original it also keeps what will be needed of files that are gone. */
lamina_status split_journal_begin(struct split_job *job) {
    struct str lines = {0};
    lamina_status status = LAMINA_OK;
    bool goes = job->o->delete_original || job->o->arriving != NULL;
    bool describe = goes && job->checkpoint != NULL && job->journal.source_count == 0;
    if (!job->journal.present) {
        char hex[33];
        hash128_to_hex(job->identity, hex);
        journal_line(&lines, "begin %s %d", hex, job->plan.desc.tied ? 1 : 0);
    }
    if (describe) {
        describe_sources(job, &lines);
    }
    if (job->journal.present) {
        status = renew_journal(job);
    } else if (!lines.failed) {
        status = sys_write_whole_durable(job->journal_path, str_span(&lines), &job->err);
        str_clear(&lines);
    }
    if (status == LAMINA_OK) {
        status = sys_file_open_append(&job->journal_file, job->journal_path, &job->err);
    }
    if (status == LAMINA_OK) {
        status = split_journal_add(job, &lines, true);
    }
    str_drop(&lines);
    return status;
}

lamina_status split_journal_add(struct split_job *job, const struct str *lines, bool sync) {
    if (lines->failed) {
        return base_fail(&job->err, LAMINA_NO_FIT, "no memory for the journal");
    }
    if (lines->len > 0) {
        LAMINA_TRY(sys_file_append(&job->journal_file, job->journal_path, lines->ptr, lines->len, &job->err));
    }
    return sync ? sys_file_sync(&job->journal_file, job->journal_path, &job->err) : LAMINA_OK;
}

/* ---- the directory ---- */

static bool is_layer_file(const char *name) {
    size_t digits = strspn(name, "0123456789");
    return digits >= 5 && strcmp(name + digits, ".bin") == 0;
}

static bool is_tokenizer_file(const char *name) {
    for (unsigned i = 0; store_tokenizer_files[i] != NULL; i++) {
        const char *deeper = strrchr(store_tokenizer_files[i], '/');
        if (strcmp(name, deeper != NULL ? deeper + 1 : store_tokenizer_files[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_top_file(const char *name) {
    return strcmp(name, "small.bin") == 0 || strcmp(name, "embed.bin") == 0 || strcmp(name, "head.bin") == 0;
}

/* Leftovers: one of our names, then ".tmp", then anything. */
static bool is_temporary(const char *name) {
    char stem[STORE_NAME_LEN];
    const char *mark = strstr(name, ".tmp");
    if (mark == NULL || (size_t)(mark - name) >= sizeof(stem)) {
        return false;
    }
    memcpy(stem, name, (size_t)(mark - name));
    stem[mark - name] = 0;
    return is_top_file(stem) || is_layer_file(stem) || is_tokenizer_file(stem) || strcmp(stem, "lamina.json") == 0 ||
           strcmp(stem, "journal") == 0;
}

static bool ours(void *user, const char *name) {
    char *stranger = user;
    bool known = is_top_file(name) || is_temporary(name) || strcmp(name, "layers") == 0 ||
                 strcmp(name, "tokenizer") == 0 || strcmp(name, "journal") == 0 || strcmp(name, "lamina.json") == 0;
    if (!known) {
        (void)snprintf(stranger, 256, "%s", name);
    }
    return known;
}

lamina_status split_directory_check(struct split_job *job) {
    char stranger[256] = "";
    struct sys_stat st;
    struct lamina_error *err = &job->err;
    if (!sys_exists(job->o->output)) {
        return LAMINA_OK;
    }
    LAMINA_TRY(sys_stat(job->o->output, &st, err));
    if (!st.is_dir) {
        return base_fail(err, LAMINA_USAGE, "%s is not a directory; a store is one", job->o->output);
    }
    LAMINA_TRY(sys_list_dir(job->o->output, ours, stranger, err));
    if (stranger[0] != 0) {
        return base_fail(err, LAMINA_USAGE,
                         "%s holds %s, which is not part of a store; choose an empty or new directory", job->o->output,
                         stranger);
    }
    return LAMINA_OK;
}

struct cleaning {
    struct split_job *job;
    const char *dir; /* relative to the store, "" the store itself */
    bool (*matches)(const char *name);
    bool temporary_only;
    lamina_status status;
};

static bool clean_one(void *user, const char *name) {
    struct cleaning *c = user;
    char path[STORE_PATH_LEN];
    if (is_temporary(name) || (!c->temporary_only && c->matches(name))) {
        int n = snprintf(path, sizeof(path), "%s/%s%s", c->job->o->output, c->dir, name);
        if (n > 0 && (size_t)n < sizeof(path)) {
            c->status = sys_remove(path, &c->job->err);
        }
    }
    return c->status == LAMINA_OK;
}

static lamina_status clean(struct split_job *job, const char *dir, bool (*matches)(const char *), bool temporary_only) {
    struct cleaning c = {.job = job, .dir = dir, .matches = matches, .temporary_only = temporary_only};
    char path[STORE_PATH_LEN];
    if (!store_join(path, sizeof(path), job->o->output, dir) || !sys_exists(path)) {
        return LAMINA_OK;
    }
    LAMINA_TRY(sys_list_dir(path, clean_one, &c, &job->err));
    return c.status;
}

lamina_status split_directory_clean(struct split_job *job, bool temporary_only) {
    LAMINA_TRY(clean(job, "", is_top_file, temporary_only));
    LAMINA_TRY(clean(job, "layers/", is_layer_file, temporary_only));
    LAMINA_TRY(clean(job, "tokenizer/" STORE_TEMPLATES_DIR, is_tokenizer_file, temporary_only));
    return clean(job, "tokenizer/", is_tokenizer_file, temporary_only);
}
