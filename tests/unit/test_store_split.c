/* SPDX-License-Identifier: Apache-2.0
 * Splitting beyond the straight way: interrupted and resumed, untrusted leftovers, directories of others, freed
 * sources,
 * a program's own source with repeated layers, and finding the store of a checkpoint. */
#include <unistd.h>

#include "store_checks.h"

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
            memcpy(t->data + (t->bytes - 4),
                   t->dtype == KERN_F32   ? nan32
                   : t->dtype == KERN_F16 ? nan_f16
                                          : inf_bf16,
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
    /* An unfinished store: as complete but for the manifest. The journal is made by stopping a real split at its
     * end. */
    struct watch stop = {.stop_at = 1};
    struct lamina_callbacks c = {.progress = progress, .user = &stop};
    struct store_split_options o = {.checkpoint = source, .output = out, .codec = "raw", .callbacks = &c, .log = &log};
    expect(LAMINA_INTERRUPTED, store_split(&o, &err), &err, "interrupted");
    err = (struct lamina_error){0};
    (void)snprintf(command, sizeof(command),
                   "cd '%s' && cp -r '%s'/*.bin . && cp '%s'/layers/* layers/ 2>/dev/null; mkdir -p layers; "
                   "echo rubbish >> journal; echo x > small.bin.tmp; echo y > layers/00001.bin.tmp; echo z > "
                   "lamina.json.tmp-12-ab",
                   out, whole, whole);
    /* The copy's own status says nothing: layers/ may not be there yet. */
    assert_int_not_equal(system(command), -1);
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
    assert_non_null(fgets(line, sizeof(line), p));
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
        struct store_split_options o = {
            .checkpoint = source, .output = out, .codec = "raw", .delete_original = true, .callbacks = &c};
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

static lamina_status my_read(void *user, uint32_t index, uint64_t offset, void *dst, size_t len,
                             struct lamina_error *err) {
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
    struct lamina_source mine = {.size = sizeof(mine),
                                 .user = &m,
                                 .tensor_count = m.count,
                                 .tensor = my_tensor,
                                 .read = my_read,
                                 .file = my_file,
                                 .distinct_layers = 3,
                                 .first_repeated = 1};
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
        assert_int_equal(store_vector_find(s, i, MODEL_ATTN_NORM)->offset,
                         store_vector_find(s, same, MODEL_ATTN_NORM)->offset);
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
    expect(LAMINA_NOT_FOUND, store_locate(source, home, NULL, false, NULL, &a, &err), &err, "not been split");
    err = (struct lamina_error){0};
    must(store_locate(source, home, NULL, true, NULL, &a, &err), &err);
    check_store(str_text(&a), &m);
    assert_non_null(strstr(str_text(&a), "my_model-"));
    must(store_locate(source, home, NULL, false, NULL, &b, &err), &err);
    assert_string_equal(str_text(&a), str_text(&b));
    must(store_locate(str_text(&a), home, NULL, false, NULL, &c, &err), &err); /* a store is its own answer */
    assert_string_equal(str_text(&a), str_text(&c));
    m.tensors[1].data[5] ^= 1;
    rewrite(&m, source);
    str_clear(&b);
    expect(LAMINA_NOT_FOUND, store_locate(source, home, NULL, false, NULL, &b, &err), &err, "not been split");
    err = (struct lamina_error){0};
    must(store_locate(source, home, NULL, true, NULL, &b, &err), &err); /* changed: split again, the old one goes */
    assert_string_not_equal(str_text(&a), str_text(&b));
    check_store(str_text(&b), &m);
    assert_int_equal(access(str_text(&a), F_OK), -1);
    assert_int_equal(weight_files(source), 1);
    char path[1300];
    (void)snprintf(path, sizeof(path), "%s/model.safetensors", source);
    assert_int_equal(unlink(path), 0);
    str_clear(&c);
    must(store_locate(source, home, NULL, false, NULL, &c, &err), &err); /* weights gone, store known */
    assert_string_equal(str_text(&b), str_text(&c));
    str_clear(&c);
    expect(LAMINA_NOT_FOUND, store_locate(home, home, NULL, false, NULL, &c, &err), &err, "neither");
    err = (struct lamina_error){0};
    expect(LAMINA_NOT_FOUND, store_locate("/no/such/place", home, NULL, false, NULL, &c, &err), &err, "does not exist");
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

int main(void) {
    maker_temp(base, sizeof(base));
    const struct CMUnitTest tests[] = {
        FRESH(test_unusual_values),  FRESH(test_interrupted),     FRESH(test_untrusted_leftovers),
        FRESH(test_whose_directory), FRESH(test_delete_original), FRESH(test_repeated_layers),
        FRESH(test_locate),          FRESH(test_verify_source),
    };
    int failed = cmocka_run_group_tests_name("store_split", tests, NULL, NULL);
    maker_remove(base);
    return failed;
}
