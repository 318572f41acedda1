/* SPDX-License-Identifier: Apache-2.0
 *
 * Rank files, as the tiktoken package reads them: a line for each token, its bytes in base64, a space, its rank, which is
 * its id as well. They hold neither the pattern that cuts text nor special tokens; both come with the vocabulary's
 * name. The name is found from the tokenizer class, else from the model type, else from the number of ranks, which no
 * two of these vocabularies share. A file alone encodes as tiktoken does; what is put in front of a text is added where
 * a config says what the checkpoint is.
 *
 * Tokens are kept in GPT-2's byte alphabet, so the pipeline is that of any byte-level vocabulary. */
#include <stdio.h>
#include <string.h>

#include "text/tokenizer_priv.h"
#include "text/tokpattern_priv.h"
#include "text/tokunicode_priv.h"

enum { RANK_FILE_LIMIT = 256 << 20 };

struct special {
    uint32_t offset; /* from the number of ranks */
    const char *text;
};

struct rank_kind {
    const char *name;
    const char *classes; /* each with a space before and behind */
    const char *models;  /* model_type of config.json, likewise */
    uint32_t ranks;
    const char *pattern; /* NULL: the one ByteLevel brings along */
    const struct special *specials; /* ended by a NULL text */
    const char *more[2];            /* numbered specials: before and behind the number */
    uint32_t more_from;             /* first offset */
    uint32_t more_to;               /* one behind the last */
    uint32_t more_number;           /* of the first; UINT32_MAX: its id */
    const char *before[2];          /* put in front of a text: outer, inner */
    bool own_specials;              /* the class defines `specials` itself, whatever the files list */
    bool own_more;                  /* likewise the numbered ones */
    bool nfc;
};

static const struct special qwen_specials[] = {{0, "<|endoftext|>"}, {1, "<|im_start|>"}, {2, "<|im_end|>"}, {0, NULL}};

static const struct special glm_specials[] = {
    {0, "<|endoftext|>"},       {1, "[MASK]"},    {2, "[gMASK]"},       {3, "[sMASK]"},         {4, "<sop>"},
    {5, "<eop>"},               {6, "<|system|>"}, {7, "<|user|>"},     {8, "<|assistant|>"},   {9, "<|observation|>"},
    {10, "<|begin_of_image|>"}, {11, "<|end_of_image|>"}, {12, "<|begin_of_video|>"}, {13, "<|end_of_video|>"}, {0, NULL}};

static const struct special kimi_specials[] = {{0, "[BOS]"},
                                               {1, "[EOS]"},
                                               {2, "<|im_end|>"},
                                               {3, "<|im_user|>"},
                                               {4, "<|im_assistant|>"},
                                               {6, "<|start_header_id|>"},
                                               {7, "<|end_header_id|>"},
                                               {9, "[EOT]"},
                                               {10, "<|im_system|>"},
                                               {11, "<|tool_calls_section_begin|>"},
                                               {12, "<|tool_calls_section_end|>"},
                                               {13, "<|tool_call_begin|>"},
                                               {14, "<|tool_call_argument_begin|>"},
                                               {15, "<|tool_call_end|>"},
                                               {17, "<|im_middle|>"},
                                               {254, "[UNK]"},
                                               {255, "[PAD]"},
                                               {0, NULL}};

static const struct special llama3_specials[] = {{0, "<|begin_of_text|>"},
                                                 {1, "<|end_of_text|>"},
                                                 {2, "<|reserved_special_token_0|>"},
                                                 {3, "<|reserved_special_token_1|>"},
                                                 {4, "<|finetune_right_pad_id|>"},
                                                 {5, "<|reserved_special_token_2|>"},
                                                 {6, "<|start_header_id|>"},
                                                 {7, "<|end_header_id|>"},
                                                 {8, "<|eom_id|>"},
                                                 {9, "<|eot_id|>"},
                                                 {10, "<|python_tag|>"},
                                                 {0, NULL}};

static const struct special llama4_specials[] = {{0, "<|begin_of_text|>"},
                                                 {1, "<|end_of_text|>"},
                                                 {2, "<|fim_prefix|>"},
                                                 {3, "<|fim_middle|>"},
                                                 {4, "<|fim_suffix|>"},
                                                 {5, "<|header_start|>"},
                                                 {6, "<|header_end|>"},
                                                 {7, "<|eom|>"},
                                                 {8, "<|eot|>"},
                                                 {9, "<|step|>"},
                                                 {16, "<|python_start|>"},
                                                 {17, "<|python_end|>"},
                                                 {18, "<|finetune_right_pad|>"},
                                                 {0, NULL}};

static const struct special harmony_specials[] = {
    {0, "<|startoftext|>"}, {1, "<|endoftext|>"}, {4, "<|return|>"},   {5, "<|constrain|>"}, {7, "<|channel|>"},
    {8, "<|start|>"},       {9, "<|end|>"},       {10, "<|message|>"}, {14, "<|call|>"},     {20, "<|endofprompt|>"},
    {0, NULL}};

static const struct special o200k_specials[] = {{1, "<|endoftext|>"}, {20, "<|endofprompt|>"}, {0, NULL}};

static const struct special cl100k_specials[] = {{1, "<|endoftext|>"},  {2, "<|fim_prefix|>"},   {3, "<|fim_middle|>"},
                                                 {4, "<|fim_suffix|>"}, {20, "<|endofprompt|>"}, {0, NULL}};

static const struct special gpt2_specials[] = {{0, "<|endoftext|>"}, {0, NULL}};

static const struct rank_kind kinds[] = {
    {.name = "Qwen",
     .classes = " QWenTokenizer ",
     .models = " qwen ",
     .ranks = 151643,
     .pattern = TOK_PATTERN_QWEN2,
     .specials = qwen_specials,
     .more = {"<|extra_", "|>"},
     .more_from = 3,
     .more_to = 208,
     .own_specials = true,
     .own_more = true,
     .nfc = true},
    {.name = "GLM-4",
     .classes = " ChatGLM4Tokenizer ChatGLMTokenizer ",
     .models = " chatglm glm4 ",
     .ranks = 151329,
     .pattern = TOK_PATTERN_LLAMA3,
     .specials = glm_specials,
     .before = {"[gMASK]", "<sop>"}},
    {.name = "Kimi",
     .classes = " TikTokenTokenizer ",
     .models = " kimi_k2 kimi_linear ",
     .ranks = 163584,
     .pattern = TOK_PATTERN_KIMI,
     .specials = kimi_specials,
     .more = {"<|reserved_token_", "|>"},
     .more_to = 256,
     .more_number = UINT32_MAX,
     .own_more = true},
    {.name = "Llama-3",
     .classes = " ",
     .models = " ",
     .ranks = 128000,
     .pattern = TOK_PATTERN_LLAMA3,
     .specials = llama3_specials,
     .more = {"<|reserved_special_token_", "|>"},
     .more_from = 11,
     .more_to = 256,
     .more_number = 3,
     .before = {"<|begin_of_text|>", NULL}},
    {.name = "Llama-4",
     .classes = " ",
     .models = " llama4 llama4_text ",
     .ranks = 200000,
     .pattern = TOK_PATTERN_O200K,
     .specials = llama4_specials,
     .more = {"<|text_post_train_reserved_special_token_", "|>"},
     .more_from = 10,
     .more_to = 16,
     .before = {"<|begin_of_text|>", NULL}},
    {.name = "o200k_harmony",
     .classes = " ",
     .models = " gpt_oss ",
     .pattern = TOK_PATTERN_O200K,
     .specials = harmony_specials},
    {.name = "o200k_base",
     .classes = " ",
     .models = " ",
     .ranks = 199998,
     .pattern = TOK_PATTERN_O200K,
     .specials = o200k_specials},
    {.name = "cl100k_base",
     .classes = " ",
     .models = " ",
     .ranks = 100256,
     .pattern = TOK_PATTERN_LLAMA3,
     .specials = cl100k_specials},
    {.name = "r50k_base", .classes = " ", .models = " ", .ranks = 50256, .specials = gpt2_specials},
};

/* --- the file --- */

/* The line at *at, without its end; false at the end of the file. */
static bool next_line(struct span bytes, size_t *at, struct span *line) {
    if (*at >= bytes.len) {
        return false;
    }
    const uint8_t *end = memchr(bytes.ptr + *at, '\n', bytes.len - *at);
    size_t len = end == NULL ? bytes.len - *at : (size_t)(end - bytes.ptr) - *at;
    *line = span_of(bytes.ptr + *at, len);
    *at += len + 1;
    if (line->len > 0 && line->ptr[line->len - 1] == '\r') {
        line->len--;
    }
    return true;
}

static bool read_line(struct span line, struct str *token, uint32_t *rank) {
    const uint8_t *space = memchr(line.ptr, ' ', line.len);
    size_t at = space == NULL ? line.len : (size_t)(space - line.ptr);
    struct span digits = span_sub(line, at + 1, line.len);
    str_clear(token);
    *rank = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.ptr[i] < '0' || digits.ptr[i] > '9' || i >= 8) {
            return false;
        }
        *rank = *rank * 10 + (digits.ptr[i] - '0');
    }
    return digits.len > 0 && tok_base64_read(span_of(line.ptr, at), token);
}

bool tok_ranks_is_file(struct span bytes) {
    struct str token = {0};
    struct span line = {0};
    uint32_t rank = 0;
    size_t at = 0;
    bool is = next_line(bytes, &at, &line) && line.len <= 2 * TOK_TOKEN_LIMIT && read_line(line, &token, &rank);
    str_drop(&token);
    return is;
}

static lamina_status add_rank(struct tok_vocab *v, struct span line, size_t number, struct str *token, struct str *text,
                              struct lamina_error *err) {
    uint32_t rank = 0;
    uint32_t other = 0;
    str_clear(text);
    if (!read_line(line, token, &rank)) {
        return base_fail(err, LAMINA_DAMAGED, "rank file: line %zu is not a token in base64, a space and a rank", number);
    }
    tok_bytes_as_chars(str_span(token), text);
    if (text->len > TOK_TOKEN_LIMIT || rank >= TOK_VOCAB_LIMIT) {
        return base_fail(err, LAMINA_DAMAGED,
                         "rank file: line %zu has a token of %zu bytes with rank %u; the limits are %d and %d", number,
                         token->len, rank, TOK_TOKEN_LIMIT, TOK_VOCAB_LIMIT);
    }
    if (tok_vocab_id(v, str_span(text), &other)) {
        return base_fail(err, LAMINA_DAMAGED, "rank file: line %zu repeats the token of rank %u", number, other);
    }
    switch (token->failed || text->failed ? TOK_VOCAB_NO_MEMORY : tok_vocab_add(v, str_span(text), rank)) {
    case TOK_VOCAB_OK:
        return LAMINA_OK;
    case TOK_VOCAB_ID_TAKEN:
        return base_fail(err, LAMINA_DAMAGED, "rank file: line %zu gives rank %u a second time", number, rank);
    case TOK_VOCAB_NO_MEMORY:
        break;
    }
    return base_fail(err, LAMINA_NO_FIT, "out of memory for a rank file of %zu lines and more", number);
}

/* Without a token for each byte some text could not be written, and the package refuses such a file too. */
static lamina_status check_bytes(const struct tok_vocab *v, struct lamina_error *err) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint8_t text[4];
        uint32_t id = 0;
        if (!tok_vocab_id(v, span_of(text, utf8_encode(tok_byte_to_char((uint8_t)byte), text)), &id)) {
            return base_fail(err, LAMINA_DAMAGED, "rank file: no token for byte %u alone; is the file complete?", byte);
        }
    }
    return LAMINA_OK;
}

static lamina_status read_ranks(struct tok_vocab *v, struct span bytes, struct lamina_error *err) {
    struct str token = {0};
    struct str text = {0};
    struct span line = {0};
    size_t number = 0;
    lamina_status status = LAMINA_OK;
    for (size_t at = 0; status == LAMINA_OK && next_line(bytes, &at, &line);) {
        number++;
        if (line.len > 0) {
            status = add_rank(v, line, number, &token, &text, err);
        }
    }
    str_drop(&token);
    str_drop(&text);
    if (status == LAMINA_OK) {
        tok_vocab_fit(v);
        status = check_bytes(v, err);
    }
    return status;
}

/* --- which vocabulary it is --- */

/* Class names that serve many vocabularies. */
#define GENERIC " PreTrainedTokenizer PreTrainedTokenizerFast TokenizersBackend LlamaTokenizer LlamaTokenizerFast "

static const struct rank_kind *find_kind(const struct text_tokenizer *t, const struct tok_config *c,
                                         struct lamina_error *err) {
    bool generic = c->tokenizer_class.len == 0 || tok_config_lists(GENERIC, &c->tokenizer_class);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (tok_config_lists(generic ? kinds[i].models : kinds[i].classes,
                             generic ? &c->model_type : &c->tokenizer_class)) {
            return &kinds[i];
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds) && generic; i++) {
        if (kinds[i].ranks == t->model.vocab.count) {
            return &kinds[i];
        }
    }
    base_fail(err, LAMINA_UNSUPPORTED,
              "a rank file of %u tokens, tokenizer class \"%s\", model type \"%s\": not one of the known vocabularies "
              "(Qwen, GLM-4, Kimi, Llama-3, Llama-4, o200k, cl100k, r50k); add the checkpoint's tokenizer.json",
              t->model.vocab.count, str_text(&c->tokenizer_class), str_text(&c->model_type));
    return NULL;
}

/* --- special tokens --- */

static bool is_taken(const struct text_tokenizer *t, struct span text, uint32_t id) {
    for (uint32_t i = 0; i < t->added.count; i++) {
        if (t->added.list[i].id == id) {
            return true;
        }
    }
    return tok_added_find_text(&t->added, text) != NULL;
}

/* NFC comes before the search for special tokens where the kind has it, so there they are looked for afterwards. */
static lamina_status add_special(struct text_tokenizer *t, const struct rank_kind *kind, const char *text, uint32_t id,
                                 struct lamina_error *err) {
    struct tok_added_token token = {.special = true, .normalized = kind->nfc};
    return is_taken(t, span_of_text(text), id) ? LAMINA_OK
                                               : tok_added_insert(t, span_of_text(text), token, id, err);
}

static lamina_status add_specials(struct text_tokenizer *t, const struct rank_kind *kind, uint32_t first,
                                  struct lamina_error *err) {
    bool listed = t->added.count > 0;
    char name[80];
    for (const struct special *s = kind->specials; s->text != NULL && (!listed || kind->own_specials); s++) {
        LAMINA_TRY(add_special(t, kind, s->text, first + s->offset, err));
    }
    for (uint32_t i = kind->more_from; i < kind->more_to && (!listed || kind->own_more); i++) {
        uint32_t number = kind->more_number == UINT32_MAX ? first + i : kind->more_number + i - kind->more_from;
        (void)snprintf(name, sizeof(name), "%s%u%s", kind->more[0], number, kind->more[1]);
        LAMINA_TRY(add_special(t, kind, name, first + i, err));
    }
    return LAMINA_OK;
}

static lamina_status add_end(struct text_tokenizer *t, bool front, struct span text, struct lamina_error *err) {
    uint32_t id = 0;
    if (!text_token_id(t, text, &id)) {
        return base_fail(err, LAMINA_DAMAGED, "tokenizer: \"%.*s\" goes %s every text, but is no token", (int)text.len,
                         (const char *)text.ptr, front ? "before" : "behind");
    }
    return tok_post_add(&t->post, front, id) ? LAMINA_OK
                                             : base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
}

/* The fast classes of a kind with a prefix leave it to the chat template. */
static lamina_status add_ends(struct text_tokenizer *t, const struct rank_kind *kind, const struct tok_config *c,
                              struct lamina_error *err) {
    bool bare = c->tokenizer_class.len == 0 && c->model_type.len == 0;
    bool two = kind->before[1] != NULL;
    bool by_class = !two || c->tokenizer_class.len == 0 || tok_config_lists(kind->classes, &c->tokenizer_class);
    t->post.present = true;
    if (c->add_bos == 1 && !two) {
        const char *usual = kind->before[0] == NULL ? "" : kind->before[0];
        LAMINA_TRY(add_end(t, true, c->bos.len > 0 ? str_span(&c->bos) : span_of_text(usual), err));
    } else if (!bare && by_class && kind->before[0] != NULL && c->add_bos != 0) {
        LAMINA_TRY(two ? add_end(t, true, span_of_text(kind->before[1]), err) : LAMINA_OK);
        LAMINA_TRY(add_end(t, true, span_of_text(kind->before[0]), err));
    }
    return c->add_eos == 1 ? add_end(t, false, str_span(&c->eos), err) : LAMINA_OK;
}

lamina_status tok_ranks_open(struct text_tokenizer *t, struct span bytes, const struct text_files *files,
                             const struct tok_config *c, struct lamina_error *err) {
    if (bytes.len > RANK_FILE_LIMIT) {
        return base_fail(err, LAMINA_UNSUPPORTED, "rank file: %zu bytes, the limit is %d", bytes.len, RANK_FILE_LIMIT);
    }
    LAMINA_TRY(read_ranks(&t->model.vocab, bytes, err));
    const struct rank_kind *kind = find_kind(t, c, err);
    if (kind == NULL) {
        return LAMINA_UNSUPPORTED;
    }
    uint32_t first = t->model.vocab.id_count;
    t->next_id = first;
    t->vocab_size = first;
    t->explicit_ids = true;
    t->skips_all = true;
    t->kind = "byte-level BPE by rank";
    LAMINA_TRY(tok_merge_open_ranks(&t->model, err));
    LAMINA_TRY(tok_config_add_tokens(t, files, false, err));
    LAMINA_TRY(add_specials(t, kind, first, err));
    LAMINA_TRY(
        tok_bytes_pipeline(t, span_of_text(kind->pattern == NULL ? "" : kind->pattern), kind->nfc, false, err));
    return add_ends(t, kind, c, err);
}
