/* SPDX-License-Identifier: Apache-2.0
 *
 * The trie is made level by level from the sorted tokens: a node is a range of them that share a beginning. */
#include "text/toktrie_priv.h"

#include <stdlib.h>

enum { NODE_LIMIT = 1 << 24 };

struct entry {
    const uint8_t *text;
    uint32_t len;
    uint32_t id;
};

struct range {
    uint32_t low;
    uint32_t high;
};

struct building {
    struct tok_trie *t;
    struct entry *entries;
    struct range *ranges; /* of each node */
    uint32_t cap;
};

static int compare_entries(const void *left, const void *right) {
    const struct entry *a = left;
    const struct entry *b = right;
    size_t n = a->len < b->len ? a->len : b->len;
    int order = n == 0 ? 0 : memcmp(a->text, b->text, n);
    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

static bool add_node(struct building *b, uint8_t label, struct range range) {
    if (b->t->count == b->cap) {
        uint32_t cap = b->cap == 0 ? 1024 : b->cap * 2;
        struct tok_trie_node *nodes = reallocarray(b->t->nodes, cap, sizeof(*nodes));
        if (nodes == NULL) {
            return false;
        }
        b->t->nodes = nodes;
        struct range *ranges = reallocarray(b->ranges, cap, sizeof(*ranges));
        if (ranges == NULL) {
            return false;
        }
        b->ranges = ranges;
        b->cap = cap;
    }
    b->ranges[b->t->count] = range;
    b->t->nodes[b->t->count++] = (struct tok_trie_node){.id = TOK_NONE, .label = label};
    return true;
}

/* Gives a node its children: one for each byte that follows the `depth` bytes its tokens share. */
static bool grow_node(struct building *b, uint32_t node, uint32_t depth) {
    struct range r = b->ranges[node];
    if (r.low < r.high && b->entries[r.low].len == depth) {
        b->t->nodes[node].id = b->entries[r.low++].id;
    }
    b->t->nodes[node].child = b->t->count;
    while (r.low < r.high) {
        uint8_t label = b->entries[r.low].text[depth];
        uint32_t end = r.low + 1;
        while (end < r.high && b->entries[end].text[depth] == label) {
            end++;
        }
        if (!add_node(b, label, (struct range){.low = r.low, .high = end})) {
            return false;
        }
        b->t->nodes[node].children++;
        r.low = end;
    }
    return true;
}

static lamina_status build(struct building *b, uint32_t entries, struct lamina_error *err) {
    uint32_t level_end = 1; /* first node of the next level */
    uint32_t depth = 0;
    bool fits = add_node(b, 0, (struct range){.low = 0, .high = entries});
    for (uint32_t node = 0; fits && node < b->t->count; node++) {
        if (node == level_end) {
            level_end = b->t->count;
            depth++;
        }
        fits = grow_node(b, node, depth);
        if (b->t->count > NODE_LIMIT) {
            return base_fail(err, LAMINA_UNSUPPORTED, "the tokens of the vocabulary differ too much: %d trie nodes",
                             NODE_LIMIT);
        }
    }
    if (!fits) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a vocabulary of %u tokens", entries);
    }
    struct tok_trie_node *fitted = reallocarray(b->t->nodes, b->t->count, sizeof(*fitted));
    b->t->nodes = fitted != NULL ? fitted : b->t->nodes; /* growing doubled it */
    return LAMINA_OK;
}

lamina_status tok_trie_open(struct tok_trie *t, const struct tok_vocab *v, const uint8_t *types,
                            struct lamina_error *err) {
    struct building b = {.t = t};
    uint32_t count = 0;
    lamina_status status = LAMINA_OK;
    b.entries = reallocarray(NULL, (size_t)v->id_count + 1, sizeof(*b.entries));
    if (b.entries == NULL) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory for a vocabulary of %u tokens", v->count);
    }
    for (uint32_t id = 0; id < v->id_count && status == LAMINA_OK; id++) {
        struct span text = {0};
        if ((types == NULL || types[id] != 0) && tok_vocab_text(v, id, &text) && text.len > 0) {
            b.entries[count++] = (struct entry){.text = text.ptr, .len = (uint32_t)text.len, .id = id};
        }
    }
    if (status == LAMINA_OK) {
        qsort(b.entries, count, sizeof(*b.entries), compare_entries);
        status = build(&b, count, err);
    }
    free(b.entries);
    free(b.ranges);
    return status;
}

void tok_trie_drop(struct tok_trie *t) {
    free(t->nodes);
    *t = (struct tok_trie){0};
}
