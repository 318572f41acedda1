/* SPDX-License-Identifier: Apache-2.0
 *
 * How a checkpoint is talked to: its chat template from whichever file has one, else the format that its family is known
 * by, and what ends an answer beside the end tokens of the configs. Nothing here knows a family; the table does.
 */
#include <stdlib.h>

#include "api/api_priv.h"
#include "base/json.h"
#include "model/chat_formats.h"
#include "sys/file.h"

/* ---- what ends an answer ---- */

static lamina_status too_many(struct lamina_error *err) {
    return base_fail(err, LAMINA_UNSUPPORTED, "generation_config.json: more than %u stop strings", (unsigned)API_STOPS);
}

static lamina_status add_stop_id(struct lamina_text *t, uint32_t id, struct lamina_error *err) {
    for (uint32_t i = 0; i < t->stop_id_count; i++) {
        if (t->stop_ids[i] == id) {
            return LAMINA_OK;
        }
    }
    if (t->stop_id_count == ARRAY_LEN(t->stop_ids)) {
        return too_many(err);
    }
    t->stop_ids[t->stop_id_count++] = id;
    return LAMINA_OK;
}

static lamina_status add_stop_text(struct lamina_text *t, struct span text, struct lamina_error *err) {
    if (t->stop_count == ARRAY_LEN(t->stops)) {
        return too_many(err);
    }
    struct str copy = {0};
    str_add_span(&copy, text);
    str_add_byte(&copy, 0);
    if (copy.failed) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a stop string");
    }
    t->stops[t->stop_count++] = copy.ptr;
    return LAMINA_OK;
}

/* Texts of generation_config.json. One that is a special token never shows in decoded text: it ends by its id. */
static lamina_status add_configured_stops(struct lamina_text *t, const struct model_chat *c, struct lamina_error *err) {
    for (size_t at = 0; at < c->stop_strings.len;) {
        struct span one = span_of_text(c->stop_strings.ptr + at);
        uint32_t id = 0;
        at += one.len + 1;
        if (text_token_id(t->tokenizer, one, &id) && text_is_special(t->tokenizer, id)) {
            LAMINA_TRY(add_stop_id(t, id, err));
        } else {
            LAMINA_TRY(add_stop_text(t, one, err));
        }
    }
    return LAMINA_OK;
}

static lamina_status add_format_stops(struct lamina_text *t, const struct model_chat_format *f, struct lamina_error *err) {
    for (size_t i = 0; i < ARRAY_LEN(f->stops) && f->stops[i] != NULL; i++) {
        uint32_t id = 0;
        if (text_token_id(t->tokenizer, span_of_text(f->stops[i]), &id)) {
            LAMINA_TRY(add_stop_id(t, id, err));
        } else {
            LAMINA_TRY(add_stop_text(t, span_of_text(f->stops[i]), err));
        }
    }
    return LAMINA_OK;
}

/* Configs often name the end of a text only, while the template ends turns with a token of its own. */
static lamina_status add_template_stops(struct lamina_text *t, struct lamina_error *err) {
    uint32_t id = 0;
    if (chat_eos(t->chat).len > 0 && text_token_id(t->tokenizer, chat_eos(t->chat), &id)) {
        LAMINA_TRY(add_stop_id(t, id, err));
    }
    for (unsigned i = 0; model_turn_end(i) != NULL; i++) {
        struct span end = span_of_text(model_turn_end(i));
        if (chat_mentions(t->chat, end) && text_token_id(t->tokenizer, end, &id)) {
            LAMINA_TRY(add_stop_id(t, id, err));
        }
    }
    return LAMINA_OK;
}

/* ---- formats of families ---- */

/* The tokens that begin turns, by the text they have in the vocabulary; false where one has none. */
static bool write_tokens(const struct lamina_text *t, const struct model_chat *c, struct str *json) {
    const struct {
        const char *name;
        int64_t id;
    } list[] = {{"user_token", c->user_id}, {"assistant_token", c->assistant_id}};
    bool found = true;
    str_add_byte(json, '{');
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        struct span text = {0};
        bool known = list[i].id >= 0 && text_token_text(t->tokenizer, (uint32_t)list[i].id, &text) && utf8_valid(text);
        if (known) {
            str_printf(json, "%s\"%s\": ", json->len > 1 ? ", " : "", list[i].name);
            json_write_string(json, text);
        }
        found = found && known;
    }
    str_add_byte(json, '}');
    return found;
}

static const struct model_chat_format *choose_format(const struct lamina_text *t, const struct model_chat *c,
                                                     struct str *tokens) {
    const struct model_chat_format *f = NULL;
    uint32_t id = 0;
    bool roles = write_tokens(t, c, tokens);
    for (unsigned row = 0; (f = model_chat_next(c, &row)) != NULL;) {
        if ((f->token == NULL || text_token_id(t->tokenizer, span_of_text(f->token), &id)) && (roles || !f->role_ids)) {
            return f;
        }
    }
    return NULL;
}

/* ---- the files ---- */

enum { MORE_MAX = 32 };

struct more_templates {
    const char *dir;
    struct str names[MORE_MAX];
    struct span sources[MORE_MAX];
    struct chat_named list[MORE_MAX];
    size_t count;
    lamina_status status;
    struct lamina_error *err;
};

static bool one_more(void *user, const char *name) {
    static const char ending[] = ".jinja";
    struct more_templates *m = user;
    struct span whole = span_of_text(name);
    if (!span_ends_with(whole, ending) || whole.len == sizeof(ending) - 1 || name[0] == '.') {
        return true;
    }
    if (m->count == MORE_MAX) {
        m->status = base_fail(m->err, LAMINA_UNSUPPORTED, "%s: more than %d templates", m->dir, (int)MORE_MAX);
        return false;
    }
    str_add_span(&m->names[m->count], span_sub(whole, 0, whole.len - (sizeof(ending) - 1)));
    struct api_place here = {.dir = m->dir};
    m->status = api_load(&here, name, API_CONFIG_LIMIT, &m->sources[m->count], m->err);
    m->list[m->count] = (struct chat_named){.name = str_span(&m->names[m->count]), .source = m->sources[m->count]};
    m->count++;
    return m->status == LAMINA_OK;
}

static lamina_status load_more(struct more_templates *m, const struct api_place *place, struct str *path,
                               struct lamina_error *err) {
    if (place->source != NULL) { /* it has all in its metadata */
        return LAMINA_OK;
    }
    str_printf(path, "%s/additional_chat_templates", place->dir);
    m->dir = str_text(path);
    m->err = err;
    if (path->failed || !sys_exists(m->dir)) {
        return LAMINA_OK;
    }
    LAMINA_TRY(sys_list_dir(m->dir, one_more, m, err));
    return m->status;
}

/* The templates of the place, loaded. */
struct place_files {
    struct more_templates more;
    struct str path;
    struct span jinja, processor_template, processor;
};

static lamina_status load_place(struct place_files *f, const struct api_place *place, struct lamina_error *err) {
    LAMINA_TRY(api_load(place, "chat_template.jinja", API_CONFIG_LIMIT, &f->jinja, err));
    LAMINA_TRY(api_load(place, "chat_template.json", API_CONFIG_LIMIT, &f->processor_template, err));
    LAMINA_TRY(api_load(place, "processor_config.json", API_CONFIG_LIMIT, &f->processor, err));
    return load_more(&f->more, place, &f->path, err);
}

static void unload_place(struct place_files *f) {
    for (size_t i = 0; i < f->more.count; i++) {
        str_drop(&f->more.names[i]);
        sys_unload(&f->more.sources[i]);
    }
    sys_unload(&f->jinja);
    sys_unload(&f->processor_template);
    sys_unload(&f->processor);
    str_drop(&f->path);
}

/* ---- a template of the user's ---- */

static lamina_status neither(const char *given, struct lamina_error *err) {
    struct str names = {0};
    for (unsigned i = 0; model_chat_format_at(i) != NULL; i++) {
        str_printf(&names, "%s%s", i != 0 ? ", " : "", model_chat_format_at(i)->name);
    }
    lamina_status status =
        base_fail(err, LAMINA_NOT_FOUND,
                  "chat template %s: there is no such file, and no built-in chat format of this name (there are %s)", given,
                  str_text(&names));
    str_drop(&names);
    return status;
}

static lamina_status load_given(const char *given, struct span *jinja, struct lamina_error *err) {
    if (!sys_exists(given)) {
        return neither(given, err);
    }
    LAMINA_TRY(sys_load(given, API_CONFIG_LIMIT, jinja, err));
    return jinja->len != 0 ? LAMINA_OK : base_fail(err, LAMINA_DAMAGED, "chat template %s: the file is empty", given);
}

/* A format by name: what it writes must be tokens here, or the model would be shown something else. */
static lamina_status check_format(const struct lamina_text *t, const struct model_chat_format *f, bool roles,
                                  struct lamina_error *err) {
    uint32_t id = 0;
    if (f->token != NULL && !text_token_id(t->tokenizer, span_of_text(f->token), &id)) {
        return base_fail(err, LAMINA_UNSUPPORTED, "chat format %s: this tokenizer has no token %s; give a file with a template",
                         f->name, f->token);
    }
    if (f->role_ids && !roles) {
        return base_fail(err, LAMINA_UNSUPPORTED, "chat format %s: no generation_config.json names user_token_id and "
                         "assistant_token_id; give a file with a template", f->name);
    }
    return LAMINA_OK;
}

static lamina_status open_given(struct lamina_text *t, const char *given, const struct model_chat *c, struct chat_files *chat,
                                const struct model_chat_format **format, struct lamina_error *err) {
    struct str tokens = {0};
    struct span jinja = {0};
    const struct model_chat_format *named = model_chat_format_of_name(given);
    *format = named != NULL ? named : choose_format(t, c, &tokens);
    str_clear(&tokens);
    bool roles = write_tokens(t, c, &tokens);
    lamina_status status = named != NULL ? check_format(t, named, roles, err) : load_given(given, &jinja, err);
    if (status == LAMINA_OK) {
        chat->alone = true;
        chat->chat_template_jinja = jinja;
        chat->builtin = named != NULL ? span_of_text(named->jinja) : chat->builtin;
        chat->builtin_tokens = str_span(&tokens);
        status = chat_open(&t->chat, chat, err);
        if (status != LAMINA_OK) {
            base_error_prefix(err, "%s: ", given);
        }
    }
    sys_unload(&jinja);
    str_drop(&tokens);
    return status;
}

/* ---- opening ---- */

static lamina_status open_own(struct lamina_text *t, const struct api_place *place, const struct model_chat *c,
                              struct chat_files *chat, const struct model_chat_format **format, struct lamina_error *err) {
    struct place_files f = {0};
    struct str tokens = {0};
    lamina_status status = load_place(&f, place, err);
    if (status == LAMINA_OK) {
        *format = choose_format(t, c, &tokens);
        chat->chat_template_jinja = f.jinja;
        chat->chat_template_json = f.processor_template;
        chat->processor_config = f.processor;
        chat->more = f.more.list;
        chat->more_count = f.more.count;
        chat->builtin = *format != NULL ? span_of_text((*format)->jinja) : chat->builtin;
        chat->builtin_tokens = str_span(&tokens);
        status = chat_open(&t->chat, chat, err);
    }
    unload_place(&f);
    str_drop(&tokens);
    return status;
}

lamina_status api_chat_open(struct lamina_text *t, const struct api_place *place, const struct api_chat_files *files,
                            struct lamina_error *err) {
    struct model_chat c = {0};
    const struct model_chat_format *format = NULL;
    struct chat_files chat = {.tokenizer_config = files->tokenizer_config, .special_tokens_map = files->special_tokens_map};
    bool own = false; /* what fails is of the place */
    lamina_status status = model_chat_read(&c, files->config, files->tokenizer_config, files->generation, err);
    own = status != LAMINA_OK;
    if (status == LAMINA_OK && files->given != NULL) {
        status = open_given(t, files->given, &c, &chat, &format, err);
    } else if (status == LAMINA_OK) {
        own = true;
        status = open_own(t, place, &c, &chat, &format, err);
    }
    if (status == LAMINA_OK) {
        own = true;
        status = add_configured_stops(t, &c, err);
    }
    if (status == LAMINA_OK && format != NULL) {
        status = add_format_stops(t, format, err);
    }
    if (status == LAMINA_OK && t->chat != NULL) {
        status = add_template_stops(t, err);
    }
    if (status != LAMINA_OK && own) {
        base_error_prefix(err, "%s: ", place->dir);
    }
    model_chat_drop(&c);
    return status;
}

void api_chat_drop(struct lamina_text *t) {
    chat_close(&t->chat);
    for (uint32_t i = 0; i < t->stop_count; i++) {
        free(t->stops[i]);
    }
    t->stop_count = 0;
}
