/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokenizers against ids that other programs computed: the test vectors of llama.cpp, kitoken, tokenizers.js and
 * swift-transformers, with the vocabularies in LAMINA_TESTDATA (skipped where that is absent). Each test names its
 * golden file. Some vectors were made with a later revision of the same vocabulary's tokenizer.json; the test then
 * changes that one setting in the file and says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "golden_files.h"
#include "text/tokenizer.h"
#include "text/tokstep_priv.h"
#include "tokenizer_golden.h"

/* --- vocabularies --- */

struct parts {
    struct str json;
    struct str vocab;
    struct str merges;
    struct str config;
    struct str map;
};

static void parts_drop(struct parts *p) {
    str_drop(&p->json);
    str_drop(&p->vocab);
    str_drop(&p->merges);
    str_drop(&p->config);
    str_drop(&p->map);
}

static struct text_tokenizer *open_parts(struct parts *p) {
    struct text_files files = {
        .tokenizer_json = str_span(&p->json),
        .vocab_json = str_span(&p->vocab),
        .merges_txt = str_span(&p->merges),
        .tokenizer_config = str_span(&p->config),
        .special_tokens_map = str_span(&p->map),
    };
    struct text_tokenizer *t = NULL;
    struct lamina_error err = {0};
    if (text_tokenizer_open(&t, &files, &err) < 0) {
        fail_msg("%s", err.message);
    }
    parts_drop(p);
    return t;
}

static struct text_tokenizer *open_llama2(void) {
    struct parts p = {0};
    need("llama2/tokenizer.json", &p.json);
    need("llama2/tokenizer_config.json", &p.config);
    need("llama2/special_tokens_map.json", &p.map);
    return open_parts(&p);
}

static struct text_tokenizer *open_phi3(void) {
    struct parts p = {0};
    need("phi3/tokenizer.json", &p.json);
    need("phi3/tokenizer_config.json", &p.config);
    return open_parts(&p);
}

static struct text_tokenizer *open_llama3(void) {
    struct parts p = {0};
    need("llama3/vocab.json.gz", &p.vocab);
    need("llama3/merges.txt.gz", &p.merges);
    need("llama3/tokenizer_config.llama3.x.json", &p.config);
    need("llama3/special_tokens_map.json", &p.map);
    return open_parts(&p);
}

static struct text_tokenizer *open_qwen2(void) {
    struct parts p = {0};
    need("qwen2/vocab.json", &p.vocab);
    need("qwen2/merges.txt", &p.merges);
    need("qwen2/tokenizer_config.qwen2.5.json", &p.config);
    return open_parts(&p);
}

/* The vocabulary there lacks one token of GPT-2, so its special token has the id before the one it has everywhere. */
static struct text_tokenizer *open_gpt2(void) {
    struct parts p = {0};
    need("gpt2/vocab.json", &p.vocab);
    need("gpt2/merges.txt", &p.merges);
    assert_int_equal(
        substitute(&p.vocab, "\"<|endoftext|>\": 50255", "\"\\u0120gazed\": 50255, \"<|endoftext|>\": 50256"), 1);
    return open_parts(&p);
}

static void test_llama_cpp_llama2(void **state) {
    (void)state;
    struct text_tokenizer *t = open_llama2();
    check_llama_cpp(t, "llama2/ggml-vocab-llama-spm.gguf");
    finish(t, 46);
}
static void test_llama_cpp_phi3(void **state) {
    (void)state;
    struct text_tokenizer *t = open_phi3();
    check_llama_cpp(t, "phi3/ggml-vocab-phi-3.gguf");
    finish(t, 46);
}
static void test_llama_cpp_llama3(void **state) {
    (void)state;
    struct text_tokenizer *t = open_llama3();
    check_llama_cpp(t, "llama3/ggml-vocab-llama-bpe.gguf");
    finish(t, 46);
}
static void test_llama_cpp_qwen2(void **state) {
    (void)state;
    struct text_tokenizer *t = open_qwen2();
    check_llama_cpp(t, "qwen2/ggml-vocab-qwen2.gguf");
    check_llama_cpp(t, "deepseek/ggml-vocab-deepseek-r1-qwen.gguf");
    finish(t, 92);
}
static void test_llama_cpp_gpt2(void **state) {
    (void)state;
    struct text_tokenizer *t = open_gpt2();
    check_llama_cpp(t, "gpt2/ggml-vocab-gpt-2.gguf");
    finish(t, 46);
}

/* Made with a file whose special tokens are not normalised. */
static void test_kitoken_llama2(void **state) {
    (void)state;
    struct parts p = {0};
    need("llama2/tokenizer.json", &p.json);
    assert_int_equal(substitute(&p.json, "\"normalized\": true", "\"normalized\": false"), 3);
    struct text_tokenizer *t = open_parts(&p);
    check_kitoken_from(t, "tokenizers", "llama2");
    finish(t, 141);
}

/* Made with a later file: Metaspace in front of the first word instead of a normalizer. */
static void test_kitoken_mistral01(void **state) {
    (void)state;
    struct parts p = {0};
    need("mistral/tokenizer.v1.json", &p.json);
    assert_int_equal(substitute(&p.json, "\"pre_tokenizer\": null",
                                "\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"\xe2\x96\x81\", "
                                "\"prepend_scheme\": \"first\", \"split\": false}"),
                     1);
    assert_int_equal(substitute(&p.json, "\"normalizer\": {", "\"normalizer\": null, \"unused\": {"), 1);
    struct text_tokenizer *t = open_parts(&p);
    check_kitoken_from(t, "tokenizers", "mistral01");
    finish(t, 141);
}
static void test_kitoken_llama32(void **state) {
    (void)state;
    struct text_tokenizer *t = open_llama3();
    check_kitoken_from(t, "tokenizers", "llama32");
    finish(t, 141);
}
static void test_kitoken_gpt2(void **state) {
    (void)state;
    struct text_tokenizer *t = open_gpt2();
    check_kitoken_from(t, "tokenizers", "gpt2");
    finish(t, 141);
}

/* Vectors of the Llama tokenizer with unnormalised special tokens. */
static struct text_tokenizer *open_llama2_plain(void) {
    struct parts p = {0};
    need("llama2/tokenizer.json", &p.json);
    substitute(&p.json, "\"normalized\": true", "\"normalized\": false");
    return open_parts(&p);
}

static void test_js_llama(void **state) {
    (void)state;
    struct text_tokenizer *t = open_llama2_plain();
    check_model_of(t, JS("llama"), "Xenova/llama-tokenizer", true);
    finish(t, 70);
}
static void test_js_llama3(void **state) {
    (void)state;
    struct text_tokenizer *t = open_llama3();
    check_model_of(t, JS("llama"), "Xenova/llama3-tokenizer-new", true);
    finish(t, 70);
}
static void test_js_gpt2(void **state) {
    (void)state;
    struct text_tokenizer *t = open_gpt2();
    check_model_of(t, JS("gpt2"), "Xenova/gpt2", true);
    check_model_of(t, JS("gpt2"), "openai-community/gpt2", true);
    finish(t, 100);
}
static void test_js_qwen2(void **state) {
    (void)state;
    struct text_tokenizer *t = open_qwen2();
    check_model_of(t, JS("qwen2"), "Xenova/Qwen1.5-0.5B-Chat", true);
    finish(t, 50);
}
static void test_swift_llama2(void **state) {
    (void)state;
    struct text_tokenizer *t = open_llama2_plain();
    check_single(t, SWIFT("llama_encoded"));
    check_model_of(t, SWIFT("tokenizer_tests"), "coreml-projects/Llama-2-7b-chat-coreml", true);
    finish(t, 50);
}
static void test_swift_llama32(void **state) {
    (void)state;
    struct text_tokenizer *t = open_llama3();
    check_single(t, SWIFT("llama_3.2_encoded"));
    check_model_of(t, SWIFT("tokenizer_tests"), "pcuenq/Llama-3.2-1B-Instruct-tokenizer", true);
    finish(t, 50);
}
static void test_swift_distilgpt2(void **state) {
    (void)state;
    struct text_tokenizer *t = open_gpt2();
    check_model_of(t, SWIFT("tokenizer_tests"), "distilgpt2", true);
    finish(t, 50);
}

/* --- splitRegexPatterns.json + splitRegexOracle.json.gz: every pattern through the Split step --- */

struct split_case {
    struct str id;
    struct str name; /* the oracle's key, where there is one */
    struct str pattern_id;
    struct str pattern;
    struct str behavior;
    bool invert;
    struct json_reader inputs; /* name NULL: the defaults */
};

static void read_split_case(struct json_reader *r, struct split_case *c) {
    struct span key;
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        if (span_is(key, "id")) {
            json_string(r, &c->id);
        } else if (span_is(key, "name")) {
            json_string(r, &c->name);
        } else if (span_is(key, "patternId")) {
            json_string(r, &c->pattern_id);
        } else if (span_is(key, "pattern")) {
            json_string(r, &c->pattern);
        } else if (span_is(key, "behavior")) {
            str_clear(&c->behavior);
            json_string(r, &c->behavior);
        } else if (span_is(key, "invert")) {
            json_bool(r, &c->invert);
        } else if (span_is(key, "inputs")) {
            c->inputs = *r;
            json_skip(r);
        } else {
            json_skip(r);
        }
    }
}

static void split_case_drop(struct split_case *c) {
    str_drop(&c->id);
    str_drop(&c->name);
    str_drop(&c->pattern_id);
    str_drop(&c->pattern);
    str_drop(&c->behavior);
}

static void read_step(const struct split_case *c, struct tok_steps *steps) {
    struct str json = {0};
    struct str scratch = {0};
    struct json_reader r;
    struct lamina_error err = {0};
    str_add_text(&json, "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
    json_write_string(&json, str_span(&c->pattern));
    str_printf(&json, "},\"behavior\":\"%s\",\"invert\":%s}", str_text(&c->behavior), c->invert ? "true" : "false");
    json_init(&r, str_span(&json), "case", &scratch, &err);
    tok_pretok_read(steps, &r);
    if (json_finish(&r) < 0) {
        fail_msg("%s: %s", str_text(&c->id), err.message);
    }
    str_drop(&json);
    str_drop(&scratch);
}

static void check_split(const struct tok_steps *steps, struct span text, struct json_reader *want, const char *id) {
    struct tok_pretok_work work = {0};
    const struct tok_pieces *pieces = NULL;
    struct span base;
    struct lamina_error err = {0};
    size_t n = 0;
    bool same = true;
    if (tok_pretok_run(steps, text, true, &work, &pieces, &base, &err) < 0) {
        fail_msg("%s: %s", id, err.message);
    }
    json_enter_array(want);
    while (json_next_item(want)) {
        struct str token = {0};
        json_string(want, &token);
        if (token.len > 0) { /* the oracle keeps no empty pieces, but be clear about it */
            same = same && n < pieces->count &&
                   span_equal(str_span(&token), span_of(base.ptr + pieces->list[n].begin, pieces->list[n].len));
            n++;
        }
        str_drop(&token);
    }
    tally.checked++;
    if (!same || n != pieces->count) {
        tally.wrong++;
        print_message("%s: '%.*s': %zu pieces, expected %zu\n", id, (int)text.len, (const char *)text.ptr,
                      pieces->count, n);
    }
    tok_pretok_work_drop(&work);
}

/* Runs one case if the oracle (a bookmark at its "tokens" object) knows it. */
static void check_split_case(const struct split_case *c, struct json_reader inputs, struct json_reader oracle) {
    struct tok_steps steps = {0};
    struct span key;
    bool found = false;
    read_step(c, &steps);
    json_enter_object(&oracle);
    while (json_next_key(&oracle, &key)) {
        if (!span_equal(key, str_span(c->name.len > 0 ? &c->name : &c->id))) {
            json_skip(&oracle);
            continue;
        }
        found = true;
        json_enter_array(&inputs);
        json_enter_array(&oracle);
        while (json_next_item(&inputs) && json_next_item(&oracle)) {
            struct str text = {0};
            json_string(&inputs, &text);
            check_split(&steps, str_span(&text), &oracle, str_text(&c->id));
            str_drop(&text);
        }
        break;
    }
    assert_true(found);
    assert_int_equal(oracle.failed, 0);
    tok_steps_drop(&steps);
}

/* The pattern of an earlier entry. */
static void find_pattern(struct json_reader patterns, const struct str *id, struct str *pattern) {
    json_enter_array(&patterns);
    while (json_next_item(&patterns)) {
        struct split_case c = {0};
        read_split_case(&patterns, &c);
        if (span_equal(str_span(&c.id), str_span(id))) {
            str_clear(pattern);
            str_add_span(pattern, str_span(&c.pattern));
        }
        split_case_drop(&c);
    }
}

static void test_split_patterns(void **state) {
    (void)state;
    struct str file = {0};
    struct str oracle_file = {0};
    struct str scratch = {0};
    struct json_reader r;
    struct json_reader oracle;
    struct json_reader lists[2];
    memset(lists, 0, sizeof(lists));
    struct split_case defaults = {0};
    struct span key;
    need("goldens/tokenizer-ids/splitRegexPatterns.json", &file);
    need("goldens/tokenizer-ids/splitRegexOracle.json.gz", &oracle_file);
    json_init(&oracle, str_span(&oracle_file), "splitRegexOracle.json", &scratch, NULL);
    json_enter_object(&oracle);
    while (json_next_key(&oracle, &key) && !span_is(key, "tokens")) {
        json_skip(&oracle);
    }
    json_init(&r, str_span(&file), "splitRegexPatterns.json", &scratch, NULL);
    json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        if (span_is(key, "defaults")) {
            read_split_case(&r, &defaults);
            continue;
        }
        if (span_is(key, "patterns") || span_is(key, "additionalCases")) {
            lists[span_is(key, "additionalCases")] = r;
        }
        json_skip(&r);
    }
    assert_int_equal(json_finish(&r), 0);
    for (int i = 0; i < 2; i++) {
        struct json_reader cases = lists[i];
        json_enter_array(&cases);
        while (json_next_item(&cases)) {
            struct split_case c = {.invert = defaults.invert};
            str_add_span(&c.behavior, str_span(&defaults.behavior));
            read_split_case(&cases, &c);
            if (c.pattern_id.len > 0) {
                find_pattern(lists[0], &c.pattern_id, &c.pattern);
            }
            check_split_case(&c, c.inputs.name != NULL ? c.inputs : defaults.inputs, oracle);
            split_case_drop(&c);
        }
        assert_int_equal(cases.failed, 0);
    }
    str_drop(&defaults.behavior);
    str_drop(&file);
    str_drop(&oracle_file);
    str_drop(&scratch);
    finish(NULL, 2000);
}

/* --- small vocabularies --- */

/* stories260k/golden.json: the ids of "Once upon a time", which its greedy text continues. */
static void test_stories(void **state) {
    (void)state;
    static const uint32_t prompt[] = {1, 403, 407, 261, 378};
    struct parts p = {0};
    need("stories260k/hf/tokenizer.json", &p.json);
    need("stories260k/hf/tokenizer_config.json", &p.config);
    struct text_tokenizer *t = open_parts(&p);
    struct text_ids want = {.ids = (uint32_t *)(uintptr_t)prompt, .count = 5};
    check_ids(t, span_of_text("Once upon a time"), TEXT_ADD_SPECIAL, &want, "stories260k");
    check_decoded(t, &want, true, span_of_text("Once upon a time"), "stories260k");
    finish(t, 2);
}

/* gemma/tokenizer_gemma_cropped.json: no golden ids exist; expected values computed with tokenizers 0.22.2. */
static void test_gemma_cropped(void **state) {
    (void)state;
    struct parts p = {0};
    need("gemma/tokenizer_gemma_cropped.json", &p.json);
    struct text_tokenizer *t = open_parts(&p);
    struct str text = {0};
    struct lamina_error err = {0};
    struct text_ids ids = {0};
    assert_int_equal(text_encode(t, span_of_text("<bos>a b"), TEXT_ADD_SPECIAL | TEXT_PARSE_SPECIAL, &ids, &err), 0);
    assert_int_equal(ids.ids[0], 2);
    assert_int_equal(ids.ids[1], 2);
    assert_int_equal(text_decode(t, ids.ids, ids.count, false, &text, &err), 0);
    assert_true(span_starts_with(str_span(&text), "<bos><bos>"));
    str_drop(&text);
    text_ids_drop(&ids);
    text_tokenizer_close(&t);
}

/* The GPT-2 files as they are: one merge has no token for its result. */
static void test_gpt2_as_is(void **state) {
    (void)state;
    struct parts p = {0};
    need("gpt2/vocab.json", &p.vocab);
    need("gpt2/merges.txt", &p.merges);
    struct text_tokenizer *t = open_parts(&p);
    static const uint32_t hello[] = {15496, 995};
    struct text_ids want = {.ids = (uint32_t *)(uintptr_t)hello, .count = 2};
    check_ids(t, span_of_text("Hello world"), 0, &want, "gpt2");
    assert_int_equal(text_vocab_size(t), 50256);
    finish(t, 1);
}

/* A 2 MB word without a break, in every kind of model, and memory of the largest. */
static void test_long_word(void **state) {
    (void)state;
    struct text_tokenizer *tokenizers[] = {open_llama2(), open_llama3()};
    struct str text = {0};
    for (int i = 0; i < 2000000; i++) {
        str_add_byte(&text, (uint8_t)('a' + (i * 7 + i / 13) % 26));
    }
    for (size_t i = 0; i < 2; i++) {
        struct text_ids ids = {0};
        struct str back = {0};
        struct lamina_error err = {0};
        assert_int_equal(text_encode(tokenizers[i], str_span(&text), 0, &ids, &err), 0);
        assert_int_equal(text_decode(tokenizers[i], ids.ids, ids.count, false, &back, &err), 0);
        assert_true(span_equal(str_span(&back), str_span(&text)));
        assert_true(text_tokenizer_bytes(tokenizers[i]) <= 16u << 20);
        text_ids_drop(&ids);
        str_drop(&back);
        text_tokenizer_close(&tokenizers[i]);
    }
    str_drop(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_cpp_llama2),  cmocka_unit_test(test_llama_cpp_phi3),
        cmocka_unit_test(test_llama_cpp_llama3),  cmocka_unit_test(test_llama_cpp_qwen2),
        cmocka_unit_test(test_llama_cpp_gpt2),    cmocka_unit_test(test_kitoken_llama2),
        cmocka_unit_test(test_kitoken_mistral01), cmocka_unit_test(test_kitoken_llama32),
        cmocka_unit_test(test_kitoken_gpt2),      cmocka_unit_test(test_js_llama),
        cmocka_unit_test(test_js_llama3),         cmocka_unit_test(test_js_gpt2),
        cmocka_unit_test(test_js_qwen2),          cmocka_unit_test(test_swift_llama2),
        cmocka_unit_test(test_swift_llama32),     cmocka_unit_test(test_swift_distilgpt2),
        cmocka_unit_test(test_split_patterns),    cmocka_unit_test(test_stories),
        cmocka_unit_test(test_gemma_cropped),     cmocka_unit_test(test_gpt2_as_is),
        cmocka_unit_test(test_long_word),
    };
    return cmocka_run_group_tests_name("tokenizer_goldens", tests, NULL, NULL);
}
