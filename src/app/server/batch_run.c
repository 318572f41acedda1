/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker of batches: takes the lines of one batch after another to the engine as ordinary requests of the background, more than
 * have places at once, so a place that becomes free is taken with the next sweep. Each answer is one line appended with one write;
 * fsync follows within SYNC_S. What is not in the output when the process ends is computed again; nothing else is.
 */
#include <errno.h>
#include <fcntl.h>
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

enum { SYNC_S = 2, TICK_MS = 20, SLOTS_PER_PLACE = 2, FAILURES_MOST = 5 };

struct slot {
    bool used;
    struct answer answer;
    uint32_t line, len;    /* which line, and its bytes */
    struct str custom_id;
};

struct work {
    struct batches *b;
    struct batch *batch;
    struct batch_lines lines;
    struct slot *slot;     /* [slots] */
    uint32_t slots, used, next;
    uint64_t bytes;        /* of the lines in slots */
    uint32_t again;        /* lines before `next` that are not done: the server failed, not they */
    uint32_t failures;     /* of the server, in a row */
    uint64_t rest_until_ns;/* no line is begun after a failure */
    int input, out, err_out;
    bool unsynced;
    uint64_t synced_ns;
};

static int64_t now_s(void) {
    return (int64_t)time(NULL);
}

/* ---- states ---- */

static lamina_status become(struct batches *b, struct batch *c, enum batch_state state, struct lamina_error *err) {
    pthread_mutex_lock(&b->lock);
    c->state = state;
    c->at[state] = c->at[state] == 0 ? now_s() : c->at[state];
    lamina_status status = batch_save(b, c, err);
    pthread_mutex_unlock(&b->lock);
    return status;
}

static bool stopped(struct work *w) {
    pthread_mutex_lock(&w->b->lock);
    bool is = w->b->ending;
    pthread_mutex_unlock(&w->b->lock);
    return is;
}

static enum batch_state state_of(struct work *w) {
    pthread_mutex_lock(&w->b->lock);
    enum batch_state state = w->batch->state;
    pthread_mutex_unlock(&w->b->lock);
    return state;
}

static void part_name(char name[STORED_ID + 8], const struct batch *c, const char *end) {
    (void)snprintf(name, STORED_ID + 8, "%s.%s", c->id, end);
}

/* A part that has lines becomes a file; an empty one goes. */
static lamina_status adopt(struct batches *b, struct batch *c, bool errors, struct lamina_error *err) {
    char name[STORED_ID + 8], client_name[STORED_ID + 16];
    struct stat about;
    struct stored_file f = {.purpose = "batch_output", .created = now_s(), .name = client_name};
    lamina_status status = LAMINA_OK;
    part_name(name, c, errors ? "err" : "out");
    (void)snprintf(client_name, sizeof(client_name), "%s_%s.jsonl", c->id, errors ? "error" : "output");
    memcpy(f.id, errors ? c->error : c->output, sizeof(f.id));
    bool there = fstatat(b->dir, name, &about, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && about.st_size == 0) {
        (void)unlinkat(b->dir, name, 0);
        return LAMINA_OK;
    }
    if (there) {
        f.bytes = (uint64_t)about.st_size;
        status = stored_adopt(b, name, &f, err);
    }
    pthread_mutex_lock(&b->lock);
    bool has = status == LAMINA_OK && stored_find(b, span_of_text(f.id)) != NULL; /* also made before a crash */
    *(errors ? &c->has_error : &c->has_output) = has;
    pthread_mutex_unlock(&b->lock);
    return status;
}

/* The end of a batch: its lines become files, then its state says so. */
static lamina_status finish(struct batches *b, struct batch *c, enum batch_state state, struct lamina_error *err) {
    LAMINA_TRY(adopt(b, c, false, err));
    LAMINA_TRY(adopt(b, c, true, err));
    return become(b, c, state, err);
}

static void note_failure(struct batches *b, struct batch *c, const struct lamina_error *why) {
    struct lamina_error err = {0};
    pthread_mutex_lock(&b->lock);
    str_printf(&c->errors, "%s{\"code\":\"server_error\",\"message\":", c->error_count++ > 0 ? "," : "");
    json_write_string(&c->errors, span_of_text(why->message));
    str_add_text(&c->errors, ",\"line\":null,\"param\":null}");
    pthread_mutex_unlock(&b->lock);
    b->server->o.say(0, "batch %s failed: %s", c->id, why->message);
    if (finish(b, c, BATCH_FAILED, &err) < 0) {
        b->server->o.say(0, "the state of batch %s cannot be kept, the next start goes on with it: %s", c->id, err.message);
        pthread_mutex_lock(&b->lock);
        c->state = BATCH_FAILED;
        c->at[BATCH_FAILED] = now_s();
        pthread_mutex_unlock(&b->lock);
    }
}

/* ---- lines out ---- */

static lamina_status sync_parts(struct work *w, struct lamina_error *err) {
    if (w->unsynced && (fsync(w->out) < 0 || fsync(w->err_out) < 0)) {
        return base_fail_errno(err, errno, "the output of a batch cannot be written");
    }
    w->unsynced = false;
    w->synced_ns = engine_now_ns();
    return LAMINA_OK;
}

static lamina_status append(int fd, const struct str *line, struct lamina_error *err) {
    if (line->failed) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for an answer of a batch");
    }
    off_t begin = lseek(fd, 0, SEEK_CUR);
    if (begin < 0 || !stored_put(fd, line->ptr, line->len)) {
        int why = errno;
        if (begin >= 0 && (ftruncate(fd, begin) < 0 || lseek(fd, begin, SEEK_SET) < 0)) { /* a part of a line is no answer */
            return base_fail_errno(err, why, "the output of a batch cannot be written, and ends in the middle of a line");
        }
        return base_fail_errno(err, why, "the output of a batch cannot be written");
    }
    return LAMINA_OK;
}

/* One line: the answer, or why there is none. */
static lamina_status record(struct work *w, struct slot *s, const struct refusal *why, struct lamina_error *err) {
    struct str line = {0};
    char id[48];
    bool good = why->http == 0;
    answer_random_id(id, sizeof(id), "batch_req_");
    str_printf(&line, "{\"id\":\"%s\",\"custom_id\":", id);
    json_write_string(&line, str_span(&s->custom_id));
    answer_random_id(id, sizeof(id), "req_");
    str_printf(&line, ",\"response\":{\"status_code\":%d,\"request_id\":\"%s\",\"body\":", good ? 200 : why->http, id);
    if (good) {
        s->answer.form->whole(&s->answer, &line);
    } else {
        form_chat.error(why, &line);
    }
    str_add_text(&line, "},\"error\":null}\n");
    lamina_status status = append(good ? w->out : w->err_out, &line, err);
    str_drop(&line);
    if (status == LAMINA_OK) {
        w->unsynced = true;
        pthread_mutex_lock(&w->b->lock);
        ++*(good ? &w->batch->completed : &w->batch->failed);
        pthread_mutex_unlock(&w->b->lock);
    }
    return status;
}

static bool rests(const struct work *w) {
    return engine_now_ns() < w->rest_until_ns;
}

/* What becomes of a line: its answer or refusal is written. Where the server failed, it is begun again behind the others, after a
 * rest that doubles; lines that fail together count once. Where the server ends, the next one begins it. */
static lamina_status line_over(struct work *w, struct slot *s, const struct refusal *why, struct lamina_error *err) {
    if (why->http == 503) {
        return LAMINA_OK;
    }
    if (why->http < 500 && why->http != 429) {
        w->failures = why->http == 0 ? 0 : w->failures;
        return record(w, s, why, err);
    }
    w->lines.line[s->line].done = false;
    w->again++;
    if (!rests(w) && ++w->failures == FAILURES_MOST) {
        return base_fail(err, LAMINA_UNEXPECTED, "the server failed %u times in a row, lines without an answer are not done: %s",
                         w->failures, why->message);
    }
    w->rest_until_ns = rests(w) ? w->rest_until_ns : engine_now_ns() + (UINT64_C(500000000) << w->failures);
    return LAMINA_OK;
}

static void slot_drop(struct work *w, struct slot *s) {
    answer_close(&s->answer);
    str_drop(&s->custom_id);
    w->bytes -= s->len;
    w->used--;
    *s = (struct slot){0};
}

/* ---- lines in ---- */

static lamina_status read_line(struct work *w, const struct batch_line *l, struct str *text, struct lamina_error *err) {
    if (!str_reserve(text, l->len)) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a line of a batch");
    }
    for (uint32_t at = 0; at < l->len;) {
        ssize_t n = pread(w->input, text->ptr + at, l->len - at, (off_t)(l->offset + at));
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return base_fail_errno(err, n < 0 ? errno : EIO, "cannot read the input of a batch");
        }
        at += n > 0 ? (uint32_t)n : 0;
    }
    text->len = l->len;
    return LAMINA_OK;
}

/* Gives line `next` to the engine. A refusal is an answer too, but not that of a server which ends. */
static lamina_status submit(struct work *w, struct slot *s, struct lamina_error *err) {
    struct batch_line *l = &w->lines.line[w->next];
    struct str text = {0};
    struct span body = {0};
    struct refusal why = {0};
    enum request_api api = strcmp(w->batch->endpoint, "/v1/completions") == 0 ? REQUEST_COMPLETION : REQUEST_CHAT;
    lamina_status status = read_line(w, l, &text, err);
    if (status == LAMINA_OK && !batch_line_parts(str_span(&text), &s->custom_id, &body)) {
        status = base_fail(err, LAMINA_UNEXPECTED, "the input of the batch is not what it was when it was checked");
    }
    if (status == LAMINA_OK) {
        l->done = true; /* as long as the server does not fail */
        s->used = true;
        s->line = w->next;
        s->len = l->len;
        w->used++;
        w->bytes += l->len;
        bool good = answer_read(&s->answer, &w->b->server->place, api, body, &why);
        s->answer.background = true;
        if (!good || !answer_tokens(&s->answer, &why) || !answer_submit(&s->answer, &why)) {
            status = line_over(w, s, &why, err);
            slot_drop(w, s);
        }
    } else {
        str_drop(&s->custom_id);
    }
    str_drop(&text);
    return status;
}

static lamina_status fill(struct work *w, struct lamina_error *err) {
    for (uint32_t i = 0; i < w->slots && !w->b->server->ending && !rests(w); i++) {
        if (w->next == w->lines.count && w->again > 0) {
            w->next = 0;
            w->again = 0;
        }
        while (w->next < w->lines.count && w->lines.line[w->next].done) {
            w->next++;
        }
        if (w->next == w->lines.count) {
            break;
        }
        const struct batch_line *l = &w->lines.line[w->next];
        if (w->slot[i].used) {
            continue;
        }
        if (w->used > 0 && w->bytes + l->len > BATCH_IN_FLIGHT_BYTES) {
            break;
        }
        LAMINA_TRY(submit(w, &w->slot[i], err));
        w->next++;
    }
    return LAMINA_OK;
}

/* Takes what the engine has; the first one at work waits a moment. */
static lamina_status collect(struct work *w, struct lamina_error *err) {
    unsigned wait = TICK_MS;
    for (uint32_t i = 0; i < w->slots; i++) {
        struct slot *s = &w->slot[i];
        struct refusal why = {0};
        lamina_status status = LAMINA_OK;
        if (!s->used) {
            continue;
        }
        if (answer_pump(&s->answer, wait, NULL)) {
            (void)answer_failed(&s->answer, &why);
            status = line_over(w, s, &why, err);
            slot_drop(w, s);
        }
        wait = 0;
        LAMINA_TRY(status);
    }
    return LAMINA_OK;
}

/* ---- one batch ---- */

static lamina_status open_part(struct work *w, const char *end, int *fd, uint32_t *done, struct lamina_error *err) {
    char name[STORED_ID + 8];
    part_name(name, w->batch, end);
    *fd = openat(w->b->dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0) {
        return base_fail_errno(err, errno, "the output of a batch cannot be opened");
    }
    return batch_lines_done(&w->lines, *fd, done, err);
}

/* What is wrong with the input is gathered aside: clients may look at the batch meanwhile. */
static lamina_status check_lines(struct work *w, struct lamina_error *err) {
    struct batch *c = w->batch;
    struct batch found = {0};
    memcpy(found.endpoint, c->endpoint, sizeof(found.endpoint));
    lamina_status status = batch_lines_read(&w->lines, w->input, &found, err);
    pthread_mutex_lock(&w->b->lock);
    if (status == LAMINA_OK && found.error_count > 0) {
        str_drop(&c->errors);
        c->errors = found.errors;
        c->error_count = found.error_count;
        found.errors = (struct str){0};
    }
    pthread_mutex_unlock(&w->b->lock);
    str_drop(&found.errors);
    return status;
}

static lamina_status open_work(struct work *w, struct lamina_error *err) {
    struct batch *c = w->batch;
    uint32_t done[2] = {0};
    w->slots = w->b->server->o.parallel * SLOTS_PER_PLACE;
    w->slot = (struct slot *)calloc(w->slots, sizeof(*w->slot));
    if (w->slot == NULL) {
        return base_fail(err, LAMINA_NO_FIT, "out of memory for a batch");
    }
    w->input = openat(w->b->dir, c->input, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (w->input < 0) {
        return base_fail_errno(err, errno, "the input of the batch cannot be read");
    }
    LAMINA_TRY(check_lines(w, err));
    if (c->error_count > 0) {
        return LAMINA_OK;
    }
    LAMINA_TRY(open_part(w, "out", &w->out, &done[0], err));
    LAMINA_TRY(open_part(w, "err", &w->err_out, &done[1], err));
    LAMINA_TRY(stored_sync(w->b, err));
    pthread_mutex_lock(&w->b->lock);
    c->total = w->lines.count;
    c->completed = done[0];
    c->failed = done[1];
    lamina_status status = LAMINA_OK;
    if (c->state == BATCH_VALIDATING) {
        c->state = BATCH_IN_PROGRESS;
        c->at[BATCH_IN_PROGRESS] = now_s();
        status = batch_save(w->b, c, err);
    }
    pthread_mutex_unlock(&w->b->lock);
    return status;
}

static bool has_lines(const struct work *w) {
    return w->used > 0 || w->next < w->lines.count || w->again > 0;
}

static void settle_cancelled(struct batches *b, const struct batch *but);

/* Until all lines are answered, it is cancelled or the server ends. */
static lamina_status answer_lines(struct work *w, struct lamina_error *err) {
    while (has_lines(w) && state_of(w) != BATCH_CANCELLING) {
        bool last = stopped(w);
        LAMINA_TRY(fill(w, err));
        LAMINA_TRY(collect(w, err));
        if (engine_now_ns() - w->synced_ns > SYNC_S * UINT64_C(1000000000)) {
            LAMINA_TRY(sync_parts(w, err));
            settle_cancelled(w->b, w->batch);
        }
        if (last) {
            break;
        }
        if (w->used == 0 && (w->b->server->ending || rests(w))) {
            LAMINA_TRY(sync_parts(w, err));
            struct timespec t = {.tv_nsec = TICK_MS * 1000000};
            (void)nanosleep(&t, NULL);
        }
    }
    return LAMINA_OK;
}

static void close_work(struct work *w) {
    for (uint32_t i = 0; w->slot != NULL && i < w->slots; i++) {
        if (w->slot[i].used) {
            slot_drop(w, &w->slot[i]);
        }
    }
    free(w->slot);
    batch_lines_drop(&w->lines);
    const int fds[] = {w->input, w->out, w->err_out};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
}

static void run(struct batches *b, struct batch *c) {
    struct work w = {.b = b, .batch = c, .input = -1, .out = -1, .err_out = -1, .synced_ns = engine_now_ns()};
    struct lamina_error err = {0};
    lamina_status status = LAMINA_OK;
    enum batch_state state = state_of(&w);
    if (state == BATCH_VALIDATING || state == BATCH_IN_PROGRESS) {
        status = open_work(&w, &err);
        if (status == LAMINA_OK && c->error_count > 0) {
            status = finish(b, c, BATCH_FAILED, &err);
            close_work(&w);
            if (status < 0) {
                note_failure(b, c, &err);
            }
            return;
        }
        if (status == LAMINA_OK) {
            status = answer_lines(&w, &err);
        }
        struct lamina_error late = {0};
        lamina_status synced = w.err_out >= 0 ? sync_parts(&w, &late) : LAMINA_OK;
        if (status == LAMINA_OK && synced < 0) {
            status = synced;
            err = late;
        }
    }
    state = state_of(&w);
    bool whole = !has_lines(&w);
    pthread_mutex_lock(&b->lock);
    uint32_t answered = c->completed + c->failed;
    pthread_mutex_unlock(&b->lock);
    close_work(&w);
    if (status == LAMINA_OK && state == BATCH_CANCELLING) {
        status = finish(b, c, BATCH_CANCELLED, &err);
    } else if (status == LAMINA_OK && (state == BATCH_FINALIZING || (whole && answered == c->total))) {
        status = become(b, c, BATCH_FINALIZING, &err);
        status = status == LAMINA_OK ? finish(b, c, BATCH_COMPLETED, &err) : status;
    }
    if (status < 0) {
        note_failure(b, c, &err);
    }
}

/* ---- the thread ---- */

/* Batches that were cancelled while another one is at work. */
static void settle_cancelled(struct batches *b, const struct batch *but) {
    for (;;) {
        struct lamina_error err = {0};
        pthread_mutex_lock(&b->lock);
        struct batch *c = b->list;
        while (c != NULL && (c == but || c->state != BATCH_CANCELLING)) {
            c = c->next;
        }
        pthread_mutex_unlock(&b->lock);
        if (c == NULL) {
            return;
        }
        if (finish(b, c, BATCH_CANCELLED, &err) < 0) {
            note_failure(b, c, &err);
        }
    }
}

/* The oldest that has begun, else the oldest; under the lock. */
static struct batch *choose(struct batches *b) {
    struct batch *chosen = NULL;
    for (struct batch *c = b->list; c != NULL; c = c->next) { /* newest first */
        if (!batch_is_over(c) && (chosen == NULL || c->state != BATCH_VALIDATING || chosen->state == BATCH_VALIDATING)) {
            chosen = c;
        }
    }
    return chosen;
}

void *batch_worker(void *user) {
    struct batches *b = (struct batches *)user;
    for (;;) {
        pthread_mutex_lock(&b->lock);
        while (!b->ending && (b->server->ending || choose(b) == NULL)) {
            struct timespec until;
            (void)clock_gettime(CLOCK_REALTIME, &until);
            until.tv_sec += 1; /* the server's end is not told here */
            (void)pthread_cond_timedwait(&b->work, &b->lock, &until);
        }
        struct batch *c = b->ending ? NULL : choose(b);
        pthread_mutex_unlock(&b->lock);
        if (c == NULL) {
            return NULL;
        }
        run(b, c);
    }
}
