/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as the pickle of a torch checkpoint, where every storage that is asked for exists: whatever tensors come out
 * must lie inside their storage, have a plain name, stand in order, and have cost no more than the pickle allows. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/torch_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BASE UINT64_C(1000)
#define LARGEST (UINT64_C(1) << 36)

static bool find(const struct torch_space *space, struct torch_machine *m, const struct torch_storage *s,
                 uint64_t *offset) {
    (void)space;
    *offset = BASE;
    return s->elements <= LARGEST / 8 || torch_refuse(m, LAMINA_DAMAGED, "too large");
}

static void check(const struct torch_tensor *t, const struct torch_tensor *before) {
    uint64_t last = 0;
    for (uint32_t i = 0; i < t->rank && t->elements > 0; i++) {
        last += (t->shape[i] - 1) * t->strides[i];
    }
    uint64_t end = t->offset + (t->elements > 0 ? (last + 1) * t->item_bytes : 0);
    if (t->rank > TORCH_MAX_RANK || strlen(t->name) > 512 || t->offset < BASE || end > BASE + LARGEST ||
        t->bytes != t->elements * t->item_bytes || (t->contiguous && end != t->offset + t->bytes) ||
        (before != NULL && strcmp(before->name, t->name) >= 0)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct lamina_error err = {0};
    struct torch_machine m = {.name = "f", .err = &err};
    struct torch_space space = {.find = find};
    struct torch_tensors out = {0};
    struct arena arena = {.limit_bytes = TORCH_ARENA_BASE + size * TORCH_ARENA_PER_BYTE};
    torch_ref root = 0;
    bool ok = torch_machine_begin(&m, span_of(data, size), 0) && torch_machine_run(&m, &root) &&
              torch_collect(&m, root, &space, &arena, &out);
    if (ok != (err.code == LAMINA_OK) || ok != (m.failed == LAMINA_OK) || m.memory > size * 8 + (1 << 20)) {
        abort();
    }
    for (uint32_t i = 0; ok && i < out.count; i++) {
        check(&out.list[i], i == 0 ? NULL : &out.list[i - 1]);
    }
    torch_machine_drop(&m);
    arena_drop(&arena);
    return 0;
}
