/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as config.json. What is refused is refused in words; what is taken has ops for every kind of layer, names and shapes for
 * every tensor, and comes back from a store as it was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_bytes.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ops(const struct model_desc *d) {
    static struct kern_op ops[MODEL_MAX_OPS];
    (void)model_front_ops(d, ops, MODEL_MAX_OPS);
    (void)model_head_ops(d, ops, MODEL_MAX_OPS);
    for (uint32_t kind = 0; kind < d->kind_count; kind++) {
        const uint32_t count = model_layer_ops(d, kind, ops, MODEL_MAX_OPS);
        require(count > 0 && count <= MODEL_MAX_OPS);
    }
}

/* Of the first layers, the last one and those outside: many models have as many tensors as there is patience. */
static void check_tensors(const struct model_desc *d) {
    enum { LAYERS = 6, TENSORS = 64 };
    for (int32_t i = -1; i < (int32_t)d->layers; i++) {
        if (i >= LAYERS && i + 1 < (int32_t)d->layers) {
            continue;
        }
        const uint32_t count = model_layer_tensor_count(d, i);
        for (uint32_t n = 0; n < count && n < TENSORS; n++) {
            struct model_tensor t;
            char name[sizeof(t.source)];
            model_layer_tensor_at(d, i, n, &t);
            require(t.cols > 0 && memchr(t.source, 0, sizeof(t.source)) != NULL);
            require(t.pieces == 0 || t.cols % t.pieces == 0);
            if (t.pieces != 0) {
                model_tensor_piece(d, &t, 0, name);
                require(strcmp(name, t.source) == 0);
            }
        }
    }
}

static void check_store(const struct model_desc *d) {
    struct model_desc again;
    struct lamina_error err = {0};
    struct str text = {0};
    struct str back = {0};
    model_desc_write(d, &text);
    require(model_desc_read(str_span(&text), &again, &err) == LAMINA_OK);
    model_desc_write(&again, &back);
    require(text.len == back.len && memcmp(text.ptr, back.ptr, text.len) == 0);
    str_drop(&text);
    str_drop(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct model_desc d;
    struct lamina_error err = {0};
    const lamina_status status = model_resolve(span_of(data, size), &d, &err);
    require((status == LAMINA_OK) == (err.code == LAMINA_OK) && (status == LAMINA_OK || err.message[0] != 0));
    if (status == LAMINA_OK) {
        char words[256];
        model_describe(&d, words, sizeof(words));
        check_ops(&d);
        check_tensors(&d);
        check_store(&d);
    }
    return 0;
}
