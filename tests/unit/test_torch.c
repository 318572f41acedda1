/* SPDX-License-Identifier: Apache-2.0
 * The readers of torch files. Lawful files of both containers and all protocols, then each rule with a file that breaks
 * exactly it: pickles that want to run something, views that leave their storage, inputs made to cost time or memory.
 * Last, files that torch itself wrote. Zip directories that lie are in test_torch_zip.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/safetensors.h"
#include "golden_files.h"
#include "torch_checks.h"

/* ---- lawful files ---- */

static void check_good(struct span file) {
    struct arena arena = {0};
    struct torch_tensors t = {0};
    lamina_status status = parse(file, &arena, &t);
    if (status != LAMINA_OK) {
        print_error("%s\n", last.message);
    }
    assert_int_equal(status, LAMINA_OK);
    assert_int_equal(t.count, 2);
    const struct torch_tensor *w = find(&t, "w");
    assert_string_equal(w->dtype, "F32");
    assert_int_equal(w->rank, 2);
    assert_int_equal(w->shape[0], 2);
    assert_int_equal(w->shape[1], 3);
    assert_true(w->contiguous);
    assert_int_equal(w->bytes, 24);
    assert_memory_equal(file.ptr + w->offset, data, 24);
    const struct torch_tensor *h = find(&t, "h.x");
    assert_string_equal(h->dtype, "F16");
    assert_int_equal(h->bytes, 6);
    assert_memory_equal(file.ptr + h->offset, data + 2, 6);
    arena_drop(&arena);
}

static void legacy_file(struct str *f, const struct pk_tensor *const *tensors, unsigned count) {
    static const char *const keys[] = {"1", "0"}; /* not in the order of the tensors */
    legacy_front(f);
    pk_begin(f);
    for (unsigned i = 0; i < count; i++) {
        struct pk_tensor t = *tensors[i];
        t.legacy = true;
        pk_add(f, &t);
    }
    pk_end(f);
    legacy_keys(f, keys, 2);
    legacy_storage(f, 4, data, 8);
    legacy_storage(f, 6, data, 24);
}

static void test_containers(void **state) {
    (void)state;
    struct str p = {0};
    struct str f = {0};
    struct zip_maker z;
    const struct pk_tensor *both[] = {&whole, &half};
    good_pickle(&p);
    for (int wide = 0; wide < 2; wide++) {
        archive(&z, &p, wide != 0);
        check_good(str_span(&z.file));
        zip_drop(&z);
    }
    legacy_file(&f, both, 2);
    check_good(str_span(&f));
    str_drop(&f);
    str_drop(&p);
}

/* Every prefix of a lawful file is refused: nothing is read beyond the end, nothing is believed that is not there. */
static void test_cut_short(void **state) {
    (void)state;
    struct str p = {0};
    struct str f = {0};
    struct zip_maker z;
    const struct pk_tensor *both[] = {&whole, &half};
    good_pickle(&p);
    archive(&z, &p, true);
    legacy_file(&f, both, 2);
    const struct str *files[] = {&z.file, &f};
    for (unsigned k = 0; k < 2; k++) {
        for (size_t n = 0; n < files[k]->len; n++) {
            struct arena arena = {0};
            struct torch_tensors t = {0};
            uint8_t *copy = malloc(n + 1); /* the sanitizer guards its end */
            memcpy(copy, files[k]->ptr, n);
            lamina_status status = parse(span_of(copy, n), &arena, &t);
            if ((status != LAMINA_DAMAGED && status != LAMINA_UNSUPPORTED) || last.code != status ||
                strstr(last.message, "x.bin") == NULL) {
                print_error("%zu of %zu bytes: %d %s\n", n, files[k]->len, status, last.message);
                fail();
            }
            free(copy);
            arena_drop(&arena);
        }
    }
    str_add_byte(&f, 0); /* one byte too many */
    expect(str_span(&f), LAMINA_DAMAGED, "1 bytes follow the last storage");
    str_add_byte(&z.file, 0);
    expect(str_span(&z.file), LAMINA_DAMAGED, "something follows its directory");
    zip_drop(&z);
    str_drop(&f);
    str_drop(&p);
}

/* A pickle in a zip with the usual storages. */
static void expect_pickle(const void *pickle, size_t len, lamina_status wanted, const char *words) {
    struct zip_maker z;
    struct str p = {0};
    str_add(&p, pickle, len);
    archive(&z, &p, false);
    expect(str_span(&z.file), wanted, words);
    zip_drop(&z);
    str_drop(&p);
}

#define PICKLE(text, wanted, words) expect_pickle(text, sizeof(text) - 1, wanted, words)
#define REBUILD "ctorch._utils\n_rebuild_tensor\n"
#define REBUILD_V2 "ctorch._utils\n_rebuild_tensor_v2\n"
#define STORAGE "((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI6\ntQ"
#define TENSOR REBUILD STORAGE "I0\n(I2\nI3\nt(I3\nI1\nttR"

static void test_spellings(void **state) {
    (void)state;
    struct arena arena = {0};
    struct torch_tensors t = {0};
    struct zip_maker z;
    struct str p = {0};
    /* Protocol 0; lists and dictionaries made at once; what is not a tensor is counted. */
    str_add_text(&p, "(dS'a'\n" TENSOR "sV\xc3\xa9\n(lI1\na" TENSOR "aF1.5\nasS'b'\n(V1\nNtsS'\\x41'\nI01\ns.");
    archive(&z, &p, false);
    assert_int_equal(parse(str_span(&z.file), &arena, &t), LAMINA_OK);
    assert_int_equal(t.count, 2);
    assert_int_equal(t.skipped, 5);
    (void)find(&t, "a");
    (void)find(&t, "\xc3\xa9.1");
    zip_drop(&z);
    arena_drop(&arena);
    /* Protocol 4: frames, short texts, the memo without numbers, names from the stack. */
    str_clear(&p);
    static const char four[] = "\x80\x04\x95\x0a\0\0\0\0\0\0\0}\x94\x8c\x01k\x94\x8c\x0ctorch._utils\x94\x8c\x0f_rebuild_tensor"
                               "\x94\x93\x94(h\x01\x30(\x8c\x07storage\x8c\x05torch\x8c\x0c"
                               "FloatStorage\x93\x8c\x01" "0\x8c\x03" "cpuK\x06tQJ\1\0\0\0K\x02\x85K\x01\x85tRs.";
    str_add(&p, four, sizeof(four) - 1);
    archive(&z, &p, false);
    if (parse(str_span(&z.file), &arena, &t) != LAMINA_OK) {
        print_error("%s\n", last.message);
        fail();
    }
    assert_int_equal(t.count, 1);
    assert_int_equal(find(&t, "k")->shape[0], 2);
    assert_memory_equal(z.file.ptr + t.list[0].offset, data + 4, 8);
    zip_drop(&z);
    arena_drop(&arena);
    str_drop(&p);
}

static void test_values(void **state) {
    (void)state;
    struct arena arena = {0};
    struct torch_tensors t = {0};
    struct zip_maker z;
    struct str p = {0};
    /* A parameter, a tensor with attributes, Python 2's ordered dictionary, attributes of a dictionary. */
    str_add_text(&p, "ccollections\nOrderedDict\n((l(lS'p'\nactorch._utils\n_rebuild_parameter\n(" TENSOR
                     "I01\nccollections\nOrderedDict\n)RtRaa(S's'\nctorch._tensor\n_rebuild_from_type_v2\n(" REBUILD
                     "ctorch.nn.parameter\nParameter\n" STORAGE "I2\n(I2\nt(I1\ntt(dtRtatR(dS'_metadata'\n(dsb.");
    archive(&z, &p, false);
    if (parse(str_span(&z.file), &arena, &t) != LAMINA_OK) {
        print_error("%s\n", last.message);
        fail();
    }
    assert_int_equal(t.count, 2);
    (void)find(&t, "p");
    assert_memory_equal(z.file.ptr + find(&t, "s")->offset, data + 8, 8);
    arena_drop(&arena);
    /* The model beside what training programs keep; its key is no part of the names. */
    str_clear(&p);
    str_add_text(&p, "(dS'epoch'\nI7\nsS'optimizer'\n(dS'state'\n" TENSOR "ssS'state_dict'\n(dS'w'\n" TENSOR "ss.");
    zip_drop(&z);
    archive(&z, &p, false);
    assert_int_equal(parse(str_span(&z.file), &arena, &t), LAMINA_OK);
    assert_int_equal(t.count, 1);
    assert_int_equal(t.skipped, 2);
    (void)find(&t, "w");
    arena_drop(&arena);
    zip_drop(&z);
    str_drop(&p);
}

static void test_nothing_runs(void **state) {
    (void)state;
    PICKLE("cos\nsystem\n(S'x'\ntR.", LAMINA_UNSUPPORTED, "os.system");
    PICKLE("\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x01x\x85R.", LAMINA_UNSUPPORTED, "posix.system");
    PICKLE("c__builtin__\neval\n.", LAMINA_UNSUPPORTED, "__builtin__.eval");
    PICKLE("cbuiltins\ngetattr\n.", LAMINA_UNSUPPORTED, "builtins.getattr");
    PICKLE("ctorch.storage\n_load_from_bytes\n.", LAMINA_UNSUPPORTED, "torch.storage._load_from_bytes");
    PICKLE("ctorch.hub\nload\n.", LAMINA_UNSUPPORTED, "torch.hub.load");
    PICKLE("ctorch\nload\n.", LAMINA_UNSUPPORTED, "torch.load");
    PICKLE("ctorch\nFloatStorage.x\n.", LAMINA_UNSUPPORTED, "torch.FloatStorage.x");
    PICKLE("cos\x1b[2J\nsystem\n.", LAMINA_UNSUPPORTED, "os?[2J.system"); /* no control bytes in messages */
    PICKLE("ctorch._utils\n_rebuild_sparse_tensor\n.", LAMINA_UNSUPPORTED, "_rebuild_sparse_tensor");
    PICKLE("(S'x'\nios\nsystem\n.", LAMINA_UNSUPPORTED, "os.system");
    PICKLE("(icollections\nOrderedDict\n.", LAMINA_UNSUPPORTED, "instance");
    PICKLE("(cos\nsystem\nS'x'\no.", LAMINA_UNSUPPORTED, "os.system");
    PICKLE("(ccollections\nOrderedDict\no.", LAMINA_UNSUPPORTED, "OBJ");
    PICKLE("\x82\x01.", LAMINA_UNSUPPORTED, "EXT1");
    PICKLE("Px\n.", LAMINA_UNSUPPORTED, "PERSID");
    PICKLE("\x8f.", LAMINA_UNSUPPORTED, "EMPTY_SET");
    PICKLE("\x97.", LAMINA_UNSUPPORTED, "NEXT_BUFFER");
    PICKLE("\x80\x06N.", LAMINA_UNSUPPORTED, "protocol 6");
    /* Lawful names in unlawful places. */
    PICKLE("ctorch\nFloatStorage\n)R.", LAMINA_UNSUPPORTED, "only mention");
    PICKLE("ctorch\nfloat32\n)R.", LAMINA_UNSUPPORTED, "only mention");
    PICKLE("ctorch\nTensor\n)R.", LAMINA_UNSUPPORTED, "only mention");
    PICKLE("S'x'\n)R.", LAMINA_DAMAGED, "no function");
    PICKLE("ccollections\nOrderedDict\nNR.", LAMINA_DAMAGED, "no function");
    PICKLE("ccollections\nOrderedDict\n(I1\ntR.", LAMINA_UNSUPPORTED, "other arguments");
    PICKLE("ccollections\nOrderedDict\n((lI1\natR.", LAMINA_DAMAGED, "no pair");
    PICKLE("ctorch._utils\n_rebuild_parameter\n(I1\ntR.", LAMINA_UNSUPPORTED, "no tensor");
    PICKLE("ctorch.nn.parameter\nParameter\n)R.", LAMINA_UNSUPPORTED, "no tensor");
    PICKLE("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nctorch\nTensor\n)(dtR.",
           LAMINA_UNSUPPORTED, "subclass");
    PICKLE("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor\nctorch\nSize\n)(dtR.",
           LAMINA_UNSUPPORTED, "subclass");
    PICKLE(TENSOR "(db.", LAMINA_UNSUPPORTED, "attributes");
    PICKLE("(d(I1\nI2\ntb.", LAMINA_UNSUPPORTED, "attributes");
    PICKLE("(S'module'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI6\ntQ.", LAMINA_UNSUPPORTED, "module");
    PICKLE("((S'storage'\nI1\nS'0'\nS'cpu'\nI6\ntQ.", LAMINA_DAMAGED, "a storage is not");
    PICKLE("((S'storage'\nctorch\nFloatStorage\nI0\nS'cpu'\nI6\ntQ.", LAMINA_DAMAGED, "a storage is not");
    PICKLE("((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI-6\ntQ.", LAMINA_DAMAGED, "a storage is not");
    PICKLE("((S'storage'\nctorch\nfloat32\nS'0'\nS'cpu'\nI6\ntQ.", LAMINA_DAMAGED, "a storage is not");
    PICKLE("NQ.", LAMINA_DAMAGED, "not named by a tuple");
}

static void test_machine(void **state) {
    (void)state;
    PICKLE("", LAMINA_DAMAGED, "ends in the middle");
    PICKLE(".", LAMINA_DAMAGED, "0 values");
    PICKLE("NN.", LAMINA_DAMAGED, "2 values");
    PICKLE("(.", LAMINA_DAMAGED, NULL);
    PICKLE("0.", LAMINA_DAMAGED, "more values than there are");
    PICKLE("(0.", LAMINA_DAMAGED, "more values than there are"); /* the mark is no value */
    PICKLE("N\x86.", LAMINA_DAMAGED, "more values than there are");
    PICKLE("Nt.", LAMINA_DAMAGED, "mark that was never set");
    PICKLE("q\0.", LAMINA_DAMAGED, "more values than there are");
    PICKLE("(q\0.", LAMINA_DAMAGED, "more values than there are");
    PICKLE("h\0.", LAMINA_DAMAGED, "nothing was put");
    PICKLE("Nr\xff\xff\xff\xffN.", LAMINA_DAMAGED, "memo index 4294967295");
    PICKLE("Nr\x20\0\0\0N.", LAMINA_DAMAGED, "memo index 32");
    PICKLE("Np-1\n.", LAMINA_DAMAGED, "memo index");
    PICKLE("Np99999999999999999999\n.", LAMINA_DAMAGED, "memo index");
    PICKLE("NNs.", LAMINA_DAMAGED, "no dictionary");
    PICKLE("NNNs.", LAMINA_DAMAGED, "no dictionary");
    PICKLE("NNa.", LAMINA_DAMAGED, "no list");
    PICKLE("(dNa.", LAMINA_DAMAGED, "no list");
    PICKLE("(d(Nu.", LAMINA_DAMAGED, "without a value");
    PICKLE("(Nd.", LAMINA_DAMAGED, "without a value");
    PICKLE("\x93.", LAMINA_DAMAGED, "more values than there are");
    PICKLE("I1\nI2\n\x93.", LAMINA_DAMAGED, "no text");
    PICKLE("\xff.", LAMINA_DAMAGED, "0xff is no operation");
    PICKLE("X\xff\xff\xff\xff.", LAMINA_DAMAGED, "ends in the middle");
    PICKLE("\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", LAMINA_DAMAGED, "ends in the middle");
    PICKLE("\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", LAMINA_DAMAGED, "ends in the middle");
    PICKLE("Sx\n.", LAMINA_DAMAGED, "quotes");
    PICKLE("S'\n.", LAMINA_DAMAGED, "quotes");
    PICKLE("N.N", LAMINA_DAMAGED, "follow its end");
    PICKLE("(d.", LAMINA_OK, NULL);
    PICKLE("\x80\x02(NNNN12N0N.", LAMINA_DAMAGED, "more values than there are");
    PICKLE("\x80\x02N(NNNN1\x32\x30.", LAMINA_OK, NULL);
}

static void test_names(void **state) {
    (void)state;
    PICKLE("(dS'a'\n" TENSOR "sS'a'\n" TENSOR "s.", LAMINA_DAMAGED, "\"a\": the name appears twice");
    PICKLE("(dS'a.b'\n" TENSOR "sS'a'\n(dS'b'\n" TENSOR "ss.", LAMINA_DAMAGED, "appears twice");
    PICKLE("(d(I1\nt" TENSOR "s.", LAMINA_UNSUPPORTED, "no name");
    PICKLE("(d(I1\nt(dS'a'\n" TENSOR "ss.", LAMINA_UNSUPPORTED, "no name");
    PICKLE("(dI-1\n" TENSOR "s.", LAMINA_UNSUPPORTED, "no name");
    PICKLE("(dV\xff\n" TENSOR "s.", LAMINA_UNSUPPORTED, "no name");
    PICKLE("(dV\x07\n" TENSOR "s.", LAMINA_UNSUPPORTED, "no name");
    PICKLE("(d(I1\ntI1\ns.", LAMINA_OK, NULL); /* nothing to be named */
    PICKLE("(dI12\n" TENSOR "s.", LAMINA_OK, NULL);
    struct str p = {0};
    for (int over = 0; over < 2; over++) {
        str_clear(&p);
        str_add_text(&p, "(dV");
        for (int i = 0; i < 512 + over; i++) {
            str_add_byte(&p, 'n');
        }
        str_add_text(&p, "\n" TENSOR "s.");
        expect_pickle(p.ptr, p.len, over ? LAMINA_UNSUPPORTED : LAMINA_OK, over ? "no name" : NULL);
    }
    /* Cycles, and one dictionary under two names. */
    PICKLE("(dp0\nS'a'\n" TENSOR "sS'me'\ng0\ns.", LAMINA_DAMAGED, "contains itself");
    PICKLE("(lp0\ng0\na.", LAMINA_DAMAGED, "contains itself");
    PICKLE("(lp0\n(g0\ntp1\na.", LAMINA_DAMAGED, "contains itself");
    PICKLE("(dS'a'\n(dp0\nS'x'\n" TENSOR "ssS'b'\ng0\ns.", LAMINA_UNSUPPORTED, "under two names");
    PICKLE("(dS'a'\n(dp0\nS'x'\nI1\nssS'b'\ng0\ns.", LAMINA_OK, NULL);
    str_drop(&p);
}

/* ---- views ---- */

static void expect_tensor(const struct pk_tensor *t, lamina_status wanted, const char *words) {
    struct str p = {0};
    pk_begin(&p);
    pk_add(&p, t);
    pk_end(&p);
    expect_pickle(p.ptr, p.len, wanted, words);
    str_drop(&p);
}

static struct pk_tensor view(uint64_t offset, unsigned rank, uint64_t a, uint64_t b, uint64_t sa, uint64_t sb) {
    struct pk_tensor t = whole;
    t.offset = offset;
    t.rank = rank;
    t.shape[0] = a;
    t.shape[1] = b;
    t.strides[0] = sa;
    t.strides[1] = sb;
    return t;
}

static void test_views(void **state) {
    (void)state;
    static const struct {
        uint64_t offset, rank, a, b, sa, sb;
        int contiguous; /* -1: refused */
    } cases[] = {
        {0, 2, 2, 3, 3, 1, 1},  {1, 1, 5, 0, 1, 0, 1},   {2, 1, 5, 0, 1, 0, -1}, {0, 2, 3, 2, 1, 3, 0},
        {0, 2, 1, 6, 99, 1, 1}, {0, 2, 6, 1, 1, 99, 1},  {0, 2, 3, 1, 2, 1, 0},  {0, 2, 1000, 6, 0, 1, 0},
        {1, 2, 3, 2, 1, 3, -1}, {6, 1, 0, 0, 1, 0, 1},   {7, 1, 0, 0, 1, 0, -1}, {5, 0, 0, 0, 0, 0, 1},
        {6, 0, 0, 0, 0, 0, -1}, {0, 2, 0, 9, 1, 1, 1},   {0, 2, 2, 2, 5, 1, -1}, {0, 2, 2, 2, 4, 1, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pk_tensor t = view(cases[i].offset, (unsigned)cases[i].rank, cases[i].a, cases[i].b, cases[i].sa, cases[i].sb);
        struct arena arena = {0};
        struct torch_tensors out = {0};
        struct zip_maker z;
        struct str p = {0};
        pk_begin(&p);
        pk_add(&p, &t);
        pk_end(&p);
        archive(&z, &p, false);
        lamina_status status = parse(str_span(&z.file), &arena, &out);
        if (cases[i].contiguous < 0 ? status != LAMINA_DAMAGED || strstr(last.message, "beyond its storage") == NULL
                                    : status != LAMINA_OK || out.list[0].contiguous != (cases[i].contiguous != 0)) {
            print_error("case %zu: %d %s\n", i, status, last.message);
            fail();
        }
        arena_drop(&arena);
        zip_drop(&z);
        str_drop(&p);
    }
    const uint64_t big = UINT64_C(1) << 52;
    struct pk_tensor t = view(0, 2, big, big, 0, 0);
    expect_tensor(&t, LAMINA_DAMAGED, "beyond 64 bits");
    t = view(0, 2, big, 1, 0, 0);
    expect_tensor(&t, LAMINA_DAMAGED, "2^53 bytes");
    t = view(0, 2, 3, 1, big, 1);
    expect_tensor(&t, LAMINA_DAMAGED, "beyond its storage");
    t = view(INT64_MAX, 1, 2, 0, 1, 0);
    expect_tensor(&t, LAMINA_DAMAGED, "beyond its storage");
    t = view(UINT64_C(1) << 63, 1, 2, 0, 1, 0); /* a negative LONG1 */
    expect_tensor(&t, LAMINA_DAMAGED, "offset is no number");
    t = view(0, 2, 2, 3, UINT64_MAX - 2, 1);
    expect_tensor(&t, LAMINA_DAMAGED, "negative");
    t = view(0, 1, UINT64_C(1) << 53, 0, 0, 0);
    expect_tensor(&t, LAMINA_DAMAGED, "too large");
    t = whole;
    t.key = "2";
    expect_tensor(&t, LAMINA_DAMAGED, "storage \"2\" is not in the file");
    t.key = "../1";
    expect_tensor(&t, LAMINA_DAMAGED, "is not in the file");
    t.key = "\x1b[2J\xff"; /* what a terminal would obey is not repeated to it */
    expect_tensor(&t, LAMINA_DAMAGED, "storage \"?[2J?\" is not in the file");
    t.key = "1"; /* 8 bytes */
    expect_tensor(&t, LAMINA_DAMAGED, "has 8 bytes, its tensors expect 6 elements of 4");
    t = whole;
    t.elements = UINT64_C(1) << 62;
    expect_tensor(&t, LAMINA_DAMAGED, "storage \"0\" has 24 bytes");
    t = whole;
    t.type = "QInt8Storage";
    expect_tensor(&t, LAMINA_UNSUPPORTED, "torch.QInt8Storage");
}

static void test_arguments(void **state) {
    (void)state;
    PICKLE("(dS'w'\n" REBUILD STORAGE "I0\n(I2\nI3\nt(I3\nttRs.", LAMINA_DAMAGED, "one stride a dimension");
    PICKLE("(dS'w'\n" REBUILD STORAGE "I0\n(lI2\na(I3\nttRs.", LAMINA_DAMAGED, "not a tuple");
    PICKLE("(dS'w'\n" REBUILD STORAGE "I0\n(I01\nt(I3\nttRs.", LAMINA_DAMAGED, "no number");
    PICKLE("(dS'w'\n" REBUILD STORAGE "N(I2\nt(I3\nttRs.", LAMINA_DAMAGED, "offset is no number");
    PICKLE("(dS'w'\n" REBUILD STORAGE "I0\n(I1\nI1\nI1\nI1\nI1\nI1\nI1\nI1\nI1\nt(I1\nttRs.", LAMINA_UNSUPPORTED,
           "more than 8 dimensions");
    PICKLE("(dS'w'\n" REBUILD STORAGE "I0\n(I2\nttRs.", LAMINA_DAMAGED, "not made of");
    PICKLE("(dS'w'\n" REBUILD ")Rs.", LAMINA_DAMAGED, "not made of");
    PICKLE("(dS'w'\n" REBUILD "(I1\nI0\n(I2\nt(I1\nttRs.", LAMINA_DAMAGED, "not made of");
    PICKLE("(dS'w'\n" REBUILD_V2 STORAGE "I0\n(I2\nt(I1\ntI00\n(d(dtRs.", LAMINA_OK, NULL);
    PICKLE("(dS'w'\n" REBUILD_V2 STORAGE "I0\n(I2\nt(I1\ntI00\n(dNtRs.", LAMINA_OK, NULL);
    PICKLE("(dS'w'\n" REBUILD_V2 STORAGE "I0\n(I2\nt(I1\ntI00\n(d(dS'neg'\nI01\nstRs.", LAMINA_UNSUPPORTED, "negated");
    PICKLE("(dS'w'\nctorch._utils\n_rebuild_tensor_v3\n" STORAGE "I0\n(I2\nt(I1\ntI00\n(dctorch\nfloat8_e4m3fn\ntRs.",
           LAMINA_OK, NULL);
    PICKLE("(dS'w'\nctorch._utils\n_rebuild_tensor_v3\n" STORAGE "I0\n(I2\nt(I1\ntI00\n(dNtRs.", LAMINA_DAMAGED,
           "no data type");
    PICKLE("(dS'w'\nctorch._utils\n_rebuild_tensor_v3\n" STORAGE "I0\n(I25\nt(I1\ntI00\n(dctorch\nfloat8_e4m3fn\ntRs.",
           LAMINA_DAMAGED, "beyond its storage");
    PICKLE("(dS'w'\nctorch._utils\n_rebuild_tensor_v3\n" STORAGE "I0\n(I2\nt(I1\ntI00\n(dctorch\nfloat8_e4m3fn\n(dS'c'\nNstRs.",
           LAMINA_UNSUPPORTED, "conjugated");
}

/* ---- what inputs may cost ---- */

static void test_costs(void **state) {
    (void)state;
    struct str p = {0};
    /* Dictionaries one in the other: 64 are read, 65 are not; a million do no harm. */
    static const unsigned depths[] = {64, 65, 1000000};
    for (unsigned k = 0; k < 3; k++) {
        str_clear(&p);
        for (unsigned i = 0; i < depths[k]; i++) {
            str_add_text(&p, "}K\1");
        }
        str_add_text(&p, "N");
        for (unsigned i = 0; i < depths[k]; i++) {
            str_add_text(&p, "s");
        }
        str_add_text(&p, ".");
        expect_pickle(p.ptr, p.len, k == 0 ? LAMINA_OK : k == 1 ? LAMINA_UNSUPPORTED : LAMINA_NO_FIT, k == 1 ? "deep" : NULL);
    }
    /* Each dictionary holds the one before twice: 2^60 paths, one visit. */
    str_clear(&p);
    str_add_text(&p, "(dq\1");
    for (unsigned i = 0; i < 60; i++) {
        str_add_text(&p, "0(dS'a'\nh\1sS'b'\nh\1sq\1");
    }
    str_add_text(&p, ".");
    expect_pickle(p.ptr, p.len, LAMINA_OK, NULL);
    /* One long list, turned into a dictionary again and again. */
    str_clear(&p);
    str_add_text(&p, "ccollections\nOrderedDict\nq\1\x30(lq\2(");
    for (unsigned i = 0; i < 300; i++) {
        str_add_text(&p, "K\1K\1\x86");
    }
    str_add_text(&p, "e0");
    for (unsigned i = 0; i < 300; i++) {
        str_add_text(&p, "h\1h\2\x85R0");
    }
    str_add_text(&p, "N.");
    expect_pickle(p.ptr, p.len, LAMINA_UNSUPPORTED, "more work");
    /* A megabyte of a key, used a hundred thousand times. */
    str_clear(&p);
    str_add_text(&p, "(dV");
    for (unsigned i = 0; i < 1 << 20; i++) {
        str_add_byte(&p, 'k');
    }
    str_add_text(&p, "\nq\1(NN");
    for (unsigned i = 0; i < 100000; i++) {
        str_add_text(&p, "h\1N");
    }
    str_add_text(&p, "d0N0s.");
    expect_pickle(p.ptr, p.len, LAMINA_DAMAGED, NULL);
    str_drop(&p);
}

/* ---- the legacy container ---- */

static void legacy_with(const char *what, const char *with, lamina_status wanted, const char *words) {
    struct str f = {0};
    const struct pk_tensor *both[] = {&whole, &half};
    legacy_file(&f, both, 2);
    if (what != NULL) {
        assert_int_equal(strlen(what), strlen(with));
        uint8_t *at = memmem(f.ptr, f.len, what, strlen(what));
        assert_non_null(at);
        memcpy(at, with, strlen(with));
    }
    expect(str_span(&f), wanted, words);
    str_drop(&f);
}

static void test_legacy(void **state) {
    (void)state;
    struct str f = {0};
    legacy_with(NULL, NULL, LAMINA_OK, NULL);
    legacy_with("l\xfc\x9c", "l\xfc\x9d", LAMINA_UNSUPPORTED, "magic");
    legacy_with("M\xe9\x03.", "M\xea\x03.", LAMINA_UNSUPPORTED, "version");
    legacy_with("little_endian\x88", "little_endian\x89", LAMINA_UNSUPPORTED, "big-endian");
    legacy_with("little_endian", "little_endiam", LAMINA_DAMAGED, "byte order");
    legacy_with("](X\1", "](U\1", LAMINA_DAMAGED, NULL);
    legacy_with("X\1", "X\1", LAMINA_OK, NULL);
    legacy_with("X\3", "X\7", LAMINA_DAMAGED, NULL);
    static const char *const same[] = {"0", "0"};
    static const char *const other[] = {"0", "7"};
    static const char *const one[] = {"0"};
    static const char *const *const lists[] = {same, other, one};
    static const char *const words[] = {"listed twice", "no tensor has it", "follow the last storage"};
    for (unsigned i = 0; i < 3; i++) {
        struct pk_tensor a = whole;
        struct pk_tensor b = half;
        a.legacy = b.legacy = true;
        str_clear(&f);
        legacy_front(&f);
        pk_begin(&f);
        pk_add(&f, &a);
        pk_add(&f, &b);
        pk_end(&f);
        legacy_keys(&f, lists[i], i == 2 ? 1 : 2);
        legacy_storage(&f, 6, data, 24);
        legacy_storage(&f, 4, data, 8);
        expect(str_span(&f), LAMINA_DAMAGED, words[i]);
    }
    /* One storage, said to be of two sizes. */
    struct pk_tensor a = whole;
    struct pk_tensor b = whole;
    a.legacy = b.legacy = true;
    b.name = "b";
    b.elements = 7;
    str_clear(&f);
    legacy_front(&f);
    pk_begin(&f);
    pk_add(&f, &a);
    pk_add(&f, &b);
    pk_end(&f);
    legacy_keys(&f, one, 1);
    legacy_storage(&f, 6, data, 24);
    expect(str_span(&f), LAMINA_DAMAGED, "two sizes");
    /* A list that leaves one out, with nothing behind. */
    str_clear(&f);
    b = half;
    b.legacy = true;
    legacy_front(&f);
    pk_begin(&f);
    pk_add(&f, &a);
    pk_add(&f, &b);
    pk_end(&f);
    legacy_keys(&f, one, 1);
    legacy_storage(&f, 6, data, 24);
    expect(str_span(&f), LAMINA_DAMAGED, "storage \"1\" is not in the file");
    str_drop(&f);
}

/* Pickles longer than what is read first. */
static void test_legacy_long(void **state) {
    (void)state;
    enum { TENSORS = 20000 };
    struct str f = {0};
    struct arena arena = {0};
    struct torch_tensors t = {0};
    static const char *const key[] = {"0"};
    legacy_front(&f);
    pk_begin(&f);
    for (unsigned i = 0; i < TENSORS; i++) {
        char name[40];
        struct pk_tensor one = {name, "FloatStorage", "0", 6, i % 6, 1, {1}, {1}, true};
        (void)snprintf(name, sizeof(name), "layers.%u.weight", i);
        pk_add(&f, &one);
    }
    pk_end(&f);
    legacy_keys(&f, key, 1);
    legacy_storage(&f, 6, data, 24);
    assert_true(f.len > 2 << 20);
    assert_int_equal(parse(str_span(&f), &arena, &t), LAMINA_OK);
    assert_int_equal(t.count, TENSORS);
    const struct torch_tensor *x = find(&t, "layers.19999.weight");
    assert_memory_equal(f.ptr + x->offset, data + (size_t)4 * (19999 % 6), 4);
    arena_drop(&arena);
    /* A text that claims to go on: read again and again, but not without end. */
    str_clear(&f);
    str_add(&f, "\x80\x02X\xff\xff\xff\x7f", 7);
    for (unsigned i = 0; i < 5 << 20; i++) {
        str_add_byte(&f, 'x');
    }
    reads = 0;
    expect(str_span(&f), LAMINA_DAMAGED, "cut short");
    assert_true(reads < 8);
    str_drop(&f);
}

static void test_other_files(void **state) {
    (void)state;
    uint8_t tar[1024] = {0};
    memcpy(tar + 257, "ustar", 5);
    expect(span_of(tar, sizeof(tar)), LAMINA_UNSUPPORTED, "tar");
    expect(span_of("", 0), LAMINA_DAMAGED, "neither");
    expect(span_of("abc", 3), LAMINA_DAMAGED, "neither");
    expect(span_of("PK\3\4", 4), LAMINA_DAMAGED, "zip");
    expect(span_of("\x80\2}q\0.", 6), LAMINA_UNSUPPORTED, "magic");
    expect(span_of("cos\nsystem\n(S'x'\ntR.", 20), LAMINA_UNSUPPORTED, "os.system");
}

static lamina_status index_of(const char *json, struct arena *arena, struct safetensors_index *x) {
    last = (struct lamina_error){0};
    return torch_index_parse(span_of_text(json), "index.json", arena, x, &last);
}

static void test_index(void **state) {
    (void)state;
    struct arena arena = {0};
    struct safetensors_index x = {0};
    assert_int_equal(index_of("{\"weight_map\":{\"a\":\"m-1.bin\",\"b\":\"m-2.bin\"}}", &arena, &x), LAMINA_OK);
    assert_int_equal(x.file_count, 2);
    assert_string_equal(x.files[1], "m-2.bin");
    static const char *const bad[] = {"../m.bin", "/m.bin", ".bin", "m.bin ", "a/b.bin", "m.safetensors", "bin", "m.bin.x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char json[100];
        (void)snprintf(json, sizeof(json), "{\"weight_map\":{\"a\":\"%s\"}}", bad[i]);
        assert_int_equal(index_of(json, &arena, &x), LAMINA_DAMAGED);
        assert_non_null(strstr(last.message, ".bin"));
    }
    last = (struct lamina_error){0};
    assert_int_equal(safetensors_index_parse(span_of_text("{\"weight_map\":{\"a\":\"m.bin\"}}"), "x", &arena, &x, &last),
                     LAMINA_DAMAGED);
    arena_drop(&arena);
}

/* ---- files that torch wrote ---- */

/* Ten types, five protocols, both containers: the same four values each time. */
static void test_golden_types(void **state) {
    (void)state;
    static const struct {
        const char *name, *dtype;
    } types[] = {{"bfloat16", "BF16"}, {"bool", "BOOL"}, {"float16", "F16"}, {"float32", "F32"}, {"float64", "F64"},
                 {"int16", "I16"},     {"int32", "I32"}, {"int64", "I64"},   {"int8", "I8"},     {"uint8", "U8"}};
    for (unsigned k = 0; k < 10; k++) {
        uint8_t first[64];
        size_t first_len = 0;
        for (unsigned i = 0; i < 10; i++) {
            char name[120];
            struct str file = {0};
            struct arena arena = {0};
            struct torch_tensors t = {0};
            (void)snprintf(name, sizeof(name), "goldens/torch-pickle/gopickle/tensor_%s_proto%u%s.pt", types[k].name,
                           i % 5 + 1, i < 5 ? "" : "_zip");
            need(name, &file);
            if (parse(str_span(&file), &arena, &t) != LAMINA_OK) {
                print_error("%s: %s\n", name, last.message);
                fail();
            }
            assert_int_equal(t.count, 1);
            assert_string_equal(t.list[0].name, "");
            assert_string_equal(t.list[0].dtype, types[k].dtype);
            assert_int_equal(t.list[0].elements, 4);
            assert_true(t.list[0].contiguous);
            if (i == 0) {
                first_len = (size_t)t.list[0].bytes;
                memcpy(first, file.ptr + t.list[0].offset, first_len);
            }
            assert_int_equal(t.list[0].bytes, first_len);
            assert_memory_equal(file.ptr + t.list[0].offset, first, first_len);
            arena_drop(&arena);
            str_drop(&file);
        }
        static const float values[4] = {1.2f, -3.4f, 5.6f, -7.8f};
        if (strcmp(types[k].name, "float32") == 0) {
            assert_memory_equal(first, values, sizeof(values));
        }
    }
}

static void golden(const char *name, unsigned tensors, uint64_t elements) {
    char path[200];
    struct str file = {0};
    struct arena arena = {0};
    struct torch_tensors t = {0};
    uint64_t sum = 0;
    (void)snprintf(path, sizeof(path), "goldens/torch-pickle/%s", name);
    need(path, &file);
    if (parse(str_span(&file), &arena, &t) != LAMINA_OK) {
        print_error("%s: %s\n", name, last.message);
        fail();
    }
    for (uint32_t i = 0; i < t.count; i++) {
        sum += t.list[i].elements;
        assert_true(t.list[i].offset + t.list[i].bytes <= file.len);
    }
    if (t.count != tensors || sum != elements) {
        print_error("%s: %u tensors, %llu elements\n", name, t.count, (unsigned long long)sum);
        fail();
    }
    arena_drop(&arena);
    str_drop(&file);
}

static void golden_refused(const char *name, lamina_status wanted) {
    char path[200];
    struct str file = {0};
    (void)snprintf(path, sizeof(path), "goldens/torch-pickle/burn/%s", name);
    need(path, &file);
    expect(str_span(&file), wanted, NULL);
    str_drop(&file);
}

static void test_golden_files(void **state) {
    (void)state;
    static const struct {
        const char *name;
        unsigned tensors;
        uint64_t elements;
    } files[] = {
        {"burn/bfloat16.pt", 1, 3}, {"burn/bool.pt", 1, 5}, {"burn/buffers.pt", 2, 5},
        {"burn/checkpoint.pt", 4, 93}, {"burn/complex_structure.pt", 6, 35}, {"burn/empty.pt", 1, 0},
        {"burn/extreme_values.pt", 1, 4}, {"burn/float16.pt", 1, 3}, {"burn/float32.pt", 1, 4},
        {"burn/float64.pt", 1, 3}, {"burn/int16.pt", 1, 3}, {"burn/int32.pt", 1, 3}, {"burn/int64.pt", 1, 4},
        {"burn/int8.pt", 1, 4}, {"burn/large_shape.pt", 1, 10000}, {"burn/legacy_shared_storage.pt", 3, 40},
        {"burn/legacy_uncloned_views.pt", 2, 20}, {"burn/legacy_with_offsets.pt", 3, 20},
        {"burn/mixed_types.pt", 4, 8}, {"burn/nested_dict.pt", 4, 20}, {"burn/parameter.pt", 1, 9},
        {"burn/scalar.pt", 1, 1}, {"burn/simple_legacy.pt", 3, 10}, {"burn/special_values.pt", 1, 5},
        {"burn/state_dict.pt", 4, 21}, {"burn/tensor_2d.pt", 1, 6}, {"burn/tensor_3d.pt", 1, 24},
        {"burn/tensor_4d.pt", 1, 24}, {"burn/uint8.pt", 1, 4}, {"torchtune-tiny_fair_checkpoint.pt", 21, 89504},
        {"executorch-demo_rand_params.pth", 53, 395200}, {"legacy-distilbert-tiny.pytorch_model.bin", 38, 59114},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        golden(files[i].name, files[i].tensors, files[i].elements);
    }
    golden_refused("broken.pt", LAMINA_DAMAGED);
    golden_refused("tar_2d_tensor.tar", LAMINA_UNSUPPORTED);
    golden_refused("tar_multi_dtype.tar", LAMINA_UNSUPPORTED);
}

/* Views of one storage of floats 0, 1, 2, ... */
static void test_golden_views(void **state) {
    (void)state;
    struct str file = {0};
    struct arena arena = {0};
    struct torch_tensors t = {0};
    need("goldens/torch-pickle/burn/legacy_uncloned_views.pt", &file);
    assert_int_equal(parse(str_span(&file), &arena, &t), LAMINA_OK);
    assert_int_equal(t.count, 2);
    for (unsigned k = 0; k < 2; k++) {
        float f[10];
        assert_int_equal(t.list[k].bytes, sizeof(f));
        memcpy(f, file.ptr + t.list[k].offset, sizeof(f));
        for (unsigned i = 0; i < 10; i++) {
            assert_true(f[i] == (float)(10 + 40 * k + i));
        }
    }
    arena_drop(&arena);
    str_drop(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_containers),   cmocka_unit_test(test_cut_short),    cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_values),       cmocka_unit_test(test_nothing_runs), cmocka_unit_test(test_machine),
        cmocka_unit_test(test_names),        cmocka_unit_test(test_views),        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_costs),        cmocka_unit_test(test_legacy),       cmocka_unit_test(test_legacy_long),
        cmocka_unit_test(test_other_files),  cmocka_unit_test(test_index),        cmocka_unit_test(test_golden_types),
        cmocka_unit_test(test_golden_files), cmocka_unit_test(test_golden_views),
    };
    return cmocka_run_group_tests_name("torch", tests, NULL, NULL);
}
