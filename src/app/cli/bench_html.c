/* SPDX-License-Identifier: Apache-2.0
 *
 * A bench as one page that needs nothing else: no script, font or picture from anywhere. Light and dark by the reader's wish,
 * one column that fits a telephone, a table that scrolls by itself, and a style for paper. The page is also well-formed XML.
 */
#include <string.h>

#include "app/cli/bench.h"

static const char style[] =
    ":root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --line: #c8c8c8; --soft: #f1f1ee;\n"
    "  --read: #d97706; --check: #8b5cf6; --compute: #0e7490; --other: #8a8a8a; }\n"
    "@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #151617; --line: #4a4a4a; --soft: #232425;\n"
    "  --read: #f59e0b; --check: #a78bfa; --compute: #22a7c3; --other: #9a9a9a; } }\n"
    "body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 75rem;\n"
    "  margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }\n"
    "p, li, dd { max-width: 60rem; } h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }\n"
    ".choice { border-left: 4px solid var(--compute); background: var(--soft); padding: .75rem 1rem; }\n"
    ".verdicts { padding-left: 0; list-style: none; } .verdicts li { border-left: 4px solid var(--other); padding: .25rem .75rem;\n"
    "  margin: .5rem 0; } .verdicts .yes { border-color: var(--compute); } .verdicts .no { border-color: var(--read); }\n"
    ".scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; white-space: nowrap; }\n"
    "th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; }\n"
    ".number { text-align: right; font-variant-numeric: tabular-nums; }\n"
    "tr.chosen td { background: var(--soft); font-weight: 600; }\n"
    "pre { background: var(--soft); padding: .75rem; white-space: pre-wrap; } figure { margin: 1rem 0; max-width: 40rem; }\n"
    "svg { width: 100%; height: auto; overflow: visible; } figcaption { font-weight: 600; margin: 1.5rem 0 .5rem; }\n"
    "svg text { font: 11px system-ui, sans-serif; fill: var(--ink); } .axis { stroke: var(--ink); stroke-width: 1.5; }\n"
    ".s-read { fill: var(--read); } .s-check { fill: var(--check); } .s-compute { fill: var(--compute); }\n"
    ".s-other { fill: var(--other); } rect.limit { fill: var(--line); }\n"
    "dt { font-weight: 600; } dd { margin: 0 0 .5rem; }\n"
    "@media print { body { font-size: 11pt; max-width: none; } table { font-size: 6.5pt; white-space: normal; }\n"
    "  figure, tr { break-inside: avoid; } rect { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }\n";

static void element(struct str *out, const char *tag, const char *text) {
    str_printf(out, "<%s>", tag);
    bench_escape(out, text);
    str_printf(out, "</%s>\n", tag);
}

/* The rows to choose, one per storage. */
struct chosen {
    const struct bench_row *row[BENCH_MOST_VALUES];
    uint32_t count;
};

static bool is_chosen(const struct chosen *c, const struct bench_row *row) {
    bool found = false;
    for (uint32_t i = 0; c != NULL && i < c->count; i++) {
        found = found || c->row[i] == row;
    }
    return found;
}

static void one_table(const struct bench_result *b, int table, const struct chosen *chosen, struct str *out) {
    const struct bench_column *column[BENCH_MOST_COLUMNS];
    struct str text = {0};
    uint32_t count = bench_columns(b, table, column);
    str_add_text(out, "<div class=\"scroll\"><table>\n<thead><tr>");
    for (uint32_t i = 0; i < count; i++) {
        str_printf(out, "<th%s>%s</th>", column[i]->number ? " class=\"number\"" : "", column[i]->name);
    }
    str_add_text(out, "</tr></thead>\n<tbody>\n");
    for (uint32_t k = 0; k < b->rows->count; k++) {
        const struct bench_row *row = &b->rows->row[k];
        if (!bench_in_table(b, table, k)) {
            continue;
        }
        str_add_text(out, is_chosen(chosen, row) ? "<tr class=\"chosen\">" : "<tr>");
        for (uint32_t i = 0; i < count; i++) {
            str_clear(&text);
            column[i]->text(row, &text);
            str_add_text(out, column[i]->number ? "<td class=\"number\">" : "<td>");
            bench_escape(out, str_text(&text));
            str_add_text(out, "</td>");
        }
        str_add_text(out, "</tr>\n");
    }
    str_add_text(out, "</tbody></table></div>\n");
    str_drop(&text);
}

static void choices(const struct bench_result *b, struct chosen *chosen, struct str *out) {
    struct str why = {0};
    str_add_text(out, "<div class=\"choice\">\n");
    chosen->count = b->matrix->count[BENCH_STORAGE];
    for (uint32_t i = 0; i < chosen->count; i++) {
        str_clear(&why);
        chosen->row[i] = bench_choose(b, i, &why);
        element(out, "p", str_text(&why));
    }
    str_add_text(out, "</div>\n");
    str_drop(&why);
}

static void failures(const struct bench_result *b, struct str *out) {
    bool any = false;
    struct str text = {0};
    for (uint32_t i = 0; i < b->rows->count; i++) {
        const struct bench_row *row = &b->rows->row[i];
        if (row->status == 0) {
            continue;
        }
        str_add_text(out, any ? "" : "<h2>What failed</h2>\n<ul>\n");
        any = true;
        str_clear(&text);
        bench_row_words(b, row, &text);
        str_printf(&text, ": %s", row->error);
        element(out, "li", str_text(&text));
    }
    str_add_text(out, any ? "</ul>\n" : "");
    str_drop(&text);
}

static void verdicts(const struct bench_result *b, struct str *out) {
    struct bench_verdict verdict[BENCH_MOST_VALUES];
    struct str text = {0};
    uint32_t count = bench_verdicts(b, verdict);
    str_add_text(out, count > 0 ? "<h2>Is rounding worth it?</h2>\n<ul class=\"verdicts\">\n" : "");
    for (uint32_t i = 0; i < count; i++) {
        str_clear(&text);
        bench_verdict_words(b, &verdict[i], &text);
        str_printf(out, "<li class=\"%s\">", verdict[i].worth > 0 ? "yes" : verdict[i].worth == 0 ? "no" : "open");
        bench_escape(out, str_text(&text));
        str_add_text(out, "</li>\n");
    }
    if (count > 0) {
        str_add_text(out, "</ul>\n");
        str_clear(&text);
        bench_verdict_rule(b, &text);
        element(out, "p", str_text(&text));
    }
    str_drop(&text);
}

/* The values of a text of the rows, each once: "a, b". */
static void distinct(const struct bench_rows *rows, size_t offset, struct str *out) {
    size_t begin = out->len;
    for (uint32_t i = 0; i < rows->count; i++) {
        const char *value = (const char *)&rows->row[i] + offset;
        bool is_new = *value != '\0';
        for (uint32_t k = 0; k < i && is_new; k++) {
            is_new = strcmp(value, (const char *)&rows->row[k] + offset) != 0;
        }
        if (is_new) {
            str_printf(out, "%s%s", out->len > begin ? ", " : "", value);
        }
    }
}

/* The span of what was measured before each cell. */
static void drive_words(const struct bench_result *b, struct str *out) {
    char low_text[32];
    char high_text[32];
    double low = 0.0;
    double high = 0.0;
    for (uint32_t i = 0; i < b->rows->count; i++) {
        double limit = b->rows->row[i].disk_limit_bytes_per_s;
        if (bench_known(limit)) {
            low = low > 0.0 && low < limit ? low : limit;
            high = limit > high ? limit : high;
        }
    }
    if (high > 0.0) {
        str_printf(out, "%s to %s by direct reads, measured before each cell, or set where storage is slowed down; ",
                   cli_rate(low_text, low), cli_rate(high_text, high));
        distinct(b->rows, offsetof(struct bench_row, drive), out);
    } else {
        str_add_text(out, "not measured");
    }
}

/* "lamina 0.1.0; instructions avx512; numerics exact; reads by io_uring; KV cache f16" */
static void program_words(const struct bench_result *b, struct str *out) {
    str_printf(out, "lamina %s; instructions ", lamina_version());
    distinct(b->rows, offsetof(struct bench_row, isa), out);
    str_add_text(out, "; numerics ");
    distinct(b->rows, offsetof(struct bench_row, numerics), out);
    str_add_text(out, "; reads by ");
    distinct(b->rows, offsetof(struct bench_row, io_engine), out);
    str_printf(out, "; KV cache %s", b->kv);
}

static void machine(const struct bench_result *b, struct str *out) {
    struct str text = {0};
    str_add_text(out, "<h2>How it was measured</h2>\n<dl>\n");
    element(out, "dt", "Machine");
    bench_machine_words(b, &text);
    element(out, "dd", str_text(&text));
    element(out, "dt", "Drive's limit");
    str_clear(&text);
    drive_words(b, &text);
    element(out, "dd", str_text(&text));
    element(out, "dt", "Program");
    str_clear(&text);
    program_words(b, &text);
    element(out, "dd", str_text(&text));
    if (b->text != NULL || b->tasks != NULL) {
        element(out, "dt", "Quality measured on");
        str_clear(&text);
        str_printf(&text, "%s%s%s%s%s", b->text != NULL ? "text " : "", b->text != NULL ? b->text : "",
                   b->text != NULL && b->tasks != NULL ? ", " : "", b->tasks != NULL ? "tasks " : "",
                   b->tasks != NULL ? b->tasks : "");
        element(out, "dd", str_text(&text));
    }
    element(out, "dt", "Method");
    str_clear(&text);
    str_printf(&text, "Each configuration in a process of its own; medians of %u repeats after one warm-up. ppN is a prompt of N "
               "random tokens, tgN are N tokens made one by one. Cold start is split, load and first token. Check is the checksum "
               "of what was read; what is decoded on the way to a product counts as computing.", b->repeats);
    element(out, "dd", str_text(&text));
    element(out, "dt", "Date");
    element(out, "dd", b->date);
    element(out, "dt", "Command that made this page");
    str_add_text(out, "<dd>");
    element(out, "pre", b->command);
    str_add_text(out, "</dd>\n</dl>\n");
    str_drop(&text);
}

void bench_html(const struct bench_result *b, struct str *out) {
    struct str title = {0};
    struct str rule = {0};
    struct chosen chosen;
    str_printf(&title, "lamina bench: %s", b->model);
    str_add_text(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
    element(out, "title", str_text(&title));
    str_printf(out, "<style>\n%s</style>\n</head>\n<body>\n", style);
    element(out, "h1", str_text(&title));
    str_clear(&title);
    bench_machine_words(b, &title);
    str_printf(&title, "; %s; medians of %u repeats", b->date, b->repeats);
    element(out, "p", str_text(&title));
    choices(b, &chosen, out);
    bench_rule_words(b, &rule);
    element(out, "p", str_text(&rule));
    verdicts(b, out);
    failures(b, out);
    str_add_text(out, "<h2>Tests</h2>\n<p>Times of stages are per token.</p>\n");
    one_table(b, BENCH_OF_TEST, &chosen, out);
    if (bench_any_good(b->rows)) {
        str_add_text(out, "<h2>Processes and stores</h2>\n");
        one_table(b, BENCH_OF_CELL, &chosen, out);
    }
    if (bench_any_judged(b->rows)) {
        str_add_text(out, "<h2>What codecs make of the answers</h2>\n");
        one_table(b, BENCH_OF_CODEC, NULL, out);
    }
    if (bench_any_good(b->rows)) {
        str_add_text(out, "<h2>Charts</h2>\n");
        bench_chart_speed(b, out);
        bench_chart_stages(b, out);
        bench_chart_rate(b, out);
        bench_chart_quality(b, out);
    }
    machine(b, out);
    str_add_text(out, "</body>\n</html>\n");
    str_drop(&title);
    str_drop(&rule);
}
