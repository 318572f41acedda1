/* SPDX-License-Identifier: Apache-2.0
 *
 * Planes: every level's decoder against the portable one on random tiles, whole and damaged, between unreadable pages; and their
 * rates on a stream of weights that is decoded block by block into the same 32 KiB, beside memcpy's there.
 */
#include <stdio.h>
#include <string.h>

#include "codec/coding.h"
#include "kcheck.h"
#include "sys/cpu.h"

enum { MOST_BLOCKS = 4, ROUNDS = 96, RUNS = 7 };

/* Nearly normal, as weights are. */
uint16_t kc_weight(struct kc *k, float scale) {
    const float f = (kc_uniform(k) + kc_uniform(k) + kc_uniform(k) + kc_uniform(k)) * scale;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)(bits >> 16);
}

uint16_t kc_whole(struct kc *k, uint32_t raw, uint32_t look) {
    const int32_t range = 128 << raw;
    const float spread = look == 0 ? 1.0f : 0.1f;
    const float whole = (float)(int32_t)(kc_uniform(k) * spread * (float)(range - 1)); /* beyond 256 loses low bits below */
    uint32_t bits;
    memcpy(&bits, &whole, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static void fill_values(struct kc *k, enum planes_kind kind, uint8_t *values, size_t bytes) {
    const uint32_t look = kc_below(k, 4);
    const uint32_t mask = (uint32_t)kc_random(k);
    for (size_t i = 0; i + 2 <= bytes; i += 2) {
        const uint16_t v = planes_is_whole(kind) ? kc_whole(k, (uint32_t)(kind - PLANES_WHOLE_0), look)
                           : look == 0            ? (uint16_t)kc_random(k)
                                                  : kc_weight(k, look == 1 ? 0.02f : 1e-4f);
        values[i] = (uint8_t)v;
        values[i + 1] = (uint8_t)(v >> 8);
    }
    for (size_t i = 0; look == 3 && !planes_is_whole(kind) && i < bytes; i++) { /* bytes of few kinds, as FP8 has */
        values[i] = (uint8_t)((values[i] & mask) + 0x20);
    }
}

static void compare(struct kc *k, planes_decode_fn *decode, const struct kc_buffer *tile, uint32_t block, uint32_t count,
                    enum planes_kind kind, bool damaged) {
    const size_t bytes = PLANES_FORM[kind].bytes;
    struct kc_buffer want = kc_alloc((count + 63) / 64 * 64 * bytes);
    struct kc_buffer got = kc_alloc((count + 63) / 64 * 64 * bytes);
    const bool fine = planes_decode_portable(tile->p, tile->bytes, block, count, want.p);
    const bool ok = decode(tile->p, tile->bytes, block, count, got.p);
    kc_expect(k, ok == fine && (fine || damaged), "planes kind %d, block %u of %u values: %d, portable %d", (int)kind, block, count,
              ok, fine);
    if (ok && fine) {
        kc_same_bytes(k, want.p, got.p, count * bytes, "planes kind %d, block %u of %u values", (int)kind, block, count);
    }
    kc_free(&want);
    kc_free(&got);
}

void kc_check_planes(struct kc *k, uint32_t cpu_flags) {
    static struct planes_scratch scratch;
    struct coding_table t;
    struct coding_table plain;
    coding_table_init(&t, cpu_flags);
    coding_table_init(&plain, 0);
    kc_expect(k, (t.decode_planes == plain.decode_planes) == (cpu_flags == 0), "planes: a vector level has a decoder of its own");
    for (int round = 0; round < ROUNDS; round++) {
        const enum planes_kind kind = (enum planes_kind)(round % PLANES_KINDS);
        const uint32_t blocks = 1 + kc_below(k, MOST_BLOCKS);
        uint32_t count[MOST_BLOCKS];
        uint32_t all = 0;
        for (uint32_t b = 0; b < blocks; b++) {
            count[b] = 1 + kc_below(k, kc_below(k, 2) == 0 ? PLANES_BLOCK : 600);
            all += count[b];
        }
        struct kc_buffer values = kc_alloc((size_t)all * PLANES_FORM[kind].bytes);
        struct kc_buffer room = kc_alloc(planes_bound(kind, all, blocks));
        fill_values(k, kind, values.p, values.bytes);
        struct kc_buffer tile = kc_alloc(planes_encode(kind, values.p, count, blocks, &scratch, room.p));
        memcpy(tile.p, room.p, tile.bytes);
        for (uint32_t b = 0; b < blocks; b++) {
            compare(k, t.decode_planes, &tile, b, count[b], kind, false);
        }
        for (int damage = 0; damage < 4; damage++) { /* the first byte says how long values are */
            ((uint8_t *)tile.p)[1 + kc_below(k, (uint32_t)tile.bytes - 1)] ^= (uint8_t)(1 + kc_below(k, 255));
            const uint32_t b = kc_below(k, blocks);
            compare(k, t.decode_planes, &tile, b, count[b], kind, true);
        }
        kc_free(&values);
        kc_free(&room);
        kc_free(&tile);
    }
}
