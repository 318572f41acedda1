/* SPDX-License-Identifier: Apache-2.0
 *
 * Completion scripts for bash, zsh and fish, made from the tables of commands and options. A script knows commands, options,
 * their values and what stands in which place; for the models and stores that are there it asks `lamina ls --quiet`.
 */
#include <string.h>

#include "app/cli/cli.h"

bool cli_belongs(const struct cli_option *option, int command) {
    return (option->commands & (1u << command)) != 0;
}

int cli_next_command(int command) {
    do {
        command++;
    } while (command < CMD_COUNT && cli_commands[command].summary == NULL);
    return command;
}

unsigned cli_value_kinds(const char *argument, struct str *words) {
    static const struct {
        const char *word;
        unsigned kind;
    } places[] = {{"FILE", CLI_VALUE_FILES},
                  {"PATH", CLI_VALUE_FILES},
                  {"DIR", CLI_VALUE_DIRS},
                  {"MODEL", CLI_VALUE_MODELS},
                  {"ORG/NAME", CLI_VALUE_STORED},
                  {"STORE", CLI_VALUE_STORED | CLI_VALUE_DIRS}};
    unsigned kinds = 0;
    for (const char *p = argument; *p != '\0';) {
        p += strspn(p, "|[]");
        size_t n = strcspn(p, "|[]");
        bool word = n > 0 && ((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9')); /* upper case: what the user puts there */
        for (size_t i = 0; i < ARRAY_LEN(places); i++) {
            kinds |= strlen(places[i].word) == n && memcmp(places[i].word, p, n) == 0 ? places[i].kind : 0;
        }
        if (word) {
            str_add_text(words, words->len > 0 ? " " : "");
            str_add(words, p, n);
        }
        p += n;
    }
    return kinds;
}

/* The names in "MODEL [TEXT]", one at a time: false after the last. */
static bool next_place(const char **arguments, char place[64]) {
    const char *p = *arguments + strspn(*arguments, " ");
    size_t n = strcspn(p, " ");
    *arguments = p + n;
    (void)snprintf(place, 64, "%.*s", (int)n, p);
    return n > 0;
}

/* Text inside single quotes of a shell, those in `escape` with a backslash. */
static void quoted(struct str *s, const char *text, const char *escape) {
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

/* Every spelling of an option, `between` them. */
static void spellings(struct str *s, const struct cli_option *option, const char *between) {
    str_printf(s, "--%s", option->name);
    if (option->alias != NULL) {
        str_printf(s, "%s--%s", between, option->alias);
    }
    if (option->short_name != 0) {
        str_printf(s, "%s-%c", between, option->short_name);
    }
}

/* ---- bash ---- */

static const char bash_head[] =
    "# bash completion for lamina, made from its table of options: source it, or put it where bash-completion looks.\n"
    "_lamina_propose() { # what a value may be: words, and :files :dirs :models :stored :none\n"
    "    local kind name\n"
    "    for kind; do\n"
    "        case $kind in\n"
    "        :files)\n"
    "            compopt -o filenames 2>/dev/null\n"
    "            while IFS= read -r name; do COMPREPLY+=(\"$name\"); done < <(compgen -f -- \"$cur\") ;;\n"
    "        :dirs)\n"
    "            compopt -o filenames 2>/dev/null\n"
    "            while IFS= read -r name; do COMPREPLY+=(\"$name\"); done < <(compgen -d -- \"$cur\") ;;\n"
    "        :models | :stored)\n"
    "            [ \"$kind\" = :stored ] || _lamina_propose :files\n"
    "            while IFS= read -r name; do\n"
    "                [[ $name == \"$cur\"* && \" ${COMPREPLY[*]} \" != *\" $name \"* ]] && COMPREPLY+=(\"$name\")\n"
    "            done < <(\"${COMP_WORDS[0]/#\\~/$HOME}\" ls --quiet 2>/dev/null) ;;\n"
    "        :none) ;;\n"
    "        *) [[ $kind == \"$cur\"* ]] && COMPREPLY+=(\"$kind\") ;;\n"
    "        esac\n"
    "    done\n"
    "}\n"
    "_lamina() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} before=${COMP_WORDS[1]}\n"
    "    local options='' taking='' values='' i place=0\n"
    "    local -a places=()\n"
    "    COMPREPLY=()\n"
    "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
    "        _lamina_propose ";

static const char bash_tail[] =
    "    esac\n"
    "    if [ -n \"$values\" ]; then\n"
    "        # shellcheck disable=SC2086\n"
    "        _lamina_propose $values\n"
    "        return\n"
    "    fi\n"
    "    if [[ $cur == -* ]]; then\n"
    "        # shellcheck disable=SC2086\n"
    "        _lamina_propose $options\n"
    "        return\n"
    "    fi\n"
    "    for ((i = 2; i < COMP_CWORD; i++)); do # words that are neither options nor their values\n"
    "        case ${COMP_WORDS[i]} in\n"
    "        = | -*) ;;\n"
    "        *) [[ $before == = || \" $taking \" == *\" $before \"* ]] || place=$((place + 1)) ;;\n"
    "        esac\n"
    "        before=${COMP_WORDS[i]}\n"
    "    done\n"
    "    # shellcheck disable=SC2086\n"
    "    [ \"$place\" -ge \"${#places[@]}\" ] || _lamina_propose ${places[place]}\n"
    "}\n"
    "complete -F _lamina lamina\n";

static void bash_values(struct str *s, const char *argument) {
    struct str words = {0};
    unsigned kinds = cli_value_kinds(argument, &words);
    str_printf(s, "'%s%s%s%s%s%s'", str_text(&words), (kinds & CLI_VALUE_FILES) != 0 ? " :files" : "",
               (kinds & CLI_VALUE_DIRS) != 0 ? " :dirs" : "", (kinds & CLI_VALUE_MODELS) != 0 ? " :models" : "",
               (kinds & CLI_VALUE_STORED) != 0 ? " :stored" : "", kinds == 0 && words.len == 0 ? ":none" : "");
    str_drop(&words);
}

static void bash_command(struct str *s, int c) {
    char place[64];
    str_printf(s, "    %s)\n        options='", cli_commands[c].name);
    for (size_t i = 0; i < cli_option_count; i++) {
        if (cli_belongs(&cli_option_table[i], c)) {
            spellings(s, &cli_option_table[i], " ");
            str_add_text(s, " ");
        }
    }
    str_add_text(s, "'\n        taking='");
    for (size_t i = 0; i < cli_option_count; i++) {
        if (cli_belongs(&cli_option_table[i], c) && cli_option_table[i].type != CLI_FLAG) {
            spellings(s, &cli_option_table[i], " ");
            str_add_text(s, " ");
        }
    }
    str_add_text(s, "'\n        case $prev in\n");
    for (size_t i = 0; i < cli_option_count; i++) {
        if (cli_belongs(&cli_option_table[i], c) && cli_option_table[i].type != CLI_FLAG) {
            str_add_text(s, "        ");
            spellings(s, &cli_option_table[i], " | ");
            str_add_text(s, ") values=");
            bash_values(s, cli_option_table[i].argument);
            str_add_text(s, " ;;\n");
        }
    }
    str_add_text(s, "        esac\n        places=(");
    for (const char *p = cli_commands[c].arguments; next_place(&p, place);) {
        bash_values(s, place);
        str_add_text(s, " ");
    }
    str_add_text(s, ") ;;\n");
}

static void bash_script(struct str *s) {
    str_add_text(s, bash_head);
    for (int i = cli_next_command(-1); i < CMD_COUNT; i = cli_next_command(i)) {
        str_printf(s, "%s ", cli_commands[i].name);
    }
    str_add_text(s, "help --help --version\n        return\n    fi\n"
                    "    if [ \"$prev\" = = ]; then # --option=value comes as three words\n"
                    "        prev=${COMP_WORDS[COMP_CWORD-2]}\n"
                    "    elif [ \"$cur\" = = ]; then\n        cur=''\n    fi\n    case ${COMP_WORDS[1]} in\n    help) places=('");
    for (int i = cli_next_command(-1); i < CMD_COUNT; i = cli_next_command(i)) {
        str_printf(s, "%s ", cli_commands[i].name);
    }
    str_add_text(s, "') ;;\n");
    for (int c = cli_next_command(-1); c < CMD_COUNT; c = cli_next_command(c)) {
        bash_command(s, c);
    }
    str_add_text(s, bash_tail);
}

/* ---- zsh ---- */

/* ":NAME:ACTION" of _arguments. */
static void zsh_value(struct str *s, const char *argument) {
    struct str words = {0};
    unsigned kinds = cli_value_kinds(argument, &words);
    str_add_text(s, ":");
    quoted(s, argument, ":[]");
    str_add_text(s, ":");
    if ((kinds & CLI_VALUE_MODELS) != 0) {
        str_add_text(s, "_lamina_models");
    } else if ((kinds & CLI_VALUE_STORED) != 0) {
        str_add_text(s, "_lamina_stored");
    } else if (kinds != 0) {
        str_add_text(s, (kinds & CLI_VALUE_FILES) != 0 ? "_files" : "_files -/");
    } else if (words.len > 0) {
        str_printf(s, "(%s)", str_text(&words));
    } else {
        str_add_text(s, " ");
    }
    str_drop(&words);
}

static void zsh_option(struct str *s, const struct cli_option *option) {
    const char *end = option->type == CLI_FLAG ? "" : "=";
    const char *names[2] = {option->name, option->alias};
    for (size_t i = 0; i < ARRAY_LEN(names) && names[i] != NULL; i++) {
        str_printf(s, " \\\n        '%s--%s%s[", option->type == CLI_LIST ? "*" : "", names[i], end);
        quoted(s, option->help, "[]\\");
        str_add_text(s, "]");
        if (option->type != CLI_FLAG) {
            zsh_value(s, option->argument);
        }
        str_add_text(s, "'");
    }
    if (option->short_name != 0) {
        str_printf(s, " \\\n        '%s-%c%s[", option->type == CLI_LIST ? "*" : "", option->short_name,
                   option->type == CLI_FLAG ? "" : "+");
        quoted(s, option->help, "[]\\");
        str_add_text(s, "]");
        if (option->type != CLI_FLAG) {
            zsh_value(s, option->argument);
        }
        str_add_text(s, "'");
    }
}

static void zsh_script(struct str *s) {
    str_add_text(s, "#compdef lamina\n"
                    "_lamina_stored() {\n    local -a stored\n"
                    "    stored=(\"${(@f)$(_call_program models ${(q)lamina_program} ls --quiet 2>/dev/null)}\")\n"
                    "    compadd -a stored\n}\n"
                    "_lamina_models() {\n    _lamina_stored\n    _files\n}\n"
                    "_lamina() {\n    local lamina_program=${~words[1]} command=$words[2]\n    local -a commands=(\n");
    for (int i = cli_next_command(-1); i < CMD_COUNT; i = cli_next_command(i)) {
        str_printf(s, "        '%s:", cli_commands[i].name);
        quoted(s, cli_commands[i].summary, ":\\");
        str_add_text(s, "'\n");
    }
    str_add_text(s, "        'help:what a command does, and its options'\n    )\n"
                    "    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
                    "    shift words\n    (( CURRENT-- ))\n    case $command in\n"
                    "    help) _describe command commands ;;\n");
    for (int c = cli_next_command(-1); c < CMD_COUNT; c = cli_next_command(c)) {
        char place[64];
        str_printf(s, "    %s) _arguments -s", cli_commands[c].name);
        for (size_t i = 0; i < cli_option_count; i++) {
            if (cli_belongs(&cli_option_table[i], c)) {
                zsh_option(s, &cli_option_table[i]);
            }
        }
        unsigned n = 1;
        for (const char *p = cli_commands[c].arguments; next_place(&p, place); n++) {
            str_printf(s, " \\\n        '%u", n);
            zsh_value(s, place);
            str_add_text(s, "'");
        }
        str_add_text(s, " ;;\n");
    }
    str_add_text(s, "    esac\n}\n"
                    "if [ \"$funcstack[1]\" = _lamina ]; then\n    _lamina \"$@\"\nelse\n    compdef _lamina lamina\nfi\n");
}

/* ---- fish ---- */

/* Switches of `complete` for such a value. */
static void fish_value(struct str *s, const char *argument) {
    struct str words = {0};
    unsigned kinds = cli_value_kinds(argument, &words);
    const char *more = (kinds & (CLI_VALUE_MODELS | CLI_VALUE_STORED)) != 0 ? "(__lamina_stored)"
                       : kinds == CLI_VALUE_DIRS                         ? "(__fish_complete_directories)"
                                                                         : "";
    str_add_text(s, (kinds & (CLI_VALUE_FILES | CLI_VALUE_MODELS)) != 0 ? "" : " -f");
    if (words.len > 0 || *more != '\0') {
        str_printf(s, " -a '%s%s%s'", str_text(&words), words.len > 0 && *more != '\0' ? " " : "", more);
    }
    str_drop(&words);
}

static void fish_command(struct str *s, int c) {
    char place[64];
    const char *places = cli_commands[c].arguments;
    for (unsigned n = 1; next_place(&places, place); n++) {
        str_printf(s, "complete -c lamina -n '__lamina_place %s %u'", cli_commands[c].name, n);
        fish_value(s, place);
        str_add_text(s, "\n");
    }
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *option = &cli_option_table[i];
        if (!cli_belongs(option, c)) {
            continue;
        }
        str_printf(s, "complete -c lamina -n '__lamina_using %s' -l %s", cli_commands[c].name, option->name);
        if (option->alias != NULL) {
            str_printf(s, " -l %s", option->alias);
        }
        if (option->short_name != 0) {
            str_printf(s, " -s %c", option->short_name);
        }
        if (option->type != CLI_FLAG) {
            str_add_text(s, " -r");
            fish_value(s, option->argument);
        }
        str_add_text(s, " -d '");
        quoted(s, option->help, "\\");
        str_add_text(s, "'\n");
    }
}

static void fish_script(struct str *s) {
    str_add_text(s,
                 "# fish completion for lamina, made from its table of options\n"
                 "function __lamina_stored\n    set -l words (commandline -opc)\n    eval $words[1] ls --quiet 2>/dev/null\nend\n"
                 "function __lamina_using\n    set -l words (commandline -opc)\n"
                 "    test (count $words) -ge 2; and test $words[2] = $argv[1]\nend\n"
                 "function __lamina_place # COMMAND N: at the Nth word that is no option, or behind an option\n"
                 "    __lamina_using $argv[1]; or return 1\n"
                 "    set -l words (commandline -opc)\n    set -l place 1\n"
                 "    for word in $words[3..-1]\n        string match -q -- '-*' $word; or set place (math $place + 1)\n    end\n"
                 "    test $place -ge $argv[2]\nend\n"
                 "function __lamina_first\n    test (count (commandline -opc)) -eq 1\nend\n"
                 "complete -c lamina -f -n __lamina_first -a help -d 'what a command does, and its options'\n");
    for (int i = cli_next_command(-1); i < CMD_COUNT; i = cli_next_command(i)) {
        str_printf(s, "complete -c lamina -f -n __lamina_first -a %s -d '", cli_commands[i].name);
        quoted(s, cli_commands[i].summary, "\\");
        str_printf(s, "'\ncomplete -c lamina -f -n '__lamina_using help' -a %s\n", cli_commands[i].name);
    }
    for (int c = cli_next_command(-1); c < CMD_COUNT; c = cli_next_command(c)) {
        fish_command(s, c);
    }
}

bool cli_completion(struct str *s, const char *shell) {
    static const struct {
        const char *shell;
        void (*script)(struct str *s);
    } shells[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};
    for (size_t i = 0; i < ARRAY_LEN(shells); i++) {
        if (strcmp(shell, shells[i].shell) == 0) {
            shells[i].script(s);
            return true;
        }
    }
    return false;
}
