/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of kcheck share: random data, buffers that end at an unreadable page, the comparison, the tally.
 */
#ifndef KCHECK_H
#define KCHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kern/kern.h"

/* One level under test beside the reference. */
struct kc {
    struct kern_table reference;
    struct kern_table table;
    const char *level;  /* name of the level under test, and of the denormal mode */
    uint64_t random;    /* generator state */
    uint64_t passed, failed;
};

uint64_t kc_random(struct kc *k);
uint32_t kc_below(struct kc *k, uint32_t n); /* 0 .. n - 1 */
float kc_uniform(struct kc *k);              /* -1 .. 1 */

/* What random numbers look like. SPECIAL mixes in zeros of both signs, denormals, huge and tiny values, infinities and
 * NaN; EXTREME does so without infinities and NaN. */
enum kc_kind { KC_PLAIN, KC_EXTREME, KC_SPECIAL };
float kc_value(struct kc *k, enum kc_kind kind);
void kc_fill(struct kc *k, float *x, size_t n, enum kc_kind kind);
/* n elements of dtype t; SPECIAL takes any bit pattern. */
void kc_fill_dtype(struct kc *k, void *x, size_t n, enum kern_dtype t, enum kc_kind kind);
uint16_t kc_half_of(float f); /* fp32 to fp16 by truncation, for test data only */

/* `bytes` bytes whose last one lies right before an unreadable page (and another lies in front of the first page). */
struct kc_buffer {
    void *p;
    size_t bytes;
    void *map;
    size_t map_bytes;
};
struct kc_buffer kc_alloc(size_t bytes);
/* For rates: as the store's buffers are, 2 MiB aligned and of huge pages where the system gives them. Nothing guards it. */
struct kc_buffer kc_alloc_huge(size_t bytes);
void kc_free(struct kc_buffer *b);

/* Counts one check: passed when all floats are bit-equal or both NaN. Prints the first difference. */
bool kc_same_floats(struct kc *k, const float *want, const float *got, size_t n, const char *what, ...)
    __attribute__((format(printf, 5, 6)));
bool kc_same_bytes(struct kc *k, const void *want, const void *got, size_t n, const char *what, ...)
    __attribute__((format(printf, 5, 6)));
bool kc_expect(struct kc *k, bool ok, const char *what, ...) __attribute__((format(printf, 3, 4)));

void kc_check_matmul(struct kc *k);
void kc_check_vector(struct kc *k);
void kc_check_attention(struct kc *k);
void kc_check_planes(struct kc *k, uint32_t cpu_flags); /* the best decoder for these flags */
void kc_check_codes(struct kc *k, uint32_t cpu_flags); /* packed tiles of coded matrices */
/* Damaged tiles for the best decoder and product; how many of them made sense. */
uint64_t kc_fuzz_planes(struct kc *k, uint32_t cpu_flags, uint64_t runs);
void kc_check_planes_product(struct kc *k, uint32_t cpu_flags); /* the best product, where there is one */

/* BF16, nearly normal, as weights are. */
uint16_t kc_weight(struct kc *k, float scale);
/* A whole number that a kind of planes with `raw` raw bits has, as BF16; look 0: any, else near zero. */
uint16_t kc_whole(struct kc *k, uint32_t raw, uint32_t look);

/* Processor time of this thread, so that other work on the machine does not count. */
uint64_t kc_thread_ns(void);
/* Measured limits of one thread of this machine: reading a buffer far beyond the caches, and fp32 fma from registers. */
double kc_read_gbs(const void *p, size_t bytes);
double kc_fma_gflops(uint32_t cpu_flags);
void kc_bench(const struct kern_table *t, uint32_t cpu_flags);
void kc_bench_planes(uint32_t cpu_flags); /* of every level in the flags */
void kc_bench_codes(uint32_t cpu_flags);

#endif
