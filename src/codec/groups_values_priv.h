/* SPDX-License-Identifier: Apache-2.0
 * What grouped codes stand for. A template, as blocks_32_priv.h. */
#ifndef CODEC_GROUPS_VALUES_PRIV_H
#define CODEC_GROUPS_VALUES_PRIV_H

#include "base/checked.h"
#include "codec/groups.h"
#include "codec/lookup_priv.h"

enum { GROUPS_AT_ONCE = 256 };

static inline void groups_take_codes(const struct groups *g, const uint8_t *record, uint64_t col, uint32_t count, uint8_t *out) {
    if (g->bits == 8) {
        memcpy(out, record + col, count);
        return;
    }
    uint32_t i = 0;
    if (g->bits == 4 && col % 2 == 0) {
        const uint8_t *two = record + col / 2;
        for (; i + 32 <= count; i += 32) {
            nibbles_in_turn(two + i / 2, out + i);
        }
    }
    for (; i < count; i++) {
        out[i] = (uint8_t)groups_take(record, col + i, g->bits);
    }
}

static inline float groups_number(const uint8_t *p, uint8_t scale) {
    switch (scale) {
    case GROUPS_F32:
        return float_of_f32(p);
    case GROUPS_F16:
        return float_of_f16(p);
    case GROUPS_BF16:
        return float_of_bf16(p);
    case GROUPS_E8M0:
        return float_of_e8m0(*p);
    default:
        return float_of_e4m3(*p);
    }
}

/* What all weights of a row in one group have in common. */
struct groups_common {
    float scale, minimum;
    int32_t zero;
};

/* A row, and where its parts are: its codes, and what follows them in a record. */
struct groups_row {
    const struct groups *g;
    const uint8_t *lead, *codes, *rest;
    bool wide;      /* codes are bytes, from the column on that is asked for */
    struct groups_places p; /* of a record: from `rest` on, less p.scales */
    uint64_t last;  /* group */
    uint64_t place;
    uint32_t phase;
    float table[16]; /* what 4-bit codes are worth that are no integers */
};

static inline struct groups_common groups_common_of(const struct groups_row *r, uint64_t group) {
    const struct groups *g = r->g;
    const uint8_t *at = r->rest + group * r->p.scale_bytes;
    struct groups_common c = {.scale = 0};
    if (g->scale == GROUPS_NESTED) {
        uint64_t run = min_u64((r->place - r->phase + group * g->group) / g->nested, r->p.run_count - 1);
        float number = float_of_f32(r->lead + r->p.nested + *at * sizeof(float));
        float product = number * float_of_f32(r->rest + (r->p.runs - r->p.scales) + run * sizeof(float));
        c.scale = product + float_of_f32(r->lead + r->p.nested + GROUPS_NESTED_LEN * sizeof(float));
    } else {
        c.scale = groups_number(at, g->scale);
    }
    switch (g->shift) {
    case GROUPS_ZERO:
        c.zero = (int32_t)groups_take(r->rest + (r->p.zeros - r->p.scales), group, g->bits);
        break;
    case GROUPS_MIDDLE:
        c.zero = 1 << (g->bits - 1);
        break;
    case GROUPS_MINIMUM:
        c.minimum = groups_number(r->rest + (r->p.zeros - r->p.scales) + group * r->p.scale_bytes, g->scale);
        break;
    case GROUPS_TIMES_GLOBAL:
        c.scale *= float_of_f32(r->lead + r->p.global);
        break;
    case GROUPS_BY_GLOBAL:
        c.scale /= float_of_f32(r->lead + r->p.global);
        break;
    default:
        break;
    }
    return c;
}

/* What codes are worth before they are scaled, but for floats and those of tables. */
static inline void groups_worth(const struct groups *g, const uint8_t *codes, int32_t zero, uint32_t count, float *out) {
    switch (g->code) {
    case GROUPS_INT8:
        for (uint32_t i = 0; i < count; i++) {
            out[i] = (float)(int8_t)codes[i];
        }
        break;
    default: {
        uint32_t i = 0;
        for (; i + 16 <= count; i += 16) {
            widen_16(codes + i, zero, out + i);
        }
        for (; i < count; i++) {
            out[i] = (float)((int32_t)codes[i] - zero);
        }
        break;
    }
    }
}

/* 4-bit codes of a table: each of the sixteen is scaled once. */
static inline void groups_of_table(const struct groups_row *r, float scale, const uint8_t *codes, uint32_t count, float *out) {
    float values[16];
    uint8_t rest[16] = {0};
    float last[16];
    for (unsigned i = 0; i < 16; i++) {
        values[i] = r->table[i] * scale;
    }
    uint32_t whole = count / 16 * 16;
    lookup_16(values, codes, whole, out);
    if (whole < count) {
        memcpy(rest, codes + whole, count - whole);
        lookup_16(values, rest, 16, last);
        memcpy(out + whole, last, (count - whole) * sizeof(float));
    }
}

/* Weights of one group. */
static inline void groups_run(const struct groups_row *r, uint64_t group, const uint8_t *codes, uint32_t count, float *out) {
    static const float over_127 = 7.874015718698502e-3f; /* bitsandbytes multiplies by it, in this order */
    const struct groups_common c = groups_common_of(r, group);
    if (r->g->code == GROUPS_TABLE || r->g->code == GROUPS_E2M1) {
        groups_of_table(r, c.scale, codes, count, out);
        return;
    }
    if (r->g->code == GROUPS_E4M3) {
        scale_fp8(FP8_E4M3, codes, c.scale, count, out);
    } else if (r->g->code == GROUPS_E5M2) {
        scale_fp8(FP8_E5M2, codes, c.scale, count, out);
    } else {
        groups_worth(r->g, codes, c.zero, count, out);
        for (uint32_t i = 0; i < count; i++) {
            out[i] *= c.scale;
        }
    }
    if (r->g->shift == GROUPS_MINIMUM) {
        for (uint32_t i = 0; i < count; i++) {
            out[i] += c.minimum;
        }
    } else if (r->g->shift == GROUPS_OVER_127) {
        for (uint32_t i = 0; i < count; i++) {
            out[i] *= over_127;
        }
    }
}

/* What all rows of a tile have in common; then groups_row_at for each. */
static inline struct groups_row groups_rows(const struct groups *g, const uint8_t *lead, uint64_t cols) {
    struct groups_row r = {.g = g, .lead = lead, .p = groups_places_of(g, cols), .last = groups_count(g, cols) - 1};
    for (unsigned i = 0; i < 16; i++) {
        r.table[i] = g->code == GROUPS_TABLE ? float_of_f32(lead + r.p.table + i * sizeof(float)) : float_of_e2m1((uint8_t)i);
    }
    return r;
}

static inline void groups_row_of(struct groups_row *r, const uint8_t *codes, const uint8_t *rest) {
    r->codes = codes;
    r->rest = rest;
    r->place = r->p.zeros != r->p.place ? load_le32(rest + (r->p.place - r->p.scales)) : 0;
    r->phase = r->place != 0 ? (uint32_t)r->place % r->g->group : 0;
}

static inline void groups_row_at(struct groups_row *r, const uint8_t *record) {
    groups_row_of(r, record, record + r->p.scales);
}

/* At most 256 values from column `col` on. Whatever the bytes are, nothing outside lead and record is read. */
static inline void groups_piece(const struct groups_row *r, uint64_t col, uint32_t count, float *out) {
    const struct groups *g = r->g;
    uint8_t taken[GROUPS_AT_ONCE];
    const uint8_t *codes = r->wide ? r->codes : taken;
    if (!r->wide) {
        groups_take_codes(g, r->codes, col, count, taken);
    }
    if (g->ordered) {
        for (uint32_t i = 0; i < count; i++) {
            groups_run(r, min_u64(load_le16(r->lead + (col + i) * sizeof(uint16_t)), r->last), codes + i, 1, out + i);
        }
        return;
    }
    const uint32_t first = r->phase + (uint32_t)col; /* columns are below 2^24 */
    uint32_t group = first / g->group;
    for (uint32_t i = 0; i < count; group++) {
        uint32_t end = (uint32_t)min_u64(count, ((uint64_t)group + 1) * g->group - first);
        groups_run(r, min_u64(group, r->last), codes + i, end - i, out + i);
        i = end;
    }
}

static inline void groups_values(const struct groups *g, const uint8_t *lead, const uint8_t *record, uint64_t cols, uint64_t col,
                                 uint32_t count, float *out) {
    struct groups_row r = groups_rows(g, lead, cols);
    groups_row_at(&r, record);
    for (uint32_t n = 0; count > 0; count -= n, col += n, out += n) {
        n = count < GROUPS_AT_ONCE ? count : GROUPS_AT_ONCE;
        groups_piece(&r, col, n, out);
    }
}

#endif
