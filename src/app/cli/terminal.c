/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything that knows whether a person is watching: colour, width, bars, and the rule that text from a model or a file
 * never commands a terminal (no escape, C0 or C1 bytes reach one). Honours NO_COLOR, CLICOLOR_FORCE, TERM=dumb, COLUMNS.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "app/cli/cli.h"
#include "base/status.h"

/* Set once by main before anything speaks. */
static bool color_on;

void cli_color_init(bool on) {
    color_on = on;
}

static bool has_text(const char *variable) {
    const char *value = getenv(variable);
    return value != NULL && *value != '\0';
}

static unsigned width_of_terminal(void) {
    const char *text = getenv("COLUMNS");
    unsigned long columns = text != NULL ? strtoul(text, NULL, 10) : 0;
    struct winsize size;
    if (columns == 0 && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0) {
        columns = size.ws_col;
    }
    return columns >= 20 && columns < 10000 ? (unsigned)columns : 80;
}

void cli_terminal_init(struct cli_terminal *t, const char *color) {
    const char *term = getenv("TERM");
    bool dumb = term == NULL || *term == '\0' || strcmp(term, "dumb") == 0;
    t->out_tty = isatty(STDOUT_FILENO) == 1;
    t->err_tty = isatty(STDERR_FILENO) == 1;
    t->err_bar = t->err_tty && !dumb;
    t->columns = width_of_terminal();
    if (color != NULL && strcmp(color, "always") == 0) {
        t->color = true;
    } else if (color != NULL && strcmp(color, "never") == 0) {
        t->color = false;
    } else {
        t->color = !has_text("NO_COLOR") && (has_text("CLICOLOR_FORCE") || t->err_bar);
    }
}

void cli_safe_text(struct str *out, const char *text, size_t len) {
    struct span rest = span_of(text, len);
    while (rest.len > 0) {
        uint32_t code_point = 0;
        size_t n = utf8_decode(rest, &code_point);
        if (n == 0) {
            str_add_utf8(out, 0xfffd);
            rest = span_sub(rest, 1, rest.len);
            continue;
        }
        bool control = (code_point < 0x20 && code_point != '\n' && code_point != '\t') ||
                       (code_point >= 0x7f && code_point < 0xa0);
        if (!control) {
            str_add(out, rest.ptr, n);
        }
        rest = span_sub(rest, n, rest.len);
    }
}

void cli_say(int level, const char *fmt, ...) {
    static const struct {
        const char *plain;
        const char *colored;
    } prefix[] = {{"lamina: ", "\033[1;31mlamina:\033[0m "},
                  {"lamina: warning: ", "\033[1;33mlamina: warning:\033[0m "},
                  {"lamina: ", "lamina: "}};
    struct str raw = {0};
    struct str safe = {0};
    va_list args;
    va_start(args, fmt);
    str_vprintf(&raw, fmt, args);
    va_end(args);
    size_t i = level < 0 ? 0 : level == 0 ? 1 : 2;
    str_add_text(&safe, color_on ? prefix[i].colored : prefix[i].plain);
    cli_safe_text(&safe, str_text(&raw), raw.len);
    str_add_byte(&safe, '\n');
    fwrite(str_text(&safe), 1, safe.len, stderr);
    str_drop(&raw);
    str_drop(&safe);
}

lamina_status cli_out(const char *bytes, size_t len, struct lamina_error *err) {
    errno = 0;
    if ((len > 0 && fwrite(bytes, 1, len, stdout) != len) || fflush(stdout) != 0 || ferror(stdout)) {
        return base_fail_errno(err, errno != 0 ? errno : EIO, "cannot write the answer to stdout");
    }
    return LAMINA_OK;
}

lamina_status cli_out_str(const struct str *s, struct lamina_error *err) {
    if (s->failed) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the answer's text");
    }
    return cli_out(str_text(s), s->len, err);
}

const char *cli_seconds(char out[32], double seconds) {
    if (!(seconds >= 0.0) || seconds > 1e9) {
        snprintf(out, 32, "unknown");
    } else if (seconds < 0.1) {
        snprintf(out, 32, "%.1f ms", seconds * 1e3);
    } else if (seconds < 10.0) {
        snprintf(out, 32, "%.2f s", seconds);
    } else if (seconds < 120.0) {
        snprintf(out, 32, "%.0f s", seconds);
    } else {
        unsigned long whole = (unsigned long)seconds;
        if (whole < 7200) {
            snprintf(out, 32, "%lu min %02lu s", whole / 60, whole % 60);
        } else {
            snprintf(out, 32, "%lu h %02lu min", whole / 3600, whole / 60 % 60);
        }
    }
    return out;
}

const char *cli_rate(char out[32], double bytes_per_s) {
    if (bytes_per_s >= 1e9) {
        snprintf(out, 32, "%.2f GB/s", bytes_per_s / 1e9);
    } else {
        snprintf(out, 32, "%.1f MB/s", bytes_per_s / 1e6);
    }
    return out;
}

double cli_now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
