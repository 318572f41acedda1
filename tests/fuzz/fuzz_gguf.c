/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a GGUF file: measuring must end, what parses must lie in the file in order, names and keys must be sorted
 * and single, every value readable, and the first block of every tensor decodable. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok) {
    if (!ok) {
        abort();
    }
}

/* Reads every item; returns how many bytes they have. */
static uint64_t read_value(const struct gguf_value *v, unsigned depth) {
    struct gguf_items it;
    struct gguf_value item;
    struct span text;
    uint64_t bytes = 0;
    uint64_t count = 0;
    uint64_t u = 0;
    int64_t i = 0;
    double d = 0;
    bool b = false;
    require(depth < 5 && v->type < GGUF_TYPE_COUNT);
    if (!gguf_items_of(v, &it)) {
        bool number = gguf_as_f64(v, &d);
        require(number + gguf_as_bool(v, &b) + gguf_as_text(v, &text) == 1);
        require(number || !(gguf_as_u64(v, &u) || gguf_as_i64(v, &i)));
        return v->body.len;
    }
    for (; gguf_next(&it, &item); count++) {
        bytes += read_value(&item, depth + 1);
    }
    require(count == v->count && it.rest.len == 0 && bytes <= v->body.len);
    return bytes;
}

static void check_tensors(const struct gguf *g, const uint8_t *data, size_t size) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        require(t->offset >= g->data_begin && t->offset % g->alignment == g->data_begin % g->alignment);
        require(t->offset <= size && t->bytes <= size - t->offset && strlen(t->name) <= 512);
        require(i == 0 || strcmp(g->tensors[i - 1].name, t->name) < 0);
        require(gguf_tensor_find(g, t->name) == t);
        sum += t->bytes;
        if (t->bytes > 0 && t->type->decode != NULL) {
            float *out = malloc(t->type->block_len * sizeof(*out));
            require(out != NULL);
            t->type->decode(data + t->offset, 1, out);
            free(out);
        }
    }
    require(g->count == 0 || sum <= size - g->data_begin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct lamina_error err = {0};
    uint64_t len = 0;
    size_t front = 0;
    for (unsigned tries = 0;; tries++) {
        lamina_status status = gguf_measure(span_of(data, front), size, "f", &len, &err);
        require(status == err.code && tries < 8);
        if (status < 0) {
            return 0;
        }
        require(len <= size);
        if (len <= front) {
            break;
        }
        front = (size_t)len;
    }
    struct arena arena = {.limit_bytes = (size_t)len * 8 + (1 << 20)};
    struct gguf g = {0};
    lamina_status status = gguf_parse(span_of(data, (size_t)len), size, "f", &arena, &g, &err);
    require(status == err.code && status != LAMINA_NO_FIT);
    if (status == LAMINA_OK) {
        for (uint32_t i = 0; i < g.pair_count; i++) {
            (void)read_value(&g.pairs[i].value, 0);
            require(i == 0 || !span_equal(g.pairs[i - 1].key, g.pairs[i].key));
        }
        check_tensors(&g, data, size);
        struct gguf_part parts[2] = {{"a", &g}, {"b", &g}};
        struct gguf_set set = {0};
        for (uint32_t n = 1; n <= 2; n++) {
            err = (struct lamina_error){0};
            status = gguf_join(parts, n, &arena, &set, &err);
            require(status == err.code && (status != LAMINA_OK || set.count == n * g.count));
        }
    }
    arena_drop(&arena);
    return 0;
}
