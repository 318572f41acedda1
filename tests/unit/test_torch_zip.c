/* SPDX-License-Identifier: Apache-2.0
 * The reader of zip directories: archives with exactly one thing wrong, contents that are not what they should be, and
 * an archive of more than 4 GiB of which only the ends exist. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "torch_checks.h"

struct zip_case {
    const char *what;
    lamina_status status;
    const char *words;
};

/* A good archive with one thing wrong. */
static void spoil(unsigned which, struct zip_maker *z, struct str *p) {
    *z = (struct zip_maker){0};
    zip_add(z, "a/data.pkl", p->ptr, p->len);
    zip_add(z, "a/data/0", data, 24);
    size_t second = z->last;
    zip_add(z, which == 3 ? "a/data/0" : which == 4 ? "a/../1" : which == 5 ? "/a/1" : which == 6 ? "a\\1" : "a/data/1", data, 8);
    uint8_t *r = (uint8_t *)z->dir.ptr + z->last;
    uint8_t *zero = (uint8_t *)z->dir.ptr + second;
    switch (which) {
    case 0: /* two entries share their bytes */
        store_le32(r + 42, load_le32(zero + 42));
        break;
    case 1: /* one lies outside */
        store_le32(r + 42, 0x7fffffff);
        break;
    case 2: /* or reaches outside */
        store_le32(r + 20, 100000);
        store_le32(r + 24, 100000);
        break;
    case 7: /* a bomb: small here, large when unpacked */
        store_le32(r + 24, 0x7fffffff);
        break;
    case 8: /* compressed, and needed */
        zero[10] = 8;
        break;
    case 9: /* encrypted */
        r[8] |= 1;
        break;
    case 10: /* another volume */
        r[34] = 1;
        break;
    case 11: /* one record too few */
        z->count++;
        break;
    case 12: /* one too many */
        z->count--;
        break;
    case 13: /* the name differs from the local header's */
        z->file.ptr[z->last_header + 30 + 7] = '7';
        break;
    case 14: /* so does the size */
        store_le32(z->file.ptr + z->last_header + 18, 9);
        break;
    case 15: /* or the way it is stored */
        z->file.ptr[z->last_header + 8] = 8;
        break;
    case 16: /* 64-bit sizes promised, but not given */
        store_le32(r + 24, 0xffffffff);
        break;
    case 17: /* a record longer than the directory */
        r[30] = 0xff;
        break;
    case 18: /* bytes between entries and directory's end */
        zip_end(z, false);
        store_le32(z->file.ptr + z->file.len - 6, load_le32(z->file.ptr + z->file.len - 6) - 1);
        return;
    case 19: /* the two ends disagree */
        zip_end(z, true);
        z->file.ptr[z->file.len - 12] = 7;
        z->file.ptr[z->file.len - 11] = 0;
        z->file.ptr[z->file.len - 14] = 7;
        z->file.ptr[z->file.len - 13] = 0;
        return;
    case 20: /* the 64-bit end is elsewhere */
        zip_end(z, true);
        z->file.ptr[z->file.len - 22 - 12] ^= 1;
        return;
    case 21:
        zip_end(z, true);
        memset(z->file.ptr + z->file.len - 22 - 12, 0xff, 8);
        return;
    case 22: /* no record where one should be */
        r[3] = 9;
        break;
    case 23: /* two pickles */
        zip_add(z, "b/data.pkl", p->ptr, p->len);
        break;
    default:
        break;
    }
    zip_end(z, false);
}

static void test_zip(void **state) {
    (void)state;
    static const struct zip_case cases[] = {
        {"share", LAMINA_DAMAGED, "overlap"},
        {"outside", LAMINA_DAMAGED, "outside"},
        {"reaches outside", LAMINA_DAMAGED, "more than are there"},
        {"twice", LAMINA_DAMAGED, "twice"},
        {"..", LAMINA_DAMAGED, "leads elsewhere"},
        {"absolute", LAMINA_DAMAGED, "leads elsewhere"},
        {"backslash", LAMINA_DAMAGED, "leads elsewhere"},
        {"bomb", LAMINA_DAMAGED, "two sizes"},
        {"compressed", LAMINA_DAMAGED, "is not that of"}, /* the local header says stored */
        {"encrypted", LAMINA_UNSUPPORTED, "encrypted"},
        {"volume", LAMINA_UNSUPPORTED, "volumes"},
        {"too few", LAMINA_DAMAGED, "4 entries"},
        {"too many", LAMINA_DAMAGED, "more entries"},
        {"other name", LAMINA_DAMAGED, "is not that of"},
        {"other size", LAMINA_DAMAGED, "is not that of"},
        {"other method", LAMINA_DAMAGED, "is not that of"},
        {"no 64-bit sizes", LAMINA_DAMAGED, "extra field"},
        {"long record", LAMINA_DAMAGED, "cut short"},
        {"gap", LAMINA_DAMAGED, "does not reach"},
        {"two ends", LAMINA_DAMAGED, "contradict"},
        {"64-bit end", LAMINA_DAMAGED, "zip64 end"},
        {"64-bit end far", LAMINA_DAMAGED, "zip64 end"},
        {"no record", LAMINA_DAMAGED, "fewer entries"},
        {"two pickles", LAMINA_DAMAGED, "2 data.pkl"},
        {"nothing wrong", LAMINA_OK, NULL},
    };
    struct str p = {0};
    pk_begin(&p);
    pk_add(&p, &whole);
    pk_end(&p);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct zip_maker z;
        spoil(i, &z, &p);
        print_message("# %s\n", cases[i].what);
        expect(str_span(&z.file), cases[i].status, cases[i].words);
        zip_drop(&z);
    }
    str_drop(&p);
}

static void test_zip_contents(void **state) {
    (void)state;
    struct zip_maker z = {0};
    struct str p = {0};
    zip_add(&z, "x.txt", "hello", 5);
    zip_end(&z, false);
    expect(str_span(&z.file), LAMINA_DAMAGED, "0 data.pkl");
    zip_drop(&z);
    good_pickle(&p);
    static const struct {
        const char *order;
        lamina_status status;
    } orders[] = {{"big", LAMINA_UNSUPPORTED}, {"middle", LAMINA_DAMAGED}, {"littlest", LAMINA_DAMAGED}, {"", LAMINA_DAMAGED}};
    for (size_t i = 0; i < 4; i++) {
        zip_add(&z, "m/data.pkl", p.ptr, p.len);
        zip_add(&z, "m/byteorder", orders[i].order, strlen(orders[i].order));
        zip_add(&z, "m/data/0", data, 24);
        zip_add(&z, "m/data/1", data, 8);
        zip_end(&z, false);
        expect(str_span(&z.file), orders[i].status, i == 0 ? "big-endian" : "byteorder");
        zip_drop(&z);
    }
    /* Entries that are compressed in both places: harmless beside the weights, refused as weights. */
    for (int needed = 0; needed < 2; needed++) {
        zip_add(&z, "data.pkl", p.ptr, p.len); /* no folder at all */
        zip_add(&z, "data/1", data, 8);
        zip_add(&z, "data/0", data, 24);
        if (!needed) {
            zip_add(&z, "notes", data, 5);
        }
        ((uint8_t *)z.dir.ptr)[z.last + 10] = 8;
        ((uint8_t *)z.dir.ptr)[z.last + 25] = 8; /* 2 KiB when unpacked */
        ((uint8_t *)z.file.ptr)[z.last_header + 8] = 8;
        zip_end(&z, true);
        expect(str_span(&z.file), needed ? LAMINA_UNSUPPORTED : LAMINA_OK, needed ? "compressed" : NULL);
        zip_drop(&z);
    }
    str_drop(&p);
}

/* More than 4 GiB, of which only the ends exist: the reader asks for nothing else. */
struct far {
    struct str front, back;
    uint64_t back_at;
};

static lamina_status from_far(void *user, uint64_t offset, void *dst, size_t len, struct lamina_error *err) {
    const struct far *f = user;
    bool known = false;
    memset(dst, 0, len);
    for (size_t i = 0; i < len; i++) {
        uint64_t at = offset + i;
        bool front = at < f->front.len;
        if (front || (at >= f->back_at && at - f->back_at < f->back.len)) {
            ((char *)dst)[i] = front ? f->front.ptr[at] : f->back.ptr[at - f->back_at];
            known = true;
        }
    }
    return known ? LAMINA_OK
                 : base_fail(err, LAMINA_IO, "x.bin: %zu bytes at %llu were asked for", len, (unsigned long long)offset);
}

static void wide_extra(struct str *dir, size_t record, unsigned extra_len) {
    ((uint8_t *)dir->ptr)[record + 30] = (uint8_t)extra_len;
}

static void test_large(void **state) {
    (void)state;
    const uint64_t elements = UINT64_C(5) << 28; /* 5 GiB of F32 */
    const uint64_t gap = elements * 4;
    struct far f = {0};
    struct zip_maker z = {0};
    struct str p = {0};
    struct pk_tensor big = {"big", "FloatStorage", "0", elements, 0, 1, {elements}, {1}, false};
    struct pk_tensor behind = {"small", "FloatStorage", "1", 2, 0, 1, {2}, {1}, false};
    pk_begin(&p);
    pk_add(&p, &big);
    pk_add(&p, &behind);
    pk_end(&p);
    zip_add(&z, "m/data.pkl", p.ptr, p.len);
    zip_add(&z, "m/data/0", NULL, 0);
    store_le32(z.dir.ptr + z.last + 20, 0xffffffff);
    store_le32(z.dir.ptr + z.last + 24, 0xffffffff);
    wide_extra(&z.dir, z.last, 20);
    zip_16(&z.dir, 1);
    zip_16(&z.dir, 16);
    zip_64(&z.dir, gap);
    zip_64(&z.dir, gap);
    uint64_t data_at = z.last_data;
    str_add_span(&f.front, span_sub(str_span(&z.file), 0, z.file.len));
    size_t cut = z.file.len;
    zip_add(&z, "m/data/1", data, 8);
    store_le32(z.dir.ptr + z.last + 42, 0xffffffff);
    wide_extra(&z.dir, z.last, 12);
    zip_16(&z.dir, 1);
    zip_16(&z.dir, 8);
    zip_64(&z.dir, cut + gap);
    uint64_t end = z.file.len + gap;
    size_t dir_len = z.dir.len;
    f.back_at = cut + gap;
    zip_end(&z, true);
    /* The 64-bit end's own offsets move with the gap: directory, then its record. */
    store_le64(z.file.ptr + z.file.len - 22 - 20 - 8, end);
    store_le64(z.file.ptr + z.file.len - 22 - 12, end + dir_len);
    str_add_span(&f.back, span_sub(str_span(&z.file), cut, z.file.len));
    struct torch_input in = {.read = from_far, .user = &f, .size = f.back_at + f.back.len, .name = "x.bin"};
    struct arena arena = {0};
    struct torch_tensors t = {0};
    last = (struct lamina_error){0};
    if (torch_file_read(&in, &arena, &t, &last) != LAMINA_OK) {
        print_error("%s\n", last.message);
        fail();
    }
    assert_int_equal(t.count, 2);
    assert_true(find(&t, "big")->offset == data_at && find(&t, "big")->bytes == gap);
    assert_true(find(&t, "small")->offset > gap && find(&t, "small")->bytes == 8);
    arena_drop(&arena);
    str_drop(&f.front);
    str_drop(&f.back);
    zip_drop(&z);
    str_drop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zip),
        cmocka_unit_test(test_zip_contents),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests_name("torch_zip", tests, NULL, NULL);
}
