/* SPDX-License-Identifier: Apache-2.0
 *
 * The C side of tools/tokenizer_diff.py: opens the tokenizer of a directory, then answers strings from stdin (32-bit
 * little-endian length, bytes) until end of file. Per string five lines: ids with specials added and parsed, ids with
 * specials parsed, ids of plain text, and in hex the decoded text of the first with and without special tokens.
 * Streamed decoding is compared with decoding at once on every string. With --speed FILE it measures instead. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "text/tokenizer.h"

static struct span read_file(const char *dir, const char *name) {
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return span_of(NULL, 0);
    }
    (void)fseek(f, 0, SEEK_END);
    size_t len = (size_t)ftell(f);
    rewind(f);
    uint8_t *bytes = malloc(len + 1);
    if (bytes == NULL || fread(bytes, 1, len, f) != len) {
        fprintf(stderr, "tokbatch: cannot read %s\n", path);
        exit(1);
    }
    (void)fclose(f);
    return span_of(bytes, len);
}

static struct span read_first(const char *dir, const char *const *names) {
    struct span bytes = {0};
    for (; *names != NULL && bytes.len == 0; names++) {
        bytes = read_file(dir, *names);
    }
    return bytes;
}

static double now_s(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const struct lamina_error *err) {
    fprintf(stderr, "tokbatch: %s\n", err->message);
    exit(1);
}

static void print_ids(const struct text_ids *ids) {
    for (size_t i = 0; i < ids->count; i++) {
        printf("%s%u", i > 0 ? " " : "", ids->ids[i]);
    }
    putchar('\n');
}

static void print_hex(const struct str *text) {
    for (size_t i = 0; i < text->len; i++) {
        printf("%02x", (unsigned char)text->ptr[i]);
    }
    putchar('\n');
}

static void check_stream(const struct text_tokenizer *t, const struct text_ids *ids, bool skip,
                         const struct str *whole) {
    struct lamina_error err = {0};
    struct text_stream s = {0};
    struct str text = {0};
    for (size_t i = 0; i < ids->count; i++) {
        if (text_stream_add(t, &s, ids->ids[i], skip, &text, &err) < 0) {
            die(&err);
        }
        if (!utf8_valid(str_span(&text))) {
            fprintf(stderr, "tokbatch: a stream gave a part of a character\n");
            exit(1);
        }
    }
    if (text_stream_finish(t, &s, skip, &text, &err) < 0) {
        die(&err);
    }
    if (!span_equal(str_span(&text), str_span(whole))) {
        fprintf(stderr, "tokbatch: streamed '%s', decoded '%s'\n", str_text(&text), str_text(whole));
        exit(1);
    }
    str_drop(&text);
}

static void answer(const struct text_tokenizer *t, struct span text) {
    static const unsigned flags[] = {TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL, TEXT_PARSE_SPECIAL, 0};
    struct text_ids ids[3] = {0};
    struct lamina_error err = {0};
    for (int i = 0; i < 3; i++) {
        if (text_encode(t, text, flags[i], &ids[i], &err) < 0) {
            die(&err);
        }
        print_ids(&ids[i]);
    }
    for (int skip = 0; skip < 2; skip++) {
        struct str out = {0};
        if (text_decode(t, ids[0].ids, ids[0].count, skip == 1, &out, &err) < 0) {
            die(&err);
        }
        print_hex(&out);
        check_stream(t, &ids[0], skip == 1, &out);
        str_drop(&out);
    }
    for (int i = 0; i < 3; i++) {
        text_ids_drop(&ids[i]);
    }
}

static void measure(const struct text_tokenizer *t, const char *path) {
    struct span text = read_file("/", path);
    for (int i = 0; i < 3; i++) {
        struct text_ids ids = {0};
        struct lamina_error err = {0};
        double start = now_s();
        if (text_encode(t, text, TEXT_PARSE_SPECIAL, &ids, &err) < 0) {
            die(&err);
        }
        double encoded = now_s();
        struct str out = {0};
        if (text_decode(t, ids.ids, ids.count, false, &out, &err) < 0) {
            die(&err);
        }
        double decoded = now_s();
        printf("%zu bytes, %zu ids: encode %.2f MB/s, decode %.2f MB/s\n", text.len, ids.count,
               (double)text.len / (encoded - start) / 1e6, (double)out.len / (decoded - encoded) / 1e6);
        str_drop(&out);
        text_ids_drop(&ids);
    }
}

int main(int argc, char **argv) {
    if (argc != 2 && !(argc == 4 && strcmp(argv[2], "--speed") == 0)) {
        fprintf(stderr, "usage: tokbatch DIRECTORY [--speed /ABSOLUTE/FILE]\n");
        return 2;
    }
    static const char *const model_names[] = {"tokenizer.model", "spiece.model", "ice_text.model", NULL};
    static const char *const tiktoken_names[] = {"tiktoken.model", "qwen.tiktoken", "o200k_base.tiktoken", NULL};
    struct text_files files = {
        .tokenizer_json = read_file(argv[1], "tokenizer.json"),
        .vocab_json = read_file(argv[1], "vocab.json"),
        .merges_txt = read_file(argv[1], "merges.txt"),
        .tokenizer_model = read_first(argv[1], model_names),
        .tiktoken = read_first(argv[1], tiktoken_names),
        .added_tokens_json = read_file(argv[1], "added_tokens.json"),
        .tokenizer_config = read_file(argv[1], "tokenizer_config.json"),
        .special_tokens_map = read_file(argv[1], "special_tokens_map.json"),
        .config = read_file(argv[1], "config.json"),
    };
    struct text_tokenizer *t = NULL;
    struct lamina_error err = {0};
    double start = now_s();
    if (text_tokenizer_open(&t, &files, &err) < 0) {
        die(&err);
    }
    double opened = now_s() - start;
    if (argc == 4) {
        printf("%s, %u ids, open %.1f ms, heap %.1f MiB\n", text_tokenizer_kind(t), text_vocab_size(t), opened * 1e3,
               (double)text_tokenizer_bytes(t) / 1048576.0);
        measure(t, argv[3]);
    } else {
        uint8_t head[4];
        uint8_t *bytes = NULL;
        while (fread(head, 1, 4, stdin) == 4) {
            size_t len = load_le32(head);
            uint8_t *grown = realloc(bytes, len + 1);
            if (grown == NULL || fread(grown, 1, len, stdin) != len) {
                fprintf(stderr, "tokbatch: input ends within a string\n");
                return 1;
            }
            bytes = grown;
            answer(t, span_of(bytes, len));
            (void)fflush(stdout);
        }
        free(bytes);
    }
    text_tokenizer_close(&t);
    return 0;
}
