/* SPDX-License-Identifier: Apache-2.0
 * Answers under their public name: the arithmetic is the gen room's. */
#include <stdlib.h>

#include "api/api_priv.h"
#include "gen/answers.h"

struct lamina_answers {
    struct answers a;
};

lamina_status lamina_answers_open(struct lamina_answers **answers, struct lamina_error *err) {
    struct lamina_answers *a = (struct lamina_answers *)calloc(1, sizeof(*a));
    if (a == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for answers");
    }
    *answers = a;
    return LAMINA_OK;
}

void lamina_answers_close(struct lamina_answers **answers) {
    free(*answers);
    *answers = NULL;
}

lamina_status lamina_answers_add(struct lamina_answers *answers, const char *text, size_t len, const char *const *references,
                                 uint32_t count, struct lamina_error *err) {
    if (count == 0) {
        return base_fail(err, LAMINA_USAGE, "an answer needs a reference to be compared with");
    }
    struct span *reference = (struct span *)calloc(count, sizeof(*reference));
    if (reference == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for %u references", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        reference[i] = span_of_text(references[i]);
    }
    lamina_status status = answers_add(&answers->a, span_of(text, len), reference, count, err);
    free(reference);
    return status;
}

void lamina_answers_result(const struct lamina_answers *answers, struct lamina_answers_result *result) {
    const struct answers *a = &answers->a;
    result->count = a->count;
    result->right = a->right;
    result->rouge_l = a->count > 0 ? a->rouge_l / (double)a->count : 0.0;
    result->bleu = answers_bleu(a);
}
