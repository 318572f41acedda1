/* SPDX-License-Identifier: Apache-2.0
 * The one way the library speaks outside errors: a callback of the embedding program. Never prints by itself. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/compiler.h"

enum log_level { LOG_WARNING, LOG_NOTE, LOG_DEBUG };

/* `say` may be called from any thread, one call at a time is not guaranteed; NULL drops everything. */
struct log_sink {
    void (*say)(void *user, int level, const char *text);
    void *user;
};

void log_say(const struct log_sink *sink, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
