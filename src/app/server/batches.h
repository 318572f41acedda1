/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and batches. One directory below the home for each model that is served, 0700 and locked by its server:
 *
 *     file-HEX  file-HEX.json           a file, and what is known of it (written first: a file counts when both are there)
 *     batch_HEX.json                    a batch, written anew at each change of its state
 *     batch_HEX.out  batch_HEX.err      lines of a batch at work, appended; they become files when it ends
 *     tmp-HEX                           anything half written
 *
 * Names are made here and nowhere else: what clients send is an id only when it has the form of one. The lock guards the lists and
 * what changes in a batch; one thread, the worker, works on batches, one after another.
 */
#ifndef SERVER_BATCHES_H
#define SERVER_BATCHES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "app/server/request.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"

enum {
    STORED_ID = 40,                  /* room for an id */
    FILES_MOST = 4096,
    BATCHES_MOST = 1000,             /* older ones that ended are forgotten */
    BATCH_LINES_MOST = 50000,
    BATCH_LINE_LIMIT = 4 << 20,
    BATCH_IN_FLIGHT_BYTES = 4 << 20, /* of lines handed to the engine; one line may always go */
    BATCH_ERRORS_MOST = 100,
    CUSTOM_ID_LIMIT = 512,
};
#define FILE_PREFIX "file-"
#define BATCH_PREFIX "batch_"

struct stored_file {
    struct stored_file *next;
    char id[STORED_ID], purpose[16];
    char *name;                      /* as the client called it; never a path of ours */
    uint64_t bytes;
    int64_t created;
};

enum batch_state { BATCH_VALIDATING, BATCH_IN_PROGRESS, BATCH_FINALIZING, BATCH_COMPLETED, BATCH_FAILED, BATCH_CANCELLING,
                   BATCH_CANCELLED, BATCH_STATES };

struct batch {
    struct batch *next;
    char id[STORED_ID], input[STORED_ID], output[STORED_ID], error[STORED_ID]; /* output, error: reserved from the beginning */
    char endpoint[32], window[16];
    struct str metadata;             /* a JSON object, or empty */
    struct str errors;               /* items of a JSON list */
    uint32_t error_count;
    int64_t at[BATCH_STATES];        /* when it came into each state, 0: never */
    /* lock: */
    enum batch_state state;
    uint32_t total, completed, failed;
    bool has_output, has_error;
};

struct server;
struct batches {
    struct server *server;
    int dir, lock_fd;
    char why[320];                   /* why there are none; empty: there are */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t work;
    /* lock: */
    bool ending;
    struct stored_file *files;       /* newest first */
    struct batch *list;              /* newest first */
    uint32_t file_count, batch_count;
};

/* Opens the directory, reads what is there and goes on with what had not ended. Where that cannot be, the server serves without. */
lamina_status batches_open(struct batches **out, struct server *s, struct lamina_error *err);
/* The worker ends: after the engine has refused, and when its jobs have ended. */
void batches_end(struct batches *b);
void batches_free(struct batches **at);

/* files.c */
bool stored_is_id(struct span text, const char *prefix);
/* All of it, from where the descriptor stands; false with errno. */
bool stored_put(int fd, const char *bytes, size_t len);
lamina_status stored_write(struct batches *b, const char *name, const struct str *text, struct lamina_error *err);
lamina_status stored_read(struct batches *b, const char *name, struct str *text, struct lamina_error *err);
lamina_status stored_sync(struct batches *b, struct lamina_error *err);
/* Makes a file of `from`, which was synced; once more is no harm. Takes the lock. */
lamina_status stored_adopt(struct batches *b, const char *from, const struct stored_file *about, struct lamina_error *err);
struct stored_file *stored_find(struct batches *b, struct span id); /* under the lock */
void stored_load(struct batches *b, const char *json_name);
void stored_free_all(struct batches *b);
void stored_json_name(char out[STORED_ID + 8], const char *id);
/* A text of less than `size` bytes; what is longer is refused. */
bool stored_take(struct json_reader *r, char *to, size_t size);
bool batches_ready(const struct batches *b, struct refusal *why);
/* Query fields of lists: limit, after, order; and what of the list was shown. */
struct list_query {
    uint64_t limit, shown;
    const char *after, *first, *last;
    bool ascending, on, more;
};
struct exchange;
bool list_query(struct exchange *x, uint64_t limit, uint64_t most, struct list_query *q, struct refusal *why);
const char *query_value(struct exchange *x, const char *name);
/* Whether the next item, which may be left out, is to be written behind what *body has; nothing follows once q->more is set. */
bool list_shows(struct list_query *q, const char *id, bool left_out, struct str *body);
/* Ends the list; the ids that were shown are still there. */
void list_end(const struct list_query *q, struct str *body);

/* batches.c */
lamina_status batch_save(struct batches *b, const struct batch *batch, struct lamina_error *err);
void batch_load(struct batches *b, const char *json_name);
void batch_free_all(struct batches *b);
bool batch_is_over(const struct batch *batch);
/* Whether an unfinished batch needs the file; under the lock. */
bool batch_holds(const struct batches *b, const char *file_id);

/* batch_lines.c: the lines of an input, and which of them are done. */
struct batch_line {
    struct hash128 id; /* of custom_id */
    uint64_t offset;
    uint32_t len;
    bool done;
};
struct batch_lines {
    struct batch_line *line; /* heap */
    uint32_t count, *slot;   /* hash table of indices + 1 */
};
/* Reads and checks the whole input; what is wrong is listed in batch->errors. */
lamina_status batch_lines_read(struct batch_lines *l, int fd, struct batch *batch, struct lamina_error *err);
void batch_lines_drop(struct batch_lines *l);
/* Marks lines that are in an output; what stands behind its last whole line is cut off. */
lamina_status batch_lines_done(struct batch_lines *l, int fd, uint32_t *count, struct lamina_error *err);
/* custom_id and the text of "body" in a line that was checked. */
bool batch_line_parts(struct span text, struct str *custom_id, struct span *body);

/* batch_run.c */
void *batch_worker(void *batches);

#endif
