/* SPDX-License-Identifier: Apache-2.0
 * What the tests of torch files share: reading from memory, expecting a refusal, and one small archive. Include after
 * cmocka.h. */
#ifndef TORCH_CHECKS_H
#define TORCH_CHECKS_H

#include <stdlib.h>

#include "format/torch_file.h"
#include "torch_maker.h"

static struct lamina_error last;
static uint64_t reads; /* calls since a test set it to 0 */

struct memory {
    struct span bytes;
};

static inline lamina_status from_memory(void *user, uint64_t offset, void *dst, size_t len, struct lamina_error *err) {
    const struct memory *m = user;
    reads++;
    if (offset > m->bytes.len || len > m->bytes.len - offset) {
        return base_fail(err, LAMINA_IO, "x.bin: a read outside, at %llu", (unsigned long long)offset);
    }
    memcpy(dst, m->bytes.ptr + offset, len);
    return LAMINA_OK;
}

static inline lamina_status parse(struct span bytes, struct arena *arena, struct torch_tensors *t) {
    struct memory m = {.bytes = bytes};
    struct torch_input in = {.read = from_memory, .user = &m, .size = bytes.len, .name = "x.bin"};
    last = (struct lamina_error){0};
    return torch_file_read(&in, arena, t, &last);
}

/* The status, and words that the message must have. */
static inline void expect(struct span bytes, lamina_status wanted, const char *words) {
    struct arena arena = {0};
    struct torch_tensors t = {0};
    lamina_status got = parse(bytes, &arena, &t);
    arena_drop(&arena);
    if (got != wanted || last.code != wanted || (wanted < 0 && strstr(last.message, "x.bin") == NULL) ||
        (words != NULL && strstr(last.message, words) == NULL)) {
        print_error("status %d, \"%s\"; expected %d, \"%s\"\n", got, last.message, wanted, words == NULL ? "" : words);
        fail();
    }
}

static inline const struct torch_tensor *find(const struct torch_tensors *t, const char *name) {
    for (uint32_t i = 0; i < t->count; i++) {
        if (strcmp(t->list[i].name, name) == 0) {
            return &t->list[i];
        }
    }
    print_error("no tensor \"%s\"\n", name);
    fail();
    return NULL;
}

static const uint8_t data[64] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24};

static const struct pk_tensor whole = {"w", "FloatStorage", "0", 6, 0, 2, {2, 3}, {3, 1}, false};
static const struct pk_tensor half = {"h.x", "HalfStorage", "1", 4, 1, 1, {3}, {1}, false};

/* A zip around `pickle` with storages "0" of 24 bytes and "1" of 8. */
static inline void archive(struct zip_maker *z, const struct str *pickle, bool wide) {
    *z = (struct zip_maker){0};
    zip_add(z, "archive/data.pkl", str_text(pickle), pickle->len);
    zip_add(z, "archive/byteorder", "little", 6);
    zip_add(z, "archive/data/0", data, 24);
    zip_add(z, "archive/data/1", data, 8);
    zip_add(z, "archive/version", "3\n", 2);
    zip_end(z, wide);
}

static inline void good_pickle(struct str *p) {
    pk_begin(p);
    pk_add(p, &whole);
    pk_add(p, &half);
    pk_end(p);
}

#endif
