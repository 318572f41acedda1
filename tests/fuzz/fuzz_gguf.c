/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a GGUF file: measuring must end, what parses must lie in the file in order, names and keys must be sorted
 * and single and every value readable.
 * Side files that come out must be whole, and the loader of tokenizers must stand them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "format/gguf_tokenizer.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok) {
    if (!ok) {
        abort();
    }
}

/* Reads every item; returns how many bytes they have. */
static uint64_t read_value(const struct gguf_value *v, unsigned depth) {
    struct gguf_items it;
    struct gguf_value item;
    struct span text;
    uint64_t bytes = 0;
    uint64_t count = 0;
    uint64_t u = 0;
    int64_t i = 0;
    double d = 0;
    bool b = false;
    require(depth < 5 && v->type < GGUF_TYPE_COUNT);
    if (!gguf_items_of(v, &it)) {
        bool number = gguf_as_f64(v, &d);
        require(number + gguf_as_bool(v, &b) + gguf_as_text(v, &text) == 1);
        require(number || !(gguf_as_u64(v, &u) || gguf_as_i64(v, &i)));
        return v->body.len;
    }
    for (; gguf_next(&it, &item); count++) {
        bytes += read_value(&item, depth + 1);
    }
    require(count == v->count && it.rest.len == 0 && bytes <= v->body.len);
    return bytes;
}

static void check_tensors(const struct gguf *g, size_t size) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        require(t->offset >= g->data_begin && t->offset % g->alignment == g->data_begin % g->alignment);
        require(t->offset <= size && t->bytes <= size - t->offset && strlen(t->name) <= 512);
        require(i == 0 || strcmp(g->tensors[i - 1].name, t->name) < 0);
        require(gguf_tensor_find(g, t->name) == t);
        sum += t->bytes;
    }
    require(g->count == 0 || sum <= size - g->data_begin);
}

static void check_json(struct span text) {
    struct str key = {0};
    struct json_reader r;
    json_init(&r, text, "side file", &key, NULL);
    require(json_skip(&r) && json_finish(&r) == LAMINA_OK);
    str_drop(&key);
}

static void check_loader(const struct text_files *files) {
    static const char text[] = "<s>Hello  w\xc3\xb6rld 123\n</s>\xf0\x9f\x9a\x80";
    struct text_tokenizer *t = NULL;
    struct text_ids ids = {0};
    struct str back = {0};
    struct lamina_error err = {0};
    if (text_tokenizer_open(&t, files, &err) == LAMINA_OK) {
        (void)text_encode(t, span_of_text(text), 0, &ids, &err);
        (void)text_encode(t, span_of_text(text), TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL, &ids, &err);
        (void)text_decode(t, ids.ids, ids.count, false, &back, &err);
    }
    text_ids_drop(&ids);
    str_drop(&back);
    text_tokenizer_close(&t);
}

static void check_sides(const struct gguf *g) {
    static const char *const names[] = {"tokenizer_config.json", "generation_config.json", "tokenizer.json", "tokenizer.model"};
    struct span whole = {0};
    struct str files[4] = {{0}};
    (void)gguf_as_text(gguf_find(g, "tokenizer.huggingface.json"), &whole);
    for (unsigned i = 0; i < 4; i++) {
        struct lamina_error err = {0};
        lamina_status status = gguf_side_file(g, names[i], "f", &files[i], &err);
        require(status == err.code && status != LAMINA_NO_FIT && (status == LAMINA_OK || files[i].len == 0));
        if (status == LAMINA_OK && i < (whole.len > 0 ? 2 : 3)) {
            check_json(str_span(&files[i]));
        }
    }
    require(files[2].len == 0 || files[3].len == 0);
    if (files[2].len + files[3].len > 0) {
        struct text_files text = {.tokenizer_config = str_span(&files[0]),
                                  .tokenizer_json = str_span(&files[2]),
                                  .tokenizer_model = str_span(&files[3])};
        check_loader(&text);
    }
    for (unsigned i = 0; i < 4; i++) {
        str_drop(&files[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct lamina_error err = {0};
    uint64_t len = 0;
    size_t front = 0;
    for (unsigned tries = 0;; tries++) {
        lamina_status status = gguf_measure(span_of(data, front), size, "f", &len, &err);
        require(status == err.code && tries < 8);
        if (status < 0) {
            return 0;
        }
        require(len <= size);
        if (len <= front) {
            break;
        }
        front = (size_t)len;
    }
    struct arena arena = {.limit_bytes = (size_t)len * 8 + (1 << 20)};
    struct gguf g = {0};
    lamina_status status = gguf_parse(span_of(data, (size_t)len), size, "f", &arena, &g, &err);
    require(status == err.code && status != LAMINA_NO_FIT);
    if (status == LAMINA_OK) {
        for (uint32_t i = 0; i < g.pair_count; i++) {
            (void)read_value(&g.pairs[i].value, 0);
            require(i == 0 || !span_equal(g.pairs[i - 1].key, g.pairs[i].key));
        }
        check_tensors(&g, size);
        check_sides(&g);
        struct gguf_part parts[2] = {{"a", &g}, {"b", &g}};
        struct gguf_set set = {0};
        for (uint32_t n = 1; n <= 2; n++) {
            err = (struct lamina_error){0};
            status = gguf_join(parts, n, &arena, &set, &err);
            require(status == err.code && (status != LAMINA_OK || set.count == n * g.count));
        }
    }
    arena_drop(&arena);
    return 0;
}
