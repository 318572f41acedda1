/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal of a bench: a line per finished cell, {"cell": KEY, "rows": [...]}. The key covers everything a figure depends on
 * (model, program, machine, options), so one journal serves any number of matrices. Appended and synced cell by cell; a line
 * that a kill cut short is passed over.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "app/cli/bench.h"
#include "base/json.h"
#include "base/status.h"

static lamina_status read_text(struct bench_journal *j, struct lamina_error *err) {
    char chunk[65536];
    size_t n = 0;
    j->text.limit = CLI_INPUT_LIMIT;
    rewind(j->file);
    while ((n = fread(chunk, 1, sizeof(chunk), j->file)) > 0) {
        str_add(&j->text, chunk, n);
    }
    if (ferror(j->file) || j->text.failed) {
        return base_fail_errno(err, j->text.failed ? ENOMEM : errno, "cannot read the journal %s", str_text(&j->path));
    }
    /* A cut line must not take the next one with it. */
    if (j->text.len > 0 && j->text.ptr[j->text.len - 1] != '\n' && fputc('\n', j->file) == EOF) {
        return base_fail_errno(err, errno, "cannot write the journal %s", str_text(&j->path));
    }
    return LAMINA_OK;
}

lamina_status bench_journal_open(struct bench_journal *j, const char *path, struct lamina_error *err) {
    str_add_text(&j->path, path);
    j->file = fopen(path, "a+be");
    if (j->file == NULL) {
        return base_fail_errno(err, errno, "cannot open the journal %s", path);
    }
    return read_text(j, err);
}

lamina_status bench_journal_add(struct bench_journal *j, const char key[33], const struct bench_row *rows, uint32_t count,
                                struct lamina_error *err) {
    struct str line = {0};
    str_printf(&line, "{\"cell\": \"%s\", \"rows\": ", key);
    bench_rows_json(rows, count, &line);
    str_add_text(&line, "}\n");
    bool good = !line.failed && fwrite(str_text(&line), 1, line.len, j->file) == line.len && fflush(j->file) == 0 &&
                fsync(fileno(j->file)) == 0;
    int reason = line.failed ? ENOMEM : errno;
    str_drop(&line);
    return good ? LAMINA_OK : base_fail_errno(err, reason, "cannot write the journal %s", str_text(&j->path));
}

/* The rows of one line, when it is of this cell (it then begins as bench_journal_add writes it) and whole. */
static bool take_line(const struct bench_journal *j, struct span line, const char *key, struct bench_rows *rows) {
    struct lamina_error ignored = {0};
    struct json_reader r;
    struct str scratch = {0};
    struct span name;
    char begin[64];
    int len = snprintf(begin, sizeof(begin), "{\"cell\": \"%s\"", key);
    if (line.len < (size_t)len || memcmp(line.ptr, begin, (size_t)len) != 0) {
        return false;
    }
    json_init(&r, line, str_text(&j->path), &scratch, &ignored);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &name)) {
        if (span_is(name, "rows")) {
            bench_rows_parse(&r, rows);
        } else {
            (void)json_skip(&r);
        }
    }
    bool good = json_finish(&r) == LAMINA_OK && rows->count > 0;
    str_drop(&scratch);
    return good;
}

bool bench_journal_find(const struct bench_journal *j, const char key[33], struct bench_rows *rows) {
    bool found = false;
    uint32_t before = rows->count;
    for (size_t at = 0; at < j->text.len;) {
        const char *end = memchr(j->text.ptr + at, '\n', j->text.len - at);
        size_t len = end != NULL ? (size_t)(end - (j->text.ptr + at)) : j->text.len - at;
        struct bench_rows newer = {0};
        if (take_line(j, span_of(j->text.ptr + at, len), key, &newer)) {
            rows->count = before;
            for (uint32_t i = 0; i < newer.count; i++) {
                struct bench_row *row = bench_rows_add(rows);
                if (row != NULL) {
                    *row = newer.row[i];
                }
            }
            found = rows->count == before + newer.count;
        }
        bench_rows_drop(&newer);
        at += len + 1;
    }
    return found;
}

void bench_journal_close(struct bench_journal *j) {
    if (j->file != NULL) {
        (void)fclose(j->file); /* every line was flushed and synced when it was written */
        j->file = NULL;
    }
    str_drop(&j->path);
    str_drop(&j->text);
}
