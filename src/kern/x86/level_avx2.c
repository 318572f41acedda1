/* SPDX-License-Identifier: Apache-2.0
 *
 * The AVX2 level (AVX2, FMA, F16C): what Intel has from Haswell on and AMD from Zen on.
 * The build gives this file its compiler flags; everything in it comes from the templates.
 */
#include "kern/x86/lanes_avx2_priv.h"

#include "kern/level_priv.h"
