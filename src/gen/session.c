/* SPDX-License-Identifier: Apache-2.0
 * Feeding and sampling. A failed pass leaves the sessions in it at the length they had before the feed. */
#include "gen/session.h"

#include <stdlib.h>
#include <string.h>

#include "sys/thread.h"

lamina_status session_init(struct session *s, const struct session_options *o, struct lamina_error *err) {
    *s = (struct session){.o = *o};
    lamina_status status = kv_sequence_init(&s->kv, o->context_tokens, err);
    if (status == LAMINA_OK) {
        s->tokens = (uint32_t *)malloc(o->context_tokens * sizeof(uint32_t));
        status = s->tokens != NULL ? LAMINA_OK : base_fail(err, LAMINA_NO_FIT, "out of memory for a session");
    }
    if (status == LAMINA_OK) {
        status = sampler_init(&s->sampler, o->desc->vocab, o->context_tokens, err);
    }
    if (status != LAMINA_OK) {
        session_drop(s);
    }
    return status;
}

void session_drop(struct session *s) {
    if (s->o.exec != NULL) {
        kv_sequence_drop(exec_kv(s->o.exec), &s->kv);
    }
    sampler_drop(&s->sampler);
    free(s->tokens);
    *s = (struct session){0};
}

uint32_t session_most(const struct session *s) {
    const uint32_t most = model_most_positions(s->o.desc);
    return most < s->o.context_tokens ? most : s->o.context_tokens;
}

static lamina_status check_feed(const struct session *s, const uint32_t *ids, uint32_t count, struct lamina_error *err) {
    if (count == 0) {
        return base_fail(err, LAMINA_USAGE, "there is no token to compute");
    }
    if (count > s->o.context_tokens - s->length) {
        return base_fail(err, LAMINA_USAGE,
                         "%u tokens do not fit the context of %u (%u are in use); give a larger context (-c %u)", count,
                         s->o.context_tokens, s->length, s->length + count);
    }
    if (count > session_most(s) - s->length) {
        const char *why = s->o.desc->positions ? "has learned" : "can have here: beyond them its indexer would choose keys";
        return base_fail(err, LAMINA_USAGE, "%u tokens after %u are more than the %u positions that this model %s", count,
                         s->length, session_most(s), why);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] >= s->o.desc->vocab) {
            return base_fail(err, LAMINA_USAGE,
                             "token id %u at place %u is outside the model's vocabulary of %u: does the tokenizer belong to "
                             "this model?",
                             ids[i], i, s->o.desc->vocab);
        }
    }
    return LAMINA_OK;
}

static struct exec_row row_of(const struct session *s, uint32_t token, uint32_t position, bool wants_logits) {
    return (struct exec_row){
        .token = token,
        .position = position,
        .prompt_length = s->prompt_length,
        .prefix = s->prefix,
        .mask_at = s->mask_at,
        .sequence = &s->kv,
        .wants_logits = wants_logits,
    };
}

static void fill_rows(struct session *s, const uint32_t *ids, uint32_t first, uint32_t rows, bool all_logits, bool last) {
    for (uint32_t i = 0; i < rows; i++) {
        s->o.rows[i] = row_of(s, ids[first + i], s->length + i, all_logits || (last && i + 1 == rows));
    }
}

static lamina_status refuse_logits(uint32_t position, struct lamina_error *err) {
    return base_fail(err, LAMINA_DAMAGED,
                     "the logits at position %u are not finite: the weights hold NaN or infinite values, or overflow", position);
}

/* Arg-max and log-probability of the following token for the rows of one pass. */
static lamina_status score(const struct session *s, const uint32_t *ids, uint32_t first, uint32_t rows, uint32_t count,
                           struct lamina_scores *scores, struct lamina_error *err) {
    for (uint32_t i = 0; i < rows; i++) {
        const float *logits = exec_logits(s->o.exec, i);
        bool finite = true;
        scores->argmax[first + i] = s->o.kern->argmax(logits, s->o.desc->vocab, &finite);
        if (!finite) {
            return refuse_logits(s->length + i, err);
        }
        if (first + i + 1 < count) {
            scores->logprob_next[first + i] =
                logits[ids[first + i + 1]] - s->o.kern->logsumexp(logits, s->o.desc->vocab);
        }
    }
    return LAMINA_OK;
}

static bool progress(const struct session *s, enum lamina_progress_kind kind, uint64_t done, uint64_t count,
                     uint64_t begin_ns) {
    const struct lamina_callbacks *c = s->o.callbacks;
    if (c == NULL || c->progress == NULL) {
        return false;
    }
    struct lamina_progress p = {.kind = kind, .done_bytes = done, .total_bytes = count,
                                .elapsed_ns = sys_now_ns() - begin_ns, .what = "prompt"};
    return c->progress(c->user, &p);
}

/* A state that was cut or left half-way is made again from the tokens: recurrences run in one direction only. */
static lamina_status catch_up(struct session *s, struct lamina_error *err) {
    uint32_t length = s->length;
    lamina_status status = LAMINA_OK;
    if (!model_has_state(s->o.desc) || s->state_length == length) {
        return LAMINA_OK;
    }
    for (s->length = 0; status == LAMINA_OK && s->length < length;) {
        uint32_t rows = length - s->length < s->o.prompt_rows ? length - s->length : s->o.prompt_rows;
        fill_rows(s, s->tokens, s->length, rows, false, false);
        status = exec_pass(s->o.exec, s->o.rows, rows, true, err);
        s->length += rows;
    }
    s->length = length;
    s->state_length = status == LAMINA_OK ? length : UINT32_MAX;
    return status;
}

/* What the passes of a feed rest on: room, lengths and places that its rows go by, a state that is up to date. */
static lamina_status begin_feed(struct session *s, const uint32_t *ids, uint32_t count, struct lamina_error *err) {
    bool first = s->length == 0;
    LAMINA_TRY(kv_sequence_grow(exec_kv(s->o.exec), &s->kv, s->length + count, err));
    if (first || s->o.desc->raw_keys) { /* keys that are not rotated yet turn with the length at hand */
        s->prompt_length = s->length + count;
    }
    if (first && s->o.desc->prefix && !model_prefix(s->o.desc, ids, count, &s->prefix, &s->mask_at)) {
        return base_fail(err, LAMINA_USAGE, "the prompt holds no token %u, which ends the prompts of %s: use its chat template",
                         s->o.desc->prefix_end, s->o.desc->architecture);
    }
    return catch_up(s, err);
}

/* The tokens that a feed ended with; what comes first is the prompt. */
static void remember(struct session *s, const uint32_t *ids, uint32_t count) {
    memcpy(s->tokens + (s->length - count), ids, count * sizeof(uint32_t));
    for (uint32_t i = 0; i < count; i++) {
        sampler_saw(&s->sampler, ids[i]);
        if (s->length > count) {
            sampler_made(&s->sampler, ids[i]);
        }
    }
}

/* The `row`-th row with logits of the pass just run is of the last position. */
static void keep_logits(struct session *s, uint32_t row) {
    s->logits = exec_logits(s->o.exec, row);
    s->hidden = exec_hidden(s->o.exec, row);
    s->pass = exec_passes(s->o.exec);
}

/* After the last pass of a feed that ended at s->length: `row` of it has the logits. */
static void end_feed(struct session *s, const uint32_t *ids, uint32_t count, uint32_t row) {
    remember(s, ids, count);
    keep_logits(s, row);
}

lamina_status session_feed(struct session *s, const uint32_t *ids, uint32_t count, bool more,
                           struct lamina_scores *scores, struct lamina_error *err) {
    LAMINA_TRY(check_feed(s, ids, count, err));
    uint32_t before = s->length;
    uint32_t most = scores != NULL && s->o.logit_rows < s->o.prompt_rows ? s->o.logit_rows : s->o.prompt_rows;
    uint64_t begin_ns = sys_now_ns();
    lamina_status status = begin_feed(s, ids, count, err);
    uint32_t rows = 0;
    for (uint32_t first = 0; status == LAMINA_OK && first < count; first += rows) {
        rows = count - first < most ? count - first : most;
        bool last = first + rows == count;
        fill_rows(s, ids, first, rows, scores != NULL, last);
        status = exec_pass(s->o.exec, s->o.rows, rows, more || !last, err);
        if (status == LAMINA_OK && scores != NULL) {
            status = score(s, ids, first, rows, count, scores, err);
        }
        s->length += status == LAMINA_OK ? rows : 0;
        s->state_length = status == LAMINA_OK ? s->length : UINT32_MAX;
        if (status == LAMINA_OK && progress(s, LAMINA_PROGRESS_PROMPT, first + rows, count, begin_ns) && !last) {
            status = base_fail(err, LAMINA_INTERRUPTED, "stopped while computing the prompt");
        }
    }
    if (status != LAMINA_OK) {
        s->length = before;
        s->logits = NULL;
        return status;
    }
    end_feed(s, ids, count, scores != NULL ? rows - 1 : 0);
    return LAMINA_OK;
}

static lamina_status check_batch(struct session *const *sessions, const uint32_t *ids, uint32_t count,
                                 struct lamina_error *err) {
    const struct session_options *o = count > 0 ? &sessions[0]->o : NULL;
    if (o == NULL) {
        return base_fail(err, LAMINA_USAGE, "there is no sequence in the batch");
    }
    if (count > o->prompt_rows || count > o->logit_rows) {
        return base_fail(err, LAMINA_USAGE,
                         "a batch of %u sequences needs passes of as many rows, all with logits; the model was opened for %u "
                         "and %u (settings.prompt_rows, settings.logit_rows)",
                         count, o->prompt_rows, o->logit_rows);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct lamina_error own = {0};
        lamina_status status = check_feed(sessions[i], &ids[i], 1, &own);
        if (status != LAMINA_OK) {
            return base_fail(err, status, "sequence %u of the batch: %s", i + 1, own.message);
        }
        for (uint32_t k = 0; k < i; k++) {
            if (sessions[k] == sessions[i]) {
                return base_fail(err, LAMINA_USAGE, "sequences %u and %u of the batch are the same one", k + 1, i + 1);
            }
        }
    }
    return LAMINA_OK;
}

static lamina_status begin_batch(struct session *const *sessions, const uint32_t *ids, uint32_t count,
                                 struct lamina_error *err) {
    for (uint32_t i = 0; i < count; i++) {
        struct lamina_error own = {0};
        lamina_status status = begin_feed(sessions[i], &ids[i], 1, &own);
        if (status != LAMINA_OK) {
            return base_fail(err, status, "sequence %u of the batch: %s", i + 1, own.message);
        }
    }
    return LAMINA_OK;
}

lamina_status session_feed_batch(struct session *const *sessions, const uint32_t *ids, uint32_t count,
                                 struct lamina_error *err) {
    LAMINA_TRY(check_batch(sessions, ids, count, err));
    lamina_status status = begin_batch(sessions, ids, count, err);
    bool ran = status == LAMINA_OK;
    if (ran) {
        struct exec_row *rows = sessions[0]->o.rows; /* free again: begin_batch was the last to use them */
        for (uint32_t i = 0; i < count; i++) {
            rows[i] = row_of(sessions[i], ids[i], sessions[i]->length, true);
        }
        status = exec_pass(sessions[0]->o.exec, rows, count, true, err);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct session *s = sessions[i];
        if (status == LAMINA_OK) {
            s->state_length = ++s->length;
            end_feed(s, &ids[i], 1, i);
        } else {
            s->state_length = ran ? UINT32_MAX : s->state_length;
            s->logits = NULL;
        }
    }
    return status;
}

/* ---- whole prompts of several sequences ---- */

/* A feed of prompts on its way: the first row that no pass has carried yet. */
struct prompts_at {
    uint32_t prompt, row;
};

static bool wants(const struct lamina_prompt *p, uint32_t row) {
    return row >= p->first_row && row - p->first_row < p->row_count;
}

static lamina_status check_prompt(const struct session *s, const struct lamina_prompt *p, struct lamina_error *err) {
    LAMINA_TRY(check_feed(s, p->ids, p->count, err));
    if (p->first_row > p->count || p->row_count > p->count - p->first_row) {
        return base_fail(err, LAMINA_USAGE, "logits of rows %u to %llu are asked for, but it has %u", p->first_row,
                         (unsigned long long)p->first_row + p->row_count, p->count);
    }
    /* Where all of a prompt sees all of it, one pass carries it. */
    if (s->o.desc->prefix && (p->count > s->o.prompt_rows || p->row_count > s->o.logit_rows)) {
        return base_fail(err, LAMINA_USAGE,
                         "a prompt of %s goes through in one pass: %u rows, %u with logits; the model was opened for %u and %u",
                         s->o.desc->architecture, p->count, p->row_count, s->o.prompt_rows, s->o.logit_rows);
    }
    return LAMINA_OK;
}

static lamina_status check_prompts(struct session *const *sessions, const struct lamina_prompts *p,
                                   struct lamina_error *err) {
    for (uint32_t i = 0; i < p->count; i++) {
        struct lamina_error own = {0};
        lamina_status status = check_prompt(sessions[i], &p->prompt[i], &own);
        if (status != LAMINA_OK) {
            return base_fail(err, status, "prompt %u: %s", i + 1, own.message);
        }
        for (uint32_t k = 0; k < i; k++) {
            if (sessions[k] == sessions[i]) {
                return base_fail(err, LAMINA_USAGE, "prompts %u and %u are for the same sequence", k + 1, i + 1);
            }
        }
    }
    return LAMINA_OK;
}

static lamina_status begin_prompts(struct session *const *sessions, const struct lamina_prompts *p,
                                   struct lamina_error *err) {
    for (uint32_t i = 0; i < p->count; i++) {
        sessions[i]->begun_at = sessions[i]->length;
        sessions[i]->logits = NULL;
    }
    for (uint32_t i = 0; i < p->count; i++) {
        struct lamina_error own = {0};
        lamina_status status = begin_feed(sessions[i], p->prompt[i].ids, p->prompt[i].count, &own);
        if (status != LAMINA_OK) {
            return base_fail(err, status, "prompt %u: %s", i + 1, own.message);
        }
    }
    return LAMINA_OK;
}

/* Fills a pass with the rows that come next, in order of prompts; returns how many. */
static uint32_t fill_pass(struct session *const *sessions, const struct lamina_prompts *p, struct prompts_at *at) {
    const struct session_options *o = &sessions[0]->o;
    uint32_t rows = 0;
    uint32_t wanting = 0;
    while (at->prompt < p->count) {
        const struct lamina_prompt *q = &p->prompt[at->prompt];
        const struct session *s = sessions[at->prompt];
        bool with_logits = wants(q, at->row);
        bool whole = o->desc->prefix && at->row == 0;
        if (rows + (whole ? q->count : 1) > o->prompt_rows ||
            wanting + (whole ? q->row_count : (uint32_t)with_logits) > o->logit_rows) {
            break;
        }
        o->rows[rows++] = row_of(s, q->ids[at->row], s->begun_at + at->row, with_logits);
        wanting += with_logits;
        at->row++;
        if (at->row == q->count) {
            *at = (struct prompts_at){.prompt = at->prompt + 1};
        }
    }
    return rows;
}

/* The pass of `rows` rows from `at` on has run: hands out its logits and moves the sequences on. */
static lamina_status take_pass(struct session *const *sessions, const struct lamina_prompts *p, struct prompts_at at,
                               uint32_t rows, struct lamina_error *err) {
    uint32_t nth = 0;
    for (uint32_t i = 0; i < rows; i++) {
        const struct lamina_prompt *q = &p->prompt[at.prompt];
        struct session *s = sessions[at.prompt];
        uint32_t row = at.row++;
        bool last = at.row == q->count;
        s->length = s->begun_at + at.row;
        s->state_length = s->length;
        if (last) {
            remember(s, q->ids, q->count);
        }
        if (wants(q, row)) {
            bool finite = true;
            const float *logits = exec_logits(s->o.exec, nth);
            (void)s->o.kern->argmax(logits, s->o.desc->vocab, &finite);
            if (!finite) {
                return refuse_logits(s->begun_at + row, err);
            }
            if (last) {
                keep_logits(s, nth);
            }
            nth++;
            if (p->on_row != NULL && p->on_row(p->user, at.prompt, row, logits)) {
                return base_fail(err, LAMINA_INTERRUPTED, "stopped at row %u of prompt %u", row, at.prompt + 1);
            }
        }
        at = last ? (struct prompts_at){.prompt = at.prompt + 1} : at;
    }
    return LAMINA_OK;
}

static uint64_t rows_of(const struct lamina_prompts *p) {
    uint64_t rows = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        rows += p->prompt[i].count;
    }
    return rows;
}

/* After a failure: each sequence as long as before; a state that a pass was at is made again when it is needed. */
static void undo_prompts(struct session *const *sessions, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        sessions[i]->length = sessions[i]->begun_at;
        sessions[i]->state_length = UINT32_MAX;
        sessions[i]->logits = NULL;
    }
}

lamina_status session_feed_prompts(struct session *const *sessions, const struct lamina_prompts *p, struct lamina_error *err) {
    LAMINA_TRY(check_prompts(sessions, p, err));
    struct session *first = sessions[0];
    struct prompts_at at = {0};
    uint64_t begin_ns = sys_now_ns();
    uint64_t all = rows_of(p);
    uint64_t done = 0;
    lamina_status status = begin_prompts(sessions, p, err);
    while (status == LAMINA_OK && at.prompt < p->count) {
        struct prompts_at from = at;
        uint32_t rows = fill_pass(sessions, p, &at);
        status = exec_pass(first->o.exec, first->o.rows, rows, true, err);
        done += rows;
        if (status == LAMINA_OK) {
            status = take_pass(sessions, p, from, rows, err);
        }
        if (status == LAMINA_OK && progress(first, LAMINA_PROGRESS_PROMPTS, done, all, begin_ns) && at.prompt < p->count) {
            status = base_fail(err, LAMINA_INTERRUPTED, "stopped while computing the prompts");
        }
    }
    if (status != LAMINA_OK) {
        undo_prompts(sessions, p->count);
    }
    return status;
}

static bool is_current(const struct session *s) {
    return s->logits != NULL && s->pass == exec_passes(s->o.exec);
}

const float *session_logits(const struct session *s) {
    return is_current(s) ? s->logits : NULL;
}

const float *session_hidden(const struct session *s) {
    return is_current(s) ? s->hidden : NULL;
}

lamina_status session_sample(struct session *s, uint32_t *id, struct lamina_error *err) {
    if (s->logits == NULL) {
        return base_fail(err, LAMINA_USAGE, "nothing has been computed yet: feed tokens first");
    }
    if (!is_current(s)) {
        return base_fail(err, LAMINA_USAGE,
                         "the logits of this sequence are gone, since another was computed: sample before that, or feed both in "
                         "one batch");
    }
    return sampler_choose(&s->sampler, s->o.kern, s->logits, s->length, id, err);
}

void session_see_again(struct session *s) {
    sampler_forget(&s->sampler);
    for (uint32_t i = 0; i < s->length; i++) {
        sampler_saw(&s->sampler, s->tokens[i]);
    }
}

lamina_status session_truncate(struct session *s, uint32_t length, struct lamina_error *err) {
    if (length > s->length) {
        return base_fail(err, LAMINA_USAGE, "cannot cut a sequence of %u positions to %u", s->length, length);
    }
    if (length > 0 && length < s->prefix) {
        return base_fail(err, LAMINA_USAGE, "the first %u positions of this sequence see each other: cut behind them, or to 0",
                         s->prefix);
    }
    kv_sequence_cut(exec_kv(s->o.exec), &s->kv, length);
    s->length = length;
    s->logits = NULL;
    session_see_again(s);
    return LAMINA_OK;
}
