/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina ps: the processes of this user that hold a model, and the memory that each takes. What a process that is gone has left is
 * swept up on the way. A file nobody locks has no writer; one that is locked is shown, with its memory where its PID means that
 * process here and not another one.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "app/cli/holding.h"
#include "base/json.h"
#include "base/status.h"

enum { MOST_BYTES = 64 << 10 };

struct process {
    uint64_t pid, start, budget, port;
    uint64_t memory, peak; /* 0: not known */
    double seconds;        /* since it began; 0: not known */
    struct str boot, command, model;
};

static void drop(struct process *p) {
    str_drop(&p->boot);
    str_drop(&p->command);
    str_drop(&p->model);
}

static bool parse(struct span text, const char *name, struct process *p) {
    struct json_reader r;
    struct str scratch = {0};
    struct span key;
    struct lamina_error none = {0};
    json_init(&r, text, name, &scratch, &none);
    (void)json_enter_object(&r);
    while (json_next_key(&r, &key)) {
        uint64_t *number = span_is(key, "pid")                   ? &p->pid
                           : span_is(key, "start")               ? &p->start
                           : span_is(key, "memory_budget_bytes") ? &p->budget
                           : span_is(key, "port")                ? &p->port
                                                                 : NULL;
        struct str *words = span_is(key, "boot")      ? &p->boot
                            : span_is(key, "command") ? &p->command
                            : span_is(key, "model")   ? &p->model
                                                      : NULL;
        if (number != NULL) {
            (void)json_u64(&r, number);
        } else if (words != NULL) {
            str_clear(words);
            (void)json_string(&r, words);
        } else {
            (void)json_skip(&r);
        }
    }
    bool good = json_finish(&r) == LAMINA_OK && p->pid != 0 && p->command.len > 0 && !p->model.failed && !p->command.failed;
    str_drop(&scratch);
    return good;
}

/* A line like "VmRSS: 12345 kB". */
static uint64_t kib_of(const char *status, const char *name) {
    const char *line = strstr(status, name);
    return line != NULL ? strtoull(line + strlen(name), NULL, 10) * 1024 : 0;
}

static void look_up(struct process *p) {
    char boot[64];
    char path[64];
    char text[8192];
    struct timespec now;
    cli_boot_id(boot);
    bool here = strcmp(boot, str_text(&p->boot)) == 0 && p->pid <= INT32_MAX && p->start != 0;
    if (!here || cli_process_start((long)p->pid) != p->start) {
        return; /* another machine's, or another container's */
    }
    (void)snprintf(path, sizeof(path), "/proc/%ld/status", (long)p->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0) {
        (void)close(fd);
    }
    text[n > 0 ? n : 0] = 0;
    p->memory = kib_of(text, "VmRSS:");
    p->peak = kib_of(text, "VmHWM:");
    if (clock_gettime(CLOCK_BOOTTIME, &now) == 0) {
        p->seconds = (double)now.tv_sec + (double)now.tv_nsec * 1e-9 - (double)p->start / (double)sysconf(_SC_CLK_TCK);
    }
}

/* True when a process that lives wrote it. Without one the file goes, if it is still the one that was looked at. */
static bool lives(int fd, const char *path) {
    struct stat here;
    struct stat named;
    if (!cli_holding_lock(fd)) {
        return true;
    }
    if (fstat(fd, &here) == 0 && stat(path, &named) == 0 && here.st_ino == named.st_ino && here.st_dev == named.st_dev) {
        (void)unlink(path);
    }
    return false;
}

static bool take(const char *path, struct process *p) {
    struct stat st;
    char *text = NULL;
    bool good = false;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return false;
    }
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && lives(fd, path) && st.st_size <= MOST_BYTES) {
        text = malloc((size_t)st.st_size + 1);
        ssize_t n = text != NULL ? read(fd, text, (size_t)st.st_size) : -1;
        good = n > 0 && parse(span_of(text, (size_t)n), path, p);
    }
    free(text);
    (void)close(fd);
    if (good) {
        look_up(p);
    }
    return good;
}

static void show(struct str *out, const struct process *p, bool json, uint32_t count) {
    char a[32];
    char b[32];
    char c[32];
    if (json) {
        str_printf(out, "%s{\"pid\": %llu, \"command\": ", count > 0 ? ", " : "", (unsigned long long)p->pid);
        json_write_string(out, str_span(&p->command));
        str_add_text(out, ", \"model\": ");
        json_write_string(out, str_span(&p->model));
        str_printf(out, ", \"memory_bytes\": %llu, \"peak_memory_bytes\": %llu, \"memory_budget_bytes\": %llu, \"port\": %llu, "
                   "\"seconds\": %.1f}", (unsigned long long)p->memory, (unsigned long long)p->peak, (unsigned long long)p->budget,
                   (unsigned long long)p->port, p->seconds);
        return;
    }
    if (count == 0) {
        str_printf(out, "%8s  %-8s %11s %11s  %-14s  %s\n", "PID", "COMMAND", "MEMORY", "BUDGET", "SINCE", "MODEL");
    }
    str_printf(out, "%8llu  %-8s %11s %11s  %-14s  %s", (unsigned long long)p->pid, str_text(&p->command),
               p->memory > 0 ? format_bytes(a, p->memory) : "-", p->budget > 0 ? format_bytes(b, p->budget) : "-",
               p->seconds > 0 ? cli_seconds(c, p->seconds) : "-", str_text(&p->model));
    if (p->port != 0) {
        str_printf(out, "  port %llu", (unsigned long long)p->port);
    }
    str_add_byte(out, '\n');
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strverscmp((*a)->d_name, (*b)->d_name);
}

static int is_json(const struct dirent *e) {
    return span_ends_with(span_of_text(e->d_name), ".json");
}

static void collect(struct str *out, const char *home, bool json) {
    struct str folder = {0};
    struct dirent **names = NULL;
    uint32_t count = 0;
    str_printf(&folder, "%s/run", home);
    int found = folder.failed ? 0 : scandir(str_text(&folder), &names, is_json, by_name);
    for (int i = 0; i < found; i++) {
        struct process p = {.pid = 0};
        struct str path = {0};
        str_printf(&path, "%s/%s", str_text(&folder), names[i]->d_name);
        if (!path.failed && take(str_text(&path), &p)) {
            show(out, &p, json, count++);
        }
        drop(&p);
        str_drop(&path);
        free(names[i]);
    }
    free(names);
    str_drop(&folder);
}

lamina_status cmd_ps(struct cli_options *o, struct lamina_error *err) {
    struct str out = {0};
    struct str safe = {0};
    str_add_text(&out, o->json ? "{\"processes\": [" : "");
    if (o->home != NULL) {
        collect(&out, o->home, o->json);
    }
    str_add_text(&out, o->json ? "]}\n" : "");
    cli_safe_text(&safe, str_text(&out), out.len);
    safe.failed = safe.failed || out.failed;
    lamina_status status = cli_out_str(&safe, err);
    str_drop(&safe);
    str_drop(&out);
    return status;
}
