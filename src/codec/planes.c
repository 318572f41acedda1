/* SPDX-License-Identifier: Apache-2.0
 *
 * The encoder, the check of a block's sections, and the portable decoder, which is the definition of the format: it walks the
 * values in order with one cursor per level. It is for comparing with, and far too slow to run a model. */
#include "codec/planes.h"

#include <string.h>

#include "base/floats.h"

const struct planes_form PLANES_FORM[PLANES_KINDS] = {
    [PLANES_BF16] = {2, 7, 8, 1, {8}},
    [PLANES_F16] = {2, 10, 5, 3, {8, 2, 1}},
    [PLANES_E4M3] = {1, 3, 4, 1, {4}},
    [PLANES_E5M2] = {1, 2, 5, 2, {2, 1}},
    [PLANES_WHOLE_0] = {2, 0, 8, 0, {0}},
    [PLANES_WHOLE_1] = {2, 1, 8, 1, {1}},
    [PLANES_WHOLE_2] = {2, 2, 8, 1, {2}},
    [PLANES_WHOLE_3] = {2, 3, 8, 2, {1, 2}},
    [PLANES_WHOLE_4] = {2, 4, 8, 1, {4}},
    [PLANES_WHOLE_5] = {2, 5, 8, 2, {1, 4}},
    [PLANES_WHOLE_6] = {2, 6, 8, 2, {2, 4}},
    [PLANES_WHOLE_7] = {2, 7, 8, 3, {1, 2, 4}},
    [PLANES_BYTE_0] = {1, 0, 8, 0, {0}},
    [PLANES_BYTE_1] = {1, 1, 7, 1, {1}},
    [PLANES_BYTE_2] = {1, 2, 6, 1, {2}},
    [PLANES_BYTE_3] = {1, 3, 5, 2, {1, 2}},
    [PLANES_BYTE_4] = {1, 4, 4, 1, {4}},
    [PLANES_BYTE_5] = {1, 5, 3, 2, {1, 4}},
};

bool planes_is_whole(enum planes_kind kind) {
    return kind >= PLANES_WHOLE_0 && kind <= PLANES_WHOLE_7;
}

enum { SYMBOLS = 256 };

static uint32_t load16(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static void store16(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static uint32_t load32(const uint8_t *p) {
    return load16(p) | load16(p + 2) << 16;
}

static void store32(uint8_t *p, uint32_t v) {
    store16(p, v);
    store16(p + 2, v >> 16);
}

static size_t to_unit(size_t bytes) {
    return (bytes + PLANES_UNIT - 1) / PLANES_UNIT * PLANES_UNIT;
}

/* Bytes of `count` fields of `width` bits. */
static size_t plane_bytes(size_t count, uint32_t width) {
    size_t per_unit = (size_t)PLANES_UNIT * 8 / width;
    return (count + per_unit - 1) / per_unit * PLANES_UNIT;
}

static size_t directory_bytes(uint32_t blocks) {
    return to_unit((size_t)blocks * PLANES_ENTRY);
}

size_t planes_bound(enum planes_kind kind, uint64_t values, uint32_t blocks) {
    return PLANES_HEAD + directory_bytes(blocks) + (size_t)values * PLANES_FORM[kind].bytes + (size_t)(blocks + 1) * PLANES_UNIT;
}

/* ---- cutting values ---- */

/* The BF16 of a whole number; of one that BF16 has not, the next one towards zero. */
static uint32_t bf16_of(int32_t whole) {
    const float f = (float)whole;
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits >> 16;
}

static void cut_whole(uint32_t raw, const uint8_t *values, size_t count, uint8_t *symbol, uint8_t *low) {
    const int32_t mask = (INT32_C(1) << raw) - 1;
    for (size_t i = 0; i < count; i++) {
        const int32_t above = (int32_t)float_of_bf16(values + 2 * i) + (INT32_C(128) << raw);
        symbol[i] = (uint8_t)(above >> raw);
        low[i] = (uint8_t)(above & mask);
    }
}

static void cut_bytes(uint32_t raw, const uint8_t *values, size_t count, uint8_t *symbol, uint8_t *low) {
    const uint8_t mask = (uint8_t)((1u << raw) - 1);
    for (size_t i = 0; i < count; i++) {
        symbol[i] = (uint8_t)(values[i] >> raw);
        low[i] = values[i] & mask;
    }
}

/* Symbols and raw bits (sign above fraction) of `count` values; `high` gets the raw bits from the ninth on. Constants instead of
 * the form's fields let compilers turn each of the loops into vectors. */
static void cut(enum planes_kind kind, const uint8_t *values, size_t count, uint8_t *symbol, uint8_t *low, uint8_t *high) {
    switch (kind) {
    case PLANES_BF16:
        for (size_t i = 0; i < count; i++) {
            const uint32_t v = load16(values + 2 * i);
            symbol[i] = (uint8_t)(v >> 7);
            low[i] = (uint8_t)((v >> 8 & 0x80) | (v & 0x7f));
        }
        break;
    case PLANES_F16:
        for (size_t i = 0; i < count; i++) {
            const uint32_t v = load16(values + 2 * i);
            symbol[i] = (uint8_t)(v >> 10 & 31);
            low[i] = (uint8_t)v;
            high[i] = (uint8_t)((v >> 13 & 4) | (v >> 8 & 3));
        }
        break;
    case PLANES_E4M3:
        for (size_t i = 0; i < count; i++) {
            symbol[i] = (uint8_t)(values[i] >> 3 & 15);
            low[i] = (uint8_t)((values[i] >> 4 & 8) | (values[i] & 7));
        }
        break;
    case PLANES_E5M2:
        for (size_t i = 0; i < count; i++) {
            symbol[i] = (uint8_t)(values[i] >> 2 & 31);
            low[i] = (uint8_t)((values[i] >> 5 & 4) | (values[i] & 3));
        }
        break;
    default:
        if (planes_is_whole(kind)) {
            cut_whole((uint32_t)(kind - PLANES_WHOLE_0), values, count, symbol, low);
        } else {
            cut_bytes((uint32_t)(kind - PLANES_BYTE_0), values, count, symbol, low);
        }
        break;
    }
}

static uint32_t join(const struct planes_form *f, uint32_t raw, uint32_t symbol) {
    if (planes_is_whole((enum planes_kind)(f - PLANES_FORM))) {
        return bf16_of((int32_t)(symbol << f->fraction | raw) - (INT32_C(128) << f->fraction));
    }
    uint32_t fraction = raw & ((UINT32_C(1) << f->fraction) - 1);
    uint32_t sign = raw >> f->fraction & 1;
    return fraction | symbol << f->fraction | sign << (f->fraction + f->exponent);
}

/* ---- choosing levels ---- */

struct ranking {
    uint64_t count[SYMBOLS];     /* by rank */
    uint8_t symbol[SYMBOLS];     /* by rank */
};

static void rank_symbols(struct ranking *r, const uint64_t *count) {
    for (unsigned i = 0; i < SYMBOLS; i++) {
        unsigned k = i;
        for (; k > 0 && r->count[k - 1] < count[i]; k--) {
            r->count[k] = r->count[k - 1];
            r->symbol[k] = r->symbol[k - 1];
        }
        r->count[k] = count[i];
        r->symbol[k] = (uint8_t)i;
    }
}

/* Bits of all symbols in levels of the widths given. */
static uint64_t cost_of(const struct ranking *r, uint64_t all, const uint8_t *width, uint32_t levels) {
    uint64_t cost = 0;
    uint64_t left = all;
    uint32_t rank = 0;
    for (uint32_t l = 0; l < levels; l++) {
        cost += left * width[l];
        for (uint32_t i = 0; i + 1 < UINT32_C(1) << width[l]; i++) {
            left -= r->count[rank++];
        }
    }
    return cost + left * 8;
}

static uint32_t table_size(const uint8_t *width, uint32_t levels) {
    uint32_t n = 0;
    for (uint32_t l = 0; l < levels; l++) {
        n += (UINT32_C(1) << width[l]) - 1;
    }
    return n;
}

static void choose_levels(struct planes_head *h, const struct ranking *r, uint64_t all) {
    uint64_t least = UINT64_MAX;
    for (uint32_t levels = 1; levels <= PLANES_LEVELS; levels++) {
        for (uint32_t wide = 0; wide < UINT32_C(1) << levels; wide++) {
            uint8_t width[PLANES_LEVELS];
            for (uint32_t l = 0; l < PLANES_LEVELS; l++) {
                width[l] = l >= levels ? 0 : (wide >> l & 1) != 0 ? 4 : 2;
            }
            uint64_t cost = table_size(width, levels) <= PLANES_SYMBOLS ? cost_of(r, all, width, levels) : UINT64_MAX;
            if (cost < least) {
                least = cost;
                h->levels = (uint8_t)levels;
                memcpy(h->width, width, sizeof(width));
            }
        }
    }
    h->count = (uint8_t)table_size(h->width, h->levels);
    memcpy(h->symbol, r->symbol, h->count);
}

static uint64_t least_bits(const struct ranking *r, uint64_t all) {
    struct planes_head h = {0};
    choose_levels(&h, r, all);
    return cost_of(r, all, h.width, h.levels);
}

enum planes_kind planes_best_whole(const void *values, uint64_t count, struct planes_scratch *scratch, uint64_t *bits) {
    const uint8_t *from = (const uint8_t *)values;
    uint32_t *number = scratch->number;
    enum planes_kind best = PLANES_WHOLE_7;
    memset(number, 0, sizeof(scratch->number));
    for (uint64_t i = 0; i < count; i++) {
        number[((uint32_t)((int32_t)float_of_bf16(from + 2 * i) + PLANES_MOST_WHOLE)) % (2 * PLANES_MOST_WHOLE)]++;
    }
    uint32_t first = 0;
    uint32_t end = 2 * PLANES_MOST_WHOLE;
    for (; first < PLANES_MOST_WHOLE && number[first] == 0; first++) {
    }
    for (; end > PLANES_MOST_WHOLE && number[end - 1] == 0; end--) {
    }
    *bits = UINT64_MAX;
    for (uint32_t raw = 0; raw <= 7; raw++) {
        const uint32_t middle = PLANES_MOST_WHOLE >> raw;
        uint64_t found[SYMBOLS] = {0};
        struct ranking r;
        if ((first >> raw) + 128 < middle || (end - 1) >> raw > middle + 127) {
            continue; /* symbols are bytes */
        }
        for (uint32_t i = first; i < end; i++) {
            found[((i >> raw) + 128 - middle) % SYMBOLS] += number[i];
        }
        rank_symbols(&r, found);
        const uint64_t cost = count * raw + least_bits(&r, count);
        if (cost < *bits) {
            *bits = cost;
            best = (enum planes_kind)(PLANES_WHOLE_0 + raw);
        }
    }
    return best;
}

/* ---- encoding ---- */

/* A plane of `count` fields: `width` bits of each byte, from bit `shift` on. */
static void put_plane(uint8_t *out, const uint8_t *field, size_t count, uint32_t width, uint32_t shift) {
    const uint32_t per_byte = 8 / width;
    const uint32_t mask = (UINT32_C(1) << width) - 1;
    for (size_t i = 0; i < count; i += (size_t)PLANES_UNIT * per_byte, out += PLANES_UNIT) {
        memset(out, 0, PLANES_UNIT);
        for (uint32_t k = 0; k < per_byte; k++) {
            const uint8_t *from = field + i + (size_t)k * PLANES_UNIT;
            const size_t left = count > i + (size_t)k * PLANES_UNIT ? count - i - (size_t)k * PLANES_UNIT : 0;
            const size_t n = left < PLANES_UNIT ? left : PLANES_UNIT;
            for (size_t j = 0; j < n; j++) {
                out[j] |= (uint8_t)((from[j] >> shift & mask) << (k * width));
            }
        }
    }
}

/* The codes of `count` ranks in a level that begins at rank `base` and has `last` of them. */
static void code_level(const uint8_t *rank, size_t count, uint32_t base, uint32_t last, uint8_t *code) {
    for (size_t i = 0; i < count; i++) {
        const uint8_t over = (uint8_t)(rank[i] - base);
        code[i] = (uint8_t)(over < last ? over : last);
    }
}

/* Ranks from `beyond` on move to the front of `next`; returns how many. */
static size_t go_on(const uint8_t *rank, size_t count, uint32_t beyond, uint8_t *next) {
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        next[n] = rank[i];
        n += rank[i] >= beyond;
    }
    return n;
}

/* The same for the first level, of which the ranks are looked up on the way. */
static size_t rank_and_go_on(const uint8_t *symbol, size_t count, const uint8_t *rank_of, uint32_t beyond, uint8_t *rank,
                             uint8_t *next) {
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t r = rank_of[symbol[i]];
        rank[i] = r;
        next[n] = r;
        n += r >= beyond;
    }
    return n;
}

struct encoder {
    enum planes_kind kind;
    const struct planes_form *form;
    const struct planes_head *head;
    const struct ranking *ranking;
    uint8_t rank_of[SYMBOLS];    /* by symbol */
    struct planes_scratch *s;
};

static size_t raw_bytes(const struct planes_form *f, uint32_t count) {
    size_t sum = 0;
    for (uint32_t k = 0; k < f->raws; k++) {
        sum += plane_bytes(count, f->raw[k]);
    }
    return sum;
}

static uint8_t *put_raws(const struct encoder *e, uint32_t count, uint8_t *out) {
    const struct planes_form *f = e->form;
    for (uint32_t k = 0, shift = 0; k < f->raws; shift += f->raw[k++]) {
        put_plane(out, shift < 8 ? e->s->low : e->s->high, count, f->raw[k], shift % 8);
        out += plane_bytes(count, f->raw[k]);
    }
    return out;
}

static uint8_t *put_whole(const uint8_t *values, size_t bytes, uint8_t *entry, uint8_t *out) {
    memset(entry + 4, 0, 8);
    store16(entry + 4, PLANES_PLAIN);
    memset(out, 0, to_unit(bytes));
    memcpy(out, values, bytes);
    return out + to_unit(bytes);
}

/* A block at `out`; returns its end. */
static uint8_t *put_block(const struct encoder *e, const uint8_t *values, uint32_t count, uint8_t *entry, uint8_t *out) {
    const size_t bytes = (size_t)count * e->form->bytes;
    uint8_t *rank = e->s->rank;
    uint8_t *next = e->s->next;
    size_t left = count;
    uint32_t base = 0;
    if (raw_bytes(e->form, count) > bytes) {
        return put_whole(values, bytes, entry, out);
    }
    cut(e->kind, values, count, e->s->symbol, e->s->low, e->s->high);
    uint8_t *at = put_raws(e, count, out);
    memset(entry + 4, 0, 8);
    for (uint32_t l = 0; l < e->head->levels; l++) {
        const uint32_t last = (UINT32_C(1) << e->head->width[l]) - 1;
        const size_t more = l == 0 ? rank_and_go_on(e->s->symbol, left, e->rank_of, last, rank, next)
                                   : go_on(rank, left, base + last, next);
        if ((size_t)(at - out) + plane_bytes(left, e->head->width[l]) > bytes) {
            return put_whole(values, bytes, entry, out);
        }
        code_level(rank, left, base, last, e->s->code);
        put_plane(at, e->s->code, left, e->head->width[l], 0);
        at += plane_bytes(left, e->head->width[l]);
        store16(entry + 4 + (size_t)2 * l, (uint32_t)more);
        uint8_t *old = rank;
        rank = next;
        next = old;
        left = more;
        base += last;
    }
    if ((size_t)(at - out) + to_unit(left) > bytes) {
        return put_whole(values, bytes, entry, out);
    }
    memset(at, 0, to_unit(left));
    for (size_t i = 0; i < left; i++) {
        at[i] = e->ranking->symbol[rank[i]];
    }
    return at + to_unit(left);
}

/* How often each symbol occurs. Four counts side by side, since equal neighbours would wait for each other. */
static void count_symbols(const struct encoder *e, const uint8_t *values, uint64_t all, uint64_t *found) {
    enum { SIDES = 4 };
    uint32_t side[SIDES][SYMBOLS];
    for (uint64_t at = 0; at < all; at += PLANES_BLOCK) {
        const size_t n = all - at < PLANES_BLOCK ? (size_t)(all - at) : PLANES_BLOCK;
        cut(e->kind, values + at * e->form->bytes, n, e->s->symbol, e->s->low, e->s->high);
        memset(side, 0, sizeof(side));
        const uint8_t *s = e->s->symbol;
        const size_t whole = n - n % SIDES;
        for (size_t i = 0; i < whole; i += SIDES) {
            side[0][s[i]]++;
            side[1][s[i + 1]]++;
            side[2][s[i + 2]]++;
            side[3][s[i + 3]]++;
        }
        for (size_t i = whole; i < n; i++) {
            side[0][s[i]]++;
        }
        for (unsigned k = 0; k < SIDES * SYMBOLS; k++) {
            found[k % SYMBOLS] += side[k / SYMBOLS][k % SYMBOLS];
        }
    }
}

static uint64_t raw_bits(const struct planes_form *f) {
    return (uint64_t)f->raw[0] + f->raw[1] + f->raw[2];
}

/* Symbols of a kind of bytes, from how often each byte occurs. */
static void fold_bytes(enum planes_kind kind, const uint64_t *byte, uint64_t *found) {
    uint8_t all[SYMBOLS], symbol[SYMBOLS], low[SYMBOLS];
    for (unsigned i = 0; i < SYMBOLS; i++) {
        all[i] = (uint8_t)i;
    }
    cut(kind, all, SYMBOLS, symbol, low, low);
    for (unsigned i = 0; i < SYMBOLS; i++) {
        found[symbol[i]] += byte[i];
    }
}

enum planes_kind planes_best(uint32_t kinds, const void *values, uint64_t count, struct planes_scratch *scratch, uint64_t *bits) {
    const struct encoder bytes = {.kind = PLANES_BYTE_0, .form = &PLANES_FORM[PLANES_BYTE_0], .s = scratch};
    enum planes_kind best = PLANES_KINDS;
    uint64_t byte[SYMBOLS] = {0};
    bool counted = false;
    *bits = UINT64_MAX;
    for (unsigned k = 0; k < PLANES_KINDS; k++) {
        const struct encoder e = {.kind = (enum planes_kind)k, .form = &PLANES_FORM[k], .s = scratch};
        uint64_t found[SYMBOLS] = {0};
        struct ranking r;
        if ((kinds >> k & 1) == 0) {
            continue;
        }
        if (e.form->bytes == 1 && !counted) {
            count_symbols(&bytes, (const uint8_t *)values, count, byte);
            counted = true;
        }
        if (e.form->bytes == 1) {
            fold_bytes((enum planes_kind)k, byte, found);
        } else {
            count_symbols(&e, (const uint8_t *)values, count, found);
        }
        rank_symbols(&r, found);
        const uint64_t cost = count * raw_bits(e.form) + least_bits(&r, count);
        if (cost < *bits) {
            *bits = cost;
            best = (enum planes_kind)k;
        }
    }
    return best;
}

size_t planes_encode(enum planes_kind kind, const void *values, const uint32_t *count, uint32_t blocks,
                     struct planes_scratch *scratch, void *out) {
    const uint8_t *from = (const uint8_t *)values;
    uint8_t *tile = (uint8_t *)out;
    struct planes_head head = {.kind = (uint8_t)kind};
    struct ranking ranking;
    struct encoder e = {.kind = kind, .form = &PLANES_FORM[kind], .head = &head, .ranking = &ranking, .s = scratch};
    uint64_t found[SYMBOLS] = {0};
    uint64_t all = 0;
    for (uint32_t b = 0; b < blocks; b++) {
        all += count[b];
    }
    count_symbols(&e, from, all, found);
    rank_symbols(&ranking, found);
    choose_levels(&head, &ranking, all);
    store16(head.blocks, blocks);
    for (unsigned i = 0; i < SYMBOLS; i++) {
        e.rank_of[ranking.symbol[i]] = (uint8_t)i;
    }
    memset(tile, 0, PLANES_HEAD + directory_bytes(blocks));
    memcpy(tile, &head, sizeof(head));
    uint8_t *at = tile + PLANES_HEAD + directory_bytes(blocks);
    for (uint32_t b = 0; b < blocks; b++) {
        uint8_t *entry = tile + PLANES_HEAD + (size_t)b * PLANES_ENTRY;
        store32(entry, (uint32_t)((size_t)(at - tile) / PLANES_UNIT));
        at = put_block(&e, from, count[b], entry, at);
        from += (size_t)count[b] * e.form->bytes;
    }
    memset(at, 0, PLANES_UNIT);
    return (size_t)(at - tile) + PLANES_UNIT;
}

/* ---- decoding ---- */

static bool head_is_sound(const uint8_t *tile) {
    const uint32_t levels = tile[1];
    uint32_t symbols = 0;
    if (tile[0] >= PLANES_KINDS || levels < 1 || levels > PLANES_LEVELS) {
        return false;
    }
    for (uint32_t l = 0; l < levels; l++) {
        if (tile[2 + l] != 2 && tile[2 + l] != 4) {
            return false;
        }
        symbols += (UINT32_C(1) << tile[2 + l]) - 1;
    }
    return symbols <= PLANES_SYMBOLS;
}

/* Takes `bytes` off the tile at *at; NULL when they and 64 more are not there. */
static const uint8_t *take(const uint8_t *tile, size_t len, size_t *at, size_t bytes) {
    if (*at > len || bytes + PLANES_UNIT > len - *at) {
        return NULL;
    }
    const uint8_t *p = tile + *at;
    *at += bytes;
    return p;
}

bool planes_find(struct planes_block *b, const uint8_t *tile, size_t len, uint32_t block, uint32_t count) {
    if (len < PLANES_HEAD || !head_is_sound(tile) || block >= load16(tile + 6) || count == 0 || count > PLANES_BLOCK ||
        PLANES_HEAD + directory_bytes(load16(tile + 6)) > len) {
        return false;
    }
    const uint8_t *entry = tile + PLANES_HEAD + (size_t)block * PLANES_ENTRY;
    size_t at = (size_t)load32(entry) * PLANES_UNIT;
    *b = (struct planes_block){.form = &PLANES_FORM[tile[0]], .levels = tile[1]};
    if (load16(entry + 4) == PLANES_PLAIN) {
        b->whole = take(tile, len, &at, to_unit((size_t)count * b->form->bytes));
        return b->whole != NULL;
    }
    bool fine = true;
    for (uint32_t k = 0; fine && k < b->form->raws; k++) {
        b->raw[k] = take(tile, len, &at, plane_bytes(count, b->form->raw[k]));
        fine = b->raw[k] != NULL;
    }
    const uint8_t *symbol = tile + 10;
    b->values[0] = count;
    for (uint32_t l = 0; fine && l < b->levels; l++) {
        b->width[l] = tile[2 + l];
        b->symbol[l] = symbol;
        symbol += (UINT32_C(1) << b->width[l]) - 1;
        b->level[l] = take(tile, len, &at, plane_bytes(b->values[l], b->width[l]));
        b->values[l + 1] = load16(entry + 4 + (size_t)2 * l);
        fine = b->level[l] != NULL && b->values[l + 1] <= b->values[l];
    }
    if (fine) {
        b->level[b->levels] = take(tile, len, &at, to_unit(b->values[b->levels]));
        fine = b->level[b->levels] != NULL;
    }
    return fine;
}

static uint32_t field_at(const uint8_t *plane, uint32_t width, uint32_t i) {
    const uint32_t per_unit = PLANES_UNIT * 8 / width;
    const uint32_t in_unit = i % per_unit;
    const uint8_t byte = plane[(size_t)(i / per_unit) * PLANES_UNIT + in_unit % PLANES_UNIT];
    return byte >> (in_unit / PLANES_UNIT * width) & ((UINT32_C(1) << width) - 1);
}

bool planes_decode_portable(const uint8_t *tile, size_t len, uint32_t block, uint32_t count, void *out) {
    struct planes_block b;
    uint32_t cursor[PLANES_LEVELS + 1] = {0};
    uint8_t *to = (uint8_t *)out;
    if (!planes_find(&b, tile, len, block, count)) {
        return false;
    }
    if (b.whole != NULL) {
        memcpy(out, b.whole, (size_t)count * b.form->bytes);
        return true;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t symbol = 0;
        uint32_t raw = 0;
        for (uint32_t l = 0; l <= b.levels; l++) {
            const uint32_t at = cursor[l]++;
            if (at >= b.values[l]) {
                return false;
            }
            if (l == b.levels) {
                symbol = b.level[l][at] & ((UINT32_C(1) << b.form->exponent) - 1);
                break;
            }
            const uint32_t code = field_at(b.level[l], b.width[l], at);
            if (code + 1 < UINT32_C(1) << b.width[l]) {
                symbol = b.symbol[l][code] & ((UINT32_C(1) << b.form->exponent) - 1);
                break;
            }
        }
        for (uint32_t k = 0, shift = 0; k < b.form->raws; shift += b.form->raw[k++]) {
            raw |= field_at(b.raw[k], b.form->raw[k], i) << shift;
        }
        const uint32_t v = join(b.form, raw, symbol);
        to[(size_t)i * b.form->bytes] = (uint8_t)v;
        if (b.form->bytes == 2) {
            to[(size_t)2 * i + 1] = (uint8_t)(v >> 8);
        }
    }
    for (uint32_t l = 0; l <= b.levels; l++) {
        if (cursor[l] != b.values[l]) {
            return false;
        }
    }
    return true;
}
