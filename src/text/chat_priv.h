/* SPDX-License-Identifier: Apache-2.0
 *
 * What chat.c and chat_prepare.c share: the list of messages as found, and the ways it may be rewritten before a template
 * sees it. Everything here is JSON text in, JSON text out; no template is known.
 */
#ifndef TEXT_CHAT_PRIV_H
#define TEXT_CHAT_PRIV_H

#include <stdbool.h>

#include "base/json.h"
#include "base/span.h"
#include "base/status.h"
#include "base/str.h"

enum chat_rewrite {
    CHAT_DEVELOPER_AS_SYSTEM = 1, /* role developer becomes system */
    CHAT_ARGUMENTS_PARSED = 2,    /* function.arguments given as text becomes the object it spells */
    CHAT_PARTS_JOINED = 4,        /* a content list of text parts only becomes one text, parts on lines of their own */
    CHAT_TEXT_AS_PARTS = 8,       /* a content text becomes a list of one text part */
    CHAT_SYSTEM_FOLDED = 16,      /* system messages go in front of the next user message's text */
    CHAT_CONTENT_FILLED = 32      /* a message without content gets "" */
};

struct chat_message {
    struct span raw;     /* the whole object */
    struct span content; /* its value as JSON text, empty when the message has none */
    enum json_type content_type;
    bool is_system, is_developer, is_user;
    bool text_parts;     /* content is a list, and all of it is text */
    bool text_arguments; /* some call's arguments are text */
};

struct chat_messages {
    struct chat_message *item;
    size_t count;
};

/* Finds the messages of a JSON list. DAMAGED when it is no list of objects. */
lamina_status chat_messages_read(struct chat_messages *m, struct span json, struct lamina_error *err);
void chat_messages_drop(struct chat_messages *m);

/* The rewrites (of enum chat_rewrite) that would change anything. null content becomes "" in any case. */
unsigned chat_messages_possible(const struct chat_messages *m);

/* Appends the list as JSON. When `marker` is not NULL it stands for the text of message number `marked`. */
void chat_messages_write(const struct chat_messages *m, unsigned rewrites, size_t marked, const char *marker,
                         struct str *out);

/* Calls for every text of a message (its content, or each text part), decoded; stops at false and returns it. */
bool chat_message_texts(const struct chat_message *m, bool (*each)(void *user, struct span text), void *user);

#endif
