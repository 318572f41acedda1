/* SPDX-License-Identifier: Apache-2.0
 * The AVX-512 level (F, BW, DQ, VL). The build gives this file its compiler flags. */
#define CODING_LEVEL(name) name##_avx512
#define CODING_ISA "avx512"

#include "codec/decode_level_priv.h"
