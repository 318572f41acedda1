/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs the cells of a matrix one after the other, each in a process of its own (bench_cell.c), and keeps every finished one in
 * the journal. Per cell: its store, the drive's limit, then the measuring.
 */
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "app/cli/bench_ask.h"
#include "app/cli/drive.h"
#include "app/cli/throttle.h"
#include "base/hash.h"
#include "base/status.h"

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

/* "cell 2 of 8: tg128, 1 of 3; 31 % of all, 2 min 10 s left". `share`: of the part of the cell at hand. */
static void progress_words(const struct bench_run *b, const char *what, double share, struct str *out) {
    char left[32];
    double all = ((double)b->done + ((double)b->part + share) / (double)(b->parts > 0 ? b->parts : 1)) / (double)b->todo;
    str_printf(out, "cell %u of %u: %s", b->cell + 1, b->matrix->cells, what);
    str_printf(out, "; %.0f %% of all", 100.0 * all);
    if (all >= ENOUGH_TO_GUESS) {
        str_printf(out, ", about %s left", cli_seconds(left, (cli_now_s() - b->begin_s) * (1.0 - all) / all));
    }
}

void bench_show_progress(struct bench_run *b, const char *what, double share) {
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

bool bench_on_split(void *user, const struct lamina_progress *p) {
    struct bench_run *b = (struct bench_run *)user;
    struct str what = {0};
    char done[32];
    char total[32];
    str_printf(&what, "splitting, %s", format_bytes(done, p->done_bytes));
    if (p->total_bytes > 0) {
        str_printf(&what, " of %s", format_bytes(total, p->total_bytes));
    }
    bench_show_progress(b, str_text(&what), 0.0);
    str_drop(&what);
    return cli_interrupted();
}

void bench_say(void *user, int level, const char *text) {
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
    struct stat chat = {0};
    (void)stat("/proc/self/exe", &st);
    if (o->tasks != NULL) {
        (void)stat(o->tasks, &tasks);
    }
    if (o->text != NULL) {
        (void)stat(o->text, &text);
    }
    if (o->chat_template != NULL) { /* a name is no file, most likely */
        (void)stat(o->chat_template, &chat);
    }
    str_printf(&s, "%s\n%s\n%lld %lld %ld\n", b->identity, lamina_version(), (long long)st.st_size, (long long)st.st_mtim.tv_sec,
               st.st_mtim.tv_nsec);
    str_printf(&s, "%s %u %llu\n", b->machine->cpu, b->machine->cores, (unsigned long long)b->machine->memory_total_bytes);
    for (unsigned i = 0; i < BENCH_AXES; i++) {
        add_word(&s, cell->value[i]);
    }
    str_printf(&s, "%u %u %u %u %d\n", o->prompt_tokens, o->predict, o->repeats, o->prompt_rows, o->no_pin);
    str_printf(&s, "%d %lld %lld %ld\n", o->raw, (long long)tasks.st_size, (long long)tasks.st_mtim.tv_sec, tasks.st_mtim.tv_nsec);
    str_printf(&s, "%lld %lld %ld %u\n", (long long)text.st_size, (long long)text.st_mtim.tv_sec, text.st_mtim.tv_nsec, o->chunks);
    if (o->chat_template != NULL) { /* older journals stay good without */
        str_printf(&s, "%s %lld %lld %ld\n", o->chat_template, (long long)chat.st_size, (long long)chat.st_mtim.tv_sec,
                   chat.st_mtim.tv_nsec);
    }
    const char *const words[] = {o->tasks, o->text, o->home, o->keep_stores, o->io, o->sim, o->isa, o->kv, o->numerics};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        add_word(&s, words[i]);
    }
    hash128_to_hex(hash_xxh3_128(str_text(&s), s.len), out);
    str_drop(&s);
}

/* ---- a cell ---- */

/* What the parent knows of a cell. */
void bench_describe(const struct bench_run *b, const struct bench_cell *cell, struct bench_row *row) {
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
    memcpy(row->drive, about->drive, sizeof(row->drive));
    memcpy(row->split, about->split, sizeof(row->split));
    memcpy(row->date, about->date, sizeof(row->date));
    row->split_s = about->split_s;
    row->of_text = about->of_text;
    row->of_tasks = about->of_tasks;
    row->disk_limit_bytes_per_s = about->disk_limit_bytes_per_s;
    row->throttle_bytes_per_s = about->throttle_bytes_per_s;
    row->cold_start_s = row->split_s + row->load_s + row->ttft_cold_s; /* NaN when a part was not measured */
}

/* The limit belongs to the minute: a drive of a virtual machine has slow phases. */
static void measure_drive(struct bench_run *b, struct bench_row *about) {
    struct lamina_drive drive = {.size = sizeof(drive)};
    struct lamina_error why = {0};
    drive_words(about->store, about->drive, sizeof(about->drive));
    bench_show_progress(b, "measuring the drive", 0.0);
    if (lamina_measure(about->store, b->o->home, true, &drive, &why) == LAMINA_OK && drive.direct_bytes_per_s > 0.0) {
        about->disk_limit_bytes_per_s = drive.direct_bytes_per_s;
    } else {
        bench_say(b, 0, why.message[0] != '\0' ? why.message : "the drive's limit could not be measured");
    }
}

/* `group`: of a throttle, "": none. */
static lamina_status ask_cell(struct bench_run *b, const struct bench_cell *cell, const struct bench_row *about, const char *group,
                              struct bench_answer *a, struct lamina_error *err) {
    struct bench_args args = {0};
    bench_args_of_cell(b, "bench-cell", cell, about, &args);
    bench_args_add_pair(&args, "--store-codec", strcmp(about->split, "given") == 0 ? cell->value[BENCH_CODEC] : NULL);
    bench_args_add_number(&args, "--n-prompt", b->o->prompt_tokens);
    bench_args_add_number(&args, "--predict", b->o->predict);
    bench_args_add_number(&args, "--repeats", b->o->repeats);
    bench_args_add_pair(&args, "--cgroup", group[0] != '\0' ? group : NULL);
    lamina_status status = bench_ask(b, &args, a, err);
    bench_args_drop(&args);
    return status;
}

/* Before anything is split: it may be that reads cannot be slowed down here. */
static lamina_status open_throttle(const struct bench_run *b, const struct bench_cell *cell, const struct bench_storage *storage,
                                   struct throttle *t, struct lamina_error *err) {
    struct str place = {0};
    lamina_status status = bench_store_place(b->o, cell, &place, err);
    if (status == LAMINA_OK) {
        status = throttle_open(t, str_text(&place), storage->bytes_per_s, err);
    }
    str_drop(&place);
    return status;
}

/* Only the measuring process is slowed down: the split's time belongs to the storage at full speed, and so does the limit, where it
 * is not less anyway. */
static void slow_down(const struct bench_storage *storage, struct bench_row *about) {
    double rate = (double)storage->bytes_per_s;
    if (storage->bytes_per_s == 0) {
        return;
    }
    about->throttle_bytes_per_s = rate;
    about->disk_limit_bytes_per_s = about->disk_limit_bytes_per_s < rate ? about->disk_limit_bytes_per_s : rate; /* NaN: rate */
    about->split_s = NAN;
    if (strcmp(about->split, "given") != 0) {
        (void)snprintf(about->split, sizeof(about->split), "unslowed");
    }
}

static lamina_status measure_cell(struct bench_run *b, const struct bench_cell *cell, struct bench_row *about,
                                  struct bench_answer *a, struct lamina_error *err) {
    struct lamina_callbacks callbacks = {.log = bench_say, .progress = bench_on_split, .user = b};
    struct throttle throttle = {0};
    struct bench_storage storage = {0};
    if (cell->value[BENCH_STORAGE] != NULL) {
        (void)bench_storage_read(cell->value[BENCH_STORAGE], &storage); /* it was checked */
    }
    lamina_status status = storage.bytes_per_s > 0 ? open_throttle(b, cell, &storage, &throttle, err) : LAMINA_OK;
    if (status == LAMINA_OK) {
        status = bench_store_make(b->o, cell, b->identity, &callbacks, about, err);
    }
    if (status == LAMINA_OK) {
        measure_drive(b, about);
        slow_down(&storage, about);
        status = ask_cell(b, cell, about, throttle.group, a, err);
    }
    throttle_close(&throttle);
    if (status < 0) {
        return status;
    }
    if (about->codec[0] == '\0' && a->rows.count > 0) { /* left to the store, which the child knows */
        memcpy(about->codec, a->rows.row[0].codec, sizeof(about->codec));
    }
    LAMINA_TRY(bench_quality_measure(b, cell, about, err));
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
    struct bench_answer a = {0};
    struct lamina_error why = {0};
    struct bench_row about;
    bench_describe(b, cell, &about);
    b->part = 0;
    b->parts = 1 + bench_quality_parts(b, &about);
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
    bench_answer_drop(&a);
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
    throttle_sweep();
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
    bench_quality_spread(b->rows);
    return LAMINA_OK;
}
