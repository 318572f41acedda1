/* SPDX-License-Identifier: Apache-2.0
 * A growable byte string, always followed by a 0 that `len` does not count. Out of memory is sticky: later calls do
 * nothing and `failed` stays true, so a builder checks once, at the end. Start from {0}. One thread at a time. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"

struct str {
    char *ptr; /* NULL while empty and never grown */
    size_t len;
    size_t cap;
    size_t limit; /* refuses to grow beyond this many bytes; 0 means no limit */
    bool failed;
};

void str_drop(struct str *s);                /* frees, back to {0} but keeps nothing */
void str_clear(struct str *s);               /* empties, keeps the memory, clears `failed` */
bool str_reserve(struct str *s, size_t len); /* room for `len` bytes in all */
void str_add(struct str *s, const void *bytes, size_t len);
void str_add_span(struct str *s, struct span bytes);
void str_add_text(struct str *s, const char *text);
void str_add_byte(struct str *s, uint8_t byte);
void str_add_utf8(struct str *s, uint32_t code_point); /* invalid code points are written as U+FFFD */
void str_add_html(struct str *s, struct span text); /* & < > and quotes as entities, as markupsafe writes them */
void str_printf(struct str *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void str_vprintf(struct str *s, const char *fmt, va_list args) PRINTF_LIKE(2, 0);

/* The text, never NULL. Valid until the next change. */
static inline const char *str_text(const struct str *s) {
    return s->ptr != NULL ? s->ptr : "";
}

static inline struct span str_span(const struct str *s) {
    return span_of(str_text(s), s->len);
}

/* A strict reader of one UTF-8 sequence (no overlong forms, no surrogates, at most U+10FFFF).
 * Returns its length 1..4 and sets *code_point; 0 when the bytes at the front are not valid UTF-8. */
size_t utf8_decode(struct span bytes, uint32_t *code_point);

/* Writes 1..4 bytes, returns how many; 0 for surrogates and values above U+10FFFF. */
size_t utf8_encode(uint32_t code_point, uint8_t out[4]);

bool utf8_valid(struct span bytes);

/* Bytes at the end of `bytes` that begin a valid but incomplete UTF-8 sequence (0..3). */
size_t utf8_incomplete_tail(struct span bytes);

/* Sizes for people: "96.0 MiB", "3.81 GB/s" style pieces. `out` needs 32 bytes. */
const char *format_bytes(char out[32], uint64_t bytes);

/* "4GiB", "512M", "1.5G", "100000": K M G T are powers of 1024 with or without i and B, except KB MB GB TB, which are
 * powers of 1000. False when it is not a size, negative, or above 2^62. */
bool parse_bytes(const char *text, uint64_t *bytes);

#endif
