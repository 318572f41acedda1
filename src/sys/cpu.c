/* SPDX-License-Identifier: Apache-2.0
 *
 * Which instructions and how many processors this process may use. Sources: Intel SDM vol. 2 CPUID and vol. 1 13.3
 * (XCR0), Linux Documentation/arch/x86/xstate.rst (AMX permission), arch/arm64/elf_hwcaps.rst. The invariant: a flag is
 * set only when the processor has every feature of its bundle and the system saves the registers; bundles nest.
 */
#include "sys/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <xmmintrin.h>
#endif
#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#endif
#if defined(__linux__) && defined(__aarch64__)
#include <sys/auxv.h>
#endif
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "base/compiler.h"
#include "sys/sys_priv.h"

static const struct {
    const char *name;
    uint32_t flag;
} flag_names[] = {
    {"avx2", SYS_CPU_AVX2},         {"avx512", SYS_CPU_AVX512},     {"avx512_vbmi2", SYS_CPU_AVX512_VBMI2},
    {"avx512_bf16", SYS_CPU_AVX512_BF16}, {"amx_bf16", SYS_CPU_AMX_BF16}, {"neon", SYS_CPU_NEON},
    {"neon_bf16", SYS_CPU_NEON_BF16},
};

#if defined(__x86_64__)

static uint64_t read_xcr0(void) {
    uint32_t low = 0;
    uint32_t high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* Since Linux 5.16 a process has to ask before its first tile instruction; asking again is harmless. */
static bool tiles_permitted(void) {
#if defined(__linux__)
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

static bool has(uint32_t reg, uint32_t bits) {
    return (reg & bits) == bits;
}

uint32_t sys_cpu_flags(void) {
    enum { FMA = 1 << 12, OSXSAVE = 1 << 27, AVX = 1 << 28, F16C = 1 << 29 };                        /* leaf 1 ECX */
    enum { AVX2 = 1 << 5, BMI2 = 1 << 8, F = 1 << 16, DQ = 1 << 17, BW = 1 << 30 };                  /* leaf 7 EBX */
    enum { VBMI = 1 << 1, VBMI2 = 1 << 6 };                                                          /* leaf 7 ECX */
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24 };                                                 /* leaf 7 EDX */
    enum { BF16 = 1 << 5 };                                                                          /* leaf 7.1 EAX */
    const uint32_t vl = UINT32_C(1) << 31;
    uint32_t a = 0, b = 0, c = 0, d = 0, a1 = 0, b1 = 0, c1 = 0, d1 = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, FMA | OSXSAVE | AVX | F16C)) {
        return 0;
    }
    uint64_t saved = read_xcr0();
    const uint64_t ymm = 0x6, zmm = 0xe0, tiles = 0x60000;
    if ((saved & ymm) != ymm || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, AVX2 | BMI2)) {
        return 0;
    }
    uint32_t flags = SYS_CPU_AVX2;
    if ((saved & zmm) != zmm || !has(b, F | DQ | BW | vl)) {
        return flags;
    }
    flags |= SYS_CPU_AVX512;
    flags |= has(c, VBMI | VBMI2) ? (uint32_t)SYS_CPU_AVX512_VBMI2 : 0;
    if (a >= 1 && __get_cpuid_count(7, 1, &a1, &b1, &c1, &d1) && has(a1, BF16)) {
        flags |= SYS_CPU_AVX512_BF16;
    }
    if (has(d, AMX_BF16 | AMX_TILE) && (saved & tiles) == tiles && tiles_permitted()) {
        flags |= SYS_CPU_AMX_BF16;
    }
    return flags;
}

#elif defined(__aarch64__)

uint32_t sys_cpu_flags(void) {
    bool bf16 = false;
#if defined(__APPLE__)
    int value = 0;
    size_t len = sizeof(value);
    bf16 = sysctlbyname("hw.optional.arm.FEAT_BF16", &value, &len, NULL, 0) == 0 && value != 0;
#else
    enum { HAS_BF16 = 1 << 14 }; /* HWCAP2_BF16; old headers lack the name */
    bf16 = (getauxval(AT_HWCAP2) & HAS_BF16) != 0;
#endif
    return SYS_CPU_NEON | (bf16 ? (uint32_t)SYS_CPU_NEON_BF16 : 0);
}

#else

uint32_t sys_cpu_flags(void) {
    return 0;
}

#endif

void sys_cpu_flags_text(uint32_t flags, char *out, size_t len) {
    size_t used = 0;
    if (len > 0) {
        out[0] = 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(flag_names); i++) {
        if ((flags & flag_names[i].flag) != 0 && used < len) {
            int n = snprintf(out + used, len - used, "%s%s", used > 0 ? " " : "", flag_names[i].name);
            used += n > 0 ? (size_t)n : 0;
        }
    }
}

bool sys_cpu_mask_of_level(const char *level, uint32_t *mask) {
    const uint32_t neon = SYS_CPU_NEON | SYS_CPU_NEON_BF16;
    if (strcmp(level, "scalar") == 0) {
        *mask = 0;
        return true;
    }
    if (strcmp(level, "all") == 0) {
        *mask = UINT32_MAX;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(flag_names); i++) {
        if (strcmp(level, flag_names[i].name) == 0) {
            uint32_t family = (flag_names[i].flag & neon) != 0 ? neon : ~neon;
            *mask = (flag_names[i].flag | (flag_names[i].flag - 1)) & family;
            return true;
        }
    }
    return false;
}

static void copy_trimmed(char *out, size_t len, const char *from) {
    while (*from == ' ' || *from == '\t' || *from == ':') {
        from++;
    }
    size_t n = strcspn(from, "\n");
    while (n > 0 && from[n - 1] == ' ') {
        n--;
    }
    (void)snprintf(out, len, "%.*s", (int)n, from);
}

#if defined(__x86_64__)
static bool brand(char text[64]) {
    uint32_t words[12] = {0};
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t *w = words + (size_t)4 * i;
        if (!__get_cpuid(0x80000002u + i, w, w + 1, w + 2, w + 3)) {
            return false;
        }
    }
    memcpy(text, words, sizeof(words));
    text[sizeof(words)] = 0;
    return text[0] != 0;
}
#elif defined(__APPLE__)
static bool brand(char text[64]) {
    size_t len = 63;
    text[63] = 0;
    return sysctlbyname("machdep.cpu.brand_string", text, &len, NULL, 0) == 0;
}
#else
/* Arm machines name the board in the device tree, or only implementer and part numbers. */
static bool brand(char text[64]) {
    if (sys_slurp("/sys/firmware/devicetree/base/model", text, 64) > 0) {
        return true;
    }
    char info[4096];
    (void)sys_slurp("/proc/cpuinfo", info, sizeof(info));
    const char *model = strstr(info, "model name");
    const char *maker = strstr(info, "CPU implementer");
    const char *part = strstr(info, "CPU part");
    if (model != NULL) {
        copy_trimmed(text, 64, model + strlen("model name"));
    } else if (maker != NULL && part != NULL) {
        char maker_id[16];
        char part_id[16];
        copy_trimmed(maker_id, sizeof(maker_id), maker + strlen("CPU implementer"));
        copy_trimmed(part_id, sizeof(part_id), part + strlen("CPU part"));
        (void)snprintf(text, 64, "Arm implementer %s part %s", maker_id, part_id);
    } else {
        return false;
    }
    return true;
}
#endif

void sys_cpu_name(char *out, size_t len) {
    char text[64];
    copy_trimmed(out, len, brand(text) ? text : "unknown processor");
}

#if defined(__linux__)

enum { MOST_CPUS = 8192 };

/* The processors this process may run on; count 0 when the system does not say. */
static int allowed_cpus(cpu_set_t *set, size_t size) {
    memset(set, 0, size);
    if (sched_getaffinity(0, size, set) != 0) {
        return 0;
    }
    return CPU_COUNT_S(size, set);
}

/* "0-1,8-9": is a processor below `cpu` that we may use in the list? Then `cpu` is its sibling on the same core. */
static bool has_lower_sibling(const char *list, int cpu, const cpu_set_t *set, size_t size) {
    const char *p = list;
    while (*p >= '0' && *p <= '9') {
        char *end = NULL;
        long first = strtol(p, &end, 10);
        long last = *end == '-' ? strtol(end + 1, &end, 10) : first;
        for (long i = first; i <= last && i < cpu; i++) {
            if (CPU_ISSET_S((size_t)i, size, set)) {
                return true;
            }
        }
        p = *end == ',' ? end + 1 : end;
    }
    return false;
}

/* Under a CPU quota more runnable threads than the quota pays for are stopped in the middle of every period. */
static uint32_t within_quota(uint32_t count) {
    struct sys_cgroup_limits group;
    sys_cgroup_of_self(&group);
    count = count < group.cpus ? count : group.cpus;
    return count > 0 ? count : 1;
}

static uint32_t online_cpus(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

uint32_t sys_cpu_threads(void) {
    cpu_set_t set[MOST_CPUS / CPU_SETSIZE];
    int n = allowed_cpus(set, sizeof(set));
    return within_quota(n > 0 ? (uint32_t)n : online_cpus());
}

uint32_t sys_cpu_physical_cores(void) {
    cpu_set_t set[MOST_CPUS / CPU_SETSIZE];
    if (allowed_cpus(set, sizeof(set)) == 0) {
        return within_quota(online_cpus());
    }
    uint32_t cores = 0;
    for (int cpu = 0; cpu < MOST_CPUS; cpu++) {
        if (!CPU_ISSET_S((size_t)cpu, sizeof(set), set)) {
            continue;
        }
        char path[128];
        char list[512];
        (void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        (void)sys_slurp(path, list, sizeof(list));
        cores += has_lower_sibling(list, cpu, set, sizeof(set)) ? 0 : 1;
    }
    return within_quota(cores);
}

#else

static uint32_t count_by_name(const char *name) {
    int value = 0;
    size_t len = sizeof(value);
    if (sysctlbyname(name, &value, &len, NULL, 0) == 0 && value > 0) {
        return (uint32_t)value;
    }
    return 1;
}

uint32_t sys_cpu_threads(void) {
    return count_by_name("hw.logicalcpu");
}

uint32_t sys_cpu_physical_cores(void) {
    return count_by_name("hw.physicalcpu");
}

#endif

uint64_t sys_cpu_flush_denormals(void) {
#if defined(__x86_64__)
    enum { FTZ = 1 << 15, DAZ = 1 << 6 };
    uint32_t before = _mm_getcsr();
    _mm_setcsr(before | FTZ | DAZ);
    return before;
#elif defined(__aarch64__)
    /* FZ covers float and double; FZ16 stays off because x86 widens half-precision denormals exactly as well. */
    uint64_t before = 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    uint64_t control = before | UINT64_C(1) << 24;
    __asm__ volatile("msr fpcr, %0" : : "r"(control));
    return before;
#else
    return 0;
#endif
}

void sys_cpu_restore_float_control(uint64_t before) {
#if defined(__x86_64__)
    _mm_setcsr((uint32_t)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
    (void)before;
#endif
}
