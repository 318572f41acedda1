/* SPDX-License-Identifier: Apache-2.0
 *
 * Is a codec that rounds weights worth it? Its speed is set against that of the first exact codec of the matrix, configuration by
 * configuration, and its quality against the same codec's: tasks figure against figure, perplexity by the ratio that lamina kl
 * measures token by token. A perplexity that falls is a change like one that rises: coarse weights may well foretell a text
 * better that the model was never made for. The rule stands beside every answer.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/cli/bench.h"

const char *const bench_loss_name[BENCH_LOSSES] = {"accuracy", "rouge_l", "bleu", "perplexity"};
static const char *const loss_words[BENCH_LOSSES] = {"accuracy", "ROUGE-L", "BLEU", "perplexity"};

/* ---- losses ---- */

/* The first row of the first exact codec; `judged`: one with figures of quality where there is one. */
static const struct bench_row *exact_row(const struct bench_rows *rows, bool judged) {
    const struct bench_row *first = NULL;
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct bench_row *row = &rows->row[i];
        bool has = bench_known(row->of_text.ppl) || bench_known(row->of_tasks.accuracy);
        if (row->status == 0 && bench_is_exact(row) && (first == NULL || strcmp(first->codec, row->codec) == 0)) {
            if (judged && has) {
                return row;
            }
            first = first == NULL ? row : first;
        }
    }
    return first;
}

/* NaN where there is nothing to lose. */
static double less(double exact, double rounded) {
    return exact > 0.0 ? (exact - rounded) / exact : NAN;
}

static void fill_losses(const struct bench_row *row, const struct bench_row *exact, struct bench_verdict *v) {
    const struct bench_of_tasks *t = &row->of_tasks;
    for (int i = 0; i < BENCH_LOSSES; i++) {
        v->loss[i] = NAN;
        v->error[i] = NAN;
    }
    if (exact != NULL) {
        const struct bench_of_tasks *e = &exact->of_tasks;
        v->loss[BENCH_LOSS_ACCURACY] = less(e->accuracy, t->accuracy);
        v->error[BENCH_LOSS_ACCURACY] = hypot(e->accuracy_error, t->accuracy_error) / e->accuracy;
        v->loss[BENCH_LOSS_ROUGE] = less(e->rouge_l, t->rouge_l);
        v->loss[BENCH_LOSS_BLEU] = less(e->bleu, t->bleu);
        v->loss[BENCH_LOSS_PPL] = fabs(row->of_text.ppl / exact->of_text.ppl - 1.0);
    }
    if (bench_known(row->of_text.ppl_ratio)) { /* also where no exact codec is in the matrix */
        v->loss[BENCH_LOSS_PPL] = fabs(row->of_text.ppl_ratio - 1.0);
        v->error[BENCH_LOSS_PPL] = row->of_text.ppl_ratio_error;
    }
    v->worst = BENCH_LOSSES;
    for (int i = 0; i < BENCH_LOSSES; i++) {
        if (bench_known(v->loss[i]) && (v->worst == BENCH_LOSSES || v->loss[i] > v->loss[v->worst])) {
            v->worst = (enum bench_loss)i;
        }
    }
}

double bench_loss_of(const struct bench_result *b, const struct bench_row *row) {
    struct bench_verdict v;
    fill_losses(row, exact_row(b->rows, true), &v);
    return v.worst < BENCH_LOSSES ? v.loss[v.worst] : NAN;
}

/* ---- gain ---- */

static bool same_but_codec(const struct bench_row *a, const struct bench_row *b) {
    return strcmp(a->storage, b->storage) == 0 && strcmp(a->memory, b->memory) == 0 && strcmp(a->read_ahead, b->read_ahead) == 0 &&
           a->threads == b->threads && strcmp(a->test, b->test) == 0;
}

static const struct bench_row *partner(const struct bench_rows *rows, const char *codec, const struct bench_row *row) {
    for (uint32_t i = 0; i < rows->count; i++) {
        if (rows->row[i].status == 0 && strcmp(rows->row[i].codec, codec) == 0 && same_but_codec(&rows->row[i], row)) {
            return &rows->row[i];
        }
    }
    return NULL;
}

static int compare(const void *x, const void *y) {
    double a = *(const double *)x;
    double b = *(const double *)y;
    return (a > b) - (a < b);
}

/* Over all configurations that have a test of this kind in both codecs. */
static void fill_gain(const struct bench_rows *rows, const char *kind, struct bench_verdict *v) {
    double gain[BENCH_MOST_CELLS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows->count && count < BENCH_MOST_CELLS; i++) {
        const struct bench_row *row = &rows->row[i];
        if (row->status != 0 || strcmp(row->codec, v->row->codec) != 0 || strncmp(row->test, kind, 2) != 0) {
            continue;
        }
        const struct bench_row *exact = partner(rows, v->against->codec, row);
        if (exact != NULL && bench_median(&exact->tokens_per_s) > 0.0) {
            v->test = row->test;
            gain[count++] = bench_median(&row->tokens_per_s) / bench_median(&exact->tokens_per_s);
        }
    }
    if (count > 0) {
        qsort(gain, count, sizeof(*gain), compare);
        v->gain = count % 2 == 1 ? gain[count / 2] : (gain[count / 2 - 1] + gain[count / 2]) / 2.0;
        v->gain_low = gain[0];
        v->gain_high = gain[count - 1];
    }
    v->pairs = count;
}

/* ---- the verdict ---- */

static bool is_first_of_codec(const struct bench_rows *rows, uint32_t index) {
    bool first = rows->row[index].status == 0;
    for (uint32_t i = 0; i < index && first; i++) {
        first = rows->row[i].status != 0 || strcmp(rows->row[i].codec, rows->row[index].codec) != 0;
    }
    return first;
}

uint32_t bench_verdicts(const struct bench_result *b, struct bench_verdict out[BENCH_MOST_VALUES]) {
    const struct bench_rows *rows = b->rows;
    const struct bench_row *exact = exact_row(rows, true);
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows->count && count < BENCH_MOST_VALUES; i++) {
        if (bench_is_exact(&rows->row[i]) || !is_first_of_codec(rows, i)) {
            continue;
        }
        struct bench_verdict *v = &out[count++];
        *v = (struct bench_verdict){.row = &rows->row[i], .against = exact, .test = "", .gain = NAN, .gain_low = NAN,
                                    .gain_high = NAN, .worth = -1};
        fill_losses(v->row, exact, v);
        if (exact != NULL) {
            fill_gain(rows, "tg", v);
            if (v->pairs == 0) {
                fill_gain(rows, "pp", v);
            }
        }
        if (v->pairs > 0 && v->worst < BENCH_LOSSES) {
            v->worth = v->gain > b->min_gain && v->loss[v->worst] < b->max_loss;
        }
    }
    return count;
}

static void gain_words(const struct bench_result *b, const struct bench_verdict *v, struct str *out) {
    str_printf(out, "%.3gx the tokens/s of %s in %s (%s than %.4gx", v->gain, v->against->codec, v->test,
               v->gain > b->min_gain ? "more" : "not more", b->min_gain);
    if (v->pairs > 1) {
        str_printf(out, "; %.3gx to %.3gx over %u configurations", v->gain_low, v->gain_high, v->pairs);
    }
    str_add_text(out, ")");
}

static void loss_words_of(const struct bench_result *b, const struct bench_verdict *v, struct str *out) {
    double worst = v->loss[v->worst];
    double error = v->error[v->worst];
    uint32_t count = 0;
    for (int i = 0; i < BENCH_LOSSES; i++) {
        if (bench_known(v->loss[i])) {
            str_printf(out, "%s %s %.3g %%", count == 0 ? ", loss of" : ",", loss_words[i], 100.0 * v->loss[i]);
            count++;
        }
    }
    str_printf(out, " (%s%sless than %.4g %%)", count > 1 ? "the largest is " : "", worst < b->max_loss ? "" : "not ",
               100.0 * b->max_loss);
    if (error >= fabs(worst - b->max_loss)) {
        str_printf(out, ", though its standard error is %.2g %%: more tasks or text would tell", 100.0 * error);
    }
}

void bench_verdict_words(const struct bench_result *b, const struct bench_verdict *v, struct str *out) {
    str_printf(out, "%s: ", v->row->codec);
    if (v->against == NULL) {
        str_add_text(out, "not judged, because no exact codec was measured beside it; add planes to --matrix codec=");
        if (v->worst < BENCH_LOSSES) {
            loss_words_of(b, v, out);
        }
        str_add_text(out, ".");
        return;
    }
    if (v->pairs == 0) {
        str_printf(out, "not judged, because no configuration was measured with both it and %s.", v->against->codec);
        return;
    }
    gain_words(b, v, out);
    if (v->worst == BENCH_LOSSES) {
        str_add_text(out, ": not judged, because what it loses was not measured; give --tasks or --text.");
        return;
    }
    loss_words_of(b, v, out);
    str_add_text(out, v->worth > 0 ? ": worth it." : ": not worth it.");
}

void bench_verdict_rule(const struct bench_result *b, struct str *out) {
    str_printf(out, "Verdict rule: a codec that rounds weights is worth it when it makes more than %.4gx the tokens per second of "
                    "the first exact codec of the matrix in the same configuration (the median of all), ", b->min_gain);
    str_printf(out, "and when the largest of its measured losses, relative to that codec, of accuracy, ROUGE-L and BLEU (--tasks) "
                    "and perplexity (--text, up or down) is less than %.4g %%. --min-gain and --max-loss set the two.",
               100.0 * b->max_loss);
}
