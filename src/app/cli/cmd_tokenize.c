/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina tokenize, detokenize, template: the two things that break most, made visible. They need no weights. Bytes go in
 * and out exactly as they are; nothing is added to the answer of detokenize and template.
 */
#include "app/cli/cli.h"
#include "base/json.h"
#include "base/status.h"

static void ids_text(struct str *s, const uint32_t *ids, size_t count, bool json) {
    str_add_text(s, json ? "{\"ids\":[" : "");
    for (size_t i = 0; i < count; i++) {
        str_printf(s, "%s%u", i == 0 ? "" : json ? "," : " ", ids[i]);
    }
    str_add_text(s, json ? "]}\n" : "\n");
}

lamina_status cmd_tokenize(struct cli_options *o, struct lamina_error *err) {
    struct lamina_text *text = NULL;
    struct str input = {0};
    struct str line = {0};
    uint32_t *ids = NULL;
    size_t count = 0;
    lamina_status status = lamina_text_open(&text, o->args[0], err);
    if (status == LAMINA_OK) {
        status = cli_read_stdin(&input, err);
    }
    if (status == LAMINA_OK) {
        status = lamina_tokenize(text, str_text(&input), input.len, !o->no_special, &ids, &count, err);
    }
    if (status == LAMINA_OK) {
        ids_text(&line, ids, count, o->json);
        status = cli_out_str(&line, err);
    }
    lamina_free(ids);
    str_drop(&line);
    str_drop(&input);
    lamina_text_close(&text);
    return status;
}

/* Bytes to stdout, made safe where a terminal shows them. */
static lamina_status show_bytes(const char *bytes, size_t len, const char *color, struct lamina_error *err) {
    struct cli_terminal terminal;
    cli_terminal_init(&terminal, color);
    if (!terminal.out_tty) {
        return cli_out(bytes, len, err);
    }
    struct str safe = {0};
    cli_safe_text(&safe, bytes, len);
    lamina_status status = cli_out_str(&safe, err);
    str_drop(&safe);
    return status;
}

/* The one string that is the answer: as it is, or as a member of an object. */
static lamina_status show_text(const struct cli_options *o, const char *name, const char *bytes, size_t len,
                               struct lamina_error *err) {
    if (!o->json) {
        return show_bytes(bytes, len, o->color, err);
    }
    struct str line = {0};
    str_printf(&line, "{\"%s\": ", name);
    json_write_string(&line, span_of(bytes, len));
    str_add_text(&line, "}\n");
    lamina_status status = cli_out_str(&line, err);
    str_drop(&line);
    return status;
}

lamina_status cmd_detokenize(struct cli_options *o, struct lamina_error *err) {
    struct lamina_text *text = NULL;
    struct str input = {0};
    uint32_t *ids = NULL;
    size_t count = 0;
    char *bytes = NULL;
    size_t len = 0;
    lamina_status status = lamina_text_open(&text, o->args[0], err);
    if (status == LAMINA_OK) {
        status = cli_read_stdin(&input, err);
    }
    if (status == LAMINA_OK) {
        status = cli_parse_ids(str_span(&input), "stdin", &ids, &count, err);
    }
    if (status == LAMINA_OK) {
        status = lamina_detokenize(text, ids, count, o->skip_special, &bytes, &len, err);
    }
    if (status == LAMINA_OK) {
        status = show_text(o, "text", bytes, len, err);
    }
    lamina_free(bytes);
    lamina_free(ids);
    str_drop(&input);
    lamina_text_close(&text);
    return status;
}

/* What the user wrote is wrong usage when it is no JSON; what the library calls damaged are the model's own files. */
static lamina_status check_json(struct span text, const char *name, struct lamina_error *err) {
    struct json_reader r;
    struct str key = {0};
    json_init(&r, text, name, &key, err);
    json_skip(&r);
    lamina_status status = json_finish(&r);
    str_drop(&key);
    if (status < 0) {
        err->code = LAMINA_USAGE;
        return LAMINA_USAGE;
    }
    return LAMINA_OK;
}

lamina_status cmd_template(struct cli_options *o, struct lamina_error *err) {
    struct lamina_text *text = NULL;
    struct str input = {0};
    char *prompt = NULL;
    size_t len = 0;
    lamina_status status = cli_text_open(&text, o, err);
    if (status == LAMINA_OK) {
        status = cli_read_stdin(&input, err);
    }
    if (status == LAMINA_OK) {
        status = check_json(str_span(&input), "stdin", err);
    }
    if (status == LAMINA_OK && o->tools != NULL) {
        status = check_json(span_of_text(o->tools), "--tools", err);
    }
    if (status == LAMINA_OK && o->kwargs != NULL) {
        status = check_json(span_of_text(o->kwargs), "--chat-template-kwargs", err);
    }
    if (status == LAMINA_OK) {
        status = lamina_template(text, str_text(&input), o->tools, o->kwargs, !o->no_generation_prompt, &prompt, &len, err);
    }
    if (status == LAMINA_OK) {
        status = show_text(o, "prompt", prompt, len, err);
    }
    lamina_free(prompt);
    str_drop(&input);
    lamina_text_close(&text);
    return status;
}
