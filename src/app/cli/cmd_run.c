/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina run: one answer. The tokenizer is opened first and closed again before the model, because the context is
 * prompt + -n and the plan wants to know it, and because its memory must not stand beside the model's.
 */
#include "app/cli/cli.h"
#include "base/json.h"
#include "base/status.h"

static lamina_status prompt_text(const struct cli_options *o, struct str *text, struct lamina_error *err) {
    const char *given = o->args[1] != NULL ? o->args[1] : o->prompt;
    if ((o->args[1] != NULL) + (o->prompt != NULL) + (o->file != NULL) > 1) {
        return base_fail(err, LAMINA_USAGE, "the text is given twice; use one of TEXT, --prompt and --file");
    }
    if (given != NULL) {
        str_add_text(text, given);
        return LAMINA_OK;
    }
    if (o->file == NULL && cli_stdin_is_tty()) {
        return base_fail(err, LAMINA_USAGE, "no text; give it as the second argument, with --file, or through a pipe");
    }
    LAMINA_TRY(o->file != NULL ? cli_read_file(o->file, text, err) : cli_read_stdin(text, err));
    if (text->len > 0 && text->ptr[text->len - 1] == '\n') {
        text->ptr[--text->len] = '\0';
    }
    return LAMINA_OK;
}

/* The user's words as one turn of the model's chat template. */
static lamina_status chat_text(struct lamina_text *t, const struct cli_options *o, const struct str *text, struct str *out,
                               struct lamina_error *err) {
    struct str messages = {0};
    char *prompt = NULL;
    size_t len = 0;
    str_add_text(&messages, "[{\"role\":\"user\",\"content\":");
    json_write_string(&messages, str_span(text));
    str_add_text(&messages, "}]");
    lamina_status status = messages.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory for the prompt")
                                           : lamina_template(t, str_text(&messages), NULL, o->kwargs, true, &prompt, &len, err);
    if (status == LAMINA_OK) {
        str_add(out, prompt, len);
    }
    lamina_free(prompt);
    str_drop(&messages);
    return status;
}

lamina_status cli_text_open(struct lamina_text **t, const struct cli_options *o, struct lamina_error *err) {
    struct lamina_text_options options;
    lamina_text_defaults(&options);
    options.chat_template = o->raw ? NULL : o->chat_template;
    return lamina_text_open_with(t, o->args[0], &options, err);
}

lamina_status cli_prompt_text(struct lamina_text *t, const struct cli_options *o, const struct str *text, struct str *out,
                              bool *rendered, struct lamina_error *err) {
    *rendered = !o->raw && lamina_text_has_template(t);
    if (*rendered) {
        LAMINA_TRY(chat_text(t, o, text, out, err));
    } else {
        str_add_span(out, str_span(text));
    }
    return out->failed ? base_fail(err, LAMINA_NO_FIT, "out of memory for the prompt") : LAMINA_OK;
}

lamina_status cli_prompt_ids(struct lamina_text *t, const struct cli_options *o, const struct str *text, uint32_t **ids,
                             size_t *count, struct lamina_error *err) {
    struct str prompt = {0};
    bool rendered = false;
    lamina_status status = cli_prompt_text(t, o, text, &prompt, &rendered, err);
    if (status == LAMINA_OK) {
        status = rendered ? lamina_tokenize_prompt(t, str_text(&prompt), prompt.len, ids, count, err)
                          : lamina_tokenize(t, str_text(&prompt), prompt.len, true, ids, count, err);
    }
    str_drop(&prompt);
    return status;
}

static lamina_status prompt_ids(const struct cli_options *o, uint32_t **ids, size_t *count, struct lamina_error *err) {
    struct lamina_text *t = NULL;
    struct str text = {0};
    lamina_status status = prompt_text(o, &text, err);
    if (status == LAMINA_OK) {
        status = cli_text_open(&t, o, err);
    }
    if (status == LAMINA_OK) {
        status = cli_prompt_ids(t, o, &text, ids, count, err);
    }
    lamina_text_close(&t);
    str_drop(&text);
    if (status == LAMINA_OK && (*count == 0 || *count > UINT32_MAX / 2)) {
        status = base_fail(err, LAMINA_USAGE, *count == 0 ? "the text is empty: there is nothing to continue"
                                                          : "the text has more tokens than any model takes");
    }
    return status;
}

/* Context and the number of tokens to make. A prompt longer than -c is an error; a run that reaches -c ends there. */
static lamina_status size_context(const struct cli_options *o, uint32_t prompt, uint32_t *context, uint32_t *tokens,
                                  struct lamina_error *err) {
    if (o->predict == 0) {
        return base_fail(err, LAMINA_USAGE, "-n 0 asks for no tokens");
    }
    if (o->ctx_size == 0) {
        uint64_t sum = (uint64_t)prompt + o->predict;
        if (sum > UINT32_MAX) {
            return base_fail(err, LAMINA_USAGE, "-n %u is more than any context holds", o->predict);
        }
        *context = (uint32_t)sum;
        *tokens = o->predict;
        return LAMINA_OK;
    }
    if (prompt >= o->ctx_size) {
        return base_fail(err, LAMINA_USAGE, "the prompt has %u tokens, -c %u leaves no room for an answer; give a larger -c",
                         prompt, o->ctx_size);
    }
    *context = o->ctx_size;
    *tokens = o->predict < o->ctx_size - prompt ? o->predict : o->ctx_size - prompt;
    return LAMINA_OK;
}

/* Everything from the open session on. */
static lamina_status answer(struct lamina_model *model, struct lamina_session *session, const struct cli_options *o,
                            const uint32_t *ids, size_t count, uint32_t tokens, struct lamina_error *err) {
    struct cli_run_facts facts = {.model = o->args[0], .prompt_tokens = count, .profile = o->profile};
    struct cli_reply r;
    struct lamina_generate g;
    struct lamina_sampling sampling;
    LAMINA_TRY(cli_sampling(model, o, &sampling, err));
    LAMINA_TRY(lamina_session_sampling(session, &sampling, err));
    facts.seed = sampling.seed;
    cli_reply_init(&r, o, err);
    lamina_generate_defaults(&g);
    g.max_tokens = tokens;
    g.ignore_eos = o->ignore_eos;
    g.stop = o->stop.value;
    g.stop_count = o->stop.count;
    g.on_text = cli_reply_text;
    g.user = &r;
    lamina_status status = lamina_session_generate(session, ids, (uint32_t)count, &g, err);
    if (status == LAMINA_OK) {
        status = r.out_status;
    }
    if (status == LAMINA_OK || (status == LAMINA_INTERRUPTED && g.new_tokens > 0)) {
        facts.new_tokens = g.new_tokens;
        facts.wall_s = g.wall_s;
        facts.ttft_s = g.ttft_s;
        facts.stopped_early = cli_interrupted();
        lamina_status written = cli_reply_end(&r, &g, count, err);
        if (!o->quiet) {
            cli_say_facts(model, &facts);
        }
        if (o->profile) {
            cli_say_profile(model);
        }
        if (o->report != NULL && written == LAMINA_OK) {
            written = cli_report_write(o->report, model, &facts, err);
        }
        status = written < 0 ? written : status;
    }
    cli_reply_drop(&r);
    return status;
}

lamina_status cmd_run(struct cli_options *o, struct lamina_error *err) {
    struct lamina_model *model = NULL;
    struct lamina_session *session = NULL;
    struct lamina_settings settings;
    struct cli_progress progress;
    uint32_t *ids = NULL;
    size_t count = 0;
    uint32_t tokens = 0;
    lamina_status status = cli_settings(o, &settings, err);
    if (status == LAMINA_OK) {
        status = prompt_ids(o, &ids, &count, err);
    }
    if (status == LAMINA_OK) {
        status = size_context(o, (uint32_t)count, &settings.context_tokens, &tokens, err);
    }
    if (status < 0) {
        goto done;
    }
    cli_progress_init(&progress, o, &settings.callbacks);
    status = cli_trace_open(&progress, o, &settings.callbacks, err);
    if (status == LAMINA_OK) {
        status = lamina_model_open(&model, o->args[0], &settings, err);
    }
    cli_progress_clear(&progress);
    if (status < 0) {
        goto done;
    }
    if (!o->quiet) {
        cli_say_start(model);
    }
    status = lamina_session_open(&session, model, err);
    if (status == LAMINA_OK) {
        status = answer(model, session, o, ids, count, tokens, err);
    }
    if (status >= 0) {
        lamina_status closed = cli_trace_close(&progress, err);
        status = closed < 0 ? closed : status;
    }
done:
    lamina_session_close(&session);
    lamina_model_close(&model);
    lamina_free(ids);
    return status;
}
