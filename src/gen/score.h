/* SPDX-License-Identifier: Apache-2.0
 *
 * What rows of logits say about a text: log-probabilities, and how far two models' rows are apart; and the sums of many
 * rows. Everything is fp64 from fp32 logits, sums over a vocabulary go by 16 lanes and one fold, sums over rows in the order
 * of the rows; so figures are the same on every machine and however rows were computed.
 *
 * A logit may be -infinity, a token of probability 0. NaN, +infinity and rows of nothing but -infinity are refused.
 */
#ifndef GEN_SCORE_H
#define GEN_SCORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "lamina/lamina.h"

/* log p of token `id`: its logit minus the log-sum-exp of the row, which is shifted by the row's maximum. */
lamina_status score_row(const float *logits, uint32_t vocab, uint32_t id, double *logprob, struct lamina_error *err);

struct score_pair {
    double reference, model; /* log p of the token that follows */
    double kl;               /* KL(reference || model) in nats, >= 0; infinite where the model alone gives a token no chance */
    bool same_top;           /* both rows have their maximum at the same id; of several the lowest counts */
};
lamina_status score_rows(const float *reference, const float *logits, uint32_t vocab, uint32_t id, struct score_pair *pair,
                         struct lamina_error *err);

/* Mean and spread of a series, by Welford's recurrence. Start from {0}. */
struct score_mean {
    uint64_t count;
    double mean, squares; /* squares: sum of squared distances from the mean */
};
void score_mean_add(struct score_mean *m, double value);
/* Standard error of the mean, sqrt(variance / (count - 1)) as ggml's perplexity tool has it; 0 of fewer than two values, infinite
 * where a value was. */
double score_mean_error(const struct score_mean *m);

/* The value below which `percent` of the sorted values lie, with linear interpolation between neighbours. count > 0. */
double score_percentile(const double *sorted, uint64_t count, double percent);

struct score_tally {
    struct score_mean nll, reference_nll; /* negative log-likelihood of the tokens that follow */
    struct score_mean excess;             /* the model's minus the reference's, token by token */
    struct score_mean kl;
    struct score_mean p_diff2;            /* squared difference of the probability of the token that follows */
    uint64_t same_top;
    double *kls;                          /* heap: [capacity], kl.count of them filled; NULL: rows are not compared */
    uint64_t capacity;
    bool sorted;
};
lamina_status score_tally_init(struct score_tally *t, uint64_t compared_rows, struct lamina_error *err);
void score_tally_drop(struct score_tally *t);
lamina_status score_tally_add(struct score_tally *t, const float *logits, uint32_t vocab, uint32_t id, struct lamina_error *err);
lamina_status score_tally_compare(struct score_tally *t, const float *reference, const float *logits, uint32_t vocab,
                                  uint32_t id, struct lamina_error *err);
void score_tally_result(const struct score_tally *t, struct lamina_tally_result *r);
double score_tally_percentile(struct score_tally *t, double percent);

#endif
