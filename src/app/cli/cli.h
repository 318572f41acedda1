/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the command line program share: the options, the terminal, the commands. The program sees the
 * library only through lamina/lamina.h. Nothing here is reachable from other rooms.
 * One thread; the only global state is the signal counter in signals.c and getopt's own.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"
#include "base/str.h"
#include "lamina/lamina.h"

enum { CLI_MAX_LIST = 16, CLI_MAX_ARGS = 2 };

/* ---- options (options.c) ---- */

/* The values of an option that may be given several times. */
struct cli_list {
    const char *value[CLI_MAX_LIST];
    uint32_t count;
    bool from_line; /* of the command line, not of the environment */
};

struct cli_options {
    int argc;           /* the command line from the command's name on, as getopt left it */
    char *const *argv;
    const char *args[CLI_MAX_ARGS]; /* positional: MODEL, TEXT (or what the command says), NULL where not given */
    const char *model, *prompt, *file, *ids, *home, *isa, *io, *sim, *kv, *numerics, *color, *report, *expert_trace, *source;
    const char *output, *codec, *quant, *kwargs, *tools, *reference, *save, *format, *keep_stores, *read_ahead, *tasks, *text;
    struct cli_list stop, matrix, outputs;
    uint64_t memory, seed, fit;
    uint32_t predict, prompt_tokens, repeats, ctx_size, threads, prompt_rows, top_k, chunks;
    float temp, top_p, min_p, repeat_penalty;
    bool raw, json, quiet, verbose, ignore_eos, no_read_ahead, no_pin, no_special, skip_special, delete_original,
        no_generation_prompt, again, profile, help;
    bool model_flag; /* -m was on the command line */
    bool seed_given, temp_given, top_k_given, top_p_given, min_p_given, repeat_penalty_given;
    struct str home_text; /* backs `home` when it is a default */
};

enum cli_type { CLI_FLAG, CLI_U32, CLI_U64, CLI_SIZE, CLI_FLOAT, CLI_TEXT, CLI_CHOICE, CLI_LIST };

/* One row of the only options table. `commands` has bit (1 << enum cli_command) for each command that knows it. */
struct cli_option {
    const char *name;
    const char *alias;    /* a second long name, or NULL */
    char short_name;      /* or 0 */
    enum cli_type type;
    const char *argument; /* how help names the value; for CLI_CHOICE the values, "f16|f32" */
    const char *fallback; /* default as text, parsed like a value; NULL: unset */
    const char *help;
    uint32_t commands;
    size_t offset;        /* of the value in struct cli_options */
    size_t given_offset;  /* of a bool set when the user said it; 0: none */
};

struct cli_command {
    const char *name;
    const char *arguments; /* "MODEL [TEXT]" */
    const char *summary;   /* NULL: the program's own, in no help or completion */
    unsigned args_min, args_max;
    lamina_status (*run)(struct cli_options *o, struct lamina_error *err);
};

enum cli_command_id {
    CMD_RUN, CMD_SPLIT, CMD_PLAN, CMD_VERIFY, CMD_SHOW, CMD_BENCH, CMD_BENCH_CELL, CMD_BENCH_TASKS, CMD_FAMILIES, CMD_DOCTOR,
    CMD_LOGITS, CMD_PPL, CMD_KL, CMD_TOKENIZE, CMD_DETOKENIZE, CMD_TEMPLATE, CMD_COMPLETION, CMD_VERSION, CMD_COUNT
};

extern const struct cli_command cli_commands[CMD_COUNT]; /* main.c */
extern const struct cli_option cli_option_table[];       /* options.c */
extern const size_t cli_option_count;

/* Fills *o from argv (after the command's name), the environment twins and the defaults, in this order of strength.
 * Errors: USAGE, saying what to try. Drop with cli_options_drop. */
lamina_status cli_options_parse(struct cli_options *o, enum cli_command_id command, int argc, char **argv,
                                struct lamina_error *err);
void cli_options_drop(struct cli_options *o);
/* "LAMINA_CTX_SIZE" of "ctx-size". `out` needs 64 bytes. */
const char *cli_env_name(char out[64], const char *name);

/* ---- help (help.c) ---- */

void cli_help_program(FILE *out);
void cli_help_command(FILE *out, enum cli_command_id command);
lamina_status cmd_completion(struct cli_options *o, struct lamina_error *err);

/* ---- terminal (terminal.c) ---- */

struct cli_terminal {
    bool out_tty, err_tty, err_bar; /* err_bar: a line may be rewritten in place */
    bool color;
    unsigned columns;
};
void cli_terminal_init(struct cli_terminal *t, const char *color);
/* Appends `text` without what could command a terminal: C0 (but newline and tab), DEL, C1. */
void cli_safe_text(struct str *out, const char *text, size_t len);
/* "lamina: ..." on stderr, made safe. level: 0 warning, 1 note, -1 error. */
void cli_say(int level, const char *fmt, ...) PRINTF_LIKE(2, 3);
void cli_color_init(bool on);
/* Writes to stdout and reports what went wrong (a full disk behind it is an error like any other). */
lamina_status cli_out(const char *bytes, size_t len, struct lamina_error *err);
lamina_status cli_out_str(const struct str *s, struct lamina_error *err);
/* "12.3 s", "4 min 05 s", "2 h 10 min". `out` needs 32 bytes. */
const char *cli_seconds(char out[32], double seconds);
const char *cli_rate(char out[32], double bytes_per_s); /* "3.1 GB/s": drives are sold in powers of ten */

/* ---- progress (progress.c) ---- */

struct cli_progress {
    struct cli_terminal terminal;
    bool quiet, verbose;
    bool bar_shown;
    uint64_t last_ns; /* elapsed_ns of the last line or bar */
    int last_kind;
    FILE *trace; /* of --expert-trace; closed when the program ends */
    const char *trace_path;
};
/* Callbacks for the library: log lines, progress, and Ctrl-C as a stop. `p` stays valid while they are in use. */
void cli_progress_init(struct cli_progress *p, const struct cli_options *o, struct lamina_callbacks *callbacks);
/* Opens the file of --expert-trace, where one is asked for. */
lamina_status cli_trace_open(struct cli_progress *p, const struct cli_options *o, struct lamina_callbacks *callbacks,
                             struct lamina_error *err);
lamina_status cli_trace_close(struct cli_progress *p, struct lamina_error *err);
/* One line of the caller's, `spent_s` after its work began: rewritten in place, or printed every 5 s. */
void cli_progress_step(struct cli_progress *p, double spent_s, const char *line);
void cli_progress_clear(struct cli_progress *p); /* takes the bar off the screen */

/* ---- signals (signals.c) ---- */

/* The first SIGINT or SIGTERM is remembered, the second ends the process at once (130 or 143). */
void cli_signals_init(void);
bool cli_interrupted(void);
int cli_interrupt_exit_code(void); /* 130, 143, or 0 when there was none */

/* ---- input (input.c) ---- */

enum { CLI_INPUT_LIMIT = 1 << 30 };
lamina_status cli_read_stdin(struct str *out, struct lamina_error *err);
lamina_status cli_read_file(const char *path, struct str *out, struct lamina_error *err);
/* "1,2,3", "1 2 3", [1,2,3] or {"ids":[1,2,3]} to ids; *ids is malloc'ed. USAGE when it is none of these. */
lamina_status cli_parse_ids(struct span text, const char *what, uint32_t **ids, size_t *count, struct lamina_error *err);
bool cli_stdin_is_tty(void);
/* A prompt as ids: one turn of the user where the model has a chat template, else, and with --raw, plain text (cmd_run.c). */
lamina_status cli_prompt_ids(struct lamina_text *t, const struct cli_options *o, const struct str *text, uint32_t **ids,
                             size_t *count, struct lamina_error *err);

/* ---- settings and report (settings.c, report.c) ---- */

/* Library settings from the options, context_tokens excepted. */
lamina_status cli_settings(const struct cli_options *o, struct lamina_settings *s, struct lamina_error *err);

struct cli_run_facts {
    const char *model;
    uint64_t prompt_tokens, new_tokens, seed;
    double wall_s, ttft_s;
    bool stopped_early; /* by the user */
    bool profile;       /* the report tells parts of the model apart */
};
lamina_status cli_write_file(const char *path, const struct str *text, struct lamina_error *err);
/* The report of DESIGN section 9, one JSON object. */
void cli_report_json(struct str *out, const struct lamina_model *model, const struct cli_run_facts *facts);
lamina_status cli_report_write(const char *path, const struct lamina_model *model, const struct cli_run_facts *facts,
                               struct lamina_error *err);
/* Two lines on stderr: before the run (what is opened, budget, forecast) and after (what it took). */
void cli_say_start(const struct lamina_model *model);
/* The table of --profile on stderr: a line per part of the model, a column per stage. */
void cli_say_profile(const struct lamina_model *model);
void cli_say_facts(const struct lamina_model *model, const struct cli_run_facts *facts);
double cli_now_s(void);

/* ---- chunks of a text (chunks.c): what ppl and kl share ---- */

struct cli_chunks {
    uint32_t *ids;    /* [count * tokens], as fed */
    uint32_t count;
    uint32_t tokens;  /* of one chunk */
    uint32_t first;   /* rows first .. first + scored - 1 of each chunk are scored, each on the token after it */
    uint32_t scored;
};
/* The whole file ("-": stdin). USAGE when it is empty or no UTF-8. */
lamina_status cli_text_read(const char *path, struct str *text, struct lamina_error *err);
/* Tokens of a chunk, and which of them are scored. */
lamina_status cli_chunks_shape(struct cli_chunks *c, uint32_t tokens, struct lamina_error *err);
/* By -c and --chunks, with the tokenizer of `model`. Drop after failures too. */
lamina_status cli_chunks_make(struct cli_chunks *c, const struct cli_options *o, const char *model, const struct str *text,
                              struct lamina_error *err);
void cli_chunks_drop(struct cli_chunks *c);
/* Rows of a pass for `model` (s->prompt_rows, logit_rows, sequences), and its vocabulary, which the chunks fit. `reserve`: bytes
 * of the budget to leave alone. NO_FIT names the smallest budget. */
lamina_status cli_chunks_plan(const struct cli_chunks *c, const struct cli_options *o, const char *model, uint64_t reserve,
                              struct lamina_settings *s, uint32_t *vocab, struct lamina_error *err);

/* All scored rows of one model. */
struct cli_chunk_run {
    const struct cli_options *o;
    const char *path;
    const struct cli_chunks *chunks;
    struct cli_progress *progress;
    struct lamina_settings settings; /* callbacks set; rows are planned */
    lamina_status (*take)(void *user, const float *logits, uint32_t next, struct lamina_error *err);
    void (*running)(void *user, struct str *line); /* adds the figure so far to the line of progress; may be NULL */
    void *user;
    bool report;
    uint32_t vocab;                  /* filled, before `take` is called */
    uint32_t done;                   /* chunks */
};
/* Plans, opens, scores, closes. */
lamina_status cli_chunks_run(struct cli_chunk_run *r, struct lamina_error *err);

struct cli_scoring {
    struct cli_chunks chunks;
    struct lamina_tally *tally;
    struct cli_chunk_run run;
};
void cli_json_double(struct str *s, const char *name, double value);
/* The members that say how much was scored, and the closing brace. */
void cli_json_chunks(struct str *s, const struct cli_chunks *c, uint64_t tokens);

/* ---- commands ---- */

lamina_status cmd_run(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_split(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_plan(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_verify(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_show(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_bench(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_bench_cell(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_bench_tasks(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_families(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_doctor(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_logits(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_ppl(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_kl(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_tokenize(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_detokenize(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_template(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_version(struct cli_options *o, struct lamina_error *err);

#endif
