/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine thread: rounds of joining, one sweep for the prompts that joined, one for everybody who is decoding. A failure of the
 * model ends the choices of that pass with its sentence; those who left are dropped at the next round.
 */
#include "app/server/engine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/server/engine_priv.h"
#include "base/status.h"

enum { FIGURES_EVERY_MS = 200 };

uint64_t engine_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* ---- figures ---- */

static void refresh(struct engine *e, bool now) {
    struct lamina_stats stats;
    uint64_t at = engine_now_ns();
    if (!now && at - e->figures_ns < FIGURES_EVERY_MS * UINT64_C(1000000)) {
        return;
    }
    e->figures_ns = at;
    lamina_model_stats(e->o.model, &stats);
    pthread_mutex_lock(&e->lock);
    e->figures.stats = stats;
    pthread_mutex_unlock(&e->lock);
}

static void pass_begins(struct engine *e, bool prompts) {
    pthread_mutex_lock(&e->lock);
    e->figures.in_pass = true;
    e->figures.prompt_phase = prompts;
    pthread_mutex_unlock(&e->lock);
}

/* A sweep of `choices` that took `begin` to now brought `tokens` of them. */
static void pass_ended(struct engine *e, uint64_t begin, uint32_t tokens, uint64_t prompt_tokens) {
    double spent = (double)(engine_now_ns() - begin) * 1e-9;
    pthread_mutex_lock(&e->lock);
    struct engine_figures *f = &e->figures;
    f->in_pass = false;
    f->prompt_phase = false;
    f->prompt_done = f->prompt_total = 0;
    f->tokens_made += tokens;
    f->prompt_tokens += prompt_tokens;
    f->sweeps++;
    f->sweep_s += spent;
    f->last_sweep_s = spent;
    if (prompt_tokens == 0 && tokens > 0 && spent > 0) { /* the latest sweeps count most */
        double rate = (double)tokens / spent;
        f->tokens_per_s = f->tokens_per_s > 0 ? 0.8 * f->tokens_per_s + 0.2 * rate : rate;
        f->s_per_token = f->s_per_token > 0 ? 0.8 * f->s_per_token + 0.2 * spent : spent;
    }
    pthread_mutex_unlock(&e->lock);
    refresh(e, false);
}

void engine_on_layer(void *user, uint32_t layer) {
    struct engine_watch *w = (struct engine_watch *)user;
    struct engine *e = atomic_load(&w->engine);
    if (e != NULL) {
        pthread_mutex_lock(&e->lock);
        e->figures.layer = layer;
        pthread_mutex_unlock(&e->lock);
        refresh(e, false);
    }
}

bool engine_on_prompts(void *user, uint64_t done, uint64_t total) {
    struct engine_watch *w = (struct engine_watch *)user;
    struct engine *e = atomic_load(&w->engine);
    bool left = true;
    if (e == NULL) {
        return false;
    }
    pthread_mutex_lock(&e->lock);
    e->figures.prompt_done = done;
    e->figures.prompt_total = total;
    for (uint32_t i = 0; i < e->o.parallel && e->joined[i] != NULL; i++) {
        left = left && e->joined[i]->job->cancelled;
    }
    left = left || e->cut;
    pthread_mutex_unlock(&e->lock);
    return left;
}

void engine_figures(struct engine *e, struct engine_figures *out) {
    pthread_mutex_lock(&e->lock);
    *out = e->figures;
    out->queued = e->queue.count + e->back.count;
    pthread_mutex_unlock(&e->lock);
}

/* ---- jobs ---- */

static void job_free(struct engine_job *job) {
    pthread_mutex_lock(&job->engine->lock);
    job->engine->kept_bytes -= job->kept_bytes;
    pthread_mutex_unlock(&job->engine->lock);
    while (job->first != NULL) {
        struct engine_piece *p = job->first;
        job->first = p->next;
        free(p);
    }
    if (job->taken && job->ask.drop != NULL) {
        job->ask.drop(job->ask.owned);
    }
    pthread_cond_destroy(&job->news);
    free(job->choice);
    free(job);
}

/* Under the lock; true when it was the last hold, and the job is to be freed outside. */
static bool let_go(struct engine_job *job) {
    return --job->holders == 0;
}

/* What a piece takes at most until its answer is gone: itself, and its text in JSON, which is made in parts, joined and copied. */
static uint64_t piece_cost(const struct engine_piece *p) {
    enum { COPIES = 3, OF_TOKEN = 60, OF_TOP = 48 };
    if (!p->has_logprob) {
        return (uint64_t)(1 + COPIES) * p->text_len;
    }
    const uint64_t json = OF_TOKEN + p->text_len + (uint64_t)p->top_count * OF_TOP;
    return sizeof(*p) + p->text_len + p->top_count * sizeof(*p->top) + COPIES * json;
}

/* Under the lock: counts a piece; what is too much ends the job. */
static void job_keeps(struct engine_job *job, const struct engine_piece *piece) {
    struct engine *e = job->engine;
    const uint64_t cost = piece_cost(piece);
    job->kept_bytes += cost;
    job->taken_bytes += job->slow && !piece->prompt ? cost : 0;
    e->kept_bytes += cost;
    if (e->kept_bytes <= ENGINE_KEPT_LIMIT || piece->finish != FINISH_NONE) {
        return;
    }
    const unsigned most = ENGINE_KEPT_LIMIT >> 20;
    if (job->kept_bytes > ENGINE_KEPT_LIMIT) {
        (void)base_fail(&job->error, LAMINA_USAGE,
                        "the answer is too large: it takes more than the %u MiB that the server keeps for answers; ask for fewer "
                        "prompts, tokens or log-probabilities at once", most);
    } else {
        (void)base_fail(&job->error, LAMINA_BUSY,
                        "the answers under way take the %u MiB that the server keeps for them; come again later, or ask for fewer "
                        "prompts, tokens or log-probabilities at once", most);
    }
    job->cancelled = true;
}

void engine_give(struct engine_job *job, struct engine_piece *piece) {
    struct engine *e = job->engine;
    size_t bytes = sizeof(*piece) + piece->text_len + piece->top_count * sizeof(*piece->top);
    pthread_mutex_lock(&e->lock);
    if (job->cancelled) {
        free(piece);
    } else {
        *(job->last != NULL ? &job->last->next : &job->first) = piece;
        job->last = piece;
        job->pending_bytes += piece->prompt || piece->finish != FINISH_NONE ? 0 : bytes;
        job_keeps(job, piece);
        if (job->pending_bytes > ENGINE_PENDING_LIMIT && job->slow) {
            (void)base_fail(&job->error, LAMINA_USAGE, "the client read too slowly: %zu bytes of the answer waited for it, %d may",
                            job->pending_bytes, ENGINE_PENDING_LIMIT);
            job->cancelled = true;
        }
        pthread_cond_signal(&job->news);
    }
    pthread_mutex_unlock(&e->lock);
}

static void job_fails(struct engine_job *job, const struct lamina_error *why) {
    pthread_mutex_lock(&job->engine->lock);
    if (job->error.code == 0) {
        job->error = *why;
    }
    pthread_mutex_unlock(&job->engine->lock);
}

/* `count` choices of it are over. */
static void job_closes(struct engine *e, struct engine_job *job, uint32_t count) {
    job->open -= count;
    if (job->open > 0) {
        return;
    }
    pthread_mutex_lock(&e->lock);
    job->ended = true;
    uint64_t *counter = job->cancelled ? &e->figures.jobs_cancelled
                        : job->error.code != 0 ? &e->figures.jobs_failed : &e->figures.jobs_done;
    ++*counter;
    pthread_cond_signal(&job->news);
    bool last = let_go(job);
    pthread_mutex_unlock(&e->lock);
    if (last) {
        job_free(job);
    }
}

static void choice_over(struct engine *e, struct engine_choice *c) {
    struct lamina_error err = {0};
    struct engine_job *job = c->job;
    if (choice_end(c, e->text, &err) < 0) {
        job_fails(job, &err);
    }
    choice_close(c);
    job_closes(e, job, 1);
}

static void choice_fails(struct engine_choice *c, const struct lamina_error *why) {
    c->finish = FINISH_ERROR;
    job_fails(c->job, why);
}

static bool is_cancelled(struct engine *e, const struct engine_job *job) {
    pthread_mutex_lock(&e->lock);
    bool cancelled = job->cancelled || job->error.code != 0;
    pthread_mutex_unlock(&e->lock);
    return cancelled;
}

lamina_status engine_submit(struct engine *e, const struct engine_ask *ask, struct engine_job **out, struct lamina_error *err) {
    uint32_t choices = ask->prompt_count * ask->n;
    if (choices == 0) {
        return base_fail(err, LAMINA_USAGE, "the request has no prompt: there is nothing to answer");
    }
    struct engine_job *job = (struct engine_job *)calloc(1, sizeof(*job));
    struct engine_choice *list = (struct engine_choice *)calloc(choices, sizeof(*list));
    if (job == NULL || list == NULL) {
        free(job);
        free(list);
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a request");
    }
    *job = (struct engine_job){.engine = e, .ask = *ask, .choice = list, .choices = choices, .open = choices, .holders = 2};
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&job->news, &attributes);
    pthread_condattr_destroy(&attributes);
    for (uint32_t i = 0; i < choices; i++) {
        list[i] = (struct engine_choice){.job = job, .index = i, .prompt = &ask->prompts[i / ask->n]};
    }
    pthread_mutex_lock(&e->lock);
    struct engine_queue *q = ask->background ? &e->back : &e->queue;
    bool full = !ask->background && q->count >= e->o.queue;
    bool refused = e->refusing;
    if (!full && !refused) {
        job->taken = true;
        *q->end = job;
        q->end = &job->after;
        q->count++;
        pthread_cond_signal(&e->work);
    } else {
        e->figures.jobs_refused++;
    }
    pthread_mutex_unlock(&e->lock);
    if (full || refused) {
        job_free(job);
        return refused ? base_fail(err, LAMINA_INTERRUPTED, "the server is ending: it takes no more requests")
                       : base_fail(err, LAMINA_BUSY, "%u requests are waiting already; try again later", e->o.queue);
    }
    *out = job;
    return LAMINA_OK;
}

struct engine_piece *engine_take(struct engine_job *job, unsigned wait_ms, bool *ended) {
    struct engine *e = job->engine;
    uint64_t until_ns = engine_now_ns() + wait_ms * UINT64_C(1000000);
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000)};
    pthread_mutex_lock(&e->lock);
    int waited = 0;
    while (job->first == NULL && !job->ended && waited != ETIMEDOUT && wait_ms > 0) {
        waited = pthread_cond_timedwait(&job->news, &e->lock, &until);
    }
    struct engine_piece *first = job->first;
    job->first = job->last = NULL;
    job->pending_bytes = 0;
    job->kept_bytes -= job->taken_bytes;
    e->kept_bytes -= job->taken_bytes;
    job->taken_bytes = 0;
    *ended = job->ended;
    pthread_mutex_unlock(&e->lock);
    return first;
}

lamina_status engine_job_error(struct engine_job *job, struct lamina_error *err) {
    pthread_mutex_lock(&job->engine->lock);
    *err = job->error;
    pthread_mutex_unlock(&job->engine->lock);
    return err->code;
}

void engine_limit_pending(struct engine_job *job) {
    pthread_mutex_lock(&job->engine->lock);
    job->slow = true;
    pthread_mutex_unlock(&job->engine->lock);
}

void engine_release(struct engine_job **at) {
    struct engine_job *job = *at;
    if (job == NULL) {
        return;
    }
    struct engine *e = job->engine;
    pthread_mutex_lock(&e->lock);
    job->cancelled = job->cancelled || !job->ended;
    pthread_cond_signal(&e->work);
    bool last = let_go(job);
    pthread_mutex_unlock(&e->lock);
    if (last) {
        job_free(job);
    }
    *at = NULL;
}

/* ---- rounds ---- */

/* The next choice of a queue that may join; NULL: none waits. Jobs whose client left are dropped on the way. */
static struct engine_choice *next_of(struct engine *e, struct engine_queue *q) {
    for (;;) {
        pthread_mutex_lock(&e->lock);
        struct engine_job *job = q->first;
        if (job != NULL && job->ask.background && e->refusing && job->begun == 0) {
            (void)base_fail(&job->error, LAMINA_INTERRUPTED, "the server ended before the answer began");
        }
        bool gone = job != NULL && (job->cancelled || job->error.code != 0);
        if (job != NULL && (gone || job->begun + 1 == job->choices)) {
            q->first = job->after;
            q->end = q->first == NULL ? &q->first : q->end;
            q->count--;
        }
        pthread_mutex_unlock(&e->lock);
        if (job == NULL) {
            return NULL;
        }
        if (!gone) {
            return &job->choice[job->begun++];
        }
        uint32_t rest = job->choices - job->begun;
        job->begun = job->choices;
        job_closes(e, job, rest);
    }
}

/* Those of the background last, and the last place is not theirs while others are at work. `count` have joined already. */
static struct engine_choice *next_waiting(struct engine *e, uint32_t count) {
    struct engine_choice *c = next_of(e, &e->queue);
    bool others = false;
    if (c != NULL) {
        return c;
    }
    for (c = e->running; c != NULL && !others; c = c->after) {
        others = !c->job->ask.background;
    }
    for (uint32_t i = 0; i < count && !others; i++) {
        others = !e->joined[i]->job->ask.background;
    }
    return e->running_count + count + (others ? 1 : 0) < e->o.parallel ? next_of(e, &e->back) : NULL;
}

struct feed {
    struct engine *e;
    uint32_t first; /* of the joined choices: this feed's */
};

static bool on_row(void *user, uint32_t prompt, uint32_t row, const float *logits) {
    struct feed *f = (struct feed *)user;
    struct engine *e = f->e;
    struct engine_choice *c = e->joined[f->first + prompt];
    uint32_t vocab = lamina_model_plan(e->o.model)->vocab;
    struct lamina_error err = {0};
    lamina_status status = c->finish != FINISH_NONE ? LAMINA_OK : choice_prompt_row(c, row, logits, vocab, &err);
    if (status == LAMINA_OK && c->finish == FINISH_NONE && row + 1 == c->prompt->count && c->job->ask.max_tokens > 0) {
        status = choice_next(c, e->o.model, e->text, vocab, &err);
    }
    if (status < 0) {
        choice_fails(c, &err);
    }
    return false;
}

/* The prompts of joined choices first .. first + count - 1. */
static lamina_status feed_some(struct engine *e, uint32_t first, uint32_t count, struct lamina_error *err) {
    struct feed f = {.e = e, .first = first};
    struct lamina_prompts p = {.prompt = e->prompts + first, .count = count, .on_row = on_row, .user = &f};
    return lamina_prompts_feed(&p, err);
}

static void fill_prompts(struct engine *e, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const struct engine_choice *c = e->joined[i];
        bool all = c->job->ask.prompt_logprobs;
        uint32_t rows = all ? c->prompt->count : c->job->ask.max_tokens > 0 ? 1 : 0;
        e->prompts[i] = (struct lamina_prompt){.session = c->session, .ids = c->prompt->ids, .count = c->prompt->count,
                                               .first_row = all ? 0 : c->prompt->count - rows, .row_count = rows};
    }
}

static void settle(struct engine *e, struct engine_choice *c) {
    const struct lamina_plan *plan = lamina_model_plan(e->o.model);
    uint32_t most = plan->most_positions < e->o.context_tokens ? plan->most_positions : e->o.context_tokens;
    if (c->finish == FINISH_NONE && c->session != NULL &&
        (c->job->ask.max_tokens == 0 || lamina_session_length(c->session) >= most)) {
        c->finish = FINISH_LENGTH;
    }
}

/* Computes the prompts of the choices that joined, each alone where together is refused: one of them may be at fault. */
static void feed_joined(struct engine *e, uint32_t count) {
    struct lamina_error err = {0};
    uint64_t begin = engine_now_ns();
    uint64_t tokens = 0;
    uint32_t made = 0;
    fill_prompts(e, count);
    pass_begins(e, true);
    lamina_status status = feed_some(e, 0, count, &err);
    for (uint32_t i = 0; status < 0 && i < count; i++) {
        struct lamina_error own = err;
        if (status == LAMINA_USAGE && count > 1) {
            own = (struct lamina_error){0};
            (void)feed_some(e, i, 1, &own);
        }
        if (own.code != 0) {
            choice_fails(e->joined[i], &own);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        tokens += e->joined[i]->prompt->count;
        made += e->joined[i]->made;
    }
    pass_ended(e, begin, made, tokens);
}

/* Choices join while there is room, and their prompts are computed. */
static void join(struct engine *e) {
    uint32_t count = 0;
    struct engine_choice *c = NULL;
    while (e->running_count + count < e->o.parallel && (c = next_waiting(e, count)) != NULL) {
        struct lamina_error err = {0};
        lamina_status status = choice_open(c, e->o.model, e->text, &err);
        bool needed = c->job->ask.max_tokens > 0 || c->job->ask.prompt_logprobs;
        if (status < 0 || !needed) {
            if (status < 0) {
                choice_fails(c, &err);
            }
            settle(e, c);
            choice_over(e, c);
            continue;
        }
        e->joined[count++] = c;
    }
    for (uint32_t i = count; i < e->o.parallel; i++) {
        e->joined[i] = NULL;
    }
    if (count == 0) {
        return;
    }
    feed_joined(e, count);
    for (uint32_t i = 0; i < count; i++) {
        c = e->joined[i];
        e->joined[i] = NULL;
        settle(e, c);
        if (c->finish != FINISH_NONE) {
            choice_over(e, c);
        } else {
            c->after = e->running;
            e->running = c;
            e->running_count++;
        }
    }
}

/* One pass for `count` of the running choices, which stand in e->joined. */
static uint32_t decode_some(struct engine *e, uint32_t count) {
    struct lamina_error err = {0};
    uint32_t vocab = lamina_model_plan(e->o.model)->vocab;
    lamina_status status = lamina_batch_feed(e->sessions, e->ids, count, &err);
    for (uint32_t i = 0; i < count; i++) {
        struct engine_choice *c = e->joined[i];
        struct lamina_error own = err;
        if (status == LAMINA_OK && choice_next(c, e->o.model, e->text, vocab, &own) == LAMINA_OK) {
            settle(e, c);
        } else {
            choice_fails(c, &own);
        }
        e->joined[i] = NULL;
    }
    return status == LAMINA_OK ? count : 0;
}

/* Everybody who is decoding gets one token. */
static void sweep(struct engine *e) {
    uint32_t rows = lamina_model_plan(e->o.model)->prompt_rows;
    uint32_t most = e->o.logit_rows < rows ? e->o.logit_rows : rows;
    uint32_t count = 0;
    uint32_t tokens = 0;
    uint64_t begin = engine_now_ns();
    if (e->running == NULL) {
        return;
    }
    pass_begins(e, false);
    for (struct engine_choice *c = e->running; c != NULL; c = c->after) {
        e->joined[count] = c;
        e->sessions[count] = c->session;
        e->ids[count++] = c->next;
        if (count == most || c->after == NULL) {
            tokens += decode_some(e, count);
            count = 0;
        }
    }
    pass_ended(e, begin, tokens, 0);
}

/* Takes those who are done or whose client left off the list. */
static void part(struct engine *e) {
    for (struct engine_choice **at = &e->running; *at != NULL;) {
        struct engine_choice *c = *at;
        if (c->finish == FINISH_NONE && !is_cancelled(e, c->job)) {
            at = &c->after;
            continue;
        }
        *at = c->after;
        e->running_count--;
        choice_over(e, c);
    }
    pthread_mutex_lock(&e->lock);
    e->figures.running = e->running_count;
    pthread_mutex_unlock(&e->lock);
}

/* Ends all that runs and waits with an error. */
static void cut_all(struct engine *e, const char *why) {
    struct lamina_error err = {0};
    struct engine_choice *c = NULL;
    (void)base_fail(&err, LAMINA_INTERRUPTED, "%s", why);
    for (c = e->running; c != NULL; c = c->after) {
        choice_fails(c, &err);
    }
    part(e);
    while ((c = next_of(e, &e->queue)) != NULL || (c = next_of(e, &e->back)) != NULL) {
        choice_fails(c, &err);
        choice_over(e, c);
    }
}

/* Waits for work. False: the thread ends. */
static bool next_round(struct engine *e) {
    char why[sizeof(e->cut_why)];
    pthread_mutex_lock(&e->lock);
    e->busy = e->running != NULL || e->queue.first != NULL || e->back.first != NULL;
    while (!e->stopping && !e->cut && e->queue.first == NULL && e->back.first == NULL && e->running == NULL) {
        pthread_cond_wait(&e->work, &e->lock);
    }
    bool cut = e->cut;
    bool stopping = e->stopping;
    e->cut = false;
    e->busy = true;
    memcpy(why, e->cut_why, sizeof(why));
    pthread_mutex_unlock(&e->lock);
    if (cut || stopping) {
        cut_all(e, why);
    }
    return !stopping;
}

static void *engine_main(void *arg) {
    struct engine *e = (struct engine *)arg;
    while (next_round(e)) {
        part(e);
        join(e);
        pthread_mutex_lock(&e->lock);
        e->figures.running = e->running_count;
        pthread_mutex_unlock(&e->lock);
        sweep(e);
        part(e);
        refresh(e, e->running == NULL);
    }
    return NULL;
}

/* ---- beginning and end ---- */

static void engine_free(struct engine *e) {
    free(e->sessions);
    free(e->ids);
    free(e->joined);
    free(e->prompts);
    pthread_cond_destroy(&e->work);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

lamina_status engine_start(struct engine **out, const struct engine_options *o, struct lamina_error *err) {
    struct engine *e = (struct engine *)calloc(1, sizeof(*e));
    sigset_t all;
    sigset_t before;
    if (e == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory");
    }
    e->o = *o;
    e->queue.end = &e->queue.first;
    e->back.end = &e->back.first;
    e->text = lamina_model_text(o->model);
    e->sessions = (struct lamina_session **)calloc(o->parallel, sizeof(*e->sessions));
    e->ids = (uint32_t *)calloc(o->parallel, sizeof(*e->ids));
    e->joined = (struct engine_choice **)calloc(o->parallel, sizeof(*e->joined));
    e->prompts = (struct lamina_prompt *)calloc(o->parallel, sizeof(*e->prompts));
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    if (e->sessions == NULL || e->ids == NULL || e->joined == NULL || e->prompts == NULL) {
        engine_free(e);
        return base_fail(err, LAMINA_NO_FIT, "out of memory for %u choices at once", o->parallel);
    }
    lamina_model_stats(o->model, &e->figures.stats);
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = pthread_create(&e->thread, NULL, engine_main, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        engine_free(e);
        return base_fail_errno(err, failed, "cannot start the engine's thread");
    }
    *out = e;
    return LAMINA_OK;
}

void engine_refuse(struct engine *e) {
    pthread_mutex_lock(&e->lock);
    e->refusing = true;
    pthread_mutex_unlock(&e->lock);
}

bool engine_idle(struct engine *e) {
    pthread_mutex_lock(&e->lock);
    bool idle = !e->busy && e->queue.first == NULL && e->back.first == NULL;
    pthread_mutex_unlock(&e->lock);
    return idle;
}

void engine_cut(struct engine *e, const char *why) {
    pthread_mutex_lock(&e->lock);
    e->cut = true;
    (void)snprintf(e->cut_why, sizeof(e->cut_why), "%s", why);
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
}

void engine_stop(struct engine **at) {
    struct engine *e = *at;
    if (e == NULL) {
        return;
    }
    engine_cut(e, "the server ended before the answer did");
    pthread_mutex_lock(&e->lock);
    e->refusing = true;
    e->stopping = true;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    engine_free(e);
    *at = NULL;
}
