/* SPDX-License-Identifier: Apache-2.0
 *
 * Strict JSON (RFC 8259) over a span, without a tree: the caller walks the document and takes what it wants.
 * The first mistake is sticky: it fills the error with file, line and column, and every later call returns "no more",
 * so a walk is written straight and checked once with json_finish().
 *
 *     json_enter_object(&r);
 *     while (json_next_key(&r, &key)) {
 *         if (span_is(key, "hidden_size")) { json_u64(&r, &hidden); }
 *         else { json_skip(&r); }                  // every value must be read or skipped
 *     }
 *
 * A copy of the struct is a bookmark: reading from the copy later reads that value again.
 * Refuses: duplicate top-level garbage, depth above JSON_MAX_DEPTH, invalid UTF-8, lone surrogates, control characters.
 * Duplicate keys are reported as they come; a format that forbids them checks itself.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "base/str.h"

enum { JSON_MAX_DEPTH = 64, JSON_MAX_KEY = 4096 };

enum json_type { JSON_NONE, JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_reader {
    struct span text;
    size_t pos;
    struct lamina_error *err;
    const char *name;     /* of the document, for messages */
    lamina_status failed; /* status used for syntax errors once one happened, else 0 */
    unsigned depth;
    bool first;    /* just entered a container, no comma due */
    struct str *key; /* where a key with escapes is decoded; owned by the caller of json_init */
};

/* `name` (say, "config.json") must outlive the reader. `key` is scratch for escaped keys, reset at each key. */
void json_init(struct json_reader *r, struct span text, const char *name, struct str *key, struct lamina_error *err);

/* The type of the value at hand, JSON_NONE after an error or at the end of a container. Consumes only white space. */
enum json_type json_peek(struct json_reader *r);

bool json_enter_object(struct json_reader *r);
/* True with the key when there is one more member; its value is next. False at the closing brace (then consumed). */
bool json_next_key(struct json_reader *r, struct span *key);
bool json_enter_array(struct json_reader *r);
bool json_next_item(struct json_reader *r); /* true when one more item is next; false at the bracket (consumed) */

bool json_null(struct json_reader *r); /* consumes a null if it is one; false (and no error) if it is not */
bool json_bool(struct json_reader *r, bool *value);
bool json_u64(struct json_reader *r, uint64_t *value); /* plain digits, below 2^63, no sign, fraction or exponent */
bool json_i64(struct json_reader *r, int64_t *value);
bool json_double(struct json_reader *r, double *value); /* finite; also accepts integers */
/* Appends the decoded string to *out (not cleared first). */
bool json_string(struct json_reader *r, struct str *out);
/* The raw text of a number, or of a string without its quotes and with its escapes still in (*escaped tells). */
bool json_raw_number(struct json_reader *r, struct span *digits);
bool json_raw_string(struct json_reader *r, struct span *body, bool *escaped);
/* Skips any value, fully checked. If `raw` is non-NULL it gets the value's text. */
bool json_skip(struct json_reader *r);
bool json_skip_raw(struct json_reader *r, struct span *raw);

/* Only white space may follow. Returns the first failure or 0. */
lamina_status json_finish(struct json_reader *r);

/* For consumers that refuse a well-formed value: sets the error with line and column; always false. */
bool json_refuse(struct json_reader *r, lamina_status code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Appends `bytes` as a quoted JSON string; invalid UTF-8 becomes U+FFFD. */
void json_write_string(struct str *out, struct span bytes);
/* Appends the shortest decimal that reads back as the same float (9 digits) or double (17); NaN, inf become null. */
void json_write_float(struct str *out, float value);
void json_write_double(struct str *out, double value);

#endif
