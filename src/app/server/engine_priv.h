/* SPDX-License-Identifier: Apache-2.0
 * What engine.c and choice.c share. Fields of a choice are the engine thread's; those under "lock" are everybody's under it. */
#ifndef SERVER_ENGINE_PRIV_H
#define SERVER_ENGINE_PRIV_H

#include "app/server/engine.h"

struct engine_choice {
    struct engine_job *job;
    uint32_t index;
    struct lamina_session *session;
    struct lamina_decoder *decoder;
    struct str held;         /* decoded, not handed out yet */
    const struct engine_prompt *prompt;
    uint32_t next;           /* sampled, not computed yet */
    uint32_t made;
    enum engine_finish finish;
    struct engine_choice *after; /* in the list of running ones */
};

struct engine_job {
    struct engine *engine;
    struct engine_ask ask;
    struct engine_choice *choice; /* [prompts * n] */
    uint32_t choices;
    uint32_t begun;          /* choices that have joined; the engine thread's */
    uint32_t open;           /* choices that have not ended; likewise */
    struct engine_job *after;/* in the queue */
    /* lock: */
    unsigned holders;
    bool taken, cancelled, ended, slow;
    struct engine_piece *first, *last;
    size_t pending_bytes;
    uint64_t kept_bytes, taken_bytes; /* the second: of the first, what goes when the pieces at hand are taken */
    struct lamina_error error;
    pthread_cond_t news;
};

struct engine_queue {
    struct engine_job *first, **end;
    uint32_t count;
};

struct engine {
    struct engine_options o;
    struct lamina_text *text; /* the model's, may be NULL */
    pthread_t thread;
    struct engine_choice *running;   /* the engine thread's */
    uint32_t running_count;
    struct lamina_session **sessions;/* [parallel], scratch of a pass */
    uint32_t *ids;                   /* [parallel] */
    struct engine_choice **joined;   /* [parallel] */
    struct lamina_prompt *prompts;   /* [parallel] */
    uint64_t figures_ns;
    /* lock: */
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct engine_queue queue, back; /* back: jobs of the background */
    bool refusing, stopping, cut, busy;
    uint64_t kept_bytes;             /* of all jobs */
    char cut_why[128];
    struct engine_figures figures;
};

/* Appends a piece to its job, or cancels the job when nobody takes them. */
void engine_give(struct engine_job *job, struct engine_piece *piece);

/* choice.c: what follows from the logits of a choice. All on the engine thread. */
lamina_status choice_open(struct engine_choice *c, struct lamina_model *model, struct lamina_text *text, struct lamina_error *err);
void choice_close(struct engine_choice *c);
/* Row `row` of its prompt: the log-probability of the token after it. */
lamina_status choice_prompt_row(struct engine_choice *c, uint32_t row, const float *logits, uint32_t vocab,
                                struct lamina_error *err);
/* Samples the next token, hands out its text; sets c->finish when it was the last. */
lamina_status choice_next(struct engine_choice *c, struct lamina_model *model, struct lamina_text *text, uint32_t vocab,
                          struct lamina_error *err);
/* The last piece. */
lamina_status choice_end(struct engine_choice *c, struct lamina_text *text, struct lamina_error *err);

#endif
