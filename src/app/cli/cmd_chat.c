/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina chat: a conversation, by hand or through a pipe (a message a line). Only answers go to stdout. What is said
 * survives whatever happens: with --session it is on disk after each answer.
 */
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli/cli_chat.h"
#include "base/status.h"

struct talk {
    struct chat chat;
    struct line_reader lines;
    struct str message;
    bool warned;                 /* the last thing that happened was a Ctrl-C */
    uint32_t asked, unanswered;  /* messages; the second for other reasons than Ctrl-C */
};

/* The home's file; the home may not be there yet when MODEL is a store. */
static void history_path(const struct cli_options *o, struct str *path) {
    if (o->home != NULL) {
        (void)mkdir(o->home, 0777);
        str_printf(path, "%s/chat_history", o->home);
    }
}

static lamina_status open_all(struct talk *t, struct cli_options *o, struct cli_progress *progress, struct lamina_error *err) {
    struct chat *c = &t->chat;
    struct lamina_settings settings;
    LAMINA_TRY(cli_settings(o, &settings, err));
    settings.context_tokens = o->ctx_size;
    cli_progress_init(progress, o, &settings.callbacks);
    lamina_status status = lamina_model_open(&c->model, o->args[0], &settings, err);
    cli_progress_clear(progress);
    LAMINA_TRY(status);
    c->text = lamina_model_text(c->model);
    if (c->text == NULL || !lamina_text_has_template(c->text)) {
        return base_fail(err, LAMINA_NOT_FOUND,
                         "%s says nothing of how to talk with it (no %s): --chat-template gives a format, lamina run continues "
                         "plain text",
                         o->args[0], c->text == NULL ? "tokenizer" : "chat template");
    }
    LAMINA_TRY(lamina_session_open(&c->session, c->model, err));
    LAMINA_TRY(cli_sampling(c->model, o, &c->sampling, err));
    LAMINA_TRY(lamina_session_sampling(c->session, &c->sampling, err));
    cli_live_init(&c->live, o);
    progress->live = &c->live;
    return LAMINA_OK;
}

static lamina_status begin(struct talk *t, const char *note, struct lamina_error *err) {
    struct chat *c = &t->chat;
    const struct cli_options *o = c->o;
    if (!o->quiet) {
        cli_say_start(c->model);
    }
    if (note != NULL && !o->quiet) {
        cli_say(1, "%s", note);
    }
    if (o->session != NULL && access(o->session, F_OK) == 0) {
        LAMINA_TRY(chat_load(c, o->session, err));
    }
    if (o->system != NULL) {
        LAMINA_TRY(chat_set_system(c, span_of_text(o->system), err));
    }
    if (t->lines.prompts && !o->quiet) {
        cli_say(1, "/help lists commands; Ctrl-C stops an answer, Ctrl-D ends");
    }
    return LAMINA_OK;
}

/* Answers the last message; one that gets no answer is taken back, so that the conversation stays one. */
static lamina_status answer(struct talk *t, struct lamina_error *err) {
    struct chat *c = &t->chat;
    struct lamina_error why = {0};
    bool answered = false;
    bool fatal = false;
    lamina_status status = chat_answer(c, &answered, &fatal, &why);
    bool restored = !answered && c->replacing;
    if (restored) {
        LAMINA_TRY(chat_add(c, CHAT_ASSISTANT, str_span(&c->replaced), err));
    } else if (!answered) {
        chat_remove_last(c);
    }
    c->replacing = false;
    bool stopped = cli_interrupted();
    if (stopped && !answered) {
        cli_say(1, "stopped before the answer began; %s", restored ? "the earlier one stays" : "the message is taken back");
    }
    if (t->lines.prompts && cli_interrupt_take()) {
        t->warned = true;
    }
    if (answered && c->o->session != NULL && (status == LAMINA_OK || fatal)) {
        struct lamina_error unsaved = {0};
        if (chat_save(c, c->o->session, &unsaved) < 0) {
            cli_say(0, "the conversation is not kept: %s", unsaved.message);
        }
    }
    if (fatal) {
        *err = why;
        return status;
    }
    t->asked++;
    if (status < 0 && status != LAMINA_INTERRUPTED) {
        cli_say(-1, "%s", why.message);
        t->unanswered += answered ? 0 : 1;
    }
    return cli_interrupted() ? LAMINA_INTERRUPTED : LAMINA_OK;
}

static lamina_status take_message(struct talk *t, struct lamina_error *err) {
    struct chat *c = &t->chat;
    const char *text = str_text(&t->message);
    bool to_answer = false;
    if (strspn(text, " \t\n") == t->message.len) {
        return LAMINA_OK;
    }
    if (text[0] == '/' && text[1] != '/') {
        struct lamina_error why = {0};
        while (strchr(" \t\n", t->message.ptr[t->message.len - 1]) != NULL) { /* the slash ends it */
            t->message.ptr[--t->message.len] = '\0';
        }
        if (chat_command(c, text, &to_answer, &why) < 0) {
            cli_say(-1, "%s", why.message);
        }
    } else {
        size_t slash = text[0] == '/' ? 1 : 0;
        LAMINA_TRY(chat_add(c, CHAT_USER, span_sub(str_span(&t->message), slash, t->message.len), err));
        to_answer = true;
    }
    return to_answer ? answer(t, err) : LAMINA_OK;
}

static lamina_status talk(struct talk *t, struct lamina_error *err) {
    lamina_status status = LAMINA_OK;
    while (status == LAMINA_OK && !t->chat.quit) {
        str_clear(&t->message);
        enum line_result result = line_message(&t->lines, &t->message, err);
        if (result == LINE_INTERRUPTED) {
            if (t->warned || !t->lines.prompts || !cli_interrupt_take()) {
                return LAMINA_INTERRUPTED; /* the second in a row, a pipe, or a SIGTERM */
            }
            t->warned = true;
            cli_say(1, "Ctrl-C once more, or Ctrl-D, ends");
            continue;
        }
        if (result != LINE_TEXT) {
            return result == LINE_FAILED ? err->code : LAMINA_OK;
        }
        t->warned = false;
        status = take_message(t, err);
    }
    return status;
}

lamina_status cmd_chat(struct cli_options *o, struct lamina_error *err) {
    struct talk t = {.chat = {.o = o}};
    struct cli_progress progress;
    struct str history = {0};
    const char *note = NULL;
    /* Characters of more than one byte, their editing and their width, are known by the locale. */
    if (setlocale(LC_CTYPE, "") == NULL || MB_CUR_MAX == 1) {
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    }
    history_path(o, &history);
    line_open(&t.lines, history.len > 0 ? str_text(&history) : NULL, &note); /* before the plan: it counts what is loaded */
    lamina_status status = open_all(&t, o, &progress, err);
    if (status == LAMINA_OK) {
        status = begin(&t, note, err);
    }
    if (status == LAMINA_OK) {
        status = talk(&t, err);
    }
    if (status == LAMINA_OK && t.unanswered > 0 && !t.lines.prompts) { /* nobody has seen the word about it */
        status = base_fail(err, LAMINA_PARTIAL, "%u of %u messages got no answer; why stands above", t.unanswered, t.asked);
    }
    lamina_session_close(&t.chat.session);
    lamina_model_close(&t.chat.model);
    chat_clear(&t.chat, true);
    line_close(&t.lines);
    str_drop(&t.chat.replaced);
    str_drop(&t.message);
    str_drop(&history);
    return status;
}
