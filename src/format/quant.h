/* SPDX-License-Identifier: Apache-2.0
 *
 * GGUF's types of tensors: plain numbers, and blocks of codes with scales. What the blocks stand for is in codec/coding.h. */
#ifndef FORMAT_QUANT_H
#define FORMAT_QUANT_H

#include <stddef.h>
#include <stdint.h>

enum { QUANT_BLOCK_MAX = 256 };

struct quant_type {
    const char *name;       /* as ggml spells it: "Q4_K"; plain numbers as safetensors does: "BF16" */
    uint32_t ggml;          /* its number in GGUF files */
    uint16_t block_len;     /* weights in a block */
    uint16_t block_bytes;
};

/* NULL: unknown. */
const struct quant_type *quant_of_ggml(uint32_t number);
const struct quant_type *quant_named(const char *name);
/* What to say about a number without a type: who writes it, or that it is gone. Never NULL. */
const char *quant_ggml_hint(uint32_t number);

#endif
