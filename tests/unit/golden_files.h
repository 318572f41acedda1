/* SPDX-License-Identifier: Apache-2.0
 * Files of LAMINA_TESTDATA for golden tests: found, unpacked, or the test skipped. Include after cmocka.h. */
#ifndef GOLDEN_FILES_H
#define GOLDEN_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static inline const char *testdata(void) {
    const char *dir = getenv("LAMINA_TESTDATA");
    return dir != NULL && dir[0] != 0 ? dir : "../shared/testdata";
}

static inline void read_stream(FILE *f, struct str *out) {
    char block[65536];
    size_t n = 0;
    while ((n = fread(block, 1, sizeof(block), f)) > 0) {
        str_add(out, block, n);
    }
}

/* The file's bytes, unpacked when its name ends in .gz. False: not there. */
static inline bool load(const char *name, struct str *out) {
    char path[2048];
    char command[2200];
    (void)snprintf(path, sizeof(path), "%s/%s", testdata(), name);
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return false;
    }
    bool packed = span_ends_with(span_of_text(name), ".gz");
    if (packed) {
        (void)fclose(f);
        (void)snprintf(command, sizeof(command), "gzip -dc '%s'", path);
        f = popen(command, "r");
        assert_non_null(f);
    }
    read_stream(f, out);
    assert_int_equal(packed ? pclose(f) : fclose(f), 0);
    return !out->failed;
}

static inline void need(const char *name, struct str *out) {
    if (!load(name, out)) {
        print_message("skipped: %s/%s is not there\n", testdata(), name);
        skip();
    }
}

/* Replaces every `from` by `to`; returns how many. */
static inline size_t substitute(struct str *text, const char *from, const char *to) {
    struct str out = {0};
    size_t count = 0;
    struct span rest = str_span(text);
    for (;;) {
        const uint8_t *at = memmem(rest.ptr, rest.len, from, strlen(from));
        if (at == NULL) {
            break;
        }
        str_add(&out, rest.ptr, (size_t)(at - rest.ptr));
        str_add_text(&out, to);
        rest = span_sub(rest, (size_t)(at - rest.ptr) + strlen(from), rest.len);
        count++;
    }
    str_add_span(&out, rest);
    str_drop(text);
    *text = out;
    return count;
}

#endif
