/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages as clients send them, rewritten into what templates accept (reference/ecosystem.md 4.3). Only JSON is known
 * here. The invariant: members that no rewrite names are copied byte for byte, in their order.
 */
#include <stdlib.h>

#include "text/chat_priv.h"

/* A reader over a value that was checked once already; its errors cannot happen again and go nowhere. */
static void reopen(struct json_reader *j, struct span text, struct str *key) {
    json_init(j, text, "messages", key, NULL);
}

static bool string_is(struct json_reader *j, const char *word) {
    struct str text = {0};
    bool is = json_string(j, &text) && span_is(str_span(&text), word);
    str_drop(&text);
    return is;
}

/* Whether a JSON value is a string: calls' arguments may also be objects. */
static void find_arguments(struct span call, struct chat_message *m) {
    struct str key = {0};
    struct json_reader j;
    struct span name;
    struct span value;
    reopen(&j, call, &key);
    if (json_peek(&j) == JSON_OBJECT && json_enter_object(&j)) {
        while (json_next_key(&j, &name)) {
            bool arguments = span_is(name, "arguments");
            enum json_type type = json_peek(&j);
            bool function = span_is(name, "function") && type == JSON_OBJECT;
            if (!json_skip_raw(&j, &value)) {
                break;
            }
            m->text_arguments = m->text_arguments || (arguments && type == JSON_STRING);
            if (function) {
                find_arguments(value, m);
            }
        }
    }
    str_drop(&key);
}

static void find_calls(struct span calls, struct chat_message *m) {
    struct str key = {0};
    struct json_reader j;
    struct span call;
    reopen(&j, calls, &key);
    if (json_peek(&j) == JSON_ARRAY && json_enter_array(&j)) {
        while (json_next_item(&j) && json_skip_raw(&j, &call)) {
            find_arguments(call, m);
        }
    } else {
        find_arguments(calls, m);
    }
    str_drop(&key);
}

/* The text of a part {"type": "text", "text": "..."}, decoded; false for any other part. */
static bool part_text(struct span part, struct str *text) {
    struct str key = {0};
    struct json_reader j;
    struct span name;
    bool is_text = false;
    bool found = false;
    reopen(&j, part, &key);
    if (json_peek(&j) == JSON_OBJECT && json_enter_object(&j)) {
        while (json_next_key(&j, &name)) {
            if (span_is(name, "type") && json_peek(&j) == JSON_STRING) {
                is_text = string_is(&j, "text");
            } else if (span_is(name, "text") && json_peek(&j) == JSON_STRING) {
                found = json_string(&j, text);
            } else if (!json_skip(&j)) {
                break;
            }
        }
    }
    str_drop(&key);
    return is_text && found;
}

static bool any_text(void *user, struct span text) {
    (void)text;
    (void)user;
    return true;
}

/* Every item of a content list; *all tells whether all were text parts. */
static bool each_part(struct span list, bool (*each)(void *user, struct span text), void *user, bool *all) {
    struct str key = {0};
    struct str text = {0};
    struct json_reader j;
    struct span part;
    bool go_on = true;
    *all = true;
    reopen(&j, list, &key);
    if (json_enter_array(&j)) {
        while (go_on && json_next_item(&j) && json_skip_raw(&j, &part)) {
            str_clear(&text);
            if (part_text(part, &text)) {
                go_on = each(user, str_span(&text));
            } else {
                *all = false;
            }
        }
    }
    str_drop(&key);
    str_drop(&text);
    return go_on;
}

static void read_message(struct chat_message *m) {
    struct str key = {0};
    struct json_reader j;
    struct span name;
    struct span value;
    reopen(&j, m->raw, &key);
    (void)json_enter_object(&j);
    while (json_next_key(&j, &name)) {
        enum json_type type = json_peek(&j);
        struct json_reader mark = j;
        bool role = span_is(name, "role") && type == JSON_STRING;
        bool content = span_is(name, "content");
        bool calls = span_is(name, "tool_calls") || span_is(name, "function_call");
        if (!json_skip_raw(&j, &value)) {
            break;
        }
        if (role) {
            struct json_reader again = mark;
            m->is_system = string_is(&again, "system");
            again = mark;
            m->is_developer = string_is(&again, "developer");
            m->is_user = string_is(&mark, "user");
        } else if (content) {
            m->content = value;
            m->content_type = type;
        } else if (calls) {
            find_calls(value, m);
        }
    }
    if (m->content_type == JSON_ARRAY) {
        (void)each_part(m->content, any_text, NULL, &m->text_parts);
    }
    str_drop(&key);
}

lamina_status chat_messages_read(struct chat_messages *m, struct span json, struct lamina_error *err) {
    struct str key = {0};
    struct json_reader j;
    struct span raw;
    size_t cap = 0;
    json_init(&j, json, "messages", &key, err);
    *m = (struct chat_messages){0};
    bool ok = json_enter_array(&j);
    while (ok && json_next_item(&j)) {
        if (json_peek(&j) != JSON_OBJECT) {
            (void)json_refuse(&j, LAMINA_DAMAGED, "a message must be an object with role and content");
            break;
        }
        if (m->count == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            struct chat_message *grown = (struct chat_message *)realloc(m->item, cap * sizeof(*grown));
            if (grown == NULL) {
                (void)json_refuse(&j, LAMINA_NO_FIT, "no memory for the messages");
                break;
            }
            m->item = grown;
        }
        if (json_skip_raw(&j, &raw)) {
            m->item[m->count] = (struct chat_message){.raw = raw};
            read_message(&m->item[m->count++]);
        }
    }
    lamina_status status = json_finish(&j);
    str_drop(&key);
    if (status != LAMINA_OK) {
        chat_messages_drop(m);
    }
    return status;
}

void chat_messages_drop(struct chat_messages *m) {
    free(m->item);
    *m = (struct chat_messages){0};
}

unsigned chat_messages_possible(const struct chat_messages *m) {
    unsigned possible = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct chat_message *one = &m->item[i];
        possible |= one->is_developer ? (unsigned)CHAT_DEVELOPER_AS_SYSTEM : 0u;
        possible |= one->text_arguments ? (unsigned)CHAT_ARGUMENTS_PARSED : 0u;
        possible |= one->text_parts ? (unsigned)CHAT_PARTS_JOINED : 0u;
        possible |= one->content_type == JSON_STRING ? (unsigned)CHAT_TEXT_AS_PARTS : 0u;
        possible |= one->is_system || one->is_developer ? (unsigned)CHAT_SYSTEM_FOLDED : 0u;
        possible |= one->content.len == 0 ? (unsigned)CHAT_CONTENT_FILLED : 0u;
    }
    return possible;
}

bool chat_message_texts(const struct chat_message *m, bool (*each)(void *user, struct span text), void *user) {
    struct str key = {0};
    struct str text = {0};
    struct json_reader j;
    bool all = true;
    bool result = true;
    if (m->content_type == JSON_ARRAY) {
        return each_part(m->content, each, user, &all);
    }
    if (m->content_type == JSON_STRING) {
        reopen(&j, m->content, &key);
        result = !json_string(&j, &text) || each(user, str_span(&text));
    }
    str_drop(&key);
    str_drop(&text);
    return result;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Text that spells a JSON object is written as that object, "" as an empty one; anything else stays text. */
static void write_arguments(struct span value, struct str *out) {
    struct str key = {0};
    struct str text = {0};
    struct json_reader j;
    reopen(&j, value, &key);
    bool ok = json_string(&j, &text);
    struct span spelled = str_span(&text);
    reopen(&j, spelled, &key);
    bool object = json_peek(&j) == JSON_OBJECT && json_skip(&j) && json_finish(&j) == LAMINA_OK;
    if (ok && object) {
        str_add_span(out, spelled);
    } else if (ok && spelled.len == 0) {
        str_add_text(out, "{}");
    } else {
        str_add_span(out, value);
    }
    str_drop(&key);
    str_drop(&text);
}

static void begin_member(struct str *out, bool *first, struct span name) {
    str_add_text(out, *first ? "" : ", ");
    json_write_string(out, name);
    str_add_text(out, ": ");
    *first = false;
}

/* A call, or the function inside it, with its arguments parsed. */
static void write_call(struct span call, struct str *out) {
    struct str key = {0};
    struct json_reader j;
    struct span name;
    struct span value;
    bool first = true;
    reopen(&j, call, &key);
    if (json_peek(&j) != JSON_OBJECT || !json_enter_object(&j)) {
        str_add_span(out, call);
        return;
    }
    str_add_byte(out, '{');
    while (json_next_key(&j, &name)) {
        enum json_type type = json_peek(&j);
        bool arguments = span_is(name, "arguments") && type == JSON_STRING;
        bool function = span_is(name, "function") && type == JSON_OBJECT;
        begin_member(out, &first, name);
        if (!json_skip_raw(&j, &value)) {
            break;
        }
        if (arguments) {
            write_arguments(value, out);
        } else if (function) {
            write_call(value, out);
        } else {
            str_add_span(out, value);
        }
    }
    str_add_byte(out, '}');
    str_drop(&key);
}

static void write_calls(struct span calls, struct str *out) {
    struct str key = {0};
    struct json_reader j;
    struct span call;
    reopen(&j, calls, &key);
    if (json_peek(&j) != JSON_ARRAY || !json_enter_array(&j)) {
        write_call(calls, out);
        return;
    }
    str_add_byte(out, '[');
    for (bool first = true; json_next_item(&j) && json_skip_raw(&j, &call); first = false) {
        str_add_text(out, first ? "" : ", ");
        write_call(call, out);
    }
    str_add_byte(out, ']');
    str_drop(&key);
}

struct writing {
    unsigned rewrites;
    const char *marker; /* the text of the message at hand, or NULL */
    struct str folded;  /* system text waiting for the next user message */
    struct str *out;
};

static bool join_text(void *user, struct span text) {
    struct str *joined = (struct str *)user;
    if (joined->len != 0) {
        str_add_byte(joined, '\n');
    }
    str_add_span(joined, text);
    return true;
}

static void write_text_part(struct str *out, struct span text) {
    str_add_text(out, "{\"type\": \"text\", \"text\": ");
    json_write_string(out, text);
    str_add_byte(out, '}');
}

/* A content list; its first text part is replaced by the marker, and folded text becomes a part in front. */
static void write_parts(struct writing *w, struct span list, struct span front) {
    struct str key = {0};
    struct str text = {0};
    struct json_reader j;
    struct span part;
    bool first = true;
    reopen(&j, list, &key);
    str_add_byte(w->out, '[');
    if (front.len != 0) {
        write_text_part(w->out, front);
        first = false;
    }
    (void)json_enter_array(&j);
    while (json_next_item(&j) && json_skip_raw(&j, &part)) {
        str_add_text(w->out, first ? "" : ", ");
        first = false;
        str_clear(&text);
        if (w->marker != NULL && part_text(part, &text)) {
            write_text_part(w->out, span_of_text(w->marker));
            w->marker = NULL;
        } else {
            str_add_span(w->out, part);
        }
    }
    str_add_byte(w->out, ']');
    str_drop(&key);
    str_drop(&text);
}

static void write_content(struct writing *w, const struct chat_message *m) {
    struct str text = {0};
    bool fold = m->is_user && w->folded.len != 0;
    if (fold) {
        str_add_text(&w->folded, "\n\n");
    }
    bool list = m->content_type == JSON_ARRAY && !(m->text_parts && (w->rewrites & CHAT_PARTS_JOINED) != 0);
    bool textual = m->content_type == JSON_STRING || m->content_type == JSON_ARRAY || m->content_type == JSON_NULL ||
                   m->content_type == JSON_NONE;
    if (list) {
        write_parts(w, m->content, fold ? str_span(&w->folded) : span_of(NULL, 0));
    } else if (!textual) {
        str_add_span(w->out, m->content);
    } else {
        if (fold) {
            str_add_span(&text, str_span(&w->folded));
        }
        struct str own = {0};
        (void)chat_message_texts(m, join_text, &own);
        str_add_span(&text, w->marker != NULL ? span_of_text(w->marker) : str_span(&own));
        str_drop(&own);
        bool as_parts = (w->rewrites & CHAT_TEXT_AS_PARTS) != 0;
        str_add_text(w->out, as_parts ? "[" : "");
        if (as_parts) {
            write_text_part(w->out, str_span(&text));
        } else {
            json_write_string(w->out, str_span(&text));
        }
        str_add_text(w->out, as_parts ? "]" : "");
    }
    if (fold) {
        str_clear(&w->folded);
    }
    str_drop(&text);
}

static void write_message(struct writing *w, const struct chat_message *m) {
    struct str key = {0};
    struct json_reader j;
    struct span name;
    struct span value;
    bool first = true;
    bool as_system = m->is_developer && (w->rewrites & CHAT_DEVELOPER_AS_SYSTEM) != 0;
    reopen(&j, m->raw, &key);
    (void)json_enter_object(&j);
    str_add_byte(w->out, '{');
    while (json_next_key(&j, &name)) {
        bool role = as_system && span_is(name, "role");
        bool content = span_is(name, "content");
        bool calls = (w->rewrites & CHAT_ARGUMENTS_PARSED) != 0 &&
                     (span_is(name, "tool_calls") || span_is(name, "function_call"));
        begin_member(w->out, &first, name);
        if (!json_skip_raw(&j, &value)) {
            break;
        }
        if (role) {
            str_add_text(w->out, "\"system\"");
        } else if (content) {
            write_content(w, m);
        } else if (calls) {
            write_calls(value, w->out);
        } else {
            str_add_span(w->out, value);
        }
    }
    if (m->content.len == 0 && ((w->rewrites & CHAT_CONTENT_FILLED) != 0 || (m->is_user && w->folded.len != 0))) {
        begin_member(w->out, &first, span_of_text("content"));
        write_content(w, m);
    }
    str_add_byte(w->out, '}');
    str_drop(&key);
}

/* Folding: a system message's text waits, and is joined to others, until a user message takes it. */
static bool keep_for_folding(struct writing *w, const struct chat_message *m) {
    bool system = m->is_system || (m->is_developer && (w->rewrites & CHAT_DEVELOPER_AS_SYSTEM) != 0);
    if (!system || (w->rewrites & CHAT_SYSTEM_FOLDED) == 0) {
        return false;
    }
    if (w->marker != NULL) {
        (void)join_text(&w->folded, span_of_text(w->marker));
    } else {
        (void)chat_message_texts(m, join_text, &w->folded);
    }
    return true;
}

void chat_messages_write(const struct chat_messages *m, unsigned rewrites, size_t marked, const char *marker,
                         struct str *out) {
    struct writing w = {.rewrites = rewrites, .out = out};
    bool first = true;
    str_add_byte(out, '[');
    for (size_t i = 0; i < m->count; i++) {
        w.marker = i == marked ? marker : NULL;
        if (keep_for_folding(&w, &m->item[i])) {
            continue;
        }
        str_add_text(out, first ? "" : ", ");
        write_message(&w, &m->item[i]);
        first = false;
    }
    if (w.folded.len != 0) { /* no user message came: the text is one of its own */
        str_add_text(out, first ? "" : ", ");
        str_add_text(out, "{\"role\": \"user\", \"content\": ");
        json_write_string(out, str_span(&w.folded));
        str_add_byte(out, '}');
    }
    str_add_byte(out, ']');
    str_drop(&w.folded);
}
