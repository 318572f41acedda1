/* SPDX-License-Identifier: Apache-2.0
 *
 * Elementary functions of our own (kern/math.h). Only IEEE operations whose results the standard fixes are used: add,
 * multiply, divide, fma, and integer work on the bits; so every machine and C library gives the same numbers. The fp64
 * functions favour plainness over speed: they fill RoPE tables and serve sampling.
 */
#include "kern/math.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kern/expf_priv.h"

/* ln 2 in two parts; the first has 42 bits, so a product with an exponent of up to 11 bits is exact. */
#define LN2_HI 0x1.62e42fefa38p-1
#define LN2_LO 0x1.ef35793c7673p-45
#define LOG2E 0x1.71547652b82fep+0
/* pi / 2 in three parts of 23, 22 and 53 bits: n times the first two is exact for |n| < 2^30. */
#define PIO2_1 0x1.921fb4p+0
#define PIO2_2 0x1.4442dp-24
#define PIO2_3 0x1.8469898cc517p-48
#define TWO_OVER_PI 0x1.45f306dc9c883p-1
#define ROUND_MAGIC 0x1.8p+52 /* adding it leaves an integer in the low bits */

static uint64_t bits_of(double x) {
    uint64_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static double double_of(uint64_t b) {
    double x;
    memcpy(&x, &b, sizeof x);
    return x;
}

static double power_of_two(int64_t n) {
    return double_of((uint64_t)(n + 1023) << 52);
}

float kern_expf(float x) {
    return expf_exact(x);
}

float kern_logf(float x) {
    return (float)kern_log((double)x);
}

/* On |r| <= ln 2 / 2 the first term left out of exp's series, r^14 / 14!, is below 2^-57. */
static const double INVERSE_FACTORIAL[] = {
    1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0,
    1.0 / 5040.0,       1.0 / 720.0,       1.0 / 120.0,      1.0 / 24.0,      1.0 / 6.0,      0.5,
};

/* exp(x + low), low far below an ulp of x or at most a few of them. The tail of the series is Taylor's. */
static double exp_of_sum(double x, double low) {
    x = 710.0 < x ? 710.0 : x; /* a NaN passes */
    x = -746.0 > x ? -746.0 : x;
    double t = x * LOG2E + ROUND_MAGIC;
    double nf = t - ROUND_MAGIC;
    double r = ((x - nf * LN2_HI) - nf * LN2_LO) + low;
    double p = 0;
    for (size_t i = 0; i < ARRAY_LEN(INVERSE_FACTORIAL); i++) {
        p = p * r + INVERSE_FACTORIAL[i];
    }
    p = 1.0 + (r + r * r * p);
    if (!(p == p)) {
        return p;
    }
    int64_t n = (int64_t)(bits_of(t) - bits_of(ROUND_MAGIC));
    int64_t half = n / 2;
    return (p * power_of_two(half)) * power_of_two(n - half);
}

double kern_exp(double x) {
    return exp_of_sum(x, 0.0);
}

/* The operations of exp_of_sum side by side; the compiler makes of them what the machine's baseline has. 2^n is a normal number
 * throughout, so one multiplication does for the two there. */
typedef double lanes __attribute__((vector_size(32), aligned(8), may_alias));
typedef int64_t lane_bits __attribute__((vector_size(32)));

static void exp_of_four(double *x) {
    lanes v = *(const lanes *)x;
    lane_bits too_low = v < -700.0;
    v = (lanes)(((lane_bits)v & ~too_low)); /* those become 0 on the way in and on the way out */
    lanes t = v * LOG2E + ROUND_MAGIC;
    lanes nf = t - ROUND_MAGIC;
    lanes r = (v - nf * LN2_HI) - nf * LN2_LO;
    lanes p = r * 0.0;
    for (size_t i = 0; i < ARRAY_LEN(INVERSE_FACTORIAL); i++) {
        p = p * r + INVERSE_FACTORIAL[i];
    }
    p = 1.0 + (r + r * r * p);
    lanes power = (lanes)(((lane_bits)t - (int64_t)bits_of(ROUND_MAGIC) + 1023) << 52);
    *(lanes *)x = (lanes)((lane_bits)(p * power) & ~too_low);
}

void kern_exp_lanes(double x[16]) {
    for (int i = 0; i < 16; i += 4) { /* more at once do not fit the registers of every machine */
        exp_of_four(x + i);
    }
}

/* log(x) = *low + the value returned, good to about 2^-60 of it: x = 2^k m with m in [sqrt 1/2, sqrt 2), and
 * log m = 2 atanh s, s = (m - 1) / (m + 1), whose first term is carried in two doubles. */
static double log_in_two(double x, double *low) {
    uint64_t b = bits_of(x);
    int64_t k = (int64_t)(b >> 52) - 1023;
    double m = double_of((b & ((UINT64_C(1) << 52) - 1)) | (UINT64_C(1023) << 52));
    if (m > 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        k++;
    }
    double f = m - 1.0;
    double d = m + 1.0, d_low = m - (d - 1.0);
    double s = f / d;
    double s_low = (fma(-s, d, f) - s * d_low) / d;
    double z = s * s, tail = 0;
    for (int i = 27; i >= 3; i -= 2) { /* |s| < 0.172: s^29 / 29 is below 2^-77 */
        tail = tail * z + 1.0 / i;
    }
    double kf = (double)k, whole = kf * LN2_HI, high = whole + 2.0 * s;
    double lost = k == 0 ? 0.0 : 2.0 * s - (high - whole); /* |whole| > |2 s| unless k is 0 */
    double rest = lost + (kf * LN2_LO + (2.0 * s_low + 2.0 * s * z * tail));
    double sum = high + rest;
    *low = rest - (sum - high);
    return sum;
}

double kern_log(double x) {
    if (!(x >= 0x1p-1022)) { /* denormals are flushed in our threads, so they count as zero everywhere */
        return x != x || x <= -0x1p-1022 ? (double)NAN : -(double)INFINITY;
    }
    if (x > 0x1.fffffffffffffp+1023) {
        return x;
    }
    double low;
    double high = log_in_two(x, &low);
    return high + low;
}

double kern_pow(double x, double y) {
    double log_x = kern_log(x);
    if (y == 0.0 || x == 1.0) {
        return 1.0;
    }
    if (!(log_x - log_x == 0.0)) { /* zero, infinity or not a number */
        return kern_exp(y * log_x);
    }
    double low;
    double high = log_in_two(x, &low);
    double product = y * high;
    if (!(product > -1000.0 && product < 1000.0)) {
        return kern_exp(product);
    }
    return exp_of_sum(product, fma(y, high, -product) + y * low);
}

/* sin and cos of r + low, |r| <= pi/4, by Taylor's series: the first terms left out are below 2^-58. */
static void sincos_small(double r, double low, double *s, double *c) {
    double z = r * r, p = 0, q = 0;
    static const double sine[] = {
        1.0 / 355687428096000.0, -1.0 / 1307674368000.0, 1.0 / 6227020800.0, -1.0 / 39916800.0,
        1.0 / 362880.0,          -1.0 / 5040.0,          1.0 / 120.0,        -1.0 / 6.0,
    };
    static const double cosine[] = {
        1.0 / 20922789888000.0, -1.0 / 87178291200.0, 1.0 / 479001600.0, -1.0 / 3628800.0,
        1.0 / 40320.0,          -1.0 / 720.0,         1.0 / 24.0,        -0.5,
    };
    for (size_t i = 0; i < ARRAY_LEN(sine); i++) {
        p = p * z + sine[i];
        q = q * z + cosine[i];
    }
    *s = r + (r * z * p + low);
    *c = 1.0 + (z * q - r * low);
}

void kern_sincos(double x, double *sin_x, double *cos_x) {
    double t = x * TWO_OVER_PI + ROUND_MAGIC;
    double nf = t - ROUND_MAGIC;
    double a = x - nf * PIO2_1; /* exact or rounded below 2^-53 */
    double w = nf * PIO2_2, v = nf * PIO2_3;
    double b = a - w;
    double b_low = (a - b) - w;
    double r = b - v;
    double low = ((b - r) - v) + b_low;
    double s, c;
    sincos_small(r, low, &s, &c);
    switch (bits_of(t) & 3) {
    case 0: *sin_x = s, *cos_x = c; break;
    case 1: *sin_x = c, *cos_x = -s; break;
    case 2: *sin_x = -s, *cos_x = -c; break;
    default: *sin_x = -c, *cos_x = s; break;
    }
}
