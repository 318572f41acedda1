/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of character replacements as SentencePiece compiles them ("precompiled_charsmap"): a trie from byte strings to
 * byte strings. Used by the normaliser of a SentencePiece model and by tokenizer.json's "Precompiled". Copies what it is
 * given; read-only after open.
 *
 *     +-----------------+-------------------------------+---------------------------------+
 *     | u32: bytes of   | double-array trie, 32-bit     | replacements, each ended by a 0 |
 *     | the trie        | units, little-endian          |                                 |
 *     +-----------------+-------------------------------+---------------------------------+
 */
#ifndef TEXT_TOKCHARSMAP_PRIV_H
#define TEXT_TOKCHARSMAP_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"

struct tok_charsmap {
    uint32_t *units;
    size_t unit_count;
    uint8_t *text;
    size_t text_len;
};

lamina_status tok_charsmap_open(struct tok_charsmap *m, struct span blob, struct lamina_error *err);
void tok_charsmap_drop(struct tok_charsmap *m);
size_t tok_charsmap_bytes(const struct tok_charsmap *m);

/* Length of the longest key at the front of `text`, with its replacement; 0: none. */
size_t tok_charsmap_longest(const struct tok_charsmap *m, struct span text, struct span *to);
/* The replacement of the shortest key at the front of `text`. */
bool tok_charsmap_first(const struct tok_charsmap *m, struct span text, struct span *to);

#endif
