/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes to a tokenizer, then text through it. The first byte chooses what the rest is: a tokenizer.json, or the
 * parts of a directory separated by zero bytes. Whatever opens must encode, decode what it encoded, and stream the
 * same text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_tok_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct text_files files = {0};
    if (size == 0) {
        return 0;
    }
    if ((data[0] & 1) == 0) {
        files.tokenizer_json = span_of(data + 1, size - 1);
    } else {
        struct span *parts[] = {&files.vocab_json,         &files.merges_txt,        &files.tokenizer_config,
                                &files.special_tokens_map, &files.added_tokens_json, &files.config,
                                &files.tokenizer_json};
        struct span rest = span_of(data + 1, size - 1);
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && rest.len > 0; i++) {
            const uint8_t *end = memchr(rest.ptr, 0, rest.len);
            size_t len = end == NULL ? rest.len : (size_t)(end - rest.ptr);
            *parts[i] = span_of(rest.ptr, len);
            rest = span_sub(rest, len + 1, rest.len);
        }
    }
    run_files(&files, span_of(data, size < 256 ? size : 256));
    return 0;
}
