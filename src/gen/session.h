/* SPDX-License-Identifier: Apache-2.0
 *
 * One sequence over an executor: its tokens, its KV pages, its sampler, and the logits of its last position. Feeding
 * splits a prompt into passes of the plan's rows, or carries one token of each of several sequences in one pass, or packs
 * whole prompts of several sequences into as few passes as they need; results do not depend on any of it.
 */
#ifndef GEN_SESSION_H
#define GEN_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "exec/exec.h"
#include "gen/sample.h"
#include "state/kv_file.h"
#include "text/tokenizer.h"

struct session_options {
    struct exec *exec;           /* borrowed */
    const struct kern_table *kern;
    const struct model_desc *desc;
    uint32_t context_tokens;
    uint32_t prompt_rows;        /* of the plan */
    uint32_t logit_rows;
    struct exec_row *rows;       /* [prompt_rows] of the pass at hand: borrowed, one array for all sequences of an executor */
    const struct lamina_callbacks *callbacks; /* borrowed; may be NULL */
};

struct session {
    struct session_options o;
    struct kv_sequence kv;
    struct sampler sampler;
    uint32_t length;             /* positions computed */
    uint32_t begun_at;           /* `length` before the prompt that session_feed_prompts is at */
    uint32_t *tokens;            /* [context] fed so far */
    uint32_t state_length;       /* positions in the state of fixed size: `length`, unless a cut or a failure came between */
    uint32_t prompt_length;      /* of the first feed: length-dependent RoPE goes by it */
    uint32_t prefix, mask_at;    /* of the first feed, prefix models */
    const float *logits, *hidden; /* of the last position, NULL: none; they lie in the executor */
    uint64_t pass;               /* that they are of: any later pass, of whatever sequence, overwrites them */
};

lamina_status session_init(struct session *s, const struct session_options *o, struct lamina_error *err);
void session_drop(struct session *s);

/* Most positions the sequence can have: the context, or a table of learned positions that ends before it. */
uint32_t session_most(const struct session *s);
/* `more`: another feed is likely to follow (reading may run ahead). See lamina_session_feed. */
lamina_status session_feed(struct session *s, const uint32_t *ids, uint32_t count, bool more,
                           struct lamina_scores *scores, struct lamina_error *err);
/* One token for each of `count` sequences of one executor, in one pass. See lamina_batch_feed. */
lamina_status session_feed_batch(struct session *const *sessions, const uint32_t *ids, uint32_t count,
                                 struct lamina_error *err);
/* Whole prompts, prompts[i] to sessions[i]; its own `session` is not looked at. See lamina_prompts_feed. */
lamina_status session_feed_prompts(struct session *const *sessions, const struct lamina_prompts *p, struct lamina_error *err);
/* Of the last position; NULL when nothing was computed, or something else since. */
const float *session_logits(const struct session *s);
const float *session_hidden(const struct session *s);
lamina_status session_sample(struct session *s, uint32_t *id, struct lamina_error *err);
lamina_status session_truncate(struct session *s, uint32_t length, struct lamina_error *err);

/* The sampler has seen the tokens of the sequence and no others. */
void session_see_again(struct session *s);

/* The sequence as bytes (state/kv_file.h); `store` says whose weights it is of. USAGE when nothing was computed. */
lamina_status session_write(struct session *s, struct hash128 store, const struct kv_writer *w, struct lamina_error *err);
/* Goes on where a sequence was written, in place of what this one has; after a failure it is empty. There are no logits until the
 * next feed. */
lamina_status session_read(struct session *s, struct hash128 store, const struct kv_reader *in, struct lamina_error *err);

struct generate_options {
    const struct text_tokenizer *tokenizer; /* NULL: ids only */
    const uint32_t *eos;
    uint32_t eos_count;
};
lamina_status session_generate(struct session *s, const struct generate_options *o, const uint32_t *prompt,
                               uint32_t prompt_count, struct lamina_generate *g, struct lamina_error *err);

#endif
