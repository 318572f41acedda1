/* SPDX-License-Identifier: Apache-2.0
 * Numbers for tests of codecs: the same in every run. */
#ifndef TESTS_RANDOM_WEIGHTS_H
#define TESTS_RANDOM_WEIGHTS_H

#include <math.h>
#include <stdint.h>

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint32_t draw(void) {
    random_state ^= random_state >> 12; /* xorshift64*, Vigna 2016 */
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)(random_state * 0x2545f4914f6cdd1d >> 32);
}

static double draw_normal(void) {
    const double u = ((double)draw() + 1.0) / 4294967297.0;
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * (double)draw() / 4294967296.0);
}

#endif
