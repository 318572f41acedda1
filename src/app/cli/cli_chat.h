/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of lamina chat share. A chat is a list of messages; what the model has computed of it is looked up by
 * comparing tokens, never remembered beside it, so every way of changing the list (undo, another system prompt, loading)
 * needs no further care.
 */
#ifndef CLI_CLI_CHAT_H
#define CLI_CLI_CHAT_H

#include "app/cli/cli.h"
#include "app/cli/line.h"
#include "app/cli/live.h"

enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT, CHAT_ROLES };

struct chat_message {
    enum chat_role role;
    struct str text;
};

struct chat {
    struct cli_options *o;
    struct lamina_model *model;
    struct lamina_text *text;    /* the model's */
    struct lamina_session *session;
    struct lamina_sampling sampling;
    struct cli_live live;
    struct cli_run_facts facts;  /* of the last answer; new_tokens 0: there was none */
    struct chat_message *messages; /* a system message comes first, if at all */
    size_t count, room;
    struct str replaced;         /* the answer that /regen is to replace */
    bool replacing;
    bool quit;                   /* a command said so */
};

/* ---- the list (chat_list.c) ---- */

const char *chat_role_name(enum chat_role role);
lamina_status chat_add(struct chat *c, enum chat_role role, struct span text, struct lamina_error *err);
void chat_remove_last(struct chat *c);
void chat_clear(struct chat *c, bool system_too);
/* Sets, or with an empty text removes, the system message. */
lamina_status chat_set_system(struct chat *c, struct span text, struct lamina_error *err);
bool chat_ends_with(const struct chat *c, enum chat_role role);
/* The JSON list that templates take. */
void chat_json(const struct chat *c, struct str *out);

/* ---- answers (chat_answer.c) ---- */

/* The tokens of the conversation as the model sees them, `answering`: up to where an answer begins. *ids is lamina_free'd. */
lamina_status chat_ids(struct chat *c, bool answering, uint32_t **ids, size_t *count, struct lamina_error *err);
uint32_t chat_context(const struct chat *c);
/* Answers the last message, which is the user's. *answered: an answer, whole or stopped, was added; else, and after a failure, the
 * list is as it was. `fatal` failures leave nothing to talk to. */
lamina_status chat_answer(struct chat *c, bool *answered, bool *fatal, struct lamina_error *err);

/* ---- files (chat_file.c) ---- */

/* Messages to `path` as JSON, what was computed to `path`.kv. Both are replaced in one step each, and private. A KV file that
 * cannot be written is warned of: it only saves time. */
lamina_status chat_save(struct chat *c, const char *path, struct lamina_error *err);
/* In place of the conversation at hand. NOT_FOUND; DAMAGED when it is no chat; the conversation is then as it was. A KV file
 * that does not fit is left alone with a note: the messages are computed again with the next answer. */
lamina_status chat_load(struct chat *c, const char *path, struct lamina_error *err);

/* ---- commands (chat_commands.c) ---- */

/* A line that begins with "/". Failures are for a person, who may go on. *answer: the last message is to be answered. */
lamina_status chat_command(struct chat *c, const char *line, bool *answer, struct lamina_error *err);

#endif
