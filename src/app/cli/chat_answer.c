/* SPDX-License-Identifier: Apache-2.0
 *
 * From messages to an answer. The whole list is rendered and tokenized anew each time, since templates may change what they said of
 * earlier messages; what the model has computed already is the longest common prefix of these tokens and the session's.
 */
#include "app/cli/cli_chat.h"
#include "base/status.h"

uint32_t chat_context(const struct chat *c) {
    const struct lamina_plan *plan = lamina_model_plan(c->model);
    return plan->most_positions < plan->context_tokens ? plan->most_positions : plan->context_tokens;
}

lamina_status chat_ids(struct chat *c, bool answering, uint32_t **ids, size_t *count, struct lamina_error *err) {
    struct str messages = {0};
    char *prompt = NULL;
    size_t len = 0;
    chat_json(c, &messages);
    lamina_status status = messages.failed
                               ? base_fail(err, LAMINA_NO_FIT, "out of memory for the prompt")
                               : lamina_template(c->text, str_text(&messages), NULL, c->o->kwargs, answering, &prompt, &len, err);
    if (status == LAMINA_OK) {
        status = lamina_tokenize_prompt(c->text, prompt, len, ids, count, err);
    }
    lamina_free(prompt);
    str_drop(&messages);
    return status;
}

static lamina_status check_room(const struct chat *c, size_t count, struct lamina_error *err) {
    uint32_t context = chat_context(c);
    if (count == 0) {
        return base_fail(err, LAMINA_USAGE, "the chat template makes nothing of these messages");
    }
    if (count < context) {
        return LAMINA_OK;
    }
    if (context < lamina_model_plan(c->model)->context_tokens) {
        return base_fail(err, LAMINA_USAGE,
                         "the conversation has %zu tokens and this model knows only %u positions; shorten it (/undo, /clear)",
                         count, context);
    }
    return base_fail(err, LAMINA_USAGE,
                     "the conversation has %zu tokens and the context holds %u, an answer included; shorten it (/undo, /clear), "
                     "or /save it and start again with a larger context (-c %zu)",
                     count, context, count * 2);
}

/* How many of the tokens need not be computed again; of these at least the last does, for its logits. */
static uint32_t computed_part(const struct chat *c, const uint32_t *ids, uint32_t count) {
    const uint32_t *have = lamina_session_tokens(c->session);
    uint32_t length = lamina_session_length(c->session);
    uint32_t same = 0;
    if (lamina_model_plan(c->model)->sees_ahead) { /* a longer prompt changes what its first positions saw */
        return 0;
    }
    while (same < length && same + 1 < count && have[same] == ids[same]) {
        same++;
    }
    return same;
}

static void say_end(const struct chat *c, const struct lamina_generate *g) {
    if (g->reason == LAMINA_STOP_CALLER) {
        cli_say(1, "stopped; what was said is kept (/regen for another answer)");
    } else if (g->reason == LAMINA_STOP_LENGTH && lamina_session_length(c->session) >= chat_context(c)) {
        cli_say(0, "the context of %u tokens is full, so the answer ends here; shorten the conversation (/undo, /clear), or /save "
                   "it and start again with a larger context (-c %u)",
                chat_context(c), chat_context(c) * 2);
    } else if (g->reason == LAMINA_STOP_LENGTH && !c->o->quiet) {
        cli_say(1, "the answer ends after the %u tokens that -n allows (/set predict 0: no limit)", c->o->predict);
    }
}

/* The tokens are ids[0..count), the session has the first `same` of them. */
static lamina_status generate(struct chat *c, const uint32_t *ids, uint32_t count, uint32_t same, struct cli_reply *r,
                              struct lamina_generate *g, struct lamina_error *err) {
    lamina_generate_defaults(g);
    g->max_tokens = c->o->predict != 0 ? c->o->predict : UINT32_MAX;
    g->ignore_eos = c->o->ignore_eos;
    g->stop = c->o->stop.value;
    g->stop_count = c->o->stop.count;
    g->on_text = cli_reply_text;
    g->user = r;
    LAMINA_TRY(lamina_session_truncate(c->session, same, err));
    LAMINA_TRY(lamina_session_sampling(c->session, &c->sampling, err));
    cli_live_begin(&c->live, c->model, count - same);
    lamina_status status = lamina_session_generate(c->session, ids + same, count - same, g, err);
    cli_live_clear(&c->live);
    return status == LAMINA_OK ? r->out_status : status;
}

lamina_status chat_answer(struct chat *c, bool *answered, bool *fatal, struct lamina_error *err) {
    uint32_t *ids = NULL;
    size_t count = 0;
    struct cli_reply r;
    struct lamina_generate g = {.size = sizeof(g)};
    *answered = false;
    *fatal = false;
    lamina_status status = chat_ids(c, true, &ids, &count, err);
    if (status == LAMINA_OK) {
        status = check_room(c, count, err);
    }
    if (status < 0) {
        lamina_free(ids);
        return status;
    }
    cli_reply_init(&r, c->o, err);
    r.keep = true;
    r.live = &c->live;
    uint32_t same = computed_part(c, ids, (uint32_t)count);
    status = generate(c, ids, (uint32_t)count, same, &r, &g, err);
    bool said = g.new_tokens > 0 && (status == LAMINA_OK || status == LAMINA_INTERRUPTED);
    if (said) {
        status = cli_reply_end(&r, &g, count, err);
        c->facts = (struct cli_run_facts){.model = c->o->args[0], .prompt_tokens = count - same, .new_tokens = g.new_tokens,
                                          .seed = c->sampling.seed, .wall_s = g.wall_s, .ttft_s = g.ttft_s,
                                          .stopped_early = g.reason == LAMINA_STOP_CALLER};
        lamina_status added = chat_add(c, CHAT_ASSISTANT, str_span(&r.text), err);
        status = status < 0 ? status : added;
        *answered = added == LAMINA_OK;
    }
    cli_live_end(&c->live, c->model, &g, lamina_session_length(c->session), chat_context(c));
    if (said && status == LAMINA_OK) {
        say_end(c, &g);
    }
    *fatal = status < 0 && status != LAMINA_USAGE && status != LAMINA_INTERRUPTED;
    cli_reply_drop(&r);
    lamina_free(ids);
    return status;
}
