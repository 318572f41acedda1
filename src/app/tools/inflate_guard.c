/* SPDX-License-Identifier: Apache-2.0
 *
 * Padded ids never win. Hidden column h, the reserved one, carries a constant e = 2^carrier from every embedding
 * row; no layer writes it, and the gains of the layers' norms there are tiny, so nothing reads it but the last norm,
 * whose gain G there is large. Padded rows of the head hold -2^barrier there, real rows 0 (tied: e, which adds the
 * same to all). With rho = sqrt(mean square + eps) of the small model's last residual, a padded id's logit is
 * lowered by
 *
 *     2^barrier * e * G * sqrt(H/h) / rho         and it must be at least
 *     MARGIN + any real logit + any padded one    = target, for every rho a text could give.
 *
 * rho is bounded by the weights alone: a normalised row has norm <= sqrt(h) times the largest gain, attention
 * averages v, |silu(x)| <= |x|, and |W x| <= |W| |x| with the Frobenius norm. Generous by thousands, but fp32 has
 * room: G makes the target hold at the largest rho, and at the smallest, sqrt(eps), the logit is still far from
 * overflow. e is 2^-20 of the smallest embedding norm, so its square is lost below the rounding of every norm (F16:
 * 2^-13). */
#include <math.h>
#include <stdlib.h>

#include "app/tools/inflate_priv.h"
#include "base/checked.h"

#define MARGIN             1024.0
#define LARGEST_LOGIT      1e30
#define LARGEST_TIED_SHIFT 16.0

struct norms {
    double total;    /* Frobenius */
    double largest;  /* of one row; of a vector, its largest element */
    double smallest; /* of one row */
    double element;  /* largest magnitude */
};

static lamina_status add_row(const struct inflate_tensor_info *t, const uint8_t *row, struct norms *n) {
    double sum = 0;
    for (uint64_t c = 0; c < t->cols; c++) {
        double value = fabs(inflate_number(t->format, row + c * t->format->bytes));
        if (!isfinite(value)) {
            return LAMINA_DAMAGED;
        }
        sum += value * value;
        n->element = fmax(n->element, value);
    }
    n->total += sum;
    n->largest = fmax(n->largest, sqrt(sum));
    n->smallest = fmin(n->smallest, sqrt(sum));
    return LAMINA_OK;
}

/* All zero for a tensor the checkpoint does not have. */
static lamina_status measure(struct inflate *inf, enum inflate_role role, uint32_t layer, struct norms *n,
                             struct lamina_error *err) {
    const struct inflate_tensor_info *t = inflate_info(inf, role, layer);
    *n = (struct norms){0};
    if (t->format == NULL) {
        return LAMINA_OK;
    }
    n->smallest = HUGE_VAL;
    uint64_t row_bytes = t->cols * t->format->bytes;
    uint64_t step = max_u64(1, (UINT64_C(1) << 20) / row_bytes);
    uint8_t *buffer = (uint8_t *)malloc((size_t)(min_u64(step, t->rows) * row_bytes));
    lamina_status status = buffer != NULL ? LAMINA_OK : base_fail(err, LAMINA_NO_FIT, "out of memory");
    for (uint64_t row = 0; row < t->rows && status == LAMINA_OK; row += step) {
        uint64_t count = min_u64(step, t->rows - row);
        status =
            inf->source->read(inf->source->user, t->index, row * row_bytes, buffer, (size_t)(count * row_bytes), err);
        for (uint64_t i = 0; i < count && status == LAMINA_OK; i++) {
            status = add_row(t, buffer + i * row_bytes, n);
            if (status != LAMINA_OK) {
                (void)base_fail(err, status, "%s (layer %u): row %llu holds an infinity or a NaN",
                                inflate_role_info(role)->name, layer, (unsigned long long)(row + i));
            }
        }
    }
    n->total = sqrt(n->total);
    free(buffer);
    return status;
}

/* How much a layer can add to the norm of the residual. */
static lamina_status bound_layer(struct inflate *inf, uint32_t layer, double *bound, struct lamina_error *err) {
    struct norms n[INFLATE_LAYER_ROLES];
    for (uint32_t role = 0; role < INFLATE_LAYER_ROLES; role++) {
        LAMINA_TRY(measure(inf, (enum inflate_role)role, layer, &n[role], err));
    }
    const struct inflate_shape *s = &inf->pair.small;
    double root = sqrt((double)s->hidden);
    double attn_in = root * n[INFLATE_ATTN_NORM].element;
    double mlp_in = root * n[INFLATE_MLP_NORM].element;
    double value = n[INFLATE_V].total * attn_in + n[INFLATE_V_BIAS].total;
    double attn = sqrt((double)s->heads / s->kv_heads) * value;
    double gate = n[INFLATE_GATE].total * mlp_in + n[INFLATE_GATE_BIAS].total;
    double up = n[INFLATE_UP].total * mlp_in + n[INFLATE_UP_BIAS].total;
    *bound = n[INFLATE_O].total * attn + n[INFLATE_O_BIAS].total + n[INFLATE_DOWN].total * gate * up +
             n[INFLATE_DOWN_BIAS].total;
    return LAMINA_OK;
}

lamina_status inflate_guard_find(struct inflate *inf, struct lamina_error *err) {
    const struct inflate_shape *s = &inf->pair.small;
    const struct inflate_format *embed_format = inflate_info(inf, INFLATE_EMBED, 0)->format;
    const struct inflate_format *head_format = s->tied ? embed_format : inflate_info(inf, INFLATE_HEAD, 0)->format;
    struct norms embed;
    struct norms head;
    struct norms gain;
    LAMINA_TRY(measure(inf, INFLATE_EMBED, 0, &embed, err));
    LAMINA_TRY(measure(inf, s->tied ? INFLATE_EMBED : INFLATE_HEAD, 0, &head, err));
    LAMINA_TRY(measure(inf, INFLATE_NORM, 0, &gain, err));
    double residual = embed.largest;
    for (uint32_t layer = 0; layer < s->layers; layer++) {
        double more = 0;
        LAMINA_TRY(bound_layer(inf, layer, &more, err));
        residual += more;
    }
    double h = (double)s->hidden;
    double eps = inf->config.eps;
    double rho_most = sqrt(residual * residual / h + eps);
    double rho_least = sqrt(eps);
    double normed = sqrt(h) * gain.element;
    /* A padded row is drawn from real weights, so its norm is at most that of the largest weight everywhere. */
    double target = MARGIN + head.largest * normed + sqrt(h) * head.element * normed;
    bool half = embed_format->exponents < 255;
    int carrier = ilogb(sqrt(embed.smallest * embed.smallest + h * eps)) - (half ? 13 : 20);
    int barrier = head_format->exponents < 255 ? 15 : 40;
    double e = ldexp(1, carrier);
    double final_gain = target * rho_most * sqrt(h / inf->pair.big.hidden) / ldexp(e, barrier);
    double worst = target * rho_most / rho_least;
    double shift = inf->pair.big.tied ? worst / ldexp(1, barrier) * e : 0;
    if (inflate_power_bits(embed_format, carrier, false) == 0 || !(worst < LARGEST_LOGIT) ||
        !(final_gain > 1e-30 && final_gain < 1e30) || shift > LARGEST_TIED_SHIFT) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "the %s weights leave no room for a value that keeps padded vocabulary ids "
                         "out%s: keep --vocab %u",
                         embed_format->name, inf->pair.big.tied ? " of a tied head (--untied may)" : "", s->vocab);
    }
    inf->guard = (struct inflate_guard){carrier, barrier, (float)final_gain};
    return LAMINA_OK;
}
