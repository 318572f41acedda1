/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina split: makes or completes a store. The same command again goes on where an interrupted one ended.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/cli/cli.h"
#include "app/cli/streamed.h"
#include "base/json.h"

/* --quant q8, q4 or bits a weight: the codec's name. */
lamina_status cli_codec_of_quant(const char *text, char codec[16], struct lamina_error *err) {
    char *end = NULL;
    if (strcmp(text, "q8") == 0 || strcmp(text, "q4") == 0) {
        (void)snprintf(codec, 16, "%s", text);
        return LAMINA_OK;
    }
    const double bits = text[0] >= '0' && text[0] <= '9' ? strtod(text, &end) : 0;
    if (end == NULL || *end != 0 || !(bits >= 2 && bits <= 8)) {
        return base_fail(err, LAMINA_USAGE, "--quant: \"%.40s\" is not q8, q4, or a number of bits from 2 to 8, like 3.5", text);
    }
    (void)snprintf(codec, 16, "q%.2f", bits);
    return LAMINA_OK;
}

static lamina_status choose_codec(const struct cli_options *o, struct lamina_split_options *options, char codec[16],
                                  struct lamina_error *err) {
    options->codec = o->codec != NULL ? o->codec : options->codec;
    if ((o->codec != NULL ? 1 : 0) + (o->quant != NULL ? 1 : 0) + (o->fit != 0 ? 1 : 0) > 1) {
        return base_fail(err, LAMINA_USAGE, "--codec, --quant and --fit each choose the coding: give one of them");
    }
    options->fit_bytes = o->fit;
    if (o->quant != NULL) {
        LAMINA_TRY(cli_codec_of_quant(o->quant, codec, err));
        options->codec = codec;
    }
    return LAMINA_OK;
}

lamina_status cmd_split(struct cli_options *o, struct lamina_error *err) {
    struct lamina_split_options options;
    struct cli_progress progress;
    struct str line = {0};
    char *store = NULL;
    char codec[16];
    lamina_split_defaults(&options);
    LAMINA_TRY(choose_codec(o, &options, codec, err));
    options.checkpoint = o->args[0];
    options.output = o->output;
    options.home = o->home;
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
