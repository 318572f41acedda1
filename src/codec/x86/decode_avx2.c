/* SPDX-License-Identifier: Apache-2.0
 * The AVX2 level. The build gives this file its compiler flags. */
#define CODING_LEVEL(name) name##_avx2
#define CODING_ISA "avx2"

#include "codec/decode_level_priv.h"
