/* SPDX-License-Identifier: Apache-2.0
 * A file of logits of the scored positions of a text, for lamina kl: see logit_file.c for its form. One thread at a time. */
#ifndef CLI_LOGIT_FILE_H
#define CLI_LOGIT_FILE_H

#include "app/cli/cli.h"
#include "base/hash.h"

struct logit_file {
    int fd;              /* -1: none; so {.fd = -1} is the empty state */
    struct str name;     /* for messages, and of what is to be removed */
    const char *final;   /* the name it gets when it is whole; NULL: it has its name, or gets none */
    uint32_t vocab;
    uint64_t at;         /* next byte */
    uint64_t let_go;     /* bytes before this are out of the page cache */
};

/* Does this path lead to such a file (and not to a model)? */
bool logit_file_is(const char *path);
/* A new one: at --save, else under the home without a name. NO_SPACE when the drive has too little, before anything is
 * written. `text` is the hash of the text that the chunks are made of. */
lamina_status logit_file_create(struct logit_file *f, const struct cli_options *o, const struct cli_chunks *c, uint32_t vocab,
                                struct hash128 text, struct lamina_error *err);
lamina_status logit_file_add(struct logit_file *f, const float *logits, struct lamina_error *err);
/* All rows are in: durable and under its name where it is kept; reading begins at the first row. */
lamina_status logit_file_finish(struct logit_file *f, const struct cli_chunks *c, struct lamina_error *err);
/* A kept one, with the chunks it was made of. USAGE when it is of another text, context or fewer chunks than --chunks; DAMAGED
 * when it is not whole. */
lamina_status logit_file_open(struct logit_file *f, const char *path, const struct cli_options *o, struct hash128 text,
                              struct cli_chunks *c, struct lamina_error *err);
/* The next row, [vocab]. DAMAGED when its checksum differs. */
lamina_status logit_file_next(struct logit_file *f, float *row, struct lamina_error *err);
void logit_file_drop(struct logit_file *f);

#endif
