/* SPDX-License-Identifier: Apache-2.0
 *
 * Vocabulary tables. Linear probing at a load of at most one half; no deletion except that a repeated text moves to its
 * new id in place, so a probe may stop at the first free slot. */
#include "text/tokvocab_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

static struct span text_of(const struct tok_vocab *v, uint32_t id) {
    return span_of(v->blob + v->offset[id], v->len[id]);
}

/* The slot that holds the text, or the free one where it belongs. */
static uint32_t slot_of(const struct tok_vocab *v, struct span text) {
    uint32_t slot = (uint32_t)hash_xxh3_64(text.ptr, text.len) & v->table_mask;
    while (v->table[slot] != TOK_NONE && !span_equal(text_of(v, v->table[slot]), text)) {
        slot = (slot + 1) & v->table_mask;
    }
    return slot;
}

/* Ids are hashed anew from their texts: the table keeps no hashes, which halves it, and growing happens a dozen times
 * per tokenizer. */
static bool grow_table(struct tok_vocab *v) {
    uint32_t size = v->table == NULL ? 1024 : (v->table_mask + 1) * 2;
    uint32_t *fresh = malloc(size * sizeof(*fresh));
    if (fresh == NULL) {
        return false;
    }
    memset(fresh, 0xff, size * sizeof(*fresh));
    free(v->table);
    v->table = fresh;
    v->table_mask = size - 1;
    for (uint32_t id = 0; id < v->id_count; id++) {
        if (v->offset[id] != TOK_NONE) {
            fresh[slot_of(v, text_of(v, id))] = id;
        }
    }
    return true;
}

/* Ids come in any order and may leave holes; a hole costs six bytes. */
static bool grow_ids(struct tok_vocab *v, uint32_t id) {
    if (id >= v->id_cap) {
        uint32_t cap = v->id_cap == 0 ? 1024 : v->id_cap * 2;
        while (cap <= id) {
            cap *= 2;
        }
        uint32_t *offset = reallocarray(v->offset, cap, sizeof(*offset));
        if (offset == NULL) {
            return false;
        }
        v->offset = offset;
        uint16_t *len = reallocarray(v->len, cap, sizeof(*len));
        if (len == NULL) {
            return false;
        }
        v->len = len;
        v->id_cap = cap;
    }
    while (v->id_count <= id) {
        v->offset[v->id_count] = TOK_NONE;
        v->len[v->id_count++] = 0;
    }
    return true;
}

/* Offsets are 32 bits, so the blob stays below 4 GiB; the file limit keeps it far smaller. */
static bool grow_blob(struct tok_vocab *v, size_t more) {
    if (v->blob_cap - v->blob_len >= more) {
        return true;
    }
    size_t cap = v->blob_cap == 0 ? 1 << 16 : v->blob_cap * 2;
    while (cap - v->blob_len < more) {
        cap *= 2;
    }
    char *blob = cap < TOK_NONE ? realloc(v->blob, cap) : NULL;
    if (blob == NULL) {
        return false;
    }
    v->blob = blob;
    v->blob_cap = cap;
    return true;
}

enum tok_vocab_result tok_vocab_add(struct tok_vocab *v, struct span text, uint32_t id) {
    if (!grow_ids(v, id) || !grow_blob(v, text.len + 1) ||
        (v->count >= (v->table == NULL ? 0 : (v->table_mask + 1) / 2) && !grow_table(v))) {
        return TOK_VOCAB_NO_MEMORY;
    }
    uint32_t slot = slot_of(v, text);
    uint32_t old = v->table[slot];
    if (old == id) {
        return TOK_VOCAB_OK;
    }
    if (v->offset[id] != TOK_NONE) {
        return TOK_VOCAB_ID_TAKEN;
    }
    if (old != TOK_NONE) {
        v->offset[id] = v->offset[old];
        v->len[id] = v->len[old];
        v->offset[old] = TOK_NONE;
    } else {
        v->offset[id] = (uint32_t)v->blob_len;
        v->len[id] = (uint16_t)text.len;
        if (text.len > 0) {
            memcpy(v->blob + v->blob_len, text.ptr, text.len);
        }
        v->blob_len += text.len;
        v->count++;
    }
    v->table[slot] = id;
    return TOK_VOCAB_OK;
}

void tok_vocab_fit(struct tok_vocab *v) {
    /* Shrinking cannot be needed for correctness, so a refusal leaves things as they are. */
    if (v->blob_len > 0) {
        char *blob = realloc(v->blob, v->blob_len);
        if (blob != NULL) {
            v->blob = blob;
            v->blob_cap = v->blob_len;
        }
    }
    if (v->id_count > 0) {
        uint32_t *offset = reallocarray(v->offset, v->id_count, sizeof(*offset));
        v->offset = offset != NULL ? offset : v->offset;
        uint16_t *len = reallocarray(v->len, v->id_count, sizeof(*len));
        v->len = len != NULL ? len : v->len;
        v->id_cap = v->id_count;
    }
}

void tok_vocab_drop(struct tok_vocab *v) {
    free(v->blob);
    free(v->offset);
    free(v->len);
    free(v->table);
    *v = (struct tok_vocab){0};
}

bool tok_vocab_id(const struct tok_vocab *v, struct span text, uint32_t *id) {
    if (v->table == NULL || text.len > TOK_TOKEN_LIMIT) {
        return false;
    }
    *id = v->table[slot_of(v, text)];
    return *id != TOK_NONE;
}

bool tok_vocab_text(const struct tok_vocab *v, uint32_t id, struct span *text) {
    if (id >= v->id_count || v->offset[id] == TOK_NONE) {
        return false;
    }
    *text = text_of(v, id);
    return true;
}

bool tok_byte_ids(const struct tok_vocab *v, uint32_t ids[256]) {
    static const char digits[] = "0123456789ABCDEF";
    bool all = true;
    for (uint32_t i = 0; i < 256; i++) {
        char name[8] = "<0x00>";
        name[3] = digits[i >> 4];
        name[4] = digits[i & 15];
        if (!tok_vocab_id(v, span_of(name, 6), &ids[i])) {
            ids[i] = TOK_NONE;
            all = false;
        }
    }
    return all;
}

size_t tok_vocab_bytes(const struct tok_vocab *v) {
    return v->blob_cap + (size_t)v->id_cap * 6 + (v->table == NULL ? 0 : ((size_t)v->table_mask + 1) * 4);
}
