/* SPDX-License-Identifier: Apache-2.0
 *
 * The Unigram model (Kudo 2018): of all ways to cut a text into tokens the one with the highest sum of scores, found by
 * Viterbi's algorithm over byte positions, linear in the text. Ties keep the path found first, the one whose last token
 * begins furthest left. Two references differ in the details: SentencePiece adds in single precision and prefers
 * user-defined pieces, tokenizer.json adds in double precision and joins neighbouring unknown characters. */
#include <float.h>
#include <stdlib.h>

#include "text/toksp_priv.h"
#include "text/toktrie_priv.h"
#include "text/tokunicode_priv.h"

static const double UNKNOWN_PENALTY = 10;

struct unigram {
    struct tok_trie trie;
    double *scores;       /* by id */
    double unknown_score;
    float most;           /* the best score of an ordinary piece */
    bool is_sp;
    struct tok_sp_unknown unknown; /* unk TOK_NONE: an unknown character is an error */
};

/* The best path that ends at a position. */
struct stop {
    double score;
    uint32_t begin; /* of its last token; TOK_NONE: no path ends here yet */
    uint32_t id;    /* TOK_NONE: an unknown character */
};

/* --- the best path --- */

static double score_of(const struct tok_model *m, const struct unigram *u, uint32_t id, size_t len) {
    if (u->is_sp && m->piece_type[id] == TOK_PIECE_USER) {
        return (double)((float)len * u->most) - 0.1; /* chosen whenever it fits */
    }
    return u->scores[id];
}

static void improve(const struct unigram *u, struct stop *stop, double score, uint32_t begin, uint32_t id) {
    if (stop->begin == TOK_NONE || score > stop->score) {
        *stop = (struct stop){.score = u->is_sp ? (double)(float)score : score, .begin = begin, .id = id};
    }
}

/* Every token that begins at `begin`, and the character there as an unknown one if it is no token. */
static void extend(const struct tok_model *m, struct span text, size_t begin, struct stop *stops) {
    const struct unigram *u = m->self;
    double here = stops[begin].score;
    size_t character = tok_char_len(text.ptr[begin]);
    bool single = false;
    uint32_t node = 0;
    for (size_t at = begin; at < text.len;) {
        node = tok_trie_step(&u->trie, node, text.ptr[at++]);
        if (node == 0) {
            break;
        }
        uint32_t id = u->trie.nodes[node].id;
        if (id == TOK_NONE || (u->is_sp && m->piece_type[id] == TOK_PIECE_UNUSED)) {
            continue;
        }
        improve(u, &stops[at], score_of(m, u, id, at - begin) + here, (uint32_t)begin, id);
        single = single || at - begin == character;
    }
    if (!single) {
        double score = u->is_sp ? (double)((float)u->unknown_score + (float)here) : u->unknown_score + here;
        improve(u, &stops[begin + character], score, (uint32_t)begin, TOK_NONE);
    }
}

/* Walks the path from its end, so the ends of its tokens are turned around: afterwards stops[i].begin is where the i-th
 * token begins and stops[i].id what it is. Returns how many there are. */
static size_t collect(struct stop *stops, size_t len) {
    size_t count = 0;
    for (size_t end = len; end > 0; count++) {
        size_t begin = stops[end].begin;
        stops[len - count] = (struct stop){.begin = (uint32_t)begin, .id = stops[end].id};
        end = begin;
    }
    memmove(stops, stops + (len + 1 - count), count * sizeof(*stops));
    return count;
}

/* --- ids --- */

static lamina_status no_memory(struct span text, struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "out of memory for a text of %zu bytes", text.len);
}

static lamina_status emit_sp(const struct tok_model *m, struct span text, const struct stop *path, size_t count,
                             struct text_ids *out, struct lamina_error *err) {
    const struct unigram *u = m->self;
    bool run = false;
    for (size_t i = 0; i < count; i++) {
        size_t end = i + 1 < count ? path[i + 1].begin : text.len;
        bool known = path[i].id != TOK_NONE;
        if (known ? !tok_ids_push(out, path[i].id)
                  : !tok_sp_unknown_push(&u->unknown, span_of(text.ptr + path[i].begin, end - path[i].begin), &run,
                                         out)) {
            return no_memory(text, err);
        }
        run = run && !known;
    }
    return LAMINA_OK;
}

/* What the reference does with a stretch no token covers: it may be one as a whole, else bytes, else unknown. */
static lamina_status emit_stretch(const struct tok_model *m, struct span stretch, struct text_ids *out,
                                  struct lamina_error *err) {
    const struct tok_sp_unknown *un = &((const struct unigram *)m->self)->unknown;
    uint32_t id = 0;
    bool whole = tok_vocab_id(&m->vocab, stretch, &id);
    bool as_bytes = !whole && un->byte_fallback;
    for (size_t i = 0; i < stretch.len && as_bytes; i++) {
        as_bytes = un->byte_id[stretch.ptr[i]] != TOK_NONE;
    }
    for (size_t i = 0; i < stretch.len && as_bytes; i++) {
        if (!tok_ids_push(out, un->byte_id[stretch.ptr[i]])) {
            return no_memory(stretch, err);
        }
    }
    return as_bytes || tok_ids_push(out, whole ? id : un->unk) ? LAMINA_OK : no_memory(stretch, err);
}

static lamina_status emit_json(const struct tok_model *m, struct span text, const struct stop *path, size_t count,
                               struct text_ids *out, struct lamina_error *err) {
    const struct unigram *u = m->self;
    for (size_t i = 0; i < count;) {
        size_t next = i + 1;
        bool unknown = path[i].id == TOK_NONE || path[i].id == u->unknown.unk;
        while (unknown && next < count && (path[next].id == TOK_NONE || path[next].id == u->unknown.unk)) {
            next++;
        }
        size_t end = next < count ? path[next].begin : text.len;
        if (unknown && u->unknown.unk == TOK_NONE) {
            return base_fail(err, LAMINA_DAMAGED,
                             "tokenizer: a character has no token, and the model names no unknown token");
        }
        if (unknown) {
            LAMINA_TRY(emit_stretch(m, span_of(text.ptr + path[i].begin, end - path[i].begin), out, err));
        } else if (!tok_ids_push(out, path[i].id)) {
            return no_memory(text, err);
        }
        i = next;
    }
    return LAMINA_OK;
}

static lamina_status unigram_encode(const struct tok_model *m, struct span piece, struct tok_scratch *s,
                                    struct text_ids *out, struct lamina_error *err) {
    const struct unigram *u = m->self;
    if (piece.len > INT32_MAX / 4) {
        return base_fail(err, LAMINA_UNSUPPORTED, "a text of %zu bytes is too long to tokenise at once", piece.len);
    }
    if (!tok_scratch_need(&s->links, &s->links_cap, (piece.len + 1) * sizeof(struct stop))) {
        return no_memory(piece, err);
    }
    struct stop *stops = s->links;
    for (size_t i = 0; i <= piece.len; i++) {
        stops[i] = (struct stop){.begin = TOK_NONE};
    }
    for (size_t at = 0; at < piece.len; at += tok_char_len(piece.ptr[at])) {
        extend(m, piece, at, stops);
    }
    size_t count = collect(stops, piece.len);
    return u->is_sp ? emit_sp(m, piece, stops, count, out, err) : emit_json(m, piece, stops, count, out, err);
}

/* --- life --- */

static void unigram_close(struct tok_model *m) {
    struct unigram *u = m->self;
    if (u != NULL) {
        tok_trie_drop(&u->trie);
        free(u->scores);
        free(u);
        m->self = NULL;
    }
}

static size_t unigram_bytes(const struct tok_model *m) {
    const struct unigram *u = m->self;
    return sizeof(*u) + u->trie.count * sizeof(*u->trie.nodes) + m->vocab.id_count * sizeof(*u->scores);
}

static const struct tok_model_ops unigram_ops = {
    .encode = unigram_encode, .close = unigram_close, .bytes = unigram_bytes};

static struct unigram *make_unigram(struct tok_model *m, struct lamina_error *err) {
    struct unigram *u = calloc(1, sizeof(*u));
    if (u == NULL) {
        base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
        return NULL;
    }
    m->ops = &unigram_ops;
    m->self = u;
    return u;
}

/* Pieces that text can become; byte, control and unknown pieces never stand for text of their own. */
static lamina_status open_trie(struct unigram *u, const struct tok_model *m, const struct tok_sp_file *f,
                               struct lamina_error *err) {
    uint8_t *wanted = calloc((size_t)m->vocab.id_count + 1, 1);
    if (wanted == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    for (uint32_t id = f->base; id < f->base + f->count; id++) {
        uint8_t type = m->piece_type[id];
        wanted[id] = type == TOK_PIECE_NORMAL || type == TOK_PIECE_USER || type == TOK_PIECE_UNUSED;
    }
    lamina_status status = tok_trie_open(&u->trie, &m->vocab, wanted, err);
    free(wanted);
    return status;
}

lamina_status tok_unigram_open_sp(struct tok_model *m, const struct tok_sp_file *f, struct lamina_error *err) {
    struct unigram *u = make_unigram(m, err);
    if (u == NULL) {
        return LAMINA_NO_FIT;
    }
    float least = FLT_MAX;
    u->is_sp = true;
    u->most = FLT_MIN; /* the least positive number, not the least: so it is in the reference */
    u->scores = calloc((size_t)m->vocab.id_count + 1, sizeof(*u->scores));
    if (u->scores == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    for (uint32_t i = 0; i < f->count; i++) {
        u->scores[f->base + i] = (double)f->scores[i];
        if (m->piece_type[f->base + i] == TOK_PIECE_NORMAL) {
            least = f->scores[i] < least ? f->scores[i] : least;
            u->most = f->scores[i] > u->most ? f->scores[i] : u->most;
        }
    }
    u->unknown_score = (double)(least - (float)UNKNOWN_PENALTY);
    tok_sp_unknown_open(&u->unknown, m, f);
    return open_trie(u, m, f, err);
}

lamina_status tok_unigram_open_json(struct tok_model *m, double *scores, uint32_t unk, bool byte_fallback,
                                    struct lamina_error *err) {
    struct unigram *u = make_unigram(m, err);
    if (u == NULL) {
        free(scores);
        return LAMINA_NO_FIT;
    }
    double least = DBL_MAX;
    u->scores = scores;
    m->byte_fallback = byte_fallback;
    for (uint32_t id = 0; id < m->vocab.id_count; id++) {
        least = scores[id] < least ? scores[id] : least;
    }
    u->unknown_score = least - UNKNOWN_PENALTY;
    u->unknown.unk = unk;
    u->unknown.byte_fallback = byte_fallback;
    tok_byte_ids(&m->vocab, u->unknown.byte_id);
    return tok_trie_open(&u->trie, &m->vocab, NULL, err);
}
