/* SPDX-License-Identifier: Apache-2.0
 *
 * Tasks with right answers, a line of JSON each, and lamina bench-tasks, which does them for `lamina bench`:
 *
 *     {"prompt": "What is the capital of Peru?", "answer": "The capital of Peru is Lima."}
 *     {"prompt": "Water boils at", "choices": [" 100 degrees", " 10 degrees"], "answer": 0}
 *
 * A text is right when it is the answer but for case, punctuation and space; it is made greedily. Of choices the likeliest is
 * taken: the largest sum of log-probabilities of its tokens after the prompt.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/cli/bench.h"
#include "base/json.h"
#include "base/status.h"

/* An answer that is longer than the right one by so many tokens is another answer. */
enum { SPARE_TOKENS = 16, MOST_CHOICES = 64, LOGIT_ROWS = 64 };
static const double SAY_EVERY_S = 0.2;

/* ---- the file ---- */

static struct bench_task *add_task(struct bench_tasks *t) {
    if (t->count == t->room) {
        uint32_t room = t->room > 0 ? 2 * t->room : 64;
        struct bench_task *more = realloc(t->task, room * sizeof(*more));
        if (more == NULL) {
            return NULL;
        }
        t->task = more;
        t->room = room;
    }
    t->task[t->count] = (struct bench_task){0};
    return &t->task[t->count++];
}

static void read_choices(struct json_reader *r, struct bench_task *task) {
    if (!json_enter_array(r)) {
        return;
    }
    while (json_next_item(r)) {
        if (task->choice_count == MOST_CHOICES) {
            (void)json_refuse(r, LAMINA_USAGE, "more than %d choices", MOST_CHOICES);
        } else if (json_string(r, &task->choices)) {
            str_add_byte(&task->choices, 0);
            task->choice_count++;
        }
    }
}

static lamina_status check_task(const struct bench_task *task, bool by_number, const char *name, struct lamina_error *err) {
    if (task->prompt.len == 0) {
        return base_fail(err, LAMINA_USAGE, "%s: \"prompt\" is missing or empty", name);
    }
    if (task->choice_count == 0 && (by_number || task->answer.len == 0)) {
        return base_fail(err, LAMINA_USAGE, "%s: \"answer\" is missing, empty or no text", name);
    }
    if (task->choice_count > 0 && (!by_number || task->right >= task->choice_count || task->choice_count < 2)) {
        return base_fail(err, LAMINA_USAGE, "%s: \"answer\" is not the number of one of at least two choices, counted from 0",
                         name);
    }
    return task->prompt.failed || task->answer.failed || task->choices.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory")
                                                                              : LAMINA_OK;
}

static lamina_status read_task(struct bench_task *task, struct span line, const char *name, struct lamina_error *err) {
    struct json_reader r;
    struct str scratch = {0};
    struct span key;
    uint64_t number = 0;
    bool by_number = false;
    json_init(&r, line, name, &scratch, err);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        if (span_is(key, "prompt")) {
            (void)json_string(&r, &task->prompt);
        } else if (span_is(key, "choices")) {
            read_choices(&r, task);
        } else if (span_is(key, "answer") && json_peek(&r) == JSON_NUMBER) {
            by_number = json_u64(&r, &number);
            task->right = number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
        } else if (span_is(key, "answer")) {
            (void)json_string(&r, &task->answer);
        } else {
            (void)json_skip(&r);
        }
    }
    bool good = json_finish(&r) == LAMINA_OK;
    str_drop(&scratch);
    if (!good) {
        err->code = LAMINA_USAGE; /* the user's own words, not a damaged file */
        return LAMINA_USAGE;
    }
    return check_task(task, by_number, name, err);
}

static bool is_blank(struct span line) {
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] != ' ' && line.ptr[i] != '\t' && line.ptr[i] != '\r') {
            return false;
        }
    }
    return true;
}

lamina_status bench_tasks_read(struct bench_tasks *t, const char *path, struct lamina_error *err) {
    struct str text = {0};
    struct str name = {0};
    unsigned number = 0;
    lamina_status status = cli_read_file(path, &text, err);
    for (size_t at = 0; status == LAMINA_OK && at < text.len;) {
        const char *end = memchr(text.ptr + at, '\n', text.len - at);
        size_t len = end != NULL ? (size_t)(end - (text.ptr + at)) : text.len - at;
        struct span line = span_of(text.ptr + at, len);
        number++;
        at += len + 1;
        if (is_blank(line)) {
            continue;
        }
        struct bench_task *task = add_task(t);
        str_clear(&name);
        str_printf(&name, "%s, task of line %u", path, number);
        status = task != NULL ? read_task(task, line, str_text(&name), err)
                              : base_fail(err, LAMINA_NO_FIT, "out of memory for tasks");
    }
    if (status == LAMINA_OK && t->count == 0) {
        status = base_fail(err, LAMINA_USAGE, "%s has no tasks", path);
    }
    str_drop(&text);
    str_drop(&name);
    return status;
}

void bench_tasks_drop(struct bench_tasks *t) {
    for (uint32_t i = 0; i < t->count; i++) {
        str_drop(&t->task[i].prompt);
        str_drop(&t->task[i].answer);
        str_drop(&t->task[i].choices);
    }
    free(t->task);
    *t = (struct bench_tasks){0};
}

/* ---- ids ---- */

/* One sequence to compute: a prompt, or a prompt and one of its choices. */
struct sequence {
    uint32_t *ids;  /* malloc'ed */
    uint32_t prompt, count;
    uint32_t extra; /* most tokens to make */
};

struct work {
    const struct cli_options *o;
    struct bench_tasks tasks;
    struct sequence *sequence; /* of all tasks in order: one each, or one per choice */
    uint32_t count, at, context;
    double said_s;
};

static lamina_status join_ids(struct sequence *s, const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count,
                              struct lamina_error *err) {
    if (a_count + b_count > UINT32_MAX / 2) {
        return base_fail(err, LAMINA_USAGE, "a task has more tokens than any model takes");
    }
    s->ids = calloc(a_count + b_count + 1, sizeof(*s->ids));
    if (s->ids == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the tokens of tasks");
    }
    memcpy(s->ids, a, a_count * sizeof(*a));
    if (b_count > 0) {
        memcpy(s->ids + a_count, b, b_count * sizeof(*b));
    }
    s->prompt = (uint32_t)a_count;
    s->count = (uint32_t)(a_count + b_count);
    return LAMINA_OK;
}

/* The tokens of `text` after the prompt's; without choices only their number counts. */
static lamina_status make_sequence(struct work *w, struct lamina_text *t, const struct bench_task *task, const char *text,
                                   struct lamina_error *err) {
    struct sequence *s = &w->sequence[w->count];
    uint32_t *prompt = NULL;
    uint32_t *ids = NULL;
    size_t prompt_count = 0;
    size_t count = 0;
    bool chosen = task->choice_count > 0;
    lamina_status status = cli_prompt_ids(t, w->o, &task->prompt, &prompt, &prompt_count, err);
    if (status == LAMINA_OK) {
        status = lamina_tokenize(t, text, strlen(text), false, &ids, &count, err);
    }
    if (status == LAMINA_OK && (prompt_count == 0 || (chosen && count == 0))) {
        status = base_fail(err, LAMINA_USAGE, "a prompt or choice of %s has no tokens", w->o->tasks);
    }
    if (status == LAMINA_OK) {
        status = join_ids(s, prompt, prompt_count, ids, chosen ? count : 0, err);
    }
    if (status == LAMINA_OK) {
        s->extra = chosen ? 0 : (uint32_t)count + SPARE_TOKENS;
        w->context = s->count + s->extra > w->context ? s->count + s->extra : w->context;
        w->count++;
    }
    lamina_free(prompt);
    lamina_free(ids);
    return status;
}

static lamina_status make_sequences(struct work *w, struct lamina_text *t, struct lamina_error *err) {
    size_t most = 0;
    for (uint32_t i = 0; i < w->tasks.count; i++) {
        most += w->tasks.task[i].choice_count > 0 ? w->tasks.task[i].choice_count : 1;
    }
    w->sequence = calloc(most, sizeof(*w->sequence));
    if (w->sequence == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the tokens of tasks");
    }
    for (uint32_t i = 0; i < w->tasks.count; i++) {
        const struct bench_task *task = &w->tasks.task[i];
        const char *choice = str_text(&task->choices);
        if (task->choice_count == 0) {
            LAMINA_TRY(make_sequence(w, t, task, str_text(&task->answer), err));
        }
        for (uint32_t k = 0; k < task->choice_count; k++) {
            LAMINA_TRY(make_sequence(w, t, task, choice, err));
            choice += strlen(choice) + 1;
        }
    }
    return LAMINA_OK;
}

/* ---- doing them ---- */

/* Letters and digits in lower case, one space between words; bytes beyond ASCII as they are. */
static void plain_words(struct str *out, const char *text, size_t len) {
    bool gap = false;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)text[i];
        bool letter = c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool space = c == ' ' || (c >= '\t' && c <= '\r');
        if (letter) {
            if (gap && out->len > 0) {
                str_add_byte(out, ' ');
            }
            str_add_byte(out, c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c);
        }
        gap = (gap && !letter) || space;
    }
}

static bool same_words(const struct str *a, const struct str *b) {
    struct str x = {0};
    struct str y = {0};
    plain_words(&x, str_text(a), a->len);
    plain_words(&y, str_text(b), b->len);
    bool same = x.len == y.len && memcmp(str_text(&x), str_text(&y), x.len) == 0;
    str_drop(&x);
    str_drop(&y);
    return same;
}

static bool on_text(void *user, const char *text, size_t len, uint32_t id) {
    (void)id;
    str_add((struct str *)user, text, len);
    return cli_interrupted();
}

static lamina_status answer_text(struct lamina_session *session, const struct sequence *s, const struct str *right, bool *good,
                                 struct lamina_error *err) {
    struct str text = {0};
    struct lamina_generate g;
    lamina_generate_defaults(&g);
    g.max_tokens = s->extra;
    g.on_text = on_text;
    g.user = &text;
    lamina_status status = lamina_session_generate(session, s->ids, s->count, &g, err);
    if (status == LAMINA_OK && text.failed) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory for an answer");
    }
    *good = same_words(&text, right);
    str_drop(&text);
    return status;
}

static lamina_status likelihood(struct lamina_session *session, const struct sequence *s, double *sum, struct lamina_error *err) {
    struct lamina_scores scores = {.argmax = calloc(s->count, sizeof(uint32_t)), .logprob_next = calloc(s->count, sizeof(float))};
    lamina_status status = scores.argmax != NULL && scores.logprob_next != NULL
                               ? lamina_session_feed(session, s->ids, s->count, &scores, err)
                               : base_fail(err, LAMINA_NO_FIT, "out of memory for the scores of a choice");
    *sum = 0.0;
    for (uint32_t i = s->prompt - 1; status == LAMINA_OK && i + 1 < s->count; i++) {
        *sum += (double)scores.logprob_next[i];
    }
    free(scores.argmax);
    free(scores.logprob_next);
    return status;
}

/* The sequences of one task, from w->at on. */
static lamina_status do_task(struct work *w, struct lamina_model *model, const struct bench_task *task, bool *good,
                             struct lamina_error *err) {
    double best = -INFINITY;
    uint32_t chosen = 0;
    uint32_t count = task->choice_count > 0 ? task->choice_count : 1;
    lamina_status status = LAMINA_OK;
    for (uint32_t k = 0; k < count && status == LAMINA_OK; k++) {
        struct lamina_session *session = NULL;
        const struct sequence *s = &w->sequence[w->at++];
        double sum = 0.0;
        status = lamina_session_open(&session, model, err);
        if (status == LAMINA_OK && task->choice_count == 0) {
            status = answer_text(session, s, &task->answer, good, err);
        } else if (status == LAMINA_OK) {
            status = likelihood(session, s, &sum, err);
            chosen = sum > best ? k : chosen;
            best = sum > best ? sum : best;
        }
        lamina_session_close(&session);
    }
    *good = task->choice_count > 0 ? chosen == task->right : *good;
    return status;
}

static lamina_status say_progress(struct work *w, uint32_t done, struct lamina_error *err) {
    double now = cli_now_s();
    struct str line = {0};
    if (cli_interrupted()) {
        return base_fail(err, LAMINA_INTERRUPTED, "interrupted");
    }
    if (now - w->said_s < SAY_EVERY_S) {
        return LAMINA_OK;
    }
    w->said_s = now;
    str_printf(&line, "{\"done\": %u, \"of\": %u, \"what\": \"tasks\"}\n", done, w->tasks.count);
    lamina_status status = cli_out_str(&line, err);
    str_drop(&line);
    return status;
}

static lamina_status do_tasks(struct work *w, struct lamina_model *model, uint32_t *right, struct lamina_error *err) {
    for (uint32_t i = 0; i < w->tasks.count; i++) {
        bool good = false;
        LAMINA_TRY(do_task(w, model, &w->tasks.task[i], &good, err));
        *right += good;
        LAMINA_TRY(say_progress(w, i + 1, err));
    }
    return LAMINA_OK;
}

/* The tokenizer is closed again before the model takes its memory. */
static lamina_status prepare(struct work *w, struct lamina_error *err) {
    struct lamina_text *t = NULL;
    LAMINA_TRY(bench_tasks_read(&w->tasks, w->o->tasks, err));
    LAMINA_TRY(lamina_text_open(&t, w->o->args[0], err));
    lamina_status status = make_sequences(w, t, err);
    lamina_text_close(&t);
    return status;
}

static lamina_status work_all(struct work *w, struct bench_row *row, struct lamina_error *err) {
    struct lamina_model *model = NULL;
    struct lamina_settings settings;
    uint32_t right = 0;
    LAMINA_TRY(cli_settings(w->o, &settings, err));
    LAMINA_TRY(prepare(w, err));
    settings.read_ahead = strcmp(w->o->read_ahead, "on") == 0;
    settings.context_tokens = w->context;
    settings.logit_rows = w->context < LOGIT_ROWS ? w->context : LOGIT_ROWS;
    lamina_status status = lamina_model_open(&model, w->o->args[0], &settings, err);
    if (status == LAMINA_OK) {
        status = do_tasks(w, model, &right, err);
    }
    lamina_model_close(&model);
    row->tasks = w->tasks.count;
    row->accuracy = (double)right / (double)w->tasks.count;
    return status;
}

lamina_status cmd_bench_tasks(struct cli_options *o, struct lamina_error *err) {
    struct work w = {.o = o};
    struct bench_row row;
    struct lamina_error failure = {0};
    struct str line = {0};
    bench_row_init(&row);
    lamina_status status = o->tasks != NULL ? work_all(&w, &row, &failure)
                                            : base_fail(&failure, LAMINA_USAGE, "--tasks is missing");
    if (status == LAMINA_OK) {
        str_add_text(&line, "{\"rows\": ");
        bench_rows_json(&row, 1, &line);
    } else {
        str_printf(&line, "{\"status\": %d, \"error\": ", -status);
        json_write_string(&line, span_of_text(failure.message));
    }
    str_add_text(&line, "}\n");
    lamina_status written = cli_out_str(&line, err);
    for (uint32_t i = 0; i < w.count; i++) {
        free(w.sequence[i].ids);
    }
    free(w.sequence);
    bench_tasks_drop(&w.tasks);
    str_drop(&line);
    return written;
}
