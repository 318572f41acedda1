/* SPDX-License-Identifier: Apache-2.0
 *
 * Chat templates of a checkpoint: found in every place they occur, fed with messages prepared as the field's servers do
 * (reference/ecosystem.md 4.1, 4.3). Pure.
 */
#ifndef TEXT_CHAT_H
#define TEXT_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "base/str.h"

struct chat_named {
    struct span name, source;
};

/* Templates in the order of places: of two for one name the first counts. */
struct chat_files {
    struct span chat_template_jinja;  /* chat_template.jinja: the default, and those inside JSON files are not read */
    const struct chat_named *more;    /* additional_chat_templates/NAME.jinja */
    size_t more_count;
    struct span tokenizer_config;     /* "chat_template": string, or list of {name, template}; special token texts */
    struct span special_tokens_map;
    struct span chat_template_json;   /* of processors: read where no default was found so far */
    struct span processor_config;     /* likewise */
    bool alone;                       /* the first or `builtin` is all there is: none inside a JSON file is read, and one that
                                       * cannot be parsed is an error at once */
    struct span builtin;              /* a template for checkpoints that have none anywhere */
    struct span builtin_tokens;       /* a JSON object of texts that it sees beside the special tokens */
};

struct chat_template;

/* *t stays NULL (and the status is 0) when the checkpoint has no template. */
lamina_status chat_open(struct chat_template **t, const struct chat_files *files, struct lamina_error *err);
void chat_close(struct chat_template **t);

/* Whether the template is chat_files.builtin. */
bool chat_is_builtin(const struct chat_template *t);
/* Whether a template's source holds this text. */
bool chat_mentions(const struct chat_template *t, struct span text);
/* The text of "eos_token"; empty when the files name none. */
struct span chat_eos(const struct chat_template *t);

struct chat_request {
    struct span messages;        /* a JSON list of messages */
    struct span tools;           /* a JSON list, or empty */
    struct span kwargs;          /* a JSON object of extra variables, or empty */
    struct span template_name;   /* "default", "tool_use", "rag"; empty chooses (tool_use where tools are given and it exists) */
    bool add_generation_prompt;
    int64_t now_unix_s;
};
/* Appends the prompt text. The preparation of 4.3: arguments given as text become objects (the text again if the
 * template fails with objects), null content becomes "", developer becomes system where the template does not know it,
 * a system message is folded into the first user turn where the template refuses it, text parts are joined where the
 * template only takes strings. */
lamina_status chat_render(const struct chat_template *t, const struct chat_request *r, struct str *out,
                          struct lamina_error *err);

#endif
