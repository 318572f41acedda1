/* SPDX-License-Identifier: Apache-2.0
 * Records of grouped codes: how long they are and where what stands. Values: groups_values_priv.h. */
#include "codec/groups.h"

#include "base/checked.h"

enum { MOST_ORDERED = 65535 };

static const uint8_t SCALE_BYTES[GROUPS_SCALES] = {4, 2, 2, 1, 1, 1};

bool groups_valid(const struct groups *g, uint64_t cols) {
    bool whole = g->code == GROUPS_INT8 || g->code == GROUPS_E4M3 || g->code == GROUPS_E5M2;
    bool four = g->code == GROUPS_E2M1 || g->code == GROUPS_TABLE;
    bool global = g->shift == GROUPS_TIMES_GLOBAL || g->shift == GROUPS_BY_GLOBAL;
    bool with_zero = g->shift == GROUPS_ZERO || g->shift == GROUPS_MIDDLE;
    if (g->code >= GROUPS_CODES || g->scale >= GROUPS_SCALES || g->shift >= GROUPS_SHIFTS || g->bits < 2 || g->bits > 8 ||
        g->group == 0 || (g->group > cols && !g->phased) || (g->phased && (g->ordered || g->shift != GROUPS_NONE)) ||
        (g->scale == GROUPS_NESTED && g->nested % g->group != 0)) {
        return false;
    }
    return (!whole || g->bits == 8) && (!four || g->bits == 4) && (!with_zero || g->code == GROUPS_UINT) &&
           (global == (g->scale == GROUPS_SCALE_E4M3)) && (g->shift != GROUPS_MINIMUM || g->scale <= GROUPS_BF16) &&
           ((g->scale == GROUPS_NESTED) == (g->nested != 0)) && (!g->ordered || groups_count(g, cols) <= MOST_ORDERED);
}

/* How many runs of so many weights a row can touch. */
static uint64_t touched(uint64_t cols, uint32_t run) {
    return (cols + run - 2) / run + 1;
}

uint64_t groups_count(const struct groups *g, uint64_t cols) {
    return g->phased ? touched(cols, g->group) : div_up(cols, g->group);
}

struct groups_places groups_places_of(const struct groups *g, uint64_t cols) {
    struct groups_places p = {.scales = div_up(cols * g->bits, 8), .scale_bytes = SCALE_BYTES[g->scale]};
    p.runs = p.scales + groups_count(g, cols) * p.scale_bytes;
    p.run_count = g->scale == GROUPS_NESTED ? touched(cols, g->nested) : 0;
    p.place = p.runs + p.run_count * sizeof(float);
    p.zeros = p.place + (g->scale == GROUPS_NESTED || g->phased ? sizeof(uint32_t) : 0);
    p.table = g->ordered ? round_up(cols * sizeof(uint16_t), sizeof(float)) : 0;
    p.global = p.table + (g->code == GROUPS_TABLE ? GROUPS_TABLE_LEN * sizeof(float) : 0);
    p.nested = p.global + (g->shift == GROUPS_TIMES_GLOBAL || g->shift == GROUPS_BY_GLOBAL ? sizeof(float) : 0);
    return p;
}

uint64_t groups_row_bytes(const struct groups *g, uint64_t cols) {
    struct groups_places p = groups_places_of(g, cols);
    uint64_t zeros = g->shift == GROUPS_ZERO      ? div_up(groups_count(g, cols) * g->bits, 8)
                     : g->shift == GROUPS_MINIMUM ? groups_count(g, cols) * p.scale_bytes
                                                  : 0;
    return p.zeros + zeros;
}

uint64_t groups_lead_bytes(const struct groups *g, uint64_t cols) {
    struct groups_places p = groups_places_of(g, cols);
    return round_up(p.nested + (g->scale == GROUPS_NESTED ? (GROUPS_NESTED_LEN + 1) * sizeof(float) : 0), 16);
}

unsigned groups_take(const uint8_t *stream, uint64_t index, unsigned bits) {
    uint64_t bit = index * bits;
    unsigned shift = (unsigned)(bit % 8);
    unsigned v = stream[bit / 8];
    if (shift + bits > 8) {
        v |= (unsigned)stream[bit / 8 + 1] << 8;
    }
    return v >> shift & ((1u << bits) - 1);
}

void groups_put(uint8_t *stream, uint64_t index, unsigned bits, unsigned code) {
    uint64_t bit = index * bits;
    unsigned shift = (unsigned)(bit % 8);
    stream[bit / 8] |= (uint8_t)(code << shift);
    if (shift + bits > 8) {
        stream[bit / 8 + 1] |= (uint8_t)(code >> (8 - shift));
    }
}
