/* SPDX-License-Identifier: Apache-2.0
 * Errors as values with words: the first failure fills the caller's lamina_error, later ones keep it. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include "base/compiler.h"
#include "lamina/status.h"

/* Sets *err (when err is non-NULL and still clean) to `code` and the formatted sentence; returns `code`. */
lamina_status base_fail(struct lamina_error *err, lamina_status code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As base_fail, and appends ": " and the text of the errno value. Maps ENOSPC and EDQUOT to NO_SPACE,
 * ENOENT to NOT_FOUND, ENOMEM to NO_FIT, anything else to IO. Returns the mapped code. */
lamina_status base_fail_errno(struct lamina_error *err, int errno_value, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts the formatted text in front of an error already set ("while opening X: ..."). */
void base_error_prefix(struct lamina_error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Forwards a failure. Only for functions that hold no resource at that point. */
#define LAMINA_TRY(call)                                                                                               \
    do {                                                                                                               \
        lamina_status try_status_ = (call);                                                                            \
        if (UNLIKELY(try_status_ < 0)) {                                                                               \
            return try_status_;                                                                                        \
        }                                                                                                              \
    } while (0)

#endif
