/* SPDX-License-Identifier: Apache-2.0
 * What the processor can do. Flags name bundles, as dav1d does, so that one flag is one kernel file. */
#ifndef SYS_CPU_H
#define SYS_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sys_cpu_flag {
    SYS_CPU_AVX2 = 1 << 0,        /* AVX2 + FMA + F16C, and the OS saves YMM */
    SYS_CPU_AVX512 = 1 << 1,      /* F + BW + DQ + VL, and the OS saves ZMM */
    SYS_CPU_AVX512_VBMI2 = 1 << 2,
    SYS_CPU_AVX512_BF16 = 1 << 3,
    SYS_CPU_AMX_BF16 = 1 << 4,    /* tile state permitted by the OS */
    SYS_CPU_NEON = 1 << 5,
    SYS_CPU_NEON_BF16 = 1 << 6,
};

uint32_t sys_cpu_flags(void);
/* The names of the flags set, "avx2 avx512 avx512_bf16". */
void sys_cpu_flags_text(uint32_t flags, char *out, size_t len);
/* Parses the most capable level allowed ("scalar", "avx2", "avx512", "neon") into a mask; false when unknown. */
bool sys_cpu_mask_of_level(const char *level, uint32_t *mask);
void sys_cpu_name(char *out, size_t len);
uint32_t sys_cpu_physical_cores(void); /* of those this process may run on; at least 1 */
uint32_t sys_cpu_threads(void);        /* logical processors this process may run on */
/* Flush denormals to zero on inputs and outputs in the calling thread (FTZ and DAZ, or FPCR.FZ): results are defined under
 * it. Returns the control word from before, for a thread that belongs to somebody else and gets it back afterwards. */
uint64_t sys_cpu_flush_denormals(void);
void sys_cpu_restore_float_control(uint64_t before);

#endif
