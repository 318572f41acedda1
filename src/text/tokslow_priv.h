/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tokenizer classes of transformers do around a SentencePiece model: which special tokens there are, what is
 * put before and behind a text, how spaces next to special tokens are treated. The classes' sources are the reference;
 * a class that is not in the table is refused, because its rules would be guessed. */
#ifndef TEXT_TOKSLOW_PRIV_H
#define TEXT_TOKSLOW_PRIV_H

#include "text/toksp_priv.h"

enum tok_slow_specials { TOK_SLOW_NAMED, TOK_SLOW_SUFFIX, TOK_SLOW_PREFIX };

struct tok_slow_class {
    const char *classes; /* names, each with a space before and behind; NULL: no class, SentencePiece alone */
    const char *models;  /* model_type of config.json, for checkpoints that name no class */
    const char *bos;     /* where the files name none; NULL: the class has none */
    const char *eos;
    const char *unk;
    const char *pad;
    enum tok_sp_style style;
    enum tok_slow_specials specials;
    uint32_t base;     /* id of the first piece */
    bool add_bos;      /* where the files do not say */
    bool has_legacy;   /* knows the key "legacy" */
    bool fresh;        /* legacy false: the class puts the leading space itself */
    bool rewrites;     /* line feeds, tabs and blanks have pieces */
    bool roles;        /* PREFIX: the tokens of chat roles come behind the others */
    bool only_config;  /* no class named: the files' own tokens and keys, nothing else */
};

/* Which class it is. {0} when nothing names one. */
lamina_status tok_slow_find(struct tok_slow_class *class, struct span model, const struct tok_config *c,
                            struct lamina_error *err);
/* Pieces that the class appends to those of the file, where the file lacks them. */
lamina_status tok_slow_append_pieces(const struct tok_slow_class *class, struct tok_sp_file *f, struct tok_model *m,
                                     struct lamina_error *err);
/* Added tokens, what stands before and behind a text, and the decoder's style. */
lamina_status tok_slow_apply(struct text_tokenizer *t, const struct tok_slow_class *class, const struct tok_sp_file *f,
                             const struct text_files *files, const struct tok_config *c, struct lamina_error *err);

#endif
