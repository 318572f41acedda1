/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights in whole steps, the lossy codec: a row is divided by a scale, a share of its root mean square, and rounded to whole
 * numbers, which planes then code in as many bits as they are surprising (codec/planes.h). One uniform step and a code of
 * variable length come within 1.5 dB of what any code can do at a rate, whatever a row's distribution. The share decides on the
 * rate: any is possible, no data is needed. Rounding is the same on all machines. Pure: rows in, rows out.
 *
 * Values of a row are k * scale, k a whole number that BF16 has: all up to 256, beyond with 8 significant bits; the scale has the
 * precision of BF16 too, so a product is the scale times a product of BF16 weights. */
#ifndef CODEC_STEPS_H
#define CODEC_STEPS_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/planes.h"
#include "kern/kern.h"

/* How coarse: `step` of a row's root mean square; or 0 and the bits that a weight is to take, of which the step follows. */
struct steps_dial {
    double step;
    double bits;
};

/* The dial of a codec: "q8", "q4", or "q" and bits with two decimals, "q3.50" (2.00 to 8.00). False: it is none of these. */
bool steps_of_codec(const char *codec, struct steps_dial *dial);
/* About how many bits a weight takes. */
double steps_likely_bits(const struct steps_dial *dial);

/* Row-major rows of plain numbers, `stride` bytes apart. */
struct steps_rows {
    uint8_t *rows;
    uint64_t stride;
    uint64_t count, cols;
    enum kern_dtype dtype;
};

/* The step for the dial; of `bits`, the one that codes a sample of these rows in so many, `spare` bits a weight more or less. */
double steps_choose(const struct steps_dial *dial, const struct steps_rows *r, double spare, struct planes_scratch *scratch);
/* Rounds all rows in place: BF16 in the first cols * 2 bytes of a row at a stride of cols * 2; scale[i], BF16, is that of row i.
 * False when a value is not finite; the rows are undefined then. */
bool steps_round(struct steps_rows *r, double step, uint16_t *scale);

#endif
