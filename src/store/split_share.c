/* SPDX-License-Identifier: Apache-2.0
 * How the bits of a rate are shared among the matrices of a layer, without looking at data. Errors of outputs add up in squares,
 * and a bit more quarters an error; so what is used more deserves more bits, log2 of the square root of how often. Measured in
 * docs/SPEED.md.
 */
#include <math.h>

#include "store/store_priv.h"

/* Keys and values of grouped queries serve several heads each. Beyond four the rate of such small matrices hardly counts, and steps
 * stay within the range of the coder. What an MLP gives goes straight into the sum of all layers, from inputs of long tails. */
static const double MOST_SERVED = 4.0, DOWN = 0.25;

double split_finer(const struct model_desc *desc, uint32_t role, int32_t layer) {
    const struct model_kind *k = model_kind_of(desc, (uint32_t)layer);
    const double served = k->kv_heads != 0 ? (double)k->heads / k->kv_heads : 1.0;
    switch ((enum model_role)role) {
    case MODEL_K:
    case MODEL_V:
        return k->mixer != MODEL_ATTENTION || served <= 1.0 ? 0.0 : 0.5 * log2(served < MOST_SERVED ? served : MOST_SERVED);
    case MODEL_DOWN:
    case MODEL_SHARED_DOWN:
    case MODEL_EXPERT_DOWN:
        return DOWN;
    default:
        return 0.0;
    }
}
