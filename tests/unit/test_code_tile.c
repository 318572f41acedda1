/* SPDX-License-Identifier: Apache-2.0
 * Packed tiles of coded matrices: the records come back byte for byte, blocks decode to what they are in a tile as it is, at every
 * level; codes as quantised weights have them shrink as promised; damaged tiles are refused or decode alike everywhere. Tiles are
 * of exactly their sizes, so that a sanitizer sees a step beyond. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/floats.h"
#include "base/span.h"
#include "codec/code_tile.h"
#include "codec/coding.h"
#include "random_weights.h"
#include "sys/cpu.h"

static const uint32_t MASKS[] = {0, SYS_CPU_AVX2, SYS_CPU_AVX2 | SYS_CPU_AVX512,
                                 SYS_CPU_AVX2 | SYS_CPU_AVX512 | SYS_CPU_AVX512_VBMI2, SYS_CPU_NEON};
enum { LEVELS = ARRAY_LEN(MASKS), BLOCK = KERN_BLOCK_PANELS * KERN_PANEL_ROWS * KERN_BLOCK_COLS };
static struct coding_table levels[LEVELS];
static struct planes_scratch scratch;
static uint8_t *room;

static int find_levels(void **state) {
    (void)state;
    for (size_t i = 0; i < LEVELS; i++) {
        coding_table_init(&levels[i], sys_cpu_flags() & MASKS[i]);
    }
    room = malloc(CODE_TILE_CODES);
    return room == NULL;
}

static int drop_room(void **state) {
    (void)state;
    free(room);
    return 0;
}

/* ---- records ---- */

static const struct groups KINDS[] = {
    {.bits = 8, .code = GROUPS_E4M3, .scale = GROUPS_F32, .group = 128},                           /* FP8 */
    {.bits = 8, .code = GROUPS_E5M2, .scale = GROUPS_BF16, .group = 256},
    {.bits = 8, .code = GROUPS_INT8, .scale = GROUPS_F32, .shift = GROUPS_OVER_127, .group = 512}, /* bitsandbytes, 8 bit */
    {.bits = 8, .code = GROUPS_UINT, .scale = GROUPS_F16, .shift = GROUPS_ZERO, .group = 64},      /* GPTQ */
    {.bits = 4, .code = GROUPS_UINT, .scale = GROUPS_F16, .shift = GROUPS_ZERO, .group = 128},     /* GPTQ, AWQ */
    {.bits = 4, .code = GROUPS_UINT, .scale = GROUPS_F16, .shift = GROUPS_MIDDLE, .group = 128},
    {.bits = 4, .code = GROUPS_UINT, .scale = GROUPS_BF16, .shift = GROUPS_MINIMUM, .group = 64},  /* MLX */
    {.bits = 4, .code = GROUPS_E2M1, .scale = GROUPS_E8M0, .group = 32},                           /* MXFP4 */
    {.bits = 4, .code = GROUPS_E2M1, .scale = GROUPS_SCALE_E4M3, .shift = GROUPS_BY_GLOBAL, .group = 16}, /* NVFP4 */
    {.bits = 4, .code = GROUPS_TABLE, .scale = GROUPS_NESTED, .group = 64, .nested = 256, .phased = true}, /* bitsandbytes */
    {.bits = 4, .code = GROUPS_TABLE, .scale = GROUPS_F32, .group = 64},
    {.bits = 8, .code = GROUPS_E5M2, .scale = GROUPS_NESTED, .group = 64, .nested = 192},
    {.bits = 3, .code = GROUPS_UINT, .scale = GROUPS_F16, .shift = GROUPS_ZERO, .group = 32, .ordered = true},
    {.bits = 5, .code = GROUPS_UINT, .scale = GROUPS_BF16, .shift = GROUPS_MIDDLE, .group = 64},
    {.bits = 6, .code = GROUPS_UINT, .scale = GROUPS_F32, .shift = GROUPS_MINIMUM, .group = 32},
};
static const enum panel_coding BLOCKS[] = {PANEL_Q4_0, PANEL_Q4_1, PANEL_Q8_0, PANEL_Q4_K, PANEL_IQ4_NL, PANEL_IQ4_XS,
                                           PANEL_MXFP4_BLOCKS, PANEL_NVFP4_BLOCKS};

/* NOISE: any bytes. ONE: all alike. NEAR: codes near the middle, scales of few sizes. */
enum look { NOISE, ONE, NEAR, LOOKS };

static uint8_t near_code(unsigned bits, bool two_of_complement) {
    const double top = (double)(1u << (bits - 1));
    double v = draw_normal() * top / 4;
    v = v < -top ? -top : v > top - 1 ? top - 1 : v;
    const int code = (int)floor(v) + (two_of_complement ? 0 : (int)top);
    return (uint8_t)((unsigned)code & ((1u << bits) - 1));
}

static uint8_t near_float(unsigned fraction, unsigned bias) {
    const double size = fabs(draw_normal()) + 1e-6;
    const int e = (int)floor(log2(size)) + (int)bias;
    return (uint8_t)((draw() & 1) << 7 | (unsigned)(e < 0 ? 0 : e) << fraction | (draw() & ((1u << fraction) - 1)));
}

/* Sizes of one group are a few powers of two apart, as absolute greatest values are. */
static void near_scale(const struct groups *g, uint8_t *at, uint64_t bytes) {
    const float f = (float)(0.01 * exp(0.3 * draw_normal()));
    uint32_t bits = 0;
    memcpy(&bits, &f, sizeof(bits));
    if (bytes == 4) {
        store_le32(at, bits);
    } else if (bytes == 2) {
        const uint32_t half = g->scale == GROUPS_BF16 ? bits >> 16 : (bits >> 13 & 0x3ff) | (((bits >> 23) - 112) & 31) << 10;
        at[0] = (uint8_t)half;
        at[1] = (uint8_t)(half >> 8);
    } else {
        *at = g->scale == GROUPS_E8M0 ? (uint8_t)(bits >> 23) : (uint8_t)(0x40 + draw() % 12);
    }
}

static void near_groups(const struct panel_shape *s, uint8_t *record) {
    const struct groups *g = &s->coded;
    const struct groups_places p = groups_places_of(g, s->cols);
    memset(record, 0, s->row_bytes);
    for (uint64_t c = 0; c < s->cols; c++) {
        uint8_t code = g->code == GROUPS_E4M3   ? near_float(3, 8)
                       : g->code == GROUPS_E5M2 ? near_float(2, 16)
                                                : near_code(g->bits, g->code == GROUPS_INT8);
        groups_put(record, c, g->bits, code);
    }
    for (uint64_t i = 0; i < groups_count(g, s->cols); i++) {
        near_scale(g, record + p.scales + i * p.scale_bytes, p.scale_bytes);
        if (g->shift == GROUPS_MINIMUM) {
            near_scale(g, record + p.zeros + i * p.scale_bytes, p.scale_bytes);
        }
    }
}

static void near_blocks(const struct panel_shape *s, const struct code_parts *p, uint8_t *record) {
    for (uint64_t at = 0; at < s->row_bytes; at += p->block_rest + p->block_codes) {
        for (uint32_t i = 0; i < p->block_rest; i++) {
            record[at + i] = (uint8_t)(i % 2 == 0 && p->block_rest > 1 ? draw() : 40 + draw() % 3);
        }
        for (uint32_t i = 0; i < p->block_codes; i++) {
            const unsigned low = p->bits == 8 ? near_code(8, true) : near_code(4, false);
            record[at + p->block_rest + i] = (uint8_t)(p->bits == 8 ? low : low | (unsigned)near_code(4, false) << 4);
        }
    }
}

static void fill(const struct panel_shape *s, const struct panel_tile *t, enum look look, uint8_t *tile) {
    const uint8_t one = (uint8_t)(draw() % 100);
    struct code_parts p;
    assert_true(code_parts_of(s, &p));
    for (uint64_t i = 0; i < t->bytes; i++) {
        tile[i] = look == ONE ? one : (uint8_t)draw();
    }
    for (uint64_t c = 0; s->coding == PANEL_GROUPS && s->coded.ordered && c < s->cols; c++) {
        tile[2 * c] = (uint8_t)(draw() % groups_count(&s->coded, s->cols));
        tile[2 * c + 1] = 0;
    }
    for (uint8_t *record = tile + s->lead_bytes; record < tile + t->bytes; record += s->row_bytes) {
        if (look == NEAR && s->coding == PANEL_GROUPS) {
            near_groups(s, record);
        } else if (look == NEAR) {
            near_blocks(s, &p, record);
        } else if (s->coding == PANEL_GROUPS && s->cols * p.bits % 8 != 0) {
            record[p.code_bytes - 1] &= (uint8_t)((1u << s->cols * p.bits % 8) - 1); /* records have zeros there */
        }
    }
}

/* ---- tiles ---- */

struct packed {
    uint8_t *bytes;
    size_t len;
};

static struct packed encode(const struct panel_shape *s, const struct panel_tile *t, const uint8_t *tile) {
    const struct code_source from = {.lead = tile, .records = tile + s->lead_bytes, .stride = s->row_bytes};
    const uint64_t bound = code_tile_bound(s, t);
    uint8_t *out = malloc(bound);
    assert_non_null(out);
    memset(out, 0xee, bound);
    struct packed p = {.len = code_tile_encode(s, t, &from, room, &scratch, out)};
    assert_true(p.len <= bound && p.len % 64 == 0 && p.len <= t->bytes);
    p.bytes = malloc(p.len > 0 ? p.len : 1);
    assert_non_null(p.bytes);
    memcpy(p.bytes, out, p.len);
    free(out);
    return p;
}

/* Of the level at hand; false: refused. `from` must not be looked at where the tile is. */
static bool decode(const struct coding_table *level, const struct panel_shape *s, const struct panel_tile *t, struct packed p,
                   uint32_t group, uint32_t block, float *out) {
    static uint8_t rest[CODE_TILE_ROOM], codes[CODE_TILE_BLOCK];
    struct code_tile c;
    struct code_block b;
    if (!code_tile_open(&c, s, t, p.bytes, p.len) || !code_tile_group(&c, level->decode_planes, group, rest, &b) ||
        !code_tile_block(&c, level->decode_planes, group, block, codes, &b)) {
        return false;
    }
    level->decode_packed(s, &b, group, block, out);
    return true;
}

static void check_blocks(const struct panel_shape *s, const struct panel_tile *t, const uint8_t *tile, struct packed p) {
    static float want[BLOCK], got[BLOCK];
    for (size_t l = 0; l < LEVELS; l++) {
        for (uint32_t g = t->group; g < t->group + t->groups; g++) {
            for (uint32_t b = 0; b < s->col_blocks; b++) {
                const size_t count = (size_t)panel_group_panels(s, g) * KERN_PANEL_ROWS * panel_block_cols(s, b);
                levels[l].decode_block(s, t, tile, g, b, want);
                memset(got, 0xff, sizeof(got));
                assert_true(decode(&levels[l], s, t, p, g, b, got));
                assert_memory_equal(want, got, count * sizeof(float));
            }
        }
    }
}

/* Returns the bytes of the tile packed, or 0. */
static uint64_t check_tile(const struct panel_shape *s, uint32_t number, enum look look) {
    struct panel_tile t;
    panel_tile_at(s, number, &t);
    uint8_t *tile = malloc(t.bytes);
    uint8_t *back = malloc(t.bytes);
    assert_true(tile != NULL && back != NULL);
    fill(s, &t, look, tile);
    struct packed p = encode(s, &t, tile);
    if (p.len > 0) {
        assert_true(panel_tile_packed(s, &t, (p.len + 4095) / 4096 * 4096));
        assert_true(code_tile_unpack(s, &t, p.bytes, p.len, back));
        assert_memory_equal(tile, back, t.bytes);
        check_blocks(s, &t, tile, p);
    }
    free(p.bytes);
    free(back);
    free(tile);
    return p.len;
}

static bool make_shape(struct panel_shape *s, unsigned n, uint64_t rows, uint64_t cols) {
    const bool blocks = n < ARRAY_LEN(BLOCKS);
    const struct groups *g = blocks ? NULL : &KINDS[n - ARRAY_LEN(BLOCKS)];
    if (!panel_shape_init_coded(s, rows, cols, blocks ? BLOCKS[n] : PANEL_GROUPS, g, PANEL_BLOCKS)) {
        return false;
    }
    panel_shape_pack(s);
    return s->packing == PANEL_CODES;
}

static void tiles_of_every_kind_come_back(void **state) {
    (void)state;
    static const uint64_t shapes[][2] = {{64, 512}, {130, 1024}, {17, 1280}, {100, 999}, {333, 513}};
    unsigned seen[LOOKS] = {0};
    for (unsigned n = 0; n < ARRAY_LEN(BLOCKS) + ARRAY_LEN(KINDS); n++) {
        for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
            struct panel_shape s;
            for (enum look look = NOISE; look < LOOKS && make_shape(&s, n, shapes[i][0], shapes[i][1]); look++) {
                for (uint32_t tile = 0; tile < s.tiles; tile++) {
                    seen[look] += check_tile(&s, tile, look) > 0;
                }
            }
        }
    }
    assert_int_equal(seen[NOISE], 0);
    assert_true(seen[ONE] > 60 && seen[NEAR] > 60);
}

static void all_bytes_are_codes(void **state) {
    (void)state;
    static const enum groups_code codes[] = {GROUPS_E4M3, GROUPS_E5M2, GROUPS_INT8, GROUPS_UINT};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        const struct groups g = {.bits = 8, .code = (uint8_t)codes[i], .scale = GROUPS_F32, .group = 1024};
        struct panel_shape s;
        struct panel_tile t;
        assert_true(panel_shape_init_coded(&s, 64, 1024, PANEL_GROUPS, &g, PANEL_BLOCKS));
        panel_shape_pack(&s);
        panel_tile_at(&s, 0, &t);
        uint8_t *tile = malloc(t.bytes);
        uint8_t *back = malloc(t.bytes);
        assert_true(tile != NULL && back != NULL);
        fill(&s, &t, NEAR, tile);
        for (unsigned k = 0; k < 256; k++) { /* in every row another one first */
            for (unsigned r = 0; r < 64; r++) {
                tile[r * s.row_bytes + k * 4 % 1024] = (uint8_t)(k + r);
            }
        }
        struct packed p = encode(&s, &t, tile);
        assert_true(p.len > 0 && code_tile_unpack(&s, &t, p.bytes, p.len, back));
        assert_memory_equal(tile, back, t.bytes);
        check_blocks(&s, &t, tile, p);
        free(p.bytes);
        free(tile);
        free(back);
    }
}

/* ---- how much it saves ---- */

/* Normal weights, or with heavy tails (Student's t of 5 degrees of freedom). */
static double weight(bool tails) {
    double sum = 0;
    for (int i = 0; tails && i < 5; i++) {
        const double x = draw_normal();
        sum += x * x;
    }
    return draw_normal() / (tails ? sqrt(sum / 5) : 1);
}

static uint8_t to_e4m3(double v) {
    const double size = fabs(v);
    const uint8_t sign = v < 0 ? 0x80 : 0;
    if (size < 0x1p-10) {
        return sign;
    }
    int e = (int)floor(log2(size));
    e = e < -6 ? -6 : e;
    const int q = (int)nearbyint(ldexp(size, 3 - e)); /* carries into the exponent by itself */
    const int code = q < 8 ? q : (e + 7) * 8 + q - 8;
    return (uint8_t)(sign | (code > 0x7e ? 0x7e : code));
}

static const double E2M1[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};

static uint8_t to_e2m1(double v) {
    unsigned best = 0;
    for (unsigned k = 1; k < 8; k++) {
        best = fabs(E2M1[k] - fabs(v)) < fabs(E2M1[best] - fabs(v)) ? k : best;
    }
    return (uint8_t)(best | (v < 0 ? 8u : 0u));
}

static void put_half(uint8_t *at, double v) {
    const int e = (int)floor(log2(v));
    const unsigned bits = (unsigned)(e + 15) << 10 | ((unsigned)ldexp(v, 10 - e) & 0x3ff);
    at[0] = (uint8_t)bits;
    at[1] = (uint8_t)(bits >> 8);
}

enum method { FP8_BLOCK, FP8_ROW, INT8_ROW, INT4_128, INT4_32, MXFP4, NVFP4, Q8_0, METHODS };

struct method_of {
    const char *name;
    struct groups groups; /* bits 0: blocks of Q8_0 */
    double most[2];       /* bits a weight, packed: of normal weights, of those with tails */
};
static const struct method_of METHOD[METHODS] = {
    [FP8_BLOCK] = {"FP8, blocks of 128 x 128", {.bits = 8, .code = GROUPS_E4M3, .scale = GROUPS_F32, .group = 128}, {6.9, 7.05}},
    [FP8_ROW] = {"FP8, rows", {.bits = 8, .code = GROUPS_E4M3, .scale = GROUPS_F32, .group = 2048}, {6.9, 7.05}},
    [INT8_ROW] = {"int8, rows", {.bits = 8, .code = GROUPS_INT8, .scale = GROUPS_F32, .group = 2048}, {7.45, 6.6}},
    [INT4_128] = {"int4, groups of 128",
                  {.bits = 4, .code = GROUPS_UINT, .scale = GROUPS_F16, .shift = GROUPS_MIDDLE, .group = 128}, {3.7, 3.3}},
    [INT4_32] = {"int4, groups of 32", {.bits = 4, .code = GROUPS_UINT, .scale = GROUPS_F16, .shift = GROUPS_MIDDLE, .group = 32},
                 {4.3, 4.1}},
    [MXFP4] = {"MXFP4", {.bits = 4, .code = GROUPS_E2M1, .scale = GROUPS_E8M0, .group = 32}, {4.1, 4.1}},
    [NVFP4] = {"NVFP4", {.bits = 4, .code = GROUPS_E2M1, .scale = GROUPS_SCALE_E4M3, .shift = GROUPS_BY_GLOBAL, .group = 16},
               {4.3, 4.35}},
    [Q8_0] = {"Q8_0", {.bits = 0}, {8.55, 8.25}},
};

/* A row of weights by the method; greatest: of the block of rows that it belongs to, where scales are those of blocks. */
static void quantise(enum method m, const struct panel_shape *s, const double *w, const double *greatest, uint8_t *record) {
    const uint32_t group = m == Q8_0 ? 32 : s->coded.group;
    const struct groups_places p = m == Q8_0 ? (struct groups_places){0} : groups_places_of(&s->coded, s->cols);
    memset(record, 0, s->row_bytes);
    for (uint32_t i = 0; i < s->cols / group; i++) {
        double most = m == FP8_BLOCK ? greatest[i] : 1e-9;
        for (uint32_t c = 0; m != FP8_BLOCK && c < group; c++) {
            most = fmax(most, fabs(w[i * group + c]));
        }
        const float scale = (float)(m <= FP8_ROW ? most / 448 : most / 127);
        const int power = (int)floor(log2(most)) - 2;
        const double tenth = (double)float_of_e4m3(to_e4m3(most / 6 * 20)) / 20;
        uint8_t *at = record + (m == Q8_0 ? 34 * i : p.scales + i * p.scale_bytes);
        if (m == MXFP4) {
            *at = (uint8_t)(power + 127);
        } else if (m == NVFP4) {
            *at = to_e4m3(most / 6 * 20);
        } else if (m == INT4_128 || m == INT4_32 || m == Q8_0) {
            put_half(at, m == Q8_0 ? most / 127 : most / 7);
        } else {
            memcpy(at, &scale, sizeof(scale));
        }
        for (uint32_t c = 0; c < group; c++) {
            const double v = w[i * group + c];
            const uint8_t whole = (uint8_t)(int)nearbyint(v / most * 127);
            const int seventh = (int)nearbyint(v / most * 7) + 8;
            if (m == Q8_0) {
                at[2 + c] = whole;
            } else {
                groups_put(record, (uint64_t)i * group + c, s->coded.bits,
                           m <= FP8_ROW     ? to_e4m3(v / most * 448)
                           : m == INT8_ROW  ? whole
                           : m == MXFP4     ? to_e2m1(ldexp(v, -power))
                           : m == NVFP4     ? to_e2m1(v / tenth)
                                            : (unsigned)seventh);
            }
        }
    }
}

static void fill_quantised(enum method m, const struct panel_shape *s, uint64_t rows, bool tails, uint8_t *record) {
    double *w = malloc(128 * s->cols * sizeof(*w));
    assert_non_null(w);
    for (uint64_t first = 0; first < rows; first += 128) {
        double greatest[64] = {0};
        for (uint64_t r = 0; r < 128 && first + r < rows; r++) {
            const double size = 0.02 * exp(0.25 * draw_normal());
            for (uint64_t c = 0; c < s->cols; c++) {
                w[r * s->cols + c] = size * weight(tails);
                greatest[c / 128] = fmax(greatest[c / 128], fabs(w[r * s->cols + c]));
            }
        }
        for (uint64_t r = 0; r < 128 && first + r < rows; r++, record += s->row_bytes) {
            quantise(m, s, w + r * s->cols, greatest, record);
        }
    }
    free(w);
}

static void quantised_weights_shrink_as_promised(void **state) {
    (void)state;
    for (unsigned i = 0; i < 2 * METHODS; i++) {
        const struct method_of *m = &METHOD[i / 2];
        struct panel_shape s;
        struct panel_tile t;
        enum panel_coding coding = m->groups.bits == 0 ? PANEL_Q8_0 : PANEL_GROUPS;
        assert_true(panel_shape_init_coded(&s, 512, 2048, coding, &m->groups, PANEL_BLOCKS));
        panel_shape_pack(&s);
        panel_tile_at(&s, 0, &t);
        uint8_t *tile = calloc(1, t.bytes);
        uint8_t *back = malloc(t.bytes);
        assert_true(tile != NULL && back != NULL);
        const uint64_t rows = t.rows < s.rows ? t.rows : s.rows;
        fill_quantised((enum method)(i / 2), &s, rows, i % 2 == 1, tile + s.lead_bytes);
        struct packed p = encode(&s, &t, tile);
        const double weights = (double)(rows * s.cols);
        const double bits = 8 * (double)(p.len != 0 ? p.len : t.bytes) / weights;
        print_message("%-26s %s %.3f bits a weight, %.3f packed\n", m->name, i % 2 == 0 ? "normal" : "tails ",
                      8 * (double)t.bytes / weights, bits);
        assert_true(bits <= m->most[i % 2]);
        assert_true(p.len == 0 || (code_tile_unpack(&s, &t, p.bytes, p.len, back) && memcmp(tile, back, t.bytes) == 0));
        free(p.bytes);
        free(back);
        free(tile);
    }
}

/* ---- damage ---- */

/* All levels say the same of a tile's bytes. */
static bool compare_levels(const struct panel_shape *s, const struct panel_tile *t, struct packed p) {
    static float want[BLOCK], got[BLOCK];
    const uint32_t g = t->group + draw() % t->groups;
    const uint32_t b = draw() % s->col_blocks;
    const size_t count = (size_t)panel_group_panels(s, g) * KERN_PANEL_ROWS * panel_block_cols(s, b);
    const bool fine = decode(&levels[0], s, t, p, g, b, want);
    for (size_t l = 1; l < LEVELS; l++) {
        assert_true(decode(&levels[l], s, t, p, g, b, got) == fine);
        for (size_t i = 0; fine && i < count; i++) {
            assert_true(memcmp(want + i, got + i, sizeof(float)) == 0 || (isnan(want[i]) && isnan(got[i])));
        }
    }
    return fine;
}

static void damaged_tiles_decode_alike(void **state) {
    (void)state;
    unsigned refused = 0;
    unsigned seen = 0;
    for (unsigned run = 0; run < 40 * (ARRAY_LEN(BLOCKS) + ARRAY_LEN(KINDS)); run++) {
        struct panel_shape s;
        struct panel_tile t;
        if (!make_shape(&s, run / 40, 80, 1024)) {
            continue;
        }
        panel_tile_at(&s, 0, &t);
        uint8_t *tile = malloc(t.bytes);
        assert_non_null(tile);
        fill(&s, &t, run % 2 == 0 ? NEAR : ONE, tile);
        struct packed p = encode(&s, &t, tile);
        for (unsigned n = 0; n < 8 && p.len > 0; n++) {
            const size_t at = draw() % 2 == 0 ? draw() % 192 : draw() % p.len;
            const uint8_t old = p.bytes[at];
            p.bytes[at] = (uint8_t)(draw() % 2 == 0 ? draw() : old ^ 1u << draw() % 8);
            refused += !compare_levels(&s, &t, p);
            seen++;
            p.bytes[at] = draw() % 2 == 0 ? old : p.bytes[at];
        }
        free(p.bytes);
        free(tile);
    }
    assert_true(refused > 100 && refused < seen);
}

static void cut_tiles_are_refused(void **state) {
    (void)state;
    for (unsigned n = 0; n < ARRAY_LEN(BLOCKS) + ARRAY_LEN(KINDS); n++) {
        struct panel_shape s;
        struct panel_tile t;
        if (!make_shape(&s, n, 33, 1024)) {
            continue;
        }
        panel_tile_at(&s, 0, &t);
        uint8_t *tile = malloc(t.bytes);
        uint8_t *back = malloc(t.bytes);
        assert_true(tile != NULL && back != NULL);
        fill(&s, &t, ONE, tile);
        struct packed p = encode(&s, &t, tile);
        for (size_t len = 0; len + 1 < p.len; len += 1 + draw() % 50) {
            struct packed cut = {.bytes = malloc(len + 1), .len = len};
            assert_non_null(cut.bytes);
            memcpy(cut.bytes, p.bytes, len);
            const bool fine = code_tile_unpack(&s, &t, cut.bytes, cut.len, back);
            assert_true(!fine || len + 64 > p.len); /* codes as they are end before the padding */
            free(cut.bytes);
        }
        free(p.bytes);
        free(back);
        free(tile);
    }
}

static void what_cannot_be_packed_stays(void **state) {
    (void)state;
    struct panel_shape s;
    const struct groups two = {.bits = 2, .code = GROUPS_UINT, .scale = GROUPS_F16, .shift = GROUPS_MIDDLE, .group = 64};
    assert_true(panel_shape_init_coded(&s, 256, 1024, PANEL_GROUPS, &two, PANEL_BLOCKS));
    panel_shape_pack(&s);
    assert_int_equal(s.packing, PANEL_AS_IS);
    assert_true(panel_shape_init_coded(&s, 256, 1024, PANEL_Q6_K, NULL, PANEL_BLOCKS));
    panel_shape_pack(&s);
    assert_int_equal(s.packing, PANEL_AS_IS);
    assert_true(panel_shape_init_coded(&s, 256, 1024, PANEL_Q8_0, NULL, PANEL_GATHERED));
    panel_shape_pack(&s);
    assert_int_equal(s.packing, PANEL_AS_IS);
    assert_true(panel_shape_init_coded(&s, 16, 992, PANEL_Q8_0, NULL, PANEL_BLOCKS)); /* too small */
    panel_shape_pack(&s);
    assert_int_equal(s.packing, PANEL_AS_IS);
    assert_true(panel_shape_init_coded(&s, 64, 96 << 10, PANEL_Q4_0, NULL, PANEL_BLOCKS)); /* too many codes in a tile */
    panel_shape_pack(&s);
    assert_int_equal(s.packing, PANEL_AS_IS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_of_every_kind_come_back),  cmocka_unit_test(all_bytes_are_codes),
        cmocka_unit_test(quantised_weights_shrink_as_promised), cmocka_unit_test(damaged_tiles_decode_alike),
        cmocka_unit_test(cut_tiles_are_refused),          cmocka_unit_test(what_cannot_be_packed_stays),
    };
    return cmocka_run_group_tests(tests, find_levels, drop_room);
}
