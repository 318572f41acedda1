/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina doctor: what this machine and one of its drives can do, and the next step for each thing that holds it back.
 * Measures the drive by direct reads (about 2 s, remembered per device). Exit 0 also with problems: they are advice.
 */
#include <string.h>
#include <sys/stat.h>

#include "app/cli/cli.h"
#include "base/json.h"
#include "base/status.h"
#include "sys/library.h"

enum { MAX_ADVICE = 12, ADVICE_BYTES = 320 };

struct doctor {
    struct lamina_machine machine;
    struct lamina_drive drive;
    struct str path; /* measured; the nearest directory that exists */
    struct lamina_error drive_error;
    char advice[MAX_ADVICE][ADVICE_BYTES];
    unsigned advice_count;
};

static void advise(struct doctor *d, const char *text) {
    if (d->advice_count < MAX_ADVICE) {
        snprintf(d->advice[d->advice_count++], ADVICE_BYTES, "%s", text);
    }
}

void cli_nearest_folder(struct str *path, const char *wanted) {
    struct stat st;
    str_add_text(path, wanted);
    while (path->len > 0 && stat(str_text(path), &st) != 0) {
        size_t n = path->len;
        while (n > 0 && path->ptr[n - 1] != '/') {
            n--;
        }
        while (n > 1 && path->ptr[n - 1] == '/') {
            n--;
        }
        path->len = n;
        path->ptr[n] = '\0';
        if (n == 1 && path->ptr[0] == '/') {
            break;
        }
    }
    if (path->len == 0) {
        str_add_text(path, ".");
    }
}

static void find_advice(struct doctor *d) {
    const struct lamina_machine *m = &d->machine;
    if (!m->io_uring) {
        char line[ADVICE_BYTES];
        snprintf(line, sizeof(line), "io_uring is not usable (%.80s): reads go through threads, which is slower on fast drives; "
                 "set sysctl kernel.io_uring_disabled=0, and in a container allow io_uring in its seccomp "
                 "profile", m->io_uring_note);
        advise(d, line);
    }
    if (d->drive_error.code < 0) {
        advise(d, "the drive was not measured, for the reason above, so plan and run cannot forecast times; set "
                  "LAMINA_HOME to a directory "
                  "on a local drive that you may write to, or look at another one with lamina doctor PATH");
    } else if (d->drive.direct_alignment == 0) {
        advise(d, "direct reads are not possible here (tmpfs, some network and overlay file systems): put LAMINA_HOME on a "
                  "local drive");
    }
    if (d->drive_error.code == 0 && d->drive.free_bytes < (8ull << 30)) {
        advise(d, "less than 8 GiB are free here, and a store takes about as much as its checkpoint: lamina ls "
                  "shows what there is, lamina rm removes it; or set LAMINA_HOME to a larger drive");
    }
    if (strcmp(m->isa, "scalar") == 0) {
        advise(d, "no vector unit is used, so computing, not the drive, will set the pace: leave LAMINA_ISA "
                  "unset, and give a virtual machine the host's processor (qemu -cpu host)");
    }
}

static void find_memory_advice(struct doctor *d) {
    const struct lamina_machine *m = &d->machine;
    if (m->default_budget_bytes < (512u << 20)) {
        advise(d, m->memory_limit_bytes < m->memory_total_bytes
                      ? "little memory is left under this control group's limit: raise it (docker run --memory, "
                        "systemd MemoryMax=); lamina plan MODEL says the smallest budget that a model fits in"
                      : "little memory is available: end what takes it; lamina plan MODEL says the smallest "
                        "budget that a model fits in");
    }
    if (m->memlock_bytes < (64u << 20)) {
        advise(d, "the memlock limit is small: buffers may not be registered with io_uring; raise it with ulimit -l or "
                  "LimitMEMLOCK=");
    }
    if (!m->huge_pages) {
        advise(d, "transparent huge pages are off: large direct reads are cut into pieces; "
                  "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
    }
}

/* What one command each loads when it runs: without it the others work. */
static void find_libraries(struct doctor *d) {
    static const struct {
        const char *file, *package, *loss;
    } libraries[] = {{"libcurl.so.4", "libcurl4", "lamina pull cannot fetch models"},
                   {"libmicrohttpd.so.12", "libmicrohttpd12", "lamina serve cannot serve"},
                   {"libedit.so.2", "libedit2", "lamina chat reads plain lines"}};
    for (size_t i = 0; i < ARRAY_LEN(libraries); i++) {
        if (sys_library_open(libraries[i].file) == NULL) {
            char words[ADVICE_BYTES];
            (void)snprintf(words, sizeof(words), "%s is not there, so %s; on Debian: apt-get install %s", libraries[i].file,
                           libraries[i].loss, libraries[i].package);
            advise(d, words);
        }
    }
}

static void json_text(struct str *s, const char *name, const char *value) {
    str_printf(s, "\"%s\": ", name);
    json_write_string(s, span_of_text(value));
    str_add_text(s, ", ");
}

static void json_size(struct str *s, const char *name, uint64_t value) {
    str_printf(s, "\"%s\": ", name);
    if (value == UINT64_MAX) {
        str_add_text(s, "null, ");
    } else {
        str_printf(s, "%llu, ", (unsigned long long)value);
    }
}

static void doctor_json(struct str *s, const struct doctor *d) {
    const struct lamina_machine *m = &d->machine;
    str_add_text(s, "{");
    json_text(s, "version", lamina_version());
    json_text(s, "kernel", m->kernel);
    json_text(s, "isa", m->isa);
    json_text(s, "cpu_features", m->cpu_features);
    json_size(s, "cores", m->cores);
    json_size(s, "threads", m->threads);
    json_size(s, "memory_total_bytes", m->memory_total_bytes);
    json_size(s, "memory_available_bytes", m->memory_available_bytes);
    json_size(s, "memory_limit_bytes", m->memory_limit_bytes);
    json_size(s, "default_budget_bytes", m->default_budget_bytes);
    json_size(s, "memlock_bytes", m->memlock_bytes);
    str_printf(s, "\"huge_pages\": %s, \"io_uring\": %s, ", m->huge_pages ? "true" : "false", m->io_uring ? "true" : "false");
    json_text(s, "io_uring_note", m->io_uring_note);
    json_text(s, "path", str_text(&d->path));
    if (d->drive_error.code < 0) {
        json_text(s, "drive_error", d->drive_error.message);
    } else {
        json_text(s, "device", d->drive.device);
        json_size(s, "free_bytes", d->drive.free_bytes);
        json_size(s, "direct_alignment", d->drive.direct_alignment);
        str_add_text(s, "\"direct_bytes_per_s\": ");
        json_write_double(s, d->drive.direct_bytes_per_s);
        str_add_text(s, ", ");
        json_size(s, "request_bytes", d->drive.request_bytes);
        json_size(s, "depth", d->drive.depth);
        json_text(s, "engine", d->drive.engine);
        str_printf(s, "\"cached\": %s, ", d->drive.cached ? "true" : "false");
    }
    str_add_text(s, "\"advice\": [");
    for (unsigned i = 0; i < d->advice_count; i++) {
        str_add_text(s, i > 0 ? ", " : "");
        json_write_string(s, span_of_text(d->advice[i]));
    }
    str_add_text(s, "]}\n");
}

static void line(struct str *s, const char *name, const char *value) {
    str_printf(s, "%-16s ", name);
    cli_safe_text(s, value, strlen(value));
    str_add_text(s, "\n");
}

static const char *size_or(char out[32], uint64_t bytes, const char *none) {
    return bytes == UINT64_MAX ? none : format_bytes(out, bytes);
}

static void drive_text(struct str *s, const struct doctor *d) {
    char a[32];
    char b[32];
    line(s, "path", str_text(&d->path));
    if (d->drive_error.code < 0) {
        line(s, "drive", d->drive_error.message);
        return;
    }
    line(s, "device", d->drive.device);
    line(s, "free", format_bytes(a, d->drive.free_bytes));
    if (d->drive.direct_alignment == 0) {
        line(s, "direct reads", "no");
        return;
    }
    str_printf(s, "%-16s %s: %u requests of %s, %s%s\n", "direct reads", cli_rate(a, d->drive.direct_bytes_per_s),
               d->drive.depth, format_bytes(b, d->drive.request_bytes), d->drive.engine,
               d->drive.cached ? " (measured earlier; --again measures anew)" : "");
}

static void doctor_text(struct str *s, const struct doctor *d) {
    const struct lamina_machine *m = &d->machine;
    char a[32];
    char b[32];
    line(s, "lamina", lamina_version());
    line(s, "kernel", m->kernel);
    str_printf(s, "%-16s %s (%s); %u cores, %u threads\n", "processor", m->isa, m->cpu_features, m->cores, m->threads);
    str_printf(s, "%-16s %s, ", "memory", format_bytes(a, m->memory_total_bytes));
    str_printf(s, "%s available, limit %s\n", format_bytes(a, m->memory_available_bytes),
               size_or(b, m->memory_limit_bytes, "none"));
    line(s, "default budget", format_bytes(a, m->default_budget_bytes));
    line(s, "memlock limit", size_or(a, m->memlock_bytes, "none"));
    line(s, "huge pages", m->huge_pages ? "yes" : "no");
    str_printf(s, "%-16s %s%s%s\n", "io_uring", m->io_uring ? "yes" : "no", m->io_uring_note[0] != '\0' ? ", " : "",
               m->io_uring_note);
    drive_text(s, d);
    str_add_text(s, d->advice_count > 0 ? "\nto do\n" : "\nnothing to mend\n");
    for (unsigned i = 0; i < d->advice_count; i++) {
        str_printf(s, "  - %s\n", d->advice[i]);
    }
}

lamina_status cmd_doctor(struct cli_options *o, struct lamina_error *err) {
    struct doctor d = {.machine = {.size = sizeof(d.machine)}, .drive = {.size = sizeof(d.drive)}};
    struct str s = {0};
    lamina_status status = lamina_machine(&d.machine, err);
    if (status < 0) {
        return status;
    }
    if (o->args[0] != NULL) {
        struct stat st;
        str_add_text(&d.path, o->args[0]);
        if (stat(o->args[0], &st) != 0) {
            status = base_fail(err, LAMINA_NOT_FOUND, "%s: no such file or directory to measure", o->args[0]);
            goto done;
        }
    } else {
        cli_nearest_folder(&d.path, o->home != NULL ? o->home : ".");
    }
    (void)lamina_measure(str_text(&d.path), o->home, o->again, &d.drive, &d.drive_error);
    find_advice(&d);
    find_memory_advice(&d);
    find_libraries(&d);
    if (o->json) {
        doctor_json(&s, &d);
    } else {
        doctor_text(&s, &d);
    }
    status = cli_out_str(&s, err);
done:
    str_drop(&s);
    str_drop(&d.path);
    return status;
}
