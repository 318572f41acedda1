/* SPDX-License-Identifier: Apache-2.0
 *
 * Template of a product of one row with a block of planes of BF16 or of whole numbers, decoded on the way into the sums: the
 * values of a block are stored nowhere. For a single row the kernels' product (kern/product_priv.h) costs about as much as
 * decoding; joined, both take little more than decoding alone. Each sum is the same chain of fused multiply-adds over ascending
 * columns, so results are those of decoding first, bit for bit.
 *
 * A level's .c file has included planes_level_priv.h, whose pieces serve here too, defines PLANES_MULTIPLY, the function's name,
 * and beside pieces what 16 sums can do, then includes this (alone the header is empty):
 *     sums                       16 floats, one for each row of a panel
 *     sums_load, sums_store      at any address
 *     sums_zero
 *     sums_add_columns           adds 4 columns, in order: low and high bytes of 64 values, and 4 floats of the row
 *     sums_add_wholes            the same for numbers, of which `middle` is taken
 */
#ifndef CODEC_PLANES_PRODUCT_PRIV_H
#define CODEC_PLANES_PRODUCT_PRIV_H

#include "codec/planes_level_priv.h"

#ifdef PLANES_MULTIPLY

/* Symbols of the 64 values from `at` on, four columns of a panel, joined with their raw bits. */
static ALWAYS_INLINE sums planes_add_columns(sums s, const uint8_t *const *raw, enum planes_kind kind, piece symbols, size_t at,
                                             unsigned number, const float *x) {
    if (kind == PLANES_BF16) {
        const piece bits = piece_load(raw[0] + at);
        const piece low = piece_merge(0x7f, bits, piece_up(symbols, 7));
        const piece high = piece_merge(0x80, bits, piece_down(symbols, 1));
        return sums_add_columns(s, low, high, x);
    }
    const unsigned bits = (unsigned)kind - PLANES_WHOLE_0;
    const piece low = planes_low(raw, bits, symbols, at, number);
    return sums_add_wholes(s, low, planes_whole_high(bits, symbols), 128 << bits, x);
}

/* Adds 16 columns: four pieces, the first of which has `number`. */
static ALWAYS_INLINE sums planes_add_step(sums s, const struct planes_run *r, piece_table table, unsigned width,
                                          enum planes_kind kind, size_t at, unsigned number, const float *x, const uint8_t **next) {
    const unsigned fields = 8 / width;
    const uint8_t last = (uint8_t)((1u << width) - 1);
    const uint8_t *plane = r->b->level[0] + at / ((size_t)PLANES_UNIT * fields) * PLANES_UNIT;
    __asm__("" : "+r"(x)); /* or what two steps have in common is loaded before both, and spilled */
    PLANES_UNROLL
    for (unsigned k = 0; k < 4; k++) {
        const piece unit = piece_load(plane + (size_t)(k / fields) * PLANES_UNIT);
        const piece symbols = piece_expand(table, unit, k % fields * width, last, UINT64_MAX, next);
        s = planes_add_columns(s, r->b->raw, kind, symbols, at + (size_t)k * PLANES_UNIT, number + k, x + (size_t)4 * k);
    }
    return s;
}

/* All panels of a block whose upper levels are decoded. Returns how many escapes level 1 has. */
static ALWAYS_INLINE size_t planes_multiply_level(const struct planes_run *r, const struct planes_product *p, unsigned width,
                                                  enum planes_kind kind) {
    const bool halves = planes_pieces(kind, width) == 8; /* units of the narrowest plane hold two steps */
    const size_t per_step = kind == PLANES_BF16 ? 384 : kind >= PLANES_WHOLE_2 ? 256 : 192; /* bytes, rather more */
    const piece_table table = planes_table(r->b->symbol[0], (uint8_t)((1u << width) - 1));
    const uint8_t *next = r->next;
    const uint8_t *ahead = r->ahead;
    size_t at = 0;
    for (uint32_t panel = 0; panel < p->panels; panel++) {
        float *y = p->y + (size_t)panel * 16;
        sums s = p->accumulate ? sums_load(y) : sums_zero();
        for (uint32_t col = 0; col < p->cols; col += 16, at += (size_t)4 * PLANES_UNIT) {
            const float *x = p->x + col;
            s = halves && (at & (size_t)4 * PLANES_UNIT) != 0 ? planes_add_step(s, r, table, width, kind, at, 4, x, &next)
                                                              : planes_add_step(s, r, table, width, kind, at, 0, x, &next);
            ahead = planes_foresee(ahead, r->end, per_step);
        }
        sums_store(y, s);
    }
    return (size_t)(next - r->next);
}

/* Values as they are. */
static void planes_multiply_whole(const struct planes_product *p, const uint8_t *value) {
    for (uint32_t panel = 0; panel < p->panels; panel++) {
        float *y = p->y + (size_t)panel * 16;
        sums s = p->accumulate ? sums_load(y) : sums_zero();
        for (uint32_t col = 0; col < p->cols; col += 4, value += (size_t)2 * PLANES_UNIT) {
            uint8_t low[PLANES_UNIT], high[PLANES_UNIT];
            for (unsigned i = 0; i < PLANES_UNIT; i++) {
                low[i] = value[2 * i];
                high[i] = value[2 * i + 1];
            }
            s = sums_add_columns(s, piece_load(low), piece_load(high), p->x + col);
        }
        sums_store(y, s);
    }
}

#define PLANES_TIMES(NAME, KIND)                                                                                        \
    static size_t NAME(const struct planes_run *r, const struct planes_product *p) {                                   \
        return r->b->width[0] == 2 ? planes_multiply_level(r, p, 2, KIND) : planes_multiply_level(r, p, 4, KIND);       \
    }
PLANES_TIMES(planes_times_bf16, PLANES_BF16)
PLANES_TIMES(planes_times_whole_0, PLANES_WHOLE_0)
PLANES_TIMES(planes_times_whole_1, PLANES_WHOLE_1)
PLANES_TIMES(planes_times_whole_2, PLANES_WHOLE_2)
PLANES_TIMES(planes_times_whole_3, PLANES_WHOLE_3)
PLANES_TIMES(planes_times_whole_4, PLANES_WHOLE_4)
PLANES_TIMES(planes_times_whole_5, PLANES_WHOLE_5)
PLANES_TIMES(planes_times_whole_6, PLANES_WHOLE_6)
PLANES_TIMES(planes_times_whole_7, PLANES_WHOLE_7)

bool PLANES_MULTIPLY(const struct planes_product *p) {
    static size_t (*const times[PLANES_KINDS])(const struct planes_run *r, const struct planes_product *p) = {
        [PLANES_BF16] = planes_times_bf16,       [PLANES_WHOLE_0] = planes_times_whole_0, [PLANES_WHOLE_1] = planes_times_whole_1,
        [PLANES_WHOLE_2] = planes_times_whole_2, [PLANES_WHOLE_3] = planes_times_whole_3, [PLANES_WHOLE_4] = planes_times_whole_4,
        [PLANES_WHOLE_5] = planes_times_whole_5, [PLANES_WHOLE_6] = planes_times_whole_6, [PLANES_WHOLE_7] = planes_times_whole_7,
    };
    uint8_t scratch[2][PLANES_BLOCK + PLANES_UNIT] ALIGNED(64);
    struct planes_block b;
    if (!planes_find(&b, p->tile, p->len, p->block, p->panels * p->cols * 16) || times[b.form - PLANES_FORM] == NULL) {
        return false;
    }
    if (b.whole != NULL) {
        planes_multiply_whole(p, b.whole);
        return true;
    }
    struct planes_run r;
    if (!planes_upper_levels(&r, &b, p->tile + p->len, scratch)) {
        return false;
    }
    return times[b.form - PLANES_FORM](&r, p) == b.values[1];
}

#endif
#endif
