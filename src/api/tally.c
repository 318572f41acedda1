/* SPDX-License-Identifier: Apache-2.0
 * Tallies under their public name: the arithmetic is the gen room's. */
#include <stdlib.h>

#include "api/api_priv.h"
#include "gen/score.h"

struct lamina_tally {
    struct score_tally t;
};

lamina_status lamina_tally_open(struct lamina_tally **tally, uint64_t compared_rows, struct lamina_error *err) {
    struct lamina_tally *t = (struct lamina_tally *)calloc(1, sizeof(*t));
    lamina_status status = t != NULL ? score_tally_init(&t->t, compared_rows, err)
                                     : base_fail(err, LAMINA_NO_FIT, "out of memory for a tally");
    if (status != LAMINA_OK) {
        free(t);
        return status;
    }
    *tally = t;
    return LAMINA_OK;
}

void lamina_tally_close(struct lamina_tally **tally) {
    if (*tally != NULL) {
        score_tally_drop(&(*tally)->t);
        free(*tally);
        *tally = NULL;
    }
}

lamina_status lamina_tally_add(struct lamina_tally *tally, const float *logits, uint32_t vocab, uint32_t next,
                               struct lamina_error *err) {
    return score_tally_add(&tally->t, logits, vocab, next, err);
}

lamina_status lamina_tally_compare(struct lamina_tally *tally, const float *reference, const float *logits, uint32_t vocab,
                                   uint32_t next, struct lamina_error *err) {
    return score_tally_compare(&tally->t, reference, logits, vocab, next, err);
}

void lamina_tally_result(const struct lamina_tally *tally, struct lamina_tally_result *result) {
    score_tally_result(&tally->t, result);
}

double lamina_tally_kl_percentile(struct lamina_tally *tally, double percent) {
    return score_tally_percentile(&tally->t, percent);
}
