/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina pull: a model of the hub into its cache. The same command again goes on where an interrupted one ended, and fetches what a
 * newer revision changed.
 */
#include <string.h>

#include "app/cli/cli.h"
#include "app/cli/hub_words.h"
#include "app/cli/streamed.h"
#include "base/json.h"
#include "base/status.h"

static void pulled_json(struct str *s, const struct hub_pull *p, const struct hub_pulled *r) {
    const struct hub_listing *l = &r->listing;
    const char *comma = "";
    str_add_text(s, "{\"model\": ");
    json_write_string(s, span_of_text(p->name.id));
    str_add_text(s, ", \"revision\": ");
    json_write_string(s, span_of_text(p->name.revision));
    str_printf(s, ", \"commit\": \"%s\", \"path\": ", l->commit);
    json_write_string(s, str_span(&r->model));
    str_printf(s, ", \"bytes\": %llu, \"cached_bytes\": %llu, \"fetch_bytes\": %llu, \"need_bytes\": %llu, \"free_bytes\": %llu, "
               "\"dry_run\": %s, \"files\": [", (unsigned long long)r->chosen_bytes, (unsigned long long)r->cached_bytes,
               (unsigned long long)r->fetch_bytes, (unsigned long long)r->need_bytes, (unsigned long long)r->free_bytes,
               p->dry_run ? "true" : "false");
    for (uint32_t i = 0; i < l->count; i++) {
        const struct hub_file *f = &l->files[i];
        if (f->chosen) {
            str_printf(s, "%s{\"path\": ", comma);
            json_write_string(s, span_of_text(f->path));
            str_printf(s, ", \"bytes\": %llu, \"etag\": \"%s\", \"cached\": %s}", (unsigned long long)f->size, f->etag,
                       f->cached ? "true" : "false");
            comma = ", ";
        }
    }
    str_add_text(s, "]}\n");
}

static void dry_text(struct str *s, const struct hub_pull *p, const struct hub_pulled *r) {
    char a[32];
    char b[32];
    char c[32];
    for (uint32_t i = 0; i < r->listing.count; i++) {
        const struct hub_file *f = &r->listing.files[i];
        if (f->chosen) {
            str_printf(s, "%12s  %s%s\n", format_bytes(a, f->size), f->path, f->cached ? " (cached)" : "");
        }
    }
    str_printf(s, "%s at %.12s: %s, of these %s to fetch; %s needed on the drive", p->name.id, r->listing.commit,
               format_bytes(a, r->chosen_bytes), format_bytes(b, r->fetch_bytes), format_bytes(c, r->need_bytes));
    str_printf(s, ", %s free\n", r->free_bytes == UINT64_MAX ? "any amount" : format_bytes(a, r->free_bytes));
}

static lamina_status take_name(const struct cli_options *o, struct hub_name *name, struct lamina_error *err) {
    struct str both = {0};
    lamina_status status = LAMINA_OK;
    if (o->revision != NULL && strchr(o->args[0], '@') != NULL) {
        return base_fail(err, LAMINA_USAGE, "the revision is given twice; use one of @REV and --revision");
    }
    str_printf(&both, "%s%s%s", o->args[0], o->revision != NULL ? "@" : "", o->revision != NULL ? o->revision : "");
    status = both.failed ? base_fail(err, LAMINA_NO_FIT, "out of memory") : hub_name_parse(str_text(&both), name, err);
    str_drop(&both);
    return status;
}

/* --stream: the store is what is pulled. */
static lamina_status pull_store(const struct cli_options *o, struct lamina_error *err) {
    struct hub_env env = {.offline = false};
    struct hub_name name;
    struct str store = {0};
    struct str out = {0};
    char codec[16] = "planes";
    if (o->dry_run || o->include.count > 0 || o->exclude.count > 0) {
        return base_fail(err, LAMINA_USAGE,
                         "--stream goes without --dry-run, --include and --exclude: what is read is what the model needs, and what "
                         "it takes on the drive is said before it comes");
    }
    if (o->codec != NULL && o->quant != NULL) {
        return base_fail(err, LAMINA_USAGE, "--codec and --quant each choose the coding: give one of them");
    }
    if (o->quant != NULL) {
        LAMINA_TRY(cli_codec_of_quant(o->quant, codec, err));
    }
    LAMINA_TRY(take_name(o, &name, err));
    lamina_status status = hub_env_read(&env, err);
    if (status == LAMINA_OK) {
        status = cli_stream_pull(o, &env, &name, o->codec != NULL ? o->codec : codec, &store, err);
    }
    if (status == LAMINA_OK && o->json) {
        str_add_text(&out, "{\"model\": ");
        json_write_string(&out, span_of_text(name.id));
        str_add_text(&out, ", \"revision\": ");
        json_write_string(&out, span_of_text(name.revision));
        str_add_text(&out, ", \"store\": ");
        json_write_string(&out, str_span(&store));
        str_add_text(&out, "}\n");
    } else if (status == LAMINA_OK) {
        str_printf(&out, "%s\n", str_text(&store));
    }
    if (status == LAMINA_OK) {
        status = cli_out_str(&out, err);
    }
    str_drop(&store);
    str_drop(&out);
    hub_env_drop(&env);
    return status;
}

/* --if-missing: where the model is that `lamina run` would take. */
static lamina_status pull_if_missing(const struct cli_options *o, struct lamina_error *err) {
    struct hub_name name;
    struct str path = {0};
    struct str out = {0};
    if (o->dry_run || o->include.count > 0 || o->exclude.count > 0 || o->codec != NULL || o->quant != NULL) {
        return base_fail(err, LAMINA_USAGE, "--if-missing goes without --dry-run, --include, --exclude, --codec and --quant");
    }
    LAMINA_TRY(take_name(o, &name, err));
    lamina_status status = cli_model_place(o, &name, CLI_PLACE_PULL | CLI_PLACE_STORE | CLI_PLACE_TEXT, &path, err);
    if (status == LAMINA_OK && o->json) {
        str_add_text(&out, "{\"model\": ");
        json_write_string(&out, span_of_text(name.id));
        str_add_text(&out, ", \"revision\": ");
        json_write_string(&out, span_of_text(name.revision));
        str_add_text(&out, ", \"path\": ");
        json_write_string(&out, str_span(&path));
        str_add_text(&out, "}\n");
    } else if (status == LAMINA_OK) {
        str_printf(&out, "%s\n", str_text(&path));
    }
    if (status == LAMINA_OK) {
        status = cli_out_str(&out, err);
    }
    str_drop(&path);
    str_drop(&out);
    return status;
}

lamina_status cmd_pull(struct cli_options *o, struct lamina_error *err) {
    if (o->if_missing) {
        return pull_if_missing(o, err);
    }
    if (o->stream) {
        return pull_store(o, err);
    }
    if (o->codec != NULL || o->quant != NULL) {
        return base_fail(err, LAMINA_USAGE,
                         "--codec and --quant are for --stream, which makes a store; an ordinary pull fetches files");
    }
    struct hub_env env = {.offline = false};
    struct hub_pulled pulled = {.fetch_bytes = 0};
    struct cli_progress progress;
    struct lamina_callbacks callbacks;
    struct str out = {0};
    char bytes[32];
    cli_progress_init(&progress, o, &callbacks);
    struct hub_pull p = {.env = &env, .connections = o->connections, .piece_bytes = o->piece, .dry_run = o->dry_run,
                         .patterns = {.include = o->include.value, .include_count = o->include.count, .exclude = o->exclude.value,
                                      .exclude_count = o->exclude.count},
                         .watch = {.log = callbacks.log, .progress = cli_hub_progress, .user = &progress}};
    LAMINA_TRY(take_name(o, &p.name, err));
    lamina_status status = hub_env_read(&env, err);
    if (status == LAMINA_OK) {
        status = hub_pull(&p, &pulled, err);
    }
    cli_progress_clear(&progress);
    if (status == LAMINA_OK && o->json) {
        pulled_json(&out, &p, &pulled);
    } else if (status == LAMINA_OK && o->dry_run) {
        dry_text(&out, &p, &pulled);
    } else if (status == LAMINA_OK) {
        str_printf(&out, "%s\n", str_text(&pulled.model));
        if (!o->quiet) {
            cli_say(1, "%s at %.12s is in the cache, %s", p.name.id, pulled.listing.commit,
                    format_bytes(bytes, pulled.chosen_bytes));
        }
    }
    if (status == LAMINA_OK) {
        status = cli_out_str(&out, err);
    }
    str_drop(&out);
    hub_pulled_drop(&pulled);
    hub_env_drop(&env);
    return status;
}
