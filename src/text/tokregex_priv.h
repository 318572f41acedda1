/* SPDX-License-Identifier: Apache-2.0
 *
 * Patterns of a tokenizer file: a literal string, or a regular expression in Oniguruma's own syntax (what the
 * reference compiles them with). Patterns are untrusted programs, so every search runs under step and stack limits;
 * reaching one is an error, never a hang. Read-only after open: any number of threads may search. */
#ifndef TEXT_TOKREGEX_PRIV_H
#define TEXT_TOKREGEX_PRIV_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"
#include "base/status.h"

struct tok_regex;

/* DAMAGED when the pattern does not compile, UNSUPPORTED above 64 KiB. */
lamina_status tok_regex_open(struct tok_regex **re, struct span pattern, bool is_regex, struct lamina_error *err);
void tok_regex_close(struct tok_regex **re);
size_t tok_regex_bytes(const struct tok_regex *re); /* an estimate: Oniguruma does not tell its share */

struct tok_match {
    size_t begin;
    size_t end;
    bool hit;
};

struct tok_matches {
    struct tok_match *list;
    size_t count;
    size_t cap;
};
void tok_matches_drop(struct tok_matches *m);
bool tok_matches_add(struct tok_matches *m, size_t begin, size_t end, bool hit);

/* Appends all matches and the gaps between them, in order, covering the (valid UTF-8) text. An empty match directly
 * behind the previous match is not one; other empty matches count. Empty text gives one empty gap. DAMAGED when the
 * pattern needs more steps or stack than allowed. */
lamina_status tok_regex_find(const struct tok_regex *re, struct span text, struct tok_matches *out,
                             struct lamina_error *err);

#endif
