/* SPDX-License-Identifier: Apache-2.0
 * Formats one line for the sink. Lines longer than the buffer are cut, never split. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void log_say(const struct log_sink *sink, enum log_level level, const char *fmt, ...) {
    if (sink == NULL || sink->say == NULL) {
        return;
    }
    char line[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    sink->say(sink->user, (int)level, line);
}
