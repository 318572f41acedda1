/* SPDX-License-Identifier: Apache-2.0
 * Which bytes go where when some of 8 lanes are filled from a stream: the table of all masks of 8 bits, for levels that have a byte
 * shuffle and no instruction that expands. */
#ifndef CODEC_PLANES_PLACES_PRIV_H
#define CODEC_PLANES_PLACES_PRIV_H

#include <stdint.h>

#include "base/compiler.h"

/* For every mask: lane j takes byte number (ones below j) where bit j is set, else nothing (bit 7). */
#define ONES(m) (((m) & 1) + ((m) >> 1 & 1) + ((m) >> 2 & 1) + ((m) >> 3 & 1) + ((m) >> 4 & 1) + ((m) >> 5 & 1) + ((m) >> 6 & 1))
#define LANE(m, j) ((m) >> (j) & 1 ? ONES((m) & ((1 << (j)) - 1)) : 0x80)
#define ROW_1(m) {LANE(m, 0), LANE(m, 1), LANE(m, 2), LANE(m, 3), LANE(m, 4), LANE(m, 5), LANE(m, 6), LANE(m, 7)}
#define ROW_4(m) ROW_1(m), ROW_1((m) + 1), ROW_1((m) + 2), ROW_1((m) + 3)
#define ROW_16(m) ROW_4(m), ROW_4((m) + 4), ROW_4((m) + 8), ROW_4((m) + 12)
#define ROW_64(m) ROW_16(m), ROW_16((m) + 16), ROW_16((m) + 32), ROW_16((m) + 48)
static const uint8_t PLANES_PLACES[256][8] ALIGNED(64) = {ROW_64(0), ROW_64(64), ROW_64(128), ROW_64(192)};

#undef ROW_64
#undef ROW_16
#undef ROW_4
#undef ROW_1
#undef LANE
#undef ONES

#endif
