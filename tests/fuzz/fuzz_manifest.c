/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as lamina.json: as they are, and as a body under a correct checksum, so that the parser behind the
 * checksum is
 * reached. No name that parses may leave the store; what parses is written again to something that parses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_names(const struct manifest *m) {
    for (uint32_t i = 0; i < m->file_count; i++) {
        if (strstr(m->files[i].name, "..") != NULL || m->files[i].name[0] == '/') {
            abort();
        }
    }
    for (uint32_t i = 0; i < m->tokenizer_count; i++) {
        if (strchr(m->tokenizer[i].name, '/') != NULL) {
            abort();
        }
    }
    for (uint32_t i = 0; i < m->desc.layers; i++) {
        if (m->layer_file[i] >= m->file_count) {
            abort();
        }
    }
}

static void signed_body(const uint8_t *data, size_t size) {
    static const char key[] = "\n\"checksum\": \"";
    struct arena arena = {.limit_bytes = size * 64 + (1 << 20)};
    struct arena second = {.limit_bytes = size * 64 + (1 << 20)};
    struct manifest m = {0};
    struct manifest again = {0};
    struct lamina_error err = {0};
    struct str text = {0};
    struct str back = {0};
    char hex[33];
    str_add(&text, data, size);
    str_add_text(&text, key);
    hash128_to_hex(hash_xxh3_128(text.ptr, text.len), hex);
    str_add_text(&text, hex);
    str_add_text(&text, "\"\n}\n");
    lamina_status status = manifest_parse(str_span(&text), "f", true, &arena, &m, &err);
    if ((status == LAMINA_OK) != (err.code == LAMINA_OK)) {
        abort();
    }
    if (status == LAMINA_OK) {
        check_names(&m);
        manifest_write(&m, &back);
        if (manifest_parse(str_span(&back), "f", false, &second, &again, &err) != LAMINA_OK) {
            abort();
        }
    }
    str_drop(&text);
    str_drop(&back);
    arena_drop(&arena);
    arena_drop(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena = {.limit_bytes = 1 << 20};
    struct manifest m = {0};
    struct lamina_error err = {0};
    if (manifest_parse(span_of(data, size), "f", true, &arena, &m, &err) == LAMINA_OK) {
        check_names(&m);
    }
    arena_drop(&arena);
    signed_body(data, size);
    return 0;
}
