/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as head and tail of a weight file: as they are, and with the checksums made right. A head that parses is
 * written
 * again byte for byte; tiles of a tail that parses lie inside the file. Input: bytes of the head's records, then of the
 * tail; what is missing is zero. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD_PAGES = 2, TAIL_PAGES = 2, HEAD = HEAD_PAGES * STORE_PAGE, TAIL = TAIL_PAGES * STORE_PAGE };

static void try_tail(const struct store_head *h, const uint8_t *data, size_t size, bool sign, struct arena *arena) {
    struct lamina_error err = {0};
    struct store_tile *tiles = NULL;
    size_t len = (size_t)h->tail_pages * STORE_PAGE;
    if (len > TAIL) {
        return;
    }
    uint8_t *tail = calloc(1, len);
    memcpy(tail, data, size < len ? size : len);
    uint64_t file_size = h->head_pages + h->tail_pages;
    for (uint32_t i = 0; i < h->tile_count; i++) {
        uint64_t pages = div_up(store_tile_most(h, i), STORE_PAGE);
        if (sign) { /* where tiles must lie; the fuzzer then breaks it by `data` being shorter or longer than that */
            store_le32(tail + (size_t)i * 16 + 8, (uint32_t)(file_size - h->tail_pages));
            store_le32(tail + (size_t)i * 16 + 12, (uint32_t)pages);
        }
        file_size += pages;
    }
    store_le64(tail + len - 16, h->checksum);
    store_le64(tail + len - 8, hash_xxh3_64(tail, len - 8));
    if (store_tail_read(span_of(tail, len), "f", h, file_size * STORE_PAGE, arena, &tiles, &err) == LAMINA_OK) {
        uint8_t *again = calloc(1, len);
        store_tail_write(h, tiles, again);
        if (memcmp(again, tail, len) != 0) {
            abort();
        }
        free(again);
    }
    free(tail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena = {.limit_bytes = 4 << 20};
    struct store_head h;
    struct lamina_error err = {0};
    uint8_t head[HEAD] = {0};
    uint32_t pages = 0;
    (void)store_head_read(span_of(data, size), "f", &arena, &h, &err);
    size_t take = size < HEAD - 8 ? size : HEAD - 8;
    memcpy(head, data, take);
    err = (struct lamina_error){0};
    if (store_head_peek(span_of(head, STORE_PAGE), "f", &pages, &err) == LAMINA_OK && pages <= HEAD_PAGES) {
        size_t len = (size_t)pages * STORE_PAGE;
        store_le64(head + len - 8, hash_xxh3_64(head, len - 8));
        if (store_head_read(span_of(head, len), "f", &arena, &h, &err) == LAMINA_OK) {
            uint8_t again[HEAD];
            store_head_write(&h, again);
            if (memcmp(again, head, len) != 0) {
                abort();
            }
            try_tail(&h, data + take, size - take, true, &arena);
            try_tail(&h, data + take, size - take, false, &arena);
        }
    }
    arena_drop(&arena);
    return 0;
}
