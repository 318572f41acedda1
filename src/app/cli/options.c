/* SPDX-License-Identifier: Apache-2.0
 *
 * The one table of options, and its readers: command line, environment twins, defaults. Help and completion read the
 * same table, so a flag that works is a flag that is documented. The environment is read here and nowhere else in the
 * program. Strength: flag, then LAMINA_<FLAG>, then the default of the table.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/cli/cli.h"
#include "base/status.h"

#define BIT(command) (1u << (command))
#define ALL_COMMANDS ((1u << CMD_COUNT) - 1u)
#define GENERATING (BIT(CMD_RUN))
#define ANSWERING (GENERATING | BIT(CMD_CHAT))
#define SCORING (BIT(CMD_PPL) | BIT(CMD_KL) | BIT(CMD_BENCH_TEXT))
#define SERVING (BIT(CMD_SERVE))
#define COMPUTING (ANSWERING | BIT(CMD_LOGITS) | SCORING)
#define MEASURING (BIT(CMD_BENCH_CELL) | BIT(CMD_BENCH_TASKS) | BIT(CMD_BENCH_TEXT)) /* processes of a bench */
#define TESTING (BIT(CMD_BENCH) | BIT(CMD_BENCH_CELL))
#define BENCHING (BIT(CMD_BENCH) | MEASURING)
#define PLANNING (COMPUTING | BENCHING | SERVING | BIT(CMD_PLAN))
#define WITH_STORE (PLANNING | BIT(CMD_SPLIT) | BIT(CMD_VERIFY) | BIT(CMD_SHOW))
#define WITH_HOME (WITH_STORE | BIT(CMD_PULL) | BIT(CMD_DOCTOR) | BIT(CMD_LS) | BIT(CMD_RM) | BIT(CMD_PS))
#define WITH_MODEL (WITH_STORE | BIT(CMD_TOKENIZE) | BIT(CMD_DETOKENIZE) | BIT(CMD_TEMPLATE))
#define AT(field) offsetof(struct cli_options, field)
#define AT_GIVEN(field) offsetof(struct cli_options, field), offsetof(struct cli_options, field##_given)

const struct cli_option cli_option_table[] = {
    {"model", NULL, 'm', CLI_TEXT, "MODEL", NULL, "the model, instead of the first argument", WITH_MODEL, AT(model), 0},
    {"prompt", NULL, 'p', CLI_TEXT, "TEXT", NULL, "the text, instead of the second argument", GENERATING, AT(prompt), 0},
    {"file", NULL, 'f', CLI_TEXT, "FILE", NULL, "read the text from FILE (one newline at its end is dropped)", GENERATING,
     AT(file), 0},
    {"ids", NULL, 0, CLI_TEXT, "LIST", NULL, "token ids, comma separated, taken as they are", BIT(CMD_LOGITS), AT(ids), 0},
    {"memory", NULL, 0, CLI_SIZE, "SIZE", NULL,
     "hard cap on the memory of the whole process, like 4GiB or 512M; none: no cap (default: 60 % of what is available)",
     PLANNING, AT(memory), 0},
    {"predict", "n-predict", 'n', CLI_U32, "N", "512", "most new tokens", GENERATING, AT(predict), 0},
    {"predict", "n-predict", 'n', CLI_U32, "N", "1", "greedy tokens to add", BIT(CMD_LOGITS), AT(predict), 0},
    {"predict", "n-predict", 'n', CLI_U32, "N", "0", "most new tokens of an answer, 0: to the end of the context", BIT(CMD_CHAT),
     AT(predict), 0},
    {"system", NULL, 0, CLI_TEXT, "TEXT", NULL, "what the model is told before the conversation", BIT(CMD_CHAT), AT(system), 0},
    {"session", NULL, 0, CLI_TEXT, "FILE", NULL,
     "go on with the conversation in FILE, if there is one, and keep it there after each answer", BIT(CMD_CHAT), AT(session), 0},
    {"matrix", NULL, 0, CLI_LIST, "AXIS=A,B", NULL,
     "measure each of these: codec=, storage=DIR,slow:200MB/s:DIR, memory=, read-ahead=on,off, threads=; all combinations",
     BIT(CMD_BENCH), AT(matrix), 0},
    {"n-prompt", NULL, 'p', CLI_U32, "N", "512", "tokens of the prompt (test ppN), 0: none", TESTING, AT(prompt_tokens), 0},
    {"predict", "n-predict", 'n', CLI_U32, "N", "128", "tokens to make one by one (test tgN), 0: none", TESTING, AT(predict), 0},
    {"repeats", NULL, 'r', CLI_U32, "N", "3", "how often each test runs; medians are shown, JSON has all", TESTING,
     AT(repeats), 0},
    {"tasks", NULL, 0, CLI_TEXT, "FILE", NULL,
     "also how well each codec does tasks, lines of {\"prompt\": ..., \"answer\": ...}, with \"choices\": [...] by log-likelihood: "
     "share right, ROUGE-L, BLEU",
     BIT(CMD_BENCH) | BIT(CMD_BENCH_TASKS), AT(tasks), 0},
    {"text", NULL, 0, CLI_TEXT, "FILE", NULL,
     "also perplexity on this text, and divergence from the exact store, as `lamina kl` measures them", BIT(CMD_BENCH),
     AT(text), 0},
    {"ctx-size", "context", 'c', CLI_U32, "N", "0", "most tokens of the conversation, 0: the model's, at most 4096", BIT(CMD_CHAT),
     AT(ctx_size), 0},
    {"ctx-size", NULL, 'c', CLI_U32, "N", NULL, "positions of context; a longer prompt is an error (default: prompt + -n)",
     COMPUTING & ~SCORING & ~BIT(CMD_CHAT), AT(ctx_size), 0},
    {"ctx-size", NULL, 'c', CLI_U32, "N", "512", "tokens of a chunk; the second half of each is scored", SCORING, AT(ctx_size),
     0},
    {"ctx-size", "context", 'c', CLI_U32, "N", NULL, "positions of one conversation (default: the model's, at most 4096)", SERVING,
     AT(ctx_size), 0},
    {"parallel", NULL, 0, CLI_U32, "N", "8", "answers at work at once; more wait their turn", SERVING, AT(parallel), 0},
    {"host", NULL, 0, CLI_TEXT, "HOST", "127.0.0.1", "address to listen at", SERVING, AT(host), 0},
    {"port", NULL, 0, CLI_U32, "N", "8765", "port to listen at, 0: any that is free", SERVING, AT(port), 0},
    {"uds", NULL, 0, CLI_TEXT, "PATH", NULL, "listen at a Unix socket instead", SERVING, AT(uds), 0},
    {"api-key", NULL, 0, CLI_TEXT, "KEY", NULL,
     "the key that clients must send; others can see the command line, so LAMINA_API_KEY is the better place", SERVING,
         AT(api_key), 0},
    {"alias", NULL, 0, CLI_TEXT, "NAME", NULL, "the model's name for clients (default: MODEL's)", SERVING, AT(alias), 0},
    {"allowed-host", NULL, 0, CLI_LIST, "NAME", NULL, "a further name of this machine that clients may ask for", SERVING,
     AT(allowed_hosts), 0},
    {"cors-origin", NULL, 0, CLI_LIST, "ORIGIN", NULL, "pages that may use the server, like https://chat.example; *: all", SERVING,
     AT(cors_origins), 0},
    {"max-connections", NULL, 0, CLI_U32, "N", "256", "connections at once", SERVING, AT(max_connections), 0},
    {"queue", NULL, 0, CLI_U32, "N", "256", "requests that may wait; more are answered 429", SERVING, AT(queue), 0},
    {"keep-alive", NULL, 0, CLI_U32, "SECONDS", "10", "silence after which an answer gives a sign of life", SERVING,
     AT(keep_alive), 0},
    {"hold-open", NULL, 0, CLI_CHOICE, "on|off", "on", "signs of life also in answers that are not streamed, as white space",
     SERVING, AT(hold_open), 0},
    {"grace", NULL, 0, CLI_U32, "SECONDS", "10", "time that running answers have when the server is asked to end", SERVING,
     AT(grace), 0},
    {"ctx-size", NULL, 'c', CLI_U32, "N", "4096", "positions of context to plan for", BIT(CMD_PLAN), AT(ctx_size), 0},
    {"temp", "temperature", 0, CLI_FLOAT, "T", NULL, "sampling temperature, 0 is greedy (default: the model's)", ANSWERING,
     AT_GIVEN(temp)},
    {"top-k", NULL, 0, CLI_U32, "N", NULL, "sample among the N likeliest tokens, 0: off (default: the model's)", ANSWERING,
     AT_GIVEN(top_k)},
    {"top-p", NULL, 0, CLI_FLOAT, "P", NULL,
     "sample among the likeliest tokens of joint probability P, 1: off "
     "(default: the model's)",
     ANSWERING, AT_GIVEN(top_p)},
    {"min-p", NULL, 0, CLI_FLOAT, "P", NULL,
     "drop tokens less likely than P times the likeliest, 0: off "
     "(default: the model's)",
     ANSWERING, AT_GIVEN(min_p)},
    {"repeat-penalty", NULL, 0, CLI_FLOAT, "X", NULL, "penalty on tokens already seen, 1: off (default: the model's)",
     ANSWERING, AT_GIVEN(repeat_penalty)},
    {"seed", NULL, 's', CLI_U64, "N", NULL, "seed of sampling (default: drawn anew, see the report)", ANSWERING,
     AT_GIVEN(seed)},
    {"stop", NULL, 0, CLI_LIST, "TEXT", NULL, "end before this text; may be given several times", ANSWERING, AT(stop), 0},
    {"ignore-eos", NULL, 0, CLI_FLAG, NULL, NULL, "go on after the end token", ANSWERING, AT(ignore_eos), 0},
    {"raw", NULL, 0, CLI_FLAG, NULL, NULL, "plain text to continue: no chat template", GENERATING, AT(raw), 0},
    {"chunks", NULL, 0, CLI_U32, "N", "0", "score at most N chunks, 0: all of the text", SCORING, AT(chunks), 0},
    {"chunks", NULL, 0, CLI_U32, "N", "0", "of --text, score at most N chunks of 512 tokens, 0: all", BIT(CMD_BENCH), AT(chunks),
     0},
    {"reference", NULL, 0, CLI_TEXT, "MODEL", NULL, "the model to compare with, or a file that --save wrote",
     BIT(CMD_KL) | BIT(CMD_BENCH_TEXT),
     AT(reference), 0},
    {"save", NULL, 0, CLI_TEXT, "FILE", NULL, "keep the reference's logits in FILE, for --reference of later runs", BIT(CMD_KL),
     AT(save), 0},
    {"raw", NULL, 0, CLI_FLAG, NULL, NULL, "prompts of --tasks are plain text: no chat template",
     BIT(CMD_BENCH) | BIT(CMD_BENCH_TASKS), AT(raw), 0},
    {"kv", NULL, 0, CLI_CHOICE, "f16|f32", "f16", "precision of the KV cache",
     ANSWERING | BIT(CMD_PLAN) | SCORING | BENCHING | SERVING, AT(kv), 0},
    {"kv", NULL, 0, CLI_CHOICE, "f16|f32", "f32", "precision of the KV cache", BIT(CMD_LOGITS), AT(kv), 0},
    {"numerics", NULL, 0, CLI_CHOICE, "exact|fast|auto", "exact", "numerics class; only exact exists so far, auto takes it",
     PLANNING, AT(numerics), 0},
    {"threads", NULL, 't', CLI_U32, "N", "0", "compute threads, 0: one per physical core", PLANNING, AT(threads), 0},
    {"prompt-rows", NULL, 0, CLI_U32, "N", "0", "most prompt tokens per pass, 0: planned; never changes a result", PLANNING,
     AT(prompt_rows), 0},
    {"io", NULL, 0, CLI_CHOICE, "auto|uring|threads|sim", "auto", "how to read", PLANNING, AT(io), 0},
    {"sim", NULL, 0, CLI_TEXT, "OPTIONS", NULL, "faults of --io sim, like latency_us=200,short=10,seed=7", PLANNING, AT(sim),
     0},
    {"isa", NULL, 0, CLI_CHOICE, "auto|scalar|avx2|avx512|neon", "auto", "most capable instruction set to use", PLANNING,
     AT(isa), 0},
    {"no-read-ahead", NULL, 0, CLI_FLAG, NULL, NULL, "read a layer only when its turn has come", PLANNING & ~MEASURING,
     AT(no_read_ahead), 0},
    {"read-ahead", NULL, 0, CLI_CHOICE, "on|off", "on", "read ahead of the layer at hand", MEASURING, AT(read_ahead), 0},
    {"no-pin", NULL, 0, CLI_FLAG, NULL, NULL, "keep no weights in the memory left over", PLANNING, AT(no_pin), 0},
    {"output", NULL, 'o', CLI_TEXT, "DIR", NULL, "the store's directory (default: its place in the home)", BIT(CMD_SPLIT),
     AT(output), 0},
    {"codec", NULL, 0, CLI_TEXT, "planes|raw", NULL,
     "exact weight coding: planes (default), 16-bit weights in fewer bits; or raw", BIT(CMD_SPLIT) | BIT(CMD_PULL), AT(codec), 0},
    {"quant", NULL, 0, CLI_TEXT, "q8|q4|BITS", NULL,
     "round the layers' matrices: q8 7.3 bits a weight, q4 4.2, or 2 to 8, like 3.5", BIT(CMD_SPLIT) | BIT(CMD_PULL), AT(quant), 0},
    {"fit", NULL, 0, CLI_SIZE, "SIZE", NULL, "round them, if need be, so that the store takes at most SIZE", BIT(CMD_SPLIT),
     AT(fit), 0},
    {"codec", NULL, 0, CLI_TEXT, "planes|raw|q8|q4|BITS", NULL,
     "weight coding of the store, as split takes it (default: planes, or the store's)", BIT(CMD_BENCH), AT(codec), 0},
    {"store-codec", NULL, 0, CLI_TEXT, "CODEC", NULL, "refuse a store of another codec", MEASURING, AT(codec), 0},
    {"cgroup", NULL, 0, CLI_TEXT, "DIR", NULL, "the control group to measure in", BIT(CMD_BENCH_CELL), AT(cgroup), 0},
    {"output", NULL, 'o', CLI_LIST, "FILE", NULL, "also write to FILE.csv, FILE.json or FILE.html; may be given several times",
     BIT(CMD_BENCH), AT(outputs), 0},
    {"format", NULL, 0, CLI_CHOICE, "table|csv|json|html", "table", "what goes to stdout", BIT(CMD_BENCH), AT(format), 0},
    {"keep-stores", NULL, 0, CLI_TEXT, "DIR", NULL,
     "where stores made here are kept (default: the home; with an axis storage, each of its directories)", BIT(CMD_BENCH),
     AT(keep_stores), 0},
    {"min-gain", NULL, 0, CLI_FLOAT, "X", "2", "a codec that rounds weights is worth it with more than X times the tokens/s ...",
     BIT(CMD_BENCH), AT(min_gain), 0},
    {"max-loss", NULL, 0, CLI_FLOAT, "PERCENT", "1",
     "... and less than this loss, relative to the exact codec, in --tasks and --text",
     BIT(CMD_BENCH), AT(max_loss), 0},
    {"again", NULL, 0, CLI_FLAG, NULL, NULL, "measure also what the journal of an earlier run has", BIT(CMD_BENCH), AT(again), 0},
    {"delete-original", NULL, 0, CLI_FLAG, NULL, NULL,
     "free each source file once everything made from it is safely on disk", BIT(CMD_SPLIT), AT(delete_original), 0},
    {"source", NULL, 0, CLI_TEXT, "PATH", NULL, "also hash the checkpoint or GGUF file the store was made from", BIT(CMD_VERIFY),
     AT(source), 0},
    {"again", NULL, 0, CLI_FLAG, NULL, NULL, "measure the drive anew", BIT(CMD_DOCTOR), AT(again), 0},
    {"no-special", NULL, 0, CLI_FLAG, NULL, NULL, "add no special tokens and read those in the text as plain text",
     BIT(CMD_TOKENIZE), AT(no_special), 0},
    {"skip-special", NULL, 0, CLI_FLAG, NULL, NULL, "leave special tokens out", BIT(CMD_DETOKENIZE), AT(skip_special), 0},
    {"no-generation-prompt", NULL, 0, CLI_FLAG, NULL, NULL, "end after the last message", BIT(CMD_TEMPLATE),
     AT(no_generation_prompt), 0},
    {"tools", NULL, 0, CLI_TEXT, "JSON", NULL, "tools the template may name, a JSON list", BIT(CMD_TEMPLATE), AT(tools), 0},
    {"chat-template", NULL, 0, CLI_TEXT, "FILE|NAME", NULL,
     "a file with a Jinja template, or the name of a built-in format, instead of the model's chat template; --raw wins",
     ANSWERING | BIT(CMD_BENCH) | BIT(CMD_BENCH_TASKS), AT(chat_template), 0},
    {"chat-template", NULL, 0, CLI_TEXT, "FILE|NAME", NULL,
     "a file with a Jinja template, or the name of a built-in format, instead of the model's chat template",
         BIT(CMD_TEMPLATE) | SERVING,
     AT(chat_template), 0},
    {"chat-template-kwargs", NULL, 0, CLI_TEXT, "JSON", NULL, "further variables of the template, a JSON object",
     BIT(CMD_TEMPLATE) | ANSWERING, AT(kwargs), 0},
    {"report", NULL, 0, CLI_TEXT, "FILE", NULL, "write what the run took to FILE as JSON", COMPUTING & ~BIT(CMD_CHAT),
     AT(report), 0},
    {"profile", NULL, 0, CLI_FLAG, NULL, NULL, "say the time of each layer and stage, on stderr and in --report", GENERATING,
     AT(profile), 0},
    {"expert-trace", NULL, 0, CLI_TEXT, "FILE", NULL, "write the experts that passes chose to FILE, a line per pass and layer",
     COMPUTING & ~BIT(CMD_CHAT), AT(expert_trace), 0},
    {"revision", NULL, 0, CLI_TEXT, "REV", NULL, "branch, tag or commit, as behind an @ in the name", BIT(CMD_PULL),
     AT(revision), 0},
    {"include", NULL, 0, CLI_LIST, "PATTERN", NULL,
     "fetch files that match, like '*Q4_K_M*' (default: what the model needs); may be given several times", BIT(CMD_PULL),
     AT(include), 0},
    {"exclude", NULL, 0, CLI_LIST, "PATTERN", NULL, "leave out files that match; may be given several times", BIT(CMD_PULL),
     AT(exclude), 0},
    {"dry-run", NULL, 0, CLI_FLAG, NULL, NULL, "only say what would be done", BIT(CMD_PULL) | BIT(CMD_RM), AT(dry_run), 0},
    {"if-missing", NULL, 0, CLI_FLAG, NULL, NULL, "ask the hub only when neither the model nor its store is here, as run does",
     BIT(CMD_PULL), AT(if_missing), 0},
    {"connections", NULL, 0, CLI_U32, "N", "8", "requests at once while downloading", WITH_MODEL | BIT(CMD_PULL),
     AT(connections), 0},
    {"piece", NULL, 0, CLI_SIZE, "SIZE", "16MiB", "bytes of one request while downloading", BIT(CMD_PULL), AT(piece), 0},
    {"stream", NULL, 0, CLI_FLAG, NULL, NULL, "split the model while it comes: only its store stays on the drive, no checkpoint",
     BIT(CMD_PULL) | GENERATING, AT(stream), 0},
    {"offline", NULL, 0, CLI_FLAG, NULL, NULL, "fetch nothing from the hub, as HF_HUB_OFFLINE=1", WITH_MODEL, AT(offline), 0},
    {"home", "store", 0, CLI_TEXT, "DIR", NULL, "where stores and caches live (default: lamina beside the hub's cache)",
     WITH_HOME, AT(home), 0},
    {"json", NULL, 0, CLI_FLAG, NULL, NULL, "one JSON object on stdout",
     ALL_COMMANDS & ~BIT(CMD_COMPLETION), AT(json), 0},
    {"color", NULL, 0, CLI_CHOICE, "auto|always|never", "auto", "colour on stderr; NO_COLOR is honoured", ALL_COMMANDS,
     AT(color), 0},
    {"quiet", NULL, 'q', CLI_FLAG, NULL, NULL, "only errors on stderr", ALL_COMMANDS & ~BIT(CMD_LS), AT(quiet), 0},
    {"quiet", NULL, 'q', CLI_FLAG, NULL, NULL, "only names, one a line: ORG/NAME of models, paths of stores", BIT(CMD_LS),
     AT(quiet), 0},
    {"verbose", NULL, 'v', CLI_FLAG, NULL, NULL, "also notes on stderr", ALL_COMMANDS, AT(verbose), 0},
    {"help", NULL, 'h', CLI_FLAG, NULL, NULL, "this text", ALL_COMMANDS, AT(help), 0},
};
const size_t cli_option_count = ARRAY_LEN(cli_option_table);

const char *cli_env_name(char out[64], const char *name) {
    size_t n = (size_t)snprintf(out, 64, "LAMINA_%s", name);
    for (size_t i = 0; i < n && i < 63; i++) {
        if (out[i] == '-') {
            out[i] = '_';
        } else if (out[i] >= 'a' && out[i] <= 'z') {
            out[i] = (char)(out[i] - 'a' + 'A');
        }
    }
    return out;
}

static void *field(struct cli_options *o, size_t offset) {
    return (char *)o + offset;
}

static bool is_choice(const char *choices, const char *value) {
    size_t len = strlen(value);
    for (const char *p = choices; *p != '\0';) {
        size_t n = strcspn(p, "|");
        if (n == len && memcmp(p, value, n) == 0) {
            return true;
        }
        p += n + (p[n] == '|');
    }
    return false;
}

/* Plain decimal digits only: strtoull alone takes signs and blanks. */
static bool read_digits(const char *text, uint64_t most, uint64_t *out) {
    if (*text == '\0' || strspn(text, "0123456789") != strlen(text)) {
        return false;
    }
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno != 0 || value > most) {
        return false;
    }
    *out = value;
    return true;
}

static bool read_float(const char *text, float *out) {
    char *end = NULL;
    if (*text == '\0' || strspn(text, "0123456789+-.eE") != strlen(text)) {
        return false;
    }
    *out = strtof(text, &end);
    return *end == '\0' && isfinite(*out) && *out >= 0.0f;
}

static bool read_bool(const char *text, bool *out) {
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off", ""};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcmp(text, yes[i]) == 0) {
            *out = true;
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(no); i++) {
        if (strcmp(text, no[i]) == 0) {
            *out = false;
            return true;
        }
    }
    return false;
}

static bool read_memory(const char *text, uint64_t *out) {
    if (strcmp(text, "none") == 0) {
        *out = UINT64_MAX;
        return true;
    }
    return parse_bytes(text, out) && *out > 0; /* 0 is the library's word for "choose" */
}

static const char *type_words(enum cli_type type) {
    switch (type) {
    case CLI_U32:
    case CLI_U64:
        return "a whole number";
    case CLI_SIZE:
        return "a size like 4GiB, 512M or 1500000000";
    case CLI_FLOAT:
        return "a number of at least 0";
    case CLI_FLAG:
        return "1 or 0";
    default:
        return "a value";
    }
}

/* Stores one value. `from` names where it stood ("--memory", "LAMINA_MEMORY"). */
static lamina_status set_value(struct cli_options *o, const struct cli_option *option, const char *value, const char *from,
                               struct lamina_error *err) {
    void *at = field(o, option->offset);
    uint64_t number = 0;
    bool good = true;
    switch (option->type) {
    case CLI_FLAG:
        good = read_bool(value, (bool *)at);
        break;
    case CLI_U32:
        good = read_digits(value, UINT32_MAX, &number);
        *(uint32_t *)at = (uint32_t)number;
        break;
    case CLI_U64:
        good = read_digits(value, UINT64_MAX, &number);
        *(uint64_t *)at = number;
        break;
    case CLI_SIZE:
        good = read_memory(value, (uint64_t *)at);
        break;
    case CLI_FLOAT:
        good = read_float(value, (float *)at);
        break;
    case CLI_CHOICE:
        if (!is_choice(option->argument, value)) {
            return base_fail(err, LAMINA_USAGE, "%s: \"%s\" is none of %s", from, value, option->argument);
        }
        *(const char **)at = value;
        break;
    case CLI_TEXT:
        *(const char **)at = value;
        break;
    case CLI_LIST: {
        struct cli_list *list = (struct cli_list *)at;
        if (list->count == CLI_MAX_LIST) {
            return base_fail(err, LAMINA_USAGE, "%s: more than %d of them", from, CLI_MAX_LIST);
        }
        list->value[list->count++] = value;
        break;
    }
    }
    if (!good) {
        return base_fail(err, LAMINA_USAGE, "%s: \"%s\" is not %s", from, value, type_words(option->type));
    }
    if (option->given_offset != 0) {
        *(bool *)field(o, option->given_offset) = true;
    }
    return LAMINA_OK;
}

lamina_status cli_option_set(struct cli_options *o, enum cli_command_id command, const char *name, const char *value,
                             const char *from, struct lamina_error *err) {
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *option = &cli_option_table[i];
        if ((option->commands & BIT(command)) != 0 &&
            (strcmp(option->name, name) == 0 || (option->alias != NULL && strcmp(option->alias, name) == 0))) {
            return set_value(o, option, value, from, err);
        }
    }
    return base_fail(err, LAMINA_USAGE, "%s is not an option", from);
}

static lamina_status apply_defaults(struct cli_options *o, uint32_t bit, struct lamina_error *err) {
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *option = &cli_option_table[i];
        if ((option->commands & bit) != 0 && option->fallback != NULL) {
            LAMINA_TRY(set_value(o, option, option->fallback, option->name, err));
        }
    }
    return LAMINA_OK;
}

static lamina_status apply_environment(struct cli_options *o, uint32_t bit, struct lamina_error *err) {
    /* The word of OpenMP programs is the weaker one: LAMINA_THREADS below wins. */
    const char *omp = getenv("OMP_NUM_THREADS");
    uint64_t threads = 0;
    if (omp != NULL && read_digits(omp, UINT32_MAX, &threads)) {
        o->threads = (uint32_t)threads;
    }
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *option = &cli_option_table[i];
        if ((option->commands & bit) == 0 || strcmp(option->name, "help") == 0) {
            continue;
        }
        const char *const names[2] = {option->alias, option->name};
        for (size_t k = 0; k < ARRAY_LEN(names); k++) {
            char variable[64];
            const char *value = names[k] != NULL ? getenv(cli_env_name(variable, names[k])) : NULL;
            if (value != NULL && (*value != '\0' || option->type == CLI_FLAG)) {
                LAMINA_TRY(set_value(o, option, value, variable, err));
            }
        }
    }
    return LAMINA_OK;
}

/* getopt's tables of one command. Long options return 256 + the row's index. */
struct getopt_tables {
    struct option longs[2 * ARRAY_LEN(cli_option_table) + 1];
    char shorts[2 * ARRAY_LEN(cli_option_table) + 2];
};

static void fill_tables(struct getopt_tables *t, uint32_t bit) {
    size_t longs = 0;
    size_t shorts = 0;
    t->shorts[shorts++] = ':'; /* a missing value is told apart from an unknown option */
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *option = &cli_option_table[i];
        if ((option->commands & bit) == 0) {
            continue;
        }
        int has_value = option->type == CLI_FLAG ? no_argument : required_argument;
        t->longs[longs++] = (struct option){option->name, has_value, NULL, 256 + (int)i};
        if (option->alias != NULL) {
            t->longs[longs++] = (struct option){option->alias, has_value, NULL, 256 + (int)i};
        }
        if (option->short_name != 0) {
            t->shorts[shorts++] = option->short_name;
            if (has_value == required_argument) {
                t->shorts[shorts++] = ':';
            }
        }
    }
    t->longs[longs] = (struct option){NULL, 0, NULL, 0};
    t->shorts[shorts] = '\0';
}

static const struct cli_option *option_of_code(int code, uint32_t bit) {
    if (code >= 256) {
        return &cli_option_table[code - 256];
    }
    for (size_t i = 0; i < cli_option_count; i++) {
        if (cli_option_table[i].short_name == code && (cli_option_table[i].commands & bit) != 0) {
            return &cli_option_table[i];
        }
    }
    return NULL;
}

static lamina_status refuse(const char *command, const char *word, int code, struct lamina_error *err) {
    const char *what = code == ':' ? "needs a value" : "is not an option of this command";
    return base_fail(err, LAMINA_USAGE, "%s %s; see: lamina %s --help", word, what, command);
}

static lamina_status parse_flags(struct cli_options *o, enum cli_command_id command, int argc, char **argv,
                                 struct lamina_error *err) {
    struct getopt_tables tables;
    fill_tables(&tables, BIT(command));
    optind = 0; /* glibc: start anew, also its own static state */
    opterr = 0;
    for (;;) {
        int code = getopt_long(argc, argv, tables.shorts, tables.longs, NULL);
        if (code == -1) {
            break;
        }
        const struct cli_option *option = code == '?' || code == ':' ? NULL : option_of_code(code, BIT(command));
        if (option == NULL) {
            char one[3] = {'-', (char)optopt, '\0'};
            bool is_short = optopt > 0 && optopt < 256;
            return refuse(cli_commands[command].name, is_short ? one : argv[optind - 1], code, err);
        }
        char from[64];
        if (code < 256) {
            snprintf(from, sizeof(from), "-%c", option->short_name);
        } else {
            snprintf(from, sizeof(from), "--%s", option->name);
        }
        if (option->type == CLI_LIST) {
            struct cli_list *list = (struct cli_list *)field(o, option->offset);
            list->count = list->from_line ? list->count : 0; /* the flags replace what the environment said */
            list->from_line = true;
        }
        if (option->offset == AT(model)) {
            o->model_flag = true;
        }
        LAMINA_TRY(set_value(o, option, option->type == CLI_FLAG ? "1" : optarg, from, err));
    }
    return LAMINA_OK;
}

static lamina_status take_arguments(struct cli_options *o, enum cli_command_id command, int argc, char **argv,
                                    struct lamina_error *err) {
    const struct cli_command *c = &cli_commands[command];
    unsigned count = 0;
    /* LAMINA_MODEL only fills a gap: with arguments on the line the first of them is the model. */
    if (o->model != NULL && c->args_max > 0 && (o->model_flag || optind == argc)) {
        o->args[count++] = o->model;
    }
    for (int i = optind; i < argc; i++) {
        if (count == c->args_max) {
            return base_fail(err, LAMINA_USAGE, "\"%s\" is one argument too many; usage: lamina %s %s [options]", argv[i],
                             c->name, c->arguments);
        }
        o->args[count++] = argv[i];
    }
    if (!o->help && count < c->args_min) {
        return base_fail(err, LAMINA_USAGE, "an argument is missing; usage: lamina %s %s [options]", c->name, c->arguments);
    }
    return LAMINA_OK;
}

/* The home beside the hub's cache, with the hub's own variables: HF_HOME, else XDG_CACHE_HOME, else ~/.cache. */
static void default_home(struct cli_options *o) {
    const char *hf = getenv("HF_HOME");
    const char *xdg = getenv("XDG_CACHE_HOME");
    const char *user = getenv("HOME");
    if (hf != NULL && *hf != '\0') {
        str_printf(&o->home_text, "%s/lamina", hf);
    } else if (xdg != NULL && *xdg != '\0') {
        str_printf(&o->home_text, "%s/huggingface/lamina", xdg);
    } else if (user != NULL && *user != '\0') {
        str_printf(&o->home_text, "%s/.cache/huggingface/lamina", user);
    } else {
        return; /* the library says what is missing when it needs a home */
    }
    o->home = str_text(&o->home_text);
}

lamina_status cli_options_parse(struct cli_options *o, enum cli_command_id command, int argc, char **argv,
                                struct lamina_error *err) {
    o->argc = argc;
    o->argv = argv;
    LAMINA_TRY(apply_defaults(o, BIT(command), err));
    LAMINA_TRY(apply_environment(o, BIT(command), err));
    LAMINA_TRY(parse_flags(o, command, argc, argv, err));
    LAMINA_TRY(take_arguments(o, command, argc, argv, err));
    if (o->home == NULL) {
        default_home(o);
    }
    return LAMINA_OK;
}

void cli_options_drop(struct cli_options *o) {
    str_drop(&o->home_text);
    str_drop(&o->model_text);
    str_drop(&o->reference_text);
}
