/* SPDX-License-Identifier: Apache-2.0
 *
 * A file that comes as a form: its bytes go to a temporary file as they come and never stand in memory together. What is wrong is
 * noted, the rest of the body dropped, and the handler says it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "app/server/batches.h"
#include "app/server/server_priv.h"
#include "base/status.h"

enum { POST_BUFFER = 16 << 10, KEEP_FREE = 64 << 20 };

struct upload {
    int fd;
    char temporary[STORED_ID], purpose[16], name[256];
    uint64_t bytes, taken;
    bool has_file, has_purpose;
    struct refusal why;
};

static void write_part(struct upload *u, const char *bytes, size_t len) {
    if (!stored_put(u->fd, bytes, len)) {
        bool full = errno == ENOSPC || errno == EDQUOT;
        (void)refuse(&u->why, full ? 507 : 500, "server_error", "no_storage", "the file cannot be kept: %s",
                     full ? "the disk is full" : "writing failed");
        return;
    }
    u->bytes += len;
}

static enum MHD_Result on_field(void *user, enum MHD_ValueKind kind, const char *key, const char *filename, const char *type,
                                const char *encoding, const char *bytes, uint64_t off, size_t len) {
    struct upload *u = (struct upload *)user;
    (void)kind;
    (void)type;
    (void)encoding;
    if (u->why.http != 0 || key == NULL) {
        return MHD_YES;
    }
    if (strcmp(key, "file") == 0) {
        if (off == 0 && u->has_file && u->bytes > 0) {
            (void)refuse(&u->why, 400, "invalid_request_error", NULL, "the form has more than one file");
            return MHD_YES;
        }
        u->has_file = true;
        if (off == 0) {
            (void)snprintf(u->name, sizeof(u->name), "%s", filename != NULL ? filename : "");
        }
        write_part(u, bytes, len);
    } else if (strcmp(key, "purpose") == 0) {
        u->has_purpose = true;
        if (off + len >= sizeof(u->purpose)) {
            (void)snprintf(u->purpose, sizeof(u->purpose), "(long)");
        } else {
            memcpy(u->purpose + off, bytes, len);
        }
    }
    return MHD_YES;
}

/* Whether the disk has room for what the client announces. */
static bool check_space(struct exchange *x, struct refusal *why) {
    const char *length = x->server->http.lookup_connection_value(x->connection, MHD_HEADER_KIND, "Content-Length");
    uint64_t need = (length != NULL ? strtoull(length, NULL, 10) : 0) + KEEP_FREE;
    struct statvfs about;
    if (fstatvfs(x->server->batches->dir, &about) == 0 && (uint64_t)about.f_bavail * about.f_frsize < need) {
        return refuse(why, 507, "server_error", "no_storage", "the server's disk has no room for the file and %d MiB beside it",
                      KEEP_FREE >> 20);
    }
    return true;
}

static struct upload *begin(struct exchange *x) {
    struct batches *b = x->server->batches;
    struct upload *u = (struct upload *)calloc(1, sizeof(*u));
    if (u == NULL) {
        return NULL;
    }
    u->fd = -1;
    if (!batches_ready(b, &u->why) || !check_space(x, &u->why)) {
        return u;
    }
    answer_random_id(u->temporary, sizeof(u->temporary), "tmp-");
    u->fd = openat(b->dir, u->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    x->post = x->server->http.create_post_processor(x->connection, POST_BUFFER, on_field, u);
    if (u->fd < 0) {
        (void)refuse(&u->why, 500, "server_error", "no_storage", "the file cannot be kept: error %d", errno);
    } else if (x->post == NULL) {
        (void)refuse(&u->why, 400, "invalid_request_error", NULL, "Content-Type names no boundary of a form");
    }
    return u;
}

enum MHD_Result upload_take(struct exchange *x, const char *bytes, size_t len) {
    x->upload = x->upload != NULL ? x->upload : begin(x);
    struct upload *u = x->upload;
    if (u == NULL) {
        return MHD_NO;
    }
    u->taken += len;
    if (u->taken > SERVER_FILE_LIMIT) {
        (void)refuse(&u->why, 413, "invalid_request_error", NULL, "the body is larger than %d bytes", SERVER_FILE_LIMIT);
    }
    if (u->taken > (uint64_t)SERVER_FILE_LIMIT + 4 * SERVER_BODY_LIMIT) {
        return MHD_NO;
    }
    if (u->why.http == 0 && x->server->http.post_process(x->post, bytes, len) != MHD_YES) {
        (void)refuse(&u->why, 400, "invalid_request_error", NULL, "the body is no form");
    }
    return MHD_YES;
}

static bool check_form(struct exchange *x, struct upload *u, struct refusal *why) {
    struct batches *b = x->server->batches;
    if (u->why.http != 0) {
        *why = u->why;
        return false;
    }
    bool whole = x->server->http.destroy_post_processor(x->post) == MHD_YES;
    x->post = NULL;
    if (u->why.http != 0) {
        *why = u->why;
        return false;
    }
    if (!whole) {
        return refuse(why, 400, "invalid_request_error", NULL, "the form ends before it is whole");
    }
    if (!u->has_file) {
        (void)snprintf(why->param, sizeof(why->param), "file");
        return refuse(why, 400, "invalid_request_error", NULL, "the form has no field \"file\"");
    }
    if (strcmp(u->purpose, "batch") != 0) {
        (void)snprintf(why->param, sizeof(why->param), "purpose");
        return refuse(why, 400, "invalid_request_error", NULL, u->has_purpose ? "the only purpose here is \"batch\""
                                                                              : "the form has no field \"purpose\"");
    }
    pthread_mutex_lock(&b->lock);
    bool full = b->file_count >= FILES_MOST;
    pthread_mutex_unlock(&b->lock);
    return full ? refuse(why, 507, "server_error", "no_storage", "there are %d files; delete some", FILES_MOST) : true;
}

void handle_upload(struct exchange *x) {
    struct batches *b = x->server->batches;
    struct refusal why = {0};
    struct lamina_error err = {0};
    struct stored_file about = {.purpose = "batch", .created = (int64_t)time(NULL)};
    struct upload *u = x->upload;
    if (u == NULL) {
        (void)refuse(&why, 400, "invalid_request_error", NULL, "the body is empty; a form with \"purpose\" and \"file\" is wanted");
        exchange_refuse(x, &why);
        return;
    }
    if (!check_form(x, u, &why)) {
        exchange_refuse(x, &why);
        return;
    }
    answer_random_id(about.id, sizeof(about.id), FILE_PREFIX);
    about.name = u->name;
    about.bytes = u->bytes;
    lamina_status status = fsync(u->fd) == 0 ? stored_adopt(b, u->temporary, &about, &err)
                                             : base_fail_errno(&err, errno, "cannot write the file");
    if (status < 0) {
        (void)refuse(&why, status == LAMINA_NO_SPACE ? 507 : 500, "server_error", "no_storage", "%s", err.message);
        exchange_refuse(x, &why);
        return;
    }
    u->temporary[0] = '\0'; /* it has its name now */
    x->rest = about.id;
    handle_file(x);
    x->rest = NULL;
}

void upload_drop(struct exchange *x) {
    struct upload *u = x->upload;
    if (x->post != NULL) {
        (void)x->server->http.destroy_post_processor(x->post);
        x->post = NULL;
    }
    if (u != NULL) {
        if (u->fd >= 0) {
            (void)close(u->fd);
        }
        if (u->temporary[0] != '\0' && x->server->batches->dir >= 0) {
            (void)unlinkat(x->server->batches->dir, u->temporary, 0);
        }
        free(u);
        x->upload = NULL;
    }
}
