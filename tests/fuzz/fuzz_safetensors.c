/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a safetensors file: whatever parses must lie inside the file, in order and without gaps. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena = {.limit_bytes = size * 8 + (1 << 20)};
    struct safetensors_header h = {0};
    struct lamina_error err = {0};
    uint64_t len = 0;
    if (size >= 8 && safetensors_header_len(data, size, "f", &len, &err) == LAMINA_OK) {
        lamina_status status = safetensors_parse(span_of(data + 8, (size_t)len), size, "f", &arena, &h, &err);
        uint64_t at = len + 8;
        if ((status == LAMINA_OK) != (err.code == LAMINA_OK)) {
            abort();
        }
        for (uint32_t i = 0; status == LAMINA_OK && i < h.count; i++) {
            if (h.entries[i].offset != at || strlen(h.entries[i].name) > 512) {
                abort();
            }
            at += h.entries[i].bytes;
        }
        if (status == LAMINA_OK && at != size) {
            abort();
        }
    }
    /* The same bytes as bare JSON: the fuzzer need not invent the length. */
    err = (struct lamina_error){0};
    (void)safetensors_parse(span_of(data, size), (uint64_t)size + 8 + (size > 0 ? data[size - 1] : 0), "f", &arena, &h,
                            &err);
    arena_drop(&arena);
    return 0;
}
