/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of one row with packed blocks: every level's against decoding first and multiplying by the definition, on whole and on
 * damaged tiles, between unreadable pages. */
#include <stdio.h>
#include <string.h>

#include "codec/coding.h"
#include "kcheck.h"
#include "sys/cpu.h"

enum { ROUNDS = 60, BLOCK_COLS = 256, BLOCK_PANELS = 4 };

/* By the definitions: y already holds what sums start from. */
static bool decode_and_multiply(const struct kc *k, const struct planes_product *p, float *y) {
    const uint32_t values = p->panels * p->cols * 16;
    struct kc_buffer w = kc_alloc((values + 63) / 64 * 64 * (size_t)2);
    const bool fine = planes_decode_portable(p->tile, p->len, p->block, values, w.p);
    const struct kern_matmul m = {.w = w.p, .panel_stride = (size_t)p->cols * 32, .x = p->x, .ldx = p->cols, .y = y,
                                  .ldy = (size_t)p->panels * 16, .rows = 1, .panels = p->panels, .cols = p->cols,
                                  .accumulate = p->accumulate};
    if (fine) {
        k->reference.matmul[KERN_BF16](&m);
    }
    kc_free(&w);
    return fine;
}

/* A damaged tile of whole numbers may have some that BF16 has not: decoding cuts those, multiplying need not. */
static void compare(struct kc *k, planes_multiply_fn *multiply, struct planes_product *p, bool damaged, bool whole) {
    struct kc_buffer x = kc_alloc(p->cols * sizeof(float));
    struct kc_buffer want = kc_alloc((size_t)p->panels * 16 * sizeof(float));
    struct kc_buffer got = kc_alloc(want.bytes);
    kc_fill(k, x.p, p->cols, KC_PLAIN);
    kc_fill(k, want.p, want.bytes / sizeof(float), KC_PLAIN);
    memcpy(got.p, want.p, want.bytes);
    p->x = x.p;
    p->y = got.p;
    p->accumulate = kc_below(k, 2) != 0;
    const bool fine = decode_and_multiply(k, p, want.p);
    const bool ok = multiply(p);
    kc_expect(k, ok == fine && (fine || damaged), "product of %u panels of %u columns: %d, portable %d", p->panels, p->cols, ok,
              fine);
    if (ok && fine && !(damaged && whole)) {
        kc_same_floats(k, want.p, got.p, want.bytes / sizeof(float), "product of %u panels of %u columns", p->panels, p->cols);
    }
    kc_free(&x);
    kc_free(&want);
    kc_free(&got);
}

void kc_check_planes_product(struct kc *k, uint32_t cpu_flags) {
    static struct planes_scratch scratch;
    struct coding_table t;
    coding_table_init(&t, cpu_flags);
    for (int round = 0; round < ROUNDS && t.multiply_planes != NULL; round++) {
        struct planes_product p = {.panels = 1 + kc_below(k, BLOCK_PANELS),
                                   .cols = PLANES_PRODUCT_COLS * (1 + kc_below(k, BLOCK_COLS / PLANES_PRODUCT_COLS))};
        const uint32_t look = kc_below(k, 4);
        const enum planes_kind kind = round % 2 == 0 ? PLANES_BF16 : (enum planes_kind)(PLANES_WHOLE_0 + round / 2 % 8);
        uint32_t count[2] = {p.panels * p.cols * 16, p.panels * p.cols * 16};
        struct kc_buffer values = kc_alloc((size_t)count[0] * 4);
        struct kc_buffer room = kc_alloc(planes_bound(kind, count[0] * UINT64_C(2), 2));
        for (size_t i = 0; i < values.bytes / 2; i++) { /* any bits, weights, weights of a few exponents */
            ((uint16_t *)values.p)[i] = kind != PLANES_BF16 ? kc_whole(k, (uint32_t)(kind - PLANES_WHOLE_0), look)
                                        : look == 0         ? (uint16_t)kc_random(k)
                                                            : kc_weight(k, look == 1 ? 1e-4f : 0.02f);
        }
        struct kc_buffer tile = kc_alloc(planes_encode(kind, values.p, count, 2, &scratch, room.p));
        memcpy(tile.p, room.p, tile.bytes);
        p.tile = tile.p;
        p.len = tile.bytes;
        for (p.block = 0; p.block < 2; p.block++) {
            compare(k, t.multiply_planes, &p, false, kind != PLANES_BF16);
        }
        for (int damage = 0; damage < 4; damage++) { /* the first byte says what values are */
            ((uint8_t *)tile.p)[1 + kc_below(k, (uint32_t)tile.bytes - 1)] ^= (uint8_t)(1 + kc_below(k, 255));
            p.block = kc_below(k, 2);
            compare(k, t.multiply_planes, &p, true, kind != PLANES_BF16);
        }
        *(uint8_t *)tile.p = PLANES_F16;
        kc_expect(k, !t.multiply_planes(&p), "a product with a tile of another kind");
        kc_free(&values);
        kc_free(&room);
        kc_free(&tile);
    }
}
