/* SPDX-License-Identifier: Apache-2.0
 *
 * Template of one level: the kernels of its lanes header as functions, and the table entries that point at them. Row
 * look-up stays scalar at every level: it reads one pair of elements from each cache line, so memory sets its pace.
 */
#ifndef KERN_LEVEL_PRIV_H
#define KERN_LEVEL_PRIV_H

#include "kern/attend_priv.h"
#include "kern/kern_priv.h"
#include "kern/product_priv.h"
#include "kern/wide_priv.h"

#ifdef VF_LEVEL

#define LEVEL_TEXT_(a) #a
#define LEVEL_TEXT(a) LEVEL_TEXT_(a)

static void LEVEL(matmul_f32)(const struct kern_matmul *m) {
    product(m, KERN_F32);
}

static void LEVEL(matmul_f16)(const struct kern_matmul *m) {
    product(m, KERN_F16);
}

static void LEVEL(matmul_bf16)(const struct kern_matmul *m) {
    product(m, KERN_BF16);
}

static void LEVEL(attention)(const struct kern_attention *a) {
    wide_attention(a);
}

void LEVEL_JOIN(kern_level, VF_LEVEL)(struct kern_table *t) {
    t->isa = LEVEL_TEXT(VF_LEVEL);
    t->matmul[KERN_F32] = LEVEL(matmul_f32);
    t->matmul[KERN_F16] = LEVEL(matmul_f16);
    t->matmul[KERN_BF16] = LEVEL(matmul_bf16);
    t->rmsnorm = wide_rmsnorm;
    t->rope = wide_rope;
    t->silu_mul = wide_silu_mul;
    t->add = wide_add;
    t->kv_store = wide_kv_store;
    t->attention = LEVEL(attention);
    t->argmax = wide_argmax;
    t->logsumexp = wide_logsumexp;
}

#endif
#endif
