/* SPDX-License-Identifier: Apache-2.0
 * The store from end to end: split, open, read back bit for bit, split again to the same bytes, refuse what is wrong,
 * find every damaged byte. Checkpoints are made here (checkpoint_maker.h); those of the test data are used when there. */
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

static lamina_status split(const char *checkpoint, const char *output, bool delete_original, struct lamina_error *err) {
    struct store_split_options o = {.checkpoint = checkpoint, .output = output, .codec = "raw", .delete_original = delete_original};
    *err = (struct lamina_error){0};
    return store_split(&o, err);
}

static void must(lamina_status status, const struct lamina_error *err) {
    if (status < 0 || err->code < 0) {
        print_error("%d: %s\n", status, err->message);
        fail();
    }
}

static void expect(lamina_status wanted, lamina_status got, const struct lamina_error *err, const char *words) {
    if (got != wanted || (wanted < 0 && (err->code != wanted || strstr(err->message, words) == NULL))) {
        print_error("got %d (%d: %s), expected %d with \"%s\"\n", got, err->code, err->message, wanted, words);
        fail();
    }
}

static bool read_all(const char *path, struct str *out) {
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

static void check_matrix(const struct store_file *f, const struct store_matrix *m, const struct made_tensor *t) {
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

static uint32_t widened(const struct made_tensor *t, size_t i) {
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

static void check_store(const char *path, const struct made_model *made) {
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
            const struct store_file *f = t.role == MODEL_EMBED ? s->embed : t.role == MODEL_HEAD ? s->head : s->layers[t.layer];
            assert_non_null(f);
            assert_non_null(store_matrix_find(f, t.role));
            check_matrix(f, store_matrix_find(f, t.role), from);
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

static void same_files(const char *a, const char *b) {
    char command[3000];
    (void)snprintf(command, sizeof(command), "diff -r '%s' '%s' >/dev/null", a, b);
    assert_int_equal(system(command), 0);
}

static const struct made_model shapes[] = {
    {.hidden = 48, .layers = 2, .heads = 3, .kv_heads = 1, .head_dim = 16, .ffn = 100, .vocab = 281, .dtype = 2, .shards = 1, .seed = 1},
    {.hidden = 40, .layers = 3, .heads = 2, .kv_heads = 2, .head_dim = 20, .ffn = 66, .vocab = 33, .dtype = 3, .shards = 3, .tied = true, .biases = true, .tokenizer = true, .seed = 2},
    {.hidden = 64, .layers = 1, .heads = 4, .kv_heads = 2, .head_dim = 16, .ffn = 256, .vocab = 512, .dtype = 0, .shards = 1, .seed = 3},
    {.hidden = 260, .layers = 2, .heads = 5, .kv_heads = 5, .head_dim = 52, .ffn = 1030, .vocab = 1001, .dtype = 1, .shards = 2, .seed = 4},
    {.hidden = 1024, .layers = 2, .heads = 8, .kv_heads = 2, .head_dim = 128, .ffn = 2816, .vocab = 3000, .dtype = 2, .shards = 2, .tied = true, .tokenizer = true, .seed = 6},
    {.hidden = 4, .layers = 1, .heads = 1, .kv_heads = 1, .head_dim = 4, .ffn = 40000, .vocab = 17, .dtype = 2, .shards = 1, .seed = 8}, /* groups cut in parts */
    {.hidden = 34, .layers = 1, .heads = 1, .kv_heads = 1, .head_dim = 34, .ffn = 70001, .vocab = 19, .dtype = 0, .shards = 1, .seed = 9}, /* groups of 17.9 MB: read in strips */
};

static void test_round_trip(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        char source[1200], one[1200], two[1200];
        struct made_model m = shapes[i];
        struct lamina_error err = {0};
        struct lamina_verify_result r = {.size = sizeof(r)};
        in_base(source, "source");
        maker_make(&m, source);
        must(split(source, in_base(one, "one"), false, &err), &err);
        must(split(source, in_base(two, "two/"), false, &err), &err);
        two[strlen(two) - 1] = 0;
        check_store(one, &m);
        same_files(one, two);
        must(store_verify(one, source, NULL, &r, &err), &err);
        assert_int_equal(r.damaged, 0);
        assert_true(r.tiles > 0 && r.files > 3 && r.bytes > 0);
        char lock[1300];
        (void)snprintf(lock, sizeof(lock), "%s.lock", one);
        assert_int_equal(access(lock, F_OK), -1);
        must(split(source, one, false, &err), &err); /* complete already */
        same_files(one, two);
        maker_drop(&m);
        maker_remove(source);
        maker_remove(one);
        maker_remove(two);
    }
}


static void test_checkpoints_of_others(void **state) {
    (void)state;
    static const char *const names[] = {"oracle/llama-mha", "oracle/llama-gqa-llama3", "oracle/llama-tied-bias", "oracle/llama-linear",
                                        "oracle/llama-dynamic", "stories260k/hf", "stories260k/hf-bf16-sharded"};
    const char *data = getenv("LAMINA_TESTDATA");
    unsigned done = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char source[1400], out[1200], command[3000];
        struct lamina_error err = {0};
        struct lamina_verify_result r = {.size = sizeof(r)};
        (void)snprintf(source, sizeof(source), "%s/%s", data != NULL ? data : "../shared/testdata", names[i]);
        if (!store_is_checkpoint(source)) {
            continue;
        }
        must(split(source, in_base(out, "other"), false, &err), &err);
        assert_true(store_is_store(out));
        assert_false(store_is_checkpoint(out));
        must(store_verify(out, source, NULL, &r, &err), &err);
        (void)snprintf(command, sizeof(command), "python3 tools/lamina_store.py check '%s' '%s' >/dev/null", out, source);
        if (access("tools/lamina_store.py", R_OK) == 0) {
            assert_int_equal(system(command), 0);
        }
        maker_remove(out);
        done++;
    }
    if (done == 0) {
        skip();
    }
}

/* The independent decoder on shapes of every kind. */
static void test_python_decoder(void **state) {
    (void)state;
    if (access("tools/lamina_store.py", R_OK) != 0 || system("python3 -c pass >/dev/null 2>&1") != 0) {
        skip();
    }
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        char source[1200], out[1200], command[3000];
        struct made_model m = shapes[i];
        struct lamina_error err = {0};
        maker_make(&m, in_base(source, "source"));
        must(split(source, in_base(out, "out"), false, &err), &err);
        (void)snprintf(command, sizeof(command), "python3 tools/lamina_store.py check '%s' '%s' >/dev/null", out, source);
        assert_int_equal(system(command), 0);
        if (i == 0) { /* it can fail, too */
            char path[1300];
            (void)snprintf(path, sizeof(path), "%s/layers/00000.bin", out);
            FILE *f = fopen(path, "r+b");
            assert_non_null(f);
            assert_int_equal(fseek(f, 3 * 4096 + 7, SEEK_SET), 0);
            int c = fgetc(f);
            assert_int_equal(fseek(f, 3 * 4096 + 7, SEEK_SET), 0);
            assert_int_not_equal(fputc(c ^ 4, f), EOF);
            assert_int_equal(fclose(f), 0);
            assert_int_not_equal(system(command), 0);
        }
        maker_drop(&m);
        maker_remove(source);
        maker_remove(out);
    }
}

/* ---- damage ---- */

static const struct made_model tiny = {.hidden = 6, .layers = 1, .heads = 1, .kv_heads = 1, .head_dim = 6, .ffn = 10, .vocab = 9,
                                       .dtype = 2, .shards = 1, .tied = true, .tokenizer = true, .seed = 10};

static lamina_status verify_quietly(const char *store, uint64_t *damaged) {
    struct lamina_verify_result r = {.size = sizeof(r)};
    struct lamina_error err = {0};
    lamina_status status = store_verify(store, NULL, NULL, &r, &err);
    *damaged = r.damaged;
    return status;
}

/* What verify does with one file, without the others: so that every byte can be tried in seconds. */
static lamina_status check_one(const char *store, const char *name, const struct manifest *m, struct store_check *c) {
    char path[1300];
    struct lamina_error err = {0};
    struct manifest again;
    struct arena arena = {0};
    uint64_t bytes = 0;
    (void)snprintf(path, sizeof(path), "%s/%s", store, name);
    for (uint32_t i = 0; i < m->file_count; i++) {
        if (strcmp(m->files[i].name, name) == 0) {
            return store_check_weights(path, name, m->files[i].size, m->files[i].hash, c, &err);
        }
    }
    for (uint32_t i = 0; i < m->tokenizer_count; i++) {
        if (strncmp(name, "tokenizer/", 10) == 0 && strcmp(m->tokenizer[i].name, name + 10) == 0) {
            return store_check_plain(path, name, m->tokenizer[i].size, m->tokenizer[i].hash, c, &err);
        }
    }
    lamina_status status = store_manifest_load(store, true, &arena, &again, &bytes, &err);
    arena_drop(&arena);
    return status;
}

static void test_every_byte(void **state) {
    (void)state;
    struct store_check check = {.buffer_len = 1 << 20};
    struct arena arena = {0};
    struct manifest manifest;
    uint64_t manifest_bytes = 0;
    static const char *const files[] = {"lamina.json", "small.bin", "embed.bin", "layers/00000.bin", "tokenizer/tokenizer.json",
                                        "tokenizer/config.json", "tokenizer/generation_config.json"};
    char source[1200], out[1200], path[1300];
    struct made_model m = tiny;
    struct lamina_error err = {0};
    struct str bytes = {0};
    uint64_t damaged = 0;
    maker_make(&m, in_base(source, "source"));
    must(split(source, in_base(out, "out"), false, &err), &err);
    assert_int_equal(verify_quietly(out, &damaged), LAMINA_OK);
    must(store_manifest_load(out, false, &arena, &manifest, &manifest_bytes, &err), &err);
    check.buffer = aligned_alloc(65536, check.buffer_len);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", out, files[i]);
        assert_true(read_all(path, &bytes));
        FILE *f = fopen(path, "r+b");
        assert_non_null(f);
        (void)setvbuf(f, NULL, _IONBF, 0);
        for (size_t at = 0; at < bytes.len; at++) {
            uint8_t was = (uint8_t)bytes.ptr[at];
            uint8_t flipped = (uint8_t)(was ^ 1u << (at * 5 + at / 8) % 8);
            assert_int_equal(pwrite(fileno(f), &flipped, 1, (off_t)at), 1);
            lamina_status status = check_one(out, files[i], &manifest, &check);
            if (at % 101 == 0 && status == LAMINA_DAMAGED) {
                status = verify_quietly(out, &damaged);
            }
            assert_int_equal(pwrite(fileno(f), &was, 1, (off_t)at), 1);
            if (status != LAMINA_DAMAGED) {
                print_error("a flipped bit of byte %zu of %s was not found (%d)\n", at, files[i], status);
                fail();
            }
        }
        (void)fclose(f);
        for (size_t len = 0; len < bytes.len; len += bytes.len / 23 + 1) { /* cut short */
            assert_int_equal(truncate(path, (off_t)len), 0);
            assert_int_equal(verify_quietly(out, &damaged), LAMINA_DAMAGED);
            struct store *s = NULL;
            struct lamina_error why = {0};
            expect(LAMINA_DAMAGED, store_open(&s, out, NULL, &why), &why, out);
            f = fopen(path, "wb");
            assert_non_null(f);
            assert_int_equal(fwrite(bytes.ptr, 1, bytes.len, f), bytes.len);
            (void)fclose(f);
        }
        assert_int_equal(verify_quietly(out, &damaged), LAMINA_OK);
        assert_int_equal(truncate(path, (off_t)bytes.len + 1), 0); /* too long */
        assert_int_equal(verify_quietly(out, &damaged), LAMINA_DAMAGED);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(verify_quietly(out, &damaged), i == 0 ? LAMINA_NOT_FOUND : LAMINA_DAMAGED);
        f = fopen(path, "wb");
        assert_int_equal(fwrite(bytes.ptr, 1, bytes.len, f), bytes.len);
        (void)fclose(f);
    }
    assert_int_equal(verify_quietly(out, &damaged), LAMINA_OK);
    free(check.buffer);
    arena_drop(&arena);
    str_drop(&bytes);
    maker_drop(&m);
    maker_remove(source);
    maker_remove(out);
}

/* Whole files of the same size from another model, and two layers exchanged. */
static void test_swapped_files(void **state) {
    (void)state;
    char source[1200], out[1200], command[4000];
    struct made_model m = tiny;
    struct lamina_error err = {0};
    uint64_t damaged = 0;
    m.layers = 2;
    maker_make(&m, in_base(source, "source"));
    must(split(source, in_base(out, "out"), false, &err), &err);
    (void)snprintf(command, sizeof(command), "cd '%s/layers' && mv 00000.bin x && mv 00001.bin 00000.bin && mv x 00001.bin", out);
    assert_int_equal(system(command), 0);
    assert_int_equal(verify_quietly(out, &damaged), LAMINA_DAMAGED);
    assert_int_equal(damaged, 2);
    maker_drop(&m);
    maker_remove(source);
    maker_remove(out);
}

/* ---- refusals ---- */

static void rewrite(const struct made_model *m, const char *dir) {
    char command[1400];
    (void)snprintf(command, sizeof(command), "rm -f '%s'/model*", dir);
    assert_int_equal(system(command), 0);
    maker_files(m, dir);
}

static void refuse(const char *source, lamina_status wanted, const char *words) {
    char out[1200];
    struct lamina_error err = {0};
    in_base(out, "refused");
    expect(wanted, split(source, out, false, &err), &err, words);
    assert_false(store_is_store(out));
    assert_int_equal(access(out, F_OK), -1); /* nothing was written */
}

static void test_refusals(void **state) {
    (void)state;
    char source[1200], command[3000];
    struct made_model m = shapes[0];
    m.shards = 2;
    maker_make(&m, in_base(source, "source"));
    struct made_tensor *t = &m.tensors[3];
    struct made_tensor kept = *t;

    refuse(in_base(command, "nowhere"), LAMINA_NOT_FOUND, "nowhere");
    (void)snprintf(t->name, sizeof(t->name), "model.layers.0.self_attn.q_norm.weight");
    rewrite(&m, source);
    refuse(source, LAMINA_DAMAGED, kept.name); /* one is missing */
    *t = kept;
    t->rows++;
    t->data = calloc(1, t->bytes + t->bytes / t->rows * 2 + 64);
    t->bytes = (size_t)(t->rows * t->cols) * kern_dtype_bytes(t->dtype);
    rewrite(&m, source);
    refuse(source, LAMINA_DAMAGED, kept.name); /* another shape */
    free(t->data);
    *t = kept;
    unsigned count = m.count;
    m.tensors = realloc(m.tensors, (count + 1) * sizeof(*m.tensors));
    t = &m.tensors[3];
    m.tensors[count] = m.tensors[count - 1];
    (void)snprintf(m.tensors[count].name, sizeof(m.tensors[count].name), "model.layers.0.self_attn.q_norm.weight");
    m.count = count + 1;
    rewrite(&m, source);
    refuse(source, LAMINA_UNSUPPORTED, "q_norm"); /* one too many */
    (void)snprintf(m.tensors[count].name, sizeof(m.tensors[count].name), "model.layers.0.self_attn.rotary_emb.inv_freq");
    rewrite(&m, source);
    struct lamina_error err = {0};
    char out[1200];
    must(split(source, in_base(out, "out"), false, &err), &err); /* known and dropped */
    maker_remove(out);
    m.count = count;

    rewrite(&m, source);
    (void)snprintf(command, sizeof(command), "cd '%s' && mv model-00002-of-00002.safetensors gone", source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_NOT_FOUND, "model-00002-of-00002.safetensors");
    (void)snprintf(command, sizeof(command), "cd '%s' && head -c -1 gone > model-00002-of-00002.safetensors", source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_DAMAGED, "cut short");
    (void)snprintf(command, sizeof(command), "cd '%s' && printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:1\\nsize 12\\n' > "
                   "model-00002-of-00002.safetensors", source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_DAMAGED, "LFS");
    (void)snprintf(command, sizeof(command), "cd '%s' && cp model-00001-of-00002.safetensors model-00002-of-00002.safetensors", source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_DAMAGED, "is in"); /* twins */
    (void)snprintf(command, sizeof(command), "cd '%s' && rm model-00002-of-00002.safetensors && ln -s /etc/passwd model-00002-of-00002.safetensors",
                   source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_UNSUPPORTED, "leads out");
    (void)snprintf(command, sizeof(command), "cd '%s' && rm model-00002-of-00002.safetensors && mv gone model-00002-of-00002.safetensors && "
                   "sed -i 's/\"model.norm.weight\": \"[^\"]*\"/\"model.norm.weight\": \"model-00001-of-00002.safetensors\"/' "
                   "model.safetensors.index.json", source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_DAMAGED, "model.norm.weight"); /* index and file disagree */
    (void)snprintf(command, sizeof(command), "cd '%s' && sed -i 's/\"model.norm.weight\": \"[^\"]*\"/\"x\": \"..\\/x.safetensors\"/' "
                   "model.safetensors.index.json", source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_DAMAGED, "file name");
    (void)snprintf(command, sizeof(command), "cd '%s' && rm model* && echo > pytorch_model.bin", source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_UNSUPPORTED, "pytorch_model.bin");
    (void)snprintf(command, sizeof(command), "cd '%s' && rm pytorch_model.bin", source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_NOT_FOUND, "no weights");
    (void)snprintf(command, sizeof(command), "cd '%s' && rm config.json", source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_NOT_FOUND, "config.json");
    maker_drop(&m);
    maker_remove(source);
}

static void test_tied(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) { /* a copy of the embedding; another head; no head though config.json wants one */
        char source[1200], out[1200];
        struct made_model m = shapes[0];
        struct lamina_error err = {0};
        struct store *s = NULL;
        m.tied = kind < 2;
        m.extra_head = kind < 2;
        (void)mkdir(in_base(source, "source"), 0755);
        maker_config(&m, source);
        maker_fill(&m, source);
        if (kind == 0) {
            memcpy(m.tensors[1].data, m.tensors[0].data, m.tensors[0].bytes);
        } else if (kind == 2) {
            free(m.tensors[1].data);
            m.count--;
            memmove(&m.tensors[1], &m.tensors[2], (m.count - 1) * sizeof(*m.tensors));
        }
        maker_files(&m, source);
        must(split(source, in_base(out, "out"), false, &err), &err);
        must(store_open(&s, out, NULL, &err), &err);
        assert_int_equal(s->desc.tied, kind != 1);
        assert_int_equal(s->head == NULL, kind != 1);
        store_close(&s);
        check_store(out, &m);
        maker_drop(&m);
        maker_remove(source);
        maker_remove(out);
    }
}

/* ---- resuming ---- */

struct watch {
    unsigned calls, stop_at;
    uint64_t done, total, resumed;
    unsigned warnings;
    char last[1024];
};

static bool progress(void *user, const struct lamina_progress *p) {
    struct watch *w = user;
    w->done = p->done_bytes;
    w->total = p->total_bytes;
    w->resumed = p->resumed_bytes;
    return ++w->calls == w->stop_at;
}

static void say(void *user, int level, const char *text) {
    struct watch *w = user;
    w->warnings += level == LOG_WARNING;
    (void)snprintf(w->last, sizeof(w->last), "%s", text);
}

static void test_unusual_values(void **state) {
    (void)state;
    char source[1200], out[1200];
    struct made_model m = shapes[1];
    struct watch w = {0};
    struct lamina_error err = {0};
    struct log_sink log = {.say = say, .user = &w};
    maker_make(&m, in_base(source, "source"));
    for (unsigned i = 0; i < m.count; i++) {
        struct made_tensor *t = &m.tensors[i];
        if (i == 2 || i == 5 || i == m.count - 1) { /* of three types */
            static const uint8_t nan32[4] = {1, 0, 0x80, 0x7f}, nan_f16[2] = {1, 0x7c}, inf_bf16[2] = {0x80, 0xff};
            memcpy(t->data + (t->bytes - 4), t->dtype == KERN_F32 ? nan32 : t->dtype == KERN_F16 ? nan_f16 : inf_bf16,
                   t->dtype == KERN_F32 ? 4 : 2);
        }
    }
    rewrite(&m, source);
    struct store_split_options o = {.checkpoint = source, .output = in_base(out, "out"), .codec = "raw", .log = &log};
    must(store_split(&o, &err), &err);
    assert_int_equal(w.warnings, 3);
    assert_non_null(strstr(w.last, "NaN"));
    check_store(out, &m);
    maker_drop(&m);
    maker_remove(source);
    maker_remove(out);
}

/* Stops at the first chance again and again; each run goes on. */
static void test_interrupted(void **state) {
    (void)state;
    char source[1200], out[1200], whole[1200];
    struct made_model m = shapes[4];
    struct lamina_error err = {0};
    maker_make(&m, in_base(source, "source"));
    must(split(source, in_base(whole, "whole"), false, &err), &err);
    in_base(out, "out");
    bool finished = false;
    unsigned stops = 0;
    for (unsigned run = 1; run < 60 && !finished; run++) {
        struct watch w = {.stop_at = 1 + run / 12};
        struct lamina_callbacks c = {.progress = progress, .user = &w};
        struct store_split_options o = {.checkpoint = source, .output = out, .codec = "raw", .callbacks = &c};
        err = (struct lamina_error){0};
        lamina_status status = store_split(&o, &err);
        finished = status == LAMINA_OK;
        if (!finished) {
            expect(LAMINA_INTERRUPTED, status, &err, "interrupted");
            stops++;
            assert_false(store_is_store(out));
        }
    }
    if (!finished) {
        must(split(source, out, false, &err), &err);
    }
    assert_true(stops > 0);
    same_files(out, whole);
    maker_drop(&m);
    maker_remove(source);
    maker_remove(out);
    maker_remove(whole);
}

/* A journal's word is not enough, and neither is another source's journal. */
static void test_untrusted_leftovers(void **state) {
    (void)state;
    char source[1200], out[1200], whole[1200], command[4000];
    struct made_model m = shapes[0];
    struct lamina_error err = {0};
    struct watch w = {0};
    struct log_sink log = {.say = say, .user = &w};
    maker_make(&m, in_base(source, "source"));
    must(split(source, in_base(whole, "whole"), false, &err), &err);
    in_base(out, "out");
    /* An unfinished store: as complete but for the manifest. The journal is made by stopping a real split at its end. */
    struct watch stop = {.stop_at = 1};
    struct lamina_callbacks c = {.progress = progress, .user = &stop};
    struct store_split_options o = {.checkpoint = source, .output = out, .codec = "raw", .callbacks = &c, .log = &log};
    expect(LAMINA_INTERRUPTED, store_split(&o, &err), &err, "interrupted");
    err = (struct lamina_error){0};
    (void)snprintf(command, sizeof(command), "cd '%s' && cp -r '%s'/*.bin . && cp '%s'/layers/* layers/ 2>/dev/null; mkdir -p layers; "
                   "echo rubbish >> journal; echo x > small.bin.tmp; echo y > layers/00001.bin.tmp; echo z > lamina.json.tmp-12-ab", out, whole, whole);
    (void)system(command);
    o.callbacks = NULL;
    must(store_split(&o, &err), &err);
    same_files(out, whole);
    maker_remove(out);
    /* The source changes between two runs. */
    stop = (struct watch){.stop_at = 1};
    o.callbacks = &c;
    expect(LAMINA_INTERRUPTED, store_split(&o, &err), &err, "interrupted");
    err = (struct lamina_error){0};
    m.tensors[0].data[0] ^= 1;
    rewrite(&m, source);
    o.callbacks = NULL;
    must(store_split(&o, &err), &err);
    assert_non_null(strstr(w.last, "starts over"));
    check_store(out, &m);
    maker_drop(&m);
    maker_remove(source);
    maker_remove(out);
    maker_remove(whole);
}

static void test_whose_directory(void **state) {
    (void)state;
    char source[1200], out[1200], lock_path[1300];
    struct made_model m = shapes[0];
    struct lamina_error err = {0};
    struct sys_lock lock;
    maker_make(&m, in_base(source, "source"));
    (void)mkdir(in_base(out, "out"), 0755);
    maker_write(out, "thesis.txt", "x", 1);
    expect(LAMINA_USAGE, split(source, out, false, &err), &err, "thesis.txt");
    maker_remove(out);
    expect(LAMINA_USAGE, split(source, source, false, &err), &err, "config.json");
    must(split(source, out, false, &err), &err);
    m.tensors[2].data[1] ^= 1; /* same sizes, other weights */
    rewrite(&m, source);
    expect(LAMINA_USAGE, split(source, out, false, &err), &err, "something else");
    maker_remove(out);
    (void)snprintf(lock_path, sizeof(lock_path), "%s.lock", out);
    err = (struct lamina_error){0};
    must(sys_lock_take(&lock, lock_path, false, &err), &err);
    expect(LAMINA_BUSY, split(source, out, false, &err), &err, ".lock");
    sys_lock_drop(&lock);
    must(split(source, out, false, &err), &err);
    maker_drop(&m);
    maker_remove(source);
    maker_remove(out);
}

/* ---- --delete-original ---- */

static unsigned weight_files(const char *dir) {
    char command[1400], line[32] = "";
    (void)snprintf(command, sizeof(command), "ls '%s' | grep -c 'safetensors$'", dir);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    (void)fgets(line, sizeof(line), p);
    (void)pclose(p);
    return (unsigned)atoi(line);
}

static void test_delete_original(void **state) {
    (void)state;
    char source[1200], out[1200], whole[1200];
    struct made_model m = shapes[4];
    struct lamina_error err = {0};
    m.shards = 5;
    maker_make(&m, in_base(source, "source"));
    must(split(source, in_base(whole, "whole"), false, &err), &err);
    assert_int_equal(weight_files(source), 5);
    in_base(out, "out");
    bool finished = false;
    for (unsigned run = 1; run < 40 && !finished; run++) { /* interrupted again and again */
        struct watch w = {.stop_at = 1 + run / 8};
        struct lamina_callbacks c = {.progress = progress, .user = &w};
        struct store_split_options o = {.checkpoint = source, .output = out, .codec = "raw", .delete_original = true, .callbacks = &c};
        err = (struct lamina_error){0};
        lamina_status status = store_split(&o, &err);
        finished = status == LAMINA_OK;
        if (!finished) {
            expect(LAMINA_INTERRUPTED, status, &err, "interrupted");
        }
    }
    if (!finished) {
        must(split(source, out, true, &err), &err);
    }
    assert_int_equal(weight_files(source), 0);
    same_files(out, whole);
    must(split(source, out, true, &err), &err); /* nothing left to do */
    must(split(source, out, false, &err), &err);
    maker_files(&m, source);
    must(split(source, out, true, &err), &err); /* asked of a store that is complete */
    assert_int_equal(weight_files(source), 0);
    check_store(out, &m);
    maker_drop(&m);
    maker_remove(source);
    maker_remove(out);
    maker_remove(whole);
}

/* ---- a caller's source, repeated layers ---- */

static lamina_status my_tensor(void *user, uint32_t index, struct lamina_source_tensor *out, struct lamina_error *err) {
    const struct made_tensor *t = &((const struct made_model *)user)->tensors[index];
    (void)err;
    *out = (struct lamina_source_tensor){.name = t->name, .dtype = kern_dtype_name(t->dtype), .rank = t->rank};
    out->shape[0] = t->rank == 2 ? t->rows : t->cols;
    out->shape[1] = t->cols;
    return LAMINA_OK;
}

static lamina_status my_read(void *user, uint32_t index, uint64_t offset, void *dst, size_t len, struct lamina_error *err) {
    const struct made_tensor *t = &((const struct made_model *)user)->tensors[index];
    (void)err;
    memcpy(dst, t->data + offset, len);
    return LAMINA_OK;
}

static char my_config[4096];

static lamina_status my_file(void *user, const char *name, char **bytes, size_t *len, struct lamina_error *err) {
    (void)user;
    (void)err;
    if (strcmp(name, "config.json") != 0) {
        return LAMINA_NOT_FOUND;
    }
    *bytes = strdup(my_config);
    *len = strlen(my_config);
    return LAMINA_OK;
}

static void test_repeated_layers(void **state) {
    (void)state;
    char source[1200], out[1200], path[1300];
    struct made_model m = shapes[0];
    struct lamina_error err = {0};
    struct str config = {0};
    m.layers = 3;
    maker_make(&m, in_base(source, "source"));
    m.layers = 10;
    maker_config(&m, source);
    (void)snprintf(path, sizeof(path), "%s/config.json", source);
    assert_true(read_all(path, &config));
    (void)snprintf(my_config, sizeof(my_config), "%s", str_text(&config));
    struct lamina_source mine = {.size = sizeof(mine), .user = &m, .tensor_count = m.count, .tensor = my_tensor, .read = my_read,
                                 .file = my_file, .distinct_layers = 3, .first_repeated = 1};
    struct store_split_options o = {.source = &mine, .output = in_base(out, "out"), .codec = "raw"};
    must(store_split(&o, &err), &err);
    must(store_split(&o, &err), &err); /* recognised */
    struct store *s = NULL;
    must(store_open(&s, out, NULL, &err), &err);
    assert_true(s->synthetic);
    assert_int_equal(s->desc.layers, 10);
    for (int32_t i = 0; i < 10; i++) {
        int32_t same = i < 3 ? i : 1 + (i - 1) % 2;
        assert_ptr_equal(s->layers[i], s->layers[same]);
        assert_int_equal(store_vector_find(s, i, MODEL_ATTN_NORM)->offset, store_vector_find(s, same, MODEL_ATTN_NORM)->offset);
    }
    assert_int_equal(s->file_count, 5);
    struct str text = {0};
    must(store_show(s, true, &text, &err), &err);
    assert_non_null(strstr(str_text(&text), "\"synthetic\": true"));
    must(store_show(s, false, &text, &err), &err);
    str_drop(&text);
    store_close(&s);
    uint64_t damaged = 0;
    assert_int_equal(verify_quietly(out, &damaged), LAMINA_OK);
    m.tensors[0].data[3] ^= 1;
    expect(LAMINA_USAGE, store_split(&o, &err), &err, "something else");
    str_drop(&config);
    maker_drop(&m);
    maker_remove(source);
    maker_remove(out);
}

/* ---- locate ---- */

static void test_locate(void **state) {
    (void)state;
    char source[1200], home[1200];
    struct made_model m = shapes[0];
    struct lamina_error err = {0};
    struct str a = {0}, b = {0}, c = {0};
    maker_make(&m, in_base(source, "my model"));
    in_base(home, "home");
    expect(LAMINA_NOT_FOUND, store_locate(source, home, false, NULL, &a, &err), &err, "not been split");
    err = (struct lamina_error){0};
    must(store_locate(source, home, true, NULL, &a, &err), &err);
    check_store(str_text(&a), &m);
    assert_non_null(strstr(str_text(&a), "my_model-"));
    must(store_locate(source, home, false, NULL, &b, &err), &err);
    assert_string_equal(str_text(&a), str_text(&b));
    must(store_locate(str_text(&a), home, false, NULL, &c, &err), &err); /* a store is its own answer */
    assert_string_equal(str_text(&a), str_text(&c));
    m.tensors[1].data[5] ^= 1;
    rewrite(&m, source);
    str_clear(&b);
    expect(LAMINA_NOT_FOUND, store_locate(source, home, false, NULL, &b, &err), &err, "not been split");
    err = (struct lamina_error){0};
    must(store_locate(source, home, true, NULL, &b, &err), &err); /* changed: split again, the old one goes */
    assert_string_not_equal(str_text(&a), str_text(&b));
    check_store(str_text(&b), &m);
    assert_int_equal(access(str_text(&a), F_OK), -1);
    assert_int_equal(weight_files(source), 1);
    char path[1300];
    (void)snprintf(path, sizeof(path), "%s/model.safetensors", source);
    assert_int_equal(unlink(path), 0);
    str_clear(&c);
    must(store_locate(source, home, false, NULL, &c, &err), &err); /* weights gone, store known */
    assert_string_equal(str_text(&b), str_text(&c));
    str_clear(&c);
    expect(LAMINA_NOT_FOUND, store_locate(home, home, false, NULL, &c, &err), &err, "neither");
    err = (struct lamina_error){0};
    expect(LAMINA_NOT_FOUND, store_locate("/no/such/place", home, false, NULL, &c, &err), &err, "does not exist");
    str_drop(&a);
    str_drop(&b);
    str_drop(&c);
    maker_drop(&m);
    maker_remove(source);
    maker_remove(home);
}

static void test_verify_source(void **state) {
    (void)state;
    char source[1200], out[1200];
    struct made_model m = shapes[3];
    struct lamina_error err = {0};
    struct lamina_verify_result r = {.size = sizeof(r)};
    maker_make(&m, in_base(source, "source"));
    must(split(source, in_base(out, "out"), false, &err), &err);
    m.tensors[m.count - 1].data[0] ^= 8;
    rewrite(&m, source);
    expect(LAMINA_DAMAGED, store_verify(out, source, NULL, &r, &err), &err, "model-00002");
    assert_int_equal(r.damaged, 1);
    maker_drop(&m);
    maker_remove(source);
    maker_remove(out);
}

/* Every test begins in an empty directory, whatever became of the one before. */
static int fresh(void **state) {
    (void)state;
    maker_remove(base);
    return mkdir(base, 0700);
}

#define FRESH(test) cmocka_unit_test_setup(test, fresh)

int main(void) {
    maker_temp(base, sizeof(base));
    const struct CMUnitTest tests[] = {
        FRESH(test_round_trip),      FRESH(test_checkpoints_of_others), FRESH(test_python_decoder),
        FRESH(test_every_byte),      FRESH(test_swapped_files),         FRESH(test_refusals),
        FRESH(test_tied),            FRESH(test_unusual_values),        FRESH(test_interrupted),
        FRESH(test_untrusted_leftovers), FRESH(test_whose_directory),   FRESH(test_delete_original),
        FRESH(test_repeated_layers), FRESH(test_locate),                FRESH(test_verify_source),
    };
    int failed = cmocka_run_group_tests_name("store", tests, NULL, NULL);
    maker_remove(base);
    return failed;
}
