/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes lamina(1) and lamina-COMMAND(1) in the man macros that groff and mandoc both take. What the tables hold stands in the
 * tables; what they do not (files, variables of others, examples) stands here and nowhere else. No date: two builds are equal.
 */
#include <ctype.h>
#include <string.h>

#include "app/cli/cli.h"
#include "app/shell/man.h"

/* ---- roff ---- */

/* Text of a line, with nothing in it that roff would take as a command. */
static void text(struct str *s, const char *words) {
    bool line_start = s->len == 0 || s->ptr[s->len - 1] == '\n';
    struct span rest = span_of_text(words);
    while (rest.len > 0) {
        uint32_t c = 0;
        size_t n = utf8_decode(rest, &c);
        switch (c) {
        case '\\': str_add_text(s, "\\e"); break;
        case '-': str_add_text(s, "\\-"); break;
        case '\'': str_add_text(s, "\\(aq"); break;
        case '`': str_add_text(s, "\\(ga"); break;
        case '^': str_add_text(s, "\\(ha"); break;
        case '~': str_add_text(s, "\\(ti"); break;
        case '.': str_add_text(s, line_start ? "\\&." : "."); break;
        default:
            if (n == 0 || c >= 0x80) {
                str_printf(s, "\\[u%04X]", n == 0 ? 0xfffdu : c);
            } else {
                str_add_byte(s, (uint8_t)c);
            }
        }
        line_start = false;
        rest = span_sub(rest, n > 0 ? n : 1, rest.len);
    }
}

static void line(struct str *s, const char *words) {
    text(s, words);
    str_add_text(s, "\n");
}

static void section(struct str *s, const char *name) {
    str_printf(s, ".SH %s\n", name);
}

/* An item of a list: what stands before in bold, then its words. */
static void item(struct str *s, const char *name, const char *words) {
    str_add_text(s, ".TP\n\\fB");
    text(s, name);
    str_add_text(s, "\\fR\n");
    line(s, words);
}

static void title(struct str *s, const char *name, const char *version) {
    str_add_text(s, ".\\\" Made from the table of options; see src/app/shell.\n.TH ");
    for (const char *p = name; *p != '\0'; p++) {
        str_add_byte(s, (uint8_t)toupper((unsigned char)*p));
    }
    str_printf(s, " 1 \"\" \"lamina %s\" \"User Commands\"\n.nh\n", version);
}

static void name_section(struct str *s, const char *name, const char *summary) {
    section(s, "NAME");
    text(s, name);
    str_add_text(s, " \\- ");
    line(s, summary);
}

/* "MODEL [TEXT]": upper case is what the user puts there. */
static void arguments(struct str *s, const char *words) {
    bool italic = false;
    for (const char *p = words; *p != '\0'; p++) {
        bool name = (*p >= 'A' && *p <= 'Z') || (italic && (*p == '/' || *p == '_'));
        if (name != italic) {
            str_add_text(s, name ? "\\fI" : "\\fR");
            italic = name;
        }
        char one[2] = {*p, '\0'};
        text(s, one);
    }
    str_add_text(s, italic ? "\\fR" : "");
}

/* ---- parts ---- */

static void option_item(struct str *s, const struct cli_option *option) {
    char name[64];
    str_add_text(s, ".TP\n\\fB");
    if (option->short_name != 0) {
        (void)snprintf(name, sizeof(name), "-%c", option->short_name);
        text(s, name);
        str_add_text(s, "\\fR, \\fB");
    }
    (void)snprintf(name, sizeof(name), "--%s", option->name);
    text(s, name);
    if (option->alias != NULL) {
        str_add_text(s, "\\fR, \\fB");
        (void)snprintf(name, sizeof(name), "--%s", option->alias);
        text(s, name);
    }
    str_add_text(s, "\\fR");
    if (option->argument != NULL) {
        str_add_text(s, " ");
        arguments(s, option->argument);
    }
    str_add_text(s, "\n");
    text(s, option->help);
    if (option->fallback != NULL) {
        str_add_text(s, " (default: ");
        text(s, option->fallback);
        str_add_text(s, ")");
    }
    str_add_text(s, "\n");
}

static void exit_section(struct str *s) {
    section(s, "EXIT STATUS");
#define EXIT_ITEM(name, code, words) item(s, #code, words);
    LAMINA_STATUS_MAP(EXIT_ITEM)
#undef EXIT_ITEM
    item(s, "143", "ended by SIGTERM, state saved");
    str_add_text(s, ".PP\n");
    line(s, "1, 5, 11, 12, 75, 130 and 143 may go away when the command is repeated; the others will not by themselves.");
}

static const struct {
    const char *name, *words;
} others[] = {
    {"HF_TOKEN", "the token sent to the hub; else the file HF_TOKEN_PATH, else HF_HOME/token"},
    {"HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME", "where the hub's cache lies: HF_HUB_CACHE, HF_HOME/hub, "
                              "XDG_CACHE_HOME/huggingface/hub or ~/.cache/huggingface/hub, the first of these that is set"},
    {"HF_ENDPOINT", "another hub than https://huggingface.co"},
    {"HF_HUB_OFFLINE", "1: fetch nothing"},
    {"http_proxy, https_proxy, no_proxy", "as for curl"},
    {"OMP_NUM_THREADS", "compute threads, where neither --threads nor LAMINA_THREADS says it"},
    {"NO_COLOR", "not empty: no colour, unless --color always asks for it"},
    {"CLICOLOR_FORCE", "not empty: colour also where stderr is no terminal"},
    {"TERM, COLUMNS", "dumb: no bars and no colour; the width of bars"},
};

static void environment_section(struct str *s, int command) {
    section(s, "ENVIRONMENT");
    line(s, "Every option has a twin here; the option wins. A switch is turned on by 1, true, yes or on, and "
            "off by 0, false, no or off.");
    if (command >= 0) {
        str_add_text(s, ".PP\n");
        bool first = true;
        for (size_t i = 0; i < cli_option_count; i++) {
            char variable[64];
            if (cli_belongs(&cli_option_table[i], command) && strcmp(cli_option_table[i].name, "help") != 0) {
                str_add_text(s, first ? "" : ",\n");
                text(s, cli_env_name(variable, cli_option_table[i].name));
                first = false;
            }
        }
        str_add_text(s, ".\n.PP\nOther variables are in\n.BR lamina (1).\n");
        return;
    }
    item(s, "LAMINA_OPTION", "the twin of --option: LAMINA_MEMORY of --memory, LAMINA_CTX_SIZE of --ctx-size");
    item(s, "LAMINA_HOME", "where stores and caches live, see FILES");
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        item(s, others[i].name, others[i].words);
    }
}

static void files_section(struct str *s) {
    section(s, "FILES");
    item(s, "~/.cache/huggingface/lamina", "the home: stores, and what was measured of drives. With HF_HOME it "
                              "is HF_HOME/lamina, with XDG_CACHE_HOME it is XDG_CACHE_HOME/huggingface/lamina; LAMINA_HOME "
                              "or --home name another");
    item(s, "~/.cache/huggingface/hub", "models of the hub, shared with Python's huggingface_hub");
    item(s, "STORE/lamina.json", "the manifest of a store: a directory that has one is a store, one without is none");
}

static const char model_words[] =
    "MODEL is a checkpoint directory (Hugging Face layout), a GGUF file, a store, or ORG/NAME[@REVISION] of the "
    "hub. The first use of a model of the hub pulls it, that of a checkpoint or a GGUF file splits it once.";

static void see_also(struct str *s, int without) {
    section(s, "SEE ALSO");
    if (without >= 0) {
        str_add_text(s, ".BR lamina (1)");
    }
    bool first = without < 0;
    for (int i = cli_next_command(-1); i < CMD_COUNT; i = cli_next_command(i)) {
        if (i != without) {
            str_add_text(s, first ? ".BR lamina\\-" : ",\n.BR lamina\\-");
            text(s, cli_commands[i].name);
            str_add_text(s, " (1)");
            first = false;
        }
    }
    str_add_text(s, "\n");
}

static bool knows(int command, const char *name) {
    for (size_t i = 0; i < cli_option_count; i++) {
        if (cli_belongs(&cli_option_table[i], command) && strcmp(cli_option_table[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* An option that every command has; where one words it otherwise, in the words of `run`. */
static bool is_common(const struct cli_option *option) {
    bool all = cli_belongs(option, CMD_RUN);
    for (int c = cli_next_command(-1); c < CMD_COUNT && all; c = cli_next_command(c)) {
        all = knows(c, option->name);
    }
    return all;
}

/* ---- pages ---- */

void man_program(struct str *s, const char *version) {
    title(s, "lamina", version);
    name_section(s, "lamina", "language models far larger than memory, under a hard memory budget");
    section(s, "SYNOPSIS");
    str_add_text(s, "\\fBlamina\\fR \\fICOMMAND\\fR [\\fIargument\\fR ...] [\\fIoption\\fR ...]\n");
    section(s, "DESCRIPTION");
    line(s, "lamina streams a model's layers from disk under a memory budget that is never exceeded, at the "
            "speed of the disk; its answers do not depend on the budget.");
    str_add_text(s, ".PP\n");
    line(s, model_words);
    str_add_text(s, ".PP\n");
    line(s, "stdout carries the answer and nothing else; words about it, and progress, go to stderr.");
    section(s, "COMMANDS");
    for (int i = cli_next_command(-1); i < CMD_COUNT; i = cli_next_command(i)) {
        str_add_text(s, ".TP\n\\fB");
        text(s, cli_commands[i].name);
        str_add_text(s, "\\fR ");
        arguments(s, cli_commands[i].arguments);
        str_add_text(s, "\n");
        line(s, cli_commands[i].summary);
    }
    section(s, "OPTIONS OF EVERY COMMAND");
    for (size_t i = 0; i < cli_option_count; i++) {
        if (is_common(&cli_option_table[i])) {
            option_item(s, &cli_option_table[i]);
        }
    }
    exit_section(s);
    environment_section(s, -1);
    files_section(s);
    section(s, "EXAMPLES");
    str_add_text(s, ".nf\n");
    line(s, "lamina run ORG/NAME \"Why is the sky blue?\" --memory 4GiB");
    line(s, "lamina plan ~/models/NAME --memory 4GiB");
    line(s, "lamina doctor");
    str_add_text(s, ".fi\n");
    see_also(s, -1);
}

void man_command(struct str *s, int command, const char *version) {
    const struct cli_command *c = &cli_commands[command];
    char name[64];
    (void)snprintf(name, sizeof(name), "lamina-%s", c->name);
    title(s, name, version);
    name_section(s, name, c->summary);
    section(s, "SYNOPSIS");
    str_add_text(s, "\\fBlamina ");
    text(s, c->name);
    str_add_text(s, "\\fR ");
    arguments(s, c->arguments);
    str_add_text(s, c->arguments[0] != '\0' ? " [\\fIoption\\fR ...]\n" : "[\\fIoption\\fR ...]\n");
    if (strstr(c->arguments, "MODEL") != NULL) {
        section(s, "DESCRIPTION");
        line(s, model_words);
    }
    section(s, "OPTIONS");
    for (size_t i = 0; i < cli_option_count; i++) {
        if (cli_belongs(&cli_option_table[i], command)) {
            option_item(s, &cli_option_table[i]);
        }
    }
    exit_section(s);
    environment_section(s, command);
    files_section(s);
    see_also(s, command);
}
