/* SPDX-License-Identifier: Apache-2.0
 *
 * The lamina program: picks the command, reads its options, runs it, turns the status into the exit code. Only the
 * answer goes to stdout; every word about it goes to stderr. Exit codes are the negated statuses of lamina/status.h.
 */
#include <string.h>

#include "app/cli/cli.h"
#include "base/json.h"
#include "base/status.h"

const struct cli_command cli_commands[CMD_COUNT] = {
    [CMD_RUN] = {"run", "MODEL [TEXT]", "answer TEXT once; reads stdin when TEXT is not given", 1, 2, cmd_run},
    [CMD_SPLIT] = {"split", "MODEL", "make or complete the model's store", 1, 1, cmd_split},
    [CMD_PLAN] = {"plan", "MODEL", "say what a run will take, without running", 1, 1, cmd_plan},
    [CMD_VERIFY] = {"verify", "MODEL", "check every byte of the model's store", 1, 1, cmd_verify},
    [CMD_SHOW] = {"show", "MODEL", "describe the model's store: files, matrices, tiles", 1, 1, cmd_show},
    [CMD_BENCH] = {"bench", "MODEL", "measure a matrix of configurations and say which to choose", 1, 1, cmd_bench},
    [CMD_BENCH_CELL] = {"bench-cell", "MODEL", NULL, 1, 1, cmd_bench_cell},
    [CMD_BENCH_TASKS] = {"bench-tasks", "MODEL", NULL, 1, 1, cmd_bench_tasks},
    [CMD_FAMILIES] = {"families", "[DIR]", "the supported model families; with a checkpoint, the one that reads it", 0, 1,
                      cmd_families},
    [CMD_DOCTOR] = {"doctor", "[PATH]", "what this machine and the drive under PATH can do, and what to mend", 0, 1,
                    cmd_doctor},
    [CMD_LOGITS] = {"logits", "MODEL", "logits and greedy tokens for given ids", 1, 1, cmd_logits},
    [CMD_PPL] = {"ppl", "MODEL FILE", "perplexity of the text in FILE", 2, 2, cmd_ppl},
    [CMD_KL] = {"kl", "MODEL FILE", "how far a model is from a reference, on the text in FILE", 2, 2, cmd_kl},
    [CMD_TOKENIZE] = {"tokenize", "MODEL", "text on stdin to token ids", 1, 1, cmd_tokenize},
    [CMD_DETOKENIZE] = {"detokenize", "MODEL", "token ids on stdin to text", 1, 1, cmd_detokenize},
    [CMD_TEMPLATE] = {"template", "MODEL", "a JSON list of messages on stdin to the prompt text", 1, 1, cmd_template},
    [CMD_COMPLETION] = {"completion", "bash|zsh|fish", "print a shell completion script", 1, 1, cmd_completion},
    [CMD_VERSION] = {"version", "", "print the version", 0, 0, cmd_version},
};

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
        status = o.help ? help(word, err) : cli_commands[command].run(&o, err);
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
