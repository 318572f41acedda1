/* SPDX-License-Identifier: Apache-2.0
 *
 * The tokenizer's face: opens from whatever files there are, runs text down the pipeline and ids back up. */
#include "text/tokenizer_priv.h"

#include <stdlib.h>
#include <string.h>

#include "text/toksp_priv.h"
#include "text/tokunicode_priv.h"

/* --- open and close --- */

/* For people only; nothing decides by it. */
static const char *kind_name(const struct text_tokenizer *t) {
    if (t->kind != NULL) {
        return t->kind;
    }
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

/* The names of these files do not say what they hold. */
static lamina_status open_by_content(struct text_tokenizer *t, const struct text_files *files,
                                     const struct tok_config *c, struct lamina_error *err) {
    bool named_model = files->tokenizer_model.len > 0;
    struct span bytes = named_model ? files->tokenizer_model : files->tiktoken;
    if (tok_ranks_is_file(bytes)) {
        return tok_ranks_open(t, bytes, files, c, err);
    }
    if (tok_sp_is_model(bytes)) {
        return tok_sp_open(t, bytes, files, c, err);
    }
    return base_fail(err, LAMINA_DAMAGED,
                     "%s (%zu bytes) is neither a SentencePiece model nor a tiktoken rank file; if it is a pointer of "
                     "git-lfs, download the file itself",
                     named_model ? "tokenizer.model" : "the tiktoken file", bytes.len);
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
    } else if (files->tokenizer_model.len > 0 || files->tiktoken.len > 0) {
        LAMINA_TRY(open_by_content(t, files, c, err));
    } else {
        return base_fail(err, LAMINA_NOT_FOUND,
                         "no tokenizer: expected tokenizer.json, vocab.json with merges.txt, tokenizer.model or a "
                         "tiktoken file beside the model");
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
    free(t->model.piece_type);
    str_drop(&t->slow.unk);
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
    struct str fresh; /* a stretch behind the unknown token */
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

#define MARK "\xe2\x96\x81"

/* A class that puts the leading space itself keeps the normaliser from dropping blanks at the front: it encodes such a
 * stretch behind the unknown token and takes that token's ids away again. */
static lamina_status encode_fresh(struct encoding *e, struct span text, bool first, struct lamina_error *err) {
    size_t begin = e->out->count;
    if (!span_starts_with(text, MARK) && !span_starts_with(text, " ")) {
        return encode_stretch(e, text, first, err);
    }
    str_clear(&e->fresh);
    str_add_span(&e->fresh, str_span(&e->t->slow.unk));
    str_add_span(&e->fresh, text);
    if (e->fresh.failed) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a text of %zu bytes", text.len);
    }
    LAMINA_TRY(encode_stretch(e, str_span(&e->fresh), first, err));
    size_t made = e->out->count - begin;
    size_t gone = made >= e->t->slow.unk_ids ? e->t->slow.unk_ids : 0;
    if (gone > 0) {
        memmove(e->out->ids + begin, e->out->ids + begin + gone, (made - gone) * sizeof(*e->out->ids));
        e->out->count -= gone;
    }
    return LAMINA_OK;
}

static lamina_status encode_text(struct encoding *e, struct span text, struct lamina_error *err) {
    if (e->skip_special && e->t->skips_all) {
        return (e->t->slow.fresh ? encode_fresh : encode_stretch)(e, text, true, err);
    }
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
            struct span stretch = span_of(text.ptr + s->begin, s->end - s->begin);
            LAMINA_TRY((e->t->slow.fresh ? encode_fresh : encode_stretch)(e, stretch, s->begin == 0, err));
        }
    }
    return LAMINA_OK;
}

/* The whole text as such a class sees it: marks are spaces, and one is put in front. */
static void prepare_fresh(const struct tok_slow *slow, struct span text, struct str *out) {
    str_add_text(out, slow->prefix_space ? MARK : "");
    while (text.len > 0) {
        const uint8_t *mark = memmem(text.ptr, text.len, MARK, 3);
        size_t n = mark == NULL ? text.len : (size_t)(mark - text.ptr);
        str_add(out, text.ptr, n);
        str_add_text(out, mark == NULL ? "" : " ");
        text = span_sub(text, mark == NULL ? n : n + 3, text.len);
    }
}

/* The mark in front goes again where nothing but a special token follows it. */
static void finish_fresh(const struct encoding *e, size_t begin) {
    struct span first = {0};
    struct text_ids *out = e->out;
    if (out->count - begin > 1 && text_token_text(e->t, out->ids[begin], &first) && span_is(first, MARK) &&
        text_is_special(e->t, out->ids[begin + 1])) {
        memmove(out->ids + begin, out->ids + begin + 1, (out->count - begin - 1) * sizeof(*out->ids));
        out->count--;
    }
}

static lamina_status encode_whole(struct encoding *e, struct span text, struct lamina_error *err) {
    struct str prepared = {0};
    size_t begin = e->out->count;
    if (!e->t->slow.fresh || text.len == 0) {
        return encode_text(e, text, err);
    }
    prepare_fresh(&e->t->slow, text, &prepared);
    lamina_status status = prepared.failed
                               ? base_fail(err, LAMINA_NO_FIT, "out of memory for a text of %zu bytes", text.len)
                               : encode_text(e, str_span(&prepared), err);
    if (status == LAMINA_OK) {
        finish_fresh(e, begin);
    }
    str_drop(&prepared);
    return status;
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
        tok_utf8_repair(bytes, t->repair_bytes, &repaired);
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
    status = encode_whole(&e, bytes, err);
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
    str_drop(&e.fresh);
    free(e.raw.list);
    free(e.normal.list);
    return status;
}

/* --- decode --- */

/* Inside one run a special token that the vocabulary holds is the piece it is there. */
static uint8_t kind_of(const struct text_tokenizer *t, uint32_t id) {
    const struct tok_added_token *added = tok_added_find_id(&t->added, id);
    enum tok_sp_style style = t->decoder.sp->style;
    bool inside_vocab = id < t->model.vocab.id_count;
    uint8_t type = inside_vocab ? t->model.piece_type[id] : (uint8_t)TOK_PIECE_NONE;
    if (added == NULL || (style == TOK_SP_ONE_RUN && inside_vocab && type != TOK_PIECE_BYTE)) {
        return type; /* a byte piece that a file renames is not the byte any more */
    }
    bool inside = style == TOK_SP_ONE_RUN || id < t->plain_from;
    return (added->special && inside) || style == TOK_SP_PLAIN ? TOK_KIND_SPECIAL : TOK_KIND_ADDED;
}

bool tok_texts_add_id(struct tok_texts *tokens, const struct text_tokenizer *t, uint32_t id, struct span text) {
    if (t->decoder.sp != NULL) {
        str_add_byte(&tokens->kinds, kind_of(t, id));
    }
    return tok_texts_add(tokens, text) && !tokens->kinds.failed;
}

lamina_status text_decode(const struct text_tokenizer *t, const uint32_t *ids, size_t count, bool skip_special,
                          struct str *out, struct lamina_error *err) {
    struct tok_texts tokens = {0};
    lamina_status status = LAMINA_OK;
    for (size_t i = 0; i < count && status == LAMINA_OK; i++) {
        struct span token;
        if (!text_token_text(t, ids[i], &token)) {
            status = base_fail(err, LAMINA_USAGE, "id %u has no token; this tokenizer's ids are below %u", ids[i],
                               t->vocab_size);
        } else if ((!skip_special || !text_is_special(t, ids[i])) && !tok_texts_add_id(&tokens, t, ids[i], token)) {
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

const uint32_t *text_front(const struct text_tokenizer *t, size_t *count) {
    *count = t->post.before_count;
    return t->post.before;
}

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
    if (added == NULL && t->model.piece_type != NULL && id < t->model.vocab.id_count) {
        return t->model.piece_type[id] == TOK_PIECE_CONTROL;
    }
    return added != NULL && added->special;
}

const char *text_tokenizer_kind(const struct text_tokenizer *t) {
    return t->kind;
}

size_t text_tokenizer_bytes(const struct text_tokenizer *t) {
    return sizeof(*t) + tok_vocab_bytes(&t->model.vocab) + t->model.ops->bytes(&t->model) + t->added.bytes +
           tok_steps_bytes(&t->norm) + tok_steps_bytes(&t->pretok) + tok_steps_bytes(&t->decoder.steps) +
           (t->post.before_count + t->post.after_count) * sizeof(uint32_t) +
           (t->model.piece_type == NULL ? 0 : t->model.vocab.id_count);
}
