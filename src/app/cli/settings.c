/* SPDX-License-Identifier: Apache-2.0
 *
 * From options to the library's settings. What does not exist yet is refused here, with the words for it.
 */
#include <string.h>

#include "app/cli/cli.h"
#include "base/status.h"

static enum lamina_io_engine engine_of(const char *name) {
    if (strcmp(name, "uring") == 0) {
        return LAMINA_IO_URING;
    }
    if (strcmp(name, "threads") == 0) {
        return LAMINA_IO_THREADS;
    }
    return strcmp(name, "sim") == 0 ? LAMINA_IO_SIM : LAMINA_IO_AUTO;
}

lamina_status cli_settings(const struct cli_options *o, struct lamina_settings *s, struct lamina_error *err) {
    if (strcmp(o->numerics, "fast") == 0) {
        return base_fail(err, LAMINA_UNSUPPORTED, "--numerics fast: this version computes in class exact only; leave it out");
    }
    if (o->sim != NULL && strcmp(o->io, "sim") != 0) {
        return base_fail(err, LAMINA_USAGE, "--sim says how --io sim misbehaves; give --io sim too");
    }
    lamina_settings_defaults(s);
    s->home = o->home;
    s->memory_bytes = o->memory;
    s->prompt_rows = o->prompt_rows;
    s->threads = o->threads;
    s->io = engine_of(o->io);
    s->kv = strcmp(o->kv, "f32") == 0 ? LAMINA_KV_F32 : LAMINA_KV_F16;
    s->read_ahead = !o->no_read_ahead && (o->read_ahead == NULL || strcmp(o->read_ahead, "on") == 0);
    s->pin = !o->no_pin;
    s->isa = strcmp(o->isa, "auto") == 0 ? NULL : o->isa;
    s->sim = o->sim;
    s->chat_template = o->raw ? NULL : o->chat_template;
    return LAMINA_OK;
}
