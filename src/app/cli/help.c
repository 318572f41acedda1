/* SPDX-License-Identifier: Apache-2.0
 *
 * Help texts, made from the tables of commands and options: nothing is written twice. Completion is made from them in
 * completion.c, manual pages by the build in app/shell.
 */
#include <string.h>

#include "app/cli/cli.h"
#include "base/status.h"

void cli_help_program(FILE *out) {
    fprintf(out, "lamina %s: language models far larger than memory, under a hard memory budget\n\n"
                 "usage: lamina COMMAND ...\n\n", lamina_version());
    for (int i = cli_next_command(-1); i < CMD_COUNT; i = cli_next_command(i)) {
        char left[40];
        snprintf(left, sizeof(left), "%s %s", cli_commands[i].name, cli_commands[i].arguments);
        fprintf(out, "  %-24s %s\n", left, cli_commands[i].summary);
    }
    fprintf(
        out,
        "\nMODEL is a checkpoint directory (Hugging Face layout), a GGUF file, a store, or ORG/NAME[@REVISION] of the hub.\n"
        "The first use of a model of the hub pulls it, that of a checkpoint or a GGUF file splits it once.\n"
        "Every option has a twin in the environment, LAMINA_<OPTION>; the option wins.\n"
        "lamina COMMAND --help lists a command's options. Exit codes:");
#define EXIT_LINE(name, code, text) fprintf(out, "\n  %3d  %s", code, text);
    LAMINA_STATUS_MAP(EXIT_LINE)
#undef EXIT_LINE
    fprintf(out, "\n");
}

static void option_line(FILE *out, const struct cli_option *option) {
    char left[96];
    char prefix[8] = "    ";
    if (option->short_name != 0) {
        snprintf(prefix, sizeof(prefix), "-%c, ", option->short_name);
    }
    snprintf(left, sizeof(left), "%s--%s%s%s%s%s", prefix, option->name, option->alias != NULL ? ", --" : "",
             option->alias != NULL ? option->alias : "", option->argument != NULL ? " " : "",
             option->argument != NULL ? option->argument : "");
    if (strlen(left) > 30) {
        fprintf(out, "  %s\n  %-30s ", left, "");
    } else {
        fprintf(out, "  %-30s ", left);
    }
    fprintf(out, "%s", option->help);
    if (option->fallback != NULL) {
        fprintf(out, " (default: %s)", option->fallback);
    }
    fprintf(out, "\n");
}

void cli_help_command(FILE *out, enum cli_command_id command) {
    const struct cli_command *c = &cli_commands[command];
    fprintf(out, "usage: lamina %s %s%s[options]\n\n%s\n\n", c->name, c->arguments, c->arguments[0] != '\0' ? " " : "",
            c->summary != NULL ? c->summary : "part of another command");
    for (size_t i = 0; i < cli_option_count; i++) {
        if (cli_belongs(&cli_option_table[i], (int)command)) {
            option_line(out, &cli_option_table[i]);
        }
    }
}

lamina_status cmd_completion(struct cli_options *o, struct lamina_error *err) {
    struct str s = {0};
    lamina_status status = LAMINA_OK;
    if (cli_completion(&s, o->args[0])) {
        status = cli_out_str(&s, err);
    } else {
        status = base_fail(err, LAMINA_USAGE, "\"%s\" is none of bash, zsh, fish", o->args[0]);
    }
    str_drop(&s);
    return status;
}
