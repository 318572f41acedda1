/* SPDX-License-Identifier: Apache-2.0
 * The encoder of packed tiles of coded matrices, and the way from their bytes to the codes and scales of a block. Values:
 * decode_level_priv.h. */
#include "codec/code_tile.h"

#include <string.h>

#include "base/checked.h"
#include "base/span.h"
#include "codec/coding_priv.h"

enum { FORM_AT = 0, REST_AT = 1, RUNS_AT = 4, CODES_AT = 8, WORTH = 50 };

static uint64_t to_unit(uint64_t bytes) {
    return round_up(bytes, PLANES_UNIT);
}

/* Blocks that are scales, then codes: the types whose codes are not spread over several places. */
static bool parts_of_blocks(const struct panel_shape *s, struct code_parts *p) {
    const struct coding_block b = coding_block_of((enum panel_coding)s->coding);
    switch (s->coding) {
    case PANEL_Q4_0:
    case PANEL_Q4_1:
    case PANEL_IQ4_NL:
    case PANEL_IQ4_XS:
    case PANEL_MXFP4_BLOCKS:
        p->bits = 4;
        p->run = 16;
        break;
    case PANEL_Q4_K:
        p->bits = 4;
        p->run = 32;
        break;
    case PANEL_NVFP4_BLOCKS:
        p->bits = 4;
        p->run = 8;
        break;
    case PANEL_Q8_0:
        p->bits = 8;
        break;
    default:
        return false;
    }
    p->block_len = b.len;
    p->block_codes = b.len * p->bits / 8;
    p->block_rest = b.bytes - p->block_codes;
    p->code_bytes = s->cols / b.len * p->block_codes;
    p->rest_bytes = s->cols / b.len * p->block_rest;
    return true;
}

bool code_parts_of(const struct panel_shape *s, struct code_parts *p) {
    *p = (struct code_parts){0};
    if (s->layout != PANEL_BLOCKS || s->coding == PANEL_PLAIN) {
        return false;
    }
    if (s->coding != PANEL_GROUPS) {
        return parts_of_blocks(s, p);
    }
    p->bits = s->coded.bits;
    p->code_bytes = groups_places_of(&s->coded, s->cols).scales;
    p->rest_bytes = s->row_bytes - p->code_bytes;
    return p->bits > 2; /* no level of planes has fewer */
}

bool code_tile_able(const struct panel_shape *s) {
    struct code_parts p;
    struct panel_tile t;
    panel_tile_at(s, 0, &t);
    return code_parts_of(s, &p) && t.rows * s->cols <= CODE_TILE_CODES;
}

static uint64_t rows_of(const struct panel_shape *s, const struct panel_tile *t) {
    return min_u64(t->rows, s->rows - t->row);
}

/* Real rows of a group, real columns of a column block. */
static uint32_t group_rows(const struct panel_shape *s, uint32_t group) {
    return (uint32_t)min_u64(CODE_TILE_ROWS, s->rows - panel_group_row(s, group));
}

static uint32_t block_cols(const struct panel_shape *s, uint32_t block) {
    return (uint32_t)min_u64(KERN_BLOCK_COLS, s->cols - (uint64_t)block * KERN_BLOCK_COLS);
}

/* The rest of a group in blocks of values of `bytes` bytes. */
static uint32_t rest_blocks(const struct code_parts *p, uint32_t rows, uint32_t bytes) {
    return (uint32_t)div_up(rows * p->rest_bytes / bytes, PLANES_BLOCK);
}

/* ---- from a tile ---- */

/* Takes `len` bytes at *at, padded to 64; NULL when they are not there. */
static const uint8_t *take(const uint8_t *bytes, size_t len, uint64_t *at, uint64_t count) {
    if (*at > len || count > len - *at) {
        return NULL;
    }
    const uint8_t *p = bytes + *at;
    *at += to_unit(count);
    return p;
}

static bool find_rest(struct code_tile *c, const uint8_t *bytes, uint64_t *at, uint64_t end) {
    const uint64_t rows = rows_of(c->s, c->t);
    if (c->rest_form == REST_PLANES) {
        c->rest = bytes + *at;
        c->rest_len = (size_t)(end - *at);
        *at = end;
        return CODE_TILE_ROWS * c->parts.rest_bytes <= CODE_TILE_REST;
    }
    uint64_t count = rows;
    if (c->rest_form == REST_RUNS) {
        c->run = take(bytes, (size_t)end, at, rows * sizeof(uint16_t));
        count = c->runs;
    }
    c->rest = take(bytes, (size_t)end, at, count * c->parts.rest_bytes);
    return c->rest != NULL && (c->rest_form != REST_RUNS || c->run != NULL);
}

bool code_tile_open(struct code_tile *c, const struct panel_shape *s, const struct panel_tile *t, const uint8_t *bytes,
                    size_t len) {
    *c = (struct code_tile){.s = s, .t = t};
    if (len < CODE_TILE_HEAD || !code_parts_of(s, &c->parts) || bytes[FORM_AT] >= CODES_FORMS || bytes[REST_AT] >= REST_FORMS) {
        return false;
    }
    const uint64_t codes = (uint64_t)load_le32(bytes + CODES_AT) * PLANES_UNIT;
    uint64_t at = CODE_TILE_HEAD;
    c->codes_form = (enum code_tile_codes)bytes[FORM_AT];
    c->rest_form = (enum code_tile_rest)bytes[REST_AT];
    c->runs = load_le32(bytes + RUNS_AT);
    c->lead = take(bytes, len, &at, s->lead_bytes);
    if (c->lead == NULL || codes > len || at > codes || c->runs > rows_of(s, t) || !find_rest(c, bytes, &at, codes) ||
        at != codes) {
        return false;
    }
    c->codes = bytes + codes;
    c->codes_len = len - (size_t)codes;
    return c->codes_form == CODES_PLANES || c->codes_len >= rows_of(s, t) * c->parts.code_bytes;
}

/* What planes have in the first byte says of which size their values are. */
static uint32_t value_bytes(const uint8_t *planes, size_t len) {
    return len > 0 && planes[0] < PLANES_KINDS ? PLANES_FORM[planes[0]].bytes : 0;
}

static bool decode_rest(const struct code_tile *c, planes_decode_fn *decode, uint32_t group, uint8_t *room) {
    const uint32_t bytes = value_bytes(c->rest, c->rest_len);
    const uint32_t rows = group_rows(c->s, group);
    if (bytes == 0 || c->parts.rest_bytes % bytes != 0) {
        return false;
    }
    const uint64_t values = rows * c->parts.rest_bytes / bytes;
    const uint32_t first = (group - c->t->group) * rest_blocks(&c->parts, CODE_TILE_ROWS, bytes);
    bool fine = true;
    for (uint32_t i = 0; fine && (uint64_t)i * PLANES_BLOCK < values; i++) {
        const uint32_t count = (uint32_t)min_u64(PLANES_BLOCK, values - (uint64_t)i * PLANES_BLOCK);
        fine = decode(c->rest, c->rest_len, first + i, count, room + (size_t)i * PLANES_BLOCK * bytes);
    }
    return fine;
}

bool code_tile_group(const struct code_tile *c, planes_decode_fn *decode, uint32_t group, uint8_t *room, struct code_block *b) {
    const uint64_t first = panel_group_row(c->s, group) - c->t->row;
    const uint32_t rows = group_rows(c->s, group);
    b->lead = c->lead;
    if (c->rest_form == REST_PLANES && !decode_rest(c, decode, group, room)) {
        return false;
    }
    for (uint32_t r = 0; r < rows; r++) {
        uint64_t nth = first + r;
        if (c->rest_form == REST_RUNS) {
            nth = load_le16(c->run + nth * sizeof(uint16_t));
            if (nth >= c->runs) {
                return false;
            }
        }
        b->rest[r] = c->rest_form == REST_PLANES ? room + r * c->parts.rest_bytes : c->rest + nth * c->parts.rest_bytes;
    }
    return true;
}

bool code_tile_block(const struct code_tile *c, planes_decode_fn *decode, uint32_t group, uint32_t block, uint8_t *room,
                     struct code_block *b) {
    const uint64_t first = panel_group_row(c->s, group) - c->t->row;
    b->wide = c->codes_form == CODES_PLANES;
    if (!b->wide) {
        b->codes = c->codes + first * c->parts.code_bytes;
        b->stride = (size_t)c->parts.code_bytes;
        return true;
    }
    b->codes = room;
    b->stride = block_cols(c->s, block);
    const uint32_t at = (group - c->t->group) * c->s->col_blocks + block;
    const uint32_t count = group_rows(c->s, group) * block_cols(c->s, block);
    return value_bytes(c->codes, c->codes_len) == 1 && decode(c->codes, c->codes_len, at, count, room);
}

/* ---- records ---- */

static void rest_of_record(const struct code_parts *p, const uint8_t *record, uint8_t *out) {
    if (p->block_len == 0) {
        memcpy(out, record + p->code_bytes, (size_t)p->rest_bytes);
        return;
    }
    const uint32_t step = p->block_rest + p->block_codes;
    for (uint64_t i = 0; i < p->rest_bytes / p->block_rest; i++) {
        memcpy(out + i * p->block_rest, record + i * step, p->block_rest);
    }
}

/* Codes as they are. */
static void codes_of_record(const struct code_parts *p, const uint8_t *record, uint8_t *out) {
    if (p->block_len == 0) {
        memcpy(out, record, (size_t)p->code_bytes);
        return;
    }
    const uint32_t step = p->block_rest + p->block_codes;
    for (uint64_t i = 0; i < p->code_bytes / p->block_codes; i++) {
        memcpy(out + i * p->block_codes, record + i * step + p->block_rest, p->block_codes);
    }
}

/* Codes of `count` columns from `col` on as bytes. */
static void bytes_of_codes(const struct code_parts *p, const uint8_t *record, uint64_t col, uint32_t count, uint8_t *out) {
    if (p->block_len == 0 && p->bits == 8) {
        memcpy(out, record + col, count);
    } else if (p->block_len == 0 && p->bits == 4 && count % 2 == 0) { /* columns begin at multiples of 256 */
        for (uint32_t i = 0; i < count / 2; i++) {
            out[2 * i] = record[col / 2 + i] & 15;
            out[2 * i + 1] = record[col / 2 + i] >> 4;
        }
    } else if (p->block_len == 0) {
        for (uint32_t i = 0; i < count; i++) {
            out[i] = (uint8_t)groups_take(record, col + i, p->bits);
        }
    } else {
        const uint32_t step = p->block_rest + p->block_codes;
        const uint8_t *codes = record + col / p->block_len * step + p->block_rest;
        for (uint32_t i = 0; i < count; i += p->block_len, codes += step, out += p->block_len) {
            if (p->bits == 8) {
                memcpy(out, codes, p->block_len);
                continue;
            }
            for (uint32_t k = 0; k < p->block_codes; k++) {
                const uint32_t at = k / p->run * p->run + k;
                out[at] = codes[k] & 15;
                out[at + p->run] = codes[k] >> 4;
            }
        }
    }
}

/* ---- to a tile ---- */

/* Values are bytes: FP8 by its exponents, integers by what stands above their low bits. Of the rest, 16-bit scales too. */
#define CODE_KINDS                                                                                                          \
    (1u << PLANES_E4M3 | 1u << PLANES_E5M2 | 1u << PLANES_BYTE_0 | 1u << PLANES_BYTE_1 | 1u << PLANES_BYTE_2 |              \
     1u << PLANES_BYTE_3 | 1u << PLANES_BYTE_4 | 1u << PLANES_BYTE_5)
#define NUMBER_KINDS (1u << PLANES_BF16 | 1u << PLANES_F16)

uint64_t code_tile_bound(const struct panel_shape *s, const struct panel_tile *t) {
    struct code_parts p;
    if (!code_parts_of(s, &p)) {
        return 0;
    }
    const uint64_t rest = rows_of(s, t) * p.rest_bytes;
    const uint64_t rest_most = planes_bound(PLANES_BYTE_0, rest, t->groups * rest_blocks(&p, CODE_TILE_ROWS, 1)) +
                               to_unit(rows_of(s, t) * sizeof(uint16_t));
    const uint64_t codes_most = planes_bound(PLANES_BYTE_0, rows_of(s, t) * s->cols, t->groups * t->blocks);
    return CODE_TILE_HEAD + to_unit(s->lead_bytes) + rest_most + codes_most;
}

struct encoder {
    const struct panel_shape *s;
    const struct panel_tile *t;
    const struct code_source *from;
    struct code_parts parts;
    uint8_t *room;
    struct planes_scratch *scratch;
};

static const uint8_t *record_of(const struct encoder *e, uint64_t row) {
    return e->from->records + row * e->from->stride;
}

static uint64_t fill_up(uint8_t *out, uint64_t bytes) {
    memset(out + bytes, 0, (size_t)(to_unit(bytes) - bytes));
    return to_unit(bytes);
}

/* The rest in runs of equal rows; returns its bytes. FP8 has the scales of a block in every row of it. */
static uint64_t put_runs(const struct encoder *e, uint8_t *out) {
    const uint64_t rows = rows_of(e->s, e->t);
    const uint64_t each = e->parts.rest_bytes;
    uint8_t *list = out + to_unit(rows * sizeof(uint16_t));
    uint32_t run = 0;
    for (uint64_t r = 0; r < rows; r++) {
        const uint8_t *rest = e->room + r * each;
        if (r > 0 && memcmp(rest, rest - each, (size_t)each) != 0) {
            run++;
        }
        out[2 * r] = (uint8_t)run;
        out[2 * r + 1] = (uint8_t)(run >> 8);
        memcpy(list + run * each, rest, (size_t)each);
    }
    (void)fill_up(out, rows * sizeof(uint16_t));
    return to_unit(rows * sizeof(uint16_t)) + fill_up(list, (run + 1) * each);
}

static uint32_t count_runs(const struct encoder *e) {
    uint32_t runs = 1;
    for (uint64_t r = 1; r < rows_of(e->s, e->t); r++) {
        const uint8_t *rest = e->room + r * e->parts.rest_bytes;
        runs += memcmp(rest, rest - e->parts.rest_bytes, (size_t)e->parts.rest_bytes) != 0;
    }
    return runs;
}

/* The rest by planes, where that takes less than `least` bytes; else 0. */
static uint64_t put_rest_planes(const struct encoder *e, uint64_t least, uint8_t *out) {
    const uint64_t all = rows_of(e->s, e->t) * e->parts.rest_bytes;
    uint64_t bits = 0;
    uint64_t other = UINT64_MAX;
    uint32_t blocks = 0;
    if (CODE_TILE_ROWS * e->parts.rest_bytes > CODE_TILE_REST) {
        return 0;
    }
    enum planes_kind kind = planes_best(CODE_KINDS, e->room, all, e->scratch, &bits);
    if (e->parts.rest_bytes % sizeof(uint16_t) == 0) {
        const enum planes_kind number = planes_best(NUMBER_KINDS, e->room, all / sizeof(uint16_t), e->scratch, &other);
        kind = other < bits ? number : kind;
    }
    if (min_u64(bits, other) / 8 >= least) {
        return 0;
    }
    for (uint32_t g = e->t->group; g < e->t->group + e->t->groups; g++) {
        uint64_t left = group_rows(e->s, g) * e->parts.rest_bytes / PLANES_FORM[kind].bytes;
        for (; left > 0; left -= e->scratch->count[blocks++]) {
            e->scratch->count[blocks] = (uint32_t)min_u64(PLANES_BLOCK, left);
        }
    }
    const uint64_t made = planes_encode(kind, e->room, e->scratch->count, blocks, e->scratch, out);
    return made < least ? made : 0;
}

/* The rest of each row in the form that takes least; returns its bytes. */
static uint64_t put_rest(const struct encoder *e, uint8_t *head, uint8_t *out) {
    const uint64_t rows = rows_of(e->s, e->t);
    const uint64_t all = rows * e->parts.rest_bytes;
    for (uint64_t r = 0; r < rows; r++) {
        rest_of_record(&e->parts, record_of(e, r), e->room + r * e->parts.rest_bytes);
    }
    const uint32_t runs = count_runs(e);
    const uint64_t in_runs = runs <= UINT16_MAX ? to_unit(rows * sizeof(uint16_t)) + to_unit(runs * e->parts.rest_bytes) : all;
    const uint64_t made = put_rest_planes(e, min_u64(in_runs, to_unit(all)), out);
    if (made != 0) {
        head[REST_AT] = REST_PLANES;
        return made;
    }
    if (in_runs < all) {
        head[REST_AT] = REST_RUNS;
        store_le32(head + RUNS_AT, runs);
        return put_runs(e, out);
    }
    memcpy(out, e->room, (size_t)all);
    return fill_up(out, all);
}

/* Codes by planes, or as they are; returns their bytes. */
static uint64_t put_codes(const struct encoder *e, uint8_t *head, uint8_t *out) {
    const uint64_t rows = rows_of(e->s, e->t);
    const uint64_t plain = rows * e->parts.code_bytes;
    uint32_t blocks = 0;
    uint64_t count = 0;
    uint64_t bits = 0;
    for (uint32_t g = e->t->group; g < e->t->group + e->t->groups; g++) {
        const uint64_t first = panel_group_row(e->s, g) - e->t->row;
        for (uint32_t b = 0; b < e->t->blocks; b++) {
            const uint32_t cols = block_cols(e->s, b);
            for (uint32_t r = 0; r < group_rows(e->s, g); r++, count += cols) {
                bytes_of_codes(&e->parts, record_of(e, first + r), (uint64_t)b * KERN_BLOCK_COLS, cols, e->room + count);
            }
            e->scratch->count[blocks++] = group_rows(e->s, g) * cols;
        }
    }
    const enum planes_kind kind = planes_best(CODE_KINDS, e->room, count, e->scratch, &bits);
    if (bits / 8 < plain) {
        const uint64_t made = planes_encode(kind, e->room, e->scratch->count, blocks, e->scratch, out);
        if (made < plain) {
            head[FORM_AT] = CODES_PLANES;
            return made;
        }
    }
    for (uint64_t r = 0; r < rows; r++) {
        codes_of_record(&e->parts, record_of(e, r), out + r * e->parts.code_bytes);
    }
    return fill_up(out, plain);
}

uint64_t code_tile_encode(const struct panel_shape *s, const struct panel_tile *t, const struct code_source *from, uint8_t *room,
                          struct planes_scratch *scratch, uint8_t *out) {
    struct encoder e = {.s = s, .t = t, .from = from, .room = room, .scratch = scratch};
    if (!code_parts_of(s, &e.parts)) {
        return 0;
    }
    memset(out, 0, CODE_TILE_HEAD);
    uint64_t at = CODE_TILE_HEAD;
    memcpy(out + at, from->lead, (size_t)s->lead_bytes);
    at += fill_up(out + at, s->lead_bytes);
    at += put_rest(&e, out, out + at);
    store_le32(out + CODES_AT, (uint32_t)(at / PLANES_UNIT));
    at += put_codes(&e, out, out + at);
    const uint64_t pages = div_up(at, PANEL_TILE_ALIGN);
    const uint64_t before = div_up(t->bytes, PANEL_TILE_ALIGN);
    return pages < before && pages * WORTH <= before * (WORTH - 1) ? at : 0;
}

/* ---- and back ---- */

static void codes_to_record(const struct code_parts *p, const uint8_t *codes, uint64_t col, uint32_t count, uint8_t *record) {
    if (p->block_len == 0) {
        for (uint32_t i = 0; i < count; i++) {
            groups_put(record, col + i, p->bits, codes[i]);
        }
        return;
    }
    const uint32_t step = p->block_rest + p->block_codes;
    uint8_t *to = record + col / p->block_len * step + p->block_rest;
    for (uint32_t i = 0; i < count; i += p->block_len, to += step, codes += p->block_len) {
        for (uint32_t k = 0; k < p->block_codes; k++) {
            const uint32_t at = p->bits == 8 ? k : k / p->run * p->run + k;
            const unsigned byte = p->bits == 8 ? codes[k] : (codes[at] & 15u) | (unsigned)codes[at + p->run] << 4;
            to[k] = (uint8_t)byte;
        }
    }
}

/* All of a row but wide codes. */
static void parts_to_record(const struct code_parts *p, const uint8_t *rest, const uint8_t *codes, uint8_t *record) {
    const uint64_t blocks = p->block_len == 0 ? 1 : p->code_bytes / p->block_codes;
    const uint64_t more = p->rest_bytes / blocks;
    const uint64_t each = p->code_bytes / blocks;
    const uint64_t code_at = p->block_len == 0 ? 0 : more;
    for (uint64_t i = 0; i < blocks; i++, record += more + each) {
        memcpy(record + (p->block_len == 0 ? each : 0), rest + i * more, (size_t)more);
        if (codes != NULL) {
            memcpy(record + code_at, codes + i * each, (size_t)each);
        }
    }
}

bool code_tile_unpack(const struct panel_shape *s, const struct panel_tile *t, const uint8_t *bytes, size_t len, uint8_t *out) {
    static const struct code_block empty;
    uint8_t rest[CODE_TILE_ROOM];
    uint8_t codes[CODE_TILE_BLOCK];
    struct code_tile c;
    if (!code_tile_open(&c, s, t, bytes, len)) {
        return false;
    }
    memset(out, 0, (size_t)t->bytes);
    memcpy(out, c.lead, (size_t)s->lead_bytes);
    uint8_t *record = out + s->lead_bytes;
    for (uint32_t g = t->group; g < t->group + t->groups; g++) {
        struct code_block b = empty;
        if (!code_tile_group(&c, planes_decode_portable, g, rest, &b)) {
            return false;
        }
        for (uint32_t block = 0; block < t->blocks; block++) {
            if (!code_tile_block(&c, planes_decode_portable, g, block, codes, &b)) {
                return false;
            }
            for (uint32_t r = 0; r < group_rows(s, g); r++) {
                uint8_t *to = record + r * s->row_bytes;
                const uint8_t *from = b.codes + r * b.stride;
                if (block == 0) {
                    parts_to_record(&c.parts, b.rest[r], b.wide ? NULL : from, to);
                }
                if (b.wide) {
                    codes_to_record(&c.parts, from, (uint64_t)block * KERN_BLOCK_COLS, block_cols(s, block), to);
                }
            }
        }
        record += group_rows(s, g) * s->row_bytes;
    }
    return true;
}
