/* SPDX-License-Identifier: Apache-2.0
 *
 * Geometry of a matrix in a store: panels, groups, blocks, tiles (DESIGN section 4). Pure arithmetic, used by the
 * splitter, the reader, the planner and the executor alike, so that they can never disagree.
 *
 * A matrix [rows, cols] is padded to rows16 (multiple of 16) x cols2 (even). Two layouts:
 *   BLOCKS    groups of 4 panels (64 rows; the last group may have fewer panels); inside a group, column blocks of 256
 *             (the last one shorter); inside a block, panel after panel, each panel as kern_matmul wants it.
 *             A tile is `groups_per_tile` whole groups, or, where one group exceeds PANEL_TILE_MAX, one of
 *             `parts_per_group` runs of `blocks_per_part` column blocks of one group.
 *   GATHERED  panel after panel over all columns (rows are looked up); a tile is one panel.
 *
 * A coded matrix keeps the codes and scales of its source and is decoded block by block on the way to compute. Inside its tiles
 * row follows row as one record of row_bytes (codec/coding.h), behind what they have in common, padding rows left out; tiles of
 * GATHERED are as many panels as keep padding to 1/64 (at most 16).
 *
 * A packed matrix is a plain one in BLOCKS whose tiles are coded by planes (codec/planes.h): the same geometry, a block of planes
 * for each column block of a group, in their order. How long its tiles are only the tile table says. One in whole steps
 * (codec/steps.h) has the scales of a tile's rows in front of the planes, and larger tiles, since they shrink more. Of a coded
 * matrix each tile is packed for itself, where that saves pages (codec/code_tile.h).
 */
#ifndef CODEC_PANEL_H
#define CODEC_PANEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "codec/groups.h"
#include "codec/planes.h"
#include "kern/kern.h"

enum { PANEL_TILE_TARGET = 1 << 20, PANEL_STEPS_TARGET = 2 << 20, PANEL_TILE_MAX = 4 << 20, PANEL_TILE_ALIGN = 4096 };

enum panel_layout { PANEL_BLOCKS, PANEL_GATHERED };
enum panel_coding {
    PANEL_PLAIN, PANEL_GROUPS,
    PANEL_Q4_0, PANEL_Q4_1, PANEL_Q5_0, PANEL_Q5_1, PANEL_Q8_0, PANEL_Q2_K, PANEL_Q3_K, PANEL_Q4_K, PANEL_Q5_K, PANEL_Q6_K,
    PANEL_IQ4_NL, PANEL_IQ4_XS, PANEL_TQ1_0, PANEL_TQ2_0, PANEL_MXFP4_BLOCKS, PANEL_NVFP4_BLOCKS,
    PANEL_CODINGS
};

enum { PANEL_STEPS_COLS = 32 };
enum panel_packing { PANEL_AS_IS, PANEL_PLANES, PANEL_STEPS, PANEL_CODES };

struct panel_shape {
    uint64_t rows, cols;     /* real */
    uint64_t rows16, cols2;  /* padded */
    uint32_t layout;
    uint32_t dtype;          /* enum kern_dtype of the decoded weights */
    uint32_t coding;         /* enum panel_coding */
    uint32_t packing;        /* enum panel_packing */
    struct groups coded;     /* PANEL_GROUPS */
    uint64_t row_bytes;      /* of a record, coded matrices */
    uint64_t lead_bytes;     /* at the front of every tile of PANEL_GROUPS, before the records */
    uint32_t groups;         /* BLOCKS: groups of <= 4 panels; GATHERED: panels */
    uint32_t col_blocks;     /* ceil(cols2 / 256) */
    uint32_t groups_per_tile;
    uint32_t parts_per_group;
    uint32_t blocks_per_part;
    uint32_t tiles;
};

/* Chooses the tiling; false when a dimension is 0 or too large (rows 2^31, cols 2^24). */
bool panel_shape_init(struct panel_shape *s, uint64_t rows, uint64_t cols, enum kern_dtype dtype,
                      enum panel_layout layout);

/* The same for a coded matrix (groups: of PANEL_GROUPS, else NULL); false besides when its rows are too long for a tile, or of a
 * width that the coding has not. */
bool panel_shape_init_coded(struct panel_shape *s, uint64_t rows, uint64_t cols, enum panel_coding coding,
                            const struct groups *groups, enum panel_layout layout);

/* Makes a shape packed, where its matrix can be: plain numbers of 16 bits or codes, in BLOCKS, not less than a block of planes. */
void panel_shape_pack(struct panel_shape *s);

/* The same for whole steps, which have the type BF16 and rows of PANEL_STEPS_COLS or more. */
void panel_shape_steps(struct panel_shape *s);

/* "BF16", "Q4_K", "GROUPS", "BF16_PL", "STEPS", ... and back; false: unknown. */
const char *panel_type_name(const struct panel_shape *s);
struct panel_type {
    enum kern_dtype dtype;
    enum panel_coding coding;
    enum panel_packing packing;
};
bool panel_type_of_name(const char *name, size_t len, struct panel_type *type);
/* Bits that its real weights take, scales included; of a packed one, before it was packed. */
uint64_t panel_weight_bits(const struct panel_shape *s);

/* What tile i holds. */
struct panel_tile {
    uint32_t group, groups;         /* first group and how many */
    uint32_t block, blocks;         /* column blocks of each of these groups (all, unless the group is cut in parts) */
    uint64_t row, rows;             /* padded rows covered: first and how many (multiple of 16) */
    uint64_t bytes;                 /* decoded (= raw) bytes, before padding to 4 KiB */
    bool continues;                 /* not the first part of its group: adds to what earlier parts summed */
};
void panel_tile_at(const struct panel_shape *s, uint32_t tile, struct panel_tile *out);
/* Most bytes that the tile takes in a file, before padding: t->bytes where the matrix is coded, or not packed. */
uint64_t panel_tile_most(const struct panel_shape *s, const struct panel_tile *t);

/* Is this tile of a coded matrix, of `len` bytes in its file, packed? Then it has fewer pages than it takes as it is. */
bool panel_tile_packed(const struct panel_shape *s, const struct panel_tile *t, uint64_t len);

/* Memory that each thread which decodes packed tiles of a coded matrix writes to, beside the decoded block; others: 0. */
uint64_t panel_unpacking_bytes(const struct panel_shape *s);

/* Bytes of the scales in front of a tile: BF16 for each of its padded rows, padded to 64 bytes. 0: not in steps. */
uint64_t panel_scale_bytes(const struct panel_shape *s, const struct panel_tile *t);

/* The first row of a group. */
uint64_t panel_group_row(const struct panel_shape *s, uint32_t group);
/* Panels in a group (4, or fewer in the last), columns in a column block (256, or fewer in the last; even). */
uint32_t panel_group_panels(const struct panel_shape *s, uint32_t group);
uint32_t panel_block_cols(const struct panel_shape *s, uint32_t block);
/* Byte offset of (group, block) inside a decoded tile that starts at (t->group, t->block). */
uint64_t panel_block_offset(const struct panel_shape *s, const struct panel_tile *t, uint32_t group, uint32_t block);

/* Packs row-major source rows into the decoded form of tile t: src points at row t->row, real rows only (rows beyond
 * s->rows are not read), stride bytes apart. dst gets t->bytes bytes; the lead of a coded tile is the caller's. */
void panel_pack_tile(const struct panel_shape *s, const struct panel_tile *t, const void *src, uint64_t stride, void *dst);
/* Planes of a packed tile from its decoded form, into panel_tile_most bytes at `out`. Returns their number. scale: of steps, BF16
 * of the tile's rows without padding. */
uint64_t panel_encode_tile(const struct panel_shape *s, const struct panel_tile *t, const void *decoded, const uint16_t *scale,
                           struct planes_scratch *scratch, void *out);
/* The number of a column block of a group among the blocks of planes of a tile, and how many values it has. */
uint32_t panel_planes_block(const struct panel_shape *s, const struct panel_tile *t, uint32_t group, uint32_t block,
                            uint32_t *values);
/* The inverse, for verify and tests: real rows and columns only. */
void panel_unpack_tile(const struct panel_shape *s, const struct panel_tile *t, const void *tile, void *dst,
                       uint64_t stride);

#endif
