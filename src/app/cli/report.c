/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run took: for machines (--report, JSON) and for people (two lines on stderr). Figures come from the library's
 * totals; a figure that was not measured is null or left out, never guessed.
 */
#include <errno.h>
#include <string.h>

#include "app/cli/cli.h"
#include "base/json.h"
#include "base/status.h"

static void text_member(struct str *s, const char *name, const char *value) {
    str_printf(s, "\"%s\": ", name);
    json_write_string(s, span_of_text(value));
    str_add_text(s, ", ");
}

static void u64_member(struct str *s, const char *name, uint64_t value) {
    str_printf(s, "\"%s\": %llu, ", name, (unsigned long long)value);
}

static void double_member(struct str *s, const char *name, double value, bool known) {
    str_printf(s, "\"%s\": ", name);
    if (known) {
        json_write_double(s, value);
    } else {
        str_add_text(s, "null");
    }
    str_add_text(s, ", ");
}

void cli_json_double(struct str *s, const char *name, double value) {
    double_member(s, name, value, true);
}

void cli_json_chunks(struct str *s, const struct cli_chunks *c, uint64_t tokens) {
    u64_member(s, "tokens", tokens);
    u64_member(s, "chunks", c->count);
    str_printf(s, "\"ctx_size\": %u}\n", c->tokens);
}

static double seconds_per_token(const struct cli_run_facts *f) {
    return f->new_tokens > 1 ? (f->wall_s - f->ttft_s) / (double)(f->new_tokens - 1) : 0.0;
}

static void stages(struct str *s, const struct lamina_stats *stats) {
    str_add_text(s, "\"stages\": {");
    double_member(s, "read_wait_s", stats->read_wait_s, true);
    double_member(s, "decode_s", stats->decode_s, true);
    double_member(s, "compute_s", stats->compute_s, true);
    str_add_text(s, "\"other_s\": ");
    json_write_double(s, stats->other_s);
    str_add_text(s, "}");
}

static void parts(struct str *s, const struct lamina_model *model) {
    struct lamina_part part = {.size = sizeof(part)};
    str_add_text(s, ", \"parts\": [");
    for (uint32_t i = 0; lamina_model_part(model, i, &part); i++) {
        str_add_text(s, i > 0 ? ", {" : "{");
        text_member(s, "part", part.name);
        double_member(s, "read_wait_s", part.read_wait_s, true);
        double_member(s, "decode_s", part.decode_s, true);
        double_member(s, "compute_s", part.compute_s, true);
        double_member(s, "other_s", part.other_s, true);
        str_add_text(s, "\"pass_s\": ");
        json_write_double(s, part.pass_s);
        str_add_text(s, "}");
    }
    str_add_text(s, "]");
}

static void experts(struct str *s, const struct lamina_plan *plan, const struct lamina_stats *stats,
                    const struct cli_run_facts *f) {
    double tokens = (double)(f->prompt_tokens + f->new_tokens);
    str_add_text(s, "\"experts\": {");
    u64_member(s, "cache_bytes", plan->expert_cache_bytes);
    u64_member(s, "chosen_bytes", stats->expert_bytes_chosen);
    u64_member(s, "cached_bytes", stats->expert_bytes_cached);
    double_member(s, "chosen_bytes_per_token", tokens > 0 ? (double)stats->expert_bytes_chosen / tokens : 0.0, tokens > 0);
    str_add_text(s, "\"hit_rate\": ");
    json_write_double(s, (double)stats->expert_bytes_cached / (double)stats->expert_bytes_chosen);
    str_add_text(s, "}, ");
}

void cli_report_json(struct str *s, const struct lamina_model *model, const struct cli_run_facts *f) {
    struct lamina_info info = {.size = sizeof(info)};
    struct lamina_stats stats = {.size = sizeof(stats)};
    lamina_model_info(model, &info);
    lamina_model_stats(model, &stats);
    const struct lamina_plan *plan = lamina_model_plan(model);
    str_add_text(s, "{");
    text_member(s, "model", f->model);
    text_member(s, "architecture", info.architecture);
    text_member(s, "codec", info.codec);
    str_printf(s, "\"synthetic\": %s, ", info.synthetic ? "true" : "false");
    double_member(s, "bits_per_weight", info.bits_per_weight, true);
    double_member(s, "store_bits_per_weight", info.store_bits_per_weight, true);
    u64_member(s, "model_bytes", info.model_bytes);
    text_member(s, "numerics", stats.numerics);
    text_member(s, "isa", stats.isa);
    text_member(s, "io_engine", stats.io_engine);
    u64_member(s, "threads", plan->threads);
    u64_member(s, "memory_budget_bytes", stats.memory_budget_bytes);
    u64_member(s, "peak_memory_bytes", stats.peak_memory_bytes);
    u64_member(s, "prompt_tokens", f->prompt_tokens);
    u64_member(s, "new_tokens", f->new_tokens);
    u64_member(s, "seed", f->seed);
    str_printf(s, "\"interrupted\": %s, ", f->stopped_early ? "true" : "false");
    u64_member(s, "passes", stats.passes);
    u64_member(s, "tiles_verified", stats.tiles_verified);
    u64_member(s, "bytes_read", stats.bytes_read);
    double_member(s, "bytes_read_per_token", f->new_tokens > 0 ? (double)stats.bytes_read / (double)f->new_tokens : 0.0,
                  f->new_tokens > 0);
    double_member(s, "wall_s", f->wall_s, true);
    double_member(s, "ttft_s", f->ttft_s, f->new_tokens > 0);
    double_member(s, "s_per_token", seconds_per_token(f), f->new_tokens > 1);
    double_member(s, "disk_bytes_per_s", stats.disk_bytes_per_s, true);
    double_member(s, "disk_limit_bytes_per_s", stats.disk_limit_bytes_per_s, stats.disk_limit_bytes_per_s > 0.0);
    double_member(s, "drive_idle_s", stats.drive_idle_s, true);
    if (stats.expert_bytes_chosen > 0) {
        experts(s, plan, &stats, f);
    }
    stages(s, &stats);
    if (f->profile) {
        parts(s, model);
    }
    str_add_text(s, "}\n");
}

lamina_status cli_write_file(const char *path, const struct str *text, struct lamina_error *err) {
    FILE *out = text->failed ? NULL : fopen(path, "wbe");
    if (out == NULL) {
        return base_fail_errno(err, text->failed ? ENOMEM : errno, "cannot write %s", path);
    }
    bool good = fwrite(str_text(text), 1, text->len, out) == text->len;
    if (fclose(out) != 0 || !good) {
        return base_fail_errno(err, errno, "cannot write %s", path);
    }
    return LAMINA_OK;
}

lamina_status cli_report_write(const char *path, const struct lamina_model *model, const struct cli_run_facts *facts,
                               struct lamina_error *err) {
    struct str s = {0};
    cli_report_json(&s, model, facts);
    lamina_status status = cli_write_file(path, &s, err);
    str_drop(&s);
    return status;
}

void cli_say_start(const struct lamina_model *model) {
    const struct lamina_plan *plan = lamina_model_plan(model);
    struct str line = {0};
    char a[32];
    char b[32];
    str_printf(&line, "%s, %s; budget ", plan->model, format_bytes(a, plan->model_bytes));
    str_add_text(&line, plan->budget_bytes == UINT64_MAX ? "none" : format_bytes(a, plan->budget_bytes));
    str_printf(&line, ", planned %s", format_bytes(a, plan->total_bytes));
    str_printf(&line, " (%s pinned, ring %s", format_bytes(a, plan->pinned_bytes), format_bytes(b, plan->ring_bytes));
    if (plan->expert_cache_bytes > 0) {
        str_printf(&line, ", %s for experts", format_bytes(a, plan->expert_cache_bytes));
    }
    str_printf(&line, ", %u tokens of context)", plan->context_tokens);
    if (plan->disk_bytes_per_s > 0.0) {
        str_printf(&line, "; disk %s", cli_rate(a, plan->disk_bytes_per_s));
    }
    if (plan->s_per_token > 0.0) {
        str_printf(&line, ", forecast %s a token", cli_seconds(a, plan->s_per_token));
    }
    cli_say(1, "%s", str_text(&line));
    str_drop(&line);
}

void cli_say_facts(const struct lamina_model *model, const struct cli_run_facts *f) {
    struct lamina_stats stats = {.size = sizeof(stats)};
    lamina_model_stats(model, &stats);
    const struct lamina_plan *plan = lamina_model_plan(model);
    struct str line = {0};
    char a[32];
    char b[32];
    str_printf(&line, "model %s, budget ", format_bytes(a, plan->model_bytes));
    str_add_text(&line, stats.memory_budget_bytes == UINT64_MAX ? "none" : format_bytes(a, stats.memory_budget_bytes));
    str_printf(&line, ", peak %s", format_bytes(a, stats.peak_memory_bytes));
    str_printf(&line, ", read %s at %s", format_bytes(a, stats.bytes_read), cli_rate(b, stats.disk_bytes_per_s));
    if (stats.disk_limit_bytes_per_s > 0.0) {
        str_printf(&line, " (%.0f %% of the drive's %s)", 100.0 * stats.disk_bytes_per_s / stats.disk_limit_bytes_per_s,
                   cli_rate(a, stats.disk_limit_bytes_per_s));
    } else {
        str_add_text(&line, " (the drive's limit was not measured)");
    }
    if (stats.expert_bytes_chosen > 0) {
        str_printf(&line, ", %.0f %% of the experts' bytes from memory",
                   100.0 * (double)stats.expert_bytes_cached / (double)stats.expert_bytes_chosen);
    }
    str_printf(&line, ", %llu", (unsigned long long)f->prompt_tokens);
    if (f->new_tokens > 0) {
        str_printf(&line, " + %llu", (unsigned long long)f->new_tokens);
    }
    str_printf(&line, " tokens in %s", cli_seconds(a, f->wall_s));
    if (f->new_tokens > 1) {
        str_printf(&line, ", %s a token", cli_seconds(a, seconds_per_token(f)));
    }
    str_add_text(&line, f->stopped_early ? ", stopped by you" : "");
    cli_say(1, "%s", str_text(&line));
    str_drop(&line);
}

static void profile_line(const char *name, const struct lamina_part *part) {
    char text[4][32];
    cli_say(1, "%-10s %10s %10s %10s %10s", name, cli_seconds(text[0], part->read_wait_s), cli_seconds(text[1], part->decode_s),
            cli_seconds(text[2], part->compute_s), cli_seconds(text[3], part->other_s));
}

void cli_say_profile(const struct lamina_model *model) {
    struct lamina_part part = {.size = sizeof(part)};
    struct lamina_part sum = {.size = sizeof(sum)};
    cli_say(1, "%-10s %10s %10s %10s %10s", "part", "read wait", "check", "compute", "other");
    for (uint32_t i = 0; lamina_model_part(model, i, &part); i++) {
        profile_line(part.name, &part);
        sum.read_wait_s += part.read_wait_s;
        sum.decode_s += part.decode_s;
        sum.compute_s += part.compute_s;
        sum.other_s += part.other_s;
    }
    profile_line("all", &sum);
}
