/* SPDX-License-Identifier: Apache-2.0
 *
 * How families whose checkpoints ship no chat template expect a conversation, and what ends an answer. Data: each format is
 * a template text for whoever renders, without the tokens that the tokenizer puts around every text by itself.
 */
#ifndef MODEL_CHAT_FORMATS_H
#define MODEL_CHAT_FORMATS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "base/str.h"

/* What the files beside a checkpoint's weights say about chatting. */
struct model_chat {
    struct str architecture, model_type;
    struct str names;          /* where config and tokenizer say they come from, in lower case */
    struct str chat_format;    /* generation_config.json of one family: "raw" for base models */
    struct str stop_strings;   /* of generation_config.json, each ended by a 0 byte */
    uint64_t vocab;
    int64_t user_id, assistant_id; /* tokens that begin a turn, where generation_config.json names them; -1: no */
    bool inner_hidden;         /* config.json has a key of this family's first version */
};

/* Reads config.json, tokenizer_config.json and generation_config.json (empty: absent). model_chat_drop after failures too. */
lamina_status model_chat_read(struct model_chat *c, struct span config, struct span tokenizer_config, struct span generation,
                              struct lamina_error *err);
void model_chat_drop(struct model_chat *c);

enum { MODEL_CHAT_STOPS = 3 };
struct model_chat_format {
    const char *name;          /* for people */
    const char *jinja;         /* sees user_token and assistant_token, where the format asks for their ids */
    const char *token;         /* the tokenizer must know it; NULL: any */
    const char *stops[MODEL_CHAT_STOPS]; /* an answer ends at these: tokens, or texts where the tokenizer has no such token */
    /* Which checkpoints it is for. */
    const char *architectures[2], *model_type;
    const char *name_has[2], *name_lacks; /* words in the checkpoint's name, and one that is not */
    uint64_t vocab;            /* 0: any */
    bool role_ids;             /* generation_config.json must name the two tokens */
    bool inner_hidden;
};

/* The formats of a checkpoint, the first whose token the tokenizer knows counts; NULL past the last. Start at *row = 0. */
const struct model_chat_format *model_chat_next(const struct model_chat *c, unsigned *row);
/* NULL when there is none of that name; in order of the table, NULL past the last. */
const struct model_chat_format *model_chat_format_of_name(const char *name);
const struct model_chat_format *model_chat_format_at(unsigned index);

/* Tokens that end a turn wherever a template writes them, whatever the end tokens of the configs are; NULL past the last. */
const char *model_turn_end(unsigned index);

#endif
