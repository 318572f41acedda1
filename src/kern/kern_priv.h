/* SPDX-License-Identifier: Apache-2.0
 *
 * The levels of the kernel table. Each function overwrites what its level has and leaves the rest; kern_table_init calls
 * them from the slowest up. A level may only be called into on a machine that has it.
 */
#ifndef KERN_KERN_PRIV_H
#define KERN_KERN_PRIV_H

#include "kern/kern.h"

/* The same values as enum sys_cpu_flag, which this room may not see; tests/unit/test_kern_table.c compares them. */
enum { KERN_CPU_AVX2 = 1 << 0, KERN_CPU_AVX512 = 1 << 1, KERN_CPU_NEON = 1 << 5 };

void kern_level_scalar(struct kern_table *t);
#if defined(__x86_64__)
void kern_level_scalar_fma(struct kern_table *t); /* the scalar sources, fmaf compiled to one instruction */
void kern_level_avx2(struct kern_table *t);
void kern_level_avx512(struct kern_table *t);
#elif defined(__aarch64__)
void kern_level_neon(struct kern_table *t);
#endif

#endif
