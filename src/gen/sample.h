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

struct sampler {
    struct lamina_sampling s;
    uint32_t vocab;
    struct sampler_candidate *candidates; /* [vocab] */
    uint8_t *seen;                        /* [vocab] tokens of the sequence so far, for the repetition penalty */
};

lamina_status sampler_init(struct sampler *s, uint32_t vocab, struct lamina_error *err);
void sampler_drop(struct sampler *s);
/* USAGE names the parameter that is out of range. */
lamina_status sampler_set(struct sampler *s, const struct lamina_sampling *sampling, struct lamina_error *err);
void sampler_saw(struct sampler *s, uint32_t id);
void sampler_forget(struct sampler *s);

/* The next token for `position`. Filters in the reference framework's order: repetition penalty, temperature, top-k,
 * top-p, min-p. DAMAGED when the logits are not finite. */
lamina_status sampler_choose(struct sampler *s, const struct kern_table *kern, const float *logits, uint32_t position,
                             uint32_t *id, struct lamina_error *err);

#endif
