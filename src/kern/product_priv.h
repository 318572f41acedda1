/* SPDX-License-Identifier: Apache-2.0
 *
 * Template of the matrix product over panels (kern/ref/matmul_ref.c is the definition). Lanes are rows of a panel, so an
 * output element is one lane's fma chain over ascending k, and no tiling changes it: a chain may pause in y and go on.
 *
 * Few rows: weights go straight from the panel into registers, up to four panels side by side (a chain alone would wait
 * for its own latency; more than four streams a power of two apart would fight for cache sets). Software prefetch goes to
 * L2: into L1 it holds a line-fill buffer for the whole latency of memory, and 24 of those carry 16 GB/s, no more.
 * Many rows: a strip of TILE_PANELS panels x STRIP_COLS columns is widened once into a 16 KiB scratch that stays in L1;
 * tiles of up to TILE_ROWS rows run over it with all sums in registers.
 */
#ifndef KERN_PRODUCT_PRIV_H
#define KERN_PRODUCT_PRIV_H

#include "kern/wide_priv.h"

#ifdef VF_LEVEL

enum { STRIP_COLS = 256 / TILE_PANELS, PREFETCH_BYTES = 4096, PAIR = 2 * KERN_PANEL_ROWS };

static ALWAYS_INLINE size_t product_elem(enum kern_dtype t) {
    return t == KERN_F32 ? 4 : 2;
}

static ALWAYS_INLINE void product_pair(const unsigned char *p, vf *k0, vf *k1, enum kern_dtype t) {
    if (t == KERN_F32) {
        vf_pair_f32(p, k0, k1);
    } else if (t == KERN_F16) {
        vf_pair_f16(p, k0, k1);
    } else {
        vf_pair_bf16(p, k0, k1);
    }
}

static ALWAYS_INLINE void product_prefetch(const unsigned char *p, enum kern_dtype t) {
    __builtin_prefetch(p, 0, 2);
    if (t == KERN_F32) {
        __builtin_prefetch(p + 64, 0, 2);
    }
}

/* Panels first .. first + panels - 1 times all m->rows rows; panels, rows and t are constants of the caller. */
static ALWAYS_INLINE void product_fused(const struct kern_matmul *m, uint32_t first, const uint32_t panels,
                                        const uint32_t rows, enum kern_dtype t) {
    vf sum[KERN_BLOCK_PANELS][TILE_ROWS][V16_PARTS];
    const unsigned char *w = (const unsigned char *)m->w + first * m->panel_stride;
    UNROLL for (uint32_t p = 0; p < panels; p++) {
        UNROLL for (uint32_t r = 0; r < rows; r++) {
            const float *y = m->y + r * m->ldy + (size_t)(first + p) * LANES;
            EACH_PART { sum[p][r][i] = m->accumulate ? vf_load(y + i * VF_LANES) : vf_set1(0.0f); }
            vf_rows_to_lanes(sum[p][r], t == KERN_BF16);
        }
    }
    /* Near the end of the panels the prefetch moves on to the next block, which lies right behind in a tile. */
    const size_t step = PAIR * product_elem(t);
    const uint32_t ahead_cols = (uint32_t)(2 * PREFETCH_BYTES / step), turn = m->cols > ahead_cols ? m->cols - ahead_cols : 0;
    size_t ahead = PREFETCH_BYTES;
    for (uint32_t k = 0, end = turn; k < m->cols; end = m->cols) {
        for (; k < end; k += 2, w += step) {
            UNROLL for (uint32_t p = 0; p < panels; p++) {
                vf k0[V16_PARTS], k1[V16_PARTS];
                product_prefetch(w + p * m->panel_stride + ahead, t);
                product_pair(w + p * m->panel_stride, k0, k1, t);
                UNROLL for (uint32_t r = 0; r < rows; r++) {
                    const vf x0 = vf_set1(m->x[r * m->ldx + k]), x1 = vf_set1(m->x[r * m->ldx + k + 1]);
                    EACH_PART { sum[p][r][i] = vf_fma(k0[i], x0, sum[p][r][i]); }
                    EACH_PART { sum[p][r][i] = vf_fma(k1[i], x1, sum[p][r][i]); }
                }
            }
        }
        ahead = PREFETCH_BYTES + (size_t)panels * m->panel_stride - m->cols / 2 * step;
    }
    UNROLL for (uint32_t p = 0; p < panels; p++) {
        UNROLL for (uint32_t r = 0; r < rows; r++) {
            float *y = m->y + r * m->ldy + (size_t)(first + p) * LANES;
            vf_lanes_to_rows(sum[p][r], t == KERN_BF16);
            EACH_PART { vf_store(y + i * VF_LANES, sum[p][r][i]); }
        }
    }
}

static ALWAYS_INLINE void product_few(const struct kern_matmul *m, const uint32_t rows, enum kern_dtype t) {
    const uint32_t widest = FUSED_PANELS(rows);
    uint32_t p = 0;
    for (; p + widest <= m->panels; p += widest) {
        product_fused(m, p, widest, rows, t);
    }
    if (widest > 2 && p + 2 <= m->panels) {
        product_fused(m, p, 2, rows, t);
        p += 2;
    }
    if (widest > 1 && p < m->panels) {
        product_fused(m, p, 1, rows, t);
    }
}

/* A switch over the number of rows; CALL(n) is a call in which n is a constant. */
#define PRODUCT_CASE(n, CALL)                                                                                          \
    case n: CALL(n); break;
#if PRODUCT_TWELVE_ROWS
#define PRODUCT_MORE_CASES(CALL)                                                                                       \
    PRODUCT_CASE(7, CALL)                                                                                              \
    PRODUCT_CASE(8, CALL)                                                                                              \
    PRODUCT_CASE(9, CALL)                                                                                              \
    PRODUCT_CASE(10, CALL)                                                                                             \
    PRODUCT_CASE(11, CALL)                                                                                             \
    PRODUCT_CASE(12, CALL)
#else
#define PRODUCT_MORE_CASES(CALL)
#endif
#define PRODUCT_SWITCH(rows, CALL)                                                                                     \
    switch (rows) {                                                                                                    \
        PRODUCT_CASE(1, CALL)                                                                                          \
        PRODUCT_CASE(2, CALL)                                                                                          \
        PRODUCT_CASE(3, CALL)                                                                                          \
        PRODUCT_CASE(4, CALL)                                                                                          \
        PRODUCT_CASE(5, CALL)                                                                                          \
        PRODUCT_CASE(6, CALL)                                                                                          \
        PRODUCT_MORE_CASES(CALL)                                                                                       \
    default: break;                                                                                                    \
    }

/* One tile: `rows` (constant) rows times the panels of the scratch, which holds [column][panel][16]. */
struct product_tile {
    const float *scratch;
    const float *x;
    float *y;
    size_t ldx, ldy;
    uint32_t cols;
    uint32_t panels; /* how many of TILE_PANELS are stored */
    bool accumulate;
};

enum { TILE_PARTS = TILE_PANELS * V16_PARTS };

static ALWAYS_INLINE void product_tile_rows(const struct product_tile *t, const uint32_t rows) {
    vf sum[TILE_ROWS][TILE_PARTS];
    const uint32_t parts = t->panels * V16_PARTS;
    UNROLL for (uint32_t r = 0; r < rows; r++) {
        UNROLL for (uint32_t i = 0; i < TILE_PARTS; i++) {
            const bool carry = t->accumulate && i < parts;
            sum[r][i] = carry ? vf_load(t->y + r * t->ldy + i * VF_LANES) : vf_set1(0.0f);
        }
    }
    const float *w = t->scratch;
    for (uint32_t k = 0; k < t->cols; k++, w += TILE_PANELS * LANES) {
        vf a[TILE_PARTS];
        UNROLL for (uint32_t i = 0; i < TILE_PARTS; i++) { a[i] = vf_load(w + i * VF_LANES); }
        UNROLL for (uint32_t r = 0; r < rows; r++) {
            const vf x = vf_set1(t->x[r * t->ldx + k]);
            UNROLL for (uint32_t i = 0; i < TILE_PARTS; i++) { sum[r][i] = vf_fma(a[i], x, sum[r][i]); }
        }
    }
    UNROLL for (uint32_t r = 0; r < rows; r++) {
        UNROLL for (uint32_t i = 0; i < TILE_PARTS; i++) {
            if (i < parts) {
                vf_store(t->y + r * t->ldy + i * VF_LANES, sum[r][i]);
            }
        }
    }
}

static NO_INLINE void product_tile_any(const struct product_tile *t, uint32_t rows) {
#define TILE_CALL(n) product_tile_rows(t, n)
    PRODUCT_SWITCH(rows, TILE_CALL)
#undef TILE_CALL
}

/* Widens columns k .. k + cols - 1 of up to TILE_PANELS panels; a missing panel counts as zero. The strip after this one
 * is fetched at the same time, to arrive while the tiles compute. */
static ALWAYS_INLINE void product_widen(const struct kern_matmul *m, float *scratch, uint32_t first, uint32_t k,
                                        uint32_t cols, enum kern_dtype t) {
    const size_t strip = (size_t)cols * KERN_PANEL_ROWS * product_elem(t);
    const size_t ahead = k + cols < m->cols ? strip
                                            : TILE_PANELS * m->panel_stride -
                                                  (size_t)k * KERN_PANEL_ROWS * product_elem(t);
    for (uint32_t p = 0; p < TILE_PANELS; p++) {
        const unsigned char *w = (const unsigned char *)m->w + (first + p) * m->panel_stride +
                                 (size_t)k * KERN_PANEL_ROWS * product_elem(t);
        float *out = scratch + p * LANES;
        const bool present = first + p < m->panels;
        for (uint32_t c = 0; c < cols; c += 2, w += PAIR * product_elem(t), out += 2 * TILE_PANELS * LANES) {
            vf k0[V16_PARTS], k1[V16_PARTS];
            EACH_PART { k0[i] = k1[i] = vf_set1(0.0f); }
            if (present) {
                product_prefetch(w + ahead, t);
                product_pair(w, k0, k1, t);
                vf_lanes_to_rows(k0, t == KERN_BF16);
                vf_lanes_to_rows(k1, t == KERN_BF16);
            }
            EACH_PART { vf_store(out + i * VF_LANES, k0[i]); }
            EACH_PART { vf_store(out + TILE_PANELS * LANES + i * VF_LANES, k1[i]); }
        }
    }
}

static ALWAYS_INLINE void product_many(const struct kern_matmul *m, enum kern_dtype t) {
    float scratch[STRIP_COLS * TILE_PANELS * LANES] ALIGNED(64);
    const uint32_t tiles = (m->rows + TILE_ROWS - 1) / TILE_ROWS;
    for (uint32_t p = 0; p < m->panels; p += TILE_PANELS) {
        for (uint32_t k = 0; k < m->cols; k += STRIP_COLS) {
            const uint32_t cols = m->cols - k < STRIP_COLS ? m->cols - k : STRIP_COLS;
            product_widen(m, scratch, p, k, cols, t);
            for (uint32_t tile = 0; tile < tiles; tile++) {
                /* Even shares: 13 rows are 7 + 6, not 12 and a slow single one. */
                const uint32_t from = (uint32_t)((uint64_t)tile * m->rows / tiles);
                const uint32_t to = (uint32_t)((uint64_t)(tile + 1) * m->rows / tiles);
                const struct product_tile job = {
                    .scratch = scratch,
                    .x = m->x + from * m->ldx + k,
                    .y = m->y + from * m->ldy + (size_t)p * LANES,
                    .ldx = m->ldx,
                    .ldy = m->ldy,
                    .cols = cols,
                    .panels = m->panels - p < TILE_PANELS ? m->panels - p : TILE_PANELS,
                    .accumulate = m->accumulate || k != 0,
                };
                product_tile_any(&job, to - from);
            }
        }
    }
}

static ALWAYS_INLINE void product(const struct kern_matmul *m, enum kern_dtype t) {
#define FEW_CALL(n) product_few(m, n, t)
    if (m->rows <= TILE_ROWS) {
        PRODUCT_SWITCH(m->rows, FEW_CALL)
    } else {
        product_many(m, t);
    }
#undef FEW_CALL
}

#endif
#endif
