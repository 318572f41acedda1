/* SPDX-License-Identifier: Apache-2.0
 *
 * The added-token splitter. Patterns are few and rarely begin at a given byte, so the search is a table by first
 * byte and a narrowing of the sorted list, not an automaton: no memory beyond the list, and plain text runs at
 * table-lookup speed. Rules measured against the reference: stripping is done on the text around a match, but the
 * search goes on right behind the match itself, and a refused match (special while skipping, not a single word) is
 * consumed as plain text. */
#include "text/tokadded_priv.h"

#include <stdlib.h>
#include <string.h>

#include "text/tokunicode_priv.h"

static struct span text_of(const struct tok_added_token *t) {
    return span_of(t->text, t->len);
}

static int compare_spans(struct span a, struct span b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* by_text is kept sorted while tokens come, so that a repeated text is noticed. */
static uint32_t text_place(const struct tok_added *a, struct span text, bool *found) {
    uint32_t low = 0;
    uint32_t high = a->count;
    *found = false;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        int order = compare_spans(text_of(&a->list[a->by_text[mid]]), text);
        if (order == 0) {
            *found = true;
            return mid;
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

struct tok_added_token *tok_added_find_text(const struct tok_added *a, struct span text) {
    bool found = false;
    uint32_t place = text_place(a, text, &found);
    return found ? &a->list[a->by_text[place]] : NULL;
}

static bool grow(struct tok_added *a) {
    uint32_t cap = a->cap == 0 ? 64 : a->cap * 2;
    struct tok_added_token *list = reallocarray(a->list, cap, sizeof(*list));
    if (list == NULL) {
        return false;
    }
    a->list = list;
    uint32_t *by_text = reallocarray(a->by_text, cap, sizeof(*by_text));
    if (by_text == NULL) {
        return false;
    }
    a->by_text = by_text;
    a->cap = cap;
    return true;
}

struct tok_added_token *tok_added_put(struct tok_added *a, struct span text, const struct tok_added_token *flags) {
    bool found = false;
    uint32_t place = text_place(a, text, &found);
    struct tok_added_token *t = NULL;
    if (found) {
        t = &a->list[a->by_text[place]];
    } else {
        if (a->count == a->cap && !grow(a)) {
            return NULL;
        }
        char *copy = malloc(text.len + 1);
        if (copy == NULL) {
            return NULL;
        }
        memcpy(copy, text.ptr, text.len);
        copy[text.len] = 0;
        memmove(a->by_text + place + 1, a->by_text + place, (a->count - place) * sizeof(*a->by_text));
        a->by_text[place] = a->count;
        t = &a->list[a->count++];
        *t = (struct tok_added_token){.text = copy, .len = (uint32_t)text.len};
        a->bytes += text.len + 1;
    }
    t->id = flags->id;
    t->single_word = flags->single_word;
    t->lstrip = flags->lstrip;
    t->rstrip = flags->rstrip;
    t->normalized = flags->normalized;
    t->where = flags->where;
    t->special = t->special || flags->special;
    return t;
}

/* Sorting puts every pattern behind its own prefixes, which is what lets the search take the last one that fits. */
static int compare_patterns(const void *left, const void *right) {
    const struct tok_pattern *a = left;
    const struct tok_pattern *b = right;
    int order = compare_spans(span_of(a->text, a->len), span_of(b->text, b->len));
    return order != 0 ? order : (a->token > b->token) - (a->token < b->token);
}

void tok_patterns_sort(struct tok_pattern_set *set) {
    qsort(set->list, set->count, sizeof(*set->list), compare_patterns);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        const struct tok_pattern *p = &set->list[i];
        if (kept == 0 || set->list[kept - 1].len != p->len || memcmp(set->list[kept - 1].text, p->text, p->len) != 0) {
            set->list[kept++] = *p;
        }
    }
    set->count = kept;
    uint32_t at = 0;
    for (uint32_t byte = 0; byte < 256; byte++) {
        set->first[byte] = at;
        while (at < set->count && (uint8_t)set->list[at].text[0] == byte) {
            at++;
        }
    }
    set->first[256] = at;
}

/* Two tokens may look alike once normalised: the first one added is found. */
static bool build_set(const struct tok_added *a, struct tok_pattern_set *set, bool normalized) {
    set->list = calloc(a->count + 1, sizeof(*set->list));
    if (set->list == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        const struct tok_added_token *t = &a->list[i];
        const char *text = t->match != NULL ? t->match : t->text;
        uint32_t len = t->match != NULL ? t->match_len : t->len;
        if (t->normalized == normalized && t->where != TOK_ADDED_NOWHERE && len > 0) {
            set->list[set->count++] = (struct tok_pattern){.text = text, .len = len, .token = i};
        }
    }
    tok_patterns_sort(set);
    return true;
}

/* qsort has no context argument in C11, so ids are sorted together with their index. */
static int compare_ids(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

bool tok_added_index(struct tok_added *a) {
    uint64_t *keys = calloc(a->count + 1, sizeof(*keys));
    a->by_id = calloc(a->count + 1, sizeof(*a->by_id));
    if (keys == NULL || a->by_id == NULL) {
        free(keys);
        return false;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        keys[i] = (uint64_t)a->list[i].id << 32 | i;
    }
    qsort(keys, a->count, sizeof(*keys), compare_ids);
    for (uint32_t i = 0; i < a->count; i++) {
        a->by_id[i] = (uint32_t)keys[i];
    }
    free(keys);
    a->bytes += a->cap * sizeof(*a->list) + a->count * (2 * sizeof(uint32_t) + 2 * sizeof(struct tok_pattern));
    return build_set(a, &a->raw, false) && build_set(a, &a->normalized, true);
}

/* Asked once per decoded id, for at most a few thousand tokens: a binary search needs no table. */
const struct tok_added_token *tok_added_find_id(const struct tok_added *a, uint32_t id) {
    uint32_t low = 0;
    uint32_t high = a->count;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        const struct tok_added_token *t = &a->list[a->by_id[mid]];
        if (t->id == id) {
            return t;
        }
        if (t->id < id) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return NULL;
}

void tok_added_drop(struct tok_added *a) {
    for (uint32_t i = 0; i < a->count; i++) {
        free(a->list[i].text);
        free(a->list[i].match);
    }
    free(a->list);
    free(a->by_id);
    free(a->by_text);
    free(a->raw.list);
    free(a->normalized.list);
    *a = (struct tok_added){0};
}

/* First pattern of [low, high) whose byte at `depth` is at least `byte`; patterns too short to have one come first. */
static uint32_t lower_bound(const struct tok_pattern_set *set, uint32_t low, uint32_t high, uint32_t depth,
                            unsigned byte) {
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        const struct tok_pattern *p = &set->list[mid];
        if (p->len <= depth || (uint8_t)p->text[depth] < byte) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

const struct tok_pattern *tok_pattern_longest(const struct tok_pattern_set *set, struct span text) {
    const struct tok_pattern *best = NULL;
    uint32_t low = set->first[text.ptr[0]];
    uint32_t high = set->first[text.ptr[0] + 1u];
    for (uint32_t depth = 1; low < high; depth++) {
        const struct tok_pattern *p = &set->list[low];
        if (high - low == 1) { /* the usual end: one candidate */
            return p->len <= text.len && memcmp(p->text, text.ptr, p->len) == 0 ? p : best;
        }
        if (p->len == depth) {
            best = p; /* the shortest of the range comes first */
        }
        if (depth >= text.len) {
            break;
        }
        low = lower_bound(set, low, high, depth, text.ptr[depth]);
        high = lower_bound(set, low, high, depth, text.ptr[depth] + 1u);
    }
    return best;
}

static bool push(struct tok_segments *out, size_t begin, size_t end, uint32_t id) {
    if (out->count == out->cap) {
        size_t cap = out->cap == 0 ? 16 : out->cap * 2;
        struct tok_segment *grown = reallocarray(out->list, cap, sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        out->list = grown;
        out->cap = cap;
    }
    out->list[out->count++] = (struct tok_segment){.begin = begin, .end = end, .id = id};
    return true;
}

/* As the reference has it: only the neighbours count, not the token's own first and last character. */
static bool is_single_word(struct span text, size_t begin, size_t end) {
    uint32_t c = 0;
    if (begin > 0) {
        tok_char_before(text, begin, &c);
        if (tok_is_word(c)) {
            return false;
        }
    }
    if (end < text.len) {
        tok_char_at(text, end, &c);
        return !tok_is_word(c);
    }
    return true;
}

/* Goes back over spaces as far as `least`, which is where the text not yet taken begins. */
static size_t spaces_before(struct span text, size_t begin, size_t least) {
    uint32_t c = 0;
    while (begin > least) {
        size_t at = tok_char_before(text, begin, &c);
        if (!tok_is_space(c)) {
            break;
        }
        begin = at;
    }
    return begin;
}

/* Tokens made of spaces may each be followed by the same long run of them, so the latest run is remembered. */
struct blank_run {
    size_t begin;
    size_t end;
};

static size_t spaces_after(struct span text, size_t end, struct blank_run *run) {
    uint32_t c = 0;
    if (end >= run->begin && end <= run->end) {
        return run->end;
    }
    run->begin = end;
    while (end < text.len) {
        size_t n = tok_char_at(text, end, &c);
        if (!tok_is_space(c)) {
            break;
        }
        end += n;
    }
    run->end = end;
    return end;
}

bool tok_added_split(const struct tok_added *a, const struct tok_pattern_set *set, struct span text, bool skip_special,
                     struct tok_segments *out) {
    struct blank_run blanks = {.begin = 1}; /* none */
    size_t done = 0;                        /* text before this is in segments */
    size_t at = 0;
    while (at < text.len && set->count > 0) {
        uint8_t byte = text.ptr[at];
        if (set->first[byte] == set->first[byte + 1u]) {
            at++;
            continue;
        }
        const struct tok_pattern *p = tok_pattern_longest(set, span_of(text.ptr + at, text.len - at));
        if (p == NULL) {
            at++;
            continue;
        }
        const struct tok_added_token *t = &a->list[p->token];
        size_t begin = at;
        size_t end = at + p->len;
        at = end;
        bool alone = t->where == TOK_ADDED_BEHIND && (begin == 0 || begin != done);
        if ((skip_special && t->special) || alone || (t->single_word && !is_single_word(text, begin, end))) {
            continue;
        }
        if (t->lstrip) {
            begin = begin < done ? done : spaces_before(text, begin, done);
        }
        if (t->rstrip) {
            end = spaces_after(text, end, &blanks);
        }
        if ((done < begin && !push(out, done, begin, TOK_NONE)) || !push(out, begin, end, t->id)) {
            return false;
        }
        done = end;
    }
    return done >= text.len || push(out, done, text.len, TOK_NONE);
}
