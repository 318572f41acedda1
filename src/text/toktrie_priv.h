/* SPDX-License-Identifier: Apache-2.0
 *
 * All tokens that begin a text, in one walk: a trie over tokens of a vocabulary, byte by byte. Built once, then
 * read-only. */
#ifndef TEXT_TOKTRIE_PRIV_H
#define TEXT_TOKTRIE_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "text/tokvocab_priv.h"

struct tok_trie_node {
    uint32_t child; /* the first of its children, which stand in a row by label */
    uint32_t id;    /* TOK_NONE: no token ends here */
    uint16_t children;
    uint8_t label;
};

struct tok_trie {
    struct tok_trie_node *nodes; /* the first is the root */
    uint32_t count;
};

/* `types` may leave ids out: only those with a nonzero byte go in; NULL: all. UNSUPPORTED above 16 Mi nodes. */
lamina_status tok_trie_open(struct tok_trie *t, const struct tok_vocab *v, const uint8_t *types,
                            struct lamina_error *err);
void tok_trie_drop(struct tok_trie *t);

/* The child of `node` by `byte`; 0: none. */
static inline uint32_t tok_trie_step(const struct tok_trie *t, uint32_t node, uint8_t byte) {
    const struct tok_trie_node *n = &t->nodes[node];
    uint32_t low = n->child;
    uint32_t count = n->children;
    while (count > 0) {
        uint32_t half = count / 2;
        const struct tok_trie_node *mid = &t->nodes[low + half];
        if (mid->label == byte) {
            return low + half;
        }
        if (mid->label < byte) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return 0;
}

#endif
