/* SPDX-License-Identifier: Apache-2.0
 *
 * The lamina program: picks the command, reads its options, runs it, turns the status into the exit code. Only the
 * answer goes to stdout; every word about it goes to stderr. Exit codes are the negated statuses of lamina/status.h.
 */
#include <string.h>

#include "app/cli/cli.h"
#include "app/cli/holding.h"
#include "base/json.h"
#include "base/status.h"

lamina_status cmd_version(struct cli_options *o, struct lamina_error *err) {
    struct str s = {0};
    if (o->json) {
        str_add_text(&s, "{\"version\":");
        json_write_string(&s, span_of_text(lamina_version()));
        str_add_text(&s, "}\n");
    } else {
        str_printf(&s, "lamina %s\n", lamina_version());
    }
    lamina_status status = cli_out_str(&s, err);
    str_drop(&s);
    return status;
}

static int command_of(const char *word) {
    for (int i = 0; i < CMD_COUNT; i++) {
        if (strcmp(cli_commands[i].name, word) == 0) {
            return i;
        }
    }
    return -1;
}

/* "lamina help [COMMAND]" and "lamina --help". */
static lamina_status help(const char *word, struct lamina_error *err) {
    int command = word != NULL ? command_of(word) : -1;
    if (word != NULL && command < 0) {
        return base_fail(err, LAMINA_USAGE, "\"%s\" is not a command; see: lamina --help", word);
    }
    if (command >= 0) {
        cli_help_command(stdout, (enum cli_command_id)command);
    } else {
        cli_help_program(stdout);
    }
    return cli_out("", 0, err);
}

/* Whoever keeps to a budget does so because of a model; plan only reckons. */
static bool holds_model(enum cli_command_id command) {
    for (size_t i = 0; i < cli_option_count && command != CMD_PLAN; i++) {
        if (strcmp(cli_option_table[i].name, "memory") == 0 && (cli_option_table[i].commands & 1u << command) != 0) {
            return true;
        }
    }
    return false;
}

static lamina_status dispatch(int argc, char **argv, struct lamina_error *err) {
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word == NULL) {
        cli_help_program(stderr);
        return base_fail(err, LAMINA_USAGE, "a command is missing");
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        return help(argc > 2 ? argv[2] : NULL, err);
    }
    if (strcmp(word, "--version") == 0) {
        word = "version";
    }
    int command = command_of(word);
    if (command < 0) {
        return base_fail(err, LAMINA_USAGE, "\"%s\" is not a command; see: lamina --help", word);
    }
    struct cli_options o = {0};
    lamina_status status = cli_options_parse(&o, (enum cli_command_id)command, argc - 1, argv + 1, err);
    if (status == LAMINA_OK) {
        struct cli_terminal terminal;
        cli_terminal_init(&terminal, o.color);
        cli_color_init(terminal.color);
        const char *model = o.args[0]; /* as the user called it */
        status = o.help ? help(word, err) : cli_models_resolve(&o, (enum cli_command_id)command, err);
        if (status == LAMINA_OK && !o.help) {
            struct cli_holding holding = {.fd = -1};
            if (holds_model((enum cli_command_id)command)) {
                cli_holding_begin(&holding, &o, cli_commands[command].name, model);
                o.holding = &holding;
            }
            status = cli_commands[command].run(&o, err);
            cli_holding_end(&holding);
        }
    }
    cli_options_drop(&o);
    return status;
}

int main(int argc, char **argv) {
    struct lamina_error err = {0};
    cli_signals_init();
    lamina_status status = dispatch(argc, argv, &err);
    int interrupted = cli_interrupt_exit_code();
    if (interrupted != 0 && (status == LAMINA_OK || status == LAMINA_INTERRUPTED)) {
        return interrupted;
    }
    if (status < 0) {
        cli_say(-1, "%s", err.message[0] != '\0' ? err.message : lamina_status_text(status));
    }
    return -status;
}
