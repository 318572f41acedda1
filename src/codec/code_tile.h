/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed tiles of coded matrices (docs/FORMAT.md, "Packed codes"): the codes and scales of a source that was quantised already,
 * coded without loss where that takes fewer pages. A record is cut into its codes and the rest, its scales and what belongs to
 * them. Codes are coded by planes, a byte each, in blocks of up to 64 rows x 256 columns, so that a product decodes just what it
 * multiplies next. The rest of the rows of a group is decoded before its first block.
 *
 *     head (64 bytes) | lead | rest of each row | codes            each padded to 64 bytes
 *
 * Either part may stand as it is. Whether a tile is packed only the number of its pages says: fewer than it has as it is.
 * Pure; whatever the bytes are, nothing outside them is read. */
#ifndef CODEC_CODE_TILE_H
#define CODEC_CODE_TILE_H

#include "codec/panel.h"

enum {
    CODE_TILE_HEAD = 64,
    CODE_TILE_ROWS = KERN_BLOCK_PANELS * KERN_PANEL_ROWS, /* of a group, at most */
    CODE_TILE_REST = 64 << 10,                            /* most bytes of the rest of a group that are coded by planes */
    CODE_TILE_CODES = PANEL_TILE_MAX,                     /* most codes of a tile that is packed */
    CODE_TILE_BLOCK = PLANES_BLOCK + 64,                  /* room for the codes of a block */
    CODE_TILE_ROOM = CODE_TILE_REST + 128,                /* and for the rest of a group */
};

enum code_tile_codes { CODES_AS_IS, CODES_PLANES, CODES_FORMS };
enum code_tile_rest { REST_AS_IS, REST_RUNS, REST_PLANES, REST_FORMS };

/* Of each record: its codes and the rest. Of blocks the codes are what ends each of them. */
struct code_parts {
    uint64_t code_bytes, rest_bytes; /* of a row */
    uint32_t block_len;              /* weights; 0: GROUPS */
    uint32_t block_rest, block_codes; /* bytes */
    uint32_t run;                    /* bytes of a block in which low halves are followed by high ones; of 8 bits: 0 */
    uint32_t bits;                   /* of a code */
};
/* False: codes of this kind are not packed. */
bool code_parts_of(const struct panel_shape *s, struct code_parts *p);
/* Can tiles of this matrix be packed? Of known codes, and not too many of them in a tile. */
bool code_tile_able(const struct panel_shape *s);

/* A packed tile whose parts lie inside it. */
struct code_tile {
    const struct panel_shape *s;
    const struct panel_tile *t;
    struct code_parts parts;
    enum code_tile_codes codes_form;
    enum code_tile_rest rest_form;
    const uint8_t *lead, *rest, *codes;
    size_t rest_len, codes_len;
    const uint8_t *run;              /* REST_RUNS: u16 for each row */
    uint32_t runs;
};
/* False when the bytes make no sense. */
bool code_tile_open(struct code_tile *c, const struct panel_shape *s, const struct panel_tile *t, const uint8_t *bytes, size_t len);

/* What a block of a group is decoded from: coding_table.decode_packed. */
struct code_block {
    const uint8_t *lead;
    const uint8_t *rest[CODE_TILE_ROWS]; /* of each real row of the group */
    const uint8_t *codes;                /* of the first row */
    size_t stride;
    bool wide;                           /* codes are bytes in the order of columns, from the block's on; else as in a record */
};
/* Fills `rest` and `lead`; `room` has CODE_TILE_ROOM bytes, which `rest` may point into. */
bool code_tile_group(const struct code_tile *c, planes_decode_fn *decode, uint32_t group, uint8_t *room, struct code_block *b);
/* Fills the others; `room` has CODE_TILE_BLOCK bytes. */
bool code_tile_block(const struct code_tile *c, planes_decode_fn *decode, uint32_t group, uint32_t block, uint8_t *room,
                     struct code_block *b);

/* The tile as it is, t->bytes of them, by the portable decoder: for tests. */
bool code_tile_unpack(const struct panel_shape *s, const struct panel_tile *t, const uint8_t *bytes, size_t len, uint8_t *out);

/* Records of tile t, from its first row on, and the lead, coded into `out`, which has code_tile_bound bytes. `room` has
 * CODE_TILE_CODES bytes. Returns the number of bytes, a multiple of 64; 0 where it does not save a fiftieth of the pages. */
struct code_source {
    const uint8_t *lead, *records;
    uint64_t stride;
};
uint64_t code_tile_bound(const struct panel_shape *s, const struct panel_tile *t);
uint64_t code_tile_encode(const struct panel_shape *s, const struct panel_tile *t, const struct code_source *from, uint8_t *room,
                          struct planes_scratch *scratch, uint8_t *out);

#endif
