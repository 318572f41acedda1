/* SPDX-License-Identifier: Apache-2.0
 *
 * lamina verify: every byte of every file of a store, and with --source the checkpoint it was made from.
 */
#include "app/cli/cli.h"
#include "base/json.h"

static void result_json(struct str *s, const struct lamina_verify_result *r) {
    str_printf(s, "{\"files\": %llu, \"bytes\": %llu, \"tiles\": %llu, \"damaged\": %llu, \"first_damage\": ",
               (unsigned long long)r->files, (unsigned long long)r->bytes, (unsigned long long)r->tiles,
               (unsigned long long)r->damaged);
    if (r->first_damage[0] != '\0') {
        json_write_string(s, span_of_text(r->first_damage));
    } else {
        str_add_text(s, "null");
    }
    str_add_text(s, "}\n");
}

lamina_status cmd_verify(struct cli_options *o, struct lamina_error *err) {
    struct lamina_verify_result result = {.size = sizeof(result)};
    struct lamina_callbacks callbacks;
    struct cli_progress progress;
    struct str line = {0};
    char bytes[32];
    cli_progress_init(&progress, o, &callbacks);
    lamina_status status = lamina_verify(o->args[0], o->home, o->source, &callbacks, &result, err);
    cli_progress_clear(&progress);
    if (status == LAMINA_OK || result.damaged > 0) {
        if (o->json) {
            result_json(&line, &result);
        } else {
            str_printf(&line, "%llu files, %s, %llu tiles, %llu damaged\n", (unsigned long long)result.files,
                       format_bytes(bytes, result.bytes), (unsigned long long)result.tiles,
                       (unsigned long long)result.damaged);
        }
        struct lamina_error unused = {0};
        lamina_status written = cli_out_str(&line, status < 0 ? &unused : err);
        status = status < 0 ? status : written;
    }
    str_drop(&line);
    return status;
}
