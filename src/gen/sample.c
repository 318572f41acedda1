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

lamina_status sampler_init(struct sampler *s, uint32_t vocab, uint32_t positions, struct lamina_error *err) {
    *s = (struct sampler){.vocab = vocab, .made_most = positions < vocab ? positions : vocab};
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
    free(s->made);
    free(s->bias);
    *s = (struct sampler){0};
}

void sampler_saw(struct sampler *s, uint32_t id) {
    if (id < s->vocab) {
        s->seen[id] = 1;
    }
}

void sampler_made(struct sampler *s, uint32_t id) {
    uint32_t at = 0;
    while (at < s->made_count && s->made[at].id != id) {
        at++;
    }
    if (at < s->made_count) {
        s->made[at].times++;
    } else if (s->made != NULL && id < s->vocab && at < s->made_most) {
        s->made[s->made_count++] = (struct sampler_made){.id = id, .times = 1};
    }
}

void sampler_forget(struct sampler *s) {
    memset(s->seen, 0, s->vocab);
    s->made_count = 0;
}

void lamina_sampling_defaults(struct lamina_sampling *s) {
    *s = (struct lamina_sampling){.size = sizeof(*s), .top_p = 1.0f, .repetition_penalty = 1.0f};
}

static lamina_status check_penalty(const char *name, float value, struct lamina_error *err) {
    return value >= -2.0f && value <= 2.0f
               ? LAMINA_OK
               : base_fail(err, LAMINA_USAGE, "%s penalty %g is outside -2 to 2", name, (double)value);
}

/* Copies the biases; of several for one token the last. */
static lamina_status set_bias(struct sampler *s, const struct lamina_sampling *p, uint32_t *count, struct lamina_error *err) {
    for (uint32_t i = 0; i < p->bias_count; i++) {
        if (p->bias[i].id >= s->vocab) {
            return base_fail(err, LAMINA_USAGE, "bias for token %u, which is outside the vocabulary of %u", p->bias[i].id,
                             s->vocab);
        }
        if (!(p->bias[i].value >= -100.0f && p->bias[i].value <= 100.0f)) {
            return base_fail(err, LAMINA_USAGE, "bias %g for token %u is outside -100 to 100", (double)p->bias[i].value,
                             p->bias[i].id);
        }
    }
    struct lamina_bias *list = (struct lamina_bias *)malloc((p->bias_count + (size_t)1) * sizeof(*list));
    if (list == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for biases of %u tokens", p->bias_count);
    }
    *count = 0;
    for (uint32_t i = 0; i < p->bias_count; i++) {
        uint32_t at = 0;
        while (at < *count && list[at].id != p->bias[i].id) {
            at++;
        }
        list[at] = p->bias[i];
        *count += at == *count;
    }
    free(s->bias);
    s->bias = list;
    return LAMINA_OK;
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
    LAMINA_TRY(check_penalty("presence", p->presence_penalty, err));
    LAMINA_TRY(check_penalty("frequency", p->frequency_penalty, err));
    uint32_t biases = 0;
    if (s->made == NULL && (p->presence_penalty != 0.0f || p->frequency_penalty != 0.0f)) {
        s->made = (struct sampler_made *)malloc((s->made_most + (size_t)1) * sizeof(*s->made));
        if (s->made == NULL) {
            return base_fail(err, LAMINA_NO_FIT, "out of memory for the penalties of %u tokens", s->made_most);
        }
    }
    LAMINA_TRY(set_bias(s, p, &biases, err));
    s->s = *p;
    s->s.bias = NULL; /* s->bias has them */
    s->s.bias_count = biases;
    return LAMINA_OK;
}

/* Whether scores are the logits themselves. */
static bool is_plain(const struct sampler *s) {
    return s->s.repetition_penalty == 1.0f && s->s.presence_penalty == 0.0f && s->s.frequency_penalty == 0.0f &&
           s->s.bias_count == 0;
}

/* Scores after the bias and the penalties, candidate i that of token i. By the repetition penalty seen tokens are divided when
 * positive, multiplied when negative. */
static void set_scores(struct sampler *s, const float *logits) {
    const float penalty = s->s.repetition_penalty;
    for (uint32_t i = 0; i < s->vocab; i++) {
        s->candidates[i] = (struct sampler_candidate){.score = logits[i], .id = i};
    }
    for (uint32_t i = 0; i < s->s.bias_count; i++) {
        s->candidates[s->bias[i].id].score += s->bias[i].value;
    }
    for (uint32_t i = 0; penalty != 1.0f && i < s->vocab; i++) {
        float *x = &s->candidates[i].score;
        *x = s->seen[i] == 0 ? *x : *x > 0.0f ? *x / penalty : *x * penalty;
    }
    for (uint32_t i = 0; i < s->made_count; i++) {
        float times = (float)s->made[i].times;
        s->candidates[s->made[i].id].score -= s->s.presence_penalty + s->s.frequency_penalty * times;
    }
}

static int by_score(const void *a, const void *b) {
    const struct sampler_candidate *x = (const struct sampler_candidate *)a;
    const struct sampler_candidate *y = (const struct sampler_candidate *)b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint32_t greedy(const struct sampler *s) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < s->vocab; i++) {
        best = s->candidates[i].score > s->candidates[best].score ? i : best;
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
    if (s->s.temperature == 0.0f && is_plain(s)) {
        *id = best;
        return LAMINA_OK;
    }
    set_scores(s, logits);
    if (s->s.temperature == 0.0f) {
        *id = greedy(s);
        return LAMINA_OK;
    }
    qsort(s->candidates, s->vocab, sizeof(*s->candidates), by_score);
    *id = draw(s, filtered(s, s->vocab), position);
    return LAMINA_OK;
}
