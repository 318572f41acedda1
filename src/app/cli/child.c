/* SPDX-License-Identifier: Apache-2.0
 *
 * This program run once more as a child whose stdout is read line by line. Its stderr is ours, its stdin is empty.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/cli/child.h"
#include "base/status.h"

extern char **environ;

/* The link is followed in the child, where it is the same program: also when its file was replaced meanwhile. */
static const char SELF[] = "/proc/self/exe";

static int spawn(struct child *c, int out, char *const argv[]) {
    posix_spawn_file_actions_t actions;
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed != 0) {
        return failed;
    }
    failed = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (failed == 0) {
        failed = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    }
    if (failed == 0) {
        failed = posix_spawn(&c->pid, SELF, &actions, NULL, argv, environ);
    }
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

lamina_status child_start(struct child *c, char *const argv[], struct lamina_error *err) {
    int ends[2];
    *c = (struct child){.out = -1};
    c->rest.limit = CHILD_LINE_LIMIT;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return base_fail_errno(err, errno, "cannot make a pipe");
    }
    int failed = spawn(c, ends[1], argv);
    close(ends[1]);
    if (failed != 0) {
        close(ends[0]);
        return base_fail_errno(err, failed, "cannot start %s", SELF);
    }
    c->out = ends[0];
    return LAMINA_OK;
}

/* Moves the first line of `rest` to `line`. */
static bool take_line(struct child *c, struct str *line) {
    const char *end = c->rest.len > 0 ? memchr(c->rest.ptr, '\n', c->rest.len) : NULL;
    if (end == NULL) {
        return false;
    }
    size_t len = (size_t)(end - c->rest.ptr);
    str_clear(line);
    str_add(line, c->rest.ptr, len);
    c->rest.len -= len + 1;
    memmove(c->rest.ptr, end + 1, c->rest.len + 1);
    return true;
}

enum child_news child_line(struct child *c, struct str *line, int wait_ms) {
    char chunk[4096];
    if (take_line(c, line)) {
        return CHILD_LINE;
    }
    struct pollfd p = {.fd = c->out, .events = POLLIN};
    int ready = poll(&p, 1, wait_ms);
    if (ready == 0 || (ready < 0 && errno == EINTR)) {
        return CHILD_NOTHING;
    }
    ssize_t n = ready < 0 ? -1 : read(c->out, chunk, sizeof(chunk));
    if (n < 0 && errno == EINTR) {
        return CHILD_NOTHING;
    }
    if (n <= 0) {
        return CHILD_END;
    }
    str_add(&c->rest, chunk, (size_t)n);
    if (c->rest.failed) {
        return CHILD_END;
    }
    return take_line(c, line) ? CHILD_LINE : CHILD_NOTHING;
}

void child_stop(const struct child *c) {
    (void)kill(c->pid, SIGTERM);
}

int child_end(struct child *c) {
    int status = 0;
    close(c->out);
    str_drop(&c->rest);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
