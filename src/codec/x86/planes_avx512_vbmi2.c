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

static ALWAYS_INLINE void piece_pairs(uint8_t *p, piece a, piece b) {
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7); /* so that unpacking inside quarters keeps the order */
    a = _mm512_permutexvar_epi64(order, a);
    b = _mm512_permutexvar_epi64(order, b);
    _mm512_storeu_si512(p, _mm512_unpacklo_epi8(a, b));
    _mm512_storeu_si512(p + 64, _mm512_unpackhi_epi8(a, b));
}

static ALWAYS_INLINE piece piece_expand(piece_table table, piece codes, uint8_t last, uint64_t live, const uint8_t **next) {
    const __mmask64 escapes = _mm512_cmpeq_epi8_mask(codes, _mm512_set1_epi8((char)last)) & live;
    const piece more = piece_load(*next);
    *next += __builtin_popcountll(escapes);
    return _mm512_mask_expand_epi8(_mm512_shuffle_epi8(table, codes), escapes, more);
}

#define PLANES_DECODE planes_decode_avx512
#include "codec/planes_level_priv.h"
