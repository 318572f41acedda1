/* SPDX-License-Identifier: Apache-2.0
 *
 * Planes: lossless coding of 16 and 8 bit numbers (docs/FORMAT.md, "Packed matrices"). Exponents of trained weights carry
 * about 2.6 bits, signs and fractions as many as they are wide. So a value is cut into its exponent (the symbol) and the rest
 * (raw bits); symbols are ranked by how often they occur in a tile and kept in nested levels: level 1 has w bits for every
 * value, its last code sends the value to level 2, and so on; whoever gets through all levels keeps its symbol as a byte.
 *
 *     tile:   head (64 bytes) | directory: 12 bytes per block, padded to 64 | block | block | ... | 64 bytes of zeros
 *     block:  raw planes | level 1 | level 2 | ... | symbols as bytes            each padded to 64 bytes
 *
 * Fields of w bits lie in units of 64 bytes: value i of a unit sits in byte i mod 64, at bit i div 64 * w. Blocks decode
 * independently of each other, on any width of vectors, without work across lanes. All integers little-endian. */
#ifndef CODEC_PLANES_H
#define CODEC_PLANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PLANES_BLOCK = 16384,    /* most values of a block */
    PLANES_MOST_BLOCKS = 16384,
    PLANES_UNIT = 64,
    PLANES_HEAD = 64,
    PLANES_ENTRY = 12,       /* of the directory */
    PLANES_LEVELS = 4,
    PLANES_SYMBOLS = 54,     /* most in the tables of all levels */
    PLANES_MOST_WHOLE = 16384, /* whole numbers are -PLANES_MOST_WHOLE to PLANES_MOST_WHOLE - 1 */
    PLANES_PLAIN = 0xffff,   /* in the first count of an entry: the block's values as they are */
};

/* What the values are. Raw bits and where their planes of 8, 4, 2 or 1 bit begin; the symbol is the exponent:
 *     BF16  sign and 7 bits of fraction     8
 *     F16   sign and 10 bits of fraction    8 + 2 + 1 (low bits first)
 *     E4M3  sign and 3 bits of fraction     4
 *     E5M2  sign and 2 bits of fraction     2 + 1
 * Whole numbers k that BF16 has, decoded to BF16: the low r bits of k, in two's complement, are raw, r = 0 to 7 (widths low bits
 * first: 1, 2, 4 bits as r has them); the symbol is floor(k / 2^r) + 128. Bytes that are codes of some kind: the low r bits are
 * raw, r = 0 to 5, the symbol is what stands above them. */
enum planes_kind {
    PLANES_BF16, PLANES_F16, PLANES_E4M3, PLANES_E5M2,
    PLANES_WHOLE_0, PLANES_WHOLE_1, PLANES_WHOLE_2, PLANES_WHOLE_3, PLANES_WHOLE_4, PLANES_WHOLE_5, PLANES_WHOLE_6, PLANES_WHOLE_7,
    PLANES_BYTE_0, PLANES_BYTE_1, PLANES_BYTE_2, PLANES_BYTE_3, PLANES_BYTE_4, PLANES_BYTE_5,
    PLANES_KINDS
};
bool planes_is_whole(enum planes_kind kind);

struct planes_form {
    uint8_t bytes;           /* of a value */
    uint8_t fraction;        /* bits */
    uint8_t exponent;        /* bits */
    uint8_t raws;            /* planes */
    uint8_t raw[3];          /* their widths */
};
extern const struct planes_form PLANES_FORM[PLANES_KINDS];

/* Most bytes that a tile of `values` values can take, whatever they are: blocks of PLANES_BLOCK, the last one short, or as many
 * blocks as `blocks` says. */
size_t planes_bound(enum planes_kind kind, uint64_t values, uint32_t blocks);

/* How a tile is coded: the first byte is the kind, then levels, their widths (2 or 4), 2 bytes of blocks, the ranked symbols. */
struct planes_head {
    uint8_t kind, levels, width[PLANES_LEVELS];
    uint8_t blocks[2], count, zero;
    uint8_t symbol[PLANES_SYMBOLS];
};

/* Codes a tile: `blocks` blocks (at most PLANES_MOST_BLOCKS) of count[i] values (1 .. PLANES_BLOCK), one after the other in
 * `values`. `out` has planes_bound bytes. Returns the tile's bytes, a multiple of 64. The levels are those that make it smallest.
 * Threads may code different tiles. */
struct planes_scratch {      /* memory for the encoder */
    uint32_t count[PLANES_MOST_BLOCKS]; /* not touched: room for the caller's counts */
    uint8_t symbol[PLANES_BLOCK], low[PLANES_BLOCK], high[PLANES_BLOCK];
    uint8_t rank[PLANES_BLOCK], code[PLANES_BLOCK], next[PLANES_BLOCK + 1];
    uint32_t number[2 * PLANES_MOST_WHOLE]; /* how often each whole number occurs */
};
size_t planes_encode(enum planes_kind kind, const void *values, const uint32_t *count, uint32_t blocks,
                     struct planes_scratch *scratch, void *out);

/* The kind that codes `values` whole numbers, given as BF16, in the fewest bits, and how many these are, the directory and what
 * fills up units left out. Numbers out of range, or with a fraction, are not told. */
enum planes_kind planes_best_whole(const void *values, uint64_t count, struct planes_scratch *scratch, uint64_t *bits);

/* The kind out of those that `kinds` has a bit for (of floats and bytes) which codes `count` values in the fewest bits, and how
 * many these are, as above. All kinds asked for have values of one size. */
enum planes_kind planes_best(uint32_t kinds, const void *values, uint64_t count, struct planes_scratch *scratch, uint64_t *bits);

/* Decodes block number `block` of `count` values of a tile of `len` bytes. `out` has room for `count` rounded up to 64 values (what
 * stands behind the real ones is undefined). False when the bytes do not make sense; `out` is undefined then. Whatever the bytes
 * are, nothing beyond `len` is read. All decoders give the same bytes for tiles that planes_encode made. The portable one is the
 * definition, which tests compare the others with; the one that suits the processor is in coding.h's table. */
typedef bool planes_decode_fn(const uint8_t *tile, size_t len, uint32_t block, uint32_t count, void *out);
bool planes_decode_portable(const uint8_t *tile, size_t len, uint32_t block, uint32_t count, void *out);

/* One row times a block of BF16 or whole numbers that is panels of 16 rows, one after the other, in the layout of kern_matmul:
 * y[p * 16 + r] = chain over k of fma(w, x[k], .), from y itself when `accumulate`, else from 0. False as above; y is undefined
 * then. */
struct planes_product {
    const uint8_t *tile;
    size_t len;
    uint32_t block;
    uint32_t panels, cols;   /* cols a multiple of PLANES_PRODUCT_COLS */
    const float *x;          /* [cols] */
    float *y;                /* [panels * 16] */
    bool accumulate;
};
enum { PLANES_PRODUCT_COLS = 16 };
typedef bool planes_multiply_fn(const struct planes_product *p);

/* The sections of a block, checked: all of them and 64 bytes more lie inside the tile. */
struct planes_block {
    const struct planes_form *form;
    const uint8_t *raw[3];
    const uint8_t *level[PLANES_LEVELS + 1]; /* the last: symbols as bytes */
    uint32_t values[PLANES_LEVELS + 1];      /* in each */
    const uint8_t *symbol[PLANES_LEVELS];    /* table of each level: 2^width - 1 */
    uint8_t width[PLANES_LEVELS];
    uint32_t levels;
    const uint8_t *whole;                    /* the values as they are, or NULL */
};
bool planes_find(struct planes_block *b, const uint8_t *tile, size_t len, uint32_t block, uint32_t count);

#endif
