/* SPDX-License-Identifier: Apache-2.0
 * The arithmetic of perplexity and of the divergence between two models. */
#include "gen/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kern/math.h"

enum { LANES = 16 };

static double fold(double lane[LANES]) {
    for (unsigned half = LANES / 2; half > 0; half /= 2) {
        for (unsigned i = 0; i < half; i++) {
            lane[i] += lane[i + half];
        }
    }
    return lane[0];
}

/* The largest logit and where it is; of several the first. */
static lamina_status find_top(const float *logits, uint32_t vocab, uint32_t *top, struct lamina_error *err) {
    bool good = true;
    uint32_t best = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        good = good && logits[i] < INFINITY; /* a NaN is not */
        best = logits[i] > logits[best] ? i : best;
    }
    if (!good || vocab == 0 || logits[best] == -INFINITY) {
        return base_fail(err, LAMINA_DAMAGED, "a row of %u logits holds NaN or infinity, or nothing but -infinity", vocab);
    }
    *top = best;
    return LAMINA_OK;
}

static lamina_status check_id(uint32_t id, uint32_t vocab, struct lamina_error *err) {
    if (id >= vocab) {
        return base_fail(err, LAMINA_USAGE, "token id %u is outside a row of %u logits", id, vocab);
    }
    return LAMINA_OK;
}

/* How far the logits from `at` on lie below the row's maximum, as many lanes as there are; the others are -infinity. */
static void load(const float *logits, uint32_t vocab, uint32_t at, double most, double out[LANES]) {
    uint32_t count = vocab - at < LANES ? vocab - at : LANES;
    for (uint32_t i = 0; i < LANES; i++) {
        out[i] = i < count ? (double)logits[at + i] - most : -(double)INFINITY;
    }
}

lamina_status score_row(const float *logits, uint32_t vocab, uint32_t id, double *logprob, struct lamina_error *err) {
    double lane[LANES] = {0};
    uint32_t top = 0;
    LAMINA_TRY(check_id(id, vocab, err));
    LAMINA_TRY(find_top(logits, vocab, &top, err));
    double most = (double)logits[top];
    for (uint32_t at = 0; at < vocab; at += LANES) {
        double p[LANES];
        load(logits, vocab, at, most, p);
        kern_exp_lanes(p); /* 0 below e^-700, so that no sum depends on whether its thread flushes denormal numbers */
        for (uint32_t i = 0; i < LANES; i++) {
            lane[i] += p[i];
        }
    }
    *logprob = ((double)logits[id] - most) - kern_log(fold(lane));
    return LAMINA_OK;
}

/* With p = exp(a - A), q = exp(b - B), A and B the log-sum-exps of the rows:
 *     KL = sum p ((a - A) - (b - B)) = sum exp(a - max a) ((a - max a) - (b - max b)) / sum exp(a - max a) - (log Sp - log Sq)
 * so one walk over both rows gives everything, and rows of the same bits give 0. */
lamina_status score_rows(const float *reference, const float *logits, uint32_t vocab, uint32_t id, struct score_pair *pair,
                         struct lamina_error *err) {
    double of_p[LANES] = {0};
    double of_q[LANES] = {0};
    double apart[LANES] = {0};
    uint32_t top_p = 0;
    uint32_t top_q = 0;
    LAMINA_TRY(check_id(id, vocab, err));
    LAMINA_TRY(find_top(reference, vocab, &top_p, err));
    LAMINA_TRY(find_top(logits, vocab, &top_q, err));
    double most_p = (double)reference[top_p];
    double most_q = (double)logits[top_q];
    for (uint32_t at = 0; at < vocab; at += LANES) {
        double a[LANES], b[LANES], p[LANES], q[LANES];
        load(reference, vocab, at, most_p, a);
        load(logits, vocab, at, most_q, b);
        memcpy(p, a, sizeof(p));
        memcpy(q, b, sizeof(q));
        kern_exp_lanes(p);
        kern_exp_lanes(q);
        for (uint32_t i = 0; i < LANES; i++) {
            of_p[i] += p[i];
            of_q[i] += q[i];
            apart[i] += p[i] > 0.0 ? p[i] * (a[i] - b[i]) : 0.0;
        }
    }
    double sum_p = fold(of_p);
    double log_p = kern_log(sum_p);
    double log_q = kern_log(fold(of_q));
    double kl = fold(apart) / sum_p - (log_p - log_q);
    *pair = (struct score_pair){
        .reference = ((double)reference[id] - most_p) - log_p,
        .model = ((double)logits[id] - most_q) - log_q,
        .kl = kl > 0.0 ? kl : 0.0, /* never negative but by rounding */
        .same_top = top_p == top_q,
    };
    return LAMINA_OK;
}

void score_mean_add(struct score_mean *m, double value) {
    double before = value - m->mean;
    m->count++;
    if (!isfinite(value) || !isfinite(m->mean)) { /* once infinite, infinite for good */
        m->mean = isfinite(m->mean) ? value : m->mean;
        return;
    }
    m->mean += before / (double)m->count;
    m->squares += before * (value - m->mean);
}

double score_mean_error(const struct score_mean *m) {
    if (!isfinite(m->mean) || !isfinite(m->squares)) {
        return (double)INFINITY;
    }
    return m->count > 1 ? sqrt(m->squares / (double)m->count / (double)(m->count - 1)) : 0.0;
}

double score_percentile(const double *sorted, uint64_t count, double percent) {
    double at = percent / 100.0 * (double)(count - 1);
    uint64_t below = at <= 0.0 ? 0 : (uint64_t)at;
    if (below + 1 >= count) {
        return sorted[count - 1];
    }
    double share = at <= 0.0 ? 0.0 : at - (double)below;
    /* Not 0 * infinity. */
    return share > 0.0 ? sorted[below] + share * (sorted[below + 1] - sorted[below]) : sorted[below];
}

lamina_status score_tally_init(struct score_tally *t, uint64_t compared_rows, struct lamina_error *err) {
    *t = (struct score_tally){.capacity = compared_rows};
    if (compared_rows > 0) {
        t->kls = (double *)calloc(compared_rows, sizeof(double));
        if (t->kls == NULL) {
            return base_fail(err, LAMINA_NO_FIT, "out of memory for the divergences of %llu rows",
                             (unsigned long long)compared_rows);
        }
    }
    return LAMINA_OK;
}

void score_tally_drop(struct score_tally *t) {
    free(t->kls);
    *t = (struct score_tally){0};
}

lamina_status score_tally_add(struct score_tally *t, const float *logits, uint32_t vocab, uint32_t id, struct lamina_error *err) {
    double logprob = 0;
    LAMINA_TRY(score_row(logits, vocab, id, &logprob, err));
    score_mean_add(&t->nll, -logprob);
    return LAMINA_OK;
}

lamina_status score_tally_compare(struct score_tally *t, const float *reference, const float *logits, uint32_t vocab,
                                  uint32_t id, struct lamina_error *err) {
    struct score_pair pair;
    if (t->kl.count >= t->capacity) {
        return base_fail(err, LAMINA_USAGE, "the tally was opened to compare %llu rows", (unsigned long long)t->capacity);
    }
    LAMINA_TRY(score_rows(reference, logits, vocab, id, &pair, err));
    double p_diff = kern_exp(pair.model) - kern_exp(pair.reference);
    t->kls[t->kl.count] = pair.kl;
    t->sorted = false;
    t->same_top += pair.same_top;
    score_mean_add(&t->nll, -pair.model);
    score_mean_add(&t->reference_nll, -pair.reference);
    score_mean_add(&t->excess, pair.reference - pair.model);
    score_mean_add(&t->kl, pair.kl);
    score_mean_add(&t->p_diff2, p_diff * p_diff);
    return LAMINA_OK;
}

/* Errors of functions of a mean go by their slope there. */
static void set_comparison(const struct score_tally *t, struct lamina_tally_result *r) {
    double rows = (double)t->kl.count;
    double rms = sqrt(t->p_diff2.mean);
    r->reference_ppl = kern_exp(t->reference_nll.mean);
    r->reference_ppl_error = r->reference_ppl * score_mean_error(&t->reference_nll);
    r->ratio = kern_exp(t->excess.mean);
    r->ratio_error = r->ratio * score_mean_error(&t->excess);
    r->mean_kl = t->kl.mean;
    r->mean_kl_error = score_mean_error(&t->kl);
    r->same_top = (double)t->same_top / rows;
    r->same_top_error = t->kl.count > 1 ? sqrt(r->same_top * (1.0 - r->same_top) / (rows - 1.0)) : 0.0;
    r->rms_p_diff = rms;
    r->rms_p_diff_error = rms > 0.0 ? 0.5 / rms * score_mean_error(&t->p_diff2) : 0.0;
}

void score_tally_result(const struct score_tally *t, struct lamina_tally_result *r) {
    *r = (struct lamina_tally_result){.size = sizeof(*r), .tokens = t->nll.count, .mean_nll = t->nll.mean};
    if (t->nll.count > 0) {
        r->ppl = kern_exp(t->nll.mean);
        r->ppl_error = r->ppl * score_mean_error(&t->nll);
    }
    if (t->kl.count > 0) {
        set_comparison(t, r);
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double score_tally_percentile(struct score_tally *t, double percent) {
    if (t->kl.count == 0) {
        return 0.0;
    }
    if (!t->sorted) {
        qsort(t->kls, t->kl.count, sizeof(double), by_value);
        t->sorted = true;
    }
    return score_percentile(t->kls, t->kl.count, percent);
}
