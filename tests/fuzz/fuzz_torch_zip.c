/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a torch file, of either container: entries of a zip must lie in the file without overlap and have
 * harmless names, tensors must lie in the file, and nothing outside of it may be asked for. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/torch_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lamina_status from_memory(void *user, uint64_t offset, void *dst, size_t len, struct lamina_error *err) {
    const struct span *file = user;
    (void)err;
    if (offset > file->len || len > file->len - offset) {
        abort();
    }
    memcpy(dst, file->ptr + offset, len);
    return LAMINA_OK;
}

static int by_header(const void *a, const void *b) {
    const struct torch_zip_entry *x = a;
    const struct torch_zip_entry *y = b;
    return x->header < y->header ? -1 : x->header > y->header;
}

static void check_entries(struct torch_zip *z, size_t size) {
    for (uint32_t i = 0; i < z->count; i++) {
        const char *name = z->entries[i].name;
        if (name[0] == '/' || name[0] == 0 || strstr(name, "/../") != NULL || strncmp(name, "../", 3) == 0 ||
            torch_zip_find(z, name) != &z->entries[i]) {
            abort();
        }
    }
    if (z->count > 0) {
        qsort(z->entries, z->count, sizeof(*z->entries), by_header);
    }
    uint64_t end = 0;
    for (uint32_t i = 0; i < z->count; i++) {
        const struct torch_zip_entry *e = &z->entries[i];
        if (e->header < end || e->offset < e->header + 30 || e->bytes > size - e->offset) {
            abort();
        }
        end = e->offset + e->bytes;
    }
}

static void check_tensor(const struct torch_tensor *t, size_t size) {
    uint64_t last = 0;
    for (uint32_t i = 0; i < t->rank && t->elements > 0; i++) {
        last += (t->shape[i] - 1) * t->strides[i];
    }
    if (t->offset > size || (t->elements > 0 && (last + 1) * t->item_bytes > size - t->offset)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct span file = span_of(data, size);
    struct torch_input in = {.read = from_memory, .user = &file, .size = size, .name = "f"};
    struct lamina_error err = {0};
    struct arena arena = {0};
    struct torch_zip z = {0};
    struct torch_tensors t = {0};
    lamina_status status = torch_zip_read(&in, &arena, &z, &err);
    if (status != err.code) {
        abort();
    }
    if (status == LAMINA_OK) {
        check_entries(&z, size);
    }
    arena_drop(&arena);
    err = (struct lamina_error){0};
    status = torch_file_read(&in, &arena, &t, &err);
    if (status != err.code) {
        abort();
    }
    for (uint32_t i = 0; status == LAMINA_OK && i < t.count; i++) {
        check_tensor(&t.list[i], size);
    }
    arena_drop(&arena);
    return 0;
}
