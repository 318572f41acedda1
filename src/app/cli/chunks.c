/* SPDX-License-Identifier: Apache-2.0
 *
 * What lamina ppl and lamina kl share: a text cut into chunks, and one model's logits for the second half of each, in the order
 * of the text. Chunks and scored positions are those of ggml's perplexity tool: whole chunks only, each starts anew with what
 * the tokenizer puts in front of every text (in place of the chunk's own first tokens), the first half is context, and the last
 * position tells of nothing. How many chunks share a pass over the weights is asked of the plan and never changes a figure.
 */
#include <stdlib.h>
#include <string.h>

#include "app/cli/cli.h"
#include "base/checked.h"
#include "base/status.h"

enum {
    MOST_ROWS = 2048, /* of a pass: enough that computing takes longer than reading on any machine we know */
    FEWEST_TOKENS = 3, /* of a chunk: context, a scored position, the token it tells of */
    MOST_FRONT = 64,
    OPEN_RESERVE = 1 << 20, /* the heap counts in whole MiB and grows a little while plans are made: the model opens after them */
};

/* ---- the text ---- */

lamina_status cli_text_read(const char *path, struct str *text, struct lamina_error *err) {
    LAMINA_TRY(cli_read_file(path, text, err));
    if (text->len == 0) {
        return base_fail(err, LAMINA_USAGE, "%s is empty: there is no text to score", path);
    }
    struct span rest = str_span(text);
    for (size_t n = 0; rest.len > 0; rest = span_sub(rest, n, rest.len)) {
        uint32_t code_point = 0;
        n = utf8_decode(rest, &code_point);
        if (n == 0) {
            return base_fail(err, LAMINA_USAGE, "%s is not UTF-8 text: byte 0x%02x at offset %zu; convert it, say with iconv", path,
                             rest.ptr[0], text->len - rest.len);
        }
    }
    return LAMINA_OK;
}

lamina_status cli_chunks_shape(struct cli_chunks *c, uint32_t tokens, struct lamina_error *err) {
    if (tokens < FEWEST_TOKENS) {
        return base_fail(err, LAMINA_USAGE, "-c %u: a chunk needs at least %u tokens", tokens, FEWEST_TOKENS);
    }
    c->tokens = tokens;
    c->first = tokens / 2;
    c->scored = tokens - c->first - 1;
    return LAMINA_OK;
}

/* Puts the ids in front of the text's and at the start of each chunk. `plain` is the text alone. */
static lamina_status cut(struct cli_chunks *c, const char *path, const uint32_t *front, uint32_t front_count,
                         const uint32_t *plain, size_t plain_count, uint32_t most, struct lamina_error *err) {
    uint64_t all = (uint64_t)front_count + plain_count;
    uint64_t chunks = all / c->tokens;
    if (front_count > c->first + 1) {
        return base_fail(err, LAMINA_USAGE, "-c %u: the tokenizer puts %u tokens in front of each chunk, more than its first half",
                         c->tokens, front_count);
    }
    if (chunks == 0) {
        return base_fail(err, LAMINA_USAGE, "%s has %llu tokens, but one chunk needs %u; give a longer text or a smaller -c", path,
                         (unsigned long long)all, c->tokens);
    }
    chunks = most != 0 ? min_u64(chunks, most) : chunks;
    c->count = (uint32_t)min_u64(chunks, UINT32_MAX);
    size_t kept = (size_t)c->count * c->tokens;
    c->ids = (uint32_t *)malloc(kept * sizeof(uint32_t));
    if (c->ids == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for %zu tokens; limit them with --chunks", kept);
    }
    memcpy(c->ids + front_count, plain, (kept - front_count) * sizeof(uint32_t));
    for (uint32_t i = 0; i < c->count && front_count > 0; i++) {
        memcpy(c->ids + (size_t)i * c->tokens, front, front_count * sizeof(uint32_t));
    }
    return LAMINA_OK;
}

lamina_status cli_chunks_make(struct cli_chunks *c, const struct cli_options *o, const char *model, const struct str *text,
                              struct lamina_error *err) {
    struct lamina_text *t = NULL;
    uint32_t front[MOST_FRONT];
    uint32_t front_count = 0;
    uint32_t *plain = NULL;
    size_t count = 0;
    lamina_status status = cli_chunks_shape(c, o->ctx_size, err);
    if (status == LAMINA_OK) {
        status = lamina_text_open(&t, model, err);
    }
    if (status == LAMINA_OK) {
        status = lamina_text_front(t, front, ARRAY_LEN(front), &front_count, err);
    }
    if (status == LAMINA_OK) {
        status = lamina_tokenize(t, str_text(text), text->len, false, &plain, &count, err);
    }
    lamina_text_close(&t);
    if (status == LAMINA_OK) {
        status = cut(c, o->args[1], front, front_count, plain, count, o->chunks, err);
    }
    lamina_free(plain);
    return status;
}

void cli_chunks_drop(struct cli_chunks *c) {
    free(c->ids);
    *c = (struct cli_chunks){0};
}

/* ---- rows of a pass ---- */

/* Settings for passes of about `rows` rows: whole chunks where one fits, else a part of one. Only scored rows want logits. */
static void set_rows(const struct cli_chunks *c, uint32_t rows, struct lamina_settings *s) {
    s->context_tokens = c->tokens;
    s->sequences = rows >= c->tokens ? (uint32_t)min_u64(rows / c->tokens, c->count) : 1;
    s->prompt_rows = rows >= c->tokens ? s->sequences * c->tokens : rows;
    s->logit_rows = (uint32_t)min_u64(s->prompt_rows, (uint64_t)s->sequences * c->scored);
}

static uint64_t passes_of(const struct cli_chunks *c, const struct lamina_settings *s) {
    return s->prompt_rows >= c->tokens ? div_up(c->count, s->sequences)
                                       : (uint64_t)c->count * div_up(c->tokens, s->prompt_rows);
}

static uint32_t most_rows(const struct cli_chunks *c, const struct cli_options *o) {
    uint64_t wanted = o->prompt_rows != 0 ? o->prompt_rows : c->tokens > MOST_ROWS ? MOST_ROWS : MOST_ROWS / c->tokens * c->tokens;
    return (uint32_t)min_u64(wanted, (uint64_t)c->count * c->tokens);
}

static uint32_t fewer_rows(const struct cli_chunks *c, uint32_t rows) {
    return rows > c->tokens ? rows / c->tokens / 2 * c->tokens : rows / 2;
}

/* What is in flight must have its place, or reading waits for computing. */
static bool is_squeezed(const struct lamina_plan *p) {
    return p->streamed_bytes > 0 && p->ring_bytes < p->request_bytes * p->depth;
}

/* What the chunks and the model must have in common. */
static lamina_status check_plan(const struct cli_chunks *c, const char *model, const struct lamina_plan *p,
                                struct lamina_error *err) {
    if (p->sees_ahead) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "%s: every position of a prompt sees all of it, so none foretells a token: it has no perplexity",
                         p->model);
    }
    if (c->tokens > p->most_positions) {
        return base_fail(err, LAMINA_USAGE, "-c %u is more than the %u positions that %s has learned; give -c %u", c->tokens,
                         p->most_positions, model, p->most_positions);
    }
    for (size_t i = 0; i < (size_t)c->count * c->tokens; i++) {
        if (c->ids[i] >= p->vocab) {
            return base_fail(err, LAMINA_USAGE,
                             "the text has token %u, but %s has a vocabulary of %u: does the tokenizer belong to it?", c->ids[i],
                             model, p->vocab);
        }
    }
    return LAMINA_OK;
}

static lamina_status refuse_budget(const struct cli_chunks *c, const char *model, uint64_t budget, uint64_t smallest,
                                   struct lamina_error *err) {
    char a[32];
    char b[32];
    return base_fail(err, LAMINA_NO_FIT,
                     "a budget of %s is too small for %s by chunks of %u: the smallest that works is %s (--memory %lluMiB)",
                     format_bytes(a, budget), model, c->tokens, format_bytes(b, smallest), (unsigned long long)(smallest >> 20));
}

static uint64_t less(uint64_t budget, uint64_t reserve) {
    return budget == UINT64_MAX ? budget : budget > reserve ? budget - reserve : 1;
}

lamina_status cli_passes_choose(const char *model, cli_shape *shape, void *user, struct lamina_settings *s,
                                struct lamina_error *err) {
    struct lamina_settings best = *s;
    uint64_t best_bytes = UINT64_MAX;
    uint64_t passes = 0;
    bool best_squeezed = true;
    for (uint32_t step = 0; shape(user, step, s, &passes); step++) {
        struct lamina_plan plan = {.size = sizeof(plan)};
        LAMINA_TRY(lamina_plan_make(model, s, &plan, err));
        uint64_t bytes = passes * plan.streamed_bytes;
        bool squeezed = is_squeezed(&plan);
        bool better = (best_squeezed && !squeezed) || (best_squeezed == squeezed && bytes < best_bytes);
        if (plan.fits && better) {
            best = *s;
            best_bytes = bytes;
            best_squeezed = squeezed;
        } else if (!best_squeezed) {
            break;
        }
    }
    *s = best;
    return LAMINA_OK;
}

struct shapes {
    const struct cli_chunks *c;
    const struct cli_options *o;
    uint32_t rows;
};

static bool next_shape(void *user, uint32_t step, struct lamina_settings *s, uint64_t *passes) {
    struct shapes *x = (struct shapes *)user;
    x->rows = step == 0 ? most_rows(x->c, x->o) : x->o->prompt_rows != 0 ? 0 : fewer_rows(x->c, x->rows);
    if (x->rows == 0) {
        return false;
    }
    set_rows(x->c, x->rows, s);
    *passes = passes_of(x->c, s);
    return true;
}

lamina_status cli_chunks_plan(const struct cli_chunks *c, const struct cli_options *o, const char *model, uint64_t reserve,
                              struct lamina_settings *s, uint32_t *vocab, struct lamina_error *err) {
    struct lamina_plan plan = {.size = sizeof(plan)};
    uint64_t budget = s->memory_bytes;
    set_rows(c, o->prompt_rows != 0 ? most_rows(c, o) : 1, s);
    s->memory_bytes = budget != 0 ? less(budget, reserve) : 0;
    LAMINA_TRY(lamina_plan_make(model, s, &plan, err));
    LAMINA_TRY(check_plan(c, model, &plan, err));
    budget = budget != 0 ? budget : plan.budget_bytes; /* a share of what is available differs from call to call */
    s->memory_bytes = less(budget, reserve);
    if (plan.smallest_budget_bytes > s->memory_bytes) {
        return refuse_budget(c, model, budget, plan.smallest_budget_bytes + reserve, err);
    }
    struct shapes shapes = {.c = c, .o = o};
    LAMINA_TRY(cli_passes_choose(model, next_shape, &shapes, s, err));
    s->memory_bytes = budget;
    *vocab = plan.vocab;
    return LAMINA_OK;
}

/* ---- running ---- */

struct run {
    struct cli_chunk_run *r;
    struct lamina_session **session; /* [sequences] */
    struct lamina_prompt *prompt;    /* [sequences] */
    uint32_t sequences;
    uint32_t chunk;                  /* first of those at hand */
    double begin_s;
    lamina_status status;            /* of r->take */
    struct lamina_error *err;
};

static void show_progress(const struct run *run) {
    struct cli_chunk_run *r = run->r;
    struct str line = {0};
    char left[32];
    double spent = cli_now_s() - run->begin_s;
    str_printf(&line, "%s%schunk %u of %u", r->progress->lines ? "" : r->path, r->progress->lines ? "" : ": ", r->done,
               r->chunks->count);
    if (r->running != NULL) {
        r->running(r->user, &line);
    }
    if (!r->progress->lines) { /* the parent reckons for all cells */
        str_printf(&line, ", %s left", cli_seconds(left, spent / r->done * (r->chunks->count - r->done)));
    }
    cli_progress_step(r->progress, spent, (double)r->done / r->chunks->count, str_text(&line));
    str_drop(&line);
}

static bool on_row(void *user, uint32_t prompt, uint32_t row, const float *logits) {
    struct run *run = (struct run *)user;
    struct cli_chunk_run *r = run->r;
    const uint32_t *ids = run->prompt[prompt].ids;
    run->status = r->take(r->user, logits, ids[row + 1], run->err);
    if (run->status == LAMINA_OK && row + 2 == r->chunks->tokens) {
        r->done++;
        if (r->done < r->chunks->count) {
            show_progress(run);
        }
    }
    return run->status < 0 || cli_interrupted();
}

static lamina_status open_sessions(struct run *run, struct lamina_model *model, struct lamina_error *err) {
    run->session = (struct lamina_session **)calloc(run->sequences, sizeof(*run->session));
    run->prompt = (struct lamina_prompt *)calloc(run->sequences, sizeof(*run->prompt));
    if (run->session == NULL || run->prompt == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for %u sequences", run->sequences);
    }
    for (uint32_t i = 0; i < run->sequences; i++) {
        LAMINA_TRY(lamina_session_open(&run->session[i], model, err));
    }
    return LAMINA_OK;
}

static void close_sessions(struct run *run) {
    for (uint32_t i = 0; run->session != NULL && i < run->sequences; i++) {
        lamina_session_close(&run->session[i]);
    }
    free(run->session);
    free(run->prompt);
}

/* As many chunks as there are sequences, together. */
static lamina_status feed_some(struct run *run, struct lamina_error *err) {
    const struct cli_chunks *c = run->r->chunks;
    struct lamina_prompts p = {.prompt = run->prompt, .on_row = on_row, .user = run};
    for (; p.count < run->sequences && run->chunk + p.count < c->count; p.count++) {
        LAMINA_TRY(lamina_session_truncate(run->session[p.count], 0, err));
        run->prompt[p.count] = (struct lamina_prompt){
            .session = run->session[p.count],
            .ids = c->ids + (size_t)(run->chunk + p.count) * c->tokens,
            .count = c->tokens,
            .first_row = c->first,
            .row_count = c->scored,
        };
    }
    lamina_status status = lamina_prompts_feed(&p, err);
    run->chunk += p.count;
    return run->status < 0 ? run->status : status;
}

static void say_passes(const struct cli_chunks *c, const struct lamina_settings *s) {
    char rows[64];
    (void)snprintf(rows, sizeof(rows), s->prompt_rows >= c->tokens ? "%u at a time" : "%u tokens at a time",
                   s->prompt_rows >= c->tokens ? s->sequences : s->prompt_rows);
    cli_say(1, "%u chunks of %u tokens, %s: %llu passes over the weights", c->count, c->tokens, rows,
            (unsigned long long)passes_of(c, s));
}

/* The model is open: all chunks, then what it took. */
static lamina_status run_open(struct cli_chunk_run *r, struct lamina_model *model, struct lamina_error *err) {
    const struct cli_options *o = r->o;
    struct cli_run_facts facts = {.model = r->path};
    struct run run = {.r = r, .sequences = r->settings.sequences, .begin_s = cli_now_s(), .err = err};
    lamina_status status = open_sessions(&run, model, err);
    while (status == LAMINA_OK && run.chunk < r->chunks->count) {
        status = feed_some(&run, err);
    }
    cli_progress_clear(r->progress);
    facts.prompt_tokens = (uint64_t)r->done * r->chunks->tokens;
    facts.wall_s = cli_now_s() - run.begin_s;
    facts.stopped_early = status == LAMINA_INTERRUPTED;
    if (!o->quiet && (status == LAMINA_OK || facts.stopped_early)) {
        cli_say_facts(model, &facts);
    }
    if (r->report && o->report != NULL && status == LAMINA_OK) {
        status = cli_report_write(o->report, model, &facts, err);
    }
    close_sessions(&run);
    return status;
}

lamina_status cli_chunks_run(struct cli_chunk_run *r, struct lamina_error *err) {
    struct lamina_model *model = NULL;
    lamina_status status = cli_chunks_plan(r->chunks, r->o, r->path, OPEN_RESERVE, &r->settings, &r->vocab, err);
    if (status == LAMINA_OK) {
        status = lamina_model_open(&model, r->path, &r->settings, err);
    }
    cli_progress_clear(r->progress);
    if (status == LAMINA_OK) {
        if (!r->o->quiet) {
            cli_say_start(model);
            say_passes(r->chunks, &r->settings);
        }
        status = run_open(r, model, err);
    }
    lamina_model_close(&model);
    return status;
}
