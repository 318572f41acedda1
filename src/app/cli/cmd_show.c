/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina show: what a store holds.
 */
#include <string.h>

#include "app/cli/cli.h"

lamina_status cmd_show(struct cli_options *o, struct lamina_error *err) {
    struct cli_terminal terminal;
    struct str safe = {0};
    char *text = NULL;
    lamina_status status = lamina_show(o->args[0], o->home, o->json, &text, err);
    if (status == LAMINA_OK) {
        size_t len = strlen(text);
        cli_terminal_init(&terminal, o->color);
        if (terminal.out_tty) {
            cli_safe_text(&safe, text, len);
        } else {
            str_add(&safe, text, len);
        }
        if (len > 0 && text[len - 1] != '\n') {
            str_add_byte(&safe, '\n');
        }
        status = cli_out_str(&safe, err);
    }
    str_drop(&safe);
    lamina_free(text);
    return status;
}
