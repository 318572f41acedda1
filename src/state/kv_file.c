/* SPDX-License-Identifier: Apache-2.0
 * Writing and reading a sequence. Pages go from and to the cache directly: no buffer of their size exists. */
#include "state/kv_file.h"

#include <string.h>

#include "base/checked.h"
#include "base/span.h"

enum { HEAD_SUM_AT = KV_FILE_HEAD - 16, FLAG_STATE = 1, LAYER_BYTES = 20 };
static const char MAGIC[8] = {'L', 'A', 'M', 'I', 'N', 'A', 'K', 'V'};

static void store_hash(uint8_t *at, struct hash128 h) {
    store_le64(at, h.low);
    store_le64(at + 8, h.high);
}

static struct hash128 load_hash(const uint8_t *at) {
    return (struct hash128){.low = load_le64(at), .high = load_le64(at + 8)};
}

static bool same_hash(struct hash128 a, struct hash128 b) {
    return a.low == b.low && a.high == b.high;
}

/* What the layers keep, as one number. */
static lamina_status shape_of(const struct kv_cache *c, struct hash128 *shape, struct lamina_error *err) {
    struct hash_stream *h = hash_stream_open();
    if (h == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a checksum");
    }
    for (uint32_t i = 0; i < c->layers; i++) {
        const struct kv_layer *l = &c->place[i].shape;
        uint8_t bytes[LAYER_BYTES];
        store_le32(bytes, l->kv_heads);
        store_le32(bytes + 4, l->k_dim);
        store_le32(bytes + 8, l->v_dim);
        store_le64(bytes + 12, l->fixed_floats);
        hash_stream_add(h, bytes, sizeof(bytes));
    }
    *shape = hash_stream_value(h);
    hash_stream_close(&h);
    return LAMINA_OK;
}

/* The part of the head that the cache and the model fix, the same on both sides. */
static lamina_status fixed_head(const struct kv_cache *c, const struct kv_record *r, uint8_t head[KV_FILE_HEAD],
                                struct lamina_error *err) {
    struct hash128 shape;
    LAMINA_TRY(shape_of(c, &shape, err));
    memset(head, 0, KV_FILE_HEAD);
    memcpy(head, MAGIC, sizeof(MAGIC));
    store_le32(head + 8, KV_FILE_VERSION);
    store_le32(head + 12, c->dtype == KERN_F32 ? 2 : 1);
    store_hash(head + 16, r->store);
    store_le32(head + 32, c->layers);
    store_le32(head + 36, KERN_KV_BLOCK);
    store_le64(head + 40, c->page_bytes);
    store_le64(head + 48, c->slot_bytes);
    store_hash(head + 56, shape);
    store_le32(head + 72, r->vocab);
    return LAMINA_OK;
}

/* ---- writing ---- */

struct output {
    const struct kv_writer *to;
    struct hash_stream *hash;
};

static lamina_status put(const struct output *out, const void *bytes, size_t len, struct lamina_error *err) {
    hash_stream_add(out->hash, bytes, len);
    return out->to->write(out->to->user, bytes, len, err);
}

/* Positions from `used` on of one page hold what earlier tokens or another sequence left there. */
static void clear_unused(struct kv_cache *c, uint32_t page, uint32_t used) {
    size_t elem = kern_dtype_bytes(c->dtype);
    for (uint32_t layer = 0; layer < c->layers; layer++) {
        const struct kv_place *p = &c->place[layer];
        for (uint32_t head = 0; head < p->shape.kv_heads; head++) {
            uint8_t *k = (uint8_t *)kv_k(c, page, layer, head);
            uint8_t *v = (uint8_t *)kv_v(c, page, layer, head);
            size_t v_row = (size_t)(p->v_bytes / KERN_KV_BLOCK);
            for (uint32_t at = used; at < KERN_KV_BLOCK; at++) {
                uint8_t *strip = k + (size_t)(at / KERN_KV_STRIP) * p->shape.k_dim * KERN_KV_STRIP * elem;
                for (uint32_t d = 0; d < p->shape.k_dim; d++) {
                    memset(strip + (d * KERN_KV_STRIP + at % KERN_KV_STRIP) * elem, 0, elem);
                }
                memset(v + at * v_row, 0, v_row);
            }
        }
    }
}

static lamina_status put_body(struct kv_cache *c, const struct kv_sequence *s, const struct kv_record *r, const struct output *out,
                              struct lamina_error *err) {
    uint8_t ids[1024];
    for (uint32_t i = 0; i < r->length;) {
        size_t len = 0;
        while (len < sizeof(ids) && i < r->length) {
            store_le32(ids + len, r->ids[i++]);
            len += 4;
        }
        LAMINA_TRY(put(out, ids, len, err));
    }
    uint32_t blocks = (uint32_t)div_up(r->length, KERN_KV_BLOCK);
    if (r->length % KERN_KV_BLOCK != 0) {
        clear_unused(c, s->pages[blocks - 1], r->length % KERN_KV_BLOCK);
    }
    for (uint32_t b = 0; b < blocks; b++) {
        LAMINA_TRY(put(out, c->base + s->pages[b] * c->page_bytes, (size_t)c->page_bytes, err));
    }
    return r->has_state ? put(out, kv_slot_at(c, s->slot), (size_t)c->slot_bytes, err) : LAMINA_OK;
}

lamina_status kv_file_write(struct kv_cache *c, const struct kv_sequence *s, const struct kv_record *r, const struct kv_writer *w,
                            struct lamina_error *err) {
    uint8_t head[KV_FILE_HEAD];
    uint8_t end[KV_FILE_END];
    LAMINA_TRY(fixed_head(c, r, head, err));
    store_le32(head + 76, r->length);
    store_le32(head + 80, r->has_state ? FLAG_STATE : 0);
    store_le32(head + 84, r->prompt_length);
    store_le32(head + 88, r->prefix);
    store_le32(head + 92, r->mask_at);
    store_hash(head + HEAD_SUM_AT, hash_xxh3_128(head, HEAD_SUM_AT));
    struct output out = {.to = w, .hash = hash_stream_open()};
    if (out.hash == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a checksum");
    }
    lamina_status status = w->write(w->user, head, sizeof(head), err);
    if (status == LAMINA_OK) {
        status = put_body(c, s, r, &out, err);
    }
    if (status == LAMINA_OK) {
        store_hash(end, hash_stream_value(out.hash));
        status = w->write(w->user, end, sizeof(end), err);
    }
    hash_stream_close(&out.hash);
    return status;
}

/* ---- reading ---- */

static lamina_status damaged(const char *what, struct lamina_error *err) {
    return base_fail(err, LAMINA_DAMAGED, "the saved session is damaged: %s", what);
}

/* Everything that has to be as it is here; the first difference is the one to speak of. */
static lamina_status check_fixed(const uint8_t head[KV_FILE_HEAD], const uint8_t want[KV_FILE_HEAD], struct lamina_error *err) {
    if (memcmp(head, MAGIC, sizeof(MAGIC)) != 0) {
        return base_fail(err, LAMINA_UNSUPPORTED, "this is no saved session: it does not begin with LAMINAKV");
    }
    if (load_le32(head + 8) != KV_FILE_VERSION) {
        return base_fail(err, LAMINA_UNSUPPORTED, "the saved session has format version %u; this program reads version %d",
                         load_le32(head + 8), KV_FILE_VERSION);
    }
    if (!same_hash(load_hash(head + HEAD_SUM_AT), hash_xxh3_128(head, HEAD_SUM_AT))) {
        return damaged("its head does not have its checksum", err);
    }
    if (!same_hash(load_hash(head + 16), load_hash(want + 16))) {
        return base_fail(err, LAMINA_UNSUPPORTED,
                         "the saved session belongs to another model, or to another store of this one (split anew, other codec)");
    }
    if (load_le32(head + 12) != load_le32(want + 12)) {
        return base_fail(err, LAMINA_UNSUPPORTED, "the saved session's KV cache is %s and this one's %s; open the model with the "
                         "other precision (--kv)",
                         load_le32(head + 12) == 2 ? "f32" : "f16", load_le32(want + 12) == 2 ? "f32" : "f16");
    }
    return memcmp(head + 32, want + 32, 44) == 0
               ? LAMINA_OK
               : base_fail(err, LAMINA_UNSUPPORTED, "the saved session's KV cache is laid out in another way than this one's");
}

static lamina_status check_counts(const struct kv_cache *c, const uint8_t head[KV_FILE_HEAD], const struct kv_record *r,
                                  uint32_t most, uint64_t bytes, struct lamina_error *err) {
    static const uint8_t zeros[16];
    uint32_t flags = load_le32(head + 80);
    if (r->length == 0 || r->prompt_length == 0 || (flags & ~(uint32_t)FLAG_STATE) != 0 || memcmp(head + 96, zeros, 16) != 0 ||
        (r->has_state && c->slot_bytes == 0) || r->prefix > r->length || r->mask_at > r->length ||
        (!r->sees_ahead && (r->prefix != 0 || r->mask_at != 0))) {
        return damaged("its head says what cannot be", err);
    }
    uint64_t pages = 0;
    uint64_t want = 0;
    if (checked_mul(div_up(r->length, KERN_KV_BLOCK), c->page_bytes, &pages) ||
        checked_add(pages, (uint64_t)r->length * 4 + KV_FILE_HEAD + KV_FILE_END, &want) ||
        checked_add(want, r->has_state ? c->slot_bytes : 0, &want) || want != bytes) {
        return base_fail(err, LAMINA_DAMAGED, "the saved session is damaged: it has %llu bytes, %u tokens take %llu",
                         (unsigned long long)bytes, r->length, (unsigned long long)want);
    }
    if (r->length > most) {
        return base_fail(err, LAMINA_USAGE, "the saved session has %u tokens and the context holds %u; give a larger context (-c)",
                         r->length, most);
    }
    return LAMINA_OK;
}

struct input {
    const struct kv_reader *from;
    struct hash_stream *hash;
};

static lamina_status take(const struct input *in, void *bytes, size_t len, struct lamina_error *err) {
    LAMINA_TRY(in->from->read(in->from->user, bytes, len, err));
    hash_stream_add(in->hash, bytes, len);
    return LAMINA_OK;
}

static lamina_status take_body(struct kv_cache *c, struct kv_sequence *s, struct kv_record *r, const struct input *in,
                               struct lamina_error *err) {
    uint8_t end[KV_FILE_END];
    LAMINA_TRY(take(in, r->ids, (size_t)r->length * 4, err));
    for (uint32_t i = 0; i < r->length; i++) {
        r->ids[i] = load_le32(&r->ids[i]);
        if (r->ids[i] >= r->vocab) {
            return damaged("a token is none of the model's", err);
        }
    }
    for (uint32_t b = 0; b < s->blocks; b++) {
        LAMINA_TRY(take(in, c->base + s->pages[b] * c->page_bytes, (size_t)c->page_bytes, err));
    }
    if (r->has_state) {
        LAMINA_TRY(take(in, kv_slot_at(c, s->slot), (size_t)c->slot_bytes, err));
    }
    LAMINA_TRY(in->from->read(in->from->user, end, sizeof(end), err));
    return same_hash(load_hash(end), hash_stream_value(in->hash)) ? LAMINA_OK
                                                                   : damaged("its bytes do not have their checksum", err);
}

lamina_status kv_file_read(struct kv_cache *c, struct kv_sequence *s, struct kv_record *r, uint32_t most,
                           const struct kv_reader *in, struct lamina_error *err) {
    uint8_t head[KV_FILE_HEAD];
    uint8_t want[KV_FILE_HEAD];
    if (in->bytes < KV_FILE_HEAD + KV_FILE_END) {
        return base_fail(err, LAMINA_UNSUPPORTED, "this is no saved session: it has only %llu bytes",
                         (unsigned long long)in->bytes);
    }
    LAMINA_TRY(fixed_head(c, r, want, err));
    LAMINA_TRY(in->read(in->user, head, sizeof(head), err));
    LAMINA_TRY(check_fixed(head, want, err));
    struct kv_record found = *r;
    found.length = load_le32(head + 76);
    found.has_state = (load_le32(head + 80) & FLAG_STATE) != 0;
    found.prompt_length = load_le32(head + 84);
    found.prefix = load_le32(head + 88);
    found.mask_at = load_le32(head + 92);
    LAMINA_TRY(check_counts(c, head, &found, most, in->bytes, err));
    LAMINA_TRY(kv_sequence_grow(c, s, found.length, err));
    struct input input = {.from = in, .hash = hash_stream_open()};
    lamina_status status = input.hash != NULL ? take_body(c, s, &found, &input, err)
                                              : base_fail(err, LAMINA_NO_FIT, "out of memory for a checksum");
    hash_stream_close(&input.hash);
    if (status != LAMINA_OK) {
        kv_sequence_cut(c, s, 0);
        return status;
    }
    *r = found;
    return LAMINA_OK;
}
