/* SPDX-License-Identifier: Apache-2.0
 *
 * The Jinja subset that chat templates use (what it holds is said in jinja.c), rendered as transformers does:
 * trim_blocks, lstrip_blocks, loop controls, the generation tag, tojson without HTML escaping; where Jinja is Python,
 * so is this. Templates are untrusted programs: parse depth, call depth, steps, memory and output size are limited.
 * Pure except for strftime_now, whose time the caller passes in.
 */
#ifndef TEXT_JINJA_H
#define TEXT_JINJA_H

#include <stdint.h>

#include "base/span.h"
#include "base/status.h"
#include "base/str.h"

struct jinja_template; /* immutable after parse; render from any number of threads */

/* Limits: source 256 KiB, parse depth 64. The source is copied. DAMAGED with line and column for syntax errors,
 * UNSUPPORTED for statements outside the subset (include, import, extends, ...) and unknown filters, naming them. */
lamina_status jinja_parse(struct jinja_template **t, struct span source, struct lamina_error *err);
void jinja_close(struct jinja_template **t);

struct jinja_limits {
    uint64_t steps;         /* default 1,000,000 */
    uint64_t memory_bytes;  /* all values of one rendering, default 64 MiB */
    uint64_t output_bytes;  /* default 16 MiB */
    uint32_t depth;         /* macro and call depth, default 32 */
    uint64_t range_items;   /* default 100,000 */
};
void jinja_limits_defaults(struct jinja_limits *l);

struct jinja_input {
    struct span variables;       /* a JSON object: every member is a variable of the template */
    int64_t now_unix_s;          /* for strftime_now, shown as UTC */
    const struct jinja_limits *limits; /* NULL: defaults */
};
/* Appends the output. A template's own raise_exception gives USAGE with its words; a limit gives NO_FIT naming it; type
 * errors give DAMAGED with the line. */
lamina_status jinja_render(const struct jinja_template *t, const struct jinja_input *in, struct str *out,
                           struct lamina_error *err);

#endif
