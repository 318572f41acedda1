/* SPDX-License-Identifier: Apache-2.0
 *
 * The file by which `lamina ps` knows of this process. Made under a spare name and locked before it gets its own, so nobody sees it
 * unlocked while we live. Whatever goes wrong here is nobody's trouble: the run goes on without.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli/holding.h"
#include "base/json.h"

static size_t read_small(const char *path, char *out, size_t len) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, len - 1) : -1;
    if (fd >= 0) {
        (void)close(fd);
    }
    out[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

uint64_t cli_process_start(long pid) {
    char path[64];
    char text[1024];
    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    (void)read_small(path, text, sizeof(text));
    const char *p = strrchr(text, ')'); /* the name before it may hold anything */
    for (int field = 2; p != NULL && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    return p != NULL ? strtoull(p + 1, NULL, 10) : 0;
}

void cli_boot_id(char out[64]) {
    size_t n = read_small("/proc/sys/kernel/random/boot_id", out, 64);
    while (n > 0 && out[n - 1] <= ' ') {
        out[--n] = 0;
    }
}

bool cli_holding_lock(int fd) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &whole) == 0; /* of the open file: a child that was forked does not end it */
}

static void describe(struct str *s, const struct cli_holding *h, uint32_t port) {
    const char *model = h->model;
    char boot[64];
    char *real = model != NULL && access(model, F_OK) == 0 ? realpath(model, NULL) : NULL;
    cli_boot_id(boot);
    str_printf(s, "{\"pid\": %ld, \"start\": %llu, \"boot\": ", (long)getpid(), (unsigned long long)cli_process_start(getpid()));
    json_write_string(s, span_of_text(boot));
    str_add_text(s, ", \"command\": ");
    json_write_string(s, span_of_text(h->command));
    str_add_text(s, ", \"model\": ");
    json_write_string(s, span_of_text(real != NULL ? real : model != NULL ? model : ""));
    /* A JSON number ends below 2^63; no cap at all is said as 0, like the default. */
    str_printf(s, ", \"memory_budget_bytes\": %llu, \"port\": %u}\n",
               (unsigned long long)(h->o->memory < UINT64_MAX / 2 ? h->o->memory : 0), port);
    free(real);
}

static bool put(int fd, const struct str *s) {
    return !s->failed && ftruncate(fd, 0) == 0 && pwrite(fd, s->ptr, s->len, 0) == (ssize_t)s->len;
}

/* The folder is the user's own: names of models are nobody else's business. */
static bool make_folder(const char *home, char out[CLI_HOLDING_DIR_LEN]) {
    struct stat st;
    int n = snprintf(out, CLI_HOLDING_DIR_LEN, "%s/run", home);
    if (n < 0 || n >= CLI_HOLDING_DIR_LEN) {
        return false;
    }
    for (char *p = out + 1; *p != 0; p++) { /* the home may not be there yet */
        if (*p == '/') {
            *p = 0;
            (void)mkdir(out, 0755);
            *p = '/';
        }
    }
    (void)mkdir(out, 0700);
    return stat(out, &st) == 0 && S_ISDIR(st.st_mode);
}

void cli_holding_begin(struct cli_holding *h, const struct cli_options *o, const char *command, const char *model) {
    char folder[CLI_HOLDING_DIR_LEN];
    char temp[CLI_HOLDING_DIR_LEN + 64];
    struct str s = {0};
    *h = (struct cli_holding){.fd = -1, .o = o, .command = command, .model = model};
    if (o->home == NULL) {
        return;
    }
    h->made_home = access(o->home, F_OK) != 0;
    if (!make_folder(o->home, folder)) {
        return;
    }
    (void)snprintf(temp, sizeof(temp), "%s/%ld.tmp", folder, (long)getpid());
    (void)snprintf(h->path, sizeof(h->path), "%s/%ld.json", folder, (long)getpid());
    (void)unlink(temp); /* of an earlier process of our number */
    int fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == ENOENT && make_folder(o->home, folder)) { /* another process was its last and took it away */
        fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    }
    if (fd < 0) {
        return;
    }
    describe(&s, h, 0);
    if (cli_holding_lock(fd) && put(fd, &s) && rename(temp, h->path) == 0) {
        h->fd = fd;
    } else {
        (void)unlink(temp);
        (void)close(fd);
    }
    str_drop(&s);
}

void cli_holding_port(struct cli_holding *h, uint32_t port) {
    struct str s = {0};
    if (h->fd >= 0) {
        describe(&s, h, port);
        (void)put(h->fd, &s);
    }
    str_drop(&s);
}

void cli_holding_end(struct cli_holding *h) {
    if (h->fd >= 0) {
        (void)unlink(h->path);
        (void)close(h->fd);
        h->fd = -1;
        *strrchr(h->path, '/') = '\0';
        (void)rmdir(h->path); /* unless others are in there: a command that was refused leaves nothing behind */
        if (h->made_home) {
            (void)rmdir(h->o->home);
        }
    }
}
