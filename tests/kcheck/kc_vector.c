/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks of the kernels over one vector, at lengths around every multiple of 16 and on special values; and of exp, which
 * all levels must evaluate alike, over a sweep of the floats (through silu_mul and logsumexp).
 */
#include <math.h>
#include <string.h>

#include "kcheck.h"

/* The entries that no level writes again: same bits from both builds of the scalar sources, and near the textbook. */
static void check_plain_loops(struct kc *k, const float *x, const float *y, size_t n, enum kc_kind kind) {
    const size_t bytes = n * sizeof(float);
    struct kc_buffer want = kc_alloc(bytes), got = kc_alloc(bytes);
    const struct kern_affine with = {y, x}, without = {y, NULL}, bare = {NULL, NULL};
    const struct kern_table *a = &k->reference, *b = &k->table;
    a->layernorm(want.p, x, &with, n, 1e-5f);
    b->layernorm(got.p, x, &with, n, 1e-5f);
    kc_same_floats(k, want.p, got.p, n, "layernorm n %zu kind %d", n, kind);
    a->layernorm(want.p, x, &without, n, 1e-5f);
    b->layernorm(got.p, x, &without, n, 1e-5f);
    kc_same_floats(k, want.p, got.p, n, "layernorm without bias n %zu kind %d", n, kind);
    a->layernorm(want.p, x, &bare, n, 1e-5f);
    b->layernorm(got.p, x, &bare, n, 1e-5f);
    kc_same_floats(k, want.p, got.p, n, "layernorm without weights n %zu kind %d", n, kind);
    a->unit_norm(want.p, x, n, 1e-6f);
    b->unit_norm(got.p, x, n, 1e-6f);
    kc_same_floats(k, want.p, got.p, n, "unit_norm n %zu kind %d", n, kind);
    for (int act = 0; act < KERN_ACTS; act++) {
        a->activate(want.p, x, n, (enum kern_act)act);
        b->activate(got.p, x, n, (enum kern_act)act);
        kc_same_floats(k, want.p, got.p, n, "activation %d n %zu kind %d", act, n, kind);
    }
    memcpy(want.p, x, bytes);
    memcpy(got.p, x, bytes);
    a->mul(want.p, y, n), b->mul(got.p, y, n);
    a->sigmoid_mul(want.p, y, n), b->sigmoid_mul(got.p, y, n);
    a->add_scaled(want.p, y, n, 0.3f), b->add_scaled(got.p, y, n, 0.3f);
    a->scale(want.p, want.p, n, 1.7f), b->scale(got.p, got.p, n, 1.7f);
    a->clamp(want.p, n, 2.5f), b->clamp(got.p, n, 2.5f);
    a->soft_cap(want.p, n, 5.0f), b->soft_cap(got.p, n, 5.0f);
    kc_same_floats(k, want.p, got.p, n, "mul, sigmoid_mul, add_scaled, scale, clamp, soft_cap n %zu kind %d", n, kind);
    kc_free(&want);
    kc_free(&got);
}

/* tanh, erf and the activations against the C library in fp64. */
static void check_curves(struct kc *k) {
    double worst[3] = {0};
    for (int i = -8000; i <= 8000; i++) {
        const float x = (float)i / 1000.0f;
        float capped = x, gelu = 0, exact = 0;
        k->table.soft_cap(&capped, 1, 1.0f);
        k->table.activate(&gelu, &x, 1, KERN_ACT_GELU_TANH);
        k->table.activate(&exact, &x, 1, KERN_ACT_GELU_ERF);
        const double d = (double)x, inner = sqrt(2.0 / acos(-1.0)) * (d + 0.044715 * d * d * d);
        worst[0] = fmax(worst[0], fabs((double)capped - tanh(d)));
        worst[1] = fmax(worst[1], fabs((double)gelu - 0.5 * d * (1 + tanh(inner))));
        worst[2] = fmax(worst[2], fabs((double)exact - 0.5 * d * (1 + erf(d / sqrt(2.0)))));
    }
    kc_expect(k, worst[0] < 2e-7 && worst[1] < 1e-6 && worst[2] < 1e-6, "tanh off by %g, gelu by %g and %g", worst[0], worst[1],
              worst[2]);
}

static void check_length(struct kc *k, size_t n, enum kc_kind kind) {
    const size_t bytes = n * sizeof(float);
    struct kc_buffer x = kc_alloc(bytes), w = kc_alloc(bytes), want = kc_alloc(bytes), got = kc_alloc(bytes);
    const float eps = kc_below(k, 2) ? 1e-5f : 1e-6f;
    kc_fill(k, x.p, n, kind);
    kc_fill(k, w.p, n, kind);
    k->reference.rmsnorm(want.p, x.p, w.p, n, eps);
    k->table.rmsnorm(got.p, x.p, w.p, n, eps);
    kc_same_floats(k, want.p, got.p, n, "rmsnorm n %zu kind %d", n, kind);
    memcpy(got.p, x.p, bytes);
    k->table.rmsnorm(got.p, got.p, w.p, n, eps);
    kc_same_floats(k, want.p, got.p, n, "rmsnorm in place n %zu kind %d", n, kind);

    k->reference.silu_mul(want.p, x.p, w.p, n);
    k->table.silu_mul(got.p, x.p, w.p, n);
    kc_same_floats(k, want.p, got.p, n, "silu_mul n %zu kind %d", n, kind);
    memcpy(got.p, x.p, bytes);
    k->table.silu_mul(got.p, got.p, w.p, n);
    kc_same_floats(k, want.p, got.p, n, "silu_mul in place n %zu kind %d", n, kind);

    memcpy(want.p, x.p, bytes);
    memcpy(got.p, x.p, bytes);
    k->reference.add(want.p, w.p, n);
    k->table.add(got.p, w.p, n);
    kc_same_floats(k, want.p, got.p, n, "add n %zu kind %d", n, kind);

    check_plain_loops(k, x.p, w.p, n, kind);
    bool finite_want = false, finite_got = true;
    const uint32_t best = k->reference.argmax(x.p, n, &finite_want), found = k->table.argmax(x.p, n, &finite_got);
    kc_expect(k, best == found, "argmax n %zu kind %d: want %u, got %u", n, kind, best, found);
    kc_expect(k, finite_want == finite_got, "argmax n %zu kind %d: finite is %d", n, kind, finite_want);
    if (finite_want) {
        const float a = k->reference.logsumexp(x.p, n), b = k->table.logsumexp(x.p, n);
        kc_same_floats(k, &a, &b, 1, "logsumexp n %zu kind %d", n, kind);
    }
    kc_free(&x);
    kc_free(&w);
    kc_free(&want);
    kc_free(&got);
}

/* Ties, all equal, all NaN, and one value that is not finite at each place. */
static void check_argmax(struct kc *k, size_t n) {
    struct kc_buffer x = kc_alloc(n * sizeof(float));
    float *v = x.p;
    bool finite;
    for (size_t i = 0; i < n; i++) {
        v[i] = -1.0f;
    }
    kc_expect(k, k->table.argmax(v, n, &finite) == 0 && finite, "argmax of equal values, n %zu", n);
    for (size_t i = 0; i < n; i++) {
        v[i] = 2.0f;
        v[n - 1] = 2.0f;
        kc_expect(k, k->table.argmax(v, n, &finite) == i && finite, "argmax of a tie, n %zu, place %zu", n, i);
        v[i] = v[n - 1] = -1.0f;
        v[i] = NAN;
        kc_expect(k, k->table.argmax(v, n, &finite) == (i == 0 && n > 1) && !finite, "argmax beside NaN, n %zu, place %zu",
                  n, i);
        v[i] = -INFINITY;
        kc_expect(k, k->table.argmax(v, n, &finite) == (i == 0 && n > 1) && !finite, "argmax beside -inf, n %zu", n);
        v[i] = INFINITY;
        kc_expect(k, k->table.argmax(v, n, &finite) == i && !finite, "argmax of infinity, n %zu, place %zu", n, i);
        v[i] = -1.0f;
    }
    for (size_t i = 0; i < n; i++) {
        v[i] = i % 2 ? -INFINITY : NAN;
    }
    kc_expect(k, k->table.argmax(v, n, &finite) == 0 && !finite, "argmax of NaN and -inf, n %zu", n);
    kc_free(&x);
}

static void check_rope(struct kc *k, uint32_t heads, uint32_t head_dim, uint32_t rope_dim, enum kc_kind kind) {
    const size_t n = (size_t)heads * head_dim, half = rope_dim / 2;
    struct kc_buffer want = kc_alloc(n * sizeof(float)), got = kc_alloc(n * sizeof(float));
    struct kc_buffer c = kc_alloc(half * sizeof(float)), s = kc_alloc(half * sizeof(float));
    kc_fill(k, want.p, n, kind);
    memcpy(got.p, want.p, want.bytes);
    kc_fill(k, c.p, half, KC_PLAIN);
    kc_fill(k, s.p, half, KC_PLAIN);
    k->reference.rope(want.p, c.p, s.p, heads, head_dim, rope_dim);
    k->table.rope(got.p, c.p, s.p, heads, head_dim, rope_dim);
    kc_same_floats(k, want.p, got.p, n, "rope heads %u head_dim %u rope_dim %u", heads, head_dim, rope_dim);
    kc_free(&want);
    kc_free(&got);
    kc_free(&c);
    kc_free(&s);
}

/* Every float with a stride of 1009 in its bits, in rows of 4096, through the levels' exp. */
static void check_exp_sweep(struct kc *k) {
    enum { N = 4096, STRIDE = 1009 };
    static float x[N], one[N], want[N], got[N];
    uint64_t bits = kc_below(k, STRIDE);
    for (size_t i = 0; i < N; i++) {
        one[i] = 1.0f;
    }
    while (bits <= UINT32_MAX) {
        size_t n = 0;
        for (; n < N && bits <= UINT32_MAX; n++, bits += STRIDE) {
            const uint32_t b = (uint32_t)bits;
            memcpy(&x[n], &b, sizeof b);
        }
        k->reference.silu_mul(want, x, one, n);
        k->table.silu_mul(got, x, one, n);
        if (!kc_same_floats(k, want, got, n, "exp sweep up to bits %08x", (uint32_t)(bits - STRIDE))) {
            return;
        }
    }
}

void kc_check_vector(struct kc *k) {
    static const uint32_t large[] = {95, 96, 97, 127, 128, 129, 1000, 4096, 4111, 32000};
    for (uint32_t n = 1; n <= 66; n++) {
        for (int kind = KC_PLAIN; kind <= KC_SPECIAL; kind++) {
            check_length(k, n, (enum kc_kind)kind);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(large); i++) {
        check_length(k, large[i], KC_PLAIN);
        check_length(k, large[i], KC_EXTREME);
    }
    for (size_t n = 1; n <= 50; n += 1 + n / 20) {
        check_argmax(k, n);
    }
    for (uint32_t half = 1; half <= 66; half++) {
        const uint32_t rope_dim = 2 * half;
        check_rope(k, 1 + kc_below(k, 5), rope_dim + kc_below(k, 3) * 7, rope_dim, (enum kc_kind)(half % 3));
    }
    check_exp_sweep(k);
    check_curves(k);
}
