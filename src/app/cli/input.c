/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes and token ids from outside the program: stdin, files, lists. Everything is bounded and checked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/cli/cli.h"
#include "base/json.h"
#include "base/status.h"

bool cli_stdin_is_tty(void) {
    return isatty(STDIN_FILENO) == 1;
}

static lamina_status read_stream(FILE *in, const char *name, struct str *out, struct lamina_error *err) {
    char chunk[65536];
    out->limit = CLI_INPUT_LIMIT;
    for (;;) {
        size_t n = fread(chunk, 1, sizeof(chunk), in);
        str_add(out, chunk, n);
        if (out->failed) {
            return base_fail(err, LAMINA_USAGE, "%s: more than 1 GiB of text, or no memory for it", name);
        }
        if (n < sizeof(chunk)) {
            break;
        }
    }
    if (ferror(in)) {
        return base_fail_errno(err, errno, "cannot read %s", name);
    }
    return LAMINA_OK;
}

lamina_status cli_read_stdin(struct str *out, struct lamina_error *err) {
    return read_stream(stdin, "stdin", out, err);
}

lamina_status cli_read_file(const char *path, struct str *out, struct lamina_error *err) {
    if (strcmp(path, "-") == 0) {
        return cli_read_stdin(out, err);
    }
    FILE *in = fopen(path, "rbe");
    if (in == NULL) {
        return base_fail_errno(err, errno, "cannot open %s", path);
    }
    lamina_status status = read_stream(in, path, out, err);
    fclose(in);
    return status;
}

/* One growing list. */
struct id_list {
    uint32_t *ids;
    size_t count, cap;
};

static bool push_id(struct id_list *list, uint64_t value) {
    if (value > UINT32_MAX) {
        return false;
    }
    if (list->count == list->cap) {
        size_t cap = list->cap > 0 ? list->cap * 2 : 64;
        uint32_t *more = realloc(list->ids, cap * sizeof(*more));
        if (more == NULL) {
            return false;
        }
        list->ids = more;
        list->cap = cap;
    }
    list->ids[list->count++] = (uint32_t)value;
    return true;
}

static void json_ids(struct json_reader *r, struct id_list *list) {
    if (json_enter_array(r)) {
        while (json_next_item(r)) {
            uint64_t value = 0;
            if (json_u64(r, &value) && !push_id(list, value)) {
                json_refuse(r, LAMINA_USAGE, "%llu is no token id", (unsigned long long)value);
            }
        }
    }
}

static lamina_status parse_json_ids(struct span text, const char *what, struct id_list *list, struct lamina_error *err) {
    struct json_reader r;
    struct str key = {0};
    json_init(&r, text, what, &key, err);
    if (json_peek(&r) == JSON_OBJECT) {
        struct span name;
        json_enter_object(&r);
        while (json_next_key(&r, &name)) {
            if (span_is(name, "ids")) {
                json_ids(&r, list);
            } else {
                json_skip(&r);
            }
        }
    } else {
        json_ids(&r, list);
    }
    lamina_status status = json_finish(&r);
    str_drop(&key);
    if (status < 0) {
        err->code = LAMINA_USAGE; /* the user's own words, not a damaged file */
        return LAMINA_USAGE;
    }
    return LAMINA_OK;
}

static bool is_separator(uint8_t c) {
    return c == ' ' || c == ',' || c == '\n' || c == '\r' || c == '\t';
}

static lamina_status parse_plain_ids(struct span text, const char *what, struct id_list *list, struct lamina_error *err) {
    size_t i = 0;
    while (i < text.len) {
        if (is_separator(text.ptr[i])) {
            i++;
            continue;
        }
        uint64_t value = 0;
        size_t begin = i;
        while (i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9' && value <= UINT32_MAX) {
            value = value * 10 + (uint64_t)(text.ptr[i++] - '0');
        }
        if (i == begin || (i < text.len && !is_separator(text.ptr[i])) || !push_id(list, value)) {
            size_t end = begin;
            while (end < text.len && !is_separator(text.ptr[end]) && end - begin < 40) {
                end++;
            }
            return base_fail(err, LAMINA_USAGE, "%s: \"%.*s\" is no token id; expected whole numbers like 1,2,3", what,
                             (int)(end - begin), (const char *)text.ptr + begin);
        }
    }
    return LAMINA_OK;
}

lamina_status cli_parse_ids(struct span text, const char *what, uint32_t **ids, size_t *count, struct lamina_error *err) {
    struct id_list list = {0};
    size_t i = 0;
    while (i < text.len && is_separator(text.ptr[i])) {
        i++;
    }
    bool json = i < text.len && (text.ptr[i] == '[' || text.ptr[i] == '{');
    lamina_status status = json ? parse_json_ids(text, what, &list, err) : parse_plain_ids(text, what, &list, err);
    if (status < 0) {
        free(list.ids);
        return status;
    }
    *ids = list.ids;
    *count = list.count;
    return LAMINA_OK;
}
