/* SPDX-License-Identifier: Apache-2.0
 *
 * How near answers come to the right ones: by their words, by ROUGE-L and by BLEU. Bytes in, numbers out. The last two are
 * those of the field's packages, so that figures compare:
 *
 *     ROUGE-L  the F1 of rouge_score 0.1.2 without stemming: the longest common subsequence of words, which are runs of a-z and
 *              0-9 of the lower-cased text. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004). Text of other
 *              scripts has no words under this rule and scores 0.
 *     BLEU     sacrebleu 2's corpus figure with its defaults: 13a tokens, exponential smoothing, brevity penalty against the
 *              reference nearest in length. Papineni et al. (2002); Post, "A Call for Clarity in Reporting BLEU Scores" (2018).
 *
 * One thread at a time uses a struct answers; the functions without one keep nothing.
 */
#ifndef GEN_ANSWERS_H
#define GEN_ANSWERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "base/str.h"

enum { ANSWER_ORDERS = 4 }; /* n-grams of 1 to 4 tokens */

struct answers {
    uint64_t count, right;
    double rouge_l; /* sum over the answers, each of its best reference */
    uint64_t answer_tokens, reference_tokens, matched[ANSWER_ORDERS], total[ANSWER_ORDERS];
};

/* Adds one answer and its references, at least one. NO_FIT without memory; the sums are then as they were. */
lamina_status answers_add(struct answers *a, struct span answer, const struct span *reference, uint32_t count,
                          struct lamina_error *err);
double answers_bleu(const struct answers *a); /* 0 to 100, over all answers */

/* The same words (text_words), or, where the reference has none, the same bytes but for white space around them. */
lamina_status answer_is_right(struct span answer, struct span reference, bool *right, struct lamina_error *err);
lamina_status answer_rouge_l(struct span answer, struct span reference, double *f1, struct lamina_error *err);
/* Appends the 13a tokens with a space after each. */
void answer_tokens_13a(struct span text, struct str *out);

#endif
