/* SPDX-License-Identifier: Apache-2.0
 *
 * Characters as the reference tokenizer sees them: which are white space, numeric, word or punctuation, the GPT-2 byte
 * alphabet, base64, and the repair of bytes that are not UTF-8. Knows nothing of tokens. */
#ifndef TEXT_TOKUNICODE_PRIV_H
#define TEXT_TOKUNICODE_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "base/str.h"

/* Bytes of the character whose first byte this is. Only for text known to be valid UTF-8. */
static inline size_t tok_char_len(uint8_t lead) {
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* What one component may make of a text. Files can ask for any growth, even for one that doubles at each of many steps;
 * those in use stay below a tenth of this. */
static inline size_t tok_text_limit(size_t text_bytes) {
    size_t most = SIZE_MAX / 512;
    return ((size_t)1 << 20) + 256 * (text_bytes < most ? text_bytes : most);
}

/* Reads the character at `at` of valid UTF-8 and returns its length; at must be inside the text. */
size_t tok_char_at(struct span text, size_t at, uint32_t *code_point);
/* Where the character that ends at `end` (> 0) begins. */
size_t tok_char_before(struct span text, size_t end, uint32_t *code_point);

bool tok_is_space(uint32_t c);   /* the White_Space property */
bool tok_is_numeric(uint32_t c); /* Nd, Nl, No */
bool tok_is_word(uint32_t c);    /* \w of the Rust regex crate: Alphabetic, M, Nd, Pc, Join_Control */
bool tok_is_punct(uint32_t c);   /* P* or ASCII punctuation */
bool tok_is_mark(uint32_t c);    /* M* */

/* GPT-2's printable stand-ins for the 256 bytes. */
uint32_t tok_byte_to_char(uint8_t byte);
bool tok_char_to_byte(uint32_t code_point, uint8_t *byte);
void tok_bytes_as_chars(struct span bytes, struct str *out);

/* Appends the bytes as UTF-8; each maximal invalid part becomes one U+FFFD (Unicode 15, 3.9, as Python and Rust do), or
 * with each_byte every byte of it (as SentencePiece does). */
void tok_utf8_repair(struct span bytes, bool each_byte, struct str *out);

/* Appends the bytes that base64 text stands for (RFC 4648, section 4, with its padding); false where it is not that. */
bool tok_base64_read(struct span text, struct str *out);

#endif
