/* SPDX-License-Identifier: Apache-2.0
 *
 * The four pipelines around the model, each a flat list of steps read from the component of tokenizer.json of that
 * name: normalizer, pre_tokenizer, decoder, post_processor. A reader consumes one JSON value (null: no steps) and
 * leaves the reader failed when it refuses. All are read-only after reading. */
#ifndef TEXT_TOKSTEP_PRIV_H
#define TEXT_TOKSTEP_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/span.h"
#include "base/status.h"
#include "base/str.h"
#include "text/tokenizer.h"
#include "text/tokregex_priv.h"

struct tok_charsmap;
struct tok_sp_norm;
struct tok_sp_decoder;

enum { TOK_STEP_LIMIT = 256 };

/* One step of any pipeline; which members mean something depends on its kind. */
struct tok_step {
    int kind;
    struct tok_regex *re;
    struct tok_charsmap *map;
    struct tok_sp_norm *sp;
    struct str text; /* what to put, prepend, strip, replace ... */
    struct str other;
    uint32_t character;
    size_t start;
    size_t stop;
    int behavior;
    bool invert;
    bool flag_a;
    bool flag_b;
};

struct tok_steps {
    struct tok_step *list;
    size_t count;
};
struct tok_step *tok_steps_add(struct tok_steps *s, struct json_reader *r, int kind); /* NULL: reader failed */
void tok_steps_drop(struct tok_steps *s);
size_t tok_steps_bytes(const struct tok_steps *s);
bool tok_steps_has(const struct tok_steps *s, int kind);

/* --- reading helpers (tokjson.c) --- */
/* The "type" member of the object at hand, without consuming it; refuses an object without one. */
bool tok_json_type(struct json_reader *r, char type[64]);
bool tok_json_text(struct json_reader *r, struct str *out);          /* replaces *out */
bool tok_json_pattern(struct json_reader *r, struct tok_regex **re); /* {"String": s} or {"Regex": s} */
bool tok_json_character(struct json_reader *r, uint32_t *c);         /* a string of exactly one character */
bool tok_json_size(struct json_reader *r, size_t *n);
/* Walks the array under the key `name` of the object at hand, calling read for each item; other keys are skipped. */
bool tok_json_sequence(struct json_reader *r, const char *name, bool (*read)(struct tok_steps *, struct json_reader *),
                       struct tok_steps *steps);
/* Tells the reader that memory ran out; always false. */
bool tok_json_no_memory(struct json_reader *r);

/* --- normalizer --- */
bool tok_norm_read(struct tok_steps *s, struct json_reader *r);
/* Appends the normaliser of a SentencePiece model; with `blanks` behind the step that gives line feeds, tabs and runs of
 * blanks pieces of their own. Takes *sp. False: out of memory. */
bool tok_norm_add_sp(struct tok_steps *s, struct tok_sp_norm *sp, bool blanks);
/* Two buffers and a match list, reused from call to call; `result` points into one of them or is the input itself. */
struct tok_norm_work {
    struct str a;
    struct str b;
    struct tok_matches matches;
    bool cut; /* the first character of the result is not at the start of the input any more */
};
void tok_norm_work_drop(struct tok_norm_work *w);
lamina_status tok_norm_run(const struct tok_steps *s, struct span text, struct tok_norm_work *w, struct span *result,
                           struct lamina_error *err);

/* --- pre-tokenizer --- */
bool tok_pretok_read(struct tok_steps *s, struct json_reader *r);
bool tok_pretok_is_bytes(const struct tok_steps *s);
struct tok_piece {
    size_t begin;
    size_t len;
    bool first; /* starts where the whole text starts */
};
struct tok_pieces {
    struct str text; /* empty while the pieces still lie in the text given */
    struct tok_piece *list;
    size_t count;
    size_t cap;
};
struct tok_pretok_work {
    struct tok_pieces a;
    struct tok_pieces b;
    struct tok_matches matches;
};
void tok_pretok_work_drop(struct tok_pretok_work *w);
/* Cuts and transforms `text`; the pieces of *result (one of the work lists) are inside *base. No piece is empty. */
lamina_status tok_pretok_run(const struct tok_steps *s, struct span text, bool first, struct tok_pretok_work *w,
                             const struct tok_pieces **result, struct span *base, struct lamina_error *err);

/* --- decoder --- */
struct tok_decoder {
    struct tok_steps steps;
    struct tok_sp_decoder *sp; /* in place of steps: the tokens are pieces of a SentencePiece model */
    bool present; /* without a decoder tokens are joined with spaces */
    /* How text_stream may work with it; see tokstream.c. */
    enum tok_stream_kind { TOK_STREAM_WHOLE, TOK_STREAM_TOKENS } stream;
};
bool tok_decoder_read(struct tok_decoder *d, struct json_reader *r);
void tok_decoder_drop(struct tok_decoder *d);
bool tok_decoder_is_bytes(const struct tok_decoder *d);
/* Whether text that is out could still change when a special token comes. */
bool tok_decoder_waits(const struct tok_decoder *d);
/* Whether byte tokens at the end are held back until another kind of token comes. */
bool tok_decoder_gathers(const struct tok_decoder *d);
/* A list of token texts. */
struct tok_texts {
    struct str text;
    size_t *end; /* of each */
    struct str kinds; /* one byte each, where somebody gave any: what sort of token it is */
    size_t count;
    size_t cap;
};
bool tok_texts_add(struct tok_texts *t, struct span token);
/* With its kind, where the decoder wants one. */
struct text_tokenizer;
bool tok_texts_add_id(struct tok_texts *t, const struct text_tokenizer *tokenizer, uint32_t id, struct span token);
struct span tok_texts_at(const struct tok_texts *t, size_t i);
/* Kinds of a SentencePiece vocabulary: a tok_piece_type, or one of these. */
enum { TOK_KIND_SPECIAL = 16, TOK_KIND_ADDED = 17 };
void tok_texts_drop(struct tok_texts *t);
struct tok_decode_mode {
    bool started;       /* in: these are not the first tokens, so nothing is stripped at their front */
    bool partial;       /* in: more tokens follow; leave out what they might still change */
    uint32_t state;     /* in and out: what a decoder remembers of the tokens before; 0: these are the first */
    bool front_done;    /* out: the treatment of the front is over */
    size_t held_tokens; /* out: trailing tokens of which something was left out */
};
/* Appends the decoded text. Consumes *tokens. `mode` NULL: all tokens at once. `partial` needs a stream kind other than
 * TOK_STREAM_WHOLE. */
lamina_status tok_decoder_run(const struct tok_decoder *d, struct tok_texts *tokens, struct tok_decode_mode *mode,
                              struct str *out, struct lamina_error *err);

/* --- post-processor --- */
struct tok_post {
    uint32_t *before; /* ids put in front, outermost first */
    size_t before_count;
    uint32_t *after;
    size_t after_count;
    bool present;
};
bool tok_post_read(struct tok_post *p, struct json_reader *r);
bool tok_post_add(struct tok_post *p, bool in_front, uint32_t id); /* outermost so far; false: out of memory */
void tok_post_drop(struct tok_post *p);

#endif
