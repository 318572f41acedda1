/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina-inflate: from a small Llama checkpoint one of any larger Llama shape that says the same. The command line,
 * its environment twins, progress and exit codes; everything else is behind inflate_priv.h. stdout stays empty. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/tools/inflate_priv.h"
#include "base/compiler.h"

enum option_id {
    OPT_PRESET,
    OPT_HIDDEN,
    OPT_LAYERS,
    OPT_HEADS,
    OPT_KV_HEADS,
    OPT_HEAD_DIM,
    OPT_FFN,
    OPT_VOCAB,
    OPT_TIED,
    OPT_UNTIED,
    OPT_SEED,
    OPT_SHARD_SIZE,
    OPT_THREADS,
    OPT_STORE,
    OPT_DISTINCT,
    OPT_QUIET,
    OPT_HELP,
    OPT_VERSION,
    OPTIONS
};

static const struct {
    const char *name, *value, *help; /* value NULL: a switch */
} table[OPTIONS] = {
    [OPT_PRESET] = {"preset", "NAME",
                    "1b (2.0 GB), 8b (16 GB), 70b (141 GB) or 405b (812 GB): Llama 3 shapes, bf16 sizes"},
    [OPT_HIDDEN] = {"hidden", "N", "hidden size; a shape flag not given keeps the preset's or the small model's value"},
    [OPT_LAYERS] = {"layers", "N", "layers"},
    [OPT_HEADS] = {"heads", "N", "query heads"},
    [OPT_KV_HEADS] = {"kv-heads", "N", "key and value heads"},
    [OPT_HEAD_DIM] = {"head-dim", "N", "head dimension: the small one times 1, 4, 16, ..."},
    [OPT_FFN] = {"ffn", "N", "intermediate size"},
    [OPT_VOCAB] = {"vocab", "N", "vocabulary; ids beyond the small one never appear"},
    [OPT_TIED] = {"tied", NULL, "embedding and output share one matrix"},
    [OPT_UNTIED] = {"untied", NULL, "an output matrix of its own"},
    [OPT_SEED] = {"seed", "N", "of the noise (default 0); the text does not depend on it"},
    [OPT_SHARD_SIZE] = {"shard-size", "SIZE", "largest weight file (default 4GiB); more than one get an index"},
    [OPT_THREADS] = {"threads", "N", "writing threads; the files do not depend on it"},
    [OPT_STORE] = {"store", "DIR", "write a lamina store instead of a checkpoint (no DST then)"},
    [OPT_DISTINCT] = {"distinct-layers", "N", "with --store: later layers are hard links to noise layers below N"},
    [OPT_QUIET] = {"quiet", NULL, "no progress on stderr"},
    [OPT_HELP] = {"help", NULL, "this text"},
    [OPT_VERSION] = {"version", NULL, "the version"},
};

struct arguments {
    const char *values[OPTIONS]; /* a switch that is on: "1" */
    const char *source, *destination;
};

/* The only state a signal handler may touch. */
static volatile sig_atomic_t caught_signal;

static void on_signal(int number) {
    if (caught_signal != 0) {
        _exit(128 + number);
    }
    caught_signal = number;
}

static void print_help(void) {
    (void)puts(
        "lamina-inflate SRC DST --preset NAME | shape flags\n"
        "lamina-inflate SRC --store DIR [--distinct-layers N] --preset NAME | shape flags\n\n"
        "Makes a large Llama checkpoint from a small one (SRC, a Hugging Face directory) so that its text stays the\n"
        "same: the small model sits in the first dimensions, the rest is noise that cancels.\n");
    for (size_t i = 0; i < OPTIONS; i++) {
        char left[40];
        (void)snprintf(left, sizeof(left), "--%s %s", table[i].name, table[i].value != NULL ? table[i].value : "");
        (void)printf("  %-24s %s\n", left, table[i].help);
    }
    (void)puts("\nEvery flag has a twin in the environment: --shard-size is LAMINA_SHARD_SIZE. The flag wins.");
}

/* ---- arguments ---- */

static const char *from_environment(size_t option) {
    char name[64] = "LAMINA_";
    size_t len = strlen(name);
    for (const char *p = table[option].name; *p != 0 && len + 1 < sizeof(name); p++) {
        name[len++] = *p == '-' ? '_' : (char)(*p - ('a' - 'A'));
    }
    name[len] = 0;
    const char *value = getenv(name);
    return value != NULL && value[0] != 0 && strcmp(value, "0") != 0 ? value : NULL;
}

static lamina_status parse_arguments(int argc, char **argv, struct arguments *a, struct lamina_error *err) {
    struct option longs[OPTIONS + 1] = {{0}};
    for (int i = 0; i < OPTIONS; i++) {
        longs[i] =
            (struct option){table[i].name, table[i].value != NULL ? required_argument : no_argument, NULL, 256 + i};
    }
    opterr = 0;
    for (int got = 0; (got = getopt_long(argc, argv, ":qh", longs, NULL)) != -1;) {
        if (got >= 256) {
            a->values[got - 256] = optarg != NULL ? optarg : "1";
        } else if (got == 'q' || got == 'h') {
            a->values[got == 'q' ? OPT_QUIET : OPT_HELP] = "1";
        } else {
            return base_fail(err, LAMINA_USAGE, "%s: %s; --help lists the options", argv[optind - 1],
                             got == ':' ? "a value is missing" : "no such option");
        }
    }
    for (size_t i = 0; i < OPTIONS; i++) {
        bool answered =
            (i == OPT_TIED && a->values[OPT_UNTIED] != NULL) || (i == OPT_UNTIED && a->values[OPT_TIED] != NULL);
        if (a->values[i] == NULL && i != OPT_HELP && i != OPT_VERSION && !answered) {
            a->values[i] = from_environment(i);
        }
    }
    int wanted = a->values[OPT_STORE] != NULL ? 1 : 2;
    if (a->values[OPT_HELP] != NULL || a->values[OPT_VERSION] != NULL) {
        return LAMINA_OK;
    }
    if (argc - optind != wanted) {
        return base_fail(err, LAMINA_USAGE, "expected %s, found %d arguments; --help shows how",
                         wanted == 1 ? "SRC alone with --store" : "SRC and DST", argc - optind);
    }
    a->source = argv[optind];
    a->destination = wanted == 1 ? a->values[OPT_STORE] : argv[optind + 1];
    return LAMINA_OK;
}

static lamina_status number(const struct arguments *a, enum option_id option, uint64_t most, uint64_t *out,
                            struct lamina_error *err) {
    const char *text = a->values[option];
    if (text == NULL) {
        return LAMINA_OK;
    }
    char *end = NULL;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != 0 || value > most) {
        return base_fail(err, LAMINA_USAGE, "--%s %s: expected a number up to %llu", table[option].name, text,
                         (unsigned long long)most);
    }
    *out = value;
    return LAMINA_OK;
}

/* Preset, then flags, over the small model's own shape. */
static lamina_status read_shape(const struct arguments *a, struct inflate_shape *shape, struct lamina_error *err) {
    bool any = a->values[OPT_TIED] != NULL || a->values[OPT_UNTIED] != NULL;
    if (a->values[OPT_PRESET] != NULL) {
        any = true;
        if (!inflate_preset(a->values[OPT_PRESET], shape)) {
            return base_fail(err, LAMINA_USAGE, "--preset %s: expected 1b, 8b, 70b or 405b", a->values[OPT_PRESET]);
        }
    }
    const struct {
        enum option_id option;
        uint32_t *place;
    } flags[] = {{OPT_HIDDEN, &shape->hidden},     {OPT_LAYERS, &shape->layers},     {OPT_HEADS, &shape->heads},
                 {OPT_KV_HEADS, &shape->kv_heads}, {OPT_HEAD_DIM, &shape->head_dim}, {OPT_FFN, &shape->ffn},
                 {OPT_VOCAB, &shape->vocab}};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        uint64_t value = *flags[i].place;
        any |= a->values[flags[i].option] != NULL;
        LAMINA_TRY(number(a, flags[i].option, UINT32_MAX, &value, err));
        *flags[i].place = (uint32_t)value;
    }
    if (a->values[OPT_TIED] != NULL && a->values[OPT_UNTIED] != NULL) {
        return base_fail(err, LAMINA_USAGE, "--tied and --untied exclude each other");
    }
    shape->tied = a->values[OPT_TIED] != NULL || (a->values[OPT_UNTIED] == NULL && shape->tied);
    return any ? LAMINA_OK
               : base_fail(err, LAMINA_USAGE, "no shape given: use --preset 1b, 8b, 70b or 405b, or shape flags");
}

/* ---- progress ---- */

struct meter {
    bool quiet, tty, drawn;
    uint64_t last_ns;
};

static void draw(struct meter *m, const struct lamina_progress *p) {
    double seconds = (double)p->elapsed_ns * 1e-9;
    double made = (double)(p->done_bytes - p->resumed_bytes);
    double rate = seconds > 0 ? made / seconds : 0;
    double share = p->total_bytes > 0 ? (double)p->done_bytes / (double)p->total_bytes : 0;
    double left = rate > 0 && p->total_bytes >= p->done_bytes ? (double)(p->total_bytes - p->done_bytes) / rate : 0;
    if (m->tty) {
        char bar[31];
        for (size_t i = 0; i < 30; i++) {
            bar[i] = (double)i < share * 30 ? '#' : '.';
        }
        bar[30] = 0;
        (void)fprintf(stderr, "\r[%s] %5.1f%%  %.2f of %.2f GB  %.2f GB/s  %.0f s left \033[K", bar, share * 100,
                      (double)p->done_bytes * 1e-9, (double)p->total_bytes * 1e-9, rate * 1e-9, left);
        m->drawn = true;
    } else {
        (void)fprintf(stderr, "inflate: %.2f of %.2f GB, %.2f GB/s, %.0f s left\n", (double)p->done_bytes * 1e-9,
                      (double)p->total_bytes * 1e-9, rate * 1e-9, left);
    }
}

static bool on_progress(void *user, const struct lamina_progress *p) {
    struct meter *m = (struct meter *)user;
    uint64_t pause = m->tty ? UINT64_C(200000000) : UINT64_C(5000000000);
    if (!m->quiet && p->elapsed_ns >= m->last_ns + pause) {
        m->last_ns = p->elapsed_ns;
        draw(m, p);
    }
    return caught_signal != 0;
}

/* ---- the two products ---- */

static void say_size(const struct arguments *a, const struct inflate_shape *s, uint64_t bytes) {
    char text[32];
    if (a->values[OPT_QUIET] == NULL) {
        (void)fprintf(stderr,
                      "inflate: hidden %u, %u layers, %u heads (%u KV) of %u, FFN %u, vocabulary %u%s: %llu bytes "
                      "(%s)\n",
                      s->hidden, s->layers, s->heads, s->kv_heads, s->head_dim, s->ffn, s->vocab,
                      s->tied ? ", tied" : "", (unsigned long long)bytes, format_bytes(text, bytes));
    }
}

static lamina_status write_checkpoint(struct inflate *inf, const struct arguments *a, const struct lamina_callbacks *cb,
                                      struct lamina_error *err) {
    struct inflate_write_options o = {.directory = a->destination, .shard_bytes = UINT64_C(4) << 30, .callbacks = cb};
    const char *size = a->values[OPT_SHARD_SIZE];
    if (size != NULL && (!parse_bytes(size, &o.shard_bytes) || o.shard_bytes == 0)) {
        return base_fail(err, LAMINA_USAGE, "--shard-size %s: expected a size such as 4GiB", size);
    }
    uint64_t threads = 0;
    uint64_t bytes = 0;
    LAMINA_TRY(number(a, OPT_THREADS, 1024, &threads, err));
    o.threads = (uint32_t)threads;
    LAMINA_TRY(inflate_write_size(inf, &o, &bytes, err));
    say_size(a, &inf->pair.big, bytes);
    return inflate_write(inf, &o, err);
}

static lamina_status write_store(struct inflate *inf, const struct arguments *a, const struct lamina_callbacks *cb,
                                 struct lamina_error *err) {
    uint64_t distinct = 0;
    struct lamina_split_options o;
    lamina_split_defaults(&o);
    LAMINA_TRY(number(a, OPT_DISTINCT, UINT32_MAX, &distinct, err));
    LAMINA_TRY(inflate_as_source(inf, (uint32_t)distinct, &o.source, err));
    o.output = a->destination;
    o.callbacks = *cb;
    say_size(a, &inf->pair.big, inflate_bytes(inf, (uint32_t)distinct));
    return lamina_split(&o, NULL, err);
}

static lamina_status small_shape(const struct lamina_source *source, struct inflate_shape *shape,
                                 struct lamina_error *err) {
    char *json = NULL;
    size_t len = 0;
    struct inflate_config config;
    lamina_status status = source->file(source->user, "config.json", &json, &len, err);
    if (status == LAMINA_OK) {
        status = inflate_config_read(span_of(json, len), &config, err);
    }
    if (status == LAMINA_OK) {
        *shape = config.shape;
    }
    free(json);
    return status;
}

static lamina_status run(const struct arguments *a, struct meter *m, struct lamina_error *err) {
    struct lamina_source *source = NULL;
    struct inflate *inf = NULL;
    struct inflate_shape shape = {0};
    uint64_t seed = 0;
    struct lamina_callbacks callbacks = {.progress = on_progress, .user = m};
    if (a->values[OPT_DISTINCT] != NULL && a->values[OPT_STORE] == NULL) {
        return base_fail(err, LAMINA_USAGE, "--distinct-layers needs --store: a checkpoint holds every layer");
    }
    LAMINA_TRY(number(a, OPT_SEED, UINT64_MAX, &seed, err));
    LAMINA_TRY(lamina_source_open(&source, a->source, err));
    lamina_status status = small_shape(source, &shape, err);
    if (status == LAMINA_OK) {
        status = read_shape(a, &shape, err);
    }
    if (status == LAMINA_OK) {
        status = inflate_open(&inf, source, &shape, seed, err);
    }
    if (status == LAMINA_OK) {
        status = a->values[OPT_STORE] != NULL ? write_store(inf, a, &callbacks, err)
                                              : write_checkpoint(inf, a, &callbacks, err);
    }
    inflate_close(&inf);
    lamina_source_close(&source);
    return status;
}

int main(int argc, char **argv) {
    struct arguments a = {{0}, NULL, NULL};
    struct lamina_error err = {0};
    lamina_status status = parse_arguments(argc, argv, &a, &err);
    struct meter meter = {.quiet = a.values[OPT_QUIET] != NULL, .tty = isatty(STDERR_FILENO) == 1};
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    if (status == LAMINA_OK && a.values[OPT_HELP] != NULL) {
        print_help();
        return 0;
    }
    if (status == LAMINA_OK && a.values[OPT_VERSION] != NULL) {
        (void)printf("lamina-inflate %s\n", lamina_version());
        return 0;
    }
    if (status == LAMINA_OK) {
        status = run(&a, &meter, &err);
    }
    if (meter.drawn) {
        (void)fputc('\n', stderr);
    }
    if (status != LAMINA_OK) {
        (void)fprintf(stderr, "lamina-inflate: %s\n", err.message[0] != 0 ? err.message : lamina_status_text(status));
        return status == LAMINA_INTERRUPTED && caught_signal == SIGTERM ? 143 : -status;
    }
    return 0;
}
