/* SPDX-License-Identifier: Apache-2.0
 * What the writers of a GGUF file's side files share: its vocabulary, read and checked once, and the tables of kinds. */
#ifndef FORMAT_GGUF_TOKENIZER_PRIV_H
#define FORMAT_GGUF_TOKENIZER_PRIV_H

#include "format/gguf_tokenizer.h"

enum { GGUF_MAX_TOKENS = 1 << 22, GGUF_MAX_TOKEN_BYTES = 4096 };
#define GGUF_NO_ID UINT32_MAX

/* ---- tables (gguf_tokenizer_pre.c) ---- */

enum gguf_pipeline {
    GGUF_PIECES,  /* SentencePiece: the scores say what is merged */
    GGUF_UNIGRAM, /* SentencePiece: the scores say which cut is best */
    GGUF_BYTES,   /* BPE over the byte alphabet */
    GGUF_MARKS,   /* BPE over characters, spaces as U+2581, bytes where there is no character */
    GGUF_WORDS,   /* WordPiece */
};

/* A value of tokenizer.ggml.model, and what holds where the file does not say. Ids: -1 is none. */
struct gguf_kind {
    const char *model;
    enum gguf_pipeline pipeline;
    int32_t bos, eos, unk, pad, sep;
    bool add_bos, add_eos, space_prefix;
};
/* NULL: not known, or known and not supported. */
const struct gguf_kind *gguf_kind_of(struct span model);

enum { GGUF_MAX_CUTS = 7 };

/* Names of tokenizer.ggml.pre that mean one thing. */
struct gguf_pre {
    const char *names;                 /* each with a space before and behind */
    const char *cuts[GGUF_MAX_CUTS];   /* patterns; each cuts what those before it left, into matches and the rest */
    bool nfc, marks, ignore_merges, add_bos;
};
/* NULL: not known. */
const struct gguf_pre *gguf_pre_of(struct span name);

/* What tokenizer_config.json calls the tokenizer. `tight`: special tokens are put into a text and taken out of it without
 * anything around them; such a class wants the ends, the unknown token and padding to be named. */
const char *gguf_class_name(bool tight);

/* Whether blanks behind this added token are dropped: one series of models has it so, and its files do not say. */
bool gguf_eats_blanks(struct span model_name, struct span token);

/* The texts of tokens that end an answer wherever they are; NULL past the last. */
const char *gguf_end_text(unsigned index);

/* ---- the vocabulary (gguf_tokenizer_vocab.c) ---- */

/* As the file numbers them, which is as SentencePiece does. */
enum gguf_token_type {
    GGUF_TOKEN_PLAIN = 1,
    GGUF_TOKEN_UNKNOWN = 2,
    GGUF_TOKEN_CONTROL = 3,
    GGUF_TOKEN_USER = 4,
    GGUF_TOKEN_UNUSED = 5,
    GGUF_TOKEN_BYTE = 6,
};

struct gguf_token {
    struct span text; /* UTF-8, in the header; empty: the id is free */
    float score;
    uint8_t type;
};

struct gguf_vocab {
    const struct gguf *file;
    const char *name; /* of the file, for messages */
    const struct gguf_kind *kind;
    const struct gguf_pre *pre; /* of GGUF_BYTES and GGUF_MARKS */
    enum gguf_pipeline pipeline;
    struct gguf_token *tokens;  /* by id; malloc'ed */
    uint32_t count;
    uint32_t bos, eos, eot, eom, unk, pad, sep, mask; /* in range, or GGUF_NO_ID */
    bool add_bos, add_eos;
    bool whole; /* the file has its tokenizer.json as it is; kind and tokens may be missing */
};

/* gguf_vocab_drop after failures too. */
lamina_status gguf_vocab_read(struct gguf_vocab *v, struct lamina_error *err);
void gguf_vocab_drop(struct gguf_vocab *v);
/* DAMAGED when a text stands at two ids. */
lamina_status gguf_vocab_check_single(const struct gguf_vocab *v, struct lamina_error *err);

/* How a token stands in the files' vocabulary: its text, made into what the pipeline cuts texts into, or a name of its own
 * where it has none. */
void gguf_token_write(const struct gguf_vocab *v, uint32_t id, struct str *out);
/* Found in a text, as it stands, before anything else cuts it. */
bool gguf_token_is_added(const struct gguf_vocab *v, uint32_t id);
/* ... and found nowhere in a text that is to be taken for text. */
bool gguf_token_is_special(const struct gguf_vocab *v, uint32_t id);
struct span gguf_token_text(const struct gguf_vocab *v, uint32_t id); /* empty for GGUF_NO_ID */

/* *out keeps its value when the key is not there. DAMAGED: another type. */
lamina_status gguf_take_flag(const struct gguf_vocab *v, const char *key, bool *out, struct lamina_error *err);
lamina_status gguf_bad_key(const struct gguf_vocab *v, const char *key, const char *what, struct lamina_error *err);

/* ---- the two files with the vocabulary ---- */

lamina_status gguf_write_tokenizer_json(const struct gguf_vocab *v, struct str *out, struct lamina_error *err);
lamina_status gguf_write_tokenizer_model(const struct gguf_vocab *v, struct str *out, struct lamina_error *err);

#endif
