/* SPDX-License-Identifier: Apache-2.0
 *
 * Choosing a token from logits. Randomness is counter based: a function of (seed, sequence, position) alone, so the same
 * text comes out alone, in a batch, preempted or resumed. All arithmetic on probabilities is fp64 in descending order
 * of logits, ties by the lowest id, so results are the same on every machine.
 */
#ifndef GEN_SAMPLE_H
#define GEN_SAMPLE_H

#include <stdint.h>

#include "base/status.h"
#include "kern/kern.h"
#include "lamina/lamina.h"

/* Uniform in [0, 1), 53 bits, from a bijective mix of the three keys (Philox-like; see sample.c). */
double gen_uniform(uint64_t seed, uint64_t sequence, uint64_t position);

struct sampler_made {
    uint32_t id, times;
};

struct sampler {
    struct lamina_sampling s;
    uint32_t vocab;
    struct sampler_candidate *candidates; /* [vocab] */
    uint8_t *seen;                        /* [vocab] tokens of the sequence so far, for the repetition penalty */
    struct sampler_made *made;            /* [made_count] each token made since a penalty asks for it, once; NULL: none asks */
    uint32_t made_count, made_most;
    struct lamina_bias *bias;             /* [s.bias_count] of different tokens */
};

lamina_status sampler_init(struct sampler *s, uint32_t vocab, uint32_t positions, struct lamina_error *err);
void sampler_drop(struct sampler *s);
/* USAGE names the parameter that is out of range. */
lamina_status sampler_set(struct sampler *s, const struct lamina_sampling *sampling, struct lamina_error *err);
void sampler_saw(struct sampler *s, uint32_t id);  /* a token of the sequence; */
void sampler_made(struct sampler *s, uint32_t id); /* also, when it is none of the prompt */
void sampler_forget(struct sampler *s);

/* The next token for `position`. Filters in the reference framework's order: bias, penalties, temperature, top-k,
 * top-p, min-p. DAMAGED when the logits are not finite. */
lamina_status sampler_choose(struct sampler *s, const struct kern_table *kern, const float *logits, uint32_t position,
                             uint32_t *id, struct lamina_error *err);

#endif
