/* SPDX-License-Identifier: Apache-2.0
 * Rounding to whole steps, and the search for the step of a rate. */
#include "codec/steps.h"

#include <math.h>
#include <string.h>

#include "base/floats.h"

/* Presets: 7.3 and 4.2 bits for weights that are spread as trained ones are, room between tiles included. */
static const double STEP_Q8 = 0.0318, STEP_Q4 = 0.271;
static const double FINEST = 0.015, COARSEST = 2.0;
enum { SAMPLE = PLANES_BLOCK, MOST_STEPS = PLANES_MOST_WHOLE - 128 };

static bool digit(char c) {
    return c >= '0' && c <= '9';
}

bool steps_of_codec(const char *codec, struct steps_dial *dial) {
    *dial = (struct steps_dial){0};
    if (strcmp(codec, "q8") == 0 || strcmp(codec, "q4") == 0) {
        dial->step = codec[1] == '8' ? STEP_Q8 : STEP_Q4;
        return true;
    }
    if (strlen(codec) != 5 || codec[0] != 'q' || !digit(codec[1]) || codec[2] != '.' || !digit(codec[3]) || !digit(codec[4])) {
        return false;
    }
    const int hundredths = (codec[1] - '0') * 100 + (codec[3] - '0') * 10 + (codec[4] - '0');
    dial->bits = hundredths / 100.0;
    return hundredths >= 200 && hundredths <= 800;
}

double steps_likely_bits(const struct steps_dial *dial) {
    return dial->bits > 0 ? dial->bits : dial->step == STEP_Q8 ? 7.3 : 4.2;
}

static float value_at(const uint8_t *p, enum kern_dtype t) {
    return t == KERN_F32 ? float_of_f32(p) : t == KERN_F16 ? float_of_f16(p) : float_of_bf16(p);
}

/* Root mean square and largest absolute value; false: not finite. Squares are summed in eight chains: none waits for another. */
static bool measure(const uint8_t *row, uint64_t cols, enum kern_dtype t, double *rms, double *most) {
    enum { CHAINS = 8 };
    const size_t size = kern_dtype_bytes(t);
    double sum[CHAINS] = {0};
    float top[CHAINS] = {0};
    for (uint64_t c = 0; c < cols; c += CHAINS) {
        for (uint64_t i = 0; i < CHAINS && c + i < cols; i++) {
            const float v = value_at(row + (c + i) * size, t);
            sum[i] += (double)v * (double)v;
            top[i] = fabsf(v) > top[i] ? fabsf(v) : top[i];
        }
    }
    for (int i = 1; i < CHAINS; i++) {
        sum[0] += sum[i];
        top[0] = top[i] > top[0] ? top[i] : top[0];
    }
    *rms = sqrt(sum[0] / (double)cols);
    *most = (double)top[0];
    return isfinite(sum[0]);
}

static uint32_t bits_of(float f) {
    uint32_t b;
    memcpy(&b, &f, sizeof(b));
    return b;
}

/* To 8 significant bits, ties to even. */
static uint16_t to_bf16(float f) {
    const uint32_t b = bits_of(f);
    return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}

/* A scale of BF16: `step` of the root mean square, or more where the largest value would not be in range. 0: the row is as good as
 * zero. */
static uint16_t scale_for(double rms, double most, double step) {
    const double least = most / MOST_STEPS;
    const double want = step * rms > least ? step * rms : least;
    const double largest = 3.3e38; /* nearly the largest BF16; steps beyond would be coarser than any weight is large */
    const uint16_t scale = to_bf16((float)(want < largest ? want : largest));
    return want < 1e-36 ? 0 : scale;
}

/* A weight in steps, rounded to nearest. Adding and taking away 1.5 * 2^23 rounds to whole numbers. */
static uint16_t whole_steps(float w, float inverse) {
    const float magic = 12582912.0f;
    return to_bf16((w * inverse + magic) - magic);
}

bool steps_round(struct steps_rows *r, double step, uint16_t *scale) {
    const size_t size = kern_dtype_bytes(r->dtype);
    const size_t made = (size_t)r->cols * 2;
    for (uint64_t i = 0; i < r->count; i++) {
        const uint8_t *row = r->rows + i * r->stride;
        uint8_t *to = r->rows + i * made; /* never beyond what is read next: made <= stride */
        double rms = 0;
        double most = 0;
        if (!measure(row, r->cols, r->dtype, &rms, &most)) {
            return false;
        }
        scale[i] = scale_for(rms, most, step);
        const float inverse = scale[i] != 0 ? 1.0f / float_of_bits((uint32_t)scale[i] << 16) : 0.0f;
        for (uint64_t c = 0; c < r->cols; c++) {
            const uint16_t k = whole_steps(value_at(row + c * size, r->dtype), inverse);
            to[2 * c] = (uint8_t)k;
            to[2 * c + 1] = (uint8_t)(k >> 8);
        }
    }
    r->stride = made;
    r->dtype = KERN_BF16;
    return true;
}

/* ---- the step of a rate ---- */

/* Values of the rows in units of their root mean square, taken evenly from all of them. */
static uint32_t sample(const struct steps_rows *r, float *out) {
    const size_t size = kern_dtype_bytes(r->dtype);
    const uint64_t all = r->count * r->cols;
    const uint64_t every = all / SAMPLE + 1;
    uint64_t at_row = UINT64_MAX;
    double rms = 0;
    double most = 0;
    uint32_t n = 0;
    for (uint64_t at = 0; at < all; at += every) {
        const uint64_t row = at / r->cols;
        if (row != at_row && !measure(r->rows + row * r->stride, r->cols, r->dtype, &rms, &most)) {
            return 0;
        }
        at_row = row;
        out[n++] = rms > 0 ? (float)((double)value_at(r->rows + row * r->stride + at % r->cols * size, r->dtype) / rms) : 0.0f;
    }
    return n;
}

static double bits_at(const float *values, uint32_t n, double step, struct planes_scratch *scratch) {
    uint16_t whole[SAMPLE];
    uint64_t bits = 0;
    const float inverse = (float)(1.0 / step);
    for (uint32_t i = 0; i < n; i++) {
        const float most = (float)MOST_STEPS;
        const float v = values[i] * inverse;
        whole[i] = whole_steps(v > most ? most : v < -most ? -most : v, 1.0f);
    }
    planes_best_whole(whole, n, scratch, &bits);
    return (double)bits / (double)n;
}

double steps_choose(const struct steps_dial *dial, const struct steps_rows *r, double spare, struct planes_scratch *scratch) {
    /* What a tile has beside symbols: a scale for each row, the directory, and units that are not full. */
    const double beside = 16.0 / (double)r->cols + 0.07;
    const double wanted = dial->bits + spare - beside;
    double fine = FINEST;
    double coarse = COARSEST;
    float values[SAMPLE];
    if (dial->step > 0) {
        return dial->step;
    }
    const uint32_t n = sample(r, values);
    for (int i = 0; n > 0 && i < 12; i++) {
        const double middle = sqrt(fine * coarse);
        if (bits_at(values, n, middle, scratch) > wanted) {
            fine = middle;
        } else {
            coarse = middle;
        }
    }
    return coarse;
}
