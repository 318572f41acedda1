/* SPDX-License-Identifier: Apache-2.0
 * Planes with AVX2: a piece is two registers; escaped symbols find their places 8 lanes at a time, by a byte shuffle from the
 * table of all masks of 8 bits. The build gives this file its compiler flags. */
#include <immintrin.h>

#include "base/compiler.h"
#include "codec/coding_priv.h"
#include "codec/planes_places_priv.h"

typedef struct {
    __m256i low, high;
} piece;
typedef __m256i piece_table;

static ALWAYS_INLINE piece piece_load(const uint8_t *p) {
    return (piece){_mm256_loadu_si256((const __m256i *)(const void *)p),
                   _mm256_loadu_si256((const __m256i *)(const void *)(p + 32))};
}

static ALWAYS_INLINE void piece_store(uint8_t *p, piece a) {
    _mm256_storeu_si256((__m256i *)(void *)p, a.low);
    _mm256_storeu_si256((__m256i *)(void *)(p + 32), a.high);
}

static ALWAYS_INLINE piece_table piece_table_load(const uint8_t *p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static ALWAYS_INLINE piece piece_up(piece a, unsigned bits) {
    return (piece){_mm256_slli_epi16(a.low, (int)bits), _mm256_slli_epi16(a.high, (int)bits)};
}

static ALWAYS_INLINE piece piece_down(piece a, unsigned bits) {
    return (piece){_mm256_srli_epi16(a.low, (int)bits), _mm256_srli_epi16(a.high, (int)bits)};
}

static ALWAYS_INLINE piece piece_and(piece a, uint8_t mask) {
    const __m256i m = _mm256_set1_epi8((char)mask);
    return (piece){_mm256_and_si256(a.low, m), _mm256_and_si256(a.high, m)};
}

static ALWAYS_INLINE __m256i merge_32(uint8_t mask, __m256i a, __m256i b) {
    return _mm256_or_si256(_mm256_and_si256(a, _mm256_set1_epi8((char)mask)),
                           _mm256_and_si256(b, _mm256_set1_epi8((char)~mask)));
}

static ALWAYS_INLINE piece piece_merge(uint8_t mask, piece a, piece b) {
    return (piece){merge_32(mask, a.low, b.low), merge_32(mask, a.high, b.high)};
}

/* Stores of halves cost less than bringing the halves together. */
static ALWAYS_INLINE void pairs_32(uint8_t *p, __m256i a, __m256i b) {
    const __m256i low = _mm256_unpacklo_epi8(a, b);
    const __m256i high = _mm256_unpackhi_epi8(a, b);
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_castsi256_si128(low));
    _mm_storeu_si128((__m128i *)(void *)(p + 16), _mm256_castsi256_si128(high));
    _mm_storeu_si128((__m128i *)(void *)(p + 32), _mm256_extracti128_si256(low, 1));
    _mm_storeu_si128((__m128i *)(void *)(p + 48), _mm256_extracti128_si256(high, 1));
}

static ALWAYS_INLINE void piece_pairs(uint8_t *p, piece a, piece b) {
    pairs_32(p, a.low, b.low);
    pairs_32(p + 64, a.high, b.high);
}

/* 16 whole numbers as BF16: even and odd lanes apart, since pairs make a register of 32 bits each. */
static ALWAYS_INLINE __m256i bf16_of_16(__m256i whole) {
    const __m256i even = _mm256_castps_si256(_mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(whole, 16), 16)));
    const __m256i odd = _mm256_castps_si256(_mm256_cvtepi32_ps(_mm256_srai_epi32(whole, 16)));
    return _mm256_blend_epi16(_mm256_srli_epi32(even, 16), odd, 0xaa);
}

static ALWAYS_INLINE void wholes_32(uint8_t *p, __m256i a, __m256i b, __m256i less) {
    const __m256i low = bf16_of_16(_mm256_sub_epi16(_mm256_unpacklo_epi8(a, b), less));
    const __m256i high = bf16_of_16(_mm256_sub_epi16(_mm256_unpackhi_epi8(a, b), less));
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_castsi256_si128(low));
    _mm_storeu_si128((__m128i *)(void *)(p + 16), _mm256_castsi256_si128(high));
    _mm_storeu_si128((__m128i *)(void *)(p + 32), _mm256_extracti128_si256(low, 1));
    _mm_storeu_si128((__m128i *)(void *)(p + 48), _mm256_extracti128_si256(high, 1));
}

static ALWAYS_INLINE void piece_wholes(uint8_t *p, piece a, piece b, int middle) {
    const __m256i less = _mm256_set1_epi16((short)middle);
    wholes_32(p, a.low, b.low, less);
    wholes_32(p + 64, a.high, b.high, less);
}

/* What the second 8 lanes of 16 add: the ones of the first 8. */
#define AFTER(n) {0, 0, 0, 0, 0, 0, 0, 0, n, n, n, n, n, n, n, n}
static const uint8_t PLACES_AFTER[9][16] ALIGNED(16) = {AFTER(0), AFTER(1), AFTER(2), AFTER(3), AFTER(4),
                                                        AFTER(5), AFTER(6), AFTER(7), AFTER(8)};

static ALWAYS_INLINE __m128i places_of(uint32_t mask) {
    const __m128i low = _mm_loadl_epi64((const __m128i *)(const void *)PLANES_PLACES[mask & 255]);
    const double *second = (const double *)(const void *)PLANES_PLACES[mask >> 8 & 255];
    const __m128i both = _mm_castpd_si128(_mm_loadh_pd(_mm_castsi128_pd(low), second));
    const uint8_t *after = PLACES_AFTER[__builtin_popcount(mask & 255)];
    return _mm_add_epi8(both, _mm_load_si128((const __m128i *)(const void *)after));
}

static ALWAYS_INLINE __m256i expand_32(piece_table table, __m256i codes, __m256i last, uint32_t live, const uint8_t **next) {
    const __m256i is_last = _mm256_cmpeq_epi8(codes, last);
    const uint32_t escapes = (uint32_t)_mm256_movemask_epi8(is_last) & live;
    const uint8_t *second = *next + __builtin_popcount(escapes & 0xffff);
    const __m256i more = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)*next)),
        _mm_loadu_si128((const __m128i *)(const void *)second), 1);
    const __m256i places = _mm256_inserti128_si256(_mm256_castsi128_si256(places_of(escapes)), places_of(escapes >> 16), 1);
    *next += __builtin_popcount(escapes);
    /* The table has 0 for escapes. */
    return _mm256_or_si256(_mm256_shuffle_epi8(table, codes), _mm256_shuffle_epi8(more, places));
}

static ALWAYS_INLINE piece piece_expand(piece_table table, piece unit, unsigned shift, uint8_t last, uint64_t live,
                                        const uint8_t **next) {
    const piece codes = piece_and(piece_down(unit, shift), last);
    const __m256i lasts = _mm256_set1_epi8((char)last);
    const __m256i low = expand_32(table, codes.low, lasts, (uint32_t)live, next);
    const __m256i high = expand_32(table, codes.high, lasts, (uint32_t)(live >> 32), next);
    return (piece){low, high};
}

#define PLANES_DECODE planes_decode_avx2
#include "codec/planes_level_priv.h"
