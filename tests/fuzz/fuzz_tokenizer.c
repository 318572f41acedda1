/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes to a tokenizer, then text through it. The first byte chooses what the rest is: a tokenizer.json, or the
 * parts of a directory separated by zero bytes. Whatever opens must encode, decode what it encoded, and stream the
 * same text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds) {
    if (!holds) {
        abort();
    }
}

static void run_text(const struct text_tokenizer *t, struct span text, unsigned flags) {
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "Hello  <s>world</s> ab\xc3\xa9\xe2\x82\xac 123 \xf0\x9f\x99\x82\xff\x00 don't\n\n a  ";
    struct text_files files = {0};
    struct text_tokenizer *t = NULL;
    struct lamina_error err = {0};
    if (size == 0) {
        return 0;
    }
    if ((data[0] & 1) == 0) {
        files.tokenizer_json = span_of(data + 1, size - 1);
    } else {
        struct span *parts[] = {&files.vocab_json,         &files.merges_txt,        &files.tokenizer_config,
                                &files.special_tokens_map, &files.added_tokens_json, &files.config,
                                &files.tokenizer_json};
        struct span rest = span_of(data + 1, size - 1);
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && rest.len > 0; i++) {
            const uint8_t *end = memchr(rest.ptr, 0, rest.len);
            size_t len = end == NULL ? rest.len : (size_t)(end - rest.ptr);
            *parts[i] = span_of(rest.ptr, len);
            rest = span_sub(rest, len + 1, rest.len);
        }
    }
    if (text_tokenizer_open(&t, &files, &err) == 0) {
        run_text(t, span_of(text, sizeof(text) - 1), TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL);
        run_text(t, span_of(text, sizeof(text) - 1), 0);
        run_text(t, span_of(data, size < 256 ? size : 256), TEXT_PARSE_SPECIAL);
        text_tokenizer_close(&t);
    } else {
        check(err.code < 0 && err.message[0] != 0);
    }
    return 0;
}
