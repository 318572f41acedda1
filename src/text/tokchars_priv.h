/* SPDX-License-Identifier: Apache-2.0
 *
 * Normalisers that go through a text character by character: those of BERT and NMT models, the character map of
 * SentencePiece in tokenizer.json, and the rewriting of blanks. Text in, text appended to `out`. */
#ifndef TEXT_TOKCHARS_PRIV_H
#define TEXT_TOKCHARS_PRIV_H

#include "base/span.h"
#include "base/str.h"
#include "text/tokcharsmap_priv.h"

/* The first two return whether the first character went away. */
bool tok_chars_bert_clean(struct span text, struct str *out);
bool tok_chars_drop_nonspacing(struct span text, struct str *out);
void tok_chars_bert_han(struct span text, struct str *out);
bool tok_chars_nmt(struct span text, struct str *out);
void tok_chars_precompiled(const struct tok_charsmap *m, struct span text, struct str *out);
/* "\n" to "<n>", "\t" to "<|tab|>", n > 1 blanks to "<|blank_n|>", at most 80 at once. */
void tok_chars_blanks(struct span text, struct str *out);

#endif
