/* SPDX-License-Identifier: Apache-2.0
 *
 * The seam between the pipeline and a kind of model (BPE by merges, by ranks or by scores, Unigram, WordPiece, WordLevel):
 * a vocabulary, and a function that turns one piece of prepared text into ids. */
#ifndef TEXT_TOKMODEL_PRIV_H
#define TEXT_TOKMODEL_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/span.h"
#include "base/status.h"
#include "text/tokenizer.h"
#include "text/tokvocab_priv.h"

/* Working memory of one text_encode call, so that a tokenizer itself stays constant. Start from {0}. */
struct tok_scratch {
    uint32_t *symbols; /* ids of the piece at hand */
    size_t symbols_cap;
    void *links; /* of the model; bytes */
    size_t links_cap;
    void *queue;
    size_t queue_cap;
    void *extra;
    size_t extra_cap;
    struct str word;
};
void tok_scratch_drop(struct tok_scratch *s);
/* Makes *block at least `bytes` long, contents kept; false: out of memory. */
bool tok_scratch_need(void **block, size_t *cap, size_t bytes);

struct tok_model;

struct tok_model_ops {
    lamina_status (*encode)(const struct tok_model *m, struct span piece, struct tok_scratch *s, struct text_ids *out,
                            struct lamina_error *err);
    void (*close)(struct tok_model *m);
    size_t (*bytes)(const struct tok_model *m);
};

struct tok_model {
    const struct tok_model_ops *ops; /* NULL: none yet */
    struct tok_vocab vocab;
    void *self;
    uint8_t *piece_type; /* by id, of a SentencePiece model (toksp_priv.h); else NULL */
    bool byte_fallback;
};

bool tok_ids_push(struct text_ids *ids, uint32_t id);

/* --- BPE --- */
struct tok_bpe_options {
    struct str unk;
    struct str prefix; /* continuing_subword_prefix */
    struct str suffix; /* end_of_word_suffix */
    bool has_unk;
    bool fuse_unk;
    bool byte_fallback;
    bool ignore_merges;
};
void tok_bpe_options_drop(struct tok_bpe_options *o);

enum tok_merge_result { TOK_MERGE_OK, TOK_MERGE_UNKNOWN, TOK_MERGE_NO_MEMORY };

/* Makes the model a BPE over the vocabulary it already has; merges follow in order of rank. */
lamina_status tok_bpe_open(struct tok_model *m, const struct tok_bpe_options *o, struct lamina_error *err);
/* TOK_MERGE_UNKNOWN: left, right or their concatenation is not in the vocabulary. */
enum tok_merge_result tok_bpe_add_merge(struct tok_model *m, struct span left, struct span right);

/* --- BPE whose ranks are the ids (tokmerge.c) --- */
lamina_status tok_merge_open_ranks(struct tok_model *m, struct lamina_error *err);

/* --- Unigram (tokunigram.c) --- */
/* Takes `scores` (by id, malloc'ed), even on failure. unk TOK_NONE: text without a token is an error. */
lamina_status tok_unigram_open_json(struct tok_model *m, double *scores, uint32_t unk, bool byte_fallback,
                                    struct lamina_error *err);

/* --- WordPiece and WordLevel (tokword.c) --- */
struct tok_word_options {
    struct str unk;
    struct str prefix;  /* of a token that continues a word */
    uint64_t most_chars; /* a longer word is unknown */
    bool pieces;         /* WordPiece */
};
void tok_word_options_drop(struct tok_word_options *o);
lamina_status tok_word_open(struct tok_model *m, const struct tok_word_options *o, struct lamina_error *err);

#endif
