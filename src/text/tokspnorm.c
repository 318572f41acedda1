/* SPDX-License-Identifier: Apache-2.0
 *
 * The normaliser of a SentencePiece model. The text is taken apart from the left: a user-defined piece as it stands, else
 * the longest key of the character map, else one character; blanks are then thinned out and marked with U+2581. The
 * marks at both ends are subtle on purpose: they follow the reference even where a text brings marks of its own. */
#include <stdlib.h>

#include "text/toksp_priv.h"
#include "text/tokunicode_priv.h"

#define MARK "\xe2\x96\x81"

lamina_status tok_sp_norm_open(struct tok_sp_norm **n, const struct tok_sp_file *f, const struct tok_model *m,
                               struct lamina_error *err) {
    struct tok_sp_norm *made = calloc(1, sizeof(*made));
    *n = made;
    if (made == NULL || !tok_sp_users_open(&made->users, m)) {
        tok_sp_norm_close(n);
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a tokenizer");
    }
    made->dummy_prefix = f->normalizer.dummy_prefix;
    made->remove_extra = f->normalizer.remove_extra;
    made->escape = f->normalizer.escape;
    made->suffix = f->suffix;
    lamina_status status = tok_charsmap_open(&made->map, f->normalizer.charsmap, err);
    if (status < 0) {
        tok_sp_norm_close(n);
    }
    return status;
}

void tok_sp_norm_close(struct tok_sp_norm **n) {
    if (*n != NULL) {
        tok_charsmap_drop(&(*n)->map);
        free((*n)->users.list);
        free(*n);
        *n = NULL;
    }
}

size_t tok_sp_norm_bytes(const struct tok_sp_norm *n) {
    return n == NULL ? 0 : sizeof(*n) + tok_charsmap_bytes(&n->map) + n->users.count * sizeof(*n->users.list);
}

/* What the front of the text becomes; returns how much of the text that was. */
static size_t next_part(const struct tok_sp_norm *n, struct span text, struct span *to) {
    size_t len = tok_sp_users_at(&n->users, text);
    if (len == 0) {
        size_t mapped = tok_charsmap_longest(&n->map, text, to);
        if (mapped > 0) {
            return mapped;
        }
        len = tok_char_len(text.ptr[0]);
    }
    *to = span_of(text.ptr, len);
    return len;
}

/* Appends the part, without blanks at its front where one stood before. Returns whether it ends with a blank. */
static bool add_part(const struct tok_sp_norm *n, struct span part, bool after_blank, struct str *out) {
    size_t i = 0;
    while (after_blank && i < part.len && part.ptr[i] == ' ') {
        i++;
    }
    if (i == part.len) {
        return after_blank;
    }
    for (; i < part.len; i++) {
        if (n->escape && part.ptr[i] == ' ') {
            str_add(out, MARK, 3);
        } else {
            str_add_byte(out, part.ptr[i]);
        }
    }
    return part.ptr[part.len - 1] == ' ';
}

static void add_blank(const struct tok_sp_norm *n, struct str *out) {
    str_add_text(out, n->escape ? MARK : " ");
}

static void drop_blanks_behind(const struct tok_sp_norm *n, struct str *out) {
    const char *blank = n->escape ? MARK : " ";
    while (span_ends_with(str_span(out), blank)) {
        out->len -= strlen(blank);
        out->ptr[out->len] = 0;
    }
}

void tok_sp_norm_run(const struct tok_sp_norm *n, struct span text, struct str *out) {
    struct span part = {0};
    size_t at = 0;
    while (n->remove_extra && at < text.len) {
        size_t len = next_part(n, span_of(text.ptr + at, text.len - at), &part);
        if (!span_is(part, " ")) {
            break;
        }
        at += len;
    }
    if (at == text.len) {
        return;
    }
    str_reserve(out, out->len + (text.len - at) + (text.len - at) / 2 + 4);
    if (n->dummy_prefix && !n->suffix) {
        add_blank(n, out);
    }
    bool after_blank = n->remove_extra;
    while (at < text.len) {
        at += next_part(n, span_of(text.ptr + at, text.len - at), &part);
        after_blank = add_part(n, part, after_blank, out) && n->remove_extra;
    }
    if (n->remove_extra) {
        drop_blanks_behind(n, out);
    }
    if (n->dummy_prefix && n->suffix) {
        add_blank(n, out);
    }
}
