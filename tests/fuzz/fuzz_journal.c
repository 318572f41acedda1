/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as the journal of an unfinished split: as they are, and line by line under correct checksums. Damage may
 * shorten a journal, never fail; numbers that refer to other records must refer to something. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(struct span text) {
    struct journal j = {.tied = -1, .arena = {.limit_bytes = text.len * 64 + (1 << 20)}};
    journal_parse(text, &j);
    if (j.valid_bytes > text.len) {
        abort();
    }
    for (uint32_t i = 0; i < j.tensor_count; i++) {
        if (j.tensors[i].file >= j.source_count || j.tensors[i].name == NULL) {
            abort();
        }
    }
    journal_drop(&j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = {0};
    parse(span_of(data, size));
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t len = end != NULL ? (size_t)(end - (data + at)) : size - at;
        if (len < 4000 && memchr(data + at, 0, len) == NULL) {
            journal_line(&text, "%.*s", (int)len, (const char *)data + at);
        }
        at += len + 1;
    }
    parse(str_span(&text));
    str_drop(&text);
    return 0;
}
