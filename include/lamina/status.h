/* SPDX-License-Identifier: Apache-2.0
 *
 * Status codes of the library. A function that can fail returns 0 or one of these (all negative); the
 * process exit code of every program is the negated value, so one table serves C, shells and schedulers.
 * This header includes nothing.
 */
#ifndef LAMINA_STATUS_H
#define LAMINA_STATUS_H

#if defined(__GNUC__)
#define LAMINA_API __attribute__((visibility("default")))
#else
#define LAMINA_API
#endif

typedef int lamina_status;

/* X(name, exit code, meaning) */
#define LAMINA_STATUS_MAP(X)                                                   \
    X(OK, 0, "done")                                                           \
    X(UNEXPECTED, 1, "unexpected error")                                       \
    X(USAGE, 2, "wrong usage")                                                 \
    X(NOT_FOUND, 3, "model, revision or file not found")                       \
    X(AUTH, 4, "authentication missing or repository gated")                   \
    X(NETWORK, 5, "network trouble after retries")                             \
    X(NO_SPACE, 6, "no disk space")                                            \
    X(NO_FIT, 7, "does not fit the memory budget")                             \
    X(DAMAGED, 8, "checksum or format damage")                                 \
    X(UNSUPPORTED, 9, "architecture, data type or file format not supported")  \
    X(PARTIAL, 10, "finished, some requests failed")                           \
    X(IO, 11, "input/output error after retries")                              \
    X(DEVICE, 12, "device error or lost")                                      \
    X(BUSY, 75, "lock held by another process, try again")                     \
    X(INTERRUPTED, 130, "interrupted, state saved")

enum {
#define LAMINA_STATUS_ENUM(name, code, text) LAMINA_##name = -(code),
    LAMINA_STATUS_MAP(LAMINA_STATUS_ENUM)
#undef LAMINA_STATUS_ENUM
};

/* Filled by the first function that fails, left alone by the others. `message` is one sentence for a person:
 * what happened, in which file or tensor, what was expected and found, what to try. Start from {0}. */
struct lamina_error {
    lamina_status code;
    char message[1024];
};

#ifdef __cplusplus
extern "C" {
#endif
/* The short meaning of a code ("no disk space"), never NULL. */
LAMINA_API const char *lamina_status_text(lamina_status code);
#ifdef __cplusplus
}
#endif

#endif
