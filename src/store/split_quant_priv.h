/* SPDX-License-Identifier: Apache-2.0
 * A matrix of codes in the source: the tensors that it is spread over (found by split_quant_plan.c, read by split_quant.c). */
#ifndef STORE_SPLIT_QUANT_PRIV_H
#define STORE_SPLIT_QUANT_PRIV_H

#include "codec/groups.h"
#include "format/quant_matrix.h"
#include "store/store_priv.h"

/* A tensor as lines: all dimensions but the last, and the last; vectors are lines of one item. */
struct split_side {
    uint32_t tensor;      /* in the source */
    char dtype[12];       /* "": there is no such tensor */
    uint64_t lines, items;
    uint64_t line_bytes;
};

struct split_quant {
    bool bnb4;            /* codes run over all weights of the matrix; else one of quant_matrix.h */
    uint8_t method;       /* enum quant_method */
    bool plus_one;        /* GPTQ: zero points are stored less one */
    bool divide;
    bool by_plane;        /* FP8: a scale for each of the stacked matrices; block is their rows, or 0 where they are turned */
    uint64_t turned;      /* FP8: the stacked matrices lie [in, out], and so do blocks of scales; how many rows each has, 0: no */
    uint32_t bits, group, block; /* of quant_source: bits, group; rows and columns of a block of scales */
    uint64_t rows, cols;  /* of the source; planes follow each other */
    struct groups groups;
    struct split_side codes, scales, zeros, order, global;
    struct split_side table, nested_scales, nested_table; /* bitsandbytes, 4 bit */
    float nested_offset;
};

/* The matrix as format/quant_matrix.h takes it, without any bytes. */
struct quant_source split_quant_source(const struct split_quant *q, const char *name);
/* Of turned ones: shapes and lengths of the codes and scales of `rows` rows of one matrix, as [out, in]. */
void split_quant_turn(const struct split_quant *q, uint64_t rows, struct quant_source *src);
/* Rows in the tensors that are not lines but columns (GPTQ, AWQ)? */
bool split_quant_transposed(const struct split_quant *q);

/* Records by rows of an opened matrix; `row` counts from its first. The bytes are those of codec/groups.h. */
void split_quant_record(const struct quant_matrix *m, const struct groups *g, uint64_t row, uint8_t *record);
/* codec/groups.h's name for what format/quant_matrix.h found; false: there is none. */
bool split_quant_groups(const struct quant_matrix *m, bool middle, struct groups *g);

/* bitsandbytes, 4 bit: blocks run over the whole matrix. The bytes are those from the one, the scale and the float32 (nested) of
 * the first weight of row `first` on. */
struct split_bnb4 {
    uint64_t first;
    const uint8_t *codes, *scales, *nested;
};
bool split_quant_bnb4_groups(const struct quant_bnb4 *m, struct groups *g);
void split_quant_bnb4_record(const struct split_quant *q, const struct split_bnb4 *b, uint64_t row, uint8_t *record);

#endif
