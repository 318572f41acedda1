/* SPDX-License-Identifier: Apache-2.0
 *
 * kcheck: compares every kernel at every instruction set level of this machine with the scalar reference, bit for bit,
 * on random shapes and data with unreadable pages behind every buffer; --bench measures the same kernels; --damage N gives the
 * decoders of planes N damaged tiles each, and does nothing else.
 *
 *   kcheck [--seed N] [--cpumask LEVEL] [--bench | --damage N]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kcheck.h"
#include "kern/kern_priv.h"
#include "sys/cpu.h"

struct options {
    uint64_t seed;
    uint32_t mask;
    bool bench;
    uint64_t damage; /* tiles for each level, 0: all the other checks */
};

enum { DAMAGED = 20000 }; /* tiles among the other checks */

static int usage(const char *why, const char *arg) {
    fprintf(stderr, "kcheck: %s '%s'\nusage: kcheck [--seed N] [--cpumask scalar|avx2|avx512|neon] [--bench | --damage N]\n", why, arg);
    return 2;
}

static bool number(const char *text, uint64_t *n) {
    char *end;
    errno = 0;
    *n = strtoull(text, &end, 0);
    return end != text && *end == 0 && errno == 0;
}

static int parse(struct options *o, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--bench") == 0) {
            o->bench = true;
        } else if (strcmp(argv[i], "--seed") == 0) {
            if (!number(value, &o->seed)) {
                return usage("--seed wants a number, not", value);
            }
            i++;
        } else if (strcmp(argv[i], "--damage") == 0) {
            if (!number(value, &o->damage) || o->damage == 0) {
                return usage("--damage wants a number of tiles, not", value);
            }
            i++;
        } else if (strcmp(argv[i], "--cpumask") == 0) {
            if (!sys_cpu_mask_of_level(value, &o->mask)) {
                return usage("unknown level", value);
            }
            i++;
        } else {
            return usage("unknown option", argv[i]);
        }
    }
    return 0;
}

/* All checks for one table. Kernels must agree with denormals flushed, as our threads run, and also without. */
static void check_level(struct kc *k, const char *name, uint32_t cpu_flags, uint64_t damage) {
    const uint64_t passed = k->passed, failed = k->failed;
    k->level = name;
    if (damage == 0) {
        kc_check_matmul(k);
        kc_check_vector(k);
        kc_check_attention(k);
        kc_check_planes(k, cpu_flags);
        kc_check_planes_product(k, cpu_flags);
        kc_check_codes(k, cpu_flags);
    }
    const uint64_t decoded = kc_fuzz_planes(k, cpu_flags, damage != 0 ? damage : DAMAGED);
    if (damage != 0) {
        printf("%-22s %llu of %llu damaged tiles made sense\n", name, (unsigned long long)decoded, (unsigned long long)damage);
    }
    printf("%-22s %8llu passed %4llu failed\n", name, (unsigned long long)(k->passed - passed),
           (unsigned long long)(k->failed - failed));
    fflush(stdout);
}

static void check_levels(struct kc *k, uint32_t flags, bool flushed, uint64_t damage) {
    static const struct {
        uint32_t needs;
        uint32_t planes; /* what their decoder uses of the processor */
        const char *name[2];
    } levels[] = {
        {KERN_CPU_AVX2, SYS_CPU_AVX2, {"avx2", "avx2, denormals flushed"}},
        {KERN_CPU_AVX512, SYS_CPU_AVX2 | SYS_CPU_AVX512 | SYS_CPU_AVX512_VBMI2, {"avx512", "avx512, denormals flushed"}},
        {KERN_CPU_NEON, SYS_CPU_NEON, {"neon", "neon, denormals flushed"}},
    };
    kern_table_init(&k->reference, 0);
    memset(&k->table, 0, sizeof k->table);
    kern_level_scalar(&k->table); /* where the reference uses the fma instruction: the plain build of the same source */
    check_level(k, flushed ? "scalar, denormals flushed" : "scalar", 0, damage);
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        if (flags & levels[i].needs) {
            kern_table_init(&k->table, levels[i].needs);
            check_level(k, levels[i].name[flushed], flags & levels[i].planes, damage);
        } else {
            printf("%-22s skipped: not on this machine, or masked\n", levels[i].name[flushed]);
        }
    }
}

static void bench_levels(uint32_t flags) {
    static const uint32_t levels[] = {0, KERN_CPU_AVX2, KERN_CPU_AVX512, KERN_CPU_NEON};
    struct kern_table table;
    sys_cpu_flush_denormals();
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        if ((flags & levels[i]) == levels[i]) {
            kern_table_init(&table, levels[i]);
            kc_bench(&table, flags);
        }
    }
    kc_bench_planes(flags);
    kc_bench_codes(flags);
}

int main(int argc, char **argv) {
    struct options o = {.seed = (uint64_t)time(NULL), .mask = UINT32_MAX};
    char text[128];
    const int wrong = parse(&o, argc, argv);
    if (wrong) {
        return wrong;
    }
    const uint32_t flags = sys_cpu_flags() & o.mask;
    sys_cpu_flags_text(flags, text, sizeof text);
    printf("kcheck seed %llu, cpu: %s\n", (unsigned long long)o.seed, flags ? text : "scalar");
    if (o.bench) {
        bench_levels(flags);
        return 0;
    }
    struct kc k = {.random = o.seed};
    check_levels(&k, flags, false, o.damage);
    if (o.damage == 0) {
        sys_cpu_flush_denormals();
        check_levels(&k, flags, true, 0);
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)k.passed, (unsigned long long)k.failed);
    return k.failed || !k.passed;
}
