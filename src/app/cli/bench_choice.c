/* SPDX-License-Identifier: Apache-2.0
 *
 * Which configuration to choose on each storage, by a rule that stands beside the answer. Only what was measured counts.
 */
#include <math.h>
#include <string.h>

#include "app/cli/bench.h"

static const double AS_FAST = 0.95; /* of the fastest */

void bench_rule_words(const struct bench_result *b, struct str *out) {
    str_printf(out, "Rule: among configurations whose answers are exact (codecs raw and planes) or whose measured loss is less "
                    "than %.4g %% (--max-loss), those within 5 %% of the most tokens per second count as equally fast (token by "
                    "token, or in prompts where nothing else was measured). ", 100.0 * b->max_loss);
    str_add_text(out, "Of these the one with the smallest peak memory is chosen, then the smallest store, then the shortest cold "
                      "start.");
}

bool bench_first_of_cell(const struct bench_rows *rows, uint32_t index) {
    const struct bench_row *row = &rows->row[index];
    const struct bench_row *before = index > 0 ? row - 1 : NULL;
    /* Tests of a cell are neighbours and share all that describes it. */
    return before == NULL || strcmp(row->codec, before->codec) != 0 || strcmp(row->storage, before->storage) != 0 ||
           strcmp(row->memory, before->memory) != 0 || strcmp(row->read_ahead, before->read_ahead) != 0 ||
           row->threads != before->threads || row->status != 0;
}

static void part(struct str *out, size_t begin, const char *name, const char *value) {
    str_printf(out, "%s%s%s", out->len > begin ? ", " : "", name, value);
}

void bench_row_words(const struct bench_result *b, const struct bench_row *row, struct str *out) {
    const struct bench_matrix *m = b->matrix;
    size_t begin = out->len;
    char threads[32];
    if (m->count[BENCH_CODEC] > 1 || m->cells == 1) {
        part(out, begin, "", row->codec[0] != '\0' ? row->codec : "the one configuration");
    }
    if (m->count[BENCH_STORAGE] > 1) {
        part(out, begin, "", row->storage);
    }
    if (m->count[BENCH_MEMORY] > 1) {
        part(out, begin, "", row->memory);
    }
    if (m->count[BENCH_READ_AHEAD] > 1) {
        part(out, begin, "read-ahead ", row->read_ahead);
    }
    if (m->count[BENCH_THREADS] > 1) {
        (void)snprintf(threads, sizeof(threads), "%llu threads", (unsigned long long)row->threads);
        part(out, begin, "", threads);
    }
}

bool bench_is_exact(const struct bench_row *row) {
    return strcmp(row->codec, "raw") == 0 || strcmp(row->codec, "planes") == 0;
}

/* What is to be chosen among. */
struct choosing {
    const struct bench_result *b;
    const char *storage; /* "": there is one */
    const char *kind;    /* of the test that counts: token by token where it was measured */
};

static bool counts(const struct choosing *c, const struct bench_row *row, const char *kind) {
    const struct bench_result *b = c->b;
    bool here = row->status == 0 && strcmp(row->storage, c->storage) == 0 && strncmp(row->test, kind, 2) == 0;
    return here && (bench_is_exact(row) || bench_loss_of(b, row) < b->max_loss);
}

static double speed(const struct bench_row *row) {
    return bench_median(&row->tokens_per_s);
}

/* Is a the better one of two that are as fast? */
static bool is_smaller(const struct bench_row *a, const struct bench_row *b) {
    if (a->peak_memory_bytes != b->peak_memory_bytes) {
        return a->peak_memory_bytes < b->peak_memory_bytes;
    }
    if (a->store_bytes != b->store_bytes) {
        return a->store_bytes < b->store_bytes;
    }
    return a->cold_start_s < b->cold_start_s;
}

static void add_stage(const struct bench_row *row, struct str *why) {
    double read = bench_median(&row->read_wait_s);
    double check = bench_median(&row->decode_s);
    double compute = bench_median(&row->compute_s);
    double other = bench_median(&row->other_s);
    double sum = read + check + compute + other;
    double most = fmax(fmax(read, check), fmax(compute, other));
    if (!(sum > 0.0)) {
        return;
    }
    const char *words = most == read      ? "waiting for the drive"
                        : most == compute ? "computing"
                        : most == check   ? "checking what was read"
                                          : "neither reading nor computing (waiting for each other, sampling, small steps)";
    str_printf(why, " Most of its time, %.0f %%, goes to %s", 100.0 * most / sum, words);
    if (bench_known(bench_share(row))) {
        str_printf(why, "; it reads at %.0f %% of the drive's limit", 100.0 * bench_share(row));
    }
    str_add_text(why, ".");
}

static void explain(const struct bench_result *b, const struct bench_row *chosen, const struct bench_row *fastest, uint32_t equals,
                    struct str *why) {
    char peak[32];
    str_add_text(why, "Choose ");
    bench_row_words(b, chosen, why);
    str_printf(why, ": %s runs at %.4g tokens per second", chosen->test, speed(chosen));
    if (b->matrix->cells == 1) {
        str_add_text(why, "; it is the only configuration");
    } else if (equals == 1) {
        str_printf(why, ", and no other%s comes within 5 %% of it", b->matrix->count[BENCH_STORAGE] > 1 ? " there" : "");
    } else {
        str_printf(why, ", %u configurations are within 5 %% of the fastest", equals);
        if (chosen != fastest) {
            str_add_text(why, " (");
            bench_row_words(b, fastest, why);
            str_printf(why, ": %.4g)", speed(fastest));
        }
        str_printf(why, ", and of these its peak memory of %s is the smallest", format_bytes(peak, chosen->peak_memory_bytes));
    }
    str_add_text(why, ".");
    add_stage(chosen, why);
}

/* Codecs that could not be judged are named: their rows may look faster. */
static void add_unjudged(const struct choosing *c, struct str *why) {
    const struct bench_rows *rows = c->b->rows;
    const char *last = "";
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct bench_row *row = &rows->row[i];
        bool here = row->status == 0 && strcmp(row->storage, c->storage) == 0;
        if (here && !bench_is_exact(row) && !bench_known(bench_loss_of(c->b, row)) && strcmp(row->codec, last) != 0) {
            str_printf(why, " Not considered: %s, whose loss was not measured.", row->codec);
            last = row->codec;
        }
    }
}

static const struct bench_row *choose(struct choosing *c, struct str *why) {
    const struct bench_rows *rows = c->b->rows;
    const struct bench_row *fastest = NULL;
    const struct bench_row *chosen = NULL;
    uint32_t equals = 0;
    for (uint32_t i = 0; i < rows->count; i++) {
        c->kind = counts(c, &rows->row[i], "tg") ? "tg" : c->kind;
    }
    for (uint32_t i = 0; i < rows->count; i++) {
        if (counts(c, &rows->row[i], c->kind) && (fastest == NULL || speed(&rows->row[i]) > speed(fastest))) {
            fastest = &rows->row[i];
        }
    }
    for (uint32_t i = 0; i < rows->count && fastest != NULL; i++) {
        const struct bench_row *row = &rows->row[i];
        if (counts(c, row, c->kind) && speed(row) >= AS_FAST * speed(fastest)) {
            equals++;
            chosen = chosen == NULL || is_smaller(row, chosen) ? row : chosen;
        }
    }
    if (chosen != NULL) {
        explain(c->b, chosen, fastest, equals, why);
    }
    return chosen;
}

const struct bench_row *bench_choose(const struct bench_result *b, uint32_t storage, struct str *why) {
    const char *value = b->matrix->value[BENCH_STORAGE][storage];
    struct choosing c = {.b = b, .storage = value != NULL ? value : "", .kind = "pp"};
    const struct bench_row *chosen = choose(&c, why);
    if (chosen == NULL) {
        str_printf(why, "No configuration can be chosen%s%s: none was measured whose answers are known to be as good.",
                   b->matrix->count[BENCH_STORAGE] > 1 ? " for " : "", b->matrix->count[BENCH_STORAGE] > 1 ? c.storage : "");
    }
    add_unjudged(&c, why);
    return chosen;
}
