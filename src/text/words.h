/* SPDX-License-Identifier: Apache-2.0
 *
 * The words of a text, for comparing what was said and not how it was written. Pure. */
#ifndef TEXT_WORDS_H
#define TEXT_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/str.h"

/* Appends letters, marks and digits of any script, case folded (Unicode, full) and composed (NFC), with one space between words.
 * Other characters are left out and do not part words ("don't" is dont), but in numbers: one character between two digits stays
 * (3.5, 10:30, 1/2), and so does a minus before the first digit of a word; U+2212 is written as a hyphen. What is no UTF-8 is
 * left out. out->failed tells of memory. */
void text_words(struct span text, struct str *out);

bool text_is_blank(uint32_t c); /* white space as Python's str.split has it: White_Space and U+001C to U+001F */

#endif
