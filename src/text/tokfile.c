/* SPDX-License-Identifier: Apache-2.0
 *
 * tokenizer.json of the `tokenizers` package, version 1.0, walked once without a tree: components are read where they
 * stand; merges and added tokens, which need the vocabulary, from bookmarks at the end. "truncation" and "padding" are
 * ignored: they describe a training batch, and the servers of the field reset them too. */
#include <string.h>

#include "text/tokenizer_priv.h"

enum { TOK_FILE_LIMIT = 256 << 20, TOK_MERGES_LIMIT = 1 << 23 };

bool tok_vocab_read(struct json_reader *r, struct tok_vocab *v) {
    struct span key;
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        /* The value is looked at first: reading it may not disturb the key, but adding needs both. */
        uint64_t id = 0;
        if (!json_u64(r, &id)) {
            break;
        }
        if (id >= TOK_VOCAB_LIMIT) {
            return json_refuse(r, LAMINA_DAMAGED, "id %llu of token \"%.*s\" is above the limit of %d",
                               (unsigned long long)id, (int)key.len, (const char *)key.ptr, TOK_VOCAB_LIMIT);
        }
        switch (tok_vocab_add(v, key, (uint32_t)id)) {
        case TOK_VOCAB_OK:
            break;
        case TOK_VOCAB_ID_TAKEN:
            return json_refuse(r, LAMINA_DAMAGED, "id %llu is given to two tokens, the second is \"%.*s\"",
                               (unsigned long long)id, (int)key.len, (const char *)key.ptr);
        case TOK_VOCAB_NO_MEMORY:
            return tok_json_no_memory(r);
        }
    }
    tok_vocab_fit(v);
    return r->failed == LAMINA_OK;
}

/* --- merges: ["a b", ...] or [["a", "b"], ...] --- */

static bool add_merge(struct text_tokenizer *t, struct json_reader *r, struct span left, struct span right) {
    switch (tok_bpe_add_merge(&t->model, left, right)) {
    case TOK_MERGE_OK:
        return true;
    case TOK_MERGE_UNKNOWN:
        return json_refuse(r, LAMINA_DAMAGED,
                           "a merge of \"%.*s\" and \"%.*s\", which are not in the vocabulary together", (int)left.len,
                           (const char *)left.ptr, (int)right.len, (const char *)right.ptr);
    case TOK_MERGE_NO_MEMORY:
        break;
    }
    return tok_json_no_memory(r);
}

/* Two tokens with exactly one space between; a #version line is not a merge and has no rank. */
static bool read_merge_text(struct text_tokenizer *t, struct json_reader *r, struct str *text) {
    if (!tok_json_text(r, text)) {
        return false;
    }
    struct span line = str_span(text);
    if (span_starts_with(line, "#version")) {
        return true;
    }
    const uint8_t *space = memchr(line.ptr, ' ', line.len);
    size_t at = space == NULL ? line.len : (size_t)(space - line.ptr);
    struct span right = span_sub(line, at + 1, line.len);
    if (space == NULL || memchr(right.ptr, ' ', right.len) != NULL) {
        return json_refuse(r, LAMINA_DAMAGED, "a merge must be two tokens with one space between them");
    }
    return add_merge(t, r, span_of(line.ptr, at), right);
}

/* The pair form exists because tokens may hold spaces. */
static bool read_merge_pair(struct text_tokenizer *t, struct json_reader *r, struct str *left, struct str *right) {
    int n = 0;
    json_enter_array(r);
    while (json_next_item(r)) {
        if (n == 2) {
            return json_refuse(r, LAMINA_DAMAGED, "a merge of more than two tokens");
        }
        tok_json_text(r, n++ == 0 ? left : right);
    }
    if (r->failed == LAMINA_OK && n != 2) {
        return json_refuse(r, LAMINA_DAMAGED, "a merge of fewer than two tokens");
    }
    return r->failed == LAMINA_OK && add_merge(t, r, str_span(left), str_span(right));
}

static bool read_merges(struct text_tokenizer *t, struct json_reader *r) {
    struct str left = {0};
    struct str right = {0};
    size_t count = 0;
    json_enter_array(r);
    while (json_next_item(r)) {
        if (++count > TOK_MERGES_LIMIT) {
            json_refuse(r, LAMINA_UNSUPPORTED, "more than %d merges", TOK_MERGES_LIMIT);
        } else if (json_peek(r) == JSON_ARRAY) {
            read_merge_pair(t, r, &left, &right);
        } else {
            read_merge_text(t, r, &left);
        }
    }
    str_drop(&left);
    str_drop(&right);
    return r->failed == LAMINA_OK;
}

/* --- model --- */

struct model_members {
    struct tok_bpe_options options;
    struct json_reader merges; /* name NULL: absent */
    bool has_vocab;
    bool dropout;
    char type[64];
};

static void read_flag(struct json_reader *r, bool *flag) {
    if (!json_null(r)) {
        json_bool(r, flag);
    }
}

static void read_model_member(struct text_tokenizer *t, struct model_members *m, struct span key,
                              struct json_reader *r) {
    struct tok_bpe_options *o = &m->options;
    if (span_is(key, "vocab")) {
        if (json_peek(r) != JSON_OBJECT || m->has_vocab) {
            json_refuse(r, LAMINA_UNSUPPORTED, "the vocabulary of a BPE model must be one object of tokens and ids");
            return;
        }
        m->has_vocab = tok_vocab_read(r, &t->model.vocab);
    } else if (span_is(key, "merges")) {
        m->merges = *r;
        json_skip(r);
    } else if (span_is(key, "unk_token")) {
        o->has_unk = !json_null(r) && tok_json_text(r, &o->unk);
    } else if (span_is(key, "continuing_subword_prefix")) {
        (void)(json_null(r) || tok_json_text(r, &o->prefix));
    } else if (span_is(key, "end_of_word_suffix")) {
        (void)(json_null(r) || tok_json_text(r, &o->suffix));
    } else if (span_is(key, "fuse_unk")) {
        read_flag(r, &o->fuse_unk);
    } else if (span_is(key, "byte_fallback")) {
        read_flag(r, &o->byte_fallback);
    } else if (span_is(key, "ignore_merges")) {
        read_flag(r, &o->ignore_merges);
    } else if (span_is(key, "dropout")) {
        double p = 0;
        if (!json_null(r) && json_double(r, &p) && p != 0) {
            json_refuse(r, LAMINA_UNSUPPORTED, "BPE dropout makes tokens random; set \"dropout\" to null");
        }
    } else {
        json_skip(r);
    }
}

/* The type decides before anything is read, because other models shape "vocab" differently. Files from before 2020 have
 * none; with merges they are BPE. */
static bool check_model_type(const struct json_reader *at, struct json_reader *r) {
    struct json_reader look = *at;
    struct str type = {0};
    struct span key;
    bool merges = false;
    json_enter_object(&look);
    while (json_next_key(&look, &key)) {
        merges = merges || span_is(key, "merges");
        if (span_is(key, "type")) {
            tok_json_text(&look, &type);
            break;
        }
        json_skip(&look);
    }
    r->failed = look.failed;
    bool fine = type.len > 0 ? strcmp(str_text(&type), "BPE") == 0 : merges;
    if (r->failed == LAMINA_OK && !fine) {
        json_refuse(r, LAMINA_UNSUPPORTED, "tokenizer model \"%s\" is not supported (BPE is)",
                    type.len > 0 ? str_text(&type) : "without a type");
    }
    str_drop(&type);
    return r->failed == LAMINA_OK;
}

/* Members come in any order, and merges need vocabulary and options, so merges wait in a bookmark. */
static bool read_model(struct text_tokenizer *t, struct json_reader *r) {
    struct model_members m = {0};
    struct span key;
    if (t->model.ops != NULL) {
        return json_refuse(r, LAMINA_DAMAGED, "a second \"model\"");
    }
    if (!check_model_type(r, r)) {
        return false;
    }
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        read_model_member(t, &m, key, r);
    }
    if (r->failed == LAMINA_OK && (!m.has_vocab || m.merges.name == NULL)) {
        json_refuse(r, LAMINA_DAMAGED, "the model lacks \"vocab\" or \"merges\"");
    }
    struct lamina_error why = {0};
    if (r->failed == LAMINA_OK && tok_bpe_open(&t->model, &m.options, &why) < 0) {
        json_refuse(r, why.code, "%s", why.message);
    }
    if (r->failed == LAMINA_OK && !read_merges(t, &m.merges)) {
        r->failed = m.merges.failed;
    }
    tok_bpe_options_drop(&m.options);
    return r->failed == LAMINA_OK;
}

/* --- added tokens --- */

bool tok_added_read(struct json_reader *r, struct str *content, struct tok_added_token *token, uint64_t *id) {
    struct span key;
    if (json_peek(r) == JSON_STRING) {
        return tok_json_text(r, content);
    }
    str_clear(content);
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        bool *flag = span_is(key, "single_word")  ? &token->single_word
                     : span_is(key, "lstrip")     ? &token->lstrip
                     : span_is(key, "rstrip")     ? &token->rstrip
                     : span_is(key, "normalized") ? &token->normalized
                     : span_is(key, "special")    ? &token->special
                                                  : NULL;
        if (flag != NULL) {
            json_bool(r, flag);
        } else if (span_is(key, "content")) {
            tok_json_text(r, content);
        } else if (id != NULL && span_is(key, "id")) {
            json_u64(r, id);
        } else {
            json_skip(r);
        }
    }
    if (r->failed == LAMINA_OK && content->len > TOK_TOKEN_LIMIT) {
        json_refuse(r, LAMINA_UNSUPPORTED, "an added token of %zu bytes, the limit is %d", content->len,
                    TOK_TOKEN_LIMIT);
    }
    return r->failed == LAMINA_OK;
}

lamina_status tok_added_insert(struct text_tokenizer *t, struct span content, struct tok_added_token flags,
                               uint32_t explicit_id, struct lamina_error *err) {
    uint32_t id = 0;
    if (content.len == 0) {
        return LAMINA_OK;
    }
    if (t->added.count >= TOK_ADDED_LIMIT) {
        return base_fail(err, LAMINA_UNSUPPORTED, "tokenizer: more than %d added tokens", TOK_ADDED_LIMIT);
    }
    const struct tok_added_token *known = tok_added_find_text(&t->added, content);
    if (known != NULL) {
        id = known->id;
    } else if (!tok_vocab_id(&t->model.vocab, content, &id)) {
        id = explicit_id != TOK_NONE ? explicit_id : t->next_id;
        t->next_id = id >= t->next_id ? id + 1 : t->next_id;
        if (id >= TOK_VOCAB_LIMIT) {
            return base_fail(err, LAMINA_DAMAGED, "tokenizer: id %u of an added token is above the limit of %d", id,
                             TOK_VOCAB_LIMIT);
        }
    }
    flags.id = id;
    struct tok_added_token *put = tok_added_put(&t->added, content, &flags);
    if (put == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for added tokens");
    }
    t->vocab_size = id >= t->vocab_size ? id + 1 : t->vocab_size;
    return LAMINA_OK;
}

/* Ids written in the file are not used: like the reference, a token keeps the id it has in the vocabulary, and the
 * others are numbered on from the vocabulary's size in the order they stand (the two agree in files that the
 * reference wrote). */
static bool read_added(struct text_tokenizer *t, struct json_reader *r) {
    struct str content = {0};
    json_enter_array(r);
    while (json_next_item(r)) {
        struct tok_added_token token = {0};
        struct lamina_error why = {0};
        uint64_t id = 0;
        if (tok_added_read(r, &content, &token, &id) &&
            tok_added_insert(t, str_span(&content), token, TOK_NONE, &why) < 0) {
            json_refuse(r, why.code, "%s", why.message);
        }
    }
    str_drop(&content);
    return r->failed == LAMINA_OK;
}

static bool read_version(struct json_reader *r) {
    struct str version = {0};
    if (tok_json_text(r, &version) && strcmp(str_text(&version), "1.0") != 0) {
        json_refuse(r, LAMINA_UNSUPPORTED, "version \"%s\" of the file format, expected \"1.0\"", str_text(&version));
    }
    str_drop(&version);
    return r->failed == LAMINA_OK;
}

lamina_status tok_file_read(struct text_tokenizer *t, struct span json, struct lamina_error *err) {
    struct str scratch = {0};
    struct json_reader r;
    struct json_reader added = {0};
    struct span key;
    if (json.len > TOK_FILE_LIMIT) {
        return base_fail(err, LAMINA_UNSUPPORTED, "tokenizer.json: %zu bytes, the limit is %d", json.len,
                         TOK_FILE_LIMIT);
    }
    json_init(&r, json, "tokenizer.json", &scratch, err);
    json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        if (span_is(key, "version")) {
            read_version(&r);
        } else if (span_is(key, "added_tokens")) {
            added = r;
            json_skip(&r);
        } else if (span_is(key, "normalizer") && t->norm.count == 0) {
            tok_norm_read(&t->norm, &r);
        } else if (span_is(key, "pre_tokenizer") && t->pretok.count == 0) {
            tok_pretok_read(&t->pretok, &r);
        } else if (span_is(key, "post_processor") && !t->post.present) {
            tok_post_read(&t->post, &r);
        } else if (span_is(key, "decoder") && !t->decoder.present) {
            tok_decoder_read(&t->decoder, &r);
        } else if (span_is(key, "model")) {
            read_model(t, &r);
        } else {
            json_skip(&r);
        }
    }
    if (r.failed == LAMINA_OK && t->model.ops == NULL) {
        json_refuse(&r, LAMINA_DAMAGED, "no \"model\"");
    }
    t->next_id = t->model.vocab.count;
    t->vocab_size = t->model.vocab.id_count;
    if (r.failed == LAMINA_OK && added.name != NULL && !json_null(&added) && !read_added(t, &added)) {
        r.failed = added.failed;
    }
    lamina_status status = json_finish(&r);
    str_drop(&scratch);
    return status;
}
