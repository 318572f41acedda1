/* SPDX-License-Identifier: Apache-2.0
 * The steps of decoding that compilers do not find vectors for: a table of 16 floats, eight-bit floating-point numbers, and
 * rows into panels. The instruction set is that of the file which is compiled. */
#ifndef CODEC_LOOKUP_PRIV_H
#define CODEC_LOOKUP_PRIV_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "base/floats.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* out[i] = in[i] >> shift & mask, 16 bytes. Spelled out, as compilers take loops this short apart, byte by byte. */
static inline void bits_16(const uint8_t *in, unsigned shift, uint8_t mask, uint8_t *out) {
#if defined(__SSE2__)
    const __m128i x = _mm_srl_epi16(_mm_loadu_si128((const __m128i *)(const void *)in), _mm_cvtsi32_si128((int)shift));
    _mm_storeu_si128((__m128i *)(void *)out, _mm_and_si128(x, _mm_set1_epi8((char)mask)));
#else
    for (unsigned i = 0; i < 16; i++) {
        out[i] = in[i] >> shift & mask;
    }
#endif
}

/* codes[i] |= (in[i] >> shift & mask) << left, 16 bytes */
static inline void add_bits_16(const uint8_t *in, unsigned shift, uint8_t mask, unsigned left, uint8_t *codes) {
#if defined(__SSE2__)
    const __m128i x = _mm_srl_epi16(_mm_loadu_si128((const __m128i *)(const void *)in), _mm_cvtsi32_si128((int)shift));
    const __m128i bits = _mm_sll_epi16(_mm_and_si128(x, _mm_set1_epi8((char)mask)), _mm_cvtsi32_si128((int)left));
    const __m128i before = _mm_loadu_si128((const __m128i *)(const void *)codes);
    _mm_storeu_si128((__m128i *)(void *)codes, _mm_or_si128(before, bits));
#else
    for (unsigned i = 0; i < 16; i++) {
        codes[i] = (uint8_t)(codes[i] | (in[i] >> shift & mask) << left);
    }
#endif
}

/* Sixteen bytes to 32 nibbles, the low one of each first. */
static inline void nibbles_in_turn(const uint8_t *in, uint8_t *out) {
#if defined(__SSE2__)
    const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)in);
    const __m128i mask = _mm_set1_epi8(15);
    const __m128i low = _mm_and_si128(x, mask);
    const __m128i high = _mm_and_si128(_mm_srli_epi16(x, 4), mask);
    _mm_storeu_si128((__m128i *)(void *)out, _mm_unpacklo_epi8(low, high));
    _mm_storeu_si128((__m128i *)(void *)(out + 16), _mm_unpackhi_epi8(low, high));
#else
    for (unsigned i = 0; i < 16; i++) {
        out[2 * i] = in[i] & 15;
        out[2 * i + 1] = in[i] >> 4;
    }
#endif
}

/* codes[i] |= 16 where bit i of the byte is set, eight of them. */
static inline void add_fifth_bits(uint8_t byte, uint8_t codes[8]) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t word;
    memcpy(&word, codes, sizeof(word));
    const uint64_t apart = byte * ones & UINT64_C(0x8040201008040201); /* bit i in byte i */
    word |= ((apart + 0x7f * ones) & 0x80 * ones) >> 3;
    memcpy(codes, &word, sizeof(word));
}

/* out[i] = values[codes[i] % 16]; n is a multiple of 16. */
static inline void lookup_16(const float values[16], const uint8_t *codes, size_t n, float *out) {
#if defined(__AVX512F__)
    const __m512 table = _mm512_loadu_ps(values);
    for (size_t i = 0; i < n; i += 16) {
        const __m512i index = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(codes + i)));
        _mm512_storeu_ps(out + i, _mm512_permutexvar_ps(index, table));
    }
#elif defined(__AVX2__)
    const __m256 low = _mm256_loadu_ps(values);
    const __m256 high = _mm256_loadu_ps(values + 8);
    for (size_t i = 0; i < n; i += 8) {
        const __m256i index = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(codes + i)));
        const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)); /* bit 3 to the sign */
        const __m256 first = _mm256_permutevar8x32_ps(low, index);
        _mm256_storeu_ps(out + i, _mm256_blendv_ps(first, _mm256_permutevar8x32_ps(high, index), upper));
    }
#else
    for (size_t i = 0; i < n; i++) {
        out[i] = values[codes[i] & 15];
    }
#endif
}

/* out[i] = codes[i] - zero, for 16 codes; loads are as wide as the stores before them, else they would wait. */
static inline void widen_16(const uint8_t *codes, int zero, float *out) {
#if defined(__AVX512F__)
    const __m512i wide = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)codes));
    _mm512_storeu_ps(out, _mm512_cvtepi32_ps(_mm512_sub_epi32(wide, _mm512_set1_epi32(zero))));
#elif defined(__AVX2__)
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)codes);
    const __m256i taken = _mm256_set1_epi32(zero);
    const __m256i low = _mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), taken);
    const __m256i high = _mm256_sub_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)), taken);
    _mm256_storeu_ps(out, _mm256_cvtepi32_ps(low));
    _mm256_storeu_ps(out + 8, _mm256_cvtepi32_ps(high));
#else
    for (unsigned i = 0; i < 16; i++) {
        out[i] = (float)((int)codes[i] - zero);
    }
#endif
}

enum fp8 { FP8_E4M3, FP8_E5M2 };

/* Eight bits of sign, exponent and `digits` of fraction, in which numbers from `special` on are not finite. Without branches;
 * numbers below the normal ones are small integers times a power of two (`least`), so that threads that flush denormal float32
 * numbers get them too. */
struct eight_bits {
    uint32_t digits, bias, special;
    float least;
};

static inline void widen_eight_bits(struct eight_bits form, const uint8_t *codes, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t b = codes[i];
        const uint32_t m = b & 0x7f;
        const float small = (float)(int32_t)m * form.least;
        uint32_t bits;
        memcpy(&bits, &small, sizeof(bits));
        bits = m >> form.digits == 0 ? bits : (m << (23 - form.digits)) + ((127 - form.bias) << 23);
        bits = m >= form.special ? UINT32_C(0x7f800000) | (m << (23 - form.digits) & 0x7fffff) : bits;
        bits |= (b & 0x80) << 24;
        memcpy(out + i, &bits, sizeof(bits));
    }
}

#if defined(__F16C__) && defined(__AVX2__)
/* Sixteen numbers as float16: e4m3 with the bias of float16 is 2^8 too small; 0x7f is made NaN. Those below the normal ones are
 * converted whether denormal numbers are flushed or not. */
static inline __m256i halves_of_e4m3(const uint8_t *codes) {
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)codes));
    const __m256i half = _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16((short)0xbf80));
    const __m256i size = _mm256_set1_epi16(0x3f80);
    const __m256i none = _mm256_cmpeq_epi16(_mm256_and_si256(half, size), size);
    return _mm256_or_si256(half, _mm256_and_si256(none, _mm256_set1_epi16(0x7c00)));
}

static inline __m256i halves_of_e5m2(const uint8_t *codes) {
    return _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)codes)), 8);
}

/* Sixteen numbers, times the sixteen of `second` after what float16 makes of them too small. */
static ALWAYS_INLINE void widen_fp8(enum fp8 kind, const uint8_t *codes, const float *second, float *out) {
    const __m256i half = kind == FP8_E4M3 ? halves_of_e4m3(codes) : halves_of_e5m2(codes);
    const float first = kind == FP8_E4M3 ? 256.0f : 1.0f;
#if defined(__AVX512F__)
    const __m512 once = _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(first));
    _mm512_storeu_ps(out, _mm512_mul_ps(once, _mm512_loadu_ps(second)));
#else
    const __m256 low = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(half)), _mm256_set1_ps(first));
    const __m256 high = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(half, 1)), _mm256_set1_ps(first));
    _mm256_storeu_ps(out, _mm256_mul_ps(low, _mm256_loadu_ps(second)));
    _mm256_storeu_ps(out + 8, _mm256_mul_ps(high, _mm256_loadu_ps(second + 8)));
#endif
}

static inline void sixteen_of(float value, float out[16]) {
    for (unsigned i = 0; i < 16; i++) {
        out[i] = value;
    }
}
#endif

/* Numbers times a scale. The kind is a constant wherever this is called. */
static ALWAYS_INLINE void scale_fp8(enum fp8 kind, const uint8_t *codes, float scale, size_t n, float *out) {
#if defined(__F16C__) && defined(__AVX2__)
    float scales[16];
    sixteen_of(scale, scales);
    for (; n >= 16; n -= 16, codes += 16, out += 16) {
        widen_fp8(kind, codes, scales, out);
    }
#endif
    static const struct eight_bits e4m3 = {3, 7, 0x7f, 0x1p-9f}, e5m2 = {2, 15, 0x7c, 0x1p-16f};
    widen_eight_bits(kind == FP8_E4M3 ? e4m3 : e5m2, codes, n, out);
    for (size_t i = 0; i < n; i++) {
        out[i] *= scale;
    }
}

enum { LOOKUP_ROWS = 16 };

#if defined(__F16C__) && defined(__AVX2__)
/* 8 x 8 words of 16 bits: word c of row r becomes word r of row c. */
static inline void turn_words(__m128i w[8]) {
    __m128i a[8], b[8];
    for (unsigned i = 0; i < 4; i++) { /* pairs of rows, then pairs of these, then pairs of those */
        a[2 * i] = _mm_unpacklo_epi16(w[2 * i], w[2 * i + 1]);
        a[2 * i + 1] = _mm_unpackhi_epi16(w[2 * i], w[2 * i + 1]);
    }
    for (unsigned i = 0; i < 2; i++) {
        b[4 * i] = _mm_unpacklo_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm_unpackhi_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm_unpacklo_epi32(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm_unpackhi_epi32(a[4 * i + 1], a[4 * i + 3]);
    }
    for (unsigned i = 0; i < 4; i++) {
        w[2 * i] = _mm_unpacklo_epi64(b[i], b[i + 4]);
        w[2 * i + 1] = _mm_unpackhi_epi64(b[i], b[i + 4]);
    }
}

/* Sixteen columns of codes of one byte, of 16 rows, in the order of a panel: pairs of columns, each of all rows. */
static inline void codes_to_panel(const uint8_t *const rows[LOOKUP_ROWS], size_t col, uint8_t out[16 * LOOKUP_ROWS]) {
    for (unsigned half = 0; half < 2; half++) {
        __m128i w[8];
        for (unsigned r = 0; r < 8; r++) {
            w[r] = _mm_loadu_si128((const __m128i *)(const void *)(rows[8 * half + r] + col));
        }
        turn_words(w);
        for (unsigned pair = 0; pair < 8; pair++) {
            _mm_storeu_si128((__m128i *)(void *)(out + (size_t)32 * pair + (size_t)16 * half), w[pair]);
        }
    }
}

/* Sixteen columns of FP8 of 16 rows to a panel; the scale of each row twice. */
static ALWAYS_INLINE void fp8_to_panel(enum fp8 kind, const uint8_t *const rows[LOOKUP_ROWS], size_t col,
                                       const float scales[2 * LOOKUP_ROWS], float *out) {
    uint8_t codes[16 * LOOKUP_ROWS];
    codes_to_panel(rows, col, codes);
    for (unsigned i = 0; i < sizeof(codes); i += 16) {
        widen_fp8(kind, codes + i, scales + i % (2 * LOOKUP_ROWS), out + i);
    }
}
#define LOOKUP_PANELS_OF_FP8 1
#else
#define LOOKUP_PANELS_OF_FP8 0
#endif

/* 16 rows, `stride` floats apart, into a panel: pairs of columns, each of all rows. cols is even. */
static inline void rows_to_panel(const float *rows, size_t stride, uint32_t cols, float *panel) {
    uint32_t c = 0;
#if defined(__AVX2__)
    /* A pair is eight bytes: four rows of four pairs are turned at a time. */
    for (; c + 8 <= cols; c += 8) {
        for (unsigned r = 0; r < LOOKUP_ROWS; r += 4) {
            const float *from = rows + r * stride + c;
            float *to = panel + (size_t)c * LOOKUP_ROWS + 2 * (size_t)r;
            const __m256d a = _mm256_castps_pd(_mm256_loadu_ps(from));
            const __m256d b = _mm256_castps_pd(_mm256_loadu_ps(from + stride));
            const __m256d d = _mm256_castps_pd(_mm256_loadu_ps(from + 2 * stride));
            const __m256d e = _mm256_castps_pd(_mm256_loadu_ps(from + 3 * stride));
            const __m256d ab0 = _mm256_unpacklo_pd(a, b), ab1 = _mm256_unpackhi_pd(a, b);
            const __m256d de0 = _mm256_unpacklo_pd(d, e), de1 = _mm256_unpackhi_pd(d, e);
            _mm256_storeu_ps(to, _mm256_castpd_ps(_mm256_permute2f128_pd(ab0, de0, 0x20)));
            _mm256_storeu_ps(to + 2 * LOOKUP_ROWS, _mm256_castpd_ps(_mm256_permute2f128_pd(ab1, de1, 0x20)));
            _mm256_storeu_ps(to + 4 * LOOKUP_ROWS, _mm256_castpd_ps(_mm256_permute2f128_pd(ab0, de0, 0x31)));
            _mm256_storeu_ps(to + 6 * LOOKUP_ROWS, _mm256_castpd_ps(_mm256_permute2f128_pd(ab1, de1, 0x31)));
        }
    }
#endif
    for (; c < cols; c += 2) {
        for (unsigned r = 0; r < LOOKUP_ROWS; r++) {
            memcpy(panel + (size_t)c * LOOKUP_ROWS + 2 * (size_t)r, rows + r * stride + c, 2 * sizeof(float));
        }
    }
}

#endif
