/* SPDX-License-Identifier: Apache-2.0
 *
 * Number formats as bits, and the noise. A draw picks one of a row's real weights, so the histogram of a noise row,
 * and with it its entropy and deviation, is that of the real row. Pure; holds no state: element c of a row is lane c
 * % 4 of a 64-bit hash of (row key, c / 4), so any slice can be made alone. */
#include <math.h>

#include "app/tools/inflate_priv.h"
#include "base/checked.h"
#include "base/compiler.h"
#include "base/hash.h"

enum { TINY_POWER = 40 };

static const struct inflate_format formats[] = {
    {"BF16", 2, 7, 255},
    {"F16", 2, 10, 31},
    {"F32", 4, 23, 255},
};

const struct inflate_format *inflate_format_find(const char *dtype) {
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        if (strcmp(formats[i].name, dtype) == 0) {
            return &formats[i];
        }
    }
    return NULL;
}

static uint32_t sign_bit(const struct inflate_format *f) {
    return UINT32_C(1) << (8 * f->bytes - 1);
}

static int bias_of(const struct inflate_format *f) {
    return (int)(f->exponents / 2);
}

double inflate_number(const struct inflate_format *f, const void *element) {
    uint32_t bits = f->bytes == 2 ? load_le16(element) : load_le32(element);
    uint32_t magnitude = bits & (sign_bit(f) - 1);
    uint32_t field = magnitude >> f->mantissa_bits;
    uint32_t mantissa = magnitude & ((UINT32_C(1) << f->mantissa_bits) - 1);
    double value = 0;
    if (field >= f->exponents) {
        value = mantissa != 0 ? (double)NAN : (double)INFINITY;
    } else {
        uint32_t whole = field == 0 ? mantissa : mantissa | UINT32_C(1) << f->mantissa_bits;
        value = ldexp((double)whole, (field == 0 ? 1 : (int)field) - bias_of(f) - (int)f->mantissa_bits);
    }
    return (bits & sign_bit(f)) != 0 ? -value : value;
}

uint32_t inflate_power_bits(const struct inflate_format *f, int exponent, bool negative) {
    int field = exponent + bias_of(f);
    uint32_t bits = 0;
    if (field >= 1) {
        bits = (uint32_t)field << f->mantissa_bits;
    } else if (field + (int)f->mantissa_bits >= 1) {
        bits = UINT32_C(1) << (field + (int)f->mantissa_bits - 1);
    }
    return bits | (negative ? sign_bit(f) : 0);
}

uint32_t inflate_tiny(const struct inflate_format *f, uint32_t bits) {
    uint32_t magnitude = bits & (sign_bit(f) - 1);
    uint32_t field = magnitude >> f->mantissa_bits;
    bool normal = field > TINY_POWER && field < f->exponents;
    return (bits & sign_bit(f)) | (normal ? magnitude - ((uint32_t)TINY_POWER << f->mantissa_bits) : 0);
}

bool inflate_scale(const struct inflate_format *f, uint32_t *bits, uint32_t power) {
    uint32_t magnitude = *bits & (sign_bit(f) - 1);
    uint32_t first_normal = UINT32_C(1) << f->mantissa_bits;
    uint32_t first_special = f->exponents << f->mantissa_bits;
    for (uint32_t i = 0; i < power && magnitude < first_special; i++) {
        /* Subnormal numbers are integers that run on into the first normal ones: doubling is a shift. */
        magnitude += magnitude < first_normal ? magnitude : first_normal;
        if (magnitude >= first_special) {
            return false;
        }
    }
    *bits = (*bits & sign_bit(f)) | magnitude;
    return true;
}

/* The finaliser of splitmix64 (Steele, Lea, Flood 2014). */
static ALWAYS_INLINE uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static const uint64_t GOLDEN = UINT64_C(0x9E3779B97F4A7C15);

uint64_t inflate_key(uint64_t seed, const char *tensor) {
    return mix(hash_xxh3_64(tensor, strlen(tensor)) + GOLDEN * (seed + 1));
}

uint64_t inflate_row_key(uint64_t tensor_key, uint64_t row) {
    return mix(tensor_key ^ mix(row + GOLDEN));
}

uint64_t inflate_pick(uint64_t row_key, uint64_t n) {
    return mix(row_key ^ GOLDEN) % n;
}

/* Groups of four elements: the hash of a group is four numbers of 16 bits, each scaled to a place in the table. */
static ALWAYS_INLINE uint64_t place(uint64_t hash, unsigned lane, uint32_t n) {
    return (uint32_t)(uint16_t)(hash >> 16 * lane) * n >> 16;
}

static void draw2(uint8_t *RESTRICT out, const uint8_t *RESTRICT table, uint32_t n, uint64_t row_key, uint64_t group,
                  uint64_t groups) {
    for (uint64_t i = 0; i < groups; i++) {
        uint64_t h = mix(row_key + GOLDEN * (group + i));
        uint64_t four = (uint64_t)load_le16(table + 2 * place(h, 0, n)) |
                        (uint64_t)load_le16(table + 2 * place(h, 1, n)) << 16 |
                        (uint64_t)load_le16(table + 2 * place(h, 2, n)) << 32 |
                        (uint64_t)load_le16(table + 2 * place(h, 3, n)) << 48;
        store_le64(out + 8 * i, four);
    }
}

static void draw4(uint8_t *RESTRICT out, const uint8_t *RESTRICT table, uint32_t n, uint64_t row_key, uint64_t group,
                  uint64_t groups) {
    for (uint64_t i = 0; i < groups; i++) {
        uint64_t h = mix(row_key + GOLDEN * (group + i));
        for (unsigned k = 0; k < 4; k++) {
            memcpy(out + 16 * i + (size_t)4 * k, table + 4 * place(h, k, n), 4);
        }
    }
}

void inflate_draw(const struct inflate_format *f, void *dst, const void *table, size_t n, uint64_t row_key,
                  uint64_t first, size_t count) {
    void (*draw)(uint8_t *RESTRICT, const uint8_t *RESTRICT, uint32_t, uint64_t, uint64_t, uint64_t) =
        f->bytes == 2 ? draw2 : draw4;
    uint32_t choices = (uint32_t)min_u64(n, UINT16_MAX);
    uint8_t *out = (uint8_t *)dst;
    while (count > 0) {
        uint8_t four[16]; /* a group of which only a part is wanted */
        uint64_t skip = first % 4;
        uint64_t now = skip == 0 && count >= 4 ? count - count % 4 : min_u64(count, 4 - skip);
        if (now % 4 == 0) {
            draw(out, (const uint8_t *)table, choices, row_key, first / 4, now / 4);
        } else {
            draw(four, (const uint8_t *)table, choices, row_key, first / 4, 1);
            memcpy(out, four + skip * f->bytes, (size_t)(now * f->bytes));
        }
        out += now * f->bytes;
        first += now;
        count -= (size_t)now;
    }
}
