/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina split: makes or completes a store. The same command again goes on where an interrupted one ended.
 */
#include "app/cli/cli.h"
#include "base/json.h"

lamina_status cmd_split(struct cli_options *o, struct lamina_error *err) {
    struct lamina_split_options options;
    struct cli_progress progress;
    struct str line = {0};
    char *store = NULL;
    lamina_split_defaults(&options);
    options.checkpoint = o->args[0];
    options.output = o->output;
    options.home = o->home;
    options.codec = o->codec;
    options.delete_original = o->delete_original;
    cli_progress_init(&progress, o, &options.callbacks);
    lamina_status status = lamina_split(&options, &store, err);
    cli_progress_clear(&progress);
    if (status == LAMINA_OK && o->json) {
        str_add_text(&line, "{\"store\": ");
        json_write_string(&line, span_of_text(store));
        str_add_text(&line, "}\n");
        status = cli_out_str(&line, err);
    } else if (status == LAMINA_OK) {
        str_printf(&line, "%s\n", store);
        status = cli_out_str(&line, err);
    }
    str_drop(&line);
    lamina_free(store);
    return status;
}
