/* SPDX-License-Identifier: Apache-2.0
 *
 * Chats in files: FILE has the messages, for people and programs, FILE.kv what the model computed of them. Only the first is
 * needed, and the second is never believed: tokens decide what of it is used.
 *
 *     {"format": "lamina-chat", "version": 1, "model": "...", "messages": [{"role": "user", "content": "..."}, ...]}
 */
#include <stdlib.h>
#include <string.h>

#include "app/cli/cli_chat.h"
#include "base/json.h"
#include "base/status.h"

enum { VERSION = 1 };
static const char FORMAT[] = "lamina-chat";

/* ---- saving ---- */

lamina_status chat_save(struct chat *c, const char *path, struct lamina_error *err) {
    struct str text = {0};
    struct str kv = {0};
    struct lamina_error why = {0};
    str_printf(&text, "{\"format\": \"%s\", \"version\": %d, \"model\": ", FORMAT, VERSION);
    json_write_string(&text, span_of_text(c->o->args[0]));
    str_add_text(&text, ", \"messages\":\n ");
    chat_json(c, &text);
    str_add_text(&text, "}\n");
    lamina_status status = cli_put_file(path, &text, 0600, err);
    str_printf(&kv, "%s.kv", path);
    if (status == LAMINA_OK && lamina_session_length(c->session) > 0 &&
        (kv.failed || lamina_session_save(c->session, str_text(&kv), &why) < 0)) {
        cli_say(0, "the messages are in %s, but not what was computed of them: %s", path,
                kv.failed ? "out of memory" : why.message);
    }
    str_drop(&text);
    str_drop(&kv);
    return status;
}

/* ---- loading ---- */

static bool read_message(struct json_reader *r, struct chat *into, struct str *role, struct str *content,
                         struct lamina_error *err) {
    struct span key;
    bool has_role = false;
    bool has_content = false;
    str_clear(role);
    str_clear(content);
    if (!json_enter_object(r)) {
        return false;
    }
    while (json_next_key(r, &key)) {
        if (span_is(key, "role") && !has_role) {
            has_role = json_string(r, role);
        } else if (span_is(key, "content") && !has_content) {
            has_content = json_string(r, content);
        } else {
            json_skip(r);
        }
    }
    for (int i = 0; has_role && has_content && i < CHAT_ROLES; i++) {
        if (span_is(str_span(role), chat_role_name((enum chat_role)i)) && (i != CHAT_SYSTEM || into->count == 0)) {
            return chat_add(into, (enum chat_role)i, str_span(content), err) == LAMINA_OK;
        }
    }
    return json_refuse(r, LAMINA_DAMAGED,
                       "a message needs a role (user or assistant; system for the first) and a content, both text");
}

static bool read_head(struct json_reader *r, struct span key, struct str *scratch, bool *known) {
    uint64_t version = 0;
    str_clear(scratch);
    if (span_is(key, "format")) {
        *known = json_string(r, scratch) && span_is(str_span(scratch), FORMAT);
        return *known || json_refuse(r, LAMINA_DAMAGED, "this is no chat of lamina's");
    }
    if (span_is(key, "version")) {
        return json_u64(r, &version) && (version == VERSION || json_refuse(r, LAMINA_UNSUPPORTED,
                                                                           "chats of version %llu are not known, only of %d",
                                                                           (unsigned long long)version, VERSION));
    }
    return json_skip(r);
}

static lamina_status parse(struct span text, const char *path, struct chat *into, struct lamina_error *err) {
    struct json_reader r;
    struct str key_text = {0};
    struct str role = {0};
    struct str content = {0};
    struct span key;
    bool known = false;
    bool listed = false;
    json_init(&r, text, path, &key_text, err);
    if (json_enter_object(&r)) {
        while (json_next_key(&r, &key)) {
            if (!span_is(key, "messages")) {
                (void)read_head(&r, key, &role, &known);
            } else if (json_enter_array(&r)) {
                listed = true;
                while (json_next_item(&r) && read_message(&r, into, &role, &content, err)) {
                }
            }
        }
    }
    lamina_status status = json_finish(&r);
    if (status == LAMINA_OK && (!known || !listed)) {
        status = base_fail(err, LAMINA_DAMAGED, "%s is no chat of lamina's: it does not say \"format\": \"%s\" and \"messages\"",
                           path, FORMAT);
    }
    str_drop(&key_text);
    str_drop(&role);
    str_drop(&content);
    return status;
}

static void load_computed(struct chat *c, const char *path) {
    struct str kv = {0};
    struct lamina_error why = {0};
    str_printf(&kv, "%s.kv", path);
    lamina_status status = kv.failed ? LAMINA_NO_FIT : lamina_session_load(c->session, str_text(&kv), &why);
    if (!c->o->quiet && status == LAMINA_OK) {
        cli_say(1, "%s: %zu messages, %u tokens of them computed", path, c->count, lamina_session_length(c->session));
    } else if (!c->o->quiet) {
        cli_say(1, "%s: %zu messages; they are computed again with the next answer, since %s", path, c->count, why.message);
    }
    str_drop(&kv);
}

lamina_status chat_load(struct chat *c, const char *path, struct lamina_error *err) {
    struct str text = {0};
    struct chat found = {.o = c->o};
    lamina_status status = cli_read_file(path, &text, err);
    if (status == LAMINA_OK) {
        status = parse(str_span(&text), path, &found, err);
    }
    str_drop(&text);
    if (status < 0) {
        chat_clear(&found, true);
        return status;
    }
    chat_clear(c, true);
    c->messages = found.messages;
    c->count = found.count;
    c->room = found.room;
    load_computed(c, path);
    if (chat_ends_with(c, CHAT_USER) && !c->o->quiet) {
        cli_say(1, "the last message has no answer yet: /regen makes one");
    }
    return LAMINA_OK;
}
