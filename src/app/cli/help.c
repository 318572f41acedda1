/* SPDX-License-Identifier: Apache-2.0
 *
 * Help texts and shell completions, both made from the tables of commands and options: nothing is written twice.
 */
#include <string.h>

#include "app/cli/cli.h"
#include "base/status.h"

static bool belongs(const struct cli_option *option, int command) {
    return (option->commands & (1u << command)) != 0;
}

/* The command after this one that people may call. */
static int next_command(int command) {
    do {
        command++;
    } while (command < CMD_COUNT && cli_commands[command].summary == NULL);
    return command;
}

void cli_help_program(FILE *out) {
    fprintf(out, "lamina %s: language models far larger than memory, under a hard memory budget\n\n"
                 "usage: lamina COMMAND ...\n\n", lamina_version());
    for (int i = next_command(-1); i < CMD_COUNT; i = next_command(i)) {
        char left[40];
        snprintf(left, sizeof(left), "%s %s", cli_commands[i].name, cli_commands[i].arguments);
        fprintf(out, "  %-24s %s\n", left, cli_commands[i].summary);
    }
    fprintf(out, "\nMODEL is a checkpoint directory (Hugging Face layout), a GGUF file or a store.\n"
                 "The first use of a checkpoint or a GGUF file splits it once.\n"
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
        if (belongs(&cli_option_table[i], (int)command)) {
            option_line(out, &cli_option_table[i]);
        }
    }
}

/* ---- completion ---- */

static void bash_script(struct str *s) {
    str_add_text(s, "# bash completion for lamina: source this file\n_lamina() {\n"
                    "    local word=\"${COMP_WORDS[COMP_CWORD]}\" last=\"${COMP_WORDS[COMP_CWORD-1]}\" words=\"\"\n"
                    "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words=\"");
    for (int i = next_command(-1); i < CMD_COUNT; i = next_command(i)) {
        str_printf(s, "%s ", cli_commands[i].name);
    }
    str_add_text(s, "help\"\n        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n        return\n    fi\n"
                    "    case \"$last\" in\n");
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *option = &cli_option_table[i];
        if (option->type == CLI_CHOICE && (i == 0 || strcmp(cli_option_table[i - 1].name, option->name) != 0)) {
            str_printf(s, "    --%s) words=\"", option->name);
            for (const char *p = option->argument; *p != '\0'; p++) {
                str_add_byte(s, (uint8_t)(*p == '|' ? ' ' : *p));
            }
            str_add_text(s, "\" ;;\n");
        }
    }
    str_add_text(s, "    esac\n    if [ -z \"$words\" ] && [ \"${word#-}\" != \"$word\" ]; then\n"
                    "        case \"${COMP_WORDS[1]}\" in\n");
    for (int c = next_command(-1); c < CMD_COUNT; c = next_command(c)) {
        str_printf(s, "        %s) words=\"", cli_commands[c].name);
        for (size_t i = 0; i < cli_option_count; i++) {
            if (belongs(&cli_option_table[i], c)) {
                str_printf(s, "--%s ", cli_option_table[i].name);
            }
        }
        str_add_text(s, "\" ;;\n");
    }
    str_add_text(s, "        esac\n    fi\n    if [ -n \"$words\" ]; then\n"
                    "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n    else\n"
                    "        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n    fi\n}\n"
                    "complete -o filenames -F _lamina lamina\n");
}

/* Text inside single quotes of a shell; the tables hold no single quote, colons and brackets mean something to zsh. */
static void shell_words(struct str *s, const char *text, const char *escape) {
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\'') {
            str_add_text(s, "'\\''");
            continue;
        }
        if (strchr(escape, *p) != NULL) {
            str_add_byte(s, '\\');
        }
        str_add_byte(s, (uint8_t)*p);
    }
}

static void zsh_script(struct str *s) {
    str_add_text(s, "#compdef lamina\n_lamina() {\n    if (( CURRENT == 2 )); then\n        local -a commands=(\n");
    for (int i = next_command(-1); i < CMD_COUNT; i = next_command(i)) {
        str_printf(s, "            '%s:", cli_commands[i].name);
        shell_words(s, cli_commands[i].summary, ":");
        str_add_text(s, "'\n");
    }
    str_add_text(s, "        )\n        _describe command commands\n        return\n    fi\n    case \"$words[2]\" in\n");
    for (int c = next_command(-1); c < CMD_COUNT; c = next_command(c)) {
        str_printf(s, "    %s) _arguments -s", cli_commands[c].name);
        for (size_t i = 0; i < cli_option_count; i++) {
            const struct cli_option *option = &cli_option_table[i];
            if (!belongs(option, c)) {
                continue;
            }
            str_printf(s, " \\\n        '%s--%s%s[", option->type == CLI_LIST ? "*" : "", option->name,
                       option->type == CLI_FLAG ? "" : "=");
            shell_words(s, option->help, "[]");
            str_add_text(s, "]");
            if (option->type == CLI_CHOICE) {
                str_add_text(s, ":value:(");
                for (const char *p = option->argument; *p != '\0'; p++) {
                    str_add_byte(s, (uint8_t)(*p == '|' ? ' ' : *p));
                }
                str_add_text(s, ")");
            } else if (option->type != CLI_FLAG) {
                str_printf(s, ":%s:_files", option->argument);
            }
            str_add_text(s, "'");
        }
        str_add_text(s, " \\\n        '*:argument:_files' ;;\n");
    }
    str_add_text(s, "    esac\n}\n_lamina \"$@\"\n");
}

static void fish_script(struct str *s) {
    for (int i = next_command(-1); i < CMD_COUNT; i = next_command(i)) {
        str_printf(s, "complete -c lamina -n __fish_use_subcommand -f -a %s -d '", cli_commands[i].name);
        shell_words(s, cli_commands[i].summary, "");
        str_add_text(s, "'\n");
    }
    for (int c = next_command(-1); c < CMD_COUNT; c = next_command(c)) {
        for (size_t i = 0; i < cli_option_count; i++) {
            const struct cli_option *option = &cli_option_table[i];
            if (!belongs(option, c)) {
                continue;
            }
            str_printf(s, "complete -c lamina -n '__fish_seen_subcommand_from %s' -l %s", cli_commands[c].name, option->name);
            if (option->short_name != 0) {
                str_printf(s, " -s %c", option->short_name);
            }
            if (option->type != CLI_FLAG) {
                str_add_text(s, " -r");
            }
            if (option->type == CLI_CHOICE) {
                str_add_text(s, " -f -a '");
                for (const char *p = option->argument; *p != '\0'; p++) {
                    str_add_byte(s, (uint8_t)(*p == '|' ? ' ' : *p));
                }
                str_add_text(s, "'");
            }
            str_add_text(s, " -d '");
            shell_words(s, option->help, "");
            str_add_text(s, "'\n");
        }
    }
}

lamina_status cmd_completion(struct cli_options *o, struct lamina_error *err) {
    static const struct {
        const char *shell;
        void (*script)(struct str *s);
    } shells[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};
    for (size_t i = 0; i < ARRAY_LEN(shells); i++) {
        if (strcmp(o->args[0], shells[i].shell) == 0) {
            struct str s = {0};
            shells[i].script(&s);
            lamina_status status = cli_out_str(&s, err);
            str_drop(&s);
            return status;
        }
    }
    return base_fail(err, LAMINA_USAGE, "\"%s\" is none of bash, zsh, fish", o->args[0]);
}
