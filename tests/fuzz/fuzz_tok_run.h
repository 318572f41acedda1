/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fuzz targets of tokenizers do with files: open them, and where that works encode, decode and stream. */
#ifndef FUZZ_TOK_RUN_H
#define FUZZ_TOK_RUN_H

#include <stdlib.h>

#include "text/tokenizer.h"

static inline void check(bool holds) {
    if (!holds) {
        abort();
    }
}

static inline void run_text(const struct text_tokenizer *t, struct span text, unsigned flags) {
    struct text_ids ids = {0};
    struct text_stream s = {0};
    struct str whole = {0};
    struct str streamed = {0};
    struct lamina_error err = {0};
    if (text_encode(t, text, flags, &ids, &err) == 0) {
        bool known = true; /* a template may name ids that have no token */
        for (size_t i = 0; i < ids.count; i++) {
            struct span token;
            known = known && text_token_text(t, ids.ids[i], &token);
        }
        lamina_status status = text_decode(t, ids.ids, ids.count, flags == 0, &whole, &err);
        check(status == 0 || !known || err.message[0] != 0);
        for (size_t i = 0; i < ids.count && status == 0; i++) {
            status = text_stream_add(t, &s, ids.ids[i], flags == 0, &streamed, &err);
            check(utf8_valid(str_span(&streamed)));
        }
        if (status == 0 && text_stream_finish(t, &s, flags == 0, &streamed, &err) == 0) {
            check(span_equal(str_span(&whole), str_span(&streamed)));
        }
    }
    text_stream_drop(&s);
    str_drop(&whole);
    str_drop(&streamed);
    text_ids_drop(&ids);
}

static inline void run_files(const struct text_files *files, struct span own) {
    static const char text[] = "Hello  <s>world</s> ab\xc3\xa9\xe2\x82\xac 123 \xf0\x9f\x99\x82\xff\x00 don't\n\n a  ";
    struct text_tokenizer *t = NULL;
    struct lamina_error err = {0};
    if (text_tokenizer_open(&t, files, &err) == 0) {
        run_text(t, span_of(text, sizeof(text) - 1), TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL);
        run_text(t, span_of(text, sizeof(text) - 1), 0);
        run_text(t, own, TEXT_PARSE_SPECIAL);
        check(text_tokenizer_bytes(t) > 0);
        text_tokenizer_close(&t);
    } else {
        check(t == NULL && err.code < 0 && err.message[0] != 0);
    }
}

#endif
