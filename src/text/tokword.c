/* SPDX-License-Identifier: Apache-2.0
 *
 * Models that look words up: WordLevel takes a word as a whole, WordPiece (Schuster & Nakajima 2012) takes the longest
 * token from the left, and again behind it with the prefix of a continuation, and a word that cannot be covered so is
 * unknown as a whole. */
#include <stdlib.h>
#include <string.h>

#include "text/tokmodel_priv.h"
#include "text/toktrie_priv.h"
#include "text/tokunicode_priv.h"

struct words {
    struct tok_word_options options;
    uint32_t unk;         /* TOK_NONE: not in the vocabulary */
    struct tok_trie trie; /* of WordPiece */
    uint32_t inside;      /* the node behind the prefix; TOK_NONE: nothing continues a word */
};

void tok_word_options_drop(struct tok_word_options *o) {
    str_drop(&o->unk);
    str_drop(&o->prefix);
}

static lamina_status push(struct text_ids *out, uint32_t id, struct lamina_error *err) {
    return tok_ids_push(out, id) ? LAMINA_OK : base_fail(err, LAMINA_NO_FIT, "out of memory for ids");
}

static lamina_status push_unknown(const struct words *w, struct text_ids *out, struct lamina_error *err) {
    if (w->unk == TOK_NONE) {
        return base_fail(err, LAMINA_DAMAGED,
                         "tokenizer: a word has no token, and the unknown token \"%s\" is not in the vocabulary",
                         str_text(&w->options.unk));
    }
    return push(out, w->unk, err);
}

static lamina_status level_encode(const struct tok_model *m, struct span piece, struct tok_scratch *s,
                                  struct text_ids *out, struct lamina_error *err) {
    uint32_t id = 0;
    (void)s;
    return tok_vocab_id(&m->vocab, piece, &id) ? push(out, id, err) : push_unknown(m->self, out, err);
}

static bool is_long(const struct words *w, struct span word) {
    uint64_t chars = 0;
    for (size_t at = 0; at < word.len && chars <= w->options.most_chars; chars++) {
        at += tok_char_len(word.ptr[at]);
    }
    return chars > w->options.most_chars;
}

/* The longest token at the front of the rest of a word; returns its bytes, 0: none. */
static size_t longest_token(const struct words *w, struct span rest, bool first, uint32_t *id) {
    uint32_t node = first ? 0 : w->inside;
    size_t best = 0;
    for (size_t at = 0; node != TOK_NONE && at < rest.len;) {
        node = tok_trie_step(&w->trie, node, rest.ptr[at++]);
        if (node == 0) {
            break;
        }
        if (w->trie.nodes[node].id != TOK_NONE) {
            *id = w->trie.nodes[node].id;
            best = at;
        }
    }
    return best;
}

static lamina_status piece_encode(const struct tok_model *m, struct span piece, struct tok_scratch *s,
                                  struct text_ids *out, struct lamina_error *err) {
    const struct words *w = m->self;
    size_t begin = out->count;
    (void)s;
    if (is_long(w, piece)) {
        return push_unknown(w, out, err);
    }
    for (size_t at = 0; at < piece.len;) {
        uint32_t id = 0;
        size_t len = longest_token(w, span_of(piece.ptr + at, piece.len - at), at == 0, &id);
        if (len == 0) {
            out->count = begin;
            return push_unknown(w, out, err);
        }
        LAMINA_TRY(push(out, id, err));
        at += len;
    }
    return LAMINA_OK;
}

static void word_close(struct tok_model *m) {
    struct words *w = m->self;
    if (w != NULL) {
        tok_word_options_drop(&w->options);
        tok_trie_drop(&w->trie);
        free(w);
        m->self = NULL;
    }
}

static size_t word_bytes(const struct tok_model *m) {
    const struct words *w = m->self;
    return sizeof(*w) + w->options.unk.cap + w->options.prefix.cap + w->trie.count * sizeof(*w->trie.nodes);
}

static const struct tok_model_ops level_ops = {.encode = level_encode, .close = word_close, .bytes = word_bytes};
static const struct tok_model_ops piece_ops = {.encode = piece_encode, .close = word_close, .bytes = word_bytes};

static lamina_status open_trie(struct words *w, const struct tok_model *m, struct lamina_error *err) {
    LAMINA_TRY(tok_trie_open(&w->trie, &m->vocab, NULL, err));
    struct span prefix = str_span(&w->options.prefix);
    for (size_t i = 0; i < prefix.len && w->inside != TOK_NONE; i++) {
        uint32_t next = tok_trie_step(&w->trie, w->inside, prefix.ptr[i]);
        w->inside = next == 0 ? TOK_NONE : next;
    }
    return LAMINA_OK;
}

lamina_status tok_word_open(struct tok_model *m, const struct tok_word_options *o, struct lamina_error *err) {
    struct words *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    m->ops = o->pieces ? &piece_ops : &level_ops;
    m->self = w;
    w->options.most_chars = o->most_chars;
    str_add_span(&w->options.unk, str_span(&o->unk));
    str_add_span(&w->options.prefix, str_span(&o->prefix));
    if (w->options.unk.failed || w->options.prefix.failed) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    if (!tok_vocab_id(&m->vocab, str_span(&o->unk), &w->unk)) {
        w->unk = TOK_NONE;
    }
    return o->pieces ? open_trie(w, m, err) : LAMINA_OK;
}
