/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands beside the vocabulary: tokenizer_config.json, special_tokens_map.json, added_tokens.json. Follows
 * transformers: the classes of the Llama family build their own BOS/EOS template from add_bos_token and
 * add_eos_token, all others keep the file's post-processor. */
#include <string.h>

#include "text/tokenizer_priv.h"

void tok_config_drop(struct tok_config *c) {
    str_drop(&c->tokenizer_class);
    str_drop(&c->bos);
    str_drop(&c->eos);
    str_drop(&c->unk);
    str_drop(&c->pad);
    str_drop(&c->name);
    str_drop(&c->pretokenize_regex);
    str_drop(&c->model_type);
}

bool tok_config_lists(const char *list, const struct str *word) {
    struct str padded = {0};
    str_printf(&padded, " %s ", str_text(word));
    bool found = word->len > 0 && strstr(list, str_text(&padded)) != NULL;
    str_drop(&padded);
    return found;
}

/* A special token: null, a string, or an object with "content". */
static void read_special(struct json_reader *r, struct str *out) {
    struct tok_added_token ignored = {0};
    if (!json_null(r)) {
        if (json_peek(r) == JSON_STRING || json_peek(r) == JSON_OBJECT) {
            tok_added_read(r, out, &ignored, NULL);
        } else {
            json_skip(r);
        }
    }
}

/* Absent, null and false differ: only a bool was said. */
static void read_tri(struct json_reader *r, int *value) {
    bool flag = false;
    if (json_peek(r) != JSON_BOOL) {
        json_skip(r);
    } else if (json_bool(r, &flag)) {
        *value = flag;
    }
}

static void read_text(struct json_reader *r, struct str *out) {
    if (json_peek(r) == JSON_STRING) {
        tok_json_text(r, out);
    } else {
        json_skip(r);
    }
}

static void read_flag(struct json_reader *r, bool *flag) {
    int said = 0;
    read_tri(r, &said);
    *flag = said == 1;
}

static void read_number(struct json_reader *r, int64_t *value) {
    uint64_t n = 0;
    if (json_peek(r) != JSON_NUMBER) {
        json_skip(r);
    } else if (json_u64(r, &n)) {
        *value = (int64_t)n;
    }
}

static void read_member(struct tok_config *c, struct span key, struct json_reader *r) {
    if (span_is(key, "tokenizer_class")) {
        read_text(r, &c->tokenizer_class);
    } else if (span_is(key, "model_type")) {
        read_text(r, &c->model_type);
    } else if (span_is(key, "pretokenize_regex")) {
        read_text(r, &c->pretokenize_regex);
        c->has_pretokenize_regex = c->pretokenize_regex.len > 0;
    } else if (span_is(key, "bos_token")) {
        read_special(r, &c->bos);
    } else if (span_is(key, "eos_token")) {
        read_special(r, &c->eos);
    } else if (span_is(key, "unk_token")) {
        read_special(r, &c->unk);
    } else if (span_is(key, "add_bos_token")) {
        read_tri(r, &c->add_bos);
    } else if (span_is(key, "add_eos_token")) {
        read_tri(r, &c->add_eos);
    } else if (span_is(key, "add_prefix_space")) {
        read_tri(r, &c->prefix_space);
    } else if (span_is(key, "legacy")) {
        read_tri(r, &c->legacy);
    } else if (span_is(key, "pad_token")) {
        read_special(r, &c->pad);
    } else if (span_is(key, "name_or_path") || span_is(key, "_name_or_path")) {
        read_text(r, &c->name);
    } else if (span_is(key, "num_image_tokens")) {
        read_number(r, &c->image_tokens);
    } else if (span_is(key, "do_lower_case")) {
        read_flag(r, &c->lower_case);
    } else if (span_is(key, "remove_space")) {
        read_flag(r, &c->remove_space);
    } else {
        json_skip(r);
    }
}

static lamina_status read_file(struct tok_config *c, struct span text, const char *name, struct lamina_error *err) {
    struct str scratch = {0};
    struct json_reader r;
    struct span key;
    if (text.len == 0) {
        return LAMINA_OK;
    }
    json_init(&r, text, name, &scratch, err);
    json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        bool of_model = strcmp(name, "config.json") == 0;
        if (of_model && !span_is(key, "model_type") && (!span_is(key, "_name_or_path") || c->name.len > 0)) {
            json_skip(&r); /* its bos and eos are ids for the model, not texts */
        } else if (strcmp(name, "special_tokens_map.json") == 0 &&
                   ((span_is(key, "bos_token") && c->bos.len > 0) || (span_is(key, "eos_token") && c->eos.len > 0))) {
            json_skip(&r); /* tokenizer_config.json wins */
        } else {
            read_member(c, key, &r);
        }
    }
    lamina_status status = json_finish(&r);
    str_drop(&scratch);
    return status;
}

lamina_status tok_config_read(struct tok_config *c, const struct text_files *files, struct lamina_error *err) {
    c->add_bos = -1;
    c->add_eos = -1;
    c->legacy = -1;
    c->prefix_space = -1;
    c->image_tokens = -1;
    static const char role[] = "<|assistant|>";
    c->names_roles = files->tokenizer_config.len > 0 &&
                     memmem(files->tokenizer_config.ptr, files->tokenizer_config.len, role, sizeof(role) - 1) != NULL;
    LAMINA_TRY(read_file(c, files->tokenizer_config, "tokenizer_config.json", err));
    LAMINA_TRY(read_file(c, files->special_tokens_map, "special_tokens_map.json", err));
    return read_file(c, files->config, "config.json", err);
}

/* --- added tokens --- */

struct adding {
    struct text_tokenizer *t;
    struct json_reader *r;
    struct str content;
    bool only_missing;
};

/* In only_missing mode tokenizer.json has the last word, so a token it knows keeps its flags. */
static void add(struct adding *a, struct tok_added_token token, uint64_t id) {
    struct lamina_error why = {0};
    uint32_t known = 0;
    bool exists = text_token_id(a->t, str_span(&a->content), &known);
    if (a->r->failed != LAMINA_OK || (a->only_missing && exists)) {
        return;
    }
    if (id != TOK_NONE && id >= TOK_VOCAB_LIMIT) {
        json_refuse(a->r, LAMINA_DAMAGED, "id %llu of an added token is above the limit of %d", (unsigned long long)id,
                    TOK_VOCAB_LIMIT);
    } else if (tok_added_insert(a->t, str_span(&a->content), token, (uint32_t)id, &why) < 0) {
        json_refuse(a->r, why.code, "%s", why.message);
    }
}

/* Ids are keys here, hence texts; nine digits are more than the id limit and fit without overflow. */
static bool parse_id(struct span text, uint64_t *id) {
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || i > 9) {
            return false;
        }
        value = value * 10 + (text.ptr[i] - '0');
    }
    *id = value;
    return text.len > 0;
}

/* "added_tokens_decoder": {"32000": {...}, ...} */
static void add_decoder(struct adding *a) {
    struct span key;
    json_enter_object(a->r);
    while (json_next_key(a->r, &key)) {
        struct tok_added_token token = {.normalized = true};
        uint64_t id = 0;
        if (!parse_id(key, &id)) {
            json_refuse(a->r, LAMINA_DAMAGED, "a key of \"added_tokens_decoder\" is not an id");
        } else if (tok_added_read(a->r, &a->content, &token, NULL)) {
            add(a, token, id);
        }
    }
}

/* Names in special_tokens_map.json and tokenizer_config.json whose values are special tokens or lists of them. */
static bool names_special(struct span key) {
    static const char *const names[] = {"bos_token", "eos_token", "unk_token",  "pad_token",
                                        "sep_token", "cls_token", "mask_token", "additional_special_tokens"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (span_is(key, names[i])) {
            return true;
        }
    }
    return false;
}

/* A token named as BOS, EOS and so on is special even where its own entry does not say so. */
static void add_one_special(struct adding *a) {
    struct tok_added_token token = {.special = true};
    uint32_t id = 0;
    if (json_null(a->r)) {
        return;
    }
    if (!tok_added_read(a->r, &a->content, &token, NULL) || a->content.len == 0) {
        return;
    }
    token.special = true;
    const struct tok_added_token *known = tok_added_find_text(&a->t->added, str_span(&a->content));
    if (known != NULL) { /* its flags stay; being named here makes it special */
        token = *known;
        token.special = !a->only_missing || known->special;
        id = known->id;
    }
    add(a, token, known != NULL ? id : TOK_NONE);
}

static void add_specials(struct adding *a) {
    if (json_peek(a->r) != JSON_ARRAY) {
        add_one_special(a);
        return;
    }
    json_enter_array(a->r);
    while (json_next_item(a->r)) {
        add_one_special(a);
    }
}

/* {"<|endoftext|>": 50256, ...}: plain added tokens, special only if named so elsewhere. */
static lamina_status add_file(struct adding *a, struct span text, const char *name, struct lamina_error *err) {
    struct str scratch = {0};
    struct json_reader r;
    struct span key;
    bool plain = strcmp(name, "added_tokens.json") == 0;
    if (text.len == 0) {
        return LAMINA_OK;
    }
    a->r = &r;
    json_init(&r, text, name, &scratch, err);
    for (int pass = 0; pass < 2; pass++) { /* ids first, then what is special */
        struct json_reader from = r;
        json_enter_object(&r);
        while (json_next_key(&r, &key)) {
            if (plain && pass == 0) {
                uint64_t id = 0;
                str_clear(&a->content);
                str_add_span(&a->content, key);
                if (json_u64(&r, &id)) {
                    add(a, (struct tok_added_token){0}, id);
                }
            } else if (!plain && pass == 0 && span_is(key, "added_tokens_decoder")) {
                add_decoder(a);
            } else if (!plain && pass == 1 && names_special(key)) {
                add_specials(a);
            } else {
                json_skip(&r);
            }
        }
        if (pass == 0 && r.failed == LAMINA_OK) {
            r = from;
        }
    }
    lamina_status status = json_finish(&r);
    str_drop(&scratch);
    return status;
}

lamina_status tok_config_add_tokens(struct text_tokenizer *t, const struct text_files *files, bool only_missing,
                                    struct lamina_error *err) {
    struct adding a = {.t = t, .only_missing = only_missing};
    lamina_status status = add_file(&a, files->added_tokens_json, "added_tokens.json", err);
    if (status == LAMINA_OK) {
        status = add_file(&a, files->tokenizer_config, "tokenizer_config.json", err);
    }
    if (status == LAMINA_OK) {
        status = add_file(&a, files->special_tokens_map, "special_tokens_map.json", err);
    }
    str_drop(&a.content);
    return status;
}

/* --- BOS and EOS --- */

static bool builds_template(struct span name) {
    static const char *const names[] = {"LlamaTokenizer",         "LlamaTokenizerFast", "CodeLlamaTokenizer",
                                        "CodeLlamaTokenizerFast", "GemmaTokenizer",     "GemmaTokenizerFast",
                                        "CohereTokenizer",        "CohereTokenizerFast"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (span_is(name, names[i])) {
            return true;
        }
    }
    return false;
}

/* The keys decide where they are given. Without them a class of the family adds BOS only where the file has no
 * post-processor of its own. A token without an id is left out. */
lamina_status tok_config_apply(struct text_tokenizer *t, const struct tok_config *c, struct lamina_error *err) {
    uint32_t bos = 0;
    uint32_t eos = 0;
    bool family = builds_template(str_span(&c->tokenizer_class));
    bool said = c->add_bos >= 0 || c->add_eos >= 0;
    if (!family || (!said && t->post.present)) {
        return LAMINA_OK;
    }
    bool add_bos = c->add_bos != 0 && c->bos.len > 0 && text_token_id(t, str_span(&c->bos), &bos);
    bool add_eos = c->add_eos == 1 && c->eos.len > 0 && text_token_id(t, str_span(&c->eos), &eos);
    if ((c->add_bos == 1 && !add_bos) || (c->add_eos == 1 && !add_eos)) {
        return base_fail(err, LAMINA_DAMAGED,
                         "tokenizer_config.json: add_bos_token or add_eos_token is true, but that "
                         "token is not named or not in the vocabulary");
    }
    tok_post_drop(&t->post);
    if ((add_bos && !tok_post_add(&t->post, true, bos)) || (add_eos && !tok_post_add(&t->post, false, eos))) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    return LAMINA_OK;
}
