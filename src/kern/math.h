/* SPDX-License-Identifier: Apache-2.0
 * Our own elementary functions, so that results do not depend on a C library. The fp32 exp is the definition that every
 * instruction set reproduces bit for bit; the fp64 functions run only in scalar code (RoPE tables, sampling). */
#ifndef KERN_MATH_H
#define KERN_MATH_H

/* exp(x) to about 1 ulp for x in [-104, 88.7]; below gives 0, above gives +infinity, NaN gives NaN. Written in fp32 fma
 * and integer operations that every vector unit has (see kern/math.c for the exact sequence). */
float kern_expf(float x);
float kern_logf(float x);          /* x > 0 normal; about 1 ulp */
double kern_exp(double x);
/* exp of 16 values in place, none above 0: the bits of kern_exp from -700 on, 0 below (also for -infinity), and a NaN for a NaN.
 * For sums over a vocabulary, which would wait for kern_exp for longer than for anything else. */
void kern_exp_lanes(double x[16]);
double kern_log(double x);         /* x > 0 */
double kern_pow(double x, double y); /* x > 0: exp(y log x) with the error kept below 1e-15 relative for |y log x| < 100 */
void kern_sincos(double x, double *sin_x, double *cos_x); /* |x| < 2^30, absolute error below 1e-15 */

#endif
