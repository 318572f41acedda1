/* SPDX-License-Identifier: Apache-2.0
 * What a person may do in a chat besides talking. One table: names, help, functions. */
#include <string.h>

#include "app/cli/cli_chat.h"
#include "base/status.h"

struct command {
    const char *name;
    const char *argument;        /* as help shows it; NULL: none is taken */
    const char *help;
    lamina_status (*run)(struct chat *c, const char *argument, bool *answer, struct lamina_error *err);
};

static lamina_status do_clear(struct chat *c, const char *argument, bool *answer, struct lamina_error *err) {
    (void)argument;
    (void)answer;
    (void)err;
    chat_clear(c, false);
    return LAMINA_OK;
}

static lamina_status do_system(struct chat *c, const char *argument, bool *answer, struct lamina_error *err) {
    (void)answer;
    return chat_set_system(c, span_of_text(argument), err);
}

static lamina_status do_regen(struct chat *c, const char *argument, bool *answer, struct lamina_error *err) {
    (void)argument;
    size_t before = chat_ends_with(c, CHAT_ASSISTANT) ? 2 : 1;
    if (c->count < before || c->messages[c->count - before].role != CHAT_USER) {
        return base_fail(err, LAMINA_USAGE, "there is no message to answer again");
    }
    if (before == 2) {
        str_drop(&c->replaced);
        c->replaced = c->messages[--c->count].text;
        c->replacing = true;
    }
    c->sampling.sequence++; /* another answer, also with the same seed */
    if (c->sampling.temperature == 0.0f) {
        cli_say(1, "the temperature is 0, so the answer will be the same (/set temp 0.7)");
    }
    *answer = true;
    return LAMINA_OK;
}

static lamina_status do_undo(struct chat *c, const char *argument, bool *answer, struct lamina_error *err) {
    (void)argument;
    (void)answer;
    if (chat_ends_with(c, CHAT_ASSISTANT)) {
        chat_remove_last(c);
    } else if (!chat_ends_with(c, CHAT_USER)) {
        return base_fail(err, LAMINA_USAGE, "there is nothing to take back");
    }
    if (chat_ends_with(c, CHAT_USER)) {
        chat_remove_last(c);
    }
    return LAMINA_OK;
}

static lamina_status do_save(struct chat *c, const char *argument, bool *answer, struct lamina_error *err) {
    (void)answer;
    return argument[0] != '\0' ? chat_save(c, argument, err) : base_fail(err, LAMINA_USAGE, "/save needs the name of a file");
}

static lamina_status do_load(struct chat *c, const char *argument, bool *answer, struct lamina_error *err) {
    (void)answer;
    return argument[0] != '\0' ? chat_load(c, argument, err) : base_fail(err, LAMINA_USAGE, "/load needs the name of a file");
}

static void say_settings(const struct chat *c) {
    const struct lamina_sampling *s = &c->sampling;
    cli_say(1, "temp %g, top-k %u, top-p %g, min-p %g, repeat-penalty %g, seed %llu, predict %u", (double)s->temperature, s->top_k,
            (double)s->top_p, (double)s->min_p, (double)s->repetition_penalty, (unsigned long long)s->seed, c->o->predict);
}

static lamina_status do_set(struct chat *c, const char *argument, bool *answer, struct lamina_error *err) {
    static const char *const names[] = {"temp", "temperature", "top-k", "top-p", "min-p", "repeat-penalty", "seed", "predict"};
    char name[32] = "";
    size_t len = strcspn(argument, " =");
    (void)answer;
    if (argument[0] == '\0') {
        say_settings(c);
        return LAMINA_OK;
    }
    for (size_t i = 0; i < len && i + 1 < sizeof(name); i++) {
        name[i] = argument[i] == '_' ? '-' : argument[i];
    }
    const char *value = argument + len + strspn(argument + len, " =");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i], name) == 0) {
            struct cli_options tried = *c->o; /* as it is when the model's sampling refuses the value */
            struct lamina_sampling sampling;
            LAMINA_TRY(cli_option_set(&tried, CMD_CHAT, name, value, name, err));
            LAMINA_TRY(cli_sampling(c->model, &tried, &sampling, err));
            sampling.seed = tried.seed_given || c->sampling.seed == 0 ? sampling.seed : c->sampling.seed;
            sampling.sequence = c->sampling.sequence;
            LAMINA_TRY(lamina_session_sampling(c->session, &sampling, err));
            *c->o = tried;
            c->sampling = sampling;
            return LAMINA_OK;
        }
    }
    return base_fail(err, LAMINA_USAGE, "\"%s\" cannot be set; temp, top-k, top-p, min-p, repeat-penalty, seed and predict can",
                     name);
}

static lamina_status do_tokens(struct chat *c, const char *argument, bool *answer, struct lamina_error *err) {
    uint32_t *ids = NULL;
    size_t count = 0;
    (void)argument;
    (void)answer;
    if (c->count > 0) {
        LAMINA_TRY(chat_ids(c, false, &ids, &count, err));
    }
    lamina_free(ids);
    uint32_t context = chat_context(c);
    cli_say(1, "%zu messages, %zu tokens; the context holds %u, %zu are left; %u tokens are computed", c->count, count, context,
            count < context ? context - count : 0, lamina_session_length(c->session));
    return LAMINA_OK;
}

static lamina_status do_stats(struct chat *c, const char *argument, bool *answer, struct lamina_error *err) {
    (void)argument;
    (void)answer;
    (void)err;
    cli_say_facts(c->model, &c->facts);
    return LAMINA_OK;
}

static lamina_status do_quit(struct chat *c, const char *argument, bool *answer, struct lamina_error *err) {
    (void)argument;
    (void)answer;
    (void)err;
    c->quit = true;
    return LAMINA_OK;
}

static lamina_status do_help(struct chat *c, const char *argument, bool *answer, struct lamina_error *err);

static const struct command COMMANDS[] = {
    {"help", NULL, "this list", do_help},
    {"clear", NULL, "forget the conversation, but not the system prompt", do_clear},
    {"system", "[TEXT]", "what the model is told before the conversation; nothing: none", do_system},
    {"regen", NULL, "answer the last message again", do_regen},
    {"undo", NULL, "take the last message and its answer back", do_undo},
    {"save", "FILE", "keep the conversation in FILE, and what was computed of it in FILE.kv", do_save},
    {"load", "FILE", "go on with a conversation that was kept", do_load},
    {"set", "[NAME VALUE]", "temp, top-k, top-p, min-p, repeat-penalty, seed, predict; nothing: show them", do_set},
    {"tokens", NULL, "how long the conversation is, and how much room is left", do_tokens},
    {"stats", NULL, "what the last answer took, and what was read so far", do_stats},
    {"quit", NULL, "end, as Ctrl-D", do_quit},
};

static lamina_status do_help(struct chat *c, const char *argument, bool *answer, struct lamina_error *err) {
    (void)c;
    (void)argument;
    (void)answer;
    (void)err;
    for (size_t i = 0; i < ARRAY_LEN(COMMANDS); i++) {
        char left[32];
        (void)snprintf(left, sizeof(left), "/%s %s", COMMANDS[i].name, COMMANDS[i].argument != NULL ? COMMANDS[i].argument : "");
        fprintf(stderr, "  %-20s %s\n", left, COMMANDS[i].help);
    }
    fputs("  A line that ends in a backslash goes on in the next; \"\"\" begins and ends a message of several lines;\n"
          "  // begins a message with a slash. Ctrl-C stops an answer and keeps what was said; once more at the prompt quits.\n",
          stderr);
    return LAMINA_OK;
}

lamina_status chat_command(struct chat *c, const char *line, bool *answer, struct lamina_error *err) {
    size_t len = strcspn(line + 1, " \t\n");
    const char *argument = line + 1 + len + strspn(line + 1 + len, " \t\n");
    *answer = false;
    for (size_t i = 0; i < ARRAY_LEN(COMMANDS); i++) {
        const struct command *k = &COMMANDS[i];
        if (strlen(k->name) == len && memcmp(k->name, line + 1, len) == 0) {
            if (k->argument == NULL && argument[0] != '\0') {
                return base_fail(err, LAMINA_USAGE, "/%s stands alone; what is \"%.60s\"?", k->name, argument);
            }
            return k->run(c, argument, answer, err);
        }
    }
    return base_fail(err, LAMINA_USAGE, "\"/%.*s\" is not a command; /help lists them, // begins a message with a slash",
                     (int)(len < 40 ? len : 40), line + 1);
}
