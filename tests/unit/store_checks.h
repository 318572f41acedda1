/* SPDX-License-Identifier: Apache-2.0
 * What the store's tests share: a directory of the run, splitting, expecting failures by code and words, and
 * comparing a
 * store bit for bit with the tensors that it was made from. */
#ifndef STORE_CHECKS_H
#define STORE_CHECKS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "checkpoint_maker.h"
#include "store/store_priv.h"

static char base[1024]; /* the directory of this run */

static const char *in_base(char *out, const char *name) {
    (void)snprintf(out, 1200, "%s/%s", base, name);
    return out;
}

static inline lamina_status split(const char *checkpoint, const char *output, bool delete_original,
                                  struct lamina_error *err) {
    struct store_split_options o = {
        .checkpoint = checkpoint, .output = output, .codec = "raw", .delete_original = delete_original};
    *err = (struct lamina_error){0};
    return store_split(&o, err);
}

static inline void must(lamina_status status, const struct lamina_error *err) {
    if (status < 0 || err->code < 0) {
        print_error("%d: %s\n", status, err->message);
        fail();
    }
}

static inline void expect(lamina_status wanted, lamina_status got, const struct lamina_error *err, const char *words) {
    if (got != wanted || (wanted < 0 && (err->code != wanted || strstr(err->message, words) == NULL))) {
        print_error("got %d (%d: %s), expected %d with \"%s\"\n", got, err->code, err->message, wanted, words);
        fail();
    }
}

static inline bool read_all(const char *path, struct str *out) {
    FILE *f = fopen(path, "rb");
    char buf[65536];
    size_t n = 0;
    str_clear(out);
    str_reserve(out, 1);
    if (f == NULL) {
        return false;
    }
    while ((n = fread(buf, 1, sizeof(buf), f)) > 0) {
        str_add(out, buf, n);
    }
    (void)fclose(f);
    return true;
}

/* ---- reading back ---- */

static inline void check_matrix(const struct store_file *f, const struct store_matrix *m, const struct made_tensor *t) {
    struct lamina_error err = {0};
    size_t row = (size_t)m->shape.cols * kern_dtype_bytes(t->dtype);
    uint8_t *back = calloc(1, t->bytes);
    assert_int_equal(m->shape.dtype, t->dtype);
    assert_int_equal(m->shape.rows, t->rows);
    assert_int_equal(m->shape.cols, t->cols);
    assert_false(m->row_scaled);
    for (uint32_t i = 0; i < m->shape.tiles; i++) {
        const struct store_tile *tile = &f->tiles[m->first_tile + i];
        size_t len = (size_t)tile->pages * 4096;
        uint8_t *bytes = aligned_alloc(65536, (len + 65535) / 65536 * 65536);
        struct panel_tile at;
        must(sys_file_read_at(&f->file, f->path, (uint64_t)tile->offset_pages * 4096, bytes, len, &err), &err);
        must(store_tile_check(f, m->first_tile + i, bytes, &err), &err);
        bytes[len / 2] ^= 1;
        expect(LAMINA_DAMAGED, store_tile_check(f, m->first_tile + i, bytes, &err), &err, f->name);
        err = (struct lamina_error){0};
        bytes[len / 2] ^= 1;
        panel_tile_at(&m->shape, i, &at);
        for (size_t k = (size_t)at.bytes; k < len; k++) {
            assert_int_equal(bytes[k], 0);
        }
        size_t elem = kern_dtype_bytes(t->dtype);
        size_t rows = (size_t)((at.row + at.rows < t->rows ? at.row + at.rows : t->rows) - at.row);
        size_t col = (size_t)at.block * 256;
        size_t cols = (size_t)at.blocks * 256 + col > t->cols ? (size_t)t->cols - col : (size_t)at.blocks * 256;
        uint8_t *part = calloc(rows, row);
        panel_unpack_tile(&m->shape, &at, bytes, part, row);
        for (size_t r = 0; r < rows; r++) {
            memcpy(back + ((size_t)at.row + r) * row + col * elem, part + r * row + col * elem, cols * elem);
        }
        free(part);
        free(bytes);
    }
    assert_memory_equal(back, t->data, t->bytes);
    free(back);
}

static inline uint32_t widened(const struct made_tensor *t, size_t i) {
    if (t->dtype == KERN_F32) {
        return load_le32(t->data + 4 * i);
    }
    uint16_t v = load_le16(t->data + 2 * i);
    if (t->dtype == KERN_BF16) {
        return (uint32_t)v << 16;
    }
    unsigned exponent = (v >> 10) & 31u;
    double size = exponent == 0 ? ldexp(v & 0x3ff, -24) : ldexp(1024 + (v & 0x3ff), (int)exponent - 25);
    float f = (float)((v & 0x8000) != 0 ? -size : size);
    uint32_t bits = 0;
    if (exponent == 31) {
        return (uint32_t)(v & 0x8000) << 16 | 0x7f800000u | (uint32_t)(v & 0x3ff) << 13;
    }
    memcpy(&bits, &f, 4);
    return bits;
}

static inline void check_store(const char *path, const struct made_model *made) {
    struct lamina_error err = {0};
    struct store *s = NULL;
    must(store_open(&s, path, NULL, &err), &err);
    float *small = calloc(s->small_floats, sizeof(float));
    must(store_read_small(s, small, &err), &err);
    uint32_t count = model_tensor_count(&s->desc);
    for (uint32_t i = 0; i < count; i++) {
        struct model_tensor t;
        model_tensor_at(&s->desc, i, &t);
        const struct made_tensor *from = maker_find(made, t.source);
        assert_non_null(from);
        if (t.role < MODEL_MATRICES) {
            const struct store_file *f = t.role == MODEL_EMBED  ? s->embed
                                         : t.role == MODEL_HEAD ? s->head
                                                                : s->layers[t.layer];
            assert_non_null(f);
            assert_non_null(store_matrix_find(f, t.role, t.expert));
            check_matrix(f, store_matrix_find(f, t.role, t.expert), from);
        } else {
            const struct store_vector *v = store_vector_find(s, t.layer, t.role);
            assert_non_null(v);
            assert_int_equal(v->len, t.cols);
            for (uint32_t k = 0; k < v->len; k++) {
                uint32_t bits = 0;
                memcpy(&bits, &small[v->offset + k], 4);
                assert_int_equal(bits, widened(from, k));
            }
        }
    }
    assert_null(store_vector_find(s, 0, MODEL_FINAL_NORM));
    assert_int_equal(s->has_tokenizer, made->tokenizer);
    free(small);
    store_close(&s);
    assert_null(s);
}

static inline void same_files(const char *a, const char *b) {
    char command[3000];
    (void)snprintf(command, sizeof(command), "diff -r '%s' '%s' >/dev/null", a, b);
    assert_int_equal(system(command), 0);
}

static const struct made_model shapes[] = {
    {.hidden = 48,
     .layers = 2,
     .heads = 3,
     .kv_heads = 1,
     .head_dim = 16,
     .ffn = 100,
     .vocab = 281,
     .dtype = 2,
     .shards = 1,
     .seed = 1},
    {.hidden = 40,
     .layers = 3,
     .heads = 2,
     .kv_heads = 2,
     .head_dim = 20,
     .ffn = 66,
     .vocab = 33,
     .dtype = 3,
     .shards = 3,
     .tied = true,
     .biases = true,
     .tokenizer = true,
     .seed = 2},
    {.hidden = 64,
     .layers = 1,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 16,
     .ffn = 256,
     .vocab = 512,
     .dtype = 0,
     .shards = 1,
     .seed = 3},
    {.hidden = 260,
     .layers = 2,
     .heads = 5,
     .kv_heads = 5,
     .head_dim = 52,
     .ffn = 1030,
     .vocab = 1001,
     .dtype = 1,
     .shards = 2,
     .seed = 4},
    {.hidden = 1024,
     .layers = 2,
     .heads = 8,
     .kv_heads = 2,
     .head_dim = 128,
     .ffn = 2816,
     .vocab = 3000,
     .dtype = 2,
     .shards = 2,
     .tied = true,
     .tokenizer = true,
     .seed = 6},
    {.hidden = 4,
     .layers = 1,
     .heads = 1,
     .kv_heads = 1,
     .head_dim = 4,
     .ffn = 40000,
     .vocab = 17,
     .dtype = 2,
     .shards = 1,
     .seed = 8}, /* groups cut in parts */
    {.hidden = 34,
     .layers = 1,
     .heads = 1,
     .kv_heads = 1,
     .head_dim = 34,
     .ffn = 70001,
     .vocab = 19,
     .dtype = 0,
     .shards = 1,
     .seed = 9}, /* groups of 17.9 MB: read in strips */
};

static inline lamina_status verify_quietly(const char *store, uint64_t *damaged) {
    struct lamina_verify_result r = {.size = sizeof(r)};
    struct lamina_error err = {0};
    lamina_status status = store_verify(store, NULL, NULL, &r, &err);
    *damaged = r.damaged;
    return status;
}

static inline void rewrite(const struct made_model *m, const char *dir) {
    char command[1400];
    (void)snprintf(command, sizeof(command), "rm -f '%s'/model*", dir);
    assert_int_equal(system(command), 0);
    maker_files(m, dir);
}

/* Every test begins in an empty directory, whatever became of the one before. */
static int fresh(void **state) {
    (void)state;
    maker_remove(base);
    return mkdir(base, 0700);
}

#define FRESH(test) cmocka_unit_test_setup(test, fresh)

#endif
