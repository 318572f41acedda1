/* SPDX-License-Identifier: Apache-2.0
 *
 * Records of rows whose columns share scales in groups: what GPTQ, AWQ, compressed-tensors, bitsandbytes, MLX, FP8 and MXFP4 have
 * in common, whatever way their checkpoints spread it over tensors. A record, without any padding:
 *
 *   codes    ceil(cols * bits / 8) bytes: one stream of bits, low bits first
 *   scales   one per group; NESTED: a byte per group, then a float32 per run of `nested` weights that the row touches. Where groups
 *            or runs go on from row to row (phased, NESTED) there are as many as a row can touch at most, and then
 *   place    u32: that of the row's first weight in its run, or in its group
 *   zeros    ZERO: one per group, of `bits` bits, a stream as the codes; MINIMUM: one per group, of the scales' type
 *
 * What all rows have in common stands once at the front of every tile, the lead, padded to 16 bytes:
 *
 *   order    ordered: u16 [cols], the group of every column, rounded up to 4 bytes
 *   table    TABLE: float32 [16]
 *   global   TIMES_GLOBAL, BY_GLOBAL: float32
 *   nested   NESTED: float32 [256], then float32 offset: scale = table[byte] * (the run's float32) + offset
 *
 * Each operation is done in float32 and rounded once, in the order of the format's reference:
 *
 *   NONE          worth(code) * scale                  ZERO, MIDDLE  (code - zero) * scale; MIDDLE: zero = 2^(bits - 1)
 *   MINIMUM       code * scale + minimum               OVER_127      code * scale * (1/127)
 *   TIMES_GLOBAL  worth(code) * (scale * global)       BY_GLOBAL     worth(code) * (scale / global)
 *
 * Sources: reference/codec-and-kernels.md 3.1. Pure. */
#ifndef CODEC_GROUPS_H
#define CODEC_GROUPS_H

#include <stdbool.h>
#include <stdint.h>

enum groups_code { GROUPS_UINT, GROUPS_INT8, GROUPS_E4M3, GROUPS_E5M2, GROUPS_E2M1, GROUPS_TABLE, GROUPS_CODES };
enum groups_scale {
    GROUPS_F32, GROUPS_F16, GROUPS_BF16, GROUPS_E8M0, GROUPS_SCALE_E4M3, GROUPS_NESTED, GROUPS_SCALES
};
enum groups_shift {
    GROUPS_NONE, GROUPS_ZERO, GROUPS_MIDDLE, GROUPS_MINIMUM, GROUPS_OVER_127, GROUPS_TIMES_GLOBAL, GROUPS_BY_GLOBAL, GROUPS_SHIFTS
};

struct groups {
    uint8_t bits;    /* of a code: 2 to 8 */
    uint8_t code;    /* enum groups_code: what a code is worth */
    uint8_t scale;   /* enum groups_scale: how a scale is written */
    uint8_t shift;   /* enum groups_shift: what is done besides multiplying */
    bool ordered;    /* groups are not runs of columns, but as the lead says */
    bool phased;     /* groups are counted over the matrix row by row, so that a row may begin inside one */
    uint32_t group;  /* columns that share a scale; the last group may have fewer */
    uint32_t nested; /* NESTED: weights, counted over the matrix row by row, that share a float32 */
};

enum { GROUPS_TABLE_LEN = 16, GROUPS_NESTED_LEN = 256 };

/* Do the fields belong together, for rows of so many columns? */
bool groups_valid(const struct groups *g, uint64_t cols);
uint64_t groups_count(const struct groups *g, uint64_t cols);
uint64_t groups_row_bytes(const struct groups *g, uint64_t cols);
uint64_t groups_lead_bytes(const struct groups *g, uint64_t cols);

/* Where the parts of a record and of a lead begin, in bytes. */
struct groups_places {
    uint64_t scales, runs, place, zeros;   /* record; runs: the float32s of NESTED */
    uint64_t table, global, nested;        /* lead */
    uint64_t scale_bytes, run_count;
};
struct groups_places groups_places_of(const struct groups *g, uint64_t cols);

/* Code `index` of a stream of bits, and putting it there (where zeros are). */
unsigned groups_take(const uint8_t *stream, uint64_t index, unsigned bits);
void groups_put(uint8_t *stream, uint64_t index, unsigned bits, unsigned code);

#endif
