/* SPDX-License-Identifier: Apache-2.0
 * Checkpoints of torch files as a source: the store made from them has the bytes of the store made from safetensors,
 * whatever the container, the number of shards and the strides; which of several forms counts; what an index may say;
 * kills and --delete-original; and single reads of views. */
#include <unistd.h>

#include <signal.h>
#include <sys/wait.h>

#include "store_checks.h"
#include "sys/thread.h"
#include "torch_maker.h"

static const struct made_model shape = {.hidden = 144,
                                        .layers = 2,
                                        .heads = 4,
                                        .kv_heads = 2,
                                        .head_dim = 36,
                                        .ffn = 200,
                                        .vocab = 281,
                                        .biases = true,
                                        .dtype = 3,
                                        .shards = 1,
                                        .tokenizer = true,
                                        .seed = 5};
static struct made_model model;
static char plain[1200], whole[1200], torch[1200], out[1200];

struct style {
    bool legacy, strided, wrapped;
    unsigned shards;
};

__attribute__((format(printf, 1, 2))) static int shell(const char *fmt, ...) {
    char command[4000];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(command, sizeof(command), fmt, args);
    va_end(args);
    return system(command);
}

/* ---- writing a model as torch would ---- */

/* How tensor number i lies in its storage: as it is, transposed, inside wider rows, or every second column. */
static void lay_out(const struct made_tensor *t, unsigned how, struct pk_tensor *to) {
    uint64_t gap = how == 2 ? 5 : 0;
    uint64_t step = how == 3 ? 2 : 1;
    to->type = t->dtype == KERN_F32 ? "FloatStorage" : t->dtype == KERN_F16 ? "HalfStorage" : "BFloat16Storage";
    to->rank = t->rank;
    to->offset = how == 2 ? 3 : 0;
    uint64_t row = how == 1 && t->rank == 2 ? 1 : (t->cols + gap) * step;
    uint64_t col = how == 1 && t->rank == 2 ? t->rows : step;
    to->shape[0] = t->rank == 2 ? t->rows : t->cols;
    to->shape[1] = t->cols;
    to->strides[0] = t->rank == 2 ? row : col;
    to->strides[1] = col;
    to->elements = to->offset + (t->rows - 1) * row + (t->cols - 1) * col + 1;
}

static uint8_t *storage_of(const struct made_tensor *t, const struct pk_tensor *as) {
    size_t item = kern_dtype_bytes(t->dtype);
    uint8_t *s = malloc((size_t)as->elements * item + 1);
    memset(s, 0xee, (size_t)as->elements * item);
    for (uint64_t r = 0; r < t->rows; r++) {
        for (uint64_t c = 0; c < t->cols; c++) {
            uint64_t at = as->offset + (t->rank == 2 ? r * as->strides[0] + c * as->strides[1] : c * as->strides[0]);
            memcpy(s + at * item, t->data + (r * t->cols + c) * item, item);
        }
    }
    return s;
}

static void write_shard(const char *dir, const char *name, const struct style *style, unsigned first, unsigned end) {
    struct zip_maker z = {0};
    struct str p = {0};
    struct str f = {0};
    char key[512][12];
    const char *keys[512];
    struct pk_tensor as[512];
    assert_true(end - first <= 512);
    if (style->wrapped) {
        str_add_text(&p, "(dS'epoch'\nI3\nsS'state_dict'\n");
    }
    pk_begin(&p);
    for (unsigned i = first; i < end; i++) {
        as[i - first] = (struct pk_tensor){.name = model.tensors[i].name, .key = key[i - first], .legacy = style->legacy};
        (void)snprintf(key[i - first], sizeof(key[0]), "%u", i - first);
        keys[i - first] = key[i - first];
        lay_out(&model.tensors[i], style->strided ? i % 4 : 0, &as[i - first]);
        pk_add(&p, &as[i - first]);
    }
    str_add_text(&p, style->wrapped ? "us." : "u.");
    if (style->legacy) {
        legacy_front(&f);
        str_add_span(&f, str_span(&p));
        legacy_keys(&f, keys, end - first);
    } else {
        zip_add(&z, "archive/data.pkl", p.ptr, p.len);
    }
    for (unsigned i = first; i < end; i++) {
        uint8_t *s = storage_of(&model.tensors[i], &as[i - first]);
        size_t len = (size_t)as[i - first].elements * kern_dtype_bytes(model.tensors[i].dtype);
        char entry[40];
        (void)snprintf(entry, sizeof(entry), "archive/data/%u", i - first);
        if (style->legacy) {
            legacy_storage(&f, as[i - first].elements, s, len);
        } else {
            zip_add(&z, entry, s, len);
        }
        free(s);
    }
    if (!style->legacy) {
        zip_end(&z, true);
    }
    const struct str *file = style->legacy ? &f : &z.file;
    maker_write(dir, name, file->ptr, file->len);
    zip_drop(&z);
    str_drop(&f);
    str_drop(&p);
}

/* `torch` anew, with the small files of `plain`. */
static void write_torch(const struct style *style) {
    struct str index = {0};
    assert_int_equal(shell("rm -rf '%s' '%s' '%s.lock' && mkdir '%s' && cp '%s'/*.json '%s'", torch, out, out, torch, plain,
                           torch), 0);
    str_add_text(&index, "{\"metadata\": {}, \"weight_map\": {");
    for (unsigned s = 0; s < style->shards; s++) {
        unsigned first = model.count * s / style->shards;
        unsigned end = model.count * (s + 1) / style->shards;
        char name[64];
        (void)snprintf(name, sizeof(name), style->shards == 1 ? "pytorch_model.bin" : "pytorch_model-%05u-of-%05u.bin", s + 1,
                       style->shards);
        write_shard(torch, name, style, first, end);
        for (unsigned i = first; i < end; i++) {
            str_printf(&index, "%s\"%s\": \"%s\"", i == 0 ? "" : ", ", model.tensors[i].name, name);
        }
    }
    str_add_text(&index, "}}");
    if (style->shards > 1) {
        maker_write(torch, "pytorch_model.bin.index.json", index.ptr, index.len);
    }
    str_drop(&index);
}

/* The manifests differ in the names and digests of the source, nothing else does. */
static void same_weights(const char *store) {
    assert_int_equal(shell("diff -r -x lamina.json '%s' '%s'", store, whole), 0);
}

static int prepare(void **state) {
    struct lamina_error err = {0};
    maker_temp(base, sizeof(base));
    assert_int_equal(fresh(state), 0);
    (void)in_base(plain, "plain");
    (void)in_base(whole, "whole");
    (void)in_base(torch, "torch");
    (void)in_base(out, "out");
    model = shape;
    maker_make(&model, plain);
    must(split(plain, whole, false, &err), &err);
    return 0;
}

static int finish(void **state) {
    (void)state;
    maker_drop(&model);
    maker_remove(base);
    return 0;
}

/* ---- tests ---- */

static void test_styles(void **state) {
    (void)state;
    for (unsigned i = 0; i < 16; i++) {
        struct style style = {.legacy = (i & 1) != 0, .strided = (i & 2) != 0, .wrapped = (i & 4) != 0,
                              .shards = (i & 8) != 0 ? 3 : 1};
        struct lamina_error err = {0};
        struct lamina_verify_result r = {.size = sizeof(r)};
        write_torch(&style);
        assert_true(store_is_checkpoint(torch));
        must(split(torch, out, false, &err), &err);
        same_weights(out);
        must(store_verify(out, torch, NULL, &r, &err), &err);
        assert_int_equal(r.damaged, 0);
        must(split(torch, out, false, &err), &err); /* finds it complete */
        /* One bit of the source. */
        const char *name = style.shards == 1 ? "pytorch_model.bin" : "pytorch_model-00002-of-00003.bin";
        assert_int_equal(shell("cd '%s' && chmod u+w %s && printf '\\377' | dd of=%s bs=1 seek=$(( $(stat -c %%s %s) * 3 / 4 )) "
                               "conv=notrunc status=none", torch, name, name, name), 0);
        lamina_status status = store_verify(out, torch, NULL, &r, &err);
        if (status != LAMINA_DAMAGED || strstr(err.message, name) == NULL) {
            print_error("style %u: %d %s\n", i, status, err.message);
            fail();
        }
    }
}

/* Reads of any place and length of every view. */
static void test_reads(void **state) {
    (void)state;
    struct style style = {.strided = true, .shards = 2};
    struct checkpoint *c = NULL;
    struct lamina_error err = {0};
    uint64_t random = 99;
    write_torch(&style);
    must(checkpoint_open(&c, torch, NULL, NULL, &err), &err);
    assert_int_equal(c->tensor_count, model.count);
    unsigned strided = 0;
    for (uint32_t i = 0; i < c->tensor_count; i++) {
        const struct made_tensor *t = maker_find(&model, c->tensors[i].name);
        size_t item = kern_dtype_bytes(t->dtype);
        uint8_t *bytes = malloc(t->bytes + 1);
        strided += c->tensors[i].strides != NULL;
        assert_int_equal(c->tensors[i].bytes, t->bytes);
        for (unsigned k = 0; k < 12; k++) {
            size_t n = t->bytes / item;
            size_t first = k == 0 ? 0 : (size_t)(maker_random(&random) % n);
            size_t len = k == 0 ? n : (size_t)(maker_random(&random) % (n - first + 1));
            len = k % 3 == 2 && len > 9 ? 9 : len;
            bytes[len * item] = 0x5a;
            must(checkpoint_read(c, i, first * item, bytes, len * item, &err), &err);
            assert_memory_equal(bytes, t->data + first * item, len * item);
            assert_int_equal(bytes[len * item], 0x5a);
        }
        free(bytes);
    }
    assert_true(strided > model.count / 4);
    checkpoint_close(&c);
}

static void test_forms(void **state) {
    (void)state;
    struct style one = {.shards = 1};
    struct style many = {.shards = 3};
    struct lamina_error err = {0};
    struct str a = {0};
    struct str b = {0};
    struct source_path where = {.file = ""};
    (void)snprintf(where.dir, sizeof(where.dir), "%s", torch);
    /* Safetensors win over any pickle, which is not even opened. */
    write_torch(&one);
    assert_int_equal(shell("cp '%s'/model.safetensors '%s' && echo evil >'%s'/pytorch_model.bin", plain, torch, torch), 0);
    must(split(torch, out, false, &err), &err);
    same_weights(out);
    must(checkpoint_stat_text(&where, &a, &err), &err);
    assert_null(strstr(str_text(&a), ".bin"));
    /* An index of shards that were never fetched hides nothing. */
    write_torch(&one);
    maker_write(torch, "model.safetensors.index.json", "{}", 2);
    must(split(torch, out, false, &err), &err);
    same_weights(out);
    /* A single file wins over shards; what training left behind is not looked at. */
    write_torch(&many);
    write_shard(torch, "pytorch_model.bin", &one, 0, model.count);
    assert_int_equal(shell("cd '%s' && echo x >training_args.bin && rm pytorch_model-00002-of-00003.bin", torch), 0);
    must(split(torch, out, false, &err), &err);
    same_weights(out);
    str_clear(&a);
    must(checkpoint_stat_text(&where, &a, &err), &err);
    assert_null(strstr(str_text(&a), "training_args"));
    assert_non_null(strstr(str_text(&a), "pytorch_model.bin "));
    assert_int_equal(shell("cd '%s' && touch -d 2001-01-01 pytorch_model-00003-of-00003.bin", torch), 0);
    must(checkpoint_stat_text(&where, &b, &err), &err);
    assert_false(span_equal(str_span(&a), str_span(&b))); /* a changed shard is another checkpoint */
    /* Only that left: no weights. */
    assert_int_equal(shell("rm -rf '%s'; cd '%s' && rm pytorch_model*", out, torch), 0);
    assert_false(store_is_checkpoint(torch));
    expect(LAMINA_NOT_FOUND, split(torch, out, false, &err), &err, "holds no weights");
    maker_write(torch, "consolidated.00.pth", "x", 1);
    expect(LAMINA_NOT_FOUND, split(torch, out, false, &err), &err, "consolidated.00.pth");
    str_drop(&a);
    str_drop(&b);
}

static void refuse(lamina_status wanted, const char *words) {
    struct lamina_error err = {0};
    expect(wanted, split(torch, out, false, &err), &err, words);
    assert_int_not_equal(access(out, F_OK), 0); /* before the first byte was written */
}

static void test_refusals(void **state) {
    (void)state;
    struct style many = {.shards = 3};
    struct style one = {.shards = 1};
    struct lamina_error err = {0};
    write_torch(&many);
    assert_int_equal(shell("cd '%s' && mv pytorch_model-00002-of-00003.bin gone", torch), 0);
    refuse(LAMINA_NOT_FOUND, "pytorch_model-00002-of-00003.bin is missing");
    assert_int_equal(shell("cd '%s' && cp pytorch_model-00001-of-00003.bin pytorch_model-00002-of-00003.bin", torch), 0);
    refuse(LAMINA_DAMAGED, "is in pytorch_model-00001-of-00003.bin and in");
    assert_int_equal(shell("cd '%s' && rm pytorch_model-00002* && ln -s /etc/passwd pytorch_model-00002-of-00003.bin", torch), 0);
    refuse(LAMINA_UNSUPPORTED, "leads out");
    assert_int_equal(shell("cd '%s' && rm pytorch_model-00002* && head -c -1 gone >pytorch_model-00002-of-00003.bin", torch), 0);
    refuse(LAMINA_DAMAGED, "pytorch_model-00002-of-00003.bin");
    /* The index and the shards: what it names must be there; what it leaves out counts all the same. */
    write_torch(&many);
    assert_int_equal(shell("cd '%s' && sed -i 's/\"model.norm.weight\": \"[^\"]*\"/\"model.norm.weight\": "
                           "\"pytorch_model-00001-of-00003.bin\"/' pytorch_model.bin.index.json", torch), 0);
    refuse(LAMINA_DAMAGED, "the index says that tensor \"model.norm.weight\" is in");
    write_torch(&many);
    assert_int_equal(shell("cd '%s' && sed -i 's/, \"model.norm.weight\": \"[^\"]*\"//' pytorch_model.bin.index.json && "
                           "! grep -q model.norm.weight pytorch_model.bin.index.json", torch), 0);
    must(split(torch, out, false, &err), &err);
    same_weights(out);
    write_torch(&many);
    assert_int_equal(shell("cd '%s' && sed -i 's/pytorch_model-00001-of-00003.bin/..\\/x.bin/' pytorch_model.bin.index.json",
                           torch), 0);
    refuse(LAMINA_DAMAGED, "not an acceptable file name");
    write_torch(&one);
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    maker_write(torch, "pytorch_model.bin", pointer, strlen(pointer));
    refuse(LAMINA_DAMAGED, "git lfs pull");
    static const char hostile[] = "cos\nsystem\n(S'touch /tmp/x'\ntR.";
    maker_write(torch, "pytorch_model.bin", hostile, strlen(hostile));
    refuse(LAMINA_UNSUPPORTED, "os.system");
    maker_write(torch, "pytorch_model.bin", "", 0);
    refuse(LAMINA_DAMAGED, "neither a zip file nor a pickle");
    /* A checkpoint that lacks a tensor, and one with a tensor that nobody knows. */
    write_torch(&one);
    write_shard(torch, "pytorch_model.bin", &one, 0, model.count - 1);
    refuse(LAMINA_DAMAGED, "has no tensor");
    char kept[sizeof(model.tensors[0].name)];
    memcpy(kept, model.tensors[3].name, sizeof(kept));
    (void)snprintf(model.tensors[3].name, sizeof(kept), "unheard.of");
    write_torch(&one);
    memcpy(model.tensors[3].name, kept, sizeof(kept));
    refuse(LAMINA_DAMAGED, kept);
}

/* ---- kills ---- */

static lamina_status split_in_child(bool delete_original, uint64_t delay_ns) {
    pid_t pid = fork();
    if (pid == 0) {
        struct lamina_error err = {0};
        _exit(split(torch, out, delete_original, &err) == LAMINA_OK ? 0 : 1);
    }
    int status = 0;
    sys_sleep_ns(delay_ns);
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status)) {
        assert_int_equal(WEXITSTATUS(status), 0);
        return LAMINA_OK;
    }
    return LAMINA_INTERRUPTED;
}

static void test_kills(void **state) {
    (void)state;
    enum { KILLS = 40 };
    struct style style = {.strided = true, .shards = 3};
    uint64_t random = 4711;
    unsigned kills = 0;
    struct lamina_error err = {0};
    write_torch(&style);
    uint64_t began = sys_now_ns();
    must(split(torch, out, false, &err), &err);
    uint64_t usual = sys_now_ns() - began;
    for (unsigned tries = 0; kills < KILLS && tries < KILLS * 20; tries++) {
        bool delete_original = tries % 2 != 0;
        write_torch(&style);
        for (unsigned k = 0; k < 3; k++) {
            kills += split_in_child(delete_original, maker_random(&random) % (usual * 3 / 2)) != LAMINA_OK;
        }
        must(split(torch, out, delete_original, &err), &err);
        same_weights(out);
        assert_int_equal(shell("ls '%s' | grep -c 'of-00003.bin$' | grep -q %u", torch, delete_original ? 0 : 3), 0);
    }
    assert_true(kills >= KILLS);
}

/* A model by its directory: split on first use, known again, and known when its files are gone. */
static void test_locate(void **state) {
    (void)state;
    struct style style = {.shards = 3};
    struct lamina_error err = {0};
    struct str first = {0};
    struct str again = {0};
    char home[1200];
    write_torch(&style);
    must(store_locate(torch, in_base(home, "home"), "raw", true, NULL, &first, &err), &err);
    same_weights(str_text(&first));
    must(store_locate(torch, home, "raw", false, NULL, &again, &err), &err);
    assert_string_equal(str_text(&first), str_text(&again));
    assert_int_equal(shell("rm '%s'/*.bin", torch), 0);
    str_clear(&again);
    must(store_locate(torch, home, "raw", false, NULL, &again, &err), &err);
    assert_string_equal(str_text(&first), str_text(&again));
    str_drop(&first);
    str_drop(&again);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_styles),   cmocka_unit_test(test_reads), cmocka_unit_test(test_forms),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_kills), cmocka_unit_test(test_locate),
    };
    return cmocka_run_group_tests_name("torch_split", tests, prepare, finish);
}
