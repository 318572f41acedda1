/* SPDX-License-Identifier: Apache-2.0
 *
 * The AVX-512 level (F, BW, DQ, VL), vectors of 16 floats: a v16 is one register.
 * The build gives this file its compiler flags; everything in it comes from the templates.
 */
#include "kern/x86/lanes_avx512_priv.h"

#include "kern/level_priv.h"
