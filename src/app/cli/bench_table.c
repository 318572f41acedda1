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
    double median = bench_median(&r->tokens_per_s);
    if (bench_known(median)) {
        double low = median;
        double high = median;
        for (uint32_t i = 0; i < r->tokens_per_s.count; i++) {
            low = fmin(low, r->tokens_per_s.value[i]);
            high = fmax(high, r->tokens_per_s.value[i]);
        }
        str_printf(out, "%.4g (%.4g-%.4g)", median, low, high);
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
    seconds(out, bench_median(&r->ttft_warm_s));
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
    figure(out, r->ppl, 1.0, "");
    if (bench_known(r->ppl_error)) {
        str_printf(out, " +- %.2g", r->ppl_error);
    }
}
static void col_kl(const struct bench_row *r, struct str *out) {
    figure(out, r->kl, 1.0, "");
}
static void col_top1(const struct bench_row *r, struct str *out) {
    figure(out, r->top1, 100.0, " %");
}

static void col_tasks(const struct bench_row *r, struct str *out) {
    if (bench_known(r->accuracy)) {
        str_printf(out, "%.1f %% of %llu", 100.0 * r->accuracy, (unsigned long long)r->tasks);
    }
}

#define BOTH (BENCH_OF_TEST | BENCH_OF_CELL)
static const struct bench_column all_columns[] = {
    {"codec", BOTH, false, col_codec},
    {"storage", BOTH, false, col_storage},
    {"memory", BOTH, true, col_memory},
    {"read-ahead", BOTH, false, col_read_ahead},
    {"threads", BOTH, true, col_threads},
    {"test", BENCH_OF_TEST, false, col_test},
    {"tokens/s (range)", BENCH_OF_TEST, true, col_speed},
    {"disk", BENCH_OF_TEST, true, col_rate},
    {"limit", BENCH_OF_TEST, true, col_limit},
    {"of limit", BENCH_OF_TEST, true, col_share},
    {"read wait/token", BENCH_OF_TEST, true, col_read_wait},
    {"check", BENCH_OF_TEST, true, col_decode},
    {"compute", BENCH_OF_TEST, true, col_compute},
    {"other", BENCH_OF_TEST, true, col_other},
    {"peak memory", BENCH_OF_CELL, true, col_peak},
    {"first token, cold", BENCH_OF_CELL, true, col_ttft_cold},
    {"warm", BENCH_OF_CELL, true, col_ttft_warm},
    {"load", BENCH_OF_CELL, true, col_load},
    {"split", BENCH_OF_CELL, false, col_split},
    {"cold start", BENCH_OF_CELL, true, col_cold_start},
    {"store", BENCH_OF_CELL, true, col_store},
    {"bits/weight", BENCH_OF_CELL, true, col_bits},
    {"perplexity", BENCH_OF_CELL, true, col_ppl},
    {"KL", BENCH_OF_CELL, true, col_kl},
    {"same top token", BENCH_OF_CELL, true, col_top1},
    {"tasks right", BENCH_OF_CELL, true, col_tasks},
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

bool bench_in_table(const struct bench_result *b, int table, uint32_t row) {
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
    add_failures(b, out);
    (void)bench_choose(b, out);
    str_printf(out, "\n%s\n\n", bench_rule);
    bench_machine_words(b, out);
    str_printf(out, "; %s; medians of %u\n", b->date, b->repeats);
}

/* ---- JSON ---- */

static void text_member(struct str *out, const char *name, const char *value) {
    str_printf(out, "\"%s\": ", name);
    json_write_string(out, span_of_text(value));
    str_add_text(out, ", ");
}

void bench_json(const struct bench_result *b, struct str *out) {
    const struct lamina_machine *m = &b->machine;
    struct str why = {0};
    const struct bench_row *chosen = bench_choose(b, &why);
    str_add_text(out, "{");
    text_member(out, "lamina", lamina_version());
    text_member(out, "model", b->model);
    text_member(out, "command", b->command);
    text_member(out, "date", b->date);
    str_printf(out, "\"repeats\": %u, \"machine\": {", b->repeats);
    text_member(out, "cpu", m->cpu);
    text_member(out, "isa", m->isa);
    text_member(out, "cpu_features", m->cpu_features);
    text_member(out, "kernel", m->kernel);
    str_printf(out, "\"cores\": %u, \"memory_bytes\": %llu}, ", m->cores, (unsigned long long)m->memory_total_bytes);
    text_member(out, "rule", bench_rule);
    text_member(out, "choice", str_text(&why));
    if (chosen != NULL) {
        str_printf(out, "\"choice_row\": %u, ", (unsigned)(chosen - b->rows->row));
    } else {
        str_add_text(out, "\"choice_row\": null, ");
    }
    str_add_text(out, "\"rows\": ");
    bench_rows_json(b->rows->row, b->rows->count, out);
    str_add_text(out, "}\n");
    str_drop(&why);
}
