/* SPDX-License-Identifier: Apache-2.0
 * Planes with AVX-512 (F, BW, DQ, VL) and VBMI2: a piece is a register, and vpexpandb puts escaped symbols in their places. It
 * expands from a register: the form that reads memory is slow on some processors. The build gives this file its compiler flags. */
#include <immintrin.h>

#include "codec/coding_priv.h"
#include "base/compiler.h"

typedef __m512i piece;
typedef __m512i piece_table;

static ALWAYS_INLINE piece piece_load(const uint8_t *p) {
    return _mm512_loadu_si512(p);
}

static ALWAYS_INLINE void piece_store(uint8_t *p, piece a) {
    _mm512_storeu_si512(p, a);
}

static ALWAYS_INLINE piece_table piece_table_load(const uint8_t *p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static ALWAYS_INLINE piece piece_up(piece a, unsigned bits) {
    return _mm512_slli_epi16(a, bits);
}

static ALWAYS_INLINE piece piece_down(piece a, unsigned bits) {
    return _mm512_srli_epi16(a, bits);
}

static ALWAYS_INLINE piece piece_and(piece a, uint8_t mask) {
    return _mm512_and_si512(a, _mm512_set1_epi8((char)mask));
}

static ALWAYS_INLINE piece piece_merge(uint8_t mask, piece a, piece b) {
    return _mm512_ternarylogic_epi64(_mm512_set1_epi8((char)mask), a, b, 0xca);
}

/* So that unpacking inside quarters keeps the order. */
static ALWAYS_INLINE piece piece_in_turns(piece a) {
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7), a);
}

static ALWAYS_INLINE void piece_pairs(uint8_t *p, piece a, piece b) {
    a = piece_in_turns(a);
    b = piece_in_turns(b);
    _mm512_storeu_si512(p, _mm512_unpacklo_epi8(a, b));
    _mm512_storeu_si512(p + 64, _mm512_unpackhi_epi8(a, b));
}

/* Whole numbers below 2^16 become floats without a conversion: written into the fraction of 2^23, from which 2^23 and `middle` are
 * taken, exactly. A pair is two of them in 32 bits. */
enum { FLOAT_2_23 = 0x4b000000 };

static ALWAYS_INLINE __m512 whole_even(__m512i pair, __m512 less) {
    const __m512i low = _mm512_set1_epi32(0xffff);
    const __m512i placed = _mm512_ternarylogic_epi32(pair, low, _mm512_set1_epi32(FLOAT_2_23), 0xea); /* pair & low | 2^23 */
    return _mm512_sub_ps(_mm512_castsi512_ps(placed), less);
}

static ALWAYS_INLINE __m512 whole_odd(__m512i pair, __m512 less) {
    const __m512i placed = _mm512_shrdi_epi32(pair, _mm512_set1_epi32(FLOAT_2_23 >> 16), 16);
    return _mm512_sub_ps(_mm512_castsi512_ps(placed), less);
}

static ALWAYS_INLINE __m512 whole_less(int middle) {
    return _mm512_set1_ps((float)((1 << 23) + middle));
}

/* The upper halves of both, side by side. */
static ALWAYS_INLINE __m512i bf16_pair(__m512 even, __m512 odd) {
    return _mm512_mask_mov_epi16(_mm512_srli_epi32(_mm512_castps_si512(even), 16), 0xaaaaaaaa, _mm512_castps_si512(odd));
}

static ALWAYS_INLINE void piece_wholes(uint8_t *p, piece low, piece high, int middle) {
    const __m512 less = whole_less(middle);
    low = piece_in_turns(low);
    high = piece_in_turns(high);
    const __m512i first = _mm512_unpacklo_epi8(low, high);
    const __m512i second = _mm512_unpackhi_epi8(low, high);
    _mm512_storeu_si512(p, bf16_pair(whole_even(first, less), whole_odd(first, less)));
    _mm512_storeu_si512(p + 64, bf16_pair(whole_even(second, less), whole_odd(second, less)));
}

static ALWAYS_INLINE piece piece_expand(piece_table table, piece unit, unsigned shift, uint8_t last, uint64_t live,
                                        const uint8_t **next) {
    const piece codes = piece_and(piece_down(unit, shift), last);
    const __mmask64 escapes = _mm512_cmpeq_epi8_mask(codes, _mm512_set1_epi8((char)last)) & live;
    piece more = piece_load(*next);
    __asm__("" : "+v"(more)); /* or compilers join loading and expanding */
    *next += __builtin_popcountll(escapes);
    return _mm512_mask_expand_epi8(_mm512_shuffle_epi8(table, codes), escapes, more);
}

#define PLANES_DECODE planes_decode_avx512
#include "codec/planes_level_priv.h"

typedef __m512 sums;

static ALWAYS_INLINE sums sums_load(const float *p) {
    return _mm512_loadu_ps(p);
}

static ALWAYS_INLINE void sums_store(float *p, sums a) {
    _mm512_storeu_ps(p, a);
}

static ALWAYS_INLINE sums sums_zero(void) {
    return _mm512_setzero_ps();
}

/* Two columns: rows of a panel in lanes, the even column in the low halves. */
static ALWAYS_INLINE sums add_pair(sums s, __m512i pair, const float *x) {
    const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
    const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000)));
    s = _mm512_fmadd_ps(even, _mm512_set1_ps(x[0]), s);
    return _mm512_fmadd_ps(odd, _mm512_set1_ps(x[1]), s);
}

static ALWAYS_INLINE sums add_whole_pair(sums s, __m512i pair, __m512 less, const float *x) {
    s = _mm512_fmadd_ps(whole_even(pair, less), _mm512_set1_ps(x[0]), s);
    return _mm512_fmadd_ps(whole_odd(pair, less), _mm512_set1_ps(x[1]), s);
}

static ALWAYS_INLINE sums sums_add_columns(sums s, piece low, piece high, const float *x) {
    low = piece_in_turns(low);
    high = piece_in_turns(high);
    s = add_pair(s, _mm512_unpacklo_epi8(low, high), x);
    return add_pair(s, _mm512_unpackhi_epi8(low, high), x + 2);
}

static ALWAYS_INLINE sums sums_add_wholes(sums s, piece low, piece high, int middle, const float *x) {
    const __m512 less = whole_less(middle);
    low = piece_in_turns(low);
    high = piece_in_turns(high);
    s = add_whole_pair(s, _mm512_unpacklo_epi8(low, high), less, x);
    return add_whole_pair(s, _mm512_unpackhi_epi8(low, high), less, x + 2);
}

#define PLANES_MULTIPLY planes_multiply_avx512
#include "codec/planes_product_priv.h"
