/* SPDX-License-Identifier: Apache-2.0
 *
 * What the server does, for people and for Prometheus: /metrics, and /lamina/v1/events, four times a second. Figures are those of
 * the engine's last layer; nothing here touches the model but for what never changes.
 */
#include <stdlib.h>
#include <time.h>

#include "app/server/server_priv.h"
#include "base/json.h"

enum { EVENT_MS = 250 };

static void metric(struct str *s, const char *name, const char *type, const char *help, double value) {
    str_printf(s, "# HELP lamina_%s %s\n# TYPE lamina_%s %s\nlamina_%s ", name, help, name, type, name);
    json_write_double(s, value);
    str_add_text(s, "\n");
}

/* Mean seconds that a layer took per pass, in one stage. */
static void layer_metrics(struct str *s, const struct engine_figures *f, uint32_t layers) {
    double parts = f->stats.passes > 0 ? (double)f->stats.passes * layers : 1;
    metric(s, "layer_load_seconds", "gauge", "Mean wait for the bytes of a layer", f->stats.read_wait_s / parts);
    metric(s, "layer_compute_seconds", "gauge", "Mean computing of a layer", f->stats.compute_s / parts);
}

void handle_metrics(struct exchange *x) {
    struct server *s = x->server;
    struct engine_figures f;
    struct str b = {0};
    const struct lamina_plan *plan = lamina_model_plan(s->o.model);
    engine_figures(s->engine, &f);
    metric(&b, "disk_read_bytes_total", "counter", "Bytes of weights read", (double)f.stats.bytes_read);
    metric(&b, "tokens_generated_total", "counter", "Tokens made", (double)f.tokens_made);
    metric(&b, "prompt_tokens_total", "counter", "Prompt tokens computed", (double)f.prompt_tokens);
    metric(&b, "sweeps_total", "counter", "Feeds of prompts and passes of decoding", (double)f.sweeps);
    metric(&b, "sweep_seconds_total", "counter", "Time in them", f.sweep_s);
    metric(&b, "last_sweep_seconds", "gauge", "Time of the latest", f.last_sweep_s);
    metric(&b, "passes_total", "counter", "Passes through the model", (double)f.stats.passes);
    metric(&b, "rows_total", "counter", "Rows of all passes", (double)f.stats.rows);
    metric(&b, "pass_seconds_total", "counter", "Wall time inside passes", f.stats.pass_s);
    metric(&b, "drive_idle_seconds_total", "counter", "Time inside passes without a read in flight", f.stats.drive_idle_s);
    metric(&b, "read_wait_seconds_total", "counter", "Computing waited for bytes", f.stats.read_wait_s);
    metric(&b, "decode_seconds_total", "counter", "Checking of tiles", f.stats.decode_s);
    metric(&b, "compute_seconds_total", "counter", "Computing", f.stats.compute_s);
    layer_metrics(&b, &f, plan->layers);
    metric(&b, "cache_hit_bytes_total", "counter", "Bytes of chosen experts that were in memory",
           (double)f.stats.expert_bytes_cached);
    metric(&b, "disk_limit_bytes_per_second", "gauge", "What the drive gives, 0: not measured", f.stats.disk_limit_bytes_per_s);
    if (s->o.budget_bytes != UINT64_MAX) {
        metric(&b, "budget_bytes", "gauge", "Memory the process may hold", (double)s->o.budget_bytes);
    }
    str_printf(&b, "# HELP lamina_resident_bytes Memory held\n# TYPE lamina_resident_bytes gauge\n");
    str_printf(&b, "lamina_resident_bytes{kind=\"peak\"} %llu\n", (unsigned long long)f.stats.peak_memory_bytes);
    str_printf(&b, "lamina_resident_bytes{kind=\"pinned\"} %llu\n", (unsigned long long)plan->pinned_bytes);
    metric(&b, "requests_running", "gauge", "Choices that are decoding", f.running);
    metric(&b, "requests_waiting", "gauge", "Requests in the queue", f.queued);
    metric(&b, "http_requests_total", "counter", "Requests of any kind", (double)atomic_load(&s->requests));
    metric(&b, "requests_done_total", "counter", "Generations that ended well", (double)f.jobs_done);
    metric(&b, "requests_failed_total", "counter", "Generations that failed", (double)f.jobs_failed);
    metric(&b, "requests_cancelled_total", "counter", "Generations whose client left", (double)f.jobs_cancelled);
    metric(&b, "requests_refused_total", "counter", "Generations refused, the queue being full", (double)f.jobs_refused);
    exchange_text(x, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}

static void real(struct str *s, const char *name, double value, bool known) {
    str_printf(s, ",\"%s\":", name);
    if (known) {
        json_write_double(s, value);
    } else {
        str_add_text(s, "null");
    }
}

static void event(struct server *s, struct str *b) {
    struct engine_figures f;
    const struct lamina_plan *plan = lamina_model_plan(s->o.model);
    engine_figures(s->engine, &f);
    double pinned = plan->model_bytes > 0 ? (double)plan->pinned_bytes / (double)plan->model_bytes * plan->layers : 0;
    str_add_text(b, "data: {\"model\":");
    json_write_string(b, span_of_text(s->o.name));
    str_printf(b, ",\"layers\":%u,\"pinned_layers\":", plan->layers);
    json_write_double(b, pinned);
    if (f.in_pass) {
        str_printf(b, ",\"layer\":%u", f.layer);
    } else {
        str_add_text(b, ",\"layer\":null");
    }
    bool busy = f.in_pass || f.running > 0;
    str_printf(b, ",\"phase\":\"%s\"", !busy ? "idle" : f.prompt_phase ? "prompt" : "decode");
    json_member_u64(b, "prompt_done", f.prompt_done);
    json_member_u64(b, "prompt_total", f.prompt_total);
    json_member_u64(b, "running", f.running);
    json_member_u64(b, "queued", f.queued);
    json_member_u64(b, "tokens", f.tokens_made);
    real(b, "tokens_per_s", f.tokens_per_s, f.tokens_per_s > 0);
    real(b, "s_per_token", f.s_per_token, f.s_per_token > 0);
    json_member_u64(b, "bytes_read", f.stats.bytes_read);
    real(b, "disk_bytes_per_s", f.stats.disk_bytes_per_s, true);
    real(b, "disk_limit_bytes_per_s", f.stats.disk_limit_bytes_per_s, f.stats.disk_limit_bytes_per_s > 0);
    real(b, "memory_budget_bytes", (double)s->o.budget_bytes, s->o.budget_bytes != UINT64_MAX);
    json_member_u64(b, "memory_peak_bytes", f.stats.peak_memory_bytes);
    str_add_text(b, ",\"plan\":[");
    for (uint32_t i = 0; i < plan->line_count; i++) {
        str_add_text(b, i > 0 ? ",{\"name\":" : "{\"name\":");
        json_write_string(b, span_of_text(plan->line[i].name));
        json_member_u64(b, "bytes", plan->line[i].bytes);
        str_add_text(b, "}");
    }
    str_add_text(b, "],\"stages\":{\"read_wait_s\":");
    json_write_double(b, f.stats.read_wait_s);
    real(b, "decode_s", f.stats.decode_s, true);
    real(b, "compute_s", f.stats.compute_s, true);
    real(b, "other_s", f.stats.other_s, true);
    str_add_text(b, "}}\n\n");
}

/* The first event at once, then one every quarter of a second. */
static void events_more(struct exchange *x) {
    if (atomic_load(&x->server->ending)) {
        x->stream_ended = true;
        return;
    }
    if (x->stream_begun) {
        struct timespec t = {.tv_nsec = EVENT_MS * 1000000L};
        (void)nanosleep(&t, NULL);
    }
    x->stream_begun = true;
    event(x->server, &x->out);
}

void handle_events(struct exchange *x) {
    x->more = events_more;
    exchange_stream(x, "text/event-stream");
}
