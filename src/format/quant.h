/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights stored as blocks of codes with scales: bytes in, float32 out, exactly as the format defines the value. This
 * header has the types of GGUF files (whole blocks, one after the other); matrices that are spread over several tensors
 * of a checkpoint are read by quant_matrix.h.
 *
 * "Exactly" means: the float32 operations of the format's reference, in its order, each rounded once (no contraction),
 * denormal numbers kept (call it from threads that do not flush them). So the values equal ggml's dequantize_row_* and
 * gguf-py's bit for bit. Pure; no allocation. */
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
    /* Whole blocks to blocks * block_len floats. NULL: the size is known, the values are not read here. */
    void (*decode)(const uint8_t *in, size_t blocks, float *out);
};

/* NULL: unknown. */
const struct quant_type *quant_of_ggml(uint32_t number);
const struct quant_type *quant_named(const char *name);
/* What to say about a number without a type: who writes it, or that it is gone. Never NULL. */
const char *quant_ggml_hint(uint32_t number);

#endif
