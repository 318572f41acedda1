/* SPDX-License-Identifier: Apache-2.0
 *
 * From --matrix AXIS=VALUE,VALUE to cells. Values are checked before anything is measured, codecs excepted: which exist is
 * known to the splitter alone, and only what would not be a file name is refused here.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "app/cli/bench.h"
#include "base/status.h"

const char *const bench_axis_name[BENCH_AXES] = {"codec", "storage", "memory", "read-ahead", "threads"};

static bool is_number(const char *text, unsigned long most) {
    unsigned long value = 0;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || value > most) {
            return false;
        }
        value = value * 10 + (unsigned long)(*p - '0');
    }
    return *text != '\0' && value <= most;
}

/* "200MB/s" up to `end`. */
static bool read_rate(const char *text, const char *end, uint64_t *bytes_per_s) {
    enum { LEAST = 1000 * 1000 };
    char size[32];
    size_t len = (size_t)(end - text);
    if (len < 3 || len - 2 >= sizeof(size) || memcmp(end - 2, "/s", 2) != 0) {
        return false;
    }
    memcpy(size, text, len - 2);
    size[len - 2] = '\0';
    return parse_bytes(size, bytes_per_s) && *bytes_per_s >= LEAST;
}

bool bench_storage_read(const char *value, struct bench_storage *out) {
    static const char slow[] = "slow:";
    *out = (struct bench_storage){.dir = value};
    if (strncmp(value, slow, strlen(slow)) == 0) {
        const char *rate = value + strlen(slow);
        const char *colon = strchr(rate, ':');
        out->dir = colon != NULL ? colon + 1 : "default";
        if (!read_rate(rate, colon != NULL ? colon : rate + strlen(rate), &out->bytes_per_s)) {
            return false;
        }
    }
    out->dir = strcmp(out->dir, "default") != 0 ? out->dir : NULL;
    return true;
}

static lamina_status check_storage(const char *value, struct lamina_error *err) {
    struct bench_storage storage;
    struct stat st;
    if (strlen(value) >= sizeof(((struct bench_row *)NULL)->storage)) {
        return base_fail(err, LAMINA_USAGE, "--matrix storage: a path of %zu bytes is too long", strlen(value));
    }
    if (!bench_storage_read(value, &storage)) {
        return base_fail(err, LAMINA_USAGE, "--matrix storage: \"%s\" is not slow:RATE/s:DIR, like slow:200MB/s:/mnt/disk, with at "
                         "least 1MB/s; a directory of such a name can be given as ./%s", value, value);
    }
    if (storage.dir == NULL) {
        return LAMINA_OK;
    }
    if (stat(storage.dir, &st) != 0) {
        return base_fail_errno(err, errno, "--matrix storage: %s", storage.dir);
    }
    return S_ISDIR(st.st_mode) ? LAMINA_OK
                               : base_fail(err, LAMINA_USAGE, "--matrix storage: %s is not a directory", storage.dir);
}

static lamina_status check_value(enum bench_axis axis, const char *value, struct lamina_error *err) {
    uint64_t bytes = 0;
    const char *wanted = NULL;
    switch (axis) {
    case BENCH_CODEC:
        wanted = *value != '\0' && *value != '.' && strlen(value) < 32 &&
                         strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == strlen(value)
                     ? NULL
                     : "the name of a codec, like raw or planes";
        break;
    case BENCH_STORAGE:
        return check_storage(value, err);
    case BENCH_MEMORY:
        wanted = strlen(value) < 32 && (strcmp(value, "none") == 0 || (parse_bytes(value, &bytes) && bytes > 0))
                     ? NULL
                     : "a size like 4GiB or 512M, or none";
        break;
    case BENCH_READ_AHEAD:
        wanted = strcmp(value, "on") == 0 || strcmp(value, "off") == 0 ? NULL : "on or off";
        break;
    case BENCH_THREADS:
        wanted = is_number(value, 256) && strspn(value, "0") != strlen(value) ? NULL : "a number of threads, 1 to 256";
        break;
    case BENCH_AXES:
        break;
    }
    return wanted == NULL ? LAMINA_OK
                          : base_fail(err, LAMINA_USAGE, "--matrix %s: \"%s\" is not %s", bench_axis_name[axis], value, wanted);
}

static lamina_status add_value(struct bench_matrix *m, enum bench_axis axis, const char *value, struct lamina_error *err) {
    if (m->count[axis] == BENCH_MOST_VALUES) {
        return base_fail(err, LAMINA_USAGE, "--matrix %s: more than %d values", bench_axis_name[axis], BENCH_MOST_VALUES);
    }
    LAMINA_TRY(check_value(axis, value, err));
    for (uint32_t i = 0; i < m->count[axis]; i++) {
        if (strcmp(m->value[axis][i], value) == 0) {
            return base_fail(err, LAMINA_USAGE, "--matrix %s: \"%s\" is given twice", bench_axis_name[axis], value);
        }
    }
    m->value[axis][m->count[axis]++] = value;
    return LAMINA_OK;
}

static lamina_status axis_of(const char *text, size_t len, enum bench_axis *axis, struct lamina_error *err) {
    for (unsigned i = 0; i < BENCH_AXES; i++) {
        if (strlen(bench_axis_name[i]) == len && memcmp(bench_axis_name[i], text, len) == 0) {
            *axis = (enum bench_axis)i;
            return LAMINA_OK;
        }
    }
    return base_fail(err, LAMINA_USAGE, "--matrix: \"%.*s\" is no axis; there are codec, storage, memory, read-ahead and threads",
                     (int)(len < 64 ? len : 64), text);
}

/* "memory=256MiB,1GiB" */
static lamina_status read_axis(struct bench_matrix *m, const char *text, struct lamina_error *err) {
    const char *equals = strchr(text, '=');
    enum bench_axis axis = BENCH_AXES;
    if (equals == NULL) {
        return base_fail(err, LAMINA_USAGE, "--matrix: \"%s\" is not AXIS=VALUE,VALUE like memory=256MiB,1GiB", text);
    }
    LAMINA_TRY(axis_of(text, (size_t)(equals - text), &axis, err));
    if (m->given[axis]) {
        return base_fail(err, LAMINA_USAGE, "--matrix %s is given twice; give its values in one list", bench_axis_name[axis]);
    }
    m->given[axis] = true;
    m->count[axis] = 0;
    struct str *values = &m->text[axis];
    str_clear(values);
    str_add_text(values, equals + 1);
    if (values->failed || values->len == 0) {
        return values->failed ? base_fail(err, LAMINA_NO_FIT, "out of memory for the matrix")
                              : base_fail(err, LAMINA_USAGE, "--matrix %s has no values", bench_axis_name[axis]);
    }
    for (char *at = values->ptr; at != NULL;) {
        char *comma = strchr(at, ',');
        if (comma != NULL) {
            *comma = '\0';
        }
        LAMINA_TRY(add_value(m, axis, at, err));
        at = comma != NULL ? comma + 1 : NULL;
    }
    return LAMINA_OK;
}

/* What the plain options say, for axes that --matrix leaves out. */
static void take_plain(struct bench_matrix *m, const struct cli_options *o) {
    for (unsigned i = 0; i < BENCH_AXES; i++) {
        m->count[i] = 1;
        m->value[i][0] = NULL;
    }
    m->value[BENCH_CODEC][0] = o->codec;
    m->value[BENCH_READ_AHEAD][0] = o->no_read_ahead ? "off" : "on";
    if (o->memory != 0) {
        if (o->memory == UINT64_MAX) {
            str_add_text(&m->text[BENCH_MEMORY], "none");
        } else {
            str_printf(&m->text[BENCH_MEMORY], "%llu", (unsigned long long)o->memory);
        }
        m->value[BENCH_MEMORY][0] = str_text(&m->text[BENCH_MEMORY]);
    }
    if (o->threads != 0) {
        str_printf(&m->text[BENCH_THREADS], "%u", o->threads);
        m->value[BENCH_THREADS][0] = str_text(&m->text[BENCH_THREADS]);
    }
}

lamina_status bench_matrix_read(struct bench_matrix *m, const struct cli_options *o, struct lamina_error *err) {
    uint64_t cells = 1;
    take_plain(m, o);
    for (uint32_t i = 0; i < o->matrix.count; i++) {
        LAMINA_TRY(read_axis(m, o->matrix.value[i], err));
    }
    for (unsigned i = 0; i < BENCH_AXES; i++) {
        if (!m->given[i] && m->value[i][0] != NULL) {
            LAMINA_TRY(check_value((enum bench_axis)i, m->value[i][0], err));
        }
        cells *= m->count[i];
        if (cells > BENCH_MOST_CELLS) {
            return base_fail(err, LAMINA_USAGE, "--matrix has more than %d cells; leave out some values", BENCH_MOST_CELLS);
        }
    }
    m->cells = (uint32_t)cells;
    return LAMINA_OK;
}

void bench_matrix_drop(struct bench_matrix *m) {
    for (unsigned i = 0; i < BENCH_AXES; i++) {
        str_drop(&m->text[i]);
    }
}

void bench_matrix_cell(const struct bench_matrix *m, uint32_t index, struct bench_cell *cell) {
    for (unsigned i = BENCH_AXES; i-- > 0;) {
        cell->value[i] = m->value[i][index % m->count[i]];
        index /= m->count[i];
    }
}

void bench_cell_words(const struct bench_matrix *m, const struct bench_cell *cell, struct str *out) {
    size_t begin = out->len;
    for (unsigned i = 0; i < BENCH_AXES; i++) {
        if (m->given[i]) {
            str_printf(out, "%s%s=%s", out->len > begin ? " " : "", bench_axis_name[i], cell->value[i]);
        }
    }
    if (out->len == begin) {
        str_add_text(out, "the one configuration");
    }
}
