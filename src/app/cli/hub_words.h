/* SPDX-License-Identifier: Apache-2.0
 * What the commands that know the hub share. */
#ifndef CLI_HUB_WORDS_H
#define CLI_HUB_WORDS_H

#include "hub/hub.h"

enum { HUB_PIECE_BYTES = 16 << 20 };

/* Shows a download as `user`, a struct cli_progress, shows the library's jobs; carries Ctrl-C. */
bool cli_hub_progress(void *user, const struct hub_progress *p);

#endif
