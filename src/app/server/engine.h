/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine of the server: one thread owns the model. Others hand it jobs and take their pieces: what one pass brought one choice.
 * New prompts of a round go through together, then all running choices decode in one pass, so the weights are read once for
 * everybody; choices join and leave between passes. What a choice says depends on its own request alone.
 *
 * One lock guards the queue, the pieces of jobs and the figures. The engine thread never waits for a client.
 */
#ifndef SERVER_ENGINE_H
#define SERVER_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "lamina/lamina.h"

enum { ENGINE_NO_TOKEN = UINT32_MAX, ENGINE_PENDING_LIMIT = 256 << 10 };
enum { ENGINE_KEPT_LIMIT = 16 << 20 }; /* of the server's reserve: pieces that answers keep, and the text to be made of them */

enum engine_finish { FINISH_NONE, FINISH_EOS, FINISH_STOP, FINISH_LENGTH, FINISH_ERROR };

struct engine_top {
    uint32_t id;
    float logprob;
};

/* One token of one choice, or (id ENGINE_NO_TOKEN) the text that was held back, or its end. Of the prompt when `prompt`. */
struct engine_piece {
    struct engine_piece *next;
    uint32_t choice, id;
    bool prompt, has_logprob;
    float logprob;
    enum engine_finish finish;
    uint32_t stop;       /* with FINISH_STOP: which of the request's stop strings; UINT32_MAX: one of the model's */
    uint32_t top_count, text_len;
    struct engine_top *top; /* [top_count], in this block */
    char *text;             /* [text_len], in this block */
};

struct engine_prompt {
    uint32_t *ids;
    uint32_t count;
};

/* What the engine needs of a request; all of it stays until `drop` is called with `owned`: by whoever is the last to release
 * the job, or never where it was not taken. */
struct engine_ask {
    const struct engine_prompt *prompts;
    uint32_t prompt_count, n;
    uint32_t max_tokens;          /* 0: none are made */
    struct lamina_sampling sampling;
    const char *const *stops;
    uint32_t stop_count;
    uint32_t top;                 /* alternatives wanted beside each token */
    bool logprobs, prompt_logprobs, ignore_eos;
    bool background;              /* joins when nobody else waits, and leaves one place while others are at work */
    void *owned;
    void (*drop)(void *owned);
};

/* Choice i belongs to prompt i / n. Two hold a job: who made it and the engine; the last to release it frees it. */
struct engine_job;

struct engine;
struct engine_options {
    struct lamina_model *model;   /* open; the engine thread's while it runs */
    uint32_t parallel;            /* choices at once */
    uint32_t queue;               /* jobs that may wait */
    uint32_t logit_rows;          /* as the model was opened with */
    uint32_t context_tokens;
};

/* The figures that /metrics and /lamina/v1/events show; a copy. */
struct engine_figures {
    struct lamina_stats stats;
    uint32_t running, queued;
    bool prompt_phase, in_pass;
    uint32_t layer;               /* of the pass at hand */
    uint64_t prompt_done, prompt_total;
    uint64_t tokens_made, prompt_tokens, jobs_done, jobs_failed, jobs_cancelled, jobs_refused, sweeps;
    double tokens_per_s, s_per_token, last_sweep_s, sweep_s;
};

lamina_status engine_start(struct engine **e, const struct engine_options *o, struct lamina_error *err);
/* No job is taken from now on; those of the background that have not begun end as INTERRUPTED. */
void engine_refuse(struct engine *e);
bool engine_idle(struct engine *e);
/* Ends what is running with an error, then the thread. */
void engine_stop(struct engine **e);
/* Cancels what is running and waiting: their jobs end with an error. */
void engine_cut(struct engine *e, const char *why);

/* For the model's callbacks, set before it is opened: `user` is the engine's watch. */
struct engine_watch {
    struct engine *_Atomic engine;
};
void engine_on_layer(void *watch, uint32_t layer);
/* True: everybody who waits for the prompts at hand has left. */
bool engine_on_prompts(void *watch, uint64_t done, uint64_t total);

/* BUSY when the queue is full (never in the background), INTERRUPTED when the server ends. *job is the caller's to release. */
lamina_status engine_submit(struct engine *e, const struct engine_ask *ask, struct engine_job **job, struct lamina_error *err);
/* What is there, in order; NULL: nothing. Waits at most wait_ms for something. The pieces are the caller's: free each. *ended:
 * nothing comes after these. */
struct engine_piece *engine_take(struct engine_job *job, unsigned wait_ms, bool *ended);
/* Why pieces ended with FINISH_ERROR. */
lamina_status engine_job_error(struct engine_job *job, struct lamina_error *err);
/* Its client takes pieces as they come: it ends with an error when more than ENGINE_PENDING_LIMIT bytes of them wait. Of others the
 * whole is kept; what would make all that is kept more than ENGINE_KEPT_LIMIT ends its job too: USAGE where that job alone is too
 * large, BUSY where others have their part in it. Pieces count until the job is released; of tokens made here, until taken. */
void engine_limit_pending(struct engine_job *job);
/* Also cancels it when it has not ended. */
void engine_release(struct engine_job **job);

void engine_figures(struct engine *e, struct engine_figures *out);
/* Of a clock that never goes back. */
uint64_t engine_now_ns(void);

#endif
