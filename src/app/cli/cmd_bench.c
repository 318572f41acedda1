/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina bench: a matrix of configurations, measured and compared. Everything that can be wrong with the command line, outputs
 * that cannot be written included, is found before the first measuring.
 */
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "app/cli/bench.h"
#include "base/json.h"
#include "base/status.h"

typedef void bench_writer(const struct bench_result *b, struct str *out);

static void write_csv(const struct bench_result *b, struct str *out) {
    bench_rows_csv(b->rows, out);
}

static const struct {
    const char *name;
    bench_writer *write;
} formats[] = {{"table", bench_table}, {"csv", write_csv}, {"json", bench_json}, {"html", bench_html}};

static bench_writer *writer_of(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        if (strcmp(formats[i].name, name) == 0) {
            return formats[i].write;
        }
    }
    return NULL;
}

/* By the ending of the file's name. */
static bench_writer *writer_of_path(const char *path) {
    const char *dot = strrchr(path, '.');
    const char *slash = strrchr(path, '/');
    bool named = dot != NULL && (slash == NULL || dot > slash) && strcmp(dot, ".table") != 0;
    return named ? writer_of(dot + 1) : NULL;
}

/* A file comes whole or not at all: it is written beside its place and then moved there. */
static void part_of(const char *path, struct str *out) {
    str_printf(out, "%s.part", path);
}

static lamina_status check_output(const char *path, struct lamina_error *err) {
    struct str part = {0};
    struct str nothing = {0};
    struct stat st;
    if (writer_of_path(path) == NULL) {
        return base_fail(err, LAMINA_USAGE, "--output: \"%s\" ends in none of .csv, .json, .html", path);
    }
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        return base_fail(err, LAMINA_USAGE, "--output: %s is there and no file", path);
    }
    part_of(path, &part);
    lamina_status status = cli_write_file(str_text(&part), &nothing, err);
    if (status == LAMINA_OK) {
        (void)remove(str_text(&part));
    }
    str_drop(&part);
    return status;
}

static lamina_status check_tasks(const struct cli_options *o, struct lamina_error *err) {
    struct bench_tasks tasks = {0};
    lamina_status status = o->tasks != NULL ? bench_tasks_read(&tasks, o->tasks, err) : LAMINA_OK;
    bench_tasks_drop(&tasks);
    return status;
}

static lamina_status check_options(const struct cli_options *o, struct lamina_error *err) {
    struct lamina_settings ignored;
    if (o->prompt_tokens == 0 && o->predict == 0) {
        return base_fail(err, LAMINA_USAGE, "-p 0 and -n 0 leave nothing to measure");
    }
    if (o->repeats == 0 || o->repeats > BENCH_MOST_REPEATS) {
        return base_fail(err, LAMINA_USAGE, "-r %u: between 1 and %d repeats are possible", o->repeats, BENCH_MOST_REPEATS);
    }
    if (!(o->min_gain > 0.0f) || !(o->max_loss >= 0.0f)) {
        return base_fail(err, LAMINA_USAGE, "--min-gain %g, --max-loss %g: the first must be above 0, the second not below it",
                         (double)o->min_gain, (double)o->max_loss);
    }
    LAMINA_TRY(cli_settings(o, &ignored, err));
    LAMINA_TRY(check_tasks(o, err));
    for (uint32_t i = 0; i < o->outputs.count; i++) {
        LAMINA_TRY(check_output(o->outputs.value[i], err));
    }
    return LAMINA_OK;
}

static lamina_status write_output(const struct bench_result *b, const char *path, struct lamina_error *err) {
    struct str text = {0};
    writer_of_path(path)(b, &text);
    lamina_status status = cli_put_file(path, &text, 0666, err);
    str_drop(&text);
    return status;
}

static lamina_status write_all(const struct cli_options *o, const struct bench_result *b, struct lamina_error *err) {
    struct str text = {0};
    for (uint32_t i = 0; i < o->outputs.count; i++) {
        LAMINA_TRY(write_output(b, o->outputs.value[i], err));
        if (!o->quiet) {
            cli_say(1, "wrote %s", o->outputs.value[i]);
        }
    }
    writer_of(o->json ? "json" : o->format)(b, &text);
    lamina_status status = cli_out_str(&text, err);
    str_drop(&text);
    return status;
}

/* The command as it was given, quoted where a shell would need it. */
static void command_words(const struct cli_options *o, struct str *out) {
    str_add_text(out, "lamina");
    for (int i = 0; i < o->argc; i++) {
        const char *word = o->argv[i];
        bool plain = *word != '\0' && strpbrk(word, " \t\n\"'\\$`*?[]{}()<>|&;#~!") == NULL;
        str_add_text(out, plain ? " " : " '");
        for (const char *p = word; *p != '\0'; p++) {
            str_add_text(out, *p == '\'' ? "'\\'" : "");
            str_add_byte(out, (uint8_t)*p);
        }
        str_add_text(out, plain ? "" : "'");
    }
}

static lamina_status open_journal(const struct cli_options *o, struct bench_journal *j, struct lamina_error *err) {
    struct str path = {0};
    lamina_status status = LAMINA_OK;
    if (o->outputs.count > 0) {
        str_printf(&path, "%s.journal", o->outputs.value[0]);
    } else {
        status = bench_home(o, &path, err);
        str_add_text(&path, "/journal");
    }
    if (status == LAMINA_OK) {
        status = bench_journal_open(j, str_text(&path), err);
    }
    str_drop(&path);
    return status;
}

static lamina_status run_and_write(struct cli_options *o, struct bench_run *run, struct lamina_error *err) {
    struct str command = {0};
    char date[32] = "";
    time_t now = time(NULL);
    struct tm utc;
    LAMINA_TRY(bench_run_all(run, err));
    if (gmtime_r(&now, &utc) != NULL) {
        (void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M UTC", &utc);
    }
    command_words(o, &command);
    struct bench_result result = {.matrix = run->matrix, .rows = run->rows, .machine = *run->machine, .model = o->args[0],
                                  .command = str_text(&command), .date = date, .text = o->text, .tasks = o->tasks,
                                  .kv = o->kv, .repeats = o->repeats,
                                  .min_gain = (double)o->min_gain, .max_loss = (double)o->max_loss / 100.0};
    lamina_status status = write_all(o, &result, err);
    if (status == LAMINA_OK && run->failed > 0) {
        status = base_fail(err, LAMINA_PARTIAL, "%u of %u cells failed; their rows say why", run->failed, run->matrix->cells);
    }
    str_drop(&command);
    return status;
}

lamina_status cmd_bench(struct cli_options *o, struct lamina_error *err) {
    struct bench_matrix matrix = {0};
    struct bench_journal journal = {0};
    struct bench_rows rows = {0};
    struct lamina_machine machine = {.size = sizeof(machine)};
    struct bench_run run = {.o = o, .matrix = &matrix, .machine = &machine, .journal = &journal, .rows = &rows};
    cli_terminal_init(&run.terminal, o->color);
    lamina_status status = bench_matrix_read(&matrix, o, err);
    if (status == LAMINA_OK) {
        status = check_options(o, err);
    }
    if (status == LAMINA_OK) {
        status = bench_identity(o->args[0], run.identity, err);
    }
    if (status == LAMINA_OK) {
        status = lamina_machine(&machine, err);
    }
    if (status == LAMINA_OK) {
        status = open_journal(o, &journal, err);
    }
    if (status == LAMINA_OK) {
        status = run_and_write(o, &run, err);
    }
    bench_journal_close(&journal);
    bench_rows_drop(&rows);
    bench_matrix_drop(&matrix);
    return status;
}
