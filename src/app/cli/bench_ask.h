/* SPDX-License-Identifier: Apache-2.0
 *
 * Asking a child of `lamina bench`: its command line, and what it said (the lines of bench.h). One thread.
 */
#ifndef CLI_BENCH_ASK_H
#define CLI_BENCH_ASK_H

#include "app/cli/bench.h"

enum { BENCH_MOST_ARGS = 48 };

/* Start from {0}; drop in any case. */
struct bench_args {
    char *word[BENCH_MOST_ARGS];
    struct str text[BENCH_MOST_ARGS];
    uint32_t count;
    bool failed;
};
void bench_args_add(struct bench_args *a, const char *word);
void bench_args_add_pair(struct bench_args *a, const char *name, const char *value); /* nothing where value is NULL */
void bench_args_add_number(struct bench_args *a, const char *name, uint32_t value);
/* The command, the store and the options that every child of a cell has. */
void bench_args_of_cell(const struct bench_run *b, const char *command, const struct bench_cell *cell,
                        const struct bench_row *about, struct bench_args *a);
void bench_args_drop(struct bench_args *a);

struct bench_answer {
    struct bench_rows rows;
    struct bench_of_text of_text; /* of lamina bench-text */
    struct str error, what, warning;
    uint64_t status;
    double share; /* of its work that is done */
    bool finished;
};
void bench_answer_drop(struct bench_answer *a);

/* Runs it, shows how far it is, and returns what it says went wrong; what it found is in *a, which starts from {0} (or with `what`
 * saying what is done). INTERRUPTED: the user stopped it. */
lamina_status bench_ask(struct bench_run *b, const struct bench_args *args, struct bench_answer *a, struct lamina_error *err);

#endif
