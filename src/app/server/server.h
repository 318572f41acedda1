/* SPDX-License-Identifier: Apache-2.0
 *
 * The server of `lamina serve`: an open model behind HTTP. The command gives it the model; it listens until `stop` says so.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "app/server/engine.h"
#include "lamina/lamina.h"

enum { SERVER_RESERVE_BYTES = 32 << 20 }; /* of the budget, for bodies, connections and answers under way */

struct server_options {
    struct lamina_model *model;
    struct engine_watch *watch;    /* user of the model's callbacks */
    const char *name;              /* the model's, for clients */
    const char *home;              /* files and batches live below it */
    const char *host, *uds;        /* uds: a Unix socket instead of host and port */
    uint32_t port;                 /* 0: any; the line on stderr says which */
    const char *api_key;           /* NULL: none is asked for */
    const char *const *allowed_hosts;
    uint32_t allowed_host_count;
    const char *const *cors_origins; /* "*": every one */
    uint32_t cors_origin_count;
    uint32_t parallel, queue, logit_rows, context_tokens, connections, keep_alive_s, grace_s;
    bool hold_open;
    uint64_t budget_bytes;         /* of the whole process, UINT64_MAX: none */
    void (*listening)(void *user, uint32_t port); /* told once; not for a Unix socket */
    void *listening_user;
    bool (*stop)(void);
    void (*say)(int level, const char *fmt, ...); /* a line for the user; 0 warning, 1 note */
};

/* Serves until stop() and the end of what runs then. */
lamina_status server_run(const struct server_options *o, struct lamina_error *err);

#endif
