/* SPDX-License-Identifier: Apache-2.0
 *
 * The tokenizer's face: opens from whatever files there are, runs text down the pipeline and ids back up. */
#include "text/tokenizer_priv.h"

#include <stdlib.h>
#include <string.h>

#include "text/tokunicode_priv.h"

/* --- open and close --- */

/* For people only; nothing decides by it. */
static const char *kind_name(const struct text_tokenizer *t) {
    if (tok_pretok_is_bytes(&t->pretok) || tok_decoder_is_bytes(&t->decoder)) {
        return "byte-level BPE";
    }
    return t->model.byte_fallback ? "SentencePiece-style BPE" : "BPE";
}

/* Tokens that are matched after normalisation are looked for in their own normalised form. */
static lamina_status normalise_added(struct text_tokenizer *t, struct lamina_error *err) {
    struct tok_norm_work work = {0};
    lamina_status status = LAMINA_OK;
    for (uint32_t i = 0; i < t->added.count && status == LAMINA_OK; i++) {
        struct tok_added_token *token = &t->added.list[i];
        struct span text = span_of(token->text, token->len);
        struct span normal = text;
        if (!token->normalized) {
            continue;
        }
        status = tok_norm_run(&t->norm, text, &work, &normal, err);
        if (status == LAMINA_OK && !span_equal(text, normal)) {
            token->match = malloc(normal.len + 1);
            if (token->match == NULL) {
                status = base_fail(err, LAMINA_NO_FIT, "out of memory for added tokens");
                break;
            }
            memcpy(token->match, normal.ptr, normal.len);
            token->match_len = (uint32_t)normal.len;
            t->added.bytes += normal.len + 1;
        }
    }
    tok_norm_work_drop(&work);
    return status;
}

static lamina_status open_files(struct text_tokenizer *t, const struct text_files *files, struct tok_config *c,
                                struct lamina_error *err) {
    LAMINA_TRY(tok_config_read(c, files, err));
    if (files->tokenizer_json.len > 0) {
        LAMINA_TRY(tok_file_read(t, files->tokenizer_json, err));
        LAMINA_TRY(tok_config_add_tokens(t, files, true, err));
        LAMINA_TRY(tok_config_apply(t, c, err));
    } else if (files->vocab_json.len > 0 && files->merges_txt.len > 0) {
        LAMINA_TRY(tok_kinds_read(t, files, c, err));
    } else {
        return base_fail(err, LAMINA_NOT_FOUND,
                         "no tokenizer: expected tokenizer.json, or vocab.json with merges.txt, beside the model");
    }
    LAMINA_TRY(normalise_added(t, err));
    if (!tok_added_index(&t->added)) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for added tokens");
    }
    t->kind = kind_name(t);
    return LAMINA_OK;
}

lamina_status text_tokenizer_open(struct text_tokenizer **t, const struct text_files *files, struct lamina_error *err) {
    struct tok_config config = {0};
    *t = NULL;
    struct text_tokenizer *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    lamina_status status = open_files(made, files, &config, err);
    tok_config_drop(&config);
    if (status < 0) {
        text_tokenizer_close(&made);
        return status;
    }
    *t = made;
    return LAMINA_OK;
}

void text_tokenizer_close(struct text_tokenizer **tokenizer) {
    struct text_tokenizer *t = *tokenizer;
    if (t == NULL) {
        return;
    }
    if (t->model.ops != NULL) {
        t->model.ops->close(&t->model);
    }
    tok_vocab_drop(&t->model.vocab);
    tok_added_drop(&t->added);
    tok_steps_drop(&t->norm);
    tok_steps_drop(&t->pretok);
    tok_decoder_drop(&t->decoder);
    tok_post_drop(&t->post);
    free(t);
    *tokenizer = NULL;
}

void text_ids_drop(struct text_ids *ids) {
    free(ids->ids);
    *ids = (struct text_ids){0};
}

/* --- encode --- */

struct encoding {
    const struct text_tokenizer *t;
    struct text_ids *out;
    bool skip_special;
    struct tok_scratch scratch;
    struct tok_norm_work norm;
    struct tok_pretok_work pretok;
    struct tok_segments raw;
    struct tok_segments normal;
};

/* Text without added tokens: cut it, then let the model have the pieces one by one. */
static lamina_status encode_plain(struct encoding *e, struct span text, bool first, struct lamina_error *err) {
    const struct tok_pieces *pieces = NULL;
    struct span base;
    LAMINA_TRY(tok_pretok_run(&e->t->pretok, text, first, &e->pretok, &pieces, &base, err));
    for (size_t i = 0; i < pieces->count; i++) {
        struct span piece = span_of(base.ptr + pieces->list[i].begin, pieces->list[i].len);
        LAMINA_TRY(e->t->model.ops->encode(&e->t->model, piece, &e->scratch, e->out, err));
    }
    return LAMINA_OK;
}

/* A stretch between added tokens: normalise, look for the tokens that match only now, and encode the rest. */
static lamina_status encode_stretch(struct encoding *e, struct span text, bool first, struct lamina_error *err) {
    struct span normal;
    LAMINA_TRY(tok_norm_run(&e->t->norm, text, &e->norm, &normal, err));
    bool at_start = first && !e->norm.cut;
    e->normal.count = 0;
    if (!tok_added_split(&e->t->added, &e->t->added.normalized, normal, e->skip_special, &e->normal)) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory while splitting text");
    }
    for (size_t i = 0; i < e->normal.count; i++) {
        const struct tok_segment *s = &e->normal.list[i];
        if (s->id != TOK_NONE) {
            if (!tok_ids_push(e->out, s->id)) {
                return base_fail(err, LAMINA_NO_FIT, "out of memory for ids");
            }
        } else {
            LAMINA_TRY(
                encode_plain(e, span_of(normal.ptr + s->begin, s->end - s->begin), at_start && s->begin == 0, err));
        }
    }
    return LAMINA_OK;
}

static lamina_status encode_text(struct encoding *e, struct span text, struct lamina_error *err) {
    if (!tok_added_split(&e->t->added, &e->t->added.raw, text, e->skip_special, &e->raw)) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory while splitting text");
    }
    for (size_t i = 0; i < e->raw.count; i++) {
        const struct tok_segment *s = &e->raw.list[i];
        if (s->id != TOK_NONE) {
            if (!tok_ids_push(e->out, s->id)) {
                return base_fail(err, LAMINA_NO_FIT, "out of memory for ids");
            }
        } else {
            LAMINA_TRY(encode_stretch(e, span_of(text.ptr + s->begin, s->end - s->begin), s->begin == 0, err));
        }
    }
    return LAMINA_OK;
}

static bool push_all(struct text_ids *out, const uint32_t *ids, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!tok_ids_push(out, ids[i])) {
            return false;
        }
    }
    return true;
}

lamina_status text_encode(const struct text_tokenizer *t, struct span bytes, unsigned flags, struct text_ids *out,
                          struct lamina_error *err) {
    struct encoding e = {.t = t, .out = out, .skip_special = (flags & TEXT_PARSE_SPECIAL) == 0};
    struct str repaired = {0};
    size_t begin = out->count;
    bool ends = (flags & TEXT_ADD_SPECIAL) != 0;
    lamina_status status = LAMINA_OK;
    if (!utf8_valid(bytes)) {
        tok_utf8_repair(bytes, &repaired);
        if (repaired.failed) {
            status = base_fail(err, LAMINA_NO_FIT, "out of memory for a text of %zu bytes", bytes.len);
            goto done;
        }
        bytes = str_span(&repaired);
    }
    if (ends && !push_all(out, t->post.before, t->post.before_count)) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory for ids");
        goto done;
    }
    status = encode_text(&e, bytes, err);
    if (status == LAMINA_OK && ends && !push_all(out, t->post.after, t->post.after_count)) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory for ids");
    }
done:
    if (status < 0) {
        out->count = begin;
    }
    str_drop(&repaired);
    tok_scratch_drop(&e.scratch);
    tok_norm_work_drop(&e.norm);
    tok_pretok_work_drop(&e.pretok);
    free(e.raw.list);
    free(e.normal.list);
    return status;
}

/* --- decode --- */

lamina_status text_decode(const struct text_tokenizer *t, const uint32_t *ids, size_t count, bool skip_special,
                          struct str *out, struct lamina_error *err) {
    struct tok_texts tokens = {0};
    lamina_status status = LAMINA_OK;
    for (size_t i = 0; i < count && status == LAMINA_OK; i++) {
        struct span token;
        if (!text_token_text(t, ids[i], &token)) {
            status = base_fail(err, LAMINA_USAGE, "id %u has no token; this tokenizer's ids are below %u", ids[i],
                               t->vocab_size);
        } else if ((!skip_special || !text_is_special(t, ids[i])) && !tok_texts_add(&tokens, token)) {
            status = base_fail(err, LAMINA_NO_FIT, "out of memory while decoding tokens");
        }
    }
    if (status == LAMINA_OK) {
        status = tok_decoder_run(&t->decoder, &tokens, NULL, out, err);
    }
    tok_texts_drop(&tokens);
    return status;
}

/* --- questions --- */

uint32_t text_vocab_size(const struct text_tokenizer *t) {
    return t->vocab_size;
}

bool text_token_id(const struct text_tokenizer *t, struct span token, uint32_t *id) {
    const struct tok_added_token *added = tok_added_find_text(&t->added, token);
    if (added != NULL) {
        *id = added->id;
        return true;
    }
    return tok_vocab_id(&t->model.vocab, token, id);
}

bool text_token_text(const struct text_tokenizer *t, uint32_t id, struct span *token) {
    const struct tok_added_token *added = tok_added_find_id(&t->added, id);
    if (added != NULL) {
        *token = span_of(added->text, added->len);
        return true;
    }
    return tok_vocab_text(&t->model.vocab, id, token);
}

bool text_is_special(const struct text_tokenizer *t, uint32_t id) {
    const struct tok_added_token *added = tok_added_find_id(&t->added, id);
    return added != NULL && added->special;
}

const char *text_tokenizer_kind(const struct text_tokenizer *t) {
    return t->kind;
}

size_t text_tokenizer_bytes(const struct text_tokenizer *t) {
    return sizeof(*t) + tok_vocab_bytes(&t->model.vocab) + t->model.ops->bytes(&t->model) + t->added.bytes +
           tok_steps_bytes(&t->norm) + tok_steps_bytes(&t->pretok) + tok_steps_bytes(&t->decoder.steps) +
           (t->post.before_count + t->post.after_count) * sizeof(uint32_t);
}
