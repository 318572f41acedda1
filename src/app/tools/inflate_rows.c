/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of the small checkpoint in bounded memory. A tensor up to POOL_BYTES is held whole; of a larger one evenly
 * spaced rows are held for noise to draw from, and its other rows are read when they are copied. Leases keep a slot
 * alive; unleased slots go, least recently used first, when CACHE_BYTES would be exceeded. A source promises nothing
 * to two threads at once, so every read of it happens under the lock. */
#include <stdlib.h>

#include "app/tools/inflate_priv.h"
#include "base/checked.h"

enum { SLOTS = 512 };
#define POOL_BYTES  (UINT64_C(16) << 20)
#define CACHE_BYTES (UINT64_C(64) << 20)

struct slot {
    uint8_t *data;
    uint32_t index; /* tensor of the source */
    uint32_t leases;
    uint64_t bytes;
    uint64_t rows, stride;
    uint64_t used; /* clock of the last lease */
};

struct inflate_rows {
    const struct lamina_source *source;
    pthread_mutex_t lock; /* guards everything below and the source */
    uint64_t clock;
    uint64_t bytes;
    struct slot slots[SLOTS];
};

lamina_status inflate_rows_open(struct inflate_rows **rows, const struct lamina_source *source,
                                struct lamina_error *err) {
    struct inflate_rows *r = (struct inflate_rows *)calloc(1, sizeof(*r));
    if (r == NULL || pthread_mutex_init(&r->lock, NULL) != 0) {
        free(r);
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the rows of the small checkpoint");
    }
    r->source = source;
    *rows = r;
    return LAMINA_OK;
}

void inflate_rows_close(struct inflate_rows **rows) {
    struct inflate_rows *r = *rows;
    *rows = NULL;
    if (r == NULL) {
        return;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        free(r->slots[i].data);
    }
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

static void drop_slot(struct inflate_rows *r, struct slot *s) {
    r->bytes -= s->bytes;
    free(s->data);
    *s = (struct slot){0};
}

/* A free slot with room for `bytes`; old ones go for it. NULL when all are leased. */
static struct slot *make_room(struct inflate_rows *r, uint64_t bytes) {
    for (;;) {
        struct slot *empty = NULL;
        struct slot *oldest = NULL;
        for (size_t i = 0; i < SLOTS; i++) {
            struct slot *s = &r->slots[i];
            if (s->data == NULL) {
                empty = s;
            } else if (s->leases == 0 && (oldest == NULL || s->used < oldest->used)) {
                oldest = s;
            }
        }
        if (oldest == NULL || (empty != NULL && r->bytes + bytes <= CACHE_BYTES)) {
            return empty;
        }
        drop_slot(r, oldest);
    }
}

static lamina_status load(struct inflate_rows *r, const struct inflate_tensor_info *t, struct slot *s,
                          struct lamina_error *err) {
    uint64_t row_bytes = t->cols * t->format->bytes;
    uint64_t held = max_u64(1, min_u64(t->rows, POOL_BYTES / max_u64(1, row_bytes)));
    uint64_t stride = t->rows / held;
    uint8_t *data = (uint8_t *)malloc((size_t)(held * row_bytes) + 1);
    if (data == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for %llu bytes of the small checkpoint",
                         (unsigned long long)(held * row_bytes));
    }
    lamina_status status = LAMINA_OK;
    if (stride == 1) {
        held = t->rows <= held ? t->rows : held;
        status = r->source->read(r->source->user, t->index, 0, data, (size_t)(held * row_bytes), err);
    }
    for (uint64_t i = 0; stride != 1 && i < held && status == LAMINA_OK; i++) {
        status = r->source->read(r->source->user, t->index, i * stride * row_bytes, data + i * row_bytes,
                                 (size_t)row_bytes, err);
    }
    if (status != LAMINA_OK) {
        free(data);
        return status;
    }
    *s = (struct slot){.data = data, .index = t->index, .bytes = held * row_bytes, .rows = held, .stride = stride};
    r->bytes += s->bytes;
    return LAMINA_OK;
}

lamina_status inflate_rows_take(struct inflate_rows *r, const struct inflate_tensor_info *t,
                                struct inflate_lease *lease, struct lamina_error *err) {
    lamina_status status = LAMINA_OK;
    (void)pthread_mutex_lock(&r->lock);
    struct slot *found = NULL;
    for (size_t i = 0; i < SLOTS && found == NULL; i++) {
        found = r->slots[i].data != NULL && r->slots[i].index == t->index ? &r->slots[i] : NULL;
    }
    if (found == NULL) {
        found = make_room(r, min_u64(t->rows * t->cols * t->format->bytes, POOL_BYTES));
        status = found == NULL ? base_fail(err, LAMINA_UNEXPECTED, "too many tensors of the small checkpoint in use")
                               : load(r, t, found, err);
    }
    if (status == LAMINA_OK) {
        found->leases++;
        found->used = ++r->clock;
        *lease = (struct inflate_lease){found->data, found->rows, found->stride, (int)(found - r->slots)};
    }
    (void)pthread_mutex_unlock(&r->lock);
    return status;
}

void inflate_rows_give(struct inflate_rows *r, struct inflate_lease *lease) {
    if (lease->data == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&r->lock);
    r->slots[lease->slot].leases--;
    (void)pthread_mutex_unlock(&r->lock);
    *lease = (struct inflate_lease){0};
}

lamina_status inflate_rows_row(struct inflate_rows *r, const struct inflate_tensor_info *t,
                               const struct inflate_lease *lease, uint64_t row, void *scratch, const uint8_t **data,
                               struct lamina_error *err) {
    uint64_t row_bytes = t->cols * t->format->bytes;
    if (row % lease->stride == 0 && row / lease->stride < lease->rows) {
        *data = lease->data + row / lease->stride * row_bytes;
        return LAMINA_OK;
    }
    (void)pthread_mutex_lock(&r->lock);
    lamina_status status = r->source->read(r->source->user, t->index, row * row_bytes, scratch, (size_t)row_bytes, err);
    (void)pthread_mutex_unlock(&r->lock);
    *data = (const uint8_t *)scratch;
    return status;
}
