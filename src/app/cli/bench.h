/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of `lamina bench` share. A matrix is a list of values per axis; a cell is one value of each; a row is what one
 * test (pp512, tg128) of a cell gave. The program measures each cell in a process of its own, because peak memory belongs to
 * a process: it runs itself as the hidden command `bench-cell`, which says on stdout, a line of JSON each,
 *     {"done": 3, "of": 40, "what": "tg128, 1 of 3"}        how far it is
 *     {"warning": "..."}                                    for the person who watches
 *     {"rows": [{...}, {...}]}                              what it measured; the same rows stand in the journal
 *     {"status": 7, "error": "..."}                         or why not
 * What was not measured is NaN, UINT64_MAX or "", and null or empty in what is written.
 */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "app/cli/cli.h"
#include "base/json.h"

enum { BENCH_MOST_CELLS = 1000, BENCH_MOST_VALUES = 64, BENCH_MOST_REPEATS = 100, BENCH_CHUNK_TOKENS = 512 };

/* ---- the matrix (bench_matrix.c) ---- */

enum bench_axis { BENCH_CODEC, BENCH_STORAGE, BENCH_MEMORY, BENCH_READ_AHEAD, BENCH_THREADS, BENCH_AXES };

struct bench_matrix {
    struct str text[BENCH_AXES]; /* the values of an axis, each ended by 0 */
    const char *value[BENCH_AXES][BENCH_MOST_VALUES];
    uint32_t count[BENCH_AXES];  /* at least 1 */
    bool given[BENCH_AXES];      /* in --matrix; the others hold the one value of the plain option */
    uint32_t cells;
};
/* By axis; NULL: left to the program (memory, threads) or to the store (codec), storage: the home. */
struct bench_cell {
    const char *value[BENCH_AXES];
};
extern const char *const bench_axis_name[BENCH_AXES];

/* From --matrix and the plain options. USAGE: an unknown axis or value, one given twice, too many cells. */
lamina_status bench_matrix_read(struct bench_matrix *m, const struct cli_options *o, struct lamina_error *err);
void bench_matrix_drop(struct bench_matrix *m);
/* A value of the axis storage: DIR, "default" (where stores lie anyway: dir is NULL), or either behind "slow:RATE/s:", which
 * slows its reads down; "slow:RATE/s" alone means default. False: it begins so and goes on otherwise, or the rate is below
 * 1 MB/s: a process waits for its reads in flight before it ends, even when it is killed. */
struct bench_storage {
    const char *dir;
    uint64_t bytes_per_s; /* 0: as fast as it is */
};
bool bench_storage_read(const char *value, struct bench_storage *out);
/* The last axis runs fastest. */
void bench_matrix_cell(const struct bench_matrix *m, uint32_t index, struct bench_cell *cell);
/* "codec=raw memory=256MiB": the axes of --matrix, or "the one configuration". */
void bench_cell_words(const struct bench_matrix *m, const struct bench_cell *cell, struct str *out);

/* ---- rows (bench_row.c) ---- */

struct bench_series {
    uint32_t count;
    double value[BENCH_MOST_REPEATS];
};

/* What a codec makes of a model's answers. It depends on nothing else, so a codec is measured once. NaN, UINT64_MAX: was not. */
struct bench_of_text { /* of --text */
    double ppl, ppl_error;
    double ppl_ratio, ppl_ratio_error; /* to the perplexity of the exact store */
    double kl, kl_error;               /* mean divergence from the exact store, nats */
    double top1;                       /* share of positions with the same likeliest token */
};
struct bench_of_tasks { /* of --tasks */
    uint64_t tasks, choice_tasks;    /* all of them; of these with choices */
    double accuracy, accuracy_error; /* share answered right, with its standard error */
    double accuracy_norm;            /* of those with choices, the share right by log-likelihood per character */
    double rouge_l, bleu;            /* of the others how near the texts are: 0 to 1, 0 to 100 */
};

struct bench_row {
    /* The cell. */
    char model[512], codec[32], storage[512], memory[32], read_ahead[8];
    uint64_t threads, memory_budget_bytes;
    /* The test; a cell that failed has one row without a test. */
    char test[32], error[1024];
    uint64_t status; /* exit code, 0 fine */
    uint64_t tokens;
    struct bench_series tokens_per_s, disk_bytes_per_s, bytes_read, drive_idle_s; /* per repeat */
    struct bench_series read_wait_s, decode_s, compute_s, other_s;
    double disk_limit_bytes_per_s; /* measured right before this cell, or the throttle's when that is less */
    double throttle_bytes_per_s;   /* of a slow: storage */
    /* The process. */
    struct bench_series ttft_warm_s;
    double ttft_cold_s, load_s, split_s, cold_start_s;
    /* "now", "earlier" (its time is known), "unknown" (it is not), "given" (MODEL is a store), "unslowed" (its time would be that
     * of the storage at full speed) */
    char split[16];
    uint64_t peak_memory_bytes;
    /* The store. */
    char store[512], drive[96];
    uint64_t store_bytes;
    double bits_per_weight, store_bits_per_weight;
    struct bench_of_text of_text;
    struct bench_of_tasks of_tasks;
    char numerics[16], isa[16], io_engine[32], date[32];
};

struct bench_rows {
    struct bench_row *row; /* malloc'ed */
    uint32_t count, room;
};

void bench_row_init(struct bench_row *row); /* nothing measured */
double bench_median(const struct bench_series *s); /* NaN when empty */
bool bench_range(const struct bench_series *s, double *low, double *high); /* false when empty */
bool bench_known(double value);
/* Rate over the drive's limit, NaN when either was not measured. */
double bench_share(const struct bench_row *row);
/* A zeroed row at the end, NULL out of memory. Pointers to rows last until the next call. */
struct bench_row *bench_rows_add(struct bench_rows *rows);
void bench_rows_drop(struct bench_rows *rows);
void bench_rows_json(const struct bench_row *rows, uint32_t count, struct str *out); /* a JSON list */
/* Reads such a list; what it does not know it skips. */
void bench_rows_parse(struct json_reader *r, struct bench_rows *rows);
void bench_rows_csv(const struct bench_rows *rows, struct str *out);

/* ---- stores and identities (bench_store.c) ---- */

/* 32 hex digits of the path, names, sizes and times of a model's files: a model that changed is another. */
lamina_status bench_identity(const char *model, char out[33], struct lamina_error *err);
/* Makes or finds the store of a cell and fills the row's store, split, split_s, codec. */
lamina_status bench_store_make(const struct cli_options *o, const struct bench_cell *cell, const char *identity,
                               const struct lamina_callbacks *callbacks, struct bench_row *row, struct lamina_error *err);

/* Appends the directory that the store of a cell lies in or will lie in, made where it is missing. */
lamina_status bench_store_place(const struct cli_options *o, const struct bench_cell *cell, struct str *dir,
                                struct lamina_error *err);

/* Where the bench keeps stores and journals that have no other place, made where it is missing. */
lamina_status bench_home(const struct cli_options *o, struct str *dir, struct lamina_error *err);

/* ---- journal (bench_journal.c) ---- */

struct bench_journal {
    FILE *file;
    struct str path, text; /* text: what was there at open */
};
lamina_status bench_journal_open(struct bench_journal *j, const char *path, struct lamina_error *err);
/* Appends the rows of a cell, on disk when it returns. */
lamina_status bench_journal_add(struct bench_journal *j, const char key[33], const struct bench_row *rows, uint32_t count,
                                struct lamina_error *err);
/* The rows of a cell, the newest ones, appended to `rows`; false when there are none. */
bool bench_journal_find(const struct bench_journal *j, const char key[33], struct bench_rows *rows);
void bench_journal_close(struct bench_journal *j);

/* ---- tasks (bench_task_file.c reads them, bench_tasks.c does them) ---- */

struct bench_texts {
    struct str text; /* each ended by 0 */
    uint32_t count;
};
void bench_texts_list(const struct bench_texts *t, const char **list); /* list: [count] */

/* A prompt and its right answer: a text, of which there may be several, or one of `choices`. */
struct bench_task {
    struct str prompt;
    struct bench_texts answers, choices;
    uint32_t right; /* of choices */
};
struct bench_tasks {
    struct bench_task *task; /* malloc'ed */
    uint32_t count, room;
};
/* USAGE names the line. Drop after failures too. */
lamina_status bench_tasks_read(struct bench_tasks *t, const char *path, struct lamina_error *err);
void bench_tasks_drop(struct bench_tasks *t);

/* ---- running (bench_run.c) ---- */

struct bench_run {
    const struct cli_options *o;
    const struct bench_matrix *matrix;
    const struct lamina_machine *machine;
    struct bench_journal *journal;
    struct bench_rows *rows;
    struct cli_terminal terminal;
    char identity[33];     /* of the model */
    uint32_t todo, done;   /* cells that are not in the journal; of these, finished ones */
    uint32_t cell, failed; /* the one at hand, counted from 0 */
    uint32_t part, parts;  /* of this cell: its tests, its tasks, its text */
    double begin_s, said_s;
    bool bar_shown;
};
/* Measures, or takes from the journal, every cell. A cell that fails leaves a row that says why. INTERRUPTED keeps the rows of
 * finished cells. */
lamina_status bench_run_all(struct bench_run *b, struct lamina_error *err);
/* For the files beside it. What the user sees now: `share` of the part at hand is done. */
void bench_show_progress(struct bench_run *b, const char *what, double share);
void bench_say(void *user, int level, const char *text); /* user: the struct bench_run */
bool bench_on_split(void *user, const struct lamina_progress *p);
/* The row of a cell with what is known before it is measured. */
void bench_describe(const struct bench_run *b, const struct bench_cell *cell, struct bench_row *row);

/* ---- quality (bench_quality.c) ---- */

/* How many of --tasks and --text this cell will measure: those that no row of its codec has yet. */
uint32_t bench_quality_parts(const struct bench_run *b, const struct bench_row *about);
/* Fills about->of_tasks and of_text, from a row of its codec or by asking a child within the cell's memory. Where that is too
 * small and a later cell of the codec has another budget, it is left to that one, and the user is told. */
lamina_status bench_quality_measure(struct bench_run *b, const struct bench_cell *cell, struct bench_row *about,
                                    struct lamina_error *err);
void bench_quality_spread(struct bench_rows *rows); /* to the rows of the same codec that lack it */

/* ---- what is written (bench_table.c, bench_choice.c, bench_verdict.c, bench_html.c, bench_chart.c) ---- */

struct bench_result {
    const struct bench_matrix *matrix;
    const struct bench_rows *rows;
    struct lamina_machine machine;
    const char *model, *command, *date;
    const char *text, *tasks, *kv; /* of the options; text, tasks: NULL where not given */
    uint32_t repeats;
    double min_gain, max_loss; /* of verdicts: a factor, a share */
};

/* There are three tables, the same in text and HTML: a line per test, a line per cell with what belongs to its process and its
 * store, and, where answers were judged, a line per codec. `text` of a column appends nothing where nothing was measured. */
enum { BENCH_OF_TEST = 1, BENCH_OF_CELL = 2, BENCH_OF_CODEC = 4, BENCH_MOST_COLUMNS = 24 };
struct bench_column {
    const char *name;
    int table; /* those it stands in */
    bool number;
    void (*text)(const struct bench_row *row, struct str *out);
};
/* The columns of a table in which some row has something to say. Returns how many. */
uint32_t bench_columns(const struct bench_result *b, int table, const struct bench_column *out[BENCH_MOST_COLUMNS]);
bool bench_any_good(const struct bench_rows *rows); /* did a cell not fail? */
bool bench_any_judged(const struct bench_rows *rows); /* was quality measured? */
bool bench_in_table(const struct bench_result *b, int table, uint32_t row);
void bench_table(const struct bench_result *b, struct str *out);
void bench_machine_words(const struct bench_result *b, struct str *out);
void bench_json(const struct bench_result *b, struct str *out);
void bench_html(const struct bench_result *b, struct str *out);

/* The row of the configuration to choose where the storage is that of the matrix by this index, NULL when none can be: a drive is
 * what one has, so each has its own answer. `why` gets the sentence. */
const struct bench_row *bench_choose(const struct bench_result *b, uint32_t storage, struct str *why);
void bench_rule_words(const struct bench_result *b, struct str *out); /* by which it chooses */
bool bench_is_exact(const struct bench_row *row); /* are the answers of its codec those of the source's weights? */

/* ---- verdicts on codecs that round weights (bench_verdict.c) ---- */

enum bench_loss { BENCH_LOSS_ACCURACY, BENCH_LOSS_ROUGE, BENCH_LOSS_BLEU, BENCH_LOSS_PPL, BENCH_LOSSES };
struct bench_verdict {
    const struct bench_row *row;     /* the first of the codec */
    const struct bench_row *against; /* of the first exact codec, NULL: none was measured */
    const char *test;
    uint32_t pairs;                  /* configurations that both were measured in */
    double gain, gain_low, gain_high; /* tokens per second over those of the exact codec: median and range of the pairs */
    double loss[BENCH_LOSSES];       /* relative, NaN: not measured; below 0 it got better; of perplexity the change */
    double error[BENCH_LOSSES];      /* standard error, NaN: not known */
    enum bench_loss worst;           /* the largest; BENCH_LOSSES: none is known */
    int worth;                       /* 1, 0, or -1: cannot be said */
};
extern const char *const bench_loss_name[BENCH_LOSSES];
/* One per codec that is not exact, in the order of the rows. Returns how many. */
uint32_t bench_verdicts(const struct bench_result *b, struct bench_verdict out[BENCH_MOST_VALUES]);
void bench_verdict_words(const struct bench_result *b, const struct bench_verdict *v, struct str *out);
void bench_verdict_rule(const struct bench_result *b, struct str *out);
/* The largest loss of the row's codec, NaN when none was measured. */
double bench_loss_of(const struct bench_result *b, const struct bench_row *row);

/* "raw, 256MiB, read-ahead off": what tells this row's cell from the others. */
void bench_row_words(const struct bench_result *b, const struct bench_row *row, struct str *out);
/* Does this row come first of its cell? Then its cell has figures that are not those of a test. */
bool bench_first_of_cell(const struct bench_rows *rows, uint32_t index);

void bench_escape(struct str *out, const char *text); /* for HTML and SVG */
/* SVG pictures; they append nothing where there is nothing to show. */
void bench_chart_stages(const struct bench_result *b, struct str *out);
void bench_chart_speed(const struct bench_result *b, struct str *out);
void bench_chart_rate(const struct bench_result *b, struct str *out);
void bench_chart_quality(const struct bench_result *b, struct str *out);

#endif
