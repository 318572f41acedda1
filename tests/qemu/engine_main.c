/* SPDX-License-Identifier: Apache-2.0
 *
 * `lamina logits` and nothing else, for a processor without the third-party libraries: the engine from the store's files
 * to the JSON on stdout is the one of the program, only the text room is missing (it needs Oniguruma and utf8proc). The
 * test builds it for the other architecture and compares what it prints with build/lamina.
 *
 * usage: as `lamina logits`, without the word: engine STORE --ids 1,2,3 -n 4 --json */

#include "api/api_priv.h"
#include "app/cli/cli.h"

/* A store's tokenizer is left alone: logits takes ids. NULL is what a model without tokenizer files has. */
lamina_status lamina_text_open_with(struct lamina_text **text, const char *path, const struct lamina_text_options *o,
                                    struct lamina_error *err) {
    (void)path, (void)o, (void)err;
    *text = NULL;
    return LAMINA_OK;
}

void lamina_text_defaults(struct lamina_text_options *o) {
    *o = (struct lamina_text_options){.size = sizeof(*o)};
}

void lamina_text_close(struct lamina_text **text) {
    *text = NULL;
}

uint32_t text_vocab_size(const struct text_tokenizer *tokenizer) {
    (void)tokenizer;
    return 0;
}

const struct cli_command cli_commands[CMD_COUNT] = {
    [CMD_LOGITS] = {"logits", "MODEL", "logits and greedy tokens for given ids", 1, 1, cmd_logits},
};

int main(int argc, char **argv) {
    struct lamina_error err = {0};
    struct cli_options o = {0};
    lamina_status status = cli_options_parse(&o, CMD_LOGITS, argc, argv, &err);
    if (status == LAMINA_OK) {
        status = cmd_logits(&o, &err);
    }
    cli_options_drop(&o);
    if (status < 0) {
        cli_say(-1, "%s", err.message[0] != '\0' ? err.message : lamina_status_text(status));
    }
    return -status;
}
