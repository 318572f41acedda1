/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines of a person or a pipe. Where stdin and stderr are a capable terminal and libedit is there, lines can be edited and
 * earlier ones come back; else they are read as they come. One thread.
 */
#ifndef CLI_LINE_H
#define CLI_LINE_H

#include <stdbool.h>

#include "base/str.h"
#include "lamina/status.h"

enum { LINE_LIMIT = 64 << 20 }; /* most bytes of a message */

enum line_result { LINE_TEXT, LINE_END, LINE_INTERRUPTED, LINE_FAILED };

struct line_edit;
struct line_reader {
    struct line_edit *edit;      /* NULL: plain reading */
    bool prompts;                /* a person types */
};

/* `history`: the file that lines are kept in, mode 0600; NULL: nowhere. *note is set where editing would be possible with a library
 * that is not there, and says so; it is static. */
void line_open(struct line_reader *r, const char *history, const char **note);
void line_close(struct line_reader *r);
/* Appends one line without its end; `further`: of a message that has begun. INTERRUPTED: by a signal. FAILED: err is filled. */
enum line_result line_read(struct line_reader *r, bool further, struct str *out, struct lamina_error *err);
/* A message: a line, and those after it while each ends in a backslash; or, from """ to """, as many as stand between. */
enum line_result line_message(struct line_reader *r, struct str *out, struct lamina_error *err);

#endif
