/* SPDX-License-Identifier: Apache-2.0
 *
 * What one thread of this machine can do at most: bytes read per second from a buffer far larger than the caches, and
 * fp32 multiply-adds per second from registers alone. The bench lines are ratios to these, taken in the same run.
 */
#include <string.h>
#include <time.h>

#include "kcheck.h"

uint64_t kc_thread_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

typedef uint64_t wide_int __attribute__((vector_size(64)));

/* Four streams of 8 KiB side by side, fetched 4 KiB ahead into L2: more than one long stream gives, for the hardware
 * prefetchers follow each of them. The compiler lowers the vectors to what the target has. */
#define READ_BODY                                                                                                      \
    enum { STREAMS = 4, STREAM = 8192, LINE = 64 };                                                                    \
    wide_int sum[STREAMS];                                                                                             \
    memset(sum, 0, sizeof sum);                                                                                        \
    for (size_t block = 0; block + STREAMS * STREAM <= bytes; block += STREAMS * STREAM) {                             \
        for (size_t at = 0; at < STREAM; at += LINE) {                                                                 \
            for (size_t i = 0; i < STREAMS; i++) {                                                                     \
                const unsigned char *line = p + block + i * STREAM + at;                                               \
                const size_t ahead = at < STREAM / 2 ? STREAM / 2 : STREAMS * STREAM - STREAM / 2;                     \
                wide_int v;                                                                                            \
                __builtin_prefetch(line + ahead, 0, 2);                                                                \
                memcpy(&v, line, LINE);                                                                                \
                sum[i] += v;                                                                                           \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    for (int i = 1; i < STREAMS; i++) {                                                                                \
        sum[0] += sum[i];                                                                                              \
    }                                                                                                                  \
    memcpy(out, &sum[0], LINE);

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void read_avx2(const unsigned char *p, size_t bytes, void *out) {
    READ_BODY
}
#endif

static void read_plain(const unsigned char *p, size_t bytes, void *out) {
    READ_BODY
}

double kc_read_gbs(const void *p, size_t bytes) {
    double best = 0;
    for (int i = 0; i < 2; i++) {
        unsigned char out[64];
        const uint64_t start = kc_thread_ns();
#if defined(__x86_64__)
        if (__builtin_cpu_supports("avx2")) {
            read_avx2(p, bytes, out);
        } else {
            read_plain(p, bytes, out);
        }
#else
        read_plain(p, bytes, out);
#endif
        __asm__ volatile("" : : "r"(out) : "memory");
        const double gbs = (double)bytes / (double)(kc_thread_ns() - start);
        best = gbs > best ? gbs : best;
    }
    return best;
}

/* Twelve independent chains of `type` (lanes floats each), inputs hidden from the optimiser. 24 would cover the longest
 * latency times width in use (4 x 2 = 8), so twelve do. */
#define FMA_ROUNDS 2000000
#define FMA_BODY(type, constraint, instruction)                                                                        \
    type c[12], a, b;                                                                                                  \
    memset(c, 0, sizeof c);                                                                                            \
    memset(&a, 0, sizeof a);                                                                                           \
    memset(&b, 0, sizeof b);                                                                                           \
    for (int k = 0; k < FMA_ROUNDS; k++) {                                                                             \
        __asm__ volatile(instruction(0) instruction(1) instruction(2) instruction(3) instruction(4) instruction(5)     \
                         instruction(6) instruction(7) instruction(8) instruction(9) instruction(10) instruction(11)   \
                         : "+" constraint(c[0]), "+" constraint(c[1]), "+" constraint(c[2]), "+" constraint(c[3]),     \
                           "+" constraint(c[4]), "+" constraint(c[5]), "+" constraint(c[6]), "+" constraint(c[7]),     \
                           "+" constraint(c[8]), "+" constraint(c[9]), "+" constraint(c[10]), "+" constraint(c[11])    \
                         : constraint(a), constraint(b));                                                              \
    }

#if defined(__x86_64__)
#define FMA_X86(n) "vfmadd231ps %12, %13, %" #n "\n\t"
typedef float f8 __attribute__((vector_size(32)));
typedef float f16 __attribute__((vector_size(64)));

__attribute__((target("avx2,fma"))) static void fma_256(void) {
    FMA_BODY(f8, "x", FMA_X86)
}

__attribute__((target("avx512f"))) static void fma_512(void) {
    FMA_BODY(f16, "v", FMA_X86)
}
#elif defined(__aarch64__)
#define FMA_ARM(n) "fmla %" #n ".4s, %12.4s, %13.4s\n\t"
typedef float f4 __attribute__((vector_size(16)));

static void fma_128(void) {
    FMA_BODY(f4, "w", FMA_ARM)
}
#endif

double kc_fma_gflops(uint32_t cpu_flags) {
    void (*run)(void) = NULL;
    double lanes = 0, best = 0;
#if defined(__x86_64__)
    run = cpu_flags & 2 ? fma_512 : cpu_flags & 1 ? fma_256 : NULL;
    lanes = cpu_flags & 2 ? 16 : 8;
#elif defined(__aarch64__)
    run = fma_128;
    lanes = 4;
#endif
    (void)cpu_flags;
    for (int i = 0; i < 5 && run; i++) {
        const uint64_t start = kc_thread_ns();
        run();
        const double rate = 2.0 * 12 * lanes * FMA_ROUNDS / (double)(kc_thread_ns() - start);
        best = rate > best ? rate : best;
    }
    return best;
}
