/* SPDX-License-Identifier: Apache-2.0
 * The error object: one code and one sentence, written once by whoever fails first. */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *lamina_status_text(lamina_status code) {
    switch (code) {
#define STATUS_TEXT(name, number, text)                                                                                \
    case LAMINA_##name:                                                                                                \
        return text;
        LAMINA_STATUS_MAP(STATUS_TEXT)
#undef STATUS_TEXT
    default:
        return "unknown status";
    }
}

PRINTF_LIKE(3, 0)
static void set_message(struct lamina_error *err, lamina_status code, const char *fmt, va_list args) {
    err->code = code;
    (void)vsnprintf(err->message, sizeof(err->message), fmt, args);
}

lamina_status base_fail(struct lamina_error *err, lamina_status code, const char *fmt, ...) {
    if (err != NULL && err->code == LAMINA_OK) {
        va_list args;
        va_start(args, fmt);
        set_message(err, code, fmt, args);
        va_end(args);
    }
    return code;
}

static lamina_status status_of_errno(int errno_value) {
    switch (errno_value) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return LAMINA_NO_SPACE;
    case ENOENT:
    case ENOTDIR:
        return LAMINA_NOT_FOUND;
    case ENOMEM:
        return LAMINA_NO_FIT;
    default:
        return LAMINA_IO;
    }
}

lamina_status base_fail_errno(struct lamina_error *err, int errno_value, const char *fmt, ...) {
    lamina_status code = status_of_errno(errno_value);
    if (err != NULL && err->code == LAMINA_OK) {
        va_list args;
        va_start(args, fmt);
        set_message(err, code, fmt, args);
        va_end(args);
        size_t used = strlen(err->message);
        (void)snprintf(err->message + used, sizeof(err->message) - used, ": %s", strerror(errno_value));
    }
    return code;
}

void base_error_prefix(struct lamina_error *err, const char *fmt, ...) {
    if (err == NULL || err->code == LAMINA_OK) {
        return;
    }
    char old[sizeof(err->message)];
    memcpy(old, err->message, sizeof(old));
    va_list args;
    va_start(args, fmt);
    int used = vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof(err->message)) {
        size_t room = sizeof(err->message) - (size_t)used;
        size_t keep = strlen(old) < room ? strlen(old) : room - 1;
        memcpy(err->message + used, old, keep);
        err->message[(size_t)used + keep] = 0;
    }
}
