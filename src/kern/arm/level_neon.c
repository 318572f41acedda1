/* SPDX-License-Identifier: Apache-2.0
 *
 * The NEON level: every AArch64 processor has it; it needs no flag of the compiler.
 * The build gives this file its compiler flags; everything in it comes from the templates.
 */
#include "kern/arm/lanes_neon_priv.h"

#include "kern/level_priv.h"
