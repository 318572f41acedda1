/* SPDX-License-Identifier: Apache-2.0
 *
 * What this machine can do: processor, memory, io_uring, and the drive by measurement. A measured drive is remembered per
 * device in `home`, since its limit does not change between runs while measuring costs up to two seconds.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/api_priv.h"
#include "base/checked.h"
#include "base/json.h"
#include "sys/cpu.h"
#include "sys/host.h"
#include "sys/mem.h"

enum { MIB = 1 << 20 };
static const uint64_t PROBE_MEMORY = 24 * (uint64_t)MIB;
static const uint64_t PROBE_BUDGET_NS = 2000000000;
/* Smaller files measure latency, not the drive. */
static const uint64_t PROBE_FILE_BYTES = 64 * (uint64_t)MIB;
static const uint64_t PROBE_TEMPORARY_BYTES = 256 * (uint64_t)MIB;

static const struct io_probe_result UNMEASURED = {.request_bytes = 2 * MIB, .depth = 4, .engine = IO_ENGINE_AUTO};

/* ---- the cache ---- */

static lamina_status cache_path(const char *home, const char *file, struct str *path, struct lamina_error *err) {
    struct sys_stat st;
    LAMINA_TRY(sys_stat(file, &st, err));
    str_printf(path, "%s/drive-%llx.json", home, (unsigned long long)st.device);
    return LAMINA_OK;
}

static bool read_cache(const char *path, struct io_probe_result *r) {
    struct str text = {0};
    struct str key_scratch = {0};
    struct lamina_error ignored = {0};
    struct json_reader j;
    struct span key;
    uint64_t request = 0;
    uint64_t depth = 0;
    uint64_t engine = 0;
    uint64_t alignment = 0;
    double rate = 0;
    if (!sys_exists(path) || sys_read_whole(path, 4096, &text, &ignored) != LAMINA_OK) {
        str_drop(&text);
        return false;
    }
    json_init(&j, str_span(&text), path, &key_scratch, &ignored);
    (void)json_enter_object(&j);
    while (json_next_key(&j, &key)) {
        if (span_is(key, "bytes_per_s")) {
            (void)json_double(&j, &rate);
        } else if (span_is(key, "request_bytes")) {
            (void)json_u64(&j, &request);
        } else if (span_is(key, "depth")) {
            (void)json_u64(&j, &depth);
        } else if (span_is(key, "engine")) {
            (void)json_u64(&j, &engine);
        } else if (span_is(key, "alignment")) {
            (void)json_u64(&j, &alignment);
        } else {
            (void)json_skip(&j);
        }
    }
    bool good = json_finish(&j) == LAMINA_OK && rate > 0 && request >= 4096 && request <= 64 * MIB &&
                request % 4096 == 0 && depth >= 1 && depth <= 256 && engine <= IO_ENGINE_THREADS && alignment <= 1 << 20;
    str_drop(&text);
    str_drop(&key_scratch);
    if (good) {
        *r = (struct io_probe_result){.bytes_per_s = rate, .request_bytes = (uint32_t)request, .depth = (uint32_t)depth,
                                      .engine = (enum io_engine)engine, .alignment = (uint32_t)alignment};
    }
    return good;
}

/* A cache that cannot be written only means measuring again next time. */
static void write_cache(const char *home, const char *path, const struct io_probe_result *r) {
    struct lamina_error ignored = {0};
    struct str text = {0};
    str_add_text(&text, "{\"bytes_per_s\": ");
    json_write_double(&text, r->bytes_per_s);
    str_printf(&text, ", \"request_bytes\": %u, \"depth\": %u, \"engine\": %d, \"alignment\": %u}\n", r->request_bytes,
               r->depth, (int)r->engine, r->alignment);
    if (sys_make_dirs(home, &ignored) == LAMINA_OK && !text.failed) {
        (void)sys_write_whole_durable(path, str_span(&text), &ignored);
    }
    str_drop(&text);
}

/* ---- measuring ---- */

static lamina_status probe_file(const char *path, struct io_probe_result *r, struct lamina_error *err) {
    struct sys_file f = {.fd = -1};
    void *memory = NULL;
    LAMINA_TRY(sys_mem_map(&memory, PROBE_MEMORY, err));
    lamina_status status = sys_file_open_read(&f, path, SYS_OPEN_DIRECT, err);
    if (status == LAMINA_OK) {
        status = io_probe(&f, path, memory, PROBE_MEMORY, PROBE_BUDGET_NS, r, err);
    }
    sys_file_close(&f);
    sys_mem_unmap(memory, PROBE_MEMORY);
    return status;
}

static const struct store_file *largest_file(const struct store *s) {
    const struct store_file *best = NULL;
    for (uint32_t i = 0; i < s->file_count; i++) {
        if (best == NULL || s->files[i].size > best->size) {
            best = &s->files[i];
        }
    }
    return best;
}

lamina_status api_drive_of_store(const struct store *store, const char *home, bool again, struct io_probe_result *result,
                                 bool *cached, struct lamina_error *err) {
    const struct store_file *f = largest_file(store);
    struct str cache = {0};
    *result = UNMEASURED;
    *cached = false;
    if (f == NULL) {
        return LAMINA_OK;
    }
    lamina_status status = cache_path(home, f->path, &cache, err);
    if (status == LAMINA_OK && !again && read_cache(str_text(&cache), result)) {
        *cached = true;
    } else if (status == LAMINA_OK && f->size >= PROBE_FILE_BYTES) {
        status = probe_file(f->path, result, err);
        if (status == LAMINA_OK) {
            write_cache(home, str_text(&cache), result);
        }
    }
    str_drop(&cache);
    return status;
}

/* Writes a temporary file of bytes that do not compress, for drives that would cheat on zeros. */
static lamina_status make_probe_file(const char *path, struct lamina_error *err) {
    struct sys_file f = {.fd = -1};
    void *memory = NULL;
    LAMINA_TRY(sys_mem_map(&memory, PROBE_MEMORY, err));
    uint64_t x = 0x9E3779B97F4A7C15u;
    for (uint64_t i = 0; i < PROBE_MEMORY / 8; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        ((uint64_t *)memory)[i] = x;
    }
    lamina_status status = sys_file_create(&f, path, SYS_OPEN_DIRECT, err);
    for (uint64_t at = 0; status == LAMINA_OK && at < PROBE_TEMPORARY_BYTES; at += PROBE_MEMORY) {
        uint64_t len = min_u64(PROBE_MEMORY, PROBE_TEMPORARY_BYTES - at);
        status = sys_file_write_at(&f, path, at, memory, (size_t)len, err);
    }
    if (status == LAMINA_OK) {
        status = sys_file_sync(&f, path, err);
        sys_file_drop_cache(&f, 0, PROBE_TEMPORARY_BYTES);
    }
    sys_file_close(&f);
    sys_mem_unmap(memory, PROBE_MEMORY);
    return status;
}

static lamina_status measure_directory(const char *dir, struct io_probe_result *r, struct lamina_error *err) {
    struct str path = {0};
    struct lamina_error ignored = {0};
    uint64_t free_bytes = 0;
    str_printf(&path, "%s/lamina-probe-%ld.tmp", dir, sys_process_id());
    lamina_status status = sys_disk_free(dir, &free_bytes, err);
    if (status == LAMINA_OK && free_bytes < 2 * PROBE_TEMPORARY_BYTES) {
        status = base_fail(err, LAMINA_NO_SPACE, "%s has no room for a temporary file of 256 MiB to measure with", dir);
    }
    if (status == LAMINA_OK) {
        status = make_probe_file(str_text(&path), err);
    }
    if (status == LAMINA_OK) {
        status = probe_file(str_text(&path), r, err);
    }
    (void)sys_remove(str_text(&path), &ignored);
    str_drop(&path);
    return status;
}

static lamina_status measure_path(const char *path, const char *home, bool again, struct io_probe_result *r,
                                  bool *cached, struct lamina_error *err) {
    struct store *s = NULL;
    struct sys_stat st;
    struct str cache = {0};
    LAMINA_TRY(sys_stat(path, &st, err));
    lamina_status status = cache_path(home, path, &cache, err);
    if (status == LAMINA_OK && !again && read_cache(str_text(&cache), r)) {
        *cached = true;
    } else if (status == LAMINA_OK && store_is_store(path)) {
        status = store_open(&s, path, NULL, err);
        if (status == LAMINA_OK) {
            status = api_drive_of_store(s, home, again, r, cached, err);
        }
        store_close(&s);
    }
    if (status == LAMINA_OK && r->bytes_per_s <= 0) {
        status = st.is_dir ? measure_directory(path, r, err) : probe_file(path, r, err);
        if (status == LAMINA_OK) {
            write_cache(home, str_text(&cache), r);
        }
    }
    str_drop(&cache);
    return status;
}

lamina_status lamina_measure(const char *path, const char *home, bool again, struct lamina_drive *drive,
                             struct lamina_error *err) {
    struct str place = {0};
    struct io_probe_result r = {0};
    struct sys_stat st;
    bool cached = false;
    uint64_t free_bytes = 0;
    lamina_status status = api_home(home, &place, err);
    if (status == LAMINA_OK) {
        status = measure_path(path, str_text(&place), again, &r, &cached, err);
    }
    if (status == LAMINA_OK) {
        status = sys_disk_free(path, &free_bytes, err);
    }
    if (status == LAMINA_OK) {
        status = sys_stat(path, &st, err);
    }
    str_drop(&place);
    if (status != LAMINA_OK) {
        return status;
    }
    *drive = (struct lamina_drive){.size = sizeof(*drive), .free_bytes = free_bytes, .direct_bytes_per_s = r.bytes_per_s,
                                   .request_bytes = r.request_bytes, .depth = r.depth, .direct_alignment = r.alignment,
                                   .cached = cached};
    (void)snprintf(drive->engine, sizeof(drive->engine), "%s", r.engine == IO_ENGINE_THREADS ? "threads" : "io_uring");
    (void)snprintf(drive->device, sizeof(drive->device), "device %llx", (unsigned long long)st.device);
    return LAMINA_OK;
}

lamina_status lamina_machine(struct lamina_machine *m, struct lamina_error *err) {
    struct sys_mem_limits limits;
    struct lamina_error reason = {0};
    struct kern_table kern;
    (void)err;
    uint32_t flags = sys_cpu_flags();
    kern_table_init(&kern, flags);
    sys_mem_limits(&limits);
    *m = (struct lamina_machine){
        .size = sizeof(*m),
        .cores = sys_cpu_physical_cores(),
        .threads = sys_cpu_threads(),
        .memory_total_bytes = limits.total_bytes,
        .memory_available_bytes = limits.available_bytes,
        .memory_limit_bytes = limits.limit_bytes,
        .default_budget_bytes = limits.available_bytes / 10 * 6,
        .memlock_bytes = limits.memlock_bytes,
        .huge_pages = limits.huge_pages,
        .io_uring = io_uring_probe(&reason) == LAMINA_OK,
    };
    (void)snprintf(m->isa, sizeof(m->isa), "%s", kern.isa);
    sys_cpu_flags_text(flags, m->cpu_features, sizeof(m->cpu_features));
    (void)snprintf(m->io_uring_note, sizeof(m->io_uring_note), "%.95s", m->io_uring ? "usable" : reason.message);
    sys_cpu_name(m->cpu, sizeof(m->cpu));
    sys_kernel_text(m->kernel, sizeof(m->kernel));
    return LAMINA_OK;
}
