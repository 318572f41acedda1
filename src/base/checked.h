/* SPDX-License-Identifier: Apache-2.0
 * Size arithmetic that reports overflow instead of wrapping. Every size that comes from a file goes through here.
 * Each function returns true when the exact result does not fit and then leaves *out untouched or meaningless. */
#ifndef BASE_CHECKED_H
#define BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *out) {
    return __builtin_add_overflow(a, b, out);
}

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *out) {
    return __builtin_mul_overflow(a, b, out);
}

/* Rounds up to a multiple of `align`, a power of two. */
static inline bool checked_round_up(uint64_t value, uint64_t align, uint64_t *out) {
    uint64_t sum = 0;
    if (checked_add(value, align - 1, &sum)) {
        return true;
    }
    *out = sum & ~(align - 1);
    return false;
}

/* For values already known to be small: rounds up to a multiple of `align`, a power of two. */
static inline uint64_t round_up(uint64_t value, uint64_t align) {
    return (value + align - 1) & ~(align - 1);
}

static inline uint64_t div_up(uint64_t value, uint64_t by) {
    return value / by + (value % by != 0);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

#endif
