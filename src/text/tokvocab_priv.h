/* SPDX-License-Identifier: Apache-2.0
 *
 * The vocabulary: token text <-> id, compact (one blob of text, per id its place, one open-addressing table of ids).
 * Filled once, then read-only. */
#ifndef TEXT_TOKVOCAB_PRIV_H
#define TEXT_TOKVOCAB_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum { TOK_VOCAB_LIMIT = 1 << 22, TOK_TOKEN_LIMIT = 4096 };
#define TOK_NONE UINT32_MAX

struct tok_vocab {
    char *blob;
    size_t blob_len;
    size_t blob_cap;
    uint32_t *offset; /* by id; TOK_NONE: no such id */
    uint16_t *len;
    uint32_t id_count; /* one more than the largest id */
    uint32_t id_cap;
    uint32_t *table; /* ids, TOK_NONE: free */
    uint32_t table_mask;
    uint32_t count; /* tokens */
};

enum tok_vocab_result { TOK_VOCAB_OK, TOK_VOCAB_ID_TAKEN, TOK_VOCAB_NO_MEMORY };

/* A text given twice keeps its last id, as in the reference. id < TOK_VOCAB_LIMIT, text at most TOK_TOKEN_LIMIT
 * bytes. */
enum tok_vocab_result tok_vocab_add(struct tok_vocab *v, struct span text, uint32_t id);
void tok_vocab_fit(struct tok_vocab *v); /* gives spare memory back after filling */
void tok_vocab_drop(struct tok_vocab *v);

bool tok_vocab_id(const struct tok_vocab *v, struct span text, uint32_t *id);
bool tok_vocab_text(const struct tok_vocab *v, uint32_t id, struct span *text);
/* The ids of <0x00> to <0xFF>, TOK_NONE where there is none; returns whether all are there. */
bool tok_byte_ids(const struct tok_vocab *v, uint32_t ids[256]);
size_t tok_vocab_bytes(const struct tok_vocab *v);

#endif
