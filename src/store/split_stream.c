/* SPDX-License-Identifier: Apache-2.0
 *
 * Splitting a source while it arrives. Three things are decided here, none of which changes a byte of the store:
 *
 *     which output comes when   the one first whose last source byte arrives first (files hold layers 0, 1, 10, 11, 2, ...)
 *     what may go when          a tensor once the outputs made from it are in the journal; one that a single matrix reads front to
 *                               back, row by row behind the reading. A kill then costs the unfinished output's rows again
 *     what must be kept         norms and biases lie in every layer, while small.bin is made when the last of them has come: they
 *                               go into the journal ("kept") before their layer goes
 *
 * Invariant: whatever the journal does not call done, or kept, can still be had from the source. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"

enum { KEEP_MOST = 1 << 20 }; /* of one tensor; larger ones (norms of the rows of a head) are had from the source */

struct split_stream {
    const struct lamina_arriving *a;
    uint64_t *base;   /* per file that arrives: bytes of those before it */
    uint64_t total;
    uint64_t *end;    /* per output: behind the last byte that it is made from, in all files one after the other */
    uint32_t *rank;   /* per output: its turn */
    uint64_t *gone;   /* per tensor: bytes from its start that were released */
    bool gaps_gone;
};

static lamina_status no_memory(struct split_job *job) {
    return base_fail(&job->err, LAMINA_NO_FIT, "no memory for the tables of a source that arrives");
}

bool split_arrives(const struct lamina_source *s) {
    const struct checkpoint *c = checkpoint_of(s);
    return c != NULL && c->arriving != NULL;
}

static uint64_t place_of(const struct split_job *job, uint32_t tensor) {
    const struct source_tensor *t = &job->checkpoint->tensors[tensor];
    return job->stream->base[job->checkpoint->files[t->file].arriving] + t->offset;
}

/* ---- the order ---- */

static lamina_status take_tables(struct split_job *job) {
    const struct split_plan *p = &job->plan;
    struct checkpoint *c = job->checkpoint;
    struct split_stream *s = arena_take(&job->arena, sizeof(*s));
    if (s == NULL) {
        return no_memory(job);
    }
    *s = (struct split_stream){.a = c->arriving};
    s->base = arena_take_array(&job->arena, s->a->file_count, sizeof(*s->base));
    s->end = arena_take_array(&job->arena, p->output_count, sizeof(*s->end));
    s->rank = arena_take_array(&job->arena, p->output_count, sizeof(*s->rank));
    s->gone = arena_take_array(&job->arena, c->tensor_count, sizeof(*s->gone));
    job->order = arena_take_array(&job->arena, p->output_count, sizeof(*job->order));
    c->kept = arena_take_array(&c->arena, c->tensor_count, sizeof(*c->kept));
    if (s->base == NULL || s->end == NULL || s->rank == NULL || s->gone == NULL || job->order == NULL || c->kept == NULL) {
        return no_memory(job);
    }
    for (uint32_t i = 0; i < s->a->file_count; i++) {
        s->base[i] = s->total;
        s->total += s->a->files[i].size;
    }
    job->stream = s;
    return LAMINA_OK;
}

static void make_order(struct split_job *job) {
    const struct split_plan *p = &job->plan;
    struct split_stream *s = job->stream;
    for (uint32_t i = 0; i < job->checkpoint->tensor_count; i++) {
        const struct split_use *u = &p->use[i];
        uint64_t end = place_of(job, i) + job->checkpoint->tensors[i].bytes;
        for (uint32_t o = u->first; o != UINT32_MAX && o <= u->last; o++) { /* one, as a rule */
            s->end[o] = max_u64(s->end[o], end);
        }
        s->end[0] = u->small ? max_u64(s->end[0], end) : s->end[0];
    }
    for (uint32_t i = 0; i < p->output_count; i++) { /* insertion sort: some hundred outputs at most */
        uint32_t at = i;
        while (at > 0 && s->end[job->order[at - 1]] > s->end[i]) {
            job->order[at] = job->order[at - 1];
            at--;
        }
        job->order[at] = i;
    }
    for (uint32_t i = 0; i < p->output_count; i++) {
        s->rank[job->order[i]] = i;
    }
}

/* What an earlier run kept. The journal's identity was that of this source, so its numbers are ours. */
static void recall_kept(struct split_job *job) {
    struct checkpoint *c = job->checkpoint;
    for (uint32_t i = 0; i < job->journal.kept_count; i++) {
        const struct journal_kept *k = &job->journal.kept[i];
        if (k->tensor < c->tensor_count && k->bytes.len == c->tensors[k->tensor].bytes) {
            c->kept[k->tensor] = k->bytes;
        }
    }
}

/* ---- the reckoning ---- */

static bool keepable(const struct split_job *job, uint32_t tensor) {
    return job->plan.use[tensor].small && job->checkpoint->tensors[tensor].bytes <= KEEP_MOST;
}

/* The turn with whose end a tensor goes, 0 the first; -1: it is never needed. */
static int64_t goes_after(const struct split_job *job, uint32_t tensor) {
    const struct split_use *u = &job->plan.use[tensor];
    const struct split_stream *s = job->stream;
    int64_t after = u->first == UINT32_MAX ? -1 : u->first == u->last ? s->rank[u->first] : (int64_t)job->plan.output_count - 1;
    if (!u->small) {
        return after;
    }
    int64_t kept = s->rank[0];
    uint64_t end = place_of(job, tensor) + job->checkpoint->tensors[tensor].bytes;
    for (uint32_t r = 0; keepable(job, tensor) && r < s->rank[0]; r++) {
        if (s->end[job->order[r]] >= end) {
            kept = r;
            break;
        }
    }
    return kept > after ? kept : after;
}

/* Bytes of the source on the drive while turn `rank` is at work: at its start, and at its end. */
static void held(const struct split_job *job, const int64_t *after, uint32_t rank, uint64_t *begin, uint64_t *end) {
    const struct split_stream *s = job->stream;
    uint64_t come = min_u64(s->total, s->end[job->order[rank]] + s->a->window_bytes);
    *begin = come;
    uint64_t rows = 0;
    for (uint32_t i = 0; i < job->checkpoint->tensor_count; i++) {
        const struct split_use *u = &job->plan.use[i];
        uint64_t at = place_of(job, i);
        uint64_t here = at < come ? min_u64(come - at, job->checkpoint->tensors[i].bytes) : 0;
        *begin -= after[i] < (int64_t)rank ? here : 0;
        rows += u->in_rows && u->count == 1 && !u->small && s->rank[u->first] == rank ? here : 0;
    }
    *end = *begin - rows;
}

static lamina_status reckon(struct split_job *job) {
    const struct split_plan *p = &job->plan;
    const struct split_stream *s = job->stream;
    int64_t *after = arena_take_array(&job->arena, job->checkpoint->tensor_count, sizeof(*after));
    uint64_t most = 0;
    uint64_t written = 0;
    if (after == NULL) {
        return no_memory(job);
    }
    for (uint32_t i = 0; i < job->checkpoint->tensor_count; i++) {
        after[i] = goes_after(job, i);
    }
    for (uint32_t i = 0; i < p->output_count; i++) {
        written += p->outputs[i].done ? p->outputs[i].likely : 0;
    }
    for (uint32_t r = 0; r < p->output_count; r++) {
        const struct split_output *o = &p->outputs[job->order[r]];
        uint64_t begin = 0;
        uint64_t end = 0;
        if (!o->done) {
            held(job, after, r, &begin, &end);
            most = max_u64(most, written + begin);
            written += o->likely;
            most = max_u64(most, written + end);
        }
    }
    return s->a->planned(s->a->user, max_u64(most, p->total_bytes), p->total_bytes, &job->err);
}

lamina_status split_stream_begin(struct split_job *job) {
    LAMINA_TRY(take_tables(job));
    make_order(job);
    job->checkpoint->looking = false;
    recall_kept(job);
    return reckon(job);
}

/* ---- what goes ---- */

static lamina_status release(struct split_job *job, uint32_t file, uint64_t begin, uint64_t end) {
    const struct lamina_arriving *a = job->stream->a;
    return begin < end ? a->release(a->user, job->checkpoint->files[file].arriving, begin, end, &job->err) : LAMINA_OK;
}

static lamina_status release_tensor(struct split_job *job, uint32_t tensor, uint64_t bytes) {
    const struct source_tensor *t = &job->checkpoint->tensors[tensor];
    uint64_t from = job->stream->gone[tensor];
    if (from >= bytes) {
        return LAMINA_OK;
    }
    job->stream->gone[tensor] = bytes;
    return release(job, t->file, t->offset + from, t->offset + bytes);
}

struct extent {
    uint32_t file;
    uint64_t begin, end;
};

static int by_place(const void *a, const void *b) {
    const struct extent *x = a;
    const struct extent *y = b;
    if (x->file != y->file) {
        return x->file < y->file ? -1 : 1;
    }
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* Headers, and what lies between tensors. */
static lamina_status release_gaps(struct split_job *job) {
    const struct checkpoint *c = job->checkpoint;
    struct extent *list = calloc((size_t)c->tensor_count + 1, sizeof(*list));
    lamina_status status = list == NULL ? no_memory(job) : LAMINA_OK;
    uint32_t at = 0;
    for (uint32_t i = 0; status == LAMINA_OK && i < c->tensor_count; i++) {
        const struct source_tensor *t = &c->tensors[i];
        list[i] = (struct extent){.file = t->file, .begin = t->offset, .end = t->offset + t->bytes};
    }
    if (status == LAMINA_OK && c->tensor_count > 0) {
        qsort(list, c->tensor_count, sizeof(*list), by_place);
    }
    for (uint32_t f = 0; status == LAMINA_OK && f < c->file_count; f++) {
        uint64_t seen = 0;
        for (; status == LAMINA_OK && at < c->tensor_count && list[at].file == f; at++) {
            status = release(job, f, seen, list[at].begin);
            seen = max_u64(seen, list[at].end);
        }
        if (status == LAMINA_OK) {
            status = release(job, f, seen, c->files[f].stat.size);
        }
    }
    free(list);
    return status;
}

static bool settled(const struct split_job *job, uint32_t tensor) {
    const struct split_use *u = &job->plan.use[tensor];
    bool used = u->first == UINT32_MAX || (u->first == u->last && job->plan.outputs[u->first].done);
    return used && (!u->small || job->checkpoint->kept[tensor].ptr != NULL || job->plan.outputs[0].done);
}

lamina_status split_stream_made(struct split_job *job) {
    struct split_stream *s = job->stream;
    if (s == NULL) {
        return LAMINA_OK;
    }
    if (!s->gaps_gone) {
        LAMINA_TRY(release_gaps(job));
        s->gaps_gone = true;
    }
    for (uint32_t i = 0; i < job->checkpoint->tensor_count; i++) {
        const uint64_t bytes = job->checkpoint->tensors[i].bytes;
        if (s->gone[i] < bytes && settled(job, i)) {
            LAMINA_TRY(release_tensor(job, i, bytes));
        }
    }
    return LAMINA_OK;
}

lamina_status split_stream_read(struct split_job *job, const struct split_part *part, uint64_t row) {
    if (job->stream == NULL) {
        return LAMINA_OK;
    }
    const struct split_use *u = &job->plan.use[part->tensor];
    if (!u->in_rows || u->count != 1 || u->small || part->source_cols == 0) {
        return LAMINA_OK;
    }
    uint64_t row_bytes = part->source_cols * kern_dtype_bytes((enum kern_dtype)part->dtype);
    uint64_t before = part->from.plane / part->source_cols + part->from.first;
    return release_tensor(job, part->tensor, min_u64((before + row) * row_bytes, job->checkpoint->tensors[part->tensor].bytes));
}

/* ---- what is kept ---- */

static lamina_status keep(struct split_job *job, uint32_t tensor, struct str *lines) {
    struct checkpoint *c = job->checkpoint;
    size_t len = (size_t)c->tensors[tensor].bytes;
    uint8_t *bytes = arena_take_array(&c->arena, len + 1, 1);
    char *hex = malloc(2 * len + 1);
    lamina_status status = bytes == NULL || hex == NULL
                               ? no_memory(job)
                               : job->source->read(job->source->user, tensor, 0, bytes, len, &job->err);
    if (status == LAMINA_OK) {
        bytes_to_hex(bytes, len, hex);
        journal_line(lines, "kept %u %s", tensor, hex);
        c->kept[tensor] = span_of(bytes, len);
    }
    free(hex);
    return status;
}

lamina_status split_stream_keep(struct split_job *job, uint32_t output) {
    struct split_stream *s = job->stream;
    struct str lines = {0};
    lamina_status status = LAMINA_OK;
    if (s != NULL) {
        LAMINA_TRY(s->a->sync(s->a->user, &job->err));
    }
    if (s == NULL || output == 0 || job->plan.outputs[0].done) {
        return LAMINA_OK;
    }
    for (uint32_t i = 0; status == LAMINA_OK && i < job->checkpoint->tensor_count; i++) {
        const uint64_t end = place_of(job, i) + job->checkpoint->tensors[i].bytes;
        if (keepable(job, i) && job->checkpoint->kept[i].ptr == NULL && end <= s->end[output]) {
            status = keep(job, i, &lines);
        }
    }
    if (status == LAMINA_OK) {
        status = split_journal_add(job, &lines, false); /* synced with the output's own line, before anything goes */
    }
    str_drop(&lines);
    return status;
}

lamina_status split_stream_digest(struct split_job *job, uint32_t file, uint32_t piece, uint8_t digest[32]) {
    const struct lamina_arriving *a = job->stream->a;
    return a->digest(a->user, job->checkpoint->files[file].arriving, piece, digest, &job->err);
}
