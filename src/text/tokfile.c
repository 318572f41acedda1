/* SPDX-License-Identifier: Apache-2.0
 *
 * tokenizer.json of the `tokenizers` package, version 1.0, walked once without a tree: components are read where they
 * stand; added tokens, which need the vocabulary, from a bookmark at the end. "truncation" and "padding" are
 * ignored: they describe a training batch, and the servers of the field reset them too. */
#include <string.h>

#include "text/tokenizer_priv.h"

enum { TOK_FILE_LIMIT = 256 << 20 };

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

/* --- added tokens --- */

bool tok_added_read(struct json_reader *r, struct str *content, struct tok_added_token *token, uint64_t *id) {
    struct span key;
    bool bare = json_peek(r) == JSON_STRING;
    str_clear(content);
    if (bare) {
        tok_json_text(r, content);
    } else {
        json_enter_object(r);
    }
    while (!bare && json_next_key(r, &key)) {
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
    if (content.len > TOK_TOKEN_LIMIT) {
        return base_fail(err, LAMINA_UNSUPPORTED, "tokenizer: an added token of %zu bytes, the limit is %d", content.len,
                         TOK_TOKEN_LIMIT);
    }
    if (t->added.count >= TOK_ADDED_LIMIT) {
        return base_fail(err, LAMINA_UNSUPPORTED, "tokenizer: more than %d added tokens", TOK_ADDED_LIMIT);
    }
    const struct tok_added_token *known = tok_added_find_text(&t->added, content);
    if (known != NULL) {
        id = known->id;
    } else if ((t->explicit_ids && explicit_id != TOK_NONE) || !tok_vocab_id(&t->model.vocab, content, &id)) {
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
            tok_model_read(t, &r);
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
