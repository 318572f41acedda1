/* SPDX-License-Identifier: Apache-2.0
 *
 * What the build runs to write the files of the shell: manual pages and completion scripts, from the same tables that the program
 * is made of. It is compiled for the machine that builds, so a cross build has them too: of the program it holds the tables
 * (CLI_WORDS_ONLY), of the rooms only base.
 *     shell_files man DIR | completion bash|zsh|fish FILE
 */
#include <stdio.h>
#include <string.h>

#include "app/cli/cli.h"
#include "app/shell/man.h"

static int write_text(const char *path, struct str *s) {
    FILE *f = s->failed ? NULL : fopen(path, "wbe");
    bool good = f != NULL && fwrite(str_text(s), 1, s->len, f) == s->len;
    good = f != NULL && fclose(f) == 0 && good;
    if (!good) {
        (void)fprintf(stderr, "shell_files: cannot write %s\n", path);
    }
    str_drop(s);
    return good ? 0 : 1;
}

static int pages(const char *dir) {
    struct str s = {0};
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/lamina.1", dir);
    man_program(&s, LAMINA_SHELL_VERSION);
    int wrong = write_text(path, &s);
    for (int c = cli_next_command(-1); c < CMD_COUNT && wrong == 0; c = cli_next_command(c)) {
        (void)snprintf(path, sizeof(path), "%s/lamina-%s.1", dir, cli_commands[c].name);
        man_command(&s, c, LAMINA_SHELL_VERSION);
        wrong = write_text(path, &s);
    }
    return wrong;
}

int main(int argc, char **argv) {
    struct str s = {0};
    if (argc == 3 && strcmp(argv[1], "man") == 0) {
        return pages(argv[2]);
    }
    if (argc == 4 && strcmp(argv[1], "completion") == 0 && cli_completion(&s, argv[2])) {
        return write_text(argv[3], &s);
    }
    (void)fprintf(stderr, "usage: shell_files man DIR | completion bash|zsh|fish FILE\n");
    return 2;
}
