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

struct cli_holding;

struct cli_options {
    int argc;           /* the command line from the command's name on, as getopt left it */
    char *const *argv;
    const char *args[CLI_MAX_ARGS]; /* positional: MODEL, TEXT (or what the command says), NULL where not given */
    const char *model, *prompt, *file, *ids, *home, *isa, *io, *sim, *kv, *numerics, *color, *report, *expert_trace, *source;
    const char *output, *codec, *quant, *kwargs, *tools, *reference, *save, *format, *keep_stores, *read_ahead, *tasks, *text;
    const char *chat_template, *cgroup, *revision, *system, *session;
    const char *host, *uds, *api_key, *alias, *hold_open;
    const char *asked; /* args[0] as it was given, where another place took its place */
    struct cli_holding *holding; /* what `lamina ps` shows of this process; NULL: nothing */
    struct cli_list stop, matrix, outputs, include, exclude, allowed_hosts, cors_origins;
    uint64_t memory, seed, fit, piece;
    uint32_t predict, prompt_tokens, repeats, ctx_size, threads, prompt_rows, top_k, chunks, connections, port, parallel,
        queue, max_connections, keep_alive, grace;
    float temp, top_p, min_p, repeat_penalty, min_gain, max_loss;
    bool raw, json, quiet, verbose, ignore_eos, no_read_ahead, no_pin, no_special, skip_special, delete_original,
        no_generation_prompt, again, profile, dry_run, if_missing, offline, stream, help;
    bool model_flag; /* -m was on the command line */
    bool seed_given, temp_given, top_k_given, top_p_given, min_p_given, repeat_penalty_given;
    struct str home_text; /* backs `home` when it is a default */
    struct str model_text, reference_text; /* back args[0] and `reference` when they were models of the hub */
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
    CMD_RUN, CMD_CHAT, CMD_SERVE, CMD_PULL, CMD_SPLIT, CMD_PLAN, CMD_VERIFY, CMD_SHOW, CMD_LS, CMD_RM, CMD_PS, CMD_BENCH,
    CMD_BENCH_CELL, CMD_BENCH_TASKS, CMD_BENCH_TEXT, CMD_FAMILIES, CMD_DOCTOR, CMD_LOGITS, CMD_PPL, CMD_KL, CMD_TOKENIZE,
    CMD_DETOKENIZE, CMD_TEMPLATE, CMD_COMPLETION, CMD_VERSION, CMD_COUNT
};

extern const struct cli_command cli_commands[CMD_COUNT]; /* commands.c */
extern const struct cli_option cli_option_table[];       /* options.c */
extern const size_t cli_option_count;

/* Fills *o from argv (after the command's name), the environment twins and the defaults, in this order of strength.
 * Errors: USAGE, saying what to try. Drop with cli_options_drop. */
lamina_status cli_options_parse(struct cli_options *o, enum cli_command_id command, int argc, char **argv,
                                struct lamina_error *err);
/* One option by its long name, as if it stood on the command's line; `from` names it in errors. */
lamina_status cli_option_set(struct cli_options *o, enum cli_command_id command, const char *name, const char *value,
                             const char *from, struct lamina_error *err);
void cli_options_drop(struct cli_options *o);
/* "LAMINA_CTX_SIZE" of "ctx-size". `out` needs 64 bytes. */
const char *cli_env_name(char out[64], const char *name);

/* ---- help (help.c) ---- */

void cli_help_program(FILE *out);
void cli_help_command(FILE *out, enum cli_command_id command);

/* ---- the tables as others see them (completion.c) ---- */

bool cli_belongs(const struct cli_option *option, int command);
/* The command after this one that people may call; CMD_COUNT after the last. Start with -1. */
int cli_next_command(int command);
/* What a value may be, by its name in help ("f16|f32", "FILE|NAME", "MODEL"): the words in lower case, blank separated, appended
 * to *words; and which of the kinds below. */
enum { CLI_VALUE_FILES = 1, CLI_VALUE_DIRS = 2, CLI_VALUE_MODELS = 4, CLI_VALUE_STORED = 8 };
unsigned cli_value_kinds(const char *argument, struct str *words);
/* Appends the script for "bash", "zsh" or "fish"; false for others. */
bool cli_completion(struct str *s, const char *shell);

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

/* ---- an answer on its way out (reply.c): what run and chat share ---- */

struct cli_live;
struct cli_reply {
    struct cli_terminal terminal;
    struct str text;          /* all of it, for `json` and `keep` */
    struct str safe;
    bool json;                /* nothing goes to stdout before the end */
    bool keep;
    struct cli_live *live;    /* gives way to text; NULL: there is none */
    struct lamina_error *err;
    lamina_status out_status; /* of writing to stdout */
};
/* `err` gets what went wrong with stdout. Drop with cli_reply_drop. */
void cli_reply_init(struct cli_reply *r, const struct cli_options *o, struct lamina_error *err);
void cli_reply_drop(struct cli_reply *r);
/* lamina_generate.on_text, user: the reply. Stops at Ctrl-C and when stdout fails. */
bool cli_reply_text(void *user, const char *text, size_t len, uint32_t id);
/* The newline behind the text, or the JSON object. */
lamina_status cli_reply_end(struct cli_reply *r, const struct lamina_generate *g, size_t prompt_tokens, struct lamina_error *err);
/* The model's sampling with the options over it; a seed is drawn where one is needed and none given. */
lamina_status cli_sampling(const struct lamina_model *model, const struct cli_options *o, struct lamina_sampling *s,
                           struct lamina_error *err);

/* ---- progress (progress.c) ---- */

struct cli_progress {
    struct cli_terminal terminal;
    bool quiet, verbose;
    bool bar_shown;
    uint64_t last_ns; /* elapsed_ns of the last line or bar */
    const char *last_words;
    FILE *trace; /* of --expert-trace; closed when the program ends */
    const char *trace_path;
    bool lines;           /* steps go to stdout instead, for the parent of lamina bench-text (bench.h) */
    uint32_t part, parts; /* of these: the job at hand, counted from 0, and how many there are */
    struct cli_live *live; /* shows how far a prompt is, and gives way to log lines; NULL: there is none */
};
/* Callbacks for the library: log lines, progress, and Ctrl-C as a stop. `p` stays valid while they are in use. */
void cli_progress_init(struct cli_progress *p, const struct cli_options *o, struct lamina_callbacks *callbacks);
/* A job of the program's own, as its callback of progress would show it; `words` is what it does. True: stop. */
bool cli_progress_bytes(struct cli_progress *c, const char *words, const struct lamina_progress *p);
/* Opens the file of --expert-trace, where one is asked for. */
lamina_status cli_trace_open(struct cli_progress *p, const struct cli_options *o, struct lamina_callbacks *callbacks,
                             struct lamina_error *err);
lamina_status cli_trace_close(struct cli_progress *p, struct lamina_error *err);
/* One line of the caller's, `spent_s` after its work began, `share` of which is done: rewritten in place, or printed every 5 s. */
void cli_progress_step(struct cli_progress *p, double spent_s, double share, const char *line);
void cli_progress_clear(struct cli_progress *p); /* takes the bar off the screen */

/* ---- signals (signals.c) ---- */

/* The first SIGINT or SIGTERM is remembered, the second ends the process at once (130 or 143). */
void cli_signals_init(void);
bool cli_interrupted(void);
void cli_signals_done(void); /* the command ended as the signal asked it to: no failure */
int cli_interrupt_exit_code(void); /* 130, 143, or 0 when there was none */
/* For a program that talks: takes note of a Ctrl-C and goes on as if there had been none. False: there was none, or a SIGTERM. */
bool cli_interrupt_take(void);
/* Whether a signal ends the waiting for input (EINTR). */
void cli_signals_wake(bool wake);

/* ---- input (input.c) ---- */

enum { CLI_INPUT_LIMIT = 1 << 30 };
lamina_status cli_read_stdin(struct str *out, struct lamina_error *err);
lamina_status cli_read_file(const char *path, struct str *out, struct lamina_error *err);
/* "1,2,3", "1 2 3", [1,2,3] or {"ids":[1,2,3]} to ids; *ids is malloc'ed. USAGE when it is none of these. */
lamina_status cli_parse_ids(struct span text, const char *what, uint32_t **ids, size_t *count, struct lamina_error *err);
bool cli_stdin_is_tty(void);
/* The tokenizer of the model, with the chat template that --chat-template names (cmd_run.c). */
lamina_status cli_text_open(struct lamina_text **t, const struct cli_options *o, struct lamina_error *err);
/* A prompt as the model sees it: one turn of the user where the model has a chat template (*rendered is then true), else, and with
 * --raw, plain text (cmd_run.c). Appends it. */
lamina_status cli_prompt_text(struct lamina_text *t, const struct cli_options *o, const struct str *text, struct str *out,
                              bool *rendered, struct lamina_error *err);
/* The same as ids. */
lamina_status cli_prompt_ids(struct lamina_text *t, const struct cli_options *o, const struct str *text, uint32_t **ids,
                             size_t *count, struct lamina_error *err);

/* ---- models of the hub (model_place.c) ---- */

/* Puts a directory in the place of each MODEL that is none here but one of the hub: found in its cache, or, where the command
 * reads weights, pulled. NOT_FOUND, AUTH, NETWORK, ... as hub_pull. */
lamina_status cli_models_resolve(struct cli_options *o, enum cli_command_id command, struct lamina_error *err);

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
/* The same in one step, by a file beside it that is synced and renamed (put_file.c); a new file has `mode`, less the umask. */
lamina_status cli_put_file(const char *path, const struct str *text, unsigned mode, struct lamina_error *err);
/* Adds a name beside `path` that no other process or call uses. */
void cli_temp_name(const char *path, struct str *out);
/* Where a path to be made will lie: itself, or the nearest folder above it that exists (cmd_doctor.c). */
void cli_nearest_folder(struct str *path, const char *wanted);
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

/* Sets rows, sequences and rows of logits for attempt `step`, fewer rows with each, and the passes that all of the work then
 * takes. False: there are no more. */
typedef bool cli_shape(void *user, uint32_t step, struct lamina_settings *s, uint64_t *passes);
/* More rows are fewer passes, and less memory for weights that need not be read again: takes the shape that reads the fewest
 * bytes in all. Half the rows free half the memory, so once that reads more, fewer still do too. Something must fit. */
lamina_status cli_passes_choose(const char *model, cli_shape *shape, void *user, struct lamina_settings *s,
                                struct lamina_error *err);

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

lamina_status cmd_completion(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_run(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_chat(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_serve(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_pull(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_ls(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_rm(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_ps(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_split(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_plan(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_verify(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_show(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_bench(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_bench_cell(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_bench_tasks(struct cli_options *o, struct lamina_error *err);
lamina_status cmd_bench_text(struct cli_options *o, struct lamina_error *err);
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
