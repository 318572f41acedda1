/* SPDX-License-Identifier: Apache-2.0
 *
 * How far a long job is: a bar that is redrawn in place where a person watches a capable terminal, else one plain line
 * every 5 s. The same callback carries Ctrl-C into the library.
 */
#include <errno.h>
#include <string.h>

#include "app/cli/cli.h"
#include "app/cli/live.h"
#include "base/json.h"
#include "base/log.h"
#include "base/status.h"

enum { BAR_EVERY_NS = 100 * 1000 * 1000, BAR_CELLS_MAX = 30 };
#define LINE_EVERY_NS (5ull * 1000 * 1000 * 1000)

static const char *kind_words(enum lamina_progress_kind kind) {
    switch (kind) {
    case LAMINA_PROGRESS_SPLIT:
        return "splitting";
    case LAMINA_PROGRESS_VERIFY:
        return "verifying";
    case LAMINA_PROGRESS_PROMPT:
    case LAMINA_PROGRESS_PROMPTS:
        return "reading the prompt";
    }
    return "working";
}

/* "1.2 GiB of 14.0 GiB, 8 %, 310 MB/s, 42 s left" */
static void figures(struct str *s, const struct lamina_progress *p) {
    char done[32];
    char total[32];
    char rate[32];
    char left[32];
    uint64_t fresh = p->done_bytes > p->resumed_bytes ? p->done_bytes - p->resumed_bytes : 0;
    double seconds = (double)p->elapsed_ns * 1e-9;
    double per_s = seconds > 0.0 ? (double)fresh / seconds : 0.0;
    str_add_text(s, format_bytes(done, p->done_bytes));
    if (p->total_bytes > 0) {
        str_printf(s, " of %s, %.0f %%", format_bytes(total, p->total_bytes),
                   100.0 * (double)p->done_bytes / (double)p->total_bytes);
    }
    if (per_s > 0.0) {
        str_printf(s, ", %s", cli_rate(rate, per_s));
        if (p->total_bytes >= p->done_bytes && p->total_bytes > 0) {
            str_printf(s, ", %s left", cli_seconds(left, (double)(p->total_bytes - p->done_bytes) / per_s));
        }
    }
}

static void draw_bar(struct cli_progress *c, const char *words, const struct lamina_progress *p) {
    struct str numbers = {0};
    struct str line = {0};
    figures(&numbers, p);
    size_t used = strlen(words) + numbers.len + 5;
    size_t room = c->terminal.columns > used ? c->terminal.columns - used : 0;
    size_t cells = room < BAR_CELLS_MAX ? room : BAR_CELLS_MAX;
    str_printf(&line, "\r%s ", words);
    if (p->total_bytes > 0 && cells >= 8) {
        double share = (double)p->done_bytes / (double)p->total_bytes;
        size_t full = (size_t)((share > 1.0 ? 1.0 : share) * (double)cells);
        str_add_byte(&line, '[');
        for (size_t i = 0; i < cells; i++) {
            str_add_byte(&line, i < full ? '#' : '.');
        }
        str_add_text(&line, "] ");
    }
    size_t before = strlen(words) + 2;
    size_t shown = numbers.len;
    if (cells < 8 && before + shown > c->terminal.columns) {
        shown = c->terminal.columns > before ? c->terminal.columns - before : 0;
    }
    str_add(&line, str_text(&numbers), shown);
    str_add_text(&line, "\033[K");
    fwrite(str_text(&line), 1, line.len, stderr);
    fflush(stderr);
    c->bar_shown = true;
    str_drop(&numbers);
    str_drop(&line);
}

void cli_progress_clear(struct cli_progress *c) {
    if (c->bar_shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        c->bar_shown = false;
    }
}

/* A parent that is gone ends this process by SIGPIPE. */
static void step_line(const struct cli_progress *c, double share, const char *line) {
    struct str out = {0};
    struct lamina_error ignored = {0};
    str_printf(&out, "{\"done\": %.4f, \"of\": %u, \"what\": ", c->part + share, c->parts);
    json_write_string(&out, span_of_text(line));
    str_add_text(&out, "}\n");
    (void)cli_out_str(&out, &ignored);
    str_drop(&out);
}

void cli_progress_step(struct cli_progress *c, double spent_s, double share, const char *line) {
    uint64_t now = (uint64_t)(spent_s * 1e9);
    if (now < c->last_ns) { /* another job */
        c->last_ns = 0;
    }
    if ((c->quiet && !c->lines) || now - c->last_ns < (c->lines || c->terminal.err_bar ? BAR_EVERY_NS : LINE_EVERY_NS)) {
        return;
    }
    c->last_ns = now;
    if (c->lines) {
        step_line(c, share, line);
        return;
    }
    if (!c->terminal.err_bar) {
        cli_say(1, "%s", line);
        return;
    }
    struct str safe = {0};
    str_add_text(&safe, "\r");
    cli_safe_text(&safe, line, strlen(line) < c->terminal.columns ? strlen(line) : c->terminal.columns - 1);
    str_add_text(&safe, "\033[K");
    fwrite(str_text(&safe), 1, safe.len, stderr);
    fflush(stderr);
    c->bar_shown = true;
    str_drop(&safe);
}

bool cli_progress_bytes(struct cli_progress *c, const char *words, const struct lamina_progress *p) {
    bool done = p->total_bytes > 0 && p->done_bytes >= p->total_bytes;
    if (c->last_words != words || p->elapsed_ns < c->last_ns) {
        c->last_words = words;
        c->last_ns = 0;
    }
    if (c->quiet) {
        return cli_interrupted();
    }
    if (c->terminal.err_bar) {
        if (done) {
            cli_progress_clear(c);
        } else if (p->elapsed_ns - c->last_ns >= BAR_EVERY_NS) {
            c->last_ns = p->elapsed_ns;
            draw_bar(c, words, p);
        }
    } else if (p->elapsed_ns - c->last_ns >= LINE_EVERY_NS && !done) {
        struct str line = {0};
        c->last_ns = p->elapsed_ns;
        figures(&line, p);
        cli_say(1, "%s: %s%s%s", words, str_text(&line), p->what != NULL ? ", " : "", p->what != NULL ? p->what : "");
        str_drop(&line);
    }
    return cli_interrupted();
}

static bool on_progress(void *user, const struct lamina_progress *p) {
    if (p->kind == LAMINA_PROGRESS_PROMPTS) { /* the command has a line of its own */
        return cli_interrupted();
    }
    const struct cli_progress *c = (const struct cli_progress *)user;
    if (p->kind == LAMINA_PROGRESS_PROMPT && c->live != NULL) {
        cli_live_prompt(c->live, p->done_bytes);
        return cli_interrupted();
    }
    return cli_progress_bytes(user, kind_words(p->kind), p);
}

static void on_layer(void *user, uint32_t layer) {
    const struct cli_progress *c = (const struct cli_progress *)user;
    if (c->live != NULL) {
        cli_live_layer(c->live, layer);
    }
}

static void on_log(void *user, int level, const char *text) {
    struct cli_progress *c = (struct cli_progress *)user;
    if (c->quiet || (level > LOG_WARNING && !c->verbose)) {
        return;
    }
    cli_progress_clear(c);
    if (c->live != NULL) {
        cli_live_clear(c->live);
    }
    cli_say(level, "%s", text);
}

void cli_progress_init(struct cli_progress *c, const struct cli_options *o, struct lamina_callbacks *callbacks) {
    *c = (struct cli_progress){.quiet = o->quiet, .verbose = o->verbose};
    cli_terminal_init(&c->terminal, o->color);
    *callbacks = (struct lamina_callbacks){.log = on_log, .progress = on_progress, .layer = on_layer, .user = c};
}

/* "layer: expert expert ..." */
static void on_experts(void *user, uint32_t layer, const uint8_t *chosen, uint32_t count) {
    struct cli_progress *c = (struct cli_progress *)user;
    (void)fprintf(c->trace, "%u:", layer);
    for (uint32_t i = 0; i < count; i++) {
        if (chosen[i] != 0) {
            (void)fprintf(c->trace, " %u", i);
        }
    }
    (void)fputc('\n', c->trace);
}

lamina_status cli_trace_open(struct cli_progress *p, const struct cli_options *o, struct lamina_callbacks *callbacks,
                             struct lamina_error *err) {
    if (o->expert_trace == NULL) {
        return LAMINA_OK;
    }
    p->trace_path = o->expert_trace;
    p->trace = fopen(o->expert_trace, "wbe");
    callbacks->experts = on_experts;
    return p->trace != NULL ? LAMINA_OK : base_fail_errno(err, errno, "cannot write %s", o->expert_trace);
}

lamina_status cli_trace_close(struct cli_progress *p, struct lamina_error *err) {
    if (p->trace == NULL) {
        return LAMINA_OK;
    }
    bool good = ferror(p->trace) == 0;
    good = fclose(p->trace) == 0 && good;
    p->trace = NULL;
    return good ? LAMINA_OK : base_fail_errno(err, errno, "cannot write %s", p->trace_path);
}
