/* SPDX-License-Identifier: Apache-2.0
 *
 * The choice of experts (reference/models.md section 3): scores become probabilities, a group or a bias may steer the
 * choice, the chosen ones' probabilities become weights. Scalar, in one order of operations; a row costs microseconds
 * beside experts of megabytes.
 */
#include <math.h>

#include "kern/kern.h"
#include "kern/math.h"

enum { MOST = KERN_MAX_EXPERTS };

static void softmax(float *p, const float *x, uint32_t n) {
    float largest = -INFINITY;
    float sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    for (uint32_t i = 0; i < n; i++) {
        p[i] = kern_expf(x[i] - largest);
        sum += p[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        p[i] /= sum;
    }
}

/* The largest not yet taken, the lowest number on ties; taken ones are NaN. */
static uint32_t best_of(const float *x, uint32_t begin, uint32_t end) {
    uint32_t best = end;
    for (uint32_t i = begin; i < end; i++) {
        if (x[i] == x[i] && (best == end || x[i] > x[best])) {
            best = i;
        }
    }
    return best == end ? begin : best;
}

static float group_score(const float *x, uint32_t begin, uint32_t end, bool by_two) {
    uint32_t first = best_of(x, begin, end);
    float second = -INFINITY;
    for (uint32_t i = begin; by_two && i < end; i++) {
        second = i != first && x[i] > second ? x[i] : second;
    }
    return by_two && end - begin > 1 ? x[first] + second : x[first];
}

/* Experts outside the best groups leave the contest. */
static void keep_groups(float *choice, uint32_t experts, const struct kern_routing *r) {
    float score[MOST];
    uint32_t size = experts / r->groups;
    for (uint32_t g = 0; g < r->groups; g++) {
        score[g] = group_score(choice, g * size, (g + 1) * size, r->group_by_two);
    }
    for (uint32_t k = 0; k < r->kept_groups; k++) {
        score[best_of(score, 0, r->groups)] = NAN;
    }
    for (uint32_t g = 0; g < r->groups; g++) {
        for (uint32_t i = g * size; score[g] == score[g] && i < (g + 1) * size; i++) {
            choice[i] = -INFINITY;
        }
    }
}

static void sort_up(uint16_t *e, uint32_t n) {
    for (uint32_t i = 1; i < n; i++) {
        for (uint32_t k = i; k > 0 && e[k - 1] > e[k]; k--) {
            uint16_t t = e[k];
            e[k] = e[k - 1];
            e[k - 1] = t;
        }
    }
}

static void weigh(struct kern_choice *c, const float *p, const float *factors, const struct kern_routing *r) {
    float sum = 0;
    for (uint32_t k = 0; k < r->top_k; k++) {
        c->weight[k] = p[c->expert[k]];
        sum += c->weight[k];
    }
    if (r->score == KERN_SCORE_CHOSEN) {
        float chosen[KERN_MAX_TOP_K];
        for (uint32_t k = 0; k < r->top_k; k++) {
            chosen[k] = c->weight[k];
        }
        softmax(c->weight, chosen, r->top_k);
    } else if (r->renormed) {
        for (uint32_t k = 0; k < r->top_k; k++) {
            c->weight[k] /= sum + 1e-20f;
        }
    }
    for (uint32_t k = 0; k < r->top_k; k++) {
        c->weight[k] *= factors != NULL ? r->factor * factors[c->expert[k]] : r->factor;
    }
}

/* p of each chosen expert in place of its score, see KERN_SCORE_NEAR. */
static void choose_near(float *p, const float *scores, uint32_t experts, const struct kern_routing *r) {
    float left[MOST];
    for (uint32_t i = 0; i < experts; i++) {
        left[i] = scores[i];
    }
    for (uint32_t k = 0; k < r->top_k; k++) {
        const uint32_t best = best_of(left, 0, experts);
        const float most = left[best];
        float sum = 0;
        for (uint32_t i = 0; i < experts; i++) {
            const float size = fabsf(scores[i]) > most ? fabsf(scores[i]) : most;
            const bool near = left[i] == left[i] && !((most - scores[i]) / size > 2.0f * r->jitter);
            sum += near ? kern_expf(scores[i] - most) : 0.0f;
        }
        p[best] = 1.0f / sum;
        left[best] = NAN;
    }
}

void kern_route(struct kern_choice *c, const float *scores, const float *bias, const float *factors, uint32_t experts,
                const struct kern_routing *r) {
    float p[MOST];
    float choice[MOST];
    if (r->score == KERN_SCORE_SOFTMAX) {
        softmax(p, scores, experts);
    }
    for (uint32_t i = 0; i < experts; i++) {
        if (r->score == KERN_SCORE_SIGMOID) {
            p[i] = 1.0f / (1.0f + kern_expf(-scores[i]));
        } else if (r->score != KERN_SCORE_SOFTMAX) {
            p[i] = scores[i];
        }
        choice[i] = bias != NULL ? p[i] + bias[i] : p[i];
    }
    if (r->groups != 0) {
        keep_groups(choice, experts, r);
    }
    for (uint32_t k = 0; k < r->top_k; k++) {
        uint32_t best = best_of(choice, 0, experts);
        c->expert[k] = (uint16_t)best;
        choice[best] = NAN;
    }
    sort_up(c->expert, r->top_k);
    if (r->score == KERN_SCORE_NEAR) {
        choose_near(p, scores, experts, r);
    }
    weigh(c, p, factors, r);
}
