/* SPDX-License-Identifier: Apache-2.0
 *
 * The scalar level of the table: every entry filled, so that the levels above may leave any of them.
 */
#include "kern/kern_priv.h"
#include "kern/ref/ref_priv.h"

void REF_JOIN(kern_level, REF_SUFFIX)(struct kern_table *t) {
    *t = (struct kern_table){
        .isa = "scalar",
        .matmul = {[KERN_F32] = REF(matmul_f32), [KERN_F16] = REF(matmul_f16), [KERN_BF16] = REF(matmul_bf16)},
        .unpack_row = {[KERN_F32] = REF(unpack_row_f32),
                       [KERN_F16] = REF(unpack_row_f16),
                       [KERN_BF16] = REF(unpack_row_bf16)},
        .rmsnorm = REF(rmsnorm),
        .rope = REF(rope),
        .silu_mul = REF(silu_mul),
        .add = REF(add),
        .layernorm = REF(layernorm),
        .unit_norm = REF(unit_norm),
        .activate = REF(activate),
        .clamped_glu = REF(clamped_glu),
        .mul = REF(mul),
        .sigmoid_mul = REF(sigmoid_mul),
        .scale = REF(scale),
        .add_scaled = REF(add_scaled),
        .soft_cap = REF(soft_cap),
        .clamp = REF(clamp),
        .conv_step = REF(conv_step),
        .delta_step = REF(delta_step),
        .delta_decay = REF(delta_decay),
        .kv_store = REF(kv_store),
        .attention = REF(attention),
        .argmax = REF(argmax),
        .logsumexp = REF(logsumexp),
    };
}
