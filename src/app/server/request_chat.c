/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages: checked, and brought into the one form that chat templates see, a list of objects with role and content. Parts of text
 * are joined; parts that are no text are refused, since no model here sees or hears. Bodies of the helpers (/tokenize) too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/server/request_priv.h"

/* [{"type": "text", "text": ...}, ...] as one text. Others are refused, calls of tools and their results too: templates know them
 * as members and roles of messages. */
static bool read_parts(struct json_reader *r, struct str *out) {
    if (!json_enter_array(r)) {
        return false;
    }
    while (json_next_item(r)) {
        struct str type = {0};
        struct span key;
        bool text = false;
        if (json_peek(r) == JSON_STRING) {
            if (!request_add_string(r, out)) {
                return false;
            }
            continue;
        }
        bool good = json_enter_object(r);
        while (good && json_next_key(r, &key)) {
            if (span_is(key, "text") && json_peek(r) == JSON_STRING) {
                text = true;
                good = request_add_string(r, out);
            } else {
                good = span_is(key, "type") && json_peek(r) == JSON_STRING ? json_string(r, &type) : json_skip(r);
            }
        }
        if (good && r->failed == 0 && !text) {
            good = json_refuse(r, LAMINA_USAGE, "a part of type \"%.32s\": only text is understood", str_text(&type));
        }
        str_drop(&type);
        if (!good || r->failed != 0) {
            return false;
        }
    }
    return r->failed == 0;
}

static bool read_content(struct json_reader *r, struct str *out) {
    return json_null(r) || (json_peek(r) == JSON_ARRAY ? read_parts(r, out) : request_add_string(r, out));
}

static bool role_is_known(const struct str *role) {
    static const char *const known[] = {"system", "developer", "user", "assistant", "tool", "function"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(str_text(role), known[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void message(struct str *out, const char *role, const struct str *content, const struct str *rest) {
    str_add_text(out, out->len > 1 ? ",{\"role\":" : "{\"role\":");
    json_write_string(out, span_of_text(role));
    str_add_text(out, ",\"content\":");
    json_write_string(out, str_span(content));
    str_add_span(out, str_span(rest));
    str_add_text(out, "}");
}

/* Nothing is taken, since clients write [] where there is none. */
bool request_images(struct json_reader *r, struct request *q) {
    struct span raw;
    (void)q;
    if (json_peek(r) == JSON_ARRAY) {
        return json_enter_array(r) &&
               (!json_next_item(r) ? r->failed == 0 : json_refuse(r, LAMINA_USAGE, "images are not understood, only text"));
    }
    return json_skip_raw(r, &raw) &&
           (span_is(raw, "null") || span_is(raw, "\"\"") || json_refuse(r, LAMINA_USAGE, "images are not understood, only text"));
}

/* One message; members that some templates read (tool_calls, name, tool_call_id, reasoning_content) go along as they are. */
static bool read_message(struct json_reader *r, struct request *q) {
    struct str role = {0};
    struct str content = {0};
    struct str rest = {0};
    struct span key;
    struct span raw;
    bool good = json_enter_object(r);
    while (good && json_next_key(r, &key)) {
        bool role_key = span_is(key, "role");
        bool along = span_is(key, "tool_calls") || span_is(key, "name") || span_is(key, "tool_call_id") ||
                     span_is(key, "reasoning_content");
        if (role_key) {
            good = role.len == 0 ? json_string(r, &role) : json_refuse(r, LAMINA_USAGE, "\"role\" is given twice");
        } else if (span_is(key, "content")) {
            good = read_content(r, &content);
        } else if (span_is(key, "images")) {
            good = request_images(r, q);
        } else if (along && json_peek(r) != JSON_NULL) {
            char name[24];
            (void)snprintf(name, sizeof(name), "%.*s", (int)key.len, (const char *)key.ptr);
            good = json_skip_raw(r, &raw);
            str_printf(&rest, ",\"%s\":", name);
            str_add_span(&rest, good ? raw : (struct span){0});
        } else {
            good = json_skip(r);
        }
    }
    if (good && r->failed == 0 && !role_is_known(&role)) {
        good = json_refuse(r, LAMINA_USAGE, "a message needs a role: system, developer, user, assistant or tool");
    }
    if (good && r->failed == 0) {
        message(&q->messages, str_text(&role), &content, &rest);
    }
    q->messages.failed = q->messages.failed || content.failed || rest.failed;
    str_drop(&role);
    str_drop(&content);
    str_drop(&rest);
    return good && r->failed == 0;
}

/* Anthropic's system text stands beside the messages, before or behind them in the body. */
static void put_system_first(struct request *q) {
    static const struct str none = {0};
    struct str all = {0};
    str_add_text(&all, "[");
    message(&all, "system", &q->system, &none);
    if (q->messages.len > 2) {
        str_add_text(&all, ",");
        str_add(&all, q->messages.ptr + 1, q->messages.len - 1);
    } else {
        str_add_text(&all, "]");
    }
    str_drop(&q->messages);
    q->messages = all;
    str_clear(&q->system);
}

bool request_messages(struct json_reader *r, struct request *q) {
    str_add_text(&q->messages, "[");
    if (!json_enter_array(r)) {
        return false;
    }
    while (json_next_item(r)) {
        if (!read_message(r, q)) {
            return false;
        }
    }
    if (r->failed == 0 && q->messages.len == 1) {
        str_clear(&q->messages);
        return q->api == REQUEST_OLLAMA_CHAT || json_refuse(r, LAMINA_USAGE, "there is no message");
    }
    str_add_text(&q->messages, "]");
    if (q->system.len > 0 && q->api == REQUEST_ANTHROPIC) {
        put_system_first(q);
    }
    return r->failed == 0;
}

bool request_system(struct json_reader *r, struct request *q) {
    bool good = read_content(r, &q->system);
    if (good && q->api == REQUEST_ANTHROPIC && q->messages.len > 0 && q->system.len > 0) {
        put_system_first(q);
    }
    return good;
}

bool request_generate_messages(struct request *q) {
    static const struct str none = {0};
    if (q->raw || q->prompt_count == 0 || q->prompts[0].text.len == 0) {
        return true;
    }
    str_add_text(&q->messages, "[");
    if (q->system.len > 0) {
        message(&q->messages, "system", &q->system, &none);
    }
    message(&q->messages, "user", &q->prompts[0].text, &none);
    str_add_text(&q->messages, "]");
    return !q->messages.failed;
}

/* ---- helpers ---- */

static bool read_text_member(struct json_reader *r, struct request_text *t, struct span key) {
    struct span raw;
    struct str *raw_at = span_is(key, "messages") ? &t->messages : span_is(key, "tools") ? &t->tools
                         : span_is(key, "chat_template_kwargs") ? &t->kwargs : NULL;
    if (json_null(r)) {
        return true;
    }
    if (raw_at != NULL) {
        if (raw_at->len > 0 || !json_skip_raw(r, &raw)) {
            return json_refuse(r, LAMINA_USAGE, "\"%.*s\" is given twice", (int)key.len, (const char *)key.ptr);
        }
        str_add_span(raw_at, raw);
        return true;
    }
    if (span_is(key, "prompt") || span_is(key, "content") || span_is(key, "input")) {
        str_clear(&t->text);
        t->has_text = true;
        return json_string(r, &t->text);
    }
    if (span_is(key, "tokens") && json_peek(r) == JSON_ARRAY) {
        t->has_ids = true;
        t->count = 0;
        free(t->ids);
        t->ids = NULL;
        return json_enter_array(r) && request_ids(r, &t->ids, &t->count);
    }
    if (span_is(key, "model")) {
        str_clear(&t->model);
        return json_string(r, &t->model);
    }
    if (span_is(key, "add_special_tokens") || span_is(key, "add_special")) {
        t->special_given = true;
        return json_bool(r, &t->add_special);
    }
    if (span_is(key, "add_generation_prompt")) {
        bool add = true;
        bool good = json_bool(r, &add);
        t->no_generation_prompt = !add;
        return good;
    }
    return json_skip(r);
}

bool request_text_parse(struct request_text *t, struct span body, struct refusal *why) {
    struct json_reader r;
    struct str key_text = {0};
    struct lamina_error err = {0};
    struct span key;
    *t = (struct request_text){.add_special = true};
    json_init(&r, body, "the body", &key_text, &err);
    bool good = json_enter_object(&r);
    while (good && json_next_key(&r, &key)) {
        good = read_text_member(&r, t, key);
    }
    lamina_status status = json_finish(&r);
    str_drop(&key_text);
    return status < 0 ? refuse(why, 400, "invalid_request_error", NULL, "%s", err.message) : true;
}

void request_text_drop(struct request_text *t) {
    str_drop(&t->text);
    str_drop(&t->model);
    str_drop(&t->messages);
    str_drop(&t->tools);
    str_drop(&t->kwargs);
    free(t->ids);
    *t = (struct request_text){0};
}
