/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina bench-tasks: does the tasks of a file (bench_task_file.c) for `lamina bench`. Two kinds, each with a plan of its own:
 *
 *     texts    made greedily, one after the other, and compared with the answers (lamina_answers)
 *     choices  each is a sequence, the prompt and the choice after it; as many as memory allows share every pass. The likeliest
 *              is taken: by the sum of the log-probabilities of its tokens, and once more by that sum per character.
 *
 * Prompt and choice are tokenised as lm-evaluation-harness does, whose acc and acc_norm these are: spaces at the end of the prompt
 * belong to the choice, both are tokenised together, and the choice is what follows as many tokens as the prompt alone has.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/cli/bench.h"
#include "base/json.h"
#include "base/status.h"

enum {
    SPARE_TOKENS = 16, /* an answer that is longer than the right one by so many tokens is another answer */
    MOST_ROWS = 2048,  /* of a pass, as in chunks.c */
    OPEN_RESERVE = 1 << 20, /* likewise */
};
static const double SAY_EVERY_S = 0.2;

/* One prompt to compute: of a text task, or with one of the choices after it. */
struct sequence {
    uint32_t task, choice;
    uint32_t *ids;  /* malloc'ed */
    uint32_t prompt, count;
    uint32_t extra; /* most tokens to make */
    double logprob; /* of the choice */
};

struct sequences {
    struct sequence *of; /* malloc'ed, in the order of tasks and choices */
    uint32_t count, longest;
};

struct work {
    const struct cli_options *o;
    struct bench_tasks tasks;
    struct sequences texts, choices;
    double done, inside, total; /* passes, roughly; inside: the call at hand, of which so much is done */
    double said_s;
    const char *what;
};

/* ---- ids ---- */

static lamina_status no_memory(struct lamina_error *err) {
    return base_fail(err, LAMINA_NO_FIT, "out of memory for the tokens of tasks");
}

static lamina_status tokens_of(struct lamina_text *t, const struct str *text, bool rendered, uint32_t **ids, size_t *count,
                               struct lamina_error *err) {
    if (text->failed) {
        return no_memory(err);
    }
    return rendered ? lamina_tokenize_prompt(t, str_text(text), text->len, ids, count, err)
                    : lamina_tokenize(t, str_text(text), text->len, true, ids, count, err);
}

/* The sequence takes the first `prompt` ids of `before` and all of `after` from there on. */
static lamina_status join_ids(struct sequence *s, const uint32_t *before, size_t prompt, const uint32_t *after, size_t count,
                              struct lamina_error *err) {
    if (count > UINT32_MAX / 2) {
        return base_fail(err, LAMINA_USAGE, "a task has more tokens than any model takes");
    }
    s->ids = (uint32_t *)malloc((count + 1) * sizeof(*s->ids));
    if (s->ids == NULL) {
        return no_memory(err);
    }
    memcpy(s->ids, before, prompt * sizeof(*before));
    memcpy(s->ids + prompt, after + prompt, (count - prompt) * sizeof(*after));
    s->prompt = (uint32_t)prompt;
    s->count = (uint32_t)count;
    return LAMINA_OK;
}

/* Cuts the white space off the prompt's end and puts it before the choice. */
static void move_spaces(struct str *prompt, struct str *both) {
    size_t end = prompt->len;
    while (end > 0 && (prompt->ptr[end - 1] == ' ' || (prompt->ptr[end - 1] >= '\t' && prompt->ptr[end - 1] <= '\r'))) {
        end--;
    }
    str_add_span(both, str_span(prompt));
    if (end < prompt->len) {
        prompt->ptr[end] = '\0';
        prompt->len = end;
    }
}

static lamina_status make_choice(struct work *w, struct lamina_text *t, const char *choice, struct sequence *s,
                                 struct lamina_error *err) {
    struct str prompt = {0};
    struct str both = {0};
    uint32_t *before = NULL;
    uint32_t *after = NULL;
    size_t before_count = 0;
    size_t count = 0;
    bool rendered = false;
    lamina_status status = cli_prompt_text(t, w->o, &w->tasks.task[s->task].prompt, &prompt, &rendered, err);
    move_spaces(&prompt, &both);
    str_add_text(&both, choice);
    if (status == LAMINA_OK) {
        status = tokens_of(t, &prompt, rendered, &before, &before_count, err);
    }
    if (status == LAMINA_OK) {
        status = tokens_of(t, &both, rendered, &after, &count, err);
    }
    if (status == LAMINA_OK && (before_count == 0 || count <= before_count)) {
        status = base_fail(err, LAMINA_USAGE, "%s, task %u of the file: the %s has no tokens of its own", w->o->tasks, s->task + 1,
                           before_count == 0 ? "prompt" : "choice");
    }
    if (status == LAMINA_OK) {
        status = join_ids(s, before, before_count, after, count, err);
    }
    lamina_free(before);
    lamina_free(after);
    str_drop(&prompt);
    str_drop(&both);
    return status;
}

/* Of the answers only the number of tokens counts. */
static lamina_status make_text(struct work *w, struct lamina_text *t, struct sequence *s, struct lamina_error *err) {
    const struct bench_task *task = &w->tasks.task[s->task];
    const char **answer = (const char **)calloc(task->answers.count, sizeof(*answer));
    uint32_t *ids = NULL;
    size_t count = 0;
    if (answer == NULL) {
        return no_memory(err);
    }
    bench_texts_list(&task->answers, answer);
    lamina_status status = cli_prompt_ids(t, w->o, &task->prompt, &ids, &count, err);
    if (status == LAMINA_OK) {
        status = count > 0 ? join_ids(s, ids, count, ids, count, err)
                           : base_fail(err, LAMINA_USAGE, "%s, task %u of the file: the prompt has no tokens", w->o->tasks,
                                       s->task + 1);
    }
    lamina_free(ids);
    for (uint32_t i = 0; i < task->answers.count && status == LAMINA_OK; i++) {
        status = lamina_tokenize(t, answer[i], strlen(answer[i]), false, &ids, &count, err);
        if (status == LAMINA_OK) {
            s->extra = count + SPARE_TOKENS > s->extra ? (uint32_t)count + SPARE_TOKENS : s->extra;
            lamina_free(ids);
        }
    }
    free(answer);
    return status;
}

static lamina_status add_choices(struct work *w, struct lamina_text *t, uint32_t task, struct lamina_error *err) {
    const struct bench_texts *choices = &w->tasks.task[task].choices;
    const char *choice = str_text(&choices->text);
    for (uint32_t k = 0; k < choices->count; k++) {
        struct sequence *s = &w->choices.of[w->choices.count++];
        s->task = task;
        s->choice = k;
        LAMINA_TRY(make_choice(w, t, choice, s, err));
        w->choices.longest = s->count > w->choices.longest ? s->count : w->choices.longest;
        choice += strlen(choice) + 1;
    }
    return LAMINA_OK;
}

static lamina_status add_text(struct work *w, struct lamina_text *t, uint32_t task, struct lamina_error *err) {
    struct sequence *s = &w->texts.of[w->texts.count++];
    s->task = task;
    LAMINA_TRY(make_text(w, t, s, err));
    w->texts.longest = s->count + s->extra > w->texts.longest ? s->count + s->extra : w->texts.longest;
    w->total += 1.0 + s->extra - SPARE_TOKENS;
    return LAMINA_OK;
}

static lamina_status make_sequences(struct work *w, struct lamina_text *t, struct lamina_error *err) {
    size_t choices = 0;
    for (uint32_t i = 0; i < w->tasks.count; i++) {
        choices += w->tasks.task[i].choices.count;
    }
    w->choices.of = (struct sequence *)calloc(choices + 1, sizeof(struct sequence));
    w->texts.of = (struct sequence *)calloc(w->tasks.count, sizeof(struct sequence));
    if (w->choices.of == NULL || w->texts.of == NULL) {
        return no_memory(err);
    }
    for (uint32_t i = 0; i < w->tasks.count; i++) {
        LAMINA_TRY(w->tasks.task[i].choices.count > 0 ? add_choices(w, t, i, err) : add_text(w, t, i, err));
    }
    return LAMINA_OK;
}

static void drop_sequences(struct sequences *s) {
    for (uint32_t i = 0; i < s->count; i++) {
        free(s->of[i].ids);
    }
    free(s->of);
}

/* ---- progress ---- */

/* True: end. A parent that is gone ends this process by SIGPIPE. */
static bool say_progress(struct work *w) {
    double now = cli_now_s();
    struct str line = {0};
    struct lamina_error ignored = {0};
    if (now - w->said_s < SAY_EVERY_S) {
        return cli_interrupted();
    }
    w->said_s = now;
    str_printf(&line, "{\"done\": %.2f, \"of\": %.2f, \"what\": \"%s\"}\n", w->done + w->inside, w->total, w->what);
    bool failed = cli_out_str(&line, &ignored) < 0;
    str_drop(&line);
    return failed || cli_interrupted();
}

static bool on_progress(void *user, const struct lamina_progress *p) {
    struct work *w = (struct work *)user;
    (void)p;
    return say_progress(w);
}

static lamina_status interrupted(struct lamina_error *err) {
    return base_fail(err, LAMINA_INTERRUPTED, "interrupted");
}

/* ---- choices ---- */

/* How the sequences fall into passes: `width` of them are fed together. */
struct shapes {
    const struct sequences *choices;
    uint32_t most_rows, rows;
};

static uint32_t width_of(const struct sequences *c, uint32_t rows) {
    uint32_t width = rows / c->longest;
    return width == 0 ? 1 : width < c->count ? width : c->count;
}

/* Rows whose logits are wanted: the last of the prompt, and those of the choice but the last. */
static uint32_t scored(const struct sequence *s) {
    return s->count - s->prompt;
}

static void set_rows(const struct sequences *c, uint32_t rows, struct lamina_settings *s) {
    uint32_t most = 1;
    for (uint32_t i = 0; i < c->count; i++) {
        most = scored(&c->of[i]) > most ? scored(&c->of[i]) : most;
    }
    s->context_tokens = c->longest;
    s->sequences = width_of(c, rows);
    s->prompt_rows = rows;
    s->logit_rows = (uint64_t)s->sequences * most < rows ? s->sequences * most : rows;
}

static uint64_t passes_of(const struct sequences *c, uint32_t width, uint32_t rows) {
    uint64_t passes = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        sum += c->of[i].count;
        if ((i + 1) % width == 0 || i + 1 == c->count) {
            passes += (sum + rows - 1) / rows;
            sum = 0;
        }
    }
    return passes;
}

static bool next_shape(void *user, uint32_t step, struct lamina_settings *s, uint64_t *passes) {
    struct shapes *x = (struct shapes *)user;
    x->rows = step == 0 ? x->most_rows : x->rows / 2;
    if (x->rows == 0) {
        return false;
    }
    set_rows(x->choices, x->rows, s);
    *passes = passes_of(x->choices, s->sequences, s->prompt_rows);
    return true;
}

static lamina_status refuse_budget(const char *model, const struct lamina_plan *p, struct lamina_error *err) {
    char a[32];
    char b[32];
    uint64_t smallest = p->smallest_budget_bytes + OPEN_RESERVE;
    return base_fail(err, LAMINA_NO_FIT, "a budget of %s is too small for the choices of --tasks with %s: the smallest that works "
                     "is %s (--memory %lluMiB)", format_bytes(a, p->budget_bytes + OPEN_RESERVE), model, format_bytes(b, smallest),
                     (unsigned long long)(smallest >> 20));
}

/* The smallest shape must fit; of those that do, the one that reads the least is taken. */
static lamina_status plan_choices(const struct work *w, struct lamina_settings *s, struct lamina_error *err) {
    struct lamina_plan plan = {.size = sizeof(plan)};
    const char *model = w->o->args[0];
    uint64_t all = 0;
    for (uint32_t i = 0; i < w->choices.count; i++) {
        all += w->choices.of[i].count;
    }
    struct shapes shapes = {.choices = &w->choices, .most_rows = w->o->prompt_rows != 0 ? w->o->prompt_rows : MOST_ROWS};
    shapes.most_rows = all < shapes.most_rows ? (uint32_t)all : shapes.most_rows;
    set_rows(&w->choices, 1, s);
    LAMINA_TRY(lamina_plan_make(model, s, &plan, err));
    if (plan.sees_ahead) {
        return base_fail(err, LAMINA_UNSUPPORTED, "%s: every position of a prompt sees all of it, so none foretells a token: "
                         "choices have no likelihood; leave tasks with \"choices\" out", plan.model);
    }
    uint64_t budget = plan.budget_bytes; /* a share of what is available differs from call to call */
    if (budget != UINT64_MAX) {
        s->memory_bytes = budget > OPEN_RESERVE ? budget - OPEN_RESERVE : 1;
        LAMINA_TRY(lamina_plan_make(model, s, &plan, err));
    }
    if (!plan.fits) {
        return refuse_budget(model, &plan, err);
    }
    LAMINA_TRY(cli_passes_choose(model, next_shape, &shapes, s, err));
    s->memory_bytes = budget;
    return LAMINA_OK;
}

/* What is fed together. */
struct group {
    struct sequence *sequence;    /* the first of them */
    struct lamina_session **session;
    struct lamina_prompt *prompt;
    struct lamina_tally *tally;   /* of the sequence at hand */
    uint32_t vocab;
    lamina_status status;         /* of a row */
    struct lamina_error *err;
};

/* Rows come in the order of sequences and positions. */
static bool on_row(void *user, uint32_t prompt, uint32_t row, const float *logits) {
    struct group *g = (struct group *)user;
    struct sequence *s = &g->sequence[prompt];
    struct lamina_tally_result r = {.size = sizeof(r)};
    if (row + 1 == s->prompt) {
        lamina_tally_close(&g->tally);
        g->status = lamina_tally_open(&g->tally, 0, g->err);
    }
    if (g->status == LAMINA_OK) {
        g->status = lamina_tally_add(g->tally, logits, g->vocab, s->ids[row + 1], g->err);
    }
    if (g->status == LAMINA_OK && row + 2 == s->count) {
        lamina_tally_result(g->tally, &r);
        s->logprob = -r.mean_nll * (double)r.tokens;
    }
    return g->status < 0 || cli_interrupted();
}

static lamina_status feed_group(struct group *g, uint32_t count, struct lamina_error *err) {
    struct lamina_prompts p = {.prompt = g->prompt, .count = count, .on_row = on_row, .user = g};
    for (uint32_t i = 0; i < count; i++) {
        const struct sequence *s = &g->sequence[i];
        LAMINA_TRY(lamina_session_truncate(g->session[i], 0, err));
        g->prompt[i] = (struct lamina_prompt){.session = g->session[i], .ids = s->ids, .count = s->count,
                                              .first_row = s->prompt - 1, .row_count = scored(s)};
    }
    lamina_status status = lamina_prompts_feed(&p, err);
    return g->status < 0 ? g->status : status;
}

static lamina_status feed_all(struct work *w, struct lamina_model *model, struct group *g, uint32_t width,
                              struct lamina_error *err) {
    g->session = (struct lamina_session **)calloc(width, sizeof(*g->session));
    g->prompt = (struct lamina_prompt *)calloc(width, sizeof(*g->prompt));
    if (g->session == NULL || g->prompt == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for %u sequences", width);
    }
    for (uint32_t i = 0; i < width; i++) {
        LAMINA_TRY(lamina_session_open(&g->session[i], model, err));
    }
    uint32_t rows = lamina_model_plan(model)->prompt_rows;
    for (uint32_t at = 0; at < w->choices.count; at += width) {
        uint32_t count = w->choices.count - at < width ? w->choices.count - at : width;
        const struct sequences some = {.of = w->choices.of + at, .count = count};
        g->sequence = w->choices.of + at;
        LAMINA_TRY(feed_group(g, count, err));
        w->done += (double)passes_of(&some, count, rows);
        if (say_progress(w)) {
            return interrupted(err);
        }
    }
    return LAMINA_OK;
}

static lamina_status score_choices(struct work *w, struct lamina_settings *settings, struct lamina_error *err) {
    struct lamina_model *model = NULL;
    struct group g = {.err = err};
    w->what = "tasks, choices";
    LAMINA_TRY(plan_choices(w, settings, err));
    uint32_t width = settings->sequences;
    w->total += (double)passes_of(&w->choices, width, settings->prompt_rows);
    lamina_status status = lamina_model_open(&model, w->o->args[0], settings, err);
    if (status == LAMINA_OK) {
        g.vocab = lamina_model_plan(model)->vocab;
        status = feed_all(w, model, &g, width, err);
    }
    for (uint32_t i = 0; g.session != NULL && i < width; i++) {
        lamina_session_close(&g.session[i]);
    }
    lamina_tally_close(&g.tally);
    free(g.session);
    free(g.prompt);
    lamina_model_close(&model);
    return status;
}

/* Characters without the white space in front, as lm-evaluation-harness has choices before it puts a space there. */
static double characters(const char *text) {
    double count = 0.0;
    bool begun = false;
    for (const char *p = text; *p != '\0'; p++) {
        begun = begun || !(*p == ' ' || (*p >= '\t' && *p <= '\r'));
        count += begun && ((uint8_t)*p & 0xc0) != 0x80;
    }
    return count > 0.0 ? count : 1.0;
}

/* Counts the tasks whose right choice is the likeliest; of two as likely the first one is taken. */
static void judge_choices(const struct work *w, uint32_t *right, uint32_t *right_norm) {
    for (uint32_t at = 0; at < w->choices.count;) {
        const struct bench_task *task = &w->tasks.task[w->choices.of[at].task];
        const char *choice = str_text(&task->choices.text);
        uint32_t best = 0;
        uint32_t best_norm = 0;
        double most = -INFINITY;
        double most_norm = -INFINITY;
        for (uint32_t k = 0; k < task->choices.count; k++, at++) {
            double sum = w->choices.of[at].logprob;
            double norm = sum / characters(choice);
            best = sum > most ? k : best;
            most = sum > most ? sum : most;
            best_norm = norm > most_norm ? k : best_norm;
            most_norm = norm > most_norm ? norm : most_norm;
            choice += strlen(choice) + 1;
        }
        *right += best == task->right;
        *right_norm += best_norm == task->right;
    }
}

/* ---- texts ---- */

struct answer {
    struct work *work;
    struct str text;
    uint32_t tokens;
};

static bool on_text(void *user, const char *text, size_t len, uint32_t id) {
    struct answer *a = (struct answer *)user;
    (void)id;
    str_add(&a->text, text, len);
    a->tokens++;
    a->work->inside = a->tokens;
    return say_progress(a->work);
}

static lamina_status compare(const struct bench_task *task, const struct str *text, struct lamina_answers *answers,
                             struct lamina_error *err) {
    const char **reference = (const char **)calloc(task->answers.count, sizeof(*reference));
    if (reference == NULL || text->failed) {
        free(reference);
        return base_fail(err, LAMINA_NO_FIT, "out of memory for an answer");
    }
    bench_texts_list(&task->answers, reference);
    lamina_status status = lamina_answers_add(answers, str_text(text), text->len, reference, task->answers.count, err);
    free(reference);
    return status;
}

static lamina_status answer_one(struct work *w, struct lamina_model *model, const struct sequence *s,
                                struct lamina_answers *answers, struct lamina_error *err) {
    struct lamina_session *session = NULL;
    struct answer a = {.work = w};
    struct lamina_generate g;
    lamina_generate_defaults(&g);
    g.max_tokens = s->extra;
    g.on_text = on_text;
    g.user = &a;
    lamina_status status = lamina_session_open(&session, model, err);
    if (status == LAMINA_OK) {
        status = lamina_session_generate(session, s->ids, s->count, &g, err);
    }
    if (status == LAMINA_OK && cli_interrupted()) {
        status = interrupted(err);
    }
    if (status == LAMINA_OK) {
        status = compare(&w->tasks.task[s->task], &a.text, answers, err);
    }
    lamina_session_close(&session);
    str_drop(&a.text);
    w->inside = 0.0;
    w->done += 1.0 + s->extra - SPARE_TOKENS;
    return status;
}

static lamina_status answer_texts(struct work *w, struct lamina_settings *settings, struct lamina_answers *answers,
                                  struct lamina_error *err) {
    struct lamina_model *model = NULL;
    w->what = "tasks, texts";
    settings->context_tokens = w->texts.longest;
    lamina_status status = lamina_model_open(&model, w->o->args[0], settings, err);
    for (uint32_t i = 0; i < w->texts.count && status == LAMINA_OK; i++) {
        status = answer_one(w, model, &w->texts.of[i], answers, err);
        if (status == LAMINA_OK && say_progress(w)) {
            status = interrupted(err);
        }
    }
    lamina_model_close(&model);
    return status;
}

/* ---- all of them ---- */

/* The tokenizer is closed again before the model takes its memory. */
static lamina_status prepare(struct work *w, struct lamina_error *err) {
    struct lamina_text *t = NULL;
    LAMINA_TRY(bench_tasks_read(&w->tasks, w->o->tasks, err));
    LAMINA_TRY(cli_text_open(&t, w->o, err));
    lamina_status status = make_sequences(w, t, err);
    lamina_text_close(&t);
    return status;
}

/* `right` of `n` tasks: the share, and its standard error as that of a mean of zeros and ones. */
static void set_accuracy(struct bench_of_tasks *q, double right, double n) {
    q->accuracy = right / n;
    q->accuracy_error = n > 1.0 ? sqrt(q->accuracy * (1.0 - q->accuracy) / (n - 1.0)) : NAN;
}

static lamina_status do_tasks(struct work *w, struct lamina_answers *answers, struct bench_of_tasks *q, struct lamina_error *err) {
    struct lamina_settings settings;
    struct lamina_answers_result r = {.size = sizeof(r)};
    uint32_t right = 0;
    uint32_t right_norm = 0;
    LAMINA_TRY(cli_settings(w->o, &settings, err));
    settings.callbacks = (struct lamina_callbacks){.progress = on_progress, .user = w};
    LAMINA_TRY(prepare(w, err));
    const struct lamina_settings plain = settings;
    if (w->choices.count > 0) {
        LAMINA_TRY(score_choices(w, &settings, err));
        judge_choices(w, &right, &right_norm);
    }
    settings = plain;
    if (w->texts.count > 0) {
        LAMINA_TRY(answer_texts(w, &settings, answers, err));
        lamina_answers_result(answers, &r);
        q->rouge_l = r.rouge_l;
        q->bleu = r.bleu;
    }
    q->tasks = w->tasks.count;
    q->choice_tasks = w->tasks.count - w->texts.count;
    set_accuracy(q, (double)right + (double)r.right, (double)q->tasks);
    q->accuracy_norm = q->choice_tasks > 0 ? (double)right_norm / (double)q->choice_tasks : NAN;
    return LAMINA_OK;
}

static lamina_status do_all(struct work *w, struct bench_of_tasks *q, struct lamina_error *err) {
    struct lamina_answers *answers = NULL;
    if (w->o->tasks == NULL) {
        return base_fail(err, LAMINA_USAGE, "--tasks is missing");
    }
    LAMINA_TRY(lamina_answers_open(&answers, err));
    lamina_status status = do_tasks(w, answers, q, err);
    lamina_answers_close(&answers);
    return status;
}

lamina_status cmd_bench_tasks(struct cli_options *o, struct lamina_error *err) {
    struct work w = {.o = o};
    struct bench_row row;
    struct lamina_error failure = {0};
    struct str line = {0};
    bench_row_init(&row);
    lamina_status status = do_all(&w, &row.of_tasks, &failure);
    if (status == LAMINA_OK) {
        str_add_text(&line, "{\"rows\": ");
        bench_rows_json(&row, 1, &line);
    } else {
        str_printf(&line, "{\"status\": %d, \"error\": ", -status);
        json_write_string(&line, span_of_text(failure.message));
    }
    str_add_text(&line, "}\n");
    lamina_status written = cli_out_str(&line, err);
    drop_sequences(&w.texts);
    drop_sequences(&w.choices);
    bench_tasks_drop(&w.tasks);
    str_drop(&line);
    return written;
}
