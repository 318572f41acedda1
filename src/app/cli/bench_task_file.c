/* SPDX-License-Identifier: Apache-2.0
 *
 * Tasks with right answers, a line of JSON each:
 *
 *     {"prompt": "What is the capital of Peru?", "answer": "Lima"}
 *     {"prompt": "What is the capital of Peru?", "answers": ["Lima", "The capital of Peru is Lima."]}
 *     {"prompt": "Water boils at", "choices": [" 100 degrees", " 10 degrees"], "answer": 0}
 *     {"prompt": "Water boils at", "choices": [" 100 degrees", " 10 degrees"], "answer": " 100 degrees"}
 *
 * Other members are passed over.
 */
#include <stdlib.h>
#include <string.h>

#include "app/cli/bench.h"
#include "base/json.h"
#include "base/status.h"

enum { MOST_TEXTS = 64 };

static struct bench_task *add_task(struct bench_tasks *t) {
    if (t->count == t->room) {
        uint32_t room = t->room > 0 ? 2 * t->room : 64;
        struct bench_task *more = realloc(t->task, room * sizeof(*more));
        if (more == NULL) {
            return NULL;
        }
        t->task = more;
        t->room = room;
    }
    t->task[t->count] = (struct bench_task){0};
    return &t->task[t->count++];
}

/* Texts are kept ended by 0, so one that has a 0 inside would lose its end. */
static void add_text(struct json_reader *r, struct bench_texts *to) {
    size_t begin = to->text.len;
    if (to->count == MOST_TEXTS) {
        (void)json_refuse(r, LAMINA_USAGE, "more than %d choices or answers", MOST_TEXTS);
        return;
    }
    if (!json_string(r, &to->text)) {
        return;
    }
    if (memchr(str_text(&to->text) + begin, 0, to->text.len - begin) != NULL) {
        (void)json_refuse(r, LAMINA_USAGE, "a text with U+0000 in it");
        return;
    }
    str_add_byte(&to->text, 0);
    to->count++;
}

static void read_texts(struct json_reader *r, struct bench_texts *to) {
    if (json_enter_array(r)) {
        while (json_next_item(r)) {
            add_text(r, to);
        }
    }
}

void bench_texts_list(const struct bench_texts *t, const char **list) {
    const char *at = str_text(&t->text);
    for (uint32_t i = 0; i < t->count; i++) {
        list[i] = at;
        at += strlen(at) + 1;
    }
}

/* Which choice the text of the answer is; the number of choices when none or several are. */
static uint32_t find_choice(const struct bench_task *task) {
    const char *choice[MOST_TEXTS];
    uint32_t found = task->choices.count;
    bench_texts_list(&task->choices, choice);
    for (uint32_t i = 0; i < task->choices.count; i++) {
        if (strcmp(choice[i], str_text(&task->answers.text)) == 0) {
            found = found == task->choices.count ? i : UINT32_MAX;
        }
    }
    return found;
}

static bool has_empty(const struct bench_texts *t) {
    const char *text[MOST_TEXTS];
    bool any = false;
    bench_texts_list(t, text);
    for (uint32_t i = 0; i < t->count; i++) {
        any = any || text[i][0] == '\0';
    }
    return any;
}

static lamina_status check_task(struct bench_task *task, bool by_number, const char *name, struct lamina_error *err) {
    if (task->prompt.failed || task->answers.text.failed || task->choices.text.failed) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for the tasks of %s", name);
    }
    if (task->prompt.len == 0) {
        return base_fail(err, LAMINA_USAGE, "%s: \"prompt\" is missing or empty", name);
    }
    if (task->choices.count == 0) {
        return by_number || task->answers.count == 0 || has_empty(&task->answers)
                   ? base_fail(err, LAMINA_USAGE, "%s: \"answer\" is missing, empty or no text", name) : LAMINA_OK;
    }
    if (!by_number) {
        task->right = task->answers.count == 1 ? find_choice(task) : UINT32_MAX;
    }
    if (task->choices.count < 2 || task->right >= task->choices.count) {
        return base_fail(err, LAMINA_USAGE, "%s: \"answer\" is neither the number of one of at least two choices, counted from 0, "
                         "nor the text of one", name);
    }
    return has_empty(&task->choices) ? base_fail(err, LAMINA_USAGE, "%s: a choice is empty", name) : LAMINA_OK;
}

static lamina_status read_task(struct bench_task *task, struct span line, const char *name, struct lamina_error *err) {
    struct json_reader r;
    struct str scratch = {0};
    struct span key;
    uint64_t number = 0;
    bool by_number = false;
    json_init(&r, line, name, &scratch, err);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        if (span_is(key, "prompt")) {
            str_clear(&task->prompt);
            (void)json_string(&r, &task->prompt);
        } else if (span_is(key, "choices")) {
            read_texts(&r, &task->choices);
        } else if (span_is(key, "answers")) {
            read_texts(&r, &task->answers);
        } else if (span_is(key, "answer") && json_peek(&r) == JSON_NUMBER) {
            by_number = json_u64(&r, &number);
            task->right = number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
        } else if (span_is(key, "answer")) {
            add_text(&r, &task->answers);
        } else {
            (void)json_skip(&r);
        }
    }
    bool good = json_finish(&r) == LAMINA_OK;
    str_drop(&scratch);
    if (!good) {
        err->code = LAMINA_USAGE; /* the user's own words, not a damaged file */
        return LAMINA_USAGE;
    }
    return check_task(task, by_number, name, err);
}

static bool is_blank(struct span line) {
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] != ' ' && line.ptr[i] != '\t' && line.ptr[i] != '\r') {
            return false;
        }
    }
    return true;
}

lamina_status bench_tasks_read(struct bench_tasks *t, const char *path, struct lamina_error *err) {
    struct str text = {0};
    struct str name = {0};
    unsigned number = 0;
    lamina_status status = cli_read_file(path, &text, err);
    for (size_t at = 0; status == LAMINA_OK && at < text.len;) {
        const char *end = memchr(text.ptr + at, '\n', text.len - at);
        size_t len = end != NULL ? (size_t)(end - (text.ptr + at)) : text.len - at;
        struct span line = span_of(text.ptr + at, len);
        number++;
        at += len + 1;
        if (is_blank(line)) {
            continue;
        }
        struct bench_task *task = add_task(t);
        str_clear(&name);
        str_printf(&name, "%s, task of line %u", path, number);
        status = task != NULL ? read_task(task, line, str_text(&name), err)
                              : base_fail(err, LAMINA_NO_FIT, "out of memory for tasks");
    }
    if (status == LAMINA_OK && t->count == 0) {
        status = base_fail(err, LAMINA_USAGE, "%s has no tasks", path);
    }
    str_drop(&text);
    str_drop(&name);
    return status;
}

void bench_tasks_drop(struct bench_tasks *t) {
    for (uint32_t i = 0; i < t->count; i++) {
        str_drop(&t->task[i].prompt);
        str_drop(&t->task[i].answers.text);
        str_drop(&t->task[i].choices.text);
    }
    free(t->task);
    *t = (struct bench_tasks){0};
}
