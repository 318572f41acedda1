/* SPDX-License-Identifier: Apache-2.0
 * A sequence to bytes and back: what a session knows beyond its KV pages goes into the record beside them. */
#include "gen/session.h"

lamina_status session_write(struct session *s, struct hash128 store, const struct kv_writer *w, struct lamina_error *err) {
    if (s->length == 0) {
        return base_fail(err, LAMINA_USAGE, "nothing has been computed yet: there is no session to save");
    }
    struct kv_record r = {
        .store = store,
        .vocab = s->o.desc->vocab,
        .length = s->length,
        .has_state = model_has_state(s->o.desc) && s->state_length == s->length,
        .sees_ahead = s->o.desc->prefix,
        .prompt_length = s->prompt_length,
        .prefix = s->prefix,
        .mask_at = s->mask_at,
        .ids = s->tokens,
    };
    return kv_file_write(exec_kv(s->o.exec), &s->kv, &r, w, err);
}

lamina_status session_read(struct session *s, struct hash128 store, const struct kv_reader *in, struct lamina_error *err) {
    struct kv_record r = {.store = store, .vocab = s->o.desc->vocab, .sees_ahead = s->o.desc->prefix, .ids = s->tokens};
    LAMINA_TRY(session_truncate(s, 0, err));
    LAMINA_TRY(kv_file_read(exec_kv(s->o.exec), &s->kv, &r, session_most(s), in, err));
    s->length = r.length;
    s->state_length = r.has_state || !model_has_state(s->o.desc) ? r.length : UINT32_MAX;
    s->prompt_length = r.prompt_length;
    s->prefix = r.prefix;
    s->mask_at = r.mask_at;
    session_see_again(s);
    return LAMINA_OK;
}
