/* SPDX-License-Identifier: Apache-2.0
 *
 * Decoders of tokenizer.json: a list of token texts becomes one text. Most steps treat every token alone, ByteFallback
 * gathers runs of byte tokens, Fuse and ByteLevel join everything. The same steps serve streams: in partial mode a step
 * leaves out the end that later tokens could change, and says how many tokens that end comes from. */
#include <stdlib.h>
#include <string.h>

#include "text/toksp_priv.h"
#include "text/tokunicode_priv.h"

enum dec_kind {
    DEC_BYTES,
    DEC_FALLBACK,
    DEC_FUSE,
    DEC_STRIP,
    DEC_REPLACE,
    DEC_METASPACE,
    DEC_BPE,
    DEC_WORD_PIECE, /* text: the prefix of a continuation; flag_a: clean up */
    DEC_CTC,        /* text: the padding token, other: the word delimiter; flag_a: clean up */
};

static const struct {
    const char *name;
    enum dec_kind kind;
} dec_names[] = {
    {"ByteLevel", DEC_BYTES}, {"ByteFallback", DEC_FALLBACK}, {"Fuse", DEC_FUSE},      {"Strip", DEC_STRIP},
    {"Replace", DEC_REPLACE}, {"Metaspace", DEC_METASPACE},   {"BPEDecoder", DEC_BPE}, {"WordPiece", DEC_WORD_PIECE},
    {"CTC", DEC_CTC},
};

/* --- reading --- */

static bool read_scheme(struct tok_step *step, struct json_reader *r) {
    struct str text = {0};
    if (tok_json_text(r, &text)) {
        step->flag_a = strcmp(str_text(&text), "never") == 0;
        if (!step->flag_a && strcmp(str_text(&text), "always") != 0 && strcmp(str_text(&text), "first") != 0) {
            json_refuse(r, LAMINA_UNSUPPORTED, "Metaspace prepend_scheme \"%s\" is not known", str_text(&text));
        }
    }
    str_drop(&text);
    return r->failed == LAMINA_OK;
}

static void read_member(struct tok_step *step, struct span key, unsigned *seen, struct json_reader *r) {
    enum dec_kind kind = (enum dec_kind)step->kind;
    if (kind == DEC_STRIP && span_is(key, "content")) {
        *seen |= tok_json_character(r, &step->character) ? 1u : 0;
    } else if (kind == DEC_STRIP && span_is(key, "start")) {
        tok_json_size(r, &step->start);
    } else if (kind == DEC_STRIP && span_is(key, "stop")) {
        tok_json_size(r, &step->stop);
    } else if (kind == DEC_REPLACE && span_is(key, "pattern")) {
        *seen |= tok_json_pattern(r, &step->re) ? 2u : 0;
    } else if (kind == DEC_REPLACE && span_is(key, "content")) {
        *seen |= tok_json_text(r, &step->text) ? 1u : 0;
    } else if (kind == DEC_METASPACE && span_is(key, "replacement")) {
        *seen |= tok_json_character(r, &step->character) ? 1u : 0;
    } else if (kind == DEC_METASPACE && span_is(key, "prepend_scheme")) {
        read_scheme(step, r);
    } else if (kind == DEC_METASPACE && span_is(key, "add_prefix_space") && json_peek(r) == JSON_BOOL) {
        bool add = false;
        json_bool(r, &add);
        step->flag_a = step->flag_a || !add;
    } else if (kind == DEC_BPE && span_is(key, "suffix")) {
        *seen |= tok_json_text(r, &step->text) ? 1u : 0;
    } else if ((kind == DEC_WORD_PIECE && span_is(key, "prefix")) || (kind == DEC_CTC && span_is(key, "pad_token"))) {
        *seen |= tok_json_text(r, &step->text) ? 1u : 0;
    } else if (kind == DEC_CTC && span_is(key, "word_delimiter_token")) {
        *seen |= tok_json_text(r, &step->other) ? 2u : 0;
    } else if ((kind == DEC_WORD_PIECE || kind == DEC_CTC) && span_is(key, "cleanup")) {
        *seen |= json_bool(r, &step->flag_a) ? 4u : 0;
    } else {
        json_skip(r);
    }
}

static bool read_step(struct tok_steps *s, struct json_reader *r) {
    char type[64];
    if (!tok_json_type(r, type)) {
        return false;
    }
    if (strcmp(type, "Sequence") == 0) {
        return tok_json_sequence(r, "decoders", read_step, s);
    }
    struct tok_step *step = NULL;
    for (size_t i = 0; i < sizeof(dec_names) / sizeof(dec_names[0]); i++) {
        if (strcmp(type, dec_names[i].name) == 0) {
            step = tok_steps_add(s, r, (int)dec_names[i].kind);
            if (step == NULL) {
                return false;
            }
        }
    }
    if (step == NULL) {
        return json_refuse(r, LAMINA_UNSUPPORTED, "decoder \"%s\" is not supported", type);
    }
    static const unsigned needed[] = {
        [DEC_STRIP] = 1, [DEC_REPLACE] = 3, [DEC_METASPACE] = 1, [DEC_BPE] = 1, [DEC_BYTES] = 0,
        [DEC_WORD_PIECE] = 5, [DEC_CTC] = 7,
    };
    unsigned need = needed[step->kind];
    unsigned seen = 0;
    struct span key;
    json_enter_object(r);
    while (json_next_key(r, &key)) {
        read_member(step, key, &seen, r);
    }
    if (r->failed == LAMINA_OK && seen != need) {
        json_refuse(r, LAMINA_DAMAGED, "decoder \"%s\" lacks a member", type);
    }
    return r->failed == LAMINA_OK;
}

/* Streams are possible while steps work token by token up to one joining step, after which only the front may be
 * stripped. Anything else is decoded at the end of the stream. */
static enum tok_stream_kind stream_kind(const struct tok_steps *s) {
    bool fallback = false;
    bool joined = false;
    bool stripped = false;
    for (size_t i = 0; i < s->count; i++) {
        const struct tok_step *step = &s->list[i];
        switch ((enum dec_kind)step->kind) {
        case DEC_BYTES:
            if (joined || fallback) {
                return TOK_STREAM_WHOLE;
            }
            joined = true;
            break;
        case DEC_FUSE:
            joined = true;
            break;
        case DEC_FALLBACK:
            if (joined || fallback) {
                return TOK_STREAM_WHOLE;
            }
            fallback = true;
            break;
        case DEC_STRIP:
            if (joined && (stripped || step->stop > 0)) {
                return TOK_STREAM_WHOLE;
            }
            stripped = stripped || joined;
            break;
        case DEC_REPLACE:
            if (joined) {
                return TOK_STREAM_WHOLE;
            }
            break;
        case DEC_METASPACE:
            if (joined || fallback) {
                return TOK_STREAM_WHOLE;
            }
            break;
        case DEC_WORD_PIECE: /* the first token decides by itself, the others by theirs */
            if (joined || fallback) {
                return TOK_STREAM_WHOLE;
            }
            break;
        case DEC_BPE:
        case DEC_CTC:
            return TOK_STREAM_WHOLE;
        }
    }
    return TOK_STREAM_TOKENS;
}

bool tok_decoder_read(struct tok_decoder *d, struct json_reader *r) {
    d->stream = TOK_STREAM_TOKENS;
    if (json_null(r)) {
        return true;
    }
    d->present = true;
    if (!read_step(&d->steps, r)) {
        return false;
    }
    d->stream = stream_kind(&d->steps);
    return true;
}

void tok_decoder_drop(struct tok_decoder *d) {
    tok_steps_drop(&d->steps);
    tok_sp_decoder_close(&d->sp);
}

bool tok_decoder_waits(const struct tok_decoder *d) {
    enum tok_sp_style style = d->sp == NULL ? TOK_SP_BARE : d->sp->style;
    return style != TOK_SP_BARE && style != TOK_SP_TIGHT && style != TOK_SP_PLAIN && style != TOK_SP_ONE_RUN;
}

bool tok_decoder_is_bytes(const struct tok_decoder *d) {
    return tok_steps_has(&d->steps, DEC_BYTES);
}

bool tok_decoder_gathers(const struct tok_decoder *d) {
    return tok_steps_has(&d->steps, DEC_FALLBACK);
}

/* --- lists of texts --- */

static bool close_token(struct tok_texts *t) {
    if (t->count == t->cap) {
        size_t cap = t->cap == 0 ? 64 : t->cap * 2;
        size_t *grown = reallocarray(t->end, cap, sizeof(*grown));
        if (grown == NULL) {
            t->text.failed = true;
            return false;
        }
        t->end = grown;
        t->cap = cap;
    }
    t->end[t->count++] = t->text.len;
    return true;
}

bool tok_texts_add(struct tok_texts *t, struct span token) {
    str_add_span(&t->text, token);
    return close_token(t) && !t->text.failed;
}

void tok_texts_drop(struct tok_texts *t) {
    str_drop(&t->text);
    str_drop(&t->kinds);
    free(t->end);
    *t = (struct tok_texts){0};
}

struct span tok_texts_at(const struct tok_texts *t, size_t i) {
    size_t begin = i == 0 ? 0 : t->end[i - 1];
    return span_of(str_text(&t->text) + begin, t->end[i] - begin);
}

/* --- steps --- */

struct decoding {
    struct tok_texts *in;
    struct tok_texts *out;
    struct tok_matches matches;
    struct tok_decode_mode *mode;
    bool joined; /* `in` is one text of all tokens */
};

/* A token whose characters are not all of the byte alphabet stands for its own bytes. */
static void add_token_bytes(struct span token, struct str *raw) {
    size_t begin = raw->len;
    for (size_t at = 0; at < token.len;) {
        uint32_t c = 0;
        uint8_t byte = 0;
        at += tok_char_at(token, at, &c);
        if (!tok_char_to_byte(c, &byte)) {
            raw->len = begin;
            str_add_span(raw, token);
            return;
        }
        str_add_byte(raw, byte);
    }
}

/* Joins all tokens before looking at UTF-8, since a character may be spread over several. In partial mode the bytes
 * of an unfinished character stay out, and the tokens they come from are counted for the stream. */
static void run_bytes(struct decoding *d) {
    struct str raw = {0};
    str_reserve(&raw, d->in->text.len);
    for (size_t i = 0; i < d->in->count; i++) {
        add_token_bytes(tok_texts_at(d->in, i), &raw);
    }
    size_t keep = raw.len;
    if (d->mode->partial) {
        keep -= utf8_incomplete_tail(str_span(&raw));
        size_t begin = raw.len; /* count the tokens that reach into the tail, from the back */
        while (begin > keep && d->mode->held_tokens < d->in->count) {
            struct str one = {0};
            add_token_bytes(tok_texts_at(d->in, d->in->count - ++d->mode->held_tokens), &one);
            begin -= one.len;
            str_drop(&one);
        }
    }
    tok_utf8_repair(span_of(str_text(&raw), keep), false, &d->out->text);
    d->out->text.failed = d->out->text.failed || raw.failed;
    close_token(d->out);
    str_drop(&raw);
    d->joined = true;
}

static int hex_digit(uint8_t c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool is_byte_token(struct span t, uint8_t *byte) {
    if (t.len != 6 || memcmp(t.ptr, "<0x", 3) != 0 || t.ptr[5] != '>') {
        return false;
    }
    int high = t.ptr[3] == '+' ? 0 : hex_digit(t.ptr[3]); /* the reference's number parser takes a sign */
    int low = hex_digit(t.ptr[4]);
    *byte = (uint8_t)(high * 16 + low);
    return high >= 0 && low >= 0;
}

/* A run of byte tokens is text if all of it is UTF-8, else every byte of it becomes U+FFFD. */
static void flush_run(struct decoding *d, struct str *run) {
    if (run->len == 0) {
        return;
    }
    if (utf8_valid(str_span(run))) {
        tok_texts_add(d->out, str_span(run));
    } else {
        for (size_t i = 0; i < run->len; i++) {
            tok_texts_add(d->out, span_of("\xef\xbf\xbd", 3));
        }
    }
    d->out->text.failed = d->out->text.failed || run->failed;
    str_clear(run);
}

/* The whole run decides how its bytes are shown, so in partial mode even finished characters of a run stay out. */
static void run_fallback(struct decoding *d) {
    struct str run = {0};
    for (size_t i = 0; i < d->in->count; i++) {
        struct span token = tok_texts_at(d->in, i);
        uint8_t byte = 0;
        if (is_byte_token(token, &byte)) {
            str_add_byte(&run, byte);
        } else {
            flush_run(d, &run);
            tok_texts_add(d->out, token);
        }
    }
    if (d->mode->partial) {
        d->mode->held_tokens = run.len;
    } else {
        flush_run(d, &run);
    }
    d->out->text.failed = d->out->text.failed || run.failed;
    str_drop(&run);
}

static void run_fuse(struct decoding *d) {
    str_add_span(&d->out->text, str_span(&d->in->text));
    close_token(d->out);
    d->joined = true;
}

/* Takes up to `start` characters from the front and `stop` from the back. *front_done: no later text can be
 * stripped. */
static struct span strip_token(const struct tok_step *step, struct span token, bool front, bool *front_done) {
    size_t begin = 0;
    size_t end = token.len;
    uint32_t c = 0;
    size_t taken = 0;
    while (front && taken < step->start && begin < token.len) {
        size_t n = tok_char_at(token, begin, &c);
        if (c != step->character) {
            taken = step->start;
            break;
        }
        begin += n;
        taken++;
    }
    *front_done = !front || taken == step->start;
    for (size_t i = 0; i < step->stop && end > begin; i++) {
        size_t at = tok_char_before(token, end, &c);
        if (c != step->character) {
            break;
        }
        end = at;
    }
    return span_of(token.ptr + begin, end - begin);
}

static void run_strip(struct decoding *d, const struct tok_step *step) {
    for (size_t i = 0; i < d->in->count; i++) {
        bool done = true;
        struct span token = strip_token(step, tok_texts_at(d->in, i), !(d->joined && d->mode->started), &done);
        if (d->joined) {
            d->mode->front_done = d->mode->front_done && done;
        }
        tok_texts_add(d->out, token);
    }
}

static lamina_status run_replace(struct decoding *d, const struct tok_step *step, struct lamina_error *err) {
    for (size_t i = 0; i < d->in->count; i++) {
        struct span token = tok_texts_at(d->in, i);
        d->matches.count = 0;
        LAMINA_TRY(tok_regex_find(step->re, token, &d->matches, err));
        for (size_t k = 0; k < d->matches.count; k++) {
            const struct tok_match *m = &d->matches.list[k];
            str_add_span(&d->out->text,
                         m->hit ? str_span(&step->text) : span_of(token.ptr + m->begin, m->end - m->begin));
        }
        close_token(d->out);
    }
    return LAMINA_OK;
}

/* The mark is a space, but in the first token of all it only marks the start of a word and vanishes. */
static void run_metaspace(struct decoding *d, const struct tok_step *step) {
    for (size_t i = 0; i < d->in->count; i++) {
        struct span token = tok_texts_at(d->in, i);
        bool drop = i == 0 && !d->mode->started && !step->flag_a;
        for (size_t at = 0; at < token.len;) {
            uint32_t c = 0;
            size_t n = tok_char_at(token, at, &c);
            if (c != step->character) {
                str_add(&d->out->text, token.ptr + at, n);
            } else if (!drop) {
                str_add_byte(&d->out->text, ' ');
            }
            at += n;
        }
        close_token(d->out);
    }
    d->mode->front_done = d->mode->front_done && (d->in->count > 0 || d->mode->started);
}

/* The end-of-word mark is a space, except at the very end. */
static void run_bpe(struct decoding *d, const struct tok_step *step) {
    for (size_t i = 0; i < d->in->count; i++) {
        struct span rest = tok_texts_at(d->in, i);
        while (step->text.len > 0) {
            const uint8_t *at = memmem(rest.ptr, rest.len, step->text.ptr, step->text.len);
            if (at == NULL) {
                break;
            }
            str_add(&d->out->text, rest.ptr, (size_t)(at - rest.ptr));
            if (i + 1 < d->in->count) {
                str_add_byte(&d->out->text, ' ');
            }
            rest = span_sub(rest, (size_t)(at - rest.ptr) + step->text.len, rest.len);
        }
        tok_texts_add(d->out, rest);
    }
}

/* Every `from` by `to`, left to right; an empty `from` is nowhere. */
static void replace_text(struct str *text, struct span from, struct span to) {
    struct str out = {0};
    struct span rest = str_span(text);
    const uint8_t *at = NULL;
    while (from.len > 0 && (at = memmem(rest.ptr, rest.len, from.ptr, from.len)) != NULL) {
        str_add(&out, rest.ptr, (size_t)(at - rest.ptr));
        str_add_span(&out, to);
        rest = span_sub(rest, (size_t)(at - rest.ptr) + from.len, rest.len);
    }
    if (rest.len < text->len) {
        str_add_span(&out, rest);
        bool failed = out.failed;
        str_drop(text);
        *text = out;
        text->failed = failed;
    }
}

/* The reference's order matters: a replacement may make the text of a later one. */
static void clean_up(struct str *text) {
    static const char *const pairs[][2] = {{" .", "."},     {" ?", "?"},     {" !", "!"},           {" ,", ","},
                                           {" ' ", "'"},    {" n't", "n't"}, {" 'm", "'m"},         {" do not", " don't"},
                                           {" 's", "'s"},   {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        replace_text(text, span_of_text(pairs[i][0]), span_of_text(pairs[i][1]));
    }
}

static void run_word_piece(struct decoding *d, const struct tok_step *step) {
    struct str one = {0};
    for (size_t i = 0; i < d->in->count; i++) {
        struct span token = tok_texts_at(d->in, i);
        bool first = i == 0 && !d->mode->started;
        bool continues = !first && token.len >= step->text.len &&
                         (step->text.len == 0 || memcmp(token.ptr, step->text.ptr, step->text.len) == 0);
        str_clear(&one);
        str_add_text(&one, first || continues ? "" : " ");
        str_add_span(&one, continues ? span_sub(token, step->text.len, token.len) : token);
        if (step->flag_a) {
            clean_up(&one);
        }
        tok_texts_add(d->out, str_span(&one));
        d->out->text.failed = d->out->text.failed || one.failed;
    }
    d->mode->front_done = d->mode->front_done && (d->in->count > 0 || d->mode->started);
    str_drop(&one);
}

/* Repeated tokens are one, padding is nothing. */
static void run_ctc(struct decoding *d, const struct tok_step *step) {
    struct str one = {0};
    for (size_t i = 0; i < d->in->count; i++) {
        struct span token = tok_texts_at(d->in, i);
        if (i > 0 && span_equal(token, tok_texts_at(d->in, i - 1))) {
            continue;
        }
        str_clear(&one);
        str_add_span(&one, token);
        replace_text(&one, str_span(&step->text), span_of_text(""));
        if (step->flag_a) {
            clean_up(&one);
            replace_text(&one, str_span(&step->other), span_of_text(" "));
        }
        if (one.len > 0) {
            tok_texts_add(d->out, str_span(&one));
        }
        d->out->text.failed = d->out->text.failed || one.failed;
    }
    str_drop(&one);
}

static lamina_status run_step(struct decoding *d, const struct tok_step *step, struct lamina_error *err) {
    switch ((enum dec_kind)step->kind) {
    case DEC_BYTES:
        run_bytes(d);
        break;
    case DEC_FALLBACK:
        run_fallback(d);
        break;
    case DEC_FUSE:
        run_fuse(d);
        break;
    case DEC_STRIP:
        run_strip(d, step);
        break;
    case DEC_REPLACE:
        return run_replace(d, step, err);
    case DEC_METASPACE:
        run_metaspace(d, step);
        break;
    case DEC_BPE:
        run_bpe(d, step);
        break;
    case DEC_WORD_PIECE:
        run_word_piece(d, step);
        break;
    case DEC_CTC:
        run_ctc(d, step);
        break;
    }
    return LAMINA_OK;
}

/* What the reference does for a file without a decoder. */
static void join_with_spaces(const struct tok_texts *tokens, struct tok_decode_mode *mode, struct str *out) {
    for (size_t i = 0; i < tokens->count; i++) {
        if (i > 0 || mode->started) {
            str_add_byte(out, ' ');
        }
        str_add_span(out, tok_texts_at(tokens, i));
    }
    mode->front_done = tokens->count > 0 || mode->started;
}

lamina_status tok_decoder_run(const struct tok_decoder *dec, struct tok_texts *tokens, struct tok_decode_mode *mode,
                              struct str *out, struct lamina_error *err) {
    lamina_status status = LAMINA_OK;
    struct tok_decode_mode whole = {0};
    struct tok_texts other = {0};
    struct decoding d = {.in = tokens, .out = &other, .mode = mode != NULL ? mode : &whole};
    if (dec->sp != NULL) {
        return tok_sp_decode(dec->sp, tokens, d.mode, out, err);
    }
    d.mode->front_done = true;
    d.mode->held_tokens = 0;
    tokens->text.limit = tok_text_limit(tokens->text.len);
    other.text.limit = tokens->text.limit;
    if (!dec->present) {
        join_with_spaces(tokens, d.mode, out);
    }
    for (size_t i = 0; i < dec->steps.count && status == LAMINA_OK; i++) {
        d.out->count = 0;
        str_clear(&d.out->text);
        status = run_step(&d, &dec->steps.list[i], err);
        if (status == LAMINA_OK && d.out->text.failed) {
            status = base_fail(err, LAMINA_NO_FIT, "out of memory while decoding tokens");
        }
        struct tok_texts *t = d.in;
        d.in = d.out;
        d.out = t;
    }
    if (status == LAMINA_OK && dec->present) {
        str_add_span(out, str_span(&d.in->text));
    }
    if (status == LAMINA_OK && out->failed) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory while decoding tokens");
    }
    tok_texts_drop(&other);
    tok_matches_drop(&d.matches);
    return status;
}
