/* SPDX-License-Identifier: Apache-2.0
 *
 * Geometry of stored matrices. One arithmetic serves both layouts, because a GATHERED panel over all columns is the same
 * bytes as a group of one panel cut into column blocks. It knows nothing of codecs or files. Invariant: the tiles in
 * order, and the (group, block) pairs in order inside each, cover the padded matrix exactly once, without gaps.
 *
 *   BLOCKS tile, decoded:   group g: block 0: panel 0 | panel 1 | panel 2 | panel 3     group g+1: ...
 *                                    block 1: panel 0 | ...
 *   panel inside a block:   pair of columns 0: 16 rows x 2 | pair 1: 16 rows x 2 | ...
 */
#include "codec/panel.h"

#include <string.h>

#include "base/compiler.h"
#include "codec/code_tile.h"
#include "codec/coding.h"

enum { MOST_GATHERED = 16 };
static const uint64_t max_rows = UINT64_C(1) << 31, max_cols = UINT64_C(1) << 24;

static uint32_t panels_per_group(const struct panel_shape *s) {
    return s->layout == PANEL_GATHERED ? 1 : KERN_BLOCK_PANELS;
}

static uint64_t elem_bytes(const struct panel_shape *s) {
    return kern_dtype_bytes((enum kern_dtype)s->dtype);
}

static uint64_t div_up(uint64_t a, uint64_t b) {
    return (a + b - 1) / b;
}

static uint64_t min_u64(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Of coded rows, which may be short: so many panels that little of a tile is padding. */
static uint32_t gathered_panels(const struct panel_shape *s) {
    uint32_t panels = 1;
    for (; panels < MOST_GATHERED; panels *= 2) {
        const uint64_t bytes = s->lead_bytes + panels * KERN_PANEL_ROWS * s->row_bytes;
        if (div_up(bytes, PANEL_TILE_ALIGN) * PANEL_TILE_ALIGN - bytes <= bytes / 64) {
            break;
        }
    }
    return panels;
}

static uint64_t tile_target(const struct panel_shape *s) {
    return s->packing == PANEL_STEPS ? PANEL_STEPS_TARGET : PANEL_TILE_TARGET;
}

/* Tiles of at least the target: whole groups, or equal runs of column blocks where one group is too large for a read. */
static uint64_t choose_tiles(struct panel_shape *s) {
    s->parts_per_group = 1;
    s->groups_per_tile = 1;
    s->blocks_per_part = s->col_blocks;
    if (s->layout == PANEL_GATHERED) {
        s->groups_per_tile = s->coding != PANEL_PLAIN ? gathered_panels(s) : 1;
        return div_up(s->groups, s->groups_per_tile);
    }
    const uint64_t group_rows = min_u64(s->rows16, KERN_BLOCK_PANELS * KERN_PANEL_ROWS);
    const uint64_t coded_bytes = s->lead_bytes + group_rows * s->row_bytes;
    const uint64_t group_bytes = s->coding != PANEL_PLAIN ? coded_bytes : group_rows * s->cols2 * elem_bytes(s);
    if (group_bytes <= PANEL_TILE_MAX) {
        s->groups_per_tile = (uint32_t)min_u64(div_up(tile_target(s), group_bytes), s->groups);
        return div_up(s->groups, s->groups_per_tile);
    }
    const uint64_t most_blocks = PANEL_TILE_MAX / (group_rows * KERN_BLOCK_COLS * elem_bytes(s));
    const uint64_t parts = div_up(s->col_blocks, most_blocks);
    s->blocks_per_part = (uint32_t)div_up(s->col_blocks, parts);
    s->parts_per_group = (uint32_t)div_up(s->col_blocks, s->blocks_per_part);
    return (uint64_t)s->groups * s->parts_per_group;
}

static bool shape_init(struct panel_shape *s, uint64_t rows, uint64_t cols, enum kern_dtype dtype, enum panel_layout layout,
                       enum panel_coding coding, const struct groups *groups) {
    memset(s, 0, sizeof *s);
    if (rows == 0 || cols == 0 || rows > max_rows || cols > max_cols || (unsigned)dtype >= KERN_DTYPES ||
        (layout != PANEL_BLOCKS && layout != PANEL_GATHERED)) {
        return false;
    }
    s->rows = rows;
    s->cols = cols;
    s->rows16 = div_up(rows, KERN_PANEL_ROWS) * KERN_PANEL_ROWS;
    s->cols2 = (cols + 1) & ~UINT64_C(1);
    s->layout = (uint32_t)layout;
    s->dtype = (uint32_t)dtype;
    s->coding = (uint32_t)coding;
    if (coding == PANEL_GROUPS) {
        if (groups == NULL || !groups_valid(groups, cols)) {
            return false;
        }
        s->coded = *groups;
        s->row_bytes = groups_row_bytes(groups, cols);
        s->lead_bytes = groups_lead_bytes(groups, cols);
    } else if (coding != PANEL_PLAIN) {
        s->row_bytes = coding_block_row_bytes(coding, cols);
        if (s->row_bytes == 0) {
            return false;
        }
    }
    s->groups = (uint32_t)div_up(s->rows16, (uint64_t)panels_per_group(s) * KERN_PANEL_ROWS);
    s->col_blocks = (uint32_t)div_up(s->cols2, KERN_BLOCK_COLS);
    const uint64_t tiles = choose_tiles(s);
    s->tiles = (uint32_t)tiles;
    return tiles <= UINT32_MAX;
}

bool panel_shape_init(struct panel_shape *s, uint64_t rows, uint64_t cols, enum kern_dtype dtype, enum panel_layout layout) {
    return shape_init(s, rows, cols, dtype, layout, PANEL_PLAIN, NULL);
}

bool panel_shape_init_coded(struct panel_shape *s, uint64_t rows, uint64_t cols, enum panel_coding coding,
                            const struct groups *groups, enum panel_layout layout) {
    return coding > PANEL_PLAIN && coding < PANEL_CODINGS && shape_init(s, rows, cols, KERN_F32, layout, coding, groups) &&
           s->parts_per_group == 1 &&
           s->lead_bytes + s->row_bytes * KERN_PANEL_ROWS * panels_per_group(s) <= PANEL_TILE_MAX;
}

/* The kinds of numbers that can be packed. */
static const struct {
    const char *name;
    enum kern_dtype dtype;
    enum planes_kind kind;
} PACKED[] = {{"BF16_PL", KERN_BF16, PLANES_BF16}, {"F16_PL", KERN_F16, PLANES_F16}};

static const char STEPS_NAME[] = "STEPS";

static size_t packed_kind(const struct panel_shape *s) {
    size_t i = 0;
    while (i < ARRAY_LEN(PACKED) && s->dtype != (uint32_t)PACKED[i].dtype) {
        i++;
    }
    return i;
}

static bool worth_packing(const struct panel_shape *s) {
    return s->layout == PANEL_BLOCKS && s->rows * s->cols >= PLANES_BLOCK && s->cols > 1;
}

void panel_shape_pack(struct panel_shape *s) {
    if (worth_packing(s) && s->coding == PANEL_PLAIN && packed_kind(s) < ARRAY_LEN(PACKED)) {
        s->packing = PANEL_PLANES;
    } else if (worth_packing(s) && s->coding != PANEL_PLAIN && code_tile_able(s)) {
        s->packing = PANEL_CODES;
    }
}

void panel_shape_steps(struct panel_shape *s) {
    if (worth_packing(s) && s->coding == PANEL_PLAIN && s->dtype == KERN_BF16 && s->cols >= PANEL_STEPS_COLS) {
        s->packing = PANEL_STEPS;
        s->tiles = (uint32_t)choose_tiles(s); /* no more than before */
    }
}

const char *panel_type_name(const struct panel_shape *s) {
    return s->packing == PANEL_STEPS   ? STEPS_NAME
           : s->packing == PANEL_PLANES ? PACKED[packed_kind(s)].name
           : s->coding != PANEL_PLAIN ? coding_name((enum panel_coding)s->coding)
                                       : kern_dtype_name((enum kern_dtype)s->dtype);
}

static bool same(const char *name, const char *text, size_t len) {
    return strlen(name) == len && memcmp(name, text, len) == 0;
}

bool panel_type_of_name(const char *name, size_t len, struct panel_type *type) {
    for (unsigned d = 0; d < KERN_DTYPES; d++) {
        if (same(kern_dtype_name((enum kern_dtype)d), name, len)) {
            *type = (struct panel_type){(enum kern_dtype)d, PANEL_PLAIN, PANEL_AS_IS};
            return true;
        }
    }
    for (unsigned c = PANEL_PLAIN + 1; c < PANEL_CODINGS; c++) {
        if (same(coding_name((enum panel_coding)c), name, len)) {
            *type = (struct panel_type){KERN_F32, (enum panel_coding)c, PANEL_AS_IS};
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(PACKED); i++) {
        if (same(PACKED[i].name, name, len)) {
            *type = (struct panel_type){PACKED[i].dtype, PANEL_PLAIN, PANEL_PLANES};
            return true;
        }
    }
    *type = (struct panel_type){KERN_BF16, PANEL_PLAIN, PANEL_STEPS};
    return same(STEPS_NAME, name, len);
}

uint64_t panel_weight_bits(const struct panel_shape *s) {
    return s->rows * (s->coding != PANEL_PLAIN ? s->row_bytes : s->cols * elem_bytes(s)) * 8;
}

uint64_t panel_group_row(const struct panel_shape *s, uint32_t group) {
    return (uint64_t)group * panels_per_group(s) * KERN_PANEL_ROWS;
}

uint32_t panel_group_panels(const struct panel_shape *s, uint32_t group) {
    const uint64_t left = s->rows16 / KERN_PANEL_ROWS - (uint64_t)group * panels_per_group(s);
    return (uint32_t)min_u64(left, panels_per_group(s));
}

uint32_t panel_block_cols(const struct panel_shape *s, uint32_t block) {
    return (uint32_t)min_u64(s->cols2 - (uint64_t)block * KERN_BLOCK_COLS, KERN_BLOCK_COLS);
}

/* Padded columns of blocks first .. first + count - 1. */
static uint64_t cols_of_blocks(const struct panel_shape *s, uint32_t first, uint32_t count) {
    const uint64_t from = (uint64_t)first * KERN_BLOCK_COLS;
    return min_u64(s->cols2, from + (uint64_t)count * KERN_BLOCK_COLS) - from;
}

void panel_tile_at(const struct panel_shape *s, uint32_t tile, struct panel_tile *out) {
    const uint32_t part = tile % s->parts_per_group;
    const uint64_t group_rows = (uint64_t)panels_per_group(s) * KERN_PANEL_ROWS;
    memset(out, 0, sizeof *out);
    out->group = tile / s->parts_per_group * s->groups_per_tile;
    out->groups = (uint32_t)min_u64(s->groups_per_tile, s->groups - out->group);
    out->block = part * s->blocks_per_part;
    out->blocks = (uint32_t)min_u64(s->blocks_per_part, s->col_blocks - out->block);
    out->row = out->group * group_rows;
    out->rows = min_u64(out->groups * group_rows, s->rows16 - out->row);
    if (s->coding != PANEL_PLAIN) {
        out->bytes = s->lead_bytes + min_u64(out->rows, s->rows - out->row) * s->row_bytes;
        return;
    }
    out->bytes = out->rows * cols_of_blocks(s, out->block, out->blocks) * elem_bytes(s);
    out->continues = part != 0;
}

uint64_t panel_scale_bytes(const struct panel_shape *s, const struct panel_tile *t) {
    return s->packing == PANEL_STEPS ? div_up(t->rows * sizeof(uint16_t), PLANES_UNIT) * PLANES_UNIT : 0;
}

uint64_t panel_tile_most(const struct panel_shape *s, const struct panel_tile *t) {
    if (s->packing == PANEL_AS_IS || s->packing == PANEL_CODES) {
        return t->bytes;
    }
    const enum planes_kind kind = s->packing == PANEL_STEPS ? PLANES_WHOLE_0 : PACKED[packed_kind(s)].kind;
    return panel_scale_bytes(s, t) + planes_bound(kind, t->bytes / elem_bytes(s), t->groups * t->blocks);
}

bool panel_tile_packed(const struct panel_shape *s, const struct panel_tile *t, uint64_t len) {
    return s->packing == PANEL_CODES && len < div_up(t->bytes, PANEL_TILE_ALIGN) * PANEL_TILE_ALIGN;
}

uint64_t panel_unpacking_bytes(const struct panel_shape *s) {
    struct code_parts p;
    if (s->packing != PANEL_CODES || !code_parts_of(s, &p)) {
        return 0;
    }
    const uint64_t rest = CODE_TILE_ROWS * p.rest_bytes;
    return CODE_TILE_BLOCK + (rest <= CODE_TILE_REST ? rest + (CODE_TILE_ROOM - CODE_TILE_REST) : 0);
}

uint64_t panel_block_offset(const struct panel_shape *s, const struct panel_tile *t, uint32_t group, uint32_t block) {
    /* Every group before this one is full: only the last of a matrix can be short. */
    const uint64_t rows_before = (uint64_t)(group - t->group) * panels_per_group(s) * KERN_PANEL_ROWS;
    const uint64_t weights_before = rows_before * cols_of_blocks(s, t->block, t->blocks);
    const uint64_t rows = (uint64_t)panel_group_panels(s, group) * KERN_PANEL_ROWS;
    return (weights_before + rows * cols_of_blocks(s, t->block, block - t->block)) * elem_bytes(s);
}

/* One panel of one block: where it lies in the tile and which real part of the matrix it holds. */
struct piece {
    uint64_t offset;
    uint64_t row, col;   /* row counts from the tile's first row */
    uint32_t rows, cols; /* real ones */
    uint32_t cols_padded;
};

static struct piece piece_at(const struct panel_shape *s, const struct panel_tile *t, uint32_t group, uint32_t block,
                             uint32_t panel) {
    struct piece p;
    const uint64_t row = ((uint64_t)group * panels_per_group(s) + panel) * KERN_PANEL_ROWS;
    p.cols_padded = panel_block_cols(s, block);
    p.row = row - t->row;
    p.col = (uint64_t)block * KERN_BLOCK_COLS;
    p.rows = (uint32_t)min_u64(KERN_PANEL_ROWS, s->rows - row);
    p.cols = (uint32_t)min_u64(p.cols_padded, s->cols - p.col);
    p.offset = panel_block_offset(s, t, group, block) +
               (uint64_t)panel * p.cols_padded * KERN_PANEL_ROWS * elem_bytes(s);
    return p;
}

static void unpack_piece(const struct piece *p, const unsigned char *tile, unsigned char *dst, uint64_t stride,
                         size_t elem) {
    const unsigned char *panel = tile + p->offset;
    for (uint32_t r = 0; r < p->rows; r++) {
        unsigned char *out = dst + (p->row + r) * stride + p->col * elem;
        for (uint32_t c = 0; c < p->cols; c += 2) {
            const size_t count = p->cols - c < 2 ? 1 : 2;
            memcpy(out + c * elem, panel + ((size_t)c * KERN_PANEL_ROWS + 2 * (size_t)r) * elem, count * elem);
        }
    }
}

static uint64_t coded_rows(const struct panel_shape *s, const struct panel_tile *t) {
    return (t->bytes - s->lead_bytes) / s->row_bytes;
}

void panel_pack_tile(const struct panel_shape *s, const struct panel_tile *t, const void *src, uint64_t stride,
                     void *dst) {
    if (s->coding != PANEL_PLAIN) {
        unsigned char *to = (unsigned char *)dst + s->lead_bytes;
        for (uint64_t r = 0; r < coded_rows(s, t); r++) {
            memcpy(to + r * s->row_bytes, (const unsigned char *)src + r * stride, s->row_bytes);
        }
        return;
    }
    for (uint32_t group = t->group; group < t->group + t->groups; group++) {
        for (uint32_t block = t->block; block < t->block + t->blocks; block++) {
            for (uint32_t panel = 0; panel < panel_group_panels(s, group); panel++) {
                const struct piece p = piece_at(s, t, group, block, panel);
                const unsigned char *from = (const unsigned char *)src + p.row * stride + p.col * elem_bytes(s);
                kern_pack_panel((unsigned char *)dst + p.offset, from, stride, p.rows, p.cols, p.cols_padded,
                                (enum kern_dtype)s->dtype);
            }
        }
    }
}

uint32_t panel_planes_block(const struct panel_shape *s, const struct panel_tile *t, uint32_t group, uint32_t block,
                            uint32_t *values) {
    *values = panel_group_panels(s, group) * KERN_PANEL_ROWS * panel_block_cols(s, block);
    return (group - t->group) * t->blocks + (block - t->block);
}

static void put_scales(const struct panel_shape *s, const struct panel_tile *t, const uint16_t *scale, uint8_t *out) {
    memset(out, 0, panel_scale_bytes(s, t));
    for (uint64_t r = 0; r < min_u64(t->rows, s->rows - t->row); r++) {
        out[2 * r] = (uint8_t)scale[r];
        out[2 * r + 1] = (uint8_t)(scale[r] >> 8);
    }
}

uint64_t panel_encode_tile(const struct panel_shape *s, const struct panel_tile *t, const void *decoded, const uint16_t *scale,
                           struct planes_scratch *scratch, void *out) {
    for (uint32_t group = t->group; group < t->group + t->groups; group++) {
        for (uint32_t block = t->block; block < t->block + t->blocks; block++) {
            uint32_t values = 0;
            uint32_t at = panel_planes_block(s, t, group, block, &values);
            scratch->count[at] = values;
        }
    }
    if (s->packing != PANEL_STEPS) {
        return planes_encode(PACKED[packed_kind(s)].kind, decoded, scratch->count, t->groups * t->blocks, scratch, out);
    }
    const uint64_t lead = panel_scale_bytes(s, t);
    uint64_t bits = 0;
    const enum planes_kind kind = planes_best_whole(decoded, t->bytes / elem_bytes(s), scratch, &bits);
    put_scales(s, t, scale, (uint8_t *)out);
    return lead + planes_encode(kind, decoded, scratch->count, t->groups * t->blocks, scratch, (uint8_t *)out + lead);
}

void panel_unpack_tile(const struct panel_shape *s, const struct panel_tile *t, const void *tile, void *dst,
                       uint64_t stride) {
    if (s->coding != PANEL_PLAIN) {
        const unsigned char *from = (const unsigned char *)tile + s->lead_bytes;
        for (uint64_t r = 0; r < coded_rows(s, t); r++) {
            memcpy((unsigned char *)dst + r * stride, from + r * s->row_bytes, s->row_bytes);
        }
        return;
    }
    for (uint32_t group = t->group; group < t->group + t->groups; group++) {
        for (uint32_t block = t->block; block < t->block + t->blocks; block++) {
            for (uint32_t panel = 0; panel < panel_group_panels(s, group); panel++) {
                const struct piece p = piece_at(s, t, group, block, panel);
                unpack_piece(&p, tile, dst, stride, elem_bytes(s));
            }
        }
    }
}
