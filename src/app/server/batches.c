/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches as clients see them, and their state on disk: one JSON object for both.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "app/server/batches.h"
#include "app/server/server_priv.h"
#include "base/json.h"
#include "base/status.h"

enum { METADATA_MOST = 16, METADATA_KEY = 64, METADATA_VALUE = 512 };

static const char *const state_names[BATCH_STATES] = {"validating", "in_progress", "finalizing", "completed", "failed",
                                                      "cancelling", "cancelled"};

bool batch_is_over(const struct batch *batch) {
    return batch->state == BATCH_COMPLETED || batch->state == BATCH_FAILED || batch->state == BATCH_CANCELLED;
}

bool batch_holds(const struct batches *b, const char *file_id) {
    for (const struct batch *at = b->list; at != NULL; at = at->next) {
        if (!batch_is_over(at) &&
            (strcmp(at->input, file_id) == 0 || strcmp(at->output, file_id) == 0 || strcmp(at->error, file_id) == 0)) {
            return true;
        }
    }
    return false;
}

static void batch_free(struct batch *batch) {
    str_drop(&batch->metadata);
    str_drop(&batch->errors);
    free(batch);
}

void batch_free_all(struct batches *b) {
    while (b->list != NULL) {
        struct batch *batch = b->list;
        b->list = batch->next;
        batch_free(batch);
    }
}

/* ---- the object ---- */

static void maybe_id(struct str *out, const char *name, const char *id, bool there) {
    str_printf(out, there ? ",\"%s\":\"%s\"" : ",\"%s\":null", name, id);
}

static void batch_object(const struct batch *c, bool for_disk, struct str *out) {
    static const char *const times[BATCH_STATES] = {"created_at", "in_progress_at", "finalizing_at", "completed_at", "failed_at",
                                                    "cancelling_at", "cancelled_at"};
    str_printf(out, "{\"id\":\"%s\",\"object\":\"batch\",\"endpoint\":\"%s\",\"errors\":", c->id, c->endpoint);
    if (c->error_count > 0) {
        str_printf(out, "{\"object\":\"list\",\"data\":[%s]}", str_text(&c->errors));
    } else {
        str_add_text(out, "null");
    }
    str_printf(out, ",\"input_file_id\":\"%s\",\"completion_window\":\"%s\",\"status\":\"%s\"", c->input, c->window,
               state_names[c->state]);
    maybe_id(out, "output_file_id", c->output, c->has_output);
    maybe_id(out, "error_file_id", c->error, c->has_error);
    for (int i = 0; i < BATCH_STATES; i++) {
        str_printf(out, c->at[i] != 0 ? ",\"%s\":%" PRId64 : ",\"%s\":null", times[i], c->at[i]);
    }
    str_printf(out, ",\"expires_at\":null,\"expired_at\":null,\"request_counts\":{\"total\":%u,\"completed\":%u,\"failed\":%u}",
               c->total, c->completed, c->failed);
    str_printf(out, ",\"metadata\":%s", c->metadata.len > 0 ? str_text(&c->metadata) : "null");
    if (for_disk) {
        str_printf(out, ",\"reserved\":[\"%s\",\"%s\"]", c->output, c->error);
    }
    str_add_text(out, "}");
}

lamina_status batch_save(struct batches *b, const struct batch *batch, struct lamina_error *err) {
    char name[STORED_ID + 8];
    struct str text = {0};
    stored_json_name(name, batch->id);
    batch_object(batch, true, &text);
    lamina_status status = stored_write(b, name, &text, err);
    str_drop(&text);
    return status;
}

/* ---- reading ---- */

static void read_counts(struct json_reader *r, struct batch *c) {
    struct span key;
    uint64_t n = 0;
    (void)json_enter_object(r);
    while (json_next_key(r, &key)) {
        uint32_t *to = span_is(key, "total") ? &c->total : span_is(key, "completed") ? &c->completed : &c->failed;
        if (json_u64(r, &n)) {
            *to = (uint32_t)n;
        }
    }
}

static void read_errors(struct json_reader *r, struct batch *c) {
    struct span key, raw;
    if (json_null(r)) {
        return;
    }
    (void)json_enter_object(r);
    while (json_next_key(r, &key)) {
        if (!span_is(key, "data")) {
            (void)json_skip(r);
            continue;
        }
        (void)json_enter_array(r);
        while (json_next_item(r) && json_skip_raw(r, &raw)) {
            str_add_text(&c->errors, c->error_count++ > 0 ? "," : "");
            str_add_span(&c->errors, raw);
        }
    }
}

static void read_reserved(struct json_reader *r, struct batch *c) {
    (void)json_enter_array(r);
    for (int i = 0; json_next_item(r); i++) {
        (void)stored_take(r, i == 0 ? c->output : c->error, STORED_ID);
    }
}

/* False: a member that has no reader here. */
static bool read_member(struct json_reader *r, struct span key, struct batch *c) {
    static const struct {
        const char *name;
        enum batch_state state;
    } times[] = {{"created_at", BATCH_VALIDATING}, {"in_progress_at", BATCH_IN_PROGRESS}, {"finalizing_at", BATCH_FINALIZING},
                 {"completed_at", BATCH_COMPLETED}, {"failed_at", BATCH_FAILED}, {"cancelling_at", BATCH_CANCELLING},
                 {"cancelled_at", BATCH_CANCELLED}};
    char word[32] = "";
    struct span raw;
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        if (span_is(key, times[i].name)) {
            (void)(json_null(r) || json_i64(r, &c->at[times[i].state]));
            return true;
        }
    }
    if (span_is(key, "id")) {
        (void)stored_take(r, c->id, sizeof(c->id));
    } else if (span_is(key, "endpoint")) {
        (void)stored_take(r, c->endpoint, sizeof(c->endpoint));
    } else if (span_is(key, "input_file_id")) {
        (void)stored_take(r, c->input, sizeof(c->input));
    } else if (span_is(key, "completion_window")) {
        (void)stored_take(r, c->window, sizeof(c->window));
    } else if (span_is(key, "metadata")) {
        if (!json_null(r) && json_skip_raw(r, &raw)) {
            str_clear(&c->metadata);
            str_add_span(&c->metadata, raw);
        }
    } else if (span_is(key, "status")) {
        (void)stored_take(r, word, sizeof(word));
        c->state = BATCH_STATES;
        for (unsigned i = 0; i < BATCH_STATES; i++) {
            c->state = strcmp(word, state_names[i]) == 0 ? (enum batch_state)i : c->state;
        }
    } else {
        return false;
    }
    return true;
}

static void batch_insert(struct batches *b, struct batch *batch) {
    struct batch **at = &b->list;
    while (*at != NULL && ((*at)->at[0] > batch->at[0] || ((*at)->at[0] == batch->at[0] && strcmp((*at)->id, batch->id) > 0))) {
        at = &(*at)->next;
    }
    batch->next = *at;
    *at = batch;
    b->batch_count++;
}

void batch_load(struct batches *b, const char *name) {
    struct batch *c = (struct batch *)calloc(1, sizeof(*c));
    struct str text = {0}, key_text = {0};
    struct lamina_error err = {0};
    struct json_reader r;
    struct span key;
    lamina_status status = stored_read(b, name, &text, &err);
    json_init(&r, str_span(&text), name, &key_text, &err);
    bool good = c != NULL && status == LAMINA_OK && json_enter_object(&r);
    while (good && json_next_key(&r, &key)) {
        if (span_is(key, "request_counts")) {
            read_counts(&r, c);
        } else if (span_is(key, "errors")) {
            read_errors(&r, c);
        } else if (span_is(key, "reserved")) {
            read_reserved(&r, c);
        } else if (span_is(key, "output_file_id")) {
            c->has_output = json_peek(&r) == JSON_STRING;
            (void)json_skip(&r);
        } else if (span_is(key, "error_file_id")) {
            c->has_error = json_peek(&r) == JSON_STRING;
            (void)json_skip(&r);
        } else if (!read_member(&r, key, c)) {
            (void)json_skip(&r);
        }
    }
    good = good && json_finish(&r) == LAMINA_OK && c->state != BATCH_STATES && stored_is_id(span_of_text(c->id), BATCH_PREFIX) &&
           strncmp(c->id, name, strlen(c->id)) == 0 && stored_is_id(span_of_text(c->input), FILE_PREFIX) &&
           stored_is_id(span_of_text(c->output), FILE_PREFIX) && stored_is_id(span_of_text(c->error), FILE_PREFIX) &&
           !c->metadata.failed && !c->errors.failed;
    if (good) {
        batch_insert(b, c);
    } else {
        b->server->o.say(0, "the state %s of a batch cannot be read and is left alone", name);
        if (c != NULL) {
            batch_free(c);
        }
    }
    str_drop(&text);
    str_drop(&key_text);
}

static void check_metadata(struct json_reader r, struct json_reader *at) {
    struct span key;
    struct str value = {0};
    unsigned n = 0;
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        size_t key_len = key.len;
        str_clear(&value);
        if (json_peek(&r) != JSON_STRING || !json_string(&r, &value) || value.len > METADATA_VALUE || key_len > METADATA_KEY ||
            ++n > METADATA_MOST) {
            (void)json_refuse(at, LAMINA_USAGE, "metadata has at most %d texts of %d bytes, with names of %d", METADATA_MOST,
                              METADATA_VALUE, METADATA_KEY);
            break;
        }
    }
    str_drop(&value);
}

static bool read_request(struct batch *c, struct span body, struct refusal *why) {
    struct str key_text = {0};
    struct lamina_error err = {0};
    struct json_reader r;
    struct span key;
    json_init(&r, body, "the body", &key_text, &err);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        bool ours = span_is(key, "input_file_id") || span_is(key, "endpoint") || span_is(key, "completion_window");
        if (span_is(key, "metadata") && json_peek(&r) == JSON_OBJECT) {
            check_metadata(r, &r);
        }
        if (!(ours || span_is(key, "metadata")) || !read_member(&r, key, c)) {
            (void)json_skip(&r);
        }
    }
    bool good = json_finish(&r) == LAMINA_OK;
    str_drop(&key_text);
    if (!good) {
        return refuse(why, 400, "invalid_request_error", NULL, "%s", err.message);
    }
    if (strcmp(c->endpoint, "/v1/chat/completions") != 0 && strcmp(c->endpoint, "/v1/completions") != 0) {
        (void)snprintf(why->param, sizeof(why->param), "endpoint");
        return refuse(why, 400, "invalid_request_error", NULL, "endpoint must be /v1/chat/completions or /v1/completions");
    }
    if (strcmp(c->window, "24h") != 0) {
        (void)snprintf(why->param, sizeof(why->param), "completion_window");
        return refuse(why, 400, "invalid_request_error", NULL, "completion_window must be \"24h\" (batches do not expire here)");
    }
    return true;
}

/* ---- the interface ---- */

static struct batch *find(struct batches *b, struct span id) {
    struct batch *c = b->list;
    while (c != NULL && !span_is(id, c->id)) {
        c = c->next;
    }
    return c;
}

/* The oldest that ended goes when there are too many; under the lock. */
static bool make_room(struct batches *b) {
    struct batch **oldest = NULL;
    char name[STORED_ID + 8];
    if (b->batch_count < BATCHES_MOST) {
        return true;
    }
    for (struct batch **at = &b->list; *at != NULL; at = &(*at)->next) {
        oldest = batch_is_over(*at) ? at : oldest;
    }
    if (oldest == NULL) {
        return false;
    }
    struct batch *gone = *oldest;
    stored_json_name(name, gone->id);
    (void)unlinkat(b->dir, name, 0);
    *oldest = gone->next;
    b->batch_count--;
    batch_free(gone);
    return true;
}

static bool add(struct batches *b, struct batch *c, struct str *body, struct refusal *why) {
    struct lamina_error err = {0};
    bool good = true;
    pthread_mutex_lock(&b->lock);
    if (b->ending) {
        good = refuse(why, 503, "server_error", "shutting_down", "the server is ending: it takes no more batches");
    } else if (!stored_is_id(span_of_text(c->input), FILE_PREFIX) || stored_find(b, span_of_text(c->input)) == NULL) {
        (void)snprintf(why->param, sizeof(why->param), "input_file_id");
        good = refuse(why, 400, "invalid_request_error", NULL, "there is no such file");
    } else if (!make_room(b)) {
        good = refuse(why, 429, "rate_limit_error", "queue_full", "%d batches wait already", BATCHES_MOST);
    } else if (batch_save(b, c, &err) < 0) {
        good = refuse(why, err.code == LAMINA_NO_SPACE ? 507 : 500, "server_error", "no_storage", "%s", err.message);
    } else {
        batch_object(c, false, body);
        batch_insert(b, c);
        pthread_cond_signal(&b->work);
    }
    pthread_mutex_unlock(&b->lock);
    return good;
}

void handle_batch_create(struct exchange *x) {
    struct batches *b = x->server->batches;
    struct refusal why = {0};
    struct str body = {0};
    struct batch *c = (struct batch *)calloc(1, sizeof(*c));
    if (c == NULL) {
        x->queued = MHD_NO;
        return;
    }
    if (!batches_ready(b, &why) || !read_request(c, str_span(&x->body), &why)) {
        exchange_refuse(x, &why);
        batch_free(c);
        return;
    }
    answer_random_id(c->id, sizeof(c->id), BATCH_PREFIX);
    answer_random_id(c->output, sizeof(c->output), FILE_PREFIX);
    answer_random_id(c->error, sizeof(c->error), FILE_PREFIX);
    c->at[BATCH_VALIDATING] = (int64_t)time(NULL);
    if (!add(b, c, &body, &why)) {
        exchange_refuse(x, &why);
        batch_free(c);
        return;
    }
    exchange_json(x, 200, &body);
}

void handle_batches(struct exchange *x) {
    struct batches *b = x->server->batches;
    struct refusal why = {0};
    struct str body = {0};
    struct list_query q;
    if (!batches_ready(b, &why) || !list_query(x, 20, 100, &q, &why)) {
        exchange_refuse(x, &why);
        return;
    }
    str_add_text(&body, "{\"object\":\"list\",\"data\":[");
    pthread_mutex_lock(&b->lock);
    for (const struct batch *c = b->list; c != NULL && !q.more; c = c->next) {
        if (list_shows(&q, c->id, false, &body)) {
            batch_object(c, false, &body);
        }
    }
    list_end(&q, &body);
    pthread_mutex_unlock(&b->lock);
    exchange_json(x, 200, &body);
}

static void one(struct exchange *x, struct span id, bool cancel) {
    struct batches *b = x->server->batches;
    struct refusal why = {0};
    struct str body = {0};
    struct lamina_error err = {0};
    if (batches_ready(b, &why)) {
        pthread_mutex_lock(&b->lock);
        struct batch *c = stored_is_id(id, BATCH_PREFIX) ? find(b, id) : NULL;
        if (c == NULL) {
            (void)refuse(&why, 404, "invalid_request_error", NULL, "there is no such batch");
        } else if (cancel && (c->state == BATCH_COMPLETED || c->state == BATCH_FAILED || c->state == BATCH_FINALIZING)) {
            (void)refuse(&why, 409, "invalid_request_error", NULL, "the batch is %s: it cannot be cancelled",
                         state_names[c->state]);
        } else {
            if (cancel && !batch_is_over(c) && c->state != BATCH_CANCELLING) {
                enum batch_state before = c->state;
                c->state = BATCH_CANCELLING;
                c->at[BATCH_CANCELLING] = (int64_t)time(NULL);
                if (batch_save(b, c, &err) < 0) {
                    c->state = before;
                    (void)refuse(&why, 500, "server_error", "no_storage", "%s", err.message);
                }
                pthread_cond_signal(&b->work);
            }
            batch_object(c, false, &body);
        }
        pthread_mutex_unlock(&b->lock);
    }
    if (why.http != 0) {
        str_drop(&body);
        exchange_refuse(x, &why);
    } else {
        exchange_json(x, 200, &body);
    }
}

void handle_batch(struct exchange *x) {
    one(x, span_of_text(x->rest), false);
}

void handle_batch_cancel(struct exchange *x) {
    struct span id = span_of_text(x->rest);
    bool cancel = span_ends_with(id, "/cancel");
    one(x, cancel ? span_sub(id, 0, id.len - strlen("/cancel")) : (struct span){0}, cancel);
}

/* ---- beginning and end ---- */

static void unavailable(struct batches *b, const char *what, int why) {
    if (b->why[0] == '\0') {
        (void)snprintf(b->why, sizeof(b->why), "%.200s%s%.100s", what, why != 0 ? ": " : "", why != 0 ? strerror(why) : "");
    }
}

static void make_all(char *path, mode_t mode) {
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at == '/') {
            *at = '\0';
            (void)mkdir(path, mode);
            *at = '/';
        }
    }
}

/* HOME/serve/NAME-HASH, one for each name that is served. */
static void open_directory(struct batches *b) {
    const char *name = b->server->o.name;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct str path = {0};
    struct stat about;
    if (b->server->o.home == NULL || b->server->o.home[0] == '\0') {
        unavailable(b, "there is no home directory; --home sets one", 0);
        return;
    }
    str_printf(&path, "%s/", b->server->o.home);
    make_all(path.ptr != NULL ? path.ptr : (char[2]){"/"}, 0777);
    str_add_text(&path, "serve/");
    make_all(path.ptr != NULL ? path.ptr : (char[2]){"/"}, 0700);
    for (size_t i = 0; name[i] != '\0' && i < 64; i++) {
        char c = name[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        str_add_byte(&path, (uint8_t)(plain ? c : '_'));
    }
    str_printf(&path, "-%08llx", (unsigned long long)(hash_xxh3_64(name, strlen(name)) & 0xFFFFFFFFu));
    (void)mkdir(str_text(&path), 0700);
    b->dir = path.failed ? -1 : open(str_text(&path), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (b->dir < 0) {
        unavailable(b, "their directory below the home cannot be made", errno);
    } else if (fstat(b->dir, &about) < 0 || about.st_uid != geteuid() || fchmod(b->dir, 0700) < 0) {
        unavailable(b, "their directory below the home belongs to somebody else", 0);
    } else {
        b->lock_fd = openat(b->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (b->lock_fd < 0) {
            unavailable(b, "their directory below the home cannot be written", errno);
        } else if (fcntl(b->lock_fd, F_OFD_SETLK, &whole) < 0) {
            unavailable(b, "another server of this model and home keeps them", 0);
        }
    }
    str_drop(&path);
}

static void load(struct batches *b) {
    int fd = openat(b->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e = NULL;
    while (d != NULL && (e = readdir(d)) != NULL) {
        struct span name = span_of_text(e->d_name);
        struct span stem = span_sub(name, 0, name.len > 5 ? name.len - 5 : 0);
        if (span_starts_with(name, "tmp-")) {
            (void)unlinkat(b->dir, e->d_name, 0);
        } else if (span_ends_with(name, ".json") && stored_is_id(stem, FILE_PREFIX)) {
            stored_load(b, e->d_name);
        } else if (span_ends_with(name, ".json") && stored_is_id(stem, BATCH_PREFIX)) {
            batch_load(b, e->d_name);
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
}

lamina_status batches_open(struct batches **out, struct server *s, struct lamina_error *err) {
    struct batches *b = (struct batches *)calloc(1, sizeof(*b));
    sigset_t all;
    sigset_t before;
    if (b == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory");
    }
    *out = b;
    *b = (struct batches){.server = s, .dir = -1, .lock_fd = -1};
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->work, NULL);
    open_directory(b);
    if (b->why[0] != '\0') {
        s->o.say(1, "no files and batches are kept: %s", b->why);
        return LAMINA_OK;
    }
    load(b);
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = pthread_create(&b->thread, NULL, batch_worker, b);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    b->started = failed == 0;
    return failed == 0 ? LAMINA_OK : base_fail_errno(err, failed, "cannot start the thread of batches");
}

void batches_end(struct batches *b) {
    if (b != NULL && b->started) {
        pthread_mutex_lock(&b->lock);
        b->ending = true;
        pthread_cond_signal(&b->work);
        pthread_mutex_unlock(&b->lock);
        pthread_join(b->thread, NULL);
        b->started = false;
    }
}

void batches_free(struct batches **at) {
    struct batches *b = *at;
    if (b == NULL) {
        return;
    }
    batches_end(b);
    batch_free_all(b);
    stored_free_all(b);
    if (b->lock_fd >= 0) {
        (void)close(b->lock_fd);
    }
    if (b->dir >= 0) {
        (void)close(b->dir);
    }
    pthread_cond_destroy(&b->work);
    pthread_mutex_destroy(&b->lock);
    free(b);
    *at = NULL;
}
