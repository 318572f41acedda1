/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as model.safetensors.index.json: no file name that parses may leave its directory. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena = {.limit_bytes = size * 8 + (1 << 20)};
    struct safetensors_index x = {0};
    struct lamina_error err = {0};
    if (safetensors_index_parse(span_of(data, size), "f", &arena, &x, &err) == LAMINA_OK) {
        for (uint32_t i = 0; i < x.file_count; i++) {
            if (strchr(x.files[i], '/') != NULL || x.files[i][0] == '.') {
                abort();
            }
        }
        for (uint32_t i = 0; i < x.tensor_count; i++) {
            if (x.entries[i].file >= x.file_count) {
                abort();
            }
        }
    }
    arena_drop(&arena);
    return 0;
}
