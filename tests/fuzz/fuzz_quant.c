/* SPDX-License-Identifier: Apache-2.0
 * Any shapes, data types and contents as a quantised matrix: what opens must be read without leaving the tensors' bytes
 * (each lies in memory of exactly its size, so AddressSanitizer sees every step beyond). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/quant_values.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
    const uint8_t *at, *end;
};

static uint8_t next(struct bytes *b) {
    return b->at < b->end ? *b->at++ : 0;
}

static const struct {
    const char *name;
    unsigned bytes;
} dtypes[] = {{NULL, 0},  {"F32", 4},     {"F16", 2},     {"BF16", 2},    {"I32", 4}, {"U32", 4},
              {"I8", 1},  {"U8", 1},      {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}, {"I64", 8}};

/* Mostly consistent: the bytes are those of the shape, or one less. */
static struct quant_tensor take_tensor(struct bytes *b) {
    unsigned head = next(b);
    struct quant_tensor t = {.dtype = dtypes[head % 12].name, .rank = head / 16 % 5};
    uint64_t items = 1;
    for (uint32_t i = 0; i < t.rank; i++) {
        uint8_t dim = next(b);
        t.shape[i] = dim == 255 ? UINT64_MAX : dim % 40;
        items = dim == 255 ? 0 : items * t.shape[i];
    }
    size_t len = items > 1 << 16 ? 0 : (size_t)items * dtypes[head % 12].bytes;
    len -= head >= 240 && len > 0;
    uint8_t *copy = malloc(len > 0 ? len : 1);
    if (copy == NULL) {
        abort();
    }
    uint8_t fill = next(b);
    for (size_t i = 0; i < len; i++) {
        copy[i] = fill % 3 == 0 ? fill : fill % 3 == 1 ? (uint8_t)(i * fill) : next(b);
    }
    t.bytes = span_of(copy, len);
    return t;
}

static void drop(const struct quant_tensor *t) {
    free((void *)(uintptr_t)t->bytes.ptr);
}

static void fuzz_matrix(struct bytes *b) {
    struct lamina_error err = {0};
    struct quant_matrix m = {0};
    struct quant_source s = {.name = "f", .method = (enum quant_method)(next(b) % QUANT_METHOD_COUNT)};
    s.bits = next(b) % 10;
    s.group = next(b) % 64;
    s.block_rows = next(b) % 32;
    s.block_cols = next(b) % 32;
    uint8_t flags = next(b);
    s.plus_one = (flags & 1) != 0;
    s.divide = (flags & 2) != 0;
    s.cols = (flags & 4) != 0 ? next(b) : 0;
    s.codes = take_tensor(b);
    s.scales = take_tensor(b);
    s.zeros = take_tensor(b);
    s.order = take_tensor(b);
    s.global = take_tensor(b);
    lamina_status status = quant_matrix_open(&s, &m, &err);
    if (status != err.code) {
        abort();
    }
    if (status == LAMINA_OK && m.cols * m.rows <= 1 << 22) {
        float *out = malloc(m.cols * sizeof(*out));
        for (uint64_t r = 0; out != NULL && r < m.rows; r++) {
            (void)quant_values(&m, r, 1, out);
        }
        free(out);
    }
    drop(&s.codes);
    drop(&s.scales);
    drop(&s.zeros);
    drop(&s.order);
    drop(&s.global);
}

static void fuzz_bnb4(struct bytes *b) {
    struct lamina_error err = {0};
    struct quant_bnb4 m = {0};
    struct quant_bnb4_source s = {.name = "f"};
    s.codes = take_tensor(b);
    s.scales = take_tensor(b);
    s.table = take_tensor(b);
    s.nested_scales = take_tensor(b);
    s.nested_table = take_tensor(b);
    s.state = span_of(b->at, (size_t)(b->end - b->at));
    lamina_status status = quant_bnb4_open(&s, &m, &err);
    if (status != err.code) {
        abort();
    }
    if (status == LAMINA_OK && m.rows * m.cols <= 1 << 20) {
        float *out = malloc(m.rows * m.cols * sizeof(*out));
        if (out != NULL) {
            (void)quant_bnb4_values(&m, &s, out);
        }
        free(out);
    }
    drop(&s.codes);
    drop(&s.scales);
    drop(&s.table);
    drop(&s.nested_scales);
    drop(&s.nested_table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes b = {.at = data, .end = data + size};
    if (next(&b) % 4 == 0) {
        fuzz_bnb4(&b);
    } else {
        fuzz_matrix(&b);
    }
    return 0;
}
