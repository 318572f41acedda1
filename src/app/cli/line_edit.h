/* SPDX-License-Identifier: Apache-2.0
 *
 * libedit, loaded when a person is to type: its header is used as it is, its functions through a table, so that no other
 * command pays for it.
 */
#ifndef CLI_LINE_EDIT_H
#define CLI_LINE_EDIT_H

#include <histedit.h>

#include "app/cli/line.h"

struct line_edit;
/* NULL when the library is not there (*note says so) or the terminal is not one for it. */
struct line_edit *line_edit_open(const char *history, const char **note);
void line_edit_close(struct line_edit **e);
enum line_result line_edit_read(struct line_edit *e, bool further, struct str *out, struct lamina_error *err);

#endif
