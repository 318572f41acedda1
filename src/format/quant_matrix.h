/* SPDX-License-Identifier: Apache-2.0
 *
 * Quantised matrices that a checkpoint spreads over several tensors: codes, scales, zero points, the order of columns. Here is
 * which tensors belong together and where in them a code, a scale and a zero point are; what a weight is worth is said by the
 * method, in float32, each operation rounded once (codec/groups.h does it):
 *
 *     FP8     e4m3 or e5m2 * scale                  one scale a block (weight_scale_inv), a row, or for all
 *     INT8    int8 * scale                          compressed-tensors int-quantized; scale a row, a group, or for all
 *     BNB8    int8 * scale * (1/127)                bitsandbytes LLM.int8, SCB a row
 *     MXFP4   e2m1 * 2^(scale - 127)                32 columns; blocks [.., groups, 16], or packed [rows, cols / 2]
 *     NVFP4   e2m1 * (e4m3 scale * global)          16 columns; compressed-tensors divides by global
 *     GPTQ    (code - zero) * scale                 words along the columns: [cols * bits / 32, rows]
 *     AWQ     (code - zero) * scale                 words along the rows, nibbles out of order: [cols, rows / 8]
 *     PACKED  (code - zero) * scale                 compressed-tensors pack-quantized; zero 2^(bits - 1) if none is given
 *     MLX     code * scale + minimum                words along the columns: [rows, cols * bits / 32]
 *
 * rows x cols is [out, in], as the product uses it. A part of the rows may be given as if it were the whole, so that a matrix
 * larger than memory is read in pieces: of GPTQ and AWQ the same columns of every line of the file. Pieces begin at a whole
 * block of FP8, and at a multiple of 32 rows with GPTQ, AWQ and, where it has zero points, PACKED.
 * Formulas and layouts: reference/codec-and-kernels.md 3.1. Pure; no allocation; two threads may read one matrix. */
#ifndef FORMAT_QUANT_MATRIX_H
#define FORMAT_QUANT_MATRIX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"

enum quant_method {
    QUANT_FP8,
    QUANT_INT8,
    QUANT_BNB8,
    QUANT_MXFP4,
    QUANT_NVFP4,
    QUANT_GPTQ,
    QUANT_AWQ,
    QUANT_PACKED,
    QUANT_MLX,
    QUANT_METHOD_COUNT
};

enum { QUANT_MAX_RANK = 8 };

struct quant_tensor {
    const char *dtype; /* as safetensors spells it; NULL: there is no such tensor */
    uint32_t rank;
    uint64_t shape[QUANT_MAX_RANK];
    struct span bytes; /* all of it; ptr NULL: only its shape is compared */
};

/* What a checkpoint has of one matrix. Tensors that a method does not know must be absent. */
struct quant_source {
    const char *name; /* for messages */
    enum quant_method method;
    uint32_t bits;                   /* GPTQ, PACKED, MLX: of a code */
    uint32_t group;                  /* columns that share a scale; 0: as many as the scales' shape says */
    uint32_t block_rows, block_cols; /* FP8: of the grid (weight_block_size); 0: the scales are no grid */
    bool plus_one;                   /* GPTQ: checkpoint_format is not gptq_v2, so zero points are stored less one */
    bool plus_known;                 /* GPTQ: plus_one was found by looking at all zero points, of which these are a part */
    bool divide;                     /* NVFP4: by the global scale, instead of multiplying */
    uint64_t cols;                   /* PACKED: from weight_shape, since rows may be padded; 0: they are not */
    struct quant_tensor codes, scales;
    struct quant_tensor zeros;  /* GPTQ, AWQ, PACKED: zero points; MLX: minima ("biases") */
    struct quant_tensor order;  /* GPTQ, PACKED: the group of every column (g_idx) */
    struct quant_tensor global; /* NVFP4 */
};

enum quant_code { QUANT_CODE_UINT, QUANT_CODE_INT8, QUANT_CODE_E4M3, QUANT_CODE_E5M2, QUANT_CODE_E2M1 };
enum quant_scale { QUANT_F32, QUANT_F16, QUANT_BF16, QUANT_E8M0, QUANT_E4M3 };

/* An opened matrix. Points into the tensors' bytes. */
struct quant_matrix {
    uint64_t rows, cols;
    enum quant_method method;
    uint8_t code, bits;      /* enum quant_code */
    uint8_t scale, scale_bytes; /* enum quant_scale */
    bool divide;             /* NVFP4: by global */
    uint32_t zero_plus;      /* added to a stored zero point, within its bits */
    int32_t zero_fixed;      /* where none is stored */
    float global;
    const uint8_t *codes, *scales, *zeros, *order;
    uint64_t code_stride;    /* GPTQ: bytes from a word of a row to its next; row-major: bytes of a row */
    uint64_t group, groups;  /* columns that share a scale; how many such groups */
    uint64_t scale_rows;     /* rows that share a scale */
    uint64_t scale_row_step, scale_group_step, zero_row_words; /* in items */
};

/* Tells GPTQ's two ways to store zero points apart by looking, where all of them are the middle of the range (then the
 * config's word is known to be unreliable); else believes plus_one. DAMAGED: shapes that do not belong together, or a group
 * that is not there; UNSUPPORTED: a data type or width that the method does not have here. */
lamina_status quant_matrix_open(const struct quant_source *s, struct quant_matrix *m, struct lamina_error *err);

/* Codes [col, col + count) of a row; the group of a column; scale, minimum (MLX) and zero point of a row in a group, the last one
 * as it is taken off. They must exist. */
void quant_matrix_codes(const struct quant_matrix *m, uint64_t row, uint64_t col, size_t count, uint8_t *out);
uint64_t quant_matrix_group(const struct quant_matrix *m, uint64_t col);
const uint8_t *quant_matrix_scale(const struct quant_matrix *m, uint64_t row, uint64_t group);
const uint8_t *quant_matrix_minimum(const struct quant_matrix *m, uint64_t row, uint64_t group);
unsigned quant_matrix_zero(const struct quant_matrix *m, uint64_t row, uint64_t group);

/* ---- bitsandbytes 4 bit ---- */

/* Codes run over all weights of the matrix, two a byte, the first one in the high nibble; `block` weights share a scale.
 * With double quantisation scales are 8-bit codes of a second such table, plus an offset. */
struct quant_bnb4_source {
    const char *name;
    struct span state; /* the text in weight.quant_state.bitsandbytes__nf4 or __fp4 */
    struct quant_tensor codes, scales, table;   /* weight, absmax, quant_map */
    struct quant_tensor nested_scales, nested_table; /* nested_absmax, nested_quant_map; absent if scales are F32 */
};

/* What the tensors were found to be; their bytes are the caller's. */
struct quant_bnb4 {
    uint64_t rows, cols; /* the weight's shape; leading dimensions are rows */
    uint64_t block;          /* weights that share a scale */
    uint64_t nested_block;   /* scales that share a float32; 0: scales are float32 */
    float nested_offset;
};

lamina_status quant_bnb4_open(const struct quant_bnb4_source *s, struct quant_bnb4 *m, struct lamina_error *err);

#endif
