/* SPDX-License-Identifier: Apache-2.0
 *
 * Pieces back to text, token by token. Pieces between special tokens form a run, which SentencePiece decodes by itself:
 * at its front the mark of a space is no text; bytes are gathered until they make characters, and what makes none is
 * U+FFFD byte by byte. Added tokens that are not special part the text into segments, joined with one space.
 *
 * What a token's text depends on is in `state`, so a stream carries on where it was. The one exception: some classes put
 * a space before a run when a special token ends it. Streams that show special tokens therefore wait for the end
 * (tokstream.c). */
#include <stdlib.h>

#include "text/toksp_priv.h"
#include "text/tokunicode_priv.h"

enum {
    RUN_TEXT = 1,     /* the run has text, or its front mark was dropped */
    ONE_TOKEN = 2,    /* of the segment came */
    MORE_TOKENS = 4,
    AFTER_SPECIAL = 8,
    SEGMENT_TEXT = 16,
    TEXT_BEFORE = 32, /* something stands before the segment */
};

struct sp_decoding {
    const struct tok_sp_decoder *d;
    struct str *out;
    struct str run;   /* text of the run at hand */
    struct str bytes; /* of byte pieces that came last */
    uint32_t state;
};

void tok_sp_decoder_close(struct tok_sp_decoder **d) {
    if (*d != NULL) {
        str_drop(&(*d)->unk_surface);
        free(*d);
        *d = NULL;
    }
}

static bool has(const struct sp_decoding *s, uint32_t bit) {
    return (s->state & bit) != 0;
}

static void set(struct sp_decoding *s, uint32_t bit, bool on) {
    s->state = on ? s->state | bit : s->state & ~bit;
}

/* --- segments --- */

static void put(struct sp_decoding *s, struct span text) {
    if (text.len > 0) {
        if (!has(s, SEGMENT_TEXT) && has(s, TEXT_BEFORE)) {
            str_add_byte(s->out, ' ');
        }
        set(s, SEGMENT_TEXT, true);
        str_add_span(s->out, text);
    }
}

static void end_segment(struct sp_decoding *s) {
    s->state = has(s, SEGMENT_TEXT) || has(s, TEXT_BEFORE) ? TEXT_BEFORE : 0;
}

/* --- runs --- */

static void put_run(struct sp_decoding *s, struct span text) {
    str_add_span(&s->run, text);
    set(s, RUN_TEXT, has(s, RUN_TEXT) || text.len > 0);
}

/* Whole characters of the bytes gathered; `all`: what can make none any more too. */
static void flush_bytes(struct sp_decoding *s, bool all) {
    struct span bytes = str_span(&s->bytes);
    size_t keep = all ? 0 : utf8_incomplete_tail(bytes);
    size_t at = 0;
    while (at < bytes.len - keep) {
        uint32_t c = 0;
        size_t n = utf8_decode(span_of(bytes.ptr + at, bytes.len - at), &c);
        put_run(s, n > 0 ? span_of(bytes.ptr + at, n) : span_of("\xef\xbf\xbd", 3));
        at += n > 0 ? n : 1;
    }
    if (bytes.len > 0) {
        memmove(s->bytes.ptr, s->bytes.ptr + at, bytes.len - at);
        s->bytes.len = bytes.len - at;
    }
}

static uint8_t byte_of(struct span name) {
    static const char digits[] = "0123456789ABCDEF";
    const char *high = strchr(digits, name.ptr[3]);
    const char *low = strchr(digits, name.ptr[4]);
    return (uint8_t)((high - digits) * 16 + (low - digits));
}

static void put_marked(struct sp_decoding *s, struct span text) {
    while (text.len > 0) {
        const uint8_t *mark = memmem(text.ptr, text.len, "\xe2\x96\x81", 3);
        size_t n = mark == NULL ? text.len : (size_t)(mark - text.ptr);
        put_run(s, span_of(text.ptr, n));
        if (mark != NULL) {
            put_run(s, span_of(" ", 1));
            n += 3;
        }
        text = span_sub(text, n, text.len);
    }
}

/* "<n>", "<|tab|>" and "<|blank_12|>" where they are pieces for these characters. */
static bool put_rewritten(struct sp_decoding *s, struct span text) {
    uint32_t blanks = 0;
    size_t at = 8;
    if (span_is(text, "<n>") || span_is(text, "<|tab|>")) {
        put_run(s, span_of_text(text.len == 3 ? "\n" : "\t"));
        return true;
    }
    if (!span_starts_with(text, "<|blank_") || !span_ends_with(text, "|>")) {
        return false;
    }
    for (; at < text.len - 2 && text.ptr[at] >= '0' && text.ptr[at] <= '9' && blanks < 100; at++) {
        blanks = blanks * 10 + (text.ptr[at] - '0');
    }
    if (at != text.len - 2 || blanks < 2 || blanks > 80) {
        return false;
    }
    for (uint32_t i = 0; i < blanks; i++) {
        put_run(s, span_of(" ", 1));
    }
    return true;
}

static void put_piece(struct sp_decoding *s, struct span text, uint8_t kind) {
    const struct tok_sp_decoder *d = s->d;
    flush_bytes(s, true);
    if (kind == TOK_PIECE_CONTROL || (kind == TOK_KIND_SPECIAL && d->silent_specials)) {
        return;
    }
    if (kind == TOK_PIECE_UNKNOWN || kind == TOK_KIND_SPECIAL) {
        put_run(s, kind == TOK_PIECE_UNKNOWN ? str_span(&d->unk_surface) : text);
        return;
    }
    if (d->rewrites && kind == TOK_PIECE_USER && put_rewritten(s, text)) {
        return;
    }
    if (d->strip_first && !has(s, RUN_TEXT) && span_starts_with(text, "\xe2\x96\x81")) {
        text = span_sub(text, 3, text.len);
        set(s, RUN_TEXT, !d->strip_all);
    }
    put_marked(s, text);
}

static void end_run(struct sp_decoding *s) {
    flush_bytes(s, true);
    put(s, str_span(&s->run));
    str_clear(&s->run);
    set(s, RUN_TEXT, false);
}

/* --- tokens --- */

static bool is_llama(const struct tok_sp_decoder *d) {
    return d->style == TOK_SP_LLAMA || d->style == TOK_SP_LLAMA_NEW;
}

static void take_special(struct sp_decoding *s, struct span text) {
    bool first = !has(s, ONE_TOKEN) && !has(s, MORE_TOKENS);
    bool spaced = s->d->style == TOK_SP_LLAMA || s->d->style == TOK_SP_BAICHUAN || s->d->style == TOK_SP_INTERNLM;
    if (spaced && !has(s, AFTER_SPECIAL) && (!first || s->d->style == TOK_SP_INTERNLM)) {
        put(s, span_of(" ", 1));
    }
    end_run(s);
    put(s, text);
}

static void take_piece(struct sp_decoding *s, struct span text, uint8_t kind) {
    bool first = !has(s, ONE_TOKEN) && !has(s, MORE_TOKENS);
    bool marked = span_starts_with(text, "\xe2\x96\x81");
    bool drops = is_llama(s->d) || s->d->style == TOK_SP_TIGHT;
    if (drops && s->d->prefix_space && first && marked && kind != TOK_PIECE_BYTE) {
        text = span_sub(text, 3, text.len);
    }
    if (is_llama(s->d) && s->d->prefix_space && has(s, AFTER_SPECIAL) && has(s, ONE_TOKEN) && !marked) {
        put(s, span_of(" ", 1));
    }
    if (kind == TOK_PIECE_BYTE) {
        str_add_byte(&s->bytes, byte_of(text));
    } else {
        put_piece(s, text, kind);
    }
}

static void take_token(struct sp_decoding *s, struct span text, uint8_t kind) {
    if (kind == TOK_KIND_ADDED) {
        end_run(s);
        end_segment(s);
        put(s, text);
        end_segment(s);
        return;
    }
    bool special = s->d->style != TOK_SP_ONE_RUN && kind == TOK_KIND_SPECIAL;
    if (special) {
        take_special(s, text);
    } else {
        take_piece(s, text, kind);
    }
    set(s, MORE_TOKENS, has(s, MORE_TOKENS) || has(s, ONE_TOKEN));
    set(s, ONE_TOKEN, !has(s, MORE_TOKENS));
    set(s, AFTER_SPECIAL, special);
}

/* The last segment counts even when it is empty, so the space before it is there. */
static void finish(struct sp_decoding *s) {
    end_run(s);
    if (!has(s, SEGMENT_TEXT) && has(s, TEXT_BEFORE) && (has(s, ONE_TOKEN) || has(s, MORE_TOKENS))) {
        str_add_byte(s->out, ' ');
    }
}

lamina_status tok_sp_decode(const struct tok_sp_decoder *d, struct tok_texts *tokens, struct tok_decode_mode *mode,
                            struct str *out, struct lamina_error *err) {
    struct sp_decoding s = {.d = d, .out = out, .state = mode->state};
    size_t held = 0;
    for (size_t i = 0; i < tokens->count; i++) {
        take_token(&s, tok_texts_at(tokens, i), (uint8_t)tokens->kinds.ptr[i]);
    }
    if (mode->partial) {
        flush_bytes(&s, false);
        put(&s, str_span(&s.run));
        held = s.bytes.len;
    } else {
        finish(&s);
    }
    mode->front_done = true;
    mode->held_tokens = held;
    mode->state = s.state;
    bool failed = out->failed || s.run.failed || s.bytes.failed;
    str_drop(&s.run);
    str_drop(&s.bytes);
    return failed ? base_fail(err, LAMINA_NO_FIT, "out of memory while decoding tokens") : LAMINA_OK;
}
