/* SPDX-License-Identifier: Apache-2.0
 *
 * The lines of a batch: its input is read once, checked, and remembered as places in the file and hashes of custom_id; its output
 * says which are done. A line counts when it is whole: what a crash left behind the last whole one is cut off.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/server/batches.h"
#include "base/json.h"
#include "base/status.h"

enum { CHUNK = 64 << 10, OUTPUT_HEAD = 8 << 10, SLOTS = 1 << 17 };

/* ---- lines of a file ---- */

struct scan {
    int fd;
    size_t keep;             /* bytes of a line that are kept */
    char *chunk;             /* [CHUNK] */
    size_t chunk_len, at;
    uint64_t offset;         /* in the file, of chunk[at] */
    struct str line;         /* its first bytes, without the end */
    uint64_t begin, len;     /* of the line, without its end */
    bool whole;              /* it has an end */
};

static lamina_status scan_open(struct scan *s, int fd, size_t keep, struct lamina_error *err) {
    *s = (struct scan){.fd = fd, .keep = keep, .chunk = (char *)malloc(CHUNK)};
    return s->chunk != NULL ? LAMINA_OK : base_fail(err, LAMINA_NO_FIT, "out of memory for the lines of a batch");
}

static void scan_close(struct scan *s) {
    free(s->chunk);
    str_drop(&s->line);
}

/* 1: a line, 0: no more. */
static int scan_next(struct scan *s, struct lamina_error *err) {
    str_clear(&s->line);
    s->begin = s->offset;
    s->len = 0;
    s->whole = false;
    for (;;) {
        if (s->at == s->chunk_len) {
            ssize_t n = pread(s->fd, s->chunk, CHUNK, (off_t)s->offset);
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n < 0) {
                return base_fail_errno(err, errno, "cannot read the lines of a batch");
            }
            if (n == 0) {
                return s->len > 0;
            }
            s->at = 0;
            s->chunk_len = (size_t)n;
        }
        const char *from = s->chunk + s->at;
        size_t rest = s->chunk_len - s->at;
        const char *end = (const char *)memchr(from, '\n', rest);
        size_t n = end != NULL ? (size_t)(end - from) : rest;
        size_t room = s->keep - s->line.len;
        str_add(&s->line, from, n < room ? n : room);
        if (s->line.failed) {
            return base_fail(err, LAMINA_NO_FIT, "out of memory for a line of a batch");
        }
        s->len += n;
        n += end != NULL ? 1 : 0;
        s->at += n;
        s->offset += n;
        if (end != NULL) {
            s->whole = true;
            return 1;
        }
    }
}

/* ---- which line a custom_id is ---- */

static struct hash128 id_hash(const struct str *id) {
    return hash_xxh3_128(str_text(id), id->len);
}

/* The slot of an id: its line's, or the empty one where it would be. */
static uint32_t *slot_of(struct batch_lines *l, struct hash128 id) {
    for (uint32_t i = (uint32_t)id.low;; i++) {
        uint32_t *s = &l->slot[i % SLOTS];
        if (*s == 0 || (l->line[*s - 1].id.low == id.low && l->line[*s - 1].id.high == id.high)) {
            return s;
        }
    }
}

void batch_lines_drop(struct batch_lines *l) {
    free(l->line);
    free(l->slot);
    *l = (struct batch_lines){0};
}

/* ---- checking ---- */

static void note(struct batch *batch, const char *code, uint64_t line, const char *param, const char *message) {
    struct str *e = &batch->errors;
    if (batch->error_count >= BATCH_ERRORS_MOST) {
        return;
    }
    str_printf(e, "%s{\"code\":\"%s\",\"message\":", batch->error_count++ > 0 ? "," : "", code);
    json_write_string(e, span_of_text(message));
    if (line > 0) {
        str_printf(e, ",\"line\":%llu", (unsigned long long)line);
    } else {
        str_add_text(e, ",\"line\":null");
    }
    str_printf(e, param != NULL ? ",\"param\":\"%s\"}" : ",\"param\":null}", param);
}

/* True when "stream" is there and neither false nor null. */
static bool streams(struct span body) {
    struct str key_text = {0};
    struct lamina_error err = {0};
    struct json_reader r;
    struct span key;
    bool stream = false;
    json_init(&r, body, "body", &key_text, &err);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        bool value = true;
        if (!span_is(key, "stream")) {
            (void)json_skip(&r);
        } else if (json_peek(&r) == JSON_NULL) {
            (void)json_null(&r);
        } else if (json_peek(&r) == JSON_BOOL && json_bool(&r, &value)) {
            stream = stream || value;
        } else {
            stream = true;
            (void)json_skip(&r);
        }
    }
    str_drop(&key_text);
    return stream;
}

struct parts {
    struct str id, method, url;
    struct span body;
    bool has_id, has_method, has_url, has_body;
};

static void parts_drop(struct parts *p) {
    str_drop(&p->id);
    str_drop(&p->method);
    str_drop(&p->url);
}

static bool take_part(struct json_reader *r, struct str *to, bool *has) {
    bool good = !*has && json_peek(r) == JSON_STRING && json_string(r, to);
    *has = true;
    return good || json_refuse(r, LAMINA_USAGE, "must be one text");
}

static bool read_parts(struct span text, struct parts *p, struct lamina_error *err) {
    struct str key_text = {0};
    struct json_reader r;
    struct span key;
    json_init(&r, text, "the line", &key_text, err);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        if (span_is(key, "custom_id")) {
            (void)take_part(&r, &p->id, &p->has_id);
        } else if (span_is(key, "method")) {
            (void)take_part(&r, &p->method, &p->has_method);
        } else if (span_is(key, "url")) {
            (void)take_part(&r, &p->url, &p->has_url);
        } else if (span_is(key, "body")) {
            if (p->has_body || json_peek(&r) != JSON_OBJECT) {
                (void)json_refuse(&r, LAMINA_USAGE, "body must be one object");
            }
            p->has_body = true;
            (void)json_skip_raw(&r, &p->body);
        } else {
            (void)json_skip(&r);
        }
    }
    bool good = json_finish(&r) == LAMINA_OK;
    str_drop(&key_text);
    return good;
}

bool batch_line_parts(struct span text, struct str *custom_id, struct span *body) {
    struct parts p = {0};
    struct lamina_error err = {0};
    bool good = read_parts(text, &p, &err) && p.has_id && p.has_body;
    if (good) {
        str_add_span(custom_id, str_span(&p.id));
        *body = p.body;
    }
    parts_drop(&p);
    return good && !custom_id->failed;
}

static void check_line(struct batch_lines *l, const struct scan *s, uint64_t number, struct batch *batch) {
    struct parts p = {0};
    struct lamina_error err = {0};
    if (s->len > BATCH_LINE_LIMIT) {
        note(batch, "line_too_long", number, NULL, "a line has at most 4 MiB");
    } else if (!read_parts(str_span(&s->line), &p, &err)) {
        note(batch, "invalid_json_line", number, NULL, err.message);
    } else if (p.id.len == 0 || p.id.len > CUSTOM_ID_LIMIT) {
        note(batch, "missing_required_parameter", number, "custom_id", "custom_id must be a text of 1 to 512 bytes");
    } else if (!span_is(str_span(&p.method), "POST")) {
        note(batch, "invalid_method", number, "method", "method must be POST");
    } else if (!span_is(str_span(&p.url), batch->endpoint)) {
        note(batch, "mismatched_url", number, "url", "url must be the batch's endpoint");
    } else if (!p.has_body) {
        note(batch, "missing_required_parameter", number, "body", "body is missing");
    } else if (streams(p.body)) {
        note(batch, "invalid_request", number, "body.stream", "answers of a batch are not streamed");
    } else {
        struct hash128 id = id_hash(&p.id);
        uint32_t *slot = slot_of(l, id);
        if (*slot != 0) {
            note(batch, "duplicate_custom_id", number, "custom_id", "another line has this custom_id");
        } else {
            l->line[l->count++] = (struct batch_line){.id = id, .offset = s->begin, .len = (uint32_t)s->len};
            *slot = l->count;
        }
    }
    parts_drop(&p);
}

static bool is_blank(const struct scan *s) {
    size_t n = 0;
    while (n < s->line.len && (s->line.ptr[n] == ' ' || s->line.ptr[n] == '\t' || s->line.ptr[n] == '\r')) {
        n++;
    }
    return n == s->len;
}

lamina_status batch_lines_read(struct batch_lines *l, int fd, struct batch *batch, struct lamina_error *err) {
    struct scan s;
    uint64_t number = 0;
    int got = 0;
    *l = (struct batch_lines){.line = (struct batch_line *)calloc(BATCH_LINES_MOST, sizeof(*l->line)),
                              .slot = (uint32_t *)calloc(SLOTS, sizeof(*l->slot))};
    lamina_status status = scan_open(&s, fd, BATCH_LINE_LIMIT, err);
    if (status == LAMINA_OK && (l->line == NULL || l->slot == NULL)) {
        status = base_fail(err, LAMINA_NO_FIT, "out of memory for the lines of a batch");
    }
    while (status == LAMINA_OK && batch->error_count < BATCH_ERRORS_MOST && (got = scan_next(&s, err)) == 1) {
        number++;
        if (is_blank(&s)) {
            continue;
        }
        if (l->count == BATCH_LINES_MOST) {
            note(batch, "too_many_lines", number, NULL, "a batch has at most 50000 lines");
            break;
        }
        check_line(l, &s, number, batch);
    }
    if (status == LAMINA_OK && got >= 0 && l->count == 0 && batch->error_count == 0) {
        note(batch, "empty_file", 0, NULL, "the file has no lines");
    }
    scan_close(&s);
    return status < 0 ? status : got < 0 ? (lamina_status)got : LAMINA_OK;
}

/* ---- what is done ---- */

/* custom_id stands second in lines of ours, so the head of a line has it; the end is checked by the line's last bytes. */
static bool done_id(const struct scan *s, struct str *id) {
    struct str key_text = {0};
    struct lamina_error err = {0};
    struct json_reader r;
    struct span key;
    bool found = false;
    char tail[1] = "";
    json_init(&r, str_span(&s->line), "the line", &key_text, &err);
    (void)json_enter_object(&r);
    while (!found && json_next_key(&r, &key)) {
        found = span_is(key, "custom_id") && json_string(&r, id);
        if (!found && !json_skip(&r)) {
            break;
        }
    }
    str_drop(&key_text);
    return found && s->len > 0 && pread(s->fd, tail, 1, (off_t)(s->begin + s->len - 1)) == 1 && tail[0] == '}';
}

lamina_status batch_lines_done(struct batch_lines *l, int fd, uint32_t *count, struct lamina_error *err) {
    struct scan s;
    struct str id = {0};
    int got = 0;
    uint64_t good = 0;
    *count = 0;
    lamina_status status = scan_open(&s, fd, OUTPUT_HEAD, err);
    while (status == LAMINA_OK && (got = scan_next(&s, err)) == 1) {
        str_clear(&id);
        if (!s.whole || !done_id(&s, &id)) {
            break;
        }
        uint32_t *slot = slot_of(l, id_hash(&id));
        if (*slot == 0 || l->line[*slot - 1].done) {
            break; /* none of ours: what follows is not trusted either */
        }
        l->line[*slot - 1].done = true;
        ++*count;
        good = s.offset;
    }
    if (status == LAMINA_OK && got < 0) {
        status = (lamina_status)got;
    }
    if (status == LAMINA_OK && (ftruncate(fd, (off_t)good) < 0 || lseek(fd, (off_t)good, SEEK_SET) < 0)) {
        status = base_fail_errno(err, errno, "cannot go on with the output of a batch");
    }
    scan_close(&s);
    str_drop(&id);
    return status;
}
