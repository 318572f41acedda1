/* SPDX-License-Identifier: Apache-2.0
 *
 * One choice of a request: tokens to text, stop strings, log-probabilities. Text is handed out as soon as it is certain: whole
 * UTF-8 sequences that cannot be the beginning of a stop string. Log-probabilities are those of the model, before any sampling.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/server/engine_priv.h"
#include "base/status.h"

lamina_status choice_open(struct engine_choice *c, struct lamina_model *model, struct lamina_text *text, struct lamina_error *err) {
    struct lamina_sampling sampling = c->job->ask.sampling;
    sampling.sequence = c->index % c->job->ask.n;
    LAMINA_TRY(lamina_session_open(&c->session, model, err));
    LAMINA_TRY(lamina_session_sampling(c->session, &sampling, err));
    return text != NULL ? lamina_decoder_open(&c->decoder, text, true, err) : LAMINA_OK;
}

void choice_close(struct engine_choice *c) {
    lamina_session_close(&c->session);
    lamina_decoder_close(&c->decoder);
    str_drop(&c->held);
}

/* ---- pieces ---- */

static struct engine_piece *piece_new(const struct engine_choice *c, uint32_t top, size_t text_len) {
    struct engine_piece *p = (struct engine_piece *)calloc(1, sizeof(*p) + top * sizeof(struct engine_top) + text_len + 1);
    if (p != NULL) {
        p->choice = c->index;
        p->id = ENGINE_NO_TOKEN;
        p->stop = UINT32_MAX;
        p->top = (struct engine_top *)(p + 1);
        p->top_count = top;
        p->text = (char *)(p->top + top);
        p->text_len = (uint32_t)text_len;
    }
    return p;
}

/* log(sum(exp)) in fp64, in order of ids. */
static double log_sum(const float *logits, uint32_t vocab) {
    float most = logits[0];
    double sum = 0;
    for (uint32_t i = 1; i < vocab; i++) {
        most = logits[i] > most ? logits[i] : most;
    }
    for (uint32_t i = 0; i < vocab; i++) {
        sum += exp((double)logits[i] - (double)most);
    }
    return (double)most + log(sum);
}

/* The `count` largest in falling order; ties by the lowest id. */
static void pick_top(const float *logits, uint32_t vocab, double lse, uint32_t count, struct engine_top *top) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        if (kept == count && logits[i] <= logits[top[kept - 1].id]) {
            continue;
        }
        uint32_t at = kept < count ? kept++ : count - 1;
        while (at > 0 && logits[i] > logits[top[at - 1].id]) {
            top[at] = top[at - 1];
            at--;
        }
        top[at].id = i;
    }
    for (uint32_t i = 0; i < kept; i++) {
        top[i].logprob = (float)((double)logits[top[i].id] - lse);
    }
}

static void set_logprob(struct engine_piece *p, const float *logits, uint32_t vocab) {
    double lse = log_sum(logits, vocab);
    p->has_logprob = true;
    p->logprob = (float)((double)logits[p->id] - lse);
    if (p->top_count > 0) {
        pick_top(logits, vocab, lse, p->top_count, p->top);
    }
}

lamina_status choice_prompt_row(struct engine_choice *c, uint32_t row, const float *logits, uint32_t vocab,
                                struct lamina_error *err) {
    const struct engine_ask *ask = &c->job->ask;
    if (!ask->prompt_logprobs || row + 1 >= c->prompt->count) {
        return LAMINA_OK;
    }
    struct engine_piece *p = piece_new(c, ask->top < vocab ? ask->top : vocab, 0);
    if (p == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for log-probabilities");
    }
    p->id = c->prompt->ids[row + 1];
    p->prompt = true;
    set_logprob(p, logits, vocab);
    engine_give(c->job, p);
    return LAMINA_OK;
}

/* ---- stop strings ---- */

/* The `i`-th stop string: the request's, then the model's. NULL past the last. */
static const char *stop_at(const struct engine_choice *c, const struct lamina_text *text, uint32_t i) {
    const struct engine_ask *ask = &c->job->ask;
    if (i < ask->stop_count) {
        return ask->stops[i];
    }
    return text != NULL && !ask->ignore_eos ? lamina_text_stop(text, i - ask->stop_count) : NULL;
}

/* Where the first stop string begins in what is held, or its length; *which: whose it is. */
static size_t find_stop(const struct engine_choice *c, const struct lamina_text *text, uint32_t *which) {
    size_t best = c->held.len;
    for (uint32_t i = 0; stop_at(c, text, i) != NULL; i++) {
        const char *stop = stop_at(c, text, i);
        const char *hit = c->held.len > 0 ? (const char *)memmem(c->held.ptr, c->held.len, stop, strlen(stop)) : NULL;
        if (hit != NULL && (size_t)(hit - c->held.ptr) < best) {
            best = (size_t)(hit - c->held.ptr);
            *which = i < c->job->ask.stop_count ? i : UINT32_MAX;
        }
    }
    return best;
}

/* Bytes at the end of what is held that may begin a stop string. */
static size_t possible_stop(const struct engine_choice *c, const struct lamina_text *text) {
    size_t most = 0;
    for (uint32_t i = 0; stop_at(c, text, i) != NULL; i++) {
        const char *stop = stop_at(c, text, i);
        size_t len = strlen(stop) - (stop[0] != '\0');
        for (len = len < c->held.len ? len : c->held.len; len > most; len--) {
            if (memcmp(c->held.ptr + (c->held.len - len), stop, len) == 0) {
                most = len;
                break;
            }
        }
    }
    return most;
}

/* ---- tokens ---- */

static lamina_status hand_out(struct engine_choice *c, size_t len, uint32_t id, const float *logits, uint32_t vocab,
                              struct lamina_error *err) {
    const struct engine_ask *ask = &c->job->ask;
    bool scored = id != ENGINE_NO_TOKEN && ask->logprobs;
    struct engine_piece *p = piece_new(c, scored ? (ask->top < vocab ? ask->top : vocab) : 0, len);
    if (p == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the text");
    }
    p->id = id;
    if (len > 0) {
        memcpy(p->text, c->held.ptr, len);
        memmove(c->held.ptr, c->held.ptr + len, c->held.len - len + 1);
        c->held.len -= len;
    }
    if (scored) {
        set_logprob(p, logits, vocab);
    }
    engine_give(c->job, p);
    return LAMINA_OK;
}

static void hold(struct engine_choice *c, const char *bytes, size_t len) {
    str_add(&c->held, bytes, len);
}

lamina_status choice_next(struct engine_choice *c, struct lamina_model *model, struct lamina_text *text, uint32_t vocab,
                          struct lamina_error *err) {
    const struct engine_ask *ask = &c->job->ask;
    const float *logits = lamina_session_logits(c->session);
    const char *bytes = "";
    size_t len = 0;
    uint32_t id = 0;
    LAMINA_TRY(lamina_session_sample(c->session, &id, err));
    c->made++;
    c->next = id;
    if (!ask->ignore_eos && lamina_model_ends(model, id)) {
        c->finish = FINISH_EOS;
        return hand_out(c, 0, id, logits, vocab, err); /* a token without text, but with a probability */
    }
    if (c->decoder != NULL) {
        LAMINA_TRY(lamina_decoder_add(c->decoder, id, &bytes, &len, err));
    }
    hold(c, bytes, len);
    if (c->held.failed) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the text");
    }
    uint32_t which = UINT32_MAX;
    size_t stop = find_stop(c, text, &which);
    if (stop < c->held.len) {
        LAMINA_TRY(hand_out(c, stop, id, logits, vocab, err));
        str_clear(&c->held);
        c->finish = FINISH_STOP;
        c->next = which;
        return LAMINA_OK;
    }
    LAMINA_TRY(hand_out(c, c->held.len - possible_stop(c, text), id, logits, vocab, err));
    if (c->made == ask->max_tokens) {
        c->finish = FINISH_LENGTH;
    }
    return LAMINA_OK;
}

lamina_status choice_end(struct engine_choice *c, struct lamina_text *text, struct lamina_error *err) {
    const char *bytes = "";
    size_t len = 0;
    uint32_t which = UINT32_MAX;
    if (c->finish != FINISH_STOP && c->finish != FINISH_ERROR && c->decoder != NULL) {
        LAMINA_TRY(lamina_decoder_finish(c->decoder, &bytes, &len, err));
        hold(c, bytes, len);
    }
    if (c->finish == FINISH_STOP || c->finish == FINISH_ERROR || c->held.failed) {
        str_clear(&c->held);
    }
    size_t stop = find_stop(c, text, &which);
    if (stop < c->held.len) { /* what the decoder held back may complete one */
        c->held.len = stop;
        c->finish = FINISH_STOP;
        c->next = which;
    }
    struct engine_piece *p = piece_new(c, 0, c->held.len);
    if (p == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the text");
    }
    if (c->held.len > 0) {
        memcpy(p->text, c->held.ptr, c->held.len);
    }
    p->finish = c->finish;
    p->stop = c->finish == FINISH_STOP ? c->next : UINT32_MAX;
    engine_give(c->job, p);
    return LAMINA_OK;
}
