/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a saved session: as they are, and with the checksums of head and body made right, so that what stands behind them is
 * reached. A refusal leaves the cache as it was; what is read is written again to the same bytes, but for unused positions. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/span.h"
#include "state/kv_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAGES = 3, MOST = 160, VOCAB = 50 };
static const struct kv_layer LAYERS[] = {{1, 2, 2, 0}, {1, 2, 0, 5}};

static lamina_status from_span(void *user, void *bytes, size_t len, struct lamina_error *err) {
    struct span *rest = (struct span *)user;
    if (len > rest->len) {
        return base_fail(err, LAMINA_DAMAGED, "ends early");
    }
    memcpy(bytes, rest->ptr, len);
    *rest = span_sub(*rest, len, rest->len);
    return LAMINA_OK;
}

static lamina_status count_bytes(void *user, const void *bytes, size_t len, struct lamina_error *err) {
    (void)bytes;
    (void)err;
    *(size_t *)user += len;
    return LAMINA_OK;
}

static void read_one(const uint8_t *data, size_t size, bool sees_ahead) {
    static _Alignas(64) uint8_t memory[PAGES * 8192];
    struct kv_shape shape = {.layers = ARRAY_LEN(LAYERS), .layer = LAYERS, .slots = 1, .dtype = KERN_F16};
    struct kv_cache c;
    struct kv_sequence s;
    struct lamina_error err = {0};
    uint32_t ids[MOST];
    uint64_t bytes = kv_slot_bytes(LAYERS, ARRAY_LEN(LAYERS));
    for (uint32_t i = 0; i < ARRAY_LEN(LAYERS); i++) {
        bytes += kv_layer_bytes(&LAYERS[i], KERN_F16) * PAGES;
    }
    if (bytes > sizeof(memory) || kv_cache_init(&c, &shape, memory, bytes, &err) != LAMINA_OK) {
        abort();
    }
    if (kv_sequence_init(&s, MOST, &err) != LAMINA_OK) {
        abort();
    }
    struct kv_record r = {.vocab = VOCAB, .sees_ahead = sees_ahead, .ids = ids};
    struct span rest = span_of(data, size);
    struct kv_reader in = {.user = &rest, .bytes = size, .read = from_span};
    lamina_status status = kv_file_read(&c, &s, &r, MOST, &in, &err);
    if ((status == LAMINA_OK) != (err.code == LAMINA_OK) || (status != LAMINA_OK && c.free_count != c.page_count)) {
        abort();
    }
    if (status == LAMINA_OK) {
        size_t written = 0;
        struct kv_writer w = {.user = &written, .write = count_bytes};
        bool sane = r.length > 0 && r.length <= MOST && r.prefix <= r.length && (sees_ahead || r.prefix == 0);
        for (uint32_t i = 0; i < r.length; i++) {
            sane = sane && ids[i] < VOCAB;
        }
        if (!sane || kv_file_write(&c, &s, &r, &w, &err) != LAMINA_OK || written != size) {
            abort();
        }
    }
    kv_sequence_drop(&c, &s);
    kv_cache_drop(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_one(data, size, false);
    if (size < KV_FILE_HEAD + KV_FILE_END) {
        return 0;
    }
    uint8_t *copy = (uint8_t *)malloc(size);
    if (copy == NULL) {
        return 0;
    }
    memcpy(copy, data, size);
    struct hash128 head = hash_xxh3_128(copy, KV_FILE_HEAD - 16);
    struct hash128 body = hash_xxh3_128(copy + KV_FILE_HEAD, size - KV_FILE_HEAD - KV_FILE_END);
    store_le64(copy + KV_FILE_HEAD - 16, head.low);
    store_le64(copy + KV_FILE_HEAD - 8, head.high);
    store_le64(copy + size - 16, body.low);
    store_le64(copy + size - 8, body.high);
    read_one(copy, size, true);
    free(copy);
    return 0;
}
