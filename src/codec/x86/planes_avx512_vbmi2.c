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

static ALWAYS_INLINE __m512 whole_even(__m512i pair) {
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(pair, 16), 16));
}

static ALWAYS_INLINE __m512 whole_odd(__m512i pair) {
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(pair, 16));
}

/* The upper halves of both, side by side. */
static ALWAYS_INLINE __m512i bf16_pair(__m512 even, __m512 odd) {
    return _mm512_mask_mov_epi16(_mm512_srli_epi32(_mm512_castps_si512(even), 16), 0xaaaaaaaa, _mm512_castps_si512(odd));
}

static ALWAYS_INLINE void piece_wholes(uint8_t *p, piece low, piece high, int middle) {
    const __m512i less = _mm512_set1_epi16((short)middle);
    low = piece_in_turns(low);
    high = piece_in_turns(high);
    const __m512i first = _mm512_sub_epi16(_mm512_unpacklo_epi8(low, high), less);
    const __m512i second = _mm512_sub_epi16(_mm512_unpackhi_epi8(low, high), less);
    _mm512_storeu_si512(p, bf16_pair(whole_even(first), whole_odd(first)));
    _mm512_storeu_si512(p + 64, bf16_pair(whole_even(second), whole_odd(second)));
}

static ALWAYS_INLINE piece piece_expand(piece_table table, piece codes, uint8_t last, uint64_t live, const uint8_t **next) {
    const __mmask64 escapes = _mm512_cmpeq_epi8_mask(codes, _mm512_set1_epi8((char)last)) & live;
    const piece more = piece_load(*next);
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

/* Cut to BF16, as decoded ones are: only a damaged tile has numbers that BF16 has not. */
static ALWAYS_INLINE __m512 cut_to_bf16(__m512 whole) {
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(whole), _mm512_set1_epi32((int)0xffff0000)));
}

static ALWAYS_INLINE sums add_whole_pair(sums s, __m512i pair, const float *x) {
    s = _mm512_fmadd_ps(cut_to_bf16(whole_even(pair)), _mm512_set1_ps(x[0]), s);
    return _mm512_fmadd_ps(cut_to_bf16(whole_odd(pair)), _mm512_set1_ps(x[1]), s);
}

static ALWAYS_INLINE sums sums_add_columns(sums s, piece low, piece high, const float *x) {
    low = piece_in_turns(low);
    high = piece_in_turns(high);
    s = add_pair(s, _mm512_unpacklo_epi8(low, high), x);
    return add_pair(s, _mm512_unpackhi_epi8(low, high), x + 2);
}

static ALWAYS_INLINE sums sums_add_wholes(sums s, piece low, piece high, int middle, const float *x) {
    const __m512i less = _mm512_set1_epi16((short)middle);
    low = piece_in_turns(low);
    high = piece_in_turns(high);
    s = add_whole_pair(s, _mm512_sub_epi16(_mm512_unpacklo_epi8(low, high), less), x);
    return add_whole_pair(s, _mm512_sub_epi16(_mm512_unpackhi_epi8(low, high), less), x + 2);
}

#define PLANES_MULTIPLY planes_multiply_avx512
#include "codec/planes_product_priv.h"
