/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokenizers: text to ids and back, from the files a checkpoint ships. Pure: bytes in, ids out; opens nothing.
 * What a file asks for and this room does not know is refused by name (UNSUPPORTED), never approximated.
 * A tokenizer is immutable after open, so any number of threads may encode and decode with one.
 */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "base/str.h"

/* The files as found; an absent one is an empty span. Bytes are only borrowed during text_tokenizer_open. */
struct text_files {
    struct span tokenizer_json;
    struct span vocab_json;        /* with merges_txt: GPT-2 style byte-level BPE */
    struct span merges_txt;
    struct span tokenizer_model;   /* tokenizer.model, spiece.model, ice_text.model: SentencePiece, or a rank file */
    struct span tiktoken;          /* *.tiktoken, tiktoken.model: likewise; what it is shows in its bytes */
    struct span added_tokens_json;
    struct span tokenizer_config;  /* tokenizer_config.json */
    struct span special_tokens_map;
    struct span config;            /* config.json: bos/eos ids, vocab size */
};

struct text_tokenizer;

/* Of several vocabularies the first in this order counts: tokenizer.json, vocab.json with merges.txt, tokenizer_model,
 * tiktoken. Errors: NOT_FOUND no usable file; DAMAGED not what it should be; UNSUPPORTED names the component; NO_FIT memory.
 * Limits (reference: reliability.md 5.3): tokenizer.json 256 MiB, vocabulary 2^22, merges 2^23, added tokens 65,536,
 * token 4 KiB. */
lamina_status text_tokenizer_open(struct text_tokenizer **t, const struct text_files *files, struct lamina_error *err);
void text_tokenizer_close(struct text_tokenizer **t);

struct text_ids {
    uint32_t *ids; /* malloc'ed; text_ids_drop */
    size_t count;
    size_t cap;
};
void text_ids_drop(struct text_ids *ids);

enum text_encode_flags {
    TEXT_ADD_SPECIAL = 1,   /* run the post-processor (BOS, EOS, ...) */
    TEXT_PARSE_SPECIAL = 2, /* recognise special added tokens written in the text */
};
/* Appends ids. Bytes that are not UTF-8 are encoded as U+FFFD, as the reference does. Linear in len. */
lamina_status text_encode(const struct text_tokenizer *t, struct span bytes, unsigned flags, struct text_ids *out,
                          struct lamina_error *err);

/* Appends the text of all ids at once, exactly as the decoder of the file says (skip_special drops special tokens).
 * USAGE when an id has no token. */
lamina_status text_decode(const struct text_tokenizer *t, const uint32_t *ids, size_t count, bool skip_special,
                          struct str *out, struct lamina_error *err);

/* Incremental decoding: text comes out as soon as it cannot change, always whole UTF-8 sequences, and the pieces
 * concatenate to exactly what text_decode of all ids gives. Start from {0}. */
struct text_stream {
    struct text_ids pending; /* the latest ids, as far as later ones can still change their text */
    struct str shown;        /* what of their text is out already */
    uint32_t state;          /* what the decoder remembers of the tokens before them */
    bool started;            /* text came before them, so they are not the front of the answer */
};
void text_stream_drop(struct text_stream *s);
lamina_status text_stream_add(const struct text_tokenizer *t, struct text_stream *s, uint32_t id, bool skip_special,
                              struct str *out, struct lamina_error *err);
lamina_status text_stream_finish(const struct text_tokenizer *t, struct text_stream *s, bool skip_special,
                                 struct str *out, struct lamina_error *err);

uint32_t text_vocab_size(const struct text_tokenizer *t); /* one more than the largest id */
/* What TEXT_ADD_SPECIAL puts in front of a text: *count ids, owned by the tokenizer. */
const uint32_t *text_front(const struct text_tokenizer *t, size_t *count);
/* The id of a token given by its exact text (special or not); false when there is none. */
bool text_token_id(const struct text_tokenizer *t, struct span token, uint32_t *id);
/* The text of one token as it stands in the vocabulary; false when the id has none. */
bool text_token_text(const struct text_tokenizer *t, uint32_t id, struct span *token);
bool text_is_special(const struct text_tokenizer *t, uint32_t id);
/* "byte-level BPE", "SentencePiece-style BPE": for people. */
const char *text_tokenizer_kind(const struct text_tokenizer *t);
/* Bytes of heap this tokenizer keeps. */
size_t text_tokenizer_bytes(const struct text_tokenizer *t);

#endif
