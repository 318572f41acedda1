/* SPDX-License-Identifier: Apache-2.0
 *
 * Added tokens: texts that are found before anything else splits the input, with the reference's rules for stripping
 * neighbours, single words and normalised matching. Filled once, then read-only. */
#ifndef TEXT_TOKADDED_PRIV_H
#define TEXT_TOKADDED_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "base/str.h"
#include "text/tokvocab_priv.h"

enum { TOK_ADDED_LIMIT = 65536 };

/* BEHIND: counts only directly behind another added token, because its text is an ordinary word as well. */
enum tok_added_where { TOK_ADDED_ANYWHERE, TOK_ADDED_BEHIND, TOK_ADDED_NOWHERE };

struct tok_added_token {
    char *text;  /* owned; as the file gives it */
    char *match; /* owned; what is searched for when it differs from text (normalised) */
    uint32_t len;
    uint32_t match_len;
    uint32_t id;
    bool single_word;
    bool lstrip;
    bool rstrip;
    bool normalized;
    bool special;
    enum tok_added_where where;
};

struct tok_pattern {
    const char *text;
    uint32_t len;
    uint32_t token; /* index */
};

/* Patterns sorted by bytes; those that begin with byte b stand at [first[b], first[b + 1]). */
struct tok_pattern_set {
    struct tok_pattern *list;
    uint32_t count;
    uint32_t first[257];
};

/* Sorts the list and indexes it; of patterns with equal bytes the one of the lowest token stays. */
void tok_patterns_sort(struct tok_pattern_set *set);
/* The longest pattern that stands at the front of the text (which is not empty), or NULL. */
const struct tok_pattern *tok_pattern_longest(const struct tok_pattern_set *set, struct span text);

struct tok_added {
    struct tok_added_token *list;
    uint32_t count;
    uint32_t cap;
    uint32_t *by_id;                   /* indices sorted by id */
    uint32_t *by_text;                 /* indices sorted by text */
    struct tok_pattern_set raw;        /* searched in the text as given */
    struct tok_pattern_set normalized; /* searched in the normalised text */
    size_t bytes;
};

/* Adds or, for a text already there, replaces; `special` sticks. The text is copied. NULL: out of memory. */
struct tok_added_token *tok_added_put(struct tok_added *a, struct span text, const struct tok_added_token *flags);
struct tok_added_token *tok_added_find_text(const struct tok_added *a, struct span text); /* any time */
/* Call once, when all tokens have ids and match texts. False: out of memory. */
bool tok_added_index(struct tok_added *a);
const struct tok_added_token *tok_added_find_id(const struct tok_added *a, uint32_t id); /* after index */
void tok_added_drop(struct tok_added *a);

struct tok_segment {
    size_t begin;
    size_t end;
    uint32_t id; /* TOK_NONE: ordinary text */
};

struct tok_segments {
    struct tok_segment *list;
    size_t count;
    size_t cap;
};

/* Cuts the text at every added token of the set, appending segments in order; leftmost match first, longest at one
 * place. With skip_special the special ones are stepped over as plain text. False: out of memory. */
bool tok_added_split(const struct tok_added *a, const struct tok_pattern_set *set, struct span text, bool skip_special,
                     struct tok_segments *out);

#endif
