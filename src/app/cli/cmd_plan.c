/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina plan: what a run will take, line by line, before it takes it. A plan that does not fit is printed too (for the
 * smallest budget that does) and ends with the code of NO_FIT, so that a script can ask.
 */
#include "app/cli/cli.h"
#include "base/json.h"
#include "base/status.h"

static void member(struct str *s, const char *name, uint64_t value) {
    str_printf(s, "\"%s\": %llu, ", name, (unsigned long long)value);
}

static void real_member(struct str *s, const char *name, double value, bool known) {
    str_printf(s, "\"%s\": ", name);
    if (known) {
        json_write_double(s, value);
    } else {
        str_add_text(s, "null");
    }
    str_add_text(s, ", ");
}

static void plan_json(struct str *s, const struct lamina_plan *p) {
    str_add_text(s, "{\"model\": ");
    json_write_string(s, span_of_text(p->model));
    str_printf(s, ", \"fits\": %s, \"budget_bytes\": ", p->fits ? "true" : "false");
    if (p->budget_bytes == UINT64_MAX) {
        str_add_text(s, "null, ");
    } else {
        str_printf(s, "%llu, ", (unsigned long long)p->budget_bytes);
    }
    member(s, "total_bytes", p->total_bytes);
    member(s, "smallest_budget_bytes", p->smallest_budget_bytes);
    member(s, "model_bytes", p->model_bytes);
    member(s, "streamed_bytes", p->streamed_bytes);
    member(s, "pinned_bytes", p->pinned_bytes);
    member(s, "expert_cache_bytes", p->expert_cache_bytes);
    member(s, "ring_bytes", p->ring_bytes);
    member(s, "request_bytes", p->request_bytes);
    member(s, "depth", p->depth);
    member(s, "prompt_rows", p->prompt_rows);
    member(s, "context_tokens", p->context_tokens);
    member(s, "layers", p->layers);
    member(s, "threads", p->threads);
    member(s, "best_batch", p->best_batch);
    real_member(s, "bytes_per_token", p->bytes_per_token, true);
    real_member(s, "disk_bytes_per_s", p->disk_bytes_per_s, p->disk_bytes_per_s > 0.0);
    real_member(s, "s_per_token", p->s_per_token, p->s_per_token > 0.0);
    str_add_text(s, "\"lines\": [");
    for (uint32_t i = 0; i < p->line_count; i++) {
        str_add_text(s, i > 0 ? ", {\"name\": " : "{\"name\": ");
        json_write_string(s, span_of_text(p->line[i].name));
        str_printf(s, ", \"bytes\": %llu, \"note\": ", (unsigned long long)p->line[i].bytes);
        json_write_string(s, span_of_text(p->line[i].note));
        str_add_text(s, "}");
    }
    str_add_text(s, "]}\n");
}

static void plan_text(struct str *s, const struct lamina_plan *p) {
    char a[32];
    char b[32];
    str_printf(s, "%s, %s of weights in %u layers\n\n", p->model, format_bytes(a, p->model_bytes), p->layers);
    for (uint32_t i = 0; i < p->line_count; i++) {
        str_printf(s, "  %-24s %12s  %s\n", p->line[i].name, format_bytes(a, p->line[i].bytes), p->line[i].note);
    }
    str_printf(s, "  %-24s %12s  of %s\n\n", "sum", format_bytes(a, p->total_bytes),
               p->budget_bytes == UINT64_MAX ? "no budget" : format_bytes(b, p->budget_bytes));
    str_printf(s, "smallest budget   %s\n", format_bytes(a, p->smallest_budget_bytes));
    str_printf(s, "read per pass     %s in requests of %s, ", format_bytes(a, p->streamed_bytes),
               format_bytes(b, p->request_bytes));
    str_printf(s, "%u in flight, ring %s\n", p->depth, format_bytes(a, p->ring_bytes));
    str_printf(s, "read per token    %s\n", format_bytes(a, (uint64_t)(p->bytes_per_token > 0.0 ? p->bytes_per_token : 0.0)));
    if (p->disk_bytes_per_s > 0.0) {
        str_printf(s, "drive             %s\n", cli_rate(a, p->disk_bytes_per_s));
    } else {
        str_add_text(s, "drive             not measured; lamina doctor measures it\n");
    }
    if (p->s_per_token > 0.0) {
        str_printf(s, "forecast          %s a token", cli_seconds(a, p->s_per_token));
        if (p->best_batch > 1) {
            str_printf(s, "; reading and computing take as long at %u prompts at once", p->best_batch);
        }
        str_add_text(s, "\n");
    }
    str_printf(s, "context           %u tokens, %u prompt tokens a pass, %u threads\n", p->context_tokens, p->prompt_rows,
               p->threads);
}

lamina_status cmd_plan(struct cli_options *o, struct lamina_error *err) {
    struct lamina_plan plan = {.size = sizeof(plan)};
    struct lamina_settings settings;
    struct cli_progress progress;
    struct str s = {0};
    LAMINA_TRY(cli_settings(o, &settings, err));
    if (o->ctx_size == 0) {
        return base_fail(err, LAMINA_USAGE, "-c 0 leaves no context to plan for");
    }
    settings.context_tokens = o->ctx_size;
    cli_progress_init(&progress, o, &settings.callbacks);
    lamina_status status = lamina_plan_make(o->args[0], &settings, &plan, err);
    cli_progress_clear(&progress);
    if (status == LAMINA_OK) {
        if (o->json) {
            plan_json(&s, &plan);
        } else {
            plan_text(&s, &plan);
        }
        status = cli_out_str(&s, err);
        if (status == LAMINA_OK && !plan.fits) {
            char a[32];
            char b[32];
            status = base_fail(err, LAMINA_NO_FIT, "does not fit %s; the smallest budget that does is %s",
                               format_bytes(a, plan.budget_bytes), format_bytes(b, plan.smallest_budget_bytes));
        }
    }
    str_drop(&s);
    return status;
}
