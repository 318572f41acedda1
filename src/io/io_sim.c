/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine for tests: real bytes, made-up time and faults. The fate of a transfer is drawn when it is started; the pread
 * happens when the virtual clock has reached its due time. Only collect() moves that clock, so waiting (retry delays
 * included) takes no real time. The invariant: the same seed and the same calls give the same deliveries. Destinations
 * are scribbled over until delivery, so that a caller who looks early sees garbage.
 *
 *     latency_us  jitter_us   due after latency + 0..jitter          reorder=1   delivered in random order
 *     short eio eagain flip   per mille of transfers                 einval=1    direct transfers are refused
 *     eio_sticky=OFFSET       transfers that cover this byte of any file fail for ever
 *     seed
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "io/io_priv.h"

struct settings {
    uint64_t latency_us, jitter_us, reorder, cut, eio, eagain, flip, einval, eio_sticky, seed;
};

struct pending {
    struct io_transfer t;
    uint64_t due_ns;
    uint64_t order;
    int32_t error;   /* negative errno, 0: reads */
    uint64_t cut_at; /* random number that chooses where a short read ends; 0: whole */
    uint64_t flip;   /* random number that chooses the bit to turn over; 0: none */
};

struct sim {
    struct settings set;
    uint64_t clock_ns;
    uint64_t last_due_ns;
    uint64_t started;
    uint64_t random;
    uint32_t count;
    struct pending pending[IO_MOST_DEPTH]; /* the first `count` are under way */
};

enum { POLL_STEP_NS = 10000 }; /* a caller that only polls must see time pass too */

/* SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
static uint64_t next_random(struct sim *s) {
    s->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = s->random;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static bool happens(struct sim *s, uint64_t per_mille) {
    return per_mille > 0 && next_random(s) % 1000 < per_mille;
}

static int32_t draw_error(struct sim *s, const struct io_transfer *t) {
    uint64_t sticky = s->set.eio_sticky;
    bool eio = happens(s, s->set.eio);
    bool eagain = happens(s, s->set.eagain);
    if (s->set.einval != 0 && sys_file_is_direct(t->file)) {
        return -EINVAL;
    }
    if (eio || (sticky >= t->offset && sticky - t->offset < t->len)) {
        return -EIO;
    }
    return eagain ? -EAGAIN : 0;
}

static void sim_start(void *self, const struct io_transfer *t) {
    struct sim *s = self;
    struct pending *p = &s->pending[s->count++];
    uint64_t jitter_ns = s->set.jitter_us > 0 ? next_random(s) % (s->set.jitter_us * 1000) : 0;
    *p = (struct pending){.t = *t, .order = s->started++, .due_ns = s->clock_ns + s->set.latency_us * 1000 + jitter_ns};
    if (s->set.reorder == 0 && p->due_ns < s->last_due_ns) {
        p->due_ns = s->last_due_ns;
    }
    s->last_due_ns = p->due_ns;
    p->error = draw_error(s, t);
    p->cut_at = happens(s, s->set.cut) ? next_random(s) | 1 : 0;
    p->flip = happens(s, s->set.flip) ? next_random(s) | 1 : 0;
    memset(t->dst, 0xdb, t->len);
}

static void sim_flush(void *self) {
    (void)self;
}

static uint32_t choose(struct sim *s) {
    if (s->set.reorder != 0) {
        return (uint32_t)(next_random(s) % s->count);
    }
    uint32_t best = 0;
    for (uint32_t i = 1; i < s->count; i++) {
        best = s->pending[i].order < s->pending[best].order ? i : best;
    }
    return best;
}

static struct io_raw deliver(struct sim *s, uint32_t at) {
    struct pending p = s->pending[at];
    s->pending[at] = s->pending[--s->count];
    struct io_raw raw = {.slot = p.t.slot, .result = p.error};
    if (p.error != 0) {
        return raw;
    }
    raw.result = io_pread_raw(&p.t);
    /* The last unit comes whole, or a read that is always cut short could never end. */
    if (p.cut_at != 0 && raw.result > 1 && (uint32_t)raw.result > p.t.file->alignment) {
        int32_t keep = 1 + (int32_t)(p.cut_at % (uint32_t)(raw.result - 1));
        memset((char *)p.t.dst + keep, 0xdb, (size_t)(raw.result - keep));
        raw.result = keep;
    }
    if (raw.result > 0 && p.flip != 0) {
        ((uint8_t *)p.t.dst)[p.flip % (uint32_t)raw.result] ^= (uint8_t)(1u << (p.flip >> 60 & 7));
    }
    return raw;
}

static uint32_t sim_collect(void *self, struct io_raw *out, uint32_t max, uint64_t timeout_ns) {
    struct sim *s = self;
    uint32_t n = 0;
    while (n < max && s->count > 0) {
        uint32_t at = choose(s);
        uint64_t due = s->pending[at].due_ns;
        if (due > s->clock_ns && (n > 0 || due - s->clock_ns > timeout_ns)) {
            break;
        }
        s->clock_ns = due > s->clock_ns ? due : s->clock_ns;
        out[n++] = deliver(s, at);
    }
    if (n == 0 && timeout_ns != UINT64_MAX) {
        s->clock_ns += timeout_ns > POLL_STEP_NS ? timeout_ns : POLL_STEP_NS;
    }
    return n;
}

static void sim_close(void *self) {
    free(self);
}

static const char *sim_name(const void *self) {
    (void)self;
    return "simulation";
}

static uint64_t sim_now(void *self) {
    const struct sim *s = self;
    return s->clock_ns;
}

/* "name=number,name=number" */
static lamina_status parse(const char *text, struct settings *set, struct lamina_error *err) {
    const struct {
        const char *name;
        uint64_t *value;
        uint64_t most;
    } keys[] = {
        {"latency_us", &set->latency_us, 1000000000}, {"jitter_us", &set->jitter_us, 1000000000},
        {"reorder", &set->reorder, 1},                {"short", &set->cut, 1000},
        {"eio", &set->eio, 1000},                     {"eagain", &set->eagain, 1000},
        {"flip", &set->flip, 1000},                   {"einval", &set->einval, 1},
        {"eio_sticky", &set->eio_sticky, UINT64_MAX}, {"seed", &set->seed, UINT64_MAX},
    };
    for (const char *p = text; *p != 0;) {
        size_t len = strcspn(p, "=,");
        size_t i = 0;
        while (i < ARRAY_LEN(keys) && !(strlen(keys[i].name) == len && memcmp(keys[i].name, p, len) == 0)) {
            i++;
        }
        if (i == ARRAY_LEN(keys) || p[len] != '=' || p[len + 1] < '0' || p[len + 1] > '9') {
            return base_fail(err, LAMINA_USAGE, "the simulation does not understand \"%s\"", p);
        }
        char *end = NULL;
        *keys[i].value = strtoull(p + len + 1, &end, 10);
        if ((*end != 0 && *end != ',') || *keys[i].value > keys[i].most) {
            return base_fail(err, LAMINA_USAGE, "the simulation wants a number up to %llu in \"%s\"",
                             (unsigned long long)keys[i].most, p);
        }
        p = *end == ',' ? end + 1 : end;
    }
    return LAMINA_OK;
}

lamina_status io_sim_backend(struct io_backend *out, const struct io_options *o, struct lamina_error *err) {
    static const struct io_engine_ops ops = {
        .start = sim_start,
        .flush = sim_flush,
        .collect = sim_collect,
        .close = sim_close,
        .name = sim_name,
        .now = sim_now,
    };
    struct settings set = {.eio_sticky = UINT64_MAX};
    LAMINA_TRY(parse(o->sim != NULL ? o->sim : "", &set, err));
    struct sim *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the read simulation");
    }
    s->set = set;
    s->random = set.seed;
    *out = (struct io_backend){.ops = &ops, .self = s};
    return LAMINA_OK;
}
