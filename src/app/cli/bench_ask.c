/* SPDX-License-Identifier: Apache-2.0
 *
 * A child of `lamina bench`: started, listened to until it ends, stopped when the user says so. What its lines mean stands in
 * bench.h.
 */
#include <math.h>
#include <string.h>

#include "app/cli/bench_ask.h"
#include "app/cli/child.h"
#include "base/json.h"
#include "base/status.h"

enum { WAIT_MS = 200 };

/* ---- its command line ---- */

void bench_args_add(struct bench_args *a, const char *word) {
    if (a->count + 1 >= BENCH_MOST_ARGS) { /* the last one stays NULL */
        a->failed = true;
        return;
    }
    struct str *s = &a->text[a->count];
    str_add_text(s, word);
    (void)str_reserve(s, 1); /* "" too has its own memory */
    a->failed = a->failed || s->failed;
    a->word[a->count++] = s->ptr;
}

void bench_args_add_pair(struct bench_args *a, const char *name, const char *value) {
    if (value != NULL) {
        bench_args_add(a, name);
        bench_args_add(a, value);
    }
}

void bench_args_add_number(struct bench_args *a, const char *name, uint32_t value) {
    char text[16];
    (void)snprintf(text, sizeof(text), "%u", value);
    bench_args_add_pair(a, name, text);
}

void bench_args_of_cell(const struct bench_run *b, const char *command, const struct bench_cell *cell,
                        const struct bench_row *about, struct bench_args *a) {
    const struct cli_options *o = b->o;
    bench_args_add(a, "lamina");
    bench_args_add(a, command);
    bench_args_add_pair(a, "--model", about->store);
    bench_args_add_pair(a, "--home", o->home);
    bench_args_add_pair(a, "--memory", cell->value[BENCH_MEMORY]);
    bench_args_add_pair(a, "--read-ahead", cell->value[BENCH_READ_AHEAD]);
    bench_args_add_pair(a, "--threads", cell->value[BENCH_THREADS] != NULL ? cell->value[BENCH_THREADS] : "0");
    bench_args_add_number(a, "--prompt-rows", o->prompt_rows);
    bench_args_add_pair(a, "--kv", o->kv);
    bench_args_add_pair(a, "--numerics", o->numerics);
    bench_args_add_pair(a, "--io", o->io);
    bench_args_add_pair(a, "--sim", o->sim);
    bench_args_add_pair(a, "--isa", o->isa);
    if (o->no_pin) {
        bench_args_add(a, "--no-pin");
    }
}

void bench_args_drop(struct bench_args *a) {
    for (uint32_t i = 0; i < a->count; i++) {
        str_drop(&a->text[i]);
    }
}

/* ---- what it says ---- */

void bench_answer_drop(struct bench_answer *a) {
    bench_rows_drop(&a->rows);
    str_drop(&a->error);
    str_drop(&a->what);
    str_drop(&a->warning);
}

/* The figures of lamina bench-text under the names that lamina kl gives them. */
static bool take_quality(struct bench_of_text *q, struct span key, struct json_reader *r) {
    const struct {
        const char *name;
        double *value, unit;
    } figures[] = {
        {"mean_kl", &q->kl, 1.0}, {"mean_kl_error", &q->kl_error, 1.0}, {"top1_agreement", &q->top1, 0.01},
        {"ppl", &q->ppl, 1.0}, {"ppl_error", &q->ppl_error, 1.0}, {"ppl_ratio", &q->ppl_ratio, 1.0},
        {"ppl_ratio_error", &q->ppl_ratio_error, 1.0},
    };
    for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
        if (span_is(key, figures[i].name)) {
            *figures[i].value = json_null(r) || !json_double(r, figures[i].value) ? NAN : *figures[i].value * figures[i].unit;
            return true;
        }
    }
    return false;
}

/* One line of the child. A line that is no JSON is passed over: the child's end then says that it failed. */
static void take_line(struct bench_answer *a, const struct str *line) {
    struct lamina_error ignored = {0};
    struct json_reader r;
    struct str scratch = {0};
    struct span key;
    bool result = false;
    double done = 0.0;
    double of = 0.0;
    json_init(&r, str_span(line), "the measuring process", &scratch, &ignored);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        if (take_quality(&a->of_text, key, &r)) {
            result = true;
        } else if (span_is(key, "rows")) {
            bench_rows_parse(&r, &a->rows);
            result = true;
        } else if (span_is(key, "status")) {
            result = json_u64(&r, &a->status);
        } else if (span_is(key, "error")) {
            (void)json_string(&r, &a->error);
        } else if (span_is(key, "done")) {
            (void)json_double(&r, &done);
        } else if (span_is(key, "of")) {
            (void)json_double(&r, &of);
        } else if (span_is(key, "what")) {
            str_clear(&a->what);
            (void)json_string(&r, &a->what);
        } else if (span_is(key, "warning")) {
            str_clear(&a->warning);
            (void)json_string(&r, &a->warning);
        } else {
            (void)json_skip(&r);
        }
    }
    a->finished = (json_finish(&r) == LAMINA_OK && result) || a->finished;
    a->share = of > 0.0 && done <= of ? done / of : a->share;
    str_drop(&scratch);
}

static lamina_status listen(struct bench_run *b, struct child *c, struct bench_answer *a, struct lamina_error *err) {
    struct str line = {0};
    bool stopped = false;
    for (;;) {
        enum child_news news = child_line(c, &line, WAIT_MS);
        if (news == CHILD_END) {
            break;
        }
        if (news == CHILD_LINE) {
            take_line(a, &line);
            if (a->warning.len > 0) {
                bench_say(b, 0, str_text(&a->warning));
                str_clear(&a->warning);
            }
        }
        if (cli_interrupted() && !stopped) {
            child_stop(c);
            stopped = true;
        }
        bench_show_progress(b, a->what.len > 0 ? str_text(&a->what) : "opening", a->share);
    }
    str_drop(&line);
    int code = child_end(c);
    if (cli_interrupted()) {
        return base_fail(err, LAMINA_INTERRUPTED, "interrupted");
    }
    if (code < 0) {
        return base_fail(err, LAMINA_UNEXPECTED, "the measuring process was ended by signal %d%s", -code,
                         code == -9 ? ": perhaps memory ran out" : "");
    }
    if (!a->finished) {
        return base_fail(err, LAMINA_UNEXPECTED, "the measuring process ended with code %d and no result", code);
    }
    if (a->status != 0) {
        return base_fail(err, -(lamina_status)a->status, "%s", str_text(&a->error));
    }
    return LAMINA_OK;
}

lamina_status bench_ask(struct bench_run *b, const struct bench_args *args, struct bench_answer *a, struct lamina_error *err) {
    struct child child;
    if (args->failed) {
        return base_fail(err, LAMINA_NO_FIT, "no room for the options of a cell: out of memory, or too many");
    }
    LAMINA_TRY(child_start(&child, args->word, err));
    return listen(b, &child, a, err);
}
