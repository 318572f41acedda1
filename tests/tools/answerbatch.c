/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests/tools/golden_answers.py: reads lines of an answer and its references, each in hexadecimal ("-": empty), and prints
 * for each the ROUGE-L, the BLEU of this answer alone and that of all so far.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lamina/lamina.h"

enum { MOST_WORDS = 16, MOST_LINE = 1 << 16 };

/* In place; 0-ended. */
static void unhex(char *word) {
    size_t len = strcmp(word, "-") == 0 ? 0 : strlen(word) / 2;
    for (size_t i = 0; i < len; i++) {
        const char pair[3] = {word[2 * i], word[2 * i + 1], '\0'};
        word[i] = (char)strtoul(pair, NULL, 16);
    }
    word[len] = '\0';
}

static lamina_status bleu_of(char *const *word, uint32_t count, struct lamina_answers *a, struct lamina_answers_result *r,
                             struct lamina_error *err) {
    lamina_status status = lamina_answers_add(a, word[0], strlen(word[0]), (const char *const *)(word + 1), count - 1, err);
    lamina_answers_result(a, r);
    return status;
}

static lamina_status one_line(char *line, struct lamina_answers *all, struct lamina_error *err) {
    char *word[MOST_WORDS];
    uint32_t count = 0;
    struct lamina_answers *alone = NULL;
    struct lamina_answers_result of_one = {.size = sizeof(of_one)};
    struct lamina_answers_result of_all = {.size = sizeof(of_all)};
    for (char *at = strtok(line, " \n"); at != NULL && count < MOST_WORDS; at = strtok(NULL, " \n")) {
        word[count++] = at;
    }
    for (uint32_t i = 0; i < count; i++) {
        unhex(word[i]);
    }
    lamina_status status = lamina_answers_open(&alone, err);
    if (status == LAMINA_OK) {
        status = bleu_of(word, count, alone, &of_one, err);
    }
    if (status == LAMINA_OK) {
        status = bleu_of(word, count, all, &of_all, err);
    }
    (void)printf("%.17g %.17g %.17g\n", of_one.rouge_l, of_one.bleu, of_all.bleu);
    lamina_answers_close(&alone);
    return status;
}

int main(void) {
    static char line[MOST_LINE];
    struct lamina_answers *all = NULL;
    struct lamina_error err = {0};
    lamina_status status = lamina_answers_open(&all, &err);
    while (status == LAMINA_OK && fgets(line, sizeof(line), stdin) != NULL) {
        status = one_line(line, all, &err);
    }
    lamina_answers_close(&all);
    if (status < 0) {
        (void)fprintf(stderr, "answerbatch: %s\n", err.message);
    }
    return -status;
}
