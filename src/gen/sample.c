/* SPDX-License-Identifier: Apache-2.0
 *
 * Sampler. Greedy needs no memory of its own; everything else sorts candidates once, since even 256k of them sort in the
 * time in which a drive delivers a few MiB.
 */
#include "gen/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kern/math.h"

struct sampler_candidate {
    float score;
    uint32_t id;
};

/* Two rounds of a 128-bit multiply-and-fold over (seed, sequence, position), with odd constants from the binary digits of
 * pi and e; each key enters before a round, so that neighbouring counters share nothing. */
static uint64_t mix(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)(a ^ UINT64_C(0x243F6A8885A308D3)) * (b ^ UINT64_C(0xB7E151628AED2A6B));
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t finish(uint64_t x) {
    x ^= x >> 33;
    x *= UINT64_C(0xFF51AFD7ED558CCD);
    x ^= x >> 33;
    x *= UINT64_C(0xC4CEB9FE1A85EC53);
    return x ^ x >> 33;
}

double gen_uniform(uint64_t seed, uint64_t sequence, uint64_t position) {
    uint64_t x = mix(finish(seed + UINT64_C(0x9E3779B97F4A7C15)), finish(sequence ^ UINT64_C(0x13198A2E03707344)));
    x = finish(mix(x, finish(position + UINT64_C(0xA4093822299F31D0))));
    return (double)(x >> 11) * 0x1p-53;
}

lamina_status sampler_init(struct sampler *s, uint32_t vocab, struct lamina_error *err) {
    *s = (struct sampler){.vocab = vocab};
    lamina_sampling_defaults(&s->s);
    s->candidates = (struct sampler_candidate *)malloc((size_t)vocab * sizeof(*s->candidates));
    s->seen = (uint8_t *)calloc(vocab, 1);
    if (s->candidates == NULL || s->seen == NULL) {
        sampler_drop(s);
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a sampler over %u tokens", vocab);
    }
    return LAMINA_OK;
}

void sampler_drop(struct sampler *s) {
    free(s->candidates);
    free(s->seen);
    *s = (struct sampler){0};
}

void sampler_saw(struct sampler *s, uint32_t id) {
    if (id < s->vocab) {
        s->seen[id] = 1;
    }
}

void sampler_forget(struct sampler *s) {
    memset(s->seen, 0, s->vocab);
}

void lamina_sampling_defaults(struct lamina_sampling *s) {
    *s = (struct lamina_sampling){.size = sizeof(*s), .top_p = 1.0f, .repetition_penalty = 1.0f};
}

lamina_status sampler_set(struct sampler *s, const struct lamina_sampling *p, struct lamina_error *err) {
    if (!(p->temperature >= 0.0f && p->temperature <= 100.0f)) {
        return base_fail(err, LAMINA_USAGE, "temperature %g is outside 0 to 100", (double)p->temperature);
    }
    if (!(p->top_p > 0.0f && p->top_p <= 1.0f)) {
        return base_fail(err, LAMINA_USAGE, "top_p %g is outside (0, 1]", (double)p->top_p);
    }
    if (!(p->min_p >= 0.0f && p->min_p <= 1.0f)) {
        return base_fail(err, LAMINA_USAGE, "min_p %g is outside [0, 1]", (double)p->min_p);
    }
    if (!(p->repetition_penalty > 0.0f && p->repetition_penalty <= 100.0f)) {
        return base_fail(err, LAMINA_USAGE, "repetition penalty %g is outside (0, 100]", (double)p->repetition_penalty);
    }
    s->s = *p;
    return LAMINA_OK;
}

/* Scores after the repetition penalty: seen tokens are divided by it when positive, multiplied when negative. */
static float penalised(const struct sampler *s, const float *logits, uint32_t id) {
    float x = logits[id];
    if (s->s.repetition_penalty == 1.0f || s->seen[id] == 0) {
        return x;
    }
    return x > 0.0f ? x / s->s.repetition_penalty : x * s->s.repetition_penalty;
}

static int by_score(const void *a, const void *b) {
    const struct sampler_candidate *x = (const struct sampler_candidate *)a;
    const struct sampler_candidate *y = (const struct sampler_candidate *)b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint32_t greedy(const struct sampler *s, const float *logits) {
    uint32_t best = 0;
    float best_score = penalised(s, logits, 0);
    for (uint32_t i = 1; i < s->vocab; i++) {
        float score = penalised(s, logits, i);
        if (score > best_score) {
            best_score = score;
            best = i;
        }
    }
    return best;
}

/* exp((score - best) / temperature) of the i-th candidate. */
static double weight(const struct sampler *s, uint32_t i) {
    double gap = (double)s->candidates[i].score - (double)s->candidates[0].score;
    return kern_exp(gap / (double)s->s.temperature);
}

/* How many of the sorted candidates survive top-k, then top-p (the smallest set whose mass reaches it), then min-p. */
static uint32_t filtered(const struct sampler *s, uint32_t count) {
    if (s->s.top_k > 0 && s->s.top_k < count) {
        count = s->s.top_k;
    }
    if (s->s.top_p < 1.0f) {
        double mass = 0;
        for (uint32_t i = 0; i < count; i++) {
            mass += weight(s, i);
        }
        double sum = 0;
        uint32_t kept = 0;
        while (kept < count && sum < (double)s->s.top_p * mass) {
            sum += weight(s, kept++);
        }
        count = kept;
    }
    while (count > 1 && weight(s, count - 1) < (double)s->s.min_p) {
        count--;
    }
    return count;
}

static uint32_t draw(const struct sampler *s, uint32_t count, uint32_t position) {
    double mass = 0;
    for (uint32_t i = 0; i < count; i++) {
        mass += weight(s, i);
    }
    double target = gen_uniform(s->s.seed, s->s.sequence, position) * mass;
    double sum = 0;
    for (uint32_t i = 0; i + 1 < count; i++) {
        sum += weight(s, i);
        if (target < sum) {
            return s->candidates[i].id;
        }
    }
    return s->candidates[count - 1].id;
}

lamina_status sampler_choose(struct sampler *s, const struct kern_table *kern, const float *logits, uint32_t position,
                             uint32_t *id, struct lamina_error *err) {
    bool finite = true;
    uint32_t best = kern->argmax(logits, s->vocab, &finite);
    if (!finite) {
        return base_fail(err, LAMINA_DAMAGED,
                         "the logits at position %u are not finite: the weights hold NaN or infinite values, or overflow",
                         position);
    }
    if (s->s.temperature == 0.0f) {
        *id = s->s.repetition_penalty == 1.0f ? best : greedy(s, logits);
        return LAMINA_OK;
    }
    for (uint32_t i = 0; i < s->vocab; i++) {
        s->candidates[i] = (struct sampler_candidate){.score = penalised(s, logits, i), .id = i};
    }
    qsort(s->candidates, s->vocab, sizeof(*s->candidates), by_score);
    *id = draw(s, filtered(s, s->vocab), position);
    return LAMINA_OK;
}
