/* SPDX-License-Identifier: Apache-2.0
 *
 * Random data, guarded buffers, comparison and tally of kcheck.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kcheck.h"
#include "sys/mem.h"

/* splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). */
uint64_t kc_random(struct kc *k) {
    uint64_t z = k->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint32_t kc_below(struct kc *k, uint32_t n) {
    return (uint32_t)((kc_random(k) >> 32) * n >> 32);
}

float kc_uniform(struct kc *k) {
    return (float)((double)(int64_t)kc_random(k) * 0x1p-63);
}

float kc_value(struct kc *k, enum kc_kind kind) {
    static const float special[] = {0.0f,    -0.0f,    0x1p-149f, -0x1.8p-130f, 0x1p-126f, 0x1.fffffep+127f,
                                    -3e38f,  1e-30f,   65504.0f,  65520.0f,     0x1p-24f,  -0x1p-25f,
                                    0x1.8p-25f, 88.8f, -103.9f,   -1e4f,        NAN,       INFINITY,
                                    -INFINITY};
    enum { TO_EXTREME = 16, OFTEN = 16 };
    if (kind == KC_PLAIN || kc_below(k, OFTEN)) {
        return kc_uniform(k) * 2.0f;
    }
    return special[kc_below(k, kind == KC_SPECIAL ? ARRAY_LEN(special) : TO_EXTREME)];
}

void kc_fill(struct kc *k, float *x, size_t n, enum kc_kind kind) {
    for (size_t i = 0; i < n; i++) {
        x[i] = kc_value(k, kind);
    }
}

uint16_t kc_half_of(float f) {
    uint32_t b;
    memcpy(&b, &f, sizeof b);
    const int exponent = (int)(b >> 23 & 255) - 112;
    const uint32_t sign = b >> 16 & 0x8000;
    if (exponent <= 0) {
        return (uint16_t)sign;
    }
    return (uint16_t)(sign | (exponent > 30 ? 0x7bff : (uint32_t)exponent << 10 | (b >> 13 & 0x3ff)));
}

void kc_fill_dtype(struct kc *k, void *x, size_t n, enum kern_dtype t, enum kc_kind kind) {
    if (t == KERN_F32) {
        for (size_t i = 0; i < n; i++) {
            const float f = kc_value(k, kind);
            memcpy((unsigned char *)x + 4 * i, &f, 4);
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const float f = kc_uniform(k);
        uint32_t b;
        memcpy(&b, &f, sizeof b);
        uint16_t h = t == KERN_F16 ? kc_half_of(f) : (uint16_t)(b >> 16);
        if (kind != KC_PLAIN && kc_below(k, 8) == 0) {
            h = (uint16_t)kc_random(k);
            const uint16_t infinite = t == KERN_F16 ? 0x7c00 : 0x7f80;
            if (kind == KC_EXTREME && (h & infinite) == infinite) {
                h ^= 0x4000;
            }
        }
        memcpy((unsigned char *)x + 2 * i, &h, 2);
    }
}

struct kc_buffer kc_alloc(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (bytes + page - 1) / page * page;
    struct kc_buffer b = {.bytes = bytes, .map_bytes = body + 2 * page};
    b.map = mmap(NULL, b.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b.map == MAP_FAILED || mprotect((char *)b.map + page, body, PROT_READ | PROT_WRITE) != 0) {
        perror("kcheck: mmap");
        exit(1);
    }
    b.p = (char *)b.map + page + body - bytes;
    return b;
}

struct kc_buffer kc_alloc_huge(size_t bytes) {
    struct kc_buffer b = {.bytes = bytes, .map_bytes = (bytes + SYS_HUGE_PAGE - 1) / SYS_HUGE_PAGE * SYS_HUGE_PAGE};
    struct lamina_error err = {0};
    if (sys_mem_map(&b.map, b.map_bytes, &err) != LAMINA_OK) {
        fprintf(stderr, "kcheck: %s\n", err.message);
        exit(1);
    }
    b.p = b.map;
    return b;
}

void kc_free(struct kc_buffer *b) {
    munmap(b->map, b->map_bytes);
    memset(b, 0, sizeof *b);
}

__attribute__((format(printf, 2, 0)))
static void report(struct kc *k, const char *what, va_list args, const char *difference) {
    k->failed++;
    if (k->failed > 40) {
        return;
    }
    printf("FAIL %s: ", k->level);
    vprintf(what, args);
    printf(": %s\n", difference);
}

bool kc_same_floats(struct kc *k, const float *want, const float *got, size_t n, const char *what, ...) {
    for (size_t i = 0; i < n; i++) {
        uint32_t a, b;
        memcpy(&a, want + i, 4);
        memcpy(&b, got + i, 4);
        /* Which NaN comes out is the processor's choice: sign and payload differ between x86 and ARM. */
        const bool both_nan = (a & 0x7fffffff) > 0x7f800000 && (b & 0x7fffffff) > 0x7f800000;
        if (a != b && !both_nan) {
            char text[128];
            snprintf(text, sizeof text, "element %zu of %zu: want %a (%08x), got %a (%08x)", i, n, (double)want[i], a,
                     (double)got[i], b);
            va_list args;
            va_start(args, what);
            report(k, what, args, text);
            va_end(args);
            return false;
        }
    }
    k->passed++;
    return true;
}

bool kc_same_bytes(struct kc *k, const void *want, const void *got, size_t n, const char *what, ...) {
    if (memcmp(want, got, n) == 0) {
        k->passed++;
        return true;
    }
    size_t i = 0;
    while (((const unsigned char *)want)[i] == ((const unsigned char *)got)[i]) {
        i++;
    }
    char text[128];
    snprintf(text, sizeof text, "byte %zu of %zu: want %02x, got %02x", i, n, ((const unsigned char *)want)[i],
             ((const unsigned char *)got)[i]);
    va_list args;
    va_start(args, what);
    report(k, what, args, text);
    va_end(args);
    return false;
}

bool kc_expect(struct kc *k, bool ok, const char *what, ...) {
    if (ok) {
        k->passed++;
        return true;
    }
    va_list args;
    va_start(args, what);
    report(k, what, args, "not so");
    va_end(args);
    return false;
}
