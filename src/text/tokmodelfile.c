/* SPDX-License-Identifier: Apache-2.0
 *
 * The member "model" of tokenizer.json: BPE, Unigram, WordPiece or WordLevel. Members come in any order, so what needs
 * the vocabulary (merges, the unknown token's id) is read from a bookmark or looked up at the end. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_priv.h"

enum { TOK_MERGES_LIMIT = 1 << 23 };

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

/* --- Unigram: [["token", score], ...], ids by place --- */

struct scores {
    double *list;
    size_t cap; /* bytes */
};

/* The reference reads a decimal fraction as a 64-bit integer divided by a power of ten, which may miss the nearest double
 * by one bit; equally good paths are told apart by that bit, so scores are read the same way. Numbers of another shape
 * are taken as they are. */
static bool read_score(struct json_reader *r, double *score) {
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    struct json_reader look = *r;
    struct span text = {0};
    uint64_t significand = 0;
    size_t places = 0;
    bool point = false;
    if (!json_double(r, score) || !json_raw_number(&look, &text)) {
        return false;
    }
    bool minus = text.ptr[0] == '-';
    for (size_t i = minus ? 1 : 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        uint64_t digit = (uint64_t)c - '0';
        bool full = significand > (UINT64_MAX - 9) / 10;
        if (c == 'e' || c == 'E' || (full && !point)) {
            return true;
        }
        point = point || c == '.';
        if (c != '.' && !full) {
            significand = significand * 10 + digit;
            places += point;
        }
    }
    if (places < ARRAY_LEN(tens)) {
        *score = (minus ? -1 : 1) * ((double)significand / tens[places]);
    }
    return true;
}

static bool read_scored(struct text_tokenizer *t, struct json_reader *r, struct scores *s, uint32_t id,
                        struct str *text) {
    double score = 0;
    int n = 0;
    json_enter_array(r);
    while (json_next_item(r)) {
        (void)(n == 0 ? tok_json_text(r, text) : n == 1 ? read_score(r, &score) : json_skip(r));
        n++;
    }
    if (r->failed == LAMINA_OK && (n != 2 || text->len > TOK_TOKEN_LIMIT || id >= TOK_VOCAB_LIMIT)) {
        return json_refuse(r, LAMINA_DAMAGED,
                           "entry %u of the vocabulary is not a token of at most %d bytes with its score", id,
                           TOK_TOKEN_LIMIT);
    }
    void *block = s->list;
    if (r->failed == LAMINA_OK && (!tok_scratch_need(&block, &s->cap, ((size_t)id + 1) * sizeof(*s->list)) ||
                                   tok_vocab_add(&t->model.vocab, str_span(text), id) != TOK_VOCAB_OK)) {
        s->list = block;
        return tok_json_no_memory(r);
    }
    s->list = block;
    if (r->failed == LAMINA_OK) {
        s->list[id] = score;
    }
    return r->failed == LAMINA_OK;
}

static bool read_scored_vocab(struct text_tokenizer *t, struct json_reader *r, struct scores *s) {
    struct str text = {0};
    uint32_t id = 0;
    json_enter_array(r);
    while (json_next_item(r) && read_scored(t, r, s, id, &text)) {
        id++;
    }
    str_drop(&text);
    tok_vocab_fit(&t->model.vocab);
    return r->failed == LAMINA_OK;
}

/* --- members --- */

enum model_type { MODEL_BPE, MODEL_UNIGRAM, MODEL_WORD_PIECE, MODEL_WORD_LEVEL, MODEL_TYPES };
static const char *const type_names[MODEL_TYPES] = {"BPE", "Unigram", "WordPiece", "WordLevel"};
static const char *const kind_names[MODEL_TYPES] = {NULL, "Unigram", "WordPiece", "WordLevel"};

struct model_members {
    enum model_type type;
    struct tok_bpe_options options;
    struct tok_word_options word;
    struct json_reader merges; /* name NULL: absent */
    struct scores scores;
    int64_t unk_id; /* -1: none */
    bool has_vocab;
};

static void read_flag(struct json_reader *r, bool *flag) {
    if (!json_null(r)) {
        json_bool(r, flag);
    }
}

static void read_vocab(struct text_tokenizer *t, struct model_members *m, struct json_reader *r) {
    bool listed = m->type == MODEL_UNIGRAM;
    if (json_peek(r) != (listed ? JSON_ARRAY : JSON_OBJECT) || m->has_vocab) {
        json_refuse(r, LAMINA_UNSUPPORTED, "the vocabulary of a %s model must be one %s", type_names[m->type],
                    listed ? "list of tokens with scores" : "object of tokens and ids");
    } else {
        m->has_vocab = listed ? read_scored_vocab(t, r, &m->scores) : tok_vocab_read(r, &t->model.vocab);
    }
}

static void read_bpe_member(struct model_members *m, struct span key, struct json_reader *r) {
    struct tok_bpe_options *o = &m->options;
    if (span_is(key, "merges")) {
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

static void read_other_member(struct model_members *m, struct span key, struct json_reader *r) {
    if (m->type == MODEL_UNIGRAM && span_is(key, "unk_id")) {
        uint64_t id = 0;
        if (!json_null(r) && json_u64(r, &id)) {
            m->unk_id = (int64_t)id;
        }
    } else if (m->type == MODEL_UNIGRAM && span_is(key, "byte_fallback")) {
        read_flag(r, &m->options.byte_fallback);
    } else if (m->type != MODEL_UNIGRAM && span_is(key, "unk_token")) {
        tok_json_text(r, &m->word.unk);
    } else if (m->type == MODEL_WORD_PIECE && span_is(key, "continuing_subword_prefix")) {
        tok_json_text(r, &m->word.prefix);
    } else if (m->type == MODEL_WORD_PIECE && span_is(key, "max_input_chars_per_word")) {
        json_u64(r, &m->word.most_chars);
    } else {
        json_skip(r);
    }
}

/* --- the model --- */

/* What the members of a model without a type make it: files from before 2021 have none. */
struct shape {
    bool merges;
    bool pieces;
    bool list;
    bool unk;
};

static enum model_type type_of_shape(const struct shape *s) {
    return s->merges   ? MODEL_BPE
           : s->list   ? MODEL_UNIGRAM
           : s->pieces ? MODEL_WORD_PIECE
           : s->unk    ? MODEL_WORD_LEVEL
                       : MODEL_TYPES;
}

/* The type decides before anything is read, because the models shape "vocab" differently. */
static bool read_type(struct json_reader *r, enum model_type *type) {
    struct json_reader look = *r;
    struct shape shape = {0};
    struct str text = {0};
    struct span key;
    json_enter_object(&look);
    while (json_next_key(&look, &key)) {
        shape.merges = shape.merges || span_is(key, "merges");
        shape.pieces = shape.pieces || span_is(key, "max_input_chars_per_word");
        shape.unk = shape.unk || span_is(key, "unk_token");
        shape.list = shape.list || (span_is(key, "vocab") && json_peek(&look) == JSON_ARRAY);
        if (span_is(key, "type")) {
            tok_json_text(&look, &text);
            break;
        }
        json_skip(&look);
    }
    r->failed = look.failed;
    *type = text.len > 0 ? MODEL_TYPES : type_of_shape(&shape);
    for (int i = 0; i < MODEL_TYPES; i++) {
        *type = strcmp(str_text(&text), type_names[i]) == 0 ? (enum model_type)i : *type;
    }
    if (r->failed == LAMINA_OK && *type == MODEL_TYPES) {
        json_refuse(r, LAMINA_UNSUPPORTED,
                    "tokenizer model \"%s\" is not supported (BPE, Unigram, WordPiece and WordLevel are)",
                    text.len > 0 ? str_text(&text) : "without a type");
    }
    str_drop(&text);
    return r->failed == LAMINA_OK;
}

static lamina_status open_unigram(struct text_tokenizer *t, struct model_members *m, struct lamina_error *err) {
    double *scores = m->scores.list;
    if (m->unk_id >= (int64_t)t->model.vocab.id_count) {
        return base_fail(err, LAMINA_DAMAGED, "the unknown token's id %lld is not in the vocabulary of %u tokens",
                         (long long)m->unk_id, t->model.vocab.id_count);
    }
    m->scores.list = NULL;
    return tok_unigram_open_json(&t->model, scores, m->unk_id < 0 ? TOK_NONE : (uint32_t)m->unk_id,
                                 m->options.byte_fallback, err);
}

static bool open_model(struct text_tokenizer *t, struct model_members *m, struct json_reader *r) {
    struct lamina_error why = {0};
    lamina_status status = LAMINA_OK;
    t->kind = kind_names[m->type];
    switch (m->type) {
    case MODEL_UNIGRAM:
        status = open_unigram(t, m, &why);
        break;
    case MODEL_WORD_PIECE:
    case MODEL_WORD_LEVEL:
        m->word.pieces = m->type == MODEL_WORD_PIECE;
        status = tok_word_open(&t->model, &m->word, &why);
        break;
    case MODEL_BPE:
    case MODEL_TYPES:
        status = tok_bpe_open(&t->model, &m->options, &why);
        if (status == LAMINA_OK && !read_merges(t, &m->merges)) {
            r->failed = m->merges.failed;
        }
        break;
    }
    return status == LAMINA_OK || json_refuse(r, why.code, "%s", why.message);
}

bool tok_model_read(struct text_tokenizer *t, struct json_reader *r) {
    struct model_members m = {.unk_id = -1};
    struct span key;
    if (t->model.ops != NULL) {
        return json_refuse(r, LAMINA_DAMAGED, "a second \"model\"");
    }
    if (!read_type(r, &m.type)) {
        return false;
    }
    str_add_text(&m.word.prefix, "##");
    m.word.most_chars = 100;
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        if (span_is(key, "vocab")) {
            read_vocab(t, &m, r);
        } else if (m.type == MODEL_BPE) {
            read_bpe_member(&m, key, r);
        } else {
            read_other_member(&m, key, r);
        }
    }
    if (r->failed == LAMINA_OK && (!m.has_vocab || (m.type == MODEL_BPE && m.merges.name == NULL))) {
        json_refuse(r, LAMINA_DAMAGED, "the model lacks \"vocab\" or \"merges\"");
    }
    if (r->failed == LAMINA_OK) {
        open_model(t, &m, r);
    }
    free(m.scores.list);
    tok_bpe_options_drop(&m.options);
    tok_word_options_drop(&m.word);
    return r->failed == LAMINA_OK;
}
