/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows as JSON and CSV, and back from JSON: one table of fields serves the child's answer, the journal and both outputs. A
 * series is written twice in JSON, its median under its name and all values under name_all.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/cli/bench.h"
#include "base/json.h"

enum kind { TEXT, COUNT, FIGURE, SERIES };

struct field {
    const char *name;
    enum kind kind;
    size_t offset, size; /* size: of a text */
};

#define AT(member) offsetof(struct bench_row, member)
#define TEXT_FIELD(member) {#member, TEXT, AT(member), sizeof(((struct bench_row *)NULL)->member)}
#define COUNT_FIELD(member) {#member, COUNT, AT(member), 0}
#define FIGURE_FIELD(member) {#member, FIGURE, AT(member), 0}
#define SERIES_FIELD(member) {#member, SERIES, AT(member), 0}

#define TEXT_QUALITY(member) {#member, FIGURE, AT(of_text.member), 0}
#define TASK_QUALITY(kind, member) {#member, kind, AT(of_tasks.member), 0}

static const struct field fields[] = {
    TEXT_FIELD(model), TEXT_FIELD(codec), TEXT_FIELD(storage), TEXT_FIELD(memory), TEXT_FIELD(read_ahead),
    COUNT_FIELD(threads), COUNT_FIELD(memory_budget_bytes),
    TEXT_FIELD(test), COUNT_FIELD(status), TEXT_FIELD(error), COUNT_FIELD(tokens),
    SERIES_FIELD(tokens_per_s), SERIES_FIELD(disk_bytes_per_s), FIGURE_FIELD(disk_limit_bytes_per_s),
    FIGURE_FIELD(throttle_bytes_per_s), SERIES_FIELD(bytes_read), SERIES_FIELD(drive_idle_s),
    SERIES_FIELD(read_wait_s), SERIES_FIELD(decode_s), SERIES_FIELD(compute_s), SERIES_FIELD(other_s),
    FIGURE_FIELD(ttft_cold_s), SERIES_FIELD(ttft_warm_s), FIGURE_FIELD(load_s), TEXT_FIELD(split), FIGURE_FIELD(split_s),
    FIGURE_FIELD(cold_start_s), COUNT_FIELD(peak_memory_bytes),
    TEXT_FIELD(store), TEXT_FIELD(drive), COUNT_FIELD(store_bytes), FIGURE_FIELD(bits_per_weight),
    FIGURE_FIELD(store_bits_per_weight),
    TEXT_QUALITY(ppl), TEXT_QUALITY(ppl_error), TEXT_QUALITY(ppl_ratio), TEXT_QUALITY(ppl_ratio_error),
    TEXT_QUALITY(kl), TEXT_QUALITY(kl_error), TEXT_QUALITY(top1), TASK_QUALITY(COUNT, tasks),
    TASK_QUALITY(COUNT, choice_tasks), TASK_QUALITY(FIGURE, accuracy), TASK_QUALITY(FIGURE, accuracy_error),
    TASK_QUALITY(FIGURE, accuracy_norm), TASK_QUALITY(FIGURE, rouge_l), TASK_QUALITY(FIGURE, bleu),
    TEXT_FIELD(numerics), TEXT_FIELD(isa), TEXT_FIELD(io_engine), TEXT_FIELD(date),
};

/* Fields that only some models or runs have: they appear where one row has them. */
static bool is_optional(const struct field *f) {
    return f->offset == AT(throttle_bytes_per_s) ||
           (f->offset >= AT(of_text) && f->offset < AT(of_tasks) + sizeof(struct bench_of_tasks));
}

void bench_row_init(struct bench_row *row) {
    memset(row, 0, sizeof(*row));
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        char *at = (char *)row + fields[i].offset;
        if (fields[i].kind == COUNT) {
            *(uint64_t *)(void *)at = UINT64_MAX;
        } else if (fields[i].kind == FIGURE) {
            *(double *)(void *)at = NAN;
        }
    }
    row->status = 0;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(const struct bench_series *s) {
    double sorted[BENCH_MOST_REPEATS];
    if (s->count == 0) {
        return NAN;
    }
    memcpy(sorted, s->value, s->count * sizeof(double));
    qsort(sorted, s->count, sizeof(double), compare);
    uint32_t half = s->count / 2;
    return s->count % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2.0;
}

bool bench_range(const struct bench_series *s, double *low, double *high) {
    *low = INFINITY;
    *high = -INFINITY;
    for (uint32_t i = 0; i < s->count; i++) {
        *low = fmin(*low, s->value[i]);
        *high = fmax(*high, s->value[i]);
    }
    return s->count > 0;
}

bool bench_known(double value) {
    return isfinite(value);
}

double bench_share(const struct bench_row *row) {
    return row->disk_limit_bytes_per_s > 0.0 ? bench_median(&row->disk_bytes_per_s) / row->disk_limit_bytes_per_s : NAN;
}

struct bench_row *bench_rows_add(struct bench_rows *rows) {
    if (rows->count == rows->room) {
        uint32_t room = rows->room > 0 ? 2 * rows->room : 16;
        struct bench_row *more = realloc(rows->row, room * sizeof(*more));
        if (more == NULL) {
            return NULL;
        }
        rows->row = more;
        rows->room = room;
    }
    bench_row_init(&rows->row[rows->count]);
    return &rows->row[rows->count++];
}

void bench_rows_drop(struct bench_rows *rows) {
    free(rows->row);
    *rows = (struct bench_rows){0};
}

/* ---- writing ---- */

static void write_field(struct str *out, const struct field *f, const struct bench_row *row) {
    const char *at = (const char *)row + f->offset;
    uint64_t count = f->kind == COUNT ? *(const uint64_t *)(const void *)at : 0;
    str_printf(out, "\"%s\": ", f->name);
    switch (f->kind) {
    case TEXT:
        json_write_string(out, span_of_text(at));
        break;
    case COUNT:
        if (count == UINT64_MAX) {
            str_add_text(out, "null");
        } else {
            str_printf(out, "%llu", (unsigned long long)count);
        }
        break;
    case FIGURE:
        json_write_double(out, *(const double *)(const void *)at);
        break;
    case SERIES: {
        const struct bench_series *s = (const struct bench_series *)(const void *)at;
        json_write_double(out, bench_median(s));
        str_printf(out, ", \"%s_all\": [", f->name);
        for (uint32_t i = 0; i < s->count; i++) {
            str_add_text(out, i > 0 ? ", " : "");
            json_write_double(out, s->value[i]);
        }
        str_add_text(out, "]");
        break;
    }
    }
}

static bool field_known(const struct field *f, const struct bench_row *row) {
    const void *at = (const char *)row + f->offset;
    return f->kind == COUNT ? *(const uint64_t *)at != UINT64_MAX : f->kind != FIGURE || bench_known(*(const double *)at);
}

void bench_rows_json(const struct bench_row *rows, uint32_t count, struct str *out) {
    str_add_text(out, "[");
    for (uint32_t i = 0; i < count; i++) {
        bool first = true;
        str_add_text(out, i > 0 ? ", {" : "{");
        for (size_t k = 0; k < ARRAY_LEN(fields); k++) {
            if (!is_optional(&fields[k]) || field_known(&fields[k], &rows[i])) {
                str_add_text(out, first ? "" : ", ");
                write_field(out, &fields[k], &rows[i]);
                first = false;
            }
        }
        str_add_text(out, "}");
    }
    str_add_text(out, "]");
}

/* A cell of a spreadsheet: quoted where RFC 4180 wants it. */
static void csv_text(struct str *out, const char *text) {
    if (strpbrk(text, ",\"\r\n") == NULL) {
        str_add_text(out, text);
        return;
    }
    str_add_byte(out, '"');
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"') {
            str_add_byte(out, '"');
        }
        str_add_byte(out, (uint8_t)*p);
    }
    str_add_byte(out, '"');
}

static void csv_field(struct str *out, const struct field *f, const struct bench_row *row) {
    const char *at = (const char *)row + f->offset;
    double figure = NAN;
    switch (f->kind) {
    case TEXT:
        csv_text(out, at);
        return;
    case COUNT:
        if (*(const uint64_t *)(const void *)at != UINT64_MAX) {
            str_printf(out, "%llu", (unsigned long long)*(const uint64_t *)(const void *)at);
        }
        return;
    case FIGURE:
        figure = *(const double *)(const void *)at;
        break;
    case SERIES:
        figure = bench_median((const struct bench_series *)(const void *)at);
        break;
    }
    if (bench_known(figure)) {
        json_write_double(out, figure);
    }
}

static bool column_wanted(const struct field *f, const struct bench_rows *rows) {
    bool wanted = !is_optional(f);
    for (uint32_t i = 0; i < rows->count; i++) {
        wanted = wanted || field_known(f, &rows->row[i]);
    }
    return wanted;
}

void bench_rows_csv(const struct bench_rows *rows, struct str *out) {
    for (uint32_t i = 0; i <= rows->count; i++) { /* the names, then the rows */
        bool first = true;
        for (size_t k = 0; k < ARRAY_LEN(fields); k++) {
            if (column_wanted(&fields[k], rows)) {
                str_add_text(out, first ? "" : ",");
                first = false;
                if (i == 0) {
                    str_add_text(out, fields[k].name);
                } else {
                    csv_field(out, &fields[k], &rows->row[i - 1]);
                }
            }
        }
        str_add_text(out, "\r\n");
    }
}

/* ---- reading ---- */

static void read_series(struct json_reader *r, struct bench_series *s) {
    s->count = 0;
    if (json_enter_array(r)) {
        while (json_next_item(r)) {
            double value = 0;
            if (json_double(r, &value) && s->count < BENCH_MOST_REPEATS) {
                s->value[s->count++] = value;
            }
        }
    }
}

static void read_text(struct json_reader *r, char *at, size_t size) {
    struct str text = {0};
    if (json_string(r, &text)) {
        size_t len = text.len < size ? text.len : size - 1;
        memcpy(at, str_text(&text), len);
        at[len] = '\0';
    }
    str_drop(&text);
}

static bool is_all_of(struct span key, const char *name) {
    size_t len = strlen(name);
    return key.len == len + 4 && memcmp(key.ptr, name, len) == 0 && memcmp(key.ptr + len, "_all", 4) == 0;
}

static void read_field(struct json_reader *r, struct span key, struct bench_row *row) {
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct field *f = &fields[i];
        char *at = (char *)row + f->offset;
        if (f->kind == SERIES && is_all_of(key, f->name)) {
            read_series(r, (struct bench_series *)(void *)at);
            return;
        }
        if (f->kind == SERIES || !span_is(key, f->name) || json_peek(r) == JSON_NULL) {
            continue;
        }
        if (f->kind == TEXT) {
            read_text(r, at, f->size);
        } else if (f->kind == COUNT) {
            (void)json_u64(r, (uint64_t *)(void *)at);
        } else {
            (void)json_double(r, (double *)(void *)at);
        }
        return;
    }
    (void)json_skip(r);
}

void bench_rows_parse(struct json_reader *r, struct bench_rows *rows) {
    struct span key;
    if (!json_enter_array(r)) {
        return;
    }
    while (json_next_item(r)) {
        struct bench_row *row = bench_rows_add(rows);
        if (row == NULL) {
            (void)json_refuse(r, LAMINA_NO_FIT, "out of memory for the rows");
            return;
        }
        (void)json_enter_object(r);
        while (json_next_key(r, &key)) {
            read_field(r, key, row);
        }
    }
}
