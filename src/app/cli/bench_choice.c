/* SPDX-License-Identifier: Apache-2.0
 *
 * Which configuration to choose, by a rule that stands beside the answer. Only what was measured counts.
 */
#include <math.h>
#include <string.h>

#include "app/cli/bench.h"

static const double AS_FAST = 0.95;    /* of the fastest */
static const double AS_GOOD = 1.01;    /* times the best perplexity */

const char bench_rule[] =
    "Rule: among configurations whose answers are exact (codecs raw and planes) or whose measured perplexity is at most 1 % above "
    "the best one, those within 5 % of the most tokens per second count as equally fast (token by token, or in prompts where "
    "nothing else was measured). Of these the one with the smallest peak memory is chosen, then the smallest store, then the "
    "shortest cold start.";

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
        part(out, begin, "", row->codec);
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

static bool is_exact(const struct bench_row *row) {
    return strcmp(row->codec, "raw") == 0 || strcmp(row->codec, "planes") == 0;
}

static double best_perplexity(const struct bench_rows *rows) {
    double best = INFINITY;
    for (uint32_t i = 0; i < rows->count; i++) {
        best = fmin(best, rows->row[i].ppl); /* fmin passes over NaN */
    }
    return best;
}

/* Rows of the test that counts: token by token where it was measured. */
static bool counts(const struct bench_row *row, const char *kind, double best) {
    return row->status == 0 && strncmp(row->test, kind, 2) == 0 && (is_exact(row) || row->ppl <= best * AS_GOOD);
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
                                          : "neither reading nor computing (sampling, waking threads, small steps)";
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
        str_add_text(why, ", and no other comes within 5 % of it");
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
static void add_unjudged(const struct bench_rows *rows, struct str *why) {
    const char *last = "";
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct bench_row *row = &rows->row[i];
        if (row->status == 0 && !is_exact(row) && !bench_known(row->ppl) && strcmp(row->codec, last) != 0) {
            str_printf(why, " Not considered: %s, whose perplexity was not measured.", row->codec);
            last = row->codec;
        }
    }
}

const struct bench_row *bench_choose(const struct bench_result *b, struct str *why) {
    const struct bench_rows *rows = b->rows;
    double best = best_perplexity(rows);
    const struct bench_row *fastest = NULL;
    const struct bench_row *chosen = NULL;
    const char *kind = "pp";
    uint32_t equals = 0;
    for (uint32_t i = 0; i < rows->count; i++) {
        kind = counts(&rows->row[i], "tg", best) ? "tg" : kind;
    }
    for (uint32_t i = 0; i < rows->count; i++) {
        if (counts(&rows->row[i], kind, best) && (fastest == NULL || speed(&rows->row[i]) > speed(fastest))) {
            fastest = &rows->row[i];
        }
    }
    if (fastest == NULL) {
        str_add_text(why, "No configuration can be chosen: none was measured whose answers are known to be as good.");
        add_unjudged(rows, why);
        return NULL;
    }
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct bench_row *row = &rows->row[i];
        if (counts(row, kind, best) && speed(row) >= AS_FAST * speed(fastest)) {
            equals++;
            chosen = chosen == NULL || is_smaller(row, chosen) ? row : chosen;
        }
    }
    explain(b, chosen, fastest, equals, why);
    add_unjudged(rows, why);
    return chosen;
}
