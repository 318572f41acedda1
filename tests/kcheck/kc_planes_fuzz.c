/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder of a level, and its product of one row, fed damaged tiles: bytes changed, tiles cut short, wrong blocks and counts,
 * nothing but noise. Tile, row, values and sums end at unreadable pages, so that whoever leaves them is killed; one run in 32 must
 * say what the definition says. The fuzz targets search; this repeats, some hundred thousand times a second.
 */
#include <stdio.h>
#include <string.h>

#include "codec/coding.h"
#include "kcheck.h"

enum {
    POOL = 96, MOST_BLOCKS = 3,
    SMALL = 1024,      /* values of a block; a few have PLANES_BLOCK */
    ROOM = 1 << 18, COMPARED = 32,
    BEFORE = 64,       /* bytes in front of the values, which nobody may change */
    UNTOUCHED = 0xa5,
};

struct sound {
    uint8_t *bytes;
    size_t len;
    enum planes_kind kind;
    uint32_t blocks, count[MOST_BLOCKS];
};

struct place {
    struct kc_buffer room[POOL], tile, values, wanted, row, sums;
    struct sound sound[POOL];
};

static void make_sound(struct kc *k, struct place *p, uint32_t i) {
    static struct planes_scratch scratch;
    static uint16_t values[MOST_BLOCKS * PLANES_BLOCK];
    struct sound *s = &p->sound[i];
    const uint32_t most = i % 16 == 0 ? PLANES_BLOCK : SMALL;
    uint32_t all = 0;
    s->kind = (enum planes_kind)(i % PLANES_KINDS);
    s->blocks = 1 + kc_below(k, MOST_BLOCKS);
    for (uint32_t b = 0; b < s->blocks; b++) {
        const uint32_t count = 1 + kc_below(k, most);
        s->count[b] = kc_below(k, 2) == 0 ? count : (count + 255) / 256 * 256; /* whole steps of a product */
        all += s->count[b];
    }
    const uint32_t look = kc_below(k, 4);
    for (uint32_t v = 0; v < all; v++) {
        values[v] = planes_is_whole(s->kind) ? kc_whole(k, (uint32_t)(s->kind - PLANES_WHOLE_0), look)
                    : look == 0              ? (uint16_t)kc_random(k)
                                             : kc_weight(k, 0.02f);
    }
    const size_t bound = planes_bound(s->kind, all, s->blocks);
    p->room[i] = kc_alloc(bound);
    s->bytes = p->room[i].p;
    s->len = planes_encode(s->kind, values, s->count, s->blocks, &scratch, s->bytes);
}

/* A damaged copy at the end of the room. */
static uint8_t *damage(struct kc *k, const struct place *p, const struct sound *s, size_t *len) {
    const uint32_t how = kc_below(k, 16);
    *len = how == 0 ? kc_below(k, (uint32_t)s->len + 1) : how == 1 ? s->len / 64 * kc_below(k, 64) / 64 * 64 : s->len;
    uint8_t *tile = (uint8_t *)p->tile.p + ROOM - *len;
    memcpy(tile, s->bytes, *len);
    const size_t front = PLANES_HEAD + (size_t)s->blocks * PLANES_ENTRY;
    for (uint32_t n = kc_below(k, 6); n > 0 && *len > 0; n--) {
        const size_t below = kc_below(k, 4) == 0 || *len < front ? *len : front;
        tile[kc_below(k, (uint32_t)below)] ^= (uint8_t)(kc_below(k, 2) == 0 ? 1u << kc_below(k, 8) : kc_below(k, 256));
    }
    for (size_t i = 1; how == 2 && i < *len; i++) {
        tile[i] = (uint8_t)kc_random(k);
    }
    return tile;
}

/* True: the tile made sense all the same. */
static bool run_once(struct kc *k, const struct coding_table *t, const struct place *p, bool compared) {
    const struct sound *s = &p->sound[kc_below(k, POOL)];
    size_t len = 0;
    const uint8_t *tile = damage(k, p, s, &len);
    const uint32_t block = kc_below(k, 32) == 0 ? (uint32_t)kc_random(k) : kc_below(k, s->blocks);
    const uint32_t count = block >= s->blocks || kc_below(k, 32) == 0 ? 1 + kc_below(k, PLANES_BLOCK) : s->count[block];
    /* The first byte says how long values are. */
    const size_t each = len > 0 && tile[0] < PLANES_KINDS ? PLANES_FORM[tile[0]].bytes : 2;
    const size_t bytes = (count + PLANES_UNIT - 1) / PLANES_UNIT * PLANES_UNIT * each;
    uint8_t *out = (uint8_t *)p->values.p + p->values.bytes - bytes;
    memset(out - BEFORE, UNTOUCHED, BEFORE);
    const bool ok = t->decode_planes(tile, len, block, count, out);
    bool kept = true;
    for (size_t i = 1; i <= BEFORE; i++) {
        kept = kept && out[-(ptrdiff_t)i] == UNTOUCHED;
    }
    bool same = true;
    if (compared) {
        uint8_t *want = (uint8_t *)p->wanted.p + p->wanted.bytes - bytes;
        same = planes_decode_portable(tile, len, block, count, want) == ok && (!ok || memcmp(want, out, count * each) == 0);
    }
    if (t->multiply_planes != NULL && count % 256 == 0) {
        const uint32_t panels = count % 512 == 0 ? 2 : 1;
        const uint32_t cols = count / 16 / panels;
        const struct planes_product product = {
            .tile = tile, .len = len, .block = block, .panels = panels, .cols = cols,
            .x = (const float *)p->row.p + p->row.bytes / sizeof(float) - cols,
            .y = (float *)p->sums.p + p->sums.bytes / sizeof(float) - (size_t)panels * 16};
        const bool multiplied = t->multiply_planes(&product);
        same = same && multiplied == (ok && (tile[0] == PLANES_BF16 || planes_is_whole((enum planes_kind)tile[0])));
    }
    if (!kept || !same) {
        kc_expect(k, false, "a damaged tile of %zu bytes, block %u of %u values: %s", len, block, count,
                  kept ? "not what the definition says" : "bytes before the values changed");
    }
    return ok;
}

uint64_t kc_fuzz_planes(struct kc *k, uint32_t cpu_flags, uint64_t runs) {
    static struct place p;
    struct coding_table t;
    const uint64_t failed = k->failed;
    uint64_t decoded = 0;
    coding_table_init(&t, cpu_flags);
    p.tile = kc_alloc(ROOM);
    p.values = kc_alloc((size_t)PLANES_BLOCK * 2 + BEFORE);
    p.wanted = kc_alloc((size_t)PLANES_BLOCK * 2);
    p.row = kc_alloc(PLANES_BLOCK / 16 * sizeof(float));
    p.sums = kc_alloc(2 * 16 * sizeof(float));
    kc_fill(k, p.row.p, p.row.bytes / sizeof(float), KC_PLAIN);
    for (uint32_t i = 0; i < POOL; i++) {
        make_sound(k, &p, i);
    }
    for (uint64_t run = 0; run < runs; run++) {
        decoded += run_once(k, &t, &p, run % COMPARED == 0);
    }
    kc_expect(k, k->failed == failed, "%llu damaged tiles", (unsigned long long)runs);
    for (uint32_t i = 0; i < POOL; i++) {
        kc_free(&p.room[i]);
    }
    kc_free(&p.tile);
    kc_free(&p.values);
    kc_free(&p.wanted);
    kc_free(&p.row);
    kc_free(&p.sums);
    return decoded;
}
