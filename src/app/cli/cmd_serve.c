/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina serve: opens the model for several sequences at once and hands it to the server. The server's own memory comes out of the
 * same budget.
 */
#include <string.h>

#include "app/cli/cli.h"
#include "app/cli/holding.h"
#include "app/server/server.h"
#include "base/status.h"

enum { CONTEXT = 4096, SCORED_ROWS = 32 };

struct serve_callbacks {
    struct cli_progress progress;
    struct lamina_callbacks cli;
    struct engine_watch watch; /* its engine is set while the server runs */
};

static void on_log(void *user, int level, const char *text) {
    struct serve_callbacks *c = (struct serve_callbacks *)user;
    c->cli.log(c->cli.user, level, text);
}

static bool on_progress(void *user, const struct lamina_progress *p) {
    struct serve_callbacks *c = (struct serve_callbacks *)user;
    if (p->kind == LAMINA_PROGRESS_PROMPTS) {
        return engine_on_prompts(&c->watch, p->done_bytes, p->total_bytes);
    }
    return c->cli.progress(c->cli.user, p);
}

static void on_layer(void *user, uint32_t layer) {
    struct serve_callbacks *c = (struct serve_callbacks *)user;
    engine_on_layer(&c->watch, layer);
}

static lamina_status check(const struct cli_options *o, struct lamina_error *err) {
    if (o->parallel == 0 || o->parallel > 256) {
        return base_fail(err, LAMINA_USAGE, "--parallel %u is outside 1 to 256", o->parallel);
    }
    if (o->port > 65535) {
        return base_fail(err, LAMINA_USAGE, "--port %u is outside 0 to 65535", o->port);
    }
    if (o->api_key != NULL && o->api_key[0] == '\0') {
        return base_fail(err, LAMINA_USAGE, "--api-key is empty: give a key, or leave the option out to ask for none");
    }
    if (o->max_connections == 0 || o->max_connections > 4096) {
        return base_fail(err, LAMINA_USAGE, "--max-connections %u is outside 1 to 4096", o->max_connections);
    }
    if (o->keep_alive == 0 || o->keep_alive > 3600 || o->grace > 86400) {
        return base_fail(err, LAMINA_USAGE, "--keep-alive is outside 1 to 3600 seconds, or --grace outside 0 to 86400");
    }
    if (o->queue == 0 || o->queue > 65536) {
        return base_fail(err, LAMINA_USAGE, "--queue %u is outside 1 to 65536", o->queue);
    }
    if (o->memory != 0 && o->memory != UINT64_MAX && o->memory <= SERVER_RESERVE_BYTES) {
        return base_fail(err, LAMINA_NO_FIT, "the server itself takes %d MiB of the budget; give a larger --memory",
                         SERVER_RESERVE_BYTES >> 20);
    }
    return LAMINA_OK;
}

/* The context of the model, and more rows with logits than choices where they fit: prompts are scored faster with them. */
static lamina_status size_passes(const struct cli_options *o, struct lamina_settings *s, struct lamina_error *err) {
    struct lamina_plan plan;
    s->sequences = o->parallel;
    s->logit_rows = o->parallel;
    s->context_tokens = o->ctx_size > 0 ? o->ctx_size : CONTEXT;
    s->prompt_rows = s->prompt_rows > 0 && s->prompt_rows < o->parallel ? o->parallel : s->prompt_rows;
    LAMINA_TRY(lamina_plan_make(o->args[0], s, &plan, err));
    if (o->ctx_size == 0 && plan.max_positions > 0 && plan.max_positions < s->context_tokens) {
        s->context_tokens = plan.max_positions;
    }
    if (o->parallel < SCORED_ROWS) {
        struct lamina_error unused = {0};
        s->logit_rows = SCORED_ROWS;
        if (lamina_plan_make(o->args[0], s, &plan, &unused) < 0 || !plan.fits || plan.prompt_rows < SCORED_ROWS) {
            s->logit_rows = o->parallel;
        }
    }
    return LAMINA_OK;
}

static const char *name_of(const struct cli_options *o, struct str *text) {
    const char *model = o->asked != NULL ? o->asked : o->args[0];
    if (o->alias != NULL) {
        return o->alias;
    }
    if (o->model_text.len > 0) {
        return model; /* ORG/NAME of the hub, as it was asked for */
    }
    size_t len = strlen(model);
    while (len > 1 && model[len - 1] == '/') {
        len--;
    }
    size_t begin = len;
    while (begin > 0 && model[begin - 1] != '/') {
        begin--;
    }
    str_add(text, model + begin, len - begin);
    return text->len > 0 ? str_text(text) : model;
}

static void on_listening(void *user, uint32_t port) {
    struct cli_holding *h = (struct cli_holding *)user;
    if (h != NULL) {
        cli_holding_port(h, port);
    }
}

lamina_status cmd_serve(struct cli_options *o, struct lamina_error *err) {
    struct lamina_model *model = NULL;
    struct lamina_settings settings;
    struct serve_callbacks callbacks = {0};
    struct str name = {0};
    lamina_status status = check(o, err);
    if (status == LAMINA_OK) {
        status = cli_settings(o, &settings, err);
    }
    if (status < 0) {
        return status;
    }
    cli_progress_init(&callbacks.progress, o, &callbacks.cli);
    settings.callbacks = (struct lamina_callbacks){.log = on_log, .progress = on_progress, .layer = on_layer, .user = &callbacks};
    if (settings.memory_bytes != 0 && settings.memory_bytes != UINT64_MAX) {
        settings.memory_bytes -= SERVER_RESERVE_BYTES;
    }
    status = size_passes(o, &settings, err);
    if (status == LAMINA_OK) {
        status = lamina_model_open(&model, o->args[0], &settings, err);
        cli_progress_clear(&callbacks.progress);
    }
    if (status == LAMINA_OK) {
        if (!o->quiet) {
            cli_say_start(model);
        }
        const struct server_options so = {
            .model = model, .watch = &callbacks.watch, .name = name_of(o, &name), .home = o->home, .host = o->host, .uds = o->uds,
            .port = o->port, .api_key = o->api_key, .allowed_hosts = o->allowed_hosts.value,
            .allowed_host_count = o->allowed_hosts.count, .cors_origins = o->cors_origins.value,
            .cors_origin_count = o->cors_origins.count, .parallel = o->parallel, .queue = o->queue,
            .logit_rows = settings.logit_rows, .context_tokens = settings.context_tokens, .connections = o->max_connections,
            .keep_alive_s = o->keep_alive, .grace_s = o->grace, .hold_open = strcmp(o->hold_open, "on") == 0,
            .budget_bytes = settings.memory_bytes == UINT64_MAX ? UINT64_MAX
                            : lamina_model_plan(model)->budget_bytes + (o->memory != 0 ? SERVER_RESERVE_BYTES : 0),
            .listening = on_listening, .listening_user = o->holding, .stop = cli_interrupted, .say = cli_say,
        };
        status = server_run(&so, err);
        if (status == LAMINA_OK) {
            cli_signals_done();
        }
    }
    lamina_model_close(&model);
    str_drop(&name);
    return status;
}
