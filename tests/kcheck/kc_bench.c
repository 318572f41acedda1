/* SPDX-License-Identifier: Apache-2.0
 *
 * Rates of every kernel of one level, one thread, best of several runs, beside the limits of the machine measured in
 * between. Products walk blocks of 4 panels x 256 columns as the executor does; one row streams a matrix far larger than
 * the caches, many rows work on one of 1 MiB.
 */
#include <stdio.h>
#include <string.h>

#include "kcheck.h"

enum { COLS = 4096, BIG_BYTES = 256 << 20, SMALL_BYTES = 1 << 20, RUNS = 7, MAX_ROWS = 512, LDX = COLS + 16 };

struct limits {
    double read_gbs, fma_gflops;
};

/* y += W x over a matrix of `bytes` bytes in blocks; returns seconds. */
static double time_product(const struct kern_table *t, enum kern_dtype d, uint32_t rows, size_t bytes,
                           const struct kc_buffer *b) {
    const size_t elem = kern_dtype_bytes(d), panel = KERN_BLOCK_COLS * KERN_PANEL_ROWS * elem;
    const size_t block = panel * KERN_BLOCK_PANELS;
    const unsigned char *w = b[0].p;
    const uint64_t start = kc_thread_ns();
    for (size_t at = 0; at + block * (COLS / KERN_BLOCK_COLS) <= bytes; at += block * (COLS / KERN_BLOCK_COLS)) {
        for (uint32_t c = 0; c < COLS / KERN_BLOCK_COLS; c++) {
            const struct kern_matmul m = {
                .w = w + at + c * block, .panel_stride = panel, .x = (const float *)b[1].p + c * KERN_BLOCK_COLS,
                .ldx = LDX, .y = b[2].p, .ldy = 80, .rows = rows, .panels = KERN_BLOCK_PANELS, .cols = KERN_BLOCK_COLS,
                .accumulate = c != 0,
            };
            t->matmul[d](&m);
        }
    }
    return (double)(kc_thread_ns() - start) * 1e-9;
}

static void bench_products(const struct kern_table *t, struct limits *l, const struct kc_buffer *b) {
    static const uint32_t rows[] = {1, 2, 4, 8, 12, 24, 64, 512};
    const bool slow = strcmp(t->isa, "scalar") == 0;
    for (int d = 0; d < KERN_DTYPES; d++) {
        for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
            const size_t bytes = rows[r] <= 8 ? (slow ? BIG_BYTES / 8 : BIG_BYTES) : SMALL_BYTES;
            double best = 1e9;
            for (int i = 0; i < (slow ? 2 : RUNS); i++) {
                if (bytes == BIG_BYTES) { /* other work on the machine comes and goes: take the limit again, in turn */
                    const double read = kc_read_gbs(b[0].p, BIG_BYTES);
                    l->read_gbs = read > l->read_gbs ? read : l->read_gbs;
                }
                const double s = time_product(t, (enum kern_dtype)d, rows[r], bytes, b);
                best = s < best ? s : best;
            }
            const double gbs = (double)bytes / best * 1e-9;
            const double gflops = gbs / (double)kern_dtype_bytes((enum kern_dtype)d) * 2 * rows[r];
            printf("%-7s matmul %-4s %4u rows %8.2f GB/s (%3.0f%% of read) %8.2f GFLOP/s (%3.0f%% of fma peak)\n", t->isa,
                   kern_dtype_name((enum kern_dtype)d), rows[r], gbs, 100 * gbs / l->read_gbs, gflops,
                   l->fma_gflops > 0 ? 100 * gflops / l->fma_gflops : 0.0);
            fflush(stdout);
        }
    }
}

static void bench_attention(const struct kern_table *t, const struct limits *l, const struct kc_buffer *b, uint32_t heads) {
    enum { DIM = 128, COUNT = 32768, BLOCKS = COUNT / KERN_KV_BLOCK };
    static const void *k[BLOCKS], *v[BLOCKS];
    const size_t page = kern_kv_k_bytes(DIM, 2);
    for (size_t i = 0; i < BLOCKS; i++) {
        k[i] = (const char *)b[0].p + 2 * i * page;
        v[i] = (const char *)k[i] + page;
    }
    const struct kern_attention a = {.q = b[1].p, .out = b[2].p, .q_stride = DIM, .out_stride = DIM, .heads = heads, .head_dim = DIM, .v_dim = DIM, .k = k,
                                     .v = v, .kv_dtype = KERN_F16, .count = COUNT, .scale = 0.088f};
    double best = 1e9;
    for (int i = 0; i < RUNS; i++) {
        const uint64_t start = kc_thread_ns();
        t->attention(&a);
        const double s = (double)(kc_thread_ns() - start) * 1e-9;
        best = s < best ? s : best;
    }
    const double gbs = 2.0 * BLOCKS * (double)page / best * 1e-9;
    printf("%-7s attention F16 %2u heads, 32768 positions %8.2f GB/s of KV (%3.0f%% of read) %8.2f GFLOP/s\n", t->isa, heads,
           gbs, 100 * gbs / l->read_gbs, 4.0 * DIM * COUNT * heads / best * 1e-9);
}

/* Vector kernels on 8192 floats in cache. */
static void bench_vectors(const struct kern_table *t, const struct kc_buffer *b) {
    enum { N = 8192, CALLS = 200 };
    float *x = b[1].p, *y = b[2].p;
    const float *w = (const float *)b[1].p + N;
    static const char *const names[] = {"rmsnorm", "silu_mul", "add", "argmax", "logsumexp", "rope"};
    for (size_t kernel = 0; kernel < ARRAY_LEN(names); kernel++) {
        double best = 1e9;
        for (int i = 0; i < RUNS; i++) {
            const uint64_t start = kc_thread_ns();
            for (int c = 0; c < CALLS; c++) {
                bool finite;
                switch (kernel) {
                case 0: t->rmsnorm(y, x, w, N, 1e-5f); break;
                case 1: t->silu_mul(y, x, w, N); break;
                case 2: t->add(y, w, N); break;
                case 3: y[0] = (float)t->argmax(x, N, &finite); break;
                case 4: y[0] = t->logsumexp(x, N); break;
                default: t->rope(y, w, w + 64, N / 128, 128, 128); break;
                }
            }
            const double s = (double)(kc_thread_ns() - start) * 1e-9;
            best = s < best ? s : best;
        }
        printf("%-7s %-9s %8.2f Gelem/s\n", t->isa, names[kernel], (double)N * CALLS / best * 1e-9);
    }
}

void kc_bench(const struct kern_table *t, uint32_t cpu_flags) {
    struct kc k = {.random = 1};
    struct kc_buffer b[] = {kc_alloc_huge(BIG_BYTES), kc_alloc((size_t)MAX_ROWS * LDX * sizeof(float)),
                            kc_alloc((size_t)MAX_ROWS * 80 * sizeof(float))};
    /* The same bits are sane weights in every type: 0x3cxx is about 1 in fp16, 0.01 in bf16, and 0x3cxx3cxx in fp32. */
    uint16_t *w = b[0].p;
    for (size_t i = 0; i < BIG_BYTES / 2; i++) {
        w[i] = (uint16_t)(0x3c00 | (i * 2654435761u >> 13 & 0x80ff));
    }
    kc_fill(&k, b[1].p, b[1].bytes / sizeof(float), KC_PLAIN);
    memset(b[2].p, 0, b[2].bytes);
    struct limits l = {kc_read_gbs(b[0].p, BIG_BYTES), kc_fma_gflops(cpu_flags)};
    printf("%-7s limits of one thread: read %.2f GB/s, fp32 fma %.2f GFLOP/s\n", t->isa, l.read_gbs, l.fma_gflops);
    bench_products(t, &l, b);
    bench_attention(t, &l, b, 1);
    bench_attention(t, &l, b, 4);
    bench_attention(t, &l, b, 8);
    bench_vectors(t, b);
    for (size_t i = 0; i < ARRAY_LEN(b); i++) {
        kc_free(&b[i]);
    }
}
