/* SPDX-License-Identifier: Apache-2.0
 *
 * The columns that people see, the text table, and the JSON document. Times of stages are per token, so that a prompt and a
 * token can stand under one heading.
 */
#include <math.h>
#include <string.h>

#include "app/cli/bench.h"

/* ---- columns ---- */

static void seconds(struct str *out, double value) {
    char text[32];
    str_add_text(out, bench_known(value) ? cli_seconds(text, value) : "");
}

static void bytes(struct str *out, uint64_t value) {
    char text[32];
    str_add_text(out, value != UINT64_MAX ? format_bytes(text, value) : "");
}

static void figure(struct str *out, double value, double factor, const char *after) {
    if (bench_known(value)) {
        str_printf(out, "%.4g%s", value * factor, after);
    }
}

static void per_token(struct str *out, const struct bench_row *row, const struct bench_series *s) {
    seconds(out, row->tokens > 0 && row->tokens != UINT64_MAX ? bench_median(s) / (double)row->tokens : NAN);
}

static void col_codec(const struct bench_row *r, struct str *out) {
    str_add_text(out, r->codec);
}
static void col_storage(const struct bench_row *r, struct str *out) {
    str_add_text(out, r->storage);
}
static void col_memory(const struct bench_row *r, struct str *out) {
    str_add_text(out, r->memory);
}
static void col_read_ahead(const struct bench_row *r, struct str *out) {
    str_add_text(out, r->read_ahead);
}
static void col_threads(const struct bench_row *r, struct str *out) {
    if (r->threads != UINT64_MAX) {
        str_printf(out, "%llu", (unsigned long long)r->threads);
    }
}
static void col_test(const struct bench_row *r, struct str *out) {
    str_add_text(out, r->status != 0 ? "failed" : r->test);
}
static void col_speed(const struct bench_row *r, struct str *out) {
    double low = 0.0;
    double high = 0.0;
    if (bench_range(&r->tokens_per_s, &low, &high)) {
        str_printf(out, "%.4g (%.4g-%.4g)", bench_median(&r->tokens_per_s), low, high);
    }
}
static void col_rate(const struct bench_row *r, struct str *out) {
    char text[32];
    double rate = bench_median(&r->disk_bytes_per_s);
    str_add_text(out, bench_known(rate) ? cli_rate(text, rate) : "");
}
static void col_limit(const struct bench_row *r, struct str *out) {
    char text[32];
    str_add_text(out, bench_known(r->disk_limit_bytes_per_s) ? cli_rate(text, r->disk_limit_bytes_per_s) : "");
}
static void col_share(const struct bench_row *r, struct str *out) {
    double share = bench_share(r);
    if (bench_known(share)) {
        str_printf(out, "%.0f %%", 100.0 * share);
    }
}
static void col_idle(const struct bench_row *r, struct str *out) {
    double wall = (double)r->tokens / bench_median(&r->tokens_per_s);
    double idle = bench_median(&r->drive_idle_s);
    if (bench_known(idle) && bench_known(wall)) {
        str_printf(out, "%.1f %%", 100.0 * idle / wall);
    }
}
static void col_read_wait(const struct bench_row *r, struct str *out) {
    per_token(out, r, &r->read_wait_s);
}
static void col_decode(const struct bench_row *r, struct str *out) {
    per_token(out, r, &r->decode_s);
}
static void col_compute(const struct bench_row *r, struct str *out) {
    per_token(out, r, &r->compute_s);
}
static void col_other(const struct bench_row *r, struct str *out) {
    per_token(out, r, &r->other_s);
}
static void col_peak(const struct bench_row *r, struct str *out) {
    bytes(out, r->peak_memory_bytes);
}
static void col_ttft_cold(const struct bench_row *r, struct str *out) {
    seconds(out, r->ttft_cold_s);
}
static void col_ttft_warm(const struct bench_row *r, struct str *out) {
    double low = 0.0;
    double high = 0.0;
    seconds(out, bench_median(&r->ttft_warm_s));
    if (bench_range(&r->ttft_warm_s, &low, &high)) {
        str_add_text(out, " (");
        seconds(out, low);
        str_add_text(out, " to ");
        seconds(out, high);
        str_add_text(out, ")");
    }
}
static void col_cold_start(const struct bench_row *r, struct str *out) {
    seconds(out, r->cold_start_s);
}
/* "4.1 s (now)": when the store was split; a store that was there is said so. */
static void col_split(const struct bench_row *r, struct str *out) {
    seconds(out, r->split_s);
    if (r->split[0] != '\0') {
        str_printf(out, "%s%s", bench_known(r->split_s) ? " " : "", strcmp(r->split, "now") == 0       ? "(now)"
                                                                   : strcmp(r->split, "earlier") == 0 ? "(earlier; store reused)"
                                                                   : strcmp(r->split, "given") == 0   ? "store given"
                                                                   : strcmp(r->split, "unslowed") == 0 ? "not at this rate"
                                                                                                      : "store reused");
    }
}
static void col_load(const struct bench_row *r, struct str *out) {
    seconds(out, r->load_s);
}
static void col_bits(const struct bench_row *r, struct str *out) {
    figure(out, r->bits_per_weight, 1.0, "");
}
static void col_store(const struct bench_row *r, struct str *out) {
    bytes(out, r->store_bytes);
}
static void col_ppl(const struct bench_row *r, struct str *out) {
    figure(out, r->of_text.ppl, 1.0, "");
    if (bench_known(r->of_text.ppl_error)) {
        str_printf(out, " +- %.2g", r->of_text.ppl_error);
    }
}
static void col_kl(const struct bench_row *r, struct str *out) {
    figure(out, r->of_text.kl, 1.0, "");
    if (bench_known(r->of_text.kl_error)) {
        str_printf(out, " +- %.2g", r->of_text.kl_error);
    }
}
static void col_top1(const struct bench_row *r, struct str *out) {
    figure(out, r->of_text.top1, 100.0, " %");
}

static void col_ratio(const struct bench_row *r, struct str *out) {
    figure(out, r->of_text.ppl_ratio, 1.0, "");
    if (bench_known(r->of_text.ppl_ratio_error)) {
        str_printf(out, " +- %.2g", r->of_text.ppl_ratio_error);
    }
}
static void col_by_length(const struct bench_row *r, struct str *out) {
    if (bench_known(r->of_tasks.accuracy_norm)) {
        str_printf(out, "%.1f %% of %llu", 100.0 * r->of_tasks.accuracy_norm, (unsigned long long)r->of_tasks.choice_tasks);
    }
}
static void col_rouge(const struct bench_row *r, struct str *out) {
    if (bench_known(r->of_tasks.rouge_l)) {
        str_printf(out, "%.4f", r->of_tasks.rouge_l);
    }
}
static void col_bleu(const struct bench_row *r, struct str *out) {
    if (bench_known(r->of_tasks.bleu)) {
        str_printf(out, "%.2f", r->of_tasks.bleu);
    }
}
static void col_tasks(const struct bench_row *r, struct str *out) {
    if (bench_known(r->of_tasks.accuracy)) {
        str_printf(out, "%.1f %% of %llu", 100.0 * r->of_tasks.accuracy, (unsigned long long)r->of_tasks.tasks);
    }
    if (bench_known(r->of_tasks.accuracy_error)) {
        str_printf(out, " +- %.1f", 100.0 * r->of_tasks.accuracy_error);
    }
}

#define BOTH (BENCH_OF_TEST | BENCH_OF_CELL)
static const struct bench_column all_columns[] = {
    {"codec", BOTH | BENCH_OF_CODEC, false, col_codec},
    {"storage", BOTH, false, col_storage},
    {"memory", BOTH, true, col_memory},
    {"read-ahead", BOTH, false, col_read_ahead},
    {"threads", BOTH, true, col_threads},
    {"test", BENCH_OF_TEST, false, col_test},
    {"tokens/s (range)", BENCH_OF_TEST, true, col_speed},
    {"disk", BENCH_OF_TEST, true, col_rate},
    {"limit", BENCH_OF_TEST, true, col_limit},
    {"of limit", BENCH_OF_TEST, true, col_share},
    {"drive idle", BENCH_OF_TEST, true, col_idle},
    {"read wait/token", BENCH_OF_TEST, true, col_read_wait},
    {"check", BENCH_OF_TEST, true, col_decode},
    {"compute", BENCH_OF_TEST, true, col_compute},
    {"other", BENCH_OF_TEST, true, col_other},
    {"peak memory", BENCH_OF_CELL, true, col_peak},
    {"first token, cold", BENCH_OF_CELL, true, col_ttft_cold},
    {"warm (range)", BENCH_OF_CELL, true, col_ttft_warm},
    {"load", BENCH_OF_CELL, true, col_load},
    {"split", BENCH_OF_CELL, false, col_split},
    {"cold start", BENCH_OF_CELL, true, col_cold_start},
    {"store", BENCH_OF_CELL | BENCH_OF_CODEC, true, col_store},
    {"bits/weight", BENCH_OF_CELL | BENCH_OF_CODEC, true, col_bits},
    {"perplexity", BENCH_OF_CODEC, true, col_ppl},
    {"of exact", BENCH_OF_CODEC, true, col_ratio},
    {"KL, nats", BENCH_OF_CODEC, true, col_kl},
    {"same top token", BENCH_OF_CODEC, true, col_top1},
    {"tasks right", BENCH_OF_CODEC, true, col_tasks},
    {"by length", BENCH_OF_CODEC, true, col_by_length},
    {"ROUGE-L", BENCH_OF_CODEC, true, col_rouge},
    {"BLEU", BENCH_OF_CODEC, true, col_bleu},
};

static bool says_something(const struct bench_column *c, const struct bench_rows *rows) {
    struct str text = {0};
    for (uint32_t i = 0; i < rows->count && text.len == 0; i++) {
        c->text(&rows->row[i], &text);
    }
    bool any = text.len > 0;
    str_drop(&text);
    return any;
}

uint32_t bench_columns(const struct bench_result *b, int table, const struct bench_column *out[BENCH_MOST_COLUMNS]) {
    uint32_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(all_columns) && count < BENCH_MOST_COLUMNS; i++) {
        const struct bench_column *c = &all_columns[i];
        bool plain = (c->text == col_read_ahead && !b->matrix->given[BENCH_READ_AHEAD]) ||
                     (c->text == col_threads && !b->matrix->given[BENCH_THREADS]);
        if ((c->table & table) != 0 && !plain && says_something(c, b->rows)) {
            out[count++] = c;
        }
    }
    return count;
}

static bool is_judged(const struct bench_row *row) {
    return row->status == 0 && (bench_known(row->of_text.ppl) || bench_known(row->of_tasks.accuracy));
}

bool bench_any_judged(const struct bench_rows *rows) {
    bool any = false;
    for (uint32_t i = 0; i < rows->count; i++) {
        any = any || is_judged(&rows->row[i]);
    }
    return any;
}

static bool first_judged_of_codec(const struct bench_rows *rows, uint32_t index) {
    bool first = is_judged(&rows->row[index]);
    for (uint32_t i = 0; i < index && first; i++) {
        first = !is_judged(&rows->row[i]) || strcmp(rows->row[i].codec, rows->row[index].codec) != 0;
    }
    return first;
}

bool bench_in_table(const struct bench_result *b, int table, uint32_t row) {
    if (table == BENCH_OF_CODEC) {
        return first_judged_of_codec(b->rows, row);
    }
    return table == BENCH_OF_TEST || (b->rows->row[row].status == 0 && bench_first_of_cell(b->rows, row));
}

/* ---- the table ---- */

static void add_padded(struct str *out, const char *text, size_t len, size_t width, bool number) {
    for (size_t i = len; number && i < width; i++) {
        str_add_byte(out, ' ');
    }
    str_add(out, text, len);
    for (size_t i = len; !number && i < width; i++) {
        str_add_byte(out, ' ');
    }
}

static void cell_text(const struct bench_column *c, const struct bench_row *row, struct str *out) {
    struct str raw = {0};
    str_clear(out);
    c->text(row, &raw);
    cli_safe_text(out, str_text(&raw), raw.len);
    str_drop(&raw);
}

/* row NULL: the names. */
static void table_line(const struct bench_column *const *column, const size_t *width, uint32_t count, const struct bench_row *row,
                       struct str *out) {
    struct str text = {0};
    for (uint32_t i = 0; i < count; i++) {
        if (row != NULL) {
            cell_text(column[i], row, &text);
        } else {
            str_clear(&text);
            str_add_text(&text, column[i]->name);
        }
        str_add_text(out, i == 0 ? "| " : " | ");
        add_padded(out, str_text(&text), text.len, width[i], column[i]->number);
    }
    str_add_text(out, " |\n");
    str_drop(&text);
}

static void table_rule(const struct bench_column *const *column, const size_t *width, uint32_t count, struct str *out) {
    for (uint32_t i = 0; i < count; i++) {
        str_add_text(out, "| ");
        for (size_t k = 0; k + 1 < width[i]; k++) {
            str_add_byte(out, '-');
        }
        str_add_text(out, column[i]->number ? ": " : "- ");
    }
    str_add_text(out, "|\n");
}

void bench_machine_words(const struct bench_result *b, struct str *out) {
    const struct lamina_machine *m = &b->machine;
    char memory[32];
    str_printf(out, "%s, %u cores, %s, %s, %s, lamina %s", m->cpu, m->cores, m->isa, format_bytes(memory, m->memory_total_bytes),
               m->kernel, lamina_version());
}

static void add_failures(const struct bench_result *b, struct str *out) {
    for (uint32_t i = 0; i < b->rows->count; i++) {
        const struct bench_row *row = &b->rows->row[i];
        if (row->status != 0) {
            str_add_text(out, "failed: ");
            bench_row_words(b, row, out);
            str_add_text(out, ": ");
            cli_safe_text(out, row->error, strlen(row->error));
            str_add_text(out, "\n\n");
        }
    }
}

static void one_table(const struct bench_result *b, int table, struct str *out) {
    const struct bench_column *column[BENCH_MOST_COLUMNS];
    size_t width[BENCH_MOST_COLUMNS] = {0};
    struct str text = {0};
    uint32_t count = bench_columns(b, table, column);
    for (uint32_t i = 0; i < count; i++) {
        width[i] = strlen(column[i]->name);
        for (uint32_t k = 0; k < b->rows->count; k++) {
            cell_text(column[i], &b->rows->row[k], &text);
            width[i] = text.len > width[i] ? text.len : width[i];
        }
    }
    table_line(column, width, count, NULL, out);
    table_rule(column, width, count, out);
    for (uint32_t k = 0; k < b->rows->count; k++) {
        if (bench_in_table(b, table, k)) {
            table_line(column, width, count, &b->rows->row[k], out);
        }
    }
    str_add_text(out, "\n");
    str_drop(&text);
}

static void add_verdicts(const struct bench_result *b, struct str *out) {
    struct bench_verdict verdict[BENCH_MOST_VALUES];
    uint32_t count = bench_verdicts(b, verdict);
    for (uint32_t i = 0; i < count; i++) {
        bench_verdict_words(b, &verdict[i], out);
        str_add_text(out, "\n");
    }
    if (count > 0) {
        bench_verdict_rule(b, out);
        str_add_text(out, "\n\n");
    }
}

bool bench_any_good(const struct bench_rows *rows) {
    bool any = false;
    for (uint32_t i = 0; i < rows->count; i++) {
        any = any || rows->row[i].status == 0;
    }
    return any;
}

void bench_table(const struct bench_result *b, struct str *out) {
    one_table(b, BENCH_OF_TEST, out);
    if (bench_any_good(b->rows)) {
        one_table(b, BENCH_OF_CELL, out);
    }
    if (bench_any_judged(b->rows)) {
        one_table(b, BENCH_OF_CODEC, out);
    }
    add_failures(b, out);
    for (uint32_t i = 0; i < b->matrix->count[BENCH_STORAGE]; i++) {
        (void)bench_choose(b, i, out);
        str_add_text(out, "\n");
    }
    bench_rule_words(b, out);
    str_add_text(out, "\n\n");
    add_verdicts(b, out);
    bench_machine_words(b, out);
    str_printf(out, "; %s; medians of %u\n", b->date, b->repeats);
}

/* ---- JSON ---- */

static void text_member(struct str *out, const char *name, const char *value) {
    str_printf(out, "\"%s\": ", name);
    json_write_string(out, span_of_text(value));
    str_add_text(out, ", ");
}

static void verdicts_json(const struct bench_result *b, struct str *out) {
    struct bench_verdict verdict[BENCH_MOST_VALUES];
    struct str words = {0};
    uint32_t count = bench_verdicts(b, verdict);
    str_add_text(out, "\"verdicts\": [");
    for (uint32_t i = 0; i < count; i++) {
        const struct bench_verdict *v = &verdict[i];
        str_add_text(out, i > 0 ? ", {" : "{");
        text_member(out, "codec", v->row->codec);
        text_member(out, "against", v->against != NULL ? v->against->codec : "");
        text_member(out, "test", v->test);
        str_printf(out, "\"pairs\": %u, ", v->pairs);
        cli_json_double(out, "gain", v->gain);
        cli_json_double(out, "gain_low", v->gain_low);
        cli_json_double(out, "gain_high", v->gain_high);
        str_add_text(out, "\"loss\": {");
        for (int k = 0; k < BENCH_LOSSES; k++) {
            str_printf(out, "%s\"%s\": ", k > 0 ? ", " : "", bench_loss_name[k]);
            json_write_double(out, v->loss[k]);
        }
        str_printf(out, "}, \"worth\": %s, \"words\": ", v->worth < 0 ? "null" : v->worth > 0 ? "true" : "false");
        str_clear(&words);
        bench_verdict_words(b, v, &words);
        json_write_string(out, str_span(&words));
        str_add_text(out, "}");
    }
    str_add_text(out, "], ");
    str_drop(&words);
}

static void choices_json(const struct bench_result *b, struct str *out) {
    struct str why = {0};
    str_add_text(out, "\"choices\": [");
    for (uint32_t i = 0; i < b->matrix->count[BENCH_STORAGE]; i++) {
        const char *storage = b->matrix->value[BENCH_STORAGE][i];
        str_clear(&why);
        const struct bench_row *chosen = bench_choose(b, i, &why);
        str_add_text(out, i > 0 ? ", {" : "{");
        text_member(out, "storage", storage != NULL ? storage : "");
        text_member(out, "words", str_text(&why));
        if (chosen != NULL) {
            str_printf(out, "\"row\": %u}", (unsigned)(chosen - b->rows->row));
        } else {
            str_add_text(out, "\"row\": null}");
        }
    }
    str_add_text(out, "], ");
    str_drop(&why);
}

void bench_json(const struct bench_result *b, struct str *out) {
    const struct lamina_machine *m = &b->machine;
    struct str rule = {0};
    str_add_text(out, "{");
    text_member(out, "lamina", lamina_version());
    text_member(out, "model", b->model);
    text_member(out, "command", b->command);
    text_member(out, "date", b->date);
    text_member(out, "text", b->text != NULL ? b->text : "");
    text_member(out, "tasks", b->tasks != NULL ? b->tasks : "");
    text_member(out, "kv", b->kv);
    str_printf(out, "\"repeats\": %u, \"machine\": {", b->repeats);
    text_member(out, "cpu", m->cpu);
    text_member(out, "isa", m->isa);
    text_member(out, "cpu_features", m->cpu_features);
    text_member(out, "kernel", m->kernel);
    str_printf(out, "\"cores\": %u, \"memory_bytes\": %llu}, ", m->cores, (unsigned long long)m->memory_total_bytes);
    bench_rule_words(b, &rule);
    text_member(out, "rule", str_text(&rule));
    choices_json(b, out);
    str_clear(&rule);
    bench_verdict_rule(b, &rule);
    text_member(out, "verdict_rule", str_text(&rule));
    verdicts_json(b, out);
    str_add_text(out, "\"rows\": ");
    bench_rows_json(b->rows->row, b->rows->count, out);
    str_add_text(out, "}\n");
    str_drop(&rule);
}
