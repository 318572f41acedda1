/* SPDX-License-Identifier: Apache-2.0
 *
 * The scalar kernels once more, in a unit where fmaf is an instruction instead of a library call (about forty times
 * faster, the same bits), so that whole models can be tested at the scalar level. No source of its own on purpose.
 */
#define REF_SUFFIX scalar_fma

#include "kern/ref/attention_ref.c"
#include "kern/ref/delta_ref.c"
#include "kern/ref/matmul_ref.c"
#include "kern/ref/shape_ref.c"
#include "kern/ref/table_ref.c"
#include "kern/ref/vector_ref.c"
