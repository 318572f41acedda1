/* SPDX-License-Identifier: Apache-2.0
 *
 * The generation loop: feed, sample, decode, stop. Text is handed out as soon as it is certain: whole UTF-8 sequences
 * that cannot be the beginning of a stop string.
 */
#include "gen/session.h"
#include "sys/thread.h"

struct output {
    const struct generate_options *o;
    struct lamina_generate *g;
    struct text_stream stream;
    struct str held;    /* decoded, not handed out yet */
    struct str piece;
};

/* Where the first stop string begins in `held`, or its length when there is none. */
static size_t find_stop(const struct output *out) {
    size_t best = out->held.len;
    for (uint32_t i = 0; i < out->g->stop_count; i++) {
        const char *stop = out->g->stop[i];
        const char *hit = stop[0] != 0 && out->held.len > 0
                              ? (const char *)memmem(out->held.ptr, out->held.len, stop, strlen(stop))
                              : NULL;
        if (hit != NULL && (size_t)(hit - out->held.ptr) < best) {
            best = (size_t)(hit - out->held.ptr);
        }
    }
    return best;
}

/* Bytes at the end of `held` that may be the beginning of a stop string. */
static size_t possible_stop(const struct output *out) {
    size_t most = 0;
    for (uint32_t i = 0; i < out->g->stop_count; i++) {
        size_t len = strlen(out->g->stop[i]);
        size_t try = len > 0 ? len - 1 : 0;
        for (try = try < out->held.len ? try : out->held.len; try > most; try--) {
            if (memcmp(out->held.ptr + (out->held.len - try), out->g->stop[i], try) == 0) {
                most = try;
                break;
            }
        }
    }
    return most;
}

/* Hands out the first `len` held bytes together with the id; true when the caller wants to stop. */
static bool hand_out(struct output *out, size_t len, uint32_t id) {
    bool stop = out->g->on_text != NULL && out->g->on_text(out->g->user, str_text(&out->held), len, id);
    if (len > 0) {
        memmove(out->held.ptr, out->held.ptr + len, out->held.len - len + 1);
        out->held.len -= len;
    }
    return stop;
}

static lamina_status decode(struct output *out, const uint32_t *id, struct lamina_error *err) {
    if (out->o->tokenizer == NULL) {
        return LAMINA_OK;
    }
    str_clear(&out->piece);
    LAMINA_TRY(id != NULL ? text_stream_add(out->o->tokenizer, &out->stream, *id, true, &out->piece, err)
                          : text_stream_finish(out->o->tokenizer, &out->stream, true, &out->piece, err));
    str_add_span(&out->held, str_span(&out->piece));
    return out->held.failed || out->piece.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory for the text") : LAMINA_OK;
}

/* One sampled token: its text and whether to go on. */
static lamina_status take_token(struct output *out, uint32_t id, struct lamina_error *err) {
    out->g->new_tokens++;
    for (uint32_t i = 0; !out->g->ignore_eos && i < out->o->eos_count; i++) {
        if (out->o->eos[i] == id) {
            out->g->reason = LAMINA_STOP_EOS;
            return LAMINA_OK;
        }
    }
    LAMINA_TRY(decode(out, &id, err));
    size_t stop_at = find_stop(out);
    if (stop_at < out->held.len) {
        (void)hand_out(out, stop_at, id);
        str_clear(&out->held);
        out->g->reason = LAMINA_STOP_STRING;
        return LAMINA_OK;
    }
    if (hand_out(out, out->held.len - possible_stop(out), id)) {
        out->g->reason = LAMINA_STOP_CALLER;
    }
    return LAMINA_OK;
}

static lamina_status flush(struct output *out, struct lamina_error *err) {
    if (out->g->reason == LAMINA_STOP_STRING || out->o->tokenizer == NULL) {
        return LAMINA_OK;
    }
    LAMINA_TRY(decode(out, NULL, err));
    if (out->held.len > 0) {
        (void)hand_out(out, find_stop(out), UINT32_MAX);
    }
    return LAMINA_OK;
}

void lamina_generate_defaults(struct lamina_generate *g) {
    *g = (struct lamina_generate){.size = sizeof(*g), .max_tokens = 512};
}

lamina_status session_generate(struct session *s, const struct generate_options *o, const uint32_t *prompt,
                               uint32_t prompt_count, struct lamina_generate *g, struct lamina_error *err) {
    if (g->stop_count > 0 && o->tokenizer == NULL) {
        return base_fail(err, LAMINA_NOT_FOUND, "stop strings need a tokenizer, and this model came without one");
    }
    struct output out = {.o = o, .g = g};
    uint64_t begin = sys_now_ns();
    g->new_tokens = 0;
    g->reason = g->max_tokens == 0 ? LAMINA_STOP_LENGTH : LAMINA_STOP_NONE;
    lamina_status status = session_feed(s, prompt, prompt_count, g->max_tokens > 1, NULL, err);
    while (status == LAMINA_OK && g->reason == LAMINA_STOP_NONE) {
        uint32_t id = 0;
        status = session_sample(s, &id, err);
        if (status == LAMINA_OK && g->new_tokens == 0) {
            g->ttft_s = (double)(sys_now_ns() - begin) * 1e-9;
        }
        if (status == LAMINA_OK) {
            status = take_token(&out, id, err);
        }
        bool full = g->new_tokens == g->max_tokens || s->length == session_most(s);
        if (status == LAMINA_OK && g->reason == LAMINA_STOP_NONE && full) {
            g->reason = LAMINA_STOP_LENGTH;
        }
        if (status == LAMINA_OK && g->reason == LAMINA_STOP_NONE) {
            status = session_feed(s, &id, 1, g->new_tokens + 1 < g->max_tokens, NULL, err);
        }
    }
    if (status == LAMINA_OK) {
        status = flush(&out, err);
    }
    g->wall_s = (double)(sys_now_ns() - begin) * 1e-9;
    text_stream_drop(&out.stream);
    str_drop(&out.held);
    str_drop(&out.piece);
    return status;
}
