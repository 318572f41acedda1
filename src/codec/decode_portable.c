/* SPDX-License-Identifier: Apache-2.0
 * The level of plain C, which compilers turn into whatever every machine of the architecture has. */
#define CODING_LEVEL(name) name##_portable
#define CODING_ISA "portable"

#include "codec/decode_level_priv.h"
