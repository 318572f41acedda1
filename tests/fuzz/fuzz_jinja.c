/* SPDX-License-Identifier: Apache-2.0
 *
 * A template and its variables, separated by a zero byte: parse, and render under limits small enough to be fast. What
 * renders must be UTF-8, be the same a second time, and stay within the output limit; what fails must say why and must
 * not have written anything. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "text/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds) {
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
    size_t split = zero != NULL ? (size_t)(zero - data) : size;
    struct span variables = zero != NULL ? span_of(zero + 1, size - split - 1) : span_of_text("{}");
    struct jinja_template *t = NULL;
    struct lamina_error err = {0};
    struct str out[2] = {{0}, {0}};
    lamina_status status[2] = {0, 0};
    struct jinja_limits limits = {
        .steps = 20000, .memory_bytes = 4 << 20, .output_bytes = 1 << 18, .depth = 32, .range_items = 2000};
    if (jinja_parse(&t, span_of(data, split), &err) != LAMINA_OK) {
        check(t == NULL && err.code < 0 && err.message[0] != 0);
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        struct jinja_input in = {.variables = variables, .now_unix_s = 1752148800, .limits = &limits};
        err = (struct lamina_error){0};
        status[i] = jinja_render(t, &in, &out[i], &err);
        check(status[i] == err.code && (status[i] == LAMINA_OK) == (err.message[0] == 0 && err.code == 0));
        check(status[i] == LAMINA_OK || out[i].len == 0);
        check(status[i] != LAMINA_UNEXPECTED);
        check(out[i].len <= limits.output_bytes && utf8_valid(str_span(&out[i])));
    }
    check(status[0] == status[1] && span_equal(str_span(&out[0]), str_span(&out[1])));
    str_drop(&out[0]);
    str_drop(&out[1]);
    jinja_close(&t);
    return 0;
}
