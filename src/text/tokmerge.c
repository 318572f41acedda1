/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte pair encoding without a list of merges: any two neighbours whose concatenation is a piece may merge, best piece
 * first, leftmost first among equals. The order is the score of a SentencePiece model or the rank of a tiktoken file.
 *
 * A text is cut into runs beforehand, at every place where two characters meet that stand side by side in no piece: no
 * merge can cross such a place, so the result is the same, and nearly all runs are words. Short runs rescan an array,
 * long ones use a heap, O(n log n). Models with unused pieces are the exception: such a piece is taken apart again the
 * way it was last put together anywhere in the text, so there the text is one run. */
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "text/tokheap_priv.h"
#include "text/toksp_priv.h"
#include "text/tokunicode_priv.h"

enum { SHORT_RUN = 40 };
#define NO_MERGE UINT32_MAX
#define FROZEN   0x80000000u /* on the start of a symbol: a user-defined piece, which never merges */

struct merger {
    uint32_t *order;  /* by id, least first; NULL: the id itself */
    uint64_t *pairs;  /* one bit per hash of two neighbours inside a piece; NULL: runs are not cut */
    unsigned shift;   /* of the hash, to the number of its bits */
    uint32_t *unused; /* ids, ascending */
    uint32_t unused_count;
    uint32_t longest; /* bytes of a piece */
    struct tok_pattern_set users;
    struct tok_sp_unknown unknown;
    bool whole_first; /* a whole text that is a piece is that piece */
};

/* --- pairs of characters --- */

static size_t pair_bit(const struct merger *b, uint32_t left, uint32_t right) {
    return (size_t)((((uint64_t)left << 21 | right) * 0x9e3779b97f4a7c15u) >> b->shift);
}

/* May say yes where no piece holds the pair; never no where one does. */
static bool may_join(const struct merger *b, uint32_t left, uint32_t right) {
    if (b->pairs == NULL) {
        return true;
    }
    size_t bit = pair_bit(b, left, right);
    return (b->pairs[bit / 64] >> (bit % 64) & 1) != 0;
}

static void note_pairs(struct merger *b, struct span text) {
    uint32_t last = 0;
    for (size_t at = 0; at < text.len;) {
        uint32_t c = 0;
        size_t n = tok_char_at(text, at, &c);
        if (at > 0) {
            size_t bit = pair_bit(b, last, c);
            b->pairs[bit / 64] |= (uint64_t)1 << (bit % 64);
        }
        last = c;
        at += n;
    }
}

/* --- one text --- */

struct cutting {
    const struct tok_model *m;
    const struct merger *b;
    struct span text;
    struct tok_scratch *s;
    struct text_ids *out;
    uint16_t *split;  /* by place in b->unused: bytes of the left part when it was last put together */
    bool unknown_run; /* the last piece was unknown */
};

struct node {
    int32_t prev; /* -1: none */
    int32_t next;
    uint32_t start;
    uint32_t len : 31; /* 0: merged into its left neighbour */
    uint32_t frozen : 1;
};

static uint32_t order_of(const struct cutting *c, uint32_t begin, uint32_t end, uint32_t *id) {
    if (end - begin > c->b->longest || !tok_vocab_id(&c->m->vocab, span_of(c->text.ptr + begin, end - begin), id)) {
        return NO_MERGE;
    }
    return c->b->order == NULL ? *id : c->b->order[*id];
}

static lamina_status no_memory(const struct cutting *c, struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "out of memory for a text of %zu bytes", c->text.len);
}

static bool emit(struct cutting *c, struct span text) {
    uint32_t id = 0;
    if (tok_vocab_id(&c->m->vocab, text, &id) && id != c->b->unknown.unk) {
        c->unknown_run = false;
        return tok_ids_push(c->out, id);
    }
    return tok_sp_unknown_push(&c->b->unknown, text, &c->unknown_run, c->out);
}

/* --- short runs --- */

/* starts[n] is the end of the run. Returns how many symbols are left. */
static size_t merge_short(const struct cutting *c, uint32_t *starts, size_t n) {
    uint32_t orders[SHORT_RUN];
    uint32_t id = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        orders[i] = order_of(c, starts[i], starts[i + 2], &id);
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            best = orders[i] < orders[best] ? i : best;
        }
        if (orders[best] == NO_MERGE) {
            break;
        }
        memmove(starts + best + 1, starts + best + 2, (n - best - 1) * sizeof(*starts));
        if (n - best > 2) {
            memmove(orders + best, orders + best + 1, (n - best - 2) * sizeof(*orders));
        }
        n--;
        if (best > 0) {
            orders[best - 1] = order_of(c, starts[best - 1], starts[best + 1], &id);
        }
        if (best + 1 < n) {
            orders[best] = order_of(c, starts[best], starts[best + 2], &id);
        }
    }
    return n;
}

/* --- long runs --- */

static int compare_u32(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static void note_split(const struct cutting *c, uint32_t id, uint32_t left_len) {
    const uint32_t *place =
        c->split == NULL ? NULL : bsearch(&id, c->b->unused, c->b->unused_count, sizeof(id), compare_u32);
    if (place != NULL) {
        c->split[place - c->b->unused] = (uint16_t)left_len;
    }
}

static bool candidate(const struct cutting *c, const struct node *nodes, int32_t left, int32_t right,
                      struct tok_candidate *made) {
    if (left < 0 || right < 0 || nodes[left].frozen || nodes[right].frozen) {
        return false;
    }
    uint32_t id = 0;
    uint32_t len = nodes[left].len + nodes[right].len;
    uint32_t order = order_of(c, nodes[left].start, nodes[left].start + len, &id);
    if (order == NO_MERGE) {
        return false;
    }
    note_split(c, id, nodes[left].len);
    *made = (struct tok_candidate){.order = (uint64_t)order << 32 | (uint32_t)left, .tag = len};
    return true;
}

static void offer(const struct cutting *c, struct tok_heap *h, const struct node *nodes, int32_t left, int32_t right) {
    struct tok_candidate made;
    if (candidate(c, nodes, left, right, &made)) {
        tok_heap_push(h, made);
    }
}

static void make_nodes(const struct cutting *c, struct tok_heap *h, struct node *nodes, const uint32_t *starts,
                       size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t begin = starts[i] & ~FROZEN;
        nodes[i] = (struct node){.prev = (int32_t)i - 1,
                                 .next = i + 1 < n ? (int32_t)i + 1 : -1,
                                 .start = begin,
                                 .len = ((starts[i + 1] & ~FROZEN) - begin) & ~FROZEN,
                                 .frozen = (starts[i] & FROZEN) != 0};
    }
    for (size_t i = 0; i + 1 < n; i++) {
        struct tok_candidate made;
        if (candidate(c, nodes, (int32_t)i, (int32_t)i + 1, &made)) {
            h->items[h->count++] = made;
        }
    }
    tok_heap_make(h);
}

/* A candidate whose length is not that of its two symbols any more is stale: symbols only grow, so it stays so. Each
 * merge offers at most two new ones, so the heap holds fewer than 3 n. */
static void merge_long(const struct cutting *c, struct tok_heap *h, struct node *nodes) {
    while (h->count > 0) {
        struct tok_candidate top = tok_heap_pop(h);
        int32_t left = (int32_t)(uint32_t)top.order;
        int32_t right = nodes[left].next;
        if (nodes[left].len == 0 || right < 0 || (uint32_t)nodes[left].len + nodes[right].len != top.tag) {
            continue;
        }
        nodes[left].len = top.tag & ~FROZEN;
        nodes[left].next = nodes[right].next;
        if (nodes[right].next >= 0) {
            nodes[nodes[right].next].prev = left;
        }
        nodes[right].len = 0;
        offer(c, h, nodes, nodes[left].prev, left);
        offer(c, h, nodes, left, nodes[left].next);
    }
}

/* An unused piece gives way to the two it was made of, and these likewise. */
static bool emit_parts(struct cutting *c, struct span text) {
    struct span *stack = (struct span *)(void *)c->s->extra; /* behind it: c->split */
    size_t depth = 0;
    stack[depth++] = text;
    while (depth > 0) {
        struct span part = stack[--depth];
        uint32_t id = 0;
        const uint32_t *place = tok_vocab_id(&c->m->vocab, part, &id)
                                    ? bsearch(&id, c->b->unused, c->b->unused_count, sizeof(id), compare_u32)
                                    : NULL;
        size_t left = place == NULL ? 0 : c->split[place - c->b->unused];
        if (left == 0 || left >= part.len) {
            if (!emit(c, part)) {
                return false;
            }
            continue;
        }
        stack[depth++] = span_sub(part, left, part.len);
        stack[depth++] = span_of(part.ptr, left);
    }
    return true;
}

static lamina_status run_long(struct cutting *c, const uint32_t *starts, size_t n, struct lamina_error *err) {
    if (!tok_scratch_need(&c->s->links, &c->s->links_cap, n * sizeof(struct node)) ||
        !tok_scratch_need(&c->s->queue, &c->s->queue_cap, 3 * n * sizeof(struct tok_candidate))) {
        return no_memory(c, err);
    }
    struct tok_heap h = {.items = c->s->queue};
    struct node *nodes = c->s->links;
    make_nodes(c, &h, nodes, starts, n);
    merge_long(c, &h, nodes);
    for (int32_t i = 0; i >= 0; i = nodes[i].next) {
        struct span text = span_of(c->text.ptr + nodes[i].start, nodes[i].len);
        if (!(c->split != NULL ? emit_parts(c, text) : emit(c, text))) {
            return no_memory(c, err);
        }
    }
    return LAMINA_OK;
}

/* The run of n symbols that ends at `end`. */
static lamina_status run(struct cutting *c, size_t n, size_t end, struct lamina_error *err) {
    if (n == 0) {
        return LAMINA_OK;
    }
    uint32_t *starts = c->s->symbols;
    starts[n] = (uint32_t)end;
    if (n > SHORT_RUN || c->split != NULL) {
        return run_long(c, starts, n, err);
    }
    n = merge_short(c, starts, n);
    for (size_t i = 0; i < n; i++) {
        if (!emit(c, span_of(c->text.ptr + starts[i], starts[i + 1] - starts[i]))) {
            return no_memory(c, err);
        }
    }
    return LAMINA_OK;
}

static bool push_symbol(struct cutting *c, size_t *n, size_t at, bool frozen) {
    void *block = c->s->symbols;
    if (!tok_scratch_need(&block, &c->s->symbols_cap, (*n + 2) * sizeof(uint32_t))) {
        return false;
    }
    c->s->symbols = block;
    c->s->symbols[(*n)++] = (uint32_t)at | (frozen ? FROZEN : 0);
    return true;
}

static lamina_status cut_text(struct cutting *c, struct lamina_error *err) {
    const struct merger *b = c->b;
    size_t n = 0;      /* symbols of the run at hand */
    uint32_t last = 0; /* its last character */
    for (size_t at = 0; at < c->text.len;) {
        size_t len = tok_sp_users_at(&b->users, span_of(c->text.ptr + at, c->text.len - at));
        if (len > 0 && c->split == NULL) {
            LAMINA_TRY(run(c, n, at, err));
            n = 0;
            if (!emit(c, span_of(c->text.ptr + at, len))) {
                return no_memory(c, err);
            }
            at += len;
            continue;
        }
        uint32_t character = 0;
        size_t size = tok_char_at(c->text, at, &character);
        if (n > 0 && len == 0 && !may_join(b, last, character)) {
            LAMINA_TRY(run(c, n, at, err));
            n = 0;
        }
        if (!push_symbol(c, &n, at, len > 0)) {
            return no_memory(c, err);
        }
        last = character;
        at += len > 0 ? len : size;
    }
    return run(c, n, c->text.len, err);
}

static lamina_status merge_encode(const struct tok_model *m, struct span piece, struct tok_scratch *s,
                                  struct text_ids *out, struct lamina_error *err) {
    const struct merger *b = m->self;
    struct cutting c = {.m = m, .b = b, .text = piece, .s = s, .out = out};
    uint32_t whole = 0;
    if (piece.len > INT32_MAX / 4) {
        return base_fail(err, LAMINA_UNSUPPORTED, "a text of %zu bytes is too long to tokenise at once", piece.len);
    }
    if (b->whole_first && tok_vocab_id(&m->vocab, piece, &whole)) {
        return tok_ids_push(out, whole) ? LAMINA_OK : no_memory(&c, err);
    }
    if (b->unused_count > 0) {
        size_t stack = (b->longest + 2) * sizeof(struct span); /* a part is at least one byte */
        size_t bytes = stack + b->unused_count * sizeof(uint16_t);
        if (!tok_scratch_need(&s->extra, &s->extra_cap, bytes)) {
            return no_memory(&c, err);
        }
        c.split = (uint16_t *)(void *)((char *)s->extra + stack);
        memset(c.split, 0, b->unused_count * sizeof(uint16_t));
    }
    return cut_text(&c, err);
}

/* --- life --- */

static void merge_close(struct tok_model *m) {
    struct merger *b = m->self;
    if (b != NULL) {
        free(b->order);
        free(b->pairs);
        free(b->unused);
        free(b->users.list);
        free(b);
        m->self = NULL;
    }
}

static size_t merge_bytes(const struct tok_model *m) {
    const struct merger *b = m->self;
    size_t pairs = b->pairs == NULL ? 0 : ((size_t)1 << (64 - b->shift)) / 8;
    return sizeof(*b) + pairs + (b->order == NULL ? 0 : m->vocab.id_count * sizeof(*b->order)) +
           b->unused_count * sizeof(*b->unused) + b->users.count * sizeof(*b->users.list);
}

static const struct tok_model_ops merge_ops = {.encode = merge_encode, .close = merge_close, .bytes = merge_bytes};

static struct merger *make_merger(struct tok_model *m, struct lamina_error *err) {
    struct merger *b = calloc(1, sizeof(*b));
    if (b == NULL) {
        base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
        return NULL;
    }
    m->ops = &merge_ops;
    m->self = b;
    for (uint32_t id = 0; id < m->vocab.id_count; id++) {
        struct span text = {0};
        if (tok_vocab_text(&m->vocab, id, &text) && text.len > b->longest) {
            b->longest = (uint32_t)text.len;
        }
    }
    return b;
}

lamina_status tok_merge_open_ranks(struct tok_model *m, struct lamina_error *err) {
    struct merger *b = make_merger(m, err);
    if (b == NULL) {
        return LAMINA_NO_FIT;
    }
    b->whole_first = true;
    b->unknown.unk = TOK_NONE;
    return LAMINA_OK;
}

/* Higher scores first, as numbers that compare like that. Scores are finite; -0 equals 0. */
static uint32_t order_of_score(float score) {
    uint32_t bits = 0;
    float value = score == 0 ? 0 : score;
    memcpy(&bits, &value, sizeof(bits));
    return (bits & 0x80000000u) != 0 ? bits : ~(bits | 0x80000000u);
}

static bool mergeable(uint8_t type) {
    return type == TOK_PIECE_NORMAL || type == TOK_PIECE_USER || type == TOK_PIECE_UNUSED;
}

/* One bit in sixteen is taken at most, so few places look like joins that are none. */
static bool make_pairs(struct merger *b, const struct tok_model *m) {
    unsigned bits = 16;
    while (bits < 24 && (uint32_t)1 << bits < m->vocab.count * 16) {
        bits++;
    }
    b->shift = 64 - bits;
    b->pairs = calloc(((size_t)1 << bits) / 64, sizeof(*b->pairs));
    for (uint32_t id = 0; id < m->vocab.id_count && b->pairs != NULL; id++) {
        struct span text = {0};
        if (mergeable(m->piece_type[id]) && tok_vocab_text(&m->vocab, id, &text)) {
            note_pairs(b, text);
        }
    }
    return b->pairs != NULL;
}

lamina_status tok_merge_open_sp(struct tok_model *m, const struct tok_sp_file *f, struct lamina_error *err) {
    struct merger *b = make_merger(m, err);
    if (b == NULL) {
        return LAMINA_NO_FIT;
    }
    uint32_t unused = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        unused += m->piece_type[f->base + i] == TOK_PIECE_UNUSED;
    }
    b->order = reallocarray(NULL, m->vocab.id_count + 1, sizeof(*b->order));
    b->unused = reallocarray(NULL, unused + 1, sizeof(*b->unused));
    if (b->order == NULL || b->unused == NULL || !tok_sp_users_open(&b->users, m) ||
        (unused == 0 && !make_pairs(b, m))) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    memset(b->order, 0xff, m->vocab.id_count * sizeof(*b->order));
    for (uint32_t i = 0; i < f->count; i++) {
        uint8_t type = m->piece_type[f->base + i];
        b->order[f->base + i] = mergeable(type) ? order_of_score(f->scores[i]) : NO_MERGE;
        if (type == TOK_PIECE_UNUSED) {
            b->unused[b->unused_count++] = f->base + i;
        }
    }
    tok_sp_unknown_open(&b->unknown, m, f);
    return LAMINA_OK;
}
