/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of a pass before the first layer: embeddings by token, rotary factors by position, places in the KV cache. */
#include <string.h>

#include "exec/exec_priv.h"
#include "kern/math.h"

/* ---- embedding rows ---- */

/* A row of a table by token into a register. */
static lamina_status gather_from(struct exec *e, uint32_t worker, enum model_role table, uint32_t t, float *x,
                                 struct lamina_error *err) {
    struct store_file *f = e->o.store->embed;
    const struct store_matrix *m = store_matrix_find(f, table, 0);
    uint32_t token = e->rows[t].token;
    if (token >= m->shape.rows) { /* tables of inputs by layer may be shorter than the vocabulary */
        memset(x, 0, m->shape.cols2 * sizeof(float));
        return LAMINA_OK;
    }
    uint32_t nth = token / KERN_PANEL_ROWS / m->shape.groups_per_tile;
    uint32_t tile = m->first_tile + nth;
    const struct store_tile *st = &f->tiles[tile];
    /* A tied head streams the same panels; one that is pinned need not be read again. */
    const void *bytes = NULL;
    if (table == MODEL_EMBED && e->program->tied_head_first != PROGRAM_NONE) {
        bytes = stream_resident(e->stream, e->program->tied_head_first + nth);
    }
    if (bytes == NULL) {
        uint8_t *own = e->gather + worker * e->gather_bytes;
        LAMINA_TRY(sys_file_read_at(&f->file, f->path, (uint64_t)st->offset_pages * 4096, own, (size_t)st->pages * 4096, err));
        LAMINA_TRY(store_tile_check(f, tile, own, err));
        bytes = own;
    }
    if (m->shape.coding != PANEL_PLAIN) {
        store_decode_row(&m->shape, bytes, token - (uint64_t)nth * m->shape.groups_per_tile * KERN_PANEL_ROWS, x);
        return LAMINA_OK;
    }
    /* An odd width brings one padding column, a zero, into the row's own padding. */
    e->o.dev->kern.unpack_row[m->shape.dtype](x, bytes, token % KERN_PANEL_ROWS, (uint32_t)m->shape.cols2);
    return LAMINA_OK;
}

static lamina_status gather_row(struct exec *e, uint32_t worker, uint32_t t, struct lamina_error *err) {
    LAMINA_TRY(gather_from(e, worker, MODEL_EMBED, t, e->reg[KERN_X] + t * e->stride[KERN_X], err));
    if (e->desc->input_dim == 0) {
        return LAMINA_OK;
    }
    return gather_from(e, worker, MODEL_INPUT_EMBED, t, e->reg[KERN_N] + t * e->stride[KERN_N], err);
}

static void gather_worker(void *arg, uint32_t worker) {
    struct exec *e = (struct exec *)arg;
    for (;;) {
        uint32_t t = atomic_fetch_add(&e->next_row, 1);
        if (t >= e->row_count) {
            return;
        }
        struct lamina_error err = {0};
        if (gather_row(e, worker, t, &err) != LAMINA_OK) {
            sys_mutex_lock(&e->gather_lock);
            if (e->gather_error.code == LAMINA_OK) {
                e->gather_error = err;
            }
            sys_mutex_unlock(&e->gather_lock);
            return;
        }
    }
}

lamina_status exec_gather(struct exec *e, struct lamina_error *err) {
    atomic_store(&e->next_row, 0);
    e->gather_error = (struct lamina_error){0};
    if (e->row_count == 1) {
        gather_worker(e, 0);
    } else {
        e->o.dev->table->on_workers(e->o.dev, gather_worker, e);
    }
    if (e->gather_error.code != LAMINA_OK && err != NULL) {
        *err = e->gather_error;
    }
    return e->gather_error.code;
}

/* ---- positions ---- */

/* cos and sin of one row for one set. */
static void turn_row(struct rope_set *set, uint32_t t, uint32_t position) {
    for (uint32_t i = 0; i < set->half; i++) {
        double sin_x = 0;
        double cos_x = 0;
        /* The angle is rounded to fp32 first, as the reference framework computes it. */
        kern_sincos((double)((float)position * set->inv_freq[i]), &sin_x, &cos_x);
        set->cos[(size_t)t * set->half + i] = (float)cos_x * set->attention_factor;
        set->sin[(size_t)t * set->half + i] = (float)sin_x * set->attention_factor;
    }
}

/* The slot of a length; made where it is new. False: more lengths in one pass than slots. */
static bool find_key_slot(struct exec *e, uint32_t length, uint32_t *slot) {
    struct key_slots *k = &e->keys;
    struct rope_set *set = &e->rope[0];
    uint32_t most = e->desc->max_positions; /* below it the base does not depend on the length */
    uint32_t key = length > most ? length : most;
    uint32_t i = 0;
    while (i < k->slots && k->length[i] != key) {
        i++;
    }
    for (uint32_t s = 0; i == k->slots && s < k->slots; s++) {
        i = k->used[s] ? k->slots : s;
    }
    if (i == k->slots) {
        return false;
    }
    *slot = i;
    k->used[i] = true;
    if (k->length[i] != key) {
        struct rope_set all = *set;
        all.cos = k->cos + (size_t)i * k->positions * set->half;
        all.sin = k->sin + (size_t)i * k->positions * set->half;
        model_rope_frequencies(e->desc, 0, key, set->inv_freq, &set->attention_factor);
        set->length = key;
        all.attention_factor = set->attention_factor;
        for (uint32_t p = 0; p < k->positions; p++) {
            turn_row(&all, p, p);
        }
        k->length[i] = key;
    }
    return true;
}

/* Rotary coordinates of a row. */
static uint32_t coordinate(const struct exec *e, const struct exec_row *row, uint32_t set) {
    if (!e->desc->prefix || row->position < row->prefix) {
        return e->desc->prefix && set == 1 ? 0 : row->position;
    }
    return set == 0 ? row->mask_at : row->position - row->prefix + 1;
}

static lamina_status prepare_row(struct exec *e, uint32_t t, struct lamina_error *err) {
    const struct exec_row *row = &e->rows[t];
    uint32_t slot = 0;
    uint32_t length = model_rope_length(e->desc, row->prompt_length, row->position);
    for (uint32_t i = 0; i < MODEL_ROPES; i++) {
        struct rope_set *set = &e->rope[i];
        if (set->half != 0 && length != set->length) {
            model_rope_frequencies(e->desc, i, length, set->inv_freq, &set->attention_factor);
            set->length = length;
        }
        turn_row(set, t, coordinate(e, row, i));
    }
    if (e->desc->raw_keys && !find_key_slot(e, length, &slot)) {
        return base_fail(err, LAMINA_UNSUPPORTED, "rows of more than %u lengths in one pass, where keys turn with the length",
                         e->keys.slots);
    }
    e->query_factor[t] = model_query_factor(e->desc, row->position);
    e->kv_rows[t] = (struct dev_kv_row){.pages = row->sequence->pages, .allow = row->allow, .position = row->position,
                                        .visible = row->position < row->prefix ? row->prefix : row->position + 1,
                                        .key_slot = slot};
    if (e->kv.slot_bytes != 0) {
        e->kv_rows[t].fixed = kv_slot_at(&e->kv, row->sequence->slot);
    }
    return LAMINA_OK;
}

lamina_status exec_prepare_rows(struct exec *e, struct lamina_error *err) {
    if (e->keys.used != NULL) {
        memset(e->keys.used, 0, e->keys.slots * sizeof(bool));
    }
    for (uint32_t t = 0; t < e->row_count; t++) {
        LAMINA_TRY(prepare_row(e, t, err));
    }
    return LAMINA_OK;
}
