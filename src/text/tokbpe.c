/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte pair encoding: characters to ids, then always the adjacent pair of lowest rank, leftmost first, until none
 * is left (Sennrich et al. 2016; order of ties and treatment of unknown characters as in the reference tokenizer).
 * Short pieces rescan an array, long ones use a heap, O(n log n); both give the same ids. Knows nothing of regular
 * expressions or added tokens. */
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "text/tokheap_priv.h"
#include "text/tokmodel_priv.h"
#include "text/tokunicode_priv.h"

enum { SHORT_PIECE = 40, CHAR_TABLE = 0x800, MERGE_LIMIT = 1 << 23 };

struct merge {
    uint64_t pair; /* left id << 32 | right id; EMPTY: free */
    uint32_t rank;
    uint32_t id;
};
#define EMPTY UINT64_MAX

struct bpe {
    struct merge *merges; /* open addressing, linear probing */
    size_t merge_mask;
    uint32_t merge_count;
    uint32_t rank; /* of the next merge */
    bool fuse_unk;
    bool ignore_merges;
    bool has_unk;
    bool all_bytes; /* byte_fallback with every byte present: the usual case */
    bool byte_fallback;
    uint32_t unk; /* TOK_NONE: named but not in the vocabulary */
    struct str prefix;
    struct str suffix;
    uint32_t byte_id[256];
    uint32_t char_id[CHAR_TABLE]; /* ids of one and two byte characters */
};

void tok_scratch_drop(struct tok_scratch *s) {
    free(s->symbols);
    free(s->links);
    free(s->queue);
    free(s->extra);
    str_drop(&s->word);
    *s = (struct tok_scratch){0};
}

bool tok_scratch_need(void **block, size_t *cap, size_t bytes) {
    if (bytes <= *cap) {
        return true;
    }
    size_t want = bytes < 4096 ? 4096 : bytes + bytes / 2;
    void *grown = realloc(*block, want);
    if (grown == NULL) {
        return false;
    }
    *block = grown;
    *cap = want;
    return true;
}

bool tok_ids_push(struct text_ids *ids, uint32_t id) {
    if (UNLIKELY(ids->count == ids->cap)) {
        size_t cap = ids->cap == 0 ? 64 : ids->cap * 2;
        uint32_t *grown = reallocarray(ids->ids, cap, sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        ids->ids = grown;
        ids->cap = cap;
    }
    ids->ids[ids->count++] = id;
    return true;
}

void tok_bpe_options_drop(struct tok_bpe_options *o) {
    str_drop(&o->unk);
    str_drop(&o->prefix);
    str_drop(&o->suffix);
}

static size_t pair_slot(const struct bpe *b, uint64_t pair) {
    uint64_t h = pair * 0x9e3779b97f4a7c15u;
    size_t slot = (size_t)(h >> 24) & b->merge_mask;
    while (b->merges[slot].pair != pair && b->merges[slot].pair != EMPTY) {
        slot = (slot + 1) & b->merge_mask;
    }
    return slot;
}

/* One probe of one cache line in the usual case: this lookup is most of the time that encoding takes. */
static const struct merge *merge_of(const struct bpe *b, uint32_t left, uint32_t right) {
    if (b->merges == NULL) {
        return NULL;
    }
    const struct merge *m = &b->merges[pair_slot(b, (uint64_t)left << 32 | right)];
    return m->pair == EMPTY ? NULL : m;
}

static bool grow_merges(struct bpe *b) {
    size_t size = b->merges == NULL ? 1024 : (b->merge_mask + 1) * 2;
    struct merge *fresh = reallocarray(NULL, size, sizeof(*fresh));
    if (fresh == NULL) {
        return false;
    }
    memset(fresh, 0xff, size * sizeof(*fresh));
    struct merge *old = b->merges;
    size_t old_size = old == NULL ? 0 : b->merge_mask + 1;
    b->merges = fresh;
    b->merge_mask = size - 1;
    for (size_t i = 0; i < old_size; i++) {
        if (old[i].pair != EMPTY) {
            fresh[pair_slot(b, old[i].pair)] = old[i];
        }
    }
    free(old);
    return true;
}

enum tok_merge_result tok_bpe_add_merge(struct tok_model *m, struct span left, struct span right) {
    struct bpe *b = m->self;
    char whole[2 * TOK_TOKEN_LIMIT];
    uint32_t left_id = 0;
    uint32_t right_id = 0;
    uint32_t id = 0;
    if (!tok_vocab_id(&m->vocab, left, &left_id) || !tok_vocab_id(&m->vocab, right, &right_id) ||
        right.len < b->prefix.len) {
        return TOK_MERGE_UNKNOWN;
    }
    memcpy(whole, left.ptr, left.len);
    memcpy(whole + left.len, right.ptr + b->prefix.len, right.len - b->prefix.len);
    if (!tok_vocab_id(&m->vocab, span_of(whole, left.len + right.len - b->prefix.len), &id)) {
        return TOK_MERGE_UNKNOWN;
    }
    /* Load at most 0.6: 280,000 merges take 8 MiB. */
    if ((b->merges == NULL || b->merge_count >= (b->merge_mask + 1) / 5 * 3) && !grow_merges(b)) {
        return TOK_MERGE_NO_MEMORY;
    }
    uint64_t pair = (uint64_t)left_id << 32 | right_id;
    struct merge *slot = &b->merges[pair_slot(b, pair)];
    b->merge_count += slot->pair == EMPTY;
    *slot = (struct merge){.pair = pair, .rank = b->rank++, .id = id}; /* a repeated pair keeps its last rank */
    return b->rank > MERGE_LIMIT ? TOK_MERGE_NO_MEMORY : TOK_MERGE_OK;
}

/* --- first symbols of a piece --- */

static uint32_t id_of_char(const struct tok_model *m, const struct bpe *b, struct span c) {
    if (c.len <= 2) {
        return b->char_id[c.len == 1 ? c.ptr[0] : (uint32_t)(c.ptr[0] & 0x1f) << 6 | (c.ptr[1] & 0x3fu)];
    }
    uint32_t id = 0;
    return tok_vocab_id(&m->vocab, c, &id) ? id : TOK_NONE;
}

/* The vocabulary's text of the character at [at, at + n): with prefix where it continues, suffix where it ends the
 * word. */
static struct span decorate(const struct bpe *b, struct span piece, size_t at, size_t n, struct str *word) {
    bool prefixed = at > 0 && b->prefix.len > 0;
    bool suffixed = at + n == piece.len && b->suffix.len > 0;
    if (!prefixed && !suffixed) {
        return span_of(piece.ptr + at, n);
    }
    str_clear(word);
    if (prefixed) {
        str_add(word, b->prefix.ptr, b->prefix.len);
    }
    str_add(word, piece.ptr + at, n);
    if (suffixed) {
        str_add(word, b->suffix.ptr, b->suffix.len);
    }
    return str_span(word);
}

/* All bytes of the character or none: a vocabulary may hold only some of the byte tokens. */
static bool fall_back(const struct bpe *b, struct span c, uint32_t *symbols, size_t *count) {
    if (!b->byte_fallback) {
        return false;
    }
    for (size_t i = 0; i < c.len && !b->all_bytes; i++) {
        if (b->byte_id[c.ptr[i]] == TOK_NONE) {
            return false;
        }
    }
    for (size_t i = 0; i < c.len; i++) {
        symbols[(*count)++] = b->byte_id[c.ptr[i]];
    }
    return true;
}

/* A pending unknown is written before the next known character, not before byte tokens: the reference does so too. A
 * character without any token and without an unknown token vanishes. */
static lamina_status first_symbols(const struct tok_model *m, struct span piece, struct tok_scratch *s, size_t *count,
                                   struct lamina_error *err) {
    const struct bpe *b = m->self;
    size_t more = b->prefix.len + b->suffix.len;
    void *block = s->symbols;
    if (!tok_scratch_need(&block, &s->symbols_cap, (piece.len * (1 + more) + 1) * sizeof(uint32_t))) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a text of %zu bytes", piece.len);
    }
    s->symbols = block;
    uint32_t *symbols = s->symbols;
    size_t n = 0;
    bool pending = false;
    for (size_t at = 0; at < piece.len;) {
        size_t len = tok_char_len(piece.ptr[at]);
        struct span c = more == 0 ? span_of(piece.ptr + at, len) : decorate(b, piece, at, len, &s->word);
        uint32_t id = id_of_char(m, b, c);
        at += len;
        if (LIKELY(id != TOK_NONE)) {
            if (pending) {
                symbols[n++] = b->unk;
                pending = false;
            }
            symbols[n++] = id;
        } else if (!fall_back(b, c, symbols, &n) && b->has_unk) {
            if (b->unk == TOK_NONE) {
                return base_fail(err, LAMINA_DAMAGED,
                                 "tokenizer: a character has no token, and the unknown token named "
                                 "by the model is not in its vocabulary");
            }
            if (pending && !b->fuse_unk) {
                symbols[n++] = b->unk;
            }
            pending = true;
        }
    }
    if (pending) {
        symbols[n++] = b->unk;
    }
    *count = n;
    return LAMINA_OK;
}

/* --- merging --- */

/* For pieces of a word's length scanning beats a heap: all pairs lie in a few cache lines. */
static size_t merge_short(const struct bpe *b, uint32_t *ids, size_t n) {
    const struct merge *pairs[SHORT_PIECE];
    for (size_t i = 0; i + 1 < n; i++) {
        pairs[i] = merge_of(b, ids[i], ids[i + 1]);
    }
    while (n > 1) {
        size_t best = n;
        uint32_t rank = UINT32_MAX;
        for (size_t i = 0; i + 1 < n; i++) {
            if (pairs[i] != NULL && pairs[i]->rank < rank) {
                rank = pairs[i]->rank;
                best = i;
            }
        }
        if (best == n) {
            break;
        }
        ids[best] = pairs[best]->id;
        memmove(ids + best + 1, ids + best + 2, (n - best - 2) * sizeof(*ids));
        if (n - best > 2) {
            memmove(pairs + best, pairs + best + 1, (n - best - 2) * sizeof(pairs[0]));
        }
        n--;
        if (best > 0) {
            pairs[best - 1] = merge_of(b, ids[best - 1], ids[best]);
        }
        if (best + 1 < n) {
            pairs[best] = merge_of(b, ids[best], ids[best + 1]);
        }
    }
    return n;
}

struct link {
    int32_t prev; /* -1: none */
    int32_t next; /* -1: none, DEAD: merged into its left neighbour */
};
#define DEAD (-2)

static void offer(const struct bpe *b, struct tok_heap *h, const uint32_t *ids, int32_t left, int32_t right) {
    const struct merge *m = merge_of(b, ids[left], ids[right]);
    if (m != NULL) {
        tok_heap_push(h, (struct tok_candidate){.order = (uint64_t)m->rank << 32 | (uint32_t)left, .tag = m->id});
    }
}

/* Entries of the heap are never removed early: one that no longer describes its pair is dropped when it surfaces. Each
 * merge offers at most two new pairs, so the heap holds fewer than 3 n entries. */
static void merge_long(const struct bpe *b, struct tok_heap *h, struct link *links, uint32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        links[i] = (struct link){.prev = (int32_t)i - 1, .next = i + 1 < n ? (int32_t)i + 1 : -1};
        if (i + 1 < n) {
            const struct merge *m = merge_of(b, ids[i], ids[i + 1]);
            if (m != NULL) {
                h->items[h->count++] = (struct tok_candidate){.order = (uint64_t)m->rank << 32 | i, .tag = m->id};
            }
        }
    }
    tok_heap_make(h);
    while (h->count > 0) {
        struct tok_candidate top = tok_heap_pop(h);
        int32_t at = (int32_t)(uint32_t)top.order;
        int32_t right = links[at].next;
        if (right < 0) { /* DEAD or last */
            continue;
        }
        const struct merge *m = merge_of(b, ids[at], ids[right]);
        if (m == NULL || m->id != top.tag) {
            continue;
        }
        ids[at] = top.tag;
        int32_t next = links[right].next;
        links[at].next = next;
        links[right].next = DEAD;
        if (links[at].prev >= 0) {
            offer(b, h, ids, links[at].prev, at);
        }
        if (next >= 0) {
            links[next].prev = at;
            offer(b, h, ids, at, next);
        }
    }
}

static lamina_status encode_long(const struct bpe *b, struct tok_scratch *s, size_t *count, struct lamina_error *err) {
    size_t n = *count;
    if (n > INT32_MAX / 4) {
        return base_fail(err, LAMINA_UNSUPPORTED, "a piece of %zu characters without a split is too long", n);
    }
    if (!tok_scratch_need(&s->links, &s->links_cap, n * sizeof(struct link)) ||
        !tok_scratch_need(&s->queue, &s->queue_cap, 3 * n * sizeof(struct tok_candidate))) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a piece of %zu characters", n);
    }
    struct tok_heap h = {.items = s->queue};
    struct link *links = s->links;
    merge_long(b, &h, links, s->symbols, n);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (links[i].next != DEAD) {
            s->symbols[kept++] = s->symbols[i];
        }
    }
    *count = kept;
    return LAMINA_OK;
}

static lamina_status bpe_encode(const struct tok_model *m, struct span piece, struct tok_scratch *s,
                                struct text_ids *out, struct lamina_error *err) {
    const struct bpe *b = m->self;
    uint32_t whole = 0;
    size_t n = 0;
    if (b->ignore_merges && tok_vocab_id(&m->vocab, piece, &whole)) {
        return tok_ids_push(out, whole) ? LAMINA_OK : base_fail(err, LAMINA_NO_FIT, "out of memory for ids");
    }
    LAMINA_TRY(first_symbols(m, piece, s, &n, err));
    if (n <= SHORT_PIECE) {
        n = merge_short(b, s->symbols, n);
    } else {
        LAMINA_TRY(encode_long(b, s, &n, err));
    }
    for (size_t i = 0; i < n; i++) {
        if (!tok_ids_push(out, s->symbols[i])) {
            return base_fail(err, LAMINA_NO_FIT, "out of memory for ids");
        }
    }
    return LAMINA_OK;
}

/* --- life --- */

static void bpe_close(struct tok_model *m) {
    struct bpe *b = m->self;
    if (b != NULL) {
        free(b->merges);
        str_drop(&b->prefix);
        str_drop(&b->suffix);
        free(b);
        m->self = NULL;
    }
}

static size_t bpe_bytes(const struct tok_model *m) {
    const struct bpe *b = m->self;
    return sizeof(*b) + (b->merges == NULL ? 0 : (b->merge_mask + 1) * sizeof(struct merge)) + b->prefix.cap +
           b->suffix.cap;
}

static const struct tok_model_ops bpe_ops = {.encode = bpe_encode, .close = bpe_close, .bytes = bpe_bytes};

/* Direct ids for what nearly every character of a byte-level or Latin text is. */
static void fill_tables(struct bpe *b, const struct tok_vocab *v) {
    b->all_bytes = tok_byte_ids(v, b->byte_id);
    for (uint32_t c = 0; c < CHAR_TABLE; c++) {
        uint8_t bytes[4];
        if (!tok_vocab_id(v, span_of(bytes, utf8_encode(c, bytes)), &b->char_id[c])) {
            b->char_id[c] = TOK_NONE;
        }
    }
}

lamina_status tok_bpe_open(struct tok_model *m, const struct tok_bpe_options *o, struct lamina_error *err) {
    if (o->prefix.len > TOK_TOKEN_LIMIT || o->suffix.len > TOK_TOKEN_LIMIT) {
        return base_fail(err, LAMINA_UNSUPPORTED, "a word prefix or suffix of %zu bytes, the limit is %d",
                         o->prefix.len > o->suffix.len ? o->prefix.len : o->suffix.len, TOK_TOKEN_LIMIT);
    }
    struct bpe *b = calloc(1, sizeof(*b));
    if (b == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    m->ops = &bpe_ops;
    m->self = b;
    m->byte_fallback = o->byte_fallback;
    b->fuse_unk = o->fuse_unk;
    b->byte_fallback = o->byte_fallback;
    b->ignore_merges = o->ignore_merges;
    b->has_unk = o->has_unk;
    str_add_span(&b->prefix, str_span(&o->prefix));
    str_add_span(&b->suffix, str_span(&o->suffix));
    if (b->prefix.failed || b->suffix.failed) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    b->unk = TOK_NONE;
    if (o->has_unk && !tok_vocab_id(&m->vocab, str_span(&o->unk), &b->unk)) {
        b->unk = TOK_NONE;
    }
    fill_tables(b, &m->vocab);
    return LAMINA_OK;
}
