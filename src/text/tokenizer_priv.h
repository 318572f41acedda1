/* SPDX-License-Identifier: Apache-2.0
 *
 * A tokenizer: added tokens, then normalizer, then pre-tokenizer, then model; back through the decoder. Filled by
 * one of the loaders (tokfile.c for tokenizer.json, tokkinds.c for vocab.json with merges.txt), then constant. */
#ifndef TEXT_TOKENIZER_PRIV_H
#define TEXT_TOKENIZER_PRIV_H

#include "text/tokadded_priv.h"
#include "text/tokenizer.h"
#include "text/tokmodel_priv.h"
#include "text/tokstep_priv.h"

struct text_tokenizer {
    struct tok_model model;
    struct tok_added added;
    struct tok_steps norm;
    struct tok_steps pretok;
    struct tok_decoder decoder;
    struct tok_post post;
    uint32_t next_id;    /* for an added token that is in no vocabulary */
    uint32_t vocab_size; /* one more than the largest id */
    const char *kind;
};

/* What tokenizer_config.json and special_tokens_map.json say. */
struct tok_config {
    struct str tokenizer_class;
    struct str bos;
    struct str eos;
    struct str unk;
    struct str pretokenize_regex;
    struct str model_type; /* config.json */
    int add_bos;           /* -1: not said */
    int add_eos;
    bool add_prefix_space;
    bool has_pretokenize_regex;
};
void tok_config_drop(struct tok_config *c);
lamina_status tok_config_read(struct tok_config *c, const struct text_files *files, struct lamina_error *err);

/* One AddedToken, a string or an object; flags absent from it keep what *token holds. */
bool tok_added_read(struct json_reader *r, struct str *content, struct tok_added_token *token, uint64_t *id);
/* Adds with the reference's rule for ids: the one it has already (added or in the vocabulary), else the next free one.
 * An id given explicitly (not TOK_NONE) wins for a token that has none yet. */
lamina_status tok_added_insert(struct text_tokenizer *t, struct span content, struct tok_added_token flags,
                               uint32_t explicit_id, struct lamina_error *err);
/* The added tokens named by tokenizer_config.json, added_tokens.json and special_tokens_map.json. only_missing leaves
 * tokens that exist as they are. */
lamina_status tok_config_add_tokens(struct text_tokenizer *t, const struct text_files *files, bool only_missing,
                                    struct lamina_error *err);
/* Puts BOS and EOS where the config's class does; keeps the post-processor where it does not. */
lamina_status tok_config_apply(struct text_tokenizer *t, const struct tok_config *c, struct lamina_error *err);

lamina_status tok_file_read(struct text_tokenizer *t, struct span json, struct lamina_error *err);
lamina_status tok_kinds_read(struct text_tokenizer *t, const struct text_files *files, const struct tok_config *c,
                             struct lamina_error *err);
/* {"token": id, ...}, shared by both loaders. */
bool tok_vocab_read(struct json_reader *r, struct tok_vocab *v);

#endif
