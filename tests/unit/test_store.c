/* SPDX-License-Identifier: Apache-2.0
 * The store from end to end: split, open, read back bit for bit, split again to the same bytes, refuse what is
 * wrong, find
 * every damaged byte. Checkpoints are made here (checkpoint_maker.h); those of the test data are used when there. */
#include <unistd.h>

#include "store_checks.h"

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
    static const char *const names[] = {
        "oracle/llama-mha",     "oracle/llama-gqa-llama3", "oracle/llama-tied-bias",     "oracle/llama-linear",
        "oracle/llama-dynamic", "stories260k/hf",          "stories260k/hf-bf16-sharded",
        "oracle/llama-fp8-block"};
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
        (void)snprintf(command, sizeof(command), "python3 tools/lamina_store.py check '%s' '%s' >/dev/null", out,
                       source);
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

static bool seed_is_current(const char *dir, const char *name) {
    char path[256];
    char version[32];
    struct str text = {0};
    struct lamina_error err = {0};
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    must(sys_read_whole(path, 1 << 20, &text, &err), &err);
    (void)snprintf(version, sizeof(version), "\"version\": %d,", (int)STORE_VERSION);
    bool current = text.len > 12 && (memcmp(text.ptr, "LAMINAWF", 8) == 0 ? load_le32(text.ptr + 8) == STORE_VERSION
                                                                          : strstr(text.ptr, version) != NULL);
    str_drop(&text);
    return current;
}

static bool check_seed(void *dir, const char *name) {
    if (!seed_is_current(dir, name)) {
        print_error("%s/%s is of another version\n", (const char *)dir, name);
        fail();
    }
    return true;
}

/* Fuzzers start from files of an older version as from nothing. */
static void test_seeds_are_of_this_version(void **state) {
    (void)state;
    char *dirs[] = {"tests/fuzz/corpus/layer_file", "tests/fuzz/corpus/manifest"};
    struct lamina_error err = {0};
    if (access(dirs[0], R_OK) != 0) {
        skip();
    }
    for (size_t i = 0; i < 2; i++) {
        must(sys_list_dir(dirs[i], check_seed, dirs[i], &err), &err);
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
        (void)snprintf(command, sizeof(command), "python3 tools/lamina_store.py check '%s' '%s' >/dev/null", out,
                       source);
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

static const struct made_model tiny = {.hidden = 6,
                                       .layers = 1,
                                       .heads = 1,
                                       .kv_heads = 1,
                                       .head_dim = 6,
                                       .ffn = 10,
                                       .vocab = 9,
                                       .dtype = 2,
                                       .shards = 1,
                                       .tied = true,
                                       .tokenizer = true,
                                       .seed = 10};

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
    static const char *const files[] = {"lamina.json",
                                        "small.bin",
                                        "embed.bin",
                                        "layers/00000.bin",
                                        "tokenizer/tokenizer.json",
                                        "tokenizer/config.json",
                                        "tokenizer/generation_config.json"};
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
    (void)snprintf(command, sizeof(command),
                   "cd '%s/layers' && mv 00000.bin x && mv 00001.bin 00000.bin && mv x 00001.bin", out);
    assert_int_equal(system(command), 0);
    assert_int_equal(verify_quietly(out, &damaged), LAMINA_DAMAGED);
    assert_int_equal(damaged, 2);
    maker_drop(&m);
    maker_remove(source);
    maker_remove(out);
}

/* ---- refusals ---- */

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
    (void)snprintf(m.tensors[count].name, sizeof(m.tensors[count].name),
                   "model.layers.0.self_attn.rotary_emb.inv_freq");
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
    (void)snprintf(command, sizeof(command),
                   "cd '%s' && printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:1\\nsize 12\\n' > "
                   "model-00002-of-00002.safetensors",
                   source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_DAMAGED, "LFS");
    (void)snprintf(command, sizeof(command),
                   "cd '%s' && cp model-00001-of-00002.safetensors model-00002-of-00002.safetensors", source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_DAMAGED, "is in"); /* twins */
    (void)snprintf(
        command, sizeof(command),
        "cd '%s' && rm model-00002-of-00002.safetensors && ln -s /etc/passwd model-00002-of-00002.safetensors", source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_UNSUPPORTED, "leads out");
    (void)snprintf(
        command, sizeof(command),
        "cd '%s' && rm model-00002-of-00002.safetensors && mv gone model-00002-of-00002.safetensors && "
        "sed -i 's/\"model.norm.weight\": \"[^\"]*\"/\"model.norm.weight\": \"model-00001-of-00002.safetensors\"/' "
        "model.safetensors.index.json",
        source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_DAMAGED, "model.norm.weight"); /* index and file disagree */
    (void)snprintf(command, sizeof(command),
                   "cd '%s' && sed -i 's/\"model.norm.weight\": \"[^\"]*\"/\"x\": \"..\\/x.safetensors\"/' "
                   "model.safetensors.index.json",
                   source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_DAMAGED, "file name");
    (void)snprintf(command, sizeof(command), "cd '%s' && rm model* && echo > pytorch_model.bin", source);
    assert_int_equal(system(command), 0);
    refuse(source, LAMINA_DAMAGED, "pytorch_model.bin");
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
    for (int kind = 0; kind < 3;
         kind++) { /* a copy of the embedding; another head; no head though config.json wants one */
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

int main(void) {
    maker_temp(base, sizeof(base));
    const struct CMUnitTest tests[] = {
        FRESH(test_round_trip), FRESH(test_checkpoints_of_others), FRESH(test_seeds_are_of_this_version), FRESH(test_python_decoder),
        FRESH(test_every_byte), FRESH(test_swapped_files),         FRESH(test_refusals),
        FRESH(test_tied),
    };
    int failed = cmocka_run_group_tests_name("store", tests, NULL, NULL);
    maker_remove(base);
    return failed;
}
