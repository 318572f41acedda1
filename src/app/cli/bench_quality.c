/* SPDX-License-Identifier: Apache-2.0
 *
 * What a codec makes of a model's answers: the tasks of --tasks and the text of --text. Neither depends on storage, read-ahead,
 * threads or memory, so each codec is measured once, by the first of its cells whose memory suffices, and in that memory.
 */
#include <math.h>
#include <string.h>

#include "app/cli/bench_ask.h"
#include "base/status.h"

enum part { OF_TASKS, OF_TEXT, PARTS };

static bool is_known(const struct bench_row *row, enum part part) {
    return bench_known(part == OF_TASKS ? row->of_tasks.accuracy : row->of_text.ppl);
}

static void take(struct bench_row *to, const struct bench_row *from, enum part part) {
    if (part == OF_TASKS) {
        to->of_tasks = from->of_tasks;
    } else {
        to->of_text = from->of_text;
    }
}

/* A row of the codec that has this part, NULL: none. */
static const struct bench_row *find(const struct bench_rows *rows, const char *codec, enum part part) {
    for (uint32_t i = 0; i < rows->count; i++) {
        if (strcmp(rows->row[i].codec, codec) == 0 && is_known(&rows->row[i], part)) {
            return &rows->row[i];
        }
    }
    return NULL;
}

static bool wanted(const struct bench_run *b, enum part part) {
    return (part == OF_TASKS ? b->o->tasks : b->o->text) != NULL;
}

uint32_t bench_quality_parts(const struct bench_run *b, const struct bench_row *about) {
    uint32_t parts = 0;
    for (int i = 0; i < PARTS; i++) {
        parts += wanted(b, (enum part)i) && find(b->rows, about->codec, (enum part)i) == NULL;
    }
    return parts;
}

void bench_quality_spread(struct bench_rows *rows) {
    for (uint32_t i = 0; i < rows->count; i++) {
        struct bench_row *row = &rows->row[i];
        for (int part = 0; part < PARTS; part++) {
            const struct bench_row *from = find(rows, row->codec, (enum part)part);
            if (row->status == 0 && from != NULL && from != row) {
                take(row, from, (enum part)part);
            }
        }
    }
}

/* ---- asking ---- */

static lamina_status ask_tasks(struct bench_run *b, const struct bench_cell *cell, struct bench_row *about,
                               struct lamina_error *err) {
    struct bench_args args = {0};
    struct bench_answer a = {0};
    bench_args_of_cell(b, "bench-tasks", cell, about, &args);
    bench_args_add_pair(&args, "--tasks", b->o->tasks);
    bench_args_add_pair(&args, "--chat-template", b->o->chat_template);
    if (b->o->raw) {
        bench_args_add(&args, "--raw");
    }
    str_add_text(&a.what, "tasks");
    lamina_status status = bench_ask(b, &args, &a, err);
    if (status == LAMINA_OK && a.rows.count == 1) {
        take(about, &a.rows.row[0], OF_TASKS);
    }
    bench_args_drop(&args);
    bench_answer_drop(&a);
    return status;
}

/* The store of the usual, exact codec, made if need be; a model that is a store is compared with itself. */
static lamina_status make_exact(struct bench_run *b, const struct bench_cell *cell, struct bench_row *exact,
                                struct lamina_error *err) {
    struct lamina_callbacks callbacks = {.log = bench_say, .progress = bench_on_split, .user = b};
    struct bench_cell usual = *cell;
    usual.value[BENCH_CODEC] = NULL;
    bench_describe(b, &usual, exact);
    return bench_store_make(b->o, &usual, b->identity, &callbacks, exact, err);
}

static lamina_status ask_text(struct bench_run *b, const struct bench_cell *cell, struct bench_row *about,
                              struct lamina_error *err) {
    struct bench_args args = {0};
    struct bench_answer a = {0};
    struct bench_row exact;
    LAMINA_TRY(make_exact(b, cell, &exact, err));
    a.of_text = exact.of_text; /* nothing measured */
    bench_args_of_cell(b, "bench-text", cell, about, &args);
    bench_args_add(&args, b->o->text); /* after --model it is the second argument */
    bench_args_add_pair(&args, "--reference", exact.store);
    bench_args_add_number(&args, "--ctx-size", BENCH_CHUNK_TOKENS);
    bench_args_add_number(&args, "--chunks", b->o->chunks);
    str_add_text(&a.what, "comparing with the exact store");
    lamina_status status = bench_ask(b, &args, &a, err);
    if (status == LAMINA_OK) {
        about->of_text = a.of_text;
    }
    bench_args_drop(&args);
    bench_answer_drop(&a);
    return status;
}

/* Is there a cell to come of the same codec, in another budget? */
static bool has_another_chance(const struct bench_run *b, const struct bench_cell *cell) {
    bool any = false;
    for (uint32_t i = b->cell + 1; i < b->matrix->cells && !any; i++) {
        struct bench_cell later;
        bench_matrix_cell(b->matrix, i, &later);
        any = later.value[BENCH_CODEC] == cell->value[BENCH_CODEC] && later.value[BENCH_MEMORY] != cell->value[BENCH_MEMORY];
    }
    return any;
}

static lamina_status measure_part(struct bench_run *b, const struct bench_cell *cell, enum part part, struct bench_row *about,
                                  struct lamina_error *err) {
    struct lamina_error why = {0};
    struct str text = {0};
    lamina_status status = part == OF_TASKS ? ask_tasks(b, cell, about, &why) : ask_text(b, cell, about, &why);
    if (status == LAMINA_NO_FIT && has_another_chance(b, cell)) {
        str_printf(&text, "%s of %s: left to a later cell of this codec: %s", part == OF_TASKS ? "--tasks" : "--text",
                   about->codec, why.message);
        bench_say(b, 0, str_text(&text));
        str_drop(&text);
        return LAMINA_OK;
    }
    return status == LAMINA_OK ? LAMINA_OK : base_fail(err, status, "%s", why.message);
}

lamina_status bench_quality_measure(struct bench_run *b, const struct bench_cell *cell, struct bench_row *about,
                                    struct lamina_error *err) {
    for (int i = 0; i < PARTS; i++) {
        enum part part = (enum part)i;
        const struct bench_row *known = find(b->rows, about->codec, part);
        if (known != NULL) {
            take(about, known, part);
        } else if (wanted(b, part)) {
            b->part = b->part + 1 < b->parts ? b->part + 1 : b->part;
            LAMINA_TRY(measure_part(b, cell, part, about, err));
        }
    }
    return LAMINA_OK;
}
