/* SPDX-License-Identifier: Apache-2.0
 *
 * SentencePiece models (Kudo & Richardson 2018): what the file says, its normaliser, and its decoder. Behaviour follows
 * google/sentencepiece 0.2: a text is normalised as a whole, cut by the model (tokmerge.c or tokunigram.c), and what is
 * unknown becomes byte pieces or one unknown piece per run. */
#ifndef TEXT_TOKSP_PRIV_H
#define TEXT_TOKSP_PRIV_H

#include "text/tokcharsmap_priv.h"
#include "text/tokenizer_priv.h"

/* The kind of a piece, as the file numbers it; 0 for ids that are not pieces. */
enum tok_piece_type {
    TOK_PIECE_NONE = 0,
    TOK_PIECE_NORMAL = 1,
    TOK_PIECE_UNKNOWN = 2,
    TOK_PIECE_CONTROL = 3,
    TOK_PIECE_USER = 4,
    TOK_PIECE_UNUSED = 5,
    TOK_PIECE_BYTE = 6,
};

/* --- the file (tokspfile.c) --- */

enum tok_sp_algorithm { TOK_SP_UNIGRAM = 1, TOK_SP_BPE = 2 };

struct tok_sp_normalizer_spec {
    struct span charsmap;
    bool dummy_prefix;
    bool remove_extra;
    bool escape;
};

struct tok_sp_file {
    uint64_t algorithm;
    uint32_t base;  /* id of the first piece */
    uint32_t count; /* pieces */
    uint32_t unk;   /* id */
    uint32_t bos;   /* TOK_NONE: none */
    uint32_t eos;
    float *scores; /* by piece */
    bool byte_fallback;
    bool suffix; /* the mark of a space stands behind a word */
    struct span unk_surface;
    struct tok_sp_normalizer_spec normalizer;
    struct span denormalizer; /* its character map */
};

/* Whether the bytes begin as a SentencePiece model does. */
bool tok_sp_is_model(struct span bytes);
/* Whether one of the first pieces is this. */
bool tok_sp_has_piece(struct span bytes, const char *text);
/* Pieces go into m->vocab at ids from f->base on, their types into m->piece_type. Spans of *f lie in `bytes`. */
lamina_status tok_sp_read(struct tok_sp_file *f, struct span bytes, struct tok_model *m, struct lamina_error *err);
/* One piece more, behind all others. */
lamina_status tok_sp_append(struct tok_sp_file *f, struct tok_model *m, struct span text, enum tok_piece_type type,
                            struct lamina_error *err);
/* What must hold once all pieces are there: one unknown piece, all bytes or none. */
lamina_status tok_sp_check(struct tok_sp_file *f, struct tok_model *m, struct lamina_error *err);
void tok_sp_file_drop(struct tok_sp_file *f);

/* --- the models --- */

/* Takes scores and types; m->vocab is complete. */
lamina_status tok_merge_open_sp(struct tok_model *m, const struct tok_sp_file *f, struct lamina_error *err);
lamina_status tok_unigram_open_sp(struct tok_model *m, const struct tok_sp_file *f, struct lamina_error *err);

/* Ids of the pieces a model cuts a text into: unknown text as bytes, or one unknown id for a run of it. */
struct tok_sp_unknown {
    uint32_t unk;
    bool byte_fallback;
    uint32_t byte_id[256];
};
void tok_sp_unknown_open(struct tok_sp_unknown *u, const struct tok_model *m, const struct tok_sp_file *f);
/* *run: the piece before was unknown too. False: out of memory. */
bool tok_sp_unknown_push(const struct tok_sp_unknown *u, struct span text, bool *run, struct text_ids *out);

/* User-defined pieces: found in the text before anything else looks at it. Points into m->vocab. */
bool tok_sp_users_open(struct tok_pattern_set *users, const struct tok_model *m);
/* Bytes of the longest user-defined piece at the front of the text; 0: none. */
static inline size_t tok_sp_users_at(const struct tok_pattern_set *users, struct span text) {
    if (users->first[text.ptr[0]] == users->first[text.ptr[0] + 1u]) {
        return 0;
    }
    const struct tok_pattern *p = tok_pattern_longest(users, text);
    return p == NULL ? 0 : p->len;
}

/* --- the normaliser (tokspnorm.c): a step of the normalizer's list --- */

struct tok_sp_norm {
    struct tok_charsmap map;
    struct tok_pattern_set users;
    bool dummy_prefix;
    bool remove_extra;
    bool escape;
    bool suffix;
};
lamina_status tok_sp_norm_open(struct tok_sp_norm **n, const struct tok_sp_file *f, const struct tok_model *m,
                               struct lamina_error *err);
void tok_sp_norm_close(struct tok_sp_norm **n);
void tok_sp_norm_run(const struct tok_sp_norm *n, struct span text, struct str *out);
size_t tok_sp_norm_bytes(const struct tok_sp_norm *n);

/* --- the decoder (tokspdecode.c) --- */

/* How a tokenizer class of transformers puts special tokens and runs of pieces together. */
enum tok_sp_style {
    TOK_SP_BARE,      /* all tokens are one run, as SentencePiece itself decodes */
    TOK_SP_LLAMA,     /* a space before the run that a special token ends; the first mark of a space is dropped */
    TOK_SP_LLAMA_NEW, /* legacy false: no such space */
    TOK_SP_TIGHT,     /* as LLAMA, without any space at special tokens */
    TOK_SP_BAICHUAN,  /* a space before the run that a special token ends */
    TOK_SP_INTERNLM,  /* also where that run is empty and the first */
    TOK_SP_PLAIN,     /* special tokens end runs, nothing is added */
    TOK_SP_ONE_RUN,   /* special tokens stand in the run as they are */
};

struct tok_sp_decoder {
    enum tok_sp_style style;
    bool strip_first;  /* the mark of a space at the front of a run is not text */
    bool strip_all;    /* nor are those after it */
    bool prefix_space; /* LLAMA and TIGHT: the tokenizer puts a mark in front */
    bool rewrites;     /* line feeds, tabs and runs of blanks have pieces of their own */
    bool silent_specials; /* special tokens have no text */
    struct str unk_surface;
};
void tok_sp_decoder_close(struct tok_sp_decoder **d);
lamina_status tok_sp_decode(const struct tok_sp_decoder *d, struct tok_texts *tokens, struct tok_decode_mode *mode,
                            struct str *out, struct lamina_error *err);

/* Opens the tokenizer from the model's bytes and the files beside it (toksp.c, tokslow.c). */
lamina_status tok_sp_open(struct text_tokenizer *t, struct span bytes, const struct text_files *files,
                          const struct tok_config *c, struct lamina_error *err);

#endif
