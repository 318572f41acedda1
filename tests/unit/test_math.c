/* SPDX-License-Identifier: Apache-2.0
 * kern/math.h against the C library in extended precision, over sweeps and at the edges. Prints the largest errors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kern/math.h"

static uint64_t seed = 7;

/* 0 .. 1 */
static double uniform(void) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(seed >> 11) * 0x1p-53;
}

static float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Error in units of the last place of the wanted value (of a normal float). */
static double ulps_f(double want, float got) {
    return fabs((double)got - want) / ldexp(1.0, ilogb(want) - 23);
}

static double ulps(long double want, double got) {
    return (double)(fabsl((long double)got - want) / ldexpl(1.0L, ilogbl(want) - 52));
}

static void expf_within_one_ulp(void **state) {
    (void)state;
    double worst = 0;
    /* Every 97th float of both signs whose exp is a normal float. */
    for (uint32_t bits = 0; bits < 0x42b17218; bits += 97) {
        for (uint32_t sign = 0; sign < 2; sign++) {
            const float x = float_of(bits | sign << 31);
            if (x >= -87.3f) {
                const double e = ulps_f(exp((double)x), kern_expf(x));
                worst = e > worst ? e : worst;
            }
        }
    }
    print_message("expf: largest error %.4f ulp\n", worst);
    assert_true(worst < 1.0);
}

static void expf_at_the_edges(void **state) {
    (void)state;
    assert_true(kern_expf(0.0f) == 1.0f && kern_expf(-0.0f) == 1.0f);
    assert_true(kern_expf(88.72284f) == INFINITY || isfinite(kern_expf(88.72283f)));
    assert_true(isfinite(kern_expf(88.72283f)));
    assert_true(kern_expf(88.8f) == INFINITY && kern_expf(1e30f) == INFINITY && kern_expf(INFINITY) == INFINITY);
    assert_true(kern_expf(-104.0f) == 0.0f && kern_expf(-1e30f) == 0.0f && kern_expf(-INFINITY) == 0.0f);
    assert_true(isnan(kern_expf(NAN)));
    assert_true(kern_expf(float_of(0xffc12345)) != kern_expf(float_of(0xffc12345)));
    /* Denormal results come in steps of 2^-149. */
    for (float x = -103.9f; x < -87.4f; x += 0.01f) {
        assert_true(fabs((double)kern_expf(x) - exp((double)x)) <= 0x1p-149);
    }
}

static void logf_within_one_ulp(void **state) {
    (void)state;
    double worst = 0;
    for (uint32_t bits = 0x00800000; bits < 0x7f800000; bits += 1009) {
        const float x = float_of(bits), got = kern_logf(x);
        if (x != 1.0f) {
            const double e = ulps_f(log((double)x), got);
            worst = e > worst ? e : worst;
        }
    }
    print_message("logf: largest error %.4f ulp\n", worst);
    assert_true(worst < 1.0);
    assert_true(kern_logf(1.0f) == 0.0f);
}

static void exp_and_log_in_double(void **state) {
    (void)state;
    double worst_exp = 0, worst_log = 0;
    for (int i = 0; i < 400000; i++) {
        const double x = -708.0 + 1417.0 * uniform();
        double e = ulps(expl((long double)x), kern_exp(x));
        worst_exp = e > worst_exp ? e : worst_exp;
        const double small = (uniform() - 0.5) * 2.0;
        e = ulps(expl((long double)small), kern_exp(small));
        worst_exp = e > worst_exp ? e : worst_exp;
        const double near_one = 1.0 + (uniform() - 0.5) * ldexp(1.0, -(i % 40)), wide = ldexp(0.5 + uniform(), i % 2000 - 1000);
        if (near_one != 1.0) {
            e = ulps(logl((long double)near_one), kern_log(near_one));
            worst_log = e > worst_log ? e : worst_log;
        }
        e = ulps(logl((long double)wide), kern_log(wide));
        worst_log = e > worst_log ? e : worst_log;
    }
    print_message("exp: largest error %.4f ulp, log: %.4f ulp\n", worst_exp, worst_log);
    assert_true(worst_exp < 1.5 && worst_log < 1.0);
    assert_true(kern_exp(0.0) == 1.0 && kern_exp(1e4) == (double)INFINITY && kern_exp(-1e4) == 0.0);
    assert_true(isfinite(kern_exp(709.78)) && kern_exp(709.79) == (double)INFINITY);
    assert_true(isnan(kern_exp((double)NAN)) && isnan(kern_log((double)NAN)) && isnan(kern_log(-1.0)));
    assert_true(kern_log(1.0) == 0.0 && kern_log(0.0) == -(double)INFINITY);
    assert_true(kern_log((double)INFINITY) == (double)INFINITY);
}

static void pow_in_double(void **state) {
    (void)state;
    double worst = 0;
    for (int i = 0; i < 400000; i++) {
        const double x = i % 3 == 0 ? 0.5 + uniform() : i % 3 == 1 ? 1e6 * uniform() + 1e-3 : ldexp(1.0 + uniform(), i % 400 - 200);
        const double limit = 100.0 / fabs(log(x)), y = (2.0 * uniform() - 1.0) * (limit < 1e6 ? limit : 1e6);
        const long double want = powl((long double)x, (long double)y);
        const double e = (double)(fabsl((long double)kern_pow(x, y) - want) / want);
        worst = e > worst ? e : worst;
    }
    print_message("pow: largest relative error %.3e for |y log x| < 100\n", worst);
    assert_true(worst < 1e-15);
    assert_true(kern_pow(3.0, 0.0) == 1.0 && kern_pow(1.0, 1e300) == 1.0 && kern_pow(2.0, 10.0) == 1024.0);
    assert_true(kern_pow(10.0, 400.0) == (double)INFINITY && kern_pow(10.0, -400.0) == 0.0);
    /* What RoPE asks for: base^(-2 i / d). */
    for (int i = 0; i < 64; i++) {
        const long double want = powl(500000.0L, -(long double)i / 64.0L);
        assert_true(fabsl((long double)kern_pow(500000.0, -i / 64.0) - want) < 1e-15L * want);
    }
}

static void sincos_in_double(void **state) {
    (void)state;
    double worst = 0, s, c;
    for (int i = 0; i < 600000; i++) {
        double x = (2.0 * uniform() - 1.0) * ldexp(1.0, i % 31);
        if (i % 5 == 0) { /* the double nearest to a multiple of pi/2: the cancellation is worst there */
            x = nearbyint(x / 1.5707963267948966) * 1.5707963267948966;
        }
        kern_sincos(x, &s, &c);
        const double es = (double)fabsl((long double)s - sinl((long double)x));
        const double ec = (double)fabsl((long double)c - cosl((long double)x));
        worst = es > worst ? es : worst;
        worst = ec > worst ? ec : worst;
    }
    print_message("sincos: largest absolute error %.3e for |x| < 2^30\n", worst);
    assert_true(worst < 1e-15);
    kern_sincos(0.0, &s, &c);
    assert_true(s == 0.0 && c == 1.0);
}

static void exp_of_lanes_has_the_bits_of_exp(void **state) {
    (void)state;
    for (int step = 0; step < 20000; step++) {
        double x[16];
        double want[16];
        for (int i = 0; i < 16; i++) {
            x[i] = -700.0 * (double)((step * 16 + i) * 7 % 320000) / 319999.0 / (double)(1 + step % 5 * step);
            want[i] = kern_exp(x[i]);
        }
        kern_exp_lanes(x);
        assert_memory_equal(x, want, sizeof(x));
    }
    double ends[16] = {0.0, -0.0, -1e-300, -700.0, -700.0000001, -745.0, -1e300, -(double)INFINITY, (double)NAN};
    kern_exp_lanes(ends);
    assert_true(ends[0] == 1.0 && ends[1] == 1.0 && ends[2] == 1.0 && ends[3] == kern_exp(-700.0));
    for (int i = 4; i < 8; i++) {
        assert_true(ends[i] == 0.0);
    }
    assert_true(isnan(ends[8]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expf_within_one_ulp), cmocka_unit_test(expf_at_the_edges), cmocka_unit_test(logf_within_one_ulp),
        cmocka_unit_test(exp_and_log_in_double), cmocka_unit_test(pow_in_double), cmocka_unit_test(sincos_in_double),
        cmocka_unit_test(exp_of_lanes_has_the_bits_of_exp),
    };
    return cmocka_run_group_tests_name("kern_math", tests, NULL, NULL);
}
