/* SPDX-License-Identifier: Apache-2.0
 *
 * Incremental decoding. The stream keeps the latest ids whose text is not final (`pending`) and what of that text
 * is out (`shown`). A new id decodes the pending ids in partial mode, which leaves out what later tokens could
 * change; what is longer than `shown` goes out, and ids that no longer matter are let go. Two things keep ids: a
 * last token that ends inside a character or a run of byte tokens, and a front that is not settled (leading spaces
 * to strip). Decoders that are not of the streaming shape (tokdecode.c) keep all ids until the end, so the text is
 * always that of text_decode. */
#include <string.h>

#include "text/tokenizer_priv.h"

void text_stream_drop(struct text_stream *s) {
    text_ids_drop(&s->pending);
    str_drop(&s->shown);
    *s = (struct text_stream){0};
}

static lamina_status decode_pending(const struct text_tokenizer *t, const struct text_stream *s,
                                    struct tok_decode_mode *mode, struct str *out, struct lamina_error *err) {
    struct tok_texts tokens = {0};
    lamina_status status = LAMINA_OK;
    for (size_t i = 0; i < s->pending.count; i++) {
        struct span token = {0};
        if (text_token_text(t, s->pending.ids[i], &token) &&
            !tok_texts_add_id(&tokens, t, s->pending.ids[i], token)) {
            status = base_fail(err, LAMINA_NO_FIT, "out of memory while decoding tokens");
            break;
        }
    }
    if (status == LAMINA_OK) {
        status = tok_decoder_run(&t->decoder, &tokens, mode, out, err);
    }
    tok_texts_drop(&tokens);
    return status;
}

/* Appends what `text` has beyond the part already out. */
static lamina_status show(struct text_stream *s, const struct str *text, struct str *out, struct lamina_error *err) {
    if (text->len > s->shown.len) {
        str_add(out, text->ptr + s->shown.len, text->len - s->shown.len);
    }
    return out->failed ? base_fail(err, LAMINA_NO_FIT, "out of memory while decoding tokens") : LAMINA_OK;
}

/* Keeps only the ids that still hold something back, and what they alone have shown. */
static lamina_status settle(const struct text_tokenizer *t, struct text_stream *s, size_t held,
                            struct lamina_error *err) {
    struct tok_decode_mode mode = {.started = true, .partial = true, .state = s->state};
    memmove(s->pending.ids, s->pending.ids + (s->pending.count - held), held * sizeof(*s->pending.ids));
    s->pending.count = held;
    s->started = true;
    str_clear(&s->shown);
    return held == 0 ? LAMINA_OK : decode_pending(t, s, &mode, &s->shown, err);
}

/* Whether the token is one that only lengthens a run of bytes. Nothing can come out then, and decoding the run again for
 * each of its tokens would take quadratic time. */
static bool lengthens_run(const struct text_tokenizer *t, uint32_t id, struct span token) {
    struct text_stream alone = {.pending = {.ids = &id, .count = 1}};
    struct tok_decode_mode mode = {.started = true, .partial = true};
    struct lamina_error ignored = {0};
    struct str text = {0};
    if (!tok_decoder_gathers(&t->decoder) || !span_starts_with(token, "<0x")) {
        return false;
    }
    bool held = decode_pending(t, &alone, &mode, &text, &ignored) == LAMINA_OK && mode.held_tokens == 1;
    str_drop(&text);
    return held;
}

lamina_status text_stream_add(const struct text_tokenizer *t, struct text_stream *s, uint32_t id, bool skip_special,
                              struct str *out, struct lamina_error *err) {
    struct span token;
    if (!text_token_text(t, id, &token)) {
        return base_fail(err, LAMINA_USAGE, "id %u has no token; this tokenizer's ids are below %u", id, t->vocab_size);
    }
    if (skip_special && text_is_special(t, id)) {
        return LAMINA_OK;
    }
    if (!tok_ids_push(&s->pending, id)) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for ids");
    }
    if (t->decoder.stream == TOK_STREAM_WHOLE || (!skip_special && tok_decoder_waits(&t->decoder)) ||
        lengthens_run(t, id, token)) {
        return LAMINA_OK;
    }
    struct str text = {0};
    struct tok_decode_mode mode = {.started = s->started, .partial = true, .state = s->state};
    lamina_status status = decode_pending(t, s, &mode, &text, err);
    if (status == LAMINA_OK) {
        status = show(s, &text, out, err);
    }
    if (status == LAMINA_OK && mode.front_done) {
        s->state = mode.state;
        status = settle(t, s, mode.held_tokens, err);
    } else if (status == LAMINA_OK) {
        str_clear(&s->shown);
        str_add_span(&s->shown, str_span(&text));
        status = s->shown.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory while decoding tokens") : LAMINA_OK;
    }
    str_drop(&text);
    return status;
}

lamina_status text_stream_finish(const struct text_tokenizer *t, struct text_stream *s, bool skip_special,
                                 struct str *out, struct lamina_error *err) {
    (void)skip_special; /* skipped ids were never kept */
    struct str text = {0};
    struct tok_decode_mode mode = {.started = s->started, .state = s->state};
    lamina_status status = decode_pending(t, s, &mode, &text, err);
    if (status == LAMINA_OK) {
        status = show(s, &text, out, err);
    }
    str_drop(&text);
    text_stream_drop(s);
    return status;
}
