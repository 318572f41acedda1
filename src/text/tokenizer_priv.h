/* SPDX-License-Identifier: Apache-2.0
 *
 * A tokenizer: added tokens, then normalizer, then pre-tokenizer, then model; back through the decoder. Filled by
 * one of the loaders (tokfile.c for tokenizer.json, tokkinds.c for vocab.json with merges.txt, toksp.c for SentencePiece
 * models, toktiktoken.c for rank files), then constant. */
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
    struct tok_slow {
        bool fresh;        /* the class puts the leading space itself, and keeps it from the normaliser */
        bool prefix_space; /* ... in front of every text */
        struct str unk;    /* what is put before text that begins with a space */
        size_t unk_ids;    /* ... and taken away again */
    } slow;
    uint32_t next_id;    /* for an added token that is in no vocabulary */
    uint32_t vocab_size; /* one more than the largest id */
    uint32_t plain_from; /* special tokens from this id on are shown as plain added ones */
    bool explicit_ids;   /* an id given with an added token wins over the vocabulary's */
    bool skips_all;      /* where special tokens are plain text all added ones are */
    bool repair_bytes;   /* text that is not UTF-8 becomes U+FFFD byte by byte */
    const char *kind;
};

/* What tokenizer_config.json and special_tokens_map.json say. */
struct tok_config {
    struct str tokenizer_class;
    struct str bos;
    struct str eos;
    struct str unk;
    struct str pad;
    struct str pretokenize_regex;
    struct str name;       /* where the checkpoint says it comes from */
    struct str model_type; /* config.json */
    int64_t image_tokens;  /* -1: not said */
    int add_bos;           /* -1: not said */
    int add_eos;
    int legacy;
    int prefix_space;
    bool has_pretokenize_regex;
    bool names_roles; /* the text of tokenizer_config.json mentions <|assistant|> */
    bool lower_case;
    bool remove_space;
};
void tok_config_drop(struct tok_config *c);
/* Whether the word stands in the list of words, each with a space before and behind. */
bool tok_config_lists(const char *list, const struct str *word);
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
/* Rank files (toktiktoken.c): text lines of a token in base64 and its rank. */
bool tok_ranks_is_file(struct span bytes);
lamina_status tok_ranks_open(struct text_tokenizer *t, struct span bytes, const struct text_files *files,
                             const struct tok_config *c, struct lamina_error *err);
/* The pipeline of a byte-level BPE; pattern NULL: the one ByteLevel brings along. */
lamina_status tok_bytes_pipeline(struct text_tokenizer *t, struct span pattern, bool nfc, bool prefix_space,
                                 struct lamina_error *err);
/* The member "model" of tokenizer.json (tokmodelfile.c). */
bool tok_model_read(struct text_tokenizer *t, struct json_reader *r);
/* {"token": id, ...}, shared by the loaders. */
bool tok_vocab_read(struct json_reader *r, struct tok_vocab *v);

#endif
