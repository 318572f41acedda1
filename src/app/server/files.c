/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of files and batches, and the interface of files. What is written appears whole or not at all: a temporary name,
 * fsync, rename, fsync of the directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/server/batches.h"
#include "app/server/server_priv.h"
#include "base/json.h"
#include "base/status.h"

enum { SMALL_FILE_LIMIT = 1 << 20, ID_HEX = 24 };

bool stored_is_id(struct span text, const char *prefix) {
    size_t n = strlen(prefix);
    if (!span_starts_with(text, prefix) || text.len != n + ID_HEX) {
        return false;
    }
    for (size_t i = n; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
    }
    return true;
}

lamina_status stored_sync(struct batches *b, struct lamina_error *err) {
    return fsync(b->dir) == 0 ? LAMINA_OK : base_fail_errno(err, errno, "cannot write the directory of files and batches");
}

bool stored_put(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

lamina_status stored_write(struct batches *b, const char *name, const struct str *text, struct lamina_error *err) {
    char temporary[STORED_ID];
    if (text->failed) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for %s", name);
    }
    answer_random_id(temporary, sizeof(temporary), "tmp-");
    int fd = openat(b->dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return base_fail_errno(err, errno, "cannot write %s", name);
    }
    bool good = stored_put(fd, str_text(text), text->len) && fsync(fd) == 0;
    int why = errno;
    (void)close(fd);
    if (!good || renameat(b->dir, temporary, b->dir, name) < 0) {
        why = good ? errno : why;
        (void)unlinkat(b->dir, temporary, 0);
        return base_fail_errno(err, why, "cannot write %s", name);
    }
    return stored_sync(b, err);
}

lamina_status stored_read(struct batches *b, const char *name, struct str *text, struct lamina_error *err) {
    int fd = openat(b->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char part[4096];
    ssize_t n = 0;
    if (fd < 0) {
        return base_fail_errno(err, errno, "cannot read %s", name);
    }
    text->limit = SMALL_FILE_LIMIT;
    while ((n = read(fd, part, sizeof(part))) > 0 || (n < 0 && errno == EINTR)) {
        str_add(text, part, n > 0 ? (size_t)n : 0);
    }
    int why = errno;
    (void)close(fd);
    return n < 0 ? base_fail_errno(err, why, "cannot read %s", name)
           : text->failed ? base_fail(err, LAMINA_DAMAGED, "%s is too large to be ours", name) : LAMINA_OK;
}

bool batches_ready(const struct batches *b, struct refusal *why) {
    if (b->why[0] != '\0') {
        return refuse(why, 503, "server_error", "no_storage", "this server keeps no files and batches: %s", b->why);
    }
    return true;
}

/* ---- the list ---- */

struct stored_file *stored_find(struct batches *b, struct span id) {
    struct stored_file *f = b->files;
    while (f != NULL && !span_is(id, f->id)) {
        f = f->next;
    }
    return f;
}

static void file_free(struct stored_file *f) {
    free(f->name);
    free(f);
}

void stored_free_all(struct batches *b) {
    while (b->files != NULL) {
        struct stored_file *f = b->files;
        b->files = f->next;
        file_free(f);
    }
}

static struct stored_file *file_copy(const struct stored_file *from) {
    struct stored_file *f = (struct stored_file *)malloc(sizeof(*f));
    if (f != NULL) {
        *f = *from;
        f->next = NULL;
        f->name = strdup(from->name);
        if (f->name == NULL) {
            free(f);
            f = NULL;
        }
    }
    return f;
}

static void file_insert(struct batches *b, struct stored_file *f) {
    struct stored_file **at = &b->files;
    while (*at != NULL && ((*at)->created > f->created || ((*at)->created == f->created && strcmp((*at)->id, f->id) > 0))) {
        at = &(*at)->next;
    }
    f->next = *at;
    *at = f;
    b->file_count++;
}

static void file_members(const struct stored_file *f, struct str *out) {
    str_printf(out, "{\"id\":\"%s\",\"object\":\"file\",\"bytes\":%" PRIu64 ",\"created_at\":%" PRId64 ",\"expires_at\":null",
               f->id, f->bytes, f->created);
    json_member_text(out, "filename", span_of_text(f->name));
    json_member_text(out, "purpose", span_of_text(f->purpose));
    str_add_text(out, ",\"status\":\"processed\",\"status_details\":null}");
}

void stored_json_name(char out[STORED_ID + 8], const char *id) {
    (void)snprintf(out, STORED_ID + 8, "%s.json", id);
}

lamina_status stored_adopt(struct batches *b, const char *from, const struct stored_file *about, struct lamina_error *err) {
    char name[STORED_ID + 8];
    struct str text = {0};
    struct stored_file *f = file_copy(about);
    stored_json_name(name, about->id);
    file_members(about, &text);
    lamina_status status = f != NULL ? stored_write(b, name, &text, err) : base_fail(err, LAMINA_NO_FIT, "out of memory");
    if (status == LAMINA_OK && renameat(b->dir, from, b->dir, about->id) < 0 &&
        !(errno == ENOENT && faccessat(b->dir, about->id, R_OK, 0) == 0)) {
        status = base_fail_errno(err, errno, "cannot keep %s", about->id);
        (void)unlinkat(b->dir, name, 0);
    }
    if (status == LAMINA_OK) {
        status = stored_sync(b, err);
    }
    str_drop(&text);
    pthread_mutex_lock(&b->lock);
    if (status == LAMINA_OK && stored_find(b, span_of_text(about->id)) == NULL) {
        file_insert(b, f);
        f = NULL;
    }
    pthread_mutex_unlock(&b->lock);
    if (f != NULL) {
        file_free(f);
    }
    return status;
}

bool stored_take(struct json_reader *r, char *to, size_t size) {
    struct str text = {.limit = 4096};
    bool good = json_string(r, &text) && text.len < size;
    if (good) {
        memcpy(to, str_text(&text), text.len + 1);
    } else {
        (void)json_refuse(r, LAMINA_USAGE, "must be a text of less than %zu bytes", size);
    }
    str_drop(&text);
    return good;
}

void stored_load(struct batches *b, const char *name) {
    struct stored_file f = {0};
    struct str text = {0}, key_text = {0}, file_name = {0};
    struct lamina_error err = {0};
    struct json_reader r;
    struct span key;
    struct stat there;
    lamina_status status = stored_read(b, name, &text, &err);
    json_init(&r, str_span(&text), name, &key_text, &err);
    bool good = status == LAMINA_OK && json_enter_object(&r);
    while (good && json_next_key(&r, &key)) {
        if (span_is(key, "id")) {
            good = stored_take(&r, f.id, sizeof(f.id));
        } else if (span_is(key, "created_at")) {
            good = json_i64(&r, &f.created);
        } else if (span_is(key, "filename")) {
            good = json_string(&r, &file_name);
        } else if (span_is(key, "purpose")) {
            good = stored_take(&r, f.purpose, sizeof(f.purpose));
        } else {
            (void)json_skip(&r);
        }
    }
    good = good && json_finish(&r) == LAMINA_OK && stored_is_id(span_of_text(f.id), FILE_PREFIX) &&
           strncmp(f.id, name, strlen(f.id)) == 0;
    if (good && fstatat(b->dir, f.id, &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(there.st_mode)) {
        f.bytes = (uint64_t)there.st_size;
        f.name = (char *)(uintptr_t)str_text(&file_name);
        struct stored_file *copy = file_copy(&f);
        if (copy != NULL) {
            file_insert(b, copy);
        }
    } else if (good && errno == ENOENT) {
        (void)unlinkat(b->dir, name, 0); /* written first, and the file never came */
    } else {
        b->server->o.say(0, "the description %s of a file cannot be read and is left alone", name);
    }
    str_drop(&text);
    str_drop(&key_text);
    str_drop(&file_name);
}

/* ---- the interface ---- */

const char *query_value(struct exchange *x, const char *name) {
    return x->server->http.lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

bool list_query(struct exchange *x, uint64_t limit, uint64_t most, struct list_query *q, struct refusal *why) {
    const char *text = query_value(x, "limit");
    const char *order = query_value(x, "order");
    *q = (struct list_query){.limit = limit, .after = query_value(x, "after"),
                             .ascending = order != NULL && strcmp(order, "asc") == 0, .on = query_value(x, "after") == NULL};
    if (text != NULL) {
        char *end = NULL;
        unsigned long long value = strtoull(text, &end, 10);
        if (text[0] < '0' || text[0] > '9' || *end != '\0' || value == 0 || value > most) {
            (void)snprintf(why->param, sizeof(why->param), "limit");
            return refuse(why, 400, "invalid_request_error", NULL, "limit must be 1 to %llu", (unsigned long long)most);
        }
        q->limit = value;
    }
    if (order != NULL && !q->ascending && strcmp(order, "desc") != 0) {
        (void)snprintf(why->param, sizeof(why->param), "order");
        return refuse(why, 400, "invalid_request_error", NULL, "order must be asc or desc");
    }
    return true;
}

bool list_shows(struct list_query *q, const char *id, bool left_out, struct str *body) {
    bool wanted = q->on && !left_out;
    q->on = q->on || strcmp(id, q->after) == 0;
    q->more = wanted && q->shown == q->limit;
    if (!wanted || q->more) {
        return false;
    }
    str_add_text(body, q->shown++ > 0 ? "," : "");
    q->first = q->first == NULL ? id : q->first;
    q->last = id;
    return true;
}

void list_end(const struct list_query *q, struct str *body) {
    str_add_text(body, "],\"first_id\":");
    str_printf(body, q->first != NULL ? "\"%s\",\"last_id\":\"%s\"" : "null,\"last_id\":null", q->first, q->last);
    str_printf(body, ",\"has_more\":%s}", q->more ? "true" : "false");
}

void handle_files(struct exchange *x) {
    struct batches *b = x->server->batches;
    struct refusal why = {0};
    struct str body = {0};
    struct list_query q;
    if (!batches_ready(b, &why) || !list_query(x, 10000, 10000, &q, &why)) {
        exchange_refuse(x, &why);
        return;
    }
    const char *purpose = query_value(x, "purpose");
    str_add_text(&body, "{\"object\":\"list\",\"data\":[");
    pthread_mutex_lock(&b->lock);
    uint32_t count = b->file_count;
    struct stored_file **all = (struct stored_file **)calloc((size_t)count + 1, sizeof(struct stored_file *));
    body.failed = body.failed || all == NULL;
    uint32_t i = 0;
    for (struct stored_file *f = b->files; f != NULL && all != NULL; f = f->next, i++) {
        all[q.ascending ? count - 1 - i : i] = f;
    }
    for (i = 0; all != NULL && i < count && !q.more; i++) {
        if (list_shows(&q, all[i]->id, purpose != NULL && strcmp(purpose, all[i]->purpose) != 0, &body)) {
            file_members(all[i], &body);
        }
    }
    list_end(&q, &body);
    pthread_mutex_unlock(&b->lock);
    free(all);
    exchange_json(x, 200, &body);
}

static bool no_file(struct refusal *why) {
    return refuse(why, 404, "invalid_request_error", NULL, "there is no such file");
}

static void send_content(struct exchange *x, const char *id) {
    struct refusal why = {0};
    struct stat about;
    int fd = openat(x->server->batches->dir, id, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &about) < 0) {
        if (fd >= 0) {
            (void)close(fd);
        }
        (void)no_file(&why);
        exchange_refuse(x, &why);
        return;
    }
    struct MHD_Response *r = x->server->http.create_response_from_fd64((uint64_t)about.st_size, fd); /* closes it */
    if (r == NULL) {
        (void)close(fd);
    }
    exchange_send(x, 200, r, "application/octet-stream");
}

void handle_file(struct exchange *x) {
    struct batches *b = x->server->batches;
    struct refusal why = {0};
    struct str body = {0};
    char id[STORED_ID] = "";
    struct span asked = span_of_text(x->rest);
    bool content = span_ends_with(asked, "/content");
    asked = content ? span_sub(asked, 0, asked.len - strlen("/content")) : asked;
    if (batches_ready(b, &why)) {
        pthread_mutex_lock(&b->lock);
        const struct stored_file *f = stored_is_id(asked, FILE_PREFIX) ? stored_find(b, asked) : NULL;
        if (f != NULL) {
            memcpy(id, f->id, sizeof(id));
            file_members(f, &body);
        }
        pthread_mutex_unlock(&b->lock);
    }
    if (id[0] == '\0') {
        (void)no_file(&why);
        exchange_refuse(x, &why);
    } else if (content) {
        str_drop(&body);
        send_content(x, id);
    } else {
        exchange_json(x, 200, &body);
    }
}

void handle_file_delete(struct exchange *x) {
    struct batches *b = x->server->batches;
    struct refusal why = {0};
    struct str body = {0};
    struct span asked = span_of_text(x->rest);
    char name[STORED_ID + 8];
    if (!batches_ready(b, &why) || !stored_is_id(asked, FILE_PREFIX)) {
        (void)no_file(&why);
        exchange_refuse(x, &why);
        return;
    }
    pthread_mutex_lock(&b->lock);
    struct stored_file **at = &b->files;
    while (*at != NULL && !span_is(asked, (*at)->id)) {
        at = &(*at)->next;
    }
    struct stored_file *f = *at;
    if (f == NULL) {
        (void)no_file(&why);
    } else if (batch_holds(b, f->id)) {
        (void)refuse(&why, 409, "invalid_request_error", "file_in_use",
                     "a batch that has not ended needs this file; cancel it first");
    } else {
        stored_json_name(name, f->id);
        if (unlinkat(b->dir, f->id, 0) < 0 && errno != ENOENT) {
            (void)refuse(&why, 500, "server_error", NULL, "the file cannot be deleted: error %d", errno);
        } else {
            (void)unlinkat(b->dir, name, 0);
            *at = f->next;
            b->file_count--;
            str_printf(&body, "{\"id\":\"%s\",\"object\":\"file\",\"deleted\":true}", f->id);
            file_free(f);
        }
    }
    pthread_mutex_unlock(&b->lock);
    if (why.http != 0) {
        exchange_refuse(x, &why);
    } else {
        exchange_json(x, 200, &body);
    }
}
