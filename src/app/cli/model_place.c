/* SPDX-License-Identifier: Apache-2.0
 *
 * From ORG/NAME[@REVISION] to a path: the commands themselves, and the library, know paths only. What is in the cache
 * is used without asking anybody; `lamina pull` is what looks for something newer. A path that exists always wins.
 */
#include <string.h>
#include <unistd.h>

#include "app/cli/cli.h"
#include "app/cli/hub_words.h"
#include "app/cli/streamed.h"
#include "base/status.h"

bool cli_hub_progress(void *user, const struct hub_progress *p) {
    const struct lamina_progress shown = {.done_bytes = p->done_bytes, .total_bytes = p->total_bytes, .elapsed_ns = p->elapsed_ns,
                                          .resumed_bytes = p->resumed_bytes, .what = p->what};
    return p->total_bytes == 0 ? cli_interrupted() : cli_progress_bytes(user, "downloading", &shown);
}

/* Could this word be a model of the hub, and nothing here? */
static bool may_be_hub(const char *word) {
    return word != NULL && strchr(word, '/') != NULL && word[0] != '/' && word[0] != '.' && word[0] != '~' &&
           access(word, F_OK) != 0;
}

static lamina_status pull_missing(const struct cli_options *o, const struct hub_env *env, const struct hub_name *name,
                                  const struct lamina_error *missing, struct str *out, struct lamina_error *err) {
    struct hub_pulled pulled;
    struct cli_progress progress;
    struct lamina_callbacks callbacks;
    cli_progress_init(&progress, o, &callbacks);
    struct hub_pull p = {.env = env,
                         .name = *name,
                         .connections = o->connections,
                         .piece_bytes = HUB_PIECE_BYTES,
                         .store_home = o->home,
                         .watch = {.log = callbacks.log, .progress = cli_hub_progress, .user = &progress}};
    if (!o->quiet) {
        cli_say(1, "%s; pulling it", missing->message);
    }
    lamina_status status = hub_pull(&p, &pulled, err);
    cli_progress_clear(&progress);
    if (status == LAMINA_OK) {
        str_add_text(out, str_text(&pulled.model));
    }
    hub_pulled_drop(&pulled);
    return status;
}

lamina_status cli_model_place(const struct cli_options *o, const struct hub_name *name, unsigned may, struct str *out,
                              struct lamina_error *err) {
    struct hub_env env = {.offline = false};
    struct lamina_error missing = {0};
    struct str found = {0};
    lamina_status status = hub_env_read(&env, err);
    if (status == LAMINA_OK) {
        env.offline = env.offline || o->offline;
        const bool may_pull = (may & CLI_PLACE_PULL) != 0 && !env.offline;
        status = hub_find(&env, name, &found, &missing);
        const bool asks_for_text = (may & CLI_PLACE_TEXT) != 0 && !env.offline;
        if (status == LAMINA_OK || (status == LAMINA_NOT_FOUND && found.len > 0 && !asks_for_text)) {
            str_add_span(out, str_span(&found));
            status = LAMINA_OK;
        } else if (status == LAMINA_NOT_FOUND && (may & CLI_PLACE_STORE) != 0 &&
                   cli_stream_find(o->home, &env, name, out) == LAMINA_OK) {
            status = LAMINA_OK;
        } else if (status == LAMINA_NOT_FOUND && may_pull && o->stream) {
            status = cli_stream_pull(o, &env, name, "planes", out, err);
        } else if (status == LAMINA_NOT_FOUND && may_pull) {
            status = pull_missing(o, &env, name, &missing, out, err);
        } else if (status == LAMINA_NOT_FOUND) {
            status = base_fail(err, status, "%s is no path here, and as a model of the hub: %s; %s", name->id, missing.message,
                               env.offline ? "HF_HUB_OFFLINE or --offline forbids to fetch it" : "fetch it with lamina pull");
        } else if (status < 0) {
            status = base_fail(err, status, "%s", missing.message);
        }
    }
    const bool failed = out->failed || found.failed;
    str_drop(&found);
    hub_env_drop(&env);
    return status == LAMINA_OK && failed ? base_fail(err, LAMINA_NO_FIT, "out of memory") : status;
}

static lamina_status resolve(const struct cli_options *o, const char *word, enum cli_command_id command, struct str *out,
                             struct lamina_error *err) {
    static const uint32_t looking_only =
        1u << CMD_VERIFY | 1u << CMD_SHOW | 1u << CMD_TOKENIZE | 1u << CMD_DETOKENIZE | 1u << CMD_TEMPLATE;
    static const uint32_t speaking =
        1u << CMD_RUN | 1u << CMD_CHAT | 1u << CMD_SERVE | 1u << CMD_PLAN | 1u << CMD_PPL | 1u << CMD_KL | 1u << CMD_BENCH;
    unsigned may = command == CMD_SPLIT ? 0 : CLI_PLACE_STORE; /* splitting wants the checkpoint */
    struct hub_name name;
    struct lamina_error unused = {0};
    if (hub_name_parse(word, &name, &unused) < 0) {
        return LAMINA_OK; /* whoever opens it says that it is not there */
    }
    may |= (looking_only & 1u << command) == 0 ? CLI_PLACE_PULL : 0;
    may |= (speaking & 1u << command) != 0 ? CLI_PLACE_TEXT : 0;
    return cli_model_place(o, &name, may, out, err);
}

lamina_status cli_models_resolve(struct cli_options *o, enum cli_command_id command, struct lamina_error *err) {
    if (strncmp(cli_commands[command].arguments, "MODEL", 5) != 0) {
        return LAMINA_OK;
    }
    if (may_be_hub(o->args[0])) {
        LAMINA_TRY(resolve(o, o->args[0], command, &o->model_text, err));
        o->asked = o->args[0];
        o->args[0] = o->model_text.len > 0 ? str_text(&o->model_text) : o->args[0];
    }
    if (may_be_hub(o->reference)) {
        LAMINA_TRY(resolve(o, o->reference, command, &o->reference_text, err));
        o->reference = o->reference_text.len > 0 ? str_text(&o->reference_text) : o->reference;
    }
    return LAMINA_OK;
}
