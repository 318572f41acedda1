/* SPDX-License-Identifier: Apache-2.0
 * The cursor that walks a GGUF header, shared by gguf.c (the walk) and gguf_value.c (values, and again within arrays). */
#ifndef FORMAT_GGUF_PRIV_H
#define FORMAT_GGUF_PRIV_H

#include "format/gguf.h"

enum { GGUF_MAX_DEPTH = 4 }; /* arrays in arrays */

struct gguf_cursor {
    struct span text;
    size_t at;
    uint64_t file_size;
    const char *name;
    struct lamina_error *err;
    lamina_status failed;
    uint64_t wanted; /* not 0: the text ends too early, the file does not; this much is needed to go on */
};

/* The first failure, with file and byte; always false. */
bool gguf_refuse(struct gguf_cursor *c, lamina_status code, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool gguf_take(struct gguf_cursor *c, uint64_t len, struct span *out);
bool gguf_take_u32(struct gguf_cursor *c, uint32_t *out);
bool gguf_take_u64(struct gguf_cursor *c, uint64_t *out);
bool gguf_take_text(struct gguf_cursor *c, struct span *out);
bool gguf_take_value(struct gguf_cursor *c, uint32_t type, unsigned depth, struct gguf_value *out);

#endif
