/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs the cells of a matrix one after the other, each in a process of its own (bench_cell.c), and keeps every finished one in
 * the journal. Per cell: its store, the drive's limit, then the measuring.
 */
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "app/cli/bench.h"
#include "app/cli/child.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/status.h"

enum { WAIT_MS = 200, MOST_ARGS = 40 };
static const double BAR_EVERY_S = 0.1;
static const double LINE_EVERY_S = 5.0;
/* Before this share the store and the drive's limit, which come first, make any guess of the time left a wild one. */
static const double ENOUGH_TO_GUESS = 0.05;

/* ---- progress ---- */

static void clear_bar(struct bench_run *b) {
    if (b->bar_shown) {
        fputs("\r\033[K", stderr);
        b->bar_shown = false;
    }
}

/* "cell 2 of 8: tg128, 1 of 3; 31 % of all, 2 min 10 s left". `share`: of this cell. */
static void progress_words(const struct bench_run *b, const char *what, double share, struct str *out) {
    char left[32];
    double all = ((double)b->done + share) / (double)b->todo;
    str_printf(out, "cell %u of %u: %s", b->cell + 1, b->matrix->cells, what);
    str_printf(out, "; %.0f %% of all", 100.0 * all);
    if (all >= ENOUGH_TO_GUESS) {
        str_printf(out, ", about %s left", cli_seconds(left, (cli_now_s() - b->begin_s) * (1.0 - all) / all));
    }
}

static void show_progress(struct bench_run *b, const char *what, double share) {
    double now = cli_now_s();
    if (b->o->quiet || now - b->said_s < (b->terminal.err_bar ? BAR_EVERY_S : LINE_EVERY_S)) {
        return;
    }
    struct str raw = {0};
    struct str line = {0};
    b->said_s = now;
    progress_words(b, what, share, &raw);
    if (b->terminal.err_bar) {
        size_t room = b->terminal.columns - 1;
        cli_safe_text(&line, str_text(&raw), raw.len < room ? raw.len : room);
        fprintf(stderr, "\r%s\033[K", str_text(&line));
        fflush(stderr);
        b->bar_shown = true;
    } else {
        cli_say(1, "%s", str_text(&raw));
    }
    str_drop(&raw);
    str_drop(&line);
}

static bool on_split_progress(void *user, const struct lamina_progress *p) {
    struct bench_run *b = (struct bench_run *)user;
    struct str what = {0};
    char done[32];
    char total[32];
    str_printf(&what, "splitting, %s", format_bytes(done, p->done_bytes));
    if (p->total_bytes > 0) {
        str_printf(&what, " of %s", format_bytes(total, p->total_bytes));
    }
    show_progress(b, str_text(&what), 0.0);
    str_drop(&what);
    return cli_interrupted();
}

static void on_log(void *user, int level, const char *text) {
    struct bench_run *b = (struct bench_run *)user;
    if (!b->o->quiet && (level == 0 || b->o->verbose)) {
        clear_bar(b);
        cli_say(level, "%s", text);
    }
}

/* ---- keys ---- */

static void add_word(struct str *s, const char *word) {
    str_printf(s, "%s\n", word != NULL ? word : "");
}

/* Everything that the figures of a cell depend on: model, program, machine, options, and where the store lies. */
static void cell_key(const struct bench_run *b, const struct bench_cell *cell, char out[33]) {
    const struct cli_options *o = b->o;
    struct str s = {0};
    struct stat st = {0};
    struct stat tasks = {0};
    struct stat text = {0};
    (void)stat("/proc/self/exe", &st);
    if (o->tasks != NULL) {
        (void)stat(o->tasks, &tasks);
    }
    if (o->text != NULL) {
        (void)stat(o->text, &text);
    }
    str_printf(&s, "%s\n%s\n%lld %lld %ld\n", b->identity, lamina_version(), (long long)st.st_size, (long long)st.st_mtim.tv_sec,
               st.st_mtim.tv_nsec);
    str_printf(&s, "%s %u %llu\n", b->machine->cpu, b->machine->cores, (unsigned long long)b->machine->memory_total_bytes);
    for (unsigned i = 0; i < BENCH_AXES; i++) {
        add_word(&s, cell->value[i]);
    }
    str_printf(&s, "%u %u %u %u %d\n", o->prompt_tokens, o->predict, o->repeats, o->prompt_rows, o->no_pin);
    str_printf(&s, "%d %lld %lld %ld\n", o->raw, (long long)tasks.st_size, (long long)tasks.st_mtim.tv_sec, tasks.st_mtim.tv_nsec);
    str_printf(&s, "%lld %lld %ld\n", (long long)text.st_size, (long long)text.st_mtim.tv_sec, text.st_mtim.tv_nsec);
    const char *const words[] = {o->tasks, o->text, o->home, o->keep_stores, o->io, o->sim, o->isa, o->kv, o->numerics};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        add_word(&s, words[i]);
    }
    hash128_to_hex(hash_xxh3_128(str_text(&s), s.len), out);
    str_drop(&s);
}

/* ---- the child ---- */

struct args {
    char *word[MOST_ARGS];
    struct str text[MOST_ARGS];
    uint32_t count;
    bool failed;
};

static void push(struct args *a, const char *word) {
    struct str *s = &a->text[a->count];
    str_add_text(s, word);
    (void)str_reserve(s, 1); /* "" too has its own memory */
    a->failed = a->failed || s->failed;
    a->word[a->count++] = s->ptr;
}

static void push_pair(struct args *a, const char *name, const char *value) {
    if (value != NULL) {
        push(a, name);
        push(a, value);
    }
}

static void push_number(struct args *a, const char *name, uint32_t value) {
    char text[16];
    (void)snprintf(text, sizeof(text), "%u", value);
    push_pair(a, name, text);
}

static void fill_args(const struct bench_run *b, const char *command, const struct bench_cell *cell,
                      const struct bench_row *about, struct args *a) {
    const struct cli_options *o = b->o;
    push(a, "lamina");
    push(a, command);
    push_pair(a, "--model", about->store);
    push_pair(a, "--home", o->home);
    push_pair(a, "--memory", cell->value[BENCH_MEMORY]);
    push_pair(a, "--read-ahead", cell->value[BENCH_READ_AHEAD]);
    push_pair(a, "--threads", cell->value[BENCH_THREADS] != NULL ? cell->value[BENCH_THREADS] : "0");
    push_pair(a, "--store-codec", strcmp(about->split, "given") == 0 ? cell->value[BENCH_CODEC] : NULL);
    push_number(a, "--n-prompt", o->prompt_tokens);
    push_number(a, "--predict", o->predict);
    push_number(a, "--repeats", o->repeats);
    push_number(a, "--prompt-rows", o->prompt_rows);
    push_pair(a, "--kv", o->kv);
    push_pair(a, "--numerics", o->numerics);
    push_pair(a, "--io", o->io);
    push_pair(a, "--sim", o->sim);
    push_pair(a, "--isa", o->isa);
    if (o->no_pin) {
        push(a, "--no-pin");
    }
    if (strcmp(command, "bench-tasks") == 0) {
        push_pair(a, "--tasks", o->tasks);
        if (o->raw) {
            push(a, "--raw");
        }
    }
}

static void drop_args(struct args *a) {
    for (uint32_t i = 0; i < a->count; i++) {
        str_drop(&a->text[i]);
    }
}

/* What the child has said so far. */
struct answer {
    struct bench_rows rows;
    struct str error, what, warning;
    uint64_t status;
    double share;
    bool finished;
    struct bench_row quality; /* of lamina kl */
};

static void drop_answer(struct answer *a) {
    bench_rows_drop(&a->rows);
    str_drop(&a->error);
    str_drop(&a->what);
    str_drop(&a->warning);
}

/* One line of the child. A line that is no JSON is passed over: the child's end then says that it failed. */
static void take_line(struct answer *a, const struct str *line) {
    struct lamina_error ignored = {0};
    struct json_reader r;
    struct str scratch = {0};
    struct span key;
    double done = 0.0;
    double of = 0.0;
    json_init(&r, str_span(line), "the measuring process", &scratch, &ignored);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        if (span_is(key, "rows")) {
            bench_rows_parse(&r, &a->rows);
            a->finished = true;
        } else if (span_is(key, "status")) {
            a->finished = json_u64(&r, &a->status);
        } else if (span_is(key, "mean_kl")) {
            a->finished = json_double(&r, &a->quality.kl);
        } else if (span_is(key, "top1_agreement")) {
            (void)json_double(&r, &a->quality.top1);
            a->quality.top1 /= 100.0; /* it says percent */
        } else if (span_is(key, "ppl")) {
            (void)json_double(&r, &a->quality.ppl);
        } else if (span_is(key, "ppl_error")) {
            (void)json_double(&r, &a->quality.ppl_error);
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
    a->finished = json_finish(&r) == LAMINA_OK && a->finished;
    a->share = of > 0.0 && done <= of ? done / of : a->share;
    str_drop(&scratch);
}

static lamina_status listen(struct bench_run *b, struct child *c, struct answer *a, struct lamina_error *err) {
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
                on_log(b, 0, str_text(&a->warning));
                str_clear(&a->warning);
            }
        }
        if (cli_interrupted() && !stopped) {
            child_stop(c);
            stopped = true;
        }
        show_progress(b, a->what.len > 0 ? str_text(&a->what) : "opening", a->share);
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

static lamina_status ask_with(struct bench_run *b, const struct args *args, struct answer *a, struct lamina_error *err) {
    struct child child;
    if (args->failed) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the options of a cell");
    }
    LAMINA_TRY(child_start(&child, args->word, err));
    return listen(b, &child, a, err);
}

static lamina_status ask_child(struct bench_run *b, const char *command, const struct bench_cell *cell,
                               const struct bench_row *about, struct answer *a, struct lamina_error *err) {
    struct args args = {0};
    fill_args(b, command, cell, about, &args);
    lamina_status status = ask_with(b, &args, a, err);
    drop_args(&args);
    return status;
}

/* ---- a cell ---- */

/* What the parent knows of a cell. */
static void describe(const struct bench_run *b, const struct bench_cell *cell, struct bench_row *row) {
    time_t now = time(NULL);
    struct tm utc;
    const char *const *v = cell->value;
    bench_row_init(row);
    (void)snprintf(row->model, sizeof(row->model), "%s", b->o->args[0]);
    (void)snprintf(row->codec, sizeof(row->codec), "%s", v[BENCH_CODEC] != NULL ? v[BENCH_CODEC] : "");
    (void)snprintf(row->storage, sizeof(row->storage), "%s", v[BENCH_STORAGE] != NULL ? v[BENCH_STORAGE] : "");
    (void)snprintf(row->memory, sizeof(row->memory), "%s", v[BENCH_MEMORY] != NULL ? v[BENCH_MEMORY] : "default");
    if (!b->matrix->given[BENCH_MEMORY] && b->o->memory != 0 && b->o->memory != UINT64_MAX) {
        (void)format_bytes(row->memory, b->o->memory);
    }
    (void)snprintf(row->read_ahead, sizeof(row->read_ahead), "%s", v[BENCH_READ_AHEAD]);
    if (gmtime_r(&now, &utc) != NULL) {
        (void)strftime(row->date, sizeof(row->date), "%Y-%m-%dT%H:%M:%SZ", &utc);
    }
}

static void take_quality(struct bench_row *to, const struct bench_row *from) {
    to->ppl = from->ppl;
    to->ppl_error = from->ppl_error;
    to->kl = from->kl;
    to->top1 = from->top1;
}

/* The parent's part of a row beside the child's. */
static void join(struct bench_row *row, const struct bench_row *about) {
    memcpy(row->model, about->model, sizeof(row->model));
    if (about->codec[0] != '\0') {
        memcpy(row->codec, about->codec, sizeof(row->codec));
    }
    memcpy(row->storage, about->storage, sizeof(row->storage));
    memcpy(row->memory, about->memory, sizeof(row->memory));
    memcpy(row->read_ahead, about->read_ahead, sizeof(row->read_ahead));
    memcpy(row->store, about->store, sizeof(row->store));
    memcpy(row->split, about->split, sizeof(row->split));
    memcpy(row->date, about->date, sizeof(row->date));
    row->split_s = about->split_s;
    row->tasks = about->tasks;
    row->accuracy = about->accuracy;
    take_quality(row, about);
    row->disk_limit_bytes_per_s = about->disk_limit_bytes_per_s;
    row->cold_start_s = row->split_s + row->load_s + row->ttft_cold_s; /* NaN when a part was not measured */
}

/* The limit belongs to the minute: a drive of a virtual machine has slow phases. */
static void measure_drive(struct bench_run *b, struct bench_row *about) {
    struct lamina_drive drive = {.size = sizeof(drive)};
    struct lamina_error why = {0};
    show_progress(b, "measuring the drive", 0.0);
    if (lamina_measure(about->store, b->o->home, true, &drive, &why) == LAMINA_OK && drive.direct_bytes_per_s > 0.0) {
        about->disk_limit_bytes_per_s = drive.direct_bytes_per_s;
    } else {
        on_log(b, 0, why.message[0] != '\0' ? why.message : "the drive's limit could not be measured");
    }
}

/* Answers depend on the codec alone, so a codec does its tasks once. `known`: a row of this cell. */
static lamina_status solve_tasks(struct bench_run *b, const struct bench_cell *cell, struct bench_row *about,
                                 const struct bench_row *known, struct lamina_error *err) {
    struct answer a = {0};
    const char *codec = about->codec[0] != '\0' ? about->codec : known->codec;
    if (b->o->tasks == NULL) {
        return LAMINA_OK;
    }
    for (uint32_t i = 0; i < b->rows->count; i++) {
        const struct bench_row *row = &b->rows->row[i];
        if (bench_known(row->accuracy) && strcmp(row->codec, codec) == 0) {
            about->tasks = row->tasks;
            about->accuracy = row->accuracy;
            return LAMINA_OK;
        }
    }
    lamina_status status = ask_child(b, "bench-tasks", cell, about, &a, err);
    if (status == LAMINA_OK && a.rows.count == 1) {
        about->tasks = a.rows.row[0].tasks;
        about->accuracy = a.rows.row[0].accuracy;
    }
    drop_answer(&a);
    return status;
}

/* The store of the usual, exact codec, made if need be; a model that is a store is compared with itself. */
static lamina_status make_exact(struct bench_run *b, const struct bench_cell *cell, struct bench_row *exact,
                                struct lamina_error *err) {
    struct lamina_callbacks callbacks = {.log = on_log, .progress = on_split_progress, .user = b};
    struct bench_cell usual = *cell;
    usual.value[BENCH_CODEC] = NULL;
    describe(b, &usual, exact);
    return bench_store_make(b->o, &usual, b->identity, &callbacks, exact, err);
}

/* Quality too depends on the codec alone. */
static lamina_status measure_quality(struct bench_run *b, const struct bench_cell *cell, struct bench_row *about,
                                     const struct bench_row *known, struct lamina_error *err) {
    const struct cli_options *o = b->o;
    const char *codec = about->codec[0] != '\0' ? about->codec : known->codec;
    struct bench_row exact;
    for (uint32_t i = 0; i < b->rows->count; i++) {
        if (bench_known(b->rows->row[i].ppl) && strcmp(b->rows->row[i].codec, codec) == 0) {
            take_quality(about, &b->rows->row[i]);
            return LAMINA_OK;
        }
    }
    LAMINA_TRY(make_exact(b, cell, &exact, err));
    struct args args = {0};
    struct answer a = {0};
    bench_row_init(&a.quality);
    str_add_text(&a.what, "comparing with the exact store");
    push(&args, "lamina");
    push(&args, "kl");
    push(&args, about->store);
    push(&args, o->text);
    push_pair(&args, "--reference", exact.store);
    push_pair(&args, "--home", o->home);
    push_pair(&args, "--kv", o->kv);
    push_pair(&args, "--io", o->io);
    push_pair(&args, "--isa", o->isa);
    push(&args, "--json");
    push(&args, "--quiet");
    lamina_status status = ask_with(b, &args, &a, err);
    if (status == LAMINA_OK) {
        take_quality(about, &a.quality);
    }
    drop_args(&args);
    drop_answer(&a);
    return status;
}

static lamina_status measure_cell(struct bench_run *b, const struct bench_cell *cell, struct bench_row *about,
                                  struct answer *a, struct lamina_error *err) {
    struct lamina_callbacks callbacks = {.log = on_log, .progress = on_split_progress, .user = b};
    LAMINA_TRY(bench_store_make(b->o, cell, b->identity, &callbacks, about, err));
    measure_drive(b, about);
    LAMINA_TRY(ask_child(b, "bench-cell", cell, about, a, err));
    LAMINA_TRY(solve_tasks(b, cell, about, a->rows.count > 0 ? &a->rows.row[0] : about, err));
    if (b->o->text != NULL) {
        LAMINA_TRY(measure_quality(b, cell, about, a->rows.count > 0 ? &a->rows.row[0] : about, err));
    }
    for (uint32_t i = 0; i < a->rows.count; i++) {
        join(&a->rows.row[i], about);
    }
    return LAMINA_OK;
}

static lamina_status append(struct bench_run *b, const struct bench_row *rows, uint32_t count, struct lamina_error *err) {
    for (uint32_t i = 0; i < count; i++) {
        struct bench_row *row = bench_rows_add(b->rows);
        if (row == NULL) {
            return base_fail(err, LAMINA_NO_FIT, "out of memory for the rows");
        }
        *row = rows[i];
    }
    return LAMINA_OK;
}

/* A line per finished cell, so that a long bench can be watched. */
static void say_cell(struct bench_run *b, const struct bench_cell *cell, const struct bench_row *rows, uint32_t count) {
    struct str line = {0};
    if (b->o->quiet) {
        return;
    }
    clear_bar(b);
    str_printf(&line, "cell %u of %u, ", b->cell + 1, b->matrix->cells);
    bench_cell_words(b->matrix, cell, &line);
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].status != 0) {
            str_printf(&line, ": failed, %s", rows[i].error);
        } else {
            str_printf(&line, "%s %s %.4g tokens/s", i > 0 ? "," : ":", rows[i].test, bench_median(&rows[i].tokens_per_s));
        }
    }
    cli_say(1, "%s", str_text(&line));
    str_drop(&line);
}

static lamina_status run_cell(struct bench_run *b, const char key[33], const struct bench_cell *cell, struct lamina_error *err) {
    struct answer a = {0};
    struct lamina_error why = {0};
    struct bench_row about;
    describe(b, cell, &about);
    lamina_status status = measure_cell(b, cell, &about, &a, &why);
    if (status == LAMINA_OK) {
        status = bench_journal_add(b->journal, key, a.rows.row, a.rows.count, err);
        if (status == LAMINA_OK) {
            status = append(b, a.rows.row, a.rows.count, err);
        }
        say_cell(b, cell, a.rows.row, a.rows.count);
    } else if (status == LAMINA_INTERRUPTED || cli_interrupted()) {
        status = base_fail(err, LAMINA_INTERRUPTED, "interrupted");
        clear_bar(b);
        if (!b->o->quiet) {
            cli_say(1, "stopped by you; finished cells stand in %s, and the same command goes on there",
                    str_text(&b->journal->path));
        }
    } else {
        about.status = (uint64_t)-status;
        (void)snprintf(about.error, sizeof(about.error), "%s", why.message[0] != '\0' ? why.message : lamina_status_text(status));
        b->failed++;
        say_cell(b, cell, &about, 1);
        status = append(b, &about, 1, err);
    }
    clear_bar(b);
    drop_answer(&a);
    return status;
}

/* How many cells the journal does not have. */
static uint32_t count_todo(const struct bench_run *b) {
    struct bench_rows found = {0};
    uint32_t todo = 0;
    for (uint32_t i = 0; i < b->matrix->cells; i++) {
        struct bench_cell cell;
        char key[33];
        bench_matrix_cell(b->matrix, i, &cell);
        cell_key(b, &cell, key);
        found.count = 0;
        todo += b->o->again || !bench_journal_find(b->journal, key, &found);
    }
    bench_rows_drop(&found);
    return todo;
}

lamina_status bench_run_all(struct bench_run *b, struct lamina_error *err) {
    b->todo = count_todo(b);
    b->begin_s = cli_now_s();
    b->said_s = b->begin_s;
    if (b->todo < b->matrix->cells && !b->o->quiet) {
        cli_say(1, "%u of %u cells stand in the journal %s and are not measured again (--again does)", b->matrix->cells - b->todo,
                b->matrix->cells, str_text(&b->journal->path));
    }
    for (b->cell = 0; b->cell < b->matrix->cells; b->cell++) {
        struct bench_cell cell;
        char key[33];
        bench_matrix_cell(b->matrix, b->cell, &cell);
        cell_key(b, &cell, key);
        if (!b->o->again && bench_journal_find(b->journal, key, b->rows)) {
            continue;
        }
        LAMINA_TRY(run_cell(b, key, &cell, err));
        b->done++;
    }
    return LAMINA_OK;
}
