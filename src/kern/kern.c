/* SPDX-License-Identifier: Apache-2.0
 *
 * The data types of weights, the choice of kernels, and the packing of panels. This file knows which levels exist on
 * which architecture and nothing of how they work.
 */
#include "kern/kern.h"

#include <string.h>

#include "kern/kern_priv.h"

size_t kern_dtype_bytes(enum kern_dtype t) {
    return t == KERN_F32 ? 4 : 2;
}

const char *kern_dtype_name(enum kern_dtype t) {
    static const char *const names[KERN_DTYPES] = {[KERN_F32] = "F32", [KERN_F16] = "F16", [KERN_BF16] = "BF16"};
    return (unsigned)t < KERN_DTYPES ? names[t] : "?";
}

void kern_table_init(struct kern_table *t, uint32_t cpu_flags) {
    memset(t, 0, sizeof *t);
    kern_level_scalar(t);
#if defined(__x86_64__)
    /* Not a level of its own: the same scalar results, without a library call for each fmaf. */
    if (__builtin_cpu_supports("fma") && __builtin_cpu_supports("avx2")) {
        kern_level_scalar_fma(t);
    }
    if (cpu_flags & KERN_CPU_AVX2) {
        kern_level_avx2(t);
    }
    if (cpu_flags & KERN_CPU_AVX512) {
        kern_level_avx512(t);
    }
#elif defined(__aarch64__)
    if (cpu_flags & KERN_CPU_NEON) {
        kern_level_neon(t);
    }
#else
    (void)cpu_flags;
#endif
}

/* Columns are taken 32 at a time: source rows usually lie a power of two apart and would evict each other from the cache
 * if all 16 were read in step, pair by pair. */
enum { PACK_COLS = 32 };

void kern_pack_panel(void *dst, const void *src, size_t src_stride, uint32_t rows, uint32_t cols, uint32_t cols_padded,
                     enum kern_dtype t) {
    const size_t elem = kern_dtype_bytes(t), pair = 2 * elem;
    unsigned char strip[KERN_PANEL_ROWS][PACK_COLS * 4];
    memset(strip, 0, sizeof strip);
    for (uint32_t c = 0; c < cols_padded; c += PACK_COLS) {
        const uint32_t padded = cols_padded - c < PACK_COLS ? cols_padded - c : PACK_COLS;
        const uint32_t real = c >= cols ? 0 : cols - c < padded ? cols - c : padded;
        for (uint32_t r = 0; r < rows; r++) {
            memcpy(strip[r], (const unsigned char *)src + r * src_stride + c * elem, real * elem);
            memset(strip[r] + real * elem, 0, (padded - real) * elem);
        }
        unsigned char *out = (unsigned char *)dst + (size_t)c * KERN_PANEL_ROWS * elem;
        if (elem == 2) {
            for (uint32_t k = 0; k < padded / 2; k++) {
                for (uint32_t r = 0; r < KERN_PANEL_ROWS; r++) {
                    memcpy(out + (size_t)(k * KERN_PANEL_ROWS + r) * 4, strip[r] + k * 4u, 4);
                }
            }
        } else {
            for (uint32_t k = 0; k < padded / 2; k++) {
                for (uint32_t r = 0; r < KERN_PANEL_ROWS; r++) {
                    memcpy(out + (size_t)(k * KERN_PANEL_ROWS + r) * pair, strip[r] + k * 8u, 8);
                }
            }
        }
    }
}
