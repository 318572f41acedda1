/* SPDX-License-Identifier: Apache-2.0 */
#include "app/cli/line.h"

#include <errno.h>
#include <string.h>

#include "app/cli/cli.h"
#include "app/cli/line_edit.h"
#include "base/status.h"

static const char FENCE[] = "\"\"\"";
enum { FENCE_LEN = 3 };

void line_open(struct line_reader *r, const char *history, const char **note) {
    struct cli_terminal t;
    cli_terminal_init(&t, NULL);
    *note = NULL;
    *r = (struct line_reader){.prompts = cli_stdin_is_tty()};
    if (r->prompts && t.err_bar) {
        r->edit = line_edit_open(history, note);
    }
}

void line_close(struct line_reader *r) {
    line_edit_close(&r->edit);
}

static enum line_result read_plain(struct str *out, struct lamina_error *err) {
    size_t begin = out->len;
    int c = 0;
    errno = 0;
    while ((c = getc(stdin)) != EOF && c != '\n') {
        str_add_byte(out, (uint8_t)c);
    }
    if (out->failed) {
        (void)base_fail(err, LAMINA_USAGE, "a message of more than 64 MiB");
        return LINE_FAILED;
    }
    if (c == EOF && ferror(stdin)) {
        bool interrupted = errno == EINTR;
        clearerr(stdin);
        if (!interrupted) {
            (void)base_fail_errno(err, errno != 0 ? errno : EIO, "cannot read stdin");
        }
        return interrupted ? LINE_INTERRUPTED : LINE_FAILED;
    }
    if (out->len > begin && out->ptr[out->len - 1] == '\r') {
        out->ptr[--out->len] = '\0';
    }
    return c == EOF && out->len == begin ? LINE_END : LINE_TEXT;
}

enum line_result line_read(struct line_reader *r, bool further, struct str *out, struct lamina_error *err) {
    out->limit = LINE_LIMIT;
    cli_signals_wake(true);
    enum line_result result = LINE_INTERRUPTED;
    if (!cli_interrupted()) {
        if (r->edit == NULL && r->prompts) {
            fputs(further ? "... " : "> ", stderr);
            fflush(stderr);
        }
        result = r->edit != NULL ? line_edit_read(r->edit, further, out, err) : read_plain(out, err);
    }
    cli_signals_wake(false);
    if (r->prompts && (result == LINE_INTERRUPTED || result == LINE_END)) {
        fputs("\n", stderr);
    }
    return result;
}

/* What is between the fences; the first line, without its fence, is in `out` already. */
static enum line_result read_fenced(struct line_reader *r, struct str *out, struct lamina_error *err) {
    for (;;) {
        if (out->len >= FENCE_LEN && memcmp(out->ptr + out->len - FENCE_LEN, FENCE, FENCE_LEN) == 0) {
            out->len -= FENCE_LEN;
            out->ptr[out->len] = '\0';
            if (out->len > 0 && out->ptr[out->len - 1] == '\n') {
                out->ptr[--out->len] = '\0';
            }
            return LINE_TEXT;
        }
        if (out->len > 0) {
            str_add_byte(out, '\n');
        }
        enum line_result result = line_read(r, true, out, err);
        if (result == LINE_END) {
            (void)base_fail(err, LAMINA_USAGE, "the input ends inside a message that began with \"\"\"");
            return LINE_FAILED;
        }
        if (result != LINE_TEXT) {
            return result;
        }
    }
}

enum line_result line_message(struct line_reader *r, struct str *out, struct lamina_error *err) {
    enum line_result result = line_read(r, false, out, err);
    if (result == LINE_TEXT && strncmp(str_text(out), FENCE, FENCE_LEN) == 0) {
        memmove(out->ptr, out->ptr + FENCE_LEN, out->len - FENCE_LEN + 1);
        out->len -= FENCE_LEN;
        return read_fenced(r, out, err);
    }
    while (result == LINE_TEXT && out->len > 0 && out->ptr[out->len - 1] == '\\') {
        out->ptr[out->len - 1] = '\n';
        result = line_read(r, true, out, err);
        if (result == LINE_END) {
            return LINE_TEXT;
        }
    }
    return result;
}
