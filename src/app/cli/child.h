/* SPDX-License-Identifier: Apache-2.0
 *
 * This program run once more in a process of its own, for what belongs to a process: its peak of memory. The only place of
 * the program that starts one. One thread.
 */
#ifndef CLI_CHILD_H
#define CLI_CHILD_H

#include <sys/types.h>

#include "base/str.h"
#include "lamina/status.h"

enum { CHILD_LINE_LIMIT = 16 << 20 };

struct child {
    pid_t pid;
    int out;         /* the end of its stdout that we read */
    struct str rest; /* read, but no whole line yet */
};

/* argv is that of the child, ended by NULL; argv[0] is only its name. Always child_end after success. */
lamina_status child_start(struct child *c, char *const argv[], struct lamina_error *err);

enum child_news { CHILD_LINE, CHILD_NOTHING, CHILD_END };
/* Waits for its next line, without the newline, at most wait_ms. NOTHING: none yet. END: it closed its stdout. */
enum child_news child_line(struct child *c, struct str *line, int wait_ms);
void child_stop(const struct child *c); /* asks it to end, as Ctrl-C does */
/* Waits for it. Its exit code, or the signal that ended it as a negative number. */
int child_end(struct child *c);

#endif
