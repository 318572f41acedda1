/* SPDX-License-Identifier: Apache-2.0
 *
 * vocab.json with merges.txt: a vocabulary that does not say how text is cut before it. The kind comes from the
 * class in tokenizer_config.json, else from special tokens, else from config.json; the pipeline of a kind is
 * written here as the components tokenizer.json would have, so one reader serves both. Patterns:
 * tokpattern_priv.h. */
#include <string.h>

#include "text/tokenizer_priv.h"
#include "text/tokpattern_priv.h"

struct kind {
    const char *name;
    const char *classes; /* separated by spaces, with one at each end */
    const char *models;  /* model_type of config.json, likewise */
    const char *pattern; /* NULL: the one ByteLevel brings along */
    const char *special; /* the class's own special token where the files name none */
    bool nfc;
    bool ignore_merges;
    bool bos;
};

enum { KIND_GPT2, KIND_QWEN2, KIND_LLAMA3, KIND_COUNT };

static const struct kind kinds[KIND_COUNT] = {
    [KIND_GPT2] = {.name = "GPT-2",
                   .classes = " GPT2Tokenizer GPT2TokenizerFast CodeGenTokenizer CodeGenTokenizerFast ",
                   .models = " gpt2 codegen phi gptj gpt_neo gpt_bigcode gpt_neox ",
                   .special = "<|endoftext|>"},
    [KIND_QWEN2] = {.name = "Qwen2",
                    .classes = " Qwen2Tokenizer Qwen2TokenizerFast ",
                    .models = " qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next ",
                    .pattern = TOK_PATTERN_QWEN2,
                    .special = "<|endoftext|>",
                    .nfc = true},
    [KIND_LLAMA3] = {.name = "Llama-3",
                     .classes = " ",
                     .models = " ",
                     .pattern = TOK_PATTERN_LLAMA3,
                     .ignore_merges = true,
                     .bos = true},
};

/* Added tokens are in place already. */
static const struct kind *find_kind(const struct text_tokenizer *t, const struct tok_config *c,
                                    struct lamina_error *err) {
    uint32_t id = 0;
    if (text_token_id(t, span_of_text("<|begin_of_text|>"), &id) && id == 128000) {
        return &kinds[KIND_LLAMA3];
    }
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (tok_config_lists(kinds[i].classes, &c->tokenizer_class)) {
            return &kinds[i];
        }
    }
    bool generic =
        c->tokenizer_class.len == 0 || tok_config_lists(" PreTrainedTokenizerFast TokenizersBackend ", &c->tokenizer_class);
    for (size_t i = 0; i < KIND_COUNT && generic; i++) {
        if (tok_config_lists(kinds[i].models, &c->model_type)) {
            return &kinds[i];
        }
    }
    if (generic && c->model_type.len == 0 && tok_vocab_id(&t->model.vocab, span_of_text("<|endoftext|>"), &id)) {
        return &kinds[KIND_GPT2]; /* only GPT-2's own vocab.json holds its special token */
    }
    base_fail(
        err, LAMINA_UNSUPPORTED,
        "vocab.json with merges.txt of tokenizer class \"%s\", model type \"%s\": GPT-2, Qwen2 and Llama-3 kinds are "
        "known; add the checkpoint's tokenizer.json or tokenizer_config.json",
        str_text(&c->tokenizer_class), str_text(&c->model_type));
    return NULL;
}

static lamina_status read_vocab(struct text_tokenizer *t, struct span text, struct lamina_error *err) {
    struct str scratch = {0};
    struct json_reader r;
    json_init(&r, text, "vocab.json", &scratch, err);
    tok_vocab_read(&r, &t->model.vocab);
    lamina_status status = json_finish(&r);
    str_drop(&scratch);
    t->next_id = t->model.vocab.count;
    t->vocab_size = t->model.vocab.id_count;
    return status;
}

/* A merge whose parts or result have no id can never give a token; published files have a few (a vocabulary cut by one
 * entry), so they are left out, but more than one in a hundred means that the two files do not belong together. */
struct merge_count {
    size_t lines;
    size_t unusable;
    size_t first_unusable; /* its line number */
};

static lamina_status add_merge(struct text_tokenizer *t, struct span line, size_t number, struct merge_count *count,
                               struct lamina_error *err) {
    const uint8_t *space = memchr(line.ptr, ' ', line.len);
    size_t at = space == NULL ? line.len : (size_t)(space - line.ptr);
    struct span right = span_sub(line, at + 1, line.len);
    if (space == NULL || memchr(right.ptr, ' ', right.len) != NULL) {
        return base_fail(err, LAMINA_DAMAGED, "merges.txt: line %zu is not two tokens with one space between them",
                         number);
    }
    count->lines++;
    switch (tok_bpe_add_merge(&t->model, span_of(line.ptr, at), right)) {
    case TOK_MERGE_OK:
        return LAMINA_OK;
    case TOK_MERGE_UNKNOWN:
        count->first_unusable = count->unusable++ == 0 ? number : count->first_unusable;
        return LAMINA_OK;
    case TOK_MERGE_NO_MEMORY:
        break;
    }
    return base_fail(err, LAMINA_NO_FIT, "out of memory for merges");
}

static lamina_status read_merges(struct text_tokenizer *t, struct span text, struct lamina_error *err) {
    size_t number = 0;
    struct merge_count count = {0};
    for (size_t at = 0; at < text.len;) {
        const uint8_t *end = memchr(text.ptr + at, '\n', text.len - at);
        size_t len = end == NULL ? text.len - at : (size_t)(end - text.ptr) - at;
        struct span line = span_of(text.ptr + at, len);
        at += len + 1;
        number++;
        if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
            line.len--;
        }
        if (line.len > 0 && !span_starts_with(line, "#version")) {
            LAMINA_TRY(add_merge(t, line, number, &count, err));
        }
    }
    if (count.unusable > 0 && count.unusable > count.lines / 100) {
        return base_fail(err, LAMINA_DAMAGED,
                         "merges.txt: %zu of %zu merges are not in vocab.json, the first in line %zu; "
                         "the two files do not belong together",
                         count.unusable, count.lines, count.first_unusable);
    }
    return LAMINA_OK;
}

typedef bool component_reader(struct text_tokenizer *t, struct json_reader *r);

static bool read_norm(struct text_tokenizer *t, struct json_reader *r) {
    return tok_norm_read(&t->norm, r);
}
static bool read_pretok(struct text_tokenizer *t, struct json_reader *r) {
    return tok_pretok_read(&t->pretok, r);
}
static bool read_decoder(struct text_tokenizer *t, struct json_reader *r) {
    return tok_decoder_read(&t->decoder, r);
}

static lamina_status read_component(struct text_tokenizer *t, const char *text, component_reader *read,
                                    struct lamina_error *err) {
    struct str scratch = {0};
    struct json_reader r;
    json_init(&r, span_of_text(text), "tokenizer_config.json", &scratch, err);
    read(t, &r);
    lamina_status status = json_finish(&r);
    str_drop(&scratch);
    return status;
}

/* Written as JSON on purpose: the components have one reader, which tests hold against the reference. */
lamina_status tok_bytes_pipeline(struct text_tokenizer *t, struct span pattern, bool nfc, bool prefix_space,
                                 struct lamina_error *err) {
    struct str json = {0};
    bool split = pattern.len > 0;
    if (split) {
        str_add_text(&json, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":");
        json_write_string(&json, pattern);
        str_add_text(&json, "},\"behavior\":\"Isolated\",\"invert\":false},");
    }
    str_printf(&json, "{\"type\":\"ByteLevel\",\"add_prefix_space\":%s,\"trim_offsets\":true,\"use_regex\":%s}",
               prefix_space ? "true" : "false", split ? "false" : "true");
    str_add_text(&json, split ? "]}" : "");
    lamina_status status = json.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer") : LAMINA_OK;
    if (status == LAMINA_OK) {
        status = read_component(t, str_text(&json), read_pretok, err);
    }
    if (status == LAMINA_OK && nfc) {
        status = read_component(t, "{\"type\":\"NFC\"}", read_norm, err);
    }
    if (status == LAMINA_OK) {
        status = read_component(t, "{\"type\":\"ByteLevel\"}", read_decoder, err);
    }
    str_drop(&json);
    return status;
}

static lamina_status build_pipeline(struct text_tokenizer *t, const struct kind *kind, const struct tok_config *c,
                                    struct lamina_error *err) {
    bool custom = c->has_pretokenize_regex && kind->pattern != NULL; /* Qwen3.5 says its pattern in the config */
    struct span usual = span_of_text(kind->pattern == NULL ? "" : kind->pattern);
    return tok_bytes_pipeline(t, custom ? str_span(&c->pretokenize_regex) : usual, kind->nfc, c->prefix_space == 1,
                              err);
}

/* BOS: the kind's own, or asked for in so many words. */
static lamina_status add_ends(struct text_tokenizer *t, const struct kind *kind, const struct tok_config *c,
                              struct lamina_error *err) {
    uint32_t id = 0;
    struct span bos = c->bos.len > 0 ? str_span(&c->bos) : span_of_text(kind->bos ? "<|begin_of_text|>" : "");
    bool add_bos = c->add_bos == 1 || (kind->bos && c->add_bos != 0);
    t->post.present = true;
    if (add_bos && text_token_id(t, bos, &id) && !tok_post_add(&t->post, true, id)) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    if (c->add_eos == 1 && text_token_id(t, str_span(&c->eos), &id) && !tok_post_add(&t->post, false, id)) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    return LAMINA_OK;
}

lamina_status tok_kinds_read(struct text_tokenizer *t, const struct text_files *files, const struct tok_config *c,
                             struct lamina_error *err) {
    struct tok_bpe_options options = {0};
    LAMINA_TRY(read_vocab(t, files->vocab_json, err));
    LAMINA_TRY(tok_config_add_tokens(t, files, false, err));
    const struct kind *kind = find_kind(t, c, err);
    if (kind == NULL) {
        return LAMINA_UNSUPPORTED;
    }
    options.ignore_merges = kind->ignore_merges;
    LAMINA_TRY(tok_bpe_open(&t->model, &options, err));
    LAMINA_TRY(read_merges(t, files->merges_txt, err));
    if (kind->special != NULL && tok_added_find_text(&t->added, span_of_text(kind->special)) == NULL) {
        struct tok_added_token special = {.special = true};
        LAMINA_TRY(tok_added_insert(t, span_of_text(kind->special), special, TOK_NONE, err));
    }
    LAMINA_TRY(build_pipeline(t, kind, c, err));
    return add_ends(t, kind, c, err);
}
