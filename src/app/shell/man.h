/* SPDX-License-Identifier: Apache-2.0
 *
 * Manual pages from the tables of commands and options. Pure: the tables in, roff out. One thread.
 */
#ifndef SHELL_MAN_H
#define SHELL_MAN_H

#include "base/str.h"

/* lamina(1). `version` stands in its foot. A failed allocation leaves out->failed set, here and below. */
void man_program(struct str *out, const char *version);
/* lamina-COMMAND(1); `command` is an enum cli_command_id that has a summary. */
void man_command(struct str *out, int command, const char *version);

#endif
