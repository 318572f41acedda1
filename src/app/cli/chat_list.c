/* SPDX-License-Identifier: Apache-2.0
 * The messages of a chat. */
#include <stdlib.h>
#include <string.h>

#include "app/cli/cli_chat.h"
#include "base/json.h"
#include "base/status.h"

const char *chat_role_name(enum chat_role role) {
    static const char *const names[CHAT_ROLES] = {[CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant"};
    return names[role];
}

static lamina_status no_memory(struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "out of memory for the conversation");
}

lamina_status chat_add(struct chat *c, enum chat_role role, struct span text, struct lamina_error *err) {
    if (c->count == c->room) {
        size_t room = c->room > 0 ? c->room * 2 : 16;
        struct chat_message *more = (struct chat_message *)realloc(c->messages, room * sizeof(*more));
        if (more == NULL) {
            return no_memory(err);
        }
        c->messages = more;
        c->room = room;
    }
    struct chat_message *m = &c->messages[c->count];
    *m = (struct chat_message){.role = role};
    str_add_span(&m->text, text);
    if (m->text.failed) {
        str_drop(&m->text);
        return no_memory(err);
    }
    c->count++;
    return LAMINA_OK;
}

void chat_remove_last(struct chat *c) {
    if (c->count > 0) {
        str_drop(&c->messages[--c->count].text);
    }
}

static bool has_system(const struct chat *c) {
    return c->count > 0 && c->messages[0].role == CHAT_SYSTEM;
}

void chat_clear(struct chat *c, bool system_too) {
    size_t keep = !system_too && has_system(c) ? 1 : 0;
    while (c->count > keep) {
        chat_remove_last(c);
    }
    if (system_too) {
        free(c->messages);
        c->messages = NULL;
        c->room = 0;
    }
}

lamina_status chat_set_system(struct chat *c, struct span text, struct lamina_error *err) {
    if (!has_system(c)) {
        if (text.len == 0) {
            return LAMINA_OK;
        }
        LAMINA_TRY(chat_add(c, CHAT_SYSTEM, text, err)); /* at the end, so it goes to the front */
        struct chat_message last = c->messages[c->count - 1];
        memmove(c->messages + 1, c->messages, (c->count - 1) * sizeof(*c->messages));
        c->messages[0] = last;
        return LAMINA_OK;
    }
    struct str copy = {0};
    str_add_span(&copy, text);
    if (copy.failed) {
        return no_memory(err);
    }
    str_drop(&c->messages[0].text);
    c->messages[0].text = copy;
    if (text.len == 0) {
        str_drop(&copy);
        memmove(c->messages, c->messages + 1, --c->count * sizeof(*c->messages));
    }
    return LAMINA_OK;
}

bool chat_ends_with(const struct chat *c, enum chat_role role) {
    return c->count > 0 && c->messages[c->count - 1].role == role;
}

void chat_json(const struct chat *c, struct str *out) {
    str_add_text(out, "[");
    for (size_t i = 0; i < c->count; i++) {
        str_printf(out, "%s{\"role\": \"%s\", \"content\": ", i > 0 ? ",\n  " : "", chat_role_name(c->messages[i].role));
        json_write_string(out, str_span(&c->messages[i].text));
        str_add_text(out, "}");
    }
    str_add_text(out, "]");
}
