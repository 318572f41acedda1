/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks the double array of a character map. A unit is a node: bits 0-7 and 31 its label, bit 8 whether a key ends
 * there, bits 10-30 the distance (by exclusive or) to its children, in steps of 256 where bit 9 is set; a unit with bit
 * 31 is a value. Format: S. Yata, darts-clone. The units come from a file, so every step is checked against the array's
 * end, and a walk ends at KEY_LIMIT even where the units make a circle. Text that is UTF-8 stays UTF-8: replacements are
 * checked at open, and a key counts only where it ends with a character. */
#include "text/tokcharsmap_priv.h"

#include <stdlib.h>

#include "base/str.h"

enum { KEY_LIMIT = 1024 };
#define IS_VALUE 0x80000000u

static size_t children_of(uint32_t unit) {
    return (size_t)(unit >> 10) << ((unit & 0x200u) >> 6);
}

static bool is_inside_character(uint8_t byte) {
    return (byte & 0xc0) == 0x80;
}

/* Whether every value of the trie is the place of a replacement. */
static bool check_values(const struct tok_charsmap *m) {
    if (!utf8_valid(span_of(m->text, m->text_len))) {
        return false;
    }
    for (size_t i = 0; i < m->unit_count; i++) {
        uint32_t at = m->units[i] & ~IS_VALUE;
        if ((m->units[i] & IS_VALUE) != 0 && (at >= m->text_len || is_inside_character(m->text[at]))) {
            return false;
        }
    }
    return true;
}

lamina_status tok_charsmap_open(struct tok_charsmap *m, struct span blob, struct lamina_error *err) {
    *m = (struct tok_charsmap){0};
    if (blob.len == 0) {
        return LAMINA_OK;
    }
    uint32_t trie = blob.len >= 4 ? load_le32(blob.ptr) : 0;
    if (blob.len < 4 || trie % 4 != 0 || trie == 0 || trie >= blob.len - 4) {
        return base_fail(err, LAMINA_DAMAGED,
                         "the character map of the tokenizer (%zu bytes) does not hold the trie it announces", blob.len);
    }
    m->unit_count = trie / 4;
    m->text_len = blob.len - 4 - trie;
    m->units = malloc(trie);
    m->text = malloc(m->text_len);
    if (m->units == NULL || m->text == NULL) {
        tok_charsmap_drop(m);
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a character map of %zu bytes", blob.len);
    }
    for (size_t i = 0; i < m->unit_count; i++) {
        m->units[i] = load_le32(blob.ptr + 4 + 4 * i);
    }
    memcpy(m->text, blob.ptr + 4 + trie, m->text_len);
    if (!check_values(m)) {
        tok_charsmap_drop(m);
        return base_fail(err, LAMINA_DAMAGED,
                         "the character map of the tokenizer (%zu bytes) has replacements that are not UTF-8 text in it",
                         blob.len);
    }
    return LAMINA_OK;
}

void tok_charsmap_drop(struct tok_charsmap *m) {
    free(m->units);
    free(m->text);
    *m = (struct tok_charsmap){0};
}

size_t tok_charsmap_bytes(const struct tok_charsmap *m) {
    return m->unit_count * 4 + m->text_len;
}

/* Ends at the first or the last key on the way; *value is where its replacement begins. */
static size_t walk(const struct tok_charsmap *m, struct span text, bool first, uint32_t *value) {
    size_t best = 0;
    size_t at = m->unit_count == 0 ? 0 : children_of(m->units[0]);
    size_t most = m->unit_count == 0 ? 0 : text.len < KEY_LIMIT ? text.len : KEY_LIMIT;
    for (size_t i = 0; i < most; i++) {
        at ^= text.ptr[i];
        if (at >= m->unit_count || (m->units[at] & (IS_VALUE | 0xffu)) != text.ptr[i]) {
            break;
        }
        bool ends = (m->units[at] >> 8 & 1) != 0 && (i + 1 == text.len || !is_inside_character(text.ptr[i + 1]));
        at ^= children_of(m->units[at]);
        if (ends && at < m->unit_count && (m->units[at] & IS_VALUE) != 0) {
            *value = m->units[at] & ~IS_VALUE;
            best = i + 1;
            if (first) {
                break;
            }
        }
    }
    return best;
}

static struct span text_at(const struct tok_charsmap *m, uint32_t begin) {
    const uint8_t *end = memchr(m->text + begin, 0, m->text_len - begin);
    return span_of(m->text + begin, end == NULL ? m->text_len - begin : (size_t)(end - m->text) - begin);
}

size_t tok_charsmap_longest(const struct tok_charsmap *m, struct span text, struct span *to) {
    uint32_t value = 0;
    size_t len = walk(m, text, false, &value);
    if (len > 0) {
        *to = text_at(m, value);
    }
    return len;
}

bool tok_charsmap_first(const struct tok_charsmap *m, struct span text, struct span *to) {
    uint32_t value = 0;
    if (walk(m, text, true, &value) == 0) {
        return false;
    }
    *to = text_at(m, value);
    return true;
}
