/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything that the editor shows goes to stderr: stdout has the answers alone. Characters are read here and not by the library,
 * which tries again when a signal comes in between, and so would not let a Ctrl-C through.
 */
#include "app/cli/line_edit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "app/cli/cli.h"
#include "base/status.h"
#include "sys/library.h"

enum { HISTORY_LINES = 1000 };

struct line_edit {
    EditLine *(*el_init)(const char *program, FILE *in, FILE *out, FILE *err);
    void (*el_end)(EditLine *el);
    int (*el_set)(EditLine *el, int what, ...);
    int (*el_source)(EditLine *el, const char *file);
    void (*el_resize)(EditLine *el);
    const char *(*el_gets)(EditLine *el, int *count);
    History *(*history_init)(void);
    void (*history_end)(History *h);
    int (*history)(History *h, HistEvent *event, int what, ...);
    EditLine *el;
    History *past;
    char *path;                  /* of the history; NULL: it is not kept */
};

static bool load(struct line_edit *e, const char **note) {
    static const char *const names[] = {"libedit.so.2", "libedit.so.0", "libedit.3.dylib"};
    void *library = NULL;
#define FUNCTION(name) {#name, &e->name}
    const struct {
        const char *name;
        void *function;
    } wanted[] = {FUNCTION(el_init), FUNCTION(el_end), FUNCTION(el_set), FUNCTION(el_source), FUNCTION(el_resize),
                  FUNCTION(el_gets), FUNCTION(history_init), FUNCTION(history_end), FUNCTION(history)};
#undef FUNCTION
    for (size_t i = 0; i < ARRAY_LEN(names) && library == NULL; i++) {
        library = sys_library_open(names[i]);
    }
    if (library == NULL) {
        *note = "lines cannot be edited: that needs libedit, which is not on this machine (Debian: libedit2)";
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        if (!sys_library_function(library, wanted[i].name, wanted[i].function)) {
            *note = "lines cannot be edited: this machine's libedit is too old (3.1 is needed)";
            return false;
        }
    }
    return true;
}

static int read_character(EditLine *el, wchar_t *out) {
    mbstate_t state = {0};
    (void)el;
    for (;;) {
        char byte = 0;
        wchar_t wide = 0;
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && errno == EINTR && !cli_interrupted()) {
            continue;
        }
        if (n <= 0) {
            *out = L'\0';
            return (int)n;
        }
        size_t used = mbrtowc(&wide, &byte, 1, &state);
        if (used == (size_t)-1) { /* no text in this encoding: left out */
            memset(&state, 0, sizeof(state));
        } else if (used != (size_t)-2) {
            *out = wide;
            return 1;
        }
    }
}

/* The library hands over the editor alone, so each prompt has a function. */
static char *first_prompt(EditLine *el) {
    static char text[] = "> ";
    (void)el;
    return text;
}

static char *further_prompt(EditLine *el) {
    static char text[] = "... ";
    (void)el;
    return text;
}

static void load_history(struct line_edit *e, History *past) {
    HistEvent event;
    (void)e->history(past, &event, H_SETSIZE, HISTORY_LINES);
    (void)e->history(past, &event, H_SETUNIQUE, 1);
    if (e->path != NULL) {
        (void)e->history(past, &event, H_LOAD, e->path);
    }
}

struct line_edit *line_edit_open(const char *history, const char **note) {
    struct line_edit *e = (struct line_edit *)calloc(1, sizeof(*e));
    if (e == NULL || !load(e, note)) {
        free(e);
        return NULL;
    }
    e->el = e->el_init("lamina", stdin, stderr, stderr);
    e->past = e->history_init();
    e->path = history != NULL ? strdup(history) : NULL;
    if (e->el == NULL || e->past == NULL) {
        line_edit_close(&e);
        return NULL;
    }
    load_history(e, e->past);
    (void)e->el_set(e->el, EL_EDITOR, "emacs");
    (void)e->el_set(e->el, EL_HIST, e->history, e->past);
    (void)e->el_set(e->el, EL_GETCFN, read_character);
    (void)e->el_set(e->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)e->el_source(e->el, NULL);
    return e;
}

void line_edit_close(struct line_edit **edit) {
    struct line_edit *e = *edit;
    if (e == NULL) {
        return;
    }
    if (e->past != NULL) {
        e->history_end(e->past);
    }
    if (e->el != NULL) {
        e->el_end(e->el);
    }
    free(e->path);
    free(e);
    *edit = NULL;
}

/* The line behind those of the file, which another chat may have added to meanwhile; written beside the file and put in its place.
 * What fails here is not worth a word: the conversation goes on. */
static void keep_line(struct line_edit *e, const char *line) {
    HistEvent event;
    struct str temp = {0};
    History *all = e->path != NULL ? e->history_init() : NULL;
    if (all == NULL) {
        return;
    }
    load_history(e, all);
    cli_temp_name(e->path, &temp);
    mode_t before = umask(S_IRWXG | S_IRWXO);
    bool good = !temp.failed && e->history(all, &event, H_ENTER, line) >= 0 &&
                e->history(all, &event, H_SAVE, str_text(&temp)) >= 0 && chmod(str_text(&temp), S_IRUSR | S_IWUSR) == 0 &&
                rename(str_text(&temp), e->path) == 0;
    (void)umask(before);
    if (!good && !temp.failed) {
        (void)unlink(str_text(&temp));
    }
    e->history_end(all);
    str_drop(&temp);
}

enum line_result line_edit_read(struct line_edit *e, bool further, struct str *out, struct lamina_error *err) {
    HistEvent event;
    int count = 0;
    (void)e->el_set(e->el, EL_PROMPT, further ? further_prompt : first_prompt);
    e->el_resize(e->el);
    const char *line = e->el_gets(e->el, &count);
    if (line == NULL || count <= 0) {
        return cli_interrupted() ? LINE_INTERRUPTED : LINE_END;
    }
    size_t len = (size_t)count;
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r')) {
        len--;
    }
    if (len > 0) {
        (void)e->history(e->past, &event, H_ENTER, line);
        keep_line(e, line);
    }
    str_add(out, line, len);
    if (out->failed) {
        (void)base_fail(err, LAMINA_USAGE, "a message of more than 64 MiB");
        return LINE_FAILED;
    }
    return LINE_TEXT;
}
