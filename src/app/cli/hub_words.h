/* SPDX-License-Identifier: Apache-2.0
 * What the commands that know the hub share. */
#ifndef CLI_HUB_WORDS_H
#define CLI_HUB_WORDS_H

#include "app/cli/cli.h"
#include "hub/hub.h"

enum { HUB_PIECE_BYTES = 16 << 20 };

/* Shows a download as `user`, a struct cli_progress, shows the library's jobs; carries Ctrl-C. */
bool cli_hub_progress(void *user, const struct hub_progress *p);

/* What a command may do to find a model. */
enum { CLI_PLACE_PULL = 1, CLI_PLACE_STORE = 2, CLI_PLACE_TEXT = 4 };
/* The directory of a model of the hub: its snapshot in the cache when that is whole; else, with CLI_PLACE_STORE, the store that was
 * made while it came; else, with CLI_PLACE_PULL, what is fetched now (model_place.c). With CLI_PLACE_TEXT a snapshot without a
 * tokenizer is not whole, as long as the hub can be asked. */
lamina_status cli_model_place(const struct cli_options *o, const struct hub_name *name, unsigned may, struct str *out,
                              struct lamina_error *err);

#endif
