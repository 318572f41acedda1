/* SPDX-License-Identifier: Apache-2.0
 *
 * Chat templates of a checkpoint: where they stand, which special tokens they see, and how messages are fitted to them.
 *
 * Fitting is by trying, in a fixed order, so the same request always gives the same prompt. Every way of writing the
 * messages is a set of rewrites (chat_priv.h); from the inside out the order is: missing content filled in, system
 * folded into the user turn, text parts joined, texts turned into parts, arguments left as text. The first rendering
 * that succeeds and shows what it must (every system text, and the last user text) wins. Whether a text shows is asked
 * twice: is it in the prompt as it stands, or, for templates that change text, is a marker word put in its place? If
 * none shows everything the first that succeeded is taken; if none succeeds the first error stands. A prompt that
 * prints a content list as Python would is never what was meant and counts as not showing it.
 */
#include "text/chat.h"

#include <stdlib.h>

#include "base/json.h"
#include "text/chat_priv.h"
#include "text/jinja.h"

enum { CHAT_TEMPLATES_MAX = 64 };

struct named_template {
    struct str name;
    struct str source;
    struct jinja_template *parsed; /* NULL: `why` tells */
    struct lamina_error why;
};

struct chat_template {
    struct named_template *item;
    size_t count;
    struct str tokens; /* special tokens as JSON members, each followed by a comma */
    struct str eos;
    bool builtin;
};

/* What a JSON file is read for. */
enum { READ_TEMPLATES = 1, READ_TOKENS = 2 };

static const char marker_word[] = "QzmarkerzQ";

static bool contains(struct span text, struct span what) {
    return what.len == 0 || (text.len >= what.len && memmem(text.ptr, text.len, what.ptr, what.len) != NULL);
}

/* ---- sources ----------------------------------------------------------------------------------------------------- */

static const struct named_template *find_template(const struct chat_template *t, struct span name) {
    for (size_t i = 0; i < t->count; i++) {
        if (span_equal(str_span(&t->item[i].name), name)) {
            return &t->item[i];
        }
    }
    return NULL;
}

/* A template that cannot be parsed is kept with its error, for the others may be all that is asked for. */
static lamina_status add_template(struct chat_template *t, struct span name, struct span source,
                                  struct lamina_error *err) {
    if (find_template(t, name) != NULL) {
        return LAMINA_OK;
    }
    if (t->count == CHAT_TEMPLATES_MAX) {
        return base_fail(err, LAMINA_UNSUPPORTED, "more than %d chat templates", (int)CHAT_TEMPLATES_MAX);
    }
    struct named_template *grown = (struct named_template *)realloc(t->item, (t->count + 1) * sizeof(*grown));
    if (grown == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "no memory for the chat templates");
    }
    t->item = grown;
    struct named_template *one = &t->item[t->count++];
    *one = (struct named_template){0};
    str_add_span(&one->name, name);
    str_add_span(&one->source, source);
    if (one->name.failed || one->source.failed) {
        return base_fail(err, LAMINA_NO_FIT, "no memory for the chat templates");
    }
    (void)jinja_parse(&one->parsed, source, &one->why);
    return LAMINA_OK;
}

/* One {"name": ..., "template": ...} of a list. */
static void read_named(struct chat_template *t, struct json_reader *j) {
    struct str name = {0};
    struct str source = {0};
    struct span key;
    (void)json_enter_object(j);
    while (json_next_key(j, &key)) {
        if (span_is(key, "name")) {
            (void)json_string(j, &name);
        } else if (span_is(key, "template")) {
            (void)json_string(j, &source);
        } else {
            (void)json_skip(j);
        }
    }
    if (j->failed == LAMINA_OK) {
        lamina_status status = add_template(t, str_span(&name), str_span(&source), j->err);
        j->failed = status;
    }
    str_drop(&name);
    str_drop(&source);
}

static void read_templates(struct chat_template *t, struct json_reader *j) {
    struct str source = {0};
    switch (json_peek(j)) {
    case JSON_STRING:
        if (json_string(j, &source)) {
            j->failed = add_template(t, span_of_text("default"), str_span(&source), j->err);
        }
        break;
    case JSON_ARRAY:
        (void)json_enter_array(j);
        while (json_next_item(j)) {
            read_named(t, j);
        }
        break;
    case JSON_NULL:
        (void)json_null(j);
        break;
    default:
        (void)json_refuse(j, LAMINA_DAMAGED, "chat_template must be text or a list of named templates");
        break;
    }
    str_drop(&source);
}

/* A token is text or an object with the text as "content"; false (and nothing written) for anything else. */
static bool read_token(struct json_reader *j, struct str *text) {
    struct span key;
    bool found = false;
    if (json_peek(j) == JSON_STRING) {
        return json_string(j, text);
    }
    if (json_peek(j) != JSON_OBJECT) {
        (void)json_skip(j);
        return false;
    }
    (void)json_enter_object(j);
    while (json_next_key(j, &key)) {
        if (span_is(key, "content") && json_peek(j) == JSON_STRING) {
            found = json_string(j, text);
        } else {
            (void)json_skip(j);
        }
    }
    return found;
}

static void add_token(struct chat_template *t, struct span name, struct json_reader *j) {
    struct str text = {0};
    struct str copy = {0}; /* the key's bytes are the reader's and change while it reads on */
    str_add_span(&copy, name);
    if (read_token(j, &text)) {
        json_write_string(&t->tokens, str_span(&copy));
        str_add_text(&t->tokens, ": ");
        json_write_string(&t->tokens, str_span(&text));
        str_add_text(&t->tokens, ", ");
        if (span_is(str_span(&copy), "eos_token")) {
            str_clear(&t->eos);
            str_add_span(&t->eos, str_span(&text));
        }
    }
    str_drop(&text);
    str_drop(&copy);
}

static void add_token_list(struct chat_template *t, struct json_reader *j) {
    struct str text = {0};
    if (json_peek(j) != JSON_ARRAY) {
        (void)json_skip(j);
        return;
    }
    str_add_text(&t->tokens, "\"additional_special_tokens\": [");
    (void)json_enter_array(j);
    for (bool first = true; json_next_item(j);) {
        str_clear(&text);
        if (read_token(j, &text)) {
            str_add_text(&t->tokens, first ? "" : ", ");
            json_write_string(&t->tokens, str_span(&text));
            first = false;
        }
    }
    str_add_text(&t->tokens, "], ");
    str_drop(&text);
}

/* Named tokens of a model's own: {"image_token": "<image>"}. */
static void add_extra_tokens(struct chat_template *t, struct json_reader *j) {
    struct span key;
    if (json_peek(j) != JSON_OBJECT) {
        (void)json_skip(j);
        return;
    }
    (void)json_enter_object(j);
    while (json_next_key(j, &key)) {
        add_token(t, key, j);
    }
}

/* Walks one of the JSON files; `what` of READ_... */
static lamina_status read_config(struct chat_template *t, struct span json, const char *name, unsigned what,
                                 struct lamina_error *err) {
    bool tokens = (what & READ_TOKENS) != 0;
    struct str scratch = {0};
    struct json_reader j;
    struct span key;
    if (json.len == 0) {
        return LAMINA_OK;
    }
    json_init(&j, json, name, &scratch, err);
    (void)json_enter_object(&j);
    while (json_next_key(&j, &key)) {
        if (span_is(key, "chat_template") && (what & READ_TEMPLATES) != 0) {
            read_templates(t, &j);
        } else if (span_is(key, "additional_special_tokens") && tokens) {
            add_token_list(t, &j);
        } else if (span_is(key, "extra_special_tokens") && tokens) {
            add_extra_tokens(t, &j);
        } else if (span_ends_with(key, "_token") && tokens) {
            add_token(t, key, &j);
        } else {
            (void)json_skip(&j);
        }
    }
    lamina_status status = json_finish(&j);
    str_drop(&scratch);
    return status;
}

static lamina_status read_files(struct chat_template *t, const struct chat_files *files, struct lamina_error *err) {
    struct span usual = span_of_text("default");
    unsigned inside = files->alone ? 0 : READ_TEMPLATES;
    if (files->chat_template_jinja.len != 0) {
        LAMINA_TRY(add_template(t, usual, files->chat_template_jinja, err));
        inside = 0;
    }
    for (size_t i = 0; i < files->more_count; i++) {
        LAMINA_TRY(add_template(t, files->more[i].name, files->more[i].source, err));
    }
    /* The map comes first: of two values for one name the later counts. */
    LAMINA_TRY(read_config(t, files->special_tokens_map, "special_tokens_map.json", READ_TOKENS, err));
    LAMINA_TRY(read_config(t, files->tokenizer_config, "tokenizer_config.json", READ_TOKENS | inside, err));
    if (find_template(t, usual) == NULL) {
        LAMINA_TRY(read_config(t, files->chat_template_json, "chat_template.json", READ_TEMPLATES, err));
    }
    if (find_template(t, usual) == NULL) {
        LAMINA_TRY(read_config(t, files->processor_config, "processor_config.json", READ_TEMPLATES, err));
    }
    t->builtin = t->count == 0 && files->builtin.len != 0;
    if (t->builtin) {
        LAMINA_TRY(read_config(t, files->builtin_tokens, "the tokens of the format", READ_TOKENS, err));
        LAMINA_TRY(add_template(t, usual, files->builtin, err));
    }
    if (files->alone && t->count != 0 && t->item[0].parsed == NULL) {
        return base_fail(err, t->item[0].why.code, "%s", t->item[0].why.message);
    }
    return t->tokens.failed || t->eos.failed ? base_fail(err, LAMINA_NO_FIT, "no memory for the special tokens") : LAMINA_OK;
}

lamina_status chat_open(struct chat_template **t, const struct chat_files *files, struct lamina_error *err) {
    struct chat_template *made = (struct chat_template *)calloc(1, sizeof(*made));
    if (made == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "no memory for the chat templates");
    }
    lamina_status status = read_files(made, files, err);
    if (status != LAMINA_OK || made->count == 0) {
        chat_close(&made);
    }
    *t = made;
    return status;
}

void chat_close(struct chat_template **t) {
    if (*t != NULL) {
        for (size_t i = 0; i < (*t)->count; i++) {
            str_drop(&(*t)->item[i].name);
            str_drop(&(*t)->item[i].source);
            jinja_close(&(*t)->item[i].parsed);
        }
        free((*t)->item);
        str_drop(&(*t)->tokens);
        str_drop(&(*t)->eos);
        free(*t);
        *t = NULL;
    }
}

bool chat_is_builtin(const struct chat_template *t) {
    return t->builtin;
}

bool chat_mentions(const struct chat_template *t, struct span text) {
    bool found = false;
    for (size_t i = 0; i < t->count; i++) {
        found = found || contains(str_span(&t->item[i].source), text);
    }
    return found;
}

struct span chat_eos(const struct chat_template *t) {
    return str_span(&t->eos);
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

static lamina_status choose(const struct chat_template *t, const struct chat_request *r, bool tools,
                            const struct named_template **chosen, struct lamina_error *err) {
    *chosen = NULL;
    if (r->template_name.len != 0) {
        *chosen = find_template(t, r->template_name);
    } else {
        *chosen = tools ? find_template(t, span_of_text("tool_use")) : NULL;
        *chosen = *chosen != NULL ? *chosen : find_template(t, span_of_text("default"));
        *chosen = *chosen == NULL && t->count == 1 ? &t->item[0] : *chosen;
    }
    if (*chosen == NULL) {
        struct str names = {0};
        for (size_t i = 0; i < t->count; i++) {
            str_printf(&names, "%s%s", i != 0 ? ", " : "", str_text(&t->item[i].name));
        }
        int len = (int)(r->template_name.len < 60 ? r->template_name.len : 60);
        lamina_status status =
            base_fail(err, LAMINA_NOT_FOUND, "there is no chat template '%.*s'; there are: %s",
                      len == 0 ? 7 : len, len == 0 ? "default" : (const char *)r->template_name.ptr, str_text(&names));
        str_drop(&names);
        return status;
    }
    if ((*chosen)->parsed == NULL) {
        return base_fail(err, (*chosen)->why.code, "%s", (*chosen)->why.message);
    }
    return LAMINA_OK;
}

/* ---- rendering --------------------------------------------------------------------------------------------------- */

struct attempt {
    const struct chat_template *t;
    const struct named_template *chosen;
    const struct chat_request *request;
    const struct chat_messages *messages;
    unsigned rewrites;
};

/* Variables in an order where later ones win: tokens, what the caller adds, and what is always given. */
static lamina_status render(const struct attempt *a, size_t marked, const char *marker, struct str *out,
                            struct lamina_error *err) {
    const struct chat_request *r = a->request;
    struct str json = {0};
    struct span kwargs = r->kwargs;
    str_add_byte(&json, '{');
    str_add_span(&json, str_span(&a->t->tokens));
    str_add_text(&json, "\"documents\": null, ");
    if (kwargs.len != 0) { /* checked to be an object: its members without the braces */
        const uint8_t *open = (const uint8_t *)memchr(kwargs.ptr, '{', kwargs.len);
        const uint8_t *close = (const uint8_t *)memrchr(kwargs.ptr, '}', kwargs.len);
        struct span members = span_of(open + 1, (size_t)(close - open - 1));
        str_add_span(&json, members);
        str_add_text(&json, memchr(members.ptr, '"', members.len) != NULL ? ", " : " ");
    }
    str_add_text(&json, "\"tools\": ");
    str_add_span(&json, r->tools.len != 0 ? r->tools : span_of_text("null"));
    str_printf(&json, ", \"add_generation_prompt\": %s, \"messages\": ", r->add_generation_prompt ? "true" : "false");
    chat_messages_write(a->messages, a->rewrites, marked, marker, &json);
    str_add_byte(&json, '}');
    struct jinja_input in = {.variables = str_span(&json), .now_unix_s = r->now_unix_s};
    lamina_status status = json.failed ? base_fail(err, LAMINA_NO_FIT, "no memory for the messages")
                                       : jinja_render(a->chosen->parsed, &in, out, err);
    str_drop(&json);
    return status;
}

static bool shows_text(void *user, struct span text) {
    const struct str *prompt = (const struct str *)user;
    while (text.len > 0 && text.ptr[0] <= ' ') {
        text = span_sub(text, 1, text.len);
    }
    while (text.len > 0 && text.ptr[text.len - 1] <= ' ') {
        text.len--;
    }
    return contains(str_span(prompt), text);
}

/* Whether the prompt holds the text of message i, or would hold a word in its place. */
static bool shows_message(const struct attempt *a, size_t i, struct str *prompt) {
    struct str probe = {0};
    struct lamina_error ignored = {0};
    bool shows = chat_message_texts(&a->messages->item[i], shows_text, prompt);
    if (!shows) {
        shows = render(a, i, marker_word, &probe, &ignored) == LAMINA_OK &&
                contains(str_span(&probe), span_of_text(marker_word));
        str_drop(&probe);
    }
    return shows;
}

static bool shows_everything(const struct attempt *a, struct str *prompt) {
    size_t last_user = SIZE_MAX;
    bool lists = (a->rewrites & CHAT_TEXT_AS_PARTS) != 0;
    for (size_t i = 0; i < a->messages->count; i++) {
        const struct chat_message *m = &a->messages->item[i];
        last_user = m->is_user ? i : last_user;
        lists = lists || m->text_parts;
        if ((m->is_system || m->is_developer) && !shows_message(a, i, prompt)) {
            return false;
        }
    }
    if (lists && contains(str_span(prompt), span_of_text("{'type': 'text', 'text': "))) {
        return false;
    }
    return last_user == SIZE_MAX || shows_message(a, last_user, prompt);
}

/* Errors that another way of writing the messages may cure. */
static bool worth_retrying(lamina_status status) {
    return status == LAMINA_USAGE || status == LAMINA_DAMAGED;
}

/* The ways to write the messages, in the order they are tried; false after the last. */
static bool next_rewrites(unsigned possible, unsigned *step, unsigned *rewrites) {
    static const unsigned contents[] = {0, CHAT_PARTS_JOINED, CHAT_TEXT_AS_PARTS};
    for (; *step < 24; (*step)++) {
        unsigned s = *step;
        unsigned wanted = ((s & 1) != 0 ? (unsigned)CHAT_CONTENT_FILLED : 0u) |
                          ((s & 2) != 0 ? (unsigned)CHAT_SYSTEM_FOLDED : 0u) | contents[s / 4 % 3];
        bool arguments_as_text = s >= 12;
        bool useful = (wanted & ~possible) == 0 &&
                      (!arguments_as_text || (possible & CHAT_ARGUMENTS_PARSED) != 0);
        if (useful) {
            *rewrites = wanted | (arguments_as_text ? 0u : possible & CHAT_ARGUMENTS_PARSED) |
                        (possible & CHAT_DEVELOPER_AS_SYSTEM);
            (*step)++;
            return true;
        }
    }
    return false;
}

static lamina_status fit(struct attempt *a, struct str *prompt, struct lamina_error *err) {
    struct lamina_error first_error = {0};
    struct str one = {0};
    unsigned possible = chat_messages_possible(a->messages);
    bool rendered = false;
    if (contains(str_span(&a->chosen->source), span_of_text("developer"))) {
        possible &= ~(unsigned)CHAT_DEVELOPER_AS_SYSTEM;
    }
    for (unsigned step = 0; next_rewrites(possible, &step, &a->rewrites);) {
        struct lamina_error why = {0};
        str_clear(&one);
        lamina_status status = render(a, SIZE_MAX, NULL, &one, &why);
        bool shows = status == LAMINA_OK && shows_everything(a, &one);
        if (shows || (status == LAMINA_OK && !rendered)) {
            str_clear(prompt);
            str_add_span(prompt, str_span(&one));
            rendered = true;
        }
        if (status != LAMINA_OK && first_error.code == LAMINA_OK) {
            first_error = why;
        }
        if (shows || (status != LAMINA_OK && !worth_retrying(status))) {
            break;
        }
    }
    str_drop(&one);
    return rendered ? LAMINA_OK : base_fail(err, first_error.code, "%s", first_error.message);
}

/* kwargs must be an object that does not name what is given anyway; tools must be a list. *tools: it is not empty. */
static lamina_status check_request(const struct chat_request *r, bool *tools, struct lamina_error *err) {
    static const char *const reserved[] = {"messages", "tools", "add_generation_prompt"};
    struct str key = {0};
    struct json_reader j;
    struct span name;
    lamina_status status = LAMINA_OK;
    *tools = false;
    if (r->tools.len != 0) {
        json_init(&j, r->tools, "tools", &key, err);
        if (!json_null(&j) && json_enter_array(&j)) {
            while (json_next_item(&j) && json_skip(&j)) {
                *tools = true;
            }
        }
        status = json_finish(&j);
    }
    if (status == LAMINA_OK && r->kwargs.len != 0) {
        json_init(&j, r->kwargs, "template arguments", &key, err);
        (void)json_enter_object(&j);
        while (json_next_key(&j, &name)) {
            for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
                if (span_is(name, reserved[i])) {
                    (void)json_refuse(&j, LAMINA_USAGE, "'%s' cannot be given as a template argument", reserved[i]);
                }
            }
            (void)json_skip(&j);
        }
        status = json_finish(&j);
    }
    str_drop(&key);
    return status;
}

lamina_status chat_render(const struct chat_template *t, const struct chat_request *r, struct str *out,
                          struct lamina_error *err) {
    struct chat_messages messages = {0};
    struct attempt a = {.t = t, .request = r, .messages = &messages};
    struct str prompt = {0};
    bool tools = false;
    LAMINA_TRY(check_request(r, &tools, err));
    LAMINA_TRY(choose(t, r, tools, &a.chosen, err));
    LAMINA_TRY(chat_messages_read(&messages, r->messages, err));
    lamina_status status = fit(&a, &prompt, err);
    if (status == LAMINA_OK) {
        str_add_span(out, str_span(&prompt));
        if (out->failed || prompt.failed) {
            status = base_fail(err, LAMINA_NO_FIT, "no memory for the prompt");
        }
    }
    str_drop(&prompt);
    chat_messages_drop(&messages);
    return status;
}
